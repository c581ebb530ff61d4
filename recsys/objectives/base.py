"""The contract of objectives: from scores of a positive and its negatives to derivatives, and to a loss in torch.

An objective is a sum over draws (b, t), a positive (u, i) = b beside its t-th negative j; it is to be made large. What
is said of a positive alone is counted once for each of its negatives, so that all objectives weigh both sides alike.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.checks import fail

Floats = NDArray[Any]
# Of the positive [B], of the negatives [B, k].
Sides = tuple[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Scores of a batch: arrays for `derivatives`, tensors for the loss.

    Attributes:
        positive: R_ui, [B].
        negative: R_uj, [B, k].
        extra: Further logits by name, as (of the positive [B], of the negatives [B, k]).
        users: u, int [B], where an objective asks for them.
        items: i, int [B].
        negatives: j, int [B, k].
        weight: Weight of each draw [B, k], 0 for one that does not count; None for ones.
        known: Which negatives are known positives, bool [B, k]; None for none.
        step: Number of the update, from 0.
    """

    positive: Any
    negative: Any
    extra: Mapping[str, Sides] = field(default_factory=dict)
    users: Any = None
    items: Any = None
    negatives: Any = None
    weight: Any = None
    known: Any = None
    step: int = 0


@dataclass(frozen=True)
class Derivatives:
    """Derivatives of the objective, [B, k] each: the sum over k is the positive's own."""

    positive: Floats
    negative: Floats
    extra: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)


class Objective(ABC):
    """What is made large, given by its derivatives and by a loss in torch that has the same gradient.

    Attributes:
        name: Of the objective, in `recsys.objectives.objective(name)`.
        logits: Names of the logits that it needs beside the score; a model learns factors for each.
        sampler: The sampler that belongs to it, or None for any.
        is_gradient: Whether the derivatives are the gradient of one function. Where they are not, the torch form
            holds parts constant, and no finite difference of it gives them.
    """

    name = "objective"
    logits: tuple[str, ...] = ()
    sampler: str | None = None
    is_gradient = True
    # Whether `_losses` sees to weights itself.
    _rows = False

    def fit(self, matrix: Any, distribution: NDArray[np.float64] | None) -> Self:
        """Set what depends on the known pairs (CSR) and on the distribution of the negatives (None: unknown)."""
        return self

    def derivatives(self, pairs: Pairs) -> Derivatives:
        """Return the derivatives of the objective by each score and each further logit, [B, k].

        Raises:
            InputError: Shapes that do not fit, or a logit or an index that the objective needs is missing.
        """
        self._check(pairs)
        found = self._derivatives(pairs)
        if pairs.weight is None or self._rows:
            return found
        w = pairs.weight.astype(found.positive.dtype, copy=False)
        extra = {name: (w * a, w * b) for name, (a, b) in found.extra.items()}
        return Derivatives(w * found.positive, w * found.negative, extra)

    def loss(self, positive: Tensor, negative: Tensor, **context: Any) -> Tensor:
        """Return minus the objective, summed over the batch, as a scalar tensor.

        Args:
            positive: R_ui, [B].
            negative: R_uj, [B, k].
            context: Other fields of `Pairs`, as tensors.

        Raises:
            InputError: Shapes that do not fit, or a missing logit or index.
        """
        pairs = Pairs(positive, negative, **context)
        self._check(pairs)
        losses = self._losses(pairs)
        if pairs.weight is not None and not self._rows:
            losses = losses * pairs.weight
        total: Tensor = losses.sum()
        return total

    @abstractmethod
    def _derivatives(self, p: Pairs) -> Derivatives: ...

    @abstractmethod
    def _losses(self, p: Pairs) -> Any: ...

    _needs: tuple[str, ...] = ()

    def _check(self, pairs: Pairs) -> None:
        shape, wide = (tuple(getattr(side, "shape", ())) for side in (pairs.positive, pairs.negative))
        if len(shape) != 1 or len(wide) != 2 or shape[0] != wide[0]:
            fail("negative", f"shape [{shape[0] if shape else 'B'}, k]", f"{wide} beside {shape}")
        for name in self.logits:
            if name not in pairs.extra:
                fail("extra", f"logits {name!r}, which {self.name!r} needs", sorted(pairs.extra) or "none")
            found = tuple(tuple(side.shape) for side in pairs.extra[name])
            if found != (shape, wide):
                fail("extra", f"logits {name!r} of shapes {shape} and {wide}", found)
        for name in self._needs:
            if getattr(pairs, name) is None:
                fail(name, f"indices, which {self.name!r} needs", None)

    def parameters(self) -> dict[str, Any]:
        """Return name and arguments in JSON's types: what `from_parameters` takes."""
        found: dict[str, Any] = {"name": self.name}
        for key in inspect.signature(type(self)).parameters:
            value = getattr(self, key)
            found[key] = value.tolist() if isinstance(value, np.ndarray) else value
        return found

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.parameters().items() if k != "name")
        return f"{type(self).__name__}({given})"


def beside(p: Pairs) -> Any:
    """Return R_ui as [B, 1], to stand beside the negatives."""
    return p.positive[:, None]


def wide(value: Any, p: Pairs) -> Any:
    """Return a copy of [B, 1] for each negative, [B, k]."""
    return np.broadcast_to(value, p.negative.shape)
