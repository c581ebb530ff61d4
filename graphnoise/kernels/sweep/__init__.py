"""Volume and cut of each prefix of an order of nodes, in one pass over their rows.

With labels an arc weighs its weight where the labels of its ends agree, and eps of it where they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph
    from graphnoise.clustering.result import Floats, Ints


def sweep(
    graph: UndirectedGraph, order: Ints, labels: Any, eps: float, backend: str | None
) -> tuple[Floats, Floats, Floats, str]:
    """Return the degree of each node, volume and cut of each prefix, and the tier that ran.

    Self-loops count once in degrees and never in a cut. Arguments are known to be valid.

    Args:
        graph: An undirected graph.
        order: Distinct nodes, int64, shape [k].
        labels: uint8 labels of all nodes, a callable that returns those of an array of nodes, or None.
        eps: Part that an arc between different labels weighs.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, {"native": None, "reference": None})
    if tier == "reference":
        return (*reference(graph, order, labels, eps), tier)
    order = np.ascontiguousarray(order, dtype=np.int64)
    degree, volume, cut = (np.empty(len(order)) for _ in range(3))
    _native.sweep(
        *addresses(graph, labels, eps),
        order.ctypes.data,
        len(order),
        degree.ctypes.data,
        volume.ctypes.data,
        cut.ctypes.data,
    )
    return degree, volume, cut, tier


def addresses(graph: UndirectedGraph, labels: Any, eps: float) -> tuple[int, int, int, int, int, Any, float]:
    """Return a graph and labels as the compiled functions take them."""
    return (
        graph.rowptr.ctypes.data,
        graph.col.ctypes.data,
        0 if graph.weight is None else graph.weight.ctypes.data,
        graph.degree.ctypes.data,
        labels.ctypes.data if isinstance(labels, np.ndarray) else 0,
        labels if callable(labels) else None,
        eps,
    )


def reference(graph: UndirectedGraph, order: Ints, labels: Any, eps: float) -> tuple[Floats, Floats, Floats]:
    """Return what `sweep` does, a node at a time."""
    rows = Rows(graph, labels, eps)
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


class Rows(dict[int, tuple[list[tuple[int, float]], float]]):
    """The rows of a graph, each with its degree, read at the first look; labels are regarded.

    Args:
        graph: An undirected graph.
        labels: As in `sweep`.
        eps: As in `sweep`.
        known: Labels that hold whatever `labels` say.
    """

    def __init__(self, graph: UndirectedGraph, labels: Any, eps: float, known: dict[int, int] | None = None):
        super().__init__()
        self.graph, self.labels, self.eps, self.known = graph, labels, eps, dict(known or {})
        self.arcs = 0  # that were read

    def __missing__(self, v: int) -> tuple[list[tuple[int, float]], float]:
        begin, end = int(self.graph.rowptr[v]), int(self.graph.rowptr[v + 1])
        self.arcs += end - begin
        col = self.graph.col[begin:end].tolist()
        weight = [1.0] * len(col) if self.graph.weight is None else self.graph.weight[begin:end].tolist()
        degree = float(self.graph.degree[v])
        if self.labels is not None:
            self._ask([v, *col])
            same = self.known[v]
            weight = [w if self.known[u] == same else w * self.eps for u, w in zip(col, weight, strict=True)]
            degree = 0.0
            for w in weight:
                degree += w
        self[v] = [(u, w) for u, w in zip(col, weight, strict=True) if w > 0], degree
        return self[v]

    def _ask(self, nodes: list[int]) -> None:
        new = list(dict.fromkeys(u for u in nodes if u not in self.known))
        if new:
            at = np.array(new, dtype=np.int64)
            answer = self.labels[at] if isinstance(self.labels, np.ndarray) else self.labels(at)
            self.known.update(zip(new, np.asarray(answer).tolist(), strict=True))
