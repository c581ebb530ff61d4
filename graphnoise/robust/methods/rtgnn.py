"""RTGNN: two networks on a graph with learned links; labels are kept, corrected or weighted down, others predicted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.methods.edges import LearnedLinks, nearest, reconstruction
from graphnoise.robust.training import Batch, Context, Method, Output, Step, View


class Governed(NamedTuple):
    """What RTGNN makes of labelled nodes.

    Attributes:
        labels: Class positions to train on, shape [batch_size].
        weights: Their weights, shape [batch_size].
    """

    labels: Tensor
    weights: Tensor


def govern(first: Tensor, second: Tensor, given: Tensor, progress: float, decay: float) -> Governed:
    r"""Keep, correct or weight down labels, by the logits of two networks.

    - The max(floor((1 - t / 2) n), number of losses below their mean) smallest losses are kept, with weight 1; the loss
      is the sum of both networks' cross-entropies.
    - Of the others, those for which both networks predict the same class, another than the given one, with
      p_1 p_2 > 1 - (1 - min(1/2, 1/n)) t, get that class, with weight (p_1 p_2)^((1 - t) / 2).
    - The rest keep their labels with weight `decay`.

    Args:
        first: Logits of the first network, shape [n, num_classes].
        second: Logits of the second network, of the same shape.
        given: Given labels, shape [n].
        progress: t, the share of epochs done.
        decay: Weight of the labels that are neither kept nor corrected.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [0.0, 0.2]])
        >>> govern(logits, logits, torch.tensor([0, 1, 0, 0]), 0.9, 0.1).labels
        tensor([0, 1, 1, 0])
    """
    n = len(given)
    losses = F.cross_entropy(first, given, reduction="none") + F.cross_entropy(second, given, reduction="none")
    count = max(int((1 - 0.5 * progress) * n), int((losses < losses.mean()).sum()))
    kept = torch.zeros(n, dtype=torch.bool, device=given.device)
    kept[losses.argsort(stable=True)[:count]] = True
    agreed, joint, labels = agreement(first, second)
    bound = 1 - (1 - min(0.5, 1 / n)) * progress
    corrected = ~kept & agreed & (labels != given) & (joint > bound)
    weights = torch.where(kept, torch.ones_like(joint), torch.full_like(joint, decay))
    weights = torch.where(corrected, joint ** (0.5 - 0.5 * progress), weights)
    return Governed(torch.where(corrected, labels, given), weights)


def agreement(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether two networks predict the same class, the product of its probabilities, and the first one's class.

    Example:
        >>> agreement(torch.tensor([[0.0, 0.0], [0.0, 9.0]]), torch.tensor([[9.0, 0.0], [9.0, 0.0]]))[0]
        tensor([ True, False])
    """
    (p, label), (q, other) = first.softmax(1).max(1), second.softmax(1).max(1)
    return label == other, p * q, label


def divergence(logits: Tensor, to: Tensor) -> Tensor:
    """Return KL(softmax(to) || softmax(logits)) of each row, with gradients to both.

    Example:
        >>> divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
        tensor([0.])
    """
    return F.kl_div(logits.log_softmax(1), to.log_softmax(1), reduction="none", log_target=True).sum(1)


