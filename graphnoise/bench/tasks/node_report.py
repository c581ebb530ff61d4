"""Reports of the task `nodes`: CSV columns, sections, tables and figures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench import plots, record
from graphnoise.bench.plots import Style
from graphnoise.bench.record import RUN, Column, count, flag, mapping, share
from graphnoise.bench.report import LEVEL, NoiseSection, best_rows, by_setting, columns, decimal, headline, span
from graphnoise.noise import LabelNoise
from graphnoise.plot import COLOURS
from graphnoise.statistics import DrawComparison, Estimate, Ranking, compare_draws, rank_methods

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Estimates = Mapping[str, Sequence[Estimate | None]]

# Kinds whose labels are given, by a language model or a file, and their options. They have no nominal rate: it is 1 in
# records, as all labels are given ones, and the share of wrong training labels in tables and figures.
GIVEN: Mapping[str, Sequence[str]] = {"llm": [], "file": ["path"]}
ACCURACY = "test_accuracy"
LABEL_EFFECTS = {
    "right label": "train_right",
    "wrong label": "train_wrong",
    "follow it": "train_misled",
    "near right": "test_near_right",
    "near wrong": "test_near_wrong",
    "far": "test_far",
}
MEASURES = (
    *("test_accuracy", "test_near_right", "test_near_wrong", "test_far", "train_right", "train_wrong"),
    *("train_misled", "val_accuracy", "val_accuracy_clean"),
)
# Columns of cells of noisy node labels, before and after those of a task's setting.
DATA = (
    Column("dataset", "config.dataset", str),
    Column("data", "config.data", str),
    Column("split_seed", "config.split_seed", count),
)
NOISE = (
    Column("noise", "config.noise.kind", str),
    Column("rate", "config.noise.rate", share),
    Column("exact", "config.noise.exact", flag),
    Column("erase_stream", "config.noise.erase_stream", flag),
    Column("options", "config.noise.options", mapping, default="{}"),
    Column("method", "config.method", str),
    Column("version", "config.version", str),
    Column("parameters", "config.parameters", mapping),
    Column("draw", "config.draw", count),
)
COLUMNS = (
    *DATA,
    Column("select", "config.select", str),
    *NOISE,
    Column("init", "config.init", count),
    Column("init_seed", "result.init_seed", count),
    Column("realised_train", "result.realised_rate.train", share, required=True),
    Column("realised_val", "result.realised_rate.val", share),
    *(Column(measure, f"result.{measure}", share, required=measure == ACCURACY) for measure in MEASURES),
    Column("test_unreached", "result.test_unreached", share, default=""),
    RUN[0],
    Column("peak_memory", "result.run.peak_memory", record.number),
    *RUN[1:],
)


@dataclass
class Section(NoiseSection):
    """All cells of one data set under one protocol.

    Attributes:
        references: Rows that the others are compared with: those that are asked for; else, where a method has several
            rows, its first one.
    """

    kind_order = LabelNoise.kinds
    references: Sequence[str] = ()


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Group records by grid, data set, data hash, split and selection."""
    return [_section(*group) for group in by_setting(records, lambda config: f"{config['select']} validation labels")]


def _section(title: str, grid: str, records: Sequence[Mapping[str, Any]]) -> Section:
    section = Section(title, grid)
    variants: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    names = [str(cell.get("row", cell["config"]["method"])) for cell in records]
    for name, cell in zip(names, records, strict=True):
        variants[name].append(cell["config"])
    # By method, its labels in order.
    labels: dict[str, dict[str, None]] = defaultdict(dict)
    for name, cell in zip(names, records, strict=True):
        config, noise = cell["config"], cell["config"]["noise"]
        marks = [mark for mark in ("exact", "erase_stream") if noise[mark]]
        marks += [f"{key}={value}" for key, value in sorted(noise["options"].items())]
        label = row_label(name, config, variants[name])
        given = round(cell["result"]["realised_rate"]["train"], 3)
        rate = given if noise["kind"] in GIVEN else float(noise["rate"])
        section.cells[label, _marked(noise["kind"], marks), rate].append(cell)
        labels[config["method"]][label] = None
    section.methods = list(dict.fromkeys(method for method, _, _ in section.cells))
    if grid:
        section.references = [next(iter(rows)) for rows in labels.values() if len(rows) > 1][:1]
    else:
        section.methods.sort()
    return section


