"""Recorded cells of recommenders: means, comparisons, what is printed and drawn."""

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from graphnoise import DataError
from graphnoise.bench import plots, report
from graphnoise.bench.record import Table, to_csv
from recsys.bench.data import pack
from recsys.bench.recommend import Recommend
from recsys.bench.report import METRICS, PROCEDURES, RULE, SCORE

USERS = 40
TASK = Recommend()


def record(method, seed, values, kind="none", rate=0.0, epochs=False, **config):
    config = {
        "task": "recommend", "protocol": 1, "dataset": "d", "data": "0" * 32, "split_seed": 0,
        "noise": {"kind": kind, "rate": rate}, "select": "noisy", "procedure": "honest", "seed": seed,
        "method": method, "version": "1", "fixed": {}, "trials": 3, **config,
    }  # fmt: skip
    picked = {"rule": RULE, "run": 9, "picked": 3, "oracle": 5, "oracle_test": float(np.mean(values)) + 0.01}
    test = {**dict.fromkeys(METRICS, 0.25), "ndcg@20": round(float(np.nanmean(values)), 6)}
    result = {
        "parameters": {"x": 0.5}, "validation": 0.3, "test": test, "users": pack(values),
        "epochs": picked if epochs else None, "best_trial": 1,
        "realised_rate": {"false_positive": rate, "false_negative": 0.0},
        "run": {"seconds": 1.5, "processor": "p", "commit": "c"},
    }  # fmt: skip
    return {"config": config, "result": result}


def half(method, seed=0, **config):
    return record(method, seed, np.full(USERS, 0.5), **config)


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    base = rng.random((3, USERS)) * 0.5
    linear = base + 0.1 + 0.01 * rng.random(USERS)
    values = {"popularity": base * 0.2, "ease": base, "bpr": base * 0.9, "linear": linear}
    return [
        record(method, seed, values[method][seed], kind, rate, epochs=method == "bpr")
        for kind, rate in (("none", 0.0), ("false-positive", 0.2))
        for seed in range(3)
        for method in values
    ]


def section_of(records):
    (section,) = TASK.sections(records)
    return section


def printed(section, width=150):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(*report.render(TASK, section), sep="\n")
    return console.export_text()


def test_means_and_comparisons(records):
    section = section_of(records)
    assert section.methods == ["popularity", "ease", "bpr", "linear"]
    assert (section.kinds, section.rates("false-positive")) == (["false-positive"], [0.0, 0.2])
    assert section.best_plain("none", 0.0) == "ease"
    seeds = [r["result"]["test"]["ndcg@20"] for r in records if r["config"]["method"] == "ease"][:3]
    assert section.estimate("ease", "none", 0.0, SCORE).mean == pytest.approx(np.mean(seeds))
    assert section.estimate("ease", "none", 0.0, SCORE).draws == 3
    compared = {c.first: c for c in section.compared("none", 0.0)}
    assert set(compared) == {"popularity", "bpr", "linear"}
    assert compared["linear"].difference == pytest.approx(0.105, abs=0.002)
    assert compared["linear"].relative == pytest.approx(0.105 / np.mean(seeds), abs=0.01)
    assert compared["linear"].p < 1e-6
    assert compared["bpr"].relative == pytest.approx(-0.1, abs=1e-3)
    assert (compared["bpr"].wins, compared["linear"].losses) == (0, 0)
    assert all(c.users == USERS for c in compared.values())


def test_users_count_with_the_seeds_that_have_a_value():
    # User 7 has no value in one seed, user USERS - 8 none in the other.
    missing = np.full(USERS, 0.5)
    missing[7] = np.nan
    more = np.where(np.isnan(missing), np.nan, 0.75)
    records = [record("ease", 0, missing), record("ease", 1, missing[::-1]), record("linear", 0, more)]
    records += [record("linear", 1, missing[::-1])]
    for one in records:
        one["result"]["test"]["ndcg@20"] = 0.5
    (comparison,) = section_of(records).compared("none", 0.0)
    assert comparison.users == USERS
    # 0 of one user, 0.25 of another.
    assert comparison.difference == pytest.approx(0.125, abs=1e-4)
    assert comparison.wins == 1 - 1 / USERS


