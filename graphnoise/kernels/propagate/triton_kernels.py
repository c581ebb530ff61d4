"""Triton kernels of propagation: one warp per program, for one row (or piece of a row) and one tile of columns.

A pointer that is None removes its term from the program. All sums are in float32, in a fixed order.

The rows of arcs of a tile and the copies of a finished row have the same layout on the lanes (`triton.Shape`), so that
no data moves between them through shared memory.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import triton
import triton.language as tl

# The bits of infinity; those of a NaN without its sign are larger.
_INFINITY: tl.constexpr = tl.constexpr(0x7F800000)
_SIGNLESS: tl.constexpr = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _gather(begin, end, col, value, scale, y, known, column, STRIDE, ARCS, BLOCK):
    """Sum value · scale[j] · y[j] over the arcs j of a row; rows that are not known count as zeros, unread."""
    total = tl.zeros([ARCS, BLOCK], tl.float32)
    for first in range(begin, end, ARCS):
        arc = first + tl.arange(0, ARCS)
        there = arc < end
        j = tl.load(col + arc, there, other=0).to(tl.int64)
        seen = there
        if known is not None:
            seen = there & (tl.load(known + j, there, other=0) != 0)
        part = tl.load(
            y + j[:, None] * STRIDE + column[None, :], seen[:, None] & (column < STRIDE)[None, :], other=0
        ).to(tl.float32)
        if value is not None:
            part *= tl.load(value + arc, there, other=0)[:, None]
        if scale is not None:
            part *= tl.load(scale + j, there, other=0)[:, None]
        total += part
    return tl.sum(total, 0)


@triton.jit
def _finish(
    total, row, column, left, right, y, known, x, mask, out, change, alpha, beta, low, high,
    X_IS_Y, CLAMP, Y_SCALED, OUT_SCALED, D, STRIDE, COPIES,
):  # fmt: skip
    """Complete the step of a row, and store its largest change as bits, or NaN if any value is not finite."""
    copy = tl.arange(0, COPIES)[:, None]
    column = column[None, :]
    total = total[None, :]
    width = STRIDE
    if known is not None:
        width = tl.load(known + row).to(tl.int32) * STRIDE
    old = tl.load(y + row * STRIDE + column + copy * 0, (column < width) & (copy < COPIES), other=0).to(tl.float32)
    if Y_SCALED:
        old = old / tl.load(right + row)
    if left is not None:
        total = total * tl.load(left + row)
    new = alpha * total
    # 0, or NaN if a value is not finite.
    nan_or_zero = old - old
    if X_IS_Y:
        new += beta * old
    if x is not None:
        width = D
        if mask is not None:
            width = tl.load(mask + row).to(tl.int32) * D
        source = tl.load(x + row * D + column + copy * 0, (column < width) & (copy < COPIES), other=0).to(tl.float32)
        new += beta * source
        nan_or_zero += source - source
    # Comparisons keep a NaN, unlike minimum and maximum.
    if CLAMP:
        new = tl.where(new < low, low, new)
        new = tl.where(new > high, high, new)
    if OUT_SCALED:
        new = new * tl.load(right + row)
    stored = new.to(out.dtype.element_ty)
    tl.store(out + row * STRIDE + column + copy * 0, stored, (column < STRIDE) & (copy == 0))
    new = stored.to(tl.float32)
    if OUT_SCALED:
        new = new / tl.load(right + row)
    nan_or_zero += new - new
    # The bits have the order of the magnitudes.
    bits = (new - old + nan_or_zero).to(tl.int32, bitcast=True) & _SIGNLESS
    largest = tl.max(tl.max(tl.where(column < D, bits, 0), 1), 0)
    slot = change + row * tl.num_programs(1) + tl.program_id(1)
    before = tl.load(slot)
    tl.store(slot, tl.where(before > _INFINITY, before, largest))


@triton.jit
def step_rows(
    rowptr, col, value, left, right, scale, y, known, x, mask, out, change, alpha, beta, low, high,
    X_IS_Y: tl.constexpr, CLAMP: tl.constexpr, Y_SCALED: tl.constexpr, OUT_SCALED: tl.constexpr,
    D: tl.constexpr, STRIDE: tl.constexpr, COPIES: tl.constexpr,
    MAX_ROW_ARCS: tl.constexpr, ARCS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take one step in a row of at most MAX_ROW_ARCS arcs; leave longer ones alone."""
    row = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(rowptr + row), tl.load(rowptr + row + 1)
    if end - begin <= MAX_ROW_ARCS:
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        total = _gather(begin, end, col, value, scale, y, known, column, STRIDE, ARCS, BLOCK)
        _finish(
            total, row, column, left, right, y, known, x, mask, out, change, alpha, beta, low, high,
            X_IS_Y, CLAMP, Y_SCALED, OUT_SCALED, D, STRIDE, COPIES,
        )  # fmt: skip


@triton.jit
def sum_pieces(
    piece, col, value, scale, y, known, partial,
    STRIDE: tl.constexpr, WIDTH: tl.constexpr, COPIES: tl.constexpr, ARCS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum one piece of a long row."""
    at = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(piece + 2 * at), tl.load(piece + 2 * at + 1)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = _gather(begin, end, col, value, scale, y, known, column, STRIDE, ARCS, BLOCK)
    copy = tl.arange(0, COPIES)[:, None]
    place = partial + at * WIDTH + column[None, :] + copy * 0
    tl.store(place, total[None, :] + copy * 0.0, (column < WIDTH)[None, :] & (copy == 0))


@triton.jit
def step_hubs(
    hub, first_piece, partial, left, right, y, known, x, mask, out, change, alpha, beta, low, high,
    X_IS_Y: tl.constexpr, CLAMP: tl.constexpr, Y_SCALED: tl.constexpr, OUT_SCALED: tl.constexpr,
    D: tl.constexpr, STRIDE: tl.constexpr, COPIES: tl.constexpr,
    WIDTH: tl.constexpr, ARCS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take one step in a row whose pieces have been summed."""
    at = tl.program_id(0)
    row = tl.load(hub + at).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros([ARCS, BLOCK], tl.float32)
    end = tl.load(first_piece + at + 1)
    for first in range(tl.load(first_piece + at), end, ARCS):
        k = (first + tl.arange(0, ARCS)).to(tl.int64)
        there = (k < end)[:, None] & (column < WIDTH)[None, :]
        sums += tl.load(partial + k[:, None] * WIDTH + column[None, :], there, other=0)
    _finish(
        tl.sum(sums, 0), row, column, left, right, y, known, x, mask, out, change, alpha, beta, low, high,
        X_IS_Y, CLAMP, Y_SCALED, OUT_SCALED, D, STRIDE, COPIES,
    )  # fmt: skip
