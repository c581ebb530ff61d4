"""A network that learns from several teachers, of features alone, of labels and graph alone, and of both."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.propagation import propagate
from graphnoise.robust.methods.pretraining import Student
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import GCN, Context, Step

# Weight of neighbours and steps of the propagation of labels.
ALPHA, STEPS = 0.9, 50


def self_paced(divergences: Tensor, level: float) -> Tensor:
    """Return the sum of the divergences up to their quantile of this level, over the number of rows; 1 is all.

    Example:
        >>> d = torch.tensor([[1.0, 5.0], [2.0, 3.0]])
        >>> self_paced(d, 0.5), self_paced(d, 1.0)
        (tensor(1.5000), tensor(5.5000))
    """
    flat = divergences.detach().flatten().sort().values
    limit = flat[min(max(round(level * len(flat)), 1), len(flat)) - 1]
    return (divergences * (divergences.detach() <= limit)).sum() / divergences.shape[1]


class SeveralTeachers(WarmUp):
    r"""Three teachers, a perceptron of features, propagated labels and a graph network, teach one network by and by.

    In the warm-up the network and the teachers learn from cross-entropy, each by itself. Then the teachers m are fixed,
    and the network minimises

        CE + weight · mean_i sum_m v_im KL(p_m || p),    v_im = 1 where KL(p_m || p)_i <= eta

    with eta the quantile of the divergences of a step whose level grows from `first` to 1 in the last epoch, so that
    what contradicts the network comes last. A labelled node's propagated labels are those of a random half without it,
    so that no label speaks for itself.

    Args:
        warm_up: Share of the epochs in which the teachers learn.
        weight: Weight of the teachers.
        first: First level of the quantile.

    Raises:
        InputError: A setting out of its range.

    Source:
        In the spirit of Gao et al., "Knowledge Concentration: Learning 100K Object Classifiers in a Single CNN", 2017;
        the teachers and the growth of eta are ours.
    """

    needs_graph = True
    search = MappingProxyType({"weight": (0.1, 3.0)})
    taught: Tensor

    def __init__(self, warm_up: float = 0.4, weight: float = 1.0, first: float = 0.5) -> None:
        super().__init__(warm_up)
        self.weight, self.first = checks.real("weight", weight, 0.0), checks.rate("first", first)

    def setup(self, context: Context) -> None:
        """Make the teachers."""
        x, classes, generator = context.full.x, context.num_classes, context.generator
        self.teachers = torch.nn.ModuleList(
            [Student("mlp", x.shape[1], classes, generator), GCN(x.shape[1], 64, classes, generator=generator)]
        ).to(x.device)
        self.register_buffer("taught", x.new_zeros(3, len(x), classes))

    def start_epoch(self, context: Context) -> None:
        """Keep the predictions of the teachers, where the warm-up ends."""
        if context.epoch == context.epochs_in(self.warm_up):
            view = context.full
            with torch.no_grad():
                logits = [teacher(view.features, view)[0] for teacher in self.teachers]
            self.taught.copy_(torch.stack([*(part.softmax(1) for part in logits), _propagated(context)]))

    def terms(self, step: Step) -> Tensor | float:
        """Return the losses of the teachers, or the divergence from them."""
        context, batch = step.context, step.batch
        if self.warming(context):
            outputs = [teacher(batch.view.features, batch.view, context.generator)[0] for teacher in self.teachers]
            return torch.stack([F.cross_entropy(logits[batch.at], step.given) for logits in outputs]).sum()
        taught, log_p = self.taught[:, batch.nodes], step.output.logits.log_softmax(1)
        divergences = F.kl_div(log_p.expand_as(taught), taught, reduction="none").sum(2)
        begin = context.epochs_in(self.warm_up)
        progress = (context.epoch - begin) / max(context.epochs - 1 - begin, 1)
        return self.weight * self_paced(divergences, self.first + (1 - self.first) * progress)


def _propagated(context: Context) -> Tensor:
    """Return the distribution of the labels that reach each node; a labelled one only those of the other half."""
    size, nodes = len(context.given), context.labelled
    order = torch.randperm(size, generator=context.generator, device=context.generator.device).to(nodes.device)
    hidden, passes = order < (size + 1) // 2, []
    for part in (hidden, ~hidden):
        labels = torch.zeros(context.full.num_nodes, context.num_classes, device=nodes.device)
        labels[nodes[~part], context.given[~part]] = 1.0
        passes.append(propagate(context.full.graph, labels, alpha=ALPHA, num_steps=STEPS).y)
    # The propagation is linear: both halves together are all labels.
    arrived = passes[0] + passes[1]
    arrived[nodes] = torch.where(hidden.unsqueeze(1), passes[0][nodes], passes[1][nodes])
    return (arrived + 1e-9) / (arrived + 1e-9).sum(1, keepdim=True)
