"""Growth of a cluster from seeds by belief propagation on noisy labels, which reads its neighbourhood only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import expit, logit

from graphnoise import checks
from graphnoise.clustering import inputs, posterior
from graphnoise.clustering.membership import Membership
from graphnoise.clustering.result import named
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.region import (
    features_of_sums,
    log_odds,
    positions_of_arcs,
    positive,
    read_region,
    set_messages,
    update_region,
)
from graphnoise.resources import one_blas_thread
from graphnoise.typing import Floats, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# Nodes inside from which growth starts; neighbours of neighbours are added where there are fewer.
MIN_CORE = 30
# Growth ends with a round that adds at most this share of the nodes inside.
MIN_GROWTH = 0.005
# Rounds in which the MIN_CORE likeliest nodes of the boundary join a cluster of fewer than MIN_CORE nodes, at most.
MAX_EXPLORED = 5
# Growth starts again from nodes of label 1 elsewhere with more than this probability (.3 and .7 changed F1 on Cora by
# at most half a point), where the share of members elsewhere is more than this many standard errors above 0.
RESTART, MIN_ERRORS = 0.5, 2.0
# Steps of propagation per round, and at most at the end.
STEPS, LAST_STEPS = 4, 12
# Largest log odds that a label gives.
MAX_EVIDENCE = 30.0
# Log-likelihood that estimated accuracies have to gain over the given ones to replace them. True ones were at most 4.5
# behind on planted partitions, Cora and Amazon Photo, and 19.6 with 19,080 labels of PubMed.
MIN_GAIN, MIN_GAIN_PER_LABEL = 5.0, 1e-3


@dataclass(frozen=True, eq=False)
class Growth:
    """A cluster that grew from its seeds.

    Attributes:
        nodes: Positions of the members, ascending, int64: the set of largest expected F1 among the touched nodes.
        touched: Positions of the nodes whose labels were read, ascending; of those that `restarts` read far from nodes
            inside, the ones of label 1 that may be members.
        probability: P(inside | labels that were read) of each of them, float64; 1 at seeds.
        a1: P(label 1 | inside), as given, or estimated where labels contradict it.
        a0: P(label 0 | outside), likewise.
        contradicted: Whether labels contradicted the accuracies that were given.
        calibration: w of `membership_posterior`, shape [4].
        path: Positions of the nodes inside in each round, which grow.
        converged: Whether no message changed by more than `tol` in the last step.
        arcs: Number of arcs read, those of a node inside once in each step.
        names: The caller's names of all nodes, or None where the graph has no names.
    """

    nodes: Ints
    touched: Ints
    probability: Floats
    a1: float
    a0: float
    contradicted: bool
    calibration: Floats
    path: Sequence[Ints]
    converged: bool
    arcs: int
    names: Sequence[Any] | None = None

    @property
    def members(self) -> Ints | list[Any]:
        """`nodes` by name where the graph has names, otherwise by position."""
        return named(self.nodes, self.names)


def grow_cluster(
    graph: GraphLike,
    seeds: SeedsLike,
    labels: MembershipLike | Membership,
    a1: float | None = None,
    a0: float | None = None,
    *,
    threshold: float = 0.05,
    tol: float = 1e-3,
    restarts: bool = False,
) -> Growth:
    r"""Grow a cluster from its seeds by the beliefs of `membership_posterior`, reading its neighbourhood only.

    Nodes inside, at first the seeds and their neighbours, propagate beliefs as in `membership_posterior`. Of the
    boundary, their other neighbours, only labels are read: each sends the posterior given its own label and the share

        π = (share of label 1 in the boundary - (1 - a0)) / (a1 + a0 - 1)

    of members. A node of the boundary joins if P(inside | its neighbours) is above `threshold`, where neighbours that
    are not inside count with π. Its own label does not count, since w is estimated from the labels of nodes inside.
    Growth ends with a round in which hardly any node joins; no size is needed, and the work depends on the size of the
    cluster, not of the graph. Parts of a cluster that are not connected to a seed are not found without `restarts`.

    With `restarts`, growth that has ended starts again, once, from nodes of label 1 outside that are likelier members
    than not, and from their neighbours: likelier given their label, the beliefs of neighbours inside and the labels of
    others, with π of all labels outside. Those of label 1 that stay outside, as isolated nodes always do, keep this
    probability. It reads the labels of all nodes, and, where π is two standard errors above 0, the arcs of the nodes of
    label 1 outside, at most twice. Members of components of a few nodes get too high a probability: those components
    are chosen for labels that then count as evidence.
    With a0 too high by δ, a share δ / (a1 + a0 - 1) of members seems to be outside, and is searched in vain.

    Where other accuracies make the labels of the nodes inside likelier by more than 5 + m / 1000 in log-likelihood, m
    labels, there is a
    warning (none for a `Membership`, whose accuracies are estimates), and growth starts anew with accuracies that are
    estimated from the region, near those given at first.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, or a mask [n] of Booleans. All are in the cluster.
        labels: Noisy labels 0/1: array (-1, NaN or None where there is no label), {node: label} or a Series of some
            nodes, callable of an array of nodes, or a `Membership`, with its a1 and a0. Of an array, labels of touched
            nodes are read and checked, no others.
        a1: P(label 1 | inside).
        a0: P(label 0 | outside).
        threshold: Probability, without its label, from which a node joins.
        tol: Propagation ends once no message changes by more than this.
        restarts: Whether labels of all nodes are read to find parts of the cluster that are not connected to a seed.

    Raises:
        InputError: No accuracies, a1 + a0 not above 1, bad seeds or labels, no label near the seeds but theirs, or a
            parameter out of its range.

    Example:
        >>> from graphnoise import Graph, datasets, noise
        >>> from graphnoise.clustering import precision_recall_f1
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> labels = noise.flip_membership(data.y == 0, a1=0.8, a0=0.9, seed=0).y
        >>> growth = grow_cluster(Graph.from_data(data), 0, labels, a1=0.8, a0=0.9)
        >>> round(precision_recall_f1(growth.nodes, data.y == 0).f1, 2), [len(inside) for inside in growth.path]
        (0.98, [40, 574, 586])

    Source: This package; belief propagation and forward correction as of `membership_posterior`.
    """
    graph = as_undirected(graph)
    values, ordered, accuracies, _ = posterior.read_accuracies(labels, a1, a0)
    if accuracies is None:
        checks.fail("a1, a0", "accuracies of the labels, given or those of a Membership", None)
    threshold, tol = checks.rate("threshold", threshold), checks.real("tol", tol, 0.0)
    restarts = checks.flag("restarts", restarts)
    nodes = np.sort(inputs.check_nodes(graph, seeds))
    if len(nodes) == 0:
        checks.fail("seeds", "at least one node", "none")
    checked = inputs.with_seed_labels(inputs.check_labels(graph, values, by_position=ordered, when_read=True), nodes)
    if checked is None:
        checks.fail("labels", "an array, {node: label} or a callable", None)
    estimates = isinstance(labels, Membership)
    return grow_unchecked(graph, nodes, checked, accuracies, threshold, tol, restarts, quiet=estimates)


def grow_unchecked(
    graph: UndirectedGraph,
    seeds: Ints,
    labels: inputs.CheckedLabels,
    accuracies: tuple[float, float],
    threshold: float = 0.05,
    tol: float = 1e-3,
    restarts: bool = False,
    quiet: bool = False,
    backend: str | None = None,
) -> Growth:
    """Grow a cluster; arguments are known to be valid. With `quiet`, accuracies are replaced without a warning."""
    if restarts and labels is not None:
        labels = inputs.labels_at(labels, np.arange(graph.num_nodes, dtype=np.int64))
    settings = graph, seeds, labels, accuracies, threshold, tol, restarts, backend
    with one_blas_thread():
        growing = _Growing(*settings)
        result = growing.run()
        if not growing.labelled and len(result.touched) > len(seeds):
            expected = "labels of other nodes than the seeds among those near them (labels=None clusters without)"
            checks.fail("labels", expected, f"none among {len(result.touched)} nodes")
        if not growing.contradicted():
            return result
        again = _Growing(*settings, estimated=True).run()
    if not quiet:
        given = f"{accuracies[0]:.3g} and {accuracies[1]:.3g}"
        got = f"labels that are likelier with others; estimated as {again.a1:.3g} and {again.a0:.3g}"
        expected = f"accuracies that agree with the labels around the seeds, not {given}"
        warnings.warn(f"a1, a0: expected {expected}, got {got}", UserWarning, stacklevel=3)
    return replace(again, contradicted=True, arcs=again.arcs + result.arcs)


class _Growing:
    """A cluster while it grows."""

    def __init__(
        self,
        graph: UndirectedGraph,
        seeds: Ints,
        labels: inputs.CheckedLabels,
        accuracies: tuple[float, float],
        threshold: float,
        tol: float,
        restarts: bool,
        backend: str | None,
        estimated: bool = False,
    ) -> None:
        assert labels is not None
        self.graph, self.seeds, self.labels, self.backend = graph, seeds, labels, backend
        (self.a1, self.a0), self.start = accuracies, accuracies
        self.threshold, self.tol, self.estimated = threshold, tol, estimated
        self.restarts, self.w, self.arcs = restarts, posterior.START, 0
        self.path: list[Ints] = []

    def run(self) -> Growth:
        """Grow until hardly any node joins, then propagate until messages stay."""
        inside = self._neighbours(self.seeds)
        if len(inside) < MIN_CORE:
            inside = self._neighbours(inside)
        # log P / (1 - P) of nodes inside, without their labels.
        prior, explored, restarted = np.full(len(inside), np.nan), 0, False
        while True:
            self._enter(inside, prior)
            for step in range(STEPS):
                self._step(0.0 if step == 0 else posterior.DAMPING)
            boundary = self._boundary()
            joining = boundary > logit(self.threshold)
            if joining.sum() <= MIN_GROWTH * len(inside):
                # Seeds among nodes of other clusters have hardly any member near them.
                if explored == MAX_EXPLORED or expit(self.x @ self.w + self.evidence).sum() >= MIN_CORE:
                    joining[:] = False
                else:
                    explored += 1
                    joining[np.lexsort((self.region.boundary, -boundary))[:MIN_CORE]] = True
            joins = self.region.boundary[joining]
            if len(joins) == 0 and self.restarts and not restarted:
                elsewhere, odds = self._elsewhere()
                # Isolated nodes stay outside: all that is known of them is their label, and where they are inside for
                # it, labels inside say nothing of the share of members.
                likely = (odds > logit(RESTART)) & (self.graph.degree[elsewhere] > 0)
                joins = np.setdiff1d(self._neighbours(elsewhere[likely]), inside)
                restarted = True
            if len(joins) == 0:
                break
            grown = np.sort(np.concatenate([inside, joins]))
            prior = np.full(len(grown), np.nan)
            prior[np.searchsorted(grown, inside)] = self.x @ self.w
            inside = grown
        change, steps = np.inf, 0
        while change > self.tol and steps < LAST_STEPS:
            change, steps = self._step(posterior.DAMPING), steps + 1
        elsewhere, odds = self._elsewhere()
        unread = ~np.isin(elsewhere, self.region.boundary)
        touched = np.concatenate([inside, self.region.boundary, elsewhere[unread]])
        p = expit(np.concatenate([self.x @ self.w + self.evidence, self._boundary() + self.outer, odds[unread]]))
        p[np.searchsorted(inside, self.seeds)] = 1.0
        order = np.argsort(touched)
        touched, p = touched[order], p[order]
        nodes = np.union1d(touched[posterior.best_set(p)], self.seeds)
        rest = self.a1, self.a0, False, self.w, self.path, change <= self.tol, self.arcs, self.graph.names
        return Growth(nodes, touched, p, *rest)

    def contradicted(self) -> bool:
        """Return whether other accuracies make the labels of the nodes inside so much likelier that it is no chance."""
        known = self.given != inputs.UNLABELLED
        known[np.searchsorted(self.region.inside, self.seeds)] = False
        if not known.any():
            return False
        x, labels = self.x[known], self.given[known].astype(np.float64)
        guess = posterior.logits_of(self.a1, self.a0)
        other = posterior.calibrate_votes(x, labels, self.w, self.a1, self.a0, guess, ridge=1.0)
        gain = _log_likelihood(x, labels, *other) - _log_likelihood(x, labels, self.w, self.a1, self.a0)
        return gain > MIN_GAIN + len(labels) * MIN_GAIN_PER_LABEL

    def _neighbours(self, nodes: Ints) -> Ints:
        """Return nodes and their neighbours, ascending."""
        return np.union1d(nodes, self.graph.col[positions_of_arcs(self.graph, nodes)[0]].astype(np.int64))

    def _enter(self, inside: Ints, prior: Floats) -> None:
        """Read the arcs of the nodes inside; send their beliefs."""
        self.path.append(inside)
        region = self.region = read_region(self.graph, inside, self.backend)
        self.given, outer = (inputs.labels_at(self.labels, nodes) for nodes in (inside, region.boundary))
        # Of labels 0 and 1, and without one. Without errors it is finite too, so that neighbours are not ignored.
        evidence = posterior.evidence_of(np.array([0, 1, np.nan]), self.a1, self.a0, np.empty(0, dtype=np.int64))
        self.by_label = evidence = np.clip(evidence, -MAX_EVIDENCE, MAX_EVIDENCE)
        self.evidence, self.outer = evidence[self.given], evidence[outer]
        self.evidence[np.searchsorted(inside, self.seeds)] = MAX_EVIDENCE
        counts = [np.bincount(codes, minlength=2) for codes in (outer, self.given)]
        self.labelled = counts[0][:2].sum() + counts[1][:2].sum() > len(self.seeds)
        self.share, self.mean = self._members(counts[0][:2]), self._members(counts[0][:2] + counts[1][:2])
        believed = np.where(np.isnan(prior), logit(self.mean), prior) + self.evidence
        set_messages(region, expit(believed), expit(logit(self.share) + evidence)[outer])

    def _members(self, counts: Ints) -> float:
        """Return the share of members that labels 0 and 1 come from, at least its standard error: seeds are members."""
        share, error = self._share(counts)
        return float(np.clip(share, min(error, 0.5), 1 - 1 / (counts.sum() + 2)))

    def _share(self, counts: Ints) -> tuple[float, float]:
        """Return the share of members that labels 0 and 1 come from, which may be below 0, and its standard error."""
        m, power = int(counts.sum()), self.a1 + self.a0 - 1
        # By Laplace's rule.
        share = (counts[1] + 2 * (1 - self.a0)) / (m + 2)
        return (share - (1 - self.a0)) / power, np.sqrt(share * (1 - share) / (m + 2)) / power

    def _elsewhere(self) -> tuple[Ints, Floats]:
        """Return nodes of label 1 outside, and log P / (1 - P) of each by labels; none where hardly any is a member."""
        graph, inside, given = self.graph, self.region.inside, self.labels
        nodes: Ints = np.empty(0, dtype=np.int64)
        # With restarts, labels of all nodes were read.
        if self.restarts and isinstance(given, np.ndarray):
            outside = np.ones(graph.num_nodes, dtype=bool)
            outside[inside] = False
            counts = np.bincount(given[outside], minlength=2)[:2]
            share, error = self._share(counts)
            if share > MIN_ERRORS * error:
                nodes = np.flatnonzero(outside & (given == 1))
        if len(nodes) == 0:
            return nodes, np.empty(0)
        share = self._members(counts)
        beliefs = expit(logit(share) + self.by_label)[given]
        beliefs[inside] = expit(self.x @ self.w + self.evidence)
        arcs, rowptr = positions_of_arcs(graph, nodes)
        self.arcs += len(arcs)
        total, weight = graph.degree[nodes], np.ones(len(arcs))
        if graph.weight is not None:
            unit = positive(total)
            weight, total = graph.weight[arcs] / np.repeat(unit, np.diff(rowptr)), total / unit
        rows = scipy.sparse.csr_array((weight, graph.col[arcs], rowptr), shape=(len(nodes), graph.num_nodes))
        sums = rows @ beliefs, total, rows.power(2).sum(axis=1)
        return nodes, log_odds(*sums, share, self.w, self.backend) + self.by_label[1]

    def _step(self, keep: float) -> float:
        """Calibrate, and send messages from the nodes inside; return the largest change."""
        region = self.region
        self.x = features_of_sums(region.sums, region.total, region.square, self.mean)
        known = self.given != inputs.UNLABELLED
        guess = posterior.logits_of(*self.start) if self.estimated else None
        labels = self.given[known].astype(np.float64)
        calibrated = posterior.calibrate_votes(self.x[known], labels, self.w, self.a1, self.a0, guess, ridge=1.0)
        self.w, self.a1, self.a0 = calibrated
        self.arcs += len(region.target)
        return update_region(region, self.evidence, self.w, self.mean, keep, self.backend)

    def _boundary(self) -> Floats:
        """Return log P / (1 - P) of the boundary, without labels; other neighbours have the share of members."""
        region, graph, nodes = self.region, self.graph, self.region.boundary
        messages, arcs, total = region.messages[len(region.target) :], region.crossing, graph.degree[nodes]
        weight, square = np.ones(len(arcs)), total
        place = region.target[arcs] - len(region.inside)
        if graph.weight is not None:
            # As if the weights of a node were equal: those of its unread arcs are not known. Scaled to a sum of 1.
            unit, read = positive(total), positions_of_arcs(graph, region.inside)[0][arcs]
            weight, total = graph.weight[read] / unit[place], total / unit
            square = total / (graph.rowptr[nodes + 1] - graph.rowptr[nodes])
        seen, came = (np.bincount(place, of_arc, minlength=len(nodes)) for of_arc in (weight, weight * messages))
        sums = came + np.maximum(total - seen, 0.0) * self.share
        return log_odds(sums, total, square, self.mean, self.w, self.backend)


def _log_likelihood(x: Floats, labels: Floats, w: Floats, a1: float, a0: float) -> float:
    """Return the logarithm of the probability of labels given neighbours."""
    one = np.clip(1 - a0 + (a1 + a0 - 1) * expit(x @ w), 1e-12, 1 - 1e-12)
    return float(np.log(np.where(labels > 0, one, 1 - one)).sum())
