"""Growth of a cluster by belief propagation: quality, locality, labels and accuracies that contradict each other."""

import networkx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise import datasets, noise
from graphnoise.clustering import (
    LocalCluster,
    Membership,
    as_undirected,
    grow_cluster,
    membership_posterior,
    precision_recall_f1,
)
from graphnoise.clustering.growth import grow_unchecked
from graphnoise.errors import InputError


def planted(sizes, inner, outer, seed=0):
    data = datasets.planted_partition(sizes, inner, outer, seed=seed)
    return as_undirected(data), data.y.numpy()


def noisy(inside, a1, a0, seed=0):
    return noise.flip_membership(inside, a1=a1, a0=a0, seed=seed).y


def f1(nodes, inside):
    return precision_recall_f1(nodes, inside).f1


@pytest.mark.parametrize(("a1", "a0", "least"), [(0.9, 0.95, 0.98), (0.7, 0.9, 0.95)])
def test_clusters_on_weak_edges_are_found(a1, a0, least):
    graph, y = planted([200] * 5, 0.08, 0.008)
    for k in range(3):
        inside = y == k
        labels = noisy(inside, a1, a0, seed=k)
        growth = grow_cluster(graph, np.flatnonzero(inside)[k], labels, a1, a0)
        assert f1(growth.nodes, inside) > least > f1(np.flatnonzero(labels), inside)


def test_it_agrees_with_the_posterior_of_the_whole_graph_where_it_reads_all_of_it():
    graph, y = planted([60, 90], 0.2, 0.05)
    inside = y == 0
    labels = noisy(inside, 0.8, 0.9)
    growth = grow_cluster(graph, [0, 1], labels, 0.8, 0.9)
    posterior = membership_posterior(graph, labels, 0.8, 0.9, seeds=[0, 1])
    assert len(growth.touched) == graph.num_nodes
    assert f1(growth.nodes, np.isin(np.arange(150), posterior.nodes)) > 0.98
    assert np.abs(growth.probability - posterior.probability).mean() < 0.02


def test_only_labels_of_the_neighbourhood_are_read():
    # A ring of cliques: the next ones are reached, the far ones are not.
    cliques = networkx.ring_of_cliques(400, 12)
    graph = as_undirected(cliques)
    inside = np.arange(graph.num_nodes) < 12
    labels, asked = noisy(inside, 0.9, 0.95), set()

    def lookup(nodes):
        asked.update(nodes)
        return labels[np.asarray(nodes)]

    growth = grow_cluster(graph, 3, lookup, 0.9, 0.95)
    assert f1(growth.nodes, inside) > 0.9
    assert set(growth.touched.tolist()) == asked
    assert len(asked) < 0.2 * graph.num_nodes
    assert growth.arcs < 20 * len(graph.col)
    assert all(np.isin(before, after).all() for before, after in zip(growth.path, growth.path[1:], strict=False))


def test_work_does_not_grow_with_the_graph():
    reads = []
    for blocks in (20, 200):
        graph, y = planted([100] * blocks, 0.15, 0.05 / blocks)
        labels = noisy(y == 0, 0.9, 0.95)
        # A label beyond what is read is not looked at.
        labels[-1] = 7
        reads.append(grow_cluster(graph, 0, labels, 0.9, 0.95))
        assert graph.num_nodes - 1 not in reads[-1].touched
        assert f1(reads[-1].nodes, y == 0) > 0.95
    assert reads[1].arcs < 1.5 * reads[0].arcs
    with pytest.raises(InputError, match="labels: expected 0 or 1 at every node, got 7 at position 19999"):
        grow_cluster(graph, 19_999, labels, 0.9, 0.95)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), weighted=st.booleans(), right=st.booleans(), restarts=st.booleans())
def test_both_tiers_give_the_same(seed, weighted, right, restarts):
    rng = np.random.default_rng(seed)
    graph, y = planted([30, 40, 50], 0.3, 0.02, seed)
    matrix = scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr))
    if restarts:
        matrix, y = scipy.sparse.block_diag([matrix, matrix], format="csr"), np.concatenate([y, y])
    if weighted:
        upper = scipy.sparse.triu(matrix).tocsr()
        upper.data = rng.uniform(0.5, 2, len(upper.data))
        matrix = (upper + upper.T).tocsr()
    labels = noisy(y == 0, 0.8, 0.9, seed).astype(np.uint8)
    labels[0] = 1
    rates = (0.8, 0.9) if right else (0.95, 0.6)
    arguments = as_undirected(matrix), np.array([0]), labels, rates
    first, second = (
        grow_unchecked(*arguments, restarts=restarts, quiet=True, backend=backend)
        for backend in ("native", "reference")
    )
    assert [part.tolist() for part in first.path] == [part.tolist() for part in second.path]
    assert np.array_equal(first.touched, second.touched)
    assert first.probability == pytest.approx(second.probability, abs=1e-6)
    assert first.calibration == pytest.approx(second.calibration, abs=1e-6)
    assert (first.arcs, first.contradicted) == (second.arcs, second.contradicted)
    assert (first.a1, first.a0) == pytest.approx((second.a1, second.a0), abs=1e-6)


