"""The grid of `graphnoise bench cluster`: data set × labels × class × method, with several seed nodes in each."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from graphnoise import checks
from graphnoise.bench.clusters import labels, methods, problem
from graphnoise.bench.clusters.methods import Candidate, Trial
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.runner import Progress, Store, Summary, cell_key
from graphnoise.bench.runner import run_cells as run_grid
from graphnoise.checks import DataError

PROTOCOL = 1  # changes whenever the same configuration would give other results
MULTIPLES = {"degree": (1.5, 2.0, 2.5, 3.0, 4.0, 5.0), "unit": (0.8, 1.1, 1.5, 2.0, 3.0)}
MOST = 10_000  # seeds of a class
MOST_CELLS = 1_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Grid:
    """What to run. Every list is crossed with every other; `labels` alone always stands in the table.

    Attributes:
        datasets: Names (`graphnoise data list`), paths, or `planted(n=10000,block=500,p=0.03,q=0.002,seed=0)`.
        methods: As `methods.create` reads them: `lfd`, `lfd:eps=0.2`.
        accuracies: As `labels.read` reads them: `0.9/0.95`, `logistic:25`.
        seeds_per_class: Seed nodes, each with labels of its own.
        first_seed: Number of the first of them.
        sink: What a node holds in flow diffusion: its degree, or one unit.
        multiples: Source masses as multiples of what the true cluster holds; by default those of the papers.
        root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.
    """

    datasets: Sequence[str] = ("coauthor-cs",)
    methods: Sequence[str] = ("labels", "fd", "lfd", "acl", "lacl")
    accuracies: Sequence[str] = ("0.9/0.95",)
    seeds_per_class: int = 6
    first_seed: int = 0
    sink: str = "degree"
    multiples: Sequence[float] = ()
    root: str | None = None

    def cells(self) -> list[dict[str, Any]]:
        """Check everything that can be checked before the first cell runs, and return the configurations.

        Raises:
            InputError: An unknown name, a value out of range.
            DataError: A data set cannot be had.
        """
        sink = checks.choice("sink", self.sink, MULTIPLES)
        seeds = checks.integer("seeds_per_class", self.seeds_per_class, 1, MOST)
        first = checks.integer("first_seed", self.first_seed, 0)
        multiples = [checks.real("multiples", value, 1e-3, 1e6) for value in self.multiples] or list(MULTIPLES[sink])
        made = _distinct(methods.create(name) for name in ["labels", *_some("methods", self.methods)])
        sources = _distinct(labels.read(text) for text in _some("accuracies", self.accuracies))
        cells: list[dict[str, Any]] = []
        for dataset in dict.fromkeys(_some("datasets", self.datasets)):
            loaded = problem.load(dataset, self.root)
            if not loaded.classes:
                checks.fail("dataset", "a graph with nodes that have neighbours", f"{dataset}, without an arc")
            for source, target in itertools.product(sources, loaded.classes):
                labels.check(loaded, loaded.y == target, source)
            cells += [
                {
                    "task": "cluster",
                    "protocol": PROTOCOL,
                    "dataset": dataset,
                    "data": loaded.digest,
                    "labels": source,
                    "class": target,
                    "method": name,
                    "version": methods.version(name),
                    "parameters": parameters,
                    "seeds": seeds,
                    "first_seed": first,
                    "sink": sink,
                    "multiples": multiples,
                }
                for source, target, (name, parameters) in itertools.product(sources, loaded.classes, made)
            ]
        if len(cells) > MOST_CELLS:
            checks.fail("datasets × methods", f"a grid of at most {MOST_CELLS:,} cells", f"{len(cells):,}")
        return cells


def _some(name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not values:
        checks.fail(name, "a list with at least one entry", repr(values))
    return list(values)


def _distinct(values: Iterable[T]) -> list[T]:
    return list({cell_key({"value": value}): value for value in values}.values())


def trials(config: Mapping[str, Any], loaded: problem.Problem) -> Iterator[tuple[Trial, labels.Labels]]:
    """Yield the trials of a cell: seed node and labels depend on data set, labels and class, not on the method."""
    graph, members = loaded.graph, loaded.y == config["class"]
    volume = float(graph.degree[members].sum())
    held, most = (volume, graph.volume) if config["sink"] == "degree" else (float(members.sum()), graph.num_nodes)
    # More mass than the whole graph holds has nowhere to go: such multiples are left out, but for the smallest.
    multiples = [value for value in config["multiples"] if value * held < most] or [min(config["multiples"])]
    masses, volumes = ([multiple * size for multiple in multiples] for size in (held, volume))
    for number in range(config["first_seed"], config["first_seed"] + config["seeds"]):
        seed, given = _drawn(loaded, config["class"], labels.words(config["labels"]), number)
        yield Trial(graph, seed, given.y, given.a1, given.a0, masses, volumes, config["sink"]), given


@functools.lru_cache(maxsize=64)
def _drawn(loaded: problem.Problem, target: int, source: str, number: int) -> tuple[int, labels.Labels]:
    """Draw a seed node and labels; the methods of a class follow one another, and need not fit a classifier each."""
    members = loaded.y == target
    rng = np.random.default_rng([number, target])
    seed = int(rng.choice((members & (loaded.graph.degree > 0)).nonzero()[0]))
    return seed, labels.draw(loaded, members, seed, labels.read(source), rng)


def run_cell(config: Mapping[str, Any], root: str | None = None) -> dict[str, Any]:
    """Run one cell and return its record: for each seed, the candidate chosen and the best one by its F1.

    Raises:
        DataError: The data set is not the one that the cell was made for.
    """
    loaded = problem.load(config["dataset"], root)
    if loaded.digest != config["data"]:
        raise DataError(f"{config['dataset']}: expected data with hash {config['data']}, got {loaded.digest}")
    members = loaded.y == config["class"]
    meter, found = Meter(), []
    with one_thread():
        meter.start()
        for trial, given in trials(config, loaded):
            tried = list(methods.run(config["method"], config["parameters"], trial))
            hits = [int(members[candidate.nodes].sum()) for candidate in tried]
            picked = min(range(len(tried)), key=lambda i: tried[i].conductance)
            best = max(range(len(tried)), key=lambda i: hits[i] / (len(tried[i].nodes) + members.sum()))
            found.append(
                {
                    "seed": trial.seed,
                    "a1": round(given.realised[0], 6),
                    "a0": round(given.realised[1], 6),
                    "picked": _entry(tried[picked], hits[picked]),
                    "oracle": _entry(tried[best], hits[best]),
                    "pushes": sum(candidate.pushes for candidate in tried),
                    "arcs": sum(candidate.arcs for candidate in tried),
                    "seconds": round(sum(candidate.seconds for candidate in tried), 6),
                    "converged": all(candidate.converged for candidate in tried),
                }
            )
        used = meter.read()
    return {"size": int(members.sum()), "trials": found, "run": {**used, **environment()}}


def _entry(candidate: Candidate, hits: int) -> dict[str, Any]:
    return {
        "mass": None if math.isnan(candidate.mass) else round(candidate.mass, 6),
        "size": len(candidate.nodes),
        "hits": hits,
        "conductance": round(candidate.conductance, 6),
    }


def run(
    grid: Grid,
    store: Store,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    on_done: Callable[[Progress], object] | None = None,
) -> Summary:
    """Run a grid into a store, going on where an earlier run of it stopped.

    Args:
        grid: What to run.
        store: Where the cells are recorded.
        jobs: Processes; each runs its cells on one thread, so results do not depend on this number.
        executor: Any `concurrent.futures.Executor` to run the cells in, instead of local processes.
        on_done: Called after each cell.

    Raises:
        InputError: The grid is not valid.
        DataError: Data cannot be had, or the store cannot be written.
    """
    return run_cells(grid.cells(), store, grid.root, jobs, executor, on_done)


def run_cells(
    cells: Sequence[dict[str, Any]],
    store: Store,
    root: str | None,
    jobs: int,
    executor: Executor | None,
    on_done: Callable[[Progress], object] | None,
) -> Summary:
    """Run the cells of a grid or a suite into a store, see `run`."""
    work = functools.partial(run_cell, root=root)
    workers = min(checks.integer("jobs", jobs, 1), len(cells))
    return run_grid(cells, work, store, jobs=workers, executor=executor, on_done=on_done)
