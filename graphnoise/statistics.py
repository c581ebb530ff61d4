"""Statistics over repeated runs: intervals, variance components, paired tests with Holm's correction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from graphnoise import checks

# By draw: a value per initialisation.
Values = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """A mean over noise draws, its interval, and the parts of its variance.

    Attributes:
        mean: Mean over draws of the mean over initialisations.
        half_width: Half the 95 % t-interval of the mean over draws; None for one draw, or where nothing varies.
        draws: Number of draws.
        inits: Smallest number of initialisations of a draw.
        draw_share: Share of the variance of single runs that comes from the noise draw; None where it is not identified
            (a single draw or a single initialisation) or nothing varies.
        init_sd: Standard deviation over the initialisations of a draw, pooled over draws; None for single ones.
        init_drop: How far the lowest initialisation is below the mean of its draw; None for single ones.
    """

    mean: float
    half_width: float | None
    draws: int
    inits: int
    draw_share: float | None
    init_sd: float | None = None
    init_drop: float | None = None


def estimate(values: Values) -> Estimate:
    r"""Estimate a mean and where its variance comes from.

    With draws as a random effect and m initialisations in each, the between-draw mean square estimates
    m·var(draw) + var(init) and the within-draw one var(init) (one-way analysis of variance; m is the harmonic mean
    where draws differ).

    Args:
        values: By draw, the values of its initialisations, at least one each.

    Example:
        >>> e = estimate({0: [0.8, 0.8], 1: [0.6, 0.6], 2: [0.7, 0.7]})
        >>> round(e.mean, 3), e.draw_share
        (0.7, 1.0)

    Source:
        Searle, Casella and McCulloch, "Variance Components", 1992, chapter 3.
    """
    groups = [np.asarray(group, dtype=float) for group in values.values()]
    means = np.array([group.mean() for group in groups])
    draws, inits = len(groups), min(len(group) for group in groups)
    half = None
    if draws > 1 and means.max() > means.min():
        half = float(stats.t.ppf(0.975, draws - 1) * means.std(ddof=1) / np.sqrt(draws))
    share = deviation = drop = None
    if any(len(g) > 1 for g in groups):
        within = sum(((g - g.mean()) ** 2).sum() for g in groups) / sum(len(g) - 1 for g in groups)
        deviation, drop = float(np.sqrt(within)), max(float(g.mean() - g.min()) for g in groups)
    if draws > 1 and deviation is not None:
        size = draws / sum(1 / len(g) for g in groups)
        between = max(float(means.var(ddof=1)) - within / size, 0.0)
        share = float(between / (between + within)) if between + within > 0 else None
    return Estimate(float(means.mean()), half, draws, inits, share, deviation, drop)


@dataclass(frozen=True)
class DrawComparison:
    """A paired comparison of two methods over the noise draws that both have.

    Attributes:
        first: Name of the first method.
        second: Name of the second.
        difference: Mean of first minus second.
        half_width: Half the 95 % t-interval of the difference (not corrected); None for fewer than two pairs.
        p: Two-sided p-value of the paired t-test, Holm-corrected within its family; None for fewer than two pairs
            or differences that do not vary.
        pairs: Number of draws in common.
    """

    first: str
    second: str
    difference: float
    half_width: float | None
    p: float | None
    pairs: int


def compare_draws(methods: Mapping[str, Values], references: Sequence[str] = ()) -> list[DrawComparison]:
    """Compare methods in pairs of draws; all comparisons are one family for Holm's correction.

    A method's value at a draw is its mean over initialisations. Where the differences do not vary (two deterministic
    methods without noise) there is nothing to test: p is None, and the pair is in no family.

    Args:
        methods: By name, the values.
        references: The methods that each other one is compared with; by default every two are compared.

    Example:
        >>> a, b = {0: [0.80], 1: [0.78], 2: [0.83]}, {0: [0.70], 1: [0.69], 2: [0.72]}
        >>> [(c.first, c.second, round(c.difference, 3), c.p < 0.01) for c in compare_draws({"a": a, "b": b})]
        [('a', 'b', 0.1, True)]
    """
    others = [name for name in methods if name not in references]
    known = [name for name in references if name in methods]
    pairs = [(name, other) for other in known for name in others] if references else itertools.combinations(methods, 2)
    compared = [c for pair in pairs if (c := _compare(*pair, *(methods[name] for name in pair))) is not None]
    corrected = iter(holm([c.p for c in compared if c.p is not None]).tolist())
    return [c if c.p is None else replace(c, p=next(corrected)) for c in compared]


def _compare(first: str, second: str, one: Values, two: Values) -> DrawComparison | None:
    common = sorted(set(one) & set(two))
    if not common:
        return None
    gaps = np.array([np.mean(one[draw]) - np.mean(two[draw]) for draw in common])
    half = p = None
    if len(gaps) > 1:
        error = gaps.std(ddof=1) / np.sqrt(len(gaps))
        half = float(stats.t.ppf(0.975, len(gaps) - 1) * error)
        if error > 1e-12:
            p = float(2 * stats.t.sf(abs(gaps.mean() / error), len(gaps) - 1))
    return DrawComparison(first, second, float(gaps.mean()), half, p, len(gaps))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected by Holm's step-down rule: the i-th smallest of m times m - i + 1, made monotone.

    Not by statsmodels, with which the tests compare it: that collects garbage in each call, which takes 0.1 to 0.7
    seconds once torch is loaded, and reports make many calls.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    values = np.asarray(p, dtype=float)
    order = values.argsort(kind="stable")
    corrected = np.empty_like(values)
    steps = values[order] * np.arange(values.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods over settings.

    Attributes:
        ranks: Mean rank of each method, 1 for the best; ties share their ranks; in increasing order.
        critical_difference: Mean ranks that differ by less do not differ significantly at the 5 % level (Nemenyi).
        p: Of Friedman's test that all methods are alike.
        settings: Number of settings.
    """

    ranks: Mapping[str, float]
    critical_difference: float
    p: float
    settings: int


