"""What ERASE reads of a data set, checked once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.erase.labels import MOST
from graphnoise.graph import Graph
from graphnoise.nn.features import compact, row_normalised, smoothed
from graphnoise.nn.sparse import SparseFeatures

LARGEST = 1e16  # of a feature: squares of larger ones have no finite sum in float32
SMALLEST = 1e-9  # of the largest feature: rows with a norm below 1e-12 count as zero


@dataclass(frozen=True, eq=False)
class Inputs:
    """A graph with features and, for training, the labels that may be seen.

    Attributes:
        x: Dense features as they are fed, float32, shape [num_nodes, num_features].
        features: The same, sparse where few entries are non-zero.
        graph: The arcs, not normalised.
    """

    x: Tensor
    features: Tensor | SparseFeatures
    graph: Graph

    @cached_property
    def looped(self) -> Graph:
        """The graph with self-loops, normalised symmetrically."""
        return self.graph.with_self_loops().normalise("sym")

    @cached_property
    def smoothed(self) -> Tensor:
        """Features smoothed twice over the graph with self-loops, rows of length 1: what SGC classifies."""
        return smoothed(self.x, self.looped, 2)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels that training may see.

    Attributes:
        train: Positions of the labelled nodes, shape [num_train].
        given: Their given labels, int64, shape [num_train].
        val: Positions of the validation nodes; empty where there are none.
        val_labels: Their given labels.
        num_classes: Number of classes.
        truth: True labels, -1 where unknown, or None: for the history only, training never reads them.
    """

    train: Tensor
    given: Tensor
    val: Tensor
    val_labels: Tensor
    num_classes: int
    truth: Tensor | None


def read(data: object, normalise: bool, device: torch.device | None) -> Inputs:
    """Return features and graph of a `Data`.

    Raises:
        InputError: Something is missing, of the wrong shape or not finite.
    """
    if not isinstance(data, Data):
        checks.fail("data", "a torch_geometric Data", type(data).__name__)
    for name in ("x", "edge_index"):
        if getattr(data, name, None) is None:
            checks.fail("data", f"a Data with {name}", "none")
    x = checks.finite("data.x", data.x, dims=2)
    x = (x.to_dense() if x.layout == torch.sparse_csr else x).detach().float()
    x = x.clone() if x.is_inference() else x  # which no gradient could be traced through
    if x.shape[0] == 0 or x.shape[1] == 0:
        checks.fail("data.x", "at least one node and one feature", f"shape {tuple(x.shape)}")
    if getattr(data, "edge_weight", None) is not None:
        checks.fail("data.edge_weight", "none (ERASE's encoders take unweighted graphs)", "weights")
    edge_index = checks.edge_index("data.edge_index", data.edge_index, x.shape[0])
    where = device or x.device
    x = x.to(where)
    checks.finite("data.x", x)  # in float32 too
    size = float(x.abs().max())
    if size > LARGEST:
        checks.fail("data.x", f"features of at most {LARGEST:g} in size (scale them)", f"{size:g}")
    if 0 < size < SMALLEST:
        checks.fail("data.x", f"some feature of at least {SMALLEST:g} in size (scale them)", f"{size:g} at most")
    if normalise:
        x = row_normalised(x)
    return Inputs(x, compact(x), Graph.from_edge_index(edge_index.to(where), x.shape[0]))


def read_labels(data: Data, inputs: Inputs, num_classes: int | None, *, validated: bool) -> Labels:
    """Return the labels that training may see: those of `train_mask`, and of `val_mask` where it selects by them.

    Raises:
        InputError: Labels or masks are missing or wrong; no node is labelled, or all are labelled alike.
    """
    n, device = inputs.graph.num_nodes, inputs.graph.device
    if getattr(data, "y", None) is None:
        checks.fail("data", "a Data with y", "none")
    y = checks.tensor("data.y", data.y)
    if y.dim() == 2 and y.shape[1] == 1:
        y = y.view(-1)
    if y.dim() != 1 or y.numel() != n:
        checks.fail("data.y", f"{n} labels, one a node", f"shape {tuple(y.shape)}")
    train = _positions(data, "train_mask", n)
    if train.numel() == 0:
        checks.fail("data.train_mask", "at least one labelled node", "none")
    given = checks.labels("data.y of train_mask", y[train.to(y.device)], num_classes)
    if bool((given == given[0]).all()):
        checks.fail("data.y of train_mask", "labels of at least two classes", f"class {int(given[0])} only")
    val, val_labels = train.new_empty(0), given.new_empty(0)
    if validated:
        val = _positions(data, "val_mask", n)
        if val.numel() == 0:
            checks.fail("data.val_mask", 'at least one validation node (or select="last")', "none")
        if bool(torch.isin(val, train).any()):
            checks.fail("data.val_mask", "nodes outside data.train_mask", "nodes in both")
        val_labels = checks.labels("data.y of val_mask", y[val.to(y.device)])
    known = getattr(data, "y_true", None)
    truth = None
    if known is not None:
        truth = checks.tensor("data.y_true", known).view(-1)
        if truth.numel() != n:
            checks.fail("data.y_true", f"{n} labels, one a node", truth.numel())
        truth = truth.long().to(device)
    classes = int(given.max()) + 1 if num_classes is None else num_classes
    if classes * n > MOST:
        checks.fail("data.y of train_mask", f"labels below {MOST // n} at {n} nodes", classes - 1)
    return Labels(train.to(device), given.to(device), val.to(device), val_labels.to(device), classes, truth)


def _positions(data: Data, name: str, size: int) -> Tensor:
    if getattr(data, name, None) is None:
        checks.fail("data", f"a Data with {name}", "none")
    return checks.mask(f"data.{name}", data[name], size).nonzero().view(-1)


def digest(inputs: Inputs, labels: Labels, encoder: torch.nn.Module) -> str:
    """Return a hash of all that training reads, and of the weights that it begins with."""
    state = hashlib.blake2b(digest_size=16)
    values = (inputs.x, inputs.graph.edge_index, labels.train, labels.given, labels.val, labels.val_labels)
    for value in (*values, *(weight.detach() for weight in encoder.state_dict().values())):
        state.update(f"{value.dtype}{tuple(value.shape)}".encode())
        state.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
