"""Where to spend labels: a query distribution that is robust to wrong answers, and exemplars of classes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks, resources

__all__ = ["draw_queries", "exemplars", "query_value", "robust_query"]

Floats = NDArray[np.float64]


def robust_query(gains: ArrayLike, accuracy: float) -> Floats:
    r"""Return a distribution over nodes to query whose expected gain is largest when some answers are wrong.

    Against an adversary who voids any r = ceil((1 - accuracy) n) nodes, the expected gain is the smallest sum of
    p_i g_i over the others. With gains in decreasing order and H_k = sum_{j <= k} 1 / g_j it is largest,
    (k - r) / H_k, for

        p_i = 1 / (g_i H_k)   on the first k = argmax_{k > r} (k - r) / H_k nodes,   0 on the others.

    Args:
        gains: Gain of each node if its answer is right, at least 0, such as 1 - margin of the student, shape [n].
        accuracy: Share of the answers that are right, in [0, 1].

    Returns:
        Probabilities, shape [n]. Where at most r gains are positive no distribution has a gain, and it is uniform over
        all nodes.

    Raises:
        InputError: No node, or a gain that is negative or not finite.

    Example:
        >>> robust_query([0.9, 0.6, 0.3, 0.1], 0.75).round(3).tolist()
        [0.4, 0.6, 0.0, 0.0]

    Source:
        In the spirit of Baykal et al., "Robust Active Distillation", ICLR 2023; the closed form is derived here from
        the extreme points of the adversary, and tests compare it with the linear programme.
    """
    values = _gains(gains)
    removed = math.ceil((1 - checks.rate("accuracy", accuracy)) * len(values) - 1e-9)
    order = np.argsort(-values, kind="stable")
    positive = int((values > 0).sum())
    p = np.zeros(len(values))
    if positive <= removed:
        p[:] = 1 / len(values)
        return p
    # Relative to the largest, so that the reciprocals stay finite.
    shares = values[order[:positive]] / values[order[0]]
    with np.errstate(over="ignore", divide="ignore"):
        harmonic = np.cumsum(1 / shares)
    worth = np.maximum(np.arange(1, positive + 1) - removed, 0) / harmonic
    count = int(worth.argmax()) + 1
    p[order[:count]] = 1 / (shares[:count] * harmonic[count - 1])
    result: Floats = p / p.sum()
    return result


def query_value(p: ArrayLike, gains: ArrayLike, accuracy: float) -> float:
    """Return the expected gain of a query distribution when the r most useful of its nodes are answered wrongly.

    Args:
        p: Probabilities, which sum to 1, shape [n].
        gains: Gain of each node, at least 0, shape [n].
        accuracy: Share of the answers that are right; r = ceil((1 - accuracy) n).

    Raises:
        InputError: Arrays of different lengths, or values out of their range.

    Example:
        >>> round(query_value([0.4, 0.6, 0.0, 0.0], [0.9, 0.6, 0.3, 0.1], 0.75), 3)
        0.36
    """
    chances, values = _gains(p, "p"), _gains(gains)
    if len(chances) != len(values):
        checks.fail("p", f"{len(values)} probabilities, one per gain", len(chances))
    if abs(chances.sum() - 1) > 1e-6:
        checks.fail("p", "probabilities that sum to 1", f"a sum of {chances.sum():g}")
    removed = math.ceil((1 - checks.rate("accuracy", accuracy)) * len(values) - 1e-9)
    return float(np.sort(chances * values)[: len(values) - removed].sum())


def draw_queries(p: ArrayLike, budget: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return nodes to query, drawn without replacement.

    Args:
        p: Probabilities, shape [n], as of `robust_query`.
        budget: Number of queries; with fewer nodes of positive probability the others are drawn uniformly.
        seed: Seed of the draw.

    Returns:
        Positions in order of the draw, shape [min(budget, n)]; none for a budget of 0.

    Raises:
        InputError: Probabilities that are negative, not finite or all 0, or a negative budget.

    Example:
        >>> sorted(draw_queries([0.4, 0.6, 0.0, 0.0], 2).tolist()), draw_queries([1.0, 0.0], 0).tolist()
        ([0, 1], [])
    """
    chances = _gains(p, "p")
    if not chances.any():
        checks.fail("p", "probabilities of which one is above 0", "zeros")
    count, rng = min(checks.integer("budget", budget, 0), len(chances)), checks.generator(seed)
    # The largest is 1 first, so that the sum stays finite.
    chances = chances / chances.max()
    chances /= chances.sum()
    inside, outside = np.flatnonzero(chances), np.flatnonzero(chances == 0)
    first = rng.choice(inside, min(count, len(inside)), replace=False, p=chances[inside])
    return np.concatenate([first, rng.choice(outside, count - len(first), replace=False)]).astype(np.int64)


