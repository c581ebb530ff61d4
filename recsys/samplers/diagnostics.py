"""The rate of false negatives (hidden likes) among the draws of a sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphnoise.checks import fail, generator, integer
from recsys.interactions import InteractionsLike, as_csr
from recsys.kernels.negatives import Known
from recsys.samplers.base import Sampler, checked_draws


@dataclass(frozen=True)
class FalseNegatives:
    """The result of `false_negatives`.

    Attributes:
        rate: Share of hidden likes among the draws.
        uniform: The expected share for uniform verified draws, exactly.
        draws: Number of draws with an item.
        skipped: Number of draws without one.
    """

    rate: float
    uniform: float
    draws: int
    skipped: int

    @property
    def lift(self) -> float:
        """Return `rate` over `uniform`: above 1, the sampler draws hidden likes more often than chance."""
        return self.rate / self.uniform if self.uniform else float("nan")


def false_negatives(
    sampler: Sampler,
    hidden: InteractionsLike,
    k: int = 1,
    passes: int = 1,
    rng: int | np.random.Generator = 0,
    *,
    epoch: int = 0,
) -> FalseNegatives:
    """Return how often the negatives drawn for the known positives are hidden likes.

    Args:
        sampler: Fitted to the known positives, and bound to a model if it needs scores.
        hidden: Users × items, likes that are not among the known positives.
        k: Negatives per positive.
        passes: Passes over all positives.
        rng: A generator or a seed.
        epoch: The number of the first pass. A sampler that changes during training (SRNS) continues where the model
            stopped with `epoch=model.epochs`.

    Raises:
        InputError: Another shape, or a hidden like that is known.

    Example:
        >>> import scipy.sparse as sp
        >>> from recsys.samplers import Uniform
        >>> known, hidden = sp.csr_array([[1.0, 0, 0]]), sp.csr_array([[0.0, 1, 0]])
        >>> false_negatives(Uniform().fit(known), hidden, k=3, passes=200).uniform
        0.5
    """
    if not isinstance(sampler, Sampler):
        fail("sampler", "a fitted sampler", type(sampler).__name__)
    known = sampler.known
    likes = Known.of(as_csr("hidden", hidden, shape=(known.num_users, known.num_items)))
    count = np.diff(known.rowptr)
    rows = np.repeat(np.arange(known.num_users, dtype=np.int32), np.diff(likes.rowptr))
    if len(rows) and known.has(rows, likes.col[:, None]).any():
        fail("hidden", "likes that are not among the known positives", "some that are")
    integer("passes", passes, 1)
    integer("epoch", epoch, 0)
    random = generator(rng, "rng")
    users = np.repeat(np.arange(known.num_users, dtype=np.int32), count)
    hits = total = requested = 0
    for number in range(epoch, epoch + passes):
        sampler.epoch(number, random)
        for begin in range(0, len(users), 1 << 14):
            part = slice(begin, begin + (1 << 14))
            drawn, _ = checked_draws(sampler, users[part], k, random, known.col[part], known.num_items)
            valid = drawn >= 0
            hits += int((likes.has(users[part], np.maximum(drawn, 0)) & valid).sum())
            total, requested = total + int(valid.sum()), requested + drawn.size
    free = known.num_items - count
    share = np.divide(np.diff(likes.rowptr), free, out=np.zeros(len(count)), where=free > 0)
    weight = np.where(free > 0, count, 0)
    uniform = float((share * weight).sum() / max(weight.sum(), 1))
    return FalseNegatives(hits / max(total, 1), uniform, total, requested - total)
