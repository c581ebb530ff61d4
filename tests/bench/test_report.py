"""Reports of cells: sections and tables, CSV files, figures."""

import csv
import io
import re

import pytest
from grids import node_sections, node_tables
from rich.console import Console

from graphnoise.bench import plots
from graphnoise.bench.record import Table, by_task, to_csv
from graphnoise.bench.report import NoiseSection, Section
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.tasks.nodes import Nodes
from graphnoise.cli.report import _compare_with
from graphnoise.errors import DataError, InputError

NODES = Nodes()


def run(store, planted, **grid):
    return NODES.run(
        NODES.Grid(**{"datasets": [planted], "noise": ["pair"], "rates": [0.2], "seeds": 1, **grid}), store
    )


def test_tables_show_means_intervals_variance_and_tests(planted, store):
    methods = ["lp", {"name": "gcn", "method": "gcn:epochs=4"}]
    run(store, planted, methods=methods, seeds=3, inits=2, noise=["symmetric", "pair"], rates=[0.0, 0.2, 0.4])
    tables = node_tables(store)
    (section,) = node_sections(store)
    assert section.kinds == ["symmetric", "pair"]
    assert section.methods == ["gcn", "lp"]
    assert section.rates("pair") == [0.0, 0.2, 0.4]
    by_draw = section.values("lp", "pair", 0.4, "test_accuracy")
    assert sorted(by_draw) == [0, 1, 2]
    mean = 100 * sum(v for values in by_draw.values() for v in values) / 3
    assert f"{mean:.1f}±" in tables
    for part in ("Test accuracy in %, pair noise", "gcn − lp", "Holm", "noise draw", "Effects of wrong labels"):
        assert part in tables
    spread = section.estimate("gcn", "pair", 0.4, "test_accuracy")
    cells = tables.partition("Initialisations of one draw in points, pair noise")[2].splitlines()
    row = next(line for line in cells if "gcn" in line)
    assert f"{100 * spread.init_sd:.1f} / {100 * spread.init_drop:.1f}" in row
    # One initialisation of lp, which has no random state.
    assert "lp" not in "".join(cells[: cells.index(row) + 3])


def test_draws_without_a_value_are_left_out_and_zero_is_one():
    records = [{"config": {"draw": draw}, "result": {"test_far": far}} for draw, far in enumerate((None, 0.0, 0.5))]
    section = NoiseSection("", cells={("lp", "pair", 0.2): records})
    assert section.values("lp", "pair", 0.2, "test_far") == {1: [0.0], 2: [0.5]}
    assert section.estimate("lp", "pair", 0.2, "no such") is None


def test_versions_parameters_and_selections_are_never_averaged_together(planted, store, monkeypatch):
    run(store, planted, methods=["lp", "lp:alpha=0.5"])
    run(store, planted, methods=["lp"], select="clean")
    monkeypatch.setattr("graphnoise.bench.methods.nodes.LP.version", "3")
    run(store, planted, methods=["lp"])
    clean, noisy = node_sections(store)
    assert [section.title.split(", ")[1] for section in (clean, noisy)] == [
        "clean validation labels",
        "noisy validation labels",
    ]
    assert noisy.methods == ["lp (version 2, alpha=0.5)", "lp (version 2, alpha=0.9)", "lp (version 3, alpha=0.9)"]


def test_cells_of_another_protocol_are_reported_and_left_out(planted, store, tmp_path):
    run(store, planted, methods=["lp"])
    config = next(store.records())["config"]
    for change in ({"protocol": 0}, {"task": "speed"}):
        store.write(cell_key({**config, **change}), {**config, **change}, {"test_accuracy": 0.0})
    records, remarks = by_task(store)
    assert {name: len(cells) for name, cells in records.items()} == {"nodes": 1}
    assert any("2 cells of another protocol are kept and left out" in remark for remark in remarks)
    with pytest.raises(DataError, match="expected cells of `graphnoise bench nodes`, got none"):
        by_task(Store(tmp_path / "empty"), "nodes")


def csv_of(source):
    return to_csv(NODES, list(source.records()))


