"""Suites: a TOML file that names several grids of one task, run by one command into one folder.

A cell does not know of its suite: its configuration is the one that `graphnoise bench TASK` makes with the same
settings, so suites and commands that share a folder share their cells.
"""

from __future__ import annotations

import contextlib
import string
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.grid import GridModel, text
from graphnoise.bench.record import Cells, Source, read_records
from graphnoise.bench.runner import Store, Summary
from graphnoise.bench.task import CellIndex, Part, Task
from graphnoise.checks import DataError, InputError

_NAME = set(string.ascii_letters + string.digits + "-_.")


@contextlib.contextmanager
def prefixed(where: object, task: Task[Any] | None = None) -> Iterator[None]:
    """Begin the message of an error with where it was raised, and name fields of the task's grid as the file does."""
    try:
        yield
    except (InputError, DataError) as error:
        message = checks.renamed(str(error), task.Grid.field_names() if task else {})
        raise type(error)(f"{where}: {message}") from error


@dataclass(frozen=True)
class Suite:
    """Grids of a task under one title, by name, in the order of the file; `indexes` find recorded cells in them."""

    path: Path
    title: str
    task: Task[Any]
    grids: Mapping[str, GridModel]
    indexes: Mapping[str, CellIndex[Any]]
    root: str | None = None

    @classmethod
    def read(cls, path: Path, root: str | None = None) -> Suite:
        """Read a suite, and check all of it but what depends on the data.

        Args:
            path: A TOML file: `task` (by default "nodes"); `title`; `[defaults]` with fields of the task's grid;
                `[[grid]]` with a `name` and fields of the grid.
            root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.

        Raises:
            InputError: There is no such file, it is not TOML, a key or a name is unknown or comes twice, a value is of
                the wrong type; the message names file, grid and key.
        """
        file = _parse(path)
        with prefixed(path):
            for key in file:
                checks.choice("key", key, ("task", "title", "defaults", "grid"))
            task = registry.task(checks.choice("task", file.get("task", "nodes"), registry.names("tasks")))
            title = text("title", file.get("title", path.stem))
            defaults, tables = file.get("defaults", {}), file.get("grid", [])
            if not isinstance(defaults, dict):
                checks.fail("defaults", "a table", repr(defaults))
            with prefixed("defaults"):
                task.Grid(**defaults)
            if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
                checks.fail("grid", "tables under double brackets, [[grid]]", repr(tables))
            if not tables:
                checks.fail("grid", "at least one [[grid]]", "none")
            grids: dict[str, GridModel] = {}
            indexes: dict[str, CellIndex[Any]] = {}
            for place, table in enumerate(tables, 1):
                name = _name(f"grid {place}", table, grids)
                with prefixed(f"grid {name!r}", task):
                    settings = {key: value for key, value in table.items() if key != "name"}
                    grids[name] = task.Grid(**{**defaults, **settings})
                    indexes[name] = CellIndex(task, grids[name])
        return cls(path, title, task, grids, indexes, root)

    def only(self, names: Sequence[str]) -> Suite:
        """Return the suite with the named grids only, in the order of the file; `InputError` if it lacks one."""
        chosen = {checks.choice("--only", name, list(self.grids)) for name in names}
        return replace(self, grids={name: grid for name, grid in self.grids.items() if name in chosen})

    @cached_property
    def cells(self) -> dict[str, list[dict[str, Any]]]:
        """The configurations by grid; data are loaded and everything is checked. A cell may be of several grids."""
        cells = {}
        for name, grid in self.grids.items():
            with prefixed(f"{self.path}: grid {name!r}", self.task):
                cells[name] = self.task.cells(grid, self.root)
        return cells

    def all_cells(self) -> list[dict[str, Any]]:
        """Return the configurations of all grids, one after the other."""
        return [cell for cells in self.cells.values() for cell in cells]

    def describe(self, config: Part) -> str:
        """Return a cell in a line: grid, row, and what the task says of it."""
        for name in self.grids:
            position = self.indexes[name].position(config)
            if position is not None:
                return f"{name}: {self.indexes[name].labels[position['row']]}, {self.task.describe(config)}"
        return self.task.describe(config)

    def select(self, source: Source) -> Cells:
        """Return the cells of a source that are of this suite, in its order, each with its `grid` and `row`.

        No data are needed. A cell that is of two grids comes twice. Raises `DataError` if there is none.
        """
        selected: dict[tuple[Any, ...], dict[str, Any]] = {}
        recorded: dict[str, set[tuple[Any, ...]]] = {name: set() for name in self.grids}
        # By data set, values of axes that the data determine.
        seen: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        others, remarks = 0, source.remarks()
        for record in read_records(source, remarks):
            config, foreign = record["config"], True
            for number, name in enumerate(self.grids):
                index = self.indexes[name]
                position = index.position(config)
                if position is None:
                    continue
                foreign = False
                order = (number, *(position[axis] for axis in self.task.order))
                selected[order] = {**record, "grid": name, "row": index.labels[position["row"]]}
                # Whatever the hash of the data: the first value of an axis that the data determine.
                recorded[name].add(tuple(p[1:] if isinstance(p, tuple) else p for p in order))
                seen[config["dataset"]].add(tuple(config[entry] for entry in index.data_names))
            others += foreign
        if not selected:
            raise DataError(
                "\n".join([f"{source.folder}: expected cells of the suite {self.title!r}, got none", *remarks])
            )
        notes = [*remarks, *(f"{source.folder}: {gap}" for gap in self._gaps(recorded, seen))]
        if others:
            notes.append(f"{source.folder}: {others:,} cells that are not of the suite are left out")
        return Cells(source.folder, [selected[order] for order in sorted(selected)], notes)

    def _gaps(self, recorded: Mapping[str, set[Any]], seen: Mapping[str, set[Any]]) -> Iterator[str]:
        """Yield what is missing, as far as that is known without data."""
        counts, unseen = [], dict[str, None]()
        for name in self.grids:
            index = self.indexes[name]
            per_dataset = [len(seen.get(dataset, ())) if index.data_names else 1 for dataset in index.datasets]
            expected = sum(per_dataset) * index.per_dataset
            unseen |= {d: None for d, values in zip(index.datasets, per_dataset, strict=True) if not values}
            if (gap := expected - len(recorded[name])) > 0:
                counts.append(f"{gap:,} of {expected:,} of {name!r}")
        if counts:
            yield f"cells that are not there yet: {', '.join(counts)}"
        if unseen:
            yield f"data sets without a cell yet: {', '.join(unseen)}"

    def run(self, store: Store, **options: Any) -> Summary:
        """Run all cells into a store, see `Task.run`; a cell of several grids runs once."""
        return self.task.run_cells(self.all_cells(), store, root=self.root, **options)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        checks.fail(str(path), "a suite in TOML", f"a file that cannot be read ({reason})")


def _name(where: str, table: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """Return the name of a grid, which is part of file names."""
    if "name" not in table:
        checks.fail(where, "a name", "none")
    name = text(f"{where}: name", table["name"])
    if name in taken:
        checks.fail(where, "a name that no other grid has", repr(name))
    if not set(name) <= _NAME:
        checks.fail(where, "a name of letters, digits, '-', '_' and '.'", repr(name))
    return name
