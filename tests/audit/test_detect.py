"""Detectors by their definitions, and what holds for all of them."""

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.special import expit
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from graphnoise import Graph, InputError, as_graph, datasets
from graphnoise.audit import LabelPosterior, crossfit, detect, label_posterior
from graphnoise.audit.detect.graphcleaner import _agreement, _confusions
from graphnoise.audit.detect.neighbours import own_weights
from graphnoise.noise import symmetric

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, seed=0)
GRAPH = as_graph(DATA)
Y = symmetric(3, 0.2).corrupt(DATA.y, seed=1).y
WRONG = (DATA.y != Y).numpy()
P = crossfit(GRAPH, Y, DATA.x)
X = DATA.x

ALL = {
    "self_confidence": lambda graph, y, x, p: detect.self_confidence(p, y),
    "normalised_margin": lambda graph, y, x, p: detect.normalised_margin(p, y),
    "loss_mixture": lambda graph, y, x, p: detect.loss_mixture(p, y),
    "adjusted_margin": lambda graph, y, x, p: detect.adjusted_margin(p, y),
    "disagreement": lambda graph, y, x, p: detect.disagreement(y, p, np.eye(3)[p.argmax(1)], 0.9 * p + 0.1 / 3),
    "confidence_drop": lambda graph, y, x, p: detect.confidence_drop(np.full_like(p, 1 / p.shape[1]), p, y),
    "neighbour_credibility": lambda graph, y, x, p: detect.neighbour_credibility(graph, y, x, view="features"),
    "neighbour_agreement": lambda graph, y, x, p: detect.neighbour_agreement(graph, y),
    "label_propagation": lambda graph, y, x, p: detect.label_propagation(graph, y),
    "graphcleaner": lambda graph, y, x, p: detect.graphcleaner(graph, p, y),
    "influence_contradiction": lambda graph, y, x, p: detect.influence_contradiction(graph, y),
    "influence_share": lambda graph, y, x, p: detect.influence_contradiction(graph, y, per_class=False),
    "graph_gp": lambda graph, y, x, p: detect.graph_gp(graph, y, x),
    "posterior": lambda graph, y, x, p: detect.posterior(graph, y, x),
    "rank_average": lambda graph, y, x, p: detect.rank_average(
        detect.self_confidence(p, y), detect.neighbour_agreement(graph, y)
    ),
}
# Those that draw random numbers by position.
RANDOM = ("graphcleaner",)
# Those whose search, or solution of dense equations, depends on the order of the nodes within rounding.
SLOW = ("graph_gp", "posterior")
each = pytest.mark.parametrize("name", ALL)


@pytest.fixture(scope="module")
def scores():
    return {name: call(GRAPH, Y, X, P) for name, call in ALL.items()}


@each
def test_wrong_labels_have_less_credibility(name, scores):
    values = scores[name]
    assert (values.dtype, values.shape) == (np.float64, (120,))
    assert values.min() >= 0
    assert values.max() <= 1
    assert (values[WRONG][:, None] < values[~WRONG]).mean() > 0.9


@each
def test_nodes_without_a_label_have_no_credibility(name):
    hidden = np.arange(120) % 4 == 1
    y = torch.where(torch.from_numpy(hidden), -1, Y)
    values = ALL[name](GRAPH, y, X, P)
    assert values.shape == (90,)
    assert (values[WRONG[~hidden]][:, None] < values[~WRONG[~hidden]]).mean() > 0.85
    missing = np.where(hidden, np.nan, Y.numpy())
    np.testing.assert_array_equal(values, ALL[name](GRAPH, missing, X, P))


@each
def test_names_of_classes_do_not_matter(name, scores):
    names = np.array(["ant", "bee", "cat"])[Y.numpy()]
    np.testing.assert_array_equal(ALL[name](GRAPH, names, X, P), scores[name])
    np.testing.assert_array_equal(ALL[name](DATA.edge_index, (10 + 5 * Y).tolist(), X.numpy(), P), scores[name])


