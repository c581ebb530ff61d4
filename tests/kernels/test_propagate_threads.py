"""Propagation on several threads, and by several callers at once: the results are the same to the bit."""

import threading
from contextlib import contextmanager

import pytest
import torch

from graphnoise import Graph, propagate
from graphnoise.kernels.propagate import cpu


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def hubs(weighted=False):
    """A fresh graph with rows of 20,000, 9,000 and 5,000 arcs among 30,000 others, on 2,000 nodes."""
    g = torch.Generator().manual_seed(4)
    ends = torch.cat([torch.full((k,), i) for i, k in ((0, 20_000), (900, 9_000), (1999, 5_000))])
    ends = torch.cat([ends, torch.randint(0, 1990, (30_000,), generator=g)])
    arcs = torch.stack([torch.randint(0, 2000, ends.shape, generator=g), ends])
    return Graph.from_edge_index(arcs, 2000, torch.rand(len(ends), generator=g) if weighted else None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["sym", "row", "col"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(weighted, kind, dtype, draw):
    graph = hubs(weighted).normalise(kind)
    for d, more in ((5, {}), (40, {"clamp": (0.0, 0.6), "tol": 1e-3}), (150, {"mode": "lazy"})):
        y = torch.rand(2000, d, generator=draw).to(dtype)
        results = []
        for count in (1, 2, 3, 5):
            with threads(count):
                result = propagate(graph, y, alpha=0.8, num_steps=4, **more)
            results.append((result.y.view(torch.uint8), result.steps, result.residual))
        assert all(torch.equal(f[0], results[0][0]) for f in results)
        assert len({f[1:] for f in results}) == 1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("num_nodes", [1, 1023, 2500])
def test_the_order_of_rows_changes_no_bit(num_nodes, dtype, weighted, draw, monkeypatch):
    ends = (num_nodes * torch.rand(20 * num_nodes, generator=draw) ** 2).long()
    arcs = torch.stack([torch.randint(0, num_nodes, ends.shape, generator=draw), ends])
    weight = torch.rand(len(ends), generator=draw) if weighted else None
    graph = Graph.from_edge_index(arcs, num_nodes, weight).normalise("row")
    orders, make = [], cpu.row_order
    monkeypatch.setattr(cpu, "row_order", lambda arcs: orders.append(make(arcs)) or orders[-1])
    for d, more in ((1, {}), (7, {"clamp": (0.0, 0.6), "tol": 1e-3}), (8, {"mask": torch.arange(num_nodes) % 3 > 0})):
        y, results = torch.rand(num_nodes, d, generator=draw).to(dtype), []
        for values in (1 << 20, 0):
            monkeypatch.setattr(cpu, "MAX_VALUES", values)
            result = propagate(graph, y, alpha=0.8, num_steps=4, **more)
            results.append((result.y.view(torch.uint8).tolist(), result.steps, result.residual))
        assert results[0] == results[1]
    assert len(orders) == 3
    assert orders[0].sort().values.tolist() == list(range(num_nodes))
    lengths = graph.rowptr.diff()[orders[0].long()]
    assert all((window.diff() >= 0).all() for window in lengths.split(cpu.WINDOW))


def test_gradients_are_the_same_on_any_number_of_threads(draw):
    # Wide enough to be fetched ahead.
    y, upstream = (torch.rand(2000, 150, generator=draw) for _ in range(2))
    results = []
    for count in (1, 3):
        graph = hubs(weighted=True)
        weight, leaf = graph.weight.clone().requires_grad_(), y.clone().requires_grad_()
        learning = Graph(graph.rowptr, graph.col, weight)
        with threads(count):
            out = propagate(learning, leaf, alpha=0.8, num_steps=3, normalisation="none", clamp=(0.0, 50.0)).y
            results.append((out, *torch.autograd.grad(out, (leaf, weight), upstream)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("count", [1, 2])
def test_callers_at_the_same_time_get_the_same(count, draw):
    """The first use of a graph: cached arrays are made by several threads at once."""
    y = torch.rand(2000, 12, generator=draw)

    def work(graph):
        torch.set_num_threads(count)
        leaf = y.clone().requires_grad_()
        out = propagate(graph, leaf, alpha=0.8, num_steps=4).y
        return out.detach(), *torch.autograd.grad(out.square().sum(), leaf)

    with threads(count):
        expected = work(hubs())
        for _ in range(3):
            graph, start, found = hubs(), threading.Barrier(4), []

            def caller(graph=graph, start=start, found=found):
                start.wait()
                found.append(work(graph))

            team = [threading.Thread(target=caller) for _ in range(4)]
            for member in team:
                member.start()
            for member in team:
                member.join()
            assert len(found) == 4
            assert all(torch.equal(a, b) for one in found for a, b in zip(one, expected, strict=True))
