"""What ERASE reads from a data set: features, graph, given labels and split, checked once."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.labels import check_entries, read_labels
from graphnoise.nn.features import compact, principal, row_normalised, smoothed
from graphnoise.nn.sparse import SparseFeatures
from graphnoise.resources import check_memory

# Squares of larger features have no finite sum in float32.
MAX_FEATURE = 1e16
# Lower bound of the largest feature: rows with a norm below 1e-12 count as zero.
MIN_FEATURE = 1e-9


@dataclass(frozen=True, eq=False)
class Inputs:
    """Features and graph of a data set.

    Attributes:
        x: Dense features as the encoder reads them, float32, shape [num_nodes, num_features].
        features: The same, sparse where few entries are non-zero.
        graph: The graph, not normalised.
    """

    x: Tensor
    features: Tensor | SparseFeatures
    graph: Graph
    _directions: dict[int, Tensor] = field(default_factory=dict)

    def directions(self, count: int) -> Tensor:
        """Return principal directions of the smoothed features, computed once, shape [num_features, count]."""
        if count not in self._directions:
            self._directions[count] = principal(self.smoothed, count)
        return self._directions[count]

    @cached_property
    def looped(self) -> Graph:
        """The graph with self-loops, normalised symmetrically."""
        return self.graph.with_self_loops().normalise("sym")

    @cached_property
    def smoothed(self) -> Tensor:
        """Features smoothed twice over the graph with self-loops, with rows of length 1: the input of SGC."""
        return smoothed(self.x, self.looped, 2)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels that training reads.

    Attributes:
        train: Positions of the labelled nodes, shape [num_train].
        given: Their given labels, as positions in `classes`, int64, shape [num_train].
        val: Positions of the validation nodes; empty where selection does not read them.
        val_labels: Their given labels, -1 for another class.
        classes: Names of the classes, integers or strings, shape [num_classes].
        truth: True labels, -1 where unknown, or None: only for the training history.
    """

    train: Tensor
    given: Tensor
    val: Tensor
    val_labels: Tensor
    classes: NDArray[Any]
    truth: Tensor | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def shares(self) -> Tensor | None:
        """Shares of the classes among the validation labels, with half a label more in each; None without labels."""
        known = self.val_labels[self.val_labels >= 0]
        return torch.bincount(known, minlength=self.num_classes) + 0.5 if known.numel() else None

    def parts(self, count: int, seed: int) -> list[Labels]:
        """Return labels that leave out one of `count` parts of all labelled nodes each, for validation.

        Parts are random, and each has its share of every class. Validation nodes of other classes are in none.

        Raises:
            InputError: There are fewer labelled nodes than parts.
        """
        known = self.val_labels >= 0
        # Masks assign labels in order of position.
        nodes, order = torch.cat([self.train, self.val[known]]).sort()
        given = torch.cat([self.given, self.val_labels[known]])[order]
        if len(nodes) < count:
            checks.fail("n_init", f"at most {len(nodes)}, the number of labelled nodes", count)
        shuffled = torch.randperm(len(nodes), generator=torch.Generator().manual_seed(seed)).to(nodes.device)
        by_class = shuffled[given[shuffled].argsort(stable=True)]
        part = torch.empty_like(nodes).index_copy_(0, by_class, torch.arange(len(nodes), device=nodes.device) % count)
        return [
            replace(
                self, train=nodes[part != k], given=given[part != k], val=nodes[part == k], val_labels=given[part == k]
            )
            for k in range(count)
        ]


def read(data: object, normalise_features: bool, device: torch.device | None) -> Inputs:
    """Return features and graph of a `Data`.

    Args:
        data: A torch_geometric `Data` with x, dense or sparse, and edge_index or adj_t. Encoders take unweighted
            graphs: weights other than 1 are not used, of which a warning tells; arcs of weight 0 are left out.
        normalise_features: Whether the features' rows are scaled to sum to 1 (where all are at least 0).
        device: Device to move both to; None for that of the features.

    Raises:
        InputError: Something is missing, of the wrong shape or not finite.
    """
    if not isinstance(data, Data):
        checks.fail("data", "a torch_geometric Data", type(data).__name__)
    if getattr(data, "x", None) is None:
        checks.fail("data", "a Data with x", "none")
    x = checks.tensor("data.x", _without_scipy("data.x", data.x), compressed=True).detach()
    x = x.to_dense() if x.layout == torch.sparse_csr else x
    # Infinite in float32 counts, too.
    x = checks.finite("data.x", x if x.is_complex() else x.float(), dims=2)
    # Gradients cannot be traced through inference tensors.
    x = (x.clone() if x.is_inference() else x).to(device or x.device)
    if 0 in x.shape:
        checks.fail("data.x", "at least one node and one feature", f"shape {tuple(x.shape)}")
    check_scale(x)
    graph = as_graph(data)
    if graph.num_nodes != x.shape[0]:
        checks.fail("data.x", f"{graph.num_nodes} rows, one per node", x.shape[0])
    x = row_normalised(x) if normalise_features else x
    return Inputs(x, compact(x), _unweighted(graph).to(x.device))


