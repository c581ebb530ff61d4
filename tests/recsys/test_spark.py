"""Credibility and cleaning of clicks in Spark against their formulas, `ItemKNN`, and bad input."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys import InputError, ItemKNN
from recsys import spark as rs


@pytest.fixture(scope="module")
def clicks(spark):
    """Random clicks of 12 users on 9 items, a user with one click, an item of one user; and their frame, one twice."""
    matrix = np.random.default_rng(3).random((12, 9)) < 0.4
    matrix[0], matrix[:, 8] = np.arange(9) == 2, np.arange(12) == 5
    pairs = [(int(u), f"i{i}") for u, i in np.argwhere(matrix)]
    return matrix, spark.createDataFrame([*pairs, pairs[4]], "who int, what string").cache()


def brute_force(matrix, neighbours=None):
    """Return the credibility of each click; each is removed from the matrix in turn."""
    found = {}
    counts = matrix.astype(float)
    together = counts.T @ counts
    cosine = together / np.sqrt(np.outer(together.diagonal(), together.diagonal()))
    np.fill_diagonal(cosine, -1)
    for u, i in np.argwhere(matrix):
        others = np.setdiff1d(np.flatnonzero(matrix[u]), i)
        without = counts.copy()
        without[u, i] = 0
        nearest = np.argsort(-cosine[i], kind="stable")[:neighbours]
        terms = [
            without[:, i] @ without[:, j] / max(np.sqrt(without[:, i].sum() * without[:, j].sum()), 1e-12)
            if j in nearest
            else 0.0
            for j in others
        ]
        found[int(u), f"i{i}"] = np.mean(terms) if terms else None
    return found


@pytest.mark.parametrize("neighbours", [None, 3])
def test_credibility_is_its_formula(clicks, neighbours):
    matrix, frame = clicks
    found = rs.credibility(frame, user="who", item="what", neighbours=neighbours)
    assert found.columns == ["who", "what", "credibility"]
    expected = brute_force(matrix, neighbours)
    found = {(row.who, row.what): row.credibility for row in found.collect()}
    assert found == {
        pair: value if value is None else pytest.approx(value, abs=1e-9) for pair, value in expected.items()
    }
    assert [pair for pair, value in found.items() if value is None] == [(0, "i2")]


def test_credibility_is_the_score_of_a_model_fitted_without_the_click(clicks):
    matrix = clicks[0]
    for (u, i), value in brute_force(matrix).items():
        if value is not None:
            without = matrix.copy()
            without[u, int(i[1:])] = False
            model = ItemKNN().fit(sp.csr_array(without.astype(np.float32)), False)
            score = model.scores(np.array([u]))[0, int(i[1:])] / without[u].sum()
            assert value == pytest.approx(float(score), abs=1e-6)


def test_clean_removes_the_least_credible(spark, clicks):
    matrix, frame = clicks
    scored = rs.credibility(frame, user="who", item="what").localCheckpoint()
    names = {"user": "who", "item": "what"}
    known = sorted((row.credibility, row.who, row.what) for row in scored.collect() if row.credibility is not None)
    half = rs.clean(frame, scored, share=0.5, **names)
    number = round(0.5 * matrix.sum())
    assert {tuple(row) for row in half.removed.collect()} == {row[1:] for row in known[:number]}
    assert half.clicks.count() + half.removed.count() == frame.count() == matrix.sum() + 1
    limit = known[7][0]
    low = rs.clean(frame, scored, threshold=limit, **names)
    assert {tuple(row) for row in low.removed.collect()} == {row[1:] for row in known if row[0] < limit}
    assert rs.clean(frame, scored, share=0.0, **names).removed.isEmpty()
    # Clicks without credibility stay.
    assert {tuple(row) for row in rs.clean(frame, scored, share=1.0, **names).clicks.collect()} == {(0, "i2")}
    with pytest.raises(InputError, match="share: expected one that leaves a click, got 1"):
        rs.clean(frame.where("who > 0"), scored.where("who > 0"), share=1.0, **names)
    with pytest.raises(InputError, match="clicks: expected those that credibility was asked about, got others"):
        rs.clean(frame, scored.where("who > 0"), share=0.5, **names)
    with pytest.raises(InputError, match="threshold, share: expected one of them, got none"):
        rs.clean(frame, scored, **names)


def test_plan_has_no_cross_join(clicks):
    for neighbours in (None, 2):
        found = rs.credibility(clicks[1], user="who", item="what", neighbours=neighbours)
        plan = found._jdf.queryExecution().executedPlan().toString()
        assert "Join" in plan
        assert "CartesianProduct" not in plan
        assert "NestedLoop" not in plan


def test_bad_input_is_one_error(spark, clicks):
    frame = clicks[1]
    with pytest.raises(InputError, match="user: expected one of what, who, got 'user'"):
        rs.credibility(frame)
    with pytest.raises(InputError, match="clicks: expected a user and an item in every row, got 1 rows with null"):
        rs.credibility(spark.createDataFrame([(1, None), (1, 2)], "user int, item int"))
    with pytest.raises(InputError, match=r"clicks.item: expected integers, or text in all, got double"):
        rs.credibility(spark.createDataFrame([(1, 2.0)], "user int, item double"))
    with pytest.raises(InputError, match="neighbours: expected an integer of at least 1, got 0"):
        rs.credibility(frame, user="who", item="what", neighbours=0)
    with pytest.raises(InputError, match="clicks: expected a Spark DataFrame, got list"):
        rs.credibility([(1, 2)])
