"""Interactions from tables that do not fit into memory: sorted by DuckDB, written to a folder that is mapped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphnoise import checks, stored
from graphnoise.datasets import duckdb_tables
from graphnoise.datasets.duckdb_tables import INTEGERS, TEXT, Columns, is_integer
from recsys.interactions import DUPLICATES, Interactions
from recsys.mapped import MAX_ITEMS, Rows, complete
from recsys.validation import Array, Ints

if TYPE_CHECKING:
    import duckdb

    from graphnoise.datasets.duckdb_tables import Table

# Rows of a result that are in memory at a time.
BATCH = 1 << 18
# Bytes of ids that are in memory at a time.
ID_BYTES = 1 << 24
# Arguments that name columns of ids, which are their defaults too, and the tables of these ids.
DEFAULTS = ("user", "item")
TABLES = ("users", "items")
# Columns of the table of clicks, in the order of the arguments.
IDS, VALUES = ("user_id", "item_id"), ("rating", "clicked_at")
COLUMNS = IDS + VALUES
# Types of columns of numbers and of dates, up to what is in brackets or behind a blank.
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "UHUGEINT", "BOOLEAN", "VARCHAR", TEXT)
DATES = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
DATE = "^[ \\t]*[0-9]{4}-[0-9]{2}-[0-9]{2}"
LARGEST = repr(float(np.finfo(np.float32).max))


def build_interactions(
    files: Path | str | Sequence[Path | str],
    folder: Path | str,
    *,
    user: str = "user",
    item: str = "item",
    rating: str | None = None,
    time: str | None = None,
    duplicates: str = "error",
    memory: int | str = "4GB",
    progress: Callable[[str], None] = lambda text: None,
) -> Interactions:
    r"""Write the clicks of tables to a folder, with bounded memory, and return them as `Interactions.open` maps them.

    They are those of `Interactions.from_frame` with the same columns of the same table: ids get positions in their
    ascending order, and the folder has them.

    Args:
        files: Files of clicks: Parquet, `.npy` of integers of shape [num_clicks, 2] or
            [2, num_clicks], or text as CSV or TSV (also
            `.gz`), or columns that any number of blanks separates. Text has names of columns in its first line, or
            none: then users, items, ratings and times are the first four columns.
        folder: The folder to write, which must not exist. It appears when it is complete.
        user: Column of the user ids, integers or text. In text files they are integers if all are written as those,
            without leading zeros. Integers of 2^63 or more need the type UBIGINT in all files.
        item: Column of the item ids.
        rating: Column of ratings, finite numbers. A click whose rating is negative is a dislike, without rating and
            time.
        time: Column of times: finite numbers, or dates, which become seconds since 1970. As text, these are written as
            in ISO 8601: 2026-05-17, also with a time of day behind T or a blank (12:30, 12:30:15.25) and a zone (Z,
            +02:00); those without a zone are UTC.
        duplicates: How to treat repeated pairs: "error", or keep the "first" or "last" click, by time where times are
            given and by position in the files among equal ones.
        memory: Bytes, as a number or such as "4GB": what may be allocated beside mapped files. Sorting and ids go to
            the disk beyond; the folder of `folder` should have 60 free bytes per click (an estimate), and more for ids
            that are text. Ids have to fit into the bound too, at the length of the longest (4 bytes per character):
            models hold them in memory.
        progress: Called with a text for each stage.

    Raises:
        InputError: A column that is not there or of another type, a missing id, a rating that is no finite number, a
            time that is neither number nor date, repeated pairs, no clicks, a bound too small.
        DataError: A file is absent or damaged, the folder exists, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = "who,what,stars\nbob,7,5\nann,9,-1\nann,7,4\n"
        ...     _ = Path(folder, "clicks.csv").write_text(table)
        ...     columns = {"user": "who", "item": "what", "rating": "stars"}
        ...     clicks = build_interactions(f"{folder}/clicks.csv", f"{folder}/clicks", **columns)
        ...     clicks.users.tolist(), clicks.items.tolist(), clicks.weighted().toarray().tolist()
        ...     clicks.dislikes.toarray().tolist()
        (['ann', 'bob'], [7, 9], [[4.0, 0.0], [5.0, 0.0]])
        [[0.0, 1.0], [0.0, 0.0]]
    """
    paths, folder = duckdb_tables.check_files("files", files), checks.path("folder", folder)
    names = {"user": user, "item": item, "rating": rating, "time": time}
    for option, name in names.items():
        if not isinstance(name, str) and (name is not None or option in DEFAULTS):
            checks.fail(option, "the name of a column", repr(name)[:60])
    for option, name in names.items():
        if name is not None and list(names.values()).count(name) > 1:
            checks.fail(option, "a column that no other argument names", repr(name))
    checks.choice("duplicates", duplicates, DUPLICATES)
    limit = duckdb_tables.memory_bound(memory)
    if not callable(progress):
        checks.fail("progress", "a function of a text", type(progress).__name__)
    with stored.new_folder(folder) as temporary:
        with duckdb_tables.connected(temporary, limit, "build_interactions", duplicates != "error") as connection:
            builder = _Builder(connection, temporary, limit, progress)
            builder.read(paths, Columns("files", tuple(names.items()), DEFAULTS))
            sizes = builder.write_ids("user_id", "user"), builder.write_ids("item_id", "item")
            likes, dislikes = builder.write_pairs(sizes[0], duplicates)
        complete(temporary, likes, dislikes, sizes[1], TABLES)
    return Interactions.open(folder, check=False)


class _Builder:
    """Copies clicks to a table with the columns `IDS` and those of `VALUES` that there are; sorts and writes them."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, folder: Path, limit: int, progress: Callable[[str], None]
    ) -> None:
        self.connection, self.folder, self.limit, self.progress = connection, folder, limit, progress
        # What to select for each column, as SQL, and the type of that.
        self.values, self.kinds = dict[str, str](), dict[str, str]()

    def read(self, paths: Sequence[Path], columns: Columns) -> None:
        """Copy the clicks to a table, and check them."""
        self.progress("reading clicks")
        self.connection.execute("SET TimeZone = 'UTC'")
        tables = [duckdb_tables.find_table(self.connection, path, columns) for path in paths]
        given = {COLUMNS[k]: k for k, (_, name) in enumerate(columns.names) if name is not None}
        types = {name: {table.types[k] for table in tables} for name, k in given.items()}
        self.kinds = {name: _sql_type(name, columns.names[k][0], types[name]) for name, k in given.items()}

        def values(table: Table) -> list[str]:
            return [_value(table.columns[k], table.types[k], self.kinds[name]) for name, k in given.items()]

        kinds = ", ".join(f"{name} {kind}" for name, kind in self.kinds.items())
        duckdb_tables.fill_table(self.connection, "clicks", kinds, tables, values, columns.files)
        self.values = {name: f"clicks.{name}" for name in given}
        # Text is numbers where all of it is, as for other readers of text files.
        for name in [name for name in given if self.kinds[name] == "VARCHAR" and "VARCHAR" not in types[name]]:
            number = f"bool_and(TRY_CAST({name} AS DOUBLE) IS NOT NULL)"
            integers, numbers = self._query(f"SELECT bool_and({is_integer(name)}), {number} FROM clicks")[0]
            if integers or (numbers and name == "clicked_at"):
                self.kinds[name] = "BIGINT" if integers else "DOUBLE"
                self.values[name] = f"CAST(clicks.{name} AS {self.kinds[name]})"
        if self.kinds.get("clicked_at") == "VARCHAR":
            # Other text, such as "epoch", would be a date too.
            date = f"CASE WHEN regexp_matches(clicked_at, '{DATE}') THEN TRY_CAST(clicked_at AS TIMESTAMPTZ) END"
            self.kinds["clicked_at"], self.values["clicked_at"] = "DOUBLE", f"(epoch_us({date}) / 1e6)"
        self._check(columns)

    def _check(self, columns: Columns) -> None:
        """Raise `InputError` if there are no clicks, or if something is missing."""
        wrong = dict[str, str]()
        for name in self.kinds:
            high = LARGEST if name == "rating" else "1.7976931348623157e308"
            number = f"coalesce(abs(CAST({self.values[name]} AS DOUBLE)) <= {high}, false)"
            wrong[name] = f"count(*) FILTER ({f'NOT {number}' if name in VALUES else f'{name} IS NULL'})"
        total, *counts = self._query(f"SELECT count(*), {', '.join(wrong.values())} FROM clicks")[0]
        if total == 0:
            checks.fail("files", "at least one click", "none")
        expected = {"rating": "a finite number of float32", "clicked_at": "a finite number or a date"}
        for name, count in zip(self.kinds, counts, strict=True):
            if count:
                option = columns.names[COLUMNS.index(name)][0]
                checks.fail(option, f"{expected.get(name, 'an id')} in every row", f"{count} of {total} rows without")

    def write_ids(self, column: str, option: str) -> int:
        """Give ids positions in their order, write them as an array, and return their number."""
        self.progress(f"listing {option}s")
        table, kind = f"{option}s", self.kinds[column]
        ids = f"SELECT DISTINCT {self.values[column]} AS id FROM clicks"
        self._query(f"CREATE TABLE {table} AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM ({ids})")
        text = kind == "VARCHAR"
        of_text = "max(length(id)), count(*) FILTER (contains(id, chr(0)))" if text else "0, 0"
        count, width, zeros = self._query(f"SELECT count(*), {of_text} FROM {table}")[0]
        dtype = np.dtype(f"<U{max(width, 1)}" if text else "<u8" if kind == "UBIGINT" else "<i8")
        if zeros:
            checks.fail(option, "ids without NUL characters", f"{zeros} with some")
        if option == "item" and count > MAX_ITEMS:
            checks.fail("files", f"at most {MAX_ITEMS} items", count)
        if count * dtype.itemsize > self.limit:
            least = f"at least {count * dtype.itemsize / 1e9:.2f} GB for {count} ids of {table}"
            checks.fail("memory", least, f"{self.limit / 1e9:.2f} GB")
        with (self.folder / f"{table}.npy").open("wb") as file:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(file, header)
            size = min(BATCH, max(1, ID_BYTES // dtype.itemsize))
            for (values,) in self._batches(f"SELECT id FROM {table} ORDER BY place", size):
                stored.append(file, values, dtype.str)
        return int(count)

    def write_pairs(self, num_users: int, duplicates: str) -> tuple[Rows, Rows]:
        """Sort and write the pairs, each once, and return likes and dislikes."""
        self.progress("sorting")
        extras = [name for name in self.kinds if name in VALUES]
        joins = " ".join(
            f"JOIN {table} ON {self.values[name]} = {table}.id" for name, table in zip(IDS, TABLES, strict=True)
        )
        selected = ", ".join(["users.place", "items.place", *(self.values[name] for name in extras)])
        order = ["users.place", "items.place"]
        if duplicates != "error":
            # The order of the files decides last.
            order += [*([self.values["clicked_at"]] if "clicked_at" in extras else []), "clicks.rowid"]
        query = f"SELECT {selected} FROM clicks {joins} ORDER BY {', '.join(order)}"
        kinds = {"ratings": "<f4"} if "rating" in extras else {}
        kinds |= {"times": "<f8" if self.kinds["clicked_at"] == "DOUBLE" else "<i8"} if "clicked_at" in extras else {}
        with ExitStack() as files:
            likes, dislikes = Rows(self.folder, files, kinds=kinds), Rows(self.folder, files, "dislike_")
            for users, items, *values in self._distinct(self._batches(query, BATCH), duplicates):
                liked = values[0] >= 0 if "rating" in extras else np.ones(len(users), bool)
                _add(likes, users[liked], items[liked], [value[liked] for value in values])
                _add(dislikes, users[~liked], items[~liked], [])
                self.progress(f"{likes.count + dislikes.count:,} clicks written")
            for rows in (likes, dislikes):
                rows.add(
                    np.zeros(num_users - rows.rows, np.int64), np.empty(0, np.int32), [np.empty(0)] * len(rows.kinds)
                )
        return likes, dislikes

    def _distinct(self, batches: Iterator[list[Array]], duplicates: str) -> Iterator[list[Array]]:
        """Yield sorted clicks without those that repeat a pair; of such, the first or the last one stays."""
        repeats, held, first = 0, list[Array](), (0, 0)
        for batch in batches:
            # The last pair may go on in the next batch.
            rows = [np.concatenate(parts) for parts in zip(held, batch, strict=True)] if held else batch
            again = (rows[0][1:] == rows[0][:-1]) & (rows[1][1:] == rows[1][:-1])
            if again.any() and not repeats:
                first = rows[0][1:][again][0], rows[1][1:][again][0]
            repeats += int(again.sum())
            keep = np.append(~again, True) if duplicates == "last" else np.append(True, ~again)
            rows = [values[keep] for values in rows]
            held = [values[-1:] for values in rows]
            yield [values[:-1] for values in rows]
        yield held
        if repeats and duplicates == "error":
            found = [
                self._query(f"SELECT id FROM {table} WHERE place = {k}")[0][0]
                for table, k in zip(TABLES, first, strict=True)
            ]
            expected = "every pair of user and item once (or duplicates='first' or 'last')"
            checks.fail("files", expected, f"{repeats} repeated, the first of them {found[0]}, {found[1]}")

    def _query(self, query: str) -> list[Any]:
        return duckdb_tables.run_query(self.connection, query, "files")

    def _batches(self, query: str, size: int) -> Iterator[list[Array]]:
        for batch in duckdb_tables.read_batches(self.connection, query, "files", size):
            if len(batch):
                yield [column.to_numpy(zero_copy_only=False) for column in batch.columns]


def _sql_type(name: str, option: str, types: set[str]) -> str:
    """Return the type that holds the values of columns of these types."""
    if name in VALUES:
        known, expected = (NUMBERS, "numbers") if name == "rating" else (NUMBERS + DATES, "numbers or dates")
        for kind in types:
            if re.split("[( ]", kind)[0] not in known:
                checks.fail(option, expected, f"a column of type {kind}")
    if name == "rating":
        return "DOUBLE"
    if types & {TEXT, "VARCHAR"}:
        return "VARCHAR"
    if types == {"UBIGINT"} and name in IDS:
        return "UBIGINT"
    return "BIGINT" if types <= set(INTEGERS) else "DOUBLE"


def _value(column: str, given: str, kind: str) -> str:
    """Return a column of one type as another one, as SQL."""
    if given.split(" ")[0] in DATES and kind == "DOUBLE":
        return f"epoch_us({column}) / 1e6"
    # Text that is no number is missing.
    return f"TRY_CAST({column} AS DOUBLE)" if kind == "DOUBLE" else f"CAST({column} AS {kind})"


def _add(rows: Rows, users: Ints, items: Ints, values: Sequence[Array]) -> None:
    """Add pairs, sorted by user. The last user may have more."""
    last = users[-1] if len(users) else rows.rows
    rows.add(np.searchsorted(users, np.arange(rows.rows, last), side="right"), items, values)
