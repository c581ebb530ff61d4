"""D-GNN: a graph isomorphism network trained with backward correction by an estimated noise matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.nn import Linear, SparseFeatures
from graphnoise.robust.training import GCN, Context, Method, Step, View


def anchor_transition(probabilities: Tensor, percentile: float) -> Tensor:
    """Return the noise matrix that a network's probabilities show at one anchor per class.

    The anchor of class i is the node whose probability of i is at this percentile; row i is its probabilities.

    Args:
        probabilities: Shape [num_nodes, num_classes].
        percentile: In [0, 100]; below 100, outliers are not taken.

    Returns:
        T with T_ij the probability of label j at class i, shape [num_classes, num_classes].

    Example:
        >>> anchor_transition(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), 100.0)
        tensor([[0.7500, 0.2500],
                [0.5000, 0.5000]])

    Source:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017,
        section 4.1.
    """
    order = probabilities.argsort(dim=0, stable=True)
    return probabilities[order[int(percentile / 100 * (len(order) - 1))]]


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


class DGNN(Method):
    r"""A graph isomorphism network trained with backward correction.

    The first epochs, a share `warmup`, use cross-entropy. Then the noise matrix T (T_ij: probability of label j at
    class i) is estimated at anchors by the network's probabilities for all nodes, without dropout, and from there on
    the loss of a node of given label y is

        sum_k (T^-1)_yk · CE_k ,    CE_k = -log softmax(f)_k

    whose mean over the noise is the cross-entropy of the true class. It may be negative. The inverse is the
    pseudo-inverse where T is singular. The epoch that is kept is one after the warm-up. The default network is
    `GIN`.

    Args:
        warmup: Share of the epochs before T is estimated.
        percentile: Percentile of the anchors' probabilities.

    Attributes:
        transition: T, shape [num_classes, num_classes]; the identity before it is estimated.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> DGNN()
        DGNN(warmup=0.5, percentile=97.0)

    Source:
        NT, Jin and Murata, "Learning Graph Neural Networks with Noisy Labels", ICLR 2019 workshop on learning from
        limited labeled data, sections 2 and 3; Patrini et al., CVPR 2017, theorem 1.
    """

    needs_graph = True
    transition: Tensor
    estimated: Tensor

    def __init__(self, warmup: float = 0.5, percentile: float = 97.0) -> None:
        super().__init__()
        self.warmup = checks.rate("warmup", warmup)
        self.percentile = checks.real("percentile", percentile, 0.0, 100.0)

    def default_network(
        self, num_features: int, hidden: int, num_classes: int, dropout: float, generator: torch.Generator
    ) -> torch.nn.Module:
        """Return a graph isomorphism network of two layers."""
        return GIN(num_features, hidden, num_classes, dropout=dropout, generator=generator)

    def setup(self, context: Context) -> None:
        """Begin without noise."""
        self.register_buffer("transition", torch.eye(context.num_classes, device=context.full.x.device))
        self.register_buffer("estimated", torch.zeros((), dtype=torch.bool))

    def start_epoch(self, context: Context) -> None:
        """Estimate the noise matrix after the warm-up."""
        if context.progress >= self.warmup and not self.estimated:
            self.transition.copy_(anchor_transition(context.evaluate().logits.softmax(1), self.percentile))
            self.estimated.fill_(True)

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the corrected loss."""
        if not self.estimated:
            return super().loss(step, targets)
        return _backward_corrected(step.logits, targets, self.transition)

    def ready(self, context: Context) -> bool:
        """Return whether the loss is corrected."""
        return bool(self.estimated)


def _backward_corrected(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    inverse = torch.linalg.pinv(transition.double()).to(logits.dtype)
    losses: Tensor = -(inverse[labels] * F.log_softmax(logits, 1)).sum(1)
    return losses