def test_seeds_of_several_components_are_all_kept():
    first, y = planted([40, 40], 0.4, 0.02)
    block = scipy.sparse.csr_array((np.ones(len(first.col)), first.col, first.rowptr))
    graph = as_undirected(scipy.sparse.block_diag([block, block, np.zeros((1, 1))], format="csr"))
    inside = np.concatenate([y == 0, y == 0, [True]])
    growth = grow_cluster(graph, [0, 80, 160], noisy(inside, 0.8, 0.9), 0.8, 0.9)
    assert f1(growth.nodes, inside) > 0.95
    assert np.isin([0, 80, 160], growth.nodes).all()
    assert growth.probability[np.searchsorted(growth.touched, [0, 80, 160])].tolist() == [1, 1, 1]


def copies(count, weighted=False):
    """A planted partition several times, not connected, and its first blocks."""
    one, y = planted([60, 120], 0.2, 0.02)
    block = scipy.sparse.csr_array((np.ones(len(one.col)), one.col, one.rowptr))
    graph = scipy.sparse.block_diag([block] * count, format="csr")
    if weighted:
        graph.data *= 3.0
    return as_undirected(graph), np.tile(y == 0, count)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hidden", [0.0, 0.4])
def test_restarts_find_the_parts_that_are_not_connected_to_a_seed(weighted, hidden):
    graph, inside = copies(6, weighted)
    labels = noisy(inside, 0.8, 0.9).astype(float)
    labels[np.random.default_rng(0).random(len(labels)) < hidden] = np.nan
    part = grow_cluster(graph, 0, labels, 0.8, 0.9)
    whole = grow_cluster(graph, 0, labels, 0.8, 0.9, restarts=True)
    assert f1(part.nodes, inside) < 0.3
    assert len(whole.path) > len(part.path)
    posterior = membership_posterior(graph, labels, 0.8, 0.9, seeds=[0])
    assert f1(whole.nodes, inside) > f1(posterior.nodes, inside) - 0.02 > 0.85
    assert np.abs(whole.probability - posterior.probability[whole.touched]).mean() < 0.02
    model = LocalCluster(restarts=True).fit(graph, 0, labels, 0.8, 0.9)
    assert (model.method_, model.nodes_.tolist(), model.arcs_) == ("growth", whole.nodes.tolist(), whole.arcs)


def test_without_members_elsewhere_restarts_read_labels_and_no_arc():
    graph, inside = copies(10)
    inside[180:] = False
    # Exactly as many labels are wrong elsewhere as the accuracy says, and every node of the seed's copy is reached.
    labels = np.where(inside, 1, np.arange(len(inside)) % 10 == 0).astype(np.uint8)
    part = grow_cluster(graph, 0, labels, 0.95, 0.9)
    asked = []

    def lookup(nodes):
        asked.append(len(nodes))
        return labels[nodes]

    whole = grow_cluster(graph, 0, lookup, 0.95, 0.9, restarts=True)
    assert asked == [len(inside)]
    assert np.array_equal(part.touched, whole.touched)
    assert np.array_equal(part.probability, whole.probability)
    assert (part.arcs, part.nodes.tolist()) == (whole.arcs, whole.nodes.tolist())


def test_restarts_read_no_row_of_a_far_node_of_label_0():
    graph, inside = copies(3)
    near = scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr))
    labels, arcs = np.append(noisy(inside, 0.9, 0.9), np.zeros(300, dtype=int)), []
    for far in (networkx.complete_graph(300), networkx.empty_graph(300)):
        both = scipy.sparse.block_diag([near, networkx.to_scipy_sparse_array(far)], format="csr")
        growth = grow_cluster(as_undirected(both), 0, labels, 0.9, 0.9, restarts=True)
        assert growth.touched.max() < len(inside)
        assert f1(growth.nodes, np.append(inside, np.zeros(300, dtype=bool))) > 0.95
        arcs.append(growth.arcs)
    assert arcs[0] == arcs[1]


