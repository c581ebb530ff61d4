"""Graphs in folders of torch_geometric's raw files, and in `.pt` files of tensors."""

from __future__ import annotations

import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checks import DataError
from graphnoise.datasets.citation import read_planetoid
from graphnoise.datasets.npz import load_npz
from graphnoise.datasets.ogb import load_ogb
from graphnoise.datasets.raw import SPLITS, RawGraph, to_data
from graphnoise.datasets.safe import read_npz
from graphnoise.io import MAX_BYTES, read_text_bytes, reading

_EDGES, _NODES = "out1_graph_edges.txt", "out1_node_feature_label.txt"


def load_folder(folder: str | os.PathLike[str]) -> Data:
    """Return the graph in a folder, or in its folder `raw`, as `load` does.

    Read are the raw files of torch_geometric's Planetoid (`ind.NAME.x` and so on), those of its WebKB, Actor and
    WikipediaNetwork (`out1_graph_edges.txt`, `out1_node_feature_label.txt`, and `*_split_0.6_0.2_*.npz`, of which masks
    get the shape [N, number of splits]), a single `.npz` file, and the layout of OGB.

    Raises:
        DataError: No folder, none or several of these, or a file that is absent or damaged.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition, save_npz
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_npz(planted_partition([30, 30], 0.3, 0.05, seed=1), f"{folder}/blocks.npz")
        ...     load_folder(folder).num_nodes
        60
    """
    folder = checks.path("folder", folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    name = folder.resolve().name
    for place in (folder, folder / "raw"):
        prefixes = sorted(path.name.split(".")[1] for path in place.glob("ind.*.x"))
        if len(prefixes) > 1:
            raise DataError(f"{place}: expected the files of one set, got those of {', '.join(prefixes)}")
        if prefixes:
            raw = read_planetoid(place, prefixes[0])
            with reading(place):
                return to_data(raw, prefixes[0])
        if (place / _NODES).exists():
            raw = _read_text_graph(place)
            with reading(place):
                return to_data(raw, name)
        if len(archives := sorted(place.glob("*.npz"))) == 1:
            return load_npz(archives[0])
    if (folder / "split").is_dir():
        return load_ogb(folder)
    expected = "raw files of Planetoid, WebKB or Actor, one .npz file, or the layout of OGB"
    raise DataError(f"{folder}: expected {expected}, got none of these")


def _read_text_graph(folder: Path) -> RawGraph:
    """Return the graph in the two text files of WebKB, Actor and WikipediaNetwork."""
    with reading(folder / _NODES):
        nodes = pandas.read_csv(BytesIO(read_text_bytes(folder / _NODES)), sep="\t", dtype=str, keep_default_na=False)
        if nodes.shape[1] != 3:
            raise DataError(f"{folder / _NODES}: expected three columns, got {nodes.shape[1]}")
        ids = nodes.iloc[:, 0].to_numpy(dtype=np.int64)
        if not np.array_equal(np.sort(ids), np.arange(len(ids))):
            raise DataError(f"{folder / _NODES}: expected the nodes 0 to {len(ids) - 1}, each once")
        values = [np.array(text.split(","), dtype=np.int64) for text in nodes.iloc[:, 1]]
        y = np.empty(len(ids), dtype=np.int64)
        y[ids] = nodes.iloc[:, 2].to_numpy(dtype=np.int64)
        lengths = {len(row) for row in values}
        together = np.concatenate(values)
        if together.min() < 0:
            raise DataError(f"{folder / _NODES}: expected features of at least 0, got {together.min()}")
        # Bits, or the columns of ones.
        if len(lengths) == 1 and max(lengths) > 1 and together.max() <= 1:
            x: Any = np.empty((len(ids), lengths.pop()), dtype=np.float32)
            x[ids] = np.stack(values)
        else:
            rows = np.repeat(ids, [len(row) for row in values])
            shape = (len(ids), int(together.max()) + 1)
            x = csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, together)), shape=shape)
            x.data[:] = 1.0
    with reading(folder / _EDGES):
        arcs = pandas.read_csv(BytesIO(read_text_bytes(folder / _EDGES)), sep="\t", dtype=np.int64).to_numpy().T
        if arcs.shape[0] != 2:
            raise DataError(f"{folder / _EDGES}: expected two columns, got {arcs.shape[0]}")
    archives = sorted(folder.glob("*_split_0.6_0.2_*.npz"), key=lambda path: (len(path.name), path.name))
    masks: dict[str, Any] = {}
    if archives:
        parts = [read_npz(path, SPLITS) for path in archives]
        for path, arrays in zip(archives, parts, strict=True):
            if set(arrays) != set(SPLITS) or any(array.shape != y.shape for array in arrays.values()):
                raise DataError(f"{path}: expected the masks {', '.join(SPLITS)} of {len(y)} nodes")
        masks = {key: np.stack([arrays[key] for arrays in parts], axis=1) for key in SPLITS}
    return RawGraph(arcs, x, y, masks)


def load_pt(path: str | os.PathLike[str]) -> Data:
    """Return the graph in a `.pt` file that `torch.save(data.to_dict(), path)` wrote, as `load` does.

    Nothing in the file is executed: tensors, numbers, texts and containers are read. The graph becomes undirected and
    simple, weights of arcs are not kept.

    Raises:
        DataError: The file is absent or damaged, holds other objects, more than 2 GiB, or lacks the arcs or the labels.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(planted_partition([30, 30], 0.3, 0.05, seed=1).to_dict(), f"{folder}/blocks.pt")
        ...     load_pt(f"{folder}/blocks.pt").num_nodes
        60
    """
    path = checks.path("path", path)
    with reading(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise DataError(f"{path}: {size:,} bytes, more than the limit of {MAX_BYTES:,}")
            content = torch.load(path, map_location="cpu", weights_only=True)
        except DataError:
            raise
        except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile) as error:
            hint = "tensors only, as torch.save(data.to_dict(), path) writes"
            raise DataError(f"{path}: expected {hint}, got other objects or a damaged file") from error
    # As torch_geometric saves processed sets: the fields, and more.
    if isinstance(content, list | tuple) and content:
        content = content[0]
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    missing = [key for key in ("edge_index", "y") if not isinstance(content.get(key), Tensor)]
    if missing:
        raise DataError(f"{path}: expected tensors edge_index and y, got none named {missing[0]}")
    with reading(path):
        used = [value for key in ("edge_index", "y", "x", *SPLITS) if isinstance(value := content.get(key), Tensor)]
        # Sparse tensors, and those of stride 0, may be larger than their file.
        size = sum(value.numel() * value.element_size() for value in used)
        if size > MAX_BYTES:
            raise DataError(f"{path}: tensors of {size:,} bytes, more than the limit of {MAX_BYTES:,}")
        y = content["y"].detach().numpy()
        x = content.get("x")
        x = x.detach().to_dense().float().numpy() if isinstance(x, Tensor) else np.zeros((len(y), 0))
        masks = {key: content[key].numpy() for key in SPLITS if isinstance(content.get(key), Tensor)}
        return to_data(RawGraph(content["edge_index"].numpy(), x, y, masks), path.stem)
