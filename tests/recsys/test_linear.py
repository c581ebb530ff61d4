"""The denoising linear model: against EASE, the expected loss written out, and a low-pass filter by SVD."""

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise import InputError
from recsys import EASE, DenoisingLinear, evaluate
from recsys.simulation import corrupt, low_rank

PLAIN = {"dropout": 0.0, "user_power": 0.0, "item_power": 0.0, "low_pass": 0.0, "intercept": 0.0}


@pytest.fixture
def clicks():
    dense = np.random.default_rng(8).random((40, 23)) < 0.2
    # A user and an item without interactions.
    dense[3] = dense[:, 5] = False
    return sp.csr_array(dense.astype(np.float32))


def test_without_any_of_its_parts_it_is_ease(clicks):
    share = float(np.diff(clicks.tocsc().indptr).mean())
    ease = EASE(regularization=3.0 * share).fit(clicks)
    found = DenoisingLinear(regularization=3.0, **PLAIN).fit(clicks)
    np.testing.assert_allclose(found.weights, ease.weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dropout", [0.0, 0.25, 0.6])
def test_dropout_minimises_the_expected_loss(clicks, dropout):
    """The loss over all ways to hide clicks, whose expectation has a closed form for a linear model."""
    X = clicks.toarray().astype(np.float64)
    gram = X.T @ X
    penalty = 0.7 * np.diag(gram).mean()
    weights = DenoisingLinear(0.7, **{**PLAIN, "dropout": dropout}).fit(clicks).weights.astype(np.float64)

    def loss(B):
        missed = ((X - X @ B) ** 2).sum()
        # Variance of what remains, scaled up.
        spread = dropout / (1 - dropout) * (np.diag(gram)[:, None] * B**2).sum()
        return missed + spread + penalty * (B**2).sum()

    rng = np.random.default_rng(0)
    hidden = np.mean(
        [((X - (X * (rng.random(X.shape) >= dropout) / (1 - dropout)) @ weights) ** 2).sum() for _ in range(400)]
    )
    np.testing.assert_allclose(loss(weights) - penalty * (weights**2).sum(), hidden, rtol=0.02)
    for _ in range(20):
        change = rng.normal(size=weights.shape) * 1e-3
        np.fill_diagonal(change, 0)
        assert loss(weights + change) > loss(weights)
    assert (np.diag(weights) == 0).all()


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.5, 0.5), (0.3, 0.6)])
def test_the_low_pass_filter_is_that_of_an_svd(clicks, a, b):
    X = clicks.toarray().astype(np.float64)
    scaled = np.maximum(X.sum(1), 1)[:, None] ** -a * X * np.maximum(X.sum(0), 1) ** -b
    _, values, rows = np.linalg.svd(scaled)
    wanted = scaled.T @ scaled / values[0] ** 2 + 0.5 * rows[:4].T @ rows[:4]
    options = {
        "user_power": a,
        "item_power": b,
        "low_pass": 0.5,
        "directions": 4,
        "intercept": 0.0,
        "core": "neighbourhood",
    }
    found = DenoisingLinear(**options).fit(clicks)
    np.testing.assert_allclose(found.weights, wanted, atol=1e-5)
    np.testing.assert_allclose(found.scores(np.arange(40)), X @ wanted, atol=1e-4)


@pytest.mark.parametrize("core", ["autoencoder", "neighbourhood"])
def test_sparse_eigenvectors_and_weights_are_the_dense_ones(monkeypatch, core):
    clicks = low_rank(500, 300, rank=8, density=0.02, seed=0).interactions.matrix
    options = {"core": core, "directions": 12, "low_pass": 0.4}
    monkeypatch.setattr("recsys.models.linear._FEW", 1000)
    monkeypatch.setattr("recsys.models.gram.pairs_in_rows", lambda matrix: float(matrix.shape[1]) ** 2)
    dense = DenoisingLinear(**options).fit(clicks)
    monkeypatch.undo()
    model = DenoisingLinear(**options).fit(clicks)
    assert (model.vectors is None) == (core == "autoencoder")
    assert dense.vectors is None
    np.testing.assert_allclose(model.scores(np.arange(500)), dense.scores(np.arange(500)), atol=1e-5)
    np.testing.assert_array_equal(
        model.scores(np.arange(500)), DenoisingLinear(**options).fit(clicks).scores(np.arange(500))
    )


