"""Blocks (the arcs that one layer uses), receptive fields and neighbour sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.nn.sparse import Pattern, SparseFeatures, slices
from graphnoise.typing import GraphLike


@dataclass(frozen=True, eq=False)
class Block(checks.Validated):
    """The arcs into `num_targets` nodes; the targets are the first of the sources.

    Attributes:
        pattern: A row per target, a column per source.
        value: Normalised weight of each arc, floating, shape [num_arcs].
    """

    pattern: Pattern
    value: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, Pattern):
            checks.fail("pattern", "a Pattern", type(self.pattern).__name__)
        shape, value = self.pattern.col.shape, self.value
        if not isinstance(value, Tensor) or not value.is_floating_point():
            checks.fail("value", "a floating-point tensor", getattr(value, "dtype", type(value).__name__))
        if value.shape != shape:
            checks.fail("value", f"shape {tuple(shape)}, one per arc", f"shape {tuple(value.shape)}")

    @cached_property
    def matrix(self) -> Tensor:
        """The weights as a torch CSR tensor, shape [num_targets, num_sources]."""
        return self.pattern.matrix(self.value)

    @cached_property
    def transpose(self) -> Tensor:
        """Its transpose."""
        return self.pattern.transposed(self.value)

    @classmethod
    def full(cls, graph: GraphLike, dtype: torch.dtype = torch.float32) -> Block:
        """Return the block of all nodes; `dtype` is that of the layers.

        Raises:
            InputError: `dtype` is not a floating type.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).with_self_loops().normalise()
            >>> Block.full(graph).matrix.to_dense().tolist()
            [[0.5, 0.5], [0.5, 0.5]]
        """
        graph = as_graph(graph)
        return cls(Pattern.build(graph.rowptr.long(), graph.col.long(), graph.num_nodes), graph.values(dtype))

    def to(self, dtype: torch.dtype) -> Block:
        """Return the block with values of another type; itself where they have it."""
        return self if self.value.dtype == dtype else Block(self.pattern, self.value.to(dtype))

    @property
    def num_targets(self) -> int:
        """Number of nodes with arcs into them."""
        return self.pattern.shape[0]

    @property
    def num_sources(self) -> int:
        """Number of nodes with arcs out of them, and targets."""
        return self.pattern.shape[1]

    @cached_property
    def edge_index(self) -> Tensor:
        """The arcs (source, target), positions among the sources, shape [2, num_arcs]."""
        rowptr = self.pattern.rowptr
        target = torch.repeat_interleave(torch.arange(self.num_targets, device=rowptr.device), rowptr.diff())
        return torch.stack([self.pattern.col, target])

    def check(self, x: Tensor | SparseFeatures) -> None:
        """Raise `InputError` unless x is a matrix with a row for each source."""
        if len(x.shape) != 2 or x.shape[0] != self.num_sources:
            checks.fail("x", f"{self.num_sources} rows, one per source of the block", f"shape {tuple(x.shape)}")


def receptive_field(graph: GraphLike, outputs: Tensor, num_layers: int) -> tuple[Tensor, list[Block]]:
    """Return the nodes and blocks that `num_layers` layers need to compute the outputs of a few nodes.

    A loss on 140 of Cora's 2,708 nodes needs 600 nodes of the hidden layer and 1,700 inputs; training on them is exact.

    Args:
        graph: The normalised graph, with its self-loops (anything `gn.as_graph` takes).
        outputs: Positions of the output nodes, distinct, integers, shape [num_outputs].
        num_layers: Number of layers.

    Returns:
        Positions of the input nodes, and one block per layer, first layer first; the outputs come in the order given.

    Raises:
        InputError: Outputs that are not distinct nodes, or a negative number of layers.

    Example:
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])).with_self_loops()
        >>> nodes, blocks = receptive_field(path.normalise(), torch.tensor([0]), 2)
        >>> nodes.tolist(), [block.pattern.shape for block in blocks]
        ([0, 1, 2], [(2, 3), (1, 2)])
    """
    graph = as_graph(graph)
    values, nodes, blocks = graph.values(), _distinct(graph, outputs), []
    for _ in range(checks.integer("num_layers", num_layers, 0)):
        rowptr, arc = slices(graph.rowptr.long(), nodes)
        nodes, position = _with_sources(nodes, graph.col[arc].long(), graph.num_nodes)
        blocks.append(Block(Pattern.build(rowptr, position, nodes.numel()), values[arc]))
    return nodes, blocks[::-1]


def sample_neighbors(
    graph: GraphLike, outputs: Tensor, fanouts: Sequence[int], generator: torch.Generator
) -> tuple[Tensor, list[Block]]:
    """Return a sampled receptive field: each layer uses at most `fanout` neighbours of a node, and the node itself.

    Neighbours are drawn without replacement and self-loops are always included. The weights of drawn arcs are divided
    by the share that was drawn, so that sums over neighbours are unbiased.

    Args:
        graph: The normalised graph, with its self-loops if the layers need them (anything `gn.as_graph` takes).
        outputs: Positions of the output nodes, distinct, int64, shape [num_outputs].
        fanouts: Number of neighbours per node for each layer, first layer first; -1 for all.
        generator: Source of the draws.

    Returns:
        Positions of the input nodes, and one block per layer, first layer first; the outputs come in the order given.

    Raises:
        InputError: Outputs that are not distinct nodes, a fanout below -1, or a generator on another device.

    Example:
        >>> star = Graph.from_edge_index(torch.tensor([[1, 2, 3], [0, 0, 0]])).with_self_loops().normalise("row")
        >>> nodes, (block,) = sample_neighbors(star, torch.tensor([0]), [2], torch.Generator().manual_seed(0))
        >>> nodes.numel(), block.value.tolist()
        (3, [0.25, 0.375, 0.375])

    Source:
        Hamilton et al., "Inductive Representation Learning on Large Graphs", NIPS 2017, section 3.1.
    """
    graph = as_graph(graph)
    generator = checks.torch_generator("generator", generator)
    nodes, blocks = _distinct(graph, outputs), list[Block]()
    if not isinstance(fanouts, list | tuple):
        checks.fail("fanouts", "a list of numbers of neighbours", repr(fanouts))
    for fanout in reversed([checks.integer("fanouts", fanout, -1) for fanout in fanouts]):
        rowptr, arc = slices(graph.rowptr.long(), nodes)
        target, source = nodes.repeat_interleave(rowptr.diff()), graph.col[arc].long()
        value = _entries(graph, arc, target, source)
        if fanout >= 0:
            rowptr, drawn, factor = _draw(rowptr, source == target, fanout, generator)
            source, value = source[drawn], value[drawn] * factor
        nodes, position = _with_sources(nodes, source, graph.num_nodes)
        blocks.append(Block(Pattern.build(rowptr, position, nodes.numel()), value.float()))
    return nodes, blocks[::-1]


INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _distinct(graph: Graph, outputs: Tensor) -> Tensor:
    nodes, n = checks.tensor("outputs", outputs), graph.num_nodes
    if nodes.dim() != 1 or nodes.dtype not in INTEGERS or nodes.device != graph.device:
        expected = f"positions of nodes, integers on {graph.device}"
        checks.fail("outputs", expected, f"shape {tuple(nodes.shape)} of type {nodes.dtype} on {nodes.device}")
    if nodes.numel() and (int(nodes.min()) < 0 or int(nodes.max()) >= n):
        checks.fail("outputs", f"positions from 0 to {n - 1}", f"values from {int(nodes.min())} to {int(nodes.max())}")
    if int(torch.bincount(nodes.long(), minlength=1).max()) > 1:
        checks.fail("outputs", "distinct nodes", "repeated nodes")
    return nodes.long()


def _entries(graph: Graph, arc: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the entries of S at some arcs, float64; other entries are not computed."""
    value = torch.ones_like(arc, dtype=torch.float64) if graph.weight is None else graph.weight[arc].double()
    for scale, node in ((graph.left, target), (graph.right, source)):
        value = value if scale is None else value * scale[node]
    return value


