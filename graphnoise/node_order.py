"""Other names for the nodes of a graph, so that what is read together lies together in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.arcs import outside_inference_mode

if TYPE_CHECKING:
    from graphnoise.graph import Graph

KINDS = ("degree", "rcm", "community")


def order(graph: Graph, kind: str, *, seed: int = 0) -> Tensor:
    r"""Return an order of the nodes that may spare memory traffic: `order[i]` is the node to put at place i.

    "degree" puts the nodes with most arcs first. "rcm" is reverse Cuthill-McKee on the pattern of A + A^T: neighbours
    get near places. "community" puts communities one after another, found by label propagation in NetworkX: for two
    million arcs a minute and a gigabyte. Weights do not count, and nodes that tie keep their order.

    Args:
        graph: The graph.
        kind: "degree", "rcm" or "community".
        seed: Of "community", which visits nodes in random order; the others draw nothing.

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
    kind = checks.choice("kind", kind, KINDS)
    seed = checks.integer("seed", seed, 0)
    row, col = graph.row.cpu(), graph.col.long().cpu()
    if kind == "degree":
        ends = torch.bincount(torch.cat([row, col]), minlength=graph.num_nodes)
        found = ends.argsort(descending=True, stable=True)
    elif kind == "rcm":
        pattern = _pattern(row, col, graph.num_nodes)
        found = torch.from_numpy(scipy.sparse.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True).astype("q"))
    else:
        found = _communities(_pattern(row, col, graph.num_nodes), seed)
    return found.to(graph.device)


def _pattern(row: Tensor, col: Tensor, n: int) -> Any:
    both = torch.cat([row, col]).numpy(), torch.cat([col, row]).numpy()
    return scipy.sparse.csr_array((np.ones(len(both[0]), dtype=np.int8), both), shape=(n, n))


def _communities(pattern: Any, seed: int) -> Tensor:
    try:
        import networkx
    except ImportError:
        checks.fail("kind", "'degree' or 'rcm' where NetworkX is not installed (graphnoise[graphs])", "'community'")
    graph = networkx.Graph()
    graph.add_nodes_from(range(pattern.shape[0]))
    upper = scipy.sparse.triu(pattern, 1)
    graph.add_edges_from(zip(upper.row.tolist(), upper.col.tolist(), strict=True))
    label = torch.empty(pattern.shape[0], dtype=torch.int64)
    for members in networkx.community.fast_label_propagation_communities(graph, seed=seed):
        nodes = torch.tensor(sorted(members))
        label[nodes] = nodes[0]  # communities come in the order of their first nodes
    return label.argsort(stable=True)


class Ordered(NamedTuple):
    """A graph with its nodes in another order.

    Attributes:
        graph: The graph with its nodes renamed.
        order: The node at each place.
        place: The place of each node: the inverse of `order`.
    """

    graph: Graph
    order: Tensor
    place: Tensor


def ordered(graph: Graph, wish: str | Tensor) -> Ordered:
    """Return the graph in another order, made once for each kind and for the last permutation that was given.

    Raises:
        InputError: `wish` is neither a kind of order nor a permutation of the nodes.
    """
    key = (f"order {wish}" if isinstance(wish, str) else "order", torch.float64)
    held: Ordered | None = graph._made.get(key)
    if isinstance(wish, str):
        given = order(graph, checks.choice("order", wish, KINDS)) if held is None else held.order
    else:
        given = permutation("order", wish, graph.num_nodes).to(graph.device)
        if held is not None and not torch.equal(held.order, given):
            held = None
    if graph._learns:  # renamed anew in each call, so that gradients to the weights pass
        if held is None:
            with outside_inference_mode():
                held = graph._made[key] = Ordered(graph, given.clone(), inverse(given))
        return held._replace(graph=graph.permuted(held.order))
    if held is None:
        with outside_inference_mode():
            given = given.clone()  # the caller may change theirs
            held = graph._made[key] = Ordered(graph.permuted(given), given, inverse(given))
    return held


def permutation(name: str, value: object, size: int) -> Tensor:
    """Return a permutation of 0 to size - 1 as an int64 tensor.

    Raises:
        InputError: It is none.
    """
    given = checks.tensor(name, value)
    wanted = f"a permutation of the {size} nodes"
    if given.dim() != 1 or given.numel() != size:
        checks.fail(name, wanted, f"shape {tuple(given.shape)}")
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        checks.fail(name, wanted, f"values of type {given.dtype}")
    given = given.long()
    low, high = (int(end) for end in torch.aminmax(given))
    if low < 0 or high >= size:
        checks.fail(name, wanted, f"values from {low} to {high}")
    if int(torch.bincount(given, minlength=size).max()) > 1:
        checks.fail(name, wanted, "positions that repeat")
    return given


def inverse(order: Tensor) -> Tensor:
    """Return the inverse of a permutation: `inverse(order)[order[i]] = i`."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))


def renamed(rowptr: Tensor, col: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return row bounds and columns with row and column `order[i]` at place i, and where each arc was.

    Arcs keep their order within a row, so that a row's sum has the same terms in the same order.
    """
    counts = rowptr.diff().long()[order]
    ends = counts.cumsum(0)
    begin = torch.repeat_interleave(rowptr.long()[order] - (ends - counts), counts, output_size=col.numel())
    arc = torch.arange(col.numel(), device=col.device) + begin
    bounds = torch.cat([ends.new_zeros(1), ends]).to(rowptr.dtype)
    return bounds, inverse(order)[col[arc].long()].to(col.dtype), arc
