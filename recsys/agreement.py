"""How well an order of clicks by suspicion agrees with a known truth, and how well their popularity does alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score


class Agreement(NamedTuple):
    """P(a mistake is more suspicious than a like), ties by half; popularity alone suspects items with few clicks.

    Attributes:
        auc: Over all pairs of a mistake and a like.
        within_users: Over those of one user; None if no user has both.
        popularity: `auc` of the order by popularity alone.
        popularity_within_users: `within_users` of that order.
    """

    auc: float
    within_users: float | None
    popularity: float
    popularity_within_users: float | None

    def __str__(self) -> str:
        inside = "" if self.within_users is None else f" ({self.within_users:.3f} within users)"
        alone = "" if self.popularity_within_users is None else f" ({self.popularity_within_users:.3f})"
        return f"AUC {self.auc:.3f}{inside}, popularity alone {self.popularity:.3f}{alone}"


def agree_with_truth(suspicion: Any, clicks: Any, users: Any, truth: Any) -> Agreement:
    """Return the agreement of an order with the truth.

    Args:
        suspicion: [n] numbers, higher for likelier mistakes.
        clicks: [n] clicks of others on the item.
        users: [n] users.
        truth: [n] 1 for a mistake, 0 for a like; both occur.

    Example:
        >>> found = agree_with_truth([0.9, 0.2, 0.4], [1, 5, 1], [0, 0, 1], [1, 0, 0])
        >>> print(found)
        AUC 1.000 (1.000 within users), popularity alone 0.750 (1.000)
    """
    orders = np.asarray(suspicion, np.float64), -np.asarray(clicks, np.float64)
    users, truth = np.asarray(users), np.asarray(truth)
    one, two = ((float(roc_auc_score(truth, order)), _within(users, order, truth)) for order in orders)
    return Agreement(*one, *two)


def _within(users: Any, order: Any, truth: Any) -> float | None:
    """Return the share of (mistake, like) pairs of one user in which the mistake ranks higher, over all such pairs."""
    # Ranks over all, shifted by user, are in the order of ranks within users.
    overall = rankdata(order)
    by_user = np.lexsort((overall, users))
    starts = np.searchsorted(users[by_user], users[by_user])
    same = overall[by_user] + users[by_user] * (len(users) + 1.0)
    ranks = rankdata(same) - starts
    mistakes, counts = np.bincount(users[by_user], truth[by_user]), np.bincount(users)
    pairs = mistakes * (counts - mistakes)
    higher = np.bincount(users[by_user], ranks * truth[by_user]) - mistakes * (mistakes + 1) / 2
    return float(higher.sum() / pairs.sum()) if pairs.sum() else None