@each
def test_threads_do_not_change_a_bit(name, scores):
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with threadpool_limits(count):
                np.testing.assert_array_equal(ALL[name](GRAPH, Y, X, P), scores[name])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [name for name in ALL if name not in RANDOM + SLOW])
def test_the_order_of_the_nodes_does_not_matter(name, scores):
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    values = ALL[name](GRAPH.permuted(order), Y[order], X[order], P[order.numpy()])
    np.testing.assert_allclose(values, scores[name][order.numpy()], atol=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_scores_of_probabilities_are_those_of_cleanlab_s_documentation(seed, classes, n):
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    confidence = [row[label] for row, label in zip(p, y, strict=True)]
    margins = [row[label] - max(np.delete(row, label)) for row, label in zip(p, y, strict=True)]
    np.testing.assert_allclose(detect.self_confidence(p, _all(y, classes)), confidence)
    np.testing.assert_allclose(detect.normalised_margin(p, _all(y, classes)), [(m + 1) / 2 for m in margins])


def _all(y, classes):
    """Labels that are columns even where some class has none: then there are fewer classes than columns."""
    if 0 < len(np.unique(y)) == classes or len(np.unique(y)) < classes:
        return y
    raise AssertionError


def test_the_mixture_decreases_with_the_loss_and_finds_two_groups():
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.3, 0.1, 300), rng.normal(2.0, 0.1, 100)
    p = np.exp(-np.clip(np.r_[low, high], 0, None))
    values = detect.loss_mixture(np.stack([p, 1 - p], 1), np.r_[np.zeros(400)])
    order = np.argsort(-p, kind="stable")
    assert (np.diff(values[order]) <= 0).all()
    # Of two normal distributions of one variance, the log-odds are linear in the loss.
    loss, inside = -np.log(p), (values > 1e-9) & (values < 1 - 1e-9)
    assert (values[:300] > 0.99).all()
    assert (values[300:] < 0.01).all()
    if inside.sum() > 2:
        slope, base = np.polyfit(loss[inside], np.log(values[inside] / (1 - values[inside])), 1)
        np.testing.assert_allclose(values[inside], expit(slope * loss[inside] + base), atol=1e-6)


def test_equal_losses_are_half_sure():
    np.testing.assert_array_equal(detect.loss_mixture(np.full((5, 2), 0.5), [0, 1, 0, 1, 0]), 0.5)
    # Equal but for rounding in float32, of which a mixture makes two components.
    logits = 1e-7 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(detect.loss_mixture(logits.softmax(1), np.arange(30) % 3), 0.5)


def test_influences_whose_squares_are_below_the_smallest_number_are_compared():
    matrix = csr_array([[0, 1e-300, 0], [1e-300, 0, 1], [0, 1, 0]])
    assert np.isfinite(detect.influence_contradiction(matrix, [0, 1, 1])).all()


def test_agreement_is_the_weighted_share_of_labelled_neighbours():
    graph = networkx.gnp_random_graph(30, 0.2, seed=1)
    rng = np.random.default_rng(0)
    for ends in graph.edges:
        graph.edges[ends]["weight"] = float(rng.uniform(0.5, 3))
    graph.add_edge(3, 3, weight=9.0)
    graph.add_node(30)
    y = rng.integers(-1, 3, 31)
    y[30] = 2
    expected = []
    for node in np.flatnonzero(y >= 0):
        near = {other: w["weight"] for other, w in graph[node].items() if other != node and y[other] >= 0}
        same = sum(weight for other, weight in near.items() if y[other] == y[node])
        share = (y[y >= 0] == y[node]).mean()
        expected.append(same / sum(near.values()) if near else share)
    np.testing.assert_allclose(detect.neighbour_agreement(graph, y), expected)


