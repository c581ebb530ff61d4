"""Reading of graphs in any container: `as_graph`."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks, readers
from graphnoise.graph import Graph
from graphnoise.typing import FloatsLike, GraphLike


def as_graph(
    graph: GraphLike,
    *,
    weight: str | bool | FloatsLike | None = None,
    num_nodes: int | None = None,
    node_type: str | None = None,
) -> Graph:
    r"""Return a graph of any container as a `Graph`; a `Graph` is returned as it is.

    All public functions that take a graph read it by this function. Other containers are read at each call, so convert
    once and reuse. Orientation: arcs (j, i) lead from j to i, and the entry A[i, j] of a matrix is the arc from j to i
    (so that `A @ y` passes values along the arcs), in torch_geometric's `adj_t` as well.

    Repeated arcs add up; without weights each counts 1, so that parallel edges of a multigraph weigh their number. An
    entry 0 of a matrix is no arc, and local clustering drops arcs of weight 0 of any container; a `Graph` made of arcs
    keeps them, so that gradients reach their weights (`Graph.from_edge_index`). Self-loops stay as they are.

    Args:
        graph: A `Graph`; a torch_geometric `Data` (edge_index or adj_t; weights in edge_weight, or in an edge_attr of
            shape [m] or [m, 1], while one of several columns holds features and is not read), or `HeteroData`; arcs
            [2, m] (tensor, `EdgeIndex`, array, list); a square sparse matrix of SciPy, torch (COO, CSR, CSC) or
            torch_sparse; a NetworkX or an igraph graph, whose nodes keep their names (igraph: attribute "name", or
            "_nx_name" if it was read from NetworkX); an `UndirectedGraph`. An undirected edge is two arcs.
        weight: With NetworkX, igraph and `Data` the name of the edge attribute that holds weights, by default
            "weight" where edges of the first two have it; with arcs [2, m] their weights, shape [m]. False ignores
            weights, with any graph.
        num_nodes: Number of nodes, where the container does not tell it. By default one more than the largest end; with
            `Data` that has neither features nor num_nodes, the number of labels y.
        node_type: The node type of a `HeteroData`; None if it has only one. Arcs of all edge types from nodes of this
            type to nodes of this type are read.

    Raises:
        InputError: An unknown container, a graph without nodes, an end out of range, weights that are negative, not
            finite or missing, names that repeat, or more nodes than memory holds (ids that are hashes).

    Example:
        >>> import networkx
        >>> graph = as_graph(networkx.Graph([("a", "b"), ("b", "c")]))
        >>> graph.names, graph.to_dense().tolist()
        (['a', 'b', 'c'], [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> as_graph([[0, 0, 1], [1, 1, 2]]).to_dense().tolist()
        [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Source:
        The conventions are those of torch_geometric's `edge_index`, `adj_t` and `gcn_norm`.
    """
    if not isinstance(graph, Graph):
        num_nodes = None if num_nodes is None else checks.integer("num_nodes", num_nodes, 0)
        return Graph.from_edges(readers.read(graph, weight, num_nodes, node_type))
    if num_nodes is not None and num_nodes != graph.num_nodes:
        checks.fail("num_nodes", f"{graph.num_nodes}, as the graph has, or None", num_nodes)
    if node_type is not None:
        checks.fail("node_type", "None, unless the graph is a HeteroData", repr(node_type))
    if weight is not None and weight is not False:
        checks.fail("weight", "None (a Graph has its own) or False", repr(weight))
    if weight is None or graph.weight is None:
        return graph
    if graph.normalisation is not None:
        checks.fail("graph", "a graph that is not normalised", f"normalisation {graph.normalisation!r}")
    return Graph.unchecked(graph.rowptr, graph.col, names=graph.names)


def graph_of_rows(graph: GraphLike, num_rows: int, edge_weight: Any = None) -> Graph:
    """Return the graph of values with `num_rows` rows: arcs [2, num_arcs], which may have weights, get as many nodes.

    Raises:
        InputError: Weights next to a container that has its own, or as `as_graph`.
    """
    arcs: Any = graph
    if isinstance(graph, np.ndarray | list | tuple) or (isinstance(graph, Tensor) and graph.layout == torch.strided):
        return Graph.from_edge_index(arcs, num_rows, edge_weight)
    if edge_weight is not None:
        checks.fail("edge_weight", f"none next to a {type(graph).__name__}, which has its own weights", "weights")
    return as_graph(graph)


def warn_of_names(names: Sequence[Hashable] | None) -> None:
    """Warn where rows of values may be in the order of integer names instead of that of the nodes."""
    if names is not None and readers.are_integers_out_of_order(names):
        text = (
            f"node names are integers that do not ascend (the first is {names[0]!r}): rows of values are taken in the "
            "order of the nodes in the graph"
        )
        warnings.warn(text, UserWarning, stacklevel=2)
