"""Baselines: by their formulas, against foreign ones, and the published figures of NBPO's Amazon split."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.metrics.pairwise import cosine_similarity

from recsys import (
    ALS,
    EASE,
    SLIM,
    DenoisingLinear,
    InputError,
    Interactions,
    ItemKNN,
    MatrixFactorization,
    Popularity,
    Recommender,
    RP3beta,
    TwoTower,
    UserKNN,
    evaluate,
)
from recsys.models import gram


@pytest.fixture
def clicks():
    dense = np.random.default_rng(8).random((40, 23)) < 0.2
    # Users and an item without interactions.
    dense[[3, 16]] = dense[:, 5] = False
    return sp.csr_array(dense.astype(np.float32))


SOME = np.setdiff1d(np.arange(40), [3, 16])
PLAIN = {"neighbours": None, "shrinkage": 0.0}
MODELS = [
    Popularity(),
    ItemKNN(**PLAIN),
    ItemKNN(neighbours=4, shrinkage=2.0),
    EASE(3.0),
    EASE(3.0, dropout=0.4, neighbours=5),
    SLIM(0.1, 1.0),
    SLIM(0.1, 1.0, solver="admm", nonnegative=False),
    UserKNN(neighbours=None),
    RP3beta(neighbours=6),
    ALS(factors=5, iterations=3),
]


@pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
def model(request, clicks):
    if isinstance(request.param, ALS):
        pytest.importorskip("implicit")
    return request.param.fit(clicks, show_progress=False)


def test_popularity_counts(clicks):
    np.testing.assert_array_equal(Popularity().fit(clicks).scores(np.array([0, 7])), [clicks.sum(0)] * 2)


def test_item_knn_is_the_cosine(clicks, monkeypatch):
    similar = cosine_similarity(clicks.toarray().T)
    np.fill_diagonal(similar, 0)
    # All at once, and two items at a time.
    for batch in (1 << 22, 50):
        monkeypatch.setattr("recsys.models.gram.BATCH", batch)
        model = ItemKNN(**PLAIN).fit(clicks)
        np.testing.assert_allclose(model.scores(np.arange(40)), clicks @ similar, rtol=1e-5, atol=1e-6)
        few = ItemKNN(neighbours=4, shrinkage=0).fit(clicks)
        kept = np.zeros_like(similar)
        # Of every item, its own four nearest.
        for item in range(23):
            best = np.argsort(-similar[item].astype(np.float32), kind="stable")[:4]
            kept[best, item] = similar[item, best]
        np.testing.assert_allclose(few.scores(np.arange(40)), clicks @ kept, rtol=1e-5, atol=1e-6)
    together = clicks.toarray().T @ clicks.toarray()
    roots = np.sqrt(np.diag(together))
    shrunk = together / (np.outer(roots, roots) + 2.0)
    np.fill_diagonal(shrunk, 0)
    np.testing.assert_allclose(ItemKNN(None, 2.0).fit(clicks).scores(SOME), (clicks @ shrunk)[SOME], rtol=1e-5)


@pytest.mark.parametrize("batch", [1 << 22, 50])
@pytest.mark.parametrize(("neighbours", "shrinkage"), [(None, 0.0), (7, 0.0), (3, 2.0)])
def test_user_knn_is_the_cosine_of_users(clicks, monkeypatch, batch, neighbours, shrinkage):
    monkeypatch.setattr("recsys.models.gram.BATCH", batch)
    X = clicks.toarray().astype(np.float64)
    together = X @ X.T
    sizes = np.sqrt(np.diag(together))
    with np.errstate(invalid="ignore"):
        similar = np.nan_to_num(together / (np.outer(sizes, sizes) + shrinkage)).astype(np.float32)

    def scores(similarity):
        kept = np.zeros_like(similarity)
        for user, row in enumerate(similarity):
            best = np.argsort(-row, kind="stable")[:neighbours]
            kept[user, best] = row[best]
        found = kept @ X
        found[[3, 16]] = 1e-9 * X.sum(0) / X.sum(0).max()
        return found

    model = UserKNN(neighbours, shrinkage).fit(clicks)
    np.testing.assert_allclose(model.scores_for(clicks), scores(similar), rtol=1e-5)
    np.fill_diagonal(similar, 0)
    np.testing.assert_allclose(model.scores(np.arange(40)), scores(similar), rtol=1e-5)


@pytest.mark.parametrize(("alpha", "beta", "neighbours"), [(1.0, 0.0, None), (0.6, 0.4, None), (1.3, 0.7, 5)])
def test_rp3beta_is_a_walk_of_three_steps(clicks, alpha, beta, neighbours):
    X = clicks.toarray().astype(np.float64)
    popular = np.maximum(X.sum(0), 1)
    to_items, to_users = X / np.maximum(X.sum(1), 1)[:, None], X.T / popular[:, None]
    # From an item to a user to an item.
    walk = to_users**alpha @ to_items**alpha / popular**beta
    np.fill_diagonal(walk, 0)
    for row in walk:
        row[np.argsort(-row.astype(np.float32), kind="stable")[neighbours or 23 :]] = 0
    model = RP3beta(neighbours, alpha, beta).fit(clicks)
    np.testing.assert_allclose(model.weights.toarray(), walk, rtol=1e-5)
    first = to_items**alpha
    # The first step is the same for all items of a user.
    scores = (first @ walk) * np.maximum(X.sum(1), 1)[:, None] ** alpha
    np.testing.assert_allclose(model.scores(SOME), scores[SOME], rtol=1e-5)


def test_ease_solves_a_ridge_regression_for_each_item(clicks):
    dense = clicks.toarray().astype(np.float64)
    weights = EASE(regularization=3.0).fit(clicks).weights
    for item in (0, 5, 22):
        rest = np.delete(np.arange(23), item)
        x = dense[:, rest]
        expected = np.linalg.solve(x.T @ x + 3.0 * np.eye(22), x.T @ dense[:, item])
        np.testing.assert_allclose(weights[rest, item], expected, rtol=1e-4, atol=1e-6)
        assert weights[item, item] == 0


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.7])
def test_edlae_is_the_closed_form_and_the_regression_on_masked_clicks(clicks, dropout):
    X = clicks.toarray().astype(np.float64)
    odds = dropout / (1 - dropout)
    inverse = np.linalg.inv(X.T @ X + 2.0 * np.eye(23) + odds * np.diag(X.sum(0)))
    wanted = np.eye(23) - inverse / np.diag(inverse)
    weights = EASE(2.0, dropout).fit(clicks).weights
    np.testing.assert_allclose(weights, wanted, rtol=1e-5, atol=1e-7)
    # The input of the autoencoder loses clicks at random, the target none.
    rng, draws = np.random.default_rng(0), 3000
    masked = X * (rng.random((draws, *X.shape)) >= dropout) / (1 - dropout)
    second, first = np.einsum("dui,duj->ij", masked, masked) / draws, np.einsum("dui,uj->ij", masked, X) / draws
    for item in (0, 22):
        rest = np.delete(np.arange(23), item)
        drawn = np.linalg.solve(second[np.ix_(rest, rest)] + 2.0 * np.eye(22), first[rest, item])
        np.testing.assert_allclose(weights[rest, item], drawn, atol=0.02)


def test_ease_in_single_precision_is_ease(monkeypatch):
    rng = np.random.default_rng(3)
    clicks = sp.csr_array((rng.random((300, 1300)) < 0.03 * rng.exponential(size=1300)).astype(np.float32))
    double = EASE(5.0, 0.2).fit(clicks).weights
    monkeypatch.setattr(gram, "SMALL", 100)
    assert gram.inversion_type(clicks, np.full(1300, 5.0)) is np.float32
    assert gram.inversion_type(clicks, np.full(1300, 1e-3)) is np.float64
    single = EASE(5.0, 0.2)
    assert single.memory_needed(clicks) == 4 * 1300**2
    np.testing.assert_allclose(single.fit(clicks).weights, double, atol=1e-6)
    assert np.abs(double).max() > 0.01


@pytest.mark.parametrize("small", [4096, 5])
def test_ease_on_few_items_solves_a_ridge_regression_on_them(clicks, monkeypatch, small):
    # From a dense Gram matrix, and from columns of clicks.
    monkeypatch.setattr(gram, "SMALL", small)
    X = clicks.toarray().astype(np.float64)
    together = X.T @ X
    penalty = 2.0 + 0.25 / 0.75 * X.sum(0)
    weights = EASE(2.0, 0.25, neighbours=4).fit(clicks).weights.toarray()
    for item in range(23):
        gain = (together[item] / np.sqrt(np.diag(together) + penalty)).astype(np.float32)
        gain[item] = 0
        some = np.sort(np.argsort(-gain, kind="stable")[:4])
        some = some[gain[some] > 0]
        expected = np.zeros(23)
        system = together[np.ix_(some, some)] + np.diag(penalty[some])
        expected[some] = np.linalg.solve(system, together[some, item])
        np.testing.assert_allclose(weights[:, item], expected, rtol=1e-5, atol=1e-7)
    # Where every item is a neighbour it is the dense model.
    full = sp.csr_array(np.random.default_rng(0).random((60, 9)) < 0.7)
    every = EASE(2.0, 0.25, neighbours=8, num_threads=2).fit(full).weights
    np.testing.assert_allclose(every.toarray(), EASE(2.0, 0.25).fit(full).weights, rtol=1e-5, atol=1e-7)


def test_als_is_implicits_and_repeats_at_any_number_of_threads(clicks):
    implicit = pytest.importorskip("implicit.cpu.als")
    from threadpoolctl import threadpool_limits

    options = {"factors": 6, "regularization": 0.1, "alpha": 3.0, "iterations": 4, "random_state": 5}
    epochs = []
    one, two = (
        ALS(**options, num_threads=threads).fit(clicks, show_progress=False, callback=lambda e, *_: epochs.append(e))
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one.user_factors, two.user_factors)
    assert epochs == [0, 1, 2, 3] * 2
    with threadpool_limits(1, "blas"):
        theirs = implicit.AlternatingLeastSquares(**options, num_threads=1)
        theirs.fit(sp.csr_matrix(clicks), show_progress=False)
    np.testing.assert_array_equal(one.item_factors, theirs.item_factors)
    # Values are confidence.
    doubled = ALS(**options | {"alpha": 1.5}).fit(clicks * 2, show_progress=False)
    np.testing.assert_allclose(doubled.scores(np.arange(40)), one.scores(np.arange(40)), atol=1e-3)


def test_als_that_diverges_is_named(clicks):
    pytest.importorskip("implicit")
    with pytest.raises(InputError, match=r"ALS: expected values and settings that factors can follow, got NaN"):
        ALS(factors=2).fit(clicks * 1e38, show_progress=False)


def test_als_solves_new_users_with_the_items_fixed(clicks):
    pytest.importorskip("implicit")
    model = ALS(factors=5, regularization=0.2, alpha=3.0, iterations=3, num_threads=1).fit(clicks, show_progress=False)
    items = model.item_factors.astype(np.float64)
    rows = clicks.toarray()[[4, 3]]
    for row, found in zip(rows, model.scores_for(clicks[[4, 3]]), strict=True):
        # 1 for the rest, alpha for positives.
        weights = 1 + (3.0 - 1) * row
        vector = np.linalg.solve((items.T * weights) @ items + 0.2 * np.eye(5), items.T @ (3.0 * row))
        np.testing.assert_allclose(found, items @ vector, rtol=1e-3, atol=1e-5)


def test_every_baseline_keeps_the_contract(model, clicks, tmp_path):
    users = np.arange(40)
    scores = model.scores(users)
    assert (scores.shape, scores.dtype) == ((40, 23), np.float32)
    ids, _ = model.recommend(users, clicks, N=5)
    again, _ = model.recommend(users, clicks, N=5, recalculate_user=True)
    # Which solve the users anew, or add the user as its own neighbour.
    if not isinstance(model, ALS | UserKNN):
        np.testing.assert_array_equal(ids, again)
    assert not clicks.toarray()[users[:, None], ids].any()
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.scores(users), scores)
    assert loaded._parameters() == model._parameters()
    if isinstance(model, Popularity):
        with pytest.raises(InputError, match=r"similar_items: expected a model with a similarity of items, got Pop"):
            model.similar_items(0)
        return
    near, similarity = model.similar_items([0, 7], N=3)
    assert near[:, 0].tolist() == [0, 7]
    np.testing.assert_allclose(similarity[:, 0], 1, rtol=1e-5)
    assert model.similar_users(9, N=3)[0][0] == 9


def test_a_new_process_loads_a_model_of_any_class(clicks, tmp_path):
    ItemKNN().fit(clicks).save(tmp_path / "model")
    code = "import sys, recsys; print(type(recsys.Recommender.load(sys.argv[1])).__name__)"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "model")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "ItemKNN\n"


def test_a_user_without_interactions_gets_popular_items(model, clicks):
    popular = np.argsort(-clicks.sum(0), kind="stable")
    assert model.recommend(3, clicks[[3]], N=22)[0].tolist() == popular[:22].tolist()
    assert model.recommend(0, clicks[[3]], N=22, recalculate_user=True)[0].tolist() == popular[:22].tolist()
    if not isinstance(model, Popularity):
        assert 0 < model.scores(np.array([3])).max() <= np.float32(1e-9)


def test_similar_items_are_the_neighbours_that_were_kept(clicks):
    model = ItemKNN(neighbours=3, shrinkage=0).fit(clicks)
    similar = cosine_similarity(clicks.toarray().T)
    np.fill_diagonal(similar, 0)
    for item in range(clicks.shape[1]):
        near = np.argsort(-similar[item].astype(np.float32), kind="stable")[:3]
        found, values = model.similar_items(item, N=4)
        assert set(found[values > 0]) == {item, *near[similar[item][near] > 0]}


def test_ctrl_c_keeps_the_last_whole_epoch_of_als(clicks):
    pytest.importorskip("implicit")
    whole, stopped = ALS(5, iterations=3).fit(clicks, False), ALS(5, iterations=9)

    def stop(epoch, *arguments):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.fit(clicks, False, stop)
    everybody = np.arange(clicks.shape[0])
    assert np.array_equal(stopped.scores(everybody), whole.scores(everybody))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("model", "broken"),
    [
        (DenoisingLinear(directions=2), "recsys.models.gram.regress"),
        (EASE(), "recsys.models.gram.regress"),
        (MatrixFactorization(2, iterations=1), "recsys.models.mf.MatrixFactorization._run_epochs"),
        (TwoTower(2, (3,), iterations=1), "recsys.models.two_tower.TwoTower._run_epochs"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Recommender) else "",
)
def test_a_fit_that_fails_leaves_the_model_as_it_was(clicks, monkeypatch, model, broken, error):
    first = Interactions.from_csr(clicks, items=[f"i{item}" for item in range(clicks.shape[1])])
    other = sp.csr_array(np.ones((4, 3)))
    model.fit(first, False)
    users = np.arange(clicks.shape[0])
    before, shown = model.scores(users), repr(model)

    def interrupt(*arguments):
        raise error

    monkeypatch.setattr(broken, interrupt)
    with pytest.raises(error):
        model.fit(Interactions.from_csr(other, items=["a", "b", "c"]), False)
    assert repr(model) == shown
    assert model.items.tolist() == first.items.tolist()
    assert np.array_equal(model.scores(users), before)
    with pytest.raises(error):
        (unfitted := clone(model)).fit(other, False)
    assert unfitted.num_items == 0


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (EASE(), "335.3"),
        # Double precision, as the condition number is large.
        (EASE(1e-9), "1005.8"),
        (SLIM(), "335.3"),
        (SLIM(solver="admm"), "2011.7"),
        (DenoisingLinear(low_pass=0), "335.3"),
        (ALS(factors=10**11), "335277244.4"),
        (UserKNN(neighbours=10), None),
        (ItemKNN(), None),
        (RP3beta(), None),
        (EASE(neighbours=10), None),
    ],
    ids=repr,
)
def test_what_exceeds_the_memory_is_refused_with_the_size(model, size):
    # One pair of items.
    wide = sp.csr_array((np.ones(2, np.float32), [0, 299_999], [0, 2]), shape=(1, 300_000))
    if size is None:
        assert model.memory_needed(wide) < 1e9
        model.fit(wide)
        return
    name = type(model).__name__
    match = rf"{name} of 1 users × 300000 items: expected to need at most .* GiB of memory, got {size} GiB"
    with pytest.raises(InputError, match=match):
        model.fit(wide)


def test_a_matrix_that_cannot_be_inverted_is_an_error():
    same = sp.csr_array(np.ones((3, 2), np.float32))
    message = "expected a regularization with which the Gram matrix can be inverted, got one that is too small"
    for kind in (EASE(1e-12, neighbours=None), EASE(1e-12, neighbours=1)):
        kind.fit(sp.csr_array(np.eye(3)))
    with pytest.raises(InputError, match=message):
        gram.invert("EASE", same.toarray()[:2] * np.array([[1.0], [1.0 - 1e-16]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ItemKNN(neighbours=0), r"neighbours: expected an integer of at least 1, got 0"),
        (lambda: ItemKNN(shrinkage=-1), r"shrinkage: expected a number of at least 0"),
        (lambda: EASE(dropout=1), r"dropout: expected a number of at least 0 and below 1, got 1"),
        (lambda: EASE(neighbours=0), r"neighbours: expected an integer of at least 1, got 0"),
        (lambda: UserKNN(neighbours=0), r"neighbours: expected an integer of at least 1, got 0"),
        (lambda: UserKNN(shrinkage=-1), r"shrinkage: expected a number of at least 0"),
        (lambda: RP3beta(neighbours=0), r"neighbours: expected an integer of at least 1, got 0"),
        (lambda: RP3beta(alpha=4), r"alpha: expected a number in \[0, 3\], got 4"),
        (lambda: RP3beta(beta=-1), r"beta: expected a number in \[0, 3\], got -1"),
        (lambda: EASE(0), r"regularization: expected a number of at least 1e-12, got 0"),
        (lambda: ALS(factors=2.5), r"factors: expected an integer of at least 1, got 2.5"),
        (lambda: ALS(random_state=-1), r"random_state: expected an integer from 0"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


KS = (2, 5, 10, 20, 50, 100)
# Measured by an independent program: F1, then NDCG, at 2, 5, 10, 20, 50, 100.
GOLD = {
    ("Popularity", "test", "train"): (
        (0.0166, 0.0204, 0.0240, 0.0209, 0.0164, 0.0122),
        (0.0238, 0.0273, 0.0385, 0.0490, 0.0677, 0.0825),
    ),
    ("Popularity", "validation", "train"): (
        (0.0167, 0.0211, 0.0243, 0.0207, 0.0167, 0.0127),
        (0.0218, 0.0273, 0.0392, 0.0488, 0.0689, 0.0846),
    ),
    ("Popularity", "test", "train+validation"): (
        (0.0172, 0.0209, 0.0244, 0.0211, 0.0165, 0.0122),
        (0.0246, 0.0280, 0.0391, 0.0496, 0.0683, 0.0831),
    ),
    ("ItemKNN", "test", "train"): (
        (0.0363, 0.0405, 0.0384, 0.0317, 0.0219, 0.0160),
        (0.0494, 0.0546, 0.0670, 0.0808, 0.1002, 0.1195),
    ),
    ("ItemKNN", "validation", "train"): (
        (0.0325, 0.0381, 0.0359, 0.0317, 0.0227, 0.0165),
        (0.0434, 0.0511, 0.0625, 0.0779, 0.0998, 0.1190),
    ),
}


@pytest.mark.parametrize("case", GOLD, ids="-".join)
def test_amazon_split_of_nbpo(feedback, case):
    name, part, mask = case
    kind = {"Popularity": Popularity(), "ItemKNN": ItemKNN(**PLAIN)}[name]
    split = feedback("amazon-nbpo")
    names = [f"{name}@{k}" for name in ("f1", "ndcg") for k in KS]
    validation = split.validation if part == "test" else None
    found = evaluate(kind.fit(split.train), split.train, getattr(split, part), names, validation=validation, mask=mask)
    assert len(found.users) == 1435
    for name, expected in zip(names, sum(GOLD[case], ()), strict=True):
        assert found[name] == pytest.approx(expected, abs=1e-4), name
