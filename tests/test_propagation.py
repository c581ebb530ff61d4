from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
import torch_geometric.nn
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close, dense, graphs, normalised

from graphnoise import Graph, InputError, LabelPropagation, propagate

GRAPHS = graphs()


def problem(name, draw, columns=3):
    edge_index, n = GRAPHS[name]
    return Graph.from_edge_index(edge_index, n), dense(edge_index, n), torch.rand(n, columns, generator=draw).double()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("kind", ["sym", "row", "col"])
def test_lazy_is_a_matrix_power(name, kind, draw):
    graph, A, y = problem(name, draw)
    S, a = normalised(A, kind), 0.4
    expected = torch.linalg.matrix_power((1 - a) * torch.eye(len(A), dtype=torch.float64) + a * S, 5) @ y
    result = propagate(graph, y, alpha=a, num_steps=5, mode="lazy", normalisation=kind)
    assert_close(result.y, expected)
    assert result.steps == 5
    assert result.backend == "native"


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("kind", ["sym", "row", "col"])
def test_restart_tends_to_its_closed_form(name, kind, draw):
    graph, A, y = problem(name, draw)
    S, a = normalised(A, kind), 0.9
    limit = (1 - a) * torch.linalg.solve(torch.eye(len(A), dtype=torch.float64) - a * S, y)
    result = propagate(graph.normalise(kind), y, alpha=a, num_steps=2000, tol=1e-13)
    assert result.converged
    assert result.residual <= 1e-13
    assert result.steps < 2000
    assert_close(result.y, limit, 1e-11)


def test_steps_and_convergence_are_told(draw):
    graph, _, y = problem("undirected", draw)
    few = propagate(graph, y, alpha=0.9, num_steps=3, tol=1e-9)
    assert (few.steps, few.converged) == (3, False)
    assert few.residual > 1e-9
    none = propagate(graph, y, alpha=0.9, num_steps=0)
    assert torch.equal(none.y, y)
    assert (none.steps, none.converged) == (0, False)
    before = propagate(graph, y, alpha=0.9, num_steps=2).y
    assert few.residual == pytest.approx(float((few.y - before).abs().max()), rel=1e-12)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_tolerance_of_zero_stops_at_a_fixed_point(backend, draw):
    graph, _, y = problem("undirected", draw)
    result = propagate(graph, y, alpha=0.0, num_steps=9, tol=0.0, backend=backend)
    assert (result.steps, result.residual, result.converged) == (1, 0.0, True)


def test_without_a_tolerance_a_millionth_is_converged():
    # Two neighbours: the change of step k is 2^-k.
    graph, y = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])), torch.tensor([1.0, 0.0], dtype=torch.float64)
    results = [propagate(graph, y, alpha=0.5, num_steps=steps) for steps in (19, 20)]
    assert [result.residual for result in results] == [2.0**-19, 2.0**-20]
    assert [result.converged for result in results] == [False, True]


def test_values_other_than_zero_have_arrived():
    # From 0 to 1 only; the values of 3 are below 0.
    one_way = Graph.from_edge_index(torch.tensor([[0], [1]]), 4)
    y = torch.tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 0.0], [-1.0, -2.0]])
    result = propagate(one_way, y, alpha=0.5, num_steps=1, normalisation="row")
    assert result.reached.tolist() == [True, True, False, True]
    assert result.predict().tolist() == [1, 1, -1, 0]
    column = propagate(one_way, y[:, 1], alpha=0.5, num_steps=1, normalisation="row")
    assert column.reached.tolist() == [True, True, False, True]
    for bad in (column, replace(result, y=y[:, :0])):
        with pytest.raises(InputError, match=r"y: expected values of shape \[num_nodes, num_classes\]"):
            bad.predict()
    with pytest.raises(InputError, match="fallback: expected an integer"):
        result.predict(0.5)


@pytest.mark.parametrize("container", [list, pandas.Series, lambda y: np.array(y, dtype=object)])
def test_predicted_classes_of_strings_are_strings(container):
    model, arcs = LabelPropagation(2, 0.9), torch.tensor([[0, 1, 2, 3, 5], [1, 0, 3, 2, 4]])
    y = container(["b", None, "a", "", None, None])
    assert model.predict(y, arcs).tolist() == ["b", "b", "a", "a", None, None]
    assert model.predict(y, arcs, mask=[2]).tolist() == [None, None, "a", "a", None, None]
    with pytest.raises(InputError, match=r"fallback: expected -1 .* got 3"):
        model.predict(y, arcs, fallback=3)
    with pytest.raises(InputError, match="y: expected class labels that are integers or strings"):
        model.predict(["b", 1], arcs)


