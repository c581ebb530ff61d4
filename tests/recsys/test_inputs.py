"""Inputs that people have: the right reading, or an error that names what to pass instead."""

import datetime

import numpy as np
import pandas
import pytest
import scipy.sparse as sp
import torch

from recsys import (
    ALS,
    EASE,
    InputError,
    Interactions,
    ItemKNN,
    MatrixFactorization,
    Popularity,
    Split,
    TwoTower,
    compare,
    evaluate,
)
from recsys.datasets import read_table
from recsys.splits import global_time, leave_k_out, ratio, user_time

X = sp.csr_array((np.random.default_rng(0).random((7, 5)) < 0.5).astype(float))
NAMED = Interactions.from_csr(X, users=list("abcdefg"), items=[10, 11, 12, 13, 14])
MODEL = ItemKNN().fit(X)
FRAME = pandas.DataFrame({"who": ["ann", "bob"], "what": [7, 9], "stars": [5, 1]})


@pytest.fixture
def table(tmp_path):
    def written(text, name="clicks.csv", **options):
        (tmp_path / name).write_text(text)
        return read_table(tmp_path / name, "who", "what", **options)

    return written


@pytest.mark.parametrize("text", ["NA", "null", "NaN", "None", "N/A"])
def test_ids_that_look_missing_in_a_file(text, table):
    rows = f"who,what\n{text},7\nann,8\n"
    with pytest.raises(InputError, match=r"who: expected .*got 1 missing \(of texts .* keep_default_na=False\)"):
        table(rows)
    assert table(rows, keep_default_na=False).users.tolist() == sorted([text, "ann"])
    assert Interactions.from_triples([text, "ann"], [7, 8]).users.tolist() == sorted([text, "ann"])


@pytest.mark.parametrize("missing", [None, float("nan"), pandas.NA, pandas.NaT])
def test_ids_that_are_missing(missing):
    with pytest.raises(InputError, match="users: expected integers or text, got 1 others"):
        Interactions.from_triples([missing, "ann"], [7, 8])
    frame = pandas.DataFrame({"who": pandas.Series([3, missing], dtype=object), "what": [7, 8]})
    with pytest.raises(InputError, match="users: expected integers or text, got 1 others"):
        Interactions.from_frame(frame, "who", "what")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["12", "00012"], ["00012", "12"]),
        (["007", "008"], ["007", "008"]),
        (["7", "x7"], ["7", "x7"]),
        (["-3", "12"], [-3, 12]),
        ([" 7", "8"], [7, 8]),
        (["9007199254740993", "18446744073709551615"], [9007199254740993, 18446744073709551615]),
        (["123456789012345678901", "5"], ["123456789012345678901", "5"]),
    ],
)
def test_ids_keep_their_leading_zeros_and_all_their_digits(ids, expected, table):
    found = table("who,what\n" + "".join(f"{name},7\n" for name in ids))
    assert found.users.tolist() == expected


def test_ids_without_a_header_and_with_types_of_ones_own(tmp_path, table):
    (tmp_path / "bare.csv").write_text("01,5\n1,6\n")
    assert read_table(tmp_path / "bare.csv", "0", "1", header=None).users.tolist() == ["01", "1"]
    rows = "who,what\n01,5\n1,6\n"
    assert table(rows).items.tolist() == [5, 6]
    assert table(rows, dtype=str).items.tolist() == ["5", "6"]
    assert table(rows, converters={"who": lambda text: f"u{text}"}).users.tolist() == ["u01", "u1"]
    assert table(rows, dtype={"who": int}, duplicates="last").users.tolist() == [1]


@pytest.mark.parametrize("ids", [np.array([1.0, 2.0]), pandas.Series([1.0, 2.0]), torch.tensor([1.0, 2.0]), [1.0, 2.0]])
def test_ids_that_are_floats(ids):
    with pytest.raises(InputError, match=r"users: .* values of type float\d+; whole numbers as integers: ids.astype"):
        Interactions.from_triples(ids, [7, 8])


