"""Label propagation: `propagate`, and a replacement for torch_geometric's `LabelPropagation`."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks, node_order, solvers
from graphnoise.containers import graph_of_rows, warn_of_names
from graphnoise.errors import InputError
from graphnoise.graph import NORMALISATIONS, Graph
from graphnoise.io import reading
from graphnoise.kernels.arcs import accumulation_dtype
from graphnoise.kernels.propagate import PropagationSettings, choose, run
from graphnoise.labels import check_entries, class_positions, read_labels
from graphnoise.out_of_core import DTYPES, BlockPropagation, check_bound
from graphnoise.resources import available_memory, byte_count
from graphnoise.stored import tensor_of
from graphnoise.typing import GraphLike, LabelsLike

MODES = ("restart", "lazy")


@dataclass(frozen=True)
class Propagation:
    """Result of `propagate`.

    Attributes:
        y: Propagated values, shape [num_nodes, num_classes] (or [num_nodes]).
        steps: Steps taken: products with S, whatever the solver.
        residual: Largest change of any entry in the last step; infinite if there was none. "cg" and "chebyshev" end
            with a plain step of "restart", so that it is the same quantity for them.
        converged: Whether `residual` is at most `tol` (1e-6 if `tol` is None).
        backend: The tier that ran.
        names: The caller's names of the nodes, one per row of y, or None where the graph has no names.
    """

    y: Tensor
    steps: int
    residual: float
    converged: bool
    backend: str
    names: Sequence[Hashable] | None = None

    @property
    def reached(self) -> Tensor:
        """Nodes that a value other than 0 has reached, Boolean, shape [num_nodes]."""
        return (self.y.reshape(len(self.y), -1) != 0).any(1)

    def predict(self, fallback: int = -1) -> Tensor:
        """Return the class of the largest value of each node, and `fallback` where no value has arrived.

        Returns:
            Positions of columns, int64, shape [num_nodes].

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
            >>> labels = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
            >>> propagate(graph, labels, alpha=0.9, num_steps=5).predict().tolist()
            [1, 1, -1]
        """
        return predicted_classes(self.y, fallback)


def predicted_classes(y: Tensor, fallback: int = -1) -> Tensor:
    """Return the column of the largest value of each row, and `fallback` for a row of zeros, int64, shape [n].

    Raises:
        InputError: y is no matrix with columns, or the fallback is no integer.
    """
    if y.dim() != 2 or y.shape[1] == 0:
        checks.fail("y", "values of shape [num_nodes, num_classes]", f"shape {tuple(y.shape)}")
    fallback = checks.integer("fallback", fallback)
    return torch.where((y != 0).any(1), y.argmax(1), fallback)


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
    backend: str | None = None,
    solver: str = "iterate",
    order: str | Tensor | None = None,
    memory: int | str | None = None,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Propagation:
    r"""Propagate values over a graph: each step mixes the values of each node with those of its neighbours.

    With S the normalised matrix of the graph and Y0 = y (rows outside `mask` set to 0), one step is

        restart:  Y <- alpha · S Y + (1 - alpha) · Y0      limit (1 - alpha) (I - alpha S)^-1 Y0
        lazy:     Y <- alpha · S Y + (1 - alpha) · Y       after T steps ((1 - alpha) I + alpha S)^T Y0

    followed by a clamp of every entry to the range `clamp`, if given. `alpha` is always the weight of the
    **neighbours**: ERASE's published .6 in its lazy walk is the node's own weight, so `alpha=.4` here.
    In "restart" mode the distance to the limit is at most alpha / (1 - alpha) times the last change, in a norm in
    which S does not expand (the maximum norm for "row").

    Args:
        graph: Anything `gn.as_graph` takes; an arc (j, i) passes values from j to i. Convert once to a `Graph` for
            several calls.
        y: Values, finite, shape [num_nodes, num_classes] or [num_nodes], of any floating type, or the `.npy` file that
            has them; row i is that of node i in the order of the graph (NetworkX: of `list(graph)`), whatever its name.
            Sums of 16-bit types are float32, and each step rounds once. Gradients pass to y and to the weights of the
            graph.
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Maximum number of steps, at least 0.
        mode: "restart" or "lazy".
        normalisation: "sym", "row", "col" or "none" (weights as they are); by default as the graph is
            normalised already, else "sym".
        mask: Nodes whose rows of y are known (Boolean, or positions); all other rows start from 0 and are not read.
        clamp: Range (low, high) that every entry is clamped to after each step.
        tol: Stop as soon as no entry changes by more than this in a step.
        backend: The tier; None selects it by the data. "native" (CPU; float32, float64, bfloat16), "triton" (CUDA;
            float32, float16, bfloat16), "reference" (torch's own sparse product, anywhere), or "scatter"
            (torch-scatter).
        solver: "iterate" takes the steps above. The others converge to the limit of "restart" in far fewer products if
            alpha is near 1: "cg" (conjugate gradients, a step length for each column) and "chebyshev" (fixed weights,
            no inner products). They need an undirected graph with weights of at least 0, normalised; alpha below 1; no
            clamp; float32 or float64. Stopped before the limit, they differ from "iterate", so set `tol`, to
            (1 - alpha) times the error allowed, and a large `num_steps`. Gradients of "iterate" and "chebyshev" are
            those of the steps taken; those of "cg" are those of the limit, by a second solution over the transpose,
            with `tol` scaled to the gradient.
        order: Permute the nodes internally: "degree", "rcm" or "community" (`node_order.order`), or a permutation. The
            permuted graph is cached. The result is the same to rounding. It may save time if wide values exceed the
            cache and the graph has clusters that its own order does not show; it costs two copies of y and, the first
            time, from a fraction of a second to minutes. Measure before use (`graphnoise bench speed node-order`).
        memory: Bytes that this call may allocate, as a number or such as "4GB": it propagates blocks of columns, and
            keeps values in files beside `out` where a single column is too much. Files that are mapped (a graph of
            `Graph.open`, `y`, `out`) do not count. The values are those of a call without it, bit for bit. Only with
            the "native" tier, "iterate", no `order`, and without gradients.
        out: File `.npy` for the result, which must not exist; `y` of the result is mapped from it. An interrupted call
            that is repeated with the same arguments continues after the last finished block.
        progress: Called with the numbers of blocks done and of all blocks, with `memory` or `out`.

    Raises:
        InputError: An argument out of its range; y of the wrong length or not finite; values that grow beyond their
            type; a graph normalised otherwise; a backend or a solver that cannot serve; a bound on memory that cannot
            be kept (the message has the least that can).
        DataError: `out` exists or cannot be written.

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
    given = mapped_values(y)
    if not isinstance(graph, Graph):
        graph = graph_of_rows(graph, checks.tensor("y", given).shape[0] if np.ndim(given) else 1)
    names = graph.names
    normalisation, values, mask, settings = read_arguments(
        graph, given, alpha, num_steps, mode, normalisation, mask, clamp, tol
    )
    if progress is not None and not callable(progress):
        checks.fail("progress", "a function of two numbers, or None", type(progress).__name__)
    tier = choose(backend, values)
    solver = checks.choice("solver", solver, solvers.SOLVERS)
    if solver != "iterate":
        solvers.check(solver, graph, values, settings.alpha, mode, normalisation, settings.clamp)
    reordered = None if order is None else node_order.reordered(graph, order)
    if reordered is not None:
        graph, values = reordered.graph, values.index_select(0, reordered.order)
        mask = None if mask is None else mask[reordered.order]
    bounded = memory is not None or out is not None
    file = None if out is None else checks.path("out", out)
    if bounded:
        # The system is asked only where it matters: that takes longer than a small propagation.
        limit = available_memory() if memory is None else byte_count("memory", memory)
        _check_blocks(graph, values, settings.num_steps, tier, solver, order)
        # Before the normalisation, which allocates.
        check_bound(graph, values, limit, file)
    graph = graph if normalisation is None else graph.normalise(normalisation)
    if bounded:
        return _propagate_in_blocks(graph, values, mask, settings, limit, file, progress)
    result = _propagate(graph, values, mask, settings, tier, solver)
    if reordered is not None:
        result = replace(result, y=result.y.index_select(0, reordered.position), names=names)
    return result


def _propagate(
    graph: Graph,
    y: Tensor,
    mask: Tensor | None,
    settings: PropagationSettings,
    tier: str,
    solver: str = "iterate",
) -> Propagation:
    """Propagate over a normalised graph; arguments are known to be valid, except that y may not be finite."""
    columns = y.unsqueeze(1) if y.dim() == 1 else y
    alpha, num_steps, lazy, clamp, tol = settings
    first = columns if mask is None or (solver == "iterate" and not lazy) else _masked(columns, mask)
    out: Tensor
    steps: int | Tensor
    residual: float | Tensor
    if solver != "iterate":
        out, steps, residual = solvers.solve(solver, graph, first, alpha=alpha, num_steps=num_steps, tol=tol, tier=tier)
    else:
        out, steps, residual = run(
            graph.arcs(accumulation_dtype(y.dtype)),
            first if lazy else None,
            None if lazy else first,
            mask=None if lazy else mask,
            alpha=alpha,
            beta=1 - alpha,
            num_steps=num_steps,
            clamp=clamp,
            tol=tol,
            tier=tier,
        )
    steps, residual = int(steps), float(residual)
    if math.isnan(residual) or num_steps == 0:
        checks.finite("y", y.detach() if mask is None else _masked(columns, mask).detach())
    if math.isnan(residual):
        checks.fail("y", f"values that stay in the range of {y.dtype}", f"larger ones after {steps} steps")
    return Propagation(out.view_as(y), steps, residual, residual <= (1e-6 if tol is None else tol), tier, graph.names)


def mapped_values(y: object) -> Any:
    """Return values; those of a `.npy` file are mapped, and mapped arrays are not copied."""
    if isinstance(y, np.memmap) and not y.flags.writeable and y.dtype.isnative and min(y.strides, default=0) >= 0:
        return tensor_of(y)
    if not isinstance(y, str | Path):
        return y
    with reading(y):
        return tensor_of(np.load(y, mmap_mode="r", allow_pickle=False))


def _check_blocks(graph: Graph, y: Tensor, num_steps: int, tier: str, solver: str, order: object) -> None:
    """Raise `InputError` for what does not go with a bound on memory."""
    if num_steps == 0 or y.numel() == 0:
        checks.fail("memory, out", "at least one step and one column", f"{num_steps} steps of shape {tuple(y.shape)}")
    if tier != "native" or y.dtype not in DTYPES:
        checks.fail("memory, out", "float32 or float64 values and the tier 'native'", f"{y.dtype} and {tier!r}")
    if solver != "iterate" or order is not None:
        checks.fail("memory, out", "solver='iterate' and no order", f"{solver!r} and order={order!r}")
    if torch.is_grad_enabled() and (y.requires_grad or graph.requires_grad):
        checks.fail("memory, out", "values and weights without gradients", "some with")


def _propagate_in_blocks(
    graph: Graph,
    y: Tensor,
    mask: Tensor | None,
    settings: PropagationSettings,
    memory: int,
    out: Path | None,
    progress: Callable[[int, int], None] | None,
) -> Propagation:
    """Propagate within a bound on memory; arguments are known to be valid, except that y may not be finite."""
    blocks = BlockPropagation(graph, y, mask, settings, memory, out, progress or (lambda done, total: None))
    values, steps, residual = blocks.run()
    if math.isnan(residual):
        checks.fail("y", "finite values that stay in their range", f"others within {steps} steps")
    converged = residual <= (1e-6 if settings.tol is None else settings.tol)
    return Propagation(values.view_as(y), steps, residual, converged, "native", graph.names)


def read_arguments(
    graph: Graph,
    y: Tensor,
    alpha: float,
    num_steps: int,
    mode: str,
    normalisation: str | None,
    mask: Tensor | None,
    clamp: tuple[float, float] | None,
    tol: float | None,
) -> tuple[str | None, Tensor, Tensor | None, PropagationSettings]:
    """Return the normalisation to apply, values, mask and settings of `propagate`, checked."""
    normalisation = _check_normalisation(graph, normalisation)
    values = _check_values(graph, y)
    settings = read_settings(alpha, num_steps, mode, clamp, tol)
    mask = None if mask is None else checks.mask("mask", mask, graph.num_nodes).to(values.device)
    return normalisation, values, mask, settings


def read_settings(
    alpha: float, num_steps: int, mode: str, clamp: tuple[float, float] | None, tol: float | None
) -> PropagationSettings:
    """Return the settings of `propagate`, checked."""
    return PropagationSettings(
        checks.rate("alpha", alpha),
        # The kernels count steps in 64 bits.
        min(checks.integer("num_steps", num_steps, 0), 2**62),
        checks.choice("mode", mode, MODES) == "lazy",
        None if clamp is None else _check_range(clamp),
        None if tol is None else checks.real("tol", tol, 0.0),
    )


def _check_normalisation(graph: Graph, normalisation: str | None) -> str | None:
    """Return the normalisation of the matrix, or None for weights as they are."""
    if normalisation is None:
        return graph.normalisation or "sym"
    kind = checks.choice("normalisation", normalisation, (*NORMALISATIONS, "none"))
    if graph.normalisation not in (None, kind):
        expected = f"{graph.normalisation!r}, as the graph is normalised"
        checks.fail("normalisation", expected, repr(kind))
    return None if kind == "none" else kind


def _check_values(graph: Graph, y: Tensor) -> Tensor:
    if graph.names is not None:
        graph.cached("warned of names", lambda: warn_of_names(graph.names), uses_weights=False)
    values = checks.tensor("y", y)
    if not values.is_floating_point():
        checks.fail("y", "floating-point values (one-hot rows for class labels)", f"values of type {values.dtype}")
    if values.dim() not in (1, 2) or values.shape[0] != graph.num_nodes:
        checks.fail("y", f"shape [{graph.num_nodes}] or [{graph.num_nodes}, num_classes]", tuple(values.shape))
    if values.device != graph.device:
        checks.fail("y", f"a tensor on the graph's device ({graph.device})", values.device)
    return values


def _check_range(clamp: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(clamp, tuple | list) or len(clamp) != 2:
        checks.fail("clamp", "a pair (low, high)", repr(clamp))
    low, high = checks.real("clamp[0]", clamp[0]), checks.real("clamp[1]", clamp[1])
    if low > high:
        checks.fail("clamp", "low at most high", f"({low:g}, {high:g})")
    return low, high


def _masked(columns: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(1), columns, columns.new_zeros(()))


def _one_hot(y: Tensor, mask: Tensor | None) -> Tensor:
    """Return rows of 0 and 1 for class labels, zeros where there is none; outside the mask nothing is read."""
    known = torch.ones(len(y), dtype=torch.bool, device=y.device) if mask is None else mask
    nodes = known.nonzero().view(-1)
    classes = class_positions(y, nodes=nodes, unlabelled=True)
    count = int(classes.max()) + 1 if len(classes) else 0
    check_entries("y", len(y), count)
    rows = torch.zeros(len(y), max(count, 1), device=y.device)
    labelled = classes >= 0
    rows[nodes[labelled], classes[labelled]] = 1.0
    return rows


class LabelPropagation(torch.nn.Module):
    r"""Label propagation with torch_geometric's own signature and results.

    `Y <- clamp_[0,1](alpha · D^-1/2 A D^-1/2 Y + (1 - alpha) · Y0)`, `num_layers` times, without self-loops. A node
    that no label reaches has a row of zeros, of which `argmax` would make class 0: `predict` gives -1.

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
        # The kernels count steps in 64 bits.
        self.num_layers = min(checks.integer("num_layers", num_layers, 0), 2**62)
        self.alpha = checks.rate("alpha", alpha)

    @torch.no_grad()
    def forward(
        self,
        y: Tensor,
        edge_index: GraphLike,
        mask: Tensor | None = None,
        edge_weight: Tensor | None = None,
        post_step: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Propagate labels.

        Args:
            y: Class labels, integers of shape [num_nodes] or [num_nodes, 1], -1 or NaN where there is none; or soft
                labels (any real type, shape [num_nodes, num_classes]; integers and Booleans count as 0.0, 1.0, ...).
            edge_index: Arcs, shape [2, num_arcs], or anything `gn.as_graph` takes, normalised symmetrically.
            mask: Nodes whose labels are known; all others start from 0, and their labels are not read.
            edge_weight: Weights of the arcs, used as they are (float64 ones give a float64 result); by default the arcs
                are normalised symmetrically.
            post_step: Applied after each step in place of the clamp to [0, 1].

        Returns:
            Soft labels, shape [num_nodes, num_classes].

        Raises:
            InputError: As `propagate`; or `edge_weight` next to a graph that has its own.
        """
        values = checks.tensor("y", y)
        if values.dim() not in (1, 2):
            checks.fail("y", "shape [num_nodes] or [num_nodes, num_classes]", f"shape {tuple(values.shape)}")
        mask = None if mask is None else checks.mask("mask", mask, values.shape[0]).to(values.device)
        if values.dim() == 1 or (values.dtype == torch.int64 and values.shape[1] == 1):
            values = _one_hot(values, mask)
        if not values.is_floating_point():
            values = values.to(torch.get_default_dtype())
        if edge_weight is not None:
            edge_weight = checks.tensor("edge_weight", edge_weight).detach()
            values = values.to(torch.promote_types(values.dtype, edge_weight.dtype))
        graph = graph_of_rows(edge_index, values.shape[0], edge_weight)
        values = _check_values(graph, values)
        graph = graph if edge_weight is not None else graph.normalise(graph.normalisation or "sym")
        if post_step is not None and not callable(post_step):
            checks.fail("post_step", "a function of the labels after a step, or None", type(post_step).__name__)
        if post_step is None:
            clamp, tier = (0.0, 1.0), choose(None, values)
            return _propagate(
                graph, values, mask, PropagationSettings(self.alpha, self.num_layers, False, clamp, None), tier
            ).y
        start = values if mask is None else _masked(values, mask)
        # The result must not be the caller's tensor.
        out = start.clone()
        for _ in range(self.num_layers):
            # `post_step` may return anything.
            out = _check_values(graph, out)
            step = _propagate(graph, out, None, PropagationSettings(1.0, 1, False, None, None), choose(None, out)).y
            out = post_step(self.alpha * step + (1 - self.alpha) * start)
        return out

    def predict(
        self,
        y: LabelsLike,
        edge_index: GraphLike,
        mask: Tensor | None = None,
        edge_weight: Tensor | None = None,
        fallback: int = -1,
    ) -> Any:
        """Return the most probable class of each node, and `fallback` where no label arrives, shape [num_nodes].

        Args:
            y: Labels, as for `forward`; or strings, with None or "" where there is none.
            edge_index: Arcs, or anything `gn.as_graph` takes.
            mask: Nodes whose labels are known.
            edge_weight: Weights of the arcs.
            fallback: What a node gets that no label reaches within `num_layers` steps; of strings it is None.

        Returns:
            An int64 tensor, or a NumPy array where labels are strings.

        Raises:
            InputError: As `forward`.

        Example:
            >>> edge_index = torch.tensor([[0, 1], [1, 0]])
            >>> LabelPropagation(3, 0.9).predict(torch.tensor([1, -1, -1]), edge_index).tolist()
            [1, 1, -1]
            >>> LabelPropagation(3, 0.9).predict(["spam", None, None], edge_index).tolist()
            ['spam', 'spam', None]
        """
        try:
            values = checks.tensor("y", y)
        except InputError:
            labels = read_labels(y)
            if fallback != -1:
                checks.fail("fallback", "-1 (which becomes None) with labels that are strings", repr(fallback))
            return labels.names(predicted_classes(self(labels.codes, edge_index, mask, edge_weight)))
        return predicted_classes(self(values, edge_index, mask, edge_weight), fallback)

    def __repr__(self) -> str:
        return f"LabelPropagation(num_layers={self.num_layers}, alpha={self.alpha})"
