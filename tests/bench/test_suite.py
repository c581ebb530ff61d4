"""Suite files: cells, selection of recorded ones, and what is wrong with a file."""

import re
from pathlib import Path

import pytest
from grids import node_sections, node_tables

from graphnoise.bench.runner import cell_key
from graphnoise.bench.suite import Suite
from graphnoise.bench.tasks.nodes import Nodes
from graphnoise.errors import DataError, GraphnoiseError, InputError
from graphnoise.statistics import compare_draws, holm

NODES = Nodes()


def test_cells_are_those_of_grids_run_alone_and_rows_advance_together(plain_suite, planted):
    shared = {"datasets": [planted], "seeds": 3}
    noise = {"noise": ["symmetric", "pair"], "rates": [0.0, 0.3]}
    honest = NODES.Grid(methods=["lp", "sgc", "mlp:hidden=5,epochs=3"], **noise, **shared)
    assert plain_suite.cells["honest"] == NODES.cells(honest)
    weak = NODES.Grid(methods=["lp:alpha=0.5"], noise=["pair"], rates=[0.3, 0.0], **shared)
    ablation = plain_suite.cells["ablation"]
    assert [cell for cell in ablation if cell["parameters"]["alpha"] == 0.5] == NODES.cells(weak)
    assert [cell["draw"] for cell in ablation] == [0] * 6 + [1] * 6 + [2] * 6
    assert [cell["noise"]["rate"] for cell in ablation[:6]] == [0.3] * 3 + [0.0] * 3
    assert [tuple(cell["parameters"].values()) for cell in ablation[:3]] == [(0.9, 50), (0.5, 50), (0.9, 2)]
    counts = {name: len(cells) for name, cells in plain_suite.cells.items()}
    assert counts == {"honest": 3 * 3 * 3, "ablation": 3 * 2 * 3, "mixed": 3 * (2 + 1 + 1 + 1)}
    assert {name: index.per_dataset for name, index in plain_suite.indexes.items()} == counts


def test_cells_of_two_grids_and_of_other_commands_run_once(plain_suite, planted, store):
    grid = NODES.Grid(datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.0, 0.3], seeds=3)
    assert NODES.run(grid, store).done == 6
    summary = plain_suite.run(store)
    assert (summary.total, summary.done, summary.skipped) == (27 + 18 + 15 - 6, 54 - 6, 6)
    assert plain_suite.only(["mixed", "honest"]).run(store).skipped == 27 + 15


def test_a_line_names_grid_and_row(plain_suite, planted):
    assert [plain_suite.describe(plain_suite.cells[grid][1]) for grid in ("honest", "ablation", "mixed")] == [
        f"honest: sgc, {planted} sgc none 0",
        f"ablation: weak, {planted} lp pair 0.3",
        f"mixed: mlp, {planted} mlp cascade 0.3",
    ]


def test_only_keeps_the_order_of_the_file_and_refuses_other_names(plain_suite):
    assert list(plain_suite.only(["mixed", "honest"]).grids) == ["honest", "mixed"]
    with pytest.raises(InputError, match="--only: expected one of ablation, honest, mixed, got 'honset'"):
        plain_suite.only(["honset"])


def test_sections_follow_the_suite(plain_suite, plain_store):
    selected = plain_suite.select(plain_store)
    assert selected.remarks() == []
    honest, ablation, mixed = node_sections(selected)
    # Rows have the name that the file gives them, or its text.
    assert [(s.grid, s.methods, list(s.references)) for s in (honest, ablation, mixed)] == [
        ("honest", ["lp", "sgc", "mlp"], []),
        ("ablation", ["lp", "weak", "short"], ["lp"]),
        ("mixed", ["mlp", "sgc (2 hops)", "sgc:hops=0", "lp"], ["sgc (2 hops)"]),
    ]
    assert honest.heading.startswith("honest: ")
    assert mixed.kinds == ["cascade (probability=0.9)"]
    point = ("pair", 0.3, "test_accuracy")
    assert honest.values("lp", *point) == ablation.values("lp", *point)
    assert ablation.values("lp", *point) != ablation.values("short", *point)
    assert {len(v) for v in mixed.values("mlp", mixed.kinds[0], 0.3, "test_accuracy").values()} == {2}


def test_rows_of_a_method_are_compared_with_the_first(plain_suite, plain_store):
    selected = plain_suite.select(plain_store)
    _, ablation, _ = node_sections(selected)
    tables = node_tables(selected)
    assert "correction over the comparisons with 'lp' at a rate" in " ".join(tables.split())
    assert [pair in tables for pair in ("weak − lp", "lp − weak", "weak − short")] == [True, False, False]
    values = {name: ablation.values(name, "pair", 0.3, "test_accuracy") for name in ablation.methods}
    single = [compare_draws({name: values[name], "lp": values["lp"]})[0].p for name in ("weak", "short")]
    assert [c.p for c in compare_draws(values, ["lp"])] == pytest.approx(holm(single).tolist())
    assert compare_draws({"weak": values["weak"]}, ["lp"]) == []


def test_what_is_missing_and_what_is_foreign_is_reported(plain_suite, plain_store, planted, store, monkeypatch):
    NODES.run(NODES.Grid(datasets=[planted], methods=["lp"], noise=["pair"], rates=[0.0, 0.3, 0.4], seeds=4), store)
    old = {"task": "speed"}
    store.write(cell_key(old), old, {})
    selected = plain_suite.select(store)
    assert [section.grid for section in node_sections(selected)] == ["honest", "ablation"]
    assert [remark.partition(": ")[2] for remark in selected.remarks()] == [
        "cells that are not there yet: 21 of 27 of 'honest', 12 of 18 of 'ablation', 15 of 15 of 'mixed'",
        "7 cells that are not of the suite are left out",
    ]
    with pytest.raises(DataError, match="expected cells of the suite 'Plain methods', got none"):
        plain_suite.only(["mixed"]).select(store)
    monkeypatch.setattr("graphnoise.bench.methods.nodes.LP.version", "3")
    selected = Suite.read(plain_suite.path).select(plain_store)
    assert [s.methods for s in node_sections(selected)] == [["sgc", "mlp"], ["mlp", "sgc (2 hops)", "sgc:hops=0"]]
    assert "18 of 18 of 'ablation'" in selected.remarks()[0]


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("datasets=['kora']", "datasets: expected one of .*did you mean 'cora'"),
        ("datasets=['nowhere.npz']", "nowhere.npz"),
        ("datasets=['DATA']\nnoise=['cascade']\nexact=true", "exact: "),
    ],
)
def test_what_only_the_data_show_is_reported_the_same_way(settings, message, planted, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(A + settings.replace("DATA", planted))
    suite = Suite.read(path)
    with pytest.raises(GraphnoiseError, match=f"{path}: grid 'a': {message}"):
        _ = suite.cells


def test_files_that_cannot_be_read(tmp_path):
    binary = tmp_path / "suite.toml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "absent.toml", binary):
        with pytest.raises(InputError, match=f"{path}: expected a suite in TOML"):
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
