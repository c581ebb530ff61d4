"""Drawings of an audit as SVG text: histogram, yield curve, neighbourhoods; and the heat map as an HTML table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas
from numpy.typing import NDArray

from graphnoise.audit.audit import Audit
from graphnoise.audit.explain import neighbours, node_names, two_digits
from graphnoise.typing import Floats, Ints

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 220, 52, 36
# Neighbours in a drawing, and classes in a heat map.
MAX_NEIGHBOURS, MAX_CLASSES = 14, 40
POINTS = 200


def histogram(values: Floats, bins: int = 25) -> str:
    """Return a histogram of numbers from 0 to 1, with a logarithmic axis of counts."""
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    top = math.log10(max(int(counts.max()), 10))
    step = (WIDTH - LEFT - 10) / bins
    bars = []
    for k, count in enumerate(counts.tolist()):
        height = (HEIGHT - BOTTOM - 12) * math.log10(count + 1) / math.log10(10**top + 1)
        place = f'x="{LEFT + k * step:.1f}" y="{HEIGHT - BOTTOM - height:.1f}"'
        title = f"<title>{count} labels from {edges[k]:.2f} to {edges[k + 1]:.2f}</title>"
        bars.append(f'<rect class="bar" {place} width="{step - 1.5:.1f}" height="{height:.1f}">{title}</rect>')
    marks = [(10**k, math.log10(10**k + 1) / math.log10(10**top + 1)) for k in range(int(top) + 1)]
    axes = _axes([f"{v:g}" for v in (0, 0.25, 0.5, 0.75, 1)], [(f"{v:,}", share) for v, share in marks])
    return _svg("Histogram of credibilities", axes + "".join(bars), "credibility", "labels")


def yield_curve(expected: Floats) -> str:
    """Return the curve of the expected number of wrong labels found by the number of looks."""
    count = len(expected)
    if not count:
        return "<p>No label is left to look at.</p>"
    top = max(float(expected[-1]), 1e-9)
    places = np.unique(np.linspace(0, count, min(count, POINTS) + 1).astype(int))
    found = np.r_[0.0, expected][places]
    x = LEFT + (WIDTH - LEFT - 10) * places / count
    y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 12) * found / top
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ends = f"{LEFT},{HEIGHT - BOTTOM} {WIDTH - 10},12"
    body = f'<polyline class="chance" points="{ends}"/><polyline class="curve" points="{line}"/>'
    across = [f"{round(share * count):,}" for share in (0, 0.25, 0.5, 0.75, 1)]
    axes = _axes(across, [(f"{share * top:.4g}", share) for share in (0, 0.5, 1)])
    return _svg("Expected number of wrong labels found", axes + body, "looks", "wrong labels")


def heat_map(transition: Floats, low: Floats, high: Floats, classes: Sequence[Any] | NDArray[Any]) -> str:
    """Return the transition matrix as an HTML table, darker where more probable, with intervals as tooltips."""
    if len(transition) > MAX_CLASSES:
        return f"<p>{len(transition)} classes: see transition.csv.</p>"
    names = [escape(str(name)) for name in classes]
    rows = [f"<tr><th>true ↓ given →</th>{''.join(f'<th>{name}</th>' for name in names)}</tr>"]
    for i, name in enumerate(names):
        cells = []
        for j, value in enumerate(transition[i]):
            title = f"{names[i]} given as {names[j]}: {value:.3f} ({low[i, j]:.3f} to {high[i, j]:.3f})"
            kind = "right" if i == j else "wrong"
            # Mixed with the background by a share that also shows small rates.
            style = f"--share:{100 * math.sqrt(value) * 0.8:.0f}%"
            cells.append(f'<td class="{kind}" style="{style}" title="{title}">{two_digits(value)}</td>')
        rows.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    return f'<div class="wide"><table class="heat">{"".join(rows)}</table></div>'


def colour(position: int, count: int) -> str:
    """Return the colour of a class: hues at equal distances, every other one darker."""
    return f"hsl({360 * position / max(count, 1):.0f} 62% {(58, 42)[position % 2]}%)"


def shown_neighbours(audit: Audit, node: int) -> tuple[Ints, int]:
    """Return the neighbours of a node that are drawn, those with a label before the others, and how many are not."""
    ends = neighbours(audit.graph, node)
    ends = ends[np.argsort(audit.posterior.given[ends] < 0, kind="stable")]
    return ends[:MAX_NEIGHBOURS], max(len(ends) - MAX_NEIGHBOURS, 0)


class Seen(NamedTuple):
    """A node as it is drawn: its name, given class with its position (-1: none), and P(the given label is right)."""

    name: str
    given: str
    code: int
    credibility: float | None


def seen(audit: Audit, nodes: Ints) -> list[Seen]:
    """Return nodes as they are drawn."""
    given, classes, credibility = audit.posterior.given, audit.posterior.classes, audit.credibility
    names = node_names(audit.posterior.names, nodes)
    return [
        Seen(str(name), str(classes[code]), code, float(credibility[node]))
        if (code := int(given[node])) >= 0
        else Seen(str(name), "no label", -1, None)
        for name, node in zip(names, nodes.tolist(), strict=True)
    ]


def neighbourhood(audit: Audit, node: int) -> str:
    """Return a node and its neighbours, coloured by their given classes; nodes without a label are hollow."""
    ends, more = shown_neighbours(audit, node)
    return star(seen(audit, np.array([node]))[0], seen(audit, ends), more, len(audit.posterior.classes))


def with_neighbours(audit: Audit, suspects: pandas.DataFrame) -> pandas.DataFrame:
    """Return suspects with the neighbours that are drawn (node, given, credibility), and the number of the others."""
    found = [shown_neighbours(audit, node) for node in suspects.index]
    neighbours = [
        [{"node": end.name, "given": end.given if end.code >= 0 else None, "credibility": end.credibility}
         for end in seen(audit, ends)]
        for ends, _ in found
    ]  # fmt: skip
    return suspects.assign(neighbours=pandas.Series(neighbours, suspects.index, object), more=[m for _, m in found])


def star(centre: Seen, ends: Sequence[Seen], more: int, count: int) -> str:
    """Return a node and its neighbours as SVG; labels that are probably wrong have a ring.

    Args:
        centre: The node.
        ends: Neighbours that are drawn.
        more: Number of those that are not.
        count: Number of classes.
    """
    parts = []
    for k, end in enumerate(ends):
        angle = 2 * math.pi * k / len(ends) - math.pi / 2
        x, y = 100 + 72 * math.cos(angle), 90 + 68 * math.sin(angle)
        parts.append(f'<line x1="100" y1="90" x2="{x:.1f}" y2="{y:.1f}"/>{_node(end, x, y, 9, count)}')
    parts.append(_node(centre, 100, 90, 14, count))
    rest = f'<text x="100" y="176" text-anchor="middle">and {more} more</text>' if more else ""
    label = f"{escape(centre.name)} and its neighbours"
    return f'<svg class="star" viewBox="0 0 200 180" role="img" aria-label="{label}">{"".join(parts)}{rest}</svg>'


def _node(node: Seen, x: float, y: float, radius: int, count: int) -> str:
    fill = "var(--panel)" if node.code < 0 else colour(node.code, count)
    chance = "" if node.credibility is None else f", right with probability {two_digits(node.credibility)}"
    title = f"<title>{escape(node.name)}: {escape(node.given)}{chance}</title>"
    kind = ' class="doubted"' if node.credibility is not None and node.credibility < 0.5 else ""
    return f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill:{fill}">{title}</circle>'


def _axes(across: Sequence[str], upwards: Sequence[tuple[str, float]]) -> str:
    parts = []
    for k, text in enumerate(across):
        x = LEFT + (WIDTH - LEFT - 10) * k / (len(across) - 1)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{text}</text>')
    for text, share in upwards:
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 12) * share
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return "".join(parts)


def _svg(title: str, body: str, across: str, upwards: str) -> str:
    names = (
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{across}</text>'
        f'<text transform="translate(11 {(HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{upwards}</text>'
    )
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{body}{names}</svg>'
