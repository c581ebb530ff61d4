"""Full ranking on held-out interactions: every item is a candidate, and what is masked is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from graphnoise.checks import choice, fail
from recsys.base import Recommender, batches
from recsys.metrics import CATALOGUE, PER_USER, Values, parse
from recsys.topk import Floats, check_finite, top_k
from recsys.validation import Ints, as_csr, check_disjoint, check_memory, pair_keys

MASKS = ("none", "train", "train+validation")


class Scorer(Protocol):
    """What `evaluate` needs of a model; every `recsys.Recommender` is one."""

    def scores(self, userids: Ints) -> Floats:
        """Return float32 [len(userids), num_items], higher is better."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well held-out interactions were ranked.

    Attributes:
        users: Positions of the users with at least one held-out interaction, in order [m].
        values: By metric, a float64 value for each of these users [m]; not for coverage and Gini, which are of all.
        means: By metric, the mean over `users`, each with the same weight.
        mask: Which interactions were no candidates: "none", "train" or "train+validation".
        skipped: Users without held-out interactions, who are in no mean.
    """

    users: Ints
    values: Mapping[str, Values]
    means: Mapping[str, float]
    mask: str
    skipped: int = 0
    # By k: how often each item was among the k.
    shown: Mapping[int, Ints] = field(default_factory=dict, repr=False)

    def __getitem__(self, metric: str) -> float:
        return self.means[metric]

    def __str__(self) -> str:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self.means.items())
        return f"{shown}  ({len(self.users)} users, masked: {self.mask})"


def evaluate(
    model: Scorer,
    train: Any,
    test: Any,
    metrics: Iterable[str] = ("ndcg@20", "recall@20", "f1@10"),
    *,
    validation: Any = None,
    mask: str = "train",
    num_threads: int = 0,
) -> Evaluation:
    """Rank all items for every user with held-out interactions, and measure where these stand.

    Scores are compared as float32; ties go to the lower item. Users count alike, whatever they hold out. Work is cut
    into batches of fixed size that threads share, so results do not depend on the number of threads, and no matrix of
    all users times all items is made.

    Args:
        model: A fitted `Recommender`, anything with `scores(userids)`, or a model of `implicit` with factors.
        train: Users × items, what the model learned from.
        test: Users × items, held out.
        metrics: Names with k: precision (hits / k), capped_precision (hits / min(k, |T|)), recall, f1, ndcg, map, mrr,
            hit, coverage, gini; for instance "ndcg@20".
        validation: Users × items, needed for the mask "train+validation".
        mask: What is not a candidate. "train" leaves validation items in the list, so that they take places from test
            items; "train+validation" removes them too; "none" ranks everything.
        num_threads: 0 is one a core.

    Raises:
        InputError: Shapes differ, `test` is empty or shares a pair with what is masked, `validation` shares a pair
            with `train`, a metric or mask is unknown, k is above the number of items, more ranks are asked for than
            memory holds, or a score is NaN.

    Example:
        >>> import scipy.sparse as sp
        >>> from recsys.models.baselines import Popularity
        >>> train, test = sp.csr_array([[1, 0, 0], [1, 1, 0]]), sp.csr_array([[0, 1, 0], [0, 0, 0]])
        >>> result = evaluate(Popularity().fit(train), train, test, ["ndcg@1", "recall@2"])
        >>> result["ndcg@1"], result.users.tolist(), result.skipped
        (1.0, [0], 1)
    """
    choice("mask", mask, MASKS)
    known = as_csr("train", train)
    truth = as_csr("test", test, shape=known.shape)
    parts = [("train", known)]
    if validation is not None:
        parts.append(("validation", as_csr("validation", validation, shape=known.shape)))
        check_disjoint(parts)
    elif mask == "train+validation":
        fail("validation", 'interactions, which the mask "train+validation" needs', None)
    hidden = {"none": None, "train": known, "train+validation": known + parts[-1][1]}[mask]
    if hidden is not None:
        hidden.sort_indices()
        check_disjoint([(mask, hidden), ("test", truth)])
    size = known.shape[1]
    wanted = parse(metrics, size)
    sizes = np.diff(truth.indptr)
    users = np.flatnonzero(sizes)
    if not users.size:
        fail("test", "at least one interaction", "none")
    depth = max(k for _, k in wanted.values())
    check_memory(f"{depth} ranks of {users.size} users", 24.0 * depth * users.size)
    positives = pair_keys(truth)
    rank = _ranker(model, known.shape)

    def answer(part: slice) -> NDArray[np.int32]:
        some = users[part]
        return rank(some, depth, None if hidden is None else hidden[some])[0]

    # Sums in another order are other sums.
    with threadpool_limits(1, "blas"):
        ranked = np.concatenate(batches(answer, len(users), size, num_threads))
    hits = _contains(positives, users[:, None] * np.int64(size) + ranked) & (ranked >= 0)
    shown = {
        k: np.bincount(ranked[:, :k][ranked[:, :k] >= 0], minlength=size)
        for k in {k for kind, k in wanted.values() if kind in CATALOGUE}
    }
    values = {name: PER_USER[kind](hits[:, :k], sizes[users]) for name, (kind, k) in wanted.items() if kind in PER_USER}
    means = {
        name: float(values[name].mean()) if kind in PER_USER else CATALOGUE[kind](shown[k])
        for name, (kind, k) in wanted.items()
    }
    return Evaluation(users, values, means, mask, len(sizes) - len(users), shown)


def _contains(ordered: Ints, wanted: Ints) -> NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.asarray(ordered[place] == wanted)


def _ranker(model: Any, shape: tuple[int, int]) -> Callable[[Ints, int, Any], tuple[NDArray[np.int32], Floats]]:
    """Return a function that gives the best items of some users."""
    if isinstance(model, Recommender):
        model.check_fitted()
        if (model.num_users, model.num_items) != shape:
            fail(
                "model", f"one fitted to {shape[0]} users × {shape[1]} items", f"{model.num_users} × {model.num_items}"
            )
        return model.rank
    scores = getattr(model, "scores", None)
    if not callable(scores):
        if not all(isinstance(getattr(model, name, None), np.ndarray) for name in ("user_factors", "item_factors")):
            fail("model", "something fitted with scores(userids), or with user_factors and item_factors", repr(model))

        def scores(userids: Ints) -> Any:
            return model.user_factors[userids] @ model.item_factors.T

    def rank(userids: Ints, k: int, masked: Any) -> tuple[NDArray[np.int32], Floats]:
        found = np.asarray(scores(userids))
        if found.shape != (len(userids), shape[1]):
            fail("model", f"scores of shape {(len(userids), shape[1])}", found.shape)
        found = found.astype(np.float32, copy=False)
        check_finite("model", found, userids)
        return top_k(found, k, masked)

    return rank
