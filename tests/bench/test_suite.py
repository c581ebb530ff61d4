import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from graphnoise import DataError, InputError
from graphnoise.bench import plots
from graphnoise.bench.record import Table, by_task, to_csv
from graphnoise.bench.report import Section, render
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.suite import Suite
from graphnoise.bench.tasks.nodes import Nodes
from graphnoise.statistics import compare_draws, holm

NODES = Nodes()
SUITE = """
title = "Plain methods"
[defaults]
datasets = ["DATA"]
seeds = 3
[[grid]]
name = "honest"
methods = ["lp", "sgc", { name = "mlp", method = "mlp:epochs=3,hidden=5" }]
noise = ["symmetric", "pair"]
rates = [0.0, 0.3]
[[grid]]
name = "ablation"
methods = ["lp", { name = "weak", method = "lp:alpha=0.5" }, { name = "short", method = "lp:steps=2" }]
noise = ["pair"]
rates = [0.3, 0.0]
[[grid]]
name = "mixed"
methods = [
    { name = "mlp", method = "mlp:epochs=3,hidden=4" },
    { name = "sgc (2 hops)", method = "sgc" },
    "sgc:hops=0",
    "lp",
]
noise = ["cascade:probability=0.9"]
rates = [0.3]
inits = 2
select = "clean"
"""


def write(folder, text, planted, name="plain.toml"):
    path = folder / name
    path.write_text(text.replace("DATA", planted))
    return path


@pytest.fixture(scope="module")
def suite(planted, tmp_path_factory):
    return Suite.read(write(tmp_path_factory.mktemp("suite"), SUITE, planted))


@pytest.fixture(scope="module")
def store(suite, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    assert suite.run(store).complete
    return store


def sections(source):
    return NODES.sections(by_task(source)[0]["nodes"])


def text(source):
    console = Console(width=120, file=io.StringIO())
    for section in sections(source):
        for part in render(NODES, section):
            console.print(part)
    return console.file.getvalue()


def test_cells_are_those_of_grids_run_alone(suite, planted):
    shared = {"datasets": [planted], "seeds": 3}
    noise = {"noise": ["symmetric", "pair"], "rates": [0.0, 0.3]}
    honest = NODES.Grid(methods=["lp", "sgc", "mlp:hidden=5,epochs=3"], **noise, **shared)
    assert suite.cells["honest"] == NODES.cells(honest)
    weak = NODES.Grid(methods=["lp:alpha=0.5"], noise=["pair"], rates=[0.3, 0.0], **shared)
    ablation = suite.cells["ablation"]
    assert [cell for cell in ablation if cell["parameters"]["alpha"] == 0.5] == NODES.cells(weak)
    counts = {name: len(cells) for name, cells in suite.cells.items()}
    assert counts == {"honest": 3 * 3 * 3, "ablation": 3 * 2 * 3, "mixed": 3 * (2 + 1 + 1 + 1)}
    assert {name: index.per_dataset for name, index in suite.indexes.items()} == counts


def test_rows_advance_together(suite):
    cells = suite.cells["ablation"]
    assert [cell["draw"] for cell in cells] == [0] * 6 + [1] * 6 + [2] * 6
    assert [cell["noise"]["rate"] for cell in cells[:6]] == [0.3] * 3 + [0.0] * 3
    assert [tuple(cell["parameters"].values()) for cell in cells[:3]] == [(0.9, 50), (0.5, 50), (0.9, 2)]


def test_rows_have_the_name_that_the_file_gives_them_or_its_text(suite):
    assert {name: index.labels for name, index in suite.indexes.items()} == {
        "honest": ["lp", "sgc", "mlp"],
        "ablation": ["lp", "weak", "short"],
        "mixed": ["mlp", "sgc (2 hops)", "sgc:hops=0", "lp"],
    }


def test_cells_of_two_grids_and_of_other_commands_run_once(suite, planted, tmp_path):
    store = Store(tmp_path)
    grid = NODES.Grid(datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.0, 0.3], seeds=3)
    assert NODES.run(grid, store).done == 6
    summary = suite.run(store)
    assert (summary.total, summary.done, summary.skipped) == (27 + 18 + 15 - 6, 54 - 6, 6)
    assert suite.only(["mixed", "honest"]).run(store).skipped == 27 + 15


def test_a_line_names_grid_and_row(suite, planted):
    assert [suite.describe(suite.cells[grid][1]) for grid in ("honest", "ablation", "mixed")] == [
        f"honest: sgc, {planted} sgc none 0",
        f"ablation: weak, {planted} lp pair 0.3",
        f"mixed: mlp, {planted} mlp cascade 0.3",
    ]


def test_only_keeps_the_order_of_the_file_and_refuses_other_names(suite):
    assert list(suite.only(["mixed", "honest"]).grids) == ["honest", "mixed"]
    with pytest.raises(InputError, match="--only: expected one of ablation, honest, mixed, got 'honset'"):
        suite.only(["honset"])


