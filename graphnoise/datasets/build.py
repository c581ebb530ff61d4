"""Graphs from tables of edges that do not fit into memory: sorted by DuckDB, written as compressed rows to a folder."""

from __future__ import annotations

import csv
import glob
import gzip
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise import checks, stored
from graphnoise.errors import DataError, InputError
from graphnoise.io import reading
from graphnoise.resources import byte_count

if TYPE_CHECKING:
    import duckdb
    import pyarrow

# Rows of a result that are in memory at a time.
BATCH = 1 << 20
# Positions may be as many times the number of edges; larger integers are names, such as hashes.
MAX_SPARSE = 16
# Share of the bound that DuckDB may use; the rest is for row bounds, batches and what its limit does not count.
SHARE = 0.6
COLUMNS = ("source", "target")
BLANKS = "blanks"
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


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
    if not isinstance(edges, str | Path | list | tuple):
        checks.fail("edges", "a file or a list of files", type(edges).__name__)
    paths = [checks.path("edges", path) for path in ([edges] if isinstance(edges, str | Path) else edges)]
    folder, columns = checks.path("folder", folder), _check_columns(columns, weight)
    if not callable(progress):
        checks.fail("progress", "a function of a text", type(progress).__name__)
    limit, n = byte_count("memory", memory), None if num_nodes is None else checks.integer("num_nodes", num_nodes, 1)
    if limit < 1 << 28:
        checks.fail("memory", "at least 256 MiB", memory)
    if not paths:
        checks.fail("edges", "at least one file", "none")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    directed, once = checks.flag("directed", directed), checks.flag("once", once)
    with stored.new_folder(folder) as temporary:
        connection = _connect(temporary, limit)
        try:
            progress("reading edges")
            _read(connection, paths, columns, weight)
            writer = _Writer(connection, temporary, weight is not None, limit, progress)
            ids = writer.ids(n)
            built = BuiltGraph(folder, ids.num_nodes, writer.write(ids, directed, once), weight is not None, ids.names)
        finally:
            connection.close()
            shutil.rmtree(temporary / "sorting", ignore_errors=True)
            for file in temporary.glob("edges.duckdb*"):
                file.unlink()
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


def _connect(temporary: Path, limit: int) -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ImportError:
        raise InputError("build_graph needs DuckDB (the extra `scale`): pip install 'graphnoise[scale]'") from None
    connection = duckdb.connect(os.path.abspath(temporary / "edges.duckdb"))
    connection.execute(f"SET memory_limit = '{int(limit * SHARE) // 1024} KiB'")
    connection.execute(f"SET temp_directory = '{_quoted(temporary / 'sorting')}'")
    connection.execute("SET preserve_insertion_order = false")
    return connection


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _read(
    connection: duckdb.DuckDBPyConnection, paths: list[Path], columns: tuple[str, str], weight: str | None
) -> None:
    """Copy the edges to a table with the columns s, t and, with weights, w."""
    tables = [_table(connection, path, columns, weight) for path in paths]
    kind = "VARCHAR" if any(table.text for table in tables) else "BIGINT"
    extra = "" if weight is None else ", w DOUBLE"
    connection.execute(f"CREATE TABLE edges (s {kind}, t {kind}{extra})")
    for path, table in zip(paths, tables, strict=True):
        if path.name.lower().endswith(".npy"):
            connection.register("batches", _npy_batches(path))
        ends = ", ".join(f"CAST({end} AS {kind})" for end in table.ends)
        extra = "" if weight is None else f", coalesce(TRY_CAST({table.weight} AS DOUBLE), -1)"
        _run(connection, f"INSERT INTO edges SELECT {ends}{extra} FROM {table.rows}", str(path))


class _Table(NamedTuple):
    """Where the rows of a file are, its columns of ends and of weights, as SQL, and whether ids are text."""

    rows: str
    ends: tuple[str, str]
    weight: str
    text: bool


def _table(connection: duckdb.DuckDBPyConnection, path: Path, columns: tuple[str, str], weight: str | None) -> _Table:
    suffix = path.name.lower().rpartition(".")[2]
    if suffix == "npy":
        if weight is not None:
            checks.fail("weight", "None for .npy files, which have two columns", repr(weight))
        return _Table("batches", ("s", "t"), "", False)
    # DuckDB takes * and [ for patterns, and folders such as source=7 for columns.
    file = f"'{_quoted(glob.escape(os.path.abspath(path)))}', hive_partitioning = false"
    if suffix != "parquet":
        delimiter, fields, header, skip = _dialect(path, columns, weight)
        # Ids stay text, so that 007 is not 7. DuckDB would guess, and skip lines that do not fit its guess.
        kinds = ", ".join(f"'{k}': 'VARCHAR'" for k in range(len(fields)))
        compression = "gzip" if suffix == "gz" else "none"
        form = f"auto_detect = false, compression = '{compression}', header = {header}, skip = {skip}"
        if delimiter == BLANKS:
            lines = f"read_csv({file}, {form}, delim = '\x1f', quote = '', columns = {{'line': 'VARCHAR'}})"
            table = _split(lines, len(fields), comments=not header)
        else:
            table = f"read_csv({file}, {form}, delim = '{delimiter}', quote = '\"', columns = {{{kinds}}})"
        if not header:
            # Without names the first two columns are the ends, and the third is the weight.
            if weight is not None and len(fields) < 3:
                checks.fail("weight", f"a third column of {path}", f"{len(fields)} columns without names")
            return _Table(f"{table} WHERE NOT coalesce(starts_with(\"0\", '#'), false)", ('"0"', '"1"'), '"2"', True)
        names = dict(zip(fields, (f'"{k}"' for k in range(len(fields))), strict=True))
        types = dict.fromkeys(fields, "VARCHAR")
    else:
        table = f"read_parquet({file})"
        types = {row[0]: row[1] for row in _run(connection, f"DESCRIBE SELECT * FROM {table}", str(path))}
        fields, names = list(types), {field: _name(field) for field in types}
    for option, column in (("columns", columns[0]), ("columns", columns[1]), ("weight", weight)):
        if column is not None and fields.count(column) != 1:
            checks.fail(option, f"one column of {path} ({', '.join(fields)})", repr(column))
    for column in columns:
        if types[column] not in (*INTEGERS, "VARCHAR"):
            checks.fail("columns", "ids that are integers or text", f"{column!r} of type {types[column]}")
    ends = names[columns[0]], names[columns[1]]
    return _Table(table, ends, names.get(weight or "", ""), "VARCHAR" in (types[columns[0]], types[columns[1]]))


