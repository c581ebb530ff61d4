import itertools
import math

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from local_graphs import BACKENDS, f1, random_graph

from graphnoise import InputError
from graphnoise.clustering import as_undirected
from graphnoise.clustering.improvement import improve, mqi, simple_local
from graphnoise.clustering.rounding import conductance, sweep_cut

PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


def some_half(dense, seed):
    """A random set of at most half the volume, or None."""
    rng = np.random.default_rng(seed)
    members, degree = [], dense.sum(1)
    for v in rng.permutation(len(dense)):
        if degree[[*members, v]].sum() <= dense.sum() / 2:
            members.append(int(v))
    return members[: max(1, int(rng.integers(1, len(dense))))]


def least_quotient(dense, members, delta, labels=None, eps=1.0):
    """Least cut(T) / (vol(T in S) - penalty vol(T out of S)) over all sets T."""
    total = dense.sum()
    if labels is not None:
        dense = np.where(labels[:, None] == labels[None, :], dense, dense * eps)
    inside = np.zeros(len(dense), dtype=bool)
    inside[members] = True
    degree = dense.sum(1)
    penalty = delta + degree[inside].sum() / (total - degree[inside].sum())
    best = math.inf
    for size in range(1, len(dense) + 1):
        for chosen in itertools.combinations(range(len(dense)), size):
            T = np.zeros(len(dense), dtype=bool)
            T[list(chosen)] = True
            out = degree[T & ~inside].sum()
            if delta == math.inf and (T & ~inside).any():
                continue
            gain = degree[T & inside].sum() - (penalty * out if out else 0)
            if gain > 1e-9:
                best = min(best, dense[T][:, ~T].sum() / gain)
    return best


def planted(blocks=20, size=250, inside=0.08, outside=0.001, seed=0):
    graph = networkx.stochastic_block_model(
        [size] * blocks, np.where(np.eye(blocks, dtype=bool), inside, outside), seed=seed
    )
    return as_undirected(networkx.to_scipy_sparse_array(graph, format="csr")), np.arange(size)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(3, 9),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0, math.inf]),
    st.sampled_from([None, 0.0, 0.1]),
)
def test_equals_brute_force_over_all_sets(seed, n, weighted, delta, eps):
    dense = random_graph(seed, n, 0.35, weighted=weighted)
    members = some_half(dense, seed)
    if dense[members].sum() == 0:
        return
    rng = np.random.default_rng(seed)
    labels = None if eps is None else rng.integers(0, 2, n)
    heavy = dense if eps is None else np.where(labels[:, None] == labels, dense, dense * eps)
    if heavy[members].sum() == 0:
        return
    options = {} if eps is None else {"labels": labels, "label_eps": eps}
    result = [simple_local(sp.csr_array(dense), members, delta, **options, backend=backend) for backend in BACKENDS]
    target = least_quotient(dense, members, delta, labels, eps)
    for cluster in result:
        assert cluster.statistics["quotient"] == pytest.approx(target, rel=1e-9, abs=1e-12)
        assert cluster.statistics["converged"] == 1
        assert cluster.conductance <= cluster.statistics["before"] * (1 + 1e-12)
        assert cluster.conductance <= cluster.statistics["quotient"] * (1 + 1e-12)
        assert cluster.conductance == pytest.approx(
            conductance(sp.csr_array(dense), cluster.nodes, **options), rel=1e-11, abs=1e-13
        )
    assert result[0].nodes.tolist() == result[1].nodes.tolist()
    if delta == math.inf:
        assert set(result[0].nodes) <= set(members)
        assert result[0].nodes.tolist() == mqi(sp.csr_array(dense), members, **options).nodes.tolist()


def test_a_large_delta_comes_to_the_same_as_mqi():
    for seed in range(20):
        dense = random_graph(seed, 40, 0.12, weighted=False)
        members = some_half(dense, seed)
        if dense[members].sum() == 0:
            continue
        graph = sp.csr_array(dense)
        assert simple_local(graph, members, 1e9).nodes.tolist() == mqi(graph, members).nodes.tolist()


