"""Estimator of the local cluster around seeds, of unknown size."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from graphnoise import checks
from graphnoise.clustering import inputs, weights
from graphnoise.clustering.capacity_releasing import MAX_HEIGHT, release_unchecked
from graphnoise.clustering.diffusions import (
    MAX_PUSHES,
    SINKS,
    diffuse_unchecked,
    flow_settings,
    heat_settings,
    l1_settings,
    pagerank_settings,
)
from graphnoise.clustering.growth import Growth, grow_unchecked
from graphnoise.clustering.improvement import DELTA, improve_unchecked
from graphnoise.clustering.improvement import METHODS as IMPROVEMENTS
from graphnoise.clustering.inputs import CheckedLabels
from graphnoise.clustering.membership import Membership
from graphnoise.clustering.result import Cluster, Diffusion
from graphnoise.clustering.rounding import WALKS, conductance_unchecked, sweep_cut_unchecked
from graphnoise.clustering.weights import EdgeWeights
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.push import Settings
from graphnoise.kernels.release import ReleaseSettings
from graphnoise.kernels.sweep import sweep
from graphnoise.typing import Floats, FloatsLike, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

DIFFUSIONS = ("flow", "pagerank", "l1_pagerank", "heat_kernel", "crd")
METHODS = ("auto", "growth", *DIFFUSIONS)
SELECTIONS = ("surprise", "conductance")
# Factor between the masses of successive candidates.
GROWTH = 1.5
# The grid ends after PATIENCE candidates without one whose score is better by MIN_GAIN of it, but not before
# MIN_CANDIDATES, which reach some 4,000 nodes.
MIN_CANDIDATES, PATIENCE, MIN_GAIN = 16, 4, 0.01
# Smallest tolerance of flow diffusion.
MIN_TOL = 1e-300
# Residual per unit of degree that a walk aimed at a volume leaves, as a part of 1 / volume.
TAIL_MASS = 0.1


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A cluster of the grid.

    Attributes:
        mass: Mass of the source; for walks the target volume; nan with "crd", which chooses the mass.
        label_eps: Factor of the weight of edges between different labels.
        size: Number of nodes.
        volume: Sum of their degrees, without labels.
        conductance: Conductance under labels.
        surprise: Surprise, as defined at `LocalCluster`.
        share: Share of label 1 among its labelled nodes; nan where labels have no known accuracies or are not used.
        refused: Whether that share says that most of its nodes are outside, so that it is not selected.
        status: How the diffusion ended.
        converged: Whether its stopping rule holds.
        pushes: Number of pushes.
        arcs: Number of arcs that were read.
    """

    mass: float
    label_eps: float
    size: int
    volume: float
    conductance: float
    surprise: float
    share: float
    refused: bool
    status: str
    converged: bool
    pushes: int
    arcs: int