def _steps(matrix, alpha, count):
    """The matrix of so many steps of propagation with restart."""
    out = np.eye(len(matrix))
    for _ in range(count):
        out = alpha * matrix @ out + (1 - alpha) * np.eye(len(matrix))
    return out


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 7])
def test_own_weights_are_the_diagonal(directed, count, monkeypatch):
    monkeypatch.setattr("graphnoise.audit.detect.neighbours.BLOCK_ENTRIES", 60)
    arcs = torch.tensor(list(networkx.gnp_random_graph(17, 0.2, seed=2, directed=directed).to_directed().edges)).T
    matrix = Graph.from_edge_index(arcs, 17).normalise("row" if directed else "sym")
    nodes = np.array([0, 3, 4, 11, 16])
    expected = _steps(matrix.to_dense().double().numpy(), 0.8, count).diagonal()[nodes]
    np.testing.assert_allclose(own_weights(matrix, nodes, 0.8, count), expected, atol=1e-6)


def test_propagation_leaves_the_own_label_out():
    matrix = _steps(GRAPH.normalise("sym").to_dense().double().numpy(), 0.7, 5)
    np.fill_diagonal(matrix, 0)
    received = matrix @ np.eye(3)[Y.numpy()]
    expected = (received / received.sum(1, keepdims=True))[np.arange(120), Y.numpy()]
    np.testing.assert_allclose(detect.label_propagation(GRAPH, Y, alpha=0.7, num_steps=5), expected, atol=1e-5)


def test_where_nothing_arrives_it_is_the_share_of_the_class():
    arcs, y = [[0, 1, 4, 5], [1, 0, 5, 4]], [0, 0, 1, -1, 1, -1]
    for call in (detect.neighbour_agreement, detect.label_propagation):
        np.testing.assert_allclose(call(arcs, y), [1, 1, 0.5, 0.5])


@pytest.mark.parametrize("per_class", [True, False])
def test_influence_is_personalised_pagerank_of_other_labels(per_class, monkeypatch):
    seen = []
    monkeypatch.setattr("graphnoise.audit.detect.neighbours.lower_component", lambda values: seen.append(values))
    detect.influence_contradiction(GRAPH, Y, alpha=0.6, per_class=per_class)
    looped, y = networkx.from_numpy_array(GRAPH.to_dense().numpy() + np.eye(120)), Y.numpy()
    for node in (0, 50, 119):
        influence = networkx.pagerank(looped, 0.6, {node: 1.0}, tol=1e-13, max_iter=1000)
        values = np.array([influence[k] for k in range(120)])
        by_class = [values[y == c].mean() if per_class else values[y == c].sum() for c in range(3) if c != y[node]]
        assert seen[0][node] == pytest.approx(sum(by_class), abs=1e-9)


def test_graphcleaner_reads_the_agreement_at_each_distance():
    average = GRAPH.normalise("row").to_scipy().astype(float)
    y = np.where(np.arange(120) < 90, Y.numpy(), -1)
    features = _agreement(average, [P, average @ P, average @ (average @ P)], y)
    dense, labels = average.toarray(), np.where((y >= 0)[:, None], np.eye(3)[y], P)
    for i in (0, 17, 89):
        twice = dense @ dense
        row = [P[i], dense[i] @ P, twice[i] @ P, dense[i] @ labels, twice[i] @ labels]
        np.testing.assert_allclose(features[i], [values[y[i]] for values in row])


def test_synthetic_wrong_labels_follow_the_confident_joint():
    p = np.array([[0.9, 0.1, 0.0]] * 6 + [[0.1, 0.9, 0.0]] * 3 + [[0.0, 0.1, 0.9]])
    given_ = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    counts = _confusions(p, given_)
    # Two nodes of class 0 are given 1, none of the others is given anything else.
    assert counts[0].round(3).tolist() == [0, 2, 0]
    assert counts[1].round(3).tolist() == counts[2].round(3).tolist() == [0, 0, 0]
    assert (counts[~np.eye(3, dtype=bool)] > 0).all()


