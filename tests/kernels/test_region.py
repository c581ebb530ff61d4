"""Messages among the nodes of a region: both tiers against loops, threads, order of rows and repeated arcs."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise.clustering import as_undirected
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.region import features_of_sums, log_odds, read_region, set_messages, update_region
from graphnoise.resources import torch_threads
from tests.local_graphs import BACKENDS, random_graph

W, MEAN = np.array([0.3, 1.2, -0.1, 0.2]), 0.15


def odds(weights, messages):
    """The formulas of the module for one node."""
    total = sum(weights)
    d = total**2 / sum(a * a for a in weights) if weights else 0.0
    share = sum(a * m for a, m in zip(weights, messages, strict=True)) / total if weights else 0.0
    u, g = (d * share + MEAN) / (d + 1), math.log(1 + d)
    return W[0] + (W[1] + W[2] * g) * math.log(u / (1 - u)) + W[3] * g


def slow(dense, inside, sent, evidence, keep):
    """The messages {(from, to): probability} of the nodes inside after an update; those of others stay."""
    new = dict(sent)
    for i, j in sent:
        if i in inside:
            others = [k for k in np.flatnonzero(dense[i]) if k != j]
            value = odds([dense[i, k] for k in others], [sent[k, i] for k in others]) + evidence[i]
            new[i, j] = keep * sent[i, j] + (1 - keep) / (1 + math.exp(-value))
    return new


def by_pair(region):
    """Messages by (from, to), of those into the boundary too."""
    nodes = np.concatenate([region.inside, region.boundary])
    own, other = nodes[region.source], nodes[region.target]
    messages = dict(zip(zip(own.tolist(), other.tolist(), strict=True), region.messages[region.reply], strict=True))
    came = zip(zip(other.tolist(), own.tolist(), strict=True), region.messages[: len(own)], strict=True)
    return messages | dict(came)


def shuffled(graph, seed):
    """The same graph with the arcs of each node in another order."""
    order = np.random.default_rng(seed).random(len(graph.col))
    order = np.lexsort((order, np.repeat(np.arange(graph.num_nodes), np.diff(graph.rowptr))))
    weight = None if graph.weight is None else graph.weight[order]
    return UndirectedGraph(graph.rowptr, graph.col[order], weight, graph.degree, graph.volume)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), weighted=st.booleans(), size=st.integers(1, 14), keep=st.sampled_from([0.0, 0.5]))
def test_messages_are_those_of_loops(backend, seed, weighted, size, keep):
    rng = np.random.default_rng(seed)
    dense = random_graph(seed, 14, 0.3, weighted)
    inside = np.sort(rng.choice(14, size, replace=False))
    region = read_region(shuffled(as_undirected(sp.csr_array(dense)), seed), inside, backend)
    neighbours = np.flatnonzero(dense[inside].sum(axis=0))
    assert np.array_equal(np.sort(region.boundary), np.setdiff1d(neighbours, inside))
    beliefs, evidence = rng.uniform(0.01, 0.99, 14), rng.normal(size=14)
    set_messages(region, beliefs[inside], beliefs[region.boundary])
    ends = [(int(i), int(j)) for i in inside for j in np.flatnonzero(dense[i])]
    sent = {(i, j): beliefs[i] for pair in ends for i, j in (pair, pair[::-1])}
    for _ in range(2):
        expected = slow(dense, set(inside.tolist()), sent, evidence, keep)
        change = update_region(region, evidence[inside], W, MEAN, keep, backend)
        assert change == pytest.approx(max([abs(expected[pair] - sent[pair]) for pair in sent], default=0.0), abs=1e-9)
        assert by_pair(region) == pytest.approx(expected, abs=1e-9)
        # Weights of a node are scaled to a sum of 1.
        scale = {i: dense[i].sum() if weighted and dense[i].any() else 1.0 for i in inside.tolist()}
        sums = [sum(dense[i, k] / scale[i] * expected[k, i] for k in np.flatnonzero(dense[i])) for i in scale]
        assert region.sums == pytest.approx(np.array(sums), abs=1e-9)
        sent = expected
    totals = region.sums, region.total, region.square
    near = {i: np.flatnonzero(dense[i]) for i in inside.tolist()}
    at = [odds(dense[i, near[i]].tolist(), [sent[k, i] for k in near[i]]) for i in near]
    assert log_odds(*totals, MEAN, W, backend) == pytest.approx(np.array(at), abs=1e-9)
    assert features_of_sums(*totals, MEAN) @ W == pytest.approx(np.array(at), abs=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_repeated_arc_has_a_message_of_its_own(backend):
    ends = np.array([1, 1, 2, 0, 0, 0], dtype=np.int32)
    graph = UndirectedGraph(np.array([0, 3, 5, 6]), ends, None, np.array([3.0, 2.0, 1.0]), 6.0)
    region = read_region(graph, np.array([0, 1]), backend)
    # Arcs 0 and 1 go to node 1, 3 and 4 back, and 2 to the boundary.
    assert region.reply.tolist() == [3, 4, 5, 0, 1]


def test_the_same_bits_at_any_number_of_threads():
    rng = np.random.default_rng(0)
    graph = as_undirected(sp.csr_array(random_graph(0, 600, 0.1)))
    inside = np.arange(0, 600, 2)
    beliefs, evidence, results = rng.random(300), rng.normal(size=300), []
    for threads in (1, 2, 4):
        with torch_threads(threads):
            region = read_region(graph, inside)
            set_messages(region, beliefs, np.full(len(region.boundary), 0.2))
            change = update_region(region, evidence, W, MEAN, 0.5)
            results.append((change, region.messages.tobytes(), region.sums.tobytes()))
    assert results[1] == results[0] == results[2]
