"""Steps of Adam for networks that make vectors of users and items: draws, scores, the objective, L2."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from graphnoise.resources import thread_count
from recsys.kernels.sgd import Count, pairs_of

Ints = NDArray[np.int32]
_SIDES = ("user", "item")
# Rows whose vectors are made at once.
_TABLE = 1 << 16


class Network(torch.nn.Module):
    """Vectors of users and items with gradients; a subclass supplies `vectors` and `rows`.

    Args:
        extra: Tables of the further logits of an objective, by name.
    """

    def __init__(self, extra: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        super().__init__()
        sides = {f"{name} {side}": pair[k] for name, pair in extra.items() for k, side in enumerate(_SIDES)}
        self.extra = torch.nn.ParameterDict({name: parameter(values) for name, values in sides.items()})

    def prepare(self) -> None:
        """Do what is done once before the vectors of a step are asked for."""

    @abstractmethod
    def vectors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users [B, K] and items [N, K]."""

    @abstractmethod
    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that L2 shrinks, of some users [B, E] and items [N, E]."""

    def weights(self) -> list[Tensor]:
        """Return what else L2 shrinks, once at each step."""
        return []


def parameter(values: NDArray[Any]) -> torch.nn.Parameter:
    """Return a float32 parameter with these values."""
    return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(values, np.float32)))


def all_vectors(network: Network, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of all users and of all items, of a network that is prepared."""
    device = next(network.parameters()).device
    none = torch.zeros(0, dtype=torch.int64, device=device)
    found: tuple[list[Any], list[Any]] = ([], [])
    with torch.no_grad():
        for side in (0, 1):
            for begin in range(0, max(shape[side], 1), _TABLE):
                some = torch.arange(begin, min(begin + _TABLE, shape[side]), device=device)
                asked = (some, none) if side == 0 else (none, some)
                found[side].append(network.vectors(*asked)[side].cpu().numpy())
    users, items = (np.concatenate(parts).astype(np.float32, copy=False) for parts in found)
    return users, items


class Training:
    """Epochs of Adam; `network` is changed in place."""

    def __init__(
        self, network: Network, user_items: Any, model: Any, rng: np.random.Generator, device: torch.device
    ) -> None:
        self.network, self._model, self._rng, self._device = network, model, rng, device
        self._sampler, self._objective, self._shape = model.sampler, model.objective, user_items.shape
        self._sampler.num_threads = thread_count(model.num_threads)
        self._sampler.fit(user_items)
        self._known = self._sampler.known
        distribution = self._sampler.probabilities() if hasattr(self._sampler, "probabilities") else None
        self._objective.fit(user_items, distribution)
        self._pairs = pairs_of(self._known)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=model.learning_rate)
        self._step = 0
        if self._sampler.needs_scores:
            self._sampler.bind(self._scores, lambda: all_vectors(self.network, self._shape))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def _scores(self, users: Ints, items: Ints) -> NDArray[Any]:
        """Return scores of items [B, n] for users [B], as samplers ask for them."""
        with torch.no_grad():
            who, row = np.unique(users, return_inverse=True)
            what, column = np.unique(items, return_inverse=True)
            U, V = self.network.vectors(self._tensor(who.astype(np.int64)), self._tensor(what.astype(np.int64)))
            left = embedding(self._tensor(row), U)
            right = embedding(self._tensor(column.reshape(items.shape)), V)
            found: NDArray[Any] = (left[:, None] * right).sum(-1).cpu().numpy()
        return found

    def epoch(self, number: int) -> Count:
        """Walk once over all known pairs, in a new order."""
        size, drawn, correct, skipped = self._model.batch_size, 0, 0, 0
        if self._sampler.needs_scores:
            with torch.no_grad():
                self.network.prepare()
        self._sampler.epoch(number, self._rng)
        order = self._rng.permutation(len(self._pairs))
        for begin in range(0, len(order), size):
            batch = self._pairs[order[begin : begin + size]]
            users, items = (np.ascontiguousarray(batch[:, side]) for side in (0, 1))
            total, right, lost = self._update(users, items)
            drawn, correct, skipped = drawn + total, correct + right, skipped + lost
        return Count(drawn, correct, skipped)

    def _update(self, users: Ints, items: Ints) -> tuple[int, int, int]:
        self.network.prepare()
        each = self._model.num_negatives
        # Everybody's positives; what the user has, its own positive too, does not count.
        if each is None:
            drawn = np.broadcast_to(items, (len(items), len(items)))
            lost = self._known.has(users, drawn) if self._sampler.verify else items[:, None] == items
            weight = (~lost).astype(np.float32)
            own = items[:, None]
        else:
            drawn = self._sampler.sample(users, each, self._rng, items=items)
            lost, weight = drawn < 0, self._sampler.weights
            if lost.any():
                weight = (~lost).astype(np.float32) if weight is None else np.where(lost, 0, weight)
                drawn = np.maximum(drawn, 0)
            own = np.concatenate([items[:, None], drawn], axis=1)
        who, row = np.unique(users, return_inverse=True)
        what, column = np.unique(own, return_inverse=True)
        ids = self._tensor(who.astype(np.int64)), self._tensor(what.astype(np.int64))
        places = self._tensor(row), self._tensor(column.reshape(own.shape))
        U, V = self.network.vectors(*ids)
        positive, negative = _sides(U, V, *places, each is None)
        extra = {}
        for name in self._objective.logits:
            left, right = (embedding(ids[k], self.network.extra[f"{name} {side}"]) for k, side in enumerate(_SIDES))
            extra[name] = _sides(left, right, *places, each is None)
        loss = self._objective.loss(
            positive, negative, extra=extra, users=users, items=items, negatives=drawn,
            weight=None if weight is None else self._tensor(weight.astype(np.float32)),
            known=None if self._sampler.verify else self._known.has(users, drawn), step=self._step,
        )  # fmt: skip
        self._step += 1
        if self._model.regularization > 0:
            loss = loss + 0.5 * self._model.regularization * self._squares(ids, row, column, len(users))
        self._optimizer.zero_grad()
        (loss / len(users)).backward()
        self._optimizer.step()
        with torch.no_grad():
            correct = int(((negative < positive[:, None]).cpu().numpy() & ~lost).sum())
        return lost.size, correct, int(lost.sum())

    def _squares(self, ids: tuple[Tensor, Tensor], row: Any, column: Any, size: int) -> Tensor:
        """Return the squares of the rows of each draw, and of the weights as often as there are positives."""
        total = torch.zeros((), device=self._device)
        for rows, place in zip(self.network.rows(*ids), (row, column), strict=True):
            often = np.bincount(place.ravel(), minlength=len(rows)).astype(np.float32)
            total = total + (rows.square().sum(1) * self._tensor(often)).sum()
        for name in self._objective.logits:
            for k, side in enumerate(_SIDES):
                total = total + embedding(ids[k], self.network.extra[f"{name} {side}"]).square().sum()
        for weight in self.network.weights():
            total = total + size * weight.square().sum()
        return total


def _sides(U: Tensor, V: Tensor, row: Tensor, column: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Return scores of the positives [B] and negatives [B, k]; the whole batch is the negatives where `whole`."""
    left, right = embedding(row, U), embedding(column, V)
    if whole:
        scores = left @ right[:, 0].T
        return scores.diagonal(), scores
    scores = (left[:, None] * right).sum(-1)
    return scores[:, 0], scores[:, 1:]
