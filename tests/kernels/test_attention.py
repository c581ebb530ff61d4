import pytest
import torch
from oracles import assert_close, graphs

from graphnoise import Graph, InputError
from graphnoise.kernels.attention import attend

SHAPES = [(8, 8), (8, 32), (1, 7), (3, 5)]


def inputs(name, heads, width, draw, dtype=torch.float32):
    graph = Graph.from_edge_index(*graphs()[name])
    n = graph.num_nodes
    shapes = [(n, heads, width), (n, heads), (n, heads)]
    values = [torch.randn(shape, generator=draw, dtype=dtype).mul_(2).requires_grad_() for shape in shapes]
    return graph, values, torch.rand(graph.num_arcs, heads, generator=draw, dtype=dtype)


def loop(graph, h, source, target, kept):
    """Attention by its formula, an arc at a time."""
    rows = []
    for i in range(graph.num_nodes):
        arcs = range(int(graph.rowptr[i]), int(graph.rowptr[i + 1]))
        j = [int(graph.col[e]) for e in arcs]
        w = torch.nn.functional.leaky_relu(source[j] + target[i], 0.2).softmax(0)
        rows.append((w.unsqueeze(-1) * kept[list(arcs)].unsqueeze(-1) * h[j]).sum(0))
    return torch.stack(rows)


@pytest.mark.parametrize("name", graphs())
@pytest.mark.parametrize(("heads", "width"), SHAPES)
def test_reference_equals_a_loop(name, heads, width, draw):
    graph, values, kept = inputs(name, heads, width, draw, torch.float64)
    assert_close(attend(graph.rowptr, graph.col, *values, kept=kept), loop(graph, *values, kept))


@pytest.mark.parametrize("name", graphs())
@pytest.mark.parametrize(("heads", "width"), SHAPES)
@pytest.mark.parametrize("dropped", [False, True])
def test_native_equals_reference_with_every_gradient(name, heads, width, dropped, draw):
    graph, values, kept = inputs(name, heads, width, draw)
    found = {}
    upstream = torch.randn(graph.num_nodes, heads, width, generator=draw)
    for backend in ("native", "reference"):
        out = attend(graph.rowptr, graph.col, *values, kept=kept if dropped else None, backend=backend)
        grads = torch.autograd.grad(out, values, upstream)
        found[backend] = dict(zip(("out", "h", "source", "target"), (out, *grads), strict=True))
    for key, value in found["native"].items():
        assert_close(value, found["reference"][key], 5e-6)


def test_reference_gradient(draw):
    graph, values, kept = inputs("directed with repeats and self-loops", 2, 3, draw, torch.float64)
    assert torch.autograd.gradcheck(lambda *v: attend(graph.rowptr, graph.col, *v, kept=kept), values)


def test_scores_of_any_size_stay_finite():
    rowptr, col = torch.tensor([0, 3]), torch.tensor([0, 1, 2])
    h = torch.tensor([[[1.0]], [[2.0]], [[4.0]]])
    source = torch.tensor([[1e30], [-1e30], [1e30]])
    for backend in ("native", "reference"):
        assert attend(rowptr, col, h, source, torch.zeros(1, 1), backend=backend).item() == 2.5


def test_native_serves_float32_only(draw):
    graph, values, _ = inputs("undirected", 1, 2, draw, torch.float64)
    with pytest.raises(InputError, match="'native' needs float32 CPU tensors"):
        attend(graph.rowptr, graph.col, *values, backend="native")
