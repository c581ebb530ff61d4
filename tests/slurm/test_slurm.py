"""A grid on a real Slurm of one node, while its tasks are cancelled and killed; needs root, Slurm and munge."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from grids import files, logged, uninterrupted, wait_for

from graphnoise.bench.executors import opened
from graphnoise.bench.store import Store, cell_key

pytest.importorskip("submitit")
WORK = """
import os, time


def cells(count, seconds):
    return [{"seed": seed, "seconds": seconds} for seed in range(count)]


def work(config, log=os.devnull):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{config['seed']} {os.getpid()} {os.environ.get('SLURM_JOB_ID')}\\n".encode())
    os.close(descriptor)
    time.sleep(config["seconds"])
    return {"value": config["seed"] ** 2 / 7}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Slurm on this machine, as `start.sh` sets it up; a skip where it is not installed."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)}: not installed (Debian: apt-get install slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        pytest.skip("slurmd needs root")
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as one, socket.socket() as two:
        # Two ports in a row.
        one.bind(("", 0))
        port = one.getsockname()[1]
        two.bind(("", port + 1))
    try:
        subprocess.run([Path(__file__).with_name("start.sh"), folder, str(port)], check=True, timeout=60)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            yield
    finally:
        for file in folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGTERM)


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """A module that tasks can import."""
    (tmp_path / "cells_of_slurm.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("graphnoise.bench.slurm.POLL", (0.5, 0.5))
    import cells_of_slurm

    return cells_of_slurm


def queue():
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout


def test_tasks_that_are_cancelled_and_killed_lose_no_cell(slurm, helpers, tmp_path):
    store, log, count, seconds = Store(tmp_path / "cells"), tmp_path / "log", 200, 0.2
    log.touch()
    draw, over, ended, said = random.Random(5), threading.Event(), Counter(), []

    def end():
        victims = set()
        while not over.wait(draw.uniform(0.5, 2.0)) and ended.total() < 6:
            begun = [line.split()[1:] for line in log.read_text().splitlines()][-4:]
            alive = [(pid, job) for pid, job in begun if pid not in victims]
            if not alive:
                continue
            pid, job = draw.choice(alive)
            victims.add(pid)
            how = ["kill", "scancel"][ended.total() % 2]
            if how == "scancel":
                subprocess.run(["scancel", job], check=True)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ended[how] += 1

    ender = threading.Thread(target=end)
    ender.start()
    began = time.monotonic()
    with opened("slurm:tasks=8,running=4") as engine:
        summary = engine(helpers.cells(count, seconds), partial(helpers.work, log=str(log)), store, on_wait=said.append)
    over.set()
    ender.join()
    rounds = 1 + sum("submitted again" in line for line in said)
    begun = logged(log)
    print(f"{time.monotonic() - began:.0f} s, {rounds} rounds, {dict(ended)}, {len(begun)} cells begun for {count}")
    assert ended["kill"]
    assert ended["scancel"]
    assert rounds > 1
    assert (summary.total, summary.done, summary.failed) == (count, count, ())
    assert files(store) == uninterrupted(helpers, tmp_path, count, seconds)
    assert set(begun) == set(range(count))
    assert len(begun) <= count + ended.total(), "a cell begins again only where its task was ended"
    assert not list(store.folder.glob("*.claim"))


def test_ctrl_c_cancels_what_was_submitted(slurm, helpers, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    store, cells = Store(tmp_path / "cells"), helpers.cells(40, 1.0)
    with opened("slurm:tasks=8,running=2") as engine, pytest.raises(KeyboardInterrupt):
        engine(cells, helpers.work, store, on_done=interrupt)
    wait_for(lambda: not queue(), 30)
    assert 0 < len(store.keys()) < 40
    assert not any(store.held(cell_key(config)) for config in cells)
