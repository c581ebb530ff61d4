"""Full-ranking evaluation on held-out interactions: every item that is not masked is a candidate."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail
from graphnoise.resources import check_memory, one_blas_thread, thread_count
from recsys.base import BATCH, Recommender
from recsys.ids import check_same_ids
from recsys.interactions import InteractionsLike, as_csr, check_disjoint
from recsys.metrics import CATALOGUE, PER_USER, Values, parse
from recsys.queries import Ranking
from recsys.splits import Split
from recsys.topk import NONE, Floats, check_finite, top_k
from recsys.validation import Ints, pair_keys, transposed

# Users of a task of an executor, and tasks that it has at a time.
BLOCK, WAITING = 8192, 64
MASKS = ("none", "train", "train+validation")


class Scorer(Protocol):
    """The interface of a model in `evaluate`; every `recsys.Recommender` has it."""

    def scores(self, userids: Ints) -> Floats:
        """Return float32 [len(userids), num_items], higher is better."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well held-out interactions were ranked.

    Attributes:
        users: Positions of the users with at least one held-out interaction, in order [m].
        values: By metric, a float64 value per user [m]; coverage and Gini, which concern all users, are absent.
        means: By metric, the mean over `users` with equal weights.
        mask: Which interactions were excluded from the candidates: "none", "train" or "train+validation".
        skipped: Number of users without held-out interactions, excluded from the means.
        shown: By k, how often each item was among the first k.
    """

    users: Ints
    values: Mapping[str, Values]
    means: Mapping[str, float]
    mask: str
    skipped: int = 0
    shown: Mapping[int, Ints] = field(default_factory=dict, repr=False)

    def __getitem__(self, metric: str) -> float:
        return self.means[metric]

    def __str__(self) -> str:
        means = "  ".join(f"{name} {value:.4f}" for name, value in self.means.items())
        return f"{means}  ({len(self.users)} users, masked: {self.mask})"


def evaluate(
    model: Scorer,
    train: InteractionsLike | Split,
    test: InteractionsLike | None = None,
    metrics: Iterable[str] = ("ndcg@20", "recall@20", "f1@10"),
    *,
    validation: InteractionsLike | None = None,
    mask: str = "train",
    num_threads: int = 0,
    executor: Executor | None = None,
) -> Evaluation:
    """Rank all items for every user with held-out interactions, and compute metrics of the ranks of these.

    Scores are compared as float32; ties go to the lower item. All users have the same weight. Batches of users have a
    fixed size, so no bit of the results depends on the number of threads or workers, and ranks of some batches are
    stored at a time: memory grows with users plus items, not with their product.

    Args:
        model: A fitted `Recommender`, anything with `scores(userids)`, or a model of `implicit` with factors.
        train: Users × items, the training interactions of the model, or a `Split` that has the test part and the
            validation part too. Its dislikes are excluded as its interactions are, since no model recommends them.
        test: Users × items, held out; not with a `Split`.
        metrics: Names with k: precision (hits / k), capped_precision (hits / min(k, |T|)), recall, f1, ndcg, map, mrr,
            hit, coverage, gini; for instance "ndcg@20". Ranks above the number of items are empty.
        validation: Users × items, required by the mask "train+validation"; not with a `Split`.
        mask: What is excluded from the candidates. "train" leaves validation items in the ranking, where they compete
            with test items; "train+validation" excludes them too; "none" ranks everything.
        num_threads: Threads; 0 is one per core. Not with an executor.
        executor: Where blocks of users are ranked, instead of threads: any `concurrent.futures` executor, such as a
            `ProcessPoolExecutor` or `dask.distributed.Client.get_executor()`. Each block carries the model, pickled.

    Raises:
        InputError: Shapes or ids differ, `test` is absent, empty or shares a pair with the mask, `validation` shares a
            pair with `train`, there are parts beside a `Split`, a metric or mask is unknown, the ranks exceed the
            available memory, a score is NaN, or the executor fails.

    Example:
        >>> from recsys import Popularity
        >>> train, test = sp.csr_array([[1, 0, 0], [1, 1, 0]]), sp.csr_array([[0, 1, 0], [0, 0, 0]])
        >>> result = evaluate(Popularity().fit(train), train, test, ["ndcg@1", "recall@2"])
        >>> result["ndcg@1"], result.users.tolist(), result.skipped
        (1.0, [0], 1)
        >>> from recsys import splits
        >>> split = splits.ratio(train + test, 0, 0.4)
        >>> print(evaluate(Popularity().fit(split.train), split, metrics=["recall@2"]))
        recall@2 1.0000  (2 users, masked: train)
    """
    choice("mask", mask, MASKS)
    if executor is not None and not isinstance(executor, Executor):
        fail("executor", "an executor of concurrent.futures, or None", type(executor).__name__)
    if isinstance(train, Split):
        for name, part in (("test", test), ("validation", validation)):
            if part is not None:
                fail(name, "None with a Split (metrics by name: metrics=[...])", type(part).__name__)
        split, train = train, train.train
        validation = split.validation if len(split.validation) or mask == "train+validation" else None
        test = split.test
    elif test is None:
        fail("test", "held-out interactions, or a Split in place of train", None)
    check_same_ids([("model", model), ("train", train), ("validation", validation), ("test", test)])
    known = as_csr("train", train)
    held_out = as_csr("test", test, shape=known.shape)
    parts = [("train", known)]
    if validation is not None:
        parts.append(("validation", as_csr("validation", validation, shape=known.shape)))
        check_disjoint(parts)
    elif mask == "train+validation":
        fail("validation", 'interactions, which the mask "train+validation" needs', None)
    masked = {"none": None, "train": known, "train+validation": known + parts[-1][1]}[mask]
    dislikes = getattr(train, "dislikes", None)
    if dislikes is not None and masked is not None:
        check_disjoint([("dislikes of train", dislikes), ("test", held_out)])
        masked = masked + dislikes
    if masked is not None:
        masked.sort_indices()
        check_disjoint([(mask, masked), ("test", held_out)])
    parsed = parse(metrics)
    if not held_out.nnz:
        fail("test", "at least one interaction", "none")
    return evaluate_checked(model, masked, held_out, parsed, mask, num_threads, executor)


def evaluate_checked(
    model: Scorer,
    masked: sp.csr_array | None,
    held_out: sp.csr_array,
    metrics: Mapping[str, tuple[str, int]],
    mask: str = "train",
    num_threads: int = 0,
    executor: Executor | None = None,
) -> Evaluation:
    """Return what `evaluate` returns, for matrices that were checked and metrics that were parsed."""
    sizes = np.diff(held_out.indptr)
    users = np.flatnonzero(sizes)
    depth = max(k for _, k in metrics.values())
    step = max(1, BATCH // max(held_out.shape[1], 1))
    # A task of an executor carries the model, so it has several batches.
    rows = step if executor is None else step * max(1, BLOCK // step)
    check_memory(f"{depth} ranks of {rows} users", 24.0 * depth * min(rows, users.size))
    _ranker(model, held_out.shape)

    def tasks() -> Iterator[tuple[Any, ...]]:
        for begin in range(0, len(users), rows):
            part = users[begin : begin + rows]
            yield model, part, None if masked is None else masked[part], held_out[part], held_out.shape, metrics, step

    values: dict[str, list[Values]] = {name: [] for name, (kind, _) in metrics.items() if kind in PER_USER}
    shown = {k: np.zeros(held_out.shape[1], np.int64) for kind, k in metrics.values() if kind in CATALOGUE}
    for block, ranked in _results(executor, model, tasks(), min(thread_count(num_threads), -(-len(users) // rows))):
        for name, found in block.items():
            values[name].append(found)
        for k, counts in shown.items():
            counts += np.bincount(ranked[:, :k][ranked[:, :k] >= 0], minlength=len(counts))
    per_user = {name: np.concatenate(parts) for name, parts in values.items()}
    means = {
        name: float(per_user[name].mean()) if kind in PER_USER else CATALOGUE[kind](shown[k])
        for name, (kind, k) in metrics.items()
    }
    return Evaluation(users, per_user, means, mask, len(sizes) - len(users), shown)


# What a block of users gives: the value of each user by metric, and the items of the first ranks.
Block: TypeAlias = tuple[dict[str, Values], NDArray[np.int32]]


def _results(
    executor: Executor | None, model: Scorer, tasks: Iterator[tuple[Any, ...]], threads: int
) -> Iterator[Block]:
    """Yield the results of `_block` in order; a limited number of them is in memory at a time."""
    if executor is None and threads < 2:
        for task in tasks:
            yield _block(*task)
        return
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads)) if executor is None else executor
        waiting = deque[Future[Block]]()
        try:
            for task in tasks:
                try:
                    waiting.append(pool.submit(_block, *task))
                except RuntimeError as error:
                    # It has been shut down.
                    _refuse(error)
                if len(waiting) > (2 * threads if executor is None else WAITING):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (BrokenExecutor, CancelledError, pickle.PicklingError) as error:
            _refuse(error)
        except (AttributeError, TypeError) as error:
            # Raised for local classes and for locks, and by models themselves.
            if not isinstance(pool, ThreadPoolExecutor) and not _pickled(model):
                _refuse(error)
            raise
        finally:
            for future in waiting:
                future.cancel()


def _refuse(error: BaseException) -> NoReturn:
    fail("executor", "one whose workers evaluate the model", f"{type(error).__name__}: {error}")


def _pickled(model: Scorer) -> bool:
    """Return whether the model can be pickled."""
    try:
        pickle.dumps(model)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


def _block(
    model: Scorer,
    users: Ints,
    masked: sp.csr_array | None,
    held_out: sp.csr_array,
    shape: tuple[int, int],
    metrics: Mapping[str, tuple[str, int]],
    step: int,
) -> Block:
    """Rank the items of some users, `step` of them at a time, and compute the metrics of each user."""
    rank, size = _ranker(model, shape), shape[1]
    depth = max(k for _, k in metrics.values())
    # With one thread, BLAS sums in the same order everywhere.
    with one_blas_thread():
        parts = [slice(begin, begin + step) for begin in range(0, len(users), step)]
        ranks = [rank(users[p], min(depth, size), None if masked is None else masked[p])[0] for p in parts]
    ranked = np.concatenate(ranks)
    ranked = np.pad(ranked, ((0, 0), (0, depth - ranked.shape[1])), constant_values=NONE)
    hits = _contains(pair_keys(held_out), np.arange(len(users))[:, None] * np.int64(size) + ranked) & (ranked >= 0)
    sizes = np.diff(held_out.indptr)
    values = {name: PER_USER[kind](hits[:, :k], sizes) for name, (kind, k) in metrics.items() if kind in PER_USER}
    return values, ranked[:, : max((k for kind, k in metrics.values() if kind in CATALOGUE), default=0)]


def _contains(keys: Ints, queries: Ints) -> NDArray[np.bool_]:
    """Return which queries are among sorted keys."""
    place = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.asarray(keys[place] == queries)


def _ranker(model: Any, shape: tuple[int, int]) -> Callable[[Ints, int, sp.csr_array | None], Ranking]:
    """Return a function that ranks items for a batch of users."""
    if isinstance(model, Recommender):
        model.check_fitted()
        if (model.num_users, model.num_items) != shape:
            expected = f"one fitted to {shape[0]} users × {shape[1]} items"
            hint = transposed((model.num_users, model.num_items), shape)
            fail("model", expected, f"{model.num_users} × {model.num_items}{hint}")
        return model.rank
    if isinstance(model, type):
        fail("model", "a fitted model", f"the class {model.__name__}")
    scores = getattr(model, "scores", None)
    if not callable(scores):
        if not all(isinstance(getattr(model, name, None), np.ndarray) for name in ("user_factors", "item_factors")):
            fail("model", "something fitted with scores(userids), or with user_factors and item_factors", repr(model))

        def scores(userids: Ints) -> Any:
            return model.user_factors[userids] @ model.item_factors.T

    def rank(userids: Ints, k: int, masked: sp.csr_array | None) -> Ranking:
        values = np.asarray(scores(userids))
        if values.shape != (len(userids), shape[1]):
            fail("model", f"scores of shape {(len(userids), shape[1])}", values.shape)
        values = values.astype(np.float32, copy=False)
        check_finite("model", values, userids)
        return top_k(values, k, masked)

    return rank
