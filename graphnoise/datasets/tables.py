"""Graphs and labels from tables: CSV, TSV, text and Parquet files, or pandas data frames."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas
import torch
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checks import DataError, choice, fail
from graphnoise.datasets.files import expanded
from graphnoise.datasets.raw import SPLITS
from graphnoise.io import read_text_bytes, reading
from graphnoise.labels import read_labels

Table: TypeAlias = "str | os.PathLike[str] | pandas.DataFrame"

SUFFIXES = (".csv", ".tsv", ".txt", ".edges", ".parquet")
# Names of columns by what they hold, the first that is there; compared in lower case.
NAMES = {
    "source": ("source", "src", "from", "u", "node1", "head"),
    "target": ("target", "dst", "to", "v", "node2", "tail"),
    "weight": ("weight", "edge_weight"),
    "node": ("node", "id", "node_id", "name"),
    "label": ("label", "y", "class"),
    "y_true": ("y_true", "true_label"),
    "split": ("split",),
}
PARTS = {"train": "train_mask", "val": "val_mask", "valid": "val_mask", "validation": "val_mask", "test": "test_mask"}


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path ends as tables do: `.csv`, `.tsv`, `.txt`, `.edges` (also with `.gz`) or `.parquet`.

    Example:
        >>> [is_table(name) for name in ("edges.csv.gz", "edges.parquet", "graph.npz")]
        [True, True, False]
    """
    file = checks.path("path", path)
    return (file.suffix == ".gz" and Path(file.stem).suffix in SUFFIXES[:-1]) or file.suffix in SUFFIXES


def parse_text(file: Path, **options: Any) -> pandas.DataFrame:
    """Return the table in a file of text, by `pandas.read_csv`; `DataError` where rows have too many fields."""
    with warnings.catch_warnings():
        # Otherwise pandas uses the first fields of rows that are too long as an index.
        warnings.filterwarnings("error", "Length of header", pandas.errors.ParserWarning)
        try:
            return pandas.read_csv(io.BytesIO(read_text_bytes(file)), **{"index_col": False} | options)
        except pandas.errors.ParserWarning as error:
            raise DataError(f"{file}: rows have more fields than there are names of columns") from error


def read_frame(path: str | os.PathLike[str], **options: Any) -> pandas.DataFrame:
    r"""Return the table in a file.

    Args:
        path: Ends in `.csv` (commas), `.tsv` (tabs), `.txt`, `.edges` (white space, lines that begin with # left out),
            each optionally with `.gz`, or `.parquet` (which needs pyarrow).
        **options: For `pandas.read_csv` or `pandas.read_parquet`.

    Raises:
        InputError: Another ending.
        DataError: The file is absent or damaged, has more than 2 GiB of text or a line of more than 16 MiB, or rows
            with more fields than its first line names.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "edges.txt")
        ...     _ = path.write_text("source target\n# a comment\n0 1\n")
        ...     read_frame(path).values.tolist()
        [[0, 1]]
    """
    return named_frame("path", path, **options)


def named_frame(name: str, path: str | os.PathLike[str], **options: Any) -> pandas.DataFrame:
    """Return what `read_frame` does, with the name of the argument for messages."""
    file = expanded(name, path)
    if not is_table(file):
        fail(name, f"a file that ends in {', '.join(SUFFIXES[:-1])} or .parquet", str(file))
    with reading(file):
        if file.suffix == ".parquet":
            frame = pandas.read_parquet(file, **options)
        else:
            kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
            separators = {".tsv": {"sep": "\t"}, ".txt": {"sep": r"\s+", "comment": "#"}}
            defaults = separators.get(".txt" if kind == ".edges" else kind, {})
            frame = parse_text(file, **defaults | options)
    if not isinstance(frame, pandas.DataFrame):
        frame.close()
        fail("options", "such that pandas returns one table", type(frame).__name__)
    frame.columns = frame.columns.astype(str)
    return frame


