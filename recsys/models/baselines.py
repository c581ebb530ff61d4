"""Baseline recommenders: popularity, ItemKNN, ALS, EASE."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from graphnoise.checks import InputError, choice, integer, package, real
from recsys.base import Callback, Recommender, wants_stop
from recsys.interactions import Interactions, InteractionsLike, as_csr
from recsys.models import gram
from recsys.models.factors import FactorModel, cosine
from recsys.topk import Floats
from recsys.validation import Ints

# Largest score of a user without interactions, who gets the popular items.
UNKNOWN_USER = np.float32(1e-9)


class Popularity(Recommender):
    """The items with the most interactions for every user: score(u, i) = number of users of i.

    Example:
        >>> import scipy.sparse as sp
        >>> Popularity().fit(sp.csr_array([[1, 1, 0], [0, 1, 0]])).scores(np.array([0])).tolist()
        [[1.0, 2.0, 0.0]]
    """

    _arrays = ("counts",)
    counts: Any = None

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        self.counts = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(np.float32)

    def scores(self, userids: Ints) -> Floats:
        """Return the number of users of each item, the same for all users."""
        return np.repeat(self.counts[None], len(userids), axis=0)

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the number of users of each item."""
        return self.scores(np.zeros(user_items.shape[0], np.int64))

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        return {}


