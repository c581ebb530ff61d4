"""Gradients of propagation by name, and its two operations as torch sees them."""

import itertools
import math

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from oracles import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode

from graphnoise import Graph, propagate
from graphnoise.kernels.propagate import operation, run, sddmm

TIERS = ["native", "reference"]
# Node 4 is heard and hears nobody, 5 neither; there are a self-loop and a repeated arc.
EDGES = torch.tensor([[0, 1, 1, 2, 3, 2, 0, 4, 4, 2, 2], [1, 0, 2, 1, 2, 3, 3, 0, 3, 2, 1]])
SETTINGS = {
    "plain": {},
    "clamp": {"clamp": (0.15, 0.6)},
    "one-sided clamp": {"clamp": (0.2, math.inf)},
    "mask": {"mask": torch.tensor([True, False, True, True, True, False])},
    "tol": {"tol": 0.08},
    "clamp, mask and tol": {
        "clamp": (0.05, 0.5),
        "mask": torch.tensor([True, True, False, True, True, False]),
        "tol": 0.08,
    },
}


def values(draw, columns=2):
    y = torch.rand(6, columns, generator=draw, dtype=torch.float64)
    return y, torch.rand(EDGES.shape[1], generator=draw, dtype=torch.float64) + 0.2


def forward(kind, mode, settings, tier, num_steps=3):
    def of(y, weight=None):
        options = dict(settings)
        bounds = options.get("clamp")
        if bounds is not None and bounds[1] == math.inf:
            options["clamp"] = (bounds[0], 1e6)
        graph = Graph.from_edge_index(EDGES, 6, weight)
        options |= {"alpha": 0.6, "num_steps": num_steps, "mode": mode, "normalisation": kind, "backend": tier}
        return propagate(graph, y, **options).y

    return of


