"""Draws of negatives: distribution, rejection, tiers, threads, invalid input."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from graphnoise.errors import InputError
from recsys.kernels import negatives
from recsys.kernels.negatives import Alias, Known, draw
from recsys.samplers import Popularity, Uniform

# No multiple of 64.
ITEMS = 67


def matrix(users=40, items=ITEMS, density=0.3, seed=0):
    return sp.random_array((users, items), density=density, format="csr", rng=seed, dtype=np.float32).sign()


def searched(known):
    """The same without its table of bits."""
    return Known(known.rowptr, known.col, known.num_items, None)


def test_words_are_splitmix64():
    """The first words of SplitMix64 with state 0, as its authors' program prints them."""
    first = negatives.reference.words(0, np.arange(3, dtype=np.uint64))
    assert [int(w) for w in first] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_below_is_the_high_word_of_the_product():
    words = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    for n in (1, 2, 3, 1000, 2**31 - 1):
        found = negatives.reference.below(words, n)
        assert found.tolist() == [int(w) * n >> 64 for w in words]


@pytest.mark.parametrize("power", [0.0, 0.5, 0.75, 1.0])
def test_alias_draws_follow_popularity(power):
    X = matrix()
    sampler = Popularity(power, verify=False).fit(X)
    got = np.bincount(sampler.sample(np.zeros(250_000, int), 4, rng=1).ravel(), minlength=ITEMS)
    q = np.bincount(X.indices, minlength=ITEMS) ** power
    assert chisquare(got, q / q.sum() * got.sum()).pvalue > 1e-3


def test_chi_square_rejects_another_distribution():
    got = np.bincount(Uniform(verify=False).fit(matrix()).sample(np.zeros(250_000, int), 4, rng=1).ravel())
    q = 1 + 0.02 * (np.arange(ITEMS) % 2)
    assert chisquare(got, q / q.sum() * got.sum()).pvalue < 1e-3


@pytest.mark.parametrize("attempts", [1, 2, 16])
@pytest.mark.parametrize("sampler", [Uniform, Popularity])
def test_verified_draws_follow_the_renormalised_distribution(sampler, attempts):
    """However many draws come from the exact one that follows the attempts."""
    X = matrix(density=0.5)
    fitted = sampler(attempts=attempts).fit(X)
    got = np.bincount(fitted.sample(np.full(250_000, 3), 4, rng=2).ravel(), minlength=ITEMS)
    q = fitted.probabilities()
    q[X[[3]].indices] = 0
    assert got[q == 0].sum() == 0
    assert chisquare(got[q > 0], (q / q.sum() * got.sum())[q > 0]).pvalue > 1e-3


def test_skipped_draws_are_marked_and_the_rest_follows_the_distribution():
    X = matrix()
    fitted = Uniform(on_known="skip").fit(X)
    drawn = fitted.sample(np.full(250_000, 3), 4, rng=2).ravel()
    known = X[[3]].indices
    assert np.mean(drawn < 0) == pytest.approx(len(known) / ITEMS, abs=2e-3)
    free = np.setdiff1d(np.arange(ITEMS), known)
    assert chisquare(np.bincount(drawn[drawn >= 0], minlength=ITEMS)[free]).pvalue > 1e-3


@pytest.mark.parametrize("sampler", [Uniform(), Popularity(0.75)])
def test_ten_million_verified_draws_have_no_known_positive(sampler):
    """With a row that has one free item, and one that has all."""
    X = matrix(50, 200, 0.2).tolil()
    X[7, :] = 1
    X[8, :] = 1
    X[8, 11] = 0
    X = X.tocsr()
    fitted = sampler.fit(X)
    users = np.tile(np.arange(50), 20_000)
    drawn = fitted.sample(users, 10, rng=3)
    assert drawn.size == 10**7
    full = users == 7
    assert fitted.full_users.tolist() == [7]
    assert (drawn[full] == -1).all()
    assert (drawn[users == 8] == 11).all()
    assert (drawn[~full] >= 0).all()
    dense = X.toarray().astype(bool)
    assert not dense[users[~full, None], drawn[~full]].any()


