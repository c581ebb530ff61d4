"""Calibration of class beliefs by forward correction: weights of votes, degrees and classes from noisy labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from graphnoise.typing import Floats, Ints

# Ridge of b around 0, and of w₁, w₂, v around 1, 0, 0.
OFFSET_RIDGE, RIDGE = 0.1, 10.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Parameters of P(class of i | neighbours) = softmax(field_i + b + (w₁ + w₂ g_i) l_i + v g_i).

    Attributes:
        offset: b, shape [C].
        vote: w₁.
        vote_count: w₂.
        slope: v, shape [C].
    """

    offset: Floats
    vote: float
    vote_count: float
    slope: Floats

    @classmethod
    def start(cls, classes: int) -> Calibration:
        """Return b = 0, w₁ = 1, w₂ = 0, v = 0: votes count as they are."""
        return cls(np.zeros(classes), 1.0, 0.0, np.zeros(classes))

    def log_prior(self, field: Floats, votes: Floats, g: Floats) -> Floats:
        """Return log P(class | neighbours), shape [n, C].

        Args:
            field: Logarithms of what is known of each node but labels, [n, C] or [C].
            votes: l, shape [n, C].
            g: Shape [n].
        """
        scores = field + self.offset + (self.vote + self.vote_count * g)[:, None] * votes + self.slope * g[:, None]
        return np.asarray(log_softmax(scores, axis=1))


def calibrate(
    at: Calibration, field: Floats, votes: Floats, g: Floats, labels: Ints, transition: Floats, scale: float
) -> Calibration:
    """Return the parameters of largest posterior given noisy labels, Σ log Σ_c P(c | neighbours) T[c, label].

    Args:
        at: Where to start.
        field: Of labelled nodes, [m, C] or [C].
        votes: l, shape [m, C].
        g: Shape [m].
        labels: Shape [m].
        transition: T, shape [C, C].
        scale: How many labels each of these stands for.
    """
    classes = votes.shape[1]
    likelihood = np.ascontiguousarray(transition[:, labels].T)
    start = np.concatenate([np.zeros(classes), [1.0, 0.0], np.zeros(classes)])
    ridge = np.concatenate([np.full(classes, OFFSET_RIDGE), np.full(classes + 2, RIDGE)]) / scale

    def loss(x: Floats) -> tuple[float, Floats]:
        p = np.exp(_unpack(x).log_prior(field, votes, g))
        joint = p * likelihood
        q = np.maximum(joint.sum(axis=1), 1e-300)
        # Gradient by the scores: prior minus posterior.
        pull = p - joint / q[:, None]
        by_vote = (pull * votes).sum(axis=1)
        away = x - start
        value = -np.log(q).sum() + ridge @ away**2 / 2
        slope = np.concatenate([pull.sum(axis=0), [by_vote.sum(), by_vote @ g], g @ pull]) + ridge * away
        return float(value / len(g)), slope / len(g)

    packed = np.concatenate([at.offset, [at.vote, at.vote_count], at.slope])
    # The next step starts where this one ends.
    return _unpack(minimize(loss, packed, jac=True, method="L-BFGS-B", options={"maxiter": 50}).x)


def _unpack(x: Floats) -> Calibration:
    classes = len(x) // 2 - 1
    return Calibration(x[:classes], float(x[classes]), float(x[classes + 1]), x[classes + 2 :])
