"""Cells of `bench cluster` as CSV, a line a cell, and back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ... import _check
from ..._check import DataError, GraphnoiseError
from ...experiment import cell_key
from ..results import Source
from . import labels
from .grid import PROTOCOL

Steps = tuple[str, ...]


def _list(one: Callable[[object], Any]) -> Callable[[str], list[Any]]:
    def read(text: str) -> list[Any]:
        value = json.loads(text)
        if not isinstance(value, list) or not value:
            _check.fail("value", "a list", text)
        return [one(entry) for entry in value]

    return read


def _count(value: object) -> int:
    return _check.integer("value", int(value) if isinstance(value, str) else value, 0)


def _size(text: str) -> int:
    return _check.integer("value", int(text), 1)


def _number(value: object) -> Any:
    _check.real("value", value, 0.0)
    return value  # 2 stays 2


def _mass(value: object) -> Any:
    return None if value is None else _number(value)


def _flag(value: object) -> bool:
    return value if isinstance(value, bool) else _check.fail("value", "true or false", value)


def _share(value: object) -> float:
    return _check.rate("value", value)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else _check.fail("value", "an object", text)


# By column: where in a record its value is, and what reads it back.
COLUMNS: dict[str, tuple[Steps, Callable[[str], Any]]] = {
    "dataset": (("config", "dataset"), str),
    "data": (("config", "data"), str),
    "labels": (("config", "labels"), labels.read),
    "class": (("config", "class"), _count),
    "class_size": (("result", "size"), _size),
    "method": (("config", "method"), str),
    "version": (("config", "version"), str),
    "parameters": (("config", "parameters"), _object),
    "sink": (("config", "sink"), str),
    "multiples": (("config", "multiples"), _list(_number)),
    "seeds": (("config", "seeds"), _size),
    "first_seed": (("config", "first_seed"), _count),
    "seconds": (("result", "run", "seconds"), lambda text: _number(float(text))),
    "processor": (("result", "run", "processor"), str),
    "commit": (("result", "run", "commit"), str),
}
# Columns with a list each, an entry a seed: where in a trial its value is, and what reads an entry.
TRIALS: dict[str, tuple[Steps, Callable[[object], Any]]] = {
    "seed_nodes": (("seed",), _count),
    "a1": (("a1",), _share),
    "a0": (("a0",), _share),
    "mass": (("picked", "mass"), _mass),
    "size": (("picked", "size"), _count),
    "hits": (("picked", "hits"), _count),
    "conductance": (("picked", "conductance"), _share),
    "oracle_mass": (("oracle", "mass"), _mass),
    "oracle_size": (("oracle", "size"), _count),
    "oracle_hits": (("oracle", "hits"), _count),
    "oracle_conductance": (("oracle", "conductance"), _share),
    "pushes": (("pushes",), _count),
    "arcs": (("arcs",), _count),
    "trial_seconds": (("seconds",), _number),
    "converged": (("converged",), _flag),
}


def to_csv(source: Source) -> str:
    """Return all cells as CSV, a line a cell; what belongs to its seeds stands in lists, an entry a seed.

    What a suite selected has the column `grid` first.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    kind = ("cluster", PROTOCOL)
    records = [r for r in source.records() if (r["config"].get("task"), r["config"].get("protocol")) == kind]
    names = ["grid"] if any("grid" in record for record in records) else []
    writer.writerow([*names, *COLUMNS, *TRIALS])
    for record in records:
        line = [record.get(name, "") for name in names]
        for name, (path, _) in COLUMNS.items():
            value = _at(record, path)
            text = labels.words(value) if name == "labels" else value
            line.append(json.dumps(text, sort_keys=True) if isinstance(text, dict | list) else text)
        for path, _ in TRIALS.values():
            line.append(json.dumps([_at(trial, path) for trial in record["result"]["trials"]]))
        writer.writerow(line)
    return out.getvalue()


def _at(record: Any, path: Steps) -> Any:
    for step in path:
        record = record[step]
    return record


def _put(record: dict[str, Any], path: Steps, value: object) -> None:
    for step in path[:-1]:
        record = record.setdefault(step, {})
    record[path[-1]] = value


def is_table(path: Path) -> bool:
    """Return whether a file begins with the columns of `to_csv`, rather than with those of another benchmark."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {"class_size", "seed_nodes"} <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


class Table:
    """The cells of a CSV file that `to_csv` wrote; a `Source`.

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
        missing = [name for name in (*COLUMNS, *TRIALS) if name not in head]
        if missing or len(set(head)) < len(head):
            got = f"none named {missing[0]!r}" if missing else "one twice"
            raise DataError(f"{self.folder}: expected the columns that `graphnoise report --csv` writes, got {got}")
        seen: dict[tuple[str, str], int] = {}
        for line in lines:
            where = f"{self.folder}, line {lines.line_num}"
            if len(line) != len(head):
                raise DataError(f"{where}: expected {len(head)} values, got {len(line)}")
            record = self._record(where, dict(zip(head, line, strict=True)))
            key = (record.get("grid", ""), cell_key(record["config"]))
            if (first := seen.setdefault(key, lines.line_num)) != lines.line_num:
                raise DataError(f"{where}: expected every cell once, got that of line {first} again")
            self._records.append(record)

    def _record(self, where: str, values: dict[str, str]) -> dict[str, Any]:
        record: dict[str, Any] = {"grid": values["grid"]} if "grid" in values else {}
        record |= {"config": {"task": "cluster", "protocol": PROTOCOL}, "result": {}}
        trials: list[dict[str, Any]] = []
        for name, (path, read) in [*COLUMNS.items(), *((n, (p, _list(one))) for n, (p, one) in TRIALS.items())]:
            try:
                value = read(values[name])
            except (ValueError, KeyError, TypeError, RecursionError, GraphnoiseError):
                raise DataError(f"{where}: expected a value of {name}, got {values[name][:80]!r}") from None
            if name in COLUMNS:
                _put(record, path, value)
                continue
            trials = trials or [{} for _ in range(record["config"]["seeds"])]
            if len(value) != len(trials):
                raise DataError(f"{where}: expected {len(trials)} values of {name}, one a seed, got {len(value)}")
            for trial, entry in zip(trials, value, strict=True):
                _put(trial, path, entry)
        size = record["result"]["size"]
        for choice in (trial[name] for trial in trials for name in ("picked", "oracle")):
            if choice["hits"] > min(choice["size"], size):
                raise DataError(f"{where}: expected at most {min(choice['size'], size)} hits, got {choice['hits']}")
        record["result"]["trials"] = trials
        return record

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the cells, in the order of the lines."""
        return iter(self._records)

    def remarks(self) -> list[str]:
        """Return nothing: a table that can be read is whole."""
        return []
