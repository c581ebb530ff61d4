"""The Triton tier on a real GPU: the contract, and the reference tier's own answers."""

import oracles
import propagation_contract as contract
import pytest
import torch

from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.propagate import reference as propagate_reference
from graphnoise.kernels.propagate import triton as propagate_triton

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def moved(case):
    arcs = Arcs(*(None if t is None else t.cuda() for t in case.arcs))
    return contract.Case(arcs, *(t.cuda() if isinstance(t, torch.Tensor) else t for t in case[1:]))


@pytest.mark.parametrize("name", contract.all_cases())
def test_the_contract_on_a_gpu(name):
    contract.check(contract.all_cases()[name], lambda *case: propagate_triton.run(*moved(contract.Case(*case))))


@pytest.mark.parametrize("tol", [None, 1e-3])
def test_a_larger_graph_agrees_with_the_reference(tol):
    g = torch.Generator().manual_seed(0)
    j, i = torch.randint(0, 20_000, (2, 300_000), generator=g)
    i[:5000] = 0
    arcs = contract.arcs_of(torch.stack([torch.cat([j, i]), torch.cat([i, j])]), 20_000, "sym")
    y = torch.rand(20_000, 40, generator=g)
    case = moved(contract.Case(arcs, None, y, None, 0.9, 0.1, 20, (0.0, 1.0), tol))
    assert propagate_triton.unsupported_reason(case.source) is None
    actual, expected = propagate_triton.run(*case), propagate_reference.run(*case)
    oracles.assert_close(actual[0], expected[0])
    assert actual[1] == expected[1]
    assert actual[2] == pytest.approx(expected[2], rel=1e-3)
