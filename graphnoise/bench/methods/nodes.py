"""The plain methods of the benchmark, and the registry that finds them and those of other distributions.

A method is a class with a class attribute `version` (change it whenever results change: recorded cells of another
version are kept but not used), an `__init__` whose keyword arguments are the hyper-parameters, each with a default, and

    fit_predict(task: Task) -> Tensor      scores of all nodes, shape [num_nodes, num_classes]; the largest wins

What it reads is shared by all cells of a process: it clones what it changes. A class attribute `stochastic = False`
says that the seed does not matter, so that one initialisation is enough. A distribution adds methods through the
entry-point group `graphnoise.node_methods`.
"""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter
from typing import Any, Protocol

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.bench.problem import Inputs, Problem, Task
from graphnoise.checks import InputError
from graphnoise.nn import GraphAttention, GraphConvolution, Linear, dropout
from graphnoise.propagation import propagate

GROUP = "graphnoise.node_methods"


class Method(Protocol):
    """What the benchmark needs of a method."""

    version: str

    def fit_predict(self, task: Task) -> Tensor:
        """Train on the task's given labels and return the scores of all nodes, shape [num_nodes, num_classes]."""


@functools.cache
def registry() -> dict[str, EntryPoint]:
    """Return the installed methods by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def create(name: str, overrides: Mapping[str, Any] | None = None) -> tuple[Method, dict[str, Any]]:
    """Return a method and all of its hyper-parameters, defaults included but for those that are None.

    Raises:
        InputError: No such method (the nearest name is suggested) or no such hyper-parameter.

    Example:
        >>> method, parameters = create("lp", {"alpha": 0.8})
        >>> parameters
        {'alpha': 0.8, 'steps': 50}
    """
    known = registry()
    point = known[checks.choice("method", name, known)]
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"method {name}: cannot be loaded from {point.value} ({error})") from error
    if not isinstance(getattr(factory, "version", None), str):
        checks.fail(f"method {name}", "a class with an attribute `version`, a string", f"none in {point.value}")
    parameters: dict[str, Any] = {}
    accepted = inspect.signature(factory).parameters
    for key, parameter in accepted.items():
        if parameter.default is Parameter.empty:
            checks.fail(f"method {name}", "hyper-parameters with defaults", f"{parameter} without")
        if parameter.default is not None:  # None: the method's own choice, which its version stands for
            parameters[key] = parameter.default
    for key, value in (overrides or {}).items():
        parameters[checks.choice(f"hyper-parameter of {name}", key, accepted)] = value
    try:
        return factory(**parameters), parameters
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"method {name}: {type(error).__name__}: {error}") from error


def is_stochastic(method: Method) -> bool:
    """Return whether the seed matters: yes, unless the method says otherwise."""
    return bool(getattr(method, "stochastic", True))


class LP:
    """Label propagation with restart: symmetric normalisation, no self-loops, no features.

    Args:
        alpha: Weight of the neighbours, in [0, 1].
        steps: Number of steps.

    Source:
        Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2.
    """

    version = "1"
    stochastic = False

    def __init__(self, alpha: float = 0.9, steps: int = 50) -> None:
        self.alpha, self.steps = checks.rate("lp.alpha", alpha), checks.integer("lp.steps", steps, 0, 1_000_000)

    def fit_predict(self, task: Task) -> Tensor:
        """Propagate the training labels."""
        start = torch.zeros(task.problem.num_nodes, task.problem.num_classes)
        start[task.problem.train, task.y[task.problem.train]] = 1.0
        return propagate(task.problem.graph, start, alpha=self.alpha, num_steps=self.steps).y


class SGC:
    """Simple graph convolution: logistic regression on features smoothed over the graph.

    D^-1/2 (A + I) D^-1/2 applied `hops` times to row-normalised features, rows then L2-normalised.

    Args:
        hops: Number of smoothing steps.
        C: Inverse strength of the L2 penalty, as in scikit-learn.

    Source:
        Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, section 2.2.
    """

    version = "1"
    stochastic = False

    def __init__(self, hops: int = 2, C: float = 1.0) -> None:
        self.hops, self.C = checks.integer("sgc.hops", hops, 0, 1000), checks.real("sgc.C", C, 1e-12)

    def fit_predict(self, task: Task) -> Tensor:
        """Fit on the training nodes."""
        x = task.problem.smoothed(self.hops).numpy()
        given = task.y[task.problem.train].numpy()
        out = torch.zeros(task.problem.num_nodes, task.problem.num_classes)
        if (given == given[0]).all():  # noise left a single class: nothing to fit
            out[:, int(given[0])] = 1.0
            return out
        model = LogisticRegression(C=self.C, max_iter=1000).fit(x[task.problem.train.numpy()], given)
        out[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(x)).float()
        return out


class _Network(ABC):
    """Full-batch training with Adam, stopped and selected on the task's validation labels.

    The epoch with the highest validation accuracy is kept (ties: the lower validation loss); training ends after
    `patience` epochs without a better one. The learning rate is above the papers' (0.01 for GCN, 0.005 for GAT): on
    Cora that takes fewer epochs, for accuracies that do not differ visibly.
    """

    version = "1"
    stochastic = True
    depth = 2  # graph layers

    def __init__(self, hidden: int, dropout: float, lr: float, weight_decay: float, epochs: int, patience: int) -> None:
        name = type(self).__name__.lower()
        self.hidden = checks.integer(f"{name}.hidden", hidden, 1, 65_536)
        self.dropout = checks.real(f"{name}.dropout", dropout, 0.0, 0.99)
        self.lr = checks.real(f"{name}.lr", lr, 1e-12)
        self.weight_decay = checks.real(f"{name}.weight_decay", weight_decay, 0.0)
        self.epochs = checks.integer(f"{name}.epochs", epochs, 1, 1_000_000)
        self.patience = checks.integer(f"{name}.patience", patience, 1)

    @abstractmethod
    def build(self, problem: Problem, generator: torch.Generator) -> torch.nn.ModuleList:
        """Return the layers, with initial weights from the generator."""

    @abstractmethod
    def logits(self, layers: torch.nn.ModuleList, inputs: Inputs, generator: torch.Generator | None) -> Tensor:
        """Return the logits of the inputs' output nodes; with dropout where a generator is given."""

    def fit_predict(self, task: Task) -> Tensor:
        """Train and return the class probabilities of the selected epoch."""
        generator = torch.Generator().manual_seed(task.seed)
        problem, train, val = task.problem, task.y[task.problem.train], task.y[task.problem.val]
        layers = self.build(problem, generator)
        optimiser = torch.optim.Adam(layers.parameters(), self.lr, weight_decay=self.weight_decay, fused=True)
        best, waited, kept = (-1.0, math.inf), 0, layers.state_dict()
        for _ in range(self.epochs):
            loss = F.cross_entropy(self.logits(layers, problem.inputs(self.depth, "train"), generator), train)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                scores = self.logits(layers, problem.inputs(self.depth, "watched"), None)
            predicted, watched = scores.argmax(1), scores[train.numel() :]
            task.report(loss.item(), predicted[: train.numel()])
            accuracy = (predicted[train.numel() :] == val).float().mean().item()
            now = (accuracy, F.cross_entropy(watched, val).item())
            waited += 1
            if now[0] > best[0] or (now[0] == best[0] and now[1] < best[1]):
                best, waited = now, 0
                kept = {name: value.clone() for name, value in layers.state_dict().items()}
            if waited >= self.patience:
                break
        layers.load_state_dict(kept)
        with torch.no_grad():
            return self.logits(layers, problem.inputs(self.depth, "all"), None).softmax(1)


