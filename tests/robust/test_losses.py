import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.robust import losses

T = noise.Transition([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.1, 0.6]])
# With a transition matrix, of several classes per row, and with sizes of classes.
OTHERS = ("backward_correction", "forward_correction", "importance_reweighting", "ldam")
OTHERS += ("balanced_focal", "pu", "recover_positives")
ELEMENTARY = [getattr(losses, name) for name in losses.__all__ if name not in OTHERS]
ALL = [
    *ELEMENTARY,
    *(
        lambda logits, y, *, reduction="mean", f=f: f(logits, y, noise.symmetric(logits.shape[1], 0.3), reduction)
        for f in (losses.backward_correction, losses.forward_correction, losses.importance_reweighting)
    ),
]


def logits_of(seed=0, n=6, classes=3, scale=2.0):
    return torch.from_numpy(scale * np.random.default_rng(seed).normal(size=(n, classes)))


def labels_of(seed=0, n=6, classes=3):
    return torch.from_numpy(np.random.default_rng(seed + 1).integers(0, classes, n))


def each(loss, logits, y, **options):
    return loss(logits, y, reduction="none", **options)


def matrix(loss, logits, **options):
    """The losses of all classes, [n, C]."""
    n, classes = logits.shape
    return torch.stack([each(loss, logits, torch.full((n,), k), **options) for k in range(classes)], 1)


@pytest.mark.parametrize(
    ("loss", "options", "formula"),
    [
        (losses.cross_entropy, {}, lambda p: -np.log(p)),
        (losses.mae, {}, lambda p: 1 - p),
        (losses.gce, {"q": 0.3}, lambda p: (1 - p**0.3) / 0.3),
        (
            losses.truncated_gce,
            {"q": 0.6, "threshold": 0.4},
            lambda p: np.where(p > 0.4, (1 - p**0.6) / 0.6, (1 - 0.4**0.6) / 0.6),
        ),
        (losses.rce, {}, lambda p: 9.210340371976182 * (1 - p)),
        (losses.sce, {"alpha": 6.0, "beta": 0.5}, lambda p: -6 * np.log(p) + 0.5 * 9.210340371976182 * (1 - p)),
        (losses.nce, {}, lambda p: np.log(p) / np.log(p).sum(1, keepdims=True)),
        (losses.focal, {"gamma": 1.5}, lambda p: -((1 - p) ** 1.5) * np.log(p)),
        (
            losses.nfl,
            {},
            lambda p: np.sqrt(1 - p) * np.log(p) / (np.sqrt(1 - p) * np.log(p)).sum(1, keepdims=True),
        ),
        (
            losses.active_passive,
            {"active": "nce", "passive": "mae", "alpha": 3.0, "beta": 2.0},
            lambda p: 3 * np.log(p) / np.log(p).sum(1, keepdims=True) + 2 * (1 - p),
        ),
        (losses.phuber, {"tau": 4.0}, lambda p: np.where(p > 0.25, -np.log(p), -4 * p + np.log(4) + 1)),
        (losses.taylor, {"order": 3}, lambda p: (1 - p) + (1 - p) ** 2 / 2 + (1 - p) ** 3 / 3),
        (
            losses.soft_bootstrapping,
            {"beta": 0.7},
            lambda p: -0.7 * np.log(p) - 0.3 * (p * np.log(p)).sum(1, keepdims=True),
        ),
        (losses.hard_bootstrapping, {}, lambda p: -0.8 * np.log(p) - 0.2 * np.log(p.max(1, keepdims=True))),
    ],
)
def test_formulas(loss, options, formula):
    logits = logits_of(n=40, classes=5)
    expected = torch.from_numpy(formula(logits.softmax(1).numpy()))
    torch.testing.assert_close(matrix(loss, logits, **options), expected, rtol=1e-12, atol=1e-12)


