"""Base class of recommenders with the interface of `implicit`: fit, recommend, similar items and users, save, load."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Self, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from threadpoolctl import threadpool_limits

from graphnoise.checks import DataError, choice, fail, flag, integer, unfitted
from graphnoise.io import reading
from graphnoise.resources import check_memory, thread_count
from recsys.files import read_model, write_model
from recsys.interactions import InteractionsLike, as_csr
from recsys.topk import Floats, check_finite, top_k
from recsys.validation import Array, Ints, PositionsLike, as_array, positions

# Scores that each thread holds at a time.
BATCH = 1 << 22
Callback = Callable[..., object]
T = TypeVar("T")
# Items [rows, k] int32 and scores [rows, k] float32.
Ranking = tuple[NDArray[np.int32], Floats]


class Recommender(BaseEstimator, ABC):  # type: ignore[misc]
    """A model that scores every item for a user; a subclass implements `_fit` and `scores`.

    Models are estimators of scikit-learn (`get_params`, `set_params`, `sklearn.base.clone`). A subclass stores its
    hyper-parameters as attributes named as its constructor's arguments, and what it has learned under the names in
    `_arrays` (NumPy arrays of numbers, or SciPy CSR matrices); `save` and `load` rely on both.
    `scores` must be thread-safe. A model is fitted once `_fit` has returned; one that can score earlier, in a callback
    or after Ctrl-C, sets `num_users` and `num_items` itself.

    Attributes:
        num_users: Number of users of the fitted matrix.
        num_items: Number of items of the fitted matrix.
        num_threads: Threads of `recommend` and similar methods; 0 is one per core. Results do not depend on it.
    """

    _arrays: tuple[str, ...] = ()
    num_users: int = 0
    num_items: int = 0
    num_threads: int = 0
    # Whether `_fit` receives the values of the matrix; ones otherwise.
    _weighted = False

    def set_params(self, **parameters: Any) -> Self:
        """Change hyper-parameters; they count from the next `fit`.

        Raises:
            InputError: A name that the constructor does not have, or as the constructor.

        Example:
            >>> from recsys import ItemKNN
            >>> ItemKNN().set_params(neighbours=20)
            ItemKNN(neighbours=20)
        """
        current = self.get_params(deep=False)
        for name in parameters:
            choice("parameter", name, current)
        checked = type(self)(**current | parameters)
        for name in current:
            setattr(self, name, getattr(checked, name))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self.num_items > 0

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def fit(self, user_items: InteractionsLike, show_progress: bool = True, callback: Callback | None = None) -> Self:
        """Learn from positives.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix with non-negative values.
            show_progress: Show a progress bar if the model is trained by epochs.
            callback: Called after each epoch as `callback(epoch, seconds, ...)`, epochs from 0.

        Raises:
            InputError: No interaction at all, a value that is negative or not finite, a pair stored twice, more users
                and items than memory holds, or a callback that cannot be called.
        """
        return self._fit_checked(self._check_fit(user_items, callback), flag("show_progress", show_progress), callback)

    def _check_fit(self, user_items: InteractionsLike, callback: Callback | None) -> sp.csr_array:
        """Return the matrix that `_fit` receives, after the checks of `fit`."""
        # Checks values that were assigned since the constructor.
        self.set_params()
        if callback is not None and not callable(callback):
            fail("callback", "a function or None", repr(callback))
        matrix = as_csr("user_items", user_items, weights=self._weighted)
        if matrix.nnz == 0:
            fail("user_items", "at least one interaction", f"none, {matrix.shape[0]} users × {matrix.shape[1]} items")
        what = f"{matrix.shape[0]} users × {matrix.shape[1]} items"
        check_memory(what, 16.0 * sum(matrix.shape))
        check_memory(f"{type(self).__name__} of {what}", self.memory_needed(matrix))
        return matrix

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes that `fit` allocates at most for a checked matrix, in addition to it."""
        return 16.0 * float(sum(user_items.shape))

    def _fit_checked(self, matrix: sp.csr_array, show_progress: bool, callback: Callback | None) -> Self:
        self._fit(matrix, show_progress, callback)
        self.num_users, self.num_items = (int(size) for size in matrix.shape)
        return self

    @abstractmethod
    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        """Learn from a checked CSR matrix of float32 with at least one entry."""

    @abstractmethod
    def scores(self, userids: Ints) -> Floats:
        """Return the scores of all items for the given users: float32 [len(userids), num_items], higher is better."""

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return scores of users given by their interactions alone: rows of a checked CSR matrix.

        Raises:
            InputError: The model can only score users that were fitted.
        """
        fail("recalculate_user", f"False, as {type(self).__name__} scores the users of fit only", True)

    def rank(self, userids: Ints, k: int, masked: sp.csr_array | None = None) -> Ranking:
        """Return the k best items of the given users with scores, as `top_k`: best first, ties to the lower item.

        `recommend` and `evaluate` call this with batches, from several threads; a subclass may override it by a faster
        algorithm.

        Args:
            userids: Positions of users [b].
            k: Number of items to return, at most `num_items`.
            masked: CSR [b, num_items] whose stored entries are excluded, or None.

        Returns:
            Items [b, k] int32 and scores [b, k] float32; -1 and -inf where a user has no more items.

        Raises:
            InputError: A score is NaN.
        """
        return top_k(self._check_scores(self.scores(userids), userids), k, masked)

    def _check_scores(self, scores: Floats, userids: Ints) -> Floats:
        if scores.shape != (len(userids), self.num_items):
            fail(type(self).__name__, f"scores of shape {(len(userids), self.num_items)}", scores.shape)
        check_finite(type(self).__name__, scores, userids)
        return scores

    def recommend(
        self,
        userid: PositionsLike,
        user_items: InteractionsLike | None = None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: PositionsLike | None = None,
        recalculate_user: bool = False,
        items: PositionsLike | None = None,
    ) -> Ranking:
        """Return the N best items of one user or of several, best first; ties go to the lower item.

        Users without interactions are scored like all others (popularity: the popular items; ItemKNN: equal scores, so
        the lowest items). If fewer than N items are left, the result is padded with items of -1 and scores of -inf.

        Args:
            userid: The position of a user, or a list of positions.
            user_items: CSR with one row per user, `user_items[userid]`: their known interactions.
            N: Number of items to return; all of them if there are fewer.
            filter_already_liked_items: Exclude the entries of `user_items`.
            filter_items: Items to exclude for all users.
            recalculate_user: Score from `user_items` instead of the fitted user; not supported by all models.
            items: Rank these items only (at most that many are returned).

        Returns:
            Items (int32) and scores (float32): [min(N, num_items)] for one user, with a row per user for a list.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: An unknown user or item, rows that do not match the users, a result larger than the available
                memory, `items` together with `filter_items`, or scores that are NaN.

        Example:
            >>> import scipy.sparse as sp
            >>> from recsys import Popularity
            >>> clicks = sp.csr_array([[1, 1, 0], [0, 1, 0]])
            >>> Popularity().fit(clicks).recommend(1, clicks[[1]], N=2)[0].tolist()
            [0, 2]
        """
        self.check_fitted()
        scalar, users = _positions("userid", userid, None if recalculate_user else self.num_users)
        if items is not None and filter_items is not None:
            fail("filter_items", "None together with items", "a list")
        candidates = None if items is None else np.unique(positions("items", items, self.num_items))
        width = min(integer("N", N, 0), self.num_items if candidates is None else len(candidates))
        _check_result(len(users), width)
        known = None
        if filter_already_liked_items or recalculate_user:
            if user_items is None:
                fail("user_items", "one row per user, to exclude its items", None)
            if getattr(user_items, "ndim", 2) == 1 and hasattr(user_items, "reshape"):
                # Row `user_items[userid]` of a SciPy array has one dimension.
                user_items = user_items.reshape(1, -1)
            _check_rows(user_items, len(users), self.num_users, scalar)
            known = as_csr("user_items", user_items, weights=self._weighted, shape=(len(users), self.num_items))
        excluded = None if filter_items is None else np.unique(positions("filter_items", filter_items, self.num_items))

        def rank_batch(part: slice) -> Ranking:
            rows = None if known is None else known[part]
            masked = rows if filter_already_liked_items else None
            if not recalculate_user and excluded is None and candidates is None:
                return self.rank(users[part], width, masked)
            scores = self.scores_for(rows) if recalculate_user else self.scores(users[part])
            scores = self._check_scores(scores, users[part])
            if excluded is not None and excluded.size:
                scores = scores.copy()
                scores[:, excluded] = -np.inf
            if candidates is not None:
                scores = scores[:, candidates]
                masked = None if masked is None else masked[:, candidates]
            return _as_items(top_k(scores, width, masked), candidates)

        return _join(batches(rank_batch, len(users), self.num_items, self.num_threads), width, scalar)

    def similar_items(
        self,
        itemid: PositionsLike,
        N: int = 10,
        filter_items: PositionsLike | None = None,
        items: PositionsLike | None = None,
    ) -> Ranking:
        """Return the N items most similar to one item or to each of several, itself included, with similarities.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: It has no similarity of items, or an item is unknown.
        """
        return self._similar("item", self._item_similarity, self.num_items, itemid, N, filter_items, items)

    def similar_users(
        self,
        userid: PositionsLike,
        N: int = 10,
        filter_users: PositionsLike | None = None,
        users: PositionsLike | None = None,
    ) -> Ranking:
        """Return the N users most similar to one user or to each of several, itself included, with similarities.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: It has no similarity of users, or a user is unknown.
        """
        return self._similar("user", self._user_similarity, self.num_users, userid, N, filter_users, users)

    def _item_similarity(self, itemids: Ints) -> Floats:
        fail("similar_items", "a model with a similarity of items", type(self).__name__)

    def _user_similarity(self, userids: Ints) -> Floats:
        fail("similar_users", "a model with a similarity of users", type(self).__name__)

    def _similar(
        self, noun: str, similarity: Callable[[Ints], Floats], size: int, ids: Any, N: int, filtered: Any, chosen: Any
    ) -> Ranking:
        self.check_fitted()
        scalar, queries = _positions(f"{noun}id", ids, size)
        if filtered is not None and chosen is not None:
            fail(f"filter_{noun}s", f"None together with {noun}s", "a list")
        candidates = np.arange(size) if chosen is None else np.unique(positions(f"{noun}s", chosen, size))
        if filtered is not None:
            candidates = np.setdiff1d(candidates, positions(f"filter_{noun}s", filtered, size))
        width = min(integer("N", N, 0), len(candidates))
        _check_result(len(queries), width)

        def rank_batch(part: slice) -> Ranking:
            return _as_items(top_k(similarity(queries[part])[:, candidates], width), candidates)

        return _join(batches(rank_batch, len(queries), size, self.num_threads), width, scalar)

    def check_fitted(self) -> None:
        """Raise `NotFittedError` unless `fit` or `load` has been called."""
        if not self.num_items:
            unfitted(type(self).__name__)

    def _parameters(self) -> dict[str, Any]:
        """Return the arguments of the constructor as values that JSON can hold."""
        return dict(self.get_params(deep=False))

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Return an unfitted model from the result of `_parameters`."""
        return cls(**parameters)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the fitted model atomically to one `.npz` file without pickles; `.npz` is added to a name without it.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: A hyper-parameter is not a number, text or None.
            DataError: The file cannot be written.
        """
        self.check_fitted()
        sizes = {"num_users": self.num_users, "num_items": self.num_items}
        arrays = {name: getattr(self, name) for name in self._arrays}
        write_model(file, type(self).__name__, self._parameters(), sizes, arrays)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Return a saved model; `Recommender.load` reads models of this package and of imported subclasses.

        Raises:
            DataError: The file is absent, damaged or truncated, holds a model of another class, or one whose
                hyper-parameters or arrays do not fit together.
        """
        if inspect.isabstract(cls):
            package = import_module("recsys")
            for name in package.__all__:
                # Loads the module, which registers its subclasses.
                getattr(package, name)
        classes = {kind.__name__: kind for kind in _subclasses(cls) if not inspect.isabstract(kind)}
        name, parameters, sizes, arrays = read_model(file, {kind: classes[kind]._arrays for kind in classes})
        with reading(os.fspath(file)):
            model: Self = classes[name]._from_parameters(parameters)
            for key, value in {**sizes, **arrays}.items():
                setattr(model, key, value)
            sample = np.array([0, int(model.num_users) - 1][: model.num_users])
            try:
                fits = model.scores(sample).shape == (len(sample), model.num_items)
            except AttributeError as error:
                # An array is absent.
                raise DataError(f"{file}: {error}") from error
            if not fits:
                raise DataError(f"{file}: arrays that do not fit {model.num_users} users × {model.num_items} items")
        return model


