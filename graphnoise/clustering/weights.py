"""Choice of the weight of edges between different labels, from the accuracy of labels and the labels near the seeds.

F1 of supports on planted partitions (20 blocks of 500, q = .002, unit sinks, the best of 5 masses, mean of 20 draws of
seed node and labels on graphs that the constants were not fitted on):

    a1/a0                   .9/.9  .8/.9  .7/.9  .7/.95  .7/.7  .6/.8
    p = .03, eps = .05       .847   .781   .713   .751    .522   .496
    p = .03, eps = .2        .689   .644   .583   .609    .412   .404
    p = .03, chosen          .842   .774   .709   .747    .521   .494
    p = .05, eps = .05       .890   .830   .770   .798    .665   .662
    p = .05, eps = .2        .903   .880   .857   .901    .677   .761
    p = .05, chosen          .895   .846   .811   .877    .682   .715
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.diffusions import SINKS
from graphnoise.clustering.inputs import PartialLabels
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.local import LabelLookup
from graphnoise.typing import Bytes, Floats, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

ROUNDINGS = ("support", "sweep")
# Where the accuracy of the labels is unknown.
DEFAULT_LABEL_EPS = 0.05
MIN_LABEL_EPS, MAX_LABEL_EPS = 0.02, 0.5
# Of a1 + a0 - 1: at .1 (.55/.55) weights did harm on planted partitions, at p = .03 and at .05.
MIN_INFORMATION = 0.15
# c of `choose_label_eps`, fitted on planted partitions.
STRENGTH = {"support": 0.34, "sweep": 0.45}
# Seeds, and neighbours of seeds, whose rows are read.
MAX_ROWS = 256
REASON = "labels weigh edges; {:.3g} neighbours of a member were estimated to be inside"


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """Estimates of the cluster around seeds from the labels near them.

    Attributes:
        share: Estimate of the share of the arcs of a member that lead to members.
        gamma: share / (1 - share), the ratio of members to others among the neighbours of a member.
        degree: Mean number of neighbours of nodes near the seeds.
        inside: share · degree: number of neighbours inside the cluster.
        reach: share² · R, the effective number of nodes inside at two steps from the seeds. R = (Σ c)² / Σ c², where
            c_v of the arcs of the seeds' neighbours lead to v: their number in a tree, and less among nodes that share
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
    """The weight of edges between different labels, and why it was chosen.

    Attributes:
        label_eps: Factor of the weight of such an edge; 1 where labels are ignored.
        weighted: Whether labels are used.
        reason: The reason, in a sentence.
        statistics: What `label_eps` was computed from, or None.
    """

    label_eps: float
    weighted: bool
    reason: str
    statistics: LabelStatistics | None = None


def label_statistics(
    graph: GraphLike, seeds: SeedsLike, labels: MembershipLike, a1: float, a0: float
) -> LabelStatistics:
    r"""Estimate from noisy labels which share of the arcs of a cluster's members leads to members.

    With the share s, a neighbour of a member has label 1 with probability f = s a1 + (1 - s)(1 - a0). A neighbour u of
    a seed that has label 1 is then a member with probability r = s a1 / f (label 0: s (1 - a1) / (1 - f)); if it is
    one, its own neighbours have label 1 with probability f, and otherwise about 1 - a0. Of n_u neighbours without the
    seeds, k_u have label 1. The likelihood of s,

        B(k; n, f) over seeds  ·  Π_u [ r B(k_u; n_u, f) + (1 - r) B(k_u; n_u, 1 - a0) ],

    gives the posterior mean under a uniform prior. A seed with 30 neighbours gives some 1,000 labels. Nodes without a
    label are not counted; a neighbour without one is a member with probability s.

    Args:
        graph: Anything `as_undirected` takes. Weights are ignored.
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
        >>> statistics = label_statistics(Graph.from_data(data), 0, labels, 0.9, 0.9)
        >>> round(statistics.share, 2), round(statistics.inside, 1)
        (0.7, 20.1)

    Source: derived here, for the model of Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy
        labels", ICLR 2024, section 3.
    """
    graph = as_undirected(graph)
    nodes, _ = inputs.check_seeds(graph, seeds)
    checked = _check_labels(graph, labels)
    return label_statistics_unchecked(graph, nodes, checked, checks.rate("a1", a1), checks.rate("a0", a0))


