"""Which benchmark a suite, a folder or a table is of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import results, suite, suite_file, words
from graphnoise.bench.clusters import suite as cluster_suite
from graphnoise.bench.clusters import table as cluster_table
from graphnoise.bench.grids import GridSuite
from graphnoise.bench.results import Source
from graphnoise.bench.runner import Progress, Store, Summary
from graphnoise.bench.suite import Selected, named
from graphnoise.checks import DataError

TASKS = {"nodes": "graphnoise bench nodes", "cluster": "graphnoise bench cluster"}  # and what records its cells
Suite = suite.Suite | GridSuite

__all__ = ["TASKS", "Suite", "read_source", "read_suite", "run_suite", "split"]


def read_suite(path: Path, root: str | None = None) -> Suite:
    """Read a suite of the benchmark that its `task` names: `nodes` (also where there is none) or `cluster`.

    Raises:
        InputError: The file cannot be read, or is wrong; the message names file, grid and key.
    """
    task = words.parse(path).get("task", "nodes")
    with named(path):
        checks.choice("task", task, TASKS)
    return suite_file.read(path, root) if task == "nodes" else cluster_suite.read(path, root)


def run_suite(
    suite_: Suite,
    store: Store,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    on_done: Callable[[Progress], object] | None = None,
) -> Summary:
    """Run a suite into a store, see `suite.run` and `GridSuite.run`."""
    if isinstance(suite_, suite.Suite):
        return suite.run(suite_, store, jobs=jobs, executor=executor, on_done=on_done)
    return suite_.run(store, jobs=jobs, executor=executor, on_done=on_done)


def read_source(path: Path) -> Source:
    """Return the cells of a folder, or of a table that `graphnoise report --csv` wrote.

    Raises:
        DataError: The table cannot be read, or is none.
    """
    if not path.is_file():
        return Store(path)
    return cluster_table.Table(path) if cluster_table.is_table(path) else results.Table(path)


def split(
    source: Source, task: str | None = None, known: Mapping[str, str] = TASKS
) -> tuple[dict[str, Selected], list[str]]:
    """Return the cells of each benchmark in a source, in the order of `known`, and what a user should know.

    Args:
        source: A folder, a table, or what a suite selected.
        task: The one to take, or None for all.
        known: Benchmarks, and what records their cells.

    Raises:
        DataError: There is no cell of it, or of any.
    """
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for record in source.records():
        found[record["config"].get("task")].append(record)
    remarks = source.remarks()
    if others := sum(len(records) for name, records in found.items() if name not in known):
        remarks.append(f"{source.folder}: {others} cells of another protocol are kept and left out")
    wanted = [name for name in known if task in (None, name)]
    parts = {name: Selected(source.folder, found[name], []) for name in wanted if name in found}
    if not parts:
        commands = " or ".join(f"`{known[name]}`" for name in wanted)
        raise DataError(f"{source.folder}: expected cells of {commands}, got none")
    return parts, remarks
