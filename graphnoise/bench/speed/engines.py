"""Time of propagation against the size of the graph: in memory, from the disk, by several processes, in Spark."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
from rich.console import RenderableType
from rich.text import Text
from torch.multiprocessing.spawn import start_processes

import graphnoise as gn
from graphnoise import distributed
from graphnoise.bench.grid import integer, integers, option, real, some_of
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.bench.speed.out_of_core import draw, folder_with_space, too_large
from graphnoise.bench.speed.propagate import ALPHA
from graphnoise.resources import cpu_count
from graphnoise.typing import Floats

ENGINES = ("memory", "disk", "processes", "spark")
NOTE = (
    "seconds per step of whole calls, files in the cache of the operating system. memory: graph and values are in\n"
    "memory; disk: opens the graph, reads the values, writes the result; processes: with one thread each, read the\n"
    "values, rows divided, nothing gathered; spark: local mode, double precision, partitions the arcs in each call.\n"
    "exponent: slope of the logarithm of these seconds against that of the arcs (least squares)"
)
# Largest difference of single from double precision; values are below 1.
TOLERANCE = 1e-5


class EnginesOptions(Options):
    """Options of `graphnoise bench speed engines`."""

    arcs: Annotated[tuple[int, ...], integers(100, 10**11)] = option((10**5, 10**6, 10**7), "Arcs of the drawn graphs.")
    degree: Annotated[float, real(1.0, 1e4)] = option(20.0, "Arcs per node.")
    width: Annotated[int, integer(1, 1000)] = option(4, "Columns.")
    steps: Annotated[int, integer(1, 1000)] = option(10, "Steps per call.")
    cores: Annotated[int, integer(1, 1024)] = option(cpu_count(), "Threads, processes, or tasks of Spark.")
    engine: Annotated[tuple[str, ...], some_of(*ENGINES)] = option(
        ENGINES, "disk, processes, spark; memory is the reference, and always measured.", protocol=True
    )
    rounds: Annotated[int, integer(1, 10_000)] = option(3, "Calls of each.", protocol=True)
    memory: str = option("2GB", "Bound on memory of the graph on the disk.", protocol=True)
    spark_memory: str = option("8g", "Memory of Spark, as it writes it.", protocol=True)
    folder: str = option("build", "Folder for graphs and values; they are removed.", unrecorded=True)


class Engines(Operation):
    """Propagation by each engine, on graphs of several sizes."""

    name, options, packages = "engines", EnginesOptions, ("duckdb", "pyspark")
    help = (
        "Time propagation in memory, from the disk, by several processes and in Spark, against the size of the graph."
    )

    def measure(self, case: Case, options: EnginesOptions, record: Record, say: Say) -> None:
        """Time whole calls of each engine; the values of the last have to be those in memory."""
        parent = folder_with_space(options.folder, case)
        if reason := too_large(case):
            raise NotMeasurableError(f"the reference in memory {reason}")
        harness.set_threads(case["cores"])
        with tempfile.TemporaryDirectory(dir=parent) as name:
            folder = Path(name)
            say("building the graph")
            record["nodes"] = nodes = draw(folder, case, options.seed)
            record["arcs"] = gn.datasets.build_graph(folder / "edges.npy", folder / "graph", num_nodes=nodes).num_arcs
            calls: dict[str, Callable[[], tuple[list[float], Floats]]] = {
                "memory": functools.partial(_in_memory, folder, case, options.rounds),
                "disk": functools.partial(_from_disk, folder, case, options.rounds, options.memory),
                "processes": functools.partial(_by_processes, folder, case, options.rounds),
                "spark": functools.partial(_in_spark, folder, case, options.rounds, options.spark_memory),
            }
            record["times"], expected = {}, None
            for engine in ENGINES:
                if engine not in options.engine and engine != "memory":
                    continue
                if engine == "spark" and not (find_spec("pyspark") and shutil.which("java")):
                    record["notes"]["spark"] = "left out: PySpark or Java is not installed"
                    continue
                say(engine)
                seconds, values = calls[engine]()
                expected = values if expected is None else expected
                close = np.abs(values - expected).max() < TOLERANCE if engine == "spark" else (values == expected).all()
                if not close:
                    raise VerificationError(f"{engine}: expected the values of the graph in memory, got others")
                samples = [taken / case["steps"] for taken in seconds]
                record["times"][engine] = {"seconds": harness.quartiles(samples), "samples": samples}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield the times of all sizes, and how they grow."""
        yield Text(NOTE, style="dim")
        yield tables.table(TABLE, records)
        cases = {json.dumps({**record["case"], "arcs": None}) for record in records}
        for engine in ENGINES if len(cases) == 1 else ():
            points = [(r["arcs"], r["times"][engine]["seconds"]["median"]) for r in records if engine in r["times"]]
            if len(points) > 1:
                arcs, seconds = np.log(points).T
                slope, (least, *_, most) = np.polyfit(arcs, seconds, 1)[0], sorted(arcs for arcs, _ in points)
                yield Text(f"exponent of {engine}, {least:,} to {most:,} arcs: {slope:.2f}")
        yield from tables.notes(records)


