"""What a network reads of a graph: features and arcs, with the usual random changes (augmentations)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise.graph import Graph, power_or_zero
from graphnoise.nn import Block, Propagate, SparseFeatures
from graphnoise.nn.features import compact


@dataclass(frozen=True, eq=False)
class View:
    """Features and arcs that a network reads.

    Attributes:
        x: Features, float32, shape [num_nodes, num_features].
        edge_index: Arcs (source, target), without added self-loops, shape [2, num_arcs].
        edge_weight: Weights of the arcs, at least 0, shape [num_arcs]; gradients may pass. None: all are 1.
        sampled: Whether the arcs are not those of the graph, and so no warning tells that they are directed.
    """

    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor | None = None
    sampled: bool = False

    def __getstate__(self) -> dict[str, object]:
        # What is computed from the fields is computed again: sparse tensors cannot be copied.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.x.shape[0]

    @cached_property
    def features(self) -> Tensor | SparseFeatures:
        """The features, sparse where few are not zero."""
        return compact(self.x) if self.x.device.type == "cpu" else self.x

    @cached_property
    def graph(self) -> Graph:
        """The graph with self-loops, normalised symmetrically, without weights."""
        with warnings.catch_warnings():
            if self.sampled:
                warnings.simplefilter("ignore")
            return Graph.from_edge_index(self.edge_index, self.num_nodes).with_self_loops().normalise("sym")

    @cached_property
    def block(self) -> Block:
        """`graph` as the operand of a layer."""
        return Block.full(self.graph)

    @cached_property
    def weighted(self) -> Graph:
        """The graph with self-loops of weight 1, its weights normalised symmetrically; gradients pass."""
        source, target = self.edge_index
        weight = self.x.new_ones(len(source)) if self.edge_weight is None else self.edge_weight
        nodes = torch.arange(self.num_nodes, device=target.device)
        # Nodes with a self-loop keep its weight.
        loops = torch.ones_like(nodes, dtype=weight.dtype).index_fill(0, target[source == target], 0.0)
        scale = power_or_zero(loops.index_add(0, target, weight), -0.5)
        arcs = torch.cat([self.edge_index, torch.stack([nodes, nodes])], 1)
        values = torch.cat([weight * scale[source] * scale[target], loops * scale**2])
        return Graph.from_edge_index(arcs, self.num_nodes, values)

    @cached_property
    def edges(self) -> Tensor:
        """Pairs of distinct nodes with an arc, each once, the smaller node first, in order, shape [2, num_edges]."""
        low, high = self.edge_index.sort(0).values
        keys = torch.unique((low * self.num_nodes + high)[low < high])
        return torch.stack([keys // self.num_nodes, keys % self.num_nodes])

    def joined(self, pairs: Tensor) -> Tensor:
        """Return which pairs of nodes, shape [2, num_pairs], have an arc in either direction, Boolean."""
        keys, (low, high) = self.edges[0] * self.num_nodes + self.edges[1], pairs.sort(0).values
        wanted = low * self.num_nodes + high
        if not len(keys):
            return torch.zeros_like(wanted, dtype=torch.bool)
        found: Tensor = keys[torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)] == wanted
        return found

    def non_edges(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw pairs of distinct nodes without an arc, shape [2, at most count]: other pairs drawn are left out."""
        n = self.num_nodes
        # In order, so that arcs and rows are found near each other.
        keys = torch.randint(n * n, (count,), generator=generator, device=generator.device).sort().values
        pairs = torch.stack([keys // n, keys % n])
        return pairs[:, (pairs[0] != pairs[1]) & ~self.joined(pairs)]

    @cached_property
    def _edge_of_arc(self) -> tuple[int, Tensor]:
        """Number of pairs of nodes with an arc, and which of them each arc is of, whatever its direction."""
        low, high = self.edge_index.sort(0).values
        pairs, edge = torch.unique(low * self.num_nodes + high, return_inverse=True)
        return len(pairs), edge

    def smoothed(self, num_steps: int, alpha: float) -> Tensor:
        """Return the features after steps of propagation with restart, rows of length 1; computed once."""
        key = f"smoothed {num_steps} {alpha}"
        if key not in vars(self):
            steps = Propagate(num_steps, alpha, add_self_loops=self.edge_weight is not None)
            arcs = (self.graph,) if self.edge_weight is None else (self.edge_index, self.edge_weight)
            vars(self)[key] = F.normalize(steps(self.x, *arcs))
        x: Tensor = vars(self)[key]
        return x

    def with_arcs(self, edge_index: Tensor, edge_weight: Tensor | None = None) -> View:
        """Return the same features with other arcs."""
        view = View(self.x, edge_index, edge_weight, sampled=True)
        # Both are computed from the features alone.
        vars(view)["features"] = self.features
        return view

    def drop_arcs(self, rate: float, generator: torch.Generator) -> View:
        """Return a view without a random share of the arcs; an arc and its reverse stay or go together."""
        count, edge = self._edge_of_arc
        kept = (torch.rand(count, generator=generator, device=generator.device) >= rate)[edge]
        return self.with_arcs(self.edge_index[:, kept], None if self.edge_weight is None else self.edge_weight[kept])

    def mask_features(self, rate: float, generator: torch.Generator) -> View:
        """Return a view in which a random share of the columns of the features is zero."""
        kept = (torch.rand(self.x.shape[1], generator=generator, device=generator.device) >= rate).to(self.x.dtype)
        view = replace(self, x=self.x * kept)
        # Sparse or dense as before: to find out again costs more than a step.
        x = self.features
        vars(view)["features"] = x.scaled(kept[x.pattern.col]) if isinstance(x, SparseFeatures) else view.x
        for name in ("graph", "block"):
            if name in vars(self):
                vars(view)[name] = vars(self)[name]
        return view
