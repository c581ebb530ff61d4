"""Tables of measured cases, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.speed.cases import DEGREES, SIZES, Case, from_dict
from graphnoise.bench.speed.peers import PEERS

Record = dict[str, Any]
NOTE = (
    "per step: median and quartiles over rounds; a peer's column is its time over ours within each round (above 1:\n"
    "ours is faster); gather: only fetching the rows; GB/s: by the model of the gather, beside a copy in memory"
)


def title(case: Case, tier: str) -> str:
    """Return what the rows of a table have in common."""
    known = f"{case.size}: " if (case.nodes, case.arcs) in SIZES.values() else ""
    words = [f"{known}{case.nodes:,} nodes, {case.arcs:,} arcs", f"{case.degrees} degrees"]
    words += ["weighted" if case.weighted else "unweighted", case.dtype, f"tier {tier}"]
    words += [case.device] * (case.device != "cpu")
    words += ["forward and gradient"] * case.backward + ["right after a torch operator"] * case.busy
    return ", ".join(words)


def render(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Yield the tables: steps by graph, overhead of a call, time per arc by size."""
    steps = [record for record in records if record["case"]["kind"] == "step"]
    calls = [record for record in records if record["case"]["kind"] == "call"]
    groups: dict[str, list[Record]] = {}
    for record in steps:
        groups.setdefault(title(from_dict(record["case"]), record["tier"]), []).append(record)
    if steps:
        yield Text(NOTE, style="dim")
    for name, group in groups.items():
        yield _heading(name)
        yield _steps(group)
    if calls:
        yield _heading("A call of one step, width 1: what a call costs beside its arcs")
        yield _calls(calls)
    scaling = _scaling(steps)
    if scaling is not None:
        yield _heading("ns per arc and step, by size")
        yield scaling
    yield from _notes(records)


def _heading(text: str) -> Text:
    return Text.assemble("\n", (text, "bold"))


def _table(*columns: str, left: int = 0) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right", no_wrap=True)
    return table


def _steps(records: Sequence[Record]) -> Table:
    names = [name for name in (*PEERS, "gather") if any(name in record["times"] for record in records)]
    banded = any("bandwidth" in record for record in records)
    scaled = any("ours, 1 thread" in record["times"] for record in records)
    head = ["width", "threads", "ours, a step", *names, *["1 thread"] * scaled, *["GB/s", "of copy"] * banded]
    table = _table(*head)
    for record in sorted(records, key=lambda r: (r["case"]["width"], r["case"]["threads"])):
        times = record["times"]
        row: list[str | Text] = [str(record["case"]["width"]), str(record["case"]["threads"]), duration(times["ours"])]
        row += [_ratio(times[name]) if name in times else Text("–", style="dim") for name in names]
        if scaled:
            row.append(_ratio(times["ours, 1 thread"]) if "ours, 1 thread" in times else "")
        if banded:
            band = record.get("bandwidth")
            row += (
                [f"{band['ours']['median'] / 1e9:.1f}", f"{100 * band['share']['median']:.0f} %"] if band else ["", ""]
            )
        table.add_row(*row)
    return table


def _calls(records: Sequence[Record]) -> Table:
    table = _table("graph", "tier", "ours, a call", "addmm", left=2)
    for record in records:
        times = record["times"]
        graph = f"{record['case']['nodes']:,} nodes, {record['case']['arcs']:,} arcs"
        row = [graph, record["tier"], duration(times["ours"])]
        table.add_row(*row, _ratio(times["addmm"]) if "addmm" in times else Text("–", style="dim"))
    return table


def _scaling(records: Sequence[Record]) -> Table | None:
    """Return time per arc by size, where there is more than one size of anything."""
    sizes = sorted({(r["case"]["arcs"], r["case"]["nodes"]) for r in records})
    rows: dict[tuple[Any, ...], dict[tuple[int, int], float]] = {}
    for record in records:
        case = from_dict(record["case"])
        if case.backward or case.busy:
            continue
        words = (DEGREES.index(case.degrees), case.weighted, case.dtype, record["tier"], case.width, case.threads)
        per_arc = record["times"]["ours"]["seconds"]["median"] / case.arcs
        rows.setdefault(words, {})[case.arcs, case.nodes] = per_arc
    rows = {words: row for words, row in sorted(rows.items()) if len(row) > 1}
    if not rows:
        return None
    names = {pair[::-1]: name for name, pair in SIZES.items()}
    table = _table(
        "degrees", "weights", "type", "tier", "width", "threads", *(names.get(s, f"{s[0]:,}") for s in sizes), left=4
    )
    for (degrees, weighted, dtype, tier, width, threads), row in rows.items():
        cells = [f"{1e9 * row[size]:.3g}" if size in row else "" for size in sizes]
        table.add_row(
            DEGREES[degrees], "weighted" if weighted else "none", dtype, tier, str(width), str(threads), *cells
        )
    return table


def _notes(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Yield who is missing and why, and which variants stood for the peers, each once."""
    missing: dict[str, int] = {}
    variants: dict[str, dict[str, int]] = {}
    for record in records:
        for name, reason in record["notes"].items():
            if reason not in ("is for gradients", "has no gradient"):
                missing[f"{name}: {reason}"] = missing.get(f"{name}: {reason}", 0) + 1
        for name, variant in record["variants"].items():
            counts = variants.setdefault(name, {})
            counts[variant] = counts.get(variant, 0) + 1
    several = {name: counts for name, counts in variants.items() if name != "pyg" and name != "scipy"}
    if several:
        said = "; ".join(
            f"{name}: {', '.join(f'{v} ({k})' for v, k in counts.items())}" for name, counts in several.items()
        )
        yield Text(f"\nthe fastest variant of a peer stands for it, in so many cases: {said}", style="dim")
    if any(PEERS[name].single for record in records for name in record["times"] if name in PEERS):
        yield Text("scipy has one thread", style="dim")
    crowded = sum(record.get("load", 0) > record["environment"]["cores"] + 0.5 for record in records)
    if crowded:
        yield Text(f"more ran than there are cores in {crowded} of {len(records)} cases: measure again", style="bold")
    for text, count in missing.items():
        yield Text(f"left out in {count} of {len(records)} cases: {text}", style="dim")


def duration(entry: dict[str, Any]) -> Text:
    """Return a median with its quartiles in a unit that fits."""
    seconds = entry["seconds"]
    unit, factor = next(
        (u, f) for u, f in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds["median"] * f >= 1 or u == "µs"
    )
    low, median, high = (_short(seconds[name] * factor) for name in ("low", "median", "high"))
    return Text.assemble(f"{median} {unit} ", (f"{low}–{high}", "dim"))


def _ratio(entry: dict[str, Any]) -> Text:
    low, median, high = (_short(entry["ratio"][name]) for name in ("low", "median", "high"))
    return Text.assemble(f"{median} ", (f"{low}–{high}", "dim"))


def _short(value: float) -> str:
    """Return about three digits."""
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
