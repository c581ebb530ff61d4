import errno
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from graphnoise import experiment
from graphnoise.errors import DataError, InputError
from graphnoise.experiment import Store, cell_key, run_grid

HELPERS = """
import json, os, signal, sys, time, types

if "graphnoise" not in sys.modules:  # in a process of its own: spare it imports that take seconds and are not needed
    sys.modules["graphnoise"] = types.ModuleType("graphnoise")
    sys.modules["graphnoise"].__path__ = [PACKAGE]
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].Tensor = object

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from graphnoise.errors import DataError
from graphnoise.experiment import Store, run_grid


def cells(count, seconds=0.0):
    return [{"seed": seed, "seconds": seconds} for seed in range(count)]


def note(log, text):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text} {os.getpid()}\\n".encode())
    os.close(descriptor)


def work(config, log=os.devnull):
    note(log, config["seed"])
    time.sleep(config["seconds"] * (1 + config["seed"] % 3))
    return {"value": config["seed"] ** 2 / 7, "threads": os.environ.get("GRID_THREADS")}


def set_threads():
    os.environ["GRID_THREADS"] = "2"


def command(folder, jobs, count, seconds, log=os.devnull, lease=60.0):
    run = partial(work, log=log)
    try:
        run_grid(cells(count, seconds), run, Store(folder), jobs=jobs, lease=lease)
    except KeyboardInterrupt:
        sys.exit(130)


def die_once(config, flag):
    if config["seed"] == 5 and not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(config)


def worker_dies(folder, flag):
    try:
        run_grid(cells(9), partial(die_once, flag=flag), Store(folder), jobs=2)
    except DataError as error:
        print(error)


def caller_errs(folder):
    def stop(_):
        raise ArithmeticError

    try:
        run_grid(cells(1) + cells(4, 60.0), work, Store(folder), jobs=2, on_done=stop)
    except ArithmeticError:
        print("stopped")


def own_pool(folder):
    with ProcessPoolExecutor(2) as pool:
        print(run_grid(cells(8), work, Store(folder), executor=pool).done)


def hammer(folder, keys, log, takers):
    store = Store(folder)
    for key in keys:
        if store.claim(key) is not None:
            note(log, key)
    note(log + ".done", "done")
    while len(open(log + ".done").readlines()) < takers:  # the claims of a process that has ended are free to take
        time.sleep(0.01)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # under a shell's background job, it is ignored
    name, arguments = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    globals()[name](*json.loads(arguments))
"""


@pytest.fixture(scope="module")
def helpers(tmp_path_factory):
    """A module that worker processes can import."""
    folder = tmp_path_factory.mktemp("helpers")
    package = str(Path(experiment.__file__).parent)
    (folder / "grid_helpers.py").write_text(HELPERS.replace("PACKAGE", repr(package)))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("grid_helpers")


