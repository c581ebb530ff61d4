"""Scores g in [0, 1] of how surely a label is wrong, from losses, embeddings and predictions of several epochs.

They fit a mixture or a logistic regression at most, never the network. What they read has to be checked before.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from graphnoise.noise.mixture import lower_component
from graphnoise.resources import limit_threads
from graphnoise.typing import Floats, Ints

# Fewer losses say too little of a mixture: their ranks are used.
MIN_LOSSES = 20
# Scores of the labels that a linear rule learns from as right, and as wrong.
RIGHT, WRONG = 0.05, 0.95
# Probability below which a divergence no longer grows.
MIN_PROBABILITY = 1e-8
# Smallest increment of an overlap that counts as learning; points that a curve needs; fall of the slope at the onset.
GAP, MIN_POINTS, FALL = 0.01, 4, 0.9


def high_losses(losses: Floats) -> Floats:
    """Return P(component of higher mean | loss) under two normal distributions of one variance.

    It is 0 where all losses are equal (or there is none), and the rank of the loss, from 0 to 1, of fewer than 20.

    Example:
        >>> high_losses(np.r_[np.linspace(0.1, 0.3, 80), np.linspace(1.9, 2.1, 20)])[[0, 79, 80]].round(3)
        array([0., 0., 1.])
        >>> high_losses(np.array([0.4, 0.1, 2.0])).tolist()
        [0.5, 0.0, 1.0]

    Source:
        Li et al., "DivideMix", ICLR 2020, section 3.1. With one variance the score rises with the loss everywhere.
    """
    if not len(losses) or np.ptp(losses) <= 1e-12 * np.abs(losses).max():
        return np.zeros(len(losses))
    if len(losses) < MIN_LOSSES:
        ranks: Floats = (rankdata(losses) - 1) / (len(losses) - 1)
        return ranks
    return 1 - lower_component(losses)


def centred(losses: Floats, y: Ints) -> Floats:
    """Return losses less the mean of their class: on a graph, whole classes have high ones.

    Example:
        >>> centred(np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1])).tolist()
        [-0.5, 0.5, 0.0]
    """
    means = np.bincount(y, losses) / np.maximum(np.bincount(y), 1)
    # Rounded, so that equal losses stay equal.
    out: Floats = (losses - means[y]).round(9)
    return out


def linear_rule(z: Floats, scores: Floats) -> Floats | None:
    """Return P(wrong) by a logistic regression that learns from the labels of surely low and surely high scores.

    Args:
        z: Embeddings by a model that has not seen the labels, shape [n, d]; they are standardised here.
        scores: Scores g by another detector, shape [n]; those below 0.05 and above 0.95 are learned from.

    Returns:
        Scores of all, shape [n]; None where one of the two kinds is missing.

    Example:
        >>> z, scores = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0.0, 0.5, 0.5, 1.0])
        >>> linear_rule(z, scores).round()
        array([0., 0., 1., 1.])
    """
    right, wrong = scores < RIGHT, scores > WRONG
    if not right.any() or not wrong.any():
        return None
    spread = z.std(0)
    rows = (z - z.mean(0)) / np.where(spread > 1e-12, spread, 1.0)
    with limit_threads(1):
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(rows[right | wrong], wrong[right | wrong])
        p: Floats = model.predict_proba(rows)[:, 1]
    return p


def divergences(new: Floats, stored: Floats) -> Floats:
    """Return KL(new || stored) of each row, both clamped to at least 1e-8.

    Example:
        >>> divergences(np.array([[0.1, 0.2, 0.7]]), np.array([[0.7, 0.2, 0.1]])).round(4)
        array([1.1675])
    """
    new, stored = np.maximum(new, MIN_PROBABILITY), np.maximum(stored, MIN_PROBABILITY)
    out: Floats = (new * np.log(new / stored)).sum(-1)
    return out


def confidence_falls(before: Floats, after: Floats, labels: Ints) -> tuple[Floats, NDArray[np.bool_]]:
    """Return g = sigmoid(10 (before - after)) of the probabilities of given classes, and where it has not fallen.

    Example:
        >>> g, kept = confidence_falls(np.array([[0.6, 0.4]] * 2), np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0, 0]))
        >>> g.round(3), kept
        (array([0.982, 0.5  ]), array([False,  True]))
    """
    rows = np.arange(len(labels))
    first, second = before[rows, labels], after[rows, labels]
    return 1 / (1 + np.exp(-10 * (first - second))), second >= first


def agreement_of_nearest(z: Floats, y: Ints, k: int, lift: bool = False) -> Floats:
    r"""Return Σ_j s_ij [y_j = y_i] / Σ_j s_ij over the k nearest other rows j, s the cosines, negative ones as 0.

    Args:
        z: Embeddings by a model that has not seen y, shape [n, d].
        y: Labels, from 0, shape [n].
        k: Number of nearest rows; all others where there are fewer. Rows of zeros are no neighbours of any row.
        lift: Whether to divide by the share of the label among all, up to 1.

    Returns:
        Credibilities, shape [n]; 0.5 where all cosines are 0.

    Example:
        >>> agreement_of_nearest(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 1]), 2)
        array([0.5, 0.5, 0. ])
    """
    norms, out = np.linalg.norm(z, axis=1, keepdims=True), np.full(len(z), 0.5)
    # At distance 1 from all others, rows of zeros would be nearer than those of a cosine below 0.5.
    rows = np.flatnonzero(norms > 0)
    unit, own, k = z[rows] / norms[rows], y[rows], min(k, len(rows) - 1)
    if k < 1:
        return out
    with limit_threads(1):
        # Without rows of its own, the search leaves each row itself out, also among its duplicates.
        distance, nearest = NearestNeighbors(n_neighbors=k).fit(unit).kneighbors()
    cosine = np.maximum(1 - distance**2 / 2, 0.0)
    # Rounding of distances leaves traces where vectors are orthogonal.
    cosine[cosine < 1e-9] = 0.0
    total, same = cosine.sum(1), (cosine * (own[nearest] == own[:, None])).sum(1)
    rows, agreement = rows[total > 0], same[total > 0] / total[total > 0]
    share = np.bincount(y)[y[rows]] / len(y) if lift else 1.0
    out[rows] = np.minimum(agreement / share, 1.0)
    return out


def overlaps(predicted: Ints, y: Ints, classes: int) -> Floats:
    """Return for each class |predicted and given| / |predicted or given|, shape [classes]; 0 for a class of neither.

    Example:
        >>> overlaps(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3).round(3)
        array([0.5  , 0.667, 0.   ])
    """
    both = np.bincount(y[predicted == y], minlength=classes)
    either = np.bincount(y, minlength=classes) + np.bincount(predicted, minlength=classes) - both
    out: Floats = both / np.maximum(either, 1)
    return out


def onset(curve: Floats) -> float:
    r"""Return at which checkpoint memorisation of a class begins, by the fall of the slope of its overlap.

    Leading points with increments below 0.01 are left out. To the others, numbered from x = 0, f(x) = a (1 -
    exp(-x^b / c)) is fitted, a and b in [0, 1], late points by a larger weight. With r(x) = |f'(x) - f'(1)| / f'(1),
    0 where it is above 1, the onset is 1 + the number of x from 1 to H - 1 with r(x) ≤ 0.9 + the points left out.

    Args:
        curve: Overlaps at the checkpoints of the whole run, or so far, shape [H].

    Returns:
        The onset; infinity where fewer than four points are left, or the fit fails.

    Example:
        >>> [onset(0.9 * (1 - np.exp(-np.arange(200) / tc))) for tc in (1, 5, 12)]
        [4.0, 13.0, 29.0]

    Source:
        Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations" (ADELE), CVPR 2022,
        section 3.2: the fit and the threshold. The number of points there is 16, whatever the run.
    """
    rises = np.flatnonzero(np.diff(curve) >= GAP)
    if not len(rises) or len(curve) - rises[0] < MIN_POINTS:
        return np.inf
    values = curve[rises[0] :]
    x = np.arange(len(values), dtype=float)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Of a covariance that cannot be estimated, and is not read.
            warnings.simplefilter("ignore")
            (_, b, c), _ = curve_fit(
                _saturating,
                x,
                values,
                (1.0, 1.0, 1.0),
                np.geomspace(1.0, 0.1, len(x)),
                bounds=([0.0, 1e-3, 1e-6], [1.0, 1.0, np.inf]),
            )
            steps = np.arange(1.0, len(x))
            slopes = steps ** (b - 1) * np.exp(-(steps**b) / c)
            fall = np.abs(slopes - slopes[0]) / slopes[0]
    except (RuntimeError, ValueError):
        return np.inf
    if not np.isfinite(fall).all():
        return np.inf
    return float(1 + (np.where(fall > 1, 0.0, fall) <= FALL).sum() + rises[0])


def _saturating(x: Floats, a: float, b: float, c: float) -> Floats:
    out: Floats = a * (1 - np.exp(-(x**b) / c))
    return out
