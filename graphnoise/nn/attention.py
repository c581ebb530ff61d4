"""The graph attention layer, on the kernel of `graphnoise.kernels.attention`."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.attention import attend
from graphnoise.nn.block import Block
from graphnoise.nn.layers import Linear, dropout_mask
from graphnoise.nn.sparse import SparseFeatures


class GraphAttention(torch.nn.Module):
    r"""Multi-head graph attention, equal to torch_geometric's `GATConv` on arcs that hold their self-loops.

    With h = X W split into heads, w_ij = softmax_j(leaky_relu(a_source · h_j + a_target · h_i)) over the arcs j -> i,
    the output is sum_j w_ij h_j + b, heads side by side.

    Args:
        inputs: Number of input features.
        outputs: Width of each head.
        heads: Number of heads.
        attention_dropout: Probability of dropping an arc of a head in training.
        slope: Negative slope of the leaky ReLU.
        generator: Source of the initial weights.

    Raises:
        InputError: A number out of range, weights larger than the memory, or no generator.

    Example:
        >>> from graphnoise import Graph
        >>> layer = GraphAttention(2, 3, heads=4, generator=torch.Generator().manual_seed(0))
        >>> graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).with_self_loops().normalise()
        >>> layer(torch.eye(2), Block.full(graph)).shape
        torch.Size([2, 12])

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 2.1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        heads: int,
        *,
        attention_dropout: float = 0.0,
        slope: float = 0.2,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.heads, self.width = checks.integer("heads", heads, 1), checks.integer("outputs", outputs, 1)
        self.attention_dropout = checks.rate("attention_dropout", attention_dropout)
        self.slope = checks.real("slope", slope)
        self.linear = Linear(inputs, self.heads * self.width, bias=False, generator=generator)
        self.source = torch.nn.Parameter(torch.empty(heads, outputs))
        self.target = torch.nn.Parameter(torch.empty(heads, outputs))
        torch.nn.init.xavier_uniform_(self.source, generator=generator)
        torch.nn.init.xavier_uniform_(self.target, generator=generator)
        self.bias = torch.nn.Parameter(torch.zeros(heads * outputs))

    def forward(self, x: Tensor | SparseFeatures, block: Block, generator: torch.Generator | None = None) -> Tensor:
        """Return the attended features, shape [num_targets, heads · outputs].

        Args:
            x: Features of the sources, shape [num_sources, inputs].
            block: The arcs, self-loops among them; their weights are not used.
            generator: Source of attention dropout; None for no dropout.

        Raises:
            InputError: x has not a row for each source of the block, a column for each input, or the type of the
                weights.
        """
        block.check(x)
        p = block.pattern
        h = self.linear(x).view(-1, self.heads, self.width)
        # a · h_j = x_j · (W a): two more columns per head, in place of passes over h and over its gradient.
        weight = self.linear.weight.view(-1, self.heads, self.width)
        score = x @ torch.cat([(weight * ends).sum(-1) for ends in (self.source, self.target)], dim=1)
        source, target = score[:, : self.heads], score[: block.num_targets, self.heads :]
        factor = None
        if generator is not None and self.attention_dropout > 0:
            factor = dropout_mask(source.new_empty(p.col.numel(), self.heads), self.attention_dropout, generator)
        bias = self.bias.view(self.heads, self.width)
        out = attend(p.rowptr, p.col, h, source, target, bias=bias, slope=self.slope, factor=factor)
        return out.view(-1, self.heads * self.width)
