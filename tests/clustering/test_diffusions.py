"""Diffusions against dense solvers, and the invariants that hold whatever the graph."""

import igraph
import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, f1, flow_dual, heat, labelled, lazy_walk, pagerank, planted, random_graph

from graphnoise.clustering import (
    approximate_pagerank,
    as_undirected,
    flow_diffusion,
    heat_kernel,
    l1_pagerank,
    sweep_cut,
)

DIFFUSE = {
    "flow": lambda g, s, **k: flow_diffusion(
        g, s, tol=1e-5, label_eps=k.pop("label_eps", 0.05), max_pushes=20_000, **k
    ),
    "flow, unit sinks": lambda g, s, **k: flow_diffusion(
        g, s, sink="unit", tol=1e-5, label_eps=k.pop("label_eps", 0.05), max_pushes=20_000, **k
    ),
    "flow, p = 4": lambda g, s, **k: flow_diffusion(
        g, s, p=4, tol=1e-3, label_eps=k.pop("label_eps", 0.05), max_pushes=500, **k
    ),
    "pagerank": lambda g, s, **k: approximate_pagerank(g, s, 0.2, 1e-3, **k),
    "l1": lambda g, s, **k: l1_pagerank(g, s, 0.2, 1e-3, **k),
    "heat": lambda g, s, **k: heat_kernel(g, s, 4.0, 1e-3, **k),
}


def same(one, two):
    for name in ("touched", "values", "residual", "degree"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert (one.status, one.pushes, one.arcs, one.statistics) == (two.status, two.pushes, two.arcs, two.statistics)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.05, 1.0]),
    st.sampled_from(list(DIFFUSE)),
)
def test_both_tiers_are_equal_to_the_last_bit(seed, n, weighted, eps, name):
    rng = np.random.default_rng(seed)
    graph = as_undirected(sp.csr_array(random_graph(seed, n, rng.choice([0.05, 0.2, 0.6]), weighted)))
    seeds = {int(v): float(m) for v, m in zip(rng.permutation(n)[:3], rng.uniform(0.1, 2 * n, 3), strict=False)}
    more = {} if eps is None else {"labels": rng.integers(0, 2, n), "label_eps": eps}
    one, two = (DIFFUSE[name](graph, seeds, backend=backend, **more) for backend in BACKENDS)
    same(one, two)
    assert (one.values >= 0).all()
    assert (one.residual >= 0).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("eps", [None, 0.05, 0.5])
def test_approximate_pagerank_keeps_its_bounds(weighted, eps):
    dense = random_graph(1, 60, 0.15, weighted)
    labels = np.random.default_rng(2).integers(0, 2, 60)
    s = np.zeros(60)
    s[[3, 7]] = 0.5
    more = {} if eps is None else {"labels": labels, "label_eps": eps}
    result = approximate_pagerank(sp.csr_array(dense), [7, 3], 0.15, 1e-5, **more)
    dense = dense if eps is None else labelled(dense, labels, eps, [3, 7])
    W, d = lazy_walk(dense)
    p, r = result.dense(60), np.zeros(60)
    r[result.touched] = result.residual
    assert abs(p.sum() + r.sum() - 1) <= 1e-14
    assert (r >= 0).all()
    # Also with weights, where a push that looks at plain degrees leaves more.
    assert (r < 1e-5 * d).all()
    np.testing.assert_allclose(r, s - (p - (1 - 0.15) * W @ p) / 0.15, atol=1e-12)
    error = pagerank(dense, s, 0.15) - p
    assert (error >= -1e-15).all()
    assert (error <= 1e-5 * d).all()
    assert result.converged
    assert result.statistics["residual"] == pytest.approx((r / d).max(), rel=1e-12)
    assert result.statistics["residual"] < 1e-5
    assert d[result.support].sum() <= 2 / ((1 - 0.15) * 1e-5)


