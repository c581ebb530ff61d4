"""Top-k selection per row; ties go to the lower index."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import fail
from recsys.validation import Ints

Floats = NDArray[np.float32]
# Padding of rows with fewer than k items left.
NONE = -1
# The lowest score of an item that is ranked; -inf excludes it.
LOWEST = np.finfo(np.float32).min


def top_k(scores: Floats, k: int, masked: sp.csr_array | None = None) -> tuple[NDArray[np.int32], Floats]:
    """Return the k items of highest score in each row, best first; equal scores go to the lower index.

    Args:
        scores: [b, n] float32 without NaN, `k <= n`; not modified. -inf excludes an item.
        k: Number of items per row.
        masked: CSR [b, n] whose stored entries are excluded, or None.

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
    # A lower bound that k scores of the row reach leaves few candidates, and only these are sorted. The k-th largest
    # maximum over groups is such a bound. (np.nonzero is much slower on two dimensions than on one.)
    width = min(64, size // (8 * k))
    heads = scores
    if width > 1:
        divisible = size - size % width
        groups = scores[:, :divisible].reshape(rows, width, -1).max(axis=1)
        heads = np.concatenate([groups, scores[:, divisible:]], axis=1)
    bound = np.partition(heads, heads.shape[1] - k, axis=1)[:, heads.shape[1] - k, None]
    row, col = np.divmod(np.flatnonzero(scores >= np.maximum(bound, LOWEST)), size)
    value = scores[row, col]
    order = np.lexsort((-value, row))
    row, col, value = row[order], col[order], value[order]
    starts = np.searchsorted(row, np.arange(rows))
    place = np.arange(len(row)) - starts[row]
    first = place < k
    target = row[first], place[first]
    items[target], best[target] = col[first], value[first]
    return items, best


def check_finite(name: str, scores: Floats, userids: Ints) -> None:
    """Raise `InputError` if a score is NaN; the message names the first user.

    Raises:
        InputError: A score is NaN.
    """
    bad = np.isnan(scores).any(axis=1)
    if bad.any():
        fail(name, "scores that are numbers", f"NaN for {int(bad.sum())} users, the first {int(userids[bad][0])}")
