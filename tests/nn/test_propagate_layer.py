import copy
import gc
import io
import weakref

import numpy as np
import pytest
import torch
import torch_geometric.nn
from oracles import assert_close, graphs, normalised
from torch.autograd import forward_ad

from graphnoise import Graph, InputError, propagate
from graphnoise.nn import Propagate
from graphnoise.nn.propagate import smooth

GRAPHS = graphs()
MODES = ("restart", "lazy", "power")
# Torch's tracing looks at all that tensors have, and warns of what it sees.
TRACING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def single_loops(name):
    """Return arcs with at most one self-loop a node: of several, torch_geometric does not say which one it keeps."""
    edge_index, n = GRAPHS[name]
    loops = edge_index[0] == edge_index[1]
    return torch.cat([edge_index[:, ~loops], edge_index[:, loops].unique(dim=1)], dim=1), n


def problem(name, draw, weighted=False):
    edge_index, n = single_loops(name)
    weight = torch.rand(edge_index.shape[1], generator=draw).double() + 0.1 if weighted else None
    return edge_index, weight, torch.randn(n, 4, generator=draw).double()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loops", [False, True])
def test_restart_equals_appnp(name, weighted, loops, draw):
    edge_index, weight, x = problem(name, draw, weighted)
    inputs = [t.requires_grad_() for t in (x, weight) if t is not None]
    ours = Propagate(6, alpha=0.8, add_self_loops=loops)(x, edge_index, weight)
    theirs = torch_geometric.nn.APPNP(6, alpha=0.2, add_self_loops=loops)(x, edge_index, weight)
    assert_close(ours, theirs)
    upstream = torch.randn(x.shape, generator=draw).double()
    for a, b in zip(*(torch.autograd.grad(out, inputs, upstream) for out in (ours, theirs)), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_power_equals_the_smoothing_of_sgconv(name, weighted, draw):
    edge_index, weight, x = problem(name, draw, weighted)
    theirs = torch_geometric.nn.SGConv(4, 4, K=3, bias=False).double()
    with torch.no_grad():
        theirs.lin.weight.copy_(torch.eye(4))
    inputs = [t.requires_grad_() for t in (x, weight) if t is not None]
    a, b = Propagate(3, mode="power")(x, edge_index, weight), theirs(x, edge_index, weight)
    assert_close(a, b)
    upstream = torch.randn(x.shape, generator=draw).double()
    for mine, their in zip(*(torch.autograd.grad(out, inputs, upstream) for out in (a, b)), strict=True):
        assert_close(mine, their)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["sym", "row", "col", "none"])
def test_modes_and_normalisations_are_matrix_formulas(mode, kind, draw):
    edge_index, n = single_loops("undirected")
    x, alpha = torch.randn(n, 2, generator=draw).double(), 0.3
    S = torch.zeros(n, n, dtype=torch.float64).index_put_((edge_index[1], edge_index[0]), torch.ones(()).double(), True)
    S = torch.where(torch.eye(n, dtype=torch.bool), 1.0, S)
    S = S if kind == "none" else normalised(S, kind)
    expected = x
    for _ in range(4):
        own = {"restart": (1 - alpha) * x, "lazy": (1 - alpha) * expected, "power": 0.0}[mode]
        expected = (1.0 if mode == "power" else alpha) * S @ expected + own
    layer = Propagate(4, alpha, mode, kind)
    assert_close(layer(x, edge_index), expected)
    assert_close(layer(x[:, 0], edge_index), expected[:, 0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["sym", "row", "col", "none"])
def test_gradients(mode, kind, draw):
    # Several self-loops at a node as well.
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    edge_index = edge_index[:, :30]
    x = torch.randn(n, 2, generator=draw).double().requires_grad_()
    weight = (torch.rand(30, generator=draw).double() + 0.1).requires_grad_()
    layer = Propagate(3, 0.7, mode, kind)
    assert torch.autograd.gradcheck(lambda x, w: layer(x, edge_index, w), (x, weight), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, edge_index), (x,))
    assert torch.autograd.gradgradcheck(lambda x, w: layer(x, edge_index, w), (x, weight), fast_mode=True)
    fixed = weight.detach()
    # Two ways to the same matrix.
    assert_close(layer(x, edge_index, weight), layer(x, edge_index, fixed))


def test_of_several_self_loops_the_last_one_counts():
    arcs, weight = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0]]), torch.tensor([5.0, 1.0, 1.0, 3.0])
    layer = Propagate(1, mode="power", normalisation="none")
    for w in (weight, weight.clone().requires_grad_()):
        assert layer(torch.eye(2), arcs, w).tolist() == [[3.0, 1.0], [1.0, 1.0]]
    assert layer(torch.eye(2), arcs).tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("weighted", [False, True])
