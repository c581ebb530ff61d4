"""What an edge between nodes of different labels should weigh, from how far labels can be trusted and what is near.

F1 of supports on planted partitions (20 blocks of 500, q = .002, unit sinks, the best of 5 masses, mean of 20 draws of
seed node and labels on graphs that the constants were not found on):

    a1/a0                   .9/.9  .8/.9  .7/.9  .7/.95  .7/.7  .6/.8
    p = .03, eps = .05       .847   .781   .713   .751    .522   .496
    p = .03, eps = .2        .689   .644   .583   .609    .412   .404
    p = .03, `choose_label_eps`    .842   .774   .709   .747    .521   .494
    p = .05, eps = .05       .890   .830   .770   .798    .665   .662
    p = .05, eps = .2        .903   .880   .857   .901    .677   .761
    p = .05, `choose_label_eps`    .895   .846   .811   .877    .682   .715
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.batch import with_seeds
from graphnoise.clustering.diffusions import SINKS
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Floats, Ints

ROUNDINGS = ("support", "sweep")
DEFAULT = 0.05  # where nothing is known of the labels' accuracy
LEAST, MOST = 0.02, 0.5
LEAST_SAID = 0.15  # of a1 + a0 - 1: at .1 (.55/.55) weights did harm on planted partitions, at p = .03 and at .05
STRENGTH = {"support": 0.34, "sweep": 0.45}  # c below, found on planted partitions
ROWS = 256  # most neighbours of seeds whose rows are read


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """What the labels near some seeds say about the cluster there.

    Attributes:
        share: Estimate of the share of the arcs of a member that lead to members.
        gamma: share / (1 - share): members over others among the neighbours of a member.
        degree: Mean number of neighbours of nodes near the seeds.
        inside: share · degree: number of neighbours inside the cluster.
        reach: share² · R: over how many nodes inside two steps from the seeds spread. R = (Σ c)² / Σ c², where c_v of
            the arcs of the seeds' neighbours lead to v: their number in a tree, and less among nodes that share
            neighbours.
        arcs: Number of arcs that were read.
    """

    share: float
    gamma: float
    degree: float
    inside: float
    reach: float
    arcs: int


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """What edges between nodes of different labels weigh, and why.

    Attributes:
        label_eps: Part of its weight that such an edge keeps; 1 where labels are left out.
        weighted: Whether labels are of use.
        reason: Why, in a sentence.
        statistics: What `label_eps` was computed from, or None.
    """

    label_eps: float
    weighted: bool
    reason: str
    statistics: LabelStatistics | None = None


def label_statistics(graph: Any, seeds: Any, labels: Any, a1: float, a0: float) -> LabelStatistics:
    r"""Estimate from noisy labels which share of the arcs of a cluster's members stay inside.

    With the share s, a neighbour of a member has label 1 with probability f = s a1 + (1 - s)(1 - a0). A neighbour u of
    a seed that has label 1 is then a member with probability r = s a1 / f (label 0: s (1 - a1) / (1 - f)); if it is
    one, its own neighbours have label 1 with probability f, and otherwise about 1 - a0. Of n_u neighbours without the
    seeds, k_u have label 1. The likelihood of s,

        B(k; n, f) over seeds  ·  Π_u [ r B(k_u; n_u, f) + (1 - r) B(k_u; n_u, 1 - a0) ],

    gives the mean of the posterior under a uniform prior. One seed of 30 neighbours leads to some 1,000 labels.

    Args:
        graph: What `as_undirected` takes. Weights are not regarded.
        seeds: Seeds, as the diffusions take them.
        labels: Noisy labels 0/1, as the diffusions take them.
        a1: P(label 1 | inside).
        a0: P(label 0 | outside).

    Raises:
        InputError: Bad seeds or labels, no labels, a1 or a0 outside [0, 1].

    Example:
        >>> from graphnoise import datasets, noise, Graph
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)  # 19.9 neighbours inside, 8 outside
        >>> labels = noise.flip_membership(data.y == 0, a1=0.9, a0=0.9, seed=0).y
        >>> near = label_statistics(Graph.from_data(data), 0, labels, 0.9, 0.9)
        >>> round(near.share, 2), round(near.inside, 1)
        (0.7, 20.1)

    Source: derived here, for the model of Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy
        labels", ICLR 2024, section 3.
    """
    read = as_undirected(graph)
    at, _ = inputs.seeds(read, seeds)
    asked = inputs.labels(read, labels)
    if asked is None:
        checks.fail("labels", "labels 0/1", None)
    return look_around(read, at, asked, checks.rate("a1", a1), checks.rate("a0", a0))


def look_around(graph: UndirectedGraph, seeds: Ints, labels: Any, a1: float, a0: float) -> LabelStatistics:
    """Return what `label_statistics` does, of valid arguments."""
    known = with_seeds(labels, seeds)

    def ones(nodes: Ints) -> Ints:
        found: Ints = (known[nodes] if isinstance(known, np.ndarray) else known(nodes)).astype(np.int64)
        return found

    rows = [_row(graph, v) for v in seeds[:ROWS].tolist()]
    near = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *rows]))
    near = near[~np.isin(near, seeds)]
    if len(near) > ROWS:
        near = near[np.linspace(0, len(near) - 1, ROWS).astype(np.int64)]
    if len(near) == 0:
        return LabelStatistics(0.5, 1.0, 0.0, 0.0, 0.0, 0)
    around = [_row(graph, v) for v in near.tolist()]
    size = np.array([len(row) for row in around])
    # The arcs back to the seeds are why a node is here, and say nothing.
    begins = np.cumsum(size) - size
    ends = np.concatenate(around)
    counted = ~np.isin(ends, seeds)
    n = np.add.reduceat(counted.astype(np.int64), begins)
    k = np.add.reduceat(np.where(counted, ones(ends), 0), begins)
    first = ones(near)
    share = np.linspace(0.005, 0.995, 199)
    tiny = 1e-9
    f = np.clip(share * a1 + (1 - share) * (1 - a0), tiny, 1 - tiny)
    out = min(max(1 - a0, 0.02), 1 - tiny)  # also with right labels some of its neighbours are inside
    member = np.where(first[:, None] == 1, share * a1 / f, share * (1 - a1) / (1 - f)).clip(tiny, 1 - tiny)
    inner = k[:, None] * np.log(f) + (n - k)[:, None] * np.log1p(-f)
    outer = (k * math.log(out) + (n - k) * math.log1p(-out))[:, None]
    likelihood = np.logaddexp(np.log(member) + inner, np.log1p(-member) + outer).sum(0)
    likelihood += first.sum() * np.log(f) + (len(first) - first.sum()) * np.log1p(-f)
    weight: Floats = np.exp(likelihood - likelihood.max())
    mean = float((weight * share).sum() / weight.sum())
    degree = len(size) / float((1 / np.maximum(size, 1)).sum())  # neighbours are met in proportion to their degrees
    met = np.unique(ends[counted], return_counts=True)[1].astype(np.float64)
    reach = mean**2 * float(met.sum() ** 2 / (met**2).sum()) if len(met) else 0.0
    arcs = sum(map(len, rows)) + int(size.sum())
    return LabelStatistics(mean, mean / (1 - mean), degree, mean * degree, reach, arcs)


def _row(graph: UndirectedGraph, v: int) -> Ints:
    ends: Ints = np.unique(graph.col[graph.rowptr[v] : graph.rowptr[v + 1]].astype(np.int64))
    others: Ints = ends[ends != v]
    return others


def choose_label_eps(
    graph: Any,
    seeds: Any,
    labels: Any,
    a1: float,
    a0: float,
    mass: float,
    *,
    sink: str = "degree",
    rounding: str = "support",
    a1_error: float = 0.0,
    a0_error: float = 0.0,
) -> EdgeWeights:
    r"""Choose what an edge between different labels weighs in flow diffusion, from the labels and what is near.

        label_eps = c · reach / (mass / mean sink),   from 0.02 to 0.5

    with the number of nodes inside over which two steps from the seeds spread (`LabelStatistics.reach`). The mass that
    leaves the seeds stands about mass / reach high there: where label_eps times that is more than a sink holds, light
    edges fill nodes outside. Below, a larger label_eps is better, since members with the wrong label are reached by
    light edges alone. c is 0.34 for supports and 0.45 for sweeps, which leave a thin leak out again.

    Where labels say too little, a1 + a0 - 1 ≤ 0.15 + 2 sqrt(a1_error² + a0_error²), label_eps is 1: they are left out.

    Args:
        graph: What `as_undirected` takes.
        seeds: Seeds, as the diffusions take them.
        labels: Noisy labels 0/1, as the diffusions take them.
        a1: P(label 1 | inside).
        a0: P(label 0 | outside).
        mass: Mass of the diffusion.
        sink: "degree" or "unit", as in `flow_diffusion`.
        rounding: "support" or "sweep": how the cluster is read off.
        a1_error: Standard deviation of the estimate a1.
        a0_error: Standard deviation of the estimate a0.

    Raises:
        InputError: Bad seeds, labels or mass, a number outside its range, an unknown sink or rounding.

    Example:
        >>> from graphnoise import datasets, noise, Graph
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> labels = noise.flip_membership(data.y == 0, a1=0.9, a0=0.9, seed=0).y
        >>> graph = as_undirected(Graph.from_data(data))
        >>> round(choose_label_eps(graph, 0, labels, 0.9, 0.9, mass=400, sink="unit").label_eps, 2)
        0.16
        >>> choose_label_eps(graph, 0, labels, 0.5, 0.5, mass=400, sink="unit").weighted
        False

    Source: derived here; c was found on planted partitions.
    """
    read = as_undirected(graph)
    at, _ = inputs.seeds(read, seeds)
    asked = inputs.labels(read, labels)
    if asked is None:
        checks.fail("labels", "labels 0/1", None)
    accuracies = checks.rate("a1", a1), checks.rate("a0", a0)
    errors = checks.real("a1_error", a1_error, 0.0), checks.real("a0_error", a0_error, 0.0)
    amount = inputs.mass_of(mass)
    unit = checks.choice("sink", sink, SINKS) == "unit"
    strength = STRENGTH[checks.choice("rounding", rounding, ROUNDINGS)]
    if (reason := worthless(*accuracies, *errors)) is not None:
        return EdgeWeights(1.0, False, reason)
    near = look_around(read, at, asked, *accuracies)
    return EdgeWeights(
        label_eps_for(near, nodes_of(read, amount, unit), strength), True, SAID.format(near.inside), near
    )


SAID = "labels weigh edges; {:.3g} neighbours of a member were estimated to be inside"


def worthless(a1: float, a0: float, a1_error: float = 0.0, a0_error: float = 0.0) -> str | None:
    """Return why labels of such accuracies are left out, or None if they are not."""
    least = 1 + LEAST_SAID + 2 * math.hypot(a1_error, a0_error)
    if a1 + a0 > least:
        return None
    return f"labels say too little: a1 + a0 = {a1 + a0:.3g}, and it should be above {least:.3g}"


def nodes_of(graph: UndirectedGraph, mass: float, unit: bool) -> float:
    """Return how many nodes a mass fills."""
    return mass if unit or graph.volume == 0 else mass * graph.num_nodes / graph.volume


def label_eps_for(near: LabelStatistics, nodes: float, strength: float) -> float:
    """Return what `choose_label_eps` does, for a mass that fills `nodes` nodes."""
    return min(max(strength * near.reach / nodes, LEAST), MOST)
