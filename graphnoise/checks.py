"""Argument checks of public functions.

Each check returns the value in its canonical form, or raises an `InputError` that names the argument, the expected and
the actual value. Bodies and kernels assume checked arguments.
"""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.errors import DataError as DataError
from graphnoise.errors import GraphnoiseError as GraphnoiseError
from graphnoise.errors import InputError as InputError


def fail(name: str, expected: str, got: object) -> NoReturn:
    """Raise an `InputError`: `name: expected …, got …`."""
    raise InputError(f"{name}: expected {expected}, got {got}")


def renamed(message: str, names: Mapping[str, str]) -> str:
    """Return a message with another name for the argument that it begins with.

    Example:
        >>> renamed("method gcn: hidden: expected …", {"method": "--method"})
        '--method gcn: hidden: expected …'
    """
    return re.sub(r"^\w+", lambda name: names.get(name[0], name[0]), message)


def package(name: str, module: str, extra: str) -> Any:
    """Return a module of an optional package; where it is not installed, the error names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise InputError(
            f"{name}: expected {missing}, which is not installed (pip install 'graphnoise[{extra}]')"
        ) from error


def unfitted(name: str) -> NoReturn:
    """Raise a `NotFittedError` for an estimator of this name."""
    from graphnoise.errors import NotFittedError

    raise NotFittedError(f"{name}: expected a fitted model (call fit first), got one that is not")


NO_SYNONYMS: Mapping[str, str] = MappingProxyType({})


def choice(name: str, value: object, options: Collection[str], synonyms: Mapping[str, str] = NO_SYNONYMS) -> str:
    """Return `value` if it is one of `options`; the error suggests the nearest one, or that of a synonym."""
    if isinstance(value, str) and value in options:
        return value
    known, text = sorted(options), str(value).lower() if isinstance(value, str) else ""
    near = difflib.get_close_matches(text, known, n=max(len(known), 1), cutoff=0.5)
    # Letters that changed places are nearer than another letter.
    near = [synonyms[text]] if text in synonyms else sorted(near, key=lambda name: sorted(name) != sorted(text))
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    fail(name, f"one of {', '.join(known)}", f"{value!r}{hint}")


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf, expected: str = "") -> float:
    """Return a finite float within [low, high]."""
    if type(value) is float and low <= value <= high and math.isfinite(value):
        return value
    expected = expected or (
        "a finite number"
        if (low, high) == (-math.inf, math.inf)
        else f"a number of at least {low:g}"
        if high == math.inf
        else f"a number in [{low:g}, {high:g}]"
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        fail(name, expected, repr(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high):
        fail(name, expected, repr(value))
    return number


def rate(name: str, value: object) -> float:
    """Return a probability in [0, 1]."""
    return real(name, value, 0.0, 1.0, "a rate in [0, 1]")


def integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Return an integer within [low, high]."""
    if type(value) is int and (low is None or low <= value) and (high is None or value <= high):
        return value
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        fail(name, f"an integer{bounds}", repr(value))
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        fail(name, f"an integer{bounds}", number)
    return number


def flag(name: str, value: object) -> bool:
    """Return a Boolean."""
    if not isinstance(value, bool | np.bool_):
        fail(name, "True or False", repr(value) if value is None or np.isscalar(value) else type(value).__name__)
    return bool(value)


def path(name: str, value: object) -> Path:
    """Return the path of a file or a folder."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        fail(name, "a path", repr(value) if value is None or np.isscalar(value) else type(value).__name__)
    return Path(text)


def torch_generator(name: str, value: object) -> torch.Generator:
    """Return a generator of torch."""
    if not isinstance(value, torch.Generator):
        fail(name, "a torch.Generator", type(value).__name__)
    return value


def generator(seed: object, name: str = "seed") -> np.random.Generator:
    """Return a NumPy generator from a non-negative integer; a generator is returned as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(integer(name, seed, 0))


# Types with few operations in torch.
_UNSUPPORTED = ("float8", "float4", "uint16", "uint32", "uint64")


def tensor(name: str, value: object, *, compressed: bool = False) -> Tensor:
    """Return a tensor (shared memory where possible) from a tensor, an array or a sequence of numbers."""
    if isinstance(value, Tensor):
        dense = value.layout == torch.strided or (compressed and value.layout == torch.sparse_csr)
        if not dense or value.device.type == "meta" or str(value.dtype).removeprefix("torch.").startswith(_UNSUPPORTED):
            kind = f"{str(value.layout)[6:]} values of type {value.dtype} on {value.device}"
            fail(name, "a dense tensor of a usual type that holds data", kind)
        # torch_geometric's EdgeIndex, whose operations do not return plain tensors.
        return value.as_tensor() if hasattr(value, "as_tensor") else value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            fail(name, "numbers", f"values of type {array.dtype}")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            # torch has few operations on these.
            if array.size and int(array.max()) >= 2**63:
                fail(name, "integers below 2^63", int(array.max()))
            array = array.astype(np.int64)
        # torch supports no other layout and byte order.
        array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements="C")
        return torch.as_tensor(array if array.flags.writeable else array.copy())
    except MemoryError as error:
        fail(name, "an array that the memory holds", error)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        fail(name, "a tensor or an array of numbers", type(value).__name__)


