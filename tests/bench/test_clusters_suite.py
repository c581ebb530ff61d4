"""Suites of the cluster benchmark, its tables, its CSV and its plot."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from graphnoise import DataError, InputError
from graphnoise.bench import old_tasks as tasks
from graphnoise.bench.clusters import grid as grids
from graphnoise.bench.clusters import methods, plots
from graphnoise.bench.clusters.report import render
from graphnoise.bench.clusters.results import sections
from graphnoise.bench.clusters.suite import read
from graphnoise.bench.clusters.table import Table, is_table, to_csv
from graphnoise.bench.runner import Store, cell_key

DATA = "planted(n=120,block=40,p=0.4,q=0.02)"
SUITE = f"""
task = "cluster"
title = "Small planted graphs"
[defaults]
datasets = ["{DATA}"]
seeds_per_class = 3
[[grid]]
name = "degree"
methods = ["fd", "lfd"]
accuracies = ["0.9/0.8", "0.6/0.8"]
[[grid]]
name = "eps"
methods = ["lfd", "lfd:eps=0.2"]
accuracies = ["0.9/0.8"]
[[grid]]
name = "unit"
methods = ["lfd"]
accuracies = ["0.9/0.8"]
sink = "unit"
multiples = [1.0, 2.0]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.toml"
    path.write_text(SUITE)
    return read(path)


