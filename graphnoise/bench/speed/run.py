"""Measure cases: graph, gate, warm-up, interleaved rounds, record."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from graphnoise import checks
from graphnoise.bench.speed import peers as others
from graphnoise.bench.speed.cases import ALPHA, DTYPES, Arcs, Case, build, to_dict
from graphnoise.bench.speed.gate import Gate, GateError, problem
from graphnoise.bench.speed.measure import (
    PATIENCE,
    Contender,
    clock_of,
    copier,
    disturber,
    fastest,
    interleave,
    quiet,
    ratio,
    spread,
    use,
)
from graphnoise.bench.speed.peers import Peer, Problem, Run
from graphnoise.bench.speed.records import Book, key, place
from graphnoise.errors import InputError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Protocol:
    """How cases are measured.

    Attributes:
        peers: Names of the peers.
        rounds: Rounds of samples.
        seed: Of graphs, values and the order within rounds.
        limit: Seconds that one contender may take in a case; beyond, it is left out.

    Raises:
        InputError: An unknown peer, or a number out of its range.
    """

    peers: Sequence[str] = tuple(others.PEERS)
    rounds: int = 9
    seed: int = 0
    limit: float = 10.0

    def __post_init__(self) -> None:
        for name in self.peers:
            checks.choice("--peers", name, others.PEERS)
        checks.integer("--rounds", self.rounds, 1, 10_000)
        checks.integer("--seed", self.seed, 0, (1 << 63) - 1)
        checks.real("--limit", self.limit, 0.01, 1e6)

    def entries(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {**asdict(self), "peers": sorted(set(self.peers)), "alpha": ALPHA, "normalisation": "sym"}


@dataclass
class _Found:
    """What is known of a case beside its times: the tier, why peers are missing, gaps to the reference, variants."""

    tier: str
    notes: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    gaps: dict[str, float] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)


@dataclass
class Summary:
    """What became of the cases.

    Attributes:
        records: Records of the cases that have one, in the order of the cases.
        measured: Cases measured now.
        kept: Cases recorded before.
        failures: What the gate refused, a line each.
        skipped: Cases that were not measured, and why.
        seconds: Since the start.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    measured: int = 0
    kept: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


def measure(
    cases: Sequence[Case],
    protocol: Protocol,
    book: Book,
    *,
    again: bool = False,
    on_case: Callable[[int, str, float], None] = lambda done, text, seconds: None,
    say: Say = lambda text: None,
    summary: Summary | None = None,
) -> Summary:
    """Measure the cases that the book does not have, and write each to it.

    Args:
        cases: What to measure; those on one graph in a row.
        protocol: How.
        book: Where to.
        again: Measure those that were recorded before as well.
        on_case: Called after each case with the number done, its words and the seconds since the start.
        say: Called with what runs now.
        summary: Filled in as the cases go by, so that it is there after an interruption.

    Raises:
        InputError: A graph cannot be drawn, or the tier is unknown.
        DataError: The records cannot be written.
    """
    total = Summary() if summary is None else summary
    began = time.perf_counter()
    drawn: tuple[object, Arcs] | None = None
    _probe(cases)
    for done, case in enumerate(cases, 1):
        name = key(to_dict(case), protocol.entries())
        record = None if again else book.get(name)
        if record is not None and not (record.get("skipped") or record.get("failures")):
            total.kept += 1
        else:
            record = {"key": name, "case": to_dict(case), "protocol": protocol.entries(), "environment": place()}
            record["recorded"] = datetime.now(UTC).isoformat(timespec="seconds")
            reason = _too_large(case)
            if reason is None:
                if drawn is None or drawn[0] != case.graph:
                    say(f"{case}: drawing the graph")
                    drawn = None  # let the last one go first
                    drawn = (case.graph, build(case, protocol.seed))
                try:
                    with quiet():
                        record |= _measure(case, drawn[1], protocol, say)
                except GateError as error:
                    total.failures.append(f"{case}: {error}")
                    record = None
                except InputError as error:  # no tier serves such values
                    reason = str(error)
            if record is not None and reason is not None:
                record["skipped"] = reason
            if record is not None:
                if "skipped" not in record:
                    total.measured += 1
                    total.failures += [f"{case}: {text}" for text in record["failures"]]
                book.add(record)
        if record is not None and "skipped" in record:
            total.skipped.append(f"{case}: {record['skipped']}")
        elif record is not None:
            total.records.append(record)
        total.seconds = time.perf_counter() - began
        on_case(done, str(case), total.seconds)
    return total


