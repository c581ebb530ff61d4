"""Noise on the labels of nodes: kinds and rates of a grid, and the noisy labels of a draw."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Annotated, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks, datasets
from graphnoise.bench import options, registry
from graphnoise.bench.environment import one_thread
from graphnoise.bench.grid import Count, Flag, Names, Rates, Seed, each, option
from graphnoise.bench.methods.problem import Instance, Trial
from graphnoise.bench.task import Part, unique
from graphnoise.bench.tasks.graphs import PLANTED, GraphGrid, Word
from graphnoise.bench.tasks.node_report import GIVEN
from graphnoise.checks import DataError, InputError
from graphnoise.datasets.files import expanded, sha256
from graphnoise.datasets.given import read_given
from graphnoise.noise import LabelNoise
from graphnoise.noise.transforms import SYNONYMS

# Kinds that read labels of other nodes than they change, and options of kinds that have no default.
USES_ALL_LABELS = ("structure", "cascade", "propagated")
DEFAULT_OPTIONS: dict[str, dict[str, Any]] = {"cascade": {"probability": 0.5}}


def parse_noise(name: str, value: object) -> options.Spec:
    """Return a kind of noise from KIND, KIND:KEY=VALUE,… or file:PATH.

    Raises:
        InputError: An unknown kind, or an option that cannot be set.
    """
    kind, _, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    settings = {"path": path} if path else {}
    spec = options.Spec(kind, settings, str(value)) if kind == "file" else options.parse(name, value)
    checks.choice(name, spec.name, (*LabelNoise.kinds, *GIVEN, *registry.names("noise")), SYNONYMS)
    if spec.name in GIVEN and list(spec.options) != GIVEN[spec.name]:
        checks.fail(name, "llm, or file:PATH", repr(value))
    if "num_classes" in spec.options:
        checks.fail(f"{name}: {spec.name}.num_classes", "none: the data say how many", spec.options["num_classes"])
    return spec


KINDS = "Kinds of noise, separated by commas; KIND:KEY=VALUE sets an option; llm (Cora) and file:PATH: given labels."
Noises = Annotated[tuple[options.Spec, ...], each(parse_noise)]


class NoisyGrid(GraphGrid):
    """What tasks with noisy labels of nodes run.

    Attributes:
        datasets: Names (`graphnoise data list`), paths as `datasets.load` takes them, data sets of plug-ins, or planted
            partitions as `graphs.load_graph` takes them.
        methods: Installed methods of the task, as `NAME` or `NAME:KEY=VALUE,…`.
        noise: Kinds of noise, see `graphnoise.noise.LabelNoise`, or of plug-ins; `KIND:KEY=VALUE,…` sets options. Or
            given labels, the same in all draws: "llm", a language model's for Cora (`graphnoise.datasets.llm_labels`),
            and "file:PATH", those of a table (`graphnoise.datasets.given.read_given`).
        rates: Flip rates in [0, 1]; at rate 0 all kinds are one and the same. Given labels have none.
        seeds: Number of noise draws.
        first_seed: Seed of the first draw.
        exact: Exact counts of flips instead of independent draws.
        split_seed: Seed of the split of data sets without a public one; with `NAME:split_seed=draw` as data set, each
            noise draw has a split of its own, with its seed.
        split_sizes: Sizes of a new split, as in 20/500/1000: training nodes per class, validation and test nodes;
            numbers below 1 are shares.
        split: Which split, where the data have several: 0, 1 and so on.
    """

    datasets: Names = option(
        ("cora",),
        f"Data sets, separated by commas, or {PLANTED}, to which features=16, separation=1 and seed=0 may be added.",
        "--dataset",
    )
    noise: Noises = option(("symmetric", "pair"), KINDS)
    rates: Rates = option((0.2,), "Flip rates, separated by commas.", "--rate")
    seeds: Count = option(10, "Noise draws.")
    first_seed: Seed = option(0, "Seed of the first draw.")
    exact: Flag = option(False, "Exact counts of flips, not independent draws.")
    split_seed: Seed = option(0, "Seed of the split where there is no public one.")
    split_sizes: Word = option("", "Sizes of a new split: TRAIN_PER_CLASS/VAL/TEST, as in 20/500/1000; shares below 1.")
    split: Word = option("", "Which split, where the data have several: 0, 1 and so on.")


def noise_axis(
    kinds: Iterable[options.Spec], rates: Sequence[float], exact: bool = False, erase_stream: bool = False
) -> list[Part]:
    """Return the noise entries of a grid; at rate 0 all kinds are one, and given labels have one entry."""
    none = {"kind": "none", "rate": 0.0, "exact": False, "erase_stream": False, "options": {}}
    shared, kinds = {"exact": exact, "erase_stream": erase_stream}, list(kinds)
    settings = [(kind, rate) for kind, rate in itertools.product(kinds, rates) if kind.name not in GIVEN]
    settings += [(kind, 1.0) for kind in kinds if kind.name in GIVEN]
    return unique(
        {"noise": {"kind": kind.name, "rate": rate, **shared, "options": _options(kind)} if rate else none}
        for kind, rate in settings
    )


def _digest(path: str) -> str:
    return sha256(expanded("noise", path))[:16]


def _options(kind: options.Spec) -> dict[str, Any]:
    # A file with other contents makes other cells.
    digest = {"sha256": _digest(kind.options["path"])} if kind.name == "file" else {}
    return {**DEFAULT_OPTIONS.get(kind.name, {}), **kind.options, **digest}


def plant(
    instance: Instance, noise: Mapping[str, Any], masks: Mapping[str, Tensor], seed: int, root: str | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Return the labels of all nodes, with noise on those of some masks, and the realised rate of each mask.

    Args:
        instance: The data set with its true labels.
        noise: An entry of `noise_axis`.
        masks: Nodes whose labels are changed, by name, which has a random stream of its own.
        seed: Seed of the draw.
        root: Folder of the data sets.

    Raises:
        InputError: The noise is impossible here: its rate, a kind that reads all labels where some are unknown, or
            given labels that are not of these nodes and classes.
        DataError: The file of given labels cannot be had, or is not that of the cell.
    """
    problem, truth, kind = instance.problem, instance.truth, noise["kind"]
    if kind == "none":
        return truth, dict.fromkeys(masks, 0.0)
    if kind in USES_ALL_LABELS and bool((truth < 0).any()):
        checks.fail("noise", "a kind that does not read the labels of all nodes, as some are unknown", kind)
    if kind in GIVEN:
        return _given(instance, noise, masks, root)
    settings = dict(noise["options"])
    if kind == "confidence":
        settings["probabilities"] = _clean_probabilities(instance)
    function = kind if kind in LabelNoise.kinds else registry.load("noise", kind, "noise")
    splits = tuple(masks)
    if not callable(function) or "splits" not in signature(function).parameters:
        transform = LabelNoise(function, noise["rate"], splits, seed, noise["exact"], noise["erase_stream"], **settings)
    else:
        for key in ("exact", "erase_stream"):
            if noise[key]:
                checks.fail(key, f"False with {kind} noise, a transform that does not have it", True)
        transform = function(rate=noise["rate"], splits=splits, seed=seed, **settings)
    fields = {"train_mask": problem.train_mask, "val_mask": problem.val_mask}
    fields |= {f"{name}_mask": mask for name, mask in masks.items()}
    x = problem.x if problem.num_features else None
    noisy = transform(Data(x=x, edge_index=problem.graph.edge_index, y=truth, **fields))
    return noisy.y, {**dict.fromkeys(masks, 0.0), **noisy.noise_rate}