class LocalCluster(BaseEstimator):  # type: ignore[misc]
    r"""Find the cluster around seeds, from edges and noisy labels if these are given; its size may be unknown.

    With labels of known accuracy the cluster grows by the beliefs of its nodes, see `grow_cluster`. Otherwise a
    diffusion runs, on edges weighted by labels if these are given, with each of a grid of masses, from a few nodes to
    half the graph; each gives a cluster, and the one of greatest surprise is selected:

        M/2 · KL(q ‖ q₀),   q = (vol(S) - cut(S) - 2 (|S| - 1) w) / M,   q₀ = (vol(S) / M)²,   M = vol(V),

    without labels: how unlikely so many edges inside would be among nodes of such degrees. |S| - 1 edges, of the mean
    weight w, do not count, since the result of a diffusion is connected in any case. Conductance, the alternative,
    decreases with size, and with noisy labels prefers the set of all nodes of label 1. Both merge clusters that hardly
    any edge leaves with their neighbours (`masses` can bound them). The grid ends once several candidates brought no
    improvement, so that work grows with the cluster and not with the graph. Where labels have known accuracies,
    candidates are refused whose share of label 1 is two standard errors below (a1 + 1 - a0) / 2, that of a set half of
    which is inside; where all are, the one of largest share is selected, with a warning. Where all nodes have labels of
    known accuracy and the whole graph can be read, `membership_posterior` is better.

    Args:
        method: "flow" (flow diffusion), "pagerank", "l1_pagerank", "heat_kernel", "crd" (capacity releasing diffusion,
            which chooses the mass), "growth" (`grow_cluster`, which needs labels and their accuracies), or "auto":
            "growth" where labels have known accuracies that say enough and neither `label_eps`, `masses` nor
            `improve` is set, and "flow" otherwise.
        sink: Capacity of a node in flow diffusion: its "degree", or "unit" for 1.
        label_eps: Factor of the weight of an edge between different labels, from 0 to 1, or "auto": `choose_label_eps`
            where a1 and a0 are passed to `fit`, and 0.05 otherwise.
        masses: Masses to try, ascending (for walks: target volumes), or None for the grid.
        rounding: "sweep" for the prefix of least conductance (under labels), or "support".
        selection: "surprise" or "conductance".
        improve: None, "mqi" or "simple_local": method that improves the selected cluster.
        alpha: Of "pagerank" and "l1_pagerank".
        t: Of "heat_kernel".
        p: Of "flow".
        height: Of "crd".
        tol: Of "flow" (with sinks of degree times the mean weight of the edges) and "l1_pagerank".
        max_pushes: Largest number of pushes of one diffusion.
        restarts: Of "growth": whether it finds parts of the cluster that are not connected to a seed, for which the
            labels of all nodes are read.

    Attributes:
        members_: Members as a list of names where the graph has names, or `nodes_`.
        nodes_: Positions of the members, ascending.
        scores_: Values of the selected diffusion at each of them, 0 at nodes that it did not touch; probabilities with
            "growth".
        conductance_: Conductance under labels; with "growth" without.
        surprise_: The surprise of the cluster.
        method_: The method that ran.
        mass_: Mass of the selected candidate; nan with "growth".
        label_eps_: Factor of the weight of edges between different labels.
        weighted_: Whether labels were used.
        reason_: The reason for it.
        converged_: Whether the stopping rule of the selected diffusion holds.
        pushes_: Pushes of all candidates together.
        arcs_: Arcs that all candidates together read.
        path_: The candidates; with "growth" positions of the nodes inside in each round.
        diffusion_: The selected diffusion, nodes by position; None with "growth".
        growth_: The result of `grow_cluster`, or None.

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> from graphnoise import Graph, datasets, noise
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> labels = noise.flip_membership(data.y == 0, a1=0.9, a0=0.9, seed=0).y
        >>> from graphnoise.clustering import precision_recall_f1
        >>> model = LocalCluster().fit(Graph.from_data(data), 0, labels, a1=0.9, a0=0.9)
        >>> round(precision_recall_f1(model.nodes_, data.y == 0).f1, 2), model.weighted_
        (0.99, True)

    Source: diffusions and sweeps as of the functions; surprise: Traag, Aldecoa and Delvenne, "Detecting communities
        using asymptotical surprise", Physical Review E 92, 2015, here of one set, without a tree, and
        with the expectation given degrees.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        sink: str = "degree",
        label_eps: float | str = "auto",
        masses: FloatsLike | None = None,
        rounding: str = "sweep",
        selection: str = "surprise",
        improve: str | None = None,
        alpha: float = 0.15,
        t: float = 10.0,
        p: float = 2.0,
        height: int = 10,
        tol: float = 1e-2,
        max_pushes: int = MAX_PUSHES,
        restarts: bool = False,
    ) -> None:
        self.method, self.sink, self.label_eps, self.masses = method, sink, label_eps, masses
        self.rounding, self.selection, self.improve = rounding, selection, improve
        self.alpha, self.t, self.p, self.height = alpha, t, p, height
        self.tol, self.max_pushes, self.restarts = tol, max_pushes, restarts
        self._check()

    def _check(self) -> _Parameters:
        """Check all parameters; return the masses, and the settings of the diffusion."""
        checks.choice("method", self.method, METHODS)
        checks.choice("sink", self.sink, SINKS)
        checks.choice("rounding", self.rounding, weights.ROUNDINGS)
        checks.choice("selection", self.selection, SELECTIONS)
        if self.improve is not None:
            checks.choice("improve", self.improve, IMPROVEMENTS)
        if not (isinstance(self.label_eps, str) and self.label_eps == "auto"):
            checks.real("label_eps", self.label_eps, 0.0, 1.0, 'a number in [0, 1], or "auto"')
        # Parameters of other methods are checked as well.
        settings = {
            "flow": flow_settings(sink=self.sink, tol=self.tol, p=self.p, max_pushes=self.max_pushes),
            "pagerank": pagerank_settings(alpha=self.alpha, max_pushes=self.max_pushes),
            "l1_pagerank": l1_settings(alpha=self.alpha, tol=self.tol, max_pushes=self.max_pushes),
            "heat_kernel": heat_settings(t=self.t, max_pushes=self.max_pushes),
        }
        checks.flag("restarts", self.restarts)
        height = checks.integer("height", self.height, 1, MAX_HEIGHT)
        release = ReleaseSettings(height=height, max_pushes=self.max_pushes)
        masses = None if self.masses is None else _check_masses(self.masses, self.method)
        # Where accuracies are not known, "auto" is flow diffusion.
        method = "flow" if self.method in ("auto", "growth") else self.method
        return _Parameters(masses, settings.get(method), release)

    def fit(
        self,
        graph: GraphLike,
        seeds: SeedsLike,
        labels: MembershipLike | Membership | None = None,
        a1: float | None = None,
        a0: float | None = None,
    ) -> LocalCluster:
        """Find the cluster.

        Args:
            graph: Anything `as_undirected` takes.
            seeds: A node, several nodes, a mask [n] of Booleans, or {node: share of the mass}. All are in the cluster.
            labels: Noisy labels 0/1: array (-1, NaN or None where there is no label), {node: label} or a pandas Series
                of some nodes, callable of an array of nodes, a `Membership` (with its a1 and a0), or None. Seeds have
                label 1 whatever `labels` says. Arcs keep their weight where an end has no label.
            a1: P(label 1 | inside), if it is known; then a0 as well.
            a0: P(label 0 | outside).

        Raises:
            InputError: Bad seeds or labels, a1 or a0 without the other or without labels, or a parameter out of its
                range.
        """
        parameters = self._check()
        undirected = as_undirected(graph)
        nodes, shares = inputs.check_seeds(undirected, seeds)
        checked, weighting, accuracies = self._check_labels(undirected, nodes, labels, a1, a0)
        unset = self.masses is None and self.improve is None and isinstance(self.label_eps, str)
        if self.method == "growth" and (accuracies is None or not unset):
            got = weighting.reason if unset else "masses, improve or label_eps"
            checks.fail("method", '"growth" with labels of known a1 and a0 alone', got)
        if accuracies is not None and unset and self.method in ("auto", "growth"):
            self.method_ = "growth"
            return self._grow(undirected, nodes, checked, accuracies, isinstance(labels, Membership))
        self.method_ = "flow" if self.method == "auto" else self.method
        if accuracies is not None and checked is not None and isinstance(self.label_eps, str):
            statistics = weights.label_statistics_unchecked(undirected, nodes, checked, *accuracies)
            weighting = EdgeWeights(math.nan, True, weights.REASON.format(statistics.inside), statistics)
        return self._fit(undirected, nodes, shares / shares.sum(), checked, weighting, accuracies, parameters)

    def _grow(
        self, graph: UndirectedGraph, seeds: Ints, labels: CheckedLabels, accuracies: tuple[float, float], quiet: bool
    ) -> LocalCluster:
        growth = grow_unchecked(graph, seeds, labels, accuracies, restarts=self.restarts, quiet=quiet)
        self.growth_: Growth | None = growth
        self.diffusion_: Diffusion | None = None
        self.path_: list[Any] = list(growth.path)
        self.nodes_ = growth.nodes
        self.members_: Any = growth.members
        self.scores_ = growth.probability[np.searchsorted(growth.touched, growth.nodes)]
        self.conductance_ = conductance_unchecked(graph, growth.nodes, None, 1.0)
        self.surprise_ = _surprise(graph, len(growth.nodes), *_volume_cut(graph, growth.nodes))
        self.mass_, self.label_eps_, self.weighted_ = math.nan, 1.0, True
        self.reason_ = f"labels of accuracies {growth.a1:.3g} and {growth.a0:.3g} are evidence"
        self.converged_, self.pushes_, self.arcs_ = growth.converged, 0, growth.arcs
        self._graph = graph
        return self

    def _fit(
        self,
        graph: UndirectedGraph,
        seeds: Ints,
        shares: Floats,
        labels: CheckedLabels,
        weighting: EdgeWeights,
        accuracies: tuple[float, float] | None,
        parameters: _Parameters,
    ) -> LocalCluster:
        # Nodes are positions from here on.
        arrays = graph.rowptr, graph.col, graph.weight, graph.degree, graph.volume
        named, graph = graph, UndirectedGraph.unchecked(*arrays, None, None)
        # Candidates that are not refused come first, then by score; refused ones by their share of label 1.
        selected: tuple[tuple[bool, float], Candidate, Cluster, Diffusion] | None = None
        path: list[Candidate] = []
        best_score, best_at = -math.inf, 0
        for candidate, cluster, diffusion in _Grid(
            self, graph, seeds, shares, labels, weighting, accuracies, parameters
        ):
            score = candidate.surprise if self.selection == "surprise" else -candidate.conductance
            path.append(candidate)
            rank = not candidate.refused, candidate.share if candidate.refused else score
            if selected is None or rank > selected[0]:
                selected = rank, candidate, cluster, diffusion
            if not candidate.refused and (best_at == 0 or score - best_score > MIN_GAIN * abs(best_score)):
                best_score, best_at = score, len(path)
            elif parameters.masses is None and len(path) >= max(MIN_CANDIDATES, best_at + PATIENCE):
                break
        # The grid has at least one candidate.
        assert selected is not None
        _, candidate, cluster, diffusion = selected
        if candidate.refused and accuracies is not None:
            expected = f"a cluster around the seeds with a share of label 1 near {accuracies[0]:.3g} (a1)"
            got = f"none; the one selected has {candidate.share:.3g}"
            warnings.warn(f"labels: expected {expected}, got {got}", UserWarning, stacklevel=3)
        if self.improve is not None and 0 < 2 * candidate.volume <= graph.volume:
            delta = math.inf if self.improve == "mqi" else DELTA
            cluster = improve_unchecked(graph, cluster.nodes, delta, labels, candidate.label_eps)
            cluster = _with_seeds(graph, cluster, seeds, labels, candidate.label_eps)
        self.nodes_, self.conductance_ = cluster.nodes, cluster.conductance
        self.surprise_ = _surprise(graph, len(cluster.nodes), *_volume_cut(graph, cluster.nodes))
        self.members_ = cluster.nodes if named.names is None else named.named(cluster.nodes)
        self.scores_ = _values_at(diffusion, cluster.nodes)
        self.mass_, self.label_eps_ = candidate.mass, candidate.label_eps
        self.weighted_, self.reason_ = weighting.weighted, weighting.reason
        self.converged_, self.diffusion_, self.path_, self.growth_ = candidate.converged, diffusion, path, None
        self.pushes_, self.arcs_ = (sum(getattr(c, name) for c in path) for name in ("pushes", "arcs"))
        self._graph = named
        return self

    def predict(self, nodes: SeedsLike) -> NDArray[np.bool_]:
        """Return whether each of some nodes is in the cluster.

        Raises:
            NotFittedError: `fit` was not called.
            InputError: A node that the graph does not have.
        """
        if "nodes_" not in vars(self):
            checks.unfitted("LocalCluster")
        return np.isin(inputs.positions_of(self._graph, nodes, "nodes"), self.nodes_)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_") and "nodes_" not in vars(self):
            checks.unfitted("LocalCluster")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _check_labels(
        self,
        graph: UndirectedGraph,
        seeds: Ints,
        labels: MembershipLike | Membership | None,
        a1: float | None,
        a0: float | None,
    ) -> tuple[CheckedLabels, EdgeWeights, tuple[float, float] | None]:
        """Check labels; return those to use, 1 at the seeds, or None, their weighting, and their accuracies or None."""
        errors, ordered = (0.0, 0.0), False
        if isinstance(labels, Membership):
            if a1 is None and a0 is None:
                a1, a0, errors = labels.a1, labels.a0, (labels.a1_error, labels.a0_error)
            labels, ordered = labels.labels, True
        for name, value in (("a1", a1), ("a0", a0)):
            if value is not None and labels is None:
                checks.fail(name, "None without labels", value)
        if (a1 is None) != (a0 is None):
            missing, present = ("a1", "a0") if a1 is None else ("a0", "a1")
            checks.fail(missing, f"a number, since {present} is one", None)
        if a1 is not None:
            a1, a0 = checks.rate("a1", a1), checks.rate("a0", a0)
        checked = inputs.with_seed_labels(inputs.check_labels(graph, labels, by_position=ordered), seeds)
        if checked is None:
            return None, EdgeWeights(1.0, False, "no labels were given"), None
        if self.label_eps == 1:
            return None, EdgeWeights(1.0, False, "label_eps is 1"), None
        accuracies = None if a1 is None or a0 is None else (a1, a0)
        ignored = None if accuracies is None else weights.reason_to_ignore(*accuracies, *errors)
        if not isinstance(self.label_eps, str):
            weighting = EdgeWeights(float(self.label_eps), True, "label_eps was given")
            return checked, weighting, accuracies if ignored is None else None
        if accuracies is None:
            reason = f"label_eps is {weights.DEFAULT_LABEL_EPS}, since a1 and a0 were not given"
            return checked, EdgeWeights(weights.DEFAULT_LABEL_EPS, True, reason), None
        if ignored is not None:
            return None, EdgeWeights(1.0, False, ignored), None
        return checked, EdgeWeights(math.nan, True, ""), accuracies


class _Parameters(NamedTuple):
    """Checked parameters of a fit: masses, settings of the pushes (None with "crd") and of "crd"."""

    masses: Floats | None
    push: Settings | None
    release: ReleaseSettings


class _Grid:
    """The candidates of a fit, in the order of their masses; arguments are known to be valid."""

    def __init__(
        self,
        model: LocalCluster,
        graph: UndirectedGraph,
        seeds: Ints,
        shares: Floats,
        labels: CheckedLabels,
        weighting: EdgeWeights,
        accuracies: tuple[float, float] | None,
        parameters: _Parameters,
    ) -> None:
        self.model, self.graph, self.seeds, self.shares = model, graph, seeds, shares
        self.labels, self.weighting, self.parameters = labels, weighting, parameters
        self.accuracies = accuracies
        self.unit = model.method_ == "flow" and model.sink == "unit"

    def __iter__(self) -> Iterator[tuple[Candidate, Cluster, Diffusion]]:
        first = True
        for mass in [math.nan] if self.parameters.push is None else self._masses():
            label_eps = self._label_eps(mass)
            diffusion = self._diffuse(mass, label_eps)
            cluster = self._round(diffusion, label_eps)
            cluster = _with_seeds(self.graph, cluster, self.seeds, self.labels, label_eps)
            volume, cut = _volume_cut(self.graph, cluster.nodes)
            if not first and 2 * volume > self.graph.volume:
                return
            first = False
            size = len(cluster.nodes)
            surprise = _surprise(self.graph, size, volume, cut)
            scores = cluster.conductance, surprise, *self._label_share(cluster.nodes)
            stats = diffusion.status, diffusion.converged, diffusion.pushes, diffusion.arcs
            yield Candidate(mass, label_eps, size, volume, *scores, *stats), cluster, diffusion
            if diffusion.status in ("exhausted", "overflow"):
                return

    def _masses(self) -> Iterator[float]:
        if self.parameters.masses is not None:
            yield from self.parameters.masses.tolist()
            return
        graph = self.graph
        mean = 1.0 if self.unit or graph.volume == 0 else graph.volume / max(graph.num_nodes, 1)
        seeds = float(len(self.seeds) if self.unit else graph.degree[self.seeds].sum())
        mass, half = max(10 * mean, 2 * seeds), (graph.num_nodes if self.unit else graph.volume) / 2
        yield min(mass, max(half, seeds + mean))
        while (mass := mass * GROWTH) <= half:
            yield mass

    def _label_share(self, nodes: Ints) -> tuple[float, bool]:
        """Return the share of label 1 among labelled nodes, and whether fewer than half of them can be inside."""
        if self.labels is None or self.accuracies is None:
            return math.nan, False
        values = inputs.labels_at(self.labels, nodes)
        # Seeds have one, so that there is at least one label.
        known = values[values != inputs.UNLABELLED]
        share, half = float(known.mean()), (self.accuracies[0] + 1 - self.accuracies[1]) / 2
        return share, share < half - 2 * math.sqrt(half * (1 - half) / len(known))

    def _label_eps(self, mass: float) -> float:
        statistics = self.weighting.statistics
        if statistics is None:
            return self.weighting.label_eps
        if math.isnan(mass):
            return weights.DEFAULT_LABEL_EPS
        return weights.label_eps_for(statistics, self.graph, mass, self.unit, self.model.rounding)

    def _diffuse(self, mass: float, label_eps: float) -> Diffusion:
        graph, seeds, settings = self.graph, self.seeds, self.parameters.push
        if settings is None:
            masses = self.shares * graph.degree[seeds].sum()
            if not (masses > 0).all():
                masses = graph.degree[seeds]
            return release_unchecked(graph, seeds, masses, self.labels, label_eps, self.parameters.release)
        if self.model.method_ == "flow":
            if not self.unit and graph.weight is not None:
                # A tolerance for sinks of unweighted degrees.
                settings = settings._replace(tol=max(settings.tol * graph.volume / max(len(graph.col), 1), MIN_TOL))
            return diffuse_unchecked(graph, seeds, self.shares * mass, self.labels, label_eps, settings)
        settings = settings._replace(eps=TAIL_MASS / mass)
        return diffuse_unchecked(graph, seeds, self.shares, self.labels, label_eps, settings)

    def _round(self, diffusion: Diffusion, label_eps: float) -> Cluster:
        """Return the cluster of a diffusion, or the seeds where its values are 0."""
        graph, nodes = self.graph, diffusion.support
        if len(nodes) and self.model.rounding == "sweep":
            values = diffusion.values[diffusion.values > 0]
            half = graph.volume / 2
            if float(graph.degree[nodes].min()) <= half:
                by_degree = diffusion.method in WALKS
                return sweep_cut_unchecked(graph, nodes, values, by_degree, self.labels, label_eps, half)
        nodes = nodes if len(nodes) else self.seeds
        return Cluster(nodes, conductance_unchecked(graph, nodes, self.labels, label_eps))


def _with_seeds(
    graph: UndirectedGraph, cluster: Cluster, seeds: Ints, labels: CheckedLabels, label_eps: float
) -> Cluster:
    """Return the cluster with the seeds that a sweep or an improvement left out."""
    if _places(cluster.nodes, seeds)[1].all():
        return cluster
    nodes = np.union1d(cluster.nodes, seeds)
    return Cluster(nodes, conductance_unchecked(graph, nodes, labels, label_eps))


def _volume_cut(graph: UndirectedGraph, nodes: Ints) -> tuple[float, float]:
    _, volume, cut, _ = sweep(graph, nodes, None, 1.0, None)
    return float(volume[-1]), float(cut[-1])


def _surprise(graph: UndirectedGraph, size: int, volume: float, cut: float) -> float:
    """Return the surprise of a set, below 0 where fewer arcs are inside than expected."""
    total = graph.volume
    if not 0 < volume < total:
        return 0.0
    tree = 2 * (size - 1) * total / len(graph.col)
    inside, expected = max(volume - cut - tree, 0.0) / total, (volume / total) ** 2
    divergence = (1 - inside) * math.log((1 - inside) / (1 - expected))
    if inside > 0:
        divergence += inside * math.log(inside / expected)
    return math.copysign(total / 2 * max(divergence, 0.0), inside - expected)


def _values_at(diffusion: Diffusion, nodes: Ints) -> Floats:
    """Return the values of a diffusion at some nodes, 0 where it did not touch them."""
    if len(diffusion.touched) == 0:
        return np.zeros(len(nodes))
    at, there = _places(diffusion.touched, nodes)
    return np.where(there, diffusion.values[at], 0.0)


def _places(members: Ints, nodes: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the place of each node among ascending members, at least one, and whether it is one of them."""
    at = np.minimum(np.searchsorted(members, nodes), len(members) - 1)
    return at, members[at] == nodes


def _check_masses(masses: FloatsLike, method: str) -> Floats:
    if method == "crd":
        checks.fail("masses", 'None with method="crd", which chooses the mass', repr(masses))
    values = checks.finite("masses", masses, dims=1).detach().cpu().double().numpy()
    if len(values) == 0 or values[0] <= 0 or bool((np.diff(values) <= 0).any()):
        checks.fail("masses", "numbers above 0, ascending", values.tolist())
    if values[0] < 1e-300 or values[-1] > 1e299:
        checks.fail("masses", "numbers from 1e-300 to 1e299", values.tolist())
    return np.asarray(values, dtype=np.float64)
