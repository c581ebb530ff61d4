import warnings

import numpy as np
import pytest
from scipy import stats

# torch_geometric calls torch.jit.script when it is imported.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch_geometric  # noqa: F401


@pytest.fixture
def plausible():
    """Refuse counts that a binomial gives less than once in a thousand million draws (seeds are fixed besides)."""

    def check(count, trials, probability):
        low, high = stats.binom.ppf([1e-9, 1 - 1e-9], trials, probability)
        assert low <= count <= high, f"{count} of {trials} at probability {probability}: not in [{low}, {high}]"

    return check


@pytest.fixture
def sbm():
    """A planted partition: labels of four classes, 2 000 nodes, and undirected arcs."""

    def make(seed, n=2000, inside=0.012, outside=0.001):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 4, n)
        edges = np.argwhere(np.triu(rng.random((n, n)) < np.where(y[:, None] == y, inside, outside), 1)).T
        return np.concatenate([edges, edges[::-1]], axis=1), y

    return make
