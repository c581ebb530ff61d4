"""Mixture of two normal distributions, of losses or of other scores that wrong labels raise."""

from __future__ import annotations

import numpy as np
from sklearn.mixture import GaussianMixture

from graphnoise.resources import limit_threads
from graphnoise.typing import Floats


def lower_component(values: Floats) -> Floats:
    """Return P(component of lower mean | value) under two normal distributions of one variance; 0.5 if all are equal.

    Example:
        >>> lower_component(np.array([0.0, 0.1, 5.0, 5.2])).round(3)
        array([1., 1., 0., 0.])
    """
    # In order, so that the result does not depend on that of the nodes.
    ordered = np.sort(values)
    if ordered[-1] - ordered[0] <= 1e-12 * max(abs(ordered[0]), abs(ordered[-1])):
        return np.full(len(values), 0.5)
    # The squares of tiny values are 0.
    scale = ordered.std() or ordered[-1] - ordered[0]
    with limit_threads(1):
        model = GaussianMixture(2, covariance_type="tied", max_iter=1000, random_state=0)
        model.fit(((ordered - ordered.mean()) / scale)[:, None])
        responsibilities = model.predict_proba(((values - ordered.mean()) / scale)[:, None])
    lower: Floats = responsibilities[:, model.means_[:, 0].argmin()]
    return lower
