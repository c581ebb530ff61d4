"""Speed of local clustering: arcs per second beside torch_geometric, many seeds at once, work as the graph grows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from graphnoise.bench.environment import Meter
from graphnoise.bench.grid import integer, option, real, some_of
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, propagate, tables
from graphnoise.bench.speed.harness import Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options, Record
from graphnoise.clustering import Diffusion, UndirectedGraph, approximate_pagerank, as_undirected, flow_diffusion
from graphnoise.clustering.batch import DiffusionBatch, diffuse_many
from graphnoise.datasets.synthetic import planted_partition

PARTS = ("walks", "batch", "locality")
# Alpha, eps, and seeds of a sample.
WALKS = ((0.15, 1e-4, 200), (0.15, 1e-5, 50), (0.05, 1e-6, 3))
# Nodes of a block, and of the cluster of "locality".
BLOCK, CLUSTER = 500, 200
# Seeds whose error is measured; bytes of an arc: its end (4), the mass and limit there (16).
CHECKED, ARC_BYTES = 5, 20
BASELINE, AT_ITS_ERROR = "PyG get_ppr", "library at its error"
NOTE = f"{BASELINE}: its time over the library's at no larger an error, within each round; of copy: 20 bytes per arc"
Vector = NDArray[np.float64]


class ClusterOptions(Options):
    """Options of `graphnoise bench speed cluster`."""

    part: Annotated[tuple[str, ...], some_of(*PARTS)] = option(PARTS, "walks, batch, locality.")
    scale: Annotated[float, real(1e-4, 10.0)] = option(1.0, "Multiplies the sizes of the graphs.")
    threads: Annotated[int, integer(1, 1024)] = option(2, "Threads of the batch.")
    rounds: Annotated[int, integer(1, 10_000)] = option(7, "Rounds of samples.", protocol=True)


@functools.lru_cache(maxsize=1)
def draw_graph(name: str, nodes: int, seed: int) -> UndirectedGraph:
    """Draw "arxiv" (a power law), "blocks" of 500 nodes, or "cluster".

    The first 200 nodes of "cluster" are one (p = .1) that is the same in a graph of any size (q = 2 / nodes).
    """
    if name == "arxiv":
        arcs = round(propagate.SIZES["arxiv"][1] * nodes / propagate.SIZES["arxiv"][0])
        return as_undirected(propagate.draw_graph(nodes, arcs // 2 * 2, "power-law", seed))
    if name == "blocks":
        return as_undirected(planted_partition([BLOCK] * (nodes // BLOCK), 0.02, 10 / nodes, seed=seed).edge_index)
    upper = np.triu(np.random.default_rng(seed).random((CLUSTER, CLUSTER)) < 0.1, 1).nonzero()
    far = np.random.default_rng([seed, nodes]).integers(0, nodes, (2, nodes), dtype=np.int32)
    far = far[:, (far[0] != far[1]) & ~(far < CLUSTER).all(0)]
    ends = np.concatenate([np.array(upper, dtype=np.int32), far], axis=1)
    ends = np.concatenate([ends, ends[::-1]], axis=1)
    matrix = scipy.sparse.csr_array((np.ones(ends.shape[1], np.float32), tuple(ends)), shape=(nodes, nodes))
    matrix.sum_duplicates()
    return as_undirected(matrix, weight=False)


def draw_seeds(graph: UndirectedGraph, count: int, seed: int) -> list[int]:
    """Draw nodes that have neighbours."""
    nodes: list[int] = np.random.default_rng(seed).choice(np.flatnonzero(graph.degree > 0), count).tolist()
    return nodes


def walk_matrix(graph: UndirectedGraph) -> scipy.sparse.csr_array:
    """Return A D⁻¹; the graph has no weights."""
    n, values = graph.num_nodes, 1 / np.maximum(graph.degree[graph.col], 1)
    return scipy.sparse.csr_array((values, graph.col, graph.rowptr), shape=(n, n))


def exact(matrix: scipy.sparse.csr_array, seed: int, alpha: float) -> Vector:
    """Return the personalised PageRank vector of the lazy walk, by power iteration over the whole graph to 1e-13."""
    start = np.zeros(matrix.shape[0])
    start[seed] = alpha
    p, share = start, 1.0
    while share > 1e-13:
        p, share = start + (1 - alpha) / 2 * (p + matrix @ p), share * (1 - alpha)
    return p


def residual_gap(graph: UndirectedGraph, result: Diffusion, seed: int, alpha: float, eps: float) -> float:
    """Return the largest residual per unit of degree over eps: below 1 the bound on the error holds."""
    p, r, start = result.dense(graph.num_nodes), np.zeros(graph.num_nodes), np.zeros(graph.num_nodes)
    r[result.touched], start[seed] = result.residual, 1.0
    expected = start - (p - (1 - alpha) / 2 * (p + walk_matrix(graph) @ p)) / alpha
    if not np.allclose(expected, r, rtol=0, atol=1e-12) or min(r.min(), p.min()) < 0:
        raise VerificationError(f"approximate_pagerank from {seed}: the residual is not that of the values")
    gap = float((r / np.maximum(graph.degree, 1)).max() / eps)
    if not (result.converged and gap < 1):
        raise VerificationError(f"approximate_pagerank from {seed}: a residual of {gap:.3g} eps per unit of degree")
    return gap


def error(truth: Vector, nodes: Any, values: Vector, graph: UndirectedGraph) -> float:
    """Return the largest error per unit of degree."""
    gap = truth.copy()
    gap[nodes] -= values
    return float((np.abs(gap) / np.maximum(graph.degree, 1)).max())


def get_ppr(graph: UndirectedGraph) -> Callable[[list[int], float, float], list[tuple[int, Any, Vector]]]:
    """Return torch_geometric's push on one thread: over sorted seeds with alpha and eps; gives seed, nodes, values."""
    from torch_geometric.utils import get_ppr

    row = np.repeat(np.arange(graph.num_nodes), np.diff(graph.rowptr))
    edge_index = torch.from_numpy(np.stack([row, graph.col.astype(np.int64)]))
    import_module("numba").set_num_threads(1)

    def run(seeds: list[int], alpha: float, eps: float) -> list[tuple[int, Any, Vector]]:
        # Its alpha is that of a walk that is not lazy.
        ends, values = get_ppr(edge_index, 2 * alpha / (1 + alpha), eps, torch.tensor(seeds), graph.num_nodes)
        sizes = torch.bincount(torch.searchsorted(torch.tensor(seeds), ends[0]), minlength=len(seeds)).tolist()
        parts = zip(seeds, ends[1].split(sizes), values.double().split(sizes), strict=True)
        return [(v, nodes.numpy(), value.numpy()) for v, nodes, value in parts]

    return run


