"""Noise rate and transition matrix with intervals, the kind of noise in words, and clumps of suspected errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from graphnoise.audit.posterior import LabelPosterior
from graphnoise.graph import Graph
from graphnoise.robust.transition_search import symmetric_rows
from graphnoise.typing import Floats, Ints

BURN_IN, DRAWS = 50, 200
# Share of the wrong labels of a class that one other class gets, from which on the noise is called one of pairs.
PAIR_SHARE = 0.6
# Bounds of intervals.
LOW, HIGH = 0.025, 0.975


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    """Noise rate and transition matrix with 95 % intervals.

    Attributes:
        rate: Share of the labelled nodes whose given label is wrong.
        transition: T[c, j] = P(given j | true c), shape [C, C].
        low: Lower ends of the intervals of T, shape [C, C].
        high: Upper ends, shape [C, C].
    """

    rate: Interval
    transition: Floats
    low: Floats
    high: Floats


def noise_estimate(posterior: LabelPosterior, decided: Ints, seed: int = 0) -> NoiseEstimate:
    """Return the noise rate and the transition matrix with 95 % credible intervals, by Gibbs sampling.

    Draws alternate between the true classes z_i with P(z_i = c) proportional to p_i(c) T[c, given_i], where p_i is the
    prediction without the own label, and the rows T_c, of Dirichlet distributions with the counts of (z, given) plus
    1 / C. The rate is that of the noise, sum_c P(c) (1 - T_cc): its interval is that for more nodes of
    the kind. Intervals hold the uncertainty of classes and of T, not that of the predictions.

    Args:
        posterior: Posterior of all nodes; the estimates are its mean wrong share and its transition matrix.
        decided: Position of the class of nodes whose true class is known, otherwise -1, shape [n].
        seed: Seed of the draws.

    Source:
        Gelman et al., "Bayesian Data Analysis", 2013, section 11.1.
    """
    rng, nodes = np.random.default_rng(seed), posterior.labelled
    given, known = posterior.given[nodes], decided[nodes]
    prior, fixed = posterior.prior[nodes], known >= 0
    estimate = posterior.transition.matrix.numpy()
    classes = len(estimate)
    transition, rates, rows = estimate, [], []
    for step in range(BURN_IN + DRAWS):
        cumulative = (prior * transition[:, given].T).cumsum(1)
        # Products that underflow leave the last class, whose count is then as good as any.
        true = np.minimum((rng.random((len(nodes), 1)) * cumulative[:, -1:] > cumulative).sum(1), classes - 1)
        true[fixed] = known[fixed]
        counts = np.bincount(true * classes + given, minlength=classes**2).reshape(classes, classes)
        gammas = np.maximum(rng.standard_gamma(counts + 1 / classes), 1e-300)
        transition = gammas / gammas.sum(1, keepdims=True)
        if step >= BURN_IN:
            sizes = rng.standard_gamma(counts.sum(1) + 1 / classes)
            rates.append(float(sizes @ (1 - transition.diagonal()) / sizes.sum()))
            rows.append(transition)
    value = float(1 - posterior.credibility.mean())
    low, high = np.quantile(rates, (LOW, HIGH))
    bounds = np.quantile(rows, (LOW, HIGH), axis=0)
    # Near the ends of the scale the estimate may lie outside of what is sampled.
    rate = Interval(value, min(float(low), value), max(float(high), value))
    return NoiseEstimate(rate, estimate, np.minimum(bounds[0], estimate), np.maximum(bounds[1], estimate))


def transition_frame(estimate: NoiseEstimate, classes: Sequence[Any] | NDArray[Any]) -> pandas.DataFrame:
    """Return the transition matrix with intervals, one row per pair of classes: true, given, probability, low, high."""
    names = list(classes)
    pairs = pandas.MultiIndex.from_product([names, names], names=["true", "given"])
    columns = {"probability": estimate.transition, "low": estimate.low, "high": estimate.high}
    return pandas.DataFrame({key: value.ravel() for key, value in columns.items()}, index=pairs).reset_index()


def noise_kind(estimate: NoiseEstimate, sizes: Floats, classes: Sequence[Any] | NDArray[Any]) -> str:
    """Return the kind of noise in words: symmetric, pairs (which), or class-dependent.

    Pairs: of the wrong labels of a class, weighted by class sizes, 60 % or more have one other class. Symmetric: eight
    of ten intervals contain the entry of symmetric noise at the mean rate.

    Args:
        estimate: Transition matrix with intervals.
        sizes: Expected number of labelled nodes of each true class, shape [C].
        classes: Names of the classes.
    """
    matrix, count = estimate.transition, len(estimate.transition)
    wrong = np.where(np.eye(count) > 0, 0, matrix) * sizes[:, None]
    largest = wrong.max(1)
    if count > 2 and largest.sum() >= PAIR_SHARE * wrong.sum():
        order = np.argsort(-largest, kind="stable")
        named = [i for i in order if matrix[i, wrong[i].argmax()] >= 0.05][:5] or [order[0]]
        pairs = (f"{classes[i]} → {classes[wrong[i].argmax()]} ({matrix[i, wrong[i].argmax()]:.2f})" for i in named)
        return f"pairs: {', '.join(pairs)}"
    rate = float((sizes * (1 - matrix.diagonal())).sum() / sizes.sum())
    even = symmetric_rows(np.array(rate), count)
    inside = (estimate.low <= even + 1e-3) & (even - 1e-3 <= estimate.high)
    if inside.mean() >= 0.8:
        return "symmetric: every other class is about equally likely"
    order = np.argsort(matrix.diagonal(), kind="stable")
    worst = ", ".join(f"{classes[i]} ({1 - matrix[i, i]:.2f} wrong)" for i in order[:3])
    return f"class-dependent: most in {worst}"


def morans_i(graph: Graph, posterior: LabelPosterior) -> float | None:
    r"""Return Moran's I of P(wrong) over the arcs between labelled nodes; None without an arc, or where it is constant.

        I = n / W \sum_{ij} w_ij z_i z_j / \sum_i z_i^2

    with z_i the deviation of P(given label of i is wrong) from its mean, and W the sum of the weights w.

    Source:
        Moran, "Notes on Continuous Stochastic Phenomena", 1950.
    """
    nodes = posterior.labelled
    deviation = np.zeros(graph.num_nodes)
    deviation[nodes] = posterior.credibility.mean() - posterior.credibility
    row, col = (ends.cpu().numpy() for ends in graph.edge_index)
    labelled = posterior.given >= 0
    used = labelled[row] & labelled[col] & (row != col)
    weight = np.ones(len(row)) if graph.weight is None else graph.weight.detach().cpu().double().numpy()
    total, variance = weight[used].sum(), np.mean(deviation[nodes] ** 2)
    if total <= 0 or variance < 1e-12:
        return None
    return float((weight * deviation[row] * deviation[col])[used].sum() / total / variance)