def test_sections_follow_the_suite(suite, store):
    selected = suite.select(store)
    assert selected.remarks() == []
    honest, ablation, mixed = sections(selected)
    assert [(s.grid, s.methods, s.reference) for s in (honest, ablation, mixed)] == [
        ("honest", ["lp", "sgc", "mlp"], ""),
        ("ablation", ["lp", "weak", "short"], "lp"),
        ("mixed", ["mlp", "sgc (2 hops)", "sgc:hops=0", "lp"], "sgc (2 hops)"),
    ]
    assert honest.heading.startswith("honest: ")
    assert mixed.kinds == ["cascade (probability=0.9)"]
    point = ("pair", 0.3, "test_accuracy")
    assert honest.values("lp", *point) == ablation.values("lp", *point)
    assert ablation.values("lp", *point) != ablation.values("short", *point)
    assert {len(v) for v in mixed.values("mlp", mixed.kinds[0], 0.3, "test_accuracy").values()} == {2}


def test_rows_of_a_method_are_compared_with_the_first(suite, store):
    _, ablation, _ = sections(suite.select(store))
    shown = text(suite.select(store))
    assert "Holm's correction over the comparisons with 'lp' at a rate" in shown
    assert "weak − lp" in shown
    assert "lp − weak" not in shown
    assert "weak − short" not in shown
    values = {name: ablation.values(name, "pair", 0.3, "test_accuracy") for name in ablation.methods}
    single = [compare_draws({name: values[name], "lp": values["lp"]})[0].p for name in ("weak", "short")]
    assert [c.p for c in compare_draws(values, "lp")] == pytest.approx(holm(single).tolist())
    assert compare_draws({"weak": values["weak"]}, "lp") == []


def test_what_is_missing_and_what_is_foreign_is_reported(suite, planted, tmp_path):
    other = Store(tmp_path)
    NODES.run(NODES.Grid(datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.0, 0.3, 0.4], seeds=4), other)
    old = {"task": "speed"}
    other.write(cell_key(old), old, {})
    selected = suite.select(other)
    assert [section.grid for section in sections(selected)] == ["honest", "ablation"]
    assert [remark.partition(": ")[2] for remark in selected.remarks()] == [
        "cells that are not there yet: 21 of 27 of 'honest', 12 of 18 of 'ablation', 15 of 15 of 'mixed'",
        "7 cells that are not of the suite are left out",
    ]
    with pytest.raises(DataError, match="expected cells of the suite 'Plain methods', got none"):
        suite.only(["mixed"]).select(other)


def test_cells_of_another_version_are_left_out(store, monkeypatch, planted, tmp_path):
    monkeypatch.setattr("graphnoise.bench.methods.nodes.LP.version", "2")
    selected = Suite.read(write(tmp_path, SUITE, planted)).select(store)
    assert [s.methods for s in sections(selected)] == [["sgc", "mlp"], ["mlp", "sgc (2 hops)", "sgc:hops=0"]]
    assert "18 of 18 of 'ablation'" in selected.remarks()[0]


def csv_of(source):
    return to_csv(NODES, list(source.records()))


def test_a_table_gives_the_same_report_without_folder_and_suite(suite, store, tmp_path):
    chosen = suite.select(store)
    path = tmp_path / "plain.csv"
    path.write_text(csv_of(chosen))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 60
    assert list(dict.fromkeys((row["grid"], row["row"]) for row in rows))[2:5] == [
        ("honest", "mlp"),
        ("ablation", "lp"),
        ("ablation", "weak"),
    ]
    table = Table(path)
    assert text(table) == text(chosen)
    assert csv_of(table) == path.read_text()
    assert csv_of(suite.select(table)) == path.read_text()
    files = plots.draw(NODES, sections(table), tmp_path / "plot.png")  # curves are not in it
    assert [file.name for file in files] == ["plot-honest.png", "plot-ablation.png", "plot-mixed.png"]


