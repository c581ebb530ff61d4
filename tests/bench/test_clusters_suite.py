"""Suites and reports of the local clustering benchmark: tables, CSV, plots, and the command line."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from graphnoise import DataError, InputError
from graphnoise.bench import plots, registry
from graphnoise.bench.methods.clusterings import Flow
from graphnoise.bench.record import Table, by_task, open_source, to_csv
from graphnoise.bench.report import render
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.suite import Suite
from graphnoise.bench.tasks.cluster import Cluster
from graphnoise.cli.main import main

CLUSTER = Cluster()
DATA = "planted(n=120,block=40,p=0.4,q=0.02)"
SUITE = f"""
task = "cluster"
title = "Small planted graphs"
[defaults]
datasets = ["{DATA}"]
seeds = 3
[[grid]]
name = "degree"
methods = ["flow", "label_flow"]
accuracies = ["0.9/0.8", "0.6/0.8"]
[[grid]]
name = "eps"
methods = ["label_flow", {{ name = "heavier", method = "label_flow:label_eps=0.2" }}]
accuracies = ["0.9/0.8"]
[[grid]]
name = "unit"
methods = ["label_flow"]
accuracies = ["0.9/0.8"]
sink = "unit"
multiples = [1.0, 2.0]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.toml"
    path.write_text(SUITE)
    return Suite.read(path)


