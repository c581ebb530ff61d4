"""`graphnoise bench speed`: operations beside their peers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli import speed_cluster, speed_recommend
from graphnoise.cli.console import Bar, Root, bad, err, integers, names, out, program, value

if TYPE_CHECKING:
    from graphnoise.bench.speed.cases import Case, Grid
    from graphnoise.bench.speed.run import Summary

speed = typer.Typer(
    help="Measure an operation beside its peers, after checking that all give the same result.", no_args_is_help=True
)
speed.command("cluster")(speed_cluster.bench_cluster)
speed.command("recommend")(speed_recommend.bench_recommend)
RECORD = Path("runs/speed.json")
ERASE = Path("runs/erase-speed.json")
WIDTH = 240


@speed.command("propagate")
def bench_propagate(
    suite: Annotated[
        str | None, typer.Option(help="quick or full. (default: quick, where no other option says what to measure)")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Sizes, separated by commas: cora, 1e5, arxiv, 1e7, or NODES:ARCS.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes of one more size (with --arcs).")] = None,
    arcs: Annotated[int | None, typer.Option(help="Arcs of one more size (with --nodes), an even number.")] = None,
    degrees: Annotated[str | None, typer.Option(help="uniform, power-law or both.")] = None,
    width: Annotated[str | None, typer.Option(help="Columns, separated by commas.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float64, bfloat16, separated by commas.")] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, separated by commas. (default: 1 and 2, as cores allow)")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a call. (default: 10)")] = None,
    weighted: Annotated[bool, typer.Option("--weighted", help="Arcs with weights.")] = False,
    unweighted: Annotated[
        bool, typer.Option("--unweighted", help="Arcs without weights; with --weighted, both.")
    ] = False,
    backward: Annotated[bool, typer.Option("--backward", help="Measure forward and gradient as well.")] = False,
    busy: Annotated[bool, typer.Option("--busy", help="Measure right after a torch operator as well.")] = False,
    tier: Annotated[
        str | None, typer.Option(help="Tiers, separated by commas. (default: the one that the data choose)")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peers: Annotated[str | None, typer.Option(help="Peers, separated by commas, or none. (default: all)")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of samples.")] = 9,
    seed: Annotated[int, typer.Option(help="Of graphs, values and the order within rounds.")] = 0,
    limit: Annotated[float, typer.Option(help="Seconds that one contender may take in a case.")] = 10.0,
    record: Annotated[Path, typer.Option("--out", help="File of the records.")] = RECORD,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is recorded.")] = False,
    plot: Annotated[
        str | None, typer.Option(help="Draw ratio against width into this file. (without value: beside the records)")
    ] = None,
) -> None:
    """Measure a step of `graphnoise.propagate` beside the same step in torch, SciPy and torch_geometric."""
    from graphnoise.bench.speed.run import Summary

    summary = Summary()
    try:  # from the first import on, which takes seconds
        from graphnoise.bench.speed.cases import Grid, cases, cores
        from graphnoise.bench.speed.peers import PEERS
        from graphnoise.bench.speed.records import Book
        from graphnoise.bench.speed.run import Protocol, measure

        target = _target(plot, record)
        own: dict[str, Any] = {"device": device}
        if size is not None or nodes is not None or arcs is not None:
            own["sizes"] = _sizes(size, nodes, arcs)
        for name, value in (("degrees", degrees), ("dtypes", dtype), ("tiers", tier)):
            if value is not None:
                own[name] = names({"dtypes": "--dtype", "tiers": "--tier"}.get(name, f"--{name}"), value)
        for name, value in (("widths", width), ("threads", threads)):
            if value is not None:
                own[name] = integers({"widths": "--width"}.get(name, f"--{name}"), value)
        if steps is not None:
            own["steps"] = steps
        for name, on in (("backward", backward), ("busy", busy)):
            if on:
                own[name] = [False, True]
        if weighted:
            own["weighted"] = [False, True] if unweighted else [True]
        elif unweighted:
            own["weighted"] = [False]
        Grid(**own)  # what is wrong with an option is said before a suite is
        grids = _grids(suite, own, sorted({1, min(2, cores())}))
        rows = cases(grids, calls=suite is not None or len(own) == 1)
        chosen = list(PEERS) if peers is None else [] if peers == "none" else names("--peers", peers)
        protocol = Protocol(chosen, rounds, seed, limit)
        book = Book(record)
        with Bar() as bar:
            measure(
                rows,
                protocol,
                book,
                again=again,
                on_case=lambda done, text, seconds: bar.show(done, len(rows), text, seconds, "cases"),
                say=bar.say,
                summary=summary,
            )
    except KeyboardInterrupt:
        _print(summary)
        kept = (
            f"what was recorded stays in {record}; to go on:" if record.is_file() else "nothing is recorded yet; again:"
        )
        print(f"graphnoise: interrupted; {kept}", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    _print(summary)
    _close(summary, rows, record, target)


@speed.command("erase")
def bench_erase(
    dataset: Annotated[str | None, typer.Option(help="A data set. (default: cora, where --nodes is not given)")] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes of a graph that is drawn (with --arcs).")] = None,
    arcs: Annotated[int | None, typer.Option(help="Its arcs (with --nodes), an even number.")] = None,
    features: Annotated[int, typer.Option(help="Its features.")] = 128,
    classes: Annotated[int, typer.Option(help="Its classes.")] = 7,
    preset: Annotated[
        str | None, typer.Option(help="Preset of ERASE. (default: faithful-DATASET, or faithful-cora)")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Nodes of a mini-batch, 0 for the full batch. (default: as the preset)")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="HYPER-PARAMETER=VALUE; may be repeated.")] = None,
    dense: Annotated[
        bool | None,
        typer.Option("--dense/--no-dense", help="Measure the dense form beside it. (default: where it can be)"),
    ] = None,
    growth: Annotated[
        bool, typer.Option("--growth", help="Measure 1, 10 and 100 times the nodes and arcs; widths of 64.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Rounds, each with one epoch of the dense form.")] = 3,
    threads: Annotated[int | None, typer.Option(help="Threads. (default: as many as there are cores)")] = None,
    seed: Annotated[int, typer.Option(help="Of the graph, the weights, dropout and mini-batches.")] = 0,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory as well.")] = True,
    record: Annotated[Path, typer.Option("--out", help="File of the records.")] = ERASE,
    root: Root = None,
) -> None:
    """Measure an epoch of ERASE beside its dense form, as the official algorithm has it: time, stages, memory."""
    done: list[dict[str, Any]] = []
    try:  # from the first import on, which takes seconds
        from graphnoise.bench.speed import erase_cases, erase_records, erase_run
        from graphnoise.bench.speed.gate import GateError

        chosen = _overrides(setting or [])
        if batch_size is not None:
            chosen["batch_size"] = None if batch_size == 0 else batch_size
        if growth:
            chosen = {"hidden": 64, "width": 64, **chosen}
        protocol = erase_run.Protocol(dense, rounds, memory)
        erase_records.read(record)  # another file is refused before anything is measured
        data = None
        if nodes is not None or arcs is not None or (growth and dataset is None):
            if dataset is not None:
                bad("--dataset", "a data set, or --nodes and --arcs", "both")
            sizes = _pair(nodes, arcs)
            first = erase_cases.synthetic(*sizes, features, classes, preset, chosen, threads, seed)
        else:
            first, data = erase_cases.of_dataset(dataset or "cora", preset, chosen, threads, seed, root)
        rows = erase_run.cases(first, growth)
        with Bar() as bar:
            bar.say("checking")
            try:
                gaps, remarks = erase_run.check(first, protocol)
            except GateError as error:
                bar.stop()
                print(f"graphnoise: failed: {error}", file=sys.stderr)
                print("graphnoise: error: 1 check failed, so nothing was timed", file=sys.stderr)
                raise typer.Exit(1) from None
            for row in rows:
                alone = protocol if row is rows[0] else erase_run.Protocol(False, rounds, memory)
                found = erase_run.measure(row, alone, gaps, data=data, root=root, say=bar.say)
                found["notes"] += remarks
                erase_records.add(record, found)
                done.append(found)
    except KeyboardInterrupt:
        _print_erase(done)
        kept = f"{len(done)} recorded in {record}" if done else "nothing is recorded yet"
        print(f"graphnoise: interrupted; {kept}; again:", file=sys.stderr)
        print(f"  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    _print_erase(done)
    worst = max(gaps.values())
    print(
        f"{len(done)} {'case' if len(done) == 1 else 'cases'} in {record} (checked: gap to the dense form {worst:.1g})"
    )


@speed.command("show")
def show(
    record: Annotated[Path, typer.Argument(help="File of the records.")] = RECORD,
    plot: Annotated[
        str | None, typer.Option(help="Draw ratio against width into this file. (without value: beside the records)")
    ] = None,
) -> None:
    """Print the tables of a file of records, and measure nothing."""
    from graphnoise.bench.speed.records import Book
    from graphnoise.bench.speed.run import Summary

    if not record.is_file():
        bad(
            "record",
            "a file of speed records",
            f"{str(record)!r}, which is {'no file' if record.exists() else 'not there'}",
        )
    from graphnoise.bench.speed import cluster_report, erase_records
    from recsys.bench.speed import report as recommend_report

    for kind, tables in (
        (erase_records.KIND, _print_erase),
        (cluster_report.KIND, speed_cluster.show),
        (recommend_report.KIND, speed_recommend.show),
    ):
        if kind.is_one(record):
            if plot is not None:
                bad("--plot", "a file of records that has a picture", f"{str(record)!r}, with {kind.words}")
            kept = kind.read(record)
            tables(kept)
            for place in dict.fromkeys(_place(entry["environment"]) for entry in kept):
                print(place)
            return
    target = _target(plot, record)
    records = Book(record).all()
    summary = Summary(records=[entry for entry in records if "skipped" not in entry])
    _print(summary)
    for place in dict.fromkeys(_place(entry["environment"]) for entry in records):
        print(place)
    if target is not None:
        _draw(summary, target)


def _print_erase(records: list[dict[str, Any]]) -> None:
    if records:
        from graphnoise.bench.speed.erase_report import render

        for part in render(records):
            out.print(part, soft_wrap=True)


def _overrides(entries: list[str]) -> dict[str, Any]:
    """Read hyper-parameters; one that is unknown or out of its range is refused with the preset."""
    from graphnoise.bench.methods.erase import settings

    found: dict[str, Any] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not name or not equals:
            bad("--set", "HYPER-PARAMETER=VALUE", repr(entry))
        found[name] = value(text)
    return settings(found)


def _pair(nodes: int | None, arcs: int | None) -> tuple[int, int]:
    """Return nodes and arcs as given together, or Cora's."""
    if nodes is None and arcs is None:
        return 2_708, 10_556
    if nodes is None or arcs is None:
        missing, other = ("--arcs", "--nodes") if arcs is None else ("--nodes", "--arcs")
        bad(missing, f"a number beside {other}", "none")
    return nodes, arcs


