"""Choice of the flipped nodes from weights per node, calibrated to a requested overall rate."""

from __future__ import annotations

import numpy as np

from graphnoise.noise.noisy_labels import Floats, Ints, round_half_up


def calibrate(weights: Floats, rate: float) -> Floats:
    """Return p_i = min(1, s w_i) with s such that mean(p) = rate; all weights [n] are above 0.

    The k heaviest entries are clipped to 1; s = (rate n - k) / (sum of the other weights), for the least k
    that clips nothing more.
    """
    size = weights.size
    if size == 0 or rate in (0.0, 1.0):
        return np.full(size, rate)
    ordered = -np.sort(-weights)
    # rest[k] = sum of all but the k heaviest
    rest = ordered[::-1].cumsum()[::-1]
    scales = (rate * size - np.arange(size)) / rest
    clipped = int(np.argmax(scales * ordered <= 1))
    probability: Floats = np.minimum(1.0, scales[clipped] * weights)
    return probability


def sample_flips(weights: Floats, rate: float, exact: bool, rng: np.random.Generator) -> Ints:
    """Return the ascending positions of flips, in proportion to their weights.

    Independent: position i flips with probability `calibrate(weights, rate)[i]`. Exact: round_half_up(rate n)
    positions, drawn sequentially without replacement in proportion to their weights (by exponential races).
    """
    keys = rng.random(weights.size)
    if exact:
        races = -np.log1p(-keys) / weights
        return np.sort(np.argsort(races)[: round_half_up(rate * weights.size)])
    return (keys < calibrate(weights, rate)).nonzero()[0]
