"""Node methods of the benchmark: the contract of a method, and label propagation, MLP, GCN and GAT.

A method is a class with a class attribute `version` (change it whenever recorded results change: cells of another
version are kept but not used), an `__init__` whose keyword arguments are the hyper-parameters, each with a default, and

    fit_predict(trial: Trial) -> Tensor      scores of all nodes, shape [num_nodes, num_classes]; the largest wins

Methods of this package share what they read between the cells of a process, and clone what they change; those of other
packages get a copy. A class attribute `stochastic = False` says that the seed does not matter, so that one
initialisation is enough. A distribution adds methods through the entry-point group `graphnoise.node_methods`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import Module, ModuleList
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.methods.problem import Inputs, Problem, Trial
from graphnoise.nn import Block, GraphAttention, GraphConvolution, Linear, dropout
from graphnoise.propagation import propagate


class Method(Protocol):
    """What the benchmark needs of a method."""

    version: str

    def fit_predict(self, trial: Trial) -> Tensor:
        """Train on the trial's labels and return the scores of all nodes, shape [num_nodes, num_classes]."""


def is_stochastic(name: str) -> bool:
    """Return whether the seed matters to a method: yes, unless its class says otherwise."""
    return bool(getattr(registry.load("node_methods", name), "stochastic", True))


class LP:
    """Label propagation with restart: symmetric normalisation, no self-loops, no features.

    Args:
        alpha: Weight of the neighbours, in [0, 1].
        steps: Number of steps.

    Source:
        Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2.
    """

    # Nodes that no label reaches have no class since version 2.
    version = "2"
    stochastic = False

    def __init__(self, alpha: float = 0.9, steps: int = 50) -> None:
        self.alpha, self.steps = checks.rate("lp.alpha", alpha), checks.integer("lp.steps", steps, 0, 1_000_000)

    def fit_predict(self, trial: Trial) -> Tensor:
        """Propagate the training labels."""
        start = torch.zeros(trial.problem.num_nodes, trial.problem.num_classes)
        start[trial.problem.train, trial.y[trial.problem.train]] = 1.0
        return propagate(trial.problem.graph, start, alpha=self.alpha, num_steps=self.steps).y