def exemplars(
    z: ArrayLike, y: ArrayLike, suspicion: ArrayLike | None = None, *, per_class: int = 5
) -> dict[int, NDArray[np.int64]]:
    r"""Return nodes of each class that represent it, for those who look at labels again.

    Greedy facility location within a class: each step adds the candidate that increases most

        sum_i (1 - g_i) max_{j chosen} s_ij,   s_ij = (1 + cos(z_i, z_j)) / 2 · (1 - g_j),

    so that nodes whose label is suspicious neither represent the class nor need to be represented.

    Args:
        z: Embeddings of the nodes, shape [n, d]; a row of zeros is like no other one.
        y: Class positions, -1 for none, shape [n].
        suspicion: g, how likely each label is wrong, in [0, 1], shape [n]; by default 0.
        per_class: Exemplars of a class.

    Returns:
        By class, positions in the order in which they were chosen; all nodes of a class with fewer.

    Raises:
        InputError: An argument of the wrong shape or out of its range.

    Example:
        >>> exemplars([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 0, 0], per_class=2)[0].tolist()
        [1, 2]

    Source:
        In the spirit of Chang et al., "Thinking Like an Annotator: Generation of Dataset Labeling Instructions", 2023;
        the greedy rule is that of Nemhauser, Wolsey and Fisher, 1978.
    """
    rows: Floats = checks.finite("z", z, dims=2).detach().double().cpu().numpy()
    given = checks.finite("y", y, dims=1).detach().double()
    if bool(((given < -1) | (given % 1 != 0)).any()):
        checks.fail("y", "class positions, -1 for none", "other numbers")
    labels = given.long().cpu().numpy()
    g = np.zeros(len(rows)) if suspicion is None else _gains(suspicion, "suspicion")
    if len(labels) != len(rows) or len(g) != len(rows) or (len(g) and g.max() > 1):
        got = f"{len(labels)} labels, and {len(g)} numbers up to {g.max(initial=0):g}"
        checks.fail("y, suspicion", f"{len(rows)} labels, and as many numbers in [0, 1]", got)
    count = checks.integer("per_class", per_class, 1)
    with np.errstate(over="ignore"):
        unit = rows / np.maximum(np.abs(rows).max(1, keepdims=True, initial=0), 1e-300)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-300)
    chosen = {}
    for c in np.unique(labels[labels >= 0]).tolist():
        nodes = np.flatnonzero(labels == c)
        chosen[c] = nodes[_facility_location(unit[nodes], 1 - g[nodes], min(count, len(nodes)))]
    return chosen


def _facility_location(unit: Floats, trust: Floats, count: int) -> list[int]:
    """Return the greedy choice; a matrix of one class, not of the graph, is held."""
    resources.check_memory(f"similarities of {len(unit)} nodes of a class", 16 * len(unit) ** 2)
    likeness = (1 + unit @ unit.T) / 2 * trust
    covered, chosen = np.zeros(len(unit)), list[int]()
    for _ in range(count):
        gain = trust @ np.maximum(likeness - covered[:, None], 0)
        gain[chosen] = -1
        # Rounded, so that ties go to the first node.
        best = int(gain.round(12).argmax())
        chosen.append(best)
        covered = np.maximum(covered, likeness[:, best])
    return chosen


def _gains(values: ArrayLike, name: str = "gains") -> Floats:
    array: Floats = checks.finite(name, values, dims=1).detach().double().cpu().numpy()
    if not len(array) or array.min() < 0:
        checks.fail(name, "at least one number, all at least 0", "none" if not len(array) else f"{array.min():g}")
    return array