def label_statistics_unchecked(
    graph: UndirectedGraph, seeds: Ints, labels: Bytes | LabelLookup | PartialLabels, a1: float, a0: float
) -> LabelStatistics:
    """Return the statistics of labels near seeds; arguments are known to be valid."""

    def labels_of(nodes: Ints) -> Ints:
        values = inputs.labels_at(labels, nodes).astype(np.int64)
        values[np.isin(nodes, seeds)] = 1
        return values

    rows = [_neighbours(graph, v) for v in seeds[:MAX_ROWS].tolist()]
    near = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *rows]))
    near = near[~np.isin(near, seeds)]
    if len(near) > MAX_ROWS:
        near = near[np.linspace(0, len(near) - 1, MAX_ROWS).astype(np.int64)]
    if len(near) == 0:
        return LabelStatistics(0.5, 1.0, 0.0, 0.0, 0.0, 0)
    around = [_neighbours(graph, v) for v in near.tolist()]
    size = np.array([len(row) for row in around])
    begins = np.cumsum(size) - size
    ends = np.concatenate(around)
    # Arcs back to the seeds are certain, since they are how the nodes were reached.
    counted, end_labels = ~np.isin(ends, seeds), labels_of(ends)
    n = np.add.reduceat((counted & (end_labels != inputs.UNLABELLED)).astype(np.int64), begins)
    k = np.add.reduceat((counted & (end_labels == 1)).astype(np.int64), begins)
    first = labels_of(near)
    share = np.linspace(0.005, 0.995, 199)
    tiny = 1e-9
    f = np.clip(share * a1 + (1 - share) * (1 - a0), tiny, 1 - tiny)
    # At least .02, since some neighbours of a node outside are inside even where all labels are right.
    f_outside = min(max(1 - a0, 0.02), 1 - tiny)
    by_label = np.stack([share * (1 - a1) / (1 - f), share * a1 / f, share])
    member = by_label[first].clip(tiny, 1 - tiny)
    inner = k[:, None] * np.log(f) + (n - k)[:, None] * np.log1p(-f)
    outer = (k * math.log(f_outside) + (n - k) * math.log1p(-f_outside))[:, None]
    likelihood = np.logaddexp(np.log(member) + inner, np.log1p(-member) + outer).sum(0)
    likelihood += (first == 1).sum() * np.log(f) + (first == 0).sum() * np.log1p(-f)
    weight: Floats = np.exp(likelihood - likelihood.max())
    mean = float((weight * share).sum() / weight.sum())
    # The harmonic mean, since neighbours are drawn in proportion to their degrees.
    degree = len(size) / float((1 / np.maximum(size, 1)).sum())
    times = np.unique(ends[counted], return_counts=True)[1].astype(np.float64)
    reach = mean**2 * float(times.sum() ** 2 / (times**2).sum()) if len(times) else 0.0
    arcs = sum(map(len, rows)) + int(size.sum())
    return LabelStatistics(mean, mean / (1 - mean), degree, mean * degree, reach, arcs)


def _neighbours(graph: UndirectedGraph, v: int) -> Ints:
    ends: Ints = np.unique(graph.col[graph.rowptr[v] : graph.rowptr[v + 1]].astype(np.int64))
    others: Ints = ends[ends != v]
    return others


def _check_labels(graph: UndirectedGraph, labels: MembershipLike) -> Bytes | LabelLookup | PartialLabels:
    checked = inputs.check_labels(graph, labels)
    if checked is None:
        checks.fail("labels", "labels 0/1", None)
    return checked


def choose_label_eps(
    graph: GraphLike,
    seeds: SeedsLike,
    labels: MembershipLike,
    a1: float,
    a0: float,
    mass: float,
    *,
    sink: str = "degree",
    rounding: str = "support",
    a1_error: float = 0.0,
    a0_error: float = 0.0,
) -> EdgeWeights:
    r"""Choose the weight of edges between different labels in flow diffusion, from the labels near the seeds.

        label_eps = c · reach / (mass / mean sink),   from 0.02 to 0.5

    where `LabelStatistics.reach` is the effective number of nodes inside at two steps from the seeds. Potentials near
    the seeds are about mass / reach: where label_eps times that exceeds a sink, light edges fill nodes outside.
    Otherwise larger values are better, since only light edges lead to members with the wrong label. c is 0.34 for
    supports and 0.45 for sweeps, which exclude a thin leak again.

    Where labels are too inaccurate, a1 + a0 - 1 ≤ 0.15 + 2 sqrt(a1_error² + a0_error²), label_eps is 1: they are not
    used.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: Seeds, as the diffusions take them.
        labels: Noisy labels 0/1, as the diffusions take them.
        a1: P(label 1 | inside).
        a0: P(label 0 | outside).
        mass: Mass of the diffusion.
        sink: "degree" or "unit", as in `flow_diffusion`.
        rounding: "support" or "sweep": how the diffusion is rounded to a cluster.
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

    Source: derived here; c was fitted on planted partitions.
    """
    graph = as_undirected(graph)
    nodes, _ = inputs.check_seeds(graph, seeds)
    checked = _check_labels(graph, labels)
    accuracies = checks.rate("a1", a1), checks.rate("a0", a0)
    errors = checks.real("a1_error", a1_error, 0.0), checks.real("a0_error", a0_error, 0.0)
    mass = inputs.check_mass(mass)
    unit = checks.choice("sink", sink, SINKS) == "unit"
    rounding = checks.choice("rounding", rounding, ROUNDINGS)
    if (reason := reason_to_ignore(*accuracies, *errors)) is not None:
        return EdgeWeights(1.0, False, reason)
    statistics = label_statistics_unchecked(graph, nodes, checked, *accuracies)
    label_eps = label_eps_for(statistics, graph, mass, unit, rounding)
    return EdgeWeights(label_eps, True, REASON.format(statistics.inside), statistics)


def reason_to_ignore(a1: float, a0: float, a1_error: float = 0.0, a0_error: float = 0.0) -> str | None:
    """Return why labels of such accuracies are ignored, or None if they are used."""
    least = 1 + MIN_INFORMATION + 2 * math.hypot(a1_error, a0_error)
    if a1 + a0 > least:
        return None
    return f"labels say too little: a1 + a0 = {a1 + a0:.3g}, and it should be above {least:.3g}"


def label_eps_for(statistics: LabelStatistics, graph: UndirectedGraph, mass: float, unit: bool, rounding: str) -> float:
    """Return the weight that `choose_label_eps` chooses for a mass; arguments are known to be valid."""
    filled = mass if unit or graph.volume == 0 else mass * graph.num_nodes / graph.volume
    return min(max(STRENGTH[rounding] * statistics.reach / filled, MIN_LABEL_EPS), MAX_LABEL_EPS)
