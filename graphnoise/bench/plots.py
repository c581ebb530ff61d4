"""Plots of the node benchmark: accuracy against rate, and what training does to right and wrong labels."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.bench.results import Section
from graphnoise.bench.statistics import estimate
from graphnoise.checks import InputError
from graphnoise.io import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with any colour vision can tell apart; lines differ by marker as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")  # the next one after each turn through the colours

Style = dict[str, Any]


def draw(sections: list[Section], path: str | os.PathLike[str]) -> list[Path]:
    """Draw accuracy against rate into `path`, and training by epoch beside it (`-training` before the suffix).

    Args:
        sections: What to draw, a row of panels each. Each grid of a suite has figures of its own, with `-GRID` before
            the suffix; a method or row has the same colour in all.
        path: Where to; the suffix is the format (.png, .pdf, .svg).

    Returns:
        The files written.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
        DataError: The files cannot be written.
    """
    target = Path(path)
    check(target)
    from matplotlib.figure import Figure

    figures, styles = {}, _styles(sections)
    for grid in dict.fromkeys(section.grid for section in sections):
        own = [section for section in sections if section.grid == grid]
        file = target.with_stem(f"{target.stem}-{grid}") if grid else target
        figures[file] = _accuracy(own, styles, Figure)
        training = _training(own, Figure)
        if training is not None:
            figures[file.with_stem(file.stem + "-training")] = training
    for file, figure in figures.items():
        with atomic_write(file) as out:
            figure.savefig(out, format=file.suffix[1:].lower(), dpi=150)
    return list(figures)


def check(path: Path) -> None:
    """Check, before anything is drawn, that this can be a plot.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise InputError(
            "plot: expected matplotlib, which is not installed (pip install 'graphnoise[plots]')"
        ) from error
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        checks.fail(
            "plot", f"a file name that ends in one of {', '.join('.' + f for f in sorted(formats))}", repr(path.name)
        )


def _panels(figure: Figure, rows: int, columns: int) -> NDArray[Any]:
    return np.asarray(figure.subplots(rows, columns, sharey=True, squeeze=False))


def _styles(sections: list[Section]) -> dict[str, Style]:
    """Return colour, marker and dashes of every method or row: the same in all figures, and its own in each."""
    shown: dict[str, list[str]] = {}
    for section in sections:
        shown.setdefault(section.grid, []).extend(section.methods)
    places: dict[str, int] = {}
    for label in dict.fromkeys(label for labels in shown.values() for label in labels):
        beside = {other for labels in shown.values() if label in labels for other in labels}
        taken = {places[other] for other in beside if other in places}
        places[label] = next(place for place in itertools.count() if place not in taken)
    return {
        label: {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
            "markersize": 4,
            "label": label,
        }
        for label, place in places.items()
    }


