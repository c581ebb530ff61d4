"""`graphnoise bench recommend`: recommenders on noisy clicks, all tuned by searches of the same budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from graphnoise import checks
from graphnoise.bench import options, registry
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.grid import Count, Flag, GridModel, Names, Rates, Seed, Specs, each, one_of, option
from graphnoise.bench.record import RUN, Column, count, mapping, share
from graphnoise.bench.task import Axis, FromData, Part, Task, check_digest, check_noise, entries, rows, unique
from graphnoise.errors import InputError
from recsys.base import Recommender
from recsys.bench import data, methods, page, report
from recsys.bench.report import METRIC, METRICS, PROCEDURES, RULE
from recsys.bench.search import load_optuna, search
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import Interactions
from recsys.metrics import Values
from recsys.splits import Split

# Rows of every table.
ALWAYS = ("popularity", "itemknn-plain")
METHODS = ("itemknn", "als", "ease", "bpr", "linear")


class RecommendGrid(GridModel):
    """What to run. Every list is crossed with every other; popularity and plain ItemKNN are in every table."""

    datasets: Names = option(
        ("ml-100k",),
        f"Data sets, {data.EXAMPLE}, or files (clicks.csv:user=NAME,item=NAME, names of columns), separated by commas.",
        "--dataset",
    )
    methods: Specs = option(METHODS, "Methods, separated by commas; NAME:PARAMETER=VALUE sets one.", "--method")
    noise: Annotated[tuple[str, ...], each(lambda name, value: checks.choice(name, value, data.NOISE))] = option(
        ("false-positive", "false-negative"), f"Kinds of noise, separated by commas: {', '.join(data.NOISE)}."
    )
    rates: Rates = option((0.0, 0.2), "Added or hidden clicks as shares of the clicks, separated by commas.", "--rate")
    seeds: Count = option(3, "Seeds of noise, search and training.")
    trials: Count = option(20, "Settings that the search of each method may try.")
    select: Annotated[str, one_of("noisy", "clean")] = option("noisy", "Validation of the search: noisy or clean.")
    split_seed: Seed = option(0, "Seed of the split where none is published.")
    protocol: Annotated[str, one_of("honest", "published")] = option(
        "honest", "honest: settings are chosen on validation; published: trained on all of a published training part."
    )
    refit: Flag = option(False, "Train the chosen setting again, on training and validation clicks.")

    @property
    def procedure(self) -> str:
        """The entry of configurations that stands for protocol and refit; with refit both protocols are the same."""
        return "refit" if self.refit else self.protocol


def _row(spec: options.Spec, grid: RecommendGrid) -> Part:
    """Return a row; a method without a search has the same cell for any number of trials."""
    method, fixed = methods.parse(spec)
    budget = grid.trials if method.searched(fixed) and grid.procedure != "published" else 1
    return {"method": spec.name, "version": method.version, "fixed": fixed, "trials": budget}


def _noise(grid: RecommendGrid) -> list[Part]:
    """Return the noise axis; at rate 0 all kinds are the same."""
    none = {"noise": {"kind": "none", "rate": 0.0}}
    pairs = ((kind, rate) for kind in grid.noise for rate in grid.rates)
    return unique({"noise": {"kind": kind, "rate": rate}} if kind != "none" and rate else none for kind, rate in pairs)


def _share(text: str) -> Any:
    return share(text or "missing")


def _size(text: str) -> int:
    return checks.integer("value", int(text), 1)


def _optional_size(text: str) -> int | None:
    return _size(text) if text else None


def _optional_count(text: str) -> int | None:
    return count(text) if text else None


def _users(text: str) -> str:
    data.unpack(text)
    return text


class Recommend(Task[RecommendGrid]):
    """Recommenders for implicit feedback under false and hidden clicks."""

    name = "recommend"
    protocol = 1
    help = "Measure recommenders on noisy clicks, each tuned on validation with the same number of trials."
    Grid = RecommendGrid
    order = ("dataset", "data", "setting", "noise", "row", "seed")
    plot_name = "ndcg.png"
    columns = (
        # Of methods that train by epochs; empty for the others.
        Column("epochs_run", "result.epochs.run", _optional_size),
        Column("epoch_picked", "result.epochs.picked", _optional_size),
        Column("epoch_oracle", "result.epochs.oracle", _optional_size),
        Column("oracle_test", "result.epochs.oracle_test", share),
        Column("epoch_rule", "result.epochs.rule", lambda text: text or None),
        Column("dataset", "config.dataset", str),
        Column("data", "config.data", str),
        Column("split_seed", "config.split_seed", count),
        Column("noise", "config.noise.kind", lambda text: checks.choice("value", text, data.NOISE)),
        Column("rate", "config.noise.rate", _share),
        Column("select", "config.select", str),
        Column(
            "procedure", "config.procedure", lambda text: checks.choice("value", text, PROCEDURES), default="honest"
        ),
        Column("seed", "config.seed", count),
        Column("method", "config.method", str),
        Column("version", "config.version", str),
        Column("fixed", "config.fixed", mapping),
        Column("trials", "config.trials", _size),
        Column("realised_false_positive", "result.realised_rate.false_positive", _share),
        Column("realised_false_negative", "result.realised_rate.false_negative", _share),
        Column("parameters", "result.parameters", mapping),
        # Empty where nothing is chosen.
        Column("best_trial", "result.best_trial", _optional_count),
        Column("validation", "result.validation", share),
        *(Column(metric, f"result.test.{metric}", _share) for metric in METRICS),
        *RUN,
        Column("users", "result.users", _users),
    )

    def axes(self, grid: RecommendGrid) -> Mapping[str, Axis]:
        """Return the axes; seeds are outermost, so that a grid that is stopped early has all settings."""
        specs = [*(options.parse("method", name) for name in ALWAYS), *grid.methods]
        return {
            "dataset": entries("dataset", grid.datasets),
            "data": FromData(("data",)),
            "setting": [{"split_seed": grid.split_seed, "select": grid.select, "procedure": grid.procedure}],
            "seed": entries("seed", range(grid.first_seed, grid.first_seed + grid.seeds)),
            "noise": _noise(grid),
            "row": rows((spec.label, _row(spec, grid)) for spec in specs),
        }

    def load(self, dataset: str, grid: RecommendGrid, root: str | None) -> Mapping[str, Sequence[Part]]:
        """Load a data set, and draw each noise once; Optuna has to be there where a method is searched."""
        published = grid.procedure == "published"
        if not published and any(method.searched(fixed) for method, fixed in map(methods.parse, grid.methods)):
            load_optuna()
        if grid.protocol == "published" and not published:
            # Raises where no split is published.
            data.load(dataset, root, published=True)
        split, digest = data.load(dataset, root, grid.split_seed, published)
        methods.check_fits(grid.methods, dataset, split.train.matrix)
        for part in _noise(grid):
            data.corrupt(dataset, split, part["noise"], grid.select, grid.first_seed)
        return {"data": entries("data", [digest])}

    def describe(self, config: Part) -> str:
        """Return data set, method, noise and seed."""
        noise = f"{config['noise']['kind']} {config['noise']['rate']:g}"
        return f"{config['dataset']} {report.label(config)}, {noise}, seed {config['seed']}"

    def complete(self, record: dict[str, Any]) -> None:
        """Check columns against each other; no values of epochs are no epochs."""
        check_noise(record["config"]["noise"])
        chosen = [record["result"][name] for name in ("validation", "best_trial")]
        if chosen.count(None) != 2 * (record["config"]["procedure"] == "published"):
            checks.fail("validation, best_trial", "values, but none under procedure published", chosen)
        epochs = record["result"]["epochs"]
        if epochs["rule"] is None:
            record["result"]["epochs"] = None
        elif None in epochs.values():
            checks.fail("epochs", "a value in all of their columns, or in none", "some")

    def run_cell(self, config: Part, root: str | None = None) -> dict[str, Any]:
        """Search on validation with the cell's budget, and measure the chosen setting on the clean test part.

        Raises:
            DataError: The data set is not the one of the configuration.
            InputError: No setting of the search could be fitted.
        """
        name, fixed, seed, procedure = (config[key] for key in ("method", "fixed", "seed", "procedure"))
        clean, digest = data.load(config["dataset"], root, config["split_seed"], procedure == "published")
        check_digest(config, digest)
        split, realised = data.corrupt(config["dataset"], clean, config["noise"], config["select"], seed)
        for_choices = data.for_choices(split)
        method: methods.Method = registry.load("recommenders", name)
        trials, meter = list[dict[str, Any]](), Meter()

        def score(parameters: dict[str, Any]) -> float | None:
            began, entry = time.perf_counter(), dict[str, Any]()
            try:
                model = method.model({**parameters, **fixed}, seed)
                value = _fit(model, for_choices, method.epochs)
            except InputError as diverged:
                value, entry = None, {"error": " ".join(str(diverged).split())[:200]}
            else:
                entry = {"epochs": model.best_epoch + 1} if method.epochs else {}
            entry = {"parameters": parameters, "score": None if value is None else round(value, 6), **entry}
            trials.append({**entry, "seconds": round(time.perf_counter() - began, 3)})
            return value

        # A setting that diverges raises, so NumPy need not warn before.
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            meter.start()
            best, validation, parameters, known = None, None, dict(fixed), split.train
            if procedure != "published":
                best = search(method.searched(fixed), config["trials"], [seed, 1], score, method.start(fixed))
                if best is None:
                    raise InputError(f"{name}: expected a setting that can be fitted, got none: {trials[-1]['error']}")
                chosen = trials[best]
                parameters, validation = {**chosen["parameters"], **fixed}, chosen["score"]
                if procedure == "refit":
                    together = split.train.matrix + split.validation.matrix
                    known = Interactions(together, dislikes=split.train.dislikes)
                    parameters |= {"iterations": chosen["epochs"]} if method.epochs else {}
            model = method.model(parameters, seed)
            curve: list[float] = []

            def watch(epoch: int, *_: object) -> None:
                curve.append(evaluate(model, split.train, split.test, [METRIC], num_threads=1)[METRIC])

            watched = procedure == "honest" and method.epochs
            if watched:
                # Fitted again, with the test part evaluated after each epoch.
                _fit(model, for_choices, True, watch)
            else:
                model.fit(known, False)
            tested = evaluate(model, known, split.test, METRICS, num_threads=1)
            used = meter.read()
        return {
            "parameters": parameters,
            "validation": validation,
            "test": {metric: round(float(value), 6) for metric, value in tested.means.items()},
            "users": data.pack(_by_user(tested, clean)),
            "epochs": _epochs(model, curve) if watched else None,
            "trials": trials,
            "best_trial": best,
            "realised_rate": realised,
            "run": {**used, **environment()},
        }

    sections = staticmethod(report.sections)
    render = staticmethod(report.render)
    figures = staticmethod(report.figures)
    page_figures = page.page_figures


def _fit(model: Recommender, split: Split, epochs: bool, watch: Callable[..., object] | None = None) -> float:
    """Fit a model, let validation pick the epoch where it trains by epochs, and return the validation score."""
    if epochs:
        model.fit(split.train, False, watch, validation=split.validation)
        history: list[float] = model.history
        return max(history)
    model.fit(split.train, False)
    return evaluate(model, split.train, split.validation, [METRIC], num_threads=1)[METRIC]


def _by_user(tested: Evaluation, clean: Split) -> Values:
    """Return the values of all users of the clean test part, NaN for those whose training clicks are all hidden."""
    users = np.flatnonzero(np.diff(clean.test.matrix.indptr))
    values = np.full(len(users), np.nan)
    values[np.searchsorted(users, tested.users)] = tested.values[METRIC]
    return values


def _epochs(model: Any, curve: list[float]) -> dict[str, Any]:
    """Return the epoch that validation picked, and the one of those run that is best on the test part."""
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