def test_a_table_without_a_suite_is_read_too(store, tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text(csv_of(store))
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
    path.write_text(change(csv_of(suite.select(store))))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Table(path)


def test_no_two_rows_of_a_figure_look_alike_and_a_row_keeps_its_colour(suite, store):
    drawn = sections(suite.select(store))
    styles = plots.styles(drawn)
    assert set(styles) == {label for section in drawn for label in section.methods}
    for section in drawn:
        looks = [tuple(styles[label][key] for key in ("color", "marker", "linestyle")) for label in section.methods]
        assert len(set(looks)) == len(looks)
    many = plots.styles([Section("", "", [f"row {i}" for i in range(20)])])
    assert len({(style["color"], style["linestyle"]) for style in many.values()}) == 20


A = '[[grid]]\nname = "a"\nmethods = ["lp"]\n'
ROWS = '[[grid]]\nname = "a"\nmethods = [%s]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "grid: expected at least one"),
        ("grid = 3", "grid: expected tables under double brackets"),
        ("[grid]\nname='a'", "grid: expected tables under double brackets"),
        ("[[grids]]", "key: expected one of defaults, grid, task, title, got 'grids' .did you mean 'grid'"),
        ("task = 'node'\n" + A, "task: expected one of .* got 'node' .did you mean 'nodes'"),
        ("title = 3\n" + A, "title: expected a text of one line, got 3"),
        ("defaults = 3\n" + A, "defaults: expected a table, got 3"),
        ("[defaults]\nname='x'\n" + A, "defaults: key: expected one of .* got 'name'"),
        ("[defaults]\nseeds='x'\n" + A, "defaults: seeds: expected an integer from 1 to 10000, got 'x'"),
        ("[defaults]\nset.gcn.hidden=3\n" + A, "defaults: key: expected one of .* got 'set'"),
        ("a = ", "expected a suite in TOML, got a file that cannot be read .Invalid value .at"),
        ("a = " + "[" * 100_000, "expected a suite in TOML, got a file"),
        ("[[grid]]", "grid 1: expected a name, got none"),
        ("[[grid]]\nname=' '", "grid 1: name: expected a text of one line"),
        ("[[grid]]\nname='a/b'", "grid 1: expected a name of letters"),
        (A + A, "grid 2: expected a name that no other grid has, got 'a'"),
        (A + "sedes=3", "grid 'a': key: expected one of .* got 'sedes' .did you mean 'seeds'"),
        (A + "root='x'", "grid 'a': key: expected one of .* got 'root'"),
        (A + "seeds=true", "grid 'a': seeds: expected an integer .* got True"),
        (A + "rates=0.3", "grid 'a': rates: expected a list with at least one entry, got 0.3"),
        (A + "rates=[]", "grid 'a': rates: expected a list with at least one entry"),
        (A + "rates=['0.3']", "grid 'a': rates: expected a rate .* got '0.3'"),
        (A + "rates=[nan]", "grid 'a': rates: expected a rate .* got nan"),
        (A + "noise=['piar']", "grid 'a': noise: expected one of .*did you mean 'pair'"),
        (A + "exact=1", "grid 'a': exact: expected true or false, got 1"),
        (A + "select='all'", "grid 'a': select: expected one of clean, noisy"),
        (A + "erase_stream=true", "grid 'a': erase_stream: expected select='clean'"),
        (ROWS % "'lpp'", "grid 'a': methods: expected one of .* got 'lpp'"),
        (ROWS % "3", "grid 'a': methods: expected NAME, NAME:KEY=VALUE or .* got 3"),
        (ROWS % "'lp:alpa=0.3'", "grid 'a': methods: hyper-parameter of lp: .*did you mean 'alpha'"),
        (ROWS % "'lp:alpha=2.0'", r"grid 'a': methods lp: lp.alpha: expected a rate in \[0, 1\], got 2.0"),
        (ROWS % "'lp:alpha=inf'", r"grid 'a': .*lp.alpha: expected a rate in \[0, 1\], got 'inf'"),
        (ROWS % "'lp:alpha'", "grid 'a': methods: expected lp:KEY=VALUE,…, got 'lp:alpha'"),
        (ROWS % "{name='x'}", "grid 'a': methods: expected NAME, .* got None"),
        (ROWS % "{method='lp'}", "grid 'a': methods: expected NAME, .* got None"),
        (ROWS % "{name='x',metod='lp'}", "grid 'a': methods: key: expected one of method, name, got 'metod'"),
        (ROWS % "'lp',{name='lp',method='sgc'}", "grid 'a': methods: expected a name that no other row has, got 'lp'"),
        (
            ROWS % "'lp',{name='y',method='lp:alpha=0.9'}",
            "grid 'a': methods: expected settings that row 'lp' does not have, got the same for row 'y'",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_file_grid_and_key(text, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        Suite.read(path)
    assert re.match(re.escape(str(path)) + ": " + message, str(error.value), re.DOTALL), error.value


def test_what_only_the_data_show_is_reported_the_same_way(planted, tmp_path):
    unknown = Suite.read(write(tmp_path, A + "datasets = ['kora']", planted))
    with pytest.raises(InputError, match=r"plain.toml: grid 'a': datasets: expected one of .*did you mean 'cora'"):
        _ = unknown.cells
    absent = Suite.read(write(tmp_path, A + "datasets = ['nowhere.npz']", planted))
    with pytest.raises(DataError, match=r"plain.toml: grid 'a': .*nowhere.npz"):
        _ = absent.cells
    exact = Suite.read(write(tmp_path, A + "datasets = ['DATA']\nnoise=['cascade']\nexact=true", planted))
    with pytest.raises(InputError, match=r"plain.toml: grid 'a': exact: "):
        _ = exact.cells


@pytest.mark.parametrize("kind", ["absent", "folder", "binary"])
def test_files_that_cannot_be_read(kind, tmp_path):
    path = tmp_path / "suite.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"suite.toml: expected a suite in TOML"):
        Suite.read(path)


def test_the_example_of_the_documentation_is_a_suite(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "benchmark.md"
    (example,) = re.findall("```toml\n(.*?)```", page.read_text(), re.DOTALL)
    path = tmp_path / "example.toml"
    path.write_text(example)
    suite = Suite.read(path)
    assert {name: index.labels for name, index in suite.indexes.items()} == {
        "plain": ["lp", "sgc", "gcn:hidden=64"],
        "restart": ["as published", "less weight of the neighbours"],
    }