@pytest.fixture
def start(helpers):
    """Starts a function of the helpers as a command in a session of its own, as a terminal would."""
    processes = []

    def start_one(name, *arguments):
        process = subprocess.Popen(
            [sys.executable, helpers.__file__, name, json.dumps(arguments, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        processes.append(process)
        return process

    def start_all(*commands):
        """Start them and let them go together, once all are ready."""
        started = [start_one(*command) for command in commands]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        return started

    yield start_all
    for process in processes:
        if not group_is_gone(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def finish(*processes):
    """Wait for commands that must end well and say nothing on the error stream; return what they said."""
    ends = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(err, code) for _, err, code in ends] == [("", 0)] * len(ends)
    return [out for out, _, _ in ends]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


def files(store):
    return {path.name: path.read_bytes() for path in store.folder.glob("*.json")}


def uninterrupted(helpers, tmp_path, count, seconds=0.0):
    store = Store(tmp_path / "uninterrupted")
    cells = helpers.cells(count, seconds)
    for config in cells:
        store.write(cell_key(config), config, helpers.work({**config, "seconds": 0}))
    return files(store)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def logged(log):
    return sorted(int(line.split()[0]) for line in log.read_text().splitlines())


# One command


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
def test_every_cell_is_run_once_and_skipped_afterwards(helpers, store, tmp_path, executor):
    log, seen = tmp_path / "log", []
    pool = executor and executor(3)
    cells = helpers.cells(12, 0.002)
    run = partial(helpers.work, log=log)
    first = run_grid([*cells[:5], *cells[:2]], run, store, executor=pool)
    assert (first.total, first.done, first.skipped, first.elsewhere, first.failed) == (5, 5, 0, 0, ())
    second = run_grid(cells, run, store, executor=pool, on_done=seen.append)
    assert (second.total, second.done, second.skipped, second.complete) == (12, 7, 5, True)
    assert [progress.finished for progress in seen] == list(range(6, 13))
    assert sorted(progress.config["seed"] for progress in seen) == list(range(5, 12))
    assert seen[-1].seconds <= second.seconds
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
        assert run_grid(helpers.cells(6), run, store, executor=pool).done == 6


def test_a_process_pool_of_the_caller(start, store, tmp_path, helpers):
    assert finish(*start(("own_pool", store.folder))) == ["8\n"]
    assert files(store) == uninterrupted(helpers, tmp_path, 8)


def test_spawned_workers_run_the_initializer_first(helpers, store):
    summary = run_grid(helpers.cells(4), helpers.work, store, jobs=2, initializer=helpers.set_threads)
    assert summary.done == 4
    assert {record["result"]["threads"] for record in store.records()} == {"2"}
    assert os.environ.get("GRID_THREADS") is None


def test_a_failing_cell_is_reported_and_tried_again(store):
    broken = {2, 5, 7}

    def run(config):
        if config["seed"] in broken:
            raise {2: ValueError("a\n  b"), 5: InputError("rate: too high"), 7: ZeroDivisionError()}[config["seed"]]
        return {} if config["seed"] != 8 else {"x": {1}}

    cells, seen = [{"seed": seed} for seed in reversed(range(9))], []
    summary = run_grid(cells, run, store, on_done=seen.append)
    assert not summary.complete
    assert (summary.done, [failure.config["seed"] for failure in summary.failed]) == (5, [8, 7, 5, 2])
    assert [failure.message for failure in summary.failed] == [
        "result['x']: expected None, a bool, a number, a string, a list or a mapping, got set",
        "ZeroDivisionError: ",
        "rate: too high",
        "ValueError: a b",
    ]
    assert [progress.error for progress in seen if progress.error] == [failure.message for failure in summary.failed]
    assert len(store.keys()) == 5
    broken.clear()
    cells[0]["seed"] = 9
    assert run_grid(cells, run, store).done == 4
    assert len(list(store.folder.glob("*.claim"))) == 1, "of the cell that still has no record"


def test_a_run_that_changes_its_configuration_does_not_change_the_record(store):
    def run(config):
        config["layers"].append(config.pop("seed"))
        return {}

    run_grid([{"seed": 1, "layers": [2]}], run, store)
    assert next(store.records())["config"] == {"seed": 1, "layers": [2]}


def test_damaged_cells_are_computed_again_and_said(helpers, store, tmp_path):
    cells = helpers.cells(3)
    run_grid(cells, helpers.work, store)
    store.path(cell_key(cells[1])).write_bytes(b"")
    summary = run_grid(cells, helpers.work, store)
    assert (summary.done, summary.skipped) == (1, 2)
    assert "damaged cells count as missing (1, " in summary.remarks[0]
    assert files(store) == uninterrupted(helpers, tmp_path, 3)
    assert run_grid(cells, helpers.work, store).remarks == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"jobs": 0}, "jobs: expected an integer of at least 1, got 0"),
        ({"lease": 0}, "lease: expected a number of at least 0.1"),
        ({"cells": [{}, {"a": {"b": float("nan")}}]}, r"cells\[1\]\['a'\]\['b'\]: expected a finite number"),
        (
            {"jobs": 2},
            "run: expected a function of a module, which worker processes can import, got <function",
        ),
        (
            {"jobs": 2, "run": len, "initializer": lambda: None},
            "initializer: expected a function of a module",
        ),
    ],
)
def test_bad_arguments(store, change, says):
    arguments = {"cells": [{}], "run": lambda config: {}} | change
    with pytest.raises(InputError, match=says):
        run_grid(arguments.pop("cells"), arguments.pop("run"), store, **arguments)
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
        run_grid(helpers.cells(9), helpers.work, store, executor=pool)
    if pool:
        pool.shutdown()
    monkeypatch.undo()
    assert len(store.keys()) == 4
    assert not list(store.folder.glob(".*"))
    assert run_grid(helpers.cells(9), helpers.work, store).done == 5


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
    def stop(_):
        raise ArithmeticError

    log = tmp_path / "log"
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError):
        run_grid(helpers.cells(8, 0.1), partial(helpers.work, log=log), store, executor=pool, jobs=4, on_done=stop)
    assert len(logged(log)) <= 3
    assert not any(store.held(cell_key(config)) for config in helpers.cells(8, 0.1))


# Several commands


@pytest.mark.parametrize("jobs", [[1, 1], [1, 1, 1], [2, 1]])
def test_commands_on_one_folder_share_the_grid(helpers, start, store, tmp_path, jobs):
    log, count, seconds = tmp_path / "log", 60, 0.01
    for process in start(*(("command", store.folder, number, count, seconds, log) for number in jobs)):
        finish(process)
        assert len(files(store)) == count, "each ends only when the whole grid is recorded"
    assert logged(log) == list(range(count))
    assert len({line.split()[1] for line in log.read_text().splitlines()}) >= len(jobs), "all take part"
    assert files(store) == uninterrupted(helpers, tmp_path, count, seconds)
    assert not list(store.folder.glob("*.claim"))


