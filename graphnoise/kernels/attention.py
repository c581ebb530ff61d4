"""Graph attention: softmax over the arcs into each node, and the weighted sum of the neighbours' features."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _check
from . import _native, attention_reference
from .csr import check_range, check_rows
from .dispatch import select


def attend(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    *,
    slope: float = 0.2,
    kept: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    r"""Attend over the arcs j -> i of compressed rows, for each head k.

    w_ij = softmax_j leaky_relu(source_j + target_i), out_i = sum_j kept_ij w_ij h_j; differentiable in h, source and
    target (and kept, in the reference tier). A target without arcs gets zeros. Scores that are NaN or infinite are not
    looked for; what they give is undefined and differs between the tiers.

    Args:
        rowptr: Where the arcs into each target begin, int64, shape [targets + 1].
        col: Source of each arc, int64, shape [arcs], values from 0 to sources - 1.
        h: Features of the sources, floating, shape [sources, heads, width].
        source: Score of each source, finite, shape [sources, heads].
        target: Score of each target, finite, shape [targets, heads].
        slope: Negative slope of the leaky ReLU.
        kept: Factor on each weight after the softmax (dropout), shape [arcs, heads]; None for ones.
        backend: "native" (CPU, float32, no gradient of `kept`), "reference" (any device and floating dtype), or None to
            let the data decide.

    Returns:
        Attended features, shape [targets, heads, width].

    Raises:
        InputError: A shape or type that does not fit; an arc from a source that is not there; `backend` is unknown or
            cannot serve these tensors.

    Example:
        >>> rowptr, col = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> attend(rowptr, col, torch.tensor([[[1.0]], [[3.0]]]), torch.zeros(2, 1), torch.zeros(1, 1)).item()
        2.0

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 2.1.
    """
    _check_shapes(rowptr, col, h, source, target, kept)
    refusals = {"native": _native_refusal(rowptr, col, h, source, target, kept), "reference": None}
    if select(backend, refusals) == "reference":
        return attention_reference.attend(rowptr, col, h, source, target, slope, kept)
    out: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        rowptr, col, h, source, target, slope, kept
    )
    return out


def _check_shapes(rowptr: Tensor, col: Tensor, h: Tensor, source: Tensor, target: Tensor, kept: Tensor | None) -> None:
    """Establish all that the tiers rely on; the native one would read and write out of bounds without it."""
    if h.dim() != 3:
        _check.fail("h", "shape [sources, heads, width]", f"shape {tuple(h.shape)}")
    sources, heads = h.shape[:2]
    if source.shape != (sources, heads):
        _check.fail("source", f"shape [{sources}, {heads}], as h has sources and heads", f"shape {tuple(source.shape)}")
    if target.dim() != 2 or target.shape[1] != heads:
        _check.fail("target", f"shape [targets, {heads}], as h has heads", f"shape {tuple(target.shape)}")
    for name, value in (("h", h), ("source", source), ("target", target)):
        if not value.is_floating_point():
            _check.fail(name, "floating-point values", f"values of type {value.dtype}")
    check_rows(rowptr, col, target.shape[0])
    if kept is not None and kept.shape != (col.numel(), heads):
        _check.fail("kept", f"shape [{col.numel()}, {heads}], one factor an arc and head", f"shape {tuple(kept.shape)}")
    check_range("col", col, sources)


def _native_refusal(
    rowptr: Tensor, col: Tensor, h: Tensor, source: Tensor, target: Tensor, kept: Tensor | None
) -> str | None:
    values = (h, source, target) if kept is None else (h, source, target, kept)
    if any(t.dtype != torch.float32 for t in values) or any(t.device.type != "cpu" for t in (rowptr, col, *values)):
        return "needs float32 CPU tensors"
    return "gives no gradient of kept" if kept is not None and kept.requires_grad else None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rowptr, col, h, source, target, slope, kept):  # type: ignore[no-untyped-def]
        rowptr, col, h, source, target = (t.detach().contiguous() for t in (rowptr, col, h, source, target))
        kept = None if kept is None else kept.contiguous()
        out = torch.empty(target.shape[0], *h.shape[1:], dtype=torch.float32)
        weight = torch.empty(col.numel(), h.shape[1], dtype=torch.float32)
        ctx.save_for_backward(rowptr, col, h, source, target, kept, weight)
        ctx.slope = slope
        arcs, values = (rowptr.numpy(), col.numpy()), (h.numpy(), source.numpy(), target.numpy())
        factors = None if kept is None else kept.numpy()
        _native.attend(*arcs, *values, slope, factors, out.numpy(), weight.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rowptr, col, h, source, target, kept, weight = ctx.saved_tensors
        grads = tuple(torch.zeros_like(t) for t in (h, source, target))
        arcs, values = (rowptr.numpy(), col.numpy()), (h.numpy(), source.numpy(), target.numpy())
        factors, into = None if kept is None else kept.numpy(), tuple(t.numpy() for t in grads)
        _native.attend_backward(*arcs, *values, ctx.slope, factors, weight.numpy(), grad.contiguous().numpy(), *into)
        return None, None, *grads, None, None