def test_graphs_as_arcs(weighted, draw):
    edge_index, weight, x = problem("undirected", draw, weighted)
    graph = Graph.from_edge_index(edge_index, len(x), weight)
    expected = Propagate(5)(x, edge_index, weight)
    assert torch.equal(Propagate(5)(x, graph), expected)
    plain = Propagate(5, add_self_loops=False)
    expected = plain(x, edge_index, weight)
    assert_close(plain(x, graph), expected)
    assert_close(plain(x, graph.normalise()), expected)
    assert_close(propagate(graph, x, alpha=0.9, num_steps=5).y, expected)


def test_a_normalised_graph_must_be_what_the_layer_says(draw):
    edge_index, n = GRAPHS["undirected"]
    graph, x = Graph.from_edge_index(edge_index, n), torch.randn(n, 2, generator=draw)
    looped = graph.with_self_loops().normalise("row")
    expected = propagate(looped, x, alpha=0.9, num_steps=3).y
    # Weights are used as they are.
    for loops in (True, False):
        assert torch.equal(Propagate(3, normalisation="row", add_self_loops=loops)(x, looped), expected)
    with pytest.raises(InputError, match="edge_index: expected a Graph not normalised, or by 'sym', got 'row'"):
        Propagate(3)(x, looped)
    with pytest.raises(InputError, match=r"self-loop at every node, or add_self_loops=False, got .* nodes without one"):
        Propagate(3, normalisation="row")(x, graph.normalise("row"))
    weight = torch.rand(edge_index.shape[1], generator=draw, requires_grad=True)
    with pytest.raises(InputError, match="self-loop at every node"):
        Propagate(3)(x, Graph.from_edge_index(edge_index, n, weight).normalise())


def test_the_cache_keeps_the_first_graph(draw):
    edge_index, n = GRAPHS["undirected"]
    x, other = torch.randn(n, 2, generator=draw), torch.tensor([[0], [1]])
    layer = Propagate(3, cached=True)
    first = layer(x, edge_index)
    assert torch.equal(layer(x, other), first)
    with pytest.raises(InputError, match="x: expected 23 rows, one per node of the graph, got 4"):
        layer(torch.ones(4, 2), other)
    layer.reset_parameters()
    assert not torch.equal(layer(x, other), first)
    fresh = Propagate(3)
    fresh(x, edge_index)
    assert not torch.equal(fresh(x, other), first)
    with pytest.raises(InputError, match="edge_weight: expected weights without a gradient next to cached=True"):
        layer(x, other, torch.ones(1, requires_grad=True))


def test_what_is_derived_goes_with_the_graph(draw):
    edge_index, n = GRAPHS["undirected"]
    x = torch.randn(n, 2, generator=draw)
    for loops in (True, False):
        graph = Graph.from_edge_index(edge_index, n, torch.rand(edge_index.shape[1], generator=draw))
        Propagate(2, add_self_loops=loops)(x, graph)
        watched = weakref.ref(graph.col)
        del graph
        gc.collect()
        assert watched() is None


@pytest.mark.parametrize("given", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weights", [None, torch.float32, torch.float64])
def test_types_are_those_of_torch_geometric(given, weights, draw):
    edge_index, n = single_loops("undirected")
    x = torch.randn(n, 3, generator=draw).to(given)
    weight = None if weights is None else torch.rand(edge_index.shape[1], generator=draw).to(weights)
    ours = Propagate(3, 0.8)(x, edge_index, weight)
    theirs = torch_geometric.nn.APPNP(3, alpha=0.2)(x, edge_index, weight)
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs, 3e-2 if given == torch.bfloat16 else 1e-6)


