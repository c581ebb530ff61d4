import functools

import numpy as np
import pytest

from graphnoise import Graph, InputError, datasets
from graphnoise.clustering import (
    as_undirected,
    choose_label_eps,
    flow_diffusion,
    label_statistics,
    precision_recall_f1,
    predict_membership,
)

BLOCK = 500


@functools.cache
def planted(p):
    """A planted partition that was not used to find the constants."""
    data = datasets.planted_partition([BLOCK] * 20, p, 0.002, seed=31)
    return as_undirected(Graph.from_data(data)), data.y.numpy()


def trial(p, a1, a0, number):
    graph, y = planted(p)
    rng = np.random.default_rng([31, number, int(1000 * p), int(100 * a1), int(100 * a0)])
    inside = y == rng.integers(20)
    seed = int(rng.choice(np.flatnonzero(inside)))
    labels = np.where(inside, rng.random(len(y)) < a1, rng.random(len(y)) >= a0).astype(np.uint8)
    return graph, inside, seed, labels


def best_f1(graph, inside, seed, labels, eps_of):
    """F1 of the best of some masses, as reference figures are made."""
    result = []
    for multiple in (1.1, 1.5, 2.0, 3.0):
        mass = multiple * BLOCK
        run = flow_diffusion(graph, seed, mass, labels, eps_of(mass), "unit", 1e-2)
        result.append(precision_recall_f1(run.support, inside).f1)
    return max(result)


@pytest.mark.parametrize(
    ("p", "a1", "a0", "gain"),
    [
        *((0.03, a1, a0, -0.02) for a1, a0 in ((0.9, 0.9), (0.7, 0.95), (0.6, 0.8))),
        *((0.05, 0.9, 0.9, -0.02), (0.05, 0.7, 0.9, 0.02), (0.05, 0.7, 0.95, 0.05), (0.05, 0.6, 0.8, 0.02)),
    ],
)
def test_the_chosen_eps_is_no_worse_than_the_usual_one_and_better_where_a_larger_one_is(p, a1, a0, gain):
    usual, chosen = [], []
    for number in range(8):
        graph, inside, seed, labels = trial(p, a1, a0, number)
        usual.append(best_f1(graph, inside, seed, labels, lambda mass: 0.05))
        made = functools.partial(choose_label_eps, graph, seed, labels, a1, a0, sink="unit")
        chosen.append(best_f1(graph, inside, seed, labels, lambda mass, made=made: made(mass=mass).label_eps))
    assert np.mean(chosen) - np.mean(usual) > gain


@pytest.mark.parametrize(("p", "inside"), [(0.03, 14.97), (0.05, 24.95)])
@pytest.mark.parametrize(("a1", "a0"), [(0.9, 0.9), (0.7, 0.95), (0.7, 0.7)])
def test_labels_near_one_seed_estimate_the_number_of_neighbours_inside(p, inside, a1, a0):
    near = [
        label_statistics(graph, seed, labels, a1, a0)
        for graph, _, seed, labels in (trial(p, a1, a0, i) for i in range(8))
    ]
    assert np.mean([one.inside for one in near]) == pytest.approx(inside, rel=0.1)
    assert np.mean([one.gamma for one in near]) == pytest.approx(inside / 19, rel=0.2)
    assert max(abs(one.inside - inside) for one in near) < 6
    assert all(one.inside == one.share * one.degree for one in near)


def test_with_right_labels_the_share_is_that_of_the_arcs():
    graph, inside, seed, _ = trial(0.05, 1.0, 1.0, 0)
    near = label_statistics(graph, seed, inside, 1.0, 1.0)
    ends = graph.col[graph.rowptr[seed] : graph.rowptr[seed + 1]]
    members = ends[inside[ends]]
    counted = np.concatenate([ends, *(graph.col[graph.rowptr[v] : graph.rowptr[v + 1]] for v in members)])
    assert near.share == pytest.approx(inside[counted[counted != seed]].mean(), abs=0.02)
    several = label_statistics(graph, np.flatnonzero(inside)[:9], inside, 1.0, 1.0)
    assert several.share == pytest.approx(24.95 / 43.95, abs=0.03)


def test_the_reach_counts_each_node_of_a_tree_and_little_among_shared_neighbours():
    tree = [[0, i] for i in range(1, 5)] + [[i, 4 * i + j] for i in range(1, 5) for j in range(1, 5)]
    shared = [[0, i] for i in range(1, 5)] + [[i, 5 + j] for i in range(1, 5) for j in range(4)]
    for edges, reach in ((tree, 16), (shared, 4)):
        graph = as_undirected(np.array([*edges, *(edge[::-1] for edge in edges)]).T)
        near = label_statistics(graph, 0, np.ones(graph.num_nodes), 0.9, 0.9)
        assert near.reach == pytest.approx(near.share**2 * reach)


