"""Graphs as compressed rows, with normalisation kept as two diagonal scalings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from . import _check
from .kernels.csr import check_range, check_rows, compress, matrix

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data

NORMALISATIONS = ("sym", "row", "col")


@dataclass(frozen=True, eq=False)
class Graph:
    r"""A directed, optionally weighted graph, stored once as compressed sparse rows.

    An arc from j to i (`edge_index[:, k] = (j, i)`, as in torch_geometric) is the entry A[i, j]: row i lists the
    nodes that i hears from, so that `A @ y` passes values along the arcs. An undirected edge is two arcs.
    Repeated arcs stay, and add up. The matrix that the graph stands for is

        S = diag(left) · A · diag(right)

    where `left` and `right` are None (ones) until `normalise` sets them; no value is stored per arc for it.

    Attributes:
        rowptr: Where each row begins, int64, shape [num_nodes + 1].
        col: Source node of each arc, row by row, int64, shape [num_arcs].
        weight: Weight of each arc, floating, without a gradient, shape [num_arcs], or None for ones.
        left: Scale of each row, float64, shape [num_nodes], or None.
        right: Scale of each column, float64, shape [num_nodes], or None.
        normalisation: "sym", "row", "col" or None.

    Raises:
        InputError: The arrays are not those of compressed rows, or a shape or type does not fit.
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None
    normalisation: str | None = None
    _matrices: dict[torch.dtype, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_rows(self.rowptr, self.col)
        if self.num_nodes == 0:
            _check.fail("rowptr", "a graph with at least one node", "an empty graph")
        check_range("col", self.col, self.num_nodes)
        sizes = {"weight": self.num_arcs, "left": self.num_nodes, "right": self.num_nodes}
        for name, size in sizes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != (size,):
                got = f"shape {tuple(value.shape)} of type {value.dtype}" if isinstance(value, Tensor) else repr(value)
                _check.fail(name, f"a floating-point tensor of shape [{size}]", got)
            _without_gradient(name, value)
        if self.normalisation is not None:
            _check.choice("normalisation", self.normalisation, NORMALISATIONS)

    @classmethod
    def from_edge_index(
        cls, edge_index: Tensor, num_nodes: int | None = None, edge_weight: Tensor | None = None
    ) -> Graph:
        """Build a graph from arcs as torch_geometric keeps them.

        Args:
            edge_index: Arcs (source, target), integers, shape [2, num_arcs].
            num_nodes: Number of nodes; by default one more than the largest end.
            edge_weight: Weight of each arc, finite, at least 0, without a gradient, shape [num_arcs].

        Raises:
            InputError: An end out of range, a graph without nodes, a weight that is negative, NaN or missing or that
                requires a gradient.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 2]]))
            >>> graph.num_nodes, graph.num_arcs, graph.to_dense().tolist()
            (3, 3, [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        """
        edges = _check.tensor("edge_index", edge_index)
        if num_nodes is None:
            num_nodes = int(edges.max()) + 1 if edges.numel() else 0
        n = _check.integer("num_nodes", num_nodes, 0)
        if n == 0:
            _check.fail("num_nodes", "a graph with at least one node", "an empty graph")
        edges = _check.edge_index("edge_index", edges, n)
        rowptr, order = compress(edges[1], n)
        weight = None
        if edge_weight is not None:
            _without_gradient("edge_weight", edge_weight)
            weight = _check.finite("edge_weight", edge_weight, dims=1)
            if weight.numel() != edges.shape[1]:
                _check.fail("edge_weight", f"{edges.shape[1]} weights, one an arc", weight.numel())
            if weight.numel() and float(weight.min()) < 0:
                _check.fail("edge_weight", "weights of at least 0", float(weight.min()))
            weight = weight[order]
        return cls(rowptr, edges[0][order], weight)

    @classmethod
    def from_data(cls, data: Data) -> Graph:
        """Build a graph from a torch_geometric `Data`: its edge_index, num_nodes and one-dimensional edge_weight.

        Raises:
            InputError: `data` has no edge_index, or arcs or weights are not valid.
        """
        if getattr(data, "edge_index", None) is None:
            _check.fail("data", "a Data with edge_index", "none")
        return cls.from_edge_index(data.edge_index, data.num_nodes, getattr(data, "edge_weight", None))

    @classmethod
    def from_scipy(cls, matrix: Any) -> Graph:
        """Build a graph from a square SciPy sparse matrix A with A[i, j] the weight of the arc from j to i.

        A matrix of ones gives an unweighted graph.

        Raises:
            InputError: `matrix` is not sparse or not square, or a weight is not valid.
        """
        if not scipy.sparse.issparse(matrix) or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            got = f"shape {matrix.shape}" if hasattr(matrix, "shape") else type(matrix).__name__
            _check.fail("matrix", "a square SciPy sparse matrix", got)
        coo = matrix.tocoo()
        if coo.dtype.kind not in "biuf":
            _check.fail("matrix", "real numbers", f"values of type {coo.dtype}")
        arcs = torch.from_numpy(np.stack([coo.col, coo.row]).astype(np.int64))
        plain = bool((coo.data == 1).all())
        weight = None if plain else torch.from_numpy(np.asarray(coo.data, dtype=np.float64))
        return cls.from_edge_index(arcs, matrix.shape[0], weight)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph, weight: str | None = None) -> Graph:
        """Build a graph from a NetworkX graph, its nodes in their own order; an undirected edge gives both arcs.

        Args:
            graph: A NetworkX graph, directed or not, with or without parallel edges.
            weight: Name of the edge attribute that holds weights; None for an unweighted graph.

        Raises:
            InputError: An edge lacks the attribute `weight`, or the graph is empty.
        """
        position = {node: i for i, node in enumerate(graph)}
        arcs: list[tuple[int, int]] = []
        weights: list[float] = []
        for u, v, attributes in graph.edges(data=True):
            if weight is not None and weight not in attributes:
                _check.fail("weight", f"an edge attribute {weight!r} on every edge", f"none on ({u!r}, {v!r})")
            both = not graph.is_directed() and u != v
            arcs += [(position[u], position[v])] + [(position[v], position[u])] * both
            weights += [float(attributes[weight]) if weight is not None else 1.0] * (1 + both)
        edge_index = torch.tensor(arcs, dtype=torch.int64).reshape(-1, 2).t()
        return cls.from_edge_index(
            edge_index,
            len(position),
            torch.tensor(weights, dtype=torch.float64) if weight is not None else None,
        )

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.rowptr.numel() - 1

    @property
    def num_arcs(self) -> int:
        """Number of stored arcs; an undirected edge is two."""
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        """Device of the arcs."""
        return self.col.device

    @cached_property
    def row(self) -> Tensor:
        """Target node of each arc, shape [num_arcs]."""
        return torch.repeat_interleave(torch.arange(self.num_nodes, device=self.device), self.rowptr.diff())

    @property
    def edge_index(self) -> Tensor:
        """Arcs (source, target) ordered by target, shape [2, num_arcs]."""
        return torch.stack([self.col, self.row])

    def _sum(self, ends: Tensor) -> Tensor:
        weight = torch.ones_like(self.col, dtype=torch.float64) if self.weight is None else self.weight.double()
        return torch.zeros(self.num_nodes, dtype=torch.float64, device=self.device).index_add_(0, ends, weight)

    @cached_property
    def degree(self) -> Tensor:
        """Sum of the weights of the arcs into each node (row sums of A), float64, shape [num_nodes]."""
        return self._sum(self.row)

    @cached_property
    def out_degree(self) -> Tensor:
        """Sum of the weights of the arcs out of each node (column sums of A), float64, shape [num_nodes]."""
        return self._sum(self.col)

    def normalise(self, kind: str = "sym") -> Graph:
        r"""Return the same graph with normalised weights; arcs are shared, nothing is stored per arc.

        With D the diagonal of `degree` (row sums): "sym" is D^-1/2 A D^-1/2 (torch_geometric's `gcn_norm`), "row" is
        D^-1 A (rows sum to 1: each node averages what it hears). "col" is A diag(out_degree)^-1 (columns sum to 1:
        a random walk; this is what ERASE's lazy propagation uses). 1/0 counts as 0: isolated nodes hear nothing.

        Raises:
            InputError: `kind` is unknown, or the graph is normalised already in another way.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
            >>> graph.normalise("row").to_dense().tolist()
            [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
        """
        kind = _check.choice("kind", kind, NORMALISATIONS)
        if self.normalisation is not None:
            if kind == self.normalisation:
                return self
            _check.fail("kind", f"a graph not yet normalised, or {self.normalisation!r} again", repr(kind))
        left = right = None
        if kind == "sym":
            left = right = self.degree.pow(-0.5).nan_to_num(posinf=0.0)
        elif kind == "row":
            left = self.degree.reciprocal().nan_to_num(posinf=0.0)
        else:
            right = self.out_degree.reciprocal().nan_to_num(posinf=0.0)
        return replace(self, left=left, right=right, normalisation=kind, _matrices={})

    def with_self_loops(self, weight: float = 1.0) -> Graph:
        """Return the graph with one more arc (i, i) of this weight at every node, before any normalisation.

        Raises:
            InputError: The graph is normalised already, or `weight` is negative.

        Example:
            >>> Graph.from_edge_index(torch.tensor([[0], [1]])).with_self_loops().to_dense().tolist()
            [[1.0, 0.0], [1.0, 1.0]]
        """
        loop = _check.real("weight", weight, 0.0)
        if self.normalisation is not None:
            _check.fail("graph", "a graph not yet normalised", f"normalisation {self.normalisation!r}")
        nodes = torch.arange(self.num_nodes, device=self.device)
        arcs = torch.cat([self.edge_index, nodes.expand(2, -1)], dim=1)
        weights = None
        if self.weight is not None or loop != 1.0:
            own = self.weight if self.weight is not None else torch.ones(self.num_arcs, device=self.device)
            weights = torch.cat([own, own.new_full((self.num_nodes,), loop)])
        return Graph.from_edge_index(arcs, self.num_nodes, weights)

    @cached_property
    def transposed(self) -> Graph:
        """The graph with every arc turned round (the matrix S^T), built once."""
        rowptr, order = compress(self.col, self.num_nodes)
        weight = None if self.weight is None else self.weight[order]
        turned = {None: None, "sym": "sym", "row": "col", "col": "row"}[self.normalisation]
        return Graph(rowptr, self.row[order], weight, self.right, self.left, turned)

    def values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the entry of S at each arc, computed in float64 and rounded once, shape [num_arcs]."""
        value = torch.ones_like(self.col, dtype=torch.float64) if self.weight is None else self.weight.double()
        if self.left is not None:
            value = value * self.left[self.row]
        if self.right is not None:
            value = value * self.right[self.col]
        return value.to(dtype)

    def to_csr(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return S as a torch sparse CSR tensor, built once for each dtype."""
        if dtype not in self._matrices:
            shape = (self.num_nodes, self.num_nodes)
            self._matrices[dtype] = matrix(self.rowptr, self.col, self.values(dtype), shape)
        return self._matrices[dtype]

    def to_scipy(self) -> Any:
        """Return S as a SciPy CSR array in float64; repeated arcs stay separate entries."""
        shape = (self.num_nodes, self.num_nodes)
        parts = (self.values(torch.float64).numpy(), self.col.numpy(), self.rowptr.numpy())
        return scipy.sparse.csr_array(parts, shape=shape)

    def to_dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return S as a dense matrix, shape [num_nodes, num_nodes]; for small graphs."""
        dense = torch.zeros(self.num_nodes, self.num_nodes, dtype=dtype, device=self.device)
        return dense.index_put_((self.row, self.col), self.values(dtype), accumulate=True)

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph on another device."""
        weight, left, right = (None if t is None else t.to(device) for t in (self.weight, self.left, self.right))
        return Graph(self.rowptr.to(device), self.col.to(device), weight, left, right, self.normalisation)

    def __repr__(self) -> str:
        parts = [f"num_nodes={self.num_nodes}", f"num_arcs={self.num_arcs}"]
        parts += ["weighted"] * (self.weight is not None)
        parts += [f"normalisation={self.normalisation!r}"] * (self.normalisation is not None)
        return f"Graph({', '.join(parts)})"


def _without_gradient(name: str, weight: object) -> None:
    # Degrees and matrices are cached: made under no_grad once, they would cut the gradient of every later call.
    if isinstance(weight, Tensor) and weight.requires_grad:
        _check.fail(name, "weights without a gradient (call .detach())", "weights that require one")
