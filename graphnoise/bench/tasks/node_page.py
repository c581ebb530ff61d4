"""Figures of the page of the task `nodes`: accuracy against noise, ranking with critical difference, variance split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

from graphnoise.bench.page.figure import (
    Config,
    Figure,
    bench_command,
    by_rates,
    estimate_columns,
    method_text,
    noise_words,
    rate_words,
    word_of,
)
from graphnoise.bench.report import NoiseSection
from graphnoise.bench.task import Task
from graphnoise.bench.tasks.node_report import ACCURACY, Section, ranked

MEASURE = "test accuracy, %"
INTERVAL = "95 % t-intervals over noise draws; wrong labels are those of training and validation nodes."


def page_figures(
    task: Task[Any], sections: Sequence[Section], records: Sequence[Mapping[str, Any]]
) -> Iterator[Figure]:
    """Yield the figures of the sections of one grid."""
    configs = [record["config"] for record in records]
    command = bench_command(task, configs, noisy_label_words(configs, "node_methods"), "draw")
    yield from by_rates(estimate_rows(sections, ACCURACY, MEASURE), MEASURE, "rate", "Accuracy", INTERVAL, command)
    if (ranking := ranked(sections)) is not None:
        half = ranking.critical_difference / 2
        frame = pandas.DataFrame(
            {"method": name, "mean rank": rank, "low": rank - half, "high": rank + half}
            for name, rank in ranking.ranks.items()
        )
        note = (
            f"Mean ranks by test accuracy over {ranking.settings} settings (data set, kind and rate of noise), 1 is "
            f"the best; Friedman's test p = {ranking.p:.2g}. Bars are half a critical difference to each side: methods "
            f"whose bars do not overlap differ significantly (Nemenyi, 5 %, {ranking.critical_difference:.2f} ranks)."
        )
        yield Figure("Ranking", note, frame, "points", "mean rank", "method", interval=("low", "high"), command=command)
    if split := list(_variance(sections)):
        note = (
            "Share of the variance of a single run that comes from the noise draw and from the initialisation, at the "
            "highest rate (one-way analysis of variance)."
        )
        columns: dict[str, Any] = {"x": "share of the variance, %", "y": "method", "series": "part"}
        panel = ("data set", "noise", "rate")
        frame = pandas.DataFrame(split)
        yield Figure(
            "Variance: noise draw or initialisation", note, frame, "bars", **columns, panel=panel, command=command
        )


def estimate_rows(
    sections: Sequence[NoiseSection], path: str, measure: str, factor: float = 100.0
) -> list[dict[str, Any]]:
    """Return a row for each estimate of a measure: data set, noise, rate, method, mean and interval."""
    names = [re.sub(r":\w+=.*", "", section.dataset) for section in sections]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [
        {"data set": section.title if name in twice else name, "noise": "no" if kind == "none" else kind}
        | {"rate": rate, "method": method}
        | estimate_columns(e, measure, factor)
        for name, section in zip(names, sections, strict=True)
        for kind in section.kinds
        for rate in section.rates(kind)
        for method in section.methods
        if (e := section.estimate(method, kind, rate, path)) is not None
    ]


def _variance(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    for section in sections:
        for kind in section.kinds:
            rate = max(section.rates(kind))
            for method in section.methods:
                e = section.estimate(method, kind, rate, ACCURACY)
                if e is None or e.draw_share is None:
                    continue
                place = {"data set": section.dataset, "noise": kind, "rate": rate, "method": method}
                for part, share in (("noise draw", e.draw_share), ("initialisation", 1 - e.draw_share)):
                    yield {**place, "part": part, "share of the variance, %": 100 * share, "draws": e.draws}


def noisy_label_words(configs: Sequence[Config], group: Any) -> dict[str, Any]:
    """Return what `bench_command` needs for cells of noisy node labels."""
    inits = max((config.get("init", 0) for config in configs), default=0) + 1
    return {
        "--dataset": word_of("dataset"),
        "--method": method_text(group),
        "--noise": noise_words,
        "--rate": rate_words,
        "--inits": lambda config: None if inits == 1 else str(inits),
        "--select": lambda config: "clean" if config.get("select") == "clean" else None,
        "--labelled": lambda config: "train" if config.get("labelled") == "train" else None,
        "--split-seed": word_of("split_seed", 0),
        "--exact": lambda config: "" if config["noise"]["exact"] else None,
        "--erase-stream": lambda config: "" if config["noise"]["erase_stream"] and "select" in config else None,
    }
