"""Propagation layer: torch_geometric's APPNP and the smoothing of its SGConv, in one kernel call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from graphnoise import checks
from graphnoise.containers import graph_of_rows, warn_of_names
from graphnoise.graph import NORMALISATIONS, Graph, power_or_zero
from graphnoise.kernels.arcs import Arcs, accumulation_dtype
from graphnoise.kernels.cache import cached_on, outside_inference_mode
from graphnoise.kernels.propagate import choose, run, tangent
from graphnoise.typing import GraphLike

MODES = ("restart", "lazy", "power")
KINDS = (*NORMALISATIONS, "none")


class Propagate(torch.nn.Module):
    r"""Mix each node's features with its neighbours', `num_steps` times; the layer has no parameters, gradients pass.

    With S the normalised matrix of the graph with self-loops, one step from X_0 = x is

        restart:  X <- alpha · S X + (1 - alpha) · x      torch_geometric's APPNP(K=num_steps, alpha=1 - alpha)
        lazy:     X <- alpha · S X + (1 - alpha) · X
        power:    X <- S X                                the smoothing of SGConv(K=num_steps); alpha has no part in it

    `alpha` is the weight of the **neighbours**. Features that are not finite propagate, as in other layers.

    Args:
        num_steps: Number of steps, at least 0.
        alpha: Weight of the neighbours, in [0, 1].
        mode: "restart", "lazy" or "power".
        normalisation: "sym", "row", "col" (see `Graph.normalise`) or "none" (weights as they are).
        add_self_loops: Whether a node without a self-loop gets one of weight 1 first; others keep theirs (of several
            the last one counts), as in torch_geometric.
        cached: Use the graph of the first call for all later ones, until `reset_parameters`. A `Graph` needs no cache:
            what is derived from it is cached with its arrays.

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> Propagate(num_steps=2, alpha=0.5, normalisation="row")(torch.tensor([[1.0], [0.0], [0.0]]), edge_index)
        tensor([[0.7292],
                [0.1528],
                [0.0417]])

    Source:
        Gasteiger et al., "Predict then Propagate", ICLR 2019, equation 4 (restart); Wu et al., "Simplifying Graph
        Convolutional Networks", ICML 2019, section 2.2 (power).
    """

    def __init__(
        self,
        num_steps: int,
        alpha: float = 0.9,
        mode: str = "restart",
        normalisation: str = "sym",
        add_self_loops: bool = True,
        cached: bool = False,
    ) -> None:
        super().__init__()
        # The operation counts steps in 64 bits.
        self.num_steps = min(checks.integer("num_steps", num_steps, 0), 2**62)
        self.alpha = checks.rate("alpha", alpha)
        self.mode = checks.choice("mode", mode, MODES)
        self.normalisation = checks.choice("normalisation", normalisation, KINDS)
        self.add_self_loops = _flag("add_self_loops", add_self_loops)
        self.cached = _flag("cached", cached)
        self._graph: Graph | None = None

    def reset_parameters(self) -> None:
        """Remove the cached graph; there are no parameters."""
        self._graph = None

    def forward(self, x: Tensor, edge_index: GraphLike, edge_weight: Tensor | None = None) -> Tensor:
        """Return the propagated features.

        `torch.compile(fullgraph=True)` takes a `Graph`; arcs as a tensor break the traced graph, since they are sorted.

        Args:
            x: Features, floating, shape [num_nodes, num_features] or [num_nodes].
            edge_index: Arcs (source, target), shape [2, num_arcs], or anything `gn.as_graph` takes. A normalised
                `Graph` is used as it is; it must have the layer's normalisation, and a self-loop at every node if the
                layer adds them.
            edge_weight: Weights of the arcs, at least 0, shape [num_arcs]; gradients pass. They and x are promoted to
                their common type; a list of numbers has none.

        Returns:
            Features of the same shape.

        Raises:
            InputError: x has not a row for each node or is not floating; arcs or weights are not valid; weights next to
                a `Graph`, which has its own, or with a gradient next to a cached one; a `Graph` that contradicts the
                layer.
            NotImplementedError: x or weights are dual numbers: there is no forward-mode derivative.
        """
        if edge_weight is not None and isinstance(edge_index, Graph):
            checks.fail("edge_weight", "none next to a Graph, which has its own weights", "weights")
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() not in (1, 2):
            got = f"shape {tuple(x.shape)} of type {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            checks.fail("x", "a floating-point tensor of shape [num_nodes, num_features] or [num_nodes]", got)
        x = checks.tensor("x", x)
        if edge_weight is not None:
            typed, edge_weight = hasattr(edge_weight, "dtype"), checks.tensor("edge_weight", edge_weight)
            x = x.to(torch.promote_types(x.dtype, edge_weight.dtype)) if typed else x
        _check_no_tangent(x, edge_weight)
        graph = edge_index if isinstance(edge_index, Graph) else self._build(edge_index, x.shape[0], edge_weight)
        if x.shape[0] != graph.num_nodes:
            checks.fail("x", f"{graph.num_nodes} rows, one per node of the graph", x.shape[0])
        if x.device != graph.device:
            checks.fail("x", f"a tensor on the graph's device ({graph.device})", x.device)
        if graph.normalisation not in (None, self.normalisation):
            checks.fail(
                "edge_index", f"a Graph not normalised, or by {self.normalisation!r}", repr(graph.normalisation)
            )
        _check_no_tangent(graph.weight, graph.left, graph.right)
        return self._propagate(x, graph).view_as(x)

    def _build(self, graph: GraphLike, num_nodes: int, edge_weight: Tensor | None) -> Graph:
        if not self.cached:
            return _read(graph, num_nodes, edge_weight)
        if edge_weight is not None and edge_weight.requires_grad:
            checks.fail("edge_weight", "weights without a gradient next to cached=True", "weights that require one")
        if self._graph is None:
            with outside_inference_mode():
                self._graph = _read(graph, num_nodes, edge_weight)
        return self._graph

    def _propagate(self, x: Tensor, graph: Graph) -> Tensor:
        columns = x.unsqueeze(1) if x.dim() == 1 else x
        tier = choose(None, columns)
        # "done" is a graph that is normalised already.
        kind = self.normalisation if graph.normalisation is None else "done"
        fields = (graph.rowptr, graph.col, graph.weight, graph.left, graph.right)
        if not graph.requires_grad:
            settings = (self.mode, self.alpha, self.num_steps, False, tier)
            out: Tensor = smooth(*fields, columns, kind, self.add_self_loops, *settings)
            return out
        if kind == "done" and self.add_self_loops and not torch.compiler.is_compiling():
            _check_loops(graph)
        arcs = _differentiable_arcs(*fields, kind, self.add_self_loops, accumulation_dtype(x.dtype))
        return _steps(arcs, columns, self.mode, self.alpha, self.num_steps, tier)

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        share = "" if self.mode == "power" else f", alpha={self.alpha}"
        rest = f", normalisation={self.normalisation!r}" * (self.normalisation != "sym")
        rest += ", add_self_loops=False" * (not self.add_self_loops) + ", cached=True" * self.cached
        return f"num_steps={self.num_steps}{share}, mode={self.mode!r}{rest}"


def _read(graph: GraphLike, num_nodes: int, edge_weight: Tensor | None) -> Graph:
    read = graph_of_rows(graph, num_nodes, edge_weight)
    warn_of_names(read.names)
    return read


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        checks.fail(name, "True or False", repr(value))
    return value


def _check_no_tangent(*tensors: Tensor | None) -> None:
    """Raise `NotImplementedError` for dual numbers: the operation computes values only."""
    if forward_ad._current_level >= 0 and any(_dual(t) for t in tensors if t is not None):
        raise NotImplementedError("Propagate has no forward-mode derivative")


def _dual(values: Tensor) -> bool:
    """Return whether there is a tangent; nested transforms count as one, since torch shows the innermost only."""
    functorch = torch._C._functorch
    if functorch.is_functorch_wrapped_tensor(values):
        inner = functorch.is_functorch_wrapped_tensor(functorch.get_unwrapped(values))
        if inner or functorch.maybe_get_level(values) != functorch.maybe_current_level():
            return True
    return tangent(values) is not None


def _steps(arcs: Arcs, x: Tensor, mode: str, alpha: float, num_steps: int, tier: str) -> Tensor:
    alpha, beta = (1.0, 0.0) if mode == "power" else (alpha, 1 - alpha)
    start, source = (None, x) if mode == "restart" else (x, None)
    return run(arcs, start, source, alpha=alpha, beta=beta, num_steps=num_steps, tier=tier)[0]


@torch.library.custom_op("graphnoise::smooth", mutates_args=())
def smooth(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    x: Tensor,
    kind: str,
    loops: bool,
    mode: str,
    alpha: float,
    num_steps: int,
    transposed: bool,
    tier: str,
) -> Tensor:
    """Propagate x over a graph given by its fields, as one node of torch's graph, with gradients to x.

    All that reads the graph is inside the operation, so that `torch.compile` traces nothing that depends on data.
    """
    arcs = _arcs(rowptr, col, weight, left, right, kind, loops, accumulation_dtype(x.dtype))
    return _steps(arcs.transposed() if transposed else arcs, x, mode, alpha, num_steps, tier)


@smooth.register_fake
def _(rowptr, col, weight, left, right, x, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[6:]


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    _check_no_tangent(grad)
    # The operation is a polynomial of S; its gradient is the same polynomial of S^T.
    *settings, transposed, tier = ctx.settings
    return *[None] * 5, smooth(*ctx.saved_tensors, grad, *settings, not transposed, tier), *[None] * 7


smooth.register_autograd(_backward, setup_context=_setup_context)


def _arcs(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    kind: str,
    loops: bool,
    dtype: torch.dtype,
) -> Arcs:
    """Return S, cached on the tensor that lives shortest: a graph may have new scales or weights over old arcs."""
    fields = [t for t in (left, right, weight, col, rowptr) if t is not None]
    key = fields[0]

    def make() -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        arcs = _graph(rowptr, col, weight, left, right, kind, loops).arcs(dtype)
        # A cached value must not hold its key: None stands for the graph's own columns.
        value = None if arcs.value is None else arcs.value.detach()
        return arcs.rowptr, None if arcs.col is col else arcs.col, value, arcs.left, arcs.right

    also = [t for t in fields if t is not key]
    new_rowptr, new_col, *rest = cached_on(key, f"smooth {kind} {loops} {dtype}", make, *also)
    return Arcs(new_rowptr, col if new_col is None else new_col, *rest)


def _graph(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    kind: str,
    loops: bool,
) -> Graph:
    if kind == "done":
        graph = Graph.unchecked(rowptr, col, weight, left, right)
        if loops:
            _check_loops(graph)
        return graph
    graph = Graph.unchecked(rowptr, col, weight)
    if loops and weight is None:
        graph = graph.with_self_loops()
    elif loops and weight is not None:
        graph = Graph.unchecked(*_with_loops(rowptr, col, weight))
    return graph if kind == "none" else graph.normalise(kind)


def _check_loops(graph: Graph) -> None:
    looped = torch.zeros(graph.num_nodes, dtype=torch.bool, device=graph.device)
    looped[graph.row[graph.row == graph.col]] = True
    if not bool(looped.all()):
        expected = "a normalised Graph with a self-loop at every node, or add_self_loops=False"
        checks.fail(
            "edge_index", expected, f"{int((~looped).sum())} nodes without one (with_self_loops, then normalise)"
        )


def _rows(rowptr: Tensor, col: Tensor) -> Tensor:
    nodes = torch.arange(rowptr.numel() - 1, device=col.device)
    return nodes.repeat_interleave(rowptr.diff(), output_size=col.numel())


def _with_loops(rowptr: Tensor, col: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Put a self-loop first in each row, with the weight of the row's last self-loop or 1; old ones get weight 0.

    All shapes are known before the call, so that it can be traced.
    """
    n, m = rowptr.numel() - 1, col.numel()
    row, arcs, nodes = _rows(rowptr, col), torch.arange(m, device=col.device), torch.arange(n, device=col.device)
    is_loop = row == col
    last = torch.full_like(nodes, -1).scatter_reduce(0, row, torch.where(is_loop, arcs, -1), "amax")
    loop = torch.cat([weight, weight.new_ones(1)])[torch.where(last < 0, m, last)]
    bounds = rowptr + torch.arange(n + 1, device=col.device, dtype=rowptr.dtype)
    # New positions of the arcs, then of the loops.
    place = torch.cat([arcs + row + 1, bounds[:-1].long()])
    ends = torch.zeros(m + n, dtype=col.dtype, device=col.device).scatter(
        0, place, torch.cat([col, nodes.to(col.dtype)])
    )
    values = torch.cat([torch.where(is_loop, 0.0, weight), loop])
    return bounds, ends, values.new_zeros(m + n).scatter(0, place, values)


def _differentiable_arcs(
    rowptr: Tensor,
    col: Tensor,
    weight: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    kind: str,
    loops: bool,
    dtype: torch.dtype,
) -> Arcs:
    """Return S with gradients to the weights, as `Graph.values` has it, by operators that can be traced."""
    value = torch.ones(col.shape, dtype=torch.float64, device=col.device) if weight is None else weight.double()
    if loops and kind != "done":
        rowptr, col, value = _with_loops(rowptr, col, value)
    row, zeros = _rows(rowptr, col), torch.zeros(rowptr.numel() - 1, dtype=torch.float64, device=col.device)
    if kind == "sym":
        left = right = power_or_zero(zeros.index_add(0, row, value), -0.5)
    elif kind == "row":
        left = power_or_zero(zeros.index_add(0, row, value), -1.0)
    elif kind == "col":
        right = power_or_zero(zeros.index_add(0, col, value), -1.0)
    for scale, end in ((left, row), (right, col)):
        if scale is not None:
            value = value * scale[end]
    return Arcs(rowptr, col, value.to(dtype))
