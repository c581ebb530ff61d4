"""Minibatch training: gradients summed at fixed parameters, for any objective and any sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import fail
from recsys.kernels.negatives import Known
from recsys.kernels.pairs import Groups, scores
from recsys.kernels.sgd import Count, pairs_of
from recsys.models.initialisation import Parameters
from recsys.models.optimizers import Adam, Step
from recsys.objectives import Objective, Pairs
from recsys.samplers import Sampler
from recsys.samplers.base import checked_draws

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """Settings of the epochs; see `MatrixFactorization`."""

    batch_size: int
    num_negatives: int
    learning_rate: float
    learning_rate_decay: float
    l2_user: float
    l2_item: float
    l2_bias: float
    l2_extra: float
    optimizer: str
    all_rows: bool
    shuffle: bool
    num_threads: int
    frozen_items: bool = False


class Minibatch:
    """Training by minibatches; `epoch` changes `parameters` in place."""

    def __init__(
        self,
        known: Known,
        parameters: Parameters,
        objective: Objective,
        sampler: Sampler,
        plan: Plan,
        rng: np.random.Generator,
    ) -> None:
        self.parameters = parameters
        self._known, self._objective, self._sampler, self._plan, self._rng = known, objective, sampler, plan, rng
        self._pairs = pairs_of(known)
        self._optimizer: Any = Adam() if plan.optimizer == "adam" else Step(plan.all_rows)
        self._step = 0
        if sampler.needs_scores:
            sampler.bind(self._scores, lambda: (self.parameters.user, self.parameters.item))

    def _scores(self, users: Ints, items: Ints) -> NDArray[Any]:
        p = self.parameters
        return scores(
            p.user, p.item, np.ascontiguousarray(users, np.int32), np.ascontiguousarray(items, np.int32),
            bias=p.bias, num_threads=self._plan.num_threads,
        )  # fmt: skip

    def epoch(self, number: int) -> Count:
        """Visit all known pairs once."""
        plan, drawn, correct, skipped = self._plan, 0, 0, 0
        eta = plan.learning_rate * plan.learning_rate_decay ** (number + 1)
        self._sampler.epoch(number, self._rng)
        order = self._rng.permutation(len(self._pairs)) if plan.shuffle else None
        for begin in range(0, len(self._pairs), plan.batch_size):
            part = slice(begin, begin + plan.batch_size)
            batch = self._pairs[part] if order is None else self._pairs[order[part]]
            count = self._update(np.ascontiguousarray(batch[:, 0]), np.ascontiguousarray(batch[:, 1]), eta)
            drawn, correct, skipped = drawn + count.drawn, correct + count.correct, skipped + count.skipped
        return Count(drawn, correct, skipped)

    def _update(self, users: Ints, items: Ints, eta: float) -> Count:
        """Take a step on a batch of positives."""
        plan, p = self._plan, self.parameters
        k, threads = plan.num_negatives, plan.num_threads
        drawn, weight = checked_draws(self._sampler, users, k, self._rng, items, len(p.item))
        missing = drawn < 0
        if missing.any():
            weight = (~missing).astype(p.user.dtype) if weight is None else np.where(missing, 0, weight)
            drawn = np.maximum(drawn, 0)
        columns = np.ascontiguousarray(np.concatenate([items[:, None], drawn], axis=1))
        values = self._scores(users, columns)
        extra = {}
        for name, (left, right) in p.extra.items():
            logits = scores(left, right, users, columns, num_threads=threads)
            extra[name] = (logits[:, 0], logits[:, 1:])
        known = None if self._sampler.verify else self._known.has(users, drawn)
        dislikes = self._objective.dislikes
        disliked = None if dislikes is None else dislikes.has(users, drawn)
        slopes = self._objective.derivatives(
            Pairs(values[:, 0], values[:, 1:], extra, users, items, drawn, weight, known, disliked, self._step)
        )
        self._step += 1

        entry_user, entry_item = np.repeat(users, k + 1), columns.ravel()
        by_user, by_item = Groups.of(entry_user, len(p.user)), Groups.of(entry_item, len(p.item))
        # Draws per entry; a positive counts once per negative.
        counts = np.ones(columns.shape, p.user.dtype)
        counts[:, 1:] = 1 - missing
        counts[:, 0] = counts[:, 1:].sum(1)
        item_counts = by_item.totals(counts.ravel())
        counts[:, 1:] = 0
        user_counts = by_user.totals(counts.ravel())
        sides = {"": (slopes.positive, slopes.negative), **slopes.extra}
        tables = {"": (p.user, p.item), **p.extra}
        for name, (left, right) in tables.items():
            slope = _entry_slopes(*sides[name], drawn.shape, left.dtype)
            l2 = (plan.l2_extra, plan.l2_extra) if name else (plan.l2_user, plan.l2_item)
            user_gradient = by_user.sums(slope, entry_item, right, threads)
            if not plan.frozen_items:
                item_gradient = by_item.sums(slope, entry_user, left, threads)
                self._optimizer.move(right, by_item.rows, item_gradient, item_counts, eta, l2[1])
                if not name and p.bias is not None:
                    self._optimizer.move(p.bias, by_item.rows, by_item.totals(slope), item_counts, eta, plan.l2_bias)
            self._optimizer.move(left, by_user.rows, user_gradient, user_counts, eta, l2[0])
        correct = int(((values[:, 1:] < values[:, :1]) & ~missing).sum())
        return Count(missing.size, correct, int(missing.sum()))


def _entry_slopes(positive: NDArray[Any], negative: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return the derivatives by the score of each entry: of the positive in sum, then of its negatives."""
    if np.shape(positive) != shape or np.shape(negative) != shape:
        fail("objective", f"derivatives of shape {shape}", f"shapes {np.shape(positive)} and {np.shape(negative)}")
    out = np.empty((len(negative), negative.shape[1] + 1), dtype)
    out[:, 0], out[:, 1:] = positive.sum(1), negative
    return out.ravel()
