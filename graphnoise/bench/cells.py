"""Recorded cells as CSV, a line a cell, and back: what tables of the cluster and recommender benchmarks share."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from graphnoise.bench.results import Source
from graphnoise.bench.runner import cell_key
from graphnoise.checks import DataError, GraphnoiseError

Steps = tuple[str, ...]  # from a record to a value in it


def at(record: Any, path: Steps) -> Any:
    """Return the value at a path."""
    for step in path:
        record = record[step]
    return record


def put(record: dict[str, Any], path: Steps, value: object) -> None:
    """Set the value at a path."""
    for step in path[:-1]:
        record = record.setdefault(step, {})
    record[path[-1]] = value


def to_csv(
    source: Source, kind: tuple[str, int], columns: Collection[str], line: Callable[[Mapping[str, Any]], list[Any]]
) -> str:
    """Return the cells of a task and protocol as CSV; what a suite selected has the column `grid` first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    records = [r for r in source.records() if (r["config"].get("task"), r["config"].get("protocol")) == kind]
    names = ["grid"] if any("grid" in record for record in records) else []
    writer.writerow([*names, *columns])
    for record in records:
        writer.writerow([*(record.get(name, "") for name in names), *line(record)])
    return out.getvalue()


def has_columns(path: Path, names: Collection[str]) -> bool:
    """Return whether a file is a table that begins with columns of these names, among others."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return set(names) <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


class CellTable(ABC):
    """The cells of a CSV file; a `Source`.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read, has other columns, or a line twice; the message names file and line.
    """

    columns: ClassVar[tuple[str, ...]]  # that must be there
    longest: ClassVar[int] = 1 << 17  # most characters of a value

    def __init__(self, path: Path) -> None:
        self.folder, self._records = path, list[dict[str, Any]]()
        before = csv.field_size_limit(self.longest)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                self._read(csv.reader(file, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected a table of cells, which can be read ({error})") from error
        finally:
            csv.field_size_limit(before)

    def _read(self, lines: Any) -> None:
        head: list[str] = next(lines, [])
        missing = [name for name in self.columns if name not in head]
        if missing or len(set(head)) < len(head):
            got = f"none named {missing[0]!r}" if missing else "one twice"
            raise DataError(f"{self.folder}: expected the columns that `graphnoise report --csv` writes, got {got}")
        seen: dict[tuple[str, str], int] = {}
        for line in lines:
            where = f"{self.folder}, line {lines.line_num}"
            if len(line) != len(head):
                raise DataError(f"{where}: expected {len(head)} values, got {len(line)}")
            values = dict(zip(head, line, strict=True))
            grid: dict[str, Any] = {"grid": values["grid"]} if "grid" in values else {}
            record = grid | self.record(where, values)
            key = (record.get("grid", ""), cell_key(record["config"]))
            if (first := seen.setdefault(key, lines.line_num)) != lines.line_num:
                raise DataError(f"{where}: expected every cell once, got that of line {first} again")
            self._records.append(record)

    @abstractmethod
    def record(self, where: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Return {"config", "result"} of a line; `where` begins messages."""

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the cells, in the order of the lines."""
        return iter(self._records)

    def remarks(self) -> list[str]:
        """Return nothing: a table that can be read is whole."""
        return []


def read_value(where: str, values: Mapping[str, str], name: str, read: Callable[[str], Any]) -> Any:
    """Return the value of a column.

    Raises:
        DataError: `read` refuses it.
    """
    try:
        return read(values[name])
    except (ValueError, KeyError, TypeError, RecursionError, GraphnoiseError):
        raise DataError(f"{where}: expected a value of {name}, got {values[name][:80]!r}") from None
