"""The committed records of robust training: what docs/robust-methods.md shows of them."""

import re
from pathlib import Path

import pandas
import pytest

from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite
from graphnoise.robust import methods
from graphnoise.statistics import estimate, rank_methods

TOP = Path(__file__).parents[2]
SETTINGS = [("none", 0.0), ("symmetric", 0.4), ("pair", 0.4)]


def record(name):
    return pandas.read_csv(TOP / "benchmarks" / "results" / f"{name}.csv")


@pytest.fixture(scope="module")
def cells():
    cells = record("robust-training")
    return cells[cells["grid"] == "cora"]


def shown(values):
    half = estimate({draw: [value] for draw, value in enumerate(values)}).half_width
    return f"{100 * values.mean():.1f}" + (f" ± {100 * half:.1f}" if half and half > 5e-4 else "")


def tables():
    """Yield the header and the rows of each table of the page."""
    header = None
    for line in (TOP / "docs" / "robust-methods.md").read_text(encoding="utf-8").splitlines():
        entries = [entry.strip().strip("*`") for entry in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = entries
        elif not line.startswith("|---"):
            yield header, entries


def test_the_page_shows_what_is_recorded(cells):
    rows = {
        entries[0]: entries[1:] for header, entries in tables() if header[1:] == ["no noise", "symmetric .4", "pair .4"]
    }
    assert rows.keys() == set(cells["row"])
    for row, entries in rows.items():
        for (kind, rate), entry in zip(SETTINGS, entries, strict=True):
            chosen = cells[(cells["row"] == row) & (cells["noise"] == kind) & (cells["rate"] == rate)]
            assert entry == shown(chosen["test_accuracy"].to_numpy()), (row, kind)


def test_all_methods_are_recorded_and_none_is_left_out_of_the_tables(cells):
    assert set(methods.names()) <= set(cells["row"]) | set(record("techniques")["row"])
    listed = {name for _, entries in tables() for name in re.findall(r"[\w-]+", entries[0])}
    assert set(methods.names()) <= listed


def test_what_the_page_says_of_the_record(cells):
    means = cells.pivot_table(index=["noise", "rate"], columns="row", values="test_accuracy")
    noisy = means.loc[[("symmetric", 0.4), ("pair", 0.4)]]
    plain = noisy[["sgc-tv", "lpc", "centroid"]].min(axis=1)
    few = noisy[[name for name in methods.names() if name in noisy]]
    # On training labels alone, at most one method reaches a baseline that learns from validation labels as well.
    assert (few.drop(columns="ggp-targets").max(axis=1) < plain).all()
    assert few["ggp-targets"][("symmetric", 0.4)] < plain[("symmetric", 0.4)]
    assert abs(few["ggp-targets"][("pair", 0.4)] - noisy["sgc-tv"][("pair", 0.4)]) < 0.005
    losses = ["gce", "mae", "rce", "sce", "nce", "nce-mae", "nce-rce", "nfl-rce", "phuber", "taylor", "focal", "elr"]
    assert (noisy[losses].max(axis=1) < noisy["ce"] + 0.004).all()
    gains = 100 * few.sub(few["ce"], axis=0).T.sort_values(("symmetric", 0.4), ascending=False)
    assert gains.round().loc["ggp-targets"].tolist() == [13, 11]
    assert gains.round().loc[["confident-learning", "co-teaching", "jocor", "cgnn"]].to_numpy().tolist() == [
        [7, 1], [5, 5], [4, 5], [7, 2]
    ]  # fmt: skip


def test_the_page_gives_the_differences_to_the_baselines(cells):
    table = cells.pivot_table(index=["noise", "rate"], columns=["row", "draw"], values="test_accuracy")

    def differences(row, *others):
        return [
            round(100 * float((table.loc[setting, row] - table.loc[setting, other]).mean()), 1)
            for other in others
            for setting in (("symmetric", 0.4), ("pair", 0.4))
        ]

    plain = ["sgc-tv", "centroid", "lpc"]
    targets = differences("ggp-targets:val_labels=train", *plain)
    assert (min(targets), max(targets)) == (3.7, 20.8)
    assert differences("ggp-targets:val_labels=train", "ggp") == [0.8, 0.4]
    assert differences("co-teaching:val_labels=train", *plain)[1::2] == [9.2, 6.7, 6.1]
    assert max(map(abs, differences("co-teaching:val_labels=train", *plain)[::2])) < 2
    confident = differences("confident-learning:val_labels=train", *plain, "ggp")
    assert confident == [1.4, 5.9, 1.6, 3.3, 0.1, 2.8, -2.8, -14.6]


def test_the_page_shows_what_a_search_gives(cells):
    searched, rows = record("robust-training"), 0
    searched = searched[searched["grid"] == "cora-searched"]
    for header, (row, *entries) in tables():
        if header[0] == "default → searched":
            for kind, entry in zip(("symmetric", "pair"), entries, strict=True):
                before = cells[(cells["row"] == row) & (cells["noise"] == kind) & (cells["draw"] < 2003)]
                after = searched[(searched["method"] == row) & (searched["noise"] == kind)]
                assert len(after) == 3
                means = [100 * part["test_accuracy"].mean() for part in (before[before["rate"] == 0.4], after)]
                assert entry == " → ".join(f"{mean:.1f}" for mean in means)
            rows += 1
    assert rows == searched["row"].nunique() == 4


def test_the_critical_difference_is_nearly_the_range_of_ranks(cells):
    means = cells.pivot_table(index=["noise", "rate"], columns="row", values="test_accuracy")
    ranking = rank_methods({row: means[row].tolist() for row in means})
    assert max(ranking.ranks.values()) - min(ranking.ranks.values()) == 51
    assert ranking.critical_difference == pytest.approx(49.6, abs=0.05)


DATA = {"cora": "Cora", "citeseer": "CiteSeer", "dblp": "DBLP", "amazon-photo": "Photo", "coauthor-cs": "CS"}
DATA["pubmed"] = "PubMed"


def test_the_page_shows_the_records_of_published_protocols():
    icgnn, noisygl = record("icgnn"), record("noisygl")
    icgnn["name"] = icgnn["dataset"].str.partition(":")[0].map(DATA) + " " + icgnn["noise"]
    checked = 0
    for header, (first, *entries) in tables():
        for column, entry in zip(header[1:], entries, strict=True):
            if header[0] in ("ten draws", "one draw") and not column.startswith("published"):
                chosen = icgnn[(icgnn["name"] == first) & (icgnn["method"] == column)]
                if header[0] == "ten draws":
                    chosen = chosen[chosen["grid"].str.startswith("ten-draws")]
                    text = shown(chosen["test_accuracy"].to_numpy()) if len(chosen) else "–"
                    text += "" if len(chosen) in (0, 10) else f" ({len(chosen)})"
                else:
                    chosen = chosen[(chosen["draw"] == 10) & (chosen["grid"] != "ten-draws-targets")]
                    text = shown(chosen["test_accuracy"].to_numpy())
            elif header[1:] == ["symmetric", "pair", "random", "feature"]:
                chosen = noisygl[(noisygl["row"] == first) & (noisygl["noise"] == column)]
                text = f"{100 * chosen['test_accuracy'].mean():.1f}"
            else:
                continue
            assert entry == text, (header[0], first, column)
            checked += 1
    assert checked == 12 * 5 + 4 * 6 + 24 * 4


@pytest.mark.parametrize("name", ["robust-training", "icgnn", "noisygl", "techniques"])
def test_the_records_are_complete(name):
    suite = Suite.read(TOP / "benchmarks" / "suites" / f"{name}.toml")
    assert suite.select(Table(TOP / "benchmarks" / "results" / f"{name}.csv")).remarks() == []
