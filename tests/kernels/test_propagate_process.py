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
import signal, threading, time
import torch
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
    for results in pool.map(work, range(3)):
        assert torch.equal(torch.from_numpy(results), before)
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
