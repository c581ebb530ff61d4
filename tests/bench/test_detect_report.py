"""Tables of the task `detect`: one column per data set and rate, and what without noise is left out."""

import io

import pytest
from rich.console import Console

from graphnoise.bench import registry
from graphnoise.bench.tasks.detect_report import figures, sections

TASK = registry.task("detect")


def record(dataset, method, rate, draw, auroc, **more):
    noise = {"kind": "pair" if rate else "none", "rate": rate, "exact": False, "erase_stream": False, "options": {}}
    config = {"dataset": dataset, "data": "0" * 32, "split_seed": 0, "labelled": "all", "noise": noise, "draw": draw}
    config |= {"method": method, "version": "1", "parameters": {"alpha": more.pop("alpha", 0.9)}}
    result = {"error_rate": rate, "auroc": auroc, "precision": auroc, "f1": 0.25, "given_accuracy": 1 - rate, **more}
    return {"config": config, "result": {**result, "run": {"seconds": 2.5, "peak_memory": 1.5e9}}}


RECORDS = [
    *(record("cora", "lp", 0.2, draw, 0.8 + 0.1 * draw, corrected_accuracy=0.875) for draw in (0, 1)),
    *(record("cora", "neighbours", 0.2, draw, 0.7) for draw in (0, 1)),
    record("cora", "lp", 0.0, 0, None, corrected_accuracy=0.95),
    record("pubmed", "lp", 0.2, 0, 0.6, corrected_accuracy=0.5),
]


@pytest.fixture(scope="module")
def shown():
    (section,) = sections(RECORDS)
    console = Console(width=140, file=io.StringIO())
    for part in TASK.render(section):
        console.print(part)
    return console.file.getvalue()


def test_measures_are_means_over_draws_by_data_set_and_rate(shown):
    auroc, precision, corrected, details = shown.split("\n\n")[-4:]
    lines = [line.split() for line in auroc.splitlines() if line]
    assert lines[2:] == [
        ["detector", "cora", "0.2", "pubmed", "0.2"],
        ["lp", "85.0±63.5", "60.0"],
        ["neighbours", "70.0"],
    ]
    assert "Precision" in precision
    # Labels without noise can be made worse; a detector that suggests none is not there.
    lines = [line.split() for line in corrected.splitlines() if line]
    assert lines[2] == ["detector", "cora", "0", "cora", "0.2", "pubmed", "0.2"]
    assert lines[3:] == [["lp", "95.0", "87.5", "50.0"], ["given", "labels", "100.0", "80.0", "80.0"]]
    assert ["cora", "0.2", "neighbours", "25.0", "2.5", "1.50"] in [line.split() for line in details.splitlines()]


def test_rows_of_one_detector_differ_by_what_differs():
    rows = [record("cora", "lp", 0.2, 0, 0.7, alpha=alpha) for alpha in (0.5, 0.9)]
    (section,) = sections(rows)
    assert section.methods == ["lp (alpha=0.5)", "lp (alpha=0.9)"]


def test_a_data_set_with_other_data_is_another_one():
    other = record("cora", "lp", 0.2, 0, 0.7)
    other["config"]["data"] = "1" * 32
    (section,) = sections([*RECORDS, other])
    assert {name for _, name, _, _ in section.cells} == {"cora (00000000)", "cora (11111111)", "pubmed"}


def test_a_figure_has_a_panel_for_each_data_set():
    panels = figures(sections(RECORDS), {})[""].axes
    assert [panel.get_title() for panel in panels] == ["cora", "pubmed"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["lp", "neighbours"]
