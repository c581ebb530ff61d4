"""Speed of local clustering: arcs per second beside torch_geometric, many seeds at once, work as the graph grows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

from graphnoise.bench.environment import Meter
from graphnoise.bench.grid import integer, option, real, some_of
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, propagate, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.clustering import (
    Diffusion,
    Growth,
    UndirectedGraph,
    approximate_pagerank,
    as_undirected,
    flow_diffusion,
    grow_cluster,
    membership_posterior,
    precision_recall_f1,
)
from graphnoise.clustering.batch import DiffusionBatch, diffuse_many
from graphnoise.clustering.growth import grow_unchecked
from graphnoise.clustering.inputs import with_seed_labels
from graphnoise.datasets.synthetic import planted_partition, stochastic_block_model
from graphnoise.noise import flip_membership

PARTS = ("walks", "batch", "locality", "growth", "posterior")
# Seeds are those of a sample.
WALKS = (
    {"alpha": 0.15, "eps": 1e-4, "seeds": 200},
    {"alpha": 0.15, "eps": 1e-5, "seeds": 50},
    {"alpha": 0.05, "eps": 1e-6, "seeds": 3},
)
# Nodes of a block, and of the cluster of "locality".
BLOCK, CLUSTER = 500, 200
# Blocks that grow, one after the other, from labels of these accuracies.
GROWN, ACCURACIES = 5, (0.9, 0.95)
# Accuracies of the labels of "posterior".
WEAK = (0.7, 0.9)
# Seeds of the baseline that are verified; the rounding of its float32 values in a residual.
CHECKED, ROUNDING = 5, 1e-6
# Bytes of an arc: its end (4), the mass and limit there (16).
ARC_BYTES = 20
BASELINE = "PyG get_ppr"
NOTE = f"{BASELINE}: its time over the library's at the same accuracy, within each round; of copy: 20 bytes per arc"
Vector = NDArray[np.float64]


class ClusterOptions(Options):
    """Options of `graphnoise bench speed cluster`."""

    part: Annotated[tuple[str, ...], some_of(*PARTS)] = option(
        PARTS[:-1], "walks, batch, locality, growth, and posterior, which takes minutes and 4 GB."
    )
    scale: Annotated[float, real(1e-4, 10.0)] = option(1.0, "Multiplies the sizes of the graphs.")
    threads: Annotated[int, integer(1, 1024)] = option(2, "Threads of the batch and the posterior.")


@functools.lru_cache(maxsize=1)
def draw_graph(name: str, nodes: int, seed: int) -> UndirectedGraph:
    """Draw a graph.

    "arxiv": a power law. "blocks": blocks of 500 nodes. "cluster": a cluster of 200 nodes (p = .1) in a graph of any
    size. "class": a class of a tenth of the nodes, which have 6 of 10 neighbours in it.
    """
    if name == "arxiv":
        arcs = round(propagate.SIZES["arxiv"][1] * nodes / propagate.SIZES["arxiv"][0])
        return as_undirected(propagate.draw_graph(nodes, arcs // 2 * 2, "power-law", seed))
    if name == "blocks":
        return as_undirected(planted_partition([BLOCK] * (nodes // BLOCK), 0.02, 10 / nodes, seed=seed).edge_index)
    if name == "class":
        crossing = 4 / 0.9
        probs = np.array([[60, crossing], [crossing, (10 - crossing / 10) / 0.9]]) / nodes
        return as_undirected(stochastic_block_model([nodes // 10, nodes - nodes // 10], probs, seed=seed).edge_index)
    probs = np.array([[0.1, 2 / nodes], [2 / nodes, 2 / nodes]])
    return as_undirected(stochastic_block_model([CLUSTER, nodes - CLUSTER], probs, seed=seed).edge_index)


def draw_seeds(graph: UndirectedGraph, count: int, seed: int) -> list[int]:
    """Draw nodes that have neighbours."""
    nodes: list[int] = np.random.default_rng(seed).choice(np.flatnonzero(graph.degree > 0), count).tolist()
    return nodes


def residual(graph: UndirectedGraph, p: Vector, seed: int, alpha: float) -> Vector:
    """Return the residual per unit of degree of personalised PageRank by the lazy walk, from one product with A D⁻¹."""
    n, degree, start = graph.num_nodes, np.maximum(graph.degree, 1), np.zeros(graph.num_nodes)
    start[seed] = alpha
    walk = scipy.sparse.csr_array((1 / degree[graph.col], graph.col, graph.rowptr), shape=(n, n))
    rest: Vector = start + (1 - alpha) / 2 * (p + walk @ p) - p
    return rest / alpha / degree


def verify(graph: UndirectedGraph, result: Diffusion, seed: int, alpha: float, eps: float) -> float:
    """Return the largest residual per unit of degree over eps: below 1 the bound on the error holds."""
    p, r = result.dense(graph.num_nodes), np.zeros(graph.num_nodes)
    r[result.touched] = result.residual / np.maximum(graph.degree[result.touched], 1)
    if not np.allclose(residual(graph, p, seed, alpha), r, rtol=0, atol=1e-12) or min(r.min(), p.min()) < 0:
        raise VerificationError(f"approximate_pagerank from {seed}: the residual is not that of the values")
    gap = float(r.max()) / eps
    if not (result.converged and gap < 1):
        raise VerificationError(f"approximate_pagerank from {seed}: a residual of {gap:.3g} eps per unit of degree")
    return gap


def get_ppr(graph: UndirectedGraph) -> Callable[[list[int], float, float], tuple[Tensor, Tensor]]:
    """Return torch_geometric's push on one thread: over seeds with alpha and eps; gives seeds and nodes, and values."""
    from torch_geometric.utils import get_ppr

    row = np.repeat(np.arange(graph.num_nodes), np.diff(graph.rowptr))
    edge_index = torch.from_numpy(np.stack([row, graph.col.astype(np.int64)]))
    import_module("numba").set_num_threads(1)
    # Its alpha is that of a walk that is not lazy.
    return lambda seeds, alpha, eps: get_ppr(
        edge_index, 2 * alpha / (1 + alpha), eps, torch.tensor(seeds), graph.num_nodes
    )


