r"""Detection of false positives and hidden likes (`credibility`), and their removal and addition (`clean`).

Positives are scored out of fold and ranked among the user's unobserved items: K models are each fitted without one fold
of the positives. The statistic is the position

    x_ui = share of the user's unobserved items that the model scores above (u, i), ties by half, in (0, 1),

which is independent of the scale of scores and comparable between users. Pairs that are no likes have a uniform x;
likes have a density f1 that decreases in x. The positions of positives are a mixture pi + (1 - pi) f1(x) with the share
pi of false positives, those of unobserved pairs rho f1(x) + 1 - rho with the share rho of hidden likes. Both follow
from flip rates: with the share q of observed pairs, fn = P(r = 0 | r* = 1) and fp = P(r = 1 | r* = 0),

    P(like) = p = (q - fp) / (1 - fn - fp),   pi = fp (1 - p) / q,   rho = fn p / (1 - q).

NBPO's learned flip rate is not used: it learns "is unobserved", and ranks hidden likes below other pairs
(`recsys.objectives.nbpo`). Models trained by NBPO are supported, since only scores enter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import clone

from graphnoise.checks import choice, fail, generator, integer, rate
from recsys.agreement import Agreement, agree_with_truth
from recsys.base import Recommender, batches
from recsys.interactions import Interactions, InteractionsLike, as_interactions
from recsys.splits import Seed
from recsys.two_groups import fit_two_groups, hidden_likes, positive_positions
from recsys.validation import Ints, pair_keys, positions

METHODS = ("density", "mixture")


@dataclass(frozen=True, eq=False)
class Credibility:
    """Probabilities of a like for each positive, and for unobserved pairs.

    Attributes:
        interactions: The observed interactions.
        positive: P(like | observed, position) of each interaction, float32 [nnz], in the order of `matrix.indices`.
        position: x of each interaction under the model fitted without it, float32 [nnz].
        users: Users of unobserved pairs, int64 [pairs]; by user, the most probable first, unless `pairs` were observed.
        items: Items of unobserved pairs, int64 [pairs].
        hidden: P(like | unobserved, positions) of these, float32 [pairs], averaged over the models of the folds.
        false_positive_share: pi, share of false positives among the positives.
        hidden_share: rho, share of likes among the unobserved pairs.
        false_positive_rate: P(r = 1 | r* = 0), given or estimated.
        false_negative_rate: P(r = 0 | r* = 1), given or estimated.
        method: "density" or "mixture"; "stacked" or "score" of `stacked_credibility`.
        folds: K.
        dislikes: How well positions tell the dislikes of the interactions from positives (`recsys.agreement.Agreement`,
            the dislikes being the mistakes), beside popularity alone; None without dislikes.
    """

    interactions: Interactions
    positive: NDArray[np.float32]
    position: NDArray[np.float32]
    users: Ints
    items: Ints
    hidden: NDArray[np.float32]
    false_positive_share: float
    hidden_share: float
    false_positive_rate: float
    false_negative_rate: float
    method: str
    folds: int
    dislikes: Agreement | None = None

    def __repr__(self) -> str:
        shares = f"{self.false_positive_share:.3f} mistakes, {self.hidden_share:.4f} hidden likes"
        shares += "" if self.dislikes is None else f"; dislikes: {self.dislikes}"
        return f"Credibility({len(self.positive)} positives, {len(self.hidden)} unobserved pairs; {shares})"


@dataclass(frozen=True, eq=False)
class Cleaned:
    """Interactions after `clean`, and the changes.

    Attributes:
        interactions: The remaining and the added interactions.
        removed: Removed positives, of the same shape.
        added: Added likes, of the same shape.
    """

    interactions: Interactions
    removed: Interactions
    added: Interactions


def credibility(
    model: Recommender | Callable[[], Recommender],
    interactions: InteractionsLike,
    *,
    top: int = 20,
    pairs: tuple[Any, Any] | None = None,
    method: str = "density",
    false_positive_rate: float | None = None,
    false_negative_rate: float | None = None,
    folds: int = 5,
    seed: Seed = 0,
    num_threads: int = 0,
    show_progress: bool = False,
    fit_arguments: Mapping[str, Any] | None = None,
) -> Credibility:
    r"""Return the probability that each positive is a like, and that unobserved pairs are hidden likes.

    With f1 the density of likes at the position x (see `recsys.cleaning`),

        positive: (1 - pi) f1(x) / ((1 - pi) f1(x) + pi),   unobserved: rho f1(x) / (rho f1(x) + 1 - rho).

    Rates that are not given are estimated. pi is the density of positives in the tenth of positions with the fewest:
    too high where likes are there too, too low where false positives follow popularity, since the model assumes that
    they are distributed like unobserved pairs (those that follow popularity are also harder to detect). 1 - fn is the
    share of observed pairs among those ranked like the highest 1 % of positives. If a share s of these are likes, that
    is s (1 - fn) + (1 - s) fp: the estimate of fn is an upper bound, reached at s = 1, and positions do not tell s. The
    order of pairs hardly depends on the rates.

    In-sample scores of a model with far fewer parameters than positives may order its positives as well; they are not
    comparable with scores of unseen pairs.

    Args:
        model: The hyper-parameters of the models to fit: a recommender (which is not modified), or a function that
            returns a new one.
        interactions: Users × items, the observed interactions.
        top: Number of unobserved items to return per user, the most probable; dislikes are none of them.
        pairs: (users, items), positions of unobserved pairs to score instead of `top`.
        method: f1 is "density": decreasing in x (Grenander's estimate of the density of positives, minus pi); or
            "mixture": a x^(a - 1), with a by expectation-maximisation for this pi.
        false_positive_rate: fp = P(r = 1 | r* = 0) over all pairs, a small number; None estimates it.
        false_negative_rate: fn = P(r = 0 | r* = 1); None estimates it.
        folds: K, at least 2; the positives of each user are distributed evenly.
        seed: Seed of the folds.
        num_threads: Threads of scoring; 0 is one per core. Results do not depend on it.
        show_progress: Show the progress bars of the fits.
        fit_arguments: Further arguments of `fit`, such as features.

    Raises:
        InputError: Fewer interactions than folds, no unobserved pair, rates that contradict the number of positives,
            pairs that are unknown or observed, or a factory that returns no new recommender.

    Example:
        >>> from recsys import ItemKNN, simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> result = credibility(ItemKNN(), noisy.interactions, top=3)
        >>> mistakes = noisy.false_positive
        >>> bool(result.positive[mistakes].mean() < result.positive[~mistakes].mean() - 0.15)
        True
        >>> len(result.hidden) == 3 * 150
        True

    Source: Efron, "Large-scale inference", 2010, chapter 5 (two groups); Grenander, "On the theory of mortality
    measurement", 1956 (decreasing density); Storey, JRSS B 64, 2002 (share in the tail); Pounds and Morris,
    Bioinformatics 19, 2003 (beta-uniform mixture).
    """
    observed = as_interactions("interactions", interactions)
    matrix = observed.matrix
    m, n = matrix.shape
    folds = integer("folds", folds, 2)
    choice("method", method, METHODS)
    check_unobserved(observed, folds)
    fp = None if false_positive_rate is None else rate("false_positive_rate", false_positive_rate)
    fn = None if false_negative_rate is None else rate("false_negative_rate", false_negative_rate)
    q = matrix.nnz / (m * n)
    _check_rates(q, fp, fn)
    queries = None if pairs is None else _check_pairs(pairs, observed)
    top = integer("top", top, 0)
    rng = generator(seed)
    fold = assign_folds(observed, folds, rng)
    disliked = observed.dislikes
    # Dislikes are scored by one model each, as positives are.
    disliked_fold = rng.integers(0, folds, 0 if disliked is None else disliked.nnz)
    low = np.zeros((2, len(disliked_fold)))
    models = []
    arguments = {} if fit_arguments is None else fit_arguments
    known = inspect.signature(new_model(model).fit).parameters
    if not isinstance(arguments, Mapping) or not arguments.keys() <= known.keys():
        fail("fit_arguments", f"arguments of fit ({', '.join(known)})", repr(fit_arguments))
    interval = np.zeros((2, len(observed)))
    for k in range(folds):
        fitted = new_model(model)
        fitted.fit(observed.subset(fold != k), show_progress, **arguments)
        models.append(fitted)
        for pairs_of, at, into in ((matrix, fold == k, interval), (disliked, disliked_fold == k, low)):
            if pairs_of is not None:
                parts = batches(partial(positive_positions, fitted, matrix, pairs_of, at), m, n, num_threads)
                into[:, at] = np.concatenate(parts, 1)
    # Positives of users without any unobserved item.
    unranked = np.diff(matrix.indptr)[observed.rows] == n
    likes, pi, fn, fp = fit_two_groups(interval[:, ~unranked], method, q, fp, fn)
    rho = fn / (1 - fn) * (1 - pi) * q / (1 - q)
    density = likes(interval)
    positive = (1 - pi) * density / ((1 - pi) * density + pi)
    positive[unranked] = 1 - pi
    search = partial(hidden_likes, models, matrix, likes, rho, queries, top, disliked)
    rows = batches(search, m, n * folds, num_threads)
    users, items, hidden = (np.concatenate([row[k] for row in rows]) for k in range(3))
    if queries is not None:
        # In the order of the argument.
        place = np.searchsorted(users * n + items, queries[0] * n + queries[1])
        users, items, hidden = users[place], items[place], hidden[place]
    return Credibility(
        observed, positive.astype(np.float32), interval.mean(0).astype(np.float32), users, items,
        hidden.astype(np.float32), pi, rho, fp, fn, method, folds,
        dislike_agreement(observed, interval.mean(0), low.mean(0)),
    )  # fmt: skip


def dislike_agreement(observed: Interactions, positions: Any, of_dislikes: Any) -> Agreement | None:
    """Return how well positions (low for likes) tell dislikes from positives, or None without dislikes."""
    if observed.dislikes is None or not len(observed):
        return None
    likes, dislikes = observed.matrix, observed.dislikes
    clicks = np.bincount(likes.indices, minlength=observed.num_items)
    users = [np.repeat(np.arange(observed.num_users), np.diff(x.indptr)) for x in (likes, dislikes)]
    return agree_with_truth(
        np.append(positions, of_dislikes),
        np.append(clicks[likes.indices] - 1, clicks[dislikes.indices]),
        np.concatenate(users),
        np.repeat([0, 1], [likes.nnz, dislikes.nnz]),
    )


def clean(
    interactions: InteractionsLike,
    credibility: Credibility,
    *,
    threshold: float | None = None,
    share: float | None = None,
    add: float | None = None,
) -> Cleaned:
    """Return interactions without the least credible positives, and optionally with likely likes.

    Args:
        interactions: The interactions of `credibility`.
        credibility: Its result.
        threshold: Less credible positives are removed.
        share: nearest(share · positives) are removed, the least credible; among equals those of the lowest rank.
        add: Unobserved pairs of `credibility` that are likes with at least this probability are added. Ratings and
            times are dropped then, as added pairs have none.

    Raises:
        InputError: None of the three, both of the first two, a value outside [0, 1], other interactions, or an empty
            result.

    Example:
        >>> from recsys import ItemKNN, simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> cleaned = clean(noisy.interactions, credibility(ItemKNN(), noisy.interactions), share=0.1)
        >>> len(noisy.interactions), len(cleaned.interactions), len(cleaned.removed), len(cleaned.added)
        (1498, 1348, 150, 0)
    """
    observed = as_interactions("interactions", interactions)
    if not isinstance(credibility, Credibility):
        fail("credibility", "what recsys.credibility returned", type(credibility).__name__)
    scored = credibility.interactions.matrix
    if scored.shape != observed.matrix.shape or not np.array_equal(pair_keys(scored), pair_keys(observed.matrix)):
        fail("interactions", "those that credibility was asked about", repr(observed))
    if threshold is not None and share is not None:
        fail("share", "None together with threshold", share)
    if threshold is None and share is None and add is None:
        fail("threshold", "a threshold, a share or add", None)
    keep = np.ones(len(observed), bool)
    if threshold is not None:
        keep = credibility.positive >= rate("threshold", threshold)
    elif share is not None:
        number = round(rate("share", share) * len(observed))
        order = np.lexsort((-np.arange(len(observed)), -credibility.position, credibility.positive))
        keep[order[:number]] = False
    chosen = np.zeros(0, np.int64)
    if add is not None:
        chosen = np.unique(np.flatnonzero(credibility.hidden >= rate("add", add)))
    if not keep.any() and not len(chosen):
        fail("threshold" if share is None else "share", "one that leaves a positive", threshold or share)
    remaining, removed = observed.subset(keep), observed.subset(~keep)
    new = np.unique(credibility.users[chosen] * observed.num_items + credibility.items[chosen])
    where = (new // observed.num_items, new % observed.num_items)
    matrix = sp.csr_array((np.ones(len(new), np.float32), where), shape=observed.matrix.shape)
    added = Interactions.from_csr(matrix, observed.users, observed.items)
    if len(new):
        both = remaining.matrix + added.matrix
        remaining = Interactions(both, None, None, observed.users, observed.items, observed.dislikes)
    return Cleaned(remaining, removed, added)


def check_unobserved(observed: Interactions, folds: int) -> None:
    """Raise `InputError` unless there are as many interactions as folds, and an unobserved pair."""
    if len(observed) < folds:
        fail("interactions", f"at least as many as folds, {folds}", len(observed))
    if len(observed) == observed.num_users * observed.num_items:
        fail("interactions", "a pair that is not observed", "none")


def new_model(model: Any) -> Recommender:
    """Return a new model with the same hyper-parameters."""
    if isinstance(model, Recommender):
        return cast(Recommender, clone(model))
    new = model() if callable(model) else None
    if not isinstance(new, Recommender):
        got = type(model if new is None else new).__name__
        fail("model", "a Recommender, or a function that returns a new one", got)
    return new


def assign_folds(observed: Interactions, folds: int, rng: np.random.Generator) -> Ints:
    """Return a fold per interaction; those of each user are distributed evenly, starting at a random fold."""
    sizes = np.diff(observed.matrix.indptr)
    order = np.lexsort((rng.random(len(observed)), observed.rows))
    place = np.empty(len(observed), np.int64)
    place[order] = np.arange(len(observed)) - np.repeat(observed.matrix.indptr[:-1], sizes)
    return np.asarray((place + rng.integers(0, folds, observed.num_users)[observed.rows]) % folds)


def _check_pairs(pairs: Any, observed: Interactions) -> tuple[Ints, Ints]:
    if not isinstance(pairs, tuple | list) or len(pairs) != 2:
        fail("pairs", "(users, items)", type(pairs).__name__)
    users = positions("pairs, users", pairs[0], observed.num_users)
    items = positions("pairs, items", pairs[1], observed.num_items)
    if len(users) != len(items):
        fail("pairs", f"{len(users)} items, as many as users", len(items))
    known = np.isin(users * observed.num_items + items, pair_keys(observed.matrix))
    if known.any():
        fail("pairs", "unobserved pairs", f"{int(known.sum())} that are observed")
    return users, items


def _check_rates(q: float, fp: float | None, fn: float | None) -> None:
    """Raise `InputError` unless some share of likes is consistent with the rates and the number of positives."""
    if fp is not None and fp >= q:
        fail("false_positive_rate", f"less than the share of pairs that are observed, {q:.3g}", fp)
    if fn is not None and (fn >= 1 or (q - (fp or 0.0)) / (1 - fn - (fp or 0.0)) >= 1 or fn + (fp or 0.0) >= 1):
        fail("false_negative_rate", f"one that {q:.3g} of all pairs observed allow", fn)
