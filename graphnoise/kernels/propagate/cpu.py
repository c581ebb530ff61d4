"""CPU tier of propagation: prepares arrays for native.cpp and calls it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphnoise.kernels import _native
from graphnoise.kernels.addresses import address, contiguous
from graphnoise.kernels.arcs import Arcs, accumulation_dtype
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import check_range, check_rows
from graphnoise.resources import native_threads

# Values of `Type` in rows.h.
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
# Columns that the kernel may read beyond the end.
PADDING = 64
# Graphs with fewer nodes have columns of 32 bits.
MAX_NARROW_NODES = 2**31


def unsupported_reason(values: Tensor) -> str | None:
    """Return why this tier does not support these values, or None if it does."""
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
    first = source if start is None else start
    assert first is not None, "start or source"
    out = torch.empty_like(first, memory_format=torch.contiguous_format)
    other = torch.empty_like(out) if num_steps > 1 or (mask is not None and start is None) else out
    if start is None and mask is not None:
        # The first step does not write to this buffer.
        buffer = out if num_steps % 2 == 0 else other
        first = torch.where(mask.unsqueeze(1), first, first.new_zeros(()), out=buffer)
    if num_steps == 0:
        return out.copy_(first), 0, math.inf
    if out.numel() == 0:
        return out, 1 if tol is not None else num_steps, 0.0
    rowptr, col = padded_rows(arcs)
    # The names keep the contiguous arrays alive until the call has returned.
    start, source, mask = first.contiguous(), contiguous(source), contiguous(mask)
    value, left, right = contiguous(arcs.value), contiguous(arcs.left), contiguous(arcs.right)
    arguments = _native.PropagateArguments()
    arguments.type = TYPES[out.dtype]
    arguments.wide_index = col.dtype == torch.int64
    arguments.nodes, arguments.width = out.shape
    arguments.start_rows = arguments.nodes
    arguments.rectangular = False
    arguments.rowptr = rowptr.data_ptr()
    arguments.col = col.data_ptr()
    arguments.value = address(value)
    arguments.left = address(left)
    arguments.right = address(right)
    arguments.start = start.data_ptr()
    arguments.source = address(source)
    arguments.mask = address(mask)
    arguments.alpha = alpha
    arguments.beta = beta
    arguments.low, arguments.high = (-math.inf, math.inf) if clamp is None else clamp
    arguments.tol = -1.0 if tol is None else tol
    arguments.num_steps = num_steps
    arguments.out = out.data_ptr()
    arguments.other = other.data_ptr()
    arguments.threads = native_threads()
    steps, residual, in_other = _native.propagate(arguments)
    return (other if in_other else out), steps, residual


def sddmm(arcs: Arcs, g: Tensor, y: Tensor, alpha: float) -> Tensor:
    """Return alpha <g_i, y_j> at each arc j -> i, of type `accumulation_dtype`, shape [num_arcs]."""
    rowptr, col = padded_rows(arcs)
    g, y = g.contiguous(), y.contiguous()
    out = torch.empty(arcs.col.numel(), dtype=accumulation_dtype(y.dtype))
    shape = (TYPES[y.dtype], col.dtype == torch.int64, y.shape[0], y.shape[1])
    arrays = (rowptr.data_ptr(), col.data_ptr(), g.data_ptr(), y.data_ptr())
    _native.sddmm(*shape, *arrays, alpha, out.data_ptr(), native_threads())
    return out


def padded_rows(arcs: Arcs) -> tuple[Tensor, Tensor]:
    """Return row bounds in 64 bits, and columns in 32 bits if possible, padded as far as the kernel reads ahead."""

    def make() -> tuple[Tensor, Tensor]:
        check_rows(arcs.rowptr, arcs.col, narrow=True)
        check_range("col", arcs.col, arcs.num_nodes)
        dtype = torch.int32 if arcs.num_nodes < MAX_NARROW_NODES else torch.int64
        col = torch.zeros(arcs.col.numel() + PADDING, dtype=dtype)
        col[: arcs.col.numel()] = arcs.col
        return arcs.rowptr.long().clone(), col

    return cached_on(arcs.col, "padded rows", make, arcs.rowptr)
