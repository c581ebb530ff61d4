"""Suites of the cluster benchmark: a TOML file with `task = "cluster"` that names several grids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import _check
from ..._check import DataError
from ...experiment import Progress, Store, Summary, cell_key
from .. import words
from ..results import Source
from ..suite import Selected, named
from . import labels
from .grid import MOST, MULTIPLES, PROTOCOL, Grid, run_cells
from .methods import create, version

KEYS: dict[str, Callable[[str, object], Any]] = {  # of `Grid`, each with what reads it
    "datasets": words.listed(words.text),
    "methods": words.listed(words.text),
    "accuracies": words.listed(words.text),
    "seeds_per_class": words.whole(1, MOST),
    "first_seed": words.whole(0),
    "sink": words.one_of(tuple(MULTIPLES)),
    "multiples": words.listed(lambda name, value: _check.real(name, value, 1e-3, 1e6)),
}


@dataclass(frozen=True)
class Suite:
    """Several grids of the cluster benchmark under one title.

    Attributes:
        title: What it shows.
        grids: The grids by name, in order.
    """

    title: str
    grids: Mapping[str, Grid]
    draws = "seeds"  # what a grid has a number of

    def only(self, names: list[str]) -> Suite:
        """Return the suite with these grids alone.

        Raises:
            InputError: It has no grid of that name.
        """
        chosen = {_check.choice("--only", name, list(self.grids)) for name in names}
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

    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of seeds a class of a grid."""
        grid = self.grids[name]
        return list(grid.datasets), list(dict.fromkeys(["labels", *grid.methods])), grid.seeds_per_class

    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line."""
        return name(config)

    def select(self, source: Source) -> Selected:
        """Return the cells of a folder or a table that are of this suite, in its order, each with its `grid`.

        No data are needed. A cell that is of two grids comes twice.

        Raises:
            DataError: There is none.
        """
        grids = {own: _Places(grid) for own, grid in self.grids.items()}
        found: dict[tuple[int | str, ...], dict[str, Any]] = {}
        others = 0
        for record in source.records():
            places = [(i, own, grid.place(record["config"])) for i, (own, grid) in enumerate(grids.items())]
            others += all(place is None for _, _, place in places)
            for i, own, place in places:
                if place is not None:
                    found[i, place[0], record["config"]["data"], *place[1:]] = {**record, "grid": own}
        if not found:
            raise DataError(f"{source.folder}: expected cells of the suite {self.title!r}, got none")
        remarks = [*source.remarks(), *self._gaps(source.folder, found.values())]
        if others:
            remarks.append(f"{source.folder}: {others:,} cells that are not of the suite are left out")
        return Selected(source.folder, [found[order] for order in sorted(found)], remarks)

    def _gaps(self, folder: Path, records: Collection[Mapping[str, Any]]) -> Iterator[str]:
        """Say what is missing, as far as that can be told without data: classes that nothing was recorded of cannot."""
        classes: dict[str, set[int]] = defaultdict(set)
        cells: dict[str, set[str]] = defaultdict(set)
        for record in records:
            classes[record["config"]["dataset"]].add(record["config"]["class"])
            cells[record["grid"]].add(cell_key({**record["config"], "data": ""}))
        gaps = []
        for own, grid in self.grids.items():
            wanted = sum(len(classes[dataset]) for dataset in grid.datasets) * _Places(grid).each
            if (have := len(cells[own])) < wanted:
                gaps.append(f"{wanted - have:,} of {wanted:,} of {own!r}")
        if gaps:
            yield f"{folder}: cells that are not there yet: {', '.join(gaps)}"
        datasets = dict.fromkeys(dataset for grid in self.grids.values() for dataset in grid.datasets)
        if absent := [dataset for dataset in datasets if not classes[dataset]]:
            yield f"{folder}: data sets without a cell yet: {', '.join(absent)}"


class _Places:
    """Where the cells of a grid stand in it, from their configurations alone."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.sources = list(dict.fromkeys(cell_key(labels.read(text)) for text in grid.accuracies))
        self.methods = list(dict.fromkeys(_row(*create(text)) for text in ["labels", *grid.methods]))
        self.each = len(self.sources) * len(self.methods)  # cells of a class
        multiples = [float(value) for value in grid.multiples] or list(MULTIPLES[grid.sink])
        self.fixed = ("cluster", PROTOCOL, grid.seeds_per_class, grid.first_seed, grid.sink, multiples)

    def place(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return positions of data set, source and class and method; None if the cell is not of the grid."""
        names = ("task", "protocol", "seeds", "first_seed", "sink", "multiples")
        if tuple(config.get(name) for name in names) != self.fixed or config["version"] != version(config["method"]):
            return None
        source, method = cell_key(config["labels"]), _row(config["method"], config["parameters"])
        if config["dataset"] not in self.grid.datasets or source not in self.sources or method not in self.methods:
            return None
        place = list(self.grid.datasets).index(config["dataset"]), self.sources.index(source)
        return *place, config["class"], self.methods.index(method)


def _row(method: str, parameters: Mapping[str, Any]) -> str:
    return cell_key({"method": method, "parameters": parameters})


def name(config: Mapping[str, Any]) -> str:
    """Name a cell in a line: data set, method, labels, class."""
    return f"{config['dataset']} {config['method']}, labels {labels.words(config['labels'])}, class {config['class']}"


def read(path: Path, root: str | None = None) -> Suite:
    """Read a suite, and check all of it but what depends on the data.

    Args:
        path: A TOML file: `task = "cluster"`; `title`; `[defaults]` with keys of `Grid`; `[[grid]]` with a `name` and
            keys of `Grid`.
        root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.

    Raises:
        InputError: There is no such file, it is not TOML, a key or a name is unknown or comes twice, a value is of the
            wrong type; the message names file, grid and key.
    """
    top = words.parse(path)
    grids: dict[str, Grid] = {}
    with named(path):
        words.known("key", top, ("task", "title", "defaults", "grid"))
        title = words.text("title", top.get("title", path.stem))
        defaults = _keys("defaults", words.table("defaults", top.get("defaults", {})))
        for place, table in enumerate(words.tables("grid", top.get("grid", [])), 1):
            own = words.grid_name(f"grid {place}", table, grids)
            with named(f"grid {own!r}"):
                values = _keys("key", {key: value for key, value in table.items() if key != "name"})
                grids[own] = Grid(**{**defaults, **values}, root=root)
                for text in grids[own].methods:
                    create(text)
                for text in grids[own].accuracies:
                    labels.read(text)
        if not grids:
            _check.fail("grid", "at least one [[grid]]", "none")
    return Suite(title, grids)


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
        suite: What to run.
        store: Where the cells are recorded.
        jobs: Processes; each runs its cells on one thread, so results do not depend on this number.
        executor: Any `concurrent.futures.Executor` to run the cells in, instead of local processes.
        on_done: Called after each cell.

    Raises:
        InputError: The suite is not valid.
        DataError: Data cannot be had, or the store cannot be written.
    """
    cells = [cell for grid in suite.cells.values() for cell in grid]
    return run_cells(cells, store, next(iter(suite.grids.values())).root, jobs, executor, on_done)
