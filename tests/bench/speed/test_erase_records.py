"""The command, its records and what is shown of them."""

import json
import re

import numpy as np
import pytest
import torch
from speeds import CASE, PEAK, TINY, call, held

from graphnoise.bench.speed import erase_cases, erase_gate, erase_records, erase_run
from graphnoise.bench.speed.erase_report import exponent, size
from graphnoise.datasets import save_npz
from graphnoise.errors import DataError

pytestmark = pytest.mark.usefixtures("_brief_erase")


@pytest.fixture(scope="module")
def measured():
    """A record."""
    return erase_run.measure(CASE, erase_run.Protocol(False, 1, False), {"float64": 1e-9})


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
