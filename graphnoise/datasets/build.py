"""Graphs from tables of edges that do not fit into memory: sorted by DuckDB, written as compressed rows to a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise import checks, stored
from graphnoise.datasets import duckdb_tables
from graphnoise.datasets.duckdb_tables import SHARE, TEXT, Columns, is_integer

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from graphnoise.datasets.duckdb_tables import Table

# Positions may be as many times the number of edges; larger integers are names, such as hashes.
MAX_SPARSE = 16
COLUMNS = ("source", "target")


@dataclass(frozen=True)
class BuiltGraph:
    """What `build_graph` wrote.

    Attributes:
        folder: The folder, for `Graph.open`.
        num_nodes: Number of nodes.
        num_arcs: Number of arcs; an undirected edge is two, a self-loop one.
        weighted: Whether arcs have weights.
        names: "integers" or "text" where nodes have names; None where ids are positions.
    """

    folder: Path
    num_nodes: int
    num_arcs: int
    weighted: bool
    names: str | None


def build_graph(
    edges: Path | str | Sequence[Path | str],
    folder: Path | str,
    *,
    columns: tuple[str, str] = COLUMNS,
    weight: str | None = None,
    directed: bool = False,
    once: bool = False,
    num_nodes: int | None = None,
    memory: int | str = "4GB",
    progress: Callable[[str], None] = lambda text: None,
) -> BuiltGraph:
    """Write the graph of a table of edges to a folder, with bounded memory; `Graph.open` opens it.

    Args:
        edges: Files of edges: Parquet, `.npy` of integers of shape [num_edges, 2] or [2, num_edges], or text as CSV or
            TSV (also `.gz`), or columns that any number of blanks separates; the first columns are taken where the
            first line has no names of columns.
        folder: The folder to write, which must not exist. It appears when it is complete.
        columns: Names of the columns of sources and of targets.
        weight: Column of weights, at least 0; an edge of weight 0 is none.
        directed: Whether an edge is the arc from its source to its target; by default it is both arcs.
        once: Whether an edge that repeats counts once (its weights have to agree); by default repeated edges add up.
        num_nodes: Number of nodes, whose ids are then their positions 0 to num_nodes - 1.
        memory: Bytes, as a number or such as "4GB". Sorting goes to the disk beyond; the folder of `folder` needs
            some 30 free bytes per arc.
        progress: Called with a text for each stage.

    Ids that are integers from 0, of which the largest is at most 16 times the number of edges, are positions. Other
    ids, text and large integers, are names: nodes get positions in their ascending order, and the folder has the names.

    Raises:
        InputError: A column that is not there or of another type, a missing id, a weight that is negative or no finite
            number, ids beyond `num_nodes`, no edges, a bound too small.
        DataError: A file is absent or damaged, the folder exists, or the disk is full.

    Example:
        >>> import tempfile, pandas
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     edges = pandas.DataFrame({"source": [0, 1, 1], "target": [1, 2, 2], "w": [1.0, 0.5, 0.5]})
        ...     edges.to_parquet(f"{folder}/edges.parquet")
        ...     built = build_graph(f"{folder}/edges.parquet", f"{folder}/graph", weight="w", once=True)
        >>> built.num_nodes, built.num_arcs, built.names
        (3, 4, None)
    """
    paths = duckdb_tables.check_files("edges", edges)
    folder, columns = checks.path("folder", folder), _check_columns(columns, weight)
    if not callable(progress):
        checks.fail("progress", "a function of a text", type(progress).__name__)
    limit = duckdb_tables.memory_bound(memory)
    n = None if num_nodes is None else checks.integer("num_nodes", num_nodes, 1)
    directed, once = checks.flag("directed", directed), checks.flag("once", once)
    with stored.new_folder(folder) as temporary:
        with duckdb_tables.connected(temporary, limit, "build_graph") as connection:
            progress("reading edges")
            _read(connection, paths, columns, weight)
            writer = _Writer(connection, temporary, weight is not None, limit, progress)
            ids = writer.ids(n)
            built = BuiltGraph(folder, ids.num_nodes, writer.write(ids, directed, once), weight is not None, ids.names)
        stored.write_manifest(
            temporary,
            num_nodes=built.num_nodes,
            num_arcs=built.num_arcs,
            weighted=built.weighted,
            undirected=not directed,
            names=built.names,
        )
    return built


def _check_columns(columns: object, weight: object) -> tuple[str, str]:
    pair = tuple(columns) if isinstance(columns, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(column, str) for column in pair) or pair[0] == pair[1]:
        checks.fail("columns", "two different names of columns", repr(columns))
    if weight is not None and not isinstance(weight, str):
        checks.fail("weight", "the name of a column, or None", repr(weight))
    return pair[0], pair[1]


def _read(
    connection: duckdb.DuckDBPyConnection, paths: list[Path], columns: tuple[str, str], weight: str | None
) -> None:
    """Copy the edges to a table with the columns s, t and, with weights, w."""
    wanted = Columns("edges", (("columns", columns[0]), ("columns", columns[1]), ("weight", weight)), COLUMNS)
    tables = [duckdb_tables.find_table(connection, path, wanted) for path in paths]
    text = any({TEXT, "VARCHAR"} & set(table.types[:2]) for table in tables)
    kind = "VARCHAR" if text else "BIGINT"

    def values(table: Table) -> list[str]:
        ends = [f"CAST({end} AS {kind})" for end in table.columns[:2]]
        return ends if weight is None else [*ends, f"coalesce(TRY_CAST({table.columns[2]} AS DOUBLE), -1)"]

    kinds = f"s {kind}, t {kind}" + ("" if weight is None else ", w DOUBLE")
    duckdb_tables.fill_table(connection, "edges", kinds, tables, values, "edges")


class _Ids(NamedTuple):
    """Number of nodes, kind of their names, and the columns of positions with the tables to read them from."""

    num_nodes: int
    names: str | None
    ends: tuple[str, str]
    tables: str


class _Writer:
    """Sorts the edges of a table and writes compressed rows."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        folder: Path,
        weighted: bool,
        limit: int,
        progress: Callable[[str], None],
    ) -> None:
        self.connection, self.folder, self.weighted = connection, folder, weighted
        self.limit, self.progress = limit, progress

    def ids(self, num_nodes: int | None) -> _Ids:
        """Check ids and weights; write the names, where there are any."""
        self.progress("checking ids")
        s, t = (f"TRY_CAST({end} AS BIGINT)" for end in "st")
        integer = f"bool_and({is_integer('s')} AND {is_integer('t')})"
        ends = f"min(least({s}, {t})), max(greatest({s}, {t}))"
        wrong = "count(*) FILTER (NOT (w >= 0 AND w <= 3.4028234e38))" if self.weighted else "0"
        query = f"SELECT count(*), count(*) FILTER (s IS NULL OR t IS NULL), {wrong}, {integer}, {ends} FROM edges"
        count, missing, wrong, integers, low, high = self._query(query)[0]
        if count == 0:
            checks.fail("edges", "at least one edge", "none")
        if missing:
            checks.fail("edges", "an id at both ends of every edge", f"{missing} edges without one")
        if wrong:
            checks.fail("weight", "numbers from 0 to the largest of float32", f"{wrong} others")
        if num_nodes is not None and not (integers and low >= 0 and high < num_nodes):
            checks.fail("num_nodes", f"ids from 0 to {num_nodes - 1}", f"{low} to {high}" if integers else "text")
        if num_nodes is not None or (integers and low >= 0 and high < MAX_SPARSE * count):
            return _Ids(self._fitting(num_nodes or high + 1), None, ("CAST(s AS BIGINT)", "CAST(t AS BIGINT)"), "edges")
        self.progress("listing names")
        kind = "BIGINT" if integers else "VARCHAR"
        both = f"SELECT CAST(s AS {kind}) AS id FROM edges UNION SELECT CAST(t AS {kind}) FROM edges"
        self._query(f"CREATE TABLE names AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM ({both})")
        joined = f"edges JOIN names a ON CAST(s AS {kind}) = a.id JOIN names b ON CAST(t AS {kind}) = b.id"
        self._fitting(self._query("SELECT count(*) FROM names")[0][0])
        return _Ids(self._write_names(integers), "integers" if integers else "text", ("a.place", "b.place"), joined)

    def _fitting(self, num_nodes: int) -> int:
        """Return the number of nodes, of which row bounds are in memory."""
        least = 8 * (num_nodes + 1) / (1 - SHARE)
        if self.limit < least:
            checks.fail("memory", f"at least {least / 1e9:.2f} GB for {num_nodes} nodes", f"{self.limit / 1e9:.2f} GB")
        return num_nodes

    def _write_names(self, integers: bool) -> int:
        count, begin = 0, 0
        with (self.folder / "names.bin").open("wb") as values, (self.folder / "name_begins.bin").open("wb") as begins:
            for batch in self._batches("SELECT id FROM names ORDER BY place"):
                count += len(batch)
                if integers:
                    stored.append(values, batch.column(0).to_numpy(), "<i8")
                    continue
                texts = [text.encode() for text in batch.column(0).to_pylist()]
                stored.append(begins, begin + np.cumsum([0, *map(len, texts)])[:-1], "<i8")
                values.writelines(texts)
                begin += sum(map(len, texts))
            stored.append(begins, np.array([begin]), "<i8")
        if integers:
            (self.folder / "name_begins.bin").unlink()
        return count

    def write(self, ids: _Ids, directed: bool, once: bool) -> int:
        """Write row bounds, columns and weights, and return the number of arcs."""
        source, target = ids.ends
        extra, columns = (", w", "i, j, w") if self.weighted else ("", "i, j")
        known = "WHERE CAST(w AS FLOAT) > 0" if self.weighted else "WHERE true"
        arcs = f"SELECT {target} AS i, {source} AS j{extra} FROM {ids.tables} {known}"
        if not directed:
            arcs += f" UNION ALL SELECT {source}, {target}{extra} FROM {ids.tables} {known} AND {source} <> {target}"
        if once:
            least = ", max(w) AS w, min(w) AS least" if self.weighted else ""
            arcs = f"SELECT i, j{least} FROM ({arcs}) GROUP BY i, j"
            columns += ", least" if self.weighted else ""
        wide = ids.num_nodes >= stored.MAX_NARROW_NODES
        degree, done = np.zeros(ids.num_nodes + 1, np.int64), 0
        self.progress("sorting")
        with (self.folder / "col.bin").open("wb") as col, (self.folder / "weight.bin").open("wb") as weight:
            for batch in self._batches(f"SELECT {columns} FROM ({arcs}) ORDER BY {columns}"):
                rows, sources = (batch.column(k).to_numpy() for k in (0, 1))
                # Rows ascend.
                first = np.flatnonzero(np.diff(rows, prepend=-1))
                degree[rows[first] + 1] += np.diff(first, append=len(rows))
                stored.append(col, sources, "<i8" if wide else "<i4")
                if self.weighted:
                    values = batch.column(2).to_numpy()
                    if once and (values != batch.column(3).to_numpy()).any():
                        checks.fail("weight", "the same weight wherever an edge repeats", "different ones")
                    stored.append(weight, values, "<f4")
                done += len(rows)
                self.progress(f"{done:,} arcs written")
            stored.append(col, np.zeros(stored.PADDING), "<i8" if wide else "<i4")
        if not self.weighted:
            (self.folder / "weight.bin").unlink()
        with (self.folder / "rowptr.bin").open("wb") as rowptr:
            stored.append(rowptr, np.cumsum(degree, out=degree), "<i8")
        return done

    def _query(self, query: str) -> list[Any]:
        return duckdb_tables.run_query(self.connection, query, "edges")

    def _batches(self, query: str) -> Iterator[pyarrow.RecordBatch]:
        yield from duckdb_tables.read_batches(self.connection, query, "edges")
