"""Graph attention: softmax over the arcs into each node, weighted sum of the neighbours' features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from graphnoise import checks
from graphnoise.kernels.attention import cpu, reference
from graphnoise.kernels.csr import check_range, check_rows
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.propagate import tangent


def attend(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    slope: float = 0.2,
    factor: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    r"""Attend over the arcs j -> i of compressed rows, for each head k.

    w_ij = softmax_j leaky_relu(source_j + target_i), out_i = sum_j kept_ij w_ij h_j + bias; a target without arcs gets
    the bias. Differentiable in h, source, target and bias; in the reference tier in factor as well, and twice.
    Scores are not checked for NaN or infinity; their results are undefined and differ between the tiers.

    Args:
        rowptr: Where the arcs into each target begin, int64, shape [targets + 1].
        col: Source of each arc, int64, shape [arcs], values from 0 to sources - 1.
        h: Features of the sources, floating, shape [sources, heads, width].
        source: Score of each source, finite, shape [sources, heads].
        target: Score of each target, finite, shape [targets, heads].
        bias: Added to the features of each target, shape [heads, width]; None for zeros.
        slope: Negative slope of the leaky ReLU.
        factor: Factor on each weight after the softmax (dropout), shape [arcs, heads]; None for ones.
        backend: "native" (CPU, float32, no gradient of `factor`), "reference" (any device and floating dtype), or None
            to let the data decide.

    Returns:
        Attended features, shape [targets, heads, width].

    Raises:
        InputError: A shape or type that does not fit; a source out of range; `backend` is unknown or
            cannot serve these tensors.

    Example:
        >>> rowptr, col = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> attend(rowptr, col, torch.tensor([[[1.0]], [[3.0]]]), torch.zeros(2, 1), torch.zeros(1, 1)).item()
        2.0

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 2.1.
    """
    _check_shapes(rowptr, col, h, source, target, bias, factor)
    native = cpu.unsupported_reason(rowptr, col, h, source, target, bias, factor)
    if select(backend, {"native": native, "reference": None}) == "reference":
        check_rows(rowptr, col, target.shape[0])
        check_range("col", col, h.shape[0])
        return reference.attend(rowptr, col, h, source, target, slope, bias, factor)
    inputs = [t for t in (h, source, target, bias) if t is not None]
    if forward_ad._current_level >= 0 and any(tangent(t) is not None for t in inputs):
        raise NotImplementedError("graph attention has no forward-mode derivative here: take backend='reference'")
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)):
        out: Tensor = operation(rowptr, col, h, source, target, bias, factor, slope)[0]
        return out
    return cpu.forward(rowptr, col, h, source, target, bias, factor, slope)[0]


def _check_shapes(
    rowptr: Tensor, col: Tensor, h: Tensor, source: Tensor, target: Tensor, bias: Tensor | None, factor: Tensor | None
) -> None:
    """Establish what the tiers rely on, but for the values of the arcs, which a traced call does not have."""
    for name, index in (("rowptr", rowptr), ("col", col)):
        if not isinstance(index, Tensor):
            checks.fail(name, "a one-dimensional int64 tensor", type(index).__name__)
    if h.dim() != 3:
        checks.fail("h", "shape [sources, heads, width]", f"shape {tuple(h.shape)}")
    sources, heads, width = h.shape
    if source.shape != (sources, heads):
        checks.fail("source", f"shape [{sources}, {heads}], as h has sources and heads", f"shape {tuple(source.shape)}")
    if target.dim() != 2 or target.shape[1] != heads:
        checks.fail("target", f"shape [targets, {heads}], as h has heads", f"shape {tuple(target.shape)}")
    if bias is not None and bias.shape != (heads, width):
        checks.fail("bias", f"shape [{heads}, {width}], as h has heads and width", f"shape {tuple(bias.shape)}")
    for name, value in (("h", h), ("source", source), ("target", target), ("bias", bias), ("factor", factor)):
        if value is not None and not value.is_floating_point():
            checks.fail(name, "floating-point values", f"values of type {value.dtype}")
    if factor is not None and factor.shape != (col.numel(), heads):
        checks.fail(
            "factor", f"shape [{col.numel()}, {heads}], one factor per arc and head", f"shape {tuple(factor.shape)}"
        )


@torch.library.custom_op("graphnoise::attend", mutates_args=())
def operation(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    bias: Tensor | None,
    factor: Tensor | None,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Attend as one node of torch's graph; returns the features and the weights before `factor`, [arcs, heads]."""
    return cpu.forward(rowptr, col, h, source, target, bias, factor, slope)


@operation.register_fake
def _(rowptr, col, h, source, target, bias, factor, slope):  # type: ignore[no-untyped-def]
    return h.new_empty(target.shape[0], *h.shape[1:]), h.new_empty(col.shape[0], h.shape[1])


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    rowptr, col, h, source, target, bias, factor, ctx.slope = inputs
    ctx.biased = bias is not None
    ctx.save_for_backward(rowptr, col, h, source, target, factor, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * 8
    *inputs, factor, weight = ctx.saved_tensors
    to_h = to_source = to_target = to_bias = None
    if any(ctx.needs_input_grad[2:5]):
        to_h, to_source, to_target = gradients(*inputs, factor, weight, grad, ctx.slope)
    if ctx.needs_input_grad[5]:
        to_bias = grad.sum(0)
    return None, None, to_h, to_source, to_target, to_bias, None, None


operation.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("graphnoise::attend_backward", mutates_args=())
def gradients(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    factor: Tensor | None,
    weight: Tensor,
    grad: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of h, source and target; `weight` is what the operation returned."""
    return cpu.backward(rowptr, col, h, source, target, factor, slope, weight, grad)


@gradients.register_fake
def _(rowptr, col, h, source, target, factor, weight, grad, slope):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (h, source, target))


def _no_second_derivative(*_: object) -> None:
    raise NotImplementedError("graph attention has no second derivative here: take backend='reference'")


gradients.register_autograd(_no_second_derivative)
