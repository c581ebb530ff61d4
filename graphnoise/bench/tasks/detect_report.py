"""Reports of the task `detect`: CSV columns, sections, tables and the figure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from graphnoise import checks
from graphnoise.bench import plots, record, report
from graphnoise.bench.plots import Style
from graphnoise.bench.record import RUN, Column, get, number, share
from graphnoise.bench.report import best_rows, columns, decimal, headline, span
from graphnoise.bench.tasks.node_report import DATA, GIVEN, NOISE, row_label
from graphnoise.noise import LabelNoise
from graphnoise.plot import COLOURS, MARKERS
from graphnoise.statistics import Estimate, Values, estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tables of their own: measure, heading and what the last row shows.
MEASURES = {
    "auroc": "Area under the ROC curve in %",
    "precision": "Precision in % among as many labels as are wrong",
    "corrected_accuracy": "Accuracy of the labels in % with the suggested ones",
}
# Columns of the table of details: measure, factor and digits.
DETAILS = {
    "F1": ("f1", 100, 1),
    "flagged": ("flagged", 100, 1),
    "FDR": ("fdr", 100, 1),
    "found": ("fdr_power", 100, 1),
    "Brier": ("brier", 100, 1),
    "calibration": ("calibration", 100, 1),
    "rate": ("rate", 100, 1),
    "error": ("rate_error", 100, 1),
    "T mean": ("transition_mean", 100, 1),
    "T max": ("transition_max", 100, 1),
    "s": ("run.seconds", 1, 1),
    "GB": ("run.peak_memory", 1e-9, 2),
}
SHARES = (
    *("auroc", "precision", "f1", "flagged", "fdr", "fdr_power", "brier", "calibration", "given_accuracy"),
    *("corrected_accuracy", "rate", "transition_mean", "transition_max"),
)
COLUMNS = (
    *DATA,
    Column("labelled", "config.labelled", lambda text: checks.choice("labelled", text, ("all", "train"))),
    *NOISE,
    Column("error_rate", "result.error_rate", share, required=True),
    *(Column(f"estimated_{name}" if name == "rate" else name, f"result.{name}", share) for name in SHARES),
    Column("rate_error", "result.rate_error", number),
    RUN[0],
    Column("peak_memory", "result.run.peak_memory", record.number),
    *RUN[1:],
)

# Data set, noise and rate.
Point = tuple[str, str, float]


@dataclass
class Section(report.Section):
    """Cells of one grid and setting, on any data sets.

    Attributes:
        cells: Records by row, data set, noise and rate; without noise, the noise is "none" and the rate 0.
    """

    cells: dict[tuple[str, str, str, float], list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def kinds(self) -> list[str]:
        """Kinds of noise; "none" only if there is nothing else."""
        order = {name: place for place, name in enumerate(LabelNoise.kinds)}
        kinds = sorted({kind for _, _, kind, _ in self.cells}, key=lambda kind: (order.get(kind.split()[0], -1), kind))
        return [kind for kind in kinds if kind != "none"] or kinds

    def points(self, kind: str) -> list[Point]:
        """Return the data sets and rates of a kind, with rate 0 where cells without noise are recorded."""
        datasets = dict.fromkeys(name for _, name, _, _ in self.cells)
        found = {(name, rate) for _, name, other, rate in self.cells if other in (kind, "none")}
        return [(name, kind, rate) for name in datasets for rate in sorted(r for other, r in found if other == name)]

    def estimate(self, method: str, point: Point, measure: str) -> Estimate | None:
        """Return the mean of a measure over draws; None where there is no value."""
        name, _, rate = point
        values: Values = defaultdict(list)
        for cell in self.cells.get((method, *point)) or self.cells.get((method, name, "none", rate), []):
            if (value := get(cell["result"], measure)) is not None:
                values[cell["config"]["draw"]].append(float(value))  # type: ignore[attr-defined]
        return estimate(values) if values else None


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Group records by grid, labelled nodes and split."""
    grouped: dict[tuple[str, ...], Section] = {}
    variants: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    data: dict[str, set[str]] = defaultdict(set)
    for cell in records:
        variants[_row(cell)].append(cell["config"])
        data[cell["config"]["dataset"]].add(cell["config"]["data"])
    for cell in records:
        config, noise = cell["config"], cell["config"]["noise"]
        key = (cell.get("grid", ""), config["labelled"], str(config["split_seed"]))
        title = f"labels of {'all' if config['labelled'] == 'all' else 'training'} nodes"
        title += f", split seed {config['split_seed']}" if config["split_seed"] else ""
        section = grouped.setdefault(key, Section(title, key[0]))
        row = row_label(_row(cell), config, variants[_row(cell)])
        if row not in section.methods:
            section.methods.append(row)
        marks = ["exact"] * noise["exact"] + [f"{key}={value}" for key, value in sorted(noise["options"].items())]
        kind = noise["kind"] + (f" ({', '.join(marks)})" if marks else "")
        given = noise["kind"] in GIVEN
        rate = round(float(cell["result"]["error_rate"]), 3) if given else float(noise["rate"])
        name = config["dataset"] + (f" ({config['data'][:8]})" if len(data[config["dataset"]]) > 1 else "")
        section.cells[row, name, kind, rate].append(cell)
    if any(key[0] for key in grouped):
        return list(grouped.values())
    for section in grouped.values():
        section.methods.sort()
    return [grouped[key] for key in sorted(grouped)]


