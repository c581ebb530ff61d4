"""CRGNN: cross-entropy where two random views agree, contrastive loss, consistency of both spaces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.robust.methods.contrast import Projection, augmented, info_nce, sampled_rows
from graphnoise.robust.training import Context, Method, Output, Step
from graphnoise.robust.training.batches import Batch


class CRGNN(Method):
    r"""Cross-entropy on nodes whose predictions agree in two random views, with contrastive losses.

        loss = (CE + CE') / 2 over labelled nodes with argmax f_i = argmax f'_i
               + α (InfoNCE(z, z') + InfoNCE(z, z'_neighbour)) / 2 + β KL(p-space ‖ z-space)

    f and f' are the logits in the two views, z and z' projections. One neighbour of each node is drawn per step, the
    node itself where it has none. Nodes of a random block are contrasted, in place of all. Where no labelled node
    agrees, cross-entropy is 0 in that step.

    The publication says of the last term that it makes the space of classification and that of contrast consistent;
    its form is this package's choice: over the pairs of the block, the distribution softmax_j(p_i · p'_j / τ) and
    softmax_j(cos(z_i, z'_j) / τ) are compared, p the class probabilities, and both are trained.

    Args:
        alpha: Weight α of the contrastive loss.
        beta: Weight β of the consistency of the two spaces.
        temperature: Temperature τ.
        drop_arcs: Share of the arcs that a view lacks.
        mask_features: Share of the features that a view lacks.
        block: Number of nodes that are contrasted in a step.

    Source:
        Li et al., "Contrastive learning of graphs under label noise", Neural Networks 172, 2024.
    """

    needs_graph = True

    def __init__(
        self,
        alpha: float = 0.2,
        beta: float = 0.2,
        temperature: float = 0.5,
        drop_arcs: float = 0.3,
        mask_features: float = 0.3,
        block: int = 512,
    ) -> None:
        super().__init__()
        self.alpha, self.beta = checks.real("alpha", alpha, 0.0), checks.real("beta", beta, 0.0)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.drop_arcs = checks.rate("drop_arcs", drop_arcs)
        self.mask_features = checks.rate("mask_features", mask_features)
        self.block = checks.integer("block", block, 2)

    def setup(self, context: Context) -> None:
        """Make the projection."""
        self.projection = Projection(context.evaluate().embedding.shape[1], context.generator)

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of the network for two random views."""
        settings = (self.drop_arcs, self.mask_features, context.generator)
        return [context.networks[0](augmented(batch.view, *settings), context.generator) for _ in range(2)]

    def select(self, step: Step) -> Tensor:
        """Return where the two views agree."""
        return step.logits.argmax(1) == step.peer.logits.argmax(1)

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return half of the cross-entropy, since there are two views."""
        return F.cross_entropy(step.logits, targets, reduction="none") / 2

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrastive losses and the consistency, with the loss of the first view."""
        if step.network == 1:
            return 0.0
        generator, graph = step.context.generator, step.batch.view.graph
        rows = sampled_rows(len(step.batch.nodes), self.block, generator)
        first, second = (self.projection(output.embedding[rows]) for output in step.outputs)
        near = self.projection(step.outputs[1].embedding[drawn_neighbours(graph, rows, generator)])
        contrast = (info_nce(first, second, self.temperature) + info_nce(first, near, self.temperature)) / 2
        p, q = (output.logits[rows].softmax(1) for output in step.outputs)
        return self.alpha * contrast + self.beta * space_consistency(p, q, first, second, self.temperature)


def drawn_neighbours(graph: Graph, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return a neighbour of each of these nodes, drawn at random; self-loops count.

    Args:
        graph: A graph in which each of the nodes has an arc, such as its self-loop.
        rows: Positions of the nodes.
        generator: Source of random numbers.
    """
    start, degree = graph.rowptr[rows], graph.rowptr.diff()[rows]
    place = (torch.rand(len(rows), generator=generator, dtype=torch.float64) * degree).long()
    return graph.col[start + place]


def space_consistency(p: Tensor, q: Tensor, first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the mean KL(softmax_j(p_i · q_j / τ) ‖ softmax_j(cos(first_i, second_j) / τ)); 0 where both are equal.

    Args:
        p: Class probabilities in one view, shape [size, num_classes].
        q: Those in the other view.
        first: Projections in one view, shape [size, width].
        second: Those in the other view.
        temperature: Temperature τ.

    Example:
        >>> sure = torch.eye(2)
        >>> space_consistency(sure, sure, sure, sure, 0.5), space_consistency(sure, sure, sure, sure.flip(0), 0.5) > 1
        (tensor(0.), tensor(True))
    """
    classes = (p @ q.t() / temperature).log_softmax(1)
    contrast = (F.normalize(first) @ F.normalize(second).t() / temperature).log_softmax(1)
    return F.kl_div(contrast, classes, reduction="batchmean", log_target=True)
