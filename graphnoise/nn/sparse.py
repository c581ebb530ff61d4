"""Sparse-dense products with gradients over a fixed sparsity pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.csr import check_range, check_rows, compress, matrix


def slices(rowptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return (rowptr, entries) of some rows of a compressed matrix, in the order given."""
    counts = rowptr.diff()[rows]
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return start, torch.arange(int(start[-1])) + (rowptr[rows] - start[:-1]).repeat_interleave(counts)


@dataclass(frozen=True, eq=False)
class Pattern(checks.Validated):
    """Where the entries of a sparse matrix stand, by row and by column.

    Attributes:
        rowptr: Where each row begins, shape [rows + 1].
        col: Column of each entry, row by row, shape [entries].
        colptr: Where each column begins in the transpose, shape [columns + 1].
        order: The entries column by column, shape [entries].
        row_by_column: Row of each entry in that order, shape [entries].
        shape: (rows, columns).

    Raises:
        InputError: The fields do not belong together; they are checked when a pattern is made, unpickled or copied.
    """

    rowptr: Tensor
    col: Tensor
    colptr: Tensor
    order: Tensor
    row_by_column: Tensor
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        check_rows(self.rowptr, self.col)
        rows, columns = self.shape if isinstance(self.shape, tuple) and len(self.shape) == 2 else (-1, -1)
        if rows != self.rowptr.numel() - 1:
            checks.fail("shape", f"({self.rowptr.numel() - 1}, columns)", repr(self.shape))
        expected = Pattern.build(self.rowptr, self.col, checks.integer("shape", columns, 0))
        for name in ("colptr", "order", "row_by_column"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) or not torch.equal(value, getattr(expected, name)):
                checks.fail(name, "what Pattern.build computes from rowptr and col", "another value")

    @classmethod
    def build(cls, rowptr: Tensor, col: Tensor, columns: int) -> Pattern:
        """Build the pattern from its compressed rows.

        Raises:
            InputError: `rowptr` does not divide the entries into rows, or a column is out of range.
        """
        check_rows(rowptr, col)
        check_range("col", col, columns)
        rows = rowptr.numel() - 1
        row = torch.repeat_interleave(torch.arange(rows, device=col.device), rowptr.diff())
        colptr, order = compress(col, columns)
        return cls.unchecked(rowptr, col, colptr, order, row[order], (rows, columns))

    def matrix(self, value: Tensor) -> Tensor:
        """Return the matrix with these entries as a torch CSR tensor."""
        return matrix(self.rowptr, self.col, value, self.shape)

    def transposed(self, value: Tensor) -> Tensor:
        """Return its transpose as a torch CSR tensor."""
        return matrix(self.colptr, self.row_by_column, value[self.order], self.shape[::-1])


class _Product(torch.autograd.Function):
    """Sparse matrix (constant) times dense: the gradient is the product with the transpose."""

    @staticmethod
    def forward(ctx, matrix: Tensor, transpose: Tensor, dense: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.transpose = transpose
        out: Tensor = torch.sparse.mm(matrix, dense)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[no-untyped-def]
        return None, None, torch.sparse.mm(ctx.transpose, grad)


def product(matrix: Tensor, transpose: Tensor, dense: Tensor) -> Tensor:
    """Return matrix @ dense, differentiable in `dense`."""
    result: Tensor = _Product.apply(matrix, transpose, dense)  # type: ignore[no-untyped-call]
    return result


class SparseFeatures:
    """Node features of which few are non-zero: bag-of-words features of citation graphs are 1 % dense.

    Args:
        x: Dense features, finite, shape [num_nodes, num_features].

    Raises:
        InputError: `x` is not a finite matrix.

    Example:
        >>> features = SparseFeatures(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
        >>> (features @ torch.ones(2, 3)).tolist()
        [[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, x: Tensor) -> None:
        dense = checks.finite("x", checks.tensor("x", x), dims=2)
        at = dense.nonzero()
        rowptr, _ = compress(at[:, 0].contiguous(), dense.shape[0])
        self.pattern = Pattern.build(rowptr, at[:, 1].contiguous(), dense.shape[1])
        self._set(dense[at[:, 0], at[:, 1]])

    def __reduce__(self) -> tuple[Any, ...]:
        # Matrices are made again, so that what is unpickled or copied is checked.
        return SparseFeatures._of, (self.pattern, self.value)

    def _set(self, value: Tensor) -> None:
        if value.shape != self.pattern.col.shape:
            checks.fail("value", f"shape {tuple(self.pattern.col.shape)}, one per entry", f"shape {tuple(value.shape)}")
        self.value = value
        self._matrix, self._transpose = self.pattern.matrix(value), self.pattern.transposed(value)

    @property
    def shape(self) -> tuple[int, int]:
        """(num_nodes, num_features)."""
        return self.pattern.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the stored entries."""
        return self.value.dtype

    def rows(self, nodes: Tensor) -> SparseFeatures:
        """Return the features of these nodes only, in the order given."""
        rowptr, entry = slices(self.pattern.rowptr, nodes)
        return SparseFeatures._of(Pattern.build(rowptr, self.pattern.col[entry], self.shape[1]), self.value[entry])

    def scaled(self, factor: Tensor) -> SparseFeatures:
        """Return the features with each stored entry multiplied by `factor`, shape [entries]."""
        return SparseFeatures._of(self.pattern, self.value * factor)

    @staticmethod
    def _of(pattern: Pattern, value: Tensor) -> SparseFeatures:
        features = object.__new__(SparseFeatures)
        features.pattern = pattern
        features._set(value)
        return features

    def __matmul__(self, weight: Tensor) -> Tensor:
        return product(self._matrix, self._transpose, weight)
