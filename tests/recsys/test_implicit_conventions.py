"""The conventions of implicit, what its users rely on, for every recommender; which models differ, for what reason."""

import copy
import io
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

import recsys
from graphnoise.errors import NotFittedError
from recsys import (
    ALS,
    EASE,
    SLIM,
    DenoisingLinear,
    InputError,
    Interactions,
    ItemKNN,
    LightGCN,
    MatrixFactorization,
    Popularity,
    Recommender,
    RobustFactorization,
    RP3beta,
    SpectralFilter,
    TwoTower,
    UserKNN,
    evaluate,
)

N = 14
# Even users have the even items and odd ones the odd items, but for the item of their own number.
X = sp.csr_matrix((np.arange(N)[:, None] % 2 == np.arange(N) % 2) & ~np.eye(N, dtype=bool), dtype=np.float64)
ITEM_USERS = X.T.tocsr()
MODELS = {
    "ALS": ALS(4, 0.01, 1.0, iterations=8, num_threads=1),
    "DenoisingLinear": DenoisingLinear(directions=2),
    "EASE": EASE(2.0),
    "ItemKNN": ItemKNN(),
    "ItemKNN of 3": ItemKNN(neighbours=3, shrinkage=1.0),
    "LightGCN": LightGCN(4, iterations=30, learning_rate=0.05, random_state=1),
    "MatrixFactorization": MatrixFactorization(4, iterations=60, random_state=1, num_threads=1),
    "MatrixFactorization, minibatch": MatrixFactorization(
        4, mode="minibatch", iterations=60, random_state=1, num_threads=1
    ),
    "Popularity": Popularity(),
    "RP3beta": RP3beta(),
    "RobustFactorization": RobustFactorization("ce", 4, iterations=30),
    "SLIM": SLIM(),
    "SpectralFilter": SpectralFilter("chebycf", directions=2, num_threads=1),
    "SpectralFilter, linkprop": SpectralFilter("linkprop", num_threads=1),
    "TwoTower": TwoTower(4, (8,), iterations=30, learning_rate=0.02),
    "UserKNN": UserKNN(),
}
# What a model cannot do, and why.
WITHOUT = {
    "own item": {
        "Popularity": "all users get the same items",
        "ALS": "scores of the missing item depend on the factors",
    },
    "similar": {"Popularity": "a count is no similarity"},
    "recalculate_user": {"RobustFactorization": "no fold-in", "TwoTower": "ids have embeddings"},
    "equal when recalculated": {
        "ALS": "the last half step moved the items",
        "LightGCN": "a new user has no embedding",
        "MatrixFactorization": "stochastic steps of its own",
        "MatrixFactorization, minibatch": "stochastic steps of its own",
    },
    "recalculate_item": {
        name: "items have no fold-in"
        for name in MODELS
        if not name.startswith(("ALS", "EASE", "ItemKNN", "DenoisingLinear", "RP3beta", "SLIM", "UserKNN"))
    },
    "explain": {
        name: "scores are no sums over items"
        for name in MODELS
        if not name.startswith(("ALS", "EASE", "ItemKNN", "DenoisingLinear", "RP3beta", "SLIM", "SpectralFilter"))
    },
    "partial_fit_users": {
        **dict.fromkeys(("RobustFactorization", "TwoTower"), "no fold-in of users"),
        "UserKNN": "users are neighbours of others",
    },
    "partial_fit_items": {name: "items have no fold-in" for name in MODELS if name != "ALS"},
    "epochs": {
        name: "no epochs"
        for name in MODELS
        if not name.startswith(("ALS", "LightGCN", "MatrixFactorization", "RobustFactorization", "TwoTower"))
    },
}


@pytest.fixture(scope="module", params=MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return clone(MODELS[name]).fit(X, show_progress=False)


@pytest.fixture
def changed(model):
    """A copy that a test may change."""
    return copy.deepcopy(model)


def refused(name, what, call):
    """Return whether a model lacks something; then the call raises."""
    if name not in WITHOUT[what]:
        return False
    with pytest.raises(InputError):
        call()
    return True


def test_all_recommenders_are_here():
    kinds = [getattr(recsys, name) for name in recsys.__all__]
    kinds = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Recommender)} - {Recommender}
    # Those in the making are added with their own entry.
    assert {type(model) for model in MODELS.values()} == kinds


def test_recommend_one_user(name, model):
    for user in range(N):
        ids, scores = model.recommend(user, X[[user]], N=3)
        assert (ids.dtype, ids.shape, scores.dtype, scores.shape) == (np.int32, (3,), np.float32, (3,))
        assert (np.diff(scores) <= 0).all()
        assert not set(ids) & set(X[[user]].indices)
        assert name in WITHOUT["own item"] or ids[0] == user
    every, _ = model.recommend(3, X[[3]], N=3, filter_already_liked_items=False)
    assert set(every) <= set(range(N))


