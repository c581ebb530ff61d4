"""Speed of an epoch of ERASE: time beside the dense form, stages, peak memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Annotated, Any

import numpy as np
import torch
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.bench.environment import Meter
from graphnoise.bench.grid import Flag, Names, integer, option
from graphnoise.bench.methods.erase import settings as from_texts
from graphnoise.bench.options import Spec, parse
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.bench.speed.propagate import read_size
from graphnoise.datasets import degree_corrected, load, planted_partition
from graphnoise.erase.inputs import Inputs, read_training_labels
from graphnoise.erase.inputs import read as read_inputs
from graphnoise.erase.reference import Dense, paired, unsupported_reason
from graphnoise.erase.settings import PRESETS, Settings, settings
from graphnoise.erase.train import Training
from graphnoise.nn.features import compact, row_normalised
from graphnoise.noise import LabelNoise
from graphnoise.resources import available_memory, cpu_count, limit_threads

# In the order of an epoch: the ranges of the profiler in `erase.train`, and two kinds of gradient; "rest" is checks and
# the history.
STAGES = (
    *("sampling", "encoder", "prototypes", "fusion", "propagation", "coding rate", "coding rate, gradient"),
    *("encoder, gradient", "optimiser", "probe", "rank", "rest"),
)
# Largest difference over the largest expected entry. The dense form adds 1e-8 to the number of nodes of each class, and
# rounding to float32 grows where gradients cancel, as those along an embedding do behind its normalisation.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
# Epochs of a training without an end.
ENDLESS = 10**6
# Seconds that the library's epochs of a round take, at least.
MIN_ROUND = 1.0


class EraseOptions(Options):
    """Options of `graphnoise bench speed erase`."""

    dataset: Names = option(("cora",), "Data sets, or NODES:ARCS of graphs that are drawn.")
    features: Annotated[int, integer(1, 1_000_000)] = option(128, "Features of a graph that is drawn.")
    classes: Annotated[int, integer(2, 10_000)] = option(7, "Classes of a graph that is drawn.")
    preset: str | None = option(None, "PRESET or PRESET:NAME=VALUE,… (default: faithful-DATASET, or faithful-cora)")
    threads: Annotated[int, integer(1, cpu_count())] = option(cpu_count(), "Threads of torch and of linear algebra.")
    dense: Flag = option(True, "Time the dense form as well, where it can be.", "--dense/--no-dense", protocol=True)
    memory: Flag = option(True, "Measure peak memory as well.", "--memory/--no-memory", protocol=True)
    rounds: Annotated[int, integer(1, 1000)] = option(
        3, "Rounds, each with one epoch of the dense form.", protocol=True
    )


def _drawn(dataset: str) -> bool:
    return dataset.replace(":", "").isdigit()


def settings_of(case: Case) -> Settings:
    """Return the hyper-parameters of a case, without an end to training."""
    return settings(case["preset"], {**case["overrides"], "epochs": ENDLESS, "patience": ENDLESS})


@functools.lru_cache(maxsize=1)
def read(dataset: str, features: int, classes: int, seed: int, root: str | None) -> Data:
    """Return a data set, or a graph with planted classes and so many arcs before repeats are dropped.

    It has power-law degrees (exponent 2.5), 7 edges in 10 within classes, features that are normal around a mean of
    each class, and 20 labelled nodes per class, or a third of the smallest.
    """
    if not _drawn(dataset):
        return load(dataset, root, seed=seed)
    nodes, arcs = read_size("dataset", dataset)
    sizes = [len(part) for part in np.array_split(np.arange(checks.integer("dataset: nodes", nodes, 8)), classes)]
    if sizes[-1] < 4:
        checks.fail("classes", "at least 4 nodes per class", classes)
    edges = np.full((classes, classes), 0.3 * arcs / (classes * (classes - 1)))
    np.fill_diagonal(edges, 0.35 * arcs / classes)
    per_class = min(20, max(1, sizes[-1] // 3))
    left = nodes - per_class * classes
    split = per_class, min(500, left // 3), min(1000, left // 3)
    return degree_corrected(sizes, edges, seed=seed, num_features=features, split=split)


def planted(sparse: bool = True) -> Data:
    """Return a graph of 84 nodes in three classes with wrong labels, on bags of words or on dense features."""
    data = planted_partition([30, 28, 26], 0.2, 0.02, num_features=48, split=(8, 12, 12), seed=5)
    if sparse:
        data.x = (data.x > 2.2).float()
    return LabelNoise("symmetric", 0.3, splits=("train",), seed=1)(data)


def training(data: Data, s: Settings, seed: int = 0, dtype: torch.dtype = torch.float32) -> Training:
    """Return the library's training, all of it in one type."""
    inputs = read_inputs(data, s.normalise_features, None)
    if dtype != torch.float32:
        x = row_normalised(data.x.to(dtype)) if s.normalise_features else data.x.to(dtype)
        inputs = Inputs(x, compact(x), inputs.graph)
    library = Training(inputs, read_training_labels(data, inputs, None, validated=s.select == "validation"), s, seed)
    library.encoder.to(dtype)
    library.denoised = library.denoised.to(dtype)
    return library


