"""The committed records of local clustering: whole, what they must show, and what the documentation says of them."""

import re
from pathlib import Path

import pytest

from graphnoise.bench import tasks
from graphnoise.bench.clusters.results import sections
from graphnoise.bench.clusters.table import Table

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "clustering.md").read_text(encoding="utf-8")
SUITES = ("synthetic", "real")


def record(name):
    return Table(TOP / "benchmarks" / "results" / f"local-clustering-{name}.csv")


@pytest.fixture(scope="module")
def found():
    """By grid, data set and labels: the section."""
    every = [section for name in SUITES for section in sections(record(name))[0]]
    return {(section.grid, section.dataset, section.labels): section for section in every}


def planted(found, grid, labels):
    return next(section for (own, _, source), section in found.items() if (own, source) == (grid, labels))


@pytest.mark.parametrize("name", SUITES)
def test_the_record_is_whole(name):
    suite = tasks.read_suite(TOP / "benchmarks" / "suites" / f"local-clustering-{name}.toml")
    assert suite.select(record(name)).remarks() == []


def test_label_weights_gain_on_coauthor_cs(found):
    section = found["flips", "coauthor-cs", "0.9/0.95"]
    assert len(section.classes) == 15
    assert 0.58 <= section.mean("labels").value <= 0.62
    assert section.mean("lfd").value >= 0.72
    assert section.gain("lfd").value - section.gain("lfd").half_width > 0


def best(section, method):
    trials = [trial for target in section.classes for trial in section.trials[method, target].values()]
    assert len(trials) >= 15
    return section.mean(method, "oracle_f1").value


def test_planted_blocks_where_nine_in_ten_labels_are_right(found):
    section = planted(found, "weak", "0.9/0.9")
    assert 0.45 <= best(section, "labels") <= 0.50
    assert best(section, "fd") <= 0.35
    assert best(section, "lfd") >= 0.80


def test_planted_blocks_where_seven_in_ten_labels_are_right(found):
    section = planted(found, "weak", "0.7/0.7")
    assert best(section, "lfd") >= max(0.40, best(section, "labels") + 0.15)


@pytest.mark.parametrize("grid", ["weak", "strong"])
def test_worthless_labels_cost_something_and_the_estimator_leaves_them_out(found, grid):
    section = planted(found, grid, "0.5/0.5")
    assert best(section, "lfd") < best(section, "fd")
    assert section.mean("auto").value > section.mean("lfd").value


def test_beliefs_are_best_where_labels_are_flipped_at_random(found):
    flipped = [section for section in found.values() if section.grid in ("flips", "flips-large", "weak", "strong")]
    assert len(flipped) == 24
    for section in flipped:
        if "0.5/0.5" not in section.title:
            others = [section.mean(method).value for method in section.methods if not method.startswith("bp")]
            assert section.mean("bp").value > max(others) + 0.01
            if "bp:known=false" in section.methods:
                assert section.mean("bp:known=false").value > max(max(others) + 0.01, section.mean("bp").value - 0.04)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables():
    """Yield the lines of each table of the page whose first cell of the head names what its lines are."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        head, _, *lines = block.splitlines()
        yield cells(head), [cells(line) for line in lines]


def test_the_numbers_of_the_page_are_those_of_the_record(found):
    checked = 0
    for head, lines in tables():
        if head[0] not in ("data, labels", "planted, labels"):
            continue
        for line in lines:
            place, *numbers = line
            dataset, labels = place.split(", ")
            if head[0] == "planted, labels":
                section, measure = planted(found, dataset, labels), "oracle_f1"
            else:
                section = next(
                    s for (_, data, own), s in found.items() if (data, own) == (dataset, labels) and s.grid != "norms"
                )
                measure = "f1"
            for method, number in zip(head[1:], numbers, strict=True):
                mean = section.mean(method.partition(" ")[0], "f1" if method.startswith("auto") else measure)
                assert number.split(" ±")[0] == f"{100 * mean.value:.1f}", (place, method)
                checked += 1
    assert checked >= 60


def test_the_example_of_the_page_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "clustering.md", "exec"), {})
    labels, plain, weighted, auto, beliefs = map(float, capsys.readouterr().out.split())
    assert plain < labels < weighted - 0.2
    assert auto > labels + 0.2
    assert beliefs > auto
