import pytest
import torch
from oracles import assert_close, graphs

from graphnoise import Graph, InputError
from graphnoise.kernels.attention import attend

SHAPES = [(8, 8), (8, 32), (1, 7), (1, 64), (1, 44), (3, 5), (2, 24), (17, 3)]


def inputs(name, heads, width, draw, dtype=torch.float32):
    graph = Graph.from_edge_index(*graphs()[name])
    n = graph.num_nodes
    shapes = [(n, heads, width), (n, heads), (n, heads)]
    values = [torch.randn(shape, generator=draw, dtype=dtype).mul_(2).requires_grad_() for shape in shapes]
    return graph, values, torch.rand(graph.num_arcs, heads, generator=draw, dtype=dtype)


def loop(graph, h, source, target, bias, factor):
    """Attention by its formula, an arc at a time."""
    rows = []
    for i in range(graph.num_nodes):
        arcs = range(int(graph.rowptr[i]), int(graph.rowptr[i + 1]))
        j = [int(graph.col[e]) for e in arcs]
        w = torch.nn.functional.leaky_relu(source[j] + target[i], 0.2).softmax(0)
        rows.append((w.unsqueeze(-1) * factor[list(arcs)].unsqueeze(-1) * h[j]).sum(0) + bias)
    return torch.stack(rows)


@pytest.mark.parametrize("name", graphs())
@pytest.mark.parametrize(("heads", "width"), SHAPES)
def test_reference_equals_a_loop(name, heads, width, draw):
    graph, values, factor = inputs(name, heads, width, draw, torch.float64)
    bias = torch.randn(heads, width, generator=draw, dtype=torch.float64)
    assert_close(attend(graph.rowptr, graph.col, *values, bias=bias, factor=factor), loop(graph, *values, bias, factor))


@pytest.mark.parametrize("name", graphs())
@pytest.mark.parametrize(("heads", "width"), SHAPES)
@pytest.mark.parametrize("more", [False, True])
def test_native_equals_reference_with_every_gradient(name, heads, width, more, draw):
    graph, values, factor = inputs(name, heads, width, draw)
    options = {"factor": factor, "bias": torch.randn(heads, width, generator=draw).requires_grad_()} if more else {}
    leaves = dict(zip(("h", "source", "target"), values, strict=True)) | ({"bias": options["bias"]} if more else {})
    results = {}
    upstream = torch.randn(graph.num_nodes, heads, width, generator=draw)
    for backend in ("native", "reference"):
        out = attend(graph.rowptr, graph.col, *values, **options, backend=backend)
        grads = torch.autograd.grad(out, leaves.values(), upstream)
        results[backend] = dict(zip(("out", *leaves), (out, *grads), strict=True))
        with torch.no_grad():
            assert torch.equal(attend(graph.rowptr, graph.col, *values, **options, backend=backend), out)
    for key, value in results["native"].items():
        assert_close(value, results["reference"][key], 5e-6)


def test_reference_gradient(draw):
    graph, values, factor = inputs("directed with repeats and self-loops", 2, 3, draw, torch.float64)
    assert torch.autograd.gradcheck(lambda *v: attend(graph.rowptr, graph.col, *v, factor=factor), values)


def test_targets_may_be_fewer_than_sources(draw):
    rowptr, col = torch.tensor([0, 2, 2, 5]), torch.tensor([6, 0, 3, 3, 1])
    shapes = [(7, 8, 8), (7, 8), (3, 8)]
    values = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    upstream, results = torch.randn(3, 8, 8, generator=draw), []
    for backend in ("native", "reference"):
        out = attend(rowptr, col, *values, backend=backend)
        results.append((out, *torch.autograd.grad(out, values, upstream)))
    for native, reference in zip(*results, strict=True):
        assert_close(native, reference, 5e-6)
    assert bool((results[0][0][1] == 0).all()), "a target without arcs"


