"""Sections and table helpers of the reports of all tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from graphnoise.statistics import Estimate

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


def render(task: Task[Any], section: Section) -> Iterator[RenderableType]:
    """Yield the heading and the tables of a section."""
    yield Text(f"\n{section.heading}", style="bold reverse")
    yield from task.render(section)


def columns(first: str, others: Sequence[str], *, fold: bool = False) -> Table:
    """Return an empty table: a first column for names, the others for numbers.

    With `fold`, long names take several lines where a table is too wide, so that no number is cut.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def headline(text: str, note: str) -> Text:
    """Return what stands above a table."""
    return Text.assemble("\n", (text, "bold"), "\n", (note, "dim"))


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


def best_rows(
    table: Table, rows: Mapping[str, Sequence[Estimate | None]], write: Callable[[Estimate | None], str] = interval
) -> None:
    """Add rows of estimates to a table; the best mean of each column is bold."""
    tops = [max((e.mean for e in column if e), default=None) for column in zip(*rows.values(), strict=True)]
    for label, row in rows.items():
        cells = [Text(write(e), "bold" if e and e.mean == top else "") for e, top in zip(row, tops, strict=True)]
        table.add_row(label, *cells)


def span(counts: Iterable[int]) -> str:
    """Return a range of counts.

    Example:
        >>> span([3, 3]), span([2, 3])
        ('3', '2–3')
    """
    low, high = min(counts := list(counts)), max(counts)
    return f"{low}" if low == high else f"{low}–{high}"