def test_the_combinations_are_those_of_their_parts():
    logits, y = logits_of(n=20), labels_of(n=20)
    for active, passive in (("nce", "rce"), ("nce", "mae"), ("nfl", "rce"), ("nfl", "mae")):
        total = losses.active_passive(logits, y, active=active, passive=passive, alpha=0.5, beta=2.0)
        first, second = getattr(losses, active), getattr(losses, passive)
        torch.testing.assert_close(total, 0.5 * first(logits, y) + 2 * second(logits, y))


def test_cross_entropies_are_those_of_torch():
    logits, y = logits_of(n=20), labels_of(n=20)
    soft = logits_of(3, n=20).softmax(1)
    for target in (y, soft):
        torch.testing.assert_close(losses.cross_entropy(logits, target), F.cross_entropy(logits, target))
        for smoothing in (0.0, 0.3, 1.0):
            torch.testing.assert_close(
                losses.label_smoothing(logits, target, smoothing=smoothing),
                F.cross_entropy(logits, target, label_smoothing=smoothing),
            )


def test_limits():
    logits, y = logits_of(n=20), labels_of(n=20)
    plain, absolute = each(losses.cross_entropy, logits, y), each(losses.mae, logits, y)
    for loss in (
        each(losses.gce, logits, y, q=0),
        each(losses.gce, logits, y, q=1e-5),
        each(losses.focal, logits, y, gamma=0),
        each(losses.sce, logits, y, alpha=1, beta=0),
        each(losses.soft_bootstrapping, logits, y, beta=1),
        each(losses.hard_bootstrapping, logits, y, beta=1),
        each(losses.phuber, logits, y, tau=1e6),
    ):
        torch.testing.assert_close(loss, plain, rtol=1e-4, atol=0)
    likely = each(losses.taylor, logits, y, order=1000)[plain < 3]
    torch.testing.assert_close(likely, plain[plain < 3], rtol=1e-6, atol=1e-6)
    for loss in (
        each(losses.gce, logits, y, q=1),
        each(losses.taylor, logits, y, order=1),
        each(losses.phuber, logits, y, tau=1),
    ):
        torch.testing.assert_close(loss, absolute)


@settings(max_examples=15)
@given(st.integers(0, 500), st.integers(2, 8))
def test_symmetric_losses_sum_to_a_constant_over_the_classes(seed, classes):
    logits = logits_of(seed, 3, classes)
    one = torch.ones(3, dtype=torch.float64)
    for loss, total in (
        (losses.mae, classes - 1),
        (losses.rce, -math.log(1e-4) * (classes - 1)),
        (losses.nce, 1),
        (losses.nfl, 1),
        (losses.active_passive, 1 - math.log(1e-4) * (classes - 1)),
    ):
        values = matrix(loss, logits)
        torch.testing.assert_close(values.sum(1), total * one)
        assert bool((values > 0).all())
    assert bool((matrix(losses.nce, logits) < 1).all())
    # Cross-entropy is not symmetric.
    assert float(matrix(losses.cross_entropy, logits_of(0)).sum(1).std()) > 0.1


@pytest.mark.parametrize("loss", ALL)
@settings(max_examples=15)
@given(st.integers(0, 500), st.floats(-50, 50))
def test_shifts_and_renamed_classes_change_nothing(loss, seed, shift):
    logits, y = logits_of(seed), labels_of(seed)
    values = each(loss, logits, y)
    torch.testing.assert_close(each(loss, logits + shift, y), values, rtol=1e-7, atol=1e-9)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(3))
    torch.testing.assert_close(each(loss, logits[:, order], order.argsort()[y]), values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ALL)
def test_soft_targets_give_the_expectation(loss):
    logits, y = logits_of(), labels_of()
    soft = logits_of(5).softmax(1)
    torch.testing.assert_close(each(loss, logits, soft), (soft * matrix(loss, logits)).sum(1))
    one_hot = F.one_hot(y, 3).double()
    torch.testing.assert_close(each(loss, logits, one_hot), each(loss, logits, y))


