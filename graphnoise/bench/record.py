"""Recorded cells as flat CSV tables and back, by the columns of a task; sources of records."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.store import Store, cell_key
from graphnoise.bench.task import Task
from graphnoise.checks import DataError, GraphnoiseError, InputError

# Columns of what a suite selected.
NAMES = ("grid", "row")
# Characters of a value: values of single users of a large data set.
MAX_FIELD = 1 << 26
# Curves of training by epoch, which no column has.
CURVES = ("loss", "right", "wrong", "misled")
MAX_INTEGER = (1 << 63) - 1
# Damaged cells that a report names one by one.
MAX_REMARKS = 10
# What reading a wrong value raises.
WRONG = (ValueError, KeyError, TypeError, RecursionError, OverflowError, GraphnoiseError)


@dataclass
class Cells:
    """Cells in order, and notes of what is missing or left out."""

    folder: Path
    cells: Sequence[dict[str, Any]]
    notes: Sequence[str] = ()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield {"config", "result"}; what a suite selected has its "grid" and "row" as well."""
        return iter(self.cells)

    def remarks(self) -> list[str]:
        """Return what a user should know."""
        return list(self.notes)


Source = Store | Cells


@dataclass(frozen=True)
class Column:
    """A column of a CSV file.

    Attributes:
        name: Its header.
        path: Where in a record the value is, with dots: "config.noise.rate".
        read: Returns the value from a cell's text; raises ValueError, KeyError, TypeError or InputError otherwise.
        write: Returns the text of a value; by default JSON for mappings and lists, nothing for None, else str.
        each: Path of a list in the record of which every entry has the value at `path`; the cell is then a JSON list,
            and `read` gets each entry of it.
        default: The text where an older table lacks the column; None if it is required.
        required: Whether no cell lacks the value; so it is of every value of a configuration.
    """

    name: str
    path: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str] = field(default=lambda value: text(value))
    each: str = ""
    default: str | None = None
    required: bool = False

    def text(self, record: Mapping[str, Any]) -> str:
        """Return the value of a record as text."""
        if self.each:
            return json.dumps([get(entry, self.path) for entry in get(record, self.each)])
        return self.write(get(record, self.path))

    def put(self, record: dict[str, Any], cell: str) -> None:
        """Read a text into a record; of the columns with `each`, the first one sets the length of the list."""
        if not self.each:
            put(record, self.path, self.read(cell))
            return
        values = json.loads(cell)
        if not isinstance(values, list) or not values:
            checks.fail(self.name, "a list", cell)
        if (entries := get(record, self.each)) is None:
            put(record, self.each, entries := [{} for _ in values])
        for entry, value in zip(entries, values, strict=True):
            put(entry, self.path, self.read(value))


def text(value: Any) -> str:
    """Return a value as the text of a CSV cell."""
    if value is None:
        return ""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def get(record: Any, path: str) -> Any:
    """Return the value at a path; None where there is none."""
    for step in path.split("."):
        if record is None:
            return None
        record = record.get(step)
    return record


def put(record: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a path."""
    *steps, last = path.split(".")
    for step in steps:
        record = record.setdefault(step, {})
    record[last] = value


def number(text: str) -> int | float | None:
    """Read a finite number; an integer stays one, and nothing is None."""
    if not text:
        return None
    try:
        return checks.integer("value", int(text), -MAX_INTEGER, MAX_INTEGER)
    except InputError:
        raise
    except ValueError:
        return checks.real("value", float(text))


def share(text: str) -> int | float | None:
    """Read a number in [0, 1], or nothing."""
    value = number(text)
    return value if value is None or 0 <= value <= 1 else checks.fail("value", "a share in [0, 1]", text)


def count(text: str) -> int:
    """Read an integer of at least 0."""
    return checks.integer("value", int(text), 0, MAX_INTEGER)


def flag(text: str) -> bool:
    """Read True or False."""
    return {"True": True, "False": False}[text]


def mapping(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    value = json.loads(text)
    return value if isinstance(value, dict) else checks.fail("value", "an object", text)


# Columns of all tasks: what a cell cost, and where.
RUN = (
    Column("seconds", "result.run.seconds", number),
    Column("processor", "result.run.processor", str),
    Column("commit", "result.run.commit", str),
)


def to_csv(task: Task[Any], records: Sequence[Mapping[str, Any]]) -> str:
    """Return cells as CSV, a line per cell; what a suite selected has the columns `grid` and `row` first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for name in NAMES if any(name in record for record in records)]
    writer.writerow([*names, *(column.name for column in task.columns)])
    for record in records:
        writer.writerow([*(record.get(name, "") for name in names), *(c.text(record) for c in task.columns)])
    return out.getvalue()


