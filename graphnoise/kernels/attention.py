"""Graph attention: softmax over the arcs into each node, and the weighted sum of the neighbours' features."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _native, attention_reference
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
    target. A target without arcs gets zeros.

    Args:
        rowptr: Where the arcs into each target begin, int64, shape [targets + 1].
        col: Source of each arc, int64, shape [arcs] (assumed valid: checked by callers).
        h: Features of the sources, shape [sources, heads, width].
        source: Score of each source, shape [sources, heads].
        target: Score of each target, shape [targets, heads].
        slope: Negative slope of the leaky ReLU.
        kept: Factor on each weight after the softmax (dropout), shape [arcs, heads]; None for ones.
        backend: "native" (CPU, float32), "reference" (any device and dtype), or None to let the data decide.

    Returns:
        Attended features, shape [targets, heads, width].

    Raises:
        InputError: `backend` is unknown or cannot serve these tensors.

    Example:
        >>> rowptr, col = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> attend(rowptr, col, torch.tensor([[[1.0]], [[3.0]]]), torch.zeros(2, 1), torch.zeros(1, 1)).item()
        2.0

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 2.1.
    """
    served = h.device.type == "cpu" and h.dtype == torch.float32
    refusals = {"native": None if served else "needs float32 CPU tensors", "reference": None}
    if select(backend, refusals) == "reference":
        return attention_reference.attend(rowptr, col, h, source, target, slope, kept)
    out: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        rowptr, col, h, source, target, slope, kept
    )
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rowptr, col, h, source, target, slope, kept):  # type: ignore[no-untyped-def]
        h, source, target = (t.detach().contiguous() for t in (h, source, target))
        out, weight = torch.empty(target.shape[0], *h.shape[1:]), torch.empty(col.numel(), h.shape[1])
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
