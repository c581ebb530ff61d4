"""Figures of the benchmarks by matplotlib: files, styles of rows, panels, legends."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.bench.report import NoiseSection, Section
from graphnoise.io import atomic_write
from graphnoise.plot import interval_line, series_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from graphnoise.bench.task import Task

Style = dict[str, Any]


def check(path: Path) -> None:
    """Check, before anything is drawn, that this can be a plot.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
    """
    checks.package("plot", "matplotlib", "plots")
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        endings = ", ".join("." + name for name in sorted(formats))
        checks.fail("plot", f"a file name that ends in one of {endings}", repr(path.name))


def draw(task: Task[Any], sections: Sequence[Section], path: str | os.PathLike[str]) -> list[Path]:
    """Draw the figures of a task into files; each grid of a suite has its own, with `-GRID` before the suffix.

    Args:
        task: The task.
        sections: What to draw.
        path: The file; its suffix is the format (.png, .pdf, .svg).

    Returns:
        The files written.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
        DataError: The files cannot be written.
    """
    target = Path(path)
    check(target)
    figures: dict[Path, Figure] = {}
    looks = styles(sections)
    for grid in dict.fromkeys(section.grid for section in sections):
        stem = f"{target.stem}-{grid}" if grid else target.stem
        of_grid = [section for section in sections if section.grid == grid]
        for suffix, figure in task.figures(of_grid, looks).items():
            figures[target.with_stem(stem + suffix)] = figure
    for file, figure in figures.items():
        save_figure(figure, file)
    return list(figures)


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure; the suffix of the file is its format. Raises `DataError` where it cannot be written."""
    with atomic_write(file) as out:
        figure.savefig(out, format=file.suffix[1:].lower(), dpi=150)


def styles(sections: Sequence[Section]) -> dict[str, Style]:
    """Return colour, marker and dashes of every row: the same in all figures, and different within a figure."""
    shown: dict[str, list[str]] = {}
    for section in sections:
        shown.setdefault(section.grid, []).extend(section.methods)
    places: dict[str, int] = {}
    for label in dict.fromkeys(label for labels in shown.values() for label in labels):
        beside = {other for labels in shown.values() if label in labels for other in labels}
        taken = {places[other] for other in beside if other in places}
        places[label] = next(place for place in itertools.count() if place not in taken)
    return {label: {**series_style(place), "label": label} for label, place in places.items()}


def panels(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its panels as an array; `size` is in inches, and `options` are those of `subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, np.asarray(figure.subplots(rows, columns, squeeze=False, **options))


def over_rates(
    sections: Sequence[NoiseSection],
    measure: str,
    styles: Mapping[str, Style],
    axes: tuple[str, str],
    factor: float = 1,
) -> Figure:
    """Return a figure with a row of panels per section, one for each kind of noise: a measure over rates, by method.

    Of a single rate, points stand side by side, with the names of the methods at the axis.

    Args:
        sections: What to draw.
        measure: Path within results.
        styles: By row, as `styles` returns them.
        axes: What stands at the axes: the rate, and the measure.
        factor: What the measure is multiplied by.
    """
    across = max(len(section.kinds) for section in sections)
    single = [section for section in sections for kind in section.kinds if len(section.rates(kind)) == 1]
    longest = max((len(method) for section in single for method in section.methods), default=0)
    names = dict.fromkeys(method for section in sections for method in section.methods)
    width = 1 + 3.6 * across
    side_by_side, lines = legend_lines(names, width)
    size = (width, 0.6 + 0.25 * lines + (2.6 + 0.08 * longest) * len(sections))
    figure, grid = panels(len(sections), across, size, sharey="row")
    handles: dict[str, Any] = {}
    for section, row in zip(sections, grid, strict=True):
        label_row(row, section, axes[1])
        for kind, panel in zip(section.kinds, row, strict=False):
            rates = section.rates(kind)
            for place, method in enumerate(section.methods):
                points = [(rate, e) for rate in rates if (e := section.estimate(method, kind, rate, measure))]
                if points:
                    x = [place] if len(rates) == 1 else [rate for rate, _ in points]
                    mean = [factor * e.mean for _, e in points]
                    interval_line(panel, x, mean, [factor * (e.half_width or 0.0) for _, e in points], styles[method])
            panel.set_title("no noise" if kind == "none" else f"{kind} noise", fontsize=10)
            panel.set_xlabel(axes[0] if len(rates) > 1 else f"{axes[0]}: {rates[0]:g}")
            if len(rates) > 1:
                handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
            else:
                panel.set_xticks(range(len(section.methods)), section.methods, rotation=90)
    if shown := [name for name in names if name in handles]:
        options = {"loc": "outside upper center", "ncols": side_by_side, "frameon": False}
        figure.legend([handles[name] for name in shown], shown, **options)
    return figure


def label_row(row: NDArray[Any], section: NoiseSection, ylabel: str) -> None:
    """Label a row of panels, one for each kind of noise; those beyond are empty."""
    for panel in row[: len(section.kinds)]:
        panel.grid(alpha=0.25)
    for panel in row[len(section.kinds) :]:
        panel.axis("off")
    name = re.sub(r":\w+=.*", "", section.dataset)
    row[0].set_ylabel(f"{name}\n{ylabel}")


def legend_lines(names: Collection[str], width: float) -> tuple[int, int]:
    """Return how many entries of a legend stand side by side in so many inches, and how many lines that makes."""
    across = max(1, min(len(names), int(width / (0.75 + 0.08 * max(map(len, names))))))
    return across, -(-len(names) // across)
