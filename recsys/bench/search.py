"""Hyper-parameter ranges, and a seeded search over them with a fixed number of trials (Optuna's TPE)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphnoise.checks import InputError

# Trials before the sampler models what it has seen.
RANDOM_TRIALS = 6
BELOW_ONE = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Real:
    """A number in [low, high], rounded to four digits, as a function of [0, 1); 0 on the first share `zero` of it.

    >>> Real(1, 100, log=True)(0.5), Real(0, 1, zero=0.5)(0.4)
    (10.0, 0.0)
    """

    low: float
    high: float
    log: bool = False
    zero: float = 0.0

    def __call__(self, u: float) -> float:
        """Return the value at u."""
        if u < self.zero:
            return 0.0
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + (u - self.zero) / (1 - self.zero) * (high - low)
        return float(f"{math.exp(value) if self.log else value:.4g}")


LogReal = functools.partial(Real, log=True)


@dataclass(frozen=True)
class Integer:
    """An integer in [low, high], evenly by logarithm, as a function of [0, 1); None on the last share `none` of it.

    >>> Integer(1, 100)(0.5), Integer(1, 100, none=0.5)(0.7)
    (10, None)
    """

    low: int
    high: int
    none: float = 0.0

    def __call__(self, u: float) -> int | None:
        """Return the value at u."""
        if u >= 1 - self.none:
            return None
        low, high = math.log(self.low), math.log(self.high)
        return min(self.high, round(math.exp(low + u / (1 - self.none) * (high - low))))


@dataclass(frozen=True)
class Choice:
    """One of some values, evenly, as a function of [0, 1).

    >>> Choice(("a", "b"))(0.7)
    'b'
    """

    options: tuple[Any, ...]

    def __call__(self, u: float) -> Any:
        """Return the value at u."""
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]


Range = Real | Integer | Choice


def load_optuna() -> Any:
    """Return the module, which logs warnings only.

    Raises:
        InputError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("trials: expected the package optuna (pip install graphnoise[recsys])") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _suggest(trial: Any, name: str, values: Range) -> Any:
    if isinstance(values, Choice):
        return values.options[trial.suggest_categorical(name, range(len(values.options)))]
    return values(trial.suggest_float(name, 0.0, BELOW_ONE))


def search(
    space: Mapping[str, Range], trials: int, seed: Sequence[int], score: Callable[[dict[str, Any]], float | None]
) -> int | None:
    """Score `trials` settings from a space, and return the number of the best, the first of equal ones.

    Settings are proposed by Optuna's tree-structured Parzen estimator, the first RANDOM_TRIALS at random; it models a
    number by its u in [0, 1) and a choice as a category. The number of trials does not depend on the space, but an
    empty space has one.

    Args:
        space: Ranges by name.
        trials: Number of trials, at least 1.
        seed: Seed of all draws.
        score: Function of a setting, higher is better; None for one that fails, which ranks below all others.

    Returns:
        The number of the best trial, or None if all failed.

    Raises:
        InputError: Optuna is not installed.

    Example:
        >>> seen = []
        >>> best = search({"x": Real(0, 1)}, 20, [0], lambda p: seen.append(p["x"]) or -abs(p["x"] - 0.3))
        >>> len(seen), abs(seen[best] - 0.3) < 0.05
        (20, True)

    Source:
        Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011, section 4; Akiba et al., "Optuna",
        KDD 2019.
    """
    if not space:
        return None if score({}) is None else 0
    optuna = load_optuna()
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, multivariate=True, seed=number)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial: Any) -> float:
        value = score({name: _suggest(trial, name, values) for name, values in space.items()})
        if value is None:
            # The sampler takes pruned trials for worse than any number; failed ones it would ignore.
            raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=trials)
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return max(complete, key=lambda trial: trial.value).number if complete else None
