"""`graphnoise bench`: run a benchmark into a folder or a file; the same command goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.clusters import cluster
from graphnoise.cli.console import Bar, Root, bad, names, numbers, out, value
from graphnoise.cli.recommend import recommend
from graphnoise.cli.running import Folder, Jobs, close, resumable, show, workers
from graphnoise.cli.speed import speed

if TYPE_CHECKING:
    from graphnoise.bench.tasks import Suite

bench = typer.Typer(help="Run a benchmark; the same command goes on where it stopped.", no_args_is_help=True)
bench.add_typer(speed, name="speed")
bench.command("cluster")(cluster)
bench.command("recommend")(recommend)


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
    erase_stream: Annotated[
        bool, typer.Option("--erase-stream", help="The noise stream of ERASE's code (with --select clean).")
    ] = False,
    split_seed: Annotated[int, typer.Option(help="Seed of the split where there is no public one.")] = 0,
    setting: Annotated[list[str] | None, typer.Option("--set", help="METHOD.PARAMETER=VALUE; may be repeated.")] = None,
    jobs: Jobs = None,
    folder: Folder = Path("runs"),
    root: Root = None,
) -> None:
    """Measure methods for node classification as labels go wrong."""
    with resumable(folder):  # from the first import on, which takes seconds
        from graphnoise.bench.nodes import Grid, run
        from graphnoise.bench.runner import Store

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
            erase_stream=erase_stream,
            split_seed=split_seed,
            root=root,
            overrides=_settings(setting or []),
        )
        with Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=workers(jobs), on_done=show(bar, _cell))
    close(summary, folder, _cell)


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
    with resumable(folder):  # from the first import on, which takes seconds
        from graphnoise.bench.runner import Store
        from graphnoise.bench.tasks import run_suite
        from graphnoise.cli.tasks import read_suite

        suite = read_suite(file, root)
        if only is not None:
            suite = suite.only(names("--only", only))
        if list_only:
            _list(suite, folder)
            return
        count = workers(jobs)
        with Bar() as bar:
            _ = suite.cells  # a suite that is refused leaves no folder behind
            summary = run_suite(suite, Store(folder), jobs=count, on_done=show(bar, suite.name))
    close(summary, folder, suite.name, file)


def _list(suite: Suite, folder: Path) -> None:
    from rich.table import Table

    from graphnoise.bench.runner import Store, cell_key

    store = Store(folder) if folder.exists() else None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("grid", "data sets", "rows"):
        table.add_column(column, no_wrap=column == "grid")
    for column in (suite.draws, "cells", "recorded"):
        table.add_column(column, justify="right", no_wrap=True)
    keys, recorded = dict[str, None](), set[str]()
    for name, cells in suite.cells.items():
        own = dict.fromkeys(map(cell_key, cells))
        there = {key for key in own if store is not None and store.read(key) is not None}
        datasets, rows, draws = suite.about(name)
        table.add_row(name, "; ".join(datasets), "; ".join(rows), f"{draws:,}", f"{len(own):,}", f"{len(there):,}")
        keys |= own
        recorded |= there
    out.print(suite.title, style="bold")
    out.print(table)
    print(f"{len(recorded):,} of {len(keys):,} cells in {folder} (a cell of several grids counts once)")


def _cell(config: Mapping[str, Any]) -> str:
    return f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"