def test_recommend_many_users(model):
    users = np.array([5, 2, 2, 13])
    ids, scores = model.recommend(users, X[users], N=4)
    assert ids.shape == scores.shape == (4, 4)
    for row, user in enumerate(users):
        one, best = model.recommend(int(user), X[[user]], N=4)
        assert ids[row].tolist() == one.tolist()
        np.testing.assert_allclose(scores[row], best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, N, 10_000])
def test_any_length(model, length):
    ids, _ = model.recommend(0, X[[0]], N=length)
    assert len(ids) == min(length, N)
    # The rest, once each; then fills.
    left = N - X[[0]].nnz
    assert len(set(ids[:left])) == min(left, len(ids))
    assert (ids[left:] == -1).all()


def test_filter_items(model):
    ids, _ = model.recommend(4, X[[4]], N=5, filter_items=[4, 1])
    assert not set(ids) & {4, 1, *X[[4]].indices}
    many, _ = model.recommend([4, 5], X[[4, 5]], N=5, filter_items=[4, 1])
    assert many[0].tolist() == ids.tolist()


def test_items_are_ranked_whether_they_are_liked_or_not(model):
    own = X[[4]].indices
    chosen = [4, 1, *own[:3]]
    free, _ = model.recommend(4, X[[4]], items=chosen, filter_already_liked_items=False)
    assert set(free) == set(chosen)
    ids, scores = model.recommend(4, X[[4]], items=chosen)
    assert set(ids[:2]) == {4, 1}
    assert set(ids[2:]) == set(own[:3])
    assert (scores[2:] == np.finfo(np.float32).min).all()
    assert (np.diff(scores) <= 0).all()
    assert model.recommend(4, X[[4]], items=chosen, N=2)[0].tolist() == ids[:2].tolist()
    for wrong in ([-1], [N], [0, 10**6]):
        with pytest.raises(InputError, match="items: expected positions from 0 to 13"):
            model.recommend(4, X[[4]], items=wrong)
    with pytest.raises(InputError, match="filter_items: expected None together with items"):
        model.recommend(4, X[[4]], items=[1], filter_items=[2])


def test_counts_are_liked_items_too(name):
    counts = X.copy()
    counts.data[:] = 1 + np.arange(X.nnz) % 5
    fitted = clone(MODELS[name]).fit(counts, False)
    for kind in (np.float32, np.float64, np.int32, np.int64, np.uint8):
        ids, _ = fitted.recommend(4, counts[[4]].astype(kind), N=N)
        assert set(ids) == set(range(N)) - set(X[[4]].indices) | {-1}


