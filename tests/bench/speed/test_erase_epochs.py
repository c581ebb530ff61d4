"""Epochs, their stages and their memory."""

from dataclasses import replace

import numpy as np
import pytest
from speeds import CASE, TINY, Ticking, call, held

from graphnoise.bench.speed import erase_cases, erase_epochs, erase_gate, erase_memory
from graphnoise.bench.speed.erase_stages import STAGES, Watch, watched
from graphnoise.erase import train
from graphnoise.erase.settings import settings

pytestmark = pytest.mark.usefixtures("_brief_erase")


@pytest.mark.usefixtures("_checked")
def test_long_epochs_of_mini_batches_are_extrapolated(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(erase_epochs.Ours.__init__, "__defaults__", (4,))
    code, out, err = call(capfd, "erase", *TINY, "--batch-size", "7", "--rounds", "1", "--out", tmp_path / "e.json")
    assert (code, err) == (0, "")
    assert "mini-batches of 7" in out
    assert "extrapolated: 4 of the 8 mini-batches of an epoch were timed" in out
    assert "left out: the dense form has no mini-batches" in out
    (record,) = held(tmp_path / "e.json")
    assert record["batches"] == {"timed": 4, "of": 8}
    assert sum(record["stages"].values()) == pytest.approx(np.mean(record["times"]["ours"]["samples"]))
    assert {"sampling", "probe", "optimiser", "coding rate, gradient"} <= set(record["stages"])


def test_extrapolation_scales_the_batches_and_not_what_is_done_once():
    case = replace(CASE, overrides=(*CASE.overrides, ("batch_size", 7)))
    ours = erase_epochs.Ours(case, erase_cases.build(case), 2)
    clock = Ticking()
    ours.watch = Watch(clock)
    clock.cost(ours.training, "embed", 5.0)
    clock.cost(ours.training, "_step", 1.0)
    clock.cost(ours.training, "_fit_best", 3.0)
    epoch = ours.epoch()  # embeddings of all once, eight batches, a probe (which embeds again)
    assert (epoch.timed, epoch.batches) == (2, 8)
    assert epoch.seconds == pytest.approx(5 + 8 * 1 + 3 + 5)
    assert epoch.stages["probe"] == pytest.approx(8)
    whole = erase_epochs.Ours(case, erase_cases.build(case), 8)
    assert (whole.epoch().timed, len(whole.training.history["loss"])) == (8, 1)


def test_stages_cover_the_epoch_and_leave_no_hook_behind():
    training = erase_gate.training(erase_gate.planted(), settings("faithful-cora", {"hidden": 16, "width": 12}))
    before = dict(vars(train)), set(vars(training))
    with watched(training, Watch()) as watch:
        for _ in range(10):  # the rank is looked at in every tenth
            training.epoch()
        found = watch.take()
    assert list(found) == [stage for stage in STAGES if stage != "sampling"]
    assert all(seconds > 0 for seconds in found.values())
    assert sum(found.values()) >= sum(training.history["seconds"]) * 0.99
    training.epoch()
    assert set(watch.take()) == {"rest"}
    assert (dict(vars(train)), set(vars(training))) == before


def test_a_stage_takes_the_time_of_the_one_around_it_but_the_probe_keeps_its_own():
    clock = Ticking()
    watch = Watch(clock)
    for stage, seconds in (("fusion", 1.0), ("propagation", 2.0)):
        watch.enter(stage)
        clock.now += seconds
    watch.leave()
    clock.now += 0.5
    watch.leave()
    watch.turn("optimiser")
    clock.now += 4
    watch.enter("probe")
    watch.enter("encoder")
    clock.now += 8
    watch.leave()
    watch.leave()
    assert watch.take() == {"fusion": 1.5, "propagation": 2.0, "optimiser": 4.0, "probe": 8.0, "rest": 0.0}


def test_peak_memory_is_that_of_a_process_of_its_own(monkeypatch):
    monkeypatch.undo()
    wide = erase_cases.Case("synthetic", 2_000, 8_000, 500, 4, "faithful-cora", (("hidden", 16), ("width", 12)))
    found = erase_memory.peak(wide)
    assert found["data"] > 2_000 * 500 * 4 / 2
    assert found["peak"] > 2 * 2_000 * 500 * 4  # the features, and those that dropout has left
    assert found["peak"] < 300e6


def test_a_process_that_fails_is_told(monkeypatch, tmp_path, capfd):
    monkeypatch.undo()
    monkeypatch.setattr(erase_gate, "check", lambda s: ({"float64": 1e-9}, None))
    monkeypatch.setattr(erase_memory.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'Killed: no memory' >&2\nexit 9\n")
    (tmp_path / "python").chmod(0o755)
    code, out, _ = call(capfd, "erase", *TINY, "--no-dense", "--rounds", "1", "--out", tmp_path / "e.json")
    assert code == 0
    assert "memory of ours is not known: Killed: no memory" in out
