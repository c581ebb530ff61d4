"""Tables and plots of the recommender benchmark: means over seeds, and paired comparisons over users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType

from graphnoise.bench import options, plots, registry, report
from graphnoise.bench.record import get
from graphnoise.bench.report import LEVEL, NoiseSection, columns, decimal, headline, interval
from recsys.bench.data import NOISE, unpack
from recsys.evaluation import Evaluation
from recsys.significance import Comparison, compare, correct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Picks the hyper-parameters and the epoch, on validation.
METRIC = "ndcg@20"
METRICS = (METRIC, "recall@20", "f1@10", "coverage@20")
RULE = "best validation ndcg@20, the earliest of equal ones"
# What a cell does, and how tables say it.
PROCEDURES = {
    "honest": "settings chosen on validation",
    "refit": "settings and epochs chosen on validation, then trained on training and validation",
    "published": "settings as given, trained on the whole training part",
}
# Paths within results: what tables compare, and further columns with heading and digits.
SCORE = f"test.{METRIC}"
COLUMNS = {
    **{f"test.{metric}": (metric, 4) for metric in METRICS[1:]},
    "validation": ("validation", 4),
    "epochs.picked": ("epoch", 0),
    "epochs.oracle": ("best epoch", 0),
    "epochs.oracle_test": (METRIC, 4),
    "run.seconds": ("seconds", 0),
}
_text = partial(interval, factor=1.0, digits=4)


def label(config: Mapping[str, Any]) -> str:
    """Return the label of a row without a name of its own, as in `linear:low_pass=0`."""
    return options.text(config["method"], dict(sorted(config["fixed"].items())))


@dataclass
class Recommendations(NoiseSection):
    """Cells of one data set, split and kind of validation.

    Attributes:
        names: Method of each row.
    """

    names: dict[str, str] = field(default_factory=dict)
    draw = "seed"
    kind_order = NOISE

    def best_plain(self, kind: str, rate: float) -> str | None:
        """Return the plain method with the best test mean."""
        plain = {
            m: e.mean for m in self.methods if _plain(self.names[m]) and (e := self.estimate(m, kind, rate, SCORE))
        }
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
        sides = [
            {record["config"]["seed"]: record["result"]["users"] for record in self.records(method, kind, rate)}
            for method in (first, second)
        ]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            return None
        values = np.array([[unpack(side[seed]) for seed in seeds] for side in sides])
        values[:, np.isnan(values).any(0)] = np.nan
        means = np.nanmean(values[:, :, ~np.isnan(values[0]).all(0)], axis=1)
        users = np.arange(means.shape[1])
        if len(users) < 2:
            return None
        one, two = (Evaluation(users, {METRIC: mean}, {METRIC: float(mean.mean())}, "train") for mean in means)
        return compare(one, two, METRIC, names=(first, second))


def _selection(config: Mapping[str, Any]) -> str:
    """Return what titles say of how settings are chosen."""
    chosen = {
        "honest": "{} validation",
        "refit": "{} validation, trained again with it",
        "published": "published protocol",
    }
    return chosen[config["procedure"]].format(config["select"])


def _plain(name: str) -> bool:
    return name in registry.names("recommenders") and bool(registry.load("recommenders", name).plain)


def sections(records: Sequence[Mapping[str, Any]]) -> list[Recommendations]:
    """Group records into sections; without a suite, rows are in the order of the installed methods."""
    variants: dict[tuple[str, str], set[tuple[Any, ...]]] = defaultdict(set)
    for record in records:
        config = record["config"]
        variants[config["procedure"], record.get("row") or label(config)].add((config["trials"], config["version"]))
    order = {name: place for place, name in enumerate(registry.names("recommenders"))}
    result = []
    for title, grid, group in report.by_setting(records, _selection):
        section = Recommendations(title, grid)
        for record in group:
            config, row = record["config"], record.get("row") or label(record["config"])
            if len(variants[config["procedure"], row]) > 1:
                row += f" ({config['trials']} trials, version {config['version']})"
            section.names[row] = config["method"]
            section.cells[row, config["noise"]["kind"], float(config["noise"]["rate"])].append(record)
        places = {row: (order.get(name, len(order)), row) for row, name in section.names.items()}
        section.methods = list(places) if grid else sorted(places, key=places.__getitem__)
        result.append(section)
    return result


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
            report.best_rows(table, section.estimates(kind, SCORE), _text)
            yield table
    for point in points:
        yield from _point(section, *point)
        yield from _comparisons(section, *point)


def _noise(kind: str, rate: float) -> str:
    return "as it is" if rate == 0 else f"{kind} noise at rate {rate:g}"


def _point(section: Recommendations, kind: str, rate: float) -> Iterator[RenderableType]:
    records = [r for r in (section.records(m, kind, rate) for m in section.methods) if r]
    results = [record["result"] for of_row in records for record in of_row]
    trials = [len(result["trials"]) for result in results if "trials" in result]
    shown = {
        path: column for path, column in COLUMNS.items() if any(get(result, path) is not None for result in results)
    }
    note = f"means over {report.span(map(len, records))} seed(s) ± half a 95 % interval; "
    note += PROCEDURES[records[0][0]["config"]["procedure"]]
    note += f", at most {max(trials)} trials a method" if any(trials) else ""
    if "epochs.picked" in shown:
        note += (
            f";\nepoch: {RULE};\nbest epoch and its {METRIC}: what is best on the test part itself, of the epochs run"
        )
    yield headline(f"{section.dataset}, {_noise(kind, rate)}", note)
    table = columns("method", [METRIC, *(heading for heading, _ in shown.values())], fold=True)
    means = {m: [e] for m in section.methods if (e := section.estimate(m, kind, rate, SCORE))}

    def others(method: str) -> Iterator[str]:
        for path, (_, digits) in shown.items():
            yield decimal(section.estimate(method, kind, rate, path), 1, digits)

    report.best_rows(table, means, _text, others)
    yield table


def _comparisons(section: Recommendations, kind: str, rate: float) -> Iterator[RenderableType]:
    comparisons = section.compared(kind, rate)
    if not comparisons:
        return
    note = (
        f"paired over users, each the mean over seeds; ± half a 95 % interval; * p < {LEVEL:g} after Holm's correction"
        "\nover this table; better, worse: shares of users"
    )
    yield headline(f"Against {comparisons[0].second}, the best plain method: {METRIC}, {_noise(kind, rate)}", note)
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


def figures(sections: Sequence[Recommendations], styles: Mapping[str, plots.Style]) -> dict[str, Figure]:
    """Return a figure with a row of panels per data set, one for each kind of noise."""
    return {"": plots.over_rates(sections, SCORE, styles, ("rate, as a share of the clicks", f"test {METRIC}"))}
