"""Beliefs of membership: against the same written with loops, exact cases, what must not matter, bad input."""

import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import check_grad, minimize

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
            return fit + 5 * ((w[1] - 1) ** 2 + w[2] ** 2 + w[3] ** 2)

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


def test_the_slopes_of_the_calibration_are_those_of_its_loss(monkeypatch):
    """Also with a1 and a0 among the unknowns."""
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(50), rng.normal(size=(50, 3))])
    observed = (rng.random(50) < 0.4).astype(float)
    losses = []

    def keep(loss, start, **_):
        losses.append((loss, start))
        return minimize(loss, start, jac=True, method="L-BFGS-B")

    monkeypatch.setattr(posterior, "minimize", keep)
    posterior._calibrate(x, observed, posterior.START, 0.8, 0.9, None)
    posterior._calibrate(x, observed, posterior.START, 0.8, 0.9, np.array([-0.4, -1.0]))
    assert [len(start) for _, start in losses] == [4, 6]
    for loss, start in losses:
        at = start + 0.3
        assert check_grad(lambda v, f=loss: f(v)[0], lambda v, f=loss: f(v)[1], at) < 1e-6


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


def test_an_even_chance_is_not_inside():
    result = membership_posterior(sp.csr_array((3, 3)), [0, 1, 1], 0.9, 0.9)
    assert replace(result, probability=np.array([0.5, 0.51, 0.49])).nodes.tolist() == [1]


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


@pytest.mark.parametrize(("a1", "a0"), [(1.0, 1.0), (1.0, 0.5), (0.5, 1.0)])
@pytest.mark.parametrize("observed", [0, 1, "some"])
def test_labels_without_errors_and_labels_of_one_kind(blocks, a1, a0, observed):
    graph, inside, _ = blocks
    labels = inside if observed == "some" else np.full(len(inside), observed)
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
