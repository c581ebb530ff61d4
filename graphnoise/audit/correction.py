"""Labels and weights for training, from an audit: wrong labels dropped, weighted down, softened or replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.audit.explain import suggestions, suspected
from graphnoise.audit.posterior import LabelPosterior

if TYPE_CHECKING:
    from graphnoise.audit.audit import Audit

WAYS = ("drop", "reweight", "soften", "replace")


def correct(
    audit: Audit | LabelPosterior, how: str = "drop", *, fdr: float = 0.1, min_probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Return targets and weights of all nodes for training.

    Args:
        audit: An audit, of which decisions count, or a posterior.
        how: "drop": given labels without the suspects; "reweight": given labels, weighted by the probability that they
            are right; "soften": probabilities of the true class as targets; "replace": as "drop", but suspects get the
            suggested class where its probability is at least `min_probability`. Decided nodes have the decided class.
        fdr: Expected share of right labels among the suspects.
        min_probability: Smallest probability of a class that replaces a given one.

    Returns:
        Targets: positions of classes, -1 for none, int64, shape [n]; with "soften" distributions, float64,
        shape [n, C].
        Weights, from 0 (not for training: no label, or dropped) to 1, float64, shape [n].

    Raises:
        InputError: An unknown way, or a number outside of [0, 1].

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, seed=0)
        >>> noisy = gn.noise.symmetric(2, 0.2).corrupt(data.y, seed=0).y
        >>> audit = gn.Audit(data, noisy)
        >>> y, weights = correct(audit, "replace")
        >>> (noisy != data.y).sum().item(), (y != data.y).sum().item()
        (32, 3)
    """
    how = checks.choice("how", how, WAYS)
    fdr, min_probability = checks.rate("fdr", fdr), checks.rate("min_probability", min_probability)
    posterior = audit if isinstance(audit, LabelPosterior) else getattr(audit, "posterior", None)
    if not isinstance(posterior, LabelPosterior):
        checks.fail("audit", "a gn.Audit or a LabelPosterior", type(audit).__name__)
    decided = np.full(len(posterior.given), -1) if isinstance(audit, LabelPosterior) else audit.decided
    known = decided >= 0
    y = np.where(known, decided, posterior.given)
    weights = (y >= 0).astype(np.float64)
    if how == "soften":
        return torch.from_numpy(posterior.probability.copy()), torch.from_numpy(weights)
    nodes = posterior.labelled[~known[posterior.labelled]]
    credibility = posterior.probability[nodes, posterior.given[nodes]]
    if how == "reweight":
        weights[nodes] = credibility
        return torch.from_numpy(y), torch.from_numpy(weights)
    order = np.argsort(credibility, kind="stable")
    suspects = nodes[order[: suspected(credibility[order], fdr)]]
    y[suspects] = -1
    if how == "replace":
        best, chances = suggestions(posterior, suspects)
        y[suspects] = np.where(chances >= min_probability, best, -1)
    weights[suspects] = y[suspects] >= 0
    return torch.from_numpy(y), torch.from_numpy(weights)
