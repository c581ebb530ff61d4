"""`graphnoise bench speed OPERATION`: time an operation beside its baselines, and print its records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.command import TableCommand, command, group, resumable
from graphnoise.cli.console import Bar, Root, bad, err, out, wide

if TYPE_CHECKING:
    from graphnoise.bench.speed.harness import Record
    from graphnoise.bench.speed.operation import Operation


def _operations() -> list[str]:
    from graphnoise.bench.speed.operation import operations

    return operations()


def _command(name: str) -> Any:
    """Return the command of an operation."""
    from graphnoise.bench.speed.operation import Session, load_operation
    from graphnoise.io import check_writable

    operation = load_operation(name)

    def run(values: dict[str, Any], out: Path, again: bool, root: str | None) -> None:
        check_writable(out, "; choose another file with --out")
        session = Session(operation, operation.options(**values, root=root), out, again)
        with resumable(out):
            try:
                with Bar() as bar:
                    session.run(bar.say, bar.show)
            finally:
                _print(operation, session.records)
        for text in dict.fromkeys(session.skipped):
            err.print(f"graphnoise: note: skipped: {text}", soft_wrap=True)
        done, measured = len(session.records), session.measured
        print(f"{done} cases in {out} ({measured} measured, {done - measured} recorded before)")
        for text in session.failures:
            print(f"graphnoise: failed: {text}", file=sys.stderr)
        if session.failures:
            bad("results", "those of the reference", f"{len(session.failures)} others, which were not timed")
        if not done:
            bad("cases", "one that can be measured", "none; the notes say why")

    file = Annotated[Path, typer.Option(help="File of the records.")], Path(f"runs/{name}-speed.json")
    again = Annotated[bool, typer.Option("--again", help="Measure again what is recorded.")], False
    return command(name, operation.help, operation.options, run, TableCommand, out=file, again=again, root=(Root, None))


speed = typer.Typer(
    cls=group(_operations, _command),
    help="Time an operation beside its baselines, after checking that all give the same result.",
    no_args_is_help=True,
)


@speed.command("show", cls=TableCommand)
def show(record: Annotated[Path, typer.Argument(help="File of the records.")]) -> None:
    """Print the tables of a file of records, and measure nothing."""
    from graphnoise.bench.speed.operation import read
    from graphnoise.bench.speed.tables import place

    operation, records = read(record)
    _print(operation, [entry for entry in records if "skipped" not in entry])
    out.print("\n".join(dict.fromkeys(map(place, records))), soft_wrap=True)


def _print(operation: Operation, records: list[Record]) -> None:
    for part in operation.tables(records) if records else ():
        wide(part)
