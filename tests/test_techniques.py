"""The catalogue of techniques: its page, and what its records name."""

import ast
import functools
import importlib
import importlib.util
import re
from pathlib import Path

import pandas
import pytest
from scipy import stats

TOP = Path(__file__).parents[1]


@functools.cache
def catalogue():
    spec = importlib.util.spec_from_file_location("techniques", TOP / "docs" / "techniques.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TECHNIQUES = catalogue().TECHNIQUES


def test_the_page_is_what_the_records_give():
    assert (TOP / "docs" / "techniques.md").read_text() == catalogue().page(), "python docs/techniques.py"


def test_the_page_says_how_many_there_are():
    one = [technique for technique in TECHNIQUES if technique["number"] == 34]
    text = catalogue().page(one)
    assert "35 have a technique" in text
    assert "1 of them are here, with 1 techniques" in text
    assert "#1, #3" in text
    assert len(catalogue().PAPERS) == 35


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: f"{t['number']}-{t['where'].rpartition('.')[2]}")
def test_objects_and_tests_exist(technique):
    parts = technique["where"].split(".")
    for k in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:k]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[k:]:
        value = getattr(value, part)
    assert callable(value)
    file, _, name = technique["test"].partition("::")
    tree = ast.parse((TOP / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("technique", [t for t in TECHNIQUES if "effect" in t], ids=lambda t: t["effect"]["row"])
def test_effects_are_in_the_records(technique):
    lines = catalogue().effect(technique)
    assert lines
    assert all(" draw" in line for line in lines)


@pytest.mark.parametrize("change", [{"number": 2}, {"tier": "D"}, {"harms": ""}])
def test_records_are_checked(change):
    with pytest.raises(ValueError, match=r".+"):
        catalogue().check([{**TECHNIQUES[0], **change}])
    with pytest.raises(ValueError, match="twice"):
        catalogue().check([TECHNIQUES[0], TECHNIQUES[0]])


def test_the_summary_has_the_figures_of_the_record():
    table = pandas.read_csv(TOP / "benchmarks" / "results" / "techniques.csv", low_memory=False)
    cells = table[table["grid"] == "cora"].pivot_table("test_accuracy", ["noise", "draw"], "row") * 100
    text = " ".join(catalogue().DATA["summary"].split())
    for kind, (start, end) in {"symmetric": ("under symmetric", "under pair"), "pair": ("under pair", ";")}.items():
        helped = re.findall(r"`([a-z-]+)` \(([+-][\d.]+)\)", text[text.index(start) : text.index(end)])
        differences = {row: cells.loc[kind][row] - cells.loc[kind]["ce"] for row in cells}
        # Holm's correction over the other rows.
        p = {row: stats.ttest_1samp(d, 0).pvalue for row, d in differences.items() if row != "ce"}
        ordered = sorted(p, key=p.get)
        first = next(k for k, row in enumerate(ordered) if p[row] * (len(p) - k) >= 0.05)
        better = {row: f"{differences[row].mean():+.1f}" for row in ordered[:first] if differences[row].mean() > 0}
        assert dict(helped) == better
    harmed = re.findall(r"`([a-z-]+)` \((-[\d.]+)", text[text.index(";") : text.index("One draw each")])
    means = (cells.loc["symmetric"].sub(cells.loc["symmetric"]["ce"], axis=0)).mean()
    assert len(harmed) == 7
    assert [float(loss) for _, loss in harmed] == pytest.approx([means[row] for row, _ in harmed], abs=0.06)
    assert [f"{cells.loc[kind]['ce'].mean():.1f}" for kind in ("symmetric", "pair")] == ["70.1", "65.6"]
