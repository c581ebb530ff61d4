"""Conversion of graphs to undirected graphs with degrees and node names."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.kernels.csr.undirected import UndirectedGraph, undirected, without_zeros
from graphnoise.typing import FloatsLike, GraphLike


def as_undirected(
    graph: GraphLike, symmetrise: bool = False, weight: str | bool | FloatsLike | None = None
) -> UndirectedGraph:
    """Return a graph as local methods take it: undirected, weights above 0 (arcs of weight 0 are removed).

    The result for a `Graph` is cached on it; other graphs are converted at each call, so convert once and reuse.

    Args:
        graph: Anything `gn.as_graph` takes, with both directions of each edge; an `UndirectedGraph` is returned as it
            is.
        symmetrise: Whether to make an asymmetric graph symmetric, with the larger weight of both directions.
        weight: As in `gn.as_graph`. False ignores weights.

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
    if isinstance(graph, Graph):
        if weight is not None and weight is not False:
            checks.fail("weight", "None (a Graph has its own) or False", repr(weight))
        return _from_graph(graph, bool(symmetrise), weight is False)
    matrix: Any = graph
    if scipy.sparse.issparse(graph) and matrix.ndim == 2:
        # Repeated entries of other formats are summed, and rows sorted.
        matrix = matrix.tocsr()
    return _from_graph(as_graph(matrix, weight=weight), bool(symmetrise))


def symmetrised(graph: Graph) -> Graph:
    """Return the graph with the larger weight of both directions of each edge, and without arcs of weight 0.

    It is the graph that `as_undirected(graph, symmetrise=True)` reads; the graph itself, if it is one already.

    Raises:
        InputError: As of `as_undirected`.

    Example:
        >>> symmetrised(Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]))).edge_index.tolist()
        [[1, 0, 2, 1], [0, 1, 1, 2]]
    """
    read = as_undirected(graph, symmetrise=True)
    weight = None if graph.weight is None else graph.weight.detach().cpu().double().numpy()
    pairs: Any = (read.rowptr, graph.rowptr.cpu()), (read.col, graph.col.cpu()), (read.weight, weight)
    return graph if all(np.array_equal(first, second) for first, second in pairs) else as_graph(read)


def _from_graph(graph: Graph, symmetrise: bool, ignore_weights: bool = False) -> UndirectedGraph:
    if graph.normalisation is not None:
        checks.fail("graph", "a graph that is not normalised", f"normalisation {graph.normalisation!r}")
    weight = graph.weight

    def make() -> UndirectedGraph:
        rowptr, col = graph.rowptr.cpu().numpy(), graph.col.cpu().numpy()
        values = None if weight is None else weight.detach().cpu().double().numpy()
        rounding = 0.0 if weight is None else 4 * torch.finfo(weight.dtype).eps
        if ignore_weights and values is not None:
            rows = without_zeros(rowptr, col, values)
            rowptr, col, values = rows.indptr, rows.indices, None
        read = undirected(rowptr, col, values, rounding, symmetrise)
        parts = read.rowptr, read.col, read.weight, read.degree, read.volume
        return UndirectedGraph.unchecked(*parts, graph.names, graph.position)

    key = "UndirectedGraph", ignore_weights, symmetrise
    return graph.cached(key, make, uses_weights=weight is not None)