def test_graphcleaner_is_repeatable_and_depends_on_its_seed():
    first, same, other = (detect.graphcleaner(GRAPH, P, Y, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_the_posterior_is_that_of_label_posterior():
    found = label_posterior(GRAPH, Y, X)
    assert isinstance(found, LabelPosterior)
    np.testing.assert_array_equal(detect.posterior(GRAPH, Y, X), found.credibility)


def test_ranks_are_averaged():
    a, b = np.array([0.3, 0.1, 0.1]), np.array([0.0, 5.0, 1.0])
    np.testing.assert_allclose(detect.rank_average(a, b), (rankdata(a) + rankdata(b)) / 6)
    np.testing.assert_allclose(detect.rank_average(torch.tensor(a, requires_grad=True)), [1, 0.5, 0.5])


BAD = {
    "sums": (lambda: detect.self_confidence(2 * P, Y), "probabilities: expected rows that sum to 1"),
    "negative": (lambda: detect.normalised_margin(-P, Y), "probabilities: expected probabilities of at least 0"),
    "NaN": (lambda: detect.loss_mixture(P * np.nan, Y), "probabilities: expected finite numbers"),
    "rows": (lambda: detect.self_confidence(P[1:], Y), "probabilities: expected 120 rows, one per label, got 119"),
    "a class": (lambda: detect.self_confidence(P[:, :2] / P[:, :2].sum(1, keepdims=True), Y), "expected 3 columns"),
    "more strings": (lambda: detect.self_confidence(P, ["a", "b"] * 60), "expected 2 columns, one per class of y"),
    "a label beyond": (lambda: detect.self_confidence(P, [0, 7] * 60), r"y: expected .*got 7"),
    "one dimension": (lambda: detect.self_confidence(P[:, 0], Y), "probabilities: expected 2 dimensions"),
    "no label": (lambda: detect.self_confidence(P, -torch.ones(120)), "y: expected at least one labelled node"),
    "labels of others": (lambda: detect.neighbour_agreement(GRAPH, Y[1:]), "y: expected 120 labels, one per node"),
    "no labels": (lambda: detect.label_propagation(GRAPH, [None] * 120), "y: expected at least one labelled node"),
    "normalised": (lambda: detect.neighbour_agreement(GRAPH.normalise(), Y), "graph: expected a graph that is not"),
    "alpha": (lambda: detect.label_propagation(GRAPH, Y, alpha=1.5), "alpha: expected a rate"),
    "steps": (lambda: detect.label_propagation(GRAPH, Y, num_steps=-1), "num_steps: expected an integer"),
    "PageRank": (lambda: detect.influence_contradiction(GRAPH, Y, alpha=1.0), "alpha: expected a number in"),
    "a word": (lambda: detect.influence_contradiction(GRAPH, Y, per_class="no"), "per_class: expected True or False"),
    "one class": (lambda: detect.graphcleaner(GRAPH, np.ones((120, 1)), Y * 0), "y: expected labels of at least two"),
    "rows of x": (lambda: detect.graph_gp(GRAPH, Y, X[1:]), "x: expected 120 rows, one per node, got 119"),
    "one class of x": (lambda: detect.graph_gp(GRAPH, Y * 0, X), "expected labels of at least two classes"),
    "nothing": (lambda: detect.rank_average(), "credibilities: expected at least one array"),
    "lengths": (lambda: detect.rank_average(np.ones(3), np.ones(4)), "credibilities: expected arrays of 3 entries"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()


def test_integers_are_columns_where_there_are_more_of_them():
    p = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    np.testing.assert_array_equal(detect.self_confidence(p, [2, 0]), [0.7, 0.6])
    two = np.array([[0.1, 0.9], [0.6, 0.4]])
    np.testing.assert_array_equal(detect.self_confidence(two, [3, 1]), [0.9, 0.6])
