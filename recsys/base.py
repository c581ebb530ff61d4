"""What every recommender can do, as `implicit` spells it: fit, recommend, similar items and users, save, load."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from graphnoise.checks import DataError, InputError, fail, integer
from graphnoise.io import reading
from graphnoise.resources import thread_count
from recsys.files import read_model, write_model
from recsys.topk import Floats, check_finite, top_k
from recsys.validation import Array, Ints, as_csr, check_memory, positions

# Scores that are held at once, for each thread.
BATCH = 1 << 22
Callback = Callable[..., object]


class Recommender(ABC):
    """A model that scores every item for a user. A subclass supplies `_fit` and `scores`, and all else follows.

    A subclass keeps its hyper-parameters as attributes under the names of its constructor's arguments, and what it has
    learned under the names in `_arrays` (NumPy arrays of numbers, or SciPy CSR matrices). `save` and `load` rest on
    both. `scores` must allow calls from several threads at once. A model counts as fitted when `_fit` has returned; one
    that can score earlier, in a callback or after Ctrl-C, sets `num_users` and `num_items` itself.

    Attributes:
        num_users: Rows of the matrix that was fitted.
        num_items: Its columns.
        num_threads: Of `recommend` and the like; 0 is one a core. Results do not depend on it.
    """

    _arrays: tuple[str, ...] = ()
    num_users: int = 0
    num_items: int = 0
    num_threads: int = 0

    def fit(self, user_items: Any, show_progress: bool = True, callback: Callback | None = None) -> Self:
        """Learn from positives.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix with non-negative values.
            show_progress: Show a progress bar where fitting takes epochs.
            callback: Called after each epoch as `callback(epoch, seconds, ...)`, epochs from 0.

        Raises:
            InputError: No interaction at all, a value that is negative or not finite, a pair stored twice, more users
                and items than memory holds, or a callback that cannot be called.
        """
        if callback is not None and not callable(callback):
            fail("callback", "a function or None", repr(callback))
        matrix = as_csr("user_items", user_items, weights=self._weighted)
        if matrix.nnz == 0:
            fail("user_items", "at least one interaction", f"none, {matrix.shape[0]} users × {matrix.shape[1]} items")
        check_memory(f"{matrix.shape[0]} users × {matrix.shape[1]} items", 16.0 * sum(matrix.shape))
        self._fit(matrix, bool(show_progress), callback)
        self.num_users, self.num_items = (int(size) for size in matrix.shape)
        return self

    # Whether `_fit` gets the values of the matrix; ones otherwise.
    _weighted = False

    @abstractmethod
    def _fit(self, user_items: Any, show_progress: bool, callback: Callback | None) -> None:
        """Learn from a checked CSR matrix of float32 with at least one entry."""

    @abstractmethod
    def scores(self, userids: Ints) -> Floats:
        """Return the scores of all items for some users: float32 [len(userids), num_items], higher is better."""

    def scores_for(self, user_items: Any) -> Floats:
        """Return scores for users known by their interactions alone: rows of a checked CSR matrix.

        Raises:
            InputError: The model needs every user at fit time.
        """
        fail("recalculate_user", f"False, as {type(self).__name__} scores the users of fit only", True)

    def rank(self, userids: Ints, k: int, masked: Any = None) -> tuple[NDArray[np.int32], Floats]:
        """Return the k best items of some users with their scores, as `top_k` does: best first, ties to the lower item.

        `recommend` and `evaluate` call this with batches, from several threads; a subclass may have a faster way.

        Args:
            userids: Positions [b].
            k: How many, at most the number of items.
            masked: CSR [b, num_items] whose stored entries are left out, or None.

        Returns:
            Items [b, k] int32 and scores [b, k] float32; -1 and -inf where a user has no more items.

        Raises:
            InputError: A score is NaN.
        """
        return top_k(self._checked(self.scores(userids), userids), k, masked)

    def _checked(self, scores: Floats, userids: Ints) -> Floats:
        if scores.shape != (len(userids), self.num_items):
            fail(type(self).__name__, f"scores of shape {(len(userids), self.num_items)}", scores.shape)
        check_finite(type(self).__name__, scores, userids)
        return scores

    def recommend(
        self,
        userid: Any,
        user_items: Any = None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        recalculate_user: bool = False,
        items: Any = None,
    ) -> tuple[NDArray[np.int32], Floats]:
        """Return the N best items of one user or of several, best first; ties go to the lower item.

        A user without interactions gets what the model says of such a user (popularity: the popular items; ItemKNN:
        equal scores, so the lowest items). Where fewer than N items are left, items of -1 with score -inf fill up.

        Args:
            userid: The position of a user, or a list of them.
            user_items: CSR with one row for each of these users, `user_items[userid]`: what they have already.
            N: How many, at most the number of items.
            filter_already_liked_items: Leave out the entries of `user_items`.
            filter_items: Items to leave out for all.
            recalculate_user: Score from `user_items` instead of what was learned of the user; not all models can.
            items: Rank these items only (at most that many come back).

        Returns:
            Items (int32) and scores (float32): [N] for one user, [len(userid), N] for a list.

        Raises:
            InputError: The model is not fitted, an unknown user or item, rows that do not match the users, N above the
                number of items, more answers than memory holds, `items` together with `filter_items`, or scores that
                are NaN.

        Example:
            >>> import scipy.sparse as sp
            >>> from recsys.models.baselines import Popularity
            >>> clicks = sp.csr_array([[1, 1, 0], [0, 1, 0]])
            >>> Popularity().fit(clicks).recommend(1, clicks[[1]], N=2)[0].tolist()
            [0, 2]
        """
        self.check_fitted()
        one, users = _places("userid", userid, None if recalculate_user else self.num_users)
        if items is not None and filter_items is not None:
            fail("filter_items", "None together with items", "a list")
        chosen = None if items is None else np.unique(positions("items", items, self.num_items))
        N = integer("N", N, 0, self.num_items)
        width = self.num_items if chosen is None else len(chosen)
        _room(len(users), min(N, width))
        owned = None
        if filter_already_liked_items or recalculate_user:
            if user_items is None:
                fail("user_items", "a row for each user, to leave out its items", None)
            if getattr(user_items, "ndim", 2) == 1 and hasattr(user_items, "reshape"):
                # A row of a SciPy array has one dimension.
                user_items = user_items.reshape(1, -1)
            owned = as_csr("user_items", user_items, weights=self._weighted, shape=(len(users), self.num_items))
        hidden = None if filter_items is None else np.unique(positions("filter_items", filter_items, self.num_items))

        def answer(part: slice) -> tuple[NDArray[np.int32], Floats]:
            rows = None if owned is None else owned[part]
            if not recalculate_user and hidden is None and chosen is None:
                return self.rank(users[part], N, rows if filter_already_liked_items else None)
            scores = self.scores_for(rows) if recalculate_user else self.scores(users[part])
            scores = self._checked(scores, users[part])
            masked = rows if filter_already_liked_items else None
            if hidden is not None and hidden.size:
                scores = scores.copy()
                scores[:, hidden] = -np.inf
            if chosen is not None:
                scores = scores[:, chosen]
                masked = None if masked is None else masked[:, chosen]
            found, best = top_k(scores, min(N, width), masked)
            if chosen is not None:
                found = np.where(found < 0, found, chosen[found].astype(np.int32))
            return found, best

        return _join(batches(answer, len(users), self.num_items, self.num_threads), min(N, width), one)

    def similar_items(
        self, itemid: Any, N: int = 10, filter_items: Any = None, items: Any = None
    ) -> tuple[NDArray[np.int32], Floats]:
        """Return the N items most similar to an item or to each of several, itself among them, with similarities.

        Raises:
            InputError: The model is not fitted, has no similarity of items, an item is unknown, or N is above the
                number of items.
        """
        return self._similar("item", self._item_similarity, self.num_items, itemid, N, filter_items, items)

    def similar_users(
        self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
    ) -> tuple[NDArray[np.int32], Floats]:
        """Return the N users most similar to a user or to each of several, itself among them, with similarities.

        Raises:
            InputError: The model is not fitted, has no similarity of users, a user is unknown, or N is above the
                number of users.
        """
        return self._similar("user", self._user_similarity, self.num_users, userid, N, filter_users, users)

    def _item_similarity(self, itemids: Ints) -> Floats:
        fail("similar_items", "a model with a similarity of items", type(self).__name__)

    def _user_similarity(self, userids: Ints) -> Floats:
        fail("similar_users", "a model with a similarity of users", type(self).__name__)

    def _similar(
        self, what: str, similarity: Callable[[Ints], Floats], size: int, ids: Any, N: int, hidden: Any, chosen: Any
    ) -> tuple[NDArray[np.int32], Floats]:
        self.check_fitted()
        one, asked = _places(f"{what}id", ids, size)
        if hidden is not None and chosen is not None:
            fail(f"filter_{what}s", f"None together with {what}s", "a list")
        N = integer("N", N, 0, size)
        keep = np.arange(size) if chosen is None else np.unique(positions(f"{what}s", chosen, size))
        if hidden is not None:
            keep = np.setdiff1d(keep, positions(f"filter_{what}s", hidden, size))
        _room(len(asked), min(N, len(keep)))

        def answer(part: slice) -> tuple[NDArray[np.int32], Floats]:
            found, best = top_k(similarity(asked[part])[:, keep], min(N, len(keep)))
            return np.where(found < 0, found, keep[found].astype(np.int32)), best

        return _join(batches(answer, len(asked), size, self.num_threads), min(N, len(keep)), one)

    def check_fitted(self) -> None:
        """Raise `InputError` unless `fit` or `load` has been called."""
        if not self.num_items:
            raise InputError(f"{type(self).__name__}: expected a fitted model, got one without fit")

    def _parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters, in JSON's types; what the constructor takes."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Return an unfitted model from what `_parameters` gave."""
        return cls(**parameters)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the fitted model to one `.npz` file without pickles; the old file or the whole new one is there at any
        moment. `.npz` is added to a name without it.

        Raises:
            InputError: The model is not fitted, or a hyper-parameter is not a plain value.
            DataError: The file cannot be written.
        """
        self.check_fitted()
        sizes = {"num_users": self.num_users, "num_items": self.num_items}
        arrays = {name: getattr(self, name) for name in self._arrays}
        write_model(file, type(self).__name__, self._parameters(), sizes, arrays)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Return the model that `save` wrote; `Recommender.load` returns one of any class, this package's or imported.

        Raises:
            DataError: The file is absent, damaged or truncated, holds a model of another class, or one whose
                hyper-parameters or arrays do not fit together.
        """
        if inspect.isabstract(cls):
            package = import_module("recsys")
            for name in package.__all__:
                # So that its classes are known.
                getattr(package, name)
        kinds = {kind.__name__: kind for kind in _family(cls) if not inspect.isabstract(kind)}
        name, parameters, sizes, arrays = read_model(file, {kind: kinds[kind]._arrays for kind in kinds})
        with reading(os.fspath(file)):
            model: Self = kinds[name]._from_parameters(parameters)
            for key, value in {**sizes, **arrays}.items():
                setattr(model, key, value)
            ends = np.array([0, int(model.num_users) - 1][: model.num_users])
            try:
                fits = model.scores(ends).shape == (len(ends), model.num_items)
            # An array is absent.
            except AttributeError as error:
                raise DataError(f"{file}: {error}") from error
            if not fits:
                raise DataError(f"{file}: arrays that do not fit {model.num_users} users × {model.num_items} items")
        return model


