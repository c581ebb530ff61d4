"""The task `detect`: detection and correction of wrong labels, among all nodes or among training nodes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch

from graphnoise.bench import registry
from graphnoise.bench.environment import Meter, environment, one_thread
from graphnoise.bench.grid import Specs, one_of, option
from graphnoise.bench.methods.detectors import Trial
from graphnoise.bench.methods.problem import Instance
from graphnoise.bench.task import Axis, FromData, Part, Task, check_digest, check_noise, entries, rows
from graphnoise.bench.tasks import detect_page, detect_report
from graphnoise.bench.tasks.detect_metrics import checked_detection, measure_detection
from graphnoise.bench.tasks.graphs import splits_per_draw
from graphnoise.bench.tasks.node_noise import NoisyGrid, noise_axis, plant
from graphnoise.bench.tasks.nodes import load
from graphnoise.checks import InputError
from graphnoise.typing import Ints


class DetectGrid(NoisyGrid):
    """What to run; methods are detectors.

    Attributes:
        labelled: "all": every node has a given label (where the true one is known); "train": the training nodes.
    """

    methods: Specs = option(
        ("posterior", "self-confidence", "neighbours", "lp", "graphcleaner"),
        "Detectors, separated by commas; NAME:KEY=VALUE sets an option.",
        "--method",
    )
    labelled: Annotated[str, one_of("all", "train")] = option("all", "Nodes that have a given label: all or train.")


class Detect(Task[DetectGrid]):
    """Data set × noise × rate × draw × detector; see `Task`."""

    name = "detect"
    protocol = 1
    help = "Measure detectors of wrong labels, and the labels that they suggest."
    Grid = DetectGrid
    order = ("dataset", "data", "setting", "row", "noise", "draw")
    columns = detect_report.COLUMNS
    plot_name = "auroc.png"

    def axes(self, grid: DetectGrid) -> Mapping[str, Axis]:
        """Return the axes: the detectors of a draw follow one another, since they share predictions."""
        detectors = [(spec, *registry.create("detectors", spec.name, spec.options)) for spec in grid.methods]
        return {
            "dataset": entries("dataset", grid.described_datasets()),
            "data": FromData(("data",)),
            "setting": [{"split_seed": grid.split_seed, "labelled": grid.labelled}],
            "draw": entries("draw", range(grid.first_seed, grid.first_seed + grid.seeds)),
            "noise": noise_axis(grid.noise, grid.rates, grid.exact),
            "row": rows(
                (spec.label, {"method": spec.name, "version": detector.version, "parameters": parameters})
                for spec, detector, parameters in detectors
            ),
        }

    def load(self, dataset: str, grid: DetectGrid, root: str | None) -> Mapping[str, Sequence[Part]]:
        """Load a data set, and check that each noise is possible on it."""
        instance = load(dataset, root, grid.split_seed)
        for part in noise_axis(grid.noise, grid.rates, grid.exact):
            corrupted(instance, part["noise"], grid.labelled, grid.first_seed, root)
        return {"data": entries("data", [instance.digest])}

    def describe(self, config: Part) -> str:
        """Return data set, detector and noise."""
        return f"{config['dataset']} {config['method']} {config['noise']['kind']} {config['noise']['rate']:g}"

    def complete(self, record: dict[str, Any]) -> None:
        """Check the kind of noise against its rate."""
        check_noise(record["config"]["noise"])

    def run_cell(self, config: Part, root: str | None = None) -> dict[str, Any]:
        """Run a detector on a noise draw, and measure what it says of the labels.

        The seconds of predictions that detectors of a draw share count for each of them.

        Raises:
            DataError: The data set is not the one that the cell was made for.
            InputError: The detector returned no valid `Detection`, or called for the end of the process.
        """
        instance, name = load(config["dataset"], root, config["split_seed"]), config["method"]
        check_digest(config, instance.digest)
        setting = {key: config[key] for key in ("dataset", "split_seed", "labelled", "noise", "draw")}
        trial, truth = _trial(json.dumps(setting, sort_keys=True), root)
        detector, _ = registry.create("detectors", name, config["parameters"])
        # Cells share the trial, and a detector of another package may change it in place.
        if not type(detector).__module__.startswith("graphnoise."):
            trial = trial.copy()
        given, meter, trial.reused = trial.given.copy(), Meter(), 0.0
        with one_thread():
            meter.start()
            try:
                detection = detector.detect(trial)
            except SystemExit as stop:
                raise InputError(f"{name}: expected a Detection, got a call of sys.exit({stop.code})") from stop
            used = meter.read()
        used["seconds"] += trial.reused
        detection = checked_detection(detection, name, len(given), instance.problem.num_classes)
        return {**measure_detection(truth, given, detection), "run": {**used, **environment()}}

    sections = staticmethod(detect_report.sections)
    render = staticmethod(detect_report.render)
    figures = staticmethod(detect_report.figures)
    page_figures = detect_page.page_figures


def corrupted(
    instance: Instance, noise: Mapping[str, Any], labelled: str, seed: int, root: str | None = None
) -> torch.Tensor:
    """Return the given labels: noisy ones of all nodes whose label is known, or of the training nodes, -1 elsewhere.

    Raises:
        InputError: The noise is impossible here, see `plant`.
        DataError: The file of given labels cannot be had, or is not that of the cell.
    """
    mask = instance.problem.train_mask if labelled == "train" else instance.truth >= 0
    return torch.where(mask, plant(instance, noise, {"train": mask}, seed, root)[0], -1)


@functools.lru_cache(maxsize=1)
def _trial(setting: str, root: str | None) -> tuple[Trial, Ints]:
    """Return a trial, and the true labels of its labelled nodes."""
    config = json.loads(setting)
    split_seed = config["draw"] if splits_per_draw(config["dataset"]) else config["split_seed"]
    instance = load(config["dataset"], root, split_seed)
    y = corrupted(instance, config["noise"], config["labelled"], config["draw"], root)
    seed = int(np.random.SeedSequence([config["draw"]]).generate_state(1)[0])
    problem = instance.problem
    trial = Trial(problem.graph, problem.x if problem.num_features else torch.zeros(problem.num_nodes, 0), y, seed)
    return trial, instance.truth.numpy()[trial.nodes]
