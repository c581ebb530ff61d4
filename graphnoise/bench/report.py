"""Sections and table helpers of the reports of all tasks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rich.table import Table
from rich.text import Text

from graphnoise.bench.record import get
from graphnoise.statistics import Estimate, Values, estimate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from graphnoise.bench.task import Task

LEVEL = 0.05


@dataclass
class Section:
    """Cells that may be compared with each other, and with no others; tasks derive their own from it.

    Attributes:
        title: Data set and settings that all cells share, without the grid.
        grid: Name of the suite's grid, empty without a suite.
        methods: Labels of the rows, in the order of the tables.
    """

    title: str
    grid: str = ""
    methods: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """The title, after the name of the grid where there is one."""
        return f"{self.grid}: {self.title}" if self.grid else self.title


@dataclass
class NoiseSection(Section):
    """Cells of one data set, split and kind of validation under noise of several kinds and rates.

    Attributes:
        cells: Records by row, kind of noise and rate.
    """

    cells: dict[tuple[str, str, float], list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    # The entry of configurations that is the seed of the noise, and the kinds of noise in order.
    draw: ClassVar[str] = "draw"
    kind_order: ClassVar[Sequence[str]] = ()

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(next(iter(self.cells.values()))[0]["config"]["dataset"])

    @property
    def kinds(self) -> list[str]:
        """Kinds of noise; "none" only if there is nothing else."""
        order = {name: place for place, name in enumerate(self.kind_order)}
        kinds = sorted({kind for _, kind, _ in self.cells}, key=lambda kind: (order.get(kind.split()[0], -1), kind))
        return [kind for kind in kinds if kind != "none"] or kinds

    def rates(self, kind: str) -> list[float]:
        """Return the rates recorded for a kind, with 0 where cells without noise are recorded."""
        return sorted({rate for _, other, rate in self.cells if other in (kind, "none")})

    def records(self, method: str, kind: str, rate: float) -> list[Mapping[str, Any]]:
        """Return the records at a point; at rate 0 all kinds share the cells without noise."""
        return self.cells.get((method, kind, rate)) or self.cells.get((method, "none", rate), [])

    def values(self, method: str, kind: str, rate: float, measure: str) -> Values:
        """Return the values at a path within results, by draw; draws without a value are left out."""
        by_draw: dict[int, list[float]] = defaultdict(list)
        for record in self.records(method, kind, rate):
            if (value := get(record["result"], measure)) is not None:
                by_draw[record["config"][self.draw]].append(float(value))
        return by_draw

    def estimate(self, method: str, kind: str, rate: float, measure: str) -> Estimate | None:
        """Return the mean of a measure over draws; None where there is no value."""
        values = self.values(method, kind, rate, measure)
        return estimate(values) if values else None

    def estimates(self, kind: str, measure: str) -> dict[str, list[Estimate | None]]:
        """Return the means of a measure at all rates of a kind, by row."""
        return {m: [self.estimate(m, kind, rate, measure) for rate in self.rates(kind)] for m in self.methods}


def by_setting(
    records: Iterable[Mapping[str, Any]], selection: Callable[[Mapping[str, Any]], str]
) -> list[tuple[str, str, list[Mapping[str, Any]]]]:
    """Return title, grid and records of each grid, data set, split and kind of selection.

    Args:
        records: The records; groups are in their order if a suite selected them, sorted otherwise.
        selection: Returns from a configuration what titles say of selection, as in "noisy validation labels".
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        setting = [record["config"][key] for key in ("dataset", "data", "split_seed", "select")]
        setting.append(selection(record["config"]))
        groups[record.get("grid", ""), json.dumps(setting)].append(record)
    result = []
    for key in groups if any(grid for grid, _ in groups) else sorted(groups):
        dataset, digest, split_seed, _, selected = json.loads(key[1])
        title = f"{dataset}, {selected}, data {digest[:8]}"
        title += f", split seed {split_seed}" if split_seed else ""
        result.append((title, key[0], groups[key]))
    return result


def render(task: Task[Any], section: Section) -> Iterator[RenderableType]:
    """Yield the heading and the tables of a section."""
    yield Text(f"\n{section.heading}", style="bold reverse")
    yield from task.render(section)


def plain_table(*headers: str, **settings: Any) -> Table:
    """Return an empty table without lines."""
    return Table(*headers, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", **settings)


def columns(first: str, others: Sequence[str], *, fold: bool = False, left: int = 1) -> Table:
    """Return an empty table: columns for names, `left` in number, the others for numbers.

    Where a table is too wide, its headers take several lines, and with `fold` long names as well; no number is cut.
    """
    table = plain_table()
    for place, column in enumerate((first, *others)):
        wraps = (fold and place == 0) or place >= left
        justify: Literal["left", "right"] = "left" if place < left else "right"
        table.add_column(column, justify=justify, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    return table


def headline(text: str, note: str = "") -> Text:
    """Return what stands above a table."""
    return Text.assemble("\n", (text, "bold"), (f"\n{note}" if note else "", "dim"))


def interval(e: Estimate | None, factor: float = 100.0, digits: int = 1, sign: str = "") -> str:
    """Return a mean with half its interval, where there is one; nothing without an estimate.

    Example:
        >>> from graphnoise.statistics import estimate
        >>> interval(estimate({0: [0.5], 1: [0.6], 2: [0.7]})), interval(estimate({0: [0.5]})), interval(None)
        ('60.0±24.8', '50.0', '')
    """
    if e is None:
        return ""
    half = "" if e.half_width is None else f"±{factor * e.half_width:.{digits}f}"
    return f"{factor * e.mean:{sign}.{digits}f}{half}"


def decimal(e: Estimate | None, factor: float = 100.0, digits: int = 1) -> str:
    """Return a mean, with thousands separated; nothing without an estimate."""
    return "" if e is None else f"{factor * e.mean:,.{digits}f}"


def bold(text: str, best: bool) -> Text:
    """Return a cell, in bold where it is the best of its column."""
    return Text(text, "bold" if best else "")


def best_rows(
    table: Table,
    rows: Mapping[str, Sequence[Estimate | None]],
    write: Callable[[Estimate | None], str] = interval,
    more: Callable[[str], Iterable[str]] = lambda label: (),
) -> None:
    """Add rows of estimates to a table, the best mean of each column in bold, and `more` cells by the row's label."""
    tops = [max((e.mean for e in column if e), default=None) for column in zip(*rows.values(), strict=True)]
    for label, row in rows.items():
        cells = (bold(write(e), bool(e and e.mean == top)) for e, top in zip(row, tops, strict=True))
        table.add_row(label, *cells, *more(label))


def span(counts: Iterable[int]) -> str:
    """Return a range of counts.

    Example:
        >>> span([3, 3]), span([2, 3])
        ('3', '2–3')
    """
    low, high = min(counts := list(counts)), max(counts)
    return f"{low}" if low == high else f"{low}–{high}"
