"""Operations that can be timed: options, cases, measurement, and a JSON file of records."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from rich.console import RenderableType

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.environment import environment
from graphnoise.bench.grid import Model, integer, option
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, VerificationError
from graphnoise.bench.speed.tables import place
from graphnoise.bench.store import cell_key
from graphnoise.errors import DataError
from graphnoise.io import atomic_write
from graphnoise.kernels import _native
from graphnoise.resources import torch_threads

FORMAT = 3
# A case is the options that decide what is measured, by name.
Case = dict[str, Any]


class Options(Model):
    """Options of an operation, for the command line and for Python.

    Those of the protocol decide how it is measured. Records hold no option that is `unrecorded`: a path.
    """

    rounds: Annotated[int, integer(1, 10_000)] = option(9, "Rounds of samples.", protocol=True)
    seed: Annotated[int, integer(0, 2**31 - 1)] = option(
        0, "Seed of graphs, values and the order within rounds.", protocol=True
    )
    root: str | None = Field(None, exclude=True)

    def values(self, protocol: bool) -> dict[str, Any]:
        """Return the options of the protocol, or those of the cases."""
        fields = {name: field for name, field in type(self).model_fields.items() if not field.exclude}
        kinds: dict[str, Any] = {name: field.json_schema_extra for name, field in fields.items()}
        chosen = [name for name, kind in kinds.items() if "unrecorded" not in kind and ("protocol" in kind) == protocol]
        return {name: getattr(self, name) for name in chosen}


class Operation(ABC):
    """What `graphnoise bench speed NAME` times; the entry-point group "graphnoise.speed_operations" lists them.

    Attributes:
        name: Name of the command and of the kind of file.
        help: Help of the command.
        options: Its options.
        packages: Packages whose versions the records carry beside graphnoise's own.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    options: ClassVar[type[Options]]
    packages: ClassVar[tuple[str, ...]] = ()

    def cases(self, options: Any) -> list[Case]:
        """Return all combinations of the options' values."""
        values = options.values(protocol=False)
        rows = itertools.product(*(value if isinstance(value, tuple) else (value,) for value in values.values()))
        return [dict(zip(values, row, strict=True)) for row in rows]

    @abstractmethod
    def measure(self, case: Case, options: Any, record: Record, say: Say) -> None:
        """Verify the results, then time them.

        Args:
            case: The case.
            options: Options, for those of the protocol.
            record: Gets "times" as from `interleave`, and what else the tables need. Its "notes" map names to remarks;
                its "failures" list baselines whose result is wrong.
            say: Called with what runs now.

        Raises:
            VerificationError: The library's result is wrong.
            NotMeasurableError: The case cannot be measured here.
        """

    @abstractmethod
    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield the tables of records; a damaged record raises some error."""


def operations() -> list[str]:
    """Return the names of all installed operations."""
    return sorted(registry.names("speed_operations"))


def load_operation(name: str) -> Operation:
    """Return an installed operation."""
    cls: type[Operation] = registry.load("speed_operations", name, "operation")
    return cls()


def read(path: Path, operation: Operation | None = None) -> tuple[Operation, list[Record]]:
    """Return the operation and the records of a file.

    Args:
        path: The file; where an operation is named it need not exist, and has no records then.
        operation: The operation; by default the one that the file names.

    Raises:
        DataError: The file cannot be read, holds something else or a damaged record.
    """
    if operation is not None and not path.exists():
        return operation, []
    try:
        file = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError:
        file = None
    if not isinstance(file, dict) or file.get("format") != FORMAT or not isinstance(file.get("records"), list):
        raise DataError(f"{path}: expected speed records, got another file (choose another with --out)")
    kind = file.get("kind")
    operation = operation or load_operation(checks.choice(f"{path}: kind", kind, operations()))
    if kind != operation.name:
        wanted = f"speed records of {operation.name!r}"
        raise DataError(f"{path}: expected {wanted}, got those of {kind!r} (choose another with --out)")
    records: list[Record] = file["records"]
    for number, record in enumerate(records, 1):
        with reading_records(path, f"record {number}"):
            _ = record["key"], record["failures"], place(record)
            if "skipped" not in record:
                list(operation.tables([record]))
    return operation, records


@contextlib.contextmanager
def reading_records(path: Path, part: str) -> Iterator[None]:
    """Raise `DataError` for what a damaged record raises where it is read."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        found = f"{part} is damaged ({type(error).__name__}: {error})"
        raise DataError(f"{path}: expected whole records, and {found}") from error


