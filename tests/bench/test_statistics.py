import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from graphnoise.checks import InputError
from graphnoise.statistics import compare_draws, estimate, holm, rank_methods


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)
def test_holm_equals_statsmodels(p):
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)


def test_holm_of_integers_is_not_rounded():
    assert holm([0, 1]).dtype == np.float64


def test_interval_is_the_t_interval_over_draws():
    values = {0: [0.5, 0.7], 1: [0.8, 0.8], 2: [0.4, 0.6]}
    means = [0.6, 0.8, 0.5]
    e = estimate(values)
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert e.mean == pytest.approx(np.mean(means))
    assert e.half_width == pytest.approx((high - low) / 2)
    assert (e.draws, e.inits) == (3, 2)


def test_one_draw_has_no_interval_and_one_initialisation_no_variance_split():
    assert estimate({4: [0.5, 0.6]}).half_width is None
    assert estimate({4: [0.5, 0.6]}).draw_share is None
    assert estimate({0: [0.5], 1: [0.6]}).half_width is not None
    assert estimate({0: [0.5], 1: [0.6]}).draw_share is None
    assert estimate({0: [0.5, 0.5], 1: [0.5, 0.5]}).draw_share is None
    assert (estimate({0: [0.5], 1: [0.6]}).init_sd, estimate({0: [0.5], 1: [0.6]}).init_drop) == (None, None)


def test_the_spread_over_initialisations_is_that_within_draws():
    e = estimate({0: [1.0, 3.0], 1: [6.0, 8.0, 10.0], 2: [5.0]})
    # Squares within 2 + 8 of 3 degrees of freedom; 6 is 2 below the mean of its draw.
    assert e.init_sd == pytest.approx((10 / 3) ** 0.5, rel=1e-12)
    assert e.init_drop == pytest.approx(2.0, rel=1e-12)
    assert estimate({4: [0.5, 0.7]}).init_drop == pytest.approx(0.1)


def test_variance_parts_are_recovered():
    rng = np.random.default_rng(5)
    for share in (0.0, 0.3, 0.8, 1.0):
        draws = np.sqrt(share) * rng.normal(size=(3000, 1)) + np.sqrt(1 - share) * rng.normal(size=(3000, 4))
        assert estimate(dict(enumerate(draws.tolist()))).draw_share == pytest.approx(share, abs=0.03)
    # Groups of unequal size, and one draw that is not finished.
    values = {d: (rng.normal() + rng.normal(size=2 + d % 4)).tolist() for d in range(4000)}
    assert estimate(values).draw_share == pytest.approx(0.5, abs=0.03)
    values = {d: [0.1 * d, 0.1 * d + 0.02] for d in range(9)} | {9: [0.5]}
    assert estimate(values).draw_share > 0.9


def test_the_size_of_unequal_groups_is_their_harmonic_mean():
    # Means 2, 6 and 4, variance 4 between them; squares within 2 + 0 + 8 of 3 degrees of freedom; size 18 / 11.
    between = 4 - (10 / 3) / (18 / 11)
    share = estimate({0: [1, 3], 1: [6], 2: [2, 4, 6]}).draw_share
    assert share == pytest.approx(between / (between + 10 / 3), rel=1e-12)


def test_two_draws_are_enough():
    e = estimate({0: [1.0, 3.0], 1: [6.0, 8.0]})
    # Means 2 and 7, variance 12.5; variance within 2.
    assert e.draw_share == pytest.approx(11.5 / 13.5, rel=1e-12)
    assert e.half_width == pytest.approx(stats.t.ppf(0.975, 1) * 2.5)
    (c,) = compare_draws({"a": {0: [1.0], 1: [6.0]}, "b": {0: [0.0], 1: [3.0]}})
    assert c.p == pytest.approx(stats.ttest_rel([1, 6], [0, 3]).pvalue)
    assert c.half_width == pytest.approx(stats.t.ppf(0.975, 1))


def test_a_reference_is_compared_with_each_other_method():
    values = {name: {0: [at], 1: [at + 1]} for at, name in enumerate("abc")}
    compared = compare_draws(values, ["b"])
    assert [(c.first, c.second, c.difference) for c in compared] == [("a", "b", -1.0), ("c", "b", 1.0)]
    assert compare_draws(values, ["d"]) == []


