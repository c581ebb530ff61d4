"""Measure local clustering: arcs a second beside other packages, many seeds at once, and work as the graph grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from graphnoise import checks
from graphnoise.bench.environment import Meter
from graphnoise.bench.speed import cluster_cases as cases
from graphnoise.bench.speed.gate import GateError
from graphnoise.bench.speed.measure import Contender, Spread, copier, interleave, quiet, ratio, spread
from graphnoise.bench.speed.records import place
from graphnoise.bench.store import cell_key
from graphnoise.clustering import UndirectedGraph, approximate_pagerank, flow_diffusion
from graphnoise.clustering.batch import diffuse_many
from graphnoise.kernels.push import Settings, push

PARTS = ("walks", "batch", "locality")
CHECKED = 5  # seeds whose error is measured against the exact vector
BYTES = 20  # of an arc: its end (4), the mass and limit there (16)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Protocol:
    """How it is measured.

    Attributes:
        parts: What is measured, of "walks", "batch" and "locality".
        scale: Multiplies nodes, arcs and sets of the published sizes.
        rounds: Rounds of samples.
        seed: Of graphs, seeds and the order within rounds.
        threads: Threads of the batch.

    Raises:
        InputError: An unknown part, or a number out of its range.
    """

    parts: Sequence[str] = PARTS
    scale: float = 1.0
    rounds: int = 7
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        for name in self.parts:
            checks.choice("--part", name, PARTS)
        checks.real("--scale", self.scale, 1e-4, 10.0)
        checks.integer("--rounds", self.rounds, 1, 10_000)
        checks.integer("--seed", self.seed, 0, 2**62)
        checks.integer("--threads", self.threads, 1, 1024)


def measure(protocol: Protocol, say: Say, on_record: Callable[[dict[str, Any]], None]) -> None:
    """Measure the parts; each record is handed on when it is made.

    Raises:
        GateError: A result is wrong; nothing is timed on that graph.
    """
    if "walks" in protocol.parts or "batch" in protocol.parts:
        for name in ("arxiv", "blocks"):
            say(f"drawing {name}")
            read = cases.graph(name, protocol.scale, protocol.seed)
            if "walks" in protocol.parts:
                for walk in (walk for walk in cases.WALKS if walk.graph == name):
                    on_record(_record("walks", str(walk), read, protocol, _walk(read, walk, protocol, say)))
            if "batch" in protocol.parts and name == "blocks":
                on_record(_record("batch", name, read, protocol, _batch(read, protocol, say)))
    if "locality" in protocol.parts:
        for nodes in (100_000, 1_000_000, 10_000_000):
            size = max(int(protocol.scale * nodes), 2 * cases.CLUSTER)
            say(f"drawing a cluster among {size:,} nodes")
            read = cases.cluster(size, protocol.seed)
            on_record(_record("locality", str(size), read, protocol, _locality(read, protocol, say)))


def _record(part: str, case: str, read: UndirectedGraph, protocol: Protocol, found: dict[str, Any]) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "key": cell_key({"part": part, "case": case, "protocol": asdict(protocol) | {"parts": []}}),
        "part": part,
        "case": case,
        "nodes": read.num_nodes,
        "graph_arcs": len(read.col),
        "protocol": asdict(protocol) | {"parts": sorted(protocol.parts)},
        "environment": place(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": load,
        **found,
    }


def _spread(values: Spread) -> dict[str, float]:
    return asdict(values)


def _walk(read: UndirectedGraph, walk: cases.Walk, protocol: Protocol, say: Say) -> dict[str, Any]:
    """Time approximate PageRank, one seed after the other on one thread, beside the peers at no larger an error."""
    words = str(walk)
    say(f"{words}: checking")
    matrix = cases.walk_matrix(read)
    nodes = cases.seeds(read, walk.seeds, protocol.seed)
    first = approximate_pagerank(read, int(nodes[0]), walk.alpha, walk.eps)
    try:
        gap = cases.gap(read, matrix, first, int(nodes[0]), walk)
    except ValueError as error:
        raise GateError(f"{words}: {error}") from None
    if not (first.converged and gap < 1):
        raise GateError(f"{words}: a residual of {gap:.3g} eps for each unit of degree")
    arcs = pushes = 0
    for v in nodes:
        found = _push(read, int(v), walk.alpha, walk.eps)
        arcs, pushes = arcs + found.arcs, pushes + found.pushes
    contenders = [Contender("ours", _sweep(read, nodes, walk.alpha, walk.eps), 1, 1)]
    notes, errors, ours = {}, {}, walk.eps
    for peer in cases.PEERS:
        reason = peer.missing()
        if reason is not None:
            notes[peer.name] = reason
            continue
        if walk.eps < 1e-5:
            notes[peer.name] = "left out: too slow at this eps"
            continue
        say(f"{words}: {peer.name}")
        run = peer.prepare(read)
        few = np.unique(nodes[:50])
        truths = {int(v): cases.exact(matrix, int(v), walk.alpha) for v in few[:CHECKED]}
        theirs = max(
            cases.error(truths[v], ends, values, read) for v, ends, values in run([*truths], walk.alpha, walk.eps)
        )
        mine = _errors(read, truths, walk.alpha, ours)
        while mine > theirs:  # ours works harder until it is no less exact
            ours *= max(0.5, 0.95 * theirs / mine)
            mine = _errors(read, truths, walk.alpha, ours)
        errors[peer.name] = {"theirs": theirs, "ours": mine, "eps": ours, "seeds": len(few), "checked": len(truths)}
        contenders += [
            Contender(peer.name, _run_of(run, few.tolist(), walk), 1, 1),
            Contender(f"ours beside {peer.name}", _many(read, few, walk.alpha, ours), 1, 1),
        ]
        ours = walk.eps
    copy, copied = copier("cpu")
    contenders.append(Contender("copy", copy, 1, 1))
    times = _times(contenders, protocol, lambda done: say(f"{words}: round {done} of {protocol.rounds}"))
    mine_s = times["ours"]
    beside = {name: _spread(ratio(times[name], times[f"ours beside {name}"])) for name in errors}
    rate = [arcs / seconds for seconds in mine_s]
    return {
        "walk": asdict(walk),
        "arcs": arcs,
        "pushes": pushes,
        "gap": gap,
        "seconds": {name: _spread(spread(values)) for name, values in times.items()},
        "samples": times,
        "arcs_a_second": _spread(spread(rate)),
        "of_copy": _spread(ratio([BYTES * r for r in rate], [copied / s for s in times["copy"]])),
        "ratio": beside,
        "errors": errors,
        "notes": notes,
    }


def _times(
    contenders: Sequence[Contender], protocol: Protocol, on_round: Callable[[int], None]
) -> dict[str, list[float]]:
    with quiet():
        for contender in contenders:
            contender.warm(time.perf_counter)
        return interleave(contenders, protocol.rounds, protocol.seed, on_round=on_round)


def _push(read: UndirectedGraph, v: int, alpha: float, eps: float) -> Any:
    settings = Settings("pagerank", alpha=alpha, eps=eps, max_pushes=2**40)
    return push(read, None, 1.0, np.array([v]), np.ones(1), settings, None)


def _errors(read: UndirectedGraph, truths: dict[int, cases.Vector], alpha: float, eps: float) -> float:
    runs = {v: approximate_pagerank(read, v, alpha, eps) for v in truths}
    return max(cases.error(truths[v], found.touched, found.values, read) for v, found in runs.items())


def _sweep(read: UndirectedGraph, nodes: Any, alpha: float, eps: float) -> Callable[[int], torch.Tensor]:
    """Return a run from each node in turn, by the public function: checks and results are part of the time."""

    def run(_: int) -> torch.Tensor:
        for v in nodes.tolist():
            approximate_pagerank(read, v, alpha, eps)
        return torch.empty(0)

    return run


def _many(read: UndirectedGraph, nodes: Any, alpha: float, eps: float) -> Callable[[int], torch.Tensor]:
    """Return all runs in one call on one thread, as peers take them."""

    def run(_: int) -> torch.Tensor:
        diffuse_many(read, nodes, "pagerank", alpha=alpha, eps=eps, num_threads=1)
        return torch.empty(0)

    return run


def _run_of(run: cases.Run, few: list[int], walk: cases.Walk) -> Callable[[int], torch.Tensor]:
    def all_of(_: int) -> torch.Tensor:
        run(few, walk.alpha, walk.eps)
        return torch.empty(0)

    return all_of


def _batch(read: UndirectedGraph, protocol: Protocol, say: Say) -> dict[str, Any]:
    """Time 10,000 seeds in one call, alpha .15, eps 1e-4, on one and on more threads."""
    count = max(int(10_000 * protocol.scale), 10)
    nodes = cases.seeds(read, count, protocol.seed)
    settings: dict[str, Any] = {"method": "pagerank", "alpha": 0.15, "eps": 1e-4}
    few = nodes[:20]
    batch = diffuse_many(read, few, **settings).values
    for row, v in enumerate(few.tolist()):
        alone = approximate_pagerank(read, v, 0.15, 1e-4).dense(read.num_nodes)
        if not np.array_equal(batch[[row]].toarray()[0], alone):
            raise GateError(f"batch: the row of seed {v} is not what the seed gives alone")

    def run(threads: int) -> Callable[[int], torch.Tensor]:
        def once(_: int) -> torch.Tensor:
            diffuse_many(read, nodes, num_threads=threads, **settings)
            return torch.empty(0)

        return once

    names = {f"{k} thread{'s' * (k > 1)}": k for k in sorted({1, protocol.threads})}
    contenders = [Contender(name, run(k), 1, 1) for name, k in names.items()]
    times = _times(contenders, protocol, lambda done: say(f"{count:,} seeds: round {done} of {protocol.rounds}"))
    return {
        "sets": count,
        "arcs": int(diffuse_many(read, nodes, **settings).arcs.sum()),
        "seconds": {name: _spread(spread(values)) for name, values in times.items()},
        "samples": times,
    }


def _locality(read: UndirectedGraph, protocol: Protocol, say: Say) -> dict[str, Any]:
    """Time warm runs in a cluster that stays the same while the graph around it grows; count what is read."""
    inside = float(read.degree[: cases.CLUSTER].sum())
    runs: dict[str, Callable[[], Any]] = {
        "approximate_pagerank": lambda: approximate_pagerank(read, 0, 0.05, 1e-5),
        "flow_diffusion": lambda: flow_diffusion(read, 0, 2.5 * inside, tol=1e-2),
    }

    def timed(run: Callable[[], Any]) -> Callable[[int], torch.Tensor]:
        def once(_: int) -> torch.Tensor:
            run()
            return torch.empty(0)

        return once

    contenders = [Contender(name, timed(run), 1, 1) for name, run in runs.items()]
    times = _times(contenders, protocol, lambda done: say(f"locality: round {done} of {protocol.rounds}"))
    entries = {}
    for name, run in runs.items():
        meter = Meter()
        meter.start()
        before = meter.read()["peak_memory"]
        found = run()
        extra = meter.read()["peak_memory"] - before
        entries[name] = {
            "arcs": found.arcs,
            "touched": len(found.touched),
            "pushes": found.pushes,
            "converged": found.converged,
            "extra_memory": max(extra, 0),
            "seconds": _spread(spread(times[name])),
        }
    return {"runs": entries, "samples": times}
