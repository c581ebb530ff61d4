"""What the speed of ERASE is measured on: a data set, or a graph with planted classes and exactly so many arcs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.bench.speed.cases import MAX_ARCS, MAX_NODES, cores
from graphnoise.bench.speed.erase_gate import ENDLESS
from graphnoise.datasets import degree_corrected, load
from graphnoise.datasets.raw import split_masks
from graphnoise.erase.settings import PRESETS, Settings, settings

SYNTHETIC = "synthetic"
MAX_FEATURES, MAX_CLASSES = 1_000_000, 10_000
LABELLED, VALIDATED, TESTED = 20, 500, 1000  # labelled nodes of a class, and nodes of the other two splits
_INSIDE = 0.7  # share of the edges that lie within classes
_SURPLUS = (1.2, 1.6, 2.5, 5.0)  # edges asked for over those needed, since repeats count once


@dataclass(frozen=True)
class Case:
    """A graph, and how ERASE is trained on it.

    Attributes:
        dataset: Name of a data set, or "synthetic".
        nodes: Number of nodes.
        arcs: Number of arcs, two an edge.
        features: Number of features.
        classes: Number of classes.
        preset: Preset of ERASE.
        overrides: Hyper-parameters in place of the preset's, by name.
        threads: Threads of torch and of the linear algebra of SciPy and scikit-learn.
        seed: Of the graph, the weights, dropout and mini-batches.
    """

    dataset: str
    nodes: int
    arcs: int
    features: int
    classes: int
    preset: str
    overrides: tuple[tuple[str, Any], ...] = ()
    threads: int = 1
    seed: int = 0

    @property
    def settings(self) -> Settings:
        """The hyper-parameters, without an end to training."""
        return settings(self.preset, {**dict(self.overrides), "epochs": ENDLESS, "patience": ENDLESS})

    def __str__(self) -> str:
        return f"{self.dataset}: {self.nodes:,} nodes, {self.arcs:,} arcs, {self.preset}"


def to_dict(case: Case) -> dict[str, Any]:
    """Return the case in JSON's types."""
    return {**asdict(case), "overrides": dict(case.overrides)}


def from_dict(entries: Mapping[str, Any]) -> Case:
    """Read a case back.

    Raises:
        KeyError: An entry is missing.
        TypeError: An entry is of another type.

    Example:
        >>> case = Case("synthetic", 60, 300, 8, 3, "faithful-cora", (("width", 16),))
        >>> from_dict(to_dict(case)) == case
        True
    """
    values = {name: entries[name] for name in Case.__dataclass_fields__}
    for name in ("nodes", "arcs", "features", "classes", "threads", "seed"):
        if type(values[name]) is not int:
            raise TypeError(name)
    if not isinstance(values["dataset"], str) or not isinstance(values["preset"], str):
        raise TypeError("dataset")
    return Case(**{**values, "overrides": tuple(dict(values["overrides"]).items())})


def of_dataset(
    name: str, preset: str | None, overrides: Mapping[str, Any], threads: int | None, seed: int, root: str | None
) -> tuple[Case, Data]:
    """Return the case of a data set, and the data. Without a preset it is the data set's own, or faithful-cora.

    Raises:
        InputError: No such data set, preset or hyper-parameter.
        DataError: The data are not there.
    """
    chosen = preset or (f"faithful-{name}" if f"faithful-{name}" in PRESETS else "faithful-cora")
    common = _common(chosen, overrides, threads, seed)
    data = load(name, root, seed=seed)
    given = (data.num_nodes, data.edge_index.shape[1], data.x.shape[1], data.num_classes)
    return Case(name, *given, **common), data