def _probe(cases: Sequence[Case]) -> None:
    """Refuse a tier that does not exist before anything is drawn."""
    for case in {case.tier: case for case in cases if case.tier is not None}.values():
        small = Case(2, 2, "uniform", width=1, tier=case.tier, device=case.device)
        try:
            others.ours(problem(small, build(small, 0), 0), case.tier)
        except InputError as error:
            raise InputError(str(error).replace("backend:", "--tier:", 1)) from None


def _measure(case: Case, arcs: Arcs, protocol: Protocol, say: Say) -> dict[str, Any]:
    """Return the entries of a record.

    Raises:
        GateError: The library's own result is wrong.
        InputError: No tier serves such values.
    """
    torch.set_num_threads(case.threads)
    say(f"{case}: checking")
    clock, disturb = clock_of(case.device), disturber(case.device) if case.busy else None
    values = problem(case, arcs, protocol.seed)
    run, tier = others.ours(values, case.tier)
    gate = Gate(case, arcs, values, protocol.seed)
    found = _Found(tier, gaps={"ours": _own(case, gate, run)})
    contenders = [Contender("ours", run, case.steps, case.threads, PATIENCE, before=disturb)]
    if case.threads > 1:
        contenders.append(Contender("ours, 1 thread", run, case.steps, 1, PATIENCE, before=disturb))
    for name, peer in _peers(case, protocol):
        say(f"{case}: checking {name}")
        try:
            entered = _enter(case, name, peer, values, gate, protocol, clock, found)
        except GateError as error:
            found.failures.append(str(error))
            found.notes[name] = "gives another result"
            continue
        if isinstance(entered, str):
            found.notes[name] = entered
            continue
        entered.before = disturb
        contenders.append(entered)
    copied = 0
    if case.kind == "step":
        gather = others.floor(values, case.threads)
        if gather is not None:
            contenders.append(Contender("gather", gather, case.steps, case.threads, before=disturb))
        copy, copied = copier(case.device)
        contenders.append(Contender("copy", copy, 1, case.threads))
    for contender in contenders:
        if math.isnan(contender.seconds) or disturb is not None:  # peers were warmed to choose among their variants
            use(contender)
            contender.warm(clock)
    taken = contenders[0].seconds / contenders[0].steps
    if taken * protocol.rounds > protocol.limit:
        raise InputError(f"takes {taken:.2g} s a step, too long for {protocol.limit:g} s a case (--limit)")
    times = interleave(
        contenders,
        protocol.rounds,
        protocol.seed,
        clock,
        lambda done: say(f"{case}: round {done} of {protocol.rounds}"),
    )
    load = {"load": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}
    return {**_entries(case, found, contenders, times, copied), **load}


def _own(case: Case, gate: Gate, run: Run) -> float:
    """Hold the library to the reference; a crash is a wrong result, too."""
    try:
        worst = gate.small("ours", lambda values: {tier: run for run, tier in [others.ours(values, case.tier)]})
        return max(worst, gate.own("ours", run, case.steps))
    except InputError as error:
        raise GateError(f"ours: refuses an awkward graph ({error})") from error
    except (RuntimeError, ValueError, TypeError) as error:
        raise GateError(f"ours: raises {type(error).__name__} ({str(error).splitlines()[0]})") from error


