"""Methods that train through a transition matrix T[i, j] = P(given label j | true class i), known or estimated."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.noise import Transition, anchor_points, symmetric
from graphnoise.robust.losses import backward_correction, forward_correction, importance_reweighting
from graphnoise.robust.training import Context, Method, Step


class TransitionMethod(Method, ABC):
    r"""Base of methods that read T: cross-entropy first, from whose best epoch T is estimated, then another loss.

    T is read at anchor points of the predictions for all nodes, without dropout, in the epoch of the warm-up with the
    least cross-entropy of the given validation labels (without any, its last epoch). Training goes on from the weights
    of that epoch. Epochs of the warm-up are not selected; a run that ends in it was plain cross-entropy.

    Args:
        transition: T if it is known, a `Transition` or a matrix [C, C]; there is no warm-up then.
        warm_up: Share of the epochs with cross-entropy.
        percentile: See `gn.noise.anchor_points`; against outliers, the anchor of a class is not the node with its
            greatest probability. A class with fewer than 3 % of the nodes needs more than 97.

    Attributes:
        transition: T, known or estimated, float64, shape [C, C].

    Raises:
        InputError: A setting out of its range, T of another number of classes, or given labels that T cannot produce.
    """

    search = MappingProxyType({"warm_up": (0.1, 0.6)})
    transition: Tensor
    warming: Tensor
    least: Tensor

    def __init__(
        self,
        transition: Transition | Tensor | None = None,
        *,
        warm_up: float = 0.25,
        percentile: float | None = 97.0,
    ) -> None:
        super().__init__()
        self.warm_up = checks.real("warm_up", warm_up, 0.0, 0.9)
        self.percentile = None if percentile is None else checks.real("percentile", percentile, 0.0, 100.0)
        self.known = transition is not None
        if transition is not None and not isinstance(transition, Transition):
            matrix = checks.finite("transition", transition, dims=2)
            try:
                transition = Transition(matrix)
            except checks.InputError as error:
                raise checks.InputError(f"transition: {error}") from error
        self.register_buffer("transition", None if transition is None else transition.matrix)

    @property
    def noise_rate(self) -> float:
        """Share of wrong labels that T means for true classes of equal sizes, after training."""
        return Transition(self.transition).expected_rate()

    def setup(self, context: Context) -> None:
        """Start without noise, unless T is known."""
        device = context.given.device
        start = self.transition if self.known else torch.eye(context.num_classes, dtype=torch.float64)
        if len(start) != context.num_classes:
            expected = f"{context.num_classes} classes, as the labelled nodes have"
            checks.fail("transition", expected, len(start))
        impossible = (start[:, torch.unique(context.given.cpu())] <= 0).all(0)
        if bool(impossible.any()):
            expected = "a matrix that can produce all given labels"
            checks.fail("transition", expected, f"one that cannot produce {int(impossible.sum())} of their classes")
        self.transition = start.to(device)
        # The networks of the best epoch of the warm-up.
        self.best = copy.deepcopy(_modules(context)).requires_grad_(False)
        self.register_buffer("warming", torch.tensor(not self.known))
        self.register_buffer("least", torch.tensor(math.inf, dtype=torch.float64))

    def start_epoch(self, context: Context) -> None:
        """End the warm-up, and go on from its best weights."""
        if self.warming and context.progress >= self.warm_up:
            self.warming.fill_(False)
            _modules(context).load_state_dict(self.best.state_dict())
            context.forget()

    def ready(self, context: Context) -> bool:
        """Return whether the warm-up is over."""
        return not bool(self.warming)

    def end_epoch(self, context: Context) -> None:
        """Estimate T, in the warm-up."""
        if not self.warming:
            return
        # No class has probability 0.
        p = context.evaluate().logits.double().softmax(1).clamp(min=1e-12)
        known = context.val_given >= 0
        if bool(known.any()):
            loss = F.nll_loss(p[context.val[known]].log(), context.val_given[known])
            if loss >= self.least:
                return
            self.least.copy_(loss)
        self.transition = anchor_points(p, self.percentile).transition.matrix.to(p.device)
        self.best.load_state_dict(_modules(context).state_dict())

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return cross-entropy in the warm-up, then the corrected loss."""
        return super().loss(step, targets) if self.warming else self.corrected(step, targets)

    @abstractmethod
    def corrected(self, step: Step, targets: Tensor) -> Tensor:
        """Return the corrected loss of each labelled node of the batch."""


def _modules(context: Context) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(context.networks)  # type: ignore[arg-type]


