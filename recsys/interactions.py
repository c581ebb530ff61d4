"""The `Interactions` container: a users × items matrix of ones with optional ids, ratings and times."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, integer, real
from graphnoise.resources import check_memory
from recsys.validation import (
    Array,
    IdsLike,
    Ints,
    check_csr,
    check_shape,
    identifiers,
    numbers,
    pair_keys,
    positions,
    seconds,
    transposed,
)

DUPLICATES = ("error", "first", "last")


@dataclass(frozen=True, eq=False)
class Interactions:
    """The observed positives of implicit feedback, an immutable value.

    Users and items without any interaction are allowed: they keep their row and column. `Interactions(matrix)` checks
    the matrix and brings it into canonical form; the constructors below read other formats.

    Attributes:
        matrix: Users × items, `scipy.sparse.csr_array` of float32 ones, columns sorted in each row, no pair twice.
        ratings: float32 [nnz] in the order of `matrix.indices`, or None.
        times: int64 or float64 [nnz] in the same order, in the unit of the source (often seconds), or None.
        users: The id of each row, or None if ids are positions.
        items: The id of each column, or None.

    Raises:
        InputError: Not a sparse matrix, a value that is negative or not finite, a pair stored twice, or an array of
            another length.

    Example:
        >>> clicks = Interactions.from_triples(["ann", "bob", "ann"], [7, 7, 9], ratings=[5, 1, 3])
        >>> clicks.matrix.toarray().tolist(), clicks.users.tolist(), clicks.items.tolist()
        ([[1.0, 1.0], [1.0, 0.0]], ['ann', 'bob'], [7, 9])
        >>> clicks.at_least(3)
        Interactions(2 users × 2 items, 2 interactions, with ratings)
    """

    matrix: sp.csr_array
    ratings: NDArray[np.float32] | None = None
    times: Array | None = None
    users: Array | None = None
    items: Array | None = None

    def __post_init__(self) -> None:
        source: Any = getattr(self.matrix, "matrix", self.matrix)
        matrix = check_csr("matrix", source)
        aligned = matrix.nnz == source.nnz and source.format == "csr" and source.has_sorted_indices
        for name in ("ratings", "times"):
            value = getattr(self, name)
            if value is not None:
                if not aligned:
                    fail("matrix", f"sorted CSR without stored zeros, since {name} follow its order", source.format)
                object.__setattr__(self, name, numbers(name, value, matrix.nnz, signed=name == "times"))
        if self.ratings is not None:
            with np.errstate(over="ignore"):
                ratings = self.ratings.astype(np.float32, copy=False)
            if not np.isfinite(ratings).all():
                fail("ratings", "numbers that float32 holds", self.ratings.max())
            object.__setattr__(self, "ratings", ratings)
        ids = {
            name: identifiers(name, value) for name in ("users", "items") if (value := getattr(self, name)) is not None
        }
        hint = transposed(matrix.shape, (len(ids["users"]), len(ids["items"]))) if len(ids) == 2 else ""
        for name, size in zip(("users", "items"), matrix.shape, strict=True):
            if name in ids:
                object.__setattr__(self, name, _distinct(name, ids[name], size, hint))
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def _from_checked(
        cls,
        matrix: sp.csr_array,
        ratings: NDArray[np.float32] | None,
        times: Array | None,
        users: Array | None,
        items: Array | None,
    ) -> Interactions:
        """Return interactions of parts that come from checked ones."""
        interactions = object.__new__(cls)
        values = {"matrix": matrix, "ratings": ratings, "times": times, "users": users, "items": items}
        for name, value in values.items():
            object.__setattr__(interactions, name, value)
        return interactions

    @property
    def num_users(self) -> int:
        """Rows, those without interactions too."""
        return int(self.matrix.shape[0])

    @property
    def num_items(self) -> int:
        """Columns, those without interactions too."""
        return int(self.matrix.shape[1])

    @property
    def rows(self) -> Ints:
        """The user position of each interaction, in the order of `matrix.indices`."""
        return np.repeat(np.arange(self.num_users), np.diff(self.matrix.indptr))

    def __len__(self) -> int:
        return int(self.matrix.nnz)

    def __repr__(self) -> str:
        extras = [name for name in ("ratings", "times") if getattr(self, name) is not None]
        shown = f", with {' and '.join(extras)}" if extras else ""
        return f"Interactions({self.num_users} users × {self.num_items} items, {len(self)} interactions{shown})"

    @classmethod
    def from_triples(
        cls,
        users: IdsLike,
        items: IdsLike,
        ratings: Sequence[float] | NDArray[Any] | None = None,
        times: Sequence[float] | NDArray[Any] | None = None,
        *,
        duplicates: str = "error",
        num_users: int | None = None,
        num_items: int | None = None,
    ) -> Interactions:
        """Return the interactions of parallel lists: a user and an item each, optionally a rating and a time.

        Ids are integers or text. Their positions follow the sorted order, and they are stored in `users` and `items`.
        With `num_users` (`num_items`) the values are positions already, from 0 to that number less one.

        Args:
            users: [n] ids or positions.
            items: [n] ids or positions.
            ratings: [n] finite numbers of at least 0; every triple is a positive whatever its rating (see `at_least`).
            times: [n] finite numbers, or dates (text in ISO 8601 as well), which become seconds since 1970; those
                without a time zone are UTC.
            duplicates: How to treat repeated pairs: "error", or keep the "first" or "last" triple, by time where
                times are given and by position among equal ones.
            num_users: Number of rows, if `users` are positions.
            num_items: Number of columns, if `items` are positions.

        Raises:
            InputError: Lists of different lengths, missing ids, ratings that are negative or not finite, or repeated
                pairs.

        Example:
            >>> Interactions.from_triples([0, 0, 1], [2, 2, 0], duplicates="last", num_users=2, num_items=3)
            Interactions(2 users × 3 items, 2 interactions)
        """
        choice("duplicates", duplicates, DUPLICATES)
        row, user_ids = _encode("users", users, num_users)
        col, item_ids = _encode("items", items, num_items)
        if len(row) != len(col):
            fail("items", f"{len(row)} entries, as many as users", len(col))
        shape = (
            len(user_ids) if user_ids is not None else int(num_users or 0),
            len(item_ids) if item_ids is not None else int(num_items or 0),
        )
        # This also keeps the product of both sizes below 2^63.
        check_memory(f"{shape[0]} users × {shape[1]} items", 16.0 * sum(shape))
        rating = None if ratings is None else numbers("ratings", ratings, len(row))
        time = None if times is None else numbers("times", seconds("times", times), len(row), signed=True)
        key = row * max(shape[1], 1) + col
        order = np.lexsort((time, key)) if time is not None else np.argsort(key, kind="stable")
        ordered = key[order]
        repeats = ordered[1:] == ordered[:-1]
        if repeats.any() and duplicates == "error":
            u, i = (int(x[order[1:][repeats][0]]) for x in (row, col))
            pair = (u if user_ids is None else user_ids[u], i if item_ids is None else item_ids[i])
            expected = "every pair of user and item once (or duplicates='first' or 'last')"
            fail("users, items", expected, f"{int(repeats.sum())} repeated, the first of them {pair[0]}, {pair[1]}")
        true = np.ones(min(1, len(key)), dtype=bool)
        selected = order[np.concatenate([~repeats, true] if duplicates == "last" else [true, ~repeats])]
        indptr = np.concatenate([[0], np.bincount(row[selected], minlength=shape[0]).cumsum()])
        matrix = sp.csr_array((np.ones(len(selected), np.float32), col[selected], indptr), shape=shape)
        rating, time = (None if values is None else values[selected] for values in (rating, time))
        return cls(matrix, rating, time, user_ids, item_ids)

    @classmethod
    def from_csr(
        cls, user_items: InteractionsLike, users: IdsLike | None = None, items: IdsLike | None = None
    ) -> Interactions:
        """Return the stored, non-zero entries of a users × items matrix of any SciPy format; values are dropped.

        Raises:
            InputError: Not a sparse matrix, values that are negative or not finite, a pair stored twice, or ids that
                repeat or are of another number.

        Example:
            >>> Interactions.from_csr(sp.csr_array([[0, 2], [1, 0]])).matrix.toarray().tolist()
            [[0.0, 1.0], [1.0, 0.0]]
        """
        ids: dict[str, Any] = {"users": users, "items": items}
        return cls(as_csr("user_items", user_items), **ids)

    @classmethod
    def from_frame(
        cls, frame: Any, user: str, item: str, rating: str | None = None, time: str | None = None, **options: Any
    ) -> Interactions:
        """Return the rows of a table with named columns (pandas, Polars, a dict of lists) as `from_triples` reads them.

        Args:
            frame: Anything with `frame[column]` and `column in frame.columns`, or a mapping.
            user: Column of the user ids.
            item: Column of the item ids.
            rating: Column of the ratings.
            time: Column of the times, numbers or dates.
            **options: `duplicates`, `num_users`, `num_items`.

        Raises:
            InputError: A column is absent; or as `from_triples`.

        Example:
            >>> Interactions.from_frame({"who": [1, 2], "what": ["a", "b"]}, user="who", item="what")
            Interactions(2 users × 2 items, 2 interactions)
        """
        columns = getattr(frame, "columns", frame)
        if not hasattr(frame, "__getitem__") or not isinstance(columns, Iterable) or isinstance(frame, str):
            fail("frame", "a table with named columns", type(frame).__name__)
        known = [str(column) for column in columns]
        columns_read: list[Any] = []
        for name, column in (("user", user), ("item", item), ("rating", rating), ("time", time)):
            if column is not None:
                choice(name, column, known)
                if known.count(column) > 1:
                    fail(name, "a column whose name no other one has", repr(column))
            columns_read.append(None if column is None else frame[column])
        return cls.from_triples(*columns_read, **options)

    def subset(self, keep: NDArray[np.bool_]) -> Interactions:
        """Return the interactions where the Boolean mask `keep` [nnz] is true; users and items stay all.

        Raises:
            InputError: Not a Boolean array with one entry per interaction.

        Example:
            >>> clicks = Interactions.from_csr(sp.csr_array([[1, 1], [1, 0]]))
            >>> clicks.subset(clicks.matrix.indices == 0).matrix.toarray().tolist()
            [[1.0, 0.0], [1.0, 0.0]]
        """
        mask = np.asarray(keep)
        if mask.dtype != bool or mask.shape != (len(self),):
            fail("keep", f"a Boolean array [{len(self)}]", f"{mask.dtype} {list(mask.shape)}")
        indptr = np.concatenate([[0], mask.cumsum()])[self.matrix.indptr]
        matrix = sp.csr_array((self.matrix.data[mask], self.matrix.indices[mask], indptr), shape=self.matrix.shape)
        ratings = None if self.ratings is None else self.ratings[mask]
        times = None if self.times is None else self.times[mask]
        return Interactions._from_checked(matrix, ratings, times, self.users, self.items)

    def at_least(self, rating: float) -> Interactions:
        """Return the interactions that are rated `rating` or more.

        Raises:
            InputError: There are no ratings, or the threshold is not a number.
        """
        if self.ratings is None:
            fail("rating", "interactions with ratings", "none")
        return self.subset(self.ratings >= real("rating", rating))

    def core(self, k: int) -> Interactions:
        """Return the k-core: users and items with fewer than k interactions are removed repeatedly; ids stay.

        Raises:
            InputError: k is not an integer of at least 1, or nothing would be left.

        Example:
            >>> clicks = Interactions.from_csr(sp.csr_array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]))
            >>> clicks.core(2)
            Interactions(2 users × 2 items, 4 interactions)
        """
        keep = self._in_core(integer("k", k, 1))
        if len(self) and not keep.any():
            largest = (
                bisect.bisect(range(2, min(k, len(self) + 1)), False, key=lambda size: not self._in_core(size).any())
                + 1
            )
            fail("k", f"at most {largest}, above which no interaction is left", k)
        few = self.subset(keep)
        stay = [np.unique(places[keep]) for places in (self.rows, self.matrix.indices)]
        known = [
            np.arange(size) if ids is None else ids
            for ids, size in zip((self.users, self.items), self.matrix.shape, strict=True)
        ]
        ids = [names[place] for names, place in zip(known, stay, strict=True)]
        return Interactions(few.matrix[stay[0]][:, stay[1]], few.ratings, few.times, *ids)

    def _in_core(self, k: int) -> NDArray[np.bool_]:
        """Return which interactions are in the k-core."""
        row, col = self.rows, self.matrix.indices
        keep = np.ones(len(self), dtype=bool)
        while True:
            counts = (np.bincount(places[keep], minlength=1 + places.max(initial=0))[places] for places in (row, col))
            still = keep & np.all([count >= k for count in counts], axis=0)
            if still.sum() == keep.sum():
                return keep
            keep = still

    def user_positions(self, ids: IdsLike) -> Ints:
        """Return the rows of some user ids.

        Raises:
            InputError: An id is unknown.
        """
        return positions("users", ids, self.num_users, self.users)

    def item_positions(self, ids: IdsLike) -> Ints:
        """Return the columns of some item ids.

        Raises:
            InputError: An id is unknown.

        Example:
            >>> Interactions.from_triples([1, 1], ["a", "b"]).item_positions(["b", "a"]).tolist()
            [1, 0]
        """
        return positions("items", ids, self.num_items, self.items)


# `Interactions`, or a users × items matrix of any SciPy format.
InteractionsLike: TypeAlias = Interactions | sp.sparray | sp.spmatrix


def as_interactions(name: str, value: InteractionsLike) -> Interactions:
    """Return `Interactions` as they are, or those of a SciPy matrix.

    Raises:
        InputError: Neither of the two, or as `Interactions.from_csr`.
    """
    return value if isinstance(value, Interactions) else Interactions(as_csr(name, value))


def as_csr(
    name: str,
    user_items: InteractionsLike,
    *,
    weights: bool = False,
    shape: tuple[int | None, int | None] = (None, None),
) -> sp.csr_array:
    """Return a users × items `csr_array` of float32: the matrix of `Interactions`, or `check_csr` of a SciPy matrix.

    Raises:
        InputError: As `recsys.validation.check_csr`.
    """
    if isinstance(user_items, Interactions):
        check_shape(name, user_items.matrix, shape)
        return user_items.matrix
    return check_csr(name, getattr(user_items, "matrix", user_items), weights=weights, shape=shape)


def check_disjoint(parts: Iterable[tuple[str, InteractionsLike]]) -> None:
    """Raise `InputError` if two of the named sets of interactions share a pair.

    Args:
        parts: Pairs of a name and interactions; messages name the later one.

    Raises:
        InputError: Two of them share a pair, or their shapes differ.

    Example:
        >>> a, b = sp.csr_array([[1, 0]]), sp.csr_array([[1, 1]])
        >>> check_disjoint([("train", a), ("validation", b)])
        Traceback (most recent call last):
        graphnoise.errors.InputError: validation: expected no pair of train, got 1 of them, the first user 0, item 0
    """
    seen: list[tuple[str, Any, Ints]] = []
    for name, part in parts:
        matrix = as_csr(name, part)
        keys = pair_keys(matrix)
        for other, shape, other_keys in seen:
            if matrix.shape != shape:
                fail(name, f"the shape of {other}, {shape}", f"{matrix.shape}{transposed(matrix.shape, shape)}")
            common = np.intersect1d(other_keys, keys, assume_unique=True)
            if common.size:
                user, item = divmod(int(common[0]), shape[1])
                fail(name, f"no pair of {other}", f"{common.size} of them, the first user {user}, item {item}")
        seen.append((name, matrix.shape, keys))


def _encode(name: str, value: Any, size: int | None) -> tuple[Ints, Array | None]:
    """Return positions, and the ids behind them unless they were positions already."""
    if size is not None:
        return positions(name, value, integer(f"num_{name}", size, 0)), None
    ids, places = np.unique(identifiers(name, value), return_inverse=True)
    return places.astype(np.int64, copy=False), ids


def _distinct(name: str, ids: Array, size: int, hint: str) -> Array:
    if len(ids) != size:
        fail(name, f"{size} ids", f"{len(ids)}{hint}")
    if len(np.unique(ids)) != size:
        fail(name, "ids that differ", f"{size - len(np.unique(ids))} that repeat")
    return ids
