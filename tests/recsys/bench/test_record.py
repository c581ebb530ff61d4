"""The committed records of recommenders: complete, with the results and figures that the documentation gives."""

import csv
import dataclasses
import re
from pathlib import Path

import pytest

from graphnoise.bench import registry
from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite
from recsys import ALS
from recsys.bench import methods
from recsys.bench.recommend import Recommend
from recsys.bench.report import SCORE

TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs" / "recommend.md").read_text(encoding="utf-8")
TABLES = re.findall(r"<!-- (\S+) (\S+) (\S+) ([0-9.]+) -->\n(.*?)\n\n", PAGE, re.DOTALL)
SUITES = (
    "nbpo-amazon",
    "movielens",
    "noise-sweep",
    "gowalla",
    "real-noise",
    "coat",
    "heldout",
    "defaults",
    "techniques-pairs",
)


@pytest.fixture(scope="module")
def records():
    return {name: Table(TOP / "benchmarks" / "results" / f"{name}.csv") for name in SUITES}


@pytest.fixture(scope="module")
def by_grid(records):
    sections = [section for table in records.values() for section in Recommend().sections(list(table.records()))]
    assert len({section.grid for section in sections}) == len(sections)
    return {section.grid: section for section in sections}


def mean(section, method, kind="none", rate=0.0, measure=SCORE):
    return section.estimate(method, kind, rate, measure).mean


@pytest.fixture
def methods_of_the_records(monkeypatch):
    """Searched methods at the version of the records, whose searches did not start at the defaults."""
    for name in registry.names("recommenders"):
        method = registry.load("recommenders", name)
        if method.version in ("3", "4"):
            later = dataclasses.replace(method, version="2")
            monkeypatch.setattr(methods, next(key for key, value in vars(methods).items() if value is method), later)


@pytest.mark.usefixtures("methods_of_the_records")
@pytest.mark.parametrize("name", [name for name in SUITES if name in ("nbpo-amazon", "movielens", "noise-sweep")])
def test_the_record_is_complete_with_equal_budgets(name, records):
    selected = Suite.read(TOP / "benchmarks" / "suites" / f"{name}.toml").select(records[name])
    assert selected.remarks() == []
    assert [one["config"] for one in selected.records()] == [one["config"] for one in records[name].records()]
    for grid in {one["grid"] for one in selected.records()}:
        configs = [one["config"] for one in selected.records() if one["grid"] == grid]
        assert len({config["trials"] for config in configs} - {1}) <= 1
        assert {"popularity", "itemknn-plain"} <= {config["method"] for config in configs}


def test_the_record_of_gowalla_has_published_figures(records, by_grid):
    selected = Suite.read(TOP / "benchmarks" / "suites" / "gowalla.toml").select(records["gowalla"])
    assert selected.remarks() == []
    assert len(list(selected.records())) == len(list(records["gowalla"].records())) == 14
    section = by_grid["published"]
    for preset, recall, ndcg in (("chebycf", 0.1941, 0.1616), ("gf-cf", 0.1850, 0.1518)):
        name = f"spectral:preset={preset}"
        assert mean(section, name) == pytest.approx(ndcg, rel=0.012)
        assert mean(section, name, measure="test.recall@20") == pytest.approx(recall, rel=0.012)


def test_the_record_of_real_noise_is_complete(records, by_grid):
    for name, count in (("real-noise", 108), ("coat", 115), ("heldout", 41), ("techniques-pairs", 165)):
        selected = Suite.read(TOP / "benchmarks" / "suites" / f"{name}.toml").select(records[name])
        assert selected.remarks() == []
        assert len(list(selected.records())) == len(list(records[name].records())) == count
    views, purchases = (by_grid[grid] for grid in ("views", "purchases"))
    assert mean(views, "userknn") > 1.3 * max(mean(purchases, method) for method in purchases.methods)
    assert mean(purchases, "spectral") > 1.09 * mean(purchases, purchases.best_plain("none", 0.0))
    losses = by_grid["views-others"]
    assert max(mean(losses, loss) for loss in ("bpr", "nbpo", "bce", "t-ce", "r-ce", "deca")) < 0.5 * mean(
        views, "userknn"
    )


def test_plain_methods_on_nbpos_split(by_grid):
    assert mean(by_grid["tuned"], "popularity", measure="test.f1@10") == pytest.approx(0.0240, abs=1e-4)
    assert mean(by_grid["tuned"], "popularity") == pytest.approx(0.0490, abs=1e-4)
    assert mean(by_grid["tuned"], "itemknn-plain") == pytest.approx(0.0808, abs=1e-4)


