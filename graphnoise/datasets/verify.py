"""Catalogue of data sets, and verification of their files against published counts and checksums."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch_geometric.data import Data

from graphnoise.checks import DataError
from graphnoise.datasets.citation import read_cora_guesses, read_cora_raw, read_planetoid
from graphnoise.datasets.feedback import feedback_counts, read_parts
from graphnoise.datasets.files import cache_folder, sha256
from graphnoise.datasets.manifest import (
    FeedbackInfo,
    GraphInfo,
    LabelsInfo,
    SourceFiles,
    entry,
    feedback_info,
    feedback_names,
    info,
    labels_infos,
    names,
)
from graphnoise.datasets.npz import read_npz_raw
from graphnoise.datasets.raw import SPLITS, RawGraph, split_masks, to_data
from graphnoise.datasets.safe import reading
from graphnoise.datasets.sources import Progress, available, locations

READERS: dict[str, Callable[[Path, SourceFiles], RawGraph]] = {
    "planetoid": lambda folder, variant: read_planetoid(folder, variant.files[0].name.split(".")[1]),
    "cora-raw": lambda folder, variant: read_cora_raw(folder),
    "npz": lambda folder, variant: read_npz_raw(folder / variant.files[0].name),
}


@dataclass(frozen=True)
class Check:
    """One comparison of `verify`."""

    what: str
    expected: str
    actual: str
    ok: bool


@dataclass(frozen=True)
class CatalogueRow:
    """A data set, its published counts, and where its files are: in the "root" folder, the "cache", or "absent"."""

    name: str
    nodes: int
    edges: int
    classes: int
    features: int
    licence: str
    where: str
    folder: Path | None


def get(name: str, root: str | os.PathLike[str] | None = None, progress: Progress | None = None) -> Path:
    """Make the raw files of a set available, fetching them where needed, and return their folder.

    Args:
        name: A name that `names()`, `feedback_names()` or `labels_catalogue()` lists.
        root: As for `load`.
        progress: Called with one line before each attempt to fetch.

    Raises:
        InputError: The name is unknown, or the root folder does not exist.
        DataError: No source has the files; the message has one reason per source.
    """
    return available(entry(name), root, progress).folder


def catalogue(root: str | os.PathLike[str] | None = None) -> list[CatalogueRow]:
    """Return one row per data set, with where its raw files are; nothing is fetched and no file is opened.

    Raises:
        InputError: The root folder does not exist.

    Example:
        >>> entry = catalogue()[0]
        >>> entry.name, entry.nodes, entry.edges, entry.where in ("root", "cache", "absent")
        ('cora', 2708, 5278, True)
    """
    entries = []
    for name in names():
        dataset = info(name)
        location = next(iter(locations(dataset, root)), None)
        where, folder = ("absent", None) if location is None else (location.where, location.folder)
        counts = (dataset.nodes, dataset.edges, dataset.classes, dataset.features)
        entries.append(CatalogueRow(name, *counts, dataset.licence, where, folder))
    return entries


def feedback_catalogue(root: str | os.PathLike[str] | None = None) -> list[tuple[FeedbackInfo, str]]:
    """Return each set of implicit feedback, with where its files are: "root", "cache" or "absent".

    Raises:
        InputError: The root folder does not exist.

    Example:
        >>> feedback, where = feedback_catalogue()[0]
        >>> feedback.name, feedback.users, where in ("root", "cache", "absent")
        ('ml-latest-small', 610, True)
    """
    infos = [feedback_info(name) for name in feedback_names()]
    return [(info, _where(info, root)) for info in infos]


def labels_catalogue(root: str | os.PathLike[str] | None = None) -> list[tuple[LabelsInfo, str]]:
    """Return each set of given labels, with where its file is: "root", "cache" or "absent".

    Raises:
        InputError: The root folder does not exist.

    Example:
        >>> labels, where = labels_catalogue()[0]
        >>> labels.name, labels.graph, where in ("root", "cache", "absent")
        ('cora-llm', 'cora', True)
    """
    return [(info, _where(info, root)) for info in labels_infos()]


def _where(dataset: FeedbackInfo | LabelsInfo, root: str | os.PathLike[str] | None) -> str:
    return next((location.where for location in locations(dataset, root)), "absent")


def verify(name: str, root: str | os.PathLike[str] | None = None) -> list[Check]:
    """Compare the raw files of a set with the manifest: the SHA-256 of each, and every count of what they hold.

    All complete sets of files in the first folder that has one are checked: of Cora, the Planetoid files and the raw
    ones. Nothing is fetched.

    Raises:
        InputError: The name is unknown, or the root folder does not exist.
        DataError: Neither the root folder nor the cache has the files.

    Example:
        >>> all(check.ok for check in verify("cora"))  # doctest: +SKIP
        True
    """
    dataset = entry(name)
    complete = locations(dataset, root)
    if not complete:
        raise DataError(
            f"{name}: neither the root folder nor {cache_folder() / name} has its files; get({name!r}) fetches them"
            if any(variant.address or variant.wheel for variant in dataset.variants)
            else f"{name}: the root folder has no folder {dataset.folder!r} with its files; they are not fetched"
        )
    checks = []
    for location in (location for location in complete if location.folder == complete[0].folder):
        for file in (file for file in location.variant.files if file.sha256):
            value = sha256(location.folder / file.name)
            checks.append(Check(f"sha256 of {file.name}", file.sha256, value, value == file.sha256))
        label = location.variant.reader
        try:
            if isinstance(dataset, FeedbackInfo):
                counts = feedback_counts(dataset, read_parts(location.folder, location.variant))
                checks += _checks(counts)
                continue
            if isinstance(dataset, LabelsInfo):
                given = read_cora_guesses(location.folder / location.variant.files[0].name)
                checks += _checks([("nodes per class", list(dataset.per_class), np.bincount(given).tolist())])
                continue
            raw = READERS[label](location.folder, location.variant)
            with reading(location.folder):
                checks += compare_counts(dataset, location.variant, raw, to_data(raw, name))
        except DataError as error:
            expected = {GraphInfo: "a graph", FeedbackInfo: "interactions", LabelsInfo: "labels"}[type(dataset)]
            checks.append(Check(f"reading the {label} files", expected, str(error), False))
    return checks


def compare_counts(dataset: GraphInfo, variant: SourceFiles, raw: RawGraph, data: Data) -> list[Check]:
    """Return the counts of a graph, as stored and after cleaning, with the published ones."""
    stored = np.asarray(raw.arcs)
    degree = np.bincount(data.edge_index[0].numpy(), minlength=data.num_nodes)
    masks = {key: data[key] for key in SPLITS} if raw.masks else split_masks(data.y)
    counts: list[tuple[str, Any, Any]] = [
        ("nodes", dataset.nodes, data.num_nodes),
        ("undirected edges", dataset.edges, data.edge_index.shape[1] // 2),
        ("classes", dataset.classes, data.num_classes),
        ("features", dataset.features, data.x.shape[1]),
        ("feature entries", dataset.entries, int(data.x.count_nonzero())),
        ("nodes per class", list(dataset.per_class), data.y.bincount().tolist()),
        ("isolated nodes", dataset.isolated, int((degree == 0).sum())),
        ("nodes without a row", variant.absent, raw.absent),
        (f"{dataset.split} split", list(dataset.sizes), [int(masks[key].sum()) for key in SPLITS]),
    ]
    if variant.arcs is not None:
        counts.append(("stored arcs", variant.arcs, stored.shape[1]))
    if variant.loops is not None:
        counts.append(("stored self-loops", variant.loops, int((stored[0] == stored[1]).sum())))
    if dataset.train_edges is not None:
        inside = int(masks["train_mask"][data.edge_index].all(0).sum()) // 2
        counts.append(("edges between training nodes", dataset.train_edges, inside))
    prefix = f"{variant.reader}: " if len(dataset.variants) > 1 else ""
    return _checks(counts, prefix)


def _checks(counts: Sequence[tuple[str, Any, Any]], prefix: str = "") -> list[Check]:
    """Return the comparisons of (what, expected, actual)."""
    return [Check(prefix + what, str(expected), str(actual), expected == actual) for what, expected, actual in counts]
