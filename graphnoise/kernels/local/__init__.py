"""Shared by the kernels that read only a part of a graph (push, sweep, release, cut): their tiers and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from graphnoise.typing import Bytes, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph

# Labels of an array of nodes.
LabelLookup: TypeAlias = Callable[[Ints], Bytes]
# Labels 0/1 of all nodes, or looked up for the nodes that are touched, or none.
NodeLabels: TypeAlias = Bytes | LabelLookup | None

# Both tiers serve every call, and round alike.
TIERS: dict[str, str | None] = {"native": None, "reference": None}


def native_arguments(
    graph: UndirectedGraph, labels: NodeLabels, label_eps: float
) -> tuple[int, int, int, int, int, LabelLookup | None, float]:
    """Return a graph and labels as the compiled functions take them."""
    return (
        graph.rowptr.ctypes.data,
        graph.col.ctypes.data,
        0 if graph.weight is None else graph.weight.ctypes.data,
        graph.degree.ctypes.data,
        labels.ctypes.data if isinstance(labels, np.ndarray) else 0,
        labels if callable(labels) else None,
        label_eps,
    )


def as_int64(array: Ints) -> Ints:
    """Return int64 as NumPy names it; the compiled tier's has the same bits under the name of another C type."""
    return array.view(np.int64)