class ItemWeights(Recommender):
    """A linear model with item-item weights: score(u, i) = sum over the items j of u of weights[j, i].

    Users without items get the popular ones: scores from 0 to 1e-9, in proportion to the number of users of an item.
    """

    _arrays: tuple[str, ...] = ("user_items", "weights")
    user_items: Any = None
    weights: Any = None

    def scores(self, userids: Ints) -> Floats:
        """Return the sums of the weights of each user's items: float32 [len(userids), num_items]."""
        return self.scores_for(self.user_items[userids])

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of users given by their items alone."""
        return self._complete(user_items @ self.weights, user_items)

    def _complete(self, scores: Any, user_items: sp.csr_array) -> Floats:
        """Return scores as a dense array, those of empty rows by popularity."""
        dense = np.asarray(scores.toarray() if sp.issparse(scores) else scores, np.float32)
        empty = np.diff(user_items.indptr) == 0
        if empty.any():
            dense[empty] = UNKNOWN_USER * relative_popularity(self.user_items)
        return dense

    def _explain(self, row: sp.csr_array, item: int, user_weights: Any) -> tuple[float, Floats, Any]:
        column = self.weights[:, [item]]
        parts = np.asarray(column.toarray() if sp.issparse(column) else column)[row.indices, 0]
        return float(self.scores_for(row)[0, item]), parts, None

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        return {"user_items": rows}

    def _new_item_similarity(self, itemids: Ints, item_users: sp.csr_array) -> Floats:
        return np.asarray((_unit_rows(item_users) @ _unit_rows(self.user_items.T.tocsr()).T).toarray(), np.float32)

    def _item_similarity(self, itemids: Ints) -> Floats:
        return _cosines(self.user_items.T.tocsr(), itemids)

    def _user_similarity(self, userids: Ints) -> Floats:
        return _cosines(self.user_items, userids)


def relative_popularity(user_items: sp.csr_array) -> Floats:
    """Return the number of users of each item over the largest such number."""
    counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
    return np.asarray(counts / counts.max(), np.float32)


def _tie_breaks(item_users: sp.csr_array) -> Floats:
    """Return a small score of each item, in proportion to the share of users who have it."""
    return np.asarray(UNKNOWN_USER * np.diff(item_users.indptr) / item_users.shape[1], np.float32)


def _cosines(matrix: sp.csr_array, selected: Ints) -> Floats:
    """Return the cosines of selected rows of a matrix of ones with all rows."""
    unit = _unit_rows(matrix)
    return np.asarray((unit[selected] @ unit.T).toarray(), np.float32)


def _unit_rows(matrix: sp.csr_array) -> sp.csr_array:
    """Return the rows of a matrix of ones, scaled to length 1."""
    sizes = np.diff(matrix.indptr)
    data = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes).astype(np.float32)
    return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


class ItemKNN(ItemWeights):
    r"""Item-based nearest neighbours: score(u, i) = sum over the items j of u of the cosine similarity s(j, i).

    s(j, i) = |users of both| / (sqrt(|users of j| · |users of i|) + shrinkage), and s(i, i) = 0.

    Args:
        neighbours: Number of most similar items j kept per item i, ties to the lower item; None: all.
        shrinkage: Reduces the similarity of items with few users; 0 is the plain cosine.
        num_threads: Threads of `recommend`; 0 is one per core.

    Raises:
        InputError: Neighbours below 1, or a negative shrinkage; on `fit`, similarities that exceed the available
            memory.

    Example:
        >>> model = ItemKNN(shrinkage=0).fit(sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]]))
        >>> model.scores(np.array([0])).round(3)
        array([[0.816, 0.816, 0.577]], dtype=float32)

    Source: Sarwar et al., "Item-based collaborative filtering recommendation algorithms", 2001; Ferrari Dacrema et al.,
    "Are we really making much progress?", 2019, section 3.2, for the shrinkage.
    """

    def __init__(self, neighbours: int | None = None, shrinkage: float = 0.0, num_threads: int = 0) -> None:
        self.neighbours = None if neighbours is None else integer("neighbours", neighbours, 1)
        self.shrinkage = real("shrinkage", shrinkage, 0.0)
        self.num_threads = integer("num_threads", num_threads, 0)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the similarities, and of their blocks."""
        return 16.0 * min(gram.pairs_in_rows(user_items), float(user_items.shape[1]) * (self.neighbours or np.inf))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        matrix = user_items.astype(np.float64)
        roots = np.sqrt(np.bincount(matrix.indices, minlength=matrix.shape[1]))
        nearest = gram.similar(
            matrix.T.tocsr(), matrix, self.neighbours, lambda i, j: roots[i] * roots[j] + self.shrinkage
        )
        # Symmetric, unless neighbours were selected.
        weights = sp.csr_array(nearest.T.tocsr() if self.neighbours is not None else nearest)
        weights.sort_indices()
        self.user_items, self.weights = user_items, weights

    def _item_similarity(self, itemids: Ints) -> Floats:
        # Column i holds the neighbours of i, without i itself.
        similarity = self.weights[:, itemids].T.toarray()
        similarity[np.arange(len(itemids)), itemids] = 1
        return np.asarray(similarity, np.float32)

    def _new_item_similarity(self, itemids: Ints, item_users: sp.csr_array) -> Floats:
        columns = self.user_items.T.tocsr()
        roots = np.sqrt(np.outer(np.diff(item_users.indptr), np.diff(columns.indptr))) + self.shrinkage
        similarity = (item_users @ self.user_items).toarray() / np.maximum(roots, 1e-12)
        similarity[np.arange(len(itemids)), itemids] = 1
        return np.asarray(similarity, np.float32)


