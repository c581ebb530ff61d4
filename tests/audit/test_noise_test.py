import numpy as np
import pytest

import graphnoise as gn
from graphnoise import InputError
from graphnoise.audit import LabelPosterior, noise_test

CLASSES = 3


def predictions(n, rng, sharpness=4.0):
    """Predictions, and clean labels drawn from them."""
    logs = sharpness * rng.standard_normal((n, CLASSES))
    prior = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
    labels = (rng.random((n, 1)) > prior.cumsum(1)).sum(1).clip(max=CLASSES - 1)
    return prior, labels


def posterior(prior, given):
    classes = prior.shape[1]
    identity = gn.noise.Transition(np.eye(classes))
    return LabelPosterior(prior, prior, identity, prior.mean(0), np.arange(classes), given)


def p_value(prior, given, degrees=None, **more):
    degrees = np.full(len(given), 4) if degrees is None else degrees
    return noise_test(posterior(prior, given), degrees, **more).p_value


def rejected(make, draws=40):
    """The share of draws that the test rejects at 5 %."""
    return np.mean([p_value(*make(np.random.default_rng(seed)), simulations=19) <= 0.05 for seed in range(draws)])


def test_level_with_predictions_that_are_too_sure_or_not_sure_enough():
    for power in (0.6, 1.7):

        def make(rng, power=power):
            prior, labels = predictions(100, rng)
            raised = prior**power
            return raised / raised.sum(1, keepdims=True), labels

        # 95 % of such shares are at most 5 of 40, where the level is exactly 5 %.
        assert rejected(make) <= 0.125


def test_level_with_predictions_that_ignore_the_degree():
    def make(rng):
        degrees = rng.integers(0, 12, 120)
        logs = 3 * rng.standard_normal((120, CLASSES))
        truth = logs * (1 + degrees)[:, None] / 6
        prior, true = (np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in (logs, truth))
        labels = (rng.random((120, 1)) > true.cumsum(1)).sum(1).clip(max=CLASSES - 1)
        return prior, labels, degrees

    assert rejected(make) <= 0.125


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_power(kind):
    def make(rng):
        prior, labels = predictions(300, rng, sharpness=8)
        return prior, getattr(gn.noise, kind)(CLASSES, 0.08).corrupt(labels, seed=rng).y

    assert rejected(make, 12) >= 0.8


def test_of_the_statistic_by_hand():
    """Two classes, predictions of one sort: the likelihood ratio of a share of disagreement is known."""
    # Ninety sure predictions of which nine fail: no power fits better than one at which they fail a tenth of the time.
    prior = np.tile([1 - 1e-6, 1e-6], (90, 1))
    given = (np.arange(90) < 9).astype(int)
    result = noise_test(posterior(prior, given), np.zeros(90, dtype=int), simulations=19)
    chances = np.array([1 - 1e-6, 1e-6]) ** np.geomspace(0.15, 4, 14)[:, None]
    chances /= chances.sum(1, keepdims=True)
    cost = np.log(np.geomspace(0.15, 4, 14)) ** 2 / (2 * 0.25**2)
    null = (81 * np.log(chances[:, 0]) + 9 * np.log(chances[:, 1]) - cost).max()
    assert result.statistic == pytest.approx(2 * (81 * np.log(0.9) + 9 * np.log(0.1) - null), rel=0.1)
    assert 1 / 20 <= result.p_value <= 1


def test_few_labels_and_a_large_number_of_them():
    prior, labels = predictions(3500, np.random.default_rng(0))
    assert p_value(prior, labels, simulations=9) > 0.1
    assert p_value(prior[:2], np.array([0, 1]), simulations=9) > 0.05
    unlabelled = np.where(np.arange(3500) < 40, labels, -1)
    assert p_value(prior, unlabelled, simulations=9) == p_value(prior[:40], labels[:40], simulations=9)


def test_same_seed_same_result():
    prior, labels = predictions(100, np.random.default_rng(1))
    labels[:5] = (labels[:5] + 1) % CLASSES
    tests = [noise_test(posterior(prior, labels), np.ones(100, dtype=int), seed=s) for s in (3, 3, 4)]
    assert tests[0] == tests[1]
    assert tests[0].statistic == tests[2].statistic


def test_odd_arguments():
    prior, labels = predictions(10, np.random.default_rng(0))
    with pytest.raises(InputError, match="degrees: expected 10 numbers of at least 0, one per node, got 3 numbers"):
        noise_test(posterior(prior, labels), np.ones(3))
    with pytest.raises(InputError, match="simulations"):
        noise_test(posterior(prior, labels), np.ones(10), simulations=0)
