"""A linear item-item model that accounts for noise in the clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

from graphnoise.checks import choice, integer, real
from recsys.base import Callback
from recsys.models import gram
from recsys.models.baselines import ItemWeights, relative_popularity
from recsys.topk import Floats

CORES = ("autoencoder", "neighbourhood")
# Items up to which all eigenvectors are computed, as where a quarter of them is asked for.
_FEW = 256
# Rows of the weights to which the low-pass filter is added at a time.
_ROWS = 512


class DenoisingLinear(ItemWeights):
    r"""Item-item weights, fitted on clicks with false positives and hidden likes.

    Clicks are scaled, X̃ = D_users^-a X D_items^-b, and with G = X̃ᵀX̃ the score of a user is the row X (E + w VVᵀ) + c
    π:

    - E as "autoencoder" minimises the expected |X̃ - Z E|² + λ g |E|² under a zero diagonal, where each click of Z is
      hidden with probability p (and the others rescaled accordingly), and g is the mean of diag(G). With
      P = (G + λ g I + p/(1 - p) diag(G))⁻¹ it is E[i, j] = -P[i, j] / P[j, j]. As "neighbourhood" it is G over its
      largest eigenvalue.
    - V holds the eigenvectors of the `directions` largest eigenvalues of G: a low-pass filter. Shared preferences lie
      in few directions, random clicks in all.
    - π is the popularity of an item relative to the largest one, which serves users with few or no clicks.

    The dropout p counters hidden likes; a (less weight for users with many clicks) and w counter false clicks. With
    a = b = c = w = p = 0 it is EASE with regularization λ g, and needs as much memory and time: P is dense. As
    "neighbourhood" the weights are sparse where G is, and V is kept apart.

    Args:
        regularization: λ, positive.
        dropout: p, in [0, 1).
        user_power: A, in [0, 1].
        item_power: b, in [0, 1].
        low_pass: w, at least 0.
        directions: Number of eigenvectors in V, at most the number of items.
        intercept: c, at least 0.
        core: E, "autoencoder" or "neighbourhood", which ignores `regularization` and `dropout`.
        num_threads: Threads of `recommend`; 0 is one per core.

    Raises:
        InputError: A number is out of its range; on `fit`, more items than memory allows.

    Example:
        >>> clicks = sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])
        >>> model = DenoisingLinear(regularization=0.5, directions=1).fit(clicks)
        >>> model.recommend(0, clicks[[0]], N=1)[0].tolist()
        [2]

    Source: Steck, "Autoencoders that don't overfit towards the identity", NeurIPS 2020 (dropout); Shen et al.,
        "How powerful is graph convolution for recommendation?", CIKM 2021 (scaling and low-pass filter).
    """

    _arrays = ("user_items", "weights", "vectors", "popularity")
    # V √w, where it is not part of the weights.
    vectors: Any = None
    popularity: Any = None

    def __init__(
        self,
        regularization: float = 5.0,
        dropout: float = 0.3,
        user_power: float = 0.3,
        item_power: float = 0.4,
        low_pass: float = 0.02,
        directions: int = 32,
        intercept: float = 0.01,
        core: str = "autoencoder",
        num_threads: int = 0,
    ) -> None:
        self.regularization = real("regularization", regularization, 1e-12)
        self.dropout = real("dropout", dropout, 0.0, 1 - 1e-9, "a number of at least 0 and below 1")
        self.user_power = real("user_power", user_power, 0.0, 1.0)
        self.item_power = real("item_power", item_power, 0.0, 1.0)
        self.low_pass = real("low_pass", low_pass, 0.0)
        self.directions = integer("directions", directions, 1)
        self.intercept = real("intercept", intercept, 0.0)
        self.core = choice("core", core, CORES)
        self.num_threads = integer("num_threads", num_threads, 0)

    def _scaled(self, user_items: sp.csr_array) -> sp.csr_array:
        users = np.maximum(np.diff(user_items.indptr), 1) ** -self.user_power
        counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
        items = np.maximum(counts, 1) ** -self.item_power
        return sp.csr_array(sp.diags_array(users) @ user_items.astype(np.float64) @ sp.diags_array(items))

    def _penalty(self, scaled: sp.csr_array) -> gram.Reals:
        diagonal = np.bincount(scaled.indices, scaled.data**2, minlength=scaled.shape[1])
        return np.asarray(self.regularization * diagonal.mean() + self.dropout / (1 - self.dropout) * diagonal)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the weights, the eigenvectors and what they are computed from."""
        size = user_items.shape[1]
        vectors = 24.0 * size * min(self.directions, size) if self.low_pass > 0 else 0.0
        if self.core == "neighbourhood":
            return vectors + 24.0 * gram.pairs_in_rows(user_items)
        scaled = self._scaled(user_items)
        return vectors + gram.dense_bytes(size, gram.inversion_type(scaled, self._penalty(scaled)))

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        size, scaled = user_items.shape[1], self._scaled(user_items)
        self.vectors, self.popularity = None, relative_popularity(user_items)
        if self.low_pass > 0 or self.core == "neighbourhood":
            # The largest eigenvalue is always needed.
            largest, vectors = _largest_eigenvectors(scaled, min(self.directions, size) if self.low_pass > 0 else 1)
            filtered = (np.sqrt(self.low_pass) * vectors).astype(np.float32)
        weights: Any
        if self.core == "autoencoder":
            penalty = self._penalty(scaled)
            together = gram.gram(scaled, gram.inversion_type(scaled, penalty))
            np.fill_diagonal(together, together.diagonal() + penalty)
            weights = gram.regress("DenoisingLinear", together)
        elif 2 * gram.pairs_in_rows(user_items) < size**2:
            scaled.data /= np.sqrt(largest.max())
            weights = sp.csr_array(scaled.T.tocsr() @ scaled).astype(np.float32)
        else:
            weights = (gram.gram(scaled, np.float64) / largest.max()).astype(np.float32)
        if self.low_pass > 0 and sp.issparse(weights):
            self.vectors = filtered
        elif self.low_pass > 0:
            for start in range(0, size, _ROWS):
                weights[start : start + _ROWS] += filtered[start : start + _ROWS] @ filtered.T
        self.user_items, self.weights = user_items, weights

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of users given by their items alone."""
        scores: Floats = super().scores_for(user_items) + np.float32(self.intercept) * self.popularity
        if self.vectors is not None:
            scores += (user_items @ self.vectors) @ self.vectors.T
        return scores


def _largest_eigenvectors(scaled: sp.csr_array, count: int) -> tuple[gram.Reals, gram.Reals]:
    """Return the largest eigenvalues of X̃ᵀX̃ and their vectors [n, count]."""
    size = scaled.shape[1]
    if size <= _FEW or 4 * count > size:
        values, vectors = eigh(gram.gram(scaled, np.float64), subset_by_index=[size - count, size - 1])
        return values, vectors
    transposed = scaled.T.tocsr()
    product = LinearOperator((size, size), lambda vector: transposed @ (scaled @ vector), dtype=np.float64)
    values, vectors = eigsh(product, count, v0=np.random.default_rng(0).normal(size=size))
    return values, vectors
