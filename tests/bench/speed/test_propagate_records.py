"""The command, its records and what is shown of them."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from speeds import SMALL, call, held

from graphnoise.bench.speed import plots, records, report, run
from graphnoise.errors import DataError, InputError

pytestmark = pytest.mark.usefixtures("_brief")


def test_record_carries_what_a_reader_needs(tmp_path, capfd):
    code, out, err = call(
        capfd, *SMALL, "--backward", "--busy", "--weighted", "--unweighted", "--out", tmp_path / "s.json"
    )
    assert code == 0, err
    assert "8 of 8 cases" in out
    for record in held(tmp_path / "s.json"):
        assert record["environment"]["versions"]["torch"] == torch.__version__
        assert {"processor", "commit", "machine", "instruction_set"} <= set(record["environment"])
        assert record["protocol"]["rounds"] == 2
        assert record["protocol"]["seed"] == 0
        assert record["tier"] in ("native", "reference", "scatter")
        assert record["gaps"]["ours"] <= 1e-5
        mine = record["times"]["ours"]
        assert len(mine["samples"]) == 2
        assert mine["seconds"]["median"] == pytest.approx(np.median(mine["samples"]))
        other = record["times"]["addmm"]
        each = [a / b for a, b in zip(other["samples"], mine["samples"], strict=True)]
        assert other["ratio"]["low"] == pytest.approx(np.quantile(each, 0.25))
        assert ("bandwidth" in record) is not record["case"]["backward"]


def test_the_same_command_goes_on_and_again_measures_anew(tmp_path, capfd):
    words = [*SMALL, "--peers", "none", "--out", tmp_path / "s.json"]
    call(capfd, *words)
    before = (tmp_path / "s.json").read_bytes()
    code, out, _ = call(capfd, *words)
    assert (code, "1 of 1 cases" in out, "0 measured, 1 recorded before" in out) == (0, True, True)
    assert (tmp_path / "s.json").read_bytes() == before
    _, out, _ = call(capfd, *words, "--width", "3,5")
    assert "1 measured, 1 recorded before" in out
    _, out, _ = call(capfd, *words, "--rounds", "3")
    assert "1 measured, 0 recorded before" in out
    _, out, _ = call(capfd, *words, "--again")
    assert "1 measured" in out
    assert len(held(tmp_path / "s.json")) == 3


def test_another_commit_or_processor_is_another_key(monkeypatch):
    here = records.environment()
    keys = []
    for change in ({}, {"commit": "f" * 40}, {"processor": "abacus"}):
        monkeypatch.setattr(records, "environment", lambda change=change: {**here, **change})
        records._code.cache_clear()
        keys.append(records.key({"width": 1}, {"rounds": 2}))
    records._code.cache_clear()
    assert len(set(keys)) == 3


@pytest.mark.parametrize("commit", ["f" * 40, "f" * 40 + "+", None])
def test_another_binary_is_another_key_on_any_commit(commit, monkeypatch, tmp_path):
    here = records.environment()
    monkeypatch.setattr(records, "environment", lambda: {**here, "commit": commit})
    keys = []
    for code in (b"one", b"two"):
        (tmp_path / "native.so").write_bytes(code)
        monkeypatch.setattr(records._native, "__file__", str(tmp_path / "native.so"))
        records._code.cache_clear()
        keys.append(records.key({"width": 1}, {"rounds": 2}))
    records._code.cache_clear()
    assert keys[0] != keys[1]


def test_show_prints_tables_and_draws(tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--width", "1,3", "--size", "40:120,80:300", "--out", path)
    code, out, err = call(capfd, "show", path, "--plot")
    assert (code, err) == (0, "")
    assert "ns per arc and step, by size" in out
    assert "…" not in out
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert f"wrote {tmp_path / 's.png'}" in out


def test_a_crowded_machine_is_told(tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--out", path)
    (record,) = held(path)
    for load, told in ((0.5, False), (record["environment"]["cores"] + 3.0, True)):
        records.Book(path).add({**record, "load": load})
        _, out, _ = call(capfd, "show", path)
        assert ("more ran than there are cores in 1 of 1 cases" in out) is told


def test_nothing_to_draw():
    from pathlib import Path

    with pytest.raises(InputError, match="plot: expected a measured case with a peer to draw"):
        plots.draw([], Path("x.png"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--size", "croa"], 1, "--size: expected one of .*did you mean 'cora'"),
        (["--size", "5:x"], 1, "--size: expected NODES:ARCS, got '5:x'"),
        (["--size", "5:7"], 1, "--arcs: expected an even number"),
        (["--size", "10:1000"], 1, "--arcs: expected an integer from 2 to 90, got 1000"),
        (["--nodes", "5"], 1, "--arcs: expected a number beside --nodes, got none"),
        (["--width", "0"], 1, "--width: expected an integer from 1 to"),
        (["--width", "a,b"], 1, "--width: expected integers separated by commas"),
        (["--threads", "4096"], 1, "--threads: expected an integer from 1 to"),
        (["--dtype", "int8"], 1, "--dtype: expected one of"),
        (["--degrees", "zipf"], 1, "--degrees: expected one of power-law, uniform"),
        (["--tier", "nativ"], 1, "--tier: expected one of"),
        (["--peers", "adm"], 1, "--peers: expected one of .*did you mean 'addmm'"),
        (["--rounds", "0"], 1, "--rounds: expected an integer from 1"),
        (["--rounds", "x"], 2, "--rounds"),
        (["--limit", "-1"], 1, "--limit: expected a number"),
        (["--seed", "-1"], 1, "--seed: expected an integer"),
        (["--steps", "0"], 1, "--steps: expected an integer"),
        (["--suite", "ful"], 1, "--suite: expected one of full, quick"),
        (["--plot", "a.xyz"], 1, "plot: expected a file name"),
    ],
)
def test_every_error_is_one_line(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    found, out, err = call(capfd, "propagate", *words)
    assert (found, out) == (code, "")
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_one_clear_error(capfd):
    code, _, err = call(capfd, "propagate", "--device", "cuda")
    assert (code, err.count("\n")) == (1, 1)
    assert "--device: expected a device that is there, got 'cuda', and torch sees no CUDA device" in err


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": 1}', '{"format": 9, "records": []}', "\xff"])
def test_another_file_is_refused_and_kept(text, tmp_path, capfd):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    code, _, err = call(capfd, *SMALL, "--out", path)
    assert (code, err.count("\n")) == (1, 1)
    assert str(path) in err
    assert path.read_bytes() == text.encode("latin-1")
    with pytest.raises(DataError):
        records.Book(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: [r.pop(name) for name in list(r) if name != "key"],
        lambda r: r.update(key=["a"]),
        lambda r: r.update(case=3),
        lambda r: r["case"].update(width="abc"),
        lambda r: r["case"].update(width=True),
        lambda r: r["case"].update(arcs=0),
        lambda r: r["case"].update(degrees="zipf"),
        lambda r: r["case"].pop("nodes"),
        lambda r: r.update(environment=None),
        lambda r: r["environment"].update(versions=[]),
        lambda r: r["environment"].update(cores="2"),
        lambda r: r.update(times={}),
        lambda r: r["times"]["addmm"].pop("ratio"),
        lambda r: r["times"]["ours"]["seconds"].update(median="fast"),
        lambda r: r.update(notes=["x"]),
        lambda r: r.update(bandwidth=1),
        lambda r: r.update(tier=None),
    ],
)
def test_damaged_records_are_one_clear_line(change, tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--peers", "addmm", "--out", path)
    (record,) = held(path)
    change(record)
    path.write_text(json.dumps({"format": 1, "records": [record]}))
    for words in (["show", path], [*SMALL, "--out", path]):
        code, out, err = call(capfd, *words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"graphnoise: error: .+: expected .*speed records.+\n", err), err


def test_ctrl_c_before_the_first_case_names_no_file(monkeypatch, tmp_path, capfd):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", stopped)
    code, _, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 130
    assert "interrupted; nothing is recorded yet; again:" in err
    assert "stays in" not in err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (45e-6, "45.0 µs"), (3e-8, "0.03 µs"), (0.2504, "250 ms")],
)
def test_durations(seconds, text):
    shown = report.duration({"seconds": {"low": seconds, "median": seconds, "high": seconds}}).plain
    assert shown.startswith(text)


def test_ctrl_c_keeps_the_cases_and_prints_the_command_that_resumes(tmp_path):
    path = tmp_path / "s.json"
    words = [sys.executable, "-m", "graphnoise.cli", "bench", "speed", *SMALL, "--peers", "addmm", "--width", "1,2,3"]
    words += ["--out", str(path)]
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **heed)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "to go on:" in err
    assert f"--out {path}" in err
    assert "ours, a step" in out
    kept = len(held(path))
    assert 1 <= kept < 3
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"3 of 3 cases in {path} ({3 - kept} measured, {kept} recorded before" in done.stdout
