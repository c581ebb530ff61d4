"""A set of interactions as the benchmark uses it: three parts, and noise in what models see."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.checks import InputError
from recsys import datasets
from recsys.simulation import corrupt_split, low_rank
from recsys.splits import Split, ratio

NOISE = ("none", "false-positive", "false-negative", "both")
_PLANTED = re.compile(r"planted\((.*)\)")
_ARGUMENTS = {"users": int, "items": int, "rank": int, "density": float, "seed": int}
_EXAMPLE = "planted(users=400,items=200)"
_WORDS = "planted(users=USERS,items=ITEMS), and perhaps rank=, density=, seed="


@dataclass(frozen=True, eq=False)
class Problem:
    """What the cells of a data set share.

    Attributes:
        name: as the user gave it.
        split: the clean parts.
        digest: hash of the three parts.
    """

    name: str
    split: Split
    digest: str


@functools.lru_cache(maxsize=4)
def load(name: str, root: str | None = None, split_seed: int = 0) -> Problem:
    """Return a data set in three parts, once a process: as published, or drawn 80 / 10 / 10 by user where it is not.

    Where only validation is missing it is a tenth of each user's training interactions. Users without any training
    interaction are in no held-out part: nothing is known of them, and most methods would rank by the item's number.

    Args:
        name: of `recsys.datasets.names()`, or `planted(users=400,items=200)`: a low-rank world without noise.
        root: folder of raw data sets.
        split_seed: of what is drawn.

    Raises:
        InputError: the name is unknown, or the arguments of `planted` are.
        DataError: the data cannot be had.
    """
    if name.startswith("planted"):
        found: Any = _planted(name)
    else:
        checks.choice("dataset", name, (*datasets.names(), _EXAMPLE))
        found = datasets.load(name, root)
    if not isinstance(found, Split):
        split = ratio(found, 0.1, 0.1, seed=split_seed)
    elif not len(found.validation):
        parts = ratio(found.train, 0.1, 0.0, seed=split_seed)
        split = Split(parts.train, parts.validation, found.test)
    else:
        split = found
    split = _filled(name, _known_users(split))
    state = hashlib.blake2b(digest_size=16)
    for one in (split.train, split.validation, split.test):
        state.update(str(one.matrix.shape).encode())
        for array in (one.matrix.indptr, one.matrix.indices):
            state.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return Problem(name, split, state.hexdigest())


def _known_users(split: Split) -> Split:
    known = np.diff(split.train.matrix.indptr) > 0
    if known.all():
        return split
    held = (part.subset(known[part.rows]) for part in (split.validation, split.test))
    return Split(split.train, *held)


def _filled(name: str, split: Split) -> Split:
    for part in ("train", "validation", "test"):
        if not len(getattr(split, part)):
            raise InputError(f"{name}: expected interactions in every part, got none in the {part} part")
    return split


def _planted(name: str) -> Any:
    found = _PLANTED.fullmatch(name.replace(" ", ""))
    if found is None:
        checks.fail("dataset", _WORDS, repr(name))
    values: dict[str, Any] = {}
    for part in found[1].split(","):
        key, _, text = part.partition("=")
        checks.choice("dataset", key, _ARGUMENTS)
        if key in values:
            checks.fail(f"dataset: {key}", "one value", f"two in {name!r}")
        try:
            values[key] = _ARGUMENTS[key](text)
        except ValueError:
            checks.fail(f"dataset: {key}", f"a number ({_ARGUMENTS[key].__name__})", repr(text))
    if not {"users", "items"} <= set(values):
        checks.fail("dataset", _WORDS, repr(name))
    users, items = (checks.integer(f"dataset: {key}", values.pop(key), 1, 1_000_000) for key in ("users", "items"))
    return low_rank(users, items, **values).interactions


def entry(kind: str, rate: float) -> dict[str, Any]:
    """Return a noise as a configuration has it; at rate 0 all kinds are one.

    Raises:
        InputError: an unknown kind, or a rate outside [0, 1].
    """
    kind, rate = checks.choice("noise", kind, NOISE), checks.rate("rate", rate)
    return {"kind": "none", "rate": 0.0} if kind == "none" or rate == 0 else {"kind": kind, "rate": rate}


def corrupt(problem: Problem, noise: Mapping[str, Any], select: str, seed: int) -> tuple[Split, dict[str, float]]:
    """Return what models see, and the realised rates of the training part.

    Users who lose their last training click are in no held-out part, as in `load`.

    Args:
        problem: the data set.
        noise: as `entry` gives it.
        select: "noisy": validation is as noisy as training; "clean": it stays clean.
        seed: of the draw.

    Raises:
        InputError: the noise is impossible here.
    """
    if noise["kind"] == "none":
        return problem.split, {"false_positive": 0.0, "false_negative": 0.0}
    added = noise["rate"] if noise["kind"] in ("false-positive", "both") else 0.0
    hidden = noise["rate"] if noise["kind"] in ("false-negative", "both") else 0.0
    try:
        done = corrupt_split(problem.split, added, hidden, noisy_validation=select == "noisy", seed=seed)
    except InputError as error:
        raise InputError(f"{problem.name}: {error}") from error
    rates = {"false_positive": done.train.false_positive_rate, "false_negative": done.train.false_negative_rate}
    left = _filled(f"{problem.name} with {noise['kind']} noise at rate {noise['rate']:g}", _known_users(done.split))
    return left, {key: round(value, 6) for key, value in rates.items()}
