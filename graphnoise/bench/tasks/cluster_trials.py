"""Trials of the task `cluster`: a graph with classes, a seed node, and noisy labels."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.bench.methods.clusterings import Attributes, Trial
from graphnoise.bench.tasks.graphs import load_graph
from graphnoise.clustering import UndirectedGraph, as_undirected, predict_membership
from graphnoise.errors import InputError
from graphnoise.graph import Graph
from graphnoise.noise import flip_membership

# Of labels inside the cluster and outside.
Accuracies = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Problem:
    """What the trials of a data set share.

    Its name, the graph, the class of each node (-1 where it is unknown), their attributes (a CSR matrix where few are
    non-zero, or None), and a hash of all that.
    """

    name: str
    graph: UndirectedGraph
    y: NDArray[np.int64]
    attributes: Attributes | None
    digest: str

    @property
    def classes(self) -> list[int]:
        """The classes that have nodes with neighbours."""
        classes: list[int] = np.unique(self.y[(self.y >= 0) & (self.graph.degree > 0)]).tolist()
        return classes


@functools.lru_cache(maxsize=2)
def load(name: str, root: str | None = None) -> Problem:
    """Return a data set as `graphs.load_graph` does, loaded once per process.

    Raises:
        InputError: The name or an argument of `planted` is unknown.
        DataError: The data cannot be had.
    """
    try:
        data = load_graph(name, root, None)
        graph = Graph.from_data(data)
        y = checks.tensor("data.y", data.y).long()
        if y.shape != (graph.num_nodes,):
            checks.fail("data.y", f"{graph.num_nodes} labels, one per node", f"shape {tuple(y.shape)}")
        local = as_undirected(graph)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    x: Any = data.x.numpy() if isinstance(data.x, torch.Tensor) else None
    if x is not None and np.count_nonzero(x) < 0.2 * x.size:
        x = scipy.sparse.csr_array(x)
    stored = () if x is None else (x.indptr, x.indices, x.data) if scipy.sparse.issparse(x) else (x,)
    state = hashlib.blake2b(digest_size=16)
    for array in (local.rowptr, local.col, y.numpy(), *stored):
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    attributes = None if x is None or 0 in x.shape else Attributes(x)
    return Problem(name, local, y.numpy(), attributes, state.hexdigest())


def parse_labels(text: str) -> dict[str, Any]:
    """Parse `0.9/0.95` (a1/a0), `logistic:25` or `gcn:25` (samples inside, and as many outside).

    Example:
        >>> parse_labels("0.9/0.95"), parse_labels("gcn")
        ({'source': 'flips', 'a1': 0.9, 'a0': 0.95}, {'source': 'gcn', 'samples': 25})
    """
    name, colon, count = text.partition(":")
    try:
        if name in ("logistic", "gcn"):
            return {"source": name, "samples": checks.integer("accuracy: samples", int(count) if colon else 25, 2)}
        inside, outside = (float(part) for part in text.split("/"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        checks.fail("accuracy", "A1/A0 as in 0.9/0.95, or logistic:SAMPLES or gcn:SAMPLES", repr(text))
    return {"source": "flips", "a1": checks.rate("a1", inside), "a0": checks.rate("a0", outside)}


def format_labels(source: Mapping[str, Any]) -> str:
    """Return the text that `parse_labels` parses.

    Example:
        >>> format_labels(parse_labels("0.90/1"))
        '0.9/1'
    """
    if source["source"] == "flips":
        return "/".join(str(source[name]).removesuffix(".0") for name in ("a1", "a0"))
    return f"{source['source']}:{source['samples']}"


def check_labels(problem: Problem, members: NDArray[np.bool_], text: str) -> None:
    """Refuse a classifier where nodes have no attributes, or with more samples than the cluster or the rest has."""
    if (count := parse_labels(text).get("samples")) is None:
        return
    if problem.attributes is None:
        checks.fail("accuracy", "flips (A1/A0)", f"{text}; the nodes of {problem.name} have no attributes")
    limit = min(int(members.sum()), int((~members).sum()))
    if limit < count:
        got = f"{count}, with a class of {problem.name} that has {members.sum()} of {len(members)} nodes"
        checks.fail("accuracy: samples", f"at most {limit}", got)


def held(problem: Problem, members: NDArray[np.bool_], sink: str) -> tuple[float, float]:
    """Return the mass that a cluster holds, and the multiple of it that the graph does: a larger mass cannot settle."""
    degree = problem.graph.degree if sink == "degree" else np.ones(problem.graph.num_nodes)
    mass = float(degree[members].sum())
    return mass, float(degree.sum()) / mass


def check_masses(problem: Problem, target: int, sink: str, multiples: Sequence[float]) -> None:
    """Refuse masses that are all larger than what the graph holds, for a class."""
    limit = held(problem, problem.y == target, sink)[1]
    if min(multiples) >= limit:
        got = f"{min(multiples):g}, more than {problem.name} holds"
        checks.fail("masses", f"a multiple below {limit:.4g} for class {target}", got)


def trials(config: Mapping[str, Any], problem: Problem) -> Iterator[tuple[Trial, Accuracies]]:
    """Yield the trials of a cell, each with the realised accuracies of its labels.

    Seed nodes and labels depend on data set, labels and class, not on the method.
    """
    graph, members = problem.graph, problem.y == config["class"]
    volume = float(graph.degree[members].sum())
    mass, limit = held(problem, members, config["sink"])
    multiples = [value for value in config["multiples"] if value < limit]
    masses, volumes = ([multiple * size for multiple in multiples] for size in (mass, volume))
    for number in range(config["first_seed"], config["first_seed"] + config["seeds"]):
        seed, y, (a1, a0), realised = _draw(problem, config["class"], format_labels(config["labels"]), number)
        source = masses, volumes, config["sink"]
        yield Trial(graph, seed, y, a1, a0, *source, int(members.sum()), problem.attributes), realised


# The methods of a class follow one another and share their draws, which may fit a classifier.
@functools.lru_cache(maxsize=64)
def _draw(
    problem: Problem, target: int, labels: str, number: int
) -> tuple[int, NDArray[np.uint8], Accuracies, Accuracies]:
    """Return the seed node, labels 0/1, and their accuracies: those that methods know, and the realised ones."""
    members, source = problem.y == target, parse_labels(labels)
    rng = np.random.default_rng([number, target])
    seed = int(rng.choice((members & (problem.graph.degree > 0)).nonzero()[0]))
    if source["source"] == "flips":
        accuracies = source["a1"], source["a0"]
        y = np.asarray(flip_membership(members, a1=source["a1"], a0=source["a0"], seed=rng).y).astype(np.uint8)
    else:
        count, others = source["samples"], members.copy()
        others[seed] = False
        inside = np.append(rng.choice(others.nonzero()[0], count - 1, replace=False), seed)
        outside = rng.choice((~members).nonzero()[0], count, replace=False)
        graph, kind = problem.graph if source["source"] == "gcn" else None, source["source"]
        # Data without attributes were refused.
        assert problem.attributes is not None
        x = problem.attributes.x
        membership = predict_membership(
            x, np.sort(inside), np.sort(outside), graph=graph, model=kind, seed=int(rng.integers(2**31))
        )
        y, accuracies = membership.labels.astype(np.uint8), (membership.a1, membership.a0)
    realised = float(y[members].mean()), float(1 - y[~members].mean()) if not members.all() else 1.0
    y[seed] = 1
    return seed, y, accuracies, realised
