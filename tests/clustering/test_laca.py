"""LACA against dense linear algebra of the same formula, and what it does with odd attributes."""

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, random_graph
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics.pairwise import cosine_similarity

from graphnoise import InputError, as_graph, datasets
from graphnoise.clustering import as_undirected, attribute_factors, laca, sweep_cut


def exact(dense, s, Z, alpha):
    """Scores by solving for both walks; nodes without arcs stay where they are."""
    d = dense.sum(0)
    P = np.divide(dense, d, out=np.eye(len(dense)), where=d > 0)
    walk = (1 - alpha) * np.linalg.inv(np.eye(len(dense)) - alpha * P)
    p = walk @ s
    phi = np.where(p > 0, np.maximum(Z @ (Z.T @ p), 0), 0)
    d = np.where(d > 0, d, 1)
    return walk @ (phi * d) / d


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 30), st.booleans(), st.sampled_from([0.3, 0.6, 0.9]))
def test_scores_are_those_of_dense_linear_algebra(seed, n, weighted, alpha):
    rng = np.random.default_rng(seed)
    dense = random_graph(seed, n, 0.3, weighted)
    Z, s = rng.normal(size=(n, 3)), np.zeros(n)
    seeds = rng.choice(n, min(n, 2), replace=False)
    s[seeds] = 1 / len(seeds)
    result = laca(sp.csr_array(dense), seeds, Z, alpha=alpha, eps=1e-12)
    expected = exact(dense, s, Z, alpha)
    np.testing.assert_allclose(result.dense(n), expected, atol=1e-7 * max(1, expected.max()))
    assert result.converged
    order = np.argsort(-result.dense(n), kind="stable")
    assert result.best(3).tolist() == order[: min(3, int((result.values > 0).sum()))].tolist()


def test_the_error_is_within_the_residual_of_both_walks():
    dense = random_graph(3, 60, 0.15, weighted=False, loops=False)
    Z = np.abs(np.random.default_rng(0).normal(size=(60, 4)))
    s = np.eye(60)[7]
    expected = exact(dense, s, Z, 0.9)
    d = np.where(dense.sum(0) > 0, dense.sum(0), 1)
    walk = 0.1 * np.linalg.inv(np.eye(60) - 0.9 * dense / d)
    for eps in (1e-3, 1e-5):
        result = laca(sp.csr_array(dense), 7, Z, eps=eps)
        # What the first walk lacks, at most eps d at each node, moves through the same non-negative steps.
        lacking = Z @ (Z.T @ (eps * d))
        bound = walk @ (d * lacking) / d + eps * (d @ (Z @ (Z.T @ (walk @ s))))
        error = expected - result.dense(60)
        assert (error >= -1e-12).all()
        assert (error <= bound + 1e-12).all()
    assert np.abs(error).max() < 1e-2 * expected.max()


@pytest.mark.parametrize("sparse", [False, True])
def test_factors_are_the_normalised_cosine_of_reduced_attributes(sparse):
    x = np.random.default_rng(1).random((40, 12)) * (np.random.default_rng(2).random((40, 12)) < 0.4)
    x[5] = 0
    Z = attribute_factors(sp.csr_array(x) if sparse else x, 4)
    cosine = cosine_similarity(TruncatedSVD(4, algorithm="arpack").fit_transform(x))
    root = np.sqrt(np.maximum(cosine.sum(1), 1e-6))
    np.testing.assert_allclose(Z @ Z.T, cosine / np.outer(root, root), atol=1e-4)
    assert (Z[5] == 0).all()
    assert Z.shape == (40, 4)
    np.testing.assert_array_equal(Z, attribute_factors(sp.csr_array(x) if sparse else x, 4))
    assert attribute_factors(x, 1000).shape == (40, 12)
    # Attributes of both signs.
    shifted = (1 + cosine_similarity(x - 0.5)) / 2
    root = np.sqrt(shifted.sum(1))
    Z = attribute_factors(x - 0.5, 12)
    np.testing.assert_allclose(Z @ Z.T, shifted / np.outer(root, root), atol=1e-9)


def test_attributes_tell_clusters_apart_that_edges_do_not():
    data = datasets.planted_partition([100] * 4, 0.06, 0.04, num_features=8, separation=3.0, seed=0)
    graph, Z = as_undirected(as_graph(data)), attribute_factors(data.x)
    none = laca(graph, 3, np.ones((400, 1)))
    with_attributes, without = (float((data.y[r.best(100)] == 0).float().mean()) for r in (laca(graph, 3, Z), none))
    assert with_attributes > 0.5 > 0.35 > without
    # It is a diffusion as others are, already divided by degree.
    result = laca(graph, 3, Z)
    cut = sweep_cut(graph, result)
    np.testing.assert_array_equal(cut.order[:5], result.ranking[:5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_odd_seeds_and_attributes(backend):
    one, two = (laca(sp.csr_array(random_graph(1, 40)), [1, 2], np.ones((40, 1)), backend=b) for b in BACKENDS)
    np.testing.assert_array_equal(one.values, two.values)
    named = networkx.Graph([("a", "b"), ("b", "c"), ("c", "d")])
    assert laca(named, "a", np.eye(4)[:, :2] + 0.1, alpha=0.5, backend=backend).best(2) == ["a", "b"]
    lonely = sp.csr_array(([1.0, 1.0], ([1, 2], [2, 1])), shape=(4, 4))
    assert laca(lonely, 0, np.ones((4, 1)), backend=backend).best(9).tolist() == [0]
    # Nothing near the seed has attributes.
    nothing = laca(lonely, 1, [[1.0], [0.0], [0.0], [1.0]], backend=backend)
    assert (nothing.converged, nothing.values.max(), len(nothing.best(3))) == (True, 0.0, 0)
    stopped = laca(sp.csr_array(random_graph(1, 40)), 0, np.ones((40, 1)), max_pushes=3, backend=backend)
    assert (stopped.converged, stopped.status) == (False, "max_pushes")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: laca([[0, 1], [1, 0]], 0, np.ones(2)), "^factors: "),
        (lambda: laca([[0, 1], [1, 0]], 0, np.ones((3, 1))), "^factors: expected 2 rows, one per node, got 3"),
        (lambda: laca([[0, 1], [1, 0]], 0, [[np.nan], [1.0]]), "^factors: expected finite"),
        (
            lambda: laca([[0, 1], [1, 0]], 0, np.ones((2, 1)), alpha=1.0),
            "^alpha: expected a number above 0",
        ),
        (lambda: laca([[0, 1], [1, 0]], 0, np.ones((2, 1)), eps=0), "^eps: "),
        (lambda: laca([[0, 1], [1, 0]], 5, np.ones((2, 1))), "^seeds: "),
        (lambda: laca(networkx.Graph([(1, 0)]), 1, np.ones((2, 1))), "^factors: expected a graph whose integer names"),
        (lambda: laca([[0, 1], [1, 0]], 0, np.ones((2, 1))).best(0), "^k: expected an integer of at least 1"),
        (lambda: attribute_factors([[1.0], [np.inf]]), "^x: expected finite"),
        (lambda: attribute_factors([[1.0]], 0), "^num_components: "),
    ],
)
def test_bad_input_has_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(("scale", "factor"), [(1e-315, 1.0), (1.0, 1e200)])
def test_an_overflow_is_a_status(scale, factor):
    dense = np.array([[0, scale, 0], [scale, 0, scale], [0, scale, 0]])
    result = laca(sp.csr_array(dense), 0, np.full((3, 2), factor))
    assert result.status == "overflow"
    assert (result.values == 0).all()
