"""Objectives without a noise model: BPR, weighted BPR, BPR with known dislikes, BPO (cross-entropy), WARP."""

from __future__ import annotations

from typing import Any

import torch
from scipy.special import expit
from torch.nn.functional import logsigmoid, softplus

from graphnoise.checks import real
from recsys.objectives.base import Derivatives, Objective, Pairs, as_scores, beside, wide


class BPR(Objective):
    r"""Bayesian personalised ranking: log s(R_ui - R_uj), with s(x) = 1 / (1 + e^-x).

    Derivatives: s(-(R_ui - R_uj)) by R_ui, and minus that by R_uj.

    Example:
        >>> import numpy as np
        >>> BPR().derivatives(Pairs(np.array([0.0]), np.array([[0.0, 0.0]]))).positive.tolist()
        [[0.5, 0.5]]

    Source: Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009, section 4.
    """

    name = "bpr"

    def _derivatives(self, p: Pairs) -> Derivatives:
        slope = expit(p.negative - beside(p))
        return Derivatives(slope, -slope)

    def _losses(self, p: Pairs) -> Any:
        return softplus(p.negative - beside(p))


class WBPR(BPR):
    r"""BPR with negatives by popularity, which were probably seen and rejected.

    Source: Gantner et al., Personalized ranking for non-uniformly sampled items, KDD Cup 2011.
    """

    name = "wbpr"
    sampler = "popularity"


class DislikeBPR(BPR):
    r"""BPR in which a like beside a known dislike counts more than a like beside an unobserved item.

    w log s(R_ui - R_uj), with w = `dislike_weight` where u is known to dislike j and 1 elsewhere. Uniform negatives are
    rarely dislikes: the sampler `Uniform(dislike_share=)` draws more of them.

    Args:
        dislike_weight: w, at least 0; 0 ignores the pairs with known dislikes, and 1 is BPR.

    Example:
        >>> import numpy as np
        >>> pairs = Pairs(np.array([0.0]), np.array([[0.0, 0.0]]), disliked=np.array([[False, True]]))
        >>> DislikeBPR(3.0).derivatives(pairs).negative.tolist()
        [[-0.5, -1.5]]

    Source: in the spirit of Loni et al., Bayesian personalized ranking with multi-channel user feedback, RecSys 2016,
    whose levels of feedback are drawn unequally often; the weight is this package's.
    """

    name = "bpr-dislikes"
    uses_dislikes = True

    def __init__(self, dislike_weight: float = 5.0) -> None:
        self.dislike_weight = real("dislike_weight", dislike_weight, 0.0)

    def _weights(self, p: Pairs) -> Any:
        return 1 + (self.dislike_weight - 1) * as_scores(p.disliked, p)

    def _derivatives(self, p: Pairs) -> Derivatives:
        slope = self._weights(p) * expit(p.negative - beside(p))
        return Derivatives(slope, -slope)

    def _losses(self, p: Pairs) -> Any:
        return self._weights(p) * super()._losses(p)


class BPO(Objective):
    r"""Binary cross-entropy: log s(R_ui) + log s(-R_uj).

    Derivatives: s(-R_ui) by R_ui, -s(R_uj) by R_uj. It is NBPO with a flip rate of 0.

    Example:
        >>> import numpy as np
        >>> BPO().derivatives(Pairs(np.array([0.0]), np.array([[0.0]]))).negative.tolist()
        [[-0.5]]

    Source: Yu and Qin, Sampler design for implicit feedback data by noisy-label robust learning, SIGIR 2020.
    """

    name = "bpo"

    def _derivatives(self, p: Pairs) -> Derivatives:
        return Derivatives(wide(expit(-beside(p)), p), -expit(p.negative))

    def _losses(self, p: Pairs) -> Any:
        return -logsigmoid(beside(p)) - logsigmoid(-p.negative)


class Hinge(Objective):
    r"""WARP: -max(0, 1 - (R_ui - R_uj)), each draw weighted by its sampler.

    Derivatives: the weight where R_uj > R_ui - 1, else 0. The sampler "warp" searches such a negative and sets the
    weight log(max(1, floor((N - 1) / tries))), at most 10: few tries indicate a low rank of the positive.

    Example:
        >>> import numpy as np
        >>> pairs = Pairs(np.array([1.0]), np.array([[0.5, -1.0]]))
        >>> slopes = Hinge().derivatives(pairs)
        >>> slopes.positive.round(3).tolist(), slopes.negative.round(3).tolist()
        ([[1.0, 0.0]], [[-1.0, -0.0]])

    Source: Weston, Bengio and Usunier, WSABIE: scaling up to large vocabulary image annotation, IJCAI 2011.
    """

    name = "warp"
    sampler = "warp"

    def _derivatives(self, p: Pairs) -> Derivatives:
        slope = (p.negative > beside(p) - 1).astype(p.negative.dtype)
        return Derivatives(slope, -slope)

    def _losses(self, p: Pairs) -> Any:
        return torch.relu(1 - (beside(p) - p.negative))
