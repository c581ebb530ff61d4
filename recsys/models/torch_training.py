"""Training with torch and Adam that LightGCN and two towers share: epochs, validation, interrupts, devices."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from graphnoise._check import choice, fail, integer, real
from recsys.base import Callback
from recsys.factors import FactorModel
from recsys.kernels.sgd import Count, pairs_of
from recsys.kernels.threads import threads
from recsys.matrices import affordable, as_csr, disjoint
from recsys.models.fitting import Keeper, progress
from recsys.models.start import start
from recsys.objectives import objective as make_objective
from recsys.samplers import InBatch
from recsys.samplers import sampler as make_sampler

Ints = NDArray[np.int32]
State = dict[str, Tensor]
_SIDES = ("user", "item")
_TABLE = 1 << 16  # rows whose vectors are made at once


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch have this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_device(name: str) -> torch.device:
    """Return the device, "cpu" or "cuda" or "cuda:1".

    Raises:
        InputError: another name, or a CUDA device that torch does not see.
    """
    kind, _, place = str(name).partition(":")
    choice("device", kind, ("cpu", "cuda"))
    if kind == "cpu":
        if place:
            fail("device", "'cpu', 'cuda' or 'cuda:' and a number", repr(name))
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        fail("device", "'cpu', since torch sees no CUDA device here", repr(name))
    if place and not (place.isdecimal() and int(place) < found):
        fail("device", f"'cuda:' and a number from 0 to {found - 1}", repr(name))
    return torch.device(name)


class Network(torch.nn.Module):
    """Vectors of users and items with gradients; a subclass supplies `vectors` and `rows`.

    Args:
        extra: tables of the further logits of an objective, by name.
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


