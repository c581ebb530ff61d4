"""The `Interactions` container: a users × items matrix of ones with optional ids, ratings, times and dislikes."""

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
from recsys.ids import IdOrPositions, Ids, check_ids, check_same_ids, find
from recsys.mapped import Mapped
from recsys.validation import (
    Array,
    IdsLike,
    Ints,
    check_csr,
    check_shape,
    common_pairs,
    identifiers,
    numbers,
    positions,
    seconds,
    transposed,
)

DUPLICATES = ("error", "first", "last")


@dataclass(frozen=True, eq=False)
class Interactions(Ids, Mapped):
    """The observed positives of implicit feedback, an immutable value.

    Users and items without any interaction are allowed: they keep their row and column. `Interactions(matrix)` checks
    the matrix and brings it into canonical form; the constructors below read other formats. `clicks[users]` has the
    rows of one user or of several, by position or by an id that is text, as `recommend` takes them.

    Attributes:
        matrix: Users × items, `scipy.sparse.csr_array` of float32 ones, columns sorted in each row, no pair twice.
        ratings: float32 [nnz] in the order of `matrix.indices`, or None.
        times: int64 or float64 [nnz] in the same order, in the unit of the source (often seconds), or None.
        users: The id of each row, or None if ids are positions.
        items: The id of each column, or None.
        dislikes: Known negatives, users × items in the form of `matrix`, or None. They are never recommended, all parts
            of a split keep all of them, and `recsys.samplers.Uniform(dislike_share=...)` draws them more often.

    Raises:
        InputError: Not a sparse matrix, a value that is negative or not finite, a pair stored twice, an array of
            another length, or a dislike that is a positive too.

    Example:
        >>> clicks = Interactions.from_triples(["ann", "bob", "ann"], [7, 7, 9], ratings=[5, 1, 3])
        >>> clicks.matrix.toarray().tolist(), clicks.users.tolist(), clicks.items.tolist()
        ([[1.0, 1.0], [1.0, 0.0]], ['ann', 'bob'], [7, 9])
        >>> clicks.at_least(3)
        Interactions(2 users × 2 items, 2 interactions, with ratings)
        >>> clicks["bob"].matrix.toarray().tolist()
        [[1.0, 0.0]]
    """

    matrix: sp.csr_array
    ratings: NDArray[np.float32] | None = None
    times: Array | None = None
    users: Array | None = None
    items: Array | None = None
    dislikes: sp.csr_array | None = None
    # Without it, Python and NumPy would take the rows for a sequence.
    __iter__ = None  # type: ignore[assignment,unused-ignore]

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
        if self.dislikes is not None:
            dislikes = check_csr("dislikes", self.dislikes, shape=matrix.shape)
            check_disjoint([("likes", matrix), ("dislikes", dislikes)])
            object.__setattr__(self, "dislikes", dislikes if dislikes.nnz else None)

    def _changed(self, **values: Any) -> Interactions:
        """Return interactions with other values of some fields, which come from checked ones."""
        interactions = object.__new__(type(self))
        interactions.__dict__.update({**self.__dict__, **values})
        return interactions

    @property
    def num_users(self) -> int:  # type: ignore[override]
        """Rows, those without interactions too."""
        return int(self.matrix.shape[0])

    @property
    def num_items(self) -> int:  # type: ignore[override]
        """Columns, those without interactions too."""
        return int(self.matrix.shape[1])

    @property
    def rows(self) -> Ints:
        """The user position of each interaction, in the order of `matrix.indices`."""
        return np.repeat(np.arange(self.num_users), np.diff(self.matrix.indptr))

    def __len__(self) -> int:
        return int(self.matrix.nnz)

    def __getitem__(self, users: IdOrPositions | slice) -> Interactions:
        """Return the rows of some users, as many as were asked for.

        Raises:
            InputError: An unknown id, a position out of range, or a mix of both.
        """
        every = np.arange(self.num_users)
        rows = every[users] if isinstance(users, slice) else find("users", users, self.num_users, self.users)[2]
        parts = {name: getattr(self, name) for name in ("ratings", "times") if getattr(self, name) is not None}
        indices, indptr = self.matrix.indices, self.matrix.indptr
        # The place of each pair in ratings and times.
        place = (
            sp.csr_array((np.arange(len(self)), indices, indptr), shape=self.matrix.shape)[rows].data if parts else None
        )
        return self._changed(
            matrix=self.matrix[rows],
            users=None if self.users is None else self.users[rows],
            dislikes=None if self.dislikes is None else self.dislikes[rows],
            **{name: value[place] for name, value in parts.items()},
        )

    def weighted(self) -> sp.csr_array:
        """Return users × items with the ratings as values: what `implicit` takes as confidence; ones without ratings.

        Example:
            >>> Interactions.from_csr(sp.csr_array([[0, 2], [1, 0]])).weighted().toarray().tolist()
            [[0.0, 2.0], [1.0, 0.0]]
        """
        if self.ratings is None:
            return self.matrix
        matrix = sp.csr_array((self.ratings, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)
        return check_csr("ratings", matrix, weights=True)

    def __repr__(self) -> str:
        extras = [name for name in ("ratings", "times", "dislikes") if getattr(self, name) is not None]
        shown = (
            f", with {' and '.join([', '.join(extras[:-1]), extras[-1]] if extras[1:] else extras)}" if extras else ""
        )
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
            ratings: [n] finite numbers. A triple whose rating is negative is a dislike, without rating and time; every
                other one is a positive whatever its rating (see `at_least`).
            times: [n] finite numbers, or dates (text in ISO 8601 as well), which become seconds since 1970; those
                without a time zone are UTC.
            duplicates: How to treat repeated pairs: "error", or keep the "first" or "last" triple, by time where
                times are given and by position among equal ones.
            num_users: Number of rows, if `users` are positions.
            num_items: Number of columns, if `items` are positions.

        Raises:
            InputError: Lists of different lengths, missing ids, ratings that are not finite, or repeated pairs.

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
        rating = None if ratings is None else numbers("ratings", ratings, len(row), signed=True)
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
        liked = np.ones(len(selected), bool) if rating is None else rating[selected] >= 0
        disliked = None if liked.all() else _ones(row[selected[~liked]], col[selected[~liked]], shape)
        selected = selected[liked]
        rating, time = (None if values is None else values[selected] for values in (rating, time))
        return cls(_ones(row[selected], col[selected], shape), rating, time, user_ids, item_ids, disliked)

    @classmethod
    def from_csr(
        cls, user_items: InteractionsLike, users: IdsLike | None = None, items: IdsLike | None = None
    ) -> Interactions:
        """Return the stored, non-zero entries of a users × items matrix of any SciPy format.

        Positive values are interactions, and negative ones dislikes. Values other than 1, such as counts, are kept as
        ratings; `recsys.ALS(weights="ratings")` takes them as confidence.

        Raises:
            InputError: Not a sparse matrix, values that are not finite, a pair stored twice, or ids that repeat or are
                of another number.

        Example:
            >>> clicks = Interactions.from_csr(sp.csr_array([[0, 2], [1, -1]]))
            >>> clicks.matrix.toarray().tolist(), clicks.ratings.tolist(), clicks.dislikes.toarray().tolist()
            ([[0.0, 1.0], [1.0, 0.0]], [2.0, 1.0], [[0.0, 0.0], [0.0, 1.0]])
        """
        return _from_csr("user_items", user_items, users, items)

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
        array = hasattr(frame, "shape") and not hasattr(frame, "columns")
        if array or isinstance(frame, str) or not (hasattr(frame, "__getitem__") and isinstance(columns, Iterable)):
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
        return self._changed(matrix=matrix, ratings=ratings, times=times)

    def at_least(self, rating: float, *, dislikes_below: float | None = None) -> Interactions:
        """Return the interactions that are rated `rating` or more.

        Args:
            rating: The lowest rating of a positive.
            dislikes_below: Those rated below this become dislikes, beside the ones that are known; None adds none.

        Raises:
            InputError: There are no ratings, a threshold is not a number, or `dislikes_below` is above `rating`.

        Example:
            >>> stars = Interactions.from_triples([0, 0, 0], [0, 1, 2], ratings=[5, 3, 1])
            >>> likes = stars.at_least(4, dislikes_below=3)
            >>> likes.matrix.toarray().tolist(), likes.dislikes.toarray().tolist()
            ([[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
        """
        if self.ratings is None:
            fail("rating", "interactions with ratings", "none")
        likes = self.subset(self.ratings >= real("rating", rating))
        if dislikes_below is None:
            return likes
        low = self.subset(self.ratings < real("dislikes_below", dislikes_below, high=rating)).matrix
        dislikes = low if self.dislikes is None else low + self.dislikes
        return likes._changed(dislikes=dislikes if dislikes.nnz else None)

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
        users, items = (names[place] for names, place in zip(known, stay, strict=True))
        dislikes = None if self.dislikes is None else self.dislikes[stay[0]][:, stay[1]]
        return Interactions(few.matrix[stay[0]][:, stay[1]], few.ratings, few.times, users, items, dislikes)

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


# `Interactions`, or a users × items matrix of any SciPy format.
InteractionsLike: TypeAlias = Interactions | sp.sparray | sp.spmatrix


def as_interactions(name: str, value: InteractionsLike) -> Interactions:
    """Return `Interactions` as they are, or those of a SciPy matrix.

    Raises:
        InputError: Neither of the two, or as `Interactions.from_csr`.
    """
    return value if isinstance(value, Interactions) else _from_csr(name, value)


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


def check_held_out(
    user_items: sp.csr_array, validation: InteractionsLike, ids: tuple[Array | None, Array | None] = (None, None)
) -> sp.csr_array:
    """Return a validation set as a matrix.

    Args:
        user_items: The training interactions.
        validation: The held-out ones.
        ids: Those of the users and of the items of the training interactions.

    Raises:
        InputError: It has another shape than `user_items`, shares a pair with it, has other ids, or is empty.
    """
    held_out = as_csr("validation", validation, shape=user_items.shape)
    if isinstance(validation, Interactions):
        for side, expected in zip(("users", "items"), ids, strict=True):
            check_ids("validation", getattr(validation, side), expected, f"{side} of user_items")
    check_disjoint([("user_items", user_items), ("validation", held_out)])
    if held_out.nnz == 0:
        fail("validation", "at least one interaction", "none")
    return held_out


def _from_csr(name: str, value: Any, users: Any = None, items: Any = None) -> Interactions:
    """Return interactions of positive values and dislikes of negative ones; values other than 1 are ratings."""
    if isinstance(value, Interactions):
        return Interactions(value.matrix, value.ratings, value.times, users, items, value.dislikes)
    signed = check_csr(name, getattr(value, "matrix", value), weights=True, signed=True)
    negative = signed.data < 0
    dislikes = None
    if negative.any():
        dislikes, signed = signed < 0, signed.maximum(0)
        signed.eliminate_zeros()
    ratings = None if (signed.data == 1).all() else signed.data
    return Interactions(signed, ratings, None, users, items, dislikes)


def _ones(rows: Ints, columns: Ints, shape: tuple[int, int]) -> sp.csr_array:
    """Return CSR with ones at pairs that are sorted by row and column."""
    indptr = np.concatenate([[0], np.bincount(rows, minlength=shape[0]).cumsum()])
    return sp.csr_array((np.ones(len(rows), np.float32), columns, indptr), shape=shape)


def check_disjoint(parts: Iterable[tuple[str, InteractionsLike]]) -> None:
    """Raise `InputError` if two of the named sets of interactions share a pair.

    Args:
        parts: Pairs of a name and interactions; messages name the later one.

    Raises:
        InputError: Two of them share a pair, or their shapes or ids differ.

    Example:
        >>> a, b = sp.csr_array([[1, 0]]), sp.csr_array([[1, 1]])
        >>> check_disjoint([("train", a), ("validation", b)])
        Traceback (most recent call last):
        graphnoise.errors.InputError: validation: expected no pair of train, got 1 of them, the first user 0, item 0
    """
    parts, matrices = list(parts), list[tuple[str, sp.csr_array]]()
    for name, part in parts:
        matrix = as_csr(name, part)
        for other, before in matrices:
            if matrix.shape != before.shape:
                hint = transposed(matrix.shape, before.shape)
                fail(name, f"the shape of {other}, {before.shape}", f"{matrix.shape}{hint}")
            count, first = common_pairs(matrix, before)
            if count:
                user, item = divmod(first, matrix.shape[1])
                fail(name, f"no pair of {other}", f"{count} of them, the first user {user}, item {item}")
        matrices.append((name, matrix))
    check_same_ids(parts)


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