@pytest.fixture(scope="module")
def store(suite, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    assert suite.run(store).complete
    return store


def text(source):
    console = Console(width=160, file=io.StringIO())
    for section in sections(source)[0]:
        for part in render(section):
            console.print(part)
    return console.file.getvalue()


def test_cells_are_those_of_grids_run_alone_and_shared_ones_run_once(suite, store):
    alone = grids.Grid([DATA], ["fd", "lfd"], ["0.9/0.8", "0.6/0.8"], seeds_per_class=3)
    assert suite.cells["degree"] == alone.cells()
    assert {name: len(cells) for name, cells in suite.cells.items()} == {"degree": 18, "eps": 9, "unit": 6}
    summary = suite.run(store)
    assert (summary.total, summary.done, summary.skipped) == (18 + 3 + 6, 0, 27)
    assert suite.only(["unit"]).run(store).skipped == 6


def test_a_line_names_a_cell(suite):
    assert suite.name(suite.cells["degree"][1]) == f"{DATA} fd, labels 0.9/0.8, class 0"
    assert suite.about("eps") == ([DATA], ["labels", "lfd", "lfd:eps=0.2"], 3)


def test_sections_follow_the_suite(suite, store):
    found, remarks = sections(suite.select(store))
    assert remarks == []
    assert [(s.grid, s.labels, s.methods, s.classes) for s in found] == [
        ("degree", "0.9/0.8", ["labels", "fd", "lfd"], [0, 1, 2]),
        ("degree", "0.6/0.8", ["labels", "fd", "lfd"], [0, 1, 2]),
        ("eps", "0.9/0.8", ["labels", "lfd", "lfd:eps=0.2"], [0, 1, 2]),
        ("unit", "0.9/0.8", ["labels", "lfd"], [0, 1, 2]),
    ]
    assert found[0].values("lfd", 1, "f1") == found[2].values("lfd", 1, "f1")
    assert found[0].values("lfd", 1, "f1") != found[3].values("lfd", 1, "f1")
    assert found[0].labelled == {"labels": True, "fd": False, "lfd": True}


def test_measures_and_means_are_those_of_the_trials(store):
    section = sections(store)[0][1]
    assert section.labels == "0.9/0.8"
    values = np.array([list(section.values("fd", target, "f1").values()) for target in section.classes])
    assert values.shape == (3, 3)
    mean = section.mean("fd")
    assert mean.value == pytest.approx(values.mean())
    error = np.sqrt((values.var(axis=1, ddof=1) / 3).sum()) / 3
    assert mean.half_width == pytest.approx(stats.t.ppf(0.975, 6) * error)
    base = np.array([list(section.values("labels", target, "f1").values()) for target in section.classes])
    assert section.gain("fd").value == pytest.approx((values - base).mean())
    p, r, f = (section.values("fd", 0, name)[0] for name in ("precision", "recall", "f1"))
    assert f == pytest.approx(2 * p * r / (p + r))
    assert section.mean("acl") is None


def test_seeds_of_two_runs_are_put_together(store, tmp_path):
    other = Store(tmp_path)
    for first, seeds in ((0, 2), (2, 1)):
        grids.run(grids.Grid([DATA], ["fd"], ["0.9/0.8"], seeds_per_class=seeds, first_seed=first), other)
    ours = sections(other)[0][0].values("fd", 2, "f1")
    theirs = next(s for s in sections(store)[0] if s.labels == "0.9/0.8" and "fd" in s.methods).values("fd", 2, "f1")
    assert ours == theirs


def test_tables_say_where_labels_alone_are_better(store):
    shown = text(store)
    assert re.search(r"^labels\s+\d+\.\d±\d+\.\d\s+\d", shown, re.MULTILINE)
    assert re.search(r"^fd\s+\S+\s+[+-]\d+\.\d±", shown, re.MULTILINE)
    assert "beats labels" in shown
    assert re.search(r"^2 \(40\)", shown, re.MULTILINE)


def test_what_is_missing_and_what_is_foreign_is_told(suite, tmp_path):
    other = Store(tmp_path)
    grids.run(grids.Grid([DATA], ["acl", "fd"], ["0.9/0.8"], seeds_per_class=3), other)
    old = {"task": "speed"}
    other.write(cell_key(old), old, {})
    found, remarks = sections(suite.select(other))
    assert [section.grid for section in found] == ["degree", "eps"]
    assert [remark.partition(": ")[2] for remark in remarks] == [
        "cells that are not there yet: 12 of 18 of 'degree', 6 of 9 of 'eps', 6 of 6 of 'unit'",
        "4 cells that are not of the suite are left out",
    ]
    with pytest.raises(DataError, match="expected cells of the suite 'Small planted graphs', got none"):
        suite.only(["unit"]).select(other)


def test_a_table_gives_the_same_report_without_folder_and_suite(suite, store, tmp_path):
    for source in (store, suite.select(store)):
        path = tmp_path / "cells.csv"
        path.write_text(to_csv(source))
        table = Table(path)
        assert is_table(path)
        assert text(table) == text(source)
        assert to_csv(table) == path.read_text()
        assert isinstance(tasks.read_source(path), Table)
    assert len(path.read_text().splitlines()) == 1 + 33
    assert to_csv(suite.select(table)) == path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("conductance", "phi", 1), "got none named 'conductance'"),
        (lambda t: t.replace("converged\n", "converged,converged\n", 1), "got one twice"),
        (lambda t: t.replace(",lfd,1,", ",lfd,1,x,", 1), r"line \d+: expected 31 values, got 32"),
        (lambda t: t.replace("0.9/0.8", "0.9", 1), "line 2: expected a value of labels, got '0.9'"),
        (lambda t: t.replace(",40,labels", ",0,labels", 1), "line 2: expected a value of class_size, got '0'"),
        (lambda t: t.replace("{}", "[]", 1), r"expected a value of parameters, got '\[\]'"),
        (lambda t: t.replace("[true, ", "[", 1), "line 2: expected 3 values of converged, one a seed, got 2"),
        (lambda t: t.replace("[true, ", "[1, ", 1), "expected a value of converged"),
        (
            lambda t: re.sub(r"\"\[(\d+), (\d+), (\d+)\]\"", '"[-1, 1, 2]"', t, count=1),
            "expected a value of seed_nodes",
        ),
        (lambda t: t.replace("[null, null, null]", "[null, null, NaN]", 1), "expected a value of mass"),
        (lambda t: t + t.splitlines()[-1] + "\n", "line 35: expected every cell once, got that of line 34 again"),
        (lambda t: t + '"', "expected a table of cells, which can be read"),
        (
            lambda t: re.sub(r'(null\]","\[\d+, \d+, \d+\]","\[)\d+', r"\g<1>41", t, count=1),
            "line 2: expected at most 40",
        ),
    ],
)
def test_tables_that_are_not_whole_are_refused(change, message, suite, store, tmp_path):
    path = tmp_path / "cells.csv"
    before = to_csv(suite.select(store))
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Table(path)


