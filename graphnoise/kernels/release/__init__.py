"""Capacity releasing diffusion: mass that climbs out of nodes that hold no more than their degree.

A round multiplies all mass and lets the excess settle: the lowest node with more mass than its degree sends it over an
edge to a lower node, as much as the edge lets through, the height of the sender times its weight and at most `capacity`
times it, less what was sent before; where there is no such edge, the node rises by 1, and at the greatest height its
excess is stuck. What is stuck is taken away. Rounds go on until much of what was spread was stuck, until some was and
the last rounds did no better, or until half the volume is full. What is returned is the state after the round in which
the nodes of at least some height had the least conductance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.release import reference
from graphnoise.kernels.sweep import addresses

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph
    from graphnoise.clustering.result import Floats, Ints

STATUS = ("converged", "max_pushes", "max_iterations", "half_volume")  # as in release_native.cpp


class Released(NamedTuple):
    """What a run found."""

    nodes: Ints  # that were touched, in the order of touch, as the next two
    height: Floats
    mass: Floats
    status: str
    pushes: int
    arcs: int
    statistics: dict[str, float]
    backend: str


def release(
    graph: UndirectedGraph,
    nodes: Ints,
    masses: Floats,
    labels: Any,
    eps: float,
    *,
    capacity: float,
    height: int,
    growth: float,
    stuck: float,
    iterations: int,
    patience: int,
    max_pushes: int,
    backend: str | None,
) -> Released:
    """Run the diffusion; arguments are known to be valid.

    Args:
        graph: An undirected graph.
        nodes: Seeds, none of them isolated, whose labels are 1.
        masses: Mass of each seed, float64.
        labels: As in `sweep`.
        eps: As in `sweep`.
        capacity: Most that an edge lets through, for each unit of its weight.
        height: Greatest height.
        growth: By what a round multiplies the mass.
        stuck: Part of all that was spread with which the rounds end.
        iterations: Largest number of rounds.
        patience: Rounds without a smaller conductance with which the rounds end once something was stuck.
        max_pushes: Largest number of pushes and rises.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, {"native": None, "reference": None})
    bounds: tuple[Any, ...] = capacity, height, growth, 1 - stuck, graph.volume / 2, iterations, patience, max_pushes
    found: tuple[Any, Any, Any, int, int, int, int, int, float, float, int]
    if tier == "reference":
        found = reference.release(graph, labels, eps, nodes.tolist(), masses.tolist(), *bounds)
    else:
        given = addresses(graph, labels, eps)
        found = _native.release(*given, nodes.ctypes.data, masses.ctypes.data, len(nodes), *bounds)
    touched, heights, mass, status, pushes, relabels, rounds, best_round, best, lost, arcs = found
    about = {"rounds": rounds, "round": best_round, "conductance": best, "stuck": lost, "relabels": relabels}
    return Released(
        np.asarray(touched, dtype=np.int64),
        np.asarray(heights, dtype=np.float64),
        np.asarray(mass, dtype=np.float64),
        STATUS[status],
        pushes,
        arcs,
        {name: float(value) for name, value in about.items()},
        tier,
    )
