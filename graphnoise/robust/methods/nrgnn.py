"""NRGNN: links from unlabelled to labelled nodes with learned weights, and pseudo labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.methods.edges import LearnedLinks, nearest, reconstruction
from graphnoise.robust.training import Batch, Context, Method, Output, Step


class NRGNN(Method):
    r"""Links between unlabelled and similar labelled nodes, weighted by an edge predictor, and pseudo labels.

    Two networks, the classifier and a pseudo-label miner, read the graph with its links. With h the output of the edge
    predictor, a link weighs w_ij = ReLU(h_i · h_j), or is left out below `cut`; with p^m and p^c the probabilities of
    miner and classifier, the loss is

        CE(p^c) + CE(p^m) + alpha · reconstruction + beta · mean over U of -sum_k p^m_k log p^c_k

    with U the unlabelled nodes whose largest p^m exceeds `confidence`. Gradients of all parts reach the edge predictor
    through the weights of links. The miner's p^m are taken from the best of its epochs so far by accuracy on the
    (noisy) validation labels; without these, from the last one. Predictions are the classifier's.

    The paper links unlabelled nodes to pseudo-labelled nodes too, of which there are up to n^2 pairs; here links go to
    the labelled nodes only, and are chosen once by the similarity of features.

    Args:
        alpha: Weight of the reconstruction.
        beta: Weight of the pseudo labels.
        cut: Smallest weight of a link.
        confidence: Smallest probability of a pseudo label.
        neighbours: Number of similar labelled nodes that an unlabelled node may be linked to.
        negatives: Number of pairs without an edge per node in the reconstruction.
        width: Width of the edge predictor.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> NRGNN(alpha=0.3)
        NRGNN(alpha=0.3, beta=1.0, cut=0.1, confidence=0.8, neighbours=50, negatives=50, width=64)

    Source:
        Dai, Aggarwal and Wang, "NRGNN: Learning a Label Noise-Resistant Graph Neural Network on Sparsely and Noisily
        Labeled Graphs", KDD 2021, section 4.
    """

    needs_graph = True
    num_networks = 2
    pseudo: Tensor
    mined: Tensor
    best_accuracy: Tensor

    def __init__(
        self,
        alpha: float = 0.03,
        beta: float = 1.0,
        cut: float = 0.1,
        confidence: float = 0.8,
        neighbours: int = 50,
        negatives: int = 50,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.alpha, self.beta = checks.real("alpha", alpha, 0.0), checks.real("beta", beta, 0.0)
        self.cut, self.confidence = checks.real("cut", cut, 0.0), checks.rate("confidence", confidence)
        self.neighbours = checks.integer("neighbours", neighbours, 0)
        self.negatives = checks.integer("negatives", negatives, 1, 10_000)
        self.width = checks.integer("width", width, 1)
        self._reconstruction: Tensor | None = None

    def setup(self, context: Context) -> None:
        """Choose the links, and make the edge predictor."""
        links = nearest(context.full, context.unlabelled, context.labelled, self.neighbours)
        self.edges = LearnedLinks(context, links, self.width, self.cut)
        x = context.full.x
        self.register_buffer("pseudo", x.new_zeros(len(x), context.num_classes))
        self.register_buffer("mined", torch.zeros(len(x), dtype=torch.bool, device=x.device))
        self.register_buffer("best_accuracy", torch.tensor(-1.0, dtype=torch.float64))

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of classifier and miner on the batch with its links."""
        view, h = self.edges(batch.view, batch.nodes)
        self._reconstruction = reconstruction(batch.view, h, self.negatives, context.generator)
        return [network(view, context.generator) for network in context.networks]

    def terms(self, step: Step) -> Tensor | float:
        """Return the reconstruction and the loss on pseudo labels; both count once."""
        if step.network:
            return 0.0
        assert self._reconstruction is not None
        total, self._reconstruction = self.alpha * self._reconstruction, None
        at = self.mined[step.batch.nodes].nonzero().view(-1)
        if len(at):
            total = total + self.beta * F.cross_entropy(step.output.logits[at], self.pseudo[step.batch.nodes[at]])
        return total

    @torch.no_grad()
    def end_epoch(self, context: Context) -> None:
        """Take new pseudo labels where the miner is as good as ever."""
        view, _ = self.edges(context.full)
        p = context.networks[1](view).logits.softmax(1)
        if len(context.val):
            accuracy = (p[context.val].argmax(1) == context.val_given).double().mean()
            if accuracy < self.best_accuracy:
                return
            self.best_accuracy.copy_(accuracy)
        self.pseudo.copy_(p)
        self.mined.copy_(p.amax(1) > self.confidence)
        self.mined[context.labelled] = False

    @torch.no_grad()
    def predict(self, context: Context, view: object) -> Tensor:
        """Return the classifier's probabilities."""
        linked, _ = self.edges(view)
        return context.networks[0](linked).logits.softmax(1)
