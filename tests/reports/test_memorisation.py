"""Memorisation and influence by subsampling, against definitions and a nearest neighbour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from graphnoise import InputError
from graphnoise.reports import label_influence, memorisation, memorisation_groups, memorisation_runs

X = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [2.0]])
# The last class has one member.
Y = np.array([0, 0, 0, 1, 1, 1, 2])


def nearest(config, seed):
    rule = KNeighborsClassifier(1).fit(X[config["included"]], Y[config["included"]])
    return {"correct": rule.predict(X) == Y, "test_correct": rule.predict([[0.05], [2.1]]) == [0, 2]}


def test_a_constant_rule_memorises_nothing():
    included, correct, test = memorisation_runs(
        lambda config, seed: {"correct": Y == 0, "test_correct": [True, False]}, len(Y), runs=30
    )
    assert memorisation(included, correct).tolist() == [0.0] * len(Y)
    assert label_influence(included, test)["influence"].tolist() == pytest.approx([0.0] * 10, abs=1e-12)


def test_a_nearest_neighbour_memorises_the_only_member_of_a_class():
    included, correct, test = memorisation_runs(nearest, len(Y), runs=60, share=0.7, seed=1)
    scores = memorisation(included, correct)
    # Divided by the number of all runs, the score would be the share of runs with the label.
    assert scores[6] == 1
    assert (scores[:6] < 0.5).all()
    top = label_influence(included, test, top=1)
    assert top[top["test"] == 1][["labelled", "influence"]].values.tolist() == [[6, pytest.approx(1)]]


def test_a_label_that_every_run_or_none_saw_has_no_score():
    included = np.array([[1, 0, 1], [1, 0, 0]])
    scores = memorisation(included, np.ones((2, 3)))
    assert np.isnan(scores).tolist() == [True, True, False]
    influence = label_influence(included, np.ones((2, 4)))
    assert set(influence["labelled"]) == {2}
    assert not influence["influence"].isna().any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_and_influences_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    included, correct = rng.integers(0, 2, (9, 5)), rng.integers(0, 2, (9, 5))
    scores = memorisation(included, correct)
    influence = label_influence(included, correct, top=5).set_index(["test", "labelled"])["influence"]
    for i in range(5):
        inside = included[:, i] == 1
        if inside.all() or not inside.any():
            assert np.isnan(scores[i])
            continue
        assert scores[i] == pytest.approx(correct[inside, i].mean() - correct[~inside, i].mean())
        for j in range(5):
            expected = correct[inside, j].mean() - correct[~inside, j].mean()
            assert influence[j, i] == pytest.approx(expected)


def test_parts_have_the_share_that_was_asked_for():
    included, _, _ = memorisation_runs(nearest, len(Y), runs=12, share=0.7)
    assert set(included.sum(1)) == {5}
    again, _, _ = memorisation_runs(nearest, len(Y), runs=12, share=0.7)
    assert np.array_equal(included, again)
    # Never none, never all.
    for share, count in ((0.0, 1), (1.0, 6)):
        assert set(memorisation_runs(nearest, len(Y), runs=3, share=share)[0].sum(1)) == {count}


def test_groups_have_means_and_unknown_scores():
    scores = [1.0, 0.5, 0.0, np.nan]
    table = memorisation_groups(scores, {"wrong": [1, 1, 0, 0], "degree": [1, 2, 3, 4]}, bins=2)
    rows = table.set_index(["group", "part"])
    assert rows.loc[("wrong", "0"), ["nodes", "unknown", "mean"]].tolist() == [2, 1, 0.0]
    assert rows.loc[("wrong", "1"), ["mean", "high"]].tolist() == [0.75, 1.0]
    assert rows.loc["degree"]["nodes"].tolist() == [2, 2]
    assert memorisation_groups([np.nan], {"a": [1.0]})["mean"].isna().all()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"correct": [1, 0]}, "run: expected the measure 'test_correct', got correct"),
        ({"correct": [1, 0], "test_correct": []}, "run: correct, test_correct: expected 7 values"),
        ({"correct": [0.5] * 7, "test_correct": []}, "run: correct: expected 0 and 1"),
        ({"correct": [float("nan")] * 7, "test_correct": []}, "run: correct: expected finite numbers"),
        ({"correct": ["yes"] * 7, "test_correct": []}, "run: correct: expected numbers"),
        ({"correct": [1] * 7, "test_correct": [[1], [1, 0]]}, "run: test_correct: expected a tensor or an array"),
        (3, "run: expected a mapping of measures, got int"),
    ],
)
def test_bad_runs_are_named(result, message):
    with pytest.raises(InputError, match=message):
        memorisation_runs(lambda config, seed: result, 7, runs=2)


def test_more_labels_than_memory_are_refused():
    with pytest.raises(InputError, match="runs of 1000000000000 labels: expected to need at most"):
        memorisation_runs(lambda config, seed: {}, 10**12)


def test_bad_arrays_are_named():
    with pytest.raises(InputError, match="correct: expected shape"):
        memorisation([[1, 0]], [[1, 0, 1]])
    with pytest.raises(InputError, match="included: expected 0 and 1"):
        memorisation([[1, 2]], [[1, 0]])
    with pytest.raises(InputError, match="included, test_correct: expected one length"):
        label_influence([[1, 0]], [[1], [0]])
