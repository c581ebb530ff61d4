import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from graphnoise import DataError, InputError
from graphnoise.bench import nodes, plots
from graphnoise.bench.nodes import Grid
from graphnoise.bench.report import _compared, render
from graphnoise.bench.results import Section, Table, sections, to_csv
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.statistics import compare, holm
from graphnoise.bench.suite import run
from graphnoise.bench.suite_file import read

SUITE = """
title = "Plain methods"
[defaults]
datasets = ["DATA"]
draws = 3
[defaults.set.mlp]
epochs = 3
hidden = 4
[[grid]]
name = "honest"
methods = ["lp", "sgc", "mlp"]
noise = ["symmetric", "pair"]
rates = [0.0, 0.3]
set.mlp.hidden = 5
[[grid]]
name = "ablation"
methods = ["lp"]
noise = ["pair"]
rates = [0.3, 0.0]
[[grid.variant]]
name = "lp"
[[grid.variant]]
name = "weak"
set.lp.alpha = 0.5
[[grid.variant]]
name = "short"
set.lp.steps = 2
[[grid]]
name = "mixed"
methods = ["mlp", "sgc", "lp"]
noise = ["cascade"]
rates = [0.3]
inits = 2
select = "clean"
set.cascade.probability = 0.9
[[grid.variant]]
name = "2 hops"
[[grid.variant]]
name = "no graph"
set.sgc.hops = 0
"""


def write(folder, text, planted, name="plain.toml"):
    path = folder / name
    path.write_text(text.replace("DATA", planted))
    return path


@pytest.fixture(scope="module")
def suite(planted, tmp_path_factory):
    return read(write(tmp_path_factory.mktemp("suite"), SUITE, planted))


