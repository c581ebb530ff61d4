"""Speed of `graphnoise.propagate` beside the same steps in torch, SciPy, torch_geometric and torch-scatter."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text
from torch import Tensor
from torch.utils.benchmark import timer

from graphnoise import checks, propagation
from graphnoise.bench.grid import Names, each, flag, integers, one_of, option, real, some_of
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.datasets.sampling import draw_distinct, triangle
from graphnoise.datasets.synthetic import power_law
from graphnoise.errors import InputError
from graphnoise.graph import Graph
from graphnoise.kernels import _native
from graphnoise.kernels.csr import matrix
from graphnoise.kernels.propagate import cpu as propagate_cpu
from graphnoise.resources import available_memory, cpu_count

# Nodes and arcs by name; of the smallest graph with an arc ("pair"), a call is nothing but its overhead.
SIZES = {"pair": (2, 2), "cora": (2_708, 10_556), "1e5": (10_000, 100_000), "arxiv": (169_343, 2_332_486)}
SIZES["1e7"] = (1_000_000, 10_000_000)
DEGREES = ("uniform", "power-law")
INDEX = ("int64", "int32")
ALPHA = 0.9
CLOCKS = {"wall": timer, "cpu": time.process_time}
# Largest difference over the largest expected entry. Ten steps of bfloat16 with a weight of .9 may round ten times.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 3e-2}
# Columns that are verified: they do not depend on each other.
VERIFIED_COLUMNS = 6
NOTE = (
    "per step: median and quartiles over rounds; a baseline's column is its time over the library's within each round\n"
    "(above 1: the library is faster); gather: only fetching the rows; GB/s: bytes of the gather, beside a memcpy"
)
Run = Callable[[int], Tensor]
Flags = Annotated[tuple[bool, ...], each(flag)]
Widths = Annotated[tuple[int, ...], integers(1, 65_536)]
Threads = Annotated[tuple[int, ...], integers(1, cpu_count())]


class PropagateOptions(Options):
    """Options of `graphnoise bench speed propagate`."""

    size: Names = option(("cora", "arxiv"), "pair, cora, 1e5, arxiv, 1e7, or NODES:ARCS.")
    degrees: Annotated[tuple[str, ...], some_of(*DEGREES)] = option(("power-law",), "Uniform or power-law.")
    weighted: Flags = option((False,), "Whether arcs have weights.")
    dtype: Annotated[tuple[str, ...], some_of(*TOLERANCE)] = option(("float32",), "float32, float64, bfloat16.")
    backward: Flags = option((False,), "Whether the gradient is computed as well.")
    busy: Flags = option((False,), "Whether a parallel torch operator runs before each call.")
    tier: Names = option(("auto",), "Tiers; auto: the one that the data choose.")
    width: Widths = option((7, 40), "Columns.")
    threads: Threads = option((min(2, cpu_count()),), "Numbers of threads.")
    steps: Annotated[tuple[int, ...], integers(1, 100_000)] = option((10,), "Steps per call.")
    device: Annotated[str, one_of("cpu", "cuda")] = option("cpu", "cpu or cuda.")
    baselines: Names = option(("all",), "Baselines, or none.", protocol=True)
    limit: Annotated[float, real(0.01, 1e6)] = option(10.0, "Seconds that one run may take in a case.", protocol=True)
    clock: Annotated[str, one_of(*CLOCKS)] = option("wall", "wall, or cpu: time on one core.", protocol=True)


def read_size(name: str, text: str) -> tuple[int, int]:
    """Return nodes and arcs of a size: one of `SIZES`, or NODES:ARCS."""
    nodes, colon, arcs = text.partition(":")
    if not colon:
        return SIZES[checks.choice(name, text, SIZES)]
    if not (nodes.isdigit() and arcs.isdigit()):
        checks.fail(name, "NODES:ARCS", repr(text))
    count = checks.integer(f"{name}: nodes", int(nodes), 2, 100_000_000)
    if checks.integer(f"{name}: arcs", int(arcs), 2, min(2_000_000_000, count * (count - 1))) % 2:
        checks.fail(f"{name}: arcs", "an even number, two per edge", arcs)
    return count, int(arcs)


@functools.lru_cache(maxsize=1)
def draw_graph(nodes: int, arcs: int, degrees: str, seed: int) -> Tensor:
    """Return the arcs (source, target) of an undirected graph, exactly so many."""
    if degrees == "power-law":
        edge_index: Tensor = power_law(nodes, arcs, seed=seed).edge_index
        return edge_index
    pairs, edges = np.array([nodes * (nodes - 1) // 2]), np.array([arcs // 2])
    low, high = triangle(draw_distinct(np.random.default_rng(seed), pairs, edges))
    return torch.from_numpy(np.stack([np.concatenate([low, high]), np.concatenate([high, low])]))


@dataclass(frozen=True)
class Problem:
    """A graph, normalised ("sym"), with Y0 of shape [num_nodes, width], and G or None where no gradient is wanted."""

    graph: Graph
    start: Tensor
    gradient: Tensor | None = None

    def run(self, forward: Callable[[Tensor, int], Tensor]) -> Run:
        """Return what is timed: forward alone, or forward and the gradient of the sum of Y ⊙ G by Y0."""
        if self.gradient is None:
            return lambda steps: forward(self.start, steps)

        def both(steps: int) -> Tensor:
            start = self.start.detach().requires_grad_()
            return torch.autograd.grad(forward(start, steps), start, self.gradient)[0]

        return both

    def loop(self, step: Callable[[Tensor, Tensor], Tensor]) -> Run:
        """Return the loop over y <- step(y, (1 - alpha) Y0), the second made once where there is no gradient."""
        fixed = (1 - ALPHA) * self.start if self.gradient is None else None

        def forward(start: Tensor, steps: int) -> Tensor:
            base, y = (1 - ALPHA) * start if fixed is None else fixed, start
            for _ in range(steps):
                y = step(y, base)
            return y

        return self.run(forward)

    def matrix(self, index: str, factor: float = 1.0, transposed: bool = False) -> Tensor:
        """Return S or its transpose in torch's CSR format, times a factor."""
        graph, kind = self.graph.transposed if transposed else self.graph, getattr(torch, index)
        values = graph.values(torch.float64).mul(factor).to(self.start.dtype)
        return matrix(graph.rowptr.to(kind), graph.col.to(kind), values, (graph.num_nodes, graph.num_nodes))


