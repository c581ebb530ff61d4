"""Parameters of factor models and their initial values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recsys.objectives.nbpo import FLIP

Table = NDArray[Any]


@dataclass
class Parameters:
    """Factors of users and items, biases of items or None, and factors of users and items per further logit."""

    user: Table
    item: Table
    bias: Table | None
    extra: dict[str, tuple[Table, Table]]

    def arrays(self) -> list[Table]:
        """Return all arrays."""
        biases = [] if self.bias is None else [self.bias]
        return [self.user, self.item, *biases, *(table for pair in self.extra.values() for table in pair)]

    def copy(self, into: Parameters | None = None) -> Parameters:
        """Return a copy, in the arrays of an earlier copy if there is one."""
        if into is None:
            bias = None if self.bias is None else self.bias.copy()
            extra = {name: (user.copy(), item.copy()) for name, (user, item) in self.extra.items()}
            return Parameters(self.user.copy(), self.item.copy(), bias, extra)
        for target, source in zip(into.arrays(), self.arrays(), strict=True):
            np.copyto(target, source)
        return into


def initial_parameters(
    users: int,
    items: int,
    factors: int,
    logits: tuple[str, ...],
    init: str,
    biases: bool,
    dtype: DTypeLike,
    rng: np.random.Generator,
) -> Parameters:
    r"""Draw the initial factors.

    "small": uniform in ±1 / (2 factors), as in `implicit`. "positive": uniform in [0, 1] / sqrt(factors), as in NBPO's
    released code, so that all scores are about 1/4. NBPO's flip factors are uniform in [0, 5] / sqrt(factors) and
    [-5, 0] / sqrt(factors) in both cases: flip rates are about .002. Biases are 0.
    """

    def table(rows: int, scale: float = 1.0) -> Table:
        uniform = rng.random((rows, factors))
        positive = init == "positive" or scale != 1.0
        values = scale * uniform / np.sqrt(factors) if positive else (uniform - 0.5) / factors
        return np.ascontiguousarray(values, dtype=dtype)

    user, item = table(users), table(items)
    extra = {}
    for name in logits:
        scales = (5.0, -5.0) if name == FLIP else (1.0, 1.0)
        extra[name] = (table(users, scales[0]), table(items, scales[1]))
    return Parameters(user, item, np.zeros(items, dtype) if biases else None, extra)
