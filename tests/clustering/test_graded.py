"""Edge weights by probabilities of membership."""

import networkx
import numpy as np
import pytest

from graphnoise import InputError, datasets
from graphnoise.clustering import (
    approximate_pagerank,
    as_undirected,
    conductance,
    flow_diffusion,
    graded_weights,
    precision_recall_f1,
)
from graphnoise.kernels.local.reference import LabelledRows

GRAPH = as_undirected(datasets.planted_partition([60, 60, 60], 0.3, 0.03, seed=0))
RNG = np.random.default_rng(0)
INSIDE = np.arange(180) < 60
LABELS = INSIDE ^ (RNG.random(180) < 0.2)


def test_hard_memberships_give_the_weights_of_labels():
    for eps in (0.0, 0.05, 0.3, 1.0):
        weighted = graded_weights(GRAPH, LABELS.astype(float), label_eps=eps)
        rows = LabelledRows(GRAPH, LABELS.astype(np.uint8), eps)
        for v in range(180):
            part = slice(GRAPH.rowptr[v], GRAPH.rowptr[v + 1])
            mine = {u: w for u, w in zip(GRAPH.col[part].tolist(), weighted.weight[part].tolist(), strict=True) if w}
            arcs, _ = rows[v]
            assert mine.keys() == {u for u, _ in arcs}
            np.testing.assert_allclose([mine[u] for u, _ in arcs], [w for _, w in arcs], rtol=0, atol=1e-15)
        np.testing.assert_array_equal(weighted.degree, GRAPH.degree)


@pytest.mark.parametrize(
    "diffuse", [lambda g, y: flow_diffusion(g, [0], 150.0, y), lambda g, y: approximate_pagerank(g, [0], labels=y)]
)
def test_diffusions_read_them_as_they_read_labels(diffuse):
    labels = LABELS.copy()
    labels[0] = True
    by_label = diffuse(GRAPH, labels.astype(int))
    by_grade = diffuse(graded_weights(GRAPH, LABELS.astype(float), [0]), np.ones(180, dtype=int))
    np.testing.assert_array_equal(by_grade.touched, by_label.touched)
    np.testing.assert_allclose(by_grade.values, by_label.values, rtol=1e-9)
    nodes = np.arange(60)
    cuts = (
        conductance(GRAPH, nodes, labels=labels),
        conductance(graded_weights(GRAPH, labels.astype(float)), nodes, labels=np.ones(180, dtype=int)),
    )
    assert cuts[0] == pytest.approx(cuts[1])


def test_weights_of_a_weighted_graph_by_the_formula():
    graph = networkx.gnp_random_graph(25, 0.3, seed=1)
    for u, v in graph.edges:
        graph.edges[u, v]["weight"] = float(RNG.uniform(0.5, 2))
    c = RNG.random(25)
    read = as_undirected(graph)
    weighted = graded_weights(graph, c, label_eps=0.1)
    for v in range(25):
        for k in range(read.rowptr[v], read.rowptr[v + 1]):
            u = read.col[k]
            same = c[u] * c[v] + (1 - c[u]) * (1 - c[v])
            expected = graph.edges[u, v]["weight"] * (0.1 + 0.9 * same)
            assert weighted.weight[k] == pytest.approx(expected)


def test_grades_say_more_than_labels():
    # Sure memberships are right, and unsure ones are near one half.
    sure = RNG.random(180) < 0.6
    c = np.where(sure, INSIDE * 0.9 + 0.05, np.where(LABELS, 0.55, 0.45))
    found = [
        flow_diffusion(graph, [0], 90.0, labels, sink="unit").touched
        for graph, labels in ((graded_weights(GRAPH, c, [0]), np.ones(180, dtype=int)), (GRAPH, (c > 0.5).astype(int)))
    ]
    graded, hard = (precision_recall_f1(nodes, INSIDE).f1 for nodes in found)
    assert graded > hard


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graded_weights(GRAPH, np.ones(3)), "membership: expected 180 probabilities"),
        (lambda: graded_weights(GRAPH, np.full(180, 1.5)), r"membership: expected probabilities in \[0, 1\]"),
        (lambda: graded_weights(GRAPH, np.full(180, np.nan)), "membership: expected finite numbers"),
        (lambda: graded_weights(GRAPH, np.ones(180), [999]), "seeds"),
        (lambda: graded_weights(GRAPH, np.ones(180), label_eps=2), r"label_eps: expected a number in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