class TorchModel(FactorModel):
    """A model whose vectors come out of a `Network`; a subclass supplies `_network` and, where it keeps more, `_keep`.

    On the CPU all but the propagation over a graph runs on one thread, since the sums of wide matrix products change
    with their number; so results are the same to the bit at any `num_threads`. On a GPU they repeat as far as CUDA's
    libraries do.
    """

    factors: int

    def _common(
        self,
        objective: Any,
        sampler: Any,
        learning_rate: float,
        regularization: float,
        iterations: int,
        num_threads: int,
        random_state: int | None,
        num_negatives: int | None,
        batch_size: int,
        metric: str,
        patience: int | None,
        device: str,
    ) -> None:
        self.objective = make_objective(objective)
        self.sampler = make_sampler(self.objective.sampler or "uniform" if sampler is None else sampler)
        self.learning_rate = real("learning_rate", learning_rate, 0.0)
        self.regularization = real("regularization", regularization, 0.0)
        self.iterations = integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.random_state = secrets.randbits(32) if random_state is None else integer("random_state", random_state, 0)
        self.num_negatives = None if num_negatives is None else integer("num_negatives", num_negatives, 1)
        if num_negatives is None and not isinstance(self.sampler, InBatch):
            expected = "a number, as only the sampler 'in-batch' has a whole batch to take"
            fail("num_negatives", expected, f"None with {self.sampler.name!r}")
        self.batch_size = integer("batch_size", batch_size, 1)
        self.metric = metric
        self.patience = None if patience is None else integer("patience", patience, 1)
        self.device = device
        if not isinstance(device, str):
            fail("device", "'cpu' or 'cuda'", repr(device))
        self.epochs = 0
        self.best_epoch: int | None = None
        self.history: list[float] = []
        self.counts: list[tuple[int, int, int]] = []
        self._validation: Any = None

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: Any = None,
    ) -> Self:
        """Learn from positives. Ctrl-C leaves the last whole epoch in the model, and is passed on.

        Args:
            user_items: users × items, `Interactions` or a SciPy sparse matrix.
            show_progress: show a progress bar.
            callback: called after each epoch as callback(epoch, seconds, correct, skipped), epochs from 0; the model
                has that epoch's vectors.
            validation: users × items, held out: `metric` on it chooses the epoch that is kept.

        Raises:
            InputError: no interaction at all, a validation set that overlaps or is empty, a device that is not there,
                or training that diverges.
        """
        if validation is not None:
            known = as_csr("user_items", user_items)
            held = as_csr("validation", validation, shape=known.shape)
            disjoint([("user_items", known), ("validation", held)])
            if held.nnz == 0:
                fail("validation", "at least one interaction", "none")
            self._validation = held
        try:
            return super().fit(user_items, show_progress, callback)
        finally:
            self._validation = None

    @abstractmethod
    def _network(self, user_items: Any, extra: Any, rng: np.random.Generator) -> Network:
        """Return the network before training, on the CPU."""

    def _keep(self, network: Network) -> None:
        """Keep what the model has beside its vectors."""

    def _fit(self, user_items: Any, show_progress: bool, callback: Callback | None) -> None:
        shape = user_items.shape
        device = torch_device(self.device)
        # values, gradient, two moments, the last and the best epoch, and the tables of vectors
        size = 4.0 * sum(shape) * self.factors * (8 + 6 * len(self.objective.logits))
        affordable(f"{type(self).__name__} of {shape[0]} users and {shape[1]} items", size)
        rng = np.random.default_rng(self.random_state)
        m, n = shape
        extra = {}
        if self.objective.logits:
            extra = start(m, n, self.factors, self.objective.logits, "small", False, np.float32, rng).extra
        with torch_threads(1):
            network = self._network(user_items, extra, rng).to(device)
            training = _Training(network, user_items, self, rng, device)
            self._epochs(training, Keeper(self.metric, self.patience, user_items, self._validation), shape,
                         show_progress, callback)  # fmt: skip

    def _epochs(
        self, training: _Training, keeper: Keeper, shape: Any, show_progress: bool, callback: Callback | None
    ) -> None:
        self.counts, kept = [], None
        with progress(show_progress, self.iterations) as tick:
            for epoch in range(self.iterations):
                began = time.perf_counter()
                try:
                    count = training.epoch(epoch)
                except KeyboardInterrupt:
                    if kept is not None:
                        self._take(training.network, kept, shape)
                    raise
                seconds = time.perf_counter() - began
                kept = {name: value.detach().clone() for name, value in training.network.state_dict().items()}
                if not all(bool(torch.isfinite(value).all()) for value in kept.values()):
                    got = f"{self.learning_rate}, which diverged in epoch {epoch}"
                    fail("learning_rate", "one that is small enough to train", got)
                self.epochs = epoch + 1
                self.counts.append((count.drawn, count.correct, count.skipped))
                if callback is not None or keeper.asks or epoch + 1 == self.iterations:
                    self._take(training.network, kept, shape)
                tick()
                if callback is not None:
                    callback(epoch, seconds, count.correct, count.skipped)
                if keeper.asks and keeper.enough(self, kept, self.num_threads):  # type: ignore[arg-type]
                    break
        self.history, self.best_epoch = keeper.history, keeper.best_epoch
        if keeper.best is not None:
            self._take(training.network, keeper.best, shape)

    def _take(self, network: Network, state: Any, shape: tuple[int, int]) -> None:
        """Make these parameters the model's."""
        network.load_state_dict(state)
        with torch.no_grad():
            network.prepare()
        self.user_factors, self.item_factors = all_vectors(network, shape)
        self._keep(network)
        self.num_users, self.num_items = shape

    def _parameters(self) -> dict[str, Any]:
        found = super()._parameters()
        found["objective"] = json.dumps(self.objective.parameters())
        found["sampler"] = json.dumps(self.sampler.parameters())
        return found

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        given = {key: json.loads(parameters[key]) for key in ("objective", "sampler")}
        return cls(**{**parameters, **given})


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


class _Training:
    """Epochs of Adam; `network` is changed in place."""

    def __init__(
        self, network: Network, user_items: Any, model: TorchModel, rng: np.random.Generator, device: torch.device
    ) -> None:
        self.network, self._model, self._rng, self._device = network, model, rng, device
        self._sampler, self._objective, self._shape = model.sampler, model.objective, user_items.shape
        self._sampler.num_threads = threads(model.num_threads)
        self._sampler.fit(user_items)
        self._known = self._sampler.known
        law = self._sampler.probabilities() if hasattr(self._sampler, "probabilities") else None
        self._objective.fit(user_items, law)
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
        if each is None:  # everybody's positives; what the user has, its own positive too, does not count
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
        (loss / len(users)).backward()  # type: ignore[no-untyped-call]
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
