"""Tables of the node benchmark, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .results import Section
from .statistics import Estimate, Values, compare, estimate

LEVEL = 0.05


def render(section: Section) -> Iterator[RenderableType]:
    """Yield the tables of a section: accuracy, variance, tests, and what happened to wrongly labelled nodes."""
    yield Text(f"\n{section.title}", style="bold")
    for kind in section.kinds:
        rates = section.rates(kind)
        points = {
            rate: {m: values for m in section.methods if (values := section.values(m, kind, rate))} for rate in rates
        }
        estimates = {rate: {m: estimate(values) for m, values in at.items()} for rate, at in points.items()}
        yield _accuracy(section, kind, estimates)
        if any(len(at) > 1 for at in points.values()):
            yield _tests(kind, points)
        yield _variance(section, kind, estimates)
        yield _fate(section, kind, rates)


def _grid(title: str, first: str, rates: list[float], caption: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", title_style="bold")
    table.add_column(first, no_wrap=True)
    for rate in rates:
        table.add_column(f"{rate:g}", justify="right", no_wrap=True)
    return table


def _accuracy(section: Section, kind: str, estimates: dict[float, dict[str, Estimate]]) -> RenderableType:
    draws = sorted({e.draws for at in estimates.values() for e in at.values()})
    inits = sorted({e.inits for at in estimates.values() for e in at.values()})
    caption = (
        f"mean ± half a 95 % t-interval over noise draws ({_span(draws)} draws, {_span(inits)} initialisations each); "
        "best mean bold"
    )
    table = _grid(f"Test accuracy in %, {kind} noise, by nominal rate", "method", list(estimates), caption)
    best = {rate: max((e.mean for e in at.values()), default=0.0) for rate, at in estimates.items()}
    for method in section.methods:
        row = []
        for rate, at in estimates.items():
            e = at.get(method)
            if e is None:
                row.append("")
                continue
            text = f"{100 * e.mean:.1f}" + ("" if e.half_width is None else f" ± {100 * e.half_width:.1f}")
            row.append(f"[bold]{text}[/bold]" if e.mean == best[rate] else text)
        table.add_row(method, *row)
    table.add_section()
    table.add_row("realised rate", *(_realised(section, kind, rate) for rate in estimates), style="dim")
    return table


def _realised(section: Section, kind: str, rate: float) -> str:
    rates = [r["realised_rate"]["train"] for m in section.methods for r in section.records(m, kind, rate)]
    return f"{100 * min(rates):.0f}–{100 * max(rates):.0f} %" if rates else ""


def _span(counts: list[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _tests(kind: str, points: dict[float, dict[str, Values]]) -> RenderableType:
    table = _grid(
        f"Paired differences in points, {kind} noise",
        "pair",
        list(points),
        f"paired t-test over draws; * p < {LEVEL:g} after Holm's correction over the pairs of a rate",
    )
    found = {rate: {(c.first, c.second): c for c in compare(at)} for rate, at in points.items()}
    for pair in dict.fromkeys(pair for at in found.values() for pair in at):
        row = []
        for at in found.values():
            c = at.get(pair)
            mark = "*" if c is not None and c.p is not None and c.p < LEVEL else " "
            row.append("" if c is None else f"{100 * c.difference:+.1f}{mark}")
        table.add_row(f"{pair[0]} − {pair[1]}", *row)
    return table


def _variance(section: Section, kind: str, estimates: dict[float, dict[str, Estimate]]) -> RenderableType:
    shares = {m: [at[m].draw_share if m in at else None for at in estimates.values()] for m in section.methods}
    if all(share is None for row in shares.values() for share in row):
        return Text(
            f"Variance, {kind} noise: draws and initialisations cannot be told apart; run with --inits 2 or more.",
            style="dim",
        )
    table = _grid(
        f"Share of the variance of a single run that is the noise draw, in %, {kind} noise",
        "method",
        list(estimates),
        "the rest is the initialisation; empty where it cannot be told",
    )
    for method, row in shares.items():
        table.add_row(method, *("" if share is None else f"{100 * share:.0f}" for share in row))
    return table


def _fate(section: Section, kind: str, rates: list[float]) -> RenderableType:
    """Show where wrong labels led, at the highest rate."""
    rate = max(rates)
    columns = {
        "train, right label": "train_right",
        "train, wrong label": "train_wrong",
        "follows wrong label": "train_misled",
        "test, near right": "test_near_right",
        "test, near wrong": "test_near_wrong",
        "test, far": "test_far",
    }
    table = Table(
        title=f"Where the wrong labels lead, {kind} noise at rate {rate:g}",
        caption="accuracy in % on training nodes by label and on test nodes by labelled neighbours; "
        "third column: wrongly labelled training nodes predicted as their wrong label",
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    table.add_column("method", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for method in section.methods:
        values = [section.values(method, kind, rate, measure) for measure in columns.values()]
        table.add_row(method, *(f"{100 * estimate(v).mean:.1f}" if v else "" for v in values))
    return Group(table, Text())
