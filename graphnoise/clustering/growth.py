"""Growth of a cluster from seeds by belief propagation on noisy labels, which reads its neighbourhood only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from graphnoise import checks
from graphnoise.clustering import inputs, posterior
from graphnoise.clustering.membership import Membership
from graphnoise.clustering.result import named
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.typing import Floats, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# Nodes inside from which growth starts; neighbours of neighbours are added where there are fewer.
MIN_CORE = 30
# Growth ends with a round that adds at most this share of the nodes inside.
MIN_GROWTH = 0.005
# Rounds in which the MIN_CORE likeliest nodes of the boundary join a cluster of fewer than MIN_CORE nodes, at most.
MAX_EXPLORED = 5
# Steps of propagation per round, and at most at the end.
STEPS, LAST_STEPS = 4, 12
# Log-likelihood that estimated accuracies have to gain over the given ones to replace them. True ones were at most 4.5
# behind on planted partitions, Cora and Amazon Photo, and 19.6 with 19,080 labels of PubMed.
MIN_GAIN, MIN_GAIN_PER_LABEL = 5.0, 1e-3


@dataclass(frozen=True, eq=False)
class Growth:
    """A cluster that grew from its seeds.

    Attributes:
        nodes: Positions of the members, ascending, int64: the set of largest expected F1 among the touched nodes.
        touched: Positions of the nodes whose labels were read, ascending.
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
) -> Growth:
    r"""Grow a cluster from its seeds by the beliefs of `membership_posterior`, reading its neighbourhood only.

    Nodes inside, at first the seeds and their neighbours, propagate beliefs as in `membership_posterior`. Of the
    boundary, their other neighbours, only labels are read: each sends the posterior given its own label and the share

        π = (share of label 1 in the boundary - (1 - a0)) / (a1 + a0 - 1)

    of members. A node of the boundary joins if P(inside | its neighbours) is above `threshold`, where neighbours that
    are not inside count with π. Its own label does not count, since w is estimated from the labels of nodes inside.
    Growth ends with a round in which hardly any node joins; no size is needed, and the work depends on the size of the
    cluster, not of the graph. Parts of a cluster that are not connected to a seed are not found.

    Where other accuracies make the labels of the nodes inside likelier by more than 5 + m / 1000 in log-likelihood, m
    labels, there is a
    warning (none for a `Membership`, whose accuracies are estimates), and growth starts anew with accuracies that are
    estimated from the region, near those given at first.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, or a mask [n] of Booleans. All are in the cluster.
        labels: Noisy labels 0/1: array (-1, NaN or None where there is no label), {node: label} or a Series of some
            nodes, callable of an array of nodes, or a `Membership`, with its a1 and a0.
        a1: P(label 1 | inside).
        a0: P(label 0 | outside).
        threshold: Probability, without its label, from which a node joins.
        tol: Propagation ends once no message changes by more than this.

    Raises:
        InputError: No accuracies, a1 + a0 not above 1, bad seeds or labels, or a parameter out of its range.

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
    nodes = np.sort(inputs.check_nodes(graph, seeds))
    if len(nodes) == 0:
        checks.fail("seeds", "at least one node", "none")
    checked = inputs.with_seed_labels(inputs.check_labels(graph, values, by_position=ordered), nodes)
    if checked is None:
        checks.fail("labels", "an array, {node: label} or a callable", None)
    estimates = isinstance(labels, Membership)
    return grow_unchecked(graph, nodes, checked, accuracies, threshold, tol, quiet=estimates)


def grow_unchecked(
    graph: UndirectedGraph,
    seeds: Ints,
    labels: inputs.CheckedLabels,
    accuracies: tuple[float, float],
    threshold: float = 0.05,
    tol: float = 1e-3,
    quiet: bool = False,
) -> Growth:
    """Grow a cluster; arguments are known to be valid. With `quiet`, accuracies are replaced without a warning."""
    # On one thread sums over nodes are the same at any number of threads.
    with threadpool_limits(1, "blas"):
        growing = _Growing(graph, seeds, labels, accuracies, threshold, tol)
        result = growing.run()
        if not growing.contradicted():
            return result
        again = _Growing(graph, seeds, labels, accuracies, threshold, tol, estimated=True).run()
    if not quiet:
        given = f"{accuracies[0]:.3g} and {accuracies[1]:.3g}"
        got = f"labels that are likelier with others; estimated as {again.a1:.3g} and {again.a0:.3g}"
        expected = f"accuracies that agree with the labels around the seeds, not {given}"
        warnings.warn(f"a1, a0: expected {expected}, got {got}", UserWarning, stacklevel=3)
    return replace(again, contradicted=True, arcs=again.arcs + result.arcs)


class _Region:
    """Nodes inside, all of their arcs, and the boundary, by place in `inside` and in `boundary`."""

    def __init__(self, graph: UndirectedGraph, inside: Ints) -> None:
        self.inside = inside
        arcs, self.source = _arcs_of(graph, inside)
        to = graph.col[arcs].astype(np.int64)
        self.weight = np.ones(len(arcs)) if graph.weight is None else graph.weight[arcs]
        self.target = np.minimum(np.searchsorted(inside, to), len(inside) - 1)
        within = inside[self.target] == to
        self.out = np.flatnonzero(~within)
        self.boundary, self.target[self.out] = np.unique(to[self.out], return_inverse=True)
        # Arcs between nodes inside, by source and target, and their reverses.
        arcs = np.flatnonzero(within)
        self.within = arcs[np.lexsort((self.target[arcs], self.source[arcs]))]
        self.reverse = arcs[np.lexsort((self.source[arcs], self.target[arcs]))]
        self.total, self.square = self.sums(self.weight), self.sums(self.weight**2)

    def sums(self, values: Floats) -> Floats:
        """Return the sums of values of arcs, by source."""
        return np.asarray(np.bincount(self.source, values, minlength=len(self.inside)), dtype=np.float64)

    def boundary_sums(self, values: Floats) -> Floats:
        """Return the sums of values of arcs into the boundary, by target."""
        sums = np.bincount(self.target[self.out], values[self.out], minlength=len(self.boundary))
        return np.asarray(sums, dtype=np.float64)


def _arcs_of(graph: UndirectedGraph, nodes: Ints) -> tuple[Ints, Ints]:
    """Return the arcs of nodes, in order, and the place of the source of each."""
    count = graph.rowptr[nodes + 1] - graph.rowptr[nodes]
    first = graph.rowptr[nodes] - np.cumsum(count) + count
    return np.arange(count.sum()) + np.repeat(first, count), np.repeat(np.arange(len(nodes)), count)


def _features(sums: Floats, total: Floats, square: Floats, mean: float) -> Floats:
    """Return 1, l, l g and g of nodes, of which `mean` is one more vote; see `membership_posterior`."""
    some = total > 0
    d = np.where(some, total, 0.0) ** 2 / np.where(some, square, 1.0)
    u = (d / np.where(some, total, 1.0) * np.maximum(sums, 0.0) + mean) / (d + 1)
    vote, g = logit(np.clip(u, 1e-12, 1 - 1e-12)), np.log1p(d)
    return np.column_stack([np.ones(len(vote)), vote, vote * g, g])


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
        estimated: bool = False,
    ) -> None:
        self.graph, self.seeds, self.labels = graph, seeds, labels
        (self.a1, self.a0), self.start = accuracies, accuracies
        self.threshold, self.tol, self.estimated = threshold, tol, estimated
        self.w, self.arcs = posterior.START, 0
        self.path: list[Ints] = []

    def run(self) -> Growth:
        """Grow until hardly any node joins, then propagate until messages stay."""
        inside = self._neighbours(self.seeds)
        if len(inside) < MIN_CORE:
            inside = self._neighbours(inside)
        # log P / (1 - P) of nodes inside, without their labels.
        prior, explored = np.full(len(inside), np.nan), 0
        while True:
            self._enter(inside, prior)
            for step in range(STEPS):
                self._step(0.0 if step == 0 else posterior.DAMPING)
            boundary = self._boundary_features() @ self.w
            joining = boundary > logit(self.threshold)
            if joining.sum() <= MIN_GROWTH * len(inside):
                # Seeds among nodes of other clusters have hardly any member near them.
                if explored == MAX_EXPLORED or expit(self.x @ self.w + self.evidence).sum() >= MIN_CORE:
                    break
                explored += 1
                joining[np.argsort(-boundary, kind="stable")[:MIN_CORE]] = True
            joins = self.region.boundary[joining]
            if len(joins) == 0:
                break
            grown = np.union1d(inside, joins)
            prior = np.full(len(grown), np.nan)
            prior[np.searchsorted(grown, inside)] = self.x @ self.w
            inside = grown
        change, steps = np.inf, 0
        while change > self.tol and steps < LAST_STEPS:
            change, steps = self._step(posterior.DAMPING), steps + 1
        boundary = self._boundary_features() @ self.w
        touched = np.concatenate([inside, self.region.boundary])
        p = expit(np.concatenate([self.x @ self.w + self.evidence, boundary + self.outer]))
        p[np.searchsorted(inside, self.seeds)] = 1.0
        order = np.argsort(touched)
        touched, p = touched[order], p[order]
        nodes = np.union1d(touched[posterior.best_set(p)], self.seeds)
        rest = self.a1, self.a0, False, self.w, self.path, change <= self.tol, self.arcs, self.graph.names
        return Growth(nodes, touched, p, *rest)

    def contradicted(self) -> bool:
        """Return whether other accuracies make the labels of the nodes inside so much likelier that it is no chance."""
        known = ~np.isnan(self.given)
        known[np.searchsorted(self.region.inside, self.seeds)] = False
        if not known.any():
            return False
        x, labels = self.x[known], self.given[known]
        guess = posterior.logits_of(self.a1, self.a0)
        other = posterior.calibrate_votes(x, labels, self.w, self.a1, self.a0, guess, ridge=1.0)
        gain = _log_likelihood(x, labels, *other) - _log_likelihood(x, labels, self.w, self.a1, self.a0)
        return gain > MIN_GAIN + len(labels) * MIN_GAIN_PER_LABEL

    def _neighbours(self, nodes: Ints) -> Ints:
        """Return nodes and their neighbours, ascending."""
        return np.union1d(nodes, self.graph.col[_arcs_of(self.graph, nodes)[0]].astype(np.int64))

    def _labels_at(self, nodes: Ints) -> Floats:
        assert self.labels is not None
        values = inputs.labels_at(self.labels, nodes).astype(np.float64)
        values[values == inputs.UNLABELLED] = np.nan
        return values

    def _enter(self, inside: Ints, prior: Floats) -> None:
        """Read the arcs of the nodes inside; send their beliefs."""
        self.path.append(inside)
        region = self.region = _Region(self.graph, inside)
        self.given, outer = self._labels_at(inside), self._labels_at(region.boundary)
        places, none = np.searchsorted(inside, self.seeds), np.empty(0, dtype=np.int64)
        # Labels without errors give finite evidence too, so that those of neighbours are not ignored.
        self.evidence = np.clip(posterior.evidence_of(self.given, self.a1, self.a0, places), -30, 30)
        self.outer = np.clip(posterior.evidence_of(outer, self.a1, self.a0, none), -30, 30)
        self.share = self._members(outer)
        self.mean = self._members(np.concatenate([self.given, outer]))
        believed = np.where(np.isnan(prior), logit(self.mean), prior) + self.evidence
        self.sent = expit(believed)[region.source]
        self.fixed = expit(logit(self.share) + self.outer)[region.target[region.out]]

    def _members(self, labels: Floats) -> float:
        """Return the share of members that labels come from, at least its standard error, since seeds are members."""
        known = labels[~np.isnan(labels)]
        ones, m, power = known.sum(), len(known), self.a1 + self.a0 - 1
        # By Laplace's rule.
        share = (ones + 2 * (1 - self.a0)) / (m + 2)
        error = np.sqrt(share * (1 - share) / (m + 2)) / power
        return float(np.clip((share - (1 - self.a0)) / power, min(error, 0.5), 1 - 1 / (m + 2)))

    def _step(self, keep: float) -> float:
        """Calibrate, and send messages from the nodes inside; return the largest change."""
        region = self.region
        received = np.empty(len(self.sent))
        received[region.within], received[region.out] = self.sent[region.reverse], self.fixed
        weighted = region.weight * received
        sums = region.sums(weighted)
        self.x = _features(sums, region.total, region.square, self.mean)
        known = ~np.isnan(self.given)
        guess = posterior.logits_of(*self.start) if self.estimated else None
        self.w, self.a1, self.a0 = posterior.calibrate_votes(
            self.x[known], self.given[known], self.w, self.a1, self.a0, guess, ridge=1.0
        )
        # Each message leaves out what came along its arc.
        left = sums[region.source] - weighted
        total, square = region.total[region.source] - region.weight, region.square[region.source] - region.weight**2
        new = expit(_features(left, total, square, self.mean) @ self.w + self.evidence[region.source])
        new = keep * self.sent + (1 - keep) * new
        change, self.sent = float(np.abs(new - self.sent).max(initial=0.0)), new
        self.arcs += len(new)
        return change

    def _boundary_features(self) -> Floats:
        """Return the features of nodes of the boundary, whose other neighbours count with the share of members."""
        region, graph = self.region, self.graph
        nodes = region.boundary
        total, count = graph.degree[nodes], graph.rowptr[nodes + 1] - graph.rowptr[nodes]
        seen = region.boundary_sums(region.weight)
        sums = region.boundary_sums(region.weight * self.sent) + np.maximum(total - seen, 0.0) * self.share
        # As if the weights of a node were equal: those of its unread arcs are not known.
        return _features(sums, total, total**2 / count, self.mean)


def _log_likelihood(x: Floats, labels: Floats, w: Floats, a1: float, a0: float) -> float:
    """Return the logarithm of the probability of labels given neighbours."""
    one = np.clip(1 - a0 + (a1 + a0 - 1) * expit(x @ w), 1e-12, 1 - 1e-12)
    return float(np.log(np.where(labels > 0, one, 1 - one)).sum())
