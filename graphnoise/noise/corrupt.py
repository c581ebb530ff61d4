"""Draws from a transition matrix: independent ones, and ones with exact counts."""

from __future__ import annotations

import numpy as np

from graphnoise.noise.noisy_labels import Floats, Ints, NoisyLabels, Task, nearest


def draw_independent(matrix: Floats, task: Task, rng: np.random.Generator) -> NoisyLabels:
    """Draw each masked label by itself: P(observed j) = matrix[true, j].

    Every node owns two uniform keys: u flips it if u >= T[i, i], v picks the class. So one seed gives a node
    the same noise whatever else is masked, and the flips at a low rate are among those at a higher one.
    """
    flip_keys, class_keys = rng.random((2, task.clean.size))
    flips = task.nodes[flip_keys[task.nodes] >= matrix.diagonal()[task.clean[task.nodes]]]
    labels = np.empty(flips.size, dtype=np.int64)
    for true in range(task.num_classes):
        members = task.clean[flips] == true
        if members.any():
            others = _others(matrix, true).cumsum()
            labels[members] = np.searchsorted(others / others[-1], class_keys[flips[members]], side="right")
    return task.finish(flips, labels)


def draw_exact(matrix: Floats, task: Task, rng: np.random.Generator) -> NoisyLabels:
    """Draw labels whose counts are the expected ones, rounded; only which node gets which is random.

    The total number of flips is the nearest integer to sum_c n_c (1 - T[c, c]), halves up; largest remainders
    share it among the classes, and each class's flips among its targets. Every class's count is within one of its
    expectation.
    """
    keys = rng.random(task.clean.size)
    sizes = np.bincount(task.clean[task.nodes], minlength=task.num_classes)
    expected = sizes * (1 - matrix.diagonal())
    flips_per_class = apportion(expected, nearest(float(expected.sum())), rng)
    changed, labels = [task.nodes[:0]], [task.nodes[:0]]
    for true in range(task.num_classes):
        total = int(flips_per_class[true])
        if not total:
            continue
        members = task.nodes[task.clean[task.nodes] == true]
        changed.append(members[np.argsort(-keys[members])[:total]])
        others = _others(matrix, true)
        counts = apportion(total * others / others.sum(), total, rng)
        labels.append(rng.permutation(np.repeat(np.arange(task.num_classes), counts)))
    return task.finish(np.concatenate(changed), np.concatenate(labels))


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
