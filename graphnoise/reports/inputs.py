"""Inputs of the reports: arrays of numbers, and runs of a callable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from graphnoise import checks

Run = Callable[[Mapping[str, Any], int], Mapping[str, Any]]
Floats = NDArray[np.float64]
# Runs of a report: more are a mistake.
MAX_RUNS = 100_000


def finite_array(name: str, value: object, dims: int = 1, *, low: float = -math.inf, high: float = math.inf) -> Floats:
    """Return a float64 array of finite numbers in [low, high]."""
    tensor = checks.finite(name, value, dims=dims)
    if tensor.layout != torch.strided:
        checks.fail(name, "dense numbers", "sparse ones")
    array: Floats = tensor.detach().double().cpu().numpy()
    if array.size and not low <= array.min() <= array.max() <= high:
        checks.fail(name, f"numbers in [{low:g}, {high:g}]", f"from {array.min():g} to {array.max():g}")
    return array


def same_length(arrays: Mapping[str, NDArray[Any]], at_least: int = 1) -> int:
    """Return the common length of the first axis of arrays."""
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1 or next(iter(sizes.values())) < at_least:
        got = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        checks.fail(", ".join(sizes), f"one length, of at least {at_least}", got)
    return next(iter(sizes.values()))


def check_run(run: object) -> Run:
    """Return a callable that takes a configuration and a seed."""
    if not callable(run):
        checks.fail("run", "a callable run(config, seed) that returns a mapping of measures", type(run).__name__)
    return run


def measures(run: Run, config: Mapping[str, Any], seed: int, names: Iterable[str]) -> dict[str, Any]:
    """Return what a run measures, which has to hold these names."""
    result = run(dict(config), seed)
    if not isinstance(result, Mapping):
        checks.fail("run", "a mapping of measures", type(result).__name__)
    for name in names:
        if name not in result:
            checks.fail("run", f"the measure {name!r}", f"{', '.join(map(str, result)) or 'none'}")
    return dict(result)


def collect_runs(run: Run, configs: Sequence[Mapping[str, Any]], seeds: int, measure: str = "accuracy") -> pd.DataFrame:
    """Return a table with one row per configuration and seed: its entries, the seed and the measure.

    Args:
        run: Called as run(config, seed); returns a mapping with the measure, a finite number.
        configs: Configurations.
        seeds: Number of seeds: each configuration runs with 0 to seeds - 1.
        measure: Name of the measure.

    Raises:
        InputError: The measure is missing, or not a finite number; the message says in which run.

    Example:
        >>> collect_runs(lambda config, seed: {"accuracy": config["n"] / 10}, [{"n": 1}, {"n": 2}], 1)
           n  seed  accuracy
        0  1     0       0.1
        1  2     0       0.2
    """
    checks.integer("seeds", seeds, 1, MAX_RUNS)
    if not isinstance(configs, list | tuple) or not all(isinstance(config, Mapping) for config in configs):
        checks.fail("configs", "a list of mappings", type(configs).__name__)
    checks.integer("number of configurations", len(configs), 1, max(MAX_RUNS // seeds, 1))
    if not isinstance(measure, str):
        checks.fail("measure", "a name", type(measure).__name__)
    check_run(run)
    rows = []
    for config in configs:
        for seed in range(seeds):
            value = measures(run, config, seed, [measure])[measure]
            rows.append(
                {**config, "seed": seed, measure: checks.real(f"run({dict(config)}, {seed}): {measure}", value)}
            )
    return pd.DataFrame(rows)
