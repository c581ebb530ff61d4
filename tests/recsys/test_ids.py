"""Ids of users and items: text is an id in every call, and integers are positions; ids in, ids out."""

import io
import pickle

import numpy as np
import pandas
import pytest
import scipy.sparse as sp

from recsys import (
    ALS,
    DataError,
    InputError,
    Interactions,
    ItemKNN,
    MatrixFactorization,
    Popularity,
    Recommender,
    Split,
    evaluate,
)
from recsys.files import write_model
from recsys.simulation import corrupt

CELLS = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 1, 1, 1]], float)
USERS, FILMS = ["ann", "bob", "cleo", "00012"], ["Alien", "Brazil", "Casablanca", "Dune", "Eraserhead"]
X = sp.csr_array(CELLS)
CLICKS = Interactions.from_csr(X, USERS, FILMS)
NUMBERED = Interactions.from_csr(X, [41, 42, 43, 44], [90, 91, 92, 93, 94])
MODEL, NUMBERS = ItemKNN().fit(CLICKS), ItemKNN().fit(NUMBERED)


def test_a_call_by_ids_is_the_call_by_positions_translated():
    for options in ({}, {"N": 2}, {"filter_already_liked_items": False}, {"recalculate_user": True}):
        for names, places in (("bob", 1), (["bob", "ann"], [1, 0]), (np.array(["cleo"]), [2])):
            found, scores = MODEL.recommend(names, CLICKS[names], **options)
            expected, same = MODEL.recommend(places, X[np.atleast_1d(places)], **options)
            assert expected.dtype == np.int32
            assert found.tolist() == MODEL.item_ids(expected).tolist()
            np.testing.assert_array_equal(scores, same)
    assert MODEL.recommend("bob", filter_items=["Dune"])[0].tolist() == ["Alien", "Eraserhead", None, None, None]
    assert MODEL.recommend("bob", items=["Dune", "Alien"])[0].tolist() == ["Dune", "Alien"]
    assert MODEL.recommend(1, items=["Dune", "Alien"])[0].tolist() == [3, 0]
    assert MODEL.similar_items("Dune", N=2)[0].tolist() == ["Dune", "Eraserhead"]
    assert MODEL.similar_items(["Dune"], items=["Alien"])[0].tolist() == [["Alien"]]
    assert MODEL.similar_users("ann", filter_users=["ann"], N=1)[0].tolist() == ["cleo"]
    score, parts, _ = MODEL.explain("bob", CLICKS["bob"], "Dune")
    assert [name for name, _ in parts] == ["Casablanca", "Brazil"]
    assert sum(part for _, part in parts) == pytest.approx(score)


def test_fills_have_no_name():
    found, scores = MODEL.recommend("cleo", CLICKS["cleo"])
    assert found.tolist()[2:] == [None, None, None]
    assert (scores[2:] == -np.inf).all()
    places, _ = MODEL.recommend(2, CLICKS[2])
    assert places.tolist()[2:] == [-1, -1, -1]
    assert MODEL.item_ids(places).tolist() == found.tolist()
    assert NUMBERS.item_ids([[0, -1]]).tolist() == [[90, None]]
    assert Popularity().fit(X).item_ids([2, -1]).tolist() == [2, None]
    assert CLICKS.user_ids([3, 0]).tolist() == ["00012", "ann"]
    assert CLICKS.item_ids([]).tolist() == []
    for wrong in ([5], [-2], [0.0], ["Dune"]):
        with pytest.raises(InputError, match="items: expected positions from -1 to 4"):
            CLICKS.item_ids(wrong)


