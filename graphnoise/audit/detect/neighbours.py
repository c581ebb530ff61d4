"""Detectors that read the graph and the labels alone: neighbours, label propagation, influence."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.audit.detect.inputs import one_hot, read_labelled_graph
from graphnoise.graph import Graph
from graphnoise.influence import influence_contradictions
from graphnoise.noise.mixture import lower_component
from graphnoise.propagation import propagate
from graphnoise.typing import Floats, GraphLike, Ints, LabelsLike

# Numbers of a block of columns, few enough for a cache: 8 MB in float32.
BLOCK_ENTRIES = 2**21
# Share of what a node receives below which the rest is rounding.
MIN_SHARE = 1e-5


def neighbour_agreement(graph: GraphLike, y: LabelsLike) -> Floats:
    """Return the share of the labelled neighbours, by weight, that have the same label.

    Without a labelled neighbour it is the share of the label among all labels. Self-loops do not count.

    Args:
        graph: Anything `as_graph` takes; neighbours of i are the sources of the arcs into i.
        y: Given labels, -1, NaN or None where a node has none, shape [n].

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: No graph, not one label per node, or no label at all.

    Example:
        >>> neighbour_agreement([[0, 1, 1, 2, 3, 1], [1, 0, 2, 1, 1, 3]], [0, 0, 0, 1])
        array([1.        , 0.66666667, 1.        , 0.        ])
    """
    arcs, codes, classes = read_labelled_graph(graph, y)
    return own_shares(neighbour_labels(arcs, codes, classes), codes[codes >= 0])


def neighbour_labels(graph: Graph, codes: Ints, classes: int) -> Floats:
    """Return the weight of the neighbours of each class, of the labelled nodes, shape [num_labelled, classes].

    Example:
        >>> pair = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
        >>> neighbour_labels(pair, np.array([0, 1]), 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    row, col = graph.row.numpy(), graph.col.numpy()
    weight = np.ones(len(row)) if graph.weight is None else graph.weight.detach().double().cpu().numpy()
    matrix = sp.csr_array((np.where(row != col, weight, 0.0), (row, col)), shape=(len(codes),) * 2)
    received: Floats = (matrix @ one_hot(codes, classes))[codes >= 0]
    return received


def label_propagation(graph: GraphLike, y: LabelsLike, *, alpha: float = 0.9, num_steps: int = 10) -> Floats:
    r"""Return the share of the own label in what the labels of all other nodes propagate to a node.

    F = P Y with P = (1 - alpha) Σ_{t < T} (alpha S)^t + (alpha S)^T, the T steps of `propagate` with restart and
    symmetric normalisation. The own contribution P_ii is subtracted exactly (to rounding in float32): it is a sum of
    inner products, (S^(s + t))_ii = ⟨(Sᵀ)^s e_i, S^t e_i⟩, for which T / 2 products with S are enough. Where nothing
    arrives, it is the share of the label among all labels.

    Args:
        graph: Anything `as_graph` takes.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Number of steps T.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `neighbour_agreement`; or alpha or num_steps out of range.

    Example:
        >>> label_propagation([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]], [0, 0, 1]).round(2)
        array([0.5, 0.5, 0. ])

    Source:
        Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2.
    """
    arcs, codes, classes = read_labelled_graph(graph, y)
    alpha, num_steps = checks.rate("alpha", alpha), checks.integer("num_steps", num_steps, 0, 1000)
    return own_shares(propagated_labels(arcs, codes, classes, alpha, num_steps), codes[codes >= 0])


def propagated_labels(graph: Graph, codes: Ints, classes: int, alpha: float, num_steps: int) -> Floats:
    """Return what each labelled node receives from the labels of all others, see `label_propagation`.

    Example:
        >>> pair = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
        >>> propagated_labels(pair, np.array([0, 1]), 2, 0.5, 1).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    nodes, matrix = np.flatnonzero(codes >= 0), graph.normalise("sym")
    labels = torch.from_numpy(one_hot(codes, classes))
    received: Floats = propagate(matrix, labels, alpha=alpha, num_steps=num_steps).y.numpy()[nodes]
    total = received.sum(1, keepdims=True)
    received[np.arange(len(nodes)), codes[nodes]] -= own_weights(matrix, nodes, alpha, num_steps)
    received[received < MIN_SHARE * total] = 0.0
    return received


def own_weights(matrix: Graph, nodes: Ints, alpha: float, num_steps: int) -> Floats:
    """Return P_ii, see `label_propagation`, of some nodes, shape [len(nodes)].

    Args:
        matrix: The normalised graph S.
        nodes: Positions of the nodes.
        alpha: Weight of the neighbours.
        num_steps: Number of steps.

    Example:
        >>> pair = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).normalise("sym")
        >>> own_weights(pair, np.array([0]), 0.5, 2)
        array([0.75])
    """
    weights = np.append((1 - alpha) * alpha ** np.arange(num_steps), alpha**num_steps)
    own = np.full(len(nodes), weights[0])
    other = None if matrix.undirected else matrix.transposed
    size = max(BLOCK_ENTRIES // max(matrix.num_nodes, 1), 1)
    for first in range(0, len(nodes) if num_steps else 0, size):
        part = slice(first, first + size)
        forward = torch.zeros(matrix.num_nodes, len(nodes[part]))
        forward[nodes[part], np.arange(len(nodes[part]))] = 1.0
        backward = forward
        for power in range(1, num_steps + 1, 2):
            forward = propagate(matrix, forward, alpha=1.0, num_steps=1).y
            own[part] += weights[power] * _inner(backward, forward)
            if power < num_steps:
                backward = forward if other is None else propagate(other, backward, alpha=1.0, num_steps=1).y
                own[part] += weights[power + 1] * _inner(backward, forward)
    return own


def influence_contradiction(graph: GraphLike, y: LabelsLike, *, alpha: float = 0.85, per_class: bool = True) -> Floats:
    r"""Return how surely a node is not among those that nodes of other labels influence most.

    The influence is personalised PageRank, Π = (1 - alpha) (I - alpha S)^-1 with S the graph with self-loops, rows
    normalised, so that those of Π sum to 1. The contradiction of node i is Σ_{c ≠ y_i} mean_{k: y_k = c} Π_ik or,
    without `per_class`, Σ_{k: y_k ≠ y_i} Π_ik, the share of the influence. The credibility is the probability of the
    lower of two normal distributions of the contradictions, which have one variance.

    Args:
        graph: Anything `as_graph` takes.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        alpha: Weight of the neighbours, in [0, 0.999].
        per_class: Whether nodes of a class are averaged, as published; else they are added.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `neighbour_agreement`; or alpha out of range.

    Example:
        >>> triangles = [[0, 1, 2, 3, 4, 5, 6], [1, 2, 0, 4, 5, 3, 5]]
        >>> arcs = np.hstack([triangles, triangles[::-1]])
        >>> influence_contradiction(arcs, [0, 0, 0, 1, 1, 1, 0]).round(1)
        array([1., 1., 1., 1., 1., 1., 0.])

    Source:
        ICGNN, "influence contradiction score", arXiv 2601.17469. There S is normalised symmetrically, and the score is
        averaged with that of a graph of nearest embeddings.
    """
    arcs, codes, classes = read_labelled_graph(graph, y)
    alpha = checks.real("alpha", alpha, 0.0, 0.999)
    looped, per_class = arcs.with_self_loops().normalise("row"), checks.flag("per_class", per_class)
    scores = influence_contradictions(looped, torch.from_numpy(codes), classes, alpha=alpha, per_class=per_class)
    return lower_component(scores.numpy())


def _inner(first: torch.Tensor, second: torch.Tensor) -> NDArray[np.float32]:
    """Return the inner products of columns."""
    products: NDArray[np.float32] = torch.linalg.vecdot(first, second, dim=0).numpy()
    return products


def own_shares(received: Floats, codes: Ints) -> Floats:
    """Return the share of the own class in each row; in rows of zeros its share of all labels.

    Example:
        >>> own_shares(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([0, 1]))
        array([0.75, 0.5 ])
    """
    total, rows = received.sum(1), np.arange(len(codes))
    shares: Floats = np.bincount(codes)[codes] / len(codes)
    np.divide(received[rows, codes], total, out=shares, where=total > 0)
    return shares
