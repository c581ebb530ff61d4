"""Sampling for random graphs: distinct pairs, ends by propensity, power-law propensities."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphnoise.checks import fail, real
from graphnoise.datasets.raw import unique

Array = np.ndarray[Any, Any]


def propensities(size: int, exponent: float, edges: float, rng: np.random.Generator) -> Array:
    r"""Return N propensities with sum 1, in random order: \(\theta_i \propto \min(i^{-1/(\gamma - 1)}, c)\), i = 1 … N.

    Expected degrees \(2m\theta_i\) for m edges then follow a power law with exponent \(\gamma\) up to the structural
    cut-off \(\sqrt{2m}\), which determines c: beyond it, most edges between hubs would be repeats.

    Raises:
        InputError: The exponent is not above 2.

    Example:
        >>> theta = propensities(1000, 2.5, 4000, np.random.default_rng(0))
        >>> round(float(theta.sum()), 9), bool(theta.max() > 10 * theta.mean())
        (1.0, True)
    """
    gamma = real("exponent", exponent, 2.0, expected="a number above 2")
    if gamma == 2.0:
        fail("exponent", "a number above 2", gamma)
    theta: Array = np.arange(1, size + 1) ** (-1 / (gamma - 1))
    theta /= theta.sum()
    theta = np.minimum(theta, max(1 / size, (2 * edges + 1) ** -0.5))
    theta /= theta.sum()
    rng.shuffle(theta)
    return theta


def draw_ends(rng: np.random.Generator, theta: Array, count: int) -> Array:
    """Return `count` independent draws from theta, sorted: the draws of each node are multinomial."""
    return np.repeat(np.arange(len(theta)), rng.multinomial(count, theta))


def arc_keys(row: Array, col: Array, num_nodes: int) -> Array:
    """Return the key low * N + high of every pair of different nodes."""
    proper = row != col
    keys: Array = np.minimum(row, col)[proper] * num_nodes + np.maximum(row, col)[proper]
    return keys


def draw_distinct(rng: np.random.Generator, sizes: Array, counts: Array) -> Array:
    """Return, sorted, `counts[g]` distinct integers from each of consecutive ranges g of `sizes[g]` integers.

    Every subset of a range is equally likely: the missing number is drawn uniformly and repeatedly, independently of
    the integers drawn so far. For a range that is more than half full, the excluded integers are drawn.
    """
    starts = np.cumsum(sizes) - sizes
    dense = 2 * counts > sizes
    targets = np.where(dense, sizes - counts, counts)
    keys, missing = np.empty(0, dtype=np.int64), targets
    while missing.any():
        group = np.repeat(np.arange(len(sizes)), missing)
        drawn = unique(rng.integers(0, sizes[group]) + starts[group])
        index = np.minimum(np.searchsorted(keys, drawn), max(len(keys) - 1, 0))
        keys = np.concatenate([keys, drawn[keys[index] != drawn] if len(keys) else drawn])
        keys.sort(kind="stable")
        missing = targets - np.diff(np.searchsorted(keys, np.append(starts, sizes.sum())))
    full = [np.arange(start, start + size) for start, size in zip(starts[dense], sizes[dense], strict=True)]
    if not full:
        return keys
    excluded = dense[np.searchsorted(starts, keys, side="right") - 1]
    rest = np.setdiff1d(np.concatenate(full), keys[excluded], assume_unique=True)
    return np.sort(np.concatenate([keys[~excluded], rest]))


def triangle(position: Array) -> tuple[Array, Array]:
    """Return the pair (i, j), i < j, at each position of the sequence (0, 1), (0, 2), (1, 2), (0, 3), …."""
    high = ((1 + np.sqrt(1 + 8 * position.astype(np.float64))) / 2).astype(np.int64)
    # The root may be rounded up or down.
    high -= high * (high - 1) // 2 > position
    high += high * (high + 1) // 2 <= position
    return position - high * (high - 1) // 2, high
