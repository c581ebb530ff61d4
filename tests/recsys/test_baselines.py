"""Baselines: by their formulas, against foreign ones, and the published figures of NBPO's Amazon split."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import cosine_similarity

from recsys import InputError, Recommender, evaluate
from recsys.models import baselines
from recsys.models.baselines import ALS, EASE, ItemKNN, Popularity


@pytest.fixture
def clicks():
    dense = np.random.default_rng(8).random((40, 23)) < 0.2
    # A user and an item without interactions.
    dense[3] = dense[:, 5] = False
    return sp.csr_array(dense.astype(np.float32))


MODELS = [Popularity(), ItemKNN(), ItemKNN(neighbours=4, shrinkage=2.0), EASE(3.0), ALS(factors=5, iterations=3)]


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
        monkeypatch.setattr(baselines, "BATCH", batch)
        model = ItemKNN().fit(clicks)
        np.testing.assert_allclose(model.scores(np.arange(40)), clicks @ similar, rtol=1e-5, atol=1e-6)
        few = ItemKNN(neighbours=4).fit(clicks)
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
    np.testing.assert_allclose(ItemKNN(shrinkage=2.0).fit(clicks).scores(np.arange(40)), clicks @ shrunk, rtol=1e-5)


def test_ease_solves_a_ridge_regression_for_each_item(clicks):
    dense = clicks.toarray().astype(np.float64)
    weights = EASE(regularization=3.0).fit(clicks).weights
    for item in (0, 5, 22):
        rest = np.delete(np.arange(23), item)
        x = dense[:, rest]
        expected = np.linalg.solve(x.T @ x + 3.0 * np.eye(22), x.T @ dense[:, item])
        np.testing.assert_allclose(weights[rest, item], expected, rtol=1e-4, atol=1e-6)
        assert weights[item, item] == 0


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
    # Which solves the users anew.
    if not isinstance(model, ALS):
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


def test_a_user_without_interactions_gets_an_answer(clicks):
    popular = np.argsort(-clicks.sum(0), kind="stable")[:3]
    assert Popularity().fit(clicks).recommend(3, clicks[[3]], N=3)[0].tolist() == popular.tolist()
    assert ItemKNN().fit(clicks).recommend(3, clicks[[3]], N=3)[0].tolist() == [0, 1, 2]
    assert EASE().fit(clicks).recommend(3, clicks[[3]], N=3)[0].tolist() == [0, 1, 2]


def test_similar_items_are_the_neighbours_that_were_kept(clicks):
    model = ItemKNN(neighbours=3).fit(clicks)
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


def test_too_many_items_are_refused_with_the_size():
    wide = sp.csr_array((np.ones(2, np.float32), [0, 299_999], [0, 2]), shape=(1, 300_000))
    with pytest.raises(InputError, match=r"EASE of 300000 items: expected to need at most .* GiB.*, got 2011\.7 GiB"):
        EASE().fit(wide)
    users = sp.csr_array(sp.random(1, 10, 1.0, "csr", rng=np.random.default_rng(0)))
    with pytest.raises(
        InputError, match=r"ALS of 1 users × 10 items, 100000000000 factors: expected .* got 8195\.6 GiB"
    ):
        ALS(factors=10**11).fit(users)
    # One pair of items.
    ItemKNN().fit(wide)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ItemKNN(neighbours=0), r"neighbours: expected an integer of at least 1, got 0"),
        (lambda: ItemKNN(shrinkage=-1), r"shrinkage: expected a number of at least 0"),
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
    (Popularity, "test", "train"): (
        (0.0166, 0.0204, 0.0240, 0.0209, 0.0164, 0.0122),
        (0.0238, 0.0273, 0.0385, 0.0490, 0.0677, 0.0825),
    ),
    (Popularity, "validation", "train"): (
        (0.0167, 0.0211, 0.0243, 0.0207, 0.0167, 0.0127),
        (0.0218, 0.0273, 0.0392, 0.0488, 0.0689, 0.0846),
    ),
    (Popularity, "test", "train+validation"): (
        (0.0172, 0.0209, 0.0244, 0.0211, 0.0165, 0.0122),
        (0.0246, 0.0280, 0.0391, 0.0496, 0.0683, 0.0831),
    ),
    (ItemKNN, "test", "train"): (
        (0.0363, 0.0405, 0.0384, 0.0317, 0.0219, 0.0160),
        (0.0494, 0.0546, 0.0670, 0.0808, 0.1002, 0.1195),
    ),
    (ItemKNN, "validation", "train"): (
        (0.0325, 0.0381, 0.0359, 0.0317, 0.0227, 0.0165),
        (0.0434, 0.0511, 0.0625, 0.0779, 0.0998, 0.1190),
    ),
}


@pytest.mark.parametrize("case", GOLD, ids=lambda case: "-".join([case[0].__name__, *case[1:]]))
def test_amazon_split_of_nbpo(feedback, case):
    kind, part, mask = case
    split = feedback("amazon-nbpo")
    names = [f"{name}@{k}" for name in ("f1", "ndcg") for k in KS]
    validation = split.validation if part == "test" else None
    found = evaluate(
        kind().fit(split.train), split.train, getattr(split, part), names, validation=validation, mask=mask
    )
    assert len(found.users) == 1435
    for name, expected in zip(names, sum(GOLD[case], ()), strict=True):
        assert found[name] == pytest.approx(expected, abs=1e-4), name