def read_edges(
    edges: Table,
    labels: Table | None = None,
    features: Table | None = None,
    *,
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    directed: bool = False,
    header: bool | None = None,
    all_features: bool = False,
) -> Data:
    r"""Return a graph from a table of edges, with labels and features from tables of nodes.

    Nodes may have any ids, integers or text; they get the positions 0, 1, … in the order of the labels, then of the
    features, then of the edges. Repeated edges add up, self-loops stay, an edge of weight 0 is none.

    Args:
        edges: A file (see `read_frame`) or a data frame with a row per edge.
        labels: A file or data frame with a row per node: its id in the column `node` (or `id`; otherwise the first),
            its class in `label` (or `y`, `class`; otherwise the second), empty or -1 where it has none; optionally
            `split` with train, val, test or nothing, and `y_true` with the right class, where it is known.
        features: A file or data frame with a row per node: its id, and numbers in all other columns; a node without a
            row has zeros.
        columns: Names of the two columns of `edges`; by default `source` and `target` (or the like), otherwise the
            first two.
        weight: Column of weights, at least 0; by default `weight` where there is one.
        directed: Whether an edge is the arc from its first to its second node; by default it is both arcs.
        header: Whether the first line of text files has names of columns; by default if its first two fields are
            names of columns that this function knows, or are no numbers while those of the next line are.
        all_features: Whether a node without a row of features is an error.

    Returns:
        A `Data` with `edge_index`, `num_nodes`, `names` (ids by position) and where given `edge_weight`, `x`, `y`
        (positions of classes, -1 where there is no label), `classes` (their names), `y_true` and the masks.

    Raises:
        InputError: A column that is not there, weights or features that are no finite numbers, an unknown split, a
            node that is there twice, labels or features of other nodes than those of the edges.
        DataError: A file is absent or damaged.

    Example:
        >>> edges = pandas.DataFrame({"source": ["a", "b"], "target": ["b", "c"]})
        >>> labels = pandas.DataFrame({"node": ["c", "a"], "label": ["spam", "ham"], "split": ["train", "test"]})
        >>> data = read_edges(edges, labels)
        >>> data.names, data.y.tolist(), data.classes, data.edge_index.tolist()
        (['c', 'a', 'b'], [1, 0, -1], ['ham', 'spam'], [[1, 2, 2, 0], [2, 1, 0, 2]])
    """
    header = None if header is None else checks.flag("header", header)
    directed, all_features = checks.flag("directed", directed), checks.flag("all_features", all_features)
    tables = {"labels": labels, "features": features, "edges": edges}
    frames = {name: _frame(name, value, header) for name, value in tables.items() if value is not None}
    table, nodes = frames["edges"], {name: frame for name, frame in frames.items() if name != "edges"}
    keys = {name: _column(name, frame, "node", 0) for name, frame in nodes.items()}
    columns_of = {name: [key] for name, key in keys.items()} | {"edges": [*_ends(table, columns)]}

    def read_ids() -> list[pandas.Series[Any]]:
        return [_ids(name, frames[name][key], name in nodes) for name, part in columns_of.items() for key in part]

    ids = read_ids()
    integers = [part.dtype.kind == "i" for part in ids if len(part)]
    if any(integers) and not all(integers):
        # Types are those of single columns of a file: "007" may have become 7 in some of them.
        for name, part in columns_of.items():
            if not isinstance(tables[name], pandas.DataFrame):
                frames[name][part] = _frame(name, tables[name], header, dtype=str)[part]
        ids = read_ids()
    if not all(integers):
        ids = [part.astype(str) for part in ids]
    codes, names = pandas.factorize(pandas.concat(ids, ignore_index=True))
    sizes = np.cumsum([len(part) for part in ids])
    parts = np.split(codes.astype(np.int64), sizes[:-1])
    positions = dict(zip(nodes, parts, strict=False))
    data = Data(num_nodes=len(names), names=np.asarray(names).tolist())
    if data.num_nodes == 0:
        fail("edges", "at least one edge or node", "none")
    for name, places in positions.items():
        if len(places) and len(parts[-1]) and not np.isin(places, np.concatenate(parts[-2:])).any():
            got = f"none of them, the first {names[places[0]]!r} there and {names[parts[-2][0]]!r} in edges"
            fail(f"{name}.{keys[name]}", "ids of nodes of which edges has some", got)
    _put_edges(data, torch.from_numpy(np.stack(parts[-2:])), _weights(table, weight), directed)
    if "features" in nodes:
        lacking = np.setdiff1d(np.arange(len(names)), positions["features"])
        if all_features and len(lacking):
            got = f"{len(lacking)} without one, the first {data.names[lacking[0]]!r}"
            fail("features", f"a row for each of the {len(names)} nodes", got)
        _put_features(data, nodes["features"].drop(columns=keys["features"]), positions["features"])
    if "labels" in nodes:
        _put_labels(data, nodes["labels"], keys["labels"], positions["labels"])
    return data


