"""Seeds in several components, repeated arcs, a huge weight, missing labels: the four ways to a cluster."""

import networkx
import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise import InputError, as_graph, datasets, noise
from graphnoise.clustering import (
    LocalCluster,
    approximate_pagerank,
    as_undirected,
    grow_cluster,
    membership_posterior,
    precision_recall_f1,
)

N = 180
NAN = float("nan")
WAYS = {
    "growth": lambda graph, seeds, labels: grow_cluster(graph, seeds, labels, 0.9, 0.9).nodes,
    "restarts": lambda graph, seeds, labels: grow_cluster(graph, seeds, labels, 0.9, 0.9, restarts=True).nodes,
    "LocalCluster": lambda graph, seeds, labels: LocalCluster().fit(graph, seeds, labels, 0.9, 0.9).nodes_,
    "flow": lambda graph, seeds, labels: LocalCluster("flow").fit(graph, seeds, labels, 0.9, 0.9).nodes_,
    "posterior": lambda graph, seeds, labels: membership_posterior(graph, labels, 0.9, 0.9, seeds=seeds).nodes,
}


def problem():
    """A matrix of three blocks, the mask of the first one, and its noisy labels."""
    data = datasets.planted_partition([60] * 3, 0.3, 0.01, seed=0)
    graph, inside = as_undirected(as_graph(data)), data.y.numpy() == 0
    labels = np.asarray(noise.flip_membership(inside, a1=0.9, a0=0.9, seed=0).y)
    return sp.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr), shape=(N, N)), inside, labels


def f1(nodes, inside):
    return precision_recall_f1(nodes, inside).f1


@pytest.mark.parametrize("way", WAYS)
def test_seeds_of_several_components_are_kept_and_their_clusters_found(way):
    matrix, inside, _ = problem()
    graph = as_undirected(sp.block_diag([matrix, matrix], format="csr"))
    inside = np.concatenate([inside, inside])
    labels = np.asarray(noise.flip_membership(inside, a1=0.9, a0=0.9, seed=0).y)
    nodes = WAYS[way](graph, [0, N], labels)
    assert np.isin([0, N], nodes).all()
    assert f1(nodes, inside) > 0.9
    walk = approximate_pagerank(graph, [0, N])
    assert walk.values[walk.touched < N].sum() == pytest.approx(walk.values[walk.touched >= N].sum(), rel=1e-3)


@pytest.mark.parametrize("way", [*WAYS, "pagerank"])
def test_repeated_arcs_are_the_sum_of_their_weights(way):
    matrix, _, labels = problem()
    upper = sp.triu(matrix).tocoo()
    edges = list(zip(upper.row.tolist(), upper.col.tolist(), strict=True))
    several = networkx.MultiGraph()
    several.add_nodes_from(range(N))
    several.add_edges_from(edges + edges[::3])
    doubled = sp.coo_array((np.ones(len(edges[::3])), np.array(edges[::3]).T), shape=(N, N))
    summed = sp.csr_array(matrix + doubled + doubled.T)
    if way == "pagerank":
        one, two = (approximate_pagerank(graph, 0, labels=labels).dense(N) for graph in (several, summed))
        np.testing.assert_allclose(one, two, rtol=1e-12)
    else:
        np.testing.assert_array_equal(*(WAYS[way](graph, [0, 5], labels) for graph in (several, summed)))


