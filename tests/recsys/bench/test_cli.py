"""`graphnoise bench recommend`, its suites and reports on the command line."""

import re
import signal
import subprocess
import sys
import time

import pytest

from graphnoise import cli
from graphnoise.bench.runner import Store

DATA = "planted(users=60,items=40,density=0.2)"
SUITE = f"""
task = "recommend"
title = "own"
[defaults]
datasets = ["{DATA}"]
noise = ["none"]
trials = 2
seeds = 1
[[grid]]
name = "one"
methods = ["ease"]
[[grid]]
name = "two"
methods = ["ease", "linear:low_pass=0"]
noise = ["false-negative"]
rates = [0.0, 0.2]
"""


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def recommend(folder, *more):
    few = ["--dataset", DATA, "--seeds", "1", "--trials", "2", "--rate", "0.2", "--jobs", "1", "--out", str(folder)]
    return ["bench", "recommend", *few, *more]


def test_bench_then_report(tmp_path, capfd):
    words = recommend(tmp_path / "runs", "--method", "ease,linear:low_pass=0,core=autoencoder", "--noise", "both")
    code, out, err = call(capfd, *words)
    assert (code, "4 of 4 cells" in out, "4 run" in out) == (0, True, True), err
    code, out, _ = call(capfd, *words)
    assert (code, "4 recorded before" in out) == (0, True)
    code, out, err = call(capfd, "report", str(tmp_path / "runs"), "--plot", "--csv", str(tmp_path / "cells.csv"))
    assert (code, err) == (0, "")
    for row in ("popularity", "itemknn-plain", "ease", "linear:core=autoencoder,low_pass=0"):
        assert re.search(rf"^{re.escape(row)}  +0\.\d{{4}}  ", out, re.MULTILINE), out
    assert "…" not in out
    assert max(map(len, out.split("wrote ")[0].splitlines())) > 120  # so the names are whole
    assert (tmp_path / "runs" / "ndcg.png").exists()
    code, again, err = call(capfd, "report", str(tmp_path / "cells.csv"), "--plot")
    assert (code, err) == (0, "")
    tables = [re.sub(r", at most \d trials a method|^wrote .*\n", "", text, flags=re.M) for text in (out, again)]
    assert tables[0] == tables[1]
    code, out, _ = call(capfd, "report", str(tmp_path / "cells.csv"), "--csv")
    assert out == (tmp_path / "cells.csv").read_text()


def test_a_suite_is_listed_run_and_reported(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(SUITE)
    words = ["bench", "suite", "own.toml", "--jobs", "1"]
    code, out, err = call(capfd, *words, "--list")
    assert (code, err, (tmp_path / "runs").exists()) == (0, "", False)
    assert [line.split()[-3:] for line in out.splitlines()[2:4]] == [["1", "3", "0"], ["1", "8", "0"]]
    code, out, err = call(capfd, *words, "--only", "third")
    assert (code, "--only: expected one of one, two" in err) == (1, True)
    code, out, err = call(capfd, *words)
    assert (code, "8 of 8 cells in runs (8 run" in out) == (0, True), err
    code, out, err = call(capfd, "report", "runs", "--suite", "own.toml", "--csv", "own.csv", "--plot", "own.png")
    assert (code, err) == (0, "")
    assert (tmp_path / "own-one.png").exists()
    assert (tmp_path / "own-two.png").exists()
    code, out, err = call(capfd, "report", "own.csv", "--suite", "own.toml", "--csv")
    assert (code, out) == (0, (tmp_path / "own.csv").read_text())
    assert [line.split(",")[0] for line in out.splitlines()] == ["grid"] + ["one"] * 3 + ["two"] * 8
    (tmp_path / "more.toml").write_text(SUITE.replace("seeds = 1", "seeds = 2"))
    code, _, err = call(capfd, "report", "own.csv", "--suite", "more.toml")
    assert "cells that are not there yet: 3 of 6 of 'one', 8 of 16 of 'two'" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trials = 2", "own.toml: grid: expected at least one"),
        (
            '[[grid]]\nname = "a"\nmethod = ["ease"]',
            "own.toml: grid 'a': key: expected one of .*did you mean 'methods'",
        ),
        (
            '[[grid]]\nname = "a"\nmethods = ["eas"]',
            "own.toml: grid 'a': method: expected one of .*did you mean 'ease'",
        ),
        ('[[grid]]\nname = "a"\ntrials = 0', "own.toml: grid 'a': trials: expected an integer"),
        ('[[grid]]\nname = "a"\nnoise = ["some"]', "own.toml: grid 'a': noise: expected one of"),
    ],
)
def test_a_wrong_suite_is_one_line(text, message, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(f'task = "recommend"\n{text if "grid" in text else ""}')
    code, out, err = call(capfd, "bench", "suite", "own.toml")
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"graphnoise: error: {message}.*\n", err), err


