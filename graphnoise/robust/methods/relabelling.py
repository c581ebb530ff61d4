"""Labels replaced by what a fixed copy of the network says of the subgraph that a step reads."""

from __future__ import annotations

import copy
from types import MappingProxyType

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.robust.methods.contrast import augmented
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step, View


def top_classes(logits: Tensor, k: int, *, legacy_fill: bool = False) -> Tensor:
    """Return the softmax over the k largest logits of each row, 0 for the other classes.

    With `legacy_fill` the others get the logit 0 in place of none, and so a share, as in the released loader.

    Example:
        >>> logits = torch.tensor([[3.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0]])
        >>> [round(float(top_classes(logits, 2, legacy_fill=fill)[0, 0]), 4) for fill in (False, True)]
        [0.8808, 0.7224]
    """
    values, classes = logits.topk(min(k, logits.shape[1]), 1)
    filled = torch.full_like(logits, 0.0 if legacy_fill else -torch.inf)
    return filled.scatter(1, classes, values).softmax(1)


class Relabelling(WarmUp):
    r"""ReLabel: after a warm-up, targets are what a fixed copy of the network says of the subgraph of each step.

    The teacher is the network at the end of the warm-up. Its logits are averaged over changed views of the batch's
    subgraph alone, as the publication reads the crop of an image, and the targets of labelled nodes are `top_classes`
    of them, mixed with the given label. With the whole graph as the batch they are computed every few epochs.

    Args:
        warm_up: Share of the epochs with plain training, before.
        views: Number of changed views.
        k: Number of classes of a target.
        trust: Weight of the given label; the publication replaces it.
        every: Epochs between two computations, with the whole graph as the batch.
        drop_arcs: Share of the arcs that a view lacks.
        mask_features: Share of the features that a view lacks.
        legacy_fill: Whether other classes have the logit 0, as in the released loader.

    Raises:
        InputError: A setting out of its range.

    Source:
        Yun et al., "Re-labeling ImageNet: from Single to Multi-Labels, from Global to Localized Labels", CVPR 2021;
        the teacher there is a larger network, trained on more data.
    """

    needs_graph = True
    search = MappingProxyType({"trust": (0.0, 0.9)})
    current: Tensor

    def __init__(
        self,
        warm_up: float = 0.4,
        views: int = 8,
        k: int = 5,
        trust: float = 0.0,
        every: int = 10,
        drop_arcs: float = 0.2,
        mask_features: float = 0.2,
        legacy_fill: bool = False,
    ) -> None:
        super().__init__(warm_up)
        self.views, self.k = checks.integer("views", views, 1), checks.integer("k", k, 1)
        self.trust, self.every = checks.rate("trust", trust), checks.integer("every", every, 1)
        self.drop_arcs, self.mask_features = (
            checks.rate(name, value) for name, value in (("drop_arcs", drop_arcs), ("mask_features", mask_features))
        )
        self.legacy_fill = checks.flag("legacy_fill", legacy_fill)

    def setup(self, context: Context) -> None:
        """Copy the network, as the teacher, and allocate the targets of the labelled nodes."""
        network = context.networks[0]
        assert isinstance(network, torch.nn.Module)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer(
            "current", torch.zeros(len(context.given), context.num_classes, device=context.given.device)
        )

    def relabelled(self, context: Context, view: View, at: Tensor) -> Tensor:
        """Return the teacher's targets of some nodes of a view, from that view alone."""
        total = torch.zeros(len(at), context.num_classes, device=at.device)
        for _ in range(self.views):
            seen = augmented(view, self.drop_arcs, self.mask_features, context.generator)
            total += self.teacher(seen).logits[at]
        return top_classes(total / self.views, self.k, legacy_fill=self.legacy_fill)

    def start_epoch(self, context: Context) -> None:
        """Fix the teacher, where the warm-up ends, and compute the targets of the whole graph."""
        done = context.epoch - context.epochs_in(self.warm_up)
        if done == 0:
            self.teacher.load_state_dict(context.networks[0].state_dict())  # type: ignore[attr-defined]
        if done >= 0 and done % self.every == 0:
            with torch.no_grad():
                self.current.copy_(self.relabelled(context, context.full, context.labelled))

    def targets(self, step: Step) -> Tensor:
        """Return the given labels, mixed with the teacher's after the warm-up."""
        context, batch = step.context, step.batch
        if self.warming(context):
            return step.given
        whole = batch.view is context.full
        taught = self.current[step.rows] if whole else self.relabelled(context, batch.view, batch.at)
        return self.trust * step.one_hot + (1 - self.trust) * taught
