"""Tables of recorded cells: CSV and back, means, comparisons, what is printed and drawn."""

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from graphnoise import DataError
from graphnoise.bench.runner import Store
from recsys.bench import plots, report, table
from recsys.bench.grid import METRICS, RULE
from recsys.bench.results import sections
from recsys.bench.users import pack

USERS = 40


class Cells:
    """Made-up cells, as a source."""

    folder = "made up"

    def __init__(self, records):
        self.cells = records

    def records(self):
        return iter(self.cells)

    def remarks(self):
        return []


def record(method, seed, values, kind="none", rate=0.0, epochs=False, **more):
    config = {
        "task": "recommend", "protocol": 1, "dataset": "d", "data": "0" * 32, "split_seed": 0,
        "noise": {"kind": kind, "rate": rate}, "select": "noisy", "seed": seed, "method": method, "version": "1",
        "fixed": {}, "trials": 3, **more,
    }  # fmt: skip
    picked = {"rule": RULE, "run": 9, "picked": 3, "oracle": 5, "oracle_test": float(values.mean()) + 0.01}
    test = {**dict.fromkeys(METRICS, 0.25), "ndcg@20": round(float(values.mean()), 6)}
    result = {
        "parameters": {"x": 0.5}, "validation": 0.3, "test": test, "users": pack(values),
        "epochs": picked if epochs else None, "best_trial": 1,
        "realised_rate": {"false_positive": rate, "false_negative": 0.0},
        "run": {"seconds": 1.5, "processor": "p", "commit": "c"},
    }  # fmt: skip
    return {"config": config, "result": result}


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    base = rng.random((3, USERS)) * 0.5
    made = []
    for kind, rate in (("none", 0.0), ("false-positive", 0.2)):
        for seed in range(3):
            made += [
                record("popularity", seed, base[seed] * 0.2, kind, rate),
                record("ease", seed, base[seed], kind, rate),
                record("bpr", seed, base[seed] * 0.9, kind, rate, epochs=True),
                record("linear", seed, base[seed] + 0.1 + 0.01 * rng.random(USERS), kind, rate),
            ]
    return Cells(made)


def test_a_table_comes_back_as_it_was_written(cells, tmp_path):
    file = tmp_path / "cells.csv"
    file.write_text(table.to_csv(cells))
    assert table.is_table(file)
    again = table.Table(file)
    assert table.to_csv(again) == file.read_text()
    for one, two in zip(cells.records(), again.records(), strict=True):
        assert one["config"] == two["config"]
        assert one["result"] == two["result"]


def spoilt(text, column, value, line=1):
    rows = list(csv.reader(io.StringIO(text)))
    rows[line][rows[0].index(column)] = value
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("users", "AAAA"),
        ("ndcg@20", "1.5"),
        ("rate", "NaN"),
        ("seed", "-1"),
        ("parameters", "[]"),
        ("trials", ""),
        ("noise", "pair"),
    ],
)
def test_a_spoilt_value_is_named_with_its_line(cells, tmp_path, column, value):
    file = tmp_path / "cells.csv"
    file.write_text(spoilt(table.to_csv(cells), column, value, line=4))
    with pytest.raises(DataError, match=f"line 5: expected a value of {column}"):
        table.Table(file)


@pytest.mark.parametrize(("column", "value"), [("noise", "none"), ("rate", "0.0")])
def test_noise_has_a_rate_and_none_has_not(cells, tmp_path, column, value):
    file = tmp_path / "cells.csv"
    file.write_text(spoilt(table.to_csv(cells), column, value, line=-1))
    with pytest.raises(DataError, match="line 25: expected a rate of 0 where there is no noise, and nowhere else"):
        table.Table(file)


def test_a_method_of_another_version_stands_last(cells, tmp_path):
    (section,), _ = sections(Cells([*cells.cells, record("newest", 0, np.full(USERS, 0.5))]))
    assert section.methods[-1] == "newest"
    assert plots.draw([section], tmp_path / "ndcg.png")


def test_a_line_twice_or_too_short_is_refused(cells, tmp_path):
    file, text = tmp_path / "cells.csv", table.to_csv(cells)
    file.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(DataError, match="expected every cell once, got that of line 2 again"):
        table.Table(file)
    file.write_text(text + "a,b\n")
    with pytest.raises(DataError, match=r"expected .* values, got 2"):
        table.Table(file)
    file.write_text("a,b\n")
    assert not table.is_table(file)


def test_means_and_comparisons(cells):
    (section,), remarks = sections(cells)
    assert remarks == []
    assert section.methods == ["popularity", "ease", "bpr", "linear"]
    assert (section.kinds, section.rates("false-positive")) == (["false-positive"], [0.0, 0.2])
    assert section.best_plain("none", 0.0) == "ease"
    seeds = [r["result"]["test"]["ndcg@20"] for r in cells.cells if r["config"]["method"] == "ease"][:3]
    assert section.mean("ease", "none", 0.0).mean == pytest.approx(np.mean(seeds))
    found = {one.first: one for one in section.compared("none", 0.0)}
    assert set(found) == {"popularity", "bpr", "linear"}
    assert found["linear"].difference == pytest.approx(0.105, abs=0.002)
    assert found["linear"].relative == pytest.approx(0.105 / np.mean(seeds), abs=0.01)
    assert found["linear"].p < 1e-6
    assert found["bpr"].relative == pytest.approx(-0.1, abs=1e-3)
    assert (found["bpr"].wins, found["linear"].losses) == (0, 0)
    assert all(one.users == USERS for one in found.values())


