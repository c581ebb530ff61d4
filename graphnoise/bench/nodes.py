"""The grid of `graphnoise bench nodes`: data set × method × noise × rate × draw × initialisation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from .. import _check, datasets
from .._check import DataError, InputError
from ..experiment import Progress, Store, Summary, run_grid
from ..noise import LabelNoise
from .environment import Meter, environment, one_thread
from .measures import Curves, measure, pack
from .methods import create
from .problem import Problem, Task

PROTOCOL = 1  # changes whenever the same configuration would give other results
SELECTIONS = ("noisy", "clean")
OPTIONS: dict[str, dict[str, Any]] = {"spreading": {"probability": 0.5}}  # of noise kinds that need some


@dataclass(frozen=True)
class Grid:
    """What to run. Every list is crossed with every other.

    Attributes:
        datasets: Names (`graphnoise data list`), or paths as `datasets.load` takes them.
        methods: Names of installed methods.
        noise: Kinds of noise, see `graphnoise.noise.LabelNoise`.
        rates: Flip rates in [0, 1]; at rate 0 all kinds are one and the same.
        draws: Number of noise draws.
        inits: Number of initialisations for each draw, independent of those for other draws.
        first_draw: Seed of the first draw; the others follow it.
        select: Whether methods see "noisy" validation labels or "clean" ones.
        exact: Exact counts of flips instead of independent draws.
        legacy: The noise stream of ERASE's code (training labels only, so it goes with select="clean").
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
    legacy: bool = False
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
        _check.choice("select", self.select, SELECTIONS)
        if self.legacy and self.select != "clean":
            _check.fail("legacy", "select='clean' (that stream corrupts training labels only)", repr(self.select))
        draws, inits = _check.integer("draws", self.draws, 1), _check.integer("inits", self.inits, 1)
        first = _check.integer("first_draw", self.first_draw, 0)
        kinds = [_check.choice("noise", kind, LabelNoise.kinds) for kind in _some("noise", self.noise)]
        rates = [_check.rate("rate", rate) for rate in _some("rates", self.rates)]
        methods = {name: create(name, self.overrides.get(name)) for name in _some("methods", self.methods)}
        for name in self.overrides:
            _check.choice("overrides", name, [*methods, *kinds])
        noise = [self._noise(kind, rate) for kind, rate in itertools.product(kinds, rates)]
        unique = {repr(sorted(entry.items())): entry for entry in noise}
        cells = []
        for dataset in _some("datasets", self.datasets):
            problem = load(dataset, self.root, _check.integer("split_seed", self.split_seed, 0))
            for entry in unique.values():
                corrupt(problem, entry, self.select, first)  # an impossible rate is refused here, not in each cell
            cells += [
                {
                    "task": "nodes",
                    "protocol": PROTOCOL,
                    "dataset": dataset,
                    "data": problem.digest,
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
                for init in range(inits if method.stochastic else 1)
            ]
        return cells

    def _noise(self, kind: str, rate: float) -> dict[str, Any]:
        if rate == 0:
            return {"kind": "none", "rate": 0.0, "exact": False, "legacy": False, "options": {}}
        options = {**OPTIONS.get(kind, {}), **self.overrides.get(kind, {})}
        return {"kind": kind, "rate": rate, "exact": self.exact, "legacy": self.legacy, "options": options}


def _some(name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not values:
        _check.fail(name, "a list with at least one entry", repr(values))
    return list(dict.fromkeys(values))


@functools.lru_cache(maxsize=4)
def load(dataset: str, root: str | None, split_seed: int) -> Problem:
    """Return a data set as a problem, loaded once a process."""
    try:
        return Problem(datasets.load(dataset, root, seed=split_seed))
    except InputError as error:
        raise InputError(f"{dataset}: {error}") from error


def corrupt(problem: Problem, noise: Mapping[str, Any], select: str, seed: int) -> tuple[Tensor, dict[str, float]]:
    """Return the given labels (-1 outside training and validation nodes) and the realised rates by split."""
    seen = problem.train_mask | problem.val_mask
    given = torch.where(seen, problem.truth, torch.tensor(-1))
    if noise["kind"] == "none":
        return given, {"train": 0.0, "val": 0.0}
    splits = ("train",) if select == "clean" else ("train", "val")
    options = dict(noise["options"])
    if noise["kind"] == "confidence":
        options["probabilities"] = clean_probabilities(problem)
    transform = LabelNoise(noise["kind"], noise["rate"], splits, seed, noise["exact"], noise["legacy"], **options)
    data = Data(
        x=problem.x,
        edge_index=problem.graph.edge_index,
        y=problem.truth,
        train_mask=problem.train_mask,
        val_mask=problem.val_mask,
    )
    noisy = transform(data)
    return torch.where(seen, noisy.y, given), {"train": 0.0, "val": 0.0, **noisy.noise_rate}


def clean_probabilities(problem: Problem) -> Tensor:
    """Return what SGC, trained on the true labels, believes: the model of confidence-dependent noise."""
    method, _ = create("sgc")
    given = torch.where(problem.train_mask | problem.val_mask, problem.truth, torch.tensor(-1))
    scores = method.fit_predict(Task(problem, given, 0)).double()
    return scores / scores.sum(1, keepdim=True)


def run_cell(config: Mapping[str, Any], root: str | None = None) -> dict[str, Any]:
    """Run one cell and return its record.

    Raises:
        DataError: The data set is not the one that the cell was made for.
        InputError: The method returned scores of the wrong shape or that are not finite.
    """
    problem = load(config["dataset"], root, config["split_seed"])
    if problem.digest != config["data"]:
        raise DataError(f"{config['dataset']}: expected data with hash {config['data']}, got {problem.digest}")
    method, _ = create(config["method"], config["parameters"])
    given, realised = corrupt(problem, config["noise"], config["select"], config["draw"])
    # Initialisations are nested in draws: no two cells share one, so that a mean over draws averages both.
    seed = int(np.random.SeedSequence([config["draw"], config["init"]]).generate_state(1)[0])
    curves, meter = Curves(problem, given), Meter()
    with one_thread():
        meter.start()
        scores = method.fit_predict(Task(problem, given, seed, curves.record))
        used = meter.read()
    shape = (problem.num_nodes, problem.num_classes)
    if tuple(scores.shape) != shape or not bool(torch.isfinite(scores).all()):
        _check.fail(f"scores of {config['method']}", f"finite scores of shape {shape}", f"shape {tuple(scores.shape)}")
    predicted = scores.argmax(1)
    return {
        **measure(problem, given, predicted),
        "realised_rate": realised,
        "draw_seed": config["draw"],
        "init_seed": seed,
        "curves": curves.result(),
        "predictions": pack(predicted),
        "run": {**used, **environment()},
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
    cells = grid.cells()
    work = functools.partial(run_cell, root=grid.root)
    return run_grid(cells, work, store, jobs=jobs, executor=executor, on_done=on_done)