def batches(function: Callable[[slice], T], size: int, width: int, num_threads: int = 0) -> list[T]:
    """Return `function(part)` for consecutive slices of `size` rows, in order, by several threads.

    The slices depend on the width of a row only, so that results do not depend on the number of threads.
    """
    step = max(1, BATCH // max(width, 1))
    parts = [slice(start, min(start + step, size)) for start in range(0, size, step)]
    threads = thread_count(num_threads)
    if len(parts) < 2:
        return [function(part) for part in parts]
    # These threads share the work instead of the threads of BLAS.
    with threadpool_limits(1, "blas"):
        if threads == 1:
            return [function(part) for part in parts]
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            return list(pool.map(function, parts))


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    return [cls, *(child for direct in cls.__subclasses__() for child in _subclasses(direct))]


def _positions(name: str, value: Any, size: int | None) -> tuple[bool, Ints]:
    """Return whether a single position was passed, and the positions as a list."""
    array: Array = as_array(name, value)
    limit = np.iinfo(np.int64).max if size is None else size
    return array.ndim == 0, positions(name, np.atleast_1d(array), int(limit))


def _check_rows(user_items: Any, rows: int, num_users: int, scalar: bool) -> None:
    """Raise `InputError` where the matrix of all users was passed for some of them."""
    shape = getattr(getattr(user_items, "matrix", user_items), "shape", None)
    if shape and shape[0] == num_users != rows:
        given = "user_items.matrix" if hasattr(user_items, "matrix") else "user_items"
        wanted = f"{given}[[userid]]" if scalar else f"{given}[userid]"
        fail("user_items", f"{rows} users, one row for each userid: {wanted}", f"{num_users}, all users of fit")


def _check_result(rows: int, width: int) -> None:
    # The batches, and their concatenation.
    check_memory(f"answers of {rows} × {width}", 16.0 * rows * width)


def _as_items(ranking: Ranking, candidates: Ints | None) -> Ranking:
    """Translate columns of candidates to items."""
    columns, scores = ranking
    if candidates is None:
        return ranking
    return np.where(columns < 0, columns, candidates[columns].astype(np.int32)), scores


def _join(parts: list[Ranking], width: int, scalar: bool) -> Ranking:
    items = np.concatenate([np.zeros((0, width), np.int32), *(part[0] for part in parts)])
    scores = np.concatenate([np.zeros((0, width), np.float32), *(part[1] for part in parts)])
    return (items[0], scores[0]) if scalar else (items, scores)
