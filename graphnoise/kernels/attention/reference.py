"""Reference tier of graph attention, in torch operators, on any device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    rowptr: Tensor,
    col: Tensor,
    h: Tensor,
    source: Tensor,
    target: Tensor,
    slope: float,
    bias: Tensor | None,
    factor: Tensor | None,
) -> Tensor:
    """Return the sum of neighbours' features with softmax weights, and the bias, shape [targets, heads, width]."""
    dtypes = [t.dtype for t in (h, source, target, bias, factor) if t is not None]
    dtype = functools.reduce(torch.promote_types, dtypes)
    h, source, target = h.to(dtype), source.to(dtype), target.to(dtype)
    row = torch.repeat_interleave(torch.arange(target.shape[0], device=col.device), rowptr.diff())
    score = F.leaky_relu(source[col] + target[row], slope)
    at = row.unsqueeze(1).expand_as(score)
    highest = torch.full_like(target, -torch.inf).scatter_reduce(0, at, score.detach(), "amax")
    weight = (score - highest[row]).exp()
    weight = weight / torch.zeros_like(target).index_add(0, row, weight)[row]
    if factor is not None:
        weight = weight * factor
    out = h.new_zeros(target.shape[0], *h.shape[1:])
    out = out.index_add(0, row, weight.unsqueeze(-1) * h[col])
    return out if bias is None else out + bias
