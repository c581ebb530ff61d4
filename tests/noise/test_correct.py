import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise import backward_correction, forward_correction, importance_reweighting

LOSSES = (forward_correction, backward_correction, importance_reweighting)
T = noise.Transition([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.1, 0.6]])
Y = torch.tensor([0, 1, 2, 2, 1])


def logits_of(seed=0, dtype=torch.float64, n=5, scale=2.0):
    return torch.from_numpy(scale * np.random.default_rng(seed).normal(size=(n, 3))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_without_noise_it_is_the_cross_entropy_exactly(loss, dtype):
    logits = logits_of(dtype=dtype)
    each = loss(logits, Y, noise.identity(3), "none")
    assert each.dtype == dtype
    torch.testing.assert_close(each, cross_entropy(logits, Y, reduction="none"), rtol=0, atol=0)
    assert loss(logits, Y, noise.identity(3), "sum") == each.sum()
    assert loss(logits, Y, noise.identity(3)) == each.mean()


def test_forward_and_reweighting_are_their_formulas():
    logits = logits_of()
    p = logits.softmax(1)
    own, observed = p[range(5), Y], (p @ T.matrix)[range(5), Y]
    torch.testing.assert_close(forward_correction(logits, Y, T, "none"), -observed.log())
    torch.testing.assert_close(importance_reweighting(logits, Y, T, "none"), -own / observed * own.log())
    torch.testing.assert_close(
        backward_correction(logits, Y, T, "none"), -(torch.linalg.inv(T.matrix) @ p.log().T).T[range(5), Y]
    )


@given(st.integers(0, 500), st.integers(2, 6), st.floats(0, 0.45))
def test_backward_is_unbiased(seed, classes, rate):
    t = noise.random(classes, rate, seed)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, classes)))
    each = torch.cat([backward_correction(logits, [j], t, "none") for j in range(classes)])
    torch.testing.assert_close(t.matrix @ each, -logits.log_softmax(1)[0], rtol=1e-9, atol=1e-9)


def test_forward_is_least_at_the_clean_posterior():
    clean = torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64)
    observed = (clean @ T.matrix)[0]

    def risk(logits):
        return sum(observed[j] * forward_correction(logits, [j], T, "sum") for j in range(3))

    best = clean.log().requires_grad_()
    (gradient,) = torch.autograd.grad(risk(best), best)
    assert gradient.abs().max() < 1e-12
    assert all(risk(best + 0.3 * logits_of(s, n=1)) > risk(best) for s in range(20))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss):
    options = {"detach": False} if loss is importance_reweighting else {}
    for seed in range(3):
        logits = logits_of(seed).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x, Y, T, "none", **options), logits)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_learned_matrix_gets_gradients(loss):
    scores = logits_of(7, n=3).requires_grad_()
    options = {"detach": False} if loss is importance_reweighting else {}
    assert torch.autograd.gradcheck(lambda s: loss(logits_of(), Y, s.softmax(1), "none", **options), scores)


def test_detached_weights_scale_the_gradient_of_the_cross_entropy():
    logits = logits_of().requires_grad_()
    (gradient,) = torch.autograd.grad(importance_reweighting(logits, Y, T, "sum"), logits)
    p = logits.detach().softmax(1)
    weights = p[range(5), Y] / (p @ T.matrix)[range(5), Y]
    (plain,) = torch.autograd.grad((weights * cross_entropy(logits, Y, reduction="none")).sum(), logits)
    torch.testing.assert_close(gradient, plain)
    (through,) = torch.autograd.grad(importance_reweighting(logits, Y, T, "sum", detach=False), logits)
    assert (through - plain).abs().max() > 0.01


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_logits_stay_finite(loss):
    logits = torch.tensor([[1e4, 0.0, -1e4]] * 3, requires_grad=True)
    value = loss(logits, [0, 1, 2], T, "none")
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    confident = forward_correction(logits, [0, 1, 2], T, "none")
    torch.testing.assert_close(confident, -T.matrix[0].log().float())


def zeros(requires_grad=True):
    return torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.3, 0.7]], dtype=torch.float64).requires_grad_(
        requires_grad
    )


def test_the_gradient_of_a_learned_matrix_is_right_at_its_zeros():
    logits, t = logits_of(3), zeros()
    p, rows = logits.softmax(1), torch.arange(5)
    q = (p @ t.detach())[rows, Y]
    by_hand, reweighted = torch.zeros(2, 3, 3, dtype=torch.float64)
    for n, y in enumerate(Y.tolist()):
        by_hand[:, y] -= p[n] / q[n]
        reweighted[:, y] += p[n, y] * p[n, y].log() * p[n] / q[n] ** 2
    (gradient,) = torch.autograd.grad(forward_correction(logits, Y, t, "sum"), t)
    torch.testing.assert_close(gradient, by_hand, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(importance_reweighting(logits, Y, t, "sum", detach=False), t)
    torch.testing.assert_close(gradient, reweighted, rtol=1e-12, atol=1e-12)
    scores = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: forward_correction(x, Y, zeros(False), "none"), scores)
    assert torch.autograd.gradcheck(lambda x: importance_reweighting(x, Y, zeros(False), "none", detach=False), scores)


