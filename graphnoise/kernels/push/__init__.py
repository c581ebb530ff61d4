r"""Diffusions that read only the part of a graph where mass is: the common door of their tiers.

Mass starts at seeds; a node with too much of it is pushed, first come, first served: some of its mass turns into its
value, some goes to its neighbours in proportion to the weights. With d the degree, P = A D⁻¹ and s the seeds' mass:

- "pagerank": p = alpha s + (1 - alpha) (I + P) / 2 p, until the residual r < eps d everywhere. A push adds alpha r to
  p, keeps half of the rest and gives the other half away.
- "l1_pagerank": the p of minimal  ½ q'Qq - alpha s'D^-½ q + rho alpha ‖D^½ q‖₁,  p = D^½ q,  Q = (1 + alpha)/2 I -
  (1 - alpha)/2 D^-½ A D^-½. Its residual is that of "pagerank"; a push brings it to rho d, where the gradient is that
  of the norm. Until r ≤ (1 + tol) rho d everywhere.
- "flow": x ≥ 0 of minimal ½ x'Lx + x'(T - s), T the sinks: a push raises x until the mass m = s - Lx is T. Until m ≤ T
  + tol everywhere.
- "norm_flow": the same for  1/q Σ w |x_u - x_v|^q + x'(T - s),  1/p + 1/q = 1, p > 2.
- "heat_kernel": e^-t Σ t^j / j! P^j s, level by level; what is small at a level is left there.

Labels, where given, weigh an arc `label_eps` of its weight if its ends differ; d is then the sum of these weights, and
seeds have label 1. In the walks a self-loop leads back; flows ignore it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.push.reference import Settings as Settings
from graphnoise.kernels.push.reference import diffuse
from graphnoise.kernels.sweep import addresses

if TYPE_CHECKING:
    from graphnoise.clustering.reading import UndirectedGraph
    from graphnoise.clustering.result import Floats, Ints

METHODS = ("pagerank", "l1_pagerank", "flow", "norm_flow", "heat_kernel")  # as in push_methods.h, like the next
STATUS = ("converged", "max_pushes", "exhausted", "overflow", "stopped")


class Pushed(NamedTuple):
    """What a run found."""

    nodes: Ints  # with mass or value, ascending
    values: Floats
    residual: Floats  # mass that lies there
    degree: Floats  # without regard to labels
    status: str
    pushes: int
    arcs: int
    worst: float  # largest excess (flows), or residual for each unit of degree (walks)
    extra: float  # heat kernel: mass beyond the last level
    backend: str


class PushedSets(NamedTuple):
    """What the runs of a batch found, set by set."""

    begin: Ints  # of each set in the next two, [sets + 1]
    nodes: Ints  # with a value, ascending within a set
    values: Floats
    status: list[str]
    pushes: Ints
    arcs: Ints
    touched: Ints
    worst: Floats
    backend: str


def _arguments(s: Settings) -> tuple[Any, ...]:
    return METHODS.index(s.method), s.alpha, s.eps, s.tol, s.p, s.t, s.unit, s.max_pushes


def _long(array: Ints) -> Ints:
    """Return int64 as NumPy names it; the compiled tier's has the same bits under the name of another C type."""
    return array.view(np.int64)


def push(
    graph: UndirectedGraph, labels: Any, label_eps: float, seeds: Ints, mass: Floats, s: Settings, backend: str | None
) -> Pushed:
    """Run a method from one set of seeds; arguments are known to be valid.

    Args:
        graph: An undirected graph.
        labels: uint8 labels of all nodes, a callable that returns those of an array of nodes, or None.
        label_eps: Part that an arc between different labels weighs.
        seeds: Distinct nodes, ascending, int64, at least one.
        mass: Mass of each, above 0, float64.
        s: Method and its parameters.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, {"native": None, "reference": None})
    if tier == "native":
        given = (*addresses(graph, labels, label_eps), graph.num_nodes, seeds.ctypes.data, mass.ctypes.data, len(seeds))
        nodes, values, residual, degree, code, pushes, arcs, worst, extra = _native.push(*given, *_arguments(s))
        return Pushed(_long(nodes), values, residual, degree, STATUS[code], pushes, arcs, worst, extra, tier)
    start = dict(zip(seeds.tolist(), mass.tolist(), strict=True))
    touched, *lists, out, arcs = diffuse(graph, labels, label_eps, start, s)
    one, two, three = (np.array(values, dtype=np.float64) for values in lists)
    at = np.array(touched, dtype=np.int64)
    return Pushed(at, one, two, three, out.status, out.pushes, arcs, out.worst, out.extra, tier)


def push_sets(
    graph: UndirectedGraph,
    labels: Any,
    label_eps: float,
    begin: Ints,
    seeds: Ints,
    mass: Floats,
    s: Settings,
    threads: int,
    backend: str | None,
) -> PushedSets:
    """Run a method from each of many sets of seeds; set i is begin[i] … begin[i + 1] - 1 of `seeds` and `mass`.

    The results do not depend on the number of threads. Arguments are those of `push`, and known to be valid.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, {"native": None, "reference": None})
    if tier == "native":
        given = (*addresses(graph, labels, label_eps), graph.num_nodes, begin.ctypes.data, len(begin) - 1)
        rows, nodes, values, codes, pushes, arcs, touched, worst = _native.push_batch(
            *given, seeds.ctypes.data, mass.ctypes.data, *(*_arguments(s), threads)
        )
        status = [STATUS[i] for i in codes]
        rows, nodes, pushes, arcs, touched = map(_long, (rows, nodes, pushes, arcs, touched))
        return PushedSets(rows, nodes, values, status, pushes, arcs, touched, worst, tier)
    runs = [
        push(graph, labels, label_eps, seeds[b:e], mass[b:e], s, "reference")
        for b, e in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True)
    ]
    kept = [run.values > 0 for run in runs]
    return PushedSets(
        np.cumsum([0, *(int(keep.sum()) for keep in kept)], dtype=np.int64),
        np.concatenate([np.empty(0, np.int64), *(run.nodes[keep] for run, keep in zip(runs, kept, strict=True))]),
        np.concatenate([np.empty(0), *(run.values[keep] for run, keep in zip(runs, kept, strict=True))]),
        [run.status for run in runs],
        np.array([run.pushes for run in runs], dtype=np.int64),
        np.array([run.arcs for run in runs], dtype=np.int64),
        np.array([len(run.nodes) for run in runs], dtype=np.int64),
        np.array([run.worst for run in runs], dtype=np.float64),
        tier,
    )