@dataclass(frozen=True)
class _Network(ABC):
    """Full-batch training with Adam, stopped and selected on the trial's validation labels.

    The epoch with the highest validation accuracy is kept (ties: the lower validation loss); training ends after
    `patience` epochs without a better one. The learning rate is above the papers' (0.01 for GCN, 0.005 for GAT): on
    Cora that takes fewer epochs, for accuracies that do not differ visibly.

    With `val_labels` the given validation labels are further training labels. None are then left to select by, so
    that all of `epochs` are run, the last one is kept, and `patience` is not read.

    Args:
        hidden: Width of the hidden layer; of GAT, of each head.
        dropout: Probability of dropping an input or a hidden unit; of GAT, also an attention weight.
        lr: Learning rate.
        weight_decay: L2 penalty.
        epochs: Maximum number of epochs.
        patience: Epochs without a better validation score before training ends.
        val_labels: Whether validation labels are training labels; None: no.
    """

    version: ClassVar[str] = "1"
    stochastic: ClassVar[bool] = True
    # Number of graph layers.
    depth: ClassVar[int] = 2
    activation: ClassVar[Any] = staticmethod(F.relu)

    hidden: int = 16
    dropout: float = 0.5
    lr: float = 0.02
    weight_decay: float = 5e-4
    epochs: int = 200
    patience: int = 40
    val_labels: bool | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        for key, high in (("hidden", 65_536), ("epochs", 1_000_000), ("patience", None)):
            checks.integer(f"{name}.{key}", getattr(self, key), 1, high)
        checks.real(f"{name}.dropout", self.dropout, 0.0, 0.99)
        checks.real(f"{name}.lr", self.lr, 1e-12)
        checks.real(f"{name}.weight_decay", self.weight_decay, 0.0)
        checks.flag(f"{name}.val_labels", bool(self.val_labels) if self.val_labels is None else self.val_labels)

    @abstractmethod
    def build(self, problem: Problem, generator: torch.Generator) -> ModuleList:
        """Return the two layers, with initial weights from the generator."""

    def extra(self, block: Block | None, generator: torch.Generator | None) -> tuple[Any, ...]:
        """Return what a layer takes besides its input."""
        return (block,)

    def logits(self, layers: ModuleList, inputs: Inputs, generator: torch.Generator | None) -> Tensor:
        """Return the logits of the inputs' output nodes; with dropout where a generator is given."""
        first, second = (self.extra(block, generator) for block in inputs.blocks or (None, None))
        hidden = self.activation(layers[0](dropout(inputs.features, self.dropout, generator), *first))
        out: Tensor = layers[1](dropout(hidden, self.dropout, generator), *second)
        return out

    def fit_predict(self, trial: Trial) -> Tensor:
        """Train and return the class probabilities of the selected epoch."""
        generator = torch.Generator().manual_seed(trial.seed)
        problem, train, val = trial.problem, trial.y[trial.problem.train], trial.y[trial.problem.val]
        fitted, given = ("train+val", torch.cat([train, val])) if self.val_labels else ("train", train)
        layers = self.build(problem, generator)
        optimiser = torch.optim.Adam(layers.parameters(), self.lr, weight_decay=self.weight_decay, fused=True)
        # Until an epoch is selected, the weights are those of the last epoch, as they share its memory.
        best, waited, weights = (-1.0, math.inf), 0, layers.state_dict()
        for _ in range(self.epochs):
            loss = F.cross_entropy(self.logits(layers, problem.inputs(self.depth, fitted), generator), given)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                scores = self.logits(layers, problem.inputs(self.depth, "train+val"), None)
            predicted, val_scores = scores.argmax(1), scores[train.numel() :]
            trial.report(loss.item(), predicted[: train.numel()])
            if self.val_labels:
                continue
            accuracy = (predicted[train.numel() :] == val).float().mean().item()
            now = (accuracy, F.cross_entropy(val_scores, val).item())
            waited += 1
            if now[0] > best[0] or (now[0] == best[0] and now[1] < best[1]):
                best, waited = now, 0
                weights = {name: value.clone() for name, value in layers.state_dict().items()}
            if waited >= self.patience:
                break
        layers.load_state_dict(weights)
        with torch.no_grad():
            return self.logits(layers, problem.inputs(self.depth, "all"), None).softmax(1)


class GCN(_Network):
    """Graph convolutional network of two layers; hyper-parameters as of `_Network`.

    Source:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, section 5.2.
    """

    layer: ClassVar[Callable[..., Module]] = GraphConvolution

    def build(self, problem: Problem, generator: torch.Generator) -> ModuleList:
        """Return the two layers."""
        sizes = ((problem.x.shape[1], self.hidden), (self.hidden, problem.num_classes))
        return ModuleList([self.layer(*size, generator=generator) for size in sizes])


@dataclass(frozen=True)
class GCNTV(GCN):
    """`GCN` with `val_labels`."""

    val_labels: bool | None = True


class MLP(GCN):
    """Two linear layers on the features alone; the graph is not used. Hyper-parameters as of `_Network`."""

    depth = 0
    layer = partial(Linear, bias=True)

    def extra(self, block: Block | None, generator: torch.Generator | None) -> tuple[Any, ...]:
        """Return nothing."""
        return ()


@dataclass(frozen=True)
class GAT(_Network):
    """Graph attention network of two layers, `heads` in the first and one in the second; else as `_Network`.

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 3.3.
    """

    hidden: int = 8
    heads: int = 8
    dropout: float = 0.6

    activation = staticmethod(F.elu)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("gat.heads", self.heads, 1, 1024)

    def build(self, problem: Problem, generator: torch.Generator) -> ModuleList:
        """Return the two layers."""
        width = self.hidden * self.heads
        sizes = ((problem.x.shape[1], self.hidden, self.heads), (width, problem.num_classes, 1))
        return ModuleList(
            [GraphAttention(*size, attention_dropout=self.dropout, generator=generator) for size in sizes]
        )

    def extra(self, block: Block | None, generator: torch.Generator | None) -> tuple[Any, ...]:
        """Return the block, and the generator for dropout of attention weights."""
        return (block, generator)