def test_ids_of_a_file_that_are_floats(table):
    with pytest.raises(InputError, match=r"users: .* values of type float64; whole numbers as integers: ids.astype"):
        table("who,what\n1.0,7\n2.0,8\n")
    with pytest.raises(InputError, match=r"users: expected integers or text, got values of type float64$"):
        table("who,what\n1.5,7\n2.0,8\n")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate(MODEL, X, X.T), r"test: expected 7 users, got 5 \(transposed\?\)"),
        (lambda: evaluate(MODEL, X.T, X.T), r"test: expected no pair"),
        (
            lambda: evaluate(MODEL, X.T, sp.csr_array(1 - X.T.toarray()), mask="none"),
            r"5 users .* got 7 × 5 \(transposed\?\)",
        ),
        (lambda: MODEL.recommend([0, 1], X[:2].T), r"user_items: expected 2 users, got 5 \(transposed\?\)"),
        (lambda: MatrixFactorization(2).fit(X, False, validation=X.T), r"validation: .* got 5 \(transposed\?\)"),
        (lambda: MatrixFactorization(2, iterations=1).fit(X, False).fold_in(X.T), r"5 items, got 7 \(transposed\?\)"),
        (
            lambda: Interactions.from_csr(X.T, NAMED.users, NAMED.items),
            r"users: expected 5 ids, got 7 \(transposed\?\)",
        ),
        (lambda: Split(X, X.T, X), r"validation: expected the shape of train, \(7, 5\), got \(5, 7\) \(transposed\?\)"),
        (lambda: evaluate(MODEL, X, X[:, :3]), r"test: expected 5 items, got 3$"),
    ],
)
def test_a_matrix_that_is_transposed(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize(
    ("userid", "matrix", "wanted"),
    [
        (3, X, "1 users, one row for each userid: user_items[[userid]], got 7, all users of fit"),
        ([3, 1], X, "2 users, one row for each userid: user_items[userid], got 7"),
        (np.array([3]), X.tocsc(), "user_items[userid], got 7"),
        (3, NAMED, "user_items[[userid]], got 7"),
    ],
)
@pytest.mark.parametrize("recalculate", [True, False])
def test_the_matrix_of_all_users_for_some(userid, matrix, wanted, recalculate):
    with pytest.raises(InputError) as raised:
        MODEL.recommend(userid, matrix, recalculate_user=recalculate)
    assert wanted in str(raised.value)


def test_the_matrix_of_all_users_for_all():
    assert MODEL.recommend(np.arange(7), X, N=2)[0].shape == (7, 2)
    assert MODEL.recommend([3], X[[3]], N=2)[0].tolist() == MODEL.recommend(np.arange(7), X, N=2)[0][[3]].tolist()


@pytest.mark.parametrize("table", [FRAME, {"who": ["ann"], "what": [7]}, FRAME.set_index("who")], ids=type)
@pytest.mark.parametrize(
    "call",
    [
        lambda table: Interactions.from_triples(table, [1]),
        lambda table: Interactions.from_triples([1, 2], table),
        lambda table: Interactions.from_csr(table),
        lambda table: Interactions(table),
        lambda table: Popularity().fit(table),
        lambda table: ratio(table),
        lambda table: evaluate(MODEL, X, table),
        lambda table: MODEL.recommend(0, table),
    ],
)
def test_a_table_where_triples_or_a_matrix_belong(table, call):
    with pytest.raises(InputError, match=r"a table with named columns: Interactions\.from_frame\(table, user="):
        call(table)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Popularity().fit(X.toarray()), r"ndarray of 2 dimensions; of a dense one: scipy\.sparse\.csr_array"),
        (lambda: Popularity().fit(torch.eye(3)), r"Tensor of 2 dimensions; of a dense one: scipy\.sparse\.csr_array"),
        (
            lambda: Popularity().fit([(0, 1), (1, 2)]),
            r"got list; of lists .*: Interactions\.from_triples\(users, items\)",
        ),
        (lambda: Popularity().fit(ratio(X)), r"got Split; its parts are \.train, \.validation and \.test"),
        (lambda: evaluate(MODEL, ratio(X), X), r"test: expected None with a Split \(metrics by name"),
        (lambda: evaluate(MODEL, ratio(X), ["ndcg@3"]), r"test: expected None with a Split \(metrics by name"),
        (lambda: evaluate(MODEL, ratio(X), validation=X), r"validation: expected None with a Split"),
        (lambda: evaluate(MODEL, X), r"test: expected held-out interactions, or a Split in place of train, got None"),
        (lambda: Popularity().fit(None), r"users × items, got NoneType$"),
        (lambda: Popularity().fit("clicks.csv"), r"users × items, got str$"),
        (
            lambda: Interactions.from_triples([(0, 1), (1, 2)], [3, 4]),
            r"got shape \(2, 2\); one list each: users, items",
        ),
        (lambda: Interactions.from_triples([(0, 1, 5.0)], [3]), r"got shape \(1, 3\); one list each: users, items"),
        (lambda: MODEL.recommend("ann", X[[0]]), r"userid: .* of ids: interactions\.user_positions\(ids\)"),
        (lambda: MODEL.recommend(["ann", "bob"], X[:2]), r"userid: .* of ids: interactions\.user_positions\(ids\)"),
        (lambda: MODEL.similar_items("Heat"), r"itemid: .* or \.item_positions\(ids\)"),
        (lambda: MODEL.recommend(0, X[[0]], items=["Heat"]), r"items: .* or \.item_positions\(ids\)"),
        (lambda: MODEL.recommend(0.0, X[[0]]), r"userid: expected integer positions, got values of type float64$"),
    ],
)
def test_other_things_where_interactions_or_positions_belong(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize(
    ("cells", "k", "largest"),
    [
        ([[1, 1, 0], [1, 1, 0], [0, 0, 1]], 3, 2),
        ([[1, 1, 1, 1]], 2, 1),
        (np.ones((4, 6)), 5, 4),
        (np.ones((4, 6)), 10**30, 4),
        (np.eye(5), 2, 1),
    ],
)
def test_a_core_that_is_empty(cells, k, largest):
    clicks = Interactions.from_csr(sp.csr_array(np.array(cells, float)))
    with pytest.raises(
        InputError, match=rf"k: expected at most {largest}, above which no interaction is left, got {k}"
    ):
        clicks.core(k)
    assert len(clicks.core(largest)) > 0


def test_the_core_of_nothing_is_nothing():
    assert len(Interactions.from_triples([], []).core(3)) == 0


def test_more_items_than_there_are():
    assert MODEL.recommend(0, X[[0]], N=100)[0].shape == (5,)
    assert MODEL.recommend([0, 1], X[:2], N=10)[0].shape == (2, 5)
    assert MODEL.similar_items(2)[0].tolist()[0] == 2
    assert MODEL.similar_users(2, N=50)[0].shape == (7,)
    # The defaults are "ndcg@20", "recall@20" and "f1@10".
    assert 0 < evaluate(MODEL, sp.csr_array(X.shape), X)["ndcg@20"] <= 1
    fitted = MatrixFactorization(2, iterations=2).fit(X, False, validation=sp.csr_array(1 - X.toarray()))
    assert len(fitted.history) == 2


DAYS = ["2024-01-01", "2024-01-02"]


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        np.array(DAYS, "datetime64[D]"),
        pandas.to_datetime(pandas.Series(DAYS)),
        pandas.to_datetime(pandas.Series(DAYS)).dt.tz_localize("UTC"),
        [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2)],
        ["2024-01-01T02:00:00+02:00", "2024-01-02T00:00:00Z"],
    ],
)
def test_dates_are_seconds_wherever_they_come_from(times):
    for clicks in (
        Interactions.from_triples(["ann", "bob"], [7, 9], times=times),
        Interactions.from_frame({"u": ["ann", "bob"], "i": [7, 9], "t": times}, "u", "i", time="t"),
    ):
        assert clicks.times.tolist() == [1704067200.0, 1704153600.0]


