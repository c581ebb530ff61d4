"""Votes of several unlike models on the labels, and how precise they are by strata."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.detect.probabilities import normalised_margin
from graphnoise.typing import Floats, LabelsLike


def vote_shares(*probabilities: Tensor | NDArray[Any]) -> Floats:
    """Return the share of the models whose most probable class is c, shape [n, C]; equal ones share a vote.

    Raises:
        InputError: No probabilities, rows that are no distributions, or unequal shapes.

    Example:
        >>> vote_shares([[0.9, 0.1]], [[0.4, 0.6]])
        array([[0.5, 0.5]])
    """
    p = [checks.probabilities(f"probabilities[{m}]", one).detach().cpu().numpy() for m, one in enumerate(probabilities)]
    if not p or len({one.shape for one in p}) > 1 or not p[0].shape[1]:
        checks.fail("probabilities", "at least one matrix, all of one shape", [one.shape for one in p])
    top = [one == one.max(1, keepdims=True) for one in p]
    shares: Floats = np.mean([votes / votes.sum(1, keepdims=True) for votes in top], axis=0)
    return shares


def disagreement(y: LabelsLike, *probabilities: Tensor | NDArray[Any]) -> Floats:
    """Return 1 - g, g = (max over other classes of v - v[y] + 1) / 2, with v the shares of the models' votes.

    It is 0 only where all models vote for one other class. Models should be unlike each other (a perceptron on the
    features, label propagation, SGC, a GCN, a GAT), and their probabilities out of sample, as of `crossfit`.

    Args:
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        *probabilities: Class probabilities of each model, shape [n, C], columns as of `self_confidence`.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `vote_shares` and `self_confidence`.

    Example:
        >>> one = np.array([[0.9, 0.1], [0.9, 0.1]])
        >>> disagreement([0, 1], one, one, [[0.4, 0.6], [0.7, 0.3]]).round(2)
        array([0.67, 0.  ])

    Source:
        In the spirit of work that finds label errors by ensembles of language models; the score is ours.
    """
    return normalised_margin(vote_shares(*probabilities), y)


def strata(credibility: NDArray[Any], wrong: NDArray[Any], bins: int = 5) -> list[dict[str, float]]:
    """Return how many labels are wrong in strata of equal width of 1 - credibility, with Wilson intervals of 95 %.

    Args:
        credibility: Credibilities in [0, 1], shape [n].
        wrong: Whether each label is wrong, Boolean, shape [n].
        bins: Number of strata.

    Returns:
        For each stratum that has a label: "low" and "high" of 1 - credibility, "count", "wrong", "share", "from", "to".

    Raises:
        InputError: Values of unequal length or outside [0, 1], or no stratum.

    Example:
        >>> [row["share"] for row in strata([0.9, 0.8, 0.1, 0.0], [False, False, True, False])]
        [0.0, 0.0, 0.5]

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    bins = checks.integer("bins", bins, 1, 1000)
    g = 1 - checks.finite("credibility", credibility, dims=1).detach().double().cpu().numpy()
    if len(g) and not 0 <= g.min() <= g.max() <= 1:
        checks.fail("credibility", "numbers in [0, 1]", f"from {1 - g.max():g} to {1 - g.min():g}")
    flags = checks.mask("wrong", wrong, len(g)).cpu().numpy()
    place, rows = np.minimum((g * bins + 1e-9).astype(int), bins - 1), []
    for k in np.unique(place).tolist():
        count, errors = int((place == k).sum()), int(flags[place == k].sum())
        interval = binomtest(errors, count).proportion_ci(method="wilson")
        row = {"low": k / bins, "high": (k + 1) / bins, "count": count, "wrong": errors, "share": errors / count}
        rows.append({**row, "from": float(interval.low), "to": float(interval.high)})
    return rows