def _place(environment: dict[str, Any]) -> str:
    versions = environment["versions"]
    return (
        f"{environment['processor']}, {environment['cores']} cores, torch {versions['torch']}, "
        f"scipy {versions['scipy']}, commit {str(environment['commit'])[:12]}"
    )


def _sizes(size: str | None, nodes: int | None, arcs: int | None) -> list[tuple[int, int]]:
    from graphnoise.bench.speed.cases import SIZES
    from graphnoise.checks import choice

    found = []
    for word in names("--size", size) if size is not None else []:
        left, colon, right = word.partition(":")
        if colon and left.isdigit() and right.isdigit():
            found.append((int(left), int(right)))
        elif colon:
            bad("--size", "NODES:ARCS", repr(word))
        else:
            found.append(SIZES[choice("--size", word, SIZES)])
    if nodes is not None or arcs is not None:
        found.append(_pair(nodes, arcs))
    return found


def _grids(name: str | None, own: dict[str, Any], every: list[int]) -> list[Grid]:
    """Return the grids: of a suite, with the options that were given in place of its own; or of the options alone."""
    from dataclasses import replace

    from graphnoise.bench.speed.cases import Grid, suite

    if name is None and len(own) > 1:
        return [Grid(**{"threads": every, **own})]
    return [replace(grid, **own) for grid in suite(name or "quick")]


