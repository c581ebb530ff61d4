"""Speed and memory of propagation within a bound over a graph on the disk, over that in memory."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import torch
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

import graphnoise as gn
from graphnoise import checks
from graphnoise.bench.grid import integer, integers, option, real
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.bench.speed.propagate import ALPHA, Threads
from graphnoise.resources import available_memory, byte_count, cpu_count

# Edges that are drawn at a time.
BATCH = 1 << 22
NOTE = (
    "over memory: time per step over that of the same graph and values in memory, within each round; own: memory that\n"
    "the call allocated at its peak, mapped files apart; read: bytes per step that came from the disk, in the first\n"
    "call, whose files were dropped from the cache; share of disk speed: bytes read per second, in all steps of this\n"
    "call, over those of reading the files in order; of files that fit into the cache, only the first step reads"
)


class OutOfCoreOptions(Options):
    """Options of `graphnoise bench speed out-of-core`."""

    arcs: Annotated[tuple[int, ...], integers(100, 10**11)] = option((10**6, 10**7, 10**8), "Arcs of the drawn graphs.")
    degree: Annotated[float, real(1.0, 1e4)] = option(20.0, "Arcs per node.")
    width: Annotated[int, integer(1, 10_000)] = option(16, "Columns.")
    memory: str = option("2GB", "Bound on memory, such as 2GB.")
    steps: Annotated[int, integer(1, 1000)] = option(5, "Steps per call.")
    threads: Threads = option((cpu_count(),), "Numbers of threads.")
    folder: str = option("build", "Folder for graphs and values; they are removed.", unrecorded=True)
    build_memory: str = option("6GB", "Bound on memory while graphs are built.", protocol=True)


class OutOfCore(Operation):
    """Propagation within a bound on memory."""

    name, options, packages = "out-of-core", OutOfCoreOptions, ("duckdb",)
    help = "Time propagation within a bound on memory, over that in memory; build the graphs within a bound, too."

    def measure(self, case: Case, options: OutOfCoreOptions, record: Record, say: Say) -> None:
        """Build a graph of random edges, compare the results, then time them."""
        byte_count("memory", case["memory"])
        parent = folder_with_space(options.folder, case)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            self._measure(case, options, record, say, Path(folder))

    def _measure(self, case: Case, options: OutOfCoreOptions, record: Record, say: Say, folder: Path) -> None:
        threads = case["threads"]
        say("drawing edges")
        nodes = draw(folder, case, options.seed)
        began = time.perf_counter()
        with own_memory() as building:
            built = gn.datasets.build_graph(
                folder / "edges.npy", folder / "graph", num_nodes=nodes, memory=options.build_memory, progress=say
            )
        record["build"] = {"seconds": time.perf_counter() - began, **building}
        (folder / "edges.npy").unlink()
        record |= {"nodes": nodes, "arcs": built.num_arcs}
        propagate = functools.partial(gn.propagate, alpha=ALPHA, normalisation="sym")

        def progress(done: int, total: int) -> None:
            say(f"block {done} of {total}")

        def bounded(steps: int) -> Path:
            graph, out = gn.Graph.open(folder / "graph", check=False), folder / f"new-{time.monotonic_ns()}.npy"
            propagate(graph, folder / "y.npy", num_steps=steps, memory=case["memory"], out=out, progress=progress)
            return out

        def run(steps: int) -> None:
            bounded(steps).unlink()

        harness.set_threads(threads)
        if hasattr(os, "posix_fadvise"):
            say("reading the files")
            files = [path for path in (*(folder / "graph").rglob("*"), folder / "y.npy") if path.is_file()]
            record["disk"] = _read_in_order(files)
            _drop_cached(files)
        say("propagating within the bound")
        with own_memory() as own, _bytes_read() as read:
            began = time.perf_counter()
            out = bounded(case["steps"])
            seconds = time.perf_counter() - began
        record["bounded"] = {"seconds": seconds / case["steps"], **own, "read": read["read"] / case["steps"]}
        runs = [TimedRun("bounded", run, max_steps=case["steps"], threads=threads)]
        if reason := too_large(case):
            record["notes"]["memory"] = f"left out: {reason}"
        else:
            stored = gn.Graph.open(folder / "graph")
            graph = gn.Graph.unchecked(stored.rowptr.clone(), stored.col.clone())
            values = torch.from_numpy(np.load(folder / "y.npy"))

            def whole(steps: int) -> Tensor:
                return propagate(graph, values, num_steps=steps).y

            if not np.array_equal(whole(case["steps"]).numpy(), np.load(out, mmap_mode="r")):
                raise VerificationError("expected the values of the graph in memory, bit for bit, got others")
            runs.append(TimedRun("memory", whole, max_steps=case["steps"], threads=threads))
        out.unlink()
        if len(runs) > 1:
            record["times"] = harness.interleave(runs, options.rounds, options.seed, say)
            harness.compare(record["times"], "memory", ["bounded"])
        else:
            record["times"] = {}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table of all sizes."""
        yield Text(NOTE, style="dim")
        yield tables.table(TABLE, records)
        yield from tables.notes(records)