def _draw(rowptr: Tensor, is_loop: Tensor, fanout: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return new row bounds, the drawn entries in order of rows, and the factor on the weight of each."""
    counts = rowptr.diff()
    row = torch.repeat_interleave(torch.arange(counts.numel(), device=rowptr.device), counts)
    key = torch.rand(row.numel(), generator=generator, dtype=torch.float64, device=rowptr.device)
    key = torch.where(is_loop, 0.0, key.clamp(1e-12, 1 - 1e-12))
    order = torch.argsort(row + key, stable=True)
    loops = torch.zeros_like(counts).index_add_(0, row, is_loop.long())
    place = torch.arange(row.numel(), device=rowptr.device) - rowptr[row]
    drawn = order[place < loops[row] + fanout]
    others = (counts - loops).double()
    factor = others / others.clamp(max=fanout).clamp(min=1)
    now = torch.minimum(counts, loops + fanout)
    start = torch.cat([now.new_zeros(1), now.cumsum(0)])
    return start, drawn, torch.where(is_loop[drawn], 1.0, factor[row[drawn]])


def _with_sources(nodes: Tensor, source: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Return the nodes and after them the sources not yet among them, and the position of each source in that list."""
    position = torch.full((num_nodes,), -1, device=nodes.device)
    position[nodes] = torch.arange(nodes.numel(), device=nodes.device)
    new = torch.unique(source[position[source] < 0])
    position[new] = nodes.numel() + torch.arange(new.numel(), device=nodes.device)
    return torch.cat([nodes, new]), position[source]
