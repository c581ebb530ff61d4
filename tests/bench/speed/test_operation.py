"""Records of any operation: what is measured, resumed, refused and shown."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Annotated, ClassVar

import pytest
import torch
from speeds import DAMAGE, call, held, one_error, refused

from graphnoise.bench.grid import integers, option, real
from graphnoise.bench.speed import harness, operation, tables
from graphnoise.bench.speed.operation import NotMeasurableError, Operation, Options, RecordFile, Session
from graphnoise.bench.speed.propagate import Propagate
from graphnoise.errors import DataError, InputError


class ToyOptions(Options):
    width: Annotated[tuple[int, ...], integers(1, 99)] = option((1, 2), "Columns.")
    kind: str | None = option(None, "Kind.")
    scale: Annotated[float, real(0.5, 2.0)] = option(1.0, "Scale.", protocol=True)


class Toy(Operation):
    """Does what its class attribute says, by width."""

    name, subject, help, options = "toy", "toys", "Toys.", ToyOptions
    behaviour: ClassVar = {}

    def measure(self, case, options, say):
        what = self.behaviour.get(case["width"])
        if isinstance(what, BaseException):
            raise what
        run = harness.TimedRun("library", lambda steps: sum(range(100)))
        return {"times": harness.interleave([run], options.rounds, options.seed, say), "failures": what or []}

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


@pytest.mark.parametrize("change", [{"commit": "f" * 40}, {"processor": "abacus"}, {"cores": 99}])
def test_another_machine_or_commit_is_another_key(change, monkeypatch, tmp_path):
    session, here = Session(Toy(), ToyOptions(), RecordFile(tmp_path / "s.json", Toy())), operation.environment()
    keys = {session._record({"width": 1})["key"]}
    monkeypatch.setattr(operation, "environment", lambda: {**here, **change})
    operation._code.cache_clear()
    assert session._record({"width": 1})["key"] not in keys
    operation._code.cache_clear()


@pytest.mark.parametrize("commit", ["f" * 40, "f" * 40 + "+", None])
def test_another_binary_is_another_key_on_any_commit(commit, monkeypatch, tmp_path):
    here, keys = operation.environment(), set()
    session = Session(Toy(), ToyOptions(), RecordFile(tmp_path / "s.json", Toy()))
    monkeypatch.setattr(operation, "environment", lambda: {**here, "commit": commit})
    for code in (b"one", b"two"):
        (tmp_path / "native.so").write_bytes(code)
        monkeypatch.setattr(operation._native, "__file__", str(tmp_path / "native.so"))
        operation._code.cache_clear()
        keys.add(session._record({"width": 1})["key"])
    operation._code.cache_clear()
    assert len(keys) == 2


def test_a_wrong_result_is_not_recorded_and_measured_again(toy, tmp_path, capfd):
    toy[1], toy[2] = harness.VerificationError("library: expected 1, got 2"), ["peer: expected 1, got 3"]
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


def test_show_prints_the_tables_and_draws(tmp_path, capfd):
    path = tmp_path / "s.json"
    out = call(capfd, "toy", "--out", path)[1]
    code, shown, err = call(capfd, "show", path)
    assert (code, err) == (0, "")
    assert shown.splitlines()[:2] == out.splitlines()[:2]
    assert "commit" in shown.splitlines()[-1]
    code, _, err = call(capfd, "show", path, "--plot")
    assert "--plot: expected a measured case with a ratio to draw" in err
    file = RecordFile(path, Toy())
    for record in file.read():
        record["times"]["library"]["ratio"] = {"low": 1.0, "median": 2.0, "high": 3.0}
        file.add(record)
    assert call(capfd, "show", path, "--plot")[0] == 0
    assert (tmp_path / "s.png").stat().st_size > 5_000
    assert one_error(call(capfd, "show", path, "--plot", "a.xyz")[2])
    assert "record: expected a file of speed records" in call(capfd, "show", tmp_path / "t.json")[2]


def test_a_crowded_machine_is_told(tmp_path, capfd):
    file = RecordFile(tmp_path / "s.json", Toy())
    call(capfd, "toy", "--width", "1", "--out", file.path)
    (record,) = file.read()
    for load, warned in ((0.5, False), (record["environment"]["cores"] + 3.0, True)):
        file.add({**record, "load": load})
        assert ("more ran than there are cores in 1 of 1 case" in call(capfd, "show", file.path)[1]) is warned


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"records": []}', '{"format": 3, "kind": "erase", "records": []}', "\xff"]
)
def test_another_file_is_refused_and_kept(text, tmp_path, capfd):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    refused(capfd, re.escape(str(path)), "toy", "--out", path)
    assert path.read_bytes() == text.encode("latin-1")
    with pytest.raises(DataError):
        RecordFile(path, Toy()).add({"key": "a"})


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_records_are_one_clear_line(change, tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, "toy", "--width", "1", "--out", path)
    (record,) = held(path)
    change(record)
    path.write_text(json.dumps({"format": 3, "kind": "toy", "records": [record]}))
    for words in (["show", path], ["toy", "--out", path]):
        refused(capfd, "expected whole speed records of toys, and record 1 is damaged", *words)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--width", "0"], 1, "width: expected an integer from 1 to 99, got 0"),
        (["--width", "a,b"], 1, "--width: expected an integer from 1 to 99, got 'a'"),
        (["--rounds", "0"], 1, "rounds: expected an integer from 1"),
        (["--rounds", "x"], 2, "--rounds"),
        (["--scale", "5"], 1, "scale: expected a number in [0.5, 2]"),
        (["--seed", "-1"], 1, "seed: expected an integer from 0"),
        (["--widht", "1"], 2, "No such option: --widht"),
    ],
)
def test_every_error_is_one_line(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    refused(capfd, re.escape(message), "toy", *words, code=code, folder=tmp_path)
    with pytest.raises(InputError, match="width: expected an integer from"):
        ToyOptions(width=(0,))


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


def test_a_signal_keeps_the_cases_and_the_same_command_goes_on(tmp_path):
    path = tmp_path / "s.json"
    words = [sys.executable, "-m", "graphnoise.cli", "bench", "speed", "propagate", "--size", "40:120", "--rounds", "2"]
    words += ["--width", "1,2,3", "--threads", "1", "--baselines", "addmm", "--out", str(path)]
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **heed)
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"--out {path}" in err[err.index("to go on:") :]
    assert "library, per step" in out
    count = len(RecordFile(path, Propagate()).read())
    assert 1 <= count < 3
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"3 cases in {path} ({3 - count} measured, {count} recorded before" in done.stdout