def test_integers_are_positions_also_where_ids_are_integers():
    expected = MODEL.recommend(1, X[[1]])[0].tolist()
    assert NUMBERS.recommend(1, X[[1]])[0].tolist() == expected
    assert NUMBERS.recommend(NUMBERS.user_positions([42]), NUMBERED[[1]])[0].tolist() == [expected]
    # In a call by ids, the items are ids too.
    mixed = ItemKNN().fit(Interactions.from_csr(X, USERS, [90, 91, 92, 93, 94]))
    assert mixed.recommend("bob", items=[93, 90])[0].tolist() == [93, 90]
    with pytest.raises(InputError, match=r"items: expected known ids, got 1 unknown, the first 3"):
        mixed.recommend("bob", items=[3])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MODEL.recommend("anne"), r"userid: expected known ids, got 1 unknown, the first 'anne' .*'ann'"),
        (lambda: MODEL.recommend(["bob", "12"]), r"userid: .* unknown, the first '12' \(did you mean '00012'\?\)"),
        (lambda: MODEL.recommend(["bob", 3]), r"userid: expected all integers or all text, got both"),
        (lambda: MODEL.recommend("bob", items=["Dune", 3]), r"items: expected all integers or all text, got both"),
        (lambda: MODEL.recommend("bob", items=[3]), r"items: .* first 3 \(the ids are text, such as 'Alien'\)"),
        (lambda: MODEL.recommend("bob", filter_items=[3]), r"filter_items: .* \(the ids are text, such as 'Alien'\)"),
        (lambda: MODEL.similar_items("Duna"), r"itemid: .* \(did you mean 'Dune'\?\)"),
        (lambda: MODEL.similar_items(3.0), r"itemid: expected integer positions, got values of type float64$"),
        (lambda: NUMBERS.recommend("42"), r"userid: .* first '42' \(the ids are integers, such as 41\)"),
        (lambda: NUMBERS.recommend(42), r"userid: expected positions from 0 to 3, .* of integer ids: \.user_positions"),
        (lambda: CLICKS["zoe"], r"users: expected known ids, got 1 unknown, the first 'zoe'"),
        (lambda: CLICKS[7], r"users: expected positions from 0 to 3, got 1 others, the first 7"),
        (lambda: list(CLICKS), "not iterable"),
        (lambda: MODEL.recommend("bob", Interactions.from_csr(X[[1]], None, FILMS[::-1])), "the items of fit, in"),
        (lambda: MODEL.explain("bob", CLICKS["bob"], ["Dune", "Alien"]), "expected one user and one item, got 1 and 2"),
    ],
)
def test_what_is_no_id_is_named_with_the_nearest_ones(call, words):
    with pytest.raises((InputError, TypeError), match=words):
        call()


def test_near_names_are_found_among_many():
    many = Interactions.from_triples([f"user-{k:06d}" for k in range(30_000)], np.zeros(30_000, int))
    with pytest.raises(InputError, match="did you mean 'user-000017'"):
        many.user_positions(["user-000017x"])


def test_rows_of_interactions_follow_their_users():
    clicks = Interactions.from_triples(["ann", "bob", "ann"], ["f", "g", "h"], ratings=[5, 1, -1], times=[7, 8, 9])
    pair = clicks[["bob", "ann", "bob"]]
    assert pair.matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert (pair.ratings.tolist(), pair.times.tolist(), pair.users.tolist()) == (
        [1, 5, 1],
        [8, 7, 8],
        ["bob", "ann", "bob"],
    )
    assert pair.dislikes.toarray().tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert clicks[1].matrix.toarray().tolist() == clicks[1:].matrix.toarray().tolist() == [[0, 1, 0]]
    assert len(clicks[[]]) == 0


@pytest.mark.parametrize(
    "model",
    [ItemKNN(), Popularity(), ALS(2, iterations=2), MatrixFactorization(2, iterations=1)],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("clicks", [CLICKS, NUMBERED, Interactions.from_csr(X)], ids=["text", "integers", "none"])
def test_ids_are_saved_with_the_model(model, clicks, tmp_path):
    model.fit(clicks, False)
    model.save(tmp_path / "m")
    model.save(buffer := io.BytesIO())
    buffer.seek(0)
    for again in (Recommender.load(tmp_path / "m"), Recommender.load(buffer), pickle.loads(pickle.dumps(model))):
        for name in ("users", "items"):
            expected, found = getattr(model, name), getattr(again, name)
            assert (found is None) == (expected is None)
            assert expected is None or found.tolist() == expected.tolist()
        np.testing.assert_array_equal(again.scores(np.arange(4)), model.scores(np.arange(4)))
    assert repr(again) == repr(model)
    assert repr(model).endswith("fitted to 4 users × 5 items")
    # The next fit is without ids.
    assert model.fit(X, False).users is None


def test_a_fit_that_fails_leaves_the_ids(monkeypatch):
    model = MatrixFactorization(2, iterations=1).fit(CLICKS, False)
    with pytest.raises(ValueError, match="odd"):
        model.fit(NUMBERED, False, lambda *_: (_ for _ in ()).throw(ValueError("odd")))
    assert model.users.tolist() == USERS


def test_files_of_another_version_or_with_ids_that_do_not_fit(tmp_path, monkeypatch):
    file = tmp_path / "m.npz"
    monkeypatch.setattr("recsys.files.FORMAT", 9)
    MODEL.save(file)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"m\.npz: expected format 1 of saved models, got 9: another version"):
        Recommender.load(file)
    sizes = {"num_users": 4, "num_items": 5}
    write_model(file, "ItemKNN", {"neighbours": 3, "decay": 1}, sizes, {})
    with pytest.raises(DataError, match=r"m\.npz: expected parameters of ItemKNN, got 'decay' too: another version"):
        Recommender.load(file)
    arrays = {"user_items": MODEL.user_items, "weights": MODEL.weights}
    for wrong in ({"users": np.array(["a", "b"])}, {"items": np.ones(5)}, {"dislikes": sp.csr_array((4, 4))}):
        write_model(file, "ItemKNN", MODEL._parameters(), sizes, arrays | wrong)
        with pytest.raises(DataError, match=r"m\.npz: arrays that do not fit 4 users × 5 items"):
            Recommender.load(file)


