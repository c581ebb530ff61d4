"""Speed records of one kind in one JSON file; a case measured again on the same code and machine is replaced."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphnoise.errors import DataError
from graphnoise.io import atomic_write


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes:
        name: As the file says it.
        words: As messages say it: "speed records of ERASE".
        format: Number of the format.
        check: Looks at all that tables read of a record; whatever error that raises, the record is damaged.
    """

    name: str
    words: str
    format: int
    check: Callable[[Mapping[str, Any]], object]

    def is_one(self, path: Path) -> bool:
        """Return whether a file says that it holds such records; what it holds is not looked at."""
        try:
            held = json.loads(path.read_text())
        except (OSError, ValueError):
            return False
        return isinstance(held, dict) and held.get("kind") == self.name

    def read(self, path: Path) -> list[dict[str, Any]]:
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
            if held["kind"] != self.name or held["format"] != self.format:
                raise ValueError
            records: list[dict[str, Any]] = list(held["records"])
        except (ValueError, KeyError, TypeError) as error:
            other = "got another file (choose another with --out)"
            raise DataError(f"{path}: expected {self.words}, {other}") from error
        for place, record in enumerate(records):
            try:
                self.check(record)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                wrong = f"record {place + 1} is damaged ({type(error).__name__}: {error})"
                raise DataError(f"{path}: expected whole {self.words}, and {wrong}") from error
        return records

    def add(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write a record, in place of one with the same key.

        Raises:
            DataError: The file holds something else, or cannot be written.
        """
        records = [held for held in self.read(path) if held["key"] != record["key"]]
        lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in [*records, record])
        with atomic_write(path, "; choose another file with --out") as file:
            file.write(f'{{"format": {self.format}, "kind": "{self.name}", "records": [\n{lines}\n]}}\n'.encode())
