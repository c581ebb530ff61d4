"""`graphnoise audit`: which given labels of a graph's nodes, or which clicks, are wrong, as tables and a page."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.command import resumable
from graphnoise.cli.console import Bar, Root, bad, out, wide

if TYPE_CHECKING:
    import pandas

    from graphnoise.audit import Audit

SHOWN = 10
CLICKS = "Clicks"
# Options that only the audit of a graph reads, and only that of clicks.
GRAPH_OPTIONS = "labels", "features", "fdr", "review", "decisions"
CLICK_OPTIONS = "user", "item", "truth", "rating", "low_rating", "duplicates", "scorer", "popularity", "top"
Files = Annotated[
    list[str] | None,
    typer.Argument(
        help="A data set by name, a folder, a .npz or .pt file; or a table of edges, then one of labels.",
        metavar="FILE…",
        show_default=False,
    ),
]


def audit(
    context: typer.Context,
    files: Files = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Table of labels in place of those of the graph (node,label); llm: a language model's of Cora."
        ),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Table of features, with a table of edges.")] = None,
    fdr: Annotated[float, typer.Option(help="Expected share of right labels among the suspects.")] = 0.1,
    review: Annotated[int, typer.Option(help="Write the labels to look at next, so many, to review.csv.")] = 0,
    decisions: Annotated[
        Path | None, typer.Option(help="Table of decisions (node,decision); they are recorded in the folder.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the results. (default: runs/audit-NAME)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is random.")] = 0,
    root: Root = None,
    clicks: Annotated[
        str | None,
        typer.Option(help="In place of a graph: a table of clicks, or a data set by name.", rich_help_panel=CLICKS),
    ] = None,
    user: Annotated[str, typer.Option(help="Column of users.", rich_help_panel=CLICKS)] = "user",
    item: Annotated[str, typer.Option(help="Column of items.", rich_help_panel=CLICKS)] = "item",
    truth: Annotated[
        str | None, typer.Option(help="Column with 1 for known mistakes, 0 for likes.", rich_help_panel=CLICKS)
    ] = None,
    rating: Annotated[str | None, typer.Option(help="Column of ratings.", rich_help_panel=CLICKS)] = None,
    low_rating: Annotated[
        float | None, typer.Option(help="Ratings up to this are known mistakes.", rich_help_panel=CLICKS)
    ] = None,
    duplicates: Annotated[
        str, typer.Option(help="Of repeated pairs: error, first or last.", rich_help_panel=CLICKS)
    ] = "error",
    scorer: Annotated[
        str,
        typer.Option(help="stacked, score, popularity, itemknn, ease or linear.", rich_help_panel=CLICKS),
    ] = "stacked",
    popularity: Annotated[
        float, typer.Option(help="Exponent of popularity that mistakes follow.", rich_help_panel=CLICKS)
    ] = 0.0,
    top: Annotated[int, typer.Option(help="Hidden likes per user.", rich_help_panel=CLICKS)] = 20,
) -> None:
    """Find wrong labels of nodes: how many, which, what instead, in which order to look. Or wrong clicks: --clicks."""
    from graphnoise import checks
    from graphnoise.io import check_writable

    unused = GRAPH_OPTIONS if clicks is not None else CLICK_OPTIONS
    given = [key for key in unused if str(context.get_parameter_source(key)).endswith("COMMANDLINE")]
    if given:
        option = "--" + given[0].replace("_", "-")
        bad(option, "a graph" if clicks is not None else "--clicks", "--clicks" if clicks is not None else "none")
    if clicks is not None:
        from graphnoise.cli.audit_clicks import audit_clicks_command

        if files:
            bad("FILE", "no graph beside --clicks", " ".join(files))
        folder = Path("runs", f"audit-{Path(clicks).name.split('.')[0] or 'clicks'}") if folder is None else folder
        columns: dict[str, Any] = {"user": user, "item": item, "truth": truth, "rating": rating}
        settings: dict[str, Any] = {"low_rating": low_rating, "duplicates": duplicates, "scorer": scorer}
        settings |= {"popularity": popularity, "top": top, "seed": seed, "root": root}
        with resumable(folder):
            audit_clicks_command(clicks, folder, **columns, **settings)
        return
    if not files:
        bad("FILE", "a graph, a table of edges, or --clicks", "none")
    checks.rate("--fdr", fdr)
    checks.integer("--review", review, 0)
    checks.integer("--seed", seed, 0)
    if len(files) > 2 or (len(files) == 2 and labels is not None):
        bad("FILE", "a graph, or a table of edges and one of labels", " ".join(files))
    labels = files[1] if len(files) == 2 else labels
    name = Path(files[0]).name.split(".")[0] or "graph"
    folder = Path("runs", f"audit-{name}") if folder is None else folder
    check_writable(folder / "labels.csv")
    table = None
    if decisions is not None:
        from graphnoise.audit.decisions import read_texts

        table = read_texts("--decisions", decisions)
    with resumable(folder):
        with Bar("reading the graph") as bar:
            graph, y, x = _read(files[0], labels, features, root)
            bar.say("learning which labels are wrong")
            result = _audit(graph, y, x, table, str(decisions), folder, seed)
            bar.say("testing and writing")
            summary = result.report(fdr)
            suspects, written, aside = _write(result, name, _about(context), summary, fdr, review, folder)
        out.print(summary)
        if len(suspects):
            wide(_table(suspects.head(SHOWN)))
        written += ["decisions.csv"] * (decisions is not None)
        out.print(f"written to {folder}: {', '.join(sorted(written))}")
        for file in aside:
            out.print(f"of an earlier run, with decisions that are not recorded: {file} (--decisions {file})")


def _read(name: str, labels: str | None, features: str | None, root: str | None) -> tuple[Any, Any, Any]:
    """Return the graph, with names of nodes where there are any, the given labels by name, and features."""
    import numpy as np
    import torch

    from graphnoise import Graph
    from graphnoise.bench import registry
    from graphnoise.datasets import is_table, llm_labels
    from graphnoise.datasets.given import read_given
    from graphnoise.labels import class_names

    if is_table(name):
        return _read_tables(name, labels, features)
    if features is not None:
        bad("--features", "a table of edges beside it", repr(name))
    data = registry.graph(name, root, None)
    classes, names, codes = getattr(data, "classes", None), getattr(data, "names", None), data.y
    if labels == "llm":
        codes = llm_labels(name, root)
    elif labels is not None:
        known = range(int(data.num_classes)) if classes is None else classes
        codes = read_given(labels, int(data.num_nodes), known, names)
    if classes is not None:
        text = any(isinstance(value, str) for value in classes)
        codes = class_names(np.array(classes, dtype=object if text else np.int64), torch.as_tensor(codes))
    return Graph.from_edge_index(data.edge_index, data.num_nodes, names=names), codes, data.x


def _read_tables(name: str, labels: str | None, features: str | None) -> tuple[Any, Any, Any]:
    """Return what `_read` does of tables: a simple graph, in which the weights of repeated edges add up."""
    import numpy as np
    from torch_geometric.utils import coalesce, remove_self_loops

    from graphnoise import Graph
    from graphnoise.datasets import read_edges
    from graphnoise.labels import class_names

    if labels is None:
        bad("--labels", f"a table of labels for the edges in {name}", "none")
    data = read_edges(name, labels, features, all_features=True)
    text = any(isinstance(value, str) for value in data.classes)
    given = class_names(np.array(data.classes, dtype=object if text else np.int64), data.y)
    arcs, weight = remove_self_loops(data.edge_index, getattr(data, "edge_weight", None))
    arcs, weight = coalesce(arcs, weight, data.num_nodes)
    return Graph.from_edge_index(arcs, data.num_nodes, weight, names=data.names), given, getattr(data, "x", None)


def _audit(graph: Any, y: Any, x: Any, decisions: pandas.DataFrame | None, name: str, folder: Path, seed: int) -> Audit:
    """Return the audit given decisions of a file and those recorded in the folder, to which they are added."""
    from graphnoise.audit import Audit
    from graphnoise.audit.decisions import read_decisions, record_decisions

    result = Audit(graph, y, None if x is None or not x.shape[1] else x, seed=seed)
    record = folder / "decisions.csv"
    # Both are checked before anything is written.
    before = read_decisions(str(record), record, result.posterior) if record.exists() else None
    if decisions is not None:
        new = read_decisions(name, decisions, result.posterior)
        before = record_decisions(record, new)
    return result if before is None else result.with_decisions(before)


def _about(context: typer.Context) -> dict[str, Any]:
    """Return the command as it was called, when, and on what machine."""
    from graphnoise.bench.environment import environment

    words = ["graphnoise", "audit", *(context.params["files"] or [])]
    for parameter in context.command.params:
        name = str(parameter.name)
        # `--json` is none of the parameters of the function.
        if (
            name in context.params
            and name != "files"
            and str(context.get_parameter_source(name)).endswith("COMMANDLINE")
        ):
            words += [parameter.opts[0], str(context.params[name])]
    recorded = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": shlex.join(words), "recorded": recorded, "environment": environment()}


def _write(
    result: Audit, name: str, about: dict[str, Any], summary: str, fdr: float, review: int, folder: Path
) -> tuple[pandas.DataFrame, list[str], list[Path]]:
    """Write all files, each atomically; return the suspects, the files, and those of earlier runs that got new names.

    No file of an earlier run keeps the name of one that this run could have written.
    """
    import pandas

    from graphnoise.audit.decisions import set_aside
    from graphnoise.audit.drawings import with_neighbours
    from graphnoise.audit.page import page
    from graphnoise.io import atomic_write

    suspects, labels = result.suspects(fdr), result.to_frame(fdr)
    corrected = pandas.DataFrame({"node": result.names, "label": result.corrected(fdr)})
    texts = {
        "labels.csv": labels.to_csv(index=False, float_format="%.6g"),
        # Filled in, the last column is one of decisions.
        "suspects.csv": suspects.assign(decision="").to_csv(index=False, float_format="%.6g"),
        "suspects.jsonl": with_neighbours(result, suspects).to_json(orient="records", lines=True),
        "audit.json": json.dumps(about | {"name": name, "summary": summary.splitlines()}, indent=1),
        "corrected.csv": corrected.to_csv(index=False, float_format="%.6g"),
        "transition.csv": result.transition.to_csv(index=False, float_format="%.6g"),
        "audit.html": page(result, name, suspects, summary),
    }
    if review:
        texts["review.csv"] = result.review(review).assign(decision="").to_csv(index=False, float_format="%.6g")
    names = (folder / "suspects.csv", folder / "review.csv")
    aside = [set_aside(path, folder / "decisions.csv", result.posterior) for path in names]
    if not review:
        (folder / "review.csv").unlink(missing_ok=True)
    for file, text in texts.items():
        with atomic_write(folder / file) as stream:
            stream.write(text.encode())
    return suspects, list(texts), [path for path in aside if path is not None]


def _table(suspects: pandas.DataFrame) -> Any:
    from graphnoise.bench.report import plain_table

    table = plain_table()
    for column in ("node", "given", "credibility", "suggested", "probability", "why"):
        width = 24 if column == "why" else len(column)
        right = column in ("credibility", "probability")
        table.add_column(column, justify="right" if right else "left", overflow="fold", min_width=width)
    for row in suspects.itertuples(index=False):
        chances = f"{row.credibility:.2f}", f"{row.probability:.2f}"
        table.add_row(
            str(row.node),
            str(row.given),
            chances[0],
            "–" if row.suggested is None else str(row.suggested),
            chances[1],
            row.why,
        )
    return table
