"""UnionNET: labels are weighted and corrected by the labels of near labelled nodes with similar embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step

# Labelled nodes whose random walks are drawn at once.
CHUNK = 2048


class UnionNET(WarmUp):
    r"""Weights and corrections of labels from class probabilities among labelled nodes that random walks reach.

        P_i(c) = Σ_{j in S_i, y_j = c} exp(h_i · h_j) / Σ_{j in S_i} exp(h_i · h_j)
        loss = (1 - α) mean P_i(y_i) CE(f_i, y_i) + α mean P_i(ŷ_i) CE(f_i, ŷ_i) + β KL(prior ‖ mean softmax f)

    with ŷ_i = argmax P_i, h the embeddings and S_i the k labelled nodes, i left out, that random walks from i visit
    most often. S is drawn once, P is computed each epoch; no gradient passes through it. A labelled node from which no
    other is reached keeps its label with weight 1. The prior are the shares of the given labels.

    Args:
        num_supports: Number k of labelled nodes in a support set.
        alpha: Weight α of the correction.
        beta: Weight β of the prior.
        num_walks: Number of random walks from each labelled node.
        length: Steps of a walk.
        warm_up: Share of the epochs with plain cross-entropy.

    Attributes:
        supports: Positions of the support sets among the labelled nodes, -1 where there are fewer, shape
            [num_labelled, k].
        probabilities: Class probabilities P, shape [num_labelled, num_classes].

    Source:
        Li, Yin and Chen, "Unified Robust Training for Graph Neural Networks against Label Noise", PAKDD 2021,
        arXiv 2103.03414.
    """

    needs_graph = True
    supports: Tensor
    probabilities: Tensor
    prior: Tensor

    def __init__(
        self,
        num_supports: int = 10,
        alpha: float = 0.5,
        beta: float = 1.0,
        num_walks: int = 100,
        length: int = 10,
        warm_up: float = 0.1,
    ) -> None:
        super().__init__(warm_up)
        self.num_supports = checks.integer("num_supports", num_supports, 1, 10_000)
        self.alpha, self.beta = checks.rate("alpha", alpha), checks.real("beta", beta, 0.0)
        self.num_walks = checks.integer("num_walks", num_walks, 1, 10_000)
        self.length = checks.integer("length", length, 1)

    def setup(self, context: Context) -> None:
        """Draw the support sets."""
        walks = (self.num_walks, self.length, context.generator)
        supports = support_sets(context.full.graph, context.labelled, self.num_supports, *walks)
        self.register_buffer("supports", supports)
        self.register_buffer("probabilities", F.one_hot(context.given, context.num_classes).float())
        self.register_buffer("prior", self.probabilities.mean(0))

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Compute the class probabilities of all labelled nodes."""
        if not self.warming(context):
            embedding = context.evaluate().embedding[context.labelled]
            p = class_probabilities(embedding, self.supports, context.given, context.num_classes)
            self.probabilities.copy_(p)

    def targets(self, step: Step) -> Tensor:
        """Return (1 - α) P(y) on the given class plus α P(ŷ) on the most probable one; rows need not sum to 1."""
        if self.warming(step.context):
            return step.one_hot
        p = self.probabilities[step.rows]
        best = F.one_hot(p.argmax(1), p.shape[1])
        return (1 - self.alpha) * p * step.one_hot + self.alpha * p * best

    def terms(self, step: Step) -> Tensor | float:
        """Return the divergence of the mean prediction of the batch from the shares of the labels."""
        if self.warming(step.context):
            return 0.0
        mean = step.logits.softmax(1).mean(0).clamp(min=1e-12)
        return self.beta * F.kl_div(mean.log(), self.prior, reduction="sum")


def class_probabilities(embedding: Tensor, supports: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Return the share of each class in a support set, weighted by exp(h_i · h_j), shape [num_labelled, num_classes].

    Args:
        embedding: Embeddings of the labelled nodes, shape [num_labelled, width].
        supports: Positions of the support sets, -1 for none, shape [num_labelled, k].
        y: Labels, shape [num_labelled].
        num_classes: Number of classes.

    Example:
        >>> h = torch.tensor([[1.0], [1.0], [0.0]])
        >>> class_probabilities(h, torch.tensor([[1, 2], [0, -1], [-1, -1]]), torch.tensor([0, 1, 0]), 2)
        tensor([[0.2689, 0.7311],
                [1.0000, 0.0000],
                [1.0000, 0.0000]])
    """
    found = supports >= 0
    scores = torch.einsum("if,ikf->ik", embedding, embedding[supports.clamp(min=0)])
    weights = scores.masked_fill(~found, -torch.inf).softmax(1).masked_fill(~found, 0.0)
    p = torch.zeros(len(y), num_classes).scatter_add_(1, y[supports.clamp(min=0)], weights)
    return torch.where(found.any(1, keepdim=True), p, F.one_hot(y, num_classes).to(p))


def support_sets(
    graph: Graph, labelled: Tensor, count: int, num_walks: int, length: int, generator: torch.Generator
) -> Tensor:
    """Return the labelled nodes that random walks from each labelled node visit most often, itself left out.

    Args:
        graph: A graph in which each node has an arc, such as its self-loop.
        labelled: Positions of the labelled nodes.
        count: Number of nodes of a set.
        num_walks: Number of walks from each node.
        length: Steps of a walk.
        generator: Source of random numbers.

    Returns:
        Positions among the labelled nodes, most visits first, -1 where there are fewer, shape [num_labelled, count].
    """
    degree, size = graph.rowptr.diff(), len(labelled)
    position = torch.full((graph.num_nodes,), -1).index_copy_(0, labelled, torch.arange(size))
    supports = torch.full((size, count), -1)
    for rows in torch.split(torch.arange(size), CHUNK):
        row = rows.repeat_interleave(num_walks)
        node, keys = labelled[row], []
        for _ in range(length):
            drawn = torch.rand(len(node), generator=generator, dtype=torch.float64)
            node = graph.col[graph.rowptr[node] + (drawn * degree[node]).long()]
            met = position[node]
            keys.append((row * size + met)[(met >= 0) & (met != row)])
        key, visits = torch.unique(torch.cat(keys), return_counts=True)
        # By row, and within a row by visits.
        order = torch.argsort(visits, descending=True, stable=True)
        order = order[torch.argsort(key[order] // size, stable=True)]
        owner, met = key[order] // size, key[order] % size
        first = torch.cat([owner.new_zeros(1), torch.bincount(owner, minlength=size).cumsum(0)])
        rank = torch.arange(len(owner)) - first[owner]
        kept = rank < count
        supports[owner[kept], rank[kept]] = met[kept]
    return supports
