"""Implicit-feedback data sets by name, and readers of tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.checks import choice, fail
from graphnoise.datasets.feedback import Triples, read_feedback
from graphnoise.datasets.manifest import feedback_info, feedback_names
from graphnoise.datasets.sources import available
from graphnoise.datasets.tables import parse_text
from graphnoise.io import reading
from recsys.interactions import Interactions
from recsys.splits import Split
from recsys.validation import pair_keys

# By name, the data set of the manifest, and which of its parts are the training and the test set.
_PARTS = {
    "modcloth": ("modcloth", "train", "test_clean"),
    "modcloth-noisy": ("modcloth", "train", "test_noisy"),
    "retail-rocket-views": ("retail-rocket", "views", "test"),
    "retail-rocket-carts": ("retail-rocket", "carts", "test"),
    "retail-rocket-purchases": ("retail-rocket", "purchases", "test"),
    "coat": ("coat", "train", "random"),
    "coat-likes": ("coat", "train", "random"),
}
# Those whose validation may be purchases.
_BOUGHT_LATER = ("retail-rocket-views", "retail-rocket-carts")
# Coat: the lowest rating of a like, and the one below which the rest are dislikes.
_LIKED, _DISLIKED = 4, 3


def names() -> tuple[str, ...]:
    """Return the names that `load` knows.

    Example:
        >>> names()[:3]
        ('ml-latest-small', 'ml-100k', 'ml-1m')
    """
    several = {source for source, *_ in _PARTS.values()}
    return (*(name for name in feedback_names() if name not in several), *_PARTS)


def load(
    name: str, root: str | os.PathLike[str] | None = None, *, validation: str | None = None
) -> Interactions | Split:
    """Return a data set by name: `Interactions`, or a `Split` if it is published with one.

    MovieLens (`ml-latest-small`, `ml-100k`, `ml-1m`, `ml-10m`, `ml-20m`, `ml-25m`, `ml-32m`): every rating is a
    positive, with its stars and its time in seconds. `amazon-beauty`: a time is the position in the user's sequence.
    `gowalla`, `lastfm`: training and test set, no validation. `amazon-nbpo`: all three.

    With real noise: `modcloth`: all ratings are in the training set, and only items rated 5 in the test set (clean);
    `modcloth-noisy`: items of any rating in the test set. `retail-rocket-views`, `-carts`, `-purchases`: the training
    set is what users viewed, put into the cart or bought, with times in seconds; the test set is always the same
    purchase of each user, which is in none of the three. `coat`: the training set are the items that users chose to
    rate, whatever the rating (many are dislikes; see `Interactions.at_least`); the test set are the likes (4 or 5)
    among the 16 items that were drawn for each user at random, all equally likely, without those of the training set:
    recall on these estimates recall on all likes. `coat-likes`: the same test set; the training set are the likes
    alone, and what users rated 1 or 2 are dislikes.

    Files are searched in `root`, then in the cache, then downloaded if their terms allow it, and verified against the
    SHA-256 and the counts of the manifest. Others are read from `root` alone: MovieLens 1M and larger
    (`ml-1m/ratings.dat`, `ml-20m/ratings.csv` as they come out of GroupLens's archives), NBPO's Amazon split
    (`amazon-nbpo/train_data.json` and so on), Retail Rocket (`retail-rocket/views.csv` and so on).

    Args:
        name: One of `names()`.
        root: A folder with one folder per data set; None is `GRAPHNOISE_DATA`.
        validation: "purchases", for `retail-rocket-views` and `-carts`: the validation set is the last purchase of each
            user that is not in the test set, and the training set goes without these pairs, as it goes without those
            of the test set. None: as published.

    Raises:
        InputError: The name is unknown, the root folder does not exist, or the data set has no such validation set.
        DataError: A file is absent or damaged, no source has it, or counts differ.

    Example:
        >>> load("ml-100k")  # doctest: +SKIP
        Interactions(943 users × 1682 items, 100000 interactions, with ratings and times)

    Source: the manifest of the data sets, which names the publishers of each; Coat: Schnabel et al., "Recommendations
        as treatments", ICML 2016, section 6.
    """
    choice("name", name, names())
    if root is not None and not isinstance(root, str | os.PathLike):
        fail("root", "a path or None", repr(root))
    if validation is not None:
        choice("validation", validation, ("purchases",))
        if name not in _BOUGHT_LATER:
            fail("validation", f"None, unless the data set is one of {', '.join(_BOUGHT_LATER)}", repr(validation))
    source, train, test = _PARTS.get(name, (name, "train", "test"))
    dataset = feedback_info(source)
    place = available(dataset, root)
    parts = read_feedback(dataset, place.folder, place.variant)
    with reading(place.folder):
        together = _together(parts)
    if "all" in together:
        return together["all"]
    known, held_out = together[train], together[test]
    if source == "coat":
        held_out = held_out.at_least(_LIKED)
        held_out = held_out.subset(~np.isin(pair_keys(held_out.matrix), pair_keys(known.matrix)))
    if name == "coat-likes":
        known = known.at_least(_LIKED, dislikes_below=_DISLIKED)
    if validation is not None:
        chosen = _last_of_each(together[validation])
        return Split(known.subset(~np.isin(pair_keys(known.matrix), pair_keys(chosen.matrix))), chosen, held_out)
    return Split(known, together.get("validation", known.subset(np.zeros(len(known), dtype=bool))), held_out)


def _last_of_each(interactions: Interactions) -> Interactions:
    """Return the last interaction of each user; of those of the same time, that of the higher item."""
    assert interactions.times is not None
    order = np.lexsort((interactions.times, interactions.rows))
    last = np.append(np.diff(interactions.rows[order]) > 0, True)[: len(order)]
    return interactions.subset(np.isin(np.arange(len(order)), order[last]))


def _together(parts: Mapping[str, Triples]) -> dict[str, Interactions]:
    """Return each part as interactions with common positions of users and items."""
    sizes = np.cumsum([len(part.users) for part in parts.values()])[:-1]
    columns = {}
    for name in ("users", "items"):
        ids, places = np.unique(np.concatenate([getattr(part, name) for part in parts.values()]), return_inverse=True)
        columns[name] = ids, np.split(places, sizes)
    (users, rows), (items, cols) = columns["users"], columns["items"]
    result = {}
    for (name, part), row, col in zip(parts.items(), rows, cols, strict=True):
        triples = Interactions.from_triples(
            row, col, part.ratings, part.times, num_users=len(users), num_items=len(items)
        )
        result[name] = Interactions(triples.matrix, triples.ratings, triples.times, users, items)
    return result


def _numbered(ids: Any) -> Any:
    """Return a pandas column of text as numbers where all are written as such, without leading zeros."""
    import pandas

    text = ids.astype(str).str.strip()
    if text.str.fullmatch(r"-?[0-9]+").all() and not text.str.fullmatch("-?(0|[1-9][0-9]*)").all():
        return ids
    numbers = pandas.to_numeric(text, errors="coerce")
    # Numbers beyond 64 bits are text.
    whole = text.str.fullmatch("-?[0-9]+").any()
    return ids if numbers.isna().any() or (whole and numbers.dtype.kind not in "iu") else numbers


def read_table(
    path: str | os.PathLike[str],
    user: str,
    item: str,
    rating: str | None = None,
    time: str | None = None,
    *,
    duplicates: str = "error",
    **options: Any,
) -> Interactions:
    r"""Return the interactions of a CSV, TSV or Parquet file, by the names of its columns; needs pandas.

    Args:
        path: Ends in `.csv`, `.tsv`, `.txt` or `.parquet` (which needs pyarrow), text files optionally with `.gz`.
        user: Column of the user ids, integers or text.
        item: Column of the item ids.
        rating: Column of the ratings; rows with a negative one are dislikes.
        time: Column of the times: numbers, or dates (text in ISO 8601 too), which become seconds since 1970; those
            without a time zone are UTC.
        duplicates: As in `Interactions.from_triples`.
        **options: For `pandas.read_csv`, such as `sep`, or `keep_default_na=False` where "NA" or "null" are ids. Ids
            that are all written as integers without leading zeros are integers, unless `dtype` says otherwise.

    Raises:
        InputError: Another ending, a column that is absent, named twice or holds the wrong kind of values, missing ids.
        DataError: The file is absent or damaged, or its rows have more fields than its first line names.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "clicks.csv").write_text("who,what\nann,7\nbob,7\n")
        ...     read_table(f"{folder}/clicks.csv", user="who", item="what")
        Interactions(2 users × 1 items, 2 interactions)
    """
    import pandas

    file = checks.path("path", path)
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if kind not in (".csv", ".tsv", ".txt", ".parquet") or (file.suffix == ".gz" and kind == ".parquet"):
        fail("path", "a file that ends in .csv, .tsv, .txt or .parquet", str(file))
    values = {argument: name for argument, name in (("rating", rating), ("time", time)) if name is not None}
    named = {"user": user, "item": item} | values
    columns = list(named.values())
    for argument, name in named.items():
        if not isinstance(name, str):
            fail(argument, "the name of a column", type(name).__name__)
    with reading(file):
        if kind == ".parquet":
            frame = pandas.read_parquet(file, **options)
        else:
            # Numbers would lose leading zeros.
            bare = options.get("header", 0) is None and "names" not in options
            texts = {int(name) if bare and name.isdecimal() else name: str for name in (user, item)}
            default = {} if "converters" in options else {"dtype": texts}
            frame = parse_text(file, **({"sep": "\t"} if kind == ".tsv" else {}) | default | options)
    if not isinstance(frame, pandas.DataFrame):
        frame.close()
        fail("options", "such that pandas returns one table", type(frame).__name__)
    frame.columns = frame.columns.astype(str)
    for argument, name in named.items():
        choice(argument, name, list(frame.columns))
        if columns.count(name) > 1 or list(frame.columns).count(name) > 1:
            fail(argument, "names of different columns", f"{name!r} twice")
    missing = [name for name in columns if frame[name].isna().any()]
    if missing:
        absent = f"{int(frame[missing[0]].isna().sum())} missing"
        hint = "" if kind == ".parquet" else " (of texts such as NA and null that are values: keep_default_na=False)"
        fail(missing[0], "a value in every row", f"{absent}{hint}")
    if kind != ".parquet" and not {"dtype", "converters"} & options.keys():
        frame[user], frame[item] = _numbered(frame[user]), _numbered(frame[item])
    return Interactions.from_frame(frame, user, item, rating, time, duplicates=duplicates)
