"""Pushes without a closed form: flow of norm p > 2, and the heat kernel, level by level."""

from __future__ import annotations

import math
from collections import deque

from graphnoise.kernels.local.reference import Row
from graphnoise.kernels.push.reference_state import LocalGraph, NodeState, RunStats, SaturationCheck
from graphnoise.kernels.push.settings import Settings


def norm_flow(graph: LocalGraph, seeds: dict[int, float], settings: Settings) -> RunStats:
    """Run flow diffusion of norm p > 2: a push raises a value until the mass of its node is that of its sink."""
    stats, power = RunStats(), 1 / (settings.p - 1)

    def flow(difference: float) -> float:
        return -math.pow(-difference, power) if difference < 0 else math.pow(difference, power)

    def over(node: NodeState) -> bool:
        return node.mass > node.sink + settings.tol

    def raised(row: Row, now: list[float], x: float, excess: float) -> float:
        """Return the value at which `excess` leaves, from below to a sixteenth of the tolerance."""
        others = [(graph.nodes[u].value, w) for u, w in row[0]]

        def more(y: float) -> float:
            total = 0.0
            for (value, weight), before in zip(others, now, strict=True):
                total += weight * (flow(y - value) - before)
            return total

        step = max(math.pow(excess / row[1], settings.p - 1), x * 2.0**-52, 1e-300)
        low, high, at_low = x, x + step, -excess
        at_high = more(high) - excess
        while not at_high >= 0:
            low, at_low = high, at_high
            step *= 4
            high = x + step
            at_high = more(high) - excess
        iteration = 0
        while at_low < -settings.tol / 16:
            middle = low + (high - low) / 2
            if middle <= low or middle >= high:
                break
            # The chord, and every third time the middle.
            if iteration % 3 != 2:
                chord = high - (high - low) * (at_high / (at_high - at_low))
                if low < chord < high:
                    middle = chord
            at = more(middle) - excess
            if at <= 0:
                low, at_low = middle, at
            else:
                high, at_high = middle, at
            iteration += 1
        return low if low > x else high

    for v, mass in seeds.items():
        graph.touch(v).mass += mass
    check = SaturationCheck(graph, sum(seeds.values()))
    queue = deque(v for v in graph.nodes if over(graph.nodes[v]))
    while queue:
        if stats.pushes == settings.max_pushes:
            stats.status = "max_pushes"
            break
        v = queue.popleft()
        node, fresh = graph.nodes[v], v not in graph.known
        row = graph.row(v)
        stats.pushes += 1
        if not row[1] > 0:
            stats.status = "exhausted"
            break
        now = [flow(node.value - graph.nodes[u].value) for u, _ in row[0]]
        node.value = raised(row, now, node.value, node.mass - node.sink)
        total = 0.0
        for (u, weight), before in zip(row[0], now, strict=True):
            other = graph.nodes[u]
            amount = weight * (flow(node.value - other.value) - before)
            was_over = over(other)
            total += amount
            other.mass += amount
            if not was_over and over(other):
                queue.append(u)
        node.mass -= total
        if over(node):
            queue.append(v)
        if not node.value < 1e300:
            stats.status = "overflow"
            break
        if check.unsolvable(stats.pushes, fresh):
            stats.status = "exhausted"
            break
    stats.worst = max([0.0, *(node.mass - node.sink for node in graph.nodes.values())])
    # The sum differs where values are too small or too far apart for float64.
    masses, total = [node.mass for node in graph.nodes.values()], sum(seeds.values())
    if not (abs(sum(masses) - total) <= 1e-6 * total and min(masses) >= -1e-6 * total):
        stats.status = "overflow"
    return stats


def series(t: float, eps: float, scale: float) -> tuple[list[float], float]:
    """Return psi[j], the amount that a unit of mass at level j adds to the values, and the share beyond the last level.

    The series is the shortest with `scale` times the share beyond it at most `eps` / 2.
    """
    term = [math.exp(-t)]
    j = 1
    while j <= t or term[-1] > 1e-18 * min(1.0, eps / scale):
        term.append(term[-1] * t / j)
        j += 1
    levels, beyond = len(term) - 1, 0.0
    while levels > 1 and scale * (beyond + term[levels]) <= eps / 2:
        beyond += term[levels]
        levels -= 1
    psi = [1.0] * (levels + 1)
    for j in reversed(range(levels)):
        psi[j] = 1 + psi[j + 1] * t / (j + 1)
    return psi, beyond


def heat_kernel(graph: LocalGraph, seeds: dict[int, float], settings: Settings, label_eps: float) -> RunStats:
    """Run the heat kernel; the mass of a node is that of the current level, and finally what no level pushed."""
    stats = RunStats()
    now: dict[int, float] = {}
    left: dict[int, float] = {}
    scale = moving = 0.0
    for v in seeds:
        graph.touch(v)
    for v, mass in seeds.items():
        degree = graph.row(v)[1] if graph.rows.labels is not None else graph.nodes[v].degree
        if not degree > 0:
            graph.nodes[v].value += mass
            continue
        scale = max(scale, mass / degree)
        moving += mass
        if (start := mass * math.exp(-settings.t)) > 0:
            now[v] = now.get(v, 0.0) + start
    psi, beyond = series(settings.t, settings.eps, scale) if moving > 0 else ([1.0], 0.0)
    stats.extra = beyond * moving
    levels = len(psi) - 1
    for j in range(levels):
        least, step, last = settings.eps / (2 * levels * psi[j]), settings.t / (j + 1), j + 1 == levels
        then: dict[int, float] = {}
        for v, mass in now.items():
            enough = mass >= least * label_eps * graph.nodes[v].degree
            if enough:
                row, degree = graph.row(v)
                enough = mass >= least * degree
            if enough and stats.pushes == settings.max_pushes:
                stats.status, enough = "max_pushes", False
            if not enough:
                left[v] = left.get(v, 0.0) + mass * psi[j]
                continue
            stats.pushes += 1
            graph.nodes[v].value += mass
            flow = step * mass / degree
            for u, weight in row:
                if last:
                    graph.nodes[u].value += flow * weight
                elif flow * weight > 0 or u in then:
                    then[u] = then.get(u, 0.0) + flow * weight
        now = then
    for v, node in graph.nodes.items():
        node.mass = left.get(v, 0.0)
        if node.mass > 0:
            degree = graph.known[v][1] if v in graph.known else label_eps * node.degree
            stats.worst = max(stats.worst, node.mass / degree)
    return stats
