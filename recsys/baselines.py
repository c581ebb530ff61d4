"""The plain methods that stand in every table: popularity."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.base import Callback, Recommender
from recsys.matrices import Ints
from recsys.topk import Floats


class Popularity(Recommender):
    """Everybody gets the items with the most interactions: score(u, i) = number of users of i.

    Example:
        >>> import scipy.sparse as sp
        >>> Popularity().fit(sp.csr_array([[1, 1, 0], [0, 1, 0]])).scores(np.array([0])).tolist()
        [[1.0, 2.0, 0.0]]
    """

    _arrays = ("counts",)
    counts: Any = None

    def _fit(self, user_items: Any, show_progress: bool, callback: Callback | None) -> None:
        self.counts = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(np.float32)

    def scores(self, userids: Ints) -> Floats:
        """Return the number of users of each item, the same for all users."""
        return np.repeat(self.counts[None], len(userids), axis=0)

    def scores_for(self, user_items: Any) -> Floats:
        """Return the number of users of each item."""
        return self.scores(np.zeros(user_items.shape[0], np.int64))
