"""ADELE: labels are corrected class by class, from the epoch in which the network begins to memorise a class."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.robust.detection import onset, overlaps
from graphnoise.robust.methods.contrast import augmented
from graphnoise.robust.training import Context, Method, Step

# Checkpoints of a run.
CHECKPOINTS = 32


class ADELE(Method):
    r"""Correction of labels from the onset of memorisation on, which is sought for each class.

    At 32 checkpoints of the run, the overlap of each class c is a_c = |predicted c and given c| / |predicted c or given
    c| over the labelled nodes. A saturating curve is fitted to its values so far; where its slope has fallen by 0.9,
    c is open from then on (`graphnoise.robust.detection.onset`). At each checkpoint node i then gets the class argmax
    p_i as its label if y_i is open, argmax p_i is open and max p_i > threshold, with p the mean prediction for random
    views. Corrections start from the given labels each time, so that none is kept that predictions no longer support.

    Args:
        threshold: Probability above which a prediction replaces a label.
        arcs: Share of the arcs that a view is without.
        features: Share of the features that a view is without.
        views: Number of views.

    Attributes:
        opened: Checkpoint at which each class was opened, -1 where it was not, shape [num_classes].

    Source:
        Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022, section 3.
        There the onset is sought in the first 16 epochs, whatever the run, curves that rise by less than 0.1 in an
        epoch are left out, background is always open, and views of three scales have a consistency term, which is
        left out here.
    """

    needs_graph = True
    curves: Tensor
    opened: Tensor
    labels: Tensor

    def __init__(self, threshold: float = 0.8, arcs: float = 0.2, features: float = 0.2, views: int = 3) -> None:
        super().__init__()
        self.threshold = checks.rate("threshold", threshold)
        self.arcs, self.features = checks.rate("arcs", arcs), checks.rate("features", features)
        self.views = checks.integer("views", views, 1)

    def setup(self, context: Context) -> None:
        """Start with the given labels, and with all classes closed."""
        count = math.ceil(context.epochs / self._every(context))
        device = context.given.device
        self.register_buffer("curves", torch.zeros(count, context.num_classes, dtype=torch.float64))
        self.register_buffer("opened", torch.full((context.num_classes,), -1, device=device))
        self.register_buffer("labels", context.given.clone())

    @staticmethod
    def _every(context: Context) -> int:
        return max(1, context.epochs // CHECKPOINTS)

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Open classes and correct labels, at a checkpoint."""
        number, rest = divmod(context.epoch, self._every(context))
        if rest:
            return
        given = context.given.cpu().numpy()
        predicted = context.evaluate().logits[context.labelled].argmax(1).cpu().numpy()
        self.curves[number] = torch.from_numpy(overlaps(predicted, given, context.num_classes))
        for c in np.flatnonzero(self.opened.cpu().numpy() < 0):
            if onset(self.curves[: number + 1, c].numpy()) <= number:
                self.opened[c] = number
        views = [augmented(context.full, self.arcs, self.features, context.generator) for _ in range(self.views)]
        p = torch.stack([context.networks[0](view).logits[context.labelled].softmax(1) for view in views]).mean(0)
        self.labels.copy_(corrected(p, context.given, self.opened >= 0, self.threshold))

    def targets(self, step: Step) -> Tensor:
        """Return the corrected labels."""
        return self.labels[step.rows]


def corrected(p: Tensor, given: Tensor, opened: Tensor, threshold: float) -> Tensor:
    """Return labels, replaced by the predicted class where both classes are open and the probability is high enough.

    Args:
        p: Class probabilities, shape [n, num_classes].
        given: Given labels, shape [n].
        opened: Which classes are open, Boolean, shape [num_classes].
        threshold: Probability above which a label is replaced.

    Example:
        >>> p, opened = torch.tensor([[0.01, 0.99, 0.0], [0.0, 0.01, 0.99]]), torch.tensor([True, True, False])
        >>> corrected(p, torch.tensor([0, 1]), opened, 0.8).tolist()
        [1, 1]
    """
    surest, classes = p.max(1)
    return torch.where(opened[given] & opened[classes] & (surest > threshold), classes, given)
