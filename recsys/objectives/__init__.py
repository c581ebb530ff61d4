"""Objectives with one interface: derivatives by the scores in NumPy (`derivatives`), and the loss in torch (`loss`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphnoise.checks import choice, fail
from recsys.objectives.base import Derivatives, Objective, Pairs
from recsys.objectives.denoise import DeCA, ReweightedCE, TruncatedCE
from recsys.objectives.nbpo import NBPO, NBPOEM, NBPOo, NBPOs
from recsys.objectives.pairwise import BPO, BPR, WBPR, DislikeBPR, Hinge
from recsys.objectives.softmax import SampledSoftmax, SymmetricSoftmax
from recsys.objectives.unbiased import Backward, DoublyRobust, Forward, NonNegativePU, RelevanceMF, UnbiasedBPR

_CLASSES: tuple[type[Objective], ...] = (
    BPR, WBPR, DislikeBPR, BPO, Hinge, NBPO, NBPOo, NBPOs, NBPOEM, TruncatedCE, ReweightedCE, DeCA,
    RelevanceMF, UnbiasedBPR, DoublyRobust, NonNegativePU, Forward, Backward, SampledSoftmax, SymmetricSoftmax,
)  # fmt: skip
OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in _CLASSES}


def objective(value: Objective | str | Mapping[str, Any]) -> Objective:
    """Return an objective: the object itself, or one made from its name or from the result of `parameters`.

    Raises:
        InputError: An unknown name, or arguments that do not fit.

    Example:
        >>> objective("nbpo"), objective({"name": "r-ce", "alpha": 0.5})
        (NBPO(flip_rate=None, by='item'), ReweightedCE(alpha=0.5))
    """
    if isinstance(value, Objective):
        return value
    arguments: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = arguments.pop("name", None)
    if isinstance(name, str):
        name = name.replace("_", "-")
    kind = OBJECTIVES[choice("objective", name, OBJECTIVES)]
    try:
        return kind(**arguments)
    except TypeError as error:
        fail("objective", f"arguments of {kind.__name__}", str(error))


__all__ = [
    "BPO",
    "BPR",
    "NBPO",
    "NBPOEM",
    "OBJECTIVES",
    "WBPR",
    "Backward",
    "DeCA",
    "Derivatives",
    "DislikeBPR",
    "DoublyRobust",
    "Forward",
    "Hinge",
    "NBPOo",
    "NBPOs",
    "NonNegativePU",
    "Objective",
    "Pairs",
    "RelevanceMF",
    "ReweightedCE",
    "SampledSoftmax",
    "SymmetricSoftmax",
    "TruncatedCE",
    "UnbiasedBPR",
    "objective",
]
