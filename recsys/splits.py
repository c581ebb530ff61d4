"""Train-validation-test splits: by ratio, by number, by global time, by time per user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphnoise.checks import fail, flag, generator, integer, real
from recsys.interactions import Interactions, InteractionsLike, as_interactions, check_disjoint
from recsys.validation import Array, Ints

Seed = int | np.random.Generator


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of one set of interactions, with the same shape and ids, and each with all dislikes.

    Attributes:
        train: Training interactions.
        validation: Interactions for model selection; may be empty.
        test: Interactions for the reported metrics.

    Raises:
        InputError: Shapes or ids differ, or two parts share a pair.
    """

    train: Interactions
    validation: Interactions
    test: Interactions

    def __iter__(self) -> Iterator[Interactions]:
        """Iterate over the parts: `train, validation, test = split`."""
        return iter((self.train, self.validation, self.test))

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, as_interactions(name, getattr(self, name)))
        check_disjoint([("train", self.train), ("validation", self.validation), ("test", self.test)])


def ratio(interactions: InteractionsLike, validation: float = 0.1, test: float = 0.1, seed: Seed = 0) -> Split:
    """Hold out a share of each user's interactions at random.

    Of n interactions of a user, nearest(test · n) go to the test set and nearest(validation · n) to the validation set,
    halves rounded up; the rest, at least one, is for training (the validation set is reduced first).

    Args:
        interactions: The interactions to split.
        validation: Share of the validation set, in [0, 1).
        test: Share of the test set, in [0, 1).
        seed: Seed of the draw.

    Raises:
        InputError: A share is outside [0, 1), or they sum to 1 or more.

    Example:
        >>> import scipy.sparse as sp
        >>> parts = ratio(Interactions.from_csr(sp.csr_array(np.ones((3, 10)))))
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (24, 3, 3)
    """
    interactions = as_interactions("interactions", interactions)
    shares = _shares(validation, test)
    sizes = np.diff(interactions.matrix.indptr)
    counts = np.floor(np.outer(shares, sizes) + 0.5).astype(np.int64)
    return _by_user(interactions, counts, generator(seed).random(len(interactions)))


def leave_k_out(
    interactions: InteractionsLike, k: int = 1, validation: int = 0, *, newest: bool = False, seed: Seed = 0
) -> Split:
    """Hold out k interactions of each user for the test set, and `validation` further ones.

    A user with too few keeps one for training; the validation set is reduced first, then the test set, which may lack
    such users.

    Args:
        interactions: The interactions to split.
        k: Test interactions per user.
        validation: Validation interactions per user.
        newest: Hold out the newest (the last ones for the test set) instead of random ones; ties are ordered by item.
        seed: Seed of the draw.

    Raises:
        InputError: A number is negative, or `newest` without times or with a single one.

    Example:
        >>> clicks = Interactions.from_triples([0, 0, 0], [0, 1, 2], times=[5, 9, 7])
        >>> parts = leave_k_out(clicks, newest=True)
        >>> parts.test.matrix.toarray().tolist()
        [[0.0, 1.0, 0.0]]
    """
    interactions = as_interactions("interactions", interactions)
    k, validation = integer("k", k, 0), integer("validation", validation, 0)
    counts = np.repeat([[k], [validation]], interactions.num_users, axis=1)
    order = _times(interactions, "newest") if flag("newest", newest) else generator(seed).random(len(interactions))
    return _by_user(interactions, counts, order)


def user_time(interactions: Interactions, validation: float = 0.1, test: float = 0.1) -> Split:
    """Hold out the newest share of each user's interactions: first training, then validation, then test.

    Numbers are rounded as in `ratio`; interactions at the same time are ordered by item.

    Raises:
        InputError: There are no times or a single one, a share is outside [0, 1), or they sum to 1 or more.

    Example:
        >>> clicks = Interactions.from_triples([0] * 4, [0, 1, 2, 3], times=[4, 3, 2, 1])
        >>> user_time(clicks, validation=0.25, test=0.25).train.matrix.indices.tolist()
        [2, 3]
    """
    times = _times(interactions, "user_time")
    sizes = np.diff(interactions.matrix.indptr)
    counts = np.floor(np.outer(_shares(validation, test), sizes) + 0.5).astype(np.int64)
    return _by_user(interactions, counts, times)


def global_time(interactions: Interactions, validation: float = 0.1, test: float = 0.1) -> Split:
    """Hold out the newest interactions of all users, so that no model learns from the future.

    Two times divide the interactions: the newest nearest(test · n) are the test set, those before them the validation
    set, the rest is for training. Interactions at the time of a cut go to the later part, so that parts may be larger
    than requested. Users and items that first occur after the first cut stay; models have no data about them.

    Raises:
        InputError: There are no times or a single one, a share is outside [0, 1), they sum to 1 or more, or so many
            times are equal that nothing would be left for training.

    Example:
        >>> clicks = Interactions.from_triples([0, 0, 1, 1], [0, 1, 0, 1], times=[1, 2, 3, 4])
        >>> parts = global_time(clicks, validation=0.25, test=0.25)
        >>> parts.validation.matrix.toarray().tolist(), parts.test.matrix.toarray().tolist()
        ([[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]])
    """
    times = _times(interactions, "global_time")
    ordered, n = np.sort(times), len(times)
    shares = _shares(validation, test)
    held = np.floor(np.array([shares[0], shares.sum()]) * n + 0.5).astype(np.int64)
    part = np.zeros(n, np.int64)
    for mark, size in ((2, held[1]), (1, held[0])):
        if size:
            part[times >= ordered[n - size]] = mark
    if n and part.all():
        fail("interactions", "times of which some are before the first cut", f"none of {n}: too many are equal")
    return _parts(interactions, part)


def _shares(validation: float, test: float) -> Array:
    """Return the shares of test and validation."""
    shares = np.array([real("test", test, 0, 1), real("validation", validation, 0, 1)])
    if shares.sum() >= 1:
        fail("validation + test", "less than 1", f"{shares.sum():g}")
    return shares


def _times(interactions: Interactions, function: str) -> Array:
    if getattr(interactions, "times", None) is None:
        fail("interactions", f"Interactions with times, which {function} needs", f"{interactions!r}")
    times = np.asarray(interactions.times)
    if len(times) > 1 and (times == times[0]).all():
        fail("interactions", f"times that differ, for {function} to order by", f"{times[0]} everywhere")
    return times


def _by_user(interactions: Interactions, counts: Ints, order: Array) -> Split:
    """Hold out the last interactions per user by `order`: counts[0] for the test set, counts[1] for validation."""
    indptr = interactions.matrix.indptr.astype(np.int64)
    free = np.maximum(np.diff(indptr) - 1, 0)
    test = np.minimum(counts[0], free)
    both = np.minimum(test + counts[1], free)
    rows = interactions.rows
    place = np.empty(len(rows), np.int64)
    place[np.lexsort((order, rows))] = np.arange(len(rows))
    # 1 for the last interaction of a user.
    remaining = indptr[1:][rows] - place
    return _parts(interactions, np.where(remaining <= test[rows], 1, np.where(remaining <= both[rows], 2, 0)))


def _parts(interactions: Interactions, part: Ints) -> Split:
    """Return the parts: 0 is training, 1 test, 2 validation."""
    return Split(*(interactions.subset(part == mark) for mark in (0, 2, 1)))
