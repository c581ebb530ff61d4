"""Columns of files (CSV, TSV, Parquet, `.npy`) as tables of DuckDB, which sorts and joins them in bounded memory."""

from __future__ import annotations

import csv
import glob
import gzip
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise import checks
from graphnoise.errors import DataError
from graphnoise.io import reading
from graphnoise.resources import byte_count

if TYPE_CHECKING:
    import duckdb
    import pyarrow

# Rows of a result that are in memory at a time.
BATCH = 1 << 20
# Share of the bound that DuckDB may use; the rest is for batches and what its limit does not count.
SHARE = 0.6
BLANKS = "blanks"
# The type of columns of text files, of which the values may be numbers as well.
TEXT = "TEXT"
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


class Columns(NamedTuple):
    """Which columns of files to read.

    Attributes:
        files: Name of the argument that has the files, for messages.
        names: Pairs of an argument and the name of its column, or None; the first two columns are ids.
        defaults: Names of both ids. With these, a text file needs no line of names: its first columns are then taken,
            in the order of `names`.
    """

    files: str
    names: tuple[tuple[str, str | None], ...]
    defaults: tuple[str, str]


class Table(NamedTuple):
    """Where the rows of a file are and its columns ("" for none), as SQL, and the types of the columns."""

    path: Path
    rows: str
    columns: tuple[str, ...]
    types: tuple[str, ...]


def check_files(name: str, value: object) -> list[Path]:
    """Return the paths of one file or of several, which exist."""
    if not isinstance(value, str | Path | list | tuple):
        checks.fail(name, "a file or a list of files", type(value).__name__)
    paths = [checks.path(name, path) for path in ([value] if isinstance(value, str | Path) else value)]
    if not paths:
        checks.fail(name, "at least one file", "none")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    return paths


def memory_bound(memory: object) -> int:
    """Return the bound on memory in bytes."""
    limit = byte_count("memory", memory)
    if limit < 1 << 28:
        checks.fail("memory", "at least 256 MiB", memory)
    return limit


