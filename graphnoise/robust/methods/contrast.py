"""Contrastive learning of two random views of a graph, as CGNN and CRGNN use it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise.nn import Linear
from graphnoise.robust.training import View

# Width of the projections that are contrasted.
WIDTH = 64


class Projection(torch.nn.Module):
    """A perceptron with one hidden layer, from embeddings to the space in which they are contrasted.

    Args:
        inputs: Width of the embeddings.
        generator: Source of the initial weights.
    """

    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = Linear(inputs, WIDTH, bias=True, generator=generator)
        self.last = Linear(WIDTH, WIDTH, bias=True, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projections, shape [num_nodes, WIDTH]."""
        out: Tensor = self.last(F.elu(self.first(x)))
        return out


def augmented(view: View, arcs: float, features: float, generator: torch.Generator) -> View:
    """Return a view without random shares of the arcs and of the features."""
    return view.drop_arcs(arcs, generator).mask_features(features, generator)


def sampled_rows(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return at most `size` of `count` positions, drawn at random."""
    return torch.randperm(count, generator=generator)[:size]


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    r"""Return the mean over i, and over both directions, of -log(exp(s_ii / τ) / Σ_j exp(s_ij / τ)), s the cosines.

    Args:
        first: Projections in one view, shape [size, width].
        second: Those of the same nodes in the other view; the other rows are the negatives.
        temperature: Temperature τ.

    Example:
        >>> info_nce(torch.eye(2), torch.eye(2), 1.0)
        tensor(0.3133)

    Source:
        van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, equation 4.
    """
    scores = F.normalize(first) @ F.normalize(second).t() / temperature
    own = torch.arange(len(scores))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2
