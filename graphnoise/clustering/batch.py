"""Diffusions from many sets of seeds in one call, and the best cluster of each."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Cluster, Floats, Ints
from graphnoise.clustering.rounding import WALKS, best_prefix, labels_of
from graphnoise.kernels.push import push_sets
from graphnoise.kernels.push.reference import Settings

MOST_THREADS = 1024


@dataclass(frozen=True, eq=False)
class DiffusionBatch:
    """How far the mass of each of many sets of seeds came.

    Attributes:
        values: What the diffusion computes, a row a set, a column a node, float64, shape [sets, n].
        status: How each run ended, as `Diffusion.status`, shape [sets].
        converged: Whether the stopping rule of the method holds, shape [sets].
        pushes: Number of pushes, shape [sets].
        arcs: Number of arcs that were read, shape [sets].
        num_touched: Number of nodes that were looked at, shape [sets]; the reference counts nodes with mass or value.
        worst: Largest excess above a sink (flow), or residual for each unit of degree (walks), shape [sets].
        begin: Where each set begins in `seeds`, shape [sets + 1].
        seeds: Positions of the seeds, set by set.
        names: The caller's own names of all nodes, or None.
        backend: The tier that ran.
        method: The method by name.
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
    names: list[Any] | None
    backend: str
    method: str

    def __len__(self) -> int:
        """Number of sets."""
        return len(self.status)

    def row(self, i: int) -> tuple[Ints, Floats]:
        """Return the nodes with a value above 0 of set i, ascending, and their values."""
        part = slice(*self.values.indptr[i : i + 2])
        return self.values.indices[part].astype(np.int64), self.values.data[part]


def diffuse_many(
    graph: Any,
    seed_sets: Any,
    method: str = "flow",
    mass: Any = None,
    *,
    labels: Any = None,
    label_eps: float = 0.05,
    num_threads: int = 0,
    backend: str | None = None,
    **parameters: Any,
) -> DiffusionBatch:
    r"""Run a diffusion from each of many sets of seeds, side by side; row i is what the method gives for set i alone.

    The same numbers, to the last bit, at any number of threads (in a process that was forked from one with threads, as
    torch's own operators do, more than one hangs: spawn it). What a run needs is kept for the next one of its
    thread, so that short runs cost what they touch, not the size of the graph. Ctrl-C ends the call.

    Args:
        graph: What `as_undirected` takes.
        seed_sets: Sets, each as the method takes its seeds; an array or list of single nodes is a set for each.
        method: "flow", "pagerank", "l1_pagerank" or "heat_kernel".
        mass: Mass of the seeds of a set together: one number, or one a set, shape [sets]. Flow diffusion needs it,
            unless sets are {node: mass}; by default 1 otherwise.
        labels: Noisy labels 0/1 for all sets, as the method takes them. Each run takes its own seeds to have label 1.
        label_eps: Part that an edge between different labels weighs, from 0 to 1; 1 is the same as no labels.
        num_threads: Threads; 0 for as many as torch has.
        backend: "native", "reference" (the same, to the last bit, without threads), or None for the first.
        **parameters: The method's own: alpha, eps, rho, t, tol, sink, p, max_pushes.

    Raises:
        InputError: A bad set, which the message names by its number, or what the method would refuse.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> found = diffuse_many(path, [0, [0, 2]], "pagerank", alpha=0.5, eps=1e-9)
        >>> found.values.toarray().round(4), found.converged
        (array([[0.7083, 0.25  , 0.0417],
               [0.375 , 0.25  , 0.375 ]]), array([ True,  True]))

    Source: as the methods'.
    """
    chosen = _settings(method, parameters)
    count = checks.integer("num_threads", num_threads, 0, MOST_THREADS) or torch.get_num_threads()
    read = as_undirected(graph)
    begin, seeds, masses = _sets(read, seed_sets, mass, method == "flow")
    asked, share = labels_of(read, labels, label_eps)
    found = push_sets(read, asked, share, begin, seeds, masses, chosen, min(count, max(len(begin) - 1, 1)), backend)
    status = np.array(found.status, dtype="U10")
    rows = np.repeat(np.arange(len(status)), np.diff(found.begin))
    status[rows[~np.isfinite(found.values)]] = "overflow"
    values = scipy.sparse.csr_array(
        (found.values, found.nodes, found.begin), shape=(len(status), read.num_nodes), copy=False
    )
    return DiffusionBatch(
        values=values,
        status=status,
        converged=status == "converged",
        pushes=found.pushes,
        arcs=found.arcs,
        num_touched=found.touched,
        worst=found.worst,
        begin=begin,
        seeds=seeds,
        names=read.names,
        backend=found.backend,
        method=method,
    )


