"""`graphnoise bench`: run a benchmark into a folder or a file; the same command goes on where it stopped."""

from __future__ import annotations

import contextlib
import inspect
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from graphnoise.cli.console import Bar, Root, names, numbers, out, program
from graphnoise.cli.speed import speed

if TYPE_CHECKING:
    from graphnoise.bench.runner import Progress, Summary
    from graphnoise.bench.suite import Suite

Describe = Callable[[Mapping[str, Any]], str]
Jobs = Annotated[int | None, typer.Option(help="Processes, one thread each. (default: number of cores)")]
Folder = Annotated[Path, typer.Option("--out", help="Folder of the results.")]


class _TaskCommand(TyperCommand):
    """The command of a task, of which the options are known once the task is loaded, which takes seconds."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        with _resumable():
            return _command(str(self.name)).make_context(info_name, args, parent, **extra)


class _Tasks(TyperGroup):
    """The commands of all installed tasks, and those that are written here."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_tasks(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _tasks():
            return _TaskCommand(cmd_name, help=f"Run the benchmark {cmd_name!r} (--help: its options).")
        return super().get_command(ctx, cmd_name)


def _tasks() -> list[str]:
    return list(dict.fromkeys(point.name for point in entry_points(group="graphnoise.tasks")))


bench = typer.Typer(
    cls=_Tasks, help="Run a benchmark; the same command goes on where it stopped.", no_args_is_help=True
)
bench.add_typer(speed, name="speed")


def _command(name: str) -> Any:
    """Return the command of a task, with an option for each field of its grid."""
    from graphnoise.bench import registry
    from graphnoise.bench.runner import Store

    task = registry.task(name)
    fields = task.Grid.model_fields

    def command(jobs: int | None, folder: Path, root: str | None, **options: Any) -> None:
        with _resumable(folder):
            values = {key: _read(key, fields[key], value) for key, value in options.items() if value is not None}
            grid, count = task.Grid(**values), _workers(jobs)
            with Bar() as bar:
                # Before the store: a grid that is refused leaves no folder behind.
                cells = task.cells(grid, root)
                on_done = _show(bar, task.describe)
                summary = task.run_cells(cells, Store(folder), root=root, jobs=count, on_done=on_done)
        _close(summary, folder, task.describe)

    parameters = [_parameter(key, field) for key, field in fields.items()]
    for key, kind, default in (("jobs", Jobs, None), ("folder", Folder, Path("runs")), ("root", Root, None)):
        parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command(name, help=task.help)(command)
    return typer.main.get_command(app)


def _option(key: str, field: Any) -> str:
    return str((field.json_schema_extra or {}).get("option", "--" + key.replace("_", "-")))


def _parameter(key: str, field: Any) -> inspect.Parameter:
    """Return a field of a grid as a parameter of the command; lists are texts separated by commas."""
    kind: Any = field.annotation
    default = field.default
    if isinstance(default, tuple):
        kind = str | None
        default = ",".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in default) or None
    annotation: Any = Annotated[kind, typer.Option(_option(key, field), help=field.description)]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _read(key: str, field: Any, value: Any) -> Any:
    """Return the value of an option as the grid takes it."""
    from graphnoise.bench.options import split

    if not isinstance(field.default, tuple):
        return value
    parse: Callable[[str, str], Any] = numbers if float in get_args(field.annotation) else split
    return parse(_option(key, field), value)


@bench.command("suite")
def bench_suite(
    file: Annotated[Path, typer.Argument(help="TOML file with the grids.")],
    folder: Folder = Path("runs"),
    only: Annotated[str | None, typer.Option(help="Names of grids, separated by commas. (default: all)")] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Print the grids and what is recorded; run nothing.")
    ] = False,
    jobs: Jobs = None,
    root: Root = None,
) -> None:
    """Run the grids of a file, one after the other."""
    with _resumable(folder):
        from graphnoise.bench.runner import Store
        from graphnoise.bench.suite import Suite

        suite = Suite.read(file, root)
        if only is not None:
            suite = suite.only(names("--only", only))
        if list_only:
            _list(suite, folder)
            return
        count = _workers(jobs)
        with Bar() as bar:
            # Before the store: a suite that is refused leaves no folder behind.
            _ = suite.cells
            summary = suite.run(Store(folder), jobs=count, on_done=_show(bar, suite.describe))
    _close(summary, folder, suite.describe, file)


def _list(suite: Suite, folder: Path) -> None:
    from rich.table import Table

    from graphnoise.bench.runner import Store, cell_key

    store = Store(folder) if folder.exists() else None
    table = Table("grid", "data sets", "rows", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.columns[0].no_wrap = True
    for column in ("seeds", "cells", "recorded"):
        table.add_column(column, justify="right", no_wrap=True)
    keys, recorded = set[str](), set[str]()
    for name, cells in suite.cells.items():
        grid, index = suite.grids[name], suite.indexes[name]
        own = set(map(cell_key, cells))
        there = {key for key in own if store is not None and store.read(key) is not None}
        counts = (f"{count:,}" for count in (grid.seeds, len(own), len(there)))
        table.add_row(name, "; ".join(grid.datasets), "; ".join(index.labels), *counts)
        keys |= own
        recorded |= there
    out.print(suite.title, style="bold")
    out.print(table)
    print(f"{len(recorded):,} of {len(keys):,} cells in {folder} (a cell of several grids counts once)")


def _workers(jobs: int | None) -> int:
    from graphnoise import checks, resources

    return resources.cpu_count() if jobs is None else checks.integer("jobs", jobs, 1)


@contextlib.contextmanager
def _resumable(folder: Path | None = None) -> Iterator[None]:
    """Print how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        recorded = "" if folder is None else f"; what was recorded stays in {folder}"
        print(f"graphnoise: interrupted{recorded}; to go on:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None


def _show(bar: Bar, describe: Describe) -> Callable[[Progress], None]:
    """Return what moves the bar after each cell."""
    return lambda done: bar.show(done.finished, done.total, describe(done.config), done.seconds)


def _close(summary: Summary, folder: Path, describe: Describe, suite: Path | None = None) -> None:
    """Print what was run, what failed and how to read it; exit with 1 if cells failed."""
    for remark in summary.remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    recorded = summary.total - len(summary.failed)
    elsewhere = f", {summary.elsewhere} by other commands" if summary.elsewhere else ""
    counts = f"{summary.done} run, {summary.skipped} recorded before{elsewhere}"
    print(f"{recorded} of {summary.total} cells in {folder} ({counts}; {summary.seconds:.0f} s)")
    if summary.failed:
        kinds = {failure.message: failure for failure in summary.failed}
        for failure in list(kinds.values())[:5]:
            print(f"graphnoise: failed: {describe(failure.config)}: {failure.message}", file=sys.stderr)
        more = "the same command tries them again"
        print(f"graphnoise: error: {len(summary.failed)} cells failed; {more}", file=sys.stderr)
        raise typer.Exit(1)
    chosen = "" if suite is None else f" --suite {shlex.quote(str(suite))}"
    print(f"to read them: {program()} report {shlex.quote(str(folder))}{chosen} --plot")
