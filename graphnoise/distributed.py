"""Propagation by several processes under `torchrun`: rows with an exchange of values, or columns without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.distributed as dist
from torch import Tensor

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.io import atomic_write, reading
from graphnoise.kernels.propagate import PropagationSettings, cpu
from graphnoise.out_of_core import DTYPES, align_steps, content_hash
from graphnoise.process_group import agree, checking, gathered, peers
from graphnoise.propagation import mapped_values, read_arguments
from graphnoise.resources import available_memory
from graphnoise.typing import GraphLike, Ints

PARTITIONS = ("rows", "columns")


@dataclass(frozen=True)
class Plan:
    """What each way to divide a propagation costs, computed from the graph.

    Attributes:
        partition: "rows" or "columns", the one that is taken.
        ranks: Number of processes.
        received: Bytes that each process receives per step if rows are divided, shape [ranks]; of columns none.
        rows_memory: Bytes that a process allocates at most if rows are divided.
        columns_memory: Bytes that a process allocates at most if columns are divided.
        rows_cost: Bytes per step and process: what it reads of arcs and values, and `exchange_cost` times what it
            receives.
        columns_cost: The same if columns are divided.
    """

    partition: str
    ranks: int
    received: tuple[int, ...]
    rows_memory: int
    columns_memory: int
    rows_cost: float
    columns_cost: float

    def __str__(self) -> str:
        rows = f"rows: {max(self.received) / 1e6:.3g} MB received per step, {self.rows_memory / 1e6:.3g} MB"
        columns = f"columns: nothing received, {self.columns_memory / 1e6:.3g} MB"
        cost = f"cost {self.rows_cost / 1e6:.3g} and {self.columns_cost / 1e6:.3g} MB"
        return f"{self.partition} of {self.ranks} processes ({rows}; {columns}; {cost} per step)"


@dataclass(frozen=True)
class DistributedPropagation:
    """This process's part of a propagation.

    Attributes:
        y: Values of its rows and columns.
        rows: Positions of its rows, int64; all with "columns".
        columns: Its columns; all with "rows".
        num_nodes: Number of rows of all processes.
        width: Number of columns of all processes.
        steps: Steps taken.
        residual: Largest change of any entry of any process in the last step.
        converged: Whether `residual` is at most `tol` (1e-6 if `tol` is None).
        received: Bytes of values that this process received from others, in all steps.
        plan: What the partition costs.
    """

    y: Tensor
    rows: Tensor
    columns: range
    num_nodes: int
    width: int
    steps: int
    residual: float
    converged: bool
    received: int
    plan: Plan

    def gather(self) -> Tensor:
        """Return the values of all rows and columns, on every process, which all call this."""
        whole = torch.empty(self.num_nodes, self.width, dtype=self.y.dtype)
        for rows, columns, y in gathered((self.rows, self.columns, self.y)):
            whole[rows, columns.start : columns.stop] = y
        return whole


def propagate(
    graph: GraphLike,
    y: Tensor | Path | str,
    *,
    alpha: float,
    num_steps: int,
    mode: str = "restart",
    normalisation: str | None = None,
    mask: Tensor | None = None,
    clamp: tuple[float, float] | None = None,
    tol: float | None = None,
    partition: str | None = None,
    assignment: Tensor | str | None = None,
    exchange_cost: float = 10.0,
    checkpoint: Path | str | None = None,
    every: int = 10,
) -> DistributedPropagation:
    r"""Propagate as `gn.propagate`, by all processes of the default group; each calls this with the same arguments.

    "rows": each process has some rows with their arcs, and the processes exchange the values of boundary nodes after
    each step. "columns": each process has the whole graph and some columns, and nothing is exchanged. Either gives the
    bits of one process.

    Args:
        graph: As of `gn.propagate`; with `Graph.open` only the pages that a process needs are read.
        y: Values, float32 or float64, or the `.npy` file that has them.
        alpha: Weight of the neighbours.
        num_steps: Maximum number of steps, at least 1.
        mode: "restart" or "lazy".
        normalisation: As of `gn.propagate`.
        mask: As of `gn.propagate`.
        clamp: As of `gn.propagate`.
        tol: As of `gn.propagate`; all processes stop in the same step.
        partition: "rows" or "columns"; None takes the one of less cost (see `Plan`) of those that fit into the memory
            of every process.
        assignment: Process of each node, int64, shape [num_nodes], for "rows"; "metis" computes it by METIS (needs
            the extra `metis`) from arcs in both directions without weights. By default rows are divided into contiguous
            parts of about equal numbers of rows and arcs.
        exchange_cost: Bytes of memory that take as long as one byte from another process.
        checkpoint: Folder, shared or of each process, to which "rows" writes values every so many steps; a call with
            the same arguments continues from there. It is empty at the end.
        every: Steps between checkpoints.

    Raises:
        InputError: No process group, processes with different arguments, or an argument out of its range.
        DataError: A process of the group ended, or a checkpoint cannot be written.

    Example:
        >>> import os, torch.distributed as dist
        >>> _ = os.environ.setdefault("MASTER_ADDR", "localhost"), os.environ.setdefault("MASTER_PORT", "29517")
        >>> dist.init_process_group("gloo", rank=0, world_size=1)
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> result = propagate(path, torch.eye(3)[:, [0, 2]], alpha=0.5, num_steps=100, tol=1e-6)
        >>> result.gather().argmax(1).tolist(), result.received
        ([0, 0, 1], 0)
        >>> dist.destroy_process_group()

    Source: This package. Columns do not depend on one another, since propagation is linear in the values.
    """
    with checking("torch.distributed"):
        graph = as_graph(graph)
        arguments = read_arguments(graph, mapped_values(y), alpha, num_steps, mode, normalisation, mask, clamp, tol)
        checked = _checked(graph, *arguments, partition, assignment, exchange_cost, checkpoint, every)
    graph, values, mask, settings, owner, folder, every, exchange_cost, key = checked
    agree(key)
    boundary = _Boundary(graph, owner)
    plan = _plan(graph, values, owner, boundary, exchange_cost, partition)
    if plan.partition == "columns":
        y, columns, steps, residual = _by_columns(graph, values, mask, settings)
        rows, received = torch.arange(graph.num_nodes), 0
    else:
        files = None if folder is None else _Checkpoints(folder, key, every)
        y, steps, residual, received = _by_rows(graph, values, mask, settings, boundary, files)
        rows, columns = torch.from_numpy(boundary.own), range(values.shape[1])
    if not math.isfinite(residual):
        checks.fail("y", "finite values that stay in their range", f"others within {steps} steps")
    converged = residual <= (1e-6 if settings.tol is None else settings.tol)
    return DistributedPropagation(
        y, rows, columns, graph.num_nodes, values.shape[1], steps, residual, converged, received, plan
    )


def _checked(
    graph: Graph,
    normalisation: str | None,
    values: Tensor,
    mask: Tensor | None,
    settings: PropagationSettings,
    partition: str | None,
    assignment: Tensor | str | None,
    exchange_cost: float,
    checkpoint: Path | str | None,
    every: int,
) -> tuple[Any, ...]:
    """Return the checked arguments of `propagate`, the process of each node, and a hash of all of them at the end."""
    if values.dtype not in DTYPES or values.dim() != 2 or values.shape[1] == 0:
        checks.fail("y", "float32 or float64, shape [num_nodes, width]", f"{values.dtype}, {tuple(values.shape)}")
    if torch.is_grad_enabled() and (values.requires_grad or graph.requires_grad):
        checks.fail("y, graph", "values and weights without gradients", "some with")
    checks.integer("num_steps", settings.num_steps, 1)
    every = checks.integer("every", every, 1)
    exchange_cost = checks.real("exchange_cost", exchange_cost, 0.0)
    folder = None if checkpoint is None else checks.path("checkpoint", checkpoint)
    if partition is not None:
        checks.choice("partition", partition, PARTITIONS)
    graph = graph if normalisation is None else graph.normalise(normalisation)
    owner = _owners(graph, assignment)
    shape, ranks = (tuple(values.shape), values.dtype), dist.get_world_size()
    described = settings, graph.normalisation, shape, partition, ranks, folder is None
    arrays = graph.rowptr, graph.col, graph.weight, graph.left, graph.right
    key = content_hash(described, values, mask, torch.from_numpy(owner), *arrays)
    return graph, values, mask, settings, owner, folder, every, exchange_cost, key


def _max(*values: float) -> list[float]:
    """Return the largest of each value over the processes; infinity where one is not finite."""
    tensor = torch.tensor([value if math.isfinite(value) else math.inf for value in values], dtype=torch.float64)
    with peers():
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return [float(value) for value in tensor]


def _owners(graph: Graph, assignment: Tensor | str | None) -> Ints:
    """Return the process of each node."""
    ranks, n = dist.get_world_size(), graph.num_nodes
    if assignment is None:
        work = (graph.rowptr.long() + torch.arange(n + 1)).numpy()
        return np.asarray(np.minimum(work[:-1] * ranks // max(int(work[-1]), 1), ranks - 1), dtype=np.int32)
    if isinstance(assignment, str):
        checks.choice("assignment", assignment, ("metis",))
        pymetis = checks.package("assignment='metis'", "pymetis", "metis")
        arcs = sp.csr_array((np.ones(graph.num_arcs, bool), graph.col.numpy(), graph.rowptr.numpy()), shape=(n, n))
        # METIS reads undirected graphs without self-loops.
        both = (arcs + arcs.T).tocoo()
        others = both.coords[0] != both.coords[1]
        both = sp.csr_array((both.data[others], [ends[others] for ends in both.coords]), shape=(n, n))
        parts = pymetis.part_graph(ranks, xadj=both.indptr, adjncy=both.indices)[1]
        return np.asarray(parts, dtype=np.int32)
    owner = checks.tensor("assignment", assignment)
    if (
        owner.shape != (n,)
        or owner.is_floating_point()
        or owner.is_complex()
        or int(owner.min()) < 0
        or int(owner.max()) >= ranks
    ):
        checks.fail(
            "assignment", f"integers from 0 to {ranks - 1}, shape [{n}]", f"{owner.dtype}, {tuple(owner.shape)}"
        )
    return owner.numpy().astype(np.int32)


class _Boundary:
    """The rows of this process, and the nodes of others that they need, ordered by process."""

    def __init__(self, graph: Graph, owner: Ints) -> None:
        rank, ranks = dist.get_rank(), dist.get_world_size()
        rowptr, col = graph.rowptr.numpy(), graph.col.numpy()
        self.own = np.flatnonzero(owner == rank)
        count = np.asarray(rowptr[self.own + 1] - rowptr[self.own], np.int64)
        self.rowptr = np.concatenate([[0], np.cumsum(count)])
        if len(self.own) and self.own[-1] - self.own[0] + 1 == len(self.own):
            self.arcs: Any = slice(int(rowptr[self.own[0]]), int(rowptr[self.own[-1] + 1]))
        else:
            first = np.repeat(np.asarray(rowptr[self.own], np.int64) - self.rowptr[:-1], count)
            self.arcs = first + np.arange(self.rowptr[-1])
        self.sources = col[self.arcs]
        needed = np.zeros(graph.num_nodes, dtype=bool)
        needed[self.sources] = True
        needed[self.own] = False
        others = np.flatnonzero(needed)
        self.others = others[np.argsort(owner[others], kind="stable")]
        self.counts = np.bincount(owner[self.others], minlength=ranks)

    def part(self, graph: Graph, dtype: torch.dtype) -> cpu.Part:
        """Return the rows with their sources by place."""
        place = np.zeros(graph.num_nodes, dtype=np.int32)
        nodes = np.concatenate([self.own, self.others])
        place[nodes] = np.arange(len(nodes))
        col = torch.zeros(len(self.sources) + cpu.PADDING, dtype=torch.int32)
        col[: len(self.sources)] = torch.from_numpy(place[self.sources])
        arcs, chosen, own = graph.arcs(dtype), torch.from_numpy(nodes), torch.from_numpy(self.own)
        value = None if arcs.value is None else arcs.value[self.arcs].contiguous()
        left = None if arcs.left is None else arcs.left[own]
        right = None if arcs.right is None else arcs.right[chosen]
        return cpu.Part(torch.from_numpy(self.rowptr), col, value, left, right, graph.num_arcs + graph.num_nodes)


def _plan(
    graph: Graph, y: Tensor, owner: Ints, boundary: _Boundary, exchange_cost: float, partition: str | None
) -> Plan:
    ranks, n, m = dist.get_world_size(), graph.num_nodes, graph.num_arcs
    (size, width), own, arcs = (y.element_size(), y.shape[1]), len(boundary.own), len(boundary.sources)
    received = torch.zeros(ranks, dtype=torch.int64)
    received[dist.get_rank()] = len(boundary.others) * width * size
    with peers():
        dist.all_reduce(received)
    narrow = -(-width // ranks)
    read = 4 + (0 if graph.weight is None else size)
    rows_memory = arcs * read + (2 * (own + len(boundary.others)) + own) * width * size
    columns_memory = (0 if graph.stored else m * 4) + 3 * n * narrow * size
    rows_cost = arcs * (read + width * size) + exchange_cost * int(received[dist.get_rank()])
    columns_cost = float(m * (read + narrow * size))
    rows_memory_most, columns_memory_most, rows_cost, columns_cost, short = _max(
        rows_memory, columns_memory, rows_cost, columns_cost, float(columns_memory > 0.8 * available_memory())
    )
    chosen = partition or ("columns" if columns_cost < rows_cost and not short else "rows")
    memory = int(rows_memory_most), int(columns_memory_most)
    return Plan(chosen, ranks, tuple(received.tolist()), *memory, rows_cost, columns_cost)


def _by_columns(
    graph: Graph, y: Tensor, mask: Tensor | None, settings: PropagationSettings
) -> tuple[Tensor, range, int, float]:
    """Propagate some columns; all processes take as many steps as the one that needs the most."""
    ranks, rank, width = dist.get_world_size(), dist.get_rank(), y.shape[1]
    columns = range(rank * width // ranks, (rank + 1) * width // ranks)
    part = y[:, columns.start : columns.stop].contiguous()
    if len(columns) == 1 and width > 1:
        # A single column is summed in another order than one of several.
        part = torch.cat([part, torch.zeros_like(part)], 1)
    if mask is not None:
        part = torch.where(mask.unsqueeze(1), part, part.new_zeros(()))
    alpha, num_steps, lazy, clamp, tol = settings
    arcs = graph.arcs(y.dtype)

    def run(tol: float | None, min_steps: int) -> tuple[Tensor, int, float]:
        start, source = (part, None) if lazy else (None, part)
        return cpu.run(arcs, start, source, None, alpha, 1 - alpha, num_steps, clamp, tol, min_steps=min_steps)

    new, taken, residual = run(tol, 0)

    def extend(steps: int) -> None:
        nonlocal new, taken, residual
        if len(columns) and taken < steps:
            new, taken, residual = run(math.inf, steps)

    def state() -> tuple[int, float]:
        steps, change = _max(taken, residual) if len(columns) else _max(0, 0.0)
        return int(steps), change

    steps, residual = align_steps(extend, state, settings)
    return new[:, : len(columns)], columns, steps, residual


def _by_rows(
    graph: Graph,
    y: Tensor,
    mask: Tensor | None,
    settings: PropagationSettings,
    boundary: _Boundary,
    files: _Checkpoints | None,
) -> tuple[Tensor, int, float, int]:
    """Propagate the rows of this process, with an exchange after each step; return also the bytes received."""
    part, own = boundary.part(graph, y.dtype), len(boundary.own)
    exchange = _exchange(boundary)
    shape = own + len(boundary.others), y.shape[1]
    values, new = torch.zeros(shape, dtype=y.dtype), torch.zeros(shape, dtype=y.dtype)
    values[:own] = y[torch.from_numpy(boundary.own)]
    if mask is not None:
        values[:own][~mask[torch.from_numpy(boundary.own)]] = 0.0
    alpha, num_steps, lazy, clamp, tol = settings
    source = None if lazy else values[:own].clone()
    done = 0 if files is None else files.load(values[:own])
    received = exchange(values)
    while True:
        last = done + 1 == num_steps
        change = cpu.step(
            part, values, source, new, alpha=alpha, clamp=clamp, done=done, planned=num_steps, measure=tol is not None
        )
        done += 1
        # The first step sees values that are not finite.
        residual = _max(change)[0] if last or tol is not None or done == 1 else 0.0
        stop = tol is not None and residual <= tol
        if last or stop or not math.isfinite(residual):
            if files is not None:
                files.remove()
            result = new[:own].clone()
            if stop and not last and part.right is not None:
                result *= (1.0 / part.right[:own]).unsqueeze(1)
                result = result if clamp is None else result.clamp(*clamp)
            return result, done, residual, received
        values, new = new, values
        if files is not None:
            files.save(values[:own], done)
        received += exchange(values)


def _exchange(boundary: _Boundary) -> Callable[[Tensor], int]:
    """Return what fetches the values of the nodes of other processes, in place, and returns the bytes received."""
    asked = torch.from_numpy(boundary.counts)
    given = torch.empty_like(asked)
    with peers():
        dist.all_to_all_single(given, asked)
        wanted = torch.empty(int(given.sum()), dtype=torch.int64)
        dist.all_to_all_single(wanted, torch.from_numpy(boundary.others), given.tolist(), asked.tolist())
    place = torch.from_numpy(np.searchsorted(boundary.own, wanted.numpy()))
    own = len(boundary.own)

    def exchange(values: Tensor) -> int:
        with peers():
            dist.all_to_all_single(values[own:], values[place], asked.tolist(), given.tolist())
        return values[own:].numel() * values.element_size()

    return exchange


class _Checkpoints:
    """Values of this process's rows after some steps, in files of which the last two are kept."""

    def __init__(self, folder: Path, key: str, every: int) -> None:
        self.folder, self.stem, self.every = folder, f"{key}-{dist.get_rank()}", every

    def _files(self) -> dict[int, Path]:
        return {int(path.stem.rpartition(".")[2]): path for path in self.folder.glob(f"{self.stem}.*.npy")}

    def load(self, values: Tensor) -> int:
        """Read the values of the last step that all processes have; return its number, 0 where there is none."""
        done = max(set.intersection(*gathered(set(self._files()))), default=0)
        if done:
            path = self._files()[done]
            with reading(path):
                values[:] = torch.from_numpy(np.load(path, allow_pickle=False))
        return done

    def save(self, values: Tensor, done: int) -> None:
        """Write the values, where it is time."""
        if done % self.every:
            return
        with atomic_write(self.folder / f"{self.stem}.{done}.npy") as file:
            np.save(file, values.numpy())
        for step in sorted(self._files())[:-2]:
            self._files()[step].unlink()

    def remove(self) -> None:
        """Remove all files of this process."""
        for path in self._files().values():
            path.unlink()
