"""Correct and smooth: a replacement for torch_geometric's `CorrectAndSmooth`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.labels import class_positions
from graphnoise.propagation import LabelPropagation
from graphnoise.typing import GraphLike


class CorrectAndSmooth(torch.nn.Module):
    r"""Correct and smooth, with torch_geometric's own signature and results.

    `correct` propagates the errors E of a base model's predictions Z at the labelled nodes (0 at the others), and adds
    them to Z; `smooth` puts the labels Y in their place and propagates the result. With S = D^-1/2 A D^-1/2,

        correct:  E <- clamp_[-1,1](alpha_1 · S E + (1 - alpha_1) · E0),   Z + sigma / |E_i|_1 · E
        smooth:   Z <- clamp_[0,1](alpha_2 · S Z + (1 - alpha_2) · Z0)

    where sigma is the mean of |E_i|_1 over the labelled nodes, and the factor is 1 where it would be above 1000. With
    `autoscale=False` the factor is `scale`, nothing is clamped in `correct`, and the errors of the labelled nodes are
    set again after each step.

    Args:
        num_correction_layers: Number of steps of `correct`, at least 0.
        correction_alpha: alpha_1, the weight of the neighbours, in [0, 1].
        num_smoothing_layers: Number of steps of `smooth`, at least 0.
        smoothing_alpha: alpha_2, the weight of the neighbours, in [0, 1].
        autoscale: Whether each node has a factor of its own.
        scale: The factor where `autoscale` is False.

    Raises:
        InputError: A parameter out of its range.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> y_soft = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
        >>> model = CorrectAndSmooth(10, 0.8, 10, 0.8, autoscale=False)
        >>> model(y_soft, torch.tensor([0]), torch.tensor([True, False, False]), edge_index).argmax(1).tolist()
        [0, 0, 0]

    Source:
        Huang et al., "Combining Label Propagation and Simple Models Out-performs Graph Neural Networks", ICLR 2021,
        sections 2.2 and 2.3; the signature is that of `torch_geometric.nn.CorrectAndSmooth`. Where no error is left,
        sigma = 0, predictions stay as they are; torch_geometric returns NaN at nodes that no error reaches.
    """

    def __init__(
        self,
        num_correction_layers: int,
        correction_alpha: float,
        num_smoothing_layers: int,
        smoothing_alpha: float,
        autoscale: bool = True,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        steps = checks.integer("num_correction_layers", num_correction_layers, 0)
        self.prop1 = LabelPropagation(steps, checks.rate("correction_alpha", correction_alpha))
        steps = checks.integer("num_smoothing_layers", num_smoothing_layers, 0)
        self.prop2 = LabelPropagation(steps, checks.rate("smoothing_alpha", smoothing_alpha))
        self.autoscale, self.scale = checks.flag("autoscale", autoscale), checks.real("scale", scale)

    def forward(
        self, y_soft: Tensor, y_true: Tensor, mask: Tensor, edge_index: GraphLike, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Return the predictions after `correct` and `smooth`; arguments as there."""
        y_soft = self.correct(y_soft, y_true, mask, edge_index, edge_weight)
        return self.smooth(y_soft, y_true, mask, edge_index, edge_weight)

    @torch.no_grad()
    def correct(
        self, y_soft: Tensor, y_true: Tensor, mask: Tensor, edge_index: GraphLike, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Return predictions corrected by the errors at the labelled nodes.

        Args:
            y_soft: Predictions, finite, shape [num_nodes, num_classes].
            y_true: Labels of the nodes of `mask`, in its order: integers of shape [m] or [m, 1], or soft labels of
                shape [m, num_classes].
            mask: The labelled nodes, at least one: a Boolean mask or positions.
            edge_index: Arcs, shape [2, num_arcs], or anything `gn.as_graph` takes, normalised symmetrically.
            edge_weight: Weights of the arcs, used as they are.

        Returns:
            Corrected predictions, shape [num_nodes, num_classes], without a gradient.

        Raises:
            InputError: An argument of another shape or range; otherwise as `LabelPropagation`.
        """
        soft, given, nodes = _check(y_soft, y_true, mask)
        error = torch.zeros_like(soft).index_copy(0, nodes, given - soft[nodes])
        if not self.autoscale:
            labelled = torch.zeros(len(soft), 1, dtype=torch.bool, device=soft.device).index_fill(0, nodes, True)
            smoothed: Tensor = self.prop1(
                error, edge_index, None, edge_weight, lambda step: torch.where(labelled, error, step)
            )
            return soft + self.scale * smoothed
        smoothed = self.prop1(error, edge_index, None, edge_weight, lambda step: step.clamp_(-1.0, 1.0))
        factor = error[nodes].abs().sum() / len(nodes) / smoothed.abs().sum(1, keepdim=True)
        # No NaN, which is 0 / 0, is at most 1000 either.
        return soft + torch.where(factor <= 1000, factor, 1.0) * smoothed

    @torch.no_grad()
    def smooth(
        self, y_soft: Tensor, y_true: Tensor, mask: Tensor, edge_index: GraphLike, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Return predictions propagated with the labels in the place of the labelled nodes' predictions.

        Args:
            y_soft: Predictions, such as those of `correct`; further arguments as there.
            y_true: Labels.
            mask: The labelled nodes.
            edge_index: Arcs, or a graph.
            edge_weight: Weights of the arcs.

        Returns:
            Smoothed predictions, shape [num_nodes, num_classes], without a gradient.

        Raises:
            InputError: As `correct`.
        """
        soft, given, nodes = _check(y_soft, y_true, mask)
        smoothed: Tensor = self.prop2(soft.index_copy(0, nodes, given), edge_index, edge_weight=edge_weight)
        return smoothed

    def __repr__(self) -> str:
        first, second = self.prop1, self.prop2
        layers = f"{first.num_layers}, {first.alpha}, {second.num_layers}, {second.alpha}"
        return f"CorrectAndSmooth({layers}, autoscale={self.autoscale}, scale={self.scale})"


def _check(y_soft: Tensor, y_true: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predictions, and rows of labels for the labelled nodes, with the positions of these."""
    soft = checks.finite("y_soft", y_soft, dims=2)
    nodes = checks.mask("mask", mask, len(soft)).nonzero().view(-1)
    if not len(nodes):
        checks.fail("mask", "at least one node", "none")
    places = checks.tensor("mask", mask)
    if places.dtype != torch.bool and torch.equal(places.long().sort().values, nodes):
        nodes = places.long()
    labels = checks.tensor("y_true", y_true)
    if labels.dim() == 1 or (labels.dtype == torch.int64 and labels.dim() == 2 and labels.shape[1] == 1):
        classes = class_positions(labels, soft.shape[1], size=len(nodes), name="y_true")
        given = F.one_hot(classes, soft.shape[1])
    else:
        given = checks.finite("y_true", labels)
        if given.shape != (len(nodes), soft.shape[1]):
            shapes = f"[{len(nodes)}] or [{len(nodes)}, {soft.shape[1]}]"
            checks.fail("y_true", f"shape {shapes}, one row per node of mask", tuple(given.shape))
    return soft, given.to(soft.device, soft.dtype), nodes.to(soft.device)
