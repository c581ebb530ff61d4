"""Tables of the speed of ERASE, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.speed.erase_cases import SYNTHETIC
from graphnoise.bench.speed.erase_stages import STAGES
from graphnoise.bench.speed.report import _heading, _ratio, _table, duration

Record = dict[str, Any]


def render(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Yield the tables: for each case times, memory and stages; then the cost by size."""
    for record in records:
        yield _heading(title(record))
        yield _times(record)
        yield Text("")
        yield _stages(record)
        yield from _notes(record)
    for group in _groups(records):
        yield _heading("Cost of an epoch as the graph grows, at the same degree: time ~ nodes^exponent")
        yield _growth(group)


def title(record: Record) -> str:
    """Return graph, settings and threads."""
    case, shown = record["case"], record["settings"]
    words = [f"{case['dataset']}: {case['nodes']:,} nodes, {case['arcs']:,} arcs, {case['features']:,} features"]
    words += [f"{case['classes']} classes", case["preset"], f"{shown['encoder']} {shown['hidden']}/{shown['width']}"]
    size = case["overrides"].get("batch_size", shown["batch_size"])
    words.append("full batch" if size is None else f"mini-batches of {size:,}")
    return ", ".join([*words, "float32", f"{case['threads']} thread{'s' * (case['threads'] > 1)}"])


def _times(record: Record) -> Table:
    dense = "dense" in record["times"]
    table = _table("", "an epoch", *["dense over ours"] * dense, "peak memory", "epochs", left=1)
    for name in ["ours"] + ["dense"] * dense:
        entry = record["times"][name]
        row: list[str | Text] = [name, duration(entry)]
        if dense:
            row.append(_ratio(entry) if name == "dense" else "")
        held = record["memory"].get(name, {})
        table.add_row(*row, size(held["peak"]) if "peak" in held else "–", str(len(entry["samples"])))
    return table


def _stages(record: Record) -> Table:
    table = _table("stage", "", "mean", "share", left=2)
    total = sum(record["stages"].values())
    for stage in sorted(record["stages"], key=[*STAGES].index):
        seconds = record["stages"][stage]
        spread = {"seconds": dict.fromkeys(("low", "median", "high"), seconds)}
        shown = duration(spread).plain.rpartition(" ")[0]
        table.add_row(stage, Text(STAGES[stage], style="dim"), shown, f"{100 * seconds / total:.0f} %")
    return table


def _notes(record: Record) -> Iterator[RenderableType]:
    timed, of = record["batches"]["timed"], record["batches"]["of"]
    if timed < of:
        yield Text(f"extrapolated: {timed} of the {of:,} mini-batches of an epoch were timed", style="bold")
    if record["memory"]:
        yield Text("peak memory: of a process of its own, above its imports, with the data", style="dim")
    for name, entry in sorted(record["memory"].items()):
        if "failed" in entry:
            yield Text(f"memory of {name} is not known: {entry['failed']}", style="bold")
    for note in record["notes"]:
        yield Text(f"left out: {note}" if note.startswith("the dense form") else note, style="dim")
    if record["load"] > record["environment"]["cores"] + 0.5:
        yield Text("more ran than there are cores: measure again", style="bold")


def _groups(records: Sequence[Record]) -> list[list[Record]]:
    """Return records of drawn graphs that differ in size only, two sizes at least, those of one machine and commit."""
    groups: dict[str, dict[int, Record]] = {}
    for record in records:
        case, here = record["case"], record["environment"]
        if case["dataset"] == SYNTHETIC:
            same = {name: value for name, value in case.items() if name not in ("nodes", "arcs")}
            degree = math.floor(1000 * case["arcs"] / case["nodes"] + 0.5)
            name = repr((degree, sorted(same.items(), key=str), here["commit"], here["processor"]))
            groups.setdefault(name, {})[case["nodes"]] = record
    return [[group[nodes] for nodes in sorted(group)] for group in groups.values() if len(group) > 1]


def _growth(group: Sequence[Record]) -> Table:
    table = _table("nodes", "arcs", "ours, an epoch", "a node", "exponent", "dense", "peak memory")
    before: Record | None = None
    for record in group:
        case, times = record["case"], record["times"]
        seconds = times["ours"]["seconds"]["median"]
        row: list[str | Text] = [f"{case['nodes']:,}", f"{case['arcs']:,}", duration(times["ours"])]
        row += [f"{1e6 * seconds / case['nodes']:.3g} µs", "" if before is None else f"{exponent(before, record):.2f}"]
        row.append(duration(times["dense"]) if "dense" in times else "–")
        held = record["memory"].get("ours", {})
        table.add_row(*row, size(held["peak"]) if "peak" in held else "–")
        before = record
    if len(group) > 2:
        table.add_row("", "", "", "in all", f"{exponent(group[0], group[-1]):.2f}", "", "", style="bold")
    return table


def exponent(small: Record, large: Record) -> float:
    """Return e of time ~ nodes^e between two records."""
    times = [record["times"]["ours"]["seconds"]["median"] for record in (small, large)]
    return math.log(times[1] / times[0]) / math.log(large["case"]["nodes"] / small["case"]["nodes"])


def size(count: float) -> str:
    """Return bytes in a unit that fits.

    Example:
        >>> size(86_237_184), size(3.2e9)
        ('86 MB', '3.20 GB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
