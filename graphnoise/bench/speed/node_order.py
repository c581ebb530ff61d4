"""Speed of propagation in several node orders, over that in the graph's own order."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor

import graphnoise as gn
from graphnoise.bench.grid import integer, option, real, some_of
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.bench.speed.propagate import ALPHA, SIZES, Threads, Widths
from graphnoise.node_order import KINDS, order
from graphnoise.resources import cpu_count

GRAPHS = ("power-law", "planted", "cora")
# Planted communities, and the share of the arcs within them.
BLOCKS, INSIDE = 500, 0.8
NOTE = (
    "time over that in the graph's own order, within each round (below 1: faster); steps: on a graph that is in that\n"
    "order already; call: propagate(order=) with its copies of y; repaid: calls after which finding the order has paid"
)


class NodeOrderOptions(Options):
    """Options of `graphnoise bench speed node-order`."""

    graph: Annotated[tuple[str, ...], some_of(*GRAPHS)] = option(GRAPHS, "power-law, planted, cora.")
    scale: Annotated[float, real(1e-4, 10.0)] = option(1.0, "Share of nodes and arcs of the drawn graphs.")
    width: Widths = option((40,), "Columns.")
    steps: Annotated[int, integer(1, 100_000)] = option(10, "Steps per call.")
    threads: Threads = option((cpu_count(),), "Numbers of threads.")
    order: Annotated[tuple[str, ...], some_of(*KINDS)] = option(KINDS, "Node orders.", protocol=True)


def draw_graph(name: str, scale: float, seed: int, root: str | None) -> tuple[gn.Graph, dict[str, Tensor]]:
    """Return a graph, and the orders that are known: of "planted" that of its communities."""
    if name == "cora":
        return gn.Graph.from_data(gn.datasets.load("cora", root)), {}
    nodes, arcs = SIZES["arxiv"]
    if name == "power-law":
        data = gn.datasets.power_law(int(nodes * scale), 2 * int(arcs * scale / 2), seed=seed)
    else:
        blocks = max(2, int(BLOCKS * scale))
        size, degree = int(nodes * scale) // blocks, arcs / nodes
        inside, outside = INSIDE * degree / (size - 1), (1 - INSIDE) * degree / (size * (blocks - 1))
        data = gn.datasets.planted_partition([size] * blocks, inside, outside, seed=seed)
    places = torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(seed))
    return gn.Graph.from_data(data).permuted(places), {"true": places.argsort()} if name == "planted" else {}


class NodeOrder(Operation):
    """Propagation in several node orders."""

    name, options, packages = "node-order", NodeOrderOptions, ("networkx",)
    help = "Time propagation in several node orders, over that in the graph's own order."

    def measure(self, case: Case, options: NodeOrderOptions, record: Record, say: Say) -> None:
        """Compare the result in every order with that in the graph's own, then time them."""
        graph, orders = draw_graph(case["graph"], case["scale"], options.seed, options.root)
        graph, seconds, steps = graph.normalise("sym"), dict[str, float](), case["steps"]
        y = torch.rand(graph.num_nodes, case["width"], generator=torch.Generator().manual_seed(options.seed))
        for kind in options.order:
            say(f"finding the order {kind!r}")
            began = time.perf_counter()
            orders[kind] = order(graph, kind)
            seconds[kind] = time.perf_counter() - began

        def run(graph: gn.Graph, y: Tensor, places: Tensor | None, steps: int) -> Tensor:
            return gn.propagate(graph, y, alpha=ALPHA, num_steps=steps, order=places).y

        make = functools.partial(TimedRun, max_steps=steps, threads=case["threads"])
        runs, expected = [make("own", functools.partial(run, graph, y, None))], run(graph, y, None, steps)
        for kind, places in orders.items():
            # Its own copy of the graph, as what is derived for one permutation is cached on a graph.
            call = functools.partial(run, graph.permuted(torch.arange(graph.num_nodes)), y, places)
            inside = functools.partial(run, graph.permuted(places), y[places], None)
            for values in (call(steps), inside(steps)[places.argsort()]):
                if not torch.allclose(values, expected, rtol=1e-5, atol=1e-6):
                    raise VerificationError(f"order {kind!r}: expected the values in the graph's own order, got others")
            runs += [make(f"{kind} steps", inside), make(f"{kind} call", call)]
        times = record["times"] = harness.interleave(runs, options.rounds, options.seed, say)
        harness.compare(times, "own", times)
        record |= {"nodes": graph.num_nodes, "arcs": graph.num_arcs, "orders": {}}
        for kind in orders:
            saved = (times["own"]["seconds"]["median"] - times[f"{kind} call"]["seconds"]["median"]) * steps
            repaid = seconds[kind] / saved if kind in seconds and saved > 0 else None
            record["orders"][kind] = {"seconds_to_find": seconds.get(kind), "calls_repaid": repaid}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table of all graphs and orders."""
        yield Text(NOTE, style="dim")
        rows = [(record, *item) for record in records for item in sorted(record["orders"].items())]
        yield tables.table(TABLE, rows, left=2)
        yield from tables.notes(records)


# A row is a record, the name of an order, and what it costs.
TABLE: tables.Cells = {
    "graph": lambda row: row[0]["case"]["graph"],
    "order": lambda row: row[1],
    "nodes": lambda row: f"{row[0]['nodes']:,}",
    "width": lambda row: row[0]["case"]["width"],
    "threads": lambda row: row[0]["case"]["threads"],
    "find, s": lambda row: "known" if row[2]["seconds_to_find"] is None else f"{row[2]['seconds_to_find']:.2f}",
    "steps over own": lambda row: tables.ratio(row[0], f"{row[1]} steps"),
    "call over own": lambda row: tables.ratio(row[0], f"{row[1]} call"),
    "repaid": lambda row: "" if row[2]["calls_repaid"] is None else f"{row[2]['calls_repaid']:.0f}",
}
