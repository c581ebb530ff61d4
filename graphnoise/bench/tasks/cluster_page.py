"""Figures of the page of the task `cluster`: F1 against the arcs that were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

from graphnoise.bench.page.figure import Figure, bench_command, estimate_columns, method_text, word_of
from graphnoise.bench.task import Task
from graphnoise.bench.tasks.cluster_report import Section
from graphnoise.bench.tasks.cluster_trials import format_labels

MEASURE, ARCS = "F1, %", "arcs touched"


def page_figures(
    task: Task[Any], sections: Sequence[Section], records: Sequence[Mapping[str, Any]]
) -> Iterator[Figure]:
    """Yield the figures of the sections of one grid."""
    rows = []
    for section in sections:
        for method in section.methods:
            f1, arcs = section.mean(method), section.mean(method, "arcs")
            if f1 is not None and arcs is not None:
                place = {"data set": section.name[0], "labels right": section.name[1], "method": method}
                drawn = estimate_columns(f1, MEASURE)
                place |= {ARCS: max(arcs.mean, 1.0), MEASURE: drawn.pop(MEASURE)} | drawn
                place["seeds"] = place.pop("draws")
                del place["inits"]
                rows.append(place)
    if not rows:
        return
    note = (
        "Means over the classes, with 95 % intervals over seed nodes; arcs are those of all masses. Methods that read "
        "none, such as labels alone, stand at 1."
    )
    columns: dict[str, Any] = {"x": ARCS, "y": MEASURE, "series": "method", "panel": ("data set", "labels right")}
    yield Figure(
        "F1 against arcs touched",
        *(note, pandas.DataFrame(rows), "scatter"),
        **columns,
        interval=("low", "high"),
        log=True,
        command=_command(task, [record["config"] for record in records]),
    )


def _command(task: Task[Any], configs: Sequence[Mapping[str, Any]]) -> str:
    method = method_text("clusterings")
    words = {
        "--dataset": word_of("dataset"),
        # It is always there.
        "--method": lambda config: None if config["method"] == "labels" else method(config),
        "--accuracy": lambda config: format_labels(config["labels"]),
        "--sink": word_of("sink", "degree"),
        "--seeds": word_of("seeds"),
        "--first-seed": word_of("first_seed", 0),
    }
    return bench_command(task, configs, words, "")
