"""Recorded cells of `bench cluster`, grouped into what may be compared, and their means."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from graphnoise.bench.clusters import labels
from graphnoise.bench.clusters.grid import PROTOCOL
from graphnoise.bench.clusters.methods import NAMES, create, sees_labels
from graphnoise.bench.results import Source
from graphnoise.checks import DataError

Trial = Mapping[str, Any]  # a seed node under a method, as `grid.run_cell` records it


def _of(choice: str) -> dict[str, Callable[[Trial, int], float]]:
    """Return the measures of the candidate that was picked, or of the best one, against a class of some size."""
    return {
        "f1": lambda trial, size: 2 * trial[choice]["hits"] / (trial[choice]["size"] + size),
        "precision": lambda trial, size: trial[choice]["hits"] / max(trial[choice]["size"], 1),
        "recall": lambda trial, size: trial[choice]["hits"] / size,
        "conductance": lambda trial, size: trial[choice]["conductance"],
    }


def _plain(name: str) -> Callable[[Trial, int], float]:
    return lambda trial, size: float(trial[name])


MEASURES: dict[str, Callable[[Trial, int], float]] = {
    **_of("picked"),
    "oracle_f1": _of("oracle")["f1"],
    **{name: _plain(name) for name in ("arcs", "pushes", "seconds", "converged", "a1", "a0")},
}


@dataclass(frozen=True)
class Mean:
    """A mean over classes of the means over their seeds.

    Attributes:
        value: The mean.
        half_width: Half a 95 % t-interval over the seeds, the classes being fixed; None with a single seed a class.
    """

    value: float
    half_width: float | None


@dataclass
class Section:
    """The cells of one data set under one source of labels, with the same masses: they may be compared.

    Attributes:
        title: In words.
        dataset: Name of the data set.
        labels: Source of the labels, in words.
        grid: Name of the suite's grid, empty without a suite.
        methods: Labels of the methods, `labels` first: in the order of the suite, or of `methods.NAMES`.
        labelled: Of each method, whether it sees the labels.
        sizes: Number of nodes of each class.
        trials: By method, class and number of the seed.
    """

    title: str
    dataset: str
    labels: str
    grid: str = ""
    methods: list[str] = field(default_factory=list)
    labelled: dict[str, bool] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    trials: dict[tuple[str, int], dict[int, Trial]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def classes(self) -> list[int]:
        """The classes, ascending."""
        return sorted(self.sizes)

    def values(self, method: str, target: int, measure: str) -> dict[int, float]:
        """Return a measure of `MEASURES` by number of the seed."""
        of, size = MEASURES[measure], self.sizes[target]
        return {number: of(trial, size) for number, trial in sorted(self.trials.get((method, target), {}).items())}

    def score(self, method: str, target: int, measure: str = "f1") -> float | None:
        """Return the mean over the seeds of a class, None if there is none."""
        values = self.values(method, target, measure)
        return float(np.mean(list(values.values()))) if values else None

    def mean(self, method: str, measure: str = "f1") -> Mean | None:
        """Return the mean over the classes that have been run, None if there is none."""
        return _mean([np.array(list(self.values(method, target, measure).values())) for target in self.classes])

    def gain(self, method: str, base: str = "labels") -> Mean | None:
        """Return the mean difference in F1 from another method, over the seeds of each class that both have."""
        gaps = []
        for target in self.classes:
            ours, theirs = (self.values(name, target, "f1") for name in (method, base))
            gaps.append(np.array([ours[number] - theirs[number] for number in ours if number in theirs]))
        return _mean(gaps)


def _mean(groups: list[NDArray[np.float64]]) -> Mean | None:
    groups = [values for values in groups if len(values)]
    if not groups:
        return None
    mean = float(np.mean([values.mean() for values in groups]))
    if min(map(len, groups)) < 2:
        return Mean(mean, None)
    error = float(np.sqrt(sum(values.var(ddof=1) / len(values) for values in groups)) / len(groups))
    freedom = sum(len(values) - 1 for values in groups)
    return Mean(mean, float(stats.t.ppf(0.975, freedom) * error))


def sections(source: Source) -> tuple[list[Section], list[str]]:
    """Group the cells of a source into sections, and say in words what was left out.

    Raises:
        DataError: The source holds no cell of the cluster benchmark.
    """
    kept, remarks, foreign = [], list(source.remarks()), 0
    versions: dict[str, set[str]] = defaultdict(set)
    for record in source.records():
        config = record["config"]
        if (config.get("task"), config.get("protocol")) != ("cluster", PROTOCOL):
            foreign += 1
            continue
        kept.append(record)
        versions[config["method"]].add(config["version"])
    if foreign:
        remarks.append(f"{source.folder}: {foreign} cells of another protocol are kept and left out")
    if not kept:
        raise DataError(f"{source.folder}: expected cells of `graphnoise bench cluster`, got none")
    found: dict[tuple[str, ...], Section] = {}
    for record in kept:
        config, grid = record["config"], record.get("grid", "")
        own = labels.words(config["labels"])
        key = (grid, config["dataset"], config["data"], config["sink"], json.dumps(config["multiples"]), own)
        if key not in found:
            title = f"{config['dataset']}, labels {own}, {config['sink']} sinks, data {config['data'][:8]}"
            title = f"{grid}: {title}" if grid else title
            found[key] = Section(title, config["dataset"], own, grid)
        section, label = found[key], _label(config, versions[config["method"]])
        if label not in section.methods:
            section.methods.append(label)
            section.labelled[label] = sees_labels(config["method"], config["parameters"])
        section.sizes[config["class"]] = record["result"]["size"]
        trials = section.trials[label, config["class"]]
        trials |= dict(enumerate(record["result"]["trials"], config["first_seed"]))
    if any(key[0] for key in found):  # in the order of the suite
        return list(found.values()), remarks
    for section in found.values():
        section.methods.sort(key=lambda label: (NAMES.index(label.partition(":")[0]), label))
    return [found[key] for key in sorted(found)], remarks


def _label(config: Mapping[str, Any], versions: Collection[str]) -> str:
    """Name a method as `methods.create` reads it, with its version where there are several."""
    usual = create(config["method"])[1]
    marks = [f"version={config['version']}"] if len(versions) > 1 else []
    for key, value in config["parameters"].items():
        if value != usual.get(key):
            marks.append(f"{key}={value:g}" if isinstance(value, float) else f"{key}={str(value).lower()}")
    return str(config["method"]) + (f":{','.join(marks)}" if marks else "")
