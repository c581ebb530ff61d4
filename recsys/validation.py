"""The checks that every door of the package shares: matrices of interactions, ids, positions, memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import InputError, fail
from graphnoise.resources import available_memory

Array = NDArray[Any]
Ints = NDArray[np.int64]
# Bytes that are always there.
_SMALL = 1 << 24
_LARGEST = float(np.finfo(np.float32).max)


def as_csr(
    name: str, user_items: Any, *, weights: bool = False, shape: tuple[int | None, int | None] = (None, None)
) -> Any:
    """Return a checked users × items `csr_array` of float32 from `Interactions` or any SciPy matrix.

    Stored zeros are dropped, columns are sorted in each row, and every value becomes 1 unless `weights` keeps it. What
    is in this form already is returned as it is, not copied.

    Args:
        name: Of the argument, for messages.
        user_items: `Interactions`, or a two-dimensional SciPy sparse matrix or array of any format.
        weights: Keep the values (the confidence, as `implicit` reads them).
        shape: The numbers of rows and columns that are expected; None is any.

    Raises:
        InputError: Not a sparse matrix, a value that is negative or not finite, a pair stored twice, or another shape.

    Example:
        >>> as_csr("clicks", sp.coo_array([[0, 3], [1, 0]])).toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        >>> as_csr("clicks", sp.csr_array([[0.0, -3.0]]))
        Traceback (most recent call last):
        graphnoise.errors.InputError: clicks: expected values of at least 0, got -3.0 for user 0, item 1
    """
    # Which needs this module.
    from recsys.interactions import Interactions

    value = getattr(user_items, "matrix", user_items)
    if not sp.issparse(value) or value.ndim != 2:
        fail(name, "Interactions or a SciPy sparse matrix, users × items", _kind(value))
    for axis, what in enumerate(("users", "items")):
        if shape[axis] is not None and value.shape[axis] != shape[axis]:
            fail(name, f"{shape[axis]} {what}", value.shape[axis])
    if isinstance(user_items, Interactions) and not weights:
        # It has been checked.
        return value
    if value.dtype.kind not in "biuf":
        fail(name, "real numbers", f"values of type {value.dtype}")
    # Indices beyond the shape, which SciPy does not look for by itself.
    try:
        if value.format in ("csr", "csc"):
            value.check_format(full_check=True)
        matrix = sp.csr_array(value.tocsr() if value.format != "coo" else _from_coo(name, value))
    except InputError:
        raise
    except (ValueError, IndexError) as error:
        fail(name, "a well-formed sparse matrix", error)
    stored = matrix.nnz
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if matrix.nnz != stored:
        fail(name, "every pair of user and item once", f"{stored - matrix.nnz} repeated")
    data = matrix.data
    bad = ~np.isfinite(data) if data.dtype.kind == "f" else np.zeros(0, bool)
    wrong, expected = (bad, "finite values") if bad.any() else (data < 0, "values of at least 0")
    if data.dtype.kind in "if" and wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        user = int(np.searchsorted(matrix.indptr, where, side="right")) - 1
        fail(name, expected, f"{data[where]} for user {user}, item {int(matrix.indices[where])}")
    if not np.all(data):
        matrix = matrix.copy() if matrix.data is value.data else matrix
        matrix.eliminate_zeros()
        data = matrix.data
    if weights:
        if np.any(data > _LARGEST):
            fail(name, f"values of at most {_LARGEST:.2g}, as float32 holds them", data.max())
        return matrix.astype(np.float32, copy=False)
    if data.dtype == np.float32 and bool((data == 1).all()):
        return matrix
    return sp.csr_array((np.ones(len(data), np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _from_coo(name: str, value: Any) -> Any:
    """Return CSR from triples; SciPy would add up pairs that come twice, and write beyond its arrays."""
    for place, size in zip(value.coords, value.shape, strict=True):
        if len(place) and (place.min() < 0 or place.max() >= size):
            fail(name, f"indices from 0 to {size - 1}", f"values from {place.min()} to {place.max()}")
    keys = value.coords[0].astype(np.int64) * max(value.shape[1], 1) + value.coords[1]
    keys.sort()
    repeated = int((np.diff(keys) == 0).sum())
    if repeated:
        fail(name, "every pair of user and item once", f"{repeated} repeated")
    return value.tocsr()


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {value.ndim} dimensions" if hasattr(value, "ndim") else type(value).__name__


def pair_keys(matrix: Any) -> Ints:
    """Return user × num_items + item for each stored pair of a canonical CSR matrix: sorted, distinct."""
    users = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    keys: Ints = users * matrix.shape[1] + matrix.indices
    return keys


def check_disjoint(parts: Iterable[tuple[str, Any]]) -> None:
    """Check that no two of the named sets of interactions share a pair.

    Args:
        parts: Names, and `Interactions` or SciPy matrices; the later one is named in the message.

    Raises:
        InputError: Two share a pair, or their shapes differ.

    Example:
        >>> a, b = sp.csr_array([[1, 0]]), sp.csr_array([[1, 1]])
        >>> check_disjoint([("train", a), ("validation", b)])
        Traceback (most recent call last):
        graphnoise.errors.InputError: validation: expected no pair of train, got 1 of them, the first user 0, item 0
    """
    seen: list[tuple[str, Any, Ints]] = []
    for name, part in parts:
        matrix = as_csr(name, part)
        keys = pair_keys(matrix)
        for other, shape, taken in seen:
            if matrix.shape != shape:
                fail(name, f"the shape of {other}, {shape}", matrix.shape)
            common = np.intersect1d(taken, keys, assume_unique=True)
            if common.size:
                user, item = divmod(int(common[0]), shape[1])
                fail(name, f"no pair of {other}", f"{common.size} of them, the first user {user}, item {item}")
        seen.append((name, matrix.shape, keys))


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    # Lists of different lengths.
    except ValueError as error:
        fail(name, "a list", error)


def identifiers(name: str, value: Any) -> Array:
    """Return ids, integers or text, one-dimensional and none missing.

    Raises:
        InputError: Another shape, another type, or a missing id.

    Example:
        >>> identifiers("users", ["ann", float("nan")])
        Traceback (most recent call last):
        graphnoise.errors.InputError: users: expected integers or text, got 1 others, the first nan
    """
    ids = _array(name, value)
    if ids.dtype.kind == "U" and isinstance(value, list | tuple):
        # Of text and numbers NumPy makes text, "nan" too.
        ids = np.asarray(value, dtype=object)
    if ids.ndim != 1:
        fail(name, "a list of ids", f"shape {ids.shape}")
    if ids.dtype.kind == "f" and ids.size:
        if not np.isfinite(ids).all():
            fail(name, "an id everywhere", f"{int((~np.isfinite(ids)).sum())} missing (NaN or infinite)")
        fail(name, "integers or text", f"values of type {ids.dtype}")
    if ids.dtype.kind in "OT":
        wrong = [x for x in ids.tolist() if not isinstance(x, str | int) or isinstance(x, bool)]
        if wrong:
            fail(name, "integers or text", f"{len(wrong)} others, the first {wrong[0]!r}")
        if len({isinstance(x, str) for x in ids.tolist()}) > 1:
            fail(name, "all integers or all text", "both")
        return np.array(ids.tolist())
    if ids.dtype.kind not in "iuUSf":
        fail(name, "integers or text", f"values of type {ids.dtype}")
    # An empty list is of floats.
    return ids.astype(np.int64) if ids.dtype.kind == "f" else ids


def numbers(name: str, value: Any, size: int, *, signed: bool = False) -> Array:
    """Return `size` finite numbers, of at least 0 unless `signed`.

    Raises:
        InputError: Another number of them, or one that is not finite or negative.
    """
    array = _array(name, value)
    if array.shape != (size,):
        fail(name, f"{size} numbers, one an interaction", f"shape {array.shape}")
    if array.dtype.kind not in "biuf":
        fail(name, "numbers", f"values of type {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        fail(name, "finite numbers", f"{int((~np.isfinite(array)).sum())} NaN or infinite entries")
    if not signed and size and array.min() < 0:
        fail(name, "numbers of at least 0", array.min())
    return array


def positions(name: str, value: Any, size: int, ids: Array | None = None) -> Ints:
    """Return places from 0 to size - 1: the values themselves, or where `ids` has them.

    Raises:
        InputError: A value that is no such place, or that `ids` lacks.
    """
    given = _array(name, value)
    if given.ndim != 1:
        fail(name, "a list", f"shape {given.shape}")
    if given.size == 0:
        return np.zeros(0, np.int64)
    if ids is not None:
        if given.dtype.kind == "O":
            given = identifiers(name, given)
        order = np.argsort(ids, kind="stable")
        comparable = (given.dtype.kind in "iu") == (ids.dtype.kind in "iu")
        if comparable and given.dtype.kind in "iuUS" and len(ids):
            # one type for both, since the common one of int64 and uint64 is float64; the comparison itself is exact
            sought = given.astype(ids.dtype) if ids.dtype.kind in "iu" else given
            place: Ints = order[np.minimum(np.searchsorted(ids, sought, sorter=order), len(ids) - 1)]
            wrong = ids[place] != given
        else:
            place, wrong = np.zeros(len(given), np.int64), np.ones(len(given), bool)
        if wrong.any():
            fail(name, "known ids", f"{int(wrong.sum())} unknown, the first {given[wrong].tolist()[0]!r}")
        return place
    if given.dtype.kind not in "iu":
        fail(name, "integer positions", f"values of type {given.dtype}")
    wrong = (given < 0) | (given >= size)
    if wrong.any():
        expected = f"positions from 0 to {size - 1}" if size else "no position (there are none)"
        fail(name, expected, f"{int(wrong.sum())} others, the first {given[wrong].tolist()[0]}")
    return given.astype(np.int64)


def check_memory(what: str, size: float, limit: float | None = None) -> None:
    """Refuse to take more memory than there is, before anything is taken.

    Args:
        what: What needs it, for the message.
        size: Bytes that will be taken.
        limit: Bytes that may be; by default nine tenths of the free memory.

    Raises:
        InputError: Size is above the limit; the message has both.

    Example:
        >>> check_memory("EASE of 200000 items", 2 * 8 * 200_000**2, limit=8 * 2**30)
        Traceback (most recent call last):
        graphnoise.errors.InputError: EASE of 200000 items: expected to need at most 8.0 GiB of memory, got 596.0 GiB
    """
    if limit is None and size < _SMALL:
        return
    allowed = 0.9 * available_memory() if limit is None else limit
    if size > allowed:
        fail(what, f"to need at most {allowed / 2**30:.1f} GiB of memory", f"{size / 2**30:.1f} GiB")
