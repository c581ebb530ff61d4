"""The plot of `bench cluster`: F1 of every method, its mean over the classes and each class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise.bench.clusters.results import Section
from graphnoise.bench.plots import COLOURS, check
from graphnoise.io import atomic_write


def draw(sections: list[Section], path: str | os.PathLike[str]) -> list[Path]:
    """Draw a panel for each data set and source of labels, and in it a line for each method.

    A small dot is a class, the large one the mean over classes with its 95 % interval over seeds; the dashed line is
    the mean of labels alone.

    Args:
        sections: What to draw. Each grid of a suite has a figure of its own, with `-GRID` before the suffix.
        path: Where to; the suffix is the format (.png, .pdf, .svg).

    Returns:
        The files written.

    Raises:
        InputError: matplotlib is not installed, or the suffix is none of its formats.
        DataError: The files cannot be written.
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


def _figure(sections: list[Section]) -> Any:
    from matplotlib.figure import Figure

    methods = max(len(section.methods) for section in sections)
    columns = 4 if len(sections) > 4 else min(len(sections), 2)
    rows = -(-len(sections) // columns)
    size = 1.0 + 2.6 * columns, 0.4 + (0.7 + 0.19 * methods) * rows
    figure = Figure(figsize=size, layout="constrained")
    grid = np.asarray(figure.subplots(rows, columns, sharex=True, squeeze=False))
    for place, panel in enumerate(grid.flat):
        if place >= len(sections):
            panel.axis("off")
            continue
        _panel(panel, sections[place])
        if place % columns and sections[place].methods == sections[place - 1].methods:
            panel.tick_params(axis="y", labelleft=False)  # as in the panel before
        if place + columns >= len(sections):
            panel.tick_params(axis="x", labelbottom=True)
            panel.set_xlabel("F1 in %: classes, and their mean", fontsize=8)
    return figure


def _panel(panel: Any, section: Section) -> None:
    base = section.mean("labels")
    if base is not None:
        panel.axvline(100 * base.value, color="0.45", linestyle="--", linewidth=1, zorder=1)
    for place, method in enumerate(section.methods):
        mean = section.mean(method)
        if mean is None:
            continue
        colour = "0.3" if method == "labels" else COLOURS[1] if section.labelled[method] else COLOURS[0]
        scores = [100 * score for target in section.classes if (score := section.score(method, target)) is not None]
        panel.plot(scores, [place] * len(scores), "o", color=colour, alpha=0.3, markersize=3.5, markeredgewidth=0)
        error = 100 * (mean.half_width or 0.0)
        panel.errorbar(100 * mean.value, place, xerr=error, fmt="o", color=colour, markersize=6, capsize=2.5)
    panel.set_yticks(range(len(section.methods)), section.methods, fontsize=8)
    panel.set_ylim(len(section.methods) - 0.4, -0.6)
    panel.set_xlim(0, 100)
    panel.grid(axis="x", alpha=0.25)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_title(f"{section.dataset}\nlabels {section.labels}", fontsize=9 if len(section.dataset) < 28 else 6.5)
