"""Training on what a Graph Gaussian process infers of the true classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn.features import row_normalised
from graphnoise.robust.graph_gp import GraphGP, warn_of_ambiguity
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.robust.training import Context, Method, Step, View


def fit_graph_gp(context: Context) -> tuple[GraphGP, SmoothedFeatures] | None:
    """Return a `GraphGP` fitted to the labelled nodes, and its inputs; None where their labels are all of one class.

    Its classes are those that some labelled node has.
    """
    present, codes = torch.unique(context.given.cpu(), return_inverse=True)
    if len(present) < 2:
        return None
    seed = int(torch.randint(2**31, (1,), generator=context.generator, device=context.generator.device))
    model, view = GraphGP(seed=seed), context.full
    nodes = context.labelled.cpu()
    smoothed = SmoothedFeatures(row_normalised(view.x).cpu(), view.graph, model.hops, nodes)
    model._fit(smoothed, nodes, codes.numpy(), len(present))
    return model, smoothed


def noise_rate(context: Context) -> float:
    """Return the share of the given labels that is wrong by the posteriors of `GraphGP`; 0 for labels of one class.

    Raises:
        InputError: There is no graph.
    """
    if not isinstance(context.full, View):
        checks.fail("rate", "a number where there is no graph to estimate it by", "None")
    fitted = fit_graph_gp(context)
    if fitted is None:
        return 0.0
    codes = torch.unique(context.given.cpu(), return_inverse=True)[1]
    right = torch.from_numpy(fitted[0].posterior_).gather(1, codes.unsqueeze(1))
    return float((1 - right.mean()).clamp(0, 1))


class GGPTargets(Method):
    r"""Training on the posteriors of the true classes under `graphnoise.robust.GraphGP`.

    `GraphGP` is fitted once to the given labels of the labelled nodes. With q_i = P(true class | given label, features)
    the targets of labelled nodes are the q_i, and of unlabelled ones its predictions:

        L = mean_labelled CE(q_i, p_i) + weight · mean_unlabelled CE(q_u, p_u)

    Where features and graph tell nothing of the labels, its transition matrix is near the identity and the targets of
    labelled nodes are near their given labels; where these are all of one class, that is the target of all nodes.

    Args:
        weight: Weight of the unlabelled nodes.

    Attributes:
        transition: The estimated T[c, j] = P(given j | true c), float64, shape [num_classes, num_classes]; rows and
            columns of classes without labels are those of the identity.

    Warns:
        AmbiguousTransitionWarning: Another transition matrix explains the labels nearly as well, as of `GraphGP`.

    Source:
        Defined by this package.
    """

    needs_graph = True
    expected: Tensor
    transition: Tensor
    search: ClassVar[dict[str, tuple[float, float]]] = {"weight": (0.0, 2.0)}

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = checks.real("weight", weight, 0.0)

    def setup(self, context: Context) -> None:
        """Fit the Gaussian process."""
        present = torch.unique(context.given)
        expected = torch.zeros(context.full.num_nodes, context.num_classes)
        transition = torch.eye(context.num_classes, dtype=torch.float64)
        fitted = fit_graph_gp(context)
        if fitted is None:
            expected[:, present] = 1.0
        else:
            model, smoothed = fitted
            expected[:, present] = model._probabilities(smoothed).float()
            expected[context.labelled.unsqueeze(1), present] = torch.from_numpy(model.posterior_).float()
            transition[present.unsqueeze(1), present] = model.transition_.matrix
            warn_of_ambiguity("ggp-targets", model.transition_margin_, stacklevel=6)
        self.register_buffer("expected", expected.to(context.full.x.device))
        self.register_buffer("transition", transition)

    def targets(self, step: Step) -> Tensor:
        """Return the posteriors."""
        return self.expected[step.batch.nodes[step.batch.at]]

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss of the unlabelled nodes."""
        if not len(step.others) or self.weight == 0:
            return 0.0
        targets = self.expected[step.batch.nodes[step.others]]
        return self.weight * F.cross_entropy(step.output.logits[step.others], targets)
