"""A file of speed records as part of the page: ratios to the library, beside the floor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from graphnoise.bench.page.figure import Figure
from graphnoise.errors import DataError

# Runs that do nothing but move the data that the operation has to move.
FLOORS = ("gather", "copy")
FLOOR, OTHER = "floor", "beside the library"
QUARTILES = ("low", "median", "high")
RATIO = "time, library = 1"


def speed_figures(path: Path, kind: str, records: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Yield the figure of the ratios, where there are any.

    Args:
        path: The file, for messages and the command.
        kind: Name of the operation.
        records: Its records, as `speed.operation.read` returns them.

    Raises:
        DataError: A ratio is no positive number.
    """
    rows = []
    for record, case in zip(records, _cases(records), strict=True):
        for name, ratio in _ratios(record):
            low, median, high = (ratio.get(part) for part in QUARTILES)
            if not all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in (low, median, high)):
                raise DataError(f"{path}: expected positive numbers as the ratios of {name}, got {dict(ratio)}")
            role = FLOOR if name.split(",")[0] in FLOORS else OTHER
            rows.append(
                {"case": case, "run": name, RATIO: median, "low": low, "high": high, "role": role}
                | {
                    "commit": str(record["environment"]["commit"])[:12],
                    "recorded": str(record.get("recorded", ""))[:10],
                }
            )
    yield from _over_baseline(records, kind, path)
    if rows:
        note = (
            "Time of each run over the time of the library (of out-of-core: in memory; of node-order: in the given "
            "order); above 1 (dashed) the library is faster. The floor only moves the data that the operation has to "
            "move. Medians with quartiles."
        )
        columns: dict[str, Any] = {"x": RATIO, "y": "run", "series": "role", "panel": ("case",)}
        yield Figure(
            f"Speed: {kind}",
            *(note, pandas.DataFrame(rows), "points"),
            **columns,
            interval=("low", "high"),
            log=True,
            reference=1.0,
            command=f"graphnoise bench speed {kind} --out {path.name}",
        )


def _cases(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what differs between the cases, and the commit of those that were measured again."""
    keys = dict.fromkeys(key for record in records for key in record["case"])
    values = {key: [record["case"].get(key) for record in records] for key in keys}
    varying = [key for key in keys if len(set(map(str, values[key]))) > 1 and not isinstance(values[key][0], list)]
    texts: list[str] = []
    for record in records:
        named = [(key, value) for key in varying if (value := record["case"].get(key)) not in (False, None)]
        # Of a flag, its name.
        words = [key if value is True else f"{key} {value}" for key, value in named]
        text = ", ".join(words) or "one case"
        commit = str(record["environment"]["commit"])[:7]
        texts.append(f"{text} ({commit})" if text in texts else text)
    return texts


def _over_baseline(records: Sequence[Mapping[str, Any]], kind: str, path: Path) -> Iterator[Figure]:
    """Yield the figure of records whose ratios are those of a foreign baseline's time to the times of runs."""
    column = "times as fast as the baseline"
    rows = [
        {"case": case, "run": name, column: ratio["median"], "low": ratio["low"], "high": ratio["high"]}
        | {"recorded": str(record.get("recorded", ""))[:10]}
        for record, case in zip(records, _cases(records), strict=True)
        for name, ratio in dict(record.get("ratio") or {}).items()
    ]
    if rows:
        frame, note = pandas.DataFrame(rows), "Medians with quartiles; above 1 (dashed) the library is faster."
        shared: dict[str, Any] = {"panel": ("case",), "interval": ("low", "high"), "log": True, "reference": 1.0}
        command = f"graphnoise bench speed {kind} --out {path.name}"
        yield Figure(f"Speed: {kind}", note, frame, "points", column, "run", command=command, **shared)


def _ratios(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield ratios by the name of the run."""
    for name, entry in record["times"].items():
        if isinstance(entry.get("ratio"), Mapping):
            yield name, entry["ratio"]
    if isinstance(record.get("of_copy"), Mapping):
        yield "copy", record["of_copy"]