@pytest.mark.parametrize("times", [["soon", "later"], ["2024-01-01", None], [pandas.NaT, "2024-01-01"], [[1, 2], [3]]])
def test_dates_that_are_none(times):
    with pytest.raises(InputError, match="times: expected "):
        Interactions.from_triples(["ann", "bob"], [7, 9], times=times)


@pytest.mark.parametrize("times", [[5, 5, 5, 5], ["2024-01-01"] * 4])
@pytest.mark.parametrize("split", [global_time, user_time, lambda clicks: leave_k_out(clicks, newest=True)])
def test_a_single_time_is_no_order(times, split):
    clicks = Interactions.from_triples([0, 0, 1, 1], [0, 1, 0, 1], times=times)
    with pytest.raises(InputError, match=r"interactions: expected times that differ, for .* to order by, got .* every"):
        split(clicks)


def test_times_that_leave_nothing_to_train_on():
    clicks = Interactions.from_triples([0, 0, 1, 1], [0, 1, 0, 1], times=[5, 5, 5, 9])
    with pytest.raises(
        InputError, match="interactions: expected times of which some are before the first cut, got none"
    ):
        global_time(clicks, 0.25, 0.25)


def test_a_split_is_three_parts():
    train, validation, test = split = ratio(X, 0.2, 0.2)
    assert (train, validation, test) == (split.train, split.validation, split.test)
    assert len(train) + len(validation) + len(test) == X.nnz


