"""Propagation of features as a layer: torch_geometric's APPNP and the smoothing of its SGConv, in one kernel call."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from graphnoise import checks
from graphnoise.graph import NORMALISATIONS, Graph
from graphnoise.graph import _power as power
from graphnoise.kernels.arcs import Arcs, accumulation_dtype, cached_on, outside_inference_mode
from graphnoise.kernels.propagate import choose, run, tangent

MODES = ("restart", "lazy", "power")
KINDS = (*NORMALISATIONS, "none")


class Propagate(torch.nn.Module):
    r"""Mix each node's features with its neighbours', `num_steps` times; nothing is learnt, gradients pass.

    With S the normalised matrix of the graph with self-loops, one step from X_0 = x is

        restart:  X <- alpha · S X + (1 - alpha) · x      torch_geometric's APPNP(K=num_steps, alpha=1 - alpha)
        lazy:     X <- alpha · S X + (1 - alpha) · X
        power:    X <- S X                                the smoothing of SGConv(K=num_steps); alpha has no part in it

    `alpha` is the weight of the **neighbours**. Features that are not finite pass on to whom they reach, as in other
    layers.

    Args:
        num_steps: Number of steps, at least 0.
        alpha: Weight of the neighbours, in [0, 1].
        mode: "restart", "lazy" or "power".
        normalisation: "sym", "row", "col" (see `Graph.normalise`) or "none" (weights as they are).
        add_self_loops: Whether a node without a self-loop gets one of weight 1 first; others keep theirs (of several
            the last one counts), as in torch_geometric.
        cached: Keep the graph of the first call and look at no other until `reset_parameters`. A `Graph` needs no
            cache: what is derived from it stays with its arrays.

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
        self.num_steps = min(checks.integer("num_steps", num_steps, 0), 2**62)  # more than anyone waits for
        self.alpha = checks.rate("alpha", alpha)
        self.mode = checks.choice("mode", mode, MODES)
        self.normalisation = checks.choice("normalisation", normalisation, KINDS)
        self.add_self_loops = _flag("add_self_loops", add_self_loops)
        self.cached = _flag("cached", cached)
        self._graph: Graph | None = None

    def reset_parameters(self) -> None:
        """Forget the cached graph; there are no parameters."""
        self._graph = None

    def forward(self, x: Tensor, edge_index: Tensor | Graph, edge_weight: Tensor | None = None) -> Tensor:
        """Return the propagated features.

        `torch.compile(fullgraph=True)` takes a `Graph`; arcs as a tensor break the graph, since they are put in order.

        Args:
            x: Features, floating, shape [num_nodes, num_features] or [num_nodes].
            edge_index: Arcs (source, target), shape [2, num_arcs], or a `Graph`: one that is normalised already is used
                as it is, and must then be normalised as the layer says, with a self-loop at every node if the layer
                adds them.
            edge_weight: Weights of the arcs, at least 0, shape [num_arcs]; gradients pass. They and x take the wider of
                their types; a list of numbers has none.

        Returns:
            Features of the same shape.

        Raises:
            InputError: x has not a row for each node or is not floating; arcs or weights are not valid; weights next to
                a `Graph`, which holds its own, or with a gradient next to a cached one; a `Graph` that contradicts the
                layer.
            NotImplementedError: x or weights are dual numbers: there is no forward-mode derivative.
        """
        if isinstance(edge_index, Graph) and edge_weight is not None:
            checks.fail("edge_weight", "none next to a Graph, which holds its own weights", "weights")
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() not in (1, 2):
            got = f"shape {tuple(x.shape)} of type {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            checks.fail("x", "a floating-point tensor of shape [num_nodes, num_features] or [num_nodes]", got)
        x = checks.tensor("x", x)
        if edge_weight is not None:
            typed, edge_weight = hasattr(edge_weight, "dtype"), checks.tensor("edge_weight", edge_weight)
            x = x.to(torch.promote_types(x.dtype, edge_weight.dtype)) if typed else x
        _refuse_tangents(x, edge_weight)
        graph = edge_index if isinstance(edge_index, Graph) else self._built(edge_index, x.shape[0], edge_weight)
        if x.shape[0] != graph.num_nodes:
            checks.fail("x", f"{graph.num_nodes} rows, one a node of the graph", x.shape[0])
        if x.device != graph.device:
            checks.fail("x", f"a tensor on the graph's device ({graph.device})", x.device)
        if graph.normalisation not in (None, self.normalisation):
            checks.fail(
                "edge_index", f"a Graph not normalised, or by {self.normalisation!r}", repr(graph.normalisation)
            )
        _refuse_tangents(graph.weight, graph.left, graph.right)
        return self._propagate(x, graph).view_as(x)

    def _built(self, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None) -> Graph:
        if not self.cached:
            return Graph.from_edge_index(edge_index, num_nodes, edge_weight)
        if edge_weight is not None and edge_weight.requires_grad:
            checks.fail("edge_weight", "weights without a gradient next to cached=True", "weights that require one")
        if self._graph is None:
            with outside_inference_mode():
                self._graph = Graph.from_edge_index(edge_index, num_nodes, edge_weight)
        return self._graph

    def _propagate(self, x: Tensor, graph: Graph) -> Tensor:
        columns = x.unsqueeze(1) if x.dim() == 1 else x
        tier = choose(None, columns)
        kind = self.normalisation if graph.normalisation is None else "done"
        fields = (graph.rowptr, graph.col, graph.weight, graph.left, graph.right)
        if not graph._learns:
            settings = (self.mode, self.alpha, self.num_steps, False, tier)
            out: Tensor = smooth(*fields, columns, kind, self.add_self_loops, *settings)
            return out
        if kind == "done" and self.add_self_loops and not torch.compiler.is_compiling():
            _check_loops(graph)
        wide = accumulation_dtype(x.dtype)
        return _steps(
            _learnt(*fields, kind, self.add_self_loops, wide), columns, self.mode, self.alpha, self.num_steps, tier
        )

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        share = "" if self.mode == "power" else f", alpha={self.alpha}"
        rest = f", normalisation={self.normalisation!r}" * (self.normalisation != "sym")
        rest += ", add_self_loops=False" * (not self.add_self_loops) + ", cached=True" * self.cached
        return f"num_steps={self.num_steps}{share}, mode={self.mode!r}{rest}"


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        checks.fail(name, "True or False", repr(value))
    return value


