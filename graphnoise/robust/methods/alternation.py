"""LSA: two detectors of wrong labels by turns, a linear rule on features and a mixture of the losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn.features import principal, row_normalised, smoothed
from graphnoise.robust.detection import centred, high_losses, linear_rule
from graphnoise.robust.methods.contrast import augmented
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step
from graphnoise.typing import Floats

# Smoothing steps and principal directions of the features that the linear rule reads.
HOPS, DIRECTIONS = 2, 32


class LSA(WarmUp):
    r"""Two detectors of wrong labels by turns; labels taken as wrong are replaced by sharpened predictions.

    After a warm-up, the score g of each label is found in even epochs by a logistic regression on smoothed features
    S² X, in standardised principal directions, that learns from the labels which the loss is sure of (g < 0.05 and g
    > 0.95 by the mixture of the losses, each less the mean of its class), and in odd epochs by that mixture itself.
    Where one of these two kinds is missing, the mixture takes the turn. Labels with g ≤ threshold, and the one of
    least g of each class, train as they are, with weight 1. The others have the target p² / Σ p², p the mean
    prediction for two random views, and as weight the probability that the cross-entropy with this target belongs to
    the lower of two normal distributions.

    The linear rule reads neither the label nor an embedding that labels have trained: it finds the wrong labels of
    nodes that are unlike others, and none that are flipped whatever the node. Losses are those of nodes that are
    trained on, so that after a long warm-up, when the network has learned the wrong labels too, neither detector
    finds them.

    Args:
        warm_up: Share of the epochs with plain training, before; they are not selected as the best.
        threshold: Score up to which a label is kept.
        arcs: Share of the arcs that a view is without.
        features: Share of the features that a view is without.

    Attributes:
        detectors: For each epoch 0 where the linear rule was used, 1 for the losses, -1 before; shape [epochs].

    Source:
        In the spirit of LSA, whose finding is that accurate detection is not enough: its alternation, detectors and
        sharpening. There all labels that are not flagged count as right, the regression has no penalty and the features
        are self-supervised embeddings of images; graphs have fewer labels than such features.
    """

    needs_graph = True
    clean: Tensor
    pseudo: Tensor
    credit: Tensor
    detectors: Tensor

    def __init__(self, warm_up: float = 0.15, threshold: float = 0.5, arcs: float = 0.2, features: float = 0.2) -> None:
        super().__init__(warm_up)
        self.threshold = checks.rate("threshold", threshold)
        self.arcs, self.features = checks.rate("arcs", arcs), checks.rate("features", features)

    def setup(self, context: Context) -> None:
        """Keep all labels at first."""
        view, device = context.full, context.given.device
        z = smoothed(row_normalised(view.x), view.graph, HOPS)
        self._z = (z @ principal(z, DIRECTIONS))[context.labelled].double().cpu().numpy()
        self.register_buffer("clean", torch.ones(len(context.given), dtype=torch.bool, device=device))
        self.register_buffer("pseudo", F.one_hot(context.given, context.num_classes).float())
        self.register_buffer("credit", torch.ones(len(context.given), device=device))
        self.register_buffer("detectors", torch.full((context.epochs,), -1, dtype=torch.int8))

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Score the labels by the detector whose turn it is."""
        if self.warming(context):
            return
        logits, given = context.evaluate().logits[context.labelled], context.given
        scores, detector = high_losses(centred(_losses(logits, given), given.cpu().numpy())), 1
        if (context.epoch - context.epochs_in(self.warm_up)) % 2 == 0:
            linear = linear_rule(self._z, scores)
            scores, detector = (scores, 1) if linear is None else (linear, 0)
        self.detectors[context.epoch] = detector
        wrong = torch.from_numpy(scores).to(given.device)
        self.clean.copy_((wrong <= self.threshold) | smallest(wrong, given, 0.0))
        views = [augmented(context.full, self.arcs, self.features, context.generator) for _ in range(2)]
        p = torch.stack([context.networks[0](view).logits[context.labelled].softmax(1) for view in views]).mean(0)
        self.pseudo.copy_(p.square() / p.square().sum(1, keepdim=True))
        noisy = (~self.clean).nonzero().view(-1)
        low = 1 - high_losses(_losses(logits[noisy], self.pseudo[noisy]))
        self.credit.fill_(1.0)
        self.credit[noisy] = torch.from_numpy(low).to(self.credit)

    def targets(self, step: Step) -> Tensor:
        """Return the given labels where they are kept, otherwise the sharpened predictions."""
        return torch.where(self.clean[step.rows].unsqueeze(1), step.one_hot, self.pseudo[step.rows])

    def weights(self, step: Step) -> Tensor:
        """Return 1 where the label is kept, otherwise the credit of the prediction."""
        return self.credit[step.rows]


def _losses(logits: Tensor, targets: Tensor) -> Floats:
    losses: Floats = F.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
    return losses
