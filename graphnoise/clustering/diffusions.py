"""Local diffusions from seeds: flow diffusion, approximate and l1-regularised PageRank, heat kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.inputs import CheckedLabels, PartialLabels
from graphnoise.clustering.result import Diffusion
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.push import Settings, push
from graphnoise.typing import Floats, FloatsLike, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

MAX_PUSHES = 10_000_000
SINKS = ("degree", "unit")
# Factor between successive eps of `approximate_pagerank(top_k=)`: runs before the last one cost at most a third of it.
EPS_STEP = 4.0


def flow_diffusion(
    graph: GraphLike,
    seeds: SeedsLike,
    mass: FloatsLike | None = None,
    labels: MembershipLike | None = None,
    label_eps: float = 0.05,
    sink: str = "degree",
    tol: float = 1e-3,
    *,
    p: float = 2.0,
    max_pushes: int = MAX_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Spread mass from seeds by flow diffusion, on edges weighted by noisy labels if these are given.

        min over x ≥ 0 of  ½ x'Lx + x'(T - Δ)   (p = 2),   1/q Σ w_uv |x_u - x_v|^q + x'(T - Δ)   (1/p + 1/q = 1)

    Δ is the mass at the seeds, T the capacity of each node (its sink), L = D - W. Mass beyond T flows along the edges,
    x is the potential, and the cluster is where x > 0: its volume (unit sinks: its size) is at most the mass. An edge
    between different labels weighs `label_eps` times its weight.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans, or {node: mass}.
        mass: Mass of all seeds together, in equal parts, or of each; None with {node: mass}. In units of the sinks: a
            few times the volume (unit sinks: the size) of the expected cluster.
        labels: Noisy labels 0/1: array (-1, NaN or None where there is no label), {node: label} or a pandas Series of
            some nodes, callable of an array of nodes that is called for touched nodes only, or None. Seeds have label
            1. Arcs with an unlabelled end keep their weight; where some are unlabelled, all arcs are read.
        label_eps: Factor of the weight of an edge between different labels, from 0 to 1; 1 is plain flow diffusion.
        sink: Capacity of a node: its "degree" (without labels), or "unit" for 1.
        tol: Excess of mass that a node may keep above its sink, above 0.
        p: Norm of the flow, at least 2; larger ones fill a cluster more evenly and take longer.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` are x, `residual` the mass at each node, `statistics` the largest "excess" above a sink.
        Where the nodes that can be reached hold less than the mass there is no solution: `status` is then "exhausted",
        and `converged` False.

    Raises:
        InputError: No seeds, bad seeds, mass or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]]
        >>> diffusion = flow_diffusion(path, 0, mass=4.0, tol=1e-9)
        >>> diffusion.touched, diffusion.values.round(6), diffusion.residual.round(6), diffusion.converged
        (array([0, 1, 2]), array([4., 1., 0.]), array([1., 2., 1.]), True)

    Source: Fountoulakis, Wang and Yang, "p-Norm flow diffusion for local graph clustering", ICML 2020, section 2; Yang
        and Fountoulakis, "Weighted flow diffusion for local graph clustering with node attributes", ICML 2023,
        algorithm 1; label weights: Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy labels",
        ICLR 2024.
    """
    if mass is None and not isinstance(seeds, Mapping):
        checks.fail("mass", "the mass of the seeds, a few times the volume of the cluster", None)
    settings = flow_settings(sink=sink, tol=tol, p=p, max_pushes=max_pushes)
    return _diffuse(graph, seeds, mass, labels, label_eps, settings, backend)


