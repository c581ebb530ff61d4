"""Timing side by side: rounds in a shuffled order, samples that are long enough, quantiles of ratios."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FLOOR = 0.02  # seconds of a sample, at least
CEILING = 0.2  # seconds of a call beyond which a peer takes fewer steps in it
PATIENCE = 1.0  # the same for the library itself, whose checks are part of each call
COPY_BYTES = {"cpu": 128 << 20, "cuda": 512 << 20}  # larger than any cache

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles.

    Example:
        >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
        Spread(median=3.0, low=2.0, high=4.0)
    """
    low, median, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return Spread(median, low, high)


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the ratio within each round, which a slow spell of the machine leaves alone.

    Example:
        >>> ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0])
        Spread(median=2.0, low=2.0, high=2.0)
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


@dataclass
class Contender:
    """Something to time.

    Attributes:
        name: Its name.
        run: Takes a number of steps.
        most: Steps of a call; 1 for what has no steps.
        threads: Threads of torch while it runs.
        ceiling: Seconds of a call beyond which it takes fewer steps.
        calls: Calls of a sample, found by `warm`.
        steps: Steps of a call that `warm` settled on.
        before: Runs before every call, unmeasured; the calls are then timed one by one.
        seconds: Seconds of a call, as `warm` found them.
    """

    name: str
    run: Callable[[int], Tensor]
    most: int
    threads: int
    ceiling: float = CEILING
    calls: int = 1
    steps: int = 1
    before: Callable[[], object] | None = None
    seconds: float = math.nan

    def sample(self, clock: Clock) -> float:
        """Return seconds per step of one sample."""
        if self.before is None:
            began = clock()
            for _ in range(self.calls):
                self.run(self.steps)
            return (clock() - began) / (self.calls * self.steps)
        total = 0.0
        for _ in range(self.calls):
            self.before()
            began = clock()
            self.run(self.steps)
            total += clock() - began
        return total / (self.calls * self.steps)

    def warm(self, clock: Clock, floor: float | None = None) -> None:
        """Run it until it is warm, and find how many steps a call and how many calls a sample take."""
        least = FLOOR if floor is None else floor
        self.run(1)
        began = clock()
        self.run(1)
        one = clock() - began
        self.steps = max(1, min(self.most, int(self.ceiling / max(one, 1e-9))))
        self.calls, self.seconds = 1, one
        if one >= self.ceiling:  # slow enough to be steady
            return
        self.run(self.steps)
        while (taken := self.sample(clock) * self.calls * self.steps) < least / 2 and self.calls < 1 << 20:
            self.calls *= 2
        self.seconds = taken / self.calls
        self.calls = max(1, math.ceil(least / max(self.seconds, 1e-9)))


def clock_of(device: str) -> Clock:
    """Return a clock that waits for the device."""
    if device != "cuda":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the collector of garbage out of the samples, and give the threads back at the end."""
    before, collects = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if collects:
            gc.enable()


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    seed: int,
    clock: Clock = time.perf_counter,
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    """Take one sample of every contender in each round, in an order that is drawn anew.

    Returns:
        For each contender, seconds per step by round.
    """
    rng = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for done in range(rounds):
        for place in rng.permutation(len(contenders)):
            contender = contenders[place]
            use(contender)
            samples[contender.name].append(contender.sample(clock))
        on_round(done + 1)
    return samples


def use(contender: Contender) -> None:
    """Give torch the threads of a contender."""
    if torch.get_num_threads() != contender.threads:
        torch.set_num_threads(contender.threads)
        torch.zeros(1 << 18).add_(1)  # a pool of another size starts here, not in the sample


def fastest(variants: Mapping[str, Contender], clock: Clock, trials: int = 3) -> str:
    """Return the name of the variant with the shortest of a few interleaved samples; slow ones are tried once."""
    best = {}
    for name, contender in variants.items():
        use(contender)
        contender.warm(clock)
        best[name] = contender.seconds / contender.steps
    for _ in range(trials if len(variants) > 1 else 0):
        for name, contender in variants.items():
            if contender.seconds < CEILING:
                best[name] = min(best[name], contender.sample(clock))
    return min(best, key=lambda name: best[name])


def copier(device: str) -> tuple[Callable[[int], Tensor], int]:
    """Return a copy of an array larger than any cache, and the bytes that it reads and writes."""
    count = COPY_BYTES[device] // 4
    source, target = torch.ones(count, device=device), torch.zeros(count, device=device)

    def run(steps: int) -> Tensor:
        for _ in range(steps):
            target.copy_(source)
        return target

    return run, 2 * 4 * count


def disturber(device: str) -> Callable[[], object]:
    """Return a parallel torch operator, such as stands before a call in real use."""
    x = torch.ones(1 << 18, device=device)
    y = torch.empty_like(x)
    return lambda: torch.mul(x, x, out=y)
