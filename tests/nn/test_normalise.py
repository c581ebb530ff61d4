"""Rows of norm 1 and the activations around them, against torch's own operators."""

import itertools

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from oracles import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from graphnoise import InputError
from graphnoise.kernels.normalise import gradient, operation
from graphnoise.nn.normalise import normalise_rows

ACTIVATIONS = {"none": lambda v: v, "leaky_relu": lambda v: F.leaky_relu(v, 0.01), "relu": F.relu}
SETTINGS = list(itertools.product((1, 2), ACTIVATIONS, ("none", "relu")))
SHAPES = [(7, 1), (1, 9), (5, 64), (3, 513), (0, 4), (4, 0)]


def oracle(x, p, before, after):
    return ACTIVATIONS[after](F.normalize(ACTIVATIONS[before](x), p=float(p), dim=1))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("p", "before", "after"), SETTINGS)
def test_equals_torch_with_its_gradient(backend, p, before, after, draw):
    for shape in SHAPES:
        x, upstream = torch.randn(shape, generator=draw).requires_grad_(), torch.randn(shape, generator=draw)
        outs = (normalise_rows(x, p, before, after, backend=backend), oracle(x, p, before, after))
        results = [(out, *torch.autograd.grad(out, x, upstream)) for out in outs]
        for ours, theirs in zip(*results, strict=True):
            assert_close(ours, theirs)
        with torch.no_grad():
            assert torch.equal(normalise_rows(x, p, before, after, backend=backend), results[0][0])


@pytest.mark.parametrize(("p", "before", "after"), SETTINGS)
def test_gradient_in_double_precision(p, before, after, draw):
    x = torch.randn(4, 5, generator=draw, dtype=torch.float64)
    # No entry lies at a kink.
    x = (x + 0.1 * x.sign()).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: normalise_rows(v, p, before, after), x)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("p", "before", "after"), SETTINGS)
def test_zero_and_tiny_rows_have_torchs_gradient(backend, p, before, after, draw):
    """Below 1e-12 a norm is not divided by: the gradient is 1e12 times the upstream one, and finite."""
    x = torch.randn(5, 6, generator=draw) * torch.tensor([[0.0], [1e-14], [1.0], [0.0], [1e-9]])
    # Entries at the kinks.
    x[2, :3] = 0
    # Zero after a ReLU.
    x[3] = -1.0
    x.requires_grad_()
    upstream = torch.randn(5, 6, generator=draw)
    outs = (normalise_rows(x, p, before, after, backend=backend), oracle(x, p, before, after))
    results = [(out, *torch.autograd.grad(out, x, upstream)) for out in outs]
    assert bool((results[0][0][0] == 0).all())
    assert all(bool(t.isfinite().all()) for t in results[0])
    for ours, theirs in zip(*results, strict=True):
        for row in range(5):
            scale = float(theirs[row].detach().abs().max().clamp(min=1e-30))
            assert_close(ours[row] / scale, theirs[row] / scale, 2e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("p", "before", "after"), SETTINGS)
def test_what_is_not_a_number_shows_in_its_row_only(backend, p, before, after):
    x = torch.ones(3, 20, requires_grad=True)
    with torch.no_grad():
        x[1, 4] = torch.nan
    out = normalise_rows(x, p, before, after, backend=backend)
    (grad,) = torch.autograd.grad(out.sum(), x)
    for actual in (out, grad):
        assert actual.isnan().any(1).tolist() == [False, True, False]


def test_the_number_of_threads_changes_no_bit(draw):
    x, upstream = torch.randn(700, 300, generator=draw).requires_grad_(), torch.randn(700, 300, generator=draw)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        try:
            out = normalise_rows(x, 1, "leaky_relu", "relu")
            results.append((out, *torch.autograd.grad(out, x, upstream)))
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_values_that_are_not_contiguous(draw):
    x = torch.randn(9, 5, generator=draw).t().requires_grad_()
    for out in (normalise_rows(x, 2, "relu"), normalise_rows(x[:, ::2])):
        assert out.is_contiguous()
        torch.autograd.grad(out, x, out.detach().t().contiguous().t())
    assert_close(normalise_rows(x, 2, "relu"), oracle(x, 2, "relu", "none"))
    assert_close(normalise_rows(x[:, ::2]), oracle(x[:, ::2], 1, "none", "none"))


@pytest.mark.parametrize(
    ("p", "before", "after"), [(1, "leaky_relu", "none"), (1, "none", "relu"), (2, "relu", "relu")]
)
def test_torch_accepts_the_operations(p, before, after, draw):
    x = torch.randn(6, 5, generator=draw).requires_grad_()
    torch.library.opcheck(operation, (x, p, before, after))
    norm = operation(x.detach(), p, before, after)[1]
    assert_close(norm, torch.linalg.vector_norm(ACTIVATIONS[before](x.detach()), p, 1))
    torch.library.opcheck(gradient, (x.detach(), norm, torch.ones(6, 5), p, before, after))


def test_shapes_are_known_without_values():
    with FakeTensorMode():
        x = torch.empty(5, 6).t()
        out, norm = operation(x, 1, "none", "relu")
        assert (out.shape, out.is_contiguous(), norm.shape) == ((6, 5), True, (6,))
        assert gradient(x, norm, out, 1, "none", "relu").shape == (6, 5)


def test_compiled_in_one_graph(draw):
    x = torch.randn(6, 5, generator=draw).requires_grad_()

    def function(values):
        return normalise_rows(normalise_rows(values * 2, 1, "leaky_relu") + 1, 1, "none", "relu").square()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = [(out, *torch.autograd.grad(out.sum(), x)) for out in (function(x), compiled(x))]
    for eager, traced in zip(*results, strict=True):
        assert_close(traced, eager)
    with torch.no_grad():
        assert torch.equal(compiled(x), function(x))
    torch.compiler.reset()


def test_other_derivatives_are_refused_and_never_silently_wrong(draw):
    x = torch.randn(4, 5, generator=draw).requires_grad_()
    (grad,) = torch.autograd.grad(normalise_rows(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative here: take backend='reference'"):
        torch.autograd.grad(grad.sum(), x)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), torch.ones(4, 5))
        with pytest.raises(NotImplementedError, match="no forward-mode derivative here: take backend='reference'"):
            normalise_rows(dual)
        assert forward_ad.unpack_dual(normalise_rows(dual, backend="reference")).tangent is not None
    assert torch.autograd.gradgradcheck(lambda v: normalise_rows(v, 2), x.detach().double().requires_grad_())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(3)}, r"x: expected a floating-point tensor of shape \[rows, width\], got shape \(3,\)"),
        ({"x": torch.ones(2, 2).long()}, "x: expected a floating-point tensor .* of type torch.int64"),
        ({"x": [[1.0]]}, "x: expected a floating-point tensor .* got list"),
        ({"p": 3}, "p: expected 1 or 2, got 3"),
        ({"p": True}, "p: expected 1 or 2, got True"),
        ({"before": "leaky"}, r"before: expected one of .* \(did you mean 'leaky_relu'\?\)"),
        ({"after": "leaky_relu"}, "after: expected one of none, relu"),
        ({"backend": "triton"}, "backend: expected one of native, reference"),
        ({"x": torch.ones(2, 2).double(), "backend": "native"}, "'native' needs float32 CPU tensors"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(InputError, match=message):
        normalise_rows(**{"x": torch.ones(2, 2), **change})
