"""Tables of `bench recommend`, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from graphnoise.bench.report import LEVEL, columns, headline
from graphnoise.statistics import Estimate
from recsys.bench.grid import METRIC, RULE
from recsys.bench.results import Section


def render(section: Section) -> Iterator[RenderableType]:
    """Yield the tables of a section: accuracy over rates, then each rate with its comparisons."""
    yield Text(f"\n{section.title}", style="bold reverse")
    for kind in section.kinds:
        rates = section.rates(kind)
        if len(rates) > 1:
            yield from _over_rates(section, kind, rates)
    done: set[tuple[str, float]] = set()
    for kind in section.kinds:
        for rate in section.rates(kind):
            point = ("none" if rate == 0 else kind, rate)
            if point not in done:
                done.add(point)
                yield from _point(section, *point)
                yield from _comparisons(section, *point)


def _text(mean: Estimate | None, digits: int = 4) -> str:
    if mean is None:
        return ""
    half = "" if mean.half_width is None else f"±{mean.half_width:.{digits}f}"
    return f"{mean.mean:.{digits}f}{half}"


def _words(kind: str, rate: float) -> str:
    return "as it is" if rate == 0 else f"{kind} noise at rate {rate:g}"


def _over_rates(section: Section, kind: str, rates: list[float]) -> Iterator[RenderableType]:
    yield headline(f"Test {METRIC}, {kind} noise", "mean over seeds ± half a 95 % interval; bold: best of the rate")
    table = columns("rate", [f"{rate:g}" for rate in rates], fold=True)
    means = {m: [section.mean(m, kind, rate) for rate in rates] for m in section.methods}
    best = [max(row[i].mean for row in means.values() if row[i]) for i in range(len(rates))]  # type: ignore[union-attr]
    for method, row in means.items():
        cells = [Text(_text(e), "bold" if e and e.mean == top else "") for e, top in zip(row, best, strict=True)]
        table.add_row(method, *cells)
    yield table


def _point(section: Section, kind: str, rate: float) -> Iterator[RenderableType]:
    there = [m for m in section.methods if section.results(m, kind, rate)]
    seeds = sorted({len(section.results(m, kind, rate)) for m in there})
    trials = sorted({len(r["trials"]) for m in there for r in section.results(m, kind, rate).values() if "trials" in r})
    span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}"
    note = f"means over {span} seed(s) ± half a 95 % interval; settings chosen on validation"
    note += f", at most {trials[-1]} trials a method" if trials else ""
    note += (
        f";\nepoch: {RULE};\nbest epoch and its {METRIC}: what the test part itself would have picked of the epochs run"
    )
    yield headline(f"{section.dataset}, {_words(kind, rate)}", note)
    names = [METRIC, "recall@20", "f1@10", "coverage@20", "validation", "epoch", "best epoch", METRIC, "seconds"]
    table = columns("method", names, fold=True)
    means = {m: e for m in there if (e := section.mean(m, kind, rate))}
    best = max(e.mean for e in means.values())
    for method, score in means.items():
        values = {n: section.mean(method, kind, rate, n) for n in ("recall@20", "f1@10", "coverage@20", "validation")}
        picked, oracle, seconds = (section.mean(method, kind, rate, n) for n in ("picked", "oracle", "seconds"))
        reached = section.mean(method, kind, rate, "oracle_test")
        table.add_row(
            method,
            Text(_text(score), "bold" if score.mean == best else ""),
            *("" if value is None else f"{value.mean:.4f}" for value in values.values()),
            *("" if value is None else f"{value.mean:.0f}" for value in (picked, oracle)),
            "" if reached is None else f"{reached.mean:.4f}",
            "" if seconds is None else f"{seconds.mean:,.0f}",
        )
    yield table


def _comparisons(section: Section, kind: str, rate: float) -> Iterator[RenderableType]:
    found = section.compared(kind, rate)
    if not found:
        return
    note = (
        f"paired over users, each the mean over seeds; ± half a 95 % interval; * p < {LEVEL:g} after Holm's correction"
        "\nover this table; better, worse: shares of users"
    )
    yield headline(f"Against {found[0].second}, the best plain method: {METRIC}, {_words(kind, rate)}", note)
    table = columns("method", ["difference", "relative", "effect", "p", "better", "worse"], fold=True)
    for one in sorted(found, key=lambda one: -one.difference):
        half = (one.high - one.low) / 2
        table.add_row(
            one.first,
            f"{one.difference:+.4f}±{half:.4f}{'*' if one.p < LEVEL else ' '}",
            f"{100 * one.relative:+.1f} %",
            f"{one.effect:+.2f}",
            f"{one.p:.2g}",
            f"{100 * one.wins:.0f} %",
            f"{100 * one.losses:.0f} %",
        )
    yield table
