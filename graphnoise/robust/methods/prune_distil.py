"""Training on a part of the labels, with a teacher that has learned from all of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.training import Context, Method, Step
from graphnoise.robust.training.batches import FullBatch
from graphnoise.robust.training.loop import Optimisation, Training

SELECTIONS = ("random", "small-loss")


class PruneDistil(Method):
    r"""A network learns from a share of the labels and from a teacher, a like network that has learned from all.

    The teacher, a copy of the network before training, is trained with cross-entropy on all labelled nodes, for as many
    epochs, and frozen. With its logits t, those of the student f, and temperature tau, the loss of a kept node is

        (1 - a) CE(f, y) + a tau^2 KL(softmax(t / tau) || softmax(f / tau))

    Labels are pruned within classes, of which each keeps at least one. With a share of 1 and a = 0 this is plain
    training.

    Args:
        kept: Share F of the labels that is kept.
        weight: a, the weight of the teacher; None: 1 - F, between .3 and .9.
        temperature: tau.
        selection: Which labels are kept: "random" ones, or those of "small-loss" of the teacher.

    Attributes:
        teacher: Logits of the teacher for all nodes, shape [num_nodes, num_classes].
        kept_labels: Which labels are kept, shape [num_labelled].

    Source:
        In the spirit of Ben-Baruch et al., "Distilling the Knowledge in Data Pruning", 2024, of which the text was not
        available here: defaults and the rule for a are of this package. The teacher has Adam's learning rate .01 and
        weight decay .0005.
    """

    needs_graph = True
    teacher: Tensor
    kept_labels: Tensor
    search: ClassVar[dict[str, tuple[float, float]]] = {"kept": (0.2, 1.0), "weight": (0.0, 1.0)}

    def __init__(
        self, kept: float = 0.5, weight: float | None = None, temperature: float = 4.0, selection: str = "small-loss"
    ) -> None:
        super().__init__()
        self.kept = checks.rate("kept", kept)
        self.weight = None if weight is None else checks.rate("weight", weight)
        self.temperature = checks.real("temperature", temperature, 1e-2, 1e3)
        self.selection = checks.choice("selection", selection, SELECTIONS)

    @property
    def teacher_weight(self) -> float:
        """The weight of the teacher that is used."""
        return min(max(1 - self.kept, 0.3), 0.9) if self.weight is None else self.weight

    def setup(self, context: Context) -> None:
        """Train the teacher, and choose the labels that are kept."""
        # Random numbers of their own, so that the student's are those of plain training.
        generator = torch.Generator(context.generator.device)
        generator.set_state(context.generator.get_state())
        # Its network is a module.
        network = copy.deepcopy(context.networks[0])
        taught = replace(context, networks=[network], generator=generator, _predicted={})
        batches = FullBatch(context.full, context.labelled)
        training = Training(Method(), taught, batches, Optimisation(epochs=context.epochs))
        while not training.finished:
            training.epoch()
        training.select_best()
        self.register_buffer("teacher", taught.evaluate().logits.clone())
        if self.selection == "random":
            draw = torch.Generator().manual_seed(context.generator.initial_seed())
            order = torch.rand(len(context.given), generator=draw).to(context.given.device)
        else:
            order = F.cross_entropy(self.teacher[context.labelled], context.given, reduction="none")
        self.register_buffer("kept_labels", smallest(order, context.given, self.kept, balanced=True))

    def select(self, step: Step) -> Tensor:
        """Return which labels are kept."""
        return self.kept_labels[step.rows]

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node."""
        a, tau = self.teacher_weight, self.temperature
        loss = F.cross_entropy(step.logits, targets, reduction="none")
        if a == 0:
            return loss
        own = (step.logits / tau).log_softmax(1)
        other = (self.teacher[step.context.labelled[step.rows]] / tau).log_softmax(1)
        divergence = F.kl_div(own, other, reduction="none", log_target=True).sum(1)
        return (1 - a) * loss + a * tau**2 * divergence