def label_table(
    name: str, path: str | os.PathLike[str], text: bool = False
) -> tuple[pandas.Series[Any] | None, pandas.Series[Any]]:
    """Return the ids of nodes and their labels in a file as `read_edges` takes it; no ids of a file with one column.

    With `text`, ids such as "007" stay as they are.
    """
    frame = _frame(name, path, None, width=1)
    if frame.shape[1] == 1:
        return None, frame.iloc[:, 0]
    key = _column(name, frame, "node", 0)
    rest = frame.drop(columns=key)
    if text:
        frame = _frame(name, path, None, dtype=str)
    return _ids(name, frame[key], unique=True), rest[_column(name, rest, "label", 0)]


def _frame(
    name: str, table: Any, header: bool | None, width: int = 2, dtype: type[str] | None = None
) -> pandas.DataFrame:
    """Return a table; a text file without a line of names has the columns "0", "1" and so on.

    White space around fields of text is no part of them.
    """
    if isinstance(table, pandas.DataFrame):
        frame = table.copy()
        frame.columns = [str(column) for column in frame.columns]
    elif isinstance(table, str | os.PathLike):
        # Ids such as "NA" and "null" are ids; an empty field is none.
        text: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "skipinitialspace": True}
        if Path(table).suffix == ".parquet":
            frame = named_frame(name, table)
        else:
            frame = named_frame(name, table, header=None, nrows=2, dtype=str, **text)
            named = _has_names(frame) if header is None else header
            # In parts of a file, types would be guessed for each part.
            frame = named_frame(name, table, header=0 if named else None, dtype=dtype, low_memory=False, **text)
            frame.columns = frame.columns.str.strip()
            for place in range(frame.shape[1]):
                column = frame.iloc[:, place]
                if pandas.api.types.infer_dtype(column) == "string":
                    frame.isetitem(place, column.str.strip())
    else:
        fail(name, "a path or a pandas DataFrame", type(table).__name__)
    if frame.shape[1] < width:
        fail(name, "at least two columns", f"{list(frame.columns)}")
    return frame


def _has_names(lines: pandas.DataFrame) -> bool:
    known = {name for names in NAMES.values() for name in names}
    first = [str(value).strip().lower() for value in lines.iloc[0, :2]]
    if known & set(first):
        return True
    numeric = lines.iloc[:, :2].apply(pandas.to_numeric, errors="coerce").notna().all(axis=1).tolist()
    return len(numeric) > 1 and not numeric[0] and numeric[1]


def _column(table: str, frame: pandas.DataFrame, kind: str, place: int | None) -> str:
    """Return the name of the column that holds something; by default that at a place, if there may be none ""."""
    lower = {name.lower(): name for name in frame.columns}
    for name in NAMES[kind]:
        if name in lower:
            return str(lower[name])
    if place is None:
        return ""
    if place >= frame.shape[1]:
        fail(f"{table}: columns", f"a column for the {kind}", list(frame.columns))
    return str(frame.columns[place])


def _ends(frame: pandas.DataFrame, columns: Sequence[str] | None) -> tuple[str, str]:
    if columns is None:
        return _column("edges", frame, "source", 0), _column("edges", frame, "target", 1)
    pair = isinstance(columns, list | tuple) and len(columns) == 2 and all(isinstance(name, str) for name in columns)
    if not pair or columns[0] == columns[1]:
        fail("columns", "the names of two columns", repr(columns))
    return choice("columns", columns[0], list(frame.columns)), choice("columns", columns[1], list(frame.columns))


