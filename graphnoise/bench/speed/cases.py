"""What is measured: the cases of a grid, and the graphs they run on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.datasets.sampling import draw_distinct, triangle
from graphnoise.datasets.synthetic import power_law

# Sizes by name, nodes and arcs. Graphs are generated, so that a measurement needs no data.
SIZES = {
    "cora": (2_708, 10_556),
    "1e5": (10_000, 100_000),
    "arxiv": (169_343, 2_332_486),
    "1e7": (1_000_000, 10_000_000),
}
PAIR = (2, 2)  # the smallest graph with an arc: what is left of a call is its overhead
DEGREES = ("uniform", "power-law")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
DEVICES = ("cpu", "cuda")
KINDS = ("step", "call")
MAX_NODES, MAX_ARCS, MAX_WIDTH, MAX_STEPS = 100_000_000, 2_000_000_000, 65_536, 100_000
ALPHA = 0.9


@dataclass(frozen=True)
class Case:
    """One row: a graph, an operation on it, and how it is run.

    Attributes:
        nodes: Number of nodes.
        arcs: Number of arcs, even: the graphs are undirected.
        degrees: "uniform" (ends of edges drawn uniformly) or "power-law" (exponent 2.5).
        weighted: Whether every arc has a weight of its own.
        dtype: Type of the values.
        width: Columns of the values.
        threads: Threads of torch (and of the tiers, which follow it).
        steps: Steps of a call.
        backward: Whether the gradient is computed as well.
        busy: Whether every call comes right after a parallel torch operator.
        tier: The tier by name, or None where the data decide.
        device: "cpu" or "cuda".
        kind: "step" (time per step) or "call" (overhead: one step on a tiny graph).
    """

    nodes: int
    arcs: int
    degrees: str = "power-law"
    weighted: bool = False
    dtype: str = "float32"
    width: int = 40
    threads: int = 1
    steps: int = 10
    backward: bool = False
    busy: bool = False
    tier: str | None = None
    device: str = "cpu"
    kind: str = "step"

    @property
    def size(self) -> str:
        """The size by name, or nodes and arcs."""
        known = {pair: name for name, pair in SIZES.items()}
        return known.get((self.nodes, self.arcs), f"{self.nodes}:{self.arcs}")

    @property
    def graph(self) -> tuple[int, int, str, bool]:
        """What decides the graph."""
        return self.nodes, self.arcs, self.degrees, self.weighted

    def __str__(self) -> str:
        words = [self.size, self.degrees, *["weighted"] * self.weighted, self.dtype, f"width {self.width}"]
        words += [f"{self.threads} threads" if self.threads > 1 else "1 thread"] * (self.device == "cpu")
        words += ["with gradient"] * self.backward + ["busy"] * self.busy + ["one call"] * (self.kind == "call")
        return " ".join(words if self.tier is None else [*words, self.tier])


def from_dict(entries: dict[str, Any]) -> Case:
    """Read a case back from a record; unknown entries are left alone.

    Raises:
        KeyError: An entry is missing.
        TypeError: An entry is of another type.
    """
    case = Case(**{field.name: entries[field.name] for field in fields(Case)})
    like = replace(Case(0, 0), tier=case.tier if case.tier is None else "")
    for field in fields(Case):
        if type(getattr(case, field.name)) is not type(getattr(like, field.name)):
            raise TypeError(field.name)
    return case


def to_dict(case: Case) -> dict[str, Any]:
    """Return the case in JSON's types."""
    return asdict(case)


@dataclass(frozen=True)
class Grid:
    """All combinations of these.

    Raises:
        InputError: A size, a name or a number that cannot be; the message names the option.

    Example:
        >>> grid = Grid(sizes=[(10, 20)], widths=[1, 7], degrees=["uniform"])
        >>> [str(case) for case in grid.cases()]
        ['10:20 uniform float32 width 1 1 thread', '10:20 uniform float32 width 7 1 thread']
    """

    sizes: Sequence[tuple[int, int]] = (SIZES["arxiv"],)
    degrees: Sequence[str] = ("power-law",)
    weighted: Sequence[bool] = (False,)
    dtypes: Sequence[str] = ("float32",)
    widths: Sequence[int] = (7, 40)
    threads: Sequence[int] = (1,)
    backward: Sequence[bool] = (False,)
    busy: Sequence[bool] = (False,)
    tiers: Sequence[str | None] = (None,)
    steps: int = 10
    device: str = "cpu"

    def __post_init__(self) -> None:
        for nodes, arcs in self.sizes:
            n = checks.integer("--nodes", nodes, 2, MAX_NODES)
            most = min(MAX_ARCS, n * (n - 1))
            if checks.integer("--arcs", arcs, 2, most) % 2:
                checks.fail("--arcs", "an even number, two arcs an edge", arcs)
        for name in self.degrees:
            checks.choice("--degrees", name, DEGREES)
        for name in self.dtypes:
            checks.choice("--dtype", name, DTYPES)
        for width in self.widths:
            checks.integer("--width", width, 1, MAX_WIDTH)
        for threads in self.threads:
            checks.integer("--threads", threads, 1, cores())
        checks.integer("--steps", self.steps, 1, MAX_STEPS)
        checks.choice("--device", self.device, DEVICES)
        if self.device == "cuda" and not torch.cuda.is_available():
            checks.fail("--device", "a device that is there", "'cuda', and torch sees no CUDA device")

    def cases(self) -> list[Case]:
        """Return the cases, those on one graph in a row."""
        threads = self.threads if self.device == "cpu" else [1]
        rows = itertools.product(
            self.sizes,
            self.degrees,
            self.weighted,
            self.dtypes,
            self.backward,
            self.busy,
            self.tiers,
            self.widths,
            threads,
        )
        return [
            Case(*size, degrees, weighted, dtype, width, thread, self.steps, backward, busy, tier, self.device)
            for size, degrees, weighted, dtype, backward, busy, tier, width, thread in rows
        ]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def suite(name: str) -> list[Grid]:
    """Return the grids of a suite: "quick" in a minute or two, or "full" (docs/speed.md).

    Raises:
        InputError: The name is unknown.
    """
    name = checks.choice("--suite", name, ("quick", "full"))
    cora, small, arxiv, large = SIZES.values()
    every = sorted({1, min(2, cores())})
    most = every[-1:]
    if name == "quick":
        return [
            Grid(sizes=[cora], widths=[7, 40], threads=every),
            Grid(sizes=[arxiv], widths=[7, 40], threads=most),
            Grid(sizes=[arxiv], widths=[40], threads=most, weighted=[True]),
            Grid(sizes=[cora], widths=[7], threads=most, backward=[True]),
            Grid(sizes=[cora], widths=[40], threads=most, busy=[True]),
        ]
    widths = [1, 7, 16, 40, 64, 128, 512]
    return [
        Grid(sizes=[cora, small, arxiv], degrees=DEGREES, widths=widths, threads=every),
        Grid(sizes=[large], degrees=DEGREES, widths=widths, threads=most),  # its rounds hold ours on one thread, too
        Grid(sizes=[cora, small, arxiv, large], widths=[7, 40, 128], threads=most, weighted=[True]),
        Grid(sizes=[arxiv, large], widths=[40, 128], threads=most, dtypes=["bfloat16", "float64"]),
        Grid(sizes=[cora, small, arxiv], widths=[7, 40, 128], threads=most, backward=[True]),
        Grid(sizes=[cora, small, arxiv], widths=[7, 40], threads=most, busy=[True]),
    ]


