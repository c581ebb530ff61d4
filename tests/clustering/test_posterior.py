"""Beliefs of membership: against the same written with loops, exact cases, what must not matter, bad input."""

import itertools
import math
from dataclasses import replace

import igraph
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch_geometric.data import Data

from graphnoise import Graph, InputError, datasets, noise
from graphnoise.clustering import as_undirected, membership_posterior, posterior, precision_recall_f1
from graphnoise.clustering.membership import Membership


def s(x):
    return 1 / (1 + math.exp(-x))


def slow(weight, observed, a1, a0, steps):
    """The same from the docstring: messages in a dictionary, w by a minimiser that takes differences."""
    n = len(weight)
    near = {i: [j for j in range(n) if weight[i, j] and i != j] for i in range(n)}
    labelled = [i for i in range(n) if observed[i] >= 0]
    mean = min(max((np.mean(observed[labelled]) - (1 - a0)) / (a1 + a0 - 1), 1 / (n + 1)), n / (n + 1))
    own = [(math.log((1 - a1) / a0), math.log(a1 / (1 - a0)), 0.0)[y] for y in observed]
    start = [s(math.log(mean / (1 - mean)) + own[i]) for i in range(n)]
    # I → j.
    sent = {(i, j): start[i] for i in range(n) for j in near[i]}
    w = np.array([0.0, 1.0, 0.0, 0.0])

    def features(i, without=None):
        others = [j for j in near[i] if j != without]
        heavy = [weight[i, j] for j in others]
        d = sum(heavy) ** 2 / sum(x * x for x in heavy) if others else 0.0
        belief = sum(x * sent[j, i] for x, j in zip(heavy, others, strict=True)) / sum(heavy) if others else 0.0
        m = (d * belief + mean) / (d + 1)
        vote, count = math.log(m / (1 - m)), math.log(1 + d)
        return np.array([1, vote, vote * count, count])

    for step in range(steps):
        rows = np.array([features(i) for i in range(n)])

        def loss(w, rows=rows):
            q = [1 - a0 + (a1 + a0 - 1) * s(x) for x in rows @ w]
            fit = -sum(math.log(p) if y else math.log(1 - p) for y, p in zip(observed, q, strict=True) if y >= 0)
            return fit + 5 * (w[0] ** 2 / len(labelled) + (w[1] - 1) ** 2 + w[2] ** 2 + w[3] ** 2)

        w = minimize(loss, w, options={"gtol": 1e-7}).x
        new = {(i, j): s(features(i, j) @ w + own[i]) for i, j in sent}
        sent = new if step == 0 else {arc: (sent[arc] + new[arc]) / 2 for arc in sent}
    return np.array([s(rows[i] @ w + own[i]) for i in range(n)])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("some", [False, True])
def test_beliefs_are_those_of_loops(weighted, steps, some):
    rng = np.random.default_rng(0)
    inside = np.arange(40) < 15
    near = np.triu(rng.random((40, 40)) < np.where(inside[:, None] == inside, 0.3, 0.05), 1)
    weight = np.where(near, rng.uniform(0.5, 3, near.shape) if weighted else 1.0, 0.0)
    # Self-loops say nothing.
    weight = weight + weight.T + np.diag(rng.integers(0, 2, 40))
    weight[7] = weight[:, 7] = 0
    weight[0, 1] = weight[1, 0] = weight[0, 1] or 1.0
    observed = (rng.random(40) < np.where(inside, 0.8, 0.1)).astype(int)
    if some:
        observed[::3] = -1
    result = membership_posterior(sp.csr_array(weight), observed, 0.8, 0.9, num_steps=steps, tol=0)
    assert result.steps == steps
    np.testing.assert_allclose(result.probability, slow(weight, observed, 0.8, 0.9, steps), atol=2e-4)


def test_without_edges_the_posterior_is_that_of_the_labels():
    observed = np.arange(1000) < 300
    result = membership_posterior(sp.csr_array((1000, 1000)), observed, 0.9, 0.8)
    # Where 300 labels 1 come from.
    share = (0.3 - 0.2) / 0.7
    assert result.prior == pytest.approx(np.full(1000, share), abs=1e-3)
    assert result.probability[0] == pytest.approx(share * 0.9 / 0.3, abs=2e-3)
    assert result.probability[-1] == pytest.approx(share * 0.1 / 0.7, abs=2e-3)
    assert result.converged


@pytest.fixture(scope="module")
def blocks():
    data = datasets.planted_partition([150] * 6, 0.08, 0.01, seed=0)
    inside = (data.y == 0).numpy()
    labels = noise.flip_membership(inside, a1=0.7, a0=0.9, seed=0).y
    return as_undirected(Graph.from_data(data)), inside, labels