def test_one_flow_is_that_of_networkx():
    """The largest flow of the first round of MQI on integer capacities says whether there is a better subset."""
    for seed in range(10):
        dense = random_graph(seed, 25, 0.15, weighted=False, loops=False)
        members = some_half(dense, seed)
        inside = dense[np.ix_(members, members)]
        volume, cut = int(dense[members].sum()), int(dense[members].sum() - inside.sum())
        network = networkx.DiGraph()
        network.add_nodes_from(["s", "t"])
        for i, v in enumerate(members):
            network.add_edge("s", i, capacity=cut * int(dense[v].sum()))
            network.add_edge(i, "t", capacity=volume * int(dense[v].sum() - inside[i].sum()))
            for j in np.flatnonzero(inside[i]):
                network.add_edge(i, int(j), capacity=volume)
        flow = networkx.maximum_flow_value(network, "s", "t")
        result = mqi(sp.csr_array(dense), members)
        assert (result.conductance < result.statistics["before"]) == (flow < cut * volume)


def test_conductance_never_increases_from_flow_to_flow():
    for seed in range(5):
        dense = random_graph(seed, 60, 0.08, weighted=seed % 2 == 0)
        members = some_half(dense, seed)
        for method in (mqi, simple_local):
            phi = [method(sp.csr_array(dense), members, max_rounds=r).statistics["quotient"] for r in range(1, 8)]
            assert all(after <= before for before, after in itertools.pairwise(phi))


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_block_is_recovered(seed):
    graph, truth = planted(seed=seed)
    rng = np.random.default_rng(seed)
    noisy = np.union1d(truth[rng.random(250) < 0.9], rng.choice(5000, 40, replace=False))
    exact = conductance(graph, truth)
    assert exact == pytest.approx(0.2, abs=0.02)
    assert f1(simple_local(graph, noisy).nodes, truth) == 1
    # FlowImprove.
    assert f1(simple_local(graph, noisy, 0.0).nodes, truth) == 1
    more = np.union1d(truth, rng.choice(5000, 60, replace=False))
    result = mqi(graph, more)
    assert (f1(result.nodes, truth), result.conductance) == (1, pytest.approx(exact))
    assert improve(graph, result, "simple_local").conductance <= result.conductance


def test_simple_local_reads_no_more_than_it_may():
    for n in (10**4, 10**5):
        rng = np.random.default_rng(1)
        ends = rng.integers(0, n, (2, 5 * n))
        block = np.array([(i, j) for i in range(60) for j in range(i) if rng.random() < 0.4]).T
        ends = np.concatenate([ends, block], axis=1)
        graph = as_undirected(
            np.concatenate([ends, ends[::-1]], axis=1)[:, np.r_[ends[0] != ends[1], ends[0] != ends[1]]]
        )
        for delta in (0.1, 0.5, 2.0):
            result = simple_local(graph, np.arange(70), delta)
            volume = graph.degree[:70].sum()
            assert result.statistics["arcs"] <= volume * (1 + 1 / delta)
    assert result.statistics["arcs"] < 0.02 * len(graph.col)


def test_labels_are_read_only_where_needed_and_swapping_them_changes_nothing():
    graph, truth = planted(8, 60, 0.3, 0.02)
    rng = np.random.default_rng(0)
    labels = np.r_[rng.random(60) < 0.9, rng.random(420) < 0.1].astype(np.uint8)
    start = np.union1d(truth[:50], np.arange(100, 120))
    requested = []

    def ask(nodes):
        requested.extend(nodes.tolist())
        return labels[nodes]

    for method in (mqi, simple_local):
        requested.clear()
        for backend in BACKENDS:
            one, two, three = (
                method(graph, start, labels=given, label_eps=0.2, backend=backend)
                for given in (labels, 1 - labels, ask)
            )
            assert one.nodes.tolist() == two.nodes.tolist() == three.nodes.tolist()
            assert one.conductance == two.conductance == three.conductance
        assert len(requested) == 2 * len(set(requested))
        plain = method(graph, start)
        same = method(graph, start, labels=labels, label_eps=1)
        assert same.nodes.tolist() == plain.nodes.tolist()
        assert same.statistics == plain.statistics


