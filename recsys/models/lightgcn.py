"""LightGCN: matrix factorisation with embeddings propagated over the user-item graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from graphnoise import Graph
from graphnoise.checks import integer, real
from graphnoise.kernels.propagate import choose, run
from graphnoise.resources import thread_count, torch_threads
from recsys.models.torch_steps import Network, parameter
from recsys.models.torch_training import TorchModel
from recsys.objectives import Objective
from recsys.samplers import Sampler
from recsys.topk import Floats

# Propagations with fewer products are faster on one thread.
MIN_PARALLEL = 1 << 25


class LightGCN(TorchModel):
    r"""Scores <e_u, e_i> with e = (E_0 + S E_0 + ... + S^L E_0) / (L + 1), learned by Adam.

    S = D^-1/2 A D^-1/2 is the graph of users and items with one arc in each direction per known pair, without
    self-loops; E_0 are the learned embeddings. The loss of a positive is minus the objective with its negatives, plus
    half of `regularization` times the squared rows of E_0 of the positive and the negatives; a step follows the mean
    over a batch. Each step propagates over the whole graph, forward and backward, so a batch costs 2 L products with S:
    large batches are cheaper. S is symmetric, and the sum is one call of the propagation kernel in both passes.

    Args:
        factors: Length of the vectors.
        num_layers: L; 0 is matrix factorisation without biases.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object. Further logits (NBPO's flips, DeCA's parts)
            are plain factors and are discarded after training.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is the objective's sampler, else uniform.
        learning_rate: Learning rate of Adam.
        regularization: L2.
        iterations: Epochs.
        num_threads: 0 is one per core; results are bit-identical at any number.
        random_state: Seed; None draws one, which the attribute then holds.
        num_negatives: Negatives per positive; None with the sampler "in-batch": all of the batch.
        batch_size: Positives per step.
        init_scale: Standard deviation of the initial E_0.
        metric: Metric that selects the epoch if `fit` receives a validation set.
        patience: Epochs without improvement after which to stop; None runs all. The best epoch is restored either way.
        device: "cpu", "cuda" or "cuda:1".

    Attributes:
        epochs, best_epoch, history, counts: As in `MatrixFactorization`.

    Raises:
        InputError: An argument out of range.

    Example:
        >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))) * (1 - np.eye(8)))
        >>> model = LightGCN(4, 2, learning_rate=0.05, iterations=30).fit(clicks, show_progress=False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [1]

    Source: He et al., LightGCN: simplifying and powering graph convolution network for recommendation, SIGIR 2020,
    equations 7 and 8 with alpha_k = 1 / (K + 1), and 15.
    """

    _arrays = ("user_factors", "item_factors", "item_biases", "fold_in_factors")
    fold_in_factors: Any = None

    def __init__(
        self,
        factors: int = 64,
        num_layers: int = 3,
        objective: Objective | str | Mapping[str, Any] = "bpr",
        sampler: Sampler | str | Mapping[str, Any] | None = None,
        learning_rate: float = 1e-3,
        regularization: float = 1e-4,
        iterations: int = 100,
        num_threads: int = 0,
        random_state: int | None = 0,
        *,
        num_negatives: int | None = 1,
        batch_size: int = 2048,
        init_scale: float = 0.1,
        metric: str = "ndcg@20",
        patience: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.factors = integer("factors", factors, 1, 1 << 14)
        self.num_layers = integer("num_layers", num_layers, 0, 1 << 10)
        self.init_scale = real("init_scale", init_scale, 0.0)
        self._set_common(
            objective, sampler, learning_rate, regularization, iterations, num_threads, random_state, num_negatives,
            batch_size, metric, patience, device,
        )  # fmt: skip

    def _network(self, user_items: sp.csr_array, extra: Any, rng: np.random.Generator) -> Network:
        return LightGCNNetwork(
            user_items, self.factors, self.num_layers, self.init_scale, thread_count(self.num_threads), extra, rng
        )

    def _store(self, network: Network) -> None:
        assert isinstance(network, LightGCNNetwork)
        self.fold_in_factors = network.fold_in_factors()

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return scores of users given by their interactions alone: rows of a checked CSR matrix.

        A new user u, also of `partial_fit_users`, has no row of E_0; the vector is what the propagation collects from
        the items, (1 / (L + 1)) sum over l < L of sum_i e_i^(l) / sqrt(n_u n_i), with the items unchanged.
        """
        return self._score(self._new_users(user_items)["user_factors"])

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        counts = np.diff(rows.indptr)
        vectors = np.asarray(rows @ self.fold_in_factors) / np.sqrt(np.maximum(counts, 1))[:, None]
        return {"user_factors": vectors.astype(np.float32)}


def bipartite(user_items: sp.csr_array) -> Graph:
    """Return the graph of users (nodes 0 to m - 1) and items (from m on), with arcs in both directions per pair.

    Example:
        >>> bipartite(sp.csr_array([[0, 1]])).to_dense().tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    return Graph.from_scipy(sp.block_array([[None, user_items], [user_items.T, None]], format="csr"))


def smooth(graph: Graph, x: Tensor, num_layers: int) -> Tensor:
    r"""Return (X + S X + ... + S^L X) / (L + 1) for a normalised graph, in one call: Y <- S Y + X, L times.

    Example:
        >>> pair = bipartite(sp.csr_array([[1.0]])).normalise("sym")
        >>> smooth(pair, torch.tensor([[3.0], [0.0]]), 2)
        tensor([[2.],
                [1.]])
    """
    if num_layers == 0:
        return x
    arcs = graph.arcs(x.dtype)
    total, _, _ = run(arcs, None, x, alpha=1.0, beta=1.0, num_steps=num_layers, tier=choose(None, x))
    return total / (num_layers + 1)


class _Smooth(torch.autograd.Function):
    """`smooth` with `smooth` as its gradient, since S is symmetric, on a given number of threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: Graph, num_layers: int, num_threads: int) -> Tensor:
        ctx.arguments = (graph, num_layers, num_threads)
        with torch_threads(num_threads):
            return smooth(graph, x, num_layers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        graph, num_layers, num_threads = ctx.arguments
        with torch_threads(num_threads):
            return smooth(graph, gradients[0].contiguous(), num_layers), None, None, None


class LightGCNNetwork(Network):
    """The network of LightGCN: E_0 of users, then of items, and the graph."""

    def __init__(
        self,
        user_items: sp.csr_array,
        factors: int,
        num_layers: int,
        scale: float,
        num_threads: int,
        extra: Any,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(extra)
        self.num_users, num_items = user_items.shape
        self.embeddings = parameter(scale * rng.standard_normal((self.num_users + num_items, factors)))
        self._graph = bipartite(user_items).normalise("sym")
        self._num_layers = num_layers
        self._threads = num_threads if self._graph.num_arcs * factors * num_layers >= MIN_PARALLEL else 1
        self._item_degrees = np.bincount(user_items.indices, minlength=num_items)
        self._table = self.embeddings.detach()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the graph with the parameters."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._graph = self._graph.to(self.embeddings.device)
        return self

    def prepare(self) -> None:
        """Propagate the embeddings."""
        self._table = _Smooth.apply(self.embeddings, self._graph, self._num_layers, self._threads)  # type: ignore[no-untyped-call]

    def vectors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of the propagated embeddings."""
        return embedding(users, self._table), embedding(items + self.num_users, self._table)

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of E_0."""
        return embedding(users, self.embeddings), embedding(items + self.num_users, self.embeddings)

    def fold_in_factors(self) -> NDArray[np.float32]:
        """Return (1 / (L + 1)) sum over l < L of e_i^(l) / sqrt(n_i), float32 [items, K]."""
        layers = self._num_layers
        with torch.no_grad(), torch_threads(self._threads):
            mean = smooth(self._graph, self.embeddings, max(layers - 1, 0))[self.num_users :].cpu().numpy()
        scale = layers / (layers + 1) / np.sqrt(np.maximum(self._item_degrees, 1))
        return np.asarray(mean * scale[:, None], np.float32)
