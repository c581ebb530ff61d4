"""Parameters of factor models and their initial values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.objectives.nbpo import FLIP


@dataclass
class Parameters:
    """What is learned: factors of users and items, biases of items, and such factors for each further logit."""

    user: NDArray[Any]
    item: NDArray[Any]
    bias: NDArray[Any] | None
    extra: dict[str, tuple[NDArray[Any], NDArray[Any]]]

    def copy(self) -> Parameters:
        """Return a copy that shares nothing."""
        bias = None if self.bias is None else self.bias.copy()
        return Parameters(
            self.user.copy(), self.item.copy(), bias, {k: (a.copy(), b.copy()) for k, (a, b) in self.extra.items()}
        )

    def arrays(self) -> list[NDArray[Any]]:
        """Return all arrays."""
        return [
            self.user, self.item, *([] if self.bias is None else [self.bias]), *(x for pair in self.extra.values() for x
            in pair)
        ]  # fmt: skip


def initial_parameters(
    users: int, items: int, factors: int, logits: tuple[str, ...], init: str, biases: bool, dtype: Any, rng: Any
) -> Parameters:
    r"""Draw the first factors.

    "small": uniform in ±1 / (2 factors), as `implicit` starts. "positive": uniform in [0, 1] / sqrt(factors), as NBPO's
    released code does, so that all scores begin near 1/4. NBPO's flip factors start uniform in [0, 5] / sqrt(factors)
    and [-5, 0] / sqrt(factors) either way: flip rates begin near .002. Biases start at 0.
    """

    def table(rows: int, scale: float = 1.0) -> NDArray[Any]:
        drawn = rng.random((rows, factors))
        values = scale * drawn / np.sqrt(factors) if init == "positive" or scale != 1.0 else (drawn - 0.5) / factors
        return np.ascontiguousarray(values, dtype=dtype)

    user, item = table(users), table(items)
    extra = {}
    for name in logits:
        scales = (5.0, -5.0) if name == FLIP else (1.0, 1.0)
        extra[name] = (table(users, scales[0]), table(items, scales[1]))
    return Parameters(user, item, np.zeros(items, dtype) if biases else None, extra)
