"""Node features as networks read them: rows that sum to 1, kept sparse where few entries are non-zero."""

from __future__ import annotations

from torch import Tensor

from .sparse import SparseFeatures

SPARSE_BELOW = 0.1  # features with a smaller share of non-zeros are kept sparse


def row_normalised(x: Tensor) -> Tensor:
    """Return features with rows that sum to 1 where all are at least 0 (bag of words); as they are otherwise.

    Example:
        >>> import torch
        >>> row_normalised(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist()
        [[0.25, 0.75], [0.0, 0.0]]
    """
    return x / x.sum(1, keepdim=True).clamp(min=1e-12) if float(x.min()) >= 0 else x


def compact(x: Tensor) -> Tensor | SparseFeatures:
    """Return features as they are, or sparse where less than a tenth of them is not zero."""
    return SparseFeatures(x) if float((x != 0).float().mean()) < SPARSE_BELOW else x
