"""Reading of what detectors take: labels with probabilities or with a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.labels import check_entries, read_labels
from graphnoise.typing import Floats, GraphLike, Ints, LabelsLike


def read_probabilities(
    probabilities: Tensor | NDArray[Any], y: LabelsLike, name: str = "probabilities"
) -> tuple[Floats, Ints]:
    """Return the probabilities, clipped to [0, 1], and the column of each node's label, -1 where it has none.

    Columns are the sorted classes of y; where there are more columns than classes, integer labels are columns.

    Raises:
        InputError: Rows are no distributions or not one per label, a class has no column, or no node has a label.
    """
    p = checks.probabilities(name, probabilities).detach().cpu().numpy().clip(0.0, 1.0)
    labels = read_labels(y)
    if len(p) != len(labels.codes):
        checks.fail(name, f"{len(labels.codes)} rows, one per label", len(p))
    names = labels.classes
    if p.shape[1] != labels.num_classes:
        if p.shape[1] < labels.num_classes or names.dtype.kind == "O":
            checks.fail(name, f"{labels.num_classes} columns, one per class of y", p.shape[1])
        labels = read_labels(y, p.shape[1])
    return p, _with_labels(labels.codes.cpu().numpy())


def read_labelled_graph(graph: GraphLike, y: LabelsLike) -> tuple[Graph, Ints, int]:
    """Return the graph, the position of each node's class, -1 where it has no label, and the number of classes.

    Raises:
        InputError: No graph, or one that is normalised; not one label per node, or no label at all.
    """
    arcs = as_graph(graph)
    if arcs.normalisation is not None:
        checks.fail("graph", "a graph that is not normalised", f"normalisation {arcs.normalisation!r}")
    labels = read_labels(y, size=arcs.num_nodes)
    codes = _with_labels(labels.codes.cpu().numpy())
    check_entries("y", arcs.num_nodes, labels.num_classes)
    return arcs, codes, labels.num_classes


def one_hot(codes: Ints, classes: int) -> Floats:
    """Return class indicators, shape [n, classes]; rows of nodes without a label are 0.

    Example:
        >>> one_hot(np.array([1, -1]), 2).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    out: Floats = np.vstack([np.eye(classes), np.zeros(classes)])[codes]
    return out


def _with_labels(codes: Ints) -> Ints:
    if not bool((codes >= 0).any()):
        checks.fail("y", "at least one labelled node", "none")
    return codes
