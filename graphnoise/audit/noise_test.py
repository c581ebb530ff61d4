"""Test of the hypothesis that no given label is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

from graphnoise import checks
from graphnoise.audit.posterior import LabelPosterior
from graphnoise.typing import Floats, Ints

# Powers of the predictions, and rates of wrong labels, of which the likelihood chooses.
SCALES, RATES = np.geomspace(0.2, 3, 13), np.r_[0, np.geomspace(0.004, 0.5, 10)]
# Labelled nodes that are compared; of more, a random part.
MAX_NODES = 5000
# Simulated labellings that are compared at once.
BLOCK = 20


@dataclass(frozen=True)
class NoiseTest:
    """Result of `noise_test`.

    Attributes:
        statistic: Twice the logarithm of the likelihood ratio, at least 0.
        p_value: P(statistic at least this large | no label is wrong), at least 1 / (simulations + 1).
        simulations: Number of simulated labellings.
    """

    statistic: float
    p_value: float
    simulations: int


def noise_test(posterior: LabelPosterior, *, simulations: int = 199, seed: int = 0) -> NoiseTest:
    r"""Test whether any given label is wrong, by a likelihood ratio with a simulated null distribution.

    A clean label of a hard node contradicts the prediction as a wrong one does. Therefore the prediction p of a
    node, made without its label, is first calibrated by a power a, under both hypotheses:

        H0: P(given j) = q_j,   H1: P(given j) = (1 - r) q_j + r (1 - q_j) / (C - 1),   q \propto p^a

    The statistic is 2 max_{a, r} log L(a, r) - 2 max_a log L(a, 0). Calibrated doubt fades where predictions are sure,
    wrong labels do not; that is what tells them apart. For the null distribution, labels are drawn from q at the
    a of H0, and the statistic is computed for them, with a chosen anew; the predictions stay as they are.

    Args:
        posterior: Predictions and given labels; of more than 5000 labelled nodes, a random part is used.
        simulations: Number of simulated labellings.
        seed: Seed of the simulation.

    Raises:
        InputError: `simulations` or `seed` is not a positive (non-negative) integer.

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, seed=0)
        >>> noisy = gn.noise.symmetric(2, 0.2).corrupt(data.y, seed=0).y
        >>> [noise_test(gn.audit.label_posterior(data, y, data.x)).p_value < 0.05 for y in (data.y, noisy)]
        [False, True]

    Source:
        Parametric bootstrap of a likelihood ratio: Davison and Hinkley, "Bootstrap Methods and Their Application",
        1997, section 4.2.
    """
    simulations = checks.integer("simulations", simulations, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    nodes = posterior.labelled
    if len(nodes) > MAX_NODES:
        nodes = np.sort(rng.choice(nodes, MAX_NODES, replace=False))
    logs = np.log(np.maximum(posterior.prior[nodes], 1e-12))
    observed, scale = _ratios(logs, posterior.given[nodes][None])
    cumulative = softmax(scale[0] * logs, axis=1).cumsum(1)
    null = np.empty(simulations)
    for first in range(0, simulations, BLOCK):
        count = min(BLOCK, simulations - first)
        draws = (rng.random((count, len(nodes), 1)) > cumulative).sum(2)
        null[first : first + count] = _ratios(logs, np.minimum(draws, logs.shape[1] - 1))[0]
    # Equal statistics (often 0) count against the hypothesis of noise, also where they differ by rounding.
    exceeding = int((null >= observed[0] - 1e-9).sum())
    return NoiseTest(float(observed[0]), (1 + exceeding) / (1 + simulations), simulations)


def _ratios(logs: Floats, labels: Ints) -> tuple[Floats, Floats]:
    """Return the statistic of each labelling, shape [number], and its power under the hypothesis of no wrong label."""
    likelihoods = np.empty((len(labels), len(SCALES), len(RATES)))
    others = max(logs.shape[1] - 1, 1)
    for k, scale in enumerate(SCALES):
        chances = log_softmax(scale * logs, axis=1)
        right = np.exp(np.stack([chances[np.arange(len(row)), row] for row in labels]))
        right = np.maximum(right, 1e-300)
        for m, rate in enumerate(RATES):
            likelihoods[:, k, m] = np.log((1 - rate) * right + rate / others * (1 - right)).sum(1)
    null = likelihoods[:, :, 0]
    return 2 * (likelihoods.max((1, 2)) - null.max(1)), SCALES[null.argmax(1)]
