"""The grid of `graphnoise bench recommend`: data set × noise × rate × seed × method, each with its own search."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.runner import Progress, Store, Summary, cell_key
from graphnoise.bench.runner import run_cells as run_grid
from graphnoise.checks import DataError, InputError
from recsys.base import Recommender
from recsys.bench import methods, problem
from recsys.bench.spaces import library, search
from recsys.bench.users import pack
from recsys.evaluation import Evaluation, evaluate
from recsys.metrics import Values
from recsys.splits import Split

PROTOCOL = 1  # changes whenever the same configuration would give other results
SELECTIONS = ("noisy", "clean")
METRIC = "ndcg@20"  # picks the hyper-parameters and the epoch, on validation
METRICS = (METRIC, "recall@20", "f1@10", "coverage@20")
RULE = "best validation ndcg@20, the earliest of equal ones"
MOST = 10_000
MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Grid:
    """What to run. Every list is crossed with every other; popularity and plain ItemKNN always stand in the table.

    Attributes:
        datasets: names that `recsys.datasets.load` knows, or `planted(users=400,items=200)`.
        methods: as `methods.create` reads them: `linear`, `bpr:factors=64`.
        noise: kinds: none, false-positive, false-negative, both.
        rates: shares of the positives that are added, hidden, or both.
        seeds: how many; each is a draw of the noise, of the search and of training.
        first_seed: the first of them.
        trials: settings that the search of each method may try.
        select: "noisy" validation, as noisy as training, or "clean".
        split_seed: of the split where none is published.
        root: folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.
    """

    datasets: Sequence[str] = ("amazon-nbpo",)
    methods: Sequence[str] = ("itemknn", "als", "ease", "bpr", "linear")
    noise: Sequence[str] = ("none",)
    rates: Sequence[float] = (0.2,)
    seeds: int = 5
    first_seed: int = 0
    trials: int = 20
    select: str = "noisy"
    split_seed: int = 0
    root: str | None = None

    def cells(self) -> list[dict[str, Any]]:
        """Check everything that can be checked before the first cell runs, and return the configurations.

        Raises:
            InputError: an unknown name, a value out of range, noise that is impossible, Optuna that is not installed.
            DataError: a data set cannot be had.
        """
        checks.choice("select", self.select, SELECTIONS)
        seeds, trials = (checks.integer(name, getattr(self, name), 1, MOST) for name in ("seeds", "trials"))
        first, split_seed = (checks.integer(name, getattr(self, name), 0) for name in ("first_seed", "split_seed"))
        made = rows(self.methods)
        if any(methods.space(name, fixed) for name, fixed in made):
            library()  # missed here, not in each cell
        noise = entries(self.noise, self.rates)
        sets = list(dict.fromkeys(_some("datasets", self.datasets)))
        if (total := seeds * len(made) * len(noise) * len(sets)) > MOST_CELLS:
            checks.fail("seeds × methods", f"a grid of at most {MOST_CELLS:,} cells", f"{total:,}")
        cells: list[dict[str, Any]] = []
        for dataset in sets:
            loaded = problem.load(dataset, self.root, split_seed)
            for one in noise:
                problem.corrupt(loaded, one, self.select, first)  # refused here, not in each cell
            cells += [
                {
                    "task": "recommend",
                    "protocol": PROTOCOL,
                    "dataset": dataset,
                    "data": loaded.digest,
                    "split_seed": split_seed,
                    "noise": one,
                    "select": self.select,
                    "seed": seed,
                    "method": name,
                    "version": methods.VERSION,
                    "fixed": fixed,
                    # A method without a search has the same cell at any budget.
                    "trials": trials if methods.space(name, fixed) else 1,
                }
                # Seeds outermost: a grid that is stopped early has all settings at fewer seeds.
                for seed, one, (name, fixed) in itertools.product(range(first, first + seeds), noise, made)
            ]
        return cells


def _some(name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not values:
        checks.fail(name, "a list with at least one entry", repr(values))
    return list(values)


def rows(texts: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the methods of a grid, those that stand in every table first."""
    made = [methods.create(text) for text in [*methods.ALWAYS, *_some("methods", texts)]]
    return list({cell_key({"method": one}): one for one in made}.values())


def entries(kinds: Sequence[str], rates: Sequence[float]) -> list[dict[str, Any]]:
    """Return the noise of a grid; at rate 0 all kinds are one."""
    found = [
        problem.entry(kind, rate) for kind, rate in itertools.product(_some("noise", kinds), _some("rates", rates))
    ]
    return list({cell_key(one): one for one in found}.values())


