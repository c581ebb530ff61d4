import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close, graphs

import graphnoise as gn
from graphnoise import Graph, InputError, propagate
from graphnoise.node_order import KINDS, order, reordered

GRAPHS = graphs()


def shuffle(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("kind", [None, "sym", "row", "col"])
def test_permuted_renames_rows_and_columns(name, kind, draw):
    edge_index, n = GRAPHS[name]
    weight = torch.rand(edge_index.shape[1], generator=draw).double() + 0.1
    places = shuffle(n, 1)
    for graph in (Graph.from_edge_index(edge_index, n), Graph.from_edge_index(edge_index, n, weight)):
        graph = graph if kind is None else graph.normalise(kind)
        actual = graph.permuted(places)
        assert torch.equal(actual.to_dense(torch.float64), graph.to_dense(torch.float64)[places][:, places])
        assert actual.normalisation == graph.normalisation
        back = actual.permuted(places.argsort())
        assert torch.equal(back.edge_index, graph.edge_index)
        narrow = Graph(graph.rowptr.int(), graph.col.int(), graph.weight).permuted(places)
        assert narrow.col.dtype == narrow.rowptr.dtype == torch.int32
        assert torch.equal(narrow.edge_index, actual.edge_index)


@given(
    seed=st.integers(0, 999),
    kind=st.sampled_from(["sym", "row", "col"]),
    mode=st.sampled_from(["restart", "lazy"]),
    alpha=st.floats(0, 1),
    weighted=st.booleans(),
    masked=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_propagation_does_not_know_the_names_of_nodes(seed, kind, mode, alpha, weighted, masked):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    g = torch.Generator().manual_seed(seed)
    weight = torch.rand(edge_index.shape[1], generator=g).double() if weighted else None
    graph, y, places = (
        Graph.from_edge_index(edge_index, n, weight),
        torch.rand(n, 2, generator=g).double(),
        shuffle(n, seed),
    )
    mask = torch.rand(n, generator=g) < 0.5 if masked else None
    common = {"alpha": alpha, "num_steps": 5, "mode": mode, "normalisation": kind}
    expected = propagate(graph, y, mask=mask, **common).y
    renamed = propagate(graph.permuted(places), y[places], mask=None if mask is None else mask[places], **common).y
    assert_close(renamed, expected[places])
    assert_close(propagate(graph, y, mask=mask, order=places, **common).y, expected)


@given(
    a=st.floats(-3, 3),
    b=st.floats(-3, 3),
    seed=st.integers(0, 99),
    solver=st.sampled_from(["iterate", "chebyshev", "cg"]),
)
@settings(deadline=None, max_examples=40)
def test_propagation_is_linear(a, b, seed, solver):
    g = torch.Generator().manual_seed(seed)
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    x, y = (torch.rand(23, 2, generator=g).double() for _ in range(2))

    def f(values):
        return propagate(
            graph, values, alpha=0.8, num_steps=200, tol=1e-14 if solver == "cg" else None, solver=solver
        ).y

    assert_close(f(a * x + b * y), a * f(x) + b * f(y), 1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["iterate", "cg", "chebyshev"])
def test_orders_change_nothing_but_the_time(kind, solver, draw):
    edge_index, n = GRAPHS["undirected"]
    graph = Graph.from_edge_index(edge_index, n)
    y = torch.rand(n, 3, generator=draw).double().requires_grad_()
    upstream = torch.rand(n, 3, generator=draw).double()
    common = {"alpha": 0.9, "num_steps": 400, "tol": 1e-12, "solver": solver, "mask": torch.arange(0, n, 2)}
    own, other = (propagate(graph, y, order=wish, **common) for wish in (None, kind))
    assert_close(other.y, own.y, 1e-9)
    assert (other.converged, other.backend) == (own.converged, own.backend)
    grads = [torch.autograd.grad(result.y, y, upstream)[0] for result in (own, other)]
    assert_close(*grads, 1e-9)
    flat = propagate(graph, y[:, 0], order=kind, **common).y
    assert_close(flat, own.y[:, 0], 1e-9)


def test_gradients_pass_to_the_weights(draw):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    weight = (torch.rand(edge_index.shape[1], generator=draw).double() + 0.1).requires_grad_()
    graph, y = Graph.from_edge_index(edge_index, n, weight), torch.rand(n, 2, generator=draw).double()
    grads = []
    # Values computed here must not block a later gradient.
    with torch.no_grad():
        propagate(graph, y, alpha=0.9, num_steps=3, order="rcm")
    for wish in (None, "rcm", "rcm", shuffle(n, 2)):
        result = propagate(graph, y, alpha=0.9, num_steps=3, order=wish).y
        grads.append(torch.autograd.grad((result**2).sum(), weight, retain_graph=True)[0])
        assert_close(grads[-1], grads[0])


def test_the_reordered_graph_is_made_once(monkeypatch):
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    first = reordered(graph, "rcm")
    assert reordered(graph, "rcm").graph is first.graph
    places = shuffle(23, 0)
    given_once = reordered(graph, places)
    assert reordered(graph, places.clone()).graph is given_once.graph
    # The cached permutation is a copy.
    places[[0, 1]] = places[[1, 0]]
    assert reordered(graph, places).graph is not given_once.graph
    assert reordered(graph, places.tolist()).order.tolist() == places.tolist()
    assert torch.equal(first.position[first.order], torch.arange(23))


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("wish", ["rcm", shuffle(23, 5)])
def test_an_order_made_in_inference_mode_serves_gradients_later(wish, learns, draw):
    edge_index, n = GRAPHS["undirected"]
    weight = (torch.rand(edge_index.shape[1], generator=draw).double() + 0.1).requires_grad_(learns)
    graph, y = Graph.from_edge_index(edge_index, n, weight), torch.rand(n, 3, generator=draw).double()
    with torch.inference_mode():
        first = propagate(graph, y, alpha=0.9, num_steps=3, order=wish).y
    inputs = [y.requires_grad_()] + [weight] * learns
    grads = []
    for order_wish in (wish, None):
        out = propagate(graph, y, alpha=0.9, num_steps=3, order=order_wish).y
        assert_close(out, first)
        grads.append(torch.autograd.grad(out.square().sum(), inputs, retain_graph=True))
    for a, b in zip(*grads, strict=True):
        assert_close(a, b)


def test_degree_puts_hubs_first_and_ties_in_their_order():
    star = torch.tensor([[3, 3, 3, 0, 1, 2], [0, 1, 2, 3, 3, 3]])
    assert order(Graph.from_edge_index(star, 5), "degree").tolist() == [3, 0, 1, 2, 4]
    # Both ends of an arc count.
    one_way = Graph.from_edge_index(torch.tensor([[0, 1, 3], [2, 2, 1]]))
    assert order(one_way, "degree").tolist() == [1, 2, 0, 3]


def test_rcm_narrows_the_band():
    places = shuffle(200, 3)
    # A directed path, badly numbered.
    path = places[torch.stack([torch.arange(199), torch.arange(1, 200)])]
    graph = Graph.from_edge_index(path, 200)
    actual = graph.permuted(order(graph, "rcm"))
    assert int((actual.row - actual.col).abs().max()) == 1
    assert int((graph.row - graph.col).abs().max()) > 100


def test_communities_come_one_after_another():
    data = gn.datasets.planted_partition([50] * 6, 0.5, 0.002, seed=0)
    places = shuffle(300, 4)
    graph = Graph.from_data(data).permuted(places)
    actual = order(graph, "community")
    assert sorted(actual.tolist()) == list(range(300))
    assert torch.equal(actual, order(graph, "community", seed=0))
    community = data.y[places][actual]
    assert int((community.diff() != 0).sum()) <= 8
    assert order(Graph.from_edge_index(torch.empty(2, 0), 4), "community").tolist() == [0, 1, 2, 3]


def test_without_networkx_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match=r"kind: expected 'degree' or 'rcm' where NetworkX is not installed"):
        order(graph, "community")
    assert len(order(graph, "rcm")) == 23


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("dgree", "order: expected one of community, degree, rcm.*did you mean 'degree'"),
        (torch.arange(22), r"order: expected a permutation of the 23 nodes, got shape \(22,\)"),
        (torch.arange(23).float(), "order: expected a permutation of the 23 nodes, got values of type torch.float32"),
        (torch.arange(1, 24), "order: expected a permutation of the 23 nodes, got values from 1 to 23"),
        (torch.zeros(23, dtype=torch.long), "order: expected a permutation of the 23 nodes, got positions that repeat"),
        (3.5, "order: expected a permutation of the 23 nodes"),
        (np.ones((23, 1), dtype=int), r"order: expected a permutation of the 23 nodes, got shape \(23, 1\)"),
    ],
)
def test_bad_orders_are_named(wish, message):
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match=message):
        propagate(graph, torch.ones(23), alpha=0.5, num_steps=2, order=wish)
    if not isinstance(wish, str):
        with pytest.raises(InputError, match=message):
            graph.permuted(wish)


def test_bad_arguments_of_order_are_named():
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match="kind: expected one of community, degree, rcm, got 'random'"):
        order(graph, "random")
    with pytest.raises(InputError, match="seed: expected an integer of at least 0"):
        order(graph, "community", seed=-1)