def _marked(name: str, marks: Sequence[str]) -> str:
    return name + (f" ({', '.join(marks)})" if marks else "")


def row_label(name: str, config: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of a row, with its version and parameters as far as rows of the same name differ in them.

    Example:
        >>> configs = [{"version": "1", "parameters": {"hops": hops, "C": 1.0}} for hops in (1, 2)]
        >>> row_label("sgc", configs[0], configs)
        'sgc (hops=1)'
    """

    def differ(values: Iterator[Any]) -> bool:
        return len({json.dumps(value) for value in values}) > 1

    marks = [f"version {config['version']}"] if differ(v["version"] for v in variants) else []
    for key, value in sorted(config["parameters"].items()):
        if differ(v["parameters"].get(key) for v in variants):
            marks.append(f"{key}={value}")
    return _marked(name, marks)


def render(section: Section) -> Iterator[RenderableType]:
    """Yield accuracy, paired tests, variance by draw and initialisation, and what becomes of the wrong labels."""
    for kind in section.kinds:
        estimates = section.estimates(kind, ACCURACY)
        yield from _accuracy(section, kind, estimates)
        yield from _tests(section, kind)
        yield from _variance(section, kind, estimates)
        yield from _initialisations(section, kind, estimates)
        yield from _label_effects(section, kind, max(section.rates(kind)))


def ranked(sections: Sequence[Section]) -> Ranking | None:
    """Return mean ranks over data sets, kinds and rates of noise of the methods that have cells everywhere.

    None where fewer than three methods or two settings are left.
    """
    points = {
        (s.heading, kind if rate else "none", rate): s for s in sections for kind in s.kinds for rate in s.rates(kind)
    }
    scores = {}
    for method in dict.fromkeys(name for section in sections for name in section.methods):
        row = [section.estimate(method, kind, rate, ACCURACY) for (_, kind, rate), section in points.items()]
        if None not in row:
            scores[method] = [e.mean for e in row if e is not None]
    return rank_methods(scores) if len(scores) > 2 and len(points) > 1 else None


def summary(sections: Sequence[Section]) -> Iterator[RenderableType]:
    """Yield the mean ranks of methods over the sections of each grid."""
    for grid in dict.fromkeys(section.grid for section in sections):
        if (ranking := ranked([section for section in sections if section.grid == grid])) is not None:
            yield from _rank_table(grid, ranking)


def _rank_table(grid: str, ranking: Ranking) -> Iterator[RenderableType]:
    note = (
        f"over {ranking.settings} settings (data set, kind and rate of noise), of methods that have them all; "
        f"Friedman's test p = {ranking.p:.2g};\nranks that differ by less than {ranking.critical_difference:.2f} "
        "do not differ significantly (Nemenyi, 5 %)"
    )
    yield headline(f"{grid}: mean ranks by test accuracy".removeprefix(": ").capitalize(), note)
    table = columns("method", ["mean rank"])
    for method, rank in ranking.ranks.items():
        table.add_row(method, f"{rank:.2f}")
    yield table


def _by_rate(rates: Sequence[float]) -> Table:
    return columns("rate", [f"{rate:g}" for rate in rates])


def _accuracy(section: Section, kind: str, estimates: Estimates) -> Iterator[RenderableType]:
    means = [e for row in estimates.values() for e in row if e is not None]
    note = (
        f"mean ± half a 95 % t-interval over {span(e.draws for e in means)} noise draws, "
        f"{span(e.inits for e in means)} initialisation(s) each;\nlast row: share of wrong training labels, in %"
    )
    yield headline(f"Test accuracy in %, {kind} noise", note)
    rates = section.rates(kind)
    table = _by_rate(rates)
    best_rows(table, estimates)
    cells = [[cell["result"] for m in section.methods for cell in section.records(m, kind, rate)] for rate in rates]
    realised = (span(round(100 * result["realised_rate"]["train"]) for result in results) for results in cells)
    table.add_row("wrong labels", *realised, style="dim")
    yield table
    for method in section.methods:
        shares = [section.estimate(method, kind, rate, "test_unreached") for rate in rates]
        if worst := max((value.mean for value in shares if value is not None), default=0.0):
            yield Text(
                f"{method}: up to {100 * worst:.1f} % of the test nodes get no class, which is an error", style="dim"
            )


def _tests(section: Section, kind: str) -> Iterator[RenderableType]:
    rates = section.rates(kind)
    points = {r: {m: v for m in section.methods if (v := section.values(m, kind, r, ACCURACY))} for r in rates}
    if all(len(methods) < 2 for methods in points.values()):
        return
    known = " and ".join(map(repr, section.references))
    family = f"comparisons with {known} at a rate" if known else "pairs of a rate"
    note = (
        f"± half a 95 % interval; paired t-test over draws; * p < {LEVEL:g} after Holm's correction over the {family}"
    )
    yield headline(f"Paired differences in points, {kind} noise", note)
    table = _by_rate(rates)
    compared = [
        {(c.first, c.second): c for c in compare_draws(methods, section.references)} for methods in points.values()
    ]
    for pair in dict.fromkeys(pair for at_rate in compared for pair in at_rate):
        table.add_row(f"{pair[0]} − {pair[1]}", *(_difference(at_rate.get(pair)) for at_rate in compared))
    yield table


def _difference(c: DrawComparison | None) -> str:
    if c is None:
        return ""
    half = f"±{100 * c.half_width:.1f}" if c.half_width and c.half_width > 1e-6 else ""
    return f"{100 * c.difference:+.1f}{half}{'*' if c.p is not None and c.p < LEVEL else ' '}"


def _variance(section: Section, kind: str, estimates: Estimates) -> Iterator[RenderableType]:
    shares = {method: [e.draw_share if e else None for e in row] for method, row in estimates.items()}
    title = f"Variance of a single run that is the noise draw, in %, {kind} noise"
    if all(share is None for row in shares.values() for share in row):
        yield headline(title, "cannot be separated from the initialisation: needs --seeds 2 and --inits 2 at least")
        return
    yield headline(title, "the rest is the initialisation; empty where it cannot be separated")
    table = _by_rate(section.rates(kind))
    for method, row in shares.items():
        table.add_row(method, *("" if share is None else f"{100 * share:.0f}" for share in row))
    yield table


def _initialisations(section: Section, kind: str, estimates: Estimates) -> Iterator[RenderableType]:
    rows = {method: row for method, row in estimates.items() if any(e and e.init_sd is not None for e in row)}
    if not rows:
        return
    note = "standard deviation, pooled over draws / how far the lowest one is below the mean of its draw"
    yield headline(f"Initialisations of one draw in points, {kind} noise", note)
    table = _by_rate(section.rates(kind))
    for method, row in rows.items():
        table.add_row(method, *(_spread(e) for e in row))
    yield table


def _spread(e: Estimate | None) -> str:
    if e is None or e.init_sd is None or e.init_drop is None:
        return ""
    return f"{100 * e.init_sd:.1f} / {100 * e.init_drop:.1f}"


def _label_effects(section: Section, kind: str, rate: float) -> Iterator[RenderableType]:
    note = (
        "accuracy in % on training nodes with right and wrong labels; wrongly labelled ones predicted as that label;\n"
        "accuracy on test nodes with rightly labelled neighbours only, with a wrongly labelled one, with none labelled"
    )
    yield headline(f"Effects of wrong labels, {kind} noise at rate {rate:g}", note)
    table = columns("method", list(LABEL_EFFECTS))
    for method in section.methods:
        row = (section.estimate(method, kind, rate, measure) for measure in LABEL_EFFECTS.values())
        table.add_row(method, *map(decimal, row))
    yield table


def figures(sections: Sequence[Section], styles: Mapping[str, Style]) -> dict[str, Figure]:
    """Return accuracy against rate and, where methods train by epochs, training by epoch: a row of panels per section.

    A table of cells has no curves, and so no figure of training. With three methods or more there are mean ranks.
    """
    accuracy = plots.over_rates(sections, ACCURACY, styles, ("nominal noise rate", "test accuracy, %"), 100)
    # Rows of one method lie close together.
    if not any(section.references for section in sections):
        panels = [panel for panel in accuracy.axes if panel.has_data()]
        lowest = max(min((panel.get_ylim()[0] for panel in panels), default=0.0), 0.0)
        for panel in panels:
            panel.set_ylim(lowest - lowest % 20, 100)
    training = _training(sections)
    figures = {"": accuracy} | ({} if training is None else {"-training": training})
    ranking = ranked(sections)
    return figures | ({} if ranking is None else {"-ranking": _ranking(ranking)})


def _ranking(ranking: Ranking) -> Figure:
    """Draw mean ranks as points, with half a critical difference to each side."""
    names, ranks = list(ranking.ranks), list(ranking.ranks.values())
    figure, panels = plots.panels(1, 1, (6.4, 0.9 + 0.24 * len(names)))
    panel, places = panels[0][0], np.arange(len(names))
    panel.errorbar(
        ranks, places, xerr=ranking.critical_difference / 2, fmt="o", color=COLOURS[0], capsize=2, markersize=4
    )
    panel.set_yticks(places, names)
    panel.invert_yaxis()
    panel.set_xlabel(f"mean rank over {ranking.settings} settings ± half a critical difference")
    return figure


_TRAINING = {
    "right": ("accuracy, rightly labelled", COLOURS[0], "-"),
    "wrong": ("accuracy, wrongly labelled", COLOURS[2], "--"),
    "misled": ("wrongly labelled that follow the wrong label", COLOURS[1], ":"),
}


def _training(sections: Sequence[Section]) -> Figure | None:
    """Draw, for each method that trains by epochs, accuracies on right and wrong labels at the highest rate."""
    rows = [(s, method) for s in sections for method in s.methods if any(_epochs(s, method, kind) for kind in s.kinds)]
    if not rows:
        return None
    across = max(len(section.kinds) for section, _ in rows)
    width = 1 + 3.6 * across
    side_by_side, lines = plots.legend_lines([label for label, _, _ in _TRAINING.values()], width)
    size = (width, 0.55 + 0.25 * lines + 2.3 * len(rows))
    figure, panels = plots.panels(len(rows), across, size, sharey=True)
    for (section, method), row in zip(rows, panels, strict=True):
        for panel, kind in zip(row, section.kinds, strict=False):
            curves = _epochs(section, method, kind)
            for key, style in _TRAINING.items():
                _band(panel, [np.array([np.nan if v is None else v for v in curve[key]]) for curve in curves], *style)
            panel.set_title(f"{method}, {kind} {max(section.rates(kind)):g}", fontsize=10)
            panel.set_ylim(0, 100)
        plots.label_row(row, section, "training nodes, %")
    for panel in panels[-1]:
        panel.set_xlabel("epoch")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=side_by_side, frameon=False)
    return figure


def _epochs(section: Section, method: str, kind: str) -> list[dict[str, list[float | None]]]:
    records = section.records(method, kind, max(section.rates(kind)))
    curves = (record["result"].get("curves") for record in records)
    return [curve for curve in curves if curve and curve["loss"]]


def _band(panel: Any, runs: Sequence[NDArray[np.float64]], label: str, colour: str, dashes: str) -> None:
    """Draw the median over runs and the range that holds 80 % of them, as far as half of the runs go."""
    runs = [run for run in runs if not np.isnan(run).any()]
    if not runs:
        return
    length = int(np.median([len(run) for run in runs]))
    stacked = np.full((len(runs), length), np.nan)
    for row, run in zip(stacked, runs, strict=True):
        row[: len(run)] = run[:length]
    low, middle, high = 100 * np.nanquantile(stacked, [0.1, 0.5, 0.9], axis=0)
    epochs = np.arange(1, length + 1)
    panel.plot(epochs, middle, color=colour, linestyle=dashes, label=label)
    panel.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
