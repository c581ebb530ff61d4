"""Capacity releasing diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.reading import as_undirected
from graphnoise.clustering.result import Diffusion, Floats
from graphnoise.clustering.rounding import labels_of
from graphnoise.kernels.release import Released
from graphnoise.kernels.release import release as run

MOST_HEIGHT = 10_000  # each height keeps a list


def capacity_releasing(
    graph: Any,
    seeds: Any,
    *,
    capacity: float = 3.0,
    height: int = 10,
    growth: float = 2.0,
    iterations: int = 20,
    stuck: float = 0.5,
    patience: int = 2,
    labels: Any = None,
    label_eps: float = 0.05,
    max_pushes: int = 10_000_000,
    backend: str | None = None,
) -> Diffusion:
    r"""Spread mass from seeds in growing amounts, through edges that let through more, the higher it is dammed up.

    Each seed begins with its degree as mass. A round multiplies all mass by `growth` and lets the excess m(v) - d(v)
    flow: a node of height l(v) sends to lower neighbours, through an edge of weight w at most min(l(v), capacity) w in
    sum, and rises by 1 where nothing more goes. Excess at nodes of the greatest height is stuck there and taken away:
    behind a cut of conductance well below 1 / capacity much of it is. The rounds end when the part `stuck` of all mass
    was lost so, when some was lost and the last `patience` rounds did no better, or when half the volume is full, so
    that the whole graph is never returned. Of all rounds that one is returned whose nodes of at least some height have
    the least conductance. Work grows with the mass, not with the graph.

    Args:
        graph: What `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans, or {node: mass} for other masses than degrees.
        capacity: Most that an edge lets through for each unit of its weight, above 0.
        height: Greatest height, at least 1; of the order of log(volume of the cluster) / conductance.
        growth: By what each round multiplies the mass, above 1.
        iterations: Largest number of rounds.
        stuck: Part of all mass which is lost when the rounds end, in (0, 1).
        patience: Rounds without a smaller conductance with which the rounds end once some mass is lost.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None; seeds have label 1.
            An edge between different labels weighs `label_eps` of its weight; nodes hold their degree without labels.
        label_eps: Part that an edge between different labels weighs, from 0 to 1; 1 is the same as no labels.
        max_pushes: Largest number of pushes and rises.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        A diffusion with values l(v) + min(m(v) / d(v), 1) / 2, so that a sweep by value goes through the sets of nodes
        of at least a height, and the mass m(v) as residual. `status` is "converged" (enough was stuck), "half_volume",
        "max_iterations", "max_pushes", or "exhausted" (no seed has a neighbour). `statistics` holds the number of
        rounds, the "round" that is returned with its least "conductance", the part of all mass that was "stuck", and
        "relabels".

    Raises:
        InputError: No seeds, bad seeds or labels, or an argument out of its range.

    Example:
        >>> import networkx
        >>> graph = networkx.connected_caveman_graph(8, 6)
        >>> found = capacity_releasing(graph, 8)
        >>> found.touched[found.values > 1]
        array([ 6,  7,  8,  9, 10, 11])

    Source: Wang, Fountoulakis, Henzinger, Mahoney and Rao, "Capacity releasing diffusion for speed and locality", ICML
        2017, algorithms 1 to 3.
    """
    read = as_undirected(graph)
    nodes, masses = inputs.seeds(read, seeds)
    asked, eps = labels_of(read, labels, label_eps)
    settings: dict[str, Any] = {
        "capacity": _above("capacity", capacity, 0.0),
        "height": checks.integer("height", height, 1, MOST_HEIGHT),
        "growth": _above("growth", growth, 1.0),
        "iterations": checks.integer("iterations", iterations, 1, 2**31),
        "stuck": checks.real("stuck", stuck, 0.0, 1.0),
        "patience": checks.integer("patience", patience, 1, 2**31),
        "max_pushes": checks.integer("max_pushes", max_pushes, 1, 2**62),
    }
    if settings["stuck"] in (0.0, 1.0):
        checks.fail("stuck", "a number above 0 and below 1", stuck)
    degree = read.degree[nodes]
    if not isinstance(seeds, Mapping):
        masses = degree.copy()
    some = degree > 0
    found = (
        _nothing() if not some.any() else run(read, nodes[some], masses[some], asked, eps, backend=backend, **settings)
    )
    touched = np.concatenate([found.nodes, nodes[~some]])
    order = np.argsort(touched)
    full = read.degree[found.nodes]
    filled = np.minimum(found.mass / np.where(full > 0, full, 1.0), 1.0)
    values: Floats = np.concatenate([found.height + filled / 2, np.full(int((~some).sum()), 0.5)])
    residual = np.concatenate([found.mass, masses[~some]])
    return Diffusion(
        touched=touched[order],
        values=values[order],
        residual=residual[order],
        degree=read.degree[touched[order]],
        converged=found.status == "converged",
        status=found.status,
        pushes=found.pushes,
        arcs=found.arcs,
        names=read.named(touched[order]),
        backend=found.backend,
        statistics=found.statistics,
        method="crd",
    )


def _above(name: str, value: object, low: float) -> float:
    number = checks.real(name, value, low, expected=f"a number above {low:g}")
    if number == low:
        checks.fail(name, f"a number above {low:g}", value)
    return number


def _nothing() -> Released:
    none = np.empty(0)
    return Released(np.empty(0, dtype=np.int64), none, none, "exhausted", 0, 0, {}, "")
