"""Training by single steps in C++, lock-free or by blocks, for the objectives and samplers the kernels support."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphnoise.checks import fail
from recsys.kernels import sgd
from recsys.kernels.negatives import Known, streams
from recsys.kernels.sgd import Count
from recsys.models.initialisation import Parameters
from recsys.models.minibatch import Plan
from recsys.objectives import BPO, BPR, NBPO, WBPR, Objective
from recsys.objectives.nbpo import FLIP
from recsys.samplers import Popularity, Sampler, Uniform


def native_rule(mode: str, objective: Objective, sampler: Sampler) -> tuple[str, float]:
    """Return the name of the kernel's update rule for an objective, and the constant flip rate.

    Raises:
        InputError: The kernels do not support the objective or the sampler.
    """
    # A subclass may draw in its own way, which the kernels do not ask for.
    if type(sampler) not in (Uniform, Popularity) or not sampler.verify:
        fail("sampler", f"uniform or popularity, verified, in the mode {mode!r} (others in 'minibatch')", sampler.name)
    if getattr(sampler, "dislike_share", 0):
        fail("sampler", f"dislike_share=0 in the mode {mode!r} (others in 'minibatch')", repr(sampler))
    if type(objective) in (BPR, WBPR):
        return "bpr", 0.0
    if type(objective) is BPO:
        return "bpo", 0.0
    if type(objective) is NBPO and objective.flip_rate is None:
        return "nbpo", 0.0
    if type(objective) is not NBPO or not isinstance(objective.flip_rate, float):
        expected = f"bpr, bpo, or nbpo with one flip rate or a learned one, in the mode {mode!r}"
        fail("objective", expected, repr(objective))
    return "nbpo-constant", objective.flip_rate


class NativeTraining:
    """Training by single steps in C++; `epoch` changes `parameters` in place."""

    def __init__(
        self,
        mode: str,
        known: Known,
        parameters: Parameters,
        objective: Objective,
        sampler: Any,
        plan: Plan,
        rng: np.random.Generator,
    ) -> None:
        self._rule, self._flip_rate = native_rule(mode, objective, sampler)
        self._plan, self._known, self._sampler, self._rng = plan, known, sampler, rng
        width = parameters.user.shape[1]
        self._factors = sgd.Factors(sgd.padded(parameters.user), sgd.padded(parameters.item), parameters.bias)
        views = {}
        if parameters.extra:
            left, right = (sgd.padded(x) for x in parameters.extra[FLIP])
            self._factors.flip_user, self._factors.flip_item = left, right
            views = {FLIP: (left[:, :width], right[:, :width])}
        user, item = self._factors.user[:, :width], self._factors.item[:, :width]
        self.parameters = Parameters(user, item, parameters.bias, views)
        self._distributed = mode == "distributed"
        if mode in ("deterministic", "distributed"):
            weight = None if sampler.table is None else sampler.table.weight
            self._blocks: sgd.Blocks | None = sgd.Blocks(known, weight, rng)
        else:
            self._blocks, self._pairs = None, sgd.pairs_of(known)

    def epoch(self, number: int) -> Count:
        """Run an epoch: one step per known pair and negative."""
        plan = self._plan
        eta = plan.learning_rate * plan.learning_rate_decay ** (number + 1)
        rates = sgd.Rates(eta, plan.l2_user, plan.l2_item, plan.l2_item, plan.l2_bias, plan.l2_extra, self._flip_rate)
        attempts = self._sampler.attempts if self._sampler.redraw else 1
        key = streams(self._rng)[0]
        options: Any = {"each": plan.num_negatives, "attempts": attempts, "num_threads": plan.num_threads}
        if self._blocks is not None:
            options["distributed"] = self._distributed
            return sgd.by_blocks(self._rule, self._factors, rates, self._blocks, self._rng, key, **options)
        return sgd.lock_free(
            self._rule, self._factors, rates, self._known, self._pairs, self._sampler.table, key, **options
        )