@pytest.fixture(scope="module")
def store(suite, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    summary = run(suite, store)
    assert summary.complete
    return store


def text(source):
    console = Console(width=120, file=io.StringIO())
    for section in sections(source)[0]:
        for part in render(section):
            console.print(part)
    return console.file.getvalue()


def test_cells_are_those_of_grids_run_alone(suite, planted):
    shared = {"datasets": [planted], "draws": 3}
    honest = Grid(
        methods=["lp", "sgc", "mlp"],
        noise=["symmetric", "pair"],
        rates=[0.0, 0.3],
        overrides={"mlp": {"epochs": 3, "hidden": 5}},
        **shared,
    )
    assert suite.cells["honest"] == honest.cells()
    weak = Grid(methods=["lp"], noise=["pair"], rates=[0.3, 0.0], overrides={"lp": {"alpha": 0.5}}, **shared)
    ablation = suite.cells["ablation"]
    assert [cell for cell in ablation if cell["parameters"]["alpha"] == 0.5] == weak.cells()
    assert {name: len(cells) for name, cells in suite.cells.items()} == {
        "honest": 3 * 3 * 3,
        "ablation": 3 * 2 * 3,
        "mixed": 3 * (2 + 1 + 1 + 1),
    }
    assert [entry.expected for entry in suite.entries] == [len(cells) for cells in suite.cells.values()]


def test_variants_advance_together(suite):
    cells = suite.cells["ablation"]
    assert [cell["draw"] for cell in cells] == [0] * 6 + [1] * 6 + [2] * 6
    assert [cell["noise"]["rate"] for cell in cells[:6]] == [0.3] * 3 + [0.0] * 3
    assert [tuple(cell["parameters"].values()) for cell in cells[:3]] == [(0.9, 50), (0.5, 50), (0.9, 2)]


def test_a_variant_is_a_row_of_each_method_that_it_sets(suite):
    labels = {entry.name: [row.label for row in entry.rows] for entry in suite.entries}
    assert labels == {
        "honest": ["lp", "sgc", "mlp"],
        "ablation": ["lp", "weak", "short"],
        "mixed": ["mlp", "sgc (2 hops)", "sgc (no graph)", "lp"],
    }


def test_cells_of_two_grids_and_of_other_commands_run_once(suite, planted, tmp_path):
    store = Store(tmp_path)
    alone = nodes.run(Grid([planted], ["lp"], ["pair"], [0.0, 0.3], draws=3), store)
    assert alone.done == 6
    summary = run(suite, store)
    assert (summary.total, summary.done, summary.skipped) == (27 + 18 + 15 - 6, 54 - 6, 6)
    assert run(suite.only(["mixed", "honest"]), store).skipped == 27 + 15


def test_a_line_names_grid_and_row(suite, planted):
    names = [suite.name(suite.cells[grid][1]) for grid in ("honest", "ablation", "mixed")]
    assert names == [
        f"honest: sgc, {planted} none 0",
        f"ablation: weak, {planted} pair 0.3",
        f"mixed: mlp, {planted} cascade 0.3",
    ]


def test_only_keeps_the_order_of_the_file_and_refuses_other_names(suite):
    assert [entry.name for entry in suite.only(["mixed", "honest"]).entries] == ["honest", "mixed"]
    with pytest.raises(InputError, match="--only: expected one of ablation, honest, mixed, got 'honset'"):
        suite.only(["honset"])


def test_sections_follow_the_suite(suite, store):
    found, remarks = sections(suite.select(store))
    assert remarks == []
    assert [(s.grid, s.methods, s.reference) for s in found] == [
        ("honest", ["lp", "sgc", "mlp"], ""),
        ("ablation", ["lp", "weak", "short"], "lp"),
        ("mixed", ["mlp", "sgc (2 hops)", "sgc (no graph)", "lp"], "sgc (2 hops)"),
    ]
    honest, ablation, mixed = found
    assert honest.title.startswith("honest: ")
    assert mixed.kinds == ["cascade (probability=0.9)"]
    assert honest.values("lp", "pair", 0.3) == ablation.values("lp", "pair", 0.3)
    assert ablation.values("lp", "pair", 0.3) != ablation.values("short", "pair", 0.3)
    assert {len(v) for v in mixed.values("mlp", mixed.kinds[0], 0.3).values()} == {2}


def test_variants_are_compared_with_the_first(suite, store):
    (_, ablation, _), _ = sections(suite.select(store))
    shown = text(suite.select(store))
    assert "Holm's correction over the comparisons with 'lp' at a rate" in shown
    assert "weak − lp" in shown
    assert "lp − weak" not in shown
    assert "weak − short" not in shown
    values = {name: ablation.values(name, "pair", 0.3) for name in ablation.methods}
    single = [compare({name: values[name], "lp": values["lp"]})[0].p for name in ("weak", "short")]
    assert [c.p for c in _compared(values, "lp")] == pytest.approx(holm(single).tolist())
    assert _compared({"weak": values["weak"]}, "lp") == []


def test_what_is_missing_and_what_is_foreign_is_told(suite, store, planted, tmp_path):
    other = Store(tmp_path)
    nodes.run(Grid([planted], ["lp"], ["pair"], [0.0, 0.3, 0.4], draws=4), other)
    old = {"task": "speed"}
    other.write(cell_key(old), old, {})
    found, remarks = sections(suite.select(other))
    assert [section.grid for section in found] == ["honest", "ablation"]
    assert [remark.partition(": ")[2] for remark in remarks] == [
        "cells that are not there yet: 21 of 27 of 'honest', 12 of 18 of 'ablation', 15 of 15 of 'mixed'",
        "7 cells that are not of the suite are left out",
    ]
    with pytest.raises(DataError, match="expected cells of the suite 'Plain methods', got none"):
        suite.only(["mixed"]).select(other)


def test_cells_of_another_version_are_left_out(suite, store, monkeypatch, planted, tmp_path):
    monkeypatch.setattr("graphnoise.bench.methods.LP.version", "2")
    newer = read(write(tmp_path, SUITE, planted))
    found, remarks = sections(newer.select(store))
    assert [s.methods for s in found] == [["sgc", "mlp"], ["mlp", "sgc (2 hops)", "sgc (no graph)"]]
    assert "18 of 18 of 'ablation'" in remarks[0]


def test_a_table_gives_the_same_report_without_folder_and_suite(suite, store, tmp_path):
    chosen = suite.select(store)
    path = tmp_path / "plain.csv"
    path.write_text(to_csv(chosen))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 60
    assert list(dict.fromkeys((row["grid"], row["row"]) for row in rows))[2:5] == [
        ("honest", "mlp"),
        ("ablation", "lp"),
        ("ablation", "weak"),
    ]
    table = Table(path)
    assert text(table) == text(chosen)
    assert to_csv(table) == path.read_text()
    assert to_csv(suite.select(table)) == path.read_text()
    files = plots.draw(sections(table)[0], tmp_path / "plot.png")  # curves are not in it
    assert [file.name for file in files] == ["plot-honest.png", "plot-ablation.png", "plot-mixed.png"]


def test_a_table_without_a_suite_is_read_too(store, tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text(to_csv(store))
    assert text(Table(path)) == text(store)
    older = [row[:8] + row[9:] for row in csv.reader(io.StringIO(path.read_text()))]  # before there were options
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(older)
    assert Table(path).folder == path
    assert "cascade noise" in text(Table(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("test_accuracy", "accuracy"), "expected the columns .* got none named 'test_accuracy'"),
        (lambda t: t.replace("commit\n", "commit,commit\n", 1), "got one twice"),
        (lambda t: "", "got none named 'dataset'"),
        (lambda t: t.replace("lp,1,", "lp,1,x,", 1), "line 2: expected 32 values, got 33"),
        (lambda t: t[: t.rindex(",")], r"line \d+: expected 32 values, got 31"),
        (lambda t: re.sub("0.3,False", "nan,False", t, count=1), "line 5: expected a value of rate, got 'nan'"),
        (lambda t: re.sub("0.3,False", "1.5,False", t, count=1), "expected a value of rate, got '1.5'"),
        (lambda t: re.sub("0.3,False", "0.3,no", t, count=1), "expected a value of exact, got 'no'"),
        (lambda t: t.replace("{}", "[]", 1), r"expected a value of options, got '\[\]'"),
        (lambda t: t.replace("{}", "[" * 100_000, 1), "expected a value of options"),
        (lambda t: t + t.splitlines()[-1] + "\n", "line 62: expected every cell once, got that of line 61 again"),
        (lambda t: t + '"', "expected a table of cells, which can be read"),
    ],
)
def test_tables_that_are_not_whole_are_refused(change, message, suite, store, tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text(change(to_csv(suite.select(store))))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Table(path)


def test_no_two_rows_of_a_figure_look_alike_and_a_row_keeps_its_colour(suite, store):
    found, _ = sections(suite.select(store))
    styles = plots._styles(found)
    assert set(styles) == {label for section in found for label in section.methods}
    for section in found:
        looks = [tuple(styles[label][key] for key in ("color", "marker", "linestyle")) for label in section.methods]
        assert len(set(looks)) == len(looks)
    many = plots._styles([Section("", [f"row {i}" for i in range(20)])])
    assert len({(style["color"], style["linestyle"]) for style in many.values()}) == 20


A = '[[grid]]\nname = "a"\nmethods = ["lp"]\n'
V = '[[grid.variant]]\nname = "x"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "grid: expected at least one"),
        ("grid = 3", "grid: expected tables under double brackets"),
        ("[grid]\nname='a'", "grid: expected tables under double brackets"),
        ("[[grids]]", "key: expected one of defaults, grid, task, title, got 'grids' .did you mean 'grid'"),
        ("title = 3\n" + A, "title: expected a text of one line, got 3"),
        ("defaults = 3\n" + A, "defaults: expected a table, got 3"),
        ("[defaults]\nname='x'\n" + A, "defaults: key: expected one of .* got 'name'"),
        ("[defaults]\ndraws='x'\n" + A, "defaults: draws: expected an integer from 1 to 10000, got 'x'"),
        ("[defaults]\nset.gcn.hidden=3\n" + A, "defaults: set: expected one of asymmetric, lp, .* got 'gcn'"),
        ("a = ", "expected a suite in TOML, got a mistake: .*"),
        ("a = " + "[" * 100_000, "expected a suite in TOML, got a mistake"),
        ("[[grid]]", "grid 1: expected a name, got none"),
        ("[[grid]]\nname=' '", "grid 1: name: expected a text of one line"),
        ("[[grid]]\nname='a/b'", "grid 1: expected a name of letters"),
        (A + A, "grid 2: expected a name that no other grid has, got 'a'"),
        (A + "drws=3", "grid 'a': key: expected one of .* got 'drws' .did you mean 'draws'"),
        (A + "root='x'", "grid 'a': key: expected one of .* got 'root'"),
        (A + "datasets='cora'", "grid 'a': datasets: expected a list with at least one entry, got 'cora'"),
        (A + "datasets=[]", "grid 'a': datasets: expected a list with at least one entry, got an empty one"),
        (A + "datasets=[3]", "grid 'a': datasets: expected a text of one line, got 3"),
        (A + "rates=[0.1, nan]", r"grid 'a': rates: expected a rate in \[0, 1\], got nan"),
        (A + "noise=['symetric']", "grid 'a': noise: .* .did you mean 'symmetric'"),
        (A + "draws=0", "grid 'a': draws: expected an integer from 1 to 10000, got 0"),
        (A + "draws=true", "grid 'a': draws: expected an integer"),
        (A + "exact=1", "grid 'a': exact: expected true or false, got 1"),
        (A + "select='best'", "grid 'a': select: expected one of clean, noisy"),
        (A.replace("lp", "lpp"), "grid 'a': method: expected one of .* got 'lpp'"),
        (A + "set=true", "grid 'a': set: expected a table, got true"),
        (A + "set.lp=3", "grid 'a': set.lp: expected a table, got 3"),
        (A + "set.gcn.hidden=3", "grid 'a': set: expected one of asymmetric, lp, pair, symmetric, got 'gcn'"),
        (A + "set.lp.alpa=0.3", "grid 'a': hyper-parameter of lp: .*did you mean 'alpha'"),
        (A + "set.lp.alpha=2.0", r"grid 'a': lp.alpha: expected a rate in \[0, 1\], got 2.0"),
        (A + "set.lp.alpha=inf", "grid 'a': set.lp.alpha: expected a finite number, .* got inf"),
        (A + "set.lp.alpha=[1]", "grid 'a': set.lp.alpha: expected a finite number, .* got a list"),
        (A + "variant=3", "grid 'a': variant: expected tables under double brackets"),
        (A + "[[grid.variant]]\nset.lp.alpha=0.3", "grid 'a': variant 1: expected a name, got none"),
        (A + V, "grid 'a': variant: expected one at least with settings"),
        (A + V + "set.lp.steps=3\n" + V, "grid 'a': variant 2: expected a name that no other variant has, got 'x'"),
        (A + V + "draws=3", "grid 'a': variant 'x': key: expected one of name, set, got 'draws'"),
        (A + V + "set.pair.x=3", "grid 'a': variant 'x': set: expected one of lp, got 'pair'"),
        (A + V + "set.lp.alpha=7", "grid 'a': variant 'x': lp.alpha: expected a rate"),
        (
            A + V + "set.lp.alpha=0.9\n" + V.replace("x", "y"),
            "grid 'a': variant 'y': expected settings that variant 'x' has not, got the same lp",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_file_grid_and_key(text, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read(path)
    assert re.match(re.escape(str(path)) + ": " + message, str(error.value), re.DOTALL), error.value


def test_what_only_the_data_show_is_said_the_same_way(planted, tmp_path):
    absent = read(write(tmp_path, A + "datasets = ['nowhere.npz']", planted))
    with pytest.raises(DataError, match=r"plain.toml: grid 'a': .*nowhere.npz"):
        _ = absent.cells
    suite = read(write(tmp_path, A + "datasets = ['DATA']\nerase_stream = true", planted))
    with pytest.raises(InputError, match=r"plain.toml: grid 'a': erase_stream: expected select='clean'"):
        _ = suite.cells


@pytest.mark.parametrize("kind", ["absent", "folder", "binary"])
def test_files_that_cannot_be_read(kind, tmp_path):
    path = tmp_path / "suite.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"suite.toml: expected a suite in TOML"):
        read(path)


def test_the_example_of_the_documentation_is_a_suite(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "benchmark.md"
    (example,) = re.findall("```toml\n(.*?)```", page.read_text(), re.DOTALL)
    path = tmp_path / "example.toml"
    path.write_text(example)
    suite = read(path)
    assert {e.name: [row.label for row in e.rows] for e in suite.entries} == {
        "plain": ["lp", "sgc", "gcn"],
        "restart": ["as published", "less of the neighbours"],
    }
    assert suite.entries[0].rows[2].parameters["hidden"] == 64
