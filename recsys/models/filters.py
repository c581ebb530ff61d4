"""Filters of the item graph, and those of published methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray


@dataclass(frozen=True)
class Filter:
    r"""A filter of the item graph, which gives a row of clicks the scores of all items.

    The row r of a user has the scores

        [r D^-p (Σ_k c_k T_k(I - 2 S))] D^q + [r D^-v V diag(w) Vᵀ] D^v + c π

    with S of `ItemGraph(user_power, item_power)`, D the clicks of the items over their mean, V the leading eigenvectors
    of S, π the clicks of the items over their maximum.

    Attributes:
        coefficients: c_k [degree + 1].
        weights: w, as many as V has columns.
        user_power: Exponent of the users' clicks in S.
        item_power: Exponent of the items' clicks in S.
        power_in: p.
        power_out: q.
        vector_power: v.
        popularity: c.
    """

    coefficients: NDArray[np.float64]
    weights: NDArray[np.float64]
    user_power: float = 0.5
    item_power: float = 0.5
    power_in: float = 0.0
    power_out: float = 0.0
    vector_power: float = 0.0
    popularity: float = 0.0


def interpolate(response: Any, degree: int) -> NDArray[np.float64]:
    """Return the Chebyshev coefficients of the polynomial in x = 1 - 2 s that equals `response(x)` at cos(jπ / degree).

    Example:
        >>> (interpolate(lambda x: (1 - x) / 2, 2).round(6) + 0.0).tolist()
        [0.5, -0.5, 0.0]
    """
    nodes = np.cos(np.arange(degree + 1) * np.pi / degree)
    return np.asarray(chebyshev.chebfit(nodes, response(nodes), degree))


def published(
    preset: str,
    degree: int,
    directions: int | None,
    low_pass: float | None,
    flatness: float,
    degree_power: float | None,
    user_power: float,
    item_power: float,
) -> Filter:
    """Return the filter of a preset; None is its published setting for Gowalla."""
    graph = {"user_power": user_power, "item_power": item_power}
    linear = np.array([0.5, -0.5])
    if preset == "linkprop":
        power = 0.0 if degree_power is None else degree_power
        return Filter(linear, np.zeros(0), **graph, power_in=power, power_out=power)
    count, weight, default = (512, 0.2, 0.4) if preset == "chebycf" else (256, 0.3, 0.5)
    weights = np.full(count if directions is None else directions, weight if low_pass is None else low_pass)
    power = default if degree_power is None else degree_power
    if preset == "gf-cf":
        return Filter(linear, weights, **graph, vector_power=power)
    coefficients = interpolate(lambda x: 0.5 * (1 - np.sign(x) * np.abs(x) ** flatness), degree)
    return Filter(coefficients, weights, **graph, power_in=power, power_out=power, vector_power=power)
