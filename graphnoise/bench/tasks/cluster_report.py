"""Tables and figures of the task `cluster`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from graphnoise.bench import options, plots, registry, report
from graphnoise.bench.report import bold, columns, decimal, headline, interval, span
from graphnoise.bench.tasks.cluster_trials import format_labels
from graphnoise.plot import COLOURS
from graphnoise.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass
class Section(report.Section):
    """The cells of one data set with one source of labels and the same masses.

    Attributes:
        name: Data set and source of labels.
        uses_labels: Whether a method uses the labels, by method.
        sizes: Number of nodes, by class.
        trials: By method and class, the measures of each trial by number of the seed.
    """

    name: tuple[str, str] = ("", "")
    uses_labels: dict[str, bool] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    trials: dict[tuple[str, int], dict[int, dict[str, float]]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def classes(self) -> list[int]:
        """The classes, ascending."""
        return sorted(self.sizes)

    def values(self, method: str, target: int, measure: str = "f1") -> dict[int, float]:
        """Return a measure by number of the seed."""
        return {n: trial[measure] for n, trial in sorted(self.trials.get((method, target), {}).items())}

    def scores(self, method: str) -> dict[int, float]:
        """Return the mean F1 over the seeds of each class that has been run."""
        values = {target: list(self.values(method, target).values()) for target in self.classes}
        return {target: float(np.mean(f1)) for target, f1 in values.items() if f1}

    def mean(self, method: str, measure: str = "f1") -> Estimate | None:
        """Return the mean over the classes that have been run, None if there is none."""
        return _stratified([list(self.values(method, target, measure).values()) for target in self.classes])

    def gain(self, method: str, base: str = "labels") -> Estimate | None:
        """Return the mean difference in F1 from another method, over the seeds of each class that both have."""
        pairs = [(self.values(method, target), self.values(base, target)) for target in self.classes]
        return _stratified([[first[n] - second[n] for n in first if n in second] for first, second in pairs])


def _stratified(classes: Sequence[Sequence[float]]) -> Estimate | None:
    """Return the mean over classes of the means over seeds, with a t-interval over seeds; the classes are fixed."""
    groups = [np.array(values) for values in classes if values]
    if not groups:
        return None
    mean, seeds, half = float(np.mean([values.mean() for values in groups])), min(map(len, groups)), None
    if seeds > 1:
        error = float(np.sqrt(sum(values.var(ddof=1) / len(values) for values in groups)) / len(groups))
        half = float(stats.t.ppf(0.975, sum(len(values) - 1 for values in groups)) * error)
    return Estimate(mean, half, seeds, 1, None)


def _measures(trial: Mapping[str, Any], size: int) -> dict[str, float]:
    picked, oracle = trial["picked"], trial["oracle"]
    return {
        "f1": 2 * picked["hits"] / (picked["size"] + size),
        "precision": picked["hits"] / max(picked["size"], 1),
        "recall": picked["hits"] / size,
        "phi": picked["conductance"],
        "best F1": 2 * oracle["hits"] / (oracle["size"] + size),
        "ms": 1000 * trial["seconds"],
        **{name: float(trial[name]) for name in ("a1", "a0", "arcs", "converged")},
    }


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Group cells that may be compared, in the order of the suite, or else of names and of installed methods."""
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        versions[record["config"]["method"]].add(record["config"]["version"])
    grouped: dict[tuple[str, ...], Section] = {}
    for record in records:
        config, grid, size = record["config"], record.get("grid", ""), record["result"]["size"]
        labels = format_labels(config["labels"])
        key = (grid, config["dataset"], config["data"], config["sink"], json.dumps(config["multiples"]), labels)
        title = f"{config['dataset']}, labels {labels}, {config['sink']} sinks, data {config['data'][:8]}"
        section = grouped.setdefault(key, Section(title, grid, name=(config["dataset"], labels)))
        label = record.get("row") or _label(config, versions[config["method"]])
        if label not in section.methods:
            section.methods.append(label)
            section.uses_labels[label] = _create(config["method"], config["parameters"])[0]
        section.sizes[config["class"]] = size
        for number, trial in enumerate(record["result"]["trials"], config["first_seed"]):
            section.trials[label, config["class"]][number] = _measures(trial, size)
    if any(key[0] for key in grouped):
        return list(grouped.values())
    places = {name: place for place, name in enumerate(registry.names("clusterings"))}
    for section in grouped.values():
        section.methods.sort(key=lambda label: (places.get(label.partition(":")[0], len(places)), label))
    return [grouped[key] for key in sorted(grouped)]


def _create(name: str, parameters: Mapping[str, Any] | None = None) -> tuple[bool, dict[str, Any]]:
    """Return whether a method uses labels, and its parameters; of one that is not installed False and none."""
    if name not in registry.names("clusterings"):
        return False, {}
    method, parameters = registry.create("clusterings", name, parameters)
    return method.uses_labels, parameters