def mask(name: str, value: object, size: int, *, split: int | None = None) -> Tensor:
    """Return a Boolean mask of `size` entries, from a mask (Boolean, or of 0 and 1) or from a list of positions.

    Of masks of several splits, [size, number of splits], `split` is the column.
    """
    m = tensor(name, value)
    if m.dim() == 2 and m.shape[0] == size:
        if split is None and m.shape[1] > 1:
            fail(name, f"a mask of {size} entries", f"{m.shape[1]} splits: choose one (split=0 to {m.shape[1] - 1})")
        m = m[:, integer("split", 0 if split is None else split, 0, m.shape[1] - 1)]
    if m.dim() != 1:
        fail(name, f"a one-dimensional mask of {size} entries", f"shape {tuple(m.shape)}")
    if m.dtype == torch.bool:
        if m.numel() != size:
            fail(name, f"a mask of {size} entries", f"{m.numel()} entries")
        return m
    # Masks of older versions of torch, and of 0 and 1: as positions, more than two would repeat.
    if m.numel() == size and (m.dtype == torch.uint8 or size > 2) and bool(((m == 0) | (m == 1)).all()):
        return m != 0
    if m.is_floating_point() or m.is_complex():
        if m.numel() == 0:
            return torch.zeros(size, dtype=torch.bool)
        fail(name, "a Boolean mask or integer positions", f"values of type {m.dtype}")
    if m.numel() and (int(m.min()) < 0 or int(m.max()) >= size):
        fail(name, f"positions from 0 to {size - 1}", f"values from {int(m.min())} to {int(m.max())}")
    out = torch.zeros(size, dtype=torch.bool, device=m.device)
    out[m.long()] = True
    if int(out.sum()) != m.numel():
        fail(name, "a Boolean mask, or distinct positions", "positions that repeat")
    return out


def finite(name: str, value: object, dims: int | None = None) -> Tensor:
    """Return a floating-point tensor (float32 unless it was already floating) without NaN or infinity."""
    x = tensor(name, value, compressed=True)
    if dims is not None and x.dim() != dims:
        fail(name, f"{dims} dimensions", f"shape {tuple(x.shape)}")
    if x.is_complex():
        fail(name, "real numbers", f"values of type {x.dtype}")
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    values = x.values() if x.layout == torch.sparse_csr else x
    if values.numel() > 2**28 and values.numel() * values.element_size() > 2 * values.untyped_storage().nbytes():
        fail(name, "a tensor of its own memory", f"an expanded one of shape {tuple(values.shape)}")
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        fail(name, "finite numbers", f"{int(bad.sum())} NaN or infinite entries")
    return x


def probabilities(name: str, value: object, num_classes: int | None = None) -> Tensor:
    """Return a float64 matrix of distributions over the classes, one per row."""
    p = finite(name, value, dims=2)
    if p.layout != torch.strided:
        fail(name, "a dense matrix", f"a {str(p.layout)[6:]} one")
    p = p.double()
    if num_classes is not None and p.shape[1] != num_classes:
        fail(name, f"{num_classes} columns, one per class", p.shape[1])
    if p.numel() and bool((p < -1e-6).any()):
        fail(name, "probabilities of at least 0", float(p.min()))
    sums = p.sum(1)
    if p.numel() and bool(((sums - 1).abs() > 1e-4).any()):
        worst = int((sums - 1).abs().argmax())
        fail(name, "rows that sum to 1", f"{float(sums[worst]):.6g} in row {worst}")
    return p


def edge_index(name: str, value: object, num_nodes: int | None = None) -> Tensor:
    """Return arcs as an int64 tensor of shape [2, num_arcs] with ends from 0 to num_nodes - 1 (or from 0 on)."""
    e = tensor(name, value)
    if e.dim() != 2 or e.shape[0] != 2:
        fail(name, "shape [2, num_arcs]", f"shape {tuple(e.shape)}")
    if e.dtype == torch.bool or e.is_floating_point() or e.is_complex():
        if e.numel():
            fail(name, "integer node positions", f"values of type {e.dtype}")
        return e.long()
    e = e.long()
    if e.numel():
        low, high = (int(end) for end in torch.aminmax(e))
        if low < 0 or (num_nodes is not None and high >= num_nodes):
            expected = "of at least 0" if num_nodes is None else f"from 0 to {num_nodes - 1}"
            fail(name, f"node positions {expected}", f"values from {low} to {high}")
    return e


def check_format(matrix: Any) -> None:
    """Raise ValueError unless the arrays of a SciPy matrix are valid, those of one without entries included.

    SciPy 1.17 does not look at the row pointers of an empty matrix, and reads beyond its arrays if they decrease.
    """
    matrix.check_format(full_check=True)
    indptr = getattr(matrix, "indptr", None)
    if indptr is not None and bool((np.diff(indptr) < 0).any()):
        raise ValueError("index pointer values must form a non-decreasing sequence")


def read_only(name: str, value: object, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return a NumPy array of this type and shape (None is any length) as kernels read it: contiguous and read-only.

    Memory is shared where it is contiguous; changes through another name of the array are then not noticed.
    """
    dtype = np.dtype(dtype)
    fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape)
    if not fits or any(size not in (None, n) for size, n in zip(shape, value.shape, strict=True)):  # type: ignore[attr-defined]
        got = f"shape {value.shape} of type {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        fail(name, f"a NumPy array of type {dtype} and shape [{sizes}]", got)
    view = np.require(value, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view


class Validated:
    """Base of frozen dataclasses whose `__post_init__` checks what kernels rely on, also after pickle and copy."""

    @classmethod
    def unchecked(cls, *values: Any) -> Self:
        """Build an instance from all fields, in their order, which are known to be valid."""
        instance = object.__new__(cls)
        instance.__dict__.update(zip(cls.__dataclass_fields__, values, strict=True))  # type: ignore[attr-defined]
        return instance

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        fields = self.__dataclass_fields__  # type: ignore[attr-defined]
        if not isinstance(state, Mapping) or not fields.keys() <= state.keys():
            fail(type(self).__name__, f"a state with {', '.join(fields)}", type(state).__name__)
        self.__dict__.update({name: state[name] for name in fields})
        self.__post_init__()  # type: ignore[attr-defined]
