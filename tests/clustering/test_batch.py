import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise import InputError, clustering
from graphnoise.clustering import as_undirected, diffuse_many, sweep_cut, sweep_many

METHODS = {
    "flow": {"tol": 1e-6, "sink": "unit"},
    "pagerank": {"alpha": 0.2, "eps": 1e-3},
    "l1_pagerank": {"alpha": 0.2, "rho": 1e-3},
    "heat_kernel": {"t": 3.0, "eps": 1e-3},
}
FUNCTIONS = {
    "flow": clustering.flow_diffusion,
    "pagerank": clustering.approximate_pagerank,
    "l1_pagerank": clustering.l1_pagerank,
    "heat_kernel": clustering.heat_kernel,
}


def random_graph(seed, n=60, share=0.1):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < share, 1) * rng.uniform(0.5, 2, (n, n))
    return as_undirected(sp.csr_array(upper + upper.T))


def same(a, b):
    assert np.array_equal(a.values.toarray(), b.values.toarray())
    for name in ("status", "converged", "pushes", "arcs", "num_touched", "worst"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_what_the_method_gives_alone(method, labelled, backend):
    graph = random_graph(0)
    labels = np.random.default_rng(1).integers(0, 2, 60) if labelled else None
    sets = [3, [4, 9, 17], {5: 2.0, 8: 7.0}, np.array([1, 0])]
    flow = method == "flow"
    if flow:
        sets = [dict.fromkeys(np.atleast_1d(s).tolist(), 4.0) if not isinstance(s, dict) else s for s in sets]
    result = diffuse_many(graph, sets, method, labels=labels, label_eps=0.3, backend=backend, **METHODS[method])
    assert result.backend == backend
    assert len(result) == 4
    assert result.values.shape == (4, 60)
    for i, seeds in enumerate(sets):
        weights = {"labels": labels, "label_eps": 0.3}
        alone = FUNCTIONS[method](graph, seeds, **weights, **METHODS[method])
        assert np.array_equal(result.values[[i]].toarray()[0], alone.dense(60))
        assert (result.status[i], result.converged[i]) == (alone.status, alone.converged)
        assert (result.pushes[i], result.arcs[i]) == (alone.pushes, alone.arcs)
        assert result.num_touched[i] >= len(alone.touched)
        nodes, values = result.row(i)
        assert np.array_equal(nodes, alone.support)
        assert np.array_equal(values, alone.values[alone.values > 0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40), st.booleans())
def test_the_same_bits_at_any_number_of_threads(seed, count, labelled):
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    seeds = rng.integers(0, 60, count)
    labels = rng.integers(0, 2, 60) if labelled else None
    for ask in (labels, None if labels is None else lambda nodes: labels[nodes]):
        runs = [diffuse_many(graph, seeds, "flow", 9.0, labels=ask, num_threads=threads) for threads in (1, 2, 3)]
        same(runs[0], runs[1])
        same(runs[0], runs[2])


def test_sets_have_many_forms():
    graph = random_graph(0)
    target = diffuse_many(graph, [[7], [2]], mass=[3.0, 5.0])
    masks = np.zeros((2, 60), dtype=bool)
    masks[[0, 1], [7, 2]] = True
    for sets in (
        [7, 2],
        np.array([7, 2], dtype=np.uint8),
        torch.tensor([7, 2]),
        iter([7, 2]),
        np.array([[7], [2]]),
        masks,
    ):
        same(target, diffuse_many(graph, sets, mass=torch.tensor([3.0, 5.0])))
    same(target, diffuse_many(graph, [{7: 3.0}, {2: 5.0}]))
    same(target, diffuse_many(graph, [{7: 3.0}, {2: 5.0}], num_threads=0))


def test_names_are_kept():
    import networkx

    graph = networkx.relabel_nodes(networkx.path_graph(4), dict(enumerate("abcd")))
    result = diffuse_many(graph, ["a", ["b", "c"]], mass=2.0, labels={"a": 1, "b": 0, "c": 0, "d": 0})
    assert result.names == ["a", "b", "c", "d"]
    assert result.seeds.tolist() == [0, 1, 2]
    requested = []

    def labels(nodes):
        requested.extend(nodes)
        return [name == "a" for name in nodes]

    same(result, diffuse_many(graph, ["a", ["b", "c"]], mass=2.0, labels=labels))
    assert set(requested) <= set("abcd")
    clusters = sweep_many(graph, result, labels=labels)
    by_node = {"a": 1, "b": 0, "c": 0, "d": 0}
    assert [cluster.names for cluster in clusters] == [c.names for c in sweep_many(graph, result, labels=by_node)]


def test_no_sets_are_no_rows():
    for none in ([], np.empty(0, dtype=np.int64), [[0]][:0]):
        result = diffuse_many(random_graph(0), none, mass=1.0)
        assert result.values.shape == (0, 60)
        assert sweep_many(random_graph(0), result) == []


def test_the_status_of_runs_that_do_not_converge():
    pair = [[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]]
    result = diffuse_many(pair, [0, 3], mass=[3.0, 3.0], num_threads=2)
    assert result.status.tolist() == ["exhausted", "converged"]
    assert result.converged.tolist() == [False, True]
    assert diffuse_many(pair, [2], mass=3.9, max_pushes=1).status.tolist() == ["max_pushes"]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_sweeps_are_those_of_each_diffusion(method, labelled):
    graph = random_graph(2)
    labels = np.random.default_rng(1).integers(0, 2, 60) if labelled else None
    flow = method == "flow"
    sets = [[3], [4, 9], [0]]
    batch = diffuse_many(graph, sets, method, 12.0 if flow else None, labels=labels, **METHODS[method])
    result = sweep_many(graph, batch, labels=labels)
    requested = sweep_many(graph, batch, labels=None if labels is None else lambda nodes: labels[nodes])
    for i, seeds in enumerate(sets):
        alone = FUNCTIONS[method](graph, seeds, **({"mass": 12.0} if flow else {}), labels=labels, **METHODS[method])
        forced = None
        if labels is not None:
            forced = labels.copy()
            forced[seeds] = 1
        target = sweep_cut(graph, alone, labels=forced)
        for cluster in (result[i], requested[i]):
            assert np.array_equal(cluster.nodes, target.nodes)
            assert np.array_equal(cluster.profile, target.profile)
            assert cluster.conductance == target.conductance
    small = sweep_many(graph, batch, labels=labels, max_volume=30.0, by="value")
    assert all(cluster.statistics["volume"] <= 30.0 for cluster in small)


def test_a_set_without_values_has_no_cluster():
    batch = diffuse_many(random_graph(0), [0, 1], "pagerank", eps=1e3)
    assert [(len(cluster.nodes), cluster.conductance) for cluster in sweep_many(random_graph(0), batch)] == [
        (0, 1.0)
    ] * 2


MASS = {"mass": 1.0}


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (([0], "flows"), {}, r"method: expected one of flow, heat_kernel, l1_pagerank, pagerank, got 'flows'"),
        (([0],), {}, "mass: expected the mass of a set"),
        (([[0]],), {}, "mass: expected the mass of a set"),
        (([[0], {1: 2.0}],), MASS, r"seed_sets\[1\]: mass: expected None with seeds"),
        (([0, 60],), MASS, r"seed_sets\[1\]: seeds: expected positions of nodes from 0 to 59, got 60"),
        (([0, -1],), MASS, r"seed_sets\[1\]: seeds: expected positions of nodes from 0 to 59, got -1"),
        ((np.array([0, 60]),), MASS, r"seed_sets\[1\]: seeds: expected positions"),
        (([0, 2**70],), MASS, r"seed_sets\[1\]: seeds: expected positions"),
        (([0, 1.5],), MASS, r"seed_sets\[1\]: seeds: expected positions"),
        (([0, []],), MASS, r"seed_sets\[1\]: seeds: expected at least one node"),
        ((5,), MASS, "seed_sets: expected several sets of seeds"),
        (({0: 1.0},), {}, "seed_sets: expected several sets of seeds"),
        ((np.ones(60, dtype=bool),), MASS, "seed_sets: expected several sets of seeds"),
        (([0, 1],), {"mass": [1.0]}, r"mass: expected a finite number above 0, or 2 of them, one per set, got shape"),
        (([0, 1],), {"mass": [1.0, 0.0]}, "mass: expected a finite number above 0"),
        (([0],), {"mass": float("nan")}, "mass: expected a finite number above 0"),
        (([0],), {"mass": "much"}, "mass: expected a finite number"),
        (([0],), {"mass": ["much"]}, "mass: expected numbers"),
        (
            ([0],),
            {**MASS, "alpha": 0.1},
            "parameters of flow: expected sink, tol, p, max_pushes, got 'alpha'",
        ),
        (([0],), {**MASS, "tol": 0.0}, "tol: expected a number above 0"),
        (([0],), {**MASS, "labels": [0, 1]}, "labels: expected 60 labels"),
        (([0],), {**MASS, "label_eps": 2.0}, "label_eps: expected"),
        (([0],), {**MASS, "num_threads": -1}, "num_threads: expected an integer from 0"),
        (([0],), {**MASS, "backend": "cuda"}, "backend: expected one of"),
    ],
)
def test_bad_input_is_named(arguments, settings, message):
    with pytest.raises(InputError, match=message):
        diffuse_many(random_graph(0), *arguments, **settings)


