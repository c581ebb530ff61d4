"""Every instruction set that this processor has computes the same, at every width."""

import pytest
import torch
from oracles import assert_close

from graphnoise import Graph, propagate
from graphnoise.datasets import power_law
from graphnoise.kernels import _native

TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12, torch.bfloat16: 2e-2}


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request):
    before = _native.instruction_set()
    _native.use_instruction_set(request.param)
    yield request.param
    _native.use_instruction_set(before)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_width(instruction_set, dtype, weighted, draw):
    assert _native.instruction_set() == instruction_set
    edges = power_law(40, 300, 2.5, seed=1).edge_index
    weight = torch.rand(edges.shape[1], generator=draw) + 0.1 if weighted else None
    graph = Graph.from_edge_index(edges, 40, weight)
    for width in range(1, 150):
        y = torch.rand(40, width, generator=draw).to(dtype)
        settings = {"alpha": 0.7, "num_steps": 3, "clamp": (0.01, 0.9)}
        expected = propagate(graph, y, **settings, backend="reference")
        actual = propagate(graph, y, **settings, backend="native")
        assert_close(actual.y.double(), expected.y.double(), TOLERANCE[dtype])


def test_an_instruction_set_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="instruction set"):
        _native.use_instruction_set("v9")
