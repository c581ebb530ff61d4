"""Rounds, ratios and limits, mostly by a clock that only moves when it is told to."""

import gc
import time

import pytest
import torch
from speeds import SMALL, Ticking, call

from graphnoise.bench.speed import measure, peers

pytestmark = pytest.mark.usefixtures("_brief")


def test_rounds_and_ratios_on_a_fake_clock():
    clock = Ticking()
    fast = measure.Contender("fast", clock.task(1e-3), 10, 1)
    slow = measure.Contender("slow", clock.task(0.5), 10, 1)
    for contender in (fast, slow):
        contender.warm(clock, 0.02)
    assert (fast.steps, fast.calls) == (10, 2)
    assert (slow.steps, slow.calls) == (1, 1)
    times = measure.interleave([fast, slow], 5, 0, clock)
    assert times["fast"] == pytest.approx([1e-3] * 5)
    assert measure.ratio(times["slow"], times["fast"]).median == pytest.approx(500)


def test_what_runs_before_a_call_is_not_measured():
    clock = Ticking()
    contender = measure.Contender("x", clock.task(1e-3), 1, 1, before=lambda: clock.task(7)(1))
    contender.warm(clock, 0.01)
    assert contender.sample(clock) == pytest.approx(1e-3)


def test_the_fastest_variant_is_found():
    clock = Ticking()
    tasks = {name: measure.Contender(name, clock.task(t), 5, 1) for name, t in (("a", 3e-3), ("b", 2e-3), ("c", 0.4))}
    assert measure.fastest(tasks, clock) == "b"
    assert measure.fastest({"c": tasks["c"]}, clock) == "c"
    assert tasks["c"].seconds == pytest.approx(0.4)  # warm, so that a limit can hold for it


def test_a_peer_beyond_the_limit_is_left_out(monkeypatch, tmp_path, capfd):
    right = peers.PEERS["scipy"].make

    def sleepy(problem):
        run = right(problem)["int32"]
        return {"int32": lambda steps: (time.sleep(0.02), run(steps))[1]}

    monkeypatch.setitem(peers.PEERS, "scipy", peers.Peer(sleepy))
    code, out, err = call(capfd, *SMALL, "--limit", "0.03", "--peers", "scipy", "--out", tmp_path / "s.json")
    assert code == 0, err
    assert "left out in 1 of 1 cases: scipy: takes longer than --limit 0.03 allows" in out


def test_every_round_has_every_contender_in_changing_order():
    order = []
    contenders = [measure.Contender(n, lambda steps, n=n: order.append(n), 1, 1) for n in "abc"]
    measure.interleave(contenders, 8, 0)
    rounds = [tuple(order[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(r) == list("abc") for r in rounds)
    assert len(set(rounds)) > 1


def test_quiet_gives_threads_back():
    before = torch.get_num_threads()
    with measure.quiet():
        torch.set_num_threads(before + 1)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert torch.get_num_threads() == before
