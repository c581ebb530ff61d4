import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise import Transition

rates = st.floats(0, 1)
seeds = st.integers(0, 2**32)


@st.composite
def transitions(draw, classes=None):
    size = classes or draw(st.integers(2, 6))
    cells = st.lists(st.integers(0, 20), min_size=size, max_size=size)
    counts = draw(st.lists(cells.filter(any), min_size=size, max_size=size))
    return noise.from_counts(counts)


@st.composite
def priors(draw, classes):
    weights = np.array(draw(st.lists(st.integers(0, 9), min_size=classes, max_size=classes).filter(any)))
    return weights / weights.sum()


@given(st.integers(2, 9), rates, seeds)
def test_families_are_stochastic_with_the_rate_off_the_diagonal(classes, rate, seed):
    for t in (
        noise.symmetric(classes, rate),
        noise.pair(classes, rate),
        noise.asymmetric(classes, rate, seed),
        noise.random(classes, rate, seed),
        noise.from_mapping({i: (i + 2) % (classes + 1) % classes or 1 for i in (0,)}, classes, rate),
    ):
        m = t.matrix
        assert m.dtype == torch.float64
        assert m.shape == (classes, classes) == (t.num_classes, t.num_classes)
        assert (m >= 0).all()
        torch.testing.assert_close(m.sum(1), torch.ones(classes, dtype=torch.float64), rtol=0, atol=1e-12)
    for t in (noise.symmetric(classes, rate), noise.random(classes, rate, seed), noise.asymmetric(classes, rate, seed)):
        assert t.matrix.trace().item() == pytest.approx(classes * (1 - rate), abs=1e-12)
        assert t.expected_rate() == pytest.approx(rate, abs=1e-12)


def test_symmetric_is_exact_in_double_precision():
    assert noise.symmetric(7, 0.3).matrix[0, 1].item() == 0.3 / 6
    # Worse than chance.
    assert noise.symmetric(3, 0.9).matrix[0, 0].item() == pytest.approx(0.1, abs=1e-16)


def test_pair_goes_upwards_and_round():
    assert noise.pair(3, 0.25).matrix.tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    # an even permutation of 5.
    assert torch.linalg.det(noise.pair(5, 1.0).matrix).item() == pytest.approx(1)


def test_asymmetric_has_one_target_a_class_and_reaches_all_others():
    targets = set()
    for seed in range(60):
        off = noise.asymmetric(4, 0.3, seed).matrix.fill_diagonal_(0)
        assert ((off > 0).sum(1) == 1).all()
        targets |= {(i, int(row.argmax())) for i, row in enumerate(off)}
    assert targets == {(i, j) for i in range(4) for j in range(4) if i != j}


def test_seeded_families_repeat_and_differ():
    for family in (noise.asymmetric, noise.random):
        assert family(6, 0.4, seed=5) == family(6, 0.4, seed=5)
        assert family(6, 0.4, seed=np.random.default_rng(5)) == family(6, 0.4, seed=np.random.default_rng(5))
        assert family(6, 0.4, seed=5) != family(6, 0.4, seed=6)


def test_a_seed_draws_what_it_drew_for_the_records():
    assert noise.asymmetric(6, 1.0, seed=1).matrix.argmax(1).tolist() == [1, 2, 1, 4, 0, 3]
    rows = [[0.0, 0.3385, 0.6615], [0.4796, 0.0, 0.5204], [0.3177, 0.6823, 0.0]]
    assert noise.random(3, 1.0, seed=1).matrix.numpy().round(4).tolist() == rows
    y = np.arange(12) % 3
    assert noise.symmetric(3, 0.5).corrupt(y, seed=2).y.tolist() == [0, 1, 0, 0, 2, 1, 0, 1, 2, 2, 2, 2]
    assert noise.symmetric(3, 0.5).corrupt(y, seed=2, exact=True).y.tolist() == [1, 1, 1, 0, 2, 0, 0, 1, 2, 2, 0, 2]
    for family in (noise.asymmetric, noise.random):
        assert family(6, 0.4) == family(6, 0.4, seed=0)
    assert (noise.symmetric(3, 0.5).corrupt(y).y == noise.symmetric(3, 0.5).corrupt(y, seed=0).y).all()


