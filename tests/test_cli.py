import itertools
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphnoise import InputError, datasets
from graphnoise.bench.report import columns
from graphnoise.bench.runner import Store
from graphnoise.cli import main as cli
from graphnoise.cli.console import out as console
from graphnoise.cli.console import tables_as_json, wide

COMMAND = [sys.executable, "-m", "graphnoise.cli"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    data = datasets.planted_partition([30, 30], 0.25, 0.02, num_features=12, split=(8, 20, 20), seed=1)
    return str(datasets.save_npz(data, path))


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def nodes(planted, folder, *more):
    return ["bench", "nodes", "--dataset", planted, "--noise", "pair", "--out", str(folder), "--jobs", "1", *more]


def test_bench_then_report(planted, tmp_path, capfd):
    words = nodes(planted, tmp_path / "runs", "--method", "lp,gcn:epochs=3", "--rate", "0,0.3", "--seeds", "2")
    code, out, err = call(capfd, *words)
    assert (code, "8 of 8 cells" in out, "8 run" in out) == (0, True, True), err
    assert re.search("to read them: .+ report", out)
    code, out, _ = call(capfd, *words)
    assert (code, "8 recorded before" in out) == (0, True)
    code, out, err = call(capfd, "report", str(tmp_path / "runs"), "--plot", "--csv", str(tmp_path / "cells.csv"))
    assert (code, err) == (0, "")
    assert "Test accuracy in %, pair noise" in out
    assert (tmp_path / "runs" / "accuracy.png").exists()
    assert (tmp_path / "runs" / "accuracy-training.png").exists()
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 9
    code, out, _ = call(capfd, "report", str(tmp_path / "runs"), "--csv")
    assert (code, len(out.splitlines())) == (0, 9)


def test_suite_then_report_of_folder_and_table(planted, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    grid = f'[[grid]]\nname = "%s"\ndatasets = ["{planted}"]\nnoise = ["pair"]\nrates = [0.3]\nseeds = 2\n'
    rows = 'methods = [{ name = "full", method = "lp" }, { name = "short", method = "lp:steps=1" }]\n'
    file = tmp_path / "own.toml"
    file.write_text(grid % "first" + 'methods = ["lp", "sgc"]\n' + grid % "second" + rows)
    words = ["bench", "suite", "own.toml", "--jobs", "1"]
    code, out, err = call(capfd, *words, "--list", "--json")
    assert (code, [row["cells"] for row in json.loads(out)["tables"][0]["rows"]]) == (0, [4, 4])
    code, out, err = call(capfd, *words, "--list")
    assert (code, err, (tmp_path / "runs").exists()) == (0, "", False)
    assert [line.split()[-2:] for line in out.splitlines()[2:4]] == [["4", "0"], ["4", "0"]]
    assert out.splitlines()[4].startswith("0 of 6 cells in runs")
    for more, bad in ((("--only", "third"), "--only: expected one of first, second"), (("--jobs", "0"), "jobs: ")):
        code, out, err = call(capfd, *words, *more)
        assert (code, out, bad in err, (tmp_path / "runs").exists()) == (1, "", True, False)
    code, out, _ = call(capfd, *words, "--only", "second")
    assert (code, "4 of 4 cells in runs (4 run, 0 recorded before" in out) == (0, True)
    code, out, err = call(capfd, *words)
    assert (code, "6 of 6 cells in runs (2 run, 4 recorded before" in out) == (0, True), err
    assert "report runs --suite own.toml --plot" in out
    code, out, _ = call(capfd, *words, "--list")
    assert [line.split()[-2:] for line in out.splitlines()[2:4]] == [["4", "4"], ["4", "4"]]
    code, out, err = call(capfd, "report", "runs", "--suite", "own.toml", "--csv", "own.csv", "--plot")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "own"
    assert re.findall(r"^(\w+): .*noisy validation labels", out, re.MULTILINE) == ["first", "second"]
    assert (tmp_path / "runs" / "accuracy-second.png").exists()
    tables = [line for line in out.splitlines()[1:] if not line.startswith("wrote")]
    code, out, err = call(capfd, "report", "own.csv")
    assert (code, err, out.splitlines()) == (0, "", tables)
    code, out, _ = call(capfd, "report", "own.csv", "--csv")
    assert out == (tmp_path / "own.csv").read_text()
    code, out, err = call(capfd, "report", "own.toml")
    assert (code, out, err.count("\n")) == (1, "", 1)


def test_tables_fit_eighty_columns_or_are_not_cut(planted, tmp_path, capfd):
    call(capfd, *nodes(planted, tmp_path, "--method", "lp,sgc", "--seeds", "3"))
    _, out, _ = call(capfd, "report", str(tmp_path))
    assert "…" not in out
    header = next(line for line in out.splitlines() if line.startswith("rate"))
    assert header.split() == ["rate", "0", "0.1", "0.2", "0.3", "0.4", "0.5"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        # Letters that changed places are nearer than another letter, as in 'sgc'.
        (["bench", "nodes", "--method", "gnc"], 1, "--method: expected one of .*did you mean 'gcn'"),
        (["bench", "nodes", "--noise", "piar"], 1, "--noise: expected one of .*did you mean 'pair'"),
        (["bench", "nodes", "--rate", "0,1.5"], 1, r"--rate: expected a rate in \[0, 1\], got 1.5"),
        (["bench", "nodes", "--rate", "0;1"], 1, r"--rate: expected a rate in \[0, 1\], got '0;1'"),
        (["bench", "nodes", "--method", "lp,,gcn"], 1, "--method: expected values separated by commas"),
        (["bench", "nodes", "--dataset", "kora"], 1, "error: --dataset: expected one of .*did you mean 'cora'"),
        (["bench", "cluster", "--dataset", "kora"], 1, "error: --dataset: expected one of .*did you mean 'cora'"),
        (["bench", "nodes", "--dataset", "nowhere.npz"], 1, "nowhere.npz"),
        (["bench", "cluster", "--masses", "nan"], 1, r"--masses: expected a number in \[0.001, 1e\+06\], got 'nan'"),
        (["bench", "cluster", "--accuracy", "1.5/2"], 1, r"--accuracy: a1: expected a rate in \[0, 1\], got 1.5"),
        (["bench", "cluster", "--accuracy", "gcn:1"], 1, "--accuracy: samples: expected an integer of at least 2"),
        (["bench", "speed", "propagate", "--width", "0"], 1, "--width: expected an integer from 1 to 65536, got 0"),
        (["bench", "speed", "propagate", "--width", "x"], 1, "--width: expected an integer from 1 to 65536, got 'x'"),
        (["bench", "nodes", "--seeds", "0"], 1, "--seeds: expected an integer from 1 to 10000, got 0"),
        (["bench", "nodes", "--seeds", "many"], 2, "--seeds"),
        (["bench", "nodes", "--jobs", "0"], 1, "--jobs: expected an integer of at least 1"),
        (["bench", "nodes", "--executor", "ray"], 1, "--executor: expected local, dask://HOST:PORT or slurm"),
        (["bench", "nodes", "--executor", "slurm:runing=2"], 1, "--executor: slurm: expected one of .*'running'"),
        (["bench", "nodes", "--select", "best"], 1, "--select: expected one of clean, noisy"),
        (["bench", "nodes", "--erase-stream"], 1, "--erase-stream: expected select='clean'"),
        (["bench", "nodes", "--method", "gcn:3"], 1, "--method: expected gcn:KEY=VALUE,…, got 'gcn:3'"),
        (["bench", "nodes", "--method", "gcn:hidden=many"], 1, "--method gcn: gcn.hidden: expected an integer"),
        (["bench", "nodes", "--method", "gcn:hiden=3"], 1, "--method: hyper-parameter of gcn: expected .*'hidden'"),
        (["bench", "nodes", "--draws", "3"], 2, "--draws"),
        (["bench", "nodse"], 2, "nodse"),
        (["bench", "nodes", "--root", "/no/such/folder"], 1, "--root: expected an existing folder"),
        (["bench", "suite"], 2, "file"),
        (["bench", "suite", "absent.toml"], 1, "absent.toml: expected a suite in TOML, got .*No such file"),
        (["report", "--suite", "absent.toml", "."], 1, "absent.toml: expected a suite in TOML, got .*No such file"),
        (["report", "no-such-folder"], 1, "folder: expected a folder of results"),
        (["data", "verify", "croa"], 1, "did you mean 'cora'"),
        (["data", "get", "croa"], 1, "did you mean 'cora'"),
        (["dta"], 2, "dta"),
    ],
)
def test_every_error_is_one_line_and_no_traceback(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    exit_code, out, err = call(capfd, *words)
    assert exit_code == code
    assert out == ""
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.search(message, err), err


def test_unexpected_errors_are_one_line_too(monkeypatch, capfd):
    def broken(*_, **__):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(cli, "app", broken)
    code, _, err = call(capfd, "report")
    assert (code, err.count("\n")) == (70, 1)
    assert "unexpected ZeroDivisionError: division by zero (GRAPHNOISE_TRACEBACK=1" in err


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["bench", "--help"], ["data", "--help"]])
def test_version_and_help_need_no_torch(words):
    code = f"""if True:
        import contextlib, io, sys
        import graphnoise.cli.main as cli
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            cli.app({words}, standalone_mode=False)
        print(len(shown.getvalue()) > 4, "torch" in sys.modules)"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == ["True", "False"]


def test_a_task_has_an_option_for_each_field_of_its_grid(capfd):
    from graphnoise.bench import registry

    for name in registry.names("tasks"):
        _, out, _ = call(capfd, "bench", name, "--help")
        options = registry.task(name).Grid.option_names()
        assert options.keys() == registry.task(name).Grid.model_fields.keys()
        for option in options.values():
            assert re.search(rf"{option}\s", out), (name, option)


def results(folder):
    return {r["key"]: {k: v for k, v in r["result"].items() if k != "run"} for r in Store(folder).records()}


def test_two_commands_finish_an_interrupted_one_and_nothing_is_lost_or_run_twice(planted, tmp_path, capfd):
    more = ("--method", "gcn:epochs=60,mlp:epochs=60", "--rate", "0,0.4", "--seeds", "4")
    words = [*COMMAND, *nodes(planted, tmp_path / "a", *more)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    process = subprocess.Popen(words, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    # Past the imports of the first cells: within one of their callbacks Python itself drops an interrupt.
    while len(list((tmp_path / "a").glob("*.json"))) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "to go on:" in err
    assert f"--out {tmp_path / 'a'}" in err
    before = results(tmp_path / "a")
    assert 4 <= len(before) < 16
    two = [subprocess.Popen(words, **pipes) for _ in range(2)]
    outs = [process.communicate(timeout=120)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0]
    counts = [
        [int(match[1]) if (match := re.search(rf"(\d+) {what}", out)) else 0 for out in outs]
        for what in ("run", "recorded before", "by other")
    ]
    assert [sum(of_command) for of_command in zip(*counts, strict=True)] == [16, 16], outs
    assert sum(counts[0]) == 16 - len(before), "nothing that was recorded, and nothing twice"
    call(capfd, *nodes(planted, tmp_path / "b", *more))
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert before.items() <= results(tmp_path / "a").items()
    assert not list((tmp_path / "a").glob("*.claim"))


@pytest.mark.parametrize(
    ("words", "target", "calls", "said"),
    [
        ("data get dblp", "datasets.sources.urllib.request.urlopen", 1, "interrupted"),
        ("report . --csv cells.csv", "bench.record.to_csv", 1, "interrupted"),
        ("bench nodes --out .", "bench.tasks.nodes.Nodes.run_cell", 2, "recorded stays in ."),
        ("bench speed propagate --out a.json", "bench.speed.propagate.Propagate.measure", 1, "nothing is recorded yet"),
        (
            "bench speed propagate --out a.json",
            "bench.speed.propagate.Propagate.measure",
            2,
            "recorded stays in a.json",
        ),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_by_its_code_and_with_how_to_go_on(
    number, words, target, calls, said, planted, tmp_path, monkeypatch, capfd
):
    from graphnoise.bench.speed import harness

    monkeypatch.delenv("GRAPHNOISE_DATA", raising=False)
    monkeypatch.setenv("GRAPHNOISE_CACHE", "cache")
    monkeypatch.chdir(tmp_path)
    if "report" in words:
        call(capfd, *nodes(planted, ".", "--method", "lp", "--rate", "0", "--seeds", "1"))
    if "nodes" in words:
        words += f" --jobs 1 --dataset {planted} --noise pair --method lp --rate 0.3 --seeds 3"
    if "speed" in words:
        words += " --size 40:90 --width 1,2 --baselines none --rounds 1 --threads 1"
        monkeypatch.setattr(harness, "MIN_SAMPLE", 1e-6)
        monkeypatch.setattr(harness, "COPY_BYTES", {"cpu": 1 << 12})
    original, called = pkgutil.resolve_name(f"graphnoise.{target}"), itertools.count(1)

    def stopped(*arguments, **named):
        if next(called) == calls:
            os.kill(os.getpid(), number)
        return original(*arguments, **named)

    monkeypatch.setattr(f"graphnoise.{target}", stopped)
    monkeypatch.setattr(sys, "argv", ["graphnoise", *words.split()])
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    # Ignored in the background of a shell or under nohup.
    usual = signal.signal(number, signal.default_int_handler)
    try:
        code, out, err = call(capfd, *words.split())
    finally:
        signal.signal(number, usual)
    assert code == 128 + number
    assert said in err
    assert re.search(rf"to go on:\s+graphnoise {re.escape(words)}\n", err)
    assert "Traceback" not in err
    after = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".claim"}
    assert before <= after
    assert [path.suffix for path in after - before] == [".json"] * (calls - 1)
    if calls == 2:
        assert "speed" not in words or "library, per step" in out
        code, out, _ = call(capfd, *words.split())
        assert (code, "1 recorded before" in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "nodes", "--out", "/dev/null/runs"], "cannot be written"),
        (["bench", "nodes", "--out", "/proc/runs"], "cannot be written"),
        (["bench", "speed", "propagate", "--out", "/proc/a.json"], "/proc/a.json: cannot be written"),
        (["bench", "speed", "propagate", "--out", "/tmp"], "/tmp: cannot be written"),
        (["report", ".", "--csv", "/proc/a.csv"], "/proc/a.csv: cannot be written"),
        (["report", ".", "--csv", "."], "cannot be written"),
        (["report", ".", "--plot", "/proc/a.png"], "/proc/a.png: cannot be written"),
        (["report", "/dev/null"], "/dev/null: expected the columns"),
        (["bench", "nodes", "--root", "~nosuch/x"], "--root: expected a folder, got '~nosuch/x', and there is no such"),
        (["data", "list", "--root", "~nosuch/x"], "--root: expected a folder, got '~nosuch/x', and there is no such"),
        (["bench", "nodes", "--dataset", "~nosuch/x.npz"], "--dataset: expected a folder, got '~nosuch/x.npz'"),
    ],
)
def test_targets_that_cannot_be_written_are_found_before_any_work(words, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if "~nosuch" not in words[-1]:
        monkeypatch.setattr("graphnoise.bench.task.Task.cells", lambda *_: pytest.fail("work has begun"))
    code, out, err = call(capfd, *words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_a_report_replaces_cells_and_no_other_file(planted, tmp_path, capfd):
    call(capfd, *nodes(planted, tmp_path, "--method", "lp", "--rate", "0", "--seeds", "1"))
    words = ("report", str(tmp_path), "--csv", str(tmp_path / "cells.csv"))
    for content in ("", "dataset,method\n"):
        (tmp_path / "cells.csv").write_text(content)
        assert call(capfd, *words)[0] == 0
    cells = (tmp_path / "cells.csv").read_text()
    assert cells.count("\n") == 2
    assert call(capfd, *words)[0] == 0
    assert (tmp_path / "cells.csv").read_text() == cells
    (tmp_path / "cells.csv").write_text("node,label\na,0\n")
    code, out, err = call(capfd, *words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "--csv: expected a new file, or cells to replace, got" in err
    assert (tmp_path / "cells.csv").read_text() == "node,label\na,0\n"


def test_a_full_device_is_one_line_and_stays_a_device(planted, tmp_path, capfd):
    call(capfd, *nodes(planted, tmp_path, "--method", "lp", "--rate", "0", "--seeds", "1"))
    (tmp_path / "link.csv").symlink_to("/dev/full")
    for target in ("/dev/full", tmp_path / "link.csv"):
        code, _, err = call(capfd, "report", str(tmp_path), "--csv", str(target))
        assert (code, err) == (1, f"graphnoise: error: {target}: cannot be written (No space left on device)\n")
    assert (tmp_path / "link.csv").is_symlink()
    assert Path("/dev/full").is_char_device()


def test_help_into_a_pipe_that_closes_ends_well():
    for words in ("--help", "bench --help", "data list --help"):
        line = f"{sys.executable} -m graphnoise.cli {words} | true; exit ${{PIPESTATUS[0]}}"
        assert subprocess.run(["bash", "-c", line], capture_output=True, check=False).returncode == 0


def test_without_a_terminal_lines_come_regularly(monkeypatch, capfd):
    from graphnoise.cli.console import Bar

    monkeypatch.setattr(Bar, "INTERVAL", 0.05)
    with Bar("fetching") as bar:
        time.sleep(0.2)
        bar.show(2, 5, "lp")
        time.sleep(0.2)
    err = capfd.readouterr().err
    assert "fetching, 0 s" in err
    assert "2 of 5 cells, 0 s" in err


def test_doctor_shows_the_installation_and_says_what_to_change(monkeypatch, tmp_path, capfd):
    import torch

    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "empty"))
    code, out, err = call(capfd, "doctor", "--root", str(tmp_path), "--json")
    facts = json.loads(out)
    assert (code, err, facts["data_sets"]) == (0, "", [])
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["instruction_set"]["used"] in facts["instruction_set"]["supported"]
    assert facts["propagation"]["native"] == "available"
    assert any("graphnoise data get cora" in line for line in facts["advice"])
    code, out, err = call(capfd, "doctor", "--root", str(tmp_path))
    assert (code, err) == (0, "")
    assert str(facts["processor"]) in out
    assert all(f"advice: {line}" in out for line in facts["advice"])
    environment = {**os.environ, "GRAPHNOISE_ISA": "baseline"}
    run = subprocess.run([*COMMAND, "doctor", "--json"], env=environment, capture_output=True, text=True, check=True)
    forced = json.loads(run.stdout)
    wider = forced["instruction_set"]["supported"][-1]
    assert forced["instruction_set"]["used"] == "baseline"
    assert any(f"also supports {wider}" in line for line in forced["advice"]) == (wider != "baseline")


def test_data_sets_are_listed_as_json(capfd):
    code, out, _ = call(capfd, "data", "list", "--json")
    lists = json.loads(out)
    assert (code, list(lists)) == (0, ["graphs", "clicks", "labels"])
    cora = next(entry for entry in lists["graphs"] if entry["name"] == "cora")
    assert (cora["nodes"], cora["edges"], cora["licence"][:9]) == (2708, 5278, "Planetoid")


def test_tables_as_json_have_the_figures_of_the_tables(planted, tmp_path, capfd):
    folder = str(tmp_path / "runs")
    call(capfd, *nodes(planted, folder, "--method", "lp,sgc", "--rate", "0.3", "--seeds", "2"))
    code, plain, _ = call(capfd, "report", folder)
    assert code == 0
    code, out, err = call(capfd, "report", folder, "--json", "--csv", str(tmp_path / "cells.csv"))
    report = json.loads(out)
    assert (code, "wrote" in err) == (0, True)
    table = next(table for table in report["tables"] if "Test accuracy" in table["title"])
    assert [next(iter(row.values())) for row in table["rows"]][:2] == ["lp", "sgc"]
    for row in table["rows"]:
        assert all(str(value) in plain for value in row.values() if isinstance(value, str))
    code, out, err = call(capfd, "report", str(tmp_path / "absent"), "--json")
    assert (code, out) == (1, "")
    code, out, err = call(capfd, "report", folder, "--csv", "--json")
    assert (code, out, "--csv: expected a file with --json" in err) == (1, "", True)


def test_a_table_comes_in_parts_where_the_terminal_is_narrow(monkeypatch, capfd):
    headers = ["first value", *(f"v{k}" for k in range(12))]
    table = columns("data set", ["detector", *headers], left=2)
    table.add_row("amazon-computers", "self-confidence", *(f"{k}.0±0.1" for k in range(13)))
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "_width", 60)
    monkeypatch.setattr(console, "_color_system", None)
    wide(table)
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    rows = [line.split() for line in lines if line.startswith("amazon-computers  self-confidence")]
    assert [cell for row in rows for cell in row[2:]] == [f"{k}.0±0.1" for k in range(13)]
    assert lines.count("") == len(rows) - 1 > 0
    with tables_as_json():
        wide(table)
    assert len(json.loads(capfd.readouterr().out)["tables"]) == 1


def test_an_audit_as_json_has_names_as_they_are(tmp_path, capfd):
    edges, labels = tmp_path / "edges.csv", tmp_path / "labels.csv"
    pairs = list(itertools.combinations(range(8), 2))
    edges.write_text("source,target\n" + "".join(f"{a}_0,{b}_0\n{a}_1,{b}_1\n" for a, b in pairs))
    # One of the first group has the class of the second.
    given = {f"{k}_{group}": "ab"[group] if k else "b" for k in range(8) for group in range(2)}
    labels.write_text("node,label\n" + "".join(f"{node},{name}\n" for node, name in given.items()))
    words = [str(edges), str(labels), "--fdr", "0.9", "--out", str(tmp_path / "audit")]
    code, out, err = call(capfd, "audit", *words, "--json")
    assert (code, err) == (0, "")
    # Python would read it as the number 0.
    assert json.loads(out)["tables"][0]["rows"][0]["node"] == "0_0"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), InputError("x: wrong")])
def test_json_is_whole_when_a_command_stops(capsys, stop):
    def run():
        with tables_as_json():
            console.print("before")
            raise stop

    with pytest.raises(type(stop)):
        run()
    assert json.loads(capsys.readouterr().out) == {"tables": [], "text": "before"}


def test_a_value_of_the_environment_is_named_by_its_variable(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GRAPHNOISE_DATA", str(tmp_path / "absent"))
    assert "error: GRAPHNOISE_DATA: expected an existing folder" in call(capfd, "doctor")[2]
    assert "error: --root: expected an existing folder" in call(capfd, "doctor", "--root", str(tmp_path / "absent"))[2]
