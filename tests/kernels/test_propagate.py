"""The contract of propagation, for every tier on the CPU, against dense products in float64."""

import gc
import itertools
import math
import weakref
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import TOLERANCE, assert_close, graphs, normalised

import graphnoise as gn
from graphnoise import Graph, InputError
from graphnoise.kernels.propagate import choose, run
from graphnoise.kernels.propagate import cpu as propagate_cpu
from graphnoise.kernels.propagate import scatter as propagate_scatter

SCATTER = pytest.mark.skipif(find_spec("torch_scatter") is None, reason="needs the torch-scatter package")
TIERS = ["native", "reference", pytest.param("scatter", marks=SCATTER)]
LOOSE = TOLERANCE | {torch.bfloat16: 3e-2, torch.float16: 4e-3}
WIDTHS = [*range(1, 18), 24, 31, 32, 33, 40, 41, 47, 64, 65, 100, 127, 128, 129, 130, 200, 300]
WEIGHTED = "weighted "
KINDS = ["sym", "row", "col", "none", "weighted sym", "weighted row", "weighted col", "weighted none"]


def types_of(tier):
    return [torch.float32, torch.float64, torch.bfloat16] + [torch.float16] * (tier != "native")


@cache
def all_graphs():
    """The graphs of `oracles`, and one with rows of 20,000, 9,000 and 5,000 arcs: the native tier cuts these."""
    g = torch.Generator().manual_seed(11)
    hubs = torch.cat([torch.full((k,), i) for i, k in ((0, 20_000), (7, 9_000), (299, 5_000))])
    arcs = torch.stack([torch.randint(1, 300, hubs.shape, generator=g), hubs])
    return graphs() | {"hubs": (torch.cat([arcs, torch.randint(0, 290, (2, 4_000), generator=g)], dim=1), 300)}


def dense(edge_index, n, weight):
    """The matrix of the arcs by a loop."""
    A = [[0.0] * n for _ in range(n)]
    for j, i, w in zip(
        *edge_index.tolist(), itertools.repeat(1.0) if weight is None else weight.tolist(), strict=False
    ):
        A[i][j] += w
    return torch.tensor(A, dtype=torch.float64)


