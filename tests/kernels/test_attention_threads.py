"""Graph attention on several threads, with rows cut into pieces: equal to the reference, and the same to the bit."""

import threading

import pytest
import torch
from oracles import assert_close

from graphnoise.kernels.attention import attend

N = 2000


def hubs():
    """Fresh arcs: targets with 20,000, 9,000 and 5,000 arcs, one source with 12,000, among 30,000 others."""
    g = torch.Generator().manual_seed(4)
    ends = torch.cat([torch.full((k,), i) for i, k in ((0, 20_000), (900, 9_000), (N - 1, 5_000))])
    ends = torch.cat([ends, torch.randint(0, N - 10, (30_000,), generator=g)])
    source = torch.randint(0, N, ends.shape, generator=g)
    source[-12_000:] = 7
    order = torch.argsort(ends, stable=True)
    return torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(ends, minlength=N).cumsum(0)]), source[order]


def inputs(heads, width, draw, dropped):
    rowptr, col = hubs()
    shapes = ((N, heads, width), (N, heads), (N, heads), (heads, width))
    h, source, target, bias = (torch.randn(shape, generator=draw) for shape in shapes)
    factor = torch.rand(col.numel(), heads, generator=draw) if dropped else None
    return rowptr, col, [h, source, target, bias], factor, torch.randn(N, heads, width, generator=draw)


def work(rowptr, col, values, factor, upstream, **options):
    leaves = [v.clone().requires_grad_() for v in values]
    out = attend(rowptr, col, *leaves[:3], bias=leaves[3], factor=factor, **options)
    return out.detach(), *torch.autograd.grad(out, leaves, upstream)


@pytest.mark.parametrize(("heads", "width"), [(8, 8), (8, 32), (1, 160), (3, 21)])
@pytest.mark.parametrize("dropped", [False, True])
def test_the_number_of_threads_changes_no_bit(heads, width, dropped, draw):
    given = inputs(heads, width, draw, dropped)
    results = []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        try:
            results.append(work(*given))
        finally:
            torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    rowptr, col, values, factor, upstream = given
    exact = work(
        rowptr, col, [v.double() for v in values], None if factor is None else factor.double(), upstream.double()
    )
    for a, b in zip(results[0], exact, strict=True):
        assert_close(a.double(), b, 1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_callers_at_the_same_time_get_the_same(count, draw):
    """The first use of the arcs: cached arrays are made by several threads at once."""
    _, _, *given = inputs(8, 8, draw, True)

    def call(arcs):
        torch.set_num_threads(count)
        return work(*arcs, *given)

    try:
        expected = call(hubs())
        for _ in range(2):
            arcs, start, results = hubs(), threading.Barrier(4), []

            def caller(arcs=arcs, start=start, results=results):
                start.wait()
                results.append(call(arcs))

            team = [threading.Thread(target=caller) for _ in range(4)]
            for member in team:
                member.start()
            for member in team:
                member.join()
            assert len(results) == 4
            assert all(torch.equal(a, b) for one in results for a, b in zip(one, expected, strict=True))
    finally:
        torch.set_num_threads(1)
