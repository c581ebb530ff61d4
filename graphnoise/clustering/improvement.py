"""From a set of nodes to one of smaller conductance near it, by maximum flows."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Cluster, Diffusion, Ints
from graphnoise.clustering.rounding import labels_of, members_of, quotient
from graphnoise.kernels import cut

METHODS = ("mqi", "simple_local")


def mqi(
    graph: Any,
    nodes: Any,
    *,
    labels: Any = None,
    label_eps: float = 0.05,
    max_rounds: int = 100,
    backend: str | None = None,
) -> Cluster:
    r"""Return the subset of least conductance of a set of at most half the volume.

    argmin over T within S of cut(T) / vol(T), by a maximum flow a round, exactly: with a graph without weights and
    labels all capacities are integers. Reads the rows of the set alone. Nodes without arcs are left out.

    Args:
        graph: What `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        labels: As in `conductance`; cuts and volumes then regard labels.
        label_eps: As in `conductance`.
        max_rounds: Largest number of flows. Some ten are usual.
        backend: "native", "reference", or None for the first.

    Returns:
        The cluster. `statistics` holds its cut and volume, whether it is known to be best ("converged"), the
        conductance of the given set ("before"), the flows ("rounds"), their paths and the arcs that were read.

    Raises:
        InputError: An empty set, one of more than half the volume, a node that the graph does not have or that comes
            twice, or a bad label.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]
        >>> found = mqi(path, [0, 1, 5])
        >>> found.nodes, found.conductance, found.statistics["before"]
        (array([0, 1]), 0.3333333333333333, 0.5)

    Source: Lang and Rao, "A flow-based method for improving the expansion or conductance of graph cuts", IPCO 2004.
    """
    return _improve(graph, nodes, math.inf, labels, label_eps, max_rounds, backend)


def simple_local(
    graph: Any,
    nodes: Any,
    delta: float = 0.3,
    *,
    labels: Any = None,
    label_eps: float = 0.05,
    max_rounds: int = 100,
    backend: str | None = None,
) -> Cluster:
    r"""Return a set near a given one, of at most its conductance, which may also take nodes in.

    argmin over T of cut(T) / (vol(T ∩ S) - (theta + delta) vol(T \ S)), with theta = vol(S) / (vol(V) - vol(S)), over
    the sets for which that is above 0; the quotient is never below the conductance of T. delta = 0 is FlowImprove, an
    infinite delta is `mqi`. Reads the rows of S, and others of together at most vol(S) / (theta + delta).

    Args:
        graph: What `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        delta: What nodes outside cost, at least 0.
        labels: As in `conductance`; cuts and volumes then regard labels, and the bound on what is read grows by
            1 / label_eps.
        label_eps: As in `conductance`.
        max_rounds: Largest number of flows.
        backend: "native", "reference", or None for the first.

    Returns:
        The cluster, with `statistics` as those of `mqi`, and the least quotient ("quotient").

    Raises:
        InputError: As `mqi`, or a negative delta.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]
        >>> simple_local(path, [0, 2]).nodes
        array([0, 1, 2])

    Source: Veldt, Gleich and Mahoney, "A simple and strongly-local flow-based method for cut improvement", ICML 2016;
        Andersen and Lang, "An algorithm for improving graph partitions", SODA 2008 (FlowImprove).
    """
    known = isinstance(delta, float) and delta == math.inf
    cost = math.inf if known else checks.real("delta", delta, 0.0, expected="a number of at least 0, or infinity")
    return _improve(graph, nodes, cost, labels, label_eps, max_rounds, backend)


def improve(graph: Any, cluster: Any, method: str = "mqi", **settings: Any) -> Cluster:
    """Improve a cluster, such as that of a sweep, by `mqi` or `simple_local`; `settings` are those of the method.

    Args:
        graph: What `as_undirected` takes.
        cluster: A `Cluster`, or nodes.
        method: "mqi" or "simple_local".
        **settings: Arguments of the method.

    Raises:
        InputError: An unknown method, or what the method does not take.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]
        >>> improve(path, [0, 2], "simple_local").nodes
        array([0, 1, 2])

    Source: Fountoulakis, Gleich and Mahoney, "A short introduction to local graph clustering methods and software",
        2018, section 3.
    """
    if isinstance(cluster, Diffusion):
        checks.fail("cluster", "a Cluster or nodes (`sweep_cut` makes one of a diffusion)", "a Diffusion")
    nodes = cluster.nodes if isinstance(cluster, Cluster) else cluster
    if isinstance(cluster, Cluster):
        graph = as_undirected(graph)
        nodes = _as_given(graph, cluster.nodes)
    function = mqi if checks.choice("method", method, METHODS) == "mqi" else simple_local
    known = [*inspect.signature(function).parameters][2:]
    for name in settings:
        checks.choice(f"{method}: settings", name, known)
    return function(graph, nodes, **settings)


def _as_given(graph: UndirectedGraph, nodes: Ints) -> Any:
    """Return positions as the caller of a function would name them."""
    if len(nodes) and int(nodes.max()) >= graph.num_nodes:
        checks.fail("cluster", f"a cluster of this graph of {graph.num_nodes} nodes", f"node {int(nodes.max())}")
    return nodes if graph.names is None else graph.named(nodes)


def _improve(
    graph: Any, nodes: Any, delta: float, labels: Any, label_eps: float, max_rounds: int, backend: str | None
) -> Cluster:
    read = as_undirected(graph)
    members = members_of(read, nodes)
    asked, eps = labels_of(read, labels, label_eps)
    rounds = checks.integer("max_rounds", max_rounds, 1)
    volume = float(read.degree[members].sum())
    if 2 * volume > read.volume * (1 + 1e-13):
        got = f"{volume:g} of {read.volume:g}; give the other side, or `max_volume` to the sweep"
        checks.fail("nodes", "a set of at most half the volume of the graph", got)
    if volume > 0:
        members = members[read.degree[members] > 0]
    found, about, converged, _ = cut.improve(read, members, asked, eps, delta, rounds, backend)
    volumes, cuts = (np.array([about.pop(f"{name} before"), about[name]]) for name in ("volume", "cut"))
    before, phi = quotient(read, volumes, cuts)
    about |= {"before": float(before), "converged": float(converged)}
    return Cluster(found, float(phi), names=read.named(found), statistics=about)
