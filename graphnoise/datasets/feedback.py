"""Readers of published files of implicit feedback (which user interacted with which item).

Recommenders read them through `recsys.datasets`; the raw readers are here, so that `graphnoise data` lists, fetches and
verifies these data sets beside the graphs.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise.checks import DataError
from graphnoise.datasets.manifest import FeedbackInfo, SourceFiles
from graphnoise.datasets.safe import csr, read_npz
from graphnoise.io import read_text_bytes, reading

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Triples:
    """Parallel columns [n]: ids of users and of items, and ratings and times where the file has them."""

    users: Array
    items: Array
    ratings: Array | None = None
    times: Array | None = None


def read_feedback(dataset: FeedbackInfo, folder: Path, variant: SourceFiles) -> dict[str, Triples]:
    """Return the parts of a data set ("all", or "train", "validation", "test", ...), after comparing counts.

    Raises:
        DataError: A file is absent or damaged, or the counts are not those of the manifest.
    """
    parts = read_parts(folder, variant)
    for what, expected, actual in feedback_counts(dataset, parts):
        if expected != actual:
            raise DataError(f"{folder}: {what}: expected {expected}, got {actual}")
    return parts


def read_parts(folder: Path, variant: SourceFiles) -> dict[str, Triples]:
    """Return the parts of a data set as stored, without comparing counts.

    Raises:
        DataError: A file is absent or damaged.
    """
    return READERS[variant.reader](folder, [file.name for file in variant.files])


def feedback_counts(dataset: FeedbackInfo, parts: Mapping[str, Triples]) -> list[tuple[str, int, int]]:
    """Return (name, expected, actual) for the numbers of users, items and interactions of each part."""
    users, items = (
        len(np.unique(np.concatenate([getattr(part, what) for part in parts.values()]))) for what in ("users", "items")
    )
    counts = [("users", dataset.users, users)]
    if dataset.items is not None:
        counts.append(("items", dataset.items, items))
    sizes = {name: len(part.users) for name, part in parts.items()}
    return counts + [(f"interactions, {name}", dataset.parts.get(name, 0), size) for name, size in sizes.items()]


def _table(path: Path, separator: str, columns: str, skip: int = 0, double: str = "") -> Triples:
    """Read the first columns of a text file: u(ser), i(tem), r(ating), t(ime); integers, but float32 for ratings."""
    kinds = [(name, np.float32 if name == "r" else np.int64) for name in columns]
    with reading(path), warnings.catch_warnings():
        # Counts that differ from the manifest are an error elsewhere.
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        content = read_text_bytes(path)
        content = content.replace(double.encode(), separator.encode()) if double else content
        rows = np.loadtxt(
            BytesIO(content), np.dtype(kinds), delimiter=separator, skiprows=skip, usecols=range(len(kinds)), ndmin=1
        )
        values = {name: np.ascontiguousarray(rows[name]) for name in columns}
        return Triples(values["u"], values["i"], values.get("r"), values.get("t"))


def _lists(lines: Sequence[Sequence[int]], users: Sequence[int] | None = None) -> Triples:
    """Return the triples of one list of items per user; a time is the position in the list."""
    sizes = [len(line) for line in lines]
    users = range(len(lines)) if users is None else users
    items = np.fromiter(itertools.chain.from_iterable(lines), np.int64, sum(sizes))
    places = [np.arange(size) for size in sizes]
    return Triples(np.repeat(np.asarray(users, np.int64), sizes), items, times=np.concatenate([items[:0], *places]))


def _movielens_csv(folder: Path, files: list[str]) -> dict[str, Triples]:
    return {"all": _table(folder / files[0], ",", "uirt", skip=1)}


def _movielens_dat(folder: Path, files: list[str]) -> dict[str, Triples]:
    return {"all": _table(folder / files[0], "\t", "uirt", double="::")}


def _recbole(folder: Path, files: list[str]) -> dict[str, Triples]:
    return {"all": _table(folder / files[0], "\t", "uirt", skip=1)}


def _gowalla(folder: Path, files: list[str]) -> dict[str, Triples]:
    """Users come first in the adjacency matrix, then items; `test.txt` has a line for each user."""
    lists = _lines(folder / files[1])
    with reading(folder / files[0]):
        parts = read_npz(folder / files[0], ("data", "indices", "indptr", "shape"))
        whole = csr(parts["data"], parts["indices"], parts["indptr"], parts["shape"])
        train = whole[: len(lists.users_of), len(lists.users_of) :].tocoo()
        if 2 * train.nnz != whole.nnz:
            raise DataError(f"{folder / files[0]}: expected edges between {len(lists.users_of)} users and items only")
    test = lists.triples
    train_part = Triples(train.row.astype(np.int64), train.col.astype(np.int64))
    # Positions in the lists are no times here.
    return {"train": train_part, "test": Triples(test.users, test.items)}


@dataclass(frozen=True)
class _Lines:
    users_of: list[int]
    triples: Triples


def _lines(path: Path) -> _Lines:
    """Read `user item item ...`, one line per user."""
    with reading(path):
        rows = [
            list(map(int, line.split())) for line in read_text_bytes(path).decode("ascii").splitlines() if line.strip()
        ]
        users = [row[0] for row in rows]
        if len(set(users)) != len(users):
            raise DataError(f"{path}: a user has two lines")
        return _Lines(users, _lists([row[1:] for row in rows], users))


def _sequences(folder: Path, files: list[str]) -> dict[str, Triples]:
    return {"all": _lines(folder / files[0]).triples}


def _json_lists(folder: Path, files: list[str]) -> dict[str, Triples]:
    parts = {}
    for part, name in zip(("train", "validation", "test"), files, strict=True):
        path = folder / name
        with reading(path):
            content = json.loads(read_text_bytes(path))
            if not isinstance(content, list) or not all(isinstance(line, list) for line in content):
                raise DataError(f"{path}: expected a list of lists of items")
            if not all(type(item) is int for line in content for item in line):
                raise DataError(f"{path}: expected integers as items")
            triples = _lists(content)
            parts[part] = Triples(triples.users, triples.items)
    return parts


def _deca(folder: Path, files: list[str]) -> dict[str, Triples]:
    """Read DeCA's files; `test.negative` holds, despite its name, the clean test pairs: those rated 5."""
    parts = ("train", "validation", "test_noisy", "test_clean")
    return {part: _table(folder / name, "\t", "uir") for part, name in zip(parts, files, strict=True)}