def test_a_warm_run_on_a_large_graph_reads_no_more_arcs_than_it_may():
    graph, _ = planted()
    result = approximate_pagerank(graph, 10, 0.1, 1e-5)
    assert result.arcs <= 1 / (0.1 * 1e-5)
    assert result.degree[result.values > 0].sum() <= 2 / (0.9 * 1e-5)
    # Half of the rest stays at a push.
    share = result.residual / result.degree / 1e-5
    assert share[result.values > 0].min() >= 0.45 * (1 - 1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_approximate_pagerank_agrees_with_networkx_and_igraph(weighted):
    dense = random_graph(5, 50, 0.2, weighted, loops=False)
    # Connected.
    dense[0, 1:] = dense[1:, 0] = 1.0
    graph = networkx.from_numpy_array(dense)
    alpha = 0.15
    damping = (1 - alpha) / (1 + alpha)
    result = approximate_pagerank(graph, 4, alpha, 1e-9).dense(50)
    theirs = networkx.pagerank(graph, alpha=damping, personalization={4: 1}, tol=1e-13, max_iter=1000)
    np.testing.assert_allclose(result, [theirs[v] for v in range(50)], atol=1e-6)
    other = igraph.Graph.Weighted_Adjacency(dense, mode="undirected")
    ranks = other.personalized_pagerank(damping=damping, reset_vertices=[4], directed=False, weights="weight")
    np.testing.assert_allclose(result, ranks, atol=1e-6)


def test_weights_between_one_and_a_twentieth_keep_the_residual_below_its_bound():
    """The published compiled package compares with degrees without weights, and leaves up to twenty times as much."""
    rng = np.random.default_rng(0)
    dense = random_graph(3, 400, 0.05, False, loops=False)
    side = rng.integers(0, 2, 400)
    dense *= np.where(side[:, None] == side, 1.0, 0.05)
    result = approximate_pagerank(sp.csr_array(dense), 0, 0.15, 1e-5)
    assert (result.residual < 1e-5 * result.degree).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("eps", [None, 0.2])
def test_l1_pagerank_meets_the_optimality_conditions(weighted, eps):
    dense = random_graph(11, 60, 0.15, weighted)
    labels = np.random.default_rng(2).integers(0, 2, 60)
    more = {} if eps is None else {"labels": labels, "label_eps": eps}
    alpha, rho = 0.15, 1e-3
    result = l1_pagerank(sp.csr_array(dense), 5, alpha, rho, tol=1e-6, **more)
    dense = dense if eps is None else labelled(dense, labels, eps, [5])
    W, d = lazy_walk(dense)
    s, p = np.eye(60)[5], result.dense(60)
    r = s - (p - (1 - alpha) * W @ p) / alpha
    np.testing.assert_allclose(r[result.touched], result.residual, atol=1e-12)
    assert (r <= rho * d * (1 + 1e-6) + 1e-12).all()
    assert (r[p > 0] >= rho * d[p > 0] * (1 - 1e-9)).all()
    assert d[p > 0].sum() <= 1 / rho
    assert result.converged


def test_l1_pagerank_has_less_support_and_grows_with_smaller_rho():
    graph, _ = planted()
    last = np.empty(0)
    for rho in (1e-3, 3e-4, 1e-4):
        result = l1_pagerank(graph, 3, 0.1, rho, tol=1e-4).support
        assert np.isin(last, result).all()
        assert len(result) <= len(approximate_pagerank(graph, 3, 0.1, rho).support)
        last = result


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("eps", [None, 0.2])
@pytest.mark.parametrize("t", [0.5, 5.0, 40.0])
def test_the_heat_kernel_is_within_eps_from_below(weighted, eps, t):
    dense = random_graph(21, 60, 0.15, weighted)
    labels = np.random.default_rng(2).integers(0, 2, 60)
    more = {} if eps is None else {"labels": labels, "label_eps": eps}
    result = heat_kernel(sp.csr_array(dense), 5, t, 1e-4, **more)
    dense = dense if eps is None else labelled(dense, labels, eps, [5])
    error = heat(dense, np.eye(60)[5], t) - result.dense(60)
    assert (error >= -1e-12).all()
    assert (error <= 1e-4 * dense.sum(0) + 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.booleans(), st.sampled_from([None, 0.05, 0.5]), st.booleans())
def test_flow_diffusion_meets_the_optimality_conditions(seed, n, weighted, eps, unit):
    rng = np.random.default_rng(seed)
    dense = random_graph(seed, n, 0.2, weighted)
    # Connected.
    dense[0, 1:] = dense[1:, 0] = 1.0
    graph, labels = sp.csr_array(dense), rng.integers(0, 2, n)
    sinks = np.ones(n) if unit else dense.sum(0)
    start = {int(rng.integers(n)): 0.6 * sinks.sum()}
    more = {"label_eps": 1.0} if eps is None else {"labels": labels, "label_eps": eps}
    result = flow_diffusion(graph, start, sink="unit" if unit else "degree", tol=1e-6, **more)
    plain = dense if eps is None else labelled(dense, labels, eps, list(start))
    L = np.diag(plain.sum(0)) - plain
    source, x = np.zeros(n), result.dense(n)
    source[list(start)] = list(start.values())
    m = source - L @ x
    here = np.zeros(n)
    here[result.touched] = result.residual
    assert result.converged
    np.testing.assert_allclose(here.sum(), source.sum(), rtol=1e-12)
    np.testing.assert_allclose(m, here, atol=1e-8 * source.sum())
    assert (m <= sinks + 1e-6 + 1e-8).all()
    assert (m[x > 0] >= sinks[x > 0] - 1e-8).all()
    assert sinks[x > 0].sum() <= source.sum() + 1e-9
    assert result.statistics["excess"] <= 1e-6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("eps", [None, 0.05])
@pytest.mark.parametrize("sink", ["degree", "unit"])
def test_flow_diffusion_equals_a_quadratic_program(seed, eps, sink):
    n = 40
    dense = random_graph(seed, n, 0.2, weighted=True, loops=False)
    labels = np.random.default_rng(seed).integers(0, 2, n)
    sinks = np.ones(n) if sink == "unit" else dense.sum(0)
    mass = 0.3 * sinks.sum()
    more = {} if eps is None else {"labels": labels, "label_eps": eps}
    result = flow_diffusion(sp.csr_array(dense), 0, mass, sink=sink, tol=1e-10, **more).dense(n)
    plain = dense if eps is None else labelled(dense, labels, eps, [0])
    truth = flow_dual(plain, mass * np.eye(n)[0], sinks)
    np.testing.assert_allclose(result, truth, atol=1e-6 * truth.max())


@pytest.mark.parametrize("p", [3.0, 4.0, 8.0])
def test_flow_of_other_norms_is_optimal(p):
    n, q = 20, p / (p - 1)
    dense = random_graph(9, n, 0.3, weighted=True, loops=False)
    labels = np.random.default_rng(1).integers(0, 2, n)
    plain = labelled(dense, labels, 0.2, [0])
    mass = 0.3 * dense.sum()
    result = flow_diffusion(sp.csr_array(dense), 0, mass, labels, 0.2, tol=1e-8, p=p)
    x = result.dense(n)
    gap = x[:, None] - x
    out = (plain * np.sign(gap) * np.abs(gap) ** (q - 1)).sum(1)
    m = mass * np.eye(n)[0] - out
    assert result.converged
    assert (m <= dense.sum(0) + 1e-7).all()
    assert (m[x > 0] >= dense.sum(0)[x > 0] - 1e-7).all()
    objective = [
        (plain * np.abs(v[:, None] - v) ** q).sum() / (2 * q) + v @ (dense.sum(0) - mass * np.eye(n)[0])
        for v in (x, flow_dual(plain, mass * np.eye(n)[0], dense.sum(0), q))
    ]
    assert objective[0] <= objective[1] + 1e-6 * abs(objective[1])


def test_potentials_grow_with_the_mass_and_shrink_with_the_weights():
    dense = random_graph(4, 60, 0.15)
    graph, last = sp.csr_array(dense), np.zeros(60)
    for mass in (0.1, 0.2, 0.3, 0.4):
        x = flow_diffusion(graph, 3, mass * dense.sum(), tol=1e-9).dense(60)
        assert (x >= last - 1e-8).all()
        last = x
    wide = flow_diffusion(sp.csr_array(4 * dense), 3, 4 * mass * dense.sum(), tol=1e-9).dense(60)
    np.testing.assert_allclose(wide, last, rtol=1e-9, atol=1e-9)
    one = flow_diffusion(sp.csr_array(dense), 3, 30.0, sink="unit", tol=1e-9).dense(60)
    four = flow_diffusion(sp.csr_array(4 * dense), 3, 30.0, sink="unit", tol=1e-9).dense(60)
    np.testing.assert_array_equal(four, one / 4)


@pytest.mark.parametrize("name", DIFFUSE)
def test_equal_labels_change_nothing(name):
    dense = random_graph(6, 50, 0.15)
    labels = np.random.default_rng(0).integers(0, 2, 50)
    mass = {3: 0.4 * dense.sum()} if "flow" in name else {3: 1.0}
    if name == "flow, unit sinks":
        mass = {3: 20.0}
    graph = as_undirected(sp.csr_array(dense))
    same(DIFFUSE[name](graph, mass), DIFFUSE[name](graph, mass, labels=labels, label_eps=1.0))


@pytest.mark.parametrize("name", DIFFUSE)
def test_names_of_labels_do_not_matter_but_the_seed_is_known(name):
    dense = random_graph(6, 50, 0.15)
    labels = np.random.default_rng(0).integers(0, 2, 50)
    mass = {3: 20.0} if name == "flow, unit sinks" else {3: 0.4 * dense.sum()} if "flow" in name else {3: 1.0}
    graph = as_undirected(sp.csr_array(dense))
    labels[3] = 1
    result = DIFFUSE[name](graph, mass, labels=labels)
    assert not np.array_equal(result.values, DIFFUSE[name](graph, mass).values)
    wrong = labels.copy()
    wrong[3] = 0
    # The seed's label is forced.
    same(result, DIFFUSE[name](graph, mass, labels=wrong))
    requested = []

    def ask(nodes):
        requested.extend(nodes.tolist())
        return labels[nodes]

    same(result, DIFFUSE[name](graph, mass, labels=ask))
    same(result, DIFFUSE[name](graph, mass, labels={v: int(y) for v, y in enumerate(labels)}))
    assert len(requested) == len(set(requested))
    assert 3 not in requested


def test_edges_within_either_label_keep_their_weight():
    """0-0 edges keep their weight as 1-1 edges do, so that swapped labels give the same, seeds aside."""
    dense = random_graph(6, 50, 0.15)
    labels = np.random.default_rng(0).integers(0, 2, 50)
    labels[3] = 1
    weights = labelled(dense, labels, 0.05, [3])
    np.testing.assert_array_equal(weights, np.where((1 - labels)[:, None] == 1 - labels, dense, 0.05 * dense))
    result = flow_diffusion(sp.csr_array(dense), 3, 0.3 * dense.sum(), labels, tol=1e-9)
    # Sinks are degrees without labels.
    truth = flow_dual(weights, 0.3 * dense.sum() * np.eye(50)[3], dense.sum(0))
    np.testing.assert_allclose(result.dense(50), truth, atol=1e-5 * truth.max())


def test_perfect_labels_and_eps_0_stay_inside():
    graph, truth = planted()
    labels = np.zeros(graph.num_nodes, dtype=np.uint8)
    labels[truth] = 1
    result = flow_diffusion(graph, 10, graph.degree[truth].sum() * 0.999, labels, 0.0, tol=1e-3)
    assert result.converged
    assert np.isin(result.touched, truth).all()
    assert f1(result.support, truth) > 0.99


def test_nodes_renamed_change_values_by_rounding_only():
    dense = random_graph(8, 60, 0.15)
    order = np.random.default_rng(0).permutation(60)
    mass = 0.3 * dense.sum()
    one = flow_diffusion(sp.csr_array(dense), int(order[5]), mass, tol=1e-11).dense(60)
    two = flow_diffusion(sp.csr_array(dense[np.ix_(order, order)]), 5, mass, tol=1e-11).dense(60)
    np.testing.assert_allclose(two, one[order], rtol=1e-8, atol=1e-10)


def test_the_walks_find_a_planted_block():
    graph, truth = planted()
    for result in (
        approximate_pagerank(graph, 10, 0.05, 1e-5),
        heat_kernel(graph, 10, 10.0, 1e-5),
        l1_pagerank(graph, 10, 0.05, 1e-5),
        flow_diffusion(graph, 10, 2.0 * graph.degree[truth].sum()),
    ):
        assert f1(sweep_cut(graph, result).nodes, truth) > 0.9, result.method
