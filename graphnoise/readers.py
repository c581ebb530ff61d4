"""Arcs, weights and names of nodes of the graphs of other packages, and their checks."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.resources import available_memory

# Numbers of nodes above this one are compared with the memory, and with the number of arcs: ids with more than SPARSE
# nodes per arc are hashes.
MANY_NODES, SPARSE = 2**24, 1000
LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)
CONTAINERS = (
    "a Graph, a torch_geometric Data or HeteroData, a sparse matrix of SciPy or torch, arcs of shape [2, num_arcs], "
    "a NetworkX or an igraph graph"
)


class EdgeList(NamedTuple):
    """What a graph is made of, not checked yet.

    Attributes:
        arcs: Arcs (source, target), shape [2, num_arcs].
        num_nodes: Number of nodes, or None for one more than the largest end.
        weight: Weight of each arc, or None.
        names: The caller's names of the nodes, or None.
        weight_name: The name of the weights in messages.
    """

    arcs: Any
    num_nodes: Any = None
    weight: Any = None
    names: Sequence[Hashable] | None = None
    weight_name: str = "edge_weight"


def read(graph: Any, weight: Any = None, num_nodes: int | None = None, node_type: str | None = None) -> EdgeList:
    """Return the arcs of any container; arguments as in `containers.as_graph`."""
    if node_type is not None and not hasattr(graph, "node_types"):
        checks.fail("node_type", "None, unless the graph is a HeteroData", repr(node_type))
    if scipy.sparse.issparse(graph):
        edges = read_scipy(graph, _ignored(weight, "a matrix has its own"))
    elif isinstance(graph, Tensor) and graph.layout in LAYOUTS:
        edges = _read_torch(graph, _ignored(weight, "a matrix has its own"))
    elif isinstance(graph, Tensor | np.ndarray | list | tuple):
        edges = _read_arcs(graph, weight)
    elif isinstance(graph, UndirectedGraph):
        edges = _read_undirected(graph, _ignored(weight, "an UndirectedGraph has its own"))
    elif hasattr(graph, "adjacency") and hasattr(graph, "is_directed"):
        edges = read_networkx(graph, weight)
    elif hasattr(graph, "get_edgelist") and hasattr(graph, "vcount"):
        edges = _read_igraph(graph, weight)
    elif hasattr(graph, "node_types") and hasattr(graph, "edge_types"):
        edges = _read_hetero(graph, weight, node_type)
    elif hasattr(graph, "edge_index") or hasattr(graph, "adj_t"):
        edges = read_data(graph, weight, num_nodes)
    elif hasattr(graph, "coo") and hasattr(graph, "sparse_sizes"):
        edges = _read_torch_sparse(graph, _ignored(weight, "a SparseTensor has its own"))
    else:
        checks.fail("graph", CONTAINERS, type(graph).__name__)
    if num_nodes is None or edges.num_nodes == num_nodes:
        return edges
    if edges.num_nodes is not None:
        checks.fail("num_nodes", f"{edges.num_nodes}, as the graph has, or None", num_nodes)
    return edges._replace(num_nodes=num_nodes)


def check_edges(edges: EdgeList) -> tuple[Tensor, int, Tensor | None, Sequence[Hashable] | None]:
    """Return arcs, number of nodes, weights and names, checked.

    Raises:
        InputError: An end out of range, a graph without nodes or with too many, a weight that is negative or not
            finite, or names that repeat or are not one per node.
    """
    name = edges.weight_name
    if edges.num_nodes is None:
        arcs = checks.edge_index("edge_index", edges.arcs)
        n = int(arcs.max()) + 1 if arcs.numel() else 0
        _check_size(n, arcs.shape[1])
    else:
        n = checks.integer("num_nodes", edges.num_nodes, 0)
        _check_size(n)
        arcs = checks.edge_index("edge_index", edges.arcs, n if n else None)
    if n == 0:
        checks.fail("num_nodes", "a graph with at least one node", "an empty graph")
    weight = None
    if edges.weight is not None:
        weight = checks.finite(name, edges.weight, dims=1)
        if weight.numel() != arcs.shape[1]:
            checks.fail(name, f"{arcs.shape[1]} weights, one per arc", weight.numel())
        if weight.device != arcs.device:
            checks.fail(name, f"a tensor on the device of the arcs ({arcs.device})", weight.device)
        if weight.numel() and float(weight.detach().min()) < 0:
            hint = " (weight=False ignores them)" if name == "edge_attr" else ""
            checks.fail(name, f"weights of at least 0{hint}", float(weight.detach().min()))
    return arcs, n, weight, check_names(edges.names, n)


def _check_size(num_nodes: int, num_arcs: int | None = None) -> None:
    """Refuse more nodes than memory holds and, where their number is that of the largest id, ids that are hashes."""
    if num_nodes <= MANY_NODES:
        return
    # Bounds of rows, a degree and a mark of each node.
    needed, inferred = 24 * num_nodes, num_arcs is not None
    if needed > available_memory() or (num_arcs is not None and num_nodes > SPARSE * num_arcs):
        expected = "fewer nodes: renumber the nodes (graphnoise.datasets.read_edges does it)"
        got = f"n would be {num_nodes}, which needs {needed / 1e9:.3g} GB"
        checks.fail("edge_index" if inferred else "num_nodes", expected, got)


def check_names(names: Any, num_nodes: int) -> Sequence[Hashable] | None:
    """Return names of nodes; None where they are the positions 0 … n - 1 in this order."""
    if names is None:
        return None
    if isinstance(names, str | bytes) or not hasattr(names, "__len__") or not hasattr(names, "__iter__"):
        checks.fail("names", "a sequence of names", type(names).__name__)
    if getattr(names, "ndim", 1) != 1:
        checks.fail("names", "a sequence of names", f"shape {tuple(names.shape)}")
    unique: list[Hashable] = names.tolist() if isinstance(names, Tensor | np.ndarray) else list(names)
    if len(unique) != num_nodes:
        checks.fail("names", f"{num_nodes} names, one per node", len(unique))
    if all(type(name) is int and name == i for i, name in enumerate(unique)):
        return None
    try:
        position = {name: i for i, name in enumerate(unique)}
    except TypeError:
        checks.fail("names", "names that can be hashed", "others")
    if len(position) < num_nodes:
        repeated = next(name for i, name in enumerate(unique) if position[name] != i)
        checks.fail("names", "nodes with distinct names", f"two nodes named {repeated!r}")
    return unique


def are_integers_out_of_order(names: Sequence[Hashable]) -> bool:
    """Return whether names are integers that do not ascend: an array may be in their order, or in that of the nodes."""
    integers = all(isinstance(name, int | np.integer) and not isinstance(name, bool) for name in names)
    return integers and sorted(names) != list(names)  # type: ignore[type-var]


def read_scipy(matrix: Any, ignore_weights: bool = False) -> EdgeList:
    """Return the entries other than 0 of a square SciPy sparse matrix, A[i, j] the weight of the arc from j to i."""
    if not scipy.sparse.issparse(matrix) or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        got = f"shape {matrix.shape}" if hasattr(matrix, "shape") else type(matrix).__name__
        checks.fail("matrix", "a square SciPy sparse matrix", got)
    if matrix.dtype.kind not in "biuf":
        checks.fail("matrix", "real numbers", f"values of type {matrix.dtype}")
    if hasattr(matrix, "check_format"):
        try:
            checks.check_format(matrix)
        except ValueError as error:
            checks.fail("matrix", "a valid SciPy sparse matrix", f"one whose {error}")
    coo = matrix.tocoo()
    arcs = torch.from_numpy(np.stack([coo.col, coo.row]).astype(np.int64))
    dtype = coo.dtype if coo.dtype in (np.float32, np.float64) else np.float64
    values = torch.from_numpy(np.array(coo.data, dtype=dtype))
    return _entries(arcs, values, matrix.shape, ignore_weights)


def _read_torch(matrix: Tensor, ignore_weights: bool) -> EdgeList:
    if matrix.dim() != 2 or matrix.is_complex():
        checks.fail("graph", "a square matrix of real numbers", f"shape {tuple(matrix.shape)} of type {matrix.dtype}")
    coo = (matrix if matrix.is_floating_point() else matrix.double()).to_sparse().coalesce()
    return _entries(coo.indices().flip(0), coo.values(), matrix.shape, ignore_weights)


def _read_torch_sparse(matrix: Any, ignore_weights: bool) -> EdgeList:
    row, col, values = matrix.coo()
    values = torch.ones(row.shape, device=row.device) if values is None else values
    if values.dim() != 1:
        checks.fail("graph", "a matrix of numbers", f"entries of shape {tuple(values.shape[1:])}")
    return _entries(torch.stack([col, row]), values, tuple(matrix.sparse_sizes()), ignore_weights)


def _entries(arcs: Tensor, values: Tensor, shape: tuple[int, ...], ignore_weights: bool) -> EdgeList:
    """Return the entries of a matrix that are not 0; without weights where all are 1."""
    if shape[0] != shape[1]:
        checks.fail("graph", "a square matrix", f"shape {tuple(shape)}")
    stored = values.detach() != 0
    if not bool(stored.all()):
        arcs, values = arcs[:, stored], values[stored]
    plain = ignore_weights or (not values.requires_grad and bool((values == 1).all()))
    return EdgeList(arcs, shape[0], None if plain else values)


def _read_arcs(graph: Any, weight: Any) -> EdgeList:
    sizes = graph.sparse_size() if hasattr(graph, "sparse_size") else ()
    # Of an EdgeIndex that knows them: the number of sources and of targets.
    num_nodes = None if None in sizes or not sizes else max(sizes)
    arcs = checks.edge_index("graph", graph)
    if isinstance(weight, str | bool) and weight is not False:
        checks.fail("weight", "weights of the arcs, None or False", repr(weight))
    return EdgeList(arcs, num_nodes, None if weight is False else weight, weight_name="weight")


def _read_undirected(graph: UndirectedGraph, ignore_weights: bool) -> EdgeList:
    row = np.repeat(np.arange(graph.num_nodes), np.diff(graph.rowptr))
    arcs = torch.from_numpy(np.stack([graph.col, row]).astype(np.int64))
    weight = None if ignore_weights or graph.weight is None else torch.from_numpy(graph.weight.copy())
    return EdgeList(arcs, graph.num_nodes, weight, graph.names)


def read_networkx(graph: Any, weight: Any = None) -> EdgeList:
    """Return the edges of a NetworkX graph, in both directions where it is undirected."""
    edges = list(graph.edges(data=True))
    name = _attribute(weight, any("weight" in attributes for _, _, attributes in edges))
    for u, v, attributes in edges:
        if name is not None and name not in attributes:
            checks.fail("weight", f"an edge attribute {name!r} on every edge", f"none on ({u!r}, {v!r})")
    names = list(graph)
    position = {node: i for i, node in enumerate(names)}
    # 2 for edges that are followed by their reverse.
    ways = [2 - (graph.is_directed() or u == v) for u, v, _ in edges]
    ends = [(position[u], position[v]) for u, v, _ in edges]
    arcs = [pair for (u, v), count in zip(ends, ways, strict=True) for pair in ((u, v), (v, u))[:count]]
    values = None
    if name is not None:
        values = _numbers([attributes[name] for _, _, attributes in edges]).repeat_interleave(torch.tensor(ways))
    return EdgeList(torch.tensor(arcs, dtype=torch.int64).reshape(-1, 2).t(), len(names), values, names, "weight")


def _read_igraph(graph: Any, weight: Any) -> EdgeList:
    name = _attribute(weight, "weight" in graph.es.attributes())
    values = None
    if name is not None:
        if name not in graph.es.attributes():
            checks.fail("weight", "an edge attribute of the graph", repr(name))
        values = graph.es[name]
        if any(value is None for value in values):
            checks.fail("weight", f"an edge attribute {name!r} on every edge", "edges without")
        values = _numbers(values)
    # "_nx_name" is that of graphs that igraph read from NetworkX.
    names = next((list(graph.vs[key]) for key in ("name", "_nx_name") if key in graph.vs.attributes()), None)
    arcs = torch.tensor(graph.get_edgelist(), dtype=torch.int64).reshape(-1, 2).t()
    if not graph.is_directed():
        proper = arcs[0] != arcs[1]
        arcs = torch.cat([arcs, arcs[:, proper].flip(0)], dim=1)
        values = None if values is None else torch.cat([values, values[proper]])
    return EdgeList(arcs, graph.vcount(), values, names, "weight")


def _numbers(values: list[Any]) -> Tensor:
    try:
        return torch.tensor([float(value) for value in values], dtype=torch.float64)
    except (TypeError, ValueError) as error:
        checks.fail("weight", "numbers", str(error))


def read_data(data: Any, weight: Any = None, num_nodes: int | None = None) -> EdgeList:
    """Return the arcs of a torch_geometric `Data` or of its edge store; `num_nodes` is not inferred if it is given."""
    arcs = getattr(data, "edge_index", None)
    if arcs is None:
        matrix = getattr(data, "adj_t", None)
        if matrix is None:
            checks.fail("data", "a Data with edge_index or adj_t", "none")
        # Entry [i, j] is the arc from j to i, as `read_scipy` has it.
        return read(matrix, weight)
    arcs = checks.edge_index("edge_index", arcs)
    name, values = _edge_weight(data, weight)
    return EdgeList(arcs, _num_nodes(data, arcs) if num_nodes is None else num_nodes, values, None, name)


def _edge_weight(data: Any, weight: Any) -> tuple[str, Any]:
    """Return the name and the values of the weights of a `Data`; an edge_attr of several columns holds features."""
    name = _attribute(weight, False)
    if name is not None and getattr(data, name, None) is None:
        checks.fail("weight", "the name of weights in the Data", repr(name))
    if weight is False:
        return "edge_weight", None
    values = getattr(data, name or "edge_weight", None)
    if values is None:
        name, values = "edge_attr", getattr(data, "edge_attr", None)
        shape = np.shape(values) if isinstance(values, list | tuple) else tuple(getattr(values, "shape", ()))
        if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            return "edge_weight", None
    name = name or "edge_weight"
    values = checks.tensor(name, values)
    return name, values[:, 0] if values.dim() == 2 and values.shape[1] == 1 else values


def _num_nodes(data: Any, arcs: Tensor) -> int | None:
    """Return the number of nodes of a `Data`; where nothing else tells it, as many as labels, or None."""
    with warnings.catch_warnings(record=True) as guessed:
        warnings.simplefilter("always")
        size = data.num_nodes
    if size is not None and not guessed:
        return int(size)
    ends, y = int(arcs.max()) + 1 if arcs.numel() else 0, getattr(data, "y", None)
    if y is None or not hasattr(y, "__len__") or np.ndim(y) == 0:
        return None
    if len(y) < ends:
        got = f"{len(y)} labels, and {ends - 1} as the largest id in edge_index"
        checks.fail("data.y", "a label for every node, or a Data with num_nodes", got)
    return len(y)


def _read_hetero(data: Any, weight: Any, node_type: str | None) -> EdgeList:
    """Return the arcs of all edge types between nodes of one type."""
    types = list(data.node_types)
    if node_type is None and len(types) == 1:
        node_type = types[0]
    if node_type not in types:
        checks.fail("node_type", f"one of {', '.join(map(repr, types)) or 'no node types'}", repr(node_type))
    kinds = [kind for kind in data.edge_types if kind[0] == kind[2] == node_type]
    if not kinds:
        known = ", ".join(map(str, data.edge_types)) or "none"
        checks.fail("node_type", f"a node type with edges to itself (edge types: {known})", repr(node_type))
    parts = [read_data(data[kind], weight, -1) for kind in kinds]
    arcs = torch.cat([part.arcs for part in parts], dim=1)
    weights = None
    if any(part.weight is not None for part in parts):
        ones = [torch.ones(part.arcs.shape[1], device=arcs.device) for part in parts]
        weights = torch.cat([one if p.weight is None else p.weight for p, one in zip(parts, ones, strict=True)])
    return EdgeList(arcs, _num_nodes(data[node_type], arcs), weights)


def _attribute(weight: Any, present: bool) -> str | None:
    """Return the name of the edge attribute that holds weights, or None."""
    if weight is None:
        return "weight" if present else None
    if weight is False:
        return None
    if not isinstance(weight, str):
        checks.fail("weight", "the name of an edge attribute, None or False", repr(weight))
    return weight


def _ignored(weight: Any, reason: str) -> bool:
    if weight is not None and weight is not False:
        checks.fail("weight", f"None ({reason}) or False", repr(weight))
    return weight is False
