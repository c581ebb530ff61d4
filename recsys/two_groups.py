"""The two groups behind `recsys.cleaning`: positions of pairs among the unobserved, and the density of likes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from recsys.base import Recommender
from recsys.validation import Ints

Floats = NDArray[np.float64]
# Of positions; in the emptiest one likes are few.
_PARTS = 10
# Share of the positives that stand highest, of which fn is read off.
_TOP = 0.01
_MOST = 0.99


def ranks(reference: Floats, scores: Floats, beside: int) -> Floats:
    """Return positions of scores among sorted reference scores; `beside` is 1 for a pair that is not among them."""
    above = len(reference) - np.searchsorted(reference, scores, "right")
    equal = len(reference) - above - np.searchsorted(reference, scores, "left")
    return np.asarray((above + 0.5 * (equal + beside)) / (len(reference) + beside))


def of_positives(model: Recommender, matrix: Any, held: NDArray[np.bool_], part: slice) -> Floats:
    """Return the positions of held-out positives of some users."""
    users = np.arange(part.start, part.stop)
    scores = model._check_scores(model.scores(users), users)
    found = [np.zeros(0)]
    for row, user in enumerate(users):
        at = slice(matrix.indptr[user], matrix.indptr[user + 1])
        own = matrix.indices[at]
        free = np.ones(scores.shape[1], bool)
        free[own] = False
        found.append(ranks(np.sort(scores[row, free]), scores[row, own[held[at]]], 1))
    return np.concatenate(found)


def of_unobserved(
    models: list[Recommender], matrix: Any, likes: Callable[[Floats], Floats], rho: float, wanted: Any, top: int,
    part: slice,
) -> tuple[Ints, Ints, Floats]:  # fmt: skip
    """Return unobserved pairs of some users and how likely they are likes, the mean over the models."""
    users = np.arange(part.start, part.stop)
    asked, bounds = None, np.zeros(0, np.int64)
    if wanted is not None:
        inside = (wanted[0] >= part.start) & (wanted[0] < part.stop)
        asked = np.unique(wanted[0][inside] * matrix.shape[1] + wanted[1][inside])
        bounds = np.searchsorted(asked, np.arange(part.start, part.stop + 1) * matrix.shape[1])
    out: list[tuple[Ints, Ints, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    if top == 0 and wanted is None:
        return out[0]
    every = [model._check_scores(model.scores(users), users) for model in models]
    for row, user in enumerate(users):
        free = np.ones(matrix.shape[1], bool)
        free[matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] = False
        place = np.flatnonzero(free)
        if asked is not None:
            place = asked[bounds[row] : bounds[row + 1]] % matrix.shape[1]
        if not len(place):
            continue
        total = np.zeros(len(place))
        for scores in every:
            density = likes(ranks(np.sort(scores[row, free]), scores[row, place], 0))
            total += rho * density / (rho * density + 1 - rho)
        best = np.arange(len(place)) if asked is not None else np.argsort(-total, kind="stable")[:top]
        out.append((np.full(len(best), user), place[best], total[best] / len(models)))
    return (np.concatenate([a for a, _, _ in out]), np.concatenate([b for _, b, _ in out]),
            np.concatenate([c for _, _, c in out]))  # fmt: skip


def likes(
    x: Floats, method: str, q: float, fp: float | None, fn: float | None
) -> tuple[Callable[[Floats], Floats], float, float, float]:
    """Return f1, pi, fn and fp, from the positions of positives."""
    if not len(x):
        x = np.array([0.5])
    knots, heights = grenander(x)

    def falling(at: Floats) -> Floats:
        return np.asarray(heights[np.minimum(np.searchsorted(knots, at, "left"), len(heights) - 1)])

    if fn is None:
        highest = float(falling(np.quantile(x, [_TOP]))[0])
        fn = 1 - q * highest / (q * highest + 1 - q)
    if fp is None:
        tenths = np.bincount(np.minimum((x * _PARTS).astype(int), _PARTS - 1), minlength=_PARTS)
        pi = min((int(tenths.min()) + 1) / (len(x) + _PARTS) * _PARTS, _MOST)
    else:
        pi = min(max(fp * (1 - (q - fp) / (1 - fn - fp)) / q, 0.0), _MOST) if fn + fp < 1 else _MOST
    fp = pi * q / (1 - min((1 - pi) * q / (1 - fn), _MOST)) if fp is None else fp
    if method == "mixture":
        a = power(x, pi)
        return lambda at: a * at ** (a - 1), pi, fn, fp
    # So that the order of positives is kept where the density is below pi.
    least = 1e-3

    def excess(at: Floats) -> Floats:
        return np.asarray(np.maximum((falling(at) - pi) / (1 - pi), least * (1 - at)))

    return excess, pi, fn, fp


def grenander(x: Floats) -> tuple[Floats, Floats]:
    """Return the density on [0, 1] that falls and makes x likeliest: its height up to each knot.

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
    """Return the a in (0, 1] of pi + (1 - pi) a x^(a - 1) that makes x likeliest, by expectation-maximisation."""
    log, a = np.log(x), 0.5
    for _ in range(1000):
        density = (1 - pi) * a * np.exp((a - 1) * log)
        weight = density / (density + pi) if pi > 0 else np.ones_like(x)
        before, a = a, min(float(-weight.sum() / (weight @ log)), 1.0)
        if abs(a - before) < 1e-9:
            break
    return a
