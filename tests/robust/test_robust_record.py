"""The committed record of robust classification: what docs/robust.md shows of it, and what the method must keep."""

import re
from pathlib import Path

import pandas
import pytest

from graphnoise.statistics import estimate

TOP = Path(__file__).parents[2]
NAMES = {
    "cora": "Cora",
    "citeseer": "CiteSeer",
    "pubmed": "PubMed",
    "amazon-photo": "Photo",
    "amazon-computers": "Computers",
}
# Means that `ggp` must have without noise, at symmetric .4 and at pair .4.
LEAST = {
    "Cora": (84.5, 81, 80),
    "CiteSeer": (76, 72, 66),
    "PubMed": (83, 76, 79),
    "Photo": (91.5, 88, 88),
    "Computers": (81.5, 77, 77),
}
SETTINGS = [("none", 0.0), ("symmetric", 0.4), ("pair", 0.4)]


@pytest.fixture(scope="module")
def cells():
    table = pandas.read_csv(TOP / "benchmarks" / "results" / "robust.csv")
    table["data"] = table["dataset"].str.partition(":")[0].map(NAMES)
    table["row"] = table["row"].str.partition(":")[0]
    return table


def shown(values):
    """Return a mean with its interval as the documentation has it."""
    half = estimate({draw: [value] for draw, value in enumerate(values)}).half_width if len(values) > 1 else 0
    few = f" ({len(values)})" if len(values) < 10 else ""
    return f"{100 * values.mean():.1f}" + (f" ± {100 * half:.1f}" if half and half > 5e-4 else "") + few


def documented():
    """Yield the part of the page, data set, kind, rate, method and text of each cell of the documentation's tables."""
    part = methods = None
    for line in (TOP / "docs" / "robust.md").read_text(encoding="utf-8").splitlines():
        entries = [entry.strip().strip("*`") for entry in line.strip("|").split("|")]
        if line.startswith("| | "):
            part, methods = ("training" if part else "main"), entries[1:]
        elif line.startswith("| ") and methods:
            name, setting = entries[0].split(" ", 1)
            kind, _, rate = setting.partition(" ")
            for method, entry in zip(methods, entries[1:], strict=True):
                yield part, name, "none" if kind == "clean" else kind, float(rate or 0), method, entry


def test_the_documentation_shows_what_is_recorded(cells):
    grids = {"main": ["citation", "larger"], "training": ["training-labels"]}
    checked = 0
    for part, name, kind, rate, method, entry in documented():
        chosen = cells[cells["grid"].isin(grids[part]) & (cells["data"] == name) & (cells["row"] == method)]
        values = chosen[(chosen["noise"] == kind) & (chosen["rate"] == rate)]["test_accuracy"]
        assert entry == (shown(values.to_numpy()) if len(values) else "–"), (part, name, kind, rate, method)
        checked += 1
    assert checked > 150


@pytest.mark.parametrize("name", LEAST)
def test_accuracies_of_the_record(cells, name):
    chosen = cells[(cells["data"] == name) & (cells["row"] == "ggp") & cells["grid"].isin(["citation", "larger"])]
    for (kind, rate), least in zip(SETTINGS, LEAST[name], strict=True):
        values = chosen[(chosen["noise"] == kind) & (chosen["rate"] == rate)]["test_accuracy"]
        assert len(values) == 10
        assert 100 * values.mean() >= least


def test_nowhere_more_than_a_point_below_the_best_other_method(cells):
    chosen = cells[cells["grid"].isin(["citation", "larger"])]
    means = chosen.pivot_table(index=["data", "noise", "rate"], columns="row", values="test_accuracy")
    assert ((means.drop(columns="ggp").max(axis=1) - means["ggp"]) < 0.01).all()
    assert len(means) == 25


def test_figures_in_the_text_are_those_of_the_record(cells):
    chosen = cells[cells["grid"].isin(["citation", "larger"])]
    paired = chosen.pivot_table(index=["data", "noise", "rate", "draw"], columns="row", values="test_accuracy")
    text = (TOP / "docs" / "robust.md").read_text(encoding="utf-8")
    for points, method in re.findall(r"\+([\d.]+) ± \.\d over `([\w-]+)`", text):
        assert f"{100 * (paired['ggp'] - paired[method]).mean():.1f}" == points
    assert text.count(" over `") >= 4
