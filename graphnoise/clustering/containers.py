"""Conversion of graph containers to undirected graphs with degrees and node names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.kernels.csr.undirected import MAX_NODES, UndirectedGraph, undirected, without_zeros
from graphnoise.typing import FloatsLike, GraphLike


def as_undirected(
    graph: GraphLike, symmetrise: bool = False, weight: str | bool | FloatsLike | None = None
) -> UndirectedGraph:
    """Return a graph as local methods take it: undirected, weights above 0 (arcs of weight 0 are removed).

    The result for a `Graph` is cached on it; other graphs are converted at each call, so convert once and reuse.

    Args:
        graph: A `Graph`, a square SciPy sparse matrix, a torch_geometric `Data`, arcs [2, m] (both directions of each
            edge), a NetworkX or an igraph graph (whose nodes keep their names; igraph's attribute "name"), or an
            `UndirectedGraph`.
        symmetrise: Whether to make an asymmetric graph symmetric, with the larger weight of both directions.
        weight: With NetworkX and igraph the name of the edge attribute that holds weights, by default "weight" where
            edges have it; with arcs [2, m] their weights, shape [m]. False ignores weights, with any graph.

    Raises:
        InputError: The graph is empty, not symmetric, normalised or larger than 2^31 - 1 nodes; a weight is negative or
            not finite; degrees are beyond float64; two nodes have the same name.

    Example:
        >>> path = as_undirected(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> path.num_nodes, path.degree.tolist(), path.volume
        (3, [1.0, 2.0, 1.0], 4.0)
    """
    if isinstance(graph, UndirectedGraph):
        if weight is not None and (weight is not False or graph.weight is not None):
            checks.fail("weight", "None with an UndirectedGraph", repr(weight))
        return graph
    if not isinstance(symmetrise, bool | np.bool_):
        checks.fail("symmetrise", "True or False", repr(symmetrise))
    symmetrise = bool(symmetrise)
    if isinstance(graph, Graph):
        return _from_graph(graph, symmetrise, _ignores_weights(weight, "a Graph has its own"))
    if scipy.sparse.issparse(graph):
        return _from_scipy(graph, symmetrise, _ignores_weights(weight, "a matrix has its own"))
    # NetworkX
    if hasattr(graph, "adjacency") and hasattr(graph, "is_directed"):
        return _from_networkx(graph, symmetrise, weight)
    # igraph
    if hasattr(graph, "get_edgelist") and hasattr(graph, "vcount"):
        return _from_igraph(graph, symmetrise, weight)
    # torch_geometric
    if hasattr(graph, "edge_index"):
        ignored = _ignores_weights(weight, "a Data has its edge_weight")
        return _from_graph(Graph.from_data(graph), symmetrise, ignored)
    if not isinstance(graph, Tensor | np.ndarray | list | tuple):
        expected = "a Graph, a SciPy sparse matrix, a Data, arcs of shape [2, m], a NetworkX or an igraph graph"
        checks.fail("graph", expected, type(graph).__name__)
    arcs = checks.tensor("graph", graph)
    if arcs.numel() and not arcs.is_floating_point() and int(arcs.max()) >= MAX_NODES:
        checks.fail("graph", f"node positions below {MAX_NODES}", int(arcs.max()))
    values = None if weight is None or weight is False else checks.tensor("weight", weight)
    return _from_graph(Graph.from_edge_index(arcs, None, values), symmetrise)


def _ignores_weights(weight: Any, reason: str) -> bool:
    if weight is not None and weight is not False:
        checks.fail("weight", f"None ({reason}) or False", repr(weight))
    return weight is False


def _attribute(weight: Any, present: bool) -> str | None:
    """Return the name of the edge attribute that holds weights, or None."""
    if weight is None:
        return "weight" if present else None
    if weight is False:
        return None
    if not isinstance(weight, str):
        checks.fail("weight", "the name of an edge attribute, None or False", repr(weight))
    return weight


def _from_graph(graph: Graph, symmetrise: bool, ignore_weights: bool = False) -> UndirectedGraph:
    if graph.normalisation is not None:
        checks.fail("graph", "a graph that is not normalised", f"normalisation {graph.normalisation!r}")
    weight = None if ignore_weights else graph.weight

    def make() -> UndirectedGraph:
        values = None if weight is None else weight.detach().cpu().double().numpy()
        rounding = 0.0 if weight is None else 4 * torch.finfo(weight.dtype).eps
        return undirected(graph.rowptr.cpu().numpy(), graph.col.cpu().numpy(), values, rounding, symmetrise)

    return graph.cached(("UndirectedGraph", weight is None, symmetrise), make, uses_weights=weight is not None)


def _with_names(graph: Graph, names: list[Any], symmetrise: bool) -> UndirectedGraph:
    """Return a graph with names of its nodes; the names 0 … n - 1 in this order are their positions."""
    result = _from_graph(graph, symmetrise)
    if all(type(name) is int and name == i for i, name in enumerate(names)):
        return result
    position = {name: i for i, name in enumerate(names)}
    if len(position) < len(names):
        repeated = next(name for i, name in enumerate(names) if position[name] != i)
        checks.fail("graph", "nodes with distinct names", f"two nodes named {repeated!r}")
    return dataclasses.replace(result, names=names, position=position)


def _from_networkx(graph: Any, symmetrise: bool, weight: Any) -> UndirectedGraph:
    attribute = _attribute(weight, any("weight" in edge for _, _, edge in graph.edges(data=True)))
    return _with_names(Graph.from_networkx(graph, attribute), list(graph), symmetrise)


def _from_igraph(graph: Any, symmetrise: bool, weight: Any) -> UndirectedGraph:
    attribute = _attribute(weight, "weight" in graph.es.attributes())
    arcs = torch.tensor(graph.get_edgelist(), dtype=torch.int64).reshape(-1, 2).t()
    values = None
    if attribute is not None:
        if attribute not in graph.es.attributes():
            checks.fail("weight", "an edge attribute of the graph", repr(attribute))
        weights = graph.es[attribute]
        if any(value is None for value in weights):
            checks.fail("weight", f"an edge attribute {attribute!r} on every edge", "edges without")
        values = torch.tensor(weights, dtype=torch.float64)
    if not graph.is_directed():
        no_loop = arcs[0] != arcs[1]
        arcs = torch.cat([arcs, arcs[:, no_loop].flip(0)], dim=1)
        values = None if values is None else torch.cat([values, values[no_loop]])
    result = Graph.from_edge_index(arcs, graph.vcount(), values)
    if "name" in graph.vs.attributes():
        return _with_names(result, list(graph.vs["name"]), symmetrise)
    return _from_graph(result, symmetrise)


def _from_scipy(matrix: Any, symmetrise: bool, ignore_weights: bool) -> UndirectedGraph:
    # Not through `Graph.from_scipy`: the rounding allowed depends on the type of the matrix, which it does not keep.
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        checks.fail("graph", "a square SciPy sparse matrix", f"shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        checks.fail("graph", "real weights", f"values of type {matrix.dtype}")
    rows = matrix.tocsr()
    try:
        rows.check_format(full_check=True)
    except ValueError as error:
        checks.fail("graph", "a valid SciPy sparse matrix", f"one whose {error}")
    rounding = 4 * float(np.finfo(rows.dtype).eps) if rows.dtype.kind == "f" else 0.0
    values = np.asarray(rows.data, dtype=np.float64)
    valid = np.isfinite(values) & (values >= 0)
    if not valid.all():
        checks.fail("graph", "weights that are finite and at least 0", values[~valid][0])
    if ignore_weights and not values.all():
        rows = without_zeros(rows.indptr, rows.indices, values)
        values = rows.data
    plain = ignore_weights or bool((values == 1).all())
    return undirected(rows.indptr, rows.indices, None if plain else values, rounding, symmetrise)
