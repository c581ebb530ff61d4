import itertools

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, f1, planted, random_graph

from graphnoise import InputError
from graphnoise.clustering import as_undirected
from graphnoise.clustering.capacity_releasing import capacity_releasing
from graphnoise.clustering.rounding import conductance, sweep_cut

PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


def same(one, two):
    for name in ("touched", "values", "residual", "degree"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert (one.status, one.pushes, one.arcs, one.statistics) == (two.status, two.pushes, two.arcs, two.statistics)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([1, 3, 10]),
    st.sampled_from([1.5, 2.0, 3.0]),
    st.sampled_from([None, 0.0, 0.05, 1.0]),
)
def test_both_tiers_are_equal_to_the_last_bit_and_keep_their_bounds(seed, n, weighted, capacity, height, growth, eps):
    graph = as_undirected(sp.csr_array(random_graph(seed, n, weighted=weighted)))
    rng = np.random.default_rng(seed)
    seeds = rng.choice(n, min(n, 3), replace=False)
    labels = None if eps is None else rng.integers(0, 2, n)
    options = {"capacity": capacity, "height": height, "growth": growth, "iterations": 8}
    options |= {} if eps is None else {"labels": labels, "label_eps": eps}
    result, target = (capacity_releasing(graph, seeds, **options, backend=backend) for backend in BACKENDS)
    same(result, target)
    assert result.converged == (result.status == "converged")
    assert (np.diff(result.touched) > 0).all()
    assert (result.values >= 0).all()
    assert (result.values <= height + 0.5).all()
    assert set(seeds) <= set(result.touched)
    # Only at the greatest height is there excess.
    below = result.values < height
    assert (result.residual[below] <= result.degree[below] * (1 + 1e-8)).all()
    assert result.residual.sum() <= max(graph.volume / 2, graph.degree[seeds].sum()) * (1 + 1e-9)
    if eps is not None:
        ask = capacity_releasing(graph, seeds, **options | {"labels": lambda nodes: labels[nodes]})
        same(result, ask)
        # As they are taken to be.
        labels[seeds] = 1
        same(result, capacity_releasing(graph, seeds, **options | {"labels": labels}))
    if eps == 1:
        same(result, capacity_releasing(graph, seeds, **{k: v for k, v in options.items() if k[:5] != "label"}))


def test_a_round_by_hand():
    """A path of 9 from its end: mass 1 becomes 2; the end rises to 1 and sends 1 on."""
    path = networkx.path_graph(9)
    for backend in BACKENDS:
        one = capacity_releasing(path, 0, iterations=1, backend=backend)
        assert (one.touched.tolist(), one.values.tolist(), one.residual.tolist()) == ([0, 1], [1.5, 0.25], [1, 1])
        assert (one.pushes, one.statistics["relabels"], one.statistics["conductance"]) == (1, 1, 1)
        # Mass 2 and 2: an edge lets 1 through at height 1, and node 1 is full with it.
        two = capacity_releasing(path, 0, iterations=2, backend=backend)
        assert two.statistics["round"] == 2
        assert dict(zip(two.touched.tolist(), two.residual.tolist(), strict=True)) == {0: 1, 1: 2, 2: 1}
        assert two.values[two.touched == 0] >= two.values[two.touched == 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_block_is_recovered(seed):
    graph, truth = planted(seed=seed)
    for start in (0, 7, 100):
        result = capacity_releasing(graph, start)
        assert result.converged
        cluster = sweep_cut(graph, result)
        assert f1(cluster.nodes, truth) == 1
        assert cluster.conductance == pytest.approx(conductance(graph, truth))
        assert cluster.conductance == pytest.approx(0.2091, abs=0.03)


def test_tight_blocks_end_the_rounds_and_work_does_not_grow_with_the_graph():
    arcs = []
    for n in (10**4, 10**5):
        graph, truth = planted(n, 200, 0.15, 1 / n, seed=1)
        work = 0
        for block in range(20):
            result = capacity_releasing(graph, 200 * block + 5)
            assert result.status == "converged"
            assert f1(sweep_cut(graph, result).nodes, truth + 200 * block) == 1
            work += result.arcs
        arcs.append(work / 20)
    assert arcs[1] <= 1.25 * arcs[0]
    assert arcs[1] < 0.01 * len(graph.col)


def test_never_more_than_half_the_volume():
    for graph in (networkx.karate_club_graph(), networkx.complete_graph(12), networkx.cycle_graph(30)):
        graph = as_undirected(graph, weight=False)
        result = capacity_releasing(graph, [0], stuck=0.99, patience=50)
        full = result.values > 1
        assert graph.degree[result.touched[full]].sum() <= graph.volume / 2
        assert not result.converged or result.statistics["stuck"] > 0
    hub = as_undirected(networkx.star_graph(6))
    # Which is half of the volume by itself.
    result = capacity_releasing(hub, 0)
    assert (result.status, result.touched.tolist(), result.statistics["rounds"]) == ("half_volume", [0], 0)
    assert capacity_releasing(hub, range(7)).status == "half_volume"


def test_a_closed_component_is_returned():
    dense = np.zeros((30, 30))
    for i, j in [*itertools.combinations(range(5), 2), *itertools.combinations(range(5, 30), 2)]:
        dense[i, j] = dense[j, i] = 1
    for backend in BACKENDS:
        result = capacity_releasing(sp.csr_array(dense), 0, backend=backend)
        assert result.status == "converged"
        assert sweep_cut(sp.csr_array(dense), result).nodes.tolist() == list(range(5))
        assert result.touched.tolist() == list(range(5))


def test_labels_keep_mass_inside():
    graph, truth = planted(4000, 200, 0.1, 0.005, seed=3)
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(4000) < 200, rng.random(4000) < 0.95, rng.random(4000) < 0.05)
    # Its label is wrong, and is known to be 1.
    start = int(np.flatnonzero(~labels[:200])[0])
    with_labels = capacity_releasing(graph, start, labels=labels)
    without = capacity_releasing(graph, start)
    result = [
        f1(sweep_cut(graph, d, labels=given).nodes, truth) for d, given in ((with_labels, labels), (without, None))
    ]
    assert result[0] > result[1] + 0.1
    assert result[0] > 0.85


