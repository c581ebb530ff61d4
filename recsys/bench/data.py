"""Data sets of the recommender benchmark in three parts, their noise, and values per user as text."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks
from graphnoise.bench import options
from graphnoise.errors import DataError, InputError
from recsys import datasets
from recsys.simulation import corrupt_split, low_rank
from recsys.splits import Split, ratio

NOISE = ("none", "false-positive", "false-negative", "both")
EXAMPLE = "planted(users=400,items=200)"
PACKED_STEPS = 65_534
PACKED_NAN = 65_535
# Bytes of unpacked values: those of 134 million users.
MAX_PACKED = 1 << 28


@functools.lru_cache(maxsize=4)
def load(name: str, root: str | None = None, split_seed: int = 0) -> tuple[Split, str]:
    """Return a data set in three parts and their hash: as published, or split 80 / 10 / 10 per user.

    Where only validation is missing it is a tenth of each user's training interactions. Users without any training
    interaction are in no held-out part: most methods would rank by the item's number for them. Besides those of
    `recsys.datasets`, `planted(users=400,items=200)` is a low-rank model without noise.

    Raises:
        InputError: The name is unknown, or the arguments of `planted` are.
        DataError: The data cannot be had.
    """
    loaded = _planted(name)
    if loaded is None:
        checks.choice("dataset", name, (*datasets.names(), EXAMPLE))
        loaded = datasets.load(name, root)
    if not isinstance(loaded, Split):
        loaded = ratio(loaded, 0.1, 0.1, seed=split_seed)
    elif not len(loaded.validation):
        parts = ratio(loaded.train, 0.1, 0.0, seed=split_seed)
        loaded = Split(parts.train, parts.validation, loaded.test)
    split = _known_users(name, loaded)
    state = hashlib.blake2b(digest_size=16)
    for part in (split.train, split.validation, split.test):
        state.update(str(part.matrix.shape).encode())
        for array in (part.matrix.indptr, part.matrix.indices):
            state.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return split, state.hexdigest()


def _planted(name: str) -> Any:
    """Return the interactions of `planted(…)`, or None for any other name."""
    kinds = {"users": int, "items": int, "rank": int, "density": float, "seed": int}
    if options.call_name(name) != "planted" or not (
        values := options.parse_call("dataset", name, kinds, required=("users", "items"))
    ):
        return None
    users, items = (checks.integer(f"dataset: {key}", values.pop(key), 1, 1_000_000) for key in ("users", "items"))
    return low_rank(users, items, **values).interactions


def _known_users(name: str, split: Split) -> Split:
    """Return the split without users in held-out parts who have no training interaction; no part may be empty."""
    trained = np.diff(split.train.matrix.indptr) > 0
    if not trained.all():
        split = Split(split.train, *(part.subset(trained[part.rows]) for part in (split.validation, split.test)))
    for part in ("train", "validation", "test"):
        if not len(getattr(split, part)):
            raise InputError(f"{name}: expected interactions in every part, got none in the {part} part")
    return split


def corrupt(
    name: str, split: Split, noise: Mapping[str, Any], select: str, seed: int
) -> tuple[Split, dict[str, float]]:
    """Return the split with noisy training data, and the realised rates of the training part.

    Users who lose their last training interaction are in no held-out part, as in `load`. With `select="noisy"`
    validation is as noisy as training, with "clean" it stays clean.

    Raises:
        InputError: The noise is impossible here.
    """
    if noise["kind"] == "none":
        return split, {"false_positive": 0.0, "false_negative": 0.0}
    added = noise["rate"] if noise["kind"] in ("false-positive", "both") else 0.0
    hidden = noise["rate"] if noise["kind"] in ("false-negative", "both") else 0.0
    try:
        noisy = corrupt_split(split, added, hidden, noisy_validation=select == "noisy", seed=seed)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    rates = {"false_positive": noisy.train.false_positive_rate, "false_negative": noisy.train.false_negative_rate}
    remaining = _known_users(f"{name} with {noise['kind']} noise at rate {noise['rate']:g}", noisy.split)
    return remaining, {key: round(value, 6) for key, value in rates.items()}


def pack(values: ArrayLike) -> str:
    """Return values in [0, 1], or NaN, as text: 16 bits each, compressed, in base64.

    Example:
        >>> unpack(pack([0.0, 0.25, 1.0, np.nan])).round(4).tolist()
        [0.0, 0.25, 1.0, nan]
    """
    array = np.asarray(values, np.float64)
    steps = np.where(np.isnan(array), PACKED_NAN, np.rint(np.nan_to_num(array) * PACKED_STEPS)).astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def _inflate(blob: bytes) -> bytes:
    stream = zlib.decompressobj()
    values = stream.decompress(blob, MAX_PACKED)
    return values if stream.eof else checks.fail("users", f"a whole stream of at most {MAX_PACKED:,} bytes", "another")


def unpack(text: str) -> NDArray[np.float64]:
    """Return the values that were packed.

    Raises:
        DataError: The text is not packed values.
    """
    try:
        steps = np.frombuffer(_inflate(base64.b64decode(text, validate=True)), "<u2")
    except (ValueError, TypeError, zlib.error) as error:
        raise DataError(f"users: expected packed values, got {error}") from error
    return np.where(steps == PACKED_NAN, np.nan, steps / PACKED_STEPS)