@cache
def matrix(name, kind):
    """The graph, normalised, and its dense matrix by a loop."""
    edge_index, n = all_graphs()[name]
    weight = None
    if kind.startswith(WEIGHTED):
        weight = torch.rand(edge_index.shape[1], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    A, how = dense(edge_index, n, weight), kind.removeprefix(WEIGHTED)
    graph = Graph.from_edge_index(edge_index, n, weight)
    return (graph, A) if how == "none" else (graph.normalise(how), normalised(A, how))


def expected(S, start, source, mask, alpha, beta, num_steps, clamp, tol):
    """The values, steps and residual, step by step in float64."""
    X = None if source is None else source.double()
    if X is not None and mask is not None:
        X = torch.where(mask.unsqueeze(1), X, 0.0)
    Y = X if start is None else start.double()
    steps, residual = 0, math.inf
    while steps < num_steps and (tol is None or residual > tol):
        new = alpha * S @ Y + beta * (Y if X is None else X)
        new = new if clamp is None else new.clamp(*clamp)
        residual = float((new - Y).abs().max()) if Y.numel() else 0.0
        Y, steps = new, steps + 1
    return Y, steps, residual


def bits(t):
    return t.contiguous().view(-1).view(torch.uint8).clone() if t.numel() else t.clone()


def call(tier, graph, arguments):
    start, source, mask, alpha, beta, num_steps, clamp, tol = arguments
    values = source if start is None else start
    arcs = graph.arcs(torch.float64 if values.dtype == torch.float64 else torch.float32)
    options = {"mask": mask, "alpha": alpha, "beta": beta, "num_steps": num_steps, "clamp": clamp, "tol": tol}
    return run(arcs, start, source, **options, tier=tier)


def check(tier, graph, S, arguments):
    """Raise unless the tier is right, repeats itself bit for bit, and leaves its arguments alone."""
    given = [t for t in arguments[:3] if t is not None]
    before = [bits(t) for t in given]
    y, steps, residual = call(tier, graph, arguments)
    Y, right_steps, right_residual = expected(S, *arguments)
    limit = LOOSE[given[0].dtype]
    if limit == TOLERANCE[torch.float32] and tier != "native" and graph.num_arcs > 30_000:
        # These tiers sum 20,000 terms one by one.
        limit *= 4
    assert y.dtype == given[0].dtype
    assert y.is_contiguous()
    assert_close(y, Y, limit)
    assert steps == right_steps
    near = 2 * limit * max(1.0, float(Y.abs().max()) if Y.numel() else 0.0)
    assert residual == right_residual or abs(residual - right_residual) <= near
    assert all(torch.equal(bits(t), kept) for t, kept in zip(given, before, strict=True)), "an argument was changed"
    assert y.untyped_storage().data_ptr() not in {t.untyped_storage().data_ptr() for t in given} or not y.numel()
    again = call(tier, graph, arguments)
    assert torch.equal(bits(again[0]), bits(y))
    assert again[1:] == (steps, residual)


def arguments(n, d, dtype, top=1.0):
    """Every way to call: start, source, mask, weights of both kinds, ranges; `top` bounds the row sums of S."""
    g = torch.Generator().manual_seed(d)
    x, y = (torch.rand(n, d, generator=g, dtype=torch.float64).sub(0.3).to(dtype) for _ in range(2))
    mask = torch.rand(n, generator=g) < 0.5
    # These rows are not read.
    hidden = torch.where(mask.unsqueeze(1), x, math.nan)
    a = 0.7 / top
    yield None, x, None, a, 0.3, 3, None, None
    yield y, None, None, a, 0.3, 2, None, None
    yield y, x, None, a, 0.3, 1, None, None
    yield None, hidden, mask, a, 0.3, 2, None, None
    yield None, hidden, mask, a, 0.3, 3, (0.0, math.inf), None
    yield None, hidden, mask, a, 0.3, 1, None, None
    yield y, hidden, mask, a, 0.3, 3, (-0.1, 0.2), None
    yield y, None, None, a, 0.0, 3, (-math.inf, 0.1), None
    yield y, None, None, -a, 0.6, 3, None, None
    yield y, x, None, -a, 0.0, 2, (0.0, 0.3), None
    yield y, None, None, 0.0, 1.0, 2, None, None
    yield None, x, None, a, 0.3, 0, None, None
    yield None, hidden, mask, a, 0.3, 0, None, 0.5
    yield y, x, mask, a, 0.3, 0, (0.0, 0.1), None


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", all_graphs())
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_is_the_dense_product(tier, name, kind):
    graph, S = matrix(name, kind)
    for dtype in types_of(tier):
        for case in arguments(graph.num_nodes, 5, dtype, max(1.0, float(S.abs().sum(1).max()))):
            check(tier, graph, S, case)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["sym", "weighted row"])
def test_every_width(tier, kind):
    graph, S = matrix("undirected", kind)
    for dtype, d in itertools.product(types_of(tier), WIDTHS):
        for case in itertools.islice(arguments(graph.num_nodes, d, dtype), 3, 8):
            check(tier, graph, S, case)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["row", "weighted row"])
@pytest.mark.parametrize("d", [1, 3, 15, 40, 129])
def test_rows_cut_into_pieces_at_every_kind_of_width(tier, kind, d):
    graph, S = matrix("hubs", kind)
    for dtype in types_of(tier):
        for case in itertools.islice(arguments(graph.num_nodes, d, dtype), 1, 4):
            check(tier, graph, S, case)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["sym", "row", "col", "weighted sym"])
