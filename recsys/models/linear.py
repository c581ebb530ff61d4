"""A linear item-item model that accounts for noise in the clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, eigh

from graphnoise.checks import choice, integer, real
from graphnoise.resources import check_memory
from recsys.base import Callback
from recsys.models.baselines import EASE, ItemWeights
from recsys.topk import Floats

CORES = ("autoencoder", "neighbourhood")


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
    a = b = c = w = p = 0 it is EASE with regularization λ g. G and P are dense: memory is at most 40 · items² bytes and
    time items³; `fit` raises if that exceeds the available memory.

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

    _arrays = ("user_items", "weights", "popularity")
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

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        size = user_items.shape[1]
        check_memory(f"DenoisingLinear of {size} items", 40.0 * size**2)
        users = np.maximum(np.diff(user_items.indptr), 1) ** -self.user_power
        counts = np.bincount(user_items.indices, minlength=size)
        items = np.maximum(counts, 1) ** -self.item_power
        scaled = (sp.diags_array(users) @ user_items.astype(np.float64) @ sp.diags_array(items)).tocsr()
        gram = (scaled.T @ scaled).toarray()
        count = min(self.directions, size)
        # The largest eigenvalue is always needed.
        first = size - count if self.low_pass > 0 else size - 1
        largest, vectors = eigh(gram, subset_by_index=[first, size - 1])
        if self.core == "neighbourhood":
            weights = gram / largest[-1]
        else:
            diagonal = np.diag(gram).copy()
            gram[np.diag_indices(size)] += (
                self.regularization * diagonal.mean() + self.dropout / (1 - self.dropout) * diagonal
            )
            weights = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), np.eye(size), overwrite_b=True)
            weights /= -np.diag(weights)
            weights[np.diag_indices(size)] = 0
        if self.low_pass > 0:
            weights += self.low_pass * (vectors @ vectors.T)
        self.user_items, self.weights = user_items, weights.astype(np.float32)
        self.popularity = (counts / counts.max()).astype(np.float32)

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of users given by their items alone."""
        scores: Floats = super().scores_for(user_items) + np.float32(self.intercept) * self.popularity
        return scores

    _item_similarity = EASE._item_similarity
