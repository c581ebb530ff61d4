"""The committed records of recommenders: complete, with the results and figures that the documentation gives."""

import re
from pathlib import Path

import pytest

from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite
from recsys.bench.recommend import Recommend

TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs" / "recommend.md").read_text(encoding="utf-8")
SUITES = ("nbpo-amazon", "movielens", "noise-sweep")


def record(name):
    return Table(TOP / "benchmarks" / "results" / f"{name}.csv")


@pytest.fixture(scope="module")
def by_grid():
    sections: dict[str, list] = {}
    for name in SUITES:
        for section in Recommend().sections(list(record(name).records())):
            sections.setdefault(section.grid, []).append(section)
    return sections


@pytest.mark.parametrize("name", SUITES)
def test_the_record_is_whole(name):
    suite = Suite.read(TOP / "benchmarks" / "suites" / f"{name}.toml")
    selected = suite.select(record(name))
    assert selected.remarks() == []
    assert [one["config"] for one in selected.records()] == [one["config"] for one in record(name).records()]


@pytest.mark.parametrize("name", SUITES)
def test_methods_had_the_same_budget_and_two_are_always_there(name):
    trials: dict[str, set] = {}
    methods: dict[str, set] = {}
    for one in record(name).records():
        methods.setdefault(one["grid"], set()).add(one["config"]["method"])
        if one["config"]["trials"] > 1:
            trials.setdefault(one["grid"], set()).add(one["config"]["trials"])
    assert all(len(budgets) == 1 for budgets in trials.values())
    assert all({"popularity", "itemknn-plain"} <= names for names in methods.values())


def test_plain_methods_on_nbpos_split(by_grid):
    (section,) = by_grid["tuned"]
    assert section.mean("popularity", "none", 0.0, "f1@10").mean == pytest.approx(0.0240, abs=1e-4)
    assert section.mean("popularity", "none", 0.0).mean == pytest.approx(0.0490, abs=1e-4)
    assert section.mean("itemknn-plain", "none", 0.0).mean == pytest.approx(0.0808, abs=1e-4)


def rows(section, kind, rate):
    """Return the numbers that the documentation gives: by method its mean, and the gain over the best plain one."""
    best = section.best_plain(kind, rate)
    means = {m: e.mean for m in section.methods if (e := section.mean(m, kind, rate)) is not None}
    return {m: (f"{mean:.4f}", f"{100 * (mean / means[best] - 1):+.1f}") for m, mean in means.items()}


TABLES = re.findall(r"<!-- (\S+) (\S+) (\S+) ([0-9.]+) -->\n(.*?)\n\n", PAGE, re.DOTALL)


def test_there_are_tables():
    assert len(TABLES) == 9


@pytest.mark.parametrize(("grid", "dataset", "kind", "rate", "text"), TABLES, ids=lambda x: x[:20])
def test_the_documentation_has_the_figures_of_the_record(by_grid, grid, dataset, kind, rate, text):
    (section,) = (s for s in by_grid[grid] if s.dataset == dataset)
    said = {}
    for line in text.splitlines()[2:]:
        cells = [cell.split()[0].strip("*`") for cell in line.strip("|").split("|")[:3]]
        said[cells[0]] = cells[1], cells[2]
    assert said == rows(section, kind, float(rate))
    seeds = {len(section.records(m, kind, float(rate))) for m in section.methods}
    assert len(seeds) == 1


@pytest.mark.parametrize("kind", ["false-positive", "false-negative"])
def test_the_documentation_has_the_rates_of_the_record(by_grid, kind):
    (section,) = by_grid["rates"]
    (text,) = re.findall(rf"<!-- rates {kind} -->\n(.*?)\n\n", PAGE, re.DOTALL)
    for line in text.splitlines()[2:]:
        method, *said = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        assert said == [f"{section.mean(method, kind, rate).mean:.4f}" for rate in section.rates(kind)]


def test_nbpo_with_its_authors_settings_reproduces(by_grid):
    (section,) = by_grid["official"]
    assert section.mean("nbpo-official", "none", 0.0).mean == pytest.approx(0.078, abs=0.003)
    assert section.mean("bpr-official", "none", 0.0).mean == pytest.approx(0.0710, abs=0.003)
    assert section.mean("bpo-official", "none", 0.0).mean == pytest.approx(0.0697, abs=0.003)
    three = section.mean("nbpo-official:num_negatives=3", "none", 0.0, "validation")
    assert three.mean == pytest.approx(0.0775, abs=0.0015)
    assert section.best_plain("none", 0.0) == "itemknn-plain"
    assert section.mean("nbpo-official", "none", 0.0).mean < section.mean("itemknn-plain", "none", 0.0).mean


def test_samplers_and_losses_are_in_the_order_of_the_page(by_grid):
    def score(grid, name, kind="none", rate=0.0):
        return by_grid[grid][0].mean(name, kind, rate).mean

    uniform = score("samplers", "bpr-adam:sampler=uniform")
    assert score("samplers", "bpr-adam:sampler=aobpr") > max(1.05 * uniform, score("samplers", "itemknn-plain"))
    assert score("samplers", "bpr-adam:sampler=popularity") < 0.9 * uniform
    assert all(score("losses", name) < score("losses", "bce") for name in ("t-ce", "r-ce", "deca", "nbpo", "nbpo-em"))


def test_the_linear_model_beats_every_plain_method_by_a_twentieth_on_two_sets(by_grid):
    won = set()
    for grid, kind, rate in (
        ("tuned", "none", 0.0), ("modcloth", "none", 0.0), ("modcloth-hidden", "false-negative", 0.2),
    ):  # fmt: skip
        for section in by_grid[grid]:
            best = section.best_plain(kind, rate)
            assert {"itemknn", "als", "ease", "bpr"} <= set(section.names.values())
            assert len(section.records("linear", kind, rate)) >= 5
            if section.mean("linear", kind, rate).mean >= 1.05 * section.mean(best, kind, rate).mean:
                won.add((section.dataset, rate))
    assert won == {("amazon-nbpo", 0.0), ("modcloth", 0.0), ("modcloth", 0.2)}