def _split(lines: str, count: int, comments: bool) -> str:
    """Return the fields of lines that any number of blanks separate, as SQL; empty lines are none."""
    wrong = f"error('expected {count} columns in each line, got ' || len(parts) || ': ' || line[:60])"
    kept = f"CASE WHEN len(parts) = {count} THEN parts ELSE {wrong} END"
    split = f"SELECT line, string_split_regex(trim(line), ' +') AS parts FROM {lines} WHERE trim(line) <> ''"
    split += " AND NOT starts_with(line, '#')" if comments else ""
    names = ", ".join(f'kept[{k + 1}] AS "{k}"' for k in range(count))
    return f"(SELECT {names} FROM (SELECT {kept} AS kept FROM ({split})))"


def _dialect(path: Path, columns: tuple[str, str], weight: str | None) -> tuple[str, list[str], bool, int]:
    """Return the delimiter of a text file, the names of its columns, whether a line has them, and lines before.

    The delimiter is `BLANKS` where any number of blanks separates columns, and nothing is quoted.
    """
    lines = dict[int, str]()
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with reading(path), opened(path, "rt", encoding="utf-8-sig") as file:
        for k, line in enumerate(itertools.islice(file, 10_000)):
            if line.strip() and not line.startswith("#"):
                lines[k] = line.rstrip("\r\n")
            if len(lines) == 2:
                break
    skip, line = next(iter(lines.items()), (0, ""))
    delimiter = next((d for d in "\t,;| " if d in line.strip(" ")), None)
    if delimiter is None:
        expected = "text with columns separated by tab, comma, semicolon, | or blank"
        checks.fail("edges", expected, f"{path}: {line[:60]!r}")
    if delimiter == " " and not any('"' in line for line in lines.values()):
        delimiter = BLANKS
    try:
        texts = lines.values()
        rows = (text.split() for text in texts) if delimiter == BLANKS else csv.reader(texts, delimiter=delimiter)
        fields, *rest = ([field.strip() for field in row] for row in rows)
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from error
    if set(columns) <= set(fields):
        return delimiter, fields, True, skip
    # Ids are often text; these lines are nevertheless names of columns, others than those asked for.
    numbers = [[_is_integer(field) for field in row[:2]] for row in (fields, *rest)]
    named = not any(numbers[0]) and all(numbers[-1])
    if columns != COLUMNS or weight in fields or named or {field.lower() for field in fields} & set(COLUMNS):
        missing = next(column for column in columns if column not in fields)
        checks.fail("columns", f"columns of {path} ({', '.join(fields)})"[:300], repr(missing))
    return delimiter, fields, False, skip


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _npy_batches(path: Path) -> pyarrow.RecordBatchReader:
    import pyarrow

    with reading(path):
        pairs = np.load(path, mmap_mode="r", allow_pickle=False)
    if pairs.ndim != 2 or 2 not in pairs.shape or pairs.dtype.kind not in "iu":
        checks.fail(
            "edges", "integers of shape [num_edges, 2] or [2, num_edges]", f"{path}: {pairs.dtype} {pairs.shape}"
        )
    if pairs.dtype.kind == "u" and pairs.dtype.itemsize == 8 and pairs.size and pairs.max() >= 2**63:
        checks.fail("edges", "integers below 2^63", f"{path}: {pairs.max()}")
    pairs = pairs if pairs.shape[1] == 2 else pairs.T
    schema = pyarrow.schema([("s", pyarrow.int64()), ("t", pyarrow.int64())])

    def batches() -> Iterator[pyarrow.RecordBatch]:
        for begin in range(0, len(pairs), BATCH):
            part = pairs[begin : begin + BATCH].astype(
                np.int64, casting="same_kind" if pairs.dtype.kind != "u" else "unsafe"
            )
            yield pyarrow.record_batch([np.ascontiguousarray(part[:, k]) for k in (0, 1)], schema=schema)

    return pyarrow.RecordBatchReader.from_batches(schema, batches())


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
        same = f"{s}::VARCHAR = trim(s::VARCHAR) AND {t}::VARCHAR = trim(t::VARCHAR)"
        # No integer at all is NULL, which bool_and passes over.
        integer = f"bool_and(coalesce({same}, false))"
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
        return _run(self.connection, query, "edges")

    def _batches(self, query: str) -> Iterator[pyarrow.RecordBatch]:
        with _one_line("edges"):
            yield from self.connection.sql(query).to_arrow_reader(BATCH)


def _run(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> list[Any]:
    with _one_line(name):
        return connection.execute(query).fetchall()


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn errors of DuckDB into one line."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        line = str(error).splitlines()[0]
        checks.fail("memory", "enough to sort the edges", f"a bound that is too small ({line})")
    except duckdb.Error as error:
        line = str(error).splitlines()[0]
        if "state machine reached an invalid state" in line:
            line = "expected lines that all end in the same way, and quotes that are closed, got others"
        raise DataError(f"{name}: {line}") from error
