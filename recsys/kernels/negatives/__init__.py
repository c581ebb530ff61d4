"""Counter-based negative sampling: the same draws at any number of threads, verified against known positives.

Draw d of a call uses the words 32 d, 32 d + 1, … of the stream `key`: one per attempt, and one for the exact draw from
the items that the user does not have, which follows if all attempts hit known items. A verified draw thus always has
the distribution q_j / sum of q over the unknown items, and takes bounded time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, integer
from graphnoise.resources import thread_count
from recsys.kernels import _native
from recsys.kernels.negatives import reference

# Maximum size of the bit table in bytes; above it, rows are searched.
MAX_BITS = 1 << 28
MAX_ATTEMPTS = 30
_COLUMN = np.dtype([("keep", np.uint32), ("other", np.int32)])


@dataclass(frozen=True)
class Known:
    """Known positives: the rows of a users × items matrix, in the form that the kernels read.

    Attributes:
        rowptr: Row pointers, int64 [users + 1].
        col: Items, sorted in each row, int32.
        num_items: Number of items.
        bits: One bit per pair, uint64 [users, words], or None above `MAX_BITS` bytes.
    """

    rowptr: NDArray[np.int64]
    col: NDArray[np.int32]
    num_items: int
    bits: NDArray[np.uint64] | None = field(repr=False)

    @classmethod
    def of(cls, matrix: sp.csr_array, num_threads: int = 1) -> Known:
        """Return the entries of a canonical CSR matrix."""
        users, items = matrix.shape
        if max(users, items) > np.iinfo(np.int32).max:
            fail("user_items", f"at most {np.iinfo(np.int32).max} users and items", f"{users} × {items}")
        rowptr = np.ascontiguousarray(matrix.indptr, dtype=np.int64)
        col = np.ascontiguousarray(matrix.indices, dtype=np.int32)
        words = (items + 63) // 64
        if users * words * 8 > MAX_BITS:
            return cls(rowptr, col, items, None)
        bits = np.zeros((users, words), np.uint64)
        _native.known_bits(num_threads, rowptr.ctypes.data, col.ctypes.data, users, words, bits.ctypes.data)
        return cls(rowptr, col, items, bits)

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.rowptr) - 1

    @property
    def address(self) -> tuple[int, int, int, int]:
        """Arguments of the native functions: addresses of rowptr, col and bits, words per row."""
        bits, words = (0, 0) if self.bits is None else (self.bits.ctypes.data, self.bits.shape[1])
        return self.rowptr.ctypes.data, self.col.ctypes.data, bits, words

    def has(self, users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which items [B, k] (of at least 0) are known of their users [B]."""
        if self.bits is not None:
            word = self.bits[users[:, None], items >> 6]
            known: NDArray[np.bool_] = ((word >> (items & 63).astype(np.uint64)) & np.uint64(1)).astype(bool)
            return known
        if not len(self.col):
            return np.zeros(items.shape, bool)
        low, end = (np.broadcast_to(self.rowptr[users + k][:, None], items.shape) for k in (0, 1))
        high, last = end, len(self.col) - 1
        # Binary search in all rows at once.
        for _ in range(int((end - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            below = self.col[np.minimum(middle, last)] < items
            low, high = np.where(below & (middle < high), middle + 1, low), np.where(below, high, middle)
        return np.asarray((low < end) & (self.col[np.minimum(low, last)] == items))

    def full(self, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return the users who have every item (among the allowed ones, if there is a mask)."""
        counts = np.diff(self.rowptr)
        if allowed is None:
            return np.flatnonzero(counts >= self.num_items)
        rows = np.repeat(np.arange(self.num_users), counts)
        counts = np.bincount(rows[allowed[self.col]], minlength=self.num_users)
        return np.flatnonzero(counts >= int(allowed.sum()))


@dataclass(frozen=True)
class Alias:
    """An alias table for weighted draws in constant time (Walker 1977, Vose 1991), within 2^-32 of each weight.

    Attributes:
        columns: Threshold (of 2^32) and alias of each column.
        weight: The weights, float64 [items].
    """

    columns: NDArray[np.void]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, weight: Any) -> Alias:
        """Return the table of these weights.

        Raises:
            InputError: Weights that are negative, not finite, or all 0.

        Example:
            >>> Alias.of([1.0, 3.0]).columns.tolist()
            [(2147483648, 1), (4294967295, 1)]
        """
        w = np.ascontiguousarray(weight, dtype=np.float64)
        if w.ndim != 1 or not len(w) or not np.isfinite(w).all() or w.min() < 0 or not 0 < w.sum() < np.inf:
            fail("weight", "finite weights of at least 0, not all 0", f"{w.tolist() if w.size < 8 else w}")
        columns = np.empty(len(w), _COLUMN)
        _native.alias_table(w.ctypes.data, len(w), columns.ctypes.data)
        return cls(columns, w)


def draw(
    known: Known,
    users: Any,
    each: int,
    key: int,
    *,
    first: int = 0,
    table: Alias | None = None,
    attempts: int = 16,
    verify: bool = True,
    redraw: bool = True,
    num_threads: int = 1,
    backend: str = "native",
) -> NDArray[np.int32]:
    r"""Return negatives, int32 [len(users), each]: j ~ q_j, verified against known positives.

    Args:
        known: Pairs that must not be drawn, from `Known.of`.
        users: Users, int [B].
        each: Negatives per user.
        key: The stream, from 0 to 2^64 - 1.
        first: Number of the first draw of this call, so that calls on parts give the draws of the whole.
        table: q as an alias table; None is uniform.
        attempts: Draws from q before the exact draw, from 1 to 30.
        verify: Whether known items are rejected; the distribution is then q_j / (1 - q(known)) on the others.
        redraw: False gives -1 where the first draw is a known item, as in `implicit`.
        num_threads: Threads; the draws do not depend on it.
        backend: "native", or "reference", the same draws in NumPy.

    Returns:
        Items; -1 for a user who has every item (of positive weight).

    Raises:
        InputError: A user, a number or a backend out of range.

    Example:
        >>> known = Known.of(sp.csr_array([[0, 1, 1], [1, 1, 1]]))
        >>> draw(known, [0, 1], 2, key=7).tolist()
        [[0, 0], [-1, -1]]

    Source: Rendle et al., UAI 2009 (uniform); Walker, ACM TOMS 3, 1977, and Vose, IEEE TSE 17, 1991 (by weight).
    """
    user = np.ascontiguousarray(users, dtype=np.int32)
    if user.ndim != 1:
        fail("users", "a list of users", f"shape {user.shape}")
    if len(user) and (user.min() < 0 or user.max() >= known.num_users):
        fail("users", f"users from 0 to {known.num_users - 1}", f"values from {user.min()} to {user.max()}")
    integer("k", each, 1, 1 << 30)
    integer("attempts", attempts, 1, MAX_ATTEMPTS)
    if table is not None and len(table.weight) != known.num_items:
        fail("table", f"weights of {known.num_items} items", len(table.weight))
    if known.num_items == 0:
        return np.full((len(user), each), -1, np.int32)
    if choice("backend", backend, ("native", "reference")) == "reference":
        parts = None if table is None else (table.columns["keep"], table.columns["other"], table.weight)
        return reference.draw(
            known.rowptr, known.col, known.num_items, user, each, key,
            first=first, table=parts, attempts=attempts, verify=verify, redraw=redraw,
        )  # fmt: skip
    out = np.empty((len(user), each), np.int32)
    columns, weight = (0, 0) if table is None else (table.columns.ctypes.data, table.weight.ctypes.data)
    _native.draw_negatives(
        thread_count(num_threads), *known.address, known.num_items, columns, weight, key, first,
        user.ctypes.data, len(user), each, attempts, verify, redraw, out.ctypes.data,
    )  # fmt: skip
    return out


def streams(rng: np.random.Generator, count: int = 1) -> Sequence[int]:
    """Return keys of new streams, 64 random bits each."""
    return [int(k) for k in rng.integers(0, 2**64, size=count, dtype=np.uint64)]