def _peers(case: Case, protocol: Protocol) -> Iterator[tuple[str, Peer]]:
    names = ["addmm"] if case.kind == "call" else list(protocol.peers)
    yield from others.chosen(others.PEERS, [name for name in names if name in protocol.peers]).items()


def _enter(
    case: Case,
    name: str,
    peer: Peer,
    values: Problem,
    gate: Gate,
    protocol: Protocol,
    clock: Callable[[], float],
    found: _Found,
) -> Contender | str:
    """Return a peer that passed the gate, in its fastest variant; or why it takes no part.

    Raises:
        GateError: It computes something else.
    """
    refusal = peer.refusal(case.dtype, case.device, case.backward)
    if refusal is not None:
        return refusal
    size = DTYPES[case.dtype].itemsize
    if not others.fits(peer, case.arcs, case.width, size, case.steps, case.backward, free(case.device)):
        return "does not fit into memory"
    threads = 1 if peer.single else case.threads
    try:
        gap = gate.small(name, peer.make)
        variants = {v: Contender(name, run, case.steps, threads) for v, run in peer.make(values).items()}
        variant = fastest(variants, clock)
        contender = variants[variant]
        if contender.seconds * protocol.rounds > protocol.limit:
            return f"takes longer than --limit {protocol.limit:g} allows"
        found.gaps[name] = max(gap, gate.own(f"{name} ({variant})", contender.run, contender.steps))
    except (RuntimeError, MemoryError, TypeError) as error:
        return f"raises {type(error).__name__} ({str(error).splitlines()[0][:100]})"
    found.variants[name] = variant
    return contender


def _entries(
    case: Case, found: _Found, contenders: list[Contender], times: dict[str, list[float]], copied: int
) -> dict[str, Any]:
    mine = times["ours"]
    shown: dict[str, Any] = {}
    for contender in contenders:
        samples = times[contender.name]
        entry = {"seconds": asdict(spread(samples)), "samples": samples, "threads": contender.threads}
        entry |= {"steps": contender.steps, "calls": contender.calls}
        if contender.name not in ("ours", "copy"):
            entry["ratio"] = asdict(ratio(samples, mine))
        shown[contender.name] = entry
    entries = {**asdict(found), "times": shown}
    if not case.backward and case.kind == "step":
        rate = [moved(case) / seconds for seconds in mine]
        top = [copied / seconds for seconds in times["copy"]]
        entries["bandwidth"] = {
            "bytes": moved(case),
            "ours": asdict(spread(rate)),
            "copy": asdict(spread(top)),
            "share": asdict(ratio(rate, top)),
        }
    return entries


def moved(case: Case) -> int:
    """Return the bytes of a step as the gather moves them: a column and a row of Y an arc; Y0, result and end a node.

    A weight for each arc comes on top, or two scales for each node where the arcs have none.

    Example:
        >>> moved(Case(10, 20, width=4)), moved(Case(10, 20, width=4, weighted=True))
        (880, 880)
    """
    size = DTYPES[case.dtype].itemsize
    row, value = case.width * size, max(4, size)
    own = case.arcs if case.weighted else 2 * case.nodes
    return case.arcs * (4 + row) + case.nodes * (8 + 2 * row) + own * value


def free(device: str) -> int:
    """Return the bytes of memory that are free."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 62  # unknown: let the system refuse


def _too_large(case: Case) -> str | None:
    """Return why a case does not fit, or None: a dozen arrays of values, a dozen of arcs."""
    size = DTYPES[case.dtype].itemsize
    dense = case.nodes * case.width * size * (8 + 2 * case.steps * case.backward)
    need = dense + case.arcs * 12 * 8
    have = min(free("cpu"), free(case.device))
    return None if need <= have else f"needs about {need / 1e9:.1f} GB of memory, and {have / 1e9:.1f} GB are free"
