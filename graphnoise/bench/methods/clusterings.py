"""Clustering methods of the task `cluster`: each proposes clusters around a seed node, one per source mass.

A method is a class with a class attribute `version` (change it whenever results change: recorded cells of another
version are kept but not used), an `__init__` whose keyword arguments are the hyper-parameters, each with a default, an
attribute `uses_labels` (and `uses_attributes = True` where data without attributes are to be refused), and

    candidates(trial: Trial) -> Iterable[Candidate]    at least one cluster

Of several candidates the one of least conductance counts. A distribution adds methods through the entry-point group
`graphnoise.clusterings`.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks, clustering
from graphnoise.bench.grid import flag
from graphnoise.clustering import Diffusion, LocalCluster, UndirectedGraph, conductance

Floats = NDArray[np.float64]
Weights = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Attributes:
    """Attributes of all nodes, dense or SciPy sparse, shape [n, features]."""

    x: Any


# Cells of a data set follow one another.
@functools.lru_cache(maxsize=2)
def _factors(attributes: Attributes, num_components: int) -> Floats:
    return clustering.attribute_factors(attributes.x, num_components)


@dataclass(frozen=True, eq=False)
class Trial:
    """What a method may see.

    Attributes:
        graph: The graph.
        seed: The seed node.
        labels: Noisy labels, uint8, shape [n].
        a1: Accuracy of the labels inside, as far as it is known.
        a0: Accuracy outside.
        masses: Source masses to try, multiples of what the true cluster holds: what methods but `auto` know of it.
        volumes: The same multiples of its volume, which set how far a walk goes.
        sink: "degree" or "unit".
        size: Number of nodes of the true cluster, for methods of given size.
        attributes: Attributes of the nodes, or None.
    """

    graph: UndirectedGraph
    seed: int
    labels: NDArray[np.uint8]
    a1: float
    a0: float
    masses: Sequence[float]
    volumes: Sequence[float]
    sink: str
    size: int
    attributes: Attributes | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cluster that a method proposes.

    Attributes:
        nodes: Its members.
        conductance: With the edge weights that the method used.
        mass: The source mass, nan where there was none.
        converged: Whether the diffusion came to its stopping rule.
        pushes: Number of pushes.
        arcs: Arcs read.
    """

    nodes: NDArray[np.int64]
    conductance: float
    mass: float = math.nan
    converged: bool = True
    pushes: int = 0
    arcs: int = 0


@dataclass(frozen=True)
class Labels:
    """All nodes of label 1."""

    version: ClassVar[str] = "1"
    uses_labels: ClassVar[bool] = True

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield the nodes of label 1."""
        nodes = trial.labels.nonzero()[0].astype(np.int64)
        yield Candidate(nodes, conductance(trial.graph, nodes))


@dataclass(frozen=True)
class DiffusionMethod(ABC):
    """A diffusion with each mass, rounded to a cluster.

    Args:
        rounding: "support" or "sweep".
        improve: "none", "mqi" or "simple_local", for clusters of at most half the volume.
    """

    rounding: str = "sweep"
    improve: str = "none"

    version: ClassVar[str] = "1"
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings = {"label_eps": 0.0, "scale": 1.0, **vars(self)}
        checks.choice("improve", settings.pop("improve"), ("none", "mqi", "simple_local"))
        checks.rate("label_eps", settings.pop("label_eps"))
        checks.real("scale", settings.pop("scale"), 1e-6, 1e6)
        # The estimator takes, and checks, the other parameters of all diffusions.
        LocalCluster(**settings)

    def _masses(self, trial: Trial) -> Sequence[float]:
        return trial.volumes

    @abstractmethod
    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion: ...

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield a cluster for each mass."""
        weights = {"labels": trial.labels, "label_eps": vars(self)["label_eps"]} if self.uses_labels else {}
        for mass in self._masses(trial):
            diffusion = self._diffuse(trial, mass, weights)
            nodes, phi = self._round(trial, diffusion, weights)
            yield Candidate(nodes, phi, mass, diffusion.converged, diffusion.pushes, diffusion.arcs)

    def _round(self, trial: Trial, diffusion: Diffusion, weights: Weights) -> tuple[NDArray[np.int64], float]:
        # The support is empty where the seed holds all of the mass.
        if not len(diffusion.support):
            return np.array([trial.seed]), conductance(trial.graph, [trial.seed], **weights)
        read_off = clustering.support_cluster if self.rounding == "support" else clustering.sweep_cut
        cluster = read_off(trial.graph, diffusion, **weights)
        if self.improve != "none" and 2 * float(trial.graph.degree[cluster.nodes].sum()) <= trial.graph.volume:
            cluster = clustering.improve(trial.graph, cluster, self.improve, **weights)
        return cluster.nodes, cluster.conductance


