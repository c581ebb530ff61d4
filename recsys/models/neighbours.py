"""Neighbourhood models beside ItemKNN: nearest users, and random walks of three steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from graphnoise.checks import integer, real
from recsys.base import Callback, Recommender
from recsys.models import gram
from recsys.models.baselines import ItemWeights
from recsys.topk import Floats
from recsys.validation import Ints


class UserKNN(ItemWeights):
    r"""User-based nearest neighbours: score(u, i) = sum over the neighbours v of u with item i of s(u, v).

    s(u, v) = |items of both| / (sqrt(|items of u| · |items of v|) + shrinkage) is the similarity; u is no neighbour of
    its own. Users given by their items alone (`scores_for`) are new: a fitted user with the same items is a neighbour.
    Users cannot be added without a new fit, since they would be neighbours of others, and scores have no explanation as
    sums over items.

    Args:
        neighbours: Number of most similar users v kept per user u, ties to the lower user; None: all.
        shrinkage: Reduces the similarity of users with few items; 0 is the plain cosine.
        num_threads: Threads of `recommend`; 0 is one per core.

    Raises:
        InputError: Neighbours below 1, or a negative shrinkage; on `fit`, similarities that exceed the available
            memory.

    Example:
        >>> model = UserKNN(shrinkage=0).fit(sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]]))
        >>> model.scores(np.array([0]))
        array([[1. , 1.5, 0.5]], dtype=float32)

    Source: Herlocker et al., "An algorithmic framework for performing collaborative filtering", SIGIR 1999; Ferrari
    Dacrema et al., "Are we really making much progress?", 2019, section 3.2, for the shrinkage.
    """

    _arrays = ("user_items", "nearest")
    nearest: Any = None
    _explain, _new_users = Recommender._explain, Recommender._new_users

    def __init__(self, neighbours: int | None = 100, shrinkage: float = 0.0, num_threads: int = 0) -> None:
        self.neighbours = None if neighbours is None else integer("neighbours", neighbours, 1)
        self.shrinkage = real("shrinkage", shrinkage, 0.0)
        self.num_threads = integer("num_threads", num_threads, 0)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the similarities, and of their blocks."""
        pairs = gram.pairs_in_rows(user_items.T.tocsr())
        return 16.0 * min(pairs, float(user_items.shape[0]) * (self.neighbours or np.inf))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        self.user_items = user_items
        self.nearest = self._similar_to(user_items, diagonal=False)

    def _similar_to(self, rows: sp.csr_array, *, diagonal: bool) -> sp.csr_array:
        """Return the most similar fitted users of each row."""
        theirs, ours = (np.sqrt(np.diff(matrix.indptr)) for matrix in (rows, self.user_items))
        found = gram.similar(
            rows.astype(np.float64),
            self.user_items.T.tocsr().astype(np.float64),
            self.neighbours,
            lambda u, v: theirs[u] * ours[v] + self.shrinkage,
            diagonal=diagonal,
        )
        found.sort_indices()
        return found

    def scores(self, userids: Ints) -> Floats:
        """Return the sums of similarities over the neighbours of each user: float32 [len(userids), num_items]."""
        return self._complete(self.nearest[userids] @ self.user_items, self.user_items[userids])

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of new users given by their items alone."""
        return self._complete(self._similar_to(user_items, diagonal=True) @ self.user_items, user_items)


class RP3beta(ItemWeights):
    r"""Random walks of three steps over users and items, with less weight for popular ends.

    A walk goes from user u to one of its items j, to one of the users v of j, to an item i of v. The probability of a
    step is raised to the power α, and the end i counts n_i^-β, where n_i is the number of its users:

        score(u, i) = sum over j of u of W[j, i],   W[j, i] = n_i^-β · sum over v with j and i of (n_j · n_v)^-α,

    W[i, i] = 0, and the first step, which is the same for all items of u, is left out.

    Args:
        neighbours: Number of largest W[j, i] kept per item j, ties to the lower item; None: all.
        alpha: α, in [0, 3]; 1 are the probabilities.
        beta: β, in [0, 3]; 0 is the model P³α.
        num_threads: Threads of `recommend`; 0 is one per core.

    Raises:
        InputError: A number out of range; on `fit`, weights that exceed the available memory.

    Example:
        >>> model = RP3beta(alpha=1.0, beta=0.0).fit(sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]]))
        >>> model.scores(np.array([0])).round(3)
        array([[0.333, 0.5  , 0.167]], dtype=float32)

    Source: Paudel et al., "Updatable, accurate, diverse, and scalable recommendations for interactive applications",
    TiiS 2017, section 4; Cooper et al., "Random walks in recommender systems", WWW 2014 (α).
    """

    def __init__(
        self, neighbours: int | None = 200, alpha: float = 1.0, beta: float = 0.5, num_threads: int = 0
    ) -> None:
        self.neighbours = None if neighbours is None else integer("neighbours", neighbours, 1)
        self.alpha = real("alpha", alpha, 0.0, 3.0)
        self.beta = real("beta", beta, 0.0, 3.0)
        self.num_threads = integer("num_threads", num_threads, 0)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the weights, and of their blocks."""
        return 16.0 * min(gram.pairs_in_rows(user_items), float(user_items.shape[1]) * (self.neighbours or np.inf))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        matrix = user_items.astype(np.float64)
        counts = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1.0)
        sizes = np.maximum(np.diff(matrix.indptr), 1.0)
        steps = sp.csr_array(sp.diags_array(sizes**-self.alpha) @ matrix)
        back = sp.csr_array(sp.diags_array(counts**-self.alpha) @ matrix.T.tocsr())
        weights = gram.similar(back, steps, self.neighbours, lambda j, i: counts[i] ** self.beta)
        weights.sort_indices()
        self.user_items, self.weights = user_items, weights
