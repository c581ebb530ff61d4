"""Suites: a TOML file that names several grids of `graphnoise bench nodes`, run by one command into one folder.

A cell does not know of its suite: its configuration is the one that `bench nodes` makes with the same settings, so
suites and commands that share a folder share their cells.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from graphnoise import checks
from graphnoise.bench.nodes import PROTOCOL, Grid, run_cells
from graphnoise.bench.results import Source
from graphnoise.bench.runner import Progress, Store, Summary, cell_key
from graphnoise.checks import DataError, InputError


@dataclass(frozen=True)
class Row:
    """A row of a grid's tables: a method with its settings, under the name of its variant where it has one.

    Attributes:
        label: What tables call it.
        method: Name of the method.
        version: Version of the method.
        parameters: All hyper-parameters, defaults included.
        settings: Those hyper-parameters that the suite sets.
        inits: Initialisations of each draw: one where the seed does not matter.
    """

    label: str
    method: str
    version: str
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    inits: int

    @property
    def key(self) -> str:
        """What tells its cells from those of other rows."""
        return _row_key(vars(self))


def _row_key(config: Mapping[str, Any]) -> str:
    return cell_key({name: config[name] for name in ("method", "version", "parameters")})


class Place(NamedTuple):
    """Where a cell stands in its grid: positions of its data set, row and noise; seed of its draw; initialisation."""

    dataset: int
    row: int
    noise: int
    draw: int
    init: int


@dataclass(frozen=True)
class Entry:
    """A grid of a suite.

    Attributes:
        where: File and name, as messages begin.
        name: Its name.
        grid: The grid without its variants.
        rows: The rows of its tables, in order.
    """

    where: str
    name: str
    grid: Grid
    rows: tuple[Row, ...]

    @cached_property
    def noise(self) -> dict[str, int]:
        """Position of each noise by its key; at rate 0 all kinds are one."""
        entries = (self.grid._noise(kind, rate) for kind, rate in product(self.grid.noise, self.grid.rates))
        return {key: i for i, key in enumerate(dict.fromkeys(map(cell_key, entries)))}

    @cached_property
    def _row_places(self) -> dict[str, int]:
        return {row.key: i for i, row in enumerate(self.rows)}

    @property
    def expected(self) -> int:
        """Number of cells."""
        return len(self.grid.datasets) * len(self.noise) * self.grid.draws * sum(row.inits for row in self.rows)

    def place(self, config: Mapping[str, Any]) -> Place | None:
        """Return where a cell stands, from its configuration alone; None if it is not of this grid."""
        grid = self.grid
        if (config.get("task"), config.get("protocol")) != ("nodes", PROTOCOL):
            return None
        if (config["split_seed"], config["select"]) != (grid.split_seed, grid.select):
            return None
        if config["dataset"] not in grid.datasets or not 0 <= config["draw"] - grid.first_draw < grid.draws:
            return None
        noise, row = self.noise.get(cell_key(config["noise"])), self._row_places.get(_row_key(config))
        if noise is None or row is None or config["init"] >= self.rows[row].inits:
            return None
        return Place(list(grid.datasets).index(config["dataset"]), row, noise, config["draw"], config["init"])

    def cells(self) -> list[dict[str, Any]]:
        """Return the configurations, in the order of `Grid.cells`: draws before noise, noise before rows.

        Raises:
            InputError: A rate is impossible for its family, data are not valid.
            DataError: A data set cannot be had.
        """
        layers: list[list[Row]] = []  # `Grid` takes a method once, so its second row goes into a second grid
        for row in self.rows:
            free = (layer for layer in layers if all(other.method != row.method for other in layer))
            layer = next(free, None)
            if layer is None:
                layers.append(layer := [])
            layer.append(row)
        options = {kind: self.grid.overrides[kind] for kind in self.grid.noise if kind in self.grid.overrides}
        found = []
        with named(self.where):
            for dataset, layer in product(self.grid.datasets, layers):
                settings = {row.method: row.settings for row in layer}
                one = replace(self.grid, datasets=[dataset], methods=list(settings), overrides={**options, **settings})
                found += one.cells()
        return sorted(found, key=self._turn)

    def _turn(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        place = self.place(config)
        return () if place is None else (place.dataset, place.draw, place.noise, place.row, place.init)


@dataclass(frozen=True)
class Suite:
    """Grids to run into one folder, one after the other.

    Attributes:
        title: What it is about.
        entries: The grids, in the order of the file.
        root: Folder of raw data sets.
    """

    title: str
    entries: tuple[Entry, ...]
    root: str | None = None
    draws = "draws"  # what a grid has a number of

    def only(self, names: Sequence[str]) -> Suite:
        """Return the suite with the named grids only, in the order of the file.

        Raises:
            InputError: It has no such grid.
        """
        known = [entry.name for entry in self.entries]
        chosen = [checks.choice("--only", name, known) for name in names]
        return replace(self, entries=tuple(entry for entry in self.entries if entry.name in chosen))

    @cached_property
    def cells(self) -> dict[str, list[dict[str, Any]]]:
        """The configurations by grid; data are loaded and everything is checked. A cell may be of several grids.

        Raises:
            InputError: A rate is impossible for its family, data are not valid.
            DataError: A data set cannot be had.
        """
        return {entry.name: entry.cells() for entry in self.entries}

    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of draws of a grid."""
        entry = next(entry for entry in self.entries if entry.name == name)
        return list(entry.grid.datasets), [row.label for row in entry.rows], entry.grid.draws

    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line: grid, row, data set, noise."""
        where = next(((e, place) for e in self.entries if (place := e.place(config)) is not None), None)
        what = config["method"] if where is None else f"{where[0].name}: {where[0].rows[where[1].row].label}"
        return f"{what}, {config['dataset']} {config['noise']['kind']} {config['noise']['rate']:g}"

    def select(self, source: Source) -> Selected:
        """Return the cells of a folder or a table that are of this suite, in its order, named by grid and row.

        No data are needed. A cell that is of two grids comes twice.

        Raises:
            DataError: There is none.
        """
        found, others = {}, 0
        for record in source.records():
            places = [(i, entry, entry.place(record["config"])) for i, entry in enumerate(self.entries)]
            others += all(place is None for _, _, place in places)
            for i, entry, place in places:
                if place is not None:  # a table may name a cell under two grids already
                    order = (i, place.dataset, record["config"]["data"], place.row, place.noise, place.draw, place.init)
                    found[order] = {**record, "grid": entry.name, "row": entry.rows[place.row].label}
        if not found:
            raise DataError(f"{source.folder}: expected cells of the suite {self.title!r}, got none")
        have = Counter(i for i, *_ in {order[:2] + order[3:] for order in found})  # whatever the hash of the data
        gaps = [(e.expected - have[i], e) for i, e in enumerate(self.entries) if have[i] < e.expected]
        remarks = source.remarks()
        if gaps:
            counts = ", ".join(f"{gap:,} of {entry.expected:,} of {entry.name!r}" for gap, entry in gaps)
            remarks.append(f"{source.folder}: cells that are not there yet: {counts}")
        if others:
            remarks.append(f"{source.folder}: {others:,} cells that are not of the suite are left out")
        return Selected(source.folder, [found[order] for order in sorted(found)], remarks)


@dataclass(frozen=True)
class Selected:
    """The cells of a suite in a folder or a table, each with its `grid` and `row`; a `Source` of tables and plots.

    Attributes:
        folder: Where they are.
        cells: The cells, in the order of the suite.
        notes: What a user should know.
    """

    folder: Path
    cells: list[dict[str, Any]]
    notes: list[str]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the cells."""
        return iter(self.cells)

    def remarks(self) -> list[str]:
        """Return what a user should know: what is missing, what was left out."""
        return list(self.notes)


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

    Example:
        >>> import tempfile
        >>> from graphnoise import datasets
        >>> folder = Path(tempfile.mkdtemp())
        >>> data = datasets.planted_partition([30, 30], 0.3, 0.02, num_features=8, split=(5, 20, 20), seed=0)
        >>> path = datasets.save_npz(data, folder / "planted.npz")
        >>> from graphnoise.bench.suite_file import read
        >>> file = folder / "suite.toml"
        >>> _ = file.write_text(f'''
        ... [defaults]
        ... datasets = ["{path}"]
        ... draws = 2
        ... [[grid]]
        ... name = "restart"
        ... methods = ["lp"]
        ... noise = ["pair"]
        ... rates = [0.0, 0.3]
        ... [[grid.variant]]
        ... name = "alpha 0.9"
        ... [[grid.variant]]
        ... name = "alpha 0.5"
        ... set.lp.alpha = 0.5
        ... ''')
        >>> suite = read(file)
        >>> [row.label for row in suite.entries[0].rows]
        ['alpha 0.9', 'alpha 0.5']
        >>> summary = run(suite, Store(folder / "runs"))
        >>> summary.total, summary.done
        (8, 8)
    """
    cells = [cell for grid in suite.cells.values() for cell in grid]
    return run_cells(cells, store, suite.root, jobs, executor, on_done)


@contextlib.contextmanager
def named(where: object) -> Iterator[None]:
    """Begin the message of what goes wrong with where it went wrong."""
    try:
        yield
    except (InputError, DataError) as error:
        raise type(error)(f"{where}: {error}") from error