@contextmanager
def connected(folder: Path, limit: int, caller: str, ordered: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a database in a folder, which is removed at the end.

    Args:
        folder: The folder.
        limit: Bound on memory, in bytes.
        caller: Who needs DuckDB, for a message.
        ordered: Whether rows of tables keep the order of the files.
    """
    duckdb = checks.package(caller, "duckdb", "scale")
    with _one_line(str(folder)):
        connection = duckdb.connect(os.path.abspath(folder / "tables.duckdb"))
    try:
        connection.execute(f"SET memory_limit = '{int(limit * SHARE) // 1024} KiB'")
        connection.execute(f"SET temp_directory = '{_quoted(folder / 'sorting')}'")
        connection.execute(f"SET preserve_insertion_order = {ordered}")
        yield connection
    finally:
        connection.close()
        shutil.rmtree(folder / "sorting", ignore_errors=True)
        for file in folder.glob("tables.duckdb*"):
            file.unlink()


def find_table(connection: duckdb.DuckDBPyConnection, path: Path, columns: Columns) -> Table:
    """Return where the columns of a file are.

    Raises:
        InputError: A column is not there, or ids are neither integers nor text.
        DataError: The file is damaged.
    """
    suffix = path.name.lower().rpartition(".")[2]
    names = [name for _, name in columns.names]
    if suffix == "npy":
        for option, name in columns.names[2:]:
            if name is not None:
                checks.fail(option, "None for .npy files, which have two columns", repr(name))
        return Table(path, "batches", ('"0"', '"1"', *[""] * len(names[2:])), ("BIGINT",) * len(names))
    # DuckDB takes * and [ for patterns, and folders such as source=7 for columns.
    file = f"'{_quoted(glob.escape(os.path.abspath(path)))}', hive_partitioning = false"
    if suffix != "parquet":
        rows, fields, named, places = _text_rows(path, file, suffix, columns)
        if not named:
            # Without names, columns are by their place.
            for k, (option, name) in enumerate(columns.names):
                if name is not None and k >= len(fields):
                    expected = ("first", "second", "third", "fourth")[k]
                    checks.fail(option, f"a {expected} column of {path}", f"{len(fields)} columns without names")
            used = ("" if name is None else places[k] for k, name in enumerate(names))
            return Table(path, rows, tuple(used), (TEXT,) * len(names))
        found, types = dict(zip(fields, places, strict=True)), dict.fromkeys(fields, TEXT)
    else:
        rows = f"read_parquet({file})"
        types = {row[0]: row[1] for row in run_query(connection, f"DESCRIBE SELECT * FROM {rows}", str(path))}
        fields, found = list(types), {field: '"' + field.replace('"', '""') + '"' for field in types}
    for option, name in columns.names:
        if name is not None and fields.count(name) != 1:
            checks.fail(option, f"one column of {path} ({', '.join(fields)})"[:300], repr(name))
    for option, name in columns.names[:2]:
        if types[str(name)] not in (*INTEGERS, "VARCHAR", TEXT):
            checks.fail(option, "ids that are integers or text", f"{name!r} of type {types[str(name)]}")
    used = (found.get(name or "", "") if name is not None else "" for name in names)
    return Table(path, rows, tuple(used), tuple(types.get(name or "", "") for name in names))


def fill_table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    kinds: str,
    tables: Sequence[Table],
    values: Callable[[Table], Sequence[str]],
    files: str,
) -> None:
    """Create a table and copy the rows of files to it.

    Args:
        connection: The database.
        name: The new table.
        kinds: Its columns and their types, as SQL.
        tables: The files.
        values: Returns, for a file, the SQL expressions that give the columns of the new table.
        files: Name of the argument that has the files, for messages.
    """
    run_query(connection, f"CREATE TABLE {name} ({kinds})", name)
    for table in tables:
        if table.path.name.lower().endswith(".npy"):
            connection.register("batches", _npy_batches(table.path, name, files))
        run_query(
            connection, f"INSERT INTO {name} SELECT {', '.join(values(table))} FROM {table.rows}", str(table.path)
        )


def run_query(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> list[Any]:
    """Return the rows of a result; messages begin with the name."""
    with _one_line(name):
        return connection.execute(query).fetchall()


def read_batches(
    connection: duckdb.DuckDBPyConnection, query: str, name: str, size: int = BATCH
) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of a result in batches; messages begin with the name."""
    with _one_line(name):
        yield from connection.sql(query).to_arrow_reader(size)


def is_integer(column: str) -> str:
    """Return whether the text of a column is an integer of 64 bits as it would be written, as SQL: 007 is none."""
    # What is no integer at all is NULL.
    return f"coalesce(TRY_CAST({column} AS BIGINT)::VARCHAR = trim({column}::VARCHAR), false)"


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")


def _text_rows(path: Path, file: str, suffix: str, columns: Columns) -> tuple[str, list[str], bool, list[str]]:
    """Return the rows of a text file, its columns, whether the file names them, and the columns as SQL."""
    delimiter, fields, header, skip = _dialect(path, columns)
    places = [f'"{k}"' for k in range(len(fields))]
    # Ids stay text, so that 007 is not 7. DuckDB would guess, and skip lines that do not fit its guess.
    kinds = ", ".join(f"'{k}': 'VARCHAR'" for k in range(len(fields)))
    compression = "gzip" if suffix == "gz" else "none"
    form = f"auto_detect = false, compression = '{compression}', header = {header}, skip = {skip}"
    if delimiter == BLANKS:
        lines = f"read_csv({file}, {form}, delim = '\x1f', quote = '', columns = {{'line': 'VARCHAR'}})"
        rows = _split(lines, len(fields), comments=not header)
    else:
        rows = f"read_csv({file}, {form}, delim = '{delimiter}', quote = '\"', columns = {{{kinds}}})"
        if delimiter == "\t":
            # Blanks at the end of a line.
            places[-1] = f"nullif(rtrim({places[-1]}), '')"
    if not header:
        rows += " WHERE NOT coalesce(starts_with(\"0\", '#'), false)"
    return rows, fields, header, places


def _split(lines: str, count: int, comments: bool) -> str:
    """Return the fields of lines that any number of blanks or tabs separate, as SQL; empty lines are none."""
    wrong = f"error('expected {count} columns in each line, got ' || len(parts) || ': ' || line[:60])"
    kept = f"CASE WHEN len(parts) = {count} THEN parts ELSE {wrong} END"
    inner = "trim(line, ' \t')"
    split = f"SELECT line, string_split_regex({inner}, '[ \t]+') AS parts FROM {lines} WHERE {inner} <> ''"
    split += " AND NOT starts_with(line, '#')" if comments else ""
    names = ", ".join(f'kept[{k + 1}] AS "{k}"' for k in range(count))
    return f"(SELECT {names} FROM (SELECT {kept} AS kept FROM ({split})))"


def _dialect(path: Path, columns: Columns) -> tuple[str, list[str], bool, int]:
    """Return the delimiter of a text file, the names of its columns, whether a line has them, and lines before.

    The delimiter is `BLANKS` where any number of blanks and tabs separates columns, and nothing is quoted.
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
    texts = list(lines.values())
    # Tabs at the end of a line separate nothing, unless another line has some between columns.
    inner = [text.strip(" \t") for text in texts] or [""]
    tabs = "\t" in inner[0] or ("\t" in line and "\t" in inner[-1])
    delimiter = "\t" if tabs else next((d for d in ",;| " if d in inner[0]), None)
    if delimiter is None:
        expected = "text with columns separated by tab, comma, semicolon, | or blank"
        checks.fail(columns.files, expected, f"{path}: {line[:60]!r}")
    if delimiter == " " and not any('"' in text for text in texts):
        delimiter = BLANKS
    try:
        rows = (text.split() for text in texts) if delimiter == BLANKS else csv.reader(texts, delimiter=delimiter)
        fields, *rest = ([field.strip() for field in row] for row in rows)
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from error
    if rest and not any(fields[len(rest[0]) :]):
        # Names of columns with a delimiter behind them that lines do not have.
        fields = fields[: len(rest[0])]
    ids, names = tuple(name for _, name in columns.names[:2]), [name for _, name in columns.names]
    if set(ids) <= set(fields):
        return delimiter, fields, True, skip
    # Ids are often text; these lines are nevertheless names of columns, others than those asked for.
    numbers = [[_is_number(field) for field in row[:2]] for row in (fields, *rest)]
    named = not any(numbers[0]) and all(numbers[-1])
    known = set(names[2:]) & set(fields) or {field.lower() for field in fields} & set(columns.defaults)
    if ids != columns.defaults or known or named:
        option, missing = next(pair for pair in columns.names[:2] if pair[1] not in fields)
        checks.fail(option, f"columns of {path} ({', '.join(fields)})"[:300], repr(missing))
    return delimiter, fields, False, skip


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _npy_batches(path: Path, name: str, files: str) -> pyarrow.RecordBatchReader:
    import pyarrow

    with reading(path):
        pairs = np.load(path, mmap_mode="r", allow_pickle=False)
    if pairs.ndim != 2 or 2 not in pairs.shape or pairs.dtype.kind not in "iu":
        expected = f"integers of shape [num_{name}, 2] or [2, num_{name}]"
        checks.fail(files, expected, f"{path}: {pairs.dtype} {pairs.shape}")
    if pairs.dtype.kind == "u" and pairs.dtype.itemsize == 8 and pairs.size and pairs.max() >= 2**63:
        checks.fail(files, "integers below 2^63", f"{path}: {pairs.max()}")
    pairs = pairs if pairs.shape[1] == 2 else pairs.T
    schema = pyarrow.schema([("0", pyarrow.int64()), ("1", pyarrow.int64())])

    def batches() -> Iterator[pyarrow.RecordBatch]:
        for begin in range(0, len(pairs), BATCH):
            part = pairs[begin : begin + BATCH].astype(
                np.int64, casting="same_kind" if pairs.dtype.kind != "u" else "unsafe"
            )
            yield pyarrow.record_batch([np.ascontiguousarray(part[:, k]) for k in (0, 1)], schema=schema)

    return pyarrow.RecordBatchReader.from_batches(schema, batches())


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn errors of DuckDB into one line."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        line = str(error).splitlines()[0]
        checks.fail("memory", "enough to sort the rows", f"a bound that is too small ({line})")
    except duckdb.Error as error:
        line = str(error).splitlines()[0]
        if "CSV Error" in line:
            # Advice for callers of DuckDB follows.
            lines = itertools.takewhile(lambda text: not text.startswith("Possible"), str(error).splitlines())
            line = ", ".join(text[:80] for text in lines if text)
        if "state machine reached an invalid state" in line:
            line = "expected lines that all end in the same way, and quotes that are closed, got others"
        raise DataError(f"{name}: {line}") from error
