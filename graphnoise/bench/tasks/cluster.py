"""The task `cluster`: local clustering from one seed node, with noisy labels; the cluster is the seed's class."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.grid import Count, Names, Seed, Specs, checked, each, flag, one_of, option
from graphnoise.bench.methods.clusterings import Candidate
from graphnoise.bench.record import RUN, Column, count, mapping
from graphnoise.bench.task import Axis, FromData, Part, Task, check_digest, entries, rows
from graphnoise.bench.tasks import cluster_page, cluster_report
from graphnoise.bench.tasks.cluster_trials import (
    check_labels,
    check_masses,
    format_labels,
    held,
    load,
    parse_labels,
    trials,
)
from graphnoise.bench.tasks.graphs import PLANTED, GraphGrid
from graphnoise.errors import InputError

MULTIPLES = {"degree": (1.5, 2.0, 2.5, 3.0, 4.0, 5.0), "unit": (0.8, 1.1, 1.5, 2.0, 3.0)}


def _multiples(name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        checks.fail(name, "a list of numbers", repr(values))
    return tuple(checks.real(name, value, 1e-3, 1e6) for value in values)


class ClusterGrid(GraphGrid):
    """What to run: data sets × labels × classes × methods. The method `labels` is always there, and comes first."""

    datasets: Names = option(("coauthor-cs",), f"Data sets, separated by commas, or {PLANTED}.", "--dataset")
    methods: Specs = option(
        ("flow", "label_flow", "pagerank", "label_pagerank"),
        "Methods, separated by commas; NAME:KEY=VALUE sets an option.",
        "--method",
    )
    accuracies: Annotated[tuple[str, ...], each(lambda _, text: format_labels(parse_labels(text)))] = option(
        ("0.9/0.95", "0.7/0.9"),
        "Labels: A1/A0 (shares right inside and outside), logistic:SAMPLES or gcn:SAMPLES.",
        "--accuracy",
    )
    seeds: Count = option(6, "Seed nodes of each class.")
    first_seed: Seed = option(0, "Number of the first of them.")
    sink: Annotated[str, one_of(*MULTIPLES)] = option("degree", "What a node holds in flow diffusion: degree or unit.")
    multiples: Annotated[tuple[float, ...], checked(_multiples)] = option(
        (),
        "Masses, as multiples of what the true cluster holds; those above what the graph holds are left out. "
        "(default: as published)",
        "--masses",
    )


# Readers of the entries of JSON lists, and of columns.
_natural = partial(checks.integer, "value", low=0)
_amount = partial(checks.real, "value", low=0.0)
_share = partial(checks.rate, "value")


def _mass(value: object) -> float | None:
    return None if value is None else _amount(value)


def _size(text: str) -> int:
    return checks.integer("value", int(text), 1)


def _amounts(text: str) -> list[Any]:
    values = json.loads(text)
    # Integers stay integers, as configurations have them.
    return [value for value in values if _amount(value) >= 0] if values else checks.fail("value", "a list", text)


def _per_trial(name: str, read: Callable[[Any], Any], path: str = "") -> Column:
    return Column(name, path or name, read, each="result.trials")


class Cluster(Task[ClusterGrid]):
    """Data set × labels × class × method, with several seed nodes in each cell; see `Task`."""

    name = "cluster"
    protocol = 1
    help = "Measure local clustering from one seed node, with noisy labels of the nodes and without."
    Grid = ClusterGrid
    order = ("dataset", "setting", "labels", "class", "row")
    plot_name = "f1.png"
    columns = (
        Column("dataset", "config.dataset", str),
        Column("data", "config.data", str),
        Column("labels", "config.labels", parse_labels, format_labels),
        Column("class", "config.class", count),
        Column("class_size", "result.size", _size),
        Column("method", "config.method", str),
        Column("version", "config.version", str),
        Column("parameters", "config.parameters", mapping),
        Column("sink", "config.sink", str),
        Column("multiples", "config.multiples", _amounts),
        Column("seeds", "config.seeds", _size),
        Column("first_seed", "config.first_seed", count),
        *RUN,
        _per_trial("seed_nodes", _natural, "seed"),
        _per_trial("a1", _share),
        _per_trial("a0", _share),
        *(
            _per_trial(prefix + name, read, f"{cluster}.{name}")
            for cluster, prefix in (("picked", ""), ("oracle", "oracle_"))
            for name, read in (("mass", _mass), ("size", _natural), ("hits", _natural), ("conductance", _share))
        ),
        _per_trial("pushes", _natural),
        _per_trial("arcs", _natural),
        _per_trial("trial_seconds", _amount, "seconds"),
        _per_trial("converged", partial(flag, "value")),
    )

    def axes(self, grid: ClusterGrid) -> Mapping[str, Axis]:
        """Return the axes: the methods of a class follow one another, since they share its draws of labels."""
        setting = {
            "seeds": grid.seeds,
            "first_seed": grid.first_seed,
            "sink": grid.sink,
            "multiples": list(_masses(grid)),
        }
        methods = [("labels", "labels", {}), *((spec.label, spec.name, spec.options) for spec in grid.methods)]
        return {
            "dataset": entries("dataset", grid.described_datasets()),
            "setting": [setting],
            "labels": entries("labels", map(parse_labels, grid.accuracies)),
            "class": FromData(("data", "class")),
            "row": rows((label, _method_part(name, options)) for label, name, options in methods),
        }

    def load(self, dataset: str, grid: ClusterGrid, root: str | None) -> Mapping[str, Sequence[Part]]:
        """Load a data set; leave out, with a warning, classes that labels or masses of the grid do not fit."""
        problem = load(dataset, root)
        if not problem.classes:
            checks.fail("dataset", "a graph with nodes that have neighbours", f"{dataset}, without an arc")
        if problem.attributes is None:
            for spec in grid.methods:
                if getattr(registry.load("clusterings", spec.name), "uses_attributes", False):
                    checks.fail("dataset", f"attributes of the nodes, for {spec.name}", f"{dataset}, without any")
        masses, errors = _masses(grid), dict[int, InputError]()
        for target in problem.classes:
            try:
                for text in grid.accuracies:
                    check_labels(problem, problem.y == target, text)
                check_masses(problem, target, grid.sink, masses)
            except InputError as error:
                errors[target] = error
        kept = [target for target in problem.classes if target not in errors]
        if not kept:
            raise next(iter(errors.values()))
        if grid.multiples:
            # One that a user chose is refused if it is too large for every class.
            smallest = min(kept, key=lambda target: held(problem, problem.y == target, grid.sink)[0])
            check_masses(problem, smallest, grid.sink, [max(masses)])
        if errors:
            left, first = ", ".join(map(str, errors)), next(iter(errors.values()))
            text = f"{len(errors)} of {len(problem.classes)} classes of {dataset} are left out ({left}): {first}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return {"class": [{"data": problem.digest, "class": target} for target in kept]}

    def describe(self, config: Part) -> str:
        """Return data set, method, labels and class."""
        labels = format_labels(config["labels"])
        return f"{config['dataset']} {config['method']}, labels {labels}, class {config['class']}"

    def run_cell(self, config: Part, root: str | None = None) -> dict[str, Any]:
        """Run a method from each seed node; record the candidate of least conductance and the best one by its F1.

        Raises:
            DataError: The data set is not the one that the cell was made for.
        """
        problem = load(config["dataset"], root)
        check_digest(config, problem.digest)
        method, _ = registry.create("clusterings", config["method"], config["parameters"])
        members = problem.y == config["class"]
        meter, results = Meter(), []
        with one_thread(), warnings.catch_warnings():
            # Accuracies that a classifier was estimated to have may contradict the labels.
            warnings.simplefilter("ignore", UserWarning)
            meter.start()
            for trial, (a1, a0) in trials(config, problem):
                began = time.perf_counter()
                candidates: list[Candidate] = list(method.candidates(trial))
                seconds = time.perf_counter() - began
                hits = [int(members[candidate.nodes].sum()) for candidate in candidates]
                picked = min(range(len(candidates)), key=lambda i: candidates[i].conductance)
                best = max(range(len(candidates)), key=lambda i: hits[i] / (len(candidates[i].nodes) + members.sum()))
                results.append(
                    {
                        "seed": trial.seed,
                        "a1": round(a1, 6),
                        "a0": round(a0, 6),
                        "picked": _entry(candidates[picked], hits[picked]),
                        "oracle": _entry(candidates[best], hits[best]),
                        "pushes": sum(candidate.pushes for candidate in candidates),
                        "arcs": sum(candidate.arcs for candidate in candidates),
                        "seconds": round(seconds, 6),
                        "converged": all(candidate.converged for candidate in candidates),
                    }
                )
            used = meter.read()
        return {"size": int(members.sum()), "trials": results, "run": {**used, **environment()}}

    def complete(self, record: dict[str, Any]) -> None:
        """Check that there is a trial per seed, and that no cluster has more hits than nodes."""
        trials, size = record["result"]["trials"], record["result"]["size"]
        if len(trials) != record["config"]["seeds"]:
            checks.fail("seed_nodes", f"{record['config']['seeds']} values, one per seed", len(trials))
        for trial in trials:
            for cluster in (trial["picked"], trial["oracle"]):
                limit = min(cluster["size"], size)
                if cluster["hits"] > limit:
                    checks.fail("hits", f"at most {limit}", cluster["hits"])

    sections = staticmethod(cluster_report.sections)
    render = staticmethod(cluster_report.render)
    figures = staticmethod(cluster_report.figures)
    page_figures = cluster_page.page_figures


def _masses(grid: ClusterGrid) -> tuple[float, ...]:
    return grid.multiples or MULTIPLES[grid.sink]


def _method_part(name: str, options: Mapping[str, Any]) -> Part:
    method, parameters = registry.create("clusterings", name, options)
    return {"method": name, "version": method.version, "parameters": parameters}


def _entry(candidate: Candidate, hits: int) -> dict[str, Any]:
    return {
        "mass": None if math.isnan(candidate.mass) else round(candidate.mass, 6),
        "size": len(candidate.nodes),
        "hits": hits,
        "conductance": round(candidate.conductance, 6),
    }