def _refuse_tangents(*tensors: Tensor | None) -> None:
    """Raise where forward-mode differentiation meets the layer: its operation sees values only."""
    if forward_ad._current_level >= 0 and any(_dual(t) for t in tensors if t is not None):
        raise NotImplementedError("Propagate has no forward-mode derivative")


def _dual(values: Tensor) -> bool:
    """Tell whether there is a tangent; of nested transforms torch shows the innermost only, so those count as one."""
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

    All that looks at the graph happens in here, so that `torch.compile` sees nothing that depends on data.
    """
    wide = accumulation_dtype(x.dtype)
    arcs = _prepared(rowptr, col, (weight, left, right), kind, loops, wide)
    return _steps(arcs.transposed() if transposed else arcs, x, mode, alpha, num_steps, tier)


@smooth.register_fake
def _(rowptr, col, weight, left, right, x, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[6:]


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    _refuse_tangents(grad)
    *first, transposed, tier = ctx.settings  # a polynomial of S: its gradient is the same one of S^T
    return *[None] * 5, smooth(*ctx.saved_tensors, grad, *first, not transposed, tier), *[None] * 7


smooth.register_autograd(_backward, setup_context=_keep)


def _prepared(
    rowptr: Tensor, col: Tensor, rest: tuple[Tensor | None, ...], kind: str, loops: bool, dtype: torch.dtype
) -> Arcs:
    """Return S, made once for these very tensors; nothing that is kept holds `col`, for it is kept as long as `col`."""
    held: list[Any] = cached_on(col, "prepared", list, rowptr)
    settings = (kind, loops, dtype)
    for known, owners, parts in held:
        if known == settings and all(ref() is t if ref else t is None for ref, t in zip(owners, rest, strict=True)):
            return Arcs(rowptr, col, *parts) if len(parts) == 3 else Arcs(*parts)
    with outside_inference_mode():
        arcs = _graph(rowptr, col, rest, kind, loops).arcs(dtype)
    parts = arcs[2:] if arcs.col is col else tuple(arcs)
    owners = [None if t is None else weakref.ref(t) for t in rest]
    held[:] = [*held[-3:], (settings, owners, parts)]
    return arcs


def _graph(rowptr: Tensor, col: Tensor, rest: tuple[Tensor | None, ...], kind: str, loops: bool) -> Graph:
    weight, left, right = rest
    if kind == "done":
        graph = Graph(rowptr, col, weight, left, right)
        if loops:
            _check_loops(graph)
        return graph
    graph = Graph(rowptr, col, weight)
    if loops and weight is None:
        other = graph.edge_index[:, graph.row != col]
        graph = Graph.from_edge_index(other, graph.num_nodes).with_self_loops()
    elif loops and weight is not None:
        graph = Graph(*_with_loops(rowptr, col, weight))
    return graph if kind == "none" else graph.normalise(kind)


def _check_loops(graph: Graph) -> None:
    looped = torch.zeros(graph.num_nodes, dtype=torch.bool, device=graph.device)
    looped[graph.row[graph.row == graph.col]] = True
    if not bool(looped.all()):
        wanted = "a normalised Graph with a self-loop at every node, or add_self_loops=False"
        checks.fail("edge_index", wanted, f"{int((~looped).sum())} nodes without one (with_self_loops, then normalise)")


def _rows(rowptr: Tensor, col: Tensor) -> Tensor:
    nodes = torch.arange(rowptr.numel() - 1, device=col.device)
    return nodes.repeat_interleave(rowptr.diff(), output_size=col.numel())


def _with_loops(rowptr: Tensor, col: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Put a self-loop first in each row, of the weight of the row's last one or 1; older ones weigh 0 from now on.

    Only operators whose shapes are known beforehand, so that it can be traced.
    """
    n, m = rowptr.numel() - 1, col.numel()
    row, arcs, nodes = _rows(rowptr, col), torch.arange(m, device=col.device), torch.arange(n, device=col.device)
    own = row == col
    last = torch.full_like(nodes, -1).scatter_reduce(0, row, torch.where(own, arcs, -1), "amax")
    loop = torch.cat([weight, weight.new_ones(1)])[torch.where(last < 0, m, last)]
    bounds = rowptr + torch.arange(n + 1, device=col.device, dtype=rowptr.dtype)
    place = torch.cat([arcs + row + 1, bounds[:-1].long()])  # where the arcs go, then where the loops go
    ends = torch.zeros(m + n, dtype=col.dtype, device=col.device).scatter(
        0, place, torch.cat([col, nodes.to(col.dtype)])
    )
    values = torch.cat([torch.where(own, 0.0, weight), loop])
    return bounds, ends, values.new_zeros(m + n).scatter(0, place, values)


def _learnt(
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
    row, none = _rows(rowptr, col), torch.zeros(rowptr.numel() - 1, dtype=torch.float64, device=col.device)
    if kind == "sym":
        left = right = power(none.index_add(0, row, value), -0.5)
    elif kind == "row":
        left = power(none.index_add(0, row, value), -1.0)
    elif kind == "col":
        right = power(none.index_add(0, col, value), -1.0)
    for scale, end in ((left, row), (right, col)):
        if scale is not None:
            value = value * scale[end]
    return Arcs(rowptr, col, value.to(dtype))
