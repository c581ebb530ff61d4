r"""Which clicks are mistakes, and which pairs without a click are likes: `credibility`, then `clean`.

A model does not vouch for what it was trained on: positives are scored by models that were fitted without them, in K
folds, and stand there among the pairs of the same user that were never clicked. All that counts is the position

    x_ui = share of the user's unobserved items that the model scores above (u, i), ties by half, in (0, 1),

which asks nothing of the scale of scores and makes users alike. A pair that is no like has a uniform x; likes have a
density f1 that falls with x. So the positions of positives are a mixture pi + (1 - pi) f1(x), pi the share of mistakes,
and those of unobserved pairs are rho f1(x) + 1 - rho, rho the share of hidden likes. Both follow from flip rates: with
q the share of pairs that are observed, fn = P(r = 0 | r* = 1) and fp = P(r = 1 | r* = 0),

    P(like) = p = (q - fp) / (1 - fn - fp),   pi = fp (1 - p) / q,   rho = fn p / (1 - q).

NBPO's learned flip rate is not used, and should not be: it learns "is unobserved", and ranks hidden likes below other
pairs (`recsys.objectives.nbpo`). A model trained by NBPO may be asked all the same: its scores alone are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, generator, integer, rate
from recsys.base import Recommender, batches
from recsys.interactions import Interactions, as_interactions
from recsys.splits import Seed
from recsys.two_groups import likes as likes_of
from recsys.two_groups import of_positives, of_unobserved
from recsys.validation import Ints, pair_keys, positions

METHODS = ("density", "mixture")


@dataclass(frozen=True, eq=False)
class Credibility:
    """How much each positive, and each unobserved pair that was asked for, is to be believed.

    Attributes:
        interactions: What was asked about.
        positive: P(like | observed, position) of each interaction, float32 [nnz], in the order of `matrix.indices`.
        position: x of each interaction under the model that did not see it, float32 [nnz].
        users: Of unobserved pairs, int64 [pairs]; by user where no pairs were given, the likeliest first.
        items: Of unobserved pairs, int64 [pairs].
        hidden: P(like | unobserved, positions) of these, float32 [pairs], the mean over the folds' models.
        false_positive_share: pi, share of mistakes among the positives.
        hidden_share: rho, share of likes among the unobserved pairs.
        false_positive_rate: P(r = 1 | r* = 0), given or estimated.
        false_negative_rate: P(r = 0 | r* = 1), given or estimated.
        method: "density" or "mixture".
        folds: K.
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

    def __repr__(self) -> str:
        shares = f"{self.false_positive_share:.3f} mistakes, {self.hidden_share:.4f} hidden likes"
        return f"Credibility({len(self.positive)} positives, {len(self.hidden)} unobserved pairs; {shares})"


@dataclass(frozen=True, eq=False)
class Cleaned:
    """Interactions after `clean`, and what was changed.

    Attributes:
        interactions: What is left, with what was added.
        removed: Positives that were taken away, of the same shape.
        added: Likely likes that were put in, of the same shape.
    """

    interactions: Interactions
    removed: Interactions
    added: Interactions


