"""Rank stability: the crossing of two models, and what the curve reads it from."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy import stats

from graphnoise import InputError
from graphnoise.reports import rank_stability


def planted(clean, errors, accuracies, seed=0):
    """Given and corrected labels, and predictions with these accuracies on right and on wrong labels."""
    rng, n = np.random.default_rng(seed), clean + errors
    corrected = rng.integers(0, 3, n)
    given = np.where(np.arange(n) < clean, corrected, (corrected + 1) % 3)
    models = {}
    for name, (right, wrong) in accuracies.items():
        hits = np.concatenate([np.arange(clean) < right * clean, np.arange(errors) < wrong * errors])
        # Wrong predictions are the given label where that is wrong.
        models[name] = np.where(hits, corrected, (corrected + 1) % 3)
    return models, given, corrected


def test_two_models_change_order_at_one_sixth():
    models, given, corrected = planted(900, 100, {"A": (1.0, 0.0), "B": (0.9, 0.5)})
    report = rank_stability(models, given, corrected, seed=1)
    (pair,) = report.pairs.to_dict("records")
    assert (pair["first"], pair["second"]) == ("A", "B")
    assert pair["crossing"] == pytest.approx(1 / 6)
    # Removing error nodes instead of others would end at prevalence 0, where A leads: no change of order.
    assert pair["low"] < pair["sampled"] < pair["high"]
    assert pair["sampled"] == pytest.approx(1 / 6, abs=0.01)
    assert pair["crossing_share"] == 1


def test_prevalence_grows_by_removing_nodes_with_right_labels():
    models, given, corrected = planted(80, 20, {"A": (1.0, 0.0), "B": (0.9, 0.5)})
    report = rank_stability(models, given, corrected)
    assert report.prevalence == 0.2
    prevalences = report.curve["prevalence"].unique()
    assert prevalences[0] == 0.2
    assert prevalences[-1] == 1
    last = report.curve[report.curve["prevalence"] == 1].set_index("model")
    # Only nodes with wrong labels are left: A follows all of them.
    assert last.loc["A", ["given", "corrected"]].tolist() == [1, 0]
    assert last.loc["B", ["given", "corrected"]].tolist() == [0.5, 0.5]
    assert last["kendall"].tolist() == [-1, -1]
    assert report.kendall == -1


def test_accuracy_by_corrected_labels_is_linear_in_prevalence():
    models, given, corrected = planted(400, 100, {"A": (0.95, 0.1), "B": (0.7, 0.6), "C": (0.5, 0.5)})
    curve = rank_stability(models, given, corrected, orders=400).curve
    for name, (right, wrong) in {"A": (0.95, 0.1), "B": (0.7, 0.6), "C": (0.5, 0.5)}.items():
        rows = curve[curve["model"] == name]
        expected = (1 - rows["prevalence"]) * right + rows["prevalence"] * wrong
        assert np.allclose(rows["corrected"], expected, atol=0.02)
        assert (rows["low"] <= rows["corrected"] + 1e-12).all()


def test_a_model_that_is_better_everywhere_is_never_overtaken():
    models, given, corrected = planted(50, 50, {"A": (0.9, 0.9), "B": (0.5, 0.5)})
    (pair,) = rank_stability(models, given, corrected).pairs.to_dict("records")
    assert np.isnan([pair["crossing"], pair["sampled"]]).all()
    assert pair["crossing_share"] < 0.05


def test_runs_are_averaged_and_ties_have_no_tau():
    given, corrected = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    report = rank_stability({"A": [[0, 1, 0, 0], [0, 1, 1, 0]], "B": [0, 1, 1, -1]}, given, corrected)
    models = report.models.set_index("model")
    assert models["corrected"].tolist() == [0.875, 0.5]
    assert models["given"].tolist() == [0.875, 0.75]
    assert models["rank_corrected"].tolist() == [1, 2]
    assert np.isnan(rank_stability({"A": given, "B": given}, given, corrected).kendall)


def test_tau_is_that_of_scipy():
    models, given, corrected = planted(60, 40, {"A": (0.9, 0.1), "B": (0.8, 0.5), "C": (0.7, 0.2), "D": (0.6, 0.9)})
    report = rank_stability(models, given, corrected)
    expected = stats.kendalltau(
        [(models[name] == given).mean() for name in models], [(models[name] == corrected).mean() for name in models]
    ).statistic
    assert report.kendall == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@drawn(st.integers(0, 10**6), st.integers(2, 4))
def test_the_same_seed_gives_the_same_tables(seed, count):
    rng = np.random.default_rng(seed)
    corrected = rng.integers(0, 3, 30)
    given = corrected.copy()
    given[:5] = (given[:5] + 1) % 3
    models = {str(k): rng.integers(-1, 3, 30) for k in range(count)}
    first, second = (rank_stability(models, given, corrected, orders=5, resamples=20, seed=seed) for _ in range(2))
    assert first.pairs.equals(second.pairs)
    assert first.curve.equals(second.curve)
    assert len(first.pairs) == count * (count - 1) // 2
    known = first.pairs["crossing"].dropna()
    assert known.between(0, 1).all()


@pytest.mark.parametrize(
    ("predictions", "given", "corrected", "message"),
    [
        ({"A": [0, 1]}, [0, 1], [0, 0], "predictions: expected a mapping with at least two models, got 1"),
        ([[0, 1], [0, 1]], [0, 1], [0, 0], "predictions: expected a mapping"),
        ({"A": [0, 1], "B": [0, 1]}, [0, 1], [0, 1], "corrected: expected some labels that differ"),
        ({"A": [0, 1], "B": [0, 1]}, [0, 1], [1, 0], "corrected: expected some labels that differ"),
        ({"A": [0, 1], "B": [0]}, [0, 1], [0, 0], r"predictions\['B'\]: expected classes of shape \[2\]"),
        ({"A": [0, 1], "B": [0, np.nan]}, [0, 1], [0, 0], r"predictions\['B'\]: expected finite numbers"),
        ({"A": [0, 1], "B": [0, 1]}, [0, 1], [0, 0, 0], "corrected: expected 2 labels"),
        # A node without a label, which a prediction of no class would hit.
        ({"A": [0, -1], "B": [0, 1]}, [0, -1], [0, 0], "given: expected numbers in"),
        ({"A": [0, -1], "B": [0, 1]}, [0, 0], [0, -1], "corrected: expected numbers in"),
    ],
)
def test_bad_input_is_named(predictions, given, corrected, message):
    with pytest.raises(InputError, match=message):
        rank_stability(predictions, given, corrected)


def test_of_models_as_good_on_right_labels_the_better_one_is_first():
    # The second is better at no prevalence, which a crossing of NaN says.
    pairs = rank_stability({"A": [0, 0, 0], "B": [0, 0, 1]}, [0, 0, 0], [0, 0, 1], orders=2, resamples=5).pairs
    assert pairs[["first", "second", "wrong_labels"]].values.tolist() == [["B", "A", 1.0]]
    assert pairs["crossing"].isna().all()


def test_held_out_clicks_are_hits_or_misses():
    false = np.arange(50) < 10
    # The first recommends the items of all clicks, the second those of right ones, except one.
    hits = {"follows": np.ones(50, dtype=int), "robust": (~false & (np.arange(50) != 30)).astype(int)}
    report = rank_stability(hits, np.ones(50, dtype=int), (~false).astype(int), orders=5, resamples=20)
    assert report.models[["right_labels", "wrong_labels"]].values.tolist() == [[1, 0], [39 / 40, 1]]
    # d_c = 1 / 40 and d_e = 1.
    assert report.pairs["crossing"].tolist() == pytest.approx([1 / 41])
