"""Timing of implementations side by side: interleaved rounds, ratios within a round, quartiles."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.benchmark import timer

from graphnoise.errors import GraphnoiseError

# Seconds of a sample at least, and of a call beyond which a run takes fewer steps per call.
MIN_SAMPLE, MAX_CALL = 0.02, 0.2
# Larger than any cache.
COPY_BYTES = {"cpu": 128 << 20, "cuda": 512 << 20}
Quartiles = dict[str, float]
Say = Callable[[str], None]


class VerificationError(GraphnoiseError):
    """A result differs from the reference, so it is not timed."""


def raised(error: Exception) -> str:
    """Return what a note says of an error."""
    return f"raises {type(error).__name__} ({str(error).splitlines()[0][:100]})"


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the median and the quartiles.

    Example:
        >>> quartiles([4.0, 1.0, 2.0, 3.0, 5.0])
        {'low': 2.0, 'median': 3.0, 'high': 4.0}
    """
    return dict(zip(("low", "median", "high"), np.quantile(values, [0.25, 0.5, 0.75]).tolist(), strict=True))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Quartiles:
    """Return the quartiles of the ratio within each round, so that a slow phase of the machine cancels.

    Example:
        >>> ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0])
        {'low': 2.0, 'median': 2.0, 'high': 2.0}
    """
    return quartiles([a / b for a, b in zip(numerator, denominator, strict=True)])


@dataclass
class TimedRun:
    """An implementation to time.

    Attributes:
        name: Its name in records and tables.
        run: Takes a number of steps; with `self_timed` it returns the seconds it took.
        max_steps: Steps per call; 1 for what has no steps.
        threads: Threads of torch while it runs.
        max_call: Seconds of a call beyond which it takes fewer steps per call.
        min_sample: Seconds of a sample, at least.
        before: Runs before every call, not timed; the calls are then timed one by one.
        self_timed: Whether `run` measures its own time.
        steps: Steps per call, set by `warm`.
        calls: Calls per sample, set by `warm`.
        seconds: Seconds per call, measured by `warm`.
    """

    name: str
    run: Callable[[int], Any]
    max_steps: int = 1
    threads: int = 1
    max_call: float = MAX_CALL
    min_sample: float | None = None
    before: Callable[[], object] | None = None
    self_timed: bool = False
    steps: int = 1
    calls: int = 1
    seconds: float = math.nan

    def sample(self) -> float:
        """Return the seconds per step of one sample."""
        if self.self_timed:
            return float(sum(self.run(self.steps) for _ in range(self.calls)) / (self.calls * self.steps))
        total, separate = 0.0, self.before is not None
        for _ in range(self.calls if separate else 1):
            if self.before is not None:
                self.before()
            began = timer()
            for _ in range(1 if separate else self.calls):
                self.run(self.steps)
            total += timer() - began
        return total / (self.calls * self.steps)

    def warm(self) -> None:
        """Run until warm; choose the steps per call and the calls per sample."""
        min_sample = MIN_SAMPLE if self.min_sample is None else self.min_sample
        set_threads(self.threads)
        self.steps = self.calls = 1
        self.run(1)
        self.seconds = self.sample()
        self.steps = max(1, min(self.max_steps, int(self.max_call / max(self.seconds, 1e-9))))
        if self.seconds >= max(self.max_call, min_sample):
            return
        while (taken := self.sample() * self.calls * self.steps) < min_sample / 2 and self.calls < 1 << 20:
            self.calls *= 2
        self.seconds = taken / self.calls
        self.calls = max(1, math.ceil(min_sample / max(self.seconds, 1e-9)))


def set_threads(count: int) -> None:
    """Give torch a number of threads; a pool of another size starts here, outside of the samples."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
        torch.zeros(1 << 18).add_(1)


def fastest(variants: Mapping[str, TimedRun]) -> str:
    """Return the name of the variant with the shortest of a few interleaved samples; slow ones run once."""
    for variant in variants.values():
        variant.warm()
    best = {name: variant.seconds / variant.steps for name, variant in variants.items()}
    for name in [*variants] * (3 if len(variants) > 1 else 0):
        if variants[name].seconds < MAX_CALL:
            best[name] = min(best[name], variants[name].sample())
    return min(best, key=lambda name: best[name])


@contextmanager
def no_gc() -> Iterator[None]:
    """Switch the garbage collector off; restore it and the number of threads at the end."""
    threads, enabled = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if enabled:
            gc.enable()


def interleave(runs: Sequence[TimedRun], rounds: int, seed: int, say: Say = lambda text: None) -> dict[str, Any]:
    """Warm the runs up, then take one sample of each per round, in a random order.

    Returns:
        For each run: its samples in seconds per step, their quartiles, threads, steps per call and calls per sample.
    """
    rng, samples = np.random.default_rng(seed), {run.name: list[float]() for run in runs}
    with no_gc():
        for run in runs:
            # The variant of a baseline is warm already, but not behind a load generator.
            if math.isnan(run.seconds) or run.before is not None:
                run.warm()
        for done in range(1, rounds + 1):
            say(f"round {done} of {rounds}")
            for run in (runs[place] for place in rng.permutation(len(runs))):
                set_threads(run.threads)
                samples[run.name].append(run.sample())
    return {
        run.name: {"seconds": quartiles(samples[run.name]), "samples": samples[run.name]}
        | {"threads": run.threads, "steps": run.steps, "calls": run.calls}
        for run in runs
    }


def compare(times: dict[str, Any], names: Sequence[str], reference: str) -> None:
    """Add to runs by name the ratio of their time to that of the reference."""
    for name in names:
        times[name]["ratio"] = ratio(times[name]["samples"], times[reference]["samples"])


def memcpy(device: str) -> tuple[TimedRun, int]:
    """Return a copy of an array larger than any cache, and the bytes that it reads and writes."""
    source, target = (torch.ones(COPY_BYTES[device] // 4, device=device) for _ in range(2))
    return TimedRun("copy", lambda _: target.copy_(source), threads=torch.get_num_threads()), 8 * source.numel()


def load_generator(device: str) -> Callable[[], Tensor]:
    """Return a parallel torch operator, such as precedes a call in real use."""
    x, y = (torch.ones(1 << 18, device=device) for _ in range(2))
    return lambda: torch.mul(x, x, out=y)
