"""A measurement: check, time in rounds, record."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from graphnoise.bench.environment import environment
from graphnoise.bench.speed.measure import quiet, ratio, spread
from graphnoise.bench.store import cell_key
from graphnoise.checks import integer
from recsys.bench.speed import gate
from recsys.bench.speed.cases import DRAWS, PEER, Case, contenders, matrix, ranking, to_dict
from recsys.kernels.negatives import Known
from recsys.kernels.sgd import instruction_sets

FORMAT = 2


@dataclass(frozen=True)
class Protocol:
    """How it is measured: rounds, each with an epoch of everybody in a new order; seeds of the check of quality."""

    rounds: int = 9
    seeds: int = 5

    def __post_init__(self) -> None:
        integer("rounds", self.rounds, 1)
        integer("seeds", self.seeds, 0)


def measure(
    cases: Sequence[Case],
    protocol: Protocol,
    say: Callable[[str], object],
    keep: Callable[[dict[str, Any]], object],
) -> None:
    """Check everything, then time each case and give its record.

    Raises:
        GateError: something does not do what it should; nothing is timed then.
    """
    say("checking steps")
    checks: dict[str, Any] = {"steps": gate.steps()}
    given = {case: matrix(case) for case in cases}
    checks["negatives"] = gate.negatives(Known.of(given[cases[0]]), 1)
    checks["ndcg@20"] = {}
    if protocol.seeds:
        say("checking quality")
        checks["ndcg@20"] = gate.quality(protocol.seeds)
    for case in cases:
        say(f"timing, {case.threads} thread{'s' * (case.threads > 1)}")
        keep(_timed(case, given[case], protocol, checks))


def _timed(case: Case, given: Any, protocol: Protocol, checks: dict[str, Any]) -> dict[str, Any]:
    everybody = contenders(case, given)
    seconds: dict[str, list[float]] = {name: [] for name in everybody}
    drawn: dict[str, int] = {}
    rng = np.random.default_rng(case.seed)
    with quiet(), threadpool_limits(1, "blas"):  # `implicit` asks for this
        for run in everybody.values():  # warm
            run()
        for _ in range(protocol.rounds):
            for place in rng.permutation(len(everybody)):
                name = list(everybody)[place]
                taken, drawn[name] = everybody[name]()
                seconds[name].append(taken)
        rank, sizes = ranking(case)
        ranked = [rank() for _ in range(1 + min(protocol.rounds, 3))][1:]
    rates = {name: [drawn[name] / taken for taken in values] for name, values in seconds.items()}
    where = environment()
    record: dict[str, Any] = {
        "key": cell_key({"format": FORMAT, "case": to_dict(case), "place": [where["commit"], where["processor"]]}),
        "case": to_dict(case), "protocol": asdict(protocol), "checks": checks, "load": os.getloadavg()[0],
        "environment": {**where, "instruction_set": instruction_sets()[0], "implicit": _version()},
        "samples": rates, "rates": {name: asdict(spread(values)) for name, values in rates.items()}, "ratio": {},
        "ranking": {"users": sizes[0], "items": sizes[1], "seconds": asdict(spread(ranked))},
    }  # fmt: skip
    if PEER in rates:
        others = [name for name in rates if name not in (PEER, *DRAWS)]
        record["ratio"] = {name: asdict(ratio(rates[name], rates[PEER])) for name in others}
    return record


def _version() -> str | None:
    try:
        return version("implicit")
    except PackageNotFoundError:
        return None
