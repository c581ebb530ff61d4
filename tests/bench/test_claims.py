"""Claims: who may run a cell, in whatever order the processes take their steps."""

import itertools
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from graphnoise.bench import store as module
from graphnoise.bench.store import cell_key
from graphnoise.errors import InputError

CONFIG = {"method": "gcn", "rate": 0.25, "seed": 3}
KEY = cell_key(CONFIG)


def names(store):
    return sorted(os.listdir(store.folder))


def age(claim, seconds):
    """Set a claim back in the file system's time."""
    stamp = claim.path.stat().st_mtime - seconds
    os.utime(claim.path, (stamp, stamp))


def disown(claim, **owner):
    """Let a claim be another process's."""
    claim.path.write_text(json.dumps(json.loads(claim.path.read_text()) | owner))


def test_a_claim_excludes_until_it_is_given_back(store):
    claim = store.claim(KEY)
    assert store.held(KEY)
    assert store.claim(KEY) is None
    claim.release()
    assert not store.held(KEY)
    with store.claim(KEY) as second:
        assert second.number == 1
        assert store.claim(KEY) is None
        store.write(KEY, CONFIG, {})
    assert store.claim(KEY) is None, "a recorded cell cannot be claimed"
    assert names(store) == [store.path(KEY).name], "claims of a recorded cell are removed"


def test_a_claim_names_its_process(store):
    owner = json.loads(store.claim(KEY, lease=7).path.read_text())
    assert owner.keys() == {"machine", "pid", "started", "lease", "since"}
    assert (owner["pid"], owner["lease"]) == (os.getpid(), 7)


def test_a_claim_whose_file_is_gone_is_given_back_quietly(store):
    claim = store.claim(KEY)
    claim.path.unlink()
    claim.release()
    assert not store.held(KEY)


def test_a_lease_runs_out_only_without_renewal_whatever_the_clocks_of_machines(store, monkeypatch):
    claim = store.claim(KEY, lease=5)
    for offset in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda offset=offset: 1.8e9 + offset)
        monkeypatch.setattr(time, "time_ns", lambda offset=offset: int((1.8e9 + offset) * 1e9))
        assert store.held(KEY)
    age(claim, 4.9)
    assert store.claim(KEY, lease=0.1) is None, "the owner's lease counts, not the taker's"
    age(claim, 0.2)
    taken = store.claim(KEY)
    assert taken.number == 1
    assert store.claim(KEY) is None
    claim.release()
    assert store.held(KEY), "who lost a claim cannot give back its successor's"


def test_a_context_renews_its_claim(store):
    with store.claim(KEY, lease=0.4):
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            assert store.claim(KEY) is None
            time.sleep(0.01)


def test_a_beat_under_way_does_not_renew_what_is_given_back(store, monkeypatch):
    utime, began, go_on = os.utime, threading.Event(), threading.Event()

    def slow(path, *times):
        if not times:
            began.set()
            go_on.wait(10)
        utime(path, *times)

    monkeypatch.setattr(os, "utime", slow)
    claim = store.claim(KEY, lease=0.4)
    with claim:
        assert began.wait(10)
        threading.Timer(0.2, go_on.set).start()
    claim._heart.join()
    assert not store.held(KEY)


def test_a_dead_owner_of_this_machine_loses_its_claim_at_once(store):
    gone = os.posix_spawn("/bin/true", ["true"], {})
    while module._started(gone) is not None:  # until it has ended; as a zombie, it still has its number
        time.sleep(0.001)
    claim = store.claim(KEY)
    disown(claim, pid=gone)
    assert not store.held(KEY), "a zombie is dead"
    store.sweep()
    assert claim.path.stat().st_mtime == 0, "for other machines, which cannot know that it is dead"
    os.utime(claim.path)
    os.waitpid(gone, 0)
    assert not store.held(KEY)
    disown(claim, pid=gone, machine="another boot pid:[1]")
    assert store.held(KEY), "that number on another machine says nothing"
    disown(claim, pid=os.getpid(), machine=module._machine())
    store.sweep()
    assert store.held(KEY)
    disown(claim, started="1")
    assert not store.held(KEY), "the number is in use anew"


