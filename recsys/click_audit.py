"""An audit of clicks: which look like mistakes, which unobserved pairs like hidden likes, per user and per item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from graphnoise.checks import choice, fail, real
from graphnoise.resources import limit_threads
from recsys.agreement import Agreement, agree_with_truth
from recsys.cleaning import Credibility, credibility
from recsys.interactions import Interactions, InteractionsLike, as_interactions
from recsys.models.baselines import EASE, ItemKNN, Popularity
from recsys.models.linear import DenoisingLinear
from recsys.splits import Seed
from recsys.stacking import Progress, as_progress, stacked_credibility
from recsys.validation import as_array

_MODELS = {"popularity": Popularity, "itemknn": ItemKNN, "ease": EASE, "linear": DenoisingLinear}
SCORERS = ("stacked", "score", *_MODELS)


@dataclass(frozen=True, eq=False)
class ClickAudit:
    """Clicks by suspicion, likely hidden likes, and sums per user and item, under the ids of the interactions.

    A mistake is a click that is distributed like the unobserved pairs. Clicks on purpose that disappointed are mostly
    not of this kind: they follow the user's taste as others do, and their probabilities are hardly higher.

    Attributes:
        suspects: All clicks, the most suspicious first: user, item, mistake (its probability), rank from 1, and truth.
        hidden_likes: Unobserved pairs: user, item, like (its probability); the most probable first.
        users: user, clicks, expected_mistakes (sum of the probabilities), share (of the clicks); most mistakes first.
        items: The same of items.
        mistake_share: Estimated share of mistakes among the clicks.
        agreement: `recsys.agreement.Agreement` of the order of suspicion with the truth, beside that of popularity
            alone; None where the truth is unknown.
        credibility: What the tables are made of, for `recsys.clean`.
    """

    suspects: pd.DataFrame = field(repr=False)
    hidden_likes: pd.DataFrame = field(repr=False)
    users: pd.DataFrame = field(repr=False)
    items: pd.DataFrame = field(repr=False)
    mistake_share: float
    agreement: Agreement | None
    credibility: Credibility

    @property
    def auc(self) -> float | None:
        """P(a true mistake ranks above another click), ties by half; None where the truth is unknown."""
        return None if self.agreement is None else self.agreement.auc

    @property
    def auc_within_users(self) -> float | None:
        """The same, of pairs of clicks of one user; None if no user has both."""
        return None if self.agreement is None else self.agreement.within_users

    def summary(self) -> str:
        """Return what the audit says of all clicks, and what it cannot say, in sentences."""
        expected = self.users["expected_mistakes"].sum()
        text = (
            f"About {expected:,.0f} of {len(self.suspects):,} clicks ({self.mistake_share:.1%}) are distributed like "
            "clicks at random. This finds clicks that do not fit the others of a user; a click on purpose that "
            "disappointed mostly fits, and is hardly visible. It also counts rare tastes as mistakes."
        )
        if self.agreement is not None:
            text += f" Against the truth given: {self.agreement}."
        if self.credibility.dislikes is not None:
            text += f" Dislikes against clicks: {self.credibility.dislikes}."
        return text


def audit_clicks(
    interactions: InteractionsLike,
    *,
    truth: Any = None,
    scorer: str = "stacked",
    popularity: float = 0.0,
    top: int = 20,
    folds: int = 5,
    seed: Seed = 0,
    num_threads: int = 0,
    progress: Progress | None = None,
) -> ClickAudit:
    r"""Return how likely each click is a mistake, and the likeliest hidden likes.

        P(mistake | x) = pi / (pi + (1 - pi) f1(x)),   expected mistakes of a user = Σ P(mistake | x) over the clicks,

    where x is the position of the click among unobserved pairs, by models that were fitted without it; pi the share of
    mistakes, and f1 the density of likes (see `recsys.credibility`).

    Args:
        interactions: Users × items, the observed clicks.
        truth: Which clicks are mistakes, 0 or 1 or NaN for unknown ones [nnz], in the order of `matrix.indices`: for
            `auc` alone.
        scorer: "stacked" (`recsys.stacked_credibility`), "score" (the score of `DenoisingLinear`, compared between
            users as it is), or `recsys.credibility` of one model: "popularity", "itemknn", "ease", "linear".
        popularity: Of the first two, the exponent of popularity that mistakes are assumed to follow: 0 for clicks at
            random, 1 for clicks on what is shown most.
        top: Hidden likes per user.
        folds: Number of folds, at least 2.
        seed: Seed of folds, drawn pairs and classifier.
        num_threads: Threads of scoring; 0 is one per core. Results do not depend on it.
        progress: Called as `progress(done, total, text)`; by one model only before the fits.

    Raises:
        InputError: Fewer interactions than folds, fewer than two users or items, no unobserved pair, more items than
            memory allows, or a truth of another length or with other values than 0 and 1.

    Example:
        >>> from recsys import simulation
        >>> world = simulation.low_rank(150, 80, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.2, seed=1)
        >>> audit = audit_clicks(noisy.interactions, truth=noisy.false_positive, top=2)
        >>> list(audit.suspects.columns), audit.auc > 0.7
        (['user', 'item', 'mistake', 'rank', 'truth'], True)
        >>> len(audit.suspects), len(audit.hidden_likes), len(audit.users)
        (1498, 300, 150)

    Source: Efron, "Large-scale inference", 2010, chapter 5 (two groups); see `recsys.stacked_credibility`.
    """
    observed = as_interactions("interactions", interactions)
    choice("scorer", scorer, SCORERS)
    if min(observed.matrix.shape) < 2:
        fail("interactions", "at least two users and two items", f"{observed.num_users} and {observed.num_items}")
    wrong = None if truth is None else _check_truth(truth, len(observed))
    options: dict[str, Any] = {"top": top, "folds": folds, "seed": seed, "num_threads": num_threads}
    if scorer in _MODELS:
        if real("popularity", popularity):
            fail("popularity", f"0 with the scorer {scorer}", popularity)
        as_progress(progress)(0, 1, f"{folds} fits of {scorer}")
        with limit_threads(1):
            found = credibility(_MODELS[scorer](), observed, **options)
    else:
        models = None if scorer == "stacked" else [DenoisingLinear()]
        options |= {"models": models, "boosting": models is None, "popularity": popularity, "progress": progress}
        found = stacked_credibility(observed, **options)
    return _tables(observed, found, wrong)


def _check_truth(truth: Any, size: int) -> Any:
    values = as_array("truth", truth)
    if values.shape != (size,):
        fail("truth", f"{size} values, one per click", f"shape {values.shape}")
    if values.dtype.kind not in "biuf" or not (np.isin(values, (0, 1)) | np.isnan(values)).all():
        fail("truth", "values of 0 (a like), 1 (a mistake) and NaN (unknown)", f"others, of type {values.dtype}")
    if not {0, 1} <= set(values.tolist()):
        fail("truth", "both mistakes and likes", "one of them only")
    return values if np.isnan(values).any() else values.astype(np.int64)


def _tables(observed: Interactions, found: Credibility, truth: Any) -> ClickAudit:
    """Return the tables of an audit."""
    rows, cols = observed.rows, observed.matrix.indices
    user_ids = np.arange(observed.num_users) if observed.users is None else observed.users
    item_ids = np.arange(observed.num_items) if observed.items is None else observed.items
    mistake = 1 - found.positive.astype(np.float64)
    clicks = pd.DataFrame({"user": user_ids[rows], "item": item_ids[cols], "mistake": mistake})
    sums = []
    for name in ("user", "item"):
        groups = clicks.groupby(name)["mistake"].agg(clicks="size", expected_mistakes="sum")
        groups["share"] = groups["expected_mistakes"] / groups["clicks"]
        sums.append(groups.reset_index().sort_values("expected_mistakes", ascending=False, kind="stable"))
    # Probabilities are equal over steps of the position, which orders the clicks of a step.
    suspicion = pd.DataFrame({"mistake": mistake, "position": found.position}).groupby(["mistake", "position"]).ngroup()
    clicks["rank"] = suspicion.rank(method="first", ascending=False).astype(np.int64)
    found_by = None
    if truth is not None:
        clicks["truth"] = truth
        known = ~np.isnan(truth)
        others = np.bincount(cols, minlength=observed.num_items)[cols] - 1
        found_by = agree_with_truth(suspicion.to_numpy()[known], others[known], rows[known], truth[known])
    hidden = pd.DataFrame({"user": user_ids[found.users], "item": item_ids[found.items], "like": found.hidden})
    likely = hidden.sort_values("like", ascending=False, kind="stable")
    tables = [table.reset_index(drop=True) for table in (clicks.sort_values("rank"), likely, *sums)]
    return ClickAudit(tables[0], tables[1], tables[2], tables[3], found.false_positive_share, found_by, found)
