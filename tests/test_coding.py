import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close

from graphnoise import InputError
from graphnoise.coding import (
    CodingRateReduction,
    coding_rate,
    coding_rate_reduction,
    coding_rates,
    effective_rank,
)

EXACT = 1e-10

# n, d, sizes of the classes, rows of no class
SHAPES = {
    "wide and narrow": (61, 12, [30, 9, 8, 1], 13),
    "all labelled": (40, 6, [20, 5, 15], 0),
    "more columns than rows": (9, 17, [4, 3], 2),
    "as many rows as columns": (10, 10, [7, 3], 0),
    "empty classes": (25, 7, [0, 12, 0, 13, 0], 0),
    "one row": (1, 5, [1], 0),
    "one column": (30, 1, [10, 20], 0),
    "no class at all": (20, 8, [0, 0], 20),
    "Grams in blocks, rows in pieces": (1400, 131, [1050, 90, 60, 110], 90),
}


def problem(name, draw, dtype=torch.float64):
    n, d, sizes, none = SHAPES[name]
    z = torch.randn(n, d, generator=draw, dtype=torch.float64).to(dtype)
    y = torch.repeat_interleave(torch.tensor([*range(len(sizes)), -1]), torch.tensor([*sizes, none]))
    return z, y[torch.randperm(n, generator=draw)], len(sizes)


def memberships(n, classes, draw):
    pi = torch.rand(n, classes, generator=draw, dtype=torch.float64)
    return pi / pi.sum(1, keepdim=True)


def one_hot(y, classes):
    return (y[:, None] == torch.arange(classes)).double()


def oracle(z, pi, eps, gamma1=1.0):
    """R and Rc by n x n membership matrices, as the papers write them."""
    n, d = z.shape
    whole = torch.logdet(torch.eye(d).double() + gamma1 * d / (n * eps) * z.t() @ z) / 2
    within = torch.zeros(()).double()
    for c in range(pi.shape[1]):
        Pi = torch.diag(pi[:, c])
        trace = torch.trace(Pi)
        if trace > 0:
            within = within + trace / n * torch.logdet(torch.eye(d).double() + d / (trace * eps) * z.t() @ Pi @ z) / 2
    return whole, within


def orthonormal_classes(n, p, C, draw):
    rows = torch.linalg.qr(torch.randn(p, p, generator=draw, dtype=torch.float64))[0][:C]
    y = torch.arange(n) % C
    return rows[y], y


def orthogonal(d, draw):
    return torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))[0]


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
    found = coding_rates(z, y, C, eps=eps)
    assert float(found.whole) == pytest.approx(C / 2 * math.log1p(p / (C * eps)), abs=EXACT)
    assert float(found.within) == pytest.approx(0.5 * math.log1p(p / eps), abs=EXACT)
    assert float(found.whole) == pytest.approx(whole, abs=1e-9)
    assert float(found.within) == pytest.approx(within, abs=1e-9)
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
    found = coding_rates(z, y, C, eps=0.3, gamma1=gamma1)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, EXACT)
    assert_close(coding_rate(z, 0.3), oracle(z, one_hot(y, C), 0.3)[0], EXACT)
    scale = 0.0  # that of R's gradient: where Rc's is equal, their difference is rounding
    for upstream in ((1.0, 0.0), (1.0, -1.0), (0.0, 1.0), (2.5, 0.7)):
        ours, theirs = (
            torch.autograd.grad(upstream[0] * whole + upstream[1] * within, z, retain_graph=True)[0]
            for whole, within in (found, expected)
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
    found, expected = coding_rates(z, pi, eps=0.3, gamma1=1.7), oracle(z, pi, 0.3, 1.7)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, EXACT)
    pairs = zip(
        *(torch.autograd.grad(2.5 * whole - 0.7 * within, (z, pi)) for whole, within in (found, expected)), strict=True
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


def test_weights_are_where_the_formula_has_them(draw):
    z, y, C = problem("wide and narrow", draw)
    whole, within = oracle(z, one_hot(y, C), 0.4, gamma1=1.5)
    found = coding_rate_reduction(z, y, C, eps=0.4, gamma1=1.5, gamma2=2.5)
    assert float(found) == pytest.approx(float(2.5 * whole - 1.5 * within), abs=EXACT)
    assert float(CodingRateReduction(C, 0.4, 1.5, 2.5)(z, y)) == pytest.approx(-float(found), abs=EXACT)


shapes = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**31), st.floats(0.01, 5))


