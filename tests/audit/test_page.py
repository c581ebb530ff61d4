from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from audit.audits import audit, data, named, noisy

import graphnoise as gn
from graphnoise.audit.drawings import heat_map, histogram, yield_curve
from graphnoise.audit.page import page

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Tags that are open, how often each came, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.text, self.addresses = [], {}, "", []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text


def read(html):
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def test_the_page_is_whole_and_needs_nothing_else():
    result = named()
    html = page(result, "own graph", result.suspects(), result.report())
    reader = read(html)
    assert not reader.addresses
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert reader.counts["figure"] == min(12, len(result.suspects()))
    assert reader.counts["svg"] == reader.counts["figure"] + 2
    for line in result.report().splitlines():
        assert line in reader.text
    assert result.suspects()["why"].iloc[0] in reader.text
    assert len(html.encode()) < 1_000_000


def test_names_are_escaped():
    bad = '<script>alert("x")</script>&'
    names = [f"{bad}{i}" for i in range(120)]
    graph = gn.Graph.from_edge_index(data().edge_index, 120, names=names)
    given = np.array(["a<b", "'c' & d", '">'], dtype=object)[noisy().numpy()]
    result = gn.Audit(graph, given, data().x)
    html = page(result, bad, result.suspects(), result.report())
    reader = read(html)
    assert "script" not in reader.counts
    assert f"{bad}{result.suspects().index[0]}" in reader.text
    assert "a<b" in reader.text


def test_pages_without_suspects_and_with_many_neighbours():
    clean = audit("symmetric", 0.0)
    assert "figure" not in read(page(clean, "g", clean.suspects(0.0)[:0], clean.report())).counts
    hub = np.stack(
        [np.r_[np.zeros(119, dtype=int), np.arange(1, 120)], np.r_[np.arange(1, 120), np.zeros(119, dtype=int)]]
    )
    made = replace(audit().posterior, probability=np.full((120, 3), 1 / 3))
    star = gn.Audit(hub, noisy(), posterior=made)
    reader = read(page(star, "hub", star.suspects(1.0), ""))
    assert "and 105 more" in reader.text


def test_the_size_stays_small():
    long = [f"{'n' * 300}{i}" for i in range(120)]
    graph = gn.Graph.from_edge_index(data().edge_index, 120, names=long)
    result = gn.Audit(graph, noisy(), data().x)
    assert len(page(result, "g", result.suspects(1.0), result.report()).encode()) < 1_000_000


def test_drawings_hold_the_numbers():
    values = np.array([0.0, 0.01, 0.5, 1.0])
    assert "<title>2 labels from 0.00 to 0.04</title>" in histogram(values)
    assert histogram(values).count("<rect") == 25
    curve = yield_curve(np.array([1.0, 1.5, 1.5, 1.5]))
    assert ">1.5<" in curve
    assert "No label is left" in yield_curve(np.zeros(0))
    matrix = np.array([[0.9, 0.1], [0.25, 0.75]])
    table = heat_map(matrix, matrix - 0.05, matrix + 0.05, ["x", "y"])
    assert 'title="y given as x: 0.250 (0.200 to 0.300)">.25<' in table
    assert "see transition.csv" in heat_map(np.eye(41), np.eye(41), np.eye(41), range(41))


@pytest.mark.parametrize("values", [np.zeros(3), np.ones(1), np.linspace(0, 1, 5000)])
def test_histograms_of_odd_numbers(values):
    assert "nan" not in histogram(values)


def test_class_0_is_a_suggestion():
    suspects = audit().suspects(0.05, 0)
    assert (suspects["suggested"][:12] == 0).any()
    assert "no suggestion" not in page(audit(), "x", suspects, "")


def test_no_suggestion_among_names_of_classes():
    audited = named()
    suspects = audited.suspects(0.5, 1)
    missing = [value for value in suspects["suggested"] if not isinstance(value, str)]
    assert len(missing) > 5
    assert set(missing) == {None}
    html = page(audited, "x", suspects, "")
    assert "nan" not in html
    assert [value for value in audited.to_frame()["decision"] if value is not None] == []
