"""Who is measured: the library, and the same step in the code of others, as their users would write it best.

Every one is given what can be made once: the normalised matrix in its own layout, alpha folded in where that saves
a pass, (1 - alpha) Y0, buffers. A `Run` takes a number of steps and returns the values after them; of a case with
gradient, the gradient of the sum of Y ⊙ G by Y0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnoise import propagation
from graphnoise.errors import GraphnoiseError
from graphnoise.graph import Graph
from graphnoise.kernels import _native
from graphnoise.kernels.csr import matrix
from graphnoise.kernels.propagate import cpu as propagate_cpu

Run = Callable[[int], Tensor]
Forward = Callable[[Tensor, int], Tensor]


class GateError(GraphnoiseError):
    """An operation does not give the result that it should, so it is not timed."""


@dataclass(frozen=True)
class Problem:
    """Values to propagate over a normalised graph.

    Attributes:
        graph: The graph, normalised ("sym").
        start: Y0, shape [num_nodes, width].
        alpha: Weight of the neighbours.
        gradient: G, or None where no gradient is asked for.
    """

    graph: Graph
    start: Tensor
    alpha: float
    gradient: Tensor | None = None

    def runs(self, forward: Forward) -> Run:
        """Return what is timed: forward alone, or forward and the gradient."""
        gradient = self.gradient
        if gradient is None:
            return lambda steps: forward(self.start, steps)

        def both(steps: int) -> Tensor:
            start = self.start.detach().requires_grad_()
            return torch.autograd.grad(forward(start, steps), start, gradient)[0]

        return both

    def loop(self, step: Callable[[Tensor, Tensor, int], Tensor]) -> Run:
        """Return the loop over y <- step(y, (1 - alpha) Y0, place), the second made once where there is no gradient."""
        fixed = (1 - self.alpha) * self.start if self.gradient is None else None

        def forward(start: Tensor, steps: int) -> Tensor:
            base = (1 - self.alpha) * start if fixed is None else fixed
            y = start
            for place in range(steps):
                y = step(y, base, place)
            return y

        return self.runs(forward)


def ours(problem: Problem, tier: str | None) -> tuple[Run, str]:
    """Return the library's own call, checks and all, and the tier that runs it.

    Raises:
        InputError: No tier, or not this one, serves such values.
    """
    graph, alpha = problem.graph, problem.alpha

    def forward(start: Tensor, steps: int) -> Tensor:
        return propagation.propagate(graph, start, alpha=alpha, num_steps=steps, backend=tier).y

    ran = propagation.propagate(graph, problem.start, alpha=alpha, num_steps=1, backend=tier).backend
    return problem.runs(forward), ran


@dataclass(frozen=True)
class Peer:
    """Somebody else's way to the same values.

    Attributes:
        make: Returns its variants by name; the fastest is measured.
        dtypes: Types of values it takes.
        devices: Where it runs.
        forward: Whether it is measured without a gradient.
        backward: Whether it is measured with one.
        copies: Arrays of arcs × width that it makes in a step.
        package: What must be installed.
        single: Whether it has one thread only.
    """

    make: Callable[[Problem], dict[str, Run]]
    dtypes: tuple[str, ...] = ("float32", "float64")
    devices: tuple[str, ...] = ("cpu", "cuda")
    forward: bool = True
    backward: bool = True
    copies: int = 0
    package: str = "torch"
    single: bool = False

    def refusal(self, dtype: str, device: str, backward: bool) -> str | None:
        """Return why it has no part in such a case, or None."""
        if find_spec(self.package) is None:
            return f"{self.package.replace('_', '-')} is not installed"
        if dtype not in self.dtypes:
            return f"does not take {dtype}"
        if device not in self.devices:
            return f"does not run on {device}"
        if not (self.backward if backward else self.forward):
            return "has no gradient" if backward else "is for gradients"
        return None


def _csr(graph: Graph, values: Tensor, index: torch.dtype) -> Tensor:
    return matrix(graph.rowptr.to(index), graph.col.to(index), values, (graph.num_nodes, graph.num_nodes))


def _addmm(problem: Problem) -> dict[str, Run]:
    """Torch's CSR product with alpha and beta, into a fresh tensor or into one of two buffers in turn."""
    alpha, start = problem.alpha, problem.start
    values = problem.graph.values(start.dtype)
    pair = (torch.empty_like(start), torch.empty_like(start)) if problem.gradient is None else None

    def variant(index: torch.dtype, reuse: bool) -> Run:
        S = _csr(problem.graph, values, index)

        def forward(start: Tensor, steps: int) -> Tensor:
            y = start
            for place in range(steps):
                target = pair[place % 2] if reuse and pair is not None else None
                y = torch.addmm(start, S, y, beta=1 - alpha, alpha=alpha, out=target)
            return y

        return problem.runs(forward)

    kinds = {"int64": torch.int64, "int32": torch.int32}
    runs = {name: variant(kind, False) for name, kind in kinds.items()}
    if pair is not None:
        runs |= {f"{name}, out=": variant(kind, True) for name, kind in kinds.items()}
    return runs


def _addmm_kept(problem: Problem) -> dict[str, Run]:
    """The same with S^T kept for the gradient, which torch's own rule transposes at every step."""
    alpha, graph = problem.alpha, problem.graph
    dtype = problem.start.dtype

    def variant(index: torch.dtype) -> Run:
        forth = _csr(graph, graph.values(dtype), index)
        back = _csr(graph.transposed, graph.transposed.values(dtype), index)

        class Step(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, start: Tensor, y: Tensor) -> Tensor:
                return torch.addmm(start, forth, y, beta=1 - alpha, alpha=alpha)

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
                return (1 - alpha) * grad, alpha * (back @ grad)

        def forward(start: Tensor, steps: int) -> Tensor:
            y = start
            for _ in range(steps):
                y = Step.apply(start, y)  # type: ignore[no-untyped-call]
            return y

        return problem.runs(forward)

    return {"int64": variant(torch.int64), "int32": variant(torch.int32)}


