"""`graphnoise report`: tables, plots, CSV and a page of recorded cells, of whatever task they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.command import TableCommand
from graphnoise.cli.console import Bar, bad, err, out, wide
from graphnoise.cli.evaluation import NAMES, evaluation

if TYPE_CHECKING:
    from graphnoise.bench.page.chapters import Chapter


class ReportCommand(TableCommand):
    """The report of cells; a first word that names an evaluation report calls that one."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command that the first word chooses (a folder of such a name: ./NAME)."""
        if args and args[0] in NAMES:
            chosen = typer.main.get_group(evaluation).commands[args[0]]
            return chosen.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder of the results, or a file that --csv wrote (default: runs). With --html several, and folders "
            "of audits and files of `bench speed`.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(help="File of a suite: show its cells only, by its grids and row names.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Cells of this benchmark only: nodes, cluster, detect or recommend. (default: all)"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Rows that all others are compared with, separated by commas. (nodes; default: every pair)"),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(help="Draw the plots into this file, and others beside it. (without value: into FOLDER)"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write all as one HTML page that needs no network into this file.")
    ] = None,
    cells: Annotated[bool, typer.Option("--cells", help="Put all cells into the page of --html, as CSV.")] = False,
    table: Annotated[
        str | None,
        typer.Option("--csv", help="Write all cells as CSV to this file. (without value: standard output)"),
    ] = None,
) -> None:
    """Print means and intervals over the cells of a folder; of nodes also variance and paired tests.

    Evaluation reports: report rank-stability, exchange-rate, frontier, memorisation (--help says what each reads).
    """
    from graphnoise.bench import plots, registry
    from graphnoise.checks import choice
    from graphnoise.io import check_writable

    folders = folders or [Path("runs")]
    several = {"--plot": plot is not None, "--csv": table is not None, "FOLDER without --html": html is None}
    for option in [name for name, given in several.items() if given and len(folders) > 1]:
        bad(option, "one folder", f"{len(folders)}: {', '.join(map(str, folders))}")
    if cells and html is None:
        bad("--cells", "--html", "none")
    if table == "" and out.collected is not None:
        bad("--csv", "a file with --json, which is printed", "none")
    if task is not None:
        choice("--task", task, registry.names("tasks"))
    if plot is not None:
        plots.check(Path(plot or "plot.png"))
    if html is not None:
        from graphnoise.bench.page.write import check_packages

        check_packages()
    for folder in folders:
        if not folder.exists():
            bad("folder", "a folder of results", f"{str(folder)!r}, which is not there")
        if html is None and folder.suffix == ".json":
            bad("folder", "--html with speed records (`graphnoise bench speed show` prints tables)", str(folder))
    for target in (table, _target(folders[0], plot, "plot.png") if plot is not None else None, html):
        if target:
            check_writable(Path(target))
    if table and Path(table).is_file():
        with Path(table).open(encoding="utf-8", errors="replace") as file:
            head = file.readline()
        if head and not {"dataset", "method"} <= set(head.strip().split(",")):
            bad("--csv", "a new file, or cells to replace", f"{table!r}, which has other contents")
    if html is not None and html.is_file():
        with html.open("rb") as page:
            if page.read(15) not in (b"", b"<!doctype html>"):
                bad("--html", "a new file, or a page to replace", f"{str(html)!r}, which has other contents")
    with Bar("report", lines_only=True):
        chapters: list[Chapter] = []
        for folder in folders:
            others, found = _other_chapters(folder) if html is not None else ([], False)
            for option in [
                name for name, given in several.items() if given and found and name != "FOLDER without --html"
            ]:
                bad(option, "cells of a benchmark", f"none in {folder}")
            if not found:
                _report(folder, suite, task, against, plot, table, None if html is None else chapters, cells)
            chapters += others
        if html is not None:
            from graphnoise.bench.page.write import write_page

            write_page(html, _title(folders), chapters)
            (err if table == "" else out).print(f"wrote {html}", soft_wrap=True)


