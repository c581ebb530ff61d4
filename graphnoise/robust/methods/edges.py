"""Predicted edges: inner products of pairs of embeddings, links between similar nodes and their learned weights."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnoise.kernels.csr import compress_unchecked
from graphnoise.kernels.propagate import choose, sddmm
from graphnoise.nn import SparseFeatures
from graphnoise.robust.training import GCN, Context, View

# Similarities that are computed at a time.
BLOCK = 1 << 24


def pair_products(h: Tensor, pairs: Tensor) -> Tensor:
    """Return <h_i, h_j> for pairs of rows, with gradients; the memory is that of the pairs, whatever the width.

    Args:
        h: Embeddings, shape [num_nodes, width].
        pairs: Positions (j, i) of two rows each, int64, shape [2, num_pairs].

    Returns:
        Shape [num_pairs].

    Example:
        >>> pair_products(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0, 1], [1, 1]]))
        tensor([11., 25.])
    """
    rowptr, order = compress_unchecked(pairs[1], h.shape[0])
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    out: Tensor = sddmm(rowptr, pairs[0][order], h, h, 1.0, False, choose(None, h))
    return out[place]


@torch.no_grad()
def nearest(view: View, queries: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Return each query with its `count` most similar candidates that are not its neighbours, as pairs.

    Similar means a large cosine of the features, above 0; blocks of queries keep the memory bounded.

    Args:
        view: The graph.
        queries: Positions of nodes, shape [num_queries].
        candidates: Positions of other nodes, shape [num_candidates].
        count: Number of candidates of each query, neighbours included.

    Returns:
        Pairs (query, candidate), int64, shape [2, at most num_queries · count].

    Example:
        >>> path = View(torch.tensor([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]), torch.tensor([[0, 1], [1, 0]]))
        >>> nearest(path, torch.tensor([2]), torch.tensor([0, 1]), 2).tolist()
        [[2], [1]]
    """
    count = min(count, len(candidates))
    if not count or not len(queries):
        return torch.empty(2, 0, dtype=torch.int64, device=queries.device)
    length = view.x.norm(dim=1)[candidates].clamp(min=1e-12)
    sparse = isinstance(view.features, SparseFeatures)
    rows = view.features.rows(candidates) if isinstance(view.features, SparseFeatures) else view.x[candidates]
    parts = []
    for block in queries.split(max(1, BLOCK // len(candidates))):
        other = view.x[block].t()
        similarity = (rows @ (other.contiguous() if sparse else other)).t() / length
        best, at = similarity.topk(count, 1)
        kept = best > 0
        parts.append(torch.stack([block.unsqueeze(1).expand_as(at)[kept], candidates[at[kept]]]))
    pairs = torch.cat(parts, 1)
    return pairs[:, ~view.joined(pairs)]


class LearnedLinks(torch.nn.Module):
    r"""Links between nodes of a graph, weighted by a graph convolutional network that is trained to predict its edges.

    A link of i and j weighs w_ij = ReLU(h_i · h_j) if that is above `cut`, and is left out otherwise; h is the output
    of the network. The graph's own arcs keep weight 1. Gradients reach the network through the weights.

    Args:
        context: The state of training, at setup.
        links: Pairs of nodes, int64, shape [2, num_links].
        hidden: Width of both layers of the network.
        cut: Smallest weight of a link.

    Source:
        Dai et al., "NRGNN: Learning a Label Noise-Resistant Graph Neural Network on Sparsely and Noisily Labeled
        Graphs", KDD 2021, section 4.1.
    """

    def __init__(self, context: Context, links: Tensor, hidden: int, cut: float) -> None:
        super().__init__()
        # Not a buffer, so that checkpoints do not hold the features.
        self.x, self.cut = context.full.x, cut
        self.encoder = GCN(self.x.shape[1], hidden, hidden, generator=context.generator).to(self.x.device)
        self.register_buffer("links", links)

    def forward(self, view: View, nodes: Tensor | None = None) -> tuple[View, Tensor]:
        """Return the view with links, and the embeddings h, shape [num_nodes, hidden].

        Args:
            view: The graph or a part of it.
            nodes: Positions of the view's nodes in the graph; None: the whole graph, or another one, which has no
                links.
        """
        h = self.encoder(view.features, view)[0]
        links = self.links if nodes is None else self._within(nodes)
        if nodes is None and view.x is not self.x and not torch.equal(view.x, self.x):
            links = links[:, :0]
        with torch.no_grad():
            links = links[:, pair_products(h, links) > self.cut]
        weight = pair_products(h, links)
        arcs = torch.cat([view.edge_index, links, links.flip(0)], 1)
        return view.with_arcs(arcs, torch.cat([weight.new_ones(view.edge_index.shape[1]), weight, weight])), h

    def _within(self, nodes: Tensor) -> Tensor:
        """Return the links between these nodes, by their places among them."""
        place = torch.full((len(self.x),), -1, device=nodes.device)
        place[nodes] = torch.arange(len(nodes), device=nodes.device)
        links = place[self.links]
        return links[:, (links >= 0).all(0)]


def reconstruction(view: View, h: Tensor, negatives: int, generator: torch.Generator) -> Tensor:
    r"""Return n · (sum over edges of (1 - w_ij)^2 + sum over drawn pairs without one of w_ij^2) / number of both.

    Args:
        view: The graph, whose edges are to be predicted.
        h: Embeddings, shape [num_nodes, width]; w_ij = ReLU(h_i · h_j).
        negatives: Number of pairs drawn for each node; each counts for both of its nodes.
        generator: Source of the pairs.
    """
    drawn = view.non_edges(max(1, view.num_nodes * negatives // 2), generator)
    weight = pair_products(h, torch.cat([view.edges, drawn], 1)).relu()
    wanted = (torch.arange(len(weight), device=weight.device) < view.edges.shape[1]).to(weight.dtype)
    return view.num_nodes * ((weight - wanted) ** 2).sum() / max(1, len(weight))
