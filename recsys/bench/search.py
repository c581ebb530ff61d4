"""Hyper-parameter ranges, and a seeded search over them with a fixed number of trials (Optuna's TPE)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphnoise.checks import package

# Trials before the sampler models what it has seen.
RANDOM_TRIALS = 6
BELOW_ONE = math.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Range:
    """The values of a hyper-parameter, as a function of u in [0, 1): those between two ends, or one of `options`.

    Numbers have four digits or are whole, and are even by value or by logarithm; the first share `zero` of [0, 1) is 0,
    the last share `none` is None.

    Example:
        >>> real(1, 3)(0.5), log_real(1, 100, zero=0.2)(0.1), integer(1, 100)(0.5), choice("a", "b")(0.7)
        (2.0, 0.0, 10, 'b')
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    zero: float = 0.0
    none: float = 0.0
    options: tuple[Any, ...] = ()

    def __call__(self, u: float) -> Any:
        """Return the value at u."""
        if self.options:
            return self.options[min(int(u * len(self.options)), len(self.options) - 1)]
        if u < self.zero or u >= 1 - self.none:
            return 0.0 if u < self.zero else None
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + (u - self.zero) / (1 - self.zero - self.none) * (high - low)
        value = math.exp(value) if self.log else value
        return min(int(self.high), round(value)) if self.whole else float(f"{value:.4g}")

    def place(self, value: Any) -> float | None:
        """Return a u with this value, or None if the range has no such value.

        Example:
            >>> log_real(1, 100).place(10), integer(1, 100, none=0.2).place(None), real(1, 3).place(4)
            (0.5, 0.9, None)
        """
        if self.options:
            return (self.options.index(value) + 0.5) / len(self.options) if value in self.options else None
        if value is None:
            return 1 - self.none / 2 if self.none else None
        if value == 0 and self.zero:
            return self.zero / 2
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return None
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        u: float = self.zero + (value - low) / (high - low) * (1 - self.zero - self.none)
        return min(u, math.nextafter(1 - self.none, 0.0))


real, log_real = Range, partial(Range, log=True)
integer = partial(Range, log=True, whole=True)


def choice(*options: Any) -> Range:
    """Return the range of some values, all equally likely."""
    return Range(options=options)


def load_optuna() -> Any:
    """Return the module, which logs warnings only; raise `InputError` if it is not installed."""
    optuna = package("trials", "optuna", "recsys")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def search(
    space: Mapping[str, Range],
    trials: int,
    seed: Sequence[int],
    score: Callable[[dict[str, Any]], float | None],
    start: Mapping[str, Any] | None = None,
) -> int | None:
    """Score `trials` settings from a space, and return the number of the best, the first of equal ones.

    Optuna's tree-structured Parzen estimator proposes the settings, the first RANDOM_TRIALS at random but for `start`,
    by the u of numbers and the category of choices. The number of trials does not depend on the space, but an empty one
    has one.

    Args:
        space: Ranges by name.
        trials: Number of trials, at least 1.
        seed: Seed of all draws.
        score: Function of a setting, higher is better; None for one that fails, which ranks below all others.
        start: The first setting, with a value of each range; None: one at random.

    Returns:
        The number of the best trial, or None if all failed.

    Raises:
        InputError: Optuna is not installed.

    Example:
        >>> seen = []
        >>> best = search({"x": real(0, 1)}, 20, [0], lambda p: seen.append(p["x"]) or -abs(p["x"] - 0.3))
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

    def suggest(trial: Any, name: str, values: Range) -> Any:
        if values.options:
            return values.options[trial.suggest_categorical(name, range(len(values.options)))]
        return values(trial.suggest_float(name, 0.0, BELOW_ONE))

    if start is not None:
        study.enqueue_trial(
            {
                name: values.options.index(start[name]) if values.options else values.place(start[name])
                for name, values in space.items()
            }
        )
    states = optuna.trial.TrialState
    for _ in range(trials):
        trial = study.ask()
        value = score({name: suggest(trial, name, values) for name, values in space.items()})
        # The sampler takes pruned trials for worse than any number; failed ones it would ignore.
        study.tell(trial, value, states.PRUNED if value is None else None)
    complete = study.get_trials(deepcopy=False, states=[states.COMPLETE])
    return max(complete, key=lambda trial: trial.value).number if complete else None