def _other_chapters(folder: Path) -> tuple[list[Chapter], bool]:
    """Return the chapters of an audit and of speed records in a folder or file, and whether there is nothing else."""
    from graphnoise.bench.page.audits import is_audit
    from graphnoise.bench.page.chapters import audit_chapter, speed_chapter

    if folder.suffix == ".json" and folder.is_file():
        return [speed_chapter(folder)], True
    chapters = [audit_chapter(folder)] if folder.is_dir() and is_audit(folder) else []
    chapters += [speed_chapter(file) for file in sorted(folder.glob("*-speed.json"))] if folder.is_dir() else []
    return chapters, bool(chapters) and not any(folder.glob("*.v*.json"))


def _title(folders: Sequence[Path]) -> str:
    names = [folder.resolve().name for folder in folders]
    return f"graphnoise report: {', '.join(names)}" if len(names) < 3 else f"graphnoise report of {len(names)} sources"


def _report(
    folder: Path,
    suite: Path | None,
    task: str | None,
    against: str | None,
    plot: str | None,
    table: str | None,
    chapters: list[Chapter] | None,
    cells: bool,
) -> None:
    """Report cells, with checked options; with `chapters`, add those of the page to it."""
    from graphnoise.bench import plots, record, registry
    from graphnoise.bench import report as reports
    from graphnoise.bench.suite import Suite
    from graphnoise.io import atomic_write

    chosen = None if suite is None else Suite.read(suite)
    source = record.open_source(folder)
    parts, remarks = record.by_task(source if chosen is None else chosen.select(source), task)
    if table is not None and len(parts) > 1:
        options = " or ".join(f"--task {name}" for name in parts)
        bad("--csv", f"cells of one benchmark ({options} chooses)", "those of several")
    if chosen is not None and table != "":
        out.print(chosen.title, style="bold")
    drawn: list[Path] = []
    for name, records in parts.items():
        benchmark = registry.task(name)
        sections = benchmark.sections(records)
        if against is not None:
            _compare_with(sections, against)
        pieces: list[Any] = []
        if table != "" or chapters is not None:
            pieces = [piece for section in sections for piece in reports.render(benchmark, section)]
            pieces += benchmark.summary(sections)
        if table == "":
            # Standard output is for the cells then.
            print(record.to_csv(benchmark, records), end="")
        elif chapters is None:
            for piece in pieces:
                wide(piece)
        if plot is not None:
            target = _target(folder, plot, benchmark.plot_name)
            if plot and name != next(iter(parts)):
                target = target.with_stem(f"{target.stem}-{name}")
            drawn += plots.draw(benchmark, sections, target)
        if chapters is not None:
            from graphnoise.bench.page.chapters import cells_chapter

            chapter = cells_chapter(folder, benchmark, sections, records, pieces)
            chapters.append(replace(chapter, cells=record.to_csv(benchmark, records)) if cells else chapter)
        if table:
            with atomic_write(Path(table)) as stream:
                stream.write(record.to_csv(benchmark, records).encode())
    for remark in remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    if table:
        print(f"wrote {table}")
    for file in drawn:
        (err if table == "" else out).print(f"wrote {file}", soft_wrap=True)


def _compare_with(sections: Sequence[Any], against: str) -> None:
    """Set the rows that others are compared with."""
    from graphnoise.bench import options
    from graphnoise.checks import choice

    labels = {label for section in sections for label in section.methods}
    names = [choice("--against", name, labels) for name in options.split("--against", against)]
    for section in sections:
        if not hasattr(section, "references"):
            bad("--against", "cells of nodes", "those of another benchmark")
        section.references = names


def _target(folder: Path, plot: str, name: str) -> Path:
    """Return where a plot goes."""
    return Path(plot) if plot else folder.with_suffix(".png") if folder.is_file() else folder / name