def approximate_pagerank(
    graph: GraphLike,
    seeds: SeedsLike,
    alpha: float = 0.15,
    eps: float = 1e-5,
    labels: MembershipLike | None = None,
    *,
    top_k: int | None = None,
    label_eps: float = 0.05,
    max_pushes: int = MAX_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return an approximation of the personalised PageRank vector of a lazy walk, by pushes.

        p = alpha s + (1 - alpha) W p,  W = (I + A D⁻¹) / 2,   with  0 ≤ ppr - p ≤ eps d  at every node

    Work is at most 1 / (alpha eps) arcs for a mass of 1, whatever the size of the graph.

    With `top_k`, the walk runs with ever smaller residuals, down to eps, until the set of the k nodes of largest ppr is
    certain. With r the residual and h = max r / d, the error of the nodes is bounded by

        0 ≤ ppr - p ≤ (2 alpha r + (1 - alpha) h d) / (1 + alpha) ≤ h d,

    since ppr - p = Σ_u r_u ppr_u, and ppr_u(v) d_u = ppr_v(u) d_v in an undirected graph. The set is certain where p of
    the k-th node is at least the upper bound of every other node, for which the degrees of all nodes are read. Equal
    ppr at the border of the set is never certain.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        alpha: Probability to return to the seeds at each step of the lazy walk, in (0, 1). The walk that is not lazy
            has the damping factor (1 - alpha) / (1 + alpha) for the same vector.
        eps: Residual allowed per unit of degree, above 0; with `top_k` the smallest one.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None; seeds have label 1.
            Degrees are then sums of the weights under labels.
        top_k: Number of nodes to be certain of (`best(top_k)` of the result), or None to run down to eps in any case.
        label_eps: Factor of the weight of an edge between different labels, from 0 to 1; 1 is the same as no labels.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` are p, `residual` the residual, `statistics` the largest "residual" per unit of degree.
        Mass at a node without neighbours is all added to its value. With `top_k`, `statistics` hold whether the k best
        nodes are "certain" (0 or 1), and the "gap": by how much another node may be above the k-th at most. Pushes and
        arcs are those of all runs together.

    Raises:
        InputError: No seeds, bad seeds or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> approximate_pagerank(path, 0, alpha=0.5, eps=1e-9).values.round(4)
        array([0.7083, 0.25  , 0.0417])
        >>> nearest = approximate_pagerank(path, 0, top_k=2)
        >>> nearest.best(2), nearest.statistics["certain"]
        (array([0, 1]), 1.0)

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 3.
    """
    settings = pagerank_settings(alpha=alpha, eps=eps, max_pushes=max_pushes)
    top_k = None if top_k is None else checks.integer("top_k", top_k, 1)
    return _diffuse(graph, seeds, None, labels, label_eps, settings, backend, top_k)


def l1_pagerank(
    graph: GraphLike,
    seeds: SeedsLike,
    alpha: float = 0.15,
    rho: float = 1e-5,
    labels: MembershipLike | None = None,
    *,
    label_eps: float = 0.05,
    tol: float = 1e-2,
    max_pushes: int = MAX_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return the l1-regularised personalised PageRank vector, which is sparse by its objective.

        min over q of  ½ q'Qq - alpha s'D^-½ q + rho alpha ‖D^½ q‖₁,   p = D^½ q,
        Q = (1 + alpha) / 2 · I - (1 - alpha) / 2 · D^-½ A D^-½

    The volume of its support is at most 1 / rho for a mass of 1.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        alpha: As in `approximate_pagerank`.
        rho: Strength of the regularisation, above 0; larger ones give a smaller support.
        labels: As in `approximate_pagerank`.
        label_eps: As in `approximate_pagerank`.
        tol: Excess of the gradient over rho that is allowed, as a part of rho, above 0.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` are p, `residual` is r = s - (I - (1 - alpha) W) p / alpha, at most (1 + tol) rho d,
        and at least rho d (up to tol) where p > 0.

    Raises:
        InputError: No seeds, bad seeds or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> l1_pagerank(path, 0, alpha=0.5, rho=0.2, tol=1e-9).values.round(4)
        array([0.5333, 0.    ])

    Source: Fountoulakis, Roosta-Khorasani, Shun, Cheng and Mahoney, "Variational perspective on local graph
        clustering", Mathematical Programming 174, 2019, section 3.
    """
    settings = l1_settings(alpha=alpha, rho=rho, tol=tol, max_pushes=max_pushes)
    return _diffuse(graph, seeds, None, labels, label_eps, settings, backend)


def heat_kernel(
    graph: GraphLike,
    seeds: SeedsLike,
    t: float = 10.0,
    eps: float = 1e-4,
    labels: MembershipLike | None = None,
    *,
    label_eps: float = 0.05,
    max_pushes: int = MAX_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return an approximation of the heat kernel of a random walk, by pushes along its Taylor series.

        h = e^-t Σ_j t^j / j! · (A D⁻¹)^j s,   with  0 ≤ h - value ≤ eps d  at every node

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        t: Time, above 0 and at most 200: the mean number of steps.
        eps: Largest error per unit of degree, above 0.
        labels: As in `approximate_pagerank`.
        label_eps: As in `approximate_pagerank`.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` approximate h from below, `residual` bounds what is missing at each node, `statistics`
        the largest "residual" per unit of degree, and the mass "beyond" the last level of the series.

    Raises:
        InputError: No seeds, bad seeds or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> heat_kernel(path, 0, t=1.0, eps=1e-9).values.round(4)
        array([0.4678, 0.4323, 0.0999])

    Source: Kloster and Gleich, "Heat kernel based community detection", KDD 2014, section 3.
    """
    settings = heat_settings(t=t, eps=eps, max_pushes=max_pushes)
    return _diffuse(graph, seeds, None, labels, label_eps, settings, backend)


def flow_settings(*, sink: str = "degree", tol: float = 1e-3, p: float = 2.0, max_pushes: int = MAX_PUSHES) -> Settings:
    """Check the parameters of flow diffusion."""
    unit = checks.choice("sink", sink, SINKS) == "unit"
    p = checks.real("p", p, 2.0, 64.0)
    method = "flow" if p == 2 else "norm_flow"
    return Settings(method, tol=_positive("tol", tol), p=p, unit=unit, max_pushes=_check_max_pushes(max_pushes))


def pagerank_settings(*, alpha: float = 0.15, eps: float = 1e-5, max_pushes: int = MAX_PUSHES) -> Settings:
    """Check the parameters of approximate PageRank."""
    alpha, eps = _check_alpha(alpha), _positive("eps", eps)
    return Settings("pagerank", alpha=alpha, eps=eps, max_pushes=_check_max_pushes(max_pushes))


def l1_settings(*, alpha: float = 0.15, rho: float = 1e-5, tol: float = 1e-2, max_pushes: int = MAX_PUSHES) -> Settings:
    """Check the parameters of l1-regularised PageRank."""
    rho, tol, alpha = _positive("rho", rho), _positive("tol", tol), _check_alpha(alpha)
    return Settings("l1_pagerank", alpha=alpha, eps=rho, tol=tol, max_pushes=_check_max_pushes(max_pushes))


def heat_settings(*, t: float = 10.0, eps: float = 1e-4, max_pushes: int = MAX_PUSHES) -> Settings:
    """Check the parameters of the heat kernel."""
    t, eps = _positive("t", t, 200.0), _positive("eps", eps)
    return Settings("heat_kernel", t=t, eps=eps, max_pushes=_check_max_pushes(max_pushes))


# Checks of the parameters of each diffusion that `diffuse_many` runs.
METHODS: dict[str, Callable[..., Settings]] = {
    "flow": flow_settings,
    "pagerank": pagerank_settings,
    "l1_pagerank": l1_settings,
    "heat_kernel": heat_settings,
}


def _check_alpha(alpha: object) -> float:
    expected = "a number above 0 and below 1"
    number = checks.real("alpha", alpha, 0.0, 1.0, expected)
    if number in (0.0, 1.0):
        checks.fail("alpha", expected, alpha)
    return number


def _positive(name: str, value: object, high: float = 1e300) -> float:
    expected = f"a number above 0{f' and at most {high:g}' if high < 1e300 else ''}"
    number = checks.real(name, value, 0.0, high, expected)
    if number < 1e-300:
        checks.fail(name, expected, value)
    return number


def _check_max_pushes(max_pushes: object) -> int:
    return checks.integer("max_pushes", max_pushes, 1, 2**62)


def _diffuse(
    graph: GraphLike,
    seeds: SeedsLike,
    mass: FloatsLike | None,
    labels: MembershipLike | None,
    label_eps: float,
    settings: Settings,
    backend: str | None,
    top_k: int | None = None,
) -> Diffusion:
    graph = as_undirected(graph)
    nodes, masses = inputs.check_seeds(graph, seeds, mass)
    checked, label_eps = inputs.check_weighting(graph, labels, label_eps)

    def run(settings: Settings) -> Diffusion:
        return diffuse_unchecked(graph, nodes, masses, checked, label_eps, settings, backend)

    return run(settings) if top_k is None else _until_certain(graph, run, settings, float(masses.sum()), top_k)


def _until_certain(
    graph: UndirectedGraph, run: Callable[[Settings], Diffusion], settings: Settings, mass: float, top_k: int
) -> Diffusion:
    """Run approximate PageRank with ever smaller eps until the best nodes are certain."""
    # As if the best nodes had equal shares of the mass, and the mean degree.
    eps = max(settings.eps, mass / top_k * graph.num_nodes / graph.volume if graph.volume > 0 else 0.0)
    pushes = arcs = 0
    while True:
        result = run(settings._replace(eps=eps, max_pushes=settings.max_pushes - pushes))
        pushes, arcs = pushes + result.pushes, arcs + result.arcs
        gap = _gap(graph, result, settings.alpha, top_k) if result.status != "overflow" else math.inf
        if gap <= 0 or eps <= settings.eps or not result.converged:
            break
        if pushes == settings.max_pushes:
            result = replace(result, status="max_pushes", converged=False)
            break
        eps = max(eps / EPS_STEP, settings.eps)
    statistics = {**result.statistics, "certain": float(gap <= 0), "gap": gap}
    return replace(result, pushes=pushes, arcs=arcs, statistics=statistics)


def _gap(graph: UndirectedGraph, diffusion: Diffusion, alpha: float, top_k: int) -> float:
    """Return by how much a node outside of the best ones may be above the last of them; below 0 where none can be."""
    best, worst = diffusion.ranking[:top_k], diffusion.statistics["residual"]
    within = np.searchsorted(diffusion.touched, best)
    least = float(diffusion.values[within[-1]]) if len(best) == top_k else 0.0
    # No error is larger than all of the residual.
    bound = (2 * alpha * diffusion.residual + (1 - alpha) * worst * diffusion.degree) / (1 + alpha)
    others = diffusion.values + np.minimum(bound, diffusion.residual.sum())
    others[within] = 0.0
    above = float(others.max(initial=0.0))
    degree = graph.degree.copy()
    degree[diffusion.touched] = 0.0
    untouched = (1 - alpha) / (1 + alpha) * worst * float(degree.max())
    untouched = min(untouched, float(diffusion.residual.sum()))
    if untouched > max(above, least) and _is_closed(graph, diffusion.touched):
        untouched = 0.0
    return max(above, untouched) - least


def _is_closed(graph: UndirectedGraph, nodes: Ints) -> bool:
    """Return whether no arc leaves some nodes, ascending."""
    count = graph.rowptr[nodes + 1] - graph.rowptr[nodes]
    arcs = np.arange(count.sum()) + np.repeat(graph.rowptr[nodes] - np.cumsum(count) + count, count)
    return bool(np.isin(graph.col[arcs], nodes).all())


def diffuse_unchecked(
    graph: UndirectedGraph,
    seeds: Ints,
    masses: Floats,
    labels: CheckedLabels,
    label_eps: float,
    settings: Settings,
    backend: str | None = None,
) -> Diffusion:
    """Run a diffusion by pushes; arguments are known to be valid."""
    if isinstance(labels, PartialLabels):
        graph, labels = inputs.for_kernels(graph, inputs.with_seed_labels(labels, seeds), label_eps)
    run = push(graph, labels, label_eps, seeds, masses, settings, backend)
    finite = bool(np.isfinite(run.values).all() and np.isfinite(run.residual).all() and np.isfinite(run.worst))
    status = run.status if finite else "overflow"
    flow = settings.method in ("flow", "norm_flow")
    statistics = {"excess" if flow else "residual": run.worst}
    if settings.method == "heat_kernel":
        statistics["beyond"] = run.extra
    return Diffusion(
        touched=run.nodes,
        values=run.values,
        residual=run.residual,
        degree=run.degree,
        converged=status == "converged",
        status=status,
        pushes=run.pushes,
        arcs=run.arcs,
        names=graph.named(run.nodes),
        backend=run.backend,
        statistics=statistics,
        method="flow" if flow else settings.method,
    )
