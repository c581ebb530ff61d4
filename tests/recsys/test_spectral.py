"""Filters of the item graph: dense linear algebra, the published formulas, and what is learned from held-out clicks."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys import InputError, Recommender, SpectralFilter, evaluate
from recsys.metrics import ndcg
from recsys.models import filter_learning
from recsys.models.filter_learning import Bank, Fold, hold_out, refine, ridge
from recsys.models.filters import interpolate
from recsys.models.item_graph import ItemGraph
from recsys.simulation import corrupt, low_rank
from recsys.splits import ratio
from recsys.topk import top_k


def clicks(users=60, items=40, density=0.15, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_array((rng.random((users, items)) < density).astype(np.float32))


def dense(matrix, user_power=0.5, item_power=0.5):
    """Return S in float64, its largest eigenvalue 1."""
    users, items = (np.maximum(matrix.sum(axis), 1.0) for axis in (1, 0))
    scaled = users[:, None] ** -user_power * matrix.toarray().astype(float) * items**-item_power
    return scaled.T @ scaled / np.linalg.norm(scaled, 2) ** 2


@pytest.mark.parametrize("powers", [(0.5, 0.5), (0.3, 0.4), (0.0, 0.0), (1.0, 0.2)])
def test_polynomials_of_the_graph(powers):
    matrix = clicks()
    S, graph = dense(matrix, *powers), ItemGraph(matrix, *powers)
    values = graph.multiply(torch.eye(40)).numpy()
    assert values == pytest.approx(S, abs=2e-3)
    # The margin below 1 is what the power iteration adds.
    assert 0.997 < np.linalg.eigvalsh(values)[-1] < 1 + 1e-5
    coefficients, scale = np.random.default_rng(1).normal(size=7), np.linspace(1, 2, 40, dtype=np.float32)
    eigenvalues, Q = np.linalg.eigh(values.astype(float))
    response = np.polynomial.chebyshev.chebval(1 - 2 * eigenvalues, coefficients)
    exact = (matrix.toarray() * scale) @ (Q * response) @ Q.T
    assert graph.polynomial(matrix, coefficients, scale) == pytest.approx(exact, abs=1e-4)


def test_leading_vectors_span_the_leading_eigenspace():
    matrix = clicks(200, 60, seed=3)
    for count in (1, 5, 60, 100):
        vectors = ItemGraph(matrix).leading_vectors(count, 0)
        eigenvalues, Q = np.linalg.eigh(dense(matrix))
        kept = min(count, 60)
        assert vectors.shape == (60, kept)
        assert vectors.T @ vectors == pytest.approx(np.eye(kept), abs=1e-5)
        captured = np.trace(vectors.T @ dense(matrix) @ vectors)
        assert captured == pytest.approx(eigenvalues[-kept:].sum(), rel=2e-3)
        assert Q[:, -1] @ vectors[:, 0] == pytest.approx(np.sign(Q[:, -1] @ vectors[:, 0]), abs=1e-5)


def test_published_filters():
    matrix = clicks()
    R, S = matrix.toarray().astype(float), dense(matrix)
    D = np.maximum(R.sum(0), 1) / np.maximum(R.sum(0), 1).mean()
    eigenvalues, Q = np.linalg.eigh(S)
    users = np.arange(60)

    def scores(*arguments, **settings):
        return SpectralFilter(*arguments, **settings).fit(matrix).scores(users)

    assert scores("linkprop") == pytest.approx(R @ S, abs=1e-5)
    assert scores("linkprop", degree_power=0.3) == pytest.approx((R * D**-0.3) @ S * D**0.3, abs=1e-5)
    whole = R @ S + 0.3 * R
    # With all directions V Vᵀ is the identity.
    assert scores("gf-cf", directions=40) == pytest.approx(whole, abs=1e-4)
    x = 1 - 2 * eigenvalues
    response = np.polynomial.chebyshev.chebval(x, interpolate(lambda x: (1 - np.sign(x) * abs(x) ** 1.5) / 2, 8))
    expected = ((R * D**-0.4) @ (Q * response) @ Q.T) * D**0.4
    assert scores("chebycf", directions=0) == pytest.approx(expected, abs=1e-4)
    assert scores("chebycf", directions=40) == pytest.approx(expected + 0.2 * R, abs=1e-4)


def test_interpolation_meets_the_response_at_its_nodes():
    for degree in (1, 4, 9):
        nodes = np.cos(np.arange(degree + 1) * np.pi / degree)
        coefficients = interpolate(np.exp, degree)
        assert np.polynomial.chebyshev.chebval(nodes, coefficients) == pytest.approx(np.exp(nodes))


def test_held_out_clicks():
    matrix = clicks(300, 50)
    kept, held = hold_out(matrix, 0.3, np.random.default_rng(0))
    assert ((kept + held) != matrix).nnz == 0
    assert kept.multiply(held).nnz == 0
    assert held.nnz / matrix.nnz == pytest.approx(0.3, abs=0.03)
    assert ((np.diff(kept.indptr) > 0) == (np.diff(matrix.indptr) > 0)).all()


@pytest.fixture
def fold(monkeypatch):
    monkeypatch.setattr(filter_learning, "RANKS", (2, 8))
    kept, held = hold_out(clicks(80, 30, 0.3), 0.2, np.random.default_rng(0))
    graph = ItemGraph(kept)
    bank = Bank(graph, graph.leading_vectors(8, 0), 0.2, 4)
    users = np.flatnonzero(np.diff(held.indptr))
    return bank, kept, held, users, Fold(bank, kept, held, users)


def test_the_regression_is_that_of_held_out_clicks_on_the_scores_of_the_bank(fold):
    bank, kept, held, users, part = fold
    scores = np.moveaxis(bank.scores(kept[users]), 0, 2).astype(float)
    free = kept[users].toarray() == 0
    X, y = scores[free], held[users].toarray()[free]
    assert part.square == pytest.approx(X.T @ X, rel=1e-4)
    assert part.product == pytest.approx(X.T @ y, rel=1e-4)
    scale = np.sqrt((X**2).sum(0))
    rows = np.vstack([X / scale, np.sqrt(0.5) * np.eye(X.shape[1])])
    solution = np.linalg.lstsq(rows, np.append(y, np.zeros(X.shape[1])), rcond=None)[0] / scale
    assert ridge([part], 0.5) == pytest.approx(solution, rel=1e-3)


def test_a_bank_is_one_filter_and_its_quality_is_that_of_evaluate(fold):
    bank, kept, held, users, part = fold
    weights = np.random.default_rng(1).normal(size=len(part.square))
    combined = np.tensordot(weights, bank.scores(kept[users]), 1)
    chosen, graph = bank.combine(weights), bank.graph
    relative = (graph.item_clicks / graph.item_clicks.mean()) ** np.float32(0.2)
    assert (chosen.power_in, chosen.power_out, chosen.vector_power) == (0.2, 0.2, 0.2)
    V = graph.leading_vectors(8, 0)
    one = graph.polynomial(kept[users], chosen.coefficients, 1 / relative) * relative
    one += (kept[users] @ (V / relative[:, None]) * chosen.weights) @ V.T * relative
    one += chosen.popularity * graph.item_clicks / graph.item_clicks.max()
    assert one == pytest.approx(combined, abs=1e-4)

    class Scores:
        def scores(self, userids):
            every = np.zeros((len(userids), 30), np.float32)
            every[np.searchsorted(userids, np.intersect1d(userids, users))] = combined[
                np.searchsorted(users, np.intersect1d(userids, users))
            ]
            return every

    # The fold has all items as candidates.
    quality = part.quality(part.total(weights))
    assert quality == pytest.approx(evaluate(Scores(), kept, held)["ndcg@20"], abs=1e-6)
    solved = ridge([part], 0.5)
    refined = refine([part], solved)
    assert part.quality(part.total(refined)) > part.quality(part.total(solved))
    assert (refined != solved).any()


def test_equal_scores_rank_by_item_and_absent_candidates_last(fold):
    *_, part = fold
    part._absent[:, 3::4] = True
    part._place, part._row = (side[part._place % 4 < 3] for side in (part._place, part._row))
    total = np.random.default_rng(0).integers(-2, 3, part._absent.shape).astype(np.float32)
    ranked, _ = top_k(np.where(part._absent, -np.inf, total), 20)
    hits = np.zeros((len(part._sizes), 20), bool)
    for row, place in zip(part._row, part._place, strict=True):
        hits[part._users[row]] |= ranked[row] == place
    assert hits.any()
    assert part.quality(total) == ndcg(hits, part._sizes).mean()


def test_what_is_learned_is_better_than_a_fixed_filter_on_noisy_clicks():
    truth = low_rank(500, 120, rank=5, density=0.1, seed=0)
    parts = ratio(truth.interactions, 0.0, 0.2, seed=0)
    noisy = corrupt(parts.train, false_positive=0.3, seed=0).interactions
    test = parts.test.matrix - parts.test.matrix.multiply(noisy.matrix)
    test.eliminate_zeros()
    scores = {
        preset: evaluate(SpectralFilter(preset, num_threads=1).fit(noisy), noisy, sp.csr_array(test))["ndcg@20"]
        for preset in ("auto", "linkprop", "chebycf", "gf-cf")
    }
    assert scores["auto"] > 1.02 * max(value for name, value in scores.items() if name != "auto")


def test_the_same_for_any_number_of_threads_and_after_saving(tmp_path):
    matrix = clicks(200, 60, 0.1)
    models = [SpectralFilter(num_threads=count, random_state=3).fit(matrix) for count in (1, 2)]
    users = np.arange(200)
    assert np.array_equal(models[0].scores(users), models[1].scores(users))
    models[0].save(tmp_path / "filter")
    loaded = Recommender.load(tmp_path / "filter.npz")
    assert np.array_equal(loaded.scores(users), models[0].scores(users))
    assert loaded.filter_.popularity == models[0].filter_.popularity
    # Parameters that were set since count from the next fit.
    models[0].set_params(dtype="bfloat16").save(tmp_path / "filter")
    assert np.array_equal(Recommender.load(tmp_path / "filter.npz").scores(users), models[0].scores(users))
    recalculated = loaded.recommend([5, 7], matrix[[5, 7]], recalculate_user=True)
    assert np.array_equal(recalculated[0], models[0].recommend([5, 7], matrix[[5, 7]])[0])


def test_sixteen_bits_of_storage_rank_nearly_as_single_precision():
    matrix = clicks(300, 80, 0.1)
    single, half = (
        SpectralFilter("chebycf", dtype=name).fit(matrix).scores(np.arange(300)) for name in ("float32", "bfloat16")
    )
    assert not np.array_equal(single, half)
    assert np.corrcoef(single.ravel(), half.ravel())[0, 1] > 0.999


def test_users_of_one_click_teach_nothing():
    model = SpectralFilter().fit(sp.csr_array(np.eye(6, 4, dtype=np.float32)[:4]))
    assert model.comparison_ == []
    assert model.filter_.coefficients.tolist() == [0.5, -0.5]
    assert np.isfinite(model.scores(np.arange(4))).all()


@pytest.mark.parametrize("preset", ["auto", "linkprop", "gf-cf", "chebycf"])
def test_users_without_clicks_get_the_popular_items(preset):
    matrix = clicks(80, 40)
    model = SpectralFilter(preset, directions=8, num_threads=1).fit(matrix)
    popular = np.argsort(-np.diff(matrix.T.tocsr().indptr), kind="stable")
    assert model.recommend(0, sp.csr_array((1, 40)), N=40, recalculate_user=True)[0].tolist() == popular.tolist()


def test_explanations_sum_to_the_score_but_for_popularity():
    matrix = clicks(200, 50, 0.15)
    model = SpectralFilter(num_threads=1).fit(matrix)
    total, parts, _ = model._explain(matrix[[4]], 7, None)
    counts = np.asarray(matrix.sum(0)).ravel()
    assert total == pytest.approx(parts.sum() + model.filter_.popularity * counts[7] / counts.max(), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "bspm"}, "preset: expected one of auto, chebycf, gf-cf, linkprop"),
        ({"degree": 0}, "degree: expected an integer from 1"),
        ({"directions": -1}, "directions: expected an integer of at least 0"),
        ({"low_pass": -1.0}, "low_pass: expected a number of at least 0"),
        ({"flatness": 0.0}, "flatness: expected"),
        # The clicks of an item over their mean, at this power, would leave single precision.
        ({"degree_power": 1e9}, r"degree_power: expected a number in \[-2, 2\]"),
        ({"user_power": 1.5}, "user_power: expected"),
        ({"dtype": "float16"}, "dtype: expected one of bfloat16, float32"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(InputError, match=message):
        SpectralFilter(**settings)


def test_memory_is_checked_before_fitting(monkeypatch):
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 1 << 20)
    with pytest.raises(InputError, match="SpectralFilter of 60 users × 40 items: expected to need at most"):
        SpectralFilter().fit(clicks())


@pytest.mark.parametrize("preset", ["auto", "chebycf", "linkprop"])
def test_new_users_leave_the_graph_and_all_others_as_they_are(tmp_path, preset):
    clicks = low_rank(60, 30, density=0.2, seed=3).interactions.matrix
    model = SpectralFilter(preset, directions=4, num_threads=1).fit(clicks, False)
    others, rows = model.scores(np.arange(2, 60)), clicks[[7, 9]]
    expected = model.scores_for(rows)
    model.partial_fit_users([1, 60], rows)
    model.save(tmp_path / "model")
    for one in (model, SpectralFilter.load(tmp_path / "model")):
        np.testing.assert_array_equal(one.scores(np.arange(2, 60)), others)
        np.testing.assert_array_equal(one.scores(np.array([1, 60])), expected)
    # Those of a new fit are another graph.
    again = SpectralFilter(preset, directions=4, num_threads=1).fit(model.user_items, False)
    assert not np.array_equal(again.scores(np.arange(2, 60)), others)
    assert again.graph_clicks is None