@pytest.mark.parametrize("num_steps", [4, 5, 20, 21])
def test_a_tolerance_stops_in_either_buffer(tier, kind, num_steps):
    graph, S = matrix("undirected", kind)
    cases = [*itertools.islice(arguments(graph.num_nodes, 7, torch.float64), 9)]
    for case, at in itertools.product(cases, (1, 2, 3, 4)):
        case = (*case[:5], num_steps, *case[6:7])
        residuals = [expected(S, *case[:5], k, *case[6:7], None)[2] for k in range(at, at + 2)]
        # Else no tolerance stops after the second of these steps.
        if residuals[1] < residuals[0]:
            check(tier, graph, S, (*case, math.sqrt(residuals[0] * max(residuals[1], 1e-30))))
    check(tier, graph, S, (*cases[0][:5], num_steps, None, 0.0))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("tol", [None, 0.1])
def test_no_columns(tier, tol):
    graph, S = matrix("undirected", "sym")
    for num_steps in (0, 3):
        check(tier, graph, S, (None, torch.ones(graph.num_nodes, 0), None, 0.5, 0.5, num_steps, None, tol))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["sym", "weighted col"])
def test_positions_of_32_bits(tier, kind):
    graph, S = matrix("directed with repeats and self-loops", kind)
    fields = (graph.weight, graph.left, graph.right, graph.normalisation)
    narrow = Graph(graph.rowptr.int(), graph.col.int(), *fields)
    for case in arguments(graph.num_nodes, 5, torch.float32):
        check(tier, narrow, S, case)
        assert torch.equal(call(tier, narrow, case)[0], call(tier, graph, case)[0])


@pytest.mark.parametrize(("nodes", "num_arcs"), [(70_000, 300), (70_000, 90)])
def test_short_rows_beyond_the_cache(nodes, num_arcs, draw):
    """Their prefetches reach further than the columns are padded; the address sanitizer reads along."""
    edge_index = torch.randint(nodes - 50, nodes, (2, num_arcs), generator=draw)
    graph, y = Graph.from_edge_index(edge_index, nodes), torch.rand(nodes, 5, generator=draw)
    ours, theirs = (gn.propagate(graph, y, alpha=0.9, num_steps=3, backend=name).y for name in ("native", "reference"))
    assert_close(ours, theirs, TOLERANCE[torch.float32])


@pytest.mark.parametrize("tier", TIERS)
def test_arrays_that_are_not_contiguous(tier):
    graph, S = matrix("undirected", "sym")
    n = graph.num_nodes
    wide = torch.rand(n, 12, generator=torch.Generator().manual_seed(0))
    turned = wide[:, :5].t().contiguous().t()
    layouts = [wide[:, 2:7], wide[:, ::3], turned, wide[:, :1].expand(n, 5), wide[3].expand(n, 12)]
    mask = torch.rand(2 * n, generator=torch.Generator().manual_seed(0)) < 0.5
    for values in layouts:
        other = values.flip(0)
        for keep in (mask[::2], mask[:1].expand(n), torch.ones(1, dtype=torch.bool).expand(n)):
            check(tier, graph, S, (None, values, keep, 0.7, 0.3, 3, None, None))
            check(tier, graph, S, (values, other, keep, 0.7, 0.3, 2, None, None))
        check(tier, graph, S, (values, None, None, 0.7, 0.3, 2, None, None))
    spread = torch.stack([graph.rowptr, graph.rowptr], dim=1)[:, 0], torch.stack([graph.col, graph.col], dim=1)[:, 0]
    scales = (torch.stack([t, t], dim=1)[:, 0] for t in (graph.left, graph.right))
    check(tier, Graph(*spread, None, *scales, "sym"), S, (wide, None, None, 0.7, 0.3, 2, None, None))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clamp", [None, (0.0, 1.0)])
