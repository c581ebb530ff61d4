"""LACA: local clustering by edges and attributes of the nodes, without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.diffusions import MAX_PUSHES, diffuse_unchecked, pagerank_settings
from graphnoise.clustering.membership import check_attributes
from graphnoise.clustering.result import Diffusion
from graphnoise.typing import FeaturesLike, Floats, FloatsLike, GraphLike, SeedsLike
from graphnoise.undirected import as_undirected

# Least sum of similarities that a row is divided by.
MIN_SUM = 1e-6


def attribute_factors(x: FeaturesLike, num_components: int = 64, *, seed: int = 0) -> Floats:
    r"""Return factors Z of the similarity of attributes that `laca` uses, once for a graph.

    With U Σ V' the truncated singular value decomposition of x, and y_i the rows of U Σ scaled to Euclidean norm 1,

        Z Z' = [y_i · y_j / sqrt(s_i s_j)],   s_i = max(Σ_l y_i · y_l, 1e-6):

    the cosine of reduced attributes, normalised by its sums on both sides. Where attributes have negative values, whose
    sums cancel, (1 + y_i · y_j) / 2 takes the place of the cosine. Rows of zeros stay zero.

    Args:
        x: Attributes, finite, dense or SciPy sparse, shape [n, features]; row i is that of node i in the order of the
            graph.
        num_components: Number of singular values, at least 1; at most that of nodes and of attributes is used.
        seed: Seed of the decomposition, which is randomised.

    Returns:
        Z, float64, shape [n, components], with a further column where attributes have negative values.

    Raises:
        InputError: Attributes that are not finite numbers, or a parameter out of its range.

    Example:
        >>> Z = attribute_factors([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
        >>> (Z @ Z.T).round(2)
        array([[0.5, 0.5, 0. ],
               [0.5, 0.5, 0. ],
               [0. , 0. , 1. ]])

    Source: Zheng, Yang and Xu, "Adaptive local clustering over attributed graphs", ICDE 2025.
    """
    features = check_attributes(x).astype(np.float64)
    rank = min(checks.integer("num_components", num_components, 1), *features.shape)
    # On one thread sums are the same at any number of threads.
    with threadpool_limits(1, "blas"):
        u, s, _ = randomized_svd(features, rank, n_iter=10, random_state=checks.integer("seed", seed, 0, 2**32 - 1))
        y = normalize(u * s)
        # Not the rounding of rows of zeros.
        y[np.asarray(abs(features).sum(1)).ravel() == 0] = 0.0
        if features.min() < 0:
            y = np.column_stack([y, (y != 0).any(1)]) / np.sqrt(2)
        return np.asarray(y / np.sqrt(np.maximum(y @ y.sum(0), MIN_SUM))[:, None])


def laca(
    graph: GraphLike,
    seeds: SeedsLike,
    factors: FloatsLike,
    *,
    alpha: float = 0.9,
    eps: float = 1e-6,
    max_pushes: int = MAX_PUSHES,
    backend: str | None = None,
) -> Diffusion:
    r"""Score nodes near seeds by walks along edges and a step between similar attributes (LACA).

    With P = A D⁻¹ and Π = (1 - alpha) Σ_l alpha^l P^l, the walk that goes on with probability alpha at each step,

        p = Π s,   phi_i = max(z_i · Σ_j p_j z_j, 0) where p > 0,   score = D⁻¹ Π D phi:

    how likely a walk from the seeds, a step to a node of similar attributes, and another walk lead to each node. Both
    walks are approximated by pushes that read only what they reach; the second one has a residual of eps per unit of
    degree and of its mass Σ d phi. For a cluster of known size take `best(size)` of the result; `sweep_cut` rounds it
    to a set of small conductance.

    Args:
        graph: Anything `as_undirected` takes.
        seeds: A node, several nodes, a mask [n] of Booleans (together a mass of 1), or {node: mass}.
        factors: Z of `attribute_factors`, or other factors of a similarity, finite, shape [n, components].
        alpha: Probability to go on at each step, in (0, 1). `approximate_pagerank`, whose walk is lazy, has the same
            vector with its alpha (1 - alpha) / (1 + alpha).
        eps: Residual allowed per unit of degree, above 0.
        max_pushes: Largest number of pushes of each walk.
        backend: "native", "reference" (the same, to the last bit), or None for the first.

    Returns:
        A diffusion: `values` are the scores, `residual` the residual of the second walk over the degrees, `statistics`
        its largest "residual" per unit of degree and mass. Nodes without neighbours count with degree 1. All scores are
        0 where no node that the first walk reaches has similar attributes.

    Raises:
        InputError: No seeds, bad seeds or factors, a graph that is not undirected, an argument out of its range.

    Example:
        >>> path = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]
        >>> Z = attribute_factors([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> laca(path, 1, Z, alpha=0.5).values.round(2)
        array([0.36, 0.33, 0.17, 0.14])

    Source: Zheng, Yang and Xu, "Adaptive local clustering over attributed graphs", ICDE 2025.
    """
    graph = as_undirected(graph)
    nodes, masses = inputs.check_seeds(graph, seeds)
    inputs.check_order(graph, "factors", "an array for names in another order", by_node=False)
    z = checks.finite("factors", factors, dims=2).detach().cpu().double().numpy()
    if len(z) != graph.num_nodes:
        checks.fail("factors", f"{graph.num_nodes} rows, one per node", len(z))
    settings = pagerank_settings(alpha=alpha, eps=eps, max_pushes=max_pushes)
    settings = settings._replace(alpha=(1 - settings.alpha) / (1 + settings.alpha))
    first = diffuse_unchecked(graph, nodes, masses, None, 1.0, settings, backend)
    reached = first.support
    # Where the first walk or the products of factors overflow, which the status says.
    with threadpool_limits(1, "blas"), np.errstate(invalid="ignore", over="ignore"):
        phi = np.maximum(z[reached] @ (first.values[first.values > 0] @ z[reached]), 0.0)
    mass = phi * _degree(graph.degree[reached])
    total = float(mass.sum())
    if not 0 < total < np.inf:
        none = np.zeros(len(first.touched))
        finite = first.status if total == 0 else "overflow"
        return replace(first, values=none, residual=none, method="laca", status=finite)
    some = mass > 0
    second = diffuse_unchecked(graph, reached[some], mass[some] / total, None, 1.0, settings, backend)
    scale = total / _degree(second.degree)
    # The first walk may have been stopped.
    status = second.status if first.converged else first.status
    return replace(
        second,
        values=second.values * scale,
        residual=second.residual * scale,
        converged=first.converged and second.converged,
        status=status,
        pushes=first.pushes + second.pushes,
        arcs=first.arcs + second.arcs,
        method="laca",
    )


def _degree(degree: Floats) -> Floats:
    """Return degrees, 1 where there are no neighbours."""
    return np.where(degree > 0, degree, 1.0)
