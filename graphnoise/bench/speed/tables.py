"""Parts of the tables of all operations, and a picture of the ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.report import columns
from graphnoise.checks import fail
from graphnoise.io import atomic_write

Entry = Mapping[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> Table:
    """Return a table; so many columns are aligned to the left."""
    shown = columns(head[0], head[1:], left=left)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
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


def duration(seconds: Entry, factor: float = 1.0) -> Text:
    """Return median and quartiles in a unit that fits."""
    scales = (("s", 1), ("ms", 1e3), ("µs", 1e6))
    unit, scale = next(pair for pair in scales if seconds["median"] * factor * pair[1] >= 1 or pair[0] == "µs")
    return quartiles(seconds, unit, factor * scale)


def size(count: float) -> str:
    """Return bytes in a unit that fits.

    Example:
        >>> size(86_237_184), size(3.2e9)
        ('86 MB', '3.20 GB')
    """
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


def draw(records: Sequence[Entry], path: Path) -> None:
    """Draw the ratios of all runs with their quartiles, a row per case."""
    from matplotlib.figure import Figure

    names = dict.fromkeys(name for record in records for name, entry in record["times"].items() if "ratio" in entry)
    if not names:
        fail("--plot", "a measured case with a ratio to draw", "none")
    figure = Figure(figsize=(9, 1.5 + 0.4 * len(records)), layout="constrained")
    panel = figure.subplots()
    for name in names:
        rows = [row for row, record in enumerate(records) if "ratio" in record["times"].get(name, {})]
        spans = [[records[row]["times"][name]["ratio"][part] for part in ("low", "median", "high")] for row in rows]
        low, median, high = np.array(spans).T
        panel.errorbar(median, rows, xerr=(median - low, high - median), fmt="o", capsize=2, linewidth=1, label=name)
    shown = [key for key in records[0]["case"] if len({str(record["case"].get(key)) for record in records}) > 1]
    labels = [", ".join(f"{key} {record['case'].get(key)}" for key in shown) for record in records]
    panel.set_yticks(range(len(records)), labels, fontsize=7)
    panel.set(xscale="log", xlabel="time over the reference, within each round")
    panel.axvline(1, color="black", linewidth=0.8)
    panel.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
