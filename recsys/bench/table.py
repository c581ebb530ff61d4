"""Cells of `bench recommend` as CSV, a line a cell, and back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from graphnoise import _check
from graphnoise._check import DataError, GraphnoiseError
from graphnoise.bench.results import Source
from graphnoise.experiment import cell_key
from recsys.bench.grid import METRICS, PROTOCOL
from recsys.bench.users import unpack

Steps = tuple[str, ...]


def _count(text: str) -> int:
    return _check.integer("value", int(text), 0)


def _size(text: str) -> int:
    return _check.integer("value", int(text), 1)


def _share(text: str) -> Any:
    value = json.loads(text)
    _check.rate("value", value)
    return value  # 0 stays 0


def _number(text: str) -> float:
    return _check.real("value", float(text), 0.0)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else _check.fail("value", "an object", text)


def _users(text: str) -> str:
    unpack(text)
    return text


# By column: where in a record its value is, and what reads it back.
COLUMNS: dict[str, tuple[Steps, Callable[[str], Any]]] = {
    "dataset": (("config", "dataset"), str),
    "data": (("config", "data"), str),
    "split_seed": (("config", "split_seed"), _count),
    "noise": (("config", "noise", "kind"), str),
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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    kind = ("recommend", PROTOCOL)
    records = [r for r in source.records() if (r["config"].get("task"), r["config"].get("protocol")) == kind]
    names = ["grid"] if any("grid" in record for record in records) else []
    writer.writerow([*names, *EPOCHS, *COLUMNS])
    for record in records:
        line = [record.get(name, "") for name in names]
        epochs = record["result"]["epochs"]
        line += ["" if epochs is None else epochs[key] for key, _ in EPOCHS.values()]
        for path, _ in COLUMNS.values():
            value: Any = record
            for step in path:
                value = value[step]
            line.append(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value)
        writer.writerow(line)
    return out.getvalue()


def is_table(path: Path) -> bool:
    """Return whether a file begins with the columns of `to_csv`, rather than with those of another benchmark."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {"epoch_rule", "best_trial", "users"} <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


class Table:
    """The cells of a CSV file that `to_csv` wrote; a `Source`.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be read, is none of `to_csv`, or has a line twice; the message names file and line.
    """

    def __init__(self, path: Path) -> None:
        self.folder, self._records = path, list[dict[str, Any]]()
        before = csv.field_size_limit(1 << 26)  # users of a large set in one value
        try:
            with path.open(newline="", encoding="utf-8") as file:
                self._read(csv.reader(file, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected a table of cells, which can be read ({error})") from error
        finally:
            csv.field_size_limit(before)

    def _read(self, lines: Any) -> None:
        head: list[str] = next(lines, [])
        missing = [name for name in (*EPOCHS, *COLUMNS) if name not in head]
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
        record |= {"config": {"task": "recommend", "protocol": PROTOCOL}, "result": {"epochs": None}}
        epochs = {}
        for name, read in [*((n, one) for n, (_, one) in EPOCHS.items()), *((n, c[1]) for n, c in COLUMNS.items())]:
            if name in EPOCHS and not values["epoch_rule"]:
                continue
            try:
                value = read(values[name])
            except (ValueError, KeyError, TypeError, RecursionError, GraphnoiseError):
                raise DataError(f"{where}: expected a value of {name}, got {values[name][:80]!r}") from None
            if name in EPOCHS:
                epochs[EPOCHS[name][0]] = value
                continue
            inner, path = record, COLUMNS[name][0]
            for step in path[:-1]:
                inner = inner.setdefault(step, {})
            inner[path[-1]] = value
        record["result"]["epochs"] = epochs or None
        return record

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the cells, in the order of the lines."""
        return iter(self._records)

    def remarks(self) -> list[str]:
        """Return nothing: a table that can be read is whole."""
        return []
