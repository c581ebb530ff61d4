"""Reader of folders in the raw layout of OGB's node property data sets, without the `ogb` package."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checks import DataError, choice, fail
from graphnoise.datasets.raw import SPLITS, RawGraph, to_data
from graphnoise.io import read_text_bytes, reading

_PARTS = ("train", "valid", "test")


def load_ogb(folder: str | os.PathLike[str], scheme: str | None = None) -> Data:
    """Return the graph in a folder of OGB's raw layout: `load`'s fields, and `node_year` where the folder has years.

    The files are `raw/edge.csv.gz`, `raw/node-feat.csv.gz`, `raw/node-label.csv.gz`, `raw/node_year.csv.gz` (optional),
    `num-node-list.csv.gz` and `num-edge-list.csv.gz` (in `raw/` or beside it) and
    `split/<scheme>/{train,valid,test}.csv.gz`. The graph becomes undirected and simple. A label that is NaN is unknown:
    `y` is -1 there, and such a node in a split is an error. The result is not cached; `save_npz` can save it.

    Args:
        folder: Folder of the data set, for instance `dataset/ogbn_arxiv`.
        scheme: The folder of the split, for instance `"time"`; optional where there is only one.

    Raises:
        InputError: The scheme is not in the folder, or is needed.
        DataError: A file is absent or damaged, counts differ, or a node has several labels.

    Source:
        Hu et al., Open Graph Benchmark (2020), for the sets; the layout is that of the `ogb` package's downloads.

    Example:
        >>> import gzip, tempfile
        >>> files = {"raw/edge": "0,1", "raw/node-feat": "1 2 3 4", "raw/node-label": "0 1 nan 0"}
        >>> files |= {"num-node-list": "4", "num-edge-list": "1", "split/a/train": "0", "split/a/valid": "1"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, text in (files | {"split/a/test": "3"}).items():
        ...         (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        ...         rows = text.replace(" ", chr(10)).encode()
        ...         _ = (Path(folder) / f"{name}.csv.gz").write_bytes(gzip.compress(rows))
        ...     data = load_ogb(folder)
        >>> data.y.tolist(), data.test_mask.tolist()
        ([0, 1, -1, 0], [False, False, False, True])
    """
    base = checks.path("folder", folder)
    if not base.is_dir():
        raise DataError(f"{base}: no such folder")
    split = base / "split" / _scheme(base, scheme)
    num_nodes = int(_table(base, "num-node-list", np.int64).sum())
    num_arcs = int(_table(base, "num-edge-list", np.int64).sum())
    labels = _table(base, "node-label", np.float64)
    if labels.shape[1] != 1:
        raise DataError(f"{base}/raw/node-label.csv.gz: expected one label per node, got {labels.shape[1]} columns")
    y = np.where(np.isnan(labels[:, 0]), -1, labels[:, 0])
    _length(base, "node-label", len(y), num_nodes)
    arcs = _table(base, "edge", np.int64).T
    _length(base, "edge", arcs.shape[1], num_arcs)
    x = _table(base, "node-feat", np.float32)
    _length(base, "node-feat", len(x), num_nodes)
    with reading(base):
        data = to_data(RawGraph(arcs, x, y, _masks(split, num_nodes)), base.name)
    if (base / "raw" / "node_year.csv.gz").is_file() or (base / "node_year.csv.gz").is_file():
        years = _table(base, "node_year", np.int64)[:, 0]
        _length(base, "node_year", len(years), num_nodes)
        data.node_year = torch.from_numpy(years)
    return data


def _scheme(base: Path, scheme: str | None) -> str:
    schemes = sorted(path.name for path in (base / "split").glob("*") if path.is_dir())
    if not schemes:
        raise DataError(f"{base}/split: no folder of a split")
    if scheme is None and len(schemes) > 1:
        fail("scheme", f"one of {', '.join(schemes)}", "none")
    return schemes[0] if scheme is None else choice("scheme", scheme, schemes)


def _masks(split: Path, num_nodes: int) -> dict[str, Any]:
    masks = {}
    for key, part in zip(SPLITS, _PARTS, strict=True):
        nodes = _table(split, part, np.int64)[:, 0]
        if nodes.min() < 0 or nodes.max() >= num_nodes:
            where = f"values from {nodes.min()} to {nodes.max()}"
            fail(f"split/{split.name}/{part}.csv.gz", f"node positions from 0 to {num_nodes - 1}", where)
        masks[key] = np.zeros(num_nodes, dtype=bool)
        masks[key][nodes] = True
    return masks


def _table(base: Path, stem: str, dtype: Any) -> np.ndarray[Any, Any]:
    """Return the rows of a comma-separated file of numbers without a header."""
    name = f"{stem}.csv.gz"
    path = next((path for path in (base / "raw" / name, base / name) if path.is_file()), base / "raw" / name)
    with reading(path), warnings.catch_warnings():
        # NumPy only warns of a file without rows.
        warnings.simplefilter("error")
        try:
            return np.loadtxt(io.BytesIO(read_text_bytes(path)), dtype=dtype, delimiter=",", comments=None, ndmin=2)
        except UserWarning as warning:
            raise ValueError("no rows") from warning


def _length(base: Path, stem: str, got: int, expected: int) -> None:
    if got != expected:
        raise DataError(f"{base}/raw/{stem}.csv.gz: expected {expected} rows, got {got}")
