"""The CPU tier of graph attention: arrays for `attention_native.cpp`, and the calls of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphnoise.kernels import _native
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import check_range, check_rows, compress

AHEAD = 64  # positions that the kernel may read beyond the end
CACHED = 1 << 20  # bytes of features that stay close to a core: nothing is fetched ahead
IN_FLIGHT = 1 << 12  # bytes of features to fetch ahead, in 4 rows at least
MOST = 2**31  # of arcs, sources and targets, so that positions need 32 bits


def unsupported_reason(
    rowptr: Tensor, col: Tensor, h: Tensor, source: Tensor, target: Tensor, bias: Tensor | None, kept: Tensor | None
) -> str | None:
    """Return why this tier cannot serve, or None if it can."""
    values = [t for t in (h, source, target, bias, kept) if t is not None]
    if any(t.dtype != torch.float32 for t in values) or any(t.device.type != "cpu" for t in (rowptr, col, *values)):
        return "needs float32 CPU tensors"
    if max(col.numel(), source.shape[0], target.shape[0]) >= MOST:
        return "needs fewer than 2^31 arcs, sources and targets"
    return "gives no gradient of kept" if kept is not None and kept.requires_grad else None


class _Rows(NamedTuple):
    """Arcs by target; positions in 32 bits go on for as far as the kernel reads ahead."""

    rowptr: Tensor
    col: Tensor


class _Columns(NamedTuple):
    """The same arcs by source, each with its target and its place in the rows."""

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
    kept: Tensor | None,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Return the attended features, [targets, heads, width], and the weights before `kept`, [arcs, heads].

    Raises:
        InputError: The arcs are no rows of the targets, or come from sources that are not there.
    """
    targets, sources = target.shape[0], h.shape[0]
    rows = cached_on(col, f"attention rows {targets} {sources}", lambda: _rows(rowptr, col, targets, sources), rowptr)
    out, weight = h.new_empty(targets, *h.shape[1:]), h.new_empty(col.numel(), h.shape[1])
    if h[:1].numel() == 0:
        return out.zero_() if bias is None else out.copy_(bias.expand_as(out)), weight.zero_()
    h, source, target = (t.contiguous() for t in (h, source, target))
    bias, kept = (None if t is None else t.contiguous() for t in (bias, kept))
    _native.attend(
        _native.instruction_set(),
        torch.get_num_threads(),
        targets,
        h.shape[1],
        h.shape[2],
        rows.rowptr.data_ptr(),
        rows.col.data_ptr(),
        _prefetch(h),
        h.data_ptr(),
        source.data_ptr(),
        target.data_ptr(),
        _address(kept),
        slope,
        _address(bias),
        weight.data_ptr(),
        out.data_ptr(),
    )
    return out, weight


def backward(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    kept: Tensor | None,
    slope: float,
    weight: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of h, source and target from that of the attended features."""
    targets, sources = target.shape[0], h.shape[0]
    rows = cached_on(col, f"attention rows {targets} {sources}", lambda: _rows(rowptr, col, targets, sources), rowptr)
    columns = cached_on(col, f"attention columns {sources}", lambda: _columns(rowptr, col, sources), rowptr)
    contiguous = torch.contiguous_format
    to_h, to_source, to_target = (torch.empty_like(t, memory_format=contiguous) for t in (h, source, target))
    if h[:1].numel() == 0:
        return to_h.zero_(), to_source.zero_(), to_target.zero_()
    h, source, target, weight, grad = (t.contiguous() for t in (h, source, target, weight, grad))
    kept = None if kept is None else kept.contiguous()
    score = torch.empty_like(weight)
    _native.attend_backward(
        _native.instruction_set(),
        torch.get_num_threads(),
        targets,
        sources,
        h.shape[1],
        h.shape[2],
        rows.rowptr.data_ptr(),
        rows.col.data_ptr(),
        columns.colptr.data_ptr(),
        columns.row.data_ptr(),
        columns.arc.data_ptr(),
        _prefetch(h),
        h.data_ptr(),
        source.data_ptr(),
        target.data_ptr(),
        _address(kept),
        slope,
        weight.data_ptr(),
        grad.data_ptr(),
        score.data_ptr(),
        to_h.data_ptr(),
        to_source.data_ptr(),
        to_target.data_ptr(),
    )
    return to_h, to_source, to_target


def _address(array: Tensor | None) -> int:
    return 0 if array is None else array.data_ptr()


def _prefetch(h: Tensor) -> int:
    """Return how many arcs ahead features are fetched."""
    if 4 * h.numel() < CACHED:
        return 0
    return min(AHEAD, max(4, IN_FLIGHT // (4 * h.shape[1] * h.shape[2])))


def _rows(rowptr: Tensor, col: Tensor, targets: int, sources: int) -> _Rows:
    check_rows(rowptr, col, targets)
    check_range("col", col, sources)
    return _Rows(rowptr.clone(memory_format=torch.contiguous_format), _positions(col))


def _columns(rowptr: Tensor, col: Tensor, sources: int) -> _Columns:
    colptr, order = compress(col, sources)
    row = torch.repeat_interleave(torch.arange(rowptr.numel() - 1), rowptr.diff())
    return _Columns(colptr, _positions(row[order]), _positions(order))


def _positions(index: Tensor) -> Tensor:
    wide = torch.zeros(index.numel() + AHEAD, dtype=torch.int32)
    wide[: index.numel()] = index
    return wide