def _target(plot: str | None, record: Path) -> Path | None:
    if plot is None:
        return None
    from graphnoise.bench.plots import check

    target = Path(plot) if plot else record.with_suffix(".png")
    check(target)
    return target


def _print(summary: Summary) -> None:
    from graphnoise.bench.speed.report import render

    wide = out if out.width >= WIDTH else type(out)(highlight=False, markup=False, width=WIDTH)  # cut no column
    for part in render(summary.records):
        wide.print(part)


def _close(summary: Summary, rows: list[Case], record: Path, target: Path | None) -> None:
    for text in dict.fromkeys(summary.skipped):
        err.print(f"graphnoise: note: skipped: {text}", soft_wrap=True)
    done = len(summary.records)
    print(
        f"{done} of {len(rows)} cases in {record} "
        f"({summary.measured} measured, {summary.kept} recorded before; {summary.seconds:.0f} s)"
    )
    if target is not None and summary.records:
        _draw(summary, target)
    for text in summary.failures:
        print(f"graphnoise: failed: {text}", file=sys.stderr)
    if summary.failures:
        count = len(summary.failures)
        print(f"graphnoise: error: {count} {'check' if count == 1 else 'checks'} failed", file=sys.stderr)
        raise typer.Exit(1)
    if not done:
        print("graphnoise: error: nothing could be measured; the notes say why", file=sys.stderr)
        raise typer.Exit(1)


def _draw(summary: Summary, target: Path) -> None:
    from graphnoise.bench.speed.plots import draw

    out.print(f"wrote {draw(summary.records, target)}", soft_wrap=True)
