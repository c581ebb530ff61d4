"""Records of cases in one JSON file, written whole after every case, so that a stopped run goes on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphnoise.bench.environment import environment
from graphnoise.bench.speed.cases import DEGREES, DEVICES, DTYPES, KINDS, from_dict
from graphnoise.bench.store import cell_key
from graphnoise.errors import DataError
from graphnoise.io import atomic_write
from graphnoise.kernels import _native

FORMAT = 1


class Book:
    """The records of a file, by key.

    Args:
        path: The file; it need not exist.

    Raises:
        DataError: It is there and holds something else, or cannot be read.

    Example:
        >>> import tempfile
        >>> from graphnoise.bench.speed.cases import Case, to_dict
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     book = Book(Path(folder) / "speed.json")
        ...     case = to_dict(Case(10, 20))
        ...     book.add({"key": "a", "case": case, "environment": place(), "skipped": "too large"})
        ...     Book(book.path).get("a")["skipped"]
        'too large'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: dict[str, dict[str, Any]] = {}
        try:
            text = path.read_text()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from error
        try:
            held = json.loads(text)
            if held["format"] != FORMAT:
                raise DataError(f"{path}: expected speed records of format {FORMAT}, got format {held['format']!r}")
            self._records = {record["key"]: record for record in held["records"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected speed records, got another file (choose another with --out)") from error
        for name, record in self._records.items():
            try:
                _check(record)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                wrong = f"record {name!r} is damaged ({type(error).__name__}: {error})"
                raise DataError(f"{path}: expected whole speed records, and {wrong}") from error

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the record of this key, or None."""
        return self._records.get(key)

    def all(self) -> list[dict[str, Any]]:
        """Return all records, in the order they were made."""
        return list(self._records.values())

    def add(self, record: dict[str, Any]) -> None:
        """Write a record, in place of one with the same key.

        Raises:
            DataError: The file cannot be written.
        """
        self._records.pop(record["key"], None)
        self._records[record["key"]] = record
        lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in self._records.values())
        with atomic_write(self.path, "; choose another file with --out") as file:
            file.write(f'{{"format": {FORMAT}, "records": [\n{lines}\n]}}\n'.encode())


def _check(record: Mapping[str, Any]) -> None:
    """Look at all that tables and pictures read; whatever error that raises, the record is damaged."""
    case, here = from_dict(record["case"]), record["environment"]
    for known, value in ((DEGREES, case.degrees), (DTYPES, case.dtype), (DEVICES, case.device), (KINDS, case.kind)):
        if value not in known:
            raise ValueError(value)
    for number in (case.nodes, case.arcs, case.width, case.threads, case.steps):
        if number < 1:
            raise ValueError(number)
    words = [here["processor"], *here["versions"].values(), here["versions"]["torch"], here["versions"]["scipy"]]
    words += [here["commit"] or "", record.get("skipped", "")]
    numbers = [here["cores"], record.get("load", 0)]
    if "skipped" not in record:
        words += [record["tier"], *record["notes"].values(), *record["variants"].values(), *record["failures"]]
        spreads = [record["times"]["ours"]["seconds"]]
        for name, entry in record["times"].items():
            spreads += [entry["seconds"]] + ([entry["ratio"]] if name not in ("ours", "copy") else [])
        if "bandwidth" in record:
            spreads += [record["bandwidth"]["ours"], record["bandwidth"]["share"]]
        numbers += [spread[name] for spread in spreads for name in ("low", "median", "high")]
    for entry, kind in [*((word, str) for word in words), *((number, int | float) for number in numbers)]:
        if not isinstance(entry, kind):
            raise TypeError(repr(entry)[:40])


def place() -> dict[str, Any]:
    """Return machine, versions and commit, and the instructions that the native tier takes."""
    return {**environment(), "instruction_set": _native.instruction_set()}


def key(case: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Name a record: what was measured, how, by which code, on what."""
    here = place()
    where = {name: here[name] for name in ("commit", "processor", "cores", "python", "versions", "instruction_set")}
    return cell_key({"format": FORMAT, "case": case, "protocol": protocol, "place": where, "code": _code()})


@functools.cache
def _code() -> str:
    """Return a hash of the compiled code, which no commit tells, and of the rest where files were changed."""
    top, commit = Path(__file__).parents[2], environment()["commit"]
    files = [Path(_native.__file__ or top)]
    if commit is None or commit.endswith("+"):
        files += [top / "propagation.py", top / "graph.py", top / "checks.py", *sorted((top / "kernels").glob("*.py"))]
    return _hash(files)


def _hash(files: Iterable[Path]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()
