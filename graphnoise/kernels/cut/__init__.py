"""Improvement of a set of nodes by maximum flows on the part of a graph around it.

Wanted is the set T of least cut(T) / (vol(T ∩ S) - penalty vol(T outside S)), for a given S, with a penalty of delta +
vol(S) / (vol(V) - vol(S)). With alpha the quotient of the best set so far, let a source give alpha d(v) to each node of
S, a sink take alpha penalty d(v) from each other node, and edges hold their weight: the nodes that the source still
reaches at the largest flow are a set of smaller quotient, or there is none. Of the graph only the rows of S are read,
and those of nodes whose sink is full. With an infinite delta T stays within S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.cut import reference
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.sweep import addresses

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph
    from graphnoise.clustering.result import Ints


def improve(
    graph: UndirectedGraph, nodes: Ints, labels: Any, eps: float, delta: float, max_rounds: int, backend: str | None
) -> tuple[Ints, dict[str, float], bool, str]:
    """Return the best set, ascending, what to say about it, whether it is known to be best, and the tier that ran.

    Arguments are known to be valid.

    Args:
        graph: An undirected graph.
        nodes: The set S, ascending, of at most half the volume.
        labels: As in `sweep`.
        eps: As in `sweep`.
        delta: What volume outside S costs beyond the least, at least 0 or infinite.
        max_rounds: Largest number of flows.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, {"native": None, "reference": None})
    found: tuple[Any, float, float, float, float, float, bool, int, int, int]
    if tier == "reference":
        found = reference.improve(graph, nodes.tolist(), labels, eps, delta, max_rounds)
    else:
        given = addresses(graph, labels, eps)
        found = _native.improve(*given, nodes.ctypes.data, len(nodes), delta, graph.volume, max_rounds)
    members, old_cut, old_volume, cut, volume, gain, converged, rounds, paths, arcs = found
    about = {
        "cut before": old_cut,
        "volume before": old_volume,
        "cut": cut,
        "volume": volume,
        "quotient": cut / gain if gain > 0 else 1.0,
    }
    about |= {"rounds": float(rounds), "paths": float(paths), "arcs": float(arcs)}
    return np.asarray(members, dtype=np.int64), about, converged, tier
