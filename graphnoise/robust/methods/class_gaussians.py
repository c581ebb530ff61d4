"""Gaussians of classes in a space of embeddings, estimated from labels of which some are wrong, and draws of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Share of a class that counts, rounds of trimming, members of a large class, and large classes that help a small one.
SHARE, ROUNDS, LARGE, HELPERS = 0.6, 3, 20, 3


def trimmed(rows: Tensor) -> Tensor:
    """Return the 60 % of the rows that are nearest to the coordinate median of those kept, after three rounds.

    Wrong labels lie in clumps, near the centres of other classes, so that rules by density keep them.

    Example:
        >>> rows = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1]])
        >>> trimmed(rows)[:, 0]
        tensor([0.1000, 0.0000, 0.2000])
    """
    kept = rows
    for _ in range(ROUNDS):
        distances = (rows - kept.quantile(0.5, 0)).norm(dim=1)
        kept = rows[distances.argsort(stable=True)[: max(1, math.ceil(SHARE * len(rows)))]]
    return kept


def class_gaussians(z: Tensor, given: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    r"""Return means, shape [C, d], and covariances, shape [C, d, d], of the classes; zeros and ones for absent ones.

    Those of a class are of its trimmed rows; of the covariance a tenth is the identity times its mean variance. A class
    of fewer than 20 rows takes from H, the three large classes of the nearest means,

        mean' = (mean + sum_{h in H} mean_h) / (|H| + 1),    cov' = mean_{h in H} cov_h + 0.1 I

    and, where no class is large, its own mean and the covariance of all rows about their means, plus 0.1 I.

    Args:
        z: Embeddings, shape [n, d].
        given: Given labels, int64, shape [n].
        num_classes: Number of classes C.

    Example:
        >>> z = torch.tensor([[0.0, 1.0], [1.0, 0.0], [5.0, 5.0]])
        >>> class_gaussians(z, torch.tensor([0, 0, 1]), 2)[0]
        tensor([[0.5000, 0.5000],
                [5.0000, 5.0000]])

    Source:
        In the spirit of Zhang et al., ICCV 2023 (RCAL), whose text was not available.
    """
    d, counts = z.shape[1], torch.bincount(given, minlength=num_classes)
    means, covariances = z.new_zeros(num_classes, d), torch.eye(d).to(z).repeat(num_classes, 1, 1)
    centred = []
    for c in counts.nonzero().view(-1).tolist():
        kept = trimmed(z[given == c])
        means[c] = kept.mean(0)
        centred.append(kept - means[c])
        covariances[c] = _shrunk(centred[-1])
    large = (counts >= LARGE).nonzero().view(-1)
    pooled, own = _shrunk(torch.cat(centred)), means.clone()
    for c in ((counts > 0) & (counts < LARGE)).nonzero().view(-1).tolist():
        helpers = large[(own[large] - own[c]).norm(dim=1).argsort(stable=True)[:HELPERS]]
        means[c] = torch.cat([own[c : c + 1], own[helpers]]).mean(0)
        covariance = covariances[helpers].mean(0) if len(helpers) else pooled
        covariances[c] = covariance + 0.1 * torch.eye(d).to(z)
    return means, covariances


def sampled_embeddings(means: Tensor, covariances: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a row of the Gaussian of each label, shape [len(labels), d]."""
    noise = torch.randn(len(labels), means.shape[1], generator=generator, device=means.device)
    out = means[labels]
    for c in torch.unique(labels).tolist():
        chosen = labels == c
        out[chosen] += noise[chosen] @ torch.linalg.cholesky(covariances[c]).t()
    return out


def _shrunk(centred: Tensor) -> Tensor:
    """Return nine tenths of the covariance and a tenth of the identity times its mean variance, positive definite."""
    covariance = centred.t() @ centred / len(centred)
    d = len(covariance)
    return 0.9 * covariance + (0.1 * covariance.trace() / d + 1e-6) * torch.eye(d).to(covariance)