def credibility(
    model: Recommender | Callable[[], Recommender],
    interactions: Any,
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

    With f1 the density of likes at the position x (see the module's text),

        positive: (1 - pi) f1(x) / ((1 - pi) f1(x) + pi),   unobserved: rho f1(x) / (rho f1(x) + 1 - rho).

    Rates that are not given are estimated, and both estimates lean upwards: pi is the density of positives in that
    tenth of positions where they are fewest, though some likes stand there too; fn takes the 1 % of positives that
    stand highest, and says that all pairs beside them are likes. The order of pairs hardly depends on them. Mistakes
    must be spread as unobserved pairs are: those that follow popularity stand higher, and are harder to see.

    Where a model has far fewer parameters than there are positives, its own scores may order its positives as well; but
    they cannot be set beside those of pairs that it has not seen.

    Args:
        model: Hyper-parameters of the models to fit: a recommender (fitted or not, it stays as it is), or a function
            that returns a new one.
        interactions: Users × items, what was observed.
        top: How many unobserved items of each user to return, the likeliest.
        pairs: (users, items), positions of unobserved pairs to score in the place of `top`.
        method: f1 is "density": any that falls with x (Grenander's estimate of the positives' density, less pi); or
            "mixture": a x^(a - 1), with a by expectation-maximisation at that pi.
        false_positive_rate: fp = P(r = 1 | r* = 0) over all pairs, a small number; None estimates it.
        false_negative_rate: fn = P(r = 0 | r* = 1); None estimates it.
        folds: K, at least 2; the positives of each user are spread over them.
        seed: Of the folds.
        num_threads: Of scoring, 0 is one a core; results do not depend on it.
        show_progress: Show the bars of the fits.
        fit_arguments: More arguments of `fit`, such as features.

    Raises:
        InputError: Fewer interactions than folds, no unobserved pair, rates that contradict the number of positives,
            pairs that are unknown or observed, or a factory that returns no new recommender.

    Example:
        >>> from recsys import ItemKNN, simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> found = credibility(ItemKNN(), noisy.interactions, top=3)
        >>> bool(found.positive[noisy.false_positive].mean() < found.positive[~noisy.false_positive].mean() - 0.15)
        True
        >>> len(found.hidden) == 3 * 150
        True

    Source: Efron, "Large-scale inference", 2010, chapter 5 (two groups); Grenander, "On the theory of mortality
    measurement", 1956 (falling density); Storey, JRSS B 64, 2002 (share in the tail); Pounds and Morris, Bioinformatics
    19, 2003 (beta-uniform mixture).
    """
    given = as_interactions("interactions", interactions)
    matrix = given.matrix
    m, n = matrix.shape
    folds = integer("folds", folds, 2)
    choice("method", method, METHODS)
    if len(given) < folds:
        fail("interactions", f"at least as many as folds, {folds}", len(given))
    if matrix.nnz == m * n:
        fail("interactions", "a pair that is not observed", "none")
    fp = None if false_positive_rate is None else rate("false_positive_rate", false_positive_rate)
    fn = None if false_negative_rate is None else rate("false_negative_rate", false_negative_rate)
    q = matrix.nnz / (m * n)
    _consistent(q, fp, fn)
    wanted = None if pairs is None else _unobserved(pairs, given)
    top = integer("top", top, 0)
    fold = _spread(given, folds, generator(seed))
    models = []
    x = np.zeros(len(given))
    for k in range(folds):
        fitted = _fresh(model)
        fitted.fit(given.subset(fold != k), show_progress, **(fit_arguments or {}))
        models.append(fitted)
        parts = batches(partial(of_positives, fitted, matrix, fold == k), m, n, num_threads)
        x[fold == k] = np.concatenate(parts)
    # Nothing unobserved to stand beside.
    alone = np.diff(matrix.indptr)[given.rows] == n
    likes, pi, fn, fp = likes_of(x[~alone], method, q, fp, fn)
    rho = fn / (1 - fn) * (1 - pi) * q / (1 - q)
    density = likes(x)
    positive = (1 - pi) * density / ((1 - pi) * density + pi)
    positive[alone] = 1 - pi
    rows = batches(partial(of_unobserved, models, matrix, likes, rho, wanted, top), m, n * folds, num_threads)
    users, items, hidden = (np.concatenate([row[k] for row in rows]) for k in range(3))
    # In the order that was asked for.
    if wanted is not None:
        place = np.searchsorted(users * n + items, wanted[0] * n + wanted[1])
        users, items, hidden = users[place], items[place], hidden[place]
    return Credibility(
        given, positive.astype(np.float32), x.astype(np.float32), users, items, hidden.astype(np.float32),
        pi, rho, fp, fn, method, folds,
    )  # fmt: skip


def clean(
    interactions: Any,
    credibility: Credibility,
    *,
    threshold: float | None = None,
    share: float | None = None,
    add: float | None = None,
) -> Cleaned:
    """Return interactions without the least credible positives, and if wanted with likely likes.

    Args:
        interactions: Those that `credibility` was asked about.
        credibility: What it answered.
        threshold: Positives that are less credible go.
        share: nearest(share · positives) go, the least credible; among equals those that stand lowest.
        add: Unobserved pairs of `credibility` that are likes with at least this probability come in. Ratings and times
            are dropped then, as these have none.

    Raises:
        InputError: None of the three, both of the first two, a value outside [0, 1], other interactions, or nothing
            would be left.

    Example:
        >>> from recsys import ItemKNN, simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> cleaned = clean(noisy.interactions, credibility(ItemKNN(), noisy.interactions), share=0.1)
        >>> len(noisy.interactions), len(cleaned.interactions), len(cleaned.removed), len(cleaned.added)
        (1498, 1348, 150, 0)
    """
    given = as_interactions("interactions", interactions)
    if not isinstance(credibility, Credibility):
        fail("credibility", "what recsys.credibility returned", type(credibility).__name__)
    asked = credibility.interactions.matrix
    if asked.shape != given.matrix.shape or not np.array_equal(pair_keys(asked), pair_keys(given.matrix)):
        fail("interactions", "those that credibility was asked about", repr(given))
    if threshold is not None and share is not None:
        fail("share", "None together with threshold", share)
    if threshold is None and share is None and add is None:
        fail("threshold", "a threshold, a share or add", None)
    keep = np.ones(len(given), bool)
    if threshold is not None:
        keep = credibility.positive >= rate("threshold", threshold)
    elif share is not None:
        number = round(rate("share", share) * len(given))
        order = np.lexsort((-np.arange(len(given)), -credibility.position, credibility.positive))
        keep[order[:number]] = False
    chosen = np.zeros(0, np.int64)
    if add is not None:
        chosen = np.unique(np.flatnonzero(credibility.hidden >= rate("add", add)))
    if not keep.any() and not len(chosen):
        fail("threshold" if share is None else "share", "one that leaves a positive", threshold or share)
    left, removed = given.subset(keep), given.subset(~keep)
    new = np.unique(credibility.users[chosen] * given.num_items + credibility.items[chosen])
    where = (new // given.num_items, new % given.num_items)
    matrix = sp.csr_array((np.ones(len(new), np.float32), where), shape=given.matrix.shape)
    added = Interactions.from_csr(matrix, given.users, given.items)
    if len(new):
        left = Interactions.from_csr(left.matrix + added.matrix, given.users, given.items)
    return Cleaned(left, removed, added)


def _fresh(model: Any) -> Recommender:
    """Return a new model with the same hyper-parameters."""
    if isinstance(model, Recommender):
        return type(model)._from_parameters(model._parameters())
    made = model() if callable(model) else None
    if not isinstance(made, Recommender):
        fail(
            "model",
            "a Recommender, or a function that returns a new one",
            type(model if made is None else made).__name__,
        )
    return made


def _spread(given: Interactions, folds: int, rng: np.random.Generator) -> Ints:
    """Return a fold for each interaction; each user's are spread evenly, from a random fold on."""
    sizes = np.diff(given.matrix.indptr)
    order = np.lexsort((rng.random(len(given)), given.rows))
    place = np.empty(len(given), np.int64)
    place[order] = np.arange(len(given)) - np.repeat(given.matrix.indptr[:-1], sizes)
    return np.asarray((place + rng.integers(0, folds, given.num_users)[given.rows]) % folds)


def _unobserved(pairs: Any, given: Interactions) -> tuple[Ints, Ints]:
    if not isinstance(pairs, tuple | list) or len(pairs) != 2:
        fail("pairs", "(users, items)", type(pairs).__name__)
    users = positions("pairs, users", pairs[0], given.num_users)
    items = positions("pairs, items", pairs[1], given.num_items)
    if len(users) != len(items):
        fail("pairs", f"{len(users)} items, as many as users", len(items))
    seen = np.isin(users * given.num_items + items, pair_keys(given.matrix))
    if seen.any():
        fail("pairs", "unobserved pairs", f"{int(seen.sum())} that are observed")
    return users, items


def _consistent(q: float, fp: float | None, fn: float | None) -> None:
    """Check that some share of likes has these rates and as many positives."""
    if fp is not None and fp >= q:
        fail("false_positive_rate", f"less than the share of pairs that are observed, {q:.3g}", fp)
    if fn is not None and (fn >= 1 or (q - (fp or 0.0)) / (1 - fn - (fp or 0.0)) >= 1 or fn + (fp or 0.0) >= 1):
        fail("false_negative_rate", f"one that {q:.3g} of all pairs observed allow", fn)