def test_a_cell_slower_than_its_lease_is_not_stolen(start, store, tmp_path):
    log = tmp_path / "log"
    finish(*start(*[("command", store.folder, 1, 2, 0.7, log, 0.2)] * 2))
    assert logged(log) == [0, 1]


def test_takers_of_lapsed_claims_have_one_winner_a_round(start, store, tmp_path):
    keys, log = [cell_key({"round": number}) for number in range(400)], tmp_path / "log"
    for place, key in enumerate(keys):
        for _ in range(place % 3):
            store.claim(key).release()
    finish(*start(*[("hammer", store.folder, keys, log, 6)] * 6))
    winners = [line.split() for line in log.read_text().splitlines()]
    assert sorted(key for key, _ in winners) == sorted(keys)
    assert len({pid for _, pid in winners}) > 1, "the takers must compete"


def test_what_others_hold_is_awaited_or_taken_over(helpers, store, tmp_path):
    cells, log = helpers.cells(4), tmp_path / "log"
    keys = [cell_key(config) for config in cells]
    alive = store.claim(keys[0])
    abandoned = store.claim(keys[1], lease=0.5)

    def finish():
        store.write(keys[0], cells[0], helpers.work(cells[0]))
        alive.release()

    timer = threading.Timer(0.3, finish)
    timer.start()
    summary = run_grid(cells, partial(helpers.work, log=log), store)
    timer.join()
    assert (summary.done, summary.elsewhere) == (3, 1)
    assert summary.seconds >= 0.4
    assert logged(log) == [1, 2, 3]
    assert not abandoned.path.exists()


# Interruptions


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_moment_and_resumed(helpers, start, store, tmp_path, seed):
    chance, count, seconds = random.Random(seed), 24, 0.004
    jobs, recorded = 1 + seed % 2, chance.randrange(20)
    (process,) = start(("command", store.folder, jobs, count, seconds))
    wait_for(lambda: len(files(store)) >= recorded)
    time.sleep(chance.uniform(0, 0.02))
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    expected = uninterrupted(helpers, tmp_path, count, seconds)
    before = files(store)
    assert before.items() <= expected.items()
    assert len(before) >= recorded
    summary = run_grid(helpers.cells(count, seconds), helpers.work, store)
    assert summary.skipped + summary.done + summary.elsewhere == count
    assert summary.seconds < 30, "claims of the dead are taken over long before their lease ends"
    assert files(store) == expected
    assert not list(store.folder.glob("*.claim"))


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(("jobs", "recorded"), [(1, 1), (1, 3), (2, 3)])
def test_ctrl_c_ends_promptly_and_quietly(helpers, start, store, tmp_path, jobs, recorded):
    log, cells = tmp_path / "log", helpers.cells(40, 0.1)
    (process,) = start(("command", store.folder, jobs, 40, 0.1, log))
    wait_for(lambda: len(files(store)) >= recorded)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    assert time.monotonic() - began < 5
    wait_for(lambda: group_is_gone(process.pid))
    begun = set(logged(log)) if log.exists() else set()
    assert len(files(store)) <= len(begun) <= len(files(store)) + jobs
    assert {path.stat().st_mtime for path in store.folder.glob("*.claim")} <= {0}, "claims are given back"
    assert not any(store.held(cell_key(config)) for config in cells)
    assert store.damaged() == []


@pytest.mark.parametrize("delay", [0, 0.004, 0.008, 0.016, 0.03])
def test_ctrl_c_while_workers_start_is_quiet_too(start, store, delay):
    (process,) = start(("command", store.folder, 2, 40, 0.1))
    wait_for(lambda: children(process.pid))
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    wait_for(lambda: group_is_gone(process.pid))


def test_workers_end_with_a_command_that_is_killed(helpers, start, store):
    (process,) = start(("command", store.folder, 2, 40, 60.0))
    wait_for(lambda: len(list(store.folder.glob("*.claim"))) == 2)
    process.kill()
    process.wait()
    wait_for(lambda: group_is_gone(process.pid))
    assert not any(store.held(cell_key(config)) for config in helpers.cells(40, 60.0))


def test_an_interruption_without_workers_gives_the_claim_back(helpers, store):
    def run(config):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(helpers.cells(2), run, store)
    assert [path.stat().st_mtime for path in store.folder.iterdir()] == [0]
    assert run_grid(helpers.cells(2), helpers.work, store).done == 2
