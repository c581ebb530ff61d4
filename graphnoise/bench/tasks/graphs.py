"""Graphs of the tasks `nodes` and `cluster`: data sets by name, and planted partitions."""

from __future__ import annotations

from torch_geometric.data import Data

from graphnoise import checks, datasets
from graphnoise.bench import options, registry

PLANTED = "planted(n=10000,block=500,p=0.03,q=0.002)"
_KINDS = {"n": int, "block": int, "p": float, "q": float, "features": int, "separation": float, "seed": int}


def load_graph(name: str, root: str | None, split_seed: int | None, num_features: int = 0) -> Data:
    """Return a data set, or `planted(n=NODES,block=SIZE,p=INSIDE,q=OUTSIDE)`, see `datasets.planted_partition`.

    Its further arguments are `features`, `separation` and `seed`. With a `split_seed` it has 20 training nodes of each
    class; a third of the other nodes, at most 500, is for validation, and of the rest at most 1000 are for tests.

    Args:
        name: The name, a path, or the call.
        root: Folder of the data sets.
        split_seed: Seed of the split where there is no public one; None for no split.
        num_features: Number of features of a planted partition for which the call gives none.

    Raises:
        InputError: The name or an argument of `planted` is not valid.
        DataError: The data cannot be had.

    Example:
        >>> data = load_graph("planted(n=100,block=50,p=0.2,q=0.01)", None, 0, num_features=4)
        >>> [int(data[f"{part}_mask"].sum()) for part in ("train", "val", "test")], tuple(data.x.shape)
        ([40, 20, 40], (100, 4))

    Source:
        Condon and Karp, Algorithms for Graph Partitioning on the Planted Partition Model (2001).
    """
    if options.call_name(name) != "planted":
        return registry.graph(name, root, split_seed)
    values = options.parse_call("dataset", name, _KINDS, required=("n", "block", "p", "q"))
    if values is None:
        checks.fail("dataset", "planted(n=NODES,block=SIZE,p=INSIDE,q=OUTSIDE,seed=SEED)", repr(name))
    n = checks.integer("dataset: n", values.pop("n"), 1, 10_000_000)
    block = checks.integer("dataset: block", values.pop("block"), 1, n)
    sizes = [block] * (n // block) + [n % block] * (n % block > 0)
    width = checks.integer("dataset: features", values.pop("features", num_features), 0, 10_000)
    data = datasets.planted_partition(sizes, values.pop("p"), values.pop("q"), num_features=width, **values)
    if split_seed is not None:
        others = max(n - 20 * len(sizes), 0)
        num_val = min(others // 3, 500)
        num_test = min(others - num_val, 1000)
        data.update(datasets.split_masks(data.y, num_val=num_val, num_test=num_test, seed=split_seed))
    return data
