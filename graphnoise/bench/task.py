"""What a benchmark task is: its grid, its cells, what a cell runs, and what reports show of the records."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from graphnoise import checks
from graphnoise.bench.grid import GridModel
from graphnoise.bench.runner import Engine, Store, Summary, cell_key, run_cells
from graphnoise.checks import DataError, InputError

if TYPE_CHECKING:
    import matplotlib.figure
    from rich.console import RenderableType

    from graphnoise.bench.page.figure import Figure
    from graphnoise.bench.plots import Style
    from graphnoise.bench.record import Column
    from graphnoise.bench.report import Section

MAX_CELLS = 1_000_000
Part = Mapping[str, Any]
G = TypeVar("G", bound=GridModel)


@dataclass(frozen=True)
class FromData:
    """An axis of which only the data determine the values: `names` are entries of a configuration, "data" first."""

    names: tuple[str, ...]


Axis = Sequence[Part] | Mapping[str, Part] | FromData


def entries(name: str, values: Iterable[Any]) -> list[Part]:
    """Return an axis of a single entry.

    Example:
        >>> entries("seed", range(2))
        [{'seed': 0}, {'seed': 1}]
    """
    return [{name: value} for value in values]


def unique(parts: Iterable[Part]) -> list[Part]:
    """Return an axis without repeated parts."""
    return list({cell_key(part): part for part in parts}.values())


def rows(labelled: Iterable[tuple[str, Part]]) -> dict[str, Part]:
    """Return the axis of rows by label; a row that comes twice under the same label counts once.

    Raises:
        InputError: Two rows have the same label, or the same settings.
    """
    parts: dict[str, Part] = {}
    labels: dict[str, str] = {}
    for label, part in labelled:
        key = cell_key(part)
        if (other := labels.setdefault(key, label)) != label:
            checks.fail("methods", f"settings that row {other!r} does not have", f"the same for row {label!r}")
        if parts.setdefault(label, part) is not part and cell_key(parts[label]) != key:
            checks.fail("methods", "a name that no other row has", repr(label))
    return parts


class Task(ABC, Generic[G]):
    """A benchmark task. Instances have no state; worker processes get a copy.

    Attributes:
        name: The name: of the command, of `task` in suites, and of the entry "task" in configurations.
        protocol: Changes whenever the same configuration would give other results.
        help: What the command measures, in a line.
        Grid: The model of its grids.
        order: Names of the axes, in the order in which reports and CSV files sort cells.
        columns: Columns of its CSV files.
        plot_name: Name of the plot in the folder of the results.
    """

    name: ClassVar[str]
    protocol: ClassVar[int]
    help: ClassVar[str]
    Grid: ClassVar[type[GridModel]]
    order: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[Column, ...]]
    plot_name: ClassVar[str]

    @abstractmethod
    def axes(self, grid: G) -> Mapping[str, Axis]:
        """Return the axes of a grid, outermost first; cells are their product. No data are loaded.

        Each value of an axis is a part of a configuration, and all parts of an axis have the same entries. The axis
        "dataset" is required; "row" maps the labels of tables to parts (see `rows`).

        Raises:
            InputError: A name, or a combination of settings, is not valid.
        """

    @abstractmethod
    def load(self, dataset: str, grid: G, root: str | None) -> Mapping[str, Sequence[Part]]:
        """Load a data set, check that the grid can run on it, and return the values of each `FromData` axis.

        Raises:
            InputError: The grid cannot run on these data.
            DataError: The data cannot be had.
        """

    def admits(self, config: Part) -> bool:
        """Return whether a combination of axis values is a cell; entries of `FromData` axes may be absent."""
        return True

    @abstractmethod
    def run_cell(self, config: Part, root: str | None = None) -> dict[str, Any]:
        """Run a cell and return its result, of JSON's types; everything that determines it is in `config`."""

    @abstractmethod
    def describe(self, config: Part) -> str:
        """Return a configuration in a line, for progress and failures."""

    def complete(self, record: dict[str, Any]) -> None:
        """Check a record that was read from a CSV file, and put in what no column has.

        Raises:
            InputError: Values of several columns contradict each other.
        """

    @abstractmethod
    def sections(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Section]:
        """Group records into sections of comparable cells.

        Args:
            records: {"config", "result"} of this task and protocol; what a suite selected comes in its order, and has
                "grid" and "row" (the label) as well.
        """

    @abstractmethod
    def render(self, section: Any) -> Iterator[RenderableType]:
        """Yield the tables of a section, without its title."""

    @abstractmethod
    def figures(self, sections: Any, styles: Mapping[str, Style]) -> Mapping[str, matplotlib.figure.Figure]:
        """Return figures by suffix of the file name, the main one under ""; all sections are of one grid."""

    def summary(self, sections: Any) -> Iterator[RenderableType]:
        """Yield what is printed after all sections: by default nothing."""
        return iter(())

    def page_figures(self, sections: Any, records: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
        """Yield what the page of a report shows of sections of one grid, made of these records: by default nothing."""
        return iter(())

    # What follows is the same for all tasks.

    def cells(self, grid: G, root: str | None = None) -> list[dict[str, Any]]:
        """Return the configurations of a grid; data are loaded (by default from GRAPHNOISE_DATA), all is checked."""
        axes = self.axes(grid)
        total = math.prod(1 if isinstance(axis, FromData) else len(axis) for axis in axes.values())
        if total > MAX_CELLS:
            checks.fail("grid", f"at most {MAX_CELLS:,} cells", f"up to {total:,}")
        cells: list[dict[str, Any]] = []
        for dataset in _parts(axes["dataset"]):
            values = {**self._load(dataset["dataset"], grid, root), "dataset": [dataset]}
            cells += self._product(values[name] if name in values else _parts(axis) for name, axis in axes.items())
        return cells

    def _load(self, name: str, grid: G, root: str | None) -> Mapping[str, Sequence[Part]]:
        try:
            return self.load(name, grid, root)
        except InputError as error:
            message = str(error).removeprefix(f"{name}: ")
            if message.partition(":")[0] not in ("name", "dataset", "root"):
                raise
            raise InputError(checks.renamed(message, {"name": "dataset"})) from error

    def _product(self, axes: Iterable[Sequence[Part]]) -> Iterator[dict[str, Any]]:
        for parts in itertools.product(*axes):
            config: dict[str, Any] = {"task": self.name, "protocol": self.protocol}
            for part in parts:
                config.update(part)
            if self.admits(config):
                yield config

    def run(self, grid: G, store: Store, *, root: str | None = None, **options: Any) -> Summary:
        """Run a grid into a store, continuing where an earlier run of it stopped; options are of `runner.run_cells`."""
        return self.run_cells(self.cells(grid, root), store, root=root, **options)

    def run_cells(
        self,
        cells: Sequence[Part],
        store: Store,
        *,
        root: str | None = None,
        engine: Engine = run_cells,
        **options: Any,
    ) -> Summary:
        """Run configurations that `cells` returned into a store, see `run`; each process runs on one thread.

        `engine` is `runner.run_cells` or what `executors.opened` yields.
        """
        return engine(cells, functools.partial(self.run_cell, root=root), store, **options)


def _parts(axis: Axis) -> Sequence[Part]:
    assert not isinstance(axis, FromData)
    return list(axis.values()) if isinstance(axis, Mapping) else axis


def check_noise(noise: Part) -> None:
    """Refuse a record of noise at rate 0, or of none at another rate.

    Raises:
        InputError: It is one.
    """
    if (noise["kind"] == "none") != (noise["rate"] == 0):
        checks.fail("rate", "0 where there is no noise, and nowhere else", noise["rate"])


def check_digest(config: Part, digest: str) -> None:
    """Raise `DataError` unless a data set is the one that a cell was made for."""
    if digest != config["data"]:
        raise DataError(f"{config['dataset']}: expected data with hash {config['data']}, got {digest}")


class CellIndex(Generic[G]):
    """Positions of recorded cells in a grid, from their configurations alone."""

    def __init__(self, task: Task[G], grid: G) -> None:
        self._task, axes = task, task.axes(grid)
        self._names: dict[str, tuple[str, ...]] = {}
        self._positions: dict[str, dict[str, int]] = {}
        for name, axis in axes.items():
            if isinstance(axis, FromData):
                self._names[name] = axis.names
                continue
            parts = _parts(axis)
            self._names[name] = tuple(parts[0])
            self._positions[name] = {cell_key(part): place for place, part in enumerate(parts)}
        self.datasets = [part["dataset"] for part in _parts(axes["dataset"])]
        row = axes["row"]
        self.labels: list[str] = list(row) if isinstance(row, Mapping) else []
        fixed = [_parts(a) for name, a in axes.items() if name != "dataset" and not isinstance(a, FromData)]
        self.per_dataset = sum(1 for _ in task._product(fixed))
        self.data_names = tuple(n for axis in axes.values() if isinstance(axis, FromData) for n in axis.names[1:])

    def position(self, config: Part) -> dict[str, Any] | None:
        """Return the position of a cell on each axis (of `FromData` axes the values); None if it is not of the grid."""
        if (config.get("task"), config.get("protocol")) != (self._task.name, self._task.protocol):
            return None
        position: dict[str, Any] = {}
        for name, names in self._names.items():
            part = {entry: config[entry] for entry in names if entry in config}
            places = self._positions.get(name)
            position[name] = tuple(part.values()) if places is None else places.get(cell_key(part))
            if len(part) < len(names) or position[name] is None:
                return None
        return position if self._task.admits(config) else None
