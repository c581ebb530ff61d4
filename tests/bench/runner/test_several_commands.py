import threading
from functools import partial

import pytest
from grids import files, finish, logged, uninterrupted

from graphnoise.bench.runner import cell_key, run_cells


@pytest.mark.parametrize("jobs", [[1, 1], [1, 1, 1], [2, 1]])
def test_commands_on_one_folder_share_the_grid(helpers, start, store, tmp_path, jobs):
    log, count, seconds = tmp_path / "log", 60, 0.05  # long enough for all to have started
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
    summary = run_cells(cells, partial(helpers.work, log=log), store)
    timer.join()
    assert (summary.done, summary.elsewhere) == (3, 1)
    assert summary.seconds >= 0.4
    assert logged(log) == [1, 2, 3]
    assert not abandoned.path.exists()
