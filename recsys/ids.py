"""Ids and positions of users and items: text is an id, an integer is a position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import fail
from graphnoise.resources import check_memory
from recsys.validation import Array, IdsLike, Ints, PositionsLike, as_array, identifiers, positions

# Positions, or ids that are text: one, or a list.
IdOrPositions: TypeAlias = PositionsLike | str | IdsLike


class Ids:
    """Base of what has the ids of users and of items, or None where ids are positions."""

    users: Array | None
    items: Array | None
    num_users: int
    num_items: int

    def user_positions(self, ids: IdsLike) -> Ints:
        """Return the rows of some user ids, integers or text.

        Raises:
            InputError: An id is unknown; the message has the nearest one.
        """
        return positions("users", ids, self.num_users, self.users)

    def item_positions(self, ids: IdsLike) -> Ints:
        """Return the columns of some item ids, integers or text.

        Raises:
            InputError: An id is unknown; the message has the nearest one.

        Example:
            >>> from recsys import Interactions
            >>> Interactions.from_triples([1, 1], ["a", "b"]).item_positions(["b", "a"]).tolist()
            [1, 0]
        """
        return positions("items", ids, self.num_items, self.items)

    def user_ids(self, users: PositionsLike) -> NDArray[np.object_]:
        """Return the ids of positions of users, of any shape; None where the position is -1.

        Raises:
            InputError: Not integers from -1 to the number of users less one.
        """
        return names("users", users, self.num_users, self.users)

    def item_ids(self, items: PositionsLike) -> NDArray[np.object_]:
        """Return the ids of positions of items, of any shape; None where the position is -1, as in short rankings.

        `items[positions]` would give the last id for -1.

        Raises:
            InputError: Not integers from -1 to the number of items less one.

        Example:
            >>> from recsys import Interactions
            >>> Interactions.from_triples([1, 1], ["a", "b"]).item_ids([[1, 0], [0, -1]]).tolist()
            [['b', 'a'], ['a', None]]
        """
        return names("items", items, self.num_items, self.items)


def check_ids(name: str, got: Any, expected: Any, what: str) -> None:
    """Raise `InputError` if there are ids on both sides, and they are others or in another order."""
    if got is not None and expected is not None and got is not expected and not np.array_equal(got, expected):
        fail(name, f"the {what}, in their order", "others")


def check_same_ids(parts: Iterable[tuple[str, Any]]) -> None:
    """Raise `InputError` if two of what is named have ids of users or items that are not the same.

    Args:
        parts: Pairs of a name and what may have ids; matrices have none. Messages name the later one.

    Raises:
        InputError: Ids that differ, or are in another order.
    """
    parts = [(name, part) for name, part in parts if isinstance(part, Ids)]
    for side in ("users", "items"):
        known = [(name, ids) for name, part in parts if (ids := getattr(part, side)) is not None]
        for name, ids in known[1:]:
            check_ids(name, ids, known[0][1], f"{side} of {known[0][0]}")


def names(name: str, value: Any, size: int, ids: Array | None) -> NDArray[np.object_]:
    """Return the ids of positions, or the positions where there are no ids; None where they are -1."""
    places = as_array(name, value)
    check_memory(f"ids of {places.size} positions", 16.0 * places.size)
    if places.size == 0:
        return np.empty(places.shape, object)
    inside = places.dtype.kind in "iu" and places.min() >= -1 and places.max() < size
    if not inside:
        fail(name, f"positions from -1 to {size - 1}", f"values of type {places.dtype}, or others")
    found = np.asarray((places if ids is None else ids[np.maximum(places, 0)]).astype(object))
    found[places < 0] = None
    return found


def find(name: str, value: Any, size: int, ids: Array | None, by_id: bool = False) -> tuple[bool, bool, Ints]:
    """Return whether one was passed (and no list), whether by id, and the positions.

    Args:
        name: Name of the argument, for messages.
        value: Text: ids; integers: positions.
        size: Number of positions.
        ids: The id of each position, or None.
        by_id: Integers are ids too.

    Raises:
        InputError: A mix of text and numbers, an unknown id, or a position out of range.
    """
    array = as_array(name, value)
    single = array.ndim == 0
    if ids is not None and array.dtype.kind in "OUST":
        array = identifiers(name, [array.item()] if single else value)
        if by_id or array.dtype.kind in "US":
            return single, True, positions(name, array, size, ids)
    if by_id and ids is not None:
        return single, True, positions(name, np.atleast_1d(array), size, ids)
    of_ids = "; of integer ids: .user_positions(ids), .item_positions(ids)"
    hint = of_ids if ids is not None and ids.dtype.kind in "iu" else ""
    return single, False, positions(name, np.atleast_1d(array), size, hint=hint)
