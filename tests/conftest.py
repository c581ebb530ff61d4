"""Set-up for all tests."""

import pytest
import torch

torch.set_num_threads(1)  # the problems here are tiny, and spinning threads starve their neighbours


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
