"""Transition matrix and posteriors of true classes from held-out regression scores of given labels.

The regression predicts the given label of a node, in the mean the row T_c of the transition matrix if c is its true
class. A matched filter compares the prediction with each row; EM alternates between the posterior of the true class,
given the prediction and the given label, and the matrix. The likelihood has several local optima (with pair noise, a
cycle of classes may be read in the wrong direction), so many starts and local changes are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path
from scipy.special import gammaln, logsumexp, rel_entr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Strengths of the prior of a row, in labels, of which the evidence chooses.
STRENGTHS = np.array([4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0])
# Shrinkage of the predictions, relative to that of the regression with the evidence's variance, and gains.
SHRINKAGES, GAINS = (0.4, 0.7, 1.0), (4.0, 8.0, 16.0, 32.0)
STEPS, SEARCH_STEPS = 40, 15
# Random starts, and the changes of a start that are tried per class.
NUM_STARTS, NUM_CONFUSIONS = 64, 6
# Changes of two classes that are tried, those with the most confusion, where there are many classes.
MAX_CONFUSIONS = 90
MAX_ROUNDS = 12
# Log-likelihood that a change must gain.
MIN_GAIN = 0.3
# Penalty of rows in which another class is nearly as probable as the true one, and its softening.
MARGIN_WEIGHT, MARGIN_FLOOR = 2.0, 0.05
# Two matrices differ if some entry does by more than this.
DISTINCT = 0.25
# Numbers of a block of candidates, few enough for a cache.
BLOCK_ENTRIES = 2**17


@dataclass(frozen=True, eq=False)
class Channel:
    """A transition matrix, or several, with what links predictions to it.

    Attributes:
        transition: T[c, j] = P(given j | true c), shape [..., C, C].
        shrinkage: Ratio of predicted to actual differences from the mean, shape [...].
        gain: Log-probability per unit of the matched filter's score, shape [...].
        objective: Penalised log-likelihood of the given labels, shape [...].
    """

    transition: Floats
    shrinkage: Floats
    gain: Floats
    objective: Floats

    def __getitem__(self, index: object) -> Channel:
        return Channel(*(getattr(self, name)[index] for name in ("transition", "shrinkage", "gain", "objective")))

    def filter_weights(self, mean: Floats) -> tuple[Floats, Floats]:
        """Return W and b for which f W + b are the filter's scores of differences f from the mean, [C, C] and [C]."""
        gain, rows = float(self.gain), self.transition
        return gain / float(self.shrinkage) * rows.T, gain * (rows @ mean - 0.5 * np.sum(rows**2, axis=1))


def search_transition(
    differences: Floats, given: Ints, mean: Floats, scale: float, seed: int = 0, known: Floats | None = None
) -> tuple[Channel, float]:
    """Return the most likely channel, and by how much log-likelihood it exceeds the best of another matrix.

    Args:
        differences: Held-out predictions minus their mean, shape [n, C].
        given: Given labels, shape [n].
        mean: Mean of the class indicators, shape [C].
        scale: Unit of the shrinkages tried.
        seed: Seed of the random starts.
        known: The transition matrix, if it is known.
    """
    classes = len(mean)
    model = _Model(differences, given, mean)
    if known is not None:
        tried = model.em_on_grid(known[None], scale, steps=0)
        return tried[tried.objective.argmax()], np.inf
    confusion = _confusion(differences, given)
    starts = np.concatenate([symmetric_rows(np.array([0.25, 0.4]), classes), _random_starts(confusion, seed)])
    middle = scale * SHRINKAGES[1]
    screened = model.em(starts, middle, GAINS[2], SEARCH_STEPS)
    best = np.argsort(-screened.objective)[:8]
    screened = model.em(screened.transition[best], middle, GAINS[2], STEPS)
    order = np.argsort(-screened.objective)
    chosen = [starts[0]]
    for index in order:
        matrix = screened.transition[index]
        if len(chosen) < 4 and all(np.abs(matrix - other).max() > 0.15 for other in chosen[1:]):
            chosen.append(matrix)
    tried = model.em_on_grid(np.stack(chosen), scale)
    channel = tried[tried.objective.argmax()]
    others = [tried]
    for _ in range(MAX_ROUNDS):
        changed = model.em(
            np.stack(list(_changes(channel.transition, confusion))), channel.shrinkage, channel.gain, SEARCH_STEPS
        )
        others.append(changed)
        if changed.objective.max() < channel.objective + MIN_GAIN:
            break
        tried = model.em_on_grid(changed.transition[changed.objective.argmax()][None], scale)
        if tried.objective.max() <= channel.objective:
            break
        channel = tried[tried.objective.argmax()]
        others.append(tried)
    distinct = [
        other.objective[np.abs(other.transition - channel.transition).max((1, 2)) > DISTINCT].max(initial=-np.inf)
        for other in others
    ]
    return channel, float(channel.objective - max(distinct))


