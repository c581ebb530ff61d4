"""Losses corrected for a known transition matrix: forward, backward, and importance reweighting.

With f = logits, p = softmax(f), T[i, j] = P(observed j | true i) and y the observed label. Each takes a
`Transition`, or a tensor [C, C] if T is to be learned (gradients then reach it): entries of at least 0, rows
that sum to 1 within 1e-3. Of observed labels that are class probabilities, the loss is the expectation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.labels import class_positions
from graphnoise.noise.transition import Transition
from graphnoise.typing import LabelsLike

# Upper bound of the logarithm of a weight: e⁶⁰ and its square are far from overflow in float64.
MAX_LOG_WEIGHT = 60.0


def forward_correction(
    logits: Tensor, noisy: LabelsLike, transition: Transition | Tensor, reduction: str = "mean"
) -> Tensor:
    """Return -log (Tᵗ p)_y: the cross-entropy of the model's posterior after the noise.

    Its minimiser over p is the clean posterior. It is computed in the log domain, so that the loss of confident
    logits is finite; the gradient for a learned T, -p_i / (Tᵗ p)_y at T[i, y], is exact at zeros of T, too.

    Args:
        logits: [n, C].
        noisy: Observed labels [n], or their probabilities [n, C].
        transition: The transition T.
        reduction: "mean", "sum" or "none" (one loss per sample, [n]).

    Raises:
        InputError: Shapes do not fit, logits are not finite (or there are none, for a mean), T is no transition,
            bad labels, or a label that T makes impossible.

    Example:
        >>> forward_correction(torch.zeros(1, 2), [0], Transition([[1.0, 0.0], [0.5, 0.5]]), "sum").exp()
        tensor(1.3333)

    Source:
        Patrini et al. 2017, Making deep neural networks robust to label noise, theorem 2.
    """
    log_p, target, matrix = _check(logits, noisy, transition, reduction)
    _check_possible(target, matrix)
    return reduced(_expected(lambda y: -_log_observed(log_p, y, matrix), target).to(log_p.dtype), reduction)


def backward_correction(
    logits: Tensor,
    noisy: LabelsLike,
    transition: Transition | Tensor,
    reduction: str = "mean",
    *,
    pseudo_inverse: bool = False,
) -> Tensor:
    """Return (T⁻¹ l)_y with l_k = -log p_k: unbiased, as sum_j T[i, j] (T⁻¹ l)_j = l_i. It may be negative.

    Args:
        logits: [n, C].
        noisy: Observed labels [n], or their probabilities [n, C].
        transition: The transition T, invertible.
        reduction: "mean", "sum" or "none".
        pseudo_inverse: Whether the pseudo-inverse stands in for T⁻¹ where T is singular: the mean over the noise is
            then the projection of l on the range of T.

    Raises:
        InputError: As `forward_correction`, or T is singular (condition number in the maximum norm above 1e12).

    Example:
        >>> logits, noise = torch.tensor([[0.3, -1.0]]), Transition([[0.9, 0.1], [0.2, 0.8]])
        >>> losses = torch.cat([backward_correction(logits, [j], noise, "none") for j in (0, 1)])
        >>> torch.allclose(noise.matrix.float() @ losses, -logits.log_softmax(1)[0])
        True

    Source:
        Patrini et al. 2017, theorem 1.
    """
    log_p, target, matrix = _check(logits, noisy, transition, reduction)
    unit = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    inverse, info = torch.linalg.solve_ex(matrix, unit)
    norm = torch.linalg.matrix_norm
    condition = float(norm(matrix.detach(), torch.inf) * norm(inverse.detach(), torch.inf))
    if int(info) or not condition <= 1e12:
        if not checks.flag("pseudo_inverse", pseudo_inverse):
            checks.fail("transition", "an invertible matrix", "a singular one")
        inverse = torch.linalg.pinv(matrix, rtol=1e-9)
    rows = inverse[target] if target.dim() == 1 else target.double() @ inverse
    return reduced(-(rows.to(log_p.dtype) * log_p).sum(1), reduction)


def importance_reweighting(
    logits: Tensor,
    noisy: LabelsLike,
    transition: Transition | Tensor,
    reduction: str = "mean",
    *,
    detach: bool = True,
) -> Tensor:
    """Return w · (-log p_y) with w = p_y / (Tᵗ p)_y, the probability that the observed label is clean.

    w is bounded only where T[y, y] > 0; elsewhere it is clamped to e⁶⁰.

    Args:
        logits: [n, C].
        noisy: Observed labels [n], or their probabilities [n, C].
        transition: The transition T.
        reduction: "mean", "sum" or "none".
        detach: Whether w is a constant, as importance weights are; False lets gradients through it.

    Raises:
        InputError: As `forward_correction`.

    Example:
        >>> noise = Transition([[1.0, 0.0], [0.5, 0.5]])
        >>> importance_reweighting(torch.zeros(1, 2), [0], noise) / torch.tensor(2.0).log()
        tensor(0.6667)

    Source:
        Liu and Tao 2016, Classification with noisy labels by importance reweighting; Xia et al. 2019,
        T-revision.
    """
    log_p, target, matrix = _check(logits, noisy, transition, reduction)
    _check_possible(target, matrix)
    constant = checks.flag("detach", detach)

    def loss(y: Tensor) -> Tensor:
        log_p_y = log_p.gather(1, y[:, None])[:, 0].double()
        weights = (log_p_y - _log_observed(log_p, y, matrix)).clamp(max=MAX_LOG_WEIGHT).exp()
        return -(weights.detach() if constant else weights) * log_p_y

    return reduced(_expected(loss, target).to(log_p.dtype), reduction)


def read_loss_arguments(logits: Tensor, target: LabelsLike, reduction: str, name: str) -> tuple[Tensor, Tensor]:
    """Return log p [n, C], and class positions [n] or probabilities [n, C] of the type of log p.

    Raises:
        InputError: Shapes do not fit, logits are not finite (or there are none, for a mean), bad labels.
    """
    scores = checks.finite("logits", logits, dims=2)
    size, classes = scores.shape
    checks.choice("reduction", reduction, ("mean", "none", "sum"))
    if reduction == "mean" and not size:
        checks.fail("logits", "at least one row to take a mean of", "none")
    log_p = checks.finite("log_softmax(logits)", scores.log_softmax(1))
    soft = getattr(target, "ndim", 1) == 2 and getattr(target, "shape", (0, 0))[1] == classes
    if soft and checks.tensor(name, target).is_floating_point():
        probabilities = checks.probabilities(name, target, classes)
        if len(probabilities) != size:
            checks.fail(name, f"{size} rows, one per row of logits", len(probabilities))
        return log_p, probabilities.to(log_p)
    return log_p, class_positions(target, classes, size=size, name=name).to(log_p.device)


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Return losses, their mean or their sum."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _expected(loss: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Return the losses of labels [n], or their expectation over class probabilities [n, C]."""
    if target.dim() == 1:
        return loss(target)
    total = target.new_zeros(len(target), dtype=torch.float64)
    # Classes that no row has may be impossible, and their loss infinite.
    for k in (target != 0).any(0).nonzero().view(-1).tolist():
        total = total + target[:, k] * loss(target.new_full((len(target),), k, dtype=torch.long))
    return total


