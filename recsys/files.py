"""Saved models: one `.npz` file without pickles, with a digest of its contents."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import scipy.sparse as sp

from graphnoise import checks
from graphnoise.checks import DataError, check_format, choice, fail
from graphnoise.datasets.safe import read_npz
from graphnoise.io import atomic_write, reading
from recsys.validation import Array

FORMAT = 1
_PARTS = ("data", "indices", "indptr", "shape")
# A path, or a binary file that is open.
ModelFile: TypeAlias = str | os.PathLike[str] | BinaryIO


def file_name(file: ModelFile) -> str:
    """Return what messages call a file."""
    return str(getattr(file, "name", type(file).__name__)) if hasattr(file, "read") else os.fspath(file)


def _path(file: str | os.PathLike[str]) -> Path:
    path = checks.path("file", file)
    if not path.name:
        fail("file", "the path of a file", repr(file))
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def _digest(head: bytes, arrays: Mapping[str, Array]) -> str:
    state = hashlib.blake2b(head, digest_size=16)
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        state.update(value.data.cast("B") if value.size else b"")
    return state.hexdigest()


def write_model(
    file: ModelFile,
    kind: str,
    parameters: Mapping[str, Any],
    sizes: Mapping[str, int],
    arrays: Mapping[str, Any],
) -> None:
    """Write a model: class, hyper-parameters, sizes and arrays (NumPy or SciPy CSR; None is omitted).

    Raises:
        InputError: A hyper-parameter is not a number, text or None, or an array is neither of numbers nor text.
        DataError: The file cannot be written.
    """
    try:
        head = json.dumps({"format": FORMAT, "class": kind, "parameters": dict(parameters), "sizes": dict(sizes)})
    except (TypeError, ValueError):
        unsupported = {
            name: value for name, value in parameters.items() if not isinstance(value, str | int | float | None)
        }
        fail("save", "hyper-parameters that are numbers, text or None", unsupported)
    contents: dict[str, Array] = {}
    for name, value in arrays.items():
        if sp.issparse(value):
            contents |= {f"{name}.{part}": np.asarray(getattr(value, part)) for part in _PARTS}
        elif value is not None:
            contents[name] = np.asarray(value)
    for name, value in contents.items():
        if value.dtype.kind not in "biufUS":
            fail(name, "an array of numbers or text", f"values of type {value.dtype}")
    blob = io.BytesIO()
    digest = _digest(head.encode(), contents)
    np.savez(blob, allow_pickle=False, head=np.array(head), digest=np.array(digest), **contents)
    if hasattr(file, "write"):
        with reading(file_name(file)):
            file.write(blob.getbuffer())
        return
    with atomic_write(_path(file)) as out:
        out.write(blob.getbuffer())


def read_model(
    file: ModelFile, kinds: Mapping[str, tuple[str, ...]]
) -> tuple[str, dict[str, Any], dict[str, int], dict[str, Any]]:
    """Return class, hyper-parameters, sizes and arrays of a file by `write_model`.

    Args:
        file: The path, or a binary file.
        kinds: The accepted classes, with the names of their arrays; absent arrays are None.

    Raises:
        DataError: The file is absent, damaged, truncated, of another format or of another class.
    """
    path: Any = file if hasattr(file, "read") else _path(file)
    shown = file_name(path)
    with reading(shown):
        contents = read_npz(path)
        if not all(isinstance(value, np.ndarray) for value in contents.values()):
            raise DataError(f"{shown}: expected arrays of numbers and text, got others")
        if not {"head", "digest"} <= contents.keys():
            raise DataError(f"{shown}: expected a model saved by recsys, got a file with {', '.join(sorted(contents))}")
        text = str(contents.pop("head"))
        digest = str(contents.pop("digest"))
        head = json.loads(text)
        if head["format"] != FORMAT:
            raise DataError(f"{shown}: expected format {FORMAT} of saved models, got {head['format']}: another version")
        if digest != _digest(text.encode(), contents):
            raise DataError(f"{shown}: damaged: the digest of its contents is another one")
        kind = choice("class of the model", head["class"], kinds)
        arrays = {
            name: _csr(*(contents[f"{name}.{part}"] for part in _PARTS))
            if f"{name}.indptr" in contents
            else contents.get(name)
            for name in kinds[kind]
        }
        return kind, head["parameters"], head["sizes"], arrays


def _csr(data: Array, indices: Array, indptr: Array, shape: Array) -> sp.csr_array:
    matrix = sp.csr_array((data, indices, indptr), shape=tuple(int(size) for size in shape))
    check_format(matrix)
    return matrix
