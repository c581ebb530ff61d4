"""Simulated noise: masks and rates are exact, held-out pairs stay clean, simulated data follow their distribution."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from graphnoise.noise import flip_interactions
from recsys import InputError, Interactions, evaluate
from recsys.simulation import corrupt, corrupt_split, exposure_relevance, low_rank, two_sided
from recsys.splits import ratio

rates = st.sampled_from([0.0, 0.1, 0.33, 1.0])
powers = st.sampled_from([-1.0, 0.0, 1.0])


def pairs(part):
    return set(zip(part.rows.tolist(), part.matrix.indices.tolist(), strict=True))


def clicks(seed=0, shape=(30, 20), density=0.2):
    dense = np.random.default_rng(seed).random(shape) < density
    return Interactions.from_csr(sp.csr_array(dense.astype(float)), items=[f"i{i}" for i in range(shape[1])])


@given(st.integers(0, 2**32), rates, rates, powers, st.booleans())
def test_mask_rates_and_oracle_are_true(seed, add, hide, power, keep_out):
    clean, other = clicks(seed % 7), clicks(99, density=0.3)
    options = {"popularity": power, "hidden_popularity": -power, "exclude": other if keep_out else None, "seed": seed}
    noisy = corrupt(clean, add, hide, **options)
    before, after, hidden, added = map(pairs, (clean, noisy.interactions, noisy.hidden, noisy.added))
    assert hidden == before - after
    assert added == after - before
    assert len(added) == np.floor(add * len(before) + 0.5) == pytest.approx(noisy.false_positive_rate * len(before))
    assert len(hidden) == np.floor(hide * len(before) + 0.5) == pytest.approx(noisy.false_negative_rate * len(before))
    assert not keep_out or not added & pairs(other)
    assert noisy.interactions.items.tolist() == clean.items.tolist()
    again = corrupt(clean, add, hide, **options)
    assert pairs(again.interactions) == after


def test_added_pairs_are_drawn_evenly_from_those_that_are_left():
    clean, other = clicks(1, (6, 5), 0.3), clicks(5, (6, 5), 0.4)
    drawn, num = np.zeros((6, 5)), 0
    for seed in range(1000):
        new = flip_interactions(clean.matrix, 0.5, seed=seed, exclude=other.matrix).added
        drawn[tuple(new)] += 1
        num += new.shape[1]
    free = ~(clean.matrix + other.matrix).toarray().astype(bool)
    assert not drawn[~free].any()
    # The number of times a free pair is expected.
    share = num / free.sum()
    assert abs(drawn[free] - share).max() < 5 * np.sqrt(share)


@given(st.integers(0, 2**32), rates, rates, st.sampled_from([1, 2, 5]), st.booleans())
def test_spreading_noise_keeps_rates_and_held_out_pairs(seed, add, hide, spread, keep_out):
    clean, other = clicks(seed % 7), clicks(99, density=0.3)
    options = {"exclude": other if keep_out else None, "seed": seed}
    noisy = corrupt(clean, add, hide, spread=spread, **options)
    before, after, hidden, added = map(pairs, (clean, noisy.interactions, noisy.hidden, noisy.added))
    assert (hidden, added) == (before - after, after - before)
    assert len(added) == np.floor(add * len(before) + 0.5)
    assert hidden == pairs(corrupt(clean, add, hide, **options).hidden)
    assert not keep_out or not added & pairs(other)
    assert pairs(corrupt(clean, add, hide, spread=spread, **options).interactions) == after


def test_a_false_click_leads_to_the_items_nearest_to_it():
    # Ten groups of five items that the same users click.
    member = np.arange(300)[:, None] % 10 == np.arange(50) // 5
    dense = member & (np.random.default_rng(0).random((300, 50)) < 0.8)
    clean = Interactions.from_csr(sp.csr_array(dense.astype(float)))
    alone, spread = (corrupt(clean, 0.2, spread=k, seed=1).added for k in (0, 2))
    assert len(alone) == len(spread)

    def partners(part):
        """For each false click, how many others the user has in the same group of items."""
        groups = part.rows * 10 + part.matrix.indices // 5
        return np.bincount(groups)[groups] - 1

    # A pair drawn in a group of others leads to two more there; the last one may be cut off.
    outside = spread.subset(spread.rows % 10 != spread.matrix.indices // 5)
    assert (partners(outside) >= 2).mean() > 0.98
    assert (partners(alone) >= 2).mean() < 0.05


def test_popular_items_get_more():
    clean = clicks(2, (200, 30), 0.1)
    popular = np.argsort(clean.matrix.sum(0))
    counts = np.bincount(corrupt(clean, 1.0, popularity=3.0, seed=1).added.matrix.indices, minlength=30)
    assert counts[popular[-8:]].sum() > 2 * counts[popular[:8]].sum()


@pytest.mark.parametrize("noisy_validation", [True, False])
def test_splits_stay_apart_and_the_test_part_clean(noisy_validation):
    split = ratio(clicks(3, (60, 40), 0.3), seed=1)
    noisy = corrupt_split(split, 0.4, 0.2, noisy_validation=noisy_validation, seed=4)
    assert noisy.split.test is split.test
    assert (noisy.validation is None) == (not noisy_validation)
    if noisy_validation:
        added = pairs(noisy.validation.added)
        assert len(added) == round(0.4 * len(split.validation))
        assert not added & (pairs(split.train) | pairs(split.test))
        assert noisy.split.validation is noisy.validation.interactions
    else:
        assert noisy.split.validation is split.validation
    assert not pairs(noisy.train.added) & (pairs(split.validation) | pairs(split.test))
    assert evaluate(_Constant(40), noisy.split.train, noisy.split.test, ["ndcg@5"], num_threads=1)


class _Constant:
    def __init__(self, size):
        self.size = size

    def scores(self, userids):
        return np.zeros((len(userids), self.size), np.float32)


def test_two_sided_rates_are_those_of_a_transition_matrix():
    clean = clicks(4, (50, 40), 0.2)
    zeros = 50 * 40 - len(clean)
    noisy = two_sided(clean, hide=0.25, add=0.1, seed=2)
    assert len(noisy.hidden) == round(0.25 * len(clean))
    assert len(noisy.added) == round(0.1 * zeros)
    with pytest.raises(InputError, match=r"add: expected at most 0\.2\d+, so that no more are added .*, got 0\.5"):
        two_sided(clean, 0.1, 0.5)


def test_a_low_rank_model_has_its_density_and_distribution():
    world = low_rank(300, 200, rank=4, density=0.08, seed=6)
    assert world.preference.mean() == pytest.approx(0.08, abs=1e-4)
    error = np.sqrt((world.preference * (1 - world.preference)).sum())
    assert abs(len(world.interactions) - 0.08 * 300 * 200) < 4 * error
    logits = np.log(world.preference.astype(np.float64) / (1 - world.preference))
    singular = np.linalg.svd(logits, compute_uv=False)
    assert singular[4] > 1
    # Rank 4, and one for the items' popularity and the shift.
    assert singular[5] < 1e-2
    liked = world.interactions.matrix.toarray() > 0
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.6), (0.6, 1)):
        chosen = (world.preference >= low) & (world.preference < high)
        p = world.preference[chosen]
        assert abs(liked[chosen].sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    same = low_rank(300, 200, rank=4, density=0.08, seed=6)
    assert pairs(same.interactions) == pairs(world.interactions)
    flat = low_rank(50, 40, scale=0.0, popularity=0.0, density=0.3)
    np.testing.assert_allclose(flat.preference, 0.3, atol=1e-6)


def test_clicks_are_seen_and_relevant():
    rng = np.random.default_rng(2)
    cells = rng.permutation(80 * 60)[:1500]
    stars = Interactions.from_triples(cells // 60, cells % 60, rng.integers(1, 6, 1500), num_users=80, num_items=60)
    made = exposure_relevance(stars, rank=5, epsilon=3.0, power=0.5, seed=9)
    both = made.preference * made.exposure
    for part, p in ((made.interactions, both), (made.hidden, made.preference - both)):
        assert abs(len(part) - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    assert not pairs(made.interactions) & pairs(made.hidden)
    assert not made.false_positive.any()
    assert made.false_negative_rate == len(made.hidden) / (len(made.hidden) + len(made.interactions))
    logits = np.log(made.preference.astype(np.float64) / (1 - made.preference)) + 3.0
    assert logits.min() > 1 - 1e-4
    assert logits.max() < 5 + 1e-4
    higher = made.preference[stars.rows, stars.matrix.indices][stars.ratings == 5].mean()
    assert higher > made.preference[stars.rows, stars.matrix.indices][stars.ratings == 1].mean()
    rarer = exposure_relevance(stars, rank=5, epsilon=3.0, power=2.0, seed=9)
    assert rarer.exposure.sum() < made.exposure.sum()
    constant = Interactions(stars.matrix, np.full(1500, 4))
    np.testing.assert_allclose(exposure_relevance(constant, rank=5).preference, 1 / (1 + np.exp(1)), rtol=1e-5)


def test_invalid_simulations_raise():
    clean = clicks()
    everything = sp.csr_array(np.ones((30, 20)))
    for call, message in [
        (lambda: corrupt(clean, 1.5), r"false_positive: expected a rate in \[0, 1\], got 1.5"),
        (lambda: corrupt(clean, 0.1, float("nan")), r"false_negative: expected a rate in \[0, 1\], got nan"),
        (lambda: corrupt(clean, 0.1, exclude=sp.csr_array((3, 3))), r"exclude: expected 30 users, got 3"),
        (lambda: corrupt(clicks(0, density=0.9), 1.0), r"^false_positive: expected at most \d+ added pairs"),
        (lambda: two_sided(clean, 0.1, 0.1, exclude=everything), "^add: expected at most 0 added pairs"),
        (lambda: two_sided(clean, 2.0, 0.1), r"^hide: expected a rate in \[0, 1\], got 2.0"),
        (lambda: corrupt(clean, 0.1, exclude=np.ones((30, 20))), r"exclude: expected Interactions or a SciPy sparse"),
        (lambda: low_rank(0, 5), r"num_users: expected an integer of at least 1, got 0"),
        (lambda: low_rank(5, 5, density=1.0), r"density: expected a number above 0 and below 1"),
        (lambda: low_rank(10**6, 10**6), r"1000000 users × 1000000 items: expected .* GiB of memory, got 29802\.3 GiB"),
        (lambda: exposure_relevance(clean), r"ratings: expected Interactions with ratings, got Int"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match=r"exclude: expected a sparse matrix of shape \(30, 20\), got \(3, 3\)"):
        flip_interactions(clean.matrix, 0.1, exclude=sp.csr_array((3, 3)))


def test_exposure_relevance_needs_ratings():
    nothing = Interactions.from_triples([], [], [], num_users=30, num_items=30)
    with pytest.raises(InputError, match="ratings: expected Interactions with ratings, got"):
        exposure_relevance(nothing)
    with pytest.raises(InputError, match=r"2 users × 1000000000000 items: expected .* got 44703\.5 GiB"):
        corrupt(sp.coo_array(([1.0], ([0], [5])), shape=(2, 10**12)), 0.5)
    with pytest.raises(InputError, match="split: expected a Split, got NoneType"):
        corrupt_split(None, 0.1)
    with pytest.raises(InputError, match="3 users and 3 items of rank 1000000000000: expected to need at most"):
        low_rank(3, 3, rank=10**12)


def test_reprs_fit_in_a_line():
    assert len(repr(low_rank(50, 40, seed=0))) < 300
