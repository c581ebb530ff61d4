"""`graphnoise bench`: run a benchmark into a folder or a file; the same command goes on where it stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Bar, Root, bad, names, numbers, out, program, value
from .speed import speed

if TYPE_CHECKING:
    from ..bench.suite import Suite
    from ..experiment import Progress, Summary

bench = typer.Typer(help="Run a benchmark; the same command goes on where it stopped.", no_args_is_help=True)
bench.add_typer(speed, name="speed")


def _settings(entries: list[str]) -> dict[str, dict[str, Any]]:
    """Read `gcn.hidden=64` into {"gcn": {"hidden": 64}}."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        left, equals, text = entry.partition("=")
        owner, dot, key = left.partition(".")
        if not (equals and dot and owner and key):
            bad("--set", "METHOD.PARAMETER=VALUE", repr(entry))
        found.setdefault(owner, {})[key] = value(text)
    return found


@bench.command("nodes")
def bench_nodes(
    dataset: Annotated[str, typer.Option(help="Data sets, separated by commas.")] = "cora",
    method: Annotated[str, typer.Option(help="Methods, separated by commas.")] = "lp,sgc,gcn,gat,mlp",
    noise: Annotated[str, typer.Option(help="Kinds of noise, separated by commas.")] = "symmetric,pair,asymmetric",
    rate: Annotated[str, typer.Option(help="Flip rates, separated by commas.")] = "0,0.1,0.2,0.3,0.4,0.5",
    draws: Annotated[int, typer.Option(help="Noise draws.")] = 10,
    inits: Annotated[int, typer.Option(help="Initialisations of each draw.")] = 1,
    first_draw: Annotated[int, typer.Option(help="Seed of the first draw.")] = 0,
    select: Annotated[str, typer.Option(help="Validation labels that methods see: noisy or clean.")] = "noisy",
    exact: Annotated[bool, typer.Option("--exact", help="Exact counts of flips, not independent draws.")] = False,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="The noise stream of ERASE's code (with --select clean).")
    ] = False,
    split_seed: Annotated[int, typer.Option(help="Seed of the split where there is no public one.")] = 0,
    setting: Annotated[list[str] | None, typer.Option("--set", help="METHOD.PARAMETER=VALUE; may be repeated.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes, one thread each. (default: number of cores)")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("runs"),
    root: Root = None,
) -> None:
    """Measure methods for node classification as labels go wrong."""
    with _resumable(folder):  # from the first import on, which takes seconds
        from ..bench.nodes import Grid, run
        from ..experiment import Store

        grid = Grid(
            datasets=names("--dataset", dataset),
            methods=names("--method", method),
            noise=names("--noise", noise),
            rates=numbers("--rate", rate),
            draws=draws,
            inits=inits,
            first_draw=first_draw,
            select=select,
            exact=exact,
            legacy=legacy,
            split_seed=split_seed,
            root=root,
            overrides=_settings(setting or []),
        )
        with Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=_workers(jobs), on_done=_show(bar, _cell))
    _close(summary, folder)


@bench.command("suite")
def bench_suite(
    file: Annotated[Path, typer.Argument(help="TOML file with the grids.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("runs"),
    only: Annotated[str | None, typer.Option(help="Names of grids, separated by commas. (default: all)")] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the grids and what is recorded; run nothing.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes, one thread each. (default: number of cores)")] = None,
    root: Root = None,
) -> None:
    """Run the grids of a file, one after the other."""
    with _resumable(folder):  # from the first import on, which takes seconds
        from ..bench.suite import run
        from ..bench.suite_file import read
        from ..experiment import Store

        suite = read(file, root)
        if only is not None:
            suite = suite.only(names("--only", only))
        if show:
            _list(suite, folder)
            return
        workers = _workers(jobs)
        with Bar() as bar:
            _ = suite.cells  # a suite that is refused leaves no folder behind
            summary = run(suite, Store(folder), jobs=workers, on_done=_show(bar, suite.name))
    _close(summary, folder, suite.name, file)


def _list(suite: Suite, folder: Path) -> None:
    from rich.table import Table

    from ..experiment import Store, cell_key

    store = Store(folder) if folder.exists() else None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("grid", "data sets", "rows"):
        table.add_column(column, no_wrap=column == "grid")
    for column in ("draws", "cells", "recorded"):
        table.add_column(column, justify="right", no_wrap=True)
    keys, recorded = dict[str, None](), set[str]()
    for entry in suite.entries:
        own = dict.fromkeys(cell_key(cell) for cell in suite.cells[entry.name])
        there = {key for key in own if store is not None and store.read(key) is not None}
        labels = "; ".join(row.label for row in entry.rows)
        counts = (f"{entry.grid.draws:,}", f"{len(own):,}", f"{len(there):,}")
        table.add_row(entry.name, "; ".join(entry.grid.datasets), labels, *counts)
        keys |= own
        recorded |= there
    out.print(suite.title, style="bold")
    out.print(table)
    print(f"{len(recorded):,} of {len(keys):,} cells in {folder} (a cell of several grids counts once)")


def _workers(jobs: int | None) -> int:
    from .._check import integer

    return len(os.sched_getaffinity(0)) if jobs is None else integer("jobs", jobs, 1)


@contextlib.contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"graphnoise: interrupted; what was recorded stays in {folder}; to go on:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None


def _cell(config: Mapping[str, Any]) -> str:
    return f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"


Name = Callable[[Mapping[str, Any]], str]  # of a cell, from its configuration


def _show(bar: Bar, name: Name) -> Callable[[Progress], None]:
    return lambda done: bar.show(done.finished, done.total, name(done.config), done.seconds)


def _close(summary: Summary, folder: Path, name: Name = _cell, suite: Path | None = None) -> None:
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