@pytest.fixture(scope="module")
def store(suite, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    assert suite.run(store).complete
    return store


def grid(methods, **settings):
    return CLUSTER.Grid(**{"datasets": [DATA], "methods": methods, "accuracies": ["0.9/0.8"], "seeds": 3} | settings)


def sections(source):
    return CLUSTER.sections(by_task(source)[0]["cluster"])


def text(source):
    console = Console(width=160, file=io.StringIO())
    for section in sections(source):
        for part in render(CLUSTER, section):
            console.print(part)
    return console.file.getvalue()


def test_cells_are_those_of_grids_run_alone_and_shared_ones_run_once(suite, store):
    alone = grid(["flow", "label_flow"], accuracies=["0.9/0.8", "0.6/0.8"])
    assert suite.cells["degree"] == CLUSTER.cells(alone)
    assert {name: len(cells) for name, cells in suite.cells.items()} == {"degree": 18, "eps": 9, "unit": 6}
    summary = suite.run(store)
    assert (summary.total, summary.done, summary.skipped) == (18 + 3 + 6, 0, 27)
    assert suite.describe(suite.cells["degree"][1]) == f"degree: flow, {DATA} flow, labels 0.9/0.8, class 0"


def test_sections_follow_the_suite(suite, store):
    selected = suite.select(store)
    assert selected.remarks() == []
    first, *others = sections(selected)
    assert [(s.grid, s.name, s.methods, s.classes) for s in (first, *others)] == [
        ("degree", (DATA, "0.9/0.8"), ["labels", "flow", "label_flow"], [0, 1, 2]),
        ("degree", (DATA, "0.6/0.8"), ["labels", "flow", "label_flow"], [0, 1, 2]),
        ("eps", (DATA, "0.9/0.8"), ["labels", "label_flow", "heavier"], [0, 1, 2]),
        ("unit", (DATA, "0.9/0.8"), ["labels", "label_flow"], [0, 1, 2]),
    ]
    values = [section.values("label_flow", 1) for section in (first, *others)]
    assert values[0] == values[2]
    assert values[0] != values[3]
    assert first.uses_labels == {"labels": True, "flow": False, "label_flow": True}


def test_without_a_suite_methods_have_the_order_of_the_registry_and_their_parameters(store):
    methods = ["labels", "flow", "label_flow", "label_flow:label_eps=0.2"]
    assert [s.methods for s in sections(store)] == [methods[:3], methods[:2] + methods[2:], methods[:1] + methods[2:3]]


def test_measures_and_means_are_those_of_the_trials(store):
    section = sections(store)[1]
    assert section.name[1] == "0.9/0.8"
    values = np.array([list(section.values("flow", target).values()) for target in section.classes])
    assert values.shape == (3, 3)
    mean = section.mean("flow")
    assert mean.mean == pytest.approx(values.mean())
    error = np.sqrt((values.var(axis=1, ddof=1) / 3).sum()) / 3
    assert mean.half_width == pytest.approx(stats.t.ppf(0.975, 6) * error)
    base = np.array([list(section.values("labels", target).values()) for target in section.classes])
    assert section.gain("flow").mean == pytest.approx((values - base).mean())
    assert section.scores("flow") == pytest.approx(dict(enumerate(values.mean(axis=1))))
    p, r, f = (section.values("flow", 0, name)[0] for name in ("precision", "recall", "f1"))
    assert f == pytest.approx(2 * p * r / (p + r))
    assert section.mean("pagerank") is None


def test_seeds_of_two_runs_are_put_together(store, tmp_path):
    other = Store(tmp_path)
    for first, seeds in ((0, 2), (2, 1)):
        CLUSTER.run(grid(["flow"], seeds=seeds, first_seed=first), other)
    assert sections(other)[0].values("flow", 2) == sections(store)[1].values("flow", 2)


def test_tables_say_where_labels_alone_are_better(store):
    shown = text(store)
    assert re.search(r"^labels\s+\d+\.\d±\d+\.\d\s+\d", shown, re.MULTILINE)
    assert re.search(r"^flow\s+\S+\s+[+-]\d+\.\d±", shown, re.MULTILINE)
    section = sections(store)[1]
    wins = sum(section.scores("flow")[target] > f1 for target, f1 in section.scores("labels").items())
    assert re.search(rf"^beats labels\s+{wins}\s", shown[shown.index(section.title) :], re.MULTILINE)
    assert re.search(r"^2 \(40\)", shown, re.MULTILINE)


def test_what_is_missing_and_what_is_foreign_is_reported(suite, tmp_path):
    other = Store(tmp_path)
    CLUSTER.run(grid(["pagerank", "flow"]), other)
    old = {"task": "speed"}
    other.write(cell_key(old), old, {})
    selected = suite.select(other)
    assert [section.grid for section in sections(selected)] == ["degree", "eps"]
    assert [remark.partition(": ")[2] for remark in selected.remarks()] == [
        "cells that are not there yet: 12 of 18 of 'degree', 6 of 9 of 'eps', 6 of 6 of 'unit'",
        "4 cells that are not of the suite are left out",
    ]
    with pytest.raises(DataError, match="expected cells of the suite 'Small planted graphs', got none"):
        suite.only(["unit"]).select(other)


def test_data_sets_without_a_cell_are_reported(store, tmp_path):
    path = tmp_path / "more.toml"
    path.write_text(SUITE.replace("datasets = [", 'datasets = ["cora", '))
    assert Suite.read(path).select(store).remarks() == [f"{store.folder}: data sets without a cell yet: cora"]


def test_cells_of_another_version_are_left_out_of_a_suite_and_named_otherwise(suite, store, tmp_path, monkeypatch):
    monkeypatch.setattr(Flow, "version", "2")
    newer = Suite.read(suite.path)
    selected = newer.select(store)
    assert {record["config"]["method"] for record in selected.cells} == {"labels"}
    both = Store(tmp_path)
    for record in store.records():
        both.write(record["key"], record["config"], record["result"])
    CLUSTER.run(grid(["flow"], first_seed=3), both)
    assert {"flow:version=1", "flow:version=2"} <= set(sections(both)[1].methods)


def test_methods_that_are_not_installed_are_reported_with_all_parameters(store, monkeypatch):
    known = {name: point for name, point in registry.names("clusterings").items() if name != "label_flow"}
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda group: known if group == "clusterings" else names(group))
    (label,) = set(sections(store)[2].methods) - {"labels"}
    assert label.startswith("label_flow:improve=none,label_eps=0.05,max_pushes=1500000,")


