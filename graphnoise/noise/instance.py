"""Noise that depends on the node and not only on its class: on features, on the graph, on a model's
confidence.

Each family gives every masked node a weight; p_i = min(1, s × weight_i) with s such that mean(p) = rate, so
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
from graphnoise.noise.calibration import pick
from graphnoise.noise.noisy_labels import Array, Floats, Ints, NoisyLabels, Seed, choose, rate_for, read, stream

_LEAST = 1e-6  # the least weight of a node: every node can flip, so every rate can be met


def feature_dependent(
    x: Any,
    y: Array,
    rate: float,
    num_classes: int | None = None,
    mask: Array | None = None,
    seed: Seed = 0,
    exact: bool = False,
    model_seed: Seed | None = None,
) -> NoisyLabels:
    """Flip labels by features: weight_i ~ N(rate, 0.1²) cut to [0, 1], P(j | x, i) = softmax_{j != i}(x
    W_i)_j.

    W_c ~ N(0, 1) [d, C] is one random map a true class, so nodes with like features err alike.

    Args:
        x: Features [n, d], dense (tensor or array) or sparse (SciPy, torch COO or CSR).
        y: Labels [n].
        rate: The overall flip rate.
        num_classes: C, the greatest label plus one if None.
        mask: Boolean [n] or positions; only these entries are touched.
        seed: Of the weights and draws.
        exact: The number of flips is the nearest integer to rate × n, halves up.
        model_seed: Of the maps W, if calls with different seeds are to share them; an integer has a stream for
            them alone.

    Raises:
        InputError: Features are not finite or not one row a label, a bad label, mask or rate, or one class
            only.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 4))
        >>> int(feature_dependent(x, np.arange(10) % 3, 0.3, exact=True).flipped.sum())
        3

    Source:
        Xia et al. 2020, Part-dependent label noise, appendix; NoisyGL's `instance` (arXiv 2406.04299).
    """
    task = read(y, mask, num_classes)
    rate = rate_for(rate, task.num_classes)
    features = _features(x, task.clean.size)
    rng = checks.generator(seed)
    model = rng if model_seed is None else stream(model_seed, "feature", "model_seed")
    weights = truncnorm.rvs(-rate / 0.1, (1 - rate) / 0.1, rate, 0.1, size=task.clean.size, random_state=rng)
    weights, keys = np.maximum(weights, _LEAST), rng.random(task.clean.size)
    changed = task.nodes[pick(weights[task.nodes], rate, exact, rng)]
    labels = np.empty(changed.size, dtype=np.int64)
    for true in range(task.num_classes):
        projection = model.standard_normal((features.shape[1], task.num_classes))
        members = task.clean[changed] == true
        if members.any():
            logits = np.asarray(features[changed[members]] @ projection)
            logits[:, true] = -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            labels[members] = choose(shares, keys[changed[members]])
    return task.finish(changed, labels)


def structure_dependent(
    edge_index: Array,
    y: Array,
    rate: float,
    mask: Array | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
    exact: bool = False,
    base: float = 0.05,
) -> NoisyLabels:
    """Flip labels at class borders: weight_i = base + share of i's neighbours that are of another class.

    A flipped node takes the class of one of its neighbours of other classes, in proportion; a node without
    any takes another class uniformly. Nodes without neighbours have the least weight, `base`.

    Args:
        edge_index: Arcs [2, m]; read as undirected, repeated arcs and self-loops do not count.
        y: Labels [n].
        rate: The overall flip rate.
        mask: Boolean [n] or positions; only these entries are touched (all labels are looked at).
        seed: Of the draws.
        num_classes: C, the greatest label plus one if None.
        exact: The number of flips is the nearest integer to rate × n, halves up.
        base: The weight of a node inside its class, above 0.

    Raises:
        InputError: An arc's end is no node, a bad label, mask or rate, or one class only.

    Example:
        >>> path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
        >>> structure_dependent(path, torch.tensor([0, 0, 0, 1, 1, 1]), 1 / 3, exact=True, base=1e-9).flipped
        tensor([False, False,  True,  True, False, False])
    """
    task = read(y, mask, num_classes)
    rate, size = rate_for(rate, task.num_classes), task.clean.size
    base = checks.real("base", base, _LEAST**2)
    rng = checks.generator(seed)
    keys = rng.random(size)
    classes = sp.csr_array((np.ones(size), task.clean, np.arange(size + 1)), shape=(size, max(task.num_classes, 1)))
    counts = (neighbours(edge_index, size, directed=False) @ classes)[task.nodes].toarray()
    own = np.arange(task.nodes.size), task.clean[task.nodes]
    degrees = counts.sum(axis=1)
    counts[own] = 0.0
    others = counts.sum(axis=1)
    flips = pick(base + others / np.maximum(degrees, 1.0), rate, exact, rng)
    counts[others == 0] = 1.0
    counts[own] = 0.0
    return task.finish(task.nodes[flips], choose(counts[flips], keys[task.nodes[flips]]))


def confidence_dependent(
    probabilities: Array,
    y: Array,
    rate: float,
    mask: Array | None = None,
    seed: Seed = 0,
    exact: bool = False,
) -> NoisyLabels:
    """Flip labels where a model doubts them: weight_i = 1 - p_i[y_i], new label = argmax_{j != y_i} p_i[j].

    Args:
        probabilities: A model's class probabilities [n, C].
        y: Labels [n].
        rate: The overall flip rate.
        mask: Boolean [n] or positions; only these entries are touched.
        seed: Of the draws.
        exact: The number of flips is the nearest integer to rate × n, halves up.

    Raises:
        InputError: Rows are no distributions or not one a label, a bad label, mask or rate, or one class
            only.

    Example:
        >>> p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
        >>> confidence_dependent(p, np.array([1, 0]), 0.5, exact=True).y
        array([2, 0])
    """
    p = checks.probabilities("probabilities", probabilities)
    task = read(y, mask, p.shape[1])
    if len(p) != task.clean.size:
        checks.fail("probabilities", f"{task.clean.size} rows, one a label", len(p))
    rate = rate_for(rate, task.num_classes)
    rng = checks.generator(seed)
    rows = p.detach().cpu().numpy()[task.nodes]
    own = np.arange(task.nodes.size), task.clean[task.nodes]
    flips = pick(np.maximum(1 - rows[own], _LEAST), rate, exact, rng)
    rows[own] = -np.inf
    return task.finish(task.nodes[flips], rows[flips].argmax(axis=1))


def neighbours(edge_index: Array, num_nodes: int, directed: bool) -> Any:
    """Return the 0/1 adjacency [n, n] in CSR, without self-loops and repeated arcs; rows are sources."""
    source, target = checks.edge_index("edge_index", edge_index, num_nodes).cpu().numpy()
    if not directed:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
    kept = source != target
    ones: Floats = np.ones(int(kept.sum()))
    adjacency = sp.csr_array((ones, (source[kept], target[kept])), shape=(num_nodes, num_nodes))
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
        checks.fail("x", f"{size} rows, one a label", matrix.shape[0])
    return matrix
