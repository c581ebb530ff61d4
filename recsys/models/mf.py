"""Matrix factorisation for implicit feedback, for any objective and any sampler."""

from __future__ import annotations

import copy
import json
import secrets
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, integer, rate, real
from graphnoise.resources import thread_count
from recsys.base import Callback
from recsys.kernels.negatives import Known
from recsys.models.fitting import EpochModel
from recsys.models.initialisation import Parameters, initial_parameters
from recsys.models.minibatch import Minibatch, Plan
from recsys.models.native_training import NativeTraining, rule
from recsys.models.presets import PRESETS
from recsys.objectives import objective as make_objective
from recsys.samplers import Uniform
from recsys.samplers import sampler as make_sampler
from recsys.topk import Floats
from recsys.validation import Ints, as_csr, check_memory, positions

MODES = ("minibatch", "deterministic", "lock-free")


class MatrixFactorization(EpochModel):
    r"""Scores R_ui = <U_u, V_i> + b_i, learned by stochastic gradients on an objective beside sampled negatives.

    An epoch sees each known pair once (in minibatches) or as often in the mean (single steps), `num_negatives` draws
    each. L2 is part of a draw: it shrinks the rows of its user, its positive and its negative.

    Args:
        factors: Length of the vectors.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is what the objective asks for, else uniform.
        learning_rate: eta.
        regularization: L2 of users and items.
        iterations: Epochs.
        num_threads: 0 is one a core.
        random_state: A seed; None draws one, which is kept as the attribute.
        mode: "minibatch": gradients of `batch_size` positives are summed at frozen parameters; for every objective and
            sampler; the same to the bit at any number of threads. "deterministic": single steps in C++ on blocks of
            users and items that share no row; the same to the bit at any number of threads; the negatives of a step
            come from the block of its positive, new blocks at each epoch. "lock-free": single steps in C++, all threads
            at once (Hogwild); the fastest, and **not repeatable** on more than one thread. The last two know BPR, BPO,
            NBPO (one flip rate or learned) and the samplers uniform and popularity.
        num_negatives: Negatives beside each positive.
        batch_size: Positives of a minibatch.
        biases: Whether items have biases b_i.
        bias_regularization: Their L2; None is `regularization`.
        extra_regularization: L2 of the factors of further logits, as NBPO's flips; None is `regularization`.
        learning_rate_decay: eta is multiplied by it before each epoch.
        optimizer: "sgd" or "adam"; Adam in minibatches only.
        l2: "touched", as above; "all": every row shrinks once at each update, touched or not (minibatches with sgd
            only).
        shuffle: A new order of positives at each epoch; False walks them by user (minibatches only).
        init: "small" or "positive", see `recsys.models.initialisation.initial_parameters`.
        dtype: "float32" or "float64" (minibatches only); scores are float32 either way.
        metric: What chooses the epoch where `fit` gets a validation set.
        patience: Stop after so many epochs without a better value; None runs all. The best epoch is kept either way.

    Attributes:
        epochs: Epochs that were run.
        best_epoch: The one that is kept, from 0, where there was a validation set.
        history: The metric on the validation set after each epoch.
        counts: Draws, correct and skipped ones, of each epoch.
        extra_user_factors, extra_item_factors: float32 [logits, rows, factors], of the further logits in their order.

    Raises:
        InputError: An argument out of range, or a mode that lacks the objective, the sampler or an option.

    Example:
        >>> import scipy.sparse as sp
        >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))) * (1 - np.eye(8)))
        >>> model = MatrixFactorization(4, "bpr", random_state=1, iterations=200).fit(clicks, False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [1]

    Source: Rendle et al., BPR, UAI 2009; `recsys.objectives` and `recsys.samplers` name those of the other parts.
    """

    _arrays = (
        "user_factors", "item_factors", "item_biases", "extra_user_factors", "extra_item_factors", "propensities"
    )  # fmt: skip
    extra_user_factors: Any = None
    extra_item_factors: Any = None
    # Of the items, where the objective knows them: a new user has the fitted ones.
    propensities: Any = None

    def __init__(
        self,
        factors: int = 64,
        objective: Any = "bpr",
        sampler: Any = None,
        learning_rate: float = 0.05,
        regularization: float = 0.01,
        iterations: int = 30,
        num_threads: int = 0,
        random_state: int | None = 0,
        mode: str = "minibatch",
        *,
        num_negatives: int = 1,
        batch_size: int = 1024,
        biases: bool = True,
        bias_regularization: float | None = None,
        extra_regularization: float | None = None,
        learning_rate_decay: float = 1.0,
        optimizer: str = "sgd",
        l2: str = "touched",
        shuffle: bool = True,
        init: str = "small",
        dtype: str = "float32",
        metric: str = "ndcg@20",
        patience: int | None = None,
    ) -> None:
        self.factors = integer("factors", factors, 1, 1 << 14)
        self.objective = make_objective(objective)
        self.sampler = make_sampler(self.objective.sampler or "uniform" if sampler is None else sampler)
        self.learning_rate = real("learning_rate", learning_rate, 0.0)
        self.regularization = real("regularization", regularization, 0.0)
        self.iterations = integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.random_state = secrets.randbits(32) if random_state is None else integer("random_state", random_state, 0)
        self.mode = choice("mode", mode, MODES)
        self.num_negatives = integer("num_negatives", num_negatives, 1)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.biases, self.shuffle = _flag("biases", biases), _flag("shuffle", shuffle)
        self.bias_regularization = _or_none("bias_regularization", bias_regularization)
        self.extra_regularization = _or_none("extra_regularization", extra_regularization)
        self.learning_rate_decay = rate("learning_rate_decay", learning_rate_decay)
        self.optimizer = choice("optimizer", optimizer, ("sgd", "adam"))
        self.l2 = choice("l2", l2, ("touched", "all"))
        self.init = choice("init", init, ("small", "positive"))
        self.dtype = choice("dtype", dtype, ("float32", "float64"))
        self._chosen_by(metric, patience)
        if self.optimizer == "adam" and self.l2 == "all":
            fail("l2", "'touched' with the optimizer 'adam'", "'all'")
        if self.mode != "minibatch":
            rule(self.mode, self.objective, self.sampler)
            for name, plain in (("optimizer", "sgd"), ("l2", "touched"), ("shuffle", True), ("dtype", "float32")):
                if getattr(self, name) != plain:
                    fail(name, f"{plain!r} in the mode {mode!r}", repr(getattr(self, name)))

    @classmethod
    def from_preset(cls, name: str, dataset: str = "amazon", **changes: Any) -> Self:
        """Return the setting of NBPO's released code: order, start, L2 of all rows, decay, float64.

        Args:
            name: "bpr", "bpo", "nbpo", "nbpo-o" or "nbpo-s".
            dataset: Whose hyper-parameters, "amazon" or "movielens".
            changes: Other arguments of the constructor; the released spreadsheets have num_negatives=3.

        Raises:
            InputError: An unknown name or data set.

        Example:
            >>> MatrixFactorization.from_preset("nbpo").extra_regularization
            5.0

        Source: Yu and Qin, SIGIR 2020, the released code of 2020-12-17.
        """
        found = PRESETS[choice("name", name, sorted(PRESETS))]
        eta, l2, flips = found[choice("dataset", dataset, sorted(found))]
        arguments: dict[str, Any] = {
            "factors": 50, "objective": name, "sampler": "uniform", "learning_rate": eta, "regularization": l2,
            "extra_regularization": flips, "iterations": 200, "num_negatives": 4, "batch_size": 5000, "biases": False,
            "learning_rate_decay": 0.99, "l2": "all", "shuffle": False, "init": "positive", "dtype": "float64",
        }  # fmt: skip
        return cls(**{**arguments, **changes})

    def plan(self, frozen_items: bool = False) -> Plan:
        """Return what the epochs need of the hyper-parameters."""
        l2 = self.regularization
        return Plan(
            self.batch_size, self.num_negatives, self.learning_rate, self.learning_rate_decay, l2, l2,
            l2 if self.bias_regularization is None else self.bias_regularization,
            l2 if self.extra_regularization is None else self.extra_regularization,
            self.optimizer, self.l2 == "all", self.shuffle, thread_count(self.num_threads), frozen_items,
        )  # fmt: skip

    def _fit(self, user_items: Any, show_progress: bool, callback: Callback | None) -> None:
        users, items = user_items.shape
        # drawn in float64, trained, kept from the last epoch and from the best one, and the model's own
        copies = 8 * (users + items) * self.factors * (1 + len(self.objective.logits))
        check_memory(f"factors of {users} users and {items} items", 4.0 * copies)
        rng = np.random.default_rng(self.random_state)
        plan = self.plan()
        first = initial_parameters(
            users, items, self.factors, self.objective.logits, self.init, self.biases, self.dtype, rng
        )
        self.sampler.num_threads = plan.num_threads
        self.sampler.fit(user_items)
        distribution = self.sampler.probabilities() if hasattr(self.sampler, "probabilities") else None
        self.objective.fit(user_items, distribution)
        self.propensities = getattr(self.objective, "theta", None)
        known = self.sampler.known
        training: Minibatch | NativeTraining
        if self.mode == "minibatch":
            training = Minibatch(known, first, self.objective, self.sampler, plan, rng)
        else:
            training = NativeTraining(self.mode, known, first, self.objective, self.sampler, plan, rng)

        def epoch_of(epoch: int) -> Any:
            # `_finite` says it better.
            with np.errstate(over="ignore", invalid="ignore"):
                return training.epoch(epoch)

        def kept(epoch: int) -> Parameters:
            self._finite(training.parameters, epoch)
            return training.parameters.copy()

        self._epochs(
            user_items, show_progress, callback, epoch_of, kept, lambda found: self._take(found, (users, items))
        )

    def _take(self, found: Parameters, shape: tuple[int, int]) -> None:
        """Make these factors the model's."""
        self.user_factors, self.item_factors = (np.array(x, np.float32, order="C") for x in (found.user, found.item))
        self.item_biases = None if found.bias is None else found.bias.astype(np.float32)
        sides = [[found.extra[name][side] for name in self.objective.logits] for side in (0, 1)]
        self.extra_user_factors, self.extra_item_factors = (np.array(x, np.float32) if x else None for x in sides)
        self.num_users, self.num_items = shape

    def _finite(self, found: Parameters, epoch: int) -> None:
        with np.errstate(over="ignore"):
            good = all(np.isfinite(np.asarray(x, np.float32)).all() for x in found.arrays())
        if not good:
            self._diverged(self.learning_rate, epoch)

    def logits(self, name: str, userids: Any) -> Floats:
        """Return a further logit for all items, as NBPO's "flip": float32 [len(userids), num_items].

        Raises:
            InputError: The objective has no such logit, a user is unknown, or the model is not fitted.
        """
        self.check_fitted()
        place = self.objective.logits.index(choice("name", name, self.objective.logits))
        users = positions("userids", userids, self.num_users)
        found: Floats = self.extra_user_factors[place][users] @ self.extra_item_factors[place].T
        return found

    def fold_in(self, user_items: Any, iterations: int | None = None) -> NDArray[np.float32]:
        """Return factors of users that were not fitted, from their positives, beside the fitted items.

        The same objective is followed with the items held as they are, with uniform negatives. Starts and draws are
        those of the whole call: beside other rows, a user gets slightly other factors.

        Args:
            user_items: Users × items of the fitted catalogue.
            iterations: Epochs; None is as many as `iterations`, at most 50.

        Returns:
            float32 [rows, factors]; zeros for a row without items.

        Raises:
            InputError: The model is not fitted, another number of items, or flip rates of single users.
        """
        return self._folded(user_items, iterations)[0]

    def _folded(self, user_items: Any, iterations: int | None) -> tuple[NDArray[np.float32], Any]:
        self.check_fitted()
        matrix = as_csr("user_items", user_items, shape=(None, self.num_items))
        epochs = min(self.iterations, 50) if iterations is None else integer("iterations", iterations, 1)
        rng = np.random.default_rng(self.random_state)
        logits = self.objective.logits
        found = initial_parameters(matrix.shape[0], 1, self.factors, logits, self.init, False, np.float32, rng)
        found.item, found.bias = self.item_factors, self.item_biases
        found.extra = {name: (found.extra[name][0], self.extra_item_factors[k]) for k, name in enumerate(logits)}
        known = Known.of(matrix)
        if "users" in self.objective._needs:
            fail("user_items", "the users of fit, as the objective has a rate for each of them", "new ones")
        learned = copy.deepcopy(self.objective).fit(matrix, None)
        if self.propensities is not None:
            learned.theta = self.propensities  # type: ignore[attr-defined]
        plan = self.plan(frozen_items=True)
        training = Minibatch(known, found, learned, Uniform().fit(matrix), plan, rng)
        for epoch in range(epochs):
            training.epoch(epoch)
        self._finite(found, epochs - 1)
        empty = np.diff(matrix.indptr) == 0
        found.user[empty] = 0
        extra = np.array([found.extra[name][0] for name in logits], np.float32) if logits else None
        return np.asarray(found.user, np.float32), extra

    def partial_fit(self, user_items: Any, iterations: int | None = None) -> Ints:
        """Add users to the fitted model, from their positives; fitted users and items stay as they are.

        Returns:
            Positions of the new users, one for each row.

        Raises:
            InputError: As `fold_in`.

        Example:
            >>> import scipy.sparse as sp
            >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))))
            >>> model = MatrixFactorization(4, "bpo", random_state=1, iterations=200).fit(clicks, False)
            >>> model.partial_fit(sp.csr_array([[0.0, 0, 0, 0, 1, 1, 0, 0]])).tolist()
            [8]
            >>> model.recommend(8, N=4, filter_already_liked_items=False)[0].min()
            np.int32(4)
        """
        vectors, extra = self._folded(user_items, iterations)
        first = self.num_users
        self.user_factors = np.concatenate([self.user_factors, vectors])
        if extra is not None:
            self.extra_user_factors = np.concatenate([self.extra_user_factors, extra], axis=1)
        self.num_users += len(vectors)
        return np.arange(first, self.num_users)

    def scores_for(self, user_items: Any) -> Floats:
        """Return scores of users known by their interactions alone, by `fold_in`."""
        return self._score(self.fold_in(user_items))

    def _parameters(self) -> dict[str, Any]:
        found = super()._parameters()
        found["objective"] = json.dumps(self.objective.parameters())
        found["sampler"] = json.dumps(self.sampler.parameters())
        return found

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        given = {key: json.loads(parameters[key]) for key in ("objective", "sampler")}
        return cls(**{**parameters, **given})


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        fail(name, "True or False", repr(value))
    return bool(value)


def _or_none(name: str, value: Any) -> float | None:
    return None if value is None else real(name, value, 0.0)
