"""Graphs as local methods read them: undirected, with their degrees and the names of their nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.clustering.result import Floats, Ints
from graphnoise.graph import Graph
from graphnoise.kernels.csr import transpose_csr

MOST = 2**31 - 1  # nodes


@dataclass(frozen=True, eq=False)
class UndirectedGraph:
    """An undirected graph as local methods read it: made once of a graph, then shared by all calls.

    A self-loop counts once in the degree of its node; repeated arcs add up.

    Attributes:
        rowptr: Where the arcs of each node begin, int64, shape [n + 1].
        col: The other end of each arc, int32, shape [m].
        weight: Weight of each arc, above 0, float64, shape [m], or None for ones.
        degree: Sum of the weights of the arcs of each node, float64, shape [n].
        volume: Sum of all degrees.
        names: The caller's own names of the nodes, or None where they are called 0 … n - 1.
        position: Position of each name, or None.
    """

    rowptr: Ints
    col: NDArray[np.int32]
    weight: Floats | None
    degree: Floats
    volume: float
    names: list[Any] | None = None
    position: dict[Any, int] | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.rowptr) - 1

    def named(self, nodes: Ints) -> list[Any] | None:
        """Return the caller's own names of nodes, or None where the graph came without."""
        return None if self.names is None else [self.names[i] for i in nodes]


