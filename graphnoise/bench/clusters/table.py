"""Cells of `bench cluster` as CSV, a line a cell, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import cells
from graphnoise.bench.cells import Steps, at, put
from graphnoise.bench.clusters import labels
from graphnoise.bench.clusters.grid import PROTOCOL
from graphnoise.bench.results import Source
from graphnoise.checks import DataError


def _list(one: Callable[[object], Any]) -> Callable[[str], list[Any]]:
    def read(text: str) -> list[Any]:
        value = json.loads(text)
        if not isinstance(value, list) or not value:
            checks.fail("value", "a list", text)
        return [one(entry) for entry in value]

    return read


def _count(value: object) -> int:
    return checks.integer("value", int(value) if isinstance(value, str) else value, 0)


def _size(text: str) -> int:
    return checks.integer("value", int(text), 1)


def _number(value: object) -> Any:
    checks.real("value", value, 0.0)
    return value  # 2 stays 2


def _mass(value: object) -> Any:
    return None if value is None else _number(value)


def _flag(value: object) -> bool:
    return value if isinstance(value, bool) else checks.fail("value", "true or false", value)


def _share(value: object) -> float:
    return checks.rate("value", value)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else checks.fail("value", "an object", text)


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
    return cells.to_csv(source, ("cluster", PROTOCOL), Table.columns, _line)


def _line(record: Mapping[str, Any]) -> list[Any]:
    line = []
    for name, (path, _) in COLUMNS.items():
        value = at(record, path)
        text = labels.words(value) if name == "labels" else value
        line.append(json.dumps(text, sort_keys=True) if isinstance(text, dict | list) else text)
    trials = record["result"]["trials"]
    return [*line, *(json.dumps([at(trial, path) for trial in trials]) for path, _ in TRIALS.values())]


def is_table(path: Path) -> bool:
    """Return whether a file begins with the columns of `to_csv`, rather than with those of another benchmark."""
    return cells.has_columns(path, ("class_size", "seed_nodes"))


class Table(cells.CellTable):
    """The cells of a CSV file that `to_csv` wrote; see `CellTable`."""

    columns = (*COLUMNS, *TRIALS)

    def record(self, where: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the cell of a line."""
        record: dict[str, Any] = {"config": {"task": "cluster", "protocol": PROTOCOL}, "result": {}}
        for name, (path, read) in COLUMNS.items():
            put(record, path, cells.read_value(where, values, name, read))
        trials: list[dict[str, Any]] = [{} for _ in range(record["config"]["seeds"])]
        for name, (path, one) in TRIALS.items():
            found = cells.read_value(where, values, name, _list(one))
            if len(found) != len(trials):
                raise DataError(f"{where}: expected {len(trials)} values of {name}, one a seed, got {len(found)}")
            for trial, entry in zip(trials, found, strict=True):
                put(trial, path, entry)
        size = record["result"]["size"]
        for choice in (trial[name] for trial in trials for name in ("picked", "oracle")):
            if choice["hits"] > min(choice["size"], size):
                raise DataError(f"{where}: expected at most {min(choice['size'], size)} hits, got {choice['hits']}")
        record["result"]["trials"] = trials
        return record