OTHERS = {
    "train, test": lambda other: Split(CLICKS, X * 0, other),
    "model, test": lambda other: evaluate(MODEL, CLICKS, other),
    "model, train": lambda other: evaluate(MODEL, other, X * 0),
    "train, test ": lambda other: evaluate(ItemKNN().fit(X), CLICKS, other),
    "model, validation": lambda other: evaluate(MODEL, CLICKS, X * 0, validation=other),
    "user_items, validation": lambda other: ItemKNN().fit(CLICKS, validation=other),
    "user_items, validation ": lambda other: MatrixFactorization(2).fit(CLICKS, validation=other),
    "interactions, exclude": lambda other: corrupt(CLICKS, 0.1, exclude=other),
}


@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("names", OTHERS)
def test_interactions_whose_ids_are_others_are_refused(side, names):
    held_out = sp.csr_array([[0, 0, 1, 0, 0]] + [[0] * 5] * 3)
    ids = {"users": USERS[::-1]} if side == "users" else {"users": USERS, "items": FILMS[::-1]}
    first, second = names.strip().split(", ")
    with pytest.raises(InputError, match=f"^{second}: expected the {side} of {first}, in their order, got others"):
        OTHERS[names](Interactions.from_csr(held_out, **ids))


def test_interactions_with_the_same_ids_or_none_are_taken():
    held_out = sp.csr_array([[0, 0, 1, 0, 0]] + [[0] * 5] * 3)
    for same in (held_out, Interactions.from_csr(held_out, list(USERS), list(FILMS))):
        assert evaluate(MODEL, CLICKS, same, ["hit@5"])["hit@5"] == 1
        assert Split(CLICKS, X * 0, same).test.num_items == 5


def test_rows_of_new_users_and_items_have_the_ids_of_fit():
    model = ALS(2, iterations=1).fit(CLICKS, False)
    row, column = CLICKS[["ann"]], Interactions.from_csr(X.T.tocsr()[[0]], ["Fargo"], USERS[::-1])
    with pytest.raises(InputError, match="user_items: expected the items of fit, in their order"):
        model.partial_fit_users(["zoe"], Interactions.from_csr(row.matrix, ["zoe"], FILMS[::-1]))
    with pytest.raises(InputError, match="item_users: expected the users of fit, in their order"):
        model.partial_fit_items(["Fargo"], column)
    with pytest.raises(InputError, match="item_users: expected the users of fit, in their order"):
        model.similar_items("Alien", recalculate_item=True, item_users=column)
    factors = MatrixFactorization(2, iterations=1).fit(CLICKS, False)
    with pytest.raises(InputError, match="user_items: expected the items of fit, in their order"):
        factors.fold_in(Interactions.from_csr(row.matrix, None, FILMS[::-1]))
    # New users by position keep the ids of their rows.
    assert factors.partial_fit(Interactions.from_csr(row.matrix, ["zoe"], FILMS)).tolist() == [4]
    assert factors.users.tolist() == [*USERS, "zoe"]
    model.partial_fit_users(["zoe"], row)
    assert model.users.tolist() == [*USERS, "zoe"]