def test_isolated_seeds_keep_their_mass():
    dense = np.zeros((4, 4))
    dense[0, 1] = dense[1, 0] = dense[1, 2] = dense[2, 1] = 1
    for backend in BACKENDS:
        result = capacity_releasing(sp.csr_array(dense), 3, backend=backend)
        assert (result.status, result.converged, result.support.tolist()) == ("exhausted", False, [3])
        both = capacity_releasing(sp.csr_array(dense), [0, 3], backend=backend)
        assert 3 in both.support
        assert both.status != "exhausted"


def test_masses_bounds_and_names():
    graph = networkx.connected_caveman_graph(10, 6)
    heavy = capacity_releasing(graph, {0: 20.0}, iterations=1)
    assert heavy.residual.sum() == pytest.approx(40)
    light = capacity_releasing(graph, {0: 0.5}, iterations=1)
    assert light.pushes == 0
    stopped = capacity_releasing(graph, 0, max_pushes=30)
    assert (stopped.status, stopped.converged) == ("max_pushes", False)
    assert stopped.pushes + stopped.statistics["relabels"] <= 30
    assert capacity_releasing(graph, 0, iterations=1).status == "max_iterations"
    named = networkx.relabel_nodes(graph, {i: f"node {i}" for i in graph})
    assert capacity_releasing(named, "node 3", iterations=1).names[:1] == ["node 0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity: expected a number above 0, got 0"),
        ({"height": 0}, "height: expected an integer from 1"),
        ({"growth": 1}, "growth: expected a number above 1"),
        ({"growth": float("nan")}, "growth: expected a number above 1"),
        ({"iterations": 0}, "iterations: expected an integer"),
        ({"stuck": 1.0}, "stuck: expected a number above 0 and below 1"),
        ({"patience": 0}, "patience: expected an integer"),
        ({"max_pushes": 0}, "max_pushes: expected an integer"),
        ({"labels": [0, 1]}, "labels: expected 4 labels"),
        ({"label_eps": 1.5, "labels": [0, 1, 0, 1]}, "label_eps: expected a number in"),
        ({"backend": "torch"}, "backend: expected one of native, reference"),
        ({"seeds": []}, "seeds: expected at least one node"),
        ({"seeds": 4}, "seeds: expected positions of nodes from 0 to 3"),
        ({"seeds": {0: -1.0}}, "mass: expected a finite number above 0"),
    ],
)
def test_bad_input_has_one_clear_error(options, message):
    with pytest.raises(InputError, match=message):
        capacity_releasing(PATH, **{"seeds": 0} | options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_of_a_label_function_is_raised(backend):
    def ask(nodes):
        raise KeyError("nobody knows")

    with pytest.raises(KeyError, match="nobody knows"):
        capacity_releasing(PATH, 0, labels=ask, backend=backend)