def test_a_module_among_others(draw):
    edge_index, n = GRAPHS["undirected"]
    x = torch.randn(n, 5, generator=draw)
    layer = Propagate(4, alpha=0.85, mode="lazy", normalisation="row", add_self_loops=False, cached=True)
    assert repr(layer) == (
        "Propagate(num_steps=4, alpha=0.85, mode='lazy', normalisation='row', add_self_loops=False, cached=True)"
    )
    assert repr(Propagate(2)) == "Propagate(num_steps=2, alpha=0.9, mode='restart')"
    assert repr(Propagate(2, mode="power")) == "Propagate(num_steps=2, mode='power')"
    model = torch_geometric.nn.Sequential(
        "x, edge_index", [(torch.nn.Linear(5, 3), "x -> x"), (layer, "x, edge_index -> x")]
    )
    out = model(x, edge_index)
    assert torch.equal(copy.deepcopy(model)(x, edge_index), out)
    assert not layer.state_dict()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    out.sum().backward()
    assert model[0].weight.grad is not None
    # NaN propagates, as in other layers.
    assert bool(layer(torch.full((n, 1), torch.nan), edge_index).isnan().any())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": -1}, "num_steps: expected an integer of at least 0"),
        ({"alpha": 1.2}, r"alpha: expected a rate in \[0, 1\]"),
        ({"mode": "restat"}, "did you mean 'restart'"),
        ({"normalisation": "left"}, "normalisation: expected one of"),
        ({"cached": "x"}, "cached: expected True or False, got 'x'"),
        ({"add_self_loops": "no"}, "add_self_loops: expected True or False, got 'no'"),
        ({"edge_weight": "heavy"}, "edge_weight: expected numbers, got values of type"),
        ({"edge_weight": 1.0}, r"edge_weight: expected (1 dimensions|180 weights)"),
        ({"edge_weight": [1.0, 2.0]}, "edge_weight: expected 180 weights"),
        ({"edge_weight": torch.ones(180).to_sparse()}, "edge_weight: expected a dense tensor"),
        ({"edge_weight": torch.ones(180, dtype=torch.complex64)}, "edge_weight: expected real numbers"),
        ({"x": torch.ones(23, 2).to_sparse()}, "x: expected a dense tensor"),
        ({"x": torch.ones(4, 2)}, "edge_index: expected node positions from 0 to 3"),
        ({"x": torch.ones(23, 2, dtype=torch.long)}, "x: expected a floating-point tensor of shape"),
        ({"x": torch.ones(2, 23, 2)}, r"x: expected a floating-point tensor .*, got shape \(2, 23, 2\)"),
        ({"x": [1.0]}, "x: expected a floating-point tensor .*, got list"),
        ({"edge_index": torch.ones(3, 2)}, r"edge_index: expected shape \[2, num_arcs\]"),
        ({"edge_weight": torch.ones(3)}, "edge_weight: expected 180 weights"),
        ({"edge_weight": -torch.ones(180)}, "edge_weight: expected weights of at least 0"),
        ({"edge_index": Graph.from_edge_index(*GRAPHS["undirected"]), "x": torch.ones(22, 1)}, "x: expected 23 rows"),
        (
            {"edge_index": Graph.from_edge_index(*GRAPHS["undirected"]), "edge_weight": torch.ones(180)},
            "edge_weight: expected none next to a Graph",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"x": torch.ones(23, 2), "edge_index": GRAPHS["undirected"][0]} | change
    layer = {
        name: arguments.pop(name)
        for name in ("alpha", "mode", "normalisation", "cached", "add_self_loops")
        if name in arguments
    }
    with pytest.raises(InputError, match=message):
        Propagate(arguments.pop("num_steps", 2), **layer)(**arguments)


def test_weights_of_any_kind_of_array(draw):
    edge_index, weight, x = problem("undirected", draw, weighted=True)
    expected = Propagate(3)(x, edge_index, weight)
    for given in (weight.tolist(), weight.numpy()):
        assert torch.equal(Propagate(3)(x, edge_index, given), expected)
    assert Propagate(3)(x.float(), edge_index, weight.tolist()).dtype == torch.float32
    assert Propagate(3)(x.float(), edge_index, np.ones(len(weight))).dtype == torch.float64


def test_no_end_of_steps_is_too_many():
    assert Propagate(2**63).num_steps == 2**62


