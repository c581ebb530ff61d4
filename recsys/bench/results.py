"""Recorded cells of `bench recommend`, grouped into what may be compared, with means and paired comparisons."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphnoise.bench.results import Source
from graphnoise.statistics import Estimate, estimate, holm
from graphnoise.checks import DataError
from recsys.bench.grid import METRIC, METRICS, PROTOCOL, label
from recsys.bench.methods import METHODS, PLAIN
from recsys.bench.problem import NOISE
from recsys.bench.users import unpack
from recsys.evaluation import Evaluation
from recsys.significance import Comparison, compare

MEASURES = (*METRICS, "validation", "seconds", "picked", "oracle", "oracle_test")
Result = Mapping[str, Any]


def _measure(result: Result, name: str) -> float | None:
    if name in METRICS:
        return float(result["test"][name])
    if name in ("picked", "oracle", "oracle_test"):
        return None if result["epochs"] is None else float(result["epochs"][name])
    return float(result["run"]["seconds"] if name == "seconds" else result[name])


@dataclass
class Section:
    """The cells of one data set under one protocol: they may be compared.

    Attributes:
        title: in words.
        dataset: its name.
        grid: name of the suite's grid, empty without a suite.
        methods: labels of the methods, in the order of the suite or of `METHODS`.
        names: the method behind each label.
        cells: by label, kind of noise and rate: results by seed.
    """

    title: str
    dataset: str
    grid: str = ""
    methods: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    cells: dict[tuple[str, str, float], dict[int, Result]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def kinds(self) -> list[str]:
        """Kinds of noise; "none" only if there is nothing else."""
        found = sorted({kind for _, kind, _ in self.cells}, key=NOISE.index)
        return [kind for kind in found if kind != "none"] or found

    def rates(self, kind: str) -> list[float]:
        """Rates recorded for a kind, with 0 where cells without noise are recorded."""
        return sorted({rate for _, other, rate in self.cells if other in (kind, "none")})

    def results(self, method: str, kind: str, rate: float) -> dict[int, Result]:
        """Return the results at a point by seed; at rate 0 all kinds share the cells without noise."""
        return self.cells.get((method, "none" if rate == 0 else kind, rate), {})

    def mean(self, method: str, kind: str, rate: float, name: str = METRIC) -> Estimate | None:
        """Return the mean of a measure over seeds with its interval; None where there is none."""
        values = {seed: _measure(result, name) for seed, result in self.results(method, kind, rate).items()}
        known = {seed: [value] for seed, value in values.items() if value is not None}
        return estimate(known) if known else None

    def best_plain(self, kind: str, rate: float) -> str | None:
        """Return the plain method with the best test mean: what a noise-robust one has to beat."""
        found = {m: e.mean for m in self.methods if self.names[m] in PLAIN and (e := self.mean(m, kind, rate))}
        return max(found, key=lambda m: found[m]) if found else None

    def compared(self, kind: str, rate: float) -> list[Comparison]:
        """Compare every method with the best plain one, over users; one family for Holm's correction.

        The value of a user is the mean over the seeds that both methods have and that left the user a training click.
        """
        base = self.best_plain(kind, rate)
        others = [m for m in self.methods if m != base and self.results(m, kind, rate)]
        found = [] if base is None else [self._pair(m, base, kind, rate) for m in others]
        known = [one for one in found if one is not None]
        corrected = holm([one.p for one in known])
        return [dataclasses.replace(one, p=float(p)) for one, p in zip(known, corrected, strict=True)]

    def _pair(self, first: str, second: str, kind: str, rate: float) -> Comparison | None:
        one, two = self.results(first, kind, rate), self.results(second, kind, rate)
        seeds = sorted(set(one) & set(two))
        if not seeds:
            return None
        found = [np.array([unpack(side[seed]["users"]) for seed in seeds]) for side in (one, two)]
        missing = np.isnan(found[0] + found[1])
        known = ~missing.all(0)
        parts = [np.nanmean(np.where(missing, np.nan, values)[:, known], axis=0) for values in found]
        users = np.arange(len(parts[0]))
        left, right = (Evaluation(users, {METRIC: part}, {METRIC: float(part.mean())}, "train") for part in parts)
        return compare(left, right, METRIC, names=(first, second)) if len(users) > 1 else None


def sections(source: Source) -> tuple[list[Section], list[str]]:
    """Group the cells of a source into sections, and say in words what was left out.

    Raises:
        DataError: the source holds no cell of the recommender benchmark.
    """
    kept, remarks, foreign = list[dict[str, Any]](), list(source.remarks()), 0
    variants: dict[str, set[str]] = defaultdict(set)
    for record in source.records():
        config = record["config"]
        if (config.get("task"), config.get("protocol")) != ("recommend", PROTOCOL):
            foreign += 1
            continue
        kept.append(record)
        variants[label(config["method"], config["fixed"])].add(_variant(config))
    if foreign:
        remarks.append(f"{source.folder}: {foreign} cells of another protocol are kept and left out")
    if not kept:
        raise DataError(f"{source.folder}: expected cells of `graphnoise bench recommend`, got none")
    found: dict[tuple[str, ...], Section] = {}
    for record in kept:
        config, grid = record["config"], record.get("grid", "")
        key = (grid, config["dataset"], config["data"], json.dumps(config["split_seed"]), config["select"])
        if key not in found:
            title = f"{config['dataset']}, {config['select']} validation, data {config['data'][:8]}"
            title += f", split seed {config['split_seed']}" if config["split_seed"] else ""
            found[key] = Section(f"{grid}: {title}" if grid else title, config["dataset"], grid)
        section, own = found[key], label(config["method"], config["fixed"])
        if len(variants[own]) > 1:
            own += f" ({config['trials']} trials, version {config['version']})"
        if own not in section.methods:
            section.methods.append(own)
            section.names[own] = config["method"]
        noise = config["noise"]
        section.cells[own, noise["kind"], float(noise["rate"])][config["seed"]] = record["result"]
    if any(key[0] for key in found):  # in the order of the suite
        return list(found.values()), remarks
    order = {method: place for place, method in enumerate(METHODS)}  # cells of other versions may have others: last
    for section in found.values():
        section.methods.sort(key=lambda own, names=section.names: (order.get(names[own], len(order)), own))  # type: ignore[misc]
    return [found[key] for key in sorted(found)], remarks


def _variant(config: Mapping[str, Any]) -> str:
    return json.dumps([config["trials"], config["version"]])