def problem(case: Case, seed: int) -> Problem:
    """Draw the graph and the values of a case: weights in [.5, 1.5), Y0 and G uniform in [0, 1)."""
    nodes, arcs = read_size("size", case["size"])
    edge_index, generator = draw_graph(nodes, arcs, case["degrees"], seed), torch.Generator().manual_seed(seed)
    dtype, device = getattr(torch, case["dtype"]), case["device"]
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    weight = 0.5 + torch.rand(arcs, dtype=exact, generator=generator) if case["weighted"] else None
    graph = Graph.from_edge_index(edge_index, nodes, weight).normalise("sym").to(device)
    start, gradient = (torch.rand(nodes, case["width"], generator=generator).to(device, dtype) for _ in range(2))
    return Problem(graph, start, gradient if case["backward"] else None)


def library(problem: Problem, tier: str) -> tuple[Run, str]:
    """Return the library's own call, with its checks, and the tier that runs it."""
    backend = None if tier == "auto" else tier

    def forward(start: Tensor, steps: int) -> Tensor:
        return propagation.propagate(problem.graph, start, alpha=ALPHA, num_steps=steps, backend=backend).y

    first = propagation.propagate(problem.graph, problem.start, alpha=ALPHA, num_steps=1, backend=backend)
    return problem.run(forward), first.backend


def _addmm(problem: Problem) -> dict[str, Run]:
    """Torch's CSR product with alpha and beta, into a fresh tensor or into one of two buffers in turn.

    With a gradient: by torch's own rule, which transposes S at every step, or by the same steps from G over S^T, kept.
    """
    fresh, buffers = (None, None), (torch.empty_like(problem.start), torch.empty_like(problem.start))

    def forward(S: Tensor, outputs: tuple[Tensor | None, ...], start: Tensor, steps: int) -> Tensor:
        y = start
        for place in range(steps):
            y = torch.addmm(start, S, y, beta=1 - ALPHA, alpha=ALPHA, out=outputs[place % 2])
        return y

    variants: dict[str, Run] = {}
    for index in INDEX:
        on_fresh = functools.partial(forward, problem.matrix(index), fresh)
        variants[index] = problem.run(on_fresh)
        if problem.gradient is None:
            variants[f"{index}, out="] = problem.run(functools.partial(forward, problem.matrix(index), buffers))
        else:
            back = functools.partial(forward, problem.matrix(index, transposed=True), fresh, problem.gradient)
            both = functools.partial(lambda forth, back, steps: (forth(problem.start, steps), back(steps))[1], on_fresh)
            variants[f"{index}, transpose kept"] = functools.partial(both, back)
    return variants