def test_a_split_is_evaluated_as_its_parts():
    split = ratio(X, 0.2, 0.2)
    model = ItemKNN().fit(split.train)
    for mask in ("train", "train+validation", "none"):
        expected = evaluate(model, split.train, split.test, validation=split.validation, mask=mask)
        assert evaluate(model, split, mask=mask).means == expected.means
    without = ratio(X, 0.0, 0.4)
    assert evaluate(model, without).means == evaluate(model, without.train, without.test).means


def test_evaluations_are_compared_by_their_first_metric():
    split = ratio(X, 0.0, 0.4)
    one, two = (evaluate(kind.fit(split.train), split) for kind in (ItemKNN(), Popularity()))
    assert compare(one, two) == compare(one, two, "ndcg@20")
    other = evaluate(MODEL, split, metrics=["mrr@3"])
    with pytest.raises(InputError, match="second: expected one of the metrics of first, ndcg@20, recall@20, f1@10"):
        compare(one, other)
    with pytest.raises(InputError, match="second: expected what evaluate returned, got int"):
        compare(one, 3)


def test_a_column_that_is_there_twice():
    twice = pandas.DataFrame([[1, 2, 3]], columns=["u", "i", "u"])
    with pytest.raises(InputError, match="user: expected a column whose name no other one has, got 'u'"):
        Interactions.from_frame(twice, "u", "i")


def test_ratings_count_for_als_where_it_is_told_so():
    row, col = X.nonzero()
    x = Interactions.from_triples(row, col, ratings=1 + 3 * row, num_users=7, num_items=5)
    np.testing.assert_array_equal(x.weighted().toarray(), X.toarray() * (1 + 3 * np.arange(7))[:, None])

    def vectors(given, weights=None):
        return ALS(2, iterations=3, weights=weights).fit(given, False).user_factors

    with pytest.warns(UserWarning, match=r'ALS: ratings count as 1; weights="ratings" takes them as confidence'):
        plain = vectors(x)
    weighted = vectors(x.weighted())
    for found in (plain, vectors(x, "ones"), vectors(x.weighted(), "ones"), vectors(x.matrix)):
        np.testing.assert_array_equal(found, vectors(X))
    for found in (vectors(x, "ratings"), vectors(Interactions.from_csr(x.weighted()), "ratings")):
        np.testing.assert_array_equal(found, weighted)
    assert not np.allclose(plain, weighted)
    # Of a row given later as well.
    model = ALS(2, iterations=3, weights="ratings").fit(x, False)
    again = model.recommend(3, x[3], recalculate_user=True)
    np.testing.assert_allclose(again[1], model.recommend(3, x.weighted()[[3]], recalculate_user=True)[1])
    with pytest.raises(InputError, match="weights: expected one of ones, ratings, got 'stars'"):
        ALS(weights="stars")


def test_features_of_the_other_side():
    with pytest.raises(InputError, match="user_features: expected 7 rows, got 5"):
        TwoTower(2).fit(X, False, user_features=np.eye(5), item_features=np.eye(7))


def test_arrays_that_may_not_be_written_are_read(tmp_path):
    np.save(tmp_path / "data.npy", X.data)
    read = sp.csr_array((np.load(tmp_path / "data.npy", mmap_mode="r"), X.indices, X.indptr), shape=X.shape)
    np.testing.assert_array_equal(EASE(2.0).fit(read).scores(np.arange(7)), EASE(2.0).fit(X).scores(np.arange(7)))
