"""`graphnoise bench`: run a benchmark into a folder or a file; the same command goes on where it stopped."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Bar, Root, bad, names, numbers, program
from .speed import speed

if TYPE_CHECKING:
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
        found.setdefault(owner, {})[key] = _value(text)
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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
    try:  # from the first import on, which takes seconds
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
        workers = jobs if jobs is not None else len(os.sched_getaffinity(0))
        with Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=workers, on_done=lambda progress: _show(bar, progress))
    except KeyboardInterrupt:
        print(f"graphnoise: interrupted; what was recorded stays in {folder}; to go on:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    _close(summary, folder)


def _show(bar: Bar, progress: Progress) -> None:
    config = progress.config
    text = f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"
    bar.show(progress.finished, progress.total, text, progress.seconds)


def _close(summary: Summary, folder: Path) -> None:
    for remark in summary.remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    recorded = summary.total - len(summary.failed)
    parts = [f"{summary.done} run", f"{summary.skipped} recorded before"]
    parts += [f"{summary.elsewhere} by other commands"] if summary.elsewhere else []
    print(f"{recorded} of {summary.total} cells in {folder} ({', '.join(parts)}; {summary.seconds:.0f} s)")
    if summary.failed:
        kinds = {failure.message: failure for failure in summary.failed}
        for failure in list(kinds.values())[:5]:
            c = failure.config
            where = f"{c['dataset']} {c['method']} {c['noise']['kind']} {c['noise']['rate']:g}"
            print(f"graphnoise: failed: {where}: {failure.message}", file=sys.stderr)
        more = "the same command tries them again"
        print(f"graphnoise: error: {len(summary.failed)} cells failed; {more}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"to read them: {program()} report {shlex.quote(str(folder))} --plot")
