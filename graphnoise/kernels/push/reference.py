"""Diffusions by pushes, step by step in the order of the compiled tier, so that both round alike.

See the package for what each of them computes.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphnoise.kernels.local import NodeLabels
from graphnoise.kernels.local.reference import LabelledRows
from graphnoise.kernels.push.reference_nonlinear import heat_kernel, norm_flow
from graphnoise.kernels.push.reference_state import LocalGraph, NodeState, RunStats, SaturationCheck
from graphnoise.kernels.push.settings import Settings

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


def diffuse(
    graph: UndirectedGraph, labels: NodeLabels, label_eps: float, seeds: dict[int, float], settings: Settings
) -> tuple[list[int], LocalGraph, RunStats]:
    """Run a method from seeds with their masses.

    Returns:
        Nodes with mass or value, ascending; the touched part of the graph; how the run ended.
    """
    known = None if labels is None else dict.fromkeys(seeds, 1)
    flow = settings.method in ("flow", "norm_flow")
    touched = LocalGraph(LabelledRows(graph, labels, label_eps, known), not flow, settings.unit)
    least = 1.0 if labels is None else label_eps
    if settings.method == "norm_flow":
        stats = norm_flow(touched, seeds, settings)
    elif settings.method == "heat_kernel":
        stats = heat_kernel(touched, seeds, settings, least)
    else:
        stats = _linear(touched, seeds, settings, least)
    nodes = sorted(v for v, node in touched.nodes.items() if node.value != 0 or node.mass != 0)
    return nodes, touched, stats


@dataclass
class PushRule:
    """When a node is pushed and what a push does: both kinds of PageRank, and flow of norm 2.

    Attributes:
        settings: Method and parameters.
        label_eps: Lower bound of the degree under labels as a part of the degree.
    """

    settings: Settings
    label_eps: float

    @property
    def sinks(self) -> bool:
        """Whether nodes hold mass."""
        return self.settings.method == "flow"

    @property
    def eps(self) -> float:
        """Residual allowed per unit of degree."""
        eps = self.settings.eps
        return (1 + self.settings.tol) * eps if self.settings.method == "l1_pagerank" else eps

    def over(self, node: NodeState) -> bool:
        """Return whether a node is to be pushed."""
        return node.mass >= node.limit if self.settings.method == "pagerank" else node.mass > node.limit

    def limit(self, size: float) -> float:
        """Return the mass that a node may keep, for its sink (flow) or degree (walks)."""
        return size + self.settings.tol if self.sinks else self.eps * size

    def lower_limit(self, size: float) -> float:
        """Return a lower bound of the limit of a node whose degree under labels is not known yet."""
        return self.limit(size) if self.sinks else max(self.eps * self.label_eps * size, sys.float_info.min)

    def push(self, node: NodeState, degree: float) -> float:
        """Push a node, and return the mass that an arc of weight 1 carries."""
        alpha = self.settings.alpha
        if self.settings.method == "pagerank":
            half = (1 - alpha) / 2 * node.mass
            node.value += alpha * node.mass
            node.mass = half
            return half / degree
        if self.settings.method == "l1_pagerank":
            level = self.settings.eps * degree
            excess = node.mass - level
            node.value += 2 * alpha / (1 + alpha) * excess
            node.mass = level
            return (1 - alpha) / (1 + alpha) * excess / degree
        flow = (node.mass - node.sink) / degree
        node.value += flow
        node.mass = node.sink
        return flow


def _linear(graph: LocalGraph, seeds: dict[int, float], settings: Settings, label_eps: float) -> RunStats:
    """Run a method whose push has a closed form: both kinds of PageRank, and flow of norm 2."""
    rule, stats = PushRule(settings, label_eps), RunStats()
    degree_unknown = not rule.sinks and graph.rows.labels is not None
    admitted = 0

    def admit() -> None:
        nonlocal admitted
        for node in list(graph.nodes.values())[admitted:]:
            size = node.sink if rule.sinks else node.degree
            node.limit = rule.lower_limit(size) if degree_unknown else rule.limit(size)
        admitted = len(graph.nodes)

    for v, mass in seeds.items():
        graph.touch(v).mass += mass
    admit()
    check = SaturationCheck(graph, sum(seeds.values()))
    queue = deque(v for v in graph.nodes if rule.over(graph.nodes[v]))
    while queue:
        v = queue.popleft()
        node, fresh = graph.nodes[v], v not in graph.known
        row, degree = graph.row(v)
        if fresh:
            admit()
            if degree_unknown:
                node.limit = rule.limit(degree)
                if not rule.over(node):
                    continue
        if stats.pushes == settings.max_pushes:
            stats.status = "max_pushes"
            break
        stats.pushes += 1
        if not degree > 0:
            if rule.sinks:
                stats.status = "exhausted"
                break
            node.value += node.mass
            node.mass, node.limit = 0.0, math.inf
            continue
        flow = rule.push(node, degree)
        if rule.over(node):
            queue.append(v)
        for u, weight in row:
            other = graph.nodes[u]
            before = rule.over(other)
            other.mass += flow * weight
            if not before and rule.over(other):
                queue.append(u)
        if rule.sinks and check.unsolvable(stats.pushes, fresh):
            stats.status = "exhausted"
            break
    for node in graph.nodes.values():
        worst = node.mass - node.sink if rule.sinks else node.mass / node.limit if node.mass > 0 else 0.0
        stats.worst = max(stats.worst, worst)
    if not rule.sinks:
        stats.worst *= rule.limit(1)
    return stats
