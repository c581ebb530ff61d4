"""Argument checks shared by the package: sparse matrices, ids, positions, memory."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import InputError, check_format, fail

Array = NDArray[Any]
Ints = NDArray[np.int64]
# Positions (or ids) of users or items: one, or a list.
PositionsLike: TypeAlias = int | np.integer[Any] | Sequence[int] | NDArray[Any]
IdsLike: TypeAlias = Sequence[int] | Sequence[str] | NDArray[Any]
# Ids among which a message looks for the nearest.
MAX_COMPARED = 10_000
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def check_csr(
    name: str,
    matrix: Any,
    *,
    weights: bool = False,
    signed: bool = False,
    shape: tuple[int | None, int | None] = (None, None),
) -> sp.csr_array:
    """Return a checked users × items `csr_array` of float32 from any SciPy sparse matrix.

    Stored zeros are dropped, columns are sorted in each row, and every value becomes 1 unless `weights` keeps it. A
    matrix that is in this form already is returned without a copy.

    Args:
        name: Name of the argument, for messages.
        matrix: A two-dimensional SciPy sparse matrix or array of any format.
        weights: Keep the values (the confidence, in the terms of `implicit`).
        signed: Allow negative values.
        shape: The expected numbers of rows and columns; None is any.

    Raises:
        InputError: Not a sparse matrix, a value that is negative or not finite, a pair stored twice, or another shape.

    Example:
        >>> check_csr("clicks", sp.coo_array([[0, 3], [1, 0]])).toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        >>> check_csr("clicks", sp.csr_array([[0.0, np.nan]]))
        Traceback (most recent call last):
        graphnoise.errors.InputError: clicks: expected finite values, got nan for user 0, item 1
    """
    if not sp.issparse(matrix) or matrix.ndim != 2:
        fail(name, "Interactions or a SciPy sparse matrix, users × items", f"{_kind(matrix)}{_remedy(matrix)}")
    check_shape(name, matrix, shape)
    if matrix.dtype.kind not in "biuf":
        fail(name, "real numbers", f"values of type {matrix.dtype}")
    # SciPy does not check by itself that indices lie within the shape.
    try:
        if matrix.format in ("csr", "csc"):
            check_format(matrix)
        csr = sp.csr_array(matrix.tocsr() if matrix.format != "coo" else _from_coo(name, matrix))
    except InputError:
        raise
    except (ValueError, IndexError) as error:
        fail(name, "a well-formed sparse matrix", error)
    stored = csr.nnz
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if csr.nnz != stored:
        fail(name, "every pair of user and item once", f"{stored - csr.nnz} repeated")
    data = csr.data
    bad = ~np.isfinite(data) if data.dtype.kind == "f" else np.zeros(0, bool)
    wrong, expected = (
        (bad, "finite values")
        if bad.any()
        else (
            (data < 0) & (not signed),
            "values of at least 0",
        )
    )
    if data.dtype.kind in "if" and wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        user = int(np.searchsorted(csr.indptr, where, side="right")) - 1
        hint = "" if bad.any() else "; dislikes: Interactions.from_csr(matrix)"
        fail(name, expected, f"{data[where]} for user {user}, item {int(csr.indices[where])}{hint}")
    if not np.all(data):
        csr = csr.copy() if csr.data is matrix.data else csr
        csr.eliminate_zeros()
        data = csr.data
    if weights:
        if np.any(np.abs(data) > _MAX_FLOAT32):
            fail(name, f"values of at most {_MAX_FLOAT32:.2g}, as float32 holds them", data.max())
        return csr.astype(np.float32, copy=False)
    if data.dtype == np.float32 and bool((data == 1).all()):
        return csr
    return sp.csr_array((np.ones(len(data), np.float32), csr.indices, csr.indptr), shape=csr.shape)


def check_shape(name: str, matrix: Any, shape: tuple[int | None, int | None]) -> None:
    """Raise `InputError` unless the matrix has these numbers of rows and columns; None is any.

    Rows are users, unless the name is item_users.
    """
    hint = transposed(matrix.shape, shape)
    nouns = ("items", "users") if name == "item_users" else ("users", "items")
    for expected, size, noun in zip(shape, matrix.shape, nouns, strict=True):
        if expected is not None and size != expected:
            fail(name, f"{expected} {noun}", f"{size}{hint}")


def transposed(got: tuple[int, int], expected: tuple[int | None, int | None]) -> str:
    """Return a hint for a message where the shape fits once rows and columns are exchanged, or ""."""
    fits = all(size is None or size == other for size, other in zip(expected, got[::-1], strict=True))
    return " (transposed?)" if fits and got != expected else ""


def _from_coo(name: str, value: Any) -> sp.csr_array:
    """Return CSR from triples; SciPy would sum repeated pairs and write out of bounds for invalid indices."""
    for indices, size in zip(value.coords, value.shape, strict=True):
        if len(indices) and (indices.min() < 0 or indices.max() >= size):
            fail(name, f"indices from 0 to {size - 1}", f"values from {indices.min()} to {indices.max()}")
    keys = value.coords[0].astype(np.int64) * max(value.shape[1], 1) + value.coords[1]
    keys.sort()
    repeated = int((np.diff(keys) == 0).sum())
    if repeated:
        fail(name, "every pair of user and item once", f"{repeated} repeated")
    return value.tocsr()


def _remedy(value: Any) -> str:
    """Return how to make interactions of a value of another kind."""
    if hasattr(value, "columns") or isinstance(value, Mapping):
        return "; a table with named columns: Interactions.from_frame(table, user=..., item=...)"
    if all(hasattr(value, name) for name in ("train", "validation", "test")):
        return "; its parts are .train, .validation and .test"
    if getattr(value, "ndim", None) == 2 or type(value).__module__.startswith("torch"):
        return "; of a dense one: scipy.sparse.csr_array(matrix)"
    if isinstance(value, list | tuple):
        return "; of lists of users and of items: Interactions.from_triples(users, items)"
    return ""


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {value.ndim} dimensions" if hasattr(value, "ndim") else type(value).__name__


def pair_keys(matrix: sp.csr_array) -> Ints:
    """Return user × num_items + item for each stored pair of a canonical CSR matrix: sorted, distinct."""
    users = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    keys: Ints = users * matrix.shape[1] + matrix.indices
    return keys


def common_pairs(a: sp.csr_array, b: sp.csr_array) -> tuple[int, int]:
    """Return how many pairs two canonical CSR matrices of one shape share, and the key of the first, or -1."""
    count, first = 0, -1
    for rows in _row_blocks(a, b):
        common = np.intersect1d(pair_keys(a[rows]), pair_keys(b[rows]), assume_unique=True)
        if common.size and not count:
            first = rows.start * a.shape[1] + int(common[0])
        count += common.size
    return count, first


def _row_blocks(*matrices: sp.csr_array, size: int = 1 << 22) -> Iterator[slice]:
    """Yield slices of consecutive rows with at most so many entries, or one row."""
    rows, begin = matrices[0].shape[0], 0
    ends = sum(matrix.indptr.astype(np.int64) for matrix in matrices)
    while begin < rows:
        end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + size, side="right")) - 1)
        yield slice(begin, end)
        begin = end


def as_array(name: str, value: Any) -> Array:
    """Return an array of a list, an array or a tensor."""
    if sp.issparse(value):
        fail(name, "a list", _kind(value))
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        # Nested lists of different lengths; sparse and quantised tensors, or without data.
        fail(name, "a list", str(error).partition("\n")[0])


def identifiers(name: str, value: Any) -> Array:
    """Return ids, integers or text, one-dimensional and none missing.

    Raises:
        InputError: Another shape, another type, or a missing id.

    Example:
        >>> identifiers("users", ["ann", float("nan")])
        Traceback (most recent call last):
        graphnoise.errors.InputError: users: expected integers or text, got 1 others, the first nan
    """
    ids = as_array(name, value)
    if isinstance(value, list | tuple) and (
        ids.dtype.kind == "U" or (ids.dtype.kind == "f" and all(isinstance(x, int) for x in value))
    ):
        # NumPy converts a mix of text and numbers to text, NaN included, and integers beyond 64 bits to floats.
        ids = np.asarray(value, dtype=object)
    if ids.ndim != 1 or isinstance(value, Mapping):
        table = hasattr(value, "columns") or isinstance(value, Mapping)
        pairs = ids.ndim == 2 and ids.shape[1] in (2, 3, 4)
        hint = "; one list each: users, items, ratings, times = zip(*triples)" if pairs else ""
        fail(name, "a list of ids", f"{type(value).__name__}{_remedy(value)}" if table else f"shape {ids.shape}{hint}")
    if ids.dtype.kind == "f" and ids.size:
        if not np.isfinite(ids).all():
            fail(name, "an id everywhere", f"{int((~np.isfinite(ids)).sum())} missing (NaN or infinite)")
        whole = "; whole numbers as integers: ids.astype(int)" if (ids == np.floor(ids)).all() else ""
        fail(name, "integers or text", f"values of type {ids.dtype}{whole}")
    if ids.dtype.kind in "OT":
        wrong = [x for x in ids.tolist() if not isinstance(x, str | int | np.integer) or isinstance(x, bool)]
        if wrong:
            fail(name, "integers or text", f"{len(wrong)} others, the first {wrong[0]!r}")
        if len({isinstance(x, str) for x in ids.tolist()}) > 1:
            fail(name, "all integers or all text", "both")
        ids, given = np.array(ids.tolist()), ids
        if ids.size and ids.dtype.kind not in "iuU":
            fail(name, "integers that one type of 64 bits holds, or text", f"up to {max(given.tolist())}")
    if ids.dtype.kind not in "iuUSf":
        fail(name, "integers or text", f"values of type {ids.dtype}")
    # An empty list has the type float64.
    return ids.astype(np.int64) if ids.dtype.kind == "f" else ids


def numbers(name: str, value: Any, size: int, *, signed: bool = False) -> Array:
    """Return `size` finite numbers, of at least 0 unless `signed`.

    Raises:
        InputError: Another number of them, or one that is not finite or negative.
    """
    array = as_array(name, value)
    if array.shape != (size,):
        fail(name, f"{size} numbers, one per interaction", f"shape {array.shape}")
    if array.dtype.kind not in "biuf":
        fail(name, "numbers", f"values of type {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        fail(name, "finite numbers", f"{int((~np.isfinite(array)).sum())} NaN or infinite entries")
    if not signed and size and array.min() < 0:
        fail(name, "numbers of at least 0", array.min())
    return array


def seconds(name: str, value: Any) -> Array:
    """Return times as an array; dates, which may be text in ISO 8601, as seconds since 1970, by default of UTC.

    Raises:
        InputError: Neither numbers nor dates.

    Example:
        >>> seconds("times", ["1970-01-02", "1970-01-01T00:00:30Z"]).tolist()
        [86400.0, 30.0]
    """
    times: Array = as_array(name, value)
    if times.dtype.kind in "biuf" or times.size == 0:
        return times
    import pandas

    try:
        # Dates of a series may have a time zone, which an array has not.
        column = value if isinstance(value, pandas.Series) else pandas.Series(times)
        dates = column.dtype.kind == "M"
        # pandas would read "now" as a date.
        odd = column.isna() if dates else ~column.astype(str).str.match(r"\s*[0-9]")
        if odd.any():
            fail(name, "numbers or dates", f"{int(odd.sum())} others, the first {column[odd].iloc[0]!r}")
        moments = pandas.to_datetime(column, utc=True, format=None if dates else "ISO8601")
        return np.asarray(moments.dt.tz_localize(None).astype("datetime64[us]").astype("int64") / 1e6)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        fail(name, "numbers or dates", f"values of type {times.dtype} ({error})")


def positions(name: str, value: Any, size: int, ids: Array | None = None, *, hint: str = "") -> Ints:
    """Return positions from 0 to size - 1: the values themselves, or their positions in `ids`.

    Raises:
        InputError: A value out of range (`hint` ends the message), or one that is not in `ids`.
    """
    values = as_array(name, value)
    if values.ndim != 1:
        fail(name, "a list", f"shape {values.shape}")
    if values.size == 0:
        return np.zeros(0, np.int64)
    if ids is not None:
        if values.dtype.kind in "OUST":
            # A list, of which NumPy would make text of numbers.
            values = identifiers(name, value)
        order = np.argsort(ids, kind="stable")
        comparable = (values.dtype.kind in "iu") == (ids.dtype.kind in "iu")
        if comparable and values.dtype.kind in "iuUS" and len(ids):
            # One type for both, since int64 and uint64 promote to float64; the comparison itself is exact.
            converted = values.astype(ids.dtype) if ids.dtype.kind in "iu" else values
            rows: Ints = order[np.minimum(np.searchsorted(ids, converted, sorter=order), len(ids) - 1)]
            wrong = ids[rows] != values
        else:
            rows, wrong = np.zeros(len(values), np.int64), np.ones(len(values), bool)
        if wrong.any():
            first = values[wrong].tolist()[0]
            fail(name, "known ids", f"{int(wrong.sum())} unknown, the first {first!r}{_nearest(first, ids)}")
        return rows
    if values.dtype.kind not in "iu":
        of_ids = "; of ids: interactions.user_positions(ids) or .item_positions(ids), or fit on Interactions with ids"
        got = f"values of type {values.dtype}{of_ids if values.dtype.kind in 'OUST' else ''}"
        fail(name, "integer positions", got)
    wrong = (values < 0) | (values >= size)
    if wrong.any():
        expected = f"positions from 0 to {size - 1}" if size else "no position (there are none)"
        fail(name, expected, f"{int(wrong.sum())} others, the first {values[wrong].tolist()[0]}{hint}")
    return values.astype(np.int64)


def _nearest(value: Any, ids: Array) -> str:
    """Return the ids that are most like an unknown one, or of which type they are, for a message."""
    kinds = "text" if ids.dtype.kind in "US" else "integers"
    if not len(ids) or isinstance(value, str) != (kinds == "text"):
        return f" (the ids are {kinds}, such as {ids.tolist()[0]!r})" if len(ids) else ""
    if kinds == "integers":
        return ""
    # All would take seconds where there are many: those around its place in the order.
    if len(ids) > MAX_COMPARED:
        ids = np.sort(ids)
        first = max(0, int(np.searchsorted(ids, value)) - MAX_COMPARED // 2)
        ids = ids[first : first + MAX_COMPARED]
    near = difflib.get_close_matches(value, ids.tolist(), cutoff=0.5)
    return f" (did you mean {' or '.join(repr(name) for name in near)}?)" if near else ""
