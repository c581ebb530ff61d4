"""Methods whose losses are of several binary classes, or need all rows or the sizes of classes."""

from __future__ import annotations

from types import MappingProxyType

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust import losses
from graphnoise.robust.training import Context, Method, Step

# Parameters of the beta distribution of shares.
MIXING = (0.3, 0.3)


class PositiveUnlabelled(Method):
    r"""Training with `gn.robust.losses.pu`: nodes with a label are positives of its class, all others unlabelled.

    The loss is of all rows of a batch together, nodes without a label too, so that rows have no loss of their own. On
    (user, item) pairs, clicks are the positives and all pairs of the batch the unlabelled ones. Added is

        mixup · mean (log y~ - log s(x~))^2,     x~ = b h_i + (1 - b) h_j,  y~ = b y_i + (1 - b) y_j

    with b of Beta(.3, .3), once per step, h the inputs of the last layer, j a random row, and y 1 for positives, else
    the predicted probability s without gradient. Predictions are the softmax of the logits.

    Args:
        alpha: Scale of the standard deviation that logits are divided by.
        gamma: Exponent of the weight of the unlabelled rows.
        mixup: Weight of the second term.

    Raises:
        InputError: A setting out of its range.

    Source:
        Yuan et al., "Positive Label Is All You Need for Multi-Label Classification", ICME 2024; the mixed embeddings,
        in place of mixed images, and y~ of two unlabelled rows are ours.
    """

    search = MappingProxyType({"alpha": (0.5, 2.0), "gamma": (0.3, 1.0)})

    def __init__(self, alpha: float = 1.0, gamma: float = 0.55, mixup: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.gamma = checks.real("alpha", alpha, 1e-6), checks.real("gamma", gamma, 0.0)
        self.mixup = checks.real("mixup", mixup, 0.0)

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return zeros: the loss of all rows is in `terms`."""
        return step.logits.sum(1) * 0.0

    def terms(self, step: Step) -> Tensor:
        """Return the loss of all rows of the batch."""
        z, context = step.output.logits, step.context
        positive = torch.zeros_like(z)
        positive[step.batch.at] = step.one_hot
        total = losses.pu(z, positive, alpha=self.alpha, gamma=self.gamma)
        if self.mixup == 0:
            return total
        generator = context.generator
        # By the inverse of the distribution function.
        share = float(betaincinv(*MIXING, float(torch.rand((), generator=generator, device=generator.device))))
        other = torch.randperm(len(z), generator=generator, device=generator.device)
        mixed = context.networks[step.network](step.batch.view, generator, lambda h: share * h + (1 - share) * h[other])
        y = torch.where(positive > 0, 1.0, z.detach().sigmoid())
        y = (share * y + (1 - share) * y[other]).clamp(min=1e-12)
        return total + self.mixup * (y.log() - F.logsigmoid(mixed.logits)).square().mean()


class MissingPositives(Method):
    r"""Training with `gn.robust.losses.balanced_focal` of each class; probable classes of a row become positives.

    Each class is a binary problem. At first the positives of a class are the rows with its label; after the warm-up
    also those that `gn.robust.losses.recover_positives` adds, with p = sigmoid of the logits and means over the
    labelled nodes of the batch. Given labels stay positives, so that a wrong one is joined by the right one, not
    replaced. Predictions are the softmax of the logits, without the adjustment to sizes of classes.

    Args:
        threshold: Probability that a missing positive must exceed.
        gamma: Exponent of the focus on hard negatives; 3 in the publication, whose data have some 80 classes. A
            negative of probability p weighs about p^gamma, so that among few classes wrong ones would stay probable.
        margin: What positives must exceed.
        balance: Weight of the adjustment of logits to sizes of classes.
        warm_up: Share of the epochs before positives are added.

    Raises:
        InputError: A setting out of its range.

    Source:
        Zhang et al., "Learning in Imperfect Environment: Multi-Label Classification with Long-Tailed Distribution and
        Partial Labels", ICCV 2023 (COMIC): its correction, which begins with the second epoch there, its focus
        and, in place of two experts, adjusted logits.
    """

    search = MappingProxyType({"threshold": (0.5, 0.9), "margin": (0.0, 1.0)})
    positive: Tensor

    def __init__(
        self,
        threshold: float = 0.7,
        gamma: float = 0.0,
        margin: float = 1.0,
        balance: float = 1.0,
        warm_up: float = 0.15,
    ) -> None:
        super().__init__()
        self.warm_up = checks.rate("warm_up", warm_up)
        self.threshold, self.gamma = checks.rate("threshold", threshold), checks.real("gamma", gamma, 0.0)
        self.margin, self.balance = checks.real("margin", margin), checks.real("balance", balance)

    def setup(self, context: Context) -> None:
        """Start from the given labels."""
        self.register_buffer("positive", F.one_hot(context.given, context.num_classes).bool())

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Update the positives, and return the loss of each labelled node of the batch."""
        if step.context.epoch >= step.context.epochs_in(self.warm_up):
            p = step.logits.detach().sigmoid()
            self.positive[step.rows] = losses.recover_positives(p, step.one_hot, threshold=self.threshold)
        settings = {"gamma": self.gamma, "margin": self.margin, "balance": self.balance}
        positive, counts = self.positive[step.rows], self.positive.sum(0)
        return losses.balanced_focal(step.logits, positive, counts=counts, reduction="none", **settings)


class Margin(Method):
    r"""Training with `gn.robust.losses.ldam` of logits divided by their length: rare classes get larger margins.

    The unit features are the network's outputs, the unit weights the axes, so that any network serves; predictions are
    the softmax of `scale` times the cosines. Sizes of classes are those of the current targets, so that a subclass that
    corrects labels changes them. It treats unequal sizes of classes, not wrong labels.

    Args:
        margin: Margin of the smallest class.
        scale: Factor of the cosines.

    Raises:
        InputError: A setting out of its range.

    Source:
        Cao et al., NeurIPS 2019 (LDAM), without deferred re-weighting.
    """

    # Of two logits of which one is 0, as those of pairs, the direction has no gradient.
    needs_graph = True
    search = MappingProxyType({"margin": (0.0, 1.0), "scale": (5.0, 50.0)})
    current: Tensor

    def __init__(self, margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__()
        self.margin, self.scale = checks.real("margin", margin, 0.0, 2.0), checks.real("scale", scale, 1e-3, 1e3)

    def setup(self, context: Context) -> None:
        """Start from the given labels."""
        self.register_buffer("current", context.given.clone())

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        self.current[step.rows] = targets if targets.dim() == 1 else targets.argmax(1)
        counts = torch.bincount(self.current, minlength=step.context.num_classes)
        cosines = F.normalize(step.logits)
        settings = {"margin": self.margin, "scale": self.scale}
        return losses.ldam(cosines, targets, counts=counts, reduction="none", **settings)

    def predict(self, context: Context, view: object) -> Tensor:
        """Return class probabilities of the view's nodes."""
        outputs = context.evaluate_view(view)
        return torch.stack([(self.scale * F.normalize(out.logits)).softmax(1) for out in outputs]).mean(0)
