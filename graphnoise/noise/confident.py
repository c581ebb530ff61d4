"""Confident learning: which given labels the confident joint takes for wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.labels import class_positions
from graphnoise.noise.estimate import confident_classes, confident_joint
from graphnoise.noise.noisy_labels import Array, Floats, Ints
from graphnoise.typing import LabelsLike

RULES = ("noise_rate", "class", "both", "off_diagonal")


def calibrated_joint(probabilities: Array, noisy: LabelsLike) -> Floats:
    """Return the confident joint with rows scaled to the numbers of labels, Q[given, true].

    A row without a count says nothing, and is all on the diagonal.

    Example:
        >>> p = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.6])
        >>> calibrated_joint(np.stack([p, 1 - p], axis=1), [0, 0, 0, 1, 1, 1])
        array([[2., 1.],
               [0., 3.]])
    """
    counts = confident_joint(probabilities, noisy).astype(np.float64)
    empty = counts.sum(1) == 0
    counts[empty] = np.eye(len(counts))[empty]
    codes = class_positions(noisy, len(counts), name="noisy", unlabelled=True).cpu().numpy()
    joint: Floats = counts / counts.sum(1, keepdims=True) * np.bincount(codes[codes >= 0])[:, None]
    return joint


def confident_errors(probabilities: Array, noisy: LabelsLike, rule: str = "noise_rate") -> NDArray[np.bool_]:
    """Return which labels a rule takes for wrong, Boolean, shape [n]; False for nodes without a label.

    With Q the confident joint, rows scaled to the numbers of labels, these are

        noise_rate:    for each i != j, the round(Q_ij) nodes labelled i with the largest p_j - p_i
        class:         for each i, the round(sum_{j != i} Q_ij) nodes labelled i with the smallest p_i
        both:          those of both rules
        off_diagonal:  the nodes that are counted off the diagonal of the confident joint

    Args:
        probabilities: P(observed | x) [n, C], out of sample: of a model that has seen a label, none is wrong.
        noisy: Given labels [n], -1, NaN or None where a node has none.
        rule: The rule.

    Raises:
        InputError: As of `confident_joint`; or an unknown rule.

    Example:
        >>> p = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.6])
        >>> confident_errors(np.stack([p, 1 - p], axis=1), [0, 0, 0, 1, 1, 1])
        array([False, False,  True, False, False, False])

    Source:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, section 3.2; the
        default is that of cleanlab.
    """
    checks.choice("rule", rule, RULES)
    joint = calibrated_joint(probabilities, noisy)
    p = checks.probabilities("probabilities", probabilities).detach().cpu().numpy()
    y = class_positions(noisy, len(joint), name="noisy", unlabelled=True).cpu().numpy()
    if rule == "off_diagonal":
        return _off_diagonal(probabilities, noisy, y)
    by_pair, by_class = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for i in range(len(joint)):
        nodes = np.flatnonzero(y == i)
        wrong = round(joint[i].sum() - joint[i, i])
        by_class[nodes[np.argsort(p[nodes, i], kind="stable")[:wrong]]] = True
        for j in np.delete(np.arange(len(joint)), i):
            order = np.argsort(p[nodes, i] - p[nodes, j], kind="stable")
            by_pair[nodes[order[: round(joint[i, j])]]] = True
    return {"noise_rate": by_pair, "class": by_class, "both": by_pair & by_class}[rule]


def _off_diagonal(probabilities: Array, noisy: LabelsLike, y: Ints) -> NDArray[np.bool_]:
    flagged = np.zeros(len(y), dtype=bool)
    true = confident_classes(probabilities, noisy)
    flagged[y >= 0] = (true >= 0) & (true != y[y >= 0])
    return flagged
