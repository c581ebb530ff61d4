"""`graphnoise bench speed OPERATION`: time an operation beside its baselines, and print its records."""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperGroup

from graphnoise.cli.console import Bar, bad, err, integers, names, program, wide

if TYPE_CHECKING:
    from graphnoise.bench.speed.operation import Operation, Record


class _Operations(TyperGroup):
    """A command per operation, imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the operations, and show."""
        from graphnoise.bench.speed.operation import operations

        return [*operations(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of an operation."""
        from graphnoise.bench.speed.operation import load_operation, operations

        return _command(load_operation(cmd_name)) if cmd_name in operations() else super().get_command(ctx, cmd_name)


speed = typer.Typer(
    cls=_Operations,
    help="Time an operation beside its baselines, after checking that all give the same result.",
    no_args_is_help=True,
)


def _command(operation: Operation) -> Any:
    """Return the command of an operation, with an option per field of its options."""
    hints, kinds = get_type_hints(operation.options), dict[str, Any]()
    for entry in fields(operation.options):
        default: Any = entry.default
        several, help = isinstance(default, tuple), entry.metadata["help"]
        if default is not None and "(default:" not in help:
            values = [{"True": "yes", "False": "no"}.get(str(v), v) for v in (default if several else (default,))]
            help = f"{help[:-1]}{', separated by commas' * several}. (default: {','.join(map(str, values))})"
        kind = str if several else (get_args(hints[entry.name]) or (hints[entry.name],))[0]
        kinds[entry.name] = Annotated[kind | None, typer.Option(help=help, envvar=entry.metadata.get("envvar"))]
    file = Path(f"runs/{operation.name}-speed.json")
    kinds["out"] = Annotated[Path | None, typer.Option(help=f"File of the records. (default: {file})")]
    kinds["again"] = Annotated[bool | None, typer.Option("--again", help="Measure again what is recorded.")]

    def call(out: Path | None, again: bool | None, **words: Any) -> None:
        values = {name: _parsed(name, word, hints[name]) for name, word in words.items() if word is not None}
        _measure(operation, values, out or file, bool(again))

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kinds[name]) for name in kinds]
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command(operation.name, help=operation.help)(call)
    return typer.main.get_command(app)


def _parsed(name: str, word: Any, hint: Any) -> Any:
    """Return the value of an option; several values are separated by commas."""
    from graphnoise.checks import choice

    option = f"--{name.replace('_', '-')}"
    if hint == tuple[int, ...]:
        return tuple(integers(option, word))
    if hint == tuple[bool, ...]:
        return tuple(choice(option, part, ("no", "yes")) == "yes" for part in names(option, word))
    return tuple(names(option, word)) if hint == tuple[str, ...] else word


def _measure(operation: Operation, values: dict[str, Any], path: Path, again: bool) -> None:
    from graphnoise.bench.speed.operation import RecordFile, Session

    session = Session(operation, operation.options(**values), RecordFile(path, operation), again)
    try:
        with Bar() as bar:
            session.run(bar.say, bar.show)
    except KeyboardInterrupt:
        _print(operation, session.records)
        kept = f"what was recorded stays in {path}; to go on:" if path.is_file() else "nothing is recorded yet; again:"
        print(f"graphnoise: interrupted; {kept}\n  {program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    _print(operation, session.records)
    for text in dict.fromkeys(session.skipped):
        err.print(f"graphnoise: note: skipped: {text}", soft_wrap=True)
    done, measured = len(session.records), session.measured
    print(f"{done} cases in {path} ({measured} measured, {done - measured} recorded before)")
    for text in session.failures:
        print(f"graphnoise: failed: {text}", file=sys.stderr)
    if session.failures:
        bad("results", "those of the reference", f"{len(session.failures)} others, which were not timed")
    if not done:
        bad("cases", "one that can be measured", "none; the notes say why")


@speed.command("show")
def show(
    record: Annotated[Path, typer.Argument(help="File of the records.")],
    plot: Annotated[
        str | None, typer.Option(help="Draw the ratios into this file. (without value: beside the records)")
    ] = None,
) -> None:
    """Print the tables of a file of records, and measure nothing."""
    from graphnoise.bench.plots import check
    from graphnoise.bench.speed import tables
    from graphnoise.bench.speed.operation import RecordFile

    if not record.is_file():
        bad("record", "a file of speed records", repr(str(record)))
    target = None if plot is None else Path(plot) if plot else record.with_suffix(".png")
    if target is not None:
        check(target)
    file = RecordFile(record)
    records = file.read()
    measured = [entry for entry in records if "skipped" not in entry]
    _print(file.operation, measured)
    print("\n".join(dict.fromkeys(map(tables.place, records))))
    if target is not None:
        tables.draw(measured, target)
        print(f"wrote {target}")


def _print(operation: Operation, records: list[Record]) -> None:
    for part in operation.tables(records) if records else ():
        wide(part)
