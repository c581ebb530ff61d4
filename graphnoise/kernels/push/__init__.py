r"""Diffusions by pushes, which read only the part of a graph that mass reaches.

Mass starts at seeds; nodes with too much mass are pushed, in the order of a queue: some of the mass is added to the
value of the node, some moves to its neighbours in proportion to the weights. With d the degree, P = A D⁻¹ and s the
seeds' mass:

- "pagerank": p = alpha s + (1 - alpha) (I + P) / 2 p, until the residual r < eps d everywhere. A push adds alpha r to
  p, keeps half of the rest and distributes the other half.
- "l1_pagerank": the p of minimal  ½ q'Qq - alpha s'D^-½ q + rho alpha ‖D^½ q‖₁,  p = D^½ q,  Q = (1 + alpha)/2 I -
  (1 - alpha)/2 D^-½ A D^-½. Its residual is that of "pagerank"; a push brings it to rho d, where the gradient is that
  of the norm. Until r ≤ (1 + tol) rho d everywhere.
- "flow": x ≥ 0 of minimal ½ x'Lx + x'(T - s), T the sinks: a push raises x until the mass m = s - Lx is T. Until m ≤ T
  + tol everywhere.
- "norm_flow": the same for  1/q Σ w |x_u - x_v|^q + x'(T - s),  1/p + 1/q = 1, p > 2.
- "heat_kernel": e^-t Σ t^j / j! P^j s, level by level; small mass at a level is left there.

With labels, an arc between different labels weighs `label_eps` times its weight; d is then the sum of these weights.
Seeds have label 1. Walks follow self-loops; flows ignore them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphnoise.kernels import _native
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS, NodeLabels, as_int64, native_arguments
from graphnoise.kernels.push.reference import diffuse
from graphnoise.kernels.push.settings import METHODS, STATUS
from graphnoise.kernels.push.settings import Settings as Settings
from graphnoise.resources import native_threads
from graphnoise.typing import Floats, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.csr.undirected import UndirectedGraph


class Pushed(NamedTuple):
    """The result of a run.

    Attributes:
        nodes: Nodes with mass or value, ascending.
        values: Value of each.
        residual: Mass of each.
        degree: Degree of each, without labels.
        status: How the run ended, one of `STATUS`.
        pushes: Number of pushes.
        arcs: Number of arcs read.
        worst: Largest excess (flows), or residual per unit of degree (walks).
        extra: Mass beyond the last level of the series (heat kernel).
        backend: The tier that ran.
    """

    nodes: Ints
    values: Floats
    residual: Floats
    degree: Floats
    status: str
    pushes: int
    arcs: int
    worst: float
    extra: float
    backend: str


class PushedSets(NamedTuple):
    """The results of the runs of a batch, set by set.

    Attributes:
        begin: Where the nodes of each set begin, shape [sets + 1].
        nodes: Nodes with a value, ascending within a set.
        values: Value of each.
        status: How each run ended.
        pushes: Number of pushes per set.
        arcs: Number of arcs read per set.
        touched: Number of nodes touched per set; in the reference, nodes with mass or value.
        worst: As in `Pushed`, per set.
        backend: The tier that ran.
    """

    begin: Ints
    nodes: Ints
    values: Floats
    status: list[str]
    pushes: Ints
    arcs: Ints
    touched: Ints
    worst: Floats
    backend: str


def _native_settings(s: Settings) -> tuple[Any, ...]:
    return METHODS.index(s.method), s.alpha, s.eps, s.tol, s.p, s.t, s.unit, s.max_pushes


def push(
    graph: UndirectedGraph,
    labels: NodeLabels,
    label_eps: float,
    seeds: Ints,
    mass: Floats,
    settings: Settings,
    backend: str | None,
) -> Pushed:
    """Run a method from one set of seeds; arguments are known to be valid.

    Args:
        graph: An undirected graph.
        labels: uint8 labels of all nodes, a callable that returns those of an array of nodes, or None.
        label_eps: Factor of the weight of an arc between different labels.
        seeds: Distinct nodes, ascending, int64, at least one.
        mass: Mass of each, at least 0, float64.
        settings: Method and its parameters.
        backend: "native", "reference", or None for the first.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, TIERS)
    if tier == "reference":
        return _push_reference(graph, labels, label_eps, seeds, mass, settings)
    source = graph.num_nodes, seeds.ctypes.data, mass.ctypes.data, len(seeds)
    nodes, values, residual, degree, code, pushes, arcs, worst, extra = _native.push(
        *native_arguments(graph, labels, label_eps), *source, *_native_settings(settings)
    )
    return Pushed(as_int64(nodes), values, residual, degree, STATUS[code], pushes, arcs, worst, extra, tier)


def _push_reference(
    graph: UndirectedGraph, labels: NodeLabels, label_eps: float, seeds: Ints, mass: Floats, settings: Settings
) -> Pushed:
    start = dict(zip(seeds.tolist(), mass.tolist(), strict=True))
    nodes, touched, stats = diffuse(graph, labels, label_eps, start, settings)
    states = [touched.nodes[v] for v in nodes]
    return Pushed(
        np.array(nodes, dtype=np.int64),
        np.array([node.value for node in states], dtype=np.float64),
        np.array([node.mass for node in states], dtype=np.float64),
        np.array([node.degree for node in states], dtype=np.float64),
        stats.status,
        stats.pushes,
        touched.arcs,
        stats.worst,
        stats.extra,
        "reference",
    )


def push_sets(
    graph: UndirectedGraph,
    labels: NodeLabels,
    label_eps: float,
    begin: Ints,
    seeds: Ints,
    mass: Floats,
    settings: Settings,
    num_threads: int,
    backend: str | None,
) -> PushedSets:
    """Run a method from each of many sets of seeds; set i is begin[i] … begin[i + 1] - 1 of `seeds` and `mass`.

    The results do not depend on the number of threads. Arguments are those of `push`, and known to be valid.

    Raises:
        InputError: `backend` is unknown.
    """
    tier = select(backend, TIERS)
    if tier == "native":
        num_threads = native_threads(num_threads)
        source = graph.num_nodes, begin.ctypes.data, len(begin) - 1, seeds.ctypes.data, mass.ctypes.data
        rows, nodes, values, codes, pushes, arcs, touched, worst = _native.push_batch(
            *native_arguments(graph, labels, label_eps), *source, *(*_native_settings(settings), num_threads)
        )
        status = [STATUS[i] for i in codes]
        rows, nodes, pushes, arcs, touched = map(as_int64, (rows, nodes, pushes, arcs, touched))
        return PushedSets(rows, nodes, values, status, pushes, arcs, touched, worst, tier)
    runs = [
        _push_reference(graph, labels, label_eps, seeds[b:e], mass[b:e], settings)
        for b, e in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True)
    ]
    masks = [run.values > 0 for run in runs]
    return PushedSets(
        np.cumsum([0, *(int(mask.sum()) for mask in masks)], dtype=np.int64),
        np.concatenate([np.empty(0, np.int64), *(run.nodes[mask] for run, mask in zip(runs, masks, strict=True))]),
        np.concatenate([np.empty(0), *(run.values[mask] for run, mask in zip(runs, masks, strict=True))]),
        [run.status for run in runs],
        np.array([run.pushes for run in runs], dtype=np.int64),
        np.array([run.arcs for run in runs], dtype=np.int64),
        np.array([len(run.nodes) for run in runs], dtype=np.int64),
        np.array([run.worst for run in runs], dtype=np.float64),
        tier,
    )
