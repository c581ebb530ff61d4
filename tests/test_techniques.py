"""The catalogue of techniques: its page, and what its records name."""

import ast
import functools
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path

import numpy
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


def test_differences_are_those_of_the_record(tmp_path):
    rng = numpy.random.default_rng(0)
    plain = rng.uniform(0.5, 0.6, 10)
    values = {"x:m=ce": plain, "x:m=good": plain + 0.05 + rng.normal(0, 0.01, 10), "x:m=bad": plain - 0.1}
    values |= {"x:m=bad": values["x:m=bad"] + rng.normal(0, 0.01, 10), "x:m=same": rng.permutation(plain), "far": plain}
    rows = [
        {"row": row, "dataset": "d", "noise": "pair", "rate": 0.3, "seed": k, "score": value}
        for row, each in values.items()
        for k, value in enumerate(each)
    ]
    pandas.DataFrame([*rows, {**rows[0], "noise": "none", "rate": 0.0, "score": 0.5}]).to_csv(tmp_path / "r.csv")
    asked = {"title": "T", "record": "r", "measure": "score", "against": "x:m=ce", "start": "x:m=", "others": ["far"]}
    lines = catalogue().measured(asked, tmp_path)
    table = [[entry.strip() for entry in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert table[0][1:] == ["d (1)", "d pair 0.3 (10)"]
    assert table[1] == ["`x:m=ce`", "50.0", f"{100 * plain.mean():.1f}"]
    assert [row[0] for row in table[2:]] == ["`bad`", "`good`", "`same`", "`far`"]
    assert {row[1] for row in table[2:]} == {""}
    for row, name in zip(table[2:], ("x:m=bad", "x:m=good", "x:m=same"), strict=False):
        gap = values[name] - plain
        low, high = stats.ttest_1samp(gap, 0).confidence_interval()
        assert row[2].rstrip("*") == f"{100 * gap.mean():+.1f} ± {50 * (high - low):.1f}"
    assert [row[2].endswith("*") for row in table[2:]] == [True, True, False, False]
    assert lines[-3:] == ["- better: `good`", "- worse: `bad`", "- better in one, worse in another: none"]


def test_draws_that_one_row_lacks_are_counted_at_its_entry(tmp_path):
    rows = [("ce", k, 0.5 + 0.01 * k) for k in range(3)] + [("other", k, 0.6 + 0.02 * k) for k in range(2)]
    cells = [{"row": row, "dataset": "d", "noise": "pair", "rate": 0.3, "draw": k, "m": m} for row, k, m in rows]
    asked = {"title": "T", "record": "r", "measure": "m", "against": "ce"}
    pandas.DataFrame(cells).to_csv(tmp_path / "r.csv")
    lines = catalogue().measured(asked, tmp_path)
    assert "| `ce` | 51.0 |" in lines
    assert any(line.startswith("| `other` | +10.5 ± ") and line.endswith(" (2) |") for line in lines)
    pandas.DataFrame([*cells, cells[0]]).to_csv(tmp_path / "r.csv")
    with pytest.raises(ValueError, match="twice"):
        catalogue().measured(asked, tmp_path)


def test_the_tables_have_the_methods_of_the_suites():
    for name in {asked["record"] for asked in catalogue().DATA["table"]}:
        suite = tomllib.loads((TOP / "benchmarks" / "suites" / f"{name}.toml").read_text())
        wanted = {row for grid in suite["grid"] for row in grid.get("methods", suite["defaults"]["methods"])}
        tables = [asked for asked in catalogue().DATA["table"] if asked["record"] == name]
        rows = [row for asked in tables for pairs in catalogue().differences(asked)[0].values() for row in pairs]
        assert wanted == {*rows, *(asked["against"] for asked in tables)}


def test_the_page_of_limits_counts_what_helps_and_harms():
    text = (
        (TOP / "docs" / "limits.md").read_text().partition("**Techniques of other fields.**")[2].partition("([tech")[0]
    )
    plain, corrected = (catalogue().differences(asked)[0] for asked in catalogue().DATA["table"][:2])
    gains = [plain[f"cora {kind} 0.3"].pop("ce:labels=graph-gp").difference for kind in ("symmetric", "pair")]
    numbers = []
    for compared in (plain, corrected):
        numbers.append(len(compared["cora symmetric 0.3"]))
        for kind in ("symmetric", "pair"):
            sure = [pair.difference for pair in compared[f"cora {kind} 0.3"].values() if (pair.p or 1) < 0.05]
            numbers += [sum(gap > 0 for gap in sure), sum(gap < 0 for gap in sure)]
        numbers += [round(100 * gain, 1) for gain in gains] if compared is plain else []
    assert [float(number) for number in re.findall(r"\d+\.?\d*", text)] == numbers


@pytest.mark.parametrize("change", [{"number": 2}, {"tier": "D"}, {"harms": ""}])
def test_records_are_checked(change):
    with pytest.raises(ValueError, match=r".+"):
        catalogue().check([{**TECHNIQUES[0], **change}])
    with pytest.raises(ValueError, match="twice"):
        catalogue().check([TECHNIQUES[0], TECHNIQUES[0]])
