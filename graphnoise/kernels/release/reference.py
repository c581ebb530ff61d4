"""Capacity releasing diffusion, step by step in the order of the compiled tier, so that both round alike."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphnoise.kernels.local import NodeLabels
from graphnoise.kernels.local.reference import LabelledRows

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph

# Parts of a degree or a weight below this are rounding.
TINY = 1e-9


@dataclass
class NodeState:
    """A node that was touched.

    Attributes:
        degree: Its degree without labels: the mass that it can hold.
        mass: Its mass.
        height: Its height, from 0.
        volume: Its degree under labels, once its row was read.
        edges: Edges to its neighbours, once its row was read; before, those added by rows of neighbours, last first.
        open: Whether its row was read.
        position: Position in `edges` from which the search for an edge continues.
    """

    degree: float
    mass: float = 0.0
    height: int = 0
    volume: float = 0.0
    edges: list[Edge] = field(default_factory=list)
    open: bool = False
    position: int = 0

    @property
    def active(self) -> bool:
        """Whether there is more mass than the node can hold."""
        return self.mass - self.degree > TINY * self.degree


@dataclass(eq=False)
class Edge:
    """One direction of an edge: its end, its weight, the mass that was sent, and the other direction."""

    to: int
    weight: float
    sent: float = 0.0
    back: Edge = field(init=False, repr=False)


class Release:
    """The state of a run; nodes are kept in the order in which they were touched."""

    def __init__(self, graph: UndirectedGraph, rows: LabelledRows, capacity: float, height: int, max_pushes: int):
        self.graph, self.rows, self.capacity, self.top, self.max_pushes = graph, rows, capacity, height, max_pushes
        self.nodes: dict[int, NodeState] = {}
        self.pushes = self.relabels = 0

    def touch(self, v: int) -> NodeState:
        """Return the state of a node; the first call adds it."""
        if v not in self.nodes:
            self.nodes[v] = NodeState(float(self.graph.degree[v]))
        return self.nodes[v]

    def read(self, v: int) -> None:
        """Read the row of a node at the first call."""
        here = self.nodes[v]
        if here.open:
            return
        row, here.volume = self.rows[v]
        for u in self.graph.col[self.graph.rowptr[v] : self.graph.rowptr[v + 1]].tolist():
            self.touch(u)
        here.open = True
        for u, weight in row:
            # Otherwise the edge is there.
            if not self.nodes[u].open:
                there, back = Edge(u, weight), Edge(v, weight)
                there.back, back.back = back, there
                here.edges.append(there)
                self.nodes[u].edges.insert(0, back)

    def settle(self) -> bool:
        """Move excess mass until none is below the greatest height; return False if `max_pushes` is reached first."""
        waiting: list[deque[int]] = [deque() for _ in range(self.top)]
        for v, here in self.nodes.items():
            here.height = here.position = 0
            for edge in here.edges:
                edge.sent = 0.0
            if here.active:
                waiting[0].append(v)
        while (lowest := next((i for i, line in enumerate(waiting) if line), self.top)) < self.top:
            if self.pushes + self.relabels >= self.max_pushes:
                return False
            v = waiting[lowest][0]
            here, lower = self.nodes[v], self.edge(v)
            if lower is None:
                self.relabels += 1
                here.position, here.height = 0, here.height + 1
                waiting[lowest].popleft()
                if here.height < self.top:
                    waiting[here.height].append(v)
                continue
            self.pushes += 1
            there = self.nodes[lower.to]
            released = min(here.height, self.capacity) * lower.weight - lower.sent
            amount = min(here.mass - here.degree, released, 2 * there.degree - there.mass)
            here.mass -= amount
            there.mass += amount
            lower.sent += amount
            lower.back.sent -= amount
            if not here.active:
                waiting[lowest].popleft()
            if there.active:
                waiting[there.height].append(lower.to)
        return True

    def edge(self, v: int) -> Edge | None:
        """Return an edge to a lower node with capacity left; lower nodes have no excess, as the lowest comes first."""
        here = self.nodes[v]
        if here.height == 0:
            return None
        self.read(v)
        while here.position < len(here.edges):
            edge = here.edges[here.position]
            full = min(here.height, self.capacity) * edge.weight
            if self.nodes[edge.to].height < here.height and full - edge.sent > TINY * edge.weight:
                return edge
            here.position += 1
        return None

    def levels(self, half: float) -> float:
        """Return the least conductance of the sets of nodes of at least a height, of those with at most `half`."""
        volume, cut = [0.0] * (self.top + 1), [0.0] * (self.top + 1)
        for v in [v for v, here in self.nodes.items() if here.height > 0]:
            self.read(v)
            here = self.nodes[v]
            volume[here.height] += here.volume
            for edge in here.edges:
                low = self.nodes[edge.to].height
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
    labels: NodeLabels,
    label_eps: float,
    nodes: list[int],
    masses: list[float],
    capacity: float,
    height: int,
    growth: float,
    max_left: float,
    half: float,
    iterations: int,
    patience: int,
    max_pushes: int,
) -> tuple[list[int], list[float], list[float], int, int, int, int, int, float, float, int]:
    """Return what `_native.release` returns."""
    rows = LabelledRows(graph, labels, label_eps, dict.fromkeys(nodes, 1))
    run = Release(graph, rows, capacity, height, max_pushes)
    spread = total = 0.0
    for v, mass in zip(nodes, masses, strict=True):
        run.touch(v).mass = mass
        total += mass
    spread, stuck, rounds, status = total, 0.0, 0, 2
    best, best_round, state = math.inf, 0, [(v, 0.0, here.mass) for v, here in run.nodes.items()]
    while rounds < iterations:
        factor = min(growth, half / total)
        if not factor > 1 + TINY:
            status = 3
            break
        rounds += 1
        for here in run.nodes.values():
            here.mass *= factor
        spread *= factor
        settled = run.settle()
        phi = run.levels(half)
        if phi < best:
            best, best_round = phi, rounds
            state = [(v, float(here.height), here.mass) for v, here in run.nodes.items()]
        total = 0.0
        for here in run.nodes.values():
            here.mass = min(here.mass, here.degree)
            total += here.mass
        stuck = 1 - total / spread
        past = stuck > TINY and rounds - best_round >= patience
        if not settled or past or total <= max_left * spread:
            status = 0 if settled else 1
            break
    touched, heights, left = (list(part) for part in zip(*state, strict=True))
    return touched, heights, left, status, run.pushes, run.relabels, rounds, best_round, best, stuck, rows.arcs
