"""Propagation in a process of its own: interrupts, forks, memory."""

import signal
import subprocess
import sys
import time


def child(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(code):
    process = child(code)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f"{process.returncode}: {errors}"
    return output.split()


LONG = """
import signal, threading, time, warnings
import torch
warnings.simplefilter("ignore")  # of directed graphs
from graphnoise import Graph, propagate
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may make its children ignore it
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
results = []
other = threading.Thread(target=lambda: results.append(propagate(graph, y, alpha=0.5, num_steps=8).y))
try:
    other.start()
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
other.join()
assert results, "a signal is the main thread's"
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
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)


FORK = """
import multiprocessing
import signal
import numpy as np
import scipy.sparse as sp
import torch
from graphnoise import Graph, nn, propagate
from graphnoise.clustering import diffuse_many
from graphnoise.kernels.attention import attend
from recsys import MatrixFactorization

n = 20_000
graph = Graph.from_edge_index(torch.randint(0, n, (2, 200_000)), n)
y, h, score = torch.rand(n, 16), torch.rand(n, 1, 16), torch.rand(n, 1)
path = torch.arange(n - 1)
path = torch.cat([torch.stack([path, path + 1]), torch.stack([path + 1, path])], 1)
clicks = sp.csr_array((np.random.default_rng(0).random((800, 400)) < 0.1).astype(np.float32))

def work(_):
    signal.alarm(100)
    yield propagate(graph, y, alpha=0.5, num_steps=3).y.numpy()
    yield attend(graph.rowptr, graph.col, h, score, score).numpy()
    yield nn.normalise_rows(y).numpy()
    yield diffuse_many(path, range(100), "pagerank", num_threads=2).values.toarray()
    for mode in ("minibatch", "deterministic"):
        model = MatrixFactorization(mode=mode, num_threads=2, iterations=2, batch_size=20_000)
        yield model.fit(clicks, False).user_factors

def torch_threads(_):
    return torch.get_num_threads()

def results(k):
    return list(work(k))

torch.set_num_threads(2)
before = results(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    for after in pool.map(results, range(3)):
        assert all(map(np.array_equal, before, after))
    assert pool.map(torch_threads, range(2)) == [1, 1]
"""


def test_a_fork_of_a_process_with_threads_can_run_the_kernels():
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
