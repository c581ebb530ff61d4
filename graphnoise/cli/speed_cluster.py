"""`graphnoise bench speed cluster`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from graphnoise.cli.console import Bar, names, out, program

RECORD = Path("runs/cluster-speed.json")


def bench_cluster(
    part: Annotated[str, typer.Option(help="walks, batch, locality, separated by commas.")] = "walks,batch,locality",
    scale: Annotated[float, typer.Option(help="Multiplies the sizes of the graphs.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Rounds of samples.")] = 7,
    threads: Annotated[int, typer.Option(help="Threads of the batch.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the graphs, the seed nodes and the order within rounds.")] = 0,
    record: Annotated[Path, typer.Option("--out", help="File of the records.")] = RECORD,
) -> None:
    """Measure local clustering: arcs a second beside other packages, many seeds at once, work as the graph grows."""
    done: list[dict[str, Any]] = []
    try:  # from the first import on, which takes seconds
        from graphnoise.bench.speed import cluster_report
        from graphnoise.bench.speed.cluster_run import Protocol, measure
        from graphnoise.bench.speed.gate import GateError

        protocol = Protocol(names("--part", part), scale, rounds, seed, threads)
        cluster_report.read(record)  # another file is refused before anything is measured

        def keep(found: dict[str, Any]) -> None:
            cluster_report.add(record, found)
            done.append(found)

        with Bar() as bar:
            try:
                measure(protocol, bar.say, keep)
            except GateError as error:
                bar.stop()
                print(f"graphnoise: failed: {error}", file=sys.stderr)
                print("graphnoise: error: 1 check failed, so nothing more was timed", file=sys.stderr)
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
        from graphnoise.bench.speed.cluster_report import render

        for part in render(records):
            out.print(part, soft_wrap=True)
