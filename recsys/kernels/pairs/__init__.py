"""Scores of pairs, row sums of a gradient step, and Adam on some rows, bit-identical at any number of threads.

Each sum belongs to one row and is computed in the order of its entries, without atomics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import Validated, fail, read_only
from graphnoise.resources import native_threads
from recsys.kernels import _native

# Calls with fewer products are faster on one thread.
MIN_PARALLEL = 1 << 20
# Float32 or float64, C-contiguous.
Floats = NDArray[Any]
Ints = NDArray[np.int32]


def scores(
    left: Floats, right: Floats, users: Ints, items: Ints, *, bias: Floats | None = None, num_threads: int = 1
) -> Floats:
    """Return <left[users[b]], right[items[b, t]]> + bias[items[b, t]], shape [B, t]; 0 for an item below 0.

    Raises:
        InputError: Rows that the tables do not have, or shapes that do not fit: a caller's sampler may ask for them.

    Example:
        >>> U, V = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [3.0, 1.0]])
        >>> scores(U, V, np.array([0], np.int32), np.array([[0, 1, -1]], np.int32)).tolist()
        [[1.0, 5.0, 0.0]]
    """
    if users.ndim != 1 or items.ndim != 2 or len(users) != len(items):
        fail("items", "users of shape [B] and items of shape [B, n]", f"shapes {users.shape} and {items.shape}")
    for name, index, table in (("users", users, left), ("items", items, right)):
        if index.size and (index.max() >= len(table) or (name == "users" and index.min() < 0)):
            fail(name, f"positions below {len(table)}", f"values from {index.min()} to {index.max()}")
    out = np.empty(items.shape, left.dtype)
    call = _native.pair_scores_float64 if left.dtype == np.float64 else _native.pair_scores_float32
    each, threads = items.shape[1], native_threads(num_threads) if items.size * left.shape[1] >= MIN_PARALLEL else 1
    call(
        threads, left.ctypes.data, right.ctypes.data, left.shape[1], 0 if bias is None else bias.ctypes.data,
        users.ctypes.data, items.ctypes.data, len(items), each, out.ctypes.data,
    )  # fmt: skip
    return out


@dataclass(frozen=True)
class Groups(Validated):
    """Entries grouped by row: those of `rows[g]` are `order[start[g] : start[g + 1]]`, in their original order."""

    rows: Ints
    start: NDArray[np.int64]
    order: Ints

    def __post_init__(self) -> None:
        rows = read_only("rows", self.rows, np.int32, (None,))
        start = read_only("start", self.start, np.int64, (len(rows) + 1,))
        order = read_only("order", self.order, np.int32, (None,))
        if start[0] != 0 or start[-1] != len(order) or (np.diff(start) < 0).any():
            fail("start", f"entries from 0 to {len(order)} that do not decrease", "others")
        if not np.array_equal(np.sort(order), np.arange(len(order))):
            fail("order", "each entry once", "others")
        self.__dict__.update(rows=rows, start=start, order=order)

    @classmethod
    def of(cls, ids: Ints, bound: int) -> Groups:
        """Group entries by their ids, which are below `bound`.

        Example:
            >>> groups = Groups.of(np.array([2, 0, 2], np.int32), 3)
            >>> groups.rows.tolist(), groups.start.tolist(), groups.order.tolist()
            ([0, 2], [0, 1, 3], [1, 0, 2])
        """
        rows, order = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
        start = np.empty(len(ids) + 1, np.int64)
        count = _native.group(
            ids.ctypes.data, len(ids), max(bound, 1), rows.ctypes.data, start.ctypes.data, order.ctypes.data
        )
        return cls.unchecked(rows[:count], start[: count + 1], order)

    def sums(self, weight: Floats, other: Ints, table: Floats, num_threads: int = 1) -> Floats:
        """Return the sum of weight[e] table[other[e]] over the entries of each row, shape [rows, width]."""
        out = np.empty((len(self.rows), table.shape[1]), table.dtype)
        call = _native.grouped_sums_float64 if table.dtype == np.float64 else _native.grouped_sums_float32
        threads = native_threads(num_threads) if len(self.order) * table.shape[1] >= MIN_PARALLEL else 1
        call(
            threads, len(self.rows), self.start.ctypes.data, self.order.ctypes.data, other.ctypes.data,
            weight.ctypes.data, table.ctypes.data, table.shape[1], out.ctypes.data,
        )  # fmt: skip
        return out

    def totals(self, weight: Floats) -> Floats:
        """Return the sum of weight[e] over the entries of each row."""
        if not len(self.rows):
            return np.zeros(0, weight.dtype)
        totals: Floats = np.add.reduceat(weight[self.order], self.start[:-1])
        return totals

    def counts(self, weight: Floats | None = None) -> Any:
        """Return the number of entries per row, without those of weight 0 if there are weights."""
        if weight is None:
            return np.diff(self.start)
        return self.totals((weight != 0).astype(weight.dtype))


def adam_rows(
    table: Floats,
    moments: tuple[Floats, Floats],
    rows: Ints,
    gradient: Floats,
    counts: Floats,
    *,
    rate: float,
    l2: float,
    step: int,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Change some rows of a table, and of its moments, by step number `step` of Adam along a gradient.

    Args:
        table: Shape [n, K], or [n].
        moments: Means of gradients and of their squares, each of the shape of the table.
        rows: Positions of the rows, each once.
        gradient: Their gradients, to go along, without L2; shape [rows, K], or [rows].
        counts: Draws that touch each row: L2 counts once for each.
        rate: Learning rate.
        l2: L2 penalty.
        step: Number of the step, from 1.
        beta1: Weight of the old mean.
        beta2: Weight of the old mean of squares.
        eps: Added to the divisor.

    Example:
        >>> table, moments = np.zeros(3), (np.zeros(3), np.zeros(3))
        >>> gradient, counts = np.array([2.0]), np.ones(1)
        >>> adam_rows(
        ...     table, moments, np.array([1], np.int32), gradient, counts,
        ...     rate=0.1, l2=0.0, step=1, beta1=0.9, beta2=0.999, eps=0.0,
        ... )
        >>> table.round(6).tolist()
        [0.0, 0.1, 0.0]

    Source: Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.
    """
    call = _native.adam_float64 if table.dtype == np.float64 else _native.adam_float32
    width = table.shape[1] if table.ndim == 2 else 1
    values, mean, square = (array.ctypes.data for array in (table, *moments))
    scale, correction = rate / (1 - beta1**step), 1 - beta2**step
    call(
        len(rows), rows.ctypes.data, gradient.ctypes.data, counts.ctypes.data, width, values, mean,
        square, l2, beta1, beta2, scale, correction, eps,
    )  # fmt: skip