@dataclass(frozen=True)
class Flow(DiffusionMethod):
    """Flow diffusion; with p above 2, a push takes some hundred times as long."""

    p: float = 2.0
    tol: float = 1e-2
    max_pushes: int = 1_500_000
    rounding: str = "support"

    def _masses(self, trial: Trial) -> Sequence[float]:
        return trial.masses

    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion:
        settings: Weights = {"p": self.p, "tol": self.tol, "max_pushes": self.max_pushes, "sink": trial.sink}
        return clustering.flow_diffusion(trial.graph, [trial.seed], mass, **weights, **settings)


@dataclass(frozen=True)
class PageRank(DiffusionMethod):
    """Approximate personalised PageRank; its `eps` is scale / mass."""

    alpha: float = 0.15
    scale: float = 0.1

    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion:
        return clustering.approximate_pagerank(trial.graph, [trial.seed], self.alpha, self.scale / mass, **weights)


@dataclass(frozen=True)
class L1PageRank(PageRank):
    """l1-regularised personalised PageRank; its `rho` is scale / mass."""

    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion:
        return clustering.l1_pagerank(trial.graph, [trial.seed], self.alpha, self.scale / mass, **weights)


@dataclass(frozen=True)
class HeatKernel(DiffusionMethod):
    """Heat kernel; its `eps` is scale / mass."""

    t: float = 10.0
    scale: float = 0.1

    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion:
        return clustering.heat_kernel(trial.graph, [trial.seed], self.t, self.scale / mass, **weights)


@dataclass(frozen=True)
class CapacityReleasing(DiffusionMethod):
    """Capacity releasing diffusion, which chooses its mass."""

    height: int = 10

    def _masses(self, trial: Trial) -> Sequence[float]:
        return [math.nan]

    def _diffuse(self, trial: Trial, mass: float, weights: Weights) -> Diffusion:
        return clustering.capacity_releasing(trial.graph, [trial.seed], height=self.height, **weights)


def _label_weighted(plain: type[DiffusionMethod]) -> type[DiffusionMethod]:
    """Return the same diffusion on edges that labels weigh, with the parameter `label_eps`."""
    name = f"Label{plain.__name__}"
    namespace = {"uses_labels": True, "__module__": __name__, "__doc__": f"`{plain.__name__}` on label-weighted edges."}
    return make_dataclass(name, [("label_eps", float, 0.05)], bases=(plain,), namespace=namespace, frozen=True)


LabelFlow = _label_weighted(Flow)
LabelPageRank = _label_weighted(PageRank)
LabelL1PageRank = _label_weighted(L1PageRank)
LabelHeatKernel = _label_weighted(HeatKernel)
LabelCapacityReleasing = _label_weighted(CapacityReleasing)


