"""Commands whose options are the fields of a pydantic model."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from graphnoise.cli.console import Json, program, tables_as_json, tell
from graphnoise.errors import STOPS, InputError

if TYPE_CHECKING:
    from graphnoise.bench.grid import Model


class Reported(int):
    """An exit code whose reason is printed already."""


class Command(TyperCommand):
    """A command whose errors name an option as it is typed, where they name its parameter or its word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            from graphnoise.checks import renamed

            options: dict[str, str] = {}
            for parameter in self.params:
                option = parameter.opts[0]
                if str(ctx.get_parameter_source(str(parameter.name))).endswith("ENVIRONMENT"):
                    option = str(parameter.envvar)
                options |= dict.fromkeys((str(parameter.name), parameter.opts[0].strip("-").replace("-", "_")), option)
            raise InputError(renamed(str(error), options)) from error


_json_option = typer.Typer(add_completion=False)


@_json_option.command()
def _with_json(as_json: Json = False) -> None:
    """Have the option that `TableCommand` adds to commands."""


class TableCommand(Command):
    """A command that prints tables, with `--json` as JSON."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.append(typer.main.get_command(_json_option).params[0])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with tables_as_json() if ctx.params.pop("as_json") else contextlib.nullcontext():
            return super().invoke(ctx)


def group(names: Callable[[], list[str]], load: Callable[[str], Any]) -> type[TyperGroup]:
    """Return a group of commands by name, loaded when they are called, beside those that are written out."""

    class Group(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*names(), *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return load(cmd_name) if cmd_name in names() else super().get_command(ctx, cmd_name)

    return Group


def command(
    name: str,
    help: str,
    model: type[Model],
    run: Callable[..., None],
    cls: type[Command] = Command,
    /,
    **extra: tuple[Any, Any],
) -> Any:
    """Return a command with an option for each field of a model.

    Args:
        name: Its name.
        help: Its help.
        model: The model; fields with `exclude` have no option.
        run: Called with the values of the fields that are set, by name, and the other parameters.
        cls: Kind of command.
        extra: Type and default of the other parameters.
    """
    options = model.option_names()
    fields = {key: model.model_fields[key] for key in options}

    def call(**words: Any) -> None:
        others = {key: words.pop(key) for key in extra}
        values = {key: word for key, word in words.items() if word is not None}
        run({key: _read(options[key], fields[key], value) for key, value in values.items()}, **others)

    kinds = {key: _kind(options[key], field) for key, field in fields.items()} | extra
    call.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
         for key, (kind, default) in kinds.items()]
    )  # fmt: skip
    app = typer.Typer(add_completion=False)
    app.command(name, cls=cls, help=help)(call)
    return typer.main.get_command(app)


def _kind(option: str, field: Any) -> tuple[Any, Any]:
    """Return the type and the default of a field's parameter; lists are texts separated by commas."""
    from graphnoise.bench.grid import option_text

    kind, default, help = field.annotation, field.default, field.description
    if isinstance(default, tuple):
        help = help if "commas" in help else f"{help.rstrip('.')}, separated by commas."
        kind, default = str | None, ",".join(map(option_text, default)) or None
    return Annotated[kind, typer.Option(option, help=help)], default


def _read(option: str, field: Any, value: Any) -> Any:
    """Return the value of an option as the model takes it."""
    from graphnoise.bench import options

    if not isinstance(field.default, tuple):
        return value
    parts = options.split(option, value)
    if not {bool, int, float} & set(get_args(field.annotation)):
        return parts
    return [{"yes": True, "no": False}.get(part, options.value(part)) for part in parts]


@contextlib.contextmanager
def resumable(path: Path | None = None) -> Iterator[None]:
    """Print how to go on after Ctrl-C, and whether a file or folder of results is there."""
    try:
        yield
    except KeyboardInterrupt:
        recorded = ""
        if path is not None:
            recorded = f"; what was recorded stays in {path}" if path.exists() else "; nothing is recorded yet"
        tell(f"graphnoise: interrupted{recorded}; to go on:\n  {program()} {shlex.join(sys.argv[1:])}")
        raise typer.Exit(Reported(130)) from None


class Stopped(KeyboardInterrupt):
    """Ctrl-C or the like. Of `KeyboardInterrupt` itself, Python ends with a signal once it passed through `exec`."""


@contextlib.contextmanager
def stops() -> Iterator[Callable[[int], int]]:
    """Treat SIGTERM and SIGHUP as Ctrl-C; yield what turns the exit code of Ctrl-C into that of the signal."""
    caught: list[int] = []

    def stop(number: int, frame: object) -> None:
        # Once: the next one would interrupt the clearing up, which only Ctrl-C may.
        for other in handled:
            signal.signal(other, signal.default_int_handler if other == signal.SIGINT else signal.SIG_IGN)
        caught.append(number)
        raise Stopped

    # What is ignored stays so, as under nohup.
    usual = (signal.SIG_DFL, signal.default_int_handler)
    found = {n: signal.getsignal(n) for n in STOPS}
    handled = {number: handler for number, handler in found.items() if handler in usual}
    for number in handled:
        signal.signal(number, stop)
    try:
        yield lambda code: 128 + caught[0] if code == 130 and caught else code
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
