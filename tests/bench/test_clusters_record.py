"""The committed records of local clustering: complete, what they must show, and the numbers of the documentation."""

import re
from pathlib import Path

import pytest

from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite
from graphnoise.bench.tasks.cluster import Cluster

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "clustering.md").read_text(encoding="utf-8")
SUITES = ("synthetic", "real")


def record(name):
    return Table(TOP / "benchmarks" / "results" / f"local-clustering-{name}.csv")


@pytest.fixture(scope="module")
def sections():
    """By grid, data set and labels: the section."""
    every = [section for name in SUITES for section in Cluster.sections(list(record(name).records()))]
    return {(section.grid, *section.name): section for section in every}


def planted(sections, grid, labels):
    return next(section for (name, _, source), section in sections.items() if (name, source) == (grid, labels))


@pytest.mark.parametrize("name", SUITES)
def test_the_record_is_complete(name):
    suite = Suite.read(TOP / "benchmarks" / "suites" / f"local-clustering-{name}.toml")
    assert suite.select(record(name)).remarks() == []


def test_label_weights_gain_on_coauthor_cs(sections):
    section = sections["flips", "coauthor-cs", "0.9/0.95"]
    assert len(section.classes) == 15
    assert 0.58 <= section.mean("labels").mean <= 0.62
    assert section.mean("label_flow").mean >= 0.72
    assert section.gain("label_flow").mean - section.gain("label_flow").half_width > 0


def best(section, method):
    assert sum(len(section.values(method, target)) for target in section.classes) >= 15
    return section.mean(method, "best F1").mean


def test_planted_blocks(sections):
    nine_in_ten, seven_in_ten = planted(sections, "weak", "0.9/0.9"), planted(sections, "weak", "0.7/0.7")
    assert 0.45 <= best(nine_in_ten, "labels") <= 0.50
    assert best(nine_in_ten, "flow") <= 0.35
    assert best(nine_in_ten, "label_flow") >= 0.80
    assert best(seven_in_ten, "label_flow") >= max(0.40, best(seven_in_ten, "labels") + 0.15)


@pytest.mark.parametrize("grid", ["weak", "strong"])
def test_worthless_labels_cost_something_and_the_estimator_leaves_them_out(sections, grid):
    section = planted(sections, grid, "0.5/0.5")
    assert best(section, "label_flow") < best(section, "flow")
    assert section.mean("auto").mean > section.mean("label_flow").mean


def test_beliefs_are_best_where_labels_are_flipped_at_random(sections):
    flipped = [section for section in sections.values() if section.grid in ("flips", "flips-large", "weak", "strong")]
    assert len(flipped) == 24
    for section in flipped:
        if "0.5/0.5" not in section.title:
            means = {method: section.mean(method).mean for method in section.methods}
            others = max(mean for method, mean in means.items() if not method.startswith("bp"))
            assert means["bp"] > others + 0.01
            assert means.get("bp:known=false", means["bp"]) > max(others + 0.01, means["bp"] - 0.04)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_the_numbers_of_the_page_are_those_of_the_record(sections):
    checked = 0
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        (name, *methods), _, *lines = map(cells, block.splitlines())
        if name not in ("data, labels", "planted, labels"):
            continue
        for place, *numbers in lines:
            dataset, labels = place.split(", ")
            if name == "planted, labels":
                section, measure = planted(sections, dataset, labels), "best F1"
            else:
                same = [s for (grid, *key), s in sections.items() if key == [dataset, labels] and grid != "norms"]
                section, measure = same[0], "f1"
            for method, number in zip(methods, numbers, strict=True):
                mean = section.mean(method.partition(" ")[0], "f1" if method.startswith("auto") else measure)
                assert number.split(" ±")[0] == f"{100 * mean.mean:.1f}", (place, method)
                checked += 1
    assert checked >= 60