@pytest.mark.parametrize("text", ["", "{", '{"machine": "a b", "pid": 12'])
def test_a_claim_that_its_maker_did_not_finish_has_the_takers_lease(store, text):
    claim = store.claim(KEY)
    claim.path.write_text(text)
    age(claim, 3)
    assert store.claim(KEY, lease=5) is None
    assert store.claim(KEY, lease=2).number == 1


ODD = ["[1]", "{}", "null", '"text"', "[" * 100_000, '{"a":' * 90_000, " " * 5000 + "{}", '{"lease": [60]}']
LEASES = ["NaN", "Infinity", "-Infinity", "1e300", "1" + "0" * 400, "-1", "0", "null", '"x"', "true"]


@pytest.mark.parametrize("text", [*ODD, *(f'{{"lease": {lease}, "pid": 1, "machine": 5}}' for lease in LEASES)])
def test_a_claim_that_no_store_wrote_has_lapsed(store, text):
    claim = store.claim(KEY)
    claim.path.write_text(text)
    age(claim, 0.01)
    assert not store.held(KEY)
    store.sweep()
    assert store.claim(KEY).number == 1


@pytest.mark.parametrize("owner", [{"pid": 10**30}, {"pid": -1}, {"pid": 1.5}, {"started": []}, {"machine": {}}])
def test_odd_owners_have_their_lease(store, owner):
    claim = store.claim(KEY, lease=5)
    disown(claim, **({"machine": module._machine()} | owner))
    store.sweep()
    store.holder(KEY)
    age(claim, 6)
    assert not store.held(KEY)


@pytest.mark.parametrize("ahead", [61, 3600, 86400, 3e8])
def test_a_claim_from_the_future_has_lapsed(store, ahead):
    claim = store.claim(KEY, lease=60)
    age(claim, -ahead)
    assert not store.held(KEY)
    age(claim, ahead - 50)
    assert store.held(KEY), "clocks may step back a little"


def test_a_folder_in_place_of_a_claim_has_lapsed(store):
    store.claim_path(KEY, 0).mkdir()
    assert store.claim(KEY).number == 1
    store.sweep()


def test_the_holder_and_since_when(store):
    assert store.holder(KEY) is None
    began = time.time()
    claim = store.claim(KEY)
    machine, since = store.holder(KEY)
    assert machine == os.uname().nodename
    assert began <= since <= time.time()
    claim.path.write_text("{}")
    assert store.holder(KEY) == ("another machine", claim.path.stat().st_mtime_ns / 1e9)


def test_of_other_users_and_without_proc_only_the_lease_counts(store, monkeypatch):
    def kill(*_):
        raise PermissionError

    claim = store.claim(KEY, lease=5)
    disown(claim, started="1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", kill)
        assert store.held(KEY)
    monkeypatch.setattr(module, "_machine", lambda: None)
    disown(claim, pid=2**22 + 1)
    assert store.held(KEY)
    age(claim, 6)
    assert not store.held(KEY)


@pytest.mark.parametrize("lease", [0, 0.05, float("nan"), "1", True, 1e300])
def test_a_bad_lease_is_refused(store, lease):
    with pytest.raises(InputError, match="lease"):
        store.claim(KEY, lease)


# Interleavings: threads that yield before every file operation, in an order that the test chooses