def test_a_table_gives_the_same_report_without_folder_and_suite(suite, store, tmp_path):
    for source in (store, suite.select(store)):
        path = tmp_path / "cells.csv"
        path.write_text(to_csv(CLUSTER, list(source.records())))
        table = open_source(path)
        assert isinstance(table, Table)
        assert text(table) == text(source)
        assert to_csv(CLUSTER, list(table.records())) == path.read_text()
    assert len(path.read_text().splitlines()) == 1 + 33
    assert to_csv(CLUSTER, list(suite.select(table).records())) == path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("conductance", "phi", 1), "got none named 'conductance'"),
        (lambda t: t.replace("0.9/0.8", "0.9", 1), "line 2: expected a value of labels, got '0.9'"),
        (lambda t: t.replace(",40,labels", ",0,labels", 1), "line 2: expected a value of class_size, got '0'"),
        (lambda t: t.replace("{}", "[]", 1), r"expected a value of parameters, got '\[\]'"),
        (lambda t: t.replace('"[1.5,', '"[-1.5,', 1), "line 2: expected a value of multiples"),
        (lambda t: t.replace("[true, ", "[", 1), "line 2: expected a value of converged"),
        (lambda t: t.replace("[true, ", "[1, ", 1), "expected a value of converged"),
        (lambda t: re.sub(r'"\[\d+, \d+, \d+\]"', '"[-1, 1, 2]"', t, count=1), "expected a value of seed_nodes"),
        (lambda t: t.replace("[null, null, null]", "[null, null, NaN]", 1), "expected a value of mass"),
        (lambda t: t.replace(']",3,0,', ']",4,0,', 1), "line 2: seed_nodes: expected 4 values, one per seed, got 3"),
        (
            lambda t: re.sub(r'(null\]","\[\d+, \d+, \d+\]","\[)\d+', r"\g<1>41", t, count=1),
            "line 2: hits: expected at most 40, got 41",
        ),
    ],
)
def test_tables_that_are_not_whole_are_refused(change, message, suite, store, tmp_path):
    path = tmp_path / "cells.csv"
    before = to_csv(CLUSTER, list(suite.select(store).records()))
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Table(path)


def test_what_is_wrong_with_a_file_is_said_with_file_grid_and_key(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('task = "cluster"\n[[grid]]\nname = "a"\naccuracies = ["0.9"]\n')
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: grid 'a': accuracies: expected A1/A0"):
        Suite.read(path)


def test_a_figure_for_each_grid(suite, store, tmp_path):
    files = plots.draw(CLUSTER, sections(suite.select(store)), tmp_path / "f1.png")
    assert [file.name for file in files] == ["f1-degree.png", "f1-eps.png", "f1-unit.png"]
    assert all(file.stat().st_size > 5000 for file in files)


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def cluster(folder, *more):
    return ["bench", "cluster", "--dataset", DATA, "--seeds", "2", "--out", str(folder), "--jobs", "1", *more]


def test_bench_then_report(tmp_path, capfd):
    methods = "flow,label_flow,label_flow:label_eps=0.2,rounding=sweep"
    words = cluster(tmp_path / "runs", "--method", methods, "--accuracy", "0.9/0.9", "--masses", "1.5,2")
    code, out, err = call(capfd, *words)
    assert (code, "12 of 12 cells" in out, "12 run" in out) == (0, True, True), err
    code, out, _ = call(capfd, *words)
    assert (code, "12 recorded before" in out) == (0, True)
    code, out, err = call(capfd, "report", str(tmp_path / "runs"), "--plot", "--csv", str(tmp_path / "cells.csv"))
    assert (code, err) == (0, "")
    rows = re.findall(r"^(labels|flow|label_flow\S*)  +", out, re.MULTILINE)
    assert rows[:4] == ["labels", "flow", "label_flow", "label_flow:label_eps=0.2,rounding=sweep"]
    assert "…" not in out
    assert (tmp_path / "runs" / "f1.png").exists()
    tables = [line for line in out.splitlines() if not line.startswith("wrote")]
    code, out, err = call(capfd, "report", str(tmp_path / "cells.csv"))
    assert (code, err, out.splitlines()) == (0, "", tables)
    code, out, _ = call(capfd, "report", str(tmp_path / "runs"), "--csv")
    assert (code, out) == (0, (tmp_path / "cells.csv").read_text())


def test_a_folder_of_two_benchmarks_reports_both(planted, tmp_path, capfd):
    runs = str(tmp_path / "runs")
    call(capfd, *cluster(runs, "--method", "flow", "--accuracy", "0.9/0.9"))
    few = ["--method", "lp", "--noise", "pair", "--rate", "0.3", "--seeds", "2", "--jobs", "1"]
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
