"""Wrong clicks by how much the ranks of their items change in training, and their replacement by nearby items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.stats import rankdata

from graphnoise.checks import fail, finite, integer, rate
from recsys.base import Recommender, batches
from recsys.interactions import Interactions, InteractionsLike, as_interactions
from recsys.validation import pair_keys


def rank_changes(models: Sequence[Recommender], interactions: InteractionsLike) -> NDArray[np.float64]:
    """Return for each click the mean of |log2 r_t - log2 r_(t-1)|, r the rank of its item in the user's list.

    Clicks that do not belong to a user are learned and unlearned by turns, and their ranks change more.

    Args:
        models: Fitted models of successive epochs, or fits of different seeds, at least two.
        interactions: The clicks, of the users and items of the models.

    Returns:
        Changes in octaves, float64 [nnz], in the order of `matrix.indices`.

    Raises:
        InputError: Fewer than two models, models that are not fitted, or clicks of other users or items.

    Example:
        >>> from recsys import ItemKNN
        >>> clicks = Interactions.from_csr(sp.csr_array(np.tri(6)))
        >>> models = [ItemKNN(k).fit(clicks, show_progress=False) for k in (1, 5)]
        >>> rank_changes(models, clicks).shape
        (21,)

    Source: in the spirit of PC², whose oscillation of pseudo-captions tells pairs that do not belong together; ranks
        in octaves are ours.
    """
    clicks = as_interactions("interactions", interactions)
    if not isinstance(models, Sequence) or len(models) < 2:
        fail("models", "at least two fitted models", type(models).__name__)
    octaves = [np.log2(_ranks(model, clicks)) for model in models]
    changes: NDArray[np.float64] = np.mean([np.abs(new - old) for old, new in pairwise(octaves)], axis=0)
    return changes


def _ranks(model: Any, clicks: Interactions) -> NDArray[np.float64]:
    _check(model, clicks)
    matrix = clicks.matrix

    def of_users(part: slice) -> NDArray[np.float64]:
        users = np.arange(part.start, part.stop)
        ranks = rankdata(-model._check_scores(model.scores(users), users), axis=1)
        at = slice(matrix.indptr[part.start], matrix.indptr[part.stop])
        found: NDArray[np.float64] = ranks[clicks.rows[at] - part.start, matrix.indices[at]]
        return found

    return np.concatenate([np.zeros(0), *batches(of_users, matrix.shape[0], matrix.shape[1], 1)])


def replace_partners(
    model: Recommender,
    interactions: InteractionsLike,
    credibility: Any,
    *,
    threshold: float = 0.5,
    num_neighbours: int = 10,
) -> Interactions:
    """Return the clicks, with each of credibility below the threshold replaced by one on a nearby item.

    In place of item i user u gets, of the items nearest to i that u has not clicked, the one that the model ranks
    highest for u. A click without such an item is removed, and so is one whose replacement another one took.

    Args:
        model: A fitted model with `similar_items`.
        interactions: The clicks; ratings and times are dropped.
        credibility: In [0, 1] for each click, [nnz], such as `credibility(...).positive`, or 1 minus the share of the
            higher component of `rank_changes`.
        threshold: Least credibility of a click that stays.
        num_neighbours: Number of nearest items.

    Raises:
        InputError: A model that is not fitted or has no similar items, not one credibility in [0, 1] per click, or a
            number out of its range.

    Example:
        >>> from recsys import ItemKNN
        >>> clicks = Interactions.from_csr(sp.csr_array(np.tri(6)))
        >>> model = ItemKNN(5).fit(clicks, show_progress=False)
        >>> cleaned = replace_partners(model, clicks, np.arange(21) != 0)
        >>> cleaned.matrix.toarray()[0].tolist()
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    Source: in the spirit of PC², which gives images of noisy pairs another caption; the choice of the item is ours.
    """
    clicks = as_interactions("interactions", interactions)
    _check(model, clicks)
    least, count = rate("threshold", threshold), integer("num_neighbours", num_neighbours, 1)
    values = finite("credibility", credibility, dims=1).cpu().double().numpy()
    if len(values) != len(clicks) or (len(values) and not 0 <= values.min() <= values.max() <= 1):
        fail("credibility", f"{len(clicks)} numbers in [0, 1], one per click", f"{len(values)} numbers")
    matrix, wrong = clicks.matrix, np.flatnonzero(values < least)
    users, items = clicks.rows[wrong].astype(np.int64), matrix.indices[wrong].astype(np.int64)
    taken, new = pair_keys(matrix), [pair_keys(matrix)[values >= least]]
    if len(wrong):
        each, place = np.unique(items, return_inverse=True)
        near = np.asarray(model.similar_items(each, min(count + 1, matrix.shape[1]))[0])[place].astype(np.int64)
        keys = users[:, None] * matrix.shape[1] + near
        free = (near >= 0) & ~np.isin(keys, taken)

        def best(part: slice) -> NDArray[np.int64]:
            of_users = users[part]
            scores = np.take_along_axis(model._check_scores(model.scores(of_users), of_users), near[part], 1)
            chosen = np.where(free[part], scores, -np.inf).argmax(1)
            partners: NDArray[np.int64] = keys[part][np.arange(len(chosen)), chosen][free[part].any(1)]
            return partners

        new += batches(best, len(wrong), matrix.shape[1], 1)
    found = np.divmod(np.unique(np.concatenate(new)), matrix.shape[1])
    cleaned = sp.csr_array((np.ones(len(found[0]), np.float32), found), shape=matrix.shape)
    return Interactions(cleaned, None, None, clicks.users, clicks.items, clicks.dislikes)


def _check(model: Any, clicks: Interactions) -> None:
    if not isinstance(model, Recommender) or not model.num_items:
        fail("model", "a fitted model", type(model).__name__)
    if (model.num_users, model.num_items) != clicks.matrix.shape:
        expected = f"clicks of {model.num_users} users and {model.num_items} items, as in fit"
        fail("interactions", expected, f"{clicks.matrix.shape[0]} and {clicks.matrix.shape[1]}")
