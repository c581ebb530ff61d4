"""Class posteriors: against the formulas with loops, planted and real labels, what must not matter, bad input."""

import math

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

from graphnoise import Graph, InputError, datasets, noise
from graphnoise.beliefs import calibration, label_posterior, posterior
from graphnoise.beliefs.calibration import Calibration, fit_calibration
from graphnoise.resources import torch_threads


def slow(weight, y, matrix, steps):
    """The formulas of the docstring with a known T: messages {(i, j): distribution}, sums without differences."""
    n, classes = len(weight), len(matrix)
    near = {i: [j for j in range(n) if weight[i, j] and i != j] for i in range(n)}
    labelled = [i for i in range(n) if y[i] >= 0]
    likelihood = np.array([matrix[:, y[i]] if y[i] >= 0 else np.ones(classes) for i in range(n)])
    pi = posterior._shares(y[labelled], matrix)
    start = [pi * row / (pi @ row) for row in likelihood]
    sent = {(i, j): start[i] for i in range(n) for j in near[i]}
    J = np.outer(pi, pi) + sum(np.outer(sent[e], sent[e[::-1]]) for e in sent)
    x = np.concatenate([np.zeros(classes), [1.0, 0.0], np.zeros(classes)])
    centre, ridge = x, np.repeat([0.1, 10.0], [classes, classes + 2])

    def votes(i, H, without=None):
        heavy = np.array([weight[i, k] for k in near[i] if k != without])
        came = [sent[k, i] for k in near[i] if k != without]
        d = heavy.sum() ** 2 / (heavy**2).sum() if len(heavy) else 0.0
        u = (d * (heavy @ came / heavy.sum() if len(heavy) else 0.0) + pi) / (d + 1)
        return np.log(u @ H) - np.log(pi @ H), math.log(1 + d)

    def prior(x, vote, g):
        b, (w1, w2), v = x[:classes], x[classes : classes + 2], x[classes + 2 :]
        return softmax(np.log(pi) + b + (w1 + w2 * g) * vote + v * g)

    for _ in range(steps):
        H, psi = J / J.sum(1, keepdims=True), J / np.outer(J.sum(1), J.sum(1))
        seen = [votes(i, H) for i in range(n)]

        def loss(x, seen=seen):
            fit = -sum(math.log(prior(x, *seen[i]) @ matrix[:, y[i]]) for i in labelled)
            return fit + ridge @ (x - centre) ** 2 / 2

        x = minimize(loss, x, options={"gtol": 1e-6}).x
        priors = np.array([prior(x, *seen[i]) for i in range(n)])
        belief = priors * likelihood / (priors * likelihood).sum(1, keepdims=True)
        new = {}
        for i, j in sent:
            p = prior(x, *votes(i, H, j)) * likelihood[i]
            new[i, j] = (sent[i, j] + p / p.sum()) / 2
        sent, pi = new, belief[labelled].mean(0)
        pairs = [psi * np.outer(sent[e], sent[e[::-1]]) for e in sent]
        J = np.outer(pi, pi) + sum(pair / pair.sum() for pair in pairs)
    return belief, priors, H


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_beliefs_are_those_of_loops(weighted, steps):
    rng = np.random.default_rng(1)
    true = np.arange(24) // 8
    near = np.triu(rng.random((24, 24)) < np.where(true[:, None] == true, 0.4, 0.08), 1)
    weight = np.where(near, rng.uniform(0.5, 3, near.shape) if weighted else 1.0, 0.0)
    weight = weight + weight.T
    weight[5] = weight[:, 5] = 0
    noise_of = noise.pair(3, 0.2)
    y = np.asarray(noise_of.corrupt(true, seed=0).y)
    y[::4] = -1
    result = label_posterior(sp.csr_array(weight), y, transition=noise_of, num_steps=steps, tol=0.0)
    belief, priors, affinity = slow(weight, y, noise_of.matrix.numpy(), steps)
    np.testing.assert_allclose(result.probability, belief, atol=2e-3)
    np.testing.assert_allclose(result.prior, priors, atol=2e-3)
    np.testing.assert_allclose(result.affinity, affinity, atol=2e-3)
    assert result.transition == noise_of
    assert result.labelled.tolist() == np.flatnonzero(y >= 0).tolist()