def test_labels_may_come_in_any_form_and_the_seeds_label_does_not_matter():
    graph, _, seed, labels = trial(0.05, 0.8, 0.9, 0)
    target = choose_label_eps(graph, seed, labels, 0.8, 0.9, 1000.0).label_eps
    other = labels.copy()
    other[seed] = 1 - other[seed]
    for same in (other, labels.astype(bool).tolist(), lambda nodes: labels[nodes], dict(enumerate(labels.tolist()))):
        assert choose_label_eps(graph, seed, same, 0.8, 0.9, 1000.0).label_eps == target


def test_eps_falls_with_the_mass_within_its_bounds():
    graph, _, seed, labels = trial(0.05, 0.8, 0.9, 0)
    result = [choose_label_eps(graph, seed, labels, 0.8, 0.9, 10.0**i, sink="unit") for i in range(6)]
    assert [one.label_eps for one in result] == sorted((one.label_eps for one in result), reverse=True)
    assert (result[0].label_eps, result[-1].label_eps) == (0.5, 0.02)
    assert all(one.weighted and "estimated to be inside" in one.reason for one in result)
    mean = graph.volume / graph.num_nodes
    assert choose_label_eps(graph, seed, labels, 0.8, 0.9, 1000.0 * mean).label_eps == pytest.approx(
        result[3].label_eps
    )
    assert (
        choose_label_eps(graph, seed, labels, 0.8, 0.9, 1000.0, sink="unit", rounding="sweep").label_eps
        > result[3].label_eps
    )


@pytest.mark.parametrize(
    ("a1", "a0", "errors"),
    [(0.5, 0.5, {}), (0.2, 0.7, {}), (0.55, 0.6, {}), (0.6, 0.6, {"a1_error": 0.1, "a0_error": 0.05})],
)
def test_inaccurate_labels_are_ignored_with_a_reason(a1, a0, errors):
    graph, _, seed, labels = trial(0.05, 0.5, 0.5, 0)
    result = choose_label_eps(graph, seed, labels, a1, a0, 1000.0, **errors)
    assert (result.label_eps, result.weighted, result.statistics) == (1.0, False, None)
    assert "labels say too little: a1 + a0 =" in result.reason
    assert choose_label_eps(graph, seed, labels, a1 + 0.4, a0, 1000.0, **errors).weighted


def test_seeds_without_neighbours_give_the_least_eps():
    pair = as_undirected(np.array([[1, 2], [2, 1]]))
    result = choose_label_eps(pair, 0, [1, 0, 0], 0.9, 0.9, 10.0)
    assert (result.label_eps, result.statistics.arcs) == (0.02, 0)
    # The neighbour has no others.
    assert 0.02 <= choose_label_eps(pair, 1, [1, 1, 1], 0.9, 0.9, 10.0).label_eps <= 0.5
    assert 0.02 <= choose_label_eps(pair, [1, 2], [1, 1, 1], 1.0, 1.0, 10.0).label_eps <= 0.5


def test_errors_of_estimated_accuracies_count():
    rng = np.random.default_rng(0)
    result = predict_membership(rng.normal(size=(40, 3)), range(4), range(20, 24))
    path = np.arange(39)
    graph = as_undirected(np.array([[*path, *(path + 1)], [*(path + 1), *path]]))
    chosen = choose_label_eps(
        graph, 0, result.labels, result.a1, result.a0, 9.0, a1_error=result.a1_error, a0_error=result.a0_error
    )
    # Noise, and 8 samples.
    assert not chosen.weighted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "labels: expected labels 0/1, got None"),
        ({"labels": [0, 1]}, "labels: expected 3 labels"),
        ({"a1": 1.2}, "a1: expected a rate"),
        ({"a0": None}, "a0: expected a rate"),
        ({"mass": 0.0}, "mass: expected a finite number above 0"),
        ({"seeds": 7}, "seeds: expected positions"),
        ({"seeds": []}, "seeds: expected at least one node"),
        ({"sink": "square"}, "sink: expected one of"),
        ({"rounding": "up"}, "rounding: expected one of"),
        ({"a1_error": -1.0}, "a1_error: expected a number of at least 0"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"seeds": 0, "labels": [1, 0, 0], "a1": 0.9, "a0": 0.9, "mass": 2.0} | changes
    with pytest.raises(InputError, match=message):
        choose_label_eps([[0, 1, 1, 2], [1, 0, 2, 1]], **arguments)
    if changes.keys() <= {"seeds", "labels", "a1", "a0"}:
        del arguments["mass"]
        with pytest.raises(InputError, match=message):
            label_statistics([[0, 1, 1, 2], [1, 0, 2, 1]], **arguments)
