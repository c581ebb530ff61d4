"""Paired comparisons: against SciPy, by their error rate, and what is refused."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recsys import InputError
from recsys.evaluation import Evaluation
from recsys.significance import compare, compare_all


def evaluation(values, mask="train"):
    values = np.asarray(values, float)
    return Evaluation(np.arange(len(values)), {"ndcg@5": values}, {"ndcg@5": float(values.mean())}, mask)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    base = rng.random(300)
    return evaluation(base + rng.normal(0.02, 0.1, 300)), evaluation(base)


def test_the_t_test_is_the_paired_one(pair):
    found = compare(*pair, "ndcg@5")
    a, b = (part.values["ndcg@5"] for part in pair)
    theirs = stats.ttest_1samp(a - b, 0)
    interval = theirs.confidence_interval()
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))
    assert found.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert found.relative == pytest.approx((a - b).mean() / b.mean())
    assert (found.wins + found.losses, found.users) == (1, 300)


def test_the_bootstrap_agrees_with_the_t_test_and_repeats(pair):
    t, boot = compare(*pair, "ndcg@5"), compare(*pair, "ndcg@5", test="bootstrap", resamples=20_000)
    assert (boot.low, boot.high) == pytest.approx((t.low, t.high), abs=5e-4)
    assert boot.p == pytest.approx(t.p, abs=2e-3)
    assert boot == compare(*pair, "ndcg@5", test="bootstrap", resamples=20_000, seed=0)
    assert boot != compare(*pair, "ndcg@5", test="bootstrap", resamples=20_000, seed=1)


def test_the_observation_counts_among_the_resamples():
    """Gaps of about 1: no resample is as far from its mean, and p is 1 / (100 + 1)."""
    first, second = evaluation([1.0, 1.01, 0.99, 1.0]), evaluation(np.zeros(4))
    assert compare(first, second, "ndcg@5", test="bootstrap", resamples=100).p == pytest.approx(1 / 101)


def test_level_names_wins_and_losses():
    first, second = evaluation([0.5, 0.25, 1.0, 0.5]), evaluation([0.25, 0.25, 0.5, 0.75])
    found = compare(first, second, "ndcg@5", level=0.8, names=("a", "b"))
    interval = stats.ttest_1samp([0.25, 0, 0.5, -0.25], 0).confidence_interval(0.8)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.first, found.second, found.metric) == ("a", "b", "ndcg@5")
    assert (found.difference, found.relative, found.wins, found.losses) == (0.125, 0.125 / 0.4375, 0.5, 0.25)
    boot = compare(first, second, "ndcg@5", level=0.8, test="bootstrap", resamples=100)
    rng = np.random.default_rng(0)
    means = np.array([0.25, 0, 0.5, -0.25])[rng.integers(0, 4, (100, 4))].mean(1)
    assert (boot.low, boot.high) == pytest.approx(tuple(np.percentile(means, [10, 90])))
    assert boot.p == (np.abs(means - 0.125) >= 0.125).sum() / 101 + 1 / 101


def test_batches_of_resamples_do_not_change_the_result(pair, monkeypatch):
    whole = compare(*pair, "ndcg@5", test="bootstrap", resamples=500)
    monkeypatch.setattr("recsys.significance.MAX_RESAMPLED", 1)
    assert compare(*pair, "ndcg@5", test="bootstrap", resamples=500) == whole


@pytest.mark.parametrize("test", ["t", "bootstrap"])
def test_true_hypotheses_are_rejected_as_often_as_said(test):
    rng = np.random.default_rng(3)
    ps = [
        compare(evaluation(rng.random(40)), evaluation(rng.random(40)), "ndcg@5", test=test, resamples=200).p
        for _ in range(400)
    ]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.085  # 0.05 within three standard errors


def test_models_that_do_not_differ():
    same = compare(evaluation([0.1, 0.2]), evaluation([0.1, 0.2]), "ndcg@5", test="bootstrap")
    assert (same.p, same.effect, same.low, same.high) == (1, 0, 0, 0)
    zero = compare(evaluation([0.5, 0.5]), evaluation([0.0, 0.0]), "ndcg@5")
    assert (zero.p, zero.effect) == (0, np.inf)
    assert np.isnan(zero.relative)


def test_all_pairs_are_one_family():
    rng = np.random.default_rng(1)
    models = {name: evaluation(rng.random(50) + shift) for name, shift in (("a", 0.2), ("b", 0.1), ("c", 0))}
    found = compare_all(models, "ndcg@5")
    raw = [compare(models[c.first], models[c.second], "ndcg@5").p for c in found]
    np.testing.assert_allclose([c.p for c in found], multipletests(raw, method="holm")[1])
    assert [(c.first, c.second) for c in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_what_cannot_be_compared_is_refused(pair):
    first, second = pair
    fewer = evaluation([0.1, 0.2])
    for arguments, options, message in [
        ((first, fewer), {}, r"second: expected the 300 users of first, got 2 users"),
        (
            (first, evaluation(second.values["ndcg@5"], "none")),
            {},
            r"second: expected the mask of first, 'train', got 'none'",
        ),
        ((evaluation([1]), evaluation([2])), {}, r"first: expected at least two users, got 1"),
        ((evaluation([1, np.nan]), fewer), {}, r"first: expected finite values, got 1 NaN"),
        (pair, {"test": "wilcoxon"}, r"test: expected one of bootstrap, t"),
        (pair, {"level": 1}, r"level: expected a number in \[0\.5, 1\]"),
        (pair, {"resamples": 10}, r"resamples: expected an integer from 100 to 10000000"),
    ]:
        with pytest.raises(InputError, match=message):
            compare(*arguments, "ndcg@5", **options)
    with pytest.raises(InputError, match=r"metric: expected one of ndcg@5, got 'gini@5'"):
        compare(first, second, "gini@5")
    with pytest.raises(InputError, match=r"models: expected at least two, got 1"):
        compare_all({"a": first}, "ndcg@5")
