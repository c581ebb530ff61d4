"""Interface of objectives: derivatives by the scores of positives and negatives in NumPy, and a loss in torch.

An objective is a sum over draws (b, t) of a positive b = (u, i) and its t-th negative j, to be maximised. Terms of the
positive alone count once per negative, so that all objectives weigh both sides equally.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.checks import fail
from recsys.kernels.negatives import Known

Floats = NDArray[Any]
# Values of the positives [B] and of the negatives [B, k].
Sides = tuple[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """Scores of a batch: arrays in `derivatives`, tensors in `loss`.

    Attributes:
        positive: R_ui, [B].
        negative: R_uj, [B, k].
        extra: Further logits by name: (positives [B], negatives [B, k]).
        users: u, int [B], if the objective needs them.
        items: i, int [B].
        negatives: j, int [B, k].
        weight: Weight per draw [B, k], 0 to ignore one; None for ones.
        known: Which negatives are known positives, bool [B, k]; None for none.
        disliked: Which negatives are known dislikes of the user, bool [B, k]; None for none.
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
    disliked: Any = None
    step: int = 0


@dataclass(frozen=True)
class Derivatives:
    """Derivatives of the objective, [B, k] each; those of a positive are summed over k."""

    positive: Floats
    negative: Floats
    extra: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)


class Objective(ABC):
    """A function to maximise, given by its derivatives and by a loss in torch with the same gradient.

    Attributes:
        name: Name in `recsys.objectives.objective(name)`.
        logits: Names of further logits beside the score; a model learns factors for each.
        sampler: Name of the default sampler, or None.
        is_gradient: Whether the derivatives are the gradient of one function. If not, the torch form treats parts as
            constants, and finite differences do not reproduce them.
        uses_dislikes: Whether it needs the dislikes of `Interactions`.
        dislikes: These, set before `fit` if it does; None for none.
    """

    name = "objective"
    logits: tuple[str, ...] = ()
    sampler: str | None = None
    is_gradient = True
    uses_dislikes = False
    dislikes: Known | None = None
    # Whether `_losses` applies the weights.
    _rows = False

    def fit(self, matrix: sp.csr_array, distribution: NDArray[np.float64] | None) -> Self:
        """Compute what depends on the known pairs (CSR) and on the distribution of negatives (None: unknown)."""
        return self

    def derivatives(self, pairs: Pairs) -> Derivatives:
        """Return the derivatives of the objective by each score and each further logit, [B, k].

        Raises:
            InputError: Shapes that do not fit, or a logit or an index that the objective needs is missing.
        """
        self._check(pairs)
        slopes = self._derivatives(pairs)
        if pairs.weight is None or self._rows:
            return slopes
        w = pairs.weight.astype(slopes.positive.dtype, copy=False)
        extra = {name: (w * a, w * b) for name, (a, b) in slopes.extra.items()}
        return Derivatives(w * slopes.positive, w * slopes.negative, extra)

    def loss(self, positive: Tensor, negative: Tensor, **context: Any) -> Tensor:
        """Return minus the objective, summed over the batch, as a scalar tensor.

        Args:
            positive: R_ui, [B].
            negative: R_uj, [B, k].
            context: Further fields of `Pairs`, as tensors.

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
        positive, negative = (tuple(getattr(side, "shape", ())) for side in (pairs.positive, pairs.negative))
        if len(positive) != 1 or len(negative) != 2 or positive[0] != negative[0]:
            fail("negative", f"shape [{positive[0] if positive else 'B'}, k]", f"{negative} beside {positive}")
        for name in self.logits:
            if name not in pairs.extra:
                fail("extra", f"logits {name!r}, which {self.name!r} needs", sorted(pairs.extra) or "none")
            shapes = tuple(tuple(side.shape) for side in pairs.extra[name])
            if shapes != (positive, negative):
                fail("extra", f"logits {name!r} of shapes {positive} and {negative}", shapes)
        for name in self._needs:
            if getattr(pairs, name) is None:
                fail(name, f"indices, which {self.name!r} needs", None)

    def parameters(self) -> dict[str, Any]:
        """Return name and arguments as values that JSON can hold; `recsys.objectives.objective` reads them."""
        return {"name": self.name, **{key: getattr(self, key) for key in inspect.signature(type(self)).parameters}}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.parameters().items() if k != "name")
        return f"{type(self).__name__}({arguments})"


def fit_objective(
    objective: Objective, matrix: sp.csr_array, distribution: NDArray[np.float64] | None, dislikes: sp.csr_array | None
) -> None:
    """Fit an objective to a checked matrix, the distribution of negatives and the dislikes.

    Raises:
        InputError: The objective needs dislikes, and there are none.
    """
    if objective.uses_dislikes:
        if dislikes is None:
            fail("user_items", f"Interactions with dislikes, which the objective {objective.name!r} needs", "none")
        objective.dislikes = Known.of(dislikes)
    objective.fit(matrix, distribution)


def alike(values: Any, p: Pairs) -> Any:
    """Return values as the scores are: a tensor on their device, or an array, of their type; zeros for None."""
    values = 0.0 if values is None else values
    if isinstance(p.negative, Tensor):
        return torch.as_tensor(values, dtype=p.negative.dtype, device=p.negative.device)
    return np.asarray(values, p.negative.dtype)


def beside(p: Pairs) -> Any:
    """Return R_ui as [B, 1], which broadcasts with the negatives."""
    return p.positive[:, None]


def wide(value: Any, p: Pairs) -> Any:
    """Broadcast [B, 1] to [B, k]."""
    return np.broadcast_to(value, p.negative.shape)
