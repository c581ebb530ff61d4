"""Plots of the node benchmark: accuracy against rate, and what training does to right and wrong labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import InputError
from .._files import writing
from .results import Section
from .statistics import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with any colour vision can tell apart; lines differ by marker as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(sections: list[Section], path: str | os.PathLike[str]) -> list[Path]:
    """Draw accuracy against rate into `path`, and training by epoch beside it (`-training` before the suffix).

    Args:
        sections: What to draw, a row of panels each.
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

    figures = {target: _accuracy(sections, Figure)}
    training = _training(sections, Figure)
    if training is not None:
        figures[target.with_stem(target.stem + "-training")] = training
    for file, figure in figures.items():
        with writing(file) as out:
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
        _check.fail(
            "plot", f"a file name that ends in one of {', '.join('.' + f for f in sorted(formats))}", repr(path.name)
        )


def _panels(figure: Figure, rows: int, columns: int) -> NDArray[Any]:
    return np.asarray(figure.subplots(rows, columns, sharey=True, squeeze=False))


def _accuracy(sections: list[Section], new: type[Figure]) -> Figure:
    columns = max(len(section.kinds) for section in sections)
    figure = new(figsize=(1 + 3.6 * columns, 0.6 + 3.2 * len(sections)), layout="constrained")
    panels = _panels(figure, len(sections), columns)
    for section, row in zip(sections, panels, strict=True):
        for kind, panel in zip(section.kinds, row, strict=False):
            rates = section.rates(kind)
            for i, method in enumerate(section.methods):
                points = [(r, estimate(v)) for r in rates if (v := section.values(method, kind, r))]
                x = np.array([rate for rate, _ in points])
                mean = 100 * np.array([e.mean for _, e in points])
                half = 100 * np.array([e.half_width or 0.0 for _, e in points])
                colour = COLOURS[i % len(COLOURS)]
                panel.plot(x, mean, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4, label=method)
                panel.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
            panel.set_title(f"{kind} noise", fontsize=10)
            panel.set_xlabel("nominal noise rate")
            panel.set_ylim(0, 100)
            panel.grid(alpha=0.25)
        for panel in row[len(section.kinds) :]:
            panel.axis("off")
        row[0].set_ylabel(f"{section.title.partition(',')[0]}\ntest accuracy, %")
    handles = {h.get_label(): h for row in panels for panel in row for h in panel.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


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
    figure = new(figsize=(1 + 3.6 * columns, 0.8 + 2.3 * len(rows)), layout="constrained")
    panels = _panels(figure, len(rows), columns)
    names = {
        "right": ("accuracy, rightly labelled", COLOURS[0], "-"),
        "wrong": ("accuracy, wrongly labelled", COLOURS[2], "--"),
        "misled": ("wrongly labelled that follow the wrong label", COLOURS[1], ":"),
    }
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
        row[0].set_ylabel("training nodes, %")
    for panel in panels[-1]:
        panel.set_xlabel("epoch")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _curves(section: Section, method: str, kind: str) -> list[dict[str, list[float | None]]]:
    records = section.records(method, kind, max(section.rates(kind)))
    return [record["curves"] for record in records if record["curves"]["loss"]]


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