def _accuracy(sections: list[Section], styles: Mapping[str, Style], new: type[Figure]) -> Figure:
    columns = max(len(section.kinds) for section in sections)
    names = list(dict.fromkeys(method for section in sections for method in section.methods))
    width = 1 + 3.6 * columns
    across, lines = _legend(names, width)
    figure = new(figsize=(width, 0.6 + 0.25 * lines + 2.6 * len(sections)), layout="constrained")
    panels = _panels(figure, len(sections), columns)
    for section, row in zip(sections, panels, strict=True):
        for kind, panel in zip(section.kinds, row, strict=False):
            _curve(panel, section, kind, styles)
            panel.set_title(f"{kind} noise", fontsize=10)
            panel.set_ylim(0, 100)
            panel.grid(alpha=0.25)
        for panel in row[len(section.kinds) :]:
            panel.axis("off")
        name = section.title.partition(",")[0].removeprefix(f"{section.grid}: ")  # the file's name has the grid
        row[0].set_ylabel(f"{name}\ntest accuracy, %")
    if len({(tuple(section.kinds), *map(tuple, map(section.rates, section.kinds))) for section in sections}) == 1:
        for panel in panels[1:].flat:  # rows alike: words at the top and the bottom only
            panel.set_title("")
        for panel in panels[:-1].flat:
            panel.set_xlabel("")
    if any(section.reference for section in sections):  # variants lie close together
        panels[0][0].set_ylim(*_limits(sections))
    handles: dict[str, Any] = {}
    for panel in panels.flat:
        handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    shown = [name for name in names if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside upper center", ncols=across, frameon=False)
    return figure


def _legend(names: Collection[str], width: float) -> tuple[int, int]:
    """Return how many entries of a legend stand side by side in so many inches, and how many lines that makes."""
    across = max(1, min(len(names), int(width / (0.75 + 0.08 * max(map(len, names))))))
    return across, -(-len(names) // across)


def _curve(panel: Any, section: Section, kind: str, styles: Mapping[str, Style]) -> None:
    """Draw the lines of a panel with their intervals; of a single rate, points side by side."""
    rates = section.rates(kind)
    for i, method in enumerate(section.methods):
        points = [(r, estimate(v)) for r in rates if (v := section.values(method, kind, r))]
        x = np.array([rate for rate, _ in points])
        mean = 100 * np.array([e.mean for _, e in points])
        half = 100 * np.array([e.half_width or 0.0 for _, e in points])
        style = styles[method]
        if len(rates) == 1:
            panel.errorbar(x * 0 + i, mean, half, capsize=3, **style)
        else:
            panel.plot(x, mean, **style)
            panel.fill_between(x, mean - half, mean + half, color=style["color"], alpha=0.15, linewidth=0)
    if len(rates) == 1:
        panel.set_xticks([])
        panel.set_xlim(-1, len(section.methods))
        panel.set_xlabel(f"at nominal noise rate {rates[0]:g}")
    else:
        panel.set_xlabel("nominal noise rate")


def _limits(sections: list[Section]) -> tuple[float, float]:
    """Return the tens that hold all means and intervals, in %."""
    ends: list[float] = []
    for section in sections:
        for (method, kind, rate), records in section.cells.items():
            if records and (values := section.values(method, kind, rate)):
                e = estimate(values)
                ends += [100 * (e.mean - (e.half_width or 0.0)), 100 * (e.mean + (e.half_width or 0.0))]
    low, high = 10 * math.floor(min(ends) / 10), 10 * math.ceil(max(ends) / 10)
    return max(low, 0), min(high, 100)


def _training(sections: list[Section], new: type[Figure]) -> Figure | None:
    """Draw, for each method that trains by epochs, what becomes of right and wrong labels at the highest rate."""
    rows = [
        (section, method)
        for section in sections
        for method in section.methods
        if any(_curves(section, method, kind) for kind in section.kinds)
    ]
    if not rows:
        return None
    columns = max(len(section.kinds) for section, _ in rows)
    names = {
        "right": ("accuracy, rightly labelled", COLOURS[0], "-"),
        "wrong": ("accuracy, wrongly labelled", COLOURS[2], "--"),
        "misled": ("wrongly labelled that follow the wrong label", COLOURS[1], ":"),
    }
    width = 1 + 3.6 * columns
    across, lines = _legend([label for label, _, _ in names.values()], width)
    figure = new(figsize=(width, 0.55 + 0.25 * lines + 2.3 * len(rows)), layout="constrained")
    panels = _panels(figure, len(rows), columns)
    for (section, method), row in zip(rows, panels, strict=True):
        for panel, kind in zip(row, section.kinds, strict=False):
            curves = _curves(section, method, kind)
            for key, (label, colour, style) in names.items():
                runs = [np.array([np.nan if v is None else v for v in curve[key]]) for curve in curves]
                _band(panel, runs, label, colour, style)
            panel.set_title(f"{method}, {kind} {max(section.rates(kind)):g}", fontsize=10)
            panel.set_ylim(0, 100)
            panel.grid(alpha=0.25)
        for panel in row[len(section.kinds) :]:
            panel.axis("off")
        row[0].set_ylabel(f"{section.title.partition(',')[0]}\ntraining nodes, %")
    for panel in panels[-1]:
        panel.set_xlabel("epoch")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=across, frameon=False)
    return figure


def _curves(section: Section, method: str, kind: str) -> list[dict[str, list[float | None]]]:
    records = section.records(method, kind, max(section.rates(kind)))
    curves = (record.get("curves") for record in records)  # a table of cells has none
    return [curve for curve in curves if curve and curve["loss"]]


def _band(panel: Any, runs: list[NDArray[np.float64]], label: str, colour: str, style: str) -> None:
    """Draw the median over runs and the range that holds 80 % of them, as far as half of the runs go."""
    runs = [run for run in runs if not np.isnan(run).any()]
    if not runs:
        return
    length = int(np.median([len(run) for run in runs]))
    stacked = np.full((len(runs), length), np.nan)
    for line, run in zip(stacked, runs, strict=True):
        line[: len(run)] = run[:length]
    low, middle, high = 100 * np.nanquantile(stacked, [0.1, 0.5, 0.9], axis=0)
    epochs = np.arange(1, length + 1)
    panel.plot(epochs, middle, color=colour, linestyle=style, label=label)
    panel.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