def test_a_learned_identity_is_the_cross_entropy():
    logits, eye = logits_of().requires_grad_(), torch.eye(3, dtype=torch.float64, requires_grad=True)
    each, plain = forward_correction(logits, Y, eye, "none"), cross_entropy(logits, Y, reduction="none")
    torch.testing.assert_close(each, plain, rtol=0, atol=1e-12)
    inputs = torch.autograd.grad(each.sum(), (logits, eye))
    torch.testing.assert_close(inputs[0], torch.autograd.grad(plain.sum(), logits)[0], rtol=0, atol=1e-12)
    assert torch.isfinite(inputs[1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [forward_correction, importance_reweighting])
def test_extreme_logits_and_zeros_stay_finite(loss, dtype):
    options = {"detach": False} if loss is importance_reweighting else {}
    swap = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    for matrix in (zeros(False), torch.eye(3, dtype=torch.float64), swap):
        t = matrix.to(dtype).requires_grad_()
        for row in ([1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [0.0, 1e4, -1e4]):
            logits = torch.tensor([row] * 3, dtype=dtype, requires_grad=True)
            values = loss(logits, [0, 1, 2], t, "none", **options)
            for tensor in (values, *torch.autograd.grad(values.sum(), (logits, t))):
                assert torch.isfinite(tensor).all()
    value = forward_correction(torch.tensor([[1e4, 0.0, -1e4]]), [2], torch.eye(3), "sum")
    assert float(value) == 2e4


@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_batch_has_a_sum_and_no_mean(loss):
    empty = torch.empty(0, 3)
    assert loss(empty, [], T, "sum") == 0
    assert loss(empty, [], T, "none").shape == (0,)
    with pytest.raises(InputError, match="logits: expected at least one row to take a mean of, got none"):
        loss(empty, [], T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((logits_of(), Y, torch.eye(3)[:2]), r"transition: expected a Transition or a tensor \[3, 3\], got \(2, 3\)"),
        ((logits_of(), Y, torch.eye(3) * torch.nan), "transition: expected finite numbers"),
        ((logits_of(), Y, torch.eye(3) * 1.002), r"transition: expected rows that sum to 1, got 1.002 in row 0"),
        ((logits_of(), Y, torch.eye(3) * 1.5 - 0.5 / 3), "transition: expected probabilities of at least 0, got -0.1"),
        ((logits_of(), [0, 1], T), "noisy: expected 5 labels"),
        ((logits_of(), [0, 1, 2, 3, 0], T), "noisy: expected labels from 0 to 2, got 3"),
        ((logits_of(), Y, noise.identity(2)), r"transition: expected a Transition or a tensor \[3, 3\], got \(2, 2\)"),
        ((logits_of(), Y, np.eye(3)), "transition: expected a Transition or a tensor .* got ndarray"),
        ((logits_of() * np.inf, Y, T), "logits: expected finite numbers"),
        ((logits_of()[0], Y, T), "logits: expected 2 dimensions"),
        ((logits_of(), Y, T, "men"), "reduction: .*did you mean 'mean'"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_bad_input(loss, arguments, message):
    with pytest.raises(InputError, match=message):
        loss(*arguments)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_learned_matrix_may_be_a_thousandth_off(loss):
    losses = loss(logits_of(), Y, T.matrix * 1.0005, "none")
    torch.testing.assert_close(losses, loss(logits_of(), Y, T, "none"), rtol=0, atol=0.01)


def test_impossible_labels_and_singular_matrices():
    never = noise.from_mapping({2: 0}, 3, 1.0)
    for loss in (forward_correction, importance_reweighting):
        with pytest.raises(InputError, match="noisy: expected labels that the transition can produce, got 2 at posi"):
            loss(logits_of(), Y, never)
    for singular in (never, noise.symmetric(3, 2 / 3)):
        with pytest.raises(InputError, match="transition: expected an invertible matrix"):
            backward_correction(logits_of(), Y, singular)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_arguments_are_refused(loss):
    with pytest.raises(InputError, match="logits: expected a dense tensor"):
        loss(logits_of().to_sparse_csr(), Y, T)
    with pytest.raises(InputError, match="transition: expected a dense tensor"):
        loss(logits_of(), Y, torch.eye(3).to_sparse_csr())
