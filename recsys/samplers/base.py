"""Base class of negative samplers: `fit` on known positives, then `sample(users, k, rng)`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, generator, integer
from graphnoise.resources import check_memory, thread_count
from recsys.interactions import InteractionsLike, as_csr
from recsys.kernels.negatives import MAX_ATTEMPTS, Known, draw, indices, streams
from recsys.validation import PositionsLike

Ints = NDArray[np.int32]
# Maps users [B] and items [B, n] to scores [B, n].
Scorer = Callable[[Ints, Ints], NDArray[Any]]
Factors = Callable[[], tuple[NDArray[Any], NDArray[Any]]]


class Sampler(ABC):
    """A distribution of negatives per user.

    `fit(user_items)` sets the known positives; `sample(users, k, rng)` then returns items, int32 [B, k]. A verified
    draw is never a known positive of its user: it is redrawn from the sampler's distribution up to `attempts` times and
    then once from the same distribution restricted to the other items. The rows of users who have every item are -1;
    `full_users` lists these users.

    Args:
        verify: Reject known positives; without it they are drawn like all other items.
        attempts: Draws before the exact one, from 1 to 30.
        num_threads: Threads; 0 is one per core. The draws do not depend on it.

    Attributes:
        needs_scores: Whether `bind` must set a scorer before the first draw.
        needs_items: Whether `sample` requires the positives, `items`.
        weights: Weights of the last draws, or None for ones.
        dislikes: The dislikes of `Interactions`, or None; set by `fit`.
    """

    name = "sampler"
    needs_scores = False
    needs_items = False
    weights: NDArray[Any] | None = None
    dislikes: sp.csr_array | None = None

    def __init__(self, *, verify: bool = True, attempts: int = 16, num_threads: int = 1) -> None:
        if not isinstance(verify, bool):
            fail("verify", "True or False", repr(verify))
        self.verify = verify
        self.attempts = integer("attempts", attempts, 1, MAX_ATTEMPTS)
        self.num_threads = thread_count(num_threads)
        self._known: Known | None = None
        self._scorer: Scorer | None = None
        self._factors: Factors | None = None

    @property
    def known(self) -> Known:
        """The known positives per user; set by `fit`."""
        if self._known is None:
            fail("sampler", "one that is fitted: sampler.fit(user_items)", "one that is not")
        return self._known

    def fit(self, user_items: InteractionsLike) -> Self:
        """Set the known positives from a users × items matrix.

        Raises:
            InputError: Not such a matrix, or one without items.
        """
        matrix = as_csr("user_items", user_items)
        if matrix.shape[1] == 0:
            fail("user_items", "at least one item", "none")
        self.dislikes = getattr(user_items, "dislikes", None)
        return self.fit_checked(matrix)

    def fit_checked(self, matrix: sp.csr_array) -> Self:
        """Set the known positives from a checked matrix."""
        self._known = Known.of(matrix, self.num_threads)
        self._prepare(matrix)
        return self

    def _prepare(self, matrix: sp.csr_array) -> None:  # noqa: B027 - most samplers need nothing
        """Compute what the distribution needs from the matrix."""

    def bind(self, scorer: Scorer, factors: Factors | None = None) -> Self:
        """Set the model whose scores or factors the sampler uses.

        Args:
            scorer: scorer(users [B], items [B, n]) returns scores [B, n].
            factors: Returns the vectors of users and of items, for samplers that use them.
        """
        self._scorer, self._factors = scorer, factors
        return self

    def epoch(self, number: int, rng: np.random.Generator) -> None:  # noqa: B027 - most samplers do nothing
        """Update the sampler before an epoch; `number` counts from 0."""

    def parameters(self) -> dict[str, Any]:
        """Return name and arguments as values that JSON can hold; `recsys.samplers.sampler` reads them."""
        return {"name": self.name, **{key: getattr(self, key) for key in inspect.signature(type(self)).parameters}}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.parameters().items() if k != "name")
        return f"{type(self).__name__}({arguments})"

    def __getstate__(self) -> dict[str, Any]:
        # The model that a sampler is bound to is no part of its copies.
        return {**vars(self), "_scorer": None, "_factors": None}

    @property
    def full_users(self) -> NDArray[np.int64]:
        """Users without any negative; all others can be sampled."""
        return self.known.full()

    def sample(
        self, users: PositionsLike, k: int, rng: int | np.random.Generator, items: PositionsLike | None = None
    ) -> Ints:
        """Draw k negatives per user.

        Args:
            users: Users, int [B].
            k: Negatives per user.
            rng: A NumPy generator, or a seed.
            items: The positives of the draws, int [B]; only some samplers need them.

        Returns:
            Items, int32 [B, k]; -1 where a user has every item.

        Raises:
            InputError: A user or item out of range, k below 1 or above the number of items, or `fit`, `bind` or `items`
                is missing.
        """
        known = self.known
        integer("k", k, 1)
        if k > known.num_items:
            fail("k", f"at most the {known.num_items} items of the catalogue", k)
        users = indices("users", users, known.num_users, "users")
        positives = None
        if items is not None:
            positives = indices("items", items, known.num_items, "items")
            if len(positives) != len(users):
                fail("items", f"one positive for each of {len(users)} users", len(positives))
        elif self.needs_items:
            fail("items", f"the positives, which {self.name!r} needs", "none")
        if self.needs_scores:
            self._bound()
        random = generator(rng, "rng")
        check_memory(f"{k} negatives for each of {len(users)} users", 4.0 * len(users) * k)
        if not len(users):
            return np.empty((0, k), np.int32)
        return self._draw(users, k, random, positives)

    @abstractmethod
    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints: ...

    def _bound(self) -> Scorer:
        if self._scorer is None:
            fail("sampler", f"scores of a model, sampler.bind(scorer), which {self.name!r} needs", "none")
        return self._scorer

    def _uniform(self, users: Ints, each: int, rng: np.random.Generator, **options: Any) -> Ints:
        """Draw candidates uniformly, int32 [B, each].

        Raises:
            InputError: The candidates and their scores exceed the available memory.
        """
        check_memory(f"{each} candidates for each of {len(users)} users", 16.0 * len(users) * each)
        options = {"attempts": self.attempts, "verify": self.verify, "num_threads": self.num_threads, **options}
        return draw(self.known, users, each, streams(rng)[0], **options)

    def _scores(self, users: Ints, items: Ints) -> NDArray[Any]:
        """Return the model's scores, -inf where the item is missing or the score is NaN."""
        scores = np.array(self._bound()(users, np.maximum(items, 0)))
        return np.where((items < 0) | np.isnan(scores), -np.inf, scores)


