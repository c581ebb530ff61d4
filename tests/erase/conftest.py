import pytest

from graphnoise import datasets
from graphnoise.noise import LabelNoise


@pytest.fixture(scope="session")
def planted():
    """A small planted graph with wrong labels: 120 nodes, three classes, features that tell them apart."""
    data = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=12, split=(8, 20, 40), seed=1)
    return LabelNoise("symmetric", 0.25, seed=3)(data)
