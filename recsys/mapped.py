"""Interactions as files in a folder, which are mapped into memory and never read as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import scipy.sparse as sp

from graphnoise import stored
from graphnoise.checks import fail, flag, path
from graphnoise.errors import DataError
from graphnoise.io import reading
from recsys.validation import Array, Ints, common_pairs

MANIFEST = "interactions.json"
# SciPy copies columns of matrices with more entries.
MAX_PAIRS = 2**31 - 1
# Items are numbers of 32 bits.
MAX_ITEMS = 2**31
# Files of what each interaction has.
KINDS = {"ratings": ("<f4",), "times": ("<i8", "<f8")}
# Format of folders that have dislikes, which earlier versions do not read.
WITH_DISLIKES = 2


class Mapped:
    """The part of `Interactions` that reads and writes folders."""

    @classmethod
    def open(cls, folder: Path | str, *, check: bool = True) -> Self:
        """Map the files that `save_mapped` or `build` wrote: pages are read when they are used.

        `MatrixFactorization` trains in the mode "deterministic" without a copy of them.

        Args:
            folder: The folder.
            check: Whether to check that the items of each row ascend, that values are finite, that no dislike is an
                interaction and that ids differ, which reads each file once or twice.

        Raises:
            DataError: No such folder, or it is incomplete, damaged or of another version.
        """
        interactions = object.__new__(cls)
        interactions.__dict__.update(_read(folder, flag("check", check)))
        return interactions

    def save_mapped(self, folder: Path | str) -> None:
        """Write the interactions to files in a new folder, for `open`. The folder appears when it is complete.

        Raises:
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
            InputError: No part, or parts that differ in items or in what they have.
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


class Rows:
    """Files of compressed rows in a folder, to which the pairs of further rows are added: bounds, items and ones.

    Args:
        folder: The folder.
        files: Closes the files.
        prefix: What the names of files begin with.
        kinds: Further files, with what each pair has, and their types.
    """

    def __init__(
        self, folder: Path, files: ExitStack, prefix: str = "", kinds: Mapping[str, str] | None = None
    ) -> None:
        self.kinds, self.count, self.rows = kinds or {}, 0, 0
        names = [f"{prefix}{name}" for name in ("rowptr", "col", "ones")] + [*self.kinds]
        self.paths = [folder / f"{name}.bin" for name in names]
        opened: list[BinaryIO] = [files.enter_context(path.open("wb")) for path in self.paths]
        self._rowptr, self._col, self._ones, *self._extras = opened
        stored.append(self._rowptr, np.zeros(1), "<i8")

    def add(self, ends: Array, items: Array, values: Sequence[Array] = ()) -> None:
        """Add pairs.

        Args:
            ends: Where each row that ends among these pairs does, in pairs of this call.
            items: The item of each pair.
            values: What each pair has, in the order of the kinds.

        Raises:
            DataError: More pairs than a folder can have.
        """
        stored.append(self._rowptr, ends.astype(np.int64) + self.count, "<i8")
        stored.append(self._col, items, "<i4")
        stored.append(self._ones, np.ones(len(items), np.float32), "<f4")
        for file, kind, value in zip(self._extras, self.kinds.values(), values, strict=True):
            stored.append(file, value, kind)
        self.count, self.rows = self.count + len(items), self.rows + len(ends)
        if self.count > MAX_PAIRS:
            raise DataError(f"expected at most {MAX_PAIRS} interactions, got {self.count} or more")


def complete(folder: Path, likes: Rows, dislikes: Rows, num_items: int, ids: Sequence[str]) -> None:
    """Write the manifest of a folder, of which all other files are closed; without dislikes, their files go."""
    entries: dict[str, Any] = {"num_users": likes.rows, "num_items": num_items, "pairs": likes.count}
    entries |= {"extras": dict(likes.kinds), "ids": list(ids)}
    if dislikes.count:
        entries |= {"dislikes": dislikes.count, "format": WITH_DISLIKES}
    else:
        for file in dislikes.paths:
            file.unlink()
    stored.write_manifest(folder, MANIFEST, **entries)


