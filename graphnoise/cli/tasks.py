"""Which benchmark a suite, a folder or a table is of: those of `graphnoise.bench.old_tasks`, and that of recommenders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphnoise.bench import old_tasks as tasks

if TYPE_CHECKING:
    from graphnoise.bench.results import Source
    from graphnoise.bench.suite import Selected

TASKS = {**tasks.TASKS, "recommend": "graphnoise bench recommend"}

__all__ = ["TASKS", "read_source", "read_suite", "split"]


def read_suite(path: Path, root: str | None = None) -> tasks.Suite:
    """Read a suite of any benchmark; `recsys` is loaded for its own alone."""
    from graphnoise.bench import words
    from graphnoise.bench.suite import named
    from graphnoise.checks import choice

    task = words.parse(path).get("task", "nodes")
    with named(path):
        choice("task", task, TASKS)
    if task != "recommend":
        return tasks.read_suite(path, root)
    from recsys.bench import suite

    return suite.read(path, root)


def read_source(path: Path) -> Source:
    """Return the cells of a folder or of a table."""
    if path.is_file() and _head(path).count("epoch_rule"):
        from recsys.bench import table

        if table.is_table(path):
            return table.Table(path)
    return tasks.read_source(path)


def _head(path: Path) -> str:
    """Return the first line of a file, as far as it is short text."""
    with path.open("rb") as file:
        return file.readline(1 << 12).decode(errors="replace")


def split(source: Source, task: str | None = None) -> tuple[dict[str, Selected], list[str]]:
    """Return the cells of each benchmark in a source, and what a user should know."""
    return tasks.split(source, task, TASKS)
