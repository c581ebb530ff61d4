"""Grids of small cells, in this process and in commands of their own."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from grids import group_is_gone

from graphnoise.bench import runner

# What the commands and the workers of the tests do.
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
from graphnoise.bench.runner import Store, run_cells


def cells(count, seconds=0.0):
    return [{"seed": seed, "seconds": seconds} for seed in range(count)]


def note(log, text):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text} {os.getpid()}\\n".encode())
    os.close(descriptor)


def work(config, log=os.devnull):
    note(log, config["seed"])
    time.sleep(config["seconds"] * (1 + config["seed"] % 3))
    return {"value": config["seed"] ** 2 / 7}


def command(folder, jobs, count, seconds, log=os.devnull, lease=60.0):
    run = partial(work, log=log)
    try:
        run_cells(cells(count, seconds), run, Store(folder), jobs=jobs, lease=lease)
    except KeyboardInterrupt:
        sys.exit(130)


def die_once(config, flag):
    if config["seed"] == 5 and not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(config)


def kill_worker(config):
    if config["seed"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return work(config)


def worker_dies(folder, flag):
    try:
        run_cells(cells(9), partial(die_once, flag=flag), Store(folder), jobs=2)
    except DataError as error:
        print(error)


def caller_errs(folder):
    def stop(*_):
        raise ArithmeticError

    try:
        run_cells(cells(1) + cells(4, 60.0), work, Store(folder), jobs=2, on_done=stop)
    except ArithmeticError:
        print("stopped")


def own_pool(folder):
    with ProcessPoolExecutor(2) as pool:
        print(run_cells(cells(8), work, Store(folder), executor=pool).done)


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


@pytest.fixture(scope="session")
def helpers(tmp_path_factory):
    """A module that worker processes can import."""
    folder = tmp_path_factory.mktemp("helpers")
    package = str(Path(runner.__file__).parents[1])
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
