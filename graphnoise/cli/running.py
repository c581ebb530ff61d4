"""What the commands share that run cells: how many processes, the bar, how to go on, what is said at the end."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.console import Bar, program

if TYPE_CHECKING:
    from graphnoise.bench.runner import Progress, Summary

Name = Callable[[Mapping[str, Any]], str]  # of a cell, from its configuration
Jobs = Annotated[int | None, typer.Option(help="Processes, one thread each. (default: number of cores)")]
Folder = Annotated[Path, typer.Option("--out", help="Folder of the results.")]


def workers(jobs: int | None) -> int:
    """Return the number of processes."""
    from graphnoise.checks import integer
    from graphnoise.resources import cpu_count

    return cpu_count() if jobs is None else integer("jobs", jobs, 1)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"graphnoise: interrupted; what was recorded stays in {folder}; to go on:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None


def show(bar: Bar, name: Name) -> Callable[[Progress], None]:
    """Return what moves the bar after each cell."""
    return lambda done: bar.show(done.finished, done.total, name(done.config), done.seconds)


def close(summary: Summary, folder: Path, name: Name, suite: Path | None = None) -> None:
    """Say what was run, what failed and how to read it; leave with 1 if cells failed."""
    for remark in summary.remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    recorded = summary.total - len(summary.failed)
    parts = [f"{summary.done} run", f"{summary.skipped} recorded before"]
    parts += [f"{summary.elsewhere} by other commands"] if summary.elsewhere else []
    print(f"{recorded} of {summary.total} cells in {folder} ({', '.join(parts)}; {summary.seconds:.0f} s)")
    if summary.failed:
        kinds = {failure.message: failure for failure in summary.failed}
        for failure in list(kinds.values())[:5]:
            print(f"graphnoise: failed: {name(failure.config)}: {failure.message}", file=sys.stderr)
        more = "the same command tries them again"
        print(f"graphnoise: error: {len(summary.failed)} cells failed; {more}", file=sys.stderr)
        raise typer.Exit(1)
    chosen = "" if suite is None else f" --suite {shlex.quote(str(suite))}"
    print(f"to read them: {program()} report {shlex.quote(str(folder))}{chosen} --plot")
