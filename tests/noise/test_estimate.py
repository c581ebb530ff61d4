import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise.estimate import _rows

TRUE = noise.Transition([[0.8, 0.1, 0.05, 0.05], [0.05, 0.7, 0.2, 0.05], [0, 0.1, 0.75, 0.15], [0.3, 0, 0.1, 0.6]])
SEEDS = range(4)


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def planted(seed, separation, n=4000):
    """Calibrated clean posteriors, labels drawn from them, and noisy labels drawn through TRUE."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4))
    logits[np.arange(n), rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])] += separation
    clean = softmax(logits)
    y = (clean.cumsum(1) <= rng.random((n, 1))).sum(1)
    return clean, y, TRUE.corrupt(y, seed=seed + 100).y


def jittered(p, seed, sd=0.2):
    return softmax(np.log(p.clip(1e-4)) + sd * np.random.default_rng(seed + 200).normal(size=p.shape))


def error(estimate):
    """The L1 distance of a row, on average over the rows."""
    return (estimate.transition.matrix - TRUE.matrix).abs().sum(1).mean().item()


@pytest.mark.parametrize("seed", SEEDS)
def test_anchor_points_recover(seed):
    clean, y, _ = planted(seed, 8)
    posterior = clean @ TRUE.matrix.numpy()
    exact = noise.anchor_points(posterior)
    assert error(exact) < 0.01
    assert exact.prior.numpy() == pytest.approx(np.bincount(y) / len(y), abs=0.02)
    assert exact.converged
    rough = jittered(posterior, seed)
    assert error(noise.anchor_points(rough)) < 0.15
    assert error(noise.anchor_points(rough, percentile=None)) > 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_confident_joint_recovers(seed):
    clean, y, noisy = planted(seed, 8)
    posterior = clean @ TRUE.matrix.numpy()
    for p in (posterior, jittered(posterior, seed)):
        estimate = noise.transition_from_joint(noise.confident_joint(p, noisy), noisy)
        assert error(estimate) < 0.1
        assert estimate.prior.numpy() == pytest.approx(np.bincount(y) / len(y), abs=0.02)
    clean, y, noisy = planted(seed, 3)
    assert (clean.argmax(1) == y).mean() == pytest.approx(0.8, abs=0.02)
    joint = noise.confident_joint(clean @ TRUE.matrix.numpy(), noisy)
    # The stated bias.
    assert error(noise.transition_from_joint(joint, noisy)) > 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_dual_recovers_from_overconfidence_and_squares_calibrated_posteriors(seed):
    clean, _, noisy = planted(seed, 8)
    posterior = clean @ TRUE.matrix.numpy()
    sharp = jittered(posterior, seed) ** 8
    sharp /= sharp.sum(1, keepdims=True)
    assert error(noise.dual_transition(sharp, noisy)) < 0.1
    assert error(noise.anchor_points(sharp)) > 0.5
    squared = noise.dual_transition(posterior, noisy).transition.matrix
    assert (squared - (TRUE @ TRUE).matrix).abs().sum(1).mean() < 0.1


@pytest.mark.parametrize("separation", [3, 8])
@pytest.mark.parametrize("seed", SEEDS)
def test_expectation_maximisation_recovers(seed, separation):
    clean, y, noisy = planted(seed, separation)
    estimate = noise.expectation_maximisation(torch.from_numpy(clean), torch.from_numpy(noisy))
    assert estimate.converged
    assert error(estimate) < 0.1
    assert estimate.prior.numpy() == pytest.approx(np.bincount(y) / len(y), abs=0.02)


def test_expectation_maximisation_is_at_the_maximum():
    clean, _, noisy = planted(0, 3, n=500)

    def likelihood(matrix):
        return np.log((clean @ matrix)[np.arange(500), noisy]).sum()

    estimate = noise.expectation_maximisation(clean, noisy, tolerance=1e-9, max_iterations=20_000)
    best = estimate.transition.matrix.numpy()
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = rng.dirichlet(np.ones(4), 4)
        assert likelihood(0.99 * best + 0.01 * other) <= likelihood(best) + 1e-6
    early = noise.expectation_maximisation(clean, noisy, max_iterations=2)
    assert not early.converged
    assert early.iterations == 2


def test_one_step_of_expectation_maximisation():
    # T begins at .75 and .25, so that the responsibilities are (.9, .1) and (.25, .75).
    estimate = noise.expectation_maximisation([[0.75, 0.25], [0.5, 0.5]], [0, 1], max_iterations=1)
    assert estimate.prior.tolist() == pytest.approx([0.575, 0.425], rel=1e-12)
    expected = torch.tensor([[0.9 / 1.15, 0.25 / 1.15], [0.1 / 0.85, 0.75 / 0.85]], dtype=torch.float64)
    torch.testing.assert_close(estimate.transition.matrix, expected, rtol=0, atol=1e-12)
    assert (estimate.iterations, estimate.converged) == (1, False)


def test_hard_posteriors_are_plain_counts():
    y, noisy = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    counts = noise.from_counts([[2, 1, 0], [0, 1, 1], [0, 0, 1]])
    for estimate in (
        noise.expectation_maximisation(np.eye(3)[y], noisy),
        noise.dual_transition(np.eye(3)[y], noisy, percentile=None),
    ):
        torch.testing.assert_close(estimate.transition.matrix, counts.matrix, rtol=0, atol=1e-12)
        assert estimate.prior.tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_a_percentile_is_the_last_node_below_it():
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.1, 0.9]])
    # at 75 % of four nodes: the third smallest, at rank 2.25
    assert noise.anchor_points(p, 75.0).transition.matrix.tolist() == [[0.5, 0.5], [0.2, 0.8]]


def test_the_percentile_is_97_unless_given():
    share = np.linspace(0, 1, 101)
    p = np.stack([share, 1 - share], axis=1)
    labels = p.argmax(1)
    for estimate in (noise.anchor_points(p), noise.dual_transition(p, labels)):
        assert estimate.transition.matrix.tolist() == [pytest.approx([0.97, 0.03]), pytest.approx([0.03, 0.97])]
    given_one = noise.dual_transition(p, labels, 75).transition.matrix
    assert given_one.tolist() == [pytest.approx([0.75, 0.25]), pytest.approx([0.25, 0.75])]


def test_the_prior_of_anchors_is_a_distribution_where_the_mean_is_no_mixture_of_them():
    share = np.array([0.6, 0.6, 0.6, 0.9, 0.99])
    assert noise.anchor_points(np.stack([share, 1 - share], axis=1), 50).prior.sum().item() == pytest.approx(1)


def test_expectation_maximisation_ends_at_its_tolerance_or_after_a_thousand_steps():
    estimate = noise.expectation_maximisation([[0.51, 0.49], [0.49, 0.51]], [0, 1], tolerance=0)
    assert (estimate.iterations, estimate.converged) == (1000, False)
    # The first step moves entries by 1 / 4.
    estimate = noise.expectation_maximisation([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 1], tolerance=0.25)
    assert (estimate.iterations, estimate.converged) == (1, True)


def test_smoothed_rows_are_rescaled_to_the_labelled_nodes():
    # J + 1 is [[3, 2], [1, 3]], of which the rows become [1.8, 1.2] and [1, 3].
    estimate = noise.transition_from_joint([[2, 1], [0, 2]], [0, 0, 0, -1, 1, 1, 1, 1], smoothing=1)
    expected = [pytest.approx([1.8 / 2.8, 1 / 2.8]), pytest.approx([1.2 / 4.2, 3 / 4.2])]
    assert estimate.transition.matrix.tolist() == expected
    assert estimate.prior.tolist() == pytest.approx([0.4, 0.6])
    # Rows of 1.5 and .5 become [5 / 3, 1 / 3] and [1 / 2, 1 / 2].
    estimate = noise.transition_from_joint([[1, 0], [0, 0]], [0, 0, 1], smoothing=0.25)
    assert estimate.transition.matrix.tolist() == [pytest.approx([10 / 13, 3 / 13]), pytest.approx([0.4, 0.6])]


def test_probabilities_within_their_tolerance_become_distributions():
    rows = _rows([[1 + 5e-7, -5e-7], [0.5, 0.4999995]])
    assert rows[0].tolist() == [1, 0]
    assert rows[1].sum() == pytest.approx(1, abs=1e-15)


def test_nodes_without_a_label_are_not_read():
    clean, _, noisy = planted(0, 3, n=60)
    some, labelled = noisy.copy(), np.arange(60) % 4 > 0
    some[~labelled] = -1
    joint = noise.confident_joint(clean, some)
    assert joint.dtype == np.int64
    assert (joint == noise.confident_joint(clean[labelled], noisy[labelled])).all()
    for estimator in (noise.dual_transition, noise.expectation_maximisation):
        ours, theirs = estimator(clean, some), estimator(clean[labelled], noisy[labelled])
        assert ours.transition == theirs.transition
        assert torch.equal(ours.prior, theirs.prior)


def test_a_label_that_nobody_is_given_has_no_row():
    estimate = noise.transition_from_joint([[2, 1], [0, 0]], [0, 0, 0])
    assert estimate.transition.matrix.tolist() == [[1, 0], [1, 0]]
    assert estimate.prior.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_the_golden_confident_joint():
    p = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.6])
    y = np.array([0, 0, 0, 1, 1, 1])
    joint = noise.confident_joint(np.stack([p, 1 - p], 1), y)
    # Rows are given labels; the last node is in no cell.
    assert joint.tolist() == [[2, 1], [0, 2]]
    estimate = noise.transition_from_joint(joint, y)
    # rows rescaled to 3 and 3: [[2, 1], [0, 3]]; its columns are the true classes
    assert estimate.transition.matrix.tolist() == [[1, 0], [0.25, 0.75]]
    assert estimate.prior.tolist() == pytest.approx([2 / 6, 4 / 6])
    assert noise.transition_from_joint(joint).prior.tolist() == pytest.approx([2 / 5, 3 / 5])


def test_several_confident_classes_take_the_likeliest():
    p = np.array([[0.5, 0.1, 0.4], [0.4, 0.35, 0.25], [0.1, 0.6, 0.3], [0.2, 0.45, 0.35], [0.3, 0.3, 0.4]])
    y = np.array([0, 0, 1, 1, 2])
    # thresholds .45, .525, .4; node 0 is confident of 0 and (by the slack) of 2, node 4 of 2 alone
    joint = noise.confident_joint(p, y)
    assert joint.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@given(st.integers(0, 200), st.integers(2, 5))
def test_the_confident_joint_is_its_definition(seed, classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, 20)])
    p = rng.dirichlet(np.ones(classes), y.size)
    expected = np.zeros((classes, classes), dtype=int)
    thresholds = [p[y == k, k].mean() for k in range(classes)]
    for row, given_label in zip(p, y, strict=True):
        confident = [k for k in range(classes) if row[k] >= thresholds[k] - 1e-6]
        if confident:
            expected[given_label, confident[0] if len(confident) == 1 else row.argmax()] += 1
    assert (noise.confident_joint(p, y) == expected).all()


def test_smoothing_fills_empty_classes():
    hard = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    soft = np.array([[0.8, 0.0, 0.2], [0.0, 0.9, 0.1]])
    smoothed = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]]
    for estimate in (
        noise.expectation_maximisation(hard, [0, 1], smoothing=1),
        noise.transition_from_joint(np.diag([1, 1, 0]), smoothing=1),
    ):
        torch.testing.assert_close(estimate.transition.matrix, torch.tensor(smoothed, dtype=torch.float64))
    # Nobody is predicted as class 2.
    dual = noise.dual_transition(soft, [0, 1], smoothing=1, percentile=None)
    expected = torch.from_numpy(soft[[0, 1, 0]] @ np.array(smoothed))
    torch.testing.assert_close(dual.transition.matrix, expected)


HALF = [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.confident_joint(HALF, [0, 0]), "noisy: expected a label of every class, got none for class 1"),
        (lambda: noise.confident_joint(HALF, [0]), "noisy: expected 2 labels"),
        (lambda: noise.confident_joint(HALF, [0, 2]), "noisy: expected labels from 0 to 1, got 2"),
        (lambda: noise.confident_joint([[0.5, 0.6]], [0]), "probabilities: expected rows that sum to 1"),
        (lambda: noise.anchor_points(np.empty((0, 3))), "probabilities: expected at least one row"),
        (lambda: noise.anchor_points(HALF, 101), r"percentile: expected a number in \[0, 100\]"),
        (
            lambda: noise.anchor_points([[1.0, 0.0]]),
            "probabilities: .*weight at the percentile, for every class, got none for class 1",
        ),
        (lambda: noise.anchor_points([[np.nan, 1]]), "probabilities: expected finite numbers"),
        (lambda: noise.dual_transition(HALF, [0, 1]), "probabilities: .*every class.*none for class 1"),
        (lambda: noise.expectation_maximisation([[1.0, 0.0]], [0]), "probabilities: .*none for class 1"),
        (lambda: noise.expectation_maximisation(HALF, [0, 1], tolerance=-1), "tolerance: expected a number"),
        (lambda: noise.expectation_maximisation(HALF, [0, 1], max_iterations=0), "max_iterations: expected"),
        (lambda: noise.transition_from_joint([[1, 1], [0, 0]], [0, 1]), "joint: .*given label.*none for class 1"),
        (lambda: noise.transition_from_joint([[1, 0], [1, 0]]), "joint: .*true class.*none for class 1"),
        (lambda: noise.transition_from_joint([[1, -1], [1, 0]]), "joint: expected counts of at least 0"),
        (lambda: noise.transition_from_joint([[1, 1]]), "joint: expected a square matrix"),
        (lambda: noise.transition_from_joint([1, 1]), "joint: expected 2 dimensions"),
        (lambda: noise.transition_from_joint([[1, np.nan], [1, 1]]), "joint: expected finite numbers"),
        (lambda: noise.transition_from_joint([[1, 1], [1, 1]], [0, 2]), "noisy: expected labels from 0 to 1, got 2"),
        (lambda: noise.transition_from_joint(HALF, smoothing=-1), "smoothing: expected a number of at least 0"),
        (lambda: noise.dual_transition(HALF, [0, 1], smoothing=-1), "smoothing: expected a number of at least 0"),
        (lambda: noise.dual_transition(HALF, [0, 1], -1, 1), r"percentile: expected a number in \[0, 100\]"),
        (lambda: noise.expectation_maximisation(HALF, [0, 1], smoothing=-1), "smoothing: expected a number of at"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
