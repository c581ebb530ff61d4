r"""Credibility of clicks from several models at once (`stacked_credibility`).

A pair of user and item is described by the place and the score that each model gives it among the user's unobserved
items, the popularity of the item and the activity of the user, all of models and counts without one fold of the clicks.
Gradient boosting, monotone in scores and places, learns to tell the held-out clicks from unobserved pairs drawn at
random, on the other folds: the probability of a pair never comes from a classifier that was trained on it. The position
x of a click is then the share of the drawn pairs that the classifier scores above it, and probabilities follow from x
as in `recsys.cleaning`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from graphnoise.checks import fail, flag, generator, integer, real
from graphnoise.resources import check_memory, limit_threads
from recsys.base import Recommender, batches
from recsys.cleaning import Credibility, assign_folds, check_unobserved, dislike_agreement, new_model
from recsys.interactions import Interactions, InteractionsLike, as_interactions
from recsys.models.baselines import ItemKNN
from recsys.models.linear import DenoisingLinear
from recsys.splits import Seed
from recsys.two_groups import Floats, fit_two_groups, ranks
from recsys.validation import Ints

# Called with the number of fits that are done, their total, and what runs now.
Progress = Callable[[int, int, str], object]
# The fewest unobserved pairs to draw; otherwise as many as clicks.
MIN_DRAWN = 5000


def stacked_credibility(
    interactions: InteractionsLike,
    *,
    models: Sequence[Recommender | Callable[[], Recommender]] | None = None,
    boosting: bool = True,
    popularity: float = 0.0,
    top: int = 20,
    folds: int = 5,
    seed: Seed = 0,
    num_threads: int = 0,
    progress: Progress | None = None,
) -> Credibility:
    r"""Return the probability that each positive is a like, from several models by gradient boosting.

    With x the position of a click among drawn unobserved pairs, by the classifier's score, and with the density f1 of
    likes at x and the shares pi and rho, which `recsys.credibility` defines and estimates in the same way,

        positive: (1 - pi) f1(x) / ((1 - pi) f1(x) + pi),   unobserved: rho f1(x) / (rho f1(x) + 1 - rho).

    Mistakes are assumed to be distributed like the drawn pairs: over all users alike, so that users with many clicks
    are trusted more, and over items in proportion to (1 + clicks of the item)^popularity. The probabilities of
    unobserved pairs are those for popularity = 0.

    Args:
        interactions: Users × items, the observed interactions.
        models: Models as `recsys.credibility` takes one, fitted once per fold; None is `ItemKNN` and `DenoisingLinear`.
        boosting: Without it, the score of the first model is compared between users as it is.
        popularity: Exponent for the drawn pairs, 0 for mistakes at random, 1 for mistakes in proportion to popularity.
        top: Number of unobserved items to return per user, of the 2 · top that the models rank highest.
        folds: K, at least 2; the positives of each user are distributed evenly.
        seed: Seed of the folds, the drawn pairs and the classifier.
        num_threads: Threads of scoring; 0 is one per core. Results do not depend on it.
        progress: Called as `progress(done, total, text)`.

    Raises:
        InputError: Fewer interactions than folds, fewer than two users or items, too few unobserved pairs, no model,
            or one that is no recommender.

    Example:
        >>> from recsys import ItemKNN, simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> result = stacked_credibility(noisy.interactions, models=[ItemKNN()], top=3)
        >>> mistakes = noisy.false_positive
        >>> bool(result.positive[mistakes].mean() < result.positive[~mistakes].mean() - 0.15)
        True

    Source: Wolpert, "Stacked generalization", Neural Networks 5, 1992; Elkan and Noto, "Learning classifiers from only
    positive and unlabeled data", KDD 2008 (observed against unobserved); the two groups as in `recsys.credibility`.
    """
    observed = as_interactions("interactions", interactions)
    m, n = observed.matrix.shape
    folds = integer("folds", folds, 2)
    check_unobserved(observed, folds)
    if min(m, n) < 2:
        fail("interactions", "at least two users and two items", f"{m} and {n}")
    popularity = real("popularity", popularity, -10.0, 10.0)
    top, boosting = integer("top", top, 0), flag("boosting", boosting)
    if isinstance(models, str) or not isinstance(models, Sequence | None) or (models is not None and not len(models)):
        fail("models", "a list of models, or None", repr(models))
    chosen = [ItemKNN(), DenoisingLinear()] if models is None else list(models)
    for model in chosen:
        new_model(model)
    say = as_progress(progress)
    rng, size = generator(seed), len(observed)
    check_memory(
        f"{size} positives and {m} users", 12.0 * (2 * len(chosen) + 6) * (2 * max(size, MIN_DRAWN) + 2 * top * m)
    )
    fold = assign_folds(observed, folds, rng)
    drawn = _draw_unobserved(observed, max(size, MIN_DRAWN), popularity, rng)
    # The fold of an unobserved pair: a random Latin pattern.
    pattern = rng.integers(0, folds, m), rng.integers(0, folds, n)
    drawn_fold = (pattern[0][drawn[0]] + pattern[1][drawn[1]]) % folds
    if len(np.unique(drawn_fold)) < 2:
        fail("interactions", "more pairs that are not observed", m * n - size)
    # Dislikes are scored as well, and no classifier is trained on them.
    disliked = np.zeros((2, 0), np.int64) if observed.dislikes is None else np.stack(observed.dislikes.nonzero())
    known = drawn_fold, (pattern[0][disliked[0]] + pattern[1][disliked[1]]) % folds
    users = np.concatenate([observed.rows, drawn[0], disliked[0]])
    items = np.concatenate([observed.matrix.indices, drawn[1], disliked[1]])
    random_state, parts = int(rng.integers(2**31)), []
    # The same bits at any number of threads.
    with limit_threads(1):
        for k in range(folds):
            train, fitted = observed.subset(fold != k), []
            for model in chosen:
                fitted.append(new_model(model))
                text = f"{type(fitted[-1]).__name__} without fold {k + 1} of {folds}"
                say(k * len(chosen) + len(fitted) - 1, folds * (len(chosen) + 1), text)
                fitted[-1].fit(train, False)
            inside = np.flatnonzero(np.concatenate([fold, *known]) == k)
            inside = inside[np.argsort(users[inside], kind="stable")]
            free = None if top == 0 else lambda user, k=k: (pattern[0][user] + pattern[1]) % folds == k
            queries = users[inside], items[inside], inside
            run = partial(_describe, fitted, train, observed, queries, free, -(-2 * top // folds))
            parts += [(*part, np.full(len(part[0]), k)) for part in batches(run, m, 2 * n, num_threads)]
        users, items, origin, features, fold = (np.concatenate([part[j] for part in parts]) for j in range(5))
        # As they were: positives, drawn pairs, and candidates after them.
        order = np.argsort(np.where(origin < 0, len(origin), origin), kind="stable")
        users, items, features, fold = users[order], items[order], features[order], fold[order]
        counts = [size, len(drawn[0]), len(disliked[0])]
        label = np.repeat([1, 0, 2, -1], [*counts, len(users) - sum(counts)])
        score = features[:, 0].astype(np.float64)
        for k in range(folds if boosting else 0):
            say(folds * len(chosen) + k, folds * (len(chosen) + 1), f"classifier {k + 1} of {folds}")
            train_on, own = (fold != k) & np.isin(label, (0, 1)), fold == k
            score[own] = _grades(features[train_on], label[train_on], features[own], len(chosen), random_state)
    x = np.empty((2, len(users)))
    for k in range(folds):
        x[:, fold == k] = ranks(np.sort(score[(fold == k) & (label == 0)]), score[fold == k], 1)
    q = size / (m * n)
    likes, pi, fn, fp = fit_two_groups(x[:, :size], "density", q, None, None)
    rho = fn / (1 - fn) * (1 - pi) * q / (1 - q)
    density = likes(x)
    positive = ((1 - pi) * density / ((1 - pi) * density + pi))[:size]
    hidden = rho * density / (rho * density + 1 - rho)
    others = np.flatnonzero(label < 0)
    others = others[np.lexsort((-score[others], -hidden[others], users[others]))]
    others = others[np.arange(len(others)) - np.searchsorted(users[others], users[others]) < top]
    return Credibility(
        observed, positive.astype(np.float32), x[:, :size].mean(0).astype(np.float32), users[others], items[others],
        hidden[others].astype(np.float32), pi, rho, fp, fn, "stacked" if boosting else "score", folds,
        dislike_agreement(observed, x[:, :size].mean(0), x[:, label == 2].mean(0)),
    )  # fmt: skip


def as_progress(progress: object) -> Progress:
    """Return a function to call with progress, which does nothing for None."""
    if progress is None:
        return lambda done, total, text: None
    if not callable(progress):
        fail("progress", "a function or None", type(progress).__name__)
    return progress


def _grades(
    features: NDArray[np.float32], label: Ints, queries: NDArray[np.float32], num_models: int, random_state: int
) -> Floats:
    """Return the probability of label 1 of each query, by a classifier of some features and labels."""
    # A click is never less likely at a higher score or a better place.
    signs = [1] * num_models + [-1] * num_models + [0, 0]
    classifier = HistGradientBoostingClassifier(
        max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False, monotonic_cst=signs, random_state=random_state
    )
    return np.asarray(classifier.fit(features, label).predict_proba(queries)[:, 1])


def _draw_unobserved(
    observed: Interactions, number: int, popularity: float, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Return users and items of unobserved pairs, drawn with replacement, in proportion to (1 + clicks)^popularity."""
    clicks = np.bincount(observed.matrix.indices, minlength=observed.num_items)
    powers = (1.0 + clicks) ** popularity
    # Integers, for exact sums; each at least 1.
    weight = np.maximum(np.rint(powers / powers.mean() * 2**16), 1).astype(np.int64)
    until, own = np.append(0, np.cumsum(weight)), np.append(0, np.cumsum(weight[observed.matrix.indices]))
    # All pairs by user and item lie side by side, each as wide as its weight; the observed ones are cut out.
    before = observed.rows * until[-1] + until[observed.matrix.indices] - own[:-1]
    drawn = rng.integers(0, observed.num_users * until[-1] - own[-1], number)
    drawn += own[np.searchsorted(before, drawn, "right")]
    return drawn // until[-1], np.searchsorted(until, drawn % until[-1], "right") - 1


