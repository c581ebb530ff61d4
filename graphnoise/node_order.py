"""Node orderings that improve memory locality: by degree, reverse Cuthill-McKee, by community."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.kernels.csr.permute import check_permutation, invert_permutation
from graphnoise.typing import GraphLike

if TYPE_CHECKING:
    import networkx

KINDS = ("degree", "rcm", "community")


def order(graph: GraphLike, kind: str, *, seed: int = 0) -> Tensor:
    r"""Return an order of the nodes that may reduce memory traffic: `order[i]` is the node at position i.

    "degree" puts the nodes with most arcs first. "rcm" is reverse Cuthill-McKee on the pattern of A + A^T: neighbours
    get close positions. "community" puts communities one after another, computed by label propagation in NetworkX: for
    two million arcs it takes a minute and a gigabyte. Weights are not used, and nodes that tie keep their order.

    Args:
        graph: Anything `gn.as_graph` takes.
        kind: "degree", "rcm" or "community".
        seed: Random seed of "community", which visits nodes in random order; the others draw nothing.

    Returns:
        A permutation, int64, shape [num_nodes], for `Graph.permuted` and `propagate(order=)`.

    Raises:
        InputError: `kind` or `seed` is not valid, or NetworkX is not installed and "community" needs it.

    Example:
        >>> from graphnoise import Graph
        >>> star = Graph.from_edge_index(torch.tensor([[0, 2, 1, 2], [2, 0, 2, 1]]))
        >>> order(star, "degree").tolist()
        [2, 0, 1]

    Source:
        Cuthill and McKee, "Reducing the bandwidth of sparse symmetric matrices", ACM 1969; Traag and Šubelj, "Large
        network community detection by fast label propagation", Scientific Reports 2023.
    """
    return _order(as_graph(graph), checks.choice("kind", kind, KINDS), checks.integer("seed", seed, 0))


def _order(graph: Graph, kind: str, seed: int = 0) -> Tensor:
    row, col = graph.row.cpu(), graph.col.long().cpu()
    if kind == "degree":
        ends = torch.bincount(torch.cat([row, col]), minlength=graph.num_nodes)
        nodes = ends.argsort(descending=True, stable=True)
    elif kind == "rcm":
        pattern = _pattern(row, col, graph.num_nodes)
        nodes = torch.from_numpy(scipy.sparse.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True).astype("q"))
    else:
        nodes = _by_community(_pattern(row, col, graph.num_nodes), seed)
    return nodes.to(graph.device)


def _pattern(row: Tensor, col: Tensor, n: int) -> scipy.sparse.csr_array:
    ends = torch.cat([row, col]).numpy(), torch.cat([col, row]).numpy()
    return scipy.sparse.csr_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(n, n))


def _by_community(pattern: scipy.sparse.csr_array, seed: int) -> Tensor:
    try:
        import networkx
    except ImportError:
        checks.fail("kind", "'degree' or 'rcm' where NetworkX is not installed (graphnoise[graphs])", "'community'")
    graph: networkx.Graph = networkx.Graph()
    graph.add_nodes_from(range(pattern.shape[0]))
    upper = scipy.sparse.triu(pattern, 1)
    graph.add_edges_from(zip(upper.row.tolist(), upper.col.tolist(), strict=True))
    label = torch.empty(pattern.shape[0], dtype=torch.int64)
    for members in networkx.community.fast_label_propagation_communities(graph, seed=seed):
        nodes = torch.tensor(sorted(members))
        # Communities are ordered by their first nodes.
        label[nodes] = nodes[0]
    return label.argsort(stable=True)


class Reordered(NamedTuple):
    """A graph with its nodes in another order.

    Attributes:
        graph: The permuted graph.
        order: The node at each position.
        position: The position of each node: the inverse of `order`.
    """

    graph: Graph
    order: Tensor
    position: Tensor


def reordered(graph: Graph, order: str | Tensor) -> Reordered:
    """Return the graph in another order; cached for each kind, and for the last permutation.

    Raises:
        InputError: `order` is neither a kind of order nor a permutation of the nodes.
    """
    if isinstance(order, str):
        kind = checks.choice("order", order, KINDS)
        nodes = graph.cached(("order", kind), lambda: _order(graph, kind), uses_weights=False)
        return graph.cached(("reordered", kind), lambda: _reorder(graph, nodes))
    nodes = check_permutation("order", order, graph.num_nodes).to(graph.device)
    # The caller may change their tensor later.
    return graph.cached(
        "reordered", lambda: _reorder(graph, nodes.clone()), valid=lambda cached: torch.equal(cached.order, nodes)
    )


def _reorder(graph: Graph, nodes: Tensor) -> Reordered:
    return Reordered(graph.permuted(nodes), nodes, invert_permutation(nodes))
