"""Diffusions by pushes, step by step in the order of the compiled tier, so that both round alike.

`push.py` says what each of them computes. Nodes are kept in the order in which they are touched.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from graphnoise.kernels.sweep import Rows

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph

Row = tuple[list[tuple[int, float]], float]


class Settings(NamedTuple):
    """What a run is asked for; fields that the method does not know are ignored."""

    method: str
    alpha: float = 0.0
    eps: float = 0.0
    tol: float = 0.0
    p: float = 2.0
    t: float = 0.0
    unit: bool = False
    max_pushes: int = 0


@dataclass
class Outcome:
    """How a run ended."""

    status: str = "converged"
    pushes: int = 0
    worst: float = 0.0
    extra: float = 0.0


@dataclass
class Site:
    """A node that was touched."""

    degree: float  # without regard to labels
    sink: float
    mass: float = 0.0
    limit: float = 0.0
    value: float = 0.0


@dataclass
class Local:
    """The touched part of a graph.

    Args:
        rows: Rows of the graph, read at the first look.
        loops: Whether self-loops are kept in the rows (walks) or not (flows).
        unit: Whether a node holds 1, and not its degree.
    """

    rows: Rows
    loops: bool
    unit: bool
    sites: dict[int, Site] = field(default_factory=dict)
    known: dict[int, Row] = field(default_factory=dict)
    arcs: int = 0

    def touch(self, v: int) -> Site:
        """Return a node, which is touched by that."""
        if v not in self.sites:
            degree = float(self.rows.graph.degree[v])
            self.sites[v] = Site(degree, 1.0 if self.unit else degree)
        return self.sites[v]

    def row(self, v: int) -> Row:
        """Return neighbours with weights, and the degree that goes with them; all neighbours are touched."""
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


@dataclass
class Rule:
    """When a node is pushed and what a push does: both kinds of PageRank, and flow of norm 2."""

    s: Settings
    share: float  # of a degree that labels leave at least

    @property
    def sinks(self) -> bool:
        """Whether nodes hold mass."""
        return self.s.method == "flow"

    @property
    def eps(self) -> float:
        """Residual that is allowed for each unit of degree."""
        return (1 + self.s.tol) * self.s.eps if self.s.method == "l1_pagerank" else self.s.eps

    def over(self, site: Site) -> bool:
        """Return whether a node is to be pushed."""
        return site.mass >= site.limit if self.s.method == "pagerank" else site.mass > site.limit

    def limit(self, size: float) -> float:
        """Return the mass that a node may keep."""
        return size + self.s.tol if self.sinks else self.eps * size

    def guess(self, size: float) -> float:
        """Return a limit that is not above the true one, of a node whose degree under labels is not known yet."""
        return self.limit(size) if self.sinks else max(self.eps * self.share * size, sys.float_info.min)

    def push(self, site: Site, degree: float) -> float:
        """Push a node, and return what an arc of weight 1 carries."""
        alpha = self.s.alpha
        if self.s.method == "pagerank":
            half = (1 - alpha) / 2 * site.mass
            site.value += alpha * site.mass
            site.mass = half
            return half / degree
        if self.s.method == "l1_pagerank":
            level = self.s.eps * degree
            excess = site.mass - level
            site.value += 2 * alpha / (1 + alpha) * excess
            site.mass = level
            return (1 - alpha) / (1 + alpha) * excess / degree
        given = (site.mass - site.sink) / degree
        site.value += given
        site.mass = site.sink
        return given


class Watch:
    """Flow: looks for parts of the graph that hold too much, more and more rarely while nothing new is touched."""

    def __init__(self, local: Local, total: float):
        self.local, self.total = local, total
        self.wait = self.next = self.seen = 0
        self.sinks = 0.0

    def stuck(self, pushes: int, fresh: bool) -> bool:
        """Return whether there is no solution."""
        sites = list(self.local.sites.values())
        for site in sites[self.seen :]:
            self.sinks += site.sink
        self.seen = len(sites)
        read = len(self.local.known)
        if fresh:
            self.wait = 2 * read + 64
            self.next = pushes + self.wait
            return read == len(sites) and self.total > self.sinks * (1 + 1e-12)
        if pushes < self.next:
            return False
        self.wait *= 2
        self.next = pushes + self.wait
        return overfull(self.local)


def overfull(local: Local) -> bool:
    """Return whether some nodes that lead only to each other, all read, hold more than their sinks can take."""
    seen: set[int] = set()
    for first in local.sites:
        if first in seen or first not in local.known:
            continue
        part, closed, mass, sinks = [first], True, 0.0, 0.0
        seen.add(first)
        for v in part:  # grows
            mass, sinks = mass + local.sites[v].mass, sinks + local.sites[v].sink
            for u, _ in local.known[v][0]:
                if u not in local.known:
                    closed = False
                elif u not in seen:
                    seen.add(u)
                    part.append(u)
        if closed and mass > sinks * (1 + 1e-12):
            return True
    return False


def linear(local: Local, seeds: dict[int, float], s: Settings, share: float) -> Outcome:
    """Run a method whose push has a closed form."""
    rule, out = Rule(s, share), Outcome()
    unsure = not rule.sinks and local.rows.labels is not None
    admitted = 0

    def admit() -> None:
        nonlocal admitted
        for site in list(local.sites.values())[admitted:]:
            size = site.sink if rule.sinks else site.degree
            site.limit = rule.guess(size) if unsure else rule.limit(size)
        admitted = len(local.sites)

    for v, mass in seeds.items():
        local.touch(v).mass += mass
    admit()
    watch = Watch(local, sum(seeds.values()))
    queue = deque(v for v in local.sites if rule.over(local.sites[v]))
    while queue:
        v = queue.popleft()
        site, fresh = local.sites[v], v not in local.known
        row, degree = local.row(v)
        if fresh:
            admit()
            if unsure:
                site.limit = rule.limit(degree)
                if not rule.over(site):
                    continue
        if out.pushes == s.max_pushes:
            out.status = "max_pushes"
            break
        out.pushes += 1
        if not degree > 0:  # nothing leads on
            if rule.sinks:
                out.status = "exhausted"
                break
            site.value += site.mass
            site.mass, site.limit = 0.0, math.inf
            continue
        given = rule.push(site, degree)
        if rule.over(site):
            queue.append(v)
        for u, weight in row:
            other = local.sites[u]
            before = rule.over(other)
            other.mass += given * weight
            if not before and rule.over(other):
                queue.append(u)
        if rule.sinks and watch.stuck(out.pushes, fresh):
            out.status = "exhausted"
            break
    for site in local.sites.values():
        worst = site.mass - site.sink if rule.sinks else site.mass / site.limit if site.mass > 0 else 0.0
        out.worst = max(out.worst, worst)
    if not rule.sinks:
        out.worst *= rule.limit(1)
    return out


def diffuse(
    graph: UndirectedGraph, labels: Any, label_eps: float, seeds: dict[int, float], s: Settings
) -> tuple[list[int], list[float], list[float], list[float], Outcome, int]:
    """Run a method.

    Returns:
        Nodes with mass or value, ascending; their values, masses and degrees; how the run ended; arcs read.
    """
    from graphnoise.kernels.push.reference_curved import heat_kernel, norm_flow

    known = None if labels is None else dict.fromkeys(seeds, 1)
    flow = s.method in ("flow", "norm_flow")
    local = Local(Rows(graph, labels, label_eps, known), not flow, s.unit)
    share = 1.0 if labels is None else label_eps
    if s.method == "norm_flow":
        out = norm_flow(local, seeds, s)
    elif s.method == "heat_kernel":
        out = heat_kernel(local, seeds, s, share)
    else:
        out = linear(local, seeds, s, share)
    nodes = sorted(v for v, site in local.sites.items() if site.value != 0 or site.mass != 0)
    sites = [local.sites[v] for v in nodes]
    return (
        nodes,
        [site.value for site in sites],
        [site.mass for site in sites],
        [site.degree for site in sites],
        out,
        local.arcs,
    )
