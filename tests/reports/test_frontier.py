"""Quantity against quality: Pareto sets, spending, labels of two kinds, regimes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise import InputError
from graphnoise.reports import confident_targets, draw_labelled, frontier, pareto, purchases

MONEY = st.floats(0, 1e6, allow_nan=False)
COST = st.floats(1e-3, 1e3, allow_nan=False)


def test_the_pareto_set_of_six_points_keeps_ties_once():
    cost, accuracy = [1, 2, 2, 3, 4, 2], [0.5, 0.7, 0.6, 0.7, 0.9, 0.7]
    assert np.flatnonzero(pareto(cost, accuracy)).tolist() == [0, 1, 4]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_pareto_set_is_that_of_its_definition(points):
    cost, accuracy = ([float(p[k]) for p in points] for k in range(2))
    chosen = pareto(cost, accuracy)
    better = [
        any(
            c <= c0 and a >= a0 and ((c, a) != (c0, a0) or j < i)
            for j, (c, a) in enumerate(zip(cost, accuracy, strict=True))
        )
        for i, (c0, a0) in enumerate(zip(cost, accuracy, strict=True))
    ]
    assert [not b for b in better] == chosen.tolist()


@settings(max_examples=200, deadline=None)
@given(MONEY, st.floats(0, 1), COST, COST, st.integers(1, 10**6), st.booleans())
def test_spending_never_exceeds_the_budget(budget, share, weak_cost, strong_cost, pool, disjoint):
    (row,) = purchases([budget], [share], weak_cost, strong_cost, pool, disjoint=disjoint).to_dict("records")
    assert row["weak"] * weak_cost + row["strong"] * strong_cost <= budget
    assert min(row["weak"], row["strong"]) >= 0
    assert (row["weak"] + row["strong"] if disjoint else max(row["weak"], row["strong"])) <= pool


def test_a_budget_of_zero_buys_nothing_and_one_that_fits_is_spent():
    table = purchases([0.0, 7.5], [0.0, 1.0], 2.5, 2.5, 100)
    assert table["weak"].tolist() == [0, 0, 3, 0]
    assert table["strong"].tolist() == [0, 0, 0, 3]


def test_nodes_have_one_label_in_disjoint_mode():
    weak, strong = draw_labelled(100, 60, 30, disjoint=True, seed=3)
    assert not set(weak) & set(strong)
    weak, strong = draw_labelled(100, 60, 30, seed=3)
    assert set(strong) < set(weak)
    with pytest.raises(InputError, match="strong: expected an integer from 0 to 40, got 50"):
        draw_labelled(100, 60, 50, disjoint=True)


def runs(rows):
    return pd.DataFrame(rows, columns=["method", "weak", "strong", "cost", "accuracy", "seed"])


def test_regimes_of_budgets():
    rows = []
    for seed in range(4):
        jitter = 0.001 * seed
        rows += [
            ("plain", 10, 0, 10, 0.60 + jitter, seed),
            ("plain", 0, 1, 10, 0.40 + 2 * jitter, seed),
            ("mixed", 10, 2, 20, 0.70 + jitter, seed),
            ("plain", 20, 0, 20, 0.65 - jitter, seed),
            ("plain", 0, 4, 40, 0.90 + jitter, seed),
        ]
    result = frontier(runs(rows), budgets=[5, 10, 25, 100])
    assert result.regimes["regime"].tolist() == ["none", "quantity", "mixed", "quality"]
    assert result.regimes["accuracy"].isna().tolist() == [True, False, False, False]
    assert result.regimes["lead"].iloc[1] == pytest.approx(0.1985)
    assert result.regimes["p"].iloc[1] < 0.01
    assert result.points[result.points["pareto"]]["cost"].tolist() == [10, 20, 40]
    assert result.points["seeds"].eq(4).all()


def test_a_single_run_has_no_interval_and_no_test():
    result = frontier(runs([("", 10, 0, 10, 0.6, 0), ("", 0, 2, 10, 0.5, 0)]))
    assert result.points["half_width"].isna().all()
    assert np.isnan(result.regimes["p"].iloc[0])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (runs([("", 0, 0, 0, 0.5, 0)]), "runs: expected labels in every run"),
        (runs([("", 1, 0, 1, float("nan"), 0)]), r"runs\['accuracy'\]: expected finite numbers"),
        (runs([]), "runs: expected at least one run, got none"),
        (runs([("", 1.5, 0, 1, 0.5, 0)]), r"runs\['weak'\]: expected whole numbers"),
        (runs([("", 1, 0, 1, 0.5, 0.5)]), r"runs\['seed'\]: expected whole numbers"),
        (runs([(None, 1, 0, 1, 0.5, 0), ("a", 1, 0, 1, 0.5, 0)]), r"runs\['method'\]: expected a name in every row"),
        (pd.DataFrame({"cost": [1]}), "runs: expected a table with the columns .*, got weak, strong"),
        ([1], "runs: expected a table"),
    ],
)
def test_bad_input_is_named(table, message):
    with pytest.raises(InputError, match=message):
        frontier(table)


def test_a_frontier_of_no_budget_is_refused():
    with pytest.raises(InputError, match="budgets: expected at least one budget, got none"):
        frontier(runs([("", 10, 0, 10, 0.6, 0)]), budgets=[])


def test_a_budget_beyond_all_counts_buys_the_pool():
    table = purchases([1e300], [0.0, 1.0], 1e-9, 1e-9, 100)
    assert table[["weak", "strong"]].values.tolist() == [[100, 0], [0, 100]]


def test_labels_that_are_no_classes_are_named():
    with pytest.raises(InputError, match="y: expected integers as class labels"):
        confident_targets([[0.9, 0.1]], [0.5], 0.5)


def test_confident_targets_follow_the_shares_of_the_classes():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([5, 1, 1], size=3000)
    y = np.repeat([0, 1, 2], 1000)
    hard = confident_targets(p, y, 1.0)
    assert (hard.sum(1) == 1).all()
    # Hardened by the largest probability, most rows were of the first class.
    assert (p.argmax(1) == 0).mean() > 0.8
    assert hard.mean(0) == pytest.approx([1 / 3] * 3, abs=0.1)
    assert np.array_equal(confident_targets(p, y, 0.0), np.eye(3)[y])
