import itertools
import time

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, random_graph

from graphnoise import InputError
from graphnoise.clustering import as_undirected
from graphnoise.clustering.diffusions import flow_diffusion
from graphnoise.clustering.result import Diffusion
from graphnoise.clustering.rounding import conductance, support_cluster, sweep_cut

PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


def brute(dense, members, labels=None, eps=1.0):
    """Conductance by its formula on a dense matrix."""
    total = dense.sum()
    if labels is not None:
        labels = np.asarray(labels)
        dense = np.where(labels[:, None] == labels[None, :], dense, dense * eps)
    inside = np.zeros(len(dense), dtype=bool)
    inside[list(members)] = True
    volume = dense[inside].sum()
    least = min(volume, total - volume)
    return 1.0 if least <= 1e-12 else dense[inside][:, ~inside].sum() / least


def diffusion(nodes, values, degree, method=""):
    nodes = np.asarray(nodes)
    zeros = np.zeros(len(nodes))
    return Diffusion(nodes, np.asarray(values, dtype=float), zeros, degree, True, "converged", 0, 0, method=method)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
# Whose multiples are exact, so that ties are ties.
@pytest.mark.parametrize("eps", [None, 0.0, 0.25])
@pytest.mark.parametrize("by", ["value", "degree"])
def test_sweep_equals_brute_force(backend, weighted, eps, by):
    for seed in range(5):
        dense = random_graph(seed, 30, weighted=weighted)
        rng = np.random.default_rng(seed)
        # With ties.
        values = np.where(rng.random(30) < 0.7, rng.integers(1, 6, 30), 0)
        labels = None if eps is None else rng.integers(0, 2, 30)
        outcome = sweep_cut(sp.csr_array(dense), values, by=by, labels=labels, label_eps=eps or 0.0, backend=backend)
        heavy = dense if labels is None else np.where(labels[:, None] == labels, dense, eps * dense)
        degree = heavy.sum(1)
        score = values / np.where(degree > 0, degree, np.inf) if by == "degree" else values
        order = sorted(np.flatnonzero(values), key=lambda v: (-score[v], v))
        assert outcome.order.tolist() == order
        target = [brute(dense, order[: k + 1], labels, eps) for k in range(len(order))]
        np.testing.assert_allclose(outcome.profile, target, rtol=1e-12, atol=1e-14)
        best = int(np.argmin(outcome.profile))
        assert outcome.nodes.tolist() == sorted(order[: best + 1])
        assert outcome.conductance == outcome.profile[best]
        assert outcome.statistics["cut"] == pytest.approx(
            outcome.conductance * min(outcome.statistics["volume"], dense.sum() - outcome.statistics["volume"])
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.booleans(), st.sampled_from([None, 0.0, 0.05, 1.0]))
def test_conductance_equals_brute_force_in_both_tiers(seed, n, weighted, eps):
    dense = random_graph(seed, n, 0.4, weighted)
    rng = np.random.default_rng(seed + 1)
    labels = None if eps is None else rng.integers(0, 2, n)
    members = np.flatnonzero(rng.random(n) < 0.5)
    members = members if len(members) else np.array([0])
    graph = as_undirected(sp.csr_array(dense))
    options = {} if eps is None else {"labels": labels, "label_eps": eps}
    outcome = [conductance(graph, members, **options, backend=backend) for backend in BACKENDS]
    assert outcome[0] == pytest.approx(outcome[1], rel=1e-12)
    assert outcome[0] == pytest.approx(brute(dense, members, labels, eps), rel=1e-11, abs=1e-13)
    assert outcome[0] >= 0
    if eps == 1:
        assert outcome[0] == conductance(graph, members)
    elif eps is not None:
        assert outcome[0] == conductance(graph, members, labels=1 - labels, label_eps=eps)
        requested = []

        def ask(nodes):
            requested.extend(nodes.tolist())
            return labels[nodes]

        assert outcome[0] == conductance(graph, members, labels=ask, label_eps=eps)
        near = set(members.tolist()) | set(np.flatnonzero(dense[members].sum(0)).tolist())
        # Nobody else, and each once.
        assert sorted(requested) == sorted(near)


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeated_arcs_add_up_and_loops_are_no_cut(backend):
    arcs = np.array([[0, 0, 1, 1, 1, 2, 2], [1, 1, 0, 0, 2, 1, 2]])
    assert conductance(arcs, [0], backend=backend) == 1
    assert conductance(arcs, [0, 1], backend=backend) == 1 / 2
    # Volume 2: the loop counts once.
    assert conductance(arcs, [2], backend=backend) == 1 / 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_component_has_conductance_zero_and_the_rest_of_a_graph_one(backend):
    dense = np.zeros((7, 7))
    for i, j in itertools.combinations(range(3), 2):
        dense[i, j] = dense[j, i] = 0.1
    for i, j in itertools.combinations(range(3, 6), 2):
        dense[i, j] = dense[j, i] = 0.3
    graph = sp.csr_array(dense)
    assert conductance(graph, [0, 1, 2], backend=backend) == 0
    assert conductance(graph, range(7), backend=backend) == 1
    # Isolated.
    assert conductance(graph, [6], backend=backend) == 1
    # Nothing is left.
    assert conductance(graph, range(6), backend=backend) == 1
    outcome = sweep_cut(graph, np.array([3.0, 2, 1, 0.5, 0.25, 0.1, 0.01]), backend=backend)
    assert outcome.nodes.tolist() == [0, 1, 2]
    # Not all nodes.
    assert len(outcome.order) == len(outcome.profile) == 6


