"""One layer's share of a graph, and the receptive field of a set of output nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .. import _check
from ..graph import Graph
from .sparse import Pattern, SparseFeatures, slices


@dataclass(frozen=True, eq=False)
class Block:
    """The arcs into `num_targets` nodes from the nodes that they hear; the targets are the first of the sources.

    Attributes:
        pattern: A row a target, a column a source.
        value: Normalised weight of each arc, float32, shape [num_arcs].
    """

    pattern: Pattern
    value: Tensor

    def __post_init__(self) -> None:
        if self.value.shape != self.pattern.col.shape:
            _check.fail(
                "value", f"shape {tuple(self.pattern.col.shape)}, one an arc", f"shape {tuple(self.value.shape)}"
            )

    @cached_property
    def matrix(self) -> Tensor:
        """The weights as a torch CSR tensor, shape [num_targets, num_sources]."""
        return self.pattern.matrix(self.value)

    @cached_property
    def transpose(self) -> Tensor:
        """Its transpose."""
        return self.pattern.transposed(self.value)

    @classmethod
    def whole(cls, graph: Graph) -> Block:
        """Return the block of all nodes.

        Example:
            >>> graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).with_self_loops().normalise()
            >>> Block.whole(graph).matrix.to_dense().tolist()
            [[0.5, 0.5], [0.5, 0.5]]
        """
        return cls(Pattern.build(graph.rowptr.long(), graph.col.long(), graph.num_nodes), graph.values())

    @property
    def num_targets(self) -> int:
        """Number of nodes that hear."""
        return self.pattern.shape[0]

    @property
    def num_sources(self) -> int:
        """Number of nodes that are heard."""
        return self.pattern.shape[1]

    def check(self, x: Tensor | SparseFeatures) -> None:
        """Raise `InputError` unless x is a matrix with a row for each source."""
        if len(x.shape) != 2 or x.shape[0] != self.num_sources:
            _check.fail("x", f"{self.num_sources} rows, one a source of the block", f"shape {tuple(x.shape)}")


def receptive_field(graph: Graph, outputs: Tensor, num_layers: int) -> tuple[Tensor, list[Block]]:
    """Return what `num_layers` layers need to compute the outputs of a few nodes, and nothing else.

    A loss on 140 of Cora's 2,708 nodes needs 600 nodes of the hidden layer and 1,700 inputs; training on them is exact.

    Args:
        graph: The normalised graph, with its self-loops.
        outputs: Positions of the output nodes, distinct, int64, shape [num_outputs].
        num_layers: Number of layers.

    Returns:
        Positions of the input nodes, and one block a layer, first layer first; the outputs come in the order given.

    Example:
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])).with_self_loops()
        >>> nodes, blocks = receptive_field(path.normalise(), torch.tensor([0]), 2)
        >>> nodes.tolist(), [block.pattern.shape for block in blocks]
        ([0, 1, 2], [(2, 3), (1, 2)])
    """
    values, nodes, blocks = graph.values(), outputs, []
    for _ in range(num_layers):
        rowptr, arc = slices(graph.rowptr.long(), nodes)
        source = graph.col[arc].long()
        position = torch.full((graph.num_nodes,), -1)
        position[nodes] = torch.arange(nodes.numel())
        new = torch.unique(source[position[source] < 0])
        position[new] = nodes.numel() + torch.arange(new.numel())
        nodes = torch.cat([nodes, new])
        blocks.append(Block(Pattern.build(rowptr, position[source], nodes.numel()), values[arc]))
    return nodes, blocks[::-1]