def add(path: Path, operation: Operation, record: Record) -> None:
    """Write the file as a whole with one more record, in place of one with the same key; `DataError` as in `read`."""
    records = [*(other for other in read(path, operation)[1] if other["key"] != record["key"]), record]
    lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in records)
    with atomic_write(path, "; choose another file with --out") as file:
        file.write(f'{{"format": {FORMAT}, "kind": "{operation.name}", "records": [\n{lines}\n]}}\n'.encode())


@functools.cache
def code_hash() -> str:
    """Return a hash of the compiled code and of the Python code of both packages."""
    top = Path(__file__).parents[2]
    python = (path for package in (top, top.with_name("recsys")) for path in package.rglob("*.py"))
    total = hashlib.blake2b(digest_size=16)
    for file in (Path(_native.__file__ or ""), *sorted(python)):
        total.update(file.read_bytes())
    return total.hexdigest()


@dataclass
class Session:
    """A measurement of the cases that are not recorded yet; the record of each is written as it ends.

    Attributes:
        operation: The operation.
        options: Its options.
        path: File of the records.
        again: Whether recorded cases are measured again.
        records: Records of the cases that have times, in the order of the cases.
        measured: Number of cases measured now.
        failures: Results that are wrong, a line each.
        skipped: Cases that cannot be measured, and why.
    """

    operation: Operation
    options: Options
    path: Path
    again: bool = False
    records: list[Record] = field(default_factory=list)
    measured: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run(self, say: Say = lambda text: None, on_case: Any = lambda done, total, text, what: None) -> None:
        """Measure.

        Args:
            say: Called with what runs now.
            on_case: Called after each case with the number done, the total, the case and "cases".

        Raises:
            InputError: A case cannot be drawn.
            DataError: The records cannot be read or written.
        """
        recorded = {record["key"]: record for record in read(self.path, self.operation)[1]}
        cases = self.operation.cases(self.options)
        for done, case in enumerate(cases, 1):
            text, record = ", ".join(f"{name} {value}" for name, value in case.items()), self.new_record(case)
            before = recorded.get(record["key"], {"skipped": ""})
            if self.again or "skipped" in before or before["failures"]:
                self._measure(text, record, say)
            else:
                self.records.append(before)
            on_case(done, len(cases), text, "cases")

    def _measure(self, text: str, record: Record, say: Say) -> None:
        try:
            with torch_threads(torch.get_num_threads()):
                self.operation.measure(record["case"], self.options, record, lambda what: say(f"{text}: {what}"))
            self.measured += 1
            self.records.append(record)
            self.failures += [f"{text}: {failure}" for failure in record["failures"]]
        except VerificationError as error:
            self.failures.append(f"{text}: {error}")
            return
        except NotMeasurableError as error:
            record["skipped"] = str(error)
            self.skipped.append(f"{text}: {error}")
        record["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        add(self.path, self.operation, record)

    def new_record(self, case: Case) -> Record:
        """Return the beginning of a record; its key is of the case, the protocol, the code and the machine."""
        here = environment() | {"instruction_set": _native.instruction_set()}
        others = {name: version(name) for name in self.operation.packages if find_spec(name)}
        here["versions"] = here["versions"] | others
        record = {"case": case, "protocol": self.options.values(protocol=True), "environment": here}
        key = cell_key({"kind": self.operation.name, **record, "code": code_hash()}, "case")
        recorded = datetime.now(UTC).isoformat(timespec="seconds")
        return {"key": key, **record, "recorded": recorded, "notes": {}, "failures": []}
