"""Training of embedding networks with Adam: negatives, scores, the objective, L2."""

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
from recsys.objectives.base import fit_objective
from recsys.samplers.base import checked_draws, fit_sampler

Ints = NDArray[np.int32]
_SIDES = ("user", "item")
# Rows of vectors that are computed at once.
MAX_ROWS = 1 << 16


class Network(torch.nn.Module):
    """A network that computes vectors of users and items; a subclass implements `vectors` and `rows`.

    Args:
        extra: Tables of the further logits of an objective, by name.
    """

    def __init__(self, extra: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        super().__init__()
        sides = {f"{name} {side}": pair[k] for name, pair in extra.items() for k, side in enumerate(_SIDES)}
        self.extra = torch.nn.ParameterDict({name: parameter(values) for name, values in sides.items()})

    def prepare(self) -> None:
        """Compute what all vectors of a step share."""

    @abstractmethod
    def vectors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of the given users [B, K] and items [N, K]."""

    @abstractmethod
    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that L2 shrinks, of the given users [B, E] and items [N, E]."""

    def weights(self) -> list[Tensor]:
        """Return further parameters that L2 shrinks once per step."""
        return []


def parameter(values: NDArray[Any]) -> torch.nn.Parameter:
    """Return a float32 parameter with these values."""
    return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(values, np.float32)))


