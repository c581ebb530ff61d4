"""LightGCN: matrix factorisation whose vectors are smoothed over the graph of users and items."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding

from graphnoise import Graph
from graphnoise.checks import integer, real
from graphnoise.kernels.propagate import choose, run
from graphnoise.resources import thread_count, torch_threads
from recsys.models.torch_steps import Network, parameter
from recsys.models.torch_training import TorchModel
from recsys.topk import Floats
from recsys.validation import as_csr

# Products of one propagation below which one thread is quicker.
_WORTH = 1 << 25


class LightGCN(TorchModel):
    r"""Scores <e_u, e_i> with e = (E_0 + S E_0 + ... + S^L E_0) / (L + 1), learned by Adam.

    S = D^-1/2 A D^-1/2 is the graph of users and items, an arc each way for each known pair, without self-loops; E_0
    are the vectors that are learned. The loss of a positive is minus the objective beside its negatives, plus half of
    `regularization` times the squares of the rows of E_0 that it and they touch; the mean over a batch is followed.
    Each step propagates over the whole graph, there and back, so that an epoch costs 2 L products with S a batch:
    large batches are cheaper. S is symmetric and the sum is one call of the propagation kernel, forwards as backwards.

    Args:
        factors: Length of the vectors.
        num_layers: L; 0 is matrix factorisation without biases.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object. Further logits (NBPO's flips, DeCA's parts)
            are plain factors beside it, and are not kept after training.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is what the objective asks for, else uniform.
        learning_rate: Adam's.
        regularization: L2.
        iterations: Epochs.
        num_threads: 0 is one a core; results are the same to the bit at any number.
        random_state: A seed; None draws one, which is kept as the attribute.
        num_negatives: Negatives beside each positive; None with the sampler "in-batch": all of the batch.
        batch_size: Positives of a step.
        init_scale: Standard deviation of E_0 at the start.
        metric: What chooses the epoch where `fit` gets a validation set.
        patience: Stop after so many epochs without a better value; None runs all. The best epoch is kept either way.
        device: "cpu", "cuda" or "cuda:1".

    Attributes:
        epochs, best_epoch, history, counts: As of `MatrixFactorization`.

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
        objective: Any = "bpr",
        sampler: Any = None,
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
        self._common(
            objective, sampler, learning_rate, regularization, iterations, num_threads, random_state, num_negatives,
            batch_size, metric, patience, device,
        )  # fmt: skip

    def _network(self, user_items: Any, extra: Any, rng: np.random.Generator) -> Network:
        return Smoothing(
            user_items, self.factors, self.num_layers, self.init_scale, thread_count(self.num_threads), extra, rng
        )

    def _keep(self, network: Network) -> None:
        assert isinstance(network, Smoothing)
        self.fold_in_factors = network.of_new_users()

    def scores_for(self, user_items: Any) -> Floats:
        """Return scores of users known by their interactions alone: rows of a checked CSR matrix.

        A new user u has no row of E_0; what the propagation brings from its items, (1 / (L + 1)) sum over l < L of
        sum_i e_i^(l) / sqrt(n_u n_i), is its vector, with the items as they are.
        """
        # A weight above 1 is a click all the same.
        rows = as_csr("user_items", user_items)
        counts = np.diff(rows.indptr)
        vectors = np.asarray(rows @ self.fold_in_factors) / np.sqrt(np.maximum(counts, 1))[:, None]
        return self._score(vectors.astype(np.float32))


def bipartite(user_items: Any) -> Graph:
    """Return the graph of users (nodes 0 to m - 1) and items (from m on), an arc each way for each pair.

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
    """`smooth`, whose gradient is `smooth` again, since S is symmetric; with threads of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: Graph, num_layers: int, number: int) -> Tensor:
        ctx.rest = (graph, num_layers, number)
        with torch_threads(number):
            return smooth(graph, x, num_layers)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        graph, num_layers, number = ctx.rest
        with torch_threads(number):
            return smooth(graph, slopes[0].contiguous(), num_layers), None, None, None


class Smoothing(Network):
    """The network of LightGCN: E_0 of users, then of items, and the graph."""

    def __init__(
        self, user_items: Any, factors: int, num_layers: int, scale: float, number: int, extra: Any, rng: Any
    ) -> None:
        super().__init__(extra)
        self.num_users, num_items = user_items.shape
        self.start = parameter(scale * rng.standard_normal((self.num_users + num_items, factors)))
        self._graph = bipartite(user_items).normalise("sym")
        self._num_layers = num_layers
        self._threads = number if self._graph.num_arcs * factors * num_layers >= _WORTH else 1
        self._item_degrees = np.bincount(user_items.indices, minlength=num_items)
        self._table = self.start.detach()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the graph along with the parameters."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._graph = self._graph.to(self.start.device)
        return self

    def prepare(self) -> None:
        """Propagate."""
        self._table = _Smooth.apply(self.start, self._graph, self._num_layers, self._threads)  # type: ignore[no-untyped-call]

    def vectors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of what `prepare` made."""
        return embedding(users, self._table), embedding(items + self.num_users, self._table)

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of E_0."""
        return embedding(users, self.start), embedding(items + self.num_users, self.start)

    def of_new_users(self) -> Any:
        """Return (1 / (L + 1)) sum over l < L of e_i^(l) / sqrt(n_i), float32 [items, K]."""
        layers = self._num_layers
        with torch.no_grad(), torch_threads(self._threads):
            mean = smooth(self._graph, self.start, max(layers - 1, 0))[self.num_users :].cpu().numpy()
        scale = layers / (layers + 1) / np.sqrt(np.maximum(self._item_degrees, 1))
        return (mean * scale[:, None]).astype(np.float32)
