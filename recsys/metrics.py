"""Ranking metrics per user, computed from the ranks of the hits among the first k.

Every metric takes `hits`, a Boolean array [users, k] (is the item at this rank held out?), and `sizes` [users], the
number of held-out items |T| per user, at least 1; it returns float64 [users].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import choice, fail

Values = NDArray[np.float64]
Bools = NDArray[np.bool_]
Sizes = NDArray[np.integer[Any]]


def precision(hits: Bools, sizes: Sizes) -> Values:
    """Return hits / k: the true precision at k, even where a user has fewer than k held-out items.

    Example:
        >>> precision(np.array([[True, False, True, False]]), np.array([2])).tolist()
        [0.5]
    """
    return np.asarray(hits.sum(1) / hits.shape[1])


def capped_precision(hits: Bools, sizes: Sizes) -> Values:
    """Return hits / min(k, |T|): 1 for a perfect ranking.

    `implicit` calls this precision, and weights each user by min(k, |T|) in its mean; `evaluate` weights users equally.

    Example:
        >>> capped_precision(np.array([[True, False, True, False]]), np.array([2])).tolist()
        [1.0]
    """
    return np.asarray(hits.sum(1) / np.minimum(sizes, hits.shape[1]))


def recall(hits: Bools, sizes: Sizes) -> Values:
    """Return hits / |T|.

    Example:
        >>> recall(np.array([[True, False, True, False]]), np.array([8])).tolist()
        [0.25]
    """
    return np.asarray(hits.sum(1) / sizes)


def f1(hits: Bools, sizes: Sizes) -> Values:
    """Return 2 P R / (P + R) of each user's precision and recall at k, which is 2 hits / (k + |T|).

    Example:
        >>> f1(np.array([[True, False, True, False]]), np.array([4])).tolist()
        [0.5]
    """
    return np.asarray(2 * hits.sum(1) / (hits.shape[1] + sizes))


def ndcg(hits: Bools, sizes: Sizes) -> Values:
    """Return DCG / IDCG with DCG = sum over hits of 1 / log2(rank + 1), and IDCG that of min(k, |T|) hits at the top.

    Example:
        >>> ndcg(np.array([[False, True, False]]), np.array([1])).round(4).tolist()
        [0.6309]

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002, with binary gains.
    """
    gains = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    # A product of matrices would sum in an order that depends on the number of users.
    return np.asarray((hits * gains).sum(1) / gains.cumsum()[np.minimum(sizes, hits.shape[1]) - 1])


def average_precision(hits: Bools, sizes: Sizes) -> Values:
    """Return the mean over min(k, |T|) of the precision at the rank of each hit; its mean over users is MAP.

    Example:
        >>> average_precision(np.array([[True, False, True, False]]), np.array([2])).round(4).tolist()
        [0.8333]
    """
    ranks = np.arange(1, hits.shape[1] + 1)
    return np.asarray((hits * hits.cumsum(1) / ranks).sum(1) / np.minimum(sizes, hits.shape[1]))


def reciprocal_rank(hits: Bools, sizes: Sizes) -> Values:
    """Return 1 / rank of the first hit, 0 without one among the first k; its mean over users is MRR.

    Example:
        >>> reciprocal_rank(np.array([[False, True, True], [False, False, False]]), np.array([2, 1])).tolist()
        [0.5, 0.0]
    """
    return np.asarray(np.where(hits.any(1), 1 / (hits.argmax(1) + 1), 0.0))


def hit(hits: Bools, sizes: Sizes) -> Values:
    """Return 1 if any of the first k is a hit, else 0; its mean over users is the hit rate.

    Example:
        >>> hit(np.array([[False, True, True], [False, False, False]]), np.array([2, 1])).tolist()
        [1.0, 0.0]
    """
    return np.asarray(hits.any(1), np.float64)


PER_USER: dict[str, Callable[[Bools, Sizes], Values]] = {
    "precision": precision,
    "capped_precision": capped_precision,
    "recall": recall,
    "f1": f1,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit": hit,
}


def coverage(shown: Sizes) -> float:
    """Return the share of the catalogue that is shown to any user; `shown` [items] counts how often each item is.

    Example:
        >>> coverage(np.array([3, 0, 1, 0]))
        0.5
    """
    return float(np.count_nonzero(shown) / len(shown))


def gini(shown: Sizes) -> float:
    """Return the Gini coefficient of how often items are shown: 0 if all are equal, near 1 if one item dominates.

    With counts c_1 <= ... <= c_n in order, sum_i (2 i - n - 1) c_i / (n sum_i c_i).

    Example:
        >>> gini(np.array([1, 1, 1, 1])), gini(np.array([4, 0, 0, 0]))
        (0.0, 0.75)
    """
    counts, n = np.sort(shown).astype(np.float64), len(shown)
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * counts.sum())) if counts.any() else 0.0


CATALOGUE: dict[str, Callable[[Sizes], float]] = {"coverage": coverage, "gini": gini}
_NAME = re.compile(r"([a-z0-9_]+)@([0-9]{1,9})")


def parse(metrics: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return the metric and the k of each name such as "ndcg@20".

    Raises:
        InputError: No name, a name of another form, an unknown metric, or a k of 0.

    Example:
        >>> parse(["ndcg@20", "gini@5"])
        {'ndcg@20': ('ndcg', 20), 'gini@5': ('gini', 5)}
    """
    if not isinstance(metrics, Iterable) or getattr(metrics, "ndim", 1) != 1:
        fail("metrics", 'names such as "ndcg@20"', repr(metrics))
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        fail("metrics", 'at least one name such as "ndcg@20"', names)
    parsed = {}
    for name in names:
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            fail("metrics", 'names such as "ndcg@20"', repr(name))
        k = int(match[2])
        if k == 0:
            fail("metrics", "k of at least 1", name)
        parsed[name] = (choice("metrics", match[1], [*PER_USER, *CATALOGUE]), k)
    return parsed
