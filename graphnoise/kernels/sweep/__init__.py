"""Volume and cut of each prefix of an order of nodes, in one pass over their rows.

With labels, an arc between different labels weighs `label_eps` times its weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS, NodeLabels, native_arguments
from graphnoise.kernels.sweep import reference
from graphnoise.typing import Floats, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


def sweep(
    graph: UndirectedGraph, order: Ints, labels: NodeLabels, label_eps: float, backend: str | None
) -> tuple[Floats, Floats, Floats, str]:
    """Return the degree of each node, volume and cut of each prefix, and the tier that ran.

    Self-loops count once in degrees and never in a cut. Arguments are known to be valid.

    Args:
        graph: An undirected graph.
        order: Distinct nodes, int64, shape [k].
        labels: uint8 labels of all nodes, a callable that returns those of an array of nodes, or None.
        label_eps: Factor of the weight of an arc between different labels.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, TIERS)
    if tier == "reference":
        return (*reference.sweep(graph, order, labels, label_eps), tier)
    order = np.ascontiguousarray(order, dtype=np.int64)
    degree, volume, cut = (np.empty(len(order)) for _ in range(3))
    out = degree.ctypes.data, volume.ctypes.data, cut.ctypes.data
    _native.sweep(*native_arguments(graph, labels, label_eps), order.ctypes.data, len(order), *out)
    return degree, volume, cut, tier