def sweep_many(
    graph: Any,
    batch: DiffusionBatch,
    *,
    by: str | None = None,
    labels: Any = None,
    label_eps: float = 0.05,
    max_volume: float | None = None,
    backend: str | None = None,
) -> list[Cluster]:
    """Return the best cluster of the sweep of each set, as `sweep_cut` does; no nodes and 1 where a set has no values.

    Args:
        graph: The graph of the batch.
        batch: What `diffuse_many` returned.
        by: As in `sweep_cut`.
        labels: Noisy labels 0/1 for all sets; each sweep takes the seeds of its set to have label 1.
        label_eps: As in `sweep_cut`.
        max_volume: As in `sweep_cut`.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: Not a batch of this graph, or what `sweep_cut` refuses.

    Example:
        >>> path = as_undirected([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> batch = diffuse_many(path, [0, 3], mass=4.0)
        >>> [(cluster.nodes.tolist(), round(cluster.conductance, 3)) for cluster in sweep_many(path, batch)]
        [([0, 1], 0.333), ([2, 3], 0.333)]

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 2.
    """
    read = as_undirected(graph)
    if not isinstance(batch, DiffusionBatch):
        checks.fail("batch", "a DiffusionBatch", type(batch).__name__)
    if batch.values.shape[1] != read.num_nodes:
        checks.fail("batch", f"a batch of this graph of {read.num_nodes} nodes", f"{batch.values.shape[1]} nodes")
    walk = batch.method in WALKS if by is None else checks.choice("by", by, ("degree", "value")) == "degree"
    asked, eps = labels_of(read, labels, label_eps)
    bound = None if max_volume is None else checks.real("max_volume", max_volume, 0.0)
    clusters = []
    for i, known in enumerate(_known(asked, batch)):
        nodes, values = batch.row(i)
        if len(nodes):
            clusters.append(best_prefix(read, nodes, values, walk, known, eps, bound, backend))
        else:
            clusters.append(Cluster(nodes, 1.0, nodes, values, read.named(nodes)))
    return clusters


def with_seeds(labels: Any, seeds: Ints) -> Any:
    """Return labels (an array, a callable, or None) that are 1 at the seeds."""
    if labels is None:
        return None
    if isinstance(labels, np.ndarray):
        out = labels.copy()
        out[seeds] = 1
        return out

    def ask(nodes: Ints) -> inputs.Bytes:
        return np.where(np.isin(nodes, seeds), np.uint8(1), labels(nodes))

    return ask


def _known(labels: Any, batch: DiffusionBatch) -> Iterator[Any]:
    """Yield for each set the labels that are 1 at its seeds; an array is lent until the next one is taken."""
    lent = labels.copy() if isinstance(labels, np.ndarray) else None
    for begin, end in itertools.pairwise(batch.begin.tolist()):
        seeds = batch.seeds[begin:end]
        if lent is None:
            yield with_seeds(labels, seeds)
        else:
            before = lent[seeds]
            lent[seeds] = 1
            yield lent
            lent[seeds] = before


def _settings(method: Any, parameters: Mapping[str, Any]) -> Settings:
    made = METHODS[checks.choice("method", method, METHODS)]
    known = list(inspect.signature(made).parameters)
    for name in parameters:
        if name not in known:
            checks.fail(f"parameters of {method}", ", ".join(known), repr(name))
    return made(**parameters)


def _sets(graph: UndirectedGraph, sets: Any, mass: Any, flow: bool) -> tuple[Ints, Ints, Floats]:
    """Return where each set begins, the positions of all seeds, ascending in each set, and the mass of each."""
    listed = _listed(sets)
    total = None if mass is None else _masses(mass, len(listed))
    single = _single(graph, listed)
    if single is not None:
        if flow and total is None and len(single):
            checks.fail("mass", "the mass of a set, a few times the volume of the cluster", None)
        return np.arange(len(single) + 1), single, np.ones(len(single)) if total is None else total
    nodes, masses = [], []
    for i, seeds in enumerate(listed):
        if flow and total is None and not isinstance(seeds, Mapping):
            checks.fail("mass", "the mass of a set, unless all sets are {node: mass}", None)
        try:
            one, its = inputs.seeds(graph, seeds, None if total is None else float(total[i]))
        except InputError as error:
            raise InputError(f"seed_sets[{i}]: {error}") from error
        nodes.append(one)
        masses.append(its)
    begin = np.cumsum([0, *map(len, nodes)], dtype=np.int64)
    return begin, np.concatenate(nodes), np.concatenate(masses)


def _listed(sets: Any) -> Any:
    """Return the sets as what can be counted and indexed: an array of integers, or a list."""
    if isinstance(sets, Tensor):
        sets = sets.detach().cpu().numpy()
    wanted = "several sets of seeds: a list, or an array of nodes, a set each"
    if isinstance(sets, np.ndarray):
        if sets.ndim == 0 or (sets.ndim == 1 and sets.dtype.kind == "b"):
            checks.fail("seed_sets", wanted, f"an array of shape {sets.shape} of type {sets.dtype}")
        return sets if sets.ndim == 1 and sets.dtype.kind in "iu" else list(sets)
    if isinstance(sets, Mapping | str | bytes) or not isinstance(sets, Iterable):
        checks.fail("seed_sets", wanted, type(sets).__name__)
    return list(sets)


def _single(graph: UndirectedGraph, listed: Any) -> Ints | None:
    """Return the positions of sets of a node each, all at once, or None where they are to be read one by one."""
    if len(listed) == 0:
        return np.empty(0, dtype=np.int64)
    if graph.position is not None:
        return None
    if not isinstance(listed, np.ndarray):
        if not all(type(seeds) is int for seeds in listed):
            return None
        try:
            listed = np.array(listed, dtype=np.int64)
        except OverflowError:
            return None  # which one it is will be found
    outside = (listed < 0) | (listed >= graph.num_nodes)
    return None if outside.any() else listed.astype(np.int64)


def _masses(mass: Any, count: int) -> Floats:
    """Return the mass of each set, above 0."""
    wanted = f"a finite number above 0, or {count} of them, one a set"
    if np.ndim(mass) == 0:
        return np.full(count, inputs.mass_of(mass))
    given = checks.tensor("mass", mass).detach().cpu().double().numpy()
    if given.shape != (count,):
        checks.fail("mass", wanted, f"shape {given.shape}")
    bad = ~(np.isfinite(given) & (given > 0))
    if bad.any():
        checks.fail("mass", wanted, float(given[bad][0]))
    return np.ascontiguousarray(given)
