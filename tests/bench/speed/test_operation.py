"""Records of any operation: what is measured, resumed, refused and shown."""

import json
import re
from typing import Annotated, ClassVar

import pytest
import torch
from speeds import DAMAGE, call, held, refused

from graphnoise.bench.grid import integers, option, real
from graphnoise.bench.speed import harness, operation, tables
from graphnoise.bench.speed.harness import NotMeasurableError, VerificationError
from graphnoise.bench.speed.operation import Operation, Options, Session, add


class ToyOptions(Options):
    width: Annotated[tuple[int, ...], integers(1, 99)] = option((1, 2), "Columns.")
    kind: str | None = option(None, "Kind.")
    scale: Annotated[float, real(0.5, 2.0)] = option(1.0, "Scale.", protocol=True)


class Toy(Operation):
    """Does what its class attribute says, by width."""

    name, help, options = "toy", "Toys.", ToyOptions
    behaviour: ClassVar = {}

    def measure(self, case, options, record, say):
        what = self.behaviour.get(case["width"])
        if isinstance(what, BaseException):
            raise what
        run = harness.TimedRun("library", lambda steps: sum(range(100)))
        record |= {"times": harness.interleave([run], options.rounds, options.seed, say), "failures": what or []}

    def tables(self, records):
        for record in records:
            yield f"width {record['case']['width']}: {record['times']['library']['seconds']['median']:.3g} s"
        yield from tables.notes(records)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(operation, "operations", lambda: ["toy"])
    monkeypatch.setattr(operation, "load_operation", lambda name: Toy())
    monkeypatch.setattr(Toy, "behaviour", {})
    return Toy.behaviour


def test_a_record_carries_what_a_reader_needs(tmp_path, capfd):
    code, out, err = call(capfd, "toy", "--width", "3,4", "--rounds", "2", "--out", tmp_path / "s.json")
    assert (code, err.count("\n")) == (0, 2), err
    assert "2 cases in" in out
    for record, width in zip(held(tmp_path / "s.json"), (3, 4), strict=True):
        assert record["case"] == {"width": width, "kind": None}
        assert record["protocol"] == {"rounds": 2, "seed": 0, "scale": 1.0}
        assert record["environment"]["versions"]["torch"] == torch.__version__
        assert {"processor", "commit", "machine", "instruction_set"} <= set(record["environment"])
        times = record["times"]["library"]
        assert len(times["samples"]) == 2
        assert times["seconds"] == harness.quartiles(times["samples"])
        assert {"recorded", "load", "notes", "failures"} <= set(record)


def test_the_same_command_goes_on_and_again_measures_anew(tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, "toy", "--out", path)
    before = path.read_bytes()
    assert "(0 measured, 2 recorded before)" in call(capfd, "toy", "--out", path)[1]
    assert path.read_bytes() == before
    assert "(1 measured, 2 recorded before)" in call(capfd, "toy", "--width", "1,2,3", "--out", path)[1]
    assert "(2 measured, 0 recorded before)" in call(capfd, "toy", "--rounds", "3", "--out", path)[1]
    assert "(2 measured, 0 recorded before)" in call(capfd, "toy", "--again", "--out", path)[1]
    assert len(held(path)) == 5


def new_key(tmp_path):
    operation.code_hash.cache_clear()
    return Session(Toy(), ToyOptions(), tmp_path / "s.json").new_record({"width": 1})["key"]


def test_another_machine_commit_or_binary_is_another_key(monkeypatch, tmp_path):
    here, keys = operation.environment(), {new_key(tmp_path)}
    for change in ({"commit": "f" * 40}, {"commit": None}, {"processor": "abacus"}, {"cores": 99}):
        monkeypatch.setattr(operation, "environment", lambda change=change: {**here, **change})
        keys.add(new_key(tmp_path))
    monkeypatch.setattr(operation._native, "instruction_set", lambda: "abacus")
    keys.add(new_key(tmp_path))
    (tmp_path / "native.so").write_bytes(b"another")
    monkeypatch.setattr(operation._native, "__file__", str(tmp_path / "native.so"))
    keys.add(new_key(tmp_path))
    operation.code_hash.cache_clear()
    assert len(keys) == 7


