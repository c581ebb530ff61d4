"""CPU tier of graph attention: prepares arrays for native.cpp and calls it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphnoise.kernels import _native
from graphnoise.kernels.addresses import address, contiguous
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import check_range, check_rows, compress
from graphnoise.resources import native_threads

# Positions that the kernel may read beyond the end.
PADDING = 64
# Bytes of features below which they stay in the cache of a core, and nothing is prefetched.
MIN_PREFETCH_BYTES = 1 << 20
# Bytes of features to prefetch, in at least 4 rows.
IN_FLIGHT = 1 << 12
# Bound on the numbers of arcs, sources and targets, so that positions need 32 bits.
MAX_POSITIONS = 2**31


def unsupported_reason(
    rowptr: Tensor, col: Tensor, h: Tensor, source: Tensor, target: Tensor, bias: Tensor | None, factor: Tensor | None
) -> str | None:
    """Return why this tier does not support these tensors, or None if it does."""
    values = [t for t in (h, source, target, bias, factor) if t is not None]
    if any(t.dtype != torch.float32 for t in values) or any(t.device.type != "cpu" for t in (rowptr, col, *values)):
        return "needs float32 CPU tensors"
    if max(col.numel(), source.shape[0], target.shape[0]) >= MAX_POSITIONS:
        return "needs fewer than 2^31 arcs, sources and targets"
    return "gives no gradient of factor" if factor is not None and factor.requires_grad else None


class _Rows(NamedTuple):
    """Arcs by target; positions in 32 bits, padded as far as the kernel reads ahead."""

    rowptr: Tensor
    col: Tensor


class _Columns(NamedTuple):
    """The same arcs by source, each with its target and its position in the rows."""

    colptr: Tensor
    row: Tensor
    arc: Tensor


def forward(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    bias: Tensor | None,
    factor: Tensor | None,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Return the attended features, [targets, heads, width], and the weights before `factor`, [arcs, heads].

    Raises:
        InputError: The arcs are not rows of the targets, or a source is out of range.
    """
    targets, sources = target.shape[0], h.shape[0]
    rows = cached_on(col, f"attention rows {targets} {sources}", lambda: _rows(rowptr, col, targets, sources), rowptr)
    out, weight = h.new_empty(targets, *h.shape[1:]), h.new_empty(col.numel(), h.shape[1])
    if h[:1].numel() == 0:
        return out.zero_() if bias is None else out.copy_(bias.expand_as(out)), weight.zero_()
    h, source, target = (t.contiguous() for t in (h, source, target))
    bias, factor = contiguous(bias), contiguous(factor)
    arguments = _arguments(rows, h, source, target, factor, slope, weight)
    arguments.bias = address(bias)
    arguments.out = out.data_ptr()
    _native.attend(_native.instruction_set(), native_threads(), targets, arguments)
    return out, weight


def backward(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    factor: Tensor | None,
    slope: float,
    weight: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of h, source and target from that of the attended features."""
    targets, sources = target.shape[0], h.shape[0]
    rows = cached_on(col, f"attention rows {targets} {sources}", lambda: _rows(rowptr, col, targets, sources), rowptr)
    columns = cached_on(col, f"attention columns {sources}", lambda: _columns(rowptr, col, sources), rowptr)
    layout = torch.contiguous_format
    to_h, to_source, to_target = (torch.empty_like(t, memory_format=layout) for t in (h, source, target))
    if h[:1].numel() == 0:
        return to_h.zero_(), to_source.zero_(), to_target.zero_()
    h, source, target, weight, grad = (t.contiguous() for t in (h, source, target, weight, grad))
    factor = contiguous(factor)
    score = torch.empty_like(weight)
    arguments = _arguments(rows, h, source, target, factor, slope, weight)
    arguments.colptr = columns.colptr.data_ptr()
    arguments.row = columns.row.data_ptr()
    arguments.arc = columns.arc.data_ptr()
    arguments.grad = grad.data_ptr()
    arguments.score = score.data_ptr()
    arguments.to_h = to_h.data_ptr()
    arguments.to_source = to_source.data_ptr()
    arguments.to_target = to_target.data_ptr()
    _native.attend_backward(_native.instruction_set(), native_threads(), targets, sources, arguments)
    return to_h, to_source, to_target


def _arguments(
    rows: _Rows, h: Tensor, source: Tensor, target: Tensor, factor: Tensor | None, slope: float, weight: Tensor
) -> _native.AttendArguments:
    """Return the arguments of both directions; the caller keeps the contiguous tensors alive."""
    arguments = _native.AttendArguments()
    _, arguments.heads, arguments.width = h.shape
    arguments.rowptr = rows.rowptr.data_ptr()
    arguments.col = rows.col.data_ptr()
    arguments.prefetch = _prefetch(h)
    arguments.h = h.data_ptr()
    arguments.source = source.data_ptr()
    arguments.target = target.data_ptr()
    arguments.factor = address(factor)
    arguments.slope = slope
    arguments.weight = weight.data_ptr()
    return arguments


def _prefetch(h: Tensor) -> int:
    """Return the distance of prefetching, in arcs."""
    if 4 * h.numel() < MIN_PREFETCH_BYTES:
        return 0
    return min(PADDING, max(4, IN_FLIGHT // (4 * h.shape[1] * h.shape[2])))


def _rows(rowptr: Tensor, col: Tensor, targets: int, sources: int) -> _Rows:
    check_rows(rowptr, col, targets)
    check_range("col", col, sources)
    return _Rows(rowptr.clone(memory_format=torch.contiguous_format), _positions(col))


def _columns(rowptr: Tensor, col: Tensor, sources: int) -> _Columns:
    colptr, order = compress(col, sources)
    row = torch.repeat_interleave(torch.arange(rowptr.numel() - 1), rowptr.diff())
    return _Columns(colptr, _positions(row[order]), _positions(order))


def _positions(index: Tensor) -> Tensor:
    padded = torch.zeros(index.numel() + PADDING, dtype=torch.int32)
    padded[: index.numel()] = index
    return padded
