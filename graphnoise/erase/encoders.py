"""Encoders of ERASE: networks from features and arcs to embeddings."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parameter import UninitializedParameter

from graphnoise import checks
from graphnoise.checks import GraphnoiseError, InputError
from graphnoise.erase.inputs import Inputs
from graphnoise.erase.settings import Settings
from graphnoise.graph import Graph
from graphnoise.kernels.arcs import accumulation_dtype
from graphnoise.kernels.normalise import normalise
from graphnoise.nn import Block, GraphAttention, GraphConvolution, Linear, SparseFeatures, dropout
from graphnoise.nn.sparse import product

_ORDERS = {"l1": 1, "l2": 2}
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Encoder(torch.nn.Module, ABC):
    """Interface of encoders.

    Attributes:
        depth: Number of graph layers, and so of the blocks that `forward` reads.
        looped: Whether the blocks are those of the graph with self-loops, normalised symmetrically, or of the plain
            graph.
    """

    depth: int
    looped = True

    def prepare(self, inputs: Inputs) -> Tensor | SparseFeatures:
        """Return the features as the encoder reads them; computed once."""
        return inputs.features

    def stepping(self) -> contextlib.AbstractContextManager[None]:
        """Return the context manager of a gradient step."""
        return contextlib.nullcontext()

    @abstractmethod
    def forward(
        self, x: Tensor | SparseFeatures, blocks: list[Block], generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the embeddings of the last block's targets, with dropout where a generator is given."""