def test_a_range_of_one_value_sets_every_entry():
    graph, y = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])), torch.tensor([1.0, 0.0])
    assert propagate(graph, y, alpha=0.5, num_steps=1, clamp=(0.25, 0.25)).y.tolist() == [0.25, 0.25]


def test_weight_zero_is_the_start_and_masked_rows_start_from_zero(draw):
    graph, _, y = problem("undirected", draw)
    assert torch.equal(propagate(graph, y, alpha=0.0, num_steps=4).y, y)
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[[1, 5]] = True
    by_mask = propagate(graph, y, alpha=0.7, num_steps=4, mask=mask).y
    assert torch.equal(by_mask, propagate(graph, y, alpha=0.7, num_steps=4, mask=torch.tensor([5, 1])).y)
    assert torch.equal(by_mask, propagate(graph, y * mask.unsqueeze(1), alpha=0.7, num_steps=4).y)
    assert not torch.equal(by_mask, propagate(graph, y, alpha=0.7, num_steps=4).y)


def test_columns_are_independent_and_vectors_stay_vectors(draw):
    graph, _, y = problem("hub", draw)
    together = propagate(graph, y, alpha=0.7, num_steps=4).y
    alone = propagate(graph, y[:, 1], alpha=0.7, num_steps=4).y
    assert alone.shape == (len(y),)
    assert_close(alone, together[:, 1])


def test_column_sums_are_conserved_by_the_walk(draw):
    edge_index, n = GRAPHS["undirected"]
    y = torch.rand(n, 3, generator=draw).double()
    result = propagate(
        Graph.from_edge_index(edge_index, n), y, alpha=0.4, num_steps=7, mode="lazy", normalisation="col"
    )
    assert_close(result.y.sum(0), y.sum(0))


def test_isolated_nodes_keep_their_own_share(draw):
    graph, _, y = problem("no arcs", draw)
    assert_close(propagate(graph, y, alpha=0.4, num_steps=3, mode="lazy").y, 0.6**3 * y)


@given(alpha=st.floats(0, 1), steps=st.integers(0, 8), seed=st.integers(0, 99), low=st.floats(-1, 0.4))
@settings(deadline=None, max_examples=40)
def test_clamped_values_stay_in_range(alpha, steps, seed, low):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    y = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    result = propagate(Graph.from_edge_index(edge_index, n), y, alpha=alpha, num_steps=steps, clamp=(low, 0.5))
    if steps:
        assert float(result.y.min()) >= low - 1e-7
        assert float(result.y.max()) <= 0.5 + 1e-7


@pytest.mark.parametrize("mode", ["restart", "lazy"])
@pytest.mark.parametrize("kind", ["sym", "row", "col"])
def test_gradient(mode, kind, draw):
    graph, _, y = problem("directed with repeats and self-loops", draw, columns=2)
    graph = graph.normalise(kind)

    def forward(values):
        return propagate(graph, values, alpha=0.7, num_steps=3, mode=mode).y

    assert torch.autograd.gradcheck(forward, (y.requires_grad_(),))


