"""The Triton tier without a GPU: its refusals, what needs no launch, and the contract under Triton's interpreter."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import propagation_contract as contract
import pytest
import torch

import graphnoise.kernels.propagate.triton_kernels  # noqa: F401  (compiled, in this process)
from graphnoise.kernels.propagate import triton as tier

TESTS = Path(__file__).parents[1]
CHECK = """
import json, sys, traceback
import numpy as np
import torch
import propagation_contract as contract
from graphnoise.kernels.propagate import triton as tier
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
np.seterr(all="ignore")
assert tier.unsupported_reason(torch.zeros(1)) is None
for name, case in contract.all_cases().items():
    try:
        contract.check(case, tier.run, repeat=False)
        error = None
    except Exception:
        error = traceback.format_exc()
    print(json.dumps([name, error]))
"""


@pytest.fixture(scope="module")
def interpreted():
    """What went wrong with each case, in a process in which Triton interprets."""
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-W", "error", "-c", CHECK]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", contract.all_cases())
def test_the_contract_in_tritons_interpreter(interpreted, name):
    assert interpreted[name] is None, interpreted[name]


def test_the_reasons_for_which_it_refuses(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert tier.unsupported_reason(torch.zeros(2, dtype=torch.float64)) == "needs float32, float16 or bfloat16"
    assert tier.unsupported_reason(torch.zeros(2)) == "needs CUDA tensors"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert tier.unsupported_reason(torch.zeros(2)) == "needs TRITON_INTERPRET set before triton is imported"
    monkeypatch.setattr(tier, "find_spec", lambda name: None)
    assert tier.unsupported_reason(torch.zeros(2)) == "needs the triton package (pip install 'graphnoise[gpu]')"


def test_triton_is_not_imported_before_it_is_needed():
    code = "import sys, graphnoise.kernels.propagate.triton; print('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("dtype", contract.TOLERANCE)
def test_no_steps_give_a_copy_of_the_start(dtype):
    arcs = contract.arcs_of(torch.tensor([[0, 1], [1, 0]]), 3, "sym")
    y = torch.arange(6.0).view(3, 2).to(dtype)
    mask = torch.tensor([True, False, True])
    for start, source in ((y, None), (None, y), (y, -y)):
        out, steps, residual = tier.run(arcs, start, source, None, 0.5, 0.5, 0, None, None)
        assert torch.equal(out, y)
        assert out.data_ptr() != y.data_ptr()
        assert (steps, residual) == (0, math.inf)
    y[1] = math.nan
    out, _, _ = tier.run(arcs, None, y, mask, 0.5, 0.5, 0, None, None)
    assert out.tolist() == [[0, 1], [0, 0], [4, 5]]


@pytest.mark.parametrize(("tol", "steps"), [(None, 3), (0.1, 1)])
def test_no_columns(tol, steps):
    arcs = contract.arcs_of(torch.tensor([[0, 1], [1, 0]]), 3, "sym")
    out, taken, residual = tier.run(arcs, torch.zeros(3, 0), None, None, 0.5, 0.5, 3, None, tol)
    assert out.shape == (3, 0)
    assert (taken, residual) == (steps, 0.0)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("columns", [*range(1, 20), 40, 41, 64, 65, 100, 128, 130, 500])
def test_a_tile_fills_the_lanes_of_a_warp(columns, size):
    shape = tier.Shape.of(columns, size)
    wide = 16 // size
    assert columns <= shape.stride < columns + wide
    assert shape.stride % wide == 0 or shape.stride < wide
    assert shape.arcs * shape.block >= 32
    assert shape.copies * shape.block == 32 * min(wide, shape.block)
    assert shape.arcs >= shape.copies or shape.block == 1


def test_long_rows_are_cut_once_into_pieces_that_cover_them():
    edge_index, n = contract.graphs()["long rows"]
    arcs = contract.arcs_of(edge_index, n, "none", torch.int64)
    rows = tier._rows(arcs)
    assert rows.rowptr.dtype == torch.int32
    assert rows.hub.tolist() == [0, 2]
    assert rows.first_piece.tolist() == [0, 3, 5]
    assert rows.piece.tolist() == [[0, 256], [256, 512], [512, 650], [906, 1162], [1162, 1163]]