def test_users_without_clicks_get_popular_items(clicks):
    model = DenoisingLinear(intercept=0.5, item_power=0.0).fit(clicks)
    counts = clicks.toarray().sum(0)
    np.testing.assert_allclose(model.scores(np.array([3]))[0], 0.5 * counts / counts.max(), rtol=1e-6)
    none = DenoisingLinear(intercept=0.0, item_power=0.0).fit(clicks).scores(np.arange(40))
    np.testing.assert_allclose(model.scores(np.arange(40)) - none, [0.5 * counts / counts.max()] * 40, atol=1e-6)


def test_order_of_users_and_items_does_not_matter(clicks):
    rng = np.random.default_rng(1)
    users, items = rng.permutation(40), rng.permutation(23)
    one = DenoisingLinear(directions=5).fit(clicks).scores(np.arange(40))
    two = DenoisingLinear(directions=5).fit(sp.csr_array(clicks.toarray()[users][:, items])).scores(np.arange(40))
    np.testing.assert_allclose(two, one[users][:, items], atol=1e-5)


def test_it_is_saved_and_loaded(clicks, tmp_path):
    model = DenoisingLinear(dropout=0.2, directions=3, core="neighbourhood").fit(clicks)
    model.save(tmp_path / "model.npz")
    loaded = DenoisingLinear.load(tmp_path / "model.npz")
    assert (loaded.core, loaded.directions) == ("neighbourhood", 3)
    np.testing.assert_array_equal(loaded.scores(np.arange(5)), model.scores(np.arange(5)))
    sparse = sp.csr_array(np.eye(40, 400) + np.eye(40, 400, 1))
    model = DenoisingLinear(directions=3, core="neighbourhood").fit(sparse)
    model.save(tmp_path / "model.npz")
    loaded = DenoisingLinear.load(tmp_path / "model.npz")
    assert loaded.vectors.shape == (400, 3)
    np.testing.assert_array_equal(loaded.scores(np.arange(40)), model.scores(np.arange(40)))


def test_clicks_by_mistake_cost_it_less_than_ease():
    truth = low_rank(500, 120, rank=6, density=0.12, seed=0)
    noisy = corrupt(truth.interactions, false_positive=0.5, false_negative=0.3, seed=1)

    def hidden_found(model):
        fitted = model.fit(noisy.interactions)
        return evaluate(fitted, noisy.interactions, noisy.hidden, metrics=("ndcg@20",), num_threads=1).means["ndcg@20"]

    best = max(hidden_found(EASE(value)) for value in (3.0, 30.0, 100.0, 300.0))
    assert hidden_found(DenoisingLinear(5.0, 0.3, low_pass=0.05, directions=6)) > 1.02 * best


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularization": 0.0}, r"^regularization: expected"),
        ({"dropout": 1.0}, r"^dropout: expected a number of at least 0 and below 1, got 1.0"),
        ({"user_power": -0.1}, r"^user_power: expected a number in \[0, 1\], got -0.1"),
        ({"item_power": 2.0}, r"^item_power: expected a number in \[0, 1\], got 2.0"),
        ({"low_pass": -1.0}, r"^low_pass: expected"),
        ({"intercept": -0.1}, r"^intercept: expected"),
        ({"directions": 0}, r"^directions: expected an integer of at least 1, got 0"),
        ({"core": "ease"}, r"^core: expected one of autoencoder, neighbourhood, got 'ease'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        DenoisingLinear(**options)
