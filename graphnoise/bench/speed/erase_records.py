"""Records of the speed of ERASE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnoise.bench.speed.erase_cases import from_dict
from graphnoise.bench.speed.erase_run import FORMAT
from graphnoise.bench.speed.erase_stages import STAGES
from graphnoise.bench.speed.files import Kind


def _check(record: Mapping[str, Any]) -> None:
    """Look at all that tables read; whatever error that raises, the record is damaged."""
    from_dict(record["case"])
    here, shown, batches = record["environment"], record["settings"], record["batches"]
    words = [record["key"], here["processor"], here["versions"]["torch"], here["versions"]["scipy"]]
    words += [here["commit"] or "", shown["encoder"], *record["notes"]]
    numbers = [here["cores"], record["load"], shown["hidden"], shown["width"], batches["timed"], batches["of"]]
    numbers += [*record["stages"].values(), *record["gaps"].values()]
    for name, entry in record["times"].items():
        spreads = [entry["seconds"]] + ([entry["ratio"]] if name != "ours" else [])
        numbers += [spread[part] for spread in spreads for part in ("low", "median", "high")]
    if not set(record["stages"]) <= set(STAGES):
        raise ValueError("unknown stages")
    if not record["times"]["ours"]["seconds"]["median"] > 0 or not sum(record["stages"].values()) > 0:
        raise ValueError("no time")
    for entry in record["memory"].values():
        (words if "failed" in entry else numbers).append(entry["failed"] if "failed" in entry else entry["peak"])
    for value, kind in [*((word, str) for word in words), *((number, int | float) for number in numbers)]:
        if not isinstance(value, kind):
            raise TypeError(repr(value)[:40])


KIND = Kind("erase", "speed records of ERASE", FORMAT, _check)
is_one, read, add = KIND.is_one, KIND.read, KIND.add
