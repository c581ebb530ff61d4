"""The matrix that propagation multiplies by, as every tier takes it, and what is derived from it once."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from graphnoise.kernels.csr import compress

_Value = TypeVar("_Value")


class Arcs(NamedTuple):
    r"""The matrix S = diag(left) · A · diag(right) over compressed rows, known to be valid.

    Either every arc has its own value, with the scales folded in, or the arcs weigh 1 and the scales stand beside them.

    Attributes:
        rowptr: Where each row begins, int32 or int64, shape [num_nodes + 1].
        col: Source of each arc, of the same type, shape [num_arcs].
        value: Entry of S at each arc, shape [num_arcs], or None.
        left: Scale of each row, shape [num_nodes], or None for ones; None where there is `value`.
        right: Scale of each column, above 0, shape [num_nodes], or None for ones; None where there is `value`.
    """

    rowptr: Tensor
    col: Tensor
    value: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        """Number of rows and of columns."""
        return self.rowptr.numel() - 1

    @property
    def row(self) -> Tensor:
        """Row of each arc, int64, shape [num_arcs]."""
        rowptr = self.rowptr
        return cached_on(
            self.col,
            "row",
            lambda: torch.repeat_interleave(torch.arange(rowptr.numel() - 1, device=rowptr.device), rowptr.diff()),
            rowptr,
        )

    def transposed(self) -> Arcs:
        """Return S^T; the order of its arcs is found once for each graph."""
        rowptr, col, order = transpose_csr(self.rowptr, self.col)
        value = self.value
        if value is not None:
            known = value
            value = known[order] if known.requires_grad else cached_on(known, "turned", lambda: known[order], order)
        return Arcs(rowptr, col, value, self.right, self.left)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which values of this type are summed: float32 for 16 bits, their own otherwise."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def transpose_csr(rowptr: Tensor, col: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the transpose's row bounds and columns, and the place of each of its arcs; found once for each graph."""

    def find() -> tuple[Tensor, Tensor, Tensor]:
        bounds, order = compress(col.long(), rowptr.numel() - 1)
        return bounds.to(rowptr.dtype), Arcs(rowptr, col).row[order].to(col.dtype), order

    return cached_on(col, "transposed", find, rowptr)


_Kept = dict[tuple[str, tuple[int, ...]], tuple[tuple[Tensor, ...], list[int], Any]]
_known: dict[int, tuple[weakref.ref[Tensor], _Kept]] = {}


def cached_on(key: Tensor, name: str, make: Callable[[], _Value], *also: Tensor) -> _Value:
    """Return what `make` returned at the first call with these tensors and this name, for as long as `key` lives.

    Operations see tensors only, since that is what `torch.compile` can trace; what they derive from a graph is kept
    here beside its arrays. It is made anew when one of them was changed in place. What `make` returns must not hold
    `key`, which would live for ever then (a `detach()` of it is another tensor). `also` are the other tensors that the
    value depends on.
    """
    place = id(key)
    entry = _known.get(place)
    if entry is None or entry[0]() is not key:
        entry = _known[place] = (weakref.ref(key, _Forget(place)), {})
    kept, label = entry[1], (name, tuple(map(id, also)))
    versions = [0 if t.is_inference() else t._version for t in (key, *also)]
    found = kept.get(label)
    if found is None or found[1] != versions:
        with outside_inference_mode():
            found = kept[label] = (also, versions, make())  # these tensors stay alive here, and so does their identity
    return cast(_Value, found[2])


@contextlib.contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Make tensors that may be kept: in inference mode they would be of no use to a later call with gradients."""
    with torch.inference_mode(False), torch.no_grad():
        yield


class _Forget:
    """Drop what was kept for a tensor that has died, also while the interpreter ends and names are gone."""

    def __init__(self, place: int) -> None:
        self.place, self.known = place, _known

    def __call__(self, _: object) -> None:
        self.known.pop(self.place, None)
