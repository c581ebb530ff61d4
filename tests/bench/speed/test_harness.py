"""Rounds, ratios and limits, by a clock that only the test moves."""

import gc

import pytest
import torch

from graphnoise.bench.speed import harness
from graphnoise.bench.speed.harness import TimedRun


@pytest.fixture
def task(monkeypatch):
    """Return runs that take so many seconds per step."""
    now = [0.0]
    monkeypatch.setattr(harness, "timer", lambda: now[0])

    def make(seconds):
        def run(steps):
            now[0] += seconds * steps

        return run

    return make


def test_rounds_and_ratios(task):
    fast, slow = TimedRun("fast", task(1e-3), 10, min_sample=0.02), TimedRun("slow", task(2.0), 10, min_sample=0.02)
    times = harness.interleave([fast, slow], 5, 0)
    assert (fast.steps, fast.calls) == (10, 2)
    assert (slow.steps, slow.calls) == (1, 1)
    assert times["fast"]["samples"] == pytest.approx([1e-3] * 5)
    harness.compare(times, "fast", times)
    assert times["slow"]["ratio"]["median"] == pytest.approx(2000)
    assert "ratio" not in times["fast"]


def test_an_epoch_that_is_long_for_a_call_fills_a_sample(task):
    epochs = TimedRun("epochs", task(0.25), min_sample=1.0)
    epochs.warm()
    assert (epochs.steps, epochs.calls, epochs.sample()) == (1, 4, pytest.approx(0.25))


def test_a_run_may_measure_its_own_time(task):
    whole = task(7)
    assert TimedRun("x", lambda steps: (whole(steps), 0.25)[1], calls=3, self_timed=True).sample() == 0.25


def test_the_fastest_variant_is_found(task):
    tasks = {name: TimedRun(name, task(t), 5) for name, t in (("a", 3e-3), ("b", 2e-3), ("c", 1.4))}
    assert harness.fastest(tasks) == "b"
    assert harness.fastest({"c": tasks["c"]}) == "c"
    # It is warm, so that a limit can hold for it.
    assert tasks["c"].seconds == pytest.approx(1.4)


def test_a_baseline_is_its_fastest_variant_and_the_record_says_why_there_is_none(task):
    record = {"notes": {}, "failures": []}

    def reason(error):
        def make():
            raise error

        assert harness.baseline("x", make, record) == []
        return record["notes"]["x"]

    variants = {name: TimedRun("x", task(seconds)) for name, seconds in (("a", 3e-3), ("b", 2e-3))}
    assert harness.baseline("x", lambda: variants, record) == [variants["b"]]
    assert record["notes"]["x"] == "the fastest variant is shown, b"
    assert harness.baseline("x", lambda: variants, record, 1e-3) == []
    assert record["notes"]["x"] == "left out: takes longer than the limit allows"
    assert reason(harness.NotMeasurableError("is not installed")) == "left out: is not installed"
    assert reason(RuntimeError("no\nmemory")) == "left out: raises RuntimeError (no)"
    assert record["failures"] == []
    assert reason(harness.VerificationError("x: expected 1, got 2")) == "left out: gives another result"
    assert record["failures"] == ["x: expected 1, got 2"]


def test_every_round_has_every_run_in_changing_order():
    order = []
    runs = [TimedRun(n, lambda steps, n=n: order.append(n), seconds=1.0) for n in "abc"]
    harness.interleave(runs, 8, 0)
    rounds = [tuple(order[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(r) == list("abc") for r in rounds)
    assert len(set(rounds)) > 1


def test_the_collector_and_the_threads_are_restored():
    before = torch.get_num_threads()
    with harness.no_gc():
        harness.set_threads(before + 1)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert torch.get_num_threads() == before
