"""What tests of data sets share: a cache for each test, Planetoid's files and a small graph."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from graphnoise.datasets.raw import RawGraph


@pytest.fixture(autouse=True)
def cache(cache):
    """Keep every test out of the user's own cache."""
    return cache


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def planetoid_cora():
    """The folder with Planetoid's own Cora files, which the package index does not carry."""
    root = os.environ.get("GRAPHNOISE_DATA")
    folder = Path(root) / "cora" if root else None
    if folder is None or not (folder / "ind.cora.graph").is_file():
        pytest.skip("Planetoid's Cora files are in no package: GRAPHNOISE_DATA must name a folder that has them")
    return folder


@pytest.fixture
def small() -> RawGraph:
    """Five nodes of two classes, a self-loop, a repeated arc and an isolated node."""
    x = csr_matrix(np.array([[0, 1, 0], [2, 0, 0], [0, 0, 3], [0, 0, 0], [1, 0, 0]], dtype=np.float32))
    return RawGraph(np.array([[0, 1, 0, 2, 2], [1, 0, 1, 2, 4]]), x, np.array([0, 1, 0, 1, 1]))
