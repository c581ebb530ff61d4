"""Recommendation by a filter of the item graph, published or learned from held-out clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from graphnoise.checks import choice, integer, real
from graphnoise.resources import thread_count
from recsys.base import Callback, Recommender
from recsys.models.baselines import ItemWeights
from recsys.models.filter_learning import fold_memory, learn
from recsys.models.filters import Filter, published
from recsys.models.item_graph import PANEL, ItemGraph
from recsys.topk import Floats
from recsys.validation import Ints

PRESETS = ("auto", "chebycf", "gf-cf", "linkprop")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Of a published filter.
SETTINGS = ("preset", "degree", "directions", "low_pass", "flatness", "degree_power", "user_power", "item_power")
# Numbers of a filter, saved as one array.
NUMBERS = ("user_power", "item_power", "power_in", "power_out", "vector_power", "popularity")


class SpectralFilter(Recommender):
    r"""Scores by a filter of the graph of items that share users, without training and without items × items arrays.

    With R the clicks, R̃ = D_u^-a R D_i^-b / σ, S = R̃ᵀ R̃ (eigenvalues in [0, 1]), V its leading eigenvectors and D the
    clicks of the items over their mean, a user's row r has the scores

        [r D^-p h(S)] D^q + [r D^-v V diag(w) Vᵀ] D^v + c π,    h(S) = Σ_k c_k T_k(I - 2 S),

    π the clicks of the items over their maximum. A product with S is two sparse products as wide as the users of a
    block, so that a user's scores take 4 · degree · clicks operations. New users and new clicks are a row r
    (`recalculate_user`, `partial_fit_users`): the graph stays that of the clicks of `fit`. Users without clicks get the
    popular items, as those of other models with item weights.

    - "linkprop": h(s) = s; p = q = `degree_power` (0).
    - "gf-cf": h(s) = s, and `directions` (256) vectors of weight `low_pass` (.3); v = `degree_power` (.5).
    - "chebycf": h(s) = ½ (1 - sign(x) abs(x)^`flatness`) with x = 1 - 2 s, interpolated at `degree` + 1 points, and
      `directions` (512) vectors of weight `low_pass` (.2); p = q = v = `degree_power` (.4).
    - "auto": h, w, c and p = q = v are learned; a = .3, b = .4.

    "auto" learns a few numbers by ridge regression of held-out clicks (two folds, a tenth each) on the scores of a bank
    of filters: s, s², s (1 + λ) / (s + λ) for three λ, projections on up to four numbers of leading eigenvectors, and
    popularity. The weights say how far each band of the spectrum can be trusted, under the false and the missing clicks
    of these data. Exponent, penalty and whether the weights are refined for NDCG@20 are those that rank the other
    fold's held-out clicks best. If nothing can be held out (users with one click), h(s) = s.

    Args:
        preset: "auto", "chebycf", "gf-cf" or "linkprop"; None below is the value of the preset.
        degree: Degree of the polynomial h ("chebycf", "auto").
        directions: Number of leading eigenvectors, 0 for none; "auto" takes 8, 32, 128 and 512 of them as far as that
            is at most this number (None: 30 % of the users and of the items).
        low_pass: Weight of the projection on them ("chebycf", "gf-cf"), at least 0.
        flatness: Exponent of the response of "chebycf", above 0.
        degree_power: Exponent of the items' clicks, as above, in [-2, 2]; "auto" ignores it, `user_power` and
            `item_power`.
        user_power: a, in [0, 1].
        item_power: b, in [0, 1].
        dtype: Storage of the propagated values, "float32" or "bfloat16"; sums are float32.
        random_state: Seed of the eigenvectors' iteration and of the folds.
        num_threads: Threads of `fit` and `recommend`; 0 is one per core. Results do not depend on it.

    Attributes:
        filter_: The `Filter` of the fitted model.
        comparison_: With "auto", a dict for each choice that was compared (power, penalty, refined, ndcg), else None.

    Raises:
        InputError: An argument is out of its range; on `fit`, more items than memory allows.

    Example:
        >>> clicks = sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])
        >>> model = SpectralFilter("linkprop").fit(clicks)
        >>> model.recommend(0, clicks[[0]], N=1)[0].tolist()
        [2]

    Source: Fu et al., "Revisiting neighborhood-based link prediction for collaborative filtering", 2022 (LinkProp);
        Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021 (GF-CF); Kim et al., "Graph
        spectral filtering with Chebyshev interpolation for recommendation", SIGIR 2025 (ChebyCF).
    """

    _arrays = ("user_items", "graph_clicks", "coefficients", "vectors", "vector_weights", "numbers", "storage")
    user_items: Any = None
    # The clicks of fit, where `user_items` has changed since.
    graph_clicks: Any = None
    coefficients: Any = None
    vectors: Any = None
    vector_weights: Any = None
    numbers: Any = None
    # The dtype at the time of fit.
    storage: Any = None
    comparison_: list[dict[str, Any]] | None = None
    _graph: ItemGraph | None = None

    def __init__(
        self,
        preset: str = "auto",
        degree: int = 8,
        directions: int | None = None,
        low_pass: float | None = None,
        flatness: float = 1.5,
        degree_power: float | None = None,
        user_power: float = 0.5,
        item_power: float = 0.5,
        dtype: str = "float32",
        random_state: int = 0,
        num_threads: int = 0,
    ) -> None:
        self.preset = choice("preset", preset, PRESETS)
        self.degree = integer("degree", degree, 1, 1000)
        self.directions = None if directions is None else integer("directions", directions, 0)
        self.low_pass = None if low_pass is None else real("low_pass", low_pass, 0.0)
        self.flatness = real("flatness", flatness, 1e-12)
        self.degree_power = None if degree_power is None else real("degree_power", degree_power, -2.0, 2.0)
        self.user_power = real("user_power", user_power, 0.0, 1.0)
        self.item_power = real("item_power", item_power, 0.0, 1.0)
        self.dtype = choice("dtype", dtype, DTYPES)
        self.random_state = integer("random_state", random_state, 0, 2**32 - 1)
        self.num_threads = integer("num_threads", num_threads, 0)

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of the vectors, of a panel of users and, with "auto", of the folds."""
        size = user_items.shape[1]
        # "linkprop" has no vectors.
        vectors = 0 if self.preset == "linkprop" else (512 if self.directions is None else self.directions) + 16
        folds = fold_memory(size) if self.preset == "auto" else 0.0
        return float(folds + 24.0 * size * (vectors + PANEL) + 40.0 * user_items.nnz)

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        size, seed = user_items.shape[1], self.random_state
        if self.preset == "auto":
            threads = thread_count(self.num_threads)
            chosen, self.comparison_ = learn(user_items, self.degree, self.directions, seed, threads)
        else:
            chosen = published(**{name: getattr(self, name) for name in SETTINGS})
            self.comparison_ = None
        graph = ItemGraph(user_items, chosen.user_power, chosen.item_power, DTYPES[self.dtype])
        self.storage = np.array(self.dtype)
        vectors = graph.leading_vectors(len(chosen.weights), seed) if len(chosen.weights) else np.zeros((size, 0))
        self.user_items, self.graph_clicks = user_items, None
        self.vectors, self._graph = vectors.astype(np.float32), graph
        self.coefficients, self.vector_weights = chosen.coefficients, chosen.weights[: vectors.shape[1]]
        self.numbers = np.array([getattr(chosen, name) for name in NUMBERS])

    @property
    def filter_(self) -> Filter:
        """The filter of the fitted model."""
        self.check_fitted()
        return self._filter()

    def _filter(self) -> Filter:
        return Filter(
            self.coefficients, self.vector_weights, **dict(zip(NUMBERS, map(float, self.numbers), strict=True))
        )

    def scores(self, userids: Ints) -> Floats:
        """Return the scores of the users of `fit`: float32 [len(userids), num_items]."""
        return self.scores_for(self.user_items[userids])

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return the scores of users given by their clicks alone."""
        return ItemWeights._complete(self, self._filtered(user_items), user_items)

    def _filtered(self, user_items: sp.csr_array) -> Floats:
        chosen = self._filter()
        if self._graph is None:
            dtype = DTYPES[str(self.storage)]
            clicks = self.user_items if self.graph_clicks is None else self.graph_clicks
            self._graph = ItemGraph(clicks, chosen.user_power, chosen.item_power, dtype)
        counts = self._graph.item_clicks
        relative = counts / counts.mean()
        into, out, around = (
            relative ** np.float32(power) for power in (chosen.power_in, chosen.power_out, chosen.vector_power)
        )
        scores = self._graph.polynomial(user_items, chosen.coefficients, 1 / into)
        scores *= out
        if len(chosen.weights):
            inside = user_items @ (self.vectors / around[:, None] * chosen.weights.astype(np.float32))
            scores += inside @ (self.vectors * around[:, None]).T
        scores += (np.float32(chosen.popularity) * counts / counts.max())[None]
        return scores

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        if self.graph_clicks is None:
            self.graph_clicks = self.user_items
        return {"user_items": rows}

    def _explain(self, row: sp.csr_array, item: int, user_weights: Any) -> tuple[float, Floats, Any]:
        ones = np.ones(row.nnz + 1, np.float32)
        # A row for each click, and one without clicks, which has popularity alone.
        each = sp.csr_array((ones[1:], (np.arange(row.nnz), row.indices)), shape=(row.nnz + 1, self.num_items))
        parts = self._filtered(each)[:, item]
        return float(self.scores_for(row)[0, item]), parts[:-1] - parts[-1], None

    _item_similarity = ItemWeights._item_similarity
    _user_similarity = ItemWeights._user_similarity
