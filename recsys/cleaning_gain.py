"""Cleaning that is tried on held-out clicks before it is done (`clean_if_better`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphnoise.checks import choice, fail, flag, rate, real
from recsys.base import Recommender
from recsys.cleaning import Credibility, clean, credibility, new_model
from recsys.evaluation import evaluate
from recsys.interactions import Interactions, InteractionsLike, as_interactions
from recsys.metrics import PER_USER, parse
from recsys.significance import Comparison, compare
from recsys.splits import Seed, ratio


@dataclass(frozen=True, eq=False)
class CleaningTrial:
    """Interactions that were cleaned where that helps, and the trial that says so.

    Attributes:
        interactions: The remaining interactions: all of them if cleaning did not help.
        removed: Removed positives, of the same shape; none if cleaning did not help.
        gain: Cleaned against given clicks on held-out ones, paired over users.
        tried: Share of the training clicks that the trial removed.
        credibility: That of all clicks; None if cleaning did not help.
    """

    interactions: Interactions
    removed: Interactions
    gain: Comparison | None
    tried: float
    credibility: Credibility | None = field(default=None, repr=False)

    def __str__(self) -> str:
        size = len(self.interactions) + len(self.removed)
        if self.gain is None:
            return f"Nothing is removed: in the trial no click was below the limit ({size} clicks)."
        gain = self.gain
        change = f"{gain.metric} {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] of {gain.users} users"
        trial = f"without {self.tried:.1%} of the clicks, held-out {change}"
        if self.credibility is None:
            return f"Nothing is removed: {trial}; the interval is not above 0."
        return f"{len(self.removed)} of {size} clicks are removed: {trial}."


def clean_if_better(
    interactions: InteractionsLike,
    model: Recommender | Callable[[], Recommender],
    *,
    scorer: Callable[[Interactions], Credibility] | None = None,
    threshold: float | None = None,
    share: float | None = None,
    metric: str = "ndcg@20",
    held_out: float = 0.2,
    level: float = 0.95,
    seed: Seed = 0,
    num_threads: int = 0,
    show_progress: bool = False,
) -> CleaningTrial:
    r"""Remove the least credible clicks if a model that is fitted without them ranks held-out clicks better.

    A share of each user's clicks is held out. Credibility, cleaning and both fits see the rest alone: the gain is the
    mean over users of metric(fitted to cleaned clicks) - metric(fitted to all), on the same held-out clicks, with the
    interval of the paired t-test. If its lower end is above 0, all clicks are scored and cleaned in the same way;
    otherwise nothing is removed, and `str` of the result says so. Held-out clicks have mistakes too.

    Args:
        interactions: Users × items, the observed clicks.
        model: The recommender that the clicks are for, or a function that returns a new one.
        scorer: Maps interactions to a `Credibility`, such as `recsys.stacked_credibility`; None is `recsys.credibility`
            of `model`.
        threshold: As in `recsys.clean`.
        share: As in `recsys.clean`.
        metric: Metric per user of `recsys.evaluate`.
        held_out: Share of the clicks of each user to hold out, in (0, 1).
        level: Confidence level of the interval.
        seed: Seed of the held-out clicks, and of the folds of the default scorer.
        num_threads: Threads of scoring; 0 is one per core.
        show_progress: Show the progress bars of the fits.

    Raises:
        InputError: Neither a threshold nor a share, too few clicks to hold some out, a scorer that returns something
            else, or as `recsys.clean` and `recsys.evaluate`.

    Example:
        >>> from recsys import EASE, simulation
        >>> world = simulation.low_rank(300, 100, density=0.1, seed=1)
        >>> noisy = simulation.corrupt(world.interactions, false_positive=0.5, seed=1)
        >>> trial = clean_if_better(noisy.interactions, EASE(20.0), share=0.25)
        >>> trial.gain.users, len(trial.interactions) + len(trial.removed) == len(noisy.interactions)
        (300, True)

    Source: Smucker, Allan and Carterette, CIKM 2007, for the paired test over users.
    """
    observed = as_interactions("interactions", interactions)
    if threshold is None and share is None:
        fail("threshold", "a threshold or a share", None)
    for name, value in (("threshold", threshold), ("share", share)):
        if value is not None:
            rate(name, value)
    ((kind, _),) = parse([metric]).values()
    choice("metric", kind, PER_USER)
    real("level", level, 0.5, 1 - 1e-9)
    flag("show_progress", show_progress)
    new_model(model)
    if scorer is not None and not callable(scorer):
        fail("scorer", "a function of interactions, or None", repr(scorer))

    def found(clicks: Interactions) -> Any:
        if scorer is not None:
            return scorer(clicks)
        fold_seed = seed if isinstance(seed, int) else int(seed.integers(2**31))
        return credibility(model, clicks, top=0, seed=fold_seed, num_threads=num_threads, show_progress=show_progress)

    def fitted(clicks: Interactions) -> Recommender:
        new = new_model(model)
        return new.fit(clicks, show_progress)

    split = ratio(observed, 0.0, real("held_out", held_out, 1e-6, 1 - 1e-6), seed)
    if not len(split.test):
        fail("held_out", "a share that holds out some click", held_out)
    trial = clean(split.train, found(split.train), threshold=threshold, share=share)
    nothing = observed.subset(np.zeros(len(observed), bool))
    if not len(trial.removed):
        return CleaningTrial(observed, nothing, None, 0.0)
    with_mistakes, without = (
        evaluate(fitted(clicks), split, metrics=[metric], num_threads=num_threads)
        for clicks in (split.train, trial.interactions)
    )
    gain = compare(without, with_mistakes, metric, level=level, names=("cleaned", "as given"))
    tried = len(trial.removed) / len(split.train)
    if gain.low <= 0:
        return CleaningTrial(observed, nothing, gain, tried)
    scored = found(observed)
    done = clean(observed, scored, threshold=threshold, share=share)
    return CleaningTrial(done.interactions, done.removed, gain, tried, scored)
