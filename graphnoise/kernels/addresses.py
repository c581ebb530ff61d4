"""Addresses of optional tensors, as native kernels take them."""

from __future__ import annotations

from torch import Tensor


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """Return a contiguous tensor, or None."""
    return None if tensor is None else tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    """Return the address of the first element, or 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()