class Stack(Encoder):
    """Layers with dropout before, activation and row normalisation between, row normalisation and ReLU at the end."""

    def __init__(self, num_features: int, s: Settings, generator: torch.Generator) -> None:
        super().__init__()
        self.p, self.norms = s.dropout, [s.hidden_norm] * (s.layers - 1) + [s.norm]
        self.activation = s.activation
        widths = [num_features, *[s.hidden] * (s.layers - 1), s.width]
        self.convolutions = torch.nn.ModuleList(
            self.build(widths[i], widths[i + 1], s.heads if i < s.layers - 1 else 1, generator) for i in range(s.layers)
        )
        self.depth = s.layers

    @abstractmethod
    def build(self, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""

    def forward(
        self, x: Tensor | SparseFeatures, blocks: list[Block], generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the embeddings of the last block's targets, with dropout where a generator is given."""
        last = len(self.convolutions) - 1
        for i in range(last + 1):
            dropped = dropout(x, self.p, generator) if i < last or last == 0 else x
            x = self.layer(i, dropped, blocks[i] if blocks else None)
        assert isinstance(x, Tensor)
        return x

    def layer(self, i: int, x: Tensor | SparseFeatures, block: Block | None) -> Tensor:
        """Return the output of layer i without dropout, normalised."""
        convolution = self.convolutions[i]
        out = convolution(x) if block is None else convolution(x, block)
        if i < len(self.convolutions) - 1:
            return normalised(out, self.norms[i], before=self.activation)
        return normalised(out, self.norms[i], after="relu")


class GAT(Stack):
    """Graph attention; the last layer has one head."""

    def build(self, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return GraphAttention(inputs, outputs // heads, heads, generator=generator)


class GCN(Stack):
    """Graph convolution."""

    def build(self, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return GraphConvolution(inputs, outputs, generator=generator)


class GIN(Stack):
    """Graph isomorphism network: an MLP of two layers on (1 + eps) x_i + sum of the neighbours, eps learnt.

    Source:
        Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019, equation 4.1.
    """

    looped = False

    def build(self, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return _Sum(inputs, outputs, generator)


class _Sum(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.eps = torch.nn.Parameter(torch.zeros(()))
        self.first = Linear(inputs, outputs, bias=False, generator=generator)
        self.bias = torch.nn.Parameter(torch.zeros(outputs))
        self.second = Linear(outputs, outputs, bias=True, generator=generator)

    def forward(self, x: Tensor | SparseFeatures, block: Block) -> Tensor:
        block.check(x)
        # Linear, so applied before the sum: sparse features stay sparse.
        h = self.first(x)
        neighbours = product(block.matrix, block.transpose, h)
        out: Tensor = self.second(F.relu(neighbours + (1 + self.eps) * h[: block.num_targets] + self.bias))
        return out


class MLP(Stack):
    """Linear layers; the graph is not read."""

    looped = False

    def __init__(self, num_features: int, s: Settings, generator: torch.Generator) -> None:
        super().__init__(num_features, s, generator)
        self.depth = 0

    def build(self, inputs: int, outputs: int, heads: int, generator: torch.Generator) -> torch.nn.Module:
        """Return one layer."""
        return Linear(inputs, outputs, bias=True, generator=generator)


class SGC(MLP):
    """Linear layers on features that are smoothed twice over the graph, and reduced, once for all epochs.

    Source:
        Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, section 2.2.
    """

    directions: Tensor

    def __init__(self, num_features: int, s: Settings, generator: torch.Generator) -> None:
        width = num_features if s.components is None else min(s.components, num_features)
        super().__init__(width, s, generator)
        self.reduced = width < num_features
        self.register_buffer("directions", torch.empty(num_features, width if self.reduced else 0))
        self.fitted = False

    def prepare(self, inputs: Inputs) -> Tensor:
        """Return the smoothed features, reduced to their principal directions on the first graph."""
        if not self.reduced:
            return inputs.smoothed
        if not self.fitted:
            self.directions[:] = inputs.directions(self.directions.shape[1])
            self.fitted = True
        return inputs.smoothed @ self.directions


class CustomEncoder(Encoder):
    """A user's module, called as `module(x, edge_index)`; its outputs are row-normalised."""

    looped = False

    def __init__(self, module: torch.nn.Module, s: Settings) -> None:
        super().__init__()
        self.module, self.norm, self.depth = copied(module, "encoder"), s.norm, len(s.fanouts)

    def prepare(self, inputs: Inputs) -> Tensor:
        """Return the dense features."""
        return inputs.x

    def forward(
        self, x: Tensor | SparseFeatures, blocks: list[Block], generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the embeddings of the last block's targets; dropout draws from torch's default generator."""
        self.module.train(generator is not None)
        # Sources are numbered alike in all blocks, so that their arcs are those of one small graph.
        arcs = torch.cat([block.edge_index for block in dict.fromkeys(blocks)], 1)
        arcs = torch.unique(arcs, dim=1) if blocks[0] is not blocks[-1] else arcs
        assert isinstance(x, Tensor)
        # A module may change its arguments in place.
        out = self._call(x.clone(), arcs, generator)
        rows, name = x.shape[0], type(self.module).__name__
        if not isinstance(out, Tensor):
            checks.fail("encoder", f"embeddings of shape [{rows}, width] from {name}", type(out).__name__)
        if out.layout != torch.strided or out.device != x.device:
            got = f"{str(out.layout)[6:]} ones on {out.device}"
            checks.fail("encoder", f"dense embeddings on {x.device} from {name}", got)
        if out.dim() != 2 or out.shape[0] != rows or out.shape[1] == 0 or out.dtype not in _FLOATING:
            got = f"shape {tuple(out.shape)} of type {out.dtype}"
            checks.fail("encoder", f"floating embeddings of shape [{rows}, width] from {name}", got)
        return normalised(out[: blocks[-1].num_targets].to(accumulation_dtype(out.dtype)), self.norm)

    def _call(self, x: Tensor, arcs: Tensor, generator: torch.Generator | None) -> object:
        """Call the module; without a generator, its random numbers are the same at each call."""
        arguments = f"features of shape {tuple(x.shape)} and edge_index of shape {tuple(arcs.shape)}"
        rng = torch.Generator(x.device).manual_seed(0) if generator is None else generator
        with shared_rng(rng), reraise_as_input_error(f"a module that takes {arguments}, got"):
            return self.module(x, arcs)

    def stepping(self) -> contextlib.AbstractContextManager[None]:
        """Turn errors of a gradient step into an `InputError` that names the encoder."""
        return reraise_as_input_error(f"a module that Adam can train, got {type(self.module).__name__}:")


def copied(module: torch.nn.Module, argument: str) -> torch.nn.Module:
    """Return a copy of a user's module; `InputError` on the argument if it cannot be copied or trained."""
    name, parameters = type(module).__name__, list(module.parameters())
    shaped = not any(isinstance(p, UninitializedParameter) for p in parameters)
    cached = any(getattr(part, "cached", False) is True for part in module.modules())
    for right, expected, got in (
        (not isinstance(module, torch.jit.ScriptModule), "in Python (the one that was scripted)", f"a scripted {name}"),
        (all(p.device.type != "meta" for p in parameters), "whose weights hold data", f"a {name} on the meta device"),
        (not any(p.is_complex() for p in parameters), "whose weights are real", f"a {name} with complex ones"),
        (shaped, "whose weights have their shapes (call it once)", f"a lazy {name}"),
        (any(p.requires_grad for p in parameters), "with parameters to train", name),
        (not cached, "whose layers read the arcs of each call (cached=False)", f"a cached layer in {name}"),
    ):
        if not right:
            checks.fail(argument, f"a module {expected}", got)
    with reraise_as_input_error(f"a module that can be copied, got {name}:", argument):
        return copy.deepcopy(module)


@contextlib.contextmanager
def reraise_as_input_error(expected: str, name: str = "encoder") -> Iterator[None]:
    """Raise errors of a user's module, except for lack of memory, as an `InputError` on an argument."""
    try:
        yield
    except (GraphnoiseError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")
        raise InputError(f"{name}: expected {expected} {message}") from error


@contextlib.contextmanager
def shared_rng(generator: torch.Generator) -> Iterator[None]:
    """Let torch's default generator, which modules draw from, continue the state of `generator`, and advance both."""
    cuda = generator.device.type == "cuda"
    with torch.random.fork_rng([generator.device] if cuda else []):
        if cuda:
            torch.cuda.set_rng_state(generator.get_state(), generator.device)
        else:
            torch.random.set_rng_state(generator.get_state())
        yield
        state = torch.cuda.get_rng_state(generator.device) if cuda else torch.random.get_rng_state()
        generator.set_state(state)


_ENCODERS: dict[str, Any] = {"gat": GAT, "gcn": GCN, "gin": GIN, "sgc": SGC, "mlp": MLP}


def build(num_features: int, s: Settings, generator: torch.Generator) -> Encoder:
    """Return the encoder of these settings, with initial weights from the generator."""
    if isinstance(s.encoder, torch.nn.Module):
        return CustomEncoder(s.encoder, s)
    encoder: Encoder = _ENCODERS[s.encoder](num_features, s, generator)
    return encoder


def full_graph_inputs(encoder: Encoder, inputs: Inputs) -> tuple[Tensor | SparseFeatures, Graph, list[Block]]:
    """Return what the encoder reads to embed all nodes: features, graph and one block per layer."""
    graph = inputs.looped if encoder.looped else inputs.graph
    blocks = [Block.full(graph)] * encoder.depth if encoder.depth else []
    return encoder.prepare(inputs), graph, blocks


def normalised(x: Tensor, norm: str, before: str = "none", after: str = "none") -> Tensor:
    """Return x after an activation, row normalisation (zero rows stay) and a second activation."""
    if norm != "none":
        return normalise(x, _ORDERS[norm], before, after, None)
    x = F.leaky_relu(x, 0.01) if before == "leaky_relu" else F.relu(x) if before == "relu" else x
    return F.relu(x) if after == "relu" else x
