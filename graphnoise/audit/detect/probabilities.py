"""Detectors that read class probabilities, and the mean of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.detect.inputs import read_probabilities
from graphnoise.noise.mixture import lower_component
from graphnoise.typing import Floats, Ints, LabelsLike

# Probability below which a loss no longer grows.
MIN_PROBABILITY = 1e-12
# Losses of float32 probabilities that should be equal differ by less.
ROUNDING = 1e-6


def self_confidence(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return the probability of the given label, p[y].

    Args:
        probabilities: Out-of-sample class probabilities, shape [n, C]; columns are the sorted classes of y, or the
            integers 0 to C - 1 where y lacks some of them.
        y: Given labels, -1, NaN or None where a node has none, shape [n].

    Returns:
        Credibility of the labelled nodes, float64, shape [num_labelled].

    Raises:
        InputError: Rows are no distributions or not one per label, a class has no column, or no node has a label.

    Example:
        >>> self_confidence(np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]]), [0, 1, -1])
        array([0.9, 0.2])

    Source:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, section 2.1.
    """
    p, y = _labelled(probabilities, y)
    out: Floats = p[np.arange(len(y)), y]
    return out


def normalised_margin(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return (p[y] - max over other classes of p + 1) / 2, with arguments and errors as of `self_confidence`.

    Example:
        >>> normalised_margin(np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]), [0, 1]).round(3)
        array([0.75, 0.25])

    Source:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, section 3.2.
    """
    p, y = _labelled(probabilities, y)
    own = np.arange(p.shape[1]) == y[:, None]
    margin: Floats = p[own] - np.where(own, 0.0, p).max(1, initial=0.0)
    return (margin + 1) / 2


def adjusted_margin(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return the margin of the label with each class's threshold subtracted, from 0 to 1.

    With t_k the mean of p_k over the nodes labelled k, it is (p[y] - t_y - max over other classes of (p_k - t_k) + 1) /
    2, clipped. Below 0.5, another class is nearer to its threshold than the label: classes that the model is seldom
    sure of are not suspected as a whole. Arguments and errors are those of `self_confidence`.

    Example:
        >>> p = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.6])
        >>> adjusted_margin(np.stack([p, 1 - p], 1), [0, 0, 0, 1, 1, 1]).round(3)
        array([0.917, 0.817, 0.317, 0.783, 0.883, 0.383])

    Source:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, section 3.1: the
        thresholds; margins adjusted by them are those of cleanlab.
    """
    p, codes = _labelled(probabilities, y)
    present = np.unique(codes)
    thresholds = np.zeros(p.shape[1])
    thresholds[present] = [p[codes == k, k].mean() for k in present]
    adjusted, own = p - thresholds, np.arange(p.shape[1]) == codes[:, None]
    # Classes without a label have no threshold.
    others = np.where(own | ~np.isin(np.arange(p.shape[1]), present), -1.0, adjusted).max(1)
    margin: Floats = ((adjusted[own] - others + 1) / 2).clip(0.0, 1.0)
    return margin


def loss_mixture(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return P(component of lower mean | loss) under a mixture of two normal distributions of the losses -log p[y].

    The two have one variance, so that the credibility decreases with the loss everywhere, which with two variances it
    need not. It is 0.5 where no two losses differ by more than 1e-6. Arguments and errors are as of `self_confidence`.

    Example:
        >>> p = np.array([0.9, 0.95, 0.92, 0.88, 0.05, 0.08])
        >>> loss_mixture(np.stack([p, 1 - p], 1), np.zeros(6)).round(2)
        array([1., 1., 1., 1., 0., 0.])

    Source:
        Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019, section 3.1; normal
        distributions: Li et al., "DivideMix", ICLR 2020, section 3.1.
    """
    return lower_component(losses_or_zeros(probabilities, y))


def losses_or_zeros(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> Floats:
    """Return the losses -log p[y], arguments and errors as of `self_confidence`; zeros where they are equal.

    Example:
        >>> losses_or_zeros(np.array([[0.25, 0.75], [0.5, 0.5]]), [1, 1]).round(3)
        array([0.288, 0.693])
    """
    return zeros_if_equal(-np.log(np.maximum(self_confidence(probabilities, y), MIN_PROBABILITY)))


def zeros_if_equal(values: Floats, tolerance: float = ROUNDING) -> Floats:
    """Return values, shape [n], or zeros where no two differ by more: a mixture would make two components of rounding.

    Example:
        >>> zeros_if_equal(np.array([0.5, 0.5 + 1e-8])), zeros_if_equal(np.array([0.5, 0.6]))
        (array([0., 0.]), array([0.5, 0.6]))
    """
    return values if np.ptp(values) > tolerance else np.zeros_like(values)


def rank_average(*credibilities: NDArray[Any]) -> Floats:
    """Return the mean of the ranks of several credibilities of the same nodes, over n; ties have their mean rank.

    Raises:
        InputError: No credibilities, or not finite ones of one shape [n].

    Example:
        >>> rank_average([0.1, 0.9, 0.9], [0.4, 0.5, 0.6]).round(2)
        array([0.33, 0.75, 0.92])
    """
    if not credibilities:
        checks.fail("credibilities", "at least one array", "none")
    values = [checks.finite("credibilities", value, dims=1).detach().double().cpu().numpy() for value in credibilities]
    if len({len(value) for value in values}) > 1:
        checks.fail("credibilities", f"arrays of {len(values[0])} entries", sorted({len(v) for v in values}))
    ranks: Floats = np.mean([rankdata(value) for value in values], axis=0) / max(len(values[0]), 1)
    return ranks


def _labelled(probabilities: Tensor | NDArray[Any], y: LabelsLike) -> tuple[Floats, Ints]:
    p, codes = read_probabilities(probabilities, y)
    return p[codes >= 0], codes[codes >= 0]