def test_the_slopes_of_the_calibration_are_those_of_its_loss(monkeypatch):
    rng = np.random.default_rng(0)
    losses = []

    def keep(loss, start, **_):
        losses.append((loss, start))
        return minimize(lambda x: x @ x, start)

    monkeypatch.setattr(calibration, "minimize", keep)
    field, votes, g = np.log(rng.dirichlet(np.ones(3), 40)), rng.normal(size=(40, 3)), rng.uniform(0, 3, 40)
    matrix = noise.pair(3, 0.3).matrix.numpy()
    fit_calibration(Calibration.start(3, True), np.zeros(3), field, votes, g, rng.integers(0, 3, 40), matrix, 2.0)
    (loss, start) = losses[0]
    assert check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], start + rng.normal(size=9) / 3) < 1e-5


@pytest.fixture(scope="module")
def planted():
    data = datasets.planted_partition([200] * 4, 0.1, 0.01, seed=0)
    return Graph.from_data(data), data.y.numpy()


@pytest.mark.parametrize("method", ["em", "hard"])
@pytest.mark.parametrize("kind", [noise.symmetric, noise.pair])
def test_planted_classes_and_errors_are_recovered(planted, method, kind):
    graph, true = planted
    errors = kind(4, 0.2)
    y = np.asarray(errors.corrupt(true, seed=1).y)
    y[np.random.default_rng(0).random(len(y)) < 0.2] = -1
    result = label_posterior(graph, y, method=method)
    assert (result.probability.argmax(1) == true).mean() > 0.95
    realised = np.array([np.bincount(y[(true == c) & (y >= 0)], minlength=4) for c in range(4)])
    realised = realised / realised.sum(1, keepdims=True)
    np.testing.assert_allclose(result.transition.matrix, realised, atol=0.06)
    assert result.affinity.diagonal().min() > 0.7
    np.testing.assert_allclose(result.class_prior, 0.25, atol=0.03)


def test_classes_that_join_others():
    """Edges lead from class 0 to class 1, and from class 2 to class 3."""
    rng = np.random.default_rng(0)
    true = np.arange(400) % 4
    near = np.triu((rng.random((400, 400)) < 0.2) & ((true[:, None] ^ 1) == true), 0)
    y = np.asarray(noise.symmetric(4, 0.2).corrupt(true, seed=0).y)
    result = label_posterior(sp.csr_array((near | near.T).astype(float)), y)
    assert (y == true).mean() < 0.85
    assert (result.prior.argmax(1) == true).mean() > 0.97
    assert (result.probability.argmax(1) == true).mean() > 0.9
    assert result.affinity[[0, 1, 2, 3], [1, 0, 3, 2]].min() > 0.9


@pytest.mark.parametrize(("kind", "auroc", "accuracy"), [(noise.symmetric, 0.972, 0.917), (noise.pair, 0.984, 0.947)])
def test_label_errors_of_cora(kind, auroc, accuracy):
    """Figures of the method when it was found, by another implementation."""
    data = datasets.load("cora")
    true = data.y.numpy()
    y = np.asarray(kind(7, 0.2).corrupt(true, seed=1000).y)
    result = label_posterior(Graph.from_data(data), y)
    suspicion = 1 - result.probability[np.arange(len(y)), y]
    assert roc_auc_score(y != true, suspicion) == pytest.approx(auroc, abs=0.01)
    assert (result.probability.argmax(1) == true).mean() == pytest.approx(accuracy, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans())
def test_invariants(seed, classes, weighted):
    """Rows are distributions, and the order of nodes and of classes does not matter."""
    rng = np.random.default_rng(seed)
    n = 40
    near = np.triu(rng.random((n, n)) < 0.15, 1) * (rng.uniform(0.1, 9, (n, n)) if weighted else 1.0)
    y = rng.integers(-1, classes, n)
    y[:classes] = np.arange(classes)
    dense = near + near.T
    result = label_posterior(sp.csr_array(dense), y, num_steps=3)
    for rows in (result.probability, result.prior, result.affinity, result.transition.matrix.numpy()):
        assert (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(1), 1)
    nodes, names = rng.permutation(n), rng.permutation(classes)
    other = np.append(names, -1)[y][nodes]
    permuted = label_posterior(sp.csr_array(dense[nodes][:, nodes]), other, num_steps=3)
    np.testing.assert_allclose(permuted.probability[:, names], result.probability[nodes], atol=5e-3)


