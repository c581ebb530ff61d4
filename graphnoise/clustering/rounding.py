"""From a diffusion to a cluster: its support, or the best prefix of a sweep; and the conductance of any set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Cluster, Diffusion, Floats, Ints
from graphnoise.kernels.sweep import sweep

WALKS = ("pagerank", "l1_pagerank", "heat_kernel")  # whose values are large where degrees are


def conductance(
    graph: Any, nodes: Any, *, labels: Any = None, label_eps: float = 0.05, backend: str | None = None
) -> float:
    r"""Return the conductance of a set of nodes: weight of the arcs that leave over the smaller of the two volumes.

    phi(S) = cut(S) / min(vol(S), vol(V) - vol(S)), and 1 where that volume is 0. Reads the rows of the set alone.

    With labels, each arc between different labels weighs `label_eps` of its weight, in the cut and in vol(S); vol(V) is
    counted without labels, since far from the set they are not read.

    Args:
        graph: What `as_undirected` takes.
        nodes: Nodes of the set, as positions or names, or a mask of Booleans.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None.
        label_eps: Part that an arc between different labels weighs, from 0 to 1; 1 is the same as no labels.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: An empty set, a node that the graph does not have or that comes twice, or a bad label.

    Example:
        >>> conductance([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]], [0, 1])  # a path of 4 nodes
        0.3333333333333333

    Source: Spielman and Teng, "A local clustering algorithm for massive graphs", SIAM J. Comput. 42, 2013, section 1.1.
    """
    read = as_undirected(graph)
    members = members_of(read, nodes)
    asked, eps = labels_of(read, labels, label_eps)
    _, volume, cut, _ = sweep(read, members, asked, eps, backend)
    return float(quotient(read, volume[-1:], cut[-1:])[0])


def support_cluster(
    graph: Any, diffusion: Diffusion, *, labels: Any = None, label_eps: float = 0.05, backend: str | None = None
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
        >>> found = np.array([0, 1]), np.array([2.0, 1.0]), np.zeros(2), np.array([1.0, 2.0])
        >>> support_cluster(path, Diffusion(*found, True, "converged", 2, 3)).nodes
        array([0, 1])

    Source: Fountoulakis, Wang and Yang, "p-Norm flow diffusion for local graph clustering", ICML 2020, section 2.
    """
    read = as_undirected(graph)
    if not isinstance(diffusion, Diffusion):
        checks.fail("diffusion", "a Diffusion", type(diffusion).__name__)
    members = diffusion.support
    _some(members)
    asked, eps = labels_of(read, labels, label_eps)
    _, volume, cut, _ = sweep(read, _inside(read, members), asked, eps, backend)
    return Cluster(members, float(quotient(read, volume[-1:], cut[-1:])[0]), names=read.named(members))


def sweep_cut(
    graph: Any,
    diffusion: Any,
    *,
    by: str | None = None,
    labels: Any = None,
    label_eps: float = 0.05,
    max_volume: float | None = None,
    backend: str | None = None,
) -> Cluster:
    r"""Return the prefix of least conductance of the nodes in descending order of a diffusion, ties by position.

    The order is that of p_i / d_i or of x_i, over the nodes with values above 0; a set of all nodes is not looked at.
    Time O(vol log vol) of those nodes, whatever the size of the graph. The first of equally good prefixes is taken.

    Args:
        graph: The graph of the diffusion.
        diffusion: A `Diffusion`, an array [n] of values at least 0, or {node: value}.
        by: "degree" to divide values by degrees (walks: PageRank, heat kernel), "value" to take them as they are (flow
            diffusion), or None for what suits the diffusion's method ("value" with an array or a mapping).
        labels: As in `conductance`. Degrees are then sums of weights that regard labels.
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
        >>> found = sweep_cut(path, [0.5, 0.4, 0.2, 0.0])
        >>> found.nodes, found.order, found.profile
        (array([0, 1]), array([0, 1, 2]), array([1.        , 0.33333333, 1.        ]))

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 2.
    """
    read = as_undirected(graph)
    nodes, values, method = _values(read, diffusion)
    if by is not None:
        by = checks.choice("by", by, ("degree", "value"))
    asked, eps = labels_of(read, labels, label_eps)
    if max_volume is not None:
        max_volume = checks.real("max_volume", max_volume, 0.0)
    degrees = by == "degree" or (by is None and method in WALKS)
    return best_prefix(read, nodes, values, degrees, asked, eps, max_volume, backend)


