import csv
import io

import pytest
from rich.console import Console

from graphnoise import DataError, InputError
from graphnoise.bench import plots
from graphnoise.bench.record import by_task, to_csv
from graphnoise.bench.report import NoiseSection, render
from graphnoise.bench.runner import Store, cell_key
from graphnoise.bench.tasks.nodes import Nodes

NODES = Nodes()


def run(store, **grid):
    NODES.run(NODES.Grid(**grid), store)


def sections(source):
    return NODES.sections(by_task(source)[0]["nodes"])


@pytest.fixture(scope="module")
def store(planted, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    methods = ["lp", {"name": "gcn", "method": "gcn:epochs=4"}]
    noise = {"noise": ["symmetric", "pair"], "rates": [0.0, 0.2, 0.4]}
    run(store, datasets=[planted], methods=methods, seeds=3, inits=2, **noise)
    return store


def text(store):
    console = Console(width=100, file=io.StringIO())
    for section in sections(store):
        for part in render(NODES, section):
            console.print(part)
    return console.file.getvalue()


def test_tables_show_means_intervals_variance_and_tests(store):
    shown = text(store)
    (section,) = sections(store)
    assert section.kinds == ["symmetric", "pair"]
    assert section.methods == ["gcn", "lp"]
    assert section.rates("pair") == [0.0, 0.2, 0.4]
    by_draw = section.values("lp", "pair", 0.4, "test_accuracy")
    assert sorted(by_draw) == [0, 1, 2]
    mean = 100 * sum(v for values in by_draw.values() for v in values) / 3
    assert f"{mean:.1f}±" in shown
    for part in ("Test accuracy in %, pair noise", "gcn − lp", "Holm", "noise draw", "Effects of wrong labels"):
        assert part in shown


def test_draws_without_a_value_are_left_out_and_zero_is_one():
    records = [{"config": {"draw": draw}, "result": {"test_far": far}} for draw, far in enumerate((None, 0.0, 0.5))]
    section = NoiseSection("", cells={("lp", "pair", 0.2): records})
    assert section.values("lp", "pair", 0.2, "test_far") == {1: [0.0], 2: [0.5]}
    assert section.estimate("lp", "pair", 0.2, "no such") is None


def test_versions_and_parameters_are_never_averaged_together(planted, store, tmp_path, monkeypatch):
    other = Store(tmp_path)
    shared = {"seeds": 1, "noise": ["pair"], "rates": [0.2], "datasets": [planted]}
    run(other, methods=["lp", "lp:alpha=0.5"], **shared)
    monkeypatch.setattr("graphnoise.bench.methods.nodes.LP.version", "2")
    run(other, methods=["lp"], **shared)
    (section,) = sections(other)
    assert section.methods == ["lp (version 1, alpha=0.5)", "lp (version 1, alpha=0.9)", "lp (version 2, alpha=0.9)"]


def test_selections_are_separate_sections(planted, tmp_path):
    other = Store(tmp_path)
    for select in ("noisy", "clean"):
        run(other, datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.2], seeds=1, select=select)
    titles = [section.title.split(", ")[1] for section in sections(other)]
    assert titles == ["clean validation labels", "noisy validation labels"]


def test_cells_of_another_protocol_are_reported_and_left_out(planted, tmp_path):
    other = Store(tmp_path)
    grid = NODES.Grid(datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.2], seeds=1)
    NODES.run(grid, other)
    (config,) = NODES.cells(grid)
    for change in ({"protocol": 0}, {"task": "speed"}):
        other.write(cell_key({**config, **change}), {**config, **change}, {"test_accuracy": 0.0})
    records, remarks = by_task(other)
    assert {name: len(cells) for name, cells in records.items()} == {"nodes": 1}
    assert any("2 cells of another protocol are kept and left out" in remark for remark in remarks)
    with pytest.raises(DataError, match="expected cells of `graphnoise bench nodes`, got none"):
        by_task(Store(tmp_path / "empty"), "nodes")


def test_csv_has_a_line_a_cell(store):
    rows = list(csv.DictReader(io.StringIO(to_csv(NODES, list(store.records())))))
    assert len(rows) == len(store.keys())
    assert {row["noise"] for row in rows} == {"none", "symmetric", "pair"}
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)


def test_plots_are_written_whole(store, tmp_path):
    drawn = sections(store)
    files = plots.draw(NODES, drawn, tmp_path / "a" / "plot.png")
    assert [f.name for f in files] == ["plot.png", "plot-training.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") and f.stat().st_size > 10_000 for f in files)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["plot-training.png", "plot.png"]
    with pytest.raises(InputError, match=r"plot: expected a file name that ends in one of .*png"):
        plots.draw(NODES, drawn, tmp_path / "plot.pgn")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        plots.draw(NODES, drawn, tmp_path / "file" / "plot.png")
