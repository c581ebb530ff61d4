"""Base class of recommenders with the interface of `implicit`: fit, recommend, similar items and users, save, load."""

from __future__ import annotations

import inspect
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

from graphnoise.checks import DataError, choice, fail, flag, integer
from graphnoise.io import reading
from graphnoise.resources import check_memory, thread_count
from recsys.files import ModelFile, file_name, read_model, write_model
from recsys.ids import IdOrPositions, find
from recsys.interactions import Interactions, InteractionsLike, check_held_out
from recsys.queries import Queries, Ranking, two_dimensions
from recsys.topk import LOWEST, Floats, check_finite, top_k
from recsys.validation import Ints

# Scores that each thread holds at a time.
BATCH = 1 << 22
Callback = Callable[..., object]
T = TypeVar("T")
# What `save` writes beside a model's own arrays.
_GIVEN = ("users", "items", "dislikes")


class Recommender(Queries, BaseEstimator, ABC):  # type: ignore[misc]
    """A model that scores every item for a user; a subclass implements `_fit` and `scores`.

    **Ids.** A model fitted on `Interactions` with ids remembers them, in its file too. In every argument that names
    users or items, text is an id and an integer a position. A call whose first argument is text is one by ids: its
    other arguments are ids as well, integers included, and what it returns are ids (an object array, None where a
    ranking has ended). A call by positions returns positions, as `implicit` does (int32, -1 where a ranking has ended);
    `item_ids` and `user_ids` translate them, also those of ids that are integers.

    Models are estimators of scikit-learn (`get_params`, `set_params`, `sklearn.base.clone`). A subclass stores its
    hyper-parameters as attributes named as its constructor's arguments, and what it has learned under the names in
    `_arrays` (NumPy arrays of numbers, or SciPy CSR matrices); `save` and `load` rely on both.
    `scores` must be thread-safe. A model is fitted once `_fit` has returned; one that can score earlier, in a callback
    or after Ctrl-C, sets `num_users` and `num_items` itself.

    Attributes:
        num_users: Number of users of the fitted matrix.
        num_items: Number of items of the fitted matrix.
        users: The id of each user, or None if ids are positions.
        items: The id of each item, or None.
        dislikes: The dislikes of `Interactions`, never recommended to the users of fit; or None.
        num_threads: Threads of `recommend` and similar methods; 0 is one per core. Results do not depend on it.
    """

    _arrays: tuple[str, ...] = ()
    num_threads: int = 0
    # What `fit` was given beside the matrix.
    _given: tuple[Any, Any, Any] = (None, None, None)

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

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        text: str = super().__repr__(N_CHAR_MAX)
        return f"{text}, fitted to {self.num_users} users × {self.num_items} items" if self.num_items else text

    def fit(
        self,
        user_items: InteractionsLike,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: InteractionsLike | None = None,
    ) -> Self:
        """Learn from positives.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix with non-negative values.
            show_progress: Show a progress bar if the model is trained by epochs.
            callback: Called after each epoch as `callback(epoch, seconds, ...)`, epochs from 0, by models that have
                epochs; training stops if it returns True.
            validation: Users × items, held out. Models that select an epoch do so by it; all others check it and do
                not use it.

        Raises:
            InputError: No interaction at all, a value that is negative or not finite, a pair stored twice, more users
                and items than memory holds, a validation set that overlaps or is empty, or a callback that cannot be
                called. After an error the model is what it was before.
        """
        matrix, show_progress = self._check_fit(user_items, callback), flag("show_progress", show_progress)
        if validation is not None:
            check_held_out(matrix, validation, self._given[:2])
        return self._fit_checked(matrix, show_progress, callback)

    def _check_fit(self, user_items: InteractionsLike, callback: Callback | None) -> sp.csr_array:
        """Return the matrix that `_fit` receives, after the checks of `fit`."""
        # Checks values that were assigned since the constructor.
        self.set_params()
        if callback is not None and not callable(callback):
            fail("callback", "a function or None", repr(callback))
        matrix = self._matrix("user_items", user_items)
        if matrix.nnz == 0:
            fail("user_items", "at least one interaction", f"none, {matrix.shape[0]} users × {matrix.shape[1]} items")
        what = f"{matrix.shape[0]} users × {matrix.shape[1]} items"
        check_memory(what, 16.0 * sum(matrix.shape))
        check_memory(f"{type(self).__name__} of {what}", self.memory_needed(matrix))
        given = user_items if isinstance(user_items, Interactions) else None
        self._given = tuple(getattr(given, name, None) for name in _GIVEN)  # type: ignore[assignment]
        return matrix

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes that `fit` allocates at most for a checked matrix, in addition to it."""
        return 16.0 * float(sum(user_items.shape))

    def _fit_checked(self, matrix: sp.csr_array, show_progress: bool, callback: Callback | None) -> Self:
        before = self.__dict__.copy()
        self.users, self.items, self.dislikes = self._given
        self.num_users = self.num_items = 0
        try:
            self._fit(matrix, show_progress, callback)
        except BaseException as error:
            # After Ctrl-C, a model that has set its size can score.
            if isinstance(error, Exception) or not self.num_items:
                self.__dict__ = before
            raise
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
        userid: IdOrPositions,
        user_items: InteractionsLike | None = None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: IdOrPositions | None = None,
        recalculate_user: bool = False,
        items: IdOrPositions | None = None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the N best items of one user or of several, best first; ties go to the lower item.

        If fewer than N items are left, the result is padded with items of -1 (None of ids) and scores of -inf;
        `item_ids` gives None for -1, where `items[...]` would give the last name. With `items`, all of these are ranked
        and those to exclude come last, with the lowest score of float32, as in `implicit`.

        Args:
            userid: The position or the id (text) of a user, or a list of positions or of ids.
            user_items: One row per user, `clicks[userid]`: their known interactions, and with `Interactions` their
                dislikes, which are excluded always. None: those of the fit, of models that keep them (`user_items`).
            N: Number of items to return; all of them if there are fewer.
            filter_already_liked_items: Exclude the entries of `user_items`.
            filter_items: Items to exclude for all users.
            recalculate_user: Score from `user_items` instead of the fitted user; not supported by all models.
            items: Rank these items only (at most that many are returned).

        Returns:
            Items (int32; ids where `userid` is text) and scores (float32): [min(N, num_items)] for one user, with a row
            per user for a list.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: An unknown user or item, rows that do not match the users or have other items, a result larger
                than the available memory, `items` together with `filter_items`, or scores that are NaN.

        Example:
            >>> from recsys import Interactions, Popularity
            >>> clicks = Interactions.from_triples(["ann", "ann", "bob"], ["f", "g", "g"])
            >>> model = Popularity().fit(clicks)
            >>> model.recommend("bob", clicks["bob"], N=2)[0].tolist()
            ['f', None]
            >>> model.recommend(1, clicks[1], N=2)[0].tolist()
            [0, -1]
        """
        self.check_fitted()
        flag("filter_already_liked_items", filter_already_liked_items)
        single, by_id, users = self._users(userid, new=flag("recalculate_user", recalculate_user))
        if items is not None and filter_items is not None:
            fail("filter_items", "None together with items", "a list")
        chosen = None if items is None else np.unique(self._find("items", items, "item", by_id))
        width = min(integer("N", N, 0), self.num_items if chosen is None else len(chosen))
        _check_result(len(users), width)
        known = disliked = None
        kept = None if recalculate_user else getattr(self, "user_items", None)
        if user_items is None and filter_already_liked_items and kept is not None:
            user_items = kept[users]
        if filter_already_liked_items or recalculate_user or isinstance(user_items, Interactions):
            if user_items is None:
                fail("user_items", "one row per user, to exclude its items", None)
            known = self._rows(user_items, users, single)
            disliked = getattr(user_items, "dislikes", None)
        if disliked is None and self.dislikes is not None and not recalculate_user:
            disliked = self.dislikes[users]
        excluded = None if filter_items is None else np.unique(self._find("filter_items", filter_items, "item", by_id))

        def rank_batch(part: slice) -> Ranking:
            rows = None if known is None else known[part]
            masked = rows if filter_already_liked_items else None
            if disliked is not None:
                masked = disliked[part] if masked is None else masked + disliked[part]
            if not recalculate_user and excluded is None and chosen is None:
                return self.rank(users[part], width, masked)
            scores = self.scores_for(rows) if recalculate_user else self.scores(users[part])
            scores = self._check_scores(scores, users[part])
            if excluded is not None and excluded.size:
                scores = scores.copy()
                scores[:, excluded] = -np.inf
            if chosen is not None:
                scores = scores[:, chosen]
                if masked is not None:
                    scores[masked[:, chosen].nonzero()] = LOWEST
                return _as_items(top_k(scores, width), chosen)
            return top_k(scores, width, masked)

        ranking = _join(batches(rank_batch, len(users), self.num_items, self.num_threads), width, single)
        return self._named("item", by_id, ranking)

    def similar_items(
        self,
        itemid: IdOrPositions,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: InteractionsLike | None = None,
        filter_items: IdOrPositions | None = None,
        items: IdOrPositions | None = None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the N items most similar to one item or to each of several, itself included, with similarities.

        Args:
            itemid: The position or the id (text) of an item, or a list.
            N: Number of items to return; all of them if there are fewer.
            recalculate_item: Compare what `item_users` says of the items instead of what was fitted; not supported by
                all models.
            item_users: Items × users, one row per item: who interacted with it.
            filter_items: Items to exclude.
            items: Rank these items only.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: It has no similarity of items, an item is unknown, or rows that do not match the items.
        """
        if not flag("recalculate_item", recalculate_item):
            return self._similar("item", self._item_similarity, itemid, N, filter_items, items)
        self.check_fitted()
        _, _, places = find("itemid", itemid, self.num_items, self.items)
        if item_users is None:
            fail("item_users", "one row per item, items × users", None)
        self._check_columns("item_users", item_users, "users")
        rows = self._matrix("item_users", two_dimensions(item_users), (len(places), self.num_users))

        def similarity(part: slice) -> Floats:
            return self._new_item_similarity(places[part], rows[part])

        return self._similar("item", similarity, itemid, N, filter_items, items, by_rows=True)

    def similar_users(
        self,
        userid: IdOrPositions,
        N: int = 10,
        filter_users: IdOrPositions | None = None,
        users: IdOrPositions | None = None,
    ) -> tuple[NDArray[Any], Floats]:
        """Return the N users most similar to one user or to each of several, itself included, with similarities.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: It has no similarity of users, or a user is unknown.
        """
        return self._similar("user", self._user_similarity, userid, N, filter_users, users)

    def _item_similarity(self, itemids: Ints) -> Floats:
        """Return similarities of the given items to all items: float32 [len(itemids), num_items]."""
        fail("similar_items", "a model with a similarity of items", type(self).__name__)

    def _new_item_similarity(self, itemids: Ints, item_users: sp.csr_array) -> Floats:
        """Return similarities to all items of items given by their users: float32 [len(itemids), num_items]."""
        fail("recalculate_item", f"False, as {type(self).__name__} compares the items of fit only", True)

    def _user_similarity(self, userids: Ints) -> Floats:
        """Return similarities of the given users to all users: float32 [len(userids), num_users]."""
        fail("similar_users", "a model with a similarity of users", type(self).__name__)

    def _similar(
        self,
        noun: str,
        similarity: Callable[[Any], Floats],
        value: Any,
        N: int,
        filtered: Any,
        chosen: Any,
        *,
        by_rows: bool = False,
    ) -> tuple[NDArray[Any], Floats]:
        """Rank users or items by similarity, a function of positions, or of a slice of the queries if `by_rows`."""
        self.check_fitted()
        size, ids = (self.num_users, self.users) if noun == "user" else (self.num_items, self.items)
        single, by_id, queries = find(f"{noun}id", value, size, ids)
        if filtered is not None and chosen is not None:
            fail(f"filter_{noun}s", f"None together with {noun}s", "a list")
        candidates = np.arange(size)
        if chosen is not None:
            candidates = np.unique(self._find(f"{noun}s", chosen, noun, by_id))
        if filtered is not None:
            candidates = np.setdiff1d(candidates, self._find(f"filter_{noun}s", filtered, noun, by_id))
        width = min(integer("N", N, 0), len(candidates))
        _check_result(len(queries), width)

        def rank_batch(part: slice) -> Ranking:
            scores = similarity(part if by_rows else queries[part])
            return _as_items(top_k(scores[:, candidates], width), candidates)

        return self._named(noun, by_id, _join(batches(rank_batch, len(queries), size, self.num_threads), width, single))

    def _parameters(self) -> dict[str, Any]:
        """Return the arguments of the constructor as values that JSON can hold."""
        return dict(self.get_params(deep=False))

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        """Return an unfitted model from the result of `_parameters`."""
        return cls(**parameters)

    def save(self, file: ModelFile) -> None:
        """Write the model, fitted or not, with the ids and dislikes it knows, to one `.npz` file without pickles.

        A path is written atomically, and `.npz` is added to a name without it; a binary file object is written to.

        Raises:
            InputError: A hyper-parameter is not a number, text or None, or the file object is none.
            DataError: The file cannot be written.
        """
        sizes = {"num_users": self.num_users, "num_items": self.num_items}
        arrays = {name: getattr(self, name) for name in (*self._arrays, *_GIVEN)}
        write_model(file, type(self).__name__, self._parameters(), sizes, arrays)

    @classmethod
    def load(cls, file: ModelFile) -> Self:
        """Return a saved model; `Recommender.load` reads models of this package and of imported subclasses.

        Raises:
            InputError: Neither a path nor a binary file object that is open for reading.
            DataError: The file is absent, damaged, truncated or of another version, holds a model of another class, or
                one whose hyper-parameters or arrays do not fit together.
        """
        if inspect.isabstract(cls):
            package = import_module("recsys")
            for name in package.__all__:
                # Loads the module, which registers its subclasses.
                getattr(package, name)
        classes = {kind.__name__: kind for kind in _subclasses(cls) if not inspect.isabstract(kind)}
        name, parameters, sizes, arrays = read_model(
            file, {kind: (*classes[kind]._arrays, *_GIVEN) for kind in classes}
        )
        with reading(shown := file_name(file)):
            unknown = sorted(set(parameters) - inspect.signature(classes[name]).parameters.keys())
            if unknown:
                raise DataError(f"{shown}: expected parameters of {name}, got {unknown[0]!r} too: another version")
            model: Self = classes[name]._from_parameters(parameters)
            for key, value in {**sizes, **arrays}.items():
                setattr(model, key, value)
            if model.num_items == 0:
                return model
            sample = np.array([0, int(model.num_users) - 1][: model.num_users])
            try:
                fits = model.scores(sample).shape == (len(sample), model.num_items)
            except AttributeError as error:
                # An array is absent.
                raise DataError(f"{shown}: {error}") from error
            for side, size in (("users", model.num_users), ("items", model.num_items)):
                ids = getattr(model, side)
                fits = fits and (ids is None or (ids.ndim == 1 and len(ids) == size and ids.dtype.kind in "iuUS"))
            fits = fits and (model.dislikes is None or model.dislikes.shape == (model.num_users, model.num_items))
            if not fits:
                raise DataError(f"{shown}: arrays that do not fit {model.num_users} users × {model.num_items} items")
        return model


def wants_stop(answer: object) -> bool:
    """Return whether a callback that answered this wants training to stop: it returned True."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


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
