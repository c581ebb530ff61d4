"""Laws that no model changes: uniform, and by popularity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import real
from recsys.kernels.negatives import Alias, draw, streams
from recsys.samplers.base import Ints, Sampler
from recsys.samplers.base import on_known as _on_known

# Draws below which one thread is quicker.
_WORTH = 1 << 14


class Fixed(Sampler):
    """A law with one table for all users; subclasses set the table.

    Args:
        on_known: "redraw", or "skip": -1 where the first draw met a known positive.
        verify: Refuse known positives.
        attempts: Draws before the exact one.
        num_threads: Threads, 0 for all cores.
    """

    def __init__(
        self, *, on_known: str = "redraw", verify: bool = True, attempts: int = 16, num_threads: int = 1
    ) -> None:
        super().__init__(verify=verify, attempts=attempts, num_threads=num_threads)
        self.on_known, self.redraw = on_known, _on_known(on_known)
        self.table: Alias | None = None

    @property
    def full_users(self) -> NDArray[np.int64]:
        """Users for whom there is no negative of a weight above 0."""
        return self.known.full(None if self.table is None else self.table.weight > 0)

    def probabilities(self) -> NDArray[np.float64]:
        """Return q_j, the law before verification, float64 [items]."""
        if self.table is None:
            return np.full(self.known.num_items, 1 / self.known.num_items)
        return np.asarray(self.table.weight / self.table.weight.sum())

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        return draw(
            self.known, users, k, streams(rng)[0],
            table=self.table, attempts=self.attempts, verify=self.verify, redraw=self.redraw,
            num_threads=self.num_threads if len(users) * k >= _WORTH else 1,
        )  # fmt: skip


class Uniform(Fixed):
    r"""Uniform negatives: q_j = 1 / N.

    Example:
        >>> import scipy.sparse as sp
        >>> Uniform().fit(sp.csr_array([[1, 0, 1, 1]])).sample([0, 0], 3, rng=0).tolist()
        [[1, 1, 1], [1, 1, 1]]

    Source: Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009, section 4.
    """

    name = "uniform"


class Popularity(Fixed):
    r"""Negatives by popularity: q_j ~ n_j^a, with n_j the number of users who have j.

    A popular item that a user does not have was probably seen and passed over. a = 1 is the law of `implicit` and of
    weighted BPR, a = .75 that of word2vec, a = 0 is uniform. An item that nobody has is drawn only where a = 0.

    Args:
        power: A, at least 0.
        on_known: "redraw", or "skip" as `implicit` does.
        verify: Refuse known positives.
        attempts: Draws before the exact one.
        num_threads: Threads, 0 for all cores.

    Example:
        >>> import scipy.sparse as sp
        >>> sampler = Popularity(power=1).fit(sp.csr_array([[1, 0, 0], [1, 0, 1], [1, 0, 1]]))
        >>> sampler.probabilities().round(2).tolist()
        [0.6, 0.0, 0.4]
        >>> sampler.full_users.tolist()  # what they lack has no weight
        [1, 2]

    Source: Gantner et al., Personalized ranking for non-uniformly sampled items, KDD Cup 2011 (a = 1).
    """

    name = "popularity"

    def __init__(
        self,
        power: float = 1.0,
        *,
        on_known: str = "redraw",
        verify: bool = True,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(on_known=on_known, verify=verify, attempts=attempts, num_threads=num_threads)
        self.power = real("power", power, 0.0, 8.0)

    def _prepare(self, matrix: Any) -> None:
        count = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
        # Where nobody has anything, all items are alike.
        self.table = Alias.of(count**self.power if count.any() else np.ones_like(count))
