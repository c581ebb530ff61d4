"""Out-of-fold class probabilities: predictions for nodes by models that have not seen their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import randomized_svd
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.audit.detect.inputs import read_labelled_graph
from graphnoise.erase.inputs import read_features
from graphnoise.graph import Graph
from graphnoise.nn import Block, GraphAttention, GraphConvolution, Linear, SparseFeatures, dropout
from graphnoise.nn.features import MAX_SPARSE_DENSITY, compact, row_normalised, smoothed
from graphnoise.resources import limit_threads
from graphnoise.typing import FeaturesLike, Floats, GraphLike, Ints, LabelsLike
from graphnoise.undirected import symmetrised

# A model: the nodes to learn from and the class of each node, -1 elsewhere, to probabilities [n, C].
Model = Callable[[Ints, Ints], Any]
# Features of more entries are projected to so many directions.
MAX_ENTRIES, DIRECTIONS = 2**24, 256
MODELS = ("sgc", "gcn", "gat", "mlp")
# Smoothing steps of SGC; settings of the networks.
HOPS = 2
HEADS, HIDDEN, EPOCHS, LEARNING_RATE, DROPOUT, WEIGHT_DECAY = 4, 32, 100, 0.02, 0.5, 5e-4


def crossfit(
    graph: GraphLike,
    y: LabelsLike,
    x: FeaturesLike,
    *,
    model: str | Model = "sgc",
    folds: int | Sequence[int] | NDArray[np.int64] = 5,
    seed: int = 0,
) -> Floats:
    """Return class probabilities of all nodes, those of labelled nodes by a model that has not seen their labels.

    The labelled nodes are divided into folds. For each fold a model learns from the labels of all others; the models
    here read the graph and the features of all nodes, but no label as an input, so that with given folds a label never
    reaches its own prediction. Nodes without a label get the mean over folds.

    Args:
        graph: Anything `as_graph` takes; a directed graph is made symmetric.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        x: Features, dense or sparse, finite, shape [n, num_features].
        model: "sgc", logistic regression on features smoothed over two steps; "gcn", "gat" and "mlp", a graph
            convolutional network, a graph attention network and a perceptron without the graph, of two layers each;
            or a function of the nodes to learn from (int64 positions) and the classes of all nodes (int64 positions
            in the sorted classes, -1 for other folds and for nodes without a label) that returns probabilities [n,
            C]. "sgc" projects features of more than 16.8 million entries to their 256 principal directions.
        folds: Number of folds, divided evenly over each class by the seed (so that the folds alone depend on all
            labels); or the fold of each node, integers of at least 0, shape [n], of which those of nodes without a
            label are not read.
        seed: Seed of the folds and of the network.

    Returns:
        Probabilities, float64, shape [n, C]; columns are the sorted classes of y.

    Raises:
        InputError: No graph, shapes that do not fit, fewer than two folds or labelled nodes, or a function whose
            result is no matrix of probabilities.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=8, seed=0)
        >>> crossfit(data, data.y, data.x).argmax(1).tolist() == data.y.tolist()
        True

    Source:
        SGC: Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, section 2.2. GCN: Kipf and Welling,
        "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, section 3. GAT: Velickovic et
        al., "Graph Attention Networks", ICLR 2018, section 2.1.
    """
    arcs, codes, classes = read_labelled_graph(graph, y)
    seed = checks.integer("seed", seed, 0, 2**62)
    fold = _folds(folds, codes, seed)
    features = read_features("x", x)
    if len(features) != len(codes):
        checks.fail("x", f"{len(codes)} rows, one per node", len(features))
    if callable(model):
        return _out_of_fold(_checked(model, len(codes), classes), codes, fold, classes)
    checks.choice("model", model, MODELS)
    # Dense algebra rounds differently with other numbers of threads.
    with limit_threads(1):
        looped = symmetrised(arcs).with_self_loops().normalise("sym")
        rows = row_normalised(features)
        fit = _sgc(rows, looped, classes) if model == "sgc" else _network(rows, looped, classes, seed, model)
        return _out_of_fold(fit, codes, fold, classes)


def _folds(folds: object, codes: Ints, seed: int) -> Ints:
    """Return the fold of each labelled node, -1 elsewhere."""
    nodes, out = np.flatnonzero(codes >= 0), np.full(len(codes), -1, dtype=np.int64)
    if isinstance(folds, Sequence | np.ndarray | Tensor) and not isinstance(folds, str):
        given = checks.tensor("folds", folds)
        if given.dim() != 1 or len(given) != len(codes) or given.is_floating_point() or given.dtype == torch.bool:
            checks.fail("folds", f"an integer, or {len(codes)} integers, one per node", f"shape {tuple(given.shape)}")
        out[nodes] = given.cpu().numpy()[nodes]
        if out[nodes].min() < 0:
            checks.fail("folds", "a fold of at least 0 for each labelled node", out[nodes].min())
    else:
        count = checks.integer("folds", folds, 2)
        mixed = np.random.default_rng(seed).permutation(nodes)
        # One class after the other, so that each is divided evenly.
        out[mixed[np.argsort(codes[mixed], kind="stable")]] = np.arange(len(nodes)) % min(count, max(len(nodes), 1))
    if len(np.unique(out[nodes])) < 2:
        checks.fail("folds", "labelled nodes in at least two folds", f"{len(nodes)} labelled, in one")
    return out


def _out_of_fold(fit: Model, codes: Ints, fold: Ints, classes: int) -> Floats:
    out, numbers = np.zeros((len(codes), classes)), np.unique(fold[fold >= 0])
    for number in numbers:
        seen = (fold >= 0) & (fold != number)
        p = fit(np.flatnonzero(seen), np.where(seen, codes, -1))
        out[fold == number] = p[fold == number]
        out[fold < 0] += p[fold < 0] / len(numbers)
    return out


def _checked(model: Model, n: int, classes: int) -> Model:
    """Return the model with a check of what it returns."""

    def fit(nodes: Ints, codes: Ints) -> Floats:
        p = checks.probabilities("probabilities of model", model(nodes, codes.copy()), classes)
        if len(p) != n:
            checks.fail("probabilities of model", f"{n} rows, one per node", len(p))
        return p.detach().cpu().numpy().clip(0.0, 1.0)

    return fit


def _narrowed(x: Tensor) -> Tensor:
    """Return features, projected to their first principal directions where there are very many entries."""
    if x.numel() <= MAX_ENTRIES or x.shape[1] <= DIRECTIONS:
        return x
    sparse = int(x.count_nonzero()) < MAX_SPARSE_DENSITY * x.numel()
    matrix: Any = sp.csr_array(x.numpy()) if sparse else x.numpy()
    _, _, rows = randomized_svd(matrix, min(DIRECTIONS, len(x)), n_iter=2, random_state=0)
    return torch.from_numpy(np.ascontiguousarray(matrix @ rows.T)).float()


def _sgc(x: Tensor, looped: Graph, classes: int) -> Model:
    inputs = smoothed(_narrowed(x), looped, HOPS).numpy()

    def fit(nodes: Ints, codes: Ints) -> Floats:
        out, present = np.zeros((len(codes), classes)), np.unique(codes[nodes])
        if len(present) == 1:
            out[:, present] = 1.0
            return out
        model = LogisticRegression(max_iter=1000).fit(inputs[nodes], codes[nodes])
        out[:, present] = model.predict_proba(inputs)
        return out

    return fit


def _network(x: Tensor, looped: Graph, classes: int, seed: int, kind: str) -> Model:
    # Rows of length 1: those that sum to 1 are small where they have many entries, and learning is then slow.
    inputs, block = compact(F.normalize(x)), Block.full(looped)

    def fit(nodes: Ints, codes: Ints) -> Floats:
        generator = torch.Generator().manual_seed(seed)
        first = _layer(kind, x.shape[1], HIDDEN, HEADS, generator)
        second = _layer(kind, HIDDEN, classes, 1, generator)

        def apply(layer: Any, rows: Tensor | SparseFeatures) -> Tensor:
            out: Tensor = layer(rows) if kind == "mlp" else layer(rows, block)
            return out

        def logits(drop: torch.Generator | None) -> Tensor:
            return apply(second, dropout(F.relu(apply(first, inputs)), DROPOUT, drop))

        parameters = [*first.parameters(), *second.parameters()]
        optimiser = torch.optim.Adam(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        seen, labels = torch.from_numpy(nodes), torch.from_numpy(codes[nodes])
        for _ in range(EPOCHS):
            loss = F.cross_entropy(logits(generator)[seen], labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            return logits(None).double().softmax(1).numpy()

    return fit


def _layer(kind: str, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
    if kind == "mlp":
        return Linear(inputs, outputs, bias=True, generator=generator)
    if kind == "gat":
        return GraphAttention(inputs, outputs // heads, heads, generator=generator)
    return GraphConvolution(inputs, outputs, generator=generator)
