"""Curricula: networks that learn the easy nodes first, as judged after a warm-up of another network."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.propagation import propagate
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Batch, Context, Output, Step

PACES = ("linear", "root", "geometric")
# PageRank below which a pair counts as not connected.
MIN_RANK = 1e-12
# Columns of a block of PageRank vectors.
BLOCK = 128


def pace(kind: str, first: float, done: float) -> float:
    """Return the share of the nodes in use: `first` where done = 0, 1 from done = 1 on.

    Linear: first + (1 - first) done; root: sqrt(first² + (1 - first²) done); geometric: first^(1 - done).

    Example:
        >>> [round(pace(kind, 0.5, 0.5), 4) for kind in PACES]
        [0.75, 0.7906, 0.7071]
    """
    done = min(done, 1.0)
    if kind == "linear":
        return first + (1 - first) * done
    return math.sqrt(first**2 + (1 - first**2) * done) if kind == "root" else first ** (1 - done)


class Curriculum(WarmUp):
    """Base of curricula of two networks: one is trained in the warm-up, then another from the start.

    The second network learns from a growing share of the labelled nodes, those of least difficulty first. What the
    first one says is taken from its best epoch on the validation labels (ties: the last one), without these from its
    last one.

    Args:
        warm_up: Share of the epochs in which the first network is trained, above 0.
        first: Share of the nodes that the second one starts with.
        length: Epochs of the second one after which all nodes are in use.
        pacing: Growth of the share, see `pace`.
    """

    needs_graph = True
    accuracy: Tensor
    difficulty: Tensor
    usable: Tensor
    num_networks = 2

    def __init__(self, warm_up: float, first: float, length: int, pacing: str) -> None:
        super().__init__(checks.real("warm_up", warm_up, 1e-6, 1.0))
        self.first = checks.real("first", first, 1e-6, 1.0)
        self.length = checks.integer("length", length, 1)
        self.pacing = checks.choice("pacing", pacing, PACES)

    def setup(self, context: Context) -> None:
        """Make the state."""
        self.register_buffer("accuracy", torch.tensor(-1.0, dtype=torch.float64))
        self.register_buffer("difficulty", torch.zeros(len(context.given)))
        self.register_buffer("usable", torch.ones(len(context.given), dtype=torch.bool))

    def judge(self, context: Context, output: Output) -> None:
        """Set the difficulty of the labelled nodes, or which are usable, from outputs for all nodes."""

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of the network that is trained."""
        return [context.networks[int(not self.warming(context))](batch.view, context.generator)]

    def end_epoch(self, context: Context) -> None:
        """Judge the nodes, in an epoch of the warm-up that is the best one so far."""
        if self.ready(context):
            return
        output = context.evaluate(0)
        right = (output.logits[context.val].argmax(1) == context.val_given).double()
        if not len(right) or right.mean() >= self.accuracy:
            self.accuracy.fill_(right.mean() if len(right) else 0.0)
            self.judge(context, output)

    def in_use(self, context: Context) -> Tensor:
        """Return which labelled nodes are in use, at least one of each class, Boolean, shape [num_labelled]."""
        done = (context.epoch - context.epochs_in(self.warm_up)) / self.length
        given, share = context.given, pace(self.pacing, self.first, done)
        kept = smallest(self.difficulty, given, share) & self.usable
        missing = torch.bincount(given[kept], minlength=context.num_classes) == 0
        return kept | (smallest(self.difficulty, given, 0.0) & missing[given])

    def select(self, step: Step) -> Tensor | None:
        """Return the nodes of the batch that are in use; all in the warm-up."""
        return None if self.warming(step.context) else self.in_use(step.context)[step.rows]

    def predict(self, context: Context, view: Any) -> Tensor:
        """Return the class probabilities of the second network; in the warm-up, those of the first one."""
        index = int(self.ready(context))
        output = context.evaluate(index) if view is context.full else context.networks[index](view)
        return output.logits.softmax(1)


class CLNode(Curriculum):
    r"""CLNode: a curriculum by how mixed the classes around a node are, and how near it is to other classes.

    With P_c(u) the share of class c among u and its neighbours, h the embeddings of unit length and h_c the mean of
    those with label c, the difficulty of a labelled node with label y is

        - sum_c P_c(u) log P_c(u)  +  weight · max_c exp(h_u · h_c) / exp(h_u · h_y)

    Nodes that are not trained on count with their predicted class. Settings are those of `Curriculum`.

    Args:
        warm_up: Share of the epochs in which the first network is trained, above 0.
        first: Share of the nodes that the second one starts with.
        length: Epochs of the second one after which all nodes are in use.
        pacing: Growth of the share: "linear", "root" or "geometric", see `pace`.
        weight: Weight of the second part, the paper's alpha.

    Source:
        Wei et al., "CLNode: Curriculum Learning for Node Classification", WSDM 2023, sections 4.1 and 4.2. The
        embeddings have unit length here, without which exponentials have no bound.
    """

    search: ClassVar[dict[str, tuple[float, float]]] = {"first": (0.25, 0.75), "weight": (0.0, 2.0)}

    def __init__(
        self,
        warm_up: float = 0.15,
        first: float = 0.5,
        length: int = 50,
        pacing: str = "geometric",
        weight: float = 1.0,
    ) -> None:
        super().__init__(warm_up, first, length, pacing)
        self.weight = checks.real("weight", weight, 0.0)

    def setup(self, context: Context) -> None:
        """Prepare the averages over neighbours."""
        super().setup(context)
        arcs = Graph.from_edge_index(context.full.edge_index, context.full.num_nodes)
        self._average = arcs.with_self_loops().normalise("row")

    def judge(self, context: Context, output: Output) -> None:
        """Set the difficulty."""
        classes = output.logits.argmax(1)
        classes[context.labelled] = context.given
        one_hot = F.one_hot(classes, context.num_classes).float()
        shares = propagate(self._average, one_hot, alpha=1.0, num_steps=1).y[context.labelled]
        members, h = one_hot[context.labelled], F.normalize(output.embedding[context.labelled])
        centres = members.T @ h / members.sum(0).clamp(min=1).unsqueeze(1)
        products = h @ centres.T
        nearest, own = products.max(1).values, products.gather(1, context.given.unsqueeze(1)).squeeze(1)
        self.difficulty.copy_(-torch.xlogy(shares, shares).sum(1) + self.weight * (nearest - own).exp())