def all_vectors(network: Network, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of all users and of all items of a prepared network."""
    device = next(network.parameters()).device
    none = torch.zeros(0, dtype=torch.int64, device=device)
    parts: tuple[list[Any], list[Any]] = ([], [])
    with torch.no_grad():
        for side in (0, 1):
            for begin in range(0, max(shape[side], 1), MAX_ROWS):
                rows = torch.arange(begin, min(begin + MAX_ROWS, shape[side]), device=device)
                ids = (rows, none) if side == 0 else (none, rows)
                parts[side].append(network.vectors(*ids)[side].cpu().numpy())
    users, items = (np.concatenate(part).astype(np.float32, copy=False) for part in parts)
    return users, items


class Training:
    """Training by epochs of Adam; `epoch` changes `network` in place."""

    def __init__(
        self,
        network: Network,
        user_items: Any,
        model: Any,
        objective: Any,
        sampler: Any,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self.network, self._model, self._rng, self._device = network, model, rng, device
        self._sampler, self._objective, self._shape = sampler, objective, user_items.shape
        self._sampler.num_threads = thread_count(model.num_threads)
        self._known = fit_sampler(self._sampler, user_items, model.dislikes)
        distribution = self._sampler.probabilities() if hasattr(self._sampler, "probabilities") else None
        fit_objective(self._objective, user_items, distribution, model.dislikes)
        self._pairs = pairs_of(self._known)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=model.learning_rate)
        self._step = 0
        if self._sampler.needs_scores:
            self._sampler.bind(self._scores, lambda: all_vectors(self.network, self._shape))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    def _scores(self, users: Ints, items: Ints) -> NDArray[Any]:
        """Return scores of items [B, n] for users [B], for samplers."""
        with torch.no_grad():
            user_ids, row = np.unique(users, return_inverse=True)
            item_ids, column = np.unique(items, return_inverse=True)
            U, V = self.network.vectors(*(self._tensor(ids.astype(np.int64)) for ids in (user_ids, item_ids)))
            left = embedding(self._tensor(row), U)
            right = embedding(self._tensor(column.reshape(items.shape)), V)
            scores: NDArray[Any] = (left[:, None] * right).sum(-1).cpu().numpy()
        return scores

    def epoch(self, number: int) -> Count:
        """Visit all known pairs once, in a random order."""
        size, drawn, correct, skipped = self._model.batch_size, 0, 0, 0
        if self._sampler.needs_scores:
            with torch.no_grad():
                self.network.prepare()
        self._sampler.epoch(number, self._rng)
        order = self._rng.permutation(len(self._pairs))
        for begin in range(0, len(order), size):
            batch = self._pairs[order[begin : begin + size]]
            users, items = (np.ascontiguousarray(batch[:, side]) for side in (0, 1))
            count = self._update(users, items)
            drawn, correct, skipped = drawn + count.drawn, correct + count.correct, skipped + count.skipped
        return Count(drawn, correct, skipped)

    def _update(self, users: Ints, items: Ints) -> Count:
        """Take a step on a batch of positives."""
        self.network.prepare()
        num_negatives = self._model.num_negatives
        if num_negatives is None:
            # The positives of the whole batch, without the known positives of the user.
            drawn = np.broadcast_to(items, (len(items), len(items)))
            missing = self._known.has(users, drawn) if self._sampler.verify else items[:, None] == items
            weight = (~missing).astype(np.float32)
            columns = items[:, None]
        else:
            drawn, weight = checked_draws(self._sampler, users, num_negatives, self._rng, items, self._known.num_items)
            missing = drawn < 0
            if missing.any():
                weight = (~missing).astype(np.float32) if weight is None else np.where(missing, 0, weight)
                drawn = np.maximum(drawn, 0)
            columns = np.concatenate([items[:, None], drawn], axis=1)
        user_ids, row = np.unique(users, return_inverse=True)
        item_ids, column = np.unique(columns, return_inverse=True)
        ids = self._tensor(user_ids.astype(np.int64)), self._tensor(item_ids.astype(np.int64))
        places = self._tensor(row), self._tensor(column.reshape(columns.shape))
        U, V = self.network.vectors(*ids)
        whole_batch = num_negatives is None
        positive, negative = _pair_scores(U, V, *places, whole_batch)
        extra = {}
        for name in self._objective.logits:
            left, right = (embedding(ids[k], self.network.extra[f"{name} {side}"]) for k, side in enumerate(_SIDES))
            extra[name] = _pair_scores(left, right, *places, whole_batch)
        dislikes = self._objective.dislikes
        loss = self._objective.loss(
            positive, negative, extra=extra, users=users, items=items, negatives=drawn,
            weight=None if weight is None else self._tensor(weight.astype(np.float32)),
            known=None if self._sampler.verify else self._known.has(users, drawn),
            disliked=None if dislikes is None else dislikes.has(users, drawn), step=self._step,
        )  # fmt: skip
        self._step += 1
        if self._model.regularization > 0:
            loss = loss + 0.5 * self._model.regularization * self._squares(ids, row, column, len(users))
        self._optimizer.zero_grad()
        (loss / len(users)).backward()
        self._optimizer.step()
        with torch.no_grad():
            correct = int(((negative < positive[:, None]).cpu().numpy() & ~missing).sum())
        return Count(missing.size, correct, int(missing.sum()))

    def _squares(self, ids: tuple[Tensor, Tensor], row: Any, column: Any, size: int) -> Tensor:
        """Return the sum of squares of the rows of each draw, and of the weights times the number of positives."""
        total = torch.zeros((), device=self._device)
        for rows, place in zip(self.network.rows(*ids), (row, column), strict=True):
            counts = np.bincount(place.ravel(), minlength=len(rows)).astype(np.float32)
            total = total + (rows.square().sum(1) * self._tensor(counts)).sum()
        for name in self._objective.logits:
            for k, side in enumerate(_SIDES):
                total = total + embedding(ids[k], self.network.extra[f"{name} {side}"]).square().sum()
        for weight in self.network.weights():
            total = total + size * weight.square().sum()
        return total


def _pair_scores(U: Tensor, V: Tensor, row: Tensor, column: Tensor, whole_batch: bool) -> tuple[Tensor, Tensor]:
    """Return scores of the positives [B] and negatives [B, k], which are the whole batch if `whole_batch`."""
    left, right = embedding(row, U), embedding(column, V)
    if whole_batch:
        scores = left @ right[:, 0].T
        return scores.diagonal(), scores
    scores = (left[:, None] * right).sum(-1)
    return scores[:, 0], scores[:, 1:]
