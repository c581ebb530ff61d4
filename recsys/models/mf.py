"""Matrix factorisation for implicit feedback, for any objective and any sampler."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, flag, integer, rate, real
from graphnoise.errors import InputError
from graphnoise.process_group import agree, checking, gathered
from graphnoise.resources import check_memory, thread_count
from recsys.base import Callback
from recsys.interactions import InteractionsLike, as_csr
from recsys.kernels.negatives import streams
from recsys.kernels.negatives.reference import STRIDE, below, words
from recsys.kernels.sgd import Count
from recsys.models.fitting import EpochModel
from recsys.models.initialisation import Parameters, initial_parameters
from recsys.models.minibatch import Minibatch, Plan
from recsys.models.native_training import NativeTraining, native_rule
from recsys.models.presets import PRESETS
from recsys.objectives import Objective
from recsys.objectives.base import fit_objective
from recsys.samplers import Sampler
from recsys.samplers.base import Ints, fit_sampler
from recsys.topk import Floats
from recsys.validation import PositionsLike, positions

MODES = ("auto", "minibatch", "deterministic", "distributed", "lock-free")
# Single steps in C++.
STEPS = ("deterministic", "distributed", "lock-free")
# Of single steps, and of minibatches; chosen on validation parts, see docs/recommend.md.
DEFAULTS: dict[str, tuple[float, float]] = {
    "learning_rate": (0.1, 0.05),
    "learning_rate_decay": (0.9925, 1.0),
    "regularization": (0.03, 0.01),
    "iterations": (240, 30),
}
# Options that single steps do not have, with the value that they need.
PLAIN = {"optimizer": "sgd", "l2": "touched", "shuffle": True, "dtype": "float32"}


class MatrixFactorization(EpochModel):
    r"""Scores R_ui = <U_u, V_i> + b_i, learned by stochastic gradients on an objective beside sampled negatives.

    An epoch visits each known pair once (minibatches) or once on average (single steps), with `num_negatives` draws
    each. L2 is part of a draw: it shrinks the rows of its user, its positive and its negative.

    Args:
        factors: Length of the vectors.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is the objective's sampler, else uniform.
        learning_rate: Step size eta; None is .1 for single steps and .05 for minibatches.
        regularization: L2 of users and items; None is .03 for single steps and .01 for minibatches.
        iterations: Epochs; None is 240 for single steps and 30 for minibatches.
        num_threads: 0 is one a core.
        random_state: Seed; None draws one, which the attribute then holds.
        mode: "auto": "deterministic" where objective, sampler and options allow it, else "minibatch". "minibatch":
            gradients of `batch_size` positives are summed at fixed parameters; supports every objective
            and sampler; bit-identical at any number of threads. "deterministic": single steps in C++ on blocks of users
            and items that share no row; bit-identical at any number of threads; the negatives of a step come from the
            item block of its positive, blocks are redrawn in each epoch. "distributed": the same steps and bits, by
            the processes of the default group of torch.distributed (at most eight of them have work), which all call
            `fit` with the same arguments. "lock-free": single steps in C++, all threads at once (Hogwild); the fastest,
            and **not repeatable** on more than one thread. The last three support BPR, BPO, NBPO (one flip rate or
            learned) and the samplers uniform and popularity.
        num_negatives: Negatives beside each positive.
        batch_size: Positives of a minibatch.
        biases: Whether items have biases b_i.
        bias_regularization: Their L2; None is `regularization`.
        extra_regularization: L2 of the factors of further logits, as NBPO's flips; None is `regularization`.
        learning_rate_decay: eta is multiplied by it before each epoch; None is .9925 for single steps, 1 for
            minibatches.
        optimizer: "sgd" or "adam"; Adam in minibatches only.
        l2: "touched", as above; "all": every row shrinks once per update, touched or not (minibatches with sgd only).
        shuffle: Permute the positives in each epoch; False visits them by user (minibatches only).
        init: "small" or "positive", see `recsys.models.initialisation.initial_parameters`.
        dtype: "float32" or "float64" (minibatches only); scores are float32 either way.
        metric: Metric that selects the epoch if `fit` receives a validation set.
        patience: Epochs without improvement after which to stop; None runs all. The best epoch is restored either way.

    Attributes:
        epochs: Number of epochs that were run.
        best_epoch: The selected epoch, from 0, if there was a validation set.
        history: The metric on the validation set after each epoch.
        counts: The numbers of draws, of correct and of skipped ones in each epoch.
        extra_user_factors, extra_item_factors: float32 [logits, rows, factors], of the further logits in their order.

    Raises:
        InputError: An argument out of range, or a mode that does not support the objective, the sampler or an option.

    Example:
        >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))) * (1 - np.eye(8)))
        >>> model = MatrixFactorization(4, "bpr", random_state=1, iterations=200).fit(clicks, False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [1]

    Source: Rendle et al., BPR, UAI 2009; further sources in `recsys.objectives` and `recsys.samplers`.
    """

    _arrays = (
        "user_factors", "item_factors", "item_biases", "extra_user_factors", "extra_item_factors", "propensities"
    )  # fmt: skip
    extra_user_factors: Any = None
    extra_item_factors: Any = None
    # Of the items, for objectives with propensities: new users are fitted with those of `fit`.
    propensities: Any = None

    def __init__(
        self,
        factors: int = 64,
        objective: Objective | str | Mapping[str, Any] = "bpr",
        sampler: Sampler | str | Mapping[str, Any] | None = None,
        learning_rate: float | None = None,
        regularization: float | None = None,
        iterations: int | None = None,
        num_threads: int = 0,
        random_state: int | None = 0,
        mode: str = "auto",
        *,
        num_negatives: int = 1,
        batch_size: int = 1024,
        biases: bool = True,
        bias_regularization: float | None = None,
        extra_regularization: float | None = None,
        learning_rate_decay: float | None = None,
        optimizer: str = "sgd",
        l2: str = "touched",
        shuffle: bool = True,
        init: str = "small",
        dtype: str = "float32",
        metric: str = "ndcg@20",
        patience: int | None = None,
    ) -> None:
        self.factors = integer("factors", factors, 1, 1 << 14)
        self.objective, self.sampler = objective, sampler
        parts = self.objective_and_sampler()
        self.learning_rate = _or_none("learning_rate", learning_rate)
        self.regularization = _or_none("regularization", regularization)
        self.iterations = None if iterations is None else integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.random_state = secrets.randbits(32) if random_state is None else integer("random_state", random_state, 0)
        self.mode = choice("mode", mode, MODES)
        self.num_negatives = integer("num_negatives", num_negatives, 1)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.biases, self.shuffle = flag("biases", biases), flag("shuffle", shuffle)
        self.bias_regularization = _or_none("bias_regularization", bias_regularization)
        self.extra_regularization = _or_none("extra_regularization", extra_regularization)
        self.learning_rate_decay = (
            None if learning_rate_decay is None else rate("learning_rate_decay", learning_rate_decay)
        )
        self.optimizer = choice("optimizer", optimizer, ("sgd", "adam"))
        self.l2 = choice("l2", l2, ("touched", "all"))
        self.init = choice("init", init, ("small", "positive"))
        self.dtype = choice("dtype", dtype, ("float32", "float64"))
        self._set_selection(metric, patience)
        if self.optimizer == "adam" and self.l2 == "all":
            fail("l2", "'touched' with the optimizer 'adam'", "'all'")
        if self.mode in STEPS:
            native_rule(self.mode, *parts)
            for name, plain in PLAIN.items():
                if getattr(self, name) != plain:
                    fail(name, f"{plain!r} in the mode {mode!r}", repr(getattr(self, name)))

    def _training_mode(self, objective: Objective, sampler: Sampler) -> str:
        """Return the mode, which "auto" selects by what single steps support."""
        if self.mode != "auto":
            return self.mode
        try:
            native_rule("deterministic", objective, sampler)
        except InputError:
            return "minibatch"
        return "deterministic" if all(getattr(self, name) == plain for name, plain in PLAIN.items()) else "minibatch"

    @classmethod
    def from_preset(cls, name: str, dataset: str = "amazon", **changes: Any) -> Self:
        """Return the settings of NBPO's released code: order, initial values, L2 of all rows, decay, float64.

        Args:
            name: "bpr", "bpo", "nbpo", "nbpo-o" or "nbpo-s".
            dataset: The hyper-parameters for "amazon" or "movielens".
            changes: Arguments of the constructor to change; the released spreadsheets have num_negatives=3.

        Raises:
            InputError: An unknown name or data set.

        Example:
            >>> MatrixFactorization.from_preset("nbpo").extra_regularization
            5.0

        Source: Yu and Qin, SIGIR 2020, the released code of 2020-12-17.
        """
        by_dataset = PRESETS[choice("name", name, sorted(PRESETS))]
        eta, l2, l2_flips = by_dataset[choice("dataset", dataset, sorted(by_dataset))]
        arguments: dict[str, Any] = {
            "factors": 50, "objective": name, "sampler": "uniform", "learning_rate": eta, "regularization": l2,
            "extra_regularization": l2_flips,
            "iterations": 200, "num_negatives": 4, "batch_size": 5000, "biases": False,
            "learning_rate_decay": 0.99, "l2": "all", "shuffle": False, "init": "positive", "dtype": "float64",
        }  # fmt: skip
        return cls(**{**arguments, **changes})

    def plan(self, frozen_items: bool = False) -> Plan:
        """Return the settings of the epochs."""
        l2 = self._value("regularization")
        return Plan(
            self.batch_size, self.num_negatives, self._value("learning_rate"), self._value("learning_rate_decay"), l2,
            l2, l2 if self.bias_regularization is None else self.bias_regularization,
            l2 if self.extra_regularization is None else self.extra_regularization,
            self.optimizer, self.l2 == "all", self.shuffle, thread_count(self.num_threads), frozen_items,
        )  # fmt: skip

    def _value(self, name: str) -> float:
        """Return a hyper-parameter, or its default in the mode."""
        value: float | None = getattr(self, name)
        if value is None:
            return DEFAULTS[name][self._training_mode(*self.objective_and_sampler()) == "minibatch"]
        return value

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        objective, sampler = self.objective_and_sampler()
        users, items = shape = user_items.shape
        if self.mode == "distributed":
            parts = user_items, self.dislikes, self._validation
            agree((self._parameters() | {"num_threads": 0}, [part is not None and _digest(part) for part in parts]))
        # Drawn in float64, trained, two copies of epochs and the best one, and the model's own.
        values = 8 * (users + items) * self.factors * (1 + len(objective.logits))
        check_memory(f"factors of {users} users and {items} items", 4.0 * values)
        rng = np.random.default_rng(self.random_state)
        plan = self.plan()
        parameters = initial_parameters(
            users, items, self.factors, objective.logits, self.init, self.biases, self.dtype, rng
        )
        sampler.num_threads = plan.num_threads
        known = fit_sampler(sampler, user_items, self.dislikes)
        distribution = sampler.probabilities() if hasattr(sampler, "probabilities") else None
        fit_objective(objective, user_items, distribution, self.dislikes)
        training: Minibatch | NativeTraining
        mode = self._training_mode(objective, sampler)
        if mode == "minibatch":
            training = Minibatch(known, parameters, objective, sampler, plan, rng)
        else:
            training = NativeTraining(mode, known, parameters, objective, sampler, plan, rng)

        def run_epoch(epoch: int) -> Count:
            # `_check_finite` reports overflow with a clearer message.
            with np.errstate(over="ignore", invalid="ignore"):
                return training.epoch(epoch)

        def copy(epoch: int, into: Parameters | None) -> Parameters:
            self._check_finite(training.parameters, epoch)
            return training.parameters.copy(into)

        def restore(state: Parameters) -> None:
            self.objective_, self.sampler_ = objective, sampler
            self.propensities = getattr(objective, "theta", None)
            self._restore(state, shape)

        self._run_epochs(user_items, show_progress, callback, int(self._value("iterations")), run_epoch, copy, restore)

    def _checking(self) -> AbstractContextManager[None]:
        return checking("mode", self.mode == "distributed")

    def _stops(self, stop: bool) -> bool:
        return any(gathered(stop)) if self.mode == "distributed" else stop

    def _restore(self, state: Parameters, shape: tuple[int, int]) -> None:
        """Copy parameters to the model."""
        self.user_factors, self.item_factors = (np.array(x, np.float32, order="C") for x in (state.user, state.item))
        self.item_biases = None if state.bias is None else state.bias.astype(np.float32)
        sides = [[state.extra[name][side] for name in self.objective_.logits] for side in (0, 1)]
        self.extra_user_factors, self.extra_item_factors = (np.array(x, np.float32) if x else None for x in sides)
        self.num_users, self.num_items = shape

    def _check_finite(self, parameters: Parameters, epoch: int) -> None:
        with np.errstate(over="ignore"):
            finite = all(np.isfinite(np.asarray(x, np.float32)).all() for x in parameters.arrays())
        if not finite:
            self._diverged(self.plan().learning_rate, epoch)

    def logits(self, name: str, userids: PositionsLike) -> Floats:
        """Return a further logit for all items, such as NBPO's "flip": float32 [len(userids), num_items].

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The objective has no such logit, or a user is unknown.
        """
        self.check_fitted()
        index = self.objective_.logits.index(choice("name", name, self.objective_.logits))
        users = positions("userids", userids, self.num_users)
        logits: Floats = self.extra_user_factors[index][users] @ self.extra_item_factors[index].T
        return logits

    def fold_in(self, user_items: InteractionsLike, iterations: int | None = None) -> NDArray[np.float32]:
        """Return factors of new users from their positives, for the fitted items.

        Each epoch is one step of the user's vector along the gradient of the objective, summed over the positives, with
        the items fixed and uniform negatives. Initial values and draws are the same for all users, so that the factors
        of a user depend on the user's row alone, unless terms of the objective depend on a whole batch (`nnpu`, `ubpr`,
        `t-ce`, `deca`).

        Args:
            user_items: Users × items of the fitted catalogue.
            iterations: Epochs; None is as many as `iterations`, at most 50.

        Returns:
            float32 [rows, factors]; zeros for a row without items.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: Another number of items, or flip rates per user.
        """
        return self._fold_in(*self._check_fold_in(user_items, iterations))[0]

    def _check_fold_in(self, user_items: InteractionsLike, iterations: int | None) -> tuple[sp.csr_array, int]:
        self.check_fitted()
        self._check_columns("user_items", user_items, "items")
        matrix = as_csr("user_items", user_items, shape=(None, self.num_items))
        return matrix, self._fold_in_epochs() if iterations is None else integer("iterations", iterations, 1)

    def _fold_in_epochs(self) -> int:
        return min(int(self._value("iterations")), 50)

    def _fold_in(self, user_items: sp.csr_array, epochs: int) -> tuple[NDArray[np.float32], Any]:
        """Return factors of new users, and those of the further logits."""
        rng = np.random.default_rng(self.random_state)
        logits, rows = self.objective_.logits, np.zeros(user_items.shape[0], np.int64)
        first = initial_parameters(1, 1, self.factors, logits, self.init, False, np.float32, rng)
        extra = {name: (first.extra[name][0][rows], self.extra_item_factors[k]) for k, name in enumerate(logits)}
        parameters = Parameters(first.user[rows], self.item_factors, self.item_biases, extra)
        if "users" in self.objective_._needs:
            fail("user_items", "the users of fit, as the objective has a rate for each of them", "new ones")
        objective = copy.copy(self.objective_)
        # Those of the users of fit.
        objective.dislikes = None
        objective.fit(user_items, None)
        if self.propensities is not None:
            objective.theta = self.propensities  # type: ignore[attr-defined]
        sampler = _UniformByItem().fit_checked(user_items)
        plan = replace(self.plan(frozen_items=True), batch_size=max(user_items.nnz, 1), shuffle=False)
        training = Minibatch(sampler.known, parameters, objective, sampler, plan, rng)
        for epoch in range(epochs):
            training.epoch(epoch)
        self._check_finite(parameters, epochs - 1)
        parameters.user[np.diff(user_items.indptr) == 0] = 0
        tables = np.array([parameters.extra[name][0] for name in logits], np.float32) if logits else None
        return np.asarray(parameters.user, np.float32), tables

    def partial_fit(self, user_items: InteractionsLike) -> Ints:
        """Add users to the fitted model, from their positives; fitted users and items do not change.

        Returns:
            Positions of the new users, one per row.

        Raises:
            InputError, NotFittedError: As `fold_in` and `partial_fit_users`.

        Example:
            >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))))
            >>> model = MatrixFactorization(4, "bpo", random_state=1, iterations=200).fit(clicks, False)
            >>> model.partial_fit(sp.csr_array([[0.0, 0, 0, 0, 1, 1, 0, 0]])).tolist()
            [8]
            >>> model.recommend(8, N=4, filter_already_liked_items=False)[0].min()
            np.int32(4)
        """
        matrix, _ = self._check_fold_in(user_items, None)
        new = np.arange(self.num_users, self.num_users + matrix.shape[0])
        self.partial_fit_users(new, user_items)
        return new

    def _new_users(self, rows: sp.csr_array) -> dict[str, Any]:
        vectors, extra = self._fold_in(rows, self._fold_in_epochs())
        return {"user_factors": vectors} | ({} if extra is None else {"extra_user_factors": extra})

    def scores_for(self, user_items: sp.csr_array) -> Floats:
        """Return scores of users given by their interactions alone, by `fold_in`."""
        return self._score(self._new_users(user_items)["user_factors"])


class _UniformByItem(Sampler):
    """Uniform negatives that depend on the positive item alone in an epoch; -1 if all attempts are known positives."""

    _key = 0

    def epoch(self, number: int, rng: np.random.Generator) -> None:
        self._key = streams(rng)[0]

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        places = items[:, None].astype(np.int64) * k + np.arange(k)
        counter = places.astype(np.uint64) * np.uint64(STRIDE)
        drawn = np.full(counter.shape, -1, np.int32)
        for attempt in range(self.attempts):
            left = np.flatnonzero((drawn < 0).any(1))
            if not len(left):
                break
            found = below(words(self._key, counter[left] + np.uint64(attempt)), self.known.num_items)
            found[self.known.has(users[left], found)] = -1
            drawn[left] = np.where(drawn[left] < 0, found, drawn[left])
        return drawn


def _digest(matrix: sp.csr_array) -> str:
    """Return a hash of the pairs of a canonical matrix."""
    state = hashlib.blake2b(repr(matrix.shape).encode(), digest_size=16)
    for values, kind in ((matrix.indptr, np.int64), (matrix.indices, np.int32)):
        state.update(np.ascontiguousarray(values, kind).data)
    return state.hexdigest()


def _or_none(name: str, value: Any) -> float | None:
    return None if value is None else real(name, value, 0.0)