def best_prefix(
    graph: UndirectedGraph,
    nodes: Ints,
    values: Floats,
    degrees: bool,
    labels: Any,
    eps: float,
    max_volume: float | None = None,
    backend: str | None = None,
) -> Cluster:
    """Return what `sweep_cut` does, of valid arguments: some nodes with values, divided by degrees if `degrees`."""
    score = values
    if degrees:
        degree = graph.degree[nodes] if labels is None else sweep(graph, nodes, labels, eps, backend)[0]
        score = np.divide(values, degree, out=np.zeros(len(values)), where=degree > 0)
    order = nodes[np.lexsort((nodes, -score))]
    order = order[: graph.num_nodes - 1] if graph.num_nodes > 1 else order
    _, volume, cut, _ = sweep(graph, order, labels, eps, backend)
    profile = quotient(graph, volume, cut)
    allowed = len(order) if max_volume is None else int(np.searchsorted(volume, max_volume, side="right"))
    if allowed == 0:
        checks.fail("max_volume", f"at least {volume[0]:g}, the volume of the first node of the sweep", max_volume)
    best = int(np.argmin(profile[:allowed]))
    members = np.sort(order[: best + 1])
    about = {"volume": float(volume[best]), "cut": float(cut[best])}
    return Cluster(members, float(profile[best]), order, profile, graph.named(members), about)


def quotient(graph: UndirectedGraph, volume: Floats, cut: Floats) -> Floats:
    """Return the conductance of sets from their volumes and cuts."""
    rest = graph.volume - volume
    some = (volume > 0) & (rest > 1e-13 * graph.volume)  # a smaller rest, and a smaller cut below, is mere rounding
    small = cut <= 1e-13 * volume
    phi = np.divide(cut, np.minimum(volume, rest), out=np.ones(len(cut)), where=some)
    return np.where(some & small, 0.0, phi)


def members_of(graph: UndirectedGraph, nodes: Any, name: str = "nodes") -> Ints:
    """Return the positions of the nodes of a set, ascending, of which there is at least one."""
    members = np.sort(inputs.positions(graph, nodes, name))
    if len(members) == 0:
        checks.fail(name, "at least one node", "none")
    return members


def labels_of(graph: UndirectedGraph, labels: Any, label_eps: object) -> tuple[Any, float]:
    """Return labels and the part that an arc between different ones weighs; without effect they are None and 1."""
    eps = checks.real("label_eps", label_eps, 0.0, 1.0)
    asked = inputs.labels(graph, labels)
    return (None, 1.0) if asked is None or eps == 1 else (asked, eps)


def _values(graph: UndirectedGraph, diffusion: Any) -> tuple[Ints, Floats, str]:
    """Return the nodes with values above 0, ascending, their values and the method that found them."""
    if isinstance(diffusion, Diffusion):
        above = diffusion.values > 0
        nodes, values = _inside(graph, diffusion.touched[above]), diffusion.values[above]
        if not bool(np.isfinite(values).all()):
            checks.fail("diffusion", "finite values", f"{int((~np.isfinite(values)).sum())} that are not")
        _some(nodes)
        return nodes, values, diffusion.method
    if isinstance(diffusion, Mapping):
        nodes = inputs.positions(graph, list(diffusion), "diffusion")
        given = list(diffusion.values())
    else:
        nodes, given = np.arange(graph.num_nodes), diffusion
    values = checks.finite("diffusion", given, dims=1).detach().cpu().double().numpy()
    if len(values) != len(nodes):
        checks.fail("diffusion", f"{len(nodes)} values, one a node", len(values))
    if len(values) and values.min() < 0:
        checks.fail("diffusion", "values of at least 0", float(values.min()))
    order = np.argsort(nodes)
    order = order[values[order] > 0]
    _some(order)
    return nodes[order], values[order], ""


def _inside(graph: UndirectedGraph, nodes: Ints) -> Ints:
    """Refuse positions of a diffusion that was made by hand, or on another graph, before they reach a kernel."""
    if nodes.dtype.kind != "i" or nodes.ndim != 1:
        checks.fail("diffusion", "nodes as positions, int64", f"values of type {nodes.dtype}, shape {nodes.shape}")
    if len(nodes) and (int(nodes[0]) < 0 or bool((np.diff(nodes) <= 0).any())):
        checks.fail("diffusion", "distinct nodes of at least 0, ascending", nodes[:5].tolist())
    if len(nodes) and int(nodes.max()) >= graph.num_nodes:
        checks.fail("diffusion", f"a diffusion on this graph of {graph.num_nodes} nodes", f"node {int(nodes.max())}")
    return nodes


def _some(nodes: Ints) -> None:
    if len(nodes) == 0:
        checks.fail("diffusion", "at least one value above 0", "none")
