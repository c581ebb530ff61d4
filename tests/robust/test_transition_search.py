"""The search for the transition matrix against plain loops over nodes and classes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphnoise.noise import pair, symmetric
from graphnoise.robust import transition_search
from graphnoise.robust.transition_search import (
    Channel,
    _Model,
    exchange_margin,
    posterior,
    search_transition,
    symmetric_rows,
    transition_step,
)

SHRINKAGE, GAIN = 0.6, 8.0
T = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8]])


def toy(n=8, seed=0):
    """Differences of predictions from their mean, given labels, and the mean, of three classes."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.2, (n, 3)), rng.integers(0, 3, n), np.array([0.5, 0.3, 0.2])


def loops(differences, given_labels, mean, transition):
    """Return filter scores, joint posteriors and the log-likelihood, by their definitions."""
    scores, posteriors, likelihood = [], [], 0.0
    for row, label in zip(differences, given_labels, strict=True):
        g = [m + d / SHRINKAGE for m, d in zip(mean, row, strict=True)]
        s = [GAIN * sum(a * t - 0.5 * t * t for a, t in zip(g, line, strict=True)) for line in transition]
        prior = [math.exp(value) / sum(map(math.exp, s)) for value in s]
        joint = [p * line[label] for p, line in zip(prior, transition, strict=True)]
        likelihood += math.log(sum(joint))
        scores.append(s)
        posteriors.append([value / sum(joint) for value in joint])
    return scores, posteriors, likelihood


def penalty(transition):
    """Return twice the sum of log(.05 + 1 - largest other entry / diagonal entry) over the rows."""
    rows = [(line[c], max(np.delete(line, c))) for c, line in enumerate(transition)]
    return 2 * sum(math.log(0.05 + 1 - other / diagonal) for diagonal, other in rows)


def dirichlet_step(counts):
    """Return the step of the matrix by its definition, before rows are made dominant."""
    classes = len(counts)
    rate = min(max(1 - sum(counts[c][c] for c in range(classes)) / counts.sum(), 1e-3), 0.9)
    prior = [[1 - rate if c == j else rate / (classes - 1) for j in range(classes)] for c in range(classes)]

    def evidence(strength):
        total = 0.0
        for c, j in itertools.product(range(classes), repeat=2):
            total += math.lgamma(strength * prior[c][j] + counts[c][j]) - math.lgamma(strength * prior[c][j])
        return total + sum(math.lgamma(strength) - math.lgamma(strength + line.sum()) for line in counts)

    best = max((4, 8, 16, 32, 64, 125, 250, 500, 1000), key=evidence)
    step = np.array([[counts[c][j] + best * prior[c][j] for j in range(classes)] for c in range(classes)])
    return step / step.sum(1, keepdims=True)


def test_the_posterior_is_bayes_rule():
    differences, labels, mean = toy()
    scores, expected, _ = loops(differences, labels, mean, T)
    np.testing.assert_allclose(posterior(np.array(scores) - 3.0, T, labels), expected, rtol=1e-12)


def test_a_label_that_no_class_explains_is_no_error():
    """Where T forbids the given label the posterior is that of the least forbidden class, not NaN."""
    chances = posterior(np.log([[0.7, 0.2, 0.1]]), np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]), np.array([2]))
    np.testing.assert_allclose(chances, [[0.7, 0.2, 0.1]])


def test_the_filter_is_that_of_the_channel():
    differences, labels, mean = toy()
    weights, intercept = Channel(T, np.float64(SHRINKAGE), np.float64(GAIN), np.float64(0)).filter_weights(mean)
    expected, _, _ = loops(differences, labels, mean, T)
    np.testing.assert_allclose(differences @ weights + intercept, expected, rtol=1e-12)


def test_the_objective_is_the_penalised_likelihood():
    differences, labels, mean = toy()
    channel = _Model(differences, labels, mean).em(T[None], SHRINKAGE, GAIN, 0)
    _, _, likelihood = loops(differences, labels, mean, T)
    assert channel.objective[0] == pytest.approx(likelihood + penalty(T), rel=1e-12)
    np.testing.assert_array_equal(channel.transition[0], T)


def test_one_step_of_em_counts_posteriors():
    differences, labels, mean = toy(40)
    _, posteriors, _ = loops(differences, labels, mean, T)
    counts = np.zeros((3, 3))
    for row, label in zip(posteriors, labels, strict=True):
        counts[:, label] += row
    expected = dirichlet_step(counts)
    assert (expected.argmax(1) == np.arange(3)).all()
    channel = _Model(differences, labels, mean).em(T[None], SHRINKAGE, GAIN, 1)
    np.testing.assert_allclose(channel.transition[0], expected, rtol=1e-10)
    assert channel.objective[0] == pytest.approx(loops(differences, labels, mean, expected)[2] + penalty(expected))