def rank_methods(scores: Mapping[str, Sequence[float]]) -> Ranking:
    """Rank at least three methods over at least two settings (data sets, kinds and rates of noise).

    Args:
        scores: Of each method, its score in each setting, higher is better.

    Raises:
        InputError: Fewer methods or settings, or methods with different numbers of scores.

    Example:
        >>> ranking = rank_methods({"a": [3.0, 2.0], "b": [2.0, 3.0], "c": [1.0, 1.0]})
        >>> ranking.ranks, round(ranking.critical_difference, 2)
        ({'a': 1.5, 'b': 1.5, 'c': 3.0}, 2.34)

    Source:
        Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006, sections 3.2.1, 3.2.2.
    """
    if len(scores) < 3 or len({len(row) for row in scores.values()}) != 1 or len(next(iter(scores.values()))) < 2:
        got = ", ".join(f"{len(row)} of {name}" for name, row in scores.items())
        checks.fail("scores", "at least three methods with the same two or more settings", got or "none")
    table = np.array(list(scores.values()), dtype=float).T
    settings, methods = table.shape
    ranks = stats.rankdata(-table, axis=1)
    means = dict(sorted(zip(scores, ranks.mean(0).tolist(), strict=True), key=lambda pair: pair[1]))
    quantile = stats.studentized_range.ppf(1 - 0.05, methods, np.inf) / np.sqrt(2)
    difference = float(quantile * np.sqrt(methods * (methods + 1) / (6 * settings)))
    # Where all scores are tied the statistic is 0 / 0.
    alike = bool((ranks == ranks[:, :1]).all())
    p = 1.0 if alike else float(stats.friedmanchisquare(*table.T).pvalue)
    return Ranking(means, difference, p, settings)
