"""Ranges of hyper-parameters, and a seeded search with a fixed number of trials, by Optuna."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphnoise.checks import InputError

if TYPE_CHECKING:
    from optuna import Trial

RANDOM = 6  # trials drawn at random before the search models what it has seen
LAST = math.nextafter(1.0, 0.0)  # the last place below 1


class Range(ABC):
    """What a hyper-parameter may be: `at` maps a number in [0, 1) to a value."""

    @abstractmethod
    def at(self, place: float) -> Any:
        """Return the value at a place."""

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return the value at the place that a trial of Optuna proposes."""
        return self.at(trial.suggest_float(name, 0.0, LAST))


@dataclass(frozen=True)
class Real(Range):
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
class Whole(Range):
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
class One(Range):
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

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return the value that a trial of Optuna proposes."""
        return self.options[trial.suggest_categorical(name, range(len(self.options)))]


def library() -> Any:
    """Return Optuna, told to be silent.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("trials: expected the package optuna (pip install graphnoise[recsys])") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def search(
    space: Mapping[str, Range],
    trials: int,
    seed: Sequence[int],
    score: Callable[[dict[str, Any]], float | None],
) -> int | None:
    """Call `score` on so many settings of a space, and return the number of the best; of equal ones the first.

    Optuna's tree-structured Parzen estimator proposes them, the first RANDOM at random; it sees a number as a place in
    [0, 1), and a choice as a category. Every method gets the same number of trials, whatever its space; where there is
    no space there is one.

    Args:
        space: ranges by name.
        trials: how many, at least 1.
        seed: of all draws.
        score: a number, more is better; None where a setting fails, which counts as a trial and as worse than all.

    Returns:
        The number of the best trial, or None if all failed.

    Raises:
        InputError: Optuna is not installed.

    Example:
        >>> seen = []
        >>> best = search({"x": Real(0, 1)}, 20, [0], lambda p: seen.append(p["x"]) or -abs(p["x"] - 0.3))
        >>> len(seen), abs(seen[best] - 0.3) < 0.05
        (20, True)

    Source: Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011, section 4; Akiba et al.,
        "Optuna", KDD 2019.
    """
    if not space:
        return None if score({}) is None else 0
    optuna = library()
    draws = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM, multivariate=True, seed=int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    )
    study = optuna.create_study(direction="maximize", sampler=draws)
    best, top = None, -math.inf
    for number in range(trials):
        trial = study.ask()
        found = score({name: one.suggest(trial, name) for name, one in space.items()})
        # What fails is told as pruned: the estimator takes that for worse than any number, and keeps away.
        study.tell(trial, found, state=None if found is not None else optuna.trial.TrialState.PRUNED)
        if found is not None and found > top:
            best, top = number, found
    return best
