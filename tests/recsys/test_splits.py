"""Splits: every pair once, sizes as said, time in order, the same seed the same split."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys import InputError, Interactions
from recsys.splits import Split, global_time, leave_k_out, ratio, user_time

tables = st.builds(
    lambda seed, density: np.random.default_rng(seed).random((8, 12)) < density,
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
shares = st.sampled_from([0.0, 0.1, 0.25, 0.45])


def timed(table, seed=0):
    users, items = table.nonzero()
    times = np.random.default_rng(seed).integers(0, 20, len(users))
    return Interactions.from_triples(users, items, items + 1, times, num_users=8, num_items=12)


def whole(split, clicks):
    """Every pair is in one part, with its rating and its time."""
    parts = [split.train, split.validation, split.test]
    assert sum(map(len, parts)) == len(clicks)
    np.testing.assert_array_equal(sum(part.matrix for part in parts).toarray(), clicks.matrix.toarray())
    lookup = {(u, i): t for u, i, t in zip(clicks.rows, clicks.matrix.indices, clicks.times, strict=True)}
    for part in parts:
        assert part.matrix.shape == clicks.matrix.shape
        np.testing.assert_array_equal(part.ratings, part.matrix.indices + 1)
        np.testing.assert_array_equal(
            part.times, [lookup[u, i] for u, i in zip(part.rows, part.matrix.indices, strict=True)]
        )


def sizes(split):
    return [np.diff(part.matrix.indptr) for part in (split.train, split.validation, split.test)]


@given(tables, shares, shares, st.integers(0, 99), st.sampled_from([ratio, user_time]))
def test_shares_of_each_user(table, validation, test, seed, rule):
    clicks = timed(table, seed)
    assume(rule is ratio or len(set(clicks.times)) != 1)
    split = rule(clicks, validation, test, seed) if rule is ratio else rule(clicks, validation, test)
    whole(split, clicks)
    train, valid, tested = sizes(split)
    n = table.sum(1)
    np.testing.assert_array_equal(tested, np.minimum(np.floor(test * n + 0.5), np.maximum(n - 1, 0)))
    np.testing.assert_array_equal(valid, np.minimum(np.floor(validation * n + 0.5), np.maximum(n - 1, 0) - tested))
    assert (train[n > 0] >= 1).all()
    if rule is user_time:
        for user in range(8):
            ends = [part.times[part.rows == user] for part in (split.train, split.validation, split.test)]
            for earlier, later in ((0, 1), (1, 2), (0, 2)):
                assert not len(ends[earlier]) or not len(ends[later]) or ends[earlier].max() <= ends[later].min()


@given(tables, st.integers(0, 3), st.integers(0, 2), st.booleans())
def test_a_number_of_each_user(table, k, validation, newest):
    clicks = timed(table)
    assume(not newest or len(set(clicks.times)) != 1)
    split = leave_k_out(clicks, k, validation, newest=newest, seed=3)
    whole(split, clicks)
    n = table.sum(1)
    np.testing.assert_array_equal(sizes(split)[2], np.minimum(k, np.maximum(n - 1, 0)))
    np.testing.assert_array_equal(sizes(split)[1], np.minimum(validation, np.maximum(n - 1, 0) - sizes(split)[2]))
    if newest:
        for user in np.flatnonzero(n > 1):
            rest, held = (part.times[part.rows == user] for part in (split.train, split.test))
            assert not len(held) or rest.max() <= held.min()


@given(tables, shares, shares)
def test_time_of_all(table, validation, test):
    clicks = timed(table)
    assume(len(set(clicks.times)) != 1)
    try:
        split = global_time(clicks, validation, test)
    except InputError as error:
        # More than the training part of so many are of the first time.
        assert "times of which some are before the first cut" in str(error)  # noqa: PT017
        first = (clicks.times == clicks.times.min()).sum()
        assert len(clicks) - np.floor((validation + test) * len(clicks) + 0.5) < first
        return
    whole(split, clicks)
    times = [part.times for part in (split.train, split.validation, split.test)]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        assert not len(times[earlier]) or not len(times[later]) or times[earlier].max() < times[later].min()
    assert len(times[2]) >= np.floor(test * len(clicks) + 0.5)


def test_seeds():
    clicks = timed(np.ones((8, 12), bool))
    a, b, c = (ratio(clicks, seed=seed).test.matrix.indices.tolist() for seed in (1, 1, 2))
    assert a == b != c
    drawn = np.zeros((8, 12))
    for seed in range(400):
        drawn += leave_k_out(clicks, 3, seed=seed).test.matrix.toarray()
    # Every item is as likely: 4.6 standard errors.
    assert abs(drawn / 400 - 0.25).max() < 0.1


def test_wrong_splits_are_named():
    clicks = Interactions.from_csr(sp.csr_array(np.ones((2, 4))))
    for call, message in [
        (lambda: ratio(clicks, 0.5, 0.5), r"validation \+ test: expected less than 1, got 1"),
        (lambda: ratio(clicks, -0.1), r"validation: expected a number in \[0, 1\], got -0.1"),
        (lambda: user_time(clicks), r"interactions: expected Interactions with times, which user_time needs, got Int"),
        (
            lambda: global_time(clicks),
            r"interactions: expected Interactions with times, which global_time needs, got Int",
        ),
        (
            lambda: leave_k_out(clicks, newest=True),
            r"interactions: expected Interactions with times, which newest needs, got Int",
        ),
        (lambda: leave_k_out(clicks, -1), r"k: expected an integer of at least 0, got -1"),
        (lambda: ratio(np.ones((2, 4))), r"interactions: expected Interactions or a SciPy sparse matrix"),
        (lambda: Split(clicks, clicks, clicks), r"validation: expected no pair of train, got 8 of them"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_parts_may_be_given_as_matrices():
    parts = Split(*(sp.csr_array(part) for part in ([[1, 0, 0]], [[0, 2, 0]], [[0, 0, 1]])))
    assert [type(part) for part in (parts.train, parts.validation, parts.test)] == [Interactions] * 3
    assert parts.validation.matrix.data.tolist() == [1]
