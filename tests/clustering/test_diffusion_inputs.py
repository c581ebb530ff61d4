"""What diffusions do with input that is bad, or that has no solution: one clear error, or a result that says so."""

import math
import signal
import subprocess
import sys
import time

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
from local_graphs import BACKENDS, planted, random_graph

from graphnoise import InputError
from graphnoise.clustering import approximate_pagerank, as_undirected, flow_diffusion, heat_kernel, l1_pagerank

PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]
# A triangle and K4.
TWO = sp.block_diag([np.ones((3, 3)) - np.eye(3), np.ones((4, 4)) - np.eye(4)], format="csr")
# 0 and 3 have no arcs.
LONELY = sp.csr_array((4, 4)) + sp.csr_array(([1.0, 1.0], ([1, 2], [2, 1])), shape=(4, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flow_diffusion(PATH, 0), r"^mass: expected the mass of the seeds, .*, got None"),
        (lambda: flow_diffusion(PATH, 0, 0.0), r"^mass: expected a finite number above 0, got 0"),
        (lambda: flow_diffusion(PATH, 0, math.nan), r"^mass: expected a finite number above 0, got nan"),
        (lambda: flow_diffusion(PATH, 0, "4"), r"^mass: "),
        (lambda: flow_diffusion(PATH, [0, 1], [[1.0], [2.0, 3.0]]), r"^mass: expected one number, or 2, one per seed"),
        (lambda: heat_kernel([[0, 2**40], [2**40, 0]], 0), r"^edge_index: expected fewer nodes: renumber"),
        (lambda: flow_diffusion(PATH, {0: 1.0}, 4.0), r"^mass: expected None with seeds \{node: mass\}"),
        (lambda: flow_diffusion(PATH, [], 4.0), r"^seeds: expected at least one node, got none"),
        (lambda: flow_diffusion(PATH, 4, 4.0), r"^seeds: expected positions of nodes from 0 to 3, got 4"),
        (lambda: flow_diffusion(PATH, 0, 4.0, label_eps=1.5), r"^label_eps: expected a number in \[0, 1\], got 1.5"),
        (lambda: flow_diffusion(PATH, 0, 4.0, sink="volume"), r"^sink: expected one of degree, unit, got 'volume'"),
        (lambda: flow_diffusion(PATH, 0, 4.0, tol=0.0), r"^tol: expected a number above 0, got 0.0"),
        (lambda: flow_diffusion(PATH, 0, 4.0, p=1.5), r"^p: expected a number in \[2, 64\], got 1.5"),
        (lambda: flow_diffusion(PATH, 0, 4.0, max_pushes=0), r"^max_pushes: expected an integer of at least 1|from 1"),
        (lambda: flow_diffusion(PATH, 0, 4.0, [0, 1]), r"^labels: expected 4 labels, one per node, got shape \(2,\)"),
        (lambda: flow_diffusion(PATH, 0, 4.0, [0, 1, 2, 0]), r"^labels: expected 0 or 1 at every node, got 2"),
        (lambda: flow_diffusion(PATH, 0, 4.0, backend="cuda"), r"^backend: expected one of native, reference"),
        (lambda: approximate_pagerank(PATH, 0, 0.0), r"^alpha: expected a number above 0 and below 1, got 0.0"),
        (lambda: approximate_pagerank(PATH, 0, 1.0), r"^alpha: expected a number above 0 and below 1, got 1.0"),
        (lambda: approximate_pagerank(PATH, 0, eps=-1e-5), r"^eps: expected a number above 0, got -1e-05"),
        (lambda: l1_pagerank(PATH, 0, rho=math.inf), r"^rho: expected a number above 0, got inf"),
        (lambda: l1_pagerank(PATH, 0, tol=0), r"^tol: expected a number above 0, got 0"),
        (lambda: heat_kernel(PATH, 0, 500.0), r"^t: expected a number above 0 and at most 200, got 500.0"),
        (lambda: heat_kernel(PATH, 0, eps=0.0), r"^eps: expected a number above 0, got 0.0"),
        (lambda: heat_kernel([[0], [1]], 0), r"^graph: expected an undirected graph"),
        (lambda: heat_kernel(sp.csr_array([[0, -1.0], [-1.0, 0]]), 0), r"^edge_weight: expected weights of at least 0"),
        (lambda: heat_kernel(sp.csr_array([[0, np.nan], [np.nan, 0]]), 0), r"^edge_weight: expected finite numbers"),
    ],
)
def test_bad_input_has_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", [2.0, 4.0])
@pytest.mark.parametrize("sink", ["degree", "unit"])
def test_more_mass_than_a_component_holds_is_exhausted(backend, p, sink):
    capacity = 6.0 if sink == "degree" else 3.0
    outcome = flow_diffusion(TWO, 0, 1.01 * capacity, sink=sink, p=p, backend=backend)
    assert (outcome.status, outcome.converged) == ("exhausted", False)
    assert np.isfinite(outcome.values).all()
    assert outcome.pushes < 1000
    assert flow_diffusion(TWO, 0, 0.99 * capacity, sink=sink, p=p, backend=backend).status == "converged"
    # The other one has capacity.
    two = flow_diffusion(TWO, {0: 1.01 * capacity, 3: 0.1}, sink=sink, p=p, backend=backend)
    assert two.status == "exhausted"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_class_of_labels_with_eps_0_is_exhausted(backend):
    labels = [1, 1, 0, 0]
    assert flow_diffusion(PATH, 0, 4.0, labels, 0.0, backend=backend).status == "exhausted"
    outcome = flow_diffusion(PATH, 0, 4.0, labels, 0.05, backend=backend)
    assert outcome.converged
    # The seed's label is known to be 1.
    alone = flow_diffusion(PATH, 3, 2.0, [1, 1, 1, 0], 0.0, backend=backend)
    assert alone.converged