def run_cell(config: Mapping[str, Any], root: str | None = None) -> dict[str, Any]:
    """Search on validation with the cell's budget, and measure on the clean test part what the search chose.

    Raises:
        DataError: the data set is not the one that the cell was made for.
        InputError: no setting of the search could be fitted.
    """
    loaded = problem.load(config["dataset"], root, config["split_seed"])
    if loaded.digest != config["data"]:
        raise DataError(f"{config['dataset']}: expected data with hash {config['data']}, got {loaded.digest}")
    split, realised = problem.corrupt(loaded, config["noise"], config["select"], config["seed"])
    name, fixed, seed = config["method"], config["fixed"], config["seed"]
    epochs, tried, meter = methods.METHODS[name].epochs, list[dict[str, Any]](), Meter()

    def score(parameters: dict[str, Any]) -> float | None:
        began, error = time.perf_counter(), None
        try:
            found = _fit(methods.build(name, {**parameters, **fixed}, seed), split, epochs)
        except InputError as refused:  # training that diverges
            found, error = None, " ".join(str(refused).split())[:200]
        entry = {"parameters": parameters, "score": None if found is None else round(found, 6)}
        tried.append({**entry, **({"error": error} if error else {}), "seconds": round(time.perf_counter() - began, 3)})
        return found

    with one_thread(), np.errstate(over="ignore", invalid="ignore"):  # a diverging setting is refused as such
        meter.start()
        best = search(methods.space(name, fixed), config["trials"], [seed, 1], score)
        if best is None:
            raise InputError(f"{name}: expected a setting that can be fitted, got none: {tried[-1].get('error')}")
        chosen = {**tried[best]["parameters"], **fixed}
        model = methods.build(name, chosen, seed)
        curve: list[float] = []

        def watch(epoch: int, *_: object) -> None:
            curve.append(evaluate(model, split.train, split.test, [METRIC], num_threads=1)[METRIC])

        value = _fit(model, split, epochs, watch if epochs else None)  # again, with the test part watched by epoch
        tested = evaluate(model, split.train, split.test, METRICS, num_threads=1)
        used = meter.read()
    return {
        "parameters": chosen,
        "validation": round(value, 6),
        "test": {metric: round(float(number), 6) for metric, number in tested.means.items()},
        "users": pack(_by_user(tested, loaded.split)),
        "epochs": _epochs(model, curve) if epochs else None,
        "trials": tried,
        "best_trial": best,
        "realised_rate": realised,
        "run": {**used, **environment()},
    }


def _fit(model: Recommender, split: Split, epochs: bool, watch: Callable[..., object] | None = None) -> float:
    """Fit a model, let validation pick the epoch where it trains by epochs, and return the validation score."""
    if epochs:
        model.fit(split.train, False, watch, validation=split.validation)  # type: ignore[call-arg]
        history: list[float] = model.history  # type: ignore[attr-defined]
        return max(history)
    model.fit(split.train, False)
    return evaluate(model, split.train, split.validation, [METRIC], num_threads=1)[METRIC]


def _by_user(tested: Evaluation, clean: Split) -> Values:
    """Return the values of all users of the clean test part, NaN for those of whom noise has left nothing."""
    every = np.flatnonzero(np.diff(clean.test.matrix.indptr))
    out = np.full(len(every), np.nan)
    out[np.searchsorted(every, tested.users)] = tested.values[METRIC]
    return out


def _epochs(model: Any, curve: list[float]) -> dict[str, Any]:
    """Return what validation picked, and what the test part itself would have picked of the epochs that were run."""
    oracle = max(range(len(curve)), key=lambda epoch: curve[epoch])
    return {
        "rule": RULE,
        "run": len(curve),
        "picked": model.best_epoch + 1,
        "oracle": oracle + 1,
        "oracle_test": round(curve[oracle], 6),
        "validation": [round(value, 5) for value in model.history],
        "test": [round(value, 5) for value in curve],
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
        grid: what to run.
        store: where the cells are recorded.
        jobs: processes; each runs its cells on one thread, so results do not depend on this number.
        executor: any `concurrent.futures.Executor` to run the cells in, instead of local processes.
        on_done: called after each cell.

    Raises:
        InputError: the grid is not valid.
        DataError: data cannot be had, or the store cannot be written.

    Example:
        >>> import tempfile
        >>> grid = Grid(["planted(users=60,items=40,density=0.2)"], ["ease"], seeds=1, trials=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     summary = run(grid, Store(folder))
        >>> summary.total, summary.done
        (3, 3)
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


def name(config: Mapping[str, Any]) -> str:
    """Name a cell in a line: data set, method, noise, seed."""
    noise = config["noise"]
    what = label(config["method"], config["fixed"])
    return f"{config['dataset']} {what}, {noise['kind']} {noise['rate']:g}, seed {config['seed']}"


def label(method: str, fixed: Mapping[str, Any]) -> str:
    """Name a row: the method, and what is set.

    >>> label("linear", {"low_pass": 0})
    'linear:low_pass=0'
    """
    words = {True: "true", False: "false", None: "none"}
    parts = [f"{k}={words[v] if v is None or isinstance(v, bool) else v}" for k, v in sorted(fixed.items())]
    return method + (":" + ",".join(parts) if parts else "")
