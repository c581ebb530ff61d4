"""Detectors that fit a model of the true classes to labels, features and graph."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.audit.detect.inputs import read_labelled_graph
from graphnoise.audit.posterior import label_posterior
from graphnoise.erase.inputs import read_features
from graphnoise.robust import GraphGP
from graphnoise.typing import FeaturesLike, Floats, GraphLike, LabelsLike
from graphnoise.undirected import symmetrised


def posterior(graph: GraphLike, y: LabelsLike, x: FeaturesLike | None = None, *, seed: int = 0) -> Floats:
    """Return `graphnoise.audit.label_posterior(graph, y, x, seed=seed).credibility`: P(the label is right).

    Without features it is that of belief propagation on the labels alone.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=8, seed=0)
        >>> y = data.y.clone()
        >>> y[:4] = 1
        >>> int((posterior(data, y, data.x)[:4] < 0.5).sum())
        4
    """
    return label_posterior(graph, y, x, seed=seed).credibility


def graph_gp(graph: GraphLike, y: LabelsLike, x: FeaturesLike, *, seed: int = 0) -> Floats:
    """Return P(the label is right) under `graphnoise.robust.GraphGP`, fitted to all labelled nodes.

    Args:
        graph: Anything `as_graph` takes; a directed graph is made symmetric.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        x: Features, dense or sparse, finite, shape [n, num_features].
        seed: Seed of the search for the transition matrix.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: No graph, shapes that do not fit, or labels of one class only.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=8, seed=0)
        >>> y = data.y.clone()
        >>> y[:4] = 1
        >>> int((graph_gp(data, y, data.x)[:4] < 0.5).sum())
        4
    """
    arcs, codes, _ = read_labelled_graph(graph, y)
    arcs, features = symmetrised(arcs), read_features("x", x)
    if len(features) != arcs.num_nodes:
        checks.fail("x", f"{arcs.num_nodes} rows, one per node", len(features))
    given = torch.from_numpy(codes)
    data = Data(x=features, edge_index=arcs.edge_index, edge_weight=arcs.weight, y=given, train_mask=given >= 0)
    model = GraphGP(seed=seed).fit(data)
    labels = codes[model.labelled_.numpy()]
    credibility: Floats = model.posterior_[np.arange(len(labels)), labels]
    return credibility
