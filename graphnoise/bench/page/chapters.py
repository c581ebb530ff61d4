"""Chapters of the page: a source of cells, an audit, or a file of speed records, with where and when it ran."""

from __future__ import annotations

import io
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console, RenderableType

from graphnoise.bench.page.audits import AuditPart, read_audit
from graphnoise.bench.page.figure import Figure
from graphnoise.bench.page.speeds import speed_figures
from graphnoise.bench.record import get
from graphnoise.bench.report import Section
from graphnoise.bench.speed.operation import read, reading_records
from graphnoise.bench.speed.tables import place
from graphnoise.bench.store import FORMAT
from graphnoise.bench.task import Task

# Characters of a line of tables, and grids that a heading names.
WIDTH, MAX_GRIDS = 400, 3
TITLES = {
    "nodes": "Node classification",
    "cluster": "Local clustering",
    "detect": "Detection of wrong labels",
    "recommend": "Recommendation",
}


@dataclass(frozen=True)
class Chapter:
    """A part of the page: a heading, facts by name, figures, tables as text, and an audit's suspects.

    Attributes:
        title: Its heading.
        facts: What was run, where and when, by name.
        figures: Its figures.
        tables: The tables that `graphnoise report` prints, as text.
        audit: Suspects and classes of an audit.
        cells: All cells as CSV, where they are asked for.
    """

    title: str
    facts: Mapping[str, str]
    figures: Sequence[Figure] = ()
    tables: str = ""
    audit: AuditPart | None = None
    cells: str = field(default="", repr=False)


def as_text(pieces: Sequence[RenderableType]) -> str:
    """Return tables as text."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, highlight=False, markup=False, no_color=True)
    for piece in pieces:
        console.print(piece)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip("\n")


def cells_chapter(
    source: Path,
    task: Task[Any],
    sections: Sequence[Section],
    records: Sequence[Mapping[str, Any]],
    pieces: Sequence[RenderableType],
) -> Chapter:
    """Return the chapter of the cells of a task in a source, with the sections and tables that were made of them."""
    configs = [record["config"] for record in records]
    processors, commits = (_values(records, f"result.run.{name}") for name in ("processor", "commit"))
    seconds = sum(float(get(record, "result.run.seconds") or 0) for record in records)
    facts = {
        "cells": f"{len(records):,} of `graphnoise bench {task.name}`",
        "data sets": _list(dict.fromkeys(str(config["dataset"]) for config in configs)),
        "methods": _list(dict.fromkeys(str(record.get("row") or record["config"]["method"]) for record in records)),
        "processor": _list(processors),
        "commit": _list(value[:12] + "+" * value.endswith("+") for value in commits),
        "time of all cells": _duration(seconds),
        **_written(source),
        "report": shlex.join(["graphnoise", "report", str(source), "--task", task.name]),
    }
    figures = [
        (grid, figure)
        for grid in dict.fromkeys(section.grid for section in sections)
        for figure in task.page_figures(
            [section for section in sections if section.grid == grid],
            [record for record in records if record.get("grid", "") == grid],
        )
    ]
    heading = f"{TITLES.get(task.name, task.name.capitalize())}: {source.name}"
    return Chapter(heading, facts, list(_together(figures)), as_text(pieces))


def _together(figures: Sequence[tuple[str, Figure]]) -> Iterator[Figure]:
    """Yield figures of grids, those of the same kind together as far as grids have no panel in common."""
    alike: dict[tuple[Any, ...], list[tuple[str, Figure]]] = defaultdict(list)
    for grid, figure in figures:
        alike[figure.title, figure.kind, figure.note, tuple(figure.panel), tuple(figure.frame)].append((grid, figure))
    made: list[tuple[list[str], Figure]] = []
    for group in alike.values():
        parts: list[tuple[list[str], list[Figure], set[Any]]] = []
        for grid, figure in group:
            keys = set(figure.frame[list(figure.panel)].itertuples(index=False))
            # Without panels there is one key, so that every grid has a figure of its own.
            for grids, beside, taken in parts:
                if not taken & keys:
                    grids.append(grid)
                    beside.append(figure)
                    taken |= keys
                    break
            else:
                parts.append(([grid], [figure], keys))
        for grids, beside, _ in parts:
            frame = pandas.concat([figure.frame for figure in beside], ignore_index=True)
            commands = dict.fromkeys(figure.command for figure in beside)
            made.append((grids, replace(beside[0], frame=frame, command="\n".join(commands))))
    titles = Counter(figure.title for _, figure in made)
    for grids, figure in made:
        named = titles[figure.title] > 1 and any(grids)
        yield replace(figure, title=f"{_list(grids, MAX_GRIDS)}: {figure.title}") if named else figure


def audit_chapter(folder: Path) -> Chapter:
    """Return the chapter of an audit. Raises `DataError` where a file is absent or damaged."""
    part = read_audit(folder)
    about, here = part.about, part.about.get("environment", {})
    facts = {str(place): str(line) for place, line in enumerate(about.get("summary", ()), 1)}
    facts |= {
        "processor": str(here.get("processor") or ""),
        "commit": str(here.get("commit") or "")[:12],
        "recorded": str(about.get("recorded", "")),
        "command": str(about.get("command", "")),
    }
    return Chapter(f"Audit of labels: {about.get('name') or folder.name}", facts, part.figures, audit=part)


def speed_chapter(path: Path) -> Chapter:
    """Return the chapter of a file of speed records. Raises `DataError` where it is damaged."""
    operation, every = read(path)
    records = [record for record in every if "skipped" not in record]
    days = sorted(str(record.get("recorded", ""))[:10] for record in records)
    facts = {
        "cases": f"{len(records):,}",
        "machines": "; ".join(dict.fromkeys(map(place, records))),
        "recorded": _range(days),
    }
    pieces = list(operation.tables(records)) if records else []
    with reading_records(path, "one"):
        figures = list(speed_figures(path, operation, records))
    return Chapter(f"Speed: {path.name}", facts, figures, as_text(pieces))


def _values(records: Sequence[Mapping[str, Any]], path: str) -> list[str]:
    return sorted({str(value) for record in records if (value := get(record, path))})


def _list(values: Any, most: int = 12) -> str:
    names = list(dict.fromkeys(values))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _range(days: Sequence[str]) -> str:
    known = [day for day in days if day]
    return "" if not known else known[0] if known[0] == known[-1] else f"{known[0]} to {known[-1]}"


def _written(source: Path) -> dict[str, str]:
    """Return when the files of the cells of a folder were written."""
    files = [*source.glob(f"*.v{FORMAT}.json")] if source.is_dir() else []
    days = sorted(datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat() for file in files)
    return {"files written": _range(days)} if days else {}


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"


def code_parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, and whether each stood between backquotes.

    Example:
        >>> list(code_parts("3 of `graphnoise bench`"))
        [('3 of ', False), ('graphnoise bench', True)]
    """
    for number, part in enumerate(text.split("`")):
        if part:
            yield part, bool(number % 2)
