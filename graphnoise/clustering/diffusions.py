"""Diffusions from seeds that read only the part of the graph where mass is: flow, PageRank, heat kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.reading import as_undirected
from graphnoise.clustering.result import Diffusion
from graphnoise.clustering.rounding import labels_of
from graphnoise.kernels.push import Settings, push

MOST_PUSHES = 10_000_000
SINKS = ("degree", "unit")


def flow_diffusion(
    graph: Any,
    seeds: Any,
    mass: Any = None,
    labels: Any = None,
    label_eps: float = 0.05,
    sink: str = "degree",
    tol: float = 1e-3,
    *,
    p: float = 2.0,
    max_pushes: int = MOST_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Spread mass from seeds by flow diffusion, on edges that noisy labels weigh if there are any.

        min over x ≥ 0 of  ½ x'Lx + x'(T - Δ)   (p = 2),   1/q Σ w_uv |x_u - x_v|^q + x'(T - Δ)   (1/p + 1/q = 1)

    Δ is the mass at the seeds, T what each node holds, L = D - W. Mass beyond T flows on along the edges, x is the
    height that drives it, and the cluster is where x > 0: its volume (unit sinks: its size) is at most the mass. An
    edge weighs its weight where the labels of its ends agree, and `label_eps` of it where they do not.

    Args:
        graph: What `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans, or {node: mass}.
        mass: Mass of all seeds together, in equal parts, or of each; None with {node: mass}. In units of what nodes
            hold: a few times the volume (unit sinks: the size) of the cluster that is looked for.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes that is asked for touched nodes
            only, or None. Seeds have label 1, whatever is said.
        label_eps: Part that an edge between different labels weighs, from 0 to 1; 1 is plain flow diffusion.
        sink: What a node holds: its "degree" (without regard to labels), or one "unit".
        tol: Mass above its sink that a node may keep, above 0.
        p: Norm of the flow, at least 2; larger ones fill a cluster more evenly, and take longer.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` are x, `residual` the mass that lies at each node, `statistics` the largest "excess"
        above a sink. Where the nodes that can be reached hold less than the mass there is no solution: `status` is then
        "exhausted", and `converged` False.

    Raises:
        InputError: No seeds, bad seeds, mass or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]]
        >>> found = flow_diffusion(path, 0, mass=4.0, tol=1e-9)
        >>> found.touched, found.values.round(6), found.residual.round(6), found.converged
        (array([0, 1, 2]), array([4., 1., 0.]), array([1., 2., 1.]), True)

    Source: Fountoulakis, Wang and Yang, "p-Norm flow diffusion for local graph clustering", ICML 2020, section 2; Yang
        and Fountoulakis, "Weighted flow diffusion for local graph clustering with node attributes", ICML 2023,
        algorithm 1; label weights: Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy labels",
        ICLR 2024.
    """
    if mass is None and not isinstance(seeds, Mapping):
        checks.fail("mass", "the mass of the seeds, a few times the volume of the cluster", None)
    chosen = flow_settings(sink=sink, tol=tol, p=p, max_pushes=max_pushes)
    return _run("flow", graph, seeds, mass, labels, label_eps, chosen, backend)