@pytest.mark.parametrize("labels", ["classes", "soft"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("step", [None, lambda y: y.clamp(0.0, 0.3)])
def test_label_propagation_equals_torch_geometric(labels, masked, weighted, step, draw):
    edge_index, n = GRAPHS["undirected"]
    y = torch.randint(0, 4, (n,), generator=draw)
    y = y if labels == "classes" else torch.rand(n, 4, generator=draw)
    mask = torch.rand(n, generator=draw) < 0.5 if masked else None
    weight = torch.rand(edge_index.shape[1], generator=draw) if weighted else None
    theirs = torch_geometric.nn.LabelPropagation(num_layers=20, alpha=0.9)(y, edge_index, mask, weight, step)
    ours = LabelPropagation(num_layers=20, alpha=0.9)(y, edge_index, mask, weight, step)
    assert_close(ours, theirs, 1e-6)
    if not weighted:
        graph = Graph.from_edge_index(edge_index, n)
        assert torch.equal(LabelPropagation(20, 0.9)(y, graph, mask, post_step=step), ours)


@pytest.mark.parametrize("step", [None, lambda y: y.clamp(0.0, 0.3)])
def test_label_propagation_follows_arcs(step, draw):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    y, weight = torch.randint(0, 4, (n,), generator=draw), torch.rand(edge_index.shape[1], generator=draw)
    theirs = torch_geometric.nn.LabelPropagation(3, 0.6)(y, edge_index, None, weight, step)
    assert_close(LabelPropagation(3, 0.6)(y, edge_index, None, weight, step), theirs, 1e-6)
    with pytest.raises(InputError, match="edge_weight: expected none next to a Graph"):
        LabelPropagation(3, 0.6)(y, Graph.from_edge_index(edge_index, n), edge_weight=weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, r"alpha: expected a rate in \[0, 1\], got 1.5"),
        ({"alpha": float("nan")}, "alpha"),
        ({"num_steps": -1}, "num_steps: expected an integer of at least 0"),
        ({"mode": "restrat"}, "did you mean 'restart'"),
        ({"normalisation": "columns"}, "normalisation: expected one of"),
        ({"y": torch.ones(4, 2)}, r"y: expected shape \[23\] or \[23, num_classes\]"),
        ({"y": torch.full((23, 2), torch.inf)}, "y: expected finite numbers"),
        ({"y": torch.zeros(23, dtype=torch.long)}, "y: expected floating-point values"),
        ({"mask": torch.ones(4, dtype=torch.bool)}, "mask: expected a mask of 23 entries"),
        ({"mask": torch.tensor([23])}, "mask: expected positions from 0 to 22"),
        ({"clamp": (1.0, 0.0)}, "clamp: expected low at most high"),
        ({"clamp": (0.0, 0.5, 1.0)}, r"clamp: expected a pair"),
        ({"clamp": (torch.nan, 1.0)}, r"clamp\[0\]: expected"),
        ({"clamp": (0.0, torch.nan)}, r"clamp\[1\]: expected"),
        ({"y": torch.ones(23, 2, 2)}, r"y: expected shape \[23\]"),
        ({"clamp": 1.0}, r"clamp: expected a pair \(low, high\)"),
        ({"tol": -1e-3}, "tol"),
        ({"backend": "referense"}, "did you mean 'reference'"),
    ],
)
def test_bad_input_is_named(change, message):
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    arguments = {"y": torch.ones(23, 2), "alpha": 0.5, "num_steps": 2} | change
    with pytest.raises(InputError, match=message):
        propagate(graph, **arguments)


def test_a_graph_is_not_normalised_twice(draw):
    graph, _, y = problem("undirected", draw)
    given = propagate(graph.normalise("row"), y, alpha=0.5, num_steps=2)
    assert torch.equal(given.y, propagate(graph, y, alpha=0.5, num_steps=2, normalisation="row").y)
    for other in ("sym", "none"):
        with pytest.raises(InputError, match="normalis"):
            propagate(graph.normalise("row"), y, alpha=0.5, num_steps=2, normalisation=other)


@pytest.mark.parametrize("shape", ["[n, 1]", "[n, C]", "[n, C] Boolean"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("step", [None, lambda y: y.clamp(0.0, 0.3)])
def test_label_propagation_reads_integers_as_torch_geometric_does(shape, masked, step, draw):
    edge_index, n = GRAPHS["undirected"]
    y = torch.randint(0, 4, (n, 1), generator=draw)
    if shape != "[n, 1]":
        # One empty class.
        y = torch.nn.functional.one_hot(y.squeeze(1), 5)
    y = y.bool() if "Boolean" in shape else y
    mask = torch.rand(n, generator=draw) < 0.5 if masked else None
    theirs = torch_geometric.nn.LabelPropagation(20, 0.9)(y, edge_index, mask, post_step=step)
    ours = LabelPropagation(20, 0.9)(y, edge_index, mask, post_step=step)
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs, 1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [None, lambda y: y.clamp(0.0, 0.3)])
def test_label_propagation_promotes_as_torch_geometric_does(kind, step, draw):
    edge_index, n = GRAPHS["undirected"]
    y, weight = torch.rand(n, 4, generator=draw).to(kind), torch.rand(edge_index.shape[1], generator=draw).double()
    theirs = torch_geometric.nn.LabelPropagation(20, 0.9)(y, edge_index, None, weight, step)
    ours = LabelPropagation(20, 0.9)(y, edge_index, None, weight.requires_grad_(), step)
    assert ours.dtype == theirs.dtype == torch.float64
    assert_close(ours, theirs, 1e-6)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([True, False]), "y: expected integers or strings, got values of type torch.bool"),
        (torch.tensor(1), "y: expected shape"),
        (torch.ones(2, 1, 1), "y: expected shape"),
    ],
)
def test_label_propagation_names_bad_labels(y, message):
    with pytest.raises(InputError, match=message):
        LabelPropagation(2, 0.9)(y, torch.tensor([[0, 1], [1, 0]]))


