"""Pushes without a closed form: flow of norm p > 2, and the heat kernel, whose levels give to the next one only."""

from __future__ import annotations

import math
from collections import deque

from graphnoise.kernels.push.reference import Local, Outcome, Row, Settings, Site, Watch


def norm_flow(local: Local, seeds: dict[int, float], s: Settings) -> Outcome:
    """Run flow diffusion of norm p > 2: a push raises a value until the mass of its node is that of its sink."""
    out, power = Outcome(), 1 / (s.p - 1)

    def flow(difference: float) -> float:
        return -math.pow(-difference, power) if difference < 0 else math.pow(difference, power)

    def over(site: Site) -> bool:
        return site.mass > site.sink + s.tol

    def raised(row: Row, now: list[float], x: float, excess: float) -> float:
        """Return the value at which `excess` leaves, from below to a sixteenth of the tolerance."""
        others = [(local.sites[u].value, w) for u, w in row[0]]

        def more(y: float) -> float:
            total = 0.0
            for (value, weight), before in zip(others, now, strict=True):
                total += weight * (flow(y - value) - before)
            return total

        step = max(math.pow(excess / row[1], s.p - 1), x * 2.0**-52, 1e-300)
        low, high, at_low = x, x + step, -excess
        at_high = more(high) - excess
        while not at_high >= 0:
            low, at_low = high, at_high
            step *= 4
            high = x + step
            at_high = more(high) - excess
        turn = 0
        while at_low < -s.tol / 16:
            middle = low + (high - low) / 2
            if middle <= low or middle >= high:
                break
            if turn % 3 != 2:  # a chord, and every third time the middle
                chord = high - (high - low) * (at_high / (at_high - at_low))
                if low < chord < high:
                    middle = chord
            at = more(middle) - excess
            if at <= 0:
                low, at_low = middle, at
            else:
                high, at_high = middle, at
            turn += 1
        return low if low > x else high

    for v, mass in seeds.items():
        local.touch(v).mass += mass
    watch = Watch(local, sum(seeds.values()))
    queue = deque(v for v in local.sites if over(local.sites[v]))
    while queue:
        if out.pushes == s.max_pushes:
            out.status = "max_pushes"
            break
        v = queue.popleft()
        site, fresh = local.sites[v], v not in local.known
        row = local.row(v)
        out.pushes += 1
        if not row[1] > 0:
            out.status = "exhausted"
            break
        now = [flow(site.value - local.sites[u].value) for u, _ in row[0]]
        site.value = raised(row, now, site.value, site.mass - site.sink)
        total = 0.0
        for (u, weight), before in zip(row[0], now, strict=True):
            other = local.sites[u]
            given = weight * (flow(site.value - other.value) - before)
            was = over(other)
            total += given
            other.mass += given
            if not was and over(other):
                queue.append(u)
        site.mass -= total
        if over(site):
            queue.append(v)
        if not site.value < 1e300:
            out.status = "overflow"
            break
        if watch.stuck(out.pushes, fresh):
            out.status = "exhausted"
            break
    out.worst = max([0.0, *(site.mass - site.sink for site in local.sites.values())])
    lying, given = [site.mass for site in local.sites.values()], sum(seeds.values())
    if not (abs(sum(lying) - given) <= 1e-6 * given and min(lying) >= -1e-6 * given):
        out.status = "overflow"  # heights too small or too far apart for float64
    return out


def series(t: float, eps: float, scale: float) -> tuple[list[float], float]:
    """Return psi[j], what a unit of mass at level j adds to the values in the end, and the share beyond the last level.

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


def heat_kernel(local: Local, seeds: dict[int, float], s: Settings, share: float) -> Outcome:
    """Run the heat kernel; a site's mass is that of the level in hand, and in the end what no level pushed."""
    out = Outcome()
    now: dict[int, float] = {}
    left: dict[int, float] = {}
    scale = moving = 0.0
    for v in seeds:
        local.touch(v)
    for v, mass in seeds.items():
        degree = local.row(v)[1] if local.rows.labels is not None else local.sites[v].degree
        if not degree > 0:
            local.sites[v].value += mass
            continue
        scale = max(scale, mass / degree)
        moving += mass
        if (start := mass * math.exp(-s.t)) > 0:
            now[v] = now.get(v, 0.0) + start
    psi, beyond = series(s.t, s.eps, scale) if moving > 0 else ([1.0], 0.0)
    out.extra = beyond * moving
    levels = len(psi) - 1
    for j in range(levels):
        least, step, last = s.eps / (2 * levels * psi[j]), s.t / (j + 1), j + 1 == levels
        then: dict[int, float] = {}
        for v, mass in now.items():
            enough = mass >= least * share * local.sites[v].degree
            if enough:
                row, degree = local.row(v)
                enough = mass >= least * degree
            if enough and out.pushes == s.max_pushes:
                out.status, enough = "max_pushes", False
            if not enough:
                left[v] = left.get(v, 0.0) + mass * psi[j]
                continue
            out.pushes += 1
            local.sites[v].value += mass
            given = step * mass / degree
            for u, weight in row:
                if last:
                    local.sites[u].value += given * weight
                elif given * weight > 0 or u in then:
                    then[u] = then.get(u, 0.0) + given * weight
        now = then
    for v, site in local.sites.items():
        site.mass = left.get(v, 0.0)
        if site.mass > 0:
            out.worst = max(out.worst, site.mass / (local.known[v][1] if v in local.known else share * site.degree))
    return out
