"""Noise with a known truth: flips of clean data, a low-rank world, and exposure × relevance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse.linalg import svds
from scipy.special import expit

from graphnoise.checks import fail, generator, integer, rate, real
from graphnoise.noise import flip_interactions
from recsys.interactions import Interactions, as_csr, as_interactions
from recsys.splits import Seed, Split
from recsys.validation import check_memory, pair_keys

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SimulatedNoise:
    """Interactions after noise, with what the noise did.

    Attributes:
        interactions: What a model may see.
        false_positive: For each of these interactions, in the order of `matrix.indices`, whether it was added [nnz].
        hidden: Positives that were taken away, of the same shape: the oracle of false negatives.
        false_positive_rate: Added pairs over positives before noise.
        false_negative_rate: Hidden pairs over positives before noise.
        preference: P(like) of every pair, float32 [num_users, num_items], where it is known.
        exposure: P(seen) of every pair, in the same form, where it is known.
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
    """A split with noise in what models see; the test part is the clean one, untouched.

    Attributes:
        split: Noisy training and, unless it was kept clean, noisy validation; clean test.
        train: What was done to the training part.
        validation: What was done to the validation part, or None.
    """

    split: Split
    train: SimulatedNoise
    validation: SimulatedNoise | None


def corrupt(
    interactions: Interactions,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    *,
    popularity: float = 0.0,
    hidden_popularity: float = 0.0,
    exclude: Any = None,
    seed: Seed = 0,
) -> SimulatedNoise:
    """Add unobserved pairs as positives, and hide observed ones.

    Of P positives, nearest(false_negative · P) are hidden, and nearest(false_positive · P) free pairs are added, in
    proportion to (1 + positives of the item)^power. Ratings and times are dropped, as added pairs have none.

    Args:
        interactions: The clean ones.
        false_positive: Added pairs as a share of P, in [0, 1].
        false_negative: Hidden pairs as a share of P, in [0, 1].
        popularity: The power for added pairs: 0 is uniform, 1 in proportion to popularity.
        hidden_popularity: The power for hidden pairs.
        exclude: Interactions that are never added, such as those held out.
        seed: Of the draws.

    Raises:
        InputError: A rate is outside [0, 1], a power outside [-10, 10], or there are too few free pairs.

    Example:
        >>> clicks = Interactions.from_csr(sp.csr_array(np.eye(20)))
        >>> noisy = corrupt(clicks, false_positive=0.5, false_negative=0.1, seed=1)
        >>> len(noisy.interactions), int(noisy.false_positive.sum()), len(noisy.hidden)
        (28, 10, 2)

    Source: added pairs as in Wu et al., "Self-supervised graph learning for recommendation", SIGIR 2021;
        hidden ones as in Ding et al., "Simplify and robustify negative sampling", NeurIPS 2020.
    """
    interactions = as_interactions("interactions", interactions)
    shape = interactions.matrix.shape
    check_memory(f"{shape[0]} users × {shape[1]} items", 48.0 * shape[1])
    known = None if exclude is None else as_csr("exclude", exclude, shape=shape)
    rates = rate("false_positive", false_positive), rate("false_negative", false_negative)
    done = flip_interactions(
        interactions.matrix, *rates, popularity, seed, hidden_popularity=hidden_popularity, exclude=known
    )
    noisy = _like(interactions, done.matrix)
    new = done.added[0] * shape[1] + done.added[1]
    hidden = sp.csr_array((np.ones(done.hidden.shape[1], np.float32), tuple(done.hidden)), shape=shape)
    return SimulatedNoise(
        noisy,
        np.isin(pair_keys(noisy.matrix), new),
        _like(interactions, hidden),
        done.false_positive_rate,
        done.false_negative_rate,
    )