def test_a_wrong_result_is_not_recorded_and_measured_again(toy, tmp_path, capfd):
    toy[1], toy[2] = VerificationError("library: expected 1, got 2"), ["peer: expected 1, got 3"]
    code, out, err = call(capfd, "toy", "--width", "1,2,3", "--out", tmp_path / "s.json")
    assert code == 1
    assert "failed: width 1, kind None: library: expected 1, got 2" in err
    assert "failed: width 2, kind None: peer: expected 1, got 3" in err
    assert err.endswith(
        "\ngraphnoise: error: results: expected those of the reference, got 2 others, which were not timed\n"
    )
    assert "width 1" not in out
    assert [record["case"]["width"] for record in held(tmp_path / "s.json")] == [2, 3]
    toy.clear()
    assert "(2 measured, 1 recorded before)" in call(capfd, "toy", "--width", "1,2,3", "--out", tmp_path / "s.json")[1]
    assert len(held(tmp_path / "s.json")) == 3


def test_a_case_that_cannot_be_measured_is_skipped_and_the_record_says_so(toy, tmp_path, capfd):
    path = tmp_path / "s.json"
    toy[1] = toy[2] = NotMeasurableError("needs 1e9 GB")
    code, _, err = call(capfd, "toy", "--out", path)
    assert code == 1
    assert "note: skipped: width 1, kind None: needs 1e9 GB" in err
    assert "cases: expected one that can be measured" in err
    assert [record["skipped"] for record in held(path)] == ["needs 1e9 GB"] * 2
    assert call(capfd, "show", path)[0] == 0


def test_show_prints_the_tables_and_tells_of_a_crowded_machine(tmp_path, capfd):
    path = tmp_path / "s.json"
    out = call(capfd, "toy", "--width", "1", "--out", path)[1]
    (record,) = held(path)
    for load, warned in ((0.5, False), (record["environment"]["cores"] + 3.0, True)):
        add(path, Toy(), {**record, "load": load})
        code, shown, err = call(capfd, "show", path)
        assert (code, err) == (0, "")
        assert shown.splitlines()[0] == out.splitlines()[0]
        assert "commit" in shown.splitlines()[-1]
        assert ("more ran than there are cores in 1 of 1 case" in shown) is warned
    refused(capfd, "t.json: cannot be read", "show", tmp_path / "t.json")


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"records": []}', '{"format": 3, "kind": "erase", "records": []}', "\xff"]
)
def test_another_file_is_refused_and_kept(text, tmp_path, capfd):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    refused(capfd, re.escape(str(path)), "toy", "--out", path)
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_records_are_one_clear_line(change, tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, "toy", "--width", "1", "--out", path)
    (record,) = held(path)
    change(record)
    path.write_text(json.dumps({"format": 3, "kind": "toy", "records": [record]}))
    for words in (["show", path], ["toy", "--out", path]):
        refused(capfd, "expected whole records, and record 1 is damaged", *words)


def test_ctrl_c_keeps_the_cases_and_prints_the_command(toy, tmp_path, capfd):
    toy[1] = KeyboardInterrupt()
    code, _, err = call(capfd, "toy", "--out", tmp_path / "s.json")
    assert code == 130
    assert "interrupted; nothing is recorded yet; to go on:" in err
    assert "stays in" not in err
    code, out, err = call(capfd, "toy", "--width", "2,1", "--out", tmp_path / "s.json")
    assert code == 130
    assert f"what was recorded stays in {tmp_path / 's.json'}; to go on:" in err
    assert "width 2" in out
    assert len(held(tmp_path / "s.json")) == 1
