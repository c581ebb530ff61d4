"""Instance-dependent label noise: by features, by the graph, or by the confidence of a model.

Each family assigns every masked node a weight; p_i = min(1, s × weight_i) with s such that mean(p) = rate, so
the realised rate is a Poisson-binomial share around `rate`. With `exact=True` the number of flips is the
nearest integer to rate × n, halves up, drawn without replacement in proportion to the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.stats import truncnorm
from torch import Tensor

from graphnoise import checks
from graphnoise.noise.calibration import sample_flips
from graphnoise.noise.noisy_labels import (
    Array,
    Floats,
    Ints,
    NoisyLabels,
    Seed,
    checked_labels,
    rate_for,
    sample_columns,
    stream,
)
from graphnoise.noise.transition import check_classes
from graphnoise.typing import LabelsLike

# Lower bound of weights: every node can flip, so that every rate can be met.
MIN_WEIGHT = 1e-6


def feature_dependent(
    x: Any,
    y: LabelsLike,
    rate: float,
    num_classes: int | None = None,
    mask: LabelsLike | None = None,
    seed: Seed = 0,
    exact: bool = False,
    model_seed: Seed | None = None,
) -> NoisyLabels:
    """Flip labels by features: weight_i ~ N(rate, 0.1²) truncated to [0, 1], P(j | x, i) = softmax_{j != i}(x W_i)_j.

    W_c ~ N(0, 1) [d, C] is one random map per true class, so that nodes with similar features have similar errors.

    Args:
        x: Features [n, d], dense (tensor or array) or sparse (SciPy, torch COO or CSR).
        y: Labels [n].
        rate: Overall flip rate.
        num_classes: Number of classes C; the distinct labels are the classes if None.
        mask: Boolean [n] or positions; only these entries are changed.
        seed: Seed of the weights and draws.
        exact: Whether the number of flips is the nearest integer to rate × n, halves up.
        model_seed: Seed of the maps W, for calls with different seeds that share them; an integer has a separate
            stream.

    Raises:
        InputError: Features are not finite or not one row per label, a bad label, mask or rate, or one class
            only.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 4))
        >>> int(feature_dependent(x, np.arange(10) % 3, 0.3, exact=True).flipped.sum())
        3

    Source:
        Xia et al. 2020, Part-dependent label noise, appendix; NoisyGL's `instance` (arXiv 2406.04299).
    """
    checked = checked_labels(y, mask, num_classes)
    check_classes(max(checked.num_classes, 1))
    rate, exact = rate_for(rate, checked.num_classes), checks.flag("exact", exact)
    features = _features(x, checked.clean.size)
    rng = checks.generator(seed)
    model = rng if model_seed is None else stream(model_seed, "feature", "model_seed")
    weights = truncnorm.rvs(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1, size=checked.clean.size, random_state=rng)
    weights, keys = np.maximum(weights, MIN_WEIGHT), rng.random(checked.clean.size)
    changed = checked.nodes[sample_flips(weights[checked.nodes], rate, exact, rng)]
    labels = np.empty(changed.size, dtype=np.int64)
    for true in range(checked.num_classes):
        projection = model.standard_normal((features.shape[1], checked.num_classes))
        members = checked.clean[changed] == true
        if members.any():
            logits = np.asarray(features[changed[members]] @ projection)
            logits[:, true] = -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            labels[members] = sample_columns(shares, keys[changed[members]])
    return checked.finish(changed, labels)


def structure_dependent(
    edge_index: Array,
    y: LabelsLike,
    rate: float,
    mask: LabelsLike | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
    exact: bool = False,
    base: float = 0.05,
) -> NoisyLabels:
    """Flip labels at class borders: weight_i = base + share of i's neighbours with another class.

    A flipped node takes the class of one of its neighbours of other classes, in proportion; a node without
    any takes another class uniformly. Nodes without neighbours have the lowest weight, `base`.

    Args:
        edge_index: Arcs [2, m]; read as undirected, repeated arcs and self-loops do not count.
        y: Labels [n].
        rate: Overall flip rate.
        mask: Boolean [n] or positions; only these entries are changed (all labels are read).
        seed: Seed of the draws.
        num_classes: Number of classes C; the distinct labels are the classes if None.
        exact: Whether the number of flips is the nearest integer to rate × n, halves up.
        base: Weight of a node with neighbours of its own class only, above 0.

    Raises:
        InputError: An end of an arc is not a node, a bad label, mask or rate, or one class only.

    Example:
        >>> path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
        >>> structure_dependent(path, torch.tensor([0, 0, 0, 1, 1, 1]), 1 / 3, exact=True, base=1e-9).flipped
        tensor([False, False,  True,  True, False, False])
    """
    checked = checked_labels(y, mask, num_classes)
    rate, size = rate_for(rate, checked.num_classes), checked.clean.size
    base, exact = checks.real("base", base, MIN_WEIGHT**2), checks.flag("exact", exact)
    rng = checks.generator(seed)
    keys = rng.random(size)
    labelled = (checked.clean >= 0).nonzero()[0]
    entries = (np.ones(labelled.size), (labelled, checked.clean[labelled]))
    classes = sp.csr_array(entries, shape=(size, max(checked.num_classes, 1)))
    counts = (adjacency_matrix(edge_index, size, directed=False) @ classes)[checked.nodes].toarray()
    true_class = np.arange(checked.nodes.size), checked.clean[checked.nodes]
    degrees = counts.sum(axis=1)
    counts[true_class] = 0.0
    others = counts.sum(axis=1)
    flips = sample_flips(base + others / np.maximum(degrees, 1.0), rate, exact, rng)
    counts[others == 0] = 1.0
    counts[true_class] = 0.0
    return checked.finish(checked.nodes[flips], sample_columns(counts[flips], keys[checked.nodes[flips]]))


def confidence_dependent(
    probabilities: Array,
    y: LabelsLike,
    rate: float,
    mask: LabelsLike | None = None,
    seed: Seed = 0,
    exact: bool = False,
) -> NoisyLabels:
    """Flip labels of low confidence under a model: weight_i = 1 - p_i[y_i], new label = argmax_{j != y_i} p_i[j].

    Args:
        probabilities: Class probabilities of the model, [n, C].
        y: Labels [n].
        rate: Overall flip rate.
        mask: Boolean [n] or positions; only these entries are changed.
        seed: Seed of the draws.
        exact: Whether the number of flips is the nearest integer to rate × n, halves up.

    Raises:
        InputError: Rows are no distributions or not one per label, a bad label, mask or rate, or one class
            only.

    Example:
        >>> p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
        >>> confidence_dependent(p, np.array([1, 0]), 0.5, exact=True).y
        array([2, 0])
    """
    p = checks.probabilities("probabilities", probabilities)
    checked = checked_labels(y, mask, p.shape[1])
    if len(p) != checked.clean.size:
        checks.fail("probabilities", f"{checked.clean.size} rows, one per label", len(p))
    rate, exact = rate_for(rate, checked.num_classes), checks.flag("exact", exact)
    rng = checks.generator(seed)
    rows = p.detach().cpu().numpy()[checked.nodes]
    true_class = np.arange(checked.nodes.size), checked.clean[checked.nodes]
    flips = sample_flips(np.maximum(1 - rows[true_class], MIN_WEIGHT), rate, exact, rng)
    rows[true_class] = -np.inf
    return checked.finish(checked.nodes[flips], rows[flips].argmax(axis=1))


def adjacency_matrix(edge_index: Array, num_nodes: int, directed: bool) -> Any:
    """Return the 0/1 adjacency [n, n] in CSR, without self-loops and repeated arcs; rows are sources."""
    source, target = checks.edge_index("edge_index", edge_index, num_nodes).cpu().numpy()
    if not directed:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    proper = source != target
    ones: Floats = np.ones(int(proper.sum()))
    adjacency = sp.csr_array((ones, (source[proper], target[proper])), shape=(num_nodes, num_nodes))
    adjacency.data[:] = 1.0
    return adjacency


def _features(x: Any, size: int) -> Any:
    """Return finite features [n, d] that NumPy can slice by rows and multiply: an array or SciPy CSR."""
    if sp.issparse(x):
        matrix = sp.csr_array(x, dtype=np.float64)
        checks.finite("x", matrix.data)
    elif isinstance(x, Tensor) and x.layout != torch.strided:
        coo = x.detach().cpu().to_sparse().coalesce()
        checks.finite("x", coo.values())
        indices: Ints = coo.indices().numpy()
        matrix = sp.csr_array((coo.values().double().numpy(), (indices[0], indices[1])), shape=tuple(coo.shape))
    else:
        matrix = checks.finite("x", x, dims=2).detach().cpu().double().numpy()
    if matrix.shape[0] != size:
        checks.fail("x", f"{size} rows, one per label", matrix.shape[0])
    return matrix