def test_no_step_returns_a_copy(draw):
    graph, _, y = problem("undirected", draw)
    for values in (y, y[:, 0].contiguous()):
        assert propagate(graph, values, alpha=0.9, num_steps=0).y.data_ptr() != values.data_ptr()
    for step in (None, torch.relu):
        actual = LabelPropagation(0, 0.9)(y, graph, post_step=step)
        assert torch.equal(actual, y)
        assert actual.data_ptr() != y.data_ptr()


@pytest.mark.parametrize("tier", ["native", "reference"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["iterate", "cg", "chebyshev"])
def test_evaluating_in_inference_mode_does_not_spoil_a_graph_for_training(tier, weighted, solver, draw):
    edge_index, n = GRAPHS["hub"]
    weight = torch.ones(edge_index.shape[1]) * 2 if weighted else None
    graph, y = Graph.from_edge_index(edge_index, n, weight), torch.rand(n, 2, generator=draw)
    settings = {"alpha": 0.5, "num_steps": 4, "backend": tier, "solver": solver}
    with torch.inference_mode():
        expected = propagate(graph, y, **settings).y.clone()
        normal = graph.normalise("row")
    y.requires_grad_()
    for each in (graph, normal):
        actual = propagate(each, y, **settings).y
        actual.sum().backward()
    assert_close(propagate(graph, y, **settings).y, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("num_steps", [50, 51])
def test_an_early_stop_keeps_the_clamp(dtype, num_steps, draw):
    graph, _, _ = problem("undirected", draw)
    for seed in range(20):
        y = torch.rand(23, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
        low, high = torch.tensor([0.05, 1 / 3], dtype=torch.float32 if dtype == torch.bfloat16 else dtype).tolist()
        result = propagate(graph, y, alpha=0.9, num_steps=num_steps, clamp=(low, high), tol=1e-2)
        assert result.steps < num_steps
        assert float(result.y.max()) <= float(torch.tensor(high).to(dtype))
        assert float(result.y.min()) >= float(torch.tensor(low).to(dtype))


@pytest.mark.parametrize("recorded", [False, True])
def test_what_is_not_finite_is_refused_with_and_without_gradients(recorded, draw):
    graph, _, y = problem("undirected", draw)
    y[3, 1] = torch.inf
    with pytest.raises(InputError, match="y: expected finite numbers"):
        propagate(graph, y.requires_grad_(recorded), alpha=0.5, num_steps=3, mode="lazy", clamp=(0, 1))
    with pytest.raises(InputError, match="y: expected finite numbers"):
        propagate(graph, y, alpha=0.5, num_steps=0)
    with pytest.raises(InputError, match=r"^y: expected shape \[1\] or \[1, num_classes\], got \(\)"):
        propagate(torch.tensor([[0], [0]]), torch.tensor(1.0), alpha=0.5, num_steps=1)
    ends = Graph.from_edge_index(torch.tensor([[1, 2], [0, 0]]), 3, torch.ones(2))
    # The sum overflows and is clamped back.
    huge = torch.tensor([[0.0], [3e38], [3e38]], requires_grad=recorded)
    actual = propagate(ends, huge, alpha=1.0, num_steps=1, normalisation="none", clamp=(-1.0, 1.0))
    assert actual.y.tolist() == [[1.0], [0.0], [0.0]]


@pytest.mark.parametrize("graph", [None, 3.5, "cora"])
def test_a_graph_is_a_graph(graph):
    with pytest.raises(InputError, match=r"graph: expected a Graph, a torch_geometric Data.*got"):
        propagate(graph, torch.ones(2, 1), alpha=0.5, num_steps=1)


@pytest.mark.parametrize(
    "y", [torch.eye(23).to_sparse(), torch.ones(23, 2, device="meta"), torch.ones(23, 2).to(torch.float8_e5m2)]
)
def test_tensors_of_unusual_kinds_are_named(y):
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match="y: expected a dense tensor of a usual type that holds data"):
        propagate(graph, y, alpha=0.5, num_steps=1)


def test_weights_whose_sum_overflows_are_named():
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    graph = Graph.from_edge_index(edges, 3, torch.full((4,), 1.7e308, dtype=torch.float64))
    with pytest.raises(InputError, match="edge_weight: expected weights with a finite sum at every node"):
        propagate(graph, torch.eye(3).double(), alpha=0.5, num_steps=3)


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_numbers_beyond_floats_are_named(value):
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match=r"alpha: expected a rate in \[0, 1\]"):
        propagate(graph, torch.ones(23, 2), alpha=value, num_steps=1)
