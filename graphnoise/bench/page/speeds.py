"""A file of speed records as part of the page: ratios to the library, beside the floor."""

from __future__ import annotations

import itertools
import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from graphnoise.bench.grid import option_text
from graphnoise.bench.page.figure import Figure
from graphnoise.bench.speed.operation import Operation
from graphnoise.errors import DataError

# Runs that do nothing but move the data that the operation has to move.
FLOORS = ("gather", "copy")
FLOOR, OTHER = "floor", "beside the library"
QUARTILES = ("low", "median", "high")
RATIO, FASTER = "time, library = 1", "times as fast as the baseline"
NOTES = {
    RATIO: "Time of each run over the time of the library (of out-of-core: in memory; of node-order: in the given "
    "order); above 1 (dashed) the library is faster. The floor only moves the data that the operation has to move. ",
    FASTER: "Above 1 (dashed) the library is faster. ",
}


def speed_figures(path: Path, operation: Operation, records: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Yield the figures of the ratios, where there are any.

    Args:
        path: The file, for messages and the command.
        operation: The operation.
        records: Its records, as `speed.operation.read` returns them.

    Raises:
        DataError: A ratio is no positive number.
    """
    rows: dict[str, list[dict[str, Any]]] = {FASTER: [], RATIO: []}
    for record, case in zip(records, _cases(records), strict=True):
        for measure, name, ratio in _ratios(record):
            low, median, high = (ratio.get(part) for part in QUARTILES)
            if not all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in (low, median, high)):
                raise DataError(f"{path}: expected positive numbers as the ratios of {name}, got {dict(ratio)}")
            rows[measure].append(
                {"case": case, "run": name, measure: median, "low": low, "high": high}
                | ({"role": FLOOR if name.split(",")[0] in FLOORS else OTHER} if measure == RATIO else {})
                | {"commit": str(record["environment"]["commit"])[:12], "recorded": _day(record)}
            )
    commands = "\n".join(_commands(path, operation, records))
    for measure, found in rows.items():
        if found:
            frame, note = pandas.DataFrame(found), f"{NOTES[measure]}Medians with quartiles."
            shared: dict[str, Any] = {"panel": ("case",), "interval": ("low", "high"), "log": True, "reference": 1.0}
            series = "role" if "role" in frame and frame["role"].nunique() > 1 else ""
            title = f"Speed: {operation.name}"
            yield Figure(title, note, frame, "points", measure, "run", series=series, command=commands, **shared)


def _day(record: Mapping[str, Any]) -> str:
    return str(record.get("recorded", ""))[:10]


def _cases(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what differs between the cases; of those that were measured again, how these differ."""
    keys = dict.fromkeys(key for record in records for key in record["case"])
    values = {key: [record["case"].get(key) for record in records] for key in keys}
    varying = [key for key in keys if len(set(map(str, values[key]))) > 1 and not isinstance(values[key][0], list)]
    alike: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        named = [(key, value) for key in varying if (value := record["case"].get(key)) not in (False, None)]
        # Of a flag, its name.
        words = [key if v is True else f"{key} {v:,}" if isinstance(v, int) else f"{key} {v}" for key, v in named]
        alike[", ".join(words) or "one case"].append(place)
    texts = [""] * len(records)
    for text, places in alike.items():
        here = [records[place]["environment"] for place in places]
        marks = [(f"commit {str(e['commit'])[:7]}", f"{e.get('instruction_set', '')} code") for e in here]
        several = [len(set(column)) > 1 for column in zip(*marks, strict=True)]
        for place, mark in zip(places, marks, strict=True):
            texts[place] = ", ".join([text, *itertools.compress(mark, several)])
    return texts


def _commands(path: Path, operation: Operation, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield commands that measure the cases: those that differ in one list of values have one command."""
    defaults, names = operation.options(root=None).values(protocol=False), operation.options.option_names()
    parts = [{key: (record["case"][key],) for key in defaults if key in record["case"]} for record in records]
    for key in (key for key, default in defaults.items() if isinstance(default, tuple)):
        alike: dict[Any, list[Any]] = defaultdict(list)
        for part in parts:
            alike[tuple((name, values) for name, values in part.items() if name != key)] += part.get(key, ())
        parts = [{**dict(rest), key: tuple(dict.fromkeys(values))} for rest, values in alike.items()]
    for part in parts:
        command = ["graphnoise", "bench", "speed", operation.name]
        for key, default in defaults.items():
            values = part.get(key, ())
            if values and values != (default if isinstance(default, tuple) else (default,)):
                command += [names[key], ",".join(map(option_text, values))]
        yield shlex.join([*command, "--out", path.name])


def _ratios(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield ratios by what they are of and the name of the run."""
    for name, entry in record.get("times", {}).items():
        if isinstance(entry.get("ratio"), Mapping):
            yield RATIO, name, entry["ratio"]
    if isinstance(record.get("of_copy"), Mapping):
        yield RATIO, "copy", record["of_copy"]
    # Of the time of a foreign baseline to those of runs.
    for name, ratio in (record.get("ratio") or {}).items():
        yield FASTER, name, ratio