def batches(answer: Callable[[slice], Any], size: int, width: int, num_threads: int = 0) -> list[Any]:
    """Return `answer(part)` for consecutive slices of `size` rows, in order, by several threads.

    The slices depend on the width of a row only, so that results do not depend on the number of threads.
    """
    step = max(1, BATCH // max(width, 1))
    parts = [slice(start, min(start + step, size)) for start in range(0, size, step)]
    threads = thread_count(num_threads)
    if len(parts) < 2:
        return [answer(part) for part in parts]
    # Our threads share the work.
    with threadpool_limits(1, "blas"):
        if threads == 1:
            return [answer(part) for part in parts]
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            return list(pool.map(answer, parts))


def _family(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(child for direct in kind.__subclasses__() for child in _family(direct))]


def _places(name: str, value: Any, size: int | None) -> tuple[bool, Ints]:
    """Return whether one place was given, and the places as a list."""
    given: Array = np.asarray(value)
    limit = np.iinfo(np.int64).max if size is None else size
    return given.ndim == 0, positions(name, np.atleast_1d(given), int(limit))


def _room(rows: int, width: int) -> None:
    # In parts, and joined.
    check_memory(f"answers of {rows} × {width}", 16.0 * rows * width)


def _join(parts: list[Any], width: int, one: bool) -> tuple[NDArray[np.int32], Floats]:
    ids = np.concatenate([np.zeros((0, width), np.int32), *(part[0] for part in parts)])
    best = np.concatenate([np.zeros((0, width), np.float32), *(part[1] for part in parts)])
    return (ids[0], best[0]) if one else (ids, best)
