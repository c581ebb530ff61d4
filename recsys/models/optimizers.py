"""Optimizers that update the rows of a table from summed gradients: plain steps and lazy Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.pairs import Ints, adam_rows

Floats = NDArray[Any]


class Step:
    """Plain steps: x <- (1 - eta l2)^c x + eta gradient.

    c is the number of draws that touch the row, or 1 for every row if `all_rows`: then rows without a gradient shrink
    too, as in NBPO's released code.
    """

    def __init__(self, all_rows: bool) -> None:
        self.all_rows = all_rows

    def move(self, table: Floats, rows: Ints, gradient: Floats, counts: Floats, eta: float, l2: float) -> None:
        """Update rows of a table [n, K], or entries of a vector [n], along the gradient."""
        if self.all_rows:
            table *= table.dtype.type(1 - eta * l2)
            table[rows] += eta * gradient
            return
        decay = (max(0.0, 1 - eta * l2) ** counts).astype(table.dtype)
        table[rows] = (decay[:, None] if table.ndim == 2 else decay) * table[rows] + table.dtype.type(eta) * gradient


class Adam:
    r"""Adam on the rows that a step touches; L2 of the touched rows is part of the gradient, once per draw.

    The moments of other rows do not change ("lazy" Adam); the bias correction counts all steps.

    Source: Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.
    """

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._moments: dict[tuple[int, tuple[int, ...]], tuple[Floats, Floats]] = {}
        self._steps: dict[tuple[int, tuple[int, ...]], int] = {}

    def move(self, table: Floats, rows: Ints, gradient: Floats, counts: Floats, eta: float, l2: float) -> None:
        """Update rows of a table [n, K], or entries of a vector [n], along the gradient."""
        key = id(table), table.shape
        if key not in self._moments:
            self._moments[key] = np.zeros_like(table), np.zeros_like(table)
        step = self._steps[key] = self._steps.get(key, 0) + 1
        settings = {"rate": eta, "l2": l2, "beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}
        adam_rows(table, self._moments[key], rows, gradient, counts, step=step, **settings)
