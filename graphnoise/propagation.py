"""Propagation of labels over a graph: `propagate`, and a drop-in for torch_geometric's `LabelPropagation`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphnoise import checks, node_order, solvers
from graphnoise.graph import NORMALISATIONS, Graph
from graphnoise.kernels.arcs import accumulation_dtype
from graphnoise.kernels.propagate import choose, run

MODES = ("restart", "lazy")


@dataclass(frozen=True)
class Propagation:
    """What `propagate` returns.

    Attributes:
        y: Propagated values, shape [num_nodes, num_classes] (or [num_nodes]).
        steps: Steps taken: products with S, whatever the solver.
        residual: Largest change of any entry in the last step; infinite if there was none. "cg" and "chebyshev" end
            with a plain step of "restart", so that it means the same for them.
        converged: Whether `residual` is at most `tol` (at most 1e-6 where no `tol` was given).
        backend: The tier that ran.
    """

    y: Tensor
    steps: int
    residual: float
    converged: bool
    backend: str


def propagate(
    graph: Graph,
    y: Tensor,
    *,
    alpha: float,
    num_steps: int,
    mode: str = "restart",
    normalisation: str | None = None,
    mask: Tensor | None = None,
    clamp: tuple[float, float] | None = None,
    tol: float | None = None,
    backend: str | None = None,
    solver: str = "iterate",
    order: str | Tensor | None = None,
) -> Propagation:
    r"""Mix each node's values with its neighbours', again and again.

    With S the normalised matrix of the graph and Y0 = y (rows outside `mask` set to 0), one step is

        restart:  Y <- alpha · S Y + (1 - alpha) · Y0      limit (1 - alpha) (I - alpha S)^-1 Y0
        lazy:     Y <- alpha · S Y + (1 - alpha) · Y       after T steps ((1 - alpha) I + alpha S)^T Y0

    followed by a clamp of every entry to the range `clamp`, if given. `alpha` is always the weight of the
    **neighbours**: ERASE's published .6 in its lazy walk is the node's own weight, so `alpha=.4` here.
    In "restart" mode the distance to the limit is at most alpha / (1 - alpha) times the last change, in a norm in
    which S does not expand (the maximum norm for "row").

    Args:
        graph: The graph; an arc (j, i) lets i hear j.
        y: Values, finite, shape [num_nodes, num_classes] or [num_nodes], of any floating type. Sums of 16-bit types are
            float32, and each step rounds once. Gradients pass to y and to the weights of the graph.
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Steps at most, at least 0.
        mode: "restart" or "lazy".
        normalisation: "sym", "row", "col" or "none" (weights as they are); by default as the graph is
            normalised already, else "sym".
        mask: Nodes whose rows of y are known (Boolean, or positions); all other rows start from 0 and are not read.
        clamp: Range (low, high) that every entry is kept in after each step.
        tol: Stop as soon as no entry changes by more than this in a step.
        backend: The tier; None lets the data decide. "native" (CPU; float32, float64, bfloat16), "triton" (CUDA;
            float32, float16, bfloat16), "reference" (torch's own sparse product, anywhere), or "scatter"
            (torch-scatter).
        solver: "iterate" takes the steps above. The others go to the limit of "restart" in far fewer products where
            alpha is near 1: "cg" (conjugate gradients, a step length for each column) and "chebyshev" (fixed weights,
            no inner products). They need an undirected graph with weights of at least 0, normalised; alpha below 1; no
            clamp; float32 or float64. What they stop at before the limit is not what "iterate" stops at, so set `tol`,
            to (1 - alpha) times the error allowed, and give `num_steps` room. Gradients of "iterate" and "chebyshev"
            are those of the steps taken; those of "cg" are the limit's, from a second solution over the transpose, with
            a tolerance as fine beside the gradient as `tol` is beside y.
        order: Nodes are renamed on the way in and back on the way out: "degree", "rcm" or "community"
            (`node_order.order`), or a permutation. Made once and kept with the graph. The result is the same to
            rounding. It may spare time where wide values exceed the cache and the graph has parts that its own order
            hides; it costs two copies of y and, the first time, from a part of a second to minutes. So it is off
            unless asked for: measure it (`benchmarks/speed/reordering.py`).

    Raises:
        InputError: An argument out of its range; y of the wrong length or not finite; values that grow beyond their
            type; a graph normalised otherwise; a backend or a solver that cannot serve.

    Example:
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> result = propagate(path, torch.eye(3)[:, [0, 2]], alpha=0.5, num_steps=100, normalisation="row", tol=1e-6)
        >>> result.converged, result.y.argmax(1).tolist()
        (True, [0, 0, 1])

        >>> settings = {"alpha": 0.99, "num_steps": 2000, "tol": 1e-5}
        >>> [propagate(path, torch.eye(3).double(), solver=name, **settings).steps for name in ("iterate", "cg")]
        [1146, 4]

    Source:
        Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2 (restart, "sym"). "cg": Hestenes
        and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952, section 3. "chebyshev": Golub
        and Varga, "Chebyshev semi-iterative methods", 1961, part I.
    """
    if not isinstance(graph, Graph):
        checks.fail("graph", "a Graph (Graph.from_edge_index makes one)", type(graph).__name__)
    prepared = _normalised(graph, normalisation)
    values = checks.tensor("y", y)
    if not values.is_floating_point():
        checks.fail("y", "floating-point values (one-hot rows for class labels)", f"values of type {values.dtype}")
    if values.dim() not in (1, 2) or values.shape[0] != graph.num_nodes:
        checks.fail("y", f"shape [{graph.num_nodes}] or [{graph.num_nodes}, num_classes]", tuple(values.shape))
    if values.device != graph.device:
        checks.fail("y", f"a tensor on the graph's device ({graph.device})", values.device)
    weight = checks.rate("alpha", alpha)
    steps = min(checks.integer("num_steps", num_steps, 0), 2**62)  # more than anyone waits for
    mode = checks.choice("mode", mode, MODES)
    bounds = None if clamp is None else _range(clamp)
    limit = None if tol is None else checks.real("tol", tol, 0.0)
    keep = None if mask is None else checks.mask("mask", mask, graph.num_nodes).to(values.device)
    tier = choose(backend, values)
    solver = checks.choice("solver", solver, solvers.SOLVERS)
    if order is not None:
        other = node_order.reordered(graph, order)
        found = propagate(
            other.graph,
            values.index_select(0, other.order),
            alpha=weight,
            num_steps=steps,
            mode=mode,
            normalisation=normalisation,
            mask=None if keep is None else keep[other.order],
            clamp=bounds,
            tol=limit,
            backend=tier,
            solver=solver,
        )
        return replace(found, y=found.y.index_select(0, other.position))
    if solver != "iterate":
        solvers.check(solver, graph, prepared, values, weight, mode, clamped=bounds is not None)

    columns = values.unsqueeze(1) if values.dim() == 1 else values
    lazy = mode == "lazy"
    apart = keep is not None and (lazy or solver != "iterate")
    start = _masked(columns, keep) if apart and keep is not None else columns
    taken: int | Tensor
    change: float | Tensor
    if solver == "iterate":
        out, taken, change = run(
            prepared.arcs(accumulation_dtype(values.dtype)),
            start if lazy else None,
            None if lazy else start,
            mask=None if lazy else keep,
            alpha=weight,
            beta=1 - weight,
            num_steps=steps,
            clamp=bounds,
            tol=limit,
            tier=tier,
        )
    else:
        out, taken, change = solvers.solve(solver, prepared, start, alpha=weight, num_steps=steps, tol=limit, tier=tier)
    residual = float(change)
    if math.isnan(residual) or steps == 0:
        checks.finite("y", values.detach() if keep is None else _masked(columns, keep).detach())
    if math.isnan(residual):
        checks.fail("y", f"values that stay in the range of {values.dtype}", f"larger ones after {int(taken)} steps")
    return Propagation(out.view_as(values), int(taken), residual, residual <= (1e-6 if limit is None else limit), tier)


def _normalised(graph: Graph, normalisation: str | None) -> Graph:
    if normalisation is None:
        return graph if graph.normalisation is not None else graph.normalise("sym")
    kind = checks.choice("normalisation", normalisation, (*NORMALISATIONS, "none"))
    if kind != "none":
        return graph.normalise(kind)
    if graph.normalisation is not None:
        checks.fail("normalisation", f"{graph.normalisation!r}, as the graph is normalised", "'none'")
    return graph


def _range(clamp: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(clamp, tuple | list) or len(clamp) != 2:
        checks.fail("clamp", "a pair (low, high)", repr(clamp))
    low, high = checks.real("clamp[0]", clamp[0]), checks.real("clamp[1]", clamp[1])
    if low > high:
        checks.fail("clamp", "low at most high", f"({low:g}, {high:g})")
    return low, high


def _masked(columns: Tensor, keep: Tensor) -> Tensor:
    return torch.where(keep.unsqueeze(1), columns, columns.new_zeros(()))


class LabelPropagation(torch.nn.Module):
    r"""Label propagation with torch_geometric's own signature and results.

    `Y <- clamp_[0,1](alpha · D^-1/2 A D^-1/2 Y + (1 - alpha) · Y0)`, `num_layers` times, without self-loops.

    Args:
        num_layers: Number of steps, at least 0.
        alpha: Weight of the neighbours, in [0, 1].

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> model = LabelPropagation(num_layers=3, alpha=0.9)
        >>> model(torch.tensor([0, 0, 1]), edge_index, mask=torch.tensor([True, False, True])).argmax(1).tolist()
        [0, 0, 1]

    Source:
        Zhu and Ghahramani, "Learning from Labeled and Unlabeled Data with Label Propagation", 2002; the signature is
        that of `torch_geometric.nn.LabelPropagation`.
    """

    def __init__(self, num_layers: int, alpha: float) -> None:
        super().__init__()
        self.num_layers = checks.integer("num_layers", num_layers, 0)
        self.alpha = checks.rate("alpha", alpha)

    @torch.no_grad()
    def forward(
        self,
        y: Tensor,
        edge_index: Tensor | Graph,
        mask: Tensor | None = None,
        edge_weight: Tensor | None = None,
        post_step: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Propagate labels.

        Args:
            y: Class labels (integers, shape [num_nodes], or int64, shape [num_nodes, 1]) or soft labels (any real type,
                shape [num_nodes, num_classes]; integers and Booleans count as 0.0, 1.0, ...).
            edge_index: Arcs, shape [2, num_arcs], or a `Graph`.
            mask: Nodes whose labels are known; all others start from 0.
            edge_weight: Weights of the arcs, used as they are (float64 ones give a float64 result); by default the arcs
                are normalised symmetrically.
            post_step: Applied after each step in place of the clamp to [0, 1].

        Returns:
            Soft labels, shape [num_nodes, num_classes].

        Raises:
            InputError: As `propagate`; or `edge_weight` next to a `Graph`, which holds its own.
        """
        if isinstance(edge_index, Graph) and edge_weight is not None:
            checks.fail("edge_weight", "none next to a Graph, which holds its own weights", "weights")
        values = checks.tensor("y", y)
        if values.dim() not in (1, 2):
            checks.fail("y", "shape [num_nodes] or [num_nodes, num_classes]", f"shape {tuple(values.shape)}")
        if not values.is_floating_point():
            if values.dim() == 1 or (values.dtype == torch.int64 and values.shape[1] == 1):
                values = torch.nn.functional.one_hot(checks.labels("y", values.reshape(-1)))
            values = values.to(torch.get_default_dtype())
        if edge_weight is not None:
            edge_weight = checks.tensor("edge_weight", edge_weight).detach()
            values = values.to(torch.promote_types(values.dtype, edge_weight.dtype))
        if isinstance(edge_index, Graph):
            graph, kind = edge_index, None
        else:
            graph = Graph.from_edge_index(edge_index, values.shape[0], edge_weight)
            kind = "sym" if edge_weight is None else "none"
        if post_step is None:
            result = propagate(
                graph,
                values,
                alpha=self.alpha,
                num_steps=self.num_layers,
                normalisation=kind,
                mask=mask,
                clamp=(0.0, 1.0),
            )
            return result.y
        start = values if mask is None else _masked(values, checks.mask("mask", mask, values.shape[0]))
        out = start.clone()  # never the caller's own tensor
        for _ in range(self.num_layers):
            step = propagate(graph, out, alpha=1.0, num_steps=1, normalisation=kind).y
            out = post_step(self.alpha * step + (1 - self.alpha) * start)
        return out

    def __repr__(self) -> str:
        return f"LabelPropagation(num_layers={self.num_layers}, alpha={self.alpha})"