class TSS(Curriculum):
    r"""Topological sample selection: a curriculum from the insides of classes to their boundaries.

    The difficulty is the class-conditional betweenness of `class_betweenness`, and of the nodes in use those train
    whose label is what the first network predicts; of a class without any, the one of least difficulty.

    Args:
        warm_up: Share of the epochs in which the first network is trained, above 0.
        first: Share of the nodes that the second one starts with.
        length: Epochs of the second one after which all nodes are in use.
        pacing: Growth of the share: "linear", "root" or "geometric", see `pace`.
        teleport: Probability of a return of PageRank.

    Source:
        Wu et al., "Mitigating Label Noise on Graphs via Topological Sample Selection", ICML 2024, sections 3.2 and 3.3.
        The length is shorter than in the field's benchmark (400 epochs), since runs have 200.
    """

    search: ClassVar[dict[str, tuple[float, float]]] = {"first": (0.1, 0.75)}

    def __init__(
        self,
        warm_up: float = 0.15,
        first: float = 0.25,
        length: int = 100,
        pacing: str = "linear",
        teleport: float = 0.15,
    ) -> None:
        super().__init__(warm_up, first, length, pacing)
        self.teleport = checks.real("teleport", teleport, 1e-3, 1.0)

    def setup(self, context: Context) -> None:
        """Compute the difficulty, which labels and graph alone determine."""
        super().setup(context)
        arguments = context.full.graph, context.labelled, context.given
        self.difficulty.copy_(class_betweenness(*arguments, teleport=self.teleport, generator=context.generator))

    def judge(self, context: Context, output: Output) -> None:
        """Set which labels are predicted."""
        self.usable.copy_(output.logits[context.labelled].argmax(1) == context.given)


def class_betweenness(
    graph: Graph,
    nodes: Tensor,
    given: Tensor,
    *,
    teleport: float = 0.15,
    num_steps: int = 50,
    max_ends: int = 512,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return how much lies on paths between nodes of different labels, float32, shape [num_labelled].

    With personalised PageRank \(\Pi = a (I - (1 - a) S)^{-1}\), a the teleport, it is for node i

        1 / (m (m - 1)) sum_{u != i != v, y_u != y_v} Pi_ui Pi_iv / Pi_uv

    over m labelled nodes u and v; pairs without a path have no part. Only the m columns of Pi at the labelled nodes are
    computed, by steps of propagation.

    Args:
        graph: The normalised graph S.
        nodes: Positions of the labelled nodes, shape [num_labelled].
        given: Their labels, shape [num_labelled].
        teleport: Probability of a return.
        num_steps: Steps of propagation.
        max_ends: Largest m; of more labelled nodes so many are drawn.
        generator: Source of the draw.

    Example:
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])).normalise("row")
        >>> class_betweenness(path, torch.arange(4), torch.tensor([0, 0, 1, 1])).argsort().tolist()[2:]
        [1, 2]
    """
    ends = torch.arange(len(nodes), device=nodes.device)
    if len(nodes) > max_ends:
        ends = torch.randperm(len(nodes), generator=generator, device=nodes.device)[:max_ends]
    into = _pagerank(graph, nodes, nodes[ends], teleport, num_steps)
    symmetric = graph.undirected and graph.normalisation == "sym"
    out_of = into if symmetric else _pagerank(graph.transposed, nodes, nodes[ends], teleport, num_steps)
    # Entry (u, v).
    between = out_of[ends].T
    differ = given[ends].unsqueeze(1) != given[ends]
    ratio = torch.where(differ & (between > MIN_RANK), 1 / between.clamp(min=MIN_RANK), 0.0)
    into, out_of = into.clone(), out_of.clone()
    columns = torch.arange(len(ends), device=nodes.device)
    into[ends, columns] = 0.0
    out_of[ends, columns] = 0.0
    return ((out_of @ ratio) * into).sum(1) / max(len(ends) * (len(ends) - 1), 1)


def _pagerank(graph: Graph, rows: Tensor, ends: Tensor, teleport: float, num_steps: int) -> Tensor:
    """Return the entries of some rows and columns of PageRank, shape [len(rows), len(ends)]."""
    blocks = []
    for part in torch.split(ends, BLOCK):
        start = torch.zeros(graph.num_nodes, len(part), device=rows.device)
        start[part, torch.arange(len(part), device=rows.device)] = 1.0
        blocks.append(propagate(graph, start, alpha=1 - teleport, num_steps=num_steps).y[rows])
    return torch.cat(blocks, 1)
