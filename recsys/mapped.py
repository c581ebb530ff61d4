"""Interactions as files in a folder, which are mapped into memory and never read as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import scipy.sparse as sp

from graphnoise import stored
from graphnoise.checks import fail, flag, path
from graphnoise.errors import DataError
from graphnoise.io import reading
from recsys.validation import Array

MANIFEST = "interactions.json"
# SciPy copies columns of matrices with more entries.
MAX_PAIRS = 2**31 - 1
# Items are numbers of 32 bits.
MAX_ITEMS = 2**31
# Files of what each interaction has.
KINDS = {"ratings": ("<f4",), "times": ("<i8", "<f8")}


class Mapped:
    """The part of `Interactions` that reads and writes folders."""

    @classmethod
    def open(cls, folder: Path | str, *, check: bool = True) -> Self:
        """Map the files that `save_mapped` or `build` wrote: pages are read when they are used.

        `MatrixFactorization` trains in the mode "deterministic" without a copy of them.

        Args:
            folder: The folder.
            check: Whether to check that the items of each row ascend, that values are finite and that ids differ, which
                reads each file once.

        Raises:
            DataError: No such folder, or it is incomplete, damaged or of another version.
        """
        interactions = object.__new__(cls)
        interactions.__dict__.update(_read(folder, flag("check", check)))
        return interactions

    def save_mapped(self, folder: Path | str) -> None:
        """Write the interactions to files in a new folder, for `open`. The folder appears when it is complete.

        Raises:
            InputError: There are dislikes.
            DataError: The folder exists, or cannot be written.

        Example:
            >>> import tempfile
            >>> from recsys import Interactions
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Interactions.from_csr(sp.csr_array([[0, 2], [1, 0]])).save_mapped(f"{folder}/clicks")
            ...     Interactions.open(f"{folder}/clicks")
            Interactions(2 users × 2 items, 2 interactions, with ratings)
        """
        self.build(folder, [self])

    @classmethod
    def build(cls, folder: Path | str, parts: Iterable[Self]) -> None:
        """Write the interactions of consecutive users, a part at a time, to a new folder, for `open`.

        Args:
            folder: The folder, which appears when it is complete.
            parts: Interactions of the first users, of the next ones and so on, for the same items.

        Raises:
            InputError: No part, parts with dislikes, or that differ in items or in what they have.
            DataError: The folder exists, or cannot be written.

        Example:
            >>> import tempfile
            >>> from recsys import Interactions
            >>> part = Interactions.from_csr(sp.csr_array([[0, 1], [1, 0]]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Interactions.build(f"{folder}/clicks", [part, part])
            ...     Interactions.open(f"{folder}/clicks")
            Interactions(4 users × 2 items, 4 interactions)
        """
        try:
            each = iter(parts)
        except TypeError:
            fail("parts", "interactions of consecutive users", type(parts).__name__)
        _write(path("folder", folder), _checked(cls, each))


def _checked(cls: type[Any], parts: Iterable[Any]) -> Iterator[Any]:
    for part in parts:
        if not isinstance(part, cls):
            fail("parts", "Interactions", type(part).__name__)
        yield part


def _write(folder: Path, parts: Iterator[Any]) -> None:
    first: Any = None
    users, done = list[Array](), 0
    with stored.new_folder(folder) as temporary, ExitStack() as files:

        def opened(name: str) -> BinaryIO:
            return files.enter_context((temporary / f"{name}.bin").open("wb"))

        rowptr, col, ones = (opened(name) for name in ("rowptr", "col", "ones"))
        extras = dict[str, BinaryIO]()
        for part in parts:
            if first is None:
                first = part
                extras = {name: opened(name) for name in KINDS if getattr(part, name) is not None}
                if first.num_items > MAX_ITEMS:
                    fail("parts", f"at most {MAX_ITEMS} items", first.num_items)
                stored.append(rowptr, np.zeros(1), "<i8")
            _check_part(first, part)
            matrix, count = part.matrix, len(part)
            stored.append(rowptr, matrix.indptr[1:].astype(np.int64) + done, "<i8")
            stored.append(col, matrix.indices, "<i4")
            stored.append(ones, matrix.data, "<f4")
            for name, file in extras.items():
                stored.append(file, getattr(part, name), _kind(first, name))
            done += count
            if done > MAX_PAIRS:
                fail("parts", f"at most {MAX_PAIRS} interactions", f"{done} or more")
            if part.users is not None:
                users.append(part.users)
        if first is None:
            fail("parts", "interactions of at least one part", "none")
        files.close()
        ids = {} if first.items is None else {"items": first.items}
        if users:
            ids["users"] = np.concatenate(users)
            if len(np.unique(ids["users"])) != len(ids["users"]):
                fail("parts", "users whose ids differ", "some that repeat")
        for name, values in ids.items():
            np.save(temporary / f"{name}.npy", values, allow_pickle=False)
        num_users = (temporary / "rowptr.bin").stat().st_size // 8 - 1
        kinds = {name: _kind(first, name) for name in extras}
        stored.write_manifest(
            temporary, MANIFEST, num_users=num_users, num_items=first.num_items, pairs=done, extras=kinds, ids=list(ids)
        )


def _kind(part: Any, name: str) -> str:
    return KINDS[name][-1 if getattr(part, name).dtype.kind == "f" else 0]


def _check_part(first: Any, part: Any) -> None:
    if part.dislikes is not None:
        fail("parts", "interactions without dislikes", "some with")
    same = part.num_items == first.num_items and (part.users is None) == (first.users is None)
    same &= (part.items is None) == (first.items is None) and np.array_equal(part.items, first.items)
    kinds = [getattr(part, name) is not None and _kind(part, name) for name in KINDS]
    if not same or kinds != [getattr(first, name) is not None and _kind(first, name) for name in KINDS]:
        fail("parts", "the items, ratings, times and kinds of ids of the first part in all of them", "others")


def _read(folder: Path | str, check: bool) -> dict[str, Any]:
    folder = path("folder", folder)
    entries = stored.read_manifest(folder / MANIFEST, "`Interactions.save_mapped`")
    with reading(folder / MANIFEST):
        shape, pairs = (int(entries["num_users"]), int(entries["num_items"])), int(entries["pairs"])
        sizes, extras, ids = dict(entries["bytes"]), dict(entries["extras"]), list(entries["ids"])
        if not (set(extras) <= set(KINDS) and all(kind in KINDS[name] for name, kind in extras.items())):
            raise ValueError("unknown kinds of arrays")
        if min(*shape, pairs) < 0 or pairs > MAX_PAIRS or shape[1] > MAX_ITEMS or not set(ids) <= {"users", "items"}:
            raise ValueError("numbers out of range")

    def mapped(name: str, kind: str, length: int) -> Array:
        return stored.map_array(folder / f"{name}.bin", sizes.get(f"{name}.bin"), kind, length)

    rowptr, col = mapped("rowptr", "<i8", shape[0] + 1), mapped("col", "<i4", pairs)
    stored.check_compressed(folder, rowptr, col, shape[1], pairs, check)
    ones = mapped("ones", "<f4", pairs)
    fields: dict[str, Any] = {name: mapped(name, kind, pairs) for name, kind in extras.items()}
    for begin in range(0, pairs if check else 0, stored.CHUNK):
        # Where columns do not ascend, another row has to begin.
        falls = np.flatnonzero(np.diff(col[begin : begin + stored.CHUNK + 1]) <= 0) + begin + 1
        if (rowptr[np.searchsorted(rowptr, falls)] != falls).any():
            raise DataError(f"{folder}: expected items that ascend in each row, got others (the folder is damaged)")
        part = slice(begin, begin + stored.CHUNK)
        if (ones[part] != 1).any() or not all(np.isfinite(values[part]).all() for values in fields.values()):
            raise DataError(f"{folder}: expected ones and finite values, got others (the folder is damaged)")
    # SciPy would copy the columns to the type of the row bounds.
    matrix = sp.csr_array((ones, col, rowptr.astype(np.int32)), shape=shape)
    matrix.has_canonical_format = True
    for name, size in zip(("users", "items"), shape, strict=True):
        if name in ids:
            file = folder / f"{name}.npy"
            with reading(file):
                values = fields[name] = np.lib.format.open_memmap(file, mode="r")
            if values.shape != (size,) or values.dtype.kind not in "iuU":
                expected = f"{size} ids, integers or text"
                raise DataError(f"{file}: expected {expected}, got {values.dtype} of shape {values.shape}")
            if check and len(np.unique(values)) != size:
                raise DataError(f"{file}: expected ids that differ, got some that repeat (the folder is damaged)")
    empty = dict.fromkeys(("ratings", "times", "users", "items", "dislikes"))
    return {**empty, "matrix": matrix, **fields}
