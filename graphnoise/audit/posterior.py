"""Probability of the true class of each node, given its label, its neighbours and its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.labels import read_labels
from graphnoise.nn.features import row_normalised
from graphnoise.noise import Transition
from graphnoise.robust import GraphGP
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.robust.transition_search import log_likelihoods
from graphnoise.typing import Floats, GraphLike, Ints, LabelsLike


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """Posterior probabilities of the true class of each node.

    Attributes:
        probability: P(true class | given label, neighbours, features), float64, shape [n, C].
        prior: P(true class | neighbours, features), without the node's own label, shape [n, C].
        transition: T[c, j] = P(given j | true c).
        class_prior: Share of each true class, shape [C].
        classes: Names of the classes, in the order of the columns, shape [C].
        given: Position of the given class of each node, -1 where it has none, int64, shape [n].
        names: The caller's names of the nodes, or None where the graph has no names.
    """

    probability: Floats
    prior: Floats
    transition: Transition
    class_prior: Floats
    classes: NDArray[Any]
    given: Ints
    names: Sequence[Any] | None = None

    @property
    def labelled(self) -> Ints:
        """Positions of the labelled nodes, ascending."""
        return np.flatnonzero(self.given >= 0)

    @property
    def credibility(self) -> Floats:
        """Probability that the given label is right, of each labelled node, shape [number of labelled nodes]."""
        nodes = self.labelled
        return self.probability[nodes, self.given[nodes]]


def label_posterior(
    graph: GraphLike, y: LabelsLike, x: Tensor | NDArray[Any], *, transition: Transition | None = None, seed: int = 0
) -> LabelPosterior:
    """Return P(true class | given label, neighbours, features) of all nodes.

    Args:
        graph: Anything `as_graph` takes.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        x: Features, finite, shape [n, num_features].
        transition: A known transition matrix; learned if None.
        seed: Seed of the search for the transition matrix.

    Raises:
        InputError: Labels of one class only, no labelled node, or shapes that do not fit.
    """
    arcs = as_graph(graph)
    labels = read_labels(y, size=arcs.num_nodes)
    given, classes = labels.codes.cpu().numpy(), labels.num_classes
    nodes = torch.from_numpy(np.flatnonzero(given >= 0))
    if not len(nodes):
        checks.fail("y", "at least one labelled node", "none")
    if classes < 2:
        checks.fail("y", "labels of at least two classes", f"class {labels.classes[0]} only")
    features = row_normalised(checks.finite("x", x, dims=2).float())
    if len(features) != arcs.num_nodes:
        checks.fail("x", f"{arcs.num_nodes} rows, one per node", len(features))
    model = GraphGP(transition=transition, seed=seed)
    smoothed = SmoothedFeatures(features, arcs.with_self_loops().normalise("sym"), model.hops, nodes)
    model._fit(smoothed, nodes, given[nodes.numpy()], classes)
    probability = model._probabilities(smoothed).numpy()
    prior = probability.copy()
    likelihood = log_likelihoods(model.transition_.matrix.numpy(), given[nodes.numpy()])
    probability[nodes.numpy()] = model.posterior_
    prior[nodes.numpy()] = softmax(np.log(np.maximum(model.posterior_, 1e-300)) - likelihood, axis=1)
    share = model.posterior_.mean(0)
    return LabelPosterior(probability, prior, model.transition_, share, labels.classes, given, arcs.names)
