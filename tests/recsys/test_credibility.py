"""Credibility against simulated truth, its parts against their definitions, and cleaning."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recsys import (
    ALS,
    InputError,
    Interactions,
    ItemKNN,
    MatrixFactorization,
    Recommender,
    TwoTower,
    clean,
    credibility,
    evaluate,
    simulation,
    splits,
)
from recsys.two_groups import fit_two_groups, mean_density, power, ranks, uniform_mixture


def world(false_positive=0.2, false_negative=0.2, seed=1, **options):
    clicks = simulation.low_rank(300, 200, rank=5, density=0.08, seed=seed).interactions
    return clicks, simulation.corrupt(clicks, false_positive, false_negative, seed=seed, **options)


CLEAN, NOISY = world()
UNOBSERVED = np.nonzero(NOISY.interactions.matrix.toarray() == 0)
HIDDEN = NOISY.hidden.matrix.toarray()[UNOBSERVED] > 0
# P(r = 1 | r* = 0) and P(r = 0 | r* = 1), as simulated.
RATES = {
    "false_positive_rate": int(NOISY.false_positive.sum()) / (300 * 200 - len(CLEAN)),
    "false_negative_rate": NOISY.false_negative_rate,
}


def mf(**changes):
    return MatrixFactorization(16, "bpr", **{"iterations": 25, "num_threads": 1, "random_state": 1, **changes})


def calibration_error(chance, truth):
    """Return the mean distance of chance and share of truths, over tenths."""
    bins = np.minimum((chance * 10).astype(int), 9)
    return sum(abs((chance[bins == k] - truth[bins == k]).sum()) for k in range(10)) / len(chance)


@pytest.mark.parametrize("method", ["density", "mixture"])
@pytest.mark.parametrize("model", [ItemKNN(), mf(), ALS(16, random_state=1)], ids=lambda x: type(x).__name__)
def test_simulated_mistakes_and_hidden_likes_are_detected(model, method):
    found = credibility(model, NOISY.interactions, pairs=UNOBSERVED, method=method, num_threads=1)
    assert roc_auc_score(~NOISY.false_positive, found.positive) > 0.72
    assert roc_auc_score(HIDDEN, found.hidden) > 0.76
    assert found.positive.min() >= 0
    assert found.positive.max() <= 1
    # Both are too high, fn since not all pairs that are ranked first are likes (see the next test); ALS pushes what it
    # has not seen to the very end.
    assert NOISY.false_positive.mean() < found.false_positive_share < (0.65 if isinstance(model, ALS) else 0.42)
    assert 0.2 < found.false_negative_rate < 0.7


@pytest.mark.parametrize("likes", [1.0, 0.5])
def test_of_the_pairs_ranked_first_a_share_is_observed(likes):
    """fn is right where all of these are likes; otherwise others, of which fewer are observed, count as hidden."""
    rng, users, items, fn, fp = np.random.default_rng(0), 400, 200, 0.4, 0.05
    # The first forty pairs of each user are likes in this share, of the others none.
    liked = np.where(np.arange(items) < 40, rng.random((users, items)) < likes, False)
    observed = rng.random((users, items)) < np.where(liked, 1 - fn, fp)
    x = [ranks(np.sort(-np.flatnonzero(~row)), -np.flatnonzero(row), 1) for row in observed]
    *_, found, _ = fit_two_groups(np.concatenate(x, 1), "density", float(observed.mean()), None, None)
    assert found == pytest.approx(1 - likes * (1 - fn) - (1 - likes) * fp, abs=0.03)


def test_with_the_true_rates_probabilities_are_calibrated():
    found = credibility(ItemKNN(), NOISY.interactions, pairs=UNOBSERVED, num_threads=1, **RATES)
    assert found.false_positive_share == pytest.approx(NOISY.false_positive.mean(), abs=1e-3)
    assert found.hidden_share == pytest.approx(HIDDEN.mean(), abs=1e-3)
    assert calibration_error(found.positive, ~NOISY.false_positive) < 0.03
    assert calibration_error(found.hidden, HIDDEN) < 0.005
    assert found.hidden.mean() == pytest.approx(HIDDEN.mean(), rel=0.1)


def test_mistakes_that_follow_popularity_are_harder_to_detect():
    _, noisy = world(popularity=1.0)
    found = credibility(mf(), noisy.interactions, top=0, num_threads=1)
    assert 0.6 < roc_auc_score(~noisy.false_positive, found.positive) < 0.78
    assert not len(found.hidden)


def test_in_sample_scores_do_not_reveal_mistakes():
    """Why positives are scored by models that did not see them: their own model ranks mistakes higher."""
    model = ItemKNN().fit(NOISY.interactions, False)
    scores = model.scores(np.arange(300))[NOISY.interactions.rows, NOISY.interactions.matrix.indices]
    own = roc_auc_score(~NOISY.false_positive, scores)
    other = credibility(ItemKNN(), NOISY.interactions, top=0, num_threads=1)
    assert roc_auc_score(~NOISY.false_positive, other.positive) > own + 0.02


def test_the_learned_flip_rate_of_nbpo_points_the_wrong_way_and_is_not_used():
    model = MatrixFactorization.from_preset("nbpo", extra_regularization=1.0, iterations=60, num_threads=1)
    learned = model.fit(NOISY.interactions, False)
    gamma = roc_auc_score(HIDDEN, learned.logits("flip", np.arange(300))[UNOBSERVED])
    assert gamma < 0.45
    found = credibility(model, NOISY.interactions, pairs=UNOBSERVED, num_threads=1, folds=2)
    assert roc_auc_score(HIDDEN, found.hidden) > max(0.55, gamma + 0.15)


def test_the_likeliest_are_the_best_of_all_pairs_of_a_user():
    every = credibility(ItemKNN(), NOISY.interactions, pairs=UNOBSERVED, num_threads=1)
    best = credibility(ItemKNN(), NOISY.interactions, top=7, num_threads=2)
    chance = np.full((300, 200), -1.0, np.float32)
    chance[UNOBSERVED] = every.hidden
    order = np.argsort(-chance, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(best.users, np.repeat(np.arange(300), 7))
    np.testing.assert_array_equal(best.hidden.reshape(300, 7), np.take_along_axis(chance, order, 1))
    np.testing.assert_array_equal(best.positive, every.positive)
    some = np.random.default_rng(0).permutation(len(UNOBSERVED[0]))[:50]
    few = credibility(ItemKNN(), NOISY.interactions, pairs=(UNOBSERVED[0][some], UNOBSERVED[1][some]))
    np.testing.assert_array_equal(few.hidden, every.hidden[some])
    assert few.users.tolist() == UNOBSERVED[0][some].tolist()


def test_a_seed_repeats_itself_and_the_model_stays_as_it_was(monkeypatch):
    monkeypatch.setattr("recsys.base.BATCH", 4000)
    model = mf(iterations=2)
    one, two = (credibility(model, NOISY.interactions, top=2, num_threads=k) for k in (1, 2))
    other = credibility(lambda: mf(iterations=2), NOISY.interactions, top=2, seed=1)
    assert model.num_items == 0
    for name in ("positive", "users", "items", "hidden"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.positive, other.positive)
    assert repr(one).startswith(f"Credibility({len(NOISY.interactions)} positives, 600 unobserved pairs; ")


def test_arguments_of_fit_are_passed_on():
    model = TwoTower(4, (), iterations=1, use_ids=False)
    given = {"user_features": np.eye(300), "item_features": np.eye(200)}
    found = credibility(model, NOISY.interactions, folds=2, top=1, fit_arguments=given)
    assert found.hidden.shape == (300,)


class Peeks(Recommender):
    """Fails if a positive is scored by a model that was trained on it."""

    seen: list = []  # noqa: RUF012 - shared by the copies on purpose

    def __init__(self):
        pass

    def _fit(self, user_items, show_progress, callback):
        self.matrix = user_items.toarray()
        self.seen.append(self.matrix)

    def scores(self, userids):
        return self.matrix[userids].astype(np.float32)


def test_every_positive_is_held_out_once_and_users_are_spread_over_the_folds():
    Peeks.seen.clear()
    found = credibility(Peeks, NOISY.interactions, folds=4, top=0, num_threads=1)
    full = NOISY.interactions.matrix.toarray()
    held = [full - part for part in Peeks.seen]
    np.testing.assert_array_equal(sum(held), full)
    counts = np.array([part.sum(1) for part in held])
    assert (counts.max(0) - counts.min(0)).max() <= 1
    # All that is not trained on scores 0: ties count by half.
    assert set(found.position.tolist()) == {0.5}


def test_users_with_everything_and_with_nothing():
    X = CLEAN.matrix.toarray()[:40]
    X[3], X[4] = 1, 0
    found = credibility(ItemKNN(), sp.csr_array(X), top=2)
    assert np.isfinite(found.positive).all()
    own = found.positive[found.interactions.rows == 3]
    assert own == pytest.approx(1 - found.false_positive_share)
    assert 3 not in found.users
    assert (found.users == 4).sum() == 2


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 5))
def test_positions_count_higher_scores(reference, score):
    x = ranks(np.sort(np.array(reference, float)), np.array([float(score)]), 1)[:, 0]
    above, equal = sum(r > score for r in reference), sum(r == score for r in reference)
    assert x * (len(reference) + 1) == pytest.approx([above, above + equal + 1])
    assert x.mean() == pytest.approx((above + 0.5 * equal + 0.5) / (len(reference) + 1))


def intervals(rng, size, steps=40):
    """Return random intervals between multiples of 1 / steps."""
    low = np.floor(rng.beta(0.5, 1, size) * steps).clip(max=steps - 1)
    return np.stack([low, low + 1 + rng.integers(0, steps - low)]) / steps


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_density_of_positions_spreads_each_over_its_interval(seed, size):
    x = intervals(np.random.default_rng(seed), size)
    knots, heights = uniform_mixture(x)
    at = (knots[1:] + knots[:-1]) / 2
    inside = (x[0][:, None] < at) & (at < x[1][:, None])
    np.testing.assert_allclose(heights, (inside / (x[1] - x[0])[:, None]).mean(0), atol=1e-9)
    means = mean_density(knots, heights, x)
    area = [sum(h * max(0, min(b, hi) - max(a, lo)) for a, b, h in zip(knots[:-1], knots[1:], heights, strict=True))
            for lo, hi in x.T]  # fmt: skip
    np.testing.assert_allclose(means, area / (x[1] - x[0]), atol=1e-9)


def test_a_share_of_likes_is_found_where_many_scores_are_equal():
    """A model scores 70 of 210 items; mistakes are anywhere, so that two thirds of them tie with the other 140."""
    rng = np.random.default_rng(0)
    rank = np.append(np.floor(rng.beta(0.3, 3, 8000) * 70), rng.integers(0, 210, 2000))
    x = np.stack([rank.clip(max=70), np.where(rank < 70, rank + 1, 210)]) / 210
    for method, tail in (("density", 0.1), ("mixture", 0.5)):
        f1, pi, _, _ = fit_two_groups(x, method, 0.05, None, None)
        assert pi == pytest.approx(0.2, abs=0.02)
        chance = (1 - pi) * f1(x) / ((1 - pi) * f1(x) + pi)
        assert chance[rank >= 70].max() < tail
        assert chance[:8000].mean() > 0.85


def test_mistakes_of_a_sparse_neighbourhood_model_are_removed():
    """Users and items in ten groups: ItemKNN scores all pairs across groups 0, and the mistakes lie there."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 30)
    clicks = Interactions.from_csr(sp.csr_array((group[:, None] == group) & (rng.random((300, 300)) < 0.4)))
    noisy = simulation.corrupt(clicks, false_positive=0.2, seed=1)
    found = credibility(ItemKNN(), noisy.interactions, top=0)
    assert found.false_positive_share == pytest.approx(1 / 6, abs=0.05)
    removed = clean(noisy.interactions, found, threshold=0.5).removed
    right = noisy.added.matrix.multiply(removed.matrix).sum()
    assert right > 0.9 * len(removed)
    assert right > 0.7 * noisy.false_positive.sum()


