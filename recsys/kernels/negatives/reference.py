"""NumPy reference of the draws, bit-identical to the native code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_STEP, _FIRST, _SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_LOW = np.uint64(0xFFFFFFFF)
# Words per draw: attempts, then the exact draw.
STRIDE = 32


def words(key: int, counters: Words) -> Words:
    """Return the words of a stream at these counters (SplitMix64)."""
    z = np.uint64(key) + (counters + np.uint64(1)) * _STEP
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def below(w: Words, n: int | Words) -> NDArray[np.int64]:
    """Return floor(w n / 2^64)."""
    bound = np.asarray(n, dtype=np.uint64)
    return (((w >> np.uint64(32)) * bound + ((w & _LOW) * bound >> np.uint64(32))) >> np.uint64(32)).astype(np.int64)


def candidates(
    w: Words, items: int, keep: NDArray[np.uint32] | None, other: NDArray[np.int32] | None
) -> NDArray[np.int64]:
    """Map words to items: uniformly, or by an alias table."""
    column = below(w, items)
    if keep is None or other is None:
        return column
    fraction = (w * np.uint64(items)) >> np.uint64(32)
    return np.where(fraction < keep[column], column, other[column])


def draw(
    rowptr: NDArray[np.int64],
    col: NDArray[np.int32],
    items: int,
    users: NDArray[np.int32],
    each: int,
    key: int,
    *,
    first: int = 0,
    table: tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.float64]] | None = None,
    attempts: int = 16,
    verify: bool = True,
    redraw: bool = True,
) -> NDArray[np.int32]:
    """Return negatives [len(users), each]; see `recsys.kernels.negatives.draw`."""
    keep, other, weight = table if table is not None else (None, None, None)
    user = np.repeat(users.astype(np.int64), each)
    counter = (np.uint64(first) + np.arange(len(user), dtype=np.uint64)) * np.uint64(STRIDE)
    rows = np.repeat(np.arange(len(rowptr) - 1), np.diff(rowptr))
    # Sorted, since rows are.
    known = rows * items + col

    def has(users: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(known):
            return np.zeros(len(users), bool)
        pairs = users * items + chosen
        return np.asarray(known[np.minimum(np.searchsorted(known, pairs), len(known) - 1)] == pairs)

    out = candidates(words(key, counter), items, keep, other)
    if not verify:
        return out.astype(np.int32).reshape(len(users), each)
    wrong = np.flatnonzero(has(user, out))
    if not redraw:
        out[wrong] = -1
        return out.astype(np.int32).reshape(len(users), each)
    for attempt in range(1, attempts):
        out[wrong] = candidates(words(key, counter[wrong] + np.uint64(attempt)), items, keep, other)
        wrong = wrong[has(user[wrong], out[wrong])]
    for d in wrong:
        word = words(key, counter[d : d + 1] + np.uint64(attempts))
        out[d] = _exact(word, np.asarray(col[rowptr[user[d]] : rowptr[user[d] + 1]]), items, weight)
    return out.astype(np.int32).reshape(len(users), each)


def _exact(word: Words, known: NDArray[np.int32], items: int, weight: NDArray[np.float64] | None) -> Any:
    """Draw once from the distribution on the items a user does not have; -1 if there are none."""
    free = np.setdiff1d(np.arange(items), known, assume_unique=True)
    if weight is None:
        return free[below(word, len(free))[0]] if len(free) else -1
    # Sequential sums, as in the native code.
    sums = np.cumsum(weight[free])
    if not len(free) or not sums[-1] > 0:
        return -1
    target = float(word[0] >> np.uint64(11)) * 2.0**-53 * sums[-1]
    place = int(np.searchsorted(sums, target, side="right"))
    return free[min(place, int(np.flatnonzero(weight[free] > 0)[-1]))]
