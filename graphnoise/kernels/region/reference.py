"""Regions of a graph and their messages in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from graphnoise.kernels.beliefs import features
from graphnoise.typing import Floats, Ints

if TYPE_CHECKING:
    from graphnoise.kernels.region import Region


def ends(inside: Ints, rowptr: Ints, to: NDArray[np.int32]) -> tuple[Ints, NDArray[np.int32], Ints]:
    """Return the boundary, and the place and reply of each arc to the node `to`."""
    target = np.minimum(np.searchsorted(inside, to), len(inside) - 1).astype(np.int32)
    within = inside[target] == to
    boundary, place = np.unique(to[~within], return_inverse=True)
    target[~within] = len(inside) + place
    # Arcs between nodes inside, by source and target, and their reverses.
    arcs, source = np.flatnonzero(within), np.repeat(np.arange(len(inside)), np.diff(rowptr))
    reply = np.empty(len(to), dtype=np.int64)
    by_source = arcs[np.lexsort((target[arcs], source[arcs]))]
    reply[by_source] = arcs[np.lexsort((source[arcs], target[arcs]))]
    reply[~within] = len(to) + np.arange(len(place))
    return boundary.astype(np.int64), target, reply


def add_up(region: Region) -> None:
    """Set the sums of the messages to each node inside."""
    came = region.messages[: len(region.target)]
    weighted = came if region.weight is None else region.weight * came
    region.sums[:] = np.bincount(region.source, weighted, minlength=len(region.inside))


def update_region(region: Region, evidence: Floats, w: Floats, mean: float, keep: float) -> float:
    """Update the messages of the nodes inside; return the largest change."""
    source, messages = region.source, region.messages
    weight = np.ones(len(source)) if region.weight is None else region.weight
    # Each message leaves out what came along its arc.
    left = region.sums[source] - weight * messages[: len(source)]
    x = features_of_sums(left, region.total[source] - weight, region.square[source] - weight**2, mean)
    new = keep * messages[region.reply] + (1 - keep) * expit(x @ w + evidence[source])
    change = float(np.abs(new - messages[region.reply]).max(initial=0.0))
    messages[region.reply] = new
    add_up(region)
    return change


def features_of_sums(sums: Floats, total: Floats, square: Floats, mean: float) -> Floats:
    """Return the features of nodes with these sums of messages, of weights and of their squares, shape [n, 4]."""
    some = total > 0
    d = np.where(some, total, 0.0) ** 2 / np.where(some, square, 1.0)
    u = (d / np.where(some, total, 1.0) * np.maximum(sums, 0.0) + mean) / (d + 1)
    return features(logit(np.clip(u, 1e-12, 1 - 1e-12)), d)
