import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise.corrupt import apportion, draw_independent
from graphnoise.noise.noisy_labels import checked_labels


def labels_of(classes, n=12_000, seed=0):
    return np.random.default_rng(seed).integers(0, classes, n)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40),
    st.floats(0, 1),
    st.integers(0, 99),
    st.booleans(),
)
def test_only_masked_entries_change(nodes, rate, seed, exact):
    y, mask = (np.array(column) for column in zip(*nodes, strict=True))
    before = y.copy()
    t = noise.random(4, rate, seed)
    result = t.corrupt(y, mask, seed, exact)
    assert (y == before).all()
    assert (result.y[~mask] == y[~mask]).all()
    assert not result.flipped[~mask].any()
    assert (result.flipped == (result.y != y)).all()
    assert result.rate == (result.flipped[mask].mean() if mask.any() else 0.0)
    assert (t.matrix.numpy()[y[result.flipped], result.y[result.flipped]] > 0).all()
    again = t.corrupt(y, mask.nonzero()[0], seed, exact)
    assert (again.y == result.y).all()


@pytest.mark.parametrize("family", [noise.symmetric, noise.pair, noise.asymmetric, noise.random])
def test_independent_draws_follow_every_row(family, plausible):
    t, y = family(5, 0.35), labels_of(5)
    noisy = t.corrupt(torch.from_numpy(y), seed=7).y.numpy()
    for i in range(5):
        for j in range(5):
            plausible(((y == i) & (noisy == j)).sum(), (y == i).sum(), t.matrix[i, j].item())


@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 1000), st.integers(1, 60))
def test_exact_counts(classes, rate, seed, n):
    t, y = noise.random(classes, rate, seed), labels_of(classes, n, seed)
    noisy = t.corrupt(y, seed=seed, exact=True)
    assert abs(noisy.flipped.sum() - rate * n) <= 0.5 + 1e-8
    for i in range(classes):
        size = (y == i).sum()
        flips = (noisy.flipped & (y == i)).sum()
        assert abs(flips - rate * size) < 1
        for j in set(range(classes)) - {i}:
            share = t.matrix[i, j].item() / rate if rate else 0
            assert abs(((y == i) & (noisy.y == j)).sum() - flips * share) < 1 + 1e-6


def test_keys_at_the_bounds_of_an_independent_draw():
    class Keys:
        def random(self, shape):
            return np.array([[0.5, 0.4, 0.75], [0.0, 0.0, 0.5]]).reshape(shape)

    # A key of T[0, 0] flips; a class key of 0 is not class 0, and one of the first bound is the class after it.
    matrix = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert draw_independent(matrix, checked_labels([0, 0, 0], None, 3), Keys()).y.tolist() == [1, 0, 2]


def test_exact_counts_are_shared_across_small_classes():
    # 0.4 flips a class: rounding each class by itself would flip nothing.
    y = np.repeat(np.arange(10), 4)
    assert noise.symmetric(10, 0.1).corrupt(y, exact=True).flipped.sum() == 4
    hits = np.zeros(10)
    for seed in range(300):
        hits[y[noise.symmetric(10, 0.1).corrupt(y, seed=seed, exact=True).flipped]] += 1
    # 120 expected: ties are broken at random, not by the lowest class.
    assert hits.min() > 80


def test_exact_assignment_is_uniform(plausible):
    y = np.zeros(10, dtype=int)
    hits = sum(noise.pair(2, 0.3).corrupt(y, seed=seed, exact=True).flipped for seed in range(2000))
    for count in hits:
        plausible(count, 2000, 0.3)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=8), st.integers(0, 99))
def test_apportion_sums_and_stays_within_one(expected, seed):
    expected = np.array(expected)
    total = int(np.floor(expected.sum() + 0.5))
    counts = apportion(expected, total, np.random.default_rng(seed))
    assert counts.sum() == total
    assert (np.abs(counts - expected) <= 1 + 1e-8).all()


def test_apportion_goes_by_the_remainders_not_by_the_counts():
    assert apportion(np.array([10.1, 0.9]), 11, np.random.default_rng(0)).tolist() == [10, 1]
    assert apportion(np.array([3.2, 2.6, 0.5, 1.7]), 8, np.random.default_rng(0)).tolist() == [3, 3, 0, 2]


def test_one_seed_nests_rates_and_ignores_the_mask():
    y = labels_of(4, 500)
    low, high = (noise.symmetric(4, rate).corrupt(y, seed=3) for rate in (0.1, 0.4))
    assert low.flipped.sum() < high.flipped.sum()
    assert (low.y[low.flipped] == high.y[low.flipped]).all()
    part = noise.symmetric(4, 0.4).corrupt(y, np.arange(100, 300), seed=3)
    assert (part.y[100:300] == high.y[100:300]).all()
    assert (part.y[:100] == y[:100]).all()


def test_rates_zero_and_one():
    y = labels_of(3, 100)
    for exact in (False, True):
        assert not noise.symmetric(3, 0).corrupt(y, exact=exact).flipped.any()
        assert noise.symmetric(3, 1).corrupt(y, exact=exact).flipped.all()


def test_kind_and_type_are_kept():
    t = noise.symmetric(3, 0.5)
    for dtype in (torch.int32, torch.int64, torch.uint8, torch.float32):
        result = t.corrupt(torch.tensor([0, 1, 2], dtype=dtype))
        assert result.y.dtype == dtype
        assert result.flipped.dtype == torch.bool
    result = t.corrupt(np.array([0, 1, 2], dtype=np.int16))
    assert isinstance(result.y, np.ndarray)
    assert isinstance(result.flipped, np.ndarray)
    assert result.y.dtype == np.int16
    assert isinstance(t.corrupt([0, 1, 2]).y, torch.Tensor)
    wide = noise.from_mapping({0: 299}, 300, 1.0).corrupt(torch.zeros(2, dtype=torch.uint8))
    # 299 does not fit eight bits.
    assert wide.y.tolist() == [299, 299]


def test_generators_advance_and_nothing_global_is_touched():
    y, t = labels_of(3, 200), noise.symmetric(3, 0.5)
    rng = np.random.default_rng(4)
    first, second = t.corrupt(y, seed=rng), t.corrupt(y, seed=rng)
    assert (first.y == t.corrupt(y, seed=4).y).all()
    assert (first.y != second.y).any()
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    t.corrupt(y, seed=1)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_empty():
    t = noise.symmetric(3, 0.5)
    for exact in (False, True):
        assert t.corrupt([0, 1], mask=[], exact=exact).rate == 0.0
        assert t.corrupt(torch.empty(0, dtype=torch.long), exact=exact).y.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0, 3]}, "y: expected labels from 0 to 2, got 3 at position 1"),
        ({"y": [0, -2]}, "y: expected labels of at least 0, or -1 where there is none, got -2"),
        ({"y": [0.5]}, "y: expected integers as class labels"),
        ({"y": [[0, 1]]}, "y: expected class labels of shape"),
        ({"y": [0, 1], "mask": [True]}, "mask: expected a mask of 2 entries, got 1"),
        ({"y": [0, 1], "mask": [2]}, "mask: expected positions from 0 to 1"),
        ({"y": [0, 1], "seed": 1.5}, "seed: expected an integer"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        noise.symmetric(3, 0.5).corrupt(**arguments)
