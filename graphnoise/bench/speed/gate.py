"""What may be timed: only what gives the result of a float64 product in SciPy, on this graph and on awkward ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.bench.speed.cases import ALPHA, DTYPES, Arcs, Case, awkward
from graphnoise.bench.speed.peers import GateError as GateError
from graphnoise.bench.speed.peers import Problem, Run
from graphnoise.graph import Graph

# Largest difference over the largest expected entry. Ten steps of bfloat16 with a weight of .9 may round ten times.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 3e-2}
_COLUMNS = 6  # of a graph that is timed; columns do not depend on each other, and the reference is slow

Make = Callable[[Problem], Mapping[str, Run]]


def problem(case: Case, arcs: Arcs, seed: int) -> Problem:
    """Return the values of a case over a graph: Y0 and G uniform in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    dtype = DTYPES[case.dtype]
    drawn = [
        torch.rand(arcs.num_nodes, case.width, generator=generator).to(dtype).to(case.device)
        for _ in range(1 + case.backward)
    ]
    weight = (
        None if arcs.weight is None else arcs.weight.to(torch.float64 if case.dtype == "float64" else torch.float32)
    )
    graph = Graph.from_edge_index(arcs.edge_index, arcs.num_nodes, weight).normalise("sym")
    graph = graph if case.device == "cpu" else graph.to(case.device)
    return Problem(graph, drawn[0], ALPHA, drawn[1] if case.backward else None)


def reference(
    arcs: Arcs, start: NDArray[Any], steps: Collection[int], transposed: bool = False
) -> dict[int, NDArray[np.float64]]:
    r"""Return Y after each of these numbers of steps in float64, from the arcs alone.

    With p the polynomial of the steps, Y = p(S) Y0, and the gradient of the sum of Y ⊙ G by Y0 is p(S^T) G: the same
    steps from G, over the transposed graph.
    """
    n = arcs.num_nodes
    source, target = (ends.numpy() for ends in arcs.edge_index)
    weight = np.ones(len(source)) if arcs.weight is None else arcs.weight.numpy()
    A = scipy.sparse.csr_array(scipy.sparse.coo_array((weight, (target, source)), shape=(n, n)))
    degree = np.asarray(A.sum(axis=1)).ravel()
    scale = np.where(degree > 0, np.maximum(degree, 1e-300) ** -0.5, 0.0)
    scaling = scipy.sparse.dia_array((scale[None], [0]), shape=(n, n))
    S = scipy.sparse.csr_array(scaling @ A @ scaling)
    if transposed:
        S = scipy.sparse.csr_array(S.T)
    y0 = np.asarray(start, dtype=np.float64)
    y, found = y0, {}
    for done in range(1, max(steps) + 1):
        y = ALPHA * (S @ y) + (1 - ALPHA) * y0
        if done in steps:
            found[done] = y
    return found


class Gate:
    """The references of a case: made once, then held against every operation.

    Args:
        case: What is to be timed.
        arcs: Its graph.
        values: Its values, from `problem`.
        seed: Of the values on the awkward graphs.
    """

    def __init__(self, case: Case, arcs: Arcs, values: Problem, seed: int) -> None:
        self._case = case
        self._columns = sorted({*np.linspace(0, case.width - 1, min(_COLUMNS, case.width)).astype(int).tolist()})
        self._expected = self._reference(arcs, values, self._columns, {1, 2, 4, case.steps})
        self._small = []
        for name, graph in awkward(case.weighted).items():
            small = problem(case, graph, seed)
            expected = self._reference(graph, small, list(range(case.width)), {case.steps})
            self._small.append((name, small, expected[case.steps]))

    def _reference(
        self, arcs: Arcs, values: Problem, columns: list[int], steps: set[int]
    ) -> dict[int, NDArray[np.float64]]:
        first = values.start if values.gradient is None else values.gradient
        start = first[:, columns].double().cpu().numpy()
        return reference(arcs, start, steps, transposed=values.gradient is not None)

    def small(self, name: str, make: Make) -> float:
        """Hold all variants of an operation against the awkward graphs; return the largest gap."""
        worst = 0.0
        for graph, values, expected in self._small:
            for variant, run in make(values).items():
                worst = max(worst, self._compare(f"{name} ({variant})", graph, run(self._case.steps), expected))
        return worst

    def own(self, name: str, run: Run, steps: int) -> float:
        """Hold an operation against the graph that it is to be timed on; return the gap.

        As many steps are taken as a call is to take, or the next smaller number that the reference has, but two
        where the case has two: a slow peer need not take ten.
        """
        taken = max(count for count in self._expected if count <= max(2, steps) and count <= self._case.steps)
        return self._compare(name, "the graph to be timed", run(taken), self._expected[taken], self._columns)

    def _compare(
        self, name: str, graph: str, found: Tensor, expected: NDArray[np.float64], columns: list[int] | None = None
    ) -> float:
        shape = (expected.shape[0], self._case.width)
        if tuple(found.shape) != shape:
            raise GateError(f"{name}: expected values of shape {shape} on {graph}, got {tuple(found.shape)}")
        values = (found if columns is None else found[:, columns]).detach().double().cpu().numpy()
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
        gap = float(np.abs(values - expected).max(initial=0.0)) / scale
        limit = TOLERANCE[self._case.dtype]
        if not gap <= limit:  # NaN is no agreement
            what = "gradients" if self._case.backward else "values"
            raise GateError(
                f"{name}: expected {what} within {limit:g} of the float64 reference on {graph}, got {gap:.2g}"
            )
        return gap