def _spmm_reduce(problem: Problem) -> dict[str, Run]:
    """`torch.sparse.mm(…, reduce="sum")`, which torch_geometric takes for CSR tensors, then the sum."""

    def variant(index: str) -> Run:
        S = problem.matrix(index, ALPHA)
        return problem.loop(lambda y, base: torch.sparse.mm(S, y, "sum").add_(base))

    # With int32, torch 2.13 returns a wrong gradient on large graphs.
    return {index: variant(index) for index in INDEX if problem.gradient is None or index == "int64"}


def _scipy(problem: Problem) -> dict[str, Run]:
    """SciPy's CSR product, then the sum; on one thread."""
    start = problem.start.numpy()
    S, base = (ALPHA * problem.graph.to_scipy()).astype(start.dtype), (1 - ALPHA) * start

    def run(steps: int) -> Tensor:
        y = start
        for _ in range(steps):
            y = S @ y
            y += base
        return torch.from_numpy(y)

    return {"one thread": run}


def _pyg(problem: Problem) -> dict[str, Run]:
    """torch_geometric's message passing over arcs, as its APPNP does it with the norm cached."""
    from torch_geometric.nn import MessagePassing

    class Conv(MessagePassing):  # type: ignore[misc]
        def forward(self, x: Tensor, arcs: Tensor, edge_weight: Tensor) -> Tensor:
            return self.propagate(arcs, x=x, edge_weight=edge_weight)  # type: ignore[no-any-return]

        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return edge_weight.view(-1, 1) * x_j

    arcs, conv, weight = problem.graph.edge_index, Conv(aggr="add"), problem.matrix("int64", ALPHA).values()
    return {"scatter": problem.loop(lambda y, base: conv(y, arcs, weight) + base)}


def _scatter(problem: Problem) -> dict[str, Run]:
    """torch-scatter, over arcs or over rows."""
    package, graph, n = import_module("torch_scatter"), problem.graph, problem.graph.num_nodes
    weight, row, col, rowptr = problem.matrix("int64", ALPHA).values()[:, None], graph.row, graph.col, graph.rowptr
    add, segment = package.scatter_add, package.segment_csr
    return {
        "scatter_add": problem.loop(lambda y, base: add(y[col] * weight, row, 0, dim_size=n) + base),
        "segment_csr": problem.loop(lambda y, base: segment(y[col] * weight, rowptr, reduce="sum") + base),
    }


@dataclass(frozen=True)
class Baseline:
    """The same steps in the code of others, as their users would write it best; what can be made once is made once.

    Attributes:
        make: Returns its variants by name; the fastest is measured.
        dtypes: Types of values it takes.
        devices: Devices it runs on.
        gradient: Whether it has a gradient.
        package: What must be installed.
        copies: Arrays of arcs × width that it makes per step.
    """

    make: Callable[[Problem], dict[str, Run]]
    dtypes: tuple[str, ...] = ("float32", "float64")
    devices: tuple[str, ...] = ("cpu", "cuda")
    gradient: bool = True
    package: str = "torch"
    copies: int = 0

    def check(self, case: Case, arcs: int) -> None:
        """Raise `NotMeasurableError` where it cannot take part in a case."""
        if find_spec(self.package) is None:
            raise NotMeasurableError(f"{self.package.replace('_', '-')} is not installed")
        if case["dtype"] not in self.dtypes or case["device"] not in self.devices:
            raise NotMeasurableError(f"does not take {case['dtype']} on {case['device']}")
        if case["backward"] and not self.gradient:
            raise NotMeasurableError("has no gradient")
        size = arcs * case["width"] * itemsize(case) * (case["steps"] if case["backward"] else 1)
        if self.copies * size > free_memory(case["device"]):
            raise NotMeasurableError("does not fit into memory")


BASELINES = {
    "addmm": Baseline(_addmm),
    "spmm-reduce": Baseline(_spmm_reduce, dtypes=("float32", "float64", "bfloat16"), devices=("cpu",)),
    "scipy": Baseline(_scipy, devices=("cpu",), gradient=False, package="scipy"),
    "pyg": Baseline(_pyg, package="torch_geometric", copies=2),
    "scatter": Baseline(_scatter, package="torch_scatter", copies=2),
}


