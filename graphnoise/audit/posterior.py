"""Probability of the true class of each node, given its label, its neighbours and its features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from graphnoise import beliefs, checks
from graphnoise.beliefs import LabelPosterior
from graphnoise.containers import as_graph
from graphnoise.erase.inputs import read_features
from graphnoise.graph import Graph
from graphnoise.labels import ClassLabels, read_labels
from graphnoise.nn.features import row_normalised
from graphnoise.noise import Transition
from graphnoise.robust import GraphGP
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.robust.transition_search import log_likelihoods
from graphnoise.typing import FeaturesLike, Floats, GraphLike, LabelsLike
from graphnoise.undirected import symmetrised

__all__ = ["LabelPosterior", "label_posterior"]
# Least log-probability of a class by features, relative to its share.
MIN_FIELD = -20.0
# Log-likelihood that features must gain to be used.
MIN_GAIN = 1.0


def label_posterior(
    graph: GraphLike,
    y: LabelsLike,
    x: FeaturesLike | None = None,
    *,
    probabilities: Tensor | NDArray[Any] | None = None,
    transition: Transition | None = None,
    num_steps: int = 20,
    tol: float = 1e-3,
    seed: int = 0,
) -> LabelPosterior:
    r"""Return P(true class | given label, neighbours, features) of all nodes.

    Belief propagation with an affinity of classes and a transition matrix that are learned from the given labels (see
    `graphnoise.beliefs.label_posterior`). With features, a graph Gaussian process (`graphnoise.robust.GraphGP`)
    predicts the true class of each node without its own label, f_i, and estimates the transition matrix;
    log(f_i / mean f) then is the field of belief propagation. How much it counts, and how much the labels of neighbours
    count beside it, maximises the likelihood of the given labels. Features that do not make the given labels likelier
    are not used, of which a warning tells.

    Args:
        graph: Anything `as_graph` takes; a directed graph is made symmetric.
        y: Given labels, integers or strings, -1, NaN or None where a node has none, shape [n].
        x: Features, dense or sparse, finite, shape [n, num_features], or None.
        probabilities: In place of features, predictions of the given labels or of the true classes of any classifier
            that did not learn from the node's own label, such as of `crossfit`; the columns are in the order of the
            sorted classes, shape [n, C].
        transition: A known transition matrix; learned if None.
        num_steps: Largest number of steps of belief propagation.
        tol: Belief propagation ends once no probability changes by more than this.
        seed: Seed of the search for the transition matrix and of subsets in large graphs.

    Raises:
        InputError: Labels of one class only, no labelled node, shapes that do not fit, features and probabilities.

    Example:
        >>> from graphnoise import datasets, noise
        >>> data = datasets.planted_partition([60] * 3, 0.2, 0.02, num_features=8, seed=0)
        >>> noisy = noise.symmetric(3, 0.2).corrupt(data.y, seed=0).y
        >>> posterior = label_posterior(data, noisy, data.x)
        >>> wrong = (noisy != data.y).numpy()
        >>> bool(posterior.credibility[wrong].max() < posterior.credibility[~wrong].min())
        True

    Source:
        Defined by this package; belief propagation and regression as the two functions say.
    """
    arcs = symmetrised(as_graph(graph))
    labels = read_labels(y, size=arcs.num_nodes)
    if not bool((labels.codes >= 0).any()):
        checks.fail("y", "at least one labelled node", "none")
    field = None
    if x is not None:
        if probabilities is not None:
            checks.fail("probabilities", "None together with x", "probabilities")
        field, transition = _features_field(arcs, labels, x, transition, seed)
    elif probabilities is not None:
        given = checks.probabilities("probabilities", probabilities, labels.num_classes)
        if len(given) != arcs.num_nodes:
            checks.fail("probabilities", f"{arcs.num_nodes} rows, one per node", len(given))
        field = np.log(np.maximum(np.asarray(given, dtype=np.float64), 1e-12))
    if field is not None:
        field = np.maximum(field - np.log(np.exp(field).mean(0)), MIN_FIELD)
    return beliefs.label_posterior(arcs, y, field=field, transition=transition, num_steps=num_steps, tol=tol, seed=seed)


def _features_field(
    graph: Graph, labels: ClassLabels, x: FeaturesLike, transition: Transition | None, seed: int
) -> tuple[Floats | None, Transition | None]:
    """Return log P(true class | features), without the own label, and T; None and None if features say nothing."""
    given = labels.codes.cpu().numpy()
    nodes = np.flatnonzero(given >= 0)
    if len(np.unique(given[nodes])) < 2:
        checks.fail("y", "labels of at least two classes", f"class {labels.classes[given[nodes[0]]]} only")
    features = row_normalised(read_features("x", x))
    if len(features) != graph.num_nodes:
        checks.fail("x", f"{graph.num_nodes} rows, one per node", len(features))
    model = GraphGP(transition=transition, seed=seed)
    smoothed = SmoothedFeatures(features, graph.with_self_loops().normalise("sym"), model.hops, torch.from_numpy(nodes))
    model._fit(smoothed, torch.from_numpy(nodes), given[nodes], labels.num_classes)
    field = np.log(np.maximum(model._probabilities(smoothed).numpy(), 1e-300))
    likelihood = log_likelihoods(model.transition_.matrix.numpy(), given[nodes])
    field[nodes] = np.log(np.maximum(model.posterior_, 1e-300)) - likelihood
    field = np.asarray(log_softmax(field, axis=1))
    # Log-likelihood of the given labels beyond that of their shares; without any, T is open.
    shares = np.bincount(given[nodes]) / len(nodes)
    gain = float((logsumexp(field[nodes] + likelihood, axis=1) - np.log(shares[given[nodes]])).sum())
    if transition is None and gain < MIN_GAIN:
        text = "features are not used: they do not make the given labels likelier than the shares of the classes do"
        warnings.warn(text, UserWarning, stacklevel=3)
        return None, None
    return field, model.transition_
