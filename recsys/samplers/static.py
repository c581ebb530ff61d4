"""Static samplers, independent of the model: uniform and by popularity."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import fail, rate, real
from recsys.kernels.negatives import Alias, draw, streams
from recsys.samplers.base import Ints, Sampler
from recsys.samplers.base import on_known as _on_known

# Fewer draws are faster on one thread.
MIN_PARALLEL = 1 << 14


class StaticSampler(Sampler):
    """A distribution with one table for all users; subclasses set the table.

    Args:
        on_known: "redraw", or "skip": -1 where the first draw is a known positive.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.
    """

    def __init__(
        self, *, on_known: str = "redraw", verify: bool = True, attempts: int = 16, num_threads: int = 1
    ) -> None:
        super().__init__(verify=verify, attempts=attempts, num_threads=num_threads)
        self.on_known, self.redraw = on_known, _on_known(on_known)
        self.table: Alias | None = None

    @property
    def full_users(self) -> NDArray[np.int64]:
        """Users without any negative of positive weight."""
        return self.known.full(None if self.table is None else self.table.weight > 0)

    def probabilities(self) -> NDArray[np.float64]:
        """Return q_j, the distribution before verification, float64 [items]."""
        if self.table is None:
            return np.full(self.known.num_items, 1 / self.known.num_items)
        return np.asarray(self.table.weight / self.table.weight.sum())

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        return draw(
            self.known, users, k, streams(rng)[0],
            table=self.table, attempts=self.attempts, verify=self.verify, redraw=self.redraw,
            num_threads=self.num_threads if len(users) * k >= MIN_PARALLEL else 1,
        )  # fmt: skip


class Uniform(StaticSampler):
    r"""Uniform negatives, q_j = 1 / N, of which a share comes from the dislikes of the user.

    With known negatives a pairwise objective compares what a user likes with what the same user dislikes.

    Args:
        dislike_share: P(a draw is one of the user's dislikes), uniformly; users without dislikes have uniform ones. Not
            part of `probabilities`, and not in the compiled modes of `MatrixFactorization`.
        on_known: "redraw", or "skip": -1 where the first draw is a known positive.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Raises:
        InputError: A share outside [0, 1]; on `fit`, one above 0 without any dislike.

    Example:
        >>> Uniform().fit(sp.csr_array([[1, 0, 1, 1]])).sample([0, 0], 3, rng=0).tolist()
        [[1, 1, 1], [1, 1, 1]]
        >>> from recsys import Interactions
        >>> clicks = Interactions.from_csr(sp.csr_array([[1, 0, 0, -1]]))
        >>> Uniform(dislike_share=1.0).fit(clicks).sample([0], 3, rng=0).tolist()
        [[3, 3, 3]]

    Source: Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009, section 4.
    """

    name = "uniform"

    def __init__(
        self,
        dislike_share: float = 0.0,
        *,
        on_known: str = "redraw",
        verify: bool = True,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(on_known=on_known, verify=verify, attempts=attempts, num_threads=num_threads)
        self.dislike_share = rate("dislike_share", dislike_share)

    def _prepare(self, matrix: sp.csr_array) -> None:
        if self.dislike_share and self.dislikes is None:
            fail("user_items", "Interactions with dislikes, as dislike_share is above 0", "none")

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        drawn = super()._draw(users, k, rng, items)
        if not self.dislike_share or self.dislikes is None:
            return drawn
        first, count = self.dislikes.indptr[users][:, None], np.diff(self.dislikes.indptr)[users][:, None]
        chosen = (rng.random(drawn.shape) < self.dislike_share) & (count > 0)
        place = first + rng.integers(0, np.maximum(count, 1), drawn.shape)
        drawn[chosen] = self.dislikes.indices[place[chosen]]
        return drawn


class Popularity(StaticSampler):
    r"""Negatives by popularity: q_j ~ n_j^a, with n_j the number of users who have j.

    A popular item that a user does not have was probably seen and rejected. a = 1 is the distribution of `implicit` and
    of weighted BPR, a = .75 that of word2vec, a = 0 is uniform. An item without users is drawn only if a = 0.

    Args:
        power: A, at least 0.
        on_known: "redraw", or "skip" as `implicit` does.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = Popularity(power=1).fit(sp.csr_array([[1, 0, 0], [1, 0, 1], [1, 0, 1]]))
        >>> sampler.probabilities().round(2).tolist()
        [0.6, 0.0, 0.4]
        >>> sampler.full_users.tolist()  # their other items have no weight
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

    def _prepare(self, matrix: sp.csr_array) -> None:
        count = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
        # Without any interaction, the distribution is uniform.
        self.table = Alias.of(count**self.power if count.any() else np.ones_like(count))
