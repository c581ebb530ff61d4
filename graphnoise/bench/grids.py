"""Suites whose grids are rows of settings and nothing more: what the cluster and the recommender benchmark share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from graphnoise import checks
from graphnoise.bench import words
from graphnoise.bench.results import Source
from graphnoise.bench.runner import Progress, Store, Summary
from graphnoise.bench.suite import Selected, named
from graphnoise.checks import DataError


class Grid(Protocol):
    """What a suite asks of a grid."""

    @property
    def root(self) -> str | None:
        """Folder of raw data sets."""

    def cells(self) -> list[dict[str, Any]]:
        """Return the configurations; data are loaded and everything is checked."""


class Places(Protocol):
    """Where the cells of a grid stand in it, from their configurations alone."""

    def place(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return positions, that of the data set first; None if the cell is not of the grid."""


@dataclass(frozen=True)
class GridSuite(ABC):
    """Several grids under one title.

    Attributes:
        title: What it shows.
        grids: The grids by name, in order.
    """

    title: str
    grids: Mapping[str, Any]

    draws: ClassVar[str] = "seeds"  # what a grid has a number of
    keys: ClassVar[Mapping[str, Callable[[str, object], Any]]]  # of a grid, each with what reads it

    @staticmethod
    @abstractmethod
    def grid(**settings: Any) -> Grid:
        """Return a grid, with its names checked."""

    @staticmethod
    @abstractmethod
    def places(grid: Any) -> Places:
        """Return where the cells of a grid stand."""

    @staticmethod
    @abstractmethod
    def run_cells(
        cells: Sequence[dict[str, Any]],
        store: Store,
        root: str | None,
        jobs: int,
        executor: Executor | None,
        on_done: Callable[[Progress], object] | None,
    ) -> Summary:
        """Run cells into a store."""

    @abstractmethod
    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of `draws` of a grid."""

    @abstractmethod
    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line."""

    @abstractmethod
    def gaps(self, folder: Path, found: Mapping[str, list[tuple[tuple[int, ...], Mapping[str, Any]]]]) -> Iterator[str]:
        """Say what is missing: of the places and cells that were found, by grid."""

    @classmethod
    def read(cls, path: Path, root: str | None = None) -> Self:
        """Read a suite, and check all of it but what depends on the data.

        Args:
            path: A TOML file: `task`; `title`; `[defaults]` with keys of a grid; `[[grid]]` with a `name` and keys of a
                grid.
            root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.

        Raises:
            InputError: There is no such file, it is not TOML, a key or a name is unknown or comes twice, a value is of
                the wrong type; the message names file, grid and key.
        """
        top = words.parse(path)
        found: dict[str, Any] = {}
        with named(path):
            words.known("key", top, ("task", "title", "defaults", "grid"))
            title = words.text("title", top.get("title", path.stem))
            defaults = cls._settings("defaults", words.table("defaults", top.get("defaults", {})))
            for place, table in enumerate(words.tables("grid", top.get("grid", [])), 1):
                own = words.grid_name(f"grid {place}", table, found)
                with named(f"grid {own!r}"):
                    values = cls._settings("key", {key: value for key, value in table.items() if key != "name"})
                    found[own] = cls.grid(**{**defaults, **values}, root=root)
            if not found:
                checks.fail("grid", "at least one [[grid]]", "none")
        return cls(title, found)

    @classmethod
    def _settings(cls, where: str, table: Mapping[str, Any]) -> dict[str, Any]:
        words.known(where, table, tuple(cls.keys))
        return {key: cls.keys[key](key, value) for key, value in table.items()}

    def only(self, names: list[str]) -> Self:
        """Return the suite with these grids alone.

        Raises:
            InputError: It has no grid of that name.
        """
        chosen = {checks.choice("--only", name, list(self.grids)) for name in names}
        return replace(self, grids={name: grid for name, grid in self.grids.items() if name in chosen})

    @cached_property
    def cells(self) -> dict[str, list[dict[str, Any]]]:
        """The configurations by grid; data are loaded and everything is checked.

        Raises:
            InputError: A name or a value is not valid.
            DataError: A data set cannot be had.
        """
        found = {}
        for name, grid in self.grids.items():
            with named(f"grid {name!r}"):
                found[name] = grid.cells()
        return found

    def select(self, source: Source) -> Selected:
        """Return the cells of a folder or a table that are of this suite, in its order, each with its `grid`.

        No data are needed. A cell that is of two grids comes twice.

        Raises:
            DataError: There is none.
        """
        places = [(own, self.places(grid)) for own, grid in self.grids.items()]
        found: dict[tuple[int | str, ...], dict[str, Any]] = {}
        by_grid: dict[str, list[tuple[tuple[int, ...], Mapping[str, Any]]]] = {own: [] for own in self.grids}
        others = 0
        for record in source.records():
            config = record["config"]
            at = [(i, own, one.place(config)) for i, (own, one) in enumerate(places)]
            others += all(place is None for _, _, place in at)
            for i, own, place in at:
                if place is not None:
                    found[i, place[0], config["data"], *place[1:]] = {**record, "grid": own}
                    by_grid[own].append((place, config))
        if not found:
            raise DataError(f"{source.folder}: expected cells of the suite {self.title!r}, got none")
        remarks = [*source.remarks(), *self.gaps(source.folder, by_grid)]
        if others:
            remarks.append(f"{source.folder}: {others:,} cells that are not of the suite are left out")
        return Selected(source.folder, [found[order] for order in sorted(found)], remarks)

    def run(
        self,
        store: Store,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        on_done: Callable[[Progress], object] | None = None,
    ) -> Summary:
        """Run all cells into a store, going on where an earlier run stopped; a cell of several grids runs once.

        Args:
            store: Where the cells are recorded.
            jobs: Processes; each runs its cells on one thread, so results do not depend on this number.
            executor: Any `concurrent.futures.Executor` to run the cells in, instead of local processes.
            on_done: Called after each cell.

        Raises:
            InputError: The suite is not valid.
            DataError: Data cannot be had, or the store cannot be written.
        """
        cells = [cell for grid in self.cells.values() for cell in grid]
        return self.run_cells(cells, store, next(iter(self.grids.values())).root, jobs, executor, on_done)


def missing(folder: Path, gaps: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Say which cells are not there yet, of how many, by grid."""
    if said := [f"{wanted - have:,} of {wanted:,} of {own!r}" for own, (have, wanted) in gaps.items() if have < wanted]:
        yield f"{folder}: cells that are not there yet: {', '.join(said)}"
