"""Inputs of the methods for node classification: a data set without its test labels, and a trial on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.labels import class_positions
from graphnoise.nn import Block, SparseFeatures, receptive_field
from graphnoise.nn.features import compact, row_normalised, smoothed


class Problem:
    """What methods share of a data set: features, arcs and splits, with derived structures built once per process.

    The true labels are not in it. Methods of this package share it between the cells of a process, and do not change
    it; those of other packages get a copy.

    Args:
        data: A torch_geometric `Data` with edge_index, y, train_mask, val_mask, test_mask and, for methods that read
            features, x.

    Raises:
        InputError: A field is missing, of the wrong length, out of range or not finite.
    """

    def __init__(self, data: Data) -> None:
        for name in ("edge_index", "y", "train_mask", "val_mask", "test_mask"):
            if getattr(data, name, None) is None:
                checks.fail("data", f"a Data with {name}", "none")
        n = int(data.num_nodes or 0)
        x = getattr(data, "x", None)
        self._x = torch.zeros(n, 0) if x is None else checks.finite("data.x", x, dims=2).float()
        if self._x.shape[0] != n:
            checks.fail("data.x", f"{n} rows, one per node", self._x.shape[0])
        self.graph = Graph.from_edge_index(data.edge_index, n)
        masks = [checks.mask(f"data.{split}_mask", data[f"{split}_mask"], n) for split in ("train", "val", "test")]
        self.train_mask, self.val_mask, self.test_mask = masks
        for split, mask in zip(("train", "val", "test"), masks, strict=True):
            if not bool(mask.any()):
                checks.fail(f"data.{split}_mask", "at least one node", "none")
        if int(torch.stack(masks).sum(0).max()) > 1:
            checks.fail("data", "splits without a node in common", "nodes in two of train_mask, val_mask, test_mask")
        if getattr(data, "edge_weight", None) is not None:
            checks.fail("data.edge_weight", "none (the methods here take unweighted graphs)", "weights")
        self.num_classes = int(_labels(data, self)[self.train_mask | self.val_mask | self.test_mask].max()) + 1
        self._smoothed: dict[int, Tensor] = {}
        self._inputs: dict[tuple[int, str], Inputs] = {}

    @property
    def x(self) -> Tensor:
        """Features, float32, shape [num_nodes, num_features]; refused where the data have none."""
        if not self.num_features:
            checks.fail("data.x", "features, which this method reads", "none")
        return self._x

    @property
    def num_features(self) -> int:
        """Number of features, 0 where the data have none."""
        return self._x.shape[1]

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.graph.num_nodes

    @cached_property
    def normalised(self) -> Tensor:
        """Features with rows that sum to 1 where all are at least 0 (bag of words); as they are otherwise."""
        return row_normalised(self.x)

    @cached_property
    def features(self) -> Tensor | SparseFeatures:
        """The normalised features, sparse where few are non-zero."""
        return compact(self.normalised)

    @cached_property
    def looped(self) -> Graph:
        """The graph with self-loops, normalised symmetrically."""
        return self.graph.with_self_loops().normalise("sym")

    def smoothed(self, hops: int) -> Tensor:
        """Return S^hops X with S the graph with self-loops, rows L2-normalised: what SGC classifies."""
        if hops not in self._smoothed:
            self._smoothed[hops] = smoothed(self.normalised, self.looped, hops)
        return self._smoothed[hops]

    def inputs(self, depth: int, outputs: str) -> Inputs:
        """Return what a network with `depth` graph layers reads to compute some outputs, exactly and no more.

        Args:
            depth: Number of graph layers.
            outputs: "train" (what a loss depends on), "train+val" (training nodes, then validation nodes) or "all".
        """
        key = (depth, outputs)
        if key not in self._inputs:
            x = self.features
            if outputs == "all":
                self._inputs[key] = Inputs(x, [Block.full(self.looped)] * depth)
            else:
                chosen = self.train if outputs == "train" else torch.cat([self.train, self.val])
                nodes, blocks = receptive_field(self.looped, chosen, depth)
                self._inputs[key] = Inputs(x.rows(nodes) if isinstance(x, SparseFeatures) else x[nodes], blocks)
        return self._inputs[key]

    @cached_property
    def train(self) -> Tensor:
        """Positions of the training nodes."""
        return self.train_mask.nonzero().view(-1)

    @cached_property
    def val(self) -> Tensor:
        """Positions of the validation nodes."""
        return self.val_mask.nonzero().view(-1)


def _labels(data: Data, problem: Problem) -> Tensor:
    """Return true labels, -1 where a node in no split has none."""
    y = class_positions(data.y, size=problem.num_nodes, name="data.y", unlabelled=True)
    for split in ("train", "val", "test"):
        if bool((y[getattr(problem, f"{split}_mask")] < 0).any()):
            checks.fail("data.y", f"a label for every node of {split}_mask", "nodes without one")
    return y


class Instance:
    """A problem with its true labels, which the benchmark measures against and methods never see.

    Args:
        data: As `Problem` takes it; y is -1 where a node in no split has no label.
        name: Name of the data set.
        every_class: Whether a class may not lack training nodes.

    Raises:
        InputError: As `Problem`; or a class has no training node.
    """

    def __init__(self, data: Data, name: str = "", every_class: bool = True) -> None:
        self.data, self.problem, self.name = data, Problem(data), name
        self.truth = _labels(data, self.problem)
        counts = torch.bincount(self.truth[self.problem.train_mask], minlength=self.problem.num_classes)
        if every_class and (counts == 0).any():
            checks.fail("data.train_mask", "training nodes of every class", f"none of class {int(counts.argmin())}")

    @cached_property
    def digest(self) -> str:
        """Hash of features, arcs, labels and splits."""
        p, state = self.problem, hashlib.blake2b(digest_size=16)
        for value in (p._x, p.graph.edge_index, self.truth, p.train_mask, p.val_mask, p.test_mask):
            state.update(f"{value.dtype}{tuple(value.shape)}".encode())
            state.update(value.contiguous().numpy().tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class Inputs:
    """What a network reads: the features of its input nodes and the arcs of each graph layer."""

    features: Tensor | SparseFeatures
    blocks: list[Block]


@dataclass
class Trial:
    """One training problem: noisy labels and a seed. The true labels are not in it.

    Attributes:
        problem: The data set.
        y: Noisy labels, int64, shape [num_nodes]; -1 outside the training and validation nodes.
        seed: Seed of initial weights and dropout.
        report: Called after each epoch with the loss and the predicted classes of the training nodes, in order of
            position, for the curves.
        searched: Settings that a method has chosen by a search of its own, which the cell records.
    """

    problem: Problem
    y: Tensor
    seed: int
    report: Callable[[float, Tensor], None] = field(default=lambda loss, predicted: None)
    searched: dict[str, Any] = field(default_factory=dict)

    def given(self, val_labels: bool = False) -> tuple[Tensor, Tensor]:
        """Return the training nodes, then if asked for the validation nodes, and the given labels of these nodes."""
        nodes = torch.cat([self.problem.train, self.problem.val]) if val_labels else self.problem.train
        return nodes, self.y[nodes]

    def single_class(self, labels: Tensor | None = None) -> Tensor | None:
        """Return scores of the only class among labels, by default of the training nodes; None if there are several."""
        labels = self.given()[1] if labels is None else labels
        if bool((labels != labels[0]).any()):
            return None
        return torch.eye(self.problem.num_classes)[labels[0]].repeat(self.problem.num_nodes, 1)