def test_threads_and_seeds(planted, monkeypatch):
    monkeypatch.setattr(posterior, "MAX_CALIBRATED", 200)
    graph, true = planted
    y = np.asarray(noise.symmetric(4, 0.3).corrupt(true, seed=0).y)
    results = []
    for threads in (1, 2, 4):
        with torch_threads(threads):
            results.append(label_posterior(graph, y, seed=3).probability)
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()
    assert (label_posterior(graph, y, seed=4).probability != results[0]).any()


def test_without_arcs_labels_and_the_field_decide():
    y = np.repeat([0, 1, -1], [60, 30, 10])
    errors = noise.symmetric(2, 0.1)
    result = label_posterior(sp.csr_array((100, 100)), y, transition=errors)
    np.testing.assert_allclose(result.prior, np.tile(result.prior[:1], (100, 1)))
    # 5/8 of the members of class 0 make 60 labels of 90.
    assert result.class_prior[0] == pytest.approx((60 / 90 - 0.1) / 0.8, abs=0.02)
    expected = result.prior[:60] * errors.matrix.numpy()[:, 0]
    np.testing.assert_allclose(result.probability[:60], expected / expected.sum(1, keepdims=True))
    np.testing.assert_allclose(result.probability[90:], result.prior[90:])
    field = np.zeros((100, 2))
    field[95:, 1] = 20.0
    known = label_posterior(sp.csr_array((100, 100)), y, transition=errors, field=field)
    assert (known.probability[95:, 1] > 0.99).all()
    assert (known.probability[90:95, 1] < 0.6).all()


def test_names_and_directed_graphs():
    graph = nx.relabel_nodes(nx.connected_caveman_graph(3, 8), lambda v: f"n{v}")
    y = np.repeat(["cat", "dog", "owl"], 8).astype(object)
    y[[3, 12]] = [None, "owl"]
    result = label_posterior(graph, y)
    assert result.classes.tolist() == ["cat", "dog", "owl"]
    assert result.classes[result.probability.argmax(1)].tolist() == np.repeat(["cat", "dog", "owl"], 8).tolist()
    assert result.names[:2] == ["n0", "n1"]
    directed = label_posterior(np.array(nx.connected_caveman_graph(3, 8).edges).T, y)
    np.testing.assert_allclose(directed.probability, result.probability, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": [-1] * 6}, "y: expected labels of at least two classes, got no label"),
        ({"y": [1] * 6}, "y: expected labels of at least two classes, got one"),
        ({"y": [0, 1]}, "y: expected 6 labels"),
        ({"field": np.zeros((6, 3))}, r"field: expected shape \(6, 2\)"),
        ({"field": np.full((6, 2), np.nan)}, "field: expected"),
        ({"transition": noise.symmetric(3, 0.1)}, "transition: expected a Transition of 2 classes, got 3"),
        ({"transition": np.eye(2)}, "transition: expected a Transition of 2 classes, got ndarray"),
        ({"method": "soft"}, "method: expected"),
        ({"num_steps": 0}, "num_steps: expected an integer of at least 1"),
        ({"tol": -1.0}, "tol: expected a number of at least 0"),
    ],
)
def test_bad_input_is_named(change, words):
    arguments = {"graph": nx.cycle_graph(6), "y": [0, 0, 0, 1, 1, 1], **change}
    with pytest.raises(InputError, match=words):
        label_posterior(**arguments)


def test_priors_are_distributions_of_scores():
    at = Calibration(np.array([0.1, -0.2]), 1.5, 0.2, 2.0, np.array([0.0, 0.3]))
    votes, g = np.array([[0.5, -0.5]]), np.array([2.0])
    scores = np.array([0.1, -0.2]) + (1.5 + 0.4) * votes + np.array([0.0, 0.6])
    np.testing.assert_allclose(at.log_prior(np.zeros(2), None, votes, g), log_softmax(scores, axis=1))
    field = np.array([[0.4, 0.3]])
    np.testing.assert_allclose(at.log_prior(np.zeros(2), field, votes, g), log_softmax(scores + 2 * field, axis=1))
