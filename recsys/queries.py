"""Users and items in the arguments of a recommender, and what takes some of them: `explain`, `partial_fit_users`."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import fail, integer, unfitted
from graphnoise.resources import check_memory
from recsys.ids import IdOrPositions, Ids, check_ids, find
from recsys.interactions import Interactions, InteractionsLike, as_csr
from recsys.topk import Floats
from recsys.validation import Array, Ints, as_array, identifiers, positions

# Items [rows, k] int32 and scores [rows, k] float32.
Ranking = tuple[NDArray[np.int32], Floats]
_ANY = int(np.iinfo(np.int64).max)


class Queries(Ids):
    """Base of recommenders that reads the users and items of their arguments, and adds new ones.

    Attributes:
        num_users: Number of users of the fitted matrix.
        num_items: Number of items of the fitted matrix.
        users: The id of each user, or None if ids are positions.
        items: The id of each item, or None.
        dislikes: The dislikes of `Interactions`, never recommended to the users of fit; or None.
    """

    num_users: int = 0
    num_items: int = 0
    users: Array | None = None
    items: Array | None = None
    dislikes: sp.csr_array | None = None
    # Whether `_fit` receives the values of the matrix; ones otherwise.
    _weighted = False

    def check_fitted(self) -> None:
        """Raise `NotFittedError` unless `fit` or `load` has been called."""
        if not self.num_items:
            unfitted(type(self).__name__)

    def explain(
        self,
        userid: IdOrPositions,
        user_items: InteractionsLike,
        itemid: IdOrPositions,
        user_weights: Any = None,
        N: int = 10,
    ) -> tuple[float, list[tuple[Any, float]], Any]:
        """Return how much each item of a user contributes to the score of another one, as `implicit` does.

        Args:
            userid: The position or the id (text) of a user.
            user_items: The user's row, `clicks[userid]`, or the rows of all users of fit.
            itemid: The position of an item, or its id if `userid` is text.
            user_weights: The third value of an earlier answer for this user, which saves time.
            N: Number of contributions to return.

        Returns:
            The score, the N largest (item, contribution), and weights for further calls.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The model's scores are no sums over items, or an unknown user or item.

        Example:
            >>> from recsys import ItemKNN
            >>> clicks = sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])
            >>> score, parts, _ = ItemKNN().fit(clicks).explain(0, clicks[[0]], 2)
            >>> round(score, 3), [(item, round(part, 3)) for item, part in parts]
            (0.577, [(1, 0.577), (0, 0.0)])
        """
        self.check_fitted()
        _, by_id, users = self._users(userid)
        item = self._find("itemid", itemid, "item", by_id)
        if len(users) != 1 or len(item) != 1:
            fail("userid, itemid", "one user and one item", f"{len(users)} and {len(item)}")
        count = getattr(getattr(user_items, "matrix", user_items), "shape", (1,))[0]
        if count == self.num_users > 1:
            user_items = user_items[users]
        row = self._rows(user_items, users, True)
        score, parts, weights = self._explain(row, int(item[0]), user_weights)
        order = np.lexsort((row.indices, -parts))[: integer("N", N, 0)]
        items = (self.item_ids(row.indices) if by_id else row.indices)[order].tolist()
        return float(score), list(zip(items, parts[order].tolist(), strict=True)), weights

    def _explain(self, row: sp.csr_array, item: int, user_weights: Any) -> tuple[float, NDArray[Any], Any]:
        """Return the score, the contribution of each entry of the row, and weights for further calls."""
        fail("explain", "a model whose scores are sums over items", type(self).__name__)

    def partial_fit_users(self, userids: IdOrPositions, user_items: InteractionsLike) -> None:
        """Set some users from their interactions, known users and new ones; items do not change.

        Args:
            userids: Positions or ids (text), one per row. Ids that are not known are new users; so are positions from
                `num_users` on, and those in between that are not given have no interactions.
            user_items: One row per user; of a model with ids, `Interactions` with those of users that are new by
                position.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The model has no way to add users, users that repeat, new ones without an id beside others that
                have one, or more than memory holds.

        Example:
            >>> from recsys import ItemKNN
            >>> model = ItemKNN().fit(sp.csr_array([[1, 1, 0], [0, 1, 1]]))
            >>> model.partial_fit_users([2], sp.csr_array([[1, 0, 0]]))
            >>> model.recommend(2, N=1)[0].tolist()
            [1]
        """
        self.check_fitted()
        places, ids = self._new_places("user", userids, getattr(user_items, "users", None))
        self._check_columns("user_items", user_items, "items")
        rows = self._matrix("user_items", two_dimensions(user_items), (len(places), self.num_items))
        size = max(self.num_users, int(places.max(initial=-1)) + 1)
        check_memory(f"{size} users", 16.0 * size)
        for name, value in self._new_users(rows).items():
            setattr(self, name, _replaced(getattr(self, name), places, value, size))
        self._set_users(places, ids, user_items, size)

    def _set_users(self, places: Ints, ids: Array | None, user_items: InteractionsLike, size: int) -> None:
        """Set the number of users, their ids, and the dislikes of some of them."""
        disliked = getattr(user_items, "dislikes", None)
        if disliked is not None or self.dislikes is not None:
            shapes = (self.num_users, self.num_items), (len(places), self.num_items)
            known = self.dislikes if self.dislikes is not None else sp.csr_array(shapes[0], dtype=np.float32)
            new = disliked if disliked is not None else sp.csr_array(shapes[1], dtype=np.float32)
            self.dislikes = _replaced(known, places, new, size)
        self.users, self.num_users = ids, size

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        """Return the rows of users, given by their interactions, of each array that has one row per user."""
        fail("partial_fit_users", "a model that can add users", type(self).__name__)

    def partial_fit_items(self, itemids: IdOrPositions, item_users: InteractionsLike) -> None:
        """Set some items from their users, known items and new ones, as `partial_fit_users`; users do not change.

        Args:
            itemids: Positions or ids (text), one per row.
            item_users: Items × users, one row per item; with ids as those of `partial_fit_users`.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The model has no way to add items, or as `partial_fit_users`.
        """
        self.check_fitted()
        places, ids = self._new_places("item", itemids, getattr(item_users, "users", None))
        self._check_columns("item_users", item_users, "users")
        rows = self._matrix("item_users", two_dimensions(item_users), (len(places), self.num_users))
        size = max(self.num_items, int(places.max(initial=-1)) + 1)
        check_memory(f"{size} items", 16.0 * size)
        for name, value in self._new_items(rows).items():
            setattr(self, name, _replaced(getattr(self, name), places, value, size))
        if (old := self.dislikes) is not None:
            self.dislikes = sp.csr_array((old.data, old.indices, old.indptr), shape=(self.num_users, size))
        self.items, self.num_items = ids, size

    def _new_items(self, rows: sp.csr_array) -> dict[str, Any]:
        """Return the rows of items, given by their users, of each array that has one row per item."""
        fail("partial_fit_items", "a model that can add items", type(self).__name__)

    def _new_places(self, noun: str, value: Any, names: Array | None) -> tuple[Ints, Array | None]:
        """Return positions of users or items, of which some may be new, and the ids of all, these included."""
        name = f"{noun}ids"
        size, ids = (self.num_users, self.users) if noun == "user" else (self.num_items, self.items)
        array = np.atleast_1d(as_array(name, value))
        if ids is not None and ids.dtype.kind in "US" and array.dtype.kind in "OUST":
            array = identifiers(name, value if isinstance(value, list | tuple) else array)
            if array.dtype.kind in "US":
                ids = np.concatenate([ids, np.unique(array[~np.isin(array, ids)])])
            places = positions(name, array, len(ids), ids)
        else:
            places = find(name, value, _ANY, None)[2]
            new = places >= size
            if ids is not None and new.any():
                if names is None or names.dtype.kind != ids.dtype.kind:
                    fail(name, f"known {noun}s, or new ones with ids, as the model has them", places[new].tolist()[0])
                order = np.argsort(places[new])
                if not np.array_equal(places[new][order], np.arange(size, size + new.sum())):
                    fail(name, f"new positions {size}, {size + 1} and so on", places[new].tolist())
                added = names[new][order]
                ids = np.concatenate([ids, added.astype(ids.dtype) if ids.dtype.kind in "iu" else added])
                if len(np.unique(ids)) != len(ids):
                    fail(name, f"{noun}s that are not known yet", "known ids")
        if len(np.unique(places)) != len(places):
            fail(name, f"every {noun} once", "some that repeat")
        return places, ids

    def _matrix(
        self, name: str, value: InteractionsLike, shape: tuple[int | None, int | None] = (None, None)
    ) -> sp.csr_array:
        """Return interactions as `_fit` receives them."""
        return as_csr(name, value, weights=self._weighted, shape=shape)

    def _users(self, userid: Any, new: bool = False) -> tuple[bool, bool, Ints]:
        """Return whether one user was passed, whether by id, and positions; those of new users do not matter."""
        value = as_array("userid", userid)
        if not new:
            return find("userid", userid, self.num_users, self.users)
        if value.dtype.kind in "UST" and self.users is not None:
            return value.ndim == 0, True, np.arange(value.size)
        return find("userid", userid, _ANY, None)

    def _find(self, name: str, value: Any, noun: str, by_id: bool) -> Ints:
        """Return the positions of users or items, which are ids if the first argument was."""
        size, ids = (self.num_users, self.users) if noun == "user" else (self.num_items, self.items)
        return find(name, value, size, ids, by_id)[2]

    def _named(self, noun: str, by_id: bool, ranking: Ranking) -> tuple[NDArray[Any], Floats]:
        """Return a ranking with ids if the call was one by ids."""
        translate = self.user_ids if noun == "user" else self.item_ids
        return (translate(ranking[0]), ranking[1]) if by_id else ranking

    def _check_columns(self, name: str, rows: Any, side: str) -> None:
        """Raise `InputError` if the columns of interactions have other ids than the fitted users or items."""
        if isinstance(rows, Interactions):
            check_ids(name, rows.items, getattr(self, side), f"{side} of fit")

    def _rows(self, user_items: Any, users: Ints, single: bool) -> sp.csr_array:
        """Return the checked interactions of some users, a row each."""
        user_items = two_dimensions(user_items)
        _check_rows(user_items, len(users), self.num_users, single)
        self._check_columns("user_items", user_items, "items")
        return self._matrix("user_items", user_items, (len(users), self.num_items))


def two_dimensions(value: Any) -> Any:
    """Return a row `matrix[userid]` of a SciPy array, which has one dimension, as a matrix."""
    return value.reshape(1, -1) if getattr(value, "ndim", 2) == 1 and hasattr(value, "reshape") else value


def _check_rows(user_items: Any, rows: int, num_users: int, single: bool) -> None:
    """Raise `InputError` where the matrix of all users was passed for some of them."""
    shape = getattr(getattr(user_items, "matrix", user_items), "shape", None)
    if shape and shape[0] == num_users != rows:
        expected = f"{rows} users, one row for each userid: user_items[{'[userid]' if single else 'userid'}]"
        fail("user_items", expected, f"{num_users}, all users of fit")


def _replaced(old: Any, places: Ints, new: Any, size: int) -> Any:
    """Return CSR or an array with `size` rows, where those at `places` are new and those that were not there 0.

    The rows of an array of three dimensions are those of each of its tables.
    """
    rows, axis = np.arange(size), max(old.ndim - 2, 0)
    rows[places] = size + np.arange(len(places))
    more = size - old.shape[axis]
    if sp.issparse(old):
        indptr = np.pad(old.indptr, (0, more), mode="edge")
        padded = sp.csr_array((old.data, old.indices, indptr), shape=(size, old.shape[1]))
        return sp.csr_array(sp.vstack([padded, new], format="csr")[rows])
    nothing = np.zeros((*old.shape[:axis], more, *old.shape[axis + 1 :]), old.dtype)
    return np.concatenate([old, nothing, new.astype(old.dtype)], axis).take(rows, axis)
