"""Compressed rows of a graph as files in a folder, which are mapped into memory and never read as a whole."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import torch
from torch import Tensor

from graphnoise.errors import DataError
from graphnoise.io import reading
from graphnoise.typing import Ints

FORMAT = 1
MANIFEST = "graph.json"
# Kernels read columns this far beyond their end; the file has as many zeros there.
PADDING = 64
# Graphs with fewer nodes have columns of 32 bits.
MAX_NARROW_NODES = 2**31
# Arcs or entries that are processed at a time.
CHUNK = 1 << 18


@dataclass(frozen=True)
class StoredRows:
    """What a folder has: mapped arrays, as fields of `Graph`.

    Attributes:
        rowptr: Where each row begins, int64, shape [num_nodes + 1].
        col: Source of each arc, int32 or int64, shape [num_arcs + PADDING].
        weight: Weight of each arc, float32, shape [num_arcs], or None.
        names: The names of the nodes, in order, or None.
        undirected: Whether each arc is there in both directions.
    """

    rowptr: Tensor
    col: Tensor
    weight: Tensor | None
    names: StoredNames | None
    undirected: bool


class StoredNames(Sequence[Any]):
    """Names of nodes, ascending: integers, or text as UTF-8 with the place where each begins; read when asked for."""

    def __init__(self, values: np.ndarray[Any, Any], begins: Ints | None = None) -> None:
        self.values, self.begins = values, begins

    def __len__(self) -> int:
        return len(self.values) if self.begins is None else len(self.begins) - 1

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        if self.begins is None:
            return int(self.values[place])
        return bytes(self.values[self.begins[place] : self.begins[place + 1]]).decode()

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside, which gets the name of the folder at the end, and vanishes after an error.

    Raises:
        DataError: The folder exists, or something cannot be written.
    """
    if os.path.lexists(folder):
        raise DataError(f"{folder}: expected a folder that does not exist yet, got one that does")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def append(file: BinaryIO, values: np.ndarray[Any, Any], dtype: str) -> None:
    """Write values to a file. `numpy.ndarray.tofile` does not report that the last of its buffers cannot be written."""
    file.write(np.ascontiguousarray(values, dtype).data)


def write_manifest(folder: Path, name: str = MANIFEST, **entries: Any) -> None:
    """Write what completes a folder: number of nodes and arcs, kinds of arrays, and the size of each file.

    An entry "format" replaces `FORMAT`.
    """
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / name).write_text(json.dumps({"format": FORMAT, **entries, "bytes": sizes}, indent=1) + "\n")


def read_manifest(manifest: Path, maker: str, formats: Sequence[int] = (FORMAT,)) -> dict[str, Any]:
    """Return what `write_manifest` wrote.

    Args:
        manifest: The file.
        maker: What completes such a folder, for a message.
        formats: The versions that the caller reads.

    Raises:
        DataError: No such file, or of another version.
    """
    if not manifest.is_file():
        raise DataError(f"{manifest.parent}: expected a folder that {maker} completed, got no {manifest.name}")
    with reading(manifest):
        entries = json.loads(manifest.read_text())
        if not isinstance(entries, dict) or entries.get("format") not in formats:
            found = entries.get("format") if isinstance(entries, dict) else entries
            expected = " or ".join(map(str, formats))
            raise DataError(f"{manifest}: expected format {expected}, got {found!r} (build the folder anew)")
    return entries


def open_rows(folder: Path, check: bool = True) -> StoredRows:
    """Map the arrays of a folder that `build_graph` wrote.

    Args:
        folder: The folder.
        check: Whether to check that all columns are nodes, which reads the file of columns once.

    Raises:
        DataError: No such folder, or it is incomplete, of another version, or does not hold compressed rows.
    """
    entries = read_manifest(folder / MANIFEST, "`graphnoise data build-graph`")
    with reading(folder / MANIFEST):
        n, m = int(entries["num_nodes"]), int(entries["num_arcs"])
        names, sizes = entries["names"], dict(entries["bytes"])
        weighted, undirected = bool(entries["weighted"]), bool(entries["undirected"])
        if n < 1 or m < 0:
            raise ValueError("numbers out of range")
    wide = n >= MAX_NARROW_NODES
    shapes: dict[str, tuple[str, int | None]] = {
        "rowptr.bin": ("<i8", n + 1),
        "col.bin": ("<i8" if wide else "<i4", m + PADDING),
    }
    if weighted:
        shapes["weight.bin"] = ("<f4", m)
    if names == "integers":
        shapes["names.bin"] = ("<i8", n)
    elif names == "text":
        shapes |= {"names.bin": ("u1", None), "name_begins.bin": ("<i8", n + 1)}
    arrays = {name: map_array(folder / name, sizes.get(name), *shape) for name, shape in shapes.items()}
    rowptr, col = arrays["rowptr.bin"], arrays["col.bin"]
    check_compressed(folder, rowptr, col, n, m, check)
    stored = StoredNames(arrays["names.bin"], arrays.get("name_begins.bin")) if "names.bin" in arrays else None
    weight = tensor_of(arrays["weight.bin"]) if weighted else None
    return StoredRows(tensor_of(rowptr), tensor_of(col), weight, stored, undirected)


def map_array(path: Path, size: int | None, dtype: str, length: int | None) -> np.ndarray[Any, Any]:
    """Map a file of as many bytes as the manifest says and an array of this length needs (None: any length)."""
    with reading(path):
        actual = path.stat().st_size
    if length is None:
        length = actual
    expected = length * np.dtype(dtype).itemsize
    if actual != size or actual != expected:
        raise DataError(f"{path}: expected {expected} bytes, got {actual} (the folder is incomplete or damaged)")
    with reading(path):
        return np.memmap(path, dtype, "r", shape=(length,)) if length else np.empty(0, dtype)


def check_compressed(folder: Path, rowptr: Ints, col: Ints, width: int, m: int, columns: bool) -> None:
    """Raise `DataError` unless these are compressed rows of m entries; of columns below the width, if asked."""
    expected = f"row bounds from 0 to {m} that do not decrease, and columns from 0 to {width - 1}"
    valid = len(rowptr) > 0 and rowptr[0] == 0 and rowptr[-1] == m and not col[m:].any()
    for begin in range(0, len(rowptr) - 1 if valid else 0, CHUNK):
        valid = valid and bool((np.diff(rowptr[begin : begin + CHUNK + 1]) >= 0).all())
    for begin in range(0, m if valid and columns else 0, CHUNK):
        part = col[begin : min(begin + CHUNK, m)]
        valid = valid and part.min() >= 0 and part.max() < width
    if not valid:
        raise DataError(f"{folder}: expected {expected}, got others (the folder is damaged)")


def tensor_of(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor over a mapped array, which nothing here writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