def as_undirected(graph: Any, symmetrise: bool = False, weight: Any = None) -> UndirectedGraph:
    """Return a graph as local methods read it: undirected, weights above 0 (arcs of weight 0 are left out).

    What is made of a `Graph` is kept with it, so that the next call takes no time; of other graphs it is made anew at
    each call, and best handed on.

    Args:
        graph: A `Graph`, a square SciPy sparse matrix, a torch_geometric `Data`, arcs [2, m] (both directions of each
            edge), a NetworkX or an igraph graph (whose nodes keep their names; igraph's attribute "name"), or what this
            function returned.
        symmetrise: Whether to make an asymmetric graph symmetric, with the larger weight of both directions.
        weight: With NetworkX and igraph the name of the edge attribute that holds weights, by default "weight" where
            edges have it; with arcs [2, m] their weights, shape [m]. False leaves weights out, with any graph.

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
            checks.fail("weight", "None with a graph that was read already", repr(weight))
        return graph
    if not isinstance(symmetrise, bool | np.bool_):
        checks.fail("symmetrise", "True or False", repr(symmetrise))
    if isinstance(graph, Graph):
        return _of_graph(graph, bool(symmetrise), weight)
    if scipy.sparse.issparse(graph):
        return _of_matrix(graph, bool(symmetrise), weight)
    if hasattr(graph, "adjacency") and hasattr(graph, "is_directed"):  # NetworkX
        attribute = _attribute(weight, any("weight" in edge for _, _, edge in graph.edges(data=True)))
        return _named(Graph.from_networkx(graph, attribute), list(graph), bool(symmetrise))
    if hasattr(graph, "get_edgelist") and hasattr(graph, "vcount"):  # igraph
        return _of_igraph(graph, bool(symmetrise), weight)
    if hasattr(graph, "edge_index"):  # torch_geometric
        if weight is not None and weight is not False:
            checks.fail("weight", "None or False with a Data, which keeps weights in edge_weight", repr(weight))
        return _of_graph(Graph.from_data(graph), bool(symmetrise), weight)
    if not isinstance(graph, Tensor | np.ndarray | list | tuple):
        wanted = "a Graph, a SciPy sparse matrix, a Data, arcs of shape [2, m], a NetworkX or an igraph graph"
        checks.fail("graph", wanted, type(graph).__name__)
    ends = checks.tensor("graph", graph)
    if ends.numel() and not ends.is_floating_point() and int(ends.max()) >= MOST:
        checks.fail("graph", f"node positions below {MOST}", int(ends.max()))
    arcs = Graph.from_edge_index(ends, None, None if weight is False else weight)
    return _of_graph(arcs, bool(symmetrise), None)


def _attribute(weight: Any, present: bool) -> str | None:
    """Return the edge attribute that holds weights, or None."""
    if weight is None:
        return "weight" if present else None
    if weight is False:
        return None
    if not isinstance(weight, str):
        checks.fail("weight", "the name of an edge attribute, None or False", repr(weight))
    return weight


def _named(graph: Graph, names: list[Any], symmetrise: bool) -> UndirectedGraph:
    """Return a graph whose nodes have names; names 0 … n - 1 in their order say nothing."""
    read = _of_graph(graph, symmetrise, None)
    if all(type(name) is int and name == i for i, name in enumerate(names)):
        return read
    position = {name: i for i, name in enumerate(names)}
    if len(position) < len(names):
        twice = next(name for i, name in enumerate(names) if position[name] != i)
        checks.fail("graph", "nodes with names of their own", f"two nodes named {twice!r}")
    return UndirectedGraph(read.rowptr, read.col, read.weight, read.degree, read.volume, names, position)


def _of_igraph(graph: Any, symmetrise: bool, weight: Any) -> UndirectedGraph:
    attribute = _attribute(weight, "weight" in graph.es.attributes())
    ends = torch.tensor(graph.get_edgelist(), dtype=torch.int64).reshape(-1, 2).t()
    values = None
    if attribute is not None:
        if attribute not in graph.es.attributes():
            checks.fail("weight", "an edge attribute of the graph", repr(attribute))
        given = graph.es[attribute]
        if any(value is None for value in given):
            checks.fail("weight", f"an edge attribute {attribute!r} on every edge", "edges without")
        values = torch.tensor(given, dtype=torch.float64)
    if not graph.is_directed():
        more = ends[0] != ends[1]
        ends = torch.cat([ends, ends[:, more].flip(0)], dim=1)
        values = None if values is None else torch.cat([values, values[more]])
    read = Graph.from_edge_index(ends, graph.vcount(), values)
    if "name" in graph.vs.attributes():
        return _named(read, list(graph.vs["name"]), symmetrise)
    return _of_graph(read, symmetrise, None)


def _of_graph(graph: Graph, symmetrise: bool, weight: Any) -> UndirectedGraph:
    if graph.normalisation is not None:
        checks.fail("graph", "a graph that is not normalised", f"normalisation {graph.normalisation!r}")
    if weight is not None and weight is not False:
        checks.fail("weight", "None (a Graph has its own) or False", repr(weight))
    plain = weight is False or graph.weight is None

    def read() -> UndirectedGraph:
        values = None if plain or graph.weight is None else graph.weight.detach().cpu().double().numpy()
        rounding = 0.0 if values is None or graph.weight is None else 4 * torch.finfo(graph.weight.dtype).eps
        return _read(graph.rowptr.cpu().numpy(), graph.col.cpu().numpy(), values, rounding, symmetrise)

    return graph.cached(("undirected graph", plain, symmetrise), read, uses_weights=not plain)


def _of_matrix(matrix: Any, symmetrise: bool, weight: Any) -> UndirectedGraph:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        checks.fail("graph", "a square SciPy sparse matrix", f"shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        checks.fail("graph", "real weights", f"values of type {matrix.dtype}")
    if weight is not None and weight is not False:
        checks.fail("weight", "None (a matrix has its own) or False", repr(weight))
    rows = matrix.tocsr()
    try:
        rows.check_format(full_check=True)
    except ValueError as error:
        checks.fail("graph", "a whole SciPy sparse matrix", f"one whose {error}")
    values = np.asarray(rows.data, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        bad = values[~(np.isfinite(values) & (values >= 0))][0]
        checks.fail("graph", "weights that are finite and at least 0", bad)
    rounding = 4 * float(np.finfo(rows.dtype).eps) if rows.dtype.kind == "f" else 0.0
    if weight is False and not values.all():  # arcs of weight 0 are none, with weights or without
        rows = _without_zeros(rows.indptr, rows.indices, values)
        values = rows.data
    plain = weight is False or bool((values == 1).all())
    return _read(rows.indptr, rows.indices, None if plain else values, rounding, symmetrise)


def _read(rowptr: Any, col: Any, weight: Floats | None, rounding: float, symmetrise: bool) -> UndirectedGraph:
    """Return the graph of compressed rows, after the checks that are the same for all."""
    n = len(rowptr) - 1
    if n <= 0:
        checks.fail("graph", "a graph with at least one node", "an empty graph")
    if n > MOST:
        checks.fail("graph", f"at most {MOST} nodes", n)
    if weight is not None and not weight.all():
        rows = _without_zeros(rowptr, col, weight)
        rowptr, col, weight = rows.indptr, rows.indices, rows.data
    if not _mirrored(rowptr, col, weight, rounding):
        rows = _added_up(rowptr, col, weight)
        if symmetrise:
            rows = rows.maximum(rows.T).tocsr()
        else:
            _refuse_asymmetric(rows, rounding)
        if symmetrise:
            rowptr, col = rows.indptr, rows.indices
            weight = None if weight is None and (rows.data == 1).all() else rows.data
    # Copies that nobody can write to: SciPy sorts the rows of a matrix in place, and kernels trust what was checked.
    starts, ends = np.array(rowptr, dtype=np.int64), np.array(col, dtype=np.int32)
    if weight is None:
        degree: Floats = np.diff(starts).astype(np.float64)
    else:
        weight = np.array(weight, dtype=np.float64)
        row = np.repeat(np.arange(n), np.diff(starts))
        degree = np.bincount(row, weights=weight, minlength=n).astype(np.float64)
    with np.errstate(over="ignore"):
        volume = float(degree.sum())
    if not np.isfinite(volume):
        checks.fail("graph", "weights with a finite sum", "a sum beyond float64")
    made: list[NDArray[Any]] = [starts, ends, degree, *([] if weight is None else [weight])]
    for array in made:
        array.flags.writeable = False
    return UndirectedGraph(starts, ends, weight, degree, volume)


def _without_zeros(rowptr: Any, col: Any, weight: Floats) -> Any:
    n = len(rowptr) - 1
    rows = scipy.sparse.csr_array((weight, col, rowptr), shape=(n, n), copy=True)
    rows.eliminate_zeros()
    return rows


def _added_up(rowptr: Any, col: Any, weight: Floats | None) -> Any:
    """Return the matrix with repeated arcs added up and rows in order."""
    n = len(rowptr) - 1
    values = np.ones(len(col)) if weight is None else weight
    rows = scipy.sparse.csr_array((values, col, rowptr), shape=(n, n), copy=True)
    rows.sum_duplicates()
    return rows


def _mirrored(rowptr: Any, col: Any, weight: Floats | None, rounding: float) -> bool:
    """Return whether the arcs are the same turned round, found by counting sorts; False may also mean "not sure"."""
    starts, ends = _tensor(rowptr), _tensor(col)
    turned_starts, turned_ends, there = transpose_csr(starts, ends)
    if not torch.equal(starts, turned_starts):
        return False
    here = None
    if not torch.equal(ends, turned_ends):  # rows are not in order; turned twice, they are
        _, back_ends, back = transpose_csr(turned_starts, turned_ends)
        if not torch.equal(back_ends, turned_ends):
            return False
        here = there[back]
    if weight is None:
        return True
    values = _tensor(weight, np.float64)
    first, second = values if here is None else values[here], values[there]
    return bool(((first - second).abs() <= rounding * torch.maximum(first, second)).all())


def _tensor(array: Any, dtype: Any = np.int64) -> Tensor:
    """Return an array as a tensor, shared where it may be written to (torch warns of others)."""
    out = np.ascontiguousarray(array, dtype=dtype)
    return torch.from_numpy(out if out.flags.writeable else out.copy())


def _refuse_asymmetric(rows: Any, rounding: float) -> None:
    """Raise `InputError` unless the matrix is symmetric to rounding."""
    gap = (abs(rows - rows.T) - rounding * rows.maximum(rows.T)).tocoo()
    if gap.nnz and gap.data.max() > 0:
        k = int(gap.data.argmax())
        i, j = int(gap.row[k]), int(gap.col[k])
        got = f"{rows[i, j]:g} at ({i}, {j}) and {rows[j, i]:g} at ({j}, {i}); symmetrise=True takes the larger"
        checks.fail("graph", "an undirected graph, the same weight in both directions", got)
