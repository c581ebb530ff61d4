"""`graphnoise bench recommend`, its suites and reports on the command line."""

import re

import pytest

from graphnoise.cli.main import main

DATA = "planted(users=60,items=40,density=0.2)"
SUITE = f"""
task = "recommend"
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
methods = ["ease", {{ name = "unfiltered", method = "linear:low_pass=0" }}]
noise = ["false-negative"]
rates = [0.0, 0.2]
"""


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def recommend(folder, *more):
    few = ["--dataset", DATA, "--seeds", "1", "--trials", "2", "--rate", "0.2", "--jobs", "1", "--out", str(folder)]
    return ["bench", "recommend", *few, *more]


def test_bench_then_report(tmp_path, capfd):
    words = recommend(tmp_path / "runs", "--method", "ease,linear:low_pass=0,core=autoencoder", "--noise", "both")
    code, out, err = call(capfd, *words)
    assert (code, "4 of 4 cells" in out, "4 run" in out) == (0, True, True), err
    assert "4 recorded before" in call(capfd, *words)[1]
    code, out, err = call(capfd, "report", str(tmp_path / "runs"), "--plot", "--csv", str(tmp_path / "cells.csv"))
    assert (code, err) == (0, "")
    for row in ("popularity", "itemknn-plain", "ease", "linear:core=autoencoder,low_pass=0"):
        assert re.search(rf"^{re.escape(row)}  +0\.\d{{4}}  ", out, re.MULTILINE), out
    # The terminal is narrower, but names are whole.
    assert "…" not in out
    assert max(map(len, out.split("wrote ")[0].splitlines())) > 120
    assert (tmp_path / "runs" / "ndcg.png").exists()
    code, again, err = call(capfd, "report", str(tmp_path / "cells.csv"), "--plot")
    assert (code, err) == (0, "")
    tables = [re.sub(r", at most \d trials a method|^wrote .*\n", "", text, flags=re.M) for text in (out, again)]
    assert tables[0] == tables[1]
    assert call(capfd, "report", str(tmp_path / "cells.csv"), "--csv")[1] == (tmp_path / "cells.csv").read_text()


def test_a_suite_is_run_and_reported(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(SUITE)
    code, out, err = call(capfd, "bench", "suite", "own.toml", "--jobs", "1")
    assert (code, "8 of 8 cells in runs (8 run" in out) == (0, True), err
    code, out, err = call(capfd, "report", "runs", "--suite", "own.toml", "--csv", "own.csv", "--plot", "own.png")
    assert (code, err, "unfiltered" in out) == (0, "", True)
    assert {path.name for path in tmp_path.glob("*.png")} == {"own-one.png", "own-two.png"}
    code, out, err = call(capfd, "report", "own.csv", "--suite", "own.toml", "--csv")
    assert (code, out) == (0, (tmp_path / "own.csv").read_text())
    assert [line.split(",")[0] for line in out.splitlines()] == ["grid"] + ["one"] * 3 + ["two"] * 8
    (tmp_path / "more.toml").write_text(SUITE.replace("seeds = 1", "seeds = 2"))
    err = call(capfd, "report", "own.csv", "--suite", "more.toml")[2]
    assert "cells that are not there yet: 3 of 6 of 'one', 8 of 16 of 'two'" in err


def test_a_grid_that_is_refused_leaves_no_folder(tmp_path, capfd):
    code, out, err = call(capfd, *recommend(tmp_path / "runs", "--noise", "false-negative", "--rate", "1"))
    assert (code, out, (tmp_path / "runs").exists()) == (1, "", False)
    assert re.fullmatch("graphnoise: error: .+ expected interactions in every part, got none in the train part\n", err)
