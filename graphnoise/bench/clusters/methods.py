"""Methods of the benchmark: each returns candidate clusters, one for each source mass that is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.checks import InputError
from graphnoise.clustering import UndirectedGraph
from graphnoise.clustering import model as estimator
from graphnoise.clustering.capacity_releasing import capacity_releasing
from graphnoise.clustering.diffusions import (
    approximate_pagerank,
    flow_diffusion,
    flow_settings,
    heat_kernel,
    heat_settings,
    l1_pagerank,
    pagerank_settings,
)
from graphnoise.clustering.improvement import improve
from graphnoise.clustering.model import LocalCluster
from graphnoise.clustering.posterior import membership_posterior
from graphnoise.clustering.result import Cluster, Diffusion
from graphnoise.clustering.rounding import conductance, support_cluster, sweep_cut

VERSION = "1"  # changes whenever the same parameters would give other results
VERSIONS = {"auto": "2"}  # the same of single methods


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
    """

    graph: UndirectedGraph
    seed: int
    labels: NDArray[np.uint8]
    a1: float
    a0: float
    masses: Sequence[float]
    volumes: Sequence[float]
    sink: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cluster that a method proposes, with what it cost.

    Attributes:
        mass: The source mass, nan where there was none.
        nodes: Its members.
        conductance: With the weights that the method worked on: what the choice among candidates goes by.
        converged: Whether the diffusion came to its stopping rule.
        pushes: Number of pushes.
        arcs: Arcs read.
        seconds: Wall time.
    """

    mass: float
    nodes: NDArray[np.int64]
    conductance: float
    converged: bool
    pushes: int
    arcs: int
    seconds: float


Diffuse = Callable[[Trial, float, Mapping[str, Any], dict[str, Any]], Diffusion]


def _flow(trial: Trial, mass: float, options: Mapping[str, Any], weights: dict[str, Any]) -> Diffusion:
    labels, label_eps = weights.get("labels"), weights.get("label_eps", 1.0)
    settings = {key: options[key] for key in ("p", "tol", "max_pushes")}
    return flow_diffusion(
        trial.graph, [trial.seed], mass, labels=labels, label_eps=label_eps, sink=trial.sink, **settings
    )


def _pagerank(trial: Trial, mass: float, options: Mapping[str, Any], weights: dict[str, Any]) -> Diffusion:
    return approximate_pagerank(trial.graph, [trial.seed], options["alpha"], options["scale"] / mass, **weights)


def _l1(trial: Trial, mass: float, options: Mapping[str, Any], weights: dict[str, Any]) -> Diffusion:
    return l1_pagerank(trial.graph, [trial.seed], options["alpha"], options["scale"] / mass, **weights)


def _heat(trial: Trial, mass: float, options: Mapping[str, Any], weights: dict[str, Any]) -> Diffusion:
    return heat_kernel(trial.graph, [trial.seed], options["t"], options["scale"] / mass, **weights)


def _releasing(trial: Trial, mass: float, options: Mapping[str, Any], weights: dict[str, Any]) -> Diffusion:
    return capacity_releasing(trial.graph, [trial.seed], height=options["height"], **weights)


FLOW = {"p": 2.0, "tol": 1e-2, "max_pushes": 1_500_000, "rounding": "support", "improve": "none"}
WALK = {"alpha": 0.15, "scale": 0.1, "rounding": "sweep", "improve": "none"}  # a walk's eps is scale / mass
HEAT = {"t": 10.0, "scale": 0.1, "rounding": "sweep", "improve": "none"}
RELEASE = {"height": 10, "rounding": "sweep", "improve": "none"}
BELIEF = {"num_steps": 20, "known": True}  # whether it is told a1 and a0
AUTO = {"method": "flow", "labels": True, "rounding": "sweep", "choice": "surprise"}
DIFFUSIONS: dict[str, tuple[Diffuse, dict[str, Any]]] = {
    "fd": (_flow, FLOW),
    "pfd": (_flow, {**FLOW, "p": 4.0, "max_pushes": 100_000}),
    "acl": (_pagerank, WALK),
    "l1": (_l1, WALK),
    "hk": (_heat, HEAT),
    "crd": (_releasing, RELEASE),
}
LABELLED = {f"l{name}": name for name in DIFFUSIONS}  # the same on edges that labels weigh
# In this order in tables.
NAMES = ("labels", *(name for plain in DIFFUSIONS for name in (plain, f"l{plain}")), "auto", "bp")
CHOICES = {
    "rounding": ("support", "sweep"),
    "improve": ("none", "mqi", "simple_local"),
    "choice": estimator.SELECTIONS,
    "method": estimator.METHODS,
}


def create(text: str) -> tuple[str, dict[str, Any]]:
    """Read `lfd` or `lfd:eps=0.2,rounding=sweep`: the name, and all hyper-parameters, defaults included.

    Raises:
        InputError: The name or a hyper-parameter is unknown, or a value is not of its kind.

    Example:
        >>> create("lfd:eps=0.2")[1]["eps"], create("labels")
        (0.2, ('labels', {}))
    """
    name, _, rest = text.partition(":")
    checks.choice("method", name, NAMES)
    if name == "labels":
        parameters: dict[str, Any] = {}
    elif name in ("auto", "bp"):
        parameters = dict(AUTO if name == "auto" else BELIEF)
    else:
        parameters = dict(DIFFUSIONS[LABELLED.get(name, name)][1])
        parameters |= {"eps": 0.05} if name in LABELLED else {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not parameters or not equals:
            expected = "PARAMETER=VALUE" if parameters else "no parameter"
            checks.fail(f"method {name}", expected, repr(part))
        checks.choice(f"method {name}", key, parameters)
        parameters[key] = _value(f"{name}.{key}", key, value, parameters[key])
    try:
        _allowed(parameters)
    except InputError as error:
        raise InputError(f"method {name}: {error}") from None
    return name, parameters


def _allowed(parameters: Mapping[str, Any]) -> None:
    """Refuse hyper-parameters that no cell could run with."""
    if "eps" in parameters:
        checks.rate("eps", parameters["eps"])
    if "p" in parameters:
        flow_settings(p=parameters["p"], tol=parameters["tol"], max_pushes=parameters["max_pushes"])
    if "alpha" in parameters:
        pagerank_settings(alpha=parameters["alpha"])
    if "t" in parameters:
        heat_settings(t=parameters["t"])
    if "scale" in parameters:
        checks.real("scale", parameters["scale"], 1e-6, 1e6)


def version(name: str) -> str:
    """Return the version of a method."""
    return VERSIONS.get(name, VERSION)


def sees_labels(name: str, parameters: Mapping[str, Any]) -> bool:
    """Return whether a method sees the noisy labels.

    Example:
        >>> [sees_labels(*create(text)) for text in ("labels", "fd", "lfd", "auto", "auto:labels=false")]
        [True, False, True, True, False]
    """
    return name in ("labels", "bp") or name in LABELLED or bool(parameters.get("labels", False))


def _value(where: str, key: str, text: str, default: object) -> object:
    if key in CHOICES:
        return checks.choice(where, text, CHOICES[key])
    if isinstance(default, bool):
        return checks.choice(where, text, ("true", "false")) == "true"
    kind = int if isinstance(default, int) else float
    try:
        number = kind(text)
    except ValueError:
        checks.fail(where, f"a number ({kind.__name__})", repr(text))
    return checks.integer(where, number, 1) if kind is int else checks.real(where, number, 0.0)


def run(name: str, parameters: Mapping[str, Any], trial: Trial) -> Iterator[Candidate]:
    """Yield the candidates of a method; the one of smallest conductance is its choice."""
    if name == "labels":
        began = time.perf_counter()
        nodes = trial.labels.nonzero()[0].astype(np.int64)
        phi = conductance(trial.graph, nodes)
        yield Candidate(float("nan"), nodes, phi, True, 0, 0, time.perf_counter() - began)
    elif name == "auto":
        yield _automatic(parameters, trial)
    elif name == "bp":
        yield _believed(parameters, trial)
    else:
        diffuse, _ = DIFFUSIONS[LABELLED.get(name, name)]
        weights = {"labels": trial.labels, "label_eps": parameters["eps"]} if name in LABELLED else {}
        sizes = trial.masses if diffuse is _flow else trial.volumes
        for mass in sizes if diffuse is not _releasing else sizes[:1]:  # it finds its own
            began = time.perf_counter()
            diffusion = diffuse(trial, mass, parameters, weights)
            cluster = _rounded(trial, diffusion, parameters, weights)
            yield Candidate(
                mass if diffuse is not _releasing else float("nan"),
                cluster.nodes,
                cluster.conductance,
                diffusion.converged,
                diffusion.pushes,
                diffusion.arcs,
                time.perf_counter() - began,
            )


def _rounded(trial: Trial, diffusion: Diffusion, parameters: Mapping[str, Any], weights: dict[str, Any]) -> Cluster:
    if not len(diffusion.support):  # less mass than the seed holds
        alone = np.array([trial.seed])
        return Cluster(alone, conductance(trial.graph, alone, **weights))
    read_off = support_cluster if parameters["rounding"] == "support" else sweep_cut
    cluster = read_off(trial.graph, diffusion, **weights)
    half = 2 * float(trial.graph.degree[cluster.nodes].sum()) <= trial.graph.volume  # what flows can improve
    if parameters["improve"] != "none" and half:
        cluster = improve(trial.graph, cluster, parameters["improve"], **weights)
    return cluster


def _automatic(parameters: Mapping[str, Any], trial: Trial) -> Candidate:
    """Run the estimator, which knows nothing of the cluster's size."""
    settings = {key: value for key, value in parameters.items() if key not in ("labels", "choice")}
    began = time.perf_counter()
    model = LocalCluster(sink=trial.sink, selection=parameters["choice"], **settings)
    known: dict[str, Any] = {"labels": trial.labels, "a1": trial.a1, "a0": trial.a0} if parameters["labels"] else {}
    model.fit(trial.graph, [trial.seed], **known)
    seconds = time.perf_counter() - began
    return Candidate(
        float(model.mass_),
        np.asarray(model.nodes_),
        float(model.conductance_),
        bool(model.converged_),
        int(model.pushes_),
        int(model.arcs_),
        seconds,
    )


def _believed(parameters: Mapping[str, Any], trial: Trial) -> Candidate:
    """Return the nodes with a membership posterior above 1/2; of uninformative labels, the seed alone."""
    began = time.perf_counter()
    known = (trial.a1, trial.a0) if parameters["known"] else (None, None)
    if parameters["known"] and trial.a1 + trial.a0 <= 1:
        alone = np.array([trial.seed])
        return Candidate(float("nan"), alone, conductance(trial.graph, alone), True, 0, 0, time.perf_counter() - began)
    found = membership_posterior(
        trial.graph, trial.labels, *known, seeds=[trial.seed], num_steps=parameters["num_steps"]
    )
    seconds = time.perf_counter() - began
    phi = conductance(trial.graph, found.nodes)
    return Candidate(float("nan"), found.nodes, phi, found.converged, 0, found.arcs, seconds)