def test_a_table_gives_the_same_report_without_folder_and_suite(plain_suite, plain_store, tmp_path):
    selected = plain_suite.select(plain_store)
    path = tmp_path / "plain.csv"
    path.write_text(csv_of(selected))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert len(rows) == 60
    assert list(dict.fromkeys((row["grid"], row["row"]) for row in rows))[2:5] == [
        ("honest", "mlp"),
        ("ablation", "lp"),
        ("ablation", "weak"),
    ]
    table = Table(path)
    assert node_tables(table) == node_tables(selected)
    assert csv_of(table) == path.read_text()
    assert csv_of(plain_suite.select(table)) == path.read_text()
    files = plots.draw(NODES, node_sections(table), tmp_path / "plot.png")  # curves are not in it
    names = [file.name for file in files if not file.stem.endswith("-ranking")]
    assert names == ["plot-honest.png", "plot-ablation.png", "plot-mixed.png"]
    assert {file.name for file in files} - set(names) == {"plot-honest-ranking.png", "plot-ablation-ranking.png"}


def test_a_table_without_a_suite_is_read_too(plain_store, tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text(csv_of(plain_store))
    assert node_tables(Table(path)) == node_tables(plain_store)
    older = [row[:8] + row[9:] for row in csv.reader(io.StringIO(path.read_text()))]  # before there were options
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(older)
    assert Table(path).folder == path
    assert "cascade noise" in node_tables(Table(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("test_accuracy", "accuracy"), "expected the columns .* got none named 'test_accuracy'"),
        (lambda t: t.replace("commit\n", "commit,commit\n", 1), "got one twice"),
        (lambda t: "", "got none named 'dataset'"),
        (lambda t: t.replace("lp,2,", "lp,2,x,", 1), "line 2: expected 33 values, got 34"),
        (lambda t: t[: t.rindex(",")], r"line \d+: expected 33 values, got 32"),
        (lambda t: re.sub("0.3,False", "nan,False", t, count=1), "line 5: expected a value of rate, got 'nan'"),
        (lambda t: re.sub("0.3,False", "1.5,False", t, count=1), "expected a value of rate, got '1.5'"),
        (lambda t: re.sub("0.3,False", "0.3,no", t, count=1), "expected a value of exact, got 'no'"),
        (lambda t: t.replace("{}", "[]", 1), r"expected a value of options, got '\[\]'"),
        (lambda t: t.replace("{}", "[" * 100_000, 1), "expected a value of options"),
        (lambda t: t + t.splitlines()[-1] + "\n", "line 62: expected every cell once, got that of line 61 again"),
        (lambda t: t + '"', "expected a table of cells, which can be read"),
    ],
)
def test_tables_that_are_not_whole_are_refused(change, message, plain_suite, plain_store, tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text(change(csv_of(plain_suite.select(plain_store))))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Table(path)


def test_no_two_rows_of_a_figure_look_alike_and_a_row_keeps_its_colour(plain_suite, plain_store):
    drawn = node_sections(plain_suite.select(plain_store))
    styles = plots.styles(drawn)
    assert set(styles) == {label for section in drawn for label in section.methods}
    for section in drawn:
        looks = [tuple(styles[label][key] for key in ("color", "marker", "linestyle")) for label in section.methods]
        assert len(set(looks)) == len(looks)
    many = plots.styles([Section("", "", [f"row {i}" for i in range(20)])])
    assert len({(style["color"], style["linestyle"]) for style in many.values()}) == 20


def test_plots_are_written_whole(planted, store, tmp_path):
    run(store, planted, methods=["lp", "gcn:epochs=2"], rates=[0.0, 0.4])
    drawn = node_sections(store)
    files = plots.draw(NODES, drawn, tmp_path / "a" / "plot.png")
    assert [f.name for f in files] == ["plot.png", "plot-training.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") and f.stat().st_size > 10_000 for f in files)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["plot-training.png", "plot.png"]
    with pytest.raises(InputError, match=r"plot: expected a file name that ends in one of .*png"):
        plots.draw(NODES, drawn, tmp_path / "plot.pgn")
    with pytest.raises(DataError, match="cannot be written"):
        plots.draw(NODES, drawn, tmp_path / "a" / "plot.png" / "plot.png")


def test_all_rows_are_compared_with_those_asked_for(plain_suite, plain_store):
    sections = node_sections(plain_suite.select(plain_store))
    _compare_with(sections[:1], "sgc,lp")
    console = Console(width=120, file=io.StringIO())
    for part in Nodes().render(sections[0]):
        console.print(part)
    tables = console.file.getvalue()
    assert [pair in tables for pair in ("mlp − sgc", "mlp − lp", "\nsgc − lp", "\nlp − sgc")] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(InputError, match="against: expected one of"):
        _compare_with(sections[:1], "gcn")
