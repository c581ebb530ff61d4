"""Improvement of a set of nodes by maximum flows on the part of a graph around it.

The result is the set T of least cut(T) / (vol(T ∩ S) - penalty vol(T outside S)), for a given S, with a penalty of
delta + vol(S) / (vol(V) - vol(S)). With alpha the quotient of the best set so far, a source gives alpha d(v) to each
node of S, a sink takes alpha penalty d(v) from each other node, and edges hold their weight: the nodes that the source
still reaches at the largest flow are a set of smaller quotient, or there is none. Of the graph only the rows of S are
read, and those of nodes whose sink is full. With an infinite delta T stays within S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.cut import reference
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS, NodeLabels, native_arguments
from graphnoise.typing import Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


class Improved(NamedTuple):
    """The best set.

    Attributes:
        nodes: Its nodes, ascending.
        converged: Whether no set has a smaller quotient.
        statistics: Cut and volume of both sets, the quotient, and numbers of rounds, paths and arcs read.
        backend: The tier that ran.
    """

    nodes: Ints
    converged: bool
    statistics: dict[str, float]
    backend: str


def improve(
    graph: UndirectedGraph,
    nodes: Ints,
    labels: NodeLabels,
    label_eps: float,
    delta: float,
    max_rounds: int,
    backend: str | None,
) -> Improved:
    """Return the set of least quotient; arguments are known to be valid.

    Args:
        graph: An undirected graph.
        nodes: The set S, ascending, of at most half the volume.
        labels: As in `sweep`.
        label_eps: As in `sweep`.
        delta: Cost of volume outside S beyond the least one, at least 0 or infinite.
        max_rounds: Largest number of flows.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, TIERS)
    result: tuple[Ints | list[int], float, float, float, float, float, bool, int, int, int]
    if tier == "reference":
        result = reference.improve(graph, nodes.tolist(), labels, label_eps, delta, max_rounds)
    else:
        arguments = native_arguments(graph, labels, label_eps)
        result = _native.improve(*arguments, nodes.ctypes.data, len(nodes), delta, graph.volume, max_rounds)
    members, old_cut, old_volume, cut, volume, gain, converged, rounds, paths, arcs = result
    statistics = {
        "cut before": old_cut,
        "volume before": old_volume,
        "cut": cut,
        "volume": volume,
        "quotient": cut / gain if gain > 0 else 1.0,
        "rounds": float(rounds),
        "paths": float(paths),
        "arcs": float(arcs),
    }
    return Improved(np.asarray(members, dtype=np.int64), converged, statistics, tier)
