"""Undirected graphs as compressed rows: the graph type of the local clustering kernels, and its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.csr import check_range, check_rows, transpose_csr
from graphnoise.typing import Floats, Ints

MAX_NODES = 2**31 - 1


@dataclass(frozen=True, eq=False)
class UndirectedGraph(checks.Validated):
    """An undirected graph as compressed rows, with degrees; `as_undirected` makes one.

    A self-loop counts once in the degree of its node; repeated arcs add up. Arrays are checked once, when the object is
    made, unpickled or copied, and then read-only; they must not be changed through another name.

    Attributes:
        rowptr: Where the arcs of each node begin, int64, shape [n + 1].
        col: The other end of each arc, int32, shape [m].
        weight: Weight of each arc, above 0, float64, shape [m], or None for ones.
        degree: Sum of the weights of the arcs of each node, float64, shape [n].
        volume: Sum of all degrees.
        names: The caller's names of the nodes, or None where these are 0 … n - 1.
        position: Position of each name, or None.

    Raises:
        InputError: The fields are not those of an undirected graph.
    """

    rowptr: Ints
    col: NDArray[np.int32]
    weight: Floats | None
    degree: Floats
    volume: float
    names: Sequence[Any] | None = None
    position: dict[Any, int] | None = None

    def __post_init__(self) -> None:
        arrays = {"rowptr": (np.int64, None), "col": (np.int32, None), "weight": (np.float64, np.size(self.col))}
        arrays["degree"] = np.float64, max(len(self.rowptr) - 1, 0) if isinstance(self.rowptr, np.ndarray) else 0
        for name, (dtype, size) in arrays.items():
            if name != "weight" or self.weight is not None:
                object.__setattr__(self, name, checks.read_only(name, getattr(self, name), dtype, (size,)))
        col = _tensor(self.col)
        check_rows(_tensor(self.rowptr), col)
        check_range("col", col, self.num_nodes)
        if self.weight is not None and not (np.isfinite(self.weight) & (self.weight > 0)).all():
            checks.fail("weight", "finite weights above 0", "others")
        # Rounding of the least exact type that weights may have come from.
        rounding = 4 * torch.finfo(torch.bfloat16).eps
        if not _mirrored(self.rowptr, self.col, self.weight, rounding):
            _check_symmetric(_merged(self.rowptr, self.col, self.weight), rounding)
        degree = _degrees(self.rowptr, self.weight)
        if not np.allclose(self.degree, degree, rtol=1e-9, atol=0):
            checks.fail("degree", "the sum of the weights of each node", "other values")
        volume = checks.real("volume", self.volume, 0.0)
        if not np.isclose(volume, degree.sum(), rtol=1e-9, atol=0):
            checks.fail("volume", f"the sum of all degrees, {degree.sum():g}", volume)
        self._check_names()

    def _check_names(self) -> None:
        if self.names is None and self.position is None:
            return
        try:
            position = dict(zip([] if self.names is None else list(self.names), range(self.num_nodes), strict=True))
        except (TypeError, ValueError):
            position = {}
        if not isinstance(self.position, dict) or position != self.position or len(position) != self.num_nodes:
            checks.fail("names", f"{self.num_nodes} distinct names, and `position` the position of each", "others")

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.rowptr) - 1

    def named(self, nodes: Ints) -> list[Any] | None:
        """Return the caller's names of nodes, or None where the graph has no names."""
        return None if self.names is None else [self.names[i] for i in nodes]