class MLP(_Network):
    """Two linear layers on the features alone; the graph is not used.

    Args:
        hidden: Width of the hidden layer.
        dropout: Probability of dropping an input or a hidden unit.
        lr: Learning rate.
        weight_decay: L2 penalty.
        epochs: Epochs at most.
        patience: Epochs without a better validation score before training ends.
    """

    depth = 0

    def __init__(
        self,
        hidden: int = 16,
        dropout: float = 0.5,
        lr: float = 0.02,
        weight_decay: float = 5e-4,
        epochs: int = 200,
        patience: int = 40,
    ) -> None:
        super().__init__(hidden, dropout, lr, weight_decay, epochs, patience)

    def build(self, problem: Problem, generator: torch.Generator) -> torch.nn.ModuleList:
        """Return the two layers."""
        return torch.nn.ModuleList(
            [
                Linear(problem.x.shape[1], self.hidden, bias=True, generator=generator),
                Linear(self.hidden, problem.num_classes, bias=True, generator=generator),
            ]
        )

    def logits(self, layers: torch.nn.ModuleList, inputs: Inputs, generator: torch.Generator | None) -> Tensor:
        """Return the logits of the inputs' output nodes; with dropout where a generator is given."""
        hidden = F.relu(layers[0](dropout(inputs.features, self.dropout, generator)))
        out: Tensor = layers[1](dropout(hidden, self.dropout, generator))
        return out