def folder_with_space(folder: str, case: Case) -> Path:
    """Return the folder, made where it is not there.

    Raises:
        NotMeasurableError: Its disk has no space for graph, values and what sorting writes.
    """
    parent = checks.path("folder", folder)
    parent.mkdir(parents=True, exist_ok=True)
    need = 60 * case["arcs"] + 3 * 4 * case["width"] * case["arcs"] / case["degree"]
    if shutil.disk_usage(parent).free < need:
        raise NotMeasurableError(f"{case['arcs']:,} arcs need {need / 1e9:.0f} GB of disk")
    return parent


def too_large(case: Case) -> str:
    """Return how much memory the graph and its values need where that is too much; empty otherwise."""
    nodes = case["arcs"] / case["degree"]
    need = 8 * nodes + 4 * case["arcs"] * 2 + 3 * 4 * nodes * case["width"]
    return "" if need < 0.7 * available_memory() else f"needs {need / 1e9:.0f} GB"


def draw(folder: Path, case: Case, seed: int) -> int:
    """Write random edges and values, edges.npy and y.npy, to a folder, and return the number of nodes."""
    rng, nodes = np.random.default_rng(seed), max(2, int(case["arcs"] / case["degree"]))
    edges = np.lib.format.open_memmap(folder / "edges.npy", "w+", np.int32, (case["arcs"] // 2, 2))
    for begin in range(0, len(edges), BATCH):
        edges[begin : begin + BATCH] = rng.integers(0, nodes, edges[begin : begin + BATCH].shape)
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (nodes, case["width"]))
    for begin in range(0, nodes, BATCH):
        y[begin : begin + BATCH] = rng.random(y[begin : begin + BATCH].shape, np.float32)
    return nodes


@contextmanager
def own_memory() -> Iterator[dict[str, int]]:
    """Measure how much anonymous memory (mapped files apart) is added within a block, at its peak."""
    before, peak, done = _anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], _anonymous())

    thread, result = threading.Thread(target=watch, daemon=True), {"own": 0}
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()
        result["own"] = max(0, max(peak[0], _anonymous()) - before)


def _drop_cached(files: Sequence[Path]) -> None:
    """Ask the operating system to drop the pages of files from its cache, which it may refuse."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_in_order(files: Sequence[Path]) -> dict[str, float]:
    """Drop files from the cache, read them one after the other, and return their bytes, and those per second."""
    _drop_cached(files)
    buffer, total, began = bytearray(1 << 24), 0, time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(buffer):
                total += size
    return {"bytes": total, "bytes_per_second": total / (time.perf_counter() - began)}


def _anonymous() -> int:
    """Return the bytes of this process's memory that are no file's."""
    info = psutil.Process().memory_info()
    return int(info.rss - getattr(info, "shared", 0))


@contextmanager
def _bytes_read() -> Iterator[dict[str, int]]:
    """Measure how many bytes this process reads from the disk within a block."""
    result, process = {"read": 0}, psutil.Process()
    before = process.io_counters().read_bytes
    yield result
    result["read"] = process.io_counters().read_bytes - before


def gigabytes(value: float) -> str:
    """Return bytes as text, in GB."""
    return f"{value / 1e9:.2f} GB"


def _share_of_disk(record: Record) -> str:
    """Return the bytes read per second over those of reading in order, as text."""
    bounded, disk = record["bounded"], record.get("disk")
    # Where less than the files was read, they were still in the cache.
    if not disk or bounded["read"] * record["case"]["steps"] < 0.9 * disk["bytes"]:
        return "not measured"
    return f"{bounded['read'] / bounded['seconds'] / disk['bytes_per_second']:.0%}"


TABLE: tables.Cells = {
    "arcs": lambda r: f"{r['arcs']:,}",
    "nodes": lambda r: f"{r['nodes']:,}",
    "width": lambda r: r["case"]["width"],
    "threads": lambda r: r["case"]["threads"],
    "build": lambda r: tables.time(r["build"]["seconds"]),
    "own, building": lambda r: gigabytes(r["build"]["own"]),
    "bound": lambda r: r["case"]["memory"],
    "own": lambda r: gigabytes(r["bounded"]["own"]),
    "read": lambda r: gigabytes(r["bounded"]["read"]),
    "share of disk speed": _share_of_disk,
    "step": lambda r: tables.time(r["bounded"]["seconds"]),
    "over memory": lambda r: tables.ratio(r, "bounded"),
}
