"""Rank stability: whether a ranking of models survives when wrong test labels become more frequent."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from graphnoise import checks
from graphnoise.reports.inputs import Floats, finite_array

MAX_ORDERS = 10_000


@dataclass(frozen=True)
class RankStability:
    """Accuracies and ranks of models by the given and by the corrected test labels, as wrong ones become more frequent.

    Attributes:
        prevalence: Share of wrong labels among all test labels, |E| / n.
        kendall: Kendall's tau-b of both rankings on all test nodes; NaN where all models of a ranking are alike.
        models: A row per model: accuracy by given and by corrected labels, on the nodes with right labels and on those
            with wrong ones (by corrected labels), and both ranks (1 is best; ties share the mean).
        curve: A row per prevalence and model: mean accuracies over the orders of removal, the 2.5 and 97.5 % quantiles
            of that by corrected labels, and Kendall's tau-b of the mean accuracies.
        pairs: A row per pair of models: differences on nodes with right and with wrong labels; `crossing`, the
            prevalence from which on the second model is better by corrected labels (NaN: at none); `sampled`, the same
            read off the curve (NaN where it is not between |E| / n and 1); a 95 % bootstrap interval over test nodes,
            and the share of the resamples that have a crossing.
    """

    prevalence: float
    kendall: float
    models: pd.DataFrame
    curve: pd.DataFrame
    pairs: pd.DataFrame


def rank_stability(
    predictions: Mapping[str, ArrayLike],
    given: ArrayLike,
    corrected: ArrayLike,
    *,
    orders: int = 200,
    resamples: int = 1000,
    points: int = 41,
    seed: int = 0,
) -> RankStability:
    r"""Rank models by given and by corrected test labels, at growing prevalence of wrong test labels.

    Prevalence grows from |E| / n, E the test nodes whose given label is wrong, to 1 by removing nodes with right labels
    in random order. Accuracy by corrected labels is in expectation linear in the prevalence, so that two models A
    and B, with differences d_c = A - B on nodes with right labels and d_e = B - A on E, change their order at

        rho = d_c / (d_c + d_e)

    Of recommenders, nodes are held-out clicks: predictions are 1 where the item is among the first k of the user's list
    and 0 elsewhere, all given labels 1, and corrected ones 0 where the click is false. A false click is right where it
    is not among the first k.

    Args:
        predictions: By model, predicted classes of the test nodes, shape [n] or [runs, n]; -1 is none, an error.
        given: Given labels of the test nodes, of at least 0, shape [n].
        corrected: Their corrected (confirmed, or true) labels, of at least 0, shape [n].
        orders: Number of random orders of removal.
        resamples: Number of bootstrap resamples of test nodes, drawn within E and outside of it.
        points: Number of prevalences.
        seed: Seed of orders and resamples.

    Raises:
        InputError: An argument of the wrong shape, fewer than two models, no wrong test label, or only wrong ones.

    Example:
        >>> import numpy as np
        >>> corrected = np.zeros(100, dtype=int)
        >>> given = np.where(np.arange(100) < 10, 1, 0)
        >>> overfitted, robust = given.copy(), np.where(np.arange(100) >= 91, 1, 0)
        >>> report = rank_stability({"overfitted": overfitted, "robust": robust}, given, corrected)
        >>> report.pairs[["first", "second", "crossing"]].round(3).values.tolist()
        [['overfitted', 'robust', 0.091]]

    Source:
        In the spirit of Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine
        Learning Benchmarks", NeurIPS 2021. The crossing is derived from the linearity; the intervals are of
        this package.
    """
    checks.integer("orders", orders, 1, MAX_ORDERS)
    checks.integer("resamples", resamples, 1, MAX_ORDERS)
    checks.integer("points", points, 2, 1000)
    rng = checks.generator(seed)
    right_given, right, wrong = _right(predictions, given, corrected)
    names, errors, clean = list(predictions), int(wrong.sum()), int((~wrong).sum())
    start = errors / (errors + clean)
    kept = np.unique(np.rint(errors * (1 / np.linspace(start, 1, points) - 1)).astype(int))[::-1]
    prevalence = errors / (errors + kept)
    by_given, by_corrected = (np.empty((orders, len(names), len(kept))) for _ in range(2))
    for k in range(orders):
        order = rng.permutation(clean)
        for out, hits in ((by_given, right_given), (by_corrected, right)):
            sums = np.concatenate([np.zeros((len(names), 1)), hits[:, ~wrong][:, order].cumsum(1)], 1)
            out[k] = (sums[:, kept] + hits[:, wrong].sum(1, keepdims=True)) / (kept + errors)
    parts = pd.DataFrame({"model": names})
    parts["given"], parts["corrected"] = right_given.mean(1), right.mean(1)
    parts["right_labels"], parts["wrong_labels"] = right[:, ~wrong].mean(1), right[:, wrong].mean(1)
    for kind in ("given", "corrected"):
        parts[f"rank_{kind}"] = stats.rankdata(-parts[kind].round(12))
    curve = _curve(names, prevalence, by_given, by_corrected)
    pairs = _pairs(names, right, wrong, prevalence, by_corrected.mean(0), resamples, rng)
    return RankStability(start, _tau(parts["given"].to_numpy(), parts["corrected"].to_numpy()), parts, curve, pairs)


def _right(
    predictions: Mapping[str, ArrayLike], given: ArrayLike, corrected: ArrayLike
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return shares of runs in which predictions are right, by given and by corrected labels; and the wrong labels."""
    if not isinstance(predictions, Mapping) or len(predictions) < 2:
        got = type(predictions).__name__ if not isinstance(predictions, Mapping) else f"{len(predictions)}"
        checks.fail("predictions", "a mapping with at least two models", got)
    # A prediction of no class, -1, is no label.
    labels = {"given": finite_array("given", given, low=0), "corrected": finite_array("corrected", corrected, low=0)}
    n = len(labels["given"])
    if len(labels["corrected"]) != n or n == 0:
        checks.fail("corrected", f"{n} labels, one for each of at least one given label", len(labels["corrected"]))
    shares: dict[str, list[Floats]] = {"given": [], "corrected": []}
    for name, value in predictions.items():
        array = np.asarray(value)
        classes = finite_array(f"predictions[{name!r}]", value, 2 if array.ndim > 1 else 1)
        if classes.shape[-1] != n or classes.size == 0:
            checks.fail(f"predictions[{name!r}]", f"classes of shape [{n}] or [runs, {n}]", f"shape {classes.shape}")
        for kind, y in labels.items():
            shares[kind].append((classes.reshape(-1, n) == y).mean(0))
    wrong = labels["given"] != labels["corrected"]
    if not 0 < wrong.sum() < n:
        expected = "some labels that differ from the given ones, and some that do not"
        checks.fail("corrected", expected, f"{int(wrong.sum())} of {n} that differ")
    return np.array(shares["given"]), np.array(shares["corrected"]), wrong


