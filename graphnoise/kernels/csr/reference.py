"""Reference tier of `graphnoise.kernels.csr.compress`, in torch operators."""

from __future__ import annotations

import torch
from torch import Tensor


def compress(row: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Return (rowptr, order): a stable sort by row, and where each row begins in it."""
    order = torch.argsort(row, stable=True)
    counts = torch.bincount(row, minlength=num_rows)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), order
