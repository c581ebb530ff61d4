"""Epochs of minibatches: gradients summed at frozen parameters, for any objective and any sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.negatives import Known
from recsys.kernels.pairs import Groups, scores
from recsys.kernels.sgd import Count, pairs_of
from recsys.models.initialisation import Parameters
from recsys.models.optimizers import Adam, Step
from recsys.objectives import Objective, Pairs
from recsys.samplers import Sampler

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """How minibatches are run; see `MatrixFactorization` for the meaning."""

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
    """Training by minibatches; `parameters` are changed in place, by `epoch`."""

    def __init__(
        self, known: Known, parameters: Parameters, objective: Objective, sampler: Sampler, plan: Plan, rng: Any
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
        """Walk once over all known pairs."""
        plan, drawn, correct, skipped = self._plan, 0, 0, 0
        eta = plan.learning_rate * plan.learning_rate_decay ** (number + 1)
        self._sampler.epoch(number, self._rng)
        order = self._rng.permutation(len(self._pairs)) if plan.shuffle else None
        for begin in range(0, len(self._pairs), plan.batch_size):
            part = slice(begin, begin + plan.batch_size)
            batch = self._pairs[part] if order is None else self._pairs[order[part]]
            right, lost = self._update(np.ascontiguousarray(batch[:, 0]), np.ascontiguousarray(batch[:, 1]), eta)
            drawn, correct, skipped = drawn + len(batch) * plan.num_negatives, correct + right, skipped + lost
        return Count(drawn, correct, skipped)

    def _update(self, users: Ints, items: Ints, eta: float) -> tuple[int, int]:
        plan, p = self._plan, self.parameters
        k, threads = plan.num_negatives, plan.num_threads
        drawn = self._sampler.sample(users, k, self._rng, items=items)
        lost = drawn < 0
        weight = self._sampler.weights
        if lost.any():
            weight = (~lost).astype(p.user.dtype) if weight is None else np.where(lost, 0, weight)
            drawn = np.maximum(drawn, 0)
        both = np.ascontiguousarray(np.concatenate([items[:, None], drawn], axis=1))
        own = self._scores(users, both)
        extra = {}
        for name, (left, right) in p.extra.items():
            logits = scores(left, right, users, both, num_threads=threads)
            extra[name] = (logits[:, 0], logits[:, 1:])
        known = None if self._sampler.verify else self._known.has(users, drawn)
        found = self._objective.derivatives(
            Pairs(own[:, 0], own[:, 1:], extra, users, items, drawn, weight, known, self._step)
        )
        self._step += 1

        entry, other = np.repeat(users, k + 1), both.ravel()
        by_user, by_item = Groups.of(entry, len(p.user)), Groups.of(other, len(p.item))
        # Draws of each entry: of a positive, all that stand beside it.
        counts = np.ones(both.shape, p.user.dtype)
        counts[:, 1:] = 1 - lost
        counts[:, 0] = counts[:, 1:].sum(1)
        of_item = by_item.totals(counts.ravel())
        counts[:, 1:] = 0
        of_user = by_user.totals(counts.ravel())
        sides = {"": (found.positive, found.negative), **found.extra}
        tables = {"": (p.user, p.item), **p.extra}
        for name, (left, right) in tables.items():
            slope = _side_by_side(*sides[name], left.dtype)
            l2 = (plan.l2_extra, plan.l2_extra) if name else (plan.l2_user, plan.l2_item)
            up = by_user.sums(slope, other, right, threads)
            if not plan.frozen_items:
                over = by_item.sums(slope, entry, left, threads)
                self._optimizer.move(right, by_item.rows, over, of_item, eta, l2[1])
                if not name and p.bias is not None:
                    self._optimizer.move(p.bias, by_item.rows, by_item.totals(slope), of_item, eta, plan.l2_bias)
            self._optimizer.move(left, by_user.rows, up, of_user, eta, l2[0])
        return int(((own[:, 1:] < own[:, :1]) & ~lost).sum()), int(lost.sum())


def _side_by_side(positive: NDArray[Any], negative: NDArray[Any], dtype: Any) -> NDArray[Any]:
    out = np.empty((len(negative), negative.shape[1] + 1), dtype)
    out[:, 0], out[:, 1:] = positive.sum(1), negative
    return out.ravel()
