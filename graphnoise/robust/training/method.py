"""Base class of training methods: the places where they differ, filled with plain cross-entropy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise.robust.training.batches import Batch
from graphnoise.robust.training.context import Context, Step
from graphnoise.robust.training.networks import GCN, Output


class Method(torch.nn.Module):
    r"""Training with cross-entropy on the given labels; subclasses change some of its parts.

    Each step minimises, summed over the networks,

        sum_i keep_i w_i loss(f_i, target_i) / sum_i keep_i w_i  +  terms

    over the labelled nodes i of the batch, with keep from `select`, w from `weights`, the targets from `targets` (the
    given labels by default) and f_i the logits. Selection, weights and targets are computed without gradients.

    State of a method that is learned or kept between steps is a parameter, a buffer or a submodule, made in `setup`, so
    that checkpoints hold it. Parameters are trained with the networks. Settings are arguments of the constructor, kept
    as attributes of the same name.

    Attributes:
        version: Changes with results; the benchmark records it.
        num_networks: Number of networks that are trained together.
        needs_graph: Whether it reads arcs, and so cannot train on (user, item) pairs.
        search: Settings that a search of hyper-parameters may vary, with their ranges.

    Example:
        >>> import torch
        >>> from graphnoise.robust import RobustGNN
        >>> from graphnoise.datasets import planted_partition
        >>> class Bounded(Method):
        ...     def loss(self, step, targets):
        ...         losses = torch.nn.functional.cross_entropy(step.logits, targets, reduction="none")
        ...         return losses.clamp(max=2.0)
        >>> data = planted_partition([30, 30], 0.3, 0.05, num_features=4, split=(10, 10, 20), seed=0)
        >>> RobustGNN(Bounded(), epochs=5, seed=0).fit(data).predict(data).shape
        torch.Size([60])
    """

    version: ClassVar[str] = "1"
    num_networks: ClassVar[int] = 1
    needs_graph: ClassVar[bool] = False
    search: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({})

    def default_network(
        self, num_features: int, hidden: int, num_classes: int, dropout: float, generator: torch.Generator
    ) -> torch.nn.Module:
        """Return the network that is trained where the user gives none; its weights are drawn from the generator."""
        return GCN(num_features, hidden, num_classes, dropout=dropout, generator=generator)

    def setup(self, context: Context) -> None:
        """Make the state, before the first epoch."""

    def start_epoch(self, context: Context) -> None:
        """Prepare an epoch, before its batches."""

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of each network for a batch."""
        return [network(batch.view, context.generator) for network in context.networks]

    def select(self, step: Step) -> Tensor | None:
        """Return which labelled nodes of the batch count, Boolean, shape [batch_size]; None: all."""
        return None

    def targets(self, step: Step) -> Tensor:
        """Return class positions, shape [batch_size], or class probabilities, shape [batch_size, num_classes]."""
        return step.given

    def weights(self, step: Step) -> Tensor | None:
        """Return the weight of each labelled node of the batch, at least 0, shape [batch_size]; None: all 1."""
        return None

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch, shape [batch_size]."""
        return F.cross_entropy(step.logits, targets, reduction="none")

    def terms(self, step: Step) -> Tensor | float:
        """Return what is added to the loss."""
        return 0.0

    def end_epoch(self, context: Context) -> None:
        """Update the state, after the steps of an epoch."""

    def ready(self, context: Context) -> bool:
        """Return whether the epoch counts when the best one is selected: not in a warm-up."""
        return True

    def predict(self, context: Context, view: Any) -> Tensor:
        """Return class probabilities of the view's nodes: the mean over the networks."""
        outputs = context.evaluate_view(view)
        return torch.stack([output.logits.softmax(1) for output in outputs]).mean(0)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings and their defaults."""
        parameters = inspect.signature(cls.__init__).parameters
        return {k: p.default for k, p in parameters.items() if k != "self" and p.default is not p.empty}

    def settings(self) -> dict[str, Any]:
        """Return the settings."""
        return {name: getattr(self, name) for name in self.defaults()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings().items())})"
