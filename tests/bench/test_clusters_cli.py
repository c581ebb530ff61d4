"""`graphnoise bench cluster`, its suites and reports on the command line."""

import re
import signal
import subprocess
import sys
import time

import pytest

from graphnoise import cli
from graphnoise.bench.runner import Store
from graphnoise.cli.clusters import listed

DATA = "planted(n=120,block=40,p=0.4,q=0.02)"


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def cluster(folder, *more):
    return ["bench", "cluster", "--dataset", DATA, "--seeds-per-class", "2", "--out", str(folder), "--jobs", "1", *more]


def test_bench_then_report(tmp_path, capfd):
    words = cluster(tmp_path / "runs", "--method", "fd,lfd,lfd:eps=0.2", "--accuracy", "0.9/0.9", "--masses", "1.5,2")
    code, out, err = call(capfd, *words)
    assert (code, "12 of 12 cells" in out, "12 run" in out) == (0, True, True), err
    code, out, _ = call(capfd, *words)
    assert (code, "12 recorded before" in out) == (0, True)
    code, out, err = call(capfd, "report", str(tmp_path / "runs"), "--plot", "--csv", str(tmp_path / "cells.csv"))
    assert (code, err) == (0, "")
    assert re.findall(r"^(labels|fd|lfd|lfd:eps=0.2)  +", out, re.MULTILINE)[:4] == [
        "labels",
        "fd",
        "lfd",
        "lfd:eps=0.2",
    ]
    assert "…" not in out
    assert (tmp_path / "runs" / "f1.png").exists()
    tables = [line for line in out.splitlines() if not line.startswith("wrote")]
    code, out, err = call(capfd, "report", str(tmp_path / "cells.csv"))
    assert (code, err, out.splitlines()) == (0, "", tables)
    code, out, _ = call(capfd, "report", str(tmp_path / "runs"), "--csv")
    assert (code, out) == (0, (tmp_path / "cells.csv").read_text())


def test_a_suite_of_clusters(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    grid = (
        f'[[grid]]\nname = "%s"\ndatasets = ["{DATA}"]\naccuracies = ["0.9/0.9"]\nseeds_per_class = 2\nmethods = %s\n'
    )
    (tmp_path / "own.toml").write_text(
        'task = "cluster"\n' + grid % ("one", '["fd"]') + grid % ("two", '["fd", "acl"]')
    )
    words = ["bench", "suite", "own.toml", "--jobs", "1"]
    code, out, err = call(capfd, *words, "--list")
    assert (code, err, (tmp_path / "runs").exists()) == (0, "", False)
    assert out.splitlines()[1].split()[-3:] == ["seeds", "cells", "recorded"]
    assert [line.split()[-3:] for line in out.splitlines()[2:4]] == [["2", "6", "0"], ["2", "9", "0"]]
    assert out.splitlines()[4].startswith("0 of 9 cells in runs")
    code, out, err = call(capfd, *words, "--only", "third")
    assert (code, out, "--only: expected one of one, two" in err) == (1, "", True)
    code, out, err = call(capfd, *words)
    assert (code, "9 of 9 cells in runs (9 run, 0 recorded before" in out) == (0, True), err
    assert "report runs --suite own.toml --plot" in out
    code, out, err = call(capfd, "report", "runs", "--suite", "own.toml", "--csv", "own.csv", "--plot", "own.png")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "own"
    assert [name for name in ("own-one.png", "own-two.png") if (tmp_path / name).exists()] == [
        "own-one.png",
        "own-two.png",
    ]
    code, out, err = call(capfd, "report", "own.csv", "--suite", "own.toml", "--csv")
    assert out == (tmp_path / "own.csv").read_text()


def test_a_folder_of_both_benchmarks_reports_both(planted, tmp_path, capfd):
    runs = str(tmp_path / "runs")
    call(capfd, *cluster(runs, "--method", "fd", "--accuracy", "0.9/0.9"))
    few = ["--method", "lp", "--noise", "pair", "--rate", "0.3", "--draws", "2", "--jobs", "1"]
    code, _, err = call(capfd, "bench", "nodes", "--dataset", planted, *few, "--out", runs)
    assert code == 0, err
    code, out, err = call(capfd, "report", runs, "--plot", str(tmp_path / "both.png"))
    assert (code, err) == (0, "")
    assert out.index("Test accuracy in %") < out.index("Clusters found")
    assert (tmp_path / "both.png").exists()
    assert (tmp_path / "both-cluster.png").exists()
    code, out, err = call(capfd, "report", runs, "--task", "nodes")
    assert ("Test accuracy in %" in out, "Clusters found" in out) == (True, False)
    code, out, err = call(capfd, "report", runs, "--csv")
    assert (code, out) == (1, "")
    assert "--csv: expected cells of one benchmark (--task nodes or --task cluster chooses), got those of" in err
    for task, lines in (("nodes", 3), ("cluster", 7)):
        code, out, _ = call(capfd, "report", runs, "--task", task, "--csv")
        assert (code, len(out.splitlines())) == (0, lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "lfdd"], "method: expected one of .*did you mean 'lfd'"),
        (["--method", "fd,,lfd"], "--method: expected names separated by commas"),
        (["--method", "lfd:eps=much"], "lfd.eps: expected a number"),
        (["--accuracy", "0.9"], "accuracy: expected A1/A0"),
        (["--accuracy", "0.9/2"], "a0: expected a rate"),
        (["--masses", "1;2"], "--masses: expected numbers separated by commas"),
        (["--masses", "0"], "multiples: expected a number in"),
        (["--sink", "none"], "sink: expected one of degree, unit"),
        (["--seeds-per-class", "0"], "seeds_per_class: expected an integer from 1"),
        (["--dataset", "croa"], "did you mean 'cora'"),
        (["--jobs", "0"], "jobs: expected an integer of at least 1"),
    ],
)
def test_every_error_is_one_line_and_leaves_no_folder(words, message, tmp_path, capfd):
    code, out, err = call(capfd, *cluster(tmp_path / "runs", *words))
    assert (code, out, (tmp_path / "runs").exists()) == (1, "", False)
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.search(message, err), err


def test_commas_within_a_name():
    assert listed("--method", "fd,lfd:eps=0.2,rounding=sweep, acl") == ["fd", "lfd:eps=0.2,rounding=sweep", "acl"]
    assert listed("--method", "lfd:eps=0.2,lacl:eps=0.1") == ["lfd:eps=0.2", "lacl:eps=0.1"]
    assert listed("--dataset", f"cora,{DATA},pubmed") == ["cora", DATA, "pubmed"]


def test_ctrl_c_keeps_what_is_recorded_and_prints_the_command_that_resumes(tmp_path):
    slow = cluster(tmp_path / "a", "--method", "fd,lfd,acl,lacl,hk,lhk", "--seeds-per-class", "40")
    words = [sys.executable, "-m", "graphnoise.cli", *slow]
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **heed)
    while len(list((tmp_path / "a").glob("*.json")) if (tmp_path / "a").exists() else []) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "to go on:" in err
    assert f"--out {tmp_path / 'a'}" in err
    recorded = list(Store(tmp_path / "a").records())
    assert 3 <= len(recorded) < 42
