"""Every instruction set that this processor has attends the same, at every width."""

import pytest
import torch
from oracles import assert_close

from graphnoise.datasets import power_law
from graphnoise.kernels import _native
from graphnoise.kernels.attention import attend
from graphnoise.kernels.csr import compress

SHAPES = [(1, width) for width in range(1, 70)] + [(8, 8), (8, 16), (8, 32), (2, 35), (5, 16), (16, 4), (40, 3)]


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request):
    before = _native.instruction_set()
    _native.use_instruction_set(request.param)
    yield request.param
    _native.use_instruction_set(before)


@pytest.mark.parametrize("dropped", [False, True])
def test_every_shape(instruction_set, dropped, draw):
    assert _native.instruction_set() == instruction_set
    source, target = power_law(40, 300, 2.5, seed=1).edge_index
    rowptr, order = compress(target, 40)
    arcs = rowptr, source[order]
    for heads, width in SHAPES:
        shapes = ((40, heads, width), (40, heads), (40, heads), (heads, width))
        leaves = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
        factor = torch.rand(arcs[1].numel(), heads, generator=draw) if dropped else None
        upstream, results = torch.randn(40, heads, width, generator=draw), []
        for backend in ("native", "reference"):
            out = attend(*arcs, *leaves[:3], bias=leaves[3], factor=factor, backend=backend)
            results.append((out, *torch.autograd.grad(out, leaves, upstream)))
        for native, reference in zip(*results, strict=True):
            assert_close(native, reference, 5e-6)


def test_an_instruction_set_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="instruction set"):
        _native.attend("v9", 1, 0, _native.AttendArguments())