@pytest.mark.parametrize("kind", ["bsr", "coo", "csc", "dia", "dok", "lil"])
def test_matrices_of_any_format_have_no_ids(kind, tmp_path):
    model = ItemKNN().fit(X.asformat(kind))
    assert (model.users, model.items, model.dislikes) == (None, None, None)
    model.save(tmp_path / "m")
    assert Recommender.load(tmp_path / "m").recommend(1, X[[1]], N=2)[0].tolist() == [3, 0]


def test_integers_as_ids():
    ids = np.array([np.int64(7), 2**40], dtype=object)
    assert Interactions.from_triples(ids, ["a", "b"]).users.tolist() == [7, 2**40]
    assert Interactions.from_triples([2**63, 2**64 - 1], ["a", "b"]).users.tolist() == [2**63, 2**64 - 1]
    for wrong in ([1, 2**64], [-1, 2**63], [2**70, 3]):
        with pytest.raises(InputError, match=f"users: expected integers that one type .*, got up to {max(wrong)}"):
            Interactions.from_triples(wrong, ["a", "b"])


def test_files_that_are_no_files():
    for wrong in (5, None, io.StringIO()):
        with pytest.raises((InputError, DataError)):
            MODEL.save(wrong)
        with pytest.raises((InputError, DataError)):
            Recommender.load(wrong)


def test_text_keeps_its_zeros_and_floats_are_refused():
    clicks = Interactions.from_triples(["00012", "12"], ["a", "a"])
    assert clicks.users.tolist() == ["00012", "12"]
    frame = pandas.DataFrame({"u": [1.0, 2.0], "i": ["a", "b"], "t": ["2024-01-01", "2024-01-02 10:00"]})
    with pytest.raises(InputError, match=r"users: expected integers or text, .*whole numbers as integers: ids\.astype"):
        Interactions.from_frame(frame, "u", "i", time="t")
    frame["u"] = frame["u"].astype("Int64")
    assert Interactions.from_frame(frame, "u", "i", time="t").times.tolist() == [1704067200, 1704189600]


def test_new_users_and_items_by_id():
    model = ALS(3, iterations=3, random_state=0).fit(CLICKS, False)
    model.partial_fit_users(["zoe", "bob"], X[[2, 1]])
    assert model.users.tolist() == [*USERS, "zoe"]
    assert model.recommend("zoe", CLICKS["cleo"], recalculate_user=True)[0].tolist() == (
        model.recommend("zoe", CLICKS["cleo"])[0].tolist()
    )
    model.partial_fit_items(["Fargo"], sp.csr_array([[1.0, 0, 0, 1, 1]]))
    assert model.items.tolist() == [*FILMS, "Fargo"]
    assert "Fargo" in model.similar_items("Fargo")[0]
    # By position, with the ids of the rows.
    model = ItemKNN().fit(NUMBERED)
    model.partial_fit_users([4], Interactions.from_csr(X[[0]], users=[77]))
    assert model.user_positions([77]).tolist() == [4]
    named = ItemKNN().fit(CLICKS)
    named.partial_fit_users([5, 4], Interactions.from_csr(X[[1, 0]], users=["yan", "a longer name"]))
    assert named.users.tolist() == [*USERS, "a longer name", "yan"]
    assert named.recommend("yan", N=2)[0].tolist() == named.recommend("bob", N=2)[0].tolist()
    with pytest.raises(InputError, match="userids: expected known users, or new ones with ids, as the model has them"):
        model.partial_fit_users([5], X[[0]])
    with pytest.raises(InputError, match=r"userids: expected new positions 5, 6 and so on, got \[7\]"):
        model.partial_fit_users([7], Interactions.from_csr(X[[0]], users=[78]))
    with pytest.raises(InputError, match="userids: expected users that are not known yet, got known ids"):
        model.partial_fit_users([5], Interactions.from_csr(X[[0]], users=[77]))
    with pytest.raises(InputError, match="userids: expected every user once"):
        model.partial_fit_users([1, 1], X[[0, 1]])
    with pytest.raises(InputError, match=r"10000000000000 users: expected .* of memory"):
        ItemKNN().fit(X).partial_fit_users([10**13 - 1], X[[0]])
