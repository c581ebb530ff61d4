"""Consoles, parsing of options and the progress bar of all commands."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement

from graphnoise.errors import InputError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let `main` handle it: a reader of a pipe that closes it, as `head` does, is no error."""
        raise BrokenPipeError


# Tables keep their width where the output goes to a file.
out = _Console(highlight=False, markup=False, width=None if sys.stdout and sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, markup=False)
Root = Annotated[str | None, typer.Option(help="Folder of raw data sets.", envvar="GRAPHNOISE_DATA")]


def wide(piece: RenderableType) -> None:
    """Print a table; where no terminal sets the width, as wide as it has to be, so that nothing in it is cut."""
    if out.is_terminal:
        out.print(piece)
        return
    width = out.width
    try:
        out.width = max(width, Measurement.get(out, out.options.update(max_width=1 << 16), piece).maximum)
        out.print(piece)
    finally:
        out.width = width


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


class Bar:
    """A progress bar with the time that remains, on standard error; it goes when it ends."""

    def __init__(self) -> None:
        from rich import progress as p

        times = (p.TimeElapsedColumn(), p.TimeRemainingColumn(compact=True))
        columns = (p.TextColumn("{task.description}", markup=False), p.BarColumn(), p.MofNCompleteColumn(), *times)
        self._bar = p.Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task = self._bar.add_task("preparing", total=None)
        self._tenths = 0

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int, text: str, seconds: float, what: str = "cells") -> None:
        """Show the progress: counts, the cell that ended last, seconds since the start."""
        self._bar.update(self._task, total=total, completed=done, description=text)
        tenth = 10 * done // total
        # A log file gets a line for each tenth.
        if not err.is_terminal and tenth > self._tenths:
            self._tenths = tenth
            err.print(f"{done} of {total} {what}, {seconds:.0f} s")

    def say(self, text: str) -> None:
        """Show what runs now."""
        self._bar.update(self._task, description=text)