def test_the_mixture_finds_its_power():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(40_000) < 0.3, rng.random(40_000), rng.random(40_000) ** (1 / 0.25))
    low = np.floor(x * 10_000)
    assert power(np.stack([low, low + 1]) / 10_000, 0.3) == pytest.approx(0.25, abs=0.01)


def test_rates_agree_with_each_other():
    """q = (1 - fn) p + fp (1 - p), and both shares follow by Bayes."""
    rng = np.random.default_rng(0)
    x, q, fp, fn = intervals(rng, 500), 0.05, 0.01, 0.3
    _, pi, fn_out, fp_out = fit_two_groups(x, "density", q, fp, fn)
    p = (q - fp) / (1 - fn - fp)
    assert (fn_out, fp_out) == (fn, fp)
    assert pi == pytest.approx(fp * (1 - p) / q)
    _, pi, fn_out, fp_out = fit_two_groups(x, "density", q, None, fn)
    p = (1 - pi) * q / (1 - fn)
    assert fp_out * (1 - p) == pytest.approx(pi * q)


def test_cleaning_removes_the_least_credible_and_reports_them():
    found = credibility(ItemKNN(), NOISY.interactions, top=20, num_threads=1)
    size = len(NOISY.interactions)
    done = clean(NOISY.interactions, found, share=0.1)
    assert (len(done.removed), len(done.interactions), len(done.added)) == (
        round(0.1 * size),
        size - round(0.1 * size),
        0,
    )
    wrong = NOISY.added.matrix.multiply(done.removed.matrix).sum() / len(done.removed)
    assert wrong > 2 * NOISY.false_positive.mean()
    by_level = clean(NOISY.interactions, found, threshold=0.5)
    assert len(by_level.removed) == (found.positive < 0.5).sum()
    assert (by_level.interactions.matrix + by_level.removed.matrix != NOISY.interactions.matrix).nnz == 0
    both = clean(NOISY.interactions, found, add=0.3)
    assert 0 < len(both.added) == (found.hidden >= 0.3).sum()
    assert both.added.matrix.multiply(NOISY.hidden.matrix).sum() / len(both.added) > 5 * HIDDEN.mean()
    assert (both.interactions.matrix - both.added.matrix != NOISY.interactions.matrix).nnz == 0
    assert len(both.removed) == 0


