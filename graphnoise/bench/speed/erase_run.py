"""Measure epochs of ERASE: the library and its dense form side by side, stages, memory, growth."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.bench.speed import erase_gate, erase_memory
from graphnoise.bench.speed.erase_cases import SYNTHETIC, Case, build, grown, to_dict
from graphnoise.bench.speed.erase_dense import Dense, membership_bytes, refusal
from graphnoise.bench.speed.erase_epochs import Epoch, Ours
from graphnoise.bench.speed.erase_stages import STAGES
from graphnoise.bench.speed.measure import quiet, ratio, spread
from graphnoise.bench.speed.records import place
from graphnoise.bench.speed.run import free
from graphnoise.bench.store import cell_key

Say = Callable[[str], None]
ROUND = 1.0  # seconds that the library's epochs of a round take, at least
MOST = 20  # of its epochs in a round, at most
SLOW = 10.0  # seconds of an epoch from which one is enough for warming up, and one in a round
LARGE = 1 << 30  # bytes of memberships from which the dense form takes no epoch to warm up, and two rounds
GROWTH = (1, 10, 100)
FORMAT = 1


@dataclass(frozen=True)
class Protocol:
    """How cases are measured.

    Attributes:
        dense: Whether the dense form is measured as well; None: where it can be.
        rounds: Rounds, each with an epoch of the dense form and some of the library.
        memory: Whether peak memory is measured, in processes of their own.

    Raises:
        InputError: A number out of its range.
    """

    dense: bool | None = None
    rounds: int = 3
    memory: bool = True

    def __post_init__(self) -> None:
        checks.integer("--rounds", self.rounds, 1, 1000)


def no_dense(case: Case) -> str | None:
    """Return why the dense form cannot be measured, or None."""
    reason = refusal(case.settings)
    if reason is not None:
        return f"the dense form {reason}"
    need, have = membership_bytes(case.nodes, case.classes), free("cpu")
    if need > have // 2:
        size = f"{case.classes} x {case.nodes:,} x {case.nodes:,}"
        return (
            f"the dense form's memberships ({size}) take {need:,} bytes, more than half of the {have:,} that are free"
        )
    return None


def cases(case: Case, growth: bool) -> list[Case]:
    """Return the case, or with `growth` the cases that it grows to.

    Raises:
        InputError: The case is a data set, or becomes too large.
    """
    if not growth:
        return [case]
    if case.dataset != SYNTHETIC:
        checks.fail("--growth", "a graph that is drawn (--nodes, --arcs)", f"the data set {case.dataset}")
    return [grown(case, factor) for factor in GROWTH]


def check(case: Case, protocol: Protocol) -> tuple[dict[str, float], list[str]]:
    """Hold the library to the dense form on a small graph, before anything is timed.

    Returns:
        The largest gaps, and remarks.

    Raises:
        InputError: The dense form was asked for and cannot be measured.
        GateError: The library computes something else.
    """
    if protocol.dense and (reason := no_dense(case)) is not None:
        checks.fail("--dense", "a case that the dense form can take", reason)
    with _threads(case.threads):
        gaps, remark = erase_gate.check(case.settings)
    return gaps, [] if remark is None else [remark]


def measure(
    case: Case,
    protocol: Protocol,
    gaps: dict[str, float],
    *,
    data: Data | None = None,
    root: str | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Return the record of a case.

    Args:
        case: Graph and settings.
        protocol: How.
        gaps: What `check` found.
        data: The data of the case, if they are there already.
        root: Folder of raw data sets.
        say: Called with what runs now.

    Raises:
        InputError: The data cannot be drawn, or training on them fails.
    """
    reason = no_dense(case) if protocol.dense is not False else None
    notes = [] if reason is None else [reason]
    with_dense = protocol.dense is not False and reason is None
    say(f"{case}: drawing the graph" if case.dataset == SYNTHETIC else f"{case}: reading")
    given = build(case, root) if data is None else data
    with _threads(case.threads):
        ours, dense = _times(case, given, with_dense, protocol.rounds, say)
    del given
    times: dict[str, Any] = {"ours": _entry([epoch.seconds for turn in ours for epoch in turn])}
    if dense:
        medians = [float(np.median([epoch.seconds for epoch in turn])) for turn in ours[: len(dense)]]
        times["dense"] = {**_entry(dense), "ratio": asdict(ratio(dense, medians))}
    first = ours[0][0]
    record = {
        "case": to_dict(case),
        "settings": _shown(case),
        "protocol": asdict(protocol),
        "environment": place(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "gaps": gaps,
        "times": times,
        "stages": _stages([epoch for turn in ours for epoch in turn]),
        "batches": {"timed": first.timed, "of": first.batches},
        "memory": _memory(case, bool(dense), root, say) if protocol.memory else {},
        "notes": notes,
    }
    return {"key": key(record), **record}


def key(record: dict[str, Any]) -> str:
    """Name a record: what was measured on what; a later measurement takes its place."""
    here = record["environment"]
    where = {name: here[name] for name in ("commit", "processor", "cores", "python", "versions")}
    return cell_key({"format": FORMAT, "case": record["case"], "place": where})


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give torch and linear algebra so many threads, and keep the collector of garbage out."""
    with quiet(), _pools().limit(limits=count):
        torch.set_num_threads(count)
        yield


@functools.cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def _times(case: Case, data: Data, with_dense: bool, rounds: int, say: Say) -> tuple[list[list[Epoch]], list[float]]:
    """Return the library's epochs by round, and the seconds of the dense form's."""
    say(f"{case}: warming up")
    ours = Ours(case, data)
    taken = ours.epoch().seconds
    if taken < SLOW:
        taken = ours.epoch().seconds
    each = 1 if taken >= SLOW else int(min(max(ROUND / taken, 1), MOST))
    dense, seconds, large = None, list[float](), membership_bytes(case.nodes, case.classes) > LARGE
    if with_dense:
        say(f"{case}: the dense form, warming up")
        dense = Dense(data, case.settings, ours.training.encoder, case.seed)
        if not large:
            dense.epoch()
    rng, turns = np.random.default_rng(case.seed), list[list[Epoch]]()
    for done in range(rounds):
        names = ["ours"] + ["dense"] * (dense is not None and (not large or done < 2))
        for place_ in rng.permutation(len(names)):
            say(f"{case}: round {done + 1} of {rounds}, {names[place_]}")
            if names[place_] == "ours":
                turns.append([ours.epoch() for _ in range(each)])
            elif dense is not None:
                began = time.perf_counter()
                dense.epoch()
                seconds.append(time.perf_counter() - began)
    return turns, seconds


def _entry(samples: Sequence[float]) -> dict[str, Any]:
    return {"seconds": asdict(spread(samples)), "samples": list(samples)}


def _stages(epochs: Sequence[Epoch]) -> dict[str, float]:
    """Return the mean seconds of each stage."""
    return {
        stage: total / len(epochs)
        for stage in STAGES
        if (total := sum(epoch.stages.get(stage, 0.0) for epoch in epochs)) > 0
    }


def _shown(case: Case) -> dict[str, Any]:
    s = case.settings
    names = ("encoder", "layers", "hidden", "heads", "width", "batch_size", "fanouts", "probe_every", "select")
    return {name: getattr(s, name) for name in names}


def _memory(case: Case, dense: bool, root: str | None, say: Say) -> dict[str, Any]:
    found = {}
    for name in ["ours"] + ["dense"] * dense:
        say(f"{case}: memory of {name}, in a process of its own")
        try:
            found[name] = erase_memory.peak(case, name == "dense", root)
        except RuntimeError as error:
            found[name] = {"failed": str(error)}
    return found