@pytest.mark.parametrize("where", [(True, True), (False, False), (True, False)])
def test_one_huge_weight_does_not_hide_the_other_edges(where):
    matrix, inside, labels = problem()
    upper = sp.triu(matrix).tocoo()
    pairs = zip(upper.row.tolist(), upper.col.tolist(), strict=True)
    u, v = next(pair for pair in pairs if (inside[pair[0]], inside[pair[1]]) == where and not {0, 5} & set(pair))
    heavy = matrix.tolil()
    heavy[u, v] = heavy[v, u] = 1e12
    graph = as_undirected(sp.csr_array(heavy))
    plain = membership_posterior(matrix, labels, 0.9, 0.9, seeds=[0, 5])
    posterior = membership_posterior(graph, labels, 0.9, 0.9, seeds=[0, 5])
    assert f1(posterior.nodes, inside) > f1(plain.nodes, inside) - 0.05
    growth, grown = (grow_cluster(g, [0, 5], labels, 0.9, 0.9) for g in (matrix, graph))
    assert f1(growth.nodes, inside) > 0.9
    assert f1(grown.nodes, inside) > f1(growth.nodes, inside) - 0.05
    # At a seed, too.
    heavy[u, v] = heavy[v, u] = 1
    heavy[0, heavy.rows[0][0]] = heavy[heavy.rows[0][0], 0] = 1e12
    seeded = grow_cluster(sp.csr_array(heavy), [0, 5], labels, 0.9, 0.9)
    assert f1(seeded.nodes, inside) > f1(growth.nodes, inside) - 0.05
    walk = approximate_pagerank(graph, [0, 5], eps=1e-12)
    assert walk.converged
    assert np.isfinite(walk.values).all()
    assert walk.values.sum() <= 1 + 1e-12


@pytest.mark.parametrize("factor", [1e-290, 1e-160, 1e160, 1e290])
@pytest.mark.parametrize("way", WAYS)
def test_the_unit_of_weights_does_not_matter(way, factor):
    matrix, _, labels = problem()
    one, other = (WAYS[way](sp.csr_array(matrix * scale), [0, 5], labels) for scale in (1.5, 1.5 * factor))
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("factor", [1e-290, 1e-160, 1e160, 1e290])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "flow"])
def test_the_weights_of_one_node_do_not_hide_the_others(way, factor):
    matrix, inside, labels = problem()
    for v in (100, 20):
        scaled = matrix.tolil()
        for u in list(scaled.rows[v]):
            scaled[u, v] = scaled[v, u] = factor
        nodes = WAYS[way](sp.csr_array(scaled), [0, 5], labels)
        assert np.isin([0, 5], nodes).all()
        assert f1(nodes, inside) > 0.85


@pytest.mark.parametrize("missing", [-1, NAN, None])
@pytest.mark.parametrize("way", WAYS)
def test_a_missing_label_is_no_label_0(way, missing):
    matrix, inside, labels = problem()
    hidden = np.random.default_rng(0).random(N) < 0.5
    given = [missing if none else int(label) for label, none in zip(labels, hidden, strict=True)]
    nodes = WAYS[way](matrix, [0, 5], given)
    assert f1(nodes, inside) > 0.8
    by_node = {v: int(labels[v]) for v in np.flatnonzero(~hidden)}
    np.testing.assert_array_equal(nodes, WAYS[way](matrix, [0, 5], by_node))


def test_lists_of_booleans_are_masks_where_names_are_integers():
    graph = networkx.path_graph(4)
    named = networkx.relabel_nodes(graph, {3: 9})
    for mask in ([True, False, True, False], np.array([True, False, True, False])):
        for some in (graph, named):
            assert approximate_pagerank(some, mask).dense(4).round(9).tolist() == (
                approximate_pagerank(some, [0, 2]).dense(4).round(9).tolist()
            )
    for wrong in ([True, False], np.array([True, False])):
        with pytest.raises(InputError, match=r"^seeds: expected names of nodes of the graph, or a mask of 4 Booleans"):
            approximate_pagerank(named, wrong)


@pytest.mark.parametrize("method", ["flow", "growth"])
def test_several_seeds_are_all_members_by_name(method):
    matrix, _, labels = problem()
    graph = networkx.relabel_nodes(networkx.from_scipy_sparse_array(matrix), lambda v: f"n{v}")
    by_name = {f"n{v}": int(label) for v, label in enumerate(labels)}
    # Some are outside.
    seeds = ["n0", "n5", "n70", "n150"]
    model = LocalCluster(method).fit(graph, seeds, by_name, 0.9, 0.9)
    assert set(seeds) <= set(model.members_)
    assert len(model.members_) == len(model.nodes_) == len(model.scores_)
    assert model.predict(seeds).all()
    if method == "growth":
        assert all(np.isin([0, 5, 70, 150], inside).all() for inside in model.path_)
        assert set(model.growth_.members) == set(model.members_)