def test_labels_and_edges_are_better_than_labels(blocks):
    graph, inside, labels = blocks
    result = membership_posterior(graph, labels, 0.7, 0.9)
    alone, both = (precision_recall_f1(nodes, inside).f1 for nodes in (labels.nonzero()[0], result.nodes))
    assert alone < 0.65
    assert both > 0.9


@pytest.mark.parametrize(("a1", "a0"), [(0.9, 0.95), (0.7, 0.9), (0.8, 0.7)])
def test_accuracies_need_not_be_known(blocks, a1, a0):
    graph, inside, _ = blocks
    labels = noise.flip_membership(inside, a1=a1, a0=a0, seed=3).y
    result, known = membership_posterior(graph, labels), membership_posterior(graph, labels, a1, a0)
    assert (result.a1, result.a0) == pytest.approx((a1, a0), abs=0.1)
    assert (known.a1, known.a0) == (a1, a0)
    best, other = (precision_recall_f1(one.nodes, inside).f1 for one in (known, result))
    assert other > best - 0.03


@pytest.mark.parametrize("guess", [None, np.array([-0.4, -1.0])])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_calibration_has_the_largest_posterior(guess, share):
    """Also with a1 and a0 among the unknowns; by a minimiser that takes differences."""
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(50), rng.normal(size=(50, 3))])
    observed = (rng.random(50) < share).astype(float)
    ridges, centre = np.array([1.0, 10, 10, 10]), posterior.START

    def loss(v):
        hit, ratio = (0.8, 0.125) if guess is None else expit(v[4:])
        p = expit(x @ v[:4])
        one = hit * p + hit * ratio * (1 - p)
        rates = 0.0 if guess is None else 1.5 * ((v[4:] - guess) ** 2).sum()
        return rates + ridges @ (v[:4] - centre) ** 2 / 2 - np.log(np.where(observed > 0, one, 1 - one)).sum()

    start = centre if guess is None else np.concatenate([centre, guess])
    w, a1, a0 = posterior.calibrate_votes(x, observed, centre, 0.8, 0.9, guess, ridge=1.0)
    found = w if guess is None else np.concatenate([w, posterior.logits_of(a1, a0)])
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-6})
    assert loss(found) == pytest.approx(best.fun, abs=1e-5)
    assert found == pytest.approx(best.x, abs=5e-3)
    assert guess is not None or (a1, a0) == (0.8, 0.9)


def test_probabilities_are_shares():
    """Nodes that are inside with probability p are, for a share of about p."""
    p, truth = [], []
    for seed in range(4):
        data = datasets.planted_partition([100] * 6, 0.06, 0.02, seed=seed)
        inside = (data.y == 0).numpy()
        labels = noise.flip_membership(inside, a1=0.8, a0=0.9, seed=seed).y
        p.append(membership_posterior(Graph.from_data(data), labels, 0.8, 0.9).probability)
        truth.append(inside)
    p, truth = np.concatenate(p), np.concatenate(truth)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        chosen = (p >= low) & (p < high)
        assert chosen.sum() > 50
        assert truth[chosen].mean() == pytest.approx(p[chosen].mean(), abs=0.12)


@pytest.mark.parametrize("seed", range(10))
def test_nodes_have_the_largest_expected_f1(seed):
    """Against all sets and all truths; `nodes` takes the ratio of two expectations for that of the ratio."""
    p = np.random.default_rng(seed).beta(0.7, 1.5, 7)
    sets = np.array(list(itertools.product([0, 1], repeat=7)))
    truth = np.prod(np.where(sets == 1, p, 1 - p), axis=1)
    overlap, sizes = sets @ sets.T, sets.sum(axis=1)
    total = sizes[:, None] + sizes
    f1 = np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1)) @ truth
    empty = membership_posterior(sp.csr_array((7, 7)), [0, 1] * 3 + [1], 0.9, 0.9)
    nodes = replace(empty, probability=p).nodes
    chosen = np.isin(np.arange(7), nodes)
    assert f1[(sets == chosen).all(axis=1)][0] > f1.max() - 0.05


def test_nodes_of_rare_and_of_sure_members():
    empty = membership_posterior(sp.csr_array((3, 3)), [0, 1, 1], 0.9, 0.9)
    # Below 1/2, and still the best answer.
    rare = np.append(np.full(10, 0.4), np.full(90, 0.01))
    assert replace(empty, probability=rare).nodes.tolist() == list(range(10))
    assert replace(empty, probability=np.full(1000, 1e-4)).nodes.tolist() == []
    assert replace(empty, probability=np.array([0.0, 1.0, 1.0])).nodes.tolist() == [1, 2]