def test_cleaning_at_the_threshold():
    """Five positives: .5 is kept at a threshold of .5; of equals, those of the lowest rank go first."""
    clicks = Interactions.from_csr(sp.csr_array([[1, 1, 1, 0], [0, 1, 0, 1]]))
    probability = np.array([0.5, 0.25, 0.75, 0.5, 0.5], np.float32)
    position = np.array([0.1, 0.9, 0.2, 0.3, 0.3], np.float32)
    pairs = {"users": np.array([0, 1, 1]), "items": np.array([3, 0, 2]), "hidden": np.float32([0.5, 0.25, 0.75])}
    found = dataclasses.replace(FOUND, interactions=clicks, positive=probability, position=position, **pairs)

    def removed(**options):
        matrix = clean(clicks, found, **options).removed.matrix
        return list(zip(*(part.tolist() for part in matrix.nonzero()), strict=True))

    assert removed(threshold=0.5) == [(0, 1)]
    assert removed(threshold=0.5000001) == [(0, 0), (0, 1), (1, 1), (1, 3)]
    assert removed(share=0.4) == [(0, 1), (1, 3)]
    assert removed(share=0.6) == [(0, 1), (1, 1), (1, 3)]
    assert removed(share=0.0) == []
    added = clean(clicks, found, add=0.5).added.matrix
    assert added.toarray().tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_ids_ratings_and_times_stay():
    row, col = np.nonzero(CLEAN.matrix.toarray()[:30])
    given = Interactions.from_triples([f"u{u}" for u in row], col, ratings=1 + col % 5, times=row, duplicates="error")
    found = credibility(ItemKNN(), given, top=3)
    done = clean(given, found, share=0.2)
    assert done.interactions.ratings.shape == (len(done.interactions),)
    np.testing.assert_array_equal(done.interactions.users, given.users)
    assert len(done.interactions.times) + len(done.removed.times) == len(given)
    more = clean(given, found, add=0.0)
    assert more.interactions.ratings is None
    np.testing.assert_array_equal(more.added.items, given.items)