class RTGNN(Method):
    r"""Two networks that govern the labels together, on a graph with links of learned weights.

    Labelled nodes are linked to their most similar other nodes; a link weighs w_ij = ReLU(h_i · h_j), with h the output
    of an edge predictor, or is left out below `cut`. Each network is trained on the labels that `govern` returns, with
    its weights. Added are, with p and q the probabilities of the networks and KL between them in both directions,

        alpha · reconstruction  +  mean over U of CE(p) + CE(q)
        + coefficient · (mean KL on labelled nodes + mean KL on U
                         + mean over labelled i, for both networks, of sum_j a_ij KL(p_j || p_i))

    with U the unlabelled nodes for which both predict the same class with p q > threshold^2, their label in CE, and
    a_ij the weights of the arcs into i, divided by their sum. Gradients of all parts reach the edge predictor through
    the weights of links. Predictions are the mean over both networks.

    The mean loss on labelled nodes is divided by the sum of their weights, as in all methods here; the paper divides by
    their number.

    Args:
        alpha: Weight of the reconstruction.
        coefficient: Weight of the terms of consistency.
        threshold: Root of the smallest product of probabilities of a pseudo label.
        decay: Weight of labels that are neither kept nor corrected.
        cut: Smallest weight of a link.
        neighbours: Number of similar unlabelled nodes that a labelled node may be linked to.
        negatives: Number of pairs without an edge per node in the reconstruction.
        width: Width of the edge predictor.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> RTGNN(decay=0).settings()["decay"]
        0.0

    Source:
        Qian, Ying, Hu, Zhou, Chen, Chen and Wu, "Robust Training of Graph Neural Networks via Noise Governance", WSDM
        2023, section 4.
    """

    needs_graph = True
    num_networks = 2

    def __init__(
        self,
        alpha: float = 1.0,
        coefficient: float = 0.1,
        threshold: float = 0.95,
        decay: float = 0.1,
        cut: float = 0.05,
        neighbours: int = 100,
        negatives: int = 50,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.alpha = checks.real("alpha", alpha, 0.0)
        self.coefficient = checks.real("coefficient", coefficient, 0.0)
        self.threshold, self.decay = checks.rate("threshold", threshold), checks.rate("decay", decay)
        self.cut = checks.real("cut", cut, 0.0)
        self.neighbours = checks.integer("neighbours", neighbours, 0)
        self.negatives = checks.integer("negatives", negatives, 1, 10_000)
        self.width = checks.integer("width", width, 1)
        # Of the step that is computed: the graph with links, and the reconstruction.
        self._step: tuple[View, Tensor] | None = None

    def setup(self, context: Context) -> None:
        """Choose the links, and make the edge predictor."""
        links = nearest(context.full, context.labelled, context.unlabelled, self.neighbours)
        self.edges = LearnedLinks(context, links, self.width, self.cut)

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of both networks on the batch with its links."""
        view, h = self.edges(batch.view, batch.nodes)
        self._step = view, reconstruction(batch.view, h, self.negatives, context.generator)
        return [network(view, context.generator) for network in context.networks]

    def _governed(self, step: Step) -> Governed:
        first, second = (output.logits[step.batch.at] for output in step.outputs)
        return govern(first, second, step.given, step.context.progress, self.decay)

    def targets(self, step: Step) -> Tensor:
        """Return the given labels, some corrected."""
        return self._governed(step).labels

    def weights(self, step: Step) -> Tensor | None:
        """Return the weights of the labels."""
        return self._governed(step).weights

    def terms(self, step: Step) -> Tensor | float:
        """Return the reconstruction, the loss on pseudo labels and the terms of consistency; all count once."""
        if step.network:
            return 0.0
        assert self._step is not None
        (view, rebuilt), self._step = self._step, None
        at = step.batch.at
        both = [output.logits for output in step.outputs]
        agreed, joint, labels = agreement(*(logits.detach() for logits in both))
        sure = step.others[(agreed & (joint > self.threshold**2))[step.others]]
        pseudo = sum(F.cross_entropy(logits[sure], labels[sure]) for logits in both) if len(sure) else 0.0
        between = sum(_mutual(both[0][rows], both[1][rows]) for rows in (at, sure) if len(rows))
        within = sum(self._within(view, logits, at) for logits in both)
        return self.alpha * rebuilt + pseudo + self.coefficient * (between + within)

    def _within(self, view: View, logits: Tensor, at: Tensor) -> Tensor:
        """Return the mean over labelled nodes of the weighted mean divergence from their neighbours."""
        assert view.edge_weight is not None
        labelled = torch.zeros(view.num_nodes, dtype=torch.bool, device=at.device)
        labelled[at] = True
        arcs = labelled[view.edge_index[1]].nonzero().view(-1)
        (source, target), weight = view.edge_index[:, arcs], view.edge_weight[arcs]
        total = weight.new_zeros(view.num_nodes).index_add(0, target, weight).clamp(min=1e-12)
        return (weight / total[target] * divergence(logits[target], logits[source])).sum() / len(at)

    @torch.no_grad()
    def predict(self, context: Context, view: object) -> Tensor:
        """Return the mean of both networks' probabilities."""
        return super().predict(context, self.edges(view)[0])


def _mutual(first: Tensor, second: Tensor) -> Tensor:
    return (divergence(first, second) + divergence(second, first)).mean()