@pytest.mark.parametrize("backend", BACKENDS)
def test_isolated_seeds(backend):
    walk = approximate_pagerank(LONELY, 0, backend=backend)
    assert (walk.touched.tolist(), walk.values.tolist(), walk.residual.tolist()) == ([0], [1.0], [0.0])
    assert l1_pagerank(LONELY, [0, 1], backend=backend).dense(4)[0] == 0.5
    assert heat_kernel(LONELY, 3, backend=backend).dense(4)[3] == 1.0
    # It holds nothing, and nothing leads on.
    flow = flow_diffusion(LONELY, 0, 1.0, backend=backend)
    assert (flow.status, flow.residual.tolist()) == ("exhausted", [1.0])
    assert flow_diffusion(LONELY, 0, 1.0, sink="unit", backend=backend).converged


@pytest.mark.parametrize("backend", BACKENDS)
def test_self_loops_slow_walks_and_do_not_change_flows(backend):
    plain = sp.csr_array(random_graph(0, 20, 0.3, loops=False))
    looped = plain + sp.diags_array(np.full(20, 2.0)).tocsr()
    one, two = (flow_diffusion(g, 0, 8.0, sink="unit", backend=backend) for g in (plain, looped))
    np.testing.assert_allclose(one.dense(20), two.dense(20), rtol=1e-12)
    slow, fast = (approximate_pagerank(g, 0, eps=1e-9, backend=backend).dense(20)[0] for g in (looped, plain))
    assert slow > fast


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("diffuse", [approximate_pagerank, l1_pagerank, heat_kernel, flow_diffusion])
def test_the_bound_on_pushes_is_kept_and_reported(diffuse, backend):
    graph, _ = planted(500, 50)
    more = {"mass": 2000.0} if diffuse is flow_diffusion else {}
    outcome = diffuse(graph, 0, max_pushes=7, backend=backend, **more)
    assert (outcome.status, outcome.converged, outcome.pushes) == ("max_pushes", False, 7)
    assert np.isfinite(outcome.values).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_of_a_label_function_is_raised_and_the_next_call_works(backend):
    def requested(nodes):
        if 3 in nodes:
            raise KeyError("no label of 3")
        return nodes % 2

    with pytest.raises(KeyError, match="no label of 3") as error:
        flow_diffusion(PATH, 2, 5.0, requested, backend=backend)
    assert error.value.__notes__ == ["raised by the callable `labels`, called with 2 nodes"]
    with pytest.raises(InputError, match=r"^labels: expected . labels, one per node"):
        flow_diffusion(PATH, 0, 5.0, lambda nodes: nodes[:0], backend=backend)
    assert flow_diffusion(PATH, 0, 5.0, lambda nodes: nodes < 2, backend=backend).converged


def test_names_of_nodes_are_returned():
    graph = networkx.Graph([("a", "b"), ("b", "c"), ("c", "d")])
    outcome = flow_diffusion(graph, "b", 4.0, {"a": 1, "b": 1, "c": 0, "d": 0})
    assert outcome.names == [list(graph)[v] for v in outcome.touched]
    by_name = flow_diffusion(graph, {"b": 4.0}, labels=lambda names: [name in "ab" for name in names])
    assert by_name.names == outcome.names
    np.testing.assert_array_equal(by_name.values, outcome.values)


def test_read_only_and_single_precision_graphs():
    dense = random_graph(0, 30).astype(np.float32)
    matrix = sp.csr_array(dense)
    matrix.data.flags.writeable = False
    one = approximate_pagerank(matrix, 0).dense(30)
    two = approximate_pagerank(sp.csr_array(dense.astype(np.float64)), 0).dense(30)
    np.testing.assert_array_equal(one, two)


SLOW = """
import numpy as np, scipy.sparse as sp, sys
from graphnoise.clustering import flow_diffusion
n = 200_000
path = sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1]).tocsr()
print("ready", flush=True)
try:
    flow_diffusion(path, n // 2, 1.5 * n, tol=1e-9, max_pushes=2**60)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(0)
"""


def test_ctrl_c_ends_a_run_without_end():
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "stopped\n"
        assert process.returncode == 0


def test_many_saturated_components_are_detected():
    graph = as_undirected(sp.block_diag([np.ones((3, 3)) - np.eye(3)] * 50, format="csr"))
    start = {3 * i: 5.9 for i in range(49)} | {147: 6.1}
    assert flow_diffusion(graph, start).status == "exhausted"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("weight", "p"), [(1e50, 16.0), (1e100, 8.0), (1e200, 3.0)])
def test_potentials_beyond_float64_are_reported(backend, weight, p):
    path = as_undirected(np.array(PATH), weight=np.full(6, weight))
    outcome = flow_diffusion(path, 0, 2.0, sink="unit", p=p, backend=backend)
    assert (outcome.status, outcome.converged) == ("overflow", False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_that_are_not_finite_are_reported(backend):
    pair = as_undirected([[0, 1], [1, 0]], weight=[1e-300] * 2)
    assert heat_kernel(pair, {0: 1e10}, 1.0, 1e-5, backend=backend).status == "overflow"


def test_an_undirected_graph_does_not_share_memory_with_its_source():
    matrix = sp.csr_array(random_graph(0, 30))
    read = as_undirected(matrix)
    before = approximate_pagerank(read, 0)
    matrix.data *= 10
    matrix.indices[:] = 10**6
    same = approximate_pagerank(read, 0)
    np.testing.assert_array_equal(same.values, before.values)
    with pytest.raises(ValueError, match="read-only"):
        read.col[0] = 5
    with pytest.raises(InputError, match=r"^matrix: expected a valid SciPy sparse matrix"):
        as_undirected(matrix)
