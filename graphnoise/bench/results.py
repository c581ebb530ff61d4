"""Recorded cells as a table: which protocol, which method, which noise, and the values; the same as CSV, and back."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from graphnoise import checks
from graphnoise.bench.nodes import PROTOCOL
from graphnoise.bench.runner import cell_key
from graphnoise.bench.statistics import Values
from graphnoise.checks import DataError, GraphnoiseError
from graphnoise.noise import LabelNoise

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


class Source(Protocol):
    """Where cells come from: a `Store`, a `Table`, or what a suite selects of them."""

    @property
    def folder(self) -> Path:
        """The folder or file, for messages."""

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield {"config", "result"}; what a suite selected has its "grid" and "row" as well."""

    def remarks(self) -> list[str]:
        """Return what a user should know."""


@dataclass
class Section:
    """All cells of one data set under one protocol: they may be compared with each other, and with no others.

    Attributes:
        title: Data set, split, selection and kind of draws, in words.
        methods: Labels of the methods, in order of name; of rows, in the order of the suite.
        grid: Name of the suite's grid, empty without a suite.
        reference: The row that the others are compared with, where a method has several rows; else empty.
        cells: By (method, kind of noise, rate), the records.
    """

    title: str
    methods: list[str] = field(default_factory=list)
    grid: str = ""
    reference: str = ""
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
                by_draw[result["config"]["draw"]].append(result[measure])
        return by_draw


def sections(source: Source) -> tuple[list[Section], list[str]]:
    """Group the cells of a source into sections, and say in words what was left out.

    What a suite selected keeps its order, and its grids are sections of their own.

    Raises:
        DataError: The source holds no cell of the node benchmark.
    """
    kept: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    remarks, foreign = list(source.remarks()), 0
    for record in source.records():
        config, grid = record["config"], record.get("grid", "")
        if config.get("task") != "nodes" or config.get("protocol") != PROTOCOL:
            foreign += 1
            continue
        row = record.get("row", config["method"])
        kept[grid, _protocol(config)].append({"config": config, "row": row, **record["result"]})
    if foreign:
        remarks.append(f"{source.folder}: {foreign} cells of another protocol are kept and left out")
    if not kept:
        raise DataError(f"{source.folder}: expected cells of `graphnoise bench nodes`, got none")
    places = list(kept) if any(grid for grid, _ in kept) else sorted(kept)
    return [_section(grid, kept[grid, protocol]) for grid, protocol in places], remarks


def _order(kind: str) -> tuple[int, str]:
    name = kind.partition(" ")[0]
    return (LabelNoise.kinds.index(name) if name in LabelNoise.kinds else -1), kind


def _protocol(config: Mapping[str, Any]) -> str:
    return json.dumps([config["dataset"], config["data"], config["split_seed"], config["select"]])


def _section(grid: str, records: list[dict[str, Any]]) -> Section:
    config = records[0]["config"]
    variants: dict[str, set[str]] = defaultdict(set)
    rows: dict[str, dict[str, None]] = defaultdict(dict)  # by method, its labels in order
    for record in records:
        variants[record["row"]].add(_variant(record["config"]))
    title = f"{config['dataset']}, {config['select']} validation labels, data {config['data'][:8]}"
    title += f", split seed {config['split_seed']}" if config["split_seed"] else ""
    section = Section(f"{grid}: {title}" if grid else title, grid=grid)
    for record in records:
        noise = record["config"]["noise"]
        marks = [mark for mark in ("exact", "erase_stream") if noise[mark]]
        marks += [f"{key}={value}" for key, value in sorted(noise["options"].items())]
        kind = noise["kind"] + (f" ({', '.join(marks)})" if marks else "")
        label = _label(record["row"], record["config"], variants[record["row"]])
        section.cells[label, kind, float(noise["rate"])].append(record)
        rows[record["config"]["method"]][label] = None
    section.methods = list(dict.fromkeys(method for method, _, _ in section.cells))
    if grid:
        section.reference = next((next(iter(labels)) for labels in rows.values() if len(labels) > 1), "")
    else:
        section.methods.sort()
    return section


def _variant(config: Mapping[str, Any]) -> str:
    return json.dumps([config["version"], config["parameters"]], sort_keys=True)


def _label(name: str, config: Mapping[str, Any], variants: Iterable[str]) -> str:
    """Name a row, with its version and parameters as far as they tell it from others of the same name."""
    all_variants = [json.loads(variant) for variant in variants]
    marks = []
    if len({version for version, _ in all_variants}) > 1:
        marks.append(f"version {config['version']}")
    for key, value in sorted(config["parameters"].items()):
        if len({json.dumps(parameters.get(key)) for _, parameters in all_variants}) > 1:
            marks.append(f"{key}={value}")
    return name + (f" ({', '.join(marks)})" if marks else "")


