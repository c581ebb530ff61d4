r"""Losses for training with wrong labels, as functions of logits.

With p = softmax(logits), each loss is l_k for a node labelled k, computed from log p. `target` holds class positions
[n] or class probabilities t [n, C]; of these the loss is the expectation, sum_k t_k l_k. `reduction` is "mean" (over
the n rows), "sum" or "none" (shape [n]). Values and gradients are finite for all logits whose log-softmax is finite.

All raise `InputError` where logits are not a finite matrix (or have no row, for a mean), a target does not fit, or a
setting is out of its range. Those of a transition matrix are the functions of `graphnoise.noise`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.noise.correct import (
    backward_correction,
    forward_correction,
    importance_reweighting,
    read_loss_arguments,
    reduced,
)
from graphnoise.robust.multilabel import balanced_focal, pu, recover_positives
from graphnoise.typing import LabelsLike

__all__ = [
    "active_passive",
    "backward_correction",
    "balanced_focal",
    "cross_entropy",
    "focal",
    "forward_correction",
    "gce",
    "hard_bootstrapping",
    "importance_reweighting",
    "label_smoothing",
    "ldam",
    "mae",
    "nce",
    "nfl",
    "phuber",
    "pu",
    "rce",
    "recover_positives",
    "sce",
    "soft_bootstrapping",
    "taylor",
    "truncated_gce",
]


def cross_entropy(logits: Tensor, target: LabelsLike, *, reduction: str = "mean") -> Tensor:
    """Return -log p_k.

    Args:
        logits: Shape [n, C].
        target: Class positions [n], or class probabilities [n, C].
        reduction: "mean", "sum" or "none".

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), [0])
        tensor(0.6931)
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(-log_p, t, reduction)


def mae(logits: Tensor, target: LabelsLike, *, reduction: str = "mean") -> Tensor:
    """Return 1 - p_k, half the absolute error of p, whose sum over k is constant: uniform noise keeps its minimiser.

    Arguments and errors as in `cross_entropy`.

    Example:
        >>> mae(torch.zeros(1, 2), [0])
        tensor(0.5000)

    Source:
        Ghosh et al., "Robust Loss Functions under Label Noise for Deep Neural Networks", AAAI 2017.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(-log_p.expm1(), t, reduction)


def gce(logits: Tensor, target: LabelsLike, *, q: float = 0.7, reduction: str = "mean") -> Tensor:
    """Return the generalised cross-entropy (1 - p_k^q) / q, between cross-entropy (q = 0) and `mae` (q = 1).

    Arguments and errors as in `cross_entropy`; q is from 0 to 1.

    Example:
        >>> gce(torch.zeros(1, 2), [0])
        tensor(0.5492)

    Source:
        Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
        NeurIPS 2018, section 3.2.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(_gce(log_p, checks.rate("q", q)), t, reduction)


def truncated_gce(
    logits: Tensor, target: LabelsLike, *, q: float = 0.7, threshold: float = 0.5, reduction: str = "mean"
) -> Tensor:
    """Return `gce` where p_k > threshold, else the constant (1 - threshold^q) / q, which trains nothing.

    Arguments and errors as in `cross_entropy`; q is from 0 to 1, the threshold above 0 and at most 1.

    Example:
        >>> truncated_gce(torch.zeros(1, 4), [0], reduction="none") == gce(torch.zeros(1, 2), [0])
        tensor([True])

    Source:
        Zhang and Sabuncu 2018, section 3.3.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    least = math.log(checks.real("threshold", threshold, 1e-12, 1.0, "a probability above 0"))
    return _expected(_gce(log_p.clamp(min=least), checks.rate("q", q)), t, reduction)


def rce(logits: Tensor, target: LabelsLike, *, clip: float = 1e-4, reduction: str = "mean") -> Tensor:
    """Return the reverse cross-entropy -sum_j p_j log max([j = k], clip) = -log(clip) (1 - p_k).

    Arguments and errors as in `cross_entropy`; clip stands for 0 in the logarithm, and is above 0 and at most 1. With
    1e-4 the loss is 9.2103 (1 - p_k).

    Example:
        >>> rce(torch.zeros(1, 2), [0])
        tensor(4.6052)

    Source:
        Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(_rce(log_p, clip), t, reduction)


