"""Capacity releasing diffusion: nodes hold mass up to their degree, excess mass moves to lower nodes.

A round multiplies all mass and lets the excess settle: the lowest node with more mass than its degree sends it over an
edge to a lower node, as much as the capacity of the edge allows, the height of the sender times its weight and at most
`capacity` times it, less what was sent before; where there is no such edge, the height of the node grows by 1, and at
the greatest height its excess is stuck. Stuck mass is removed. Rounds end when a given part of all mass is stuck, when
some is and the last rounds brought no improvement, or when half the volume is full. The result is the state after the
round in which the nodes of at least some height had the least conductance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS, NodeLabels, native_arguments
from graphnoise.kernels.release import reference
from graphnoise.typing import Floats, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph

# In the order of `Status` in native.cpp.
STATUS = ("converged", "max_pushes", "max_iterations", "half_volume")


class ReleaseSettings(NamedTuple):
    """Parameters of a run.

    Attributes:
        capacity: Largest capacity of an edge per unit of its weight.
        height: Greatest height.
        growth: Factor by which a round multiplies the mass.
        iterations: Largest number of rounds.
        stuck: Rounds end once this part of all mass is stuck.
        patience: Rounds end after this many without a smaller conductance once some mass is stuck.
        max_pushes: Largest number of pushes and relabels.
    """

    capacity: float = 3.0
    height: int = 10
    growth: float = 2.0
    iterations: int = 20
    stuck: float = 0.5
    patience: int = 2
    max_pushes: int = 10_000_000


class Released(NamedTuple):
    """The state after the best round.

    Attributes:
        nodes: Touched nodes, in the order of touch, as `height` and `mass`.
        height: Height of each.
        mass: Mass of each.
        status: How the run ended, one of `STATUS`.
        pushes: Number of pushes.
        arcs: Number of arcs read.
        statistics: Numbers of rounds and relabels, the best round and its conductance, and the part of mass stuck.
        backend: The tier that ran.
    """

    nodes: Ints
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
    labels: NodeLabels,
    label_eps: float,
    settings: ReleaseSettings,
    backend: str | None,
) -> Released:
    """Run the diffusion; arguments are known to be valid.

    Args:
        graph: An undirected graph.
        nodes: Seeds, none of them isolated, whose labels are 1.
        masses: Mass of each seed, float64.
        labels: As in `sweep`.
        label_eps: As in `sweep`.
        settings: Parameters.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, TIERS)
    s = settings
    bounds: tuple[Any, ...] = (
        s.capacity,
        s.height,
        s.growth,
        1 - s.stuck,
        graph.volume / 2,
        s.iterations,
        s.patience,
        s.max_pushes,
    )
    result: tuple[Any, Any, Any, int, int, int, int, int, float, float, int]
    if tier == "reference":
        result = reference.release(graph, labels, label_eps, nodes.tolist(), masses.tolist(), *bounds)
    else:
        arguments = native_arguments(graph, labels, label_eps)
        result = _native.release(*arguments, nodes.ctypes.data, masses.ctypes.data, len(nodes), *bounds)
    touched, height, mass, status, pushes, relabels, rounds, best_round, best, stuck, arcs = result
    statistics = {"rounds": rounds, "round": best_round, "conductance": best, "stuck": stuck, "relabels": relabels}
    return Released(
        np.asarray(touched, dtype=np.int64),
        np.asarray(height, dtype=np.float64),
        np.asarray(mass, dtype=np.float64),
        STATUS[status],
        pushes,
        arcs,
        {name: float(value) for name, value in statistics.items()},
        tier,
    )
