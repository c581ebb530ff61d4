"""Paired tests over users between recommenders, with effect sizes and Holm's correction."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from graphnoise.checks import choice, fail, generator, integer, real
from graphnoise.statistics import holm
from recsys.evaluation import Evaluation
from recsys.metrics import Values

TESTS = ("t", "bootstrap")
# Resampled values held at once.
MAX_RESAMPLED = 1 << 22


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two models over the same users.

    Attributes:
        first: Name of the first model.
        second: Name of the second model.
        metric: Name of the metric.
        difference: Mean over users of first minus second.
        low: Lower end of the confidence interval of the difference.
        high: Upper end.
        relative: Difference divided by the mean of the second; NaN where that is 0.
        effect: Cohen's d of the differences, mean / standard deviation; 0 where all are 0, infinite where all are
            equal and not 0.
        p: Two-sided p-value of no difference; in `compare_all` with Holm's correction.
        wins: Share of users with a higher value for the first.
        losses: Share of users with a lower value.
        users: Number of users.
    """

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float
    relative: float
    effect: float
    p: float
    wins: float
    losses: float
    users: int


def compare(
    first: Evaluation,
    second: Evaluation,
    metric: str | None = None,
    *,
    test: str = "t",
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
    names: tuple[str, str] = ("first", "second"),
) -> Comparison:
    """Compare two models on the users that both were evaluated on.

    The t-test is the paired one. The bootstrap draws users with replacement: the interval is the percentile one, and p
    is the share of resamples whose mean, less the observed one, is at least as far from 0 as the observed one (with
    the observation itself counted, so that p is never 0). Wilcoxon's and sign tests are not offered: on thousands of
    users they reject true hypotheses too often.

    Args:
        first: Result of `evaluate`.
        second: Result of `evaluate` with the same users and the same mask.
        metric: Metric that both have per user; None is the first of those of `first`.
        test: "t" or "bootstrap".
        level: Confidence level of the interval.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        names: Names of the two models, for reports.

    Raises:
        InputError: Users or masks differ, the metric is absent or has no values per user, or there are fewer than two
            users.

    Example:
        >>> users = np.arange(4)
        >>> a, b = (
        ...     Evaluation(users, {"ndcg@5": np.array(x)}, {"ndcg@5": sum(x) / 4}, "train")
        ...     for x in ([0.5, 0.25, 1.0, 0.5], [0.25, 0.25, 0.5, 0.0])
        ... )
        >>> c = compare(a, b)
        >>> c.difference, round(c.effect, 3), round(c.p, 3)
        (0.3125, 1.306, 0.08)

    Source:
        Smucker, Allan and Carterette, "A comparison of statistical significance tests for information retrieval
        evaluation", 2007; Ihemelandu and Ekstrand, "Inference at scale", 2023, for the choice of tests.
    """
    choice("test", test, TESTS)
    level = real("level", level, 0.5, 1 - 1e-9)
    resamples = integer("resamples", resamples, 100, 10**7)
    rng = generator(seed)
    if not isinstance(names, Sequence) or [type(name) for name in names] != [str, str]:
        fail("names", "two texts", repr(names))
    metric = _common(first, second) if metric is None else metric
    one, two = (_values(name, part, metric) for name, part in (("first", first), ("second", second)))
    if not np.array_equal(first.users, second.users):
        fail("second", f"the {len(one)} users of first", f"{len(two)} users, or others")
    if first.mask != second.mask:
        fail("second", f"the mask of first, {first.mask!r}", repr(second.mask))
    gaps = one - two
    if len(gaps) < 2:
        fail("first", "at least two users", len(gaps))
    mean = float(gaps.mean())
    if np.ptp(gaps) == 0:
        # Without variance no test is defined.
        low, high, p, effect = mean, mean, 1.0 if mean == 0 else 0.0, 0.0 if mean == 0 else np.copysign(np.inf, mean)
    else:
        effect = mean / gaps.std(ddof=1)
        if test == "t":
            result = stats.ttest_rel(one, two)
            (low, high), p = result.confidence_interval(level), result.pvalue
        else:
            batch = max(1, MAX_RESAMPLED // len(gaps))
            options = {"confidence_level": level, "n_resamples": resamples, "method": "percentile", "batch": batch}
            result = stats.bootstrap((gaps,), np.mean, rng=rng, vectorized=True, axis=-1, **options)
            (low, high) = result.confidence_interval
            far = np.abs(result.bootstrap_distribution - mean) >= abs(mean)
            p = (far.sum() + 1) / (resamples + 1)
    base = float(two.mean())
    relative = mean / base if base else float("nan")
    wins, losses = float((gaps > 0).mean()), float((gaps < 0).mean())
    interval = float(low), float(high)
    return Comparison(*names, metric, mean, *interval, relative, float(effect), float(p), wins, losses, len(gaps))


def compare_all(models: Mapping[str, Evaluation], metric: str, **options: object) -> list[Comparison]:
    """Compare every two models, with Holm's correction over all pairs.

    Args:
        models: Evaluations by name.
        metric: As for `compare`.
        **options: `test`, `level`, `resamples`, `seed` of `compare`.

    Raises:
        InputError: As `compare`, or fewer than two models.

    Example:
        >>> users, draw = np.arange(50), np.random.default_rng(0)
        >>> noise = draw.normal(size=(3, 50))
        >>> models = {
        ...     name: Evaluation(users, {"f1@5": x}, {"f1@5": float(x.mean())}, "train")
        ...     for name, x in (("a", noise[0] + 2), ("b", noise[1]), ("c", noise[2]))
        ... }
        >>> [(c.first, c.second, c.p < 0.01) for c in compare_all(models, "f1@5")]
        [('a', 'b', True), ('a', 'c', True), ('b', 'c', False)]
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        fail("models", "at least two", len(models) if isinstance(models, Mapping) else type(models).__name__)
    for name in options:
        choice("option", name, ("test", "level", "resamples", "seed"))
    comparisons = [
        compare(one, two, metric, names=(first, second), **options)  # type: ignore[arg-type]
        for (first, one), (second, two) in itertools.combinations(models.items(), 2)
    ]
    return correct(comparisons)


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with Holm's correction of their p-values, all being one family."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [dataclasses.replace(c, p=float(p)) for c, p in zip(comparisons, corrected, strict=True)]


def _common(first: Evaluation, second: Evaluation) -> str:
    """Return the first metric of two evaluations that both have per user."""
    for name, evaluation in (("first", first), ("second", second)):
        if not isinstance(evaluation, Evaluation):
            fail(name, "what evaluate returned", type(evaluation).__name__)
    common = [metric for metric in first.values if metric in second.values]
    if not common:
        fail("second", f"one of the metrics of first, {', '.join(first.values)}", ", ".join(second.values))
    return common[0]


def _values(name: str, evaluation: Evaluation, metric: str) -> Values:
    if not isinstance(evaluation, Evaluation):
        fail(name, "what evaluate returned", type(evaluation).__name__)
    choice("metric", metric, evaluation.values)
    values = np.asarray(evaluation.values[metric], np.float64)
    if not np.isfinite(values).all():
        fail(name, "finite values", f"{int((~np.isfinite(values)).sum())} NaN or infinite")
    return values
