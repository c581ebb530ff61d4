"""Parts of the tables of all operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.report import columns

Entry = Mapping[str, Any]
# What a cell of each column is, given its row.
Cells = Mapping[str, Callable[[Any], Any]]


def table(cells: Cells, rows: Sequence[Any], left: int = 1) -> Table:
    """Return a table; so many columns are aligned to the left."""
    first, *others = cells
    shown = columns(first, others, left=left)
    for row in rows:
        values = [cell(row) for cell in cells.values()]
        shown.add_row(*(value if isinstance(value, Text) else str(value) for value in values))
    return shown


def short(value: float) -> str:
    """Return about three digits."""
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def quartiles(entry: Entry | None, unit: str = "", factor: float = 1.0, form: Any = short) -> Text:
    """Return median and quartiles, or a dash."""
    if entry is None:
        return Text("–", style="dim")
    low, median, high = (form(entry[name] * factor) for name in ("low", "median", "high"))
    return Text.assemble(f"{median} {unit}{' ' * bool(unit)}", (f"{low}–{high}", "dim"))


def ratio(record: Entry, name: str) -> Text:
    """Return the ratio of a run to the reference, or a dash."""
    return quartiles(record["times"].get(name, {}).get("ratio"))


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit that fits a time, and how many there are in a second."""
    return ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)


def time(seconds: float) -> str:
    """Return a time in a unit that fits."""
    unit, factor = time_unit(seconds)
    return f"{short(seconds * factor)} {unit}"


def duration(record: Entry, name: str, factor: float = 1.0) -> Text:
    """Return the time of a run, median and quartiles, in a unit that fits."""
    seconds = record["times"][name]["seconds"]
    unit, scale = time_unit(seconds["median"] * factor)
    return quartiles(seconds, unit, factor * scale)


def size(count: float | None) -> str:
    """Return bytes in a unit that fits, or a dash.

    Example:
        >>> size(86_237_184), size(3.2e9)
        ('86 MB', '3.20 GB')
    """
    if count is None:
        return "–"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def plural(count: int, word: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def notes(records: Sequence[Entry]) -> Iterator[RenderableType]:
    """Yield where the machine was busy, and the notes of the records, each once."""
    total, counts = plural(len(records), "case"), dict[str, int]()
    busy = sum((record["load"] or 0) > record["environment"]["cores"] + 0.5 for record in records)
    if busy:
        yield Text(f"more ran than there are cores in {busy} of {total}: measure again", style="bold")
    for text in [f"{name}: {text}" for record in records for name, text in record["notes"].items()]:
        counts[text] = counts.get(text, 0) + 1
    for text, count in counts.items():
        yield Text(text + f" ({count} of {total})" * (len(records) > 1), style="dim")


def place(record: Entry) -> str:
    """Return machine, instruction set, versions and commit of a record."""
    here = record["environment"]
    machine = f"{here['processor']}, {plural(here['cores'], 'core')}, {here.get('instruction_set') or 'unknown'} code"
    versions = ", ".join(f"{name} {here['versions'][name]}" for name in ("torch", "scipy"))
    return f"{machine}, {versions}, commit {str(here['commit'])[:12]}"
