"""Records and tables of the speed of local clustering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.speed.cluster_cases import PEERS
from graphnoise.bench.speed.cluster_run import PARTS
from graphnoise.bench.speed.files import Kind
from graphnoise.bench.speed.report import _heading, _ratio, _table, duration

Record = dict[str, Any]


def _check(record: Mapping[str, Any]) -> None:
    here = record["environment"]
    words = [record["key"], record["part"], record["case"], here["processor"], here["versions"]["torch"]]
    words += [here["versions"]["scipy"], here["commit"] or "", *record.get("notes", {}).values()]
    numbers = [here["cores"], record["load"], record["nodes"], record["graph_arcs"]]
    spreads = [*record.get("seconds", {}).values(), *record.get("ratio", {}).values()]
    for run in record.get("runs", {}).values():
        numbers += [run["arcs"], run["touched"], run["extra_memory"]]
        spreads.append(run["seconds"])
    if record["part"] not in PARTS or not spreads:
        raise ValueError(record["part"])
    numbers += [spread[name] for spread in spreads for name in ("low", "median", "high")]
    for value, kind in [*((word, str) for word in words), *((number, int | float) for number in numbers)]:
        if not isinstance(value, kind):
            raise TypeError(repr(value)[:40])


KIND = Kind("cluster", "speed records of local clustering", 1, _check)
is_one, read, add = KIND.is_one, KIND.read, KIND.add


def render(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Yield the tables: walks, many seeds at once, work as the graph grows."""
    parts = {part: [record for record in records if record["part"] == part] for part in PARTS}
    if parts["walks"]:
        yield _heading("Approximate PageRank, one seed after the other, one thread")
        note = (
            "a peer's column is its time over ours at no larger an error, within each round; of copy: 20 bytes an arc"
        )
        yield Text(note, style="dim")
        yield _walks(parts["walks"])
    for record in parts["batch"]:
        yield _heading(f"{record['sets']:,} seeds in one call, alpha 0.15, eps 1e-4, {record['nodes']:,} nodes")
        table = _table("threads", "time", "million arcs/s", left=1)
        for name, seconds in record["seconds"].items():
            rate = record["arcs"] / seconds["median"] / 1e6
            table.add_row(name, duration({"seconds": seconds}), f"{rate:.0f}")
        yield table
    if parts["locality"]:
        yield _heading("A cluster that stays the same while the graph around it grows, warm")
        yield _locality(parts["locality"])
    yield from _notes(records)


def _walks(records: Sequence[Record]) -> Table:
    names = [peer.name for peer in PEERS if any(peer.name in record["ratio"] for record in records)]
    table = _table("graph", "nodes", "a seed", "arcs of a seed", "million arcs/s", "of copy", *names, left=1)
    for record in records:
        count, rate = record["walk"]["seeds"], record["arcs_a_second"]
        each = {name: value / count for name, value in record["seconds"]["ours"].items()}
        row: list[str | Text] = [record["case"], f"{record['nodes']:,}", duration({"seconds": each})]
        row += [f"{record['arcs'] / count:,.0f}"]
        row += [
            Text.assemble(f"{rate['median'] / 1e6:.0f} ", (f"{rate['low'] / 1e6:.0f}–{rate['high'] / 1e6:.0f}", "dim"))
        ]
        row += [f"{100 * record['of_copy']['median']:.0f} %"]
        for name in names:
            known = record["ratio"].get(name)
            row.append(Text("–", style="dim") if known is None else _ratio({"ratio": known}))
        table.add_row(*row)
    return table


def _locality(records: Sequence[Record]) -> Table:
    table = _table("diffusion", "nodes", "time", "arcs read", "nodes touched", "extra memory", left=1)
    for name in records[0]["runs"]:
        for record in sorted(records, key=lambda one: int(one["nodes"])):
            run = record["runs"][name]
            counts = (f"{run['arcs']:,}", f"{run['touched']:,}", f"{run['extra_memory'] / 1e6:.1f} MB")
            table.add_row(name, f"{record['nodes']:,}", duration(run), *counts)
    return table


def _notes(records: Sequence[Record]) -> Iterator[RenderableType]:
    for text in dict.fromkeys(
        f"{name}: {reason}" for record in records for name, reason in record.get("notes", {}).items()
    ):
        yield Text(text, style="dim")
    if any(record["load"] > record["environment"]["cores"] + 0.5 for record in records):
        yield Text("more ran than there are cores: measure again", style="bold")