def _label(config: Mapping[str, Any], versions: set[str]) -> str:
    """Name a method with the parameters that are not its defaults, and with its version where there are several."""
    defaults = _create(config["method"])[1]
    marks = {"version": config["version"]} if len(versions) > 1 else {}
    changed = {key: value for key, value in config["parameters"].items() if value != defaults.get(key)}
    return options.text(config["method"], {**marks, **changed})


def render(section: Section) -> Iterator[RenderableType]:
    """Yield the tables of a section: means over the classes, then F1 class by class."""
    a1, a0 = (interval(section.mean(section.methods[0], name)) for name in ("a1", "a0"))
    note = (
        f"means in % over {len(section.classes)} classes of {span(map(len, section.trials.values()))} seed(s) each, "
        "± half a 95 % interval over seeds;\n"
        f"labels were right for {a1} of the members and {a0} of the others;\n"
        "of several masses the one of least conductance (phi) counts; best F1 is that of the best one by the truth;\n"
        "masses are multiples of what the true cluster holds, up to what the graph holds, but for labels and auto;\n"
        "arcs and ms are those of all masses"
    )
    yield headline("Clusters found", note)
    digits = {"precision": 1, "recall": 1, "best F1": 1, "phi": 3, "arcs": 0, "ms": 1, "converged": 0}
    table = columns("method", ["F1", "− labels", *digits])
    factors = {name: 1 if name in ("phi", "arcs", "ms") else 100 for name in digits}

    def others(method: str) -> Iterator[str]:
        yield "" if method == "labels" else interval(section.gain(method), sign="+")
        yield from (decimal(section.mean(method, name), factors[name], digits[name]) for name in digits)

    report.best_rows(table, {method: [section.mean(method)] for method in section.methods}, more=others)
    yield table
    yield headline(
        "F1 in % by class", "bold: best of the class; last row: classes in which a method beats labels alone"
    )
    table = columns("class (size)", section.methods)
    scores = {method: section.scores(method) for method in section.methods}
    base = scores.get("labels", {})
    for target, size in sorted(section.sizes.items()):
        f1 = [scores[method].get(target) for method in section.methods]
        best = max(value for value in f1 if value is not None)
        table.add_row(f"{target} ({size:,})", *("" if v is None else bold(f"{100 * v:.1f}", v == best) for v in f1))
    wins = [sum(target in base and v > base[target] for target, v in scores[m].items()) for m in section.methods]
    counts = ("" if m == "labels" else str(count) for m, count in zip(section.methods, wins, strict=True))
    table.add_row("beats labels", *counts, style="dim")
    yield table


def figures(sections: Sequence[Section], styles: Mapping[str, plots.Style]) -> dict[str, Figure]:
    """Return a figure with a panel for each data set and source of labels, and in it a line for each method.

    A small dot is a class, the large one the mean over classes with its 95 % interval over seeds; the dashed line is
    the mean of labels alone. Colours say what a method uses: labels alone grey, edges blue, both orange.
    """
    methods = max(len(section.methods) for section in sections)
    across = 4 if len(sections) > 4 else min(len(sections), 2)
    down = -(-len(sections) // across)
    figure, grid = plots.panels(down, across, (1.0 + 2.6 * across, 0.4 + (0.7 + 0.19 * methods) * down), sharex=True)
    for place, panel in enumerate(grid.flat):
        if place >= len(sections):
            panel.axis("off")
            continue
        _panel(panel, sections[place])
        # The names of the methods are those of the panel before.
        if place % across and sections[place].methods == sections[place - 1].methods:
            panel.tick_params(axis="y", labelleft=False)
        if place + across >= len(sections):
            panel.tick_params(axis="x", labelbottom=True)
            panel.set_xlabel("F1 in %: classes, and their mean", fontsize=8)
    return {"": figure}


def _panel(panel: Any, section: Section) -> None:
    if (base := section.mean("labels")) is not None:
        panel.axvline(100 * base.mean, color="0.45", linestyle="--", linewidth=1, zorder=1)
    for place, method in enumerate(section.methods):
        if (mean := section.mean(method)) is None:
            continue
        colour = "0.3" if method == "labels" else COLOURS[1 if section.uses_labels[method] else 0]
        scores = [100 * score for score in section.scores(method).values()]
        panel.plot(scores, [place] * len(scores), "o", color=colour, alpha=0.3, markersize=3.5, markeredgewidth=0)
        error = 100 * (mean.half_width or 0.0)
        panel.errorbar(100 * mean.mean, place, xerr=error, fmt="o", color=colour, markersize=6, capsize=2.5)
    panel.set_yticks(range(len(section.methods)), section.methods, fontsize=8)
    panel.set_ylim(len(section.methods) - 0.4, -0.6)
    panel.set_xlim(0, 100)
    panel.grid(axis="x", alpha=0.25)
    panel.tick_params(axis="x", labelsize=8)
    dataset, labels = section.name
    panel.set_title(f"{dataset}\nlabels {labels}", fontsize=9 if len(dataset) < 28 else 6.5)
