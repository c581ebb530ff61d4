"""DnD-NeT: a perceptron on propagated features, labels weighted by their neighbourhood, reliable pseudo-labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.propagation import propagate
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, SmoothedMLP, Step


class DnDNet(WarmUp):
    r"""Decoupled propagation, a loss that weights labels by what the neighbourhood predicts, and pseudo-labels.

        loss = Σ_labelled w_i CE(f_i, y_i) / Σ_labelled w_i + λ mean_reliable CE(f_i, c_i),   w_i = q_i(y_i)

    The network is a perceptron on propagated features (`SmoothedMLP`), so that no learned message carries a wrong label
    on; a model of the user takes its place. p are its predictions, q the mean of p over a node and its neighbours,
    weighted as in a graph convolution. A node without a label is reliable, with pseudo-label c_i, where p and q have
    their largest value at the same class c_i and both exceed a threshold. p and q are computed once per epoch.

    Of the publication only the parts are known here: decoupled propagation, a loss aware of noise, reliable
    pseudo-labels on the graph. Weights, rule of reliability, thresholds and warm-up are this package's choice, and so
    its published figures are not those of this method.

    Args:
        num_steps: Steps of the propagation of features.
        alpha: Weight of the neighbours in each of them.
        threshold: Confidence of a pseudo-label.
        pseudo_weight: Weight λ of the pseudo-labels.
        warm_up: Share of the epochs with plain cross-entropy.

    Source:
        Parts: Ding et al., "Divide and Denoise: Empowering Simple Models for Robust Semi-Supervised Node Classification
        against Label Noise", KDD 2024.
    """

    needs_graph = True
    agreed: Tensor
    pseudo: Tensor

    def __init__(
        self,
        num_steps: int = 10,
        alpha: float = 0.9,
        threshold: float = 0.8,
        pseudo_weight: float = 1.0,
        warm_up: float = 0.15,
    ) -> None:
        super().__init__(warm_up)
        self.num_steps, self.alpha = checks.integer("num_steps", num_steps, 0, 1000), checks.rate("alpha", alpha)
        self.threshold = checks.rate("threshold", threshold)
        self.pseudo_weight = checks.real("pseudo_weight", pseudo_weight, 0.0)

    def default_network(
        self, num_features: int, hidden: int, num_classes: int, dropout: float, generator: torch.Generator
    ) -> torch.nn.Module:
        """Return a perceptron on propagated features."""
        return SmoothedMLP(
            num_features,
            hidden,
            num_classes,
            num_steps=self.num_steps,
            alpha=self.alpha,
            dropout=dropout,
            generator=generator,
        )

    def setup(self, context: Context) -> None:
        """Make the state: predictions of the neighbourhoods, and pseudo-labels, -1 where there is none."""
        shape = (context.full.num_nodes, context.num_classes)
        self.register_buffer("agreed", torch.ones(shape))
        self.register_buffer("pseudo", torch.full(shape[:1], -1))

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Compute predictions of the neighbourhoods and pseudo-labels."""
        if not self.warming(context):
            p = context.evaluate().logits.softmax(1)
            q = F.normalize(propagate(context.full.graph, p, alpha=1.0, num_steps=1).y, p=1.0)
            self.agreed.copy_(q)
            self.pseudo.copy_(reliable_labels(p, q, self.threshold))

    def weights(self, step: Step) -> Tensor:
        """Return the probability of the given labels in the neighbourhoods; 1 in the warm-up."""
        return self.agreed[step.batch.nodes[step.batch.at], step.given]

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss of the pseudo-labels."""
        labels = self.pseudo[step.batch.nodes[step.others]]
        at = labels >= 0
        if not bool(at.any()):
            return 0.0
        return self.pseudo_weight * F.cross_entropy(step.output.logits[step.others[at]], labels[at])


def reliable_labels(p: Tensor, q: Tensor, threshold: float) -> Tensor:
    """Return the class where two predictions agree and both are sure, else -1, shape [num_nodes].

    Args:
        p: Class probabilities of the nodes, shape [num_nodes, num_classes].
        q: Those of their neighbourhoods.
        threshold: Least probability.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
        >>> q = torch.tensor([[0.8, 0.2], [0.1, 0.9], [0.9, 0.1]])
        >>> reliable_labels(p, q, 0.8)
        tensor([ 0, -1, -1])
    """
    (p_max, p_class), (q_max, q_class) = p.max(1), q.max(1)
    sure = (p_class == q_class) & (torch.minimum(p_max, q_max) >= threshold)
    return torch.where(sure, p_class, -1)
