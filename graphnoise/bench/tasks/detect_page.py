"""Figures of the page of the task `detect`: AUROC, precision, and what is found at the nominal false-discovery rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

from graphnoise.bench.page.figure import Figure, bench_command, estimate_columns
from graphnoise.bench.task import Task
from graphnoise.bench.tasks.detect_metrics import NOMINAL_FDR
from graphnoise.bench.tasks.detect_report import Section
from graphnoise.bench.tasks.node_page import noisy_label_words

SHOWN = {
    "auroc": ("Detection: area under the ROC curve", "AUROC, %", "95 % t-intervals over noise draws."),
    "precision": (
        "Detection: precision",
        "precision, %",
        "Among as many suspects as there are wrong labels, where it equals the recall. 95 % t-intervals over draws.",
    ),
}


def page_figures(
    task: Task[Any], sections: Sequence[Section], records: Sequence[Mapping[str, Any]]
) -> Iterator[Figure]:
    """Yield the figures of the sections of one grid."""
    configs = [record["config"] for record in records]
    command = bench_command(task, configs, noisy_label_words(configs, "detectors"), "draw")
    shared: dict[str, Any] = {"series": "noise", "panel": ("data set",), "command": command}
    for measure, (title, column, note) in SHOWN.items():
        if rows := list(_rows(sections, measure, column)):
            frame = pandas.DataFrame(rows)
            yield Figure(title, note, frame, "points", column, "detector", interval=("low", "high"), **shared)
    if rows := list(_at_nominal(sections)):
        note = (
            "Of detectors with probabilities, in the largest set of labels whose mean credibility is at most "
            f"{NOMINAL_FDR}: precision, and the share of all wrong labels that the set holds (recall); means over "
            f"noise draws. The precision is meant to be {100 * (1 - NOMINAL_FDR):g} %."
        )
        yield Figure(
            "Detection: precision and recall of the suspects",
            *(note, pandas.DataFrame(rows), "scatter", "recall, %", "precision, %"),
            **{**shared, "series": "detector", "panel": ("data set", "noise")},
        )


def _rows(sections: Sequence[Section], measure: str, column: str) -> Iterator[dict[str, Any]]:
    for section in sections:
        for kind in section.kinds:
            for point in section.points(kind):
                for method in section.methods:
                    if (e := section.estimate(method, point, measure)) is not None:
                        place = {"data set": point[0], "noise": f"{kind} {point[2]:g}", "detector": method}
                        yield place | estimate_columns(e, column)


def _at_nominal(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    for section in sections:
        for kind in section.kinds:
            for point in section.points(kind):
                for method in section.methods:
                    fdr, power = (section.estimate(method, point, name) for name in ("fdr", "fdr_power"))
                    if fdr is not None and power is not None:
                        place = {"data set": point[0], "noise": f"{kind} {point[2]:g}", "detector": method}
                        yield place | {"recall, %": 100 * power.mean, "precision, %": 100 * (1 - fdr.mean)}
