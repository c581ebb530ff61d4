"""The CPU tier of propagation: arrays for `propagate_native.cpp`, and the call of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphnoise.kernels import _native
from graphnoise.kernels.arcs import Arcs, accumulation_dtype
from graphnoise.kernels.cache import cached_on

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # as in propagate_rows.h
AHEAD = 64  # columns that the kernel may read beyond the end
NARROW = 2**31  # nodes from which on columns need 64 bits


def unsupported_reason(values: Tensor) -> str | None:
    """Return why this tier cannot serve, or None if it can."""
    if values.device.type != "cpu":
        return "needs CPU tensors"
    return None if values.dtype in TYPES else "needs float32, float64 or bfloat16"


def run(
    arcs: Arcs,
    start: Tensor | None,
    source: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    beta: float,
    num_steps: int,
    clamp: tuple[float, float] | None,
    tol: float | None,
) -> tuple[Tensor, int, float]:
    """Return the values after the last step, the steps taken and the largest change in the last of them."""
    like = source if start is None else start
    assert like is not None, "start or source"
    out = torch.empty_like(like, memory_format=torch.contiguous_format)
    other = torch.empty_like(out) if num_steps > 1 or (mask is not None and start is None) else out
    if start is None:
        start = like
        if mask is not None:  # goes to where the first step does not write
            start = torch.where(mask.unsqueeze(1), like, like.new_zeros(()), out=out if num_steps % 2 == 0 else other)
    if num_steps == 0:
        return out.copy_(start), 0, math.inf
    if out.numel() == 0:
        return out, 1 if tol is not None else num_steps, 0.0
    rowptr, col = structure(arcs)
    value, left, right = _flat(arcs.value), _flat(arcs.left), _flat(arcs.right)
    first, given, kept = start.contiguous(), _flat(source), _flat(mask)
    low, high = (-math.inf, math.inf) if clamp is None else clamp
    steps, residual, in_other = _native.propagate(
        TYPES[like.dtype],
        col.dtype == torch.int64,
        out.shape[0],
        out.shape[1],
        rowptr.data_ptr(),
        col.data_ptr(),
        _address(value),
        _address(left),
        _address(right),
        first.data_ptr(),
        _address(given),
        _address(kept),
        alpha,
        beta,
        low,
        high,
        -1.0 if tol is None else tol,
        num_steps,
        out.data_ptr(),
        other.data_ptr(),
        torch.get_num_threads(),
    )
    return (other if in_other else out), steps, residual


def sddmm(arcs: Arcs, g: Tensor, y: Tensor, alpha: float) -> Tensor:
    """Return alpha <g_i, y_j> at each arc j -> i, in the type of sums, shape [num_arcs]."""
    rowptr, col = structure(arcs)
    g, y = g.contiguous(), y.contiguous()
    out = torch.empty(arcs.col.numel(), dtype=accumulation_dtype(y.dtype))
    shape = (TYPES[y.dtype], col.dtype == torch.int64, y.shape[0], y.shape[1])
    arrays = (rowptr.data_ptr(), col.data_ptr(), g.data_ptr(), y.data_ptr())
    _native.sddmm(*shape, *arrays, alpha, out.data_ptr(), torch.get_num_threads())
    return out


def _flat(array: Tensor | None) -> Tensor | None:
    return None if array is None else array.contiguous()


def _address(array: Tensor | None) -> int:
    return 0 if array is None else array.data_ptr()


def structure(arcs: Arcs) -> tuple[Tensor, Tensor]:
    """Return 64-bit row bounds and columns in the fewest bits, which go on for as far as the kernel reads ahead."""
    return cached_on(arcs.col, "native", lambda: _structure(arcs), arcs.rowptr)


def _structure(arcs: Arcs) -> tuple[Tensor, Tensor]:
    col = torch.zeros(arcs.col.numel() + AHEAD, dtype=torch.int32 if arcs.num_nodes < NARROW else torch.int64)
    col[: arcs.col.numel()] = arcs.col
    return arcs.rowptr.long().clone(), col
