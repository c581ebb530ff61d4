"""Diffusions from many sets of seeds in one call, and the best cluster of each."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.checks import InputError
from graphnoise.clustering import inputs
from graphnoise.clustering.diffusions import METHODS
from graphnoise.clustering.inputs import CheckedLabels, PartialLabels
from graphnoise.clustering.result import Cluster, named
from graphnoise.clustering.rounding import WALKS, sweep_cut_unchecked
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.push import Settings, push_sets
from graphnoise.typing import Floats, FloatsLike, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

MAX_THREADS = 1024


@dataclass(frozen=True, eq=False)
class DiffusionBatch(checks.Validated):
    """The results of diffusions from many sets of seeds.

    Attributes:
        values: What the diffusion computes, one row per set and one column per node, float64, shape [sets, n].
        status: How each run ended, as `Diffusion.status`, shape [sets].
        converged: Whether the stopping rule of the method holds, shape [sets].
        pushes: Number of pushes, shape [sets].
        arcs: Number of arcs that were read, shape [sets].
        num_touched: Number of nodes that were touched, shape [sets]; the reference counts nodes with mass or value.
        worst: Largest excess above a sink (flow), or residual per unit of degree (walks), shape [sets].
        begin: Where each set begins in `seeds`, shape [sets + 1].
        seeds: Positions of the seeds, set by set.
        names: The caller's names of all nodes, or None; `members` has those of a set.
        backend: The tier that ran.
        method: Name of the method.

    Raises:
        InputError: The fields are not those of a batch; they are checked when it is made, unpickled or copied.
    """

    values: scipy.sparse.csr_array
    status: NDArray[np.str_]
    converged: NDArray[np.bool_]
    pushes: Ints
    arcs: Ints
    num_touched: Ints
    worst: Floats
    begin: Ints
    seeds: Ints
    names: Sequence[Any] | None
    backend: str
    method: str

    def __post_init__(self) -> None:
        values = self.values
        if not isinstance(values, scipy.sparse.csr_array) or values.dtype != np.float64 or values.ndim != 2:
            checks.fail("values", "a SciPy CSR array of type float64, one row per set", type(values).__name__)
        try:
            checks.check_format(values)
        except ValueError as error:
            checks.fail("values", "a valid SciPy CSR array", error)
        sets, n = values.shape
        descends = np.diff(values.indices) <= 0
        descends[values.indptr[(values.indptr > 0) & (values.indptr < values.nnz)] - 1] = False
        if descends.any():
            checks.fail("values", "distinct nodes, ascending in each row", "others")
        if not isinstance(self.status, np.ndarray) or self.status.dtype.kind != "U" or self.status.shape != (sets,):
            checks.fail("status", f"an array of {sets} texts", type(self.status).__name__)
        arrays = {"converged": (np.bool_, sets), "pushes": (np.int64, sets), "arcs": (np.int64, sets)}
        arrays |= {"num_touched": (np.int64, sets), "worst": (np.float64, sets), "begin": (np.int64, sets + 1)}
        for name, (dtype, size) in (arrays | {"seeds": (np.int64, None)}).items():
            object.__setattr__(self, name, checks.read_only(name, getattr(self, name), dtype, (size,)))
        begin, seeds = self.begin, self.seeds
        if begin[0] != 0 or begin[-1] != len(seeds) or (np.diff(begin) < 0).any():
            checks.fail("begin", f"entries from 0 to {len(seeds)} that do not decrease", "others")
        if len(seeds) and (seeds.min() < 0 or seeds.max() >= n):
            checks.fail("seeds", f"nodes from 0 to {n - 1}", f"values from {seeds.min()} to {seeds.max()}")
        checks.choice("method", self.method, METHODS)
        if self.names is not None and (not isinstance(self.names, list) or len(self.names) != n):
            checks.fail("names", f"a list of {n} names, or None", type(self.names).__name__)

    def __len__(self) -> int:
        """Number of sets."""
        return len(self.status)

    def row(self, i: int) -> tuple[Ints, Floats]:
        """Return the nodes with a value above 0 of set i, ascending, and their values."""
        part = slice(*self.values.indptr[i : i + 2])
        return self.values.indices[part].astype(np.int64), self.values.data[part]

    def members(self, i: int) -> Ints | list[Any]:
        """Return the nodes of `row(i)` by name where the graph has names, otherwise by position."""
        return named(self.row(i)[0], self.names)


def diffuse_many(
    graph: GraphLike,
    seed_sets: Iterable[SeedsLike],
    method: str = "flow",
    mass: FloatsLike | None = None,
    *,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    num_threads: int = 0,
    backend: str | None = None,
    **parameters: Any,
) -> DiffusionBatch:
    r"""Run a diffusion from each of many sets of seeds, in parallel; row i is the result of the method for set i alone.

    Results are the same, to the last bit, at any number of threads; a forked process has one. Memory is reused by later
    runs, so that a run costs what it touches, not the size of the graph. Ctrl-C ends the call.

    Args:
        graph: Anything `as_undirected` takes.
        seed_sets: Sets, each as the method takes its seeds; an array or list of single nodes is a set for each.
        method: "flow", "pagerank", "l1_pagerank" or "heat_kernel".
        mass: Mass of all seeds of a set together: one number, or one per set, shape [sets]. Flow diffusion needs it,
            unless sets are {node: mass}; by default 1 otherwise.
        labels: Noisy labels 0/1 for all sets, as the method takes them. In each run its own seeds have label 1.
        label_eps: Factor of the weight of an edge between different labels, from 0 to 1; 1 is the same as no labels.
        num_threads: Threads; 0 for as many as torch has.
        backend: "native", "reference" (the same, to the last bit, without threads), or None for the first.
        **parameters: Parameters of the method: alpha, eps, rho, t, tol, sink, p, max_pushes.

    Raises:
        InputError: A bad set, named by its number, or any error of the method.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> batch = diffuse_many(path, [0, [0, 2]], "pagerank", alpha=0.5, eps=1e-9)
        >>> batch.values.toarray().round(4), batch.converged
        (array([[0.7083, 0.25  , 0.0417],
               [0.375 , 0.25  , 0.375 ]]), array([ True,  True]))

    Source: As of the methods.
    """
    settings = check_settings(method, parameters)
    num_threads = check_num_threads(num_threads)
    graph = as_undirected(graph)
    begin, seeds, masses = _check_sets(graph, seed_sets, mass, method == "flow")
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    arguments = checked, label_eps, begin, seeds, masses, method, settings, num_threads, backend
    return diffuse_many_unchecked(graph, *arguments)


def diffuse_many_unchecked(
    graph: UndirectedGraph,
    labels: CheckedLabels,
    label_eps: float,
    begin: Ints,
    seeds: Ints,
    masses: Floats,
    method: str,
    settings: Settings,
    num_threads: int,
    backend: str | None = None,
) -> DiffusionBatch:
    """Run a diffusion from each of many sets of seeds; arguments are known to be valid."""
    if isinstance(labels, PartialLabels):
        return _diffuse_each(graph, labels, label_eps, begin, seeds, masses, method, settings, num_threads, backend)
    num_threads = min(num_threads, max(len(begin) - 1, 1))
    run = push_sets(graph, labels, label_eps, begin, seeds, masses, settings, num_threads, backend)
    status = np.array(run.status, dtype="U10")
    rows = np.repeat(np.arange(len(status)), np.diff(run.begin))
    status[rows[~np.isfinite(run.values)]] = "overflow"
    values = scipy.sparse.csr_array(
        (run.values, run.nodes, run.begin), shape=(len(status), graph.num_nodes), copy=False
    )
    converged = status == "converged"
    counts = run.pushes, run.arcs, run.touched, run.worst
    return DiffusionBatch.unchecked(values, status, converged, *counts, begin, seeds, graph.names, run.backend, method)


def _diffuse_each(
    graph: UndirectedGraph,
    labels: PartialLabels,
    label_eps: float,
    begin: Ints,
    seeds: Ints,
    masses: Floats,
    *settings: Any,
) -> DiffusionBatch:
    """Run the sets one by one: labels of some nodes weigh arcs, and so each set with labels 1 at its seeds."""
    runs = []
    for b, e in itertools.pairwise(begin.tolist()):
        weighed, alike = inputs.for_kernels(graph, inputs.with_seed_labels(labels, seeds[b:e]), label_eps)
        one = np.array([0, e - b]), seeds[b:e], masses[b:e]
        runs.append(diffuse_many_unchecked(weighed, alike, label_eps, *one, *settings))
    if not runs:
        return diffuse_many_unchecked(graph, None, 1.0, begin, seeds, masses, *settings)
    arrays = ("status", "converged", "pushes", "arcs", "num_touched", "worst")
    joined: dict[str, Any] = {name: np.concatenate([getattr(run, name) for run in runs]) for name in arrays}
    values = scipy.sparse.vstack([run.values for run in runs], format="csr")
    return replace(runs[0], values=values, begin=begin, seeds=seeds, **joined)


def sweep_many(
    graph: GraphLike,
    batch: DiffusionBatch,
    *,
    by: str | None = None,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    max_volume: float | None = None,
    backend: str | None = None,
) -> list[Cluster]:
    """Return the best cluster of the sweep of each set, as `sweep_cut` does.

    A set without values gives a cluster without nodes, of conductance 1.

    Args:
        graph: The graph of the batch.
        batch: A result of `diffuse_many`.
        by: As in `sweep_cut`.
        labels: Noisy labels 0/1 for all sets; in each sweep the seeds of its set have label 1.
        label_eps: As in `sweep_cut`.
        max_volume: As in `sweep_cut`.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: Not a batch of this graph, or any error of `sweep_cut`.

    Example:
        >>> path = as_undirected([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> batch = diffuse_many(path, [0, 3], mass=4.0)
        >>> [(cluster.nodes.tolist(), round(cluster.conductance, 3)) for cluster in sweep_many(path, batch)]
        [([0, 1], 0.333), ([2, 3], 0.333)]

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 2.
    """
    graph = as_undirected(graph)
    if not isinstance(batch, DiffusionBatch):
        checks.fail("batch", "a DiffusionBatch", type(batch).__name__)
    if batch.values.shape[1] != graph.num_nodes:
        checks.fail("batch", f"a batch of this graph of {graph.num_nodes} nodes", f"{batch.values.shape[1]} nodes")
    by_degree = batch.method in WALKS if by is None else checks.choice("by", by, ("degree", "value")) == "degree"
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    if max_volume is not None:
        max_volume = checks.real("max_volume", max_volume, 0.0)
    return sweep_many_unchecked(graph, batch, by_degree, checked, label_eps, max_volume, backend)


def sweep_many_unchecked(
    graph: UndirectedGraph,
    batch: DiffusionBatch,
    by_degree: bool,
    labels: CheckedLabels,
    label_eps: float,
    max_volume: float | None = None,
    backend: str | None = None,
) -> list[Cluster]:
    """Return the best cluster of the sweep of each set; arguments are known to be valid."""
    clusters = []
    for i, seeded in enumerate(_seeded_labels(labels, batch)):
        nodes, values = batch.row(i)
        if len(nodes):
            arguments = nodes, values, by_degree, seeded, label_eps, max_volume, backend
            clusters.append(sweep_cut_unchecked(graph, *arguments))
        else:
            clusters.append(Cluster(nodes, 1.0, nodes, values, graph.named(nodes)))
    return clusters


def _seeded_labels(labels: CheckedLabels, batch: DiffusionBatch) -> Iterator[CheckedLabels]:
    """Yield for each set the labels that are 1 at its seeds; an array is valid until the next one is taken."""
    # With labels of some nodes each sweep weighs all arcs in any case.
    array = labels.copy() if isinstance(labels, np.ndarray) else None
    for begin, end in itertools.pairwise(batch.begin.tolist()):
        seeds = batch.seeds[begin:end]
        if array is None:
            yield inputs.with_seed_labels(labels, seeds)
        else:
            before = array[seeds]
            array[seeds] = 1
            yield array
            array[seeds] = before


def check_settings(method: str, parameters: Mapping[str, Any]) -> Settings:
    """Check the name of a diffusion and its parameters."""
    function = METHODS[checks.choice("method", method, METHODS)]
    expected = list(inspect.signature(function).parameters)
    for name in parameters:
        if name not in expected:
            checks.fail(f"parameters of {method}", ", ".join(expected), repr(name))
    return function(**parameters)


def check_num_threads(num_threads: int) -> int:
    """Check a number of threads; 0 gives torch's."""
    return checks.integer("num_threads", num_threads, 0, MAX_THREADS) or torch.get_num_threads()


def _check_sets(
    graph: UndirectedGraph, seed_sets: Iterable[SeedsLike], mass: FloatsLike | None, flow: bool
) -> tuple[Ints, Ints, Floats]:
    """Return where each set begins, the positions of all seeds, ascending in each set, and the mass of each."""
    sets = _as_sequence(seed_sets)
    totals = None if mass is None else _check_masses(mass, len(sets))
    single = _single_nodes(graph, sets)
    if single is not None:
        if flow and totals is None and len(single):
            checks.fail("mass", "the mass of a set, a few times the volume of the cluster", None)
        return np.arange(len(single) + 1), single, np.ones(len(single)) if totals is None else totals
    nodes, masses = [], []
    for i, seeds in enumerate(sets):
        if flow and totals is None and not isinstance(seeds, Mapping):
            checks.fail("mass", "the mass of a set, unless all sets are {node: mass}", None)
        try:
            set_nodes, set_masses = inputs.check_seeds(graph, seeds, None if totals is None else float(totals[i]))
        except InputError as error:
            raise InputError(f"seed_sets[{i}]: {error}") from error
        nodes.append(set_nodes)
        masses.append(set_masses)
    begin = np.cumsum([0, *map(len, nodes)], dtype=np.int64)
    return begin, np.concatenate(nodes), np.concatenate(masses)


def _as_sequence(seed_sets: Any) -> Any:
    """Return the sets as an array of integers, one node per set, or as a list."""
    if isinstance(seed_sets, Tensor):
        seed_sets = seed_sets.detach().cpu().numpy()
    expected = "several sets of seeds: a list, or an array with one node per set"
    if isinstance(seed_sets, np.ndarray):
        if seed_sets.ndim == 0 or (seed_sets.ndim == 1 and seed_sets.dtype.kind == "b"):
            checks.fail("seed_sets", expected, f"an array of shape {seed_sets.shape} of type {seed_sets.dtype}")
        return seed_sets if seed_sets.ndim == 1 and seed_sets.dtype.kind in "iu" else list(seed_sets)
    if isinstance(seed_sets, Mapping | str | bytes) or not isinstance(seed_sets, Iterable):
        checks.fail("seed_sets", expected, type(seed_sets).__name__)
    return list(seed_sets)


def _single_nodes(graph: UndirectedGraph, sets: Any) -> Ints | None:
    """Return the positions of sets of one valid node each, or None where sets must be checked one by one."""
    if len(sets) == 0:
        return np.empty(0, dtype=np.int64)
    if graph.position is not None:
        return None
    if not isinstance(sets, np.ndarray):
        if not all(type(seeds) is int for seeds in sets):
            return None
        try:
            sets = np.array(sets, dtype=np.int64)
        except OverflowError:
            return None
    outside = (sets < 0) | (sets >= graph.num_nodes)
    return None if outside.any() else sets.astype(np.int64)


def _check_masses(mass: FloatsLike, count: int) -> Floats:
    """Return the mass of each set, above 0."""
    expected = f"a finite number above 0, or {count} of them, one per set"
    if np.isscalar(mass) or getattr(mass, "ndim", None) == 0:
        return np.full(count, inputs.check_mass(mass))
    masses = checks.tensor("mass", mass).detach().cpu().double().numpy()
    if masses.shape != (count,):
        checks.fail("mass", expected, f"shape {masses.shape}")
    bad = ~(np.isfinite(masses) & (masses > 0))
    if bad.any():
        checks.fail("mass", expected, float(masses[bad][0]))
    return np.ascontiguousarray(masses)
