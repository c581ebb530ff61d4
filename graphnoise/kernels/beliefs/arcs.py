"""Arrays that belief propagation derives from a graph, and its messages with their sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.typing import Floats, Ints

Singles = NDArray[np.float32]
# A weight counts as at most so many times the second largest of its node.
MAX_RATIO = 1e12


def readable_zeros(shape: tuple[int, ...]) -> Singles:
    """Return zeros that are readable a vector of 16 numbers beyond their end."""
    size = math.prod(shape)
    return np.zeros(size + 16, dtype=np.float32)[:size].reshape(shape)


@dataclass(frozen=True, eq=False)
class Arcs:
    """Arcs of an undirected graph without self-loops; weights of repeated arcs add up.

    Sums at a node without one neighbour are differences, which lose all digits next to a much larger weight. Weights
    are thus relative to the second largest of their node, and the heaviest arc is not in the sums.

    Attributes:
        rowptr: Where the arcs into each node begin, int64, shape [n + 1].
        col: Source of each arc, ascending in a row, int32, shape [m].
        reverse: Position of the arc in the other direction, int64, shape [m].
        weight: Weight of each arc over the second largest of its target, float32, shape [m], or None for ones.
        heaviest: Position of the arc of largest weight into each node, -1 where there is none, int64, shape [n]; None
            without weights.
        total: Sum of the weights into each node but the heaviest, float64, shape [n]; of all without weights.
        square: Sum of their squares.
    """

    rowptr: Ints
    col: NDArray[np.int32]
    reverse: Ints
    weight: Singles | None
    heaviest: Ints | None
    total: Floats
    square: Floats

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.rowptr) - 1

    @property
    def target(self) -> Ints:
        """Target of each arc, int64, shape [m]."""
        return np.repeat(np.arange(self.num_nodes), np.diff(self.rowptr))


def arcs_of(graph: UndirectedGraph) -> Arcs:
    """Return the arcs of a graph."""
    n = graph.num_nodes
    row = np.repeat(np.arange(n, dtype=np.int32), np.diff(graph.rowptr))
    keep = row != graph.col
    values = np.ones(int(keep.sum())) if graph.weight is None else graph.weight[keep]
    # Row pointers of the remaining arcs.
    rowptr = np.concatenate([[0], np.cumsum(keep)])[graph.rowptr]
    rows = scipy.sparse.csr_array((values, graph.col[keep], rowptr), shape=(n, n))
    del row, keep
    rows.sum_duplicates()
    unit = graph.weight is None and bool((rows.data == 1).all())
    rowptr, col = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    position = scipy.sparse.csr_array((np.arange(len(col)), rows.indices, rows.indptr), shape=(n, n))
    reverse = position.tocsc().data
    count = np.diff(rowptr).astype(np.float64)
    if unit:
        return Arcs(rowptr, col, reverse, None, None, count, count)
    weight, heaviest = _relative(rowptr, rows.data)
    others = weight.astype(np.float64)
    others[heaviest[heaviest >= 0]] = 0.0
    target = np.repeat(np.arange(n), np.diff(rowptr))
    total, square = (np.bincount(target, others**k, minlength=n).astype(np.float64) for k in (1, 2))
    return Arcs(rowptr, col, reverse, weight, heaviest, total, square)


def _relative(rowptr: Ints, weight: Floats) -> tuple[Singles, Ints]:
    """Return weights over the second largest of their row (the only one), and the position of the largest."""
    count = np.diff(rowptr)
    target = np.repeat(np.arange(len(count)), count)
    # Rows stay where they are; within one, weights ascend.
    order = np.lexsort((weight, target))
    some = count > 0
    last = rowptr[1:][some] - 1
    heaviest = np.full(len(count), -1)
    heaviest[some] = order[last]
    second = np.ones(len(count))
    second[some] = weight[order[np.maximum(last - 1, rowptr[:-1][some])]]
    with np.errstate(over="ignore"):
        return np.minimum(weight / second[target], MAX_RATIO).astype(np.float32), heaviest


@dataclass(eq=False)
class Messages:
    """Messages along arcs, and their sums at the nodes.

    Attributes:
        arcs: The arcs.
        values: The message of each arc, a distribution over classes, float32, shape [m, C].
        sums: Sum of weight times message over the arcs into each node but the heaviest, float32, shape [n, C].
        heavy: Weight times message of the heaviest arc, float32, shape [n, C], or None without weights.
    """

    arcs: Arcs
    values: Singles
    sums: Singles
    heavy: Singles | None

    def votes(self, prior: Floats, nodes: Ints | None = None) -> tuple[Floats, Floats]:
        """Return u, the mean of the messages to some nodes (None: all) and of one for the prior, and d: [n, C], [n]."""
        arcs, at = self.arcs, slice(None) if nodes is None else nodes
        sums, total, square = self.sums[at].astype(np.float64), arcs.total[at], arcs.square[at]
        if self.heavy is not None and arcs.weight is not None and arcs.heaviest is not None:
            heaviest = arcs.heaviest[at]
            most = np.where(heaviest < 0, 0.0, np.append(arcs.weight, np.float32(0))[heaviest])
            sums += self.heavy[at]
            total, square = total + most, square + most**2
        some = total > 0
        d = np.where(some, total**2 / np.where(some, square, 1.0), 0.0)
        sums *= (d / np.where(some, total, 1.0))[:, None]
        sums += prior
        sums /= (d + 1)[:, None]
        return sums, d