def test_one_entry_that_is_not_finite_anywhere_shows_in_the_residual(tier, bad, clamp):
    graph, _ = matrix("directed with repeats and self-loops", "row")
    n = graph.num_nodes
    for d, num_steps, tol in ((3, 1, None), (17, 2, 0.5), (1, 5, None)):
        for row, column in itertools.product(range(n), {0, d // 2, d - 1}):
            y = torch.ones(n, d)
            y[row, column] = bad
            for start, source in ((y, None), (None, y), (torch.ones(n, d), y), (y, torch.ones(n, d))):
                residual = call(tier, graph, (start, source, None, 0.7, 0.3, num_steps, clamp, tol))[2]
                assert math.isnan(residual), f"{bad} in row {row}, column {column}"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_beyond_their_type_are_an_error_at_the_door(tier, dtype):
    graph, _ = matrix("hub", "none")
    y = torch.full((graph.num_nodes, 3), 1e37, dtype=dtype)
    for tol, num_steps in itertools.product((None, 1e-3), (1, 2, 7)):
        options = {"alpha": 1.0, "num_steps": num_steps, "normalisation": "none", "tol": tol}
        with pytest.raises(InputError, match="y: expected values that stay in the range"):
            gn.propagate(graph, y, **options, backend=tier)


@pytest.mark.parametrize("tier", TIERS)
def test_graphs_that_share_an_array_stay_apart(tier):
    col, weight, n = torch.tensor([0, 1, 2]), torch.tensor([0.5, 0.25, 2.0], dtype=torch.float64), 4
    rows = [torch.tensor(bounds) for bounds in ([0, 3, 3, 3, 3], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3, 3, 3])]
    other = torch.tensor([2, 1, 0])
    for w, kind in itertools.product((None, weight), ("sym", "row", "col", "none")):
        for rowptr, columns in ((rows[0], col), (rows[1], col), (rows[0], other), (rows[2], col)):
            graph, n = Graph(rowptr, columns, w), rowptr.numel() - 1
            ends = torch.repeat_interleave(torch.arange(n), rowptr.diff())
            A = dense(torch.stack([columns, ends]), n, w)
            S = A if kind == "none" else normalised(A, kind)
            y = torch.rand(n, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
            leaf = y.clone().requires_grad_()
            result = gn.propagate(graph, leaf, alpha=1.0, num_steps=1, mode="lazy", normalisation=kind, backend=tier)
            assert_close(result.y, S @ y)
            assert_close(torch.autograd.grad(result.y, leaf, y)[0], S.t() @ y)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_remembered_of_a_graph_goes_with_it(tier, weighted, dtype):
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]), 2, torch.tensor([1.0, 2.0]) if weighted else None)
    y = torch.eye(2, dtype=dtype, requires_grad=True)
    gn.propagate(graph, y, alpha=0.5, num_steps=2, normalisation="none", backend=tier).y.sum().backward()
    kept = [weakref.ref(t) for t in (graph.rowptr, graph.col, graph.arcs(dtype).value) if t is not None]
    del graph
    gc.collect()
    assert not any(ref() is not None for ref in kept)


