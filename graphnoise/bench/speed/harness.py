"""Timing of implementations side by side: interleaved rounds, ratios within a round, quartiles."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import timer

from graphnoise.errors import GraphnoiseError

# Seconds of a sample at least, and of a call beyond which a run takes fewer steps per call.
MIN_SAMPLE, MAX_CALL = 0.02, 1.0
# Larger than any cache.
COPY_BYTES = {"cpu": 128 << 20, "cuda": 512 << 20}
# What implementations raise on values that they do not take, or without memory.
ERRORS = (RuntimeError, MemoryError, TypeError, ValueError)
Quartiles = dict[str, float]
Record = dict[str, Any]
Say = Callable[[str], None]


class VerificationError(GraphnoiseError):
    """A result differs from the reference, so it is not timed."""


class NotMeasurableError(Exception):
    """A case or a baseline cannot be measured here; the message and the record say why."""


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
        min_sample: Seconds of a sample, at least.
        self_timed: Whether `run` measures its own time.
        clock: Returns seconds.
        steps: Steps per call, set by `warm`.
        calls: Calls per sample, set by `warm`.
        seconds: Seconds per call, measured by `warm`.
    """

    name: str
    run: Callable[[int], Any]
    max_steps: int = 1
    threads: int = 1
    min_sample: float = field(default_factory=lambda: MIN_SAMPLE)
    self_timed: bool = False
    clock: Callable[[], float] = field(default_factory=lambda: timer)
    steps: int = 1
    calls: int = 1
    seconds: float = math.nan

    def sample(self) -> float:
        """Return the seconds per step of one sample."""
        began = self.clock()
        own = [self.run(self.steps) for _ in range(self.calls)]
        total = sum(own) if self.self_timed else self.clock() - began
        return float(total / (self.calls * self.steps))

    def warm(self) -> None:
        """Run until warm; choose the steps per call and the calls per sample."""
        set_threads(self.threads)
        self.steps = self.calls = 1
        self.run(1)
        self.seconds = self.sample()
        self.steps = max(1, min(self.max_steps, int(MAX_CALL / max(self.seconds, 1e-9))))
        if self.seconds >= max(MAX_CALL, self.min_sample):
            return
        while (taken := self.sample() * self.calls * self.steps) < self.min_sample / 2 and self.calls < 1 << 20:
            self.calls *= 2
        self.seconds = taken / self.calls
        self.calls = max(1, math.ceil(self.min_sample / max(self.seconds, 1e-9)))


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


def baseline(
    name: str, make: Callable[[], Mapping[str, TimedRun]], record: Record, limit: float = math.inf
) -> list[TimedRun]:
    """Return the fastest variant of a baseline, or nothing where it is left out.

    Args:
        name: Its name.
        make: Returns its variants once they are verified; raises `NotMeasurableError` or `VerificationError`.
        record: Its "notes" get which variant it is, or why there is none; its "failures" get a wrong result.
        limit: Seconds of a call beyond which it is left out.
    """
    try:
        variants = make()
        with no_gc():
            variant = fastest(variants)
        if variants[variant].seconds <= limit:
            if len(variants) > 1:
                record["notes"][name] = f"the fastest variant is shown, {variant}"
            return [variants[variant]]
        reason = "takes longer than the limit allows"
    except NotMeasurableError as error:
        reason = str(error)
    except VerificationError as error:
        record["failures"].append(str(error))
        reason = "gives another result"
    except ERRORS as error:
        reason = raised(error)
    record["notes"][name] = f"left out: {reason}"
    return []


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
            # The variant of a baseline is warm already.
            if math.isnan(run.seconds):
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


def compare(times: dict[str, Any], reference: str, names: Iterable[str]) -> None:
    """Add to runs by name, except the reference and "copy", the ratio of their time to that of the reference."""
    for name in set(names) - {reference, "copy"}:
        times[name]["ratio"] = ratio(times[name]["samples"], times[reference]["samples"])


def per_second(times: Mapping[str, Any], name: str, amount: float) -> list[float]:
    """Return what a run gets through per second in each round, where a step gets through an amount."""
    return [amount / seconds for seconds in times[name]["samples"]]


def memcpy(device: str) -> tuple[TimedRun, int]:
    """Return a copy of an array larger than any cache, and the bytes that it reads and writes."""
    source, target = (torch.ones(COPY_BYTES[device] // 4, device=device) for _ in range(2))
    return TimedRun("copy", lambda _: target.copy_(source), threads=torch.get_num_threads()), 8 * source.numel()