class Cluster(Operation):
    """Local clustering."""

    name, options, packages = "cluster", ClusterOptions, ("numba",)
    help = "Time local clustering: arcs per second, many seeds in one call, a cluster while the graph grows."

    def cases(self, options: ClusterOptions) -> list[Case]:
        """Return the cases of the parts."""
        scale = options.scale
        arxiv, blocks = max(int(scale * propagate.SIZES["arxiv"][0]), 64), max(int(scale * 2000), 2) * BLOCK
        graphs = {"arxiv": arxiv, "blocks": blocks}.items()
        sizes = [max(int(scale * nodes), 2 * CLUSTER) for nodes in (100_000, 1_000_000, 10_000_000)]
        many = {"threads": options.threads, "alpha": 0.15, "eps": 1e-4, "seeds": max(int(10_000 * scale), 10)}
        cases: dict[str, list[Case]] = {
            "walks": [{"graph": graph, "nodes": nodes, **walk} for graph, nodes in graphs for walk in WALKS],
            "batch": [{"graph": "blocks", "nodes": blocks, **many}],
            "locality": [{"graph": "cluster", "nodes": nodes} for nodes in sizes],
            "growth": [
                {"graph": "blocks", "nodes": max(int(nodes * scale) // BLOCK, GROWN) * BLOCK}
                for nodes in (10_000, 100_000, 1_000_000)
            ],
            "posterior": [
                {"graph": "class", "nodes": max(int(nodes * scale), 1000), "threads": options.threads}
                for nodes in (50_000, 500_000, 5_000_000)
            ],
        }
        # The page of a report prints the command of a case.
        scaled = {} if scale == 1 else {"scale": scale}
        return [{"part": part, **case, **scaled} for part in options.part for case in cases[part]]

    def measure(self, case: Case, options: ClusterOptions, record: Record, say: Say) -> None:
        """Verify and time one part."""
        say("drawing the graph, verifying")
        graph = draw_graph(case["graph"], case["nodes"], options.seed)
        parts = {"walks": _walks, "batch": _batch, "locality": _locality, "growth": _growth, "posterior": _posterior}
        part = parts[case["part"]]
        runs, (copy, copied) = part(graph, case, options.seed, record), harness.memcpy("cpu")
        times = record["times"] = harness.interleave([*runs, copy], options.rounds, options.seed, say)
        if case["part"] == "walks":
            rate, top = harness.per_second(times, "library", record["arcs"]), harness.per_second(times, "copy", copied)
            record["arcs_per_second"] = harness.quartiles(rate)
            record["of_copy"] = harness.ratio([ARC_BYTES * arcs for arcs in rate], top)
            harness.compare(times, "library", {BASELINE} & set(times))
        if case["part"] == "growth":
            harness.compare(times, "library", {"NumPy"})

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield the tables: walks, many seeds at once, work as the graph grows."""
        parts = {part: [record for record in records if record["case"]["part"] == part] for part in PARTS}
        if parts["walks"]:
            yield headline("Approximate PageRank, one seed after the other, one thread")
            yield Text(NOTE, style="dim")
            yield tables.table(WALKS_TABLE, parts["walks"])
        for record in parts["batch"]:
            case, names = record["case"], sorted(record["times"].keys() - {"copy"})
            words = [f"{case['seeds']:,} seeds in one call, alpha {case['alpha']:g}", f"eps {case['eps']:g}"]
            yield headline(", ".join([*words, f"{case['nodes']:,} nodes"]))
            yield tables.table(BATCH_TABLE, [(record, name) for name in names])
        if parts["locality"]:
            yield headline(f"A cluster of {CLUSTER} nodes while the graph around it grows, warm")
            rows = [(name, record) for record in parts["locality"] for name in record["runs"]]
            yield tables.table(LOCALITY_TABLE, sorted(rows, key=lambda row: (row[0], row[1]["case"]["nodes"])))
        if parts["growth"]:
            yield headline(f"Growth of a block of {BLOCK} nodes while the graph around it grows, warm, one thread")
            yield Text(f"NumPy: its time over the library's within each round; means of {GROWN} blocks", style="dim")
            yield tables.table(GROWTH_TABLE, sorted(parts["growth"], key=lambda record: record["case"]["nodes"]))
        if parts["posterior"]:
            yield headline("Posterior of a class of a tenth of the nodes, from labels of accuracies 0.7 and 0.9")
            yield Text("peak memory: of the process, with the graph", style="dim")
            yield tables.table(POSTERIOR_TABLE, sorted(parts["posterior"], key=lambda record: record["case"]["nodes"]))
        yield from tables.notes(records)


WALKS_TABLE: tables.Cells = {
    "graph": lambda r: "{graph}, alpha {alpha:g}, eps {eps:g}".format(**r["case"]),
    "nodes": lambda r: f"{r['case']['nodes']:,}",
    "per seed": lambda r: tables.duration(r, "library", 1 / r["case"]["seeds"]),
    "arcs per seed": lambda r: f"{r['arcs'] / r['case']['seeds']:,.0f}",
    "million arcs/s": lambda r: tables.quartiles(r["arcs_per_second"], factor=1e-6, form="{:.0f}".format),
    "of copy": lambda r: f"{100 * r['of_copy']['median']:.0f} %",
    BASELINE: lambda r: tables.ratio(r, BASELINE),
}
BATCH_TABLE: tables.Cells = {
    "threads": lambda row: row[1],
    "time": lambda row: tables.duration(*row),
    "million arcs/s": lambda row: f"{row[0]['arcs'] / row[0]['times'][row[1]]['seconds']['median'] / 1e6:.0f}",
}
LOCALITY_TABLE: tables.Cells = {
    "diffusion": lambda row: row[0],
    "nodes": lambda row: f"{row[1]['case']['nodes']:,}",
    "time": lambda row: tables.duration(row[1], row[0]),
    "arcs read": lambda row: f"{row[1]['runs'][row[0]]['arcs']:,}",
    "nodes touched": lambda row: f"{row[1]['runs'][row[0]]['touched']:,}",
}
GROWTH_TABLE: tables.Cells = {
    "nodes": lambda r: f"{r['case']['nodes']:,}",
    "time": lambda r: tables.duration(r, "library", 1 / GROWN),
    "NumPy": lambda r: tables.ratio(r, "NumPy"),
    "arcs read": lambda r: f"{r['arcs'] / GROWN:,.0f}",
    "nodes touched": lambda r: f"{r['touched'] / GROWN:,.0f}",
    "F1": lambda r: f"{r['f1'] / GROWN:.3f}",
}


POSTERIOR_TABLE: tables.Cells = {
    "nodes": lambda r: f"{r['case']['nodes']:,}",
    "arcs": lambda r: f"{r['arcs']:,}",
    "threads": lambda r: str(r["case"]["threads"]),
    "time": lambda r: tables.duration(r, "library"),
    "times arcs are read": lambda r: f"{r['reads']:.0f}",
    "peak memory": lambda r: tables.size(r["peak_memory"]),
    "F1": lambda r: f"{r['f1']:.3f}",
    "of labels": lambda r: f"{r['f1_of_labels']:.3f}",
}


def _walks(graph: UndirectedGraph, case: Case, seed: int, record: Record) -> list[TimedRun]:
    """Approximate PageRank, one seed after the other on one thread, beside a baseline with the same bound."""
    alpha, eps, nodes = case["alpha"], case["eps"], draw_seeds(graph, case["seeds"], seed)
    results = [approximate_pagerank(graph, v, alpha, eps) for v in nodes]
    record |= {"arcs": sum(result.arcs for result in results), "pushes": sum(r.pushes for r in results)}
    record["gap"] = verify(graph, results[0], nodes[0], alpha, eps)
    runs = [TimedRun("library", lambda _: [approximate_pagerank(graph, v, alpha, eps) for v in nodes])]

    def push() -> dict[str, TimedRun]:
        if eps < 1e-5 or not find_spec("numba"):
            raise NotMeasurableError("too slow at this eps" if eps < 1e-5 else "needs numba")
        run = get_ppr(graph)
        for v in nodes[:CHECKED]:
            p, (ends, values) = np.zeros(graph.num_nodes), run([v], alpha, eps)
            p[ends[1].numpy()] = values.numpy()
            gap = float(np.abs(residual(graph, p, v, alpha)).max()) / eps
            if not gap < 1 + ROUNDING / eps:
                raise VerificationError(f"{BASELINE} from {v}: a residual of {gap:.3g} eps per unit of degree")
        return {"": TimedRun(BASELINE, lambda _: run(nodes, alpha, eps))}

    return runs + harness.baseline(BASELINE, push, record)


def _batch(graph: UndirectedGraph, case: Case, seed: int, record: Record) -> list[TimedRun]:
    """All seeds in one call, on one and on more threads."""
    nodes, how = draw_seeds(graph, case["seeds"], seed), {"alpha": case["alpha"], "eps": case["eps"]}

    def many(nodes: list[int], threads: int) -> DiffusionBatch:
        return diffuse_many(graph, nodes, "pagerank", num_threads=threads, **how)

    for v, row in zip(nodes[:20], many(nodes[:20], 1).values.toarray(), strict=True):
        if not np.array_equal(row, approximate_pagerank(graph, v, **how).dense(graph.num_nodes)):
            raise VerificationError(f"batch: the row of seed {v} is not what the seed gives alone")
    record["arcs"] = int(many(nodes, 1).arcs.sum())
    counts = sorted({1, case["threads"]})
    return [TimedRun(tables.plural(k, "thread"), functools.partial(lambda k, _: many(nodes, k), k)) for k in counts]


def _locality(graph: UndirectedGraph, case: Case, seed: int, record: Record) -> list[TimedRun]:
    """Warm runs in the cluster, and what they read."""
    mass = 2.5 * float(graph.degree[:CLUSTER].sum())
    calls: dict[str, Callable[[], Diffusion]] = {
        "approximate_pagerank": lambda: approximate_pagerank(graph, 0, 0.05, 1e-5),
        "flow_diffusion": lambda: flow_diffusion(graph, 0, mass, tol=1e-2),
    }
    verify(graph, calls["approximate_pagerank"](), 0, 0.05, 1e-5)
    record["runs"] = {}
    for name, call in calls.items():
        result = call()
        record["runs"][name] = {"arcs": result.arcs, "touched": len(result.touched)}
    return [TimedRun(name, functools.partial(lambda call, _: call(), call)) for name, call in calls.items()]


def _growth(graph: UndirectedGraph, case: Case, seed: int, record: Record) -> list[TimedRun]:
    """Grow blocks from their first nodes, by both tiers."""
    blocks, (a1, a0) = [np.arange(graph.num_nodes) // BLOCK == k for k in range(GROWN)], ACCURACIES
    labels = [flip_membership(block, a1=a1, a0=a0, seed=seed + k).y for k, block in enumerate(blocks)]
    seeds = [np.array([k * BLOCK]) for k in range(GROWN)]
    checked = [with_seed_labels(values.astype(np.uint8), own) for values, own in zip(labels, seeds, strict=True)]

    def library(_: int) -> list[Growth]:
        return [grow_cluster(graph, own, values, a1, a0) for own, values in zip(seeds, labels, strict=True)]

    def slow(_: int) -> list[Growth]:
        pairs = zip(seeds, checked, strict=True)
        return [grow_unchecked(graph, own, values, ACCURACIES, backend="reference") for own, values in pairs]

    results = library(1)
    for k, (growth, other) in enumerate(zip(results, slow(1), strict=True)):
        same = np.array_equal(growth.touched, other.touched)
        if not (same and np.allclose(growth.probability, other.probability, rtol=0, atol=1e-5)):
            raise VerificationError(f"grow_cluster from {k * BLOCK}: another result than that of the NumPy tier")
    record |= {"arcs": sum(growth.arcs for growth in results), "touched": sum(len(g.touched) for g in results)}
    record["f1"] = sum(precision_recall_f1(g.nodes, block).f1 for g, block in zip(results, blocks, strict=True))
    return [TimedRun("library", library), TimedRun("NumPy", slow)]


def _posterior(graph: UndirectedGraph, case: Case, seed: int, record: Record) -> list[TimedRun]:
    """Posterior of all nodes, which has to be better than the labels; and the memory that it takes."""
    (a1, a0), inside, meter = WEAK, np.arange(graph.num_nodes) < graph.num_nodes // 10, Meter()
    labels = np.asarray(flip_membership(inside, a1=a1, a0=a0, seed=seed).y)
    harness.set_threads(case["threads"])
    meter.start()
    result = membership_posterior(graph, labels, a1, a0)
    record["peak_memory"] = meter.read()["peak_memory"]
    record |= {"arcs": len(graph.col), "reads": result.arcs / max(len(graph.col), 1)}
    record["f1_of_labels"] = precision_recall_f1(np.flatnonzero(labels), inside).f1
    record["f1"] = precision_recall_f1(result.nodes, inside).f1
    if not record["f1"] > record["f1_of_labels"]:
        raise VerificationError(
            f"membership_posterior: F1 {record['f1']:.3f}, and {record['f1_of_labels']:.3f} of labels"
        )
    return [TimedRun("library", lambda _: membership_posterior(graph, labels, a1, a0), threads=case["threads"])]
