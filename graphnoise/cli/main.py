"""The command line. The only module that knows both packages; each command imports what it needs."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from graphnoise.cli.audit import audit
from graphnoise.cli.bench import bench
from graphnoise.cli.command import Command, Reported, TableCommand, stops
from graphnoise.cli.console import program, tell
from graphnoise.cli.data import data
from graphnoise.cli.doctor import doctor
from graphnoise.cli.report import ReportCommand, report
from graphnoise.errors import STOPS, GraphnoiseError

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="graphnoise",
    help="Learning with wrong labels: data, benchmark, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.command(cls=TableCommand)(audit)
app.command(cls=Command)(doctor)
app.command(cls=ReportCommand)(report)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error is one line on standard error and a non-zero exit code."""
    own_process = arguments is None
    arguments = _optional_values(list(sys.argv[1:] if arguments is None else arguments))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without ± shows ? instead.
            stream.reconfigure(errors="replace")
    with stops() as exit_code:
        code = _run(arguments)
        # Typer turns Ctrl-C in a command into this code.
        if code == 130 and not isinstance(code, Reported):
            code = _print_error(f"interrupted; to go on: {program()} {shlex.join(arguments)}", 130)
        code = exit_code(code)
    if own_process:
        # The work is done, and Python takes a moment to end.
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    """Run a command, print its error, and return its exit code."""
    try:
        code = app(arguments, prog_name="graphnoise", standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except GraphnoiseError as error:
        code = _print_error(error, 1)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except (BrokenPipeError, SystemExit):
        # The reader of a pipe has closed it, as `head` does; Typer turns that into an exit while it prints help.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        code = _print_error(f"cannot read or write{name} ({error.strerror or error})", 1)
    except Exception as error:
        # An error of click about the command line; its message is empty after the help.
        if hasattr(error, "format_message"):
            code = _print_error(text, 2) if (text := error.format_message()) else 2
        elif os.environ.get("GRAPHNOISE_TRACEBACK"):
            raise
        else:
            text = " ".join(str(error).split())
            code = _print_error(f"unexpected {type(error).__name__}: {text} (GRAPHNOISE_TRACEBACK=1 shows where)", 70)
    return code if isinstance(code, int) else 0


def _print_error(error: object, code: int) -> int:
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    tell(f"graphnoise: error: {'; '.join(line for line in lines if line)}")
    return code


def _optional_values(arguments: list[str]) -> list[str]:
    """Let `--plot` and `--csv` stand without a value: the empty one, which the command replaces."""
    done: list[str] = []
    for i, argument in enumerate(arguments):
        done.append(argument)
        if argument in ("--plot", "--csv") and (i + 1 == len(arguments) or arguments[i + 1].startswith("--")):
            done.append("")
    return done


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("graphnoise"))
        raise typer.Exit
