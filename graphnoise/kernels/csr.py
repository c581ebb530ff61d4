"""Compression of arcs into rows (COO to CSR), the first step of every graph."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor

from . import _native, csr_reference
from .dispatch import select


def compress(row: Tensor, num_rows: int, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
    r"""Order arcs by row, stably, and find where each row begins.

    `order` lists the arcs of row 0, then of row 1, and so on, each row's in the order they came in;
    `rowptr[i]` is the number of arcs with a row below i. The native tier is a counting sort in
    O(num_arcs + num_rows) time.

    Args:
        row: Row of each arc, int64, shape [num_arcs], values from 0 to num_rows - 1 (assumed: checked by callers).
        num_rows: Number of rows.
        backend: "native" (CPU), "reference" (any device), or None to let the device decide.

    Returns:
        rowptr [num_rows + 1] and order [num_arcs], both int64 on the device of `row`.

    Raises:
        InputError: `backend` is unknown or cannot serve these tensors.

    Example:
        >>> rowptr, order = compress(torch.tensor([2, 0, 2]), 3)
        >>> rowptr.tolist(), order.tolist()
        ([0, 1, 1, 3], [1, 0, 2])
    """
    refusals = {"native": None if row.device.type == "cpu" else "needs CPU tensors", "reference": None}
    if select(backend, refusals) == "reference":
        return csr_reference.compress(row, num_rows)
    rowptr = torch.empty(num_rows + 1, dtype=torch.int64)
    order = torch.empty(row.numel(), dtype=torch.int64)
    _native.compress(row.contiguous().numpy(), rowptr.numpy(), order.numpy())
    return rowptr, order


def matrix(rowptr: Tensor, col: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a torch CSR tensor over arrays that are known to be valid."""
    _hear_the_beta_warning()
    return torch.sparse_csr_tensor(rowptr, col, value, shape, check_invariants=False)


@functools.cache
def _hear_the_beta_warning() -> None:
    """Torch says once a process that CSR is in beta; users of this package need not hear it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        empty = torch.tensor([], dtype=torch.int64)
        torch.sparse_csr_tensor(torch.tensor([0, 0]), empty, torch.tensor([]), (1, 1), check_invariants=False)
