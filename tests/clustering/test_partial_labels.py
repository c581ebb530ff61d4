"""Labels of some nodes, seeds that repeat or are left out by a sweep, and labels by node."""

import networkx
import numpy as np
import pandas
import pytest
import scipy.sparse as sp
import torch
from local_graphs import random_graph

from graphnoise import InputError, datasets, noise
from graphnoise.clustering import (
    LocalCluster,
    approximate_pagerank,
    as_undirected,
    capacity_releasing,
    community_profile,
    conductance,
    diffuse_many,
    flow_diffusion,
    heat_kernel,
    label_statistics,
    membership_posterior,
    mqi,
    precision_recall_f1,
    sweep_cut,
    sweep_many,
)
from graphnoise.clustering.inputs import PartialLabels, check_labels

N = 40
NAN = float("nan")


def problem(seed, weighted):
    """A graph, labels with -1 at some nodes, and the weights under these labels."""
    rng = np.random.default_rng(seed)
    A = np.triu(rng.random((N, N)) < 0.15, 1) * (rng.uniform(0.5, 2, (N, N)) if weighted else 1.0)
    A = A + A.T
    labels = rng.integers(-1, 2, N)
    return A, labels


def under(A, labels, label_eps):
    known = labels >= 0
    differ = known[:, None] & known & (labels[:, None] != labels)
    return np.where(differ, label_eps, 1.0) * A


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("label_eps", [0.0, 0.1])
def test_arcs_of_unlabelled_nodes_keep_their_weight(weighted, label_eps):
    A, labels = problem(0, weighted)
    graph, settings = as_undirected(sp.csr_array(A)), {"labels": labels, "label_eps": label_eps}
    W, S = under(A, labels, label_eps), [3, 4, 5, 20]
    inside = np.isin(np.arange(N), S)
    volume, cut = W[inside].sum(), W[inside][:, ~inside].sum()
    assert conductance(graph, S, **settings) == pytest.approx(cut / min(volume, A.sum() - volume))
    # The label of a seed is 1.
    labels[7] = 1
    W = sp.csr_array(under(A, labels, label_eps))
    labels[7] = -1
    for walk, tiny in ((approximate_pagerank, {"eps": 1e-9}), (heat_kernel, {"eps": 1e-9, "t": 3.0})):
        actual = walk(graph, 7, **settings, **tiny)
        np.testing.assert_allclose(actual.dense(N), walk(W, 7, **tiny).dense(N), atol=1e-6)
    flow = flow_diffusion(graph, 7, 30.0, **settings, tol=1e-6)
    x, mass = flow.dense(N), np.zeros(N)
    mass[7] = 30
    # Mass after flow over the weights; sinks are degrees without labels.
    after = mass - (np.diag(W.sum(1)) - W.toarray()) @ x
    assert (after <= A.sum(1) * (1 + 1e-5)).all()
    np.testing.assert_allclose(after[x > 0], A.sum(1)[x > 0], rtol=1e-5)


@pytest.mark.parametrize("label_eps", [0.0, 0.1])
def test_both_tiers_agree_and_batches_are_single_runs(label_eps):
    A, labels = problem(1, True)
    graph, settings = as_undirected(sp.csr_array(A)), {"labels": labels, "label_eps": label_eps}
    for run in (
        lambda b: flow_diffusion(graph, [1, 2], 20.0, **settings, backend=b).dense(N),
        lambda b: approximate_pagerank(graph, 1, **settings, backend=b).dense(N),
        lambda b: capacity_releasing(graph, 1, **settings, backend=b).dense(N),
        lambda b: sweep_cut(graph, np.arange(N), **settings, backend=b).profile,
        lambda b: mqi(graph, [1, 2, 5], **settings, backend=b).nodes,
        lambda b: diffuse_many(graph, [1, [2, 5]], mass=20.0, **settings, backend=b).values.toarray(),
    ):
        np.testing.assert_array_equal(run("native"), run("reference"))
    many = diffuse_many(graph, [1, [2, 5]], mass=20.0, **settings)
    for i, seeds in enumerate((1, [2, 5])):
        np.testing.assert_array_equal(many.values.toarray()[i], flow_diffusion(graph, seeds, 20.0, **settings).dense(N))
    assert many.seeds.tolist() == [1, 2, 5]
    assert [len(cluster.nodes) > 0 for cluster in sweep_many(graph, many, **settings)] == [True, True]
    assert diffuse_many(graph, [], mass=1.0, **settings).values.shape == (0, N)
    assert community_profile(graph, [1, 2], labels=labels, num_threads=1).complete