def test_walks_are_divided_by_degrees_and_flows_are_not():
    degree = np.array([1.0, 2.0])
    star = sp.csr_array(np.array([[0, 1, 0, 0], [1, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]]))
    values, nodes = [2.0, 3.0], [0, 1]
    assert sweep_cut(star, diffusion(nodes, values, degree, "flow")).order.tolist() == [1, 0]
    for method in ("pagerank", "l1_pagerank", "heat_kernel"):
        assert sweep_cut(star, diffusion(nodes, values, degree, method)).order.tolist() == [0, 1]
    assert sweep_cut(star, diffusion(nodes, values, degree), by="degree").order.tolist() == [0, 1]
    assert sweep_cut(star, {1: 3.0, 0: 2.0}).order.tolist() == [1, 0]
    assert sweep_cut(star, {1: 3.0, 0: 2.0}, by="degree").order.tolist() == [0, 1]


def test_isolated_nodes_come_last_where_values_are_divided_by_degrees():
    dense = np.zeros((4, 4))
    dense[0, 1] = dense[1, 0] = dense[1, 2] = dense[2, 1] = 1
    outcome = sweep_cut(sp.csr_array(dense), np.array([1.0, 1, 0, 5]), by="degree")
    assert outcome.order.tolist() == [0, 1, 3]
    alone = sweep_cut(sp.csr_array(dense), np.array([0.0, 0, 0, 5]), by="degree")
    assert (alone.nodes.tolist(), alone.conductance) == ([3], 1.0)


def test_largest_volume():
    assert sweep_cut(PATH, [4.0, 3, 2, 1], max_volume=3).nodes.tolist() == [0, 1]
    assert sweep_cut(PATH, [4.0, 3, 2, 1], max_volume=1).nodes.tolist() == [0]
    with pytest.raises(InputError, match="max_volume: expected at least 1, the volume of the first node"):
        sweep_cut(PATH, [4.0, 3, 2, 1], max_volume=0.5)


