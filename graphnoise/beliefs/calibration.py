"""Calibration of class beliefs by forward correction: weights of votes, degrees and classes from noisy labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from graphnoise.typing import Floats, Ints

# Ridge of b around 0, and of the other parameters around where they start.
OFFSET_RIDGE, RIDGE = 0.1, 10.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Parameters of P(class of i | neighbours) = softmax(log π + a field_i + b + (w₁ + w₂ g_i) l_i + v g_i).

    Attributes:
        offset: b, shape [C].
        vote: w₁.
        vote_count: w₂.
        field: a; 0 without a field.
        slope: v, shape [C].
    """

    offset: Floats
    vote: float
    vote_count: float
    field: float
    slope: Floats

    @classmethod
    def start(cls, classes: int, with_field: bool) -> Calibration:
        """Return b = 0, w₂ = 0, v = 0; w₁ = 1 and a = 0 without a field, and w₁ = 0 and a = 1 with one.

        A field that was computed from the features of neighbours already has most of what their labels say.
        """
        return cls(np.zeros(classes), float(not with_field), 0.0, float(with_field), np.zeros(classes))

    def log_prior(self, log_shares: Floats, field: Floats | None, votes: Floats, g: Floats) -> Floats:
        """Return log P(class | neighbours), shape [n, C].

        Args:
            log_shares: log π, shape [C].
            field: Logarithms of what is known of each node but labels, shape [n, C], or None.
            votes: l, shape [n, C].
            g: Shape [n].
        """
        scores = log_shares + self.offset + (self.vote + self.vote_count * g)[:, None] * votes
        scores += self.slope * g[:, None]
        return np.asarray(log_softmax(scores if field is None else scores + self.field * field, axis=1))


def fit_calibration(
    at: Calibration,
    log_shares: Floats,
    field: Floats | None,
    votes: Floats,
    g: Floats,
    labels: Ints,
    transition: Floats,
    scale: float,
) -> Calibration:
    """Return the parameters of largest posterior given noisy labels, Σ log Σ_c P(c | neighbours) T[c, label].

    Args:
        at: Where to start.
        log_shares: log π, shape [C].
        field: Of labelled nodes, shape [m, C], or None.
        votes: l, shape [m, C].
        g: Shape [m].
        labels: Shape [m].
        transition: T, shape [C, C].
        scale: How many labels each of these stands for.
    """
    classes = votes.shape[1]
    likelihood = np.ascontiguousarray(transition[:, labels].T)
    centre = _pack(Calibration.start(classes, field is not None))
    ridge = np.concatenate([np.full(classes, OFFSET_RIDGE), np.full(classes + 3, RIDGE)]) / scale

    def loss(x: Floats) -> tuple[float, Floats]:
        p = np.exp(_unpack(x).log_prior(log_shares, field, votes, g))
        joint = p * likelihood
        q = np.maximum(joint.sum(axis=1), 1e-300)
        # Gradient by the scores: prior minus posterior.
        pull = p - joint / q[:, None]
        by_vote = (pull * votes).sum(axis=1)
        by_field = 0.0 if field is None else np.vdot(pull, field)
        away = x - centre
        value = -np.log(q).sum() + ridge @ away**2 / 2
        slope = np.concatenate([pull.sum(axis=0), [by_vote.sum(), by_vote @ g, by_field], g @ pull]) + ridge * away
        return float(value / len(g)), slope / len(g)

    # The next step starts where this one ends.
    return _unpack(minimize(loss, _pack(at), jac=True, method="L-BFGS-B", options={"maxiter": 50}).x)


def _pack(at: Calibration) -> Floats:
    return np.concatenate([at.offset, [at.vote, at.vote_count, at.field], at.slope])


def _unpack(x: Floats) -> Calibration:
    classes = (len(x) - 3) // 2
    vote, vote_count, field = x[classes : classes + 3].tolist()
    return Calibration(x[:classes], vote, vote_count, field, x[classes + 3 :])
