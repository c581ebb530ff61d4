"""Network community profile: the least conductance at each size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.batch import (
    check_num_threads,
    check_settings,
    diffuse_many_unchecked,
    sweep_many_unchecked,
)
from graphnoise.clustering.diffusions import METHODS
from graphnoise.clustering.result import named
from graphnoise.clustering.rounding import WALKS
from graphnoise.io import atomic_write
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.push import Settings
from graphnoise.typing import Floats, FloatsLike, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# The parameter that sets the extent of each diffusion, and its default grid; mass as a part of the volume of the graph.
SCALES: dict[str, tuple[str, tuple[float, ...]]] = {
    "pagerank": ("eps", (1e-2, 1e-3, 1e-4, 1e-5)),
    "l1_pagerank": ("rho", (1e-2, 1e-3, 1e-4, 1e-5)),
    "heat_kernel": ("eps", (1e-2, 1e-3, 1e-4, 1e-5)),
    "flow": ("mass", (1e-3, 1e-2, 1e-1)),
}
# Runs of a batch, which are lost at Ctrl-C.
BATCH_SIZE = 128


@dataclass(frozen=True, eq=False)
class CommunityProfile:
    """The best cluster of each size.

    Attributes:
        sizes: Number of nodes of the best cluster of each bucket of sizes, ascending, int64, shape [k].
        conductances: Its conductance, shape [k].
        clusters: Its nodes, ascending, k arrays of positions.
        seeds: The seed of its diffusion, shape [k].
        names: The caller's names of all nodes, or None where the graph has no names.
        scales: The grid value of its diffusion, shape [k].
        runs: Number of diffusions that were run.
        complete: Whether all of them were run; False after Ctrl-C.
    """

    sizes: Ints
    conductances: Floats
    clusters: list[Ints]
    seeds: Ints
    scales: Floats
    runs: int
    complete: bool
    names: Sequence[Any] | None = None

    @property
    def members(self) -> list[Ints | list[Any]]:
        """The clusters by name where the graph has names, otherwise by position."""
        return [named(nodes, self.names) for nodes in self.clusters]


def community_profile(
    graph: GraphLike,
    seeds: SeedsLike = 100,
    *,
    method: str = "pagerank",
    grid: FloatsLike | None = None,
    per_decade: int = 8,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    seed: int | np.random.Generator = 0,
    num_threads: int = 0,
    progress: bool | None = None,
    **parameters: Any,
) -> CommunityProfile:
    r"""Return the least conductance at each size, over the sweeps of many diffusions.

        profile(k) = min over sets S of about k nodes, of at most half the volume, of phi(S)

    bounded from above: only prefixes of sweeps are candidates. A dip shows the size of clusters; an upward slope after
    it, that larger ones mix with the rest. Ctrl-C returns the profile of the runs until then, with `complete` False.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: Number of nodes with neighbours to draw, in proportion to degrees and without replacement; or the seeds
            (list, array, mask), with one run per seed.
        method: As in `diffuse_many`.
        grid: Values that set the extent of a diffusion: eps ("pagerank", "heat_kernel"), rho
            ("l1_pagerank"), or mass as a part of the volume of the graph ("flow"). By default from 1e-2 to
            1e-5, and of mass from 1e-3 to 1e-1.
        per_decade: Buckets of sizes for each factor of 10.
        labels: Noisy labels as in `diffuse_many`, for diffusions and conductance.
        label_eps: Factor of the weight of an edge between different labels.
        seed: Seed of the draw.
        num_threads: As in `diffuse_many`.
        progress: Whether to show a progress bar; by default where standard error is a terminal.
        **parameters: Other parameters of the method.

    Raises:
        InputError: A grid that is not numbers above 0, no seeds, or any error of `diffuse_many`.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([50] * 8, 0.3, 0.005, seed=0)
        >>> profile = community_profile(data, 20, grid=[1e-3, 1e-4])
        >>> int(profile.sizes[profile.conductances.argmin()]), profile.complete
        (50, True)

    Source: Leskovec, Lang, Dasgupta and Mahoney, "Community structure in large networks", Internet Mathematics 6, 2009,
        section 2.
    """
    graph = as_undirected(graph)
    name, default = SCALES[checks.choice("method", method, METHODS)]
    values = default if grid is None else _check_grid(grid)
    if name in parameters:
        checks.fail(f"parameters of {method}", f"{name} in grid", repr(name))
    # The mass of flow diffusion is no setting.
    settings = [check_settings(method, parameters if name == "mass" else {name: v, **parameters}) for v in values]
    num_threads = check_num_threads(num_threads)
    per_decade = checks.integer("per_decade", per_decade, 1, 1000)
    if progress is not None and not isinstance(progress, bool):
        checks.fail("progress", "True, False or None", repr(progress))
    nodes = _check_seeds(graph, seeds, seed)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)
    best = _Best(graph, per_decade)
    complete, runs = False, 0
    jobs = [
        (value, s, nodes[i : i + BATCH_SIZE])
        for value, s in zip(values, settings, strict=True)
        for i in range(0, len(nodes), BATCH_SIZE)
    ]
    try:
        for value, s, some in _tracked(jobs, sys.stderr.isatty() if progress is None else progress):
            masses = np.full(len(some), value * graph.volume if name == "mass" else 1.0)
            sets = np.arange(len(some) + 1), some, masses
            batch = diffuse_many_unchecked(graph, checked, label_eps, *sets, method, s, num_threads)
            clusters = sweep_many_unchecked(graph, batch, method in WALKS, checked, label_eps)
            for start, cluster in zip(some.tolist(), clusters, strict=True):
                if len(cluster.nodes) and cluster.order is not None and cluster.profile is not None:
                    best.update(cluster.order, cluster.profile, start, value)
                runs += 1
        complete = True
    except KeyboardInterrupt:
        # The result shows that it is incomplete.
        pass
    return best.profile(runs, complete)


class _Best:
    """The best prefix so far of each bucket: sizes from 10^(b / per_decade) to 10^((b + 1) / per_decade)."""

    def __init__(self, graph: UndirectedGraph, per_decade: int) -> None:
        self.graph = graph
        edges = 10 ** (np.arange(int(np.ceil(np.log10(max(graph.num_nodes, 2)) * per_decade)) + 2) / per_decade)
        self.edges = np.unique(np.ceil(edges - 1e-9)).astype(np.int64)
        self.best: dict[int, tuple[float, Ints, int, float]] = {}

    def update(self, order: Ints, profile: Floats, start: int, value: float) -> None:
        volume = np.cumsum(self.graph.degree[order])
        size = int(np.searchsorted(volume, self.graph.volume / 2, side="right"))
        begins = self.edges[self.edges <= size] - 1
        if len(begins) == 0:
            return
        least = np.minimum.reduceat(profile[:size], begins)
        for b, phi in enumerate(least.tolist()):
            if b not in self.best or phi < self.best[b][0]:
                end = begins[b + 1] if b + 1 < len(begins) else size
                count = int(begins[b] + np.argmin(profile[begins[b] : end])) + 1
                self.best[b] = phi, np.sort(order[:count]), start, value

    def profile(self, runs: int, complete: bool) -> CommunityProfile:
        rows = [self.best[b] for b in sorted(self.best)]
        return CommunityProfile(
            sizes=np.array([len(row[1]) for row in rows], dtype=np.int64),
            conductances=np.array([row[0] for row in rows], dtype=np.float64),
            clusters=[row[1] for row in rows],
            seeds=np.array([row[2] for row in rows], dtype=np.int64),
            scales=np.array([row[3] for row in rows], dtype=np.float64),
            runs=runs,
            complete=complete,
            names=self.graph.names,
        )


def draw_profile(profile: CommunityProfile, path: str | os.PathLike[str]) -> Path:
    """Draw conductance against size, both on logarithmic scales, into a file.

    Args:
        profile: A result of `community_profile`.
        path: The file; the suffix is the format (.png, .pdf, .svg).

    Returns:
        The file.

    Raises:
        InputError: A profile without clusters, matplotlib is not installed, or the suffix is none of its formats.
        DataError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> from graphnoise.datasets import planted_partition
        >>> profile = community_profile(planted_partition([40, 40], 0.3, 0.02, seed=0), seeds=4, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_profile(profile, f"{folder}/profile.svg").stat().st_size > 1000
        True
    """
    if not isinstance(profile, CommunityProfile) or len(profile.sizes) == 0:
        got = "one without clusters" if isinstance(profile, CommunityProfile) else type(profile).__name__
        checks.fail("profile", "a CommunityProfile with clusters", got)
    target = checks.path("path", path)
    figure = checks.package("draw_profile", "matplotlib.figure", "plots").Figure(figsize=(6, 4), layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    suffix = target.suffix[1:].lower()
    if suffix not in formats:
        checks.fail("path", f"a name that ends in one of {', '.join('.' + f for f in sorted(formats))}", target.name)
    axes = figure.subplots()
    shown = profile.conductances > 0
    axes.plot(profile.sizes[shown], profile.conductances[shown], marker="o", markersize=3, color="#0072B2")
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="least conductance")
    axes.grid(alpha=0.3)
    with atomic_write(target) as out:
        figure.savefig(out, format=suffix, dpi=150)
    return target


def _tracked(jobs: list[tuple[float, Settings, Ints]], shown: bool) -> Iterator[tuple[float, Settings, Ints]]:
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        yield from bar.track(jobs, description="community profile")


def _check_grid(grid: FloatsLike) -> tuple[float, ...]:
    values = checks.finite("grid", grid, dims=1).detach().cpu().double().tolist()
    if not values or min(values) <= 0:
        checks.fail("grid", "numbers above 0", values)
    return tuple(values)


def _check_seeds(graph: UndirectedGraph, seeds: SeedsLike, seed: int | np.random.Generator) -> Ints:
    """Return the positions of the seeds, drawn if `seeds` is a number."""
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        linked = np.flatnonzero(graph.degree > 0)
        if len(linked) == 0:
            checks.fail("graph", "a graph with edges", "none")
        count = min(checks.integer("seeds", seeds, 1), len(linked))
        probability = graph.degree[linked] / graph.degree[linked].sum()
        drawn = checks.generator(seed).choice(linked, count, replace=False, p=probability)
        return np.sort(drawn).astype(np.int64)
    nodes = inputs.check_nodes(graph, seeds)
    if len(nodes) == 0:
        checks.fail("seeds", "at least one node", "none")
    return nodes