def test_errors_of_sweeps_of_batches():
    graph = random_graph(0)
    with pytest.raises(InputError, match="batch: expected a DiffusionBatch"):
        sweep_many(graph, clustering.flow_diffusion(graph, 0, 2.0))
    batch = diffuse_many(graph, [0], mass=50.0)
    with pytest.raises(InputError, match="batch: expected a batch of this graph of 5 nodes"):
        sweep_many(random_graph(0, n=5, share=0.9), batch)
    with pytest.raises(InputError, match="by: expected one of"):
        sweep_many(graph, batch, by="size")
    with pytest.raises(InputError, match="max_volume: expected at least"):
        sweep_many(graph, batch, max_volume=1e-9)


LONG = """
import signal
import numpy as np
from graphnoise.clustering import diffuse_many, as_undirected
signal.signal(signal.SIGINT, signal.default_int_handler)
n = 20_000
ring = np.arange(n)
graph = as_undirected(np.array([[*ring, *np.roll(ring, 1)], [*np.roll(ring, 1), *ring]]))
few = diffuse_many(graph, ring[:4], mass=50.0)
print("ready", flush=True)
try:
    diffuse_many(graph, ring, mass=3000.0, tol=1e-9, num_threads=2, max_pushes=10**12)
except KeyboardInterrupt:
    print("interrupted", flush=True)
again = diffuse_many(graph, ring[:4], mass=50.0)
assert (few.values != again.values).nnz == 0 and few.values.nnz == again.values.nnz
"""


def test_an_interrupt_ends_a_long_batch():
    process = subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - before < 5
        known, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert (known, errors, process.returncode) == ("", "", 0)
