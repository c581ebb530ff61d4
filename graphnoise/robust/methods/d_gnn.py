"""D-GNN: a graph isomorphism network trained with backward correction by an estimated noise matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise.graph import Graph
from graphnoise.nn import Linear, SparseFeatures
from graphnoise.robust.methods.transitions import Backward
from graphnoise.robust.training import GCN, View


class _Perceptron(torch.nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = Linear(inputs, hidden, bias=False, generator=generator)
        self.bias = torch.nn.Parameter(torch.zeros(hidden))
        self.second = Linear(hidden, outputs, bias=True, generator=generator)


class GIN(GCN):
    r"""Graph isomorphism network: each layer is a perceptron of two layers on the sum over a node and its neighbours.

    It computes what torch_geometric's GINConv does; the first linear map is taken before the sum, so that sparse
    features stay sparse. A self-loop in the graph is counted once. Arguments are those of `GCN`.

    Example:
        >>> network = GIN(2, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> view = View(torch.eye(2), torch.tensor([[0, 1], [1, 0]]))
        >>> network(view.features, view)[0].shape
        torch.Size([2, 3])

    Source:
        Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019, equation 4.1, with epsilon 0.
    """

    def build(self, inputs: int, outputs: int, hidden: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return _Perceptron(inputs, hidden, outputs, generator)

    def convolved(self, layer: _Perceptron, x: Tensor | SparseFeatures, view: View) -> Tensor:
        """Return the output of a layer."""
        h = layer.first(x)
        if view.edge_weight is None:
            summed = self.propagate(h, Graph.unchecked(view.graph.rowptr, view.graph.col))
        else:
            summed = h + self.propagate(h, view.edge_index, view.edge_weight)
        out: Tensor = layer.second(F.relu(summed + layer.bias))
        return out


class DGNN(Backward):
    r"""Backward correction, see `Backward`, of a graph isomorphism network.

    Sums over neighbours make logits large, and the corrected loss, which may be negative, has no lower bound: where the
    estimate of T is far from the identity, training drives it down and accuracy falls soon after the warm-up. With few
    labels of which many are wrong, the first epochs after it are then the best ones.

    Source:
        NT, Jin and Murata, "Learning Graph Neural Networks with Noisy Labels", ICLR 2019 workshop on learning from
        limited labeled data, sections 2 and 3.
    """

    needs_graph = True

    def default_network(
        self, num_features: int, hidden: int, num_classes: int, dropout: float, generator: torch.Generator
    ) -> torch.nn.Module:
        """Return a graph isomorphism network of two layers."""
        return GIN(num_features, hidden, num_classes, dropout=dropout, generator=generator)
