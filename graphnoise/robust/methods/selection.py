"""Selection of the nodes with the smallest values, such as losses or difficulties, so that no class is lost."""

from __future__ import annotations

import torch
from torch import Tensor


def smallest(values: Tensor, given: Tensor, share: float, *, balanced: bool = False) -> Tensor:
    """Return a mask of the share of rows with the smallest values, rounded up, with at least one row of each class.

    Args:
        values: Such as losses, shape [n].
        given: Class of each row, int64, shape [n].
        share: Share of the rows, in [0, 1].
        balanced: Whether the share is that of each class.

    Example:
        >>> values, given = torch.tensor([0.1, 0.2, 0.3, 0.8, 0.9]), torch.tensor([0, 0, 0, 1, 1])
        >>> smallest(values, given, 0.5).tolist()
        [True, True, True, True, False]
        >>> smallest(values, given, 0.5, balanced=True).tolist()
        [True, True, False, True, False]
    """
    in_class = _ranks(values, given)
    if balanced:
        return in_class < _count(share, torch.bincount(given)).clamp(min=1)[given]
    total = torch.tensor(len(values), device=given.device)
    return (_ranks(values, torch.zeros_like(given)) < _count(share, total)) | (in_class == 0)


def _count(share: float, sizes: Tensor) -> Tensor:
    # Products such as 0.7 · 10 may be above the integer by rounding.
    return (share * sizes.double() - 1e-9).ceil()


def _ranks(values: Tensor, given: Tensor) -> Tensor:
    """Return the rank of each row among those of its class, from 0."""
    order = values.argsort(stable=True)
    order = order[given[order].argsort(stable=True)]
    sizes = torch.bincount(given)
    position = torch.arange(len(given), device=given.device) - (sizes.cumsum(0) - sizes)[given[order]]
    return torch.empty_like(order).scatter_(0, order, position)