def test_a_figure_for_each_grid(suite, store, tmp_path):
    files = plots.draw(sections(suite.select(store))[0], tmp_path / "f1.png")
    assert [file.name for file in files] == ["f1-degree.png", "f1-eps.png", "f1-unit.png"]
    assert all(file.stat().st_size > 5000 for file in files)
    with pytest.raises(InputError, match="a file name that ends in"):
        plots.draw([], tmp_path / "f1.txt")


def test_cells_of_both_benchmarks_are_told_apart(store, tmp_path):
    both = Store(tmp_path)
    for record in store.records():
        both.write(record["key"], record["config"], record["result"])
    config = {"task": "nodes", "protocol": 0}
    both.write(cell_key(config), config, {})
    parts, remarks = tasks.split(both)
    assert [(name, len(part.cells)) for name, part in parts.items()] == [("nodes", 1), ("cluster", 27)]
    assert remarks == []
    assert list(tasks.split(both, "cluster")[0]) == ["cluster"]
    with pytest.raises(DataError, match="expected cells of `graphnoise bench nodes`, got none"):
        tasks.split(store, "nodes")
    with pytest.raises(DataError, match="`graphnoise bench nodes` or `graphnoise bench cluster`, got none"):
        tasks.split(Store(tmp_path / "empty"))


A = 'task = "cluster"\n[[grid]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('task = "cluster"', "grid: expected at least one"),
        ('task = "clusters"', "task: expected one of cluster, nodes, got 'clusters' .did you mean 'cluster'"),
        ("task = 3", "task: expected one of cluster, nodes, got '3'|task: .* got 3"),
        (A.replace("[[", "title = 3\n[["), "title: expected a text of one line, got 3"),
        (A + "seeds=3", "grid 'a': key: expected one of .* got 'seeds' .did you mean 'first_seed'|grid 'a': key: "),
        (A + "draws=3", "grid 'a': key: expected one of .* got 'draws'"),
        (A + "datasets='cora'", "grid 'a': datasets: expected a list"),
        (A + "methods=['lfdd']", "grid 'a': method: .* .did you mean 'lfd'"),
        (A + "accuracies=['0.9']", "grid 'a': accuracy: expected A1/A0"),
        (A + "sink='deep'", "grid 'a': sink: expected one of degree, unit"),
        (A + "multiples=[0]", "grid 'a': multiples: expected a number in"),
        (A + "seeds_per_class=0", "grid 'a': seeds_per_class: expected an integer from 1"),
        (A + '[[grid]]\nname="a"', "grid 2: expected a name that no other grid has, got 'a'"),
        (A + '[defaults]\nname="a"', "defaults: expected one of .* got 'name'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_file_grid_and_key(content, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        tasks.read_suite(path)
    assert re.match(re.escape(str(path)) + ": (" + message + ")", str(error.value), re.DOTALL), error.value


def test_the_committed_suites_can_be_read():
    from pathlib import Path

    for path in sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("local-clustering-*.toml")):
        assert isinstance(tasks.read_suite(path).title, str)


def test_cells_of_another_version_are_left_out(suite, store, monkeypatch):
    monkeypatch.setitem(methods.VERSIONS, "fd", "2")
    selected = suite.select(store)
    assert {record["config"]["method"] for record in selected.cells} == {"labels", "lfd"}
    assert selected.remarks() == [
        f"{store.folder}: cells that are not there yet: 6 of 18 of 'degree'",
        f"{store.folder}: 6 cells that are not of the suite are left out",
    ]