def test_paired_tests_equal_scipy_on_the_draws_in_common():
    rng = np.random.default_rng(1)
    a, b, c = ({d: [float(v)] for d, v in enumerate(rng.normal(m, 1, 12))} for m in (0, 1, 1.2))
    del b[3]
    compared = {(x.first, x.second): x for x in compare_draws({"a": a, "b": b, "c": c})}
    raw = []
    for (first, second), (one, two) in {("a", "b"): (a, b), ("a", "c"): (a, c), ("b", "c"): (b, c)}.items():
        common = sorted(set(one) & set(two))
        result = stats.ttest_rel([one[d][0] for d in common], [two[d][0] for d in common])
        raw.append(result.pvalue)
        interval = result.confidence_interval()
        x = compared[first, second]
        assert x.pairs == len(common)
        assert x.difference - x.half_width == pytest.approx(interval.low)
        assert x.difference + x.half_width == pytest.approx(interval.high)
    np.testing.assert_allclose([x.p for x in compared.values()], holm(raw))


def test_degenerate_pairs():
    same, shifted = {0: [0.5], 1: [0.7]}, {0: [0.25], 1: [0.45]}
    assert compare_draws({"a": same, "b": same})[0].p is None
    assert compare_draws({"a": same, "b": shifted})[0].p is None
    assert compare_draws({"a": {0: [0.5]}, "b": {0: [0.2]}})[0].p is None
    assert compare_draws({"a": {0: [0.5]}, "b": {1: [0.2]}}) == []


def test_what_does_not_vary_has_no_interval_and_is_in_no_family():
    rng = np.random.default_rng(2)
    steady, other = {d: [0.7] for d in range(9)}, {d: [0.6] for d in range(9)}
    noisy = {d: [float(v)] for d, v in enumerate(rng.normal(0.7, 0.05, 9))}
    assert estimate(steady).half_width is None
    compared = {(c.first, c.second): c for c in compare_draws({"s": steady, "o": other, "n": noisy})}
    raw = [stats.ttest_rel([noisy[d][0] for d in noisy], [m[0][0]] * 9).pvalue for m in (steady, other)]
    np.testing.assert_allclose([compared["s", "n"].p, compared["o", "n"].p], holm(raw))
    assert compared["s", "o"].p is None


@pytest.mark.parametrize(
    ("methods", "quantile"),
    [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_differences_have_the_quantiles_of_demsar(methods, quantile):
    # Table 5 (a) of the paper.
    scores = np.random.default_rng(methods).random((methods, 14))
    ranking = rank_methods({str(k): row.tolist() for k, row in enumerate(scores)})
    expected = quantile * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert ranking.critical_difference == pytest.approx(expected, rel=5e-4)
    assert sum(ranking.ranks.values()) == pytest.approx(methods * (methods + 1) / 2)
    by_hand = {str(k): float(np.mean((scores >= scores[k]).sum(0))) for k in range(methods)}
    assert ranking.ranks == pytest.approx(by_hand)
    assert list(ranking.ranks.values()) == sorted(ranking.ranks.values())


def test_several_references_are_one_family():
    draws = np.random.default_rng(0).random((4, 5))
    values = {name: {d: [v] for d, v in enumerate(row)} for name, row in zip("abcd", draws, strict=True)}
    compared = compare_draws(values, ["c", "d", "x"])
    assert [(c.first, c.second) for c in compared] == [("a", "c"), ("b", "c"), ("a", "d"), ("b", "d")]
    single = [stats.ttest_rel(draws["abcd".index(c.first)], draws["abcd".index(c.second)]).pvalue for c in compared]
    assert [c.p for c in compared] == pytest.approx(holm(single).tolist())


def test_ranks_of_ties_and_bad_scores():
    alike = rank_methods({name: [1.0, 2.0] for name in "abc"})
    assert set(alike.ranks.values()) == {2.0}
    assert alike.p == 1.0
    with pytest.raises(InputError, match="scores: expected at least three methods"):
        rank_methods({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(InputError, match="the same two or more settings"):
        rank_methods({"a": [1.0, 2.0], "b": [1.0], "c": [1.0, 2.0]})
