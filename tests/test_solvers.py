import math

import networkx
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.polynomial.chebyshev import chebval
from oracles import assert_close, dense, graphs, normalised

import graphnoise as gn
from graphnoise import Graph, InputError, propagate

SOLVERS = ("cg", "chebyshev")
KINDS = ("sym", "row", "col")
UNDIRECTED = ("undirected", "hub", "no arcs", "one node")


def problem(name, draw, columns=3, weighted=False):
    """Return an undirected graph, its dense A and values; edges (i, j) and (j, i) weigh the same."""
    edge_index, n = graphs()[name]
    weight = None
    if weighted:
        half = torch.rand(edge_index.shape[1] // 2, generator=draw).double()
        weight = torch.cat([half, half]) if name in ("undirected", "hub") else torch.ones(edge_index.shape[1])
    graph = Graph.from_edge_index(edge_index, n, weight)
    return graph, dense(edge_index, n, weight), torch.rand(n, columns, generator=draw).double()


def limit(S, y, alpha):
    return (1 - alpha) * torch.linalg.solve(torch.eye(len(S), dtype=torch.float64) - alpha * S, y)


@pytest.mark.parametrize("name", UNDIRECTED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_solvers_reach_the_closed_form(name, kind, solver, weighted, draw):
    graph, A, y = problem(name, draw, weighted=weighted)
    expected = limit(normalised(A, kind), y, 0.95)
    result = propagate(graph, y, alpha=0.95, num_steps=500, normalisation=kind, tol=1e-13, solver=solver)
    assert result.converged
    assert result.residual <= 1e-13
    # 24 and 106 at most; rounding may cost one or two more.
    assert result.steps <= {"cg": 26, "chebyshev": 108}[solver]
    assert_close(result.y, expected, 1e-11)
    again = propagate(graph.normalise(kind), y, alpha=0.95, num_steps=500, tol=1e-13, solver=solver)
    assert torch.equal(again.y, result.y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_is_the_change_of_a_plain_step(solver, kind, draw):
    edge_index, n = graphs()["undirected"]
    # S is invertible: a step can be undone.
    graph = Graph.from_edge_index(edge_index, n).with_self_loops(30.0)
    S, y, alpha = normalised(graph.to_dense(torch.float64), kind), torch.rand(n, 3, generator=draw).double(), 0.9
    for num_steps in (1, 2, 3, 7):
        result = propagate(graph, y, alpha=alpha, num_steps=num_steps, normalisation=kind, solver=solver)
        before = torch.linalg.solve(alpha * S, result.y - (1 - alpha) * y)
        assert result.steps == num_steps
        assert result.residual == pytest.approx(float((result.y - before).abs().max()), rel=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_step_and_one_step_are_those_of_plain_iteration(solver, draw):
    graph, _, y = problem("undirected", draw)
    none = propagate(graph, y, alpha=0.9, num_steps=0, solver=solver)
    assert torch.equal(none.y, y)
    assert none.y.data_ptr() != y.data_ptr()
    assert (none.steps, none.residual, none.converged) == (0, math.inf, False)
    one, plain = (propagate(graph, y, alpha=0.9, num_steps=1, solver=name) for name in (solver, "iterate"))
    assert torch.equal(one.y, plain.y)
    assert one.residual == plain.residual
    assert torch.equal(propagate(graph, y, alpha=0.0, num_steps=5, solver=solver).y, y)


def test_chebyshev_is_a_step_after_its_polynomial(draw):
    """X_k - X = T_k(S) / T_k(1 / alpha) (Y0 - X) with X the limit, and the result is one plain step from there."""
    graph, A, y = problem("undirected", draw)
    S, alpha = normalised(A, "sym"), 0.9
    X, (values, vectors) = limit(S, y, alpha), torch.linalg.eigh(S)
    for num_steps in (1, 2, 3, 4, 9):
        degree = [0] * (num_steps - 1) + [1]
        shares = chebval(values.numpy(), degree) / chebval(1 / alpha, degree)
        expected = X + alpha * S @ vectors @ torch.from_numpy(shares).diag() @ vectors.t() @ (y - X)
        assert_close(propagate(graph, y, alpha=alpha, num_steps=num_steps, solver="chebyshev").y, expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_masks_vectors_widths_and_backends(solver, backend, draw):
    graph, A, y = problem("undirected", draw)
    settings = {"alpha": 0.9, "num_steps": 300, "tol": 1e-13, "solver": solver, "backend": backend}
    mask = torch.rand(len(y), generator=draw) < 0.5
    unread = torch.where(mask.unsqueeze(1), y, math.nan)
    expected = limit(normalised(A, "sym"), y * mask.unsqueeze(1), 0.9)
    assert_close(propagate(graph, unread, mask=mask, **settings).y, expected, 1e-11)
    assert_close(propagate(graph, unread[:, 1], mask=mask, **settings).y, expected[:, 1], 1e-11)
    empty = propagate(graph, y[:, :0], **settings)
    assert (empty.y.shape, empty.converged) == ((len(y), 0), True)
    zero = propagate(graph, torch.zeros_like(y), **settings)
    assert (zero.steps, zero.residual) == (1, 0.0)


def test_columns_that_are_done_stop_changing(draw):
    """A column that starts at its limit needs nothing; beside one that needs much it comes out the same."""
    graph, A, y = problem("undirected", draw)
    # 1 where there are neighbours.
    fixed = normalised(A, "row") @ torch.ones(len(A), 1, dtype=torch.float64)
    both = torch.cat([fixed, 1e3 * y[:, :1]], dim=1)
    result = propagate(graph, both, alpha=0.99, num_steps=400, normalisation="row", tol=1e-9, solver="cg")
    assert result.converged
    assert_close(result.y[:, :1], fixed, 1e-14)


@pytest.mark.parametrize("magnitude", [1e-25, 1.0, 1e25])
def test_magnitudes_do_not_matter(magnitude, draw):
    graph, A, y = problem("undirected", draw)
    y = y.float() * magnitude
    result = propagate(graph, y, alpha=0.95, num_steps=300, tol=1e-6 * magnitude, solver="cg")
    assert result.converged
    # 14, whatever the magnitude.
    assert result.steps <= 16
    assert_close(result.y / magnitude, limit(normalised(A, "sym"), y.double(), 0.95) / magnitude, 2e-5)


def test_convergence_is_never_claimed_by_the_recursion_alone(draw):
    """Single precision cannot reach this tolerance: the steps run out, and the reported residual is the true one."""
    ring = torch.stack([torch.arange(2000), (torch.arange(2000) + 1) % 2000])
    graph = Graph.from_edge_index(torch.cat([ring, ring.flip(0)], dim=1)).normalise("sym")
    y = torch.rand(2000, 1, generator=draw)
    result = propagate(graph, y, alpha=0.9999, num_steps=1500, tol=1e-12, solver="cg")
    assert (result.steps, result.converged) == (1500, False)
    assert 1e-12 < result.residual < 1e-5
    S = graph.to_scipy().tocsc()
    solved = scipy.sparse.linalg.spsolve(scipy.sparse.eye_array(2000, format="csc") - 0.9999 * S, 0.0001 * y.numpy())
    assert_close(result.y.squeeze(1), torch.from_numpy(solved).float(), 2e-3)


def products(graph, y, exact, solver, most):
    """Return the fewest products whose result is within 1e-6 of the exact one, by bisection."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        actual = propagate(graph, y, alpha=0.99, num_steps=middle, solver=solver).y
        low, high = (low, middle) if float((actual - exact).abs().max()) <= 1e-6 else (middle, high)
    return high


def cora():
    data = gn.datasets.load("cora")
    known = torch.nn.functional.one_hot(data.y, 7) * data.train_mask.unsqueeze(1)
    return Graph.from_data(data), known.double()


def planted():
    data = gn.datasets.planted_partition([300] * 5, 0.03, 0.002, seed=0)
    return Graph.from_data(data), torch.nn.functional.one_hot(data.y, 5).double()


# Plain iteration takes 1306 and 60 products, "cg" 73 and 19, "chebyshev" 99 and 102: fixed weights cannot use that the
# eigenvalues of the planted graph lie close together.
@pytest.mark.parametrize(("make", "limits"), [(cora, (1320, 75, 101)), (planted, (62, 20, 104))])
def test_solvers_need_far_fewer_products(make, limits):
    try:
        graph, y = make()
    except gn.DataError:
        pytest.skip("Cora is not here")
    graph = graph.normalise("sym")
    S = graph.to_scipy().tocsc()
    solved = scipy.sparse.linalg.spsolve(scipy.sparse.eye_array(len(y), format="csc") - 0.99 * S, 0.01 * y.numpy())
    exact = torch.from_numpy(np.asarray(solved))
    for name, limit in zip(("iterate", *SOLVERS), limits, strict=True):
        assert products(graph, y, exact, name, 2 * limit) <= limit
    output = propagate(graph, y, alpha=0.99, num_steps=2000, tol=1e-8, solver="cg")
    assert output.converged
    assert output.steps <= limits[0] / 2
    assert float((output.y - exact).abs().max()) <= 1e-6


def test_personalised_pagerank_is_networkx_own():
    karate = networkx.karate_club_graph()
    nodes = len(karate)
    graph = Graph.from_networkx(karate, "weight")
    start = torch.eye(nodes, dtype=torch.float64)
    for solver in SOLVERS:
        ours = propagate(graph, start, alpha=0.85, num_steps=500, normalisation="col", tol=1e-15, solver=solver).y
        for v in (0, 5, 33):
            theirs = networkx.pagerank(karate, alpha=0.85, personalization={v: 1}, tol=1e-14, max_iter=500)
            assert_close(ours[:, v], torch.tensor([theirs[i] for i in range(nodes)], dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_to_values(solver, kind, draw):
    graph, A, y = problem("undirected", draw, columns=2, weighted=True)
    tol = 1e-13 if solver == "cg" else None

    def forward(values):
        num_steps = 300 if solver == "cg" else 6
        return propagate(graph, values, alpha=0.8, num_steps=num_steps, normalisation=kind, tol=tol, solver=solver).y

    assert torch.autograd.gradcheck(forward, (y.requires_grad_(),))
    assert torch.autograd.gradgradcheck(forward, (y,), fast_mode=True)
    if solver == "cg":
        upstream = torch.rand(y.shape, generator=draw).double()
        (grad,) = torch.autograd.grad(forward(y), y, upstream)
        assert_close(grad, limit(normalised(A, kind).t(), upstream, 0.8), 1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_gradients_to_weights(solver, kind, backend, draw):
    edge_index, n = graphs()["undirected"]
    edge_index = torch.cat([edge_index[:, :12], edge_index[:, :12].flip(0)], dim=1)
    weight = (torch.rand(12, generator=draw).double() + 0.2).requires_grad_()
    y = torch.rand(n, 2, generator=draw).double().requires_grad_()
    settings = {"alpha": 0.8, "normalisation": kind, "solver": solver, "backend": backend}
    settings |= {"num_steps": 300, "tol": 1e-13} if solver == "cg" else {"num_steps": 4}

    def forward(w, values):
        return propagate(Graph.from_edge_index(edge_index, n, torch.cat([w, w])), values, **settings).y

    assert torch.autograd.gradcheck(forward, (weight, y))
    if backend == "native":
        assert torch.autograd.gradgradcheck(forward, (weight, y), fast_mode=True)


def test_small_gradients_are_as_exact_as_large_ones(draw):
    """The tolerance of the second solution goes with the size of the gradient that comes in."""
    graph, A, y = problem("undirected", draw)
    upstream = 1e-7 * torch.rand(y.shape, generator=draw).double()
    result = propagate(graph, y.requires_grad_(), alpha=0.95, num_steps=300, tol=1e-9, solver="cg")
    (grad,) = torch.autograd.grad(result.y, y, upstream)
    assert_close(1e7 * grad, limit(normalised(A, "sym"), 1e7 * upstream, 0.95), 1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "lazy"}, "mode: expected 'restart' with solver="),
        ({"clamp": (0.0, 1.0)}, "clamp: expected None with solver="),
        ({"alpha": 1.0}, "alpha: expected a rate below 1 with solver=.*no longer holds y"),
        ({"y": torch.ones(23, 2, dtype=torch.bfloat16)}, "y: expected float32 or float64 values with solver="),
        ({"y": torch.full((23, 2), torch.nan)}, "y: expected finite numbers"),
        ({"y": torch.full((23, 2), -torch.inf)}, "y: expected finite numbers"),
        ({"normalisation": "none"}, "normalisation: expected 'sym', 'row' or 'col' with solver="),
    ],
)
def test_bad_input_is_named(solver, change, message):
    graph = Graph.from_edge_index(*graphs()["undirected"])
    arguments = {"y": torch.ones(23, 2), "alpha": 0.5, "num_steps": 2, "solver": solver} | change
    with pytest.raises(InputError, match=message):
        propagate(graph, **arguments)


@pytest.mark.parametrize("solver", SOLVERS)
def test_graphs_that_do_not_fit_are_named(solver):
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    settings = {"alpha": 0.5, "num_steps": 2, "solver": solver}
    with pytest.raises(InputError, match="graph: expected an undirected graph, weights included"):
        propagate(Graph.from_edge_index(path[:, :3]), torch.ones(3), **settings)
    with pytest.raises(InputError, match="graph: expected an undirected graph, weights included"):
        propagate(Graph.from_edge_index(path, 3, torch.tensor([1.0, 2.0, 1.0, 1.0])), torch.ones(3), **settings)
    graph = Graph.from_edge_index(path)
    negative = Graph(graph.rowptr, graph.col, torch.tensor([-1.0, -1.0, 2.0, 2.0]))
    with pytest.raises(InputError, match="graph: expected weights of at least 0"):
        propagate(negative, torch.ones(3), normalisation="row", **settings)
    with pytest.raises(InputError, match=r"solver: expected one of cg, chebyshev, iterate.*did you mean 'cg'"):
        propagate(graph, torch.ones(3), alpha=0.5, num_steps=2, solver="cgs")


def test_undirected_counts_repeats_and_weights():
    arcs = torch.tensor([[0, 0, 1, 2], [1, 1, 0, 2]])
    assert Graph.from_edge_index(arcs, 3, torch.tensor([0.5, 0.5, 1.0, 3.0])).undirected
    assert not Graph.from_edge_index(arcs, 3).undirected
    assert Graph.from_edge_index(torch.empty(2, 0), 2).undirected
    # To rounding.
    third = torch.tensor([0.1, 0.2, 0.1 + 0.2, 1.0])
    assert Graph.from_edge_index(arcs, 3, third).undirected
    assert not Graph.from_edge_index(arcs, 3, third * torch.tensor([1.0, 1.0, 1.001, 1.0])).undirected
    # The weights A, not S.
    assert Graph.from_edge_index(arcs, 3, third).normalise("row").undirected


def test_the_largest_values_of_a_type_do_not_overflow():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
    result = propagate(graph, torch.tensor([3e38, -3e38]), alpha=0.9, num_steps=50, tol=1e32, solver="cg")
    assert result.converged
    assert_close(result.y / 1e38, torch.tensor([3.0, -3.0]) / 19, 1e-6)
