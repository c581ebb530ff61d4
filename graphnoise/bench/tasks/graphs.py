"""Graphs of the tasks `nodes` and `cluster`: data sets by name, and planted partitions."""

from __future__ import annotations

from typing import Annotated, Any

from torch_geometric.data import Data

from graphnoise import checks, datasets
from graphnoise.bench import options, registry
from graphnoise.bench.grid import GridModel, checked, option
from graphnoise.bench.tasks.protocols import PROTOCOLS, published_split

PLANTED = "planted(n=10000,block=500,p=0.03,q=0.002)"
_KINDS = {"n": int, "block": int, "p": float, "q": float, "features": int, "separation": float, "seed": int}


# Options of a data set, as `datasets.load` takes them.
_OPTIONS = ("labels", "features", "split", "split_sizes")
# Other options: a new split for each noise draw, with its seed; the split of a published protocol.
SPLIT_PER_DRAW = ("split_seed", "draw")
PROTOCOL = "protocol"


def _text(name: str, value: object) -> str:
    """Return a text without a comma, which would begin another option, or nothing."""
    if not isinstance(value, str) or "," in value or not value.isprintable():
        checks.fail(name, "a text of one line without a comma", repr(value))
    return value


Word = Annotated[str, checked(_text)]


class GraphGrid(GridModel):
    """Fields of a grid whose data sets may be files of tables.

    Attributes:
        labels: Table of labels of the nodes, where a data set is a table of edges.
        features: Table of features of the nodes, where a data set is a table of edges.
    """

    labels: Word = option("", "Table of labels, where the data set is a table of edges (--dataset edges.csv).")
    features: Word = option("", "Table of features, where the data set is a table of edges.")

    def described_datasets(self) -> list[str]:
        """Return the data sets with their options, as `load_graph` takes them.

        Example:
            >>> GraphGrid(datasets=["cora", "edges.csv"], labels="labels.csv").described_datasets()
            ['cora', 'edges.csv:labels=labels.csv']
        """
        values = {key: value for key in _OPTIONS if (value := getattr(self, key, "")) != ""}
        splits = {key: value for key, value in values.items() if key not in ("labels", "features")}
        for key in values.keys() - splits.keys():
            if not any(map(datasets.is_table, self.datasets)):
                checks.fail(key, "a table of edges among the data sets", f"{values[key]!r} for {self.datasets}")
        described = []
        for name in self.datasets:
            if options.call_name(name) == "planted":
                for key in splits:
                    checks.fail(key, "none with planted(…), which has a split of its own", values[key])
                described.append(name)
            else:
                spec = _spec(name)
                shared = values if datasets.is_table(spec.name) else splits
                described.append(options.text(spec.name, {**shared, **spec.options}) if shared else name)
        return described


def _spec(name: str) -> options.Spec:
    """Return the name and the options of a data set, as given."""
    head, colon, rest = name.partition(":")
    if not colon or "=" not in rest or options.call_name(name) == "planted":
        return options.Spec(name, {}, name)
    spec = options.parse("dataset", name)
    for key in spec.options:
        checks.choice(f"dataset: {head}", key, (*_OPTIONS, SPLIT_PER_DRAW[0], PROTOCOL))
    return spec


def _options(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a data set, as `datasets.load` takes them."""
    spec = _spec(name)
    values: dict[str, Any] = dict(spec.options)
    if values.pop(*SPLIT_PER_DRAW) != SPLIT_PER_DRAW[1]:
        expected = "'draw', a split for each draw (or --split-seed)"
        checks.fail(f"dataset: {spec.name}: split_seed", expected, spec.options[SPLIT_PER_DRAW[0]])
    if PROTOCOL in values:
        known = [key for key, protocol in PROTOCOLS.items() if protocol.splits]
        checks.choice(f"dataset: {spec.name}: protocol", values[PROTOCOL], known)
        for key in ("split", "split_sizes"):
            if key in values:
                checks.fail(f"dataset: {spec.name}: {key}", "none next to a protocol, which has its split", values[key])
    if "split_sizes" in values:
        parts = str(values["split_sizes"]).split("/")
        values["split_sizes"] = [options.value(part) for part in parts]
    return spec.name, values


def splits_per_draw(name: str) -> bool:
    """Return whether the options of a data set ask for a new split for each noise draw.

    Example:
        >>> splits_per_draw("amazon-photo:split_seed=draw"), splits_per_draw("cora")
        (True, False)
    """
    return _spec(name).options.get(SPLIT_PER_DRAW[0]) == SPLIT_PER_DRAW[1]


def load_graph(name: str, root: str | None, split_seed: int | None, num_features: int = 0) -> Data:
    """Return a data set, NAME or NAME:KEY=VALUE,…, or `planted(n=NODES,block=SIZE,p=INSIDE,q=OUTSIDE)`.

    That is `datasets.planted_partition`; its further arguments are `features`, `separation` and `seed`. With a
    `split_seed` it has 20 training nodes of each class; a third of the other nodes, at most 500, is for validation, and
    of the rest at most 1000 are for tests.

    Args:
        name: The name, a path, or the call; the options of a name or path are labels, features, split and split_sizes
            (20/500/1000), see `datasets.load`, protocol (noisygl or icgnn, for its split), and split_seed=draw, which
            the task reads.
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
        name, settings = _options(name)
        protocol = settings.pop(PROTOCOL, None)
        data = registry.graph(name, root, split_seed, **settings)
        return data if protocol is None or split_seed is None else published_split(data, protocol, name, split_seed)
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
