"""Rounding of diffusions to clusters (sweep cut, support), and the conductance of sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.inputs import CheckedLabels
from graphnoise.clustering.result import Cluster, Diffusion
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.sweep import sweep
from graphnoise.typing import Floats, FloatsLike, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# Diffusions whose values are proportional to degrees far from the seeds; sweeps divide by degrees.
WALKS = ("pagerank", "l1_pagerank", "heat_kernel")


def conductance(
    graph: GraphLike,
    nodes: SeedsLike,
    *,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    backend: str | None = None,
) -> float:
    r"""Return the conductance of a set of nodes: weight of the arcs that leave over the smaller of the two volumes.

    phi(S) = cut(S) / min(vol(S), vol(V) - vol(S)), and 1 where that volume is 0. Reads the rows of the set alone.

    With labels, each arc between different labels weighs `label_eps` times its weight, in the cut and in vol(S); vol(V)
    is computed without labels, which are not read far from the set.

    Args:
        graph: Anything `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None.
        label_eps: Factor of the weight of an arc between different labels, from 0 to 1; 1 is the same as no labels.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: An empty set, a node that the graph does not have or that comes twice, or a bad label.

    Example:
        >>> conductance([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]], [0, 1])  # a path of 4 nodes
        0.3333333333333333

    Source: Spielman and Teng, "A local clustering algorithm for massive graphs", SIAM J. Comput. 42, 2013, section 1.1.
    """
    graph = as_undirected(graph)
    members = inputs.check_members(graph, nodes)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    return conductance_unchecked(graph, members, checked, label_eps, backend)


def conductance_unchecked(
    graph: UndirectedGraph, members: Ints, labels: CheckedLabels, label_eps: float, backend: str | None = None
) -> float:
    """Return the conductance of a set; arguments are known to be valid."""
    graph, labels = inputs.for_kernels(graph, labels, label_eps)
    _, volume, cut, _ = sweep(graph, members, labels, label_eps, backend)
    return float(conductances(graph, volume[-1:], cut[-1:])[0])


def support_cluster(
    graph: GraphLike,
    diffusion: Diffusion,
    *,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    backend: str | None = None,
) -> Cluster:
    """Return the nodes with a value above 0 as a cluster, with its conductance.

    Args:
        graph: The graph of the diffusion.
        diffusion: A diffusion.
        labels: As in `conductance`.
        label_eps: As in `conductance`.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: No value is above 0, or a bad label.

    Example:
        >>> path = as_undirected([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> arrays = np.array([0, 1]), np.array([2.0, 1.0]), np.zeros(2), np.array([1.0, 2.0])
        >>> support_cluster(path, Diffusion(*arrays, True, "converged", 2, 3)).nodes
        array([0, 1])

    Source: Fountoulakis, Wang and Yang, "p-Norm flow diffusion for local graph clustering", ICML 2020, section 2.
    """
    graph = as_undirected(graph)
    if not isinstance(diffusion, Diffusion):
        checks.fail("diffusion", "a Diffusion", type(diffusion).__name__)
    _check_not_empty(diffusion.support)
    members = _check_touched(graph, diffusion.support)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    phi = conductance_unchecked(graph, members, checked, label_eps, backend)
    return Cluster(members, phi, names=graph.named(members))


def sweep_cut(
    graph: GraphLike,
    diffusion: Diffusion | Mapping[Any, float] | FloatsLike,
    *,
    by: str | None = None,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    max_volume: float | None = None,
    backend: str | None = None,
) -> Cluster:
    r"""Return the prefix of least conductance of the nodes in descending order of a diffusion, ties by position.

    The order is that of p_i / d_i or of x_i, over the nodes with values above 0; the set of all nodes is no candidate.
    Time O(vol log vol) of those nodes, whatever the size of the graph. Of equally good prefixes the first is returned.

    Args:
        graph: The graph of the diffusion.
        diffusion: A `Diffusion`, an array [n] of values at least 0, or {node: value}.
        by: "degree" to divide values by degrees (walks: PageRank, heat kernel), "value" not to (flow diffusion), or
            None for the default of the diffusion's method ("value" with an array or a mapping).
        labels: As in `conductance`. Degrees are then sums of the weights under labels.
        label_eps: As in `conductance`.
        max_volume: Largest volume of the cluster, or None.
        backend: "native", "reference", or None for the first.

    Returns:
        The cluster, with the whole sweep in `order` and `profile`, and its volume and cut in `statistics`.

    Raises:
        InputError: No value is above 0, a value is negative or not finite, no prefix has at most `max_volume`, or a bad
            label.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]
        >>> cluster = sweep_cut(path, [0.5, 0.4, 0.2, 0.0])
        >>> cluster.nodes, cluster.order, cluster.profile
        (array([0, 1]), array([0, 1, 2]), array([1.        , 0.33333333, 1.        ]))

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 2.
    """
    graph = as_undirected(graph)
    nodes, values, method = _check_values(graph, diffusion)
    if by is not None:
        by = checks.choice("by", by, ("degree", "value"))
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    if max_volume is not None:
        max_volume = checks.real("max_volume", max_volume, 0.0)
    by_degree = by == "degree" or (by is None and method in WALKS)
    return sweep_cut_unchecked(graph, nodes, values, by_degree, checked, label_eps, max_volume, backend)


def sweep_cut_unchecked(
    graph: UndirectedGraph,
    nodes: Ints,
    values: Floats,
    by_degree: bool,
    labels: CheckedLabels,
    label_eps: float,
    max_volume: float | None = None,
    backend: str | None = None,
) -> Cluster:
    """Return the best prefix of nodes with values above 0, divided by degrees if `by_degree`.

    Arguments are known to be valid, except that `max_volume` may be below the volume of the first node.
    """
    graph, labels = inputs.for_kernels(graph, labels, label_eps)
    score = values
    if by_degree:
        degree = graph.degree[nodes] if labels is None else sweep(graph, nodes, labels, label_eps, backend)[0]
        score = np.divide(values, degree, out=np.zeros(len(values)), where=degree > 0)
    order = nodes[np.lexsort((nodes, -score))]
    order = order[: graph.num_nodes - 1] if graph.num_nodes > 1 else order
    _, volume, cut, _ = sweep(graph, order, labels, label_eps, backend)
    profile = conductances(graph, volume, cut)
    allowed = len(order) if max_volume is None else int(np.searchsorted(volume, max_volume, side="right"))
    if allowed == 0:
        checks.fail("max_volume", f"at least {volume[0]:g}, the volume of the first node of the sweep", max_volume)
    best = int(np.argmin(profile[:allowed]))
    members = np.sort(order[: best + 1])
    statistics = {"volume": float(volume[best]), "cut": float(cut[best])}
    return Cluster(members, float(profile[best]), order, profile, graph.named(members), statistics)


def conductances(graph: UndirectedGraph, volume: Floats, cut: Floats) -> Floats:
    """Return the conductance of sets from their volumes and cuts."""
    rest = graph.volume - volume
    # A smaller rest, and a smaller cut below, are rounding.
    some = (volume > 0) & (rest > 1e-13 * graph.volume)
    small = cut <= 1e-13 * volume
    phi = np.divide(cut, np.minimum(volume, rest), out=np.ones(len(cut)), where=some)
    return np.where(some & small, 0.0, phi)


def _check_values(
    graph: UndirectedGraph, diffusion: Diffusion | Mapping[Any, float] | FloatsLike
) -> tuple[Ints, Floats, str]:
    """Return the nodes with values above 0, ascending, their values and the method of the diffusion."""
    if isinstance(diffusion, Diffusion):
        above = diffusion.values > 0
        nodes, values = _check_touched(graph, diffusion.touched[above]), diffusion.values[above]
        if not bool(np.isfinite(values).all()):
            checks.fail("diffusion", "finite values", f"{int((~np.isfinite(values)).sum())} that are not")
        _check_not_empty(nodes)
        return nodes, values, diffusion.method
    if isinstance(diffusion, Mapping):
        nodes = inputs.check_nodes(graph, list(diffusion), "diffusion")
        diffusion = list(diffusion.values())
    else:
        inputs.check_order(graph, "diffusion", "an array")
        nodes = np.arange(graph.num_nodes)
    values = checks.finite("diffusion", diffusion, dims=1).detach().cpu().double().numpy()
    if len(values) != len(nodes):
        checks.fail("diffusion", f"{len(nodes)} values, one per node", len(values))
    if len(values) and values.min() < 0:
        checks.fail("diffusion", "values of at least 0", float(values.min()))
    order = np.argsort(nodes)
    order = order[values[order] > 0]
    _check_not_empty(order)
    return nodes[order], values[order], ""


def _check_touched(graph: UndirectedGraph, nodes: Ints) -> Ints:
    """Check the positions of a diffusion, which may be of another graph or not from this library."""
    if nodes.dtype.kind != "i" or nodes.ndim != 1:
        checks.fail("diffusion", "nodes as positions, int64", f"values of type {nodes.dtype}, shape {nodes.shape}")
    if len(nodes) and (int(nodes[0]) < 0 or bool((np.diff(nodes) <= 0).any())):
        checks.fail("diffusion", "distinct nodes of at least 0, ascending", nodes[:5].tolist())
    if len(nodes) and int(nodes.max()) >= graph.num_nodes:
        checks.fail("diffusion", f"a diffusion on this graph of {graph.num_nodes} nodes", f"node {int(nodes.max())}")
    return nodes


def _check_not_empty(nodes: Ints) -> None:
    if len(nodes) == 0:
        checks.fail("diffusion", "at least one value above 0", "none")
