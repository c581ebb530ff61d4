"""Blend of linear probes: initialisations, epochs, given and semantic labels, and a probe on smoothed features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from graphnoise.erase.inputs import Inputs, Labels
from graphnoise.erase.probe import Probe

# Shares of the probe on smoothed features (SGC), of the probes on given labels and of those on semantic labels in each
# candidate: the first ones follow the given labels, the last ones the propagated labels.
SHARES = (
    *((1.0, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 1.0, 0.0), (0.0, 1.0, 0.0)),
    *((1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
)
# Validation nodes that count in full: the default temperature was tuned for as many.
MAX_VALIDATION = 500
# Weights of the candidates where no validation labels are read.
DEFAULT_WEIGHTS = tuple(float(shares == (1.0, 1.0, 1.0)) for shares in SHARES)


def plain_probe(inputs: Inputs, labels: Labels, C: float) -> Probe:
    """Return the probe on smoothed features with the given labels."""
    return Probe.fitted(inputs.smoothed[labels.train], labels.given, labels.num_classes, C)


def candidate_probabilities(plain: Tensor, given: Tensor, semantic: Tensor) -> Tensor:
    """Return the class probabilities of every candidate, shape [candidates, num_nodes, num_classes]."""
    mixed = torch.stack([a * plain + b * given + c * semantic for a, b, c in SHARES])
    return mixed / mixed.sum(2, keepdim=True)


def weigh(probabilities: Tensor, val_labels: Tensor, blend_temperature: float) -> Tensor:
    """Return the weight of each candidate: exp(blend_temperature · its correct validation nodes), normalised.

    Of more than 500 nodes the share counts, as if there were 500. Choosing the best candidate instead would follow the
    noise of the validation labels: with 500 of them, two candidates of equal quality differ by several nodes.

    Args:
        probabilities: Class probabilities of the validation nodes, shape [candidates, num_val, num_classes].
        val_labels: Their given labels, shape [num_val].
        blend_temperature: Log-weight per node (an inverse temperature).

    Source:
        Littlestone and Warmuth, "The Weighted Majority Algorithm", 1994; the exponential form by Vovk, 1990.
    """
    correct = (probabilities.argmax(2) == val_labels).sum(1)
    share = min(1.0, MAX_VALIDATION / max(val_labels.numel(), 1))
    return (blend_temperature * share * correct.double()).softmax(0).float()


def blend(state: dict[str, Any], inputs: Inputs, embeddings: Iterable[Tensor], num_classes: int) -> Tensor:
    """Return the blended class probabilities, shape [num_nodes, num_classes].

    Args:
        state: Members, plain probes and weights, as training records them.
        inputs: The data set.
        embeddings: The embeddings by the encoder of each member.
        num_classes: Number of classes.
    """
    plains = [Probe.restored(probe, num_classes).predict(inputs.smoothed) for probe in state["plain"]]
    plain = torch.stack(plains).mean(0)
    given, semantic = torch.zeros_like(plain), torch.zeros_like(plain)
    for member, z in zip(state["members"], embeddings, strict=True):
        given += Probe.restored(member["given"], num_classes).predict(z)
        semantic += Probe.restored(member["semantic"], num_classes).predict(z)
    count = len(state["members"])
    weights = state["weights"].to(plain.device).view(-1, 1, 1)
    blended: Tensor = (weights * candidate_probabilities(plain, given / count, semantic / count)).sum(0)
    return blended