@pytest.mark.parametrize("backend", BACKENDS)
def test_sets_that_cannot_be_better(backend):
    dense = np.zeros((7, 7))
    for i, j in [*itertools.combinations(range(3), 2), *itertools.combinations(range(3, 6), 2)]:
        dense[i, j] = dense[j, i] = 1
    graph = sp.csr_array(dense)
    whole = mqi(graph, [0, 1, 2], backend=backend)
    assert (whole.nodes.tolist(), whole.conductance, whole.statistics["converged"]) == ([0, 1, 2], 0, 1)
    # Isolated.
    alone = simple_local(graph, [6], backend=backend)
    assert (alone.nodes.tolist(), alone.conductance) == ([6], 1)
    nothing = mqi(sp.csr_array((2, 2)), [1], backend=backend)
    assert (nothing.nodes.tolist(), nothing.conductance) == ([1], 1)
    # Each of 0, 1 alone is worse than both.
    result = mqi(graph, [0, 1, 6], backend=backend)
    assert (result.nodes.tolist(), result.conductance) == ([0, 1], 0.5)
    assert simple_local(graph, [0, 1], 0.1, backend=backend).nodes.tolist() == [0, 1, 2]
    one = mqi(graph, [0, 1], max_rounds=1, backend=backend)
    assert one.statistics["rounds"] == 1


def test_long_paths_and_a_hub():
    n = 600
    ends = np.arange(n - 1)
    path = np.stack([np.r_[ends, ends + 1], np.r_[ends + 1, ends]])
    for backend in BACKENDS:
        result = mqi(path, np.r_[0:200, 400], backend=backend)
        assert result.nodes.tolist() == list(range(200))
    star = np.stack([np.r_[np.zeros(n, int), 1 : n + 1], np.r_[1 : n + 1, np.zeros(n, int)]])
    assert mqi(star, np.arange(1, 201)).conductance == 1


def test_improvement_of_a_sweep():
    graph, truth = planted(6, 50, 0.3, 0.01)
    result = sweep_cut(graph, {int(v): 60.0 - k for k, v in enumerate(np.r_[truth[:45], 70:75])}, max_volume=800)
    for method in ("mqi", "simple_local"):
        assert improve(graph, result, method).conductance <= result.conductance
    assert improve(graph, result.nodes.tolist(), "simple_local").nodes.tolist() == truth.tolist()
    named = networkx.relabel_nodes(networkx.path_graph(6), dict(enumerate("abcdef")))
    assert improve(named, improve(named, ["a", "b", "f"])).names == ["a", "b"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mqi(PATH, []), "nodes: expected at least one node"),
        (lambda: mqi(PATH, range(4)), "nodes: expected a set of at most half the volume of the graph, got 6 of 6"),
        (lambda: simple_local(PATH, [1, 2]), "nodes: expected a set of at most half the volume"),
        (lambda: mqi(PATH, [4]), "nodes: expected positions of nodes from 0 to 3, got 4"),
        (lambda: simple_local(PATH, [0], -1), "delta: expected a number of at least 0, or infinity"),
        (lambda: simple_local(PATH, [0], math.nan), "delta: expected a number of at least 0, or infinity"),
        (lambda: mqi(PATH, [0], max_rounds=0), "max_rounds: expected an integer from 1 to"),
        (lambda: mqi(PATH, [0], labels=[0, 1, 2, 1]), "labels: expected 0 or 1"),
        (lambda: mqi(PATH, [0], label_eps=-1), "label_eps: expected a number in"),
        (lambda: mqi(PATH, [0], backend="gpu"), "backend: expected one of native, reference"),
        (lambda: improve(PATH, [0], "sl"), "method: expected one of mqi, simple_local"),
        (lambda: improve(PATH, sweep_cut(PATH, [1.0, 0, 0, 0]), delta=1), "mqi: settings: expected one of"),
    ],
)
def test_bad_input_has_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weight", [1.0, 1e160, 1e-170])
def test_the_scale_of_weights_does_not_matter(backend, weight):
    edges = np.array([[0, 1], [1, 2], [0, 2], [2, 3], [3, 4], [4, 5], [3, 5], [5, 6], [6, 7], [7, 8], [8, 6], [8, 9]])
    edges = np.concatenate([edges, [[9, 10], [8, 10]]]).T
    graph = as_undirected(np.concatenate([edges, edges[::-1]], axis=1), weight=np.full(28, weight))
    assert mqi(graph, [0, 1, 2, 3], backend=backend).nodes.tolist() == [0, 1, 2]


def test_settings_that_a_method_does_not_have_are_named():
    with pytest.raises(InputError, match=r"^mqi: settings: expected one of .*, got 'delta'"):
        improve([[0, 1, 1, 2], [1, 0, 2, 1]], [0], "mqi", delta=3)
