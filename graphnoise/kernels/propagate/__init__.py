r"""Propagation: Y <- clamp(alpha · S Y + beta · X), several steps per call.

All propagation of this package calls `run`. A tier is a function

    tier(arcs, start, source, mask, alpha, beta, num_steps, clamp, tol) -> (y, steps, residual)

with Y_0 = start, or the source if there is no start, and X the source, or Y itself if there is no source. Rows of the
source outside `mask` count as zeros and are not read. `residual` is the largest change of any entry in the last step:
infinity if none was taken, NaN if an input or the result is not finite. (A sum that leaves the range and is clamped
back counts as finite; with `tol` every step is checked, without it the first and the last.) The result is never the
caller's tensor.

The operation is linear in start and source, so its gradient is the same operation on the transposed graph; the gradient
of an arc's value is the product of the result's gradient and the source's row at that arc (`sddmm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from graphnoise.kernels.arcs import Arcs, accumulation_dtype
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.propagate import cpu, reference, scatter, triton

Tier = Callable[..., tuple[Tensor, int, float]]
# Arcs whose rows are gathered to memory at a time.
CHUNK = 1 << 20
TIERS: dict[str, Tier] = {"native": cpu.run, "triton": triton.run}


class PropagationSettings(NamedTuple):
    """Settings of a propagation; see `propagate`."""

    alpha: float
    num_steps: int
    lazy: bool
    clamp: tuple[float, float] | None
    tol: float | None


def choose(backend: str | None, values: Tensor) -> str:
    """Return the tier for these values.

    Raises:
        InputError: `backend` is unknown or does not support the values; the message gives its reason.
    """
    native = cpu.unsupported_reason(values)
    # The reasons of the other tiers take longer to compute than a small step.
    if backend is None and native is None:
        return "native"
    reasons = {"native": native, "triton": triton.unsupported_reason(values), "reference": None}
    return select(backend, reasons | {"scatter": scatter.unsupported_reason()})


def run(
    arcs: Arcs,
    start: Tensor | None,
    source: Tensor | None,
    *,
    mask: Tensor | None = None,
    alpha: float,
    beta: float,
    num_steps: int,
    clamp: tuple[float, float] | None = None,
    tol: float | None = None,
    tier: str,
) -> tuple[Tensor, int | Tensor, float | Tensor]:
    """Propagate, with gradients to start, source and the values of the arcs; arguments are known to be valid.

    Args:
        arcs: The matrix S.
        start: Y_0, shape [num_nodes, width], or None for the source.
        source: X, of the same shape, or None for Y itself.
        mask: Rows of the source that count, Boolean, shape [num_nodes].
        alpha: Weight of S Y.
        beta: Weight of X.
        num_steps: Maximum number of steps.
        clamp: Range that every entry is clamped to after each step.
        tol: Stop after a step with no larger change.
        tier: As `choose` returned.

    Returns:
        Values, steps and residual; steps and residual are tensors if torch traces or records the call.
    """
    if tier == "reference":
        return reference.run(arcs, start, source, mask, alpha, beta, num_steps, clamp, tol)
    if tier == "scatter":
        return reference.run(arcs, start, source, mask, alpha, beta, num_steps, clamp, tol, scatter.multiply)
    inputs = [t for t in (start, source, arcs.value) if t is not None]
    if forward_ad._current_level >= 0 and any(tangent(t) is not None for t in inputs):
        raise NotImplementedError("propagation has no forward-mode derivative in the tiers that see values only")
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    if not recorded and not torch.compiler.is_compiling():
        return TIERS[tier](arcs, start, source, mask, alpha, beta, num_steps, clamp, tol)
    if recorded and (clamp is not None or (arcs.value is not None and arcs.value.requires_grad)):
        return _single_steps(arcs, start, source, mask, alpha, beta, num_steps, clamp, tol, tier)
    low, high = (-math.inf, math.inf) if clamp is None else clamp
    # The operation takes numbers: -1 stands for no tolerance.
    tol = -1.0 if tol is None else tol
    y, info = operation(*arcs, start, source, mask, alpha, beta, num_steps, low, high, tol, transposed=False, tier=tier)
    return y, info[0], info[1]


def tangent(values: Tensor) -> Tensor | None:
    """Return the tangent of forward-mode differentiation that the values carry, or None."""
    return forward_ad.unpack_dual(values).tangent  # type: ignore[no-untyped-call, no-any-return]


def _single_steps(
    arcs: Arcs,
    start: Tensor | None,
    source: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    beta: float,
    num_steps: int,
    clamp: tuple[float, float] | None,
    tol: float | None,
    tier: str,
) -> tuple[Tensor, int, Tensor]:
    """Record each step, so that the gradient has every iterate: the clamp and the arcs' values need them."""
    if source is not None and mask is not None:
        source = torch.where(mask.unsqueeze(1), source, source.new_zeros(()))
    y = source if start is None else start
    assert y is not None, "start or source"
    finite = torch.isfinite(y.detach()).all()
    if source is not None:
        finite = finite & torch.isfinite(source.detach()).all()
    residual = torch.tensor(math.inf)
    for k in range(num_steps):
        new, info = operation(
            *arcs, y, source, None, alpha, beta, 1, -math.inf, math.inf, -1.0, transposed=False, tier=tier
        )
        residual = info[1]
        if clamp is not None:
            new = new.clamp(*clamp)
            change = (new.detach() - y.detach()).abs()
            residual = change.max().double().cpu() if change.numel() else torch.zeros_like(residual)
        residual = torch.where(residual.isfinite() & finite.cpu(), residual, math.nan)
        y = new
        if tol is not None and not residual > tol:
            return y, k + 1, residual
    return (y.clone() if num_steps == 0 else y), num_steps, residual


