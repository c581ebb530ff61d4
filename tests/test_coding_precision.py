"""Types of numbers, sizes, threads and autograd: what a computer adds to the formulas."""

import pytest
import torch
from coding_problems import EXACT, SHAPES, memberships, one_hot, oracle, problem
from oracles import assert_close

from graphnoise import InputError
from graphnoise.coding_rates import coding_rate, coding_rate_reduction, coding_rates


@pytest.mark.parametrize("name", SHAPES)
def test_float32_is_close_to_float64(name, draw):
    z, y, C = problem(name, draw, torch.float32)
    results = {}
    for dtype in (torch.float32, torch.float64):
        x = z.clone().requires_grad_()
        whole, within = coding_rates(x, y, C, eps=0.2, dtype=dtype)
        assert whole.dtype == within.dtype == dtype
        (whole - within).backward()
        assert x.grad.dtype == torch.float32
        results[dtype] = (whole.detach(), within.detach(), x.grad)
    assert_close(results[torch.float64][0], oracle(z.double(), one_hot(y, C), 0.2)[0], EXACT)
    for rough, fine in zip(*results.values(), strict=True):
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
    # The root of the trace.
    length = float((z.shape[1] / 0.05 * z.square().sum(1).mean()).sqrt())
    for trace, same in ((1e3, False), (1e7, True), (1e11, True)):
        grads = []
        for dtype in (None, torch.float64):
            x = (z / length * trace**0.5).requires_grad_()
            value = coding_rates(x, classes, None if soft else C, eps=0.05, dtype=dtype)
            assert value.total.dtype == (dtype or torch.float32)
            grads.append(torch.autograd.grad(value.total - value.within, x)[0])
            expected = oracle(x.detach().double(), classes.double() if soft else one_hot(y, C), 0.05)
            assert_close(value.within, expected[1].to(value.within.dtype), 1e-6)
        assert torch.equal(*grads) == same


def test_one_class_that_is_too_large_suffices(draw):
    z = torch.randn(2000, 4, generator=draw)
    y = torch.zeros(2000).long()
    z[:3] *= 100
    # Its own trace exceeds the limit, that of all rows does not.
    y[:3] = 1
    values = [coding_rates(z, y, eps=1.0, dtype=dtype) for dtype in (None, torch.float64)]
    assert values[0].within == values[1].within.float()
    assert values[0].total == values[1].total.float()


def test_what_float64_cannot_resolve_is_refused(draw):
    z, y, C = problem("wide and narrow", draw)
    assert torch.isfinite(coding_rate_reduction(z * 1e4, y, C))
    for huge in (z * 1e7, z * 1e200, (z * 1e30).float()):
        for labels in (y, memberships(len(z), C, draw)):
            with pytest.raises(
                InputError, match=r"z: expected d / eps · mean \|z_i\|² of at most 4.5e\+13 in all rows"
            ):
                coding_rate_reduction(huge, labels)
    # Beyond float32's range once squared.
    large = (z * 1e15).float().requires_grad_()
    with pytest.raises(InputError, match="z: expected d / eps"):
        coding_rate(large * 1e10, 0.1)


def test_no_matrix_of_rows_by_rows(draw):
    # A list of this length would take 640 GB.
    n = 400_000
    z = torch.randn(n, 3, generator=draw, requires_grad=True)
    for labels in (torch.arange(n) % 2, torch.full((n, 2), 0.5)):
        (grad,) = torch.autograd.grad(coding_rate_reduction(z, labels), z)
        assert torch.isfinite(grad).all()


def test_threads_change_no_more_than_roundings(draw):
    z, y, C = problem("Grams in blocks, rows in pieces", draw, torch.float32)
    results = []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            x = z.clone().requires_grad_()
            value = coding_rate_reduction(x, y, C)
            results.append((value.detach(), torch.autograd.grad(value, x)[0]))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert_close(results[2][0], results[0][0], 1e-6)
    assert float((results[2][1] - results[0][1]).abs().max()) <= 2e-5 * float(results[0][1].abs().max())


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
