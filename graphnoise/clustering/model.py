"""A local cluster around seeds, of a size that nobody has to say: the estimator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from graphnoise import checks
from graphnoise.clustering import inputs, weights
from graphnoise.clustering.batch import with_seeds
from graphnoise.clustering.capacity_releasing import MOST_HEIGHT, capacity_releasing
from graphnoise.clustering.diffusions import (
    MOST_PUSHES,
    SINKS,
    approximate_pagerank,
    flow_diffusion,
    flow_settings,
    heat_kernel,
    heat_settings,
    l1_pagerank,
    pagerank_settings,
)
from graphnoise.clustering.improvement import METHODS as IMPROVEMENTS
from graphnoise.clustering.improvement import improve
from graphnoise.clustering.membership import Membership
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Cluster, Diffusion, Floats, Ints
from graphnoise.clustering.rounding import WALKS, best_prefix, quotient
from graphnoise.clustering.weights import EdgeWeights
from graphnoise.kernels.sweep import sweep

METHODS = ("flow", "pagerank", "l1_pagerank", "heat_kernel", "crd")
SELECTIONS = ("surprise", "conductance")
GROWTH = 1.5  # of the mass, from one candidate to the next
SURE = 16  # candidates that are looked at in any case: up to some 4,000 nodes
PATIENCE = 4  # more without one that is better by MORE of its score, after which larger ones are not looked at
MORE = 0.01
PART = 0.1  # a walk that is to fill a volume leaves this part of 1 / volume for each unit of degree


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A cluster that was looked at.

    Attributes:
        mass: Mass of the source; for walks the volume that was aimed at; nan where the method finds its own.
        label_eps: Part that an edge between different labels weighed.
        size: Number of nodes.
        volume: Sum of their degrees, without regard to labels.
        conductance: With regard to labels.
        surprise: As `LocalCluster` says.
        status: How the diffusion ended.
        converged: Whether it came to its stopping rule.
        pushes: Number of pushes.
        arcs: Number of arcs that were read.
    """

    mass: float
    label_eps: float
    size: int
    volume: float
    conductance: float
    surprise: float
    status: str
    converged: bool
    pushes: int
    arcs: int


