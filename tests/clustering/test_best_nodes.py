"""`approximate_pagerank(top_k=)`: the best nodes are those of exact PageRank wherever they are said to be certain."""

import math

import igraph
import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, labelled, pagerank, planted, random_graph

from graphnoise import InputError
from graphnoise.clustering import approximate_pagerank, as_undirected, flow_diffusion

PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.booleans(),
    st.sampled_from([0.05, 0.2, 0.7]),
    st.integers(1, 12),
    st.sampled_from([None, 0.0, 0.1]),
)
def test_certain_nodes_are_the_best_of_exact_pagerank(seed, n, weighted, alpha, k, label_eps):
    rng = np.random.default_rng(seed)
    dense = random_graph(seed, n, rng.choice([0.05, 0.2, 0.6]), weighted)
    seeds = {int(v): float(m) for v, m in zip(rng.permutation(n)[:2], rng.uniform(0.1, 5, 2), strict=False)}
    s, W, more = np.zeros(n), dense, {}
    s[list(seeds)] = list(seeds.values())
    if label_eps is not None:
        labels = rng.integers(0, 2, n)
        W, more = labelled(dense, labels, label_eps, list(seeds)), {"labels": labels, "label_eps": label_eps}
    exact = pagerank(W, s, alpha)
    result = approximate_pagerank(sp.csr_array(dense), seeds, alpha, 1e-9, top_k=k, **more)
    best, gap = result.best(k), result.statistics["gap"]
    rest = np.setdiff1d(np.arange(n), best)
    least = exact[best].min() if len(best) == k else 0.0
    # No other node is above the last of them by more than the gap.
    assert exact[rest].max(initial=-np.inf) <= least + max(gap, 0) + 1e-12
    assert (result.statistics["certain"] == 1) is (gap <= 0)
    if gap <= 0 and len(best) == k:
        assert set(best) >= {v for v in range(n) if exact[v] > np.sort(exact)[-k] + 1e-12}


def test_it_stops_early_and_agrees_with_igraph():
    graph = igraph.Graph(edges=networkx.barabasi_albert_graph(20_000, 3, seed=0).edges)
    read = as_undirected(graph)
    damping = (1 - 0.15) / (1 + 0.15)
    early = 0
    for seed in (0, 17, 500, 19_999):
        exact = np.array(graph.personalized_pagerank(damping=damping, directed=False, reset_vertices=[seed]))
        result = approximate_pagerank(read, seed, eps=1e-8, top_k=5)
        order = np.argsort(-exact)
        assert result.converged
        if result.statistics["certain"]:
            assert set(result.best(5)) == set(order[:5])
        early += result.arcs < 0.5 * approximate_pagerank(read, seed, eps=1e-8).arcs
    assert early >= 3


def test_the_order_is_by_value_and_equal_values_by_position():
    star = networkx.star_graph(6)
    result = approximate_pagerank(star, 0, top_k=3)
    assert result.best(3).tolist() == [0, 1, 2]
    # The leaves are equal, so that no three nodes are certain; the first and all seven are.
    assert result.statistics["certain"] == 0
    assert 0 < result.statistics["gap"] <= 1e-5
    assert result.converged
    for k in (1, 7, 50):
        result = approximate_pagerank(star, 0, top_k=k)
        assert result.statistics["certain"] == 1
        assert len(result.best(k)) == min(k, 7)


def test_nodes_that_cannot_be_reached_are_not_among_the_best():
    two = sp.block_diag([np.ones((3, 3)) - np.eye(3), np.ones((4, 4)) - np.eye(4)], format="csr")
    result = approximate_pagerank(two, 1, eps=1e-12, top_k=5)
    assert (sorted(result.best(5)), result.statistics["certain"]) == ([0, 1, 2], 1.0)
    apart = approximate_pagerank(two, [0, 3], eps=1e-12, top_k=2)
    assert (sorted(apart.best(2)), apart.statistics["certain"]) == ([0, 3], 1.0)
    lonely = approximate_pagerank(sp.csr_array((3, 3)), 1, top_k=1)
    assert (lonely.best(1).tolist(), lonely.statistics["certain"]) == ([1], 1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_run_is_the_run_of_its_eps(backend):
    graph, _ = planted(400, 50)
    result = approximate_pagerank(graph, 3, eps=1e-7, top_k=5, backend=backend)
    other = approximate_pagerank(graph, 3, eps=1e-7, top_k=5)
    np.testing.assert_array_equal(result.values, other.values)
    assert (result.pushes, result.arcs) == (other.pushes, other.arcs)
    stopped = approximate_pagerank(graph, 3, eps=1e-7, top_k=5, max_pushes=3, backend=backend)
    assert (stopped.pushes, stopped.converged, stopped.status) == (3, False, "max_pushes")
    assert stopped.statistics["certain"] == 0
    whole = approximate_pagerank(graph, 3, eps=1e-7, backend=backend)
    for limit in range(4, result.pushes):
        some = approximate_pagerank(graph, 3, eps=1e-7, top_k=5, max_pushes=limit, backend=backend)
        assert some.pushes <= limit
        assert not some.converged
        if limit > 30:
            break
    assert whole.converged


def test_names_and_bad_input():
    graph = networkx.Graph([("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")])
    assert approximate_pagerank(graph, ["a", "b"], top_k=2).best(2) == ["b", "a"]
    assert flow_diffusion(graph, "c", 5.0).best(1) == ["c"]
    huge = approximate_pagerank(as_undirected(PATH, weight=[1e12, 1e12, 1, 1, 1, 1]), 1, eps=1e-18, top_k=2)
    assert (sorted(huge.best(2)), huge.statistics["certain"]) == ([0, 1], 1.0)
    assert math.isfinite(huge.statistics["gap"])
    for k in (0, -1, 1.5, "3"):
        with pytest.raises(InputError, match=r"^top_k: expected an integer"):
            approximate_pagerank(PATH, 0, top_k=k)
