"""CGNN: contrastive learning next to cross-entropy; labels that most neighbours contradict are corrected."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.robust.methods.contrast import Projection, augmented, info_nce, sampled_rows
from graphnoise.robust.training import Context, Method, Step


class CGNN(Method):
    r"""Cross-entropy plus a contrastive loss of two random views; labels are corrected to the neighbours' majority.

        loss = mean CE(f_i, ŷ_i) + λ InfoNCE(z, z'),   ŷ_i = c where at least a share γ of the neighbours of i is
                                                        predicted c, and y_i else

    The correction is computed for all labelled nodes at the end of each epoch, from the given labels, once a share of
    the epochs is done. The contrastive loss has the nodes of a random block as negatives in place of all. The
    publication leaves λ and the epoch of the first correction open.

    Args:
        contrast: Weight λ of the contrastive loss.
        temperature: Its temperature.
        drop_arcs: Share of the arcs that a view lacks.
        mask_features: Share of the features that a view lacks.
        agreement: Share γ of the neighbours.
        correct_after: Share of the epochs after which labels are corrected.
        block: Number of nodes that are contrasted in a step.

    Attributes:
        labels: The labels that are trained on, shape [num_labelled].

    Source:
        Yuan et al., "Learning on Graphs under Label Noise", ICASSP 2023, arXiv 2306.08194.
    """

    needs_graph = True
    labels: Tensor

    def __init__(
        self,
        contrast: float = 1.0,
        temperature: float = 0.5,
        drop_arcs: float = 0.5,
        mask_features: float = 0.5,
        agreement: float = 0.8,
        correct_after: float = 0.5,
        block: int = 512,
    ) -> None:
        super().__init__()
        self.contrast = checks.real("contrast", contrast, 0.0)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.drop_arcs = checks.rate("drop_arcs", drop_arcs)
        self.mask_features = checks.rate("mask_features", mask_features)
        self.agreement = checks.rate("agreement", agreement)
        self.correct_after = checks.rate("correct_after", correct_after)
        self.block = checks.integer("block", block, 2)

    def setup(self, context: Context) -> None:
        """Make the projection, and the labels as given."""
        self.projection = Projection(context.evaluate().embedding.shape[1], context.generator)
        self.register_buffer("labels", context.given.clone())

    def targets(self, step: Step) -> Tensor:
        """Return the labels, corrected where most neighbours contradict them."""
        return self.labels[step.rows]

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrastive loss of a random block of nodes."""
        context, view = step.context, step.batch.view
        rows = sampled_rows(len(step.batch.nodes), self.block, context.generator)
        projections = []
        for _ in range(2):
            seen = augmented(view, self.drop_arcs, self.mask_features, context.generator)
            embedding = context.networks[step.network](seen, context.generator).embedding
            projections.append(self.projection(embedding[rows]))
        return self.contrast * info_nce(projections[0], projections[1], self.temperature)

    def end_epoch(self, context: Context) -> None:
        """Correct the labels."""
        if context.progress >= self.correct_after:
            predicted = context.evaluate().logits.argmax(1)
            shares = neighbour_shares(context.full.edge_index, predicted, context.num_classes)[context.labelled]
            share, majority = shares.max(1)
            corrected = (share >= self.agreement) & (share > 0)
            self.labels.copy_(torch.where(corrected, majority, context.given))


def neighbour_shares(edge_index: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Return the share of each class among the neighbours, shape [num_nodes, num_classes]; zeros where there are none.

    Args:
        edge_index: Arcs (source, target); loops do not count.
        y: Class of each node.
        num_classes: Number of classes.

    Example:
        >>> neighbour_shares(torch.tensor([[1, 2, 0], [0, 0, 0]]), torch.tensor([0, 1, 0, 1]), 2)[0]
        tensor([0.5000, 0.5000])
    """
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    keys = target * num_classes + y[source]
    counts = torch.bincount(keys, minlength=len(y) * num_classes).view(len(y), num_classes).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1.0)
