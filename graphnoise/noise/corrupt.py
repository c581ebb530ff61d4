"""Label draws from a transition matrix: independent, or with exact counts."""

from __future__ import annotations

import numpy as np

from graphnoise.noise.noisy_labels import CheckedLabels, Floats, Ints, NoisyLabels, round_half_up


def draw_independent(matrix: Floats, checked: CheckedLabels, rng: np.random.Generator) -> NoisyLabels:
    """Draw each masked label independently: P(observed j) = matrix[true, j].

    Every node has two uniform keys: u flips it if u >= T[i, i], v selects the class. For one seed, the noise of
    a node does not depend on the mask, and flips at a low rate are a subset of those at a higher one.
    """
    flip_keys, class_keys = rng.random((2, checked.clean.size))
    flips = checked.nodes[flip_keys[checked.nodes] >= matrix.diagonal()[checked.clean[checked.nodes]]]
    labels = np.empty(flips.size, dtype=np.int64)
    for true in range(checked.num_classes):
        members = checked.clean[flips] == true
        if members.any():
            others = _others(matrix, true).cumsum()
            labels[members] = np.searchsorted(others / others[-1], class_keys[flips[members]], side="right")
    return checked.finish(flips, labels)


def draw_exact(matrix: Floats, checked: CheckedLabels, rng: np.random.Generator) -> NoisyLabels:
    """Draw labels with the expected counts, rounded; only their assignment to nodes is random.

    The total number of flips is the nearest integer to sum_c n_c (1 - T[c, c]), halves up; largest remainders
    distribute it over the classes, and the flips of each class over its targets. The count of every class is
    within one of its expectation.
    """
    keys = rng.random(checked.clean.size)
    sizes = np.bincount(checked.clean[checked.nodes], minlength=checked.num_classes)
    expected = sizes * (1 - matrix.diagonal())
    flips_per_class = apportion(expected, round_half_up(float(expected.sum())), rng)
    changed, labels = [checked.nodes[:0]], [checked.nodes[:0]]
    for true in range(checked.num_classes):
        total = int(flips_per_class[true])
        if not total:
            continue
        members = checked.nodes[checked.clean[checked.nodes] == true]
        changed.append(members[np.argsort(-keys[members])[:total]])
        others = _others(matrix, true)
        counts = apportion(total * others / others.sum(), total, rng)
        labels.append(rng.permutation(np.repeat(np.arange(checked.num_classes), counts)))
    return checked.finish(np.concatenate(changed), np.concatenate(labels))


def apportion(expected: Floats, total: int, rng: np.random.Generator) -> Ints:
    """Round `expected` [C] to counts that sum to `total`, by largest remainders, ties at random."""
    expected = expected.round(9)
    counts: Ints = np.floor(expected).astype(np.int64)
    order = np.lexsort((rng.random(expected.size), -(expected - counts).round(9)))
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def _others(matrix: Floats, true: int) -> Floats:
    """The row of class `true` without its diagonal entry."""
    row: Floats = matrix[true].copy()
    row[true] = 0.0
    return row
