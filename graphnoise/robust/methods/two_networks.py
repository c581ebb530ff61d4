"""Methods of two networks that select nodes of small loss: co-teaching, co-teaching+, JoCoR, and a loss mixture."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.noise.mixture import lower_component
from graphnoise.robust.methods.ggp_targets import noise_rate
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Method, Step


class CoTeaching(Method):
    r"""Co-teaching: each of two networks trains on the nodes of small loss that the other one selects.

    In epoch t, counted from 0, each network selects the share

        R(t) = 1 - rate · min(t / ramp, 1)

    of each class's labelled nodes of the batch, with its smallest cross-entropies, and the other one trains on them. At
    least the node of smallest loss of each class is selected, so that a rate of 1 leaves one node per class; a rate of
    0 is plain training of two networks, whose predictions are averaged.

    Args:
        rate: Share of the labels that is wrong. None: that of `GraphGP`, fitted to the labelled nodes once.
        ramp: Epochs until the whole rate is left out.
        balanced: Whether the share is that of each class, or of all labelled nodes.

    Attributes:
        rate_: The rate used.

    Source:
        Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018,
        algorithm 1, with the share of all nodes. On a graph, whole classes have small losses in the first epochs, of
        one step each, and the others are then never selected: hence the share of each class. The estimated rate is an
        addition.
    """

    rate_: Tensor
    num_networks = 2
    search: ClassVar[dict[str, tuple[float, float]]] = {"rate": (0.0, 0.6)}

    def __init__(self, rate: float | None = None, ramp: int = 10, balanced: bool = True) -> None:
        super().__init__()
        self.rate = None if rate is None else checks.rate("rate", rate)
        self.ramp = checks.integer("ramp", ramp, 1)
        self.balanced = checks.flag("balanced", balanced)

    def setup(self, context: Context) -> None:
        """Estimate the rate, where it is not given."""
        rate = noise_rate(context) if self.rate is None else self.rate
        self.register_buffer("rate_", torch.tensor(rate, dtype=torch.float64))

    def share(self, epoch: int) -> float:
        """Return R(t), the share that is selected."""
        return 1 - float(self.rate_) * min(epoch / self.ramp, 1.0)

    def select(self, step: Step) -> Tensor:
        """Return the selection of the other network."""
        return self.chosen(_losses(step.peer), step)

    def chosen(self, losses: Tensor, step: Step) -> Tensor:
        """Return which nodes have losses among the share of smallest ones."""
        return smallest(losses, step.given, self.share(step.context.epoch), balanced=self.balanced)


class CoTeachingPlus(CoTeaching):
    r"""Co-teaching+: co-teaching among the nodes whose class the two networks predict differently.

    Where fewer than `minimum` nodes of the batch are predicted differently, the selection is that of `CoTeaching`
    (with none, the paper's is empty).

    Args:
        rate: Share of the labels that is wrong. None: that of `GraphGP`, fitted to the labelled nodes once.
        ramp: Epochs until the whole rate is left out.
        balanced: Whether the share is that of each class, or of all labelled nodes.
        warm_up: Share of the epochs with co-teaching, before.
        minimum: Number of nodes predicted differently from which on only they count.

    Attributes:
        rate_: The rate used.

    Source:
        Yu et al., "How does Disagreement Help Generalization against Label Corruption?", ICML 2019, algorithm 1.
    """

    def __init__(
        self,
        rate: float | None = None,
        ramp: int = 10,
        balanced: bool = True,
        warm_up: float = 0.25,
        minimum: int = 10,
    ) -> None:
        super().__init__(rate, ramp, balanced)
        self.warm_up = checks.rate("warm_up", warm_up)
        self.minimum = checks.integer("minimum", minimum, 1)

    def select(self, step: Step) -> Tensor:
        """Return the selection of the other network among the nodes that are predicted differently."""
        context, differ = step.context, step.logits.argmax(1) != step.peer.logits.argmax(1)
        if context.epoch < context.epochs_in(self.warm_up) or int(differ.sum()) < self.minimum:
            return super().select(step)
        share = self.share(context.epoch)
        chosen = smallest(_losses(step.peer)[differ], step.given[differ], share, balanced=self.balanced)
        return differ.masked_scatter(differ, chosen)


class JoCoR(CoTeaching):
    r"""JoCoR: two networks trained together on the nodes of small joint loss, with a penalty of their difference.

        l = (1 - weight) (CE(p_1, y) + CE(p_2, y)) + weight (KL(p_1 || p_2) + KL(p_2 || p_1))

    Both train on the share R(t) (see `CoTeaching`) of smallest l. The loss of each network is its own part, so that the
    two add up to l.

    Args:
        rate: Share of the labels that is wrong. None: that of `GraphGP`, fitted to the labelled nodes once.
        ramp: Epochs until the whole rate is left out.
        balanced: Whether the share is that of each class, or of all labelled nodes.
        weight: Weight of the divergences, the paper's lambda, in [0, 1].

    Attributes:
        rate_: The rate used.

    Source:
        Wei et al., "Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization", CVPR 2020,
        equations 1 to 5. The paper selects the weight for each data set, from 0.05 to 0.95.
    """

    search: ClassVar[dict[str, tuple[float, float]]] = {"rate": (0.0, 0.6), "weight": (0.05, 0.95)}

    def __init__(self, rate: float | None = None, ramp: int = 10, balanced: bool = True, weight: float = 0.1) -> None:
        super().__init__(rate, ramp, balanced)
        self.weight = checks.rate("weight", weight)

    def select(self, step: Step) -> Tensor:
        """Return the nodes of small joint loss, the same for both networks."""
        # In one order for both networks, so that rounding is the same too.
        first = step if step.network == 0 else step.peer
        joint = self.loss(first, step.given) + self.loss(first.peer, step.given)
        return self.chosen(joint, step)

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return this network's part of the joint loss."""
        own, other = step.logits.log_softmax(1), step.peer.logits.log_softmax(1)
        divergence = (own.exp() * (own - other)).sum(1)
        return (1 - self.weight) * F.cross_entropy(step.logits, targets, reduction="none") + self.weight * divergence


class SmallLoss(WarmUp):
    r"""Two networks, each trained on the labels that a mixture of the other one's losses takes to be right.

    Every few epochs, two normal distributions of one variance are fitted to the cross-entropies of each network, less
    the mean of their class, as in `graphnoise.audit.detect.loss_mixture`. The labels that belong to the lower one with
    probability above `threshold` are targets of the other network as they are. The others are replaced by the mean
    prediction p of both networks, sharpened to p^(1 / temperature), normalised, and count by `weight`.

    The label of smallest loss of each class is always kept, and all are where losses are equal. With few labels the
    networks learn the wrong ones in the warm-up, whose losses are then small too, and most of these are kept.

    Args:
        warm_up: Share of the epochs with plain training, before; they are not selected as the best.
        threshold: Probability above which a label is kept.
        temperature: Temperature of the predictions that replace labels.
        weight: Weight of the nodes whose label is replaced.
        every: Epochs between two fits (an epoch of a full batch is one step).

    Source:
        Li et al., "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020, sections 3.1 and 3.2,
        without MixMatch, whose mixed inputs have no counterpart on a graph, and with losses centred: on a graph, whole
        classes have large ones.
    """

    clean: Tensor
    predicted: Tensor
    num_networks = 2
    search: ClassVar[dict[str, tuple[float, float]]] = {"threshold": (0.3, 0.9), "weight": (0.0, 2.0)}

    def __init__(
        self,
        warm_up: float = 0.15,
        threshold: float = 0.5,
        temperature: float = 0.5,
        weight: float = 1.0,
        every: int = 5,
    ) -> None:
        super().__init__(warm_up)
        self.threshold = checks.rate("threshold", threshold)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.weight = checks.real("weight", weight, 0.0)
        self.every = checks.integer("every", every, 1)

    def setup(self, context: Context) -> None:
        """Keep all labels at first."""
        size = len(context.given)
        self.register_buffer("clean", torch.ones(2, size, dtype=torch.bool))
        self.register_buffer("predicted", F.one_hot(context.given, context.num_classes).float())

    def start_epoch(self, context: Context) -> None:
        """Divide the labels anew, by the losses of each network."""
        if self.warming(context) or (context.epoch - context.epochs_in(self.warm_up)) % self.every:
            return
        logits = [context.evaluate(k).logits[context.labelled] for k in range(2)]
        self.clean.copy_(torch.stack([self.divide(scores, context.given) for scores in logits]))
        mean = torch.stack([scores.softmax(1) for scores in logits]).mean(0)
        self.predicted.copy_((mean.clamp(min=1e-12).log() / self.temperature).softmax(1))

    def divide(self, logits: Tensor, given: Tensor) -> Tensor:
        """Return which labels are kept, Boolean, shape [n]."""
        losses = F.cross_entropy(logits, given, reduction="none").double()
        sizes = torch.bincount(given).clamp(min=1)
        means = losses.new_zeros(len(sizes)).index_add(0, given, losses) / sizes
        # Rounded, so that equal losses stay equal.
        centred = (losses - means[given]).round(decimals=9)
        right = torch.from_numpy(lower_component(centred.cpu().numpy())).to(losses.device)
        equal = (right == right[0]).all()
        return equal | (right > self.threshold) | smallest(losses, given, 0.0)

    def _kept(self, step: Step) -> Tensor:
        return self.clean[1 - step.network, step.rows]

    def targets(self, step: Step) -> Tensor:
        """Return the given labels where they are kept, otherwise the sharpened predictions."""
        return torch.where(self._kept(step).unsqueeze(1), step.one_hot, self.predicted[step.rows])

    def weights(self, step: Step) -> Tensor:
        """Return 1 where the label is kept, otherwise `weight`."""
        return torch.where(self._kept(step), 1.0, self.weight)


def _losses(step: Step) -> Tensor:
    return F.cross_entropy(step.logits, step.given, reduction="none")
