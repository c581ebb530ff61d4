"""What is measured here is small, and its times are of no interest."""

import pytest

from graphnoise.bench.speed import erase, harness


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Samples of no length over a small copy."""
    monkeypatch.setattr(harness, "MIN_SAMPLE", 1e-6)
    monkeypatch.setattr(harness, "COPY_BYTES", {"cpu": 1 << 12, "cuda": 1 << 12})
    monkeypatch.setattr(erase, "MIN_ROUND", 1e-6)
