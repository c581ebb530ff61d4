"""Graphs as compressed sparse rows; normalisation is stored as two diagonal scalings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import scipy.sparse
import torch
from torch import Tensor

from graphnoise import checks, readers, stored
from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.cache import cached_on, outside_inference_mode, version
from graphnoise.kernels.csr import (
    check_range,
    check_rows,
    compress_unchecked,
    matrix,
    row_of_arcs,
    transpose_csr,
)
from graphnoise.kernels.csr.permute import check_permutation, permute_csr

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data

NORMALISATIONS = ("sym", "row", "col")
_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Graph:
    r"""A directed, optionally weighted graph, stored as compressed sparse rows.

    An arc from j to i (`edge_index[:, k] = (j, i)`, as in torch_geometric) is the entry A[i, j]: row i lists the
    sources of the arcs into i, so that `A @ y` passes values along the arcs. An undirected edge is two arcs. Repeated
    arcs add up. Derived values are cached, so the arrays must not be changed in place: a change by torch is an error at
    the next use of the cache; one through NumPy memory that a tensor shares is not noticed. The matrix of the graph is

        S = diag(left) · A · diag(right)

    where `left` and `right` are None (ones) until `normalise` sets them; no value is stored per arc for it.

    Attributes:
        rowptr: Where each row begins, int64 or int32, shape [num_nodes + 1].
        col: Source node of each arc, row by row, of the same type, shape [num_arcs].
        weight: Weight of each arc, finite, floating, shape [num_arcs], or None for ones; gradients pass to it.
        left: Scale of each row, float64, shape [num_nodes], or None.
        right: Scale of each column, float64, shape [num_nodes], or None.
        normalisation: "sym", "row", "col" or None.
        names: The caller's names of the nodes, distinct, or None where these are 0 … n - 1. Results have them.

    Raises:
        InputError: The arrays are not those of compressed rows, a shape or type does not fit, or names repeat.

    Example:
        >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 2]]))
        >>> graph.num_nodes, graph.num_arcs
        (3, 3)
        >>> graph.normalise("row").to_dense().tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None
    normalisation: str | None = None
    names: Sequence[Hashable] | None = None
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    # Of rowptr, col and weight when the graph was made.
    _versions: tuple[int, int, int] = field(default=(0, 0, 0), repr=False)

    def __post_init__(self) -> None:
        check_rows(self.rowptr, self.col, narrow=True)
        if self.num_nodes == 0:
            checks.fail("rowptr", "a graph with at least one node", "an empty graph")
        check_range("col", self.col, self.num_nodes)
        sizes = {"weight": self.num_arcs, "left": self.num_nodes, "right": self.num_nodes}
        for name, size in sizes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != (size,):
                got = f"shape {tuple(value.shape)} of type {value.dtype}" if isinstance(value, Tensor) else repr(value)
                checks.fail(name, f"a floating-point tensor of shape [{size}]", got)
            if value.device != self.device:
                checks.fail(name, f"a tensor on the device of the arcs ({self.device})", value.device)
            checks.finite(name, value.detach())
        if self.normalisation is not None:
            checks.choice("normalisation", self.normalisation, NORMALISATIONS)
        object.__setattr__(self, "names", readers.check_names(self.names, self.num_nodes))
        object.__setattr__(self, "_versions", _versions(self.rowptr, self.col, self.weight))

    @classmethod
    def unchecked(
        cls,
        rowptr: Tensor,
        col: Tensor,
        weight: Tensor | None = None,
        left: Tensor | None = None,
        right: Tensor | None = None,
        normalisation: str | None = None,
        names: Sequence[Hashable] | None = None,
    ) -> Graph:
        """Build a graph from fields that are known to be valid."""
        graph = object.__new__(cls)
        versions = _versions(rowptr, col, weight)
        fields: tuple[Any, ...] = (rowptr, col, weight, left, right, normalisation, names, {}, versions)
        for name, value in zip(cls.__dataclass_fields__, fields, strict=True):
            object.__setattr__(graph, name, value)
        return graph

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies are of other tensors, whose versions begin anew.
        fields = (self.rowptr, self.col, self.weight, self.left, self.right, self.normalisation, self.names)
        return Graph.unchecked, fields

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        num_nodes: int | None = None,
        edge_weight: Tensor | None = None,
        names: Sequence[Hashable] | None = None,
    ) -> Graph:
        """Build a graph from arcs in torch_geometric's form; `gn.as_graph` reads other containers.

        Repeated arcs add up. An arc of weight 0 stays an arc: it passes nothing on, but a gradient reaches its weight,
        and what reads arcs without weights (`GraphAttention`, `sample_neighbors`, node orders) counts it.

        Args:
            edge_index: Arcs (source, target), integers, shape [2, num_arcs].
            num_nodes: Number of nodes; by default one more than the largest end.
            edge_weight: Weight of each arc, finite, at least 0, shape [num_arcs]; gradients pass to it.
            names: The caller's names of the nodes, distinct, num_nodes of them.

        Raises:
            InputError: An end out of range, a graph without nodes, more nodes than memory holds, or many more than
                arcs where `num_nodes` is not given (such as hashes); a weight that is negative, NaN or missing.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 2]]))
            >>> graph.num_nodes, graph.num_arcs, graph.to_dense().tolist()
            (3, 3, [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        """
        return cls.from_edges(readers.EdgeList(edge_index, num_nodes, edge_weight, names))

    @classmethod
    def from_edges(cls, edges: readers.EdgeList) -> Graph:
        """Build a graph from arcs that a reader returned; they are checked here."""
        return cls._from_arcs(*readers.check_edges(edges))

    @classmethod
    def _from_arcs(
        cls, edges: Tensor, num_nodes: int, weight: Tensor | None, names: Sequence[Hashable] | None = None
    ) -> Graph:
        rowptr, order = compress_unchecked(edges[1], num_nodes)
        return cls.unchecked(rowptr, edges[0][order], None if weight is None else weight[order], names=names)

    @classmethod
    def from_data(cls, data: Data) -> Graph:
        """Build a graph from a torch_geometric `Data`, as `gn.as_graph` does.

        Raises:
            InputError: `data` has neither edge_index nor adj_t, or arcs or weights are not valid.
        """
        return cls.from_edges(readers.read_data(data))

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.sparray | scipy.sparse.spmatrix) -> Graph:
        """Build a graph from a square SciPy sparse matrix A with A[i, j] the weight of the arc from j to i.

        A matrix of ones gives an unweighted graph; stored zeros are no arcs.

        Raises:
            InputError: `matrix` is not sparse or not square, or a weight is not valid.
        """
        return cls.from_edges(readers.read_scipy(matrix))

    @classmethod
    def from_networkx(cls, graph: networkx.Graph, weight: str | None = None) -> Graph:
        """Build a graph from a NetworkX graph, with its order of nodes; an undirected edge gives both arcs.

        Args:
            graph: A NetworkX graph, directed or not, with or without parallel edges.
            weight: Name of the edge attribute that holds weights; None for an unweighted graph.

        Raises:
            InputError: An edge lacks the attribute `weight`, or the graph is empty.
        """
        return cls.from_edges(readers.read_networkx(graph, False if weight is None else weight))

    @classmethod
    def open(cls, folder: Path | str, *, check: bool = True) -> Graph:
        """Return the graph of a folder that `graphnoise data build-graph` wrote; its arrays stay on the disk.

        They are mapped into memory: pages of the files are read when they are used, and the operating system drops
        them where memory is short. `gn.propagate(graph, y, memory=…)` keeps to a bound. What needs arrays of its own
        (`row`, `transposed`, `values`, `to_scipy`) allocates them.

        Args:
            folder: The folder.
            check: Whether to check that all columns are nodes, which reads their file once.

        Raises:
            DataError: No such folder, or it is incomplete, damaged or of another version.

        Example:
            >>> import tempfile, pandas
            >>> from graphnoise.datasets import build_graph
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     edges = pandas.DataFrame({"source": ["a", "b"], "target": ["b", "c"]})
            ...     edges.to_csv(f"{folder}/edges.csv", index=False)
            ...     _ = build_graph(f"{folder}/edges.csv", f"{folder}/graph")
            ...     graph = Graph.open(f"{folder}/graph")
            ...     graph.num_arcs, list(graph.names)
            (4, ['a', 'b', 'c'])
        """
        rows = stored.open_rows(checks.path("folder", folder), checks.flag("check", check))
        m = rows.col.numel() - stored.PADDING
        narrow = m < 2**31 and rows.col.dtype == torch.int32
        rowptr, col = rows.rowptr.int() if narrow else rows.rowptr, rows.col[:m]
        graph = cls.unchecked(rowptr, col, rows.weight, names=rows.names)
        cached_on(col, "padded rows", lambda: (rows.rowptr, rows.col), rowptr)
        graph.cached("stored", lambda: True, uses_weights=False)
        # The names are ascending.
        graph.cached("warned of names", lambda: None, uses_weights=False)
        if rows.undirected:
            graph.cached("warned of directed arcs", lambda: None, uses_weights=False)
            graph.cached("undirected", lambda: True)
        return graph

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

    @property
    def stored(self) -> bool:
        """Whether the arrays are on the disk (`Graph.open`)."""
        return "stored" in self._cache

    @property
    def row(self) -> Tensor:
        """Target node of each arc, int64, shape [num_arcs]."""
        return row_of_arcs(self.rowptr, self.col)

    @property
    def edge_index(self) -> Tensor:
        """Arcs (source, target) ordered by target, shape [2, num_arcs]."""
        return torch.stack([self.col.long(), self.row])

    @property
    def position(self) -> dict[Hashable, int] | None:
        """Position of each name, or None where the graph has no names."""
        names = self.names
        if names is None:
            return None
        return self.cached("position", lambda: {name: i for i, name in enumerate(names)}, uses_weights=False)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients pass to the weights or scales."""
        return any(t is not None and t.requires_grad for t in (self.weight, self.left, self.right))

    def cached(
        self,
        key: Hashable,
        make: Callable[[], _Value],
        *,
        valid: Callable[[_Value], bool] | None = None,
        uses_weights: bool = True,
    ) -> _Value:
        """Return what `make` returned at the first call with this key, for as long as the graph lives.

        Args:
            key: Name of the value, with all settings that it depends on.
            make: Computes the value from the graph.
            valid: Whether the cached value serves this call; otherwise it is computed again and replaced.
            uses_weights: Whether the value depends on weights or scales. If it does and they require gradients, it is
                computed at every call, so that gradients reach them.

        Raises:
            InputError: The arcs, or weights without gradients, were changed in place since the graph was made.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0], [1]]))
            >>> graph.cached("arcs by hand", lambda: graph.num_arcs), graph.cached("arcs by hand", lambda: 7)
            (1, 1)
        """
        if uses_weights and self.requires_grad:
            return make()
        self._check_unchanged()
        if key not in self._cache or not (valid is None or valid(self._cache[key])):
            with outside_inference_mode():
                self._cache[key] = make()
        return cast(_Value, self._cache[key])

    def _check_unchanged(self) -> None:
        now = _versions(self.rowptr, self.col, self.weight)
        if now == self._versions:
            return
        names = ("rowptr", "col", "weight")
        changed = [name for name, before, after in zip(names, self._versions, now, strict=True) if before != after]
        # What depends on weights that are learnt is not cached.
        if changed != ["weight"] or not self.requires_grad:
            checks.fail("graph", "arrays as they were when it was made (make a new graph)", f"a changed {changed[0]}")

    def rows_between(self, begin: int, end: int) -> Tensor:
        """Return the target node of the arcs from `begin` to `end` - 1, without the array of all."""
        places = torch.arange(begin, min(end, self.num_arcs), dtype=self.rowptr.dtype, device=self.device)
        return torch.searchsorted(self.rowptr, places, right=True) - 1

    def _sum(self, weight: Tensor, *, by_target: bool) -> Tensor:
        total = torch.zeros(self.num_nodes, dtype=torch.float64, device=self.device)
        if self.stored:
            for begin in range(0, self.num_arcs, stored.CHUNK):
                arcs = slice(begin, begin + stored.CHUNK)
                ends = self.rows_between(begin, begin + stored.CHUNK) if by_target else self.col[arcs]
                total.index_add_(0, ends, weight[arcs].double())
        else:
            total = total.index_add(0, self.row if by_target else self.col, weight.double())
        if self.num_arcs and not bool(torch.isfinite(total.detach()).all()):
            checks.fail("edge_weight", "weights with a finite sum at every node", "a sum beyond float64")
        return total

    @property
    def degree(self) -> Tensor:
        """Sum of the weights of the arcs into each node (row sums of A), float64, shape [num_nodes]."""
        if self.weight is None:
            return self.cached("degree", lambda: self.rowptr.diff().double())
        weight = self.weight
        return self.cached("degree", lambda: self._sum(weight, by_target=True))

    @property
    def _arcs_out(self) -> Tensor:
        """Number of arcs out of each node, int64; a part of the arcs is read at a time."""

        def make() -> Tensor:
            if self._cache.get("undirected"):
                return self.rowptr.diff().long()
            total = torch.zeros(self.num_nodes, dtype=torch.int64, device=self.device)
            ones = torch.ones(min(stored.CHUNK, self.num_arcs), dtype=torch.int64, device=self.device)
            for begin in range(0, self.num_arcs, stored.CHUNK):
                sources = self.col[begin : begin + stored.CHUNK]
                total.index_add_(0, sources, ones[: len(sources)])
            return total

        # Of graphs on the disk, arrays of all nodes are few.
        return make() if self.stored else self.cached("arcs out", make, uses_weights=False)

    @property
    def out_degree(self) -> Tensor:
        """Sum of the weights of the arcs out of each node (column sums of A), float64, shape [num_nodes]."""
        if self.weight is None:
            return self.cached("out_degree", lambda: self._arcs_out.double())
        weight = self.weight
        return self.cached("out_degree", lambda: self._sum(weight, by_target=False))

    def normalise(self, kind: str = "sym") -> Graph:
        r"""Return the same graph with normalised weights; arcs are shared, nothing is stored per arc.

        With D the diagonal of `degree` (row sums): "sym" is D^-1/2 A D^-1/2 (torch_geometric's `gcn_norm`), "row" is
        D^-1 A (rows sum to 1: each node averages its neighbours). "col" is A diag(out_degree)^-1 (columns sum to 1:
        a random walk; this is what ERASE's lazy propagation uses). 1/0 counts as 0: rows of isolated nodes are 0.
        "sym" of a directed graph (as many arcs lead into each node of an undirected one as out of it) is warned of.

        Raises:
            InputError: `kind` is unknown, or the graph is normalised already in another way.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
            >>> graph.normalise("row").to_dense().tolist()
            [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
        """
        kind = checks.choice("kind", kind, NORMALISATIONS)
        if self.normalisation is not None:
            if kind == self.normalisation:
                return self
            checks.fail("kind", f"a graph not yet normalised, or {self.normalisation!r} again", repr(kind))
        return self.cached(("normalise", kind), lambda: self._normalise(kind))

    def _normalise(self, kind: str) -> Graph:
        left = right = None
        if kind == "sym":
            self.cached("warned of directed arcs", self._warn_if_directed, uses_weights=False)
            left = right = power_or_zero(self.degree, -0.5)
        elif kind == "row":
            left = power_or_zero(self.degree, -1.0)
        else:
            right = power_or_zero(self.out_degree, -1.0)
        graph = Graph.unchecked(self.rowptr, self.col, self.weight, left, right, kind, self.names)
        if self.stored:
            graph.cached("stored", lambda: True, uses_weights=False)
        return graph

    def _warn_if_directed(self) -> None:
        if not torch.equal(self.rowptr.diff().long(), self._arcs_out):
            text = (
                'normalise("sym") of a directed graph: both ends of an arc are divided by the degree of the arcs into '
                'them ("row" and "col" are for directed graphs; or add the reversed arcs)'
            )
            warnings.warn(text, UserWarning, stacklevel=2)

    def with_self_loops(self, weight: float = 1.0) -> Graph:
        """Return the graph with an arc (i, i) of this weight at every node that has none, before any normalisation.

        A node that has a self-loop keeps it; of several the last one counts. This is torch_geometric's
        `add_remaining_self_loops`, which its `gcn_norm` uses.

        Raises:
            InputError: The graph is normalised already, or `weight` is negative.

        Example:
            >>> Graph.from_edge_index(torch.tensor([[0], [1]])).with_self_loops().to_dense().tolist()
            [[1.0, 0.0], [1.0, 1.0]]
        """
        loop = checks.real("weight", weight, 0.0)
        if self.normalisation is not None:
            checks.fail("graph", "a graph not yet normalised", f"normalisation {self.normalisation!r}")
        nodes, row = torch.arange(self.num_nodes, device=self.device), self.row
        position, is_loop = torch.arange(self.num_arcs, device=self.device), row == self.col
        last = torch.full_like(nodes, -1).scatter_reduce(0, row, torch.where(is_loop, position, -1), "amax")
        arcs = torch.cat([self.edge_index[:, ~is_loop], nodes.expand(2, -1)], dim=1)
        weights = None
        if self.weight is not None or loop != 1.0:
            weights = self.weight if self.weight is not None else torch.ones(self.num_arcs, device=self.device)
            # The last entry is that of nodes without a self-loop.
            loops = torch.cat([weights, weights.new_full((1,), loop)])[last]
            weights = torch.cat([weights[~is_loop], loops])
        return Graph._from_arcs(arcs, self.num_nodes, weights, self.names)

    @property
    def transposed(self) -> Graph:
        """The graph with every arc reversed (the matrix S^T)."""
        return self.cached("transposed", self._transpose)

    def _transpose(self) -> Graph:
        rowptr, col, order = transpose_csr(self.rowptr, self.col)
        weight = None if self.weight is None else self.weight[order]
        kind = {None: None, "sym": "sym", "row": "col", "col": "row"}[self.normalisation]
        return Graph.unchecked(rowptr, col, weight, self.right, self.left, kind, self.names)

    @property
    def undirected(self) -> bool:
        """Whether A is symmetric: arcs between two nodes weigh the same in both directions, to rounding."""
        return self.cached("undirected", self._is_symmetric)

    def _is_symmetric(self) -> bool:
        weight = torch.ones(self.num_arcs) if self.weight is None else self.weight.detach().cpu()
        parts = (weight.double().numpy(), self.col.cpu().numpy(), self.rowptr.cpu().numpy())
        A = scipy.sparse.csr_array(parts, shape=(self.num_nodes, self.num_nodes), copy=True)
        A.sum_duplicates()
        rounding = 4 * torch.finfo(weight.dtype).eps
        return bool((abs(A - A.T) - rounding * abs(A).maximum(abs(A).T)).max() <= 0)

    def permuted(self, order: Tensor) -> Graph:
        """Return the graph with its nodes permuted: its node i is node `order[i]` of this one (`S[order][:, order]`).

        Raises:
            InputError: `order` is not a permutation of the nodes.

        Example:
            >>> Graph.from_edge_index(torch.tensor([[0], [1]]), 3).permuted(torch.tensor([1, 2, 0])).edge_index.tolist()
            [[2], [0]]
        """
        order = check_permutation("order", order, self.num_nodes).to(self.device)
        rowptr, col, arc = permute_csr(self.rowptr, self.col, order)
        weight = None if self.weight is None else self.weight[arc]
        left, right = (None if scale is None else scale[order] for scale in (self.left, self.right))
        names = None if self.names is None else [self.names[i] for i in order.tolist()]
        return Graph.unchecked(rowptr, col, weight, left, right, self.normalisation, names)

    def values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the entry of S at each arc, computed in float64 and rounded once, shape [num_arcs].

        Raises:
            InputError: `dtype` is not a floating type.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            checks.fail("dtype", "a floating type of torch", dtype)
        value = torch.ones_like(self.col, dtype=torch.float64) if self.weight is None else self.weight.double()
        if self.left is not None:
            value = value * self.left[self.row]
        if self.right is not None:
            value = value * self.right[self.col]
        return value.to(dtype)

    def arcs(self, dtype: torch.dtype = torch.float32) -> Arcs:
        """Return S in the form that the kernels take, for sums of type `dtype` (see `kernels.arcs.Arcs`).

        Unweighted graphs keep their scales separate. If a node with arcs has no scale above 0 (with "sym", a node with
        arcs out of it and none into it), every arc gets a value instead.
        """

        def make() -> Arcs:
            return self.scaled_arcs(dtype) or Arcs(self.rowptr, self.col, self.values(dtype))

        return self.cached(("arcs", dtype), make)

    def scaled_arcs(self, dtype: torch.dtype) -> Arcs | None:
        """Return S as arcs without values and scales of nodes, as `arcs`; None where arcs need values."""
        left, right = self.left, self.right

        def missing(scale: Tensor | None, arcs: Callable[[], Tensor]) -> bool:
            """Return whether a node with arcs has no scale above 0."""
            zero = None if scale is None else scale <= 0
            return zero is not None and bool(zero.any()) and bool((zero & (arcs() > 0)).any())

        def scale_of(scale: Tensor | None) -> Tensor | None:
            return None if scale is None else torch.where(scale > 0, scale, 1.0).to(dtype)

        first = scale_of(left)
        # "sym" has one scale for both.
        scales = first, first if right is left else scale_of(right)
        plain = self.weight is None and not self.requires_grad
        plain = plain and not missing(left, self.rowptr.diff) and not missing(right, lambda: self._arcs_out)
        plain = plain and all(t is None or bool(((t > 0) & t.isfinite()).all()) for t in scales)
        return Arcs(self.rowptr, self.col, None, *scales) if plain else None

    def to_csr(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return S as a torch sparse CSR tensor, without gradients."""
        shape = (self.num_nodes, self.num_nodes)
        return self.cached(("csr", dtype), lambda: matrix(self.rowptr, self.col, self.values(dtype).detach(), shape))

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return S as a SciPy CSR array in float64; repeated arcs stay separate entries."""
        shape = (self.num_nodes, self.num_nodes)
        parts = (self.values(torch.float64).detach().numpy(), self.col.numpy(), self.rowptr.numpy())
        return scipy.sparse.csr_array(parts, shape=shape)

    def to_dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return S as a dense matrix, shape [num_nodes, num_nodes]; for small graphs."""
        dense = torch.zeros(self.num_nodes, self.num_nodes, dtype=dtype, device=self.device)
        return dense.index_put_((self.row, self.col), self.values(dtype), accumulate=True)

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph on another device.

        Raises:
            InputError: The device is unknown or not there.
        """
        fields = (self.rowptr, self.col, self.weight, self.left, self.right)
        try:
            rowptr, col, weight, left, right = (None if t is None else t.to(torch.device(device)) for t in fields)
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            checks.fail("device", "a device of this machine", f"{device!r} ({str(error).splitlines()[0]})")
        assert rowptr is not None
        assert col is not None
        return Graph.unchecked(rowptr, col, weight, left, right, self.normalisation, self.names)

    def __repr__(self) -> str:
        parts = [f"num_nodes={self.num_nodes}", f"num_arcs={self.num_arcs}"]
        parts += ["weighted"] * (self.weight is not None)
        parts += [f"normalisation={self.normalisation!r}"] * (self.normalisation is not None)
        return f"Graph({', '.join(parts)})"


def _versions(rowptr: Tensor, col: Tensor, weight: Tensor | None) -> tuple[int, int, int]:
    return version(rowptr), version(col), 0 if weight is None else version(weight)


def power_or_zero(degree: Tensor, exponent: float) -> Tensor:
    """Return degree^exponent, and 0 for a degree of 0, whose gradient is 0 as well."""
    positive = degree > torch.finfo(degree.dtype).tiny
    return torch.where(positive, torch.where(positive, degree, 1.0).pow(exponent), 0.0)
