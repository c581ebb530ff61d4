"""`graphnoise data`: list, fetch and verify data sets; build graphs and clicks that do not fit into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from graphnoise.cli.command import Command
from graphnoise.cli.console import Bar, Json, Root, out, wide
from graphnoise.errors import DataError

data = typer.Typer(help="List, fetch and verify data sets; build graphs and clicks.", no_args_is_help=True)


@data.command("list", cls=Command)
def data_list(
    root: Root = None,
    licences: Annotated[bool, typer.Option("--licences", help="Show licences and terms.")] = False,
    as_json: Json = False,
) -> None:
    """List the known data sets, their published counts and where their files are."""
    from graphnoise import datasets

    graphs = [
        {"name": e.name, "nodes": e.nodes, "edges": e.edges, "classes": e.classes, "features": e.features}
        | {"files": e.where, "licence": e.licence}
        for e in datasets.catalogue(root)
    ]
    # "test_clean" is a part of "test_noisy".
    clicks = [
        {"name": f.name, "users": f.users, "items": f.items}
        | {"interactions": sum(size for part, size in f.parts.items() if part != "test_clean")}
        | {"files": status, "licence": f.licence}
        for f, status in datasets.feedback_catalogue(root)
    ]
    labels = [
        {"name": e.name, "given labels of": e.graph, "nodes": sum(e.per_class), "files": status, "licence": e.licence}
        for e, status in datasets.labels_catalogue(root)
    ]
    if as_json:
        print(json.dumps({"graphs": graphs, "clicks": clicks, "labels": labels}, indent=2))
        return
    for k, rows in enumerate((graphs, clicks, labels)):
        if k:
            out.print()
        wide(_table(rows, licences))


def _table(rows: list[dict[str, Any]], licences: bool) -> Any:
    from graphnoise.bench.report import plain_table

    table = plain_table()
    columns = [column for column in rows[0] if licences or column != "licence"]
    for column in columns:
        number = any(isinstance(row[column], int) for row in rows)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        cells = (row[column] for column in columns)
        table.add_row(*("" if c is None else f"{c:,}" if isinstance(c, int) else str(c) for c in cells))
    return table


@data.command("get", cls=Command)
def data_get(names: Annotated[list[str], typer.Argument(help="Names (see `data list`).")], root: Root = None) -> None:
    """Make data sets available: look in the root folder and the cache, else fetch from their sources."""
    from graphnoise import datasets

    for name in names:
        with Bar(name) as bar:
            folder = datasets.get(name, root, progress=bar.note)
        print(f"{name}: {folder}")


@data.command("verify", cls=Command)
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; by default all whose files are there.")] = None,
    root: Root = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every check, not only those that fail.")
    ] = False,
) -> None:
    """Compare files and what they hold with the published checksums and counts."""
    from graphnoise import datasets

    if not names:
        names = [entry.name for entry in datasets.catalogue(root) if entry.where != "absent"]
        names += [feedback.name for feedback, status in datasets.feedback_catalogue(root) if status != "absent"]
        names += [labels.name for labels, status in datasets.labels_catalogue(root) if status != "absent"]
    if not names:
        raise DataError("no data set is there to verify; `graphnoise data get NAME` fetches one")
    failed = 0
    for name in names:
        checks = datasets.verify(name, root)
        wrong = [check for check in checks if not check.ok]
        for check in checks if verbose else wrong:
            mark = "ok" if check.ok else "WRONG"
            tail = "" if check.ok else f", expected {check.expected}"
            print(f"{name}: {mark}: {check.what}: {check.actual}{tail}")
        print(f"{name}: {len(checks) - len(wrong)} of {len(checks)} checks hold")
        failed += len(wrong)
    if failed:
        raise DataError(f"{failed} checks failed")


@data.command("build-graph", cls=Command)
def data_build_graph(
    edges: Annotated[list[Path], typer.Argument(help="Files of edges: CSV, TSV, Parquet or .npy.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    source: Annotated[str, typer.Option(help="Column of sources.")] = "source",
    target: Annotated[str, typer.Option(help="Column of targets.")] = "target",
    weight: Annotated[str | None, typer.Option(help="Column of weights; none by default.")] = None,
    directed: Annotated[bool, typer.Option("--directed", help="An edge is one arc, from source to target.")] = False,
    once: Annotated[bool, typer.Option("--once", help="An edge that repeats counts once.")] = False,
    num_nodes: Annotated[int | None, typer.Option(help="Number of nodes; ids are then positions.")] = None,
    memory: Annotated[str, typer.Option(help="Bound on memory, such as 4GB.")] = "4GB",
) -> None:
    """Write a table of edges as a graph that `gn.Graph.open` maps into memory, in bounded memory.

    An interrupted command leaves nothing, and begins anew.
    """
    from graphnoise.datasets import build_graph

    with Bar("reading edges") as bar:
        built = build_graph(
            edges,
            folder,
            columns=(source, target),
            weight=weight,
            directed=directed,
            once=once,
            num_nodes=num_nodes,
            memory=memory,
            progress=bar.say,
        )
    names = "" if built.names is None else f", named by {built.names}"
    print(f"{built.folder}: {built.num_nodes:,} nodes{names}, {built.num_arcs:,} arcs")


@data.command("build-clicks", cls=Command)
def data_build_clicks(
    files: Annotated[list[Path], typer.Argument(help="Files of clicks: CSV, TSV, Parquet or .npy.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist.")],
    user: Annotated[str, typer.Option(help="Column of users.")] = "user",
    item: Annotated[str, typer.Option(help="Column of items.")] = "item",
    rating: Annotated[
        str | None, typer.Option(help="Column of ratings, of which negative ones are dislikes; none by default.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of times, numbers or dates; none by default.")] = None,
    duplicates: Annotated[str, typer.Option(help="Of repeated pairs: error, first or last.")] = "error",
    memory: Annotated[str, typer.Option(help="Bound on memory, such as 4GB.")] = "4GB",
) -> None:
    """Write tables of clicks as a folder that `recsys.Interactions.open` maps into memory, in bounded memory.

    An interrupted command leaves nothing, and begins anew.
    """
    from recsys import build_interactions

    options: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time, "duplicates": duplicates}
    with Bar("reading clicks") as bar:
        clicks = build_interactions(list(files), folder, **options, memory=memory, progress=bar.say)
    print(f"{folder}: {clicks}")