@pytest.mark.parametrize(
    ("tier", "setting"), [*(("native", name) for name in SETTINGS), ("reference", "clamp, mask and tol")]
)
@pytest.mark.parametrize("kind", ["sym", "row", "col", "none"])
@pytest.mark.parametrize("mode", ["restart", "lazy"])
def test_gradient_of_y_and_of_the_weights(tier, kind, mode, setting, draw):
    y, weight = values(draw)
    function = forward(kind, mode, SETTINGS[setting], tier)
    assert torch.autograd.gradcheck(function, (y.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(function, (y.requires_grad_(), weight.requires_grad_()))


@pytest.mark.parametrize("kind", ["sym", "row", "col", "none"])
@pytest.mark.parametrize("mode", ["restart", "lazy"])
@pytest.mark.parametrize("setting", ["plain", "clamp, mask and tol"])
def test_gradient_of_the_gradient(kind, mode, setting, draw):
    y, weight = values(draw, columns=1)
    function = forward(kind, mode, SETTINGS[setting], "native", num_steps=2)
    both = (y.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradgradcheck(function, (y.requires_grad_(),))
    assert torch.autograd.gradgradcheck(function, both)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_gradient_of_start_source_and_values(tier, weighted, masked, num_steps, draw):
    y, weight = values(draw)
    graph = Graph.from_edge_index(EDGES, 6, weight).normalise("row")
    mask = SETTINGS["mask"]["mask"] if masked else None
    arcs = (graph if weighted else Graph.from_edge_index(EDGES, 6).normalise("row")).arcs(torch.float64)

    def function(start, source, value):
        given = arcs if value is None else arcs._replace(value=value)
        options = {"mask": mask, "alpha": 0.6, "beta": 0.3, "num_steps": num_steps, "tier": tier}
        return run(given, start, source, **options)[0]

    start, source = y.clone().requires_grad_(), (1 - y).requires_grad_()
    value = arcs.value.detach().clone().requires_grad_() if weighted else None
    learning = [t for t in (value,) if t is not None]
    assert torch.autograd.gradcheck(lambda s, x, *v: function(s, x, *(v or [None])), (start, source, *learning))
    if masked:
        out = function(start, source, value)
        for leaf in (source,):
            (grad,) = torch.autograd.grad(out.square().sum(), leaf, allow_unused=num_steps == 0)
            assert grad is None or bool((grad[~mask] == 0).all())


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("mode", ["restart", "lazy"])
def test_masked_rows_get_exactly_zero(tier, mode, draw):
    y, weight = values(draw)
    mask = SETTINGS["mask"]["mask"]
    y[~mask] = math.nan
    for w, clamp in itertools.product((None, weight.requires_grad_()), ({}, {"clamp": (0.0, 0.4)})):
        leaf = y.clone().requires_grad_()
        out = forward("sym", mode, {"mask": mask} | clamp, tier)(leaf, w)
        (grad,) = torch.autograd.grad(out.sum(), leaf)
        assert bool((grad[~mask] == 0).all())
        assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("columns", [1, 3, 17, 40])
@pytest.mark.parametrize("mode", ["restart", "lazy"])
def test_gradients_of_narrow_types_are_near_those_of_float64(dtype, columns, mode, draw):
    y, weight = values(draw, columns)
    upstream = torch.rand(6, columns, generator=draw, dtype=torch.float64)
    results = []
    for kind in (torch.float64, dtype):
        leaves = [t.to(dtype).to(kind).requires_grad_() for t in (y, weight)]
        out = forward("sym", mode, {}, "native")(*leaves)
        assert out.dtype == kind
        results.append(torch.autograd.grad(out, leaves, upstream.to(kind)))
    for exact, near in zip(*results, strict=True):
        assert near.dtype == dtype
        assert_close(near, exact, 2e-6 if dtype == torch.float32 else 3e-2)


def prepared(weighted, dtype=torch.float64, index=torch.int64, kind="row"):
    g = torch.Generator().manual_seed(2)
    weight = torch.rand(EDGES.shape[1], generator=g, dtype=torch.float64) if weighted else None
    graph = Graph.from_edge_index(EDGES, 6, weight).normalise(kind)
    arcs = Graph(graph.rowptr.to(index), graph.col.to(index), graph.weight, graph.left, graph.right, kind).arcs(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    return arcs, torch.rand(6, 5, generator=g, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("weighted", "dtype", "index", "given", "num_steps", "tol", "transposed"),
    [
        (False, torch.float64, torch.int64, "source", 3, -1.0, False),
        (False, torch.float64, torch.int32, "start", 2, -1.0, True),
        (False, torch.float64, torch.int64, "both", 3, -1.0, False),
        (False, torch.float64, torch.int64, "masked", 3, -1.0, True),
        (False, torch.float64, torch.int64, "source", 30, 0.1, False),
        (True, torch.float64, torch.int64, "both", 1, -1.0, False),
        (True, torch.float64, torch.int32, "masked", 1, -1.0, True),
        (True, torch.float32, torch.int64, "start", 1, -1.0, False),
        (True, torch.bfloat16, torch.int64, "both", 1, -1.0, False),
        (False, torch.bfloat16, torch.int64, "source", 0, -1.0, True),
    ],
)
def test_torch_accepts_the_operation(weighted, dtype, index, given, num_steps, tol, transposed):
    arcs, y = prepared(weighted, dtype, index)
    mask = SETTINGS["mask"]["mask"] if given == "masked" else None
    start = y.clone().requires_grad_() if given in ("start", "both", "masked") else None
    source = y.mul(0.5).requires_grad_() if given != "start" else None
    if weighted:
        arcs = arcs._replace(value=arcs.value.clone().requires_grad_())
    settings = (0.6, 0.4, num_steps, -math.inf, math.inf, tol)
    torch.library.opcheck(operation, (*arcs, start, source, mask, *settings, transposed, "native"))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tier", ["native", "triton"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_accepts_the_gradient_of_the_values(transposed, tier, dtype):
    """The other tiers share one formula in torch operators; it is what "triton" stands for here."""
    arcs, y = prepared(True, dtype)
    g, y = y.clone().requires_grad_(dtype == torch.float64), y.flip(0).requires_grad_(dtype == torch.float64)
    tests = ("test_schema", "test_faketensor") if tier == "triton" else None
    more = {} if tests is None else {"test_utils": tests}
    torch.library.opcheck(sddmm, (arcs.rowptr, arcs.col, g, y, 0.6, transposed, tier), **more)
    ends = (arcs.col, arcs.row) if transposed else (arcs.row, arcs.col)
    expected = 0.6 * (g.detach().double()[ends[0]] * y.detach().double()[ends[1]]).sum(1)
    actual = sddmm(arcs.rowptr, arcs.col, g, y, 0.6, transposed, tier)
    assert actual.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(actual.detach(), expected)


def test_the_gradient_of_the_values_on_rows_cut_into_pieces(draw):
    """One row has 20,000 arcs, and there is work enough for every thread."""
    col = torch.randint(0, 50, (24_000,), generator=draw)
    rowptr = torch.tensor([0, 20_000, *([20_000] * 47), 23_000, 24_000])
    for d, dtype in itertools.product((1, 15, 16, 40), (torch.float32, torch.float64, torch.bfloat16)):
        g, y = (torch.rand(50, d, generator=draw).to(dtype) for _ in range(2))
        row = torch.repeat_interleave(torch.arange(50), rowptr.diff())
        expected = 0.5 * (g.double()[row] * y.double()[col]).sum(1)
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            try:
                results.append(sddmm(rowptr, col, g, y, 0.5, False, "native"))
            finally:
                torch.set_num_threads(1)
        assert torch.equal(*results)
        assert_close(results[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shapes_and_types_are_known_without_values(dtype):
    with FakeTensorMode():
        rowptr, col = torch.empty(7, dtype=torch.int64), torch.empty(11, dtype=torch.int64)
        y = torch.empty(5, 6, dtype=dtype).t()
        settings = (0.6, 0.4, 3, -math.inf, math.inf, -1.0, False, "native")
        for start, source in ((y, None), (None, y), (y, y)):
            out, info = operation(rowptr, col, None, None, None, start, source, None, *settings)
            assert (out.shape, out.dtype, out.is_contiguous()) == ((6, 5), dtype, True)
            assert (info.shape, info.dtype) == ((2,), torch.float64)
        actual = sddmm(rowptr, col, y, y, 0.6, False, "native")
        assert (actual.shape, actual.dtype) == ((11,), torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_in_one_graph(weighted):
    arcs, y = prepared(weighted)
    mask = SETTINGS["mask"]["mask"]

    def function(values, start, value):
        given = arcs if value is None else arcs._replace(value=value)
        options = {"alpha": 0.6, "beta": 0.4, "num_steps": 3, "tier": "native"}
        first = run(given, start, values * 2, mask=mask, **options)[0]
        return run(given, first, None, clamp=None if first.requires_grad else (0.1, 0.5), **options)[0] + 1

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    value = arcs.value.detach().clone() if weighted else None
    assert torch.equal(compiled(y, y, value), function(y, y, value))
    leaves = [t.clone().requires_grad_() for t in (y, y, value) if t is not None]
    results = []
    for call in (function, compiled):
        out = call(*leaves, *([] if weighted else [None]))
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for eager, traced in zip(*results, strict=True):
        assert_close(traced, eager)
    torch.compiler.reset()


@pytest.mark.parametrize("tier", TIERS)
def test_other_transforms_are_refused_and_never_silently_wrong(tier):
    graph, y = Graph.from_edge_index(EDGES, 6), torch.ones(6, 2)

    def function(values):
        return propagate(graph, values, alpha=0.5, num_steps=2, backend=tier).y

    with pytest.raises(RuntimeError):
        torch.func.vmap(function)(torch.ones(3, 6, 2))
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.jvp(function, (y,), (y,))
    with forward_ad.dual_level(), pytest.raises((RuntimeError, NotImplementedError)):
        function(forward_ad.make_dual(y, y))


def test_a_gradient_buffer_that_is_used_again_is_read_again():
    """What is kept for an array goes when the array is changed in place, as a loop over unit vectors does."""
    arcs, y = prepared(True, torch.float64)
    value = arcs.value.clone().requires_grad_()
    y = y.clone().requires_grad_()
    out = run(arcs._replace(value=value), y, None, alpha=0.5, beta=0.5, num_steps=2, tier="native")[0]
    (first,) = torch.autograd.grad(out.square().sum(), value, create_graph=True)
    buffer, rows = torch.zeros_like(value), []
    for k in range(3):
        buffer.zero_()[k] = 1.0
        fresh = buffer.clone()
        again = torch.autograd.grad(first, (value, y), buffer, retain_graph=True)
        expected = torch.autograd.grad(first, (value, y), fresh, retain_graph=True)
        for actual, results in zip(again, expected, strict=True):
            assert_close(actual, results)
        rows.append(again[0])
    assert not torch.equal(rows[0], rows[1])