@pytest.mark.parametrize("kind", ["csc", "coo", "lil"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_any_matrix(name, model, kind, dtype):
    again = clone(MODELS[name]).fit(X.astype(dtype).asformat(kind), show_progress=False)
    users = np.arange(N)
    np.testing.assert_array_equal(again.scores(users), model.scores(users))


def test_recalculated_users(name, model):
    users = np.arange(N)
    if refused(name, "recalculate_user", lambda: model.recommend(users, X, recalculate_user=True)):
        return
    ids, scores = model.recommend(users, X, N=1, recalculate_user=True)
    if name not in WITHOUT["equal when recalculated"]:
        np.testing.assert_allclose(scores, model.recommend(users, X, N=1)[1], rtol=1e-4, atol=1e-6)
    assert name in WITHOUT["own item"] or (ids[:, 0] == users).mean() > 0.9
    # Positions of users that were not fitted.
    assert model.recommend(10_000, X[[3]], N=2, recalculate_user=True)[0].shape == (2,)


def test_rows_without_entries(name, model):
    matrix = X.tolil()
    matrix[2] = 0
    matrix[:, 5] = 0
    fitted = clone(MODELS[name]).fit(matrix.tocsr(), False)
    ids, scores = fitted.recommend([2, 3], matrix.tocsr()[[2, 3]], N=4)
    assert ids.min() >= 0
    assert np.isfinite(scores).all()
    if name not in WITHOUT["recalculate_user"]:
        ids, scores = model.recommend(2, sp.csr_matrix((1, N)), N=4, recalculate_user=True)
        assert len(set(ids)) == 4
        assert np.isfinite(scores).all()


def test_similar_items(name, model):
    if refused(name, "similar", lambda: model.similar_items(0)):
        return
    for item in range(N):
        ids, scores = model.similar_items(item, N=5)
        assert (ids.dtype, scores.dtype, ids.shape) == (np.int32, np.float32, (5,))
        assert ids[0] == item
        assert scores[0] == pytest.approx(1)
        assert (np.diff(scores) <= 0).all()
    many, _ = model.similar_items([3, 8], N=5)
    assert many[0].tolist() == model.similar_items(3, N=5)[0].tolist()
    assert not set(model.similar_items(3, N=5, filter_items=[3, 5])[0]) & {3, 5}
    assert set(model.similar_items(3, N=5, items=[1, 2])[0]) == {1, 2}
    assert model.similar_items(3, N=10_000)[0].shape == (N,)


def test_similar_users(name, model):
    if refused(name, "similar", lambda: model.similar_users(0)):
        return
    for user in range(N):
        ids, scores = model.similar_users(user, N=5)
        assert ids[0] == user
        assert scores[0] == pytest.approx(1)
    many, _ = model.similar_users([3, 8], N=5)
    assert many[1].tolist() == model.similar_users(8, N=5)[0].tolist()
    assert not set(model.similar_users(3, N=5, filter_users=[3, 5])[0]) & {3, 5}
    assert set(model.similar_users(3, N=5, users=[1, 2])[0]) == {1, 2}


def test_recalculated_items(name, model):
    rows = ITEM_USERS[[3, 8]]

    def call():
        return model.similar_items([3, 8], N=N, recalculate_item=True, item_users=rows)

    if refused(name, "recalculate_item", call):
        return
    ids, scores = call()
    assert ids[:, 0].tolist() == [3, 8]
    if name not in ("ALS", "ItemKNN of 3"):
        # ALS has moved the users since; of neighbours, the fitted model keeps few.
        np.testing.assert_allclose(scores, model.similar_items([3, 8], N=N)[1], rtol=1e-5, atol=1e-6)
    one, _ = model.similar_items(3, N=N, recalculate_item=True, item_users=ITEM_USERS[3])
    assert one.tolist() == ids[0].tolist()
    for wrong, words in ((None, "one row per item"), (rows[[0]], "expected 2 items, got 1"), (rows[:, :3], "14 users")):
        with pytest.raises(InputError, match=f"item_users: .*{words}"):
            model.similar_items([3, 8], recalculate_item=True, item_users=wrong)


def test_explain(name, model):
    if refused(name, "explain", lambda: model.explain(0, X[[0]], 4)):
        return
    for rows in (X[[2]], X):
        score, parts, weights = model.explain(2, rows, 2, N=3)
        assert len(parts) == 3
        assert {item for item, _ in parts} <= set(X[[2]].indices)
        assert [part for _, part in parts] == sorted((part for _, part in parts), reverse=True)
        again, every, _ = model.explain(2, rows, 2, user_weights=weights, N=100)
        assert again == pytest.approx(score)
        constant = 0.01 * float(model.popularity[2]) if name == "DenoisingLinear" else 0
        assert sum(part for _, part in every) + constant == pytest.approx(score, rel=1e-5)
    if name != "ALS":
        assert score == pytest.approx(float(model.scores(np.array([2]))[0, 2]), rel=1e-5)
    ranked = dict(zip(*model.recommend(2, X[[2]], N=N, recalculate_user=True), strict=True))
    assert score == pytest.approx(float(ranked[2]), rel=1e-3)


def test_new_users(name, changed):
    if refused(name, "partial_fit_users", lambda: changed.partial_fit_users([N], X[[0]])):
        return
    changed.partial_fit_users([N + 2, 1], X[[0, 3]])
    assert changed.num_users == N + 3
    for user, row in ((N + 2, 0), (1, 3)):
        expected, best = changed.recommend(0, X[[row]], N=3, recalculate_user=True)
        ids, scores = changed.recommend(user, X[[row]], N=3)
        np.testing.assert_allclose(scores, best, rtol=1e-4, atol=1e-6)
        assert ids.tolist() == expected.tolist()
    # The user in between has nothing.
    assert np.isfinite(changed.recommend(N, sp.csr_matrix((1, N)), N=3)[1]).all()
    if name not in WITHOUT["similar"]:
        assert changed.similar_users(N + 2)[0][0] in (0, N + 2)
    with pytest.raises(InputError, match="user_items: expected 2 users, got 1"):
        changed.partial_fit_users([0, 1], X[[0]])


def test_new_items(name, changed):
    if refused(name, "partial_fit_items", lambda: changed.partial_fit_items([N], ITEM_USERS[[0]])):
        return
    changed.partial_fit_items([N + 1], ITEM_USERS[[0]])
    assert changed.num_items == N + 2
    assert N + 1 in changed.recommend(2, sp.csr_matrix((1, N + 2)), N=N)[0]
    # Item 0 has the same users, and its own vector is a step older.
    assert N + 1 in changed.similar_items(N + 1, N=2)[0]


def test_files(name, model, tmp_path):
    unfitted = clone(MODELS[name])
    for source in (model, unfitted):
        source.save(tmp_path / "model")
        source.save(buffer := io.BytesIO())
        buffer.seek(0)
        for again in (type(model).load(tmp_path / "model.npz"), type(model).load(buffer)):
            assert (type(again), again.num_users, again.num_items) == (type(model), *2 * [source.num_items])
            if source is model:
                ids, scores = model.recommend([1, 2], X[[1, 2]], N=4)
                found, same = again.recommend([1, 2], X[[1, 2]], N=4)
                assert found.tolist() == ids.tolist()
                np.testing.assert_array_equal(scores, same)
            else:
                with pytest.raises(NotFittedError):
                    again.recommend(0, X[[0]])


def test_pickles_and_copies(model):
    for again in (pickle.loads(pickle.dumps(model)), copy.copy(model)):
        np.testing.assert_array_equal(again.scores(np.arange(N)), model.scores(np.arange(N)))


def test_callbacks(name):
    calls = []
    fitted = clone(MODELS[name]).fit(X, False, lambda *progress: calls.append(progress))
    if name in WITHOUT["epochs"]:
        assert calls == []
        return
    assert [progress[0] for progress in calls] == list(range(fitted.iterations))
    assert all(progress[1] >= 0 for progress in calls)
    calls.clear()

    def stop(*progress):
        calls.append(progress)
        return progress[0] == 2

    fitted = clone(MODELS[name]).fit(X, False, stop)
    assert len(calls) == 3
    assert fitted.recommend(0, X[[0]], N=2)[0].shape == (2,)
    # A number is no wish to stop.
    calls.clear()
    clone(MODELS[name]).fit(X, False, lambda *progress: calls.append(progress) or 1.0)
    assert len(calls) > 3


def test_validation_is_taken_by_all(name, model):
    held_out = sp.csr_matrix(np.eye(N))
    fitted = clone(MODELS[name]).fit(X, False, validation=held_out)
    if not hasattr(fitted, "best_epoch"):
        np.testing.assert_array_equal(fitted.scores(np.arange(N)), model.scores(np.arange(N)))
    for wrong, words in ((X, "expected no pair of user_items"), (sp.csr_matrix((N, N)), "expected at least one")):
        with pytest.raises(InputError, match=f"validation: {words}"):
            clone(MODELS[name]).fit(X, False, validation=wrong)


def test_small_catalogues_are_evaluated(model):
    result = evaluate(model, X, sp.csr_matrix(np.eye(N)))
    assert set(result.means) == {"ndcg@20", "recall@20", "f1@10"}
    assert 0 < result["recall@20"] <= 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: model.recommend(N, X[[0]]), "userid: expected positions from 0 to 13"),
        (lambda model: model.recommend(-1, X[[0]]), "userid: expected positions from 0 to 13"),
        (lambda model: model.recommend([0, 1], X[[0]]), "user_items: expected 2 users, got 1"),
        (lambda model: model.recommend(0, X[[0]][:, :3]), "user_items: expected 14 items, got 3"),
        (lambda model: model.recommend(0, X[[0]], N=-1), "N: expected an integer of at least 0"),
        (lambda model: model.recommend(0, X[[0]], N=2.5), "N: expected an integer of at least 0"),
        (lambda model: model.recommend("ann", X[[0]]), "userid: expected integer positions"),
        (lambda model: model.recommend(0, X[[0]], filter_items=[N]), "filter_items: expected positions from 0 to 13"),
    ],
)
def test_wrong_arguments(model, call, words):
    with pytest.raises(InputError, match=words):
        call(model)


def test_dislikes_are_never_recommended(name):
    """Beyond implicit, whose ALS alone reads negative values."""
    signed = X - 2 * sp.csr_matrix(np.eye(N))
    fitted = clone(MODELS[name]).fit(clicks := Interactions.from_csr(signed), False)
    for rows in (clicks, clicks.matrix):
        ids, _ = fitted.recommend(np.arange(N), rows, N=N)
        assert not (ids == np.arange(N)[:, None]).any()
        ids, _ = fitted.recommend(np.arange(N), rows, N=N, filter_already_liked_items=False)
        assert not (ids == np.arange(N)[:, None]).any()
    last, _ = fitted.recommend(4, items=[4, 5], filter_already_liked_items=False)
    assert last.tolist() == [5, 4]
