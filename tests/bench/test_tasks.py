"""What holds for every task: results, stored cells, tables in files, suites, reports and commands."""

import csv
import io
import json
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from rich.console import Console

from graphnoise import DataError, InputError
from graphnoise.bench import plots, registry
from graphnoise.bench.record import Table, by_task, to_csv
from graphnoise.bench.report import render
from graphnoise.bench.runner import Store
from graphnoise.bench.suite import Suite
from graphnoise.cli.main import main

GRIDS = {
    "nodes": {
        "datasets": ["planted(n=240,block=80,p=0.2,q=0.02)"],
        "methods": ["lp", "gcn:epochs=3"],
        "noise": ["pair"],
        "rates": [0.0, 0.3],
    },
    "cluster": {
        "datasets": ["planted(n=120,block=40,p=0.4,q=0.02)"],
        "methods": ["flow", "label_flow:label_eps=0.2"],
        "accuracies": ["0.9/0.8"],
    },
    "detect": {
        "datasets": ["planted(n=120,block=40,p=0.2,q=0.02)"],
        "methods": ["lp", "self-confidence:folds=3"],
        "noise": ["pair"],
        "rates": [0.0, 0.3],
    },
    "recommend": {
        "datasets": ["planted(users=60,items=40,density=0.2)"],
        "methods": ["bpr:factors=16", "linear:low_pass=0,core=autoencoder"],
        "noise": ["both"],
        "rates": [0.2],
        "trials": 2,
    },
}
ALWAYS = ("labels", "popularity", "itemknn-plain")
# Times, and what the CSV does not keep.
UNEQUAL = ("run", "seconds", "curves", "predictions")
each_task = pytest.mark.parametrize("name", GRIDS)


def grid_of(name, **changes):
    return registry.task(name).Grid(**GRIDS[name] | {"seeds": 2} | changes)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return a function from the name of a task to the store of its grid."""
    stored = {}

    def store(name):
        if name not in stored:
            stored[name] = Store(tmp_path_factory.mktemp(name))
            assert registry.task(name).run(grid_of(name), stored[name]).complete
        return stored[name]

    return store


@pytest.fixture(scope="module")
def workers():
    """Two processes for all tasks, which import torch once; `jobs=2` opens the like."""
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


def without(value, names):
    if isinstance(value, dict):
        return {key: without(part, names) for key, part in value.items() if key not in names}
    return [without(part, names) for part in value] if isinstance(value, list) else value


def results(source):
    return {record["key"]: without(record["result"], ("run", "seconds")) for record in source.records()}


def text(name, source):
    task, console = registry.task(name), Console(width=160, file=io.StringIO())
    for section in task.sections(by_task(source)[0][name]):
        for part in render(task, section):
            console.print(part)
    # The trials of a search are not in the CSV.
    return re.sub(r", at most \d+ trials a method", "", console.file.getvalue())


def suite_text(name):
    defaults = "\n".join(f"{key} = {json.dumps(value)}" for key, value in GRIDS[name].items() if key != "methods")
    first, second = map(json.dumps, GRIDS[name]["methods"])
    return f"""
