"""Matrix factorization as a classifier of (user, item) pairs, trained by the methods of `graphnoise.robust`."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphnoise.checkpoint import run_epochs
from graphnoise.checks import fail, integer, real
from graphnoise.resources import default_modes
from graphnoise.robust.methods import create_method
from graphnoise.robust.training import Batch, Context, Method, Output, Training
from graphnoise.robust.training.loop import Optimisation
from recsys.base import Callback, wants_stop
from recsys.models.factors import FactorModel


@dataclass(frozen=True, eq=False)
class PairView:
    """Pairs that a network scores.

    Attributes:
        users: Positions of users, int64, shape [num_pairs].
        items: Positions of items, int64, shape [num_pairs].
    """

    users: Tensor
    items: Tensor

    @property
    def num_nodes(self) -> int:
        """Number of pairs."""
        return len(self.users)


class PairNetwork(torch.nn.Module):
    """Scores s = <U_u, V_i> + b_i of pairs, as logits (0, s) of the classes "no click" and "click".

    Args:
        shape: Numbers of users and of items.
        factors: Length of the vectors.
        generator: Source of the initial vectors, of standard deviation .1.
    """

    def __init__(self, shape: tuple[int, int], factors: int, generator: torch.Generator) -> None:
        super().__init__()
        self.user, self.item = (
            torch.nn.Parameter(0.1 * torch.randn(size, factors, generator=generator)) for size in shape
        )
        self.bias = torch.nn.Parameter(torch.zeros(shape[1]))

    def forward(
        self,
        view: PairView,
        generator: torch.Generator | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> Output:
        """Return the logits of the pairs, and the products of their vectors, entry by entry, transformed if asked."""
        products = self.user[view.users] * self.item[view.items]
        products = products if transform is None else transform(products)
        score = products.sum(1) + self.bias[view.items]
        return Output(torch.stack([torch.zeros_like(score), score], 1), products)


class PairBatches:
    """Random batches of labelled pairs.

    Args:
        view: All pairs.
        size: Number of pairs of a batch.
    """

    def __init__(self, view: PairView, size: int) -> None:
        self.full, self.size = view, size

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches, the last one with what is left."""
        for rows in torch.split(torch.randperm(len(self.full.users), generator=generator), self.size):
            view = PairView(self.full.users[rows], self.full.items[rows])
            yield Batch(view, rows, torch.arange(len(rows)), rows)