def posterior(log_scores: Floats, transition: Floats, given: Ints) -> Floats:
    """Return P(true class | score, given label), shape [n, C], from unnormalised log-probabilities of classes."""
    logs = log_scores + log_likelihoods(transition, given)
    result: Floats = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    return result


def log_likelihoods(transition: Floats, given: Ints) -> Floats:
    """Return log P(given label | true class), finite, shape [n, C]."""
    logs: Floats = np.log(np.maximum(transition, 1e-300))[:, given].T
    return logs


def transition_step(counts: Floats) -> Floats:
    """Return the posterior means of the rows, given expected counts of (true, given) pairs, shape [..., C, C].

    The prior of a row is a Dirichlet distribution around that of symmetric noise of the same rate, with the strength
    of greatest evidence; then each row keeps its true class the most probable one.
    """
    diagonal = counts.diagonal(axis1=-2, axis2=-1).sum(-1)
    rate = np.clip(1 - diagonal / np.maximum(counts.sum((-2, -1)), 1e-300), 1e-3, 0.9)
    classes = counts.shape[-1]
    rows = symmetric_rows(rate, classes)
    strengths = STRENGTHS.reshape(-1, *[1] * rate.ndim)
    # Of a row, the entries outside the diagonal have the same prior.
    prior = gammaln(strengths) - gammaln(strengths * (1 - rate))
    prior = prior - (classes - 1) * gammaln(strengths * rate / max(classes - 1, 1))
    evidence = gammaln(strengths[..., None, None] * rows + counts).sum((-2, -1)) + classes * prior
    evidence -= gammaln(strengths[..., None] + counts.sum(-1)).sum(-1)
    smoothed = counts + STRENGTHS[evidence.argmax(0)][..., None, None] * rows
    return _dominant(smoothed / smoothed.sum(-1, keepdims=True))


def exchange_margin(transition: Floats, sizes: Floats) -> float:
    r"""Return by how much log-likelihood the given labels prefer the classes as they are to the best exchange of some.

    Rows of T in another order explain the labels as well, but then other entries have to be the largest of their rows.
    With a labels of the class itself and b of the one that takes its place, equal rates for both cost
    \(a \log(2a / (a + b)) + b \log(2b / (a + b))\), and an exchange along a cycle the sum. Of this, C / 2 is
    subtracted, which rates that are equal would cost on average.

    Args:
        transition: T, shape [C, C], the diagonal at least as large as the rest of its row.
        sizes: Number of labelled nodes of each true class, shape [C]; those below the mean count as the mean, as rare
            classes have the rates of others by the prior.

    Example:
        >>> round(exchange_margin(np.array([[0.5, 0.5], [0.3, 0.7]]), np.array([50.0, 50.0])), 2)
        3.11
    """
    counts = np.maximum(sizes, sizes.mean())[:, None] * transition
    diagonal = counts.diagonal()[:, None]
    equal = (counts + diagonal) / 2
    # Costs of 0 would be read as missing arcs.
    costs = np.maximum(rel_entr(diagonal, equal) + rel_entr(counts, equal), 1e-12)
    np.fill_diagonal(costs, np.inf)
    return float((costs + shortest_path(costs).T).min()) - len(sizes) / 2


def symmetric_rows(rate: Floats, classes: int) -> Floats:
    """Return transition matrices of symmetric noise, shape [..., C, C], for rates of shape [...]."""
    rate = np.asarray(rate)[..., None, None]
    return np.where(np.eye(classes) > 0, 1 - rate, rate / max(classes - 1, 1))


