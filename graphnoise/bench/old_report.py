"""Tables of the node benchmark, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.results import Section
from graphnoise.statistics import Comparison, Estimate, Values, compare, estimate, holm

LEVEL = 0.05
FATES = {
    "right label": "train_right",
    "wrong label": "train_wrong",
    "follow it": "train_misled",
    "near right": "test_near_right",
    "near wrong": "test_near_wrong",
    "far": "test_far",
}


def render(section: Section) -> Iterator[RenderableType]:
    """Yield the tables of a section: accuracy, tests, variance, and where the wrong labels led."""
    yield Text(f"\n{section.title}", style="bold reverse")
    for kind in section.kinds:
        rates = section.rates(kind)
        points = {
            rate: {m: values for m in section.methods if (values := section.values(m, kind, rate))} for rate in rates
        }
        estimates = {rate: {m: estimate(values) for m, values in at.items()} for rate, at in points.items()}
        yield from _accuracy(section, kind, estimates)
        if any(len(at) > 1 for at in points.values()):
            yield from _tests(section, kind, points)
        yield from _variance(section, kind, estimates)
        yield from _fate(section, kind, max(rates))


def columns(first: str, others: list[str], *, fold: bool = False) -> Table:
    """Return an empty table: a first column for names, the others for numbers.

    With `fold`, long names take several lines where a table is too wide, so that no number is cut.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def headline(text: str, note: str) -> Text:
    """Return what stands above a table."""
    return Text.assemble("\n", (text, "bold"), "\n", (note, "dim"))


def _by_rate(rates: list[float]) -> Table:
    return columns("rate", [f"{rate:g}" for rate in rates])


def _accuracy(section: Section, kind: str, estimates: dict[float, dict[str, Estimate]]) -> Iterator[RenderableType]:
    draws = sorted({e.draws for at in estimates.values() for e in at.values()})
    inits = sorted({e.inits for at in estimates.values() for e in at.values()})
    note = (
        f"mean ± half a 95 % t-interval over {_span(draws)} noise draws, {_span(inits)} initialisation(s) each;\n"
        "last row: share of wrong training labels, in %"
    )
    yield headline(f"Test accuracy in %, {kind} noise", note)
    table = _by_rate(list(estimates))
    best = {rate: max(e.mean for e in at.values()) for rate, at in estimates.items()}
    for method in section.methods:
        row = []
        for rate, at in estimates.items():
            e = at.get(method)
            if e is None:
                row.append(Text())
                continue
            text = f"{100 * e.mean:.1f}" + ("" if e.half_width is None else f"±{100 * e.half_width:.1f}")
            row.append(Text(text, style="bold" if e.mean == best[rate] else ""))
        table.add_row(method, *row)
    table.add_row("wrong labels", *(_realised(section, kind, rate) for rate in estimates), style="dim")
    yield table


def _realised(section: Section, kind: str, rate: float) -> str:
    rates = [r["realised_rate"]["train"] for m in section.methods for r in section.records(m, kind, rate)]
    low, high = round(100 * min(rates)), round(100 * max(rates))
    return f"{low}–{high}" if low < high else f"{low}"


def _span(counts: list[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _tests(section: Section, kind: str, points: dict[float, dict[str, Values]]) -> Iterator[RenderableType]:
    family = f"comparisons with {section.reference!r} at a rate" if section.reference else "pairs of a rate"
    note = f"paired t-test over draws; * p < {LEVEL:g} after Holm's correction over the {family}"
    yield headline(f"Paired differences in points, {kind} noise", note)
    table = _by_rate(list(points))
    found = {rate: {(c.first, c.second): c for c in _compared(at, section.reference)} for rate, at in points.items()}
    for pair in dict.fromkeys(pair for at in found.values() for pair in at):
        row = []
        for at in found.values():
            c = at.get(pair)
            mark = "*" if c is not None and c.p is not None and c.p < LEVEL else " "
            row.append("" if c is None else f"{100 * c.difference:+.1f}{mark}")
        table.add_row(f"{pair[0]} − {pair[1]}", *row)
    yield table


def _compared(methods: Mapping[str, Values], reference: str) -> list[Comparison]:
    """Compare every two methods; with a reference, every other one with it, as one family for Holm's correction."""
    if not reference:
        return compare(methods)
    if reference not in methods:
        return []
    others = [name for name in methods if name != reference]
    found = [c for name in others for c in compare({name: methods[name], reference: methods[reference]})]
    tested = [c for c in found if c.p is not None]
    corrected = iter(holm([c.p for c in tested if c.p is not None]).tolist())
    return [c if c.p is None else replace(c, p=next(corrected)) for c in found]


def _variance(section: Section, kind: str, estimates: dict[float, dict[str, Estimate]]) -> Iterator[RenderableType]:
    shares = {m: [at[m].draw_share if m in at else None for at in estimates.values()] for m in section.methods}
    title = f"Variance of a single run that is the noise draw, in %, {kind} noise"
    if all(share is None for row in shares.values() for share in row):
        yield headline(title, "cannot be told from the initialisation: that needs --draws 2 and --inits 2 at least")
        return
    yield headline(title, "the rest is the initialisation; empty where it cannot be told")
    table = _by_rate(list(estimates))
    for method, row in shares.items():
        table.add_row(method, *("" if share is None else f"{100 * share:.0f}" for share in row))
    yield table


def _fate(section: Section, kind: str, rate: float) -> Iterator[RenderableType]:
    note = (
        "accuracy in % on training nodes with right and wrong labels; wrongly labelled ones predicted as that label;\n"
        "accuracy on test nodes with rightly labelled neighbours only, with a wrongly labelled one, with none labelled"
    )
    yield headline(f"Where the wrong labels lead, {kind} noise at rate {rate:g}", note)
    table = columns("method", list(FATES))
    for method in section.methods:
        values = [section.values(method, kind, rate, measure) for measure in FATES.values()]
        table.add_row(method, *(f"{100 * estimate(v).mean:.1f}" if v else "" for v in values))
    yield table