class GCN(MLP):
    """Graph convolutional network of two layers; hyper-parameters as for `MLP`.

    Source:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, section 5.2.
    """

    depth = 2

    def build(self, problem: Problem, generator: torch.Generator) -> torch.nn.ModuleList:
        """Return the two layers."""
        return torch.nn.ModuleList(
            [
                GraphConvolution(problem.x.shape[1], self.hidden, generator=generator),
                GraphConvolution(self.hidden, problem.num_classes, generator=generator),
            ]
        )

    def logits(self, layers: torch.nn.ModuleList, inputs: Inputs, generator: torch.Generator | None) -> Tensor:
        """Return the logits of the inputs' output nodes; with dropout where a generator is given."""
        first, second = inputs.blocks
        hidden = F.relu(layers[0](dropout(inputs.features, self.dropout, generator), first))
        out: Tensor = layers[1](dropout(hidden, self.dropout, generator), second)
        return out


class GAT(_Network):
    """Graph attention network of two layers; the second has one head.

    Args:
        hidden: Width of each head of the first layer.
        heads: Heads of the first layer.
        dropout: Probability of dropping an input, a hidden unit or an attention weight.
        lr: Learning rate.
        weight_decay: L2 penalty.
        epochs: Epochs at most.
        patience: Epochs without a better validation score before training ends.

    Source:
        Velickovic et al., "Graph Attention Networks", ICLR 2018, section 3.3.
    """

    def __init__(
        self,
        hidden: int = 8,
        heads: int = 8,
        dropout: float = 0.6,
        lr: float = 0.02,
        weight_decay: float = 5e-4,
        epochs: int = 200,
        patience: int = 40,
    ) -> None:
        super().__init__(hidden, dropout, lr, weight_decay, epochs, patience)
        self.heads = checks.integer("gat.heads", heads, 1, 1024)

    def build(self, problem: Problem, generator: torch.Generator) -> torch.nn.ModuleList:
        """Return the two layers."""
        wide = self.hidden * self.heads
        more: dict[str, Any] = {"attention_dropout": self.dropout, "generator": generator}
        return torch.nn.ModuleList(
            [
                GraphAttention(problem.x.shape[1], self.hidden, self.heads, **more),
                GraphAttention(wide, problem.num_classes, 1, **more),
            ]
        )

    def logits(self, layers: torch.nn.ModuleList, inputs: Inputs, generator: torch.Generator | None) -> Tensor:
        """Return the logits of the inputs' output nodes; with dropout where a generator is given."""
        first, second = inputs.blocks
        hidden = F.elu(layers[0](dropout(inputs.features, self.dropout, generator), first, generator))
        out: Tensor = layers[1](dropout(hidden, self.dropout, generator), second, generator)
        return out