def test_support():
    outcome = support_cluster(PATH, diffusion([0, 1, 2], [2, 1, 0], np.array([1.0, 2, 2])))
    assert (outcome.nodes.tolist(), outcome.conductance) == ([0, 1], pytest.approx(1 / 3))
    labelled = support_cluster(PATH, diffusion([0, 1], [2, 1], np.array([1.0, 2])), labels=[1, 1, 0, 0], label_eps=0.1)
    assert labelled.conductance == pytest.approx(0.1 / 2.1)
    alone = sp.csr_array(([1.0], ([0], [0])), shape=(1, 1))
    assert sweep_cut(alone, [1.0]).conductance == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conductance(PATH, []), "nodes: expected at least one node"),
        (lambda: conductance(PATH, [4]), "nodes: expected positions of nodes from 0 to 3, got 4"),
        (lambda: conductance(PATH, [0], labels=[1, 0]), "labels: expected 4 labels"),
        (lambda: conductance(PATH, [0], label_eps=2), "label_eps: expected a number in"),
        (lambda: conductance(PATH, [0], backend="fast"), "backend: expected one of"),
        (lambda: sweep_cut(PATH, [0.0, 0, 0, 0]), "diffusion: expected at least one value above 0"),
        (lambda: sweep_cut(PATH, [1.0, -1, 0, 0]), "diffusion: expected values of at least 0"),
        (lambda: sweep_cut(PATH, [np.nan, 1, 0, 0]), "diffusion: expected finite numbers"),
        (lambda: sweep_cut(PATH, [1.0]), "diffusion: expected 4 values"),
        (lambda: sweep_cut(PATH, {7: 1.0}), "diffusion: expected positions of nodes"),
        (lambda: sweep_cut(PATH, [1.0, 0, 0, 0], by="rank"), "by: expected one of degree, value"),
        (lambda: sweep_cut(PATH, diffusion([9], [1], np.ones(1))), "a diffusion on this graph of 4 nodes"),
        (lambda: support_cluster(PATH, diffusion([], [], np.ones(0))), "diffusion: expected at least one value"),
        (lambda: support_cluster(PATH, [1.0, 0, 0, 0]), "diffusion: expected a Diffusion"),
    ],
)
def test_bad_input_has_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_of_a_label_function_is_raised(backend):
    def ask(nodes):
        raise KeyError("nobody knows")

    with pytest.raises(KeyError, match="nobody knows"):
        conductance(PATH, [0], labels=ask, backend=backend)


def test_names_are_kept():
    graph = networkx.relabel_nodes(networkx.path_graph(4), dict(enumerate("abcd")))
    assert sweep_cut(graph, {"a": 2.0, "b": 1.0}).names == ["a", "b"]
    assert conductance(graph, ["a", "b"]) == pytest.approx(1 / 3)


def test_the_time_of_a_sweep_does_not_grow_with_the_graph():
    seconds = []
    for n in (10**4, 10**6):
        ends = np.arange(n - 1)
        graph = as_undirected(np.stack([np.r_[ends, ends + 1], np.r_[ends + 1, ends]]))
        about = diffusion(np.arange(100), np.arange(100, 0, -1), graph.degree[:100])
        sweep_cut(graph, about)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            sweep_cut(graph, about)
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    assert seconds[1] < 20 * seconds[0]


def test_supports_on_graphs_with_names_are_those_of_positions():
    graph = networkx.Graph()
    graph.add_nodes_from([4, 3, 2, 1, 0, 5])
    graph.add_edges_from([(4, 3), (3, 2), (2, 1), (1, 0), (4, 2), (5, 0), (5, 1)])
    outcome = support_cluster(graph, flow_diffusion(graph, 4, 9.0))
    assert outcome.conductance == pytest.approx(conductance(graph, outcome.names))
    letters = networkx.relabel_nodes(graph, dict(enumerate("abcdef")))
    assert support_cluster(letters, flow_diffusion(letters, "e", 9.0)).conductance == pytest.approx(outcome.conductance)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([0, 0], "distinct nodes of at least 0, ascending"),
        ([1, 0], "distinct nodes of at least 0, ascending"),
        ([-1_000_000, 0], "distinct nodes of at least 0, ascending"),
        ([0, 3], "a diffusion on this graph of 3 nodes"),
        ([0.5, 1.0], "nodes as positions"),
    ],
)
def test_diffusions_of_users_are_checked(nodes, message):
    zero = np.zeros(2)
    made = Diffusion(np.array(nodes), np.array([2.0, 1.0]), zero, zero + 1, True, "converged", 1, 1)
    for read_off in (sweep_cut, support_cluster):
        with pytest.raises(InputError, match=rf"^diffusion: expected {message}"):
            read_off([[0, 1, 1, 2], [1, 0, 2, 1]], made)
