"""The task `nodes`: node classification with noisy labels, on clean test nodes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.grid import Count, Rates, Specs, flag, one_of, option, or_none
from graphnoise.bench.methods.nodes import is_stochastic
from graphnoise.bench.methods.problem import Instance, Problem, Trial
from graphnoise.bench.options import call_name
from graphnoise.bench.task import Axis, FromData, Part, Task, check_digest, check_noise, entries, rows
from graphnoise.bench.tasks import node_page, node_report
from graphnoise.bench.tasks.graphs import load_graph, splits_per_draw
from graphnoise.bench.tasks.node_metrics import Curves, measure, pack
from graphnoise.bench.tasks.node_noise import KINDS, Noises, NoisyGrid, noise_axis, plant
from graphnoise.bench.tasks.protocols import PROTOCOLS
from graphnoise.checks import InputError
from graphnoise.propagation import predicted_classes

# Of a planted partition.
NUM_FEATURES = 16


class NodesGrid(NoisyGrid):
    """What to run.

    Attributes:
        inits: Number of initialisations for each draw, with other seeds than those for other draws.
        select: Whether methods see "noisy" validation labels or "clean" ones; None: as the protocol has it.
        erase_stream: The noise stream of ERASE's code (training labels only, so it goes with select="clean"); None: as
            the protocol has it.
        protocol: Splits, where noise goes, and selection of a published table, see `protocols.PROTOCOLS`.
    """

    methods: Specs = option(
        ("lp", "sgc", "gcn", "gat", "mlp"), "Methods, separated by commas; NAME:KEY=VALUE sets an option.", "--method"
    )
    noise: Noises = option(("symmetric", "pair", "asymmetric"), KINDS)
    rates: Rates = option((0.0, 0.1, 0.2, 0.3, 0.4, 0.5), "Flip rates, separated by commas.", "--rate")
    inits: Count = option(1, "Initialisations of each draw.")
    select: Annotated[str | None, or_none(functools.partial(checks.choice, options=("noisy", "clean")))] = option(
        None, "Validation labels that methods see: noisy or clean. (default: as the protocol has it)"
    )
    erase_stream: Annotated[bool | None, or_none(flag)] = option(
        None, "The noise stream of ERASE's code (with --select clean)."
    )
    protocol: Annotated[str, one_of(*PROTOCOLS)] = option(
        "honest", "Splits, noise and selection as in a published table: honest (this package's), erase, noisygl, icgnn."
    )

    def resolved(self) -> NodesGrid:
        """Return the grid with what its protocol fixes.

        Raises:
            InputError: A field has another value than that of the protocol, or the protocol has no split of a data set.
        """
        protocol = PROTOCOLS[self.protocol]
        changes: dict[str, Any] = {"select": "noisy", "erase_stream": False, **protocol.fields}
        for key, value in list(changes.items()):
            if (given := getattr(self, key)) is not None:
                if key in protocol.fields and given != value:
                    checks.fail(key, f"{value!r} with protocol {self.protocol}", repr(given))
                changes[key] = given
        if protocol.splits:
            for name in self.datasets:
                if call_name(name) == "planted":
                    checks.fail("dataset", f"a data set with a name, of which {self.protocol} has a split", repr(name))
            changes["datasets"] = tuple(
                name if "protocol=" in name else f"{name}{',' if ':' in name else ':'}protocol={self.protocol}"
                for name in self.datasets
            )
        if protocol.pair_offset != 1:
            turned = {"offset": protocol.pair_offset}
            changes["noise"] = tuple(
                replace(spec, options={**turned, **spec.options}) if spec.name == "pair" else spec
                for spec in self.noise
            )
        return self.model_copy(update={**changes, "protocol": "honest"})


class Nodes(Task[NodesGrid]):
    """Data set × noise × rate × draw × method × initialisation; see `Task`."""

    name = "nodes"
    protocol = 1
    help = "Measure methods for node classification as labels go wrong."
    Grid = NodesGrid
    order = ("dataset", "data", "row", "noise", "draw", "init")
    columns = node_report.COLUMNS
    plot_name = "accuracy.png"

    def axes(self, grid: NodesGrid) -> Mapping[str, Axis]:
        """Return the axes: draws outside, so that a grid stopped early has all settings at fewer draws."""
        grid = grid.resolved()
        if grid.erase_stream and grid.select != "clean":
            checks.fail("erase_stream", "select='clean' (that stream corrupts training labels only)", repr(grid.select))
        methods = [(spec, *registry.create("node_methods", spec.name, spec.options)) for spec in grid.methods]
        return {
            "dataset": entries("dataset", grid.described_datasets()),
            "data": FromData(("data",)),
            "setting": [{"split_seed": grid.split_seed, "select": grid.select}],
            "draw": entries("draw", range(grid.first_seed, grid.first_seed + grid.seeds)),
            "noise": noise_axis(grid.noise, grid.rates, grid.exact, bool(grid.erase_stream)),
            "row": rows(
                (spec.label, {"method": spec.name, "version": method.version, "parameters": parameters})
                for spec, method, parameters in methods
            ),
            "init": entries("init", range(grid.inits)),
        }

    def load(self, dataset: str, grid: NodesGrid, root: str | None) -> Mapping[str, Sequence[Part]]:
        """Load a data set, and check that each noise is possible on it."""
        grid, instance = grid.resolved(), load(dataset, root, grid.split_seed)
        for part in noise_axis(grid.noise, grid.rates, grid.exact, bool(grid.erase_stream)):
            corrupt(instance, part["noise"], str(grid.select), grid.first_seed, root)
        return {"data": entries("data", [instance.digest])}

    def admits(self, config: Part) -> bool:
        """Leave out further initialisations of methods that have no random state."""
        return bool(config["init"] == 0 or is_stochastic(config["method"]))

    def describe(self, config: Part) -> str:
        """Return data set, method and noise."""
        return f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"

    def complete(self, record: dict[str, Any]) -> None:
        """Check the kind of noise against its rate."""
        check_noise(record["config"]["noise"])

    def run_cell(self, config: Part, root: str | None = None) -> dict[str, Any]:
        """Train a method on a noise draw, and measure its predictions against the true labels.

        Raises:
            DataError: The data set is not the one that the cell was made for.
            InputError: The method returned scores of the wrong shape or that are not finite, or called for the end of
                the process.
        """
        instance = load(config["dataset"], root, config["split_seed"])
        check_digest(config, instance.digest)
        if splits_per_draw(config["dataset"]):
            instance = load(config["dataset"], root, config["draw"])
        problem, name = instance.problem, config["method"]
        method, _ = registry.create("node_methods", name, config["parameters"])
        # Cells share the problem, and a method of another package may change it in place.
        shares = type(method).__module__.startswith("graphnoise.")
        visible = problem if shares else Problem(instance.data.clone())
        labels, realised = corrupt(instance, config["noise"], config["select"], config["draw"], root)
        # The seed depends on draw and initialisation only: methods are compared on like terms, and a mean over draws
        # is a mean over initialisations too.
        seed = int(np.random.SeedSequence([config["draw"], config["init"]]).generate_state(1)[0])
        curves, meter = Curves(problem, instance.truth, labels), Meter()
        trial = Trial(visible, labels.clone(), seed, curves.record)
        with one_thread():
            meter.start()
            try:
                scores = method.fit_predict(trial)
            except SystemExit as stop:
                raise InputError(f"{name}: expected scores, got a call of sys.exit({stop.code})") from stop
            used = meter.read()
        predicted = _classes(scores, name, (problem.num_nodes, problem.num_classes))
        return {
            **measure(problem, instance.truth, labels, predicted),
            "realised_rate": realised,
            "draw_seed": config["draw"],
            "init_seed": seed,
            "curves": curves.rows,
            "predictions": pack(predicted),
            **({"searched": trial.searched} if trial.searched else {}),
            "run": {**used, **environment()},
        }

    sections = staticmethod(node_report.sections)
    render = staticmethod(node_report.render)
    summary = staticmethod(node_report.summary)
    figures = staticmethod(node_report.figures)
    page_figures = node_page.page_figures


@functools.lru_cache(maxsize=4)
def load(dataset: str, root: str | None, split_seed: int) -> Instance:
    """Return a data set with its true labels, loaded once per process."""
    try:
        data, protocol = load_graph(dataset, root, split_seed, NUM_FEATURES), "protocol=" in dataset
        return Instance(data, dataset.partition(":")[0], every_class=not protocol)
    except InputError as error:
        raise InputError(f"{dataset}: {error}") from error


def corrupt(
    instance: Instance, noise: Mapping[str, Any], select: str, seed: int, root: str | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Return the noisy labels (-1 outside training and validation nodes) and the realised rates by split; see `plant`.

    Raises:
        InputError: The noise is impossible here.
        DataError: The file of given labels cannot be had, or is not that of the cell.
    """
    problem = instance.problem
    splits = ("train",) if select == "clean" else ("train", "val")
    labels, rates = plant(instance, noise, {name: getattr(problem, f"{name}_mask") for name in splits}, seed, root)
    return torch.where(problem.train_mask | problem.val_mask, labels, -1), {"train": 0.0, "val": 0.0, **rates}


def _classes(scores: object, method: str, shape: tuple[int, int]) -> Tensor:
    """Check what a method returned; return the class with the largest score of each node, -1 for a row of zeros."""
    if not isinstance(scores, Tensor):
        checks.fail(f"scores of {method}", "a tensor", type(scores).__name__)
    if tuple(scores.shape) != shape:
        checks.fail(f"scores of {method}", f"finite scores of shape {shape}", f"shape {tuple(scores.shape)}")
    if bad := int((~torch.isfinite(scores)).sum()):
        checks.fail(f"scores of {method}", f"finite scores of shape {shape}", f"{bad} NaN or infinite ones")
    return predicted_classes(scores.detach())
