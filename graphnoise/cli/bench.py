"""`graphnoise bench`: run a benchmark into a folder or a file; the same command goes on where it stopped."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from graphnoise.cli.command import TableCommand, command, group, resumable
from graphnoise.cli.console import Bar, Root, out, program
from graphnoise.cli.speed import speed

if TYPE_CHECKING:
    from graphnoise.bench.suite import Suite
    from graphnoise.bench.task import Task

Jobs = Annotated[int | None, typer.Option(help="Processes, one thread each. (default: number of cores)")]
Executor = Annotated[
    str, typer.Option(help="Where cells run: local, dask://HOST:PORT or slurm[:OPTION=VALUE,…] (docs/benchmark.md).")
]
Folder = Annotated[Path, typer.Option("--out", help="Folder of the results.")]


class _TaskCommand(TyperCommand):
    """The command of a task, of which the options are known once the task is loaded, which takes seconds."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        with resumable():
            return _command(str(self.name)).make_context(info_name, args, parent, **extra)


def _tasks() -> list[str]:
    return list(dict.fromkeys(point.name for point in entry_points(group="graphnoise.tasks")))


def _task(name: str) -> TyperCommand:
    return _TaskCommand(name, help=f"Run the benchmark {name!r} (--help: its options).")


bench = typer.Typer(
    cls=group(_tasks, _task), help="Run a benchmark; the same command goes on where it stopped.", no_args_is_help=True
)
bench.add_typer(speed, name="speed")


def _command(name: str) -> Any:
    """Return the command of a task, with an option for each field of its grid."""
    from graphnoise.bench import registry

    task = registry.task(name)

    def run(values: dict[str, Any], jobs: int | None, executor: str, folder: Path, root: str | None) -> None:
        with resumable(folder):
            grid = task.Grid(**values)
            _run(task, lambda: task.cells(grid, root), task.describe, folder, jobs, executor, root)

    others = {"jobs": (Jobs, None), "executor": (Executor, "local"), "folder": (Folder, Path("runs"))}
    return command(name, task.help, task.Grid, run, **others, root=(Root, None))


@bench.command("suite", cls=TableCommand)
def bench_suite(
    file: Annotated[Path, typer.Argument(help="TOML file with the grids.")],
    folder: Folder = Path("runs"),
    only: Annotated[str | None, typer.Option(help="Names of grids, separated by commas. (default: all)")] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Print the grids and what is recorded; run nothing.")
    ] = False,
    jobs: Jobs = None,
    executor: Executor = "local",
    root: Root = None,
) -> None:
    """Run the grids of a file, one after the other."""
    with resumable(folder):
        from graphnoise.bench.options import split
        from graphnoise.bench.suite import Suite

        suite = Suite.read(file, root)
        if only is not None:
            suite = suite.only(split("--only", only))
        if list_only:
            _list(suite, folder)
        else:
            _run(suite.task, suite.all_cells, suite.describe, folder, jobs, executor, root, file)


def _list(suite: Suite, folder: Path) -> None:
    from graphnoise.bench.report import plain_table
    from graphnoise.bench.runner import Store, cell_key

    store = Store(folder) if folder.exists() else None
    table = plain_table("grid", "data sets", "rows")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.overflow = "fold"
    for name in ("seeds", "cells", "recorded"):
        table.add_column(name, justify="right", no_wrap=True)
    keys, recorded = set[str](), set[str]()
    for name, cells in suite.cells.items():
        grid, index = suite.grids[name], suite.indexes[name]
        grid_keys = set(map(cell_key, cells))
        grid_recorded = {key for key in grid_keys if store is not None and store.read(key) is not None}
        counts = (f"{count:,}" for count in (grid.seeds, len(grid_keys), len(grid_recorded)))
        table.add_row(name, "; ".join(grid.datasets), "; ".join(index.labels), *counts)
        keys |= grid_keys
        recorded |= grid_recorded
    out.print(suite.title, style="bold")
    out.print(table)
    print(f"{len(recorded):,} of {len(keys):,} cells in {folder} (a cell of several grids counts once)")


def _run(
    task: Task[Any],
    make_cells: Callable[[], list[dict[str, Any]]],
    describe: Callable[[Mapping[str, Any]], str],
    folder: Path,
    jobs: int | None,
    executor: str,
    root: str | None,
    suite: Path | None = None,
) -> None:
    """Run cells, and print what was run, what failed and how to read it; exit with 1 if cells failed."""
    from graphnoise import checks
    from graphnoise.bench import executors
    from graphnoise.bench.runner import Store
    from graphnoise.io import check_writable

    if jobs is not None:
        checks.integer("jobs", jobs, 1)
    check_writable(folder / "cell")
    with Bar() as bar, executors.opened(executor) as engine:
        # Before the store: a grid that is refused leaves no folder behind.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            cells = make_cells()

        def show(config: Mapping[str, Any], finished: int, total: int) -> None:
            bar.show(finished, total, describe(config))

        calls = {"on_done": show, "on_wait": bar.note}
        summary = task.run_cells(cells, Store(folder), root=root, engine=engine, jobs=jobs, **calls)
    for remark in (*(str(each.message) for each in caught), *summary.remarks):
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