def test_training_on_what_is_cleaned_ranks_clean_likes_better():
    parts = splits.ratio(simulation.low_rank(300, 200, rank=5, density=0.12, seed=3).interactions)
    noisy = simulation.corrupt_split(parts, false_positive=0.5, seed=3).split
    done = clean(noisy.train, credibility(ItemKNN(), noisy.train, top=0), share=0.25).interactions
    before, after = (
        evaluate(mf().fit(train, False), noisy.train, noisy.test, ["ndcg@20"])["ndcg@20"]
        for train in (noisy.train, done)
    )
    assert after > 1.02 * before


FOUND = credibility(ItemKNN(), NOISY.interactions, top=1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: credibility("bpr", NOISY.interactions), "model: expected a Recommender, or a function"),
        (lambda: credibility(lambda: 3, NOISY.interactions), "model: expected a Recommender, or a function"),
        (lambda: credibility(ItemKNN(), np.eye(3)), "interactions: expected Interactions or a SciPy sparse matrix"),
        (
            lambda: credibility(ItemKNN(), sp.eye_array(3).tocsr()),
            "interactions: expected at least as many as folds, 5",
        ),
        (
            lambda: credibility(ItemKNN(), sp.csr_array(np.ones((3, 3)))),
            "expected a pair that is not observed, got none",
        ),
        (lambda: credibility(ItemKNN(), CLEAN, folds=1), "folds: expected an integer of at least 2"),
        (lambda: credibility(ItemKNN(), CLEAN, method="gamma"), "method: expected one of density, mixture"),
        (lambda: credibility(ItemKNN(), CLEAN, false_positive_rate=0.5), "false_positive_rate: expected less than"),
        (lambda: credibility(ItemKNN(), CLEAN, false_negative_rate=0.99), "false_negative_rate: expected one that"),
        (lambda: credibility(ItemKNN(), CLEAN, false_negative_rate=1), "false_negative_rate: expected one that"),
        (lambda: credibility(ItemKNN(), CLEAN, pairs=([0], [200])), "pairs, items: expected positions from 0 to 199"),
        (lambda: credibility(ItemKNN(), CLEAN, pairs=([0], [])), "pairs: expected 1 items"),
        (lambda: credibility(ItemKNN(), CLEAN, pairs=CLEAN.matrix.nonzero()), "pairs: expected unobserved pairs"),
        (lambda: credibility(ItemKNN(), CLEAN, pairs=3), "pairs: expected"),
        (lambda: credibility(ItemKNN(), CLEAN, top=-1), "top: expected an integer of at least 0"),
        (lambda: clean(NOISY.interactions, FOUND), "threshold: expected a threshold, a share or add"),
        (lambda: clean(NOISY.interactions, FOUND, share=0.1, threshold=0.1), "share: expected None together with"),
        (lambda: clean(NOISY.interactions, FOUND, share=1.1), "share: expected a rate"),
        (lambda: clean(NOISY.interactions, FOUND, share=1.0), "share: expected one that leaves a positive"),
        (lambda: clean(CLEAN, FOUND, share=0.1), "interactions: expected those that credibility was asked about"),
        (lambda: clean(NOISY.interactions, 3, share=0.1), "credibility: expected what recsys.credibility returned"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()
