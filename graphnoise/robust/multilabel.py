r"""Losses of rows that may have several classes: positive-unlabelled, focal with class weights, and missing positives.

`positive` is Boolean or has zeros and ones, shape [n, C]: the given positives. All others are unlabelled or negative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.noise.correct import reduced

# Least scale of logits: those of a class may all be equal.
MIN_SCALE = 1e-3


def pu(logits: Tensor, positive: Tensor, *, alpha: float = 1.0, gamma: float = 0.55) -> Tensor:
    r"""Return the positive-unlabelled loss of all rows together, a scalar.

        sum_c [ m_c^gamma log m_c - mean_{i positive in c} log s_ic ],    s_ic = sigmoid(z_ic / min(1, alpha std_c))

    with m_c the mean of s_ic over all rows, the positives among them, and std_c the standard deviation of the logits
    z_ic over the rows. The factor m_c^gamma and the scale get no gradient; the scale is at least 0.001. A class without
    positives has the first term only.

    Args:
        logits: Shape [n, C], at least one row.
        positive: The given positives, shape [n, C].
        alpha: Scale of the standard deviation, above 0; 1 for COCO, 2 for PASCAL VOC.
        gamma: Exponent of the factor, at least 0; 0.55 for COCO, 0.85 for PASCAL VOC.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> pu(torch.tensor([[2.0], [0.0], [0.0], [-2.0]]), torch.tensor([[1], [0], [0], [0]]))
        tensor(-0.3465)

    Source:
        Yuan et al., "Positive Label Is All You Need for Multi-Label Classification", ICME 2024 (PU-MLC).
    """
    z, given = _rows(logits, positive)
    alpha, gamma = checks.real("alpha", alpha, 1e-6), checks.real("gamma", gamma, 0.0)
    scale = (alpha * z.detach().std(0, correction=0)).clamp(MIN_SCALE, 1.0)
    log_s = F.logsigmoid(z / scale)
    log_m = log_s.logsumexp(0) - math.log(len(z))
    own = (given * log_s).sum(0) / given.sum(0).clamp(min=1)
    total: Tensor = ((gamma * log_m).exp().detach() * log_m - own).sum()
    return total


def class_weights(counts: Tensor, exponent: float = 1 / 6) -> Tensor:
    """Return w_c = (1 - ln(n_c / max n))^exponent, shape [C]; a class without positives counts as one with one.

    Example:
        >>> class_weights(torch.tensor([100, 10, 1]))
        tensor([1.0000, 1.2203, 1.3328])
    """
    counts = checks.finite("counts", checks.tensor("counts", counts), dims=1).clamp(min=1.0)
    return (1 - (counts / counts.max()).log()) ** checks.real("exponent", exponent, 0.0)


def balanced_focal(
    logits: Tensor,
    positive: Tensor,
    *,
    counts: Tensor | None = None,
    gamma: float = 3.0,
    shift: float = 0.05,
    margin: float = 1.0,
    balance: float = 1.0,
    exponent: float = 1 / 6,
    reduction: str = "mean",
) -> Tensor:
    r"""Return the sum over the classes of a binary cross-entropy with class weights, focused on hard negatives.

        -w_c log sigmoid(z - margin)           for a positive
        -w_c (1 - q)^(gamma + w_c) log q       for a negative, q = min(1, 1 - sigmoid(z) + shift)

    with w of `class_weights`. The focusing factor (1 - q)^(...) gets no gradient. Before, balance · ln(n_c / max n) is
    added to the logits (logit adjustment): rare classes must get larger ones.

    Args:
        logits: Shape [n, C], at least one row.
        positive: The positives, shape [n, C].
        counts: Number n_c of positives of each class, shape [C]. None: those of `positive`.
        gamma: Exponent of the focus, before w_c is added.
        shift: Probability up to which a negative costs nothing, in [0, 1].
        margin: What positives must exceed.
        balance: Weight of the logit adjustment.
        exponent: Exponent of the class weights; the released code has 1/6 in one file and 1/3 in another.
        reduction: "mean", "sum" or "none", over the rows.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> balanced_focal(torch.tensor([[-3.0, 0.0]]), torch.tensor([[0, 1]]), margin=0.0, counts=torch.ones(2))
        tensor(0.6931)

    Source:
        Zhang et al., "Learning in Imperfect Environment: Multi-Label Classification with Long-Tailed Distribution and
        Partial Labels", ICCV 2023 (COMIC). The adjustment of logits stands in for the published blend of two experts.
    """
    z, given = _rows(logits, positive)
    counts = given.sum(0) if counts is None else checks.tensor("counts", counts)
    sizes = checks.finite("counts", counts, dims=1).to(z).clamp(min=1.0)
    if len(sizes) != z.shape[1]:
        checks.fail("counts", f"a number for each of the {z.shape[1]} classes", len(sizes))
    checks.choice("reduction", reduction, ("mean", "none", "sum"))
    gamma, shift = checks.real("gamma", gamma, 0.0), checks.rate("shift", shift)
    margin, balance = checks.real("margin", margin), checks.real("balance", balance)
    w = class_weights(sizes, exponent)
    z = z + balance * (sizes / sizes.max()).log()
    q = (torch.sigmoid(-z) + shift).clamp(1e-12, 1.0)
    focus = (1 - q).detach() ** (gamma + w)
    losses = -w * torch.where(given > 0, F.logsigmoid(z - margin), focus * q.log())
    return reduced(losses.sum(1), reduction)


def recover_positives(probabilities: Tensor, positive: Tensor, *, threshold: float = 0.7) -> Tensor:
    """Return the positives and those that are probably missing: p_ic above the threshold and above its class's mean.

    Args:
        probabilities: p_ic in [0, 1], shape [n, C]; the mean of a class is over these rows.
        positive: The given positives, shape [n, C]; all of them are kept.
        threshold: In [0, 1].

    Returns:
        Boolean, shape [n, C].

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> p = torch.tensor([[0.72, 0.72], [0.78, 0.08]])
        >>> recover_positives(p, torch.tensor([[0, 0], [1, 0]]))
        tensor([[False,  True],
                [ True, False]])

    Source:
        Zhang et al., ICCV 2023 (COMIC).
    """
    p, given = _rows(probabilities, positive, "probabilities")
    if not 0 <= float(p.min()) <= float(p.max()) <= 1:
        checks.fail("probabilities", "numbers in [0, 1]", f"from {float(p.min()):g} to {float(p.max()):g}")
    found: Tensor = (given > 0) | ((p > checks.rate("threshold", threshold)) & (p > p.mean(0)))
    return found


def _rows(values: Tensor, positive: Tensor, name: str = "logits") -> tuple[Tensor, Tensor]:
    """Return both, checked, the positives with the type of the values."""
    values = checks.finite(name, checks.tensor(name, values), dims=2)
    if not values.is_floating_point() or not values.numel():
        checks.fail(
            name, "real numbers of shape [n, C], at least one", f"{values.dtype} of shape {tuple(values.shape)}"
        )
    given = checks.finite("positive", checks.tensor("positive", positive), dims=2)
    if given.shape != values.shape or not bool(((given == 0) | (given == 1)).all()):
        checks.fail("positive", f"zeros and ones of shape {tuple(values.shape)}", f"shape {tuple(given.shape)}")
    return values, given.to(values)