def _describe(
    models: list[Recommender],
    train: Interactions,
    observed: Interactions,
    queries: tuple[Ints, Ints, Ints],
    free: Callable[[int], NDArray[np.bool_]] | None,
    number: int,
    part: slice,
) -> tuple[Ints, Ints, Ints, NDArray[np.float32]]:
    """Return users, items, origin and features of the queries of a slice of users, and of candidates (origin -1).

    Features are the scores of the models, the places, the number of training clicks of the item and of the user. A
    place is the number of *other* unobserved items that score higher, ties by half: the same for a positive and an
    unobserved pair of equal score, or the classifier could tell them apart.
    """
    users, matrix = np.arange(part.start, part.stop), observed.matrix
    bounds = np.searchsorted(queries[0], np.arange(part.start, part.stop + 1))
    scores = [model._check_scores(model.scores(users), users) for model in models]
    found: list[tuple[Ints, Ints, Ints, Floats]] = []
    for row, user in enumerate(users):
        at = slice(bounds[row], bounds[row + 1])
        if at.start == at.stop and free is None:
            continue
        unknown = np.ones(observed.num_items, bool)
        unknown[matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] = False
        references = [np.sort(score[row, unknown]) for score in scores]

        def places(items: Ints, row: int = row, references: list[Floats] = references) -> Floats:
            return np.stack([
                len(r) - (np.searchsorted(r, s[row, items], "left") + np.searchsorted(r, s[row, items], "right")) / 2
                for r, s in zip(references, scores, strict=True)
            ], 1)  # fmt: skip

        items, origin = queries[1][at], queries[2][at]
        if free is not None:
            wanted = unknown & free(int(user))
            if observed.dislikes is not None:
                wanted[observed.dislikes.indices[slice(*observed.dislikes.indptr[user : user + 2])]] = False
            candidates = np.flatnonzero(wanted)
            best = candidates[np.argsort(places(candidates).sum(1), kind="stable")[:number]]
            items, origin = np.append(items, best), np.append(origin, np.full(len(best), -1))
        place = places(items) - unknown[items, None] / 2
        score = np.stack([s[row, items] for s in scores], 1)
        found.append((np.full(len(items), user), items, origin, np.concatenate([score, place], 1)))
    empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2 * len(models)))
    who, what, origin, features = (np.concatenate(values) for values in zip(empty, *found, strict=True))
    counts = np.bincount(train.matrix.indices, minlength=observed.num_items)[what], np.diff(train.matrix.indptr)[who]
    return who, what, origin, np.column_stack([features, *counts]).astype(np.float32)
