"""Propagation by several processes: the bits of one process, the bytes that are exchanged, ends and resumption."""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import graphnoise as gn

# Imports once for all scripts, and runs each of them in processes that it forks.
SERVER = """
import json, os, runpy, sys, traceback
import torch.distributed, torch_geometric.nn, graphnoise.distributed, graphnoise.erase.model, graphnoise.robust
import recsys.models.mf
def run(folder, rank):
    for stream in (1, 2):
        os.dup2(os.open(f"{folder}/{rank}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.path.insert(0, folder)
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
    try:
        runpy.run_path(f"{folder}/script.py", run_name="__main__")
        return 0
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
for line in sys.stdin:
    folder, ranks, environment = json.loads(line)
    os.environ.update(environment)
    for rank in range(ranks):
        if os.fork() == 0:
            os._exit(run(folder, rank))
    print(json.dumps([os.wait()[1] for _ in range(ranks)]), flush=True)
"""
RUN = """
import datetime, os, sys, json, signal, torch, torch.distributed as dist, numpy as np, graphnoise as gn
from graphnoise import distributed
torch.set_num_threads(1)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=90))
rank, ranks = dist.get_rank(), dist.get_world_size()
def regroup(count):
    # The first processes go on in a group of their own.
    global ranks
    dist.destroy_process_group()
    if rank >= count:
        sys.exit()
    ranks, method = count, f"file://{sys.path[0]}/group-{count}"
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=count)
def graph(seed=0, n=300, directed=False, weighted=False, hub=6000):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (2, 2000))
    # A row that one process cuts into pieces.
    edges = np.concatenate([edges, [np.zeros(hub, int), rng.integers(0, n, hub)]], 1)
    if not directed:
        edges = np.concatenate([edges, edges[::-1]], 1)
    weight = torch.from_numpy(rng.random(edges.shape[1])).float() if weighted else None
    return gn.Graph.from_edge_index(torch.from_numpy(edges), n, weight)
def values(width, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(1).random((300, width))).to(dtype)
"""


PIPES = {"stdout": subprocess.PIPE, "text": True}


@functools.cache
def server():
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, env=environment, **PIPES)
    atexit.register(process.communicate)
    return process


def launch(tmp_path, body, ranks=2, check=True):
    """Run a script in some processes; return what they printed, or processes that are independent of one another."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    script = tmp_path / "script.py"
    script.write_text(RUN + body + "\ndist.destroy_process_group()\n")
    if not check:
        environment |= os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        each = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks))
        return [subprocess.Popen([sys.executable, script], env=environment | own, **PIPES) for own in each]
    print(json.dumps([str(tmp_path), ranks, environment]), file=server().stdin, flush=True)
    codes = json.loads(server().stdout.readline())
    assert codes == [0] * ranks, [path.read_text() for path in tmp_path.glob("*.2")]
    return [(tmp_path / f"{rank}.1").read_text() for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_partition_has_the_bits_of_one_process(ranks, tmp_path):
    body = """
import itertools, warnings
warnings.simplefilter("ignore")
count = 0
for directed, weighted in ((False, False), (True, False), (False, True)):
    g = graph(directed=directed, weighted=weighted)
    for mode, norm, width, tol, clamp, masked, dtype in [
        ("restart", "sym", 5, None, None, False, torch.float32),
        ("restart", "sym", 8, 1e-3, None, True, torch.float64),
        ("lazy", "row", 3, 1e-3, (0.0, .4), True, torch.float32),
        ("lazy", "col", 7, 1e-9, None, False, torch.float32),
        ("restart", "col", 1, 1e-2, (0.0, .5), False, torch.float32),
        ("restart", "row", 2, None, None, True, torch.float64),
    ]:
        y, mask = values(width, dtype), torch.arange(300) % 3 > 0 if masked else None
        call = dict(alpha=.8, num_steps=15, mode=mode, normalisation=norm, tol=tol, clamp=clamp, mask=mask)
        whole = gn.propagate(g, y, **call)
        scattered = torch.from_numpy(np.random.default_rng(3).integers(0, ranks, 300))
        for partition, assignment in (("rows", None), ("rows", scattered), ("columns", None)):
            ours = distributed.propagate(g, y, partition=partition, assignment=assignment, **call)
            case = (directed, weighted, mode, norm, width, tol, dtype, partition, assignment is None)
            assert torch.equal(ours.gather(), whole.y), case
            for name in ("steps", "residual", "converged"):
                assert getattr(ours, name) == getattr(whole, name), (name, case)
            assert ours.received == (0 if partition == "columns" else ours.plan.received[rank] * ours.steps), case
            count += 1
