"""Test of the hypothesis that no given label is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.posterior import LabelPosterior
from graphnoise.robust.transition_search import symmetric_rows, transition_step
from graphnoise.typing import Floats, Ints

# Powers of the predictions, how they depend on the degree, and rates of wrong labels: the likelihood chooses.
POWERS, DEGREE_POWERS, RATES = np.geomspace(0.15, 4, 14), (0.0, 0.5, 1.0), np.geomspace(0.004, 0.5, 8)
# Penalty of powers far from 1: predictions of a fitted model are nearly calibrated.
PENALTY = np.tile(np.log(POWERS) ** 2 / (2 * 0.25**2), len(DEGREE_POWERS))
# What the observed statistic gains in the mean because the three weights of the prediction's mixture, which simulated
# labellings keep, were chosen for it.
OPTIMISM = 3.0
# Starts of a transition matrix: the power of the hypothesis of no wrong label, and so many places above.
STARTS, STEPS, START_RATE = (2, 5), 10, 0.1
# Labelled nodes that are compared; of more, a random part.
MAX_NODES = 3000
# Simulated statistics as large as the observed one after which the p-value is known well enough.
ENOUGH = 10


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


def noise_test(
    posterior: LabelPosterior, degrees: Tensor | NDArray[Any], *, simulations: int = 199, seed: int = 0
) -> NoiseTest:
    r"""Test whether any given label is wrong, by a likelihood ratio with a simulated null distribution.

    A clean label of a hard node contradicts the prediction as a wrong one does. Therefore the prediction p_i of a
    node, made without its label, is calibrated under both hypotheses, by a power that may grow with its degree:

        H0: P(given_i = j) = q_ij,   H1: P(given_i = j) = \sum_c q_ic T_cj,   q_i \propto p_i^{a (1 + degree_i)^b}

    The statistic is 2 max log L(a, b, T) - 2 max log L(a, b, I), over a and b on a grid, and T of symmetric noise or by
    EM; a far from 1 costs (log a)^2 / (2 0.25^2), as predictions of a fitted model are nearly calibrated. Calibrated
    doubt fades where predictions are sure, wrong labels do not; that tells them apart. For the null distribution labels
    are drawn from q of H0, and a, b and T are fitted to them anew. The predictions stay as they are, although they were
    fitted to the given labels: for the three weights of their mixture, 3 is subtracted from the observed statistic
    before it is compared, the mean of chi-squared with three degrees of freedom. Simulation stops early when the
    p-value is large.

    Args:
        posterior: Predictions and given labels; of more than 3000 labelled nodes, a random part is used.
        degrees: Number of neighbours of each node, shape [n].
        simulations: Largest number of simulated labellings.
        seed: Seed of the simulation.

    Raises:
        InputError: `simulations` or `seed` is not a positive (non-negative) integer, or degrees are not one per node.

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, seed=0)
        >>> degrees = gn.as_graph(data).rowptr.diff().numpy()
        >>> noisy = gn.noise.symmetric(2, 0.2).corrupt(data.y, seed=0).y
        >>> posteriors = [gn.audit.label_posterior(data, y, data.x) for y in (data.y, noisy)]
        >>> [noise_test(posterior, degrees).p_value < 0.05 for posterior in posteriors]
        [False, True]

    Source:
        Parametric bootstrap of a likelihood ratio: Davison and Hinkley, "Bootstrap Methods and Their Application",
        1997, section 4.2; early stop: Besag and Clifford, "Sequential Monte Carlo p-values", 1991.
    """
    simulations = checks.integer("simulations", simulations, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    if not isinstance(posterior, LabelPosterior):
        checks.fail("posterior", "a LabelPosterior", type(posterior).__name__)
    neighbours = checks.finite("degrees", degrees, dims=1).detach().cpu().double().numpy()
    if len(neighbours) != len(posterior.given) or (neighbours < 0).any():
        expected = f"{len(posterior.given)} numbers of at least 0, one per node"
        checks.fail("degrees", expected, f"{len(neighbours)} numbers, the least {neighbours.min(initial=np.inf):g}")
    nodes = posterior.labelled
    if len(nodes) > MAX_NODES:
        nodes = np.sort(rng.choice(nodes, MAX_NODES, replace=False))
    logs = np.log(np.maximum(posterior.prior[nodes], 1e-12))
    sizes = 1 + neighbours[nodes]
    sizes /= np.exp(np.log(sizes).mean())
    powers = [power * sizes[:, None] ** slope for slope in DEGREE_POWERS for power in POWERS]
    chances = np.exp([log_softmax(power * logs, axis=1) for power in powers])
    observed, null = _ratio(chances, posterior.given[nodes])
    cumulative = chances[null].cumsum(1)
    exceeding, last = 0, logs.shape[1] - 1
    for count in range(1, simulations + 1):
        draw = np.minimum((rng.random((len(nodes), 1)) > cumulative).sum(1), last)
        # Equal statistics (often 0) speak for the null hypothesis, also where they differ by rounding.
        exceeding += int(_ratio(chances, draw)[0] >= observed - OPTIMISM - 1e-9)
        if exceeding == ENOUGH:
            return NoiseTest(observed, exceeding / count, count)
    return NoiseTest(observed, (1 + exceeding) / (1 + simulations), simulations)


def _ratio(chances: Floats, labels: Ints) -> tuple[float, int]:
    """Return the statistic of a labelling, and the position of the calibration that suits no wrong label best.

    Args:
        chances: Calibrated predictions, shape [calibrations, n, C].
        labels: Positions of classes, shape [n].
    """
    classes = chances.shape[2]
    right = np.maximum(chances[:, np.arange(len(labels)), labels], 1e-300)
    likelihoods = np.log(right).sum(1) - PENALTY
    null = int(likelihoods.argmax())
    others = max(classes - 1, 1)
    mixed = (np.log((1 - rate) * right + rate / others * (1 - right)).sum(1) for rate in RATES)
    best = max(float((likelihood - PENALTY).max()) for likelihood in mixed)
    place = null % len(POWERS)
    for start in STARTS:
        chosen = null - place + min(place + start, len(POWERS) - 1)
        best = max(best, _likelihood_after_em(chances[chosen], labels) - PENALTY[chosen])
    return 2 * max(best - float(likelihoods[null]), 0.0), null


def _likelihood_after_em(chances: Floats, labels: Ints) -> float:
    """Return the log-likelihood of labels under a transition matrix fitted to them by some steps of EM."""
    classes = chances.shape[1]
    members = np.eye(classes)[labels]
    transition = symmetric_rows(np.array(START_RATE), classes)
    for _ in range(STEPS):
        joint = chances * transition[:, labels].T
        transition = transition_step((joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)).T @ members)
    total = (chances * transition[:, labels].T).sum(1)
    return float(np.log(np.maximum(total, 1e-300)).sum())