def test_rows_of_different_settings_are_apart_and_unknown_methods_last(records, tmp_path):
    others = [half("ease", trials=50), half("ease", fixed={"regularization": 3}), half("newest")]
    section = section_of([*records, *others])
    assert "ease (50 trials, version 1)" in section.methods
    assert "ease:regularization=3" in section.methods
    assert section.methods[-1] == "newest"
    assert plots.draw(TASK, [section], tmp_path / "ndcg.png")


def test_the_report_has_rates_epochs_and_comparisons(records):
    section = section_of(records)
    text = printed(section)
    assert text.count("Against ease, the best plain method") == 2
    assert "Test ndcg@20, false-positive noise" in text
    line = next(line for line in text.splitlines() if line.startswith("bpr ") and " 3 " in line)
    mean = section.estimate("bpr", "none", 0.0, SCORE).mean
    assert line.split()[-5:-1] == ["0.3000", "3", "5", f"{mean + 0.01:.4f}"]
    assert "+0.10" in text


def test_long_names_cut_no_number(records):
    text = printed(section_of([*records, *(half("linear", seed, fixed={"x" * 60: 1}) for seed in range(2))]), 120)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("kind", ["false-positive", "none"])
def test_plots(records, tmp_path, kind):
    section = section_of([r for r in records if r["config"]["noise"]["kind"] in ("none", kind)])
    (file,) = plots.draw(TASK, [section], tmp_path / "ndcg.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    figure = TASK.figures([section], plots.styles([section]))[""]
    (panel,) = [p for p in figure.axes if p.axison]
    assert len(panel.get_legend_handles_labels()[1]) == 4
    # With one rate, names are at the axis.
    names = [] if kind == "false-positive" else section.methods
    assert [tick.get_text() for tick in panel.get_xticklabels() if tick.get_text().isalpha()] == names
    assert len(figure.legends) == (kind == "false-positive")


def test_a_row_looks_the_same_in_all_panels(records):
    names = ["popularity", "itemknn-plain", "bce", "t-ce", "r-ce", "deca", "nbpo"]
    sections = [section_of(records), section_of([half(name) for name in names])]
    colours = {}
    for panel in TASK.figures(sections, plots.styles(sections))[""].axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            line = handle if hasattr(handle, "get_color") else handle[0]
            assert colours.setdefault(label, line.get_color()) == line.get_color()
    assert set(colours) == {*names, "ease", "bpr", "linear"}


def test_each_procedure_is_a_section_that_says_so(records):
    for procedure, words in (("refit", "trained again with it"), ("published", "published protocol")):
        others = [
            {**r, "config": {**r["config"], "procedure": procedure, "trials": 1}}
            for r in records
            if r["config"]["noise"]["rate"] == 0
        ]
        sections = TASK.sections([*records, *others])
        # Other trials of another procedure are no variant of a row.
        assert [section.methods for section in sections] == [["popularity", "ease", "bpr", "linear"]] * 2
        text = printed(section_of(others))
        assert words in section_of(others).title
        assert PROCEDURES[procedure] in text
        assert PROCEDURES["honest"] not in text


def test_tables_from_before_the_procedure_are_honest(records, tmp_path):
    rows = list(csv.DictReader(io.StringIO(to_csv(TASK, records))))
    with (tmp_path / "old.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "procedure"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    read = Table(tmp_path / "old.csv").records()
    assert [cell["config"]["procedure"] for cell in read] == ["honest"] * len(records)


@pytest.mark.parametrize(("procedure", "validation"), [("published", 0.3), ("honest", None), ("refit", None)])
def test_only_the_published_protocol_has_no_validation(procedure, validation, tmp_path):
    cell = half("ease", procedure=procedure)
    cell["result"]["validation"] = validation
    (tmp_path / "wrong.csv").write_text(to_csv(TASK, [cell]))
    with pytest.raises(DataError, match="validation, best_trial: expected values, but none under procedure published"):
        Table(tmp_path / "wrong.csv")
