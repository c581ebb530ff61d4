"""Capacity releasing diffusion, as in release_native.cpp, step by step in the same order."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphnoise.kernels.sweep import Rows

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph

TINY = 1e-9  # part of a degree or a weight that is mere rounding


@dataclass
class Site:
    """A node that was touched.

    Attributes:
        degree: Its degree without regard to labels, which is the mass that it holds.
        mass: Mass that lies there.
        height: Its label, from 0.
        volume: Its degree with regard to labels, once its row was read.
        edges: Edges to its neighbours, once its row was read; before, those that other rows have left, the last first.
        open: Whether its row was read.
        now: Where the search for an edge goes on.
    """

    degree: float
    mass: float = 0.0
    height: int = 0
    volume: float = 0.0
    edges: list[Edge] = field(default_factory=list)
    open: bool = False
    now: int = 0

    @property
    def active(self) -> bool:
        """Whether there is more mass than the node holds."""
        return self.mass - self.degree > TINY * self.degree


@dataclass(eq=False)
class Edge:
    """One direction of an edge: where it goes, its weight, what was sent, and the other direction."""

    to: int
    weight: float
    sent: float = 0.0
    back: Edge = field(init=False, repr=False)


class Release:
    """The state of a run; nodes are kept in the order in which they were touched."""

    def __init__(self, graph: UndirectedGraph, rows: Rows, capacity: float, height: int, max_pushes: int):
        self.graph, self.rows, self.capacity, self.top, self.max_pushes = graph, rows, capacity, height, max_pushes
        self.sites: dict[int, Site] = {}
        self.pushes = self.relabels = 0

    def site(self, v: int) -> Site:
        """Return a node, which is touched by that."""
        if v not in self.sites:
            self.sites[v] = Site(float(self.graph.degree[v]))
        return self.sites[v]

    def read(self, v: int) -> None:
        """Read the row of a node, if that was not done."""
        here = self.sites[v]
        if here.open:
            return
        row, here.volume = self.rows[v]
        for u in self.graph.col[self.graph.rowptr[v] : self.graph.rowptr[v + 1]].tolist():
            self.site(u)
        here.open = True
        for u, weight in row:
            if not self.sites[u].open:  # otherwise the edge is there
                there, back = Edge(u, weight), Edge(v, weight)
                there.back, back.back = back, there
                here.edges.append(there)
                self.sites[u].edges.insert(0, back)

    def settle(self) -> bool:
        """Spread all excess that finds a place below the greatest height; False if the pushes do not suffice."""
        waiting: list[deque[int]] = [deque() for _ in range(self.top)]
        for v, here in self.sites.items():
            here.height = here.now = 0
            for kept in here.edges:
                kept.sent = 0.0
            if here.active:
                waiting[0].append(v)
        while (lowest := next((i for i, line in enumerate(waiting) if line), self.top)) < self.top:
            if self.pushes + self.relabels >= self.max_pushes:
                return False
            v = waiting[lowest][0]
            here, edge = self.sites[v], self.edge(v)
            if edge is None:
                self.relabels += 1
                here.now, here.height = 0, here.height + 1
                waiting[lowest].popleft()
                if here.height < self.top:
                    waiting[here.height].append(v)
                continue
            self.pushes += 1
            there = self.sites[edge.to]
            released = min(here.height, self.capacity) * edge.weight - edge.sent
            amount = min(here.mass - here.degree, released, 2 * there.degree - there.mass)
            here.mass -= amount
            there.mass += amount
            edge.sent += amount
            edge.back.sent -= amount
            if not here.active:
                waiting[lowest].popleft()
            if there.active:
                waiting[there.height].append(edge.to)
        return True

    def edge(self, v: int) -> Edge | None:
        """Return an edge to a lower node with capacity left; lower nodes have no excess, as the lowest comes first."""
        here = self.sites[v]
        if here.height == 0:
            return None
        self.read(v)
        while here.now < len(here.edges):
            edge = here.edges[here.now]
            full = min(here.height, self.capacity) * edge.weight
            if self.sites[edge.to].height < here.height and full - edge.sent > TINY * edge.weight:
                return edge
            here.now += 1
        return None

    def levels(self, half: float) -> float:
        """Return the least conductance of the sets of nodes of at least a height, of those with at most `half`."""
        volume, cut = [0.0] * (self.top + 1), [0.0] * (self.top + 1)
        for v in [v for v, here in self.sites.items() if here.height > 0]:
            self.read(v)
            here = self.sites[v]
            volume[here.height] += here.volume
            for edge in here.edges:
                low = self.sites[edge.to].height
                if low < here.height:
                    cut[here.height] += edge.weight
                    cut[low] -= edge.weight
        least, inside, outside = math.inf, 0.0, 0.0
        for i in range(self.top, 0, -1):
            inside += volume[i]
            outside += cut[i]
            if 0 < inside <= half:
                least = min(least, max(outside, 0.0) / inside)
        return least


def release(
    graph: UndirectedGraph,
    labels: Any,
    eps: float,
    nodes: list[int],
    masses: list[float],
    capacity: float,
    height: int,
    growth: float,
    kept: float,
    half: float,
    iterations: int,
    patience: int,
    max_pushes: int,
) -> tuple[list[int], list[float], list[float], int, int, int, int, int, float, float, int]:
    """Return what `_native.release` does."""
    rows = Rows(graph, labels, eps, dict.fromkeys(nodes, 1))
    run = Release(graph, rows, capacity, height, max_pushes)
    spread = total = 0.0
    for v, mass in zip(nodes, masses, strict=True):
        run.site(v).mass = mass
        total += mass
    spread, stuck, rounds, status = total, 0.0, 0, 2
    best, best_round, found = math.inf, 0, [(v, 0.0, here.mass) for v, here in run.sites.items()]
    while rounds < iterations:
        factor = min(growth, half / total)
        if not factor > 1 + TINY:
            status = 3
            break
        rounds += 1
        for here in run.sites.values():
            here.mass *= factor
        spread *= factor
        whole = run.settle()
        phi = run.levels(half)
        if phi < best:
            best, best_round = phi, rounds
            found = [(v, float(here.height), here.mass) for v, here in run.sites.items()]
        total = 0.0
        for here in run.sites.values():
            here.mass = min(here.mass, here.degree)
            total += here.mass
        stuck = 1 - total / spread
        past = stuck > TINY and rounds - best_round >= patience
        if not whole or past or total <= kept * spread:
            status = 0 if whole else 1
            break
    touched, heights, left = (
        [v for v, _, _ in found],
        [height for _, height, _ in found],
        [mass for _, _, mass in found],
    )
    return touched, heights, left, status, run.pushes, run.relabels, rounds, best_round, best, stuck, rows.arcs