def sce(
    logits: Tensor,
    target: LabelsLike,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    clip: float = 1e-4,
    reduction: str = "mean",
) -> Tensor:
    """Return the symmetric cross-entropy: alpha times cross-entropy plus beta times `rce`.

    Arguments and errors as in `cross_entropy`; alpha and beta are at least 0, clip is that of `rce`. The paper has
    alpha = 0.1 and beta = 1 for 10 classes, 6 and 0.1 for 100.

    Example:
        >>> sce(torch.zeros(1, 2), [0])
        tensor(4.6745)

    Source:
        Wang et al. 2019.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    alpha, beta = checks.real("alpha", alpha, 0.0), checks.real("beta", beta, 0.0)
    return _expected(-alpha * log_p + beta * _rce(log_p, clip), t, reduction)


def nce(logits: Tensor, target: LabelsLike, *, reduction: str = "mean") -> Tensor:
    """Return the normalised cross-entropy log p_k / sum_j log p_j, in (0, 1); these sum to 1 over k.

    With a single class it is 0. Arguments and errors as in `cross_entropy`.

    Example:
        >>> nce(torch.zeros(1, 4), [0])
        tensor(0.2500)

    Source:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(_normalised(-log_p), t, reduction)


def nfl(logits: Tensor, target: LabelsLike, *, gamma: float = 0.5, reduction: str = "mean") -> Tensor:
    """Return the normalised focal loss: `focal` over its sum over the classes.

    With a single class it is 0. Arguments and errors as in `cross_entropy`; gamma is that of `focal`.

    Example:
        >>> nfl(torch.zeros(1, 4), [0])
        tensor(0.2500)

    Source:
        Ma et al. 2020.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(_normalised(_focal(log_p, gamma)), t, reduction)


def active_passive(
    logits: Tensor,
    target: LabelsLike,
    *,
    active: str = "nce",
    passive: str = "rce",
    alpha: float = 1.0,
    beta: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Return alpha times an active loss, which raises p_k, plus beta times a passive one, which lowers the others.

    Arguments and errors as in `cross_entropy`; `active` is "nce" or "nfl" (gamma 0.5), `passive` "rce" (clip 1e-4) or
    "mae", alpha and beta are at least 0. The paper has 1 and 1 for 10 classes, 10 and 0.1 for 100.

    Example:
        >>> active_passive(torch.zeros(1, 2), [0])
        tensor(5.1052)

    Source:
        Ma et al. 2020 (APL).
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    checks.choice("active", active, ("nce", "nfl"))
    checks.choice("passive", passive, ("mae", "rce"))
    first = _normalised(-log_p if active == "nce" else _focal(log_p, 0.5))
    second = _rce(log_p, 1e-4) if passive == "rce" else -log_p.expm1()
    alpha, beta = checks.real("alpha", alpha, 0.0), checks.real("beta", beta, 0.0)
    return _expected(alpha * first + beta * second, t, reduction)


def focal(logits: Tensor, target: LabelsLike, *, gamma: float = 2.0, reduction: str = "mean") -> Tensor:
    """Return the focal loss -(1 - p_k)^gamma log p_k.

    It was made for rare classes. It stresses nodes that are predicted badly, wrong labels among them: by itself it
    is no defence against noise.

    Arguments and errors as in `cross_entropy`; gamma is at least 0; 0 is cross-entropy.

    Example:
        >>> focal(torch.zeros(1, 2), [0])
        tensor(0.1733)

    Source:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    return _expected(_focal(log_p, gamma), t, reduction)


def phuber(logits: Tensor, target: LabelsLike, *, tau: float = 10.0, reduction: str = "mean") -> Tensor:
    """Return cross-entropy where p_k > 1 / tau, else its tangent there, -tau p_k + log(tau) + 1.

    Arguments and errors as in `cross_entropy`; tau, the greatest slope in p_k, is at least 1; 1 is `mae`.

    Example:
        >>> phuber(torch.zeros(1, 20), [0])
        tensor(2.8026)

    Source:
        Menon et al., "Can Gradient Clipping Mitigate Label Noise?", ICLR 2020 (PHuber-CE).
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    slope = checks.real("tau", tau, 1.0, 1e6)
    linear = math.log(slope) + 1 - slope * log_p.exp()
    return _expected(torch.where(log_p > -math.log(slope), -log_p, linear), t, reduction)


def taylor(logits: Tensor, target: LabelsLike, *, order: int = 2, reduction: str = "mean") -> Tensor:
    """Return the Taylor series of cross-entropy to some order, sum_(i = 1 to order) (1 - p_k)^i / i.

    Arguments and errors as in `cross_entropy`; the order is from 1 (`mae`) to 1000.

    Example:
        >>> taylor(torch.zeros(1, 2), [0])
        tensor(0.6250)

    Source:
        Feng et al., "Can Cross Entropy Loss Be Robust to Label Noise?", IJCAI 2020.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    rest = -log_p.expm1()
    total = torch.zeros_like(rest)
    # Horner's scheme.
    for i in range(checks.integer("order", order, 1, 1000), 0, -1):
        total = rest * (total + 1 / i)
    return _expected(total, t, reduction)


