"""Budgets: the robust query distribution against its linear programme, draws, exemplars."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from graphnoise import InputError
from graphnoise.budget import draw_queries, exemplars, query_value, robust_query

GAINS = [0.9, 0.6, 0.3, 0.1]


def optimum(gains, removed):
    """The best worst case by the linear programme: its dual prices the sum of the r largest p_i g_i."""
    n = len(gains)
    # Variables p, t, u: maximise sum p g - r t - sum u with u_i >= p_i g_i - t.
    cost = np.concatenate([-np.asarray(gains), [removed], np.ones(n)])
    above = np.hstack([np.diag(gains), -np.ones((n, 1)), -np.eye(n)])
    total = np.concatenate([np.ones(n), np.zeros(n + 1)])[None]
    result = linprog(cost, above, np.zeros(n), total, [1.0], bounds=[(0, None)] * (2 * n + 1))
    return -result.fun


def test_the_game_of_four_nodes():
    p = robust_query(GAINS, 0.75)
    # Proportional to the gains, p would be (.47, .32, .16, .05) with value .24.
    assert p == pytest.approx([0.4, 0.6, 0, 0])
    assert query_value(p, GAINS, 0.75) == pytest.approx(0.36)
    assert query_value(np.array(GAINS) / sum(GAINS), GAINS, 0.75) < 0.3


def test_with_right_answers_all_mass_is_on_the_largest_gain():
    assert robust_query(GAINS, 1.0).tolist() == [1, 0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1).map(lambda v: round(v, 3)), min_size=1, max_size=8), st.data())
def test_no_distribution_is_better_in_the_worst_case(gains, data):
    removed = data.draw(st.integers(0, len(gains)))
    accuracy = 1 - removed / len(gains)
    p = robust_query(gains, accuracy)
    assert p.sum() == pytest.approx(1)
    assert p.min() >= 0
    assert query_value(p, gains, accuracy) == pytest.approx(max(optimum(gains, removed), 0), abs=1e-6)


def test_without_a_gain_the_distribution_is_uniform():
    assert robust_query([0, 0, 0], 0.5).tolist() == [1 / 3] * 3
    # One positive gain, which the adversary voids.
    assert robust_query([0.5, 0, 0], 0.9).tolist() == [1 / 3] * 3
    assert robust_query([0.5, 0, 0], 1.0).tolist() == [1, 0, 0]
    assert robust_query([1e-300, 1e300], 1.0).tolist() == [0, 1]


def test_queries_are_distinct_and_as_many_as_there_are_nodes():
    p = robust_query(GAINS, 0.75)
    assert set(draw_queries(p, 2, seed=5)) == {0, 1}
    for budget, count in ((0, 0), (3, 3), (100, 4)):
        drawn = draw_queries(p, budget)
        assert len(set(drawn.tolist())) == len(drawn) == count
    # Sums that overflow, and chances that underflow beside the largest.
    assert set(draw_queries([1e308, 1e308, 0.0], 2)) == {0, 1}
    assert set(draw_queries([1e300, 1e-320], 2)) == {0, 1}
    assert set(draw_queries(p, 3).tolist()) > {0, 1}
    assert draw_queries(p, 3, seed=1).tolist() == draw_queries(p, 3, seed=1).tolist()


def test_two_sub_clusters_are_both_represented():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal([5, 0], 0.3, (30, 2)), rng.normal([0, 5], 0.3, (10, 2))])
    first, second = exemplars(z, np.zeros(40), per_class=2)[0]
    assert {first < 30, second < 30} == {True, False}


def test_suspicious_labels_are_no_exemplars():
    z = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [1.0, 0.02]])
    g = np.array([0.0, 0.0, 1.0, 0.9])
    chosen = exemplars(z, [0, 0, 0, 0], g, per_class=2)[0].tolist()
    assert set(chosen) == {0, 1}
    assert 2 in exemplars(z, [0, 0, 0, 0], per_class=2)[0]


def test_classes_with_few_nodes_and_nodes_without_label():
    chosen = exemplars(np.eye(4), [1, -1, 3, 3], per_class=5)
    assert {c: sorted(nodes.tolist()) for c, nodes in chosen.items()} == {1: [0], 3: [2, 3]}
    assert exemplars(np.zeros((2, 3)), [0, 0], per_class=1)[0].tolist() == [0]
    assert exemplars(np.zeros((0, 2)), np.zeros(0)) == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: robust_query([], 0.5), "gains: expected at least one number"),
        (lambda: robust_query([1.0, -1.0], 0.5), "gains: expected at least one number, all at least 0"),
        (lambda: robust_query([1.0, np.nan], 0.5), "gains: expected finite numbers"),
        (lambda: robust_query([1.0], 1.5), "accuracy: expected a rate"),
        (lambda: draw_queries([0.0, 0.0], 1), "p: expected probabilities of which one is above 0"),
        (lambda: draw_queries([1.0], -1), "budget: expected an integer of at least 0"),
        (lambda: query_value([1.0], [1.0, 2.0], 1.0), "p: expected 2 probabilities"),
        (lambda: exemplars(np.eye(2), [0, 0], [0.5, 2.0]), "y, suspicion: expected 2 labels"),
        (lambda: query_value([1.0, 1.0], [1.0, 2.0], 1.0), "p: expected probabilities that sum to 1, got a sum of 2"),
        (lambda: exemplars(np.eye(2), [0, -2]), "y: expected class positions"),
        (lambda: exemplars(np.eye(2), [0, 0.5]), "y: expected class positions"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
