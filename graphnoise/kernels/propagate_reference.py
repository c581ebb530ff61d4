"""Propagation in torch's own sparse product: the meaning of `graphnoise.propagate`, and its tier on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..graph import Graph


def propagate(
    graph: Graph,
    start: Tensor,
    alpha: float,
    num_steps: int,
    restart: bool,
    clamp: tuple[float, float] | None,
    tol: float | None,
) -> tuple[Tensor, int, float]:
    """Return the values after the last step, the steps taken and the largest change in the last of them."""
    matrix = graph.to_csr(start.dtype)
    y, steps, residual = start, 0, math.inf
    while steps < num_steps and (tol is None or residual > tol):
        new = alpha * torch.sparse.mm(matrix, y) + (1 - alpha) * (start if restart else y)
        if clamp is not None:
            new = new.clamp(*clamp)
        residual = float((new - y).detach().abs().max()) if y.numel() else 0.0
        y, steps = new, steps + 1
    return y, steps, residual
