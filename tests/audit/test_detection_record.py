"""The committed records of detection: what docs/audit.md shows of them, and what the default detector must keep."""

from pathlib import Path

import pandas
import pytest

from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "audit.md").read_text(encoding="utf-8")
NAMES = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed", "amazon-photo": "Photo"}
LARGER = {"coauthor-cs": "Coauthor CS", "amazon-computers": "Computers"}
KINDS = [(name, kind) for name in NAMES for kind in ("symmetric", "pair")] + [("cora", "llm")]
# One draw, in the table of the posterior alone.
LARGEST = {"coauthor-physics": "Coauthor Physics"}
LARGER_KINDS = [(name, kind) for name in LARGER for kind in ("symmetric", "pair")]
DETECTORS = {
    "posterior": "posterior",
    "posterior:features=false": "posterior, no features",
    "rank-average": "rank average",
    "self-confidence": "self-confidence",
    "self-confidence-gcn": "self-confidence, GCN",
    "margin": "margin",
    "loss-mixture": "loss mixture",
    "graphcleaner": "graphcleaner",
    "lp": "label propagation",
    "neighbours": "neighbours",
    "icgnn:per_class=false": "influence",
}
# Least AUROC, precision and accuracy of corrected labels of the posterior.
LEAST = {
    ("cora", "symmetric"): (0.98, 0.87, 0.92),
    ("cora", "pair"): (0.98, 0.87, 0.94),
    ("citeseer", "symmetric"): (0.925, 0.70, 0.84),
    ("citeseer", "pair"): (0.91, 0.68, 0.84),
    ("amazon-photo", "symmetric"): (0.993, 0.94, 0.96),
    ("amazon-photo", "pair"): (0.99, 0.90, 0.96),
    ("coauthor-cs", "symmetric"): (0.994, 0.93, 0.96),
    ("coauthor-cs", "pair"): (0.997, 0.95, 0.975),
}


@pytest.fixture(scope="module")
def cells():
    return pandas.read_csv(TOP / "benchmarks" / "results" / "detection.csv")


def test_the_record_is_complete():
    suite = Suite.read(TOP / "benchmarks" / "suites" / "detection.toml")
    assert suite.select(Table(TOP / "benchmarks" / "results" / "detection.csv")).remarks() == []


def share(value, digits=1):
    return "–" if pandas.isna(value) else f"{100 * value:.{digits}f}"


def detector_lines(cells):
    """Yield the rows of the table of detectors: AUROC / precision, mean over draws."""
    chosen = cells[(cells["labelled"] == "all") & (cells["rate"].isin([0.2, 1.0]))]
    means = chosen.groupby(["row", "dataset", "noise"])[["auroc", "precision"]].mean()
    for row, text in DETECTORS.items():
        for kinds in (KINDS, LARGER_KINDS):
            entries = [
                f"{share(means.loc[key, 'auroc'])} / {share(means.loc[key, 'precision'])}"
                if key in means.index
                else "–"
                for key in ((row, *kind) for kind in kinds)
            ]
            if set(entries) != {"–"}:
                yield f"| {text} | {' | '.join(entries)} |"


def posterior_lines(cells):
    """Yield the rows of the table of the posterior: mean over draws."""
    chosen = cells[(cells["row"] == "posterior") & (cells["labelled"] == "all")]
    columns = ["given_accuracy", "corrected_accuracy", "fdr", "fdr_power", "rate_error", "transition_max"]
    for (name, kind, rate), group in chosen.groupby(["dataset", "noise", "rate"], sort=False):
        means = group[columns].mean()
        setting = "clean" if kind == "none" else "LLM" if kind == "llm" else f"{kind} {rate:g}".replace("0.", ".")
        entries = [share(means[column]) for column in columns]
        yield f"| {(NAMES | LARGER | LARGEST)[name]} {setting} ({len(group)}) | {' | '.join(entries)} |"


def training_lines(table):
    """Yield the rows of the table of review and training: mean over draws."""
    columns = [column for column in table if column == "found_of_looked" or column.startswith("accuracy_")]
    for (name, kind), group in table.groupby(["dataset", "noise"], sort=False):
        entries = [share(group[column].mean()) for column in columns]
        yield f"| {NAMES[name]} {kind} ({len(group)}) | {' | '.join(entries)} |"


@pytest.mark.parametrize("lines", [detector_lines, posterior_lines])
def test_the_page_shows_what_is_recorded(cells, lines):
    missing = [line for line in lines(cells) if line not in PAGE]
    assert not missing


def test_the_page_shows_review_and_training():
    table = pandas.read_csv(TOP / "benchmarks" / "results" / "audit-training.csv")
    missing = [line for line in training_lines(table) if line not in PAGE]
    assert not missing


@pytest.mark.parametrize("setting", LEAST)
def test_what_the_posterior_reaches(cells, setting):
    chosen = cells[(cells["row"] == "posterior") & (cells["labelled"] == "all") & (cells["rate"] == 0.2)]
    chosen = chosen[(chosen["dataset"] == setting[0]) & (chosen["noise"] == setting[1])]
    means = chosen[["auroc", "precision", "corrected_accuracy"]].mean()
    assert (means.to_numpy() >= LEAST[setting]).all()


def test_estimates_of_random_flips(cells):
    chosen = cells[(cells["row"] == "posterior") & (cells["labelled"] == "all") & (cells["noise"] != "llm")]
    assert (chosen[chosen["dataset"] != "citeseer"]["rate_error"].abs() <= 0.03).all()
    assert (chosen[chosen["dataset"].isin(["amazon-photo", "coauthor-cs"])]["transition_max"] <= 0.05).all()


@pytest.mark.parametrize("name", ["cora", "citeseer", "amazon-photo", "coauthor-cs", "amazon-computers"])
def test_on_pair_noise_it_is_ahead_of_self_confidence(cells, name):
    chosen = cells[(cells["dataset"] == name) & (cells["noise"] == "pair") & (cells["rate"] == 0.2)]
    means = chosen[chosen["labelled"] == "all"].groupby("row")["auroc"].mean()
    # On the features alone, as those of a library for independent data.
    assert means["posterior"] > means["self-confidence"] + (0.02 if name == "amazon-photo" else 0.03)