@pytest.mark.parametrize("loss", ALL)
def test_reductions_are_over_rows(loss):
    # A mean over rows and classes would be a third of it.
    logits, y = logits_of(), labels_of()
    values = each(loss, logits, y)
    assert values.shape == (6,)
    torch.testing.assert_close(loss(logits, y), values.mean())
    torch.testing.assert_close(loss(logits, y, reduction="sum"), values.sum())
    soft = logits_of(5).softmax(1)
    torch.testing.assert_close(loss(logits, soft), each(loss, logits, soft).mean())


# The weights of the last one are constants.
@pytest.mark.parametrize("loss", ALL[:-1])
def test_gradients(loss):
    logits, y = logits_of().requires_grad_(), labels_of()
    assert torch.autograd.gradcheck(lambda x: each(loss, x, y), logits)
    soft = logits_of(5).softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: each(loss, logits.detach(), t), soft, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ALL)
def test_extreme_logits_have_finite_losses_and_gradients(loss, dtype):
    rows = [[1e4, 0.0, -1e4], [0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [-1e4, 1e4, 1e4], [1e30, 0.0, -1e30]]
    for y in (*range(3), torch.tensor([[0.2, 0.3, 0.5]] * 5, dtype=dtype)):
        logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
        values = each(loss, logits, torch.full((5,), y) if isinstance(y, int) else y)
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert values.dtype == dtype
        assert bool(torch.isfinite(values).all())
        assert bool(torch.isfinite(gradient).all())


def test_bounded_losses_are_bounded_and_do_not_follow_a_wrong_label_far():
    logits = torch.tensor([[20.0, 0.0, 0.0]], requires_grad=True)
    bounds = {losses.mae: 1, losses.gce: 1 / 0.7, losses.rce: 9.22, losses.nce: 1, losses.nfl: 1, losses.taylor: 1.5}
    for loss, bound in bounds.items():
        value = loss(logits, [1])
        (gradient,) = torch.autograd.grad(value, logits)
        assert 0 < value.item() <= bound
        assert float(gradient.abs().max()) < 0.05
    (gradient,) = torch.autograd.grad(losses.cross_entropy(logits, [1]), logits)
    assert float(gradient.abs().max()) > 0.9


def test_symmetric_cross_entropy_reads_probabilities_and_not_logits():
    # Clamped raw logits would give the reverse term 0 for the first row and -log(1e-4) for the second.
    logits = torch.tensor([[2.0, 1.0], [-2.0, -3.0]])
    values = each(losses.sce, logits, [0, 0], alpha=0.0)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], torch.tensor(9.210340 * (1 - 1 / (1 + math.exp(-1)))))


