"""Records and tables of the speed of recommenders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from graphnoise.bench.speed.files import Kind
from recsys.bench.speed.cases import DRAWS, PEER, from_dict
from recsys.bench.speed.run import FORMAT

Record = dict[str, Any]


def _check(record: Mapping[str, Any]) -> None:
    from_dict(record["case"])
    here = record["environment"]
    words = [
        record["key"],
        here["processor"],
        here["versions"]["torch"],
        here["versions"]["scipy"],
        here["commit"] or "",
    ]
    words += [here["instruction_set"], here["implicit"] or ""]
    numbers = [here["cores"], record["load"], record["protocol"]["rounds"], record["checks"]["steps"]]
    numbers += [value for values in record["checks"]["ndcg@20"].values() for value in values]
    numbers += [record["ranking"][name] for name in ("users", "items")]
    spreads = [*record["rates"].values(), *record["ratio"].values(), record["ranking"]["seconds"]]
    numbers += [entry[name] for entry in spreads for name in ("low", "median", "high")]
    for value, kind in [*((word, str) for word in words), *((number, int | float) for number in numbers)]:
        if not isinstance(value, kind):
            raise TypeError(repr(value)[:40])


KIND = Kind("recommend", "speed records of recommenders", FORMAT, _check)
is_one, read, add = KIND.is_one, KIND.read, KIND.add


def render(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Yield a table a record: samples a second, beside the peer; then what was checked."""
    for record in records:
        case = record["case"]
        words = [f"{case['users']:,} users × {case['items']:,} items, {case['interactions']:,} pairs"]
        words += [f"{case['factors']} factors", f"{case['threads']} thread{'s' * (case['threads'] > 1)}"]
        yield Text.assemble("\n", (", ".join(words), "bold"))
        yield _rates(record)
        ranked = record["ranking"]
        median, spread = _spread(ranked["seconds"], 1)
        yield Text(f"{ranked['users']:,} users × {ranked['items']:,} items ranked, the best 100: {median} s ({spread})")
        yield from _checks(record)
    if records:
        note = (
            "million samples a second, median and quartiles over rounds; over implicit: within each round. Draws that\n"
            "are skipped count, as implicit counts them. The last rows are samplers alone, draws that are verified"
        )
        yield Text(note, style="dim")


def _rates(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, column in enumerate(["", "million/s", "", "over implicit", ""]):
        table.add_column(column, justify="right" if place % 2 else "left", no_wrap=True)
    for name in [*(name for name in record["rates"] if name not in DRAWS), *DRAWS]:
        if name in record["rates"]:
            row = [name, *_spread(record["rates"][name], 1e-6)]
            row += _spread(record["ratio"][name], 1) if name in record["ratio"] else ["", ""]
            table.add_row(*row)
    return table


def _spread(entry: Mapping[str, float], scale: float) -> list[str]:
    low, median, high = (f"{entry[name] * scale:.3g}" for name in ("low", "median", "high"))
    return [median, f"{low}–{high}"]


def _checks(record: Record) -> Iterator[RenderableType]:
    found = {name: float(np.mean(values)) for name, values in record["checks"]["ndcg@20"].items() if values}
    if PEER in found:
        parts = [f"{name} {value:.4f}" for name, value in found.items()]
        yield Text(f"NDCG@20 at equal epochs on planted data: {', '.join(parts)}", style="dim")
    if not record["ratio"]:
        yield Text("left out: implicit is not installed", style="dim")
    if record["load"] > record["environment"]["cores"] + 0.5:
        yield Text("more ran than there are cores: measure again", style="bold")