def test_many_channels_at_once_are_the_same_as_each(monkeypatch):
    differences, labels, mean = toy(20)
    model, matrices = _Model(differences, labels, mean), np.stack([T, T[::-1, ::-1], symmetric_rows(np.array(0.3), 3)])
    shrinkage, gain = np.array([0.4, 0.6, 0.9]), np.array([4.0, 8.0, 16.0])
    together = model.em(matrices, shrinkage, gain, 5)
    monkeypatch.setattr(transition_search, "BLOCK_ENTRIES", 1)
    for other in (
        model.em(matrices, shrinkage, gain, 5),
        *(model.em(matrices[k : k + 1], shrinkage[k], gain[k], 5) for k in range(3)),
    ):
        size = len(other.objective)
        index = range(3) if size == 3 else [int(np.flatnonzero(shrinkage == other.shrinkage[0])[0])]
        np.testing.assert_allclose(other.transition, together.transition[index], rtol=1e-12)
        np.testing.assert_allclose(other.objective, together.objective[index], rtol=1e-12)


@given(
    counts=st.integers(2, 6).flatmap(
        lambda c: arrays(np.float64, (2, c, c), elements=st.floats(0, 1e4, allow_subnormal=False))
    )
)
def test_the_step_keeps_rows_stochastic_and_the_true_class_the_most_probable(counts):
    rows = transition_step(counts)
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-12)
    assert (rows >= 0).all()
    assert (rows.diagonal(axis1=1, axis2=2) >= rows.max(-1) - 1e-12).all()
    np.testing.assert_allclose(transition_step(counts[1]), rows[1], rtol=1e-12)


def test_rows_that_are_dominant_are_the_posterior_mean():
    counts = np.array([[30.0, 2, 8], [1, 25, 4], [0, 0, 9]])
    np.testing.assert_allclose(transition_step(counts), dirichlet_step(counts), rtol=1e-10)


def noisy(matrix, n=600, seed=0):
    """Return differences of predictions that shrink by half and err, given labels, and the mean."""
    rng, classes = np.random.default_rng(seed), len(matrix)
    truth = np.arange(n) % classes
    given_labels = (matrix[truth].cumsum(1) < rng.random(n)[:, None]).sum(1).clip(max=classes - 1)
    mean = np.bincount(given_labels, minlength=classes) / n
    return 0.5 * (matrix[truth] - mean) + rng.normal(0, 0.04, (n, classes)), given_labels, mean


@pytest.mark.parametrize("kind", [symmetric, pair])
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_a_planted_matrix_is_recovered(kind, rate):
    matrix = kind(5, rate).matrix.numpy()
    channel, margin = search_transition(*noisy(matrix), 1.0)
    assert np.abs(channel.transition - matrix).max() < 0.1
    assert np.abs(channel.transition - matrix).mean() < 0.03
    assert margin > 3


@pytest.mark.parametrize("seed", range(4))
def test_the_best_exchange_is_that_of_all_permutations(seed):
    rng = np.random.default_rng(seed)
    matrix = transition_step(rng.gamma(0.5, 10, (4, 4)) + 20 * np.eye(4))
    sizes = np.array([40.0, 25, 30, 2])

    def cost(order):
        total = 0.0
        for c, j in enumerate(order):
            # Classes with fewer labels than the mean have as many as the mean.
            a, b = matrix[c, [c, j]] * max(sizes[c], sizes.mean())
            total += a * math.log(2 * a / (a + b)) + b * math.log(2 * b / (a + b))
        return total

    expected = min(cost(order) for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3))
    assert exchange_margin(matrix, sizes) == pytest.approx(expected - 2)


def test_a_known_matrix_is_used_as_it_is():
    matrix = pair(5, 0.4).matrix.numpy()
    arguments = noisy(matrix)
    known = np.roll(np.eye(5), 1, axis=1)
    for transition in (matrix, known):
        channel, margin = search_transition(*arguments, 1.0, known=transition)
        np.testing.assert_array_equal(channel.transition, transition)
        assert margin == np.inf
        assert np.isfinite(channel.objective)
        assert float(channel.shrinkage) in transition_search.SHRINKAGES
        assert float(channel.gain) in transition_search.GAINS


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_rows_of_symmetric_noise(classes):
    rows = symmetric_rows(np.array([0.0, 0.3]), classes)
    expected = [symmetric(classes, rate).matrix for rate in (0.0, 0.3)] if classes > 1 else [[[1.0]], [[0.7]]]
    np.testing.assert_allclose(rows, np.stack(expected))


def test_the_seed_is_that_of_the_starts():
    confusion = np.random.default_rng(1).random((4, 4))
    starts = [transition_search._random_starts(confusion, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert (starts[0] != starts[2]).any()
    np.testing.assert_allclose(starts[0].sum(2), 1)
    assert (starts[0].argmax(2) == np.arange(4)).mean() > 0.5