class Forward(TransitionMethod):
    r"""Forward correction: -log (Tᵗ p)_y, the likelihood of the given label if p are the true classes.

    Predictions are p. See `TransitionMethod` for the estimate of T. The paper trains a new network after it; here the
    best one of the warm-up goes on.

    Source:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017,
        theorem 2 and section 4.
    """

    def corrected(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        return forward_correction(step.logits, targets, self.transition, "none")


class Backward(TransitionMethod):
    r"""Backward correction: (T⁻¹ l)_y with l_k = -log p_k, unbiased for the loss of the true labels.

    It may be negative, and its variance grows as T comes near a singular matrix; of a singular one the pseudo-inverse
    is used. See `TransitionMethod` for the estimate of T.

    Source:
        Patrini et al., CVPR 2017, theorem 1 and section 4.
    """

    def corrected(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        return backward_correction(step.logits, targets, self.transition, "none", pseudo_inverse=True)


class TRevision(TransitionMethod):
    r"""Cross-entropy weighted by p_y / (Tᵗ p)_y, the probability that the given label is right; T is revised.

    After the warm-up, T is fixed first; from `revise_from` on it is the estimate plus a learned matrix, with negative
    entries set to 0 and rows scaled to sum to 1 (the paper's code divides columns by these sums). Weights are constants
    for the network, and train the revision.

    Args:
        transition: As in `TransitionMethod`.
        warm_up: As in `TransitionMethod`.
        percentile: As in `TransitionMethod`.
        revise_from: Share of the epochs from which on T is revised.
        revision: Change of T by a step, relative to the learning rate; 0.04 · 0.01 for 100 epochs move T as far as the
            paper's 5e-7 for 200 epochs of 390 batches.

    Attributes:
        transition: T after the revision, float64, shape [C, C].

    Raises:
        InputError: As `TransitionMethod`.

    Source:
        Xia et al., "Are Anchor Points Really Indispensable in Label-Noise Learning?", NeurIPS 2019, section 3.
    """

    estimate: Tensor

    def __init__(
        self,
        transition: Transition | Tensor | None = None,
        *,
        warm_up: float = 0.25,
        percentile: float | None = 97.0,
        revise_from: float = 0.6,
        revision: float = 0.04,
    ) -> None:
        super().__init__(transition, warm_up=warm_up, percentile=percentile)
        self.revise_from = checks.rate("revise_from", revise_from)
        self.revision = checks.real("revision", revision, 0.0, 100.0)

    def setup(self, context: Context) -> None:
        """Start without a revision."""
        super().setup(context)
        self.register_buffer("estimate", self.transition.clone())
        self.change = torch.nn.Parameter(torch.zeros_like(self.estimate))

    def revised(self) -> Tensor:
        """Return the estimate of T plus its learned change, as a transition matrix."""
        matrix = (self.estimate + self.revision * self.change).clamp(min=1e-12)
        return matrix / matrix.sum(1, keepdim=True)

    def end_epoch(self, context: Context) -> None:
        """Estimate T, in the warm-up; then report its revision."""
        super().end_epoch(context)
        if self.warming:
            self.estimate = self.transition.clone()
        elif context.progress > self.revise_from:
            self.transition = self.revised().detach()

    def corrected(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        if step.context.progress < self.revise_from:
            return importance_reweighting(step.logits, targets, self.transition, "none")
        matrix = self.revised()
        fixed = importance_reweighting(step.logits, targets, matrix.detach(), "none")
        revised = importance_reweighting(step.logits.detach(), targets, matrix, "none", detach=False)
        return fixed + revised - revised.detach()


class SModel(Method):
    r"""A layer of noise behind the network, learned with it: -log (pᵗ T)_y with T = softmax(B) by rows.

    B starts at log T of symmetric noise. Predictions are p, without the layer.

    Args:
        noise_rate: Rate of the symmetric noise that it starts from, above 0 and below 1.

    Attributes:
        transition: T, float64, shape [C, C].

    Raises:
        InputError: A setting out of its range.

    Source:
        Goldberger and Ben-Reuven, "Training Deep Neural-Networks Using a Noise Adaptation Layer", ICLR 2017, section 3
        (the simple model).
    """

    search = MappingProxyType({"noise_rate": (0.05, 0.7)})

    def __init__(self, noise_rate: float = 0.1) -> None:
        super().__init__()
        self.noise_rate = checks.real("noise_rate", noise_rate, 1e-6, 1 - 1e-6)

    def setup(self, context: Context) -> None:
        """Make the layer."""
        start = symmetric(context.num_classes, self.noise_rate).matrix.log()
        self.scores = torch.nn.Parameter(start.to(context.given.device))
        self.register_buffer("transition", self.scores.detach().softmax(1))

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        # No class has probability 0, whatever the learning rate.
        return forward_correction(step.logits, targets, self.scores.softmax(1).clamp(min=1e-12), "none")

    def end_epoch(self, context: Context) -> None:
        """Report T."""
        self.transition = self.scores.detach().softmax(1)