def test_nodes_that_restarts_leave_outside_keep_the_posterior_of_their_labels():
    graph, inside = copies(6)
    near = scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr))
    # Of 6,000 isolated nodes 3 % are members: too few for one to be likelier a member than not.
    both = as_undirected(scipy.sparse.block_diag([near, scipy.sparse.csr_array((6000, 6000))], format="csr"))
    labels = np.append(noisy(inside, 0.8, 0.9), np.arange(6000) < 726)
    growth = grow_cluster(both, 0, labels, 0.8, 0.9, restarts=True)
    alone = growth.touched >= len(inside)
    assert growth.touched[alone].tolist() == list(range(len(inside), len(inside) + 726))
    outside = np.delete(labels, growth.path[-1])
    share = (outside.mean() - 0.1) / 0.7
    odds = growth.calibration[:2] @ [1, np.log(share / (1 - share))] + np.log(0.8 / 0.1)
    assert growth.probability[alone] == pytest.approx(1 / (1 + np.exp(-odds)), rel=0.01)
    assert f1(growth.nodes, np.append(inside, np.zeros(6000, dtype=bool))) > 0.95


def test_isolated_nodes_have_the_probability_of_their_labels():
    """Joined for label 1, they would make members of all labels inside."""
    graph, inside = copies(3)
    near = scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr))
    both = as_undirected(scipy.sparse.block_diag([near, scipy.sparse.csr_array((2000, 2000))], format="csr"))
    inside = np.append(inside, np.arange(2000) % 5 == 0)
    labels = noisy(inside, 0.9, 0.95)
    labels[0] = 1
    growth = grow_cluster(both, 0, labels, 0.9, 0.95, restarts=True)
    assert not growth.contradicted
    alone = growth.touched >= 540
    assert growth.touched[alone].tolist() == (540 + np.flatnonzero(labels[540:])).tolist()
    assert growth.probability[alone].mean() == pytest.approx(inside[540:][labels[540:] == 1].mean(), abs=0.06)


def test_labels_elsewhere_are_enough_with_restarts():
    graph, inside = copies(3)
    labels = noisy(inside, 0.9, 0.9).astype(float)
    labels[1:180] = np.nan
    with pytest.raises(InputError, match="labels: expected labels of other nodes than the seeds among those near them"):
        grow_cluster(graph, 0, labels, 0.9, 0.9)
    growth = grow_cluster(graph, 0, labels, 0.9, 0.9, restarts=True)
    assert f1(growth.nodes[growth.nodes >= 180], inside & (np.arange(len(inside)) >= 180)) > 0.95


def test_a_missing_label_is_no_evidence():
    graph, y = planted([100] * 3, 0.15, 0.01)
    inside = y == 0
    labels = noisy(inside, 0.9, 0.9).astype(float)
    hidden = np.random.default_rng(0).random(300) < 0.5
    labels[hidden] = np.nan
    growth = grow_cluster(graph, 0, labels, 0.9, 0.9)
    posterior = membership_posterior(graph, labels, 0.9, 0.9, seeds=[0])
    assert np.abs(growth.probability - posterior.probability[growth.touched]).mean() < 0.02
    zeros = grow_cluster(graph, 0, np.nan_to_num(labels), 0.9, 0.9)
    assert np.abs(zeros.probability - posterior.probability[zeros.touched]).mean() > 0.1


def test_accuracies_that_labels_contradict_are_estimated_with_a_warning():
    graph, y = planted([200] * 5, 0.08, 0.008)
    inside = y == 0
    labels = noisy(inside, 0.7, 0.9)
    with pytest.warns(UserWarning, match=r"a1, a0: expected accuracies that agree .* not 0.9 and 0.7, got"):
        growth = grow_cluster(graph, 0, labels, 0.9, 0.7)
    assert growth.contradicted
    assert growth.a0 == pytest.approx(0.9, abs=0.05)
    assert f1(growth.nodes, inside) > 0.85


def test_true_accuracies_are_kept(recwarn):
    for seed in range(5):
        graph, y = planted([100] * 4, 0.1, 0.01, seed)
        growth = grow_cluster(graph, 0, noisy(y == 0, 0.8, 0.9, seed), 0.8, 0.9)
        assert (growth.a1, growth.a0, growth.contradicted) == (0.8, 0.9, False)
    assert not recwarn.list


