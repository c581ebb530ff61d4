"""Quantity against quality: which mix of cheap noisy and dear clean labels a budget should buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks, resources
from graphnoise.labels import class_positions
from graphnoise.reports.inputs import MAX_RUNS, Floats, finite_array, same_length
from graphnoise.statistics import compare_draws, estimate

COLUMNS = ("cost", "weak", "strong", "accuracy", "seed")
MAX_NODES = 2**40


@dataclass(frozen=True)
class Frontier:
    """Accuracies that budgets buy.

    Attributes:
        points: A row per method and pair of counts: cost, mean accuracy over seeds, half its 95 % t-interval (NaN where
            there is one seed, or nothing varies), number of seeds, regime, and whether it is in the Pareto set.
        regimes: A row per budget: the best point that it affords, by mean accuracy, with its regime: "quantity" (noisy
            labels only), "quality" (clean ones only), "mixed", or "none" where the budget affords no point; `lead`,
            the difference from the best point of another regime, and `p` of the paired t-test over seeds (NaN: there
            is no other regime, or no two common seeds).
    """

    points: pd.DataFrame
    regimes: pd.DataFrame


def purchases(
    budgets: Sequence[float],
    shares: Sequence[float],
    weak_cost: float,
    strong_cost: float,
    pool: int,
    *,
    disjoint: bool = False,
) -> pd.DataFrame:
    """Return how many noisy (weak) and clean (strong) labels each budget buys at each share of clean ones.

    Args:
        budgets: Budgets, at least 0; one of 0 buys no label.
        shares: Shares of the budget that clean labels get, in [0, 1].
        weak_cost: Cost of a noisy label, above 0.
        strong_cost: Cost of a clean label, above 0.
        pool: Number of nodes that can be labelled.
        disjoint: Whether a node has a noisy or a clean label, not both; then both counts together are at most `pool`,
            and clean labels come first.

    Returns:
        Columns budget, share, weak, strong and cost, which never exceeds the budget.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> purchases([10.0], [0.0, 0.5, 1.0], 1.0, 4.0, 100)
           budget  share  weak  strong  cost
        0    10.0    0.0    10       0  10.0
        1    10.0    0.5     5       1   9.0
        2    10.0    1.0     0       2   8.0
    """
    money, parts = finite_array("budgets", budgets, low=0), finite_array("shares", shares, low=0, high=1)
    for name, value in (("weak_cost", weak_cost), ("strong_cost", strong_cost)):
        checks.real(name, value, 1e-9)
    checks.integer("pool", pool, 1)
    checks.integer("number of budgets and shares", money.size * parts.size, 1, MAX_RUNS)
    checks.flag("disjoint", disjoint)
    rows = []
    for budget in money.tolist():
        for share in parts.tolist():
            strong = min(_affordable(share * budget, strong_cost), pool)
            weak = min(_affordable((1 - share) * budget, weak_cost), pool - strong if disjoint else pool)
            # Both parts together may be above the budget by rounding.
            while weak * weak_cost + strong * strong_cost > budget:
                weak, strong = (weak - 1, strong) if weak else (weak, strong - 1)
            rows.append((budget, share, weak, strong, weak * weak_cost + strong * strong_cost))
    return pd.DataFrame(rows, columns=["budget", "share", "weak", "strong", "cost"])


def _affordable(money: float, cost: float) -> int:
    return int(min(money / cost, 2**62))


def draw_labelled(
    num_nodes: int, weak: int, strong: int, *, disjoint: bool = False, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which nodes get noisy labels, and which clean ones, at random.

    Args:
        num_nodes: Number of nodes.
        weak: Number of noisy labels.
        strong: Number of clean labels.
        disjoint: Whether no node has both; otherwise clean labels are of nodes that have noisy ones, as far as there
            are enough.
        seed: Seed of the order of nodes.

    Raises:
        InputError: There are not so many nodes.

    Example:
        >>> weak, strong = draw_labelled(10, 6, 4, disjoint=True)
        >>> len(set(weak) & set(strong)), len(set(weak) | set(strong))
        (0, 10)
    """
    checks.integer("num_nodes", num_nodes, 1, MAX_NODES)
    checks.flag("disjoint", disjoint)
    checks.integer("weak", weak, 0, num_nodes)
    checks.integer("strong", strong, 0, num_nodes - weak if disjoint else num_nodes)
    needed = weak + strong if disjoint else max(weak, strong)
    resources.check_memory(f"an order of {num_nodes} nodes", 16 * num_nodes if needed > num_nodes / 50 else 64 * needed)
    order = checks.generator(seed).choice(num_nodes, needed, replace=False)
    return order[:weak], order[weak : weak + strong] if disjoint else order[:strong]


