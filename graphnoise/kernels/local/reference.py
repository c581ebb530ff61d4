"""Rows of a graph whose arcs labels weigh, read at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphnoise.kernels.local import LabelLookup, NodeLabels
from graphnoise.typing import Bytes

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph

# Neighbours with the weights of the arcs to them, and the sum of these weights.
Row = tuple[list[tuple[int, float]], float]


class LabelledRows(dict[int, Row]):
    """The rows of a graph, each with its degree, read at first use.

    Args:
        graph: An undirected graph.
        labels: Labels of all nodes, a callable that returns those of an array of nodes, or None.
        label_eps: Factor of the weight of an arc between different labels.
        known: Labels of some nodes that take precedence over `labels`.
    """

    def __init__(
        self, graph: UndirectedGraph, labels: NodeLabels, label_eps: float, known: dict[int, int] | None = None
    ):
        super().__init__()
        self.graph, self.labels, self.label_eps, self.known = graph, labels, label_eps, dict(known or {})
        self.arcs = 0

    def __missing__(self, v: int) -> Row:
        begin, end = int(self.graph.rowptr[v]), int(self.graph.rowptr[v + 1])
        self.arcs += end - begin
        col = self.graph.col[begin:end].tolist()
        weight = [1.0] * len(col) if self.graph.weight is None else self.graph.weight[begin:end].tolist()
        degree = float(self.graph.degree[v])
        if self.labels is not None:
            self._look_up(self.labels, [v, *col])
            label = self.known[v]
            weight = [w if self.known[u] == label else w * self.label_eps for u, w in zip(col, weight, strict=True)]
            degree = 0.0
            for w in weight:
                degree += w
        self[v] = [(u, w) for u, w in zip(col, weight, strict=True) if w > 0], degree
        return self[v]

    def _look_up(self, labels: Bytes | LabelLookup, nodes: list[int]) -> None:
        unknown = list(dict.fromkeys(u for u in nodes if u not in self.known))
        if unknown:
            array = np.array(unknown, dtype=np.int64)
            values = labels[array] if isinstance(labels, np.ndarray) else labels(array)
            self.known.update(zip(unknown, np.asarray(values).tolist(), strict=True))
