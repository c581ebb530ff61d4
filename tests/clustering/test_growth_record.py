"""The committed record of growing clusters: what docs/clustering.md shows of it."""

import re
from pathlib import Path

from graphnoise.bench import registry
from graphnoise.bench.record import Table
from graphnoise.bench.suite import Suite

TOP = Path(__file__).parents[2]
DATA = {"coauthor-cs": "Coauthor CS", "amazon-photo": "Amazon Photo", "cora": "Cora", "pubmed": "PubMed"}


def test_the_page_shows_the_record():
    table = Table(TOP / "benchmarks" / "results" / "cluster-growth.csv")
    assert Suite.read(TOP / "benchmarks" / "suites" / "cluster-growth.toml").select(table).remarks() == []
    text = (TOP / "docs" / "clustering.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\| F1 in % \| labels \| growth \| bp \|\n\|[-|]+\n(.*?)\n\n", text, re.DOTALL)
    rows = {cells[0].strip(): [cell.split()[0] for cell in cells[1:]] for cells in map(_cells, shown.splitlines())}
    expected = {}
    for section in registry.task("cluster").sections(list(table.records())):
        means = [100 * section.mean(method).mean for method in ("labels", "growth", "bp")]
        dataset, labels = section.name
        expected[f"{DATA[dataset]} {labels}"] = [f"{mean:.1f}" for mean in means]
    assert rows == expected


def _cells(line):
    return line.strip("|").split("|")