def _row(cell: Mapping[str, Any]) -> str:
    return str(cell.get("row", cell["config"]["method"]))


def _label(point: Point, points: Sequence[Point]) -> str:
    """Return the data set, and the rate where there are several."""
    rates = {rate for _, _, rate in points}
    return f"{point[0]} {point[2]:g}" if len(rates) > 1 else point[0]


def render(section: Section) -> Iterator[RenderableType]:
    """Yield, for each kind of noise, the main measures by data set and rate, and a table of all others."""
    for kind in section.kinds:
        points = section.points(kind)
        rates = {rate for _, _, rate in points}
        title = f"{kind} noise" + (f" at rate {points[0][2]:g}" if len(rates) == 1 else "")
        for measure, heading in MEASURES.items():
            rows = {method: [section.estimate(method, p, measure) for p in points] for method in section.methods}
            # Without noise there are no errors to detect.
            seen = [place for place, column in enumerate(zip(*rows.values(), strict=True)) if any(column)]
            shown = {method: [row[place] for place in seen] for method, row in rows.items() if any(row)}
            if not shown:
                continue
            draws = span(e.draws for row in shown.values() for e in row if e)
            yield headline(f"{heading}, {title}", f"mean ± half a 95 % t-interval over {draws} noise draw(s)")
            table = columns("detector", [_label(points[place], points) for place in seen], fold=True)
            best_rows(table, shown)
            if measure == "corrected_accuracy":
                base = next(iter(shown))
                given = [section.estimate(base, points[place], "given_accuracy") for place in seen]
                table.add_row("given labels", *map(decimal, given), style="dim")
            yield table
        note = (
            "in %, means over draws: F1 of flagged labels; with probabilities, share of right labels in the largest\n"
            "set of mean credibility up to 0.1 (FDR), share of the wrong ones in it (found), Brier score, calibration\n"
            "error; "
            "estimated rate and its error in points, mean and greatest error of the transition matrix in points"
        )
        yield headline(f"Details, {title}", note)
        table = columns("data set", ["detector", *DETAILS], fold=True, left=2)
        for point in points:
            for method in section.methods:
                values = [(section.estimate(method, point, path), f, d) for path, f, d in DETAILS.values()]
                if any(e for e, _, _ in values):
                    table.add_row(_label(point, points), method, *(decimal(e, f, d) for e, f, d in values))
        yield table


def figures(sections: Sequence[Section], styles: Mapping[str, Style]) -> dict[str, Figure]:
    """Return a figure of the AUROC: a panel for each data set, in it a line of points for each detector.

    Colour and marker say which noise; the bars are 95 % intervals over draws.
    """
    shown = [(section, name) for section in sections for name in dict.fromkeys(name for _, name, _, _ in section.cells)]
    series = dict.fromkeys(p[1:] for section in sections for k in section.kinds for p in section.points(k) if p[2])
    rows, across = max(len(section.methods) for section in sections), min(len(shown), 4)
    down, longest = -(-len(shown) // across), max(len(m) for section in sections for m in section.methods)
    size = (0.6 + 0.075 * longest + 2.6 * across, 0.9 + (0.8 + 0.21 * rows) * down)
    figure, grid = plots.panels(down, across, size)
    handles: dict[str, Any] = {}
    for place, panel in enumerate(grid.flat):
        if place >= len(shown):
            panel.axis("off")
            continue
        section, name = shown[place]
        for number_, (kind, rate) in enumerate(series):
            points = [
                (y, e) for y, m in enumerate(section.methods) if (e := section.estimate(m, (name, kind, rate), "auroc"))
            ]
            if points:
                shift = 0.5 * ((number_ + 0.5) / len(series) - 0.5)
                style = {"color": COLOURS[number_ % len(COLOURS)], "marker": MARKERS[number_ % len(MARKERS)]}
                label = f"{kind} {rate:g}"
                handles[label] = panel.errorbar(
                    [100 * e.mean for _, e in points],
                    [y + shift for y, _ in points],
                    xerr=[100 * (e.half_width or 0.0) for _, e in points],
                    **{**style, "linestyle": "none", "markersize": 4, "capsize": 2, "label": label},
                )
        panel.set_yticks(range(len(section.methods)), section.methods, fontsize=8)
        if place % across and shown[place - 1][0] is section:
            panel.tick_params(axis="y", labelleft=False)
        panel.set_ylim(len(section.methods) - 0.4, -0.6)
        panel.set_xlim(min(90, panel.get_xlim()[0]), 100.5)
        panel.grid(alpha=0.25)
        panel.set_title(re.sub(r":\w+=.*", "", name), fontsize=9 if len(name) < 28 else 6.5)
        panel.set_xlabel("AUROC of wrong labels, %", fontsize=8)
        panel.tick_params(axis="x", labelsize=8)
    if handles:
        figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(len(handles), 4), frameon=False)
    return {"": figure}
