"""State of diffusions by pushes: the touched part of a graph, counters, and the check for unsolvable flows."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphnoise.kernels.local.reference import LabelledRows, Row


@dataclass
class RunStats:
    """How a run ended.

    Attributes:
        status: One of `STATUS`.
        pushes: Number of pushes.
        worst: Largest excess (flows), or residual per unit of degree (walks).
        extra: Mass beyond the last level of the series (heat kernel).
    """

    status: str = "converged"
    pushes: int = 0
    worst: float = 0.0
    extra: float = 0.0


@dataclass
class NodeState:
    """A touched node.

    Attributes:
        degree: Its degree without labels.
        sink: Mass that it can hold (flows).
        mass: Its mass.
        limit: Mass above which it is pushed.
        value: What the diffusion computes.
    """

    degree: float
    sink: float
    mass: float = 0.0
    limit: float = 0.0
    value: float = 0.0


@dataclass
class LocalGraph:
    """The touched part of a graph; nodes in the order in which they are touched.

    Attributes:
        rows: Rows of the graph, read at first use.
        loops: Whether self-loops stay in the rows (walks) or not (flows).
        unit: Whether a node holds 1 and not its degree.
        nodes: Touched nodes.
        known: Rows that were read, with their degrees.
        arcs: Number of arcs read, repeated reads included.
    """

    rows: LabelledRows
    loops: bool
    unit: bool
    nodes: dict[int, NodeState] = field(default_factory=dict)
    known: dict[int, Row] = field(default_factory=dict)
    arcs: int = 0

    def touch(self, v: int) -> NodeState:
        """Return the state of a node; the first call adds it."""
        if v not in self.nodes:
            degree = float(self.rows.graph.degree[v])
            self.nodes[v] = NodeState(degree, 1.0 if self.unit else degree)
        return self.nodes[v]

    def row(self, v: int) -> Row:
        """Return the neighbours of a node with weights, and the sum of these; all neighbours are touched."""
        if v in self.known:
            self.arcs += len(self.known[v][0])
            return self.known[v]
        graph = self.rows.graph
        col = graph.col[graph.rowptr[v] : graph.rowptr[v + 1]].tolist()
        row, degree = self.rows[v]
        for u in col:
            self.touch(u)
        if not self.loops and any(u == v for u, _ in row):
            row = [(u, w) for u, w in row if u != v]
            degree = 0.0
            for _, w in row:
                degree += w
        self.arcs += len(col)
        self.known[v] = row, degree
        return self.known[v]


class SaturationCheck:
    """Flow: searches for parts of the graph that hold too much, less and less often while no new node is touched."""

    def __init__(self, graph: LocalGraph, total: float):
        self.graph, self.total = graph, total
        self.wait = self.next = self.summed = 0
        self.sinks = 0.0

    def unsolvable(self, pushes: int, fresh: bool) -> bool:
        """Return whether there is no solution; `fresh` is whether the last push read a new row."""
        nodes = list(self.graph.nodes.values())
        for node in nodes[self.summed :]:
            self.sinks += node.sink
        self.summed = len(nodes)
        rows = len(self.graph.known)
        if fresh:
            self.wait = 2 * rows + 64
            self.next = pushes + self.wait
            return rows == len(nodes) and self.total > self.sinks * (1 + 1e-12)
        if pushes < self.next:
            return False
        self.wait *= 2
        self.next = pushes + self.wait
        return overfull(self.graph)


def overfull(graph: LocalGraph) -> bool:
    """Return whether a closed set of nodes whose rows were all read holds more mass than its sinks."""
    seen: set[int] = set()
    for first in graph.nodes:
        if first in seen or first not in graph.known:
            continue
        part, closed, mass, sinks = [first], True, 0.0, 0.0
        seen.add(first)
        # `part` grows in the loop.
        for v in part:
            mass, sinks = mass + graph.nodes[v].mass, sinks + graph.nodes[v].sink
            for u, _ in graph.known[v][0]:
                if u not in graph.known:
                    closed = False
                elif u not in seen:
                    seen.add(u)
                    part.append(u)
        if closed and mass > sinks * (1 + 1e-12):
            return True
    return False
