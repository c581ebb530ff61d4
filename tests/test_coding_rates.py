"""Values and gradients of coding rates, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from coding_problems import (
    EXACT,
    SHAPES,
    memberships,
    one_hot,
    oracle,
    orthogonal,
    orthonormal_classes,
    problem,
    random_problem,
    shapes,
)
from hypothesis import given, settings
from oracles import assert_close

from graphnoise.coding_rates import CodingRateReduction, coding_rate, coding_rate_reduction, coding_rates


@pytest.mark.parametrize(
    ("n", "p", "C", "eps", "whole", "within"),
    [
        (63, 512, 3, 0.05, 12.203606304, 4.617077275),
        (1260, 512, 3, 0.05, 12.203606304, 4.617077275),
        (1260, 512, 6, 0.05, 22.328649586, 4.617077275),
        (1260, 512, 7, 0.05, 25.510905384, 4.617077275),
        (40, 8, 4, 0.5, 3.218875825, 1.416606672),
    ],
)
def test_copies_of_orthonormal_rows(n, p, C, eps, whole, within, draw):
    z, y = orthonormal_classes(n, p, C, draw)
    actual = coding_rates(z, y, C, eps=eps)
    assert float(actual.total) == pytest.approx(C / 2 * math.log1p(p / (C * eps)), abs=EXACT)
    assert float(actual.within) == pytest.approx(0.5 * math.log1p(p / eps), abs=EXACT)
    assert float(actual.total) == pytest.approx(whole, abs=1e-9)
    assert float(actual.within) == pytest.approx(within, abs=1e-9)
    assert float(coding_rate(z, eps)) == pytest.approx(whole, abs=1e-9)
    assert float(coding_rate_reduction(z, y, C, eps=eps)) == pytest.approx(whole - within, abs=2e-9)


def test_the_identity_matrix():
    for p, eps in ((8, 0.5), (200, 0.05)):
        assert float(coding_rate(torch.eye(p).double(), eps)) == pytest.approx(p / 2 * math.log1p(1 / eps), abs=EXACT)
    assert float(coding_rate(torch.eye(8).double(), 0.5)) == pytest.approx(4.394449155, abs=1e-9)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("gamma1", [1.0, 1.7])
def test_values_and_gradients_are_those_of_membership_matrices(name, gamma1, draw):
    z, y, C = problem(name, draw)
    z.requires_grad_()
    expected = oracle(z, one_hot(y, C), 0.3, gamma1)
    actual = coding_rates(z, y, C, eps=0.3, gamma1=gamma1)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, EXACT)
    assert_close(coding_rate(z, 0.3), oracle(z, one_hot(y, C), 0.3)[0], EXACT)
    # That of R's gradient: where Rc's is equal, their difference is rounding.
    scale = 0.0
    for upstream in ((1.0, 0.0), (1.0, -1.0), (0.0, 1.0), (2.5, 0.7)):
        ours, theirs = (
            torch.autograd.grad(upstream[0] * whole + upstream[1] * within, z, retain_graph=True)[0]
            for whole, within in (actual, expected)
        )
        scale = max(scale, float(theirs.abs().max()))
        assert float((ours - theirs).abs().max()) <= EXACT * scale


@pytest.mark.parametrize("name", SHAPES)
def test_memberships_with_every_gradient(name, draw):
    z, _, C = problem(name, draw)
    pi = memberships(len(z), C, draw)
    pi[1::3, 0] = 0
    z.requires_grad_()
    pi.requires_grad_()
    actual, expected = coding_rates(z, pi, eps=0.3, gamma1=1.7), oracle(z, pi, 0.3, 1.7)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, EXACT)
    pairs = zip(
        *(torch.autograd.grad(2.5 * whole - 0.7 * within, (z, pi)) for whole, within in (actual, expected)), strict=True
    )
    for ours, theirs in pairs:
        assert float((ours - theirs).abs().max()) <= EXACT * float(theirs.abs().max())


@pytest.mark.parametrize("name", SHAPES)
def test_classes_are_memberships_of_one(name, draw):
    z, y, C = problem(name, draw)
    for ours, theirs in zip(coding_rates(z, y, C, eps=0.1), coding_rates(z, one_hot(y, C), eps=0.1), strict=True):
        assert_close(ours, theirs, EXACT)


@pytest.mark.parametrize(("n", "d", "sizes"), [(14, 4, [8, 2, 1]), (5, 7, [3, 2])])
def test_gradients_by_finite_differences(n, d, sizes, draw):
    C = len(sizes)
    z = torch.randn(n, d, generator=draw, dtype=torch.float64, requires_grad=True)
    y = torch.repeat_interleave(torch.tensor([*range(C), -1]), torch.tensor([*sizes, n - sum(sizes)]))
    pi = (memberships(len(z), 3, draw) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: coding_rate(z, 0.2), (z,))
    assert torch.autograd.gradcheck(lambda z: tuple(coding_rates(z, y, C, eps=0.2, gamma1=1.3)), (z,))
    assert torch.autograd.gradcheck(lambda z: coding_rate_reduction(z, y, C, eps=0.2, gamma1=2.0, gamma2=3.0), (z,))
    assert torch.autograd.gradcheck(lambda z, pi: tuple(coding_rates(z, pi, eps=0.2, gamma1=1.3)), (z, pi))


def test_the_gradient_has_its_closed_form(draw):
    z = torch.randn(30, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    s = 6 / (30 * 0.3)
    (grad,) = torch.autograd.grad(coding_rate(z, 0.3), z)
    expected = s * z @ torch.linalg.inv(torch.eye(6).double() + s * z.t() @ z)
    assert_close(grad, expected.detach(), EXACT)


def test_a_width_whose_gram_matrices_are_padded(draw):
    """Memberships, whose matrices are not padded, give the same; one class is wide, one narrow."""
    z = torch.randn(600, 256, generator=draw, dtype=torch.float64).requires_grad_()
    classes = torch.arange(600) % 6 // 5
    total, within = coding_rates(z, classes, eps=0.5)
    expected = coding_rates(z, one_hot(classes, 2).double(), eps=0.5)
    assert_close(torch.stack([total, within]), torch.stack([*expected]), 1e-12)
    gradient, same = (torch.autograd.grad(2 * a - b, z)[0] for a, b in ((total, within), expected))
    assert_close(gradient, same, 1e-12)


def test_weights_are_where_the_formula_has_them(draw):
    z, y, C = problem("wide and narrow", draw)
    whole, within = oracle(z, one_hot(y, C), 0.4, gamma1=1.5)
    actual = coding_rate_reduction(z, y, C, eps=0.4, gamma1=1.5, gamma2=2.5)
    assert float(actual) == pytest.approx(float(2.5 * whole - 1.5 * within), abs=EXACT)
    assert float(CodingRateReduction(C, 0.4, 1.5, 2.5)(z, y)) == pytest.approx(-float(actual), abs=EXACT)


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_it_does_not_matter_how_space_rows_and_classes_are_named(shape):
    n, d, C, seed, eps = shape
    z, y, draw = random_problem(n, d, C, seed)
    expected = coding_rates(z, y, C, eps=eps)
    order, names = torch.randperm(n, generator=draw), torch.randperm(C, generator=draw)
    for other in (
        coding_rates(z @ orthogonal(d, draw), y, C, eps=eps),
        coding_rates(z[order], y[order], C, eps=eps),
        coding_rates(z, names[y], C, eps=eps),
        coding_rates(z, names[y] * 3, 3 * C, eps=eps),
        coding_rates(z, y.to(torch.uint8), eps=eps),
        coding_rates(z.numpy(), y.numpy().astype(np.int32), eps=eps),
    ):
        assert float(other.total) == pytest.approx(float(expected.total), rel=EXACT, abs=EXACT)
        assert float(other.within) == pytest.approx(float(expected.within), rel=EXACT, abs=EXACT)


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_the_reduction_is_never_negative(shape):
    n, d, C, seed, eps = shape
    z, y, draw = random_problem(n, d, C, seed)
    assert float(coding_rate_reduction(z, y, eps=eps)) >= -EXACT
    assert float(coding_rate_reduction(z, memberships(n, C, draw), eps=eps)) >= -EXACT


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_both_sides_of_a_matrix_and_the_bounds(shape):
    n, d, _, seed, eps = shape
    z, _, _ = random_problem(n, d, 1, seed)
    rate = float(coding_rate(z, eps))
    rows = torch.eye(n).double() + d / (n * eps) * z @ z.t()
    assert rate == pytest.approx(float(torch.logdet(rows)) / 2, rel=EXACT, abs=EXACT)
    assert rate == pytest.approx(float(coding_rate(z.t(), eps * (n / d) ** 2)), rel=EXACT, abs=EXACT)
    assert 0 <= rate <= d / 2 * math.log1p(float(z.square().sum()) / (n * eps)) + EXACT
    unit = torch.nn.functional.normalize(z + 1e-9, dim=1)
    assert float(coding_rate(unit, eps)) <= d / 2 * math.log1p(1 / eps) + EXACT


def test_no_reduction_for_one_class_or_equal_covariances(draw):
    z = torch.randn(50, 6, generator=draw, dtype=torch.float64)
    assert float(coding_rate_reduction(z, torch.zeros(50).long())) == pytest.approx(0, abs=EXACT)
    turned = torch.cat([z, orthogonal(50, draw) @ z, torch.cat([z, -z]) * 1.0])
    y = torch.repeat_interleave(torch.arange(3), torch.tensor([50, 50, 100]))
    assert float(coding_rate_reduction(turned, y)) == pytest.approx(0, abs=EXACT)
    turned[60] += 3
    assert float(coding_rate_reduction(turned, y)) > 0.01


def test_zeros_take_nothing_and_have_no_gradient():
    for n in (4, 30):
        z = torch.zeros(n, 8, requires_grad=True)
        actual = coding_rates(z, torch.arange(n) % 3, eps=0.05)
        assert actual == (0, 0)
        assert not torch.autograd.grad(actual.total - actual.within, z)[0].any()


@pytest.mark.parametrize("name", SHAPES)
def test_an_empty_class_adds_nothing(name, draw):
    z, y, C = problem(name, draw)
    soft, empty = memberships(len(z), C, draw), torch.zeros(len(z), 1).double()
    assert coding_rates(z, y, C, eps=0.1) == coding_rates(z, y, C + 4, eps=0.1)
    assert_close(coding_rates(z, torch.cat([empty, soft], 1), eps=0.1)[1], coding_rates(z, soft, eps=0.1)[1], EXACT)
    more = torch.cat([empty, soft], 1).requires_grad_()
    (grad,) = torch.autograd.grad(coding_rates(z, more, eps=0.1).within, more)
    assert not grad[:, 0].any()
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("largest", [4, 5, 10**6])
def test_names_of_classes_may_exceed_the_rows_beside_rows_of_no_class(largest, draw):
    z = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    actual = coding_rates(z, torch.tensor([-1, largest, largest, 2, -1]), eps=0.3)
    expected = oracle(z, one_hot(torch.tensor([-1, 1, 1, 0, -1]), 2), 0.3)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, EXACT)


def test_rows_of_no_class_count_in_the_whole_only(draw):
    z, y, C = problem("wide and narrow", draw)
    actual, known = coding_rates(z, y, C, eps=0.1), coding_rates(z[y >= 0], y[y >= 0], C, eps=0.1)
    share = float((y >= 0).double().mean())
    assert_close(actual.within, known.within * share, EXACT)
    assert_close(actual.total, coding_rate(z, 0.1), EXACT)
