"""A filter of the item graph learned from held-out clicks: ridge regression on a bank of filters, cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recsys.metrics import ndcg
from recsys.models.filters import Filter, interpolate
from recsys.models.item_graph import PANEL, ItemGraph
from recsys.topk import NONE, Floats, top_k
from recsys.validation import Ints

# Exponents of users and items in the graph; those of items around the filters that are compared.
USER_POWER, ITEM_POWER = 0.3, 0.4
POWERS = (0.0, 0.2, 0.4)
# Numbers of leading eigenvectors of the projections, those above a share of the items or users left out.
RANKS, MAX_SHARE = (8, 32, 128, 512), 0.3
# Ridge penalties that are compared, relative to the mean square of each score.
PENALTIES = (0.02, 0.1, 0.5, 2.0, 10.0)
# Shares of s / (s + λ) among the filters.
SHRINKAGE = (0.3, 0.1, 0.03)
FOLDS, HELD_OUT = 2, 0.1
# Users of a fold, and scores of them by each filter.
MAX_USERS, MAX_SCORES = 4096, 1 << 24
# Length of the ranking that choices are made by, and items that each filter proposes for it.
DEPTH, CANDIDATES = 20, 40
# Changes of a weight, as shares of the largest, in the rounds of `refine`.
STEPS = (0.5, 0.2, 0.08)


def filter_bank(degree: int) -> NDArray[np.float64]:
    """Return Chebyshev coefficients of s, s², and s (1 + λ) / (s + λ) for λ in SHRINKAGE: [degree + 1, filters].

    Example:
        >>> (filter_bank(2)[:, :2].round(6) + 0.0).tolist()
        [[0.5, 0.375], [-0.5, -0.5], [0.0, 0.125]]
    """
    responses = [lambda s: s, lambda s: s**2, *(lambda s, a=a: s * (1 + a) / (s + a) for a in SHRINKAGE)]
    return np.stack([interpolate(lambda x, h=h: h((1 - x) / 2), degree) for h in responses], axis=1)


class Bank:
    """Scores of users by each filter of a bank: filters of the graph, projections on leading vectors, popularity.

    Args:
        graph: The graph of the items.
        vectors: Its leading eigenvectors [items, directions].
        power: Exponent of the items' clicks around all filters but popularity.
        degree: Degree of the polynomials.
    """

    def __init__(self, graph: ItemGraph, vectors: Floats, power: float, degree: int) -> None:
        self.graph, self.power, self.coefficients = graph, power, filter_bank(degree)
        self.scale = (graph.item_clicks / graph.item_clicks.mean()) ** np.float32(power)
        self.into, self.out = vectors / self.scale[:, None], vectors * self.scale[:, None]
        self.ranks = [rank for rank in RANKS if rank <= vectors.shape[1]]

    def scores(self, rows: sp.csr_array) -> Floats:
        """Return the scores of users given by their clicks: float32 [filters, users, items]."""
        degree, count = (size - rest for size, rest in zip(self.coefficients.shape, (1, 0), strict=True))
        x = torch.from_numpy(np.ascontiguousarray((rows.toarray() / self.scale).T))
        scores = np.empty((count + len(self.ranks) + 1, rows.shape[1], rows.shape[0]), np.float32)
        terms = np.empty((degree + 1, x.numel()), np.float32)
        for place, term in zip(terms, self.graph.chebyshev(x, degree), strict=True):
            place[:] = term.numpy().ravel()
        np.matmul(self.coefficients.T.astype(np.float32), terms, out=scores[:count].reshape(count, -1))
        scores[:count] *= self.scale[:, None]
        inside = (rows @ self.into).T
        for j, rank in enumerate(self.ranks, count):
            scores[j] = self.out[:, :rank] @ inside[:rank]
        scores[-1] = (self.graph.item_clicks / self.graph.item_clicks.max())[:, None]
        return scores.transpose(0, 2, 1)

    def combine(self, weights: NDArray[np.float64]) -> Filter:
        """Return the filter that is the weighted sum of the bank."""
        count = self.coefficients.shape[1]
        of_vector = np.zeros(max(self.ranks, default=0))
        for rank, weight in zip(self.ranks, weights[count:-1], strict=True):
            of_vector[:rank] += weight
        coefficients, power = self.coefficients @ weights[:count], self.power
        return Filter(coefficients, of_vector, USER_POWER, ITEM_POWER, power, power, power, float(weights[-1]))


class Fold:
    """What a fold says of a bank: sums for the regression, and the scores of the likeliest items of each user.

    Attributes:
        square: Σφφᵀ over users and items that are not kept, φ the scores by each filter [filters, filters].
        product: Σφy, y whether the click was held out [filters].
        scores: Scores by each filter, of users with a held-out click among their candidates [filters, users, items].
    """

    def __init__(self, bank: Bank, kept: sp.csr_array, held: sp.csr_array, users: Ints) -> None:
        self.square: Any = 0.0
        self.product: Any = 0.0
        parts = []
        for start in range(0, len(users), PANEL):
            some = users[start : start + PANEL]
            rows, wanted = kept[some], held[some].toarray()
            scores = bank.scores(rows)
            known = np.repeat(np.arange(len(some)), np.diff(rows.indptr)), rows.indices
            best = [top_k(layer, min(CANDIDATES, layer.shape[1]), rows)[0] for layer in scores]
            items = np.sort(np.concatenate(best, axis=1), axis=1)
            # The same item by several filters is one candidate.
            items[:, 1:][items[:, 1:] == items[:, :-1]] = NONE
            of_items = scores[:, np.arange(len(some))[:, None], items]
            hits = (np.take_along_axis(wanted, items, axis=1) > 0) & (items != NONE)
            found = hits.any(1)
            parts.append((of_items[:, found].transpose(1, 2, 0), items[found], hits[found], found, wanted.sum(1)))
            scores[:, *known] = 0
            # As they lie in memory.
            flat = scores.transpose(0, 2, 1).reshape(len(scores), -1)
            self.square = self.square + (flat @ flat.T).astype(np.float64)
            self.product = self.product + (flat @ wanted.T.reshape(-1)).astype(np.float64)
        of_items, items, hits, found, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.scores = np.ascontiguousarray(of_items.transpose(2, 0, 1))
        self._absent, self._users, self._sizes = items == NONE, np.flatnonzero(found), sizes.astype(np.int64)
        self._row, self._place = hits.nonzero()

    def total(self, weights: NDArray[np.float64]) -> Floats:
        """Return the weighted sum of the scores."""
        return np.tensordot(weights.astype(np.float32), self.scores, 1)

    def quality(self, total: Floats) -> float:
        """Return the mean NDCG of the held-out clicks by scores of the candidates [users, items]."""
        # Only the ranks of the held-out clicks count; equal scores go to the lower item.
        every = np.where(self._absent, -np.inf, total)[self._row]
        own = every[np.arange(len(every)), self._place, None]
        before = np.arange(every.shape[1]) < self._place[:, None]
        rank = (every > own).sum(1) + ((every == own) & before).sum(1)
        first = rank < DEPTH
        hits = np.zeros((len(self._sizes), min(DEPTH, every.shape[1])), bool)
        hits[self._users[self._row[first]], rank[first]] = True
        return float(ndcg(hits, self._sizes).mean())


def hold_out(user_items: sp.csr_array, share: float, rng: np.random.Generator) -> tuple[sp.csr_array, sp.csr_array]:
    """Return the clicks in two parts: each is held out with probability `share`; a user keeps at least one.

    Users with few clicks are held out from as often as others, which shares of each user's clicks would round to 0.
    """
    rows = np.repeat(np.arange(user_items.shape[0]), np.diff(user_items.indptr))
    draws = rng.random(user_items.nnz)
    largest = np.zeros(user_items.shape[0])
    np.maximum.at(largest, rows, draws)
    held = (draws < share) & (draws < largest[rows])
    kept, out = (
        sp.csr_array((user_items.data[part], (rows[part], user_items.indices[part])), shape=user_items.shape)
        for part in (~held, held)
    )
    return kept, out


def fold_memory(num_items: int) -> float:
    """Return the bytes that a panel of users and the candidates of two folds take."""
    filters = len(SHRINKAGE) + 6
    candidates = min(num_items, filters * CANDIDATES)
    users = max(1, min(MAX_USERS, MAX_SCORES // num_items))
    return 4.0 * filters * (4 * PANEL * num_items + FOLDS * 3 * users * candidates)


def learn(
    user_items: sp.csr_array, degree: int, directions: int | None, seed: int, num_threads: int
) -> tuple[Filter, list[dict[str, Any]]]:
    """Return the filter that predicts held-out clicks best, and what was compared.

    Each of FOLDS folds holds out a share of the clicks and builds the graph of the others. A ridge regression of the
    held-out clicks on the scores of a bank of filters gives the weights: how far each band of the spectrum can be
    trusted under the false and missing clicks of these data. `refine` raises the quality of the ranking that they give.
    Exponent, penalty and whether to refine are those whose weights from one fold rank the other's held-out clicks best
    (NDCG). If a fold holds out nothing, the filter is h(s) = s and nothing is compared.
    """
    rng = np.random.default_rng(seed)
    limit = max(1, min(MAX_USERS, MAX_SCORES // user_items.shape[1]))
    folds = []
    for _ in range(FOLDS):
        kept, held = hold_out(user_items, HELD_OUT, rng)
        users = np.sort(rng.permutation(np.flatnonzero(np.diff(held.indptr)))[:limit])
        folds.append((kept, held, users))
    if not all(len(users) for *_, users in folds):
        return Filter(np.array([0.5, -0.5]), np.zeros(0), USER_POWER, ITEM_POWER), []
    largest = MAX_SHARE * min(user_items.shape) if directions is None else directions
    rank = max((rank for rank in RANKS if rank <= largest), default=0)
    graphs = [ItemGraph(kept, USER_POWER, ITEM_POWER, num_threads=num_threads) for kept, _, _ in folds]
    vectors = [graph.leading_vectors(rank, seed) for graph in graphs]
    compared: list[dict[str, Any]] = []
    filters: list[Filter] = []
    for power in POWERS:
        banks = [Bank(*pair, power, degree) for pair in zip(graphs, vectors, strict=True)]
        parts = [Fold(bank, *fold) for bank, fold in zip(banks, folds, strict=True)]
        # All folds but one, which the weights are then tried on; and all of them, for the weights of the filter.
        learned_from = [[*parts[:k], *parts[k + 1 :]] for k in range(FOLDS)] + [parts]
        ridges = [[ridge(some, penalty) for some in learned_from] for penalty in PENALTIES]
        best = int(np.argmax([_crossed(parts, weights) for weights in ridges]))
        refined = [refine(some, weights) for some, weights in zip(learned_from, ridges[best], strict=True)]
        choices = [*zip(PENALTIES, ridges, strict=True), (PENALTIES[best], refined)]
        for penalty, weights in choices:
            compared.append({"power": power, "penalty": penalty, "refined": weights is refined})
            compared[-1]["ndcg"] = _crossed(parts, weights)
            filters.append(banks[0].combine(weights[-1]))
    return filters[max(range(len(compared)), key=lambda k: compared[k]["ndcg"])], compared


def _crossed(folds: Sequence[Fold], weights: Sequence[NDArray[np.float64]]) -> float:
    """Return the mean quality of each fold by the weights that were learned without it."""
    return float(np.mean([fold.quality(fold.total(w)) for fold, w in zip(folds, weights, strict=False)]))


def ridge(folds: Sequence[Fold], penalty: float) -> NDArray[np.float64]:
    """Return (A + penalty · diag(A))⁻¹ b with the folds' sums A = Σφφᵀ and b = Σφy; 0 for a filter without scores."""
    square, product = sum(fold.square for fold in folds), sum(fold.product for fold in folds)
    scale = np.sqrt(np.diag(square))
    scale[scale == 0] = np.inf
    inner = square / scale / scale[:, None] + penalty * np.eye(len(product))
    return np.asarray(np.linalg.solve(inner, product / scale) / scale)


def refine(folds: Sequence[Fold], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights of higher mean NDCG on the folds: from those of `ridge`, one weight at a time is changed.

    The squared error over all items is not the quality of a ranking.
    """
    weights, scale = weights.copy(), np.sqrt(np.diag(sum(fold.square for fold in folds)))
    largest, used = np.abs(weights * scale).max(), np.flatnonzero(scale)
    totals = [fold.total(weights) for fold in folds]
    best = np.mean([fold.quality(total) for fold, total in zip(folds, totals, strict=True)])
    for step in STEPS:
        for j in used:
            for change in (step, -step):
                by = change * largest / scale[j]
                moved = [total + np.float32(by) * fold.scores[j] for fold, total in zip(folds, totals, strict=True)]
                value = np.mean([fold.quality(total) for fold, total in zip(folds, moved, strict=True)])
                if value > best:
                    weights[j] += by
                    totals, best = moved, value
                    break
    return weights