def pareto(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other one matches at a lower cost, or beats at no higher cost; of equal ones the first.

    Args:
        cost: Costs, shape [n].
        accuracy: Accuracies, shape [n].

    Raises:
        InputError: Arrays of different lengths, or numbers that are not finite.

    Example:
        >>> pareto([1, 2, 2, 3, 4, 2], [0.5, 0.7, 0.6, 0.7, 0.9, 0.7]).tolist()
        [True, True, False, False, True, False]
    """
    costs, accuracies = finite_array("cost", cost), finite_array("accuracy", accuracy)
    same_length({"cost": costs, "accuracy": accuracies}, 0)
    # By cost, the most accurate one first; the order is stable.
    order = np.lexsort((-accuracies, costs))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], accuracies[order]]))[:-1]
    chosen = np.zeros(len(costs), dtype=bool)
    chosen[order] = accuracies[order] > best
    return chosen


def frontier(runs: pd.DataFrame, budgets: Sequence[float] | None = None) -> Frontier:
    """Return the Pareto set of cost and accuracy, and the regime of each budget.

    Args:
        runs: A row per run: cost, weak and strong (counts of noisy and of clean labels), accuracy, seed, and method
            where there are several.
        budgets: Budgets of the regimes; by default all costs.

    Raises:
        InputError: A column is missing or holds other values than finite numbers (whole ones of labels and seeds), a
            name of a method is missing, a run has no label, or there is no budget.

    Example:
        >>> runs = pd.DataFrame({"cost": [10, 10, 20, 20], "weak": [10, 0, 20, 0], "strong": [0, 2, 0, 4],
        ...                      "accuracy": [0.6, 0.5, 0.65, 0.8], "seed": 0})
        >>> frontier(runs).regimes[["budget", "regime", "accuracy"]].values.tolist()
        [[10.0, 'quantity', 0.6], [20.0, 'quality', 0.8]]

    Source:
        In the spirit of Mallen and Belrose, "Balancing Label Quantity and Quality for Scalable Elicitation", 2024: what
        is compared is theirs; the paired test of the regimes is of this package.
    """
    if not isinstance(runs, pd.DataFrame) or (missing := [name for name in COLUMNS if name not in runs]):
        got = ", ".join(missing) + " missing" if isinstance(runs, pd.DataFrame) else type(runs).__name__
        checks.fail("runs", f"a table with the columns {', '.join(COLUMNS)}", got)
    if not len(runs):
        checks.fail("runs", "at least one run", "none")
    table = pd.DataFrame({name: finite_array(f"runs[{name!r}]", runs[name].to_numpy(), low=0) for name in COLUMNS})
    finite_array("runs['accuracy']", table["accuracy"], low=0, high=1)
    for name in ("weak", "strong", "seed"):
        if (parts := int((table[name] % 1 != 0).sum())) > 0:
            checks.fail(f"runs[{name!r}]", "whole numbers", f"{parts} others")
    if (empty := int(((table["weak"] + table["strong"]) == 0).sum())) > 0:
        checks.fail("runs", "labels in every run (a budget that buys none is no run)", f"{empty} runs without")
    if "method" in runs and (unnamed := int(runs["method"].isna().sum())) > 0:
        checks.fail("runs['method']", "a name in every row", f"{unnamed} rows without")
    table["method"] = runs["method"].astype(str).to_numpy() if "method" in runs else ""
    points, values = [], []
    for (cost, method, weak, strong), group in table.groupby(["cost", "method", "weak", "strong"], sort=True):
        by_seed = {int(seed): rows["accuracy"].tolist() for seed, rows in group.groupby("seed")}
        mean = estimate(by_seed)
        regime = "quantity" if strong == 0 else "quality" if weak == 0 else "mixed"
        half = np.nan if mean.half_width is None else mean.half_width
        points.append((method, int(weak), int(strong), cost, mean.mean, half, mean.draws, regime))
        values.append(by_seed)
    names = ["method", "weak", "strong", "cost", "accuracy", "half_width", "seeds", "regime"]
    result = pd.DataFrame(points, columns=names)
    result["pareto"] = pareto(result["cost"].to_numpy(), result["accuracy"].to_numpy())
    limits = np.unique(result["cost"] if budgets is None else finite_array("budgets", budgets, low=0))
    if not len(limits):
        checks.fail("budgets", "at least one budget", "none")
    return Frontier(result, pd.DataFrame([_regime(float(b), result, values) for b in limits]))


def _regime(budget: float, points: pd.DataFrame, values: Sequence[dict[int, list[float]]]) -> dict[str, object]:
    affordable = points[points["cost"] <= budget]
    row: dict[str, object] = {"budget": budget, "regime": "none", "method": "", "weak": 0, "strong": 0, "cost": 0.0}
    row |= {"accuracy": np.nan, "lead": np.nan, "p": np.nan}
    if not len(affordable):
        return row
    first = affordable.sort_values(["accuracy", "cost"], ascending=[False, True], kind="stable").iloc[0]
    row |= {name: first[name] for name in ("regime", "method", "weak", "strong", "cost", "accuracy")}
    others = affordable[affordable["regime"] != first["regime"]]
    if len(others):
        second = others["accuracy"].idxmax()
        row["lead"] = first["accuracy"] - others["accuracy"][second]
        for compared in compare_draws({"first": values[int(first.name)], "second": values[int(second)]}):
            row["p"] = np.nan if compared.p is None else compared.p
    return row


def confident_targets(p: ArrayLike, y: ArrayLike, weight: float) -> Floats:
    r"""Return (1 - a) y + a h, h the class that the prediction supports most against the share of the class.

    The threshold of class c is the (1 - share of c among y) quantile of its predicted probabilities, so that hardened
    predictions follow the class shares. h is one-hot at the class with the largest excess over its threshold.

    Args:
        p: Predicted probabilities, shape [n, C].
        y: Given labels, class positions, shape [n].
        weight: a, in [0, 1].

    Raises:
        InputError: An argument of the wrong shape or out of its range.

    Example:
        >>> confident_targets([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [0, 0, 1], 0.5).tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]

    Source:
        Mallen and Belrose 2024, with the log-confidence loss of Burns et al., "Weak-to-Strong Generalization", 2023,
        for two classes; the rule for several classes is of this package.
    """
    scores: Floats = checks.probabilities("p", p).detach().cpu().numpy()
    a = checks.rate("weight", weight)
    given = class_positions(y, scores.shape[1]).cpu().numpy()
    same_length({"p": scores, "y": given})
    share = np.bincount(given, minlength=scores.shape[1]) / len(given)
    limits = np.array([np.quantile(scores[:, c], 1 - share[c]) for c in range(scores.shape[1])])
    one_hot = np.eye(scores.shape[1])
    hard: Floats = one_hot[(scores - limits).argmax(1)]
    targets: Floats = (1 - a) * one_hot[given] + a * hard
    return targets