def test_users_count_with_the_seeds_that_know_them(cells):
    holes = np.full(USERS, 0.5)
    holes[7] = np.nan  # in one seed; in the other it is user USERS - 8
    made = [
        record(method, seed, values) for method in ("ease", "linear") for seed, values in ((0, holes), (1, holes[::-1]))
    ]
    for one in made:
        one["result"]["test"]["ndcg@20"] = 0.5
    made[2]["result"]["users"] = pack(np.where(np.isnan(holes), np.nan, 0.75))
    (section,), _ = sections(Cells(made))
    (found,) = section.compared("none", 0.0)
    assert found.users == USERS
    assert found.difference == pytest.approx(0.125, abs=1e-4)  # 0 of one user, 0.25 of another
    assert found.wins == 1 - 1 / USERS


def test_settings_that_differ_are_told_apart(cells):
    more = record("ease", 0, np.full(USERS, 0.5), trials=50)
    set_ = record("ease", 0, np.full(USERS, 0.5), fixed={"regularization": 3})
    (section,), _ = sections(Cells([*cells.cells, more, set_]))
    assert "ease (50 trials, version 1)" in section.methods
    assert "ease:regularization=3" in section.methods


def test_other_benchmarks_are_left_out(cells):
    other = {"config": {"task": "nodes"}, "result": {}}
    _, remarks = sections(Cells([*cells.cells, other]))
    assert remarks == ["made up: 1 cells of another protocol are kept and left out"]
    with pytest.raises(DataError, match="expected cells of `graphnoise bench recommend`, got none"):
        sections(Cells([other]))


def test_the_report_says_rates_epochs_and_comparisons(cells):
    (section,), _ = sections(cells)
    console = Console(width=150, record=True, file=io.StringIO())
    for piece in report.render(section):
        console.print(piece)
    text = console.export_text()
    assert text.count("Against ease, the best plain method") == 2
    assert "Test ndcg@20, false-positive noise" in text
    line = next(line for line in text.splitlines() if line.startswith("bpr ") and " 3 " in line)
    mean = section.mean("bpr", "none", 0.0).mean
    assert line.split()[-5:-1] == ["0.3000", "3", "5", f"{mean + 0.01:.4f}"]
    assert "+0.10" in text


def test_long_names_cut_no_number(cells):
    long = [record("linear", seed, np.full(USERS, 0.5), fixed={"x" * 60: 1}) for seed in range(2)]
    (section,), _ = sections(Cells([*cells.cells, *long]))
    console = Console(width=120, record=True, file=io.StringIO())
    for piece in report.render(section):
        console.print(piece)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("kind", ["false-positive", "none"])
def test_plots(cells, tmp_path, kind):
    kept = Cells([r for r in cells.cells if r["config"]["noise"]["kind"] in ("none", kind)])
    (section,), _ = sections(kept)
    (file,) = plots.draw([section], tmp_path / "ndcg.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    figure = plots._figure([section])
    (panel,) = [p for p in figure.axes if p.axison]
    assert len(panel.get_legend_handles_labels()[1]) == 4
    named = [] if kind == "false-positive" else section.methods  # with one rate, names stand below the places
    assert [tick.get_text() for tick in panel.get_xticklabels() if tick.get_text().isalpha()] == named
    assert len(figure.legends) == (kind == "false-positive")


def test_variants_of_a_method_look_different():
    values = np.linspace(0, 1, USERS)
    made = [record("bpr", 0, values, fixed={"sampler": name}) for name in ("uniform", "popularity", "dns")]
    (section,), _ = sections(Cells(made))
    styles = plots._styles([section])
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == len(section.methods) == 3


def test_a_method_looks_the_same_in_all_panels_and_few_methods_differ_in_colour(cells):
    (section,), _ = sections(cells)
    names = ["popularity", "itemknn-plain", "bce", "t-ce", "r-ce", "deca", "nbpo"]
    (other,), _ = sections(Cells([record(name, 0, np.full(USERS, 0.5)) for name in names]))
    assert len({style["color"] for style in plots._styles([other]).values()}) == len(names)
    figure = plots._figure([section, other])
    colours = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            line = handle if hasattr(handle, "get_color") else handle[0]
            assert colours.setdefault(label, line.get_color()) == line.get_color()


def test_a_folder_is_a_source(tmp_path, cells):
    store = Store(tmp_path)
    from graphnoise.bench.runner import cell_key

    for one in cells.cells:
        store.write(cell_key(one["config"]), one["config"], one["result"])
    (section,), _ = sections(store)
    assert section.mean("linear", "none", 0.0).draws == 3
