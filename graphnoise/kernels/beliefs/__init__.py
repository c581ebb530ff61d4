"""Messages of calibrated belief propagation along the arcs of an undirected graph, in one pass per step.

With a_e the weight of arc e (1 without weights), the message i → j is a distribution over classes,

    W = Σ_e a_e,   d = W² / Σ_e a_e²,   u = (d / W Σ_e a_e m_e + prior) / (d + 1)       (arcs e into i, not from j)
    new ∝ exp(field_i + (vote + vote_count g) (log(u affinity) - baseline) + slope g),   g = log(1 + d)
    m_{i→j} ← keep m_{i→j} + (1 - keep) new

and `joint` is the sum over edges i < j of m_{i→j} m_{j→i}ᵀ / (m_{i→j}ᵀ coupling m_{j→i}), of the new messages.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.kernels import _native
from graphnoise.kernels.beliefs import reference
from graphnoise.kernels.beliefs.arcs import Arcs, Messages, arcs_of, readable_zeros
from graphnoise.kernels.dispatch import select
from graphnoise.kernels.local import TIERS
from graphnoise.resources import native_threads
from graphnoise.typing import Floats

__all__ = ["Arcs", "Messages", "Rule", "arcs_of", "features", "send", "update_messages"]
# Parts of the sum `joint`, whatever the number of threads, and numbers that they have together.
CHUNKS, MAX_NUMBERS = 256, 2**22


@dataclass(frozen=True, eq=False)
class Rule:
    """How messages are updated, in the formulas of this module; arrays are stored in float32.

    Attributes:
        field: Logarithms of what a node knows without its neighbours, its own label included, shape [n, C].
        prior: A distribution over classes, shape [C].
        affinity: Shape [C, C].
        baseline: Shape [C].
        slope: Shape [C].
        coupling: Shape [C, C].
        vote: Exponent of votes.
        vote_count: What it gains with g.
        keep: Part of a message that stays, from 0 to 1.
    """

    field: NDArray[Any]
    prior: NDArray[Any]
    affinity: NDArray[Any]
    baseline: NDArray[Any]
    slope: NDArray[Any]
    coupling: NDArray[Any]
    vote: float
    vote_count: float
    keep: float

    def __post_init__(self) -> None:
        for field in fields(self)[:6]:
            array = readable_zeros(np.shape(getattr(self, field.name)))
            array[...] = getattr(self, field.name)
            object.__setattr__(self, field.name, array)


def features(vote: Floats, d: Floats) -> Floats:
    """Return 1, l, l g and g of nodes with a vote l, shape [n, 4], for two classes."""
    g = np.log1p(d)
    return np.column_stack([np.ones(len(vote)), vote, vote * g, g])


def send(arcs: Arcs, beliefs: Floats, backend: str | None = None) -> Messages:
    """Return messages that are the beliefs of their sources.

    Args:
        arcs: The arcs.
        beliefs: A distribution over classes per node, shape [n, C].
        backend: "native", "reference", or None for the first.
    """
    # Faster than indexing of rows.
    values = np.take(np.asarray(beliefs, dtype=np.float32), arcs.col, axis=0)
    shape = arcs.num_nodes, beliefs.shape[1]
    heavy = None if arcs.weight is None else readable_zeros(shape)
    messages = Messages(arcs, values, readable_zeros(shape), heavy)
    if select(backend, TIERS) == "reference":
        reference.sum_messages(messages)
    else:
        _native.sum_messages(native_threads(), _arguments(messages))
    return messages


def update_messages(messages: Messages, rule: Rule, backend: str | None = None) -> Floats:
    """Apply a rule to all messages, in place; return `joint`, float64, shape [C, C].

    Arguments are known to be valid. The result has the same bits at any number of threads.
    """
    if select(backend, TIERS) == "reference":
        return reference.update_messages(messages, rule)
    arguments = _arguments(messages)
    for field in fields(rule):
        value = getattr(rule, field.name)
        setattr(arguments, field.name, value if isinstance(value, float) else value.ctypes.data)
    classes = messages.values.shape[1]
    joint = np.empty((arguments.chunks, classes, classes))
    arguments.joint = joint.ctypes.data
    _native.update_messages(_native.instruction_set(), native_threads(), arguments)
    return np.asarray(joint.sum(axis=0))


def _arguments(messages: Messages) -> _native.BeliefArguments:
    arcs, arguments = messages.arcs, _native.BeliefArguments()
    arguments.nodes, arguments.classes = messages.sums.shape
    arguments.chunks = max(1, min(CHUNKS, MAX_NUMBERS // arguments.classes**2))
    for name in ("rowptr", "reverse", "heaviest", "col", "weight", "total", "square"):
        array = getattr(arcs, name)
        setattr(arguments, name, 0 if array is None else array.ctypes.data)
    arguments.messages, arguments.sums = messages.values.ctypes.data, messages.sums.ctypes.data
    arguments.heavy = 0 if messages.heavy is None else messages.heavy.ctypes.data
    return arguments
