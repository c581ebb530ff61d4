"""Detector that compares a label with those of the nodes nearest by features or by place in the graph."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.audit.detect.inputs import read_labelled_graph
from graphnoise.erase.inputs import read_features
from graphnoise.graph import Graph
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.propagation import propagate
from graphnoise.resources import limit_threads
from graphnoise.robust.detection import agreement_of_nearest
from graphnoise.typing import FeaturesLike, Floats, GraphLike, LabelsLike
from graphnoise.undirected import symmetrised

VIEWS = ("features", "structure", "both")
# Smoothing steps; directions of the structure.
HOPS, DIRECTIONS = 2, 64


def neighbour_credibility(
    graph: GraphLike,
    y: LabelsLike,
    x: FeaturesLike | None = None,
    *,
    num_neighbours: int = 10,
    view: str | None = None,
    lift: bool = False,
) -> Floats:
    r"""Return Σ_j s_ij [y_j = y_i] / Σ_j s_ij over the nearest other labelled nodes j, s their cosines, at least 0.

    Features are smoothed over two steps, S² X. The structure is the place in the graph: 64 random directions, smoothed
    over two steps, whose cosines are about those of the rows of S²; a node without neighbours has none. Neither has
    seen a label.

    Errors are taken to be static. Where they have spread from node to node, as in `noise.tree_propagated`, nodes nearby
    share them, and wrong labels are credible; nothing in the labels tells this apart from a class.

    Args:
        graph: Anything `as_graph` takes; a directed graph is made symmetric.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        x: Features, dense or sparse, finite, shape [n, num_features]; None: the structure alone.
        num_neighbours: Number of nearest nodes; all others where there are fewer.
        view: "features", "structure" or "both", the mean of the two; None: all that there is.
        lift: Whether to divide by the share of the label among all, up to 1.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled]; 0.5 where all cosines are 0.

    Raises:
        InputError: No graph, shapes that do not fit, no features where the view needs them, or an argument out of its
            range.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=8, seed=0)
        >>> y = data.y.clone()
        >>> y[:4] = 1
        >>> int((neighbour_credibility(data, y, data.x)[:4] < 0.5).sum())
        4

    Source:
        In the spirit of work on language models as re-annotators, which trusts labels by those of similar nodes; the
        formula is ours. Random directions: Johnson and Lindenstrauss, 1984.
    """
    arcs, codes, _ = read_labelled_graph(graph, y)
    count, lift = checks.integer("num_neighbours", num_neighbours, 1), checks.flag("lift", lift)
    view = checks.choice("view", ("structure" if x is None else "both") if view is None else view, VIEWS)
    if x is None and view != "structure":
        checks.fail("x", f"features, which view {view!r} reads", None)
    looped, rows, found = symmetrised(arcs).with_self_loops().normalise("sym"), codes >= 0, []
    with limit_threads(1):
        if x is not None and view != "structure":
            features = read_features("x", x)
            if len(features) != len(codes):
                checks.fail("x", f"{len(codes)} rows, one per node", len(features))
            found.append(smoothed(row_normalised(features), looped, HOPS))
        if view != "features":
            found.append(_places(looped))
    each = [agreement_of_nearest(z.double().numpy()[rows], codes[rows], count, lift) for z in found]
    credibility: Floats = np.mean(each, axis=0)
    return credibility


def _places(looped: Graph) -> torch.Tensor:
    """Return random directions, smoothed, rows of length 1; rows of zeros for nodes without neighbours."""
    drawn = torch.randn(looped.num_nodes, DIRECTIONS, generator=torch.Generator().manual_seed(0))
    row, joined = looped.row, looped.row != looped.col
    if looped.weight is not None:
        joined &= looped.weight > 0
    # Else the directions of such nodes would agree by chance.
    alone = torch.bincount(row[joined], minlength=looped.num_nodes) == 0
    return F.normalize(propagate(looped, drawn, alpha=1.0, num_steps=HOPS).y).masked_fill(alone[:, None], 0.0)