@pytest.mark.parametrize(
    "labels",
    [
        [1, 0, -1, NAN],
        np.array([1, 0, -1, -1]),
        np.array([1.0, 0.0, NAN, -1.0], dtype=np.float32),
        torch.tensor([1, 0, -1, -1], dtype=torch.int8),
        torch.tensor([1.0, 0.0, NAN, NAN]),
        [1, 0, None, None],
        [True, False, None, NAN],
        {0: 1, 1: 0},
        {1: False, 0: True, 3: None, 2: NAN},
        pandas.Series([0, 1], index=[1, 0]),
        pandas.Series([1, 0, None, None]),
        pandas.Series([1, 0, None, None], dtype="Int64"),
        pandas.Series([True, False, None, None], dtype="boolean"),
        np.ma.array([1, 0, 1, 1], mask=[False, False, True, True]),
    ],
)
def test_missing_labels(labels):
    path = as_undirected([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    checked = check_labels(path, labels)
    assert isinstance(checked, PartialLabels)
    assert checked.values.tolist() == [1, 0, 2, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pandas.Series([1, 0], index=[1, 1]), "one label per node, got a node twice"),
        (pandas.Series([1, 0], index=[1, 9]), "0 to 3, got 9"),
        (pandas.Series(["a", "b"]), "0, 1 or Booleans"),
        ([1, 0, None], r"4 labels, one per node, got shape \(3,\)"),
        ([1, 0, None, "1"], "0, 1 or Booleans"),
        ([1, 2, None, 0], "got 2"),
        ([[1, 0], [1, None]], "labels: expected"),
        (np.array([1, 0, 2, 1], dtype=np.uint8), "got 2 at position 2"),
        ({0: -2}, "got -2"),
    ],
)
def test_bad_partial_labels_are_named(labels, message):
    with pytest.raises(InputError, match=message):
        check_labels(as_undirected([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), labels)


def blocks(a1=0.9, a0=0.9):
    data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
    inside = data.y == 0
    return as_undirected(data), inside, noise.flip_membership(inside, a1=a1, a0=a0, seed=0).y


def test_half_of_the_labels_are_no_evidence_against_the_others():
    graph, inside, labels = blocks()
    some = {v: int(labels[v]) for v in range(0, 1000, 2)}
    posterior = membership_posterior(graph, some, a1=0.9, a0=0.9)
    assert precision_recall_f1(posterior.nodes, inside).f1 > 0.97
    estimated = membership_posterior(graph, pandas.Series(some))
    assert (estimated.a1, estimated.a0) == (pytest.approx(0.9, abs=0.07), pytest.approx(0.9, abs=0.05))
    with pytest.raises(InputError, match="labels: expected at least one labelled node"):
        membership_posterior(graph, {})
    found = LocalCluster().fit(graph, 0, some, a1=0.9, a0=0.9)
    assert precision_recall_f1(found.nodes_, inside).f1 > 0.8
    every = {v: int(label) for v, label in enumerate(labels)}
    whole, by_node = (LocalCluster().fit(graph, 0, given, a1=0.9, a0=0.9) for given in (labels, every))
    np.testing.assert_array_equal(whole.nodes_, by_node.nodes_)
    statistics = label_statistics(graph, 0, some, 0.9, 0.9)
    assert statistics.share == pytest.approx(label_statistics(graph, 0, labels, 0.9, 0.9).share, abs=0.1)
    # Without labels the posterior is the uniform prior.
    assert label_statistics(graph, 0, {0: 1}, 0.9, 0.9).share == pytest.approx(0.5)


def test_labels_by_name():
    graph = networkx.relabel_nodes(networkx.connected_caveman_graph(4, 6), lambda v: f"n{v}")
    names = list(graph)[::-1]
    labels = pandas.Series([int(int(name[1:]) < 6) for name in names], index=names)
    expected = membership_posterior(graph, labels.to_dict(), 0.9, 0.9)
    assert set(expected.members) == {f"n{v}" for v in range(6)}
    np.testing.assert_array_equal(membership_posterior(graph, labels, 0.9, 0.9).probability, expected.probability)
    seeds = pandas.Series(["n1", "n2", "n1"])
    assert flow_diffusion(graph, seeds, 9.0).members == flow_diffusion(graph, ["n1", "n2"], 9.0).members
    assert (
        flow_diffusion(graph, labels == 1, 9.0).members
        == flow_diffusion(graph, [f"n{v}" for v in range(6)], 9.0).members
    )


@pytest.mark.parametrize("method", ["flow", "pagerank", "crd"])
@pytest.mark.parametrize(("rounding", "improve"), [("sweep", None), ("sweep", "mqi"), ("support", None)])
def test_all_seeds_are_kept(method, rounding, improve):
    rng = np.random.default_rng(0)
    for seed in range(4):
        graph = as_undirected(sp.csr_array(random_graph(seed, 60)))
        seeds = rng.choice(60, 5, replace=False)
        model = LocalCluster(method, rounding=rounding, improve=improve).fit(graph, seeds)
        assert model.predict(seeds).all()
        assert (np.diff(model.nodes_) > 0).all()
        assert model.conductance_ == pytest.approx(conductance(graph, model.nodes_))
        assert len(model.scores_) == len(model.nodes_)


def test_seeds_that_repeat():
    graph = as_undirected(sp.csr_array(random_graph(0, 60)))
    once = flow_diffusion(graph, [3, 8], 20.0)
    for seeds in ([3, 8, 3], np.array([8, 3, 3, 8]), torch.tensor([3, 3, 8])):
        np.testing.assert_array_equal(flow_diffusion(graph, seeds, 20.0).dense(60), once.dense(60))
    apart = flow_diffusion(graph, [3, 8, 3], [4.0, 6.0, 10.0])
    np.testing.assert_array_equal(apart.dense(60), flow_diffusion(graph, {3: 14.0, 8: 6.0}).dense(60))
    assert conductance(graph, [3, 8, 3]) == conductance(graph, [3, 8])
    assert diffuse_many(graph, [[3, 3], 8], "pagerank").seeds.tolist() == [3, 8]
    with pytest.raises(InputError, match="seeds: expected positions of nodes"):
        flow_diffusion(graph, pandas.DataFrame({"node": [3, 8]}), 20.0)
    model = LocalCluster().fit(graph, [3, 3])
    assert model.predict([3, 3, 3]).tolist() == [True] * 3


@pytest.mark.parametrize("weighted", [False, True])
def test_repeated_arcs_are_merged_in_the_posterior(weighted):
    A, labels = problem(3, weighted)
    rows, cols = np.nonzero(np.triu(A))
    edges = [(u, v, {"weight": A[u, v]}) for u, v in zip(rows.tolist(), cols.tolist(), strict=True)]
    multi = networkx.MultiGraph()
    multi.add_nodes_from(range(N))
    multi.add_edges_from(edges + edges[::2] if weighted else [e[:2] for e in edges + edges[::2]])
    summed = A.copy()
    summed[rows[::2], cols[::2]] *= 2
    summed[cols[::2], rows[::2]] *= 2
    labels = (labels == 1).astype(int)
    actual = membership_posterior(multi, labels, 0.8, 0.9)
    expected = membership_posterior(sp.csr_array(summed), labels, 0.8, 0.9)
    np.testing.assert_allclose(actual.probability, expected.probability, rtol=1e-9)
    assert actual.arcs == expected.arcs
