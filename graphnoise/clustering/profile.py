"""The network community profile: how good clusters get at each size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from graphnoise import checks
from graphnoise.checks import InputError
from graphnoise.clustering import inputs
from graphnoise.clustering.batch import diffuse_many, sweep_many
from graphnoise.clustering.diffusions import METHODS
from graphnoise.clustering.reading import UndirectedGraph, as_undirected
from graphnoise.clustering.result import Floats, Ints
from graphnoise.io import atomic_write

# The parameter that says how far each method goes, and what is tried of it; of flow diffusion parts of all volume.
SCALES: dict[str, tuple[str, tuple[float, ...]]] = {
    "pagerank": ("eps", (1e-2, 1e-3, 1e-4, 1e-5)),
    "l1_pagerank": ("rho", (1e-2, 1e-3, 1e-4, 1e-5)),
    "heat_kernel": ("eps", (1e-2, 1e-3, 1e-4, 1e-5)),
    "flow": ("mass", (1e-3, 1e-2, 1e-1)),
}
AT_ONCE = 128  # runs of a batch: what Ctrl-C loses at most


@dataclass(frozen=True, eq=False)
class CommunityProfile:
    """The best cluster that was found of each size.

    Attributes:
        sizes: Number of nodes of the best cluster of each bucket of sizes, ascending, int64, shape [k].
        conductances: Its conductance, shape [k].
        clusters: Its nodes, ascending, k arrays of positions.
        seeds: The seed from which it was found, shape [k].
        scales: The value of the grid with which it was found, shape [k].
        runs: Number of diffusions that were made.
        complete: Whether all of them were; False after Ctrl-C.
    """

    sizes: Ints
    conductances: Floats
    clusters: list[Ints]
    seeds: Ints
    scales: Floats
    runs: int
    complete: bool


def community_profile(
    graph: Any,
    seeds: Any = 100,
    *,
    method: str = "pagerank",
    grid: Any = None,
    per_decade: int = 8,
    labels: Any = None,
    label_eps: float = 0.05,
    seed: Any = 0,
    num_threads: int = 0,
    progress: bool | None = None,
    **parameters: Any,
) -> CommunityProfile:
    r"""Return the least conductance that was found at each size, of the sweeps of many diffusions.

        profile(k) = min over sets S of about k nodes, of at most half the volume, of phi(S)

    from above: only prefixes of sweeps are looked at. A dip says at which size clusters are; an upward slope after it,
    that larger ones mix with the rest. Ctrl-C returns what was found until then, with `complete` False.

    Args:
        graph: What `as_undirected` takes.
        seeds: How many nodes with neighbours to draw, each in proportion to its degree and at most once; or the seeds
            themselves (list, array, mask), each a run of its own.
        method: As in `diffuse_many`.
        grid: Values that say how far a diffusion goes: eps ("pagerank", "heat_kernel"), rho
            ("l1_pagerank"), or mass as a part of the volume of the graph ("flow"). By default from 1e-2 to
            1e-5, and of mass from 1e-3 to 1e-1.
        per_decade: Buckets of sizes for each factor of 10.
        labels: Noisy labels as in `diffuse_many`; conductance then regards them.
        label_eps: Part that an edge between different labels weighs.
        seed: Seed of the draw.
        num_threads: As in `diffuse_many`.
        progress: Whether to show a progress bar; by default where standard error is a terminal.
        **parameters: The method's other parameters.

    Raises:
        InputError: A grid that is not numbers above 0, no seeds, or what `diffuse_many` refuses.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([50] * 8, 0.3, 0.005, seed=0)
        >>> found = community_profile(data, 20, grid=[1e-3, 1e-4])
        >>> int(found.sizes[found.conductances.argmin()]), found.complete
        (50, True)

    Source: Leskovec, Lang, Dasgupta and Mahoney, "Community structure in large networks", Internet Mathematics 6, 2009,
        section 2.
    """
    read = as_undirected(graph)
    name, usual = SCALES[checks.choice("method", method, METHODS)]
    values = usual if grid is None else _grid(grid)
    if name in parameters:
        checks.fail(f"parameters of {method}", f"{name} in grid", repr(name))
    decade = checks.integer("per_decade", per_decade, 1, 1000)
    if progress is not None and not isinstance(progress, bool):
        checks.fail("progress", "True, False or None", repr(progress))
    chosen = _seeds(read, seeds, seed)
    asked = inputs.labels(read, labels) if read.names is None else labels
    best = _Best(read, decade)
    complete = False
    shown = sys.stderr.isatty() if progress is None else progress
    jobs = [(value, chosen[i : i + AT_ONCE]) for value in values for i in range(0, len(chosen), AT_ONCE)]
    runs = 0
    try:
        for value, some in _tracked(jobs, shown):
            more = {"mass": value * read.volume} if name == "mass" else {name: value}
            called = some if read.names is None else read.named(some)
            batch = diffuse_many(
                read, called, method, labels=asked, label_eps=label_eps, num_threads=num_threads, **more, **parameters
            )
            for start, cluster in zip(
                some.tolist(), sweep_many(read, batch, labels=asked, label_eps=label_eps), strict=True
            ):
                if len(cluster.nodes) and cluster.order is not None and cluster.profile is not None:
                    best.take(cluster.order, cluster.profile, start, value)
                runs += 1
        complete = True
    except KeyboardInterrupt:
        pass  # what was found is returned, and says that it is not all
    return best.profile(runs, complete)


class _Best:
    """The best prefix so far of each bucket: sizes from 10^(b / decade) to 10^((b + 1) / decade)."""

    def __init__(self, graph: UndirectedGraph, decade: int) -> None:
        self.graph = graph
        edges = 10 ** (np.arange(int(np.ceil(np.log10(max(graph.num_nodes, 2)) * decade)) + 2) / decade)
        self.edges = np.unique(np.ceil(edges - 1e-9)).astype(np.int64)
        self.found: dict[int, tuple[float, Ints, int, float]] = {}

    def take(self, order: Ints, profile: Floats, start: int, value: float) -> None:
        volume = np.cumsum(self.graph.degree[order])
        size = int(np.searchsorted(volume, self.graph.volume / 2, side="right"))
        begins = self.edges[self.edges <= size] - 1
        if len(begins) == 0:
            return
        least = np.minimum.reduceat(profile[:size], begins)
        for b, phi in enumerate(least.tolist()):
            if b not in self.found or phi < self.found[b][0]:
                end = begins[b + 1] if b + 1 < len(begins) else size
                count = int(begins[b] + np.argmin(profile[begins[b] : end])) + 1
                self.found[b] = phi, np.sort(order[:count]), start, value

    def profile(self, runs: int, complete: bool) -> CommunityProfile:
        rows = [self.found[b] for b in sorted(self.found)]
        return CommunityProfile(
            sizes=np.array([len(row[1]) for row in rows], dtype=np.int64),
            conductances=np.array([row[0] for row in rows], dtype=np.float64),
            clusters=[row[1] for row in rows],
            seeds=np.array([row[2] for row in rows], dtype=np.int64),
            scales=np.array([row[3] for row in rows], dtype=np.float64),
            runs=runs,
            complete=complete,
        )


def draw_profile(profile: CommunityProfile, path: str | os.PathLike[str]) -> Path:
    """Draw conductance against size, both on logarithmic scales, into a file.

    Args:
        profile: What `community_profile` returned.
        path: Where to; the suffix is the format (.png, .pdf, .svg).

    Returns:
        The file.

    Raises:
        InputError: Nothing to draw, matplotlib is not installed, or the suffix is none of its formats.
        DataError: The file cannot be written.
    """
    if not isinstance(profile, CommunityProfile) or len(profile.sizes) == 0:
        got = "one without clusters" if isinstance(profile, CommunityProfile) else type(profile).__name__
        checks.fail("profile", "a CommunityProfile with clusters", got)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("draw_profile: expected matplotlib (pip install 'graphnoise[plots]'), got none") from error
    target = Path(path)
    figure = Figure(figsize=(6, 4), layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    suffix = target.suffix[1:].lower()
    if suffix not in formats:
        checks.fail("path", f"a name that ends in one of {', '.join('.' + f for f in sorted(formats))}", target.name)
    axes = figure.subplots()
    shown = profile.conductances > 0
    axes.plot(profile.sizes[shown], profile.conductances[shown], marker="o", markersize=3, color="#0072B2")
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="least conductance found")
    axes.grid(alpha=0.3)
    with atomic_write(target) as out:
        figure.savefig(out, format=suffix, dpi=150)
    return target


def _tracked(jobs: list[Any], shown: bool) -> Iterator[Any]:
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        yield from bar.track(jobs, description="community profile")


def _grid(grid: Any) -> tuple[float, ...]:
    values = checks.finite("grid", grid, dims=1).detach().cpu().double().tolist()
    if not values or min(values) <= 0:
        checks.fail("grid", "numbers above 0", values)
    return tuple(values)


def _seeds(graph: UndirectedGraph, seeds: Any, seed: Any) -> Ints:
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        some = np.flatnonzero(graph.degree > 0)
        if len(some) == 0:
            checks.fail("graph", "a graph with edges", "none")
        count = min(checks.integer("seeds", seeds, 1), len(some))
        share = graph.degree[some] / graph.degree[some].sum()
        drawn = checks.generator(seed).choice(some, count, replace=False, p=share)
        return np.sort(drawn).astype(np.int64)
    found = inputs.positions(graph, seeds)
    if len(found) == 0:
        checks.fail("seeds", "at least one node", "none")
    return found
