"""Detectors that read embeddings without labels, or predictions of several epochs or of two models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.detect.inputs import read_probabilities
from graphnoise.audit.detect.probabilities import losses_or_zeros, zeros_if_equal
from graphnoise.robust.detection import confidence_falls, divergences, high_losses, linear_rule, onset, overlaps
from graphnoise.typing import Floats, LabelsLike

# Divergences of equal float32 distributions, whose sums are 1 to rounding, are smaller.
DIVERGENCE_ROUNDING = 4e-7


def linear_separation(embeddings: Tensor | NDArray[Any], probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return P(the label is right) by a linear rule in embeddings, learned from labels that the loss is sure of.

    The losses -log p[y] have a mixture of two normal distributions; labels with less than 0.05 and more than 0.95 of
    the higher one are the two classes of a logistic regression, which scores all labels. Where one of the two kinds is
    missing, it is the mixture itself. Of fewer than 20 labels the ranks of the losses take the place of the mixture;
    where no two losses differ by more than 1e-6, it is 1.

    The rule does not read the label: it finds wrong labels of nodes that are unlike others, such as those of no class,
    or of the classes that are most often confused. Labels that are flipped whatever the node, it cannot find.

    Args:
        embeddings: By a model that has not seen the labels, such as features smoothed over the graph, shape [n, d].
        probabilities: Out-of-sample class probabilities, shape [n, C], see `self_confidence`.
        y: Given labels, -1, NaN or None where a node has none, shape [n].

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `self_confidence`; or embeddings that are not finite, or not one row per label.

    Example:
        >>> p = np.array([0.9] * 15 + [0.05] * 10)
        >>> z = np.array([[1.0]] * 15 + [[-1.0]] * 10)
        >>> linear_separation(z, np.stack([p, 1 - p], 1), np.zeros(25))[[0, -1]].round()
        array([1., 0.])

    Source:
        In the spirit of LSA, whose rule has no penalty, and where all labels that the loss does not flag are right.
    """
    scores = high_losses(losses_or_zeros(probabilities, y))
    codes = read_probabilities(probabilities, y)[1]
    z = _rows("embeddings", embeddings, len(codes))[codes >= 0]
    found = linear_rule(z, scores) if z.shape[1] else None
    return 1 - (scores if found is None else found)


def oscillation(history: Any, y: LabelsLike) -> Floats:
    """Return P(lower component | change of the prediction), the mean over epochs of KL(p_t || p_(t-1)).

    Args:
        history: Class probabilities in successive epochs of training, shape [num_epochs, n, C]; the last five changes
            are meant, where there are more.
        y: Given labels, -1, NaN or None where a node has none, shape [n].

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled]; 1 with fewer than two epochs, or where no two
        changes differ by more than 4e-7; by rank with fewer than 20 labels.

    Raises:
        InputError: As of `self_confidence`, for each epoch.

    Example:
        >>> still, moving = [[0.9, 0.1]] * 25, [[0.9, 0.1]] * 24 + [[0.1, 0.9]]
        >>> oscillation([still, moving], np.zeros(25))[[0, -1]]
        array([1., 0.])

    Source:
        In the spirit of PC², which reads the oscillation of pseudo-captions.
    """
    epochs = _epochs(history)
    pairs = [read_probabilities(p, y, f"history[{t}]") for t, p in list(enumerate(epochs))[-6:]]
    codes = pairs[0][1]
    p = [one[codes >= 0] for one, _ in pairs]
    if len({one.shape for one in p}) > 1:
        checks.fail("history", "probabilities of one shape", sorted({one.shape for one in p}))
    if len(p) < 2:
        return np.ones(len(p[0]))
    changes = [divergences(new, stored) for stored, new in itertools.pairwise(p)]
    return 1 - high_losses(zeros_if_equal(np.mean(changes, axis=0), DIVERGENCE_ROUNDING))


def confidence_drop(before: Tensor | NDArray[Any], after: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return 1 - sigmoid(10 (before[y] - after[y])): at least 0.5 where the probability of the label has not fallen.

    Args:
        before: Class probabilities at the end of a warm-up, or of a model before adaptation, shape [n, C].
        after: Those of the model later on, or adapted, of the same shape.
        y: Given labels, or the classes that were predicted before; -1, NaN or None where a node has none, shape [n].

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: As of `self_confidence`, for both; or unequal shapes.

    Example:
        >>> confidence_drop([[0.6, 0.4], [0.6, 0.4]], [[0.2, 0.8], [0.6, 0.4]], [0, 0]).round(3)
        array([0.018, 0.5  ])

    Source:
        In the spirit of "Towards Open-Set Test-Time Adaptation Utilizing the Wisdom of Crowds in Entropy Minimization",
        ICCV 2023, which leaves samples out whose confidence falls; the score is ours.
    """
    first, codes = read_probabilities(before, y, "before")
    second = read_probabilities(after, y, "after")[0]
    if first.shape != second.shape:
        checks.fail("after", f"probabilities of shape {first.shape}", second.shape)
    rows = codes >= 0
    return 1 - confidence_falls(first[rows], second[rows], codes[rows])[0]


def class_onset(history: Any, y: LabelsLike) -> Floats:
    """Return for each class the epoch at which memorisation begins, from the overlap of predicted and given labels.

    Args:
        history: Class probabilities at successive checkpoints of training, shape [num_checkpoints, n, C].
        y: Given labels, -1, NaN or None where a node has none, shape [n].

    Returns:
        Onsets in checkpoints, see `graphnoise.robust.detection.onset`, float64, shape [C]; infinity for "not yet".

    Raises:
        InputError: As of `self_confidence`, for each checkpoint.

    Example:
        >>> epochs = [np.eye(2)[(np.arange(100) >= 90 * (1 - np.exp(-t))).astype(int)] for t in range(20)]
        >>> class_onset(epochs, np.r_[np.zeros(90), np.ones(10)]).tolist()
        [4.0, 6.0]

    Source:
        Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations", CVPR 2022,
        section 3.2.
    """
    epochs = _epochs(history)
    curves = []
    for t, one in enumerate(epochs):
        p, codes = read_probabilities(one, y, f"history[{t}]")
        curves.append(overlaps(p.argmax(1)[codes >= 0], codes[codes >= 0], p.shape[1]))
    if len({len(curve) for curve in curves}) > 1:
        checks.fail("history", "probabilities of one number of classes", sorted({len(curve) for curve in curves}))
    return np.array([onset(curve) for curve in np.stack(curves, 1)])


def _epochs(history: Any) -> list[Any]:
    listed = isinstance(history, Sequence) or (isinstance(history, np.ndarray | Tensor) and history.ndim)
    if not listed or not len(history):
        checks.fail("history", "probabilities of at least one epoch", type(history).__name__)
    return list(history)


def _rows(name: str, values: object, count: int) -> Floats:
    rows: Floats = checks.finite(name, values, dims=2).detach().double().cpu().numpy()
    if len(rows) != count:
        checks.fail(name, f"{count} rows, one per label", len(rows))
    return rows
