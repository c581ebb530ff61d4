"""Does another order of the nodes spare time? Steps of propagation in several orders, side by side in one process.

    python benchmarks/speed/reordering.py                        # minutes; writes benchmarks/results/reordering.json
    python benchmarks/speed/reordering.py --scale 0.01 --rounds 3 --out /tmp/reordering.json

Graphs: a power law without structure, 500 planted communities with their nodes shuffled (both of 169,343 nodes, about
2.3 million arcs), and Cora. For each order, two things are timed against `propagate` without any: "steps", on a graph
that is in that order already, and "call", `propagate(order=)` with the copies of y in and out. A ratio below 1 spares
time. Finding the order happens once for each graph; its seconds stand apart, and so do the calls that pay for them.

Each round takes one sample of everything, in an order drawn anew; ratios are taken within rounds. Results are compared
with those in the graph's own order before anything is timed.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import graphnoise as gn
from graphnoise.bench.environment import environment
from graphnoise.bench.speed.measure import Contender, Spread, interleave, quiet, ratio, spread, use
from graphnoise.io import atomic_write
from graphnoise.node_order import KINDS, order

ALPHA = 0.9
NODES, ARCS, BLOCKS, INSIDE = 169_343, 2_332_486, 500, 0.8  # INSIDE: share of the arcs within communities
RESULTS = Path(__file__).parents[1] / "results" / "reordering.json"


def power_law(scale: float, seed: int) -> tuple[gn.Graph, dict[str, Tensor]]:
    """Return a graph whose nodes are in no order, and no order that is known to be good."""
    nodes, arcs = int(NODES * scale), 2 * int(ARCS * scale / 2)
    return shuffled(gn.datasets.power_law(nodes, arcs, seed=seed), seed)[0], {}


def planted(scale: float, seed: int) -> tuple[gn.Graph, dict[str, Tensor]]:
    """Return a planted partition with its nodes shuffled, and the order of its true communities."""
    blocks = max(2, int(BLOCKS * scale))
    size = int(NODES * scale) // blocks
    degree, nodes = ARCS / NODES, size * blocks
    p_in, p_out = INSIDE * degree / (size - 1), (1 - INSIDE) * degree / (nodes - size)
    graph, places = shuffled(gn.datasets.planted_partition([size] * blocks, p_in, p_out, seed=seed), seed)
    return graph, {"true": places.argsort()}


def cora(scale: float, seed: int) -> tuple[gn.Graph, dict[str, Tensor]]:
    """Return Cora in the order of its files."""
    return gn.Graph.from_data(gn.datasets.load("cora")), {}


GRAPHS: dict[str, Callable[[float, int], tuple[gn.Graph, dict[str, Tensor]]]] = {
    "power-law": power_law,
    "planted": planted,
    "cora": cora,
}


def shuffled(data: Any, seed: int) -> tuple[gn.Graph, Tensor]:
    """Return the graph with its nodes in random order, and which node is where."""
    graph = gn.Graph.from_data(data)
    places = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(seed))
    return graph.permuted(places), places


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a record for each order of one graph."""
    graph, known = GRAPHS[name](options.scale, options.seed)
    y = torch.rand(graph.num_nodes, options.width, generator=torch.Generator().manual_seed(options.seed))
    graph = graph.normalise("sym")
    orders, seconds = {}, {}
    for kind in options.orders:
        print(f"{name}: {kind} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        orders[kind] = order(graph, kind)
        seconds[kind] = time.perf_counter() - began
    orders |= known

    def steps(over: gn.Graph, values: Tensor, places: Tensor | None, count: int) -> Tensor:
        return gn.propagate(over, values, alpha=ALPHA, num_steps=count, order=places).y

    make = functools.partial(Contender, most=options.steps, threads=options.threads, ceiling=2.0)
    contenders = [make("own", functools.partial(steps, graph, y, None))]
    expected = steps(graph, y, None, options.steps)
    for kind, places in orders.items():
        other = graph.permuted(places)
        # Its own copy of the graph, as what is derived for one permutation is kept with a graph.
        call = functools.partial(steps, graph.permuted(torch.arange(graph.num_nodes)), y, places)
        inside = functools.partial(steps, other, y[places], None)
        for found in (call(options.steps), inside(options.steps)[places.argsort()]):
            if not torch.allclose(found, expected, rtol=1e-5, atol=1e-6):
                raise SystemExit(f"{name}: {kind}: another result; nothing was timed")
        contenders += [make(f"{kind} steps", inside), make(f"{kind} call", call)]
    with quiet():
        for contender in contenders:
            use(contender)
            contender.warm(time.perf_counter)
        samples = interleave(contenders, options.rounds, options.seed)
    own = samples["own"]
    case = {"graph": name, "nodes": graph.num_nodes, "arcs": graph.num_arcs, "width": options.width}
    case |= {"steps": options.steps, "threads": options.threads, "rounds": options.rounds, "seed": options.seed}
    return [
        case
        | {
            "order": kind,
            "seconds_to_find": seconds.get(kind),
            "steps_over_own": told(ratio(samples[f"{kind} steps"], own)),
            "call_over_own": told(ratio(samples[f"{kind} call"], own)),
            "seconds_of_own_step": told(spread(own)),
            "calls_that_pay": repaid(seconds.get(kind), own, samples[f"{kind} call"], options.steps),
        }
        for kind in orders
    ]


def told(values: Spread) -> dict[str, float]:
    """Return median and quartiles in JSON's types."""
    return {"median": values.median, "low": values.low, "high": values.high}


def repaid(cost: float | None, own: list[float], call: list[float], steps: int) -> float | None:
    """Return after how many calls the time to find an order is repaid; None if never, or if it was known."""
    spared = (spread(own).median - spread(call).median) * steps
    return cost / spared if cost is not None and spared > 0 else None


def table(records: list[dict[str, Any]]) -> str:
    """Return the records as text."""
    lines = [
        f"{'graph':10} {'order':10} {'find, s':>8}  {'steps over own':20} {'call over own':20} {'repaid, calls':>13}"
    ]
    for record in records:
        parts = [
            "{median:5.2f} ({low:.2f} to {high:.2f})".format(**record[key])
            for key in ("steps_over_own", "call_over_own")
        ]
        find, calls = record["seconds_to_find"], record["calls_that_pay"]
        lines.append(
            f"{record['graph']:10} {record['order']:10} {'known' if find is None else f'{find:.2f}':>8}  "
            f"{parts[0]:20} {parts[1]:20} {'' if calls is None else f'{calls:.0f}':>13}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", nargs="+", default=list(GRAPHS), choices=list(GRAPHS))
    parser.add_argument("--orders", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--scale", type=float, default=1.0, help="share of nodes and arcs of the generated graphs")
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    records: list[dict[str, Any]] = []
    for name in options.graphs:
        records += measure(name, options)
    print(table(records))
    whole = {"format": 1, "made": datetime.now(UTC).isoformat(timespec="seconds"), "scale": options.scale}
    whole |= {"alpha": ALPHA, "dtype": "float32", "environment": environment(), "networkx": version("networkx")}
    whole |= {"records": records}
    with atomic_write(options.out, "; choose another file with --out") as file:
        file.write((json.dumps(whole, indent=1, sort_keys=True) + "\n").encode())
    print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