class Stage:
    """Runs actors one step at a time; a step ends before the next file operation."""

    def __init__(self, patch):
        self.turns = {}
        self.idle = threading.Semaphore(0)
        calls = [(os, name) for name in ("open", "stat", "utime", "unlink", "replace", "write")]
        for owner, name in [*calls, (Path, "open"), (Path, "read_bytes")]:
            patch.setattr(owner, name, self.stepped(getattr(owner, name)))

    def stepped(self, real):
        def call(*args, **kwargs):
            self.step()
            return real(*args, **kwargs)

        return call

    def step(self):
        turn = self.turns.get(threading.current_thread())
        if turn is not None:
            self.idle.release()
            turn.acquire()

    def play(self, actors, schedule):
        """Run the actors; `schedule` yields the place of the next one. Returns the number of steps of each."""
        errors, threads = [], []

        def live(actor):
            self.step()
            try:
                actor()
            except BaseException as error:
                errors.append(error)
            finally:
                alive.remove(threading.current_thread())
                self.idle.release()

        for actor in actors:
            thread = threading.Thread(target=live, args=(actor,))
            self.turns[thread] = threading.Semaphore(0)
            threads.append(thread)
        alive = list(threads)
        for thread in threads:
            thread.start()
            self.idle.acquire()
        steps = [0] * len(actors)
        for place in schedule:
            if threads[place] in alive:
                steps[place] += 1
                self.turns[threads[place]].release()
                self.idle.acquire()
            if not alive:
                break
        for thread in threads:
            thread.join()
            del self.turns[thread]
        if errors:
            raise errors[0]
        return steps


class Cell:
    """A cell with actors that claim it; it fails when two are inside at once, or one is after it was recorded."""

    def __init__(self, store, seed, lapsed):
        self.store, self.config = store, {"seed": seed}
        self.key, self.inside, self.entries = cell_key(self.config), 0, 0
        for _ in range(lapsed):
            store.claim(self.key).release()

    def actor(self, works, stage):
        def act():
            claim = self.store.claim(self.key)
            if claim is None:
                return
            assert self.inside == 0, "two run the cell"
            assert not self.store.path(self.key).exists(), "the cell is run again"
            self.inside += 1
            self.entries += 1
            stage.step()
            if works:
                self.store.write(self.key, self.config, {})
            self.inside -= 1
            claim.release()

        return act


def bursts(lengths):
    """Each actor in turn for as many steps as given, then all to their ends."""
    for place, length in enumerate(lengths):
        yield from itertools.repeat(place, length)
    for place in range(len(lengths)):
        yield from itertools.repeat(place, 100)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("lapsed", [0, 1])
@pytest.mark.parametrize("works", [(True, True), (False, True), (False, False)])
def test_two_takers_preempted_at_any_two_steps(store, quick, works, lapsed):
    with pytest.MonkeyPatch.context() as patch:
        stage, entries = Stage(patch), set()
        alone = Cell(store, "alone", lapsed)
        (steps,) = stage.play([alone.actor(True, stage)], bursts([0]))
        for number, (i, j) in enumerate(itertools.product(range(steps + 1), range(0, steps + 1, 2))):
            cell = Cell(store, number, lapsed)
            stage.play([cell.actor(work, stage) for work in works], bursts([i, j]))
            entries.add(cell.entries)
            assert not store.held(cell.key)
            assert (store.read(cell.key) is not None) == any(works) or cell.entries == 1
    assert entries == {1} if works[0] else {1, 2}


@pytest.mark.parametrize("works", [(True, False, True), (False, False, False)])
def test_a_taker_is_slow_while_a_second_fails_and_a_third_claims(store, quick, works):
    """The ABA case: what the first saw is over when it acts, though the cell looks as it did."""
    with pytest.MonkeyPatch.context() as patch:
        stage, entries = Stage(patch), []
        for number, (i, j) in enumerate(itertools.product(range(20), range(0, 20, 2))):
            cell = Cell(store, number, lapsed=1)
            stage.play([cell.actor(work, stage) for work in works], bursts([i, 100, j]))
            entries.append(cell.entries)
    assert entries.count(2) > 25, "the first must be late in many of these"


def test_three_takers_in_random_orders(store, quick):
    random_ = random.Random(0)
    with pytest.MonkeyPatch.context() as patch:
        stage, entries = Stage(patch), set()
        for number in range(300):
            cell = Cell(store, number, lapsed=random_.randrange(3))
            works = random_.choice([(False, False, True), (True, False, False), (False, False, False)])
            places = random_.choices(range(3), k=60)
            order = itertools.chain.from_iterable([place] * random_.randint(1, 12) for place in places)
            actors = [cell.actor(work, stage) for work in works]
            stage.play(actors, itertools.chain(order, bursts([0, 0, 0])))
            entries.add(cell.entries)
    assert {1, 2, 3} <= entries, "the orders must reach takeovers of takeovers"