def _settings(case: Case) -> dict[str, Any]:
    return {"alpha": ALPHA, "num_steps": case["steps"], "normalisation": "sym"}


def _timed(call: Callable[[], Any], rounds: int) -> tuple[list[float], Any]:
    """Return the seconds of some calls after a first one, and what the last returned."""
    seconds, result = list[float](), call()
    for _ in range(rounds):
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
    return seconds, result


def _in_memory(folder: Path, case: Case, rounds: int) -> tuple[list[float], Floats]:
    stored = gn.Graph.open(folder / "graph")
    graph, y = (
        gn.Graph.unchecked(stored.rowptr.clone(), stored.col.clone()),
        torch.from_numpy(np.load(folder / "y.npy")),
    )
    seconds, result = _timed(lambda: gn.propagate(graph, y, **_settings(case)), rounds)
    return seconds, result.y.numpy()


def _from_disk(folder: Path, case: Case, rounds: int, memory: str) -> tuple[list[float], Floats]:
    out = folder / "out.npy"

    def call() -> None:
        out.unlink(missing_ok=True)
        graph = gn.Graph.open(folder / "graph", check=False)
        gn.propagate(graph, folder / "y.npy", memory=memory, out=out, **_settings(case))

    seconds, _ = _timed(call, rounds)
    return seconds, np.load(out)


def _by_processes(folder: Path, case: Case, rounds: int) -> tuple[list[float], Floats]:
    start: Any = start_processes
    start(_run_rank, (folder, case, rounds), case["cores"], start_method="spawn")
    return json.loads((folder / "seconds.json").read_text()), np.load(folder / "ranks.npy")


def _run_rank(rank: int, folder: Path, case: Case, rounds: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder.absolute()}/group", rank=rank, world_size=case["cores"])
    graph = gn.Graph.open(folder / "graph", check=False)

    def call() -> distributed.DistributedPropagation:
        result = distributed.propagate(graph, folder / "y.npy", partition="rows", **_settings(case))
        dist.barrier()
        return result

    seconds, result = _timed(call, rounds)
    values = result.gather()
    if rank == 0:
        np.save(folder / "ranks.npy", values.numpy())
        (folder / "seconds.json").write_text(json.dumps(seconds))
    dist.destroy_process_group()


def _in_spark(folder: Path, case: Case, rounds: int, memory: str) -> tuple[list[float], Floats]:
    import pandas as pd
    from pyspark.sql import SparkSession

    from graphnoise.spark import propagate

    edges, y = np.load(folder / "edges.npy"), np.load(folder / "y.npy")
    names = [f"c{k}" for k in range(y.shape[1])]
    pd.DataFrame(edges, columns=["source", "target"]).to_parquet(folder / "edges.parquet")
    pd.DataFrame(y, columns=names).assign(node=np.arange(len(y))).to_parquet(folder / "labels.parquet")
    settings = {"spark.ui.enabled": "false", "spark.log.level": "ERROR", "spark.driver.host": "localhost"}
    settings |= {"spark.sql.shuffle.partitions": str(4 * case["cores"]), "spark.driver.memory": memory}
    settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.local.dir": str(folder)}
    settings["spark.ui.showConsoleProgress"] = "false"
    spark = SparkSession.builder.master(f"local[{case['cores']}]").config(map=settings).getOrCreate()
    try:
        tables = [spark.read.parquet(str(folder / f"{name}.parquet")) for name in ("edges", "labels")]
        seconds, result = _timed(lambda: propagate(*tables, columns=names, **_settings(case)), rounds)
        values = result.values.toArrow()
    finally:
        spark.stop()
    whole = np.zeros_like(y)
    whole[values["node"].to_numpy()] = np.stack([values[name].to_numpy() for name in names], 1)
    return seconds, whole


def _duration(engine: str, record: Record) -> Text:
    return tables.duration(record, engine) if engine in record["times"] else tables.quartiles(None)


TABLE: tables.Cells = {
    "arcs": lambda r: f"{r['arcs']:,}",
    "nodes": lambda r: f"{r['nodes']:,}",
    "width": lambda r: r["case"]["width"],
    "cores": lambda r: r["case"]["cores"],
    **{engine: functools.partial(_duration, engine) for engine in ENGINES},
}
