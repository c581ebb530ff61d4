import os
import random
import signal
import time
from pathlib import Path

import pytest
from grids import files, group_is_gone, logged, uninterrupted, wait_for

from graphnoise.bench.runner import cell_key, run_cells


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
    summary = run_cells(helpers.cells(count, seconds), helpers.work, store)
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
        run_cells(helpers.cells(2), run, store)
    assert [path.stat().st_mtime for path in store.folder.iterdir()] == [0]
    assert run_cells(helpers.cells(2), helpers.work, store).done == 2
