"""Teachers that read the labels of other nodes: label-assisted distillation."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import GCN, Context, Step, View

# Deviation of the noise of each node's code, in training and for the student.
NOISE, FROZEN_NOISE = 0.03, 0.02


class LabelAssisted(WarmUp):
    r"""A teacher that reads codes of the labels beside the features, and teaches the network, which does not.

    The teacher's input is [x_i | c(y_i) + noise] for labelled nodes and [x_i | 0] for others. The code c of a class is
    drawn anew in each step, so that it tells which nodes share a class and not which class. For two draws, the teacher
    minimises both cross-entropies and 5 times the symmetric divergence of its predictions, during the warm-up, in which
    the network learns from cross-entropy alone. Then the teacher and one draw of codes are fixed, and the network
    minimises CE + `weight` · KL(teacher || network) over all nodes.

    A node's own code says which other labelled nodes have its label, right or wrong. In the mode "masked" a step hides
    the codes of a random half of the labelled nodes, and only these count; what the teacher says of a labelled node
    later is from a pass in which its code was hidden. The mode "plain" is that of the publication: no code is hidden,
    so that the teacher's prediction for a labelled node depends on that node's label, right or wrong.

    Args:
        mode: "masked" or "plain".
        warm_up: Share of the epochs in which the teacher learns.
        weight: Weight of the teacher.
        agreement: Weight of the divergence of the teacher's predictions for two draws.
        channels: Length of a code.
        scale: Standard deviation of codes; the publication has 100, for grey values up to 255.

    Raises:
        InputError: A setting out of its range.

    Source:
        Qiu et al., "Make a Strong Teacher with Label Assistance: A Novel Knowledge Distillation Approach for Semantic
        Segmentation" (LAD), ECCV 2024; the codes of a graph, and that they are hidden, are ours.
    """

    needs_graph = True
    search = MappingProxyType({"weight": (0.5, 5.0)})
    taught: Tensor

    def __init__(
        self,
        mode: str = "masked",
        warm_up: float = 0.4,
        weight: float = 3.0,
        agreement: float = 5.0,
        channels: int = 4,
        scale: float = 1.0,
    ) -> None:
        super().__init__(warm_up)
        self.mode = checks.choice("mode", mode, ("masked", "plain"))
        self.channels = checks.integer("channels", channels, 1)
        self.weight, self.agreement = checks.real("weight", weight, 0.0), checks.real("agreement", agreement, 0.0)
        self.scale = checks.real("scale", scale, 1e-6, 1e6)

    def setup(self, context: Context) -> None:
        """Make the teacher."""
        x, generator = context.full.x, context.generator
        size = (x.shape[1] + self.channels, 64, context.num_classes)
        self.teacher = GCN(*size, generator=generator).to(x.device)
        self.register_buffer("taught", x.new_zeros(len(x), context.num_classes))

    def codes(self, context: Context, noise: float) -> Tensor:
        """Return a code for each labelled node, that of its class and noise, shape [num_labelled, channels]."""
        shape, generator = (context.num_classes, self.channels), context.generator
        of_class = torch.randn(shape, generator=generator, device=generator.device)
        own = torch.randn(len(context.given), self.channels, generator=generator, device=generator.device)
        return self.scale * (of_class[context.given] + noise * own)

    def hidden(self, context: Context) -> Tensor:
        """Return which labelled nodes have no code: a random half, or none, Boolean, shape [num_labelled]."""
        size, device = len(context.given), context.given.device
        if self.mode == "plain":
            return torch.zeros(size, dtype=torch.bool, device=device)
        order = torch.randperm(size, generator=context.generator, device=context.generator.device)
        return (order < (size + 1) // 2).to(device)

    def taught_logits(
        self, context: Context, view: View, nodes: Tensor, codes: Tensor, hidden: Tensor, dropped: bool
    ) -> Tensor:
        """Return the teacher's logits of the view's nodes, which read the codes that are not hidden."""
        table = codes.new_zeros(context.full.num_nodes, self.channels)
        table[context.labelled] = codes * ~hidden.unsqueeze(1)
        seen = View(torch.cat([view.x, table[nodes]], 1), view.edge_index, view.edge_weight, sampled=True)
        vars(seen)["block"] = view.block
        logits: Tensor = self.teacher(seen.features, seen, context.generator if dropped else None)[0]
        return logits

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss of the teacher, or the divergence from it."""
        context, batch = step.context, step.batch
        if not self.warming(context):
            taught = self.taught[batch.nodes]
            return self.weight * F.kl_div(step.output.logits.log_softmax(1), taught, reduction="batchmean")
        hidden = self.hidden(context)
        rows = torch.ones_like(step.rows, dtype=torch.bool) if self.mode == "plain" else hidden[step.rows]
        if not bool(rows.any()):
            return 0.0
        draws = [self.codes(context, NOISE) for _ in range(2)]
        logits = [self.taught_logits(context, batch.view, batch.nodes, codes, hidden, True) for codes in draws]
        first, second = (part[batch.at[rows]].log_softmax(1) for part in logits)
        losses = sum(F.nll_loss(part, step.given[rows]) for part in (first, second))
        symmetric = ((first.exp() - second.exp()) * (first - second)).sum(1).mean()
        return losses + self.agreement * symmetric

    def start_epoch(self, context: Context) -> None:
        """Keep the teacher's predictions, where the warm-up ends."""
        if context.epoch != context.epochs_in(self.warm_up):
            return
        codes, hidden = self.codes(context, FROZEN_NOISE), self.hidden(context)
        view, nodes = context.full, torch.arange(context.full.num_nodes, device=context.given.device)
        with torch.no_grad():
            passes = [
                self.taught_logits(context, view, nodes, codes, part, False).softmax(1)
                for part in ((hidden, ~hidden) if self.mode == "masked" else (hidden,))
            ]
        self.taught.copy_(torch.stack(passes).mean(0))
        if self.mode == "masked":
            chosen = torch.where(hidden.unsqueeze(1), passes[0][context.labelled], passes[1][context.labelled])
            self.taught[context.labelled] = chosen
