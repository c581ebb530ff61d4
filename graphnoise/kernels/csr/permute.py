"""Permutations of the nodes of compressed rows."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise import checks


def check_permutation(name: str, value: object, size: int) -> Tensor:
    """Return a permutation of the nodes 0 to size - 1 as an int64 tensor.

    Raises:
        InputError: `value` is not a permutation.
    """
    order = checks.tensor(name, value)
    expected = f"a permutation of the {size} nodes"
    if order.dim() != 1 or order.numel() != size:
        checks.fail(name, expected, f"shape {tuple(order.shape)}")
    if order.is_floating_point() or order.is_complex() or order.dtype == torch.bool:
        checks.fail(name, expected, f"values of type {order.dtype}")
    order = order.long()
    low, high = (int(end) for end in torch.aminmax(order))
    if low < 0 or high >= size:
        checks.fail(name, expected, f"values from {low} to {high}")
    if int(torch.bincount(order, minlength=size).max()) > 1:
        checks.fail(name, expected, "positions that repeat")
    return order


def invert_permutation(order: Tensor) -> Tensor:
    """Return the inverse of a permutation: `inverse[order[i]] = i`."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))


def permute_csr(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move row and column `order[i]` to position i.

    Arcs keep their order within a row, so that a row's sum has the same terms in the same order.

    Returns:
        Row bounds and columns of the permuted matrix, and the old position of each arc.
    """
    counts = rowptr.diff().long()[order]
    ends = counts.cumsum(0)
    shift = torch.repeat_interleave(rowptr.long()[order] - (ends - counts), counts, output_size=col.numel())
    arc = torch.arange(col.numel(), device=col.device) + shift
    new_rowptr = torch.cat([ends.new_zeros(1), ends]).to(rowptr.dtype)
    return new_rowptr, invert_permutation(order)[col[arc].long()].to(col.dtype), arc
