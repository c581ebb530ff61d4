"""Two-groups model of `recsys.cleaning`: ranks of pairs among unobserved items, and the density of likes over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from recsys.base import Recommender
from recsys.validation import Ints

Floats = NDArray[np.float64]
# Bins of positions; the emptiest contains few likes.
NUM_BINS = 10
# Share of the highest-ranked positives, from which fn is estimated.
TOP_SHARE = 0.01
MAX_SHARE = 0.99


def ranks(reference: Floats, scores: Floats, extra: int) -> Floats:
    """Return positions of scores among sorted reference scores; `extra` is 1 if the pair is not among these."""
    above = len(reference) - np.searchsorted(reference, scores, "right")
    equal = len(reference) - above - np.searchsorted(reference, scores, "left")
    return np.asarray((above + 0.5 * (equal + extra)) / (len(reference) + extra))


def positive_positions(model: Recommender, matrix: sp.csr_array, held: NDArray[np.bool_], part: slice) -> Floats:
    """Return the positions of held-out positives for a slice of users."""
    users = np.arange(part.start, part.stop)
    scores = model._check_scores(model.scores(users), users)
    positions = [np.zeros(0)]
    for row, user in enumerate(users):
        at = slice(matrix.indptr[user], matrix.indptr[user + 1])
        known = matrix.indices[at]
        free = np.ones(scores.shape[1], bool)
        free[known] = False
        positions.append(ranks(np.sort(scores[row, free]), scores[row, known[held[at]]], 1))
    return np.concatenate(positions)


def hidden_likes(
    models: list[Recommender],
    matrix: sp.csr_array,
    likes: Callable[[Floats], Floats],
    rho: float,
    queries: tuple[Ints, Ints] | None,
    top: int,
    part: slice,
) -> tuple[Ints, Ints, Floats]:
    """Return unobserved pairs for a slice of users and the probability of a like, averaged over the models."""
    users = np.arange(part.start, part.stop)
    keys, bounds = None, np.zeros(0, np.int64)
    if queries is not None:
        inside = (queries[0] >= part.start) & (queries[0] < part.stop)
        keys = np.unique(queries[0][inside] * matrix.shape[1] + queries[1][inside])
        bounds = np.searchsorted(keys, np.arange(part.start, part.stop + 1) * matrix.shape[1])
    out: list[tuple[Ints, Ints, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    if top == 0 and queries is None:
        return out[0]
    all_scores = [model._check_scores(model.scores(users), users) for model in models]
    for row, user in enumerate(users):
        free = np.ones(matrix.shape[1], bool)
        free[matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] = False
        place = np.flatnonzero(free)
        if keys is not None:
            place = keys[bounds[row] : bounds[row + 1]] % matrix.shape[1]
        if not len(place):
            continue
        total = np.zeros(len(place))
        for scores in all_scores:
            density = likes(ranks(np.sort(scores[row, free]), scores[row, place], 0))
            total += rho * density / (rho * density + 1 - rho)
        best = np.arange(len(place)) if keys is not None else np.argsort(-total, kind="stable")[:top]
        out.append((np.full(len(best), user), place[best], total[best] / len(models)))
    return (np.concatenate([a for a, _, _ in out]), np.concatenate([b for _, b, _ in out]),
            np.concatenate([c for _, _, c in out]))  # fmt: skip


def fit_two_groups(
    x: Floats, method: str, q: float, fp: float | None, fn: float | None
) -> tuple[Callable[[Floats], Floats], float, float, float]:
    """Return f1, pi, fn and fp, estimated from the positions of positives."""
    if not len(x):
        x = np.array([0.5])
    knots, heights = grenander(x)

    def decreasing(at: Floats) -> Floats:
        return np.asarray(heights[np.minimum(np.searchsorted(knots, at, "left"), len(heights) - 1)])

    if fn is None:
        highest = float(decreasing(np.quantile(x, [TOP_SHARE]))[0])
        fn = 1 - q * highest / (q * highest + 1 - q)
    if fp is None:
        counts = np.bincount(np.minimum((x * NUM_BINS).astype(int), NUM_BINS - 1), minlength=NUM_BINS)
        pi = min((int(counts.min()) + 1) / (len(x) + NUM_BINS) * NUM_BINS, MAX_SHARE)
    else:
        pi = min(max(fp * (1 - (q - fp) / (1 - fn - fp)) / q, 0.0), MAX_SHARE) if fn + fp < 1 else MAX_SHARE
    fp = pi * q / (1 - min((1 - pi) * q / (1 - fn), MAX_SHARE)) if fp is None else fp
    if method == "mixture":
        a = power(x, pi)
        return lambda at: a * at ** (a - 1), pi, fn, fp
    # Preserves the order of positives where the density is below pi.
    floor = 1e-3

    def excess(at: Floats) -> Floats:
        return np.asarray(np.maximum((decreasing(at) - pi) / (1 - pi), floor * (1 - at)))

    return excess, pi, fn, fp


def grenander(x: Floats) -> tuple[Floats, Floats]:
    """Return the decreasing density on [0, 1] of maximum likelihood: knots, and the height up to each knot.

    Example:
        >>> grenander(np.array([0.1, 0.2, 0.9]))
        (array([0.1, 0.2, 0.9, 1. ]), array([3.33333333, 3.33333333, 0.47619048, 0.        ]))
    """
    knots, counts = np.unique(np.append(x, 1.0), return_counts=True)
    counts[-1] -= 1
    widths = np.diff(knots, prepend=0.0)
    heights = isotonic_regression(counts / len(x) / widths, sample_weight=widths, increasing=False)
    return knots, np.asarray(heights, np.float64)


def power(x: Floats, pi: float) -> float:
    """Return the maximum-likelihood a in (0, 1] of pi + (1 - pi) a x^(a - 1), by expectation-maximisation."""
    log, a = np.log(x), 0.5
    for _ in range(1000):
        density = (1 - pi) * a * np.exp((a - 1) * log)
        weight = density / (density + pi) if pi > 0 else np.ones_like(x)
        before, a = a, min(float(-weight.sum() / (weight @ log)), 1.0)
        if abs(a - before) < 1e-9:
            break
    return a
