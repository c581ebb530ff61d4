"""Probes of several epochs, blended with each other and with a probe of the smoothed features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from graphnoise.erase.inputs import Inputs, Labels
from graphnoise.erase.probe import Probe

# How much each candidate takes of the plain probe on smoothed features (what SGC is), of the probes on given labels and
# of those on semantic labels: from trust in the given labels to trust in the propagated ones.
SHARES = ((1.0, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0))
MOST_WATCHED = 500  # nodes that blend_temperature was tuned for: more of them do not weigh more
UNWATCHED = (0.0, 0.0, 1.0, 0.0, 0.0)  # the weights where no validation labels are read


def plain_probe(inputs: Inputs, labels: Labels, C: float) -> Probe:
    """Return the probe on smoothed features with the given labels."""
    return Probe(inputs.smoothed[labels.train], labels.given, labels.num_classes, C)


def candidates(plain: Tensor, given: Tensor, semantic: Tensor) -> Tensor:
    """Return the class probabilities of every candidate, shape [candidates, num_nodes, num_classes]."""
    mixed = torch.stack([a * plain + b * given + c * semantic for a, b, c in SHARES])
    return mixed / mixed.sum(2, keepdim=True)


def weigh(found: Tensor, val_labels: Tensor, blend_temperature: float) -> Tensor:
    """Return each candidate's weight: exp(blend_temperature · validation nodes predicted as labelled), normalised.

    Of more than 500 nodes the share counts, as if they were 500.

    Choosing the best one instead would follow the noise of the validation labels: with 500 of them two candidates
    that are equally good differ by several nodes.

    Args:
        found: Class probabilities of the validation nodes, shape [candidates, num_val, num_classes].
        val_labels: Their given labels, shape [num_val].
        blend_temperature: Log-weight of a node.

    Source:
        Littlestone and Warmuth, "The Weighted Majority Algorithm", 1994; the exponential form by Vovk, 1990.
    """
    right = (found.argmax(2) == val_labels).sum(1)
    share = min(1.0, MOST_WATCHED / max(val_labels.numel(), 1))
    return (blend_temperature * share * right.double()).softmax(0).float()


def probabilities(kept: dict[str, Any], inputs: Inputs, embeddings: Iterable[Tensor], num_classes: int) -> Tensor:
    """Return the blended class probabilities, shape [num_nodes, num_classes].

    Args:
        kept: Members, plain probe and weights, as training keeps them.
        inputs: The data set.
        embeddings: The embeddings by each member's encoder.
        num_classes: Number of classes.
    """
    plain = Probe.restored(kept["plain"], num_classes)(inputs.smoothed)
    given, semantic = torch.zeros_like(plain), torch.zeros_like(plain)
    for member, z in zip(kept["members"], embeddings, strict=True):
        given += Probe.restored(member["given"], num_classes)(z)
        semantic += Probe.restored(member["semantic"], num_classes)(z)
    count = len(kept["members"])
    weights = kept["weights"].to(plain.device).view(-1, 1, 1)
    out: Tensor = (weights * candidates(plain, given / count, semantic / count)).sum(0)
    return out