def soft_bootstrapping(logits: Tensor, target: LabelsLike, *, beta: float = 0.95, reduction: str = "mean") -> Tensor:
    """Return beta times cross-entropy plus (1 - beta) times the entropy of p, through which gradients pass.

    Arguments and errors as in `cross_entropy`; beta, the trust in the labels, is from 0 to 1.

    Example:
        >>> soft_bootstrapping(torch.zeros(1, 2), [0])
        tensor(0.6931)

    Source:
        Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR workshop 2015.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    beta = checks.rate("beta", beta)
    entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
    return _expected(-beta * log_p + (1 - beta) * entropy, t, reduction)


def hard_bootstrapping(logits: Tensor, target: LabelsLike, *, beta: float = 0.8, reduction: str = "mean") -> Tensor:
    """Return beta times cross-entropy plus (1 - beta) times that of the predicted class, the most probable one.

    Arguments and errors as in `cross_entropy`; beta, the trust in the labels, is from 0 to 1.

    Example:
        >>> hard_bootstrapping(torch.tensor([[0.0, 1.0]]), [0])
        tensor(1.1133)

    Source:
        Reed et al. 2015.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    beta = checks.rate("beta", beta)
    return _expected(-beta * log_p - (1 - beta) * log_p.amax(1, keepdim=True), t, reduction)


def label_smoothing(logits: Tensor, target: LabelsLike, *, smoothing: float = 0.1, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of labels mixed with the uniform distribution, as in torch.

    Arguments and errors as in `cross_entropy`; smoothing is from 0 to 1.

    Example:
        >>> label_smoothing(torch.tensor([[0.0, 1.0]]), [0])
        tensor(1.2633)

    Source:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, section 7; for noise
        Lukasik et al., "Does Label Smoothing Mitigate Label Noise?", ICML 2020.
    """
    log_p, t = read_loss_arguments(logits, target, reduction, "target")
    smoothing = checks.rate("smoothing", smoothing)
    return _expected(-(1 - smoothing) * log_p - smoothing * log_p.mean(1, keepdim=True), t, reduction)


def ldam(
    logits: Tensor,
    target: LabelsLike,
    *,
    counts: Tensor | None = None,
    margin: float = 0.5,
    scale: float = 30.0,
    reduction: str = "mean",
) -> Tensor:
    """Return the cross-entropy of scale · (f - m_k at the label k), m_k = margin (n_k / min n)^(-1/4): rare, more.

    f are to be cosines of unit features and unit weights. Arguments and errors as in `cross_entropy`; `counts` are the
    numbers n of labels, shape [C] (None: all equal; 0 counts as 1), margin is at least 0, scale above 0.

    Example:
        >>> ldam(torch.eye(2), [0, 1], counts=torch.tensor([16, 1]), scale=1.0, reduction="none")
        tensor([0.3869, 0.4741])

    Source:
        Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, equations
        12 and 13; in training with pseudo-labels Yang and Xu, "Rethinking the Value of Labels for Improving
        Class-Imbalanced Learning", NeurIPS 2020.
    """
    # log p is f but for a constant of each row, which the loss does not see.
    f, t = read_loss_arguments(logits, target, reduction, "target")
    scale, size = checks.real("scale", scale, 1e-6, 1e6), f.shape[1]
    counts = torch.ones(size) if counts is None else checks.tensor("counts", counts)
    n = checks.finite("counts", counts, dims=1).to(f).clamp(min=1.0)
    if len(n) != size:
        checks.fail("counts", f"a number for each of the {size} classes", len(n))
    margins = checks.real("margin", margin, 0.0, 1e6) * (n / n.min()) ** -0.25
    # Of row i for label k, the logits are [i, k, :].
    each = scale * (f.unsqueeze(1) - margins.diag())
    return _expected(-each.log_softmax(2).diagonal(dim1=1, dim2=2), t, reduction)


def _gce(log_p: Tensor, q: float) -> Tensor:
    return -(q * log_p).expm1() / q if q > 1e-6 else -log_p


def _rce(log_p: Tensor, clip: float) -> Tensor:
    return math.log(checks.real("clip", clip, 1e-300, 1.0, "a number in (0, 1]")) * log_p.expm1()


def _focal(log_p: Tensor, gamma: float) -> Tensor:
    gamma = checks.real("gamma", gamma, 0.0, 1000.0)
    # Where 1 - p is 0, its power has an infinite slope for gamma < 1, though that of the loss is 0.
    rest = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -rest.pow(gamma) * log_p


def _normalised(losses: Tensor) -> Tensor:
    """Divide by the sum over the classes, which is 0 for a single class only."""
    return losses / losses.sum(1, keepdim=True) if losses.shape[1] > 1 else losses


def _expected(losses: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Reduce the losses of each class, [n, C], by the target."""
    if target.dim() == 1:
        return reduced(losses.gather(1, target[:, None])[:, 0], reduction)
    return reduced((target * losses).sum(1), reduction)
