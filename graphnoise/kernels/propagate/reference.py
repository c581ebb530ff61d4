"""Reference tier of propagation, in torch operators, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from graphnoise.kernels.arcs import Arcs, accumulation_dtype
from graphnoise.kernels.cache import cached_on
from graphnoise.kernels.csr import matrix

Product = Callable[[Tensor], Tensor]


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
    multiply: Callable[[Arcs, torch.dtype], Product] | None = None,
) -> tuple[Tensor, int, float]:
    """Return the values after the last step, the steps taken and the largest change in the last of them.

    Products and sums of 16-bit values are float32; each step rounds once. The change is NaN as soon as an input or a
    result is not finite. `multiply` returns the function that multiplies by S.
    """
    if source is not None and mask is not None:
        source = torch.where(mask.unsqueeze(1), source, source.new_zeros(()))
    first = source if start is None else start
    assert first is not None, "start or source"
    dtype = accumulation_dtype(first.dtype)
    product = (multiply or product_by_csr)(arcs, dtype)
    y, steps, residual = first, 0, math.inf
    finite = all(bool(torch.isfinite(t.detach()).all()) for t in (first, source) if t is not None)
    while steps < num_steps and (tol is None or not residual <= tol):
        new = alpha * product(y.to(dtype))
        if beta != 0:
            new = new + beta * (y if source is None else source).to(dtype)
        if clamp is not None:
            new = new.clamp(*clamp)
        new = new.to(first.dtype)
        change = (new.detach().to(dtype) - y.detach().to(dtype)).abs().max() if y.numel() else torch.zeros(())
        residual = float(change) if finite and bool(torch.isfinite(change)) else math.nan
        y, steps = new, steps + 1
        if math.isnan(residual):
            break
    return (y.clone() if steps == 0 else y), steps, residual


def product_by_csr(arcs: Arcs, dtype: torch.dtype) -> Product:
    """Multiply by torch's CSR product, or by gathering and adding if the values require a gradient."""
    value = arcs.value
    if value is not None and value.requires_grad:
        return lambda y: y.new_zeros(y.shape).index_add(0, arcs.row, value.to(y.dtype).unsqueeze(1) * y[arcs.col])

    def csr(of: Tensor) -> Tensor:
        shape = (arcs.num_nodes, arcs.num_nodes)
        return matrix(arcs.rowptr.detach(), arcs.col.detach(), of.detach().to(dtype), shape)

    if value is not None:
        stored = cached_on(value, f"csr {dtype}", lambda: csr(value), arcs.rowptr, arcs.col)
        return lambda y: torch.sparse.mm(stored, y)
    ones = cached_on(
        arcs.col, f"csr {dtype}", lambda: csr(torch.ones(arcs.col.shape, device=arcs.col.device)), arcs.rowptr
    )
    left, right = (None if scale is None else scale.to(dtype).unsqueeze(1) for scale in (arcs.left, arcs.right))

    def multiply(y: Tensor) -> Tensor:
        new: Tensor = torch.sparse.mm(ones, y if right is None else right * y)
        return new if left is None else left * new

    return multiply
