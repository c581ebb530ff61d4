"""Messages of calibrated belief propagation in NumPy, all arcs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphnoise.kernels.beliefs.arcs import Messages
from graphnoise.typing import Floats

if TYPE_CHECKING:
    from graphnoise.kernels.beliefs import Rule


def sum_messages(messages: Messages) -> None:
    """Set the sums of the messages into each node."""
    arcs = messages.arcs
    weight = np.ones(len(arcs.col)) if arcs.weight is None else arcs.weight.astype(np.float64)
    if arcs.heaviest is not None and messages.heavy is not None:
        top, some = arcs.heaviest, arcs.heaviest >= 0
        messages.heavy[some] = weight[top[some], None] * messages.values[top[some]]
        weight[top[some]] = 0.0
    for c in range(messages.values.shape[1]):
        messages.sums[:, c] = np.bincount(arcs.target, weight * messages.values[:, c], minlength=arcs.num_nodes)


def update_messages(messages: Messages, rule: Rule) -> Floats:
    """Apply a rule to all messages; return `joint`."""
    arcs, values, target = messages.arcs, messages.values.astype(np.float64), messages.arcs.target
    total, square, left = arcs.total[target], arcs.square[target], messages.sums[target].astype(np.float64)
    if arcs.weight is None or arcs.heaviest is None or messages.heavy is None:
        total, square, left = total - 1, square - 1, left - values
    else:
        weight, top = arcs.weight.astype(np.float64), arcs.heaviest[target]
        others = np.flatnonzero(top != np.arange(len(top)))
        a, most = weight[others], weight[top[others]]
        total[others] += most - a
        square[others] += most**2 - a**2
        left[others] += messages.heavy[target[others]] - a[:, None] * values[others]
    some = total > 0
    total, square = np.where(some, total, 1.0), np.where(some, square, 1.0)
    d = np.where(some, total**2 / square, 0.0)[:, None]
    g = np.log1p(d)
    u = (d / total[:, None] * np.maximum(left, 0.0) + rule.prior) / (d + 1)
    vote = np.log(np.maximum(u @ rule.affinity, 1e-30)) - rule.baseline
    score = rule.field[target] + (rule.vote + rule.vote_count * g) * vote + rule.slope * g
    new = np.exp(score - score.max(axis=1, keepdims=True, initial=-np.inf))
    new /= new.sum(axis=1, keepdims=True)
    # Node i replies to the arc from j.
    reply = arcs.reverse
    messages.values[reply] = rule.keep * values[reply] + (1 - rule.keep) * new
    sum_messages(messages)
    once = arcs.col > target
    other, own = messages.values[once].astype(np.float64), messages.values[reply[once]].astype(np.float64)
    shares = np.einsum("ec,cd,ed->e", own, rule.coupling, other, optimize=True)
    own[shares > 0] /= shares[shares > 0, None]
    return np.asarray(own[shares > 0].T @ other[shares > 0])