@pytest.mark.parametrize("family", [noise.asymmetric, noise.random])
def test_one_seed_for_matrix_and_labels_does_not_bias_the_labels(family, plausible):
    trials, y, counts = 4000, np.array([1, 0, 0, 0]), np.zeros((4, 4), dtype=int)
    for seed in range(trials):
        counts[np.arange(4), family(4, 0.5, seed=seed).corrupt(y, seed=seed).y] += 1
    # Over all matrices, the target is uniform.
    for true, node in zip(y, counts, strict=True):
        for target in {0, 1, 2, 3} - {int(true)}:
            plausible(node[target], trials, 0.5 / 3)


def test_random_spreads_unevenly():
    off = noise.random(5, 0.4, seed=0).matrix.fill_diagonal_(0)
    assert ((off > 0).sum(1) == 4).all()
    assert off.std(1).min() > 0.01


def test_counts_mapping_identity():
    assert noise.from_counts([[3, 1], [0, 0]], smoothing=1).matrix.tolist() == [[4 / 6, 2 / 6], [0.5, 0.5]]
    mapped = noise.from_mapping({0: 2, 1: 2}, 3, 0.25).matrix
    assert mapped.tolist() == [[0.75, 0, 0.25], [0, 0.75, 0.25], [0, 0, 1]]
    assert noise.identity(3) == noise.symmetric(3, 0) == noise.from_mapping({}, 3, 0.5)
    assert (
        noise.symmetric(1, 0) == noise.pair(1, 0) == noise.asymmetric(1, 0) == noise.random(1, 0) == noise.identity(1)
    )


def test_composition_is_first_self_then_other():
    up, back = noise.pair(3, 1.0), noise.from_mapping({1: 0}, 3, 1.0)
    # 0 -> 1 -> 0.
    assert (up @ back).matrix[0].tolist() == [1, 0, 0]
    # 0 -> 0 -> 1.
    assert (back @ up).matrix[0].tolist() == [0, 1, 0]
    assert up.compose(back) == up @ back


