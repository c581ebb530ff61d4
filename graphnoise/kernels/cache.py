"""A cache of what is derived from tensors, for operations that see tensors only.

`Graph.cached` holds what is derived from a graph. Operations cannot use it, because `torch.compile` traces tensors and
not graphs; what they derive (padded columns, the transpose) is cached here, beside the tensor. The two cannot be one:
a value on a `Graph` may hold the graph's own arrays, as a normalised graph does, while here it would keep them alive
for ever.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_Value = TypeVar("_Value")
# Per name and other tensors: these tensors, the versions of all, and the value.
_Entries = dict[tuple[str, tuple[int, ...]], tuple[tuple[Tensor, ...], list[int], Any]]
_cache: dict[int, tuple[weakref.ref[Tensor], _Entries]] = {}


def cached_on(key: Tensor, name: str, make: Callable[[], _Value], *also: Tensor) -> _Value:
    """Return what `make` returned at the first call with these tensors and this name, for as long as `key` lives.

    The value is computed again once one of the tensors was changed in place. It must not hold `key`, which would then
    never be freed (a `detach()` of it is another tensor).

    Args:
        key: The tensor that the value is cached on.
        name: Name of the value.
        make: Computes the value.
        also: The other tensors that the value depends on; they live as long as `key`.
    """
    entry = _cache.get(id(key))
    if entry is None or entry[0]() is not key:
        entry = _cache[id(key)] = (weakref.ref(key, _Remove(id(key))), {})
    # The entry keeps the other tensors alive, and so their ids are theirs alone.
    entries, label = entry[1], (name, tuple(map(id, also)))
    versions = [version(t) for t in (key, *also)]
    cached = entries.get(label)
    if cached is None or cached[1] != versions:
        with outside_inference_mode():
            cached = entries[label] = (also, versions, make())
    return cast(_Value, cached[2])


def version(tensor: Tensor) -> int:
    """Return a number that every change in place raises; 0 for tensors of inference mode, which have none."""
    return 0 if tensor.is_inference() else tensor._version


@contextlib.contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Create tensors that can be cached: those of inference mode cannot be used by a later call with gradients."""
    with torch.inference_mode(False), torch.no_grad():
        yield


class _Remove:
    """Remove the entry of a tensor that was freed, also at the end of the interpreter when module globals are gone."""

    def __init__(self, key: int) -> None:
        self.key, self.cache = key, _cache

    def __call__(self, _: object) -> None:
        self.cache.pop(self.key, None)
