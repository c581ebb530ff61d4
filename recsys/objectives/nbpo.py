r"""NBPO and variants: likes are unobserved with probability gamma = P(r = 0 | r* = 1).

With p = s(R) and gamma, Bayes gives P(r = 1) = p (1 - gamma) and P(r = 0) = 1 - p (1 - gamma); P(r = 1 | r* = 0) is 0,
so that none of these models false clicks. gamma is one number, one for each user or item, or s(G_ui) with
factors G_ui = <P_u, Q_i> that are learned with the scores.

Two warnings. The exact likelihood depends on p and gamma through p (1 - gamma) alone, so that a learned gamma is
determined by L2, initial values and rank. Its derivative is at most 0 on observed pairs and at least 0 on unobserved
ones: it learns "is unobserved", and ranks hidden likes below other pairs. A learned gamma does not detect hidden likes.

Source: Yu and Qin, Sampler design for implicit feedback data by noisy-label robust learning, SIGIR 2020; the released
    code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch.nn.functional import logsigmoid

from graphnoise.checks import choice, fail, tensor
from recsys.objectives.base import Derivatives, Objective, Pairs, beside, wide

FLIP = "flip"


@dataclass(frozen=True)
class _Rates:
    """gamma and 1 - gamma per draw, each at full precision, and log gamma of negatives."""

    # Gamma_ui, [B, 1].
    positive: Any
    positive_complement: Any
    # Gamma_uj, [B, k] or [B, 1].
    negative: Any
    negative_complement: Any
    log: Any
    log_positive_complement: Any


class Flips(Objective):
    """Base class of the objectives of this module.

    Args:
        flip_rate: None to learn gamma as s(<P_u, Q_i>); a rate in [0, 1); or a list of rates.
        by: Whether a list of rates is per "user" or per "item".

    Raises:
        InputError: A rate that is not in [0, 1), or `by` unknown.
    """

    def __init__(self, flip_rate: Any = None, by: str = "item") -> None:
        self.by = choice("by", by, ("user", "item"))
        self.flip_rate: Any = flip_rate
        self._constant: Any = None
        self.logits = (FLIP,)
        if flip_rate is None:
            return
        rates = tensor("flip_rate", flip_rate).detach().cpu().numpy()
        if rates.ndim > 1 or rates.dtype.kind not in "fiu" or not rates.size:
            fail("flip_rate", "None, a rate, or a list of rates", f"{type(flip_rate).__name__} of shape {rates.shape}")
        rates = rates.astype(np.float64)
        if not ((rates >= 0) & (rates < 1)).all():
            fail("flip_rate", "rates in [0, 1)", f"values from {rates.min()} to {rates.max()}")
        self._constant = rates
        self.flip_rate = rates.tolist()
        self.logits = ()
        if rates.ndim:
            self._needs = ("users",) if self.by == "user" else ("items", "negatives")

    def fit(self, matrix: sp.csr_array, distribution: NDArray[np.float64] | None) -> Self:
        """Check that a list of rates has one entry per user or item."""
        size = matrix.shape[self.by == "item"]
        if self._constant is not None and self._constant.ndim and len(self._constant) != size:
            fail("flip_rate", f"{size} rates, one for each {self.by}", len(self._constant))
        return self

    def _rates(self, p: Pairs, torched: bool) -> _Rates:
        if self._constant is None:
            pos, neg = p.extra[FLIP][0][:, None], p.extra[FLIP][1]
            if torched:
                s, log_s = torch.sigmoid, logsigmoid
            else:
                s, log_s = expit, log_expit
            return _Rates(s(pos), s(-pos), s(neg), s(-neg), log_s(neg), log_s(-pos))
        if self._constant.ndim == 0:
            pos = neg = self._constant
        elif self.by == "user":
            pos = neg = self._constant[np.asarray(p.users)][:, None]
        else:
            pos = self._constant[np.asarray(p.items)][:, None]
            neg = self._constant[np.maximum(np.asarray(p.negatives), 0)]
        with np.errstate(divide="ignore"):
            values = [pos, 1 - pos, neg, 1 - neg, np.log(neg), np.log1p(-pos)]
        if torched:
            return _Rates(*(torch.as_tensor(x, dtype=p.negative.dtype, device=p.negative.device) for x in values))
        return _Rates(*(np.asarray(x, dtype=p.negative.dtype) for x in values))

    def _with_flips(
        self, p: Pairs, positive: Any, negative: Any, flip_positive: Any, flip_negative: Any
    ) -> Derivatives:
        extra = {FLIP: (wide(flip_positive, p), flip_negative)} if self.logits else {}
        return Derivatives(wide(positive, p), negative, extra)


class NBPO(Flips):
    r"""Noisy-label robust BPO as released: a surrogate gradient, which is not the gradient of any function.

    Derivatives: (1 - gamma_ui) s(-R_ui) by R_ui, -gamma_ui s(R_ui) by G_ui; gamma_uj s(-R_uj) - s(R_uj) by R_uj,
    (1 - gamma_uj) s(R_uj) by G_uj. The equilibrium of a pure negative is p = gamma / (1 + gamma), so that NBPO may
    raise the score of a negative.

    With gamma learned at the L2 of the released Amazon setting, gamma becomes 1/2 everywhere: BPO with positives of
    weight one half and a counterforce of one half on negatives.

    Example:
        >>> slopes = NBPO(0.5).derivatives(Pairs(np.array([0.0]), np.array([[0.0]])))
        >>> slopes.positive.tolist(), slopes.negative.tolist()
        ([[0.25]], [[-0.25]])

    Source: Yu and Qin, SIGIR 2020; the released code. Autograd form: with the stop-gradient sg,
    sg(1 - gamma) log s(R) + sg(p) log s(-G) for a positive, log s(-R) + sg(gamma) log s(R) + sg(p) log s(G) for a
    negative.
    """

    name = "nbpo"
    is_gradient = False

    def _derivatives(self, p: Pairs) -> Derivatives:
        g, R, N = self._rates(p, False), beside(p), p.negative
        return self._with_flips(
            p, g.positive_complement * expit(-R), g.negative * expit(-N) - expit(N),
            -g.positive * expit(R), g.negative_complement * expit(N),
        )  # fmt: skip

    def _losses(self, p: Pairs) -> Any:
        g, R, N = self._rates(p, True), beside(p), p.negative
        gain = g.positive_complement.detach() * logsigmoid(R) + logsigmoid(-N) + g.negative.detach() * logsigmoid(N)
        if self.logits:
            pos, neg = p.extra[FLIP][0][:, None], p.extra[FLIP][1]
            gain = gain + torch.sigmoid(R).detach() * logsigmoid(-pos) + torch.sigmoid(N).detach() * logsigmoid(neg)
        return -gain


class NBPOo(Flips):
    r"""The exact log-likelihood: log[s(R_ui) (1 - gamma_ui)] + log[s(-R_uj) + gamma_uj s(R_uj)].

    It is forward correction with T = [[1, 0], [gamma, 1 - gamma]]. All terms are in the log domain, so that logits of
    10^4 stay finite in float32.

    Example:
        >>> slopes = NBPOo(0.5).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[-0.167, -0.114]])

    Source: Yu and Qin, SIGIR 2020 ("original"); Patrini et al., CVPR 2017 (forward correction).
    """

    name = "nbpo-o"

    def _derivatives(self, p: Pairs) -> Derivatives:
        g, R, N = self._rates(p, False), beside(p), p.negative
        log_d = np.logaddexp(log_expit(-N), g.log + log_expit(N))
        down = g.negative_complement * expit(N) * np.exp(log_expit(-N) - log_d)
        up = g.negative_complement * np.exp(g.log + log_expit(N) - log_d)
        return self._with_flips(p, expit(-R), -down, -g.positive, up)

    def _losses(self, p: Pairs) -> Any:
        g, R, N = self._rates(p, True), beside(p), p.negative
        return -(logsigmoid(R) + g.log_positive_complement + torch.logaddexp(logsigmoid(-N), g.log + logsigmoid(N)))


class NBPOs(Flips):
    r"""The surrogate objective alone, the likelihood without the logarithm: s(R)(1 - gamma) + s(-R) + gamma s(R).

    Its derivatives vanish for large scores, and with gamma = 0 it is not BPO.

    Example:
        >>> slopes = NBPOs(0.5).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.098, 0.098]], [[-0.125, -0.098]])

    Source: Yu and Qin, SIGIR 2020 ("surrogate").
    """

    name = "nbpo-s"

    def _derivatives(self, p: Pairs) -> Derivatives:
        g, R, N = self._rates(p, False), beside(p), p.negative
        slope, slope_n = expit(R) * expit(-R), expit(N) * expit(-N)
        return self._with_flips(
            p, g.positive_complement * slope, -g.negative_complement * slope_n,
            -g.positive * g.positive_complement * expit(R), g.negative * g.negative_complement * expit(N),
        )  # fmt: skip

    def _losses(self, p: Pairs) -> Any:
        g, R, N = self._rates(p, True), beside(p), p.negative
        return -(torch.sigmoid(R) * g.positive_complement + torch.sigmoid(-N) + g.negative * torch.sigmoid(N))


class NBPOEM(Flips):
    r"""The EM form: an unobserved pair is a hidden like with the exact responsibility w = gamma p / (1 - p + gamma p).

    Derivatives, with constant w: s(-R_ui) and -gamma_ui of a positive, w - s(R_uj) and w (1 - gamma_uj) of a negative.
    With w from the current scores, as here, a gradient step of EM is a gradient step on the likelihood (Fisher's
    identity): `NBPOo` has the same derivatives.

    Example:
        >>> slopes = NBPOEM(0.5).derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[-0.167, -0.114]])

    Source: Dempster, Laird and Rubin, JRSS B 39, 1977, applied to the model of Yu and Qin, SIGIR 2020.
    """

    name = "nbpo-em"
    is_gradient = False

    @staticmethod
    def responsibility(R: Any, log_rate: Any) -> Any:
        """Return P(r* = 1 | r = 0) from scores and log gamma."""
        log_like = log_rate + log_expit(R)
        return np.exp(log_like - np.logaddexp(log_expit(-R), log_like))

    def _derivatives(self, p: Pairs) -> Derivatives:
        g, R, N = self._rates(p, False), beside(p), p.negative
        w = self.responsibility(N, g.log)
        return self._with_flips(
            p, expit(-R), w * expit(-N) - (1 - w) * expit(N), -g.positive, w * g.negative_complement
        )

    def _losses(self, p: Pairs) -> Any:
        g, R, N = self._rates(p, True), beside(p), p.negative
        log_like = g.log + logsigmoid(N)
        w = torch.exp(log_like - torch.logaddexp(logsigmoid(-N), log_like)).detach()
        gain = logsigmoid(R) + g.log_positive_complement + (1 - w) * logsigmoid(-N) + w * logsigmoid(N)
        if self.logits:
            gain = gain + w * g.log
        return -gain
