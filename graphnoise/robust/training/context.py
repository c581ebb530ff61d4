"""What the hooks of a method read: the state of training, and of one step for one network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise.robust.training.batches import Batch
from graphnoise.robust.training.networks import Output


@dataclass
class Context:
    """The state of training that methods read.

    Attributes:
        full: View of the whole graph, without labels.
        labelled: Positions of the labelled nodes, shape [num_labelled].
        given: Their given labels, int64, shape [num_labelled].
        num_classes: Number of classes.
        epochs: Number of epochs of the run.
        networks: The networks; each is called with a view and, for dropout, a generator.
        generator: Source of all random numbers.
        epoch: Number of epochs done.
        val: Positions of the validation nodes, which are not trained on; empty if there are none.
        val_given: Their given labels, -1 for a class that no labelled node has.
    """

    full: Any
    labelled: Tensor
    given: Tensor
    num_classes: int
    epochs: int
    networks: list[Callable[..., Output]]
    generator: torch.Generator
    val: Tensor
    val_given: Tensor
    epoch: int = 0
    _predicted: dict[tuple[int, int], Output] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Labels of other classes only cannot tell which epoch is best.
        if not bool((self.val_given >= 0).any()):
            self.val, self.val_given = self.val[:0], self.val_given[:0]

    @property
    def progress(self) -> float:
        """Share of the epochs that are done, in [0, 1)."""
        return self.epoch / self.epochs

    def epochs_in(self, share: float) -> int:
        """Return how many epochs a share of all is, rounded up."""
        # Products such as 0.07 · 100 may be above the integer by rounding.
        return math.ceil(share * self.epochs - 1e-9)

    @cached_property
    def unlabelled(self) -> Tensor:
        """Positions of the nodes that are not trained on, validation nodes among them."""
        free = torch.ones(self.full.num_nodes, dtype=torch.bool, device=self.labelled.device)
        free[self.labelled] = False
        return free.nonzero().view(-1)

    def evaluate(self, network: int = 0) -> Output:
        """Return the outputs for all nodes without dropout and gradients; computed once per epoch."""
        key = (self.epoch, network)
        if key not in self._predicted:
            self._predicted = {k: v for k, v in self._predicted.items() if k[0] == self.epoch}
            with torch.no_grad():
                self._predicted[key] = self.networks[network](self.full)
        return self._predicted[key]

    def evaluate_view(self, view: Any) -> list[Output]:
        """Return the outputs of each network for a view, without dropout."""
        if view is self.full:
            return [self.evaluate(k) for k in range(len(self.networks))]
        return [network(view) for network in self.networks]

    def forget(self) -> None:
        """Drop cached outputs, since weights have changed."""
        self._predicted.clear()


@dataclass(frozen=True)
class Step:
    """One step of training, seen by one network.

    Attributes:
        context: The state of training.
        batch: The batch.
        outputs: Outputs of each network for the batch.
        network: Which network's loss is computed.
    """

    context: Context
    batch: Batch
    outputs: list[Output]
    network: int = 0

    @property
    def output(self) -> Output:
        """Outputs of this network for all rows of the batch."""
        return self.outputs[self.network]

    # Targets, which are computed without gradients, may be the first to read it.
    @cached_property
    @torch.enable_grad()
    def logits(self) -> Tensor:
        """Logits of the labelled nodes of the batch, shape [batch_size, num_classes]."""
        return self.output.logits[self.batch.at]

    @cached_property
    @torch.enable_grad()
    def embedding(self) -> Tensor:
        """Embeddings of the labelled nodes of the batch, shape [batch_size, width]."""
        return self.output.embedding[self.batch.at]

    @property
    def rows(self) -> Tensor:
        """Positions of the labelled nodes of the batch among all labelled nodes, shape [batch_size]."""
        return self.batch.rows

    @cached_property
    def given(self) -> Tensor:
        """Their given labels, int64, shape [batch_size]."""
        return self.context.given[self.batch.rows]

    @cached_property
    def one_hot(self) -> Tensor:
        """Their given labels, one-hot, shape [batch_size, num_classes]."""
        return F.one_hot(self.given, self.context.num_classes).to(self.logits.dtype)

    @property
    def peer(self) -> Step:
        """The same step, seen by the other of two networks."""
        return replace(self, network=1 - self.network)

    @cached_property
    def others(self) -> Tensor:
        """Positions of the unlabelled nodes of the batch among the outputs."""
        return (~torch.isin(self.batch.nodes, self.context.labelled)).nonzero().view(-1)