@dataclass(frozen=True)
class Auto:
    """`LocalCluster`, which does not know the size of the cluster; `labels` says whether it gets the labels."""

    method: str = "flow"
    labels: bool = True
    rounding: str = "sweep"
    selection: str = "surprise"

    version: ClassVar[str] = "2"

    def __post_init__(self) -> None:
        flag("labels", self.labels)
        self._model("degree")

    @property
    def uses_labels(self) -> bool:
        """Whether labels are used."""
        return self.labels

    def _model(self, sink: str) -> LocalCluster:
        return LocalCluster(self.method, sink=sink, rounding=self.rounding, selection=self.selection)

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield the cluster of the estimator."""
        noisy: dict[str, Any] = {"labels": trial.labels, "a1": trial.a1, "a0": trial.a0} if self.labels else {}
        m = self._model(trial.sink).fit(trial.graph, [trial.seed], **noisy)
        yield Candidate(m.nodes_, float(m.conductance_), float(m.mass_), bool(m.converged_), m.pushes_, m.arcs_)


@dataclass(frozen=True)
class Growth:
    """`grow_cluster`, which reads the neighbourhood of the cluster only; with `restarts` the labels of all nodes."""

    threshold: float = 0.05
    # None, which is False, is the default: configurations of recorded cells have no `restarts`.
    restarts: bool | None = None

    version: ClassVar[str] = "2"
    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.rate("threshold", self.threshold)
        if self.restarts is not None:
            flag("restarts", self.restarts)

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield the cluster; the seed alone where labels of known accuracy say nothing."""
        if trial.a1 + trial.a0 <= 1:
            yield Candidate(np.array([trial.seed]), conductance(trial.graph, [trial.seed]))
            return
        grow = functools.partial(clustering.grow_cluster, threshold=self.threshold, restarts=bool(self.restarts))
        growth = grow(trial.graph, [trial.seed], trial.labels, trial.a1, trial.a0)
        phi = conductance(trial.graph, growth.nodes)
        yield Candidate(growth.nodes, phi, converged=growth.converged, arcs=growth.arcs)


@dataclass(frozen=True)
class BeliefPropagation:
    """`membership_posterior`; `known` says whether it gets a1 and a0, or estimates them."""

    num_steps: int = 20
    known: bool = True

    version: ClassVar[str] = "1"
    uses_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.integer("num_steps", self.num_steps, 1)
        flag("known", self.known)

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield the nodes of largest expected F1; the seed alone where labels of known accuracy say nothing."""
        if self.known and trial.a1 + trial.a0 <= 1:
            yield Candidate(np.array([trial.seed]), conductance(trial.graph, [trial.seed]))
            return
        # Accuracies that a classifier was estimated to have may contradict the share of its labels.
        known = self.known and 1 - trial.a0 < trial.labels.mean() < trial.a1
        rates = (trial.a1, trial.a0) if known else (None, None)
        posterior = clustering.membership_posterior(
            trial.graph, trial.labels, *rates, seeds=[trial.seed], num_steps=self.num_steps
        )
        phi = conductance(trial.graph, posterior.nodes)
        yield Candidate(posterior.nodes, phi, converged=posterior.converged, arcs=posterior.arcs)


@dataclass(frozen=True)
class Laca:
    """`laca`: as many nodes as the true cluster has, by edges and attributes; precision, recall and F1 are equal."""

    alpha: float = 0.9
    eps: float = 1e-6
    num_components: int = 64

    version: ClassVar[str] = "1"
    uses_labels: ClassVar[bool] = False
    uses_attributes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        clustering.laca([[0, 1], [1, 0]], 0, np.eye(2), alpha=self.alpha, eps=self.eps)
        checks.integer("num_components", self.num_components, 1)

    def candidates(self, trial: Trial) -> Iterator[Candidate]:
        """Yield the best nodes; the seed alone where nothing near it has similar attributes."""
        # Data without them were refused.
        assert trial.attributes is not None
        factors = _factors(trial.attributes, self.num_components)
        scores = clustering.laca(trial.graph, [trial.seed], factors, alpha=self.alpha, eps=self.eps)
        nodes = np.sort(scores.ranking[: trial.size]) if len(scores.support) else np.array([trial.seed])
        phi = conductance(trial.graph, nodes)
        yield Candidate(nodes, phi, converged=scores.converged, pushes=scores.pushes, arcs=scores.arcs)