def cases(grids: Iterable[Grid], calls: bool = False) -> list[Case]:
    """Return the cases of all grids, each once, those on one graph in a row; with `calls`, those of the overhead."""
    found = dict.fromkeys(case for grid in grids for case in grid.cases())
    if calls:
        for case in [case for case in found if not (case.weighted or case.backward or case.busy)]:
            for nodes, arcs in (PAIR, SIZES["cora"]):
                one = replace(case, nodes=nodes, arcs=arcs, width=1, steps=1, threads=1, kind="call")
                found[replace(one, degrees="uniform", dtype="float32")] = None
    order = {graph: place for place, graph in enumerate(dict.fromkeys(case.graph for case in found))}
    return sorted(found, key=lambda case: (case.kind == "call", order[case.graph]))


@dataclass(frozen=True)
class Arcs:
    """A graph as plain arrays: what the library and every peer start from.

    Attributes:
        edge_index: Arcs (source, target), shape [2, num_arcs].
        num_nodes: Number of nodes.
        weight: Weight of each arc, float64, or None.
    """

    edge_index: Tensor
    num_nodes: int
    weight: Tensor | None = None


def build(case: Case, seed: int) -> Arcs:
    """Draw the graph of a case: undirected, with exactly so many arcs.

    Raises:
        InputError: So many arcs cannot be placed with such degrees.

    Example:
        >>> arcs = build(Case(50, 300, "uniform", weighted=True), seed=0)
        >>> arcs.edge_index.shape, arcs.weight.shape
        (torch.Size([2, 300]), torch.Size([300]))
    """
    nodes, count, degrees, weighted = case.graph
    if degrees == "power-law":
        edge_index = power_law(nodes, count, seed=seed).edge_index
    else:
        rng = np.random.default_rng(seed)
        low, high = triangle(draw_distinct(rng, np.array([nodes * (nodes - 1) // 2]), np.array([count // 2])))
        edge_index = torch.from_numpy(np.stack([np.concatenate([low, high]), np.concatenate([high, low])]))
    weight = None
    if weighted:
        generator = torch.Generator().manual_seed(seed)
        weight = 0.5 + torch.rand(count, dtype=torch.float64, generator=generator)
    return Arcs(edge_index, nodes, weight)


def awkward(weighted: bool) -> dict[str, Arcs]:
    """Return small graphs of the shapes that break kernels, directed where they can be."""
    generator = torch.Generator().manual_seed(7)
    random = torch.randint(0, 23, (2, 90), generator=generator)
    loops = torch.arange(11).expand(2, -1)
    ring = torch.stack([torch.arange(300), (torch.arange(300) + 1) % 300])
    hub = torch.stack([torch.arange(1, 300), torch.zeros(299, dtype=torch.long)])
    many = torch.stack([torch.arange(1, 501), torch.zeros(500, dtype=torch.long)]).repeat(1, 10)
    graphs = {
        "a hub": (torch.cat([hub, hub.flip(0)[:, :40], ring], dim=1), 300),
        "a hub of 5,000 arcs": (torch.cat([many, many.flip(0)[:, :40]], dim=1), 501),  # its row is cut into pieces
        "isolated nodes": (random, 37),
        "self-loops": (torch.cat([random, loops], dim=1), 23),
        "repeated arcs": (torch.cat([random, random[:, :30], random[:, :30]], dim=1), 23),
        "no arcs": (torch.empty(2, 0, dtype=torch.long), 5),
        "one node": (torch.zeros(2, 1, dtype=torch.long), 1),
    }
    return {
        name: Arcs(arcs, n, torch.rand(arcs.shape[1], dtype=torch.float64, generator=generator) if weighted else None)
        for name, (arcs, n) in graphs.items()
    }