def _ids(table: str, column: pandas.Series[Any], unique: bool = False) -> pandas.Series[Any]:
    """Return ids as integers or text, none missing."""
    if isinstance(column, pandas.DataFrame):
        fail(f"{table}: columns", "columns of different names", f"{column.columns[0]!r} twice")
    missing = column.isna()
    if missing.any():
        fail(f"{table}.{column.name}", "an id in every row", f"none in row {int(missing.argmax())}, counted from 0")
    if column.dtype.kind == "f" and (column == column.round()).all() and (column.abs() < 2**53).all():
        column = column.astype(np.int64)
    if column.dtype.kind not in "iu":
        column = column.astype(str)
    elif column.dtype.kind == "u":
        column = column.astype(np.int64) if column.max() < 2**63 else column.astype(str)
    repeated = column.duplicated()
    if unique and repeated.any():
        fail(f"{table}.{column.name}", "every node once", f"{column[repeated].iloc[0]} again")
    return column


def _weights(frame: pandas.DataFrame, weight: str | None) -> torch.Tensor | None:
    name = _column("edges", frame, "weight", None) if weight is None else choice("weight", weight, list(frame.columns))
    if not name:
        return None
    values = pandas.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        fail(f"edges.{name}", "finite weights of at least 0", f"{frame[name].iloc[row]} in row {row}, counted from 0")
    return torch.from_numpy(values.copy())


def _put_edges(data: Data, arcs: torch.Tensor, weight: torch.Tensor | None, directed: bool) -> None:
    if weight is not None:
        arcs, weight = arcs[:, weight > 0], weight[weight > 0]
    if not directed:
        loop = arcs[0] == arcs[1]
        # Both arcs of an edge are neighbours in the order.
        both = torch.stack([arcs, arcs.flip(0)], 2).reshape(2, -1)
        keep = torch.stack([torch.ones_like(loop), ~loop], 1).view(-1)
        arcs, weight = both[:, keep], None if weight is None else weight.repeat_interleave(2)[keep]
    data.edge_index = arcs
    if weight is not None:
        data.edge_weight = weight


def _put_features(data: Data, frame: pandas.DataFrame, positions: np.ndarray[Any, Any]) -> None:
    values = frame.apply(pandas.to_numeric, errors="coerce").to_numpy(np.float32, copy=True, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(place) for place in np.argwhere(bad)[0])
        got = f"{frame.iloc[row, column]} in row {row}, counted from 0"
        fail(f"features.{frame.columns[column]}", "finite numbers", got)
    data.x = torch.zeros(data.num_nodes, values.shape[1])
    data.x[torch.from_numpy(positions)] = torch.from_numpy(values)


def _put_labels(data: Data, frame: pandas.DataFrame, key: str, positions: np.ndarray[Any, Any]) -> None:
    rest = frame.drop(columns=key)
    name = _column("labels", rest, "label", 0)
    places = torch.from_numpy(positions)
    given = read_labels(frame[name], name=f"labels.{name}")
    data.y = torch.full((data.num_nodes,), -1)
    data.y[places] = given.codes
    data.classes = given.classes.tolist()
    truth = _column("labels", rest, "y_true", None)
    if truth:
        known = read_labels(frame[truth], name=f"labels.{truth}")
        unknown = set(known.classes.tolist()) - set(data.classes)
        if unknown:
            fail(f"labels.{truth}", f"classes of {name}", f"{sorted(unknown)[0]!r}")
        data.y_true = torch.full((data.num_nodes,), -1)
        data.y_true[places] = known.codes_among(given.classes)
    column = _column("labels", rest, "split", None)
    if column:
        values = frame[column].fillna("").astype(str).str.strip().str.lower()
        for value in values.unique():
            if value:
                choice(f"labels.{column}", value, PARTS)
        for mask in SPLITS:
            data[mask] = torch.zeros(data.num_nodes, dtype=torch.bool)
            data[mask][places] = torch.from_numpy((values.map(PARTS) == mask).to_numpy(copy=True))
