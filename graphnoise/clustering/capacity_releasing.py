"""Capacity releasing diffusion from seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.inputs import CheckedLabels, PartialLabels
from graphnoise.clustering.result import Diffusion
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.release import Released, ReleaseSettings, release
from graphnoise.typing import Floats, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# There is a list per height.
MAX_HEIGHT = 10_000


def capacity_releasing(
    graph: GraphLike,
    seeds: SeedsLike,
    *,
    capacity: float = 3.0,
    height: int = 10,
    growth: float = 2.0,
    iterations: int = 20,
    stuck: float = 0.5,
    patience: int = 2,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    max_pushes: int = 10_000_000,
    backend: str | None = None,
) -> Diffusion:
    r"""Spread mass from seeds in growing amounts, through edges whose capacity grows with the height of the sender.

    Each seed begins with its degree as mass. A round multiplies all mass by `growth` and lets the excess m(v) - d(v)
    flow: a node of height l(v) sends to lower neighbours, through an edge of weight w at most min(l(v), capacity) w in
    total, and its height grows by 1 where it can send no more. Excess at nodes of the greatest height is stuck and is
    removed: much of the mass is stuck behind a cut of conductance well below 1 / capacity. The rounds end when the part
    `stuck` of all mass was removed, when some was and the last `patience` rounds brought no improvement, or when half
    the volume is full, so that the whole graph is never returned. The result is the round whose nodes of at least some
    height have the least conductance. Work grows with the mass, not with the graph.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans, or {node: mass} for other masses than degrees.
        capacity: Largest capacity of an edge per unit of its weight, above 0.
        height: Greatest height, at least 1; of the order of log(volume of the cluster) / conductance.
        growth: Factor by which each round multiplies the mass, above 1.
        iterations: Largest number of rounds.
        stuck: Rounds end once this part of all mass is stuck, in (0, 1).
        patience: Rounds end after this many without a smaller conductance once some mass is stuck.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None; seeds have label 1.
            Capacities of nodes are their degrees without labels.
        label_eps: Factor of the weight of an edge between different labels, from 0 to 1; 1 is the same as no labels.
        max_pushes: Largest number of pushes and relabels.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        A diffusion with values l(v) + min(m(v) / d(v), 1) / 2, so that a sweep by value visits the sets of nodes of at
        least a height, and the mass m(v) as residual. `status` is "converged" (enough was stuck), "half_volume",
        "max_iterations", "max_pushes", or "exhausted" (no seed has a neighbour). `statistics` holds the number of
        rounds, the "round" of the result with its least "conductance", the part of all mass that was "stuck", and
        "relabels".

    Raises:
        InputError: No seeds, bad seeds or labels, or an argument out of its range.

    Example:
        >>> import networkx
        >>> graph = networkx.connected_caveman_graph(8, 6)
        >>> diffusion = capacity_releasing(graph, 8)
        >>> diffusion.touched[diffusion.values > 1]
        array([ 6,  7,  8,  9, 10, 11])

    Source: Wang, Fountoulakis, Henzinger, Mahoney and Rao, "Capacity releasing diffusion for speed and locality", ICML
        2017, algorithms 1 to 3.
    """
    graph = as_undirected(graph)
    nodes, masses = inputs.check_seeds(graph, seeds)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    settings = ReleaseSettings(
        capacity=_above("capacity", capacity, 0.0),
        height=checks.integer("height", height, 1, MAX_HEIGHT),
        growth=_above("growth", growth, 1.0),
        iterations=checks.integer("iterations", iterations, 1, 2**31),
        stuck=checks.real("stuck", stuck, 0.0, 1.0),
        patience=checks.integer("patience", patience, 1, 2**31),
        max_pushes=checks.integer("max_pushes", max_pushes, 1, 2**62),
    )
    if settings.stuck in (0.0, 1.0):
        checks.fail("stuck", "a number above 0 and below 1", stuck)
    if not isinstance(seeds, Mapping):
        masses = graph.degree[nodes].copy()
    return release_unchecked(graph, nodes, masses, checked, label_eps, settings, backend)


def release_unchecked(
    graph: UndirectedGraph,
    seeds: Ints,
    masses: Floats,
    labels: CheckedLabels,
    label_eps: float,
    settings: ReleaseSettings,
    backend: str | None = None,
) -> Diffusion:
    """Run capacity releasing diffusion; arguments are known to be valid."""
    if isinstance(labels, PartialLabels):
        graph, labels = inputs.for_kernels(graph, inputs.with_seed_labels(labels, seeds), label_eps)
    linked = graph.degree[seeds] > 0
    if linked.any():
        run = release(graph, seeds[linked], masses[linked], labels, label_eps, settings, backend)
    else:
        empty = np.empty(0)
        run = Released(np.empty(0, dtype=np.int64), empty, empty, "exhausted", 0, 0, {}, "")
    # Seeds without neighbours keep their mass.
    touched = np.concatenate([run.nodes, seeds[~linked]])
    order = np.argsort(touched)
    degree = graph.degree[run.nodes]
    filled = np.minimum(run.mass / np.where(degree > 0, degree, 1.0), 1.0)
    values: Floats = np.concatenate([run.height + filled / 2, np.full(int((~linked).sum()), 0.5)])
    residual = np.concatenate([run.mass, masses[~linked]])
    return Diffusion(
        touched=touched[order],
        values=values[order],
        residual=residual[order],
        degree=graph.degree[touched[order]],
        converged=run.status == "converged",
        status=run.status,
        pushes=run.pushes,
        arcs=run.arcs,
        names=graph.named(touched[order]),
        backend=run.backend,
        statistics=run.statistics,
        method="crd",
    )


def _above(name: str, value: object, low: float) -> float:
    number = checks.real(name, value, low, expected=f"a number above {low:g}")
    if number == low:
        checks.fail(name, f"a number above {low:g}", value)
    return number