@torch.library.custom_op("graphnoise::propagate", mutates_args=())
def operation(
    rowptr: Tensor,
    col: Tensor,
    value: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    start: Tensor | None,
    source: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    beta: float,
    num_steps: int,
    low: float,
    high: float,
    tol: float,
    transposed: bool,
    tier: str,
    info: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Propagate as one node of torch's graph; returns the values, and steps and residual as two float64 numbers.

    `info` is the second result of an earlier call: as many steps are taken as in that call.
    """
    arcs = Arcs(rowptr, col, value, left, right)
    clamp = (low, high) if math.isfinite(low) or math.isfinite(high) else None
    y, steps, residual = TIERS[tier](
        arcs.transposed() if transposed else arcs,
        start,
        source,
        mask,
        alpha,
        beta,
        num_steps if info is None else int(info[0]),
        clamp,
        None if tol < 0 else tol,
    )
    return y, torch.tensor([steps, residual], dtype=torch.float64)


@operation.register_fake
def _(rowptr, col, value, left, right, start, source, *_):  # type: ignore[no-untyped-def]
    like = source if start is None else start
    return torch.empty_like(like, memory_format=torch.contiguous_format), torch.empty(2, dtype=torch.float64)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    rowptr, col, value, left, right, start, source, mask, *settings, info = inputs
    ctx.alpha, ctx.beta, ctx.num_steps, low, high, tol, ctx.transposed, ctx.tier = settings
    ctx.clamped = math.isfinite(low) or math.isfinite(high)
    first = start if value is not None and ctx.needs_input_grad[2] else None
    info = output[1] if tol >= 0 else info
    ctx.has_start, ctx.has_source = start is not None, source is not None
    ctx.save_for_backward(rowptr, col, value, left, right, mask, first, info)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    rowptr, col, value, left, right, mask, first, info = ctx.saved_tensors
    if ctx.clamped or (first is not None and ctx.num_steps != 1):
        raise NotImplementedError("graphnoise::propagate records single steps where there is a clamp or arcs learn")
    arcs = (rowptr, col, value, left, right)

    def on_transpose(start: Tensor | None, source: Tensor | None, beta: float) -> Tensor:
        settings = (ctx.alpha, beta, ctx.num_steps, -math.inf, math.inf, -1.0)
        y: Tensor = operation(*arcs, start, source, None, *settings, not ctx.transposed, ctx.tier, info)[0]
        return y

    to_value = to_start = to_source = None
    if ctx.needs_input_grad[2]:
        to_value = sddmm(rowptr, col, grad, first, ctx.alpha, ctx.transposed, ctx.tier)
    if ctx.needs_input_grad[5]:
        to_start = on_transpose(grad, None, 0.0 if ctx.has_source else ctx.beta)
    if ctx.needs_input_grad[6]:
        if not ctx.has_start:
            to_source = on_transpose(None, grad, ctx.beta)
        elif ctx.num_steps == 1:
            to_source = ctx.beta * grad
        else:
            to_source = on_transpose(torch.zeros_like(grad), grad, ctx.beta)
        if mask is not None:
            to_source = torch.where(mask.unsqueeze(1), to_source, to_source.new_zeros(()))
    return None, None, to_value, None, None, to_start, to_source, *[None] * 10


operation.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("graphnoise::sddmm", mutates_args=())
def sddmm(rowptr: Tensor, col: Tensor, g: Tensor, y: Tensor, alpha: float, transposed: bool, tier: str) -> Tensor:
    """Return alpha <g_i, y_j> at each arc j -> i (of the transposed graph: i -> j), shape [num_arcs]."""
    arcs = Arcs(rowptr, col)
    # The order of the arcs stays.
    if transposed:
        g, y = y, g
    if tier == "native":
        return cpu.sddmm(arcs, g, y, alpha)
    dtype = accumulation_dtype(g.dtype)
    parts = [
        (g[arcs.row[begin : begin + CHUNK]].to(dtype) * y[col[begin : begin + CHUNK]].to(dtype)).sum(1)
        for begin in range(0, col.numel(), CHUNK)
    ]
    return alpha * torch.cat(parts) if parts else g.new_zeros(0, dtype=dtype)


@sddmm.register_fake
def _(rowptr, col, g, y, alpha, transposed, tier):  # type: ignore[no-untyped-def]
    return g.new_empty(col.shape, dtype=accumulation_dtype(g.dtype))


def _setup_sddmm(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    rowptr, col, g, y, ctx.alpha, ctx.transposed, ctx.tier = inputs
    ctx.save_for_backward(rowptr, col, g, y)


def _backward_sddmm(ctx, grad):  # type: ignore[no-untyped-def]
    rowptr, col, g, y = ctx.saved_tensors

    def product(values: Tensor, transposed: bool) -> Tensor:
        settings = (ctx.alpha, 0.0, 1, -math.inf, math.inf, -1.0)
        out: Tensor = operation(
            rowptr, col, grad, None, None, values, None, None, *settings, transposed=transposed, tier=ctx.tier
        )[0]
        return out

    return None, None, product(y, ctx.transposed), product(g, not ctx.transposed), None, None, None


sddmm.register_autograd(_backward_sddmm, setup_context=_setup_sddmm)