class LocalCluster(BaseEstimator):  # type: ignore[misc]
    r"""Find the cluster around seeds, on edges that noisy labels weigh if there are any; its size need not be known.

    A diffusion runs with each of a grid of masses, from a few nodes to half the graph; each gives a cluster, and the
    one that is kept has the greatest surprise

        M/2 · KL(q ‖ q₀),   q = (vol(S) - cut(S) - 2 (|S| - 1) w) / M,   q₀ = (vol(S) / M)²,   M = vol(V),

    without regard to labels: how unlikely so many edges inside would be among nodes of such degrees. |S| - 1 edges, of
    the mean weight w, do not count: a set that a diffusion found hangs together in any case. Conductance, the
    other choice, falls with size, and with noisy labels prefers all nodes of label 1. Both join clusters that hardly
    any edge leaves with their neighbours (`masses` can bound them). The grid ends once several candidates brought
    nothing better, so that work grows with the cluster and not with the graph. Where all nodes have labels of known
    accuracy and the whole graph may be read, `membership_posterior` is better.

    Args:
        method: "flow" (flow diffusion), "pagerank", "l1_pagerank", "heat_kernel", or "crd"
            (capacity releasing diffusion, which finds its own mass).
        sink: What a node holds in flow diffusion: its "degree", or one "unit".
        label_eps: Part that an edge between different labels weighs, from 0 to 1, or "auto": `choose_label_eps` where
            a1 and a0 are passed to `fit`, and 0.05 otherwise.
        masses: Masses to try, ascending (for walks: volumes to aim at), or None for the grid.
        rounding: "sweep" for the prefix of least conductance (with regard to labels), or "support".
        selection: "surprise" or "conductance".
        improve: None, "mqi" or "simple_local": what the kept cluster is improved by.
        alpha: Of "pagerank" and "l1_pagerank".
        t: Of "heat_kernel".
        p: Of "flow".
        height: Of "crd".
        tol: Of "flow" and "l1_pagerank".
        max_pushes: Largest number of pushes of one diffusion.

    Attributes:
        members_: Members as the caller calls them: a list of names, or `nodes_`.
        nodes_: Positions of the members, ascending.
        scores_: What the kept diffusion computed at each of them; 0 where it did not come.
        conductance_: Conductance with regard to labels.
        surprise_: The surprise of the cluster.
        mass_: Mass of the kept candidate.
        label_eps_: Part that an edge between different labels weighed.
        weighted_: Whether labels were used.
        reason_: Why or why not.
        converged_: Whether the kept diffusion came to its stopping rule.
        pushes_: Pushes of all candidates together.
        arcs_: Arcs that all candidates together read.
        path_: The candidates.
        diffusion_: The kept diffusion; nodes by position.

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> from graphnoise import Graph, datasets, noise
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> labels = noise.flip_membership(data.y == 0, a1=0.9, a0=0.9, seed=0).y
        >>> from graphnoise.clustering import precision_recall_f1
        >>> model = LocalCluster().fit(Graph.from_data(data), 0, labels, a1=0.9, a0=0.9)
        >>> found = precision_recall_f1(model.nodes_, data.y == 0)
        >>> round(found.f1, 2), model.weighted_
        (0.92, True)

    Source: diffusions and sweeps as the functions say; surprise: Traag, Aldecoa and Delvenne, "Detecting communities
        using asymptotical surprise", Physical Review E 92, 2015, here of one set, without a tree, and
        with the expectation given degrees.
    """

    def __init__(
        self,
        method: str = "flow",
        *,
        sink: str = "degree",
        label_eps: float | str = "auto",
        masses: Any = None,
        rounding: str = "sweep",
        selection: str = "surprise",
        improve: str | None = None,
        alpha: float = 0.15,
        t: float = 10.0,
        p: float = 2.0,
        height: int = 10,
        tol: float = 1e-2,
        max_pushes: int = MOST_PUSHES,
    ) -> None:
        self.method, self.sink, self.label_eps, self.masses = method, sink, label_eps, masses
        self.rounding, self.selection, self.improve = rounding, selection, improve
        self.alpha, self.t, self.p, self.height = alpha, t, p, height
        self.tol, self.max_pushes = tol, max_pushes
        self._check()

    def _check(self) -> Floats | None:
        """Check all parameters, and return the masses."""
        checks.choice("method", self.method, METHODS)
        checks.choice("sink", self.sink, SINKS)
        checks.choice("rounding", self.rounding, weights.ROUNDINGS)
        checks.choice("selection", self.selection, SELECTIONS)
        if self.improve is not None:
            checks.choice("improve", self.improve, IMPROVEMENTS)
        if not (isinstance(self.label_eps, str) and self.label_eps == "auto"):
            checks.real("label_eps", self.label_eps, 0.0, 1.0, 'a number in [0, 1], or "auto"')
        flow_settings(sink=self.sink, tol=self.tol, p=self.p, max_pushes=self.max_pushes)
        pagerank_settings(alpha=self.alpha)
        heat_settings(t=self.t)
        checks.integer("height", self.height, 1, MOST_HEIGHT)
        return None if self.masses is None else _ascending(self.masses, self.method)

    def fit(self, graph: Any, seeds: Any, labels: Any = None, a1: Any = None, a0: Any = None) -> LocalCluster:
        """Find the cluster.

        Args:
            graph: What `as_undirected` takes.
            seeds: A node, several nodes, a mask [n] of Booleans, or {node: share of the mass}.
            labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, a `Membership` (which knows
                its a1 and a0), or None. Seeds have label 1, whatever is said.
            a1: P(label 1 | inside), if it is known; then a0 as well.
            a0: P(label 0 | outside).

        Raises:
            InputError: Bad seeds or labels, a1 or a0 without the other or without labels, or a parameter out of its
                range.
        """
        masses = self._check()
        read = as_undirected(graph)
        at, share = inputs.seeds(read, seeds)
        share = share / share.sum()
        plain = dataclasses.replace(read, names=None, position=None)  # positions from here on
        asked, how = self._labels(read, at, labels, a1, a0)
        asked = inputs.labels(plain, asked)
        grid = _Grid(self, plain, at, share, asked, how, masses)
        kept: tuple[float, Candidate, Cluster, Diffusion] | None = None
        path: list[Candidate] = []
        mark, last = -math.inf, 0
        for candidate, cluster, diffusion in grid:
            score = candidate.surprise if self.selection == "surprise" else -candidate.conductance
            path.append(candidate)
            if kept is None or score > kept[0]:
                kept = score, candidate, cluster, diffusion
            if len(path) == 1 or score - mark > MORE * abs(mark):
                mark, last = score, len(path)
            elif masses is None and len(path) >= max(SURE, last + PATIENCE):
                break
        assert kept is not None  # the grid has at least one
        _, chosen, cluster, diffusion = kept
        if self.improve is not None and 0 < 2 * chosen.volume <= plain.volume:
            cluster = improve(plain, cluster, self.improve, labels=asked, label_eps=chosen.label_eps)
        self.nodes_, self.conductance_ = cluster.nodes, cluster.conductance
        self.surprise_ = _surprise(plain, len(cluster.nodes), *_volume_cut(plain, cluster.nodes))
        self.members_ = cluster.nodes if read.names is None else read.named(cluster.nodes)
        self.scores_ = _values_at(diffusion, cluster.nodes)
        self.mass_, self.label_eps_ = chosen.mass, chosen.label_eps
        self.weighted_, self.reason_ = how.weighted, how.reason
        self.converged_, self.diffusion_, self.path_ = chosen.converged, diffusion, path
        self.pushes_, self.arcs_ = (sum(getattr(c, name) for c in path) for name in ("pushes", "arcs"))
        self._read = read
        return self

    def predict(self, nodes: Any) -> NDArray[np.bool_]:
        """Return for each of some nodes whether it is in the cluster that was found.

        Raises:
            InputError: `fit` was not called, or a node that the graph does not have.
        """
        if "nodes_" not in vars(self):
            checks.fail("LocalCluster", "a call of fit before predict", "none")
        return np.isin(inputs.positions(self._read, nodes, "nodes"), self.nodes_)

    def __getattr__(self, name: str) -> Any:
        more = "; call fit first" if name.endswith("_") and not name.startswith("_") else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{more}")

    def _labels(self, graph: UndirectedGraph, seeds: Ints, labels: Any, a1: Any, a0: Any) -> tuple[Any, EdgeWeights]:
        """Return the labels to use, 1 at the seeds, or None; and how they weigh."""
        errors = 0.0, 0.0
        if isinstance(labels, Membership):
            if a1 is None and a0 is None:
                a1, a0, errors = labels.a1, labels.a0, (labels.a1_error, labels.a0_error)
            labels = labels.labels
        for name, value in (("a1", a1), ("a0", a0)):
            if value is not None and labels is None:
                checks.fail(name, "None without labels", value)
        if (a1 is None) != (a0 is None):
            missing, given = ("a1", "a0") if a1 is None else ("a0", "a1")
            checks.fail(missing, f"a number, since {given} is one", None)
        if a1 is not None:
            a1, a0 = checks.rate("a1", a1), checks.rate("a0", a0)
        asked = inputs.labels(graph, labels)
        if asked is None:
            return None, EdgeWeights(1.0, False, "no labels were given")
        asked = with_seeds(asked, seeds)
        if not isinstance(self.label_eps, str):
            if self.label_eps == 1:
                return None, EdgeWeights(1.0, False, "label_eps is 1")
            return asked, EdgeWeights(float(self.label_eps), True, "label_eps was given")
        if a1 is None:
            said = f"label_eps is {weights.DEFAULT}, since a1 and a0 were not given"
            return asked, EdgeWeights(weights.DEFAULT, True, said)
        if (reason := weights.worthless(a1, a0, *errors)) is not None:
            return None, EdgeWeights(1.0, False, reason)
        near = weights.look_around(graph, seeds, asked, a1, a0)
        return asked, EdgeWeights(math.nan, True, weights.SAID.format(near.inside), near)