print(count)
"""
    assert launch(tmp_path, body, ranks) == ["54\n"] * ranks


PLANS = """
g, y = graph(hub=0), values(8)
ours = distributed.propagate(g, y, alpha=.5, num_steps=3, partition="rows")
others = np.setdiff1d(np.unique(g.col.numpy()[np.isin(g.row.numpy(), ours.rows.numpy())]), ours.rows.numpy())
assert ours.plan.received[rank] == len(others) * 8 * 4
assert ours.received == 3 * ours.plan.received[rank]
# Wide values need no exchange; where one is cheap, rows read less.
chosen = [distributed.propagate(g, y, alpha=.5, num_steps=1, exchange_cost=cost).plan for cost in (0.0, 1e3)]
assert [plan.partition for plan in chosen] == ["rows", "columns"]
available, distributed.available_memory = distributed.available_memory, lambda: 1000
assert distributed.propagate(g, y, alpha=.5, num_steps=1, exchange_cost=1e3).plan.partition == "rows"
distributed.available_memory = available
print(chosen[0])
"""
# Processes that disagree, and bad arguments.
REFUSED = """
for change in (dict(graph=graph(seed=rank)), dict(y=values(3 + rank)), dict(alpha=.1 + .1 * rank),
               dict(assignment=torch.full((300,), 9)), dict(assignment="kahip"), dict(y=values(3).bfloat16()),
               dict(num_steps=0), dict(partition="nodes"), dict(every=0), dict(y=values(3) / 0),
               dict(y=values(3).requires_grad_()), dict(assignment=torch.zeros(300, dtype=torch.complex64))):
    try:
        distributed.propagate(**dict(graph=graph(), y=values(3), alpha=.5, num_steps=3) | change)
        print("nothing")
    except gn.InputError as error:
        print(str(error).split(":")[0])
"""


def test_plans_are_what_is_exchanged_and_bad_arguments_are_refused_on_all(tmp_path):
    first, *errors = zip(*(out.splitlines() for out in launch(tmp_path, PLANS + REFUSED)), strict=True)
    assert first[0].startswith("rows of 2 processes (rows: ")
    assert first[0] == first[1]
    expected = ["arguments"] * 3 + ["assignment"] * 2 + ["y", "num_steps", "partition", "every", "y"]
    expected += ["y, graph", "assignment"]
    assert errors == [(name, name) for name in expected]


# Arguments that are invalid on one process only: no process waits for the others.
ONE_WRONG = """
for change in (dict(alpha=7.0), dict(assignment=torch.zeros(3, dtype=torch.int64)), dict(y="nothing.npy"),
               dict(every=0), dict(partition="rows", checkpoint="points")):
    try:
        call = dict(graph=graph(), y=values(3), alpha=.5, num_steps=3, partition="rows")
        distributed.propagate(**call | (change if rank else {}))
        print("nothing")
    except gn.GraphnoiseError as error:
        print(error)
"""


def test_an_argument_that_is_invalid_on_one_process_is_an_error_on_all(tmp_path):
    theirs, own = (out.splitlines() for out in launch(tmp_path, ONE_WRONG))
    expected = "arguments: expected valid ones on every process, got on process 1: "
    assert theirs[:4] == [expected + line for line in own[:4]]
    assert [line.split(":")[0] for line in own] == ["alpha", "assignment", "nothing.npy", "every", "arguments"]
    assert theirs[4].startswith("arguments: expected the same")


METIS = """
n, half = 300, 150
ends = torch.from_numpy(np.random.default_rng(0).integers(0, half, (2, 2000)))
edges = torch.cat([ends, ends + half, torch.tensor([[0], [half]])], 1)
place = torch.randperm(n, generator=torch.Generator().manual_seed(0))
g, y = gn.Graph.from_edge_index(place[edges], n), values(4)
call = dict(alpha=.8, num_steps=5, partition="rows")
by_metis, contiguous = (distributed.propagate(g, y, assignment=a, **call) for a in ("metis", None))
assert torch.equal(by_metis.gather(), gn.propagate(g, y, alpha=.8, num_steps=5).y)
# Two groups that one arc connects, and the numbers of their nodes are mixed.
print(len(by_metis.rows), max(by_metis.plan.received), min(contiguous.plan.received) > 1000)
"""


def test_metis_finds_parts_that_few_arcs_connect(tmp_path):
    pytest.importorskip("pymetis")
    assert launch(tmp_path, METIS) == ["150 16 True\n"] * 2


def test_without_a_group_there_is_one_error():
    from graphnoise import distributed

    graph = gn.Graph.from_edge_index(torch.tensor([[0], [1]]))
    with pytest.raises(gn.InputError, match="a process group"):
        distributed.propagate(graph, torch.ones(2, 1), alpha=0.5, num_steps=1)


def test_a_killed_process_ends_all_and_a_new_run_continues(tmp_path):
    call = f"""
steps = []
step = distributed.cpu.step
def watched(*a, **k):
    steps.append(k["done"])
    if {{stop}} and rank == 1 and k["done"] == 23:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*a, **k)
distributed.cpu.step = watched
try:
    ours = distributed.propagate(graph(), values(4), alpha=.9, num_steps=40, partition="rows",
                                 checkpoint={str(tmp_path / "points")!r}, every=5)
except gn.DataError as error:
    print(error)
    os._exit(1)
whole = gn.propagate(graph(), values(4), alpha=.9, num_steps=40)
assert torch.equal(ours.gather(), whole.y)
print(steps[0], ours.steps)
"""
    running = launch(tmp_path, call.format(stop=True), check=False)
    running[1].communicate(timeout=90)
    killed = time.monotonic()
    out, _ = running[0].communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert running[1].returncode == -signal.SIGKILL
    assert running[0].returncode == 1
    assert "a process of the group ended" in out
    assert out.count("\n") == 1
    assert np.load(next((tmp_path / "points").glob("*.20.npy"))).shape[1] == 4
    assert launch(tmp_path, call.format(stop=False)) == ["20 40\n"] * 2
    assert not list((tmp_path / "points").iterdir())