@given(st.data())
def test_composition_is_associative_with_the_identity_as_unit(data):
    a, b, c = (data.draw(transitions(classes=3)) for _ in range(3))
    torch.testing.assert_close(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close((a @ noise.identity(3)).matrix, a.matrix, rtol=0, atol=1e-15)


@given(st.data())
def test_posterior_is_bayes(data):
    t = data.draw(transitions())
    prior = data.draw(priors(t.num_classes))
    posterior, observed = t.posterior(prior), t.observed(prior)
    torch.testing.assert_close(posterior.sum(0), torch.ones(t.num_classes, dtype=torch.float64), rtol=0, atol=1e-12)
    assert observed.sum().item() == pytest.approx(1)
    for i in range(t.num_classes):
        for j in range(t.num_classes):
            if observed[j] > 0:
                joint = prior[i] * t.matrix[i, j].item()
                assert posterior[i, j].item() * observed[j].item() == pytest.approx(joint, abs=1e-12)
            else:
                assert posterior[i, j].item() == pytest.approx(prior[i], abs=1e-15)


def test_marginal_and_rate_use_the_prior():
    t = Transition([[0.9, 0.1], [0.4, 0.6]])
    assert t.observed([0.25, 0.75]).tolist() == pytest.approx([0.25 * 0.9 + 0.75 * 0.4, 0.25 * 0.1 + 0.75 * 0.6])
    assert t.expected_rate([0.25, 0.75]) == pytest.approx(0.25 * 0.1 + 0.75 * 0.4)
    assert t.expected_rate() == pytest.approx(0.25)


def test_it_is_a_value():
    t = noise.symmetric(3, 0.2)
    t.matrix[0, 0] = 5.0
    assert t == noise.symmetric(3, 0.2)
    assert len({t, noise.symmetric(3, 0.2), noise.symmetric(3, 0.3), noise.symmetric(4, 0.2)}) == 3
    assert t != "T"
    assert Transition(t.matrix) == t == pickle.loads(pickle.dumps(t))
    assert Transition([[1.0, -0.0], [0.0, 1.0]]) == noise.identity(2)
    assert hash(Transition([[1.0, -0.0], [0.0, 1.0]])) == hash(noise.identity(2))
    with pytest.raises(AttributeError):
        t.matrix = torch.eye(3)
    assert repr(noise.symmetric(9, 0.1)).startswith("Transition([[0.9   0.013 0.013 ... 0.013 0.013 0.013]\n       ")
    assert "..." not in repr(noise.symmetric(8, 0.1))
    assert repr(noise.symmetric(2, 1e-6)) == "Transition([[1. 0.]\n            [0. 1.]])"
    assert repr(noise.identity(2)) == "Transition([[1. 0.]\n            [0. 1.]])"


def test_rows_that_sum_to_one_but_for_rounding_stay_as_they_are():
    rows = [[0.7, 0.2, 0.1]] * 3
    assert sum(rows[0]) != 1
    assert Transition(rows).matrix.tolist() == rows


def test_rows_are_renormalised_within_the_tolerance_only():
    assert Transition([[1 + 5e-7, -5e-7], [0.0, 1.0]]) == noise.identity(2)
    near = Transition(np.array([[0.5, 0.5 + 5e-7], [0.0, 1.0]]))
    assert near.matrix.sum(1).tolist() == pytest.approx([1, 1], abs=1e-15)
    assert Transition(np.float32([[0.7, 0.2, 0.1]] * 3)).matrix.sum(1).tolist() == pytest.approx([1] * 3, abs=1e-15)
    with pytest.raises(InputError, match=r"matrix: expected rows that sum to 1, got 0\.99999"):
        Transition([[1.0, 0.0], [0.5, 0.499995]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transition([[1.0, 0.0]]), "matrix: expected a square matrix"),
        (lambda: Transition(torch.empty(0, 0)), "matrix: expected a square matrix"),
        (lambda: Transition([[1.5, -0.5], [0.0, 1.0]]), "matrix: expected probabilities of at least 0, got -0.5"),
        (lambda: Transition([[float("nan"), 1.0], [0.0, 1.0]]), "matrix: expected finite numbers"),
        (lambda: noise.symmetric(3, 1.01), r"rate: expected a rate in \[0, 1\], got 1.01"),
        (lambda: noise.pair(3, -0.1), r"rate: expected a rate in \[0, 1\]"),
        (lambda: noise.random(3, float("nan")), r"rate: expected a rate in \[0, 1\]"),
        (lambda: noise.symmetric(1, 0.1), "rate: expected 0 where there is only one class, got 0.1"),
        (lambda: noise.pair(1, 0.1), "rate: expected 0 where there is only one class"),
        (lambda: noise.asymmetric(1, 0.1), "rate: expected 0 where there is only one class"),
        (lambda: noise.random(1, 0.1), "rate: expected 0 where there is only one class"),
        (lambda: noise.symmetric(0, 0.1), "num_classes: expected an integer of at least 1"),
        (lambda: noise.identity(True), "num_classes: expected an integer"),
        (lambda: noise.asymmetric(3, 0.1, seed=-1), "seed: expected an integer of at least 0"),
        (lambda: noise.from_counts([[1, 0], [0, 0]]), "counts: expected a count in every row.*none for class 1"),
        (lambda: noise.from_counts([[1, -1], [0, 1]]), "counts: expected counts of at least 0, got -1"),
        (lambda: noise.from_counts([[1, 1]]), "matrix: expected a square matrix"),
        (lambda: noise.from_counts([[1, 1], [1, 1]], smoothing=-1), "smoothing: expected a number of at least 0"),
        (lambda: noise.from_counts([1, 1]), "counts: expected 2 dimensions"),
        (lambda: noise.from_counts([[1, np.inf], [1, 1]]), "counts: expected finite numbers"),
        (lambda: Transition([1.0]), "matrix: expected 2 dimensions"),
        (lambda: noise.identity(2).posterior([[0.5, 0.5]]), "prior: expected 1 dimension"),
        (lambda: noise.from_mapping({3: 2}, 3, 0.1), "mapping: expected an integer from 0 to 2, got 3"),
        (lambda: noise.from_mapping({-1: 2}, 3, 0.1), "mapping: expected an integer from 0 to 2, got -1"),
        (lambda: noise.from_mapping({0: -1}, 3, 0.1), "mapping: expected an integer from 0 to 2, got -1"),
        (lambda: noise.from_mapping({}, 0, 0.1), "num_classes: expected an integer of at least 1"),
        (lambda: noise.from_mapping({}, 3, 1.1), "rate: expected a rate"),
        (lambda: noise.from_mapping({2: 2}, 3, 0.1), "mapping: .*class 2 mapped onto itself"),
        (lambda: noise.from_mapping({2: 3}, 3, 0.1), "mapping: expected an integer from 0 to 2, got 3"),
        (lambda: noise.identity(2) @ noise.identity(3), "other: expected a Transition of 2 classes, got 3"),
        (lambda: noise.identity(2) @ np.eye(2), "other: expected a Transition of 2 classes, got ndarray"),
        (lambda: noise.identity(2).posterior([0.5, 0.6]), "prior: expected rows that sum to 1"),
        (lambda: noise.identity(2).observed([1.0]), "prior: expected 2 columns"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
