"""The command line. The only module that knows both packages; each command imports what it needs."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from .errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from .experiment import Progress, Summary

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="graphnoise",
    help="Learning with wrong labels: data, benchmark, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=HELP,
)
bench = typer.Typer(
    help="Run a benchmark into a folder; the same command goes on where it stopped.", no_args_is_help=True
)
data = typer.Typer(help="List, fetch and verify data sets.", no_args_is_help=True)
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`: that the reader of a pipe has seen enough, as `head` does, is no error."""
        raise BrokenPipeError


# Tables keep their width where the output goes to a file.
out = _Console(highlight=False, markup=False, width=None if sys.stdout and sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, markup=False)
Root = Annotated[str | None, typer.Option(help="Folder of raw data sets.", envvar="GRAPHNOISE_DATA")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error is one line on standard error and a non-zero exit code."""
    words = _optional_values(list(sys.argv[1:] if arguments is None else arguments))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± shows ? instead
    try:
        code = app(words, standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except GraphnoiseError as error:
        code = _complain(error, 1)
    except (typer.Abort, KeyboardInterrupt):
        code = _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _complain(f"cannot read or write ({error.strerror or error})", 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own, about the words of the command; empty after its help
            code = _complain(text, 2) if (text := error.format_message()) else 2
        elif os.environ.get("GRAPHNOISE_TRACEBACK"):
            raise
        else:
            text = " ".join(str(error).split())
            code = _complain(f"unexpected {type(error).__name__}: {text} (GRAPHNOISE_TRACEBACK=1 shows where)", 70)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: object, code: int) -> int:
    print(f"graphnoise: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _optional_values(words: list[str]) -> list[str]:
    """Let `--plot` and `--csv` stand without a value: the empty one, which the command replaces."""
    done: list[str] = []
    for i, word in enumerate(words):
        done.append(word)
        if word in ("--plot", "--csv") and (i + 1 == len(words) or words[i + 1].startswith("--")):
            done.append("")
    return done


def _bad(name: str, expected: str, got: object) -> NoReturn:
    raise InputError(f"{name}: expected {expected}, got {got}")


def _names(name: str, text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        _bad(name, "names separated by commas", repr(text))
    return names


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        _bad(name, "numbers separated by commas", repr(text))


def _settings(entries: list[str]) -> dict[str, dict[str, Any]]:
    """Read `gcn.hidden=64` into {"gcn": {"hidden": 64}}."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        left, equals, text = entry.partition("=")
        owner, dot, key = left.partition(".")
        if not (equals and dot and owner and key):
            _bad("--set", "METHOD.PARAMETER=VALUE", repr(entry))
        found.setdefault(owner, {})[key] = _value(text)
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("graphnoise"))
        raise typer.Exit


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
    jobs: Annotated[int | None, typer.Option(help="Processes, one thread each.  [default: number of cores]")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("runs"),
    root: Root = None,
) -> None:
    """Measure methods for node classification as labels go wrong."""
    try:  # from the first import on, which takes seconds
        from .bench.nodes import Grid, run
        from .experiment import Store

        grid = Grid(
            datasets=_names("--dataset", dataset),
            methods=_names("--method", method),
            noise=_names("--noise", noise),
            rates=_numbers("--rate", rate),
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
        with _Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=workers, on_done=bar.show)
    except KeyboardInterrupt:
        print(f"graphnoise: interrupted; what was recorded stays in {folder}; to go on:", file=sys.stderr)
        print(f"  {_program()} {shlex.join(sys.argv[1:])}", file=sys.stderr)
        raise typer.Exit(130) from None
    _close(summary, folder)


def _program() -> str:
    """Return how this command was called, in a form that can be typed again."""
    name = sys.argv[0]
    if Path(name).name != "graphnoise":
        return f"{shlex.quote(sys.executable)} -m graphnoise.cli"
    found = shutil.which("graphnoise")
    return "graphnoise" if found and Path(found).samefile(name) else shlex.quote(name)


