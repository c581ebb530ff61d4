"""ICGNN: labels that contradict the influence of other classes are mixed with what neighbours predict."""

from __future__ import annotations

import torch
from sklearn.neighbors import kneighbors_graph
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.influence import influence_contradictions
from graphnoise.noise.mixture import lower_component
from graphnoise.propagation import propagate
from graphnoise.resources import limit_threads
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step

# Change at which the propagation of predictions ends, and that of the scores, whose values are small.
TOLERANCE, SCORE_TOLERANCE = 1e-4, 1e-9


class ICGNN(WarmUp):
    r"""Soft labels where a label contradicts the nodes that influence it; pseudo-labels for all other nodes.

    With T = ε (I - (1 - ε) S)^-1, S the graph with self-loops, normalised symmetrically, and R the same of the graph of
    nearest embeddings, p the predictions and m the two-component mixture of normal distributions:

        ICS_i = (1 - α) Σ_{c ≠ y_i} mean_{k: y_k = c} T_ik + α Σ_{c ≠ y_i} mean_{k: y_k = c} R_ik
        h_i ∝ (Σ_k T_ik p_k)^(1 / τ),   b_i = P_m(lower component | ICS_i)
        loss = mean_labelled CE(b_i y_i + (1 - b_i) h_i) + λ mean_unlabelled CE(h_i)

    The inverse is not computed: T meets a column per class. λ is constant after the warm-up on the given labels. The
    publication adds the sums over labelled and unlabelled nodes; here each is a mean, so that λ does not depend on how
    many are labelled. It leaves ε and the number of neighbours open; its runs have temperatures from 0.01 to 1. Its
    code has predicted links, terms of entropy and a mixture for each class besides, which are left out.

    Args:
        epsilon: Restart probability ε.
        alpha: Weight α of the graph of embeddings in the score.
        num_neighbours: Number of nearest embeddings (cosine) of a node.
        temperature: Temperature τ.
        pseudo_weight: Weight λ of the unlabelled nodes.
        warm_up: Share of the epochs with plain cross-entropy.
        refresh: Epochs between two searches for nearest embeddings.

    Source:
        Ju et al., "Identifying and Correcting Label Noise for Robust GNNs via Influence Contradiction", ICML 2026,
        arXiv 2601.17469.
    """

    version = "2"
    needs_graph = True
    clean: Tensor
    aggregated: Tensor
    structure: Tensor
    age: Tensor

    def __init__(
        self,
        epsilon: float = 0.15,
        alpha: float = 0.5,
        num_neighbours: int = 20,
        temperature: float = 0.5,
        pseudo_weight: float = 1.0,
        warm_up: float = 0.15,
        refresh: int = 50,
    ) -> None:
        super().__init__(warm_up)
        self.epsilon = checks.real("epsilon", epsilon, 0.001, 1.0)
        self.alpha = checks.rate("alpha", alpha)
        self.num_neighbours = checks.integer("num_neighbours", num_neighbours, 1)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.pseudo_weight = checks.real("pseudo_weight", pseudo_weight, 0.0)
        self.refresh = checks.integer("refresh", refresh, 1)

    def setup(self, context: Context) -> None:
        """Make the state: clean probabilities of the labelled nodes, and aggregated predictions of all."""
        self.register_buffer("clean", torch.ones(len(context.labelled)))
        self.register_buffer("aggregated", torch.zeros(context.full.num_nodes, context.num_classes))
        self.register_buffer("structure", self._scores(context, context.full.graph))
        # Epochs since the search for nearest embeddings; -1 before the first one.
        self.register_buffer("age", torch.tensor(-1))

    def _scores(self, context: Context, graph: Graph) -> Tensor:
        y = torch.full((graph.num_nodes,), -1).index_copy_(0, context.labelled, context.given)
        alpha = 1 - self.epsilon
        scores = influence_contradictions(graph, y, context.num_classes, alpha=alpha, tol=SCORE_TOLERANCE)
        # They come in the order of the nodes.
        return scores[context.labelled.argsort().argsort()]

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Aggregate predictions; divide the labels anew where embeddings are as old as `refresh`."""
        if self.warming(context):
            return
        output = context.evaluate()
        p, alpha = output.logits.softmax(1), 1 - self.epsilon
        received = propagate(context.full.graph, p, alpha=alpha, num_steps=100_000, tol=TOLERANCE).y
        self.aggregated.copy_((received.clamp(min=1e-12).log() / self.temperature).softmax(1))
        self.age += 1
        if int(self.age) % self.refresh == 0:
            scores = (1 - self.alpha) * self.structure
            if self.alpha > 0:
                nearest = nearest_graph(output.embedding, self.num_neighbours)
                scores = scores + self.alpha * self._scores(context, nearest)
            self.clean.copy_(torch.from_numpy(lower_component(scores.numpy())))

    def targets(self, step: Step) -> Tensor:
        """Return b y + (1 - b) h."""
        if self.warming(step.context):
            return step.one_hot
        clean = self.clean[step.rows, None]
        return clean * step.one_hot + (1 - clean) * self.aggregated[step.batch.nodes[step.batch.at]]

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss of the pseudo-labels."""
        if self.warming(step.context) or not len(step.others):
            return 0.0
        targets = self.aggregated[step.batch.nodes[step.others]]
        return self.pseudo_weight * F.cross_entropy(step.output.logits[step.others], targets)


def nearest_graph(x: Tensor, count: int) -> Graph:
    """Return the graph of the nodes nearest by cosine, in either direction, with self-loops, normalised symmetrically.

    Args:
        x: Embeddings, shape [num_nodes, width].
        count: Number of nearest nodes of each; all others where there are fewer.

    Example:
        >>> nearest_graph(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]]), 1).to_dense()
        tensor([[0.5000, 0.5000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.5000, 0.5000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    count = min(count, len(x) - 1)
    # On rows of length 1, the order of distances is that of cosines. The search is exact, in blocks.
    with limit_threads(1):
        matrix = kneighbors_graph(F.normalize(x).numpy(), count, include_self=False)
    return Graph.from_scipy(((matrix + matrix.T) > 0).astype("float32")).with_self_loops().normalise("sym")
