"""Figures of the evaluation reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graphnoise.bench.plots import panels
from graphnoise.plot import COLOURS, DASHES, MARKERS
from graphnoise.reports import ExchangeRate, Frontier, RankStability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIME_COLOURS = {"quantity": COLOURS[0], "mixed": COLOURS[2], "quality": COLOURS[1]}


def _style(place: int) -> dict[str, Any]:
    count = len(COLOURS)
    return {"color": COLOURS[place % count], "linestyle": DASHES[place // count % len(DASHES)]}


def _finish(panel: Any, title: str, x: str, y: str, **legend: Any) -> None:
    panel.set(xlabel=x, ylabel=y)
    panel.set_title(title, fontsize=9)
    panel.grid(alpha=0.25)
    panel.legend(frameon=False, fontsize=8, **legend)


def rank_stability_figure(reports: dict[str, RankStability]) -> Figure:
    """Return a panel per report: accuracy by corrected labels over the prevalence of wrong ones, with crossings."""
    figure, grid = panels(len(reports), 1, (6.4, 0.8 + 3.4 * len(reports)))
    for panel, (title, report) in zip(grid[:, 0], reports.items(), strict=True):
        for place, (name, rows) in enumerate(report.curve.groupby("model", sort=False)):
            panel.plot(rows["prevalence"], 100 * rows["corrected"], label=name, **_style(place))
            low, high = 100 * rows["low"], 100 * rows["high"]
            panel.fill_between(rows["prevalence"], low, high, color=_style(place)["color"], alpha=0.12, linewidth=0)
        for rho in report.pairs["crossing"].dropna():
            if rho > report.prevalence:
                panel.axvline(rho, color="0.7", linewidth=0.8, zorder=0)
        x, y = "share of wrong labels among the test labels", "accuracy in %,\ncorrected labels"
        _finish(panel, title, x, y, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def exchange_rate_figure(reports: dict[str, tuple[pd.DataFrame, ExchangeRate]]) -> Figure:
    """Return a panel per report: errors over clean and noisy labels in clean ones, and the fitted curve.

    Where the worth is not identified, errors stand over all labels, and there is no curve.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, grid = panels(len(reports), 1, (6.4, 0.6 + 3.4 * len(reports)))
    for panel, (title, (table, result)) in zip(grid[:, 0], reports.items(), strict=True):
        kappa = 1.0 if result.kappa is None else result.kappa
        x = table["clean"] + kappa * table["noisy"]
        error = 100 * (1 - table["accuracy"])
        for place, (name, chosen) in enumerate(
            (
                ("clean labels only", table["noisy"] == 0),
                ("both", (table["noisy"] > 0) & (table["clean"] > 0)),
                ("noisy labels only", table["clean"] == 0),
            )
        ):
            if chosen.any():
                panel.scatter(x[chosen], error[chosen], s=14, marker=MARKERS[place], color=COLOURS[place], label=name)
        if result.kappa is not None and result.limit is not None and result.scale is not None:
            line = np.geomspace(max(x.min(), 1e-9), x.max(), 100)
            fitted = result.limit + result.scale * line ** -float(result.exponent or 0.0)
            panel.plot(line, 100 * fitted, color="0.4", linewidth=1, label="fitted curve")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        worth = "all labels, the worth is not identified" if result.kappa is None else f"n_c + {kappa:.3g} n_n"
        _finish(panel, title, f"labels: {worth}", "error in %")
    return figure


def frontier_figure(reports: dict[str, Frontier]) -> Figure:
    """Return a panel per report: accuracy over cost, by regime, with the Pareto set as a line."""
    figure, grid = panels(len(reports), 1, (6.4, 0.6 + 3.4 * len(reports)))
    for panel, (title, report) in zip(grid[:, 0], reports.items(), strict=True):
        points = report.points
        for place, (regime, colour) in enumerate(REGIME_COLOURS.items()):
            style: dict[str, Any] = {"fmt": MARKERS[place], "color": colour, "markersize": 4, "capsize": 2}
            # Points that others beat are pale.
            for chosen, alpha in ((~points["pareto"], 0.35), (points["pareto"], 1.0)):
                rows = points[(points["regime"] == regime) & chosen]
                if len(rows):
                    half, label = 100 * rows["half_width"].fillna(0), f"{regime}{'' if alpha == 1 else ', beaten'}"
                    accuracy = 100 * rows["accuracy"]
                    panel.errorbar(rows["cost"], accuracy, half, label=label, linewidth=0.8, alpha=alpha, **style)
        best = points[points["pareto"]].sort_values("cost")
        panel.plot(best["cost"], 100 * best["accuracy"], color="0.4", linewidth=1, drawstyle="steps-post", zorder=0)
        panel.set_ylim(max(panel.get_ylim()[0], 0), min(panel.get_ylim()[1], 100))
        _finish(panel, title, "cost", "accuracy in %")
    return figure


def memorisation_figure(scores: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any] | None) -> Figure:
    """Return a histogram of the scores; of right and of wrong labels where it is known which are wrong."""
    figure, grid = panels(1, 1, (6.4, 3.4))
    panel, bins = grid[0, 0], np.linspace(-1, 1, 41)
    parts = {"labels": scores} if wrong is None else {"right labels": scores[~wrong], "wrong labels": scores[wrong]}
    known = {name: values[~np.isnan(values)] for name, values in parts.items()}
    weights = [np.full(len(values), 100 / max(len(values), 1)) for values in known.values()]
    panel.hist(list(known.values()), bins, weights=weights, label=list(known), color=COLOURS[: len(known)])
    _finish(panel, "", "memorisation: correct with the label minus correct without it", "labels in %")
    return figure
