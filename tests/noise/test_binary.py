import itertools
import time

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import noise
from graphnoise.checks import InputError


def clicks(users, items, density, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_array((rng.random((users, items)) < density).astype(np.float32))


def test_membership_flips_at_the_two_accuracies(plausible):
    y = np.arange(20_000) % 4 == 1
    noisy = noise.flip_membership(y, a1=0.8, a0=0.95, seed=0)
    assert noisy.y.dtype == np.int64
    plausible((noisy.y[y] == 1).sum(), 5000, 0.8)
    plausible((noisy.y[~y] == 0).sum(), 15_000, 0.95)
    assert (noisy.flipped == (noisy.y != y)).all()


def test_membership_by_positions_and_exactly():
    members = torch.tensor([3, 5, 7, 9])
    noisy = noise.flip_membership(members, 24, a1=0.75, a0=0.9, exact=True)
    inside = torch.zeros(24, dtype=torch.bool)
    inside[members] = True
    assert int(noisy.y[inside].sum()) == 3
    assert int(noisy.y[~inside].sum()) == 2
    same = noise.flip_membership(inside, a1=0.75, a0=0.9, exact=True)
    assert torch.equal(same.y, noisy.y)
    assert noise.flip_membership([], 5, a1=0.5, a0=1.0).y.tolist() == [0] * 5


def test_label_f1_is_the_closed_form():
    assert noise.label_f1(0.9, 0.9, 500, 10_000) == pytest.approx(0.474, abs=5e-4)
    assert noise.label_f1(1, 0.99, 500, 10_000) == pytest.approx(0.913, abs=5e-4)
    assert noise.label_f1(1, 0.99, 500, 1_000_000) == pytest.approx(0.091, abs=5e-4)
    assert noise.label_f1(1, 1, 3, 3) == 1
    y = np.arange(10_000) < 500
    scores = []
    for seed in range(20):
        taken = noise.flip_membership(y, a1=0.7, a0=0.9, seed=seed).y == 1
        scores.append(2 * (taken & y).sum() / (taken.sum() + y.sum()))
    assert np.mean(scores) == pytest.approx(noise.label_f1(0.7, 0.9, 500, 10_000), abs=0.01)


@given(
    st.integers(0, 8),
    st.integers(0, 8),
    st.floats(0.1, 0.6),
    st.floats(0, 0.6),
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, -2.0]),
    st.integers(0, 99),
)
def test_interactions(users, items, density, add, hide, power, seed):
    clean = clicks(users, items, density, seed)
    before = clean.copy()
    positives = clean.nnz
    if np.floor(add * positives + 0.5) > users * items - positives:
        return
    noisy = noise.flip_interactions(clean, add, hide, power, seed, hidden_popularity=-power)
    assert (clean != before).nnz == 0
    added, hidden = {*map(tuple, noisy.added.T.tolist())}, {*map(tuple, noisy.hidden.T.tolist())}
    was = set(zip(*(c.tolist() for c in clean.nonzero()), strict=True))
    now = set(zip(*(c.tolist() for c in noisy.matrix.nonzero()), strict=True))
    assert len(added) == noisy.added.shape[1] == int(np.floor(add * positives + 0.5))
    assert len(hidden) == noisy.hidden.shape[1] == int(np.floor(hide * positives + 0.5))
    assert hidden <= was
    assert not added & was
    assert now == (was - hidden) | added
    assert noisy.matrix.nnz == len(now)
    assert noisy.false_positive_rate == len(added) / max(positives, 1)
    assert noisy.false_negative_rate == len(hidden) / max(positives, 1)
    assert noisy.added.T.tolist() == sorted(noisy.added.T.tolist())
    again = noise.flip_interactions(clean, add, hide, power, np.random.default_rng(seed), hidden_popularity=-power)
    assert (again.matrix != noisy.matrix).nnz == 0


@pytest.mark.parametrize("power", [0.0, 3.0])
def test_all_free_cells_can_be_added(power):
    clean = clicks(6, 9, 0.7)
    full = noise.flip_interactions(clean, (54 - clean.nnz) / clean.nnz, popularity=power)
    assert full.matrix.nnz == 54
    assert (full.matrix.toarray() == 1).all()


def test_kind_values_and_explicit_zeros():
    ratings = sp.csr_matrix(([5, 0, 3], ([0, 0, 1], [0, 1, 2])), shape=(2, 4))
    noisy = noise.flip_interactions(ratings, 0.5, seed=0)
    assert isinstance(noisy.matrix, sp.csr_matrix)
    assert noisy.matrix.dtype == ratings.dtype
    # Half of two positives: a stored zero is none.
    assert noisy.added.shape == (2, 1)
    assert noisy.matrix[0, 0] == 5
    assert noisy.matrix[1, 2] == 3
    assert isinstance(noise.flip_interactions(sp.coo_array(ratings), 0.5).matrix, sp.csr_array)


