"""Noisy membership labels from node attributes: a classifier fitted on a few samples inside and outside a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.containers import warn_of_names
from graphnoise.graph import Graph
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.nn import Linear, dropout, receptive_field
from graphnoise.nn.features import compact
from graphnoise.nn.sparse import product
from graphnoise.typing import Bytes, Floats, GraphLike, Ints, SeedsLike
from graphnoise.undirected import as_undirected

MODELS = ("gcn", "logistic")
# Of the GCN, as in the node benchmark.
HIDDEN, DROPOUT, RATE, DECAY, EPOCHS = 16, 0.5, 0.02, 5e-4, 200

# (samples, whether each is inside, masks of the training samples) -> P(inside), one row per mask, one column per node
Fit = Callable[[Ints, Ints, list[NDArray[np.bool_]]], Floats]


@dataclass(frozen=True, eq=False)
class Membership:
    """Noisy labels of the nodes of a cluster, with estimates of their accuracy.

    Attributes:
        labels: 1 for nodes that are predicted inside, uint8, shape [n]; samples have their true label.
        probability: P(inside) of each node by the classifier, float64, shape [n]; 0 or 1 for samples.
        a1: Estimate of P(label 1 | inside) for nodes other than samples.
        a0: Estimate of P(label 0 | outside) for nodes other than samples.
        a1_error: Standard deviation of a1, given the number of samples inside.
        a0_error: Standard deviation of a0, given the number of samples outside.
        folds: Number of folds of the cross-validation.
    """

    labels: Bytes
    probability: Floats
    a1: float
    a0: float
    a1_error: float
    a0_error: float
    folds: int


def predict_membership(
    x: Tensor | NDArray[Any] | scipy.sparse.sparray | scipy.sparse.spmatrix,
    inside: SeedsLike,
    outside: SeedsLike,
    *,
    graph: GraphLike | None = None,
    model: str = "logistic",
    folds: int = 5,
    seed: int | np.random.Generator = 0,
) -> Membership:
    r"""Label all nodes from the attributes of a few that are known to be inside or outside a cluster.

    A classifier is fitted on the samples, with equal total weight per side; nodes with P(inside) > 1/2 have label 1.
    Its accuracies are estimated by cross-validation on the samples, with h of s held-out samples of a side right:

        a = (h + 1) / (s + 2),    error = sqrt(a (1 - a) / (s + 3))

    the mean and standard deviation of the posterior under a uniform prior: few samples shrink the estimate towards 1/2.
    Held-out classifiers have fewer samples than the final one, so that the estimate is a little low.

    Args:
        x: Attributes, finite, dense or SciPy sparse, shape [n, features]; row i is that of node i in the order of the
            graph. Rows are scaled to Euclidean norm 1 where all
            attributes are at least 0; columns are standardised otherwise.
        inside: At least 2 nodes of the cluster (positions, names, or a mask).
        outside: At least 2 nodes that are not in the cluster, preferably a random sample.
        graph: The graph, for names and for the model "gcn" (see `as_undirected`).
        model: "logistic" (logistic regression on the attributes) or "gcn" (graph convolution of two layers).
        folds: Number of folds, at least 2; fewer where a side has fewer samples.
        seed: Seed of folds and of the GCN.

    Raises:
        InputError: Attributes that are not finite, too few samples, a sample on both sides, or a GCN without graph.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(100, 2)) + 4 * (np.arange(100) < 30)[:, None]
        >>> membership = predict_membership(x, inside=range(10), outside=range(90, 100))
        >>> int(membership.labels[:30].sum()), int(membership.labels[30:].sum()), round(membership.a1, 2)
        (30, 0, 0.92)

    Source:
        Local clustering with noisy node labels; the estimate is Laplace's rule of succession.
    """
    model = checks.choice("model", model, MODELS)
    rng = checks.generator(seed)
    features = check_attributes(x)
    n = features.shape[0]
    undirected = None if graph is None else as_undirected(graph)
    if undirected is not None and undirected.num_nodes != n:
        checks.fail("x", f"{undirected.num_nodes} rows, one per node", n)
    if undirected is not None:
        warn_of_names(undirected.names)
    samples, sides = _samples(undirected, n, inside, outside)
    if model == "gcn":
        if undirected is None:
            checks.fail("graph", 'a graph, for model="gcn"', None)
        fit = _gcn(features, undirected, int(rng.integers(2**62)))
    else:
        fit = _logistic(features)
    counts = np.bincount(sides, minlength=2)
    folds = min(checks.integer("folds", folds, 2), int(counts.min()))
    fold = np.empty(len(samples), dtype=np.int64)
    for side in (0, 1):
        fold[rng.permutation(np.flatnonzero(sides == side))] = np.arange(counts[side]) % folds
    used = [fold != k for k in range(folds)]
    outputs = fit(samples, sides, [*used, np.ones(len(samples), dtype=bool)])
    probability = outputs[-1].copy()
    # Of each sample, by the classifier that was not fitted on it.
    guess = outputs[fold, samples] > 0.5
    a = (np.bincount(sides, weights=guess == sides, minlength=2) + 1) / (counts + 2)
    error = np.sqrt(a * (1 - a) / (counts + 3))
    probability[samples] = sides
    labels = (probability > 0.5).astype(np.uint8)
    return Membership(labels, probability, float(a[1]), float(a[0]), float(error[1]), float(error[0]), folds)


def check_attributes(x: Any) -> Any:
    """Return attributes as a float32 array or CSR matrix, after checks."""
    if scipy.sparse.issparse(x):
        if x.ndim != 2 or x.dtype.kind not in "biuf":
            checks.fail("x", "a matrix of real numbers", f"shape {x.shape} of type {x.dtype}")
        features = scipy.sparse.csr_array(x, dtype=np.float32)
        features.sum_duplicates()
        checks.finite("x", features.data)
    else:
        features = checks.finite("x", x, dims=2).detach().cpu().to_dense().float().numpy()
        # Also where float32 overflows.
        checks.finite("x", features)
    if 0 in features.shape:
        checks.fail("x", "at least one node and one attribute", f"shape {tuple(features.shape)}")
    return features


def _samples(graph: UndirectedGraph | None, n: int, inside: SeedsLike, outside: SeedsLike) -> tuple[Ints, Ints]:
    """Return the positions of all samples, and for each whether it is inside."""
    if graph is None:
        graph = UndirectedGraph(np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32), None, np.zeros(n), 0.0)
    parts = [inputs.check_nodes(graph, nodes, name) for name, nodes in (("outside", outside), ("inside", inside))]
    for name, nodes in zip(("outside", "inside"), parts, strict=True):
        if len(nodes) < 2:
            checks.fail(name, "at least 2 samples (one to fit, one to test)", len(nodes))
    both = np.intersect1d(parts[0], parts[1])
    if both.size:
        got = f"{graph.names[both[0]]!r} in both" if graph.names else f"{both[0]}"
        checks.fail("outside", "nodes that are not in inside", got)
    return np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts])


def _logistic(features: Any) -> Fit:
    stored = features.data if scipy.sparse.issparse(features) else features
    if stored.size == 0 or stored.min() >= 0:
        scaled = normalize(features)
    else:
        scaled = StandardScaler(with_mean=not scipy.sparse.issparse(features)).fit_transform(features)

    def fit(samples: Ints, sides: Ints, used: list[NDArray[np.bool_]]) -> Floats:
        out = np.empty((len(used), features.shape[0]))
        for k, mask in enumerate(used):
            model = LogisticRegression(class_weight="balanced", max_iter=1000)
            out[k] = model.fit(scaled[samples[mask]], sides[mask]).predict_proba(scaled)[:, 1]
        return out

    return fit


def _gcn(features: Any, graph: UndirectedGraph, seed: int) -> Fit:
    """Fit graph convolutional networks of two layers, one per fold in one pass; attributes are smoothed once."""
    weight = None if graph.weight is None else torch.tensor(graph.weight)
    plain = Graph.unchecked(torch.tensor(graph.rowptr), torch.tensor(graph.col.astype(np.int64)), weight)
    looped = plain.with_self_loops().normalise("sym")
    S = looped.to_scipy().astype(np.float32)
    stored = features.data if scipy.sparse.issparse(features) else features
    bag_of_words = stored.size and stored.min() >= 0
    smooth = S @ (normalize(features, norm="l1") if bag_of_words else features)

    def fit(samples: Ints, sides: Ints, used: list[NDArray[np.bool_]]) -> Floats:
        # Gradients are needed also where the caller has disabled them.
        with torch.inference_mode(False), torch.enable_grad():
            first, second = train(samples, sides, torch.tensor(np.array(used)))
        count = len(used)
        with torch.no_grad():
            W, b, V = (part.numpy() for part in (first.weight, cast(Tensor, first.bias), second))
        hidden = np.maximum(smooth @ W + b, 0).reshape(-1, count, HIDDEN)
        logit = S @ (hidden * V[:, :HIDDEN]).sum(2) + V[:, HIDDEN]
        return np.asarray(expit(logit.T), dtype=np.float64)

    def train(samples: Ints, sides: Ints, used: Tensor) -> tuple[Linear, Tensor]:
        """Return both layers: the second has a row of weights, and its bias, for each network."""
        generator = torch.Generator().manual_seed(seed)
        count = used.shape[0]
        near, (block,) = receptive_field(looped, torch.tensor(samples), 1)
        rows = smooth[near.numpy()]
        x = compact(torch.tensor(rows.toarray() if scipy.sparse.issparse(rows) else rows))
        first = Linear(smooth.shape[1], count * HIDDEN, bias=True, generator=generator)
        second = torch.zeros(count, HIDDEN + 1)
        # Glorot's bounds, of one network.
        with torch.no_grad():
            bound = math.sqrt(6 / (smooth.shape[1] + HIDDEN))
            first.weight.uniform_(-bound, bound, generator=generator)
            bound = math.sqrt(6 / (HIDDEN + 1))
            second[:, :HIDDEN].uniform_(-bound, bound, generator=generator)
        second.requires_grad_()
        target = torch.tensor(sides, dtype=torch.float32)[:, None].expand(-1, count)
        weight = sum((side / side.sum(0) / 2 for side in (used.T * target, used.T * (1 - target))), torch.zeros(()))
        optimiser = torch.optim.Adam([*first.parameters(), second], RATE, weight_decay=DECAY)
        for _ in range(EPOCHS):
            hidden = cast(Tensor, dropout(F.relu(first(x)), DROPOUT, generator)).view(-1, count, HIDDEN)
            outputs = (hidden * second[:, :HIDDEN]).sum(2)
            logit = product(block.matrix, block.transpose, outputs) + second[:, HIDDEN]
            loss = F.binary_cross_entropy_with_logits(logit, target, weight=weight, reduction="sum")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if not math.isfinite(loss.item()):
            checks.fail("x", "attributes that a GCN can be trained on", f"a loss of {loss.item()}")
        return first, second.detach()

    return fit
