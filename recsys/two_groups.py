"""Two-groups model of `recsys.cleaning`: ranks of pairs among unobserved items, and the density of likes over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
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
    """Return the interval [2, n] of positions that each score covers among sorted reference scores.

    A score that no other equals covers one of the len(reference) + extra steps of [0, 1], k equal ones share k steps.
    `extra` is 1 if the pair is not among the references. The middle of an interval is the position, ties by half.

    Example:
        >>> ranks(np.array([0.0, 0.0, 2.0]), np.array([0.0, 3.0]), 1)
        array([[0.25, 0.  ], [1. , 0.25]])
    """
    above = len(reference) - np.searchsorted(reference, scores, "right")
    until = len(reference) - np.searchsorted(reference, scores, "left") + extra
    return np.stack([above, until]) / (len(reference) + extra)


def positive_positions(
    model: Recommender, matrix: sp.csr_array, pairs: sp.csr_array, held: NDArray[np.bool_], part: slice
) -> Floats:
    """Return the intervals of positions [2, n] of held pairs, all observed or none of them, for a slice of users."""
    users = np.arange(part.start, part.stop)
    scores = model._check_scores(model.scores(users), users)
    intervals = [np.zeros((2, 0))]
    for row, user in enumerate(users):
        at = slice(pairs.indptr[user], pairs.indptr[user + 1])
        free = np.ones(scores.shape[1], bool)
        free[matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] = False
        asked = pairs.indices[at][held[at]]
        intervals.append(ranks(np.sort(scores[row, free]), scores[row, asked], int(pairs is matrix)))
    return np.concatenate(intervals, 1)


def hidden_likes(
    models: list[Recommender],
    matrix: sp.csr_array,
    likes: Callable[[Floats], Floats],
    rho: float,
    queries: tuple[Ints, Ints] | None,
    top: int,
    dislikes: sp.csr_array | None,
    part: slice,
) -> tuple[Ints, Ints, Floats]:
    """Return unobserved pairs for a slice of users and the probability of a like, averaged over the models.

    These are the `top` of each user that are no dislikes, or the `queries`.
    """
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
        candidates = free.copy()
        if dislikes is not None:
            candidates[dislikes.indices[dislikes.indptr[user] : dislikes.indptr[user + 1]]] = False
        place = np.flatnonzero(candidates)
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
    """Return f1, pi, fn and fp, estimated from the intervals of positions [2, n] of positives.

    f1 takes intervals [2, k] and returns its mean over each. Intervals instead of their middles matter where many
    scores are equal, as with a neighbourhood model that scores most pairs 0: middles of long ties leave the last
    positions empty, as if there were no mistakes.
    """
    if not x.shape[1]:
        x = np.array([[0.0], [1.0]])
    knots, density = uniform_mixture(x)
    widths = np.diff(knots)
    decreasing = isotonic_regression(density, sample_weight=widths, increasing=False)
    if fn is None:
        highest = float(decreasing[np.searchsorted(knots, np.quantile(x.mean(0), TOP_SHARE), "left") - 1])
        fn = 1 - q * highest / (q * highest + 1 - q)
    if fp is None:
        mass = mean_density(knots, density, np.stack([np.arange(NUM_BINS), np.arange(1, NUM_BINS + 1)]) / NUM_BINS)
        pi = min((float(mass.min()) * x.shape[1] / NUM_BINS + 1) / (x.shape[1] + NUM_BINS) * NUM_BINS, MAX_SHARE)
    else:
        pi = min(max(fp * (1 - (q - fp) / (1 - fn - fp)) / q, 0.0), MAX_SHARE) if fn + fp < 1 else MAX_SHARE
    fp = pi * q / (1 - min((1 - pi) * q / (1 - fn), MAX_SHARE)) if fp is None else fp
    if method == "mixture":
        a = power(x, pi)
        return lambda at: power_density(at, a), pi, fn, fp
    # Preserves the order of positives where the density is below pi.
    floor = 1e-3

    def excess(at: Floats) -> Floats:
        height = mean_density(knots, decreasing, at)
        return np.asarray(np.maximum((height - pi) / (1 - pi), floor * (1 - at.mean(0))))

    return excess, pi, fn, fp


def uniform_mixture(x: Floats) -> tuple[Floats, Floats]:
    """Return the mean of uniform densities on intervals [2, n] within [0, 1]: knots, and the height between them.

    Example:
        >>> uniform_mixture(np.array([[0.0, 0.5], [1.0, 1.0]]))
        (array([0. , 0.5, 1. ]), array([0.5, 1.5]))
    """
    knots, place = np.unique(np.concatenate([x.ravel(), [0.0, 1.0]]), return_inverse=True)
    height = 1 / (x[1] - x[0])
    steps = np.bincount(place[:-2], np.concatenate([height, -height]), len(knots))
    return knots, np.maximum(np.cumsum(steps)[:-1] / len(height), 0.0)


def mean_density(knots: Floats, heights: Floats, at: Floats) -> Floats:
    """Return the means over intervals [2, k] of a density given by the heights between knots."""
    below = np.interp(at, knots, np.append(0.0, np.cumsum(heights * np.diff(knots))))
    return np.asarray((below[1] - below[0]) / (at[1] - at[0]))


def power_density(at: Floats, a: float) -> Floats:
    """Return the means over intervals [2, k] of a x^(a - 1)."""
    return np.asarray((at[1] ** a - at[0] ** a) / (at[1] - at[0]))


def power(x: Floats, pi: float) -> float:
    """Return the maximum-likelihood a in (0, 1] of pi + (1 - pi) a x^(a - 1) over intervals [2, n]."""

    def loss(a: float) -> float:
        return -float(np.log(np.maximum(pi + (1 - pi) * power_density(x, a), 1e-300)).sum())

    return float(minimize_scalar(loss, bounds=(1e-6, 1.0), method="bounded", options={"xatol": 1e-9}).x)
