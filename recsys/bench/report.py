"""Tables and plots of the recommender benchmark: means over seeds, and paired comparisons over users."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from graphnoise.bench import options, plots, registry
from graphnoise.bench.record import get
from graphnoise.bench.report import LEVEL, Section, best_rows, columns, headline, interval, span
from graphnoise.statistics import Estimate, estimate
from recsys.bench.data import NOISE, unpack
from recsys.evaluation import Evaluation
from recsys.significance import Comparison, compare, correct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Picks the hyper-parameters and the epoch, on validation.
METRIC = "ndcg@20"
METRICS = (METRIC, "recall@20", "f1@10", "coverage@20")
RULE = "best validation ndcg@20, the earliest of equal ones"
PATHS = {
    **{metric: f"test.{metric}" for metric in METRICS},
    "validation": "validation",
    "seconds": "run.seconds",
    **{name: f"epochs.{name}" for name in ("picked", "oracle", "oracle_test")},
}
Result = Mapping[str, Any]
_text = partial(interval, factor=1.0, digits=4)


def label(config: Mapping[str, Any]) -> str:
    """Return the label of a row without a name of its own.

    >>> label({"method": "linear", "fixed": {"low_pass": 0}})
    'linear:low_pass=0'
    """
    return options.text(config["method"], dict(sorted(config["fixed"].items())))


@dataclass
class Recommendations(Section):
    """Cells of one data set, split and kind of validation.

    Attributes:
        dataset: Name of the data set.
        names: Method of each row.
        cells: Results by row, kind of noise and rate, then by seed.
    """

    dataset: str = ""
    names: dict[str, str] = field(default_factory=dict)
    cells: dict[tuple[str, str, float], dict[int, Result]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def kinds(self) -> list[str]:
        """Kinds of noise; "none" only if there is nothing else."""
        kinds = sorted({kind for _, kind, _ in self.cells}, key=NOISE.index)
        return [kind for kind in kinds if kind != "none"] or kinds

    def rates(self, kind: str) -> list[float]:
        """Return the rates recorded for a kind, with 0 where cells without noise are recorded."""
        return sorted({rate for _, other, rate in self.cells if other in (kind, "none")})

    def results(self, method: str, kind: str, rate: float) -> dict[int, Result]:
        """Return results by seed; at rate 0 all kinds share the cells without noise."""
        return self.cells.get((method, "none" if rate == 0 else kind, rate), {})

    def mean(self, method: str, kind: str, rate: float, name: str = METRIC) -> Estimate | None:
        """Return the mean of a measure over seeds with its interval; None where there is none."""
        values = {seed: get(result, PATHS[name]) for seed, result in self.results(method, kind, rate).items()}
        known = {seed: [float(value)] for seed, value in values.items() if value is not None}
        return estimate(known) if known else None

    def best_plain(self, kind: str, rate: float) -> str | None:
        """Return the plain method with the best test mean."""
        plain = {m: e.mean for m in self.methods if _plain(self.names[m]) and (e := self.mean(m, kind, rate))}
        return max(plain, key=lambda m: plain[m]) if plain else None

    def compared(self, kind: str, rate: float) -> list[Comparison]:
        """Compare every method with the best plain one over users, with Holm's correction over these comparisons.

        The value of a user is the mean over the seeds that both methods have and that left the user a training click.
        """
        base = self.best_plain(kind, rate)
        if base is None:
            return []
        pairs = (self._pair(m, base, kind, rate) for m in self.methods if m != base)
        return correct([pair for pair in pairs if pair is not None])

    def _pair(self, first: str, second: str, kind: str, rate: float) -> Comparison | None:
        sides = self.results(first, kind, rate), self.results(second, kind, rate)
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            return None
        values = np.array([[unpack(side[seed]["users"]) for seed in seeds] for side in sides])
        values[:, np.isnan(values).any(0)] = np.nan
        means = np.nanmean(values[:, :, ~np.isnan(values[0]).all(0)], axis=1)
        users = np.arange(means.shape[1])
        if len(users) < 2:
            return None
        one, two = (Evaluation(users, {METRIC: mean}, {METRIC: float(mean.mean())}, "train") for mean in means)
        return compare(one, two, METRIC, names=(first, second))


def _plain(name: str) -> bool:
    return name in registry.names("recommenders") and bool(registry.load("recommenders", name).plain)


def sections(records: Sequence[Mapping[str, Any]]) -> list[Recommendations]:
    """Group records into sections, in the order of the suite; without one by data set, rows in that of the methods."""
    variants: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for record in records:
        config = record["config"]
        variants[record.get("row") or label(config)].add((config["trials"], config["version"]))
    grouped: dict[tuple[str, ...], Recommendations] = {}
    for record in records:
        config, grid = record["config"], record.get("grid", "")
        key = (grid, config["dataset"], config["data"], json.dumps(config["split_seed"]), config["select"])
        if key not in grouped:
            title = f"{config['dataset']}, {config['select']} validation, data {config['data'][:8]}"
            title += f", split seed {config['split_seed']}" if config["split_seed"] else ""
            grouped[key] = Recommendations(title, grid, dataset=config["dataset"])
        section, row = grouped[key], record.get("row") or label(config)
        if len(variants[row]) > 1:
            row += f" ({config['trials']} trials, version {config['version']})"
        if row not in section.names:
            section.methods.append(row)
            section.names[row] = config["method"]
        noise = config["noise"]
        section.cells[row, noise["kind"], float(noise["rate"])][config["seed"]] = record["result"]
    if any(key[0] for key in grouped):
        return list(grouped.values())
    order = {name: place for place, name in enumerate(registry.names("recommenders"))}
    for section in grouped.values():
        names = section.names
        section.methods.sort(key=lambda row: (order.get(names[row], len(order)), row))
    return [grouped[key] for key in sorted(grouped)]


def render(section: Recommendations) -> Iterator[RenderableType]:
    """Yield the tables of a section: accuracy over rates, then each rate with its comparisons."""
    points: dict[tuple[str, float], None] = {}
    for kind in section.kinds:
        rates = section.rates(kind)
        points |= dict.fromkeys(("none" if rate == 0 else kind, rate) for rate in rates)
        if len(rates) > 1:
            note = "mean over seeds ± half a 95 % interval; bold: best of the rate"
            yield headline(f"Test {METRIC}, {kind} noise", note)
            table = columns("rate", [f"{rate:g}" for rate in rates], fold=True)
            best_rows(table, {m: [section.mean(m, kind, rate) for rate in rates] for m in section.methods}, _text)
            yield table
    for point in points:
        yield from _point(section, *point)
        yield from _comparisons(section, *point)


def _noise_text(kind: str, rate: float) -> str:
    return "as it is" if rate == 0 else f"{kind} noise at rate {rate:g}"


def _point(section: Recommendations, kind: str, rate: float) -> Iterator[RenderableType]:
    results = {m: by_seed for m in section.methods if (by_seed := section.results(m, kind, rate))}
    trials = [len(r["trials"]) for by_seed in results.values() for r in by_seed.values() if "trials" in r]
    note = (
        f"means over {span(map(len, results.values()))} seed(s) ± half a 95 % interval; settings chosen on validation"
    )
    note += f", at most {max(trials)} trials a method" if trials else ""
    note += f";\nepoch: {RULE};\nbest epoch and its {METRIC}: what is best on the test part itself, of the epochs run"
    yield headline(f"{section.dataset}, {_noise_text(kind, rate)}", note)
    digits = {"recall@20": 4, "f1@10": 4, "coverage@20": 4, "validation": 4, "picked": 0, "oracle": 0}
    digits |= {"oracle_test": 4, "seconds": 0}
    heads = {"picked": "epoch", "oracle": "best epoch", "oracle_test": METRIC}
    table = columns("method", [METRIC, *(heads.get(name, name) for name in digits)], fold=True)
    means = {m: e for m in results if (e := section.mean(m, kind, rate))}
    best = max(e.mean for e in means.values())
    for method, score in means.items():
        others = {name: section.mean(method, kind, rate, name) for name in digits}
        cells = ["" if e is None else f"{e.mean:,.{digits[name]}f}" for name, e in others.items()]
        table.add_row(method, Text(_text(score), "bold" if score.mean == best else ""), *cells)
    yield table


def _comparisons(section: Recommendations, kind: str, rate: float) -> Iterator[RenderableType]:
    comparisons = section.compared(kind, rate)
    if not comparisons:
        return
    note = (
        f"paired over users, each the mean over seeds; ± half a 95 % interval; * p < {LEVEL:g} after Holm's correction"
        "\nover this table; better, worse: shares of users"
    )
    against = comparisons[0].second
    yield headline(f"Against {against}, the best plain method: {METRIC}, {_noise_text(kind, rate)}", note)
    table = columns("method", ["difference", "relative", "effect", "p", "better", "worse"], fold=True)
    for c in sorted(comparisons, key=lambda c: -c.difference):
        table.add_row(
            c.first,
            f"{c.difference:+.4f}±{(c.high - c.low) / 2:.4f}{'*' if c.p < LEVEL else ' '}",
            f"{100 * c.relative:+.1f} %",
            f"{c.effect:+.2f}",
            f"{c.p:.2g}",
            f"{100 * c.wins:.0f} %",
            f"{100 * c.losses:.0f} %",
        )
    yield table


def figure(sections: Sequence[Recommendations], styles: Mapping[str, plots.Style]) -> Figure:
    """Return a panel per data set and kind of noise: NDCG over rates, or side by side where there is one rate."""
    shown = [(section, kind) for section in sections for kind in section.kinds]
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    single = [section for section, kind in shown if len(section.rates(kind)) == 1]
    longest = max((len(method) for section in single for method in section.methods), default=0)
    size = (1.8 + 3.4 * across, 0.4 + (3.0 + 0.08 * longest) * down)
    drawing, panels = plots.panels(down, across, size)
    handles: dict[str, Any] = {}
    for panel in panels.flat[len(shown) :]:
        panel.axis("off")
    for panel, (section, kind) in zip(panels.flat, shown, strict=False):
        _panel(panel, section, kind, styles)
        if len(section.rates(kind)) > 1:
            handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    if handles:
        drawing.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, fontsize=8)
    return drawing


def _panel(panel: Any, section: Recommendations, kind: str, styles: Mapping[str, plots.Style]) -> None:
    rates = section.rates(kind)
    for place, method in enumerate(section.methods):
        points = [(rate, e) for rate in rates if (e := section.mean(method, kind, rate)) is not None]
        if points:
            x = [place] if len(rates) == 1 else [rate for rate, _ in points]
            plots.line(panel, x, [e.mean for _, e in points], [e.half_width or 0 for _, e in points], styles[method])
    if len(rates) == 1:
        # Markers repeat where there are many methods, so their names are at the axis.
        panel.set_xticks(range(len(section.methods)), section.methods)
        panel.tick_params(axis="x", rotation=90)
    else:
        panel.set_xlabel("rate, as a share of the clicks", fontsize=8)
        panel.locator_params(axis="x", nbins=5)
    noise = "as it is" if rates == [0.0] else f"{kind} noise" + (f" at {rates[0]:g}" if len(rates) == 1 else "")
    panel.set_title(f"{section.dataset}\n{noise}", fontsize=9)
    panel.set_ylabel(f"test {METRIC}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25)
