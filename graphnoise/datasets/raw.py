"""Conversion of raw arrays to a simple undirected graph, with checks of file contents; random splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor
from torch_geometric.data import Data

from graphnoise.checks import edge_index, fail, integer
from graphnoise.io import MAX_BYTES
from graphnoise.labels import read_labels
from graphnoise.typing import LabelsLike

SPLITS = ("train_mask", "val_mask", "test_mask")


@dataclass(frozen=True)
class RawGraph:
    """A graph as stored: arcs, features (dense or CSR), labels, masks, and the number of nodes without a row."""

    arcs: Any
    x: Any
    y: Any
    masks: Mapping[str, Any] = field(default_factory=dict)
    absent: int = 0


def simple_arcs(arcs: Any, num_nodes: int) -> Tensor:
    """Return the undirected simple graph of some arcs: both directions, no self-loop, no repeat, sorted by row, column.

    Args:
        arcs: [2, num_arcs] node positions, in any order and direction.
        num_nodes: The number of nodes.

    Raises:
        InputError: An end is not a node.

    Example:
        >>> simple_arcs([[0, 1, 1, 2], [1, 0, 2, 2]], 3).tolist()
        [[0, 1, 1, 2], [1, 0, 2, 1]]
    """
    stored = np.asarray(arcs)
    # torch has few operations on unsigned types.
    signed = stored.astype(np.int64) if stored.dtype.kind == "u" else stored
    row, col = edge_index("edge_index", signed, num_nodes).numpy()
    proper = row != col
    low, high = np.minimum(row, col)[proper], np.maximum(row, col)[proper]
    return both_directions(unique(low * num_nodes + high), num_nodes)


def both_directions(keys: np.ndarray[Any, Any], num_nodes: int) -> Tensor:
    """Return sorted arcs, both ways, from distinct keys `low * num_nodes + high` with low < high."""
    low, high = np.divmod(keys, num_nodes)
    merged = np.concatenate([keys, np.sort(high * num_nodes + low)])
    # Two sorted runs.
    merged.sort(kind="stable")
    return torch.from_numpy(np.stack(np.divmod(merged, num_nodes)))


def unique(keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the distinct integers, sorted; 20 times as fast as `numpy.unique`, which hashes, for millions.

    Example:
        >>> unique(np.array([3, 1, 3])).tolist()
        [1, 3]
    """
    # Fast on concatenated sorted runs.
    ordered = np.sort(keys, kind="stable")
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def to_data(raw: RawGraph, name: str) -> Data:
    """Return a checked `Data` from the arrays of one graph.

    Its fields: `x` (float32), `edge_index` (int64, undirected, simple, sorted), `y` (int64, -1 where no label is
    known), `num_classes`, `classes` (where their names are not 0, 1, …), `name`, and the masks of `raw`.

    Raises:
        InputError: An array is missing, has the wrong shape or type, is not finite, or contradicts another one.
    """
    y, classes = _labels(raw.y)
    data = Data(x=_features(raw.x, len(y)), edge_index=simple_arcs(raw.arcs, len(y)), y=torch.from_numpy(y))
    used: np.ndarray[Any, Any] | None = None
    for key, value in raw.masks.items():
        mask = np.asarray(value)
        if mask.dtype.kind in "iu" and mask.shape[:1] == y.shape and bool(((mask == 0) | (mask == 1)).all()):
            mask = mask == 1
        if mask.dtype != np.bool_ or mask.shape[:1] != y.shape or mask.ndim > 2:
            fail(key, f"a Boolean mask of {len(y)} entries", f"type {mask.dtype}, shape {mask.shape}")
        if used is not None and mask.shape != used.shape:
            fail(key, f"shape {used.shape}, as that of the other masks", f"shape {mask.shape}")
        if used is not None and bool((mask & used).any()):
            fail(key, "splits that share no node", f"{int((mask & used).sum())} nodes of another split")
        unlabelled = mask.reshape(len(y), -1).any(1) & (y < 0)
        if bool(unlabelled.any()):
            fail(key, "labelled nodes only", f"{int(unlabelled.sum())} without a label")
        used = mask if used is None else mask | used
        data[key] = torch.from_numpy(mask.copy())
    data.num_classes, data.name = len(classes), name
    if not np.array_equal(classes, np.arange(len(classes))):
        data.classes = classes.tolist()
    return data