@pytest.mark.parametrize("dtype", propagate_cpu.TYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_positions_of_64_bits_in_the_kernel(dtype, weighted, monkeypatch, draw):
    arcs = torch.randint(0, 30, (2, 6_000), generator=draw)
    arcs[1, :5_000] = 0
    weight = torch.rand(6_000, generator=draw) if weighted else None
    for d in (*range(1, 20), 24, 31, 32, 33, 65, 130):
        y, results = torch.rand(30, d, generator=draw).to(dtype), []
        for narrow in (2**31, 0):
            monkeypatch.setattr(propagate_cpu, "MAX_NARROW_NODES", narrow)
            learning = weight.to(dtype).requires_grad_() if weighted else None
            graph, leaf = Graph.from_edge_index(arcs, 30, learning), y.clone().requires_grad_()
            out = gn.propagate(graph, leaf, alpha=0.7, num_steps=3, backend="native").y
            leaves = (leaf, learning) if weighted else (leaf,)
            results.append((out.detach(), *torch.autograd.grad(out.sum(), leaves)))
            kind = torch.int32 if narrow else torch.int64
            assert propagate_cpu.padded_rows(graph.arcs())[1].dtype == kind
        for a, b in zip(*results, strict=True):
            assert_close(a, b, LOOSE[dtype])


def test_a_tier_that_cannot_serve_says_why(monkeypatch):
    y = torch.ones(2, 1)
    with pytest.raises(InputError, match="'native' needs float32, float64 or bfloat16"):
        choose("native", y.half())
    with pytest.raises(InputError, match="'native' needs CPU tensors"):
        choose("native", y.to("meta"))
    with pytest.raises(InputError, match="'triton' needs"):
        choose("triton", y)
    monkeypatch.setattr(propagate_scatter, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="'scatter' needs the torch-scatter package"):
        choose("scatter", y)
    assert [choose(None, t) for t in (y, y.double(), y.bfloat16(), y.half())] == ["native"] * 3 + ["reference"]


@st.composite
def problems(draw):
    n, d, arcs = draw(st.integers(1, 12)), draw(st.integers(1, 20)), draw(st.integers(0, 40))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    weight = torch.rand(arcs, generator=g, dtype=torch.float64) if draw(st.booleans()) else None
    graph = Graph.from_edge_index(torch.randint(0, n, (2, arcs), generator=g), n, weight)
    kind = draw(st.sampled_from(["sym", "row", "col", "none"]))
    x, y = (torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    start, source = draw(st.sampled_from([(None, x), (y, None), (y, x)]))
    mask = torch.rand(n, generator=g) < 0.5 if source is not None and draw(st.booleans()) else None
    alpha, beta = draw(st.floats(-1, 1)), draw(st.floats(-1, 1))
    clamp = draw(st.sampled_from([None, (-0.5, 0.5), (0.0, math.inf), (-math.inf, 0.3)]))
    case = (start, source, mask, alpha, beta, draw(st.integers(0, 6)), clamp, None)
    return (graph if kind == "none" else graph.normalise(kind)), case


@given(problems())
@settings(deadline=None, max_examples=150)
def test_native_equals_reference(problem):
    graph, case = problem
    results = [call(tier, graph, case) for tier in ("native", "reference")]
    assert_close(results[0][0], results[1][0], 1e-13)
    assert results[0][1] == results[1][1]
    assert results[0][2] == pytest.approx(results[1][2], rel=1e-9, abs=1e-12 * float(results[1][0].abs().max() + 1))


@given(problems(), st.floats(-3, 3))
@settings(deadline=None, max_examples=50)
def test_propagation_is_linear_where_nothing_is_clamped(problem, factor):
    graph, (start, source, mask, *rest) = problem
    rest[3] = None
    one = call("native", graph, (start, source, mask, *rest))[0]
    g = torch.Generator().manual_seed(1)
    more = [None if t is None else torch.randn(t.shape, generator=g, dtype=t.dtype) for t in (start, source)]
    two = call("native", graph, (*more, mask, *rest))[0]
    both = [None if t is None else t + factor * m for t, m in zip((start, source), more, strict=True)]
    scale = max(1.0, *(float(t.abs().max()) * 4 for t in (one, two)))
    assert_close(call("native", graph, (*both, mask, *rest))[0] / scale, (one + factor * two) / scale, 1e-12)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["sym", "row", "col"])
def test_names_of_nodes_do_not_matter(tier, kind, draw):
    edge_index, n = all_graphs()["directed with repeats and self-loops"]
    y, order = torch.rand(n, 5, generator=draw, dtype=torch.float64), torch.randperm(n, generator=draw)
    arcs = torch.randperm(edge_index.shape[1], generator=draw)
    # Of each node in its new order.
    place = order.argsort()
    options = {"alpha": 0.7, "num_steps": 4, "normalisation": kind, "clamp": (0.1, 0.8), "backend": tier}
    before = gn.propagate(Graph.from_edge_index(edge_index, n), y, **options).y
    after = gn.propagate(Graph.from_edge_index(place[edge_index[:, arcs]], n), y[order], **options).y
    assert_close(after, before[order])
