import errno
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from grids import files, finish, logged, uninterrupted

from graphnoise.bench.runner import cell_key, run_cells
from graphnoise.errors import DataError, InputError


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
def test_every_cell_is_run_once_and_skipped_afterwards(helpers, store, tmp_path, executor):
    log, seen = tmp_path / "log", []
    pool = executor and executor(3)
    cells = helpers.cells(12, 0.002)
    run = partial(helpers.work, log=log)
    first = run_cells([*cells[:5], *cells[:2]], run, store, executor=pool)
    assert (first.total, first.done, first.skipped, first.elsewhere, first.failed) == (5, 5, 0, 0, ())
    second = run_cells(cells, run, store, executor=pool, on_done=lambda *progress: seen.append(progress))
    assert (second.total, second.done, second.skipped, second.complete) == (12, 7, 5, True)
    assert [(finished, total) for _, finished, total in seen] == [(finished, 12) for finished in range(6, 13)]
    assert sorted(config["seed"] for config, _, _ in seen) == list(range(5, 12))
    assert logged(log) == list(range(12))
    assert files(store) == uninterrupted(helpers, tmp_path, 12, 0.002)
    assert len(os.listdir(store.folder)) == 12
    if pool:
        assert pool.submit(int).result() == 0, "the caller's executor stays open"
        pool.shutdown()


def test_threads_of_an_executor_work_at_once(helpers, store):
    together = threading.Barrier(3, timeout=20)

    def run(config):
        together.wait()
        return {}

    with ThreadPoolExecutor(3) as pool:
        assert run_cells(helpers.cells(6), run, store, executor=pool).done == 6


def test_a_process_pool_of_the_caller(start, store, tmp_path, helpers):
    assert finish(*start(("own_pool", store.folder))) == ["8\n"]
    assert files(store) == uninterrupted(helpers, tmp_path, 8)


def test_a_failing_cell_is_reported_and_tried_again(store):
    broken = {2, 5, 7}

    def run(config):
        if config["seed"] in broken:
            raise {2: ValueError("a\n  b"), 5: InputError("rate: too high"), 7: ZeroDivisionError()}[config["seed"]]
        return {} if config["seed"] != 8 else {"x": {1}}

    cells, finished = [{"seed": seed} for seed in reversed(range(9))], []
    summary = run_cells(cells, run, store, on_done=lambda _, count, total: finished.append(count))
    assert not summary.complete
    assert (summary.done, [failure.config["seed"] for failure in summary.failed]) == (5, [8, 7, 5, 2])
    assert [failure.message for failure in summary.failed] == [
        "result['x']: expected None, a bool, a number, a string, a list or a mapping, got set",
        "ZeroDivisionError: ",
        "rate: too high",
        "ValueError: a b",
    ]
    assert finished == list(range(1, 10)), "failed ones included"
    assert len(store.keys()) == 5
    broken.clear()
    cells[0]["seed"] = 9
    assert run_cells(cells, run, store).done == 4
    assert len(list(store.folder.glob("*.claim"))) == 1, "of the cell that still has no record"


def test_a_run_that_changes_its_configuration_does_not_change_the_record(store):
    def run(config):
        config["layers"].append(config.pop("seed"))
        return {}

    run_cells([{"seed": 1, "layers": [2]}], run, store)
    assert next(store.records())["config"] == {"seed": 1, "layers": [2]}


def test_damaged_cells_are_computed_again_and_said(helpers, store, tmp_path):
    cells = helpers.cells(3)
    run_cells(cells, helpers.work, store)
    store.path(cell_key(cells[1])).write_bytes(b"")
    summary = run_cells(cells, helpers.work, store)
    assert (summary.done, summary.skipped) == (1, 2)
    assert "damaged cells count as missing (1, " in summary.remarks[0]
    assert files(store) == uninterrupted(helpers, tmp_path, 3)
    assert run_cells(cells, helpers.work, store).remarks == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"jobs": 0}, "jobs: expected an integer of at least 1, got 0"),
        ({"lease": 0}, "lease: expected a number in \\[0.1, 604800"),
        ({"cells": [{}, {"a": {"b": float("nan")}}]}, r"cells\[1\]\['a'\]\['b'\]: expected a finite number"),
        ({"jobs": 2}, "run: expected a function of a module, which worker processes can import, got <function"),
    ],
)
def test_bad_arguments(store, change, says):
    arguments = {"cells": [{}], "run": lambda config: {}} | change
    with pytest.raises(InputError, match=says):
        run_cells(arguments.pop("cells"), arguments.pop("run"), store, **arguments)
    assert os.listdir(store.folder) == []


@pytest.mark.parametrize("threads", [False, True])
def test_a_full_disk_stops_the_grid_and_keeps_what_was_recorded(helpers, store, monkeypatch, threads):
    real, writes = os.replace, iter(range(100))

    def replace(*paths):
        if next(writes) >= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*paths)

    monkeypatch.setattr(os, "replace", replace)
    pool = ThreadPoolExecutor(2) if threads else None
    with pytest.raises(DataError, match=f"{store.folder}: cannot write a cell .No space left on device"):
        run_cells(helpers.cells(9), helpers.work, store, executor=pool)
    if pool:
        pool.shutdown()
    monkeypatch.undo()
    assert len(store.keys()) == 4
    assert not list(store.folder.glob(".*"))
    assert run_cells(helpers.cells(9), helpers.work, store).done == 5


def test_a_killed_worker_is_said_and_the_grid_can_go_on(helpers, start, store, tmp_path):
    command = ("worker_dies", store.folder, tmp_path / "flag")
    (said,) = finish(*start(command))
    assert re.search(r"ended early .*; \d of 9 cells are recorded: run the same command again", said)
    assert str(store.folder) in said
    assert finish(*start(command)) == [""]
    assert files(store) == uninterrupted(helpers, tmp_path, 9)


def test_an_error_of_the_caller_ends_workers_at_once(helpers, start, store):
    began = time.monotonic()
    assert finish(*start(("caller_errs", store.folder))) == ["stopped\n"]
    assert time.monotonic() - began < 20
    assert not any(store.held(cell_key(config)) for config in helpers.cells(4, 60.0))


def test_an_error_of_the_caller_cancels_what_its_executor_has_not_begun(helpers, store, tmp_path):
    def stop(*_):
        raise ArithmeticError

    log = tmp_path / "log"
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError):
        run_cells(helpers.cells(8, 0.1), partial(helpers.work, log=log), store, executor=pool, jobs=4, on_done=stop)
    assert len(logged(log)) <= 3
    assert not any(store.held(cell_key(config)) for config in helpers.cells(8, 0.1))
