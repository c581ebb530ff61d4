"""Sets of implicit feedback by name, and tables of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise._check import choice, fail
from graphnoise._files import reading
from graphnoise.datasets.feedback import Triples, read_feedback
from graphnoise.datasets.manifest import feedback_info, feedback_names
from graphnoise.datasets.sources import available
from recsys.interactions import Interactions
from recsys.splits import Split

_NOISY = "modcloth-noisy"


def names() -> tuple[str, ...]:
    """Return the names that `load` knows.

    Example:
        >>> names()[:3]
        ('ml-latest-small', 'ml-100k', 'ml-1m')
    """
    return (*feedback_names(), _NOISY)


def load(name: str, root: str | os.PathLike[str] | None = None) -> Interactions | Split:
    """Return a set by name: `Interactions`, or a `Split` where it is published with one.

    MovieLens (`ml-latest-small`, `ml-100k`, `ml-1m`, `ml-10m`, `ml-20m`, `ml-25m`, `ml-32m`): every rating is a
    positive, with its stars and its time in seconds. `amazon-beauty`: a time is the place in the user's sequence.
    `gowalla`, `lastfm`: training and test set, no validation. `amazon-nbpo`: all three. `modcloth`: ratings train,
    whatever they are, and only items rated 5 test (the clean set); `modcloth-noisy`: items of any rating test.

    Files are looked for in `root`, then in the cache, then fetched where their terms allow it, and held to the
    manifest's SHA-256 and counts. What may not be passed on is read from the root folder alone: MovieLens from 1M on
    (`ml-1m/ratings.dat`, `ml-20m/ratings.csv` as they come out of GroupLens's archives) and NBPO's Amazon split
    (`amazon-nbpo/train_data.json` and so on).

    Args:
        name: one of `names()`.
        root: a folder with one folder a set; `GRAPHNOISE_DATA` where it is not given.

    Raises:
        InputError: the name is unknown, or the root folder does not exist.
        DataError: a file is absent or damaged, no source has it, or counts differ.

    Source: the manifest of the data sets, which names the publishers of each.
    """
    choice("name", name, names())
    dataset = feedback_info("modcloth" if name == _NOISY else name)
    place = available(dataset, root)
    parts = read_feedback(dataset, place.folder, place.variant)
    with reading(place.folder):
        together = _together(parts)
    if "all" in together:
        return together["all"]
    test = {"modcloth": "test_clean", _NOISY: "test_noisy"}.get(name, "test")
    nothing = together["train"].subset(np.zeros(len(together["train"]), dtype=bool))
    return Split(together["train"], together.get("validation", nothing), together[test])


def _together(parts: Mapping[str, Triples]) -> dict[str, Interactions]:
    """Return each part as interactions; positions of users and items are the same in all."""
    sizes = np.cumsum([len(part.users) for part in parts.values()])[:-1]
    columns = {}
    for what in ("users", "items"):
        ids, places = np.unique(np.concatenate([getattr(part, what) for part in parts.values()]), return_inverse=True)
        columns[what] = ids, np.split(places, sizes)
    (users, rows), (items, cols) = columns["users"], columns["items"]
    found = {}
    for (name, part), row, col in zip(parts.items(), rows, cols, strict=True):
        one = Interactions.from_triples(row, col, part.ratings, part.times, num_users=len(users), num_items=len(items))
        found[name] = Interactions(one.matrix, one.ratings, one.times, users, items)
    return found


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
        path: ends in `.csv`, `.tsv`, `.txt` or `.parquet` (which needs pyarrow), the text ones perhaps with `.gz`.
        user: column of the user ids, integers or text.
        item: column of the item ids.
        rating: column of the ratings, numbers of at least 0.
        time: column of the times: numbers, or dates, which become seconds since 1970.
        duplicates: as for `Interactions.from_triples`.
        **options: for `pandas.read_csv`, such as `sep`.

    Raises:
        InputError: another ending, a column that is absent or holds the wrong kind of values, missing ids.
        DataError: the file is absent or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "clicks.csv").write_text("who,what\nann,7\nbob,7\n")
        ...     read_table(f"{folder}/clicks.csv", user="who", item="what")
        Interactions(2 users × 1 items, 2 interactions)
    """
    import pandas

    if not isinstance(path, str | os.PathLike):
        fail("path", "a path", type(path).__name__)
    file = Path(path)
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if kind not in (".csv", ".tsv", ".txt", ".parquet") or (file.suffix == ".gz" and kind == ".parquet"):
        fail("path", "a file that ends in .csv, .tsv, .txt or .parquet", str(file))
    columns = [name for name in (user, item, rating, time) if name is not None]
    with reading(file):
        if kind == ".parquet":
            frame = pandas.read_parquet(file, **options)
        else:
            frame = pandas.read_csv(file, **({"sep": "\t"} if kind == ".tsv" else {}) | options)
    for name in columns:
        choice("columns", name, [str(column) for column in frame.columns])
    missing = [name for name in columns if frame[name].isna().any()]
    if missing:
        fail(missing[0], "a value in every row", f"{int(frame[missing[0]].isna().sum())} missing")
    frame = frame[columns].copy()
    if time is not None and frame[time].dtype.kind == "M":
        frame[time] = frame[time].astype("datetime64[ns]").astype("int64") / 1e9
    return Interactions.from_frame(frame, user, item, rating, time, duplicates=duplicates)
