"""What is measured here is small, and its times are of no interest."""

import pytest
from speeds import PEAK

from graphnoise.bench.speed import erase_gate, erase_memory, erase_run, measure


@pytest.fixture
def _brief(monkeypatch):
    """Samples of no length over a small copy: what is tested here is everything but the times."""
    monkeypatch.setattr(measure, "FLOOR", 1e-6)
    monkeypatch.setattr(measure, "COPY_BYTES", {"cpu": 1 << 12, "cuda": 1 << 12})


@pytest.fixture
def _brief_erase(monkeypatch):
    """Rounds of no length, and no processes: what is tested here is everything but the numbers."""
    monkeypatch.setattr(erase_run, "ROUND", 1e-6)
    monkeypatch.setattr(erase_memory, "peak", lambda case, dense, root: dict(PEAK))


@pytest.fixture
def _checked(monkeypatch):
    """The gate has a test of its own."""
    monkeypatch.setattr(erase_gate, "check", lambda s: ({"float64": 1e-9}, None))
