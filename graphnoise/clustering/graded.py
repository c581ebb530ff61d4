"""Edge weights from probabilities of membership, in place of labels 0/1."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.typing import GraphLike, SeedsLike
from graphnoise.undirected import as_undirected


def graded_weights(
    graph: GraphLike, membership: Any, seeds: SeedsLike | None = None, *, label_eps: float = 0.05
) -> UndirectedGraph:
    r"""Return the graph with edges weighted by how likely both ends are on the same side of a cluster.

    With c_i the probability that node i is inside, and eps = label_eps, the edge between i and j weighs

        w_ij (eps + (1 - eps) (c_i c_j + (1 - c_i) (1 - c_j)))

    For c of 0 and 1 that is the weight under labels: eps between different ones, else 1. Degrees, and so sinks, stay
    those of the graph. Diffusions and cuts read the weights with `labels=np.ones(n)`: labels that are all alike change
    no weight, and let the degrees of walks be sums of these weights. All arcs are read.

    Args:
        graph: Anything `as_undirected` takes.
        membership: c, as of `graphnoise.robust.methods.source_confidence`, in [0, 1], shape [num_nodes].
        seeds: Nodes that are inside for sure, as the diffusions take them.
        label_eps: Weight of an edge between nodes that are surely on different sides, from 0 to 1.

    Raises:
        InputError: A graph that is not undirected or whose nodes have integer names that do not ascend, not one
            probability per node, bad seeds, label_eps out of range.

    Example:
        >>> path = [[0, 1, 1, 2], [1, 0, 2, 1]]
        >>> graded_weights(path, [1.0, 1.0, 0.5]).weight.round(3)
        array([1.   , 1.   , 0.525, 0.525])

    Source:
        In the spirit of noise-aware training, where sources of labels give each a confidence; the weights are ours.
        Labels 0/1: Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy labels", ICLR 2024.
    """
    graph, eps = as_undirected(graph), checks.real("label_eps", label_eps, 0.0, 1.0)
    inputs.check_order(graph, "membership", "an array for names in another order", by_node=False)
    c = checks.finite("membership", membership, dims=1).detach().double().cpu().numpy().copy()
    if len(c) != graph.num_nodes:
        checks.fail("membership", f"{graph.num_nodes} probabilities, one per node", len(c))
    if len(c) and not 0 <= c.min() <= c.max() <= 1:
        checks.fail("membership", "probabilities in [0, 1]", f"from {c.min():g} to {c.max():g}")
    if seeds is not None:
        c[inputs.check_seeds(graph, seeds)[0]] = 1.0
    one, other = np.repeat(c, np.diff(graph.rowptr)), c[graph.col]
    same = one * other + (1 - one) * (1 - other)
    weight = (eps + (1 - eps) * same) * (1.0 if graph.weight is None else graph.weight)
    parts = graph.rowptr, graph.col, weight, graph.degree, graph.volume, graph.names, graph.position
    return UndirectedGraph.unchecked(*parts)