class RobustFactorization(FactorModel):
    r"""Matrix factorization trained on clicks and drawn non-clicks, of which some are wrong.

    Each pair (user, item) is a row with a given class: 1 for a click, 0 for one of the `num_negatives` unobserved items
    drawn per click, once. A method of `graphnoise.robust.methods` that needs no graph trains the scores.

    Args:
        method: Name of a method, or a `graphnoise.robust.training.Method`.
        factors: Length of the vectors.
        learning_rate: Learning rate of Adam.
        regularization: L2 penalty of the vectors.
        iterations: Epochs.
        num_negatives: Unobserved items drawn per click, uniformly; repeats and clicked items are left out.
        batch_size: Pairs per step.
        random_state: Seed of draws, initial vectors and batches.

    Attributes:
        method_: The method with its state after training.
        history: For each epoch: loss, kept (share of the pairs that count), seconds.

    Raises:
        InputError: An argument out of range, or a method that needs a graph.

    Example:
        >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))) * (1 - np.eye(8)))
        >>> model = RobustFactorization("ce", 4, iterations=60).fit(clicks, show_progress=False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [1]
    """

    def __init__(
        self,
        method: str | Method = "ce",
        factors: int = 64,
        learning_rate: float = 0.01,
        regularization: float = 1e-5,
        iterations: int = 30,
        *,
        num_negatives: int = 4,
        batch_size: int = 4096,
        random_state: int = 0,
    ) -> None:
        self.method, self.factors = method, integer("factors", factors, 1, 1 << 14)
        self.learning_rate = real("learning_rate", learning_rate, 1e-12)
        self.regularization = real("regularization", regularization, 0.0)
        self.iterations = integer("iterations", iterations, 1)
        self.num_negatives = integer("num_negatives", num_negatives, 1, 10_000)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.random_state = integer("random_state", random_state, 0, 2**62)
        self._method()

    def _method(self) -> Method:
        method = copy.deepcopy(self.method) if isinstance(self.method, Method) else create_method(self.method)
        if method.needs_graph:
            fail("method", "a method that needs no graph", repr(self.method))
        return method

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the vectors, their gradient, two moments, what a step needs, and the result."""
        return 28.0 * self._method().num_networks * self.factors * float(sum(user_items.shape))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        with default_modes(1), torch.enable_grad():
            self._train(user_items, show_progress, callback)

    def _train(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        method, generator = self._method(), torch.Generator().manual_seed(self.random_state)
        users, items, labels = self._pairs(user_items)
        view = PairView(torch.from_numpy(users), torch.from_numpy(items))
        networks = [PairNetwork(user_items.shape, self.factors, generator) for _ in range(method.num_networks)]
        rows, none = torch.arange(len(users)), torch.empty(0, dtype=torch.long)
        given = torch.from_numpy(labels)
        context = Context(view, rows, given, 2, self.iterations, list(networks), generator, none, none)
        settings = Optimisation(self.iterations, self.learning_rate, self.regularization)
        training = Training(method, context, PairBatches(view, self.batch_size), settings)

        def report(run: Training) -> None:
            if callback is not None and wants_stop(callback(run.epochs_done - 1, run.history["seconds"][-1])):
                raise StopIteration

        shown = None if show_progress else False
        with contextlib.suppress(StopIteration):
            run_epochs(training, "RobustFactorization", self.iterations, progress=shown, on_epoch=report)
        self.method_, self.history = method, {key: training.history[key] for key in ("loss", "kept", "seconds")}
        self._set_factors(networks)

    def _pairs(self, user_items: sp.csr_array) -> tuple[np.ndarray[Any, Any], ...]:
        """Return users, items and classes of all pairs: clicks, then drawn non-clicks."""
        rng, (num_users, num_items) = np.random.default_rng(self.random_state), user_items.shape
        clicks = np.repeat(np.arange(num_users), np.diff(user_items.indptr)) * num_items + user_items.indices
        users = np.repeat(clicks // num_items, self.num_negatives)
        drawn = np.unique(users * num_items + rng.integers(num_items, size=len(users)))
        drawn = drawn[~np.isin(drawn, clicks)]
        pairs = np.concatenate([clicks, drawn]).astype(np.int64)
        labels = np.repeat(np.array([1, 0]), [len(clicks), len(drawn)])
        return pairs // num_items, pairs % num_items, labels

    def truncated(self, width: int) -> RobustFactorization:
        """Return the model with the first dimensions of all vectors, which the method "nested-dropout" trains to serve.

        Args:
            width: Number of dimensions of each network, from 1 to `factors`.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The width is out of its range.
        """
        self.check_fitted()
        out, size = copy.copy(self), integer("width", width, 1, self.factors) * self.method_.num_networks
        out.user_factors, out.item_factors = self.user_factors[:, :size].copy(), self.item_factors[:, :size].copy()
        return out

    def _set_factors(self, networks: list[PairNetwork]) -> None:
        # The mean of the scores of several networks is a product of longer vectors: their first dimensions come first.
        users, items = (torch.stack([getattr(part, side) for part in networks], 2) for side in ("user", "item"))
        with torch.no_grad():
            self.user_factors = users.detach().flatten(1).div(len(networks)).numpy()
            self.item_factors = items.detach().flatten(1).numpy()
            self.item_biases = torch.stack([network.bias for network in networks]).mean(0).numpy()
