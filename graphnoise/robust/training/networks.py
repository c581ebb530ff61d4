"""Networks that are trained: the default graph convolutional network, and modules of users, with outputs checked."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing

from graphnoise import checks
from graphnoise.erase.encoders import copied, reraise_as_input_error, shared_rng
from graphnoise.nn import GraphConvolution, Linear, Propagate, SparseFeatures, dropout
from graphnoise.robust.training.views import View

# What the input of the last layer, shape [num_nodes, width], is replaced by.
Transform = Callable[[Tensor], Tensor]


class Output(NamedTuple):
    """What a network computes.

    Attributes:
        logits: Shape [num_nodes, num_classes].
        embedding: Input of the last layer, shape [num_nodes, width].
    """

    logits: Tensor
    embedding: Tensor


class ViewNetwork(torch.nn.Module):
    """A network that is called with features, view, generator and transform, and returns logits and embeddings."""


class GCN(ViewNetwork):
    """Graph convolutional network: convolution, ReLU and dropout by turns; sparse features stay sparse.

    Subclasses may have other layers.

    Args:
        num_features: Number of features.
        hidden: Width of the hidden layers.
        num_classes: Number of classes.
        num_layers: Number of layers.
        dropout: Probability of dropping an input of a layer.
        generator: Source of the initial weights.

    Example:
        >>> network = GCN(4, 8, 3, generator=torch.Generator().manual_seed(0))
        >>> sum(weights.numel() for weights in network.parameters())
        67

    Source:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, section 3.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int,
        num_classes: int,
        *,
        num_layers: int = 2,
        dropout: float = 0.5,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = [num_features, *[hidden] * (num_layers - 1), num_classes]
        self.layers = torch.nn.ModuleList(self.build(*size, hidden, generator) for size in itertools.pairwise(widths))
        self.dropout = dropout
        # Of weights that are normalised as they should be.
        self.propagate = Propagate(1, mode="power", normalisation="none", add_self_loops=False)

    def forward(
        self,
        x: Tensor | SparseFeatures,
        view: View,
        generator: torch.Generator | None = None,
        transform: Transform | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits and the input of the last layer; with dropout where a generator is given."""
        embedding = x
        for i, layer in enumerate(self.layers):
            x = F.relu(x) if i and isinstance(x, Tensor) else x
            if transform is not None and i == len(self.layers) - 1:
                x = transform(x if isinstance(x, Tensor) else view.x)
            embedding = x
            x = self.convolved(layer, dropout(x, self.dropout, generator), view)
        assert isinstance(x, Tensor)
        return x, embedding if isinstance(embedding, Tensor) else view.x

    def build(self, inputs: int, outputs: int, hidden: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return GraphConvolution(inputs, outputs, generator=generator)

    def convolved(self, layer: Any, x: Tensor | SparseFeatures, view: View) -> Tensor:
        """Return the output of a layer."""
        if view.edge_weight is None:
            out: Tensor = layer(x, view.block)
            return out
        weighted: Tensor = self.propagate(layer.linear(x), view.weighted) + layer.bias
        return weighted


class SmoothedMLP(ViewNetwork):
    """Features propagated over the graph (with restart), in rows of length 1, then a perceptron with one hidden layer.

    Args:
        num_features: Number of features.
        hidden: Width of the hidden layer.
        num_classes: Number of classes.
        num_steps: Number of steps of propagation.
        alpha: Weight of the neighbours in each step.
        dropout: Probability of dropping an entry of the hidden layer.
        generator: Source of the initial weights.

    Example:
        >>> network = SmoothedMLP(4, 8, 3, generator=torch.Generator().manual_seed(0))
        >>> sum(weights.numel() for weights in network.parameters())
        67

    Source:
        The propagation is that of Gasteiger et al., "Predict then Propagate", ICLR 2019, equation 4, before the
        perceptron in place of after it.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int,
        num_classes: int,
        *,
        num_steps: int = 10,
        alpha: float = 0.9,
        dropout: float = 0.5,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.first = Linear(num_features, hidden, bias=True, generator=generator)
        self.last = Linear(hidden, num_classes, bias=True, generator=generator)
        self.num_steps, self.alpha, self.dropout = num_steps, alpha, dropout

    def forward(
        self,
        x: Tensor | SparseFeatures,
        view: View,
        generator: torch.Generator | None = None,
        transform: Transform | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits and the hidden layer; with dropout where a generator is given."""
        embedding = F.relu(self.first(view.smoothed(self.num_steps, self.alpha)))
        embedding = embedding if transform is None else transform(embedding)
        return self.last(dropout(embedding, self.dropout, generator)), embedding


class Network(torch.nn.Module):
    """A module that is called as `module(x, edge_index)`, or with `edge_weight` too, and its outputs, checked.

    Args:
        module: A `ViewNetwork`, or a user's module, which is copied.
        num_classes: Number of classes.

    Raises:
        InputError: The module cannot be copied or has nothing to train.
    """

    def __init__(self, module: torch.nn.Module, num_classes: int) -> None:
        super().__init__()
        self.num_classes, self.name = num_classes, type(module).__name__
        self.module = module if isinstance(module, ViewNetwork) else copied(module, "model")
        # Number of calls of layers in a pass; unknown before the first one.
        self._calls = 0

    @contextlib.contextmanager
    def _layer_inputs(self, transform: Transform | None) -> Iterator[list[Tensor]]:
        """Yield the inputs of the layers that are called in the block; that of the last call is transformed."""
        inputs: list[Tensor] = []

        def read(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            if transform is not None and len(inputs) == self._calls - 1:
                arguments = (transform(arguments[0]), *arguments[1:])
            inputs.append(arguments[0])
            return arguments

        layers = [part for part in self.module.modules() if isinstance(part, MessagePassing)]
        layers = layers or [part for part in self.module.modules() if isinstance(part, torch.nn.Linear)]
        hooks = [layer.register_forward_pre_hook(read) for layer in layers]
        try:
            yield inputs
        finally:
            for hook in hooks:
                hook.remove()

    def forward(
        self, view: View, generator: torch.Generator | None = None, transform: Transform | None = None
    ) -> Output:
        """Return logits and embeddings of the view's nodes; dropout draws from the generator, and is off without one.

        With `transform`, the last layer reads what it makes of the embeddings, before dropout.

        Raises:
            InputError: The module fails, or its output is not a finite matrix with a row per node and a column per
                class.
        """
        self.train(generator is not None)
        if isinstance(self.module, ViewNetwork):
            logits, embedding = self.module(view.features, view, generator, transform)
        else:
            if transform is not None and not self._calls:
                self._count(view)
            logits, embedding = self._called(view, generator, transform)
        if not bool(torch.isfinite(logits).all()):
            checks.fail("model", f"finite outputs of {self.name} (a lower lr may help)", "NaN or infinite ones")
        return Output(logits, embedding)

    def _count(self, view: View) -> None:
        """Count the calls of layers, which tell the last one."""
        training = self.training
        with torch.no_grad():
            self.eval()
            self._called(view, None, None)
        self.train(training)
        if not self._calls:
            checks.fail("model", "a layer of torch_geometric or torch.nn.Linear, for this method", self.name)

    def _called(
        self, view: View, generator: torch.Generator | None, transform: Transform | None
    ) -> tuple[Tensor, Tensor]:
        weights = () if view.edge_weight is None else (view.edge_weight,)
        if weights and not self.takes_weights:
            checks.fail("model", "a module whose forward takes edge_weight, for this method", self.name)
        rng = torch.Generator(view.x.device).manual_seed(0) if generator is None else generator
        arguments = f"features of shape {tuple(view.x.shape)} and edge_index of shape {tuple(view.edge_index.shape)}"
        taken = f"a module that takes {arguments}, got"
        with shared_rng(rng), reraise_as_input_error(taken, "model"), self._layer_inputs(transform) as inputs:
            # A module may change its arguments in place.
            out = self.module(view.x.clone(), view.edge_index, *weights)
        shape = (view.num_nodes, self.num_classes)
        if not isinstance(out, Tensor) or not out.is_floating_point() or tuple(out.shape) != shape:
            got = f"{tuple(out.shape)} of type {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
            checks.fail("model", f"logits of shape {shape} from {self.name}", got)
        embedding, self._calls = inputs[-1] if inputs else out, len(inputs)
        embedding = embedding if isinstance(embedding, Tensor) and len(embedding) == len(out) else out
        return out.float(), embedding.float()

    @property
    def takes_weights(self) -> bool:
        """Whether the module can be called with weights of arcs."""
        if isinstance(self.module, ViewNetwork):
            return True
        parameters = list(inspect.signature(self.module.forward).parameters)
        return len(parameters) > 2 and parameters[2] in ("edge_weight", "edge_weights")

    def reset(self, seed: int) -> None:
        """Draw new initial weights.

        Raises:
            InputError: The module has no `reset_parameters`.
        """
        parts: list[Any] = [part for part in self.module.modules() if hasattr(part, "reset_parameters")]
        if not parts:
            checks.fail("model", "layers with reset_parameters, for a method of several networks", self.name)
        with shared_rng(torch.Generator().manual_seed(seed)):
            for part in parts:
                part.reset_parameters()
