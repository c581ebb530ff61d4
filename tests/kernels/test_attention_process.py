"""Graph attention in a process of its own: interrupts and memory."""

import signal
import subprocess
import sys
import time

LONG = """
import signal, time
import torch
from graphnoise.kernels.attention import attend
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may make its children ignore it
torch.set_num_threads(2)
n, arcs = 4000, 400_000
rowptr, col = torch.arange(n + 1) * (arcs // n), torch.randint(0, n, (arcs,))
h, source, target = torch.rand(n, 1, 2048), torch.rand(n, 1), torch.rand(n, 1)

def seconds(times):
    begin = time.monotonic()
    attend(rowptr * times, col.repeat(times), h, source, target)
    return time.monotonic() - begin

seconds(1)
times = max(1, int(3 / seconds(1)))
print("ready", flush=True)
begin = time.monotonic()
try:
    seconds(times)
except KeyboardInterrupt:
    stopped = time.monotonic() - begin
    print("interrupted", flush=True)
assert stopped < 0.6 * seconds(times), stopped
"""


def test_an_interrupt_ends_a_long_call():
    process = subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)


MEMORY = """
import resource
import torch
from graphnoise.kernels.attention import attend
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def step(n, arcs, heads, width):
    rowptr, col = torch.arange(n + 1) * (arcs // n), torch.randint(0, n, (arcs,))
    values = [torch.rand(shape).requires_grad_() for shape in ((n, heads, width), (n, heads), (n, heads))]
    before = peak()
    attend(rowptr, col, *values).square().sum().backward()
    return peak() - before

step(10, 100, 2, 2)
arcs = 2_000_000
print(step(10_000, arcs, 2, 128) / (4 * arcs))
"""


def test_no_array_has_a_row_of_features_for_each_arc():
    output = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300, check=True)
    # In numbers of 4 bytes per arc: the weights and scores of 2 heads, and positions; the features of an arc are 256.
    assert float(output.stdout) < 20