def test_truncated_losses_train_nothing_below_the_threshold():
    logits = torch.tensor([[0.0, 1.0, 1.0], [3.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.truncated_gce(logits, [0, 0]), logits)
    assert bool((gradient[0] == 0).all())
    assert bool((gradient[1] != 0).all())


def test_entropy_trains_soft_bootstrapping_and_the_prediction_is_constant_in_hard():
    logits = torch.tensor([[0.4, 0.0]], dtype=torch.float64, requires_grad=True)
    p = logits.detach().softmax(1)[0]
    (soft,) = torch.autograd.grad(losses.soft_bootstrapping(logits, [1], beta=0.0), logits)
    entropy = -float((p * p.log()).sum())
    torch.testing.assert_close(soft[0], -p * (p.log() + entropy))
    (hard,) = torch.autograd.grad(losses.hard_bootstrapping(logits, [1], beta=0.0), logits)
    torch.testing.assert_close(hard[0], p - torch.tensor([1.0, 0.0]).double())


def test_forward_correction_without_noise_is_cross_entropy_and_backward_is_unbiased():
    logits, y = logits_of(), labels_of()
    plain = each(losses.cross_entropy, logits, y)
    torch.testing.assert_close(losses.forward_correction(logits, y, noise.identity(3), "none"), plain)
    # The expectation over the noise of each row, as a soft target.
    corrected = losses.backward_correction(logits, T.matrix[y], T, "none")
    torch.testing.assert_close(corrected, plain)
    assert float(losses.forward_correction(logits, T.matrix[y], T, "none").sub(plain).abs().max()) > 0.1
    confident = torch.tensor([[9.0, 0.0, 0.0]])
    assert float(losses.backward_correction(confident, [0], T)) < 0


def test_a_singular_transition_is_refused_or_inverted_on_its_range():
    singular = noise.Transition([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.1, 0.8]])
    logits = logits_of()
    with pytest.raises(InputError, match="transition: expected an invertible matrix, got a singular one"):
        losses.backward_correction(logits, labels_of(), singular)
    values = torch.stack(
        [
            losses.backward_correction(logits, torch.full((6,), k), singular, "none", pseudo_inverse=True)
            for k in range(3)
        ]
    )
    # Classes 0 and 1 have the same noise, and get the mean of their losses.
    plain = matrix(losses.cross_entropy, logits).T
    mean = plain[:2].mean(0)
    torch.testing.assert_close(singular.matrix @ values, torch.stack([mean, mean, plain[2]]))


def test_impossible_classes_may_have_no_probability():
    never = noise.from_mapping({2: 0}, 3, 1.0)
    logits = logits_of(n=2)
    possible = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    for loss in (losses.forward_correction, losses.importance_reweighting):
        assert bool(torch.isfinite(loss(logits, possible, never, "none")).all())
        with pytest.raises(InputError, match="noisy: expected labels that the transition can produce, got 2 at posit"):
            loss(logits, possible.flip(1), never)


def test_a_single_class_has_no_loss():
    logits = torch.tensor([[3.0], [-1.0]], requires_grad=True)
    for loss in ELEMENTARY:
        value = loss(logits, [0, 0])
        assert value.item() == 0
        assert float(torch.autograd.grad(value, logits)[0].abs().sum()) == 0


@pytest.mark.parametrize("loss", ELEMENTARY)
def test_bad_input(loss):
    logits, y = logits_of(), labels_of()
    for arguments, message in (
        ((logits * np.inf, y), "logits: expected finite numbers"),
        ((logits[0], y), "logits: expected 2 dimensions"),
        ((logits, y[:2]), "target: expected 6 labels"),
        ((logits, y + 1), "target: expected labels from 0 to 2, got 3"),
        ((logits, y - 1), "target: expected a label for every node"),
        ((logits, logits_of(1, n=2).softmax(1)), "target: expected 6 rows, one per row of logits, got 2"),
        ((logits, logits_of(1)), "target: expected probabilities of at least 0"),
        ((torch.empty(0, 3), []), "logits: expected at least one row to take a mean of, got none"),
        ((torch.tensor([[3e38, -3e38]]), [0]), r"log_softmax\(logits\): expected finite numbers"),
    ):
        with pytest.raises(InputError, match=message):
            loss(*arguments)
    with pytest.raises(InputError, match=r"reduction: .*did you mean 'mean'"):
        loss(logits, y, reduction="men")
    assert float(loss(torch.empty(0, 3), [], reduction="sum")) == 0


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (losses.gce, {"q": 1.1}, r"q: expected a rate in \[0, 1\], got 1.1"),
        (losses.truncated_gce, {"threshold": 0.0}, "threshold: expected a probability above 0"),
        (losses.rce, {"clip": 0}, r"clip: expected a number in \(0, 1\]"),
        (losses.sce, {"alpha": -1}, "alpha: expected a number of at least 0"),
        (losses.active_passive, {"active": "ce"}, "active: expected one of nce, nfl"),
        (losses.active_passive, {"passive": "nce"}, "passive: expected one of mae, rce"),
        (losses.focal, {"gamma": -0.5}, "gamma: expected a number in"),
        (losses.phuber, {"tau": 0.5}, "tau: expected a number in"),
        (losses.taylor, {"order": 0}, "order: expected an integer from 1"),
        (losses.soft_bootstrapping, {"beta": 2}, "beta: expected a rate"),
        (losses.label_smoothing, {"smoothing": -0.1}, "smoothing: expected a rate"),
    ],
)
def test_settings_out_of_range(loss, options, message):
    with pytest.raises(InputError, match=message):
        loss(logits_of(), labels_of(), **options)