def _number(text: str) -> int | float | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return checks.real("value", float(text))


def _count(text: str) -> int:
    return checks.integer("value", int(text), 0)


def _share(text: str) -> int | float | None:
    value = _number(text)
    return value if value is None or 0 <= value <= 1 else checks.fail("value", "a share in [0, 1]", text)


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else checks.fail("value", "an object", text)


# By column: where in a record its value is, and what reads it back.
COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[str], Any]]] = {
    "dataset": (("config", "dataset"), str),
    "data": (("config", "data"), str),
    "split_seed": (("config", "split_seed"), _count),
    "select": (("config", "select"), str),
    "noise": (("config", "noise", "kind"), str),
    "rate": (("config", "noise", "rate"), _share),
    "exact": (("config", "noise", "exact"), _flag),
    "erase_stream": (("config", "noise", "erase_stream"), _flag),
    "options": (("config", "noise", "options"), _object),
    "method": (("config", "method"), str),
    "version": (("config", "version"), str),
    "parameters": (("config", "parameters"), _object),
    "draw": (("config", "draw"), _count),
    "init": (("config", "init"), _count),
    "init_seed": (("result", "init_seed"), _count),
    "realised_train": (("result", "realised_rate", "train"), _share),
    "realised_val": (("result", "realised_rate", "val"), _share),
    **{measure: (("result", measure), _share) for measure in MEASURES},
    "seconds": (("result", "run", "seconds"), _number),
    "peak_memory": (("result", "run", "peak_memory"), _number),
    "processor": (("result", "run", "processor"), str),
    "commit": (("result", "run", "commit"), str),
}
NAMES = ("grid", "row")  # columns of what a suite selected


def to_csv(source: Source) -> str:
    """Return all cells as CSV, a line a cell: configuration, seeds, realised rates, measures, cost.

    What a suite selected has the columns `grid` and `row` first.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    records = [
        r for r in source.records() if (r["config"].get("task"), r["config"].get("protocol")) == ("nodes", PROTOCOL)
    ]
    names = [name for name in NAMES if any(name in record for record in records)]
    writer.writerow([*names, *COLUMNS])
    for record in records:
        row = [record.get(name, "") for name in names]
        for path, _ in COLUMNS.values():
            value: Any = record
            for step in path:
                value = value[step]
            row.append(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value)
        writer.writerow(row)
    return out.getvalue()


class Table:
    """The cells of a CSV file that `to_csv` wrote, with all but curves and predictions; a `Source`.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read, is none of `to_csv`, or has a line twice; the message names file and line.
    """

    def __init__(self, path: Path) -> None:
        self.folder, self._records = path, list[dict[str, Any]]()
        try:
            with path.open(newline="", encoding="utf-8") as file:
                self._read(csv.reader(file, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected a table of cells, which can be read ({error})") from error

    def _read(self, lines: Any) -> None:
        head: list[str] = next(lines, [])
        seen: dict[tuple[str, str], int] = {}
        missing = [name for name in COLUMNS if name not in head and name != "options"]  # older tables have none
        if missing or len(set(head)) < len(head):
            got = f"none named {missing[0]!r}" if missing else "one twice"
            raise DataError(f"{self.folder}: expected the columns that `graphnoise report --csv` writes, got {got}")
        for line in lines:
            where = f"{self.folder}, line {lines.line_num}"
            if len(line) != len(head):
                raise DataError(f"{where}: expected {len(head)} values, got {len(line)}")
            values = {"options": "{}", **dict(zip(head, line, strict=True))}
            record: dict[str, Any] = {name: values[name] for name in NAMES if name in values}
            record |= {"config": {"task": "nodes", "protocol": PROTOCOL}, "result": {}}
            for name, (path, read) in COLUMNS.items():
                inner = record
                for step in path[:-1]:
                    inner = inner.setdefault(step, {})
                try:
                    inner[path[-1]] = read(values[name])
                except (ValueError, KeyError, RecursionError, GraphnoiseError):
                    raise DataError(f"{where}: expected a value of {name}, got {values[name][:80]!r}") from None
            key = (values.get("grid", ""), cell_key(record["config"]))
            if (first := seen.setdefault(key, lines.line_num)) != lines.line_num:
                raise DataError(f"{where}: expected every cell once, got that of line {first} again")
            self._records.append(record)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the cells, in the order of the lines."""
        return iter(self._records)

    def remarks(self) -> list[str]:
        """Return nothing: a table that can be read is whole."""
        return []