@pytest.mark.parametrize("shape", [(3, 0, 4), (3, 2, 0), (0, 8, 8)])
def test_nothing_to_attend(shape):
    h, source, target = (torch.ones(s, requires_grad=True) for s in (shape, shape[:2], (2, shape[1])))
    rowptr, col = torch.tensor([0, 0, min(shape[0], 2)]), torch.arange(min(shape[0], 2))
    for backend in ("native", "reference"):
        out = attend(rowptr, col, h, source, target, backend=backend)
        assert out.shape == (2, *shape[1:])
        grads = torch.autograd.grad(out.sum(), (h, source, target))
        assert all(bool((g == 0).all()) for g in (out, *grads))
        bias = torch.full(shape[1:], 3.0)
        assert torch.equal(
            attend(rowptr, col, h.detach() * 0, source, target, bias=bias, backend=backend), bias.expand(2, *shape[1:])
        )


def test_scores_of_any_size_stay_finite():
    rowptr, col = torch.tensor([0, 3]), torch.tensor([0, 1, 2])
    h = torch.tensor([[[1.0]], [[2.0]], [[4.0]]])
    source = torch.tensor([[1e30], [-1e30], [1e30]])
    for backend in ("native", "reference"):
        assert attend(rowptr, col, h, source, torch.zeros(1, 1), backend=backend).item() == 2.5


@pytest.mark.parametrize(("heads", "width"), [(1, 5), (1, 16), (8, 8), (3, 2)])
def test_weights_sum_to_one_over_the_whole_range_of_scores(heads, width, draw):
    rowptr, col = torch.tensor([0, 40]), torch.arange(40)
    source = torch.randn(40, heads, generator=draw).mul(60)
    target = torch.randn(1, heads, generator=draw)
    out = attend(rowptr, col, torch.ones(40, heads, width), source, target, backend="native")
    assert_close(out, torch.ones_like(out))
    h = torch.randn(40, heads, width, generator=draw)
    exact = attend(rowptr, col, h.double(), source.double(), target.double())
    assert_close(attend(rowptr, col, h, source, target).double(), exact, 1e-5)


def test_native_serves_float32_only(draw):
    graph, values, _ = inputs("undirected", 1, 2, draw, torch.float64)
    with pytest.raises(InputError, match="'native' needs float32 CPU tensors"):
        attend(graph.rowptr, graph.col, *values, backend="native")


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h": torch.ones(3, 2)}, r"h: expected shape \[sources, heads, width\], got shape \(3, 2\)"),
        ({"h": torch.ones(2, 2, 4), "source": torch.ones(2, 2)}, "col: expected positions from 0 to 1"),
        ({"h": torch.ones(3, 2, 4).long()}, "h: expected floating-point values"),
        ({"source": torch.ones(2, 2)}, r"source: expected shape \[3, 2\]"),
        ({"source": torch.ones(3, 1)}, r"source: expected shape \[3, 2\]"),
        ({"target": torch.ones(2, 1)}, r"target: expected shape \[targets, 2\]"),
        ({"target": torch.ones(4)}, r"target: expected shape \[targets, 2\]"),
        ({"target": torch.ones(3, 2)}, "rowptr: expected 4 entries, one more than there are targets, got 3"),
        ({"rowptr": torch.tensor([0, 10**9, 3])}, "rowptr: expected entries that do not decrease"),
        ({"rowptr": torch.tensor([0, 1, 10**9])}, "rowptr: expected entries from 0 to 3, the number of arcs"),
        ({"rowptr": torch.tensor([1, 1, 3])}, "rowptr: expected entries from 0 to 3"),
        ({"rowptr": torch.tensor([0.0, 1.0, 3.0])}, "rowptr: expected a one-dimensional int64 tensor"),
        ({"col": torch.tensor([0, 1, 10**9])}, "col: expected positions from 0 to 2"),
        ({"col": torch.tensor([0, 1, -1])}, "col: expected positions from 0 to 2"),
        ({"col": torch.tensor([0, 1, 2], dtype=torch.int32)}, "col: expected a one-dimensional int64 tensor"),
        ({"bias": torch.ones(4)}, r"bias: expected shape \[2, 4\], as h has heads and width"),
        ({"bias": torch.ones(2, 4).long()}, "bias: expected floating-point values"),
        ({"factor": torch.ones(3, 2).long()}, "factor: expected floating-point values"),
        ({"rowptr": [0, 1, 3]}, "rowptr: expected a one-dimensional int64 tensor, got list"),
        ({"col": [0, 1, 2]}, "col: expected a one-dimensional int64 tensor, got list"),
        ({"factor": torch.ones(2, 2)}, r"factor: expected shape \[3, 2\], one factor per arc and head"),
        ({"factor": torch.ones(3)}, r"factor: expected shape \[3, 2\]"),
    ],
)
def test_bad_input_is_named(backend, change, message):
    arguments = {
        "rowptr": torch.tensor([0, 1, 3]),
        "col": torch.tensor([0, 1, 2]),
        "h": torch.ones(3, 2, 4),
        "source": torch.ones(3, 2),
        "target": torch.ones(2, 2),
        "backend": backend,
    }
    assert attend(**arguments).shape == (2, 2, 4)
    with pytest.raises(InputError, match=message):
        attend(**arguments | change)