def _check(
    logits: Tensor, noisy: LabelsLike, transition: Transition | Tensor, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p, the target and T in float64, all on the device of the logits."""
    log_p, target = read_loss_arguments(logits, noisy, reduction, "noisy")
    classes = log_p.shape[1]
    matrix = transition.matrix if isinstance(transition, Transition) else transition
    if not isinstance(matrix, Tensor) or matrix.shape != (classes, classes):
        got = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        checks.fail("transition", f"a Transition or a tensor [{classes}, {classes}]", got)
    if matrix is transition:
        matrix = checks.finite("transition", matrix)
        values = matrix.detach().double()
        sums = values.sum(1)
        if bool((values < 0).any()):
            checks.fail("transition", "probabilities of at least 0", float(values.min()))
        worst = int((sums - 1).abs().argmax())
        if abs(float(sums[worst]) - 1) > 1e-3:
            checks.fail("transition", "rows that sum to 1", f"{float(sums[worst]):.6g} in row {worst}")
    return log_p, target, matrix.to(log_p.device, torch.float64)


def _check_possible(target: Tensor, matrix: Tensor) -> None:
    impossible = (matrix.detach() <= 0).all(0)
    bad = impossible[target] if target.dim() == 1 else (target * impossible != 0).any(1)
    if bool(bad.any()):
        where = int(bad.nonzero()[0])
        got = int(target[where] if target.dim() == 1 else (target[where] * impossible).argmax())
        checks.fail("noisy", "labels that the transition can produce", f"{got} at position {where}")


def _log_observed(log_p: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
    """Return log q = log sum_i p_i T[i, y] in float64, without a log of T: dq / dT[i, y] = p_i at zeros too.

    p is scaled by its greatest entry where T[i, y] > 0. Greater entries have T[i, y] = 0; the clamp to e⁶⁰ changes
    only their gradient for T.
    """
    columns, log_p = matrix.T[y], log_p.double()
    scale = log_p.detach().where(columns.detach() > 0, -torch.inf).amax(1, keepdim=True)
    return ((log_p - scale).clamp(max=MAX_LOG_WEIGHT).exp() * columns).sum(1).log() + scale[:, 0]
