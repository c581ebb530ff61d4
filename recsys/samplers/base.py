"""What all samplers share: `fit` to what is known, then `sample(users, k, rng)`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, generator, integer
from graphnoise.resources import thread_count
from recsys.kernels.negatives import MAX_ATTEMPTS, Known, draw, streams
from recsys.validation import as_csr, check_memory

Ints = NDArray[np.int32]
# Users [B], items [B, n] -> scores [B, n].
Scorer = Callable[[Ints, Ints], NDArray[Any]]
Factors = Callable[[], tuple[NDArray[Any], NDArray[Any]]]


class Sampler(ABC):
    """A law of negatives for each user.

    `fit(user_items)` tells what is known; `sample(users, k, rng)` then returns items, int32 [B, k]. A verified draw is
    never a known positive of its user: it is drawn again, `attempts` times by the sampler's law and then once by the
    same law on what the user does not have. A user who has every item is skipped: the row holds -1, and `full_users`
    names such users beforehand.

    Args:
        verify: Refuse known positives. Without, they are drawn as the law has them.
        attempts: Draws before the exact one, from 1 to 30.
        num_threads: Threads, 0 for all cores. The draws do not depend on it.

    Attributes:
        needs_scores: Whether `bind` must give it a model's scores before it draws.
        needs_items: Whether `sample` must be told the positives, `items`.
    """

    name = "sampler"
    needs_scores = False
    needs_items = False
    # Of the last draws, where a law weighs them.
    weights: NDArray[Any] | None = None

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
        """What is known of the users, once it is fitted."""
        if self._known is None:
            fail("sampler", "one that is fitted: sampler.fit(user_items)", "one that is not")
        return self._known

    def fit(self, user_items: Any) -> Self:
        """Take the known positives of a users × items matrix.

        Raises:
            InputError: No such matrix, or one without items.
        """
        matrix = as_csr("user_items", user_items)
        if matrix.shape[1] == 0:
            fail("user_items", "at least one item", "none")
        self._known = Known.of(matrix, self.num_threads)
        self._prepare(matrix)
        return self

    def _prepare(self, matrix: Any) -> None:  # noqa: B027 - most laws need nothing
        """Make what the law needs of the matrix."""

    def bind(self, scorer: Scorer, factors: Factors | None = None) -> Self:
        """Give the sampler a model.

        Args:
            scorer: scorer(users [B], items [B, n]) returns scores [B, n].
            factors: Returns the vectors of users and of items, for the laws that look at them.
        """
        self._scorer, self._factors = scorer, factors
        return self

    def epoch(self, number: int, rng: np.random.Generator) -> None:  # noqa: B027 - most laws do nothing
        """Do what is done between epochs; `number` counts from 0."""

    def parameters(self) -> dict[str, Any]:
        """Return name and arguments in JSON's types: what `recsys.samplers.sampler` takes."""
        return {"name": self.name, **{key: getattr(self, key) for key in inspect.signature(type(self)).parameters}}

    @property
    def full_users(self) -> NDArray[np.int64]:
        """Users for whom there is no negative; all others can be sampled."""
        return self.known.full()

    def sample(self, users: Any, k: int, rng: Any, items: Any = None) -> Ints:
        """Draw k negatives of each user.

        Args:
            users: Users, int [B].
            k: Negatives of each.
            rng: A NumPy generator, or a seed.
            items: The positives beside which they stand, int [B]; only some laws ask for them.

        Returns:
            Items, int32 [B, k]; -1 where a user has every item.

        Raises:
            InputError: A user or item out of range, k below 1 or above the number of items, or a sampler that lacks
                `fit`, `bind` or `items`.
        """
        known = self.known
        integer("k", k, 1)
        if k > known.num_items:
            fail("k", f"at most the {known.num_items} items of the catalogue", k)
        who = checked("users", users, known.num_users, "users")
        positives = None
        if items is not None:
            positives = checked("items", items, known.num_items, "items")
            if len(positives) != len(who):
                fail("items", f"one positive for each of {len(who)} users", len(positives))
        elif self.needs_items:
            fail("items", f"the positives, which {self.name!r} looks at", "none")
        if self.needs_scores:
            self._bound()
        random = generator(rng, "rng")
        check_memory(f"{k} negatives for each of {len(who)} users", 4.0 * len(who) * k)
        if not len(who):
            return np.empty((0, k), np.int32)
        return self._draw(who, k, random, positives)

    @abstractmethod
    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints: ...

    def _bound(self) -> Scorer:
        if self._scorer is None:
            fail("sampler", f"scores of a model, sampler.bind(scorer), which {self.name!r} looks at", "none")
        return self._scorer

    def _uniform(self, users: Ints, each: int, rng: np.random.Generator, **how: Any) -> Ints:
        """Draw candidates uniformly, int32 [B, each].

        Raises:
            InputError: They and their scores would not fit into memory.
        """
        check_memory(f"{each} candidates for each of {len(users)} users", 16.0 * len(users) * each)
        kind = {"attempts": self.attempts, "verify": self.verify, "num_threads": self.num_threads, **how}
        return draw(self.known, users, each, streams(rng)[0], **kind)

    def _scores(self, users: Ints, items: Ints) -> NDArray[Any]:
        """Return the model's scores, minus infinity where there is no item or the score is no number."""
        found = np.array(self._bound()(users, np.maximum(items, 0)))
        return np.where((items < 0) | np.isnan(found), -np.inf, found)


def checked(name: str, value: Any, bound: int, what: str) -> Ints:
    """Return a list of places below `bound`."""
    given = np.asarray(value)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        fail(name, f"a list of {what}", f"shape {given.shape}, type {given.dtype}")
    if given.size and (given.min() < 0 or given.max() >= bound):
        fail(name, f"{what} from 0 to {bound - 1}", f"values from {given.min()} to {given.max()}")
    return np.ascontiguousarray(given, dtype=np.int32)


def on_known(value: str) -> bool:
    """Return whether a known item is drawn again."""
    return choice("on_known", value, ("redraw", "skip")) == "redraw"
