"""Records of cases in one JSON file, written whole after every case, so that a stopped run goes on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphnoise._files import writing
from graphnoise.bench.environment import environment
from graphnoise.errors import DataError
from graphnoise.store import cell_key

FORMAT = 1


class Book:
    """The records of a file, by key.

    Args:
        path: The file; it need not exist.

    Raises:
        DataError: It is there and holds something else, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     book = Book(Path(folder) / "speed.json")
        ...     book.add({"key": "a", "ours": 1.5})
        ...     Book(book.path).get("a")["ours"]
        1.5
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
        with writing(self.path, "; choose another file with --out") as file:
            file.write(f'{{"format": {FORMAT}, "records": [\n{lines}\n]}}\n'.encode())


def key(case: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Name a record: what was measured, how, by which code, on what."""
    here = environment()
    place = {name: here[name] for name in ("commit", "processor", "cores", "python", "versions")}
    return cell_key({"format": FORMAT, "case": case, "protocol": protocol, "place": place, "code": _code()})


@functools.cache
def _code() -> str | None:
    """Return a hash of the code that is measured where no commit tells it: the files changed, or a wheel."""
    commit = environment()["commit"]
    if commit is not None and not commit.endswith("+"):
        return None
    top = Path(__file__).parents[2]
    from graphnoise.kernels import _native

    files = [top / "propagation.py", top / "graph.py", top / "_check.py", Path(_native.__file__ or top)]
    return _hash([*files, *sorted((top / "kernels").glob("*.py"))])


def _hash(files: Iterable[Path]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()