def read_cells(task: Task[Any], where: str, cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the record in the texts of a line of a table, by column; `DataError` begins with where the line is."""
    record: dict[str, Any] = {name: cells[name] for name in NAMES if name in cells}
    record |= {"config": {"task": task.name, "protocol": task.protocol}, "result": {}}
    for column in task.columns:
        cell = cells.get(column.name, column.default or "")
        try:
            if not cell and (column.required or column.path.startswith("config.")):
                raise ValueError
            # Half a character of two cannot be written.
            cell.encode()
            column.put(record, cell)
        except WRONG:
            raise DataError(f"{where}: expected a value of {column.name}, got {cell[:80]!r}") from None
    try:
        task.complete(record)
        cell_key(record["config"])
        task.sections([record])
    except GraphnoiseError as error:
        raise DataError(f"{where}: {error}") from error
    return record


class Table(Cells):
    """The cells of a CSV file that `to_csv` wrote.

    The file's columns say of which task it is. The csv module reads it, not pandas: a line that is cut short has to be
    noticed, and messages have the line of the file even where a value spans several.
    """

    def __init__(self, path: Path) -> None:
        before = csv.field_size_limit(MAX_FIELD)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                super().__init__(path, list(self._read(path, csv.reader(file, strict=True))))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: expected a table of cells, which can be read ({error})") from error
        finally:
            csv.field_size_limit(before)

    def _read(self, path: Path, lines: Any) -> Iterator[dict[str, Any]]:
        head: list[str] = next(lines, [])
        task = self._task(path, head)
        seen: dict[tuple[str, str], int] = {}
        for line in lines:
            where = f"{path}, line {lines.line_num}"
            if len(line) != len(head):
                raise DataError(f"{where}: expected {len(head)} values, got {len(line)}")
            record = read_cells(task, where, dict(zip(head, line, strict=True)))
            key = (record.get("grid", ""), cell_key(record["config"]))
            if (first := seen.setdefault(key, lines.line_num)) != lines.line_num:
                raise DataError(f"{where}: expected every cell once, got that of line {first} again")
            yield record

    def _task(self, path: Path, head: Sequence[str]) -> Task[Any]:
        """Return the task that has all of these columns, or the nearest one."""
        tasks = map(registry.task, registry.names("tasks"))
        missing = {t: [c.name for c in t.columns if c.name not in head and c.default is None] for t in tasks}
        nearest = min(missing, key=lambda task: len(missing[task]))
        if missing[nearest] or len(set(head)) < len(head):
            got = f"none named {missing[nearest][0]!r}" if missing[nearest] else "one twice"
            raise DataError(f"{path}: expected the columns that `graphnoise report --csv` writes, got {got}")
        return nearest


def open_source(path: Path) -> Source:
    """Return the cells of a folder, or of a table that `graphnoise report --csv` wrote."""
    return Store(path) if path.is_dir() else Table(path)


def read_records(source: Source, remarks: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of a source by the schema of a table, the columns of their task; others get a remark.

    Records of a folder are written as lines of a table and read back, so both hold the same; entries of configurations
    that no column has, and the curves of training, are kept. A record of an unknown task, or of another protocol, is
    yielded as it is.
    """
    if not isinstance(source, Store):
        yield from source.records()
        return
    wrong: list[str] = []
    for record in source.records():
        config = record["config"]
        name = config.get("task") if isinstance(config, dict) else False
        task = registry.task(name) if isinstance(name, str) and name in registry.names("tasks") else None
        if isinstance(name, str | None) and (task is None or config.get("protocol") != task.protocol):
            yield record
            continue
        where = str(source.path(record["key"]))
        try:
            if task is None:
                raise DataError(f"{where}: expected the configuration of a benchmark, got {text(config)[:80]}")
            cells = {column.name: _cell(column, where, record) for column in task.columns}
            read = read_cells(task, where, cells)
            read["result"] |= _curves(where, record["result"].get("curves"))
            read["config"] = _merged(config, read["config"])
        except DataError as error:
            wrong.append(str(error))
            continue
        yield read
    shown, more = wrong[:MAX_REMARKS], len(wrong) - MAX_REMARKS
    remarks += [f"{line}; this cell is left out (remove the file to run it again)" for line in shown]
    remarks += [f"{source.folder}: {more:,} more cells are left out for such reasons"] if more > 0 else []


def _curves(where: str, curves: Any) -> dict[str, Any]:
    """Return the curves of training of a cell, where it has them."""
    if curves is None:
        return {}
    numbers = (int, float, type(None))
    rows = [curves.get(name) for name in CURVES] if isinstance(curves, dict) else [None]
    if not all(isinstance(row, list) and all(type(value) in numbers for value in row) for row in rows):
        raise DataError(f"{where}: expected lists of numbers as curves, got {text(curves)[:80]!r}")
    return {"curves": curves}


def _merged(old: Any, new: Any) -> Any:
    """Return two values as one: those of the second, and entries that only the first one has."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _cell(column: Column, where: str, record: Mapping[str, Any]) -> str:
    try:
        if not column.each and column.default is not None and get(record, column.path) is None:
            return column.default
        return column.text(record)
    except (*WRONG, AttributeError):
        raise DataError(f"{where}: expected a value of {column.name}, got none") from None


def by_task(source: Source, only: str | None = None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Return the cells of each task (or `only` of one) in a source, and what a user should know."""
    names = [name for name in registry.names("tasks") if only in (None, name)]
    cells: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    others, remarks = 0, source.remarks()
    for record in read_records(source, remarks):
        name = record["config"].get("task")
        if name in cells and record["config"].get("protocol") == registry.task(name).protocol:
            cells[name].append(record)
        else:
            others += only is None or name == only or name not in registry.names("tasks")
    if not any(cells.values()):
        commands = " or ".join(f"`graphnoise bench {name}`" for name in names)
        raise DataError("\n".join([f"{source.folder}: expected cells of {commands}, got none", *remarks]))
    if others:
        remarks.append(f"{source.folder}: {others:,} cells of another protocol are kept and left out")
    return {name: records for name, records in cells.items() if records}, remarks
