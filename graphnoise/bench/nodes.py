"""The grid of `graphnoise bench nodes`: data set × method × noise × rate × draw × initialisation."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks, datasets
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.methods import create, is_stochastic
from graphnoise.bench.node_metrics import Curves, measure, pack
from graphnoise.bench.problem import Instance, Task
from graphnoise.bench.runner import Progress, Store, Summary, run_grid
from graphnoise.checks import DataError, InputError
from graphnoise.noise import LabelNoise

PROTOCOL = 1  # changes whenever the same configuration would give other results
SELECTIONS = ("noisy", "clean")
MOST = 10_000  # draws, and initialisations of each
MOST_CELLS = 1_000_000
NEIGHBOURLY = ("structure", "cascade", "tree_propagated")  # kinds that read the labels of all nodes
OPTIONS: dict[str, dict[str, Any]] = {"cascade": {"probability": 0.5}}  # of noise kinds that need some


@dataclass(frozen=True)
class Grid:
    """What to run. Every list is crossed with every other.

    Attributes:
        datasets: Names (`graphnoise data list`), or paths as `datasets.load` takes them.
        methods: Names of installed methods.
        noise: Kinds of noise, see `graphnoise.noise.LabelNoise`.
        rates: Flip rates in [0, 1]; at rate 0 all kinds are one and the same.
        draws: Number of noise draws.
        inits: Number of initialisations for each draw, with other seeds than those for other draws.
        first_draw: Seed of the first draw; the others follow it.
        select: Whether methods see "noisy" validation labels or "clean" ones.
        exact: Exact counts of flips instead of independent draws.
        erase_stream: The noise stream of ERASE's code (training labels only, so it goes with select="clean").
        split_seed: Seed of the split of data sets without a public one.
        root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.
        overrides: Hyper-parameters by method, options by noise kind.
    """

    datasets: Sequence[str] = ("cora",)
    methods: Sequence[str] = ("lp", "sgc", "gcn", "gat", "mlp")
    noise: Sequence[str] = ("symmetric", "pair", "asymmetric")
    rates: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    draws: int = 10
    inits: int = 1
    first_draw: int = 0
    select: str = "noisy"
    exact: bool = False
    erase_stream: bool = False
    split_seed: int = 0
    root: str | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def cells(self) -> list[dict[str, Any]]:
        """Check everything that can be checked before the first cell runs, and return the configurations.

        Raises:
            InputError: An unknown name, a rate out of range or impossible for its family, a hyper-parameter that no
                method has, data that are not valid.
            DataError: A data set cannot be had.
        """
        checks.choice("select", self.select, SELECTIONS)
        if self.erase_stream and self.select != "clean":
            checks.fail("erase_stream", "select='clean' (that stream corrupts training labels only)", repr(self.select))
        draws = checks.integer("draws", self.draws, 1, MOST)
        inits = checks.integer("inits", self.inits, 1, MOST)
        first = checks.integer("first_draw", self.first_draw, 0)
        kinds = [checks.choice("noise", kind, LabelNoise.kinds) for kind in _some("noise", self.noise)]
        rates = [checks.rate("rate", rate) for rate in _some("rates", self.rates)]
        methods = {name: create(name, self.overrides.get(name)) for name in _some("methods", self.methods)}
        for name in self.overrides:
            checks.choice("overrides (--set)", name, [*methods, *kinds])
            if name in kinds and "num_classes" in self.overrides[name]:
                checks.fail(f"{name}.num_classes", "none: the data say how many", self.overrides[name]["num_classes"])
        noise = [self._noise(kind, rate) for kind, rate in itertools.product(kinds, rates)]
        unique = {repr(sorted(entry.items())): entry for entry in noise}
        total = draws * inits * len(unique) * len(methods) * len(_some("datasets", self.datasets))
        if total > MOST_CELLS:
            checks.fail("draws × inits", f"a grid of at most {MOST_CELLS:,} cells", f"up to {total:,}")
        cells = []
        for dataset in _some("datasets", self.datasets):
            instance = load(dataset, self.root, checks.integer("split_seed", self.split_seed, 0))
            for entry in unique.values():
                corrupt(instance, entry, self.select, first)  # an impossible rate is refused here, not in each cell
            cells += [
                {
                    "task": "nodes",
                    "protocol": PROTOCOL,
                    "dataset": dataset,
                    "data": instance.digest,
                    "split_seed": self.split_seed,
                    "noise": entry,
                    "select": self.select,
                    "draw": draw,
                    "init": init,
                    "method": name,
                    "version": method.version,
                    "parameters": parameters,
                }
                # Draws outermost: a grid that is stopped early has all settings at fewer draws.
                for draw, entry in itertools.product(range(first, first + draws), unique.values())
                for name, (method, parameters) in methods.items()
                for init in range(inits if is_stochastic(method) else 1)
            ]
        return cells

    def _noise(self, kind: str, rate: float) -> dict[str, Any]:
        if rate == 0:
            return {"kind": "none", "rate": 0.0, "exact": False, "erase_stream": False, "options": {}}
        options = {**OPTIONS.get(kind, {}), **self.overrides.get(kind, {})}
        return {"kind": kind, "rate": rate, "exact": self.exact, "erase_stream": self.erase_stream, "options": options}


def _some(name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not values:
        checks.fail(name, "a list with at least one entry", repr(values))
    return list(dict.fromkeys(values))


@functools.lru_cache(maxsize=4)
def load(dataset: str, root: str | None, split_seed: int) -> Instance:
    """Return a data set with its truth, loaded once a process."""
    try:
        return Instance(datasets.load(dataset, root, seed=split_seed))
    except InputError as error:
        raise InputError(f"{dataset}: {error}") from error


def corrupt(instance: Instance, noise: Mapping[str, Any], select: str, seed: int) -> tuple[Tensor, dict[str, float]]:
    """Return the given labels (-1 outside training and validation nodes) and the realised rates by split.

    Raises:
        InputError: The noise is impossible here: its rate, or a kind that reads all labels where some are unknown.
    """
    problem, truth = instance.problem, instance.truth
    given = _seen(instance)
    if noise["kind"] == "none":
        return given, {"train": 0.0, "val": 0.0}
    if noise["kind"] in NEIGHBOURLY and bool((truth < 0).any()):
        checks.fail(
            "noise", "a kind that does not read the labels of all nodes, of which some are unknown", noise["kind"]
        )
    splits = ("train",) if select == "clean" else ("train", "val")
    options = dict(noise["options"])
    if noise["kind"] == "confidence":
        options["probabilities"] = clean_probabilities(instance)
    transform = LabelNoise(noise["kind"], noise["rate"], splits, seed, noise["exact"], noise["erase_stream"], **options)
    data = Data(
        x=problem.x,
        edge_index=problem.graph.edge_index,
        y=truth.clamp(min=0),  # unknown labels are in no split, and so never drawn
        train_mask=problem.train_mask,
        val_mask=problem.val_mask,
    )
    noisy = transform(data)
    return torch.where(given >= 0, noisy.y, -1), {"train": 0.0, "val": 0.0, **noisy.noise_rate}


def _seen(instance: Instance) -> Tensor:
    """Return the true labels of training and validation nodes, -1 elsewhere."""
    problem = instance.problem
    return torch.where(problem.train_mask | problem.val_mask, instance.truth, -1)


def clean_probabilities(instance: Instance) -> Tensor:
    """Return what SGC, trained on the true labels, believes: the model of confidence-dependent noise."""
    method, _ = create("sgc")
    with one_thread():
        scores = method.fit_predict(Task(instance.problem, _seen(instance), 0)).double()
    return scores / scores.sum(1, keepdim=True)


def run_cell(config: Mapping[str, Any], root: str | None = None) -> dict[str, Any]:
    """Run one cell and return its record.

    Raises:
        DataError: The data set is not the one that the cell was made for.
        InputError: The method returned scores of the wrong shape or that are not finite, changed what cells share, or
            called for the end of the process.
    """
    instance = load(config["dataset"], root, config["split_seed"])
    if instance.digest != config["data"]:
        raise DataError(f"{config['dataset']}: expected data with hash {config['data']}, got {instance.digest}")
    problem = instance.problem
    method, _ = create(config["method"], config["parameters"])
    given, realised = corrupt(instance, config["noise"], config["select"], config["draw"])
    # The seed depends on draw and initialisation only: methods are compared on like terms, and a mean over draws is a
    # mean over initialisations too.
    seed = int(np.random.SeedSequence([config["draw"], config["init"]]).generate_state(1)[0])
    curves, meter = Curves(problem, instance.truth, given), Meter()
    with (
        one_thread(),
        _unchanged(instance, config["method"], foreign=not type(method).__module__.startswith("graphnoise.")),
    ):
        meter.start()
        try:
            scores = method.fit_predict(Task(problem, given.clone(), seed, curves.record))
        except SystemExit as stop:
            raise InputError(f"{config['method']}: expected scores, got a call of sys.exit({stop.code})") from stop
        used = meter.read()
    predicted = _classes(scores, config["method"], (problem.num_nodes, problem.num_classes))
    return {
        **measure(problem, instance.truth, given, predicted),
        "realised_rate": realised,
        "draw_seed": config["draw"],
        "init_seed": seed,
        "curves": curves.result(),
        "predictions": pack(predicted),
        "run": {**used, **environment()},
    }


def _classes(scores: object, method: str, shape: tuple[int, int]) -> Tensor:
    """Check what a method returned, and return the class with the largest score for each node."""
    if not isinstance(scores, Tensor):
        checks.fail(f"scores of {method}", "a tensor", type(scores).__name__)
    if tuple(scores.shape) != shape:
        checks.fail(f"scores of {method}", f"finite scores of shape {shape}", f"shape {tuple(scores.shape)}")
    if bad := int((~torch.isfinite(scores)).sum()):
        checks.fail(f"scores of {method}", f"finite scores of shape {shape}", f"{bad} NaN or infinite ones")
    return scores.detach().argmax(1)


@contextlib.contextmanager
def _unchanged(instance: Instance, method: str, *, foreign: bool) -> Iterator[None]:
    """Refuse a method that changes in place what the cells of a process share; the data are then loaded anew.

    In-place operations of torch are always noticed; those of NumPy on shared memory are for methods of other packages.
    """
    before = instance.state(contents=foreign)
    try:
        yield
    finally:
        after = instance.state(contents=foreign)
        changed = any(after.get(key) != mark for key, mark in before.items())
        if changed:
            load.cache_clear()
    if changed:
        raise InputError(f"{method}: expected inputs left as they are (clone what you change), got changes in place")


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

    Example:
        >>> import tempfile
        >>> from graphnoise import datasets
        >>> folder = tempfile.mkdtemp()
        >>> data = datasets.planted_partition([30, 30], 0.3, 0.02, num_features=8, split=(5, 20, 20), seed=0)
        >>> path = datasets.save_npz(data, f"{folder}/planted.npz")
        >>> grid = Grid([str(path)], ["lp", "sgc"], ["pair"], [0.0, 0.3], draws=2)
        >>> summary = run(grid, Store(f"{folder}/runs"))
        >>> summary.total, summary.done
        (8, 8)
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
