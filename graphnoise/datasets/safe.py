"""Reading of untrusted pickles and `.npz` files without executing code.

Planetoid and GraphData files are pickles, and a pickle is a program. Here it can only name a few placeholder classes
that store their arguments; arrays and sparse matrices are built from these afterwards, after checks.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy.sparse import csr_matrix

from graphnoise.checks import DataError, check_format
from graphnoise.io import MAX_BYTES
from graphnoise.io import reading as reading

_NUMBER = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?(?:[biufSU]\d+|O))', 'fortran_order': (True|False), 'shape': \(([\dL, ]*)\),? *\}\s*"
)
_REFUSED = {
    *("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX"),
    *("NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8", "EMPTY_SET", "FROZENSET"),
}
# More tuples could nest so deeply that hashing the outermost one overflows the C stack.
MAX_TUPLES = 10_000


class _Placeholder:
    """Base of the classes that a pickle may name; `__setstate__` prevents a pickle from changing the class itself."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("refused: state for an object that has none")


class _ArrayType(_Placeholder):
    """`numpy.ndarray` as a name only."""


class _Dict(_Placeholder, dict[Any, Any]):
    """`dict`, `collections.defaultdict` and `collections.OrderedDict`; a default factory is ignored."""

    def __init__(self, factory: object = None) -> None:
        super().__init__()


class _List(_Placeholder, list[Any]):
    """`list`, as a default factory: it makes empty lists only."""

    def __init__(self) -> None:
        super().__init__()


