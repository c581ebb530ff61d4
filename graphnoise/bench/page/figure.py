"""What a figure of the page shows: a table, which columns are drawn and how, and the command that made the runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas

from graphnoise.bench import options, registry
from graphnoise.bench.task import Task
from graphnoise.statistics import Estimate

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure: panels of charts over one table, a row per point.

    Attributes:
        title: Its heading.
        note: What is drawn, and what intervals are of.
        frame: The table; every column is shown.
        kind: "lines" (y over x), "points" (x over categories y), "scatter" (y over x), "bars" (x, stacked, over
            categories y) or "heat" (value x of categories `series` and y).
        x: Column across.
        y: Column upwards.
        interval: Columns of the ends of the interval of the measure (y of lines and scatter, x of points), or none.
        series: Column that colours stand for, or "".
        panel: Columns whose values make a panel. Panels that share the first of them share the axis of the measure.
        log: Whether x is logarithmic.
        reference: Value of x of points at which a line is drawn.
        command: The command that makes the runs again.
    """

    title: str
    note: str
    frame: pandas.DataFrame
    kind: Literal["lines", "points", "scatter", "bars", "heat"]
    x: str
    y: str
    interval: tuple[str, str] | None = None
    series: str = ""
    panel: Sequence[str] = ()
    log: bool = False
    reference: float | None = None
    command: str = ""

    @property
    def across(self) -> int:
        """Number of panels that stand side by side: those of the first group, 1 where there is no such group."""
        if len(self.panel) < 2:
            return 1
        panels = len(self.frame[list(self.panel)].drop_duplicates())
        return panels // max(int(self.frame[self.panel[0]].nunique()), 1)


def estimate_columns(e: Estimate, measure: str, factor: float = 100.0) -> dict[str, Any]:
    """Return columns of a table: the mean, its interval (the mean itself where there is none) and the counts.

    Example:
        >>> from graphnoise.statistics import estimate
        >>> estimate_columns(estimate({0: [0.5], 1: [0.5]}), "accuracy")
        {'accuracy': 50.0, 'low': 50.0, 'high': 50.0, 'draws': 2, 'inits': 1}
    """
    half = e.half_width or 0.0
    ends = {"low": factor * (e.mean - half), "high": factor * (e.mean + half)}
    return {measure: factor * e.mean, **ends, "draws": e.draws, "inits": e.inits}


def by_rates(
    rows: Sequence[Mapping[str, Any]], measure: str, rate: str, title: str, note: str, command: str
) -> list[Figure]:
    """Return figures of a measure over rates; panels of a single rate have a figure of their own, without lines.

    Args:
        rows: Rows with the columns "data set", "noise", "method", the rate, the measure, "low" and "high".
        measure: Column of the measure.
        rate: Column of the rate.
        title: Heading.
        note: What is drawn.
        command: The command of the runs.
    """
    frame = pandas.DataFrame(list(rows))
    if frame.empty:
        return []
    several = frame.groupby(["data set", "noise"])[rate].transform("nunique") > 1
    shared: dict[str, Any] = {"note": note, "interval": ("low", "high"), "command": command}
    figures = []
    if several.any():
        lines: dict[str, Any] = {
            "kind": "lines",
            "x": rate,
            "y": measure,
            "series": "method",
            "panel": ("data set", "noise"),
        }
        figures.append(Figure(f"{title} against noise", frame=frame[several], **lines, **shared))
    if not several.all():
        points: dict[str, Any] = {"kind": "points", "x": measure, "y": "method", "panel": ("data set", "noise", rate)}
        figures.append(Figure(f"{title} at one rate", frame=frame[~several], **points, **shared))
    return figures


def bench_command(
    task: Task[Any], configs: Sequence[Config], words: Mapping[str, Callable[[Config], str | None]], draw: str
) -> str:
    """Return the command of a benchmark that runs these cells, and those that complete the product of its lists.

    Args:
        task: The task.
        configs: Configurations of the cells.
        words: By option, its value for a configuration, None where it is the default.
        draw: The entry of configurations that `--seeds` counts, or "" where `words` have it.
    """
    command = ["graphnoise", "bench", task.name]
    for option, word in words.items():
        if values := [value for value in dict.fromkeys(map(word, configs)) if value is not None]:
            if option == "--rate":
                values.sort(key=float)
            # A flag has no value.
            command += [option, ",".join(values)] if any(values) else [option]
    if draw:
        draws = [int(config[draw]) for config in configs]
        command += ["--seeds", str(max(draws) - min(draws) + 1)]
        command += ["--first-seed", str(min(draws))] if min(draws) else []
    return shlex.join(command)


def method_text(group: registry.Group, parameters: str = "parameters") -> Callable[[Config], str]:
    """Return a function of configurations: the method with those parameters that are not its defaults."""
    defaults: dict[str, Mapping[str, Any]] = {}

    def text(config: Config) -> str:
        name = str(config["method"])
        if name not in defaults:
            known = name in registry.names(group)
            defaults[name] = registry.create(group, name)[1] if known else {}
        changed = {key: value for key, value in config[parameters].items() if value != defaults[name].get(key)}
        return options.text(name, changed)

    return text


def noise_words(config: Config) -> str | None:
    """Return the kind of noise with its options, as `--noise` takes it; None without noise."""
    noise = config["noise"]
    return None if noise["kind"] == "none" else options.text(noise["kind"], noise.get("options", {}))


def rate_words(config: Config) -> str:
    """Return the rate of noise, as `--rate` takes it."""
    return f"{config['noise']['rate']:g}"


def word_of(entry: str, default: Any = None) -> Callable[[Config], str | None]:
    """Return a function of configurations: the entry as a word, None where it is the default."""
    return lambda config: None if config[entry] == default else str(config[entry])
