"""Improvement of a set of nodes to one of smaller conductance, by maximum flows (MQI, SimpleLocal)."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.inputs import CheckedLabels
from graphnoise.clustering.result import Cluster, Diffusion
from graphnoise.clustering.rounding import conductances
from graphnoise.kernels import cut
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.typing import GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

METHODS = ("mqi", "simple_local")
DELTA, MAX_ROUNDS = 0.3, 100


def mqi(
    graph: GraphLike,
    nodes: SeedsLike,
    *,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    max_rounds: int = MAX_ROUNDS,
    backend: str | None = None,
) -> Cluster:
    r"""Return the subset of least conductance of a set of at most half the volume.

    argmin over T within S of cut(T) / vol(T), by one maximum flow per round, exactly: in a graph without weights and
    labels all capacities are integers. Reads the rows of the set alone. Nodes without arcs are removed.

    Args:
        graph: Anything `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        labels: As in `conductance`, for cuts and volumes.
        label_eps: As in `conductance`.
        max_rounds: Largest number of flows; usually about ten are needed.
        backend: "native", "reference", or None for the first.

    Returns:
        The cluster. `statistics` holds its cut and volume, whether it is known to be best ("converged"), the
        conductance of `nodes` ("before"), the flows ("rounds"), their paths and the arcs that were read.

    Raises:
        InputError: An empty set, one of more than half the volume, a node that the graph does not have or that comes
            twice, or a bad label.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]
        >>> cluster = mqi(path, [0, 1, 5])
        >>> cluster.nodes, cluster.conductance, cluster.statistics["before"]
        (array([0, 1]), 0.3333333333333333, 0.5)

    Source: Lang and Rao, "A flow-based method for improving the expansion or conductance of graph cuts", IPCO 2004.
    """
    return _improve(graph, nodes, math.inf, labels, label_eps, max_rounds, backend)


def simple_local(
    graph: GraphLike,
    nodes: SeedsLike,
    delta: float = DELTA,
    *,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    max_rounds: int = MAX_ROUNDS,
    backend: str | None = None,
) -> Cluster:
    r"""Return a set near another one, of at most its conductance, which may also contain nodes outside it.

    argmin over T of cut(T) / (vol(T ∩ S) - (theta + delta) vol(T \ S)), with theta = vol(S) / (vol(V) - vol(S)), over
    the sets for which that is above 0; the quotient is never below the conductance of T. delta = 0 is FlowImprove, an
    infinite delta is `mqi`. Reads the rows of S, and others of together at most vol(S) / (theta + delta).

    Args:
        graph: Anything `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        delta: Cost of nodes outside, at least 0.
        labels: As in `conductance`, for cuts and volumes; the bound on what is read grows by 1 / label_eps.
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
    if not (isinstance(delta, float) and delta == math.inf):
        delta = checks.real("delta", delta, 0.0, expected="a number of at least 0, or infinity")
    return _improve(graph, nodes, delta, labels, label_eps, max_rounds, backend)


def improve(graph: GraphLike, cluster: Cluster | SeedsLike, method: str = "mqi", **settings: Any) -> Cluster:
    """Improve a cluster, such as that of a sweep, by `mqi` or `simple_local`.

    Args:
        graph: Anything `as_undirected` takes.
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
        checks.fail("cluster", "a Cluster or nodes (`sweep_cut` rounds a diffusion)", "a Diffusion")
    nodes: SeedsLike = cluster
    if isinstance(cluster, Cluster):
        graph = as_undirected(graph)
        nodes = _names_of_cluster(graph, cluster.nodes)
    function = mqi if checks.choice("method", method, METHODS) == "mqi" else simple_local
    parameters = [*inspect.signature(function).parameters][2:]
    for name in settings:
        checks.choice(f"{method}: settings", name, parameters)
    return function(graph, nodes, **settings)


def _names_of_cluster(graph: UndirectedGraph, nodes: Ints) -> SeedsLike:
    """Return the nodes of a cluster in the form that functions take: by name where the graph has names."""
    if len(nodes) and int(nodes.max()) >= graph.num_nodes:
        checks.fail("cluster", f"a cluster of this graph of {graph.num_nodes} nodes", f"node {int(nodes.max())}")
    return nodes if graph.names is None else [graph.names[i] for i in nodes]


def _improve(
    graph: GraphLike,
    nodes: SeedsLike,
    delta: float,
    labels: MembershipLike | None,
    label_eps: float,
    max_rounds: int,
    backend: str | None,
) -> Cluster:
    graph = as_undirected(graph)
    members = inputs.check_members(graph, nodes)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    max_rounds = checks.integer("max_rounds", max_rounds, 1, 2**31 - 1)
    volume = float(graph.degree[members].sum())
    if 2 * volume > graph.volume * (1 + 1e-13):
        got = f"{volume:g} of {graph.volume:g}; give the other side, or `max_volume` to the sweep"
        checks.fail("nodes", "a set of at most half the volume of the graph", got)
    return improve_unchecked(graph, members, delta, checked, label_eps, max_rounds, backend)


def improve_unchecked(
    graph: UndirectedGraph,
    members: Ints,
    delta: float,
    labels: CheckedLabels,
    label_eps: float,
    max_rounds: int = MAX_ROUNDS,
    backend: str | None = None,
) -> Cluster:
    """Improve a set of at most half the volume; arguments are known to be valid."""
    graph, labels = inputs.for_kernels(graph, labels, label_eps)
    linked = graph.degree[members] > 0
    if linked.any():
        members = members[linked]
    result = cut.improve(graph, members, labels, label_eps, delta, max_rounds, backend)
    statistics = result.statistics
    volumes, cuts = (np.array([statistics.pop(f"{name} before"), statistics[name]]) for name in ("volume", "cut"))
    before, phi = conductances(graph, volumes, cuts)
    statistics |= {"before": float(before), "converged": float(result.converged)}
    return Cluster(result.nodes, float(phi), names=graph.named(result.nodes), statistics=statistics)
