"""Messages of calibrated belief propagation, for two classes, among some nodes of a graph, of which only rows are read.

Nodes inside have all of their arcs here; nodes of the boundary, their other neighbours, send fixed messages. With a_e
the weight of arc e (1 without weights) and m_e = P(source inside), node i sends along its arc to j

    W = Σ_e a_e,   d = W² / Σ_e a_e²,   u = (d / W Σ_e a_e m_e + mean) / (d + 1)          (arcs e into i, not from j)
    new = s(w₀ + (w₁ + w₂ g) logit u + w₃ g + evidence_i),   g = log(1 + d)
    m_{i→j} ← keep m_{i→j} + (1 - keep) new
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS, as_int64, native_arguments
from graphnoise.kernels.region import reference
from graphnoise.kernels.region.reference import features_of_sums
from graphnoise.resources import native_threads
from graphnoise.typing import Floats, Ints

# Largest weight of a node over the sum of its others.
MAX_WEIGHT = 1e6

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph

__all__ = [
    "Region",
    "features_of_sums",
    "log_odds",
    "positions_of_arcs",
    "positive",
    "read_region",
    "set_messages",
    "update_region",
]


@dataclass(frozen=True, eq=False)
class Region:
    """Nodes inside with their arcs, and messages; places are those in `inside`, followed by those in `boundary`.

    Attributes:
        inside: Nodes inside, ascending, int64, shape [k].
        boundary: Their other neighbours, in no particular order, shape [b].
        rowptr: Where the arcs of each node inside begin, int64, shape [k + 1].
        target: Place of the other end of each arc, int32, shape [m].
        reply: Position in `messages` of the message along each arc, int64, shape [m].
        weight: Weight of each arc, those of a node inside with a sum of 1, float64, shape [m], or None for ones.
        total: Sum of the weights of each node inside, float64, shape [k].
        square: Sum of their squares.
        messages: P(source inside) that comes by each arc, then those that go to the boundary, float64, shape [m + b'].
        sums: Sum of weight times message that comes by the arcs of each node inside, float64, shape [k].
    """

    inside: Ints
    boundary: Ints
    rowptr: Ints
    target: NDArray[np.int32]
    reply: Ints
    weight: Floats | None
    total: Floats
    square: Floats
    messages: Floats
    sums: Floats

    @property
    def source(self) -> Ints:
        """Place of the node inside that has each arc, shape [m]."""
        return np.repeat(np.arange(len(self.inside)), np.diff(self.rowptr))

    @property
    def crossing(self) -> Ints:
        """Positions of the arcs into the boundary; messages along them are the last ones, in this order."""
        return np.flatnonzero(self.target >= len(self.inside))


def positions_of_arcs(graph: UndirectedGraph, nodes: Ints) -> tuple[Ints, Ints]:
    """Return the positions of the arcs of nodes, and where those of each node begin among them."""
    first = graph.rowptr[nodes]
    rowptr = np.concatenate([[0], np.cumsum(graph.rowptr[nodes + 1] - first)])
    return np.arange(rowptr[-1]) + np.repeat(first - rowptr[:-1], np.diff(rowptr)), rowptr


def read_region(graph: UndirectedGraph, inside: Ints, backend: str | None = None) -> Region:
    """Return the region of nodes; messages and their sums are 0.

    Args:
        graph: The graph.
        inside: Nodes, ascending, at least one.
        backend: "native", "reference", or None for the first.
    """
    arcs, rowptr = positions_of_arcs(graph, inside)
    if select(backend, TIERS) == "reference":
        boundary, target, reply = reference.ends(inside, rowptr, graph.col[arcs])
    else:
        inside = np.ascontiguousarray(inside)
        read = _native.read_region(*native_arguments(graph, None, 1.0)[:4], inside.ctypes.data, len(inside))
        boundary, target, reply = as_int64(read[0]), read[1], as_int64(read[2])
    total = square = np.diff(rowptr).astype(np.float64)
    weight = None if graph.weight is None else _limited(graph.weight[arcs], rowptr)
    if weight is not None:
        # Scaled, since squares of weights may be beyond float64.
        weight = weight / np.repeat(positive(_sums(weight, rowptr)), np.diff(rowptr))
        total, square = _sums(weight, rowptr), _sums(weight**2, rowptr)
    messages = np.zeros(len(target) + int((target >= len(inside)).sum()))
    return Region(inside, boundary, rowptr, target, reply, weight, total, square, messages, np.zeros(len(inside)))


def _sums(values: Floats, rowptr: Ints) -> Floats:
    """Return the sum of the values of each node's arcs."""
    sums: Floats = np.add.reduceat(np.append(values, 0), rowptr[:-1]) * (np.diff(rowptr) > 0)
    return sums


def positive(total: Floats) -> Floats:
    """Return totals to divide by, 1 in place of 0."""
    return np.where(total > 0, total, 1.0)


def _limited(weight: Floats, rowptr: Ints) -> Floats:
    """Return weights with a node's largest one at most a million times the sum of its others.

    Only ratios of the weights of a node count. A sum that a weight is subtracted from would lose the others.
    """
    source = np.repeat(np.arange(len(rowptr) - 1), np.diff(rowptr))
    largest = np.zeros(len(rowptr) - 1)
    np.maximum.at(largest, source, weight)
    top = weight == largest[source]
    others = np.bincount(source, np.where(top, 0.0, weight), minlength=len(largest))
    alone = np.bincount(source, top, minlength=len(largest)) == 1
    with np.errstate(over="ignore"):
        most = np.where(alone & (others > 0), MAX_WEIGHT * others, np.inf)
    return np.minimum(weight, most[source])


def set_messages(region: Region, beliefs: Floats, fixed: Floats) -> None:
    """Set the messages to beliefs of nodes inside, shape [k], and of the boundary, shape [b]."""
    count = len(region.target)
    region.messages[:count] = np.concatenate([beliefs, fixed])[region.target]
    region.messages[count:] = beliefs[region.source[region.crossing]]
    reference.add_up(region)


def update_region(
    region: Region, evidence: Floats, w: Floats, mean: float, keep: float, backend: str | None = None
) -> float:
    """Update the messages of the nodes inside, by the formulas of this module; return the largest change.

    Args:
        region: The region.
        evidence: What a node knows without its neighbours, log odds, shape [k].
        w: Shape [4].
        mean: One more vote, between 0 and 1.
        keep: Part of a message that stays, from 0 to 1.
        backend: "native", "reference", or None for the first.
    """
    if select(backend, TIERS) == "reference":
        return reference.update_region(region, evidence, w, mean, keep)
    arrays = region.rowptr, region.reply, region.weight, region.total, region.square, region.messages, region.sums
    addresses = [0 if array is None else array.ctypes.data for array in (*arrays, evidence, w)]
    return _native.update_region(native_threads(), len(region.inside), mean, keep, *addresses)


def log_odds(sums: Floats, total: Floats, square: Floats, mean: float, w: Floats, backend: str | None = None) -> Floats:
    """Return the log odds of nodes without evidence, by the formulas of this module.

    Args:
        sums: Sums of weight times message, shape [n].
        total: Sums of weights.
        square: Sums of squares of weights.
        mean: One more vote, between 0 and 1.
        w: Shape [4].
        backend: "native", "reference", or None for the first.
    """
    if select(backend, TIERS) == "reference":
        return features_of_sums(sums, total, square, mean) @ w
    out = np.empty(len(sums))
    addresses = [array.ctypes.data for array in (sums, total, square, out)]
    _native.log_odds(len(out), mean, w.ctypes.data, *addresses)
    return out
