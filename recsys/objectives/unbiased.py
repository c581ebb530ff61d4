"""Objectives with a model of observation: propensities, doubly robust and positive-unlabelled learning, flip rates."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from graphnoise.checks import fail, rate, real
from graphnoise.noise import Transition
from graphnoise.noise.correct import backward_correction, forward_correction
from recsys.objectives.base import Derivatives, Objective, Pairs, as_scores, beside, wide


class _Propensity(Objective):
    r"""Base class with the propensity theta_i = max((n_i / max n)^power, clip) of item i to be observed.

    Args:
        power: Exponent of the popularity; 1/2 in the papers.
        clip: Lower bound of the propensity, above 0.
    """

    _needs: tuple[str, ...] = ("items",)

    def __init__(self, power: float = 0.5, clip: float = 0.1) -> None:
        self.power = real("power", power, 0.0)
        self.clip = real("clip", clip, 1e-6, 1.0)
        self.theta: NDArray[np.float64] | None = None

    def fit(self, matrix: sp.csr_array, distribution: NDArray[np.float64] | None) -> Self:
        """Compute the propensities from the popularity of items."""
        count = np.bincount(matrix.indices, minlength=matrix.shape[1])
        if self.dislikes is not None:
            count += np.bincount(self.dislikes.col, minlength=matrix.shape[1])
        self.theta = np.maximum((count / max(count.max(initial=0), 1)) ** self.power, self.clip)
        return self

    def _inverse(self, p: Pairs, items: Any) -> Any:
        if self.theta is None:
            fail("objective", "a fitted objective: objective.fit(matrix, None)", "one without fit")
        return as_scores(1 / self.theta[np.asarray(items)], p)


class RelevanceMF(_Propensity):
    r"""Unbiased pointwise: a click on i counts as 1 / theta_i of a like, and 1 - 1 / theta_i of a dislike.

    (1 / theta_i) log s(R_ui) + (1 - 1 / theta_i) log s(-R_ui) of a positive, log s(-R_uj) of a negative; the
    derivatives are 1 / theta_i - s(R_ui) and -s(R_uj). With theta = 1 it is BPO.

    Example:
        >>> at = {"users": np.array([0]), "items": np.array([0]), "negatives": np.array([[1, 2]])}
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.0, -1.0]]), **at)
        >>> slopes = RelevanceMF().fit(sp.csr_array([[1, 0, 0], [1, 1, 0]]), None).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[-0.5, -0.269]])

    Source: Saito et al., Unbiased recommender learning from missing-not-at-random implicit feedback, WSDM 2020.
    """

    name = "rel-mf"

    def _derivatives(self, p: Pairs) -> Derivatives:
        return Derivatives(wide(self._inverse(p, p.items)[:, None] - expit(beside(p)), p), -expit(p.negative))

    def _losses(self, p: Pairs) -> Any:
        w, R = self._inverse(p, p.items)[:, None], beside(p)
        return -w * logsigmoid(R) - (1 - w) * logsigmoid(-R) - logsigmoid(-p.negative)


class UnbiasedBPR(_Propensity):
    r"""Unbiased pairwise: (1 / theta_i) (1 - Y_uj / theta_j) log s(R_ui - R_uj), with Y_uj whether u clicked on j.

    With verified negatives Y is 0. Otherwise (`Pairs.known`) a weight may be negative; a batch with a negative total
    loss is ignored.

    Example:
        >>> at = {"users": np.array([0]), "items": np.array([0]), "negatives": np.array([[1, 2]])}
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.0, -1.0]]), **at)
        >>> slopes = UnbiasedBPR().fit(sp.csr_array([[1, 0, 0], [1, 1, 0]]), None).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.119]], [[-0.269, -0.119]])

    Source: Saito, Unbiased pairwise learning from biased implicit feedback, ICTIR 2020.
    """

    name = "ubpr"
    _rows = True

    def _weights(self, p: Pairs) -> Any:
        w = self._inverse(p, p.items)[:, None] * (p.negative * 0 + 1)
        if p.known is not None:
            w = w * (1 - as_scores(p.known, p) * self._inverse(p, np.maximum(np.asarray(p.negatives), 0)))
        return w if p.weight is None else w * p.weight

    def _derivatives(self, p: Pairs) -> Derivatives:
        w, gap = self._weights(p), p.negative - beside(p)
        if p.known is not None and (w * np.logaddexp(0, gap)).sum() < 0:
            w = w * 0
        slope = (w * expit(gap)).astype(p.negative.dtype, copy=False)
        return Derivatives(slope, -slope)

    def _losses(self, p: Pairs) -> Any:
        return torch.relu((self._weights(p) * softplus(p.negative - beside(p))).sum())


class DoublyRobust(_Propensity):
    r"""Doubly robust cross-entropy on likes, known dislikes and unobserved pairs, with a second model of the error.

    A pair is observed (o = 1) if it is a like (y = 1) or a known dislike (y = 0), with the propensity p of its item.
    With e the cross-entropy of R with y, and ê that with the label g = s(Z) which the second model (logit "imputed")
    expects, the factors of R minimise

        ê + o (e - ê) / p

    over all drawn pairs, and those of Z minimise o (e - ê)² / p = o (g - y)² R² / p. The derivatives, each with the
    other model held fixed, are g - s(R) + o (y - g) / p by R and 2 o (y - g) R² g (1 - g) / p by Z. An unobserved
    pair follows g: what is known of other pairs says how much it is a dislike. If p or ê is right, the mean over
    uniform pairs is that of e over all pairs, had all been observed.

    This package's are: cross-entropy in place of squared errors of ratings, a label rather than an error as what the
    second model learns, p from the popularity of items (their likes and dislikes) alone, and the pairs, which
    are as many drawn ones as likes and not all: likes weigh more than in the paper's sum.

    Args:
        power: Exponent of the popularity in p = max((n_i / max n)^power, clip).
        clip: Lower bound of p, above 0.

    Example:
        >>> zero = np.array([0.0]), np.array([[0.0, 0.0]])
        >>> at = {"items": np.array([0]), "negatives": np.array([[1, 2]])}
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.0, -1.0]]), {"imputed": zero}, **at)
        >>> slopes = DoublyRobust().fit(sp.csr_array([[1, 0, 0], [1, 1, 0]]), None).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[0.0, 0.231]])

    Source: Wang et al., Doubly robust joint learning for recommendation on data missing not at random, ICML 2019; the
    form of the estimator and of the second model's loss, from formulas.
    """

    name = "doubly-robust"
    logits = ("imputed",)
    is_gradient = False
    uses_dislikes = True
    _needs = ("items", "negatives")

    def _sides(self, p: Pairs) -> Any:
        """Yield R, Z, y and o / p of the positives and of the negatives, [B, 1] and [B, k]."""
        positive, negative = p.extra["imputed"]
        yield beside(p), positive[:, None], 1, self._inverse(p, p.items)[:, None]
        yield p.negative, negative, 0, as_scores(p.disliked, p) * self._inverse(p, p.negatives)

    def _derivatives(self, p: Pairs) -> Derivatives:
        sides = []
        for R, Z, y, w in self._sides(p):
            g = expit(Z)
            sides.append((wide(g - expit(R) + w * (y - g), p), wide(2 * w * (y - g) * R * R * g * expit(-Z), p)))
        (positive, imputed), (negative, imputed_negative) = sides
        return Derivatives(positive, negative, {"imputed": (imputed, imputed_negative)})

    def _losses(self, p: Pairs) -> Any:
        total = torch.zeros_like(p.negative)
        for R, Z, y, w in self._sides(p):
            g, fixed = torch.sigmoid(Z), torch.sigmoid(Z).detach()
            imputed = -fixed * logsigmoid(R) - (1 - fixed) * logsigmoid(-R)
            total = total + imputed + w * (-logsigmoid(R if y else -R) - imputed) + w * ((g - y) * R.detach()) ** 2
        return total


class NonNegativePU(Objective):
    r"""nnPU: positives and unlabelled pairs, with the share `prior` of likes among the unlabelled.

    risk = prior E_P l(R) + max(-beta, E_U l(-R) - prior E_P l(-R)), l(x) = s(-x). If the bracket is below -beta, the
    step increases it, scaled by gamma. Means are over a batch, and the objective is -risk times the number of draws.
    The negatives represent the unlabelled pairs.

    Args:
        prior: Share of likes among unlabelled pairs, in [0, 1].
        beta: At least 0.
        gamma: In [0, 1].

    Example:
        >>> slopes = NonNegativePU(0.2).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.079, 0.079]], [[-0.25, -0.197]])

    Source: Kiryo et al., Positive-unlabeled learning with non-negative risk estimator, NeurIPS 2017, algorithm 1.
    """

    name = "nnpu"
    is_gradient = False
    _rows = True

    def __init__(self, prior: float, beta: float = 0.0, gamma: float = 1.0) -> None:
        self.prior, self.beta, self.gamma = rate("prior", prior), real("beta", beta, 0.0), rate("gamma", gamma)

    def _derivatives(self, p: Pairs) -> Derivatives:
        R, N = beside(p), p.negative
        w = np.ones_like(N) if p.weight is None else p.weight.astype(N.dtype)
        guarded = (w * (expit(N) - self.prior * expit(R))).sum() < -self.beta * w.sum()
        rise, rise_n = w * expit(R) * expit(-R), w * expit(N) * expit(-N)
        if guarded:
            return Derivatives(-self.gamma * self.prior * rise, self.gamma * rise_n)
        return Derivatives(2 * self.prior * rise, -rise_n)

    def _losses(self, p: Pairs) -> Any:
        R, N = beside(p), p.negative
        w = torch.ones_like(N) if p.weight is None else p.weight
        bracket = (w * (torch.sigmoid(N) - self.prior * torch.sigmoid(R))).sum()
        if bracket < -self.beta * w.sum():
            return -self.gamma * bracket
        return (w * self.prior * torch.sigmoid(-R)).sum() + bracket


class _LossCorrection(Objective):
    """Base class with the flip rates P(r = 0 | r* = 1) and P(r = 1 | r* = 0), which sum to less than 1."""

    def __init__(self, false_negative_rate: float = 0.0, false_positive_rate: float = 0.0) -> None:
        self.false_negative_rate = rate("false_negative_rate", false_negative_rate)
        self.false_positive_rate = rate("false_positive_rate", false_positive_rate)
        if self.false_negative_rate + self.false_positive_rate >= 1:
            fail(
                "false_positive_rate", "rates that sum to less than 1", f"{false_negative_rate} + {false_positive_rate}"
            )

    @property
    def transition(self) -> Transition:
        """The rates as a transition matrix: class 0 is no like, class 1 a like."""
        fn, fp = self.false_negative_rate, self.false_positive_rate
        return Transition([[1 - fp, fp], [fn, 1 - fn]])

    def _corrected(self, p: Pairs, correction: Any) -> Tensor:
        losses = []
        for R, label in ((beside(p), 1), (p.negative, 0)):
            logits = torch.stack([torch.zeros_like(R), R], -1).reshape(-1, 2)
            noisy = torch.full((len(logits),), label)
            losses.append(correction(logits, noisy, self.transition, "none").reshape(R.shape))
        total: Tensor = losses[0] + losses[1]
        return total


class Forward(_LossCorrection):
    r"""Forward correction: log P(r | R) with P(r) = T' (1 - p, p), the likelihood of the observed labels.

    Args:
        false_negative_rate: P(r = 0 | r* = 1).
        false_positive_rate: P(r = 1 | r* = 0).

    Example:
        >>> slopes = Forward(0.2).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[-0.333, -0.2]])

    Source: Patrini et al., Making deep neural networks robust to label noise, CVPR 2017, theorem 2.
    """

    name = "forward"

    def _derivatives(self, p: Pairs) -> Derivatives:
        fn, fp = self.false_negative_rate, self.false_positive_rate
        R, N = beside(p), p.negative
        # p (1 - p) (1 - fn - fp) over the probability; with fp = 0 it is s(-R), also where s(R) is 0.
        shown = expit(-R) if fp == 0 else (1 - fn - fp) * expit(R) * expit(-R) / ((1 - fn) * expit(R) + fp * expit(-R))
        hidden = expit(N) if fn == 0 else (1 - fn - fp) * expit(N) * expit(-N) / (fn * expit(N) + (1 - fp) * expit(-N))
        return Derivatives(wide(shown, p), -hidden)

    def _losses(self, p: Pairs) -> Any:
        return self._corrected(p, forward_correction)


class Backward(_LossCorrection):
    r"""Backward correction: losses combined by the inverse of T, so that the mean over the noise is the clean loss.

    With l1 = -log s(R) and l0 = -log s(-R): [(1 - fp) l1 - fn l0] / (1 - fn - fp) of a positive and
    [(1 - fn) l0 - fp l1] / (1 - fn - fp) of a negative. It may be negative and is then unbounded from below.

    Args:
        false_negative_rate: fn = P(r = 0 | r* = 1).
        false_positive_rate: fp = P(r = 1 | r* = 0).

    Example:
        >>> slopes = Backward(0.2).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.519, 0.519]], [[-0.5, -0.269]])

    Source: Natarajan et al., Learning with noisy labels, NeurIPS 2013; Patrini et al., CVPR 2017, theorem 1.
    """

    name = "backward"

    def _derivatives(self, p: Pairs) -> Derivatives:
        fn, fp = self.false_negative_rate, self.false_positive_rate
        R, N, scale = beside(p), p.negative, 1 / (1 - fn - fp)
        shown = scale * ((1 - fp) * expit(-R) + fn * expit(R))
        hidden = scale * ((1 - fn) * expit(N) + fp * expit(-N))
        return Derivatives(wide(shown, p), -hidden)

    def _losses(self, p: Pairs) -> Any:
        return self._corrected(p, backward_correction)
