"""Scores of wrong labels by their formulas, each against a wrong version."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from graphnoise.robust import detection
from graphnoise.robust.detection import onset


def test_loss_mixture():
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(0.2, 0.02, 80), rng.normal(2.0, 0.1, 20)]
    for order in (slice(None), slice(None, None, -1)):
        g = detection.high_losses(losses[order])[order]
        assert g[:80].mean() < 0.01
        assert g[80:].mean() > 0.99
    np.testing.assert_array_equal(detection.high_losses(np.full(50, 0.7)), 0.0)
    np.testing.assert_allclose(detection.high_losses(np.array([3.0, 1.0, 2.0, 2.0])), [1.0, 0.0, 0.5, 0.5])
    assert len(detection.high_losses(np.zeros(0))) == 0


def test_linear_separation():
    rng = np.random.default_rng(1)
    wrong = np.arange(400) % 2 == 1
    z = rng.normal(size=(400, 6))
    # Separable in the embeddings.
    z[:, 2] = np.where(wrong, 1.0, -1.0) * (1.0 + rng.random(400))
    telling = np.arange(400) % 10 < 2
    scores = np.where(telling, np.where(wrong, 0.99, 0.01), 0.5)
    g = detection.linear_rule(z, scores)
    assert roc_auc_score(wrong[~telling], g[~telling]) == 1.0
    assert roc_auc_score(wrong[~telling], scores[~telling]) == 0.5
    # A rule that learns the given labels, which it must not, finds nothing.
    y = rng.integers(0, 2, 400)
    fitted = LogisticRegression(max_iter=1000).fit(z, y).predict_proba(z)[:, 1]
    assert abs(roc_auc_score(wrong, fitted) - 0.5) < 0.2
    for level in (0.01, 0.5, 0.99):
        assert detection.linear_rule(z, np.full(400, level)) is None


def test_oscillation():
    stored, new = np.array([[0.7, 0.2, 0.1]] * 2), np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
    np.testing.assert_allclose(detection.divergences(new, stored), [0.6 * np.log(7), 0.1090], atol=5e-5)
    # The other direction, which is not meant.
    np.testing.assert_allclose(detection.divergences(stored, new)[1], 0.0969, atol=5e-5)
    assert np.isfinite(detection.divergences(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))).all()


def test_confidence_drop():
    before, after = np.array([[0.6, 0.4]] * 2), np.array([[0.2, 0.8], [0.6, 0.4]])
    g, kept = detection.confidence_falls(before, after, before.argmax(1))
    assert kept.tolist() == [False, True]
    # The largest probability has risen.
    assert after[0].max() > before[0].max()
    np.testing.assert_allclose(g, [1 / (1 + np.exp(-4)), 0.5])


def saturating(time, power=1.0, count=200):
    return 0.9 * (1 - np.exp(-(np.arange(count) ** power) / time))


def test_class_onset():
    assert onset(saturating(1.0)) == 4
    assert onset(saturating(2.0, 0.7)) == 9
    assert onset(np.r_[np.zeros(5), saturating(1.0)]) == 9
    # Theory: 1 + time · log 10; a horizon of 16 epochs, as published, cannot find the last.
    assert [onset(saturating(time)) for time in (5.0, 12.0, 40.0)] == [13, 29, 94]
    assert onset(saturating(40.0)[:16]) <= 16
    for curve in ([], [0.0, 0.5, 0.6], np.zeros(50), np.full(50, 0.9)):
        assert onset(np.array(curve)) == np.inf


def test_overlaps_are_intersections_over_unions():
    rng = np.random.default_rng(0)
    predicted, y = rng.integers(0, 3, (2, 50))
    expected = [((predicted == c) & (y == c)).sum() / ((predicted == c) | (y == c)).sum() for c in range(3)]
    np.testing.assert_allclose(detection.overlaps(predicted, y, 4), [*expected, 0.0])


def test_neighbour_credibility():
    z = np.r_[np.tile([1.0, 0.0, 0.0], (11, 1)), np.tile([0.0, 1.0, 0.0], (11, 1)), [[0.0, 0.0, 1.0]]]
    y = np.r_[np.zeros(11, dtype=int), np.ones(12, dtype=int)]
    y[0] = 1
    g = 1 - detection.agreement_of_nearest(z, y, 10)
    # With the node itself among its neighbours, which is wrong, it would be 10 / 11.
    assert g[0] == pytest.approx(1.0)
    np.testing.assert_allclose(g[1:11], 0.1)
    np.testing.assert_allclose(g[11:22], 0.0)
    # All of its cosines are 0.
    assert g[22] == 0.5
    zero = detection.agreement_of_nearest(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 10)
    np.testing.assert_array_equal(zero, 0.5)
    assert detection.agreement_of_nearest(np.ones((1, 2)), np.array([0]), 10).tolist() == [0.5]


def test_rows_of_zeros_take_no_place_among_the_nearest():
    z = np.array([[1.0, 0.0], [0.4, 0.9], [0.4, 0.9]])
    y = np.array([0, 0, 1])
    alone = detection.agreement_of_nearest(z, y, 2)
    beside = detection.agreement_of_nearest(np.r_[z, np.zeros((5, 2))], np.r_[y, np.ones(5, dtype=int)], 2)
    assert alone[0] == pytest.approx(0.5)
    np.testing.assert_array_equal(beside, np.r_[alone, np.full(5, 0.5)])


def test_neighbour_credibility_of_random_rows_is_the_sum_over_the_nearest():
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    cosine = cosine_similarity(z)
    np.fill_diagonal(cosine, -np.inf)
    expected = []
    for i in range(60):
        near = np.argsort(-cosine[i])[:7]
        s = np.maximum(cosine[i, near], 0)
        expected.append((s * (y[near] == y[i])).sum() / s.sum())
    np.testing.assert_allclose(detection.agreement_of_nearest(z, y, 7), expected, atol=1e-9)
    lifted = np.minimum(expected / (np.bincount(y)[y] / 60), 1)
    np.testing.assert_allclose(detection.agreement_of_nearest(z, y, 7, lift=True), lifted, atol=1e-9)