class Cluster(Operation):
    """Local clustering."""

    name, subject, options, packages = "cluster", "local clustering", ClusterOptions, ("numba",)
    help = "Time local clustering: arcs per second, many seeds in one call, a cluster while the graph grows."

    def cases(self, options: ClusterOptions) -> list[Case]:
        """Return the cases of the parts."""
        scale, cases = options.scale, list[Case]()
        arxiv, blocks = max(int(scale * propagate.SIZES["arxiv"][0]), 64), max(int(scale * 2000), 2) * BLOCK
        if "walks" in options.part:
            for graph, nodes in (("arxiv", arxiv), ("blocks", blocks)):
                walks = [dict(zip(("alpha", "eps", "seeds"), walk, strict=True)) for walk in WALKS]
                cases += [{"part": "walks", "graph": graph, "nodes": nodes, **walk} for walk in walks]
        if "batch" in options.part:
            cases.append({"part": "batch", "graph": "blocks", "nodes": blocks, "threads": options.threads})
            cases[-1] |= {"alpha": 0.15, "eps": 1e-4, "seeds": max(int(10_000 * scale), 10)}
        if "locality" in options.part:
            sizes = [max(int(scale * nodes), 2 * CLUSTER) for nodes in (100_000, 1_000_000, 10_000_000)]
            cases += [{"part": "locality", "graph": "cluster", "nodes": nodes} for nodes in sizes]
        return cases

    def measure(self, case: Case, options: ClusterOptions, say: Say) -> Record:
        """Verify and time one part."""
        say("drawing the graph, verifying")
        graph = draw_graph(case["graph"], case["nodes"], options.seed)
        part = {"walks": _walks, "batch": _batch, "locality": _locality}[case["part"]]
        runs, record = part(graph, case, options.seed)
        copy, copied = harness.memcpy("cpu")
        times = harness.interleave([*runs, copy], options.rounds, options.seed, say)
        if case["part"] == "walks":
            rate = [record["arcs"] / seconds for seconds in times["library"]["samples"]]
            top = [copied / seconds for seconds in times["copy"]["samples"]]
            record["arcs_per_second"] = harness.quartiles(rate)
            record["of_copy"] = harness.ratio([ARC_BYTES * r for r in rate], top)
            harness.compare(times, [BASELINE] if BASELINE in times else [], AT_ITS_ERROR)
        return record | {"times": times}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield the tables: walks, many seeds at once, work as the graph grows."""
        parts = {part: [record for record in records if record["case"]["part"] == part] for part in PARTS}
        if parts["walks"]:
            yield headline("Approximate PageRank, one seed after the other, one thread")
            yield Text(NOTE, style="dim")
            rows: list[Any] = []
            for record in parts["walks"]:
                case, times = record["case"], record["times"]
                name = f"{case['graph']}, alpha {case['alpha']:g}, eps {case['eps']:g}"
                row: list[Any] = [name, f"{case['nodes']:,}"]
                row += [tables.duration(times["library"]["seconds"], 1 / case["seeds"])]
                row += [f"{record['arcs'] / case['seeds']:,.0f}"]
                row += [tables.quartiles(record["arcs_per_second"], factor=1e-6, form="{:.0f}".format)]
                rows.append([*row, f"{100 * record['of_copy']['median']:.0f} %", tables.ratio(record, BASELINE)])
            head = ["graph", "nodes", "per seed", "arcs per seed", "million arcs/s", "of copy", BASELINE]
            yield tables.table(head, rows)
        for record in parts["batch"]:
            case, times = record["case"], record["times"]
            title = f"{case['seeds']:,} seeds in one call, alpha {case['alpha']:g}, eps 1e-4, {case['nodes']:,} nodes"
            yield headline(title)
            rows = []
            for name, entry in sorted((name, entry["seconds"]) for name, entry in times.items() if name != "copy"):
                rows.append([name, tables.duration(entry), f"{record['arcs'] / entry['median'] / 1e6:.0f}"])
            yield tables.table(["threads", "time", "million arcs/s"], rows)
        if parts["locality"]:
            yield headline("A cluster that stays the same while the graph around it grows, warm")
            rows = []
            for record in parts["locality"]:
                for name, run in record["runs"].items():
                    row = [name, record["case"]["nodes"], tables.duration(record["times"][name]["seconds"])]
                    row += [f"{run['arcs']:,}", f"{run['touched']:,}", f"{run['extra_memory'] / 1e6:.1f} MB"]
                    rows.append(row)
            rows = [[name, f"{nodes:,}", *row] for name, nodes, *row in sorted(rows, key=lambda row: row[:2])]
            yield tables.table(["diffusion", "nodes", "time", "arcs read", "nodes touched", "extra memory"], rows)
        yield from tables.notes(records)


def _walks(graph: UndirectedGraph, case: Case, seed: int) -> tuple[list[TimedRun], Record]:
    """Approximate PageRank, one seed after the other on one thread, beside a baseline at no larger an error."""
    alpha, eps, nodes = case["alpha"], case["eps"], draw_seeds(graph, case["seeds"], seed)
    results = [approximate_pagerank(graph, v, alpha, eps) for v in nodes]
    record: Record = {"arcs": sum(result.arcs for result in results), "pushes": sum(r.pushes for r in results)}
    record["gap"] = residual_gap(graph, results[0], nodes[0], alpha, eps)
    runs = [TimedRun("library", lambda _: [approximate_pagerank(graph, v, alpha, eps) for v in nodes])]
    if eps < 1e-5 or not find_spec("numba"):
        record["notes"] = {BASELINE: "left out: " + ("too slow at this eps" if eps < 1e-5 else "needs numba")}
        return runs, record
    other, few, tighter, matrix = get_ppr(graph), sorted(set(nodes[:50])), eps, walk_matrix(graph)
    truths = {v: exact(matrix, v, alpha) for v in few[:CHECKED]}
    theirs = max(error(truths[v], ends, values, graph) for v, ends, values in other([*truths], alpha, eps))

    def library_error() -> float:
        results = {v: approximate_pagerank(graph, v, alpha, tighter) for v in truths}
        return max(error(truths[v], result.touched, result.values, graph) for v, result in results.items())

    # The library works harder until it is no less exact.
    while (ours := library_error()) > theirs:
        tighter *= max(0.5, 0.95 * theirs / ours)
    record["errors"] = {BASELINE: theirs, "library": ours, "eps": tighter, "seeds": len(few)}
    how = {"method": "pagerank", "alpha": alpha, "num_threads": 1}
    runs.append(TimedRun(BASELINE, lambda _: other(few, alpha, eps)))
    runs.append(TimedRun(AT_ITS_ERROR, lambda _: diffuse_many(graph, few, eps=tighter, **how)))
    return runs, record


def _batch(graph: UndirectedGraph, case: Case, seed: int) -> tuple[list[TimedRun], Record]:
    """All seeds in one call, on one and on more threads."""
    nodes, how = draw_seeds(graph, case["seeds"], seed), {"alpha": case["alpha"], "eps": case["eps"]}

    def many(nodes: list[int], threads: int) -> DiffusionBatch:
        return diffuse_many(graph, nodes, "pagerank", num_threads=threads, **how)

    for v, row in zip(nodes[:20], many(nodes[:20], 1).values.toarray(), strict=True):
        if not np.array_equal(row, approximate_pagerank(graph, v, **how).dense(graph.num_nodes)):
            raise VerificationError(f"batch: the row of seed {v} is not what the seed gives alone")
    counts = sorted({1, case["threads"]})
    runs = [TimedRun(tables.plural(k, "thread"), functools.partial(lambda k, _: many(nodes, k), k)) for k in counts]
    return runs, {"arcs": int(many(nodes, 1).arcs.sum())}


def _locality(graph: UndirectedGraph, case: Case, seed: int) -> tuple[list[TimedRun], Record]:
    """Warm runs in the cluster, and what they read."""
    mass, record = 2.5 * float(graph.degree[:CLUSTER].sum()), dict[str, Any]()
    calls: dict[str, Callable[[], Diffusion]] = {
        "approximate_pagerank": lambda: approximate_pagerank(graph, 0, 0.05, 1e-5),
        "flow_diffusion": lambda: flow_diffusion(graph, 0, mass, tol=1e-2),
    }
    residual_gap(graph, calls["approximate_pagerank"](), 0, 0.05, 1e-5)
    for name, call in calls.items():
        call()
        meter = Meter()
        meter.start()
        before, result = meter.read()["peak_memory"], call()
        extra = max(meter.read()["peak_memory"] - before, 0)
        record[name] = {"arcs": result.arcs, "touched": len(result.touched), "extra_memory": extra}
    runs = [TimedRun(name, functools.partial(lambda call, _: call(), call)) for name, call in calls.items()]
    return runs, {"runs": record}
