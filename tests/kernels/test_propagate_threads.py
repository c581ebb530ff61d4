"""Propagation among threads and processes: results that repeat, interrupts, forks, memory."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import torch

from graphnoise import Graph, propagate


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
    for d, more in ((5, {}), (40, {"clamp": (0.0, 0.6), "tol": 1e-3}), (130, {"mode": "lazy"})):
        y = torch.rand(2000, d, generator=draw).to(dtype)
        found = []
        for count in (1, 2, 3, 5, 2):
            with threads(count):
                result = propagate(graph, y, alpha=0.8, num_steps=6, **more)
            found.append((result.y.view(torch.uint8), result.steps, result.residual))
        assert all(torch.equal(f[0], found[0][0]) for f in found)
        assert len({f[1:] for f in found}) == 1


def test_gradients_are_the_same_on_any_number_of_threads(draw):
    y, upstream = (torch.rand(2000, 16, generator=draw) for _ in range(2))
    found = []
    for count in (1, 3):
        graph = hubs(weighted=True)
        weight, leaf = graph.weight.clone().requires_grad_(), y.clone().requires_grad_()
        learning = Graph(graph.rowptr, graph.col, weight)
        with threads(count):
            out = propagate(learning, leaf, alpha=0.8, num_steps=3, normalisation="none", clamp=(0.0, 50.0)).y
            found.append((out, *torch.autograd.grad(out, (leaf, weight), upstream)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("count", [1, 2])
def test_callers_at_the_same_time_get_the_same(count, draw):
    """The first use of a graph: what is remembered of it is made by several threads at once."""
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


def child(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(code):
    process = child(code)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f"{process.returncode}: {errors}"
    return told.split()


LONG = """
import signal, threading, time
import torch
from graphnoise import Graph, propagate
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its children to ignore it
torch.set_num_threads(2)
n = 200_000
graph = Graph.from_edge_index(torch.randint(0, n, (2, 2_000_000)), n)
y = torch.rand(n, 64)
few = propagate(graph, y, alpha=0.5, num_steps=1).y
print("ready", flush=True)
try:
    propagate(graph, y, alpha=0.5, num_steps=100_000)
except KeyboardInterrupt:
    print("interrupted", flush=True)
found = []
other = threading.Thread(target=lambda: found.append(propagate(graph, y, alpha=0.5, num_steps=8).y))
try:
    other.start()
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
other.join()
assert found, "a signal is the main thread's"
assert torch.equal(propagate(graph, y, alpha=0.5, num_steps=1).y, few)
"""


def test_an_interrupt_ends_a_long_call_and_leaves_all_in_order():
    process = child(LONG)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - before < 5
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (told, errors, process.returncode) == ("interrupted\n", "", 0)


FORK = """
import multiprocessing
import torch
from graphnoise import Graph, propagate
n = 20_000
graph = Graph.from_edge_index(torch.randint(0, n, (2, 200_000)), n)
y = torch.rand(n, 16)

def work(_):
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    return propagate(graph, y, alpha=0.5, num_steps=3).y.numpy()

torch.set_num_threads(2)
before = propagate(graph, y, alpha=0.5, num_steps=3).y
with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in pool.map(work, range(3)):
        assert torch.equal(torch.from_numpy(found), before)
"""


def test_a_fork_of_a_process_with_threads_can_propagate():
    outcome(FORK)


MEMORY = """
import resource
import torch
from graphnoise import Graph, propagate
n, d = 400_000, 64
nodes = torch.arange(n)
graph = Graph.from_edge_index(torch.stack([nodes, nodes.roll(1)]), n)
y, mask = torch.ones(n, d), nodes % 3 == 0
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / (4 * n * d)
propagate(graph, y[:, 0].contiguous(), alpha=0.5, num_steps=4, mask=mask)
for options in ({"mask": mask, "tol": 1e-9, "clamp": (0.0, 1.0)}, {"mode": "lazy"}):
    before = peak()
    propagate(graph, y, alpha=0.5, num_steps=4, **options)
    print(peak() - before)
"""


def test_a_call_needs_the_memory_of_two_label_matrices():
    first, more = map(float, outcome(MEMORY))
    assert first < 2.2
    assert more < 0.2