def gap(values: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected entry; infinite for another shape or NaN."""
    if values.shape != expected.shape:
        return math.inf
    size = float((values.double() - expected.double()).abs().max()) / max(float(expected.abs().max()), 1e-30)
    return size if size == size else math.inf


@functools.cache
def verify(s: Settings) -> dict[str, float]:
    """Compare epochs with the dense form in float64 on a small graph; return the largest gap of each comparison."""
    data = planted()
    full = replace(s, dropout=0.0, batch_size=None, memory=0.0, select="last", epochs=ENDLESS, patience=ENDLESS)
    # One mini-batch of all nodes, with all their neighbours, is the full batch.
    batched = replace(full, batch_size=data.num_nodes, fanouts=(-1,) * full.layers)
    gaps = {}
    for name, library_settings, dtype, epochs in (
        ("float64", full, torch.float64, 3),
        ("float32", full, torch.float32, 1),
        ("one mini-batch", batched, torch.float64, 1),
    ):
        try:
            library = training(data, library_settings, dtype=dtype)
            dense = Dense(data, full, library.encoder, dtype=torch.float64)
            gaps[name] = max(_compare_epoch(library, dense, epoch, TOLERANCE[dtype]) for epoch in range(1, epochs + 1))
        except VerificationError as error:
            raise VerificationError(f"library ({name}): {error}") from None
        except harness.ERRORS as error:
            raise VerificationError(f"library ({name}): {harness.raised(error)}") from error
    return gaps


def _compare_epoch(library: Training, dense: Dense, epoch: int, limit: float) -> float:
    """Run an epoch of both; return the largest gap of loss and gradients."""
    library.epoch()
    dense.epoch()
    if not torch.equal(library.semantic, dense.labels):
        raise VerificationError(f"expected the labels of the dense form in epoch {epoch}, got others")
    gaps = {"loss": gap(*(torch.tensor(losses[-1]) for losses in (library.history["loss"], dense.history)))}
    gaps["gradients"] = max(gap(*pair[::-1]) for pair in paired(dense.encoder, library.encoder, gradients=True))
    for name, size in gaps.items():
        if not size <= limit:
            wanted = f"expected {name} within {limit:g} of the dense form in epoch {epoch}"
            raise VerificationError(f"{wanted}, got {size:.2g}")
    return max(gaps.values())


def check_dense(case: Case, s: Settings, wanted: bool = True) -> None:
    """Raise `NotMeasurableError` where the dense form cannot be timed."""
    if not wanted:
        raise NotMeasurableError("not asked for")
    if (reason := unsupported_reason(s)) is not None:
        raise NotMeasurableError(f"the dense form {reason}")
    needed, available = case["classes"] * case["nodes"] ** 2 * 4, available_memory()
    if needed > available // 2:
        size = f"{case['classes']} x {case['nodes']:,} x {case['nodes']:,}"
        limit = f"more than half of the {available:,} available"
        raise NotMeasurableError(f"the dense form's memberships ({size}) take {needed:,} bytes, {limit}")


def stages(library: Any, epochs: int) -> dict[str, float]:
    """Return the mean seconds of each stage over some epochs, by the profiler."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("erase/epochs"):
        for _ in range(epochs):
            library.epoch()
    spans: dict[str, list[Any]] = {}
    events = [event for event in profiler.events() or [] if event.time_range is not None]
    for event in events:
        if event.name.startswith("erase/"):
            spans.setdefault(event.name.removeprefix("erase/"), []).append(event.time_range)
    # A node of the backward pass has the number of the operator that it is the gradient of.
    begin, end = np.array([(span.start, span.end) for span in spans["coding rate"]]).T
    numbers = {event.sequence_nr for event in events if event.sequence_nr >= 0
               and ((begin <= event.time_range.start) & (event.time_range.end <= end)).any()}  # fmt: skip
    nodes = [event for event in events if event.name.startswith("autograd::engine") and event.sequence_nr in numbers]
    spans["coding rate, gradient"] = [event.time_range for event in nodes]
    seconds = {name: sum(span.elapsed_us() for span in part) / 1e6 / epochs for name, part in spans.items()}
    seconds["encoder, gradient"] = seconds.pop("gradient") - seconds["coding rate, gradient"]
    seconds["rest"] = seconds.pop("epochs") - sum(seconds.values())
    return {name: seconds[name] for name in STAGES if seconds.get(name, 0.0) > 0}


def peak_memory(case: Case, dense: bool, root: str | None) -> dict[str, Any]:
    """Return "peak" of training with its data, in bytes above a new process's imports; or "failed"."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return {"peak": pool.submit(_peak_memory, case, dense, root).result()}
        except (BrokenProcessPool, MemoryError, RuntimeError) as error:
            return {"failed": str(error)}


def _peak_memory(case: Case, dense: bool, root: str | None) -> int:
    s, meter = settings_of(case), Meter()
    torch.set_num_threads(case["threads"])
    # What torch imports at the first step is there now; the peak of drawing the graph does not count.
    training(planted(), s).epoch()
    meter.start()
    imports = meter.read()["peak_memory"]
    data = read(*(case[name] for name in ("dataset", "features", "classes", "seed")), root)
    meter.start()
    library = training(data, s, case["seed"])
    run: Any = Dense(data, s, library.encoder) if dense else library
    # The second epoch meets all that the first one has left.
    for _ in range(1 if dense else 2):
        run.epoch()
    return int(meter.read()["peak_memory"] - imports)


class Erase(Operation):
    """Epochs of ERASE."""

    name, options = "erase", EraseOptions
    help = "Time an epoch of ERASE beside the dense form of its formulas: time, stages, peak memory."

    def cases(self, options: EraseOptions) -> list[Case]:
        """Return a case per data set."""
        spec = parse("preset", options.preset) if options.preset is not None else Spec("")
        overrides = dict(sorted(from_texts(spec.options).items()))
        for name in {"epochs", "patience"} & set(overrides):
            checks.fail("preset", "what decides an epoch", f"{name}, which decides how many there are")
        cases = super().cases(options)
        for case in cases:
            name = case["dataset"]
            default = f"faithful-{name}" if f"faithful-{name}" in PRESETS else "faithful-cora"
            case |= {"preset": checks.choice("preset", spec.name or default, PRESETS), "overrides": overrides}
            settings_of(case)
            data = read(name, case["features"], case["classes"], options.seed, options.root)
            case |= {"features": data.x.shape[1], "classes": int(data.y.max()) + 1, "seed": options.seed}
            case |= {"nodes": data.num_nodes, "arcs": data.edge_index.shape[1]}
        return cases

    def measure(self, case: Case, options: EraseOptions, record: Record, say: Say) -> None:
        """Compare with the dense form on a small graph, then time epochs on the graph of the case."""
        s, threads = settings_of(case), case["threads"]
        record["settings"] = {name: getattr(s, name) for name in ("encoder", "hidden", "width", "batch_size")}
        verified = replace(s, batch_size=None)
        if (reason := unsupported_reason(verified)) is not None:
            verified = settings("faithful-cora", {})
            record["notes"]["verification"] = f"with the preset faithful-cora, since the dense form {reason}"
        with limit_threads(threads):
            say("verifying")
            record["gaps"] = verify(verified)
            data = read(case["dataset"], options.features, options.classes, options.seed, options.root)
            library = training(data, s, options.seed)
            runs = [TimedRun("library", lambda _: library.epoch(), threads=threads, min_sample=MIN_ROUND)]

            def dense_form() -> dict[str, TimedRun]:
                check_dense(case, s, options.dense)
                dense = Dense(data, s, library.encoder, options.seed)
                return {"": TimedRun("dense", lambda _: dense.epoch(), threads=threads)}

            runs += harness.baseline("dense", dense_form, record)
            times = record["times"] = harness.interleave(runs, options.rounds, options.seed, say)
            harness.compare(times, "library", times)
            say("stages")
            record["stages"] = stages(library, times["library"]["calls"])
        say("memory, in processes of their own")
        names = list(times) if options.memory else []
        record["memory"] = {name: peak_memory(case, name == "dense", options.root) for name in names}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield for each case times, memory and stages."""
        for record in records:
            case, s, spans = record["case"], record["settings"], record["stages"]
            name = "drawn" if _drawn(case["dataset"]) else case["dataset"]
            words = [f"{name}: {case['nodes']:,} nodes, {case['arcs']:,} arcs, {case['features']:,} features"]
            words += [f"{case['classes']} classes, {case['preset']}, {s['encoder']} {s['hidden']}/{s['width']}"]
            words += ["full batch" if s["batch_size"] is None else f"mini-batches of {s['batch_size']:,}", "float32"]
            yield headline(", ".join([*words, tables.plural(case["threads"], "thread")]))
            names = sorted(record["times"], reverse=True)
            yield tables.table(TIMES_TABLE, [(record, name) for name in names])
            yield Text("")
            shares = [(name, spans[name], spans[name] / sum(spans.values())) for name in STAGES if name in spans]
            yield tables.table(STAGES_TABLE, shares)
            for name, entry in record["memory"].items():
                if "failed" in entry:
                    yield Text(f"memory of {name} is not known: {entry['failed']}", style="bold")
            yield from tables.notes([record])
        yield Text("\npeak memory: of a process of its own, above its imports, with the data", style="dim")


TIMES_TABLE: tables.Cells = {
    "": lambda row: row[1],
    "per epoch": lambda row: tables.duration(*row),
    "over library": lambda row: tables.ratio(*row),
    "per node": lambda row: tables.time(row[0]["times"][row[1]]["seconds"]["median"] / row[0]["case"]["nodes"]),
    "peak memory": lambda row: tables.size(row[0]["memory"].get(row[1], {}).get("peak")),
    "epochs": lambda row: len(row[0]["times"][row[1]]["samples"]) * row[0]["times"][row[1]]["calls"],
}
STAGES_TABLE: tables.Cells = {
    "stage": lambda row: row[0],
    "mean": lambda row: tables.time(row[1]),
    "share": lambda row: f"{100 * row[2]:.0f} %",
}
