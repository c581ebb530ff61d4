"""Base class of recommenders with a vector per user and per item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.base import Recommender
from recsys.topk import Floats
from recsys.validation import Ints


class FactorModel(Recommender):
    """A recommender with score(u, i) = <U_u, V_i> + b_i; a subclass sets the three arrays.

    Attributes:
        user_factors: U, float32 [num_users, factors].
        item_factors: V, float32 [num_items, factors].
        item_biases: b, float32 [num_items], or None.
    """

    _arrays: tuple[str, ...] = ("user_factors", "item_factors", "item_biases")
    user_factors: Any = None
    item_factors: Any = None
    item_biases: Any = None

    def scores(self, userids: Ints) -> Floats:
        """Return <U_u, V_i> + b_i for all items: float32 [len(userids), num_items]."""
        return self._score(self.user_factors[userids])

    def _score(self, vectors: NDArray[np.float32]) -> Floats:
        scores: Floats = vectors @ self.item_factors.T
        if self.item_biases is not None:
            scores += self.item_biases
        return scores

    def _item_similarity(self, itemids: Ints) -> Floats:
        return cosine(self.item_factors, itemids)

    def _user_similarity(self, userids: Ints) -> Floats:
        return cosine(self.user_factors, userids)


def cosine(vectors: NDArray[np.float32], index: Ints, others: NDArray[np.float32] | None = None) -> Floats:
    """Return cosines of the selected rows, or of others in their place, with all rows; 0 for rows of zeros.

    The result is float32 [len(index), rows].

    Example:
        >>> cosine(np.array([[3, 4], [0, 2], [0, 0]], np.float32), np.array([0]))
        array([[1. , 0.8, 0. ]], dtype=float32)
    """
    unit = _unit(vectors)
    out: Floats = (unit[index] if others is None else _unit(others)) @ unit.T
    return out


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return unit
