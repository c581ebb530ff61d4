"""Records of the speed of ERASE in one JSON file; a case measured again on the same code and machine is replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphnoise._files import writing
from graphnoise.errors import DataError

from .erase_cases import from_dict
from .erase_run import FORMAT
from .erase_stages import STAGES

KIND = "erase"


def is_one(path: Path) -> bool:
    """Return whether a file says that it holds records of ERASE; what it holds is not looked at."""
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(held, dict) and held.get("kind") == KIND


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, none where there is no file.

    Raises:
        DataError: It holds something else, or cannot be read.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from error
    try:
        held = json.loads(text)
        if held["kind"] != KIND or held["format"] != FORMAT:
            raise ValueError
        records: list[dict[str, Any]] = list(held["records"])
    except (ValueError, KeyError, TypeError) as error:
        other = "got another file (choose another with --out)"
        raise DataError(f"{path}: expected speed records of ERASE, {other}") from error
    for place, record in enumerate(records):
        try:
            _check(record)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            wrong = f"record {place + 1} is damaged ({type(error).__name__}: {error})"
            raise DataError(f"{path}: expected whole speed records of ERASE, and {wrong}") from error
    return records


def add(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, in place of one with the same key.

    Raises:
        DataError: The file holds something else, or cannot be written.
    """
    records = [held for held in read(path) if held["key"] != record["key"]]
    lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in [*records, record])
    with writing(path, "; choose another file with --out") as file:
        file.write(f'{{"format": {FORMAT}, "kind": "{KIND}", "records": [\n{lines}\n]}}\n'.encode())


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
