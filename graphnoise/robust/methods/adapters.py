"""Methods made of any detector of wrong labels: its credibilities drop labels, weight them, or soften them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.training import Context, Method, Step

# Least weight of a label.
MIN_WEIGHT = 1e-3


class _Credible(Method):
    """Base of methods that read a credibility of each label, which they compute once.

    Args:
        credibility: Credibilities of the labelled nodes, in [0, 1] (1: surely right), shape [num_labelled], in the
            order of their positions; or a function that returns them from the graph, the given labels (-1 without one,
            shape [num_nodes]) and, with a third parameter, the features: `posterior`, `graph_gp`,
            `neighbour_agreement` and `label_propagation` of `graphnoise.audit.detect` are such functions.
    """

    credibilities: Tensor

    def __init__(self, credibility: Any) -> None:
        super().__init__()
        if not callable(credibility):
            credibility = _checked(credibility)
        self.credibility: Tensor | Callable[..., Any] = credibility

    def setup(self, context: Context) -> None:
        """Compute the credibilities.

        Raises:
            InputError: They are not one number in [0, 1] for each labelled node.
        """
        self.register_buffer("credibilities", credibilities_of(self.credibility, context))


def credibilities_of(values: Any, context: Context) -> Tensor:
    """Return the credibilities of the labelled nodes, float32: those given, or what a function returns, see `Drop`.

    Raises:
        InputError: They are not one number in [0, 1] for each labelled node.
    """
    if callable(values):
        view, y = context.full, torch.full((context.full.num_nodes,), -1)
        y[context.labelled.cpu()] = context.given.cpu()
        graph = Graph.from_edge_index(view.edge_index.cpu(), view.num_nodes)
        # Parameters that are given by name only are settings.
        taken = [p for p in inspect.signature(values).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        values = values(graph, y, view.x.cpu()) if len(taken) > 2 else values(graph, y)
    values = _checked(values)
    if len(values) != len(context.given):
        checks.fail("credibility", f"{len(context.given)} numbers, one per labelled node", len(values))
    out: Tensor = values.float().to(context.given.device)
    return out


def _checked(credibility: object) -> Tensor:
    values = checks.finite("credibility", credibility, dims=1).detach()
    if len(values) and not 0 <= float(values.min()) <= float(values.max()) <= 1:
        checks.fail("credibility", "numbers in [0, 1]", f"from {float(values.min()):g} to {float(values.max()):g}")
    return values


class Drop(_Credible):
    """Training without the labels of credibility below a threshold; of each class the most credible one is kept.

    Args:
        credibility: Credibilities of the labelled nodes, in [0, 1] (1: surely right), shape [num_labelled], in the
            order of their positions; or a function that returns them from the graph, the given labels (-1 without one,
            shape [num_nodes]) and, with a third parameter, the features: `posterior`, `graph_gp`,
            `neighbour_agreement` and `label_propagation` of `graphnoise.audit.detect` are such functions.
        threshold: Least credibility of a label that is kept.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> from graphnoise import datasets, noise
        >>> from graphnoise.audit import detect
        >>> from graphnoise.robust import RobustGNN
        >>> data = datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, split=(15, 40, 40), seed=0)
        >>> noisy = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)
        >>> RobustGNN(Drop(detect.posterior), epochs=60).fit(noisy).score(noisy) > 0.9
        True
    """

    kept: Tensor

    def __init__(self, credibility: Any, threshold: float = 0.5) -> None:
        super().__init__(credibility)
        self.threshold = checks.rate("threshold", threshold)

    def setup(self, context: Context) -> None:
        """Compute the credibilities, and which labels are kept."""
        super().setup(context)
        best = smallest(-self.credibilities, context.given, 0.0)
        self.register_buffer("kept", best | (self.credibilities >= self.threshold))

    def select(self, step: Step) -> Tensor:
        """Return which labels are kept."""
        return self.kept[step.rows]


class Reweight(_Credible):
    """Training with labels weighted by their credibility, at least by 0.001, so that no class is lost.

    Args:
        credibility: Credibilities of the labelled nodes, or a function that returns them, see `Drop`.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> Reweight(torch.tensor([0.9, 0.2])).credibility.tolist() == torch.tensor([0.9, 0.2]).tolist()
        True
    """

    def weights(self, step: Step) -> Tensor:
        """Return the credibilities."""
        return self.credibilities[step.rows].clamp(min=MIN_WEIGHT)


class Soften(_Credible):
    """Training on the mean of the given label, weighted by its credibility g, and another target, by 1 - g.

    Args:
        credibility: Credibilities of the labelled nodes, or a function that returns them, see `Drop`.
        to: The other target: "uniform", "prediction" (the network's own), or class probabilities of the labelled nodes,
            shape [num_labelled, num_classes].

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> Soften(torch.tensor([0.9, 0.2]), to="prediction")
        Soften(to='prediction')
    """

    other: Tensor

    def __init__(self, credibility: Any, to: str | Tensor = "uniform") -> None:
        super().__init__(credibility)
        self.to_target: str | Tensor
        if isinstance(to, str):
            self.to_target = checks.choice("to", to, ("uniform", "prediction"))
        else:
            self.to_target = checks.probabilities("to", to).detach()

    def settings(self) -> dict[str, Any]:
        """Return the settings."""
        return {"to": self.to_target if isinstance(self.to_target, str) else "probabilities"}

    def setup(self, context: Context) -> None:
        """Compute the credibilities, and check the target.

        Raises:
            InputError: The target has not a row for each labelled node and a column for each class.
        """
        super().setup(context)
        if isinstance(self.to_target, Tensor):
            expected = (len(context.given), context.num_classes)
            if tuple(self.to_target.shape) != expected:
                checks.fail("to", f"probabilities of shape {expected}", tuple(self.to_target.shape))
            self.register_buffer("other", self.to_target.float().to(context.given.device))

    def targets(self, step: Step) -> Tensor:
        """Return the softened labels."""
        g = self.credibilities[step.rows].unsqueeze(1)
        if self.to_target == "uniform":
            other = torch.full_like(step.one_hot, 1 / step.context.num_classes)
        elif self.to_target == "prediction":
            other = step.logits.softmax(1)
        else:
            other = self.other[step.rows]
        return g * step.one_hot + (1 - g) * other