def _write(folder: Path, parts: Iterator[Any]) -> None:
    first: Any = None
    users, none = list[Array](), np.empty(0, np.int32)
    with stored.new_folder(folder) as temporary, ExitStack() as files:
        for part in parts:
            if first is None:
                first = part
                if first.num_items > MAX_ITEMS:
                    fail("parts", f"at most {MAX_ITEMS} items", first.num_items)
                kinds = {name: _kind(first, name) for name in KINDS if getattr(first, name) is not None}
                likes, dislikes = Rows(temporary, files, kinds=kinds), Rows(temporary, files, "dislike_")
            _check_part(first, part)
            likes.add(part.matrix.indptr[1:], part.matrix.indices, [getattr(part, name) for name in kinds])
            disliked = part.dislikes
            ends = np.zeros(part.num_users, np.int32) if disliked is None else disliked.indptr[1:]
            dislikes.add(ends, none if disliked is None else disliked.indices)
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
        complete(temporary, likes, dislikes, first.num_items, list(ids))


def _kind(part: Any, name: str) -> str:
    return KINDS[name][-1 if getattr(part, name).dtype.kind == "f" else 0]


def _check_part(first: Any, part: Any) -> None:
    same = part.num_items == first.num_items and (part.users is None) == (first.users is None)
    same &= (part.items is None) == (first.items is None) and np.array_equal(part.items, first.items)
    kinds = [getattr(part, name) is not None and _kind(part, name) for name in KINDS]
    if not same or kinds != [getattr(first, name) is not None and _kind(first, name) for name in KINDS]:
        fail("parts", "the items, ratings, times and kinds of ids of the first part in all of them", "others")


def _read(folder: Path | str, check: bool) -> dict[str, Any]:
    folder = path("folder", folder)
    entries = stored.read_manifest(folder / MANIFEST, "`Interactions.save_mapped`", (stored.FORMAT, WITH_DISLIKES))
    with reading(folder / MANIFEST):
        shape, pairs = (int(entries["num_users"]), int(entries["num_items"])), int(entries["pairs"])
        sizes, extras, ids = dict(entries["bytes"]), dict(entries["extras"]), list(entries["ids"])
        disliked = int(entries["dislikes"]) if entries["format"] == WITH_DISLIKES else 0
        if not (set(extras) <= set(KINDS) and all(kind in KINDS[name] for name, kind in extras.items())):
            raise ValueError("unknown kinds of arrays")
        if min(*shape, pairs, disliked) < 0 or max(pairs, disliked) > MAX_PAIRS or shape[1] > MAX_ITEMS:
            raise ValueError("numbers out of range")
        if not set(ids) <= {"users", "items"}:
            raise ValueError("unknown ids")

    def mapped(name: str, kind: str, length: int) -> Array:
        return stored.map_array(folder / f"{name}.bin", sizes.get(f"{name}.bin"), kind, length)

    def compressed(prefix: str, count: int) -> sp.csr_array:
        rowptr, col = mapped(f"{prefix}rowptr", "<i8", shape[0] + 1), mapped(f"{prefix}col", "<i4", count)
        stored.check_compressed(folder, rowptr, col, shape[1], count, check)
        ones = mapped(f"{prefix}ones", "<f4", count)
        if check:
            _check_rows(folder, rowptr, col, ones)
        # SciPy would copy the columns to the type of the row bounds.
        matrix = sp.csr_array((ones, col, rowptr.astype(np.int32)), shape=shape)
        matrix.has_canonical_format = True
        return matrix

    matrix = compressed("", pairs)
    fields: dict[str, Any] = {name: mapped(name, kind, pairs) for name, kind in extras.items()}
    for begin in range(0, pairs if check else 0, stored.CHUNK):
        if not all(np.isfinite(values[begin : begin + stored.CHUNK]).all() for values in fields.values()):
            raise DataError(f"{folder}: expected finite values, got others (the folder is damaged)")
    if disliked:
        fields["dislikes"] = compressed("dislike_", disliked)
        if check and common_pairs(matrix, fields["dislikes"])[0]:
            raise DataError(f"{folder}: expected no dislike among interactions, got some (the folder is damaged)")
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


def _check_rows(folder: Path, rowptr: Ints, col: Array, ones: Array) -> None:
    for begin in range(0, len(col), stored.CHUNK):
        # Where columns do not ascend, another row has to begin.
        falls = np.flatnonzero(np.diff(col[begin : begin + stored.CHUNK + 1]) <= 0) + begin + 1
        if (rowptr[np.searchsorted(rowptr, falls)] != falls).any():
            raise DataError(f"{folder}: expected items that ascend in each row, got others (the folder is damaged)")
        if (ones[begin : begin + stored.CHUNK] != 1).any():
            raise DataError(f"{folder}: expected ones, got others (the folder is damaged)")
