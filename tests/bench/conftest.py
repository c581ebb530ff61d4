import pytest

from graphnoise import datasets
from graphnoise.bench.store import Store


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Path of a small planted graph: 90 nodes, three classes, features that tell them apart."""
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    data = datasets.planted_partition([30, 30, 30], 0.25, 0.02, num_features=12, split=(8, 20, 40), seed=1)
    datasets.save_npz(data, path)
    return str(path)


@pytest.fixture
def store(tmp_path):
    """An empty folder of cells."""
    return Store(tmp_path / "cells")
