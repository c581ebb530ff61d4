"""Ranges of hyper-parameters, and a seeded search with a fixed number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

EXPLORE = 0.5  # share of the trials that cover the whole space; the others look around the best so far
WIDTH = 0.15  # standard deviation of a step around the best, in a space of width 1


class Range(Protocol):
    """What a hyper-parameter may be: `at` maps a number in [0, 1) to a value."""

    def at(self, place: float) -> Any:
        """Return the value at a place."""


@dataclass(frozen=True)
class Real:
    """A number in [low, high], of four digits; the first `zero` of the places are 0.

    >>> Real(1, 100, log=True).at(0.5), Real(0, 1, zero=0.5).at(0.4)
    (10.0, 0.0)
    """

    low: float
    high: float
    log: bool = False
    zero: float = 0.0

    def at(self, place: float) -> float:
        """Return the value at a place."""
        if place < self.zero:
            return 0.0
        place = (place - self.zero) / (1 - self.zero)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + place * (high - low)
        return float(f"{math.exp(value) if self.log else value:.4g}")


@dataclass(frozen=True)
class Whole:
    """An integer in [low, high], evenly by its logarithm; the last `none` of the places are None.

    >>> Whole(1, 100).at(0.5), Whole(1, 100, none=0.5).at(0.7)
    (10, None)
    """

    low: int
    high: int
    none: float = 0.0

    def at(self, place: float) -> int | None:
        """Return the value at a place."""
        if place >= 1 - self.none:
            return None
        low, high = math.log(self.low), math.log(self.high)
        return min(self.high, round(math.exp(low + place / (1 - self.none) * (high - low))))


@dataclass(frozen=True)
class One:
    """One of some values, each as likely.

    >>> One("a", "b").at(0.7)
    'b'
    """

    options: tuple[Any, ...]

    def __init__(self, *options: Any) -> None:
        object.__setattr__(self, "options", options)

    def at(self, place: float) -> Any:
        """Return the value at a place."""
        return self.options[min(int(place * len(self.options)), len(self.options) - 1)]


def search(
    space: Mapping[str, Range],
    trials: int,
    seed: Sequence[int],
    score: Callable[[dict[str, Any]], float | None],
) -> int | None:
    """Call `score` on so many settings of a space, and return the number of the best; of equal ones the first.

    The first EXPLORE of the trials are a scrambled Halton sequence, which covers the space evenly. Each later one is
    the best so far plus a Gaussian step of standard deviation WIDTH, mirrored at the ends, in about half of the
    hyper-parameters (at least in one). Every method gets the same number of trials, whatever its space; where there is
    no space there is one.

    Args:
        space: ranges by name.
        trials: how many, at least 1.
        seed: of all draws.
        score: a number, more is better; None where a setting fails, which counts as a trial.

    Returns:
        The number of the best trial, or None if all failed.

    Example:
        >>> seen = []
        >>> best = search({"x": Real(0, 1)}, 20, [0], lambda p: seen.append(p["x"]) or -abs(p["x"] - 0.3))
        >>> len(seen), abs(seen[best] - 0.3) < 0.05
        (20, True)

    Source: Halton, "On the efficiency of certain quasi-random sequences of points", 1960; Bergstra and Bengio, "Random
        search for hyper-parameter optimization", JMLR 2012, for search without a model of the space.
    """
    if not space:
        return None if score({}) is None else 0
    rng = np.random.default_rng(list(seed))
    first = max(1, math.ceil(EXPLORE * trials))
    places: list[NDArray[np.float64]] = list(qmc.Halton(len(space), scramble=True, rng=rng).random(first))
    best, top = None, -math.inf
    for number in range(trials):
        if number >= first:
            moves = rng.random(len(space)) < 0.5
            moves[rng.integers(len(space))] = True
            centre = places[best if best is not None else 0]
            places.append(_mirror(centre + WIDTH * moves * rng.standard_normal(len(space))))
        found = score({name: one.at(float(u)) for (name, one), u in zip(space.items(), places[number], strict=True)})
        if found is not None and found > top:
            best, top = number, found
    return best


def _mirror(point: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.abs(point) % 2
    return np.minimum(np.where(inside > 1, 2 - inside, inside), np.nextafter(1.0, 0.0))
