"""The plot of `bench recommend`: NDCG over the rates of noise, or side by side where there is one rate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise.bench.plots import COLOURS, DASHES, MARKERS, check
from graphnoise.io import atomic_write
from recsys.bench.grid import METRIC
from recsys.bench.methods import METHODS
from recsys.bench.results import Section


def draw(sections: list[Section], path: str | os.PathLike[str]) -> list[Path]:
    """Draw a panel for each data set and kind of noise: mean over seeds with its 95 % interval.

    Args:
        sections: what to draw. Each grid of a suite has a figure of its own, with `-GRID` before the suffix.
        path: where to; the suffix is the format (.png, .pdf, .svg).

    Returns:
        The files written.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
        DataError: the files cannot be written.
    """
    target = Path(path)
    check(target)
    files = []
    for grid in dict.fromkeys(section.grid for section in sections):
        figure = _figure([section for section in sections if section.grid == grid])
        file = target.with_stem(f"{target.stem}-{grid}") if grid else target
        with atomic_write(file) as out:
            figure.savefig(out, format=file.suffix[1:].lower(), dpi=150)
        files.append(file)
    return files


def _styles(sections: list[Section]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and dashes of each method of a figure.

    They follow the method's place in the list of all, so that figures agree; where two methods would share a colour
    then, the place in the figure counts.
    """
    names = {method: section.names[method] for section in sections for method in section.methods}
    order = list(METHODS)
    places = [order.index(name) if name in order else len(order) for name in names.values()]
    if len({place % len(COLOURS) for place in places}) < len(places):
        places = list(range(len(names)))
    return {
        method: {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 4,
            "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
            "label": method,
        }
        for method, place in zip(names, places, strict=True)
    }


def _figure(sections: list[Section]) -> Any:
    from matplotlib.figure import Figure

    panels = [(section, kind) for section in sections for kind in section.kinds]
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    named = [section for section, kind in panels if len(section.rates(kind)) == 1]
    longest = max((len(method) for section in named for method in section.methods), default=0)
    figure = Figure(figsize=(1.8 + 3.4 * across, 0.4 + (3.0 + 0.08 * longest) * down), layout="constrained")
    grid = np.asarray(figure.subplots(down, across, squeeze=False))
    styles = _styles(sections)
    handles: dict[str, Any] = {}
    for place, panel in enumerate(grid.flat):
        if place >= len(panels):
            panel.axis("off")
            continue
        _panel(panel, *panels[place], styles)
        if len(panels[place][0].rates(panels[place][1])) > 1:
            handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _panel(panel: Any, section: Section, kind: str, styles: dict[str, dict[str, Any]]) -> None:
    rates = section.rates(kind)
    for place, method in enumerate(section.methods):
        points = [(rate, e) for rate in rates if (e := section.mean(method, kind, rate)) is not None]
        if not points:
            continue
        style = styles[method]
        mean = np.array([e.mean for _, e in points])
        half = np.array([e.half_width or 0.0 for _, e in points])
        if len(rates) == 1:
            panel.errorbar([place], mean, half, capsize=3, **style)
            continue
        x = np.array([rate for rate, _ in points])
        panel.plot(x, mean, **style)
        panel.fill_between(x, mean - half, mean + half, color=style["color"], alpha=0.15, linewidth=0)
    if len(rates) == 1:  # markers repeat where there are many methods: names stand below
        panel.set_xticks(range(len(section.methods)), section.methods)
        panel.tick_params(axis="x", rotation=90)
    else:
        panel.set_xlabel("rate, as a share of the clicks", fontsize=8)
        panel.locator_params(axis="x", nbins=5)
    words = "as it is" if rates == [0.0] else f"{kind} noise" + (f" at {rates[0]:g}" if len(rates) == 1 else "")
    panel.set_title(f"{section.dataset}\n{words}", fontsize=9)
    panel.set_ylabel(f"test {METRIC}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25)
