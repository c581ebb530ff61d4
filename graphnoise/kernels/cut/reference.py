"""Improvement of a set by maximum flows, as in cut_native.cpp, with a dictionary for each array."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from graphnoise.kernels.sweep import Rows

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph


class Network:
    """The part of a graph around a set, with a flow on it.

    Attributes:
        inside: The given set.
        rows: Rows that were read, each {neighbour: weight}; only their nodes have edges here.
        degree: Degrees of the nodes of these rows; of their neighbours the least that they can be.
    """

    def __init__(self, graph: UndirectedGraph, inside: list[int], delta: float, labels: Any, eps: float):
        self.graph, self.inside, self.penalty = graph, dict.fromkeys(inside), delta
        self.least = 1.0 if labels is None else eps
        self.source_rows = Rows(graph, labels, eps)
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
        """Read the row of a node; a sink that was too small for its degree grows."""
        row, degree = self.source_rows[v]
        self.rows[v] = defaultdict(float)
        for u, w in row:
            if u != v:
                self.rows[v][u] += w
                if u not in self.degree:
                    self.degree[u] = self.least * float(self.graph.degree[u])
                    self.sink[u] = self.capacity(u)
        if v not in self.inside and math.isfinite(self.penalty):
            self.sink[v] += self.alpha * self.penalty * (degree - self.degree[v])
        self.degree[v] = degree

    def capacity(self, u: int) -> float:
        """Return what the sink takes of a node outside."""
        return self.alpha * self.penalty * self.degree[u] if math.isfinite(self.penalty) else math.inf

    def left(self, v: int, u: int) -> float:
        """Return what an edge still holds, 0 where it is mere rounding."""
        full = self.rows[v][u] * self.scale
        left = full - self.sent.get((v, u), 0.0)
        return left if left > self.tiny * full else 0.0

    def gives(self, v: int) -> bool:
        """Whether the source has more for a node."""
        return v in self.inside and self.source[v] > self.tiny * self.alpha * self.degree[v]

    def takes(self, u: int) -> bool:
        """Whether the sink takes more from a node."""
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
        """Return distances from the source, and whether the sink is reached; what is reached and full is opened."""
        level = {v: 0 for v in self.inside if self.gives(v)}
        queue, found = deque(level), False
        while queue:
            v = queue.popleft()
            if not self.takes(v) and v not in self.rows:
                self.open(v)
            if self.takes(v):
                found = True
                continue
            for u in self.rows[v]:
                if u not in level and self.left(v, u) > 0:
                    level[u] = level[v] + 1
                    queue.append(u)
        return level, found

    def path(self, source: int, level: dict[int, int], ahead: dict[int, list[int]]) -> list[int]:
        """Return a path to a node that the sink takes from, an edge a level, or nothing."""
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
        """Send as much along a path as it holds."""
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
        all_of = set(members)
        cut = inside = outside = 0.0
        for v in members:
            row, degree = self.source_rows[v]
            if v in self.inside:
                inside += degree
            else:
                outside += degree
            for u, w in row:
                if u not in all_of:
                    cut += w
        return cut, inside + outside, inside - self.penalty * outside if outside else inside


def improve(
    graph: UndirectedGraph, members: list[int], labels: Any, eps: float, delta: float, max_rounds: int
) -> tuple[list[int], float, float, float, float, float, bool, int, int, int]:
    """Return what `cut.improve` does."""
    network = Network(graph, members, delta, labels, eps)
    cut, volume, gain = network.measure(members)
    before = cut, volume
    whole, everything = graph.weight is None and labels is None and math.isinf(delta), volume
    converged, rounds = cut == 0 or gain == 0, 0
    if not converged:
        network.penalty += volume / (graph.volume - volume)
    while not converged and rounds < max_rounds:
        rounds += 1
        exact = whole and cut * everything < 9e15
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