class EASE(ItemWeights):
    r"""A linear autoencoder without hidden layer: each item is regressed on the others.

    B minimises |X - X B|^2 + |Λ^½ B|^2 under a zero diagonal, Λ = λ I + p/(1 - p) diag(XᵀX). With P = (XᵀX + Λ)⁻¹,
    B[i, j] = -P[i, j] / P[j, j] for i ≠ j. The score of a user is the row X B. With p > 0 it is EDLAE: the expected
    loss if each click of the input is hidden with probability p and the others count 1/(1 - p).

    P is dense, and made in the memory of XᵀX: 4 · items² bytes, or 12 · items² up to 4,096 items and where λ is small
    against XᵀX (double precision); time items³. With `neighbours` each item is regressed on that many others only, and
    memory is 16 · items · neighbours bytes.

    Args:
        regularization: λ, positive.
        dropout: p, in [0, 1).
        neighbours: Number of items i with B[i, j] ≠ 0 for each j at most: those with the largest G[i, j]² / A[i, i],
            G = XᵀX and A = G + Λ, by which each alone would lower the loss; None: all others.
        num_threads: Threads of `recommend`, and of `fit` with `neighbours`; 0 is one per core.

    Raises:
        InputError: A number out of range; on `fit`, more items than memory allows.

    Example:
        >>> model = EASE(regularization=1.0).fit(sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]]))
        >>> model.recommend(0, model.user_items[[0]], N=1)[0].tolist()
        [2]

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019, section 3.1; "Autoencoders that
    don't overfit towards the identity", NeurIPS 2020 (dropout); "Markov random fields for collaborative filtering",
    NeurIPS 2019, section 3.2 (regression on few items).
    """

    def __init__(
        self,
        regularization: float = 250.0,
        dropout: float = 0.0,
        neighbours: int | None = None,
        num_threads: int = 0,
    ) -> None:
        self.regularization = real("regularization", regularization, 1e-12)
        self.dropout = real("dropout", dropout, 0.0, 1 - 1e-9, "a number of at least 0 and below 1")
        self.neighbours = None if neighbours is None else integer("neighbours", neighbours, 1)
        self.num_threads = integer("num_threads", num_threads, 0)

    def _penalty(self, user_items: sp.csr_array) -> gram.Reals:
        counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
        return np.asarray(self.regularization + self.dropout / (1 - self.dropout) * counts)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the weights and of what they are computed from."""
        size = int(user_items.shape[1])
        if self.neighbours is not None:
            return 16.0 * size * min(self.neighbours, size)
        return gram.dense_bytes(size, gram.inversion_type(user_items, self._penalty(user_items)))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        penalty = self._penalty(user_items)
        if self.neighbours is not None:
            weights: Any = gram.regress_on_few("EASE", user_items, penalty, self.neighbours, self.num_threads)
        else:
            together = gram.gram(user_items, gram.inversion_type(user_items, penalty))
            np.fill_diagonal(together, together.diagonal() + penalty)
            weights = gram.regress("EASE", together)
        self.user_items, self.weights = user_items, weights


class ALS(FactorModel):
    """Matrix factorisation by alternating least squares, from `implicit`: all pairs count, positives count more.

    Minimises the sum over all pairs of c_ui (p_ui - <U_u, V_i>)^2 + λ (|U|^2 + |V|^2), with p = 1 and c = alpha · value
    for positives, p = 0 and c = 1 for the rest. Ctrl-C during `fit` restores the last complete epoch.

    Values are those of a SciPy matrix, as in `implicit`, or all 1, or the ratings of `Interactions`, which counts
    become in `Interactions.from_csr`. Stars are mostly no confidence: if `weights` does not say what ratings are, they
    count as 1 and a warning says so.

    Args:
        factors: Length of the vectors.
        regularization: λ. Vectors shrink to 0 where it is above alpha times the largest singular value of the values.
        alpha: Weight of a positive, multiplied by the values of the matrix. With `regularization`, chosen on validation
            parts of six data sets (docs/recommend.md).
        iterations: Alternations between users and items.
        random_state: Seed of the initial values; the result does not depend on the number of threads.
        num_threads: Threads of fitting and of `recommend`; 0 is one per core.
        weights: What the values are: "ratings" of `Interactions`, or values of a matrix; "ones"; None is the values of
            a matrix, and 1 for `Interactions`.

    Raises:
        InputError: A number out of range; on `fit`, `implicit` is not installed (extra `recsys`), or NaN in the
            factors.

    Example:
        >>> clicks = sp.csr_array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
        >>> model = ALS(factors=2, regularization=0.1, random_state=0).fit(clicks, show_progress=False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [0]

    Source: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008.
    """

    def __init__(
        self,
        factors: int = 64,
        regularization: float = 30.0,
        alpha: float = 20.0,
        iterations: int = 15,
        random_state: int = 0,
        num_threads: int = 0,
        weights: str | None = None,
    ) -> None:
        self.factors = integer("factors", factors, 1)
        self.regularization = real("regularization", regularization, 0.0)
        self.alpha = real("alpha", alpha, 1e-12)
        self.iterations = integer("iterations", iterations, 1)
        self.random_state = integer("random_state", random_state, 0, 2**32 - 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.weights = None if weights is None else choice("weights", weights, ("ones", "ratings"))

    def _matrix(
        self, name: str, value: InteractionsLike, shape: tuple[int | None, int | None] = (None, None)
    ) -> sp.csr_array:
        if isinstance(value, Interactions) and self.weights == "ratings":
            value = value.weighted()
        return as_csr(name, value, weights=self.weights != "ones", shape=shape)

    def _check_fit(self, user_items: InteractionsLike, callback: Callback | None) -> sp.csr_array:
        matrix = super()._check_fit(user_items, callback)
        if self.weights is None and isinstance(user_items, Interactions) and user_items.ratings is not None:
            text = (
                'ALS: ratings count as 1; weights="ratings" takes them as confidence, weights="ones" says they are none'
            )
            warnings.warn(text, UserWarning, stacklevel=3)
        return matrix

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the factors and of two copies, for Ctrl-C."""
        return 12.0 * self.factors * float(sum(user_items.shape))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        model = self._implicit_model()
        # Decides between equal scores only, as those of users without interactions are.
        self.item_biases = _tie_breaks(user_items.T.tocsr())
        from implicit.recommender_base import ModelFitError

        last: list[Any] = []

        def each_epoch(*progress: Any) -> None:
            last[:] = model.user_factors.copy(), model.item_factors.copy()
            if callback is not None and wants_stop(callback(*progress)):
                raise StopIteration

        # `implicit` uses its own threads.
        with threadpool_limits(1, "blas"), np.errstate(over="ignore"):
            try:
                model.fit(sp.csr_matrix(user_items), show_progress=show_progress, callback=each_epoch)
            except StopIteration:
                pass
            except KeyboardInterrupt:
                if last:
                    self.user_factors, self.item_factors = last
                    self.num_users, self.num_items = user_items.shape
                raise
            except ModelFitError as error:
                raise InputError(f"ALS: expected values and settings that factors can follow, got {error}") from error
        self.user_factors, self.item_factors = model.user_factors, model.item_factors

    def _implicit_model(self) -> Any:
        als = package("ALS", "implicit.cpu.als", "recsys")
        names = ("factors", "regularization", "alpha", "iterations", "random_state", "num_threads")
        # `implicit` warns if BLAS uses several threads.
        with threadpool_limits(1, "blas"):
            return als.AlternatingLeastSquares(**{name: getattr(self, name) for name in names})

    def _fitted_implicit_model(self) -> Any:
        model = self._implicit_model()
        # `implicit` takes no array that is read-only, as those of an open file are.
        model.user_factors, model.item_factors = (
            np.require(part, requirements="W") for part in (self.user_factors, self.item_factors)
        )
        return model

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of users given by their rows: one least-squares step with the items fixed."""
        return self._score(self._new_users(user_items)["user_factors"])

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        with threadpool_limits(1, "blas"):
            found = self._fitted_implicit_model().recalculate_user(np.arange(rows.shape[0]), sp.csr_matrix(rows))
        return {"user_factors": np.asarray(found)}

    def _new_items(self, rows: sp.csr_array) -> dict[str, Any]:
        with threadpool_limits(1, "blas"):
            found = self._fitted_implicit_model().recalculate_item(np.arange(rows.shape[0]), sp.csr_matrix(rows))
        biases = {} if self.item_biases is None else {"item_biases": _tie_breaks(rows)}
        return {"item_factors": np.asarray(found)} | biases

    def _new_item_similarity(self, itemids: Ints, item_users: sp.csr_array) -> Floats:
        return cosine(self.item_factors, itemids, self._new_items(item_users)["item_factors"])

    def _explain(self, row: sp.csr_array, item: int, user_weights: Any) -> tuple[float, Floats, Any]:
        model = self._fitted_implicit_model()
        score, parts, weights = model.explain(0, sp.csr_matrix(row), item, user_weights, N=row.nnz)
        place = np.searchsorted(row.indices, [item for item, _ in parts])
        shares = np.zeros(row.nnz)
        shares[place] = [share for _, share in parts]
        return score, shares, weights