def gather(problem: Problem, threads: int) -> Run | None:
    """Return a loop that gathers the rows and does nothing else, from the arrays that the library reads; or None."""
    graph, start = problem.graph, problem.start
    if start.dtype != torch.float32 or start.device.type != "cpu" or problem.gradient is not None:
        return None
    # Padded as far as the kernel reads ahead; values that the library has put into large pages.
    rowptr, col = propagate_cpu.padded_rows(graph.arcs(torch.float32))
    y, out = propagation.propagate(graph, start, alpha=0.0, num_steps=1).y, torch.empty(graph.num_nodes)
    if not torch.equal(y, start):
        raise VerificationError("library: expected the values themselves with alpha 0, got others")

    def run(steps: int) -> Tensor:
        for _ in range(steps):
            arrays = (rowptr.data_ptr(), col.data_ptr(), y.data_ptr(), out.data_ptr())
            _native.gather_floor(*arrays, graph.num_nodes, y.shape[1], threads)
        return out

    return run


def reference(problem: Problem, steps: int, columns: Sequence[int]) -> NDArray[np.float64]:
    r"""Return columns of what a run returns, in float64 by SciPy's product.

    With p the polynomial of the steps, Y = p(S) Y0, and the gradient of the sum of Y ⊙ G by Y0 is p(S^T) G: the same
    steps from G over the transposed graph.
    """
    S, first = problem.graph.to("cpu").to_scipy(), problem.start if problem.gradient is None else problem.gradient
    y = y0 = first[:, columns].double().cpu().numpy()
    for _ in range(steps):
        y = ALPHA * ((S if problem.gradient is None else S.T) @ y) + (1 - ALPHA) * y0
    return np.asarray(y)


def verify(name: str, problem: Problem, runs: Mapping[str, Run], steps: int, dtype: str) -> float:
    """Compare variants of a run with the reference after so many steps; return the largest difference."""
    worst, columns = 0.0, sorted(set(np.linspace(0, problem.start.shape[1] - 1, VERIFIED_COLUMNS).astype(int).tolist()))
    expected, limit = reference(problem, steps, columns), TOLERANCE[dtype]
    for variant, run in runs.items():
        y = run(steps)
        if y.shape != problem.start.shape:
            raise VerificationError(f"{name} ({variant}): expected shape {problem.start.shape}, got {y.shape}")
        gap = float(np.abs(y[:, columns].detach().double().cpu().numpy() - expected).max() / np.abs(expected).max())
        # NaN is no agreement.
        if not gap <= limit:
            what = "values" if problem.gradient is None else "gradients"
            wanted = f"expected {what} within {limit:g} of the float64 reference"
            raise VerificationError(f"{name} ({variant}): {wanted}, got {gap:.2g}")
        worst = max(worst, gap)
    return worst


def itemsize(case: Case) -> int:
    """Return the bytes of a value."""
    dtype: torch.dtype = getattr(torch, case["dtype"])
    return dtype.itemsize


