"""Data sets of the recommender benchmark in three parts, their noise, and values per user as text."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks
from graphnoise.bench import options
from graphnoise.datasets import is_table
from graphnoise.errors import DataError, InputError
from recsys import datasets
from recsys.interactions import Interactions
from recsys.simulation import corrupt_split, low_rank
from recsys.splits import Split, ratio

NOISE = ("none", "false-positive", "propagated", "false-negative", "both")
# Further false clicks that each false click leads to, in propagated noise.
SPREAD = 2
PARTS = ("train", "validation", "test")
# Options of a table.
TABLE_OPTIONS = ("user", "item", "rating", "at_least", "duplicates")
EXAMPLE = "planted(users=400,items=200)"
# Users on whose validation interactions settings and epochs are chosen: after each epoch all items are ranked for them.
MAX_VALIDATION_USERS = 10_000
PACKED_STEPS = 65_534
PACKED_NAN = 65_535
# Bytes of unpacked values: those of 134 million users.
MAX_PACKED = 1 << 28


@functools.lru_cache(maxsize=4)
def load(name: str, root: str | None = None, split_seed: int = 0, published: bool = False) -> tuple[Split, str]:
    """Return a data set in three parts and their hash: as published, or split 80 / 10 / 10 per user.

    Where only validation is missing it is a tenth of each user's training interactions. Users without any training
    interaction are in no held-out part: most methods would rank by the item's number for them.

    Args:
        name: One of `recsys.datasets.names()`, `retail-rocket-views:validation=purchases` (see `recsys.datasets.load`);
            a table, `clicks.csv` or `clicks.csv:user=NAME,…` (see `read_clicks`);
            `planted(users=400,items=200)`, a low-rank model without noise.
        root: Folder of raw data sets.
        split_seed: Seed of what is drawn.
        published: Leave the training part as published, and validation empty.

    Raises:
        InputError: The name is unknown, an option, an argument of `planted` or a column is, or no split is published.
        DataError: The data cannot be had.
    """
    loaded = _read(name, root)
    if published:
        if not isinstance(loaded, Split):
            checks.fail("dataset", "one with a published split, as the published protocol needs", repr(name))
        if ":" in name:
            checks.fail("dataset", "one without options, as the published protocol needs", repr(name))
        nothing = loaded.train.subset(np.zeros(len(loaded.train), dtype=bool))
        loaded = Split(loaded.train, nothing, loaded.test)
    elif not isinstance(loaded, Split):
        loaded = ratio(loaded, 0.1, 0.1, seed=split_seed)
    elif not len(loaded.validation):
        parts = ratio(loaded.train, 0.1, 0.0, seed=split_seed)
        loaded = Split(parts.train, parts.validation, loaded.test)
    split = _known_users(name, loaded, ("train", "test") if published else PARTS)
    state = hashlib.blake2b(digest_size=16)
    dislikes = [] if split.train.dislikes is None else [split.train.dislikes]
    for matrix in (*(part.matrix for part in split), *dislikes):
        state.update(str(matrix.shape).encode())
        for array in (matrix.indptr, matrix.indices):
            state.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return split, state.hexdigest()


def _read(name: str, root: str | None) -> Interactions | Split:
    if options.call_name(name) == "planted" and (planted := _planted(name)) is not None:
        return planted
    if is_table(options.call_name(name.partition(":")[0])):
        return read_clicks(name)
    head, colon, _ = name.partition(":")
    checks.choice("dataset", head, (*datasets.names(), EXAMPLE))
    chosen = options.parse("dataset", name).options if colon else {}
    for key in chosen:
        checks.choice(f"dataset: {head}", key, ("validation",))
    return datasets.load(head, root, **chosen)


def read_clicks(text: str) -> Interactions:
    """Return the interactions of a table, a row each: `clicks.csv`, or with options, `clicks.csv:user=who,item=what`.

    Options: `user` and `item`, names of columns, by default user and item; `rating` and `at_least`, a column and the
    lowest rating that counts as a click; `duplicates` (first or last), what counts where pairs repeat.

    Raises:
        InputError: An unknown option, or as `recsys.datasets.read_table`.
        DataError: The file is absent or damaged.
    """
    path, colon, _ = text.partition(":")
    spec = options.parse("dataset", text) if colon else options.Spec(path)
    for key in spec.options:
        checks.choice(f"dataset: {path}", key, TABLE_OPTIONS)
    given = {"user": "user", "item": "item", "duplicates": "error", **{k: str(v) for k, v in spec.options.items()}}
    least = given.pop("at_least", None)
    if (least is None) != ("rating" not in given):
        checks.fail(f"dataset: {path}", "rating=COLUMN and at_least=NUMBER together", repr(text))
    if least is not None:
        checks.real(f"dataset: {path}: at_least", spec.options["at_least"])
    try:
        clicks = datasets.read_table(path, **given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return clicks if least is None else clicks.at_least(spec.options["at_least"])


def _planted(name: str) -> Interactions | None:
    """Return the interactions of `planted(…)`, or None where there are no parentheses."""
    kinds = {"users": int, "items": int, "rank": int, "density": float, "seed": int}
    if not (values := options.parse_call("dataset", name, kinds, required=("users", "items"))):
        return None
    users, items = (checks.integer(f"dataset: {key}", values.pop(key), 1, 1_000_000) for key in ("users", "items"))
    return low_rank(users, items, **values).interactions


def _known_users(name: str, split: Split, needed: Sequence[str]) -> Split:
    """Return the split without users in held-out parts without training interactions; no needed part may be empty."""
    trained = np.diff(split.train.matrix.indptr) > 0
    if not trained.all():
        split = Split(split.train, *(part.subset(trained[part.rows]) for part in (split.validation, split.test)))
    for part in needed:
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
    added = noise["rate"] if noise["kind"] in ("false-positive", "propagated", "both") else 0.0
    spread = SPREAD if noise["kind"] == "propagated" else 0
    hidden = noise["rate"] if noise["kind"] in ("false-negative", "both") else 0.0
    needed = [part for part in PARTS if len(getattr(split, part))]
    try:
        noisy_validation = select == "noisy" and "validation" in needed
        noisy = corrupt_split(split, added, hidden, spread=spread, noisy_validation=noisy_validation, seed=seed)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    rates = {"false_positive": noisy.train.false_positive_rate, "false_negative": noisy.train.false_negative_rate}
    remaining = _known_users(f"{name} with {noise['kind']} noise at rate {noise['rate']:g}", noisy.split, needed)
    return remaining, {key: round(value, 6) for key, value in rates.items()}


def for_choices(split: Split) -> Split:
    """Return the split with validation of at most MAX_VALIDATION_USERS users, drawn at random."""
    users = np.flatnonzero(np.diff(split.validation.matrix.indptr))
    if len(users) <= MAX_VALIDATION_USERS:
        return split
    drawn = np.random.default_rng(0).choice(users, MAX_VALIDATION_USERS, replace=False)
    return Split(split.train, split.validation.subset(np.isin(split.validation.rows, drawn)), split.test)


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