def approximate_pagerank(
    graph: Any,
    seeds: Any,
    alpha: float = 0.15,
    eps: float = 1e-5,
    labels: Any = None,
    *,
    label_eps: float = 0.05,
    max_pushes: int = MOST_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return an approximation of the personalised PageRank vector of a lazy walk, by pushes.

        p = alpha s + (1 - alpha) W p,  W = (I + A D⁻¹) / 2,   with  0 ≤ ppr - p ≤ eps d  at every node

    Work is at most 1 / (alpha eps) arcs for a mass of 1, whatever the size of the graph.

    Args:
        graph: What `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        alpha: Probability to return to the seeds at each step of the lazy walk, in (0, 1). The usual walk that stands
            still nowhere has the damping factor (1 - alpha) / (1 + alpha) for the same vector.
        eps: Residual that is left for each unit of degree, above 0.
        labels: Noisy labels 0/1: array, {node: label}, callable of an array of nodes, or None; seeds have label 1.
            Degrees are then sums of weights that regard labels.
        label_eps: Part that an edge between different labels weighs, from 0 to 1; 1 is the same as no labels.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` are p, `residual` what is left, `statistics` the largest "residual" for each unit of
        degree. Mass at a node without neighbours stays there, all of it as its value.

    Raises:
        InputError: No seeds, bad seeds or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> approximate_pagerank(path, 0, alpha=0.5, eps=1e-9).values.round(4)
        array([0.7083, 0.25  , 0.0417])

    Source: Andersen, Chung and Lang, "Local graph partitioning using PageRank vectors", FOCS 2006, section 3.
    """
    chosen = pagerank_settings(alpha=alpha, eps=eps, max_pushes=max_pushes)
    return _run("pagerank", graph, seeds, None, labels, label_eps, chosen, backend)


def l1_pagerank(
    graph: Any,
    seeds: Any,
    alpha: float = 0.15,
    rho: float = 1e-5,
    labels: Any = None,
    *,
    label_eps: float = 0.05,
    tol: float = 1e-2,
    max_pushes: int = MOST_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return the l1-regularised personalised PageRank vector: sparse by its objective, not by when the work ends.

        min over q of  ½ q'Qq - alpha s'D^-½ q + rho alpha ‖D^½ q‖₁,   p = D^½ q,
        Q = (1 + alpha) / 2 · I - (1 - alpha) / 2 · D^-½ A D^-½

    The volume of its support is at most 1 / rho for a mass of 1.

    Args:
        graph: What `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        alpha: As in `approximate_pagerank`.
        rho: Strength of the regularisation, above 0; large ones keep the support small.
        labels: As in `approximate_pagerank`.
        label_eps: As in `approximate_pagerank`.
        tol: The gradient may be beyond rho by this part of it, above 0.
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
    chosen = l1_settings(alpha=alpha, rho=rho, tol=tol, max_pushes=max_pushes)
    return _run("l1_pagerank", graph, seeds, None, labels, label_eps, chosen, backend)


def heat_kernel(
    graph: Any,
    seeds: Any,
    t: float = 10.0,
    eps: float = 1e-4,
    labels: Any = None,
    *,
    label_eps: float = 0.05,
    max_pushes: int = MOST_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Return an approximation of the heat kernel of a walk, by pushes along its Taylor series.

        h = e^-t Σ_j t^j / j! · (A D⁻¹)^j s,   with  0 ≤ h - value ≤ eps d  at every node

    Args:
        graph: What `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        t: Time, above 0 and at most 200: mean number of steps.
        eps: Largest error for each unit of degree, above 0.
        labels: As in `approximate_pagerank`.
        label_eps: As in `approximate_pagerank`.
        max_pushes: Largest number of pushes.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        The diffusion: `values` approximate h from below, `residual` bounds what was left at each node, `statistics` the
        largest "residual" for each unit of degree, and what lies "beyond" the last level of the series.

    Raises:
        InputError: No seeds, bad seeds or labels, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> heat_kernel(path, 0, t=1.0, eps=1e-9).values.round(4)
        array([0.4678, 0.4323, 0.0999])

    Source: Kloster and Gleich, "Heat kernel based community detection", KDD 2014, section 3.
    """
    chosen = heat_settings(t=t, eps=eps, max_pushes=max_pushes)
    return _run("heat_kernel", graph, seeds, None, labels, label_eps, chosen, backend)


def flow_settings(
    *, sink: str = "degree", tol: float = 1e-3, p: float = 2.0, max_pushes: int = MOST_PUSHES
) -> Settings:
    """Check the parameters of flow diffusion."""
    unit = checks.choice("sink", sink, SINKS) == "unit"
    norm = checks.real("p", p, 2.0, 64.0)
    method = "flow" if norm == 2 else "norm_flow"
    return Settings(method, tol=_above("tol", tol), p=norm, unit=unit, max_pushes=_bound(max_pushes))


def pagerank_settings(*, alpha: float = 0.15, eps: float = 1e-5, max_pushes: int = MOST_PUSHES) -> Settings:
    """Check the parameters of approximate PageRank."""
    return Settings("pagerank", alpha=_share(alpha), eps=_above("eps", eps), max_pushes=_bound(max_pushes))


def l1_settings(
    *, alpha: float = 0.15, rho: float = 1e-5, tol: float = 1e-2, max_pushes: int = MOST_PUSHES
) -> Settings:
    """Check the parameters of l1-regularised PageRank."""
    small, part = _above("rho", rho), _above("tol", tol)
    return Settings("l1_pagerank", alpha=_share(alpha), eps=small, tol=part, max_pushes=_bound(max_pushes))


def heat_settings(*, t: float = 10.0, eps: float = 1e-4, max_pushes: int = MOST_PUSHES) -> Settings:
    """Check the parameters of the heat kernel."""
    return Settings("heat_kernel", t=_above("t", t, 200.0), eps=_above("eps", eps), max_pushes=_bound(max_pushes))


# Checks of the parameters of each diffusion that `diffuse_many` runs.
METHODS: dict[str, Callable[..., Settings]] = {
    "flow": flow_settings,
    "pagerank": pagerank_settings,
    "l1_pagerank": l1_settings,
    "heat_kernel": heat_settings,
}


def _share(alpha: object) -> float:
    number = checks.real("alpha", alpha, 0.0, 1.0, "a number above 0 and below 1")
    if number in (0.0, 1.0):
        checks.fail("alpha", "a number above 0 and below 1", alpha)
    return number


def _above(name: str, value: object, most: float = 1e300) -> float:
    wanted = f"a number above 0{f' and at most {most:g}' if most < 1e300 else ''}"
    number = checks.real(name, value, 0.0, most, wanted)
    if number < 1e-300:
        checks.fail(name, wanted, value)
    return number


def _bound(max_pushes: object) -> int:
    return checks.integer("max_pushes", max_pushes, 1, 2**62)


def _run(
    method: str, graph: Any, seeds: Any, mass: Any, labels: Any, label_eps: float, s: Settings, backend: str | None
) -> Diffusion:
    read = as_undirected(graph)
    nodes, masses = inputs.seeds(read, seeds, mass)
    asked, share = labels_of(read, labels, label_eps)
    found = push(read, asked, share, nodes, masses, s, backend)
    finite = bool(np.isfinite(found.values).all() and np.isfinite(found.residual).all() and np.isfinite(found.worst))
    status = found.status if finite else "overflow"
    about = {"excess" if method == "flow" else "residual": found.worst}
    if method == "heat_kernel":
        about["beyond"] = found.extra
    return Diffusion(
        touched=found.nodes,
        values=found.values,
        residual=found.residual,
        degree=found.degree,
        converged=status == "converged",
        status=status,
        pushes=found.pushes,
        arcs=found.arcs,
        names=read.named(found.nodes),
        backend=found.backend,
        statistics=about,
        method=method,
    )