def _unweighted(graph: Graph) -> Graph:
    """Return the pattern of a graph, of which the arcs of weight 0 are no part."""
    weight = graph.weight
    if weight is None:
        return graph
    if bool((weight != 1).any()):
        text = "weights of arcs (edge_weight, edge_attr or values of adj_t) are not used: every arc counts as 1"
        warnings.warn(text, UserWarning, stacklevel=4)
    return Graph._from_arcs(graph.edge_index[:, weight > 0], graph.num_nodes, None, graph.names)


def read_features(name: str, x: object) -> Tensor:
    """Return features of any node classifier as a dense float32 matrix on the CPU, of at least one node and feature.

    Sparse matrices of SciPy and compressed ones of torch are made dense.

    Raises:
        InputError: They are no matrix, empty, not finite, or of a size beyond float32.
    """
    read = checks.finite(name, _without_scipy(name, x), dims=2).detach().cpu()
    read = (read.to_dense() if read.layout != torch.strided else read).float()
    if 0 in read.shape:
        checks.fail(name, "at least one node and one feature", f"shape {tuple(read.shape)}")
    check_scale(read, name)
    return read


def _without_scipy(name: str, x: Any) -> Any:
    """Return a sparse matrix of SciPy as an array, anything else as it is."""
    if not scipy.sparse.issparse(x):
        return x
    if hasattr(x, "check_format"):
        try:
            checks.check_format(x)
        except ValueError as error:
            checks.fail(name, "a valid SciPy sparse matrix", f"one whose {error}")
    check_memory(f"{name} as a dense matrix", float(x.dtype.itemsize) * math.prod(x.shape))
    return x.toarray()


def check_scale(x: Tensor, name: str = "data.x") -> None:
    """Refuse features so large or so small that their norms overflow or count as zero in float32.

    Raises:
        InputError: The largest feature is out of range.
    """
    size = float(x.abs().max())
    if size > MAX_FEATURE:
        checks.fail(name, f"features of at most {MAX_FEATURE:g} in size (scale them)", f"{size:g}")
    if 0 < size < MIN_FEATURE:
        checks.fail(name, f"some feature of at least {MIN_FEATURE:g} in size (scale them)", f"{size:g} at most")


def read_training_labels(
    data: Data, inputs: Inputs, num_classes: int | None, *, validated: bool, split: int | None = None
) -> Labels:
    """Return the labels that training reads: those of `train_mask` and, for selection, of `val_mask`.

    Args:
        data: The data set.
        inputs: Its features and graph.
        num_classes: Number of classes; by default the number of distinct labels of `train_mask`.
        validated: Whether validation labels select.
        split: Column of masks of several splits.

    Raises:
        InputError: Labels or masks are missing or wrong; no node is labelled, or all are labelled alike.
    """
    n, device = inputs.graph.num_nodes, inputs.graph.device
    if getattr(data, "y", None) is None:
        checks.fail("data", "a Data with y", "none")
    train = _positions(data, "train_mask", n, split)
    if train.numel() == 0:
        checks.fail("data.train_mask", "at least one labelled node", "none")
    name = "data.y of train_mask"
    labels = read_labels(data.y, num_classes, nodes=train, size=n, unlabelled=False, name=name)
    given, classes = labels.codes, labels.classes
    if bool((given == given[0]).all()):
        checks.fail(name, "labels of at least two classes", f"class {classes[int(given[0])]} only")
    check_entries(name, n, labels.num_classes)
    val, val_labels = train.new_empty(0), given.new_empty(0)
    if validated:
        val = _positions(data, "val_mask", n, split)
        if val.numel() == 0:
            checks.fail("data.val_mask", 'at least one validation node (or select="last")', "none")
        if bool(torch.isin(val, train).any()):
            checks.fail("data.val_mask", "nodes outside data.train_mask", "nodes in both")
        val_labels = read_labels(data.y, nodes=val, unlabelled=False, name="data.y of val_mask").codes_among(classes)
    truth = None
    if getattr(data, "y_true", None) is not None:
        truth = read_labels(data.y_true, size=n, name="data.y_true").codes_among(classes).to(device)
    train, given, val, val_labels = (part.to(device) for part in (train, given, val, val_labels))
    return Labels(train, given, val, val_labels, classes, truth)


def _positions(data: Data, name: str, size: int, split: int | None) -> Tensor:
    if getattr(data, name, None) is None:
        checks.fail("data", f"a Data with {name}", "none")
    return checks.mask(f"data.{name}", data[name], size, split=split).nonzero().view(-1)


def digest(x: Tensor, edge_index: Tensor, labels: Labels, encoder: torch.nn.Module) -> str:
    """Return a hash of everything that training reads, including the initial weights."""
    state = hashlib.blake2b(digest_size=16)
    values = (x, edge_index, labels.train, labels.given, labels.val, labels.val_labels)
    for value in (*values, *(weight.detach() for weight in encoder.state_dict().values())):
        state.update(f"{value.dtype}{tuple(value.shape)}".encode())
        state.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