def random_problem(n, d, C, seed):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.rand(d, generator=draw, dtype=torch.float64) ** 3
    z = torch.randn(n, d, generator=draw, dtype=torch.float64) * scale
    return z, torch.randint(0, C, (n,), generator=draw), draw


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
        assert float(other.whole) == pytest.approx(float(expected.whole), rel=EXACT, abs=EXACT)
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
        found = coding_rates(z, torch.arange(n) % 3, eps=0.05)
        assert found == (0, 0)
        assert not torch.autograd.grad(found.whole - found.within, z)[0].any()


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


def test_rows_of_no_class_count_in_the_whole_only(draw):
    z, y, C = problem("wide and narrow", draw)
    found, known = coding_rates(z, y, C, eps=0.1), coding_rates(z[y >= 0], y[y >= 0], C, eps=0.1)
    share = float((y >= 0).double().mean())
    assert_close(found.within, known.within * share, EXACT)
    assert_close(found.whole, coding_rate(z, 0.1), EXACT)


@pytest.mark.parametrize("name", SHAPES)
def test_float32_is_close_to_float64(name, draw):
    z, y, C = problem(name, draw, torch.float32)
    found = {}
    for dtype in (torch.float32, torch.float64):
        x = z.clone().requires_grad_()
        whole, within = coding_rates(x, y, C, eps=0.2, dtype=dtype)
        assert whole.dtype == within.dtype == dtype
        (whole - within).backward()
        assert x.grad.dtype == torch.float32
        found[dtype] = (whole.detach(), within.detach(), x.grad)
    assert_close(found[torch.float64][0], oracle(z.double(), one_hot(y, C), 0.2)[0], EXACT)
    for rough, fine in zip(*found.values(), strict=True):
        assert float((rough - fine).abs().max()) <= 2e-5 * float(fine.abs().max().clamp(min=1e-2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_are_computed_in_float32(dtype, draw):
    z, y, C = problem("wide and narrow", draw, dtype)
    a, b = z.clone().requires_grad_(), z.float().requires_grad_()
    ours, theirs = (coding_rate_reduction(x, y, C) for x in (a, b))
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)
    grads = torch.autograd.grad(ours, a)[0], torch.autograd.grad(theirs, b)[0].to(dtype)
    assert torch.equal(*grads)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", ["wide and narrow", "more columns than rows"])
def test_float64_takes_over_where_float32_would_lose_the_identity(name, soft, draw):
    z, y, C = problem(name, draw, torch.float32)
    classes = memberships(len(z), C, draw).float() if soft else y
    length = float((z.shape[1] / 0.05 * z.square().sum(1).mean()).sqrt())  # the root of the trace
    for trace, same in ((1e3, False), (1e7, True), (1e11, True)):
        grads = []
        for dtype in (None, torch.float64):
            x = (z / length * trace**0.5).requires_grad_()
            value = coding_rates(x, classes, None if soft else C, eps=0.05, dtype=dtype)
            assert value.whole.dtype == (dtype or torch.float32)
            grads.append(torch.autograd.grad(value.whole - value.within, x)[0])
            expected = oracle(x.detach().double(), classes.double() if soft else one_hot(y, C), 0.05)
            assert_close(value.within, expected[1].to(value.within.dtype), 1e-6)
        assert torch.equal(*grads) == same


def test_one_class_that_is_too_large_suffices(draw):
    z = torch.randn(2000, 4, generator=draw)
    y = torch.zeros(2000).long()
    z[:3] *= 100
    y[:3] = 1  # whose own trace exceeds the limit, that of all rows does not
    values = [coding_rates(z, y, eps=1.0, dtype=dtype) for dtype in (None, torch.float64)]
    assert values[0].within == values[1].within.float()
    assert values[0].whole == values[1].whole.float()


def test_what_float64_cannot_resolve_is_refused(draw):
    z, y, C = problem("wide and narrow", draw)
    assert torch.isfinite(coding_rate_reduction(z * 1e4, y, C))
    for huge in (z * 1e7, z * 1e200, (z * 1e30).float()):
        for labels in (y, memberships(len(z), C, draw)):
            with pytest.raises(
                InputError, match=r"z: expected d / eps · mean \|z_i\|² of at most 4.5e\+13 in all rows"
            ):
                coding_rate_reduction(huge, labels)
    large = (z * 1e15).float().requires_grad_()  # beyond float32's range once squared
    with pytest.raises(InputError, match="z: expected d / eps"):
        coding_rate(large * 1e10, 0.1)


def test_no_matrix_of_rows_by_rows(draw):
    n = 400_000  # of which it would take 640 GB
    z = torch.randn(n, 3, generator=draw, requires_grad=True)
    for labels in (torch.arange(n) % 2, torch.full((n, 2), 0.5)):
        (grad,) = torch.autograd.grad(coding_rate_reduction(z, labels), z)
        assert torch.isfinite(grad).all()


def test_threads_change_no_more_than_roundings(draw):
    z, y, C = problem("Grams in blocks, rows in pieces", draw, torch.float32)
    found = []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            x = z.clone().requires_grad_()
            value = coding_rate_reduction(x, y, C)
            found.append((value.detach(), torch.autograd.grad(value, x)[0]))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert_close(found[2][0], found[0][0], 1e-6)
    assert float((found[2][1] - found[0][1]).abs().max()) <= 2e-5 * float(found[0][1].abs().max())


def test_autocast_and_strides_change_nothing(draw):
    z, y, C = problem("wide and narrow", draw, torch.float32)
    expected = z.clone().requires_grad_()
    coding_rate_reduction(expected, y, C).backward()
    spread = torch.stack([z, z], dim=-1)[..., 0].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coding_rate_reduction(spread, y, C).backward()
    assert not spread.is_contiguous()
    assert torch.equal(spread.grad, expected.grad)


def test_one_derivative_and_no_more(draw):
    z, y, C = problem("wide and narrow", draw)
    z.requires_grad_()
    value = coding_rate_reduction(z, y, C)
    once, again = (torch.autograd.grad(value, z, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)
    (grad,) = torch.autograd.grad(value, z, create_graph=True)
    assert torch.equal(grad, once)
    with pytest.raises(RuntimeError, match="differentiated once, not twice"):
        (grad.sum() + z.sum()).backward()
    with torch.no_grad():
        assert coding_rate_reduction(z, y, C) == value


def test_no_gradient_is_asked_for_where_none_is_needed(draw):
    z, _, C = problem("wide and narrow", draw)
    pi = memberships(len(z), C, draw).requires_grad_()
    assert not coding_rate(z, 0.1).requires_grad
    (grad,) = torch.autograd.grad(coding_rate_reduction(z, pi), pi)
    assert grad.abs().max() > 0


@pytest.mark.parametrize("soft", [False, True])
def test_memory_of_all_batches_is_the_whole_set(soft, draw):
    z, y, C = problem("Grams in blocks, rows in pieces", draw)
    labels = memberships(len(z), C, draw) if soft else y
    x = z.clone().requires_grad_()
    whole = -coding_rate_reduction(x, labels, C, gamma1=1.2, gamma2=1.5)
    (expected,) = torch.autograd.grad(whole, x)
    loss = CodingRateReduction(C, gamma1=1.2, gamma2=1.5, memory=1 - 1e-14)
    for a, b in zip(z.split(500), labels.split(500), strict=True):
        batch = a.clone().requires_grad_()
        value = loss(batch, b)
        (grad,) = torch.autograd.grad(value, batch)
    assert_close(value, whole, EXACT)
    assert_close(grad, expected[-len(batch) :], EXACT)  # to the batch alone
    assert bool((-coding_rate_reduction(batch, b, C) - whole).abs() > 0.1)  # the batch by itself would say otherwise
    assert loss.grams.shape == (C + 1, z.shape[1], z.shape[1])
    assert not loss.grams.requires_grad


def test_memory_fades_and_rests_in_evaluation(draw):
    z, y, C = problem("wide and narrow", draw)
    first, second, plain = (z[:30], y[:30]), (z[30:], y[30:]), CodingRateReduction(C)
    loss = CodingRateReduction(C, memory=0.25)
    assert_close(loss(*first), plain(*first), EXACT)
    faded = torch.cat([first[0] / 2, second[0]])  # Grams count a quarter, and so must rows
    n, pi = 0.25 * 30 + 31, one_hot(y, C) * torch.where(torch.arange(len(z)) < 30, 0.25, 1.0)[:, None].double()
    shares = oracle(z, pi, 0.05)[1] * len(z) / n
    whole = torch.logdet(torch.eye(12).double() + 12 / (n * 0.05) * faded.t() @ faded) / 2
    assert_close(loss(*second), shares - whole, EXACT)
    kept = loss.grams.clone()
    loss.eval()
    assert_close(loss(*first), plain(*first), EXACT)
    assert torch.equal(loss.grams, kept)
    loss.train()
    loss.reset()
    assert loss.grams is None
    assert_close(loss(*second), plain(*second), EXACT)
    assert loss.state_dict() == {}
    assert loss.double().grams.dtype == torch.float64
    assert "memory=0.25" in repr(loss)


def test_memory_names_what_does_not_fit_and_stays_as_it_was(draw):
    z, y, C = problem("wide and narrow", draw, torch.float32)
    loss = CodingRateReduction(C, memory=0.9)
    loss(z, y)
    kept = loss.grams.clone()
    bad = z.clone()
    bad[3, 4] = torch.nan
    for wrong, message in (
        (z[:, :5], r"z: expected 12 columns for torch.float32 on cpu, as before \(reset\(\) forgets\), got 5 for"),
        (z.double(), "z: expected 12 columns for torch.float32 on cpu"),
        (bad, "z: expected finite numbers, got 1 NaN"),
        (z * 1e5, r"z: expected d / eps · mean \|z_i\|² of at most 8.4e\+04"),
    ):
        with pytest.raises(InputError, match=message):
            loss(wrong, y)
        assert torch.equal(loss.grams, kept)
    with pytest.raises(InputError, match="num_classes: expected the number of classes, which memory needs, got None"):
        CodingRateReduction(memory=0.5)


def test_effective_rank_of_known_matrices(draw):
    assert effective_rank(torch.zeros(4, 3)) == 0
    for n in (6, 200):
        z, _ = orthonormal_classes(n - n % 3, 7, 3, draw)
        assert effective_rank(z) == pytest.approx(3, rel=1e-9)
    line = torch.randn(90, 1, generator=draw) @ torch.randn(1, 40, generator=draw)
    assert effective_rank(line) == pytest.approx(1, abs=1e-9)
    assert effective_rank(line + 5, centre=True) == pytest.approx(1, abs=1e-4)  # line + 5 is rounded to float32
    assert effective_rank(torch.full((50, 4), 0.1), centre=True) == 0
    assert effective_rank(torch.full((3, 4), 0.1), centre=True) == 0
    two = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert effective_rank(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-9)


@given(shapes)
@settings(max_examples=40, deadline=None)
def test_effective_rank_is_that_of_the_singular_values(shape):
    n, d, _, seed, scale = shape
    z, _, draw = random_problem(n, d, 1, seed)
    p = torch.linalg.svdvals(z)
    p = p[p > 1e-6 * p[0]] / p[p > 1e-6 * p[0]].sum()
    expected = math.exp(-float((p * p.log()).sum()))
    for other in (z, z.t(), z * scale * 1e200, z * 1e-200, z @ orthogonal(d, draw), orthogonal(n, draw) @ z):
        assert effective_rank(other) == pytest.approx(expected, rel=1e-4)
    assert 1 - EXACT <= effective_rank(z) <= min(n, d) + EXACT
    if n > 2:
        shifted = effective_rank(z + 3, centre=True)
        assert shifted == pytest.approx(effective_rank(z - z.mean(0)), rel=1e-4)


Z, Y = torch.eye(6, 3), torch.tensor([0, 1, 2, 0, 1, -1])
SPOILT = torch.tensor([[0.0, 1.0, torch.nan], [1.0, torch.inf, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": torch.ones(6)}, r"z: expected shape \[n, d\], n and d at least 1, got shape \(6,\)"),
        ({"z": torch.ones(0, 3)}, r"z: expected shape \[n, d\]"),
        ({"z": torch.ones(6, 0)}, r"z: expected shape \[n, d\]"),
        ({"z": torch.ones(6, 3).long()}, "z: expected floating-point values, got values of type torch.int64"),
        ({"z": torch.ones(6, 3, dtype=torch.complex64)}, "z: expected floating-point values"),
        ({"z": "rows"}, "z: expected"),
        ({"z": SPOILT.repeat(3, 1)}, "z: expected finite numbers, got 6 NaN or infinite entries"),
        ({"z": SPOILT.repeat(3, 7)}, "z: expected finite numbers, got 42 NaN or infinite entries"),
        ({"eps": 0}, "eps: expected a finite number above 0, got 0"),
        ({"eps": -0.1}, "eps: expected a finite number above 0, got -0.1"),
        ({"eps": math.nan}, "eps: expected a finite number above 0, got nan"),
        ({"eps": math.inf}, "eps: expected a finite number above 0, got inf"),
        ({"eps": 1e-320}, "z: expected d / eps"),
        ({"gamma1": -1}, "gamma1: expected a number of at least 0"),
        ({"gamma2": math.nan}, "gamma2: expected a number of at least 0"),
        ({"dtype": torch.bfloat16}, "dtype: expected torch.float32, torch.float64 or None, got torch.bfloat16"),
        ({"num_classes": 0}, "num_classes: expected an integer of at least 1, got 0"),
        ({"num_classes": 2.0}, "num_classes: expected an integer of at least 1, got 2.0"),
        ({"num_classes": 2}, "labels: expected classes from 0 to 1, or -1 for none, got values from -1 to 2"),
        ({"labels": Y[:5]}, "labels: expected 6 labels, one a row of z, got 5"),
        ({"labels": Y - 1}, "labels: expected classes from 0 to 1, or -1 for none, got values from -2 to 1"),
        ({"labels": Y.double()}, r"labels: expected integer classes of shape \[6\] or floating memberships"),
        ({"labels": Y > 0}, "labels: expected integer classes"),
        ({"labels": torch.ones(6, 2).long()}, "labels: expected integer classes"),
        ({"labels": None}, "labels: expected"),
        ({"labels": torch.ones(5, 2)}, r"labels: expected shape \[6, num_classes\], got shape \(5, 2\)"),
        ({"labels": torch.ones(6, 2), "num_classes": 3}, r"labels: expected shape \[6, 3\], got shape \(6, 2\)"),
        ({"labels": torch.ones(6, 0)}, r"labels: expected shape \[6, num_classes\], got shape \(6, 0\)"),
        ({"labels": SPOILT.repeat(3, 1)}, "labels: expected finite numbers"),
        ({"labels": torch.eye(6, 2) - 0.25}, "labels: expected memberships of at least 0, got -0.25"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"z": Z, "labels": Y, "num_classes": None, "eps": 0.05, "gamma1": 1.0, "gamma2": 1.0, "dtype": None}
    assert torch.isfinite(coding_rate_reduction(**arguments))
    with pytest.raises(InputError, match=message):
        coding_rate_reduction(**arguments | change)
    module = {key: value for key, value in (arguments | change).items() if key not in ("z", "labels")}
    with pytest.raises(InputError, match=message):
        CodingRateReduction(**module)((arguments | change)["z"], (arguments | change)["labels"])


def test_bad_input_of_the_others_is_named():
    with pytest.raises(InputError, match="eps: expected a finite number above 0"):
        coding_rate(Z, 0.0)
    with pytest.raises(InputError, match="z: expected finite numbers, got 2 NaN"):
        coding_rate(SPOILT, 0.1)
    with pytest.raises(InputError, match="z: expected finite numbers, got 2 NaN"):
        effective_rank(SPOILT)
    with pytest.raises(InputError, match=r"z: expected shape \[n, d\]"):
        effective_rank(torch.ones(3))
    for memory in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="memory: expected a number of at least 0 and below 1"):
            CodingRateReduction(3, memory=memory)