@pytest.mark.parametrize("weighted", [False, True])
def test_repeated_arcs_of_three_containers(weighted):
    rng = np.random.default_rng(0)
    single = np.array(nx.connected_caveman_graph(5, 6).edges)
    edges = np.concatenate([single, single[::2], single[::4]])[rng.permutation(len(single) + 38 + 19)]
    weight = rng.uniform(0.5, 2, len(edges)) if weighted else np.ones(len(edges))
    labels = (np.arange(30) < 6).astype(int)
    dense = sp.coo_array((weight, edges.T), shape=(30, 30)).toarray()
    expected = membership_posterior(sp.csr_array(dense + dense.T), labels, 0.9, 0.9)
    multi, graph = nx.MultiGraph(), igraph.Graph(30, edges.tolist())
    multi.add_nodes_from(range(30))
    multi.add_weighted_edges_from((*edge, w) for edge, w in zip(edges.tolist(), weight, strict=True))
    graph.es["weight"] = weight.tolist()
    arcs = torch.from_numpy(np.concatenate([edges, edges[:, ::-1]]).T.copy())
    data = Data(edge_index=arcs, edge_weight=torch.from_numpy(np.tile(weight, 2)), num_nodes=30)
    for given in (multi, graph, data):
        result = membership_posterior(given, labels, 0.9, 0.9)
        np.testing.assert_allclose(result.probability, expected.probability, atol=1e-4)
        assert result.arcs == expected.arcs


@pytest.mark.parametrize(("a1", "a0"), [(0.9, 0.7), (0.55, 0.55), (0.99, 0.6)])
def test_accuracies_that_the_labels_contradict_are_refused(blocks, a1, a0):
    graph, _, labels = blocks
    with pytest.raises(InputError, match=r"a1, a0: expected accuracies with 1 - a0 < share of label 1 < a1, .* got"):
        membership_posterior(graph, labels, a1, a0)


def test_a_contradiction_may_be_chance(blocks):
    graph, _, _ = blocks
    # 90 labels 1 are expected without any member, with a standard deviation of 9.
    membership_posterior(graph, np.arange(900) < 75, 0.9, 0.9, num_steps=1)
    for ones in (65, 0):
        with pytest.warns(UserWarning, match="a1, a0: expected accuracies .*, got a share"):
            membership_posterior(graph, np.arange(900) < ones, 0.9, 0.9, num_steps=1)
    with pytest.raises(InputError, match="a1, a0: expected"):
        membership_posterior(graph, np.arange(900) < 50, 0.9, 0.9)
    # Accuracies that are estimates themselves have errors.
    known = Membership(np.arange(900) < 50, np.zeros(900), 0.9, 0.9, 0.1, 0.1, 5)
    assert membership_posterior(graph, known, num_steps=1).a0 == 0.9


def test_edges_that_say_nothing_are_ignored():
    """Where classes are independent of the edges, what neighbours have in common is chance."""
    flat = 0
    for seed in range(6):
        graph = nx.connected_caveman_graph(100, 10) if seed % 2 else nx.watts_strogatz_graph(1000, 10, 0.1, seed=seed)
        inside = np.random.default_rng(seed).random(1000) < 0.1
        labels = noise.flip_membership(inside, a1=0.8, a0=0.8, seed=seed).y
        result = membership_posterior(graph, labels, 0.8, 0.8)
        flat += not result.informative
        if not result.informative:
            assert (result.calibration[1:] == 0).all()
            assert result.converged
            assert len(np.unique(result.probability)) == 2
    assert flat >= 5


def test_the_seed_and_whether_edges_are_informative(blocks):
    graph, _, labels = blocks
    first, second = (membership_posterior(graph, labels, 0.7, 0.9, seed=3) for _ in range(2))
    assert first.informative
    assert (first.probability == second.probability).all()


@pytest.mark.parametrize(("a1", "a0"), [(0.3, 1.0), (0.7, 0.7)])
def test_unknown_accuracies_far_from_the_expected_ones(blocks, a1, a0):
    graph, inside, _ = blocks
    labels = noise.flip_membership(inside, a1=a1, a0=a0, seed=1000).y
    result = membership_posterior(graph, labels)
    assert (result.a1, result.a0) == pytest.approx((a1, a0), abs=0.13)
    assert precision_recall_f1(result.nodes, inside).f1 > 0.9


