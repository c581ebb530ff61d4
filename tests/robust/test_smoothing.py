"""Smoothed features against dense powers of the normalised graph."""

import numpy as np
import pytest
import torch

from graphnoise import Graph, InputError
from graphnoise.robust import smoothing
from graphnoise.robust.smoothing import SmoothedFeatures

HOPS = (0, 1, 3, 6)


@pytest.fixture
def graph(draw):
    """Thirty nodes, the last of them isolated, with weights."""
    ends = torch.randint(0, 29, (2, 70), generator=draw)
    weights = torch.rand(70, generator=draw) + 0.1
    both = Graph.from_edge_index(torch.cat([ends, ends.flip(0)], 1), 30, weights.repeat(2))
    return both.with_self_loops().normalise("sym")


@pytest.fixture(params=[0.05, 0.6])
def x(request, draw):
    """Features of which few are not zero, stored as sparse, or many; node 29 has none."""
    x = torch.rand(30, 40, generator=draw) * (torch.rand(30, 40, generator=draw) < request.param)
    return x.index_fill(0, torch.tensor([29]), 0.0)


def dense(x, graph):
    """By hop, the smoothed features with rows of length 1, float64."""
    powers = [torch.linalg.matrix_power(graph.to_dense().double(), hop) @ x.double() for hop in HOPS]
    return [torch.nn.functional.normalize(power).numpy() for power in powers]


def test_rows_are_those_of_dense_powers(x, graph):
    nodes = torch.tensor([29, 3, 11])
    rows = SmoothedFeatures(x, graph, HOPS, nodes).rows
    assert all(part.dtype == torch.float32 for part in rows)
    for actual, expected in zip(rows, dense(x, graph), strict=True):
        np.testing.assert_allclose(actual, expected[nodes], atol=1e-6)
        assert not actual[0].any()


def test_scores_are_products_with_dense_powers(x, graph):
    coefficients = np.random.default_rng(0).normal(size=(4, 40, 3))
    actual = SmoothedFeatures(x, graph, HOPS, torch.arange(2)).scores(coefficients)
    expected = sum(part @ weights for part, weights in zip(dense(x, graph), coefficients, strict=True))
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, atol=2e-5)
    assert not actual[29].any()


def test_blocks_of_columns_give_the_same(x, graph, monkeypatch):
    nodes = torch.arange(30)
    whole = SmoothedFeatures(x, graph, HOPS, nodes)
    # Sixteen columns at a time, and eight in the last block.
    monkeypatch.setattr(smoothing, "BLOCK_ENTRIES", 1)
    parts = SmoothedFeatures(x, graph, HOPS, nodes)
    for first, second in zip(whole.rows, parts.rows, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(whole.norms, parts.norms, rtol=1e-12, atol=0.0)


def test_features_beyond_the_memory_are_refused(x, graph, monkeypatch):
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 2**20)
    nodes = torch.zeros(2**16, dtype=torch.long)
    with pytest.raises(InputError, match=r"^smoothed features of the labelled nodes: expected to need at most"):
        SmoothedFeatures(x, graph, HOPS, nodes)