def free_memory(device: str) -> int:
    """Return the bytes of memory that are free."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else available_memory()


def traffic(nodes: int, arcs: int, width: int, itemsize: int, weighted: bool) -> int:
    """Return the bytes of a step: a column and a row of Y per arc; Y0, result and end per node; weights or scales."""
    row, values = width * itemsize, arcs if weighted else 2 * nodes
    return arcs * (4 + row) + nodes * (8 + 2 * row) + values * max(4, itemsize)


def after_torch(run: Run, device: str) -> Callable[[int], float]:
    """Return what gives the seconds of a run right after a parallel torch operator, as such precede it in real use."""
    x, y = (torch.ones(1 << 18, device=device) for _ in range(2))

    def timed(steps: int) -> float:
        torch.mul(x, x, out=y)
        began = timer()
        run(steps)
        return timer() - began

    return timed


class Propagate(Operation):
    """Steps of label propagation."""

    name, options = "propagate", PropagateOptions
    help = "Time a step of graphnoise.propagate beside the same step in torch, SciPy and torch_geometric."

    def cases(self, options: PropagateOptions) -> list[Case]:
        """Return all combinations of the options' values."""
        for name in options.baselines:
            checks.choice("baselines", name, (*BASELINES, "all", "none"))
        for size in options.size:
            read_size("size", size)
        if options.device == "cuda" and not torch.cuda.is_available():
            checks.fail("device", "a device that is there", "'cuda', and torch sees no CUDA device")
        if options.clock == "cpu" and (options.threads != (1,) or True in options.busy or options.device != "cpu"):
            checks.fail("clock", "wall where there are several threads, a busy pool or a CUDA device", "cpu")
        return super().cases(options)

    def measure(self, case: Case, options: PropagateOptions, record: Record, say: Say) -> None:
        """Verify the library and the baselines, then time them beside a gather and a memcpy."""
        nodes, arcs = read_size("size", case["size"])
        steps, threads, device = case["steps"], case["threads"], case["device"]
        # A dozen arrays of values, a dozen of arcs.
        needed = nodes * case["width"] * itemsize(case) * (8 + 2 * steps * case["backward"]) + arcs * 12 * 8
        if needed > min(free_memory("cpu"), free_memory(device)):
            raise NotMeasurableError(f"needs about {needed / 1e9:.1f} GB of memory, more than is free")
        torch.set_num_threads(threads)
        say("verifying")
        values = problem(case, options.seed)
        try:
            run, tier = library(values, case["tier"])
        except InputError as error:
            raise NotMeasurableError(str(error).replace("backend:", "tier:", 1)) from None
        record |= {"nodes": nodes, "arcs": arcs, "tier": tier, "gaps": {}}
        try:
            record["gaps"]["library"] = verify("library", values, {tier: run}, steps, case["dtype"])
        except harness.ERRORS as error:
            raise VerificationError(f"library: {harness.raised(error)}") from error

        def timed(name: str, run: Run, threads: int = threads) -> TimedRun:
            call: Callable[[int], Any] = after_torch(run, device) if case["busy"] else run
            return TimedRun(name, call, steps, threads, self_timed=case["busy"], clock=CLOCKS[options.clock])

        def variants(name: str) -> dict[str, TimedRun]:
            BASELINES[name].check(case, arcs)
            made = BASELINES[name].make(values)
            # A slow one need not take all steps.
            record["gaps"][name] = verify(name, values, made, min(2, steps), case["dtype"])
            return {variant: timed(name, run) for variant, run in made.items()}

        runs = [timed("library", run)] + [timed("library, 1 thread", run, threads=1)] * (threads > 1)
        for name in (name for name in BASELINES if {name, "all"} & set(options.baselines)):
            say(f"verifying {name}")
            runs += harness.baseline(name, functools.partial(variants, name), record, options.limit / options.rounds)
        floor, (copy, copied) = gather(values, threads), harness.memcpy(device)
        runs += [timed("gather", floor)] if floor is not None else []
        runs.append(replace(copy, clock=CLOCKS[options.clock]))
        times = record["times"] = harness.interleave(runs, options.rounds, options.seed, say)
        harness.compare(times, "library", times)
        if not case["backward"]:
            moved = traffic(nodes, arcs, case["width"], itemsize(case), case["weighted"])
            rate, top = harness.per_second(times, "library", moved), harness.per_second(times, "copy", copied)
            record["bandwidth"] = {"library": harness.quartiles(rate), "share": harness.ratio(rate, top)}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table per graph and setting."""
        yield Text(NOTE, style="dim")
        groups: dict[str, list[Record]] = {}
        for record in sorted(records, key=lambda r: (r["case"]["width"], r["case"]["threads"])):
            groups.setdefault(_title(record), []).append(record)
        for title in dict.fromkeys(map(_title, records)):
            yield headline(title)
            yield _steps(groups[title])
        yield from tables.notes(records)


def _title(record: Record) -> str:
    """Return what the rows of a table have in common."""
    case = record["case"]
    words = [f"{case['size']}: {record['nodes']:,} nodes, {record['arcs']:,} arcs", f"{case['degrees']} degrees"]
    words += ["weighted" if case["weighted"] else "unweighted", case["dtype"], f"tier {record['tier']}"]
    words += [case["device"]] * (case["device"] != "cpu") + [f"calls of {case['steps']}"] * (case["steps"] != 10)
    words += (
        ["CPU time"] * (record["protocol"].get("clock") == "cpu")
        + ["forward and gradient"] * case["backward"]
        + ["right after a torch operator"] * case["busy"]
    )
    return ", ".join(words)


def _steps(records: Sequence[Record]) -> RenderableType:
    cells: dict[str, Any] = {
        "width": lambda r: r["case"]["width"],
        "threads": lambda r: r["case"]["threads"],
        "library, per step": lambda r: tables.duration(r, "library"),
        "ns per arc": lambda r: f"{1e9 * r['times']['library']['seconds']['median'] / r['arcs']:.3g}",
    }
    for name in sorted({name for record in records for name, entry in record["times"].items() if "ratio" in entry}):
        cells[name] = functools.partial(tables.ratio, name=name)
    if "bandwidth" in records[0]:
        cells["GB/s"] = lambda r: f"{r['bandwidth']['library']['median'] / 1e9:.1f}"
        cells["of copy"] = lambda r: f"{100 * r['bandwidth']['share']['median']:.0f} %"
    return tables.table(cells, records, left=0)