def chance_of_sets(weights, size):
    """Brute force: the chance of each set when cells are drawn in turn, without replacement, by weight."""
    chances = {}
    for order in itertools.permutations(range(len(weights)), size):
        rest, chance = sum(weights), 1.0
        for cell in order:
            chance *= weights[cell] / rest
            rest -= weights[cell]
        key = frozenset(order)
        chances[key] = chances.get(key, 0.0) + chance
    return chances


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0])
def test_added_pairs_are_drawn_by_popularity(power, plausible):
    # Popularity 3, 1, 0.
    clean = sp.csr_array(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]]))
    free = [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    weights = [(1 + [3, 1, 0][item]) ** power for _, item in free]
    rng, trials, seen = np.random.default_rng(0), 3000, {}
    for _ in range(trials):
        added = noise.flip_interactions(clean, 0.5, popularity=power, seed=rng).added.T.tolist()
        key = frozenset(free.index(tuple(pair)) for pair in added)
        seen[key] = seen.get(key, 0) + 1
    chances = chance_of_sets(weights, 2)
    assert sum(chances.values()) == pytest.approx(1)
    for key, chance in chances.items():
        plausible(seen.get(key, 0), trials, chance)


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0])
def test_few_pairs_among_many_cells(power, plausible):
    clean = sp.csr_array(np.arange(30)[:, None] < np.array([12, 3, 0]))
    # Free cells × (1 + popularity)^power.
    weights = np.array([18 * 13.0**power, 27 * 4.0**power, 30])
    rng, trials, hits = np.random.default_rng(2), 2000, np.zeros(3)
    for _ in range(trials):
        hits[noise.flip_interactions(clean, 1 / 15, popularity=power, seed=rng).added[1]] += 1
    for count, chance in zip(hits, weights / weights.sum(), strict=True):
        plausible(count, trials, chance)


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0])
def test_hidden_pairs_are_drawn_by_popularity(power, plausible):
    clean = sp.csr_array(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]]))
    pairs = [(0, 0), (0, 1), (1, 0), (2, 0)]
    weights = [(1 + [3, 1][item]) ** power for _, item in pairs]
    rng, trials, hits = np.random.default_rng(1), 2000, np.zeros(4)
    for _ in range(trials):
        hidden = noise.flip_interactions(clean, 0.0, 0.25, seed=rng, hidden_popularity=power).hidden.T.tolist()
        hits[pairs.index(tuple(hidden[0]))] += 1
    for count, weight in zip(hits, weights, strict=True):
        plausible(count, trials, weight / sum(weights))


def test_it_scales_with_the_positives():
    rng = np.random.default_rng(0)
    # Popular items, and a long tail.
    items = (rng.random(200_000) ** 3 * 30_000).astype(int)
    clean = sp.csr_array((np.ones(200_000), (rng.integers(0, 50_000, 200_000), items)), shape=(50_000, 30_000))
    start = time.perf_counter()
    noisy = noise.flip_interactions(clean, 0.2, 0.2, popularity=1.0)
    # About 0.3 s; 1.5 × 10⁹ cells take far longer.
    assert time.perf_counter() - start < 10
    popularity = np.bincount(clean.nonzero()[1], minlength=30_000)
    even = noise.flip_interactions(clean, 0.2, 0.2)
    assert popularity[noisy.added[1]].mean() > 3 * popularity[even.added[1]].mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.flip_membership([0, 1], a1=1, a0=1), "num_nodes: expected the number of nodes"),
        (lambda: noise.flip_membership([0, 5], 4, a1=1, a0=1), "members: expected positions from 0 to 3"),
        (lambda: noise.flip_membership([True], 4, a1=1, a0=1), "members: expected a mask of 4 entries"),
        (lambda: noise.flip_membership([0], 4, a1=1.2, a0=1), "a1: expected a rate"),
        (lambda: noise.flip_membership([0], 4, a1=1, a0=-1), "a0: expected a rate"),
        (lambda: noise.label_f1(0.9, 0.9, 5, 4), "k: expected an integer from 1 to 4"),
        (lambda: noise.flip_interactions(np.eye(3), 0.1), "matrix: expected a SciPy sparse matrix"),
        (lambda: noise.flip_interactions(sp.eye_array(3) * np.nan, 0.1), "matrix: expected finite numbers"),
        (lambda: noise.flip_interactions(sp.eye_array(3), 1.1), "false_positive_rate: expected a rate"),
        (lambda: noise.flip_interactions(sp.eye_array(3), 0.1, -0.1), "false_negative_rate: expected a rate"),
        (lambda: noise.flip_interactions(sp.eye_array(3), 0.1, popularity=99), "popularity: expected a number in"),
        (lambda: noise.flip_interactions(sp.csr_array(np.ones((3, 3))), 0.2), "at most 0 added pairs.*got 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_membership_by_name():
    inside = np.arange(50) < 20
    expected = noise.flip_membership(inside, a1=0.6, a0=0.9, seed=3)
    names = [f"node {k}" for k in range(50)]
    for values in (inside.tolist(), inside.astype(int).tolist()):
        noisy = noise.flip_membership(dict(zip(names, values, strict=True)), a1=0.6, a0=0.9, seed=3)
        assert noisy.y == dict(zip(names, expected.y.tolist(), strict=True))
        assert noisy.flipped == dict(zip(names, expected.flipped.tolist(), strict=True))
        assert noisy.rate == expected.rate
    for bad in ({"a": 2}, {"a": None}, {"a": "yes"}, {"a": [0, 1]}):
        with pytest.raises(InputError, match=r"^members: expected True or False for each node"):
            noise.flip_membership(bad, a1=0.6, a0=0.9)
