"""Protocols of published benchmarks of wrong node labels: splits, where noise goes, and what selects the epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch_geometric.data import Data
from torch_geometric.transforms import LargestConnectedComponents

from graphnoise import checks, datasets
from graphnoise.datasets.raw import SPLITS

PLANETOID = ("cora", "citeseer", "pubmed")
# Seed of ICGNN's splits.
ICGNN_SEED = 15


@dataclass(frozen=True)
class Protocol:
    """What a protocol fixes.

    Attributes:
        fields: Values of fields of the grid, which no grid may contradict.
        splits: Whether it has splits of its own.
        pair_offset: Which class pair noise turns class i into: i + pair_offset.
    """

    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    splits: bool = False
    pair_offset: int = 1


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        # Training and validation labels are equally noisy; public splits, or those of `split_sizes`.
        "honest": Protocol(),
        # Chen et al., CIKM 2024, and its code: noise on training labels, clean validation labels.
        "erase": Protocol({"select": "clean", "erase_stream": True}),
        # Wang et al., "NoisyGL", NeurIPS 2024, and its code: noise on training and validation labels.
        "noisygl": Protocol({"select": "noisy"}, splits=True, pair_offset=-1),
        # ICGNN, ICML 2026, and its code: noise on training labels, clean validation labels.
        "icgnn": Protocol({"select": "clean"}, splits=True, pair_offset=-1),
    }
)


def published_split(data: Data, protocol: str, name: str, seed: int) -> Data:
    """Return a data set with the split of a protocol.

    NoisyGL: the public splits of Cora, CiteSeer and PubMed; 20 nodes per class, 500 and 1000 others of Amazon; 1 %,
    15 % and the rest of DBLP. ICGNN: the largest component of Cora, CiteSeer and PubMed, split 10 / 10 / 80 % with
    every class in proportion, of which the first 5 % of all nodes (PubMed: 1 %) are for training; a random 1 / 10 / 80
    % of other data sets. The random streams are this package's own, and so not the published splits node by node.

    Args:
        data: The data set.
        protocol: "noisygl" or "icgnn".
        name: Name of the data set.
        seed: Seed of the split; 0 is the protocol's own.

    Raises:
        InputError: The protocol has no split of these data.
    """
    if protocol == "icgnn":
        return _icgnn(data, name, ICGNN_SEED + seed)
    if name in PLANETOID:
        return data
    if name in ("amazon-photo", "amazon-computers"):
        sizes: dict[str, Any] = {"train_per_class": 20, "num_val": 500, "num_test": 1000}
    elif name == "dblp":
        n = int(data.num_nodes or 0)
        return _masked(data, np.random.RandomState(seed).permutation(n), math.ceil(0.01 * n), math.ceil(0.15 * n))
    else:
        known = ", ".join((*PLANETOID, "amazon-photo", "amazon-computers", "dblp"))
        checks.fail("protocol", f"one of {known} with noisygl", name)
    data = data.clone()
    data.update(datasets.split_masks(data.y, **sizes, seed=seed))
    return data


def _icgnn(data: Data, name: str, seed: int) -> Data:
    if name in PLANETOID:
        data = LargestConnectedComponents()(data)
        y, n = data.y.numpy(), int(data.num_nodes or 0)
        share = 0.01 if name == "pubmed" else 0.05
        rest, test = train_test_split(np.arange(n), test_size=0.8, stratify=y, random_state=seed)
        train, val = train_test_split(rest, test_size=0.5, stratify=y[rest], random_state=seed)
        order = np.concatenate([train[: int(share * n)], val, test])
        return _masked(data, order, int(share * n), len(val), len(test))
    n = int(data.num_nodes or 0)
    order = np.random.RandomState(seed).permutation(n)
    test, val = order[: int(0.8 * n)], order[int(0.8 * n) : int(0.9 * n)]
    train = order[int(0.9 * n) :][: int(0.01 * n)]
    return _masked(data, np.concatenate([train, val, test]), len(train), len(val), len(test))


def _masked(data: Data, order: np.ndarray[Any, Any], train: int, val: int, test: int | None = None) -> Data:
    """Return the data with the first nodes of an order as training nodes, the next for validation, then for tests."""
    data = data.clone()
    bounds = [0, train, train + val, len(order) if test is None else train + val + test]
    for key, first, last in zip(SPLITS, bounds, bounds[1:], strict=False):
        mask = torch.zeros(int(data.num_nodes or 0), dtype=torch.bool)
        mask[torch.from_numpy(order[first:last])] = True
        data[key] = mask
    return data