def synthetic(
    nodes: int,
    arcs: int,
    features: int,
    classes: int,
    preset: str | None,
    overrides: Mapping[str, Any],
    threads: int | None,
    seed: int,
) -> Case:
    """Return the case of a graph that `build` draws.

    Raises:
        InputError: A number out of its range, or no such preset or hyper-parameter; the message names the option.
    """
    n = checks.integer("--nodes", nodes, 8, MAX_NODES)
    if checks.integer("--arcs", arcs, 2, min(MAX_ARCS, n * (n - 1) // 2)) % 2:
        checks.fail("--arcs", "an even number, two arcs an edge", arcs)
    checks.integer("--features", features, 1, MAX_FEATURES)
    most = min(MAX_CLASSES, n // 4)
    checks.integer("--classes", classes, 2, most)
    return Case(SYNTHETIC, n, arcs, features, classes, **_common(preset or "faithful-cora", overrides, threads, seed))


def grown(case: Case, factor: int) -> Case:
    """Return a case with so many times the nodes and arcs.

    Raises:
        InputError: That is too many.
    """
    fixed = (case.features, case.classes, case.preset, dict(case.overrides), case.threads, case.seed)
    return synthetic(case.nodes * factor, case.arcs * factor, *fixed)


def _common(preset: str, overrides: Mapping[str, Any], threads: int | None, seed: int) -> dict[str, Any]:
    for name in ("epochs", "patience"):
        if name in overrides:
            checks.fail("--set", "what decides an epoch", f"{name}, which decides how many there are")
    settings(checks.choice("--preset", preset, PRESETS), overrides)
    count = cores() if threads is None else checks.integer("--threads", threads, 1, cores())
    number = checks.integer("--seed", seed, 0, (1 << 31) - 1)
    return {"preset": preset, "overrides": tuple(sorted(overrides.items())), "threads": count, "seed": number}


def build(case: Case, root: str | None = None) -> Data:
    """Return the data of a case: of the data set, or drawn.

    A drawn graph has power-law degrees (exponent 2.5), 7 edges in 10 within classes, and features that are normal
    around a mean of each class; 20 nodes of each class are labelled, or a third of the smallest.

    Raises:
        InputError: So many arcs cannot be placed on so few nodes.
        DataError: The data set is not there.

    Example:
        >>> data = build(Case("synthetic", 200, 1_000, 8, 3, "faithful-cora"))
        >>> data.edge_index.shape[1], data.is_undirected(), data.x.shape, int(data.train_mask.sum())
        (1000, True, torch.Size([200, 8]), 60)
    """
    if case.dataset != SYNTHETIC:
        return load(case.dataset, root, seed=case.seed)
    size, more = divmod(case.nodes, case.classes)
    sizes = [size + (c < more) for c in range(case.classes)]
    edges, wanted = case.arcs // 2, np.zeros((case.classes, case.classes))
    wanted += (1 - _INSIDE) * edges * 2 / (case.classes * (case.classes - 1))
    np.fill_diagonal(wanted, _INSIDE * edges / case.classes)
    for surplus in _SURPLUS:
        data = degree_corrected(sizes, wanted * surplus, seed=case.seed, num_features=case.features)
        if data.edge_index.shape[1] >= case.arcs:
            break
    else:
        got = f"{case.arcs}, and no more than {data.edge_index.shape[1]} of them would be distinct"
        checks.fail("--arcs", "so few that they can be placed", got)
    data.edge_index = _chosen(data.edge_index, edges, case.seed)
    per_class = min(LABELLED, max(1, size // 3))
    left = case.nodes - per_class * case.classes
    val = min(VALIDATED, left // 3)
    data.update(
        split_masks(data.y, train_per_class=per_class, num_val=val, num_test=min(TESTED, left - val), seed=case.seed)
    )
    return data


def _chosen(edge_index: Tensor, edges: int, seed: int) -> Tensor:
    """Return so many of the edges, both ways."""
    once = edge_index[:, edge_index[0] < edge_index[1]]
    kept = torch.randperm(once.shape[1], generator=torch.Generator().manual_seed(seed))[:edges]
    low, high = once[:, kept.sort().values]
    return torch.stack([torch.cat([low, high]), torch.cat([high, low])])