def fit_sampler(sampler: Sampler, matrix: sp.csr_array, dislikes: sp.csr_array | None = None) -> Known:
    """Fit a sampler, which may be the caller's own, to a checked matrix and dislikes, and return its known positives.

    Raises:
        InputError: The known positives of the sampler have another shape.
    """
    sampler.dislikes = dislikes
    sampler.fit_checked(matrix)
    known = sampler.known
    if not isinstance(known, Known) or (known.num_users, known.num_items) != matrix.shape:
        fail(f"{sampler.name}.known", f"a Known of {matrix.shape[0]} users and {matrix.shape[1]} items", "another")
    return known


def checked_draws(
    sampler: Sampler, users: Ints, k: int, rng: np.random.Generator, items: Ints, num_items: int
) -> tuple[Ints, NDArray[Any] | None]:
    """Return what a sampler, which may be the caller's own, draws and its weights.

    Raises:
        InputError: Not integers [B, k] from -1 to num_items - 1, or weights that are not numbers [B, k].
    """
    drawn, weights = sampler.sample(users, k, rng, items=items), sampler.weights
    shape, name = (len(users), k), f"{sampler.name}.sample"
    if not isinstance(drawn, np.ndarray) or drawn.shape != shape or drawn.dtype.kind not in "iu":
        got = f"{drawn.dtype} of shape {drawn.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        fail(name, f"an integer array of shape {shape}", got)
    if drawn.size and (drawn.min() < -1 or drawn.max() >= num_items):
        fail(name, f"items from 0 to {num_items - 1}, or -1", f"values from {drawn.min()} to {drawn.max()}")
    fits = isinstance(weights, np.ndarray) and weights.shape == shape and weights.dtype.kind in "biuf"
    if weights is not None and not fits:
        fail(f"{sampler.name}.weights", f"an array of numbers of shape {shape}, or None", type(weights).__name__)
    return np.ascontiguousarray(drawn, np.int32), weights


def on_known(value: str) -> bool:
    """Return whether a known item is redrawn."""
    return choice("on_known", value, ("redraw", "skip")) == "redraw"
