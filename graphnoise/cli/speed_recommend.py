"""`graphnoise bench speed recommend`; the other package is loaded inside the command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from graphnoise.cli.console import Bar, integers, names, out, program

RECORD = Path("runs/recommend-speed.json")


def bench_recommend(
    users: Annotated[int, typer.Option(help="Rows of the matrix.")] = 6_040,
    items: Annotated[int, typer.Option(help="Columns.")] = 3_706,
    interactions: Annotated[int, typer.Option(help="Known pairs.")] = 1_040_000,
    factors: Annotated[int, typer.Option(help="Length of the vectors.")] = 64,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, separated by commas. (default: 1 and 2, as cores allow)")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Runs, separated by semicolons. (default: all)")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds, each with an epoch of everybody.")] = 9,
    seeds: Annotated[int, typer.Option(help="Seeds of the check of quality; 0 leaves it out.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the matrix, of training and of the order within rounds.")] = 0,
    record: Annotated[Path, typer.Option("--out", help="File of the records.")] = RECORD,
) -> None:
    """Measure matrix factorisation beside `implicit`: samples a second at equal work, and samplers alone."""
    done: list[dict[str, Any]] = []
    try:  # from the first import on, which takes seconds
        from graphnoise.bench.speed.cases import cores
        from recsys.bench.speed import report
        from recsys.bench.speed.cases import RUNS, Case
        from recsys.bench.speed.gate import GateError
        from recsys.bench.speed.run import Protocol, measure

        counts = integers("--threads", threads) if threads is not None else sorted({1, min(2, cores())})
        chosen = tuple(RUNS) if run is None else tuple(names("--run", run.replace(",", "\0").replace(";", ",")))
        chosen = tuple(name.replace("\0", ",") for name in chosen)
        rows = [Case(users, items, interactions, factors, count, seed, chosen) for count in counts]
        protocol = Protocol(rounds, seeds)
        report.read(record)  # another file is refused before anything is measured

        def keep(found: dict[str, Any]) -> None:
            report.add(record, found)
            done.append(found)

        with Bar() as bar:
            try:
                measure(rows, protocol, bar.say, keep)
            except GateError as error:
                bar.stop()
                print(f"graphnoise: failed: {error}", file=sys.stderr)
                print("graphnoise: error: 1 check failed, so nothing was timed", file=sys.stderr)
                raise typer.Exit(1) from None
    except KeyboardInterrupt:
        show(done)
        kept = f"{len(done)} recorded in {record}" if done else "nothing is recorded yet"
        print(f"graphnoise: interrupted; {kept}; again:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    show(done)
    print(f"{len(done)} {'case' if len(done) == 1 else 'cases'} in {record}")


def show(records: list[dict[str, Any]]) -> None:
    """Print the tables."""
    if records:
        from recsys.bench.speed.report import render

        for part in render(records):
            out.print(part, soft_wrap=True)