def test_a_task_that_nobody_has(tmp_path, capfd):
    (tmp_path / "own.toml").write_text('task = "recomend"')
    code, _, err = call(capfd, "bench", "suite", str(tmp_path / "own.toml"))
    assert (code, "task: expected one of cluster, nodes, recommend" in err) == (1, True)


def test_a_folder_of_two_benchmarks_reports_both(tmp_path, capfd):
    runs = str(tmp_path / "runs")
    call(capfd, *recommend(runs, "--method", "ease", "--noise", "none"))
    few = ["--dataset", "planted(n=60,block=20,p=0.4,q=0.02)", "--method", "fd", "--seeds-per-class", "1"]
    call(capfd, "bench", "cluster", *few, "--accuracy", "0.9/0.9", "--jobs", "1", "--out", runs)
    code, out, err = call(capfd, "report", runs)
    assert (code, err) == (0, "")
    assert out.index("Clusters found") < out.index("planted(users=60,items=40,density=0.2), as it is")
    code, out, err = call(capfd, "report", runs, "--csv")
    assert (code, "--task cluster or --task recommend chooses" in err) == (1, True)
    code, out, _ = call(capfd, "report", runs, "--task", "recommend", "--csv")
    assert (code, len(out.splitlines())) == (0, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "eas"], "method: expected one of .*did you mean 'ease'"),
        (["--method", "ease,,als"], "--method: expected names separated by commas"),
        (["--noise", "symmetric"], "noise: expected one of both, false-negative, false-positive, none"),
        (["--rate", "0;1"], "--rate: expected numbers separated by commas"),
        (["--rate", "2"], "rate: expected a rate"),
        (["--seeds", "0"], "seeds: expected an integer from 1"),
        (["--trials", "0"], "trials: expected an integer from 1"),
        (["--dataset", "ml-100"], "did you mean 'ml-100k'"),
        (
            ["--noise", "false-negative", "--rate", "1"],
            "expected interactions in every part, got none in the train part",
        ),
        (["--jobs", "0"], "jobs: expected an integer of at least 1"),
    ],
)
def test_every_error_is_one_line_and_leaves_no_folder(words, message, tmp_path, capfd):
    code, out, err = call(capfd, *recommend(tmp_path / "runs", *words))
    assert (code, out, (tmp_path / "runs").exists()) == (1, "", False)
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.search(message, err), err


def test_ctrl_c_says_how_to_go_on(tmp_path):
    runs = tmp_path / "runs"
    words = recommend(runs, "--method", "bpr", "--noise", "none", "--trials", "5000")
    process = subprocess.Popen(
        [sys.executable, "-m", "graphnoise.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (runs.exists() and len(Store(runs).keys()) == 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-2] == f"graphnoise: interrupted; what was recorded stays in {runs}; to go on:"
    assert f"bench recommend --dataset '{DATA}'" in err.splitlines()[-1]