class _Grid:
    """The candidates of a fit, one by one."""

    def __init__(
        self,
        model: LocalCluster,
        graph: UndirectedGraph,
        seeds: Ints,
        share: Floats,
        labels: Any,
        how: EdgeWeights,
        masses: Any,
    ) -> None:
        self.model, self.graph, self.seeds, self.share = model, graph, seeds, share
        self.labels, self.how, self.masses = labels, how, masses
        self.unit = model.method == "flow" and model.sink == "unit"

    def __iter__(self) -> Iterator[tuple[Candidate, Cluster, Diffusion]]:
        made = False
        for mass in [math.nan] if self.model.method == "crd" else self._masses():
            eps = self._eps(mass)
            diffusion = self._diffuse(mass, eps)
            cluster = self._round(diffusion, eps)
            volume, cut = _volume_cut(self.graph, cluster.nodes)
            if made and 2 * volume > self.graph.volume:
                return
            made = True
            size = len(cluster.nodes)
            surprise = _surprise(self.graph, size, volume, cut)
            about = diffusion.status, diffusion.converged, diffusion.pushes, diffusion.arcs
            yield Candidate(mass, eps, size, volume, cluster.conductance, surprise, *about), cluster, diffusion
            if diffusion.status in ("exhausted", "overflow"):
                return

    def _masses(self) -> Iterator[float]:
        if self.masses is not None:
            yield from self.masses.tolist()
            return
        graph = self.graph
        mean = 1.0 if self.unit or graph.volume == 0 else graph.volume / max(graph.num_nodes, 1)
        held = float(len(self.seeds) if self.unit else graph.degree[self.seeds].sum())
        mass, half = max(10 * mean, 2 * held), (graph.num_nodes if self.unit else graph.volume) / 2
        yield min(mass, max(half, held + mean))
        while (mass := mass * GROWTH) <= half:
            yield mass

    def _eps(self, mass: float) -> float:
        near = self.how.statistics
        if near is None:
            return self.how.label_eps
        if math.isnan(mass):
            return weights.DEFAULT
        return weights.label_eps_for(
            near, weights.nodes_of(self.graph, mass, self.unit), weights.STRENGTH[self.model.rounding]
        )

    def _diffuse(self, mass: float, eps: float) -> Diffusion:
        model, graph, labels = self.model, self.graph, self.labels
        most = model.max_pushes
        if model.method == "crd":
            found = dict(zip(self.seeds.tolist(), (self.share * graph.degree[self.seeds].sum()).tolist(), strict=True))
            seeds: Any = found if all(value > 0 for value in found.values()) else self.seeds
            return capacity_releasing(graph, seeds, height=model.height, labels=labels, label_eps=eps, max_pushes=most)
        if model.method == "flow":
            source = dict(zip(self.seeds.tolist(), (self.share * mass).tolist(), strict=True))
            return flow_diffusion(graph, source, None, labels, eps, model.sink, model.tol, p=model.p, max_pushes=most)
        source = dict(zip(self.seeds.tolist(), self.share.tolist(), strict=True))
        left = PART / mass
        if model.method == "heat_kernel":
            return heat_kernel(graph, source, model.t, left, labels, label_eps=eps, max_pushes=most)
        if model.method == "l1_pagerank":
            return l1_pagerank(graph, source, model.alpha, left, labels, label_eps=eps, tol=model.tol, max_pushes=most)
        return approximate_pagerank(graph, source, model.alpha, left, labels, label_eps=eps, max_pushes=most)

    def _round(self, diffusion: Diffusion, eps: float) -> Cluster:
        """Return the cluster of a diffusion, or the seeds where it gives none."""
        graph, labels = self.graph, self.labels if eps < 1 else None
        nodes = diffusion.support
        if len(nodes) and self.model.rounding == "sweep":
            values = diffusion.values[diffusion.values > 0]
            half = graph.volume / 2
            if float(graph.degree[nodes].min()) <= half:
                return best_prefix(graph, nodes, values, diffusion.method in WALKS, labels, eps, half)
        nodes = nodes if len(nodes) else self.seeds
        _, volume, cut, _ = sweep(graph, nodes, labels, eps, None)
        return Cluster(nodes, float(quotient(graph, volume[-1:], cut[-1:])[0]))


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
    at = np.searchsorted(diffusion.touched, nodes)
    at = np.minimum(at, max(len(diffusion.touched) - 1, 0))
    if len(diffusion.touched) == 0:
        return np.zeros(len(nodes))
    return np.where(diffusion.touched[at] == nodes, diffusion.values[at], 0.0)


def _ascending(masses: Any, method: str) -> Floats:
    wanted = "numbers above 0, ascending"
    if method == "crd":
        checks.fail("masses", 'None with method="crd", which finds its own', repr(masses))
    values = checks.finite("masses", masses, dims=1).detach().cpu().double().numpy()
    if len(values) == 0 or values[0] <= 0 or bool((np.diff(values) <= 0).any()):
        checks.fail("masses", wanted, values.tolist())
    return np.asarray(values, dtype=np.float64)
