"""Suites of the recommender benchmark: a TOML file with `task = "recommend"` that names several grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from graphnoise import _check
from graphnoise._check import DataError
from graphnoise.bench import words
from graphnoise.bench.results import Source
from graphnoise.bench.suite import Selected, named
from graphnoise.experiment import Progress, Store, Summary, cell_key
from recsys.bench import grid as grids
from recsys.bench import methods
from recsys.bench.grid import MOST, PROTOCOL, SELECTIONS, Grid, run_cells
from recsys.bench.problem import NOISE

KEYS: dict[str, Callable[[str, object], Any]] = {  # of `Grid`, each with what reads it
    "datasets": words.listed(words.text),
    "methods": words.listed(words.text),
    "noise": words.listed(words.one_of(NOISE)),
    "rates": words.listed(_check.rate),
    "seeds": words.whole(1, MOST),
    "first_seed": words.whole(0),
    "trials": words.whole(1, MOST),
    "select": words.one_of(SELECTIONS),
    "split_seed": words.whole(0),
}


@dataclass(frozen=True)
class Suite:
    """Several grids of the recommender benchmark under one title.

    Attributes:
        title: what it shows.
        grids: the grids by name, in order.
    """

    title: str
    grids: Mapping[str, Grid]
    draws = "seeds"  # what a grid has a number of

    def only(self, names: list[str]) -> Suite:
        """Return the suite with these grids alone.

        Raises:
            InputError: it has no grid of that name.
        """
        chosen = {_check.choice("--only", name, list(self.grids)) for name in names}
        return replace(self, grids={name: grid for name, grid in self.grids.items() if name in chosen})

    @cached_property
    def cells(self) -> dict[str, list[dict[str, Any]]]:
        """The configurations by grid; data are loaded and everything is checked.

        Raises:
            InputError: a name or a value is not valid.
            DataError: a data set cannot be had.
        """
        found = {}
        for name, grid in self.grids.items():
            with named(f"grid {name!r}"):
                found[name] = grid.cells()
        return found

    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of seeds of a grid."""
        grid = self.grids[name]
        return list(grid.datasets), [grids.label(*row) for row in grids.rows(grid.methods)], grid.seeds

    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line."""
        return grids.name(config)

    def select(self, source: Source) -> Selected:
        """Return the cells of a folder or a table that are of this suite, in its order, each with its `grid`.

        No data are needed. A cell that is of two grids comes twice.

        Raises:
            DataError: there is none.
        """
        places = {own: _Places(grid) for own, grid in self.grids.items()}
        found: dict[tuple[int | str, ...], dict[str, Any]] = {}
        others = 0
        for record in source.records():
            at = [(i, own, one.place(record["config"])) for i, (own, one) in enumerate(places.items())]
            others += all(place is None for _, _, place in at)
            for i, own, place in at:
                if place is not None:
                    found[i, place[0], record["config"]["data"], *place[1:]] = {**record, "grid": own}
        if not found:
            raise DataError(f"{source.folder}: expected cells of the suite {self.title!r}, got none")
        remarks = list(source.remarks())
        have = {own: {order[1:2] + order[3:] for order, r in found.items() if r["grid"] == own} for own in places}
        gaps = [(one.expected - len(have[own]), one.expected, own) for own, one in places.items()]
        if missing := [f"{gap:,} of {total:,} of {own!r}" for gap, total, own in gaps if gap > 0]:
            remarks.append(f"{source.folder}: cells that are not there yet: {', '.join(missing)}")
        if others:
            remarks.append(f"{source.folder}: {others:,} cells that are not of the suite are left out")
        return Selected(source.folder, [found[order] for order in sorted(found)], remarks)


class _Places:
    """Where the cells of a grid stand in it, from their configurations alone."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        made = grids.rows(grid.methods)
        self.rows = [_row(*row, grid.trials if methods.space(*row) else 1) for row in made]
        self.noise = [cell_key(one) for one in grids.entries(grid.noise, grid.rates)]
        self.expected = len(grid.datasets) * len(self.rows) * len(self.noise) * grid.seeds

    def place(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return positions of data set, noise, row and seed; None if the cell is not of the grid."""
        grid = self.grid
        fixed = ("recommend", PROTOCOL, methods.VERSION, grid.select, grid.split_seed)
        if tuple(config.get(key) for key in ("task", "protocol", "version", "select", "split_seed")) != fixed:
            return None
        noise, row = cell_key(config["noise"]), _row(config["method"], config["fixed"], config["trials"])
        seed = config["seed"] - grid.first_seed
        if config["dataset"] not in grid.datasets or not 0 <= seed < grid.seeds:
            return None
        if noise not in self.noise or row not in self.rows:
            return None
        return list(grid.datasets).index(config["dataset"]), self.noise.index(noise), self.rows.index(row), seed


def _row(method: str, fixed: Mapping[str, Any], trials: int) -> str:
    return cell_key({"method": method, "fixed": fixed, "trials": trials})


def read(path: Path, root: str | None = None) -> Suite:
    """Read a suite, and check all of it but what depends on the data.

    Args:
        path: a TOML file: `task = "recommend"`; `title`; `[defaults]` with keys of `Grid`; `[[grid]]` with a `name`
            and keys of `Grid`.
        root: folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.

    Raises:
        InputError: there is no such file, it is not TOML, a key or a name is unknown or comes twice, a value is of the
            wrong type; the message names file, grid and key.
    """
    top = words.parse(path)
    found: dict[str, Grid] = {}
    with named(path):
        words.known("key", top, ("task", "title", "defaults", "grid"))
        title = words.text("title", top.get("title", path.stem))
        defaults = _keys("defaults", words.table("defaults", top.get("defaults", {})))
        for place, table in enumerate(words.tables("grid", top.get("grid", [])), 1):
            own = words.grid_name(f"grid {place}", table, found)
            with named(f"grid {own!r}"):
                values = _keys("key", {key: value for key, value in table.items() if key != "name"})
                found[own] = Grid(**{**defaults, **values}, root=root)
                grids.rows(found[own].methods)
        if not found:
            _check.fail("grid", "at least one [[grid]]", "none")
    return Suite(title, found)


def _keys(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    words.known(where, table, tuple(KEYS))
    return {key: KEYS[key](key, value) for key, value in table.items()}


def run(
    suite: Suite,
    store: Store,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    on_done: Callable[[Progress], object] | None = None,
) -> Summary:
    """Run a suite into a store, going on where an earlier run stopped; a cell of several grids runs once.

    Args:
        suite: what to run.
        store: where the cells are recorded.
        jobs: processes; each runs its cells on one thread, so results do not depend on this number.
        executor: any `concurrent.futures.Executor` to run the cells in, instead of local processes.
        on_done: called after each cell.

    Raises:
        InputError: the suite is not valid.
        DataError: data cannot be had, or the store cannot be written.
    """
    cells = [cell for grid in suite.cells.values() for cell in grid]
    return run_cells(cells, store, next(iter(suite.grids.values())).root, jobs, executor, on_done)