@dataclass(frozen=True, eq=False)
class _Model:
    """Predictions and given labels; many channels are fitted to them at once."""

    differences: Floats
    given: Ints
    mean: Floats

    def em_on_grid(self, transitions: Floats, scale: float, steps: int = STEPS) -> Channel:
        grid = np.array([(scale * shrinkage, gain) for shrinkage in SHRINKAGES for gain in GAINS])
        repeated = np.repeat(transitions, len(grid), axis=0)
        shrinkage, gain = np.tile(grid, (len(transitions), 1)).T
        return self.em(repeated, shrinkage, gain, steps)

    def em(self, transitions: Floats, shrinkage: float | Floats, gain: float | Floats, steps: int) -> Channel:
        """Return the channels after some steps of EM from each of these matrices, shape [number, C, C]."""
        count = len(transitions)
        shrinkage, gain = (np.broadcast_to(np.asarray(v, dtype=float), count) for v in (shrinkage, gain))
        size = max(BLOCK_ENTRIES // self.differences.size, 1)
        parts = [
            self._em(transitions[part], shrinkage[part], gain[part], steps)
            for part in (slice(first, first + size) for first in range(0, count, size))
        ]
        names = ("transition", "shrinkage", "gain", "objective")
        return Channel(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _em(self, transition: Floats, shrinkage: Floats, gain: Floats, steps: int) -> Channel:
        members = np.eye(len(self.mean))[self.given]
        shrunk = self.mean + self.differences / shrinkage[:, None, None]
        for step in range(steps + 1):
            log_prior = gain[:, None, None] * (
                shrunk @ transition.swapaxes(1, 2) - 0.5 * np.sum(transition**2, axis=2)[:, None, :]
            )
            log_prior -= log_prior.max(2, keepdims=True)
            joint = np.exp(log_prior)
            normaliser = joint.sum(2)
            joint *= transition[:, :, self.given].swapaxes(1, 2)
            total = np.maximum(joint.sum(2), 1e-300)
            if step == steps:
                break
            joint /= total[:, :, None]
            transition = transition_step(joint.swapaxes(1, 2) @ members)
        diagonal = transition.diagonal(axis1=1, axis2=2)
        # A known matrix may have rows in which the true class is not the most probable one.
        margin = np.maximum(1 - _largest_other(transition) / np.maximum(diagonal, 1e-300), 0)
        penalty = MARGIN_WEIGHT * np.log(MARGIN_FLOOR + margin).sum(1)
        return Channel(transition, shrinkage, gain, np.log(total / normaliser).sum(1) + penalty)


def _largest_other(transition: Floats) -> Floats:
    others: Floats = np.where(np.eye(transition.shape[-1]) > 0, 0.0, transition).max(-1)
    return others


def _dominant(transition: Floats) -> Floats:
    """Raise the diagonal, where it is not the largest entry of its row, to that."""
    diagonal, other = transition.diagonal(axis1=-2, axis2=-1), _largest_other(transition)
    share = np.where(other > diagonal, (other - diagonal) / (1 + other - diagonal), 0.0)[..., None]
    raised: Floats = (1 - share) * transition + share * np.eye(transition.shape[-1])
    return raised


def _confusion(differences: Floats, given: Ints) -> Floats:
    """Return how much the nodes given one class are predicted to be given another, in both directions, shape [C, C]."""
    classes = differences.shape[1]
    members = np.eye(classes)[given]
    means = members.T @ differences / np.maximum(members.sum(0), 1)[:, None]
    means = np.maximum(means - differences.mean(0), 0)
    confusion: Floats = means + means.T
    np.fill_diagonal(confusion, 0)
    return confusion


def _random_starts(confusion: Floats, seed: int) -> Floats:
    """Return matrices in which each class is confused with one other, shape [number, C, C]."""
    rng, classes = np.random.default_rng(seed), len(confusion)
    weights = np.where(np.eye(classes) > 0, 0, confusion + 0.02)
    cumulative = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
    starts = np.full((NUM_STARTS, classes, classes), 0.06 / classes)
    rates = rng.uniform(0.1, 0.5, (NUM_STARTS, classes))
    draws = rng.random((NUM_STARTS, classes))
    index, rows = np.indices((NUM_STARTS, classes))
    others = np.minimum((draws[:, :, None] > cumulative).sum(2), classes - 1)
    starts[index, rows, rows] += 0.94 - rates
    starts[index, rows, others] += rates
    return starts


def _changes(transition: Floats, confusion: Floats) -> Iterator[Floats]:
    """Yield matrices that differ in one row, or in the direction of one confusion, or of all."""
    classes = len(transition)
    yield transition.T / transition.sum(0)[:, None]
    uniform = symmetric_rows(np.array(0.25), classes)
    others = np.argsort(-confusion, axis=1, kind="stable")[:, :NUM_CONFUSIONS]
    amounts = np.where(others == np.arange(classes)[:, None], -1.0, np.take_along_axis(confusion, others, 1))
    tried = amounts >= max(0.0, np.sort(amounts, axis=None)[-MAX_CONFUSIONS:][0])
    for row in range(classes):
        yield _with_row(transition, row, uniform[row])
        for other in others[row, tried[row]]:
            fresh = np.full(classes, 0.08 / classes)
            fresh[row] += 0.55
            fresh[other] += 0.37
            yield _with_row(transition, row, fresh)
            reversed_ = transition.copy()
            reversed_[row, row] += 0.9 * reversed_[row, other]
            reversed_[row, other] *= 0.1
            reversed_[other] *= 0.65
            reversed_[other, row] += 0.35
            yield reversed_


def _with_row(transition: Floats, row: int, values: Floats) -> Floats:
    changed = transition.copy()
    changed[row] = values
    return changed