def test_a_seed_among_nodes_of_another_cluster_finds_its_own():
    graph, y = planted([80] * 4, 0.3, 0.01)
    # The seed has one neighbour in its own cluster and twenty in another.
    matrix = scipy.sparse.lil_array(scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr)))
    matrix[0, :] = matrix[:, 0] = 0
    for other in (1, *range(80, 100)):
        matrix[0, other] = matrix[other, 0] = 1
    inside = y == 0
    growth = grow_cluster(as_undirected(matrix.tocsr()), 0, noisy(inside, 0.9, 0.95), 0.9, 0.95)
    assert f1(growth.nodes, inside) > 0.95


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), weighted=st.booleans())
def test_the_order_of_nodes_and_a_factor_of_all_weights_do_not_matter(seed, weighted):
    rng = np.random.default_rng(seed)
    graph, y = planted([30, 50], 0.3, 0.03, seed)
    matrix = scipy.sparse.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr))
    if weighted:
        upper = scipy.sparse.triu(matrix).tocsr()
        upper.data = rng.uniform(0.5, 2, len(upper.data))
        matrix = (upper + upper.T).tocsr()
    labels, order = noisy(y == 0, 0.8, 0.9, seed), rng.permutation(80)
    place = np.argsort(order)
    first = grow_cluster(as_undirected(matrix), [0, 1], labels, 0.8, 0.9)
    moved = (4 * matrix)[order][:, order].tocsr() if weighted else matrix[order][:, order].tocsr()
    second = grow_cluster(as_undirected(moved), place[[0, 1]], labels[order], 0.8, 0.9)
    assert np.array_equal(np.sort(order[second.touched]), first.touched)
    back = second.probability[np.searchsorted(second.touched, place[first.touched])]
    assert back == pytest.approx(first.probability, abs=1e-4)


def test_names_and_one_node():
    named = networkx.relabel_nodes(networkx.ring_of_cliques(4, 6), lambda node: f"v{node}")
    growth = grow_cluster(named, "v0", {f"v{i}": int(i < 6) for i in range(24)}, 0.9, 0.9)
    assert growth.members == [f"v{i}" for i in range(6)]
    alone = grow_cluster(scipy.sparse.csr_array((1, 1)), 0, [0], 0.9, 0.9)
    assert (alone.nodes.tolist(), alone.probability.tolist()) == ([0], [1.0])


def test_the_estimator_grows_where_accuracies_are_known():
    graph, y = planted([100] * 3, 0.15, 0.01)
    labels = noisy(y == 0, 0.8, 0.9)
    model = LocalCluster().fit(graph, 0, labels, 0.8, 0.9)
    growth = grow_cluster(graph, 0, labels, 0.8, 0.9)
    assert (model.method_, model.nodes_.tolist(), model.arcs_) == ("growth", growth.nodes.tolist(), growth.arcs)
    assert model.scores_.tolist() == growth.probability[np.isin(growth.touched, growth.nodes)].tolist()
    assert [len(inside) for inside in model.path_] == [len(inside) for inside in growth.path]
    estimated = Membership(labels, labels.astype(float), 0.8, 0.9, 0.0, 0.0, 2)
    assert LocalCluster().fit(graph, 0, estimated).nodes_.tolist() == model.nodes_.tolist()
    for other in (LocalCluster().fit(graph, 0, labels), LocalCluster(label_eps=0.1).fit(graph, 0, labels, 0.8, 0.9)):
        assert (other.method_, other.growth_) == ("flow", None)
    with pytest.raises(InputError, match=r'method: expected "growth" with labels of known a1 and a0 alone, got'):
        LocalCluster("growth").fit(graph, 0, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1, 1]}, "a1, a0: expected accuracies of the labels"),
        ({"labels": [0, 1, 1], "a1": 0.9}, "a0: expected a number, since a1 is one"),
        ({"labels": [0, 1, 1], "a1": 0.4, "a0": 0.6}, "a1 \\+ a0: expected more than 1"),
        ({"labels": None, "a1": 0.9, "a0": 0.9}, "labels: expected an array"),
        ({"labels": [0, 1, 2], "a1": 0.9, "a0": 0.9}, "labels: expected 0 or 1"),
        ({"labels": [0, 1, 1], "a1": 0.9, "a0": 0.9, "seeds": []}, "seeds: expected at least one node"),
        ({"labels": [0, 1, 1], "a1": 0.9, "a0": 0.9, "seeds": 3}, "seeds: expected positions"),
        ({"labels": [0, 1, 1], "a1": 0.9, "a0": 0.9, "threshold": 1.5}, "threshold: expected"),
        ({"labels": [0, 1, 1], "a1": 0.9, "a0": 0.9, "tol": -1}, "tol: expected"),
        ({"labels": [0, 1, 1], "a1": 0.9, "a0": 0.9, "restarts": 1}, "restarts: expected"),
        ({"labels": [1, 0, 2], "a1": 0.9, "a0": 0.9, "restarts": True}, "labels: expected 0 or 1"),
        (
            {"labels": {0: 1}, "a1": 0.9, "a0": 0.9},
            "labels: expected labels of other .*none among 3",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        grow_cluster(networkx.path_graph(3), **{"seeds": 0, **arguments})