def _labels(value: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the position of the class of each node, -1 where it has no label, and the names of the classes."""
    labels = read_labels(np.asarray(value))
    if not labels.num_classes:
        fail("y", "one label per node, of at least one node", f"none at {len(labels.codes)} nodes")
    return labels.codes.numpy(), labels.classes


def _features(value: Any, num_nodes: int) -> Tensor:
    x: Any = value if issparse(value) else np.asarray(value)
    if x.ndim != 2 or x.shape[0] != num_nodes or x.dtype.kind not in "biuf":
        fail("x", f"numbers in {num_nodes} rows, one per node", f"shape {x.shape} of type {x.dtype}")
    if x.shape[0] * x.shape[1] * 4 > MAX_BYTES:
        fail("x", f"at most {MAX_BYTES} bytes as a dense float32 matrix", f"shape {x.shape}")
    # Values beyond float32 become infinite, which is refused below.
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    stored = x.data if issparse(x) else x
    if not bool(np.isfinite(stored).all()):
        fail("x", "finite numbers", f"{int((~np.isfinite(stored)).sum())} NaN or infinite entries")
    return torch.from_numpy(x.toarray() if issparse(x) else np.ascontiguousarray(x))


def adjacency_arcs(matrix: csr_matrix) -> np.ndarray[Any, Any]:
    """Return the arcs [2, num_arcs] of a square CSR matrix, in stored order; a stored zero is no arc.

    Raises:
        InputError: The matrix is not square, or a weight is not finite.
    """
    if matrix.shape[0] != matrix.shape[1]:
        fail("adjacency", "a square matrix", f"shape {matrix.shape}")
    if not bool(np.isfinite(matrix.data).all()):
        fail("adjacency", "finite weights", f"{int((~np.isfinite(matrix.data)).sum())} NaN or infinite ones")
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.stack([row, matrix.indices.astype(np.int64)])[:, matrix.data != 0]


def split_masks(
    y: LabelsLike,
    *,
    train_per_class: int | float = 20,
    num_val: int | float = 500,
    num_test: int | float = 1000,
    seed: int = 0,
) -> dict[str, Tensor]:
    r"""Return `train_mask`, `val_mask`, `test_mask`: k nodes per class, then `num_val` and `num_test` of the others.

    This is the protocol of the data sets without a public split: k = 20 nodes of each class drawn uniformly, 500 and
    1000 nodes drawn uniformly from the rest. Nodes without a label (-1) are in no split.

    Args:
        y: Labels [N], in any container, -1 or NaN where none is known.
        train_per_class: Number of training nodes per class; a number below 1 is the share of each class, rounded up.
        num_val: Number of validation nodes; a number below 1 is the share of the labelled nodes.
        num_test: Number of test nodes, or their share.
        seed: Seed of the split.

    Raises:
        InputError: A class has fewer than k nodes, or too few nodes remain.

    Source:
        Shchur et al., Pitfalls of Graph Neural Network Evaluation (2018), for 20 random nodes per class (they select
        on 30 a class and test on all others); 500 and 1000 are the sizes of the Planetoid splits.

    Example:
        >>> masks = split_masks(torch.tensor([0, 0, 0, 1, 1, 1]), train_per_class=1, num_val=2, num_test=2)
        >>> [int(mask.sum()) for mask in masks.values()]
        [2, 2, 2]
    """
    labels = read_labels(y).codes.cpu().numpy()
    total = int((labels >= 0).sum())
    num_val, num_test = _size("num_val", num_val, total), _size("num_test", num_test, total)
    rng = np.random.default_rng(integer("seed", seed, 0))
    order = rng.permutation(len(labels))
    order = order[labels[order] >= 0]
    drawn = labels[order]
    counts = np.bincount(drawn)
    if isinstance(train_per_class, float) and 0 < train_per_class < 1:
        per_class = np.ceil(counts * train_per_class).astype(np.int64)
    else:
        per_class = np.full(len(counts), integer("train_per_class", train_per_class, 1))
    if not len(counts) or (counts < per_class).any():
        got = f"{counts.min()} of class {counts.argmin()}" if len(counts) else "no labelled node"
        fail("train_per_class", f"at least {train_per_class} nodes of every class to draw from", got)
    by_class = np.argsort(drawn, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(drawn), dtype=np.int64)
    rank[by_class] = np.arange(len(drawn)) - np.repeat(starts, counts)
    chosen = rank < per_class[drawn]
    train = order[chosen]
    # Permuted again: the rest of a small class is late in the order.
    rest = rng.permutation(order[~chosen])
    if len(rest) < num_val + num_test:
        expected = f"at most {len(rest)}, the nodes that remain (choose sizes of the split)"
        fail("num_val + num_test", expected, num_val + num_test)
    masks = {}
    for key, nodes in zip(SPLITS, (train, rest[:num_val], rest[num_val : num_val + num_test]), strict=True):
        masks[key] = torch.zeros(len(labels), dtype=torch.bool)
        masks[key][torch.from_numpy(nodes)] = True
    return masks


def _size(name: str, value: object, total: int) -> int:
    """Return a number of nodes, from a number or from a share of all."""
    return round(value * total) if isinstance(value, float) and 0 <= value < 1 else integer(name, value, 0)
