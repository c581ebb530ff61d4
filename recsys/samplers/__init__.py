"""Negative samplers with one interface: `fit(user_items)`, then `sample(users, k, rng)` -> items, int32 [B, k]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnoise.checks import choice, fail
from recsys.samplers.base import Sampler
from recsys.samplers.debiased import AHNS, BNS, SRNS, AdaSIR, InBatch
from recsys.samplers.diagnostics import FalseNegatives, false_negatives
from recsys.samplers.hard import AOBPR, DNS, DNSMN, WARP
from recsys.samplers.static import Popularity, Uniform

_CLASSES: tuple[type[Sampler], ...] = (
    Uniform, Popularity, DNS, DNSMN, WARP, AOBPR, SRNS, AHNS, AdaSIR, BNS, InBatch,
)  # fmt: skip

SAMPLERS: dict[str, type[Sampler]] = {kind.name: kind for kind in _CLASSES}


def sampler(value: Sampler | str | Mapping[str, Any]) -> Sampler:
    """Return a sampler: the object itself, or one made from its name or from the result of `parameters`.

    Raises:
        InputError: An unknown name, or arguments that do not fit.

    Example:
        >>> sampler({"name": "popularity", "power": 0.75}).power
        0.75
    """
    if isinstance(value, Sampler):
        return value
    arguments: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = arguments.pop("name", None)
    if isinstance(name, str):
        name = name.replace("_", "-")
    kind = SAMPLERS[choice("sampler", name, SAMPLERS)]
    try:
        return kind(**arguments)
    except TypeError as error:
        fail("sampler", f"arguments of {kind.__name__}", str(error))


__all__ = [
    "AHNS",
    "AOBPR",
    "BNS",
    "DNS",
    "DNSMN",
    "SAMPLERS",
    "SRNS",
    "WARP",
    "AdaSIR",
    "FalseNegatives",
    "InBatch",
    "Popularity",
    "Sampler",
    "Uniform",
    "false_negatives",
    "sampler",
]
