"""The highest scores of each row, ties by the lower index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import fail
from recsys.validation import Ints

Floats = NDArray[np.float32]
# Stands where a row has fewer than k items left.
NONE = -1
# Whatever is below is not to be shown.
_LEAST = np.finfo(np.float32).min


def top_k(scores: Floats, k: int, masked: Any = None) -> tuple[NDArray[np.int32], Floats]:
    """Return the k items of highest score in each row, best first; equal scores go to the lower index.

    Args:
        scores: [b, n] float32 without NaN, `k <= n`; not changed. -inf means that the item is not to be shown.
        k: How many.
        masked: CSR [b, n] whose stored entries are left out, or None.

    Returns:
        Items [b, k] int32 and their scores [b, k] float32; -1 and -inf where a row has no more items.

    Example:
        >>> top_k(np.array([[1, 3, 3, 2]], np.float32), 2)[0].tolist()
        [[1, 2]]
    """
    rows, size = scores.shape
    items, best = np.full((rows, k), NONE, np.int32), np.full((rows, k), -np.inf, np.float32)
    if not k or not rows:
        return items, best
    if masked is not None:
        scores = scores.copy()
        scores[np.repeat(np.arange(rows), np.diff(masked.indptr)), masked.indices] = -np.inf
    # A bound that k scores of the row reach leaves few candidates, and only these are sorted. The k-th of the largest
    # ones of some groups is such a bound. (np.nonzero on two dimensions takes far longer than on one.)
    width = min(64, size // (8 * k))
    heads = scores
    if width > 1:
        whole = size - size % width
        groups = scores[:, :whole].reshape(rows, width, -1).max(axis=1)
        heads = np.concatenate([groups, scores[:, whole:]], axis=1)
    bound = np.partition(heads, heads.shape[1] - k, axis=1)[:, heads.shape[1] - k, None]
    row, col = np.divmod(np.flatnonzero(scores >= np.maximum(bound, _LEAST)), size)
    value = scores[row, col]
    order = np.lexsort((-value, row))
    row, col, value = row[order], col[order], value[order]
    starts = np.searchsorted(row, np.arange(rows))
    place = np.arange(len(row)) - starts[row]
    kept = place < k
    at = row[kept], place[kept]
    items[at], best[at] = col[kept], value[kept]
    return items, best


def check_finite(name: str, scores: Floats, userids: Ints) -> None:
    """Refuse scores with NaN; the message has the first user.

    Raises:
        InputError: A score is NaN.
    """
    bad = np.isnan(scores).any(axis=1)
    if bad.any():
        fail(name, "scores that are numbers", f"NaN for {int(bad.sum())} users, the first {int(userids[bad][0])}")
