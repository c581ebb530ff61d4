"""Improvement of a set by maximum flows, with a dictionary in place of each array of the compiled tier."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from graphnoise.kernels.local import NodeLabels
from graphnoise.kernels.local.reference import LabelledRows

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


class Network:
    """The part of a graph around a set, with a flow on it.

    Attributes:
        inside: The set to improve.
        rows: Rows that were read, each {neighbour: weight}; only their nodes have edges here.
        degree: Degrees of the nodes of these rows; of their neighbours lower bounds.
    """

    def __init__(self, graph: UndirectedGraph, inside: list[int], delta: float, labels: NodeLabels, label_eps: float):
        self.graph, self.inside, self.penalty = graph, dict.fromkeys(inside), delta
        self.min_share = 1.0 if labels is None else label_eps
        self.source_rows = LabelledRows(graph, labels, label_eps)
        self.rows: dict[int, dict[int, float]] = {}
        self.degree: dict[int, float] = {}
        self.source: dict[int, float] = {}
        self.sink: dict[int, float] = {}
        self.sent: dict[tuple[int, int], float] = {}
        self.paths = 0
        self.scale, self.alpha, self.tiny = 1.0, 0.0, 0.0
        for v in inside:
            self.open(v)

    def open(self, v: int) -> None:
        """Read the row of a node; its sink grows from the lower bound of its degree to the degree."""
        row, degree = self.source_rows[v]
        self.rows[v] = defaultdict(float)
        for u, w in row:
            if u != v:
                self.rows[v][u] += w
                if u not in self.degree:
                    self.degree[u] = self.min_share * float(self.graph.degree[u])
                    self.sink[u] = self.capacity(u)
        if v not in self.inside and math.isfinite(self.penalty):
            self.sink[v] += self.alpha * self.penalty * (degree - self.degree[v])
        self.degree[v] = degree

    def capacity(self, u: int) -> float:
        """Return the capacity from a node outside to the sink."""
        return self.alpha * self.penalty * self.degree[u] if math.isfinite(self.penalty) else math.inf

    def left(self, v: int, u: int) -> float:
        """Return the residual capacity of an edge, 0 where it is within rounding."""
        full = self.rows[v][u] * self.scale
        left = full - self.sent.get((v, u), 0.0)
        return left if left > self.tiny * full else 0.0

    def gives(self, v: int) -> bool:
        """Return whether the source can send more to a node."""
        return v in self.inside and self.source[v] > self.tiny * self.alpha * self.degree[v]

    def takes(self, u: int) -> bool:
        """Return whether a node can send more to the sink."""
        if u in self.inside:
            return False
        return math.isinf(self.penalty) or self.sink[u] > self.tiny * self.capacity(u)

    def flow(self, scale: float, alpha: float, exact: bool) -> list[int]:
        """Send the largest flow and return the nodes that the source still reaches."""
        self.scale, self.alpha, self.tiny = scale, alpha, 0.0 if exact else 1e-12
        self.sent = defaultdict(float)
        self.source = {v: alpha * self.degree[v] for v in self.inside}
        self.sink = {u: self.capacity(u) for u in self.degree if u not in self.inside}
        while True:
            level, reached = self.levels()
            if not reached:
                return list(level)
            ahead = {v: list(self.rows[v]) for v in level if v in self.rows}
            for v in self.inside:
                while self.gives(v) and (path := self.path(v, level, ahead)):
                    self.send(path)

    def levels(self) -> tuple[dict[int, int], bool]:
        """Return distances from the source, and whether the sink is reached.

        The rows of reached nodes with a full sink are read.
        """
        level = {v: 0 for v in self.inside if self.gives(v)}
        queue, sink_reached = deque(level), False
        while queue:
            v = queue.popleft()
            if not self.takes(v) and v not in self.rows:
                self.open(v)
            if self.takes(v):
                sink_reached = True
                continue
            for u in self.rows[v]:
                if u not in level and self.left(v, u) > 0:
                    level[u] = level[v] + 1
                    queue.append(u)
        return level, sink_reached

    def path(self, source: int, level: dict[int, int], ahead: dict[int, list[int]]) -> list[int]:
        """Return a path to a node that can send to the sink, one edge per level, or nothing."""
        path = [source]
        while path and not self.takes(path[-1]):
            v = path[-1]
            rest = ahead.get(v, [])
            while rest and not (level.get(rest[-1]) == level[v] + 1 and self.left(v, rest[-1]) > 0):
                rest.pop()
            if rest:
                path.append(rest[-1])
            else:
                path.pop()
                if path:
                    ahead[path[-1]].pop()
        return path

    def send(self, path: list[int]) -> None:
        """Send the residual capacity of a path along it."""
        edges = list(itertools.pairwise(path))
        amount = min(self.source[path[0]], self.sink[path[-1]], *(self.left(*edge) for edge in edges))
        self.source[path[0]] -= amount
        self.sink[path[-1]] -= amount
        for v, u in edges:
            self.sent[v, u] += amount
            self.sent[u, v] -= amount
        self.paths += 1

    def measure(self, members: list[int]) -> tuple[float, float, float]:
        """Return cut, volume and gain of nodes whose rows were read."""
        member_set = set(members)
        cut = inside = outside = 0.0
        for v in members:
            row, degree = self.source_rows[v]
            if v in self.inside:
                inside += degree
            else:
                outside += degree
            for u, w in row:
                if u not in member_set:
                    cut += w
        return cut, inside + outside, inside - self.penalty * outside if outside else inside


def improve(
    graph: UndirectedGraph, members: list[int], labels: NodeLabels, label_eps: float, delta: float, max_rounds: int
) -> tuple[list[int], float, float, float, float, float, bool, int, int, int]:
    """Return what `_native.improve` returns."""
    network = Network(graph, members, delta, labels, label_eps)
    cut, volume, gain = network.measure(members)
    before = cut, volume
    integral, initial_volume = graph.weight is None and labels is None and math.isinf(delta), volume
    converged, rounds = cut == 0 or gain == 0, 0
    if not converged:
        network.penalty += volume / (graph.volume - volume)
    while not converged and rounds < max_rounds:
        rounds += 1
        exact = integral and cut * initial_volume < 9e15
        reached = sorted(network.flow(gain, cut, True) if exact else network.flow(1.0, cut / gain, False))
        new_cut, new_volume, new_gain = network.measure(reached)
        better = new_gain > 0 and (
            new_cut * gain < cut * new_gain if exact else new_cut / new_gain < cut / gain * (1 - 1e-13)
        )
        converged = not better
        if not converged:
            members, cut, volume, gain = reached, new_cut, new_volume, new_gain
            converged = cut == 0
    return members, *before, cut, volume, gain, converged, rounds, network.paths, network.source_rows.arcs