def _given(
    instance: Instance, noise: Mapping[str, Any], masks: Mapping[str, Tensor], root: str | None
) -> tuple[Tensor, dict[str, float]]:
    """Return the labels with the given ones at the masks, and the shares that are wrong."""
    kind, problem, data = noise["kind"], instance.problem, instance.data
    for key in ("exact", "erase_stream"):
        if noise[key]:
            checks.fail(key, f"False with {kind} noise, whose labels are given", True)
    if kind == "llm":
        try:
            given = datasets.llm_labels(instance.name, root)
        except InputError as error:
            raise InputError(f"noise: llm: {error}") from error
    else:
        path, expected = noise["options"]["path"], noise["options"]["sha256"]
        if (digest := _digest(path)) != expected:
            raise DataError(f"{path}: expected a file of which the sha256 begins with {expected}, got {digest}")
        given = read_given(
            path, problem.num_nodes, data.get("classes") or range(problem.num_classes), data.get("names")
        )
    labels, rates = instance.truth, {}
    for name, mask in masks.items():
        if bool((given[mask] < 0).any()):
            checks.fail("noise", f"a given label for every node of {name}_mask", f"{kind}, which lacks some")
        labels = torch.where(mask, given, labels)
        rates[name] = float((given != instance.truth)[mask].double().mean())
    return labels, rates


def _clean_probabilities(instance: Instance) -> Tensor:
    """Return the class probabilities of SGC trained on the true labels: the model of confidence-dependent noise."""
    problem, (method, _) = instance.problem, registry.create("node_methods", "sgc")
    labels = torch.where(problem.train_mask | problem.val_mask, instance.truth, -1)
    with one_thread():
        scores: Tensor = method.fit_predict(Trial(problem, labels, 0)).double()
    return scores / scores.sum(1, keepdim=True)
