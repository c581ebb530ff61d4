import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from graphnoise import cli, coding
from graphnoise.bench.speed import erase_cases, erase_epochs, erase_gate, erase_memory, erase_records, erase_run
from graphnoise.bench.speed.erase_report import exponent, size
from graphnoise.bench.speed.erase_stages import STAGES, Watch, watched
from graphnoise.bench.speed.gate import GateError
from graphnoise.datasets import save_npz
from graphnoise.erase import train
from graphnoise.erase.settings import PRESETS, settings
from graphnoise.errors import DataError, InputError

TINY = ["--nodes", "60", "--arcs", "240", "--features", "8", "--classes", "3", "--threads", "1"]
TINY += ["--set", "hidden=16", "--set", "width=12", "--rounds", "2"]
CASE = erase_cases.Case("synthetic", 60, 240, 8, 3, "faithful-cora", (("hidden", 16), ("width", 12)))
PEAK = {"imports": 500_000_000, "data": 1_000, "peak": 151_000_000, "of": "cell"}


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Rounds of no length, and no processes: what is tested here is everything but the numbers."""
    monkeypatch.setattr(erase_run, "ROUND", 1e-6)
    monkeypatch.setattr(erase_memory, "peak", lambda case, dense, root: dict(PEAK))


@pytest.fixture
def _checked(monkeypatch):
    """The gate has a test of its own."""
    monkeypatch.setattr(erase_gate, "check", lambda s: ({"float64": 1e-9}, None))


@pytest.fixture(scope="module")
def measured():
    """A record."""
    return erase_run.measure(CASE, erase_run.Protocol(False, 1, False), {"float64": 1e-9})


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "speed", *[str(word) for word in words]])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def held(path):
    return json.loads(path.read_text())["records"]


def test_record_carries_what_a_reader_needs_and_show_prints_it(tmp_path, capfd):
    path = tmp_path / "e.json"
    code, out, err = call(capfd, "erase", *TINY, "--out", path)
    assert (code, err) == (0, "")
    assert "60 nodes, 240 arcs, 8 features, 3 classes, faithful-cora, gat 16/12, full batch, float32, 1 thread" in out
    assert re.search(r"^dense .+ 151 MB +2$", out, re.M)
    assert re.search(r"1 case in .+e.json \(checked: gap to the dense form \de-\d+\)", out)
    (record,) = held(path)
    assert record["environment"]["versions"]["torch"] == torch.__version__
    assert {"processor", "commit", "machine"} <= set(record["environment"])
    assert set(record["gaps"]) == {"float64", "float32", "one mini-batch"}
    times = record["times"]
    assert (len(times["ours"]["samples"]), len(times["dense"]["samples"])) == (2, 2)
    each = [a / b for a, b in zip(times["dense"]["samples"], times["ours"]["samples"], strict=True)]
    assert times["dense"]["ratio"]["median"] == pytest.approx(np.median(each))
    assert sum(record["stages"].values()) == pytest.approx(np.mean(times["ours"]["samples"]), rel=0.05)
    assert record["memory"]["ours"]["peak"] == PEAK["peak"]
    shown = call(capfd, "show", path)
    assert shown[0] == 0
    assert out.splitlines()[:-1] == shown[1].splitlines()[: len(out.splitlines()) - 1]


@pytest.mark.usefixtures("_checked")
def test_the_same_case_is_replaced_and_another_added(tmp_path, capfd):
    path = tmp_path / "e.json"
    words = ["erase", *TINY, "--no-dense", "--no-memory", "--out", path]
    for extra, count in (([], 1), ([], 1), (["--seed", "1"], 2)):
        assert call(capfd, *words, *extra)[0] == 0
        assert len(held(path)) == count
    assert all("dense" not in record["times"] and not record["memory"] for record in held(path))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_gate(preset):
    gaps, _ = erase_gate.check(settings(preset, {"hidden": 16, "width": 12}))
    assert max(gaps.values()) < 1e-3


def test_settings_without_a_dense_form_are_checked_where_they_have_one():
    small = {"hidden": 16, "width": 12, "encoder": "gcn", "components": 4}
    gaps, remark = erase_gate.check(settings("faithful-pubmed", small))
    assert gaps
    assert remark == "checked with encoder=gat, heads=1, components=None, as the dense form has it"


def wrong_rates(z, labels, num_classes=None, **options):
    whole, within = coding.coding_rates(z, labels, num_classes, **options)
    return coding.CodingRates(whole * 1.001, within)


def other_labels(self, z):
    return (pseudo_labels(self, z) + 1) % 3


pseudo_labels = train.Training.pseudo_labels


def crash(*_, **__):
    raise RuntimeError("no\nmemory")


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "message"),
    [
        (train, "coding_rates", wrong_rates, r"ours \(float64\): expected loss of epoch 1 within"),
        (train.Training, "pseudo_labels", other_labels, r"ours \(float64\): expected the labels of the dense form"),
        (train, "fuse", crash, r"ours \(float64\): raises RuntimeError \(no\)"),
    ],
)
def test_no_time_is_printed_where_the_gate_fails(owner, name, wrong, message, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(owner, name, wrong)
    code, out, err = call(capfd, "erase", *TINY, "--out", tmp_path / "e.json")
    assert (code, out) == (1, "")
    assert re.match(f"graphnoise: failed: {message}", err), err
    assert err.endswith("graphnoise: error: 1 check failed, so nothing was timed\n")
    assert not list(tmp_path.iterdir())


def test_the_gate_sees_a_probe_that_differs(monkeypatch):
    monkeypatch.setattr(erase_gate.Dense, "probe", lambda self: torch.zeros(len(self.x), dtype=torch.long))
    with pytest.raises(GateError, match="the predictions of the dense form's probe"):
        erase_gate.check(settings("faithful-cora", {"hidden": 16, "width": 12}))


def test_a_gap_is_relative_and_nan_is_infinite():
    assert erase_gate.gap(torch.tensor([1.0, 90.0]), torch.tensor([0.0, 100.0])) == pytest.approx(0.1)
    assert erase_gate.gap(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    assert erase_gate.gap(torch.ones(2), torch.ones(1)) == float("inf")


@pytest.mark.usefixtures("_checked")
def test_the_dense_form_is_refused_beyond_half_of_the_memory(monkeypatch, tmp_path, capfd):
    need = 3 * 60 * 60 * 4
    words = ["erase", *TINY, "--no-memory", "--out", tmp_path / "e.json"]
    monkeypatch.setattr(erase_run, "free", lambda device: 2 * need - 1)
    code, out, err = call(capfd, *words, "--dense")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"memberships (3 x 60 x 60) take {need:,} bytes, more than half of the {2 * need - 1:,} that are free" in err
    code, out, _ = call(capfd, *words)
    assert code == 0
    assert f"left out: the dense form's memberships (3 x 60 x 60) take {need:,} bytes" in out
    assert "dense" not in held(tmp_path / "e.json")[0]["times"]
    monkeypatch.setattr(erase_run, "free", lambda device: 2 * need)
    assert call(capfd, *words, "--dense")[0] == 0
    assert "dense" in held(tmp_path / "e.json")[0]["times"]


@pytest.mark.usefixtures("_checked")
def test_growth(tmp_path, capfd):
    path = tmp_path / "e.json"
    code, out, err = call(capfd, "erase", *TINY, "--growth", "--rounds", "1", "--out", path)
    assert (code, err) == (0, "")
    records = held(path)
    assert [record["case"]["nodes"] for record in records] == [60, 600, 6000]
    assert [record["case"]["arcs"] for record in records] == [240, 2400, 24000]
    assert ["dense" in record["times"] for record in records] == [True, False, False]
    table = out[out.index("Cost of an epoch as the graph grows") :]
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["60", "600", "6,000"]
    assert re.search(rf"in all +{exponent(records[0], records[2]):.2f}", table)


def test_exponent_of_a_square_is_two():
    def record(nodes, seconds):
        return {"case": {"nodes": nodes}, "times": {"ours": {"seconds": {"median": seconds}}}}

    assert exponent(record(10, 1.0), record(100, 100.0)) == pytest.approx(2)
    assert (size(86_237_184), size(3.2e9)) == ("86 MB", "3.20 GB")


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
    clock.cost(ours.training, "_select", 3.0)
    epoch = ours.epoch()  # embeddings of all once, eight batches, a probe (which embeds again)
    assert (epoch.timed, epoch.batches) == (2, 8)
    assert epoch.seconds == pytest.approx(5 + 8 * 1 + 3 + 5)
    assert epoch.stages["probe"] == pytest.approx(8)
    whole = erase_epochs.Ours(case, erase_cases.build(case), 8)
    assert (whole.epoch().timed, len(whole.training.history["loss"])) == (8, 1)


class Ticking:
    """A clock that only moves where something is said to cost."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def cost(self, owner, name, seconds):
        before = getattr(owner, name)

        def run(*args, **options):
            self.now += seconds
            return before(*args, **options)

        setattr(owner, name, run)


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


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_drawn_graphs_have_their_sizes(classes):
    case = replace(CASE, nodes=203, arcs=1_000, classes=classes)
    data = erase_cases.build(case)
    assert data.edge_index.shape[1] == 1_000
    assert len(torch.unique(data.edge_index, dim=1)[0]) == 1_000
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert data.x.shape == (203, 8)
    labelled = torch.bincount(data.y[data.train_mask], minlength=classes)
    assert (labelled == min(20, 203 // classes // 3)).all()
    assert int((data.train_mask & data.val_mask).sum()) == 0
    assert int(data.val_mask.sum()) > 10
    same = (data.y[data.edge_index[0]] == data.y[data.edge_index[1]]).float().mean()
    assert 0.6 < float(same) < 0.8
    assert torch.equal(erase_cases.build(case).x, data.x)


def test_arcs_that_cannot_be_placed_are_refused(monkeypatch):
    monkeypatch.setattr(erase_cases, "_SURPLUS", (0.5, 1.0))
    with pytest.raises(InputError, match="--arcs: expected so few that they can be placed, got 240, and no more than"):
        erase_cases.build(CASE)


def test_a_case_can_be_the_smallest():
    data = erase_cases.build(erase_cases.synthetic(8, 6, 1, 2, None, {"hidden": 8, "width": 2}, 1, 0))
    training = erase_gate.training(data, settings("faithful-cora", {"hidden": 8, "width": 2}))
    training.epoch()
    assert training.history["loss"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--dataset", "croa"], 1, ".*one of .*cora.*"),
        (["--dataset", "cora", "--nodes", "50", "--arcs", "60"], 1, "--dataset: expected a data set, or --nodes and"),
        (["--dataset", "cora", "--growth"], 1, "--growth: expected a graph that is drawn"),
        (["--nodes", "50"], 1, "--arcs: expected a number beside --nodes, got none"),
        (["--arcs", "50"], 1, "--nodes: expected a number beside --arcs, got none"),
        (["--nodes", "50", "--arcs", "61"], 1, "--arcs: expected an even number"),
        (["--nodes", "50", "--arcs", "5000"], 1, "--arcs: expected an integer from 2 to 1225"),
        (["--nodes", "7", "--arcs", "4"], 1, "--nodes: expected an integer from 8"),
        (["--nodes", "50", "--arcs", "60", "--features", "0"], 1, "--features: expected an integer from 1"),
        (["--nodes", "50", "--arcs", "60", "--classes", "13"], 1, "--classes: expected an integer from 2 to 12"),
        (
            ["--nodes", "50", "--arcs", "60", "--preset", "robst"],
            1,
            ".*preset: expected one of .*did you mean 'robust'",
        ),
        (["--nodes", "50", "--arcs", "60", "--set", "widht=3"], 1, ".*did you mean 'width'"),
        (["--nodes", "50", "--arcs", "60", "--set", "width"], 1, "--set: expected HYPER-PARAMETER=VALUE, got 'width'"),
        (["--nodes", "50", "--arcs", "60", "--set", "width=x"], 1, "width: expected an integer"),
        (["--nodes", "50", "--arcs", "60", "--set", "epochs=3"], 1, "--set: expected what decides an epoch"),
        (["--nodes", "50", "--arcs", "60", "--batch-size", "-1"], 1, "batch_size: expected an integer of at least 1"),
        (["--nodes", "50", "--arcs", "60", "--threads", "4096"], 1, "--threads: expected an integer from 1"),
        (["--nodes", "50", "--arcs", "60", "--rounds", "0"], 1, "--rounds: expected an integer from 1"),
        (["--nodes", "50", "--arcs", "60", "--seed", "-1"], 1, "--seed: expected an integer from 0"),
        (["--nodes", "50", "--arcs", "60", "--batch-size", "9", "--dense"], 1, "--dense: .*has no mini-batches"),
        (["--rounds", "x"], 2, "--rounds"),
    ],
)
@pytest.mark.usefixtures("_checked")
def test_every_error_is_one_line(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    found, out, err = call(capfd, "erase", *words)
    assert (found, out) == (code, "")
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.match(f"graphnoise: error: .*{message}", err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": 1, "records": []}', '{"kind": "erase", "format": 9}'])
def test_another_file_is_refused_and_kept(text, tmp_path, capfd):
    path = tmp_path / "x.json"
    path.write_text(text)
    code, out, err = call(capfd, "erase", *TINY, "--out", path)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert str(path) in err
    assert path.read_text() == text


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("key"),
        lambda r: r.update(case=3),
        lambda r: r["case"].update(nodes="abc"),
        lambda r: r.update(environment=None),
        lambda r: r["times"].pop("ours"),
        lambda r: r["times"]["ours"]["seconds"].update(median="fast"),
        lambda r: r["times"]["ours"]["seconds"].update(median=0),
        lambda r: r.update(stages={}),
        lambda r: r["stages"].update(other=1.0),
        lambda r: r.update(memory={"ours": {}}),
        lambda r: r.update(notes=[3]),
    ],
)
@pytest.mark.usefixtures("_checked")
def test_damaged_records_are_one_clear_line(change, measured, tmp_path, capfd):
    path = tmp_path / "e.json"
    erase_records.add(path, measured)
    (found,) = erase_records.read(path)
    change(found)
    path.write_text(json.dumps({"format": 1, "kind": "erase", "records": [found]}))
    for words in (["show", path], ["erase", *TINY, "--out", path]):
        code, out, err = call(capfd, *words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"graphnoise: error: .+: expected whole speed records of ERASE.+\n", err), err
    with pytest.raises(DataError):
        erase_records.read(path)


@pytest.mark.usefixtures("_checked")
def test_ctrl_c_keeps_what_is_recorded_and_prints_the_command(monkeypatch, tmp_path, capfd):
    path = tmp_path / "e.json"
    real, seen = erase_run.measure, []

    def stopped(case, *args, **options):
        seen.append(case)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(case, *args, **options)

    monkeypatch.setattr(erase_run, "measure", stopped)
    code, out, err = call(capfd, "erase", *TINY, "--growth", "--rounds", "1", "--out", path)
    assert code == 130
    assert f"interrupted; 1 recorded in {path}; again:" in err
    assert "60 nodes" in out
    assert len(held(path)) == 1


@pytest.mark.usefixtures("_checked")
def test_a_data_set_is_measured_with_its_preset(monkeypatch, tmp_path, capfd):
    path = save_npz(erase_gate.planted(), tmp_path / "x.npz")
    words = ["erase", "--dataset", path, "--set", "hidden=16", "--rounds", "1", "--threads", "1"]
    code, _, err = call(capfd, *words, "--out", tmp_path / "e.json")
    assert (code, err) == (0, "")
    (record,) = held(tmp_path / "e.json")
    assert record["case"]["dataset"] == str(path)
    assert (record["case"]["nodes"], record["case"]["features"], record["case"]["preset"]) == (84, 48, "faithful-cora")
    assert "dense" in record["times"]
    data = erase_gate.planted()
    monkeypatch.setattr(erase_cases, "load", lambda name, root, seed: data)
    case, _ = erase_cases.of_dataset("pubmed", None, {}, 1, 0, None)
    assert case.preset == "faithful-pubmed"
