"""`graphnoise report`: tables, plots and CSV of recorded cells, of whatever benchmark they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.console import bad, err, out, wide

if TYPE_CHECKING:
    from graphnoise.bench.suite import Selected

PLOTS = {"nodes": "accuracy.png", "cluster": "f1.png", "recommend": "ndcg.png"}  # in the folder of the cells


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the results, or a file that --csv wrote.", metavar="FOLDER")
    ] = Path("runs"),
    suite: Annotated[
        Path | None, typer.Option(help="File of a suite: show its cells only, by its grids and in its words.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Cells of this benchmark only: nodes, cluster or recommend. (default: all)")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(help="Draw the plots into this file, and others beside it. (without value: into FOLDER)"),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--csv", help="Write all cells as CSV to this file. (without value: standard output)"),
    ] = None,
) -> None:
    """Print means and intervals over the cells of a folder; of nodes also variance and paired tests."""
    from graphnoise.bench import plots
    from graphnoise.checks import choice
    from graphnoise.cli import tasks
    from graphnoise.io import atomic_write

    if task is not None:
        choice("--task", task, tasks.TASKS)
    if plot is not None:
        plots.check(_target(folder, plot, "nodes", alone=True))
    if not folder.exists():
        bad("folder", "a folder of results", f"{str(folder)!r}, which is not there")
    chosen = None if suite is None else tasks.read_suite(suite)
    source = tasks.read_source(folder)
    parts, remarks = tasks.split(source if chosen is None else chosen.select(source), task)
    if table is not None and len(parts) > 1:
        bad(
            "--csv",
            f"cells of one benchmark ({' or '.join(f'--task {name}' for name in parts)} chooses)",
            "those of several",
        )
    if chosen is not None and table != "":
        out.print(chosen.title, style="bold")
    drawn: list[Path] = []
    for name, part in parts.items():
        sections, notes = _sections(name, part)
        remarks += notes
        if table == "":
            print(_csv(name, part), end="")  # standard output is for the cells then
        else:
            _print(name, sections)
        if plot is not None:
            drawn += _draw(name, sections, _target(folder, plot, name, alone=len(parts) == 1))
        if table:
            with atomic_write(Path(table)) as cells:
                cells.write(_csv(name, part).encode())
    for remark in remarks:
        print(f"graphnoise: note: {remark}", file=sys.stderr)
    if table:
        print(f"wrote {table}")
    for file in drawn:
        (err if table == "" else out).print(f"wrote {file}", soft_wrap=True)


def _target(folder: Path, plot: str, task: str, *, alone: bool) -> Path:
    """Return where the plot of a benchmark goes."""
    if plot:
        target = Path(plot)
        return target if alone or task == "nodes" else target.with_stem(f"{target.stem}-{task}")
    return folder.with_suffix(".png") if folder.is_file() else folder / PLOTS[task]


def _rooms(task: str) -> tuple[Any, Any, Any, Any]:
    """Return the modules of a benchmark that group its cells, print them, write them as CSV and draw them."""
    if task == "nodes":
        from graphnoise.bench import plots, report, results

        return results, report, results, plots
    if task == "cluster":
        from graphnoise.bench.clusters import plots, report, results, table  # type: ignore[no-redef]
    else:
        from recsys.bench import plots, report, results, table  # type: ignore[no-redef]
    return results, report, table, plots


def _sections(task: str, part: Selected) -> tuple[list[Any], list[str]]:
    found: tuple[list[Any], list[str]] = _rooms(task)[0].sections(part)
    return found


def _print(task: str, sections: list[Any]) -> None:
    for section in sections:
        for piece in _rooms(task)[1].render(section):
            wide(piece)


def _csv(task: str, part: Selected) -> str:
    return str(_rooms(task)[2].to_csv(part))


def _draw(task: str, sections: list[Any], target: Path) -> list[Path]:
    drawn: list[Path] = _rooms(task)[3].draw(sections, target)
    return drawn
