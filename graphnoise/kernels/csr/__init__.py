"""Compressed sparse rows: compression of arcs (COO to CSR), transpose, checks."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels import _native
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import reference
from graphnoise.kernels.dispatch import select


def compress(row: Tensor, num_rows: int, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
    r"""Order arcs by row, stably, and compute where each row begins.

    `order` lists the arcs of row 0, then of row 1, and so on, each row's in the order they came in;
    `rowptr[i]` is the number of arcs with a row below i. The native tier is a counting sort in
    O(num_arcs + num_rows) time.

    Args:
        row: Row of each arc, int64, shape [num_arcs], values from 0 to num_rows - 1.
        num_rows: Number of rows, at least 0.
        backend: "native" (CPU), "reference" (any device), or None to let the device decide.

    Returns:
        rowptr [num_rows + 1] and order [num_arcs], both int64 on the device of `row`.

    Raises:
        InputError: A row out of range or not int64; `backend` is unknown or cannot serve these tensors.

    Example:
        >>> rowptr, order = compress(torch.tensor([2, 0, 2]), 3)
        >>> rowptr.tolist(), order.tolist()
        ([0, 1, 1, 3], [1, 0, 2])
    """
    if row.dim() != 1 or row.dtype != torch.int64:
        checks.fail("row", "a one-dimensional int64 tensor", f"shape {tuple(row.shape)} of type {row.dtype}")
    checks.integer("num_rows", num_rows, 0)
    select(backend, _unsupported_reasons(row))
    check_range("row", row, num_rows)
    return compress_unchecked(row, num_rows, backend)


def _unsupported_reasons(row: Tensor) -> dict[str, str | None]:
    return {"native": None if row.device.type == "cpu" else "needs CPU tensors", "reference": None}


def compress_unchecked(row: Tensor, num_rows: int, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Return what `compress` returns; arguments are known to be valid."""
    if select(backend, _unsupported_reasons(row)) == "reference":
        return reference.compress(row, num_rows)
    rowptr = torch.empty(num_rows + 1, dtype=torch.int64)
    order = torch.empty(row.numel(), dtype=torch.int64)
    _native.compress(row.contiguous().numpy(), rowptr.numpy(), order.numpy())
    return rowptr, order


def row_of_arcs(rowptr: Tensor, col: Tensor) -> Tensor:
    """Return the row of each arc, int64, shape [num_arcs]; computed once for each graph."""

    def make() -> Tensor:
        rows = torch.arange(rowptr.numel() - 1, device=rowptr.device)
        return torch.repeat_interleave(rows, rowptr.diff(), output_size=col.numel())

    return cached_on(col, "row", make, rowptr)


def transpose_csr(rowptr: Tensor, col: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rowptr and col of the transpose, and the position of each of its arcs; computed once for each graph."""

    def make() -> tuple[Tensor, Tensor, Tensor]:
        new_rowptr, order = compress(col.long(), rowptr.numel() - 1)
        return new_rowptr.to(rowptr.dtype), row_of_arcs(rowptr, col)[order].to(col.dtype), order

    return cached_on(col, "transpose", make, rowptr)


def check_range(name: str, index: Tensor, size: int) -> None:
    """Raise `InputError` unless every index is from 0 to size - 1."""
    if index.numel():
        low, high = (int(end) for end in torch.aminmax(index))
        if low < 0 or high >= size:
            checks.fail(name, f"positions from 0 to {size - 1}", f"values from {low} to {high}")


def check_rows(rowptr: Tensor, col: Tensor, rows: int | None = None, *, narrow: bool = False) -> None:
    """Raise `InputError` unless `rowptr` divides the arcs of `col` into rows (as many as `rows`, if given).

    Positions are int64, or int32 with `narrow`.
    """
    kinds = (torch.int64, torch.int32) if narrow else (torch.int64,)
    expected = f"a one-dimensional {' or '.join(str(kind)[6:] for kind in kinds)} tensor"
    for name, index in (("rowptr", rowptr), ("col", col)):
        if not isinstance(index, Tensor):
            checks.fail(name, expected, type(index).__name__)
        if index.dim() != 1 or index.dtype not in kinds or index.layout != torch.strided:
            got = f"shape {tuple(index.shape)} of type {index.dtype}, {str(index.layout)[6:]}"
            checks.fail(name, expected, got)
    if rowptr.dtype != col.dtype or rowptr.device != col.device:
        checks.fail("col", f"{rowptr.dtype} on {rowptr.device}, as rowptr", f"{col.dtype} on {col.device}")
    if col.dtype == torch.int32 and col.numel() >= 2**31:
        checks.fail("col", "fewer than 2^31 arcs for int32 positions (use int64)", f"{col.numel()} arcs")
    if rowptr.numel() == 0 or (rows is not None and rowptr.numel() != rows + 1):
        expected = "at least 1 entry" if rows is None else f"{rows + 1} entries, one more than there are targets"
        checks.fail("rowptr", expected, rowptr.numel())
    first, last = int(rowptr[0]), int(rowptr[-1])
    if first != 0 or last != col.numel():
        checks.fail("rowptr", f"entries from 0 to {col.numel()}, the number of arcs", f"{first} to {last}")
    if not bool((rowptr[1:] >= rowptr[:-1]).all()):
        checks.fail("rowptr", "entries that do not decrease", "entries that do")


def matrix(rowptr: Tensor, col: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a torch CSR tensor over arrays that are known to be valid."""
    _suppress_beta_warning()
    return torch.sparse_csr_tensor(rowptr, col, value, shape, check_invariants=False)


@functools.cache
def _suppress_beta_warning() -> None:
    """Raise torch's warning that CSR is in beta, once per process, where users do not see it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        empty = torch.tensor([], dtype=torch.int64)
        torch.sparse_csr_tensor(torch.tensor([0, 0]), empty, torch.tensor([]), (1, 1), check_invariants=False)