def test_unverified_draws_hit_known_positives_at_their_probability():
    X = matrix()
    fitted = Popularity(1.0, verify=False).fit(X)
    drawn = fitted.sample(np.full(10**5, 5), 5, rng=4)
    assert np.isin(drawn, X[[5]].indices).mean() == pytest.approx(
        fitted.probabilities()[X[[5]].indices].sum(), abs=3e-3
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 140), st.floats(0, 1), st.integers(0, 2**64 - 1), st.integers(1, 5),
    st.sampled_from([None, 0.5, 1.0]), st.integers(1, 30), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_tiers_agree_to_the_bit(users, items, density, key, each, power, attempts, verify, redraw, bits):
    X = sp.csr_array((np.random.default_rng(key).random((users, items)) < density).astype(np.float32))
    known = Known.of(X) if bits else searched(Known.of(X))
    weight = None if power is None else np.bincount(X.indices, minlength=items) ** power
    table = None if weight is None or not weight.any() else Alias.of(weight)
    who = np.arange(3 * users) % users
    kind = {"table": table, "attempts": attempts, "verify": verify, "redraw": redraw}
    native = draw(known, who, each, key, **kind)
    assert np.array_equal(native, draw(known, who, each, key, backend="reference", **kind))
    if verify:
        dense = X.toarray().astype(bool)
        assert not dense[who[:, None], np.maximum(native, 0)][native >= 0].any()


@pytest.mark.parametrize("bits", [True, False])
def test_threads_and_parts_give_the_same_draws(bits):
    known = Known.of(matrix(300, 500)) if bits else searched(Known.of(matrix(300, 500)))
    users = np.random.default_rng(0).integers(0, 300, 20_011)
    whole = draw(known, users, 3, 99)
    assert np.array_equal(whole, draw(known, users, 3, 99, num_threads=2))
    parts = [draw(known, users[:7001], 3, 99), draw(known, users[7001:], 3, 99, first=7001 * 3)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_alias_table_keeps_every_weight():
    weight = np.random.default_rng(1).gamma(0.3, size=1000)
    weight[::7] = 0
    table = Alias.of(weight)
    keep = table.columns["keep"] / 2**32
    mass = keep.copy()
    np.add.at(mass, table.columns["other"], 1 - keep)
    assert mass[::7].max() == 0
    assert np.allclose(mass / 1000, weight / weight.sum(), atol=1e-9)


def test_generators_and_seeds():
    fitted = Uniform().fit(matrix())
    assert np.array_equal(fitted.sample([1, 2], 5, rng=8), fitted.sample([1, 2], 5, rng=np.random.default_rng(8)))
    rng = np.random.default_rng(8)
    assert not np.array_equal(fitted.sample([1] * 9, 5, rng), fitted.sample([1] * 9, 5, rng))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Uniform().sample([0], 1, rng=0), "sampler: expected one that is fitted"),
        (
            lambda: Uniform().fit(matrix()).sample([40], 1, rng=0),
            "users: expected users from 0 to 39, got values from 40",
        ),
        (lambda: Uniform().fit(matrix()).sample([-1], 1, rng=0), "users: expected users from 0"),
        (lambda: Uniform().fit(matrix()).sample([0.5], 1, rng=0), "users: expected a list of users"),
        (lambda: Uniform().fit(matrix()).sample([0], 68, rng=0), "k: expected at most the 67 items"),
        (lambda: Uniform().fit(matrix()).sample([0], 0, rng=0), "k: expected an integer of at least 1"),
        (lambda: Uniform().fit(matrix()).sample([0], 1, rng=None), "rng: expected an integer"),
        (lambda: Uniform().fit(sp.csr_array((3, 0), dtype=np.float32)), "user_items: expected at least one item"),
        (lambda: Uniform(on_known="redrew"), "on_known: expected one of redraw, skip"),
        (lambda: Uniform(attempts=31), "attempts: expected an integer from 1 to 30"),
        (lambda: Uniform(verify="yes"), "verify: expected True or False"),
        (lambda: Popularity(-1), "power: expected a number"),
        (lambda: Alias.of([1.0, np.nan]), "weight: expected finite weights"),
        (lambda: Alias.of([0.0]), "weight: expected finite weights"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_no_users_and_nobody_has_anything():
    empty = sp.csr_array((3, 5), dtype=np.float32)
    assert Uniform().fit(empty).sample([], 2, rng=0).shape == (0, 2)
    drawn = Popularity().fit(empty).sample([0, 1, 2], 5, rng=0)
    assert drawn.min() >= 0


def test_more_items_than_32_bits_count_are_refused():
    with pytest.raises(InputError, match="user_items: expected at most 2147483647 users and items, got 1 × 3221225472"):
        Uniform().fit(sp.csr_array(([1.0], ([0], [2**31 + 5])), shape=(1, 3 * 2**30)))


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 1.0]))
def test_what_is_known_is_found_with_and_without_bits(seed, density):
    rng = np.random.default_rng(seed)
    dense = rng.random((9, 21)) < density
    known = Known.of(sp.csr_array(dense.astype(np.float32)))
    users, items = rng.integers(0, 9, 13).astype(np.int32), rng.integers(0, 21, (13, 4)).astype(np.int32)
    for form in (known, searched(known)):
        assert np.array_equal(form.has(users, items), dense[users[:, None], items])
        assert form.has(users[:0], items[:0]).shape == (0, 4)
