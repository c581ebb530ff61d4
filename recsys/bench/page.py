"""Figures of the page of the task `recommend`: NDCG against noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphnoise.bench import options
from graphnoise.bench.page.figure import Figure, bench_command, by_rates, noise_words, rate_words, word_of
from graphnoise.bench.task import Task
from graphnoise.bench.tasks.node_page import estimate_rows
from recsys.bench.report import METRIC, SCORE, Recommendations

NAME = METRIC.upper()
NOTE = "Means over seeds with 95 % t-intervals, on the test part; rates are shares of the clicks."


def page_figures(
    task: Task[Any], sections: Sequence[Recommendations], records: Sequence[Mapping[str, Any]]
) -> Iterator[Figure]:
    """Yield the figures of the sections of one grid."""
    trials = max(record["config"]["trials"] for record in records)
    words = {
        "--dataset": word_of("dataset"),
        "--method": lambda config: options.text(config["method"], config["fixed"]),
        "--noise": noise_words,
        "--rate": rate_words,
        "--trials": lambda config: str(trials),
        "--select": word_of("select", "noisy"),
        "--split-seed": word_of("split_seed", 0),
        "--protocol": lambda config: "published" if config["procedure"] == "published" else None,
        "--refit": lambda config: "" if config["procedure"] == "refit" else None,
    }
    command = bench_command(task, [record["config"] for record in records], words, "seed")
    yield from by_rates(estimate_rows(sections, SCORE, NAME, 1.0), NAME, "rate", NAME, NOTE, command)