class _Dtype(_Placeholder):
    """`numpy.dtype` of plain numbers, or of objects."""

    code = order = ""

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not (_NUMBER.fullmatch(code) or code in ("O", "O8")):
            raise pickle.UnpicklingError(f"refused: array of type {code!r}")
        self.code = code

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("refused: odd state of a data type")
        if state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("refused: data type with fields")
        self.order = state[1]

    def build(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array(_Placeholder):
    """Result of `numpy.core.multiarray._reconstruct`: an array of numbers, or the one object in a 0-d array."""

    value: object = None

    def __init__(self, kind: object, shape: object, code: object) -> None:
        if kind is not _ArrayType:
            raise pickle.UnpicklingError("refused: a subclass of an array")

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("refused: odd state of an array")
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("refused: array without a data type")
        if dtype.code.startswith("O"):
            if shape != () or not isinstance(raw, list) or len(raw) != 1:
                raise pickle.UnpicklingError("refused: array of objects")
            self.value = raw[0]
        elif isinstance(raw, (bytes, str)):
            blob = raw.encode("latin1") if isinstance(raw, str) else raw
            self.value = _array(blob, dtype.build(), shape, bool(fortran))
        else:
            raise pickle.UnpicklingError("refused: array without its bytes")


class _Csr(_Placeholder):
    """`scipy.sparse.csr_matrix`: its four parts, checked after the pickle has been read."""

    state: dict[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("refused: odd state of a sparse matrix")
        self.state = state

    def build(self) -> csr_matrix:
        state = self.state or {}
        data, indices, indptr = (getattr(state.get(key), "value", None) for key in ("data", "indices", "indptr"))
        return csr(data, indices, indptr, state.get("_shape"))


_CLASSES: dict[tuple[str, str], type[_Placeholder]] = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _Csr,
    ("scipy.sparse._csr", "csr_matrix"): _Csr,
    ("collections", "defaultdict"): _Dict,
    ("collections", "OrderedDict"): _Dict,
    ("builtins", "dict"): _Dict,
    ("builtins", "list"): _List,
    # Names of Python 2.
    ("__builtin__", "dict"): _Dict,
    ("__builtin__", "list"): _List,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Placeholder]:
        placeholder = _CLASSES.get((module, name))
        if placeholder is None:
            raise pickle.UnpicklingError(f"refused: the pickle names {module}.{name}")
        return placeholder

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("refused: a persistent object")


def loads(blob: bytes, what: Path | str) -> Any:
    """Return the array, CSR matrix, dictionary, list or number in a pickle of plain data, without executing code.

    Args:
        blob: The bytes of the pickle, of any protocol; strings of Python 2 are read as Latin-1.
        what: Name for error messages.

    Raises:
        DataError: The pickle is damaged, names anything but arrays of numbers, `csr_matrix` and builtin containers, or
            holds a matrix whose parts do not fit together.

    Example:
        >>> loads(pickle.dumps({0: [1, 2], 1: [0]}), "graph")
        {0: [1, 2], 1: [0]}
        >>> loads(pickle.dumps(print), "graph")
        Traceback (most recent call last):
        graphnoise.errors.DataError: graph: refused: the pickle names builtins.print
    """
    with reading(what):
        _scan(blob)
        try:
            value = _Unpickler(io.BytesIO(blob), encoding="latin1").load()
        except (AttributeError, RecursionError) as error:
            raise pickle.UnpicklingError(f"refused: {error}") from error
        if isinstance(value, _Array):
            value = value.value
        if isinstance(value, _Csr):
            return value.build()
        if isinstance(value, (_Placeholder, type)) and not isinstance(value, (dict, list)):
            raise pickle.UnpicklingError("refused: no plain data")
        return value


def _scan(blob: bytes) -> None:
    """Refuse opcodes and sizes that plain data of this length do not need, before anything is allocated or called."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(blob):
        tuples += opcode.name.startswith("TUPLE")
        if opcode.name in _REFUSED or tuples > MAX_TUPLES:
            raise pickle.UnpicklingError(f"refused: opcode {opcode.name}")
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(blob):
            raise pickle.UnpicklingError("refused: a memo beyond the size of the file")


def csr(data: Any, indices: Any, indptr: Any, shape: Any) -> csr_matrix:
    """Return a CSR matrix from its parts, after checking that every index is in range.

    Example:
        >>> csr(np.ones(2), np.array([1, 0]), np.array([0, 1, 2]), (2, 2)).toarray().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    parts = {"data": (data, "biuf"), "indices": (indices, "iu"), "indptr": (indptr, "iu")}
    for name, (part, kinds) in parts.items():
        if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind not in kinds:
            raise ValueError(f"{name} of the sparse matrix is not a one-dimensional array of numbers")
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 2 or min(sizes) < 0:
        raise ValueError(f"a sparse matrix of shape {sizes}")
    if len(indptr) != sizes[0] + 1 or len(data) != len(indices) or int(indptr[-1]) != len(data):
        raise ValueError("data, indices, indptr and shape of the sparse matrix do not fit together")
    matrix = csr_matrix((data, indices, indptr), shape=sizes)
    check_format(matrix)
    return matrix


def read_npz(path: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Return the named arrays (by default all) of a `.npz` file; a pickled 0-d array gives the matrix inside it.

    Raises:
        DataError: The file is absent or damaged, an array is not plain numbers, text or one CSR matrix, or arrays have
            more than 2 GiB together.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        arrays, total = {}, 0
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if (keys is None or key in keys) and key != member.filename:
                total += member.file_size
                if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(f"{path}: {key}: an encrypted or unusually compressed member")
                if total > MAX_BYTES or key in arrays:
                    fault = "a second array of this name" if key in arrays else f"more than {MAX_BYTES:,} bytes"
                    raise DataError(f"{path}: {key}: {fault}")
                arrays[key] = _read_npy(archive.read(member), f"{path}: {key}")
        return arrays


def _read_npy(blob: bytes, what: str) -> Any:
    if blob[:6] != b"\x93NUMPY" or len(blob) < 12 or blob[6] not in (1, 2, 3):
        raise DataError(f"{what}: not an array in the .npy format")
    start = 10 if blob[6] == 1 else 12
    end = start + int.from_bytes(blob[8:start], "little")
    header = _HEADER.fullmatch(blob[start:end].decode("latin1"))
    if header is None:
        raise DataError(f"{what}: the .npy header is damaged, or the array is not of numbers or text")
    if header[1].endswith("O"):
        return loads(blob[end:], what)
    shape = tuple(int(size.rstrip("L")) for size in header[3].replace(" ", "").split(",") if size)
    with reading(what):
        return _array(memoryview(blob)[end:], np.dtype(header[1]), shape, header[2] == "True")


def _array(blob: bytes | memoryview, dtype: np.dtype[Any], shape: Any, fortran: bool) -> np.ndarray[Any, Any]:
    """Return a read-only array over `blob`, which must have exactly the size of its type and shape."""
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array of shape {shape!r}")
    if math.prod(shape) * dtype.itemsize != len(blob):
        raise ValueError(f"{len(blob)} bytes for {math.prod(shape)} values of type {dtype}: truncated?")
    if not len(blob):
        return np.zeros(shape, dtype)
    array = np.frombuffer(blob, dtype).reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