def _tau(first: Floats, second: Floats) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(stats.kendalltau(first.round(12), second.round(12)).statistic)


def _curve(names: list[str], prevalence: Floats, by_given: Floats, by_corrected: Floats) -> pd.DataFrame:
    means = by_given.mean(0), by_corrected.mean(0)
    low, high = np.quantile(by_corrected, [0.025, 0.975], axis=0)
    taus = [_tau(means[0][:, k], means[1][:, k]) for k in range(len(prevalence))]
    count = len(names)
    return pd.DataFrame(
        {
            "prevalence": np.repeat(prevalence, count),
            "model": names * len(prevalence),
            "given": means[0].T.ravel(),
            "corrected": means[1].T.ravel(),
            "low": low.T.ravel(),
            "high": high.T.ravel(),
            "kendall": np.repeat(taus, count),
        }
    )


def _crossing(clean: Floats, error: Floats) -> Floats:
    """Return d_c / (d_c + d_e) where both have one sign, NaN elsewhere."""
    same = clean * error > 0
    return np.where(same, clean / np.where(same, clean + error, 1.0), np.nan)


def _pairs(
    names: list[str],
    right: Floats,
    wrong: NDArray[np.bool_],
    prevalence: Floats,
    curve: Floats,
    resamples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    parts = right[:, ~wrong], right[:, wrong]
    drawn = [np.empty((resamples, len(names))) for _ in parts]
    for k in range(resamples):
        for out, hits in zip(drawn, parts, strict=True):
            size = hits.shape[1]
            out[k] = hits @ np.bincount(rng.integers(size, size=size), minlength=size) / size
    # Equal means may differ in their last digits.
    clean, error = (hits.mean(1).round(12) for hits in parts)
    rows = []
    for i, j in itertools.combinations(range(len(names)), 2):
        # The first is the better one where labels are right, or is as good there and better where they are wrong.
        a, b = (i, j) if (clean[i], error[i]) >= (clean[j], error[j]) else (j, i)
        crossing = float(_crossing(clean[a] - clean[b], error[b] - error[a]))
        resampled = _crossing(drawn[0][:, a] - drawn[0][:, b], drawn[1][:, b] - drawn[1][:, a])
        known = resampled[~np.isnan(resampled)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        rows.append(
            {
                "first": names[a],
                "second": names[b],
                "right_labels": clean[a] - clean[b],
                "wrong_labels": error[a] - error[b],
                "crossing": crossing,
                "sampled": _first_change(prevalence, curve[a] - curve[b]),
                "low": low,
                "high": high,
                "crossing_share": len(known) / resamples,
            }
        )
    return pd.DataFrame(rows)


def _first_change(prevalence: Floats, difference: Floats) -> float:
    """Return where a difference, positive at first, becomes negative; NaN where it does not."""
    below = np.flatnonzero(difference < 0)
    if not len(below) or below[0] == 0:
        return float("nan")
    k = below[0]
    share = difference[k - 1] / (difference[k - 1] - difference[k])
    return float(prevalence[k - 1] + share * (prevalence[k] - prevalence[k - 1]))