def _spmm_reduce(problem: Problem) -> dict[str, Run]:
    """`torch.sparse.mm(…, reduce="sum")`, which torch_geometric takes for CSR tensors, then the sum."""
    values = problem.graph.values(torch.float64).mul(problem.alpha).to(problem.start.dtype)

    def variant(index: torch.dtype) -> Run:
        S = _csr(problem.graph, values, index)
        return problem.loop(lambda y, base, _: torch.sparse.mm(S, y, "sum").add_(base))

    runs = {"int64": variant(torch.int64)}
    if problem.gradient is None:  # with int32, torch 2.13 returns a wrong gradient on large graphs
        runs["int32"] = variant(torch.int32)
    return runs


def _scipy(problem: Problem) -> dict[str, Run]:
    """SciPy's CSR product, then the sum."""
    graph, start = problem.graph, problem.start.numpy()
    values = problem.graph.values(torch.float64).mul(problem.alpha).to(problem.start.dtype).numpy()
    base = ((1 - problem.alpha) * problem.start).numpy()
    index = [t.numpy().astype(np.int32) for t in (graph.col, graph.rowptr)]
    S = scipy.sparse.csr_array((values, *index), shape=(graph.num_nodes, graph.num_nodes))

    def run(steps: int) -> Tensor:
        y = start
        for _ in range(steps):
            y = S @ y
            y += base
        return torch.from_numpy(y)

    return {"int32": run}


def _pyg(problem: Problem) -> dict[str, Run]:
    """torch_geometric's message passing over arcs, as its APPNP does it with the norm cached."""
    from torch_geometric.nn import MessagePassing

    class Conv(MessagePassing):  # type: ignore[misc]
        def forward(self, x: Tensor, arcs: Tensor, edge_weight: Tensor) -> Tensor:
            return self.propagate(arcs, x=x, edge_weight=edge_weight)  # type: ignore[no-any-return]

        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return edge_weight.view(-1, 1) * x_j

    weight = problem.graph.values(torch.float64).mul(problem.alpha).to(problem.start.dtype)
    arcs, conv = problem.graph.edge_index, Conv(aggr="add")
    return {"scatter": problem.loop(lambda y, base, _: conv(y, arcs, weight) + base)}


def _scatter(problem: Problem) -> dict[str, Run]:
    """torch-scatter, over arcs or over rows."""
    package = import_module("torch_scatter")
    scatter_add, segment_csr = package.scatter_add, package.segment_csr
    graph = problem.graph
    weight = graph.values(torch.float64).mul(problem.alpha).to(problem.start.dtype).unsqueeze(1)
    row, col, rowptr, n = graph.row, graph.col, graph.rowptr, graph.num_nodes
    return {
        "scatter_add": problem.loop(lambda y, base, _: scatter_add(y[col] * weight, row, 0, dim_size=n) + base),
        "segment_csr": problem.loop(lambda y, base, _: segment_csr(y[col] * weight, rowptr, reduce="sum") + base),
    }


PEERS: dict[str, Peer] = {
    "addmm": Peer(_addmm),
    "addmm-kept": Peer(_addmm_kept, forward=False),
    "spmm-reduce": Peer(_spmm_reduce, dtypes=("float32", "float64", "bfloat16"), devices=("cpu",)),
    "scipy": Peer(_scipy, devices=("cpu",), backward=False, package="scipy", single=True),
    "pyg": Peer(_pyg, copies=2, package="torch_geometric"),
    "scatter": Peer(_scatter, copies=2, package="torch_scatter"),
}


def floor(problem: Problem, threads: int) -> Run | None:
    """Return a loop that gathers the same rows and does nothing else, or None where the build has none.

    It reads the very arrays that ours reads, and values that lie where ours puts its own: in large pages.

    Raises:
        GateError: A step without neighbours changes the values.
    """
    if not hasattr(_native, "gather_floor") or problem.gradient is not None:
        return None
    graph, start = problem.graph, problem.start
    if start.dtype != torch.float32 or start.device.type != "cpu":
        return None
    rowptr, col = propagate_cpu.padded_rows(graph.arcs(torch.float32))  # padded as far as the kernel reads ahead
    y = propagation.propagate(graph, start, alpha=0.0, num_steps=1).y
    if not torch.equal(y, start):
        raise GateError("ours: expected the values themselves with alpha 0, got others")
    out = torch.empty(graph.num_nodes)
    gather: Callable[..., None] = _native.gather_floor

    def run(steps: int) -> Tensor:
        for _ in range(steps):
            gather(
                rowptr.data_ptr(), col.data_ptr(), y.data_ptr(), out.data_ptr(), graph.num_nodes, y.shape[1], threads
            )
        return out

    return run


def fits(peer: Peer, arcs: int, width: int, itemsize: int, steps: int, backward: bool, free: int) -> bool:
    """Tell whether the arrays of arcs × width that a peer makes fit into the free memory."""
    kept = steps if backward else 1
    return peer.copies * arcs * width * itemsize * kept <= free


def chosen(names: Mapping[str, Peer], wanted: list[str]) -> dict[str, Peer]:
    """Return the peers of these names, in the order of the table."""
    return {name: peer for name, peer in names.items() if name in wanted}
