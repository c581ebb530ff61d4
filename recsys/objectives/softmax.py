"""Sampled softmax with correction for the sampling distribution (logQ), in one direction or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.checks import fail, rate, real
from recsys.objectives.base import Derivatives, Objective, Pairs, beside


class SampledSoftmax(Objective):
    r"""Sampled softmax: the positive against k negatives that represent all other items.

    log of e^(R_ui / t) / (e^(R_ui / t) + sum_j e^(R_uj / t) / (k q_j)), with q the distribution of the negatives (logQ
    correction), so that the sum is an unbiased estimate and the gradient tends to the full softmax's as k grows.
    Without a distribution q is uniform.

    Args:
        temperature: t, above 0.
        correct: Whether to correct by q.

    Example:
        >>> at = {"users": np.array([0]), "items": np.array([0]), "negatives": np.array([[1, 2]])}
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.0, -1.0]]), **at)
        >>> slopes = SampledSoftmax().fit(sp.csr_array([[1, 0, 0], [1, 1, 0]]), None).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.314, 0.116]], [[-0.314, -0.116]])

    Source: Bengio and Senécal, IEEE TNN 19, 2008; Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019.
    """

    name = "softmax"
    _rows = True

    def __init__(self, temperature: float = 1.0, correct: bool = True) -> None:
        self.temperature = real("temperature", temperature, 1e-6)
        if not isinstance(correct, bool):
            fail("correct", "True or False", repr(correct))
        self.correct = correct
        self._needs = ("negatives",) if correct else ()
        self._log: NDArray[np.float64] | None = None

    def fit(self, matrix: sp.csr_array, distribution: NDArray[np.float64] | None) -> Self:
        """Set the distribution of the negatives; None is uniform."""
        items = matrix.shape[1]
        q = np.full(items, 1 / max(items, 1)) if distribution is None else distribution
        self._log = np.log(np.maximum(q, 1e-300))
        return self

    def _shift(self, p: Pairs) -> Any:
        """Return log(k q_j), [B, k]."""
        if not self.correct:
            return p.negative * 0
        if self._log is None:
            fail(
                "objective",
                "a fitted objective: objective.fit(matrix, distribution)",
                "one without fit",
            )
        shift = np.log(p.negative.shape[1]) + self._log[np.maximum(np.asarray(p.negatives), 0)]
        if isinstance(p.negative, Tensor):
            return torch.as_tensor(shift, dtype=p.negative.dtype, device=p.negative.device)
        return shift.astype(p.negative.dtype)

    def _derivatives(self, p: Pairs) -> Derivatives:
        top, rest = beside(p) / self.temperature, p.negative / self.temperature - self._shift(p)
        # Ignored draws must not affect the scale either.
        if p.weight is not None:
            with np.errstate(divide="ignore"):
                rest = rest + np.log(p.weight).astype(rest.dtype)
        peak = np.maximum(top, rest.max(1, keepdims=True))
        positive, others = np.exp(top - peak), np.exp(rest - peak)
        share = others / (positive + others.sum(1, keepdims=True)) / self.temperature
        return Derivatives(share, -share)

    def _losses(self, p: Pairs) -> Any:
        top, rest = beside(p) / self.temperature, p.negative / self.temperature - self._shift(p)
        if p.weight is not None:
            rest = rest + torch.log(p.weight)
        return torch.logsumexp(torch.cat([top, rest], 1), 1) - top[:, 0]


class SymmetricSoftmax(SampledSoftmax):
    r"""Softmax over the batch in both directions: the item of a user, and the user of an item.

    Half the cross-entropy of each positive among the items of the batch, and half of it among the users. Known pairs,
    such as other positives of the user and repeats of an item, are masked. With smoothing, the target is
    1 - smoothing of the positive and the rest spread over all that are not masked, the positive among them. The logQ
    correction has, by direction, the share of an item or of a user among all positives, and spares the positive. It
    needs all of the batch as negatives: `TwoTower` with the sampler "in-batch" and num_negatives None.

    Args:
        temperature: t, above 0; `TwoTower(temperature=1.0)` learns a further one.
        correct: Whether to correct by q.
        smoothing: In [0, 1].

    Example:
        >>> at = {"users": np.array([0, 1]), "items": np.array([0, 1]), "negatives": np.array([[0, 1], [0, 1]])}
        >>> pairs = Pairs(np.array([1.0, 0.5]), np.array([[1.0, 0.0], [0.0, 0.5]]), **at)
        >>> slopes = SymmetricSoftmax(smoothing=0.0).fit(sp.csr_array([[1, 0], [0, 1]]), None).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.134, 0.134], [0.189, 0.189]], [[0.0, -0.323], [-0.323, 0.0]])

    Source: In the spirit of Jia et al., Scaling up visual and vision-language representation learning with noisy text
    supervision (ALIGN), ICML 2021, section 4.1; masks and correction are of Yi et al., RecSys 2019.
    """

    name = "symmetric-softmax"

    def __init__(self, temperature: float = 1.0, correct: bool = True, smoothing: float = 0.1) -> None:
        super().__init__(temperature, correct)
        self.smoothing = rate("smoothing", smoothing)
        self._needs = ("users", "items", "negatives")
        self._log_users: NDArray[np.float64] | None = None

    def fit(self, matrix: sp.csr_array, distribution: NDArray[np.float64] | None) -> Self:
        """Set the distributions of items, and of users."""
        self._log_users = np.log(np.maximum(np.diff(matrix.indptr) / max(matrix.nnz, 1), 1e-300))
        return super().fit(matrix, distribution)

    def _derivatives(self, p: Pairs) -> Derivatives:
        R, N = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (p.positive, p.negative))
        weight = None if p.weight is None else torch.as_tensor(p.weight, dtype=torch.float64)
        losses = self._losses(replace(p, positive=R, negative=N, weight=weight))
        by_positive, by_negative = torch.autograd.grad(-losses.sum(), [R, N])
        share = by_positive.unsqueeze(1).expand_as(N) / N.shape[1]
        return Derivatives(share.numpy().astype(p.negative.dtype), by_negative.numpy().astype(p.negative.dtype))

    def _losses(self, p: Pairs) -> Any:
        items = np.asarray(p.items)
        if p.negative.shape[1] != len(items) or not (np.asarray(p.negatives) == items).all():
            fail("negatives", "the items of the whole batch (num_negatives=None)", f"shape {tuple(p.negative.shape)}")
        scores, top = p.negative / self.temperature, p.positive / self.temperature
        w = torch.ones_like(scores).fill_diagonal_(0.0) if p.weight is None else p.weight
        shift = self._shift(p)
        of_users = torch.zeros_like(scores)
        if self.correct:
            assert self._log_users is not None
            of_users += torch.as_tensor(np.log(len(items)) + self._log_users[np.asarray(p.users)]).to(scores)
        rows, columns = self._smoothed(top, scores - shift, w), self._smoothed(top, scores.T - of_users, w.T)
        return (rows + columns) / 2

    def _smoothed(self, top: Tensor, rest: Tensor, w: Tensor) -> Tensor:
        """Return the cross-entropy of a positive [B] among others [B, k] of these weights."""
        total = torch.logsumexp(torch.cat([top[:, None], rest + torch.log(w)], 1), 1)
        mean = (top + (w * rest).sum(1)) / (1 + w.sum(1))
        return total - (1 - self.smoothing) * top - self.smoothing * mean
