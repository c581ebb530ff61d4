"""Graphs in `.npz` files: a plain layout, that of gnn-benchmark, and GraphData's pickled matrices.

The plain layout holds arrays of numbers only (no pickle): `y`; `edge_index` [2, E] or the CSR parts `adj_indptr`,
`adj_indices` [, `adj_data`, `adj_shape`]; `x` [N, F] or the CSR parts `attr_indptr`, `attr_indices`, `attr_data`,
`attr_shape`; optionally `train_mask`, `val_mask`, `test_mask` (Boolean) and `name`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checks import DataError, fail
from graphnoise.datasets.files import write_data
from graphnoise.datasets.raw import SPLITS, RawGraph, adjacency_arcs, to_data
from graphnoise.datasets.safe import csr, read_npz, reading
from graphnoise.labels import class_names, class_positions, read_labels

_CSR_PARTS = ("data", "indices", "indptr", "shape")
_LABELS = ("y", "labels", "node_label", "node_labels")
_ADJACENCY = ("adj_matrix", *(f"adj_{part}" for part in _CSR_PARTS))
_FEATURES = ("node_attr", "attr_matrix", "node_features", *(f"attr_{part}" for part in _CSR_PARTS))
# Masks of several splits, [number of splits, N], of the heterophilous graphs.
_MASKS = {"train_mask": "train_masks", "val_mask": "val_masks", "test_mask": "test_masks"}
_KEYS = (
    *("edge_index", "edges", "x", "name", *_ADJACENCY, *_FEATURES, *_LABELS, *SPLITS),
    *_MASKS.values(),
)


def load_npz(path: str | os.PathLike[str]) -> Data:
    """Return the graph in a `.npz` file as a PyG `Data`, with the masks of the file.

    Supported are the plain layout of `save_npz`, the keys of gnn-benchmark (`adj_*`, `attr_*`, `labels`), those of
    GraphData (`adj_matrix`, `node_attr`, `node_label`, pickled CSR matrices, of which nothing is executed) and those of
    the heterophilous graphs (`edges`, `node_features`, `node_labels`, `train_masks` and so on, of which masks get the
    shape [N, number of splits]). Without features `x` has no columns. The graph becomes undirected and simple; arc
    weights are not kept, and a stored weight of zero is no arc.

    Args:
        path: The file.

    Raises:
        DataError: The file is absent or damaged, or lacks the arcs or the labels; features are not
            finite; an end of an arc is not a node; a mask has another length, overlaps another one or holds a node
            without a label.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load_npz(save_npz(planted_partition([30, 30], 0.3, 0.05, seed=1), f"{folder}/blocks.npz")).num_nodes
        60
    """
    file = checks.path("path", path)
    raw, name = _read(file)
    with reading(file):
        return to_data(raw, name)


def read_npz_raw(path: Path) -> RawGraph:
    """Return the arrays of a `.npz` file as they are stored."""
    return _read(path)[0]


def _read(path: Path) -> tuple[RawGraph, str]:
    arrays = read_npz(path, _KEYS)
    with reading(path):
        label = next((key for key in _LABELS if key in arrays), None)
        if label is None:
            fail("y", f"labels under one of the keys {', '.join(_LABELS)}", "none")
        y = arrays[label]
        absent = not {"x", *_FEATURES} & set(arrays)
        x = np.zeros((len(y), 0)) if absent else arrays.get("x")
        x = _matrix(arrays, _FEATURES, "attr", "x", (len(y), None)) if x is None else x
        if "edges" in arrays:
            arcs = np.asarray(arrays["edges"]).T
        elif "edge_index" in arrays:
            arcs = arrays["edge_index"]
        else:
            matrix = _matrix(arrays, _ADJACENCY, "adj", "edge_index", (len(y), len(y)))
            if matrix.shape[0] != len(y):
                fail("adjacency", f"{len(y)} rows, one per label", matrix.shape[0])
            arcs = adjacency_arcs(csr_matrix(matrix))
        masks = {key: arrays[key] for key in SPLITS if key in arrays}
        masks |= {key: np.asarray(arrays[several]).T for key, several in _MASKS.items() if several in arrays}
        name = str(arrays["name"]) if "name" in arrays else path.stem
        return RawGraph(arcs, x, y, masks), name


def _matrix(arrays: dict[str, Any], keys: tuple[str, ...], prefix: str, field: str, shape: Any) -> Any:
    """Return the matrix under one key, or from its CSR parts."""
    key = next((key for key in keys if key.endswith(("matrix", "node_attr", "node_features")) and key in arrays), None)
    if key is not None:
        return arrays[key]
    data, indices, indptr, stored_shape = (arrays.get(f"{prefix}_{part}") for part in _CSR_PARTS)
    if indices is None or indptr is None or (data is None and prefix == "attr"):
        fail(field, f"the key {field}, or CSR parts {prefix}_indptr, {prefix}_indices, {prefix}_data", "neither")
    if stored_shape is None and None in shape:
        fail(f"{prefix}_shape", "the shape of the CSR matrix", "no such key")
    ones = np.ones(len(indices), dtype=np.float32)
    return csr(ones if data is None else data, indices, indptr, shape if stored_shape is None else stored_shape)


def save_npz(data: Data, path: str | os.PathLike[str]) -> Path:
    """Write a graph as one `.npz` file for `load_npz`, atomically and without pickles.

    Args:
        data: `Data` with `edge_index`, `y` and optionally `x`, the three masks, `name` and `classes` (names of the
            classes, of which `y` then are positions). What is written is the undirected simple graph of `edge_index`;
            features are written as CSR where that is smaller, labels by name.
        path: The file; its name must end in `.npz`.

    Returns:
        The path.

    Raises:
        InputError: A field is missing or wrong, or the path does not end in `.npz`.
        DataError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition
        >>> data = planted_partition([30, 30], 0.3, 0.05, num_features=4, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = load_npz(save_npz(data, f"{folder}/two-blocks.npz"))
        >>> bool((again.edge_index == data.edge_index).all()), bool((again.x == data.x).all()), again.num_classes
        (True, True, 2)
    """
    file = checks.path("path", path)
    if not isinstance(data, Data):
        fail("data", "a torch_geometric Data", type(data).__name__)
    return write_npz(data, file)


def write_npz(data: Data, path: Path, **extra: Any) -> Path:
    """Write the file of `save_npz` with further plain arrays."""
    if path.suffix != ".npz":
        fail("path", "a file name that ends in .npz", repr(str(path)))
    for key in ("edge_index", "y"):
        if data.get(key) is None:
            fail(f"data.{key}", "a tensor", "none")
    labels = read_labels(data.y, name="data.y")
    size, y = len(labels.codes), labels.names(labels.codes)
    if data.get("classes") is not None:
        known = read_labels(data.classes, name="data.classes")
        y = class_names(known.classes, class_positions(data.y, len(known.classes), name="data.y", unlabelled=True))
    y = y.cpu().numpy() if isinstance(y, Tensor) else np.array(["" if label is None else label for label in y], str)
    tensors = {key: checks.tensor(f"data.{key}", data[key]) for key in ("x", "edge_index", *SPLITS) if key in data}
    fields: dict[str, Any] = {key: tensor.detach().cpu().numpy() for key, tensor in tensors.items()}
    masks = {key: fields[key] for key in SPLITS if key in fields}
    raw = RawGraph(fields["edge_index"], fields.get("x", np.zeros((size, 0))), y, masks)
    clean = to_data(raw, str(data.get("name") or path.stem))
    x = clean.x.numpy()
    arrays = fields | {"edge_index": _smallest(clean.edge_index.numpy(), len(x)), "y": y, "x": x}
    sparse = csr_matrix(x)
    if 2 * sparse.nnz < x.size:
        del arrays["x"]
        parts = (sparse.data, _smallest(sparse.indices, x.shape[1]), sparse.indptr, np.array(sparse.shape))
        arrays |= {f"attr_{key}": part for key, part in zip(_CSR_PARTS, parts, strict=True)}
    with write_data(path) as file:
        np.savez(file, allow_pickle=False, **arrays, name=np.array(clean.name), **extra)
    return path


def _smallest(positions: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    return positions.astype(np.int32 if size < 1 << 31 else np.int64)


def read_text(path: Path, key: str) -> str:
    """Return a text that `write_npz` wrote as an extra array, or the empty string.

    Raises:
        DataError: The file is absent or damaged, or the array is not text.
    """
    arrays = read_npz(path, (key,))
    if key in arrays and (arrays[key].dtype.kind != "U" or arrays[key].shape):
        raise DataError(f"{path}: {key}: not a text")
    return str(arrays[key]) if key in arrays else ""
