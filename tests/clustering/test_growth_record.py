"""The committed record of growing clusters: what docs/clustering.md shows of it."""

import re
from pathlib import Path

from graphnoise.bench import registry
from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite

TOP = Path(__file__).parents[2]
METHODS = ("labels", "growth", "growth:restarts=true", "bp")
DATA = {"coauthor-cs": "Coauthor CS", "amazon-photo": "Amazon Photo", "cora": "Cora", "pubmed": "PubMed"}


def test_the_page_shows_the_record():
    table = Table(TOP / "benchmarks" / "results" / "cluster-growth.csv")
    assert Suite.read(TOP / "benchmarks" / "suites" / "cluster-growth.toml").select(table).remarks() == []
    text = (TOP / "docs" / "clustering.md").read_text(encoding="utf-8")
    head = re.escape(f"| F1 in % | {' | '.join(METHODS)} |")
    (shown,) = re.findall(head + r"\n\|[-|]+\n(.*?)\n\n", text, re.DOTALL)
    rows = {cells[0].strip(): [cell.split()[0] for cell in cells[1:]] for cells in map(_cells, shown.splitlines())}
    expected = {}
    for section in registry.task("cluster").sections(list(table.records())):
        means = [100 * section.mean(method).mean for method in METHODS]
        dataset, labels = section.name
        expected[f"{DATA[dataset]} {labels}"] = [f"{mean:.1f}" for mean in means]
    assert rows == expected
    # What the text says of them.
    for section in registry.task("cluster").sections(list(table.records())):
        labels, restarted = section.scores(METHODS[0]), section.scores(METHODS[2])
        assert all(restarted[target] > labels[target] for target in section.classes)
        assert section.mean(METHODS[2]).mean > section.mean("bp").mean - 0.02
        arcs = [section.mean(method, "arcs").mean for method in METHODS[1:]]
        assert 1.02 < arcs[1] / arcs[0] < 1.295
        assert 0.135 < arcs[1] / arcs[2] < 0.825


def _cells(line):
    return line.strip("|").split("|")
