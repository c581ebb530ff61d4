"""Cells on Dask: a local cluster with workers that are killed, and schedulers that are not there."""

import os
import random
import signal
import threading
from functools import partial

import pytest
from grids import files, uninterrupted

from graphnoise.bench.executors import opened
from graphnoise.errors import DataError, InputError

distributed = pytest.importorskip("distributed")


OPTIONS = {"dashboard_address": ":0", "silence_logs": 50, "protocol": "tcp"}


@pytest.fixture(scope="module")
def cluster(helpers):
    """Two worker processes, which start again when they are killed."""
    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, **OPTIONS) as started:
        yield started


def address(cluster):
    return cluster.scheduler_address.replace("tcp", "dask")


def test_workers_that_are_killed_lose_no_cell(helpers, cluster, store, tmp_path):
    log, count, seconds, done = tmp_path / "log", 40, 0.05, []
    log.touch()
    draw, over, killed = random.Random(3), threading.Event(), []

    def kill():
        while not over.wait(draw.uniform(0.2, 1.0)) and len(killed) < 3:
            # The worker that began a cell last.
            lines = log.read_text().split()
            if lines and lines[-1] not in killed:
                os.kill(int(lines[-1]), signal.SIGKILL)
                killed.append(lines[-1])

    killer = threading.Thread(target=kill)
    killer.start()
    with opened(address(cluster)) as engine:
        run = partial(helpers.work, log=str(log))
        summary = engine(
            helpers.cells(count, seconds), run, store, on_done=lambda config, *_: done.append(config["seed"])
        )
        over.set()
        killer.join()
        again = engine(helpers.cells(count, seconds), run, store)
    assert killed
    assert (summary.total, summary.failed, again.skipped) == (count, (), count)
    assert sorted(done) == list(range(count))
    assert files(store) == uninterrupted(helpers, tmp_path, count, seconds)
    began = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert set(began) == set(range(count))
    assert len(began) <= count + len(killed), "a cell begins again only where its worker was killed"


def test_a_cell_that_kills_its_workers_fails_and_the_others_run(helpers, cluster, store, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    seen = []
    with opened(address(cluster)) as engine:
        summary = engine(helpers.cells(6), helpers.kill_worker, store, on_done=lambda *progress: seen.append(progress))
    assert [failure.config["seed"] for failure in summary.failed] == [5]
    assert "KilledWorker" in summary.failed[0].message
    assert (summary.done + summary.elsewhere, len(seen), len(files(store))) == (5, 6, 5)


def test_a_cluster_that_ends_is_one_error(helpers, store):
    with distributed.LocalCluster(1, threads_per_worker=1, processes=False, **OPTIONS) as cluster:
        timer = threading.Timer(0.5, cluster.close)
        with opened(address(cluster)) as engine:
            timer.start()
            with pytest.raises(DataError, match=r"lost the Dask cluster 127.* to go on"):
                engine(helpers.cells(4, 0.4), helpers.work, store)
        timer.join()


def test_workers_of_several_threads_are_refused():
    with distributed.LocalCluster(1, threads_per_worker=2, processes=False, **OPTIONS) as cluster:
        refused = pytest.raises(InputError, match=r"executor: expected workers of one thread .*, got 2")
        with refused, opened(address(cluster)):
            pass


def test_a_scheduler_that_is_not_there_is_one_error(monkeypatch):
    monkeypatch.setattr("graphnoise.bench.executors.PATIENCE", 0.2)
    with (
        pytest.raises(DataError, match=r"dask://127.0.0.1:9: cannot connect to a Dask scheduler"),
        opened("dask://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize("text", ["", "dask", "dask://", "dask://host", "dask://:1", "dask://host:x", "ray", "local:2"])
def test_other_texts_are_refused(text):
    with pytest.raises(InputError, match="executor: expected local, dask://HOST:PORT or slurm"), opened(text):
        pass
