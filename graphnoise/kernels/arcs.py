"""The sparse matrix that propagation multiplies by, in the form that every tier takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import row_of_arcs, transpose_csr


class Arcs(NamedTuple):
    r"""The matrix S = diag(left) · A · diag(right) in compressed rows; its arrays are known to be valid.

    Either every arc has a value, with the scales multiplied in, or all arcs weigh 1 and the scales are separate.

    Attributes:
        rowptr: Where each row begins, int32 or int64, shape [num_nodes + 1].
        col: Source of each arc, of the same type, shape [num_arcs].
        value: Entry of S at each arc, shape [num_arcs], or None.
        left: Scale of each row, shape [num_nodes], or None for ones; None if there is `value`.
        right: Scale of each column, above 0, shape [num_nodes], or None for ones; None if there is `value`.
    """

    rowptr: Tensor
    col: Tensor
    value: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        """Number of rows and of columns."""
        return self.rowptr.numel() - 1

    @property
    def row(self) -> Tensor:
        """Row of each arc, int64, shape [num_arcs]."""
        return row_of_arcs(self.rowptr, self.col)

    def transposed(self) -> Arcs:
        """Return S^T; the order of its arcs is computed once for each graph."""
        rowptr, col, order = transpose_csr(self.rowptr, self.col)
        value = self.value
        if value is not None and value.requires_grad:
            value = value[order]
        elif value is not None:
            known = value
            value = cached_on(known, "transposed", lambda: known[order], order)
        return Arcs(rowptr, col, value, self.right, self.left)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which values of this type are summed: float32 for 16 bits, their own otherwise."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
