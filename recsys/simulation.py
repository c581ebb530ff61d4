"""Simulated noise with known truth: flips of clean data, low-rank preferences, exposure × relevance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse.linalg import svds
from scipy.special import expit

from graphnoise.checks import InputError, fail, flag, generator, integer, rate, real, renamed
from graphnoise.noise import flip_interactions
from graphnoise.resources import check_memory
from recsys.ids import check_same_ids
from recsys.interactions import Interactions, InteractionsLike, as_csr, as_interactions
from recsys.splits import Seed, Split
from recsys.validation import pair_keys

Bools = NDArray[np.bool_]
Keys = NDArray[np.int64]
# Cosines that are computed at once.
BLOCK_ENTRIES = 2**22


@dataclass(frozen=True, eq=False)
class SimulatedNoise:
    """Interactions after noise, with the ground truth.

    Attributes:
        interactions: The noisy interactions, the input of models.
        false_positive: For each of these interactions, in the order of `matrix.indices`, whether it was added [nnz].
        hidden: Removed positives, of the same shape: the false negatives.
        false_positive_rate: Added pairs over positives before noise.
        false_negative_rate: Hidden pairs over positives before noise.
        preference: P(like) of every pair, float32 [num_users, num_items], if known.
        exposure: P(seen) of every pair, in the same form, if known.
    """

    interactions: Interactions
    false_positive: Bools = field(repr=False)
    hidden: Interactions
    false_positive_rate: float
    false_negative_rate: float
    preference: NDArray[np.float32] | None = field(default=None, repr=False)
    exposure: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def added(self) -> Interactions:
        """The false positives as interactions."""
        return self.interactions.subset(self.false_positive)


@dataclass(frozen=True, eq=False)
class SimulatedSplit:
    """A split with noise in training and validation; the test part is clean.

    Attributes:
        split: Noisy training, noisy validation (unless `noisy_validation` is False) and clean test.
        train: The noise of the training part.
        validation: The noise of the validation part, or None.
    """

    split: Split
    train: SimulatedNoise
    validation: SimulatedNoise | None


def corrupt(
    interactions: InteractionsLike,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    *,
    popularity: float = 0.0,
    hidden_popularity: float = 0.0,
    spread: int = 0,
    exclude: InteractionsLike | None = None,
    seed: Seed = 0,
) -> SimulatedNoise:
    """Add unobserved pairs as positives, and hide observed ones.

    Of P positives, nearest(false_negative · P) are hidden, and nearest(false_positive · P) free pairs are added, in
    proportion to (1 + positives of the item)^power. Ratings and times are dropped, as added pairs have none; dislikes
    stay, and are not added.

    With `spread` = k noise propagates: each added pair (u, i) drawn so leads to further ones, u with the k free items
    nearest to i (cosine of the items' users), as a wrong click does that changes what is recommended. Fewer pairs are
    then drawn, so that their number stays the same. Items that share no user with i do not follow from it.

    Args:
        interactions: The clean interactions.
        false_positive: Added pairs as a share of P, in [0, 1].
        false_negative: Hidden pairs as a share of P, in [0, 1].
        popularity: Exponent for added pairs: 0 is uniform, 1 in proportion to popularity.
        hidden_popularity: Exponent for hidden pairs.
        spread: Number of further pairs that each drawn one leads to; 0: static noise.
        exclude: Interactions that are never added, such as held-out ones.
        seed: Seed of the draws.

    Raises:
        InputError: A rate is outside [0, 1], a power outside [-10, 10], a negative spread, or there are too few
            unobserved pairs.

    Example:
        >>> clicks = Interactions.from_csr(sp.csr_array(np.eye(20)))
        >>> noisy = corrupt(clicks, false_positive=0.5, false_negative=0.1, seed=1)
        >>> len(noisy.interactions), int(noisy.false_positive.sum()), len(noisy.hidden)
        (28, 10, 2)

    Source: added pairs as in Wu et al., "Self-supervised graph learning for recommendation", SIGIR 2021;
        hidden ones as in Ding et al., "Simplify and robustify negative sampling", NeurIPS 2020; spreading ones in the
        spirit of work on noise in chains of thought (static and dynamic noise), defined here.
    """
    interactions = as_interactions("interactions", interactions)
    shape, spread = interactions.matrix.shape, integer("spread", spread, 0, 1000)
    check_memory(f"{shape[0]} users × {shape[1]} items", 48.0 * shape[1])
    known = None if exclude is None else as_csr("exclude", exclude, shape=shape)
    check_same_ids([("interactions", interactions), ("exclude", exclude)])
    if interactions.dislikes is not None:
        known = interactions.dislikes if known is None else known + interactions.dislikes
    rates = rate("false_positive", false_positive), rate("false_negative", false_negative)
    rng = generator(seed)
    with _errors_about("false_positive_rate", "false_positive"):
        flipped = flip_interactions(
            interactions.matrix, *rates, popularity, rng, hidden_popularity=hidden_popularity, exclude=known
        )
    matrix, new = flipped.matrix, flipped.added[0] * shape[1] + flipped.added[1]
    if spread:
        taken = pair_keys(interactions.matrix if known is None else interactions.matrix + known)
        drawn, new = new, _spread(interactions.matrix, rng.permutation(new), taken, spread)
        keys = np.concatenate([np.setdiff1d(pair_keys(matrix), drawn), new])
        matrix = sp.csr_array((np.ones(len(keys), np.float32), np.divmod(keys, shape[1])), shape=shape)
    noisy = _with_ids(matrix, interactions)
    hidden = sp.csr_array((np.ones(flipped.hidden.shape[1], np.float32), tuple(flipped.hidden)), shape=shape)
    return SimulatedNoise(
        noisy,
        np.isin(pair_keys(noisy.matrix), new),
        _with_ids(hidden, interactions),
        flipped.false_positive_rate,
        flipped.false_negative_rate,
    )


def _spread(clean: sp.csr_array, drawn: Keys, taken: Keys, spread: int) -> Keys:
    """Return as many pairs as were drawn: the first drawn ones, each followed by its nearest free pairs."""
    num_items, columns = clean.shape[1], sp.csc_array(clean, dtype=np.float64)
    columns.data[:] = 1.0 / np.sqrt(np.repeat(np.diff(columns.indptr), np.diff(columns.indptr)))
    users, items = np.divmod(drawn, num_items)
    found, missing, begin = [np.empty(0, dtype=np.int64)], len(drawn), 0
    while missing > 0:
        # At least one of each row is new: enough rows end the loop.
        size = min(missing // (spread + 1), BLOCK_ENTRIES // num_items)
        rows, earlier = np.arange(begin, min(begin + max(size, 1), len(drawn))), np.concatenate(found)
        near = (columns[:, items[rows]].T @ columns).toarray()
        near[np.arange(len(rows)), items[rows]] = 2.0
        row, col = near.nonzero()
        keys = users[rows][row] * num_items + col
        free = ~np.isin(keys, taken) & ~np.isin(keys, earlier)
        row, col, keys = row[free], col[free], keys[free]
        order = np.lexsort((col, -near[row, col], row))
        row, keys = row[order], keys[order]
        place = np.arange(len(row)) - np.searchsorted(row, row) + np.isin(drawn[rows], earlier)[row]
        chosen = keys[place <= spread]
        # Of several rows of one user, the first has a pair that two want.
        chosen = chosen[np.sort(np.unique(chosen, return_index=True)[1])][:missing]
        found.append(chosen)
        missing, begin = missing - len(chosen), begin + len(rows)
    return np.concatenate(found)


def two_sided(
    interactions: InteractionsLike, hide: float, add: float, *, exclude: InteractionsLike | None = None, seed: Seed = 0
) -> SimulatedNoise:
    """Flip labels both ways at rates of a transition matrix: hide = P(0 | 1), add = P(1 | 0) over all unobserved pairs.

    The expected numbers of flips, rounded, are drawn uniformly. As unobserved pairs far outnumber positives, a small
    `add` makes many false positives: at most as many as positives.

    Raises:
        InputError: A rate is outside [0, 1], or more pairs would be added than there are positives.

    Example:
        >>> clicks = Interactions.from_csr(sp.csr_array(np.eye(20)))
        >>> noisy = two_sided(clicks, hide=0.25, add=0.05)
        >>> int(noisy.false_positive.sum()), len(noisy.hidden)
        (19, 5)

    Source: Natarajan et al., "Learning with noisy labels", NIPS 2013 (class-conditional flips).
    """
    interactions = as_interactions("interactions", interactions)
    zeros = interactions.num_users * interactions.num_items - len(interactions)
    expected_added = rate("add", add) * zeros
    if expected_added > len(interactions):
        expected = f"at most {len(interactions) / zeros:.3g}, so that no more are added than there are positives"
        fail("add", expected, add)
    share = expected_added / max(len(interactions), 1)
    with _errors_about("false_positive", "add"):
        return corrupt(interactions, share, rate("hide", hide), exclude=exclude, seed=seed)


@contextmanager
def _errors_about(name: str, argument: str) -> Iterator[None]:
    """Let errors about one argument of a function name the argument of its caller."""
    try:
        yield
    except InputError as error:
        raise InputError(renamed(str(error), {name: argument})) from None


def corrupt_split(
    split: Split,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    *,
    popularity: float = 0.0,
    hidden_popularity: float = 0.0,
    spread: int = 0,
    noisy_validation: bool = True,
    seed: Seed = 0,
) -> SimulatedSplit:
    """Corrupt training and validation of a split; the test part stays clean, and no pair of another part is added.

    Args:
        split: The clean split.
        false_positive: As in `corrupt`, for each part.
        false_negative: As in `corrupt`, for each part.
        popularity: As in `corrupt`.
        hidden_popularity: As in `corrupt`.
        spread: As in `corrupt`.
        noisy_validation: Corrupt the validation part too, as in practice; a clean one gives model selection
            information that is not available in practice.
        seed: Seed of the draws.

    Raises:
        InputError: As `corrupt`.

    Example:
        >>> from recsys.splits import ratio
        >>> parts = ratio(Interactions.from_csr(sp.csr_array(np.tri(40))))
        >>> noisy = corrupt_split(parts, false_positive=0.2)
        >>> len(parts.train), len(noisy.split.train), noisy.split.test is parts.test
        (652, 782, True)
    """
    if not isinstance(split, Split):
        fail("split", "a Split", type(split).__name__)
    rng = generator(seed)

    def noisy(part: Interactions, exclude: sp.csr_array) -> SimulatedNoise:
        return corrupt(
            part,
            false_positive,
            false_negative,
            popularity=popularity,
            hidden_popularity=hidden_popularity,
            spread=spread,
            exclude=_ones(exclude),
            seed=rng,
        )

    held_out = split.validation.matrix + split.test.matrix
    train = noisy(split.train, held_out)
    if not flag("noisy_validation", noisy_validation):
        return SimulatedSplit(Split(train.interactions, split.validation, split.test), train, None)
    excluded = split.train.matrix + train.interactions.matrix + split.test.matrix
    validation = noisy(split.validation, excluded)
    return SimulatedSplit(Split(train.interactions, validation.interactions, split.test), train, validation)


def low_rank(
    num_users: int,
    num_items: int,
    *,
    rank: int = 8,
    density: float = 0.05,
    scale: float = 2.0,
    popularity: float = 1.0,
    seed: Seed = 0,
) -> SimulatedNoise:
    r"""Return clean interactions of a low-rank model with the truth: like ~ Bernoulli(σ(scale · <a_u, b_i> + c_i + c)).

    a and b are Gaussian with <a_u, b_i> of variance 1, c_i is Gaussian with standard deviation `popularity`, and c is
    such that the mean probability is `density`. `corrupt` adds noise to the `interactions`.

    Args:
        num_users: Number of users.
        num_items: Number of items.
        rank: Length of a_u and b_i.
        density: Mean probability, in (0, 1).
        scale: Scale of the preferences.
        popularity: Standard deviation of the log-odds of items.
        seed: Seed of all draws.

    Raises:
        InputError: A size below 1, a density outside (0, 1), a negative scale, or sizes that exceed the available
            memory.

    Example:
        >>> world = low_rank(200, 100, density=0.1, seed=3)
        >>> abs(float(world.preference.mean()) - 0.1) < 1e-3, 1700 < len(world.interactions) < 2300
        (True, True)
    """
    m, n = integer("num_users", num_users, 1), integer("num_items", num_items, 1)
    rank = integer("rank", rank, 1)
    goal = real("density", density, 1e-9, 1 - 1e-9, "a number above 0 and below 1")
    scale, spread = real("scale", scale, 0.0, 1e3), real("popularity", popularity, 0.0, 1e3)
    check_memory(f"{m} users × {n} items", 32.0 * m * n)
    check_memory(f"{m} users and {n} items of rank {rank}", 8.0 * rank * (m + n))
    rng = generator(seed)
    users, items = rng.normal(size=(m, rank)), rng.normal(size=(n, rank))
    logits = scale / np.sqrt(rank) * (users @ items.T) + rng.normal(0, spread, n)
    far = float(np.abs(logits).max()) + 50
    shift = brentq(lambda c: float(expit(logits + c).mean()) - goal, -far, far, xtol=1e-6)
    preference = expit(logits + shift)
    liked = Interactions.from_csr(sp.csr_array((rng.random((m, n)) < preference).astype(np.float32)))
    return _clean(liked, preference.astype(np.float32))


def exposure_relevance(
    ratings: Interactions,
    *,
    rank: int = 20,
    epsilon: float = 5.0,
    power: float = 0.5,
    floor: float = 1e-3,
    seed: Seed = 0,
) -> SimulatedNoise:
    r"""Return semi-synthetic clicks from real ratings: click = seen · relevant, drawn independently.

    P(relevant) = σ(clip(R̂, 1, 5) - epsilon), where R̂ is the mean rating + offsets of user and item + a rank-`rank`
    singular value decomposition of the residuals (unknown entries as 0). P(seen) = clip(X̂, floor, 1)^power, where X̂ is
    that decomposition of the rated pairs. Relevant pairs that are not seen are in `hidden`; no click is a false
    positive.

    Args:
        ratings: Interactions with ratings from 1 to 5.
        rank: Rank of both decompositions.
        epsilon: Larger values make fewer pairs relevant.
        power: Larger values make fewer pairs seen, mostly of rare items.
        floor: Lower bound of P(seen) before the power.
        seed: Seed of the draws.

    Raises:
        InputError: There are no ratings, `rank` is not below both sizes, or sizes that exceed the available memory.

    Example:
        >>> cell = np.arange(0, 1200, 7)
        >>> stars = Interactions.from_triples(cell // 40, cell % 40, 1 + cell % 5)
        >>> clicks = exposure_relevance(stars, rank=4, epsilon=3.0)
        >>> clicks.preference.shape == clicks.exposure.shape == clicks.interactions.matrix.shape
        True

    Source: Saito et al., "Unbiased recommender learning from missing-not-at-random implicit feedback", 2020, section
    5.1, with decompositions instead of factorisations by gradient descent.
    """
    if getattr(ratings, "ratings", None) is None or not len(ratings):
        fail("ratings", "Interactions with ratings", f"{ratings!r}")
    m, n = ratings.matrix.shape
    rank = integer("rank", rank, 1, min(m, n) - 1)
    epsilon, power = real("epsilon", epsilon, -100.0, 100.0), real("power", power, 0.0, 100.0)
    floor = real("floor", floor, 1e-12, 1.0)
    check_memory(f"{m} users × {n} items", 40.0 * m * n)
    rng = generator(seed)
    row, col = ratings.rows, ratings.matrix.indices
    residuals = np.asarray(ratings.ratings, np.float64)
    mean = residuals.mean()
    residuals -= mean
    by_item = _means(residuals, col, n)
    residuals -= by_item[col]
    by_user = _means(residuals, row, m)
    residuals -= by_user[row]
    guess = _smooth(sp.csr_array((residuals, col, ratings.matrix.indptr), shape=(m, n)), rank, rng)
    guess += mean + by_user[:, None] + by_item
    preference = expit(np.clip(guess, 1, 5) - epsilon)
    exposure = np.clip(_smooth(ratings.matrix.astype(np.float64), rank, rng), floor, 1) ** power
    relevant = rng.random((m, n)) < preference
    seen = rng.random((m, n)) < exposure
    clicks, hidden = (
        _with_ids(sp.csr_array(part.astype(np.float32)), ratings) for part in (relevant & seen, relevant & ~seen)
    )
    share = len(hidden) / max(len(hidden) + len(clicks), 1)
    nothing = np.zeros(len(clicks), dtype=bool)
    known = preference.astype(np.float32), exposure.astype(np.float32)
    return SimulatedNoise(clicks, nothing, hidden, 0.0, share, *known)


def _means(values: NDArray[np.float64], place: Any, size: int) -> NDArray[np.float64]:
    sums, counts = np.bincount(place, values, size), np.bincount(place, minlength=size)
    return np.asarray(sums / np.maximum(counts, 1))


def _smooth(matrix: sp.csr_array, rank: int, rng: np.random.Generator) -> NDArray[np.float64]:
    # ARPACK cannot start on a zero matrix, the residuals of constant ratings.
    if not np.abs(matrix.data).max(initial=0) > 1e-9:
        return np.zeros(matrix.shape)
    u, s, v = svds(matrix, rank, v0=rng.normal(size=min(matrix.shape)))
    return np.asarray((u * s) @ v)


def _ones(matrix: sp.csr_array) -> sp.csr_array:
    return sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _with_ids(matrix: sp.csr_array, source: Interactions) -> Interactions:
    return Interactions(matrix, None, None, source.users, source.items, source.dislikes)


def _clean(liked: Interactions, preference: NDArray[np.float32]) -> SimulatedNoise:
    nothing = np.zeros(len(liked), dtype=bool)
    return SimulatedNoise(liked, nothing, liked.subset(nothing), 0.0, 0.0, preference)
