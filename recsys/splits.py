"""Hold out interactions: by ratio, by number, by time of all, by time of each user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphnoise.checks import fail, generator, integer, real
from recsys.interactions import Interactions, as_interactions, check_disjoint
from recsys.validation import Array, Ints

Seed = int | np.random.Generator


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one set of interactions, of the same shape and with the same ids, with no pair in common.

    Attributes:
        train: What models learn from.
        validation: What chooses among models; may hold nothing.
        test: What is reported.

    Raises:
        InputError: Shapes differ, or two parts share a pair.
    """

    train: Interactions
    validation: Interactions
    test: Interactions

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, as_interactions(name, getattr(self, name)))
        check_disjoint([("train", self.train), ("validation", self.validation), ("test", self.test)])


def ratio(interactions: Interactions, validation: float = 0.1, test: float = 0.1, seed: Seed = 0) -> Split:
    """Hold out a share of each user's interactions at random.

    A user with n of them gives nearest(test · n) to the test set and nearest(validation · n) to the validation set, the
    halves rounded up; what is left trains, at least one (the validation set gives way first).

    Args:
        interactions: All of them.
        validation: The share, in [0, 1).
        test: The share, in [0, 1).
        seed: Of the draw.

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
    interactions: Interactions, k: int = 1, validation: int = 0, *, newest: bool = False, seed: Seed = 0
) -> Split:
    """Hold out k interactions of each user for the test set, and `validation` further ones.

    A user with too few keeps one for training; the validation set gives way first, so that such a user may be in no
    test set.

    Args:
        interactions: All of them.
        k: Test interactions a user.
        validation: Validation interactions a user.
        newest: Hold out the newest (the very newest for the test set) instead of random ones; ties by the item.
        seed: Of the draw.

    Raises:
        InputError: A number is negative, or `newest` without times.

    Example:
        >>> clicks = Interactions.from_triples([0, 0, 0], [0, 1, 2], times=[5, 9, 7])
        >>> parts = leave_k_out(clicks, newest=True)
        >>> parts.test.matrix.toarray().tolist()
        [[0.0, 1.0, 0.0]]
    """
    interactions = as_interactions("interactions", interactions)
    k, validation = integer("k", k, 0), integer("validation", validation, 0)
    counts = np.repeat([[k], [validation]], interactions.num_users, axis=1)
    order = _times(interactions, "newest") if newest else generator(seed).random(len(interactions))
    return _by_user(interactions, counts, order)


def user_time(interactions: Interactions, validation: float = 0.1, test: float = 0.1) -> Split:
    """Hold out the newest share of each user's interactions: first training, then validation, then test.

    Numbers are rounded as by `ratio`; interactions at the same time go by the item.

    Raises:
        InputError: There are no times, a share is outside [0, 1), or they sum to 1 or more.

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
    """Hold out what came last over all users, so that no model learns from the future.

    Two moments cut the interactions: the newest nearest(test · n) test, those before validate, the rest trains. What
    came at the very moment of a cut goes to the later part, so that parts may be larger than asked. Users and items
    that are new after the first cut stay; a model knows nothing of them.

    Raises:
        InputError: There are no times, a share is outside [0, 1), or they sum to 1 or more.

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
    return _parts(interactions, part)


def _shares(validation: float, test: float) -> Array:
    """Return the shares of test and validation."""
    shares = np.array([real("test", test, 0, 1), real("validation", validation, 0, 1)])
    if shares.sum() >= 1:
        fail("validation + test", "less than 1", f"{shares.sum():g}")
    return shares


def _times(interactions: Interactions, what: str) -> Array:
    if getattr(interactions, "times", None) is None:
        fail("interactions", f"Interactions with times, which {what} needs", f"{interactions!r}")
    return np.asarray(interactions.times)


def _by_user(interactions: Interactions, counts: Ints, order: Array) -> Split:
    """Hold out, of each user, the last ones by `order`: counts[0] to the test set and counts[1] to validation."""
    indptr = interactions.matrix.indptr.astype(np.int64)
    free = np.maximum(np.diff(indptr) - 1, 0)
    test = np.minimum(counts[0], free)
    both = np.minimum(test + counts[1], free)
    rows = interactions.rows
    place = np.empty(len(rows), np.int64)
    place[np.lexsort((order, rows))] = np.arange(len(rows))
    # 1 for the last of a user.
    left = indptr[1:][rows] - place
    return _parts(interactions, np.where(left <= test[rows], 1, np.where(left <= both[rows], 2, 0)))


def _parts(interactions: Interactions, part: Ints) -> Split:
    """Return the parts: 0 is training, 1 test, 2 validation."""
    return Split(*(interactions.subset(part == mark) for mark in (0, 2, 1)))
