"""Consistency of predictions under changes of the graph, for unlabelled nodes; and shrunk classes of uncertain ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn import Linear
from graphnoise.robust.methods.contrast import augmented
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.training import Context, Method, Output, Step, View

SCHEDULES = ("linear", "exp", "log")


def weak_to_strong(weak: Tensor, strong: Tensor, *, temperature: float = 0.4, threshold: float = 0.8) -> Tensor:
    """Return the sum over sure rows of KL(softmax(weak / temperature) || softmax(strong)), over the number of all rows.

    Rows are sure where the largest softmax(weak), without the temperature, exceeds the threshold. No gradient passes
    through `weak`.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0], [0.5, 0.0]])
        >>> weak_to_strong(logits, torch.zeros(2, 2), temperature=1.0)
        tensor(0.2511)
    """
    weak = weak.detach()
    target = (weak / temperature).log_softmax(1)
    divergence = (target.exp() * (target - strong.log_softmax(1))).sum(1)
    return (divergence * (weak.softmax(1).amax(1) > threshold)).sum() / max(len(weak), 1)


def jensen_shannon(logits: Sequence[Tensor], threshold: float = 0.8) -> Tensor:
    """Return the sum over rows with max pi of at least the threshold, and over k, of KL(p_k || pi), over all rows.

    pi is the mean of the p_k = softmax(logits[k]); gradients pass through all of them.

    Example:
        >>> jensen_shannon([torch.tensor([[9.0, 0.0]]), torch.tensor([[2.0, 0.0]])])
        tensor(0.0855)
    """
    logs = torch.stack([part.log_softmax(1) for part in logits])
    pi = logs.logsumexp(0) - math.log(len(logs))
    divergence = (logs.exp() * (logs - pi)).sum((0, 2))
    return (divergence * (pi.detach().amax(1).exp() >= threshold)).sum() / max(logs.shape[1], 1)


def annealed_threshold(schedule: str, progress: float, num_classes: int) -> float:
    """Return a (1 - 1 / C) + 1 / C with a = t, e^(5 (t - 1)) or 1 - e^(-5 t), for t the progress.

    Example:
        >>> [round(annealed_threshold(name, 0.5, 7), 4) for name in SCHEDULES]
        [0.5714, 0.2132, 0.9296]
    """
    a = {"linear": progress, "exp": math.exp(5 * (progress - 1)), "log": 1 - math.exp(-5 * progress)}[schedule]
    return a * (1 - 1 / num_classes) + 1 / num_classes


def sampled_neighbours(view: View, count: int, generator: torch.Generator) -> View:
    """Return a view in which each node receives from at most `count` of its neighbours, drawn at random."""
    target = view.edge_index[1]
    order = torch.rand(len(target), generator=generator, device=target.device).argsort()
    order = order[target[order].argsort(stable=True)]
    degrees = torch.bincount(target, minlength=view.num_nodes)
    rank = torch.arange(len(order), device=target.device) - (degrees.cumsum(0) - degrees)[target[order]]
    kept = order[rank < count].sort().values
    return view.with_arcs(view.edge_index[:, kept], None if view.edge_weight is None else view.edge_weight[kept])


class Consistency(Method):
    r"""Consistency of UDA: predictions of unlabelled nodes are to stay when arcs, neighbours and features are lost.

        L = CE + weight · mean_u [max p_u > threshold] KL(sg softmax(f_u / temperature) || softmax(f~_u))

    over all unlabelled nodes u of the batch, with f~ the logits of a view without a share of arcs and of features and
    with at most `neighbours` neighbours per node, and sg: no gradient. With `divergence="js"` the term is the sum of
    KL(p_k || pi) over k views, the given one among them, with pi their mean, where max pi is at least the threshold.

    With `tsa` (training signal annealing), labels that the network already predicts with p_y above a growing threshold
    do not train. It keeps the labels of large loss, among which wrong ones are frequent, so that it is for labels that
    are known to be right only: those of `trusted`; other labels always train. It is refused next to a selection of
    small losses, which keeps the opposite ones.

    Args:
        divergence: "kl", from the given view to a changed one, or "js", among all.
        threshold: Probability from which on a node counts.
        temperature: Temperature of the given view's predictions, with "kl".
        weight: Weight of the term.
        views: Number of changed views, with "js".
        drop_arcs: Share of the arcs that a view lacks.
        mask_features: Share of the features that a view lacks.
        neighbours: Largest number of neighbours of a node in a view.
        rate: Share of each class's labels, those of largest loss, that do not train.
        tsa: Growth of the threshold of `trusted` labels, "linear", "exp" or "log"; None: none.
        trusted: Which labels are known to be right, Boolean, shape [num_labelled], in the order of their positions.

    Raises:
        InputError: A setting out of its range, or `tsa` without `trusted` or with a selection of small losses.

    Source:
        Xie et al., "Unsupervised Data Augmentation for Consistency Training", NeurIPS 2020, sections 2 and 3; the
        changes of a graph are ours. "js": Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy
        Annotations" (ADELE), CVPR 2022, with changed views in place of scales.
    """

    needs_graph = True
    search = MappingProxyType({"threshold": (0.5, 0.95), "weight": (0.1, 3.0)})

    def __init__(
        self,
        divergence: str = "kl",
        threshold: float = 0.8,
        temperature: float = 0.4,
        weight: float = 1.0,
        views: int = 2,
        drop_arcs: float = 0.2,
        mask_features: float = 0.2,
        neighbours: int = 10,
        rate: float = 0.0,
        tsa: str | None = None,
        trusted: Any = None,
    ) -> None:
        super().__init__()
        self.divergence = checks.choice("divergence", divergence, ("kl", "js"))
        self.threshold, self.weight = checks.rate("threshold", threshold), checks.real("weight", weight, 0.0)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.views, self.neighbours = checks.integer("views", views, 1), checks.integer("neighbours", neighbours, 1)
        self.drop_arcs, self.mask_features = (
            checks.rate(name, value) for name, value in (("drop_arcs", drop_arcs), ("mask_features", mask_features))
        )
        self.rate = checks.rate("rate", rate)
        self.tsa = None if tsa is None else checks.choice("tsa", tsa, SCHEDULES)
        self.trusted = None if trusted is None else checks.tensor("trusted", trusted)
        if self.tsa is None:
            return
        if self.trusted is None:
            checks.fail("trusted", "a mask of labels known to be right: tsa trains on those of large loss", None)
        if self.rate or type(self).select is not Consistency.select:
            got = f"{tsa!r} with rate={rate}" if self.rate else f"{tsa!r} with the selection of {type(self).__name__}"
            checks.fail("tsa", "None next to a selection of small losses, which keeps the opposite labels", got)

    def setup(self, context: Context) -> None:
        """Check the mask.

        Raises:
            InputError: It is not Boolean with a value for each labelled node.
        """
        size = len(context.given)
        if self.trusted is not None and (self.trusted.dtype != torch.bool or tuple(self.trusted.shape) != (size,)):
            checks.fail("trusted", f"Booleans of shape ({size},)", f"{self.trusted.dtype} {tuple(self.trusted.shape)}")

    def select(self, step: Step) -> Tensor | None:
        """Return which labels train: all but those of large loss, or the trusted ones already learned."""
        if self.tsa is not None and self.trusted is not None:
            p = step.logits.softmax(1).gather(1, step.given.unsqueeze(1)).squeeze(1)
            limit = annealed_threshold(self.tsa, step.context.progress, step.context.num_classes)
            return ~(self.trusted.to(p.device)[step.rows] & (p > limit))
        if self.rate:
            losses = F.cross_entropy(step.logits, step.given, reduction="none")
            return smallest(losses, step.given, 1 - self.rate, balanced=True)
        return None

    def changed(self, step: Step) -> Output:
        """Return the outputs for a changed view of the batch."""
        context = step.context
        view = augmented(step.batch.view, self.drop_arcs, self.mask_features, context.generator)
        view = sampled_neighbours(view, self.neighbours, context.generator)
        return context.networks[step.network](view, context.generator)

    def terms(self, step: Step) -> Tensor | float:
        """Return the divergence of the unlabelled nodes."""
        if not len(step.others) or self.weight == 0:
            return 0.0
        own, count = step.output.logits[step.others], 1 if self.divergence == "kl" else self.views
        return self.weight * self.compared(step, own, [self.changed(step) for _ in range(count)])

    def compared(self, step: Step, own: Tensor, changed: list[Output]) -> Tensor:
        """Return the divergence, from the logits of the unlabelled nodes and the outputs for changed views."""
        others = [output.logits[step.others] for output in changed]
        if self.divergence == "js":
            return jensen_shannon([own, *others], self.threshold)
        return weak_to_strong(own, others[0], temperature=self.temperature, threshold=self.threshold)


def shrunk_classes(weak: Tensor, auxiliary: Tensor, threshold: float = 0.95) -> Tensor:
    r"""Return, over the number of rows, the sum of losses of uncertain rows among their first class and unlikely ones.

    With p = softmax(weak) sorted, a row is uncertain where p_1 <= threshold. Of it, c is the smallest position from 3
    on with p_1 / (p_1 + sum_{k >= c} p_k) >= threshold, so that one rival or more is left out. The loss is p_1 times
    the cross-entropy of the first class among the classes 1 and c to C, by the auxiliary logits; without such c it is
    0. No gradient passes through `weak`.

    Example:
        >>> p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
        >>> shrunk_classes(p.log(), torch.zeros(1, 4), 0.9)       # 0.5 log 2
        tensor(0.3466)
    """
    p, order = weak.detach().softmax(1).sort(dim=1, descending=True, stable=True)
    # What the classes from each position on have.
    tails = p.flip(1).cumsum(1).flip(1)
    first = p[:, :1]
    enough = first / (first + tails) >= threshold - 1e-6
    enough[:, :2] = False
    kept = enough.cumsum(1) > 0
    kept[:, 0] = True
    scores = auxiliary.gather(1, order)
    losses = scores.masked_fill(~kept, -torch.inf).logsumexp(1) - scores[:, 0]
    counts = enough.any(1) & (first[:, 0] <= threshold)
    return (losses * first[:, 0] * counts).sum() / max(len(p), 1)


class ShrunkClasses(Consistency):
    r"""`Consistency` of sure nodes, and for the others a loss among their first class and those that are unlikely.

    The second term is `shrunk_classes` of a linear auxiliary head on the embedding of the changed view, times a running
    mean of the share of sure nodes, which goes on over epochs (in the released code it begins anew in each). With two
    classes there is nothing to leave out, and it is 0.

    Args:
        threshold: Probability from which on a node is sure.
        temperature: Temperature of the given view's predictions.
        weight: Weight of both terms.
        momentum: Share of the running mean that a step keeps.
        drop_arcs: Share of the arcs that the changed view lacks.
        mask_features: Share of the features that it lacks.
        neighbours: Largest number of neighbours of a node in it.

    Raises:
        InputError: A setting out of its range.

    Source:
        Yang et al., "Shrinking Class Space for Enhanced Certainty in Semi-Supervised Learning" (ShrinkMatch), ICCV
        2023; the changes of a graph are ours.
    """

    sure: Tensor

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float = 0.4,
        weight: float = 1.0,
        momentum: float = 0.999,
        drop_arcs: float = 0.2,
        mask_features: float = 0.2,
        neighbours: int = 10,
    ) -> None:
        super().__init__("kl", threshold, temperature, weight, 1, drop_arcs, mask_features, neighbours)
        self.momentum = checks.rate("momentum", momentum)

    def setup(self, context: Context) -> None:
        """Make the auxiliary head."""
        super().setup(context)
        embedding = context.evaluate().embedding
        self.head = Linear(embedding.shape[1], context.num_classes, bias=True, generator=context.generator)
        self.head.to(embedding.device)
        self.register_buffer("sure", torch.zeros((), device=embedding.device))

    def compared(self, step: Step, own: Tensor, changed: list[Output]) -> Tensor:
        """Return both terms."""
        share = (own.detach().softmax(1).amax(1) > self.threshold).float().mean()
        self.sure.mul_(self.momentum).add_((1 - self.momentum) * share)
        uncertain = shrunk_classes(own, self.head(changed[0].embedding[step.others]), self.threshold)
        return super().compared(step, own, changed) + self.sure.clone() * uncertain
