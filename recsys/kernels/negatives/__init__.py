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

from graphnoise.checks import Validated, choice, fail, integer, read_only
from graphnoise.resources import native_threads, thread_count
from recsys.kernels import _native
from recsys.kernels.negatives import reference
from recsys.validation import as_array

# Maximum size of the bit table in bytes; above it, rows are searched.
MAX_BITS = 1 << 28
MAX_ATTEMPTS = 30
_COLUMN = np.dtype([("keep", np.uint32), ("other", np.int32)])


@dataclass(frozen=True)
class Known(Validated):
    """Known positives: the rows of a users × items matrix, in the form that the kernels read.

    Attributes:
        rowptr: Row pointers, int64 [users + 1].
        col: Items, sorted in each row, int32.
        num_items: Number of items.
        bits: One bit per pair, uint64 [users, words], or None above `MAX_BITS` bytes.

    Raises:
        InputError: The arrays are not those of sorted rows; they are checked when made by hand, unpickled or copied.
    """

    rowptr: NDArray[np.int64]
    col: NDArray[np.int32]
    num_items: int
    bits: NDArray[np.uint64] | None = field(repr=False)

    def __post_init__(self) -> None:
        items = integer("num_items", self.num_items, 0, np.iinfo(np.int32).max)
        rowptr = read_only("rowptr", self.rowptr, np.int64, (None,))
        col = read_only("col", self.col, np.int32, (None,))
        self.__dict__.update(rowptr=rowptr, col=col)
        if not len(rowptr) or rowptr[0] != 0 or rowptr[-1] != len(col) or (np.diff(rowptr) < 0).any():
            fail("rowptr", f"entries from 0 to {len(col)} that do not decrease", "others")
        row = np.repeat(np.arange(self.num_users), np.diff(rowptr))
        if len(col) and (col.min() < 0 or col.max() >= items or (np.diff(row * items + col) <= 0).any()):
            fail("col", f"items from 0 to {items - 1}, ascending in each row", "others")
        if self.bits is not None and not np.array_equal(self.bits, _bits(rowptr, col, items, 1)):
            fail("bits", "one bit for each pair, or None", "others")

    @classmethod
    def of(cls, matrix: sp.csr_array, num_threads: int = 1) -> Known:
        """Return the entries of a canonical CSR matrix."""
        users, items = matrix.shape
        if max(users, items) > np.iinfo(np.int32).max:
            fail("user_items", f"at most {np.iinfo(np.int32).max} users and items", f"{users} × {items}")
        rowptr = np.ascontiguousarray(matrix.indptr, dtype=np.int64)
        col = np.ascontiguousarray(matrix.indices, dtype=np.int32)
        fits = users * ((items + 63) // 64) * 8 <= MAX_BITS
        return cls.unchecked(rowptr, col, items, _bits(rowptr, col, items, num_threads) if fits else None)

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


def _bits(rowptr: NDArray[np.int64], col: NDArray[np.int32], items: int, num_threads: int) -> NDArray[np.uint64]:
    users, words = len(rowptr) - 1, (items + 63) // 64
    bits = np.zeros((users, words), np.uint64)
    threads = native_threads(num_threads)
    _native.known_bits(threads, rowptr.ctypes.data, col.ctypes.data, users, words, bits.ctypes.data)
    return bits


@dataclass(frozen=True)
class Alias(Validated):
    """An alias table for weighted draws in constant time (Walker 1977, Vose 1991), within 2^-32 of each weight.

    Attributes:
        columns: Threshold (of 2^32) and alias of each column.
        weight: The weights, float64 [items].
    """

    def __post_init__(self) -> None:
        weight = read_only("weight", self.weight, np.float64, (None,))
        columns = read_only("columns", self.columns, _COLUMN, weight.shape)
        if not np.array_equal(Alias.of(weight).columns, columns):
            fail("columns", "those of Alias.of(weight)", "others")
        self.__dict__.update(weight=weight, columns=columns)

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
        return cls.unchecked(columns, w)


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
    user = indices("users", users, known.num_users, "users")
    integer("k", each, 1, 1 << 30)
    integer("attempts", attempts, 1, MAX_ATTEMPTS)
    integer("key", key, 0, 2**64 - 1)
    integer("first", first, 0, 2**63 - 1)
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
        native_threads(thread_count(num_threads)), *known.address, known.num_items, columns, weight, key, first,
        user.ctypes.data, len(user), each, attempts, verify, redraw, out.ctypes.data,
    )  # fmt: skip
    return out


def indices(name: str, value: Any, bound: int, noun: str) -> NDArray[np.int32]:
    """Return a list of indices below `bound`, int32.

    Raises:
        InputError: Not a list of integers, or one out of range.
    """
    array = as_array(name, value)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        fail(name, f"a list of {noun}", f"shape {array.shape}, type {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= bound):
        fail(name, f"{noun} from 0 to {bound - 1}", f"values from {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def streams(rng: np.random.Generator, count: int = 1) -> Sequence[int]:
    """Return keys of new streams, 64 random bits each."""
    return [int(k) for k in rng.integers(0, 2**64, size=count, dtype=np.uint64)]
