"""Dropout with a generator, a linear layer for dense and sparse features, graph convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.nn.block import Block
from graphnoise.nn.sparse import SparseFeatures, product
from graphnoise.resources import check_memory


def dropout(x: Tensor | SparseFeatures, p: float, generator: torch.Generator | None) -> Tensor | SparseFeatures:
    """Zero each entry with probability p and divide the others by 1 - p; no generator (or p = 0) means no dropout.

    Sparse features draw for their stored entries only, which is the same in distribution.

    Raises:
        InputError: x is no floating tensor and no `SparseFeatures`, p is outside [0, 1], or `generator` is no generator
            of torch.

    Example:
        >>> dropout(torch.ones(6), 0.5, torch.Generator().manual_seed(0)).unique().tolist()
        [0.0, 2.0]
        >>> dropout(torch.ones(2), 0.5, None).tolist()
        [1.0, 1.0]
    """
    if not isinstance(x, SparseFeatures) and not (isinstance(x, Tensor) and x.is_floating_point()):
        got = f"values of type {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        checks.fail("x", "a floating-point tensor or SparseFeatures", got)
    p = checks.rate("p", p)
    if generator is None or p == 0:
        return x
    generator = checks.torch_generator("generator", generator)
    if isinstance(x, SparseFeatures):
        return x.scaled(dropout_mask(x.value, p, generator))
    return x * dropout_mask(x, p, generator)


def dropout_mask(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Return the factors of dropout: 0 with probability p, else 1 / (1 - p), in the shape of x."""
    return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device).ge_(p).div_((1 - p) or 1.0)


class Linear(torch.nn.Module):
    """`x @ weight` (+ bias), for dense or sparse x; Glorot-uniform weights from a generator.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        bias: Whether to add a bias, zero at first.
        generator: Source of the initial weights.

    Raises:
        InputError: A number that is not an integer of at least 1, weights larger than the memory, or no generator.

    Example:
        >>> layer = Linear(3, 2, bias=True, generator=torch.Generator().manual_seed(0))
        >>> layer(torch.ones(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, generator: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = checks.integer("inputs", inputs, 1), checks.integer("outputs", outputs, 1)
        check_memory("weights of inputs × outputs", 8.0 * min(inputs, 1 << 62) * min(outputs, 1 << 62))
        bias, generator = checks.flag("bias", bias), checks.torch_generator("generator", generator)
        self.weight = torch.nn.Parameter(torch.empty(inputs, outputs))
        torch.nn.init.xavier_uniform_(self.weight, generator=generator)
        self.bias = torch.nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor | SparseFeatures) -> Tensor:
        """Return the transformed features, shape [num_nodes, outputs].

        Raises:
            InputError: x has not as many columns as the layer has inputs, or not the type of its weights.
        """
        if not isinstance(x, Tensor | SparseFeatures):
            checks.fail("x", "a tensor or SparseFeatures", type(x).__name__)
        if len(x.shape) < 2 or x.shape[-1] != self.weight.shape[0]:
            checks.fail("x", f"{self.weight.shape[0]} columns, one per input", f"shape {tuple(x.shape)}")
        if x.dtype != self.weight.dtype and not torch.is_autocast_enabled(self.weight.device.type):
            checks.fail("x", f"values of type {self.weight.dtype}, as the weights", x.dtype)
        out = x @ self.weight
        return out if self.bias is None else out + self.bias


class GraphConvolution(torch.nn.Module):
    r"""Graph convolution: S X W + b, with S the symmetrically normalised graph with self-loops.

    Args:
        inputs: Number of input features.
        outputs: Number of output features.
        generator: Source of the initial weights.

    Raises:
        InputError: As of `Linear`.

    Example:
        >>> layer = GraphConvolution(2, 3, generator=torch.Generator().manual_seed(0))
        >>> from graphnoise import Graph
        >>> graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).with_self_loops().normalise()
        >>> layer(torch.eye(2), Block.full(graph)).shape
        torch.Size([2, 3])

    Source:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, section 2.
    """

    def __init__(self, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs, bias=False, generator=generator)
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor | SparseFeatures, block: Block) -> Tensor:
        """Return the convolved features, shape [num_targets, outputs]; `block` holds normalised arcs and self-loops.

        Raises:
            InputError: x has not a row for each source of the block, a column for each input, or the type of the
                weights.
        """
        block.check(x)
        h = self.linear(x)
        block = block.to(h.dtype)
        return product(block.matrix, block.transpose, h) + self.bias
