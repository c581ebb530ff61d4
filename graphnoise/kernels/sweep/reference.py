"""Volume and cut of each prefix of an order of nodes, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphnoise.kernels.local import NodeLabels
from graphnoise.kernels.local.reference import LabelledRows
from graphnoise.typing import Floats, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


def sweep(graph: UndirectedGraph, order: Ints, labels: NodeLabels, label_eps: float) -> tuple[Floats, Floats, Floats]:
    """Return what `kernels.sweep.sweep` returns, without the tier."""
    rows = LabelledRows(graph, labels, label_eps)
    rank = {v: k for k, v in enumerate(order.tolist())}
    degree, volume, cut = (np.empty(len(order)) for _ in range(3))
    inside = outside = 0.0
    for v, k in rank.items():
        row, d = rows[v]
        loop = sum(w for u, w in row if u == v)
        earlier = sum(w for u, w in row if rank.get(u, k) < k)
        inside += d
        outside += d - loop - 2 * earlier
        degree[k], volume[k], cut[k] = d, inside, outside
    return degree, volume, cut
