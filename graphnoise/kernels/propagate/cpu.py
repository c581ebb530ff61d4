"""CPU tier of propagation: prepares arrays for native.cpp and calls it."""

from __future__ import annotations

import math
from typing import NamedTuple

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
# Rows that are sorted by their numbers of arcs at a time; bytes of a row, and of all, up to which it pays.
WINDOW, MAX_ROW, MAX_VALUES = 1024, 64, 1 << 20
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
    buffers: tuple[Tensor, Tensor] | None = None,
    min_steps: int = 0,
) -> tuple[Tensor, int, float]:
    """Return the values after the last step, the steps taken and the largest change in the last of them.

    They are in one of two arrays of the shape of the values, contiguous, which are allocated where `buffers` is None.
    `tol` ends the call after `min_steps` at the earliest.
    """
    first = source if start is None else start
    assert first is not None, "start or source"
    if buffers is None:
        out = torch.empty_like(first, memory_format=torch.contiguous_format)
        other = torch.empty_like(out) if num_steps > 1 or (mask is not None and start is None) else out
    else:
        out, other = buffers
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
    row_bytes = arguments.width * out.element_size()
    order = row_order(arcs) if row_bytes <= MAX_ROW and arguments.nodes * row_bytes < MAX_VALUES else None
    arguments.order = address(order)
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
    arguments.min_steps, arguments.num_steps = min_steps, num_steps
    arguments.out = out.data_ptr()
    arguments.other = other.data_ptr()
    arguments.threads = native_threads()
    steps, residual, in_other = _native.propagate(arguments)
    return (other if in_other else out), steps, residual


class Part(NamedTuple):
    """Some rows of a matrix that is divided among processes.

    Attributes:
        rowptr: Where each row begins, int64, shape [rows + 1].
        col: Place of each arc's source among the rows, then the other nodes that they need; int32, padded.
        value: Entry of each arc, or None for ones.
        left: Scale of each row, or None.
        right: Scale of the rows and of the other nodes, or None.
        work: Number of rows and arcs of the whole matrix.
    """

    rowptr: Tensor
    col: Tensor
    value: Tensor | None
    left: Tensor | None
    right: Tensor | None
    work: int


def step(
    part: Part,
    values: Tensor,
    source: Tensor | None,
    out: Tensor,
    *,
    alpha: float,
    clamp: tuple[float, float] | None,
    done: int,
    planned: int,
    measure: bool,
) -> float:
    """Take one step of `planned` for the rows of a part; return their largest change, NaN where one is not finite.

    Steps after the first read, and steps before the last write, values that are multiplied by `right`, as `run` does
    inside, so that the bits are those of `run`.

    Args:
        part: The rows.
        values: Values of the rows and of the other nodes that they need, contiguous, shape [rows + others, width].
        source: Values that count with 1 - alpha in each step, shape [rows, width]; None for the rows' own.
        out: Gets the new values of the rows, in the first places; contiguous.
        alpha: Weight of the neighbours.
        clamp: Range that values are clamped to.
        done: Steps taken before.
        planned: Number of all steps.
        measure: Whether the change is wanted (it is computed in the last step in any case).
    """
    rows = len(part.rowptr) - 1
    if rows == 0 or values.shape[1] == 0:
        return 0.0
    arguments = _native.PropagateArguments()
    arguments.type = TYPES[values.dtype]
    arguments.wide_index = part.col.dtype == torch.int64
    arguments.rectangular = False
    arguments.nodes, arguments.start_rows, arguments.width = rows, len(values), values.shape[1]
    arguments.rowptr, arguments.col = part.rowptr.data_ptr(), part.col.data_ptr()
    arguments.value, arguments.left, arguments.right = address(part.value), address(part.left), address(part.right)
    arguments.start, arguments.source, arguments.mask = values.data_ptr(), address(source), 0
    arguments.alpha, arguments.beta = alpha, 1 - alpha
    arguments.low, arguments.high = (-math.inf, math.inf) if clamp is None else clamp
    arguments.tol = 0.0 if measure else -1.0
    arguments.min_steps, arguments.num_steps = 2, 1
    arguments.done, arguments.planned, arguments.work = done, planned, part.work
    arguments.out = arguments.other = out.data_ptr()
    arguments.threads = native_threads()
    return float(_native.propagate(arguments)[1])


def sddmm(arcs: Arcs, g: Tensor, y: Tensor, alpha: float) -> Tensor:
    """Return alpha <g_i, y_j> at each arc j -> i, of type `accumulation_dtype`, shape [num_arcs]."""
    rowptr, col = padded_rows(arcs)
    g, y = g.contiguous(), y.contiguous()
    out = torch.empty(arcs.col.numel(), dtype=accumulation_dtype(y.dtype))
    shape = (TYPES[y.dtype], col.dtype == torch.int64, y.shape[0], y.shape[1])
    arrays = (rowptr.data_ptr(), col.data_ptr(), g.data_ptr(), y.data_ptr())
    _native.sddmm(*shape, *arrays, alpha, out.data_ptr(), native_threads())
    return out


def row_order(arcs: Arcs) -> Tensor:
    """Return the rows, int32, those of each window in the order of their numbers of arcs.

    The processor predicts the end of a loop that is as long as the last one; a wrong prediction costs several arcs.
    """

    def make() -> Tensor:
        lengths = arcs.rowptr.diff()
        window = torch.arange(len(lengths)) // WINDOW
        return (window * (lengths.max() + 1) + lengths).argsort(stable=True).int()

    return cached_on(arcs.col, "row order", make, arcs.rowptr)


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