def two_sided(
    interactions: Interactions, hide: float, add: float, *, exclude: Any = None, seed: Seed = 0
) -> SimulatedNoise:
    """Flip labels both ways at rates of a transition matrix: hide = P(0 | 1), add = P(1 | 0) over all unobserved pairs.

    The expected numbers of flips, rounded, are drawn uniformly. As there are far more zeros than ones, a small `add`
    makes many false positives: no more than there are positives.

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
    wanted = rate("add", add) * zeros
    if wanted > len(interactions):
        expected = f"at most {len(interactions) / zeros:.3g}, so that no more are added than there are positives"
        fail("add", expected, add)
    share = wanted / max(len(interactions), 1)
    return corrupt(interactions, share, rate("hide", hide), exclude=exclude, seed=seed)


def corrupt_split(
    split: Split,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    *,
    popularity: float = 0.0,
    hidden_popularity: float = 0.0,
    noisy_validation: bool = True,
    seed: Seed = 0,
) -> SimulatedSplit:
    """Corrupt what models see of a split; the test part stays clean, and no pair of another part is added.

    Args:
        split: The clean one.
        false_positive: As for `corrupt`, of each part by itself.
        false_negative: Likewise.
        popularity: Likewise.
        hidden_popularity: Likewise.
        noisy_validation: Corrupt the validation part too, as it would be in the world; otherwise it stays clean, and
            models are chosen with knowledge that nobody has.
        seed: Of the draws.

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

    def noisy(part: Interactions, exclude: Any) -> SimulatedNoise:
        powers = {"popularity": popularity, "hidden_popularity": hidden_popularity}
        return corrupt(part, false_positive, false_negative, **powers, exclude=_ones(exclude), seed=rng)

    held = split.validation.matrix + split.test.matrix
    train = noisy(split.train, held)
    if not noisy_validation:
        return SimulatedSplit(Split(train.interactions, split.validation, split.test), train, None)
    other = split.train.matrix + train.interactions.matrix + split.test.matrix
    validation = noisy(split.validation, other)
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
    r"""Return clean interactions of a low-rank world with its truth: like ~ Bernoulli(σ(scale · <a_u, b_i> + c_i + c)).

    a and b are Gaussian with <a_u, b_i> of variance 1, c_i is Gaussian with standard deviation `popularity`, and c is
    such that the mean probability is `density`. `corrupt` adds noise to its `interactions`.

    Args:
        num_users: Rows.
        num_items: Columns.
        rank: Length of a_u and b_i.
        density: Mean probability, in (0, 1).
        scale: How much taste matters.
        popularity: How much items differ in popularity.
        seed: Of all draws.

    Raises:
        InputError: A size below 1, a density outside (0, 1), a negative scale, or sizes that memory cannot hold.

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
    r"""Return semi-synthetic clicks on the users and items of real ratings: click = seen · relevant, drawn apart.

    P(relevant) = σ(clip(R̂, 1, 5) - epsilon), where R̂ is the mean rating + offsets of user and item + a rank-`rank`
    singular value decomposition of what is left (unknown entries as 0). P(seen) = clip(X̂, floor, 1)^power, where X̂ is
    that decomposition of who rated what. What is relevant and not seen is in `hidden`; no click is a false positive.

    Args:
        ratings: Interactions with ratings from 1 to 5.
        rank: Of both decompositions.
        epsilon: A larger one makes less relevant.
        power: A larger one makes less seen, and rarer things more so.
        floor: Least P(seen) before the power.
        seed: Of the draws.

    Raises:
        InputError: There are no ratings, `rank` is not below both sizes, or sizes that memory cannot hold.

    Example:
        >>> cell = np.arange(0, 1200, 7)
        >>> stars = Interactions.from_triples(cell // 40, cell % 40, 1 + cell % 5)
        >>> clicks = exposure_relevance(stars, rank=4, epsilon=3.0)
        >>> clicks.preference.shape == clicks.exposure.shape == clicks.interactions.matrix.shape
        True

    Source: Saito et al., "Unbiased recommender learning from missing-not-at-random implicit feedback", 2020, section
    5.1, with decompositions in the place of its factorisations by gradient descent.
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
    left = np.asarray(ratings.ratings, np.float64)
    mean = left.mean()
    left -= mean
    by_item = _means(left, col, n)
    left -= by_item[col]
    by_user = _means(left, row, m)
    left -= by_user[row]
    guess = _smooth(sp.csr_array((left, col, ratings.matrix.indptr), shape=(m, n)), rank, rng)
    guess += mean + by_user[:, None] + by_item
    preference = expit(np.clip(guess, 1, 5) - epsilon)
    exposure = np.clip(_smooth(ratings.matrix.astype(np.float64), rank, rng), floor, 1) ** power
    relevant = rng.random((m, n)) < preference
    seen = rng.random((m, n)) < exposure
    clicks, hidden = (
        _like(ratings, sp.csr_array(part.astype(np.float32))) for part in (relevant & seen, relevant & ~seen)
    )
    share = len(hidden) / max(len(hidden) + len(clicks), 1)
    nothing = np.zeros(len(clicks), dtype=bool)
    known = preference.astype(np.float32), exposure.astype(np.float32)
    return SimulatedNoise(clicks, nothing, hidden, 0.0, share, *known)


def _means(values: NDArray[np.float64], place: Any, size: int) -> NDArray[np.float64]:
    sums, counts = np.bincount(place, values, size), np.bincount(place, minlength=size)
    return np.asarray(sums / np.maximum(counts, 1))


def _smooth(matrix: Any, rank: int, rng: np.random.Generator) -> NDArray[np.float64]:
    # A constant has nothing left, and ARPACK no start.
    if not np.abs(matrix.data).max(initial=0) > 1e-9:
        return np.zeros(matrix.shape)
    u, s, v = svds(matrix, rank, v0=rng.normal(size=min(matrix.shape)))
    return np.asarray((u * s) @ v)


def _ones(matrix: Any) -> Any:
    return sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _like(given: Interactions, matrix: Any) -> Interactions:
    return Interactions.from_csr(matrix, given.users, given.items)


def _clean(liked: Interactions, preference: NDArray[np.float32]) -> SimulatedNoise:
    nothing = np.zeros(len(liked), dtype=bool)
    return SimulatedNoise(liked, nothing, liked.subset(nothing), 0.0, 0.0, preference)
