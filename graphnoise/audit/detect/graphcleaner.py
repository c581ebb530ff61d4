"""GraphCleaner: a classifier of synthetic wrong labels by how a label agrees with predictions and labels nearby."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.detect.inputs import one_hot, read_labelled_graph, read_probabilities
from graphnoise.noise import confident_joint
from graphnoise.resources import limit_threads
from graphnoise.typing import Floats, GraphLike, Ints, LabelsLike


def graphcleaner(
    graph: GraphLike,
    probabilities: Tensor | NDArray[Any],
    y: LabelsLike,
    *,
    hops: int = 3,
    rate: float = 0.1,
    seed: int = 0,
) -> Floats:
    r"""Return how little a label is like synthetic wrong ones.

    A part of the labels is exchanged by the class frequencies of the confident joint. A logistic regression, in which
    both kinds have the same weight, tells these from the others by (N^h P)[i, y_i] for h = 0 … hops and (N^h L)[i, y_i]
    for h = 1 … hops, with N the row-normalised graph, P the probabilities, and L the indicators of the labels
    (probabilities where a node has none). It is then applied to the labels as they were given.

    Args:
        graph: Anything `as_graph` takes.
        probabilities: Out-of-sample class probabilities, shape [n, C], see `self_confidence`.
        y: Given labels, -1, NaN or None where a node has none, shape [n].
        hops: Greatest distance, from 0 to 100.
        rate: Share of the labelled nodes that get a synthetic wrong label, at least one and not all.
        seed: Seed of these nodes and labels.

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `self_confidence`; no graph; labels of one class only; or a number out of its range.

    Example:
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=0, seed=0)
        >>> y = data.y.clone()
        >>> y[:4] = 1
        >>> p = np.full((80, 2), 0.1) + 0.8 * np.eye(2)[data.y]
        >>> graphcleaner(data, p, y).argsort()[:4]
        array([...])

    Source:
        Li, Xiong and Hooi, "GraphCleaner: Detecting Mislabelled Samples in Popular Graph Learning Benchmarks", ICML
        2023, section 4. Here all labelled nodes serve as validation nodes, and the classifier is linear.
    """
    arcs, _, classes = read_labelled_graph(graph, y)
    p, codes = read_probabilities(probabilities, y)
    hops, rate = checks.integer("hops", hops, 0, 100), checks.rate("rate", rate)
    seed = checks.integer("seed", seed, 0)
    if classes < 2:
        checks.fail("y", "labels of at least two classes", "one")
    average = arcs.normalise("row").to_scipy().astype(np.float64)
    nodes, rng = np.flatnonzero(codes >= 0), np.random.default_rng(seed)
    count = min(max(round(rate * len(nodes)), 1), len(nodes) - 1)
    changed = np.sort(rng.choice(len(nodes), count, replace=False))
    cumulative = np.cumsum(_confusions(p[nodes], codes[nodes]), axis=1)[codes[nodes[changed]]]
    corrupted = codes.copy()
    corrupted[nodes[changed]] = (rng.random((count, 1)) >= cumulative / cumulative[:, -1:]).sum(1)
    powers = [p]
    for _ in range(hops):
        powers.append(average @ powers[-1])
    synthetic = np.zeros(len(nodes), dtype=bool)
    synthetic[changed] = True
    with limit_threads(1):
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(
            _agreement(average, powers, corrupted), synthetic
        )
        credibility: Floats = model.predict_proba(_agreement(average, powers, codes))[:, 0]
    return credibility


def _confusions(p: Floats, given: Ints) -> Floats:
    """Return for each class, as true one, how often the others were given; all alike where none was."""
    present = np.unique(given)
    rows = p[:, present] + 1e-12
    joint = confident_joint(rows / rows.sum(1, keepdims=True), np.searchsorted(present, given))
    counts = np.zeros((p.shape[1], p.shape[1]))
    counts[np.ix_(present, present)] = joint.T + 1e-6
    np.fill_diagonal(counts, 0.0)
    return counts


def _agreement(average: sp.csr_array, powers: list[Floats], codes: Ints) -> Floats:
    """Return the features of the labelled nodes, shape [num_labelled, 2 hops + 1]."""
    nodes = np.flatnonzero(codes >= 0)
    own, labels = codes[nodes], one_hot(codes, powers[0].shape[1])
    labels[codes < 0] = powers[0][codes < 0]
    columns = [power[nodes, own] for power in powers]
    for _ in powers[1:]:
        labels = average @ labels
        columns.append(labels[nodes, own])
    return np.stack(columns, axis=1)