def _lightgcn(folder: Path, files: list[str]) -> dict[str, Triples]:
    names = zip(("train", "test"), files, strict=True)
    return {part: _table(folder / name, "\t", "ui") for part, name in names}


def _retail_rocket(folder: Path, files: list[str]) -> dict[str, Triples]:
    """Read tables with a header; that of the test part has no times."""
    names = ("views", "carts", "purchases", "test")
    columns = ("uit", "uit", "uit", "ui")
    parts = zip(names, files, columns, strict=True)
    return {part: _table(folder / name, ",", read, skip=1) for part, name, read in parts}


def _coat(folder: Path, files: list[str]) -> dict[str, Triples]:
    """Read ratings of items that the user chose ("train"), and of items that were drawn at random ("random")."""
    names = zip(("train", "random"), files, strict=True)
    return {part: _table(folder / name, ",", "uir") for part, name in names}


READERS: dict[str, Callable[[Path, list[str]], dict[str, Triples]]] = {
    "movielens-csv": _movielens_csv,
    "movielens-dat": _movielens_dat,
    "recbole": _recbole,
    "gowalla": _gowalla,
    "sequences": _sequences,
    "json-lists": _json_lists,
    "deca": _deca,
    "lightgcn": _lightgcn,
    "retail-rocket": _retail_rocket,
    "coat": _coat,
}
