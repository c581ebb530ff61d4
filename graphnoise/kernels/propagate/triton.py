"""Triton (CUDA) tier of propagation: a step is one pass over the arcs; the program that sums a row completes it."""

from __future__ import annotations

import math
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.cache import cached_on

# Arcs of a row that one program sums; longer rows are cut into pieces of this length.
MAX_ROW_ARCS = 256


class Shape(NamedTuple):
    """Layout of a program's tile on its 32 lanes: a lane reads 16 bytes at once, and lanes seldom exchange data.

    Attributes:
        stride: Columns of a row of the iterate, padded to a multiple of 16 bytes (or to a power of 2 below that).
        block: Columns of a tile.
        arcs: Arcs of a tile.
        copies: How often the lanes hold a whole row of the tile.
    """

    stride: int
    block: int
    arcs: int
    copies: int

    def constants(self) -> dict[str, int]:
        """Return these numbers by the names of the kernels' parameters."""
        return {"STRIDE": self.stride, "BLOCK": self.block, "ARCS": self.arcs, "COPIES": self.copies}

    @classmethod
    def of(cls, columns: int, size: int) -> Shape:
        """Return the shape for this number of columns, of `size` bytes each."""
        wide = 16 // size
        stride = -(-columns // wide) * wide if columns >= wide else _power_of_two(columns)
        block = min(128, _power_of_two(stride))
        arcs = 32 if block <= 8 else min(16, 1024 // block)
        return cls(stride, block, arcs, max(1, 32 * min(wide, block) // block))


class _Rows(NamedTuple):
    """The rows of a graph in the form that the kernels read.

    Attributes:
        rowptr: Where each row begins, int32 where the number of arcs allows, shape [num_nodes + 1].
        hub: Rows of more than `MAX_ROW_ARCS` arcs, shape [num_hubs].
        piece: First arc of each piece of these rows and the arc after its last, shape [num_pieces, 2].
        first_piece: Where each hub's pieces begin, shape [num_hubs + 1].
    """

    rowptr: Tensor
    hub: Tensor
    piece: Tensor
    first_piece: Tensor


def unsupported_reason(values: Tensor) -> str | None:
    """Return why this tier does not support these values, or None if it does."""
    if values.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return "needs float32, float16 or bfloat16"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not interpreted and (not values.is_cuda or torch.version.cuda is None):
        return "needs CUDA tensors"
    if find_spec("triton") is None:
        return "needs the triton package (pip install 'graphnoise[gpu]')"
    if interpreted:
        compiled = isinstance(_kernels().step_rows, _kernels().triton.JITFunction)
        return "needs TRITON_INTERPRET set before triton is imported" if compiled else None
    if torch.cuda.get_device_capability(values.device) < (8, 0):
        return "needs a GPU of compute capability 8.0 or above"
    return None


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
    r"""Take steps Y <- clamp(alpha · S Y + beta · X), from Y = `start`, or from X where there is no start.

    The iterate is stored as diag(right) · Y, so that a step reads no value per arc. The range of float16 is too small
    for this: the scale is then read at each arc.

    Args:
        arcs: The matrix S, with its scales or with a value per arc.
        start: Y before the first step, float32, float16 or bfloat16, shape [num_nodes, d]; or None.
        source: X, of the same type and shape; None for X = Y.
        mask: Rows of `source` that count, Boolean, shape [num_nodes]; the others are taken as zeros, unread.
        alpha: Weight of S Y.
        beta: Weight of X; 0 leaves X out.
        num_steps: Maximum number of steps, at least 0.
        clamp: Range (low, high) that every entry is clamped to after each step.
        tol: Stop as soon as no entry changes by more than this in a step, or as soon as one is not finite.

    Returns:
        Y, the steps taken, and the largest change of any entry in the last of them: infinite if there was none, NaN
        once any value, the inputs included, was not finite.
    """
    start, source, mask, value = (None if t is None else t.contiguous() for t in (start, source, mask, arcs.value))
    arcs = arcs._replace(value=value)
    first = source if start is None else start
    if first is None:
        raise ValueError("both start and source are None")
    known = mask if start is None else None
    if num_steps == 0 or first.shape[1] == 0:
        steps = num_steps if tol is None else min(num_steps, 1)
        return _padded(first, first.shape[1], known, None), steps, 0.0 if steps else math.inf
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        y, steps, residual = _steps(arcs, first, known, source, mask, alpha, beta, num_steps, clamp, tol)
    return y, steps, residual


def _steps(
    arcs: Arcs,
    first: Tensor,
    known: Tensor | None,
    source: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    beta: float,
    num_steps: int,
    clamp: tuple[float, float] | None,
    tol: float | None,
) -> tuple[Tensor, int, float]:
    """As `run`, with at least one step and one column."""
    n, d = first.shape
    shape = Shape.of(d, first.element_size())
    rows: _Rows = cached_on(arcs.col, "pieces", lambda: _rows(arcs), arcs.rowptr)
    col = arcs.col if arcs.col.dtype == torch.int32 else cached_on(arcs.col, "int32", arcs.col.int)
    left, right, value = _single(arcs.left), _single(arcs.right), _single(arcs.value)
    # Scale of the stored iterate.
    scale = right if first.dtype != torch.float16 else None
    tiles = -(-shape.stride // shape.block)
    change = torch.zeros(n, tiles, dtype=torch.int32, device=first.device)
    partial = first.new_empty((len(rows.piece), Shape.of(d, 4).stride), dtype=torch.float32)
    begins_as_source = known is not None or (first is source and mask is None)
    flags = None if mask is None else mask.view(torch.uint8)
    y, scaled = first, False
    if d != shape.stride or first.data_ptr() % 16:
        y, known, scaled = _padded(first, shape.stride, known, scale), None, scale is not None

    spare, steps, residual = None, 0, math.inf
    while steps < num_steps:
        out = first.new_empty((n, shape.stride)) if spare is None else spare
        out_scaled = scale is not None and steps + 1 < num_steps
        x_is_y = source is None or (steps == 0 and begins_as_source)
        x = None if x_is_y or beta == 0 else source
        seen = None if known is None else flags
        gather = {"col": col, "value": value, "scale": None if scaled else right, "y": y, "known": seen}
        finish = {
            "left": left,
            "right": right if scaled or out_scaled else None,
            "y": y,
            "known": seen,
            "x": x,
            "mask": None if x is None else flags,
            "out": out,
            "change": change,
            "alpha": alpha,
            "beta": beta,
            "low": clamp[0] if clamp else 0.0,
            "high": clamp[1] if clamp else 0.0,
            "X_IS_Y": x_is_y and beta != 0,
            "CLAMP": clamp is not None,
            "Y_SCALED": scaled,
            "OUT_SCALED": out_scaled,
            "D": d,
        }
        tile = shape.constants()
        pieces = {"partial": partial, "WIDTH": partial.shape[1]}
        launch("step_rows", (n, tiles), rowptr=rows.rowptr, MAX_ROW_ARCS=MAX_ROW_ARCS, **gather | finish | tile)
        if len(rows.hub):
            launch("sum_pieces", (len(rows.piece), tiles), piece=rows.piece, **gather | pieces | tile)
            hubs = {"hub": rows.hub, "first_piece": rows.first_piece}
            launch("step_hubs", (len(rows.hub), tiles), **hubs | finish | pieces | tile)
        y, spare = out, None if y is first else y
        known, scaled, steps = None, out_scaled, steps + 1
        if tol is not None:
            residual = _largest(change)
            if not residual > tol:
                break
    # Free their memory before the copy below.
    del spare, out
    if scaled or d != shape.stride:
        y = _cut(y, d, scale if scaled else None, clamp)
    return y, steps, _largest(change) if tol is None else residual


def launch(kernel: str, grid: tuple[int, int], **arguments: Any) -> None:
    """Launch a kernel with one warp per program."""
    getattr(_kernels(), kernel)[grid](**arguments, num_warps=1, num_stages=1, enable_fp_fusion=True)


@cache
def _kernels() -> ModuleType:
    """Import Triton at the first use: it is optional and slow to import."""
    return import_module("graphnoise.kernels.propagate.triton_kernels")


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _rows(arcs: Arcs) -> _Rows:
    """Cut the long rows into pieces."""
    rowptr = arcs.rowptr
    length = rowptr.diff()
    hub = (length > MAX_ROW_ARCS).nonzero().squeeze(1)
    count = (length[hub] + (MAX_ROW_ARCS - 1)) // MAX_ROW_ARCS
    first_piece = torch.nn.functional.pad(count.cumsum(0), (1, 0))
    owner = torch.repeat_interleave(torch.arange(len(hub), device=hub.device), count)
    begin = rowptr[hub[owner]] + MAX_ROW_ARCS * (torch.arange(len(owner), device=hub.device) - first_piece[owner])
    piece = torch.stack([begin, torch.minimum(begin + MAX_ROW_ARCS, rowptr[hub[owner] + 1])], 1)
    offset = torch.int32 if arcs.col.numel() < 2**31 - MAX_ROW_ARCS else torch.int64
    return _Rows(rowptr.to(offset), hub.int(), piece.to(offset), first_piece.int())


def _single(scale: Tensor | None) -> Tensor | None:
    if scale is None or scale.dtype == torch.float32:
        return scale
    return cached_on(scale, "float32", scale.float)


def _padded(y: Tensor, stride: int, known: Tensor | None, scale: Tensor | None) -> Tensor:
    """Return diag(scale) · y with rows of `stride` columns, and zeros in the rows outside `known`."""
    out = y.new_zeros((y.shape[0], stride))
    out[:, : y.shape[1]] = y
    if known is not None:
        out.masked_fill_(~known.unsqueeze(1), 0.0)
    return out if scale is None else out.mul_(scale.unsqueeze(1))


def _cut(y: Tensor, columns: int, scale: Tensor | None, clamp: tuple[float, float] | None) -> Tensor:
    """Return diag(1 / scale) · y without the padding, clamped again because the division rounds."""
    out = y.new_empty((y.shape[0], columns))
    if scale is None:
        return out.copy_(y[:, :columns])
    torch.div(y[:, :columns], scale.unsqueeze(1), out=out)
    return out if clamp is None else out.clamp_(*clamp)


def _largest(change: Tensor) -> float:
    return float(change.amax().view(torch.float32))