def undirected(rowptr: Any, col: Any, weight: Floats | None, rounding: float, symmetrise: bool) -> UndirectedGraph:
    """Return the undirected graph of compressed rows; arcs of weight 0 are removed.

    Args:
        rowptr: Where each row begins, integers, shape [n + 1].
        col: Column of each arc, integers, shape [m].
        weight: Weight of each arc, at least 0, shape [m], or None for ones.
        rounding: Relative difference up to which the weights of both directions count as equal.
        symmetrise: Whether an asymmetric graph gets the larger weight of both directions.

    Raises:
        InputError: The graph is empty, too large or not symmetric, or degrees are beyond float64.
    """
    n = len(rowptr) - 1
    if n <= 0:
        checks.fail("graph", "a graph with at least one node", "an empty graph")
    if n > MAX_NODES:
        checks.fail("graph", f"at most {MAX_NODES} nodes", n)
    if weight is not None and not weight.all():
        rows = without_zeros(rowptr, col, weight)
        rowptr, col, weight = rows.indptr, rows.indices, rows.data
    if not _mirrored(rowptr, col, weight, rounding):
        rows = _merged(rowptr, col, weight)
        if symmetrise:
            rows = rows.maximum(rows.T).tocsr()
            rowptr, col = rows.indptr, rows.indices
            weight = None if weight is None and (rows.data == 1).all() else rows.data
        else:
            _check_symmetric(rows, rounding)
    # Read-only copies: SciPy sorts the rows of a matrix in place, and kernels do not check again.
    rowptr, col = np.array(rowptr, dtype=np.int64), np.array(col, dtype=np.int32)
    weight = None if weight is None else np.array(weight, dtype=np.float64)
    degree = _degrees(rowptr, weight)
    with np.errstate(over="ignore"):
        volume = float(degree.sum())
    if not np.isfinite(volume):
        checks.fail("graph", "weights with a finite sum", "a sum beyond float64")
    for array in (rowptr, col, degree, weight):
        if array is not None:
            array.flags.writeable = False
    return UndirectedGraph.unchecked(rowptr, col, weight, degree, volume, None, None)


def without_zeros(rowptr: Any, col: Any, weight: Floats) -> Any:
    """Return the matrix of compressed rows without its entries 0, as a SciPy CSR array."""
    n = len(rowptr) - 1
    rows = scipy.sparse.csr_array((weight, col, rowptr), shape=(n, n), copy=True)
    rows.eliminate_zeros()
    return rows


def _degrees(rowptr: Ints, weight: Floats | None) -> Floats:
    """Return the sum of the weights of each row."""
    counts = np.diff(rowptr)
    if weight is None:
        return counts.astype(np.float64)
    row = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(row, weights=weight, minlength=len(counts)).astype(np.float64)


def _merged(rowptr: Any, col: Any, weight: Floats | None) -> Any:
    """Return the matrix of compressed rows as a SciPy CSR array without repeated entries."""
    n, values = len(rowptr) - 1, np.ones(len(col)) if weight is None else weight
    rows = scipy.sparse.csr_array((values, col, rowptr), shape=(n, n), copy=True)
    rows.sum_duplicates()
    return rows


def _mirrored(rowptr: Any, col: Any, weight: Floats | None, rounding: float) -> bool:
    """Return whether the matrix equals its transpose entry by entry; False may also mean that this is not known."""
    rowptr, col = _tensor(rowptr), _tensor(col)
    transpose_rowptr, transpose_col, transpose_arc = transpose_csr(rowptr, col)
    if not torch.equal(rowptr, transpose_rowptr):
        return False
    sorted_arc = None
    if not torch.equal(col, transpose_col):
        # Rows are not sorted by column; transposed twice, they are.
        _, sorted_col, arc = transpose_csr(transpose_rowptr, transpose_col)
        if not torch.equal(sorted_col, transpose_col):
            return False
        sorted_arc = transpose_arc[arc]
    if weight is None:
        return True
    values = _tensor(weight, np.float64)
    first, second = values if sorted_arc is None else values[sorted_arc], values[transpose_arc]
    return bool(((first - second).abs() <= rounding * torch.maximum(first, second)).all())


def _tensor(array: Any, dtype: Any = np.int64) -> Tensor:
    """Return an array as a tensor; memory is shared if it is writeable, since torch warns of others."""
    out = np.ascontiguousarray(array, dtype=dtype)
    return torch.from_numpy(out if out.flags.writeable else out.copy())


def _check_symmetric(rows: Any, rounding: float) -> None:
    """Raise `InputError` unless the matrix is symmetric to rounding."""
    gap = (abs(rows - rows.T) - rounding * rows.maximum(rows.T)).tocoo()
    if gap.nnz and gap.data.max() > 0:
        k = int(gap.data.argmax())
        i, j = int(gap.row[k]), int(gap.col[k])
        got = f"{rows[i, j]:g} at ({i}, {j}) and {rows[j, i]:g} at ({j}, {i}); symmetrise=True takes the larger"
        checks.fail("graph", "an undirected graph, the same weight in both directions", got)
