"""The highest scores of each row, ties by the lower index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise._check import fail
from recsys.matrices import Ints

Floats = NDArray[np.float32]
NONE = -1  # stands where a row has fewer than k items left
_MASKED = np.int32(0x7FFFFFFF)  # sorts after every score, -inf too


def top_k(scores: Floats, k: int, masked: Any = None) -> tuple[NDArray[np.int32], Floats]:
    """Return the k items of highest score in each row, best first; equal scores go to the lower index.

    Args:
        scores: [b, n] float32 without NaN, `k <= n`; not changed. -inf means that the item is not to be shown.
        k: how many.
        masked: CSR [b, n] whose stored entries are left out, or None.

    Returns:
        Items [b, k] int32 and their scores [b, k] float32; -1 and -inf where a row has no more items.

    Example:
        >>> top_k(np.array([[1, 3, 3, 2]], np.float32), 2)[0].tolist()
        [[1, 2]]
    """
    rows, size = scores.shape
    # One integer holds a score and its place, so that a partial sort needs no second look at ties: high half the score,
    # the best one smallest; low half the place. The bits of floats are in the order of their sizes: those of positive
    # numbers are all turned over, negative ones lose their sign.
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    keys = np.where(bits < 0, bits & _MASKED, ~bits).astype(np.int64) << 32
    keys |= np.arange(size, dtype=np.int64)
    if masked is not None:
        place = np.repeat(np.arange(rows), np.diff(masked.indptr)), masked.indices
        keys[place] = (np.int64(_MASKED) << 32) + masked.indices
    if k < size:
        keys = np.partition(keys, k - 1, axis=1)[:, :k] if k else keys[:, :0]
    keys.sort(axis=1)
    items = (keys & 0xFFFFFFFF).astype(np.int32)
    best = np.take_along_axis(scores, items, axis=1)
    gone = (keys >> 32) == _MASKED
    gone |= best == -np.inf
    items[gone], best[gone] = NONE, -np.inf
    return items, best


def check_finite(name: str, scores: Floats, userids: Ints) -> None:
    """Refuse scores with NaN; the message has the first user.

    Raises:
        InputError: a score is NaN.
    """
    bad = np.isnan(scores).any(axis=1)
    if bad.any():
        fail(name, "scores that are numbers", f"NaN for {int(bad.sum())} users, the first {int(userids[bad][0])}")
