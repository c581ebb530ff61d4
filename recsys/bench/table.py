"""Cells of `bench recommend` as CSV, a line a cell, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import cells
from graphnoise.bench.cells import Steps, at, put
from graphnoise.bench.results import Source
from graphnoise.checks import DataError
from recsys.bench.grid import METRICS, PROTOCOL
from recsys.bench.problem import NOISE
from recsys.bench.users import unpack


def _count(text: str) -> int:
    return checks.integer("value", int(text), 0)


def _size(text: str) -> int:
    return checks.integer("value", int(text), 1)


def _share(text: str) -> Any:
    value = json.loads(text)
    checks.rate("value", value)
    return value  # 0 stays 0


def _number(text: str) -> float:
    return checks.real("value", float(text), 0.0)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else checks.fail("value", "an object", text)


def _users(text: str) -> str:
    unpack(text)
    return text


# By column: where in a record its value is, and what reads it back.
COLUMNS: dict[str, tuple[Steps, Callable[[str], Any]]] = {
    "dataset": (("config", "dataset"), str),
    "data": (("config", "data"), str),
    "split_seed": (("config", "split_seed"), _count),
    "noise": (("config", "noise", "kind"), lambda text: checks.choice("value", text, NOISE)),
    "rate": (("config", "noise", "rate"), _share),
    "select": (("config", "select"), str),
    "seed": (("config", "seed"), _count),
    "method": (("config", "method"), str),
    "version": (("config", "version"), str),
    "fixed": (("config", "fixed"), _object),
    "trials": (("config", "trials"), _size),
    "realised_false_positive": (("result", "realised_rate", "false_positive"), _share),
    "realised_false_negative": (("result", "realised_rate", "false_negative"), _share),
    "parameters": (("result", "parameters"), _object),
    "best_trial": (("result", "best_trial"), _count),
    "validation": (("result", "validation"), _share),
    **{metric: (("result", "test", metric), _share) for metric in METRICS},
    "seconds": (("result", "run", "seconds"), _number),
    "processor": (("result", "run", "processor"), str),
    "commit": (("result", "run", "commit"), str),
    "users": (("result", "users"), _users),
}
# Columns of methods that train by epochs; empty for the others.
EPOCHS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "epochs_run": ("run", _size),
    "epoch_picked": ("picked", _size),
    "epoch_oracle": ("oracle", _size),
    "oracle_test": ("oracle_test", _share),
    "epoch_rule": ("rule", str),
}


def to_csv(source: Source) -> str:
    """Return all cells as CSV, a line a cell, with the test values of single users in the last column.

    What a suite selected has the column `grid` first. Curves and the trials that were not chosen are left out.
    """
    return cells.to_csv(source, ("recommend", PROTOCOL), Table.columns, _line)


def _line(record: Mapping[str, Any]) -> list[Any]:
    epochs = record["result"]["epochs"]
    line = ["" if epochs is None else epochs[key] for key, _ in EPOCHS.values()]
    for path, _ in COLUMNS.values():
        value = at(record, path)
        line.append(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value)
    return line


def is_table(path: Path) -> bool:
    """Return whether a file begins with the columns of `to_csv`, rather than with those of another benchmark."""
    return cells.has_columns(path, ("epoch_rule", "best_trial", "users"))


class Table(cells.CellTable):
    """The cells of a CSV file that `to_csv` wrote; see `CellTable`."""

    columns = (*EPOCHS, *COLUMNS)
    longest = 1 << 26  # users of a large set in one value

    def record(self, where: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the cell of a line."""
        record: dict[str, Any] = {"config": {"task": "recommend", "protocol": PROTOCOL}, "result": {"epochs": None}}
        if values["epoch_rule"]:
            record["result"]["epochs"] = {
                key: cells.read_value(where, values, name, read) for name, (key, read) in EPOCHS.items()
            }
        for name, (path, read) in COLUMNS.items():
            put(record, path, cells.read_value(where, values, name, read))
        noise = record["config"]["noise"]
        if (noise["kind"] == "none") != (noise["rate"] == 0):
            raise DataError(f"{where}: expected a rate of 0 where there is no noise, and nowhere else")
        return record