TRANSFORMS = {
    "jvp": lambda f, t: torch.func.jvp(f, (t,), (t,)),
    "jvp of grad": lambda f, t: torch.func.jvp(torch.func.grad(lambda a: f(a).square().sum()), (t,), (t,)),
    "jvp in jvp": lambda f, t: torch.func.jvp(lambda a: torch.func.jvp(lambda b: b * f(a), (t,), (t,))[1], (t,), (t,)),
    "grad of jvp": lambda f, t: torch.func.grad(lambda a: torch.func.jvp(f, (a,), (a,))[1].sum())(t),
    "jacfwd": lambda f, t: torch.func.jacfwd(f)(t),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_forward_mode_is_refused_not_zero(name, draw):
    edge_index, weight, x = problem("undirected", draw, weighted=True)
    graph = Graph.from_edge_index(edge_index, len(x), weight)
    for layer in (Propagate(3), Propagate(3, add_self_loops=False, normalisation="none")):
        calls = [(x, lambda a, layer=layer: layer(a, graph)), (x, lambda a, layer=layer: layer(a, edge_index))]
        calls += [(weight, lambda w, layer=layer: layer(x, edge_index, w))]
        for given, function in calls:
            with pytest.raises(NotImplementedError, match="forward-mode"):
                TRANSFORMS[name](function, given)


def test_a_constant_in_forward_mode_passes(draw):
    edge_index, _, x = problem("undirected", draw)
    graph, layer = Graph.from_edge_index(edge_index, len(x)), Propagate(3)
    results = torch.func.jvp(lambda a: a * layer(x, graph) + a * layer(x * 1, graph), (x,), (x,))
    assert_close(results[0], results[1])


def test_dual_numbers_are_refused_and_others_pass(draw):
    edge_index, weight, x = problem("undirected", draw, weighted=True)
    graph, layer = Graph.from_edge_index(edge_index, len(x), weight), Propagate(3)
    expected = layer(x, graph)
    leaf = x.clone().requires_grad_()
    with forward_ad.dual_level():
        dual, heavy = forward_ad.make_dual(x, x), forward_ad.make_dual(weight, weight)
        for arguments in ((dual, graph), (dual, edge_index), (x, edge_index, heavy)):
            with pytest.raises(NotImplementedError, match="forward-mode"):
                layer(*arguments)
        assert torch.equal(layer(x, graph), expected)
        # In the gradient alone.
        with pytest.raises(NotImplementedError, match="forward-mode"):
            torch.autograd.grad((layer(leaf, graph) * dual).sum(), leaf)
    assert torch.equal(layer(x, graph), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_a_layer_first_called_in_inference_mode_can_be_trained(cached, loops, weighted, draw):
    edge_index, weight, x = problem("undirected", draw, weighted)
    graph = None if cached else Graph.from_edge_index(edge_index, len(x), weight)
    layer = Propagate(3, add_self_loops=loops, cached=cached)
    arguments = (edge_index, weight) if graph is None else (graph,)
    with torch.inference_mode():
        first = layer(x, *arguments)
    x = x.requires_grad_()
    out = layer(x, *arguments)
    assert torch.equal(out.detach(), first)
    (grad,) = torch.autograd.grad(out.sum(), x)
    fresh = x.detach().requires_grad_()
    assert_close(
        grad, torch.autograd.grad(Propagate(3, add_self_loops=loops)(fresh, edge_index, weight).sum(), fresh)[0]
    )


@TRACING
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("ready", [False, True])
def test_compile_whole_at_first_use(backend, learns, ready, draw):
    edge_index, weight, x = problem("undirected", draw, weighted=True)
    inputs = [x.requires_grad_()] + [weight.requires_grad_()] * learns
    layer = Propagate(3, 0.8)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    # The second graph must not use cached values of the first.
    for arcs in (edge_index, edge_index.flip(0)):
        graph = Graph.from_edge_index(arcs, len(x), weight)
        graph = graph.with_self_loops().normalise() if ready else graph
        upstream = torch.randn(x.shape, generator=draw).double()
        actual = compiled(x, graph)
        grads = torch.autograd.grad(actual, inputs, upstream, retain_graph=True)
        own = layer(x, graph)
        assert_close(actual, own)
        for a, b in zip(grads, torch.autograd.grad(own, inputs, upstream, retain_graph=True), strict=True):
            assert_close(a, b)


@TRACING
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_in_parts(backend, draw):
    """Where a `Graph` is built or results are read as numbers, the traced graph breaks, and results stay right."""
    edge_index, weight, x = problem("undirected", draw, weighted=True)
    graph = Graph.from_edge_index(edge_index, len(x), weight)

    def layer(values):
        return Propagate(3, 0.8)(values.sin(), edge_index, weight).cos()

    def call(values):
        result = propagate(graph, values.sin(), alpha=0.8, num_steps=4, tol=1e-9)
        return result.y.cos() * result.steps

    for function in (layer, call):
        torch.compiler.reset()
        x = x.detach().requires_grad_()
        outs = [f(x) for f in (torch.compile(function, backend=backend), function)]
        assert_close(*outs)
        assert_close(*(torch.autograd.grad(out.sum(), x)[0] for out in outs))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_operation_keeps_the_rules_of_torch(weighted, draw):
    edge_index, weight, x = problem("undirected", draw, weighted)
    graph = Graph.from_edge_index(edge_index, len(x), weight)
    fields = (graph.rowptr, graph.col, graph.weight, None, None, x.requires_grad_())
    torch.library.opcheck(smooth, (*fields, "sym", True, "restart", 0.9, 3, False, "native"))
