"""Recorded cells as a table: which protocol, which method, which noise, and the values."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._check import DataError
from ..experiment import Store
from ..noise import LabelNoise
from .nodes import PROTOCOL
from .statistics import Values

MEASURES = (
    "test_accuracy",
    "test_near_right",
    "test_near_wrong",
    "test_far",
    "train_right",
    "train_wrong",
    "train_misled",
    "val_accuracy",
    "val_accuracy_clean",
)


@dataclass
class Section:
    """All cells of one data set under one protocol: they may be compared with each other, and with no others.

    Attributes:
        title: Data set, split, selection and kind of draws, in words.
        methods: Labels of the methods, in order of name.
        cells: By (method, kind of noise, rate), the records.
    """

    title: str
    methods: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str, float], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def kinds(self) -> list[str]:
        """Kinds of noise, in the order of `LabelNoise.kinds`; "none" only if there is nothing else."""
        found = sorted({kind for _, kind, _ in self.cells}, key=_order)
        return [kind for kind in found if kind != "none"] or found

    def rates(self, kind: str) -> list[float]:
        """Rates recorded for a kind, with 0 where cells without noise are recorded."""
        return sorted({rate for _, other, rate in self.cells if other in (kind, "none")})

    def records(self, method: str, kind: str, rate: float) -> list[dict[str, Any]]:
        """Return the results at one point; at rate 0 all kinds share the cells without noise."""
        return self.cells.get((method, "none" if rate == 0 else kind, rate), [])

    def values(self, method: str, kind: str, rate: float, measure: str = "test_accuracy") -> Values:
        """Return a measure by draw; draws where it counts nothing are left out."""
        by_draw: dict[int, list[float]] = defaultdict(list)
        for result in self.records(method, kind, rate):
            if result[measure] is not None:
                by_draw[result["draw_seed"]].append(result[measure])
        return by_draw


def sections(store: Store) -> tuple[list[Section], list[str]]:
    """Group the records of a store into sections, and say in words what was left out.

    Raises:
        DataError: The store holds no record of the node benchmark.
    """
    kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
    remarks, foreign, total = list(store.remarks()), 0, 0
    for record in store.records():
        config = record["config"]
        if config.get("task") != "nodes" or config.get("protocol") != PROTOCOL:
            foreign += 1
            continue
        total += 1
        kept[_protocol(config)].append({"config": config, **record["result"]})
    if foreign:
        remarks.append(f"{store.folder}: {foreign} cells of another protocol are kept and left out")
    if not total:
        raise DataError(f"{store.folder}: expected cells of `graphnoise bench nodes`, got none")
    return [_section(records) for _, records in sorted(kept.items())], remarks


def _order(kind: str) -> tuple[int, str]:
    name = kind.partition(" ")[0]
    return (LabelNoise.kinds.index(name) if name in LabelNoise.kinds else -1), kind


def _protocol(config: Mapping[str, Any]) -> str:
    return json.dumps([config["dataset"], config["data"], config["split_seed"], config["select"]])


def _section(records: list[dict[str, Any]]) -> Section:
    config = records[0]["config"]
    variants: dict[str, set[str]] = defaultdict(set)
    for record in records:
        variants[record["config"]["method"]].add(_variant(record["config"]))
    title = f"{config['dataset']}, {config['select']} validation labels, data {config['data'][:8]}"
    title += f", split seed {config['split_seed']}" if config["split_seed"] else ""
    section = Section(title)
    for record in records:
        noise = record["config"]["noise"]
        marks = [mark for mark in ("exact", "legacy") if noise[mark]]
        marks += [f"{key}={value}" for key, value in sorted(noise["options"].items())]
        kind = noise["kind"] + (f" ({', '.join(marks)})" if marks else "")
        label = _label(record["config"], variants[record["config"]["method"]])
        section.cells[label, kind, float(noise["rate"])].append(record)
    section.methods = sorted({method for method, _, _ in section.cells})
    return section


def _variant(config: Mapping[str, Any]) -> str:
    return json.dumps([config["version"], config["parameters"]], sort_keys=True)


def _label(config: Mapping[str, Any], variants: Iterable[str]) -> str:
    """Name a method, with its version and parameters as far as they tell it from others of the same name."""
    all_variants = [json.loads(variant) for variant in variants]
    marks = []
    if len({version for version, _ in all_variants}) > 1:
        marks.append(f"version {config['version']}")
    for key, value in sorted(config["parameters"].items()):
        if len({json.dumps(parameters.get(key)) for _, parameters in all_variants}) > 1:
            marks.append(f"{key}={value}")
    return str(config["method"]) + (f" ({', '.join(marks)})" if marks else "")


def to_csv(store: Store) -> str:
    """Return all cells as CSV, a line a cell: configuration, seeds, realised rates, measures, cost."""
    head = [
        "dataset",
        "data",
        "split_seed",
        "select",
        "noise",
        "rate",
        "exact",
        "legacy",
        "method",
        "version",
    ]
    head += ["parameters", "draw", "init", "init_seed", "realised_train", "realised_val", *MEASURES]
    head += ["seconds", "peak_memory", "processor", "commit"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for record in store.records():
        c, r = record["config"], record["result"]
        if c.get("task") != "nodes" or c.get("protocol") != PROTOCOL:
            continue
        n = c["noise"]
        row = [
            c["dataset"],
            c["data"],
            c["split_seed"],
            c["select"],
            n["kind"],
            n["rate"],
            n["exact"],
            n["legacy"],
        ]
        row += [c["method"], c["version"], json.dumps(c["parameters"], sort_keys=True), c["draw"], c["init"]]
        row += [
            r["init_seed"],
            r["realised_rate"]["train"],
            r["realised_rate"]["val"],
            *(r[m] for m in MEASURES),
        ]
        row += [r["run"]["seconds"], r["run"]["peak_memory"], r["run"]["processor"], r["run"]["commit"]]
        writer.writerow(row)
    return out.getvalue()
