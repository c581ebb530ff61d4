"""Weights and soft labels by the network's own losses, confidences and changes of mind."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.detection import centred, divergences, high_losses
from graphnoise.robust.methods.adapters import MIN_WEIGHT
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.methods.sources import propagated_from_others
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step


class AdaptiveSmoothing(WarmUp):
    r"""Label smoothing that is stronger where the loss is high: the target (1 - ε_i) y_i + ε_i / C.

    ε_i = strength · g_i, with g_i the probability that the loss of node i, less the mean of its class, belongs to the
    higher of two normal distributions, fitted anew in each epoch after the warm-up.

    Args:
        warm_up: Share of the epochs without smoothing; they are not selected as the best.
        strength: Smoothing where g = 1.

    Source:
        In the spirit of NEVLP's noise-adaptive regularisation, where the mixture of the losses sets the smoothing of
        each pair of image and text; the form is ours.
    """

    eps: Tensor

    def __init__(self, warm_up: float = 0.05, strength: float = 0.9) -> None:
        super().__init__(warm_up)
        self.strength = checks.rate("strength", strength)

    def setup(self, context: Context) -> None:
        """Start without smoothing."""
        self.register_buffer("eps", torch.zeros(len(context.given), device=context.given.device))

    def start_epoch(self, context: Context) -> None:
        """Fit the mixture."""
        if self.warming(context):
            return
        losses = F.cross_entropy(context.evaluate().logits[context.labelled], context.given, reduction="none")
        own = centred(losses.double().cpu().numpy(), context.given.cpu().numpy())
        self.eps.copy_(self.strength * torch.from_numpy(high_losses(own)))

    def targets(self, step: Step) -> Tensor:
        """Return the smoothed labels."""
        eps = self.eps[step.rows].unsqueeze(1)
        return (1 - eps) * step.one_hot + eps / step.context.num_classes


class Blend(WarmUp):
    r"""Labels weighted by the mean of what propagation and the network itself say of them; the least sure are left out.

    e_i is the share of the own label in what the labels of other folds propagate to node i, and m_i = p_i[y_i] divided
    by its maximum over the nodes of class y_i. From the end of the warm-up on w_i = (e_i + m_i) / 2, and the nodes
    below the quantile `dropped` of w are left out, except the best one of each class; before, w_i = e_i.

    e takes errors to be static: where they have spread from node to node, neighbours agree on the wrong label.

    Args:
        warm_up: Share of the epochs with e alone; they are not selected as the best.
        dropped: Share of the nodes that is left out.
        folds: Number of folds of the labels that are propagated.

    Source:
        In the spirit of MarvelOVD, which blends the scores of a vision-language model and of the detector in training.
        There the weight is e + m, up to 2 where trusted ones have 1, and a threshold of .9, which empties small
        classes.
    """

    needs_graph = True
    outside: Tensor
    blended: Tensor
    kept: Tensor

    def __init__(self, warm_up: float = 0.1, dropped: float = 0.3, folds: int = 5) -> None:
        super().__init__(warm_up)
        self.dropped, self.folds = checks.rate("dropped", dropped), checks.integer("folds", folds, 2)

    def setup(self, context: Context) -> None:
        """Propagate the labels of the other folds."""
        given = context.given
        codes = torch.unique(given, return_inverse=True)[1]
        outside = torch.ones(len(given), device=given.device)
        if int((torch.bincount(codes) > 1).sum()) > 1:
            shares = propagated_from_others(context, codes.cpu().numpy(), self.folds).to(given.device)
            outside = shares.gather(1, given.unsqueeze(1)).squeeze(1).float()
        self.register_buffer("outside", outside)
        self.register_buffer("blended", outside.clone())
        self.register_buffer("kept", torch.ones(len(given), dtype=torch.bool, device=given.device))

    def start_epoch(self, context: Context) -> None:
        """Blend both scores."""
        if self.warming(context):
            return
        given = context.given
        own = context.evaluate().logits[context.labelled].softmax(1).gather(1, given.unsqueeze(1)).squeeze(1)
        largest = own.new_zeros(context.num_classes).scatter_reduce(0, given, own, "amax")
        self.blended.copy_((self.outside + own / largest[given].clamp(min=1e-12)) / 2)
        bound = torch.quantile(self.blended, self.dropped) if len(given) else torch.zeros(())
        self.kept.copy_((self.blended >= bound) | smallest(-self.blended, given, 0.0))

    def weights(self, step: Step) -> Tensor:
        """Return the blended scores."""
        return self.blended[step.rows].clamp(min=MIN_WEIGHT)

    def select(self, step: Step) -> Tensor:
        """Return which labels are kept."""
        return self.kept[step.rows]


class Oscillation(WarmUp):
    r"""Labels weighted by how little the predictions of their nodes change from epoch to epoch.

    o_i is the mean over the last epochs of KL(p_i^t || p_i^(t-1)), g_i the probability that it belongs to the higher of
    two normal distributions, and 1 - g_i the weight; 1 in the warm-up, whose changes are those of learning.

    Args:
        warm_up: Share of the epochs in which all weights are 1; they are not selected as the best.
        window: Number of epochs of the mean.

    Source:
        In the spirit of PC², whose oscillation of pseudo-captions tells pairs that do not belong together; the mean
        over epochs is ours.
    """

    bank: Tensor
    changes: Tensor
    weight: Tensor

    def __init__(self, warm_up: float = 0.15, window: int = 5) -> None:
        super().__init__(warm_up)
        self.window = checks.integer("window", window, 1, 1000)

    def setup(self, context: Context) -> None:
        """Start without a change."""
        size = len(context.given)
        self.register_buffer("bank", torch.zeros(size, context.num_classes, dtype=torch.float64))
        self.register_buffer("changes", torch.zeros(self.window, size, dtype=torch.float64))
        self.register_buffer("weight", torch.ones(size, device=context.given.device))

    def start_epoch(self, context: Context) -> None:
        """Compare the predictions with those of the last epoch, and keep them."""
        p = context.evaluate().logits[context.labelled].double().softmax(1).cpu()
        if context.epoch:
            new = torch.from_numpy(divergences(p.numpy(), self.bank.cpu().numpy()))
            self.changes[context.epoch % self.window] = new
        self.bank.copy_(p)
        if not self.warming(context):
            self.weight.copy_(1 - torch.from_numpy(high_losses(self.changes.mean(0).cpu().numpy())))

    def weights(self, step: Step) -> Tensor:
        """Return the weights."""
        return self.weight[step.rows].clamp(min=MIN_WEIGHT)


class ConfidenceWeights(WarmUp):
    r"""Pseudo-labels of a running mean of the network, weighted by its confidence, above a threshold that moves.

    After the warm-up the teacher, whose weights are a running mean of the network's, labels the unlabelled nodes every
    few epochs. With conf_u = max p_u of the teacher, node u is valid if conf_u > thr, the running mean of the mean
    conf, clamped to [0.5, 0.95], and its weight is conf_u^γ · decay^age, age the epochs since. To the loss is added

        ramp · (mean_valid w_u CE(y'_u) + boundary · mean_valid,boundary CE(y'_u))

    where nodes of the boundary have a neighbour with another pseudo-label.

    Args:
        warm_up: Share of the epochs with plain training, before; they are not selected as the best.
        momentum: Weight of the last teacher in each epoch.
        power: Power γ of the confidence.
        boundary: Weight of the second mean.
        every: Epochs between two labellings.
        decay: Factor of the weight in each epoch after a labelling.
        ramp: Epochs in which the terms grow to their whole weight.

    Source:
        In the spirit of CW-BASS: confidence weights, threshold and boundary of semi-supervised segmentation. Its moving
        threshold can only lie in [.263, .337], whatever the model does, and its decay is a constant factor: both are
        ours.
    """

    needs_graph = True
    pseudo: Tensor
    confidence: Tensor
    threshold: Tensor
    border: Tensor

    def __init__(
        self,
        warm_up: float = 0.15,
        momentum: float = 0.9,
        power: float = 1.0,
        boundary: float = 0.5,
        every: int = 5,
        decay: float = 0.9,
        ramp: int = 5,
    ) -> None:
        super().__init__(warm_up)
        self.momentum, self.decay = checks.rate("momentum", momentum), checks.rate("decay", decay)
        self.power, self.boundary = checks.real("power", power, 0.0, 100.0), checks.real("boundary", boundary, 0.0)
        self.every, self.ramp = checks.integer("every", every, 1), checks.integer("ramp", ramp, 1)

    def setup(self, context: Context) -> None:
        """Start the teacher as the network."""
        size, device = context.full.num_nodes, context.given.device
        self.teacher = copy.deepcopy(context.networks[0])
        if isinstance(self.teacher, torch.nn.Module):
            self.teacher.requires_grad_(False)
        self.register_buffer("pseudo", torch.full((size,), -1, device=device))
        self.register_buffer("confidence", torch.zeros(size, device=device))
        self.register_buffer("threshold", torch.tensor(0.5, device=device))
        self.register_buffer("border", torch.zeros(size, dtype=torch.bool, device=device))

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Move the teacher, and let it label the nodes when it is time."""
        network = context.networks[0]
        if isinstance(network, torch.nn.Module) and isinstance(self.teacher, torch.nn.Module):
            for old, new in zip(self.teacher.state_dict().values(), network.state_dict().values(), strict=True):
                old.copy_(torch.lerp(new, old, self.momentum) if old.is_floating_point() else new)
        done = context.epoch - context.epochs_in(self.warm_up)
        if done < 0 or done % self.every:
            return
        confidence, labels = self.teacher(context.full).logits.softmax(1).max(1)
        free = context.unlabelled
        mean = confidence[free].mean() if len(free) else self.threshold
        self.threshold.copy_(moved(self.threshold, mean) if done else mean.clamp(*LIMITS))
        self.confidence.copy_(confidence)
        source, target = context.full.edge_index
        self.border.fill_(False)
        self.border[target[labels[source] != labels[target]]] = True
        self.pseudo.fill_(-1)
        valid = free[confidence[free] > self.threshold]
        self.pseudo[valid] = labels[valid]

    def terms(self, step: Step) -> Tensor | float:
        """Return the weighted losses of the pseudo-labels."""
        done = step.context.epoch - step.context.epochs_in(self.warm_up)
        nodes = step.batch.nodes
        at = (self.pseudo[nodes] >= 0).nonzero().view(-1)
        if done < 0 or not len(at):
            return 0.0
        losses = F.cross_entropy(step.output.logits[at], self.pseudo[nodes[at]], reduction="none")
        weights = self.confidence[nodes[at]] ** self.power * self.decay ** (done % self.every)
        total, border = (weights * losses).mean(), self.border[nodes[at]]
        if bool(border.any()):
            total = total + self.boundary * losses[border].mean()
        return min((done + 1) / self.ramp, 1.0) * total


# Of the moving threshold.
LIMITS = 0.5, 0.95


def moved(threshold: Tensor, mean: Tensor) -> Tensor:
    """Return .9 threshold + .1 mean confidence, clamped to [.5, .95].

    Example:
        >>> moved(torch.tensor(0.5), torch.tensor(0.9))
        tensor(0.5400)
    """
    return (0.9 * threshold + 0.1 * mean).clamp(*LIMITS)