def lines(text):
    """Return the cells of a table in the documentation."""
    return [[cell.strip().strip("*`") for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_there_are_tables():
    assert len(TABLES) == 21


@pytest.mark.parametrize(("grid", "dataset", "kind", "rate", "text"), TABLES, ids=lambda x: x[:20])
def test_the_documentation_has_means_and_gains_over_the_best_plain_method(by_grid, grid, dataset, kind, rate, text):
    section, rate = by_grid[grid], float(rate)
    assert section.dataset == dataset
    best = mean(section, section.best_plain(kind, rate), kind, rate)
    means = {method: mean(section, method, kind, rate) for method in section.methods}
    expected = {method: (f"{m:.4f}", f"{100 * (m / best - 1):+.1f}") for method, m in means.items()}
    assert {row[0]: tuple(cell.split()[0].strip("*") for cell in row[1:3]) for row in lines(text)} == expected
    assert len({len(section.records(method, kind, rate)) for method in section.methods}) == 1


def test_the_documentation_has_the_defaults_of_the_record():
    with (TOP / "benchmarks" / "results" / "recommender-defaults.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == "0"]
    scores = {(row["model"], row["dataset"]): float(row["ndcg@20"]) for row in rows}
    (text,) = re.findall(r"<!-- defaults -->\n(.*?)\n\n", PAGE, re.DOTALL)
    sets = [name.strip() for name in text.splitlines()[0].strip("|").split("|")[1:]]
    shown = lines(text)
    assert len(shown) * len(sets) == len(rows)
    for model, *cells in shown:
        assert [float(cell) for cell in cells] == [round(scores[model, name], 4) for name in sets]
    with (TOP / "benchmarks" / "results" / "recommender-defaults-validation.csv").open(encoding="utf-8") as file:
        tried = {(row["model"], row["dataset"]): float(row["ndcg@20"]) for row in csv.DictReader(file)}
    default = "als:factors={factors},regularization={regularization},alpha={alpha}".format(**vars(ALS()))
    for name in sets:
        assert tried[default, name] > tried["implicit als", name]
        for model in ("als", "bpr", "itemknn"):
            assert scores[model, name] > 0.98 * scores[f"implicit {model}", name]
        assert scores["nbpo", name] > scores["bpr", name]
        assert scores["spectral", name] > 0.98 * max(value for (_, other), value in scores.items() if other == name)


def test_the_documentation_has_the_record_of_methods_as_they_are(records, by_grid):
    selected = Suite.read(TOP / "benchmarks" / "suites" / "defaults.toml").select(records["defaults"])
    assert selected.remarks() == []
    assert len(list(selected.records())) == len(list(records["defaults"].records())) == 4 * 9 * 15
    (text,) = re.findall(r"<!-- by-default -->\n(.*?)\n\n", PAGE, re.DOTALL)
    noise = {
        "as it is": ("none", 0.0),
        "false clicks": ("false-positive", 0.2),
        "hidden clicks": ("false-negative", 0.2),
    }
    sections = {section.dataset: section for grid, section in by_grid.items() if grid.endswith("by-default")}
    assert [row[:2] for row in lines(text)] == [[name, clicks] for name in sections for clicks in noise]
    for name, clicks, plain, *figures in lines(text):
        section, point = sections[name], noise[clicks]
        means = {method: mean(section, method, *point) for method in section.methods}
        assert plain == section.best_plain(*point)
        ours = means["spectral"]
        expected = [f"{means[method]:.4f}" for method in (plain, "linear", "spectral")]
        expected += [f"{100 * (ours / other - 1):+.1f}" for other in (means[plain], max(means.values()))]
        assert [figure.split()[0] for figure in figures] == expected


@pytest.mark.parametrize("kind", ["false-positive", "false-negative"])
def test_the_documentation_has_the_rates_of_the_record(by_grid, kind):
    section = by_grid["rates"]
    (text,) = re.findall(rf"<!-- rates {kind} -->\n(.*?)\n\n", PAGE, re.DOTALL)
    for method, *cells in lines(text):
        assert cells == [f"{mean(section, method, kind, rate):.4f}" for rate in section.rates(kind)]


def test_nbpo_with_its_authors_settings_reproduces(by_grid):
    section = by_grid["official"]
    assert mean(section, "nbpo-official") == pytest.approx(0.078, abs=0.003)
    assert mean(section, "bpr-official") == pytest.approx(0.0710, abs=0.003)
    assert mean(section, "bpo-official") == pytest.approx(0.0697, abs=0.003)
    three = mean(section, "nbpo-official:num_negatives=3", measure="validation")
    assert three == pytest.approx(0.0775, abs=0.0015)
    assert section.best_plain("none", 0.0) == "itemknn-plain"
    assert mean(section, "nbpo-official") < mean(section, "itemknn-plain")


def test_samplers_and_losses_are_in_the_order_of_the_page(by_grid):
    samplers, losses = by_grid["samplers"], by_grid["losses"]
    uniform = mean(samplers, "bpr-adam:sampler=uniform")
    assert mean(samplers, "bpr-adam:sampler=aobpr") > max(1.05 * uniform, mean(samplers, "itemknn-plain"))
    assert mean(samplers, "bpr-adam:sampler=popularity") < 0.9 * uniform
    for name in ("t-ce", "r-ce", "deca", "nbpo", "nbpo-em"):
        assert mean(losses, name) < mean(losses, "bce")


@pytest.mark.parametrize(
    ("grid", "dataset", "point"),
    [
        ("tuned", "amazon-nbpo", ("none", 0.0)),
        ("modcloth", "modcloth", ("none", 0.0)),
        ("modcloth-hidden", "modcloth", ("false-negative", 0.2)),
    ],
)
def test_the_linear_model_beats_every_plain_method_by_a_twentieth(by_grid, grid, dataset, point):
    section = by_grid[grid]
    assert section.dataset == dataset
    assert {"itemknn", "als", "ease", "bpr"} <= set(section.methods)
    assert len(section.records("linear", *point)) >= 5
    assert mean(section, "linear", *point) >= 1.05 * mean(section, section.best_plain(*point), *point)
