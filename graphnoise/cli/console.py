"""Consoles, parsing of options and the progress bar of all commands."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import re
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from graphnoise.errors import InputError


class _Console(Console):
    """A console whose tables and texts can be collected, for JSON."""

    collected: list[object] | None = None

    def on_broken_pipe(self) -> None:
        """Let `main` handle it: a reader of a pipe that closes it, as `head` does, is no error."""
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, or collect."""
        if self.collected is None:
            super().print(*objects, **options)
        else:
            self.collected += objects


# Tables keep their width where the output goes to a file.
out = _Console(highlight=False, markup=False, width=None if sys.stdout and sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, markup=False)
Root = Annotated[str | None, typer.Option(help="Folder of raw data sets.", envvar="GRAPHNOISE_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


def wide(piece: RenderableType) -> None:
    """Print a table so that no number in it is cut.

    Where no terminal sets the width, it is as wide as it has to be; in a narrow terminal it comes in parts.
    """
    if out.is_terminal and out.collected is None:
        for number, part in enumerate(_parts(piece) if isinstance(piece, Table) else (piece,)):
            out.print(*[""] * (number > 0), part, sep="\n")
        return
    width = out.width
    try:
        out.width = max(width, _size(piece).maximum)
        out.print(piece)
    finally:
        out.width = width


def _size(piece: RenderableType) -> Measurement:
    return Measurement.get(out, out.options.update(max_width=1 << 16), piece)


def _parts(table: Table) -> Iterator[Table]:
    """Yield a table, or parts of it that fit the terminal, each with the columns to the left, which are names."""
    left = max(1, sum(1 for _ in itertools.takewhile(lambda column: column.justify == "left", table.columns)))
    names, rest = table.columns[:left], table.columns[left:]
    while True:
        for count in range(len(rest), -1, -1):
            part = copy.copy(table)
            part.columns = [replace(column, _index=place) for place, column in enumerate(names + rest[:count])]
            if count < 2 or _size(part).minimum <= out.width:
                break
        yield part
        rest = rest[count:]
        if not rest:
            return


@contextlib.contextmanager
def tables_as_json() -> Iterator[None]:
    """Print the tables of a block as JSON: "tables", each with "title" and "rows", and "text", the lines after them.

    The title is what is printed between the table before and this one. A cell is the text of the table, or a number if
    all of the text is one. Other output of the block goes to standard error.
    """
    pieces: list[object] = []
    out.collected = pieces
    done = False
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        done = True
    finally:
        out.collected = None
        # After an error or Ctrl-C, what would have been printed before it.
        if done or pieces:
            print(json.dumps(_as_json(pieces), indent=2))


def _as_json(pieces: list[object]) -> dict[str, Any]:
    tables: list[dict[str, Any]] = []
    lines: list[str] = []
    for piece in pieces:
        if isinstance(piece, Table):
            title = "\n".join(filter(None, [*lines, _text(piece.title)]))
            tables.append({"title": title, "rows": _rows(piece)})
            lines = []
        else:
            lines.append(_text(piece))
    return {"tables": tables, "text": "\n".join(filter(None, lines))}


def _rows(table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table by header; a header that repeats is numbered."""
    columns: dict[str, list[Any]] = {}
    for column in table.columns:
        header, number = _text(column.header), 2
        name = header
        while name in columns:
            name, number = f"{header} ({number})", number + 1
        columns[name] = [_value(_text(cell)) for cell in column.cells]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _text(piece: object) -> str:
    if piece is None or isinstance(piece, str | Text):
        return str(piece or "").strip()
    with err.capture() as capture:
        err.print(piece)
    return capture.get().strip()


def _value(text: str) -> str | float | None:
    # Names such as 007, 1_000 and 12e3 are no numbers.
    if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[-+][0-9]+)?", text):
        return text or None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number = kind(text)
            return number if math.isfinite(number) else text
    return text


def bad(name: str, expected: str, got: object) -> NoReturn:
    """Raise `InputError` for the value of an option."""
    raise InputError(f"{name}: expected {expected}, got {got}")


def program() -> str:
    """Return how this command was called, in a form that can be typed again."""
    name = sys.argv[0]
    if Path(name).name != "graphnoise":
        return f"{shlex.quote(sys.executable)} -m graphnoise.cli"
    installed = shutil.which("graphnoise")
    return "graphnoise" if installed and Path(installed).samefile(name) else shlex.quote(name)


def tell(line: str) -> None:
    """Print a line on standard error, which may be gone: the terminal has closed."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


class Bar:
    """A progress bar with the time that remains, on standard error; it goes when it ends.

    Where standard error is no terminal or a dumb one, a line comes every ten seconds instead.
    """

    INTERVAL = 10.0

    def __init__(self, text: str = "preparing", *, lines_only: bool = False) -> None:
        from rich import progress as p

        times = (p.TimeElapsedColumn(), p.TimeRemainingColumn(compact=True))
        columns = (p.TextColumn("{task.description}", markup=False), p.BarColumn(), p.MofNCompleteColumn(), *times)
        # A dumb terminal cannot redraw a line.
        self._drawn = err.is_terminal and not err.is_dumb_terminal
        self._bar = p.Progress(*columns, console=err, transient=True, disable=lines_only or not self._drawn)
        self._task = self._bar.add_task(text, total=None)
        self._tenths = 0
        self._line, self._end, self._began = text, threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._lines, daemon=True)

    def _lines(self) -> None:
        while not self._end.wait(self.INTERVAL):
            tell(f"{self._line}, {time.monotonic() - self._began:.0f} s")

    def __enter__(self) -> Bar:
        self._bar.start()
        if not self._drawn:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._bar.stop()

    def show(self, done: int, total: int, text: str, what: str = "cells") -> None:
        """Show the progress: counts, and the cell that ended last."""
        self._bar.update(self._task, total=total, completed=done, description=text)
        self._line = f"{done} of {total} {what}"
        # A log file gets a line for each tenth as well.
        if not self._drawn and 10 * done // total > self._tenths:
            self._tenths = 10 * done // total
            tell(f"{self._line}, {time.monotonic() - self._began:.0f} s")

    def note(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        self._bar.console.print(f"graphnoise: {line}", soft_wrap=True)

    def say(self, text: str) -> None:
        """Show what runs now."""
        self._bar.update(self._task, description=text)
        self._line = text