task = "{name}"
[defaults]
{defaults}
seeds = 2
[[grid]]
name = "first"
methods = [{first}]
[[grid]]
name = "both"
methods = [{{ name = "another name", method = {second} }}, {first}]
"""


def csv_of(name, source):
    return to_csv(registry.task(name), list(source.records()))


@each_task
def test_results_do_not_depend_on_jobs_executor_or_interruptions(name, stores, workers, tmp_path):
    task, grid = registry.task(name), grid_of(name)
    first, second, third = (Store(tmp_path / label) for label in ("parts", "processes", "threads"))
    part = task.run(grid_of(name, methods=GRIDS[name]["methods"][1:]), first)
    summary = task.run(grid, first)
    assert (summary.skipped, summary.done) == (part.done, summary.total - part.done)
    assert 0 < part.done < summary.total
    assert task.run(grid, second, executor=workers).complete
    with ThreadPoolExecutor(1) as executor:
        assert task.run(grid, third, executor=executor).complete
    assert results(stores(name)) == results(first) == results(second) == results(third)


@each_task
def test_draws_differ_and_a_later_first_seed_goes_on_with_them(name, stores, tmp_path):
    later = Store(tmp_path)
    assert registry.task(name).run(grid_of(name, seeds=1, first_seed=1), later).complete
    if name == "cluster":
        trials = [record["result"]["trials"] for record in stores(name).records()]
        assert any(without(first, UNEQUAL) != without(second, UNEQUAL) for first, second in trials)
        last = {json.dumps(without(pair[1], UNEQUAL)) for pair in trials}
        assert {json.dumps(without(r["result"]["trials"][0], UNEQUAL)) for r in later.records()} == last
    else:
        both, one = results(stores(name)), results(later)
        assert one.items() <= both.items()
        assert len({json.dumps(result) for result in both.values()}) > len(one)


@each_task
def test_cells_are_different_and_other_data_under_the_same_name_are_refused(name):
    task = registry.task(name)
    cells = task.cells(grid_of(name))
    assert len({json.dumps(cell, sort_keys=True) for cell in cells}) == len(cells)
    with pytest.raises(DataError, match="expected data with hash 0000"):
        task.run_cell({**cells[0], "data": "0000"})


@each_task
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": []}, "methods: expected a list with at least one entry"),
        ({"methods": "lp"}, "methods: expected a list"),
        ({"methods": ["lpp"]}, "method: expected one of .* got 'lpp'"),
        ({"methods": ["METHOD:unknown=1"]}, "METHOD.*: expected one of .* got 'unknown'"),
        ({"methods": ["METHOD:value"]}, "methods: expected METHOD:KEY=VALUE,…, got"),
        ({"methods": ["METHOD:a=3,a=4"]}, "methods: expected each option of METHOD once, got a twice"),
        ({"seeds": 0}, "seeds: expected an integer from 1 to 10000"),
        ({"seeds": 10**9}, "seeds: expected an integer from 1 to 10000"),
        ({"first_seed": -1}, "first_seed: expected an integer of at least 0"),
        ({"sedes": 3}, "key: expected one of .* got 'sedes' .did you mean 'seeds'"),
        ({"datasets": ["coura"]}, "expected one of .* got 'coura'"),
        ({"datasets": ["planted"]}, "expected (one of .*)?planted.*got 'planted'"),
        ({"datasets": ["planted(PLANTED,x=1)"]}, "dataset: planted: expected one of .* got 'x'"),
        ({"datasets": ["planted()"]}, "dataset: expected planted"),
        ({"datasets": ["planted(seed=1)"]}, "dataset: expected planted.* got .*without"),
        ({"datasets": ["planted(PLANTED,seed=a)"]}, "dataset: planted: seed: expected a number .int., got 'a'"),
        ({"datasets": ["planted(PLANTED,seed=1,seed=2)"]}, "dataset: expected each option of planted once"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(name, changes, message):
    method = GRIDS[name]["methods"][0].partition(":")[0]
    planted = GRIDS[name]["datasets"][0].removeprefix("planted(").removesuffix(")")
    words = json.dumps(changes).replace("METHOD", method).replace("PLANTED", planted)
    with pytest.raises(InputError, match=message.replace("METHOD", method)):
        registry.task(name).cells(grid_of(name, **json.loads(words)))


@each_task
def test_a_table_gives_the_report_of_the_folder_or_the_suite(name, stores, tmp_path):
    task = registry.task(name)
    (suite := tmp_path / "suite.toml").write_text(suite_text(name))
    selected = Suite.read(suite).select(stores(name))
    for source in (stores(name), selected):
        path = tmp_path / "cells.csv"
        path.write_text(csv_of(name, source))
        table = Table(path)
        assert text(name, table) == text(name, source)
        assert csv_of(name, table) == path.read_text()
        assert [r["config"] for r in table.records()] == [r["config"] for r in source.records()]
    assert csv_of(name, Suite.read(suite).select(table)) == path.read_text()
    drawn = plots.draw(task, task.sections(by_task(table)[0][name]), tmp_path / "plot.png")
    assert [file.name for file in drawn] == ["plot-first.png", "plot-both.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000 for file in drawn)


@each_task
def test_a_suite_is_its_grids_and_says_what_is_missing(name, stores, tmp_path):
    task = registry.task(name)
    (file := tmp_path / "suite.toml").write_text(suite_text(name))
    suite = Suite.read(file)
    assert suite.cells["first"] == task.cells(grid_of(name, methods=GRIDS[name]["methods"][:1]))
    selected = suite.select(stores(name))
    assert selected.remarks() == []
    labels = [[label for label in section.methods if label not in ALWAYS] for section in task.sections(selected.cells)]
    assert labels == [GRIDS[name]["methods"][:1], ["another name", GRIDS[name]["methods"][0]]]
    first, more = suite.only(["first"]), Store(tmp_path / "more")
    assert first.run(more).complete
    assert [section.grid for section in task.sections(suite.select(more).cells)] == ["first", "both"]
    (remark,) = suite.select(more).remarks()
    assert re.search(r"cells that are not there yet: \d+ of \d+ of 'both'$", remark)


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("cluster", "labels", "0.9", "expected a value of labels, got '0.9'"),
        ("cluster", "class_size", "0", "expected a value of class_size, got '0'"),
        ("cluster", "parameters", "[]", r"expected a value of parameters, got '\[\]'"),
        ("cluster", "multiples", "[-1.5]", "expected a value of multiples"),
        ("cluster", "converged", "[true]", "expected a value of converged"),
        ("cluster", "converged", "[1, true]", "expected a value of converged"),
        ("cluster", "seed_nodes", "[-1, 1]", "expected a value of seed_nodes"),
        ("cluster", "mass", "[null, NaN]", "expected a value of mass"),
        ("cluster", "seeds", "4", "seed_nodes: expected 4 values, one per seed, got 2"),
        ("cluster", "hits", "[41, 1]", r"hits: expected at most \d+, got 41"),
        ("nodes", "noise", "none", "rate: expected 0 where there is no noise, and nowhere else"),
        ("nodes", "rate", "0", "rate: expected 0 where there is no noise, and nowhere else"),
        ("detect", "rate", "0.3", "rate: expected 0 where there is no noise, and nowhere else"),
        ("detect", "auroc", "1.5", "expected a value of auroc"),
        ("detect", "labelled", "some", "expected a value of labelled"),
        ("recommend", "users", "AAAA", "expected a value of users"),
        ("recommend", "ndcg@20", "1.5", "expected a value of ndcg@20"),
        ("recommend", "rate", "", "expected a value of rate"),
        ("recommend", "parameters", "[]", "expected a value of parameters"),
        ("recommend", "trials", "", "expected a value of trials"),
        ("recommend", "noise", "pair", "expected a value of noise"),
        ("recommend", "noise", "none", "rate: expected 0 where there is no noise, and nowhere else"),
        ("recommend", "rate", "0.0", "rate: expected 0 where there is no noise, and nowhere else"),
        ("recommend", "epoch_picked", "", "epochs: expected a value in all of their columns, or in none"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(name, column, value, message, stores, tmp_path):
    rows = list(csv.DictReader(io.StringIO(csv_of(name, stores(name)))))
    place = next(place for place, row in enumerate(rows) if row[column])
    rows[place][column] = value
    with (path := tmp_path / "cells.csv").open("w", newline="") as out:
        csv.DictWriter(out, rows[0], lineterminator="\n").writerows([dict(zip(rows[0], rows[0], strict=True)), *rows])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}, line {place + 2}: {message}"):
        Table(path)


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def test_commands_of_all_tasks_fill_one_folder_and_each_is_reported(tmp_path, capfd):
    runs, both = str(tmp_path / "runs"), str(tmp_path / "both.png")
    options = {"datasets": "--dataset", "methods": "--method", "accuracies": "--accuracy", "rates": "--rate"}
    for name, settings in GRIDS.items():
        words = ["bench", name, "--seeds", "1", "--jobs", "1", "--out", runs]
        for key, value in settings.items():
            words += [
                options.get(key, f"--{key}"),
                ",".join(map(str, value)) if isinstance(value, list) else str(value),
            ]
        code, out, err = call(capfd, *words)
        assert (code, "0 recorded before" in out) == (0, True), err
        assert " (0 run, " in call(capfd, *words)[1]
        # A grid that is refused leaves no folder.
        code, out, err = call(capfd, *words, "--first-seed", "-1", "--out", str(tmp_path / "no"))
        assert (code, out, err.count("\n"), (tmp_path / "no").exists()) == (1, "", 1, False)
    code, shown, err = call(capfd, "report", runs, "--plot", both)
    assert (code, err, "…" in shown) == (0, "", False)
    assert shown.index("Test accuracy in %") < shown.index("Clusters found") < shown.index("Against itemknn-plain")
    assert {"both.png", "both-cluster.png", "both-recommend.png"} <= {path.name for path in tmp_path.iterdir()}
    code, out, err = call(capfd, "report", runs, "--csv")
    assert (code, out) == (1, "")
    assert "--csv: expected cells of one benchmark" in err
    for name in GRIDS:
        file = str(tmp_path / f"{name}.csv")
        code, shown, err = call(capfd, "report", runs, "--task", name, "--csv", file)
        assert (code, err) == (0, "")
        again = call(capfd, "report", file)[1]
        assert [re.sub(r", at most \d trials a method|^wrote .*\n", "", one, flags=re.M) for one in (shown, again)] == [
            again
        ] * 2
        assert call(capfd, "report", file, "--csv")[1] == (tmp_path / f"{name}.csv").read_text()
