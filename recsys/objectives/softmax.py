"""Sampled softmax with correction for the sampling distribution (logQ)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.checks import fail, real
from recsys.objectives.base import Derivatives, Objective, Pairs, beside


class SampledSoftmax(Objective):
    r"""Sampled softmax: the positive against k negatives that represent all other items.

    log of e^(R_ui / t) / (e^(R_ui / t) + sum_j e^(R_uj / t) / (k q_j)), with q the distribution of the negatives (logQ
    correction), so that the sum is an unbiased estimate and the gradient tends to the full softmax's as k grows.
    Without a distribution q is uniform.

    Args:
        temperature: t, above 0.
        correct: Whether to correct by q.

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
