"""Batches of labelled nodes: the whole graph, sampled neighbourhoods, or those of a loader of torch_geometric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.nn import Block, sample_neighbors
from graphnoise.nn.sparse import Pattern
from graphnoise.process_group import Share, private_generator
from graphnoise.robust.training.views import View


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step of training reads.

    Attributes:
        view: What networks read: a `View` of a graph, or anything else that they are called with.
        nodes: Which nodes (or pairs) the rows of the networks' outputs are, shape [num_outputs].
        at: Positions of the labelled ones among the outputs, shape [batch_size].
        rows: Their positions among all that are labelled, shape [batch_size].
    """

    view: Any
    nodes: Tensor
    at: Tensor
    rows: Tensor


class Batches(Protocol):
    """The batches of an epoch, and the view of everything, for prediction."""

    full: Any

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of an epoch."""


class FullBatch:
    """One batch of all nodes.

    Args:
        view: The graph.
        labelled: Positions of the labelled nodes.
    """

    def __init__(self, view: View, labelled: Tensor) -> None:
        self.full = view
        nodes, rows = (torch.arange(count, device=labelled.device) for count in (view.num_nodes, len(labelled)))
        self._batch = Batch(view, nodes, labelled, rows)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batch."""
        yield self._batch


class SampledBatches:
    """Batches of labelled nodes in random order, each with sampled neighbours.

    Each batch has as many unlabelled nodes, drawn at random, among its outputs, which methods may use.

    Args:
        view: The graph.
        labelled: Positions of the labelled nodes.
        size: Number of labelled nodes of a batch.
        fanouts: Number of neighbours per node for each layer; -1 for all.
    """

    def __init__(self, view: View, labelled: Tensor, size: int, fanouts: Sequence[int]) -> None:
        self.full, self.labelled, self.size, self.fanouts = view, labelled, size, list(fanouts)
        free = torch.ones(view.num_nodes, dtype=torch.bool)
        free[labelled] = False
        self.unlabelled = free.nonzero().view(-1)
        self._loops = view.graph

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches, the last one with what is left."""
        for rows in torch.split(torch.randperm(len(self.labelled), generator=generator), self.size):
            drawn = torch.randperm(len(self.unlabelled), generator=generator)[: len(rows)]
            outputs = torch.cat([self.labelled[rows], self.unlabelled[drawn]])
            nodes, blocks = sample_neighbors(self._loops, outputs, self.fanouts, generator)
            yield Batch(_joined(self.full.x[nodes], blocks), nodes, torch.arange(len(rows)), rows)


def _joined(x: Tensor, blocks: list[Block]) -> View:
    """Return the arcs of all blocks as one small graph: sources are numbered alike in all of them."""
    arcs = torch.cat([block.edge_index.flip(0) for block in blocks], 1)
    (target, source), inverse = torch.unique(arcs, dim=1, return_inverse=True)
    value = torch.zeros(len(target)).index_copy_(0, inverse, torch.cat([block.value for block in blocks]))
    rowptr = torch.cat([target.new_zeros(1), torch.bincount(target, minlength=len(x)).cumsum(0)])
    view = View(x, torch.stack([source, target])[:, source != target], sampled=True)
    vars(view)["block"] = Block(Pattern.build(rowptr, source, len(x)), value)
    return view


class SharedBatches(SampledBatches):
    """Sampled batches of which each process of torch.distributed computes a share.

    All processes draw the same batches. Outputs are gathered, so that each of them computes the loss, and updates the
    state of a method, from all outputs of the batch; the networks' gradients of the shares are summed. Outputs are the
    drawn nodes alone, without their sampled neighbours.
    """

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches; their views are those of the shares."""
        for rows in torch.split(torch.randperm(len(self.labelled), generator=generator), self.size):
            drawn = torch.randperm(len(self.unlabelled), generator=generator)[: len(rows)]
            outputs = torch.cat([self.labelled[rows], self.unlabelled[drawn]])
            share, private = Share.of(outputs), private_generator(generator)
            nodes, blocks = sample_neighbors(self._loops, share.nodes, self.fanouts, private)
            view = SharedView(_joined(self.full.x[nodes], blocks), share, private)
            yield Batch(view, outputs, torch.arange(len(rows)), rows)


class SharedView:
    """What stands for the view of a shared batch: no process has all of it.

    Args:
        own: The view of this process's share.
        share: The share.
        generator: Generator of this process, for dropout.
    """

    def __init__(self, own: View, share: Share, generator: torch.Generator) -> None:
        self.own, self.share, self.generator = own, share, generator

    def __getattr__(self, name: str) -> Any:
        checks.fail("distributed", "a method that does not read the arcs or features of a batch", f"one reads {name!r}")


class LoadedBatches:
    """Batches of a loader such as `torch_geometric.loader.NeighborLoader`.

    Args:
        view: The whole graph.
        labelled: Positions of the labelled nodes.
        loader: Yields `Data` with edge_index, n_id (the nodes' positions in the whole graph) and batch_size (how many
            of the first nodes are outputs). Features are those of the whole graph.

    Raises:
        InputError: The loader cannot be iterated over.
    """

    def __init__(self, view: View, labelled: Tensor, loader: Iterable[Any]) -> None:
        if not isinstance(loader, Iterable):
            checks.fail("loader", "an iterable of batches", type(loader).__name__)
        self.full, self.loader = view, loader
        self.row = torch.full((view.num_nodes,), -1)
        self.row[labelled] = torch.arange(len(labelled))

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the loader's batches; those without a labelled output are left out.

        Raises:
            InputError: A batch lacks a field, or is not one of these data.
        """
        for data in self.loader:
            for name in ("edge_index", "n_id", "batch_size"):
                if getattr(data, name, None) is None:
                    checks.fail("loader", f"batches with {name}", "one without")
            nodes = checks.tensor("loader: n_id", data.n_id).view(-1)
            nodes = checks.edge_index("loader: n_id", nodes.expand(2, -1), len(self.row))[0]
            arcs = checks.edge_index("loader: edge_index", data.edge_index, len(nodes))
            rows = self.row[nodes[: checks.integer("loader: batch_size", data.batch_size, 0, len(nodes))]]
            at = (rows >= 0).nonzero().view(-1)
            if len(at):
                yield Batch(View(self.full.x[nodes], arcs, sampled=True), nodes, at, rows[at])