def test_what_native_cannot_serve_goes_to_the_reference(draw):
    graph, values, factor = inputs("undirected", 2, 3, draw)
    arcs = (graph.rowptr, graph.col)
    exact = attend(*arcs, *(v.double() for v in values), factor=factor.double())
    for place in range(4):
        given = [*values, factor]
        given[place] = given[place].double()
        assert_close(attend(*arcs, *given[:3], factor=given[3]).double(), exact, 5e-6)
        with pytest.raises(InputError, match="'native' needs float32 CPU tensors"):
            attend(*arcs, *given[:3], factor=given[3], backend="native")
    factor.requires_grad_()
    (grad,) = torch.autograd.grad(attend(*arcs, *values, factor=factor).sum(), factor)
    assert float(grad.abs().sum()) > 0
    with pytest.raises(InputError, match="'native' gives no gradient of factor"):
        attend(*arcs, *values, factor=factor, backend="native")


def test_what_is_too_large_for_native_is_refused():
    # Views that take no memory.
    h = torch.zeros(()).expand(2**31, 1, 1)
    arcs = (torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(InputError, match=r"'native' needs fewer than 2\^31 arcs, sources and targets"):
        attend(*arcs, h, h[:, 0], torch.zeros(1, 1), backend="native")


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_arcs_changed_in_place_are_read_again(backend, draw):
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    values = [torch.randn(shape, generator=draw).requires_grad_() for shape in ((2, 1, 3), (2, 1), (2, 1))]
    for arcs in ([0, 1], [1, 0], [1, 1]):
        col.copy_(torch.tensor(arcs))
        out = attend(rowptr, col, *values, backend=backend)
        assert torch.equal(out, values[0][col])
        (grad,) = torch.autograd.grad(out.sum(), values[0])
        assert torch.equal(grad[:, 0, 0], torch.bincount(col, minlength=2).float())
    col[1] = 7
    with pytest.raises(InputError, match="col: expected positions from 0 to 1"):
        attend(rowptr, col, *values, backend=backend)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_arrays_that_are_not_contiguous(backend, draw):
    graph, values, factor = inputs("undirected", 3, 5, draw)
    upstream = torch.randn(graph.num_nodes, 3, 5, generator=draw)
    spread = [torch.stack([t, t], dim=-1)[..., 0] for t in (graph.rowptr, graph.col, *values, factor)]
    results = []
    for rowptr, col, h, source, target, mask in ((graph.rowptr, graph.col, *values, factor), spread):
        out = attend(rowptr, col, h, source, target, factor=mask, backend=backend)
        results.append((out, *torch.autograd.grad(out, values, upstream)))
    assert not any(t.is_contiguous() for t in spread)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_another_default_type_changes_nothing(backend, draw):
    graph, values, factor = inputs("undirected", 2, 3, draw)
    expected = attend(graph.rowptr, graph.col, *values, factor=factor, backend=backend)
    torch.set_default_dtype(torch.float64)
    try:
        actual = attend(graph.rowptr, graph.col, *values, factor=factor, backend=backend)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(actual, expected)