def test_one_heavy_edge_does_not_hide_the_others(blocks):
    graph, _, labels = blocks
    matrix = sp.csr_array((np.ones(len(graph.col)), graph.col, graph.rowptr)).tolil()
    base = membership_posterior(matrix.tocsr(), labels, 0.7, 0.9)
    i, j = 300, 700
    matrix[i, j] = matrix[j, i] = 1e12
    heavy = membership_posterior(matrix.tocsr(), labels, 0.7, 0.9)
    others = np.setdiff1d(np.arange(900), [i, j])
    np.testing.assert_allclose(heavy.probability[others], base.probability[others], atol=0.05)
    assert heavy.calibration == pytest.approx(base.calibration, abs=0.1)


@pytest.mark.parametrize(("label", "expected"), [(1, 0.9), (0, 0.1)])
def test_a_single_node_has_the_posterior_of_its_label(label, expected):
    result = membership_posterior(sp.csr_array((1, 1)), [label], 0.9, 0.9)
    assert result.probability == pytest.approx([expected], abs=0.03)


def test_neighbours_on_the_other_side_count_as_well():
    """In a bipartite graph edges lead outside."""
    rng = np.random.default_rng(0)
    across = sp.csr_array((rng.random((200, 200)) < 0.05).astype(float))
    graph = sp.block_array([[None, across], [across.T, None]], format="csr")
    inside = np.arange(400) < 200
    labels = noise.flip_membership(inside, a1=0.8, a0=0.8, seed=0).y
    result = membership_posterior(graph, labels, 0.8, 0.8)
    assert (result.nodes < 200).mean() > 0.95
    assert result.calibration[1] + result.calibration[2] < 0


def test_order_and_unit_of_weights_do_not_matter(blocks):
    graph, _, labels = blocks
    base = membership_posterior(graph, labels, 0.7, 0.9, num_steps=4)
    matrix = sp.csr_array((np.full(len(graph.col), 250.0), graph.col, graph.rowptr))
    order = np.random.default_rng(0).permutation(len(labels))
    other = membership_posterior(matrix[order][:, order], labels[order], 0.7, 0.9, num_steps=4)
    np.testing.assert_allclose(other.probability, base.probability[order], atol=1e-5)


def test_seeds_names_and_memberships(blocks):
    graph, _, labels = blocks
    outside = int(np.flatnonzero(labels == 0)[-1])
    result = membership_posterior(graph, labels, 0.7, 0.9, seeds=[outside])
    assert result.probability[outside] == 1
    known = Membership(labels, labels.astype(float), 0.7, 0.9, 0.01, 0.01, 5)
    assert (
        membership_posterior(graph, known).probability == membership_posterior(graph, labels, 0.7, 0.9).probability
    ).all()
    named = nx.relabel_nodes(nx.path_graph(4), dict(enumerate("abcd")))
    assert membership_posterior(named, {"a": 1, "b": 1}, 0.9, 0.9, seeds="c").probability[2] == 1


@pytest.mark.filterwarnings("ignore:a1, a0")
@pytest.mark.parametrize(("a1", "a0"), [(1.0, 1.0), (1.0, 0.5), (0.5, 1.0), (0.9, 0.9)])
@pytest.mark.parametrize("observed", [0, 1, "some"])
def test_labels_without_errors_and_labels_of_one_kind(blocks, a1, a0, observed):
    graph, inside, _ = blocks
    flipped = noise.flip_membership(inside, a1=a1, a0=a0, seed=0).y
    labels = np.full(len(inside), observed) if observed != "some" else flipped
    result = membership_posterior(graph, labels, a1, a0)
    assert np.isfinite(result.probability).all()
    if a0 == 1:
        assert (result.probability[labels == 1] == 1).all()
    if a1 == 1:
        assert (result.probability[labels == 0] == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": None}, "labels: expected an array"),
        ({"a1": None}, "a1: expected a number, since a0 is one"),
        ({"a0": None}, "a0: expected a number, since a1 is one"),
        ({"a1": 0.4, "a0": 0.6}, r"a1 \+ a0: expected more than 1"),
        ({"a1": float("nan")}, "a1: expected a rate"),
        ({"labels": [0, 1]}, "labels: expected 900 labels"),
        ({"seeds": [900]}, "seeds: expected positions"),
        ({"num_steps": 0}, "num_steps: expected an integer of at least 1"),
        ({"tol": -1.0}, "tol: expected a number of at least 0"),
    ],
)
def test_bad_input_is_named(blocks, change, words):
    graph, _, labels = blocks
    arguments = {"labels": labels, "a1": 0.7, "a0": 0.9, **change}
    with pytest.raises(InputError, match=words):
        membership_posterior(graph, **arguments)
