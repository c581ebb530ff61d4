"""Objectives for false-positive clicks: truncated and reweighted cross-entropy, DeCA."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from graphnoise.checks import choice, integer, rate, real
from recsys.objectives.base import Derivatives, Objective, Pairs, beside, wide


class TruncatedCE(Objective):
    r"""T-CE: cross-entropy without the positives of the largest losses, which early in training are mostly false.

    The drop rate grows from 0 to `drop_rate`: drop_rate · min(1, step / ramp)^exponent.

    Args:
        drop_rate: The final rate, in [0, 1].
        ramp: Updates until the final rate.
        exponent: Exponent of the growth.
        of: "positives": the rate is a share of the positives, as in the paper. "batch": int((1 - rate) · all pairs)
            pairs stay, and all that go are positives, as in the released code: about twice as many at one negative
            each.

    Example:
        >>> slopes = TruncatedCE().derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.269, 0.269]], [[-0.5, -0.269]])

    Source: Wang et al., Denoising implicit feedback for recommendation, WSDM 2021, section 3.
    """

    name = "t-ce"
    # The set of dropped positives depends on the scores.
    is_gradient = False

    def __init__(
        self, drop_rate: float = 0.2, ramp: int = 30_000, exponent: float = 1.0, of: str = "positives"
    ) -> None:
        self.drop_rate = rate("drop_rate", drop_rate)
        self.ramp = integer("ramp", ramp, 1)
        self.exponent = real("exponent", exponent, 0.0)
        self.of = choice("of", of, ("positives", "batch"))

    def dropped(self, positive: Any, counts: Any, step: int, num_negatives: int) -> Any:
        """Return which positives of a batch are dropped: those of the lowest scores, the earlier first among ties.

        Args:
            positive: scores, [B].
            counts: Positives with any weight, bool [B].
            step: Number of the update.
            num_negatives: Negatives per positive.
        """
        rate = self.drop_rate * min(1.0, step / self.ramp) ** self.exponent
        size = int(counts.sum())
        pairs = size if self.of == "positives" else size * (1 + num_negatives)
        # Such a product as (1 - .8) · 5 is just below its integer.
        number = min(size, pairs - int((1 - rate) * pairs + 1e-9))
        order = np.argsort(np.where(counts, positive, np.inf), kind="stable")
        out = np.zeros(len(positive), bool)
        out[order[:number]] = True
        return out

    def _retained(self, p: Pairs) -> Any:
        if isinstance(p.positive, Tensor):
            positive = p.positive.detach().cpu().numpy()
            counts = np.ones(len(positive), bool) if p.weight is None else (p.weight > 0).any(1).cpu().numpy()
            retained = ~self.dropped(positive, counts, p.step, p.negative.shape[1])
            return torch.as_tensor(retained[:, None], dtype=p.positive.dtype, device=p.positive.device)
        counts = np.ones(len(p.positive), bool) if p.weight is None else (p.weight > 0).any(1)
        return (~self.dropped(p.positive, counts, p.step, p.negative.shape[1]))[:, None].astype(p.positive.dtype)

    def _derivatives(self, p: Pairs) -> Derivatives:
        return Derivatives(wide(self._retained(p) * expit(-beside(p)), p), -expit(p.negative))

    def _losses(self, p: Pairs) -> Any:
        return -self._retained(p) * logsigmoid(beside(p)) - logsigmoid(-p.negative)


class ReweightedCE(Objective):
    r"""R-CE: cross-entropy with constant weights p^a on positives and (1 - p)^a on negatives, which favour good fits.

    Args:
        alpha: A, at least 0; 0 is plain cross-entropy.

    Example:
        >>> slopes = ReweightedCE().derivatives(Pairs(np.array([1.0]), np.array([[0.0, -1.0]])))
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[0.249, 0.249]], [[-0.42, -0.249]])

    Source: Wang et al., Denoising implicit feedback for recommendation, WSDM 2021, section 3.
    """

    name = "r-ce"
    is_gradient = False

    def __init__(self, alpha: float = 0.25) -> None:
        self.alpha = real("alpha", alpha, 0.0)

    def _derivatives(self, p: Pairs) -> Derivatives:
        R, N = beside(p), p.negative
        return Derivatives(wide(expit(R) ** self.alpha * expit(-R), p), -(expit(-N) ** self.alpha) * expit(N))

    def _losses(self, p: Pairs) -> Any:
        R, N = beside(p), p.negative
        weights = torch.sigmoid(R).detach() ** self.alpha, torch.sigmoid(-N).detach() ** self.alpha
        return -weights[0] * logsigmoid(R) - weights[1] * logsigmoid(-N)


class DeCA(Objective):
    r"""DeCA: two models agree on true likes earlier than on noise.

    With f = s(R) the model, g = s(aux) an auxiliary one, h1 = P(r = 1 | r* = 0) and h2 = P(r = 1 | r* = 1),
    both learned factors, the loss is alpha KL(g | f) + (1 - alpha) KL(f | g) - E_f log P(r | r*). The last term has two
    forms:

    - "positives" (DP, negatives are trusted): (1 - f) log h1 of a positive, (1 - f) log(1 - h1) - c1 f of a negative;
    - "negatives" (DN, positives are trusted): f log h2 - c2 (1 - f) of a positive, f log(1 - h2) of a negative.

    Args:
        alpha: Weight of KL(g | f), in [0, 1].
        c1: -log P(r = 0 | r* = 1) if negatives are trusted.
        c2: -log P(r = 1 | r* = 0) if positives are trusted.
        direction: "both" alternates between updates; "positives" or "negatives" uses one form.

    Example:
        >>> zero = np.array([0.0]), np.array([[0.0, 0.0]])
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.0, -1.0]]), {name: zero for name in DeCA().logits})
        >>> slopes = DeCA(c1=2.0, c2=2.0).derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[-0.095, -0.095]], [[-0.327, -0.026]])

    Source: Wang et al., Learning robust recommenders through cross-model agreement, WWW 2022, sections 3 and 4.
    """

    name = "deca"
    logits = ("aux", "h1", "h2")

    def __init__(self, alpha: float = 1.0, c1: float = 1000.0, c2: float = 10.0, direction: str = "both") -> None:
        self.alpha = rate("alpha", alpha)
        self.c1, self.c2 = real("c1", c1, 0.0), real("c2", c2, 0.0)
        self.direction = choice("direction", direction, ("both", "positives", "negatives"))

    def _trusts_negatives(self, step: int) -> bool:
        return self.direction == "positives" or (self.direction == "both" and step % 2 == 0)

    def _agreement(self, R: Any, A: Any) -> tuple[Any, Any]:
        """Return the derivatives of minus the divergences by both logits."""
        f, g, gap = expit(R), expit(A), R - A
        spread_f, spread_g = f * expit(-R), g * expit(-A)
        by_r = self.alpha * (g - f) - (1 - self.alpha) * spread_f * gap
        return by_r, self.alpha * spread_g * gap + (1 - self.alpha) * (f - g)

    def _derivatives(self, p: Pairs) -> Derivatives:
        sides = []
        for R, side in ((beside(p), 0), (p.negative, 1)):
            A, H1, H2 = (p.extra[x][side].reshape(R.shape) for x in self.logits)
            by_r, by_a = self._agreement(R, A)
            f, spread = expit(R), expit(R) * expit(-R)
            zero = np.zeros_like(R)
            if self._trusts_negatives(p.step):
                by_r = by_r - spread * (log_expit(-H1) + self.c1 if side else log_expit(H1))
                by_h = (expit(-R) * (-expit(H1) if side else expit(-H1)), zero)
            else:
                by_r = by_r + spread * (log_expit(-H2) if side else log_expit(H2) + self.c2)
                by_h = (zero, f * (-expit(H2) if side else expit(-H2)))
            sides.append((by_r, by_a, *by_h))
        positive, negative = ([wide(x, p) for x in side] for side in sides)
        extra = {name: (positive[k + 1], negative[k + 1]) for k, name in enumerate(self.logits)}
        return Derivatives(positive[0], negative[0], extra)

    def _losses(self, p: Pairs) -> Any:
        total = torch.zeros_like(p.negative)
        for R, side in ((beside(p), 0), (p.negative, 1)):
            A, H1, H2 = (p.extra[x][side].reshape(R.shape) for x in self.logits)
            f, g, gap = torch.sigmoid(R), torch.sigmoid(A), R - A
            # KL divergence of Bernoulli distributions: g (A - R) + log(1 - g) - log(1 - f)
            kl = self.alpha * (-g * gap + logsigmoid(-A) - logsigmoid(-R))
            kl = kl + (1 - self.alpha) * (f * gap + logsigmoid(-R) - logsigmoid(-A))
            if self._trusts_negatives(p.step):
                gain = (1 - f) * logsigmoid(-H1) - self.c1 * f if side else (1 - f) * logsigmoid(H1)
            else:
                gain = f * logsigmoid(-H2) if side else f * logsigmoid(H2) - self.c2 * (1 - f)
            total = total + kl - gain
        return total
