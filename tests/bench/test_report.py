import csv
import io

import pytest
from rich.console import Console

from graphnoise import DataError, InputError
from graphnoise.bench import nodes, plots
from graphnoise.bench.nodes import Grid, run
from graphnoise.bench.report import render
from graphnoise.bench.results import sections, to_csv
from graphnoise.bench.runner import Store, cell_key


@pytest.fixture(scope="module")
def store(planted, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    settings = {"draws": 3, "inits": 2, "overrides": {"gcn": {"epochs": 4}}}
    run(Grid([planted], ["lp", "gcn"], ["symmetric", "pair"], [0.0, 0.2, 0.4], **settings), store)
    return store


def text(store):
    console = Console(width=100, file=io.StringIO())
    for section in sections(store)[0]:
        for part in render(section):
            console.print(part)
    return console.file.getvalue()


def test_tables_show_means_intervals_variance_and_tests(store):
    shown = text(store)
    (section,) = sections(store)[0]
    assert section.kinds == ["symmetric", "pair"]
    assert section.methods == ["gcn", "lp"]
    assert section.rates("pair") == [0.0, 0.2, 0.4]
    by_draw = section.values("lp", "pair", 0.4)
    assert sorted(by_draw) == [0, 1, 2]
    mean = 100 * sum(v for values in by_draw.values() for v in values) / 3
    assert f"{mean:.1f}±" in shown
    for part in ("Test accuracy in %, pair noise", "gcn − lp", "Holm", "noise draw", "Where the wrong labels lead"):
        assert part in shown


def test_versions_and_parameters_are_never_averaged_together(planted, store, tmp_path, monkeypatch):
    other = Store(tmp_path)
    shared = {"draws": 1, "noise": ["pair"], "rates": [0.2], "datasets": [planted]}
    run(Grid(methods=["lp"], **shared), other)
    run(Grid(methods=["lp"], overrides={"lp": {"alpha": 0.5}}, **shared), other)
    monkeypatch.setattr("graphnoise.bench.methods.LP.version", "2")
    run(Grid(methods=["lp"], **shared), other)
    (section,) = sections(other)[0]
    assert section.methods == ["lp (version 1, alpha=0.5)", "lp (version 1, alpha=0.9)", "lp (version 2, alpha=0.9)"]


def test_selections_are_separate_sections(planted, tmp_path):
    other = Store(tmp_path)
    for select in ("noisy", "clean"):
        run(Grid([planted], ["lp"], ["pair"], [0.2], draws=1, select=select), other)
    assert [s.title.split(", ")[1] for s in sections(other)[0]] == [
        "clean validation labels",
        "noisy validation labels",
    ]


def test_cells_of_another_protocol_are_told_and_left_out(planted, tmp_path, monkeypatch):
    other = Store(tmp_path)
    grid = Grid([planted], ["lp"], ["pair"], [0.2], draws=1)
    run(grid, other)
    (config,) = grid.cells()
    old = {**config, "protocol": 0}
    other.write(cell_key(old), old, {"test_accuracy": 0.0})
    found, remarks = sections(other)
    assert len(found) == 1
    assert any("1 cells of another protocol are kept and left out" in remark for remark in remarks)
    monkeypatch.setattr(nodes, "PROTOCOL", 2)
    with pytest.raises(DataError, match="expected cells of `graphnoise bench nodes`, got none"):
        sections(Store(tmp_path / "empty"))


def test_csv_has_a_line_a_cell(store):
    rows = list(csv.DictReader(io.StringIO(to_csv(store))))
    assert len(rows) == len(store.keys())
    assert {row["noise"] for row in rows} == {"none", "symmetric", "pair"}
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)


def test_plots_are_written_whole(store, tmp_path):
    found, _ = sections(store)
    files = plots.draw(found, tmp_path / "a" / "plot.png")
    assert [f.name for f in files] == ["plot.png", "plot-training.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") and f.stat().st_size > 10_000 for f in files)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["plot-training.png", "plot.png"]
    with pytest.raises(InputError, match=r"plot: expected a file name that ends in one of .*png"):
        plots.draw(found, tmp_path / "plot.pgn")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        plots.draw(found, tmp_path / "file" / "plot.png")