class _Bar:
    """A progress bar with the time that remains, on standard error; it goes when it ends."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bar = Progress(
            *columns, TimeRemainingColumn(compact=True), console=err, transient=True, disable=not err.is_terminal
        )
        self._task = self._bar.add_task("preparing", total=None)
        self._said = 0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show how far the grid is."""
        config = progress.config
        text = f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"
        self._bar.update(self._task, total=progress.total, completed=progress.finished, description=text)
        tenth = 10 * progress.finished // progress.total
        if not err.is_terminal and tenth > self._said:  # a log file gets a line for each tenth of the way
            self._said = tenth
            err.print(f"{progress.finished} of {progress.total} cells, {progress.seconds:.0f} s")


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
    print(f"to read them: {_program()} report {shlex.quote(str(folder))} --plot")


@data.command("list")
def data_list(
    root: Root = None, licences: Annotated[bool, typer.Option("--licences", help="Show licences and terms.")] = False
) -> None:
    """List the known data sets, their published counts and where their files are."""
    from rich.table import Table

    from . import datasets

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("name", "nodes", "edges", "classes", "features", "files", *["licence"] * licences):
        table.add_column(column, justify="right" if column in ("nodes", "edges", "classes", "features") else "left")
    for e in datasets.catalogue(root):
        counts = (f"{e.nodes:,}", f"{e.edges:,}", f"{e.classes}", f"{e.features:,}")
        table.add_row(e.name, *counts, e.found, *[e.licence] * licences)
    out.print(table)


@data.command("get")
def data_get(names: Annotated[list[str], typer.Argument(help="Names (see `data list`).")], root: Root = None) -> None:
    """Make data sets available: look in the root folder and the cache, else fetch from their sources."""
    from . import datasets

    for name in names:
        folder = datasets.get(name, root, progress=err.print)
        print(f"{name}: {folder}")


@data.command("verify")
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; by default all whose files are there.")] = None,
    root: Root = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every check, not only those that fail.")
    ] = False,
) -> None:
    """Compare files and graphs with the published checksums and counts."""
    from . import datasets

    chosen = names or [entry.name for entry in datasets.catalogue(root) if entry.found != "absent"]
    if not chosen:
        raise DataError("no data set is there to verify; `graphnoise data get NAME` fetches one")
    failed = 0
    for name in chosen:
        checks = datasets.verify(name, root)
        wrong = [check for check in checks if not check.ok]
        for check in checks if verbose else wrong:
            mark = "ok" if check.ok else "WRONG"
            tail = "" if check.ok else f", expected {check.expected}"
            print(f"{name}: {mark}: {check.what}: {check.found}{tail}")
        print(f"{name}: {len(checks) - len(wrong)} of {len(checks)} checks hold")
        failed += len(wrong)
    if failed:
        raise DataError(f"{failed} checks failed")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("runs"),
    plot: Annotated[
        str | None,
        typer.Option(help="Draw the plots into this file, and one beside it.  [without value: FOLDER/accuracy.png]"),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--csv", help="Write all cells as CSV to this file.  [without value: standard output]"),
    ] = None,
) -> None:
    """Print mean, interval, variance and paired tests over the cells of a folder."""
    from ._files import writing
    from .bench import plots, results
    from .bench.report import render
    from .experiment import Store

    target = Path(plot or folder / "accuracy.png")
    if plot is not None:
        plots.check(target)
    if not folder.is_dir():
        _bad(
            "folder",
            "a folder of results",
            f"{str(folder)!r}, which is {'a file' if folder.exists() else 'not there'}",
        )
    store = Store(folder)
    found, remarks = results.sections(store)
    say = err if table == "" else out  # standard output is for the cells then
    if table == "":
        print(results.to_csv(store), end="")
    for section in found if table != "" else ():
        for part in render(section):
            out.print(part)
    for remark in remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    if table:
        with writing(Path(table)) as cells:
            cells.write(results.to_csv(store).encode())
        print(f"wrote {table}")
    if plot is not None:
        for file in plots.draw(found, target):
            say.print(f"wrote {file}", soft_wrap=True)


if __name__ == "__main__":
    main()
