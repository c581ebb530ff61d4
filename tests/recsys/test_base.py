"""The interface of every recommender: top-k, filters, files, errors."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsys import DataError, InputError, Recommender
from recsys.base import batches
from recsys.files import write_model
from recsys.models.factors import FactorModel
from recsys.topk import top_k


class Fixed(FactorModel):
    """Random factors; hyper-parameters of every plain kind."""

    def __init__(self, factors: int = 3, rate: float = 0.5, name: str | None = None, num_threads: int = 1) -> None:
        self.factors, self.rate, self.name, self.num_threads = factors, rate, name, num_threads

    def _fit(self, user_items, show_progress, callback):
        rng = np.random.default_rng(7)
        self.user_factors, self.item_factors = (
            rng.normal(size=(size, self.factors)).astype(np.float32) for size in user_items.shape
        )


@pytest.fixture
def clicks():
    return sp.csr_matrix(np.random.default_rng(3).random((9, 13)) < 0.3).astype(np.float64)


@pytest.fixture
def model(clicks):
    return Fixed(name="x").fit(clicks, show_progress=False)


floats = st.sampled_from([-np.inf, -3.5, -1.0, -1e-38, -0.0, 0.0, 1e-45, 1.0, 2.0, 3e38, np.inf])


@given(st.lists(st.lists(floats, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 6), st.data())
def test_top_k_is_a_stable_sort(rows, k, data):
    scores = np.array(rows, np.float32)
    masked = sp.csr_array(
        np.array(
            data.draw(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=len(rows), max_size=len(rows)))
        )
    )
    before = scores.copy()
    found, best = top_k(scores, k, masked)
    np.testing.assert_array_equal(scores, before)
    hidden = masked.toarray().astype(bool) | (scores == -np.inf)
    for row in range(len(rows)):
        left = [i for i in sorted(range(6), key=lambda i: (-scores[row, i], i)) if not hidden[row, i]][:k]
        assert found[row].tolist() == left + [-1] * (k - len(left))
        np.testing.assert_array_equal(best[row], np.append(scores[row, left], [-np.inf] * (k - len(left))))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(16, 700), st.sampled_from([3, 50, 10**6]))
def test_top_k_of_long_rows(seed, k, size, values):
    k = min(k, size)
    scores = np.random.default_rng(seed).integers(-values, values, (3, size)).astype(np.float32)
    scores[:, ::7] = -np.inf
    found, best = top_k(scores, k)
    for row in range(3):
        left = np.argsort(-scores[row], kind="stable")[:k]
        left = left[scores[row, left] > -np.inf]
        assert found[row].tolist() == left.tolist() + [-1] * (k - len(left))
        assert best[row, : len(left)].tolist() == scores[row, left].tolist()


def test_recommend_excludes_filtered_items(model, clicks):
    scores = model.scores(np.arange(9))
    ids, best = model.recommend(np.arange(9), clicks, N=13)
    for user in range(9):
        free = np.setdiff1d(np.arange(13), clicks[[user]].indices)
        expected = free[np.argsort(-scores[user, free], kind="stable")]
        assert ids[user].tolist() == expected.tolist() + [-1] * (13 - len(free))
        np.testing.assert_allclose(best[user, : len(free)], scores[user, expected])
        one, _ = model.recommend(user, clicks[[user]], N=13)
        assert one.tolist() == ids[user].tolist()
    some, _ = model.recommend([4, 2], clicks[[4, 2]], N=2, filter_items=[ids[4, 0], ids[2, 1]])
    assert ids[4, 0] not in some
    every, _ = model.recommend(3, N=3, filter_already_liked_items=False)
    assert every.tolist() == np.argsort(-scores[3])[:3].tolist()
    few, _ = model.recommend(3, N=10, filter_already_liked_items=False, items=[12, 5, 7])
    assert few.tolist() == sorted([12, 5, 7], key=lambda i: -scores[3, i])
    # Of given items those to exclude come last, by position.
    own = clicks[[3]].indices
    ranked, best = model.recommend(3, clicks[[3]], items=[*own, *few])
    free = [item for item in few.tolist() if item not in own]
    assert ranked.tolist() == free + sorted(own.tolist())
    assert (best[len(free) :] == np.finfo(np.float32).min).all()
    # One dimension.
    row = sp.csr_array(clicks)[3]
    assert model.recommend(3, row, N=2)[0].tolist() == ids[3, :2].tolist()
    assert model.recommend([], clicks[[]], N=2)[0].shape == (0, 2)
    assert ids.dtype == np.int32
    assert best.dtype == np.float32


def test_recommend_agrees_with_implicit(model, clicks):
    implicit = pytest.importorskip("implicit.cpu.matrix_factorization_base")

    class Theirs(implicit.MatrixFactorizationBase):
        fit = save = None

    theirs = Theirs(num_threads=1)
    theirs.user_factors, theirs.item_factors = model.user_factors, model.item_factors
    users = np.arange(9)
    for options in ({}, {"filter_items": [1, 2, 3]}, {"items": np.array([1, 4, 6, 8, 12])}):
        ids, best = model.recommend(users, clicks, N=3, **options)
        other, scores = theirs.recommend(users, clicks, N=3, **options)
        there = ids >= 0
        np.testing.assert_array_equal(ids[there], other[there])
        np.testing.assert_allclose(best[there], scores[there], rtol=1e-5)
    for name in ("similar_items", "similar_users"):
        ids, best = getattr(model, name)([0, 5], N=4)
        other, scores = getattr(theirs, name)(np.array([0, 5]), N=4)
        np.testing.assert_array_equal(ids, other)
        np.testing.assert_allclose(best, scores, rtol=1e-5)


def test_batches_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr("recsys.base.BATCH", 30)
    seen = [batches(lambda part: (part.start, part.stop), 10, 9, threads) for threads in (1, 3)]
    assert seen[0] == seen[1] == [(0, 3), (3, 6), (6, 9), (9, 10)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"userid": 9}, r"userid: expected positions from 0 to 8, got 1 others, the first 9"),
        ({"userid": [1, -1]}, r"userid: expected positions from 0 to 8"),
        ({"userid": "ann"}, r"userid: expected integer positions"),
        ({"userid": 0, "N": -1}, r"N: expected an integer of at least 0, got -1"),
        ({"userid": 0, "items": [1], "filter_items": [2]}, r"filter_items: expected None together with items"),
        ({"userid": 0, "items": [13]}, r"items: expected positions from 0 to 12"),
        ({"userid": 0, "filter_items": [-2]}, r"filter_items: expected positions from 0 to 12"),
        (
            {"userid": 0, "recalculate_user": True},
            r"recalculate_user: expected False, as Fixed scores the users of fit",
        ),
        ({"userid": [0, 1]}, r"user_items: expected 2 users, got 1"),
        ({"userid": 0, "user_items": None}, r"user_items: expected one row per user"),
        ({"userid": 0, "user_items": sp.csr_array((1, 12))}, r"user_items: expected 13 items, got 12"),
    ],
)
def test_invalid_arguments_of_recommend(model, clicks, arguments, message):
    with pytest.raises(InputError, match=message):
        model.recommend(**{"user_items": clicks[[0]]} | arguments)


def test_unsupported_methods_raise(clicks):
    with pytest.raises(InputError, match=r"Fixed: expected a fitted model"):
        Fixed().recommend(0, clicks[[0]])
    with pytest.raises(InputError, match=r"user_items: expected at least one interaction, got none, 3 users × 4 items"):
        Fixed().fit(sp.csr_array((3, 4)))
    broken = Fixed().fit(clicks)
    broken.user_factors[2] = np.nan
    with pytest.raises(InputError, match=r"Fixed: expected scores that are numbers, got NaN for 1 users, the first 2"):
        broken.recommend([0, 2], clicks[[0, 2]])


def test_similar_takes_filters_and_names_what_is_wrong(model):
    ids, best = model.similar_items(3, N=4)
    assert ids[0] == 3
    assert best[0] == pytest.approx(1)
    assert model.similar_items(3, N=3, filter_items=[3])[0].tolist() == ids[1:].tolist()
    assert set(model.similar_items(3, N=9, items=[1, 2])[0]) == {1, 2}
    with pytest.raises(InputError, match=r"itemid: expected positions from 0 to 12"):
        model.similar_items(13)
    with pytest.raises(InputError, match=r"filter_users: expected None together with users"):
        model.similar_users(1, users=[1], filter_users=[2])


def test_a_saved_model_comes_back_by_either_class(model, tmp_path):
    model.save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]
    for kind in (Fixed, Recommender):
        again = kind.load(tmp_path / "m")
        assert type(again) is Fixed
        assert (again.factors, again.rate, again.name, again.num_users, again.item_biases) == (3, 0.5, "x", 9, None)
        np.testing.assert_array_equal(again.scores(np.arange(9)), model.scores(np.arange(9)))


def test_files_that_are_damaged_are_named(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for size in rng.integers(0, len(whole), 20):
        path.write_bytes(whole[:size])
        with pytest.raises(RuntimeError, match=r"m\.npz: "):
            Fixed.load(path)
    # A flipped bit is found, or lies where nothing is read.
    for place in rng.integers(0, len(whole), 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            again = Fixed.load(path)
        except RuntimeError as error:
            assert "m.npz: " in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(again.item_factors, model.item_factors)

    class Other(Fixed):
        pass

    path.write_bytes(whole)
    with pytest.raises(RuntimeError, match=r"m\.npz: class of the model: expected one of Other, got 'Fixed'"):
        Other.load(path)
    with pytest.raises(RuntimeError, match=r"absent\.npz: No such file"):
        Fixed.load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"save: expected hyper-parameters that are numbers, text or None, got"):
        Fixed(name=object()).fit(sp.csr_array([[1]])).save(path)
    assert path.read_bytes() == whole


def test_files_whose_parts_do_not_fit_are_named(model, tmp_path):
    """Whole files, as another version of the package may have written them."""
    file, sizes = tmp_path / "odd.npz", {"num_users": model.num_users, "num_items": model.num_items}
    arrays = {name: getattr(model, name) for name in model._arrays}
    for changed, other, parts in (
        ({"unheard": 1}, {}, {}),
        ({}, {"num_items": 5}, {}),
        ({}, {"num_users": 99}, {}),
        ({}, {"num_items": "5"}, {}),
        ({}, {}, {"item_factors": None}),
        ({}, {}, {"item_factors": model.item_factors[:, :2]}),
    ):
        write_model(file, "Fixed", model._parameters() | changed, sizes | other, arrays | parts)
        with pytest.raises(DataError, match=r"odd\.npz: "):
            Fixed.load(file)


def test_a_callback_must_be_a_function(clicks):
    with pytest.raises(InputError, match="callback: expected a function or None, got 5"):
        Fixed().fit(clicks, False, 5)


def test_results_larger_than_memory_raise(model, clicks, monkeypatch):
    with pytest.raises(InputError, match=r"2 users × 1000000000000 items: expected .* got 14901\.2 GiB"):
        Fixed().fit(sp.coo_array(([1.0], ([0], [5])), shape=(2, 10**12)), False)
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 2**24)
    many = np.zeros(10**6, int)
    for ask in (
        lambda: model.recommend(many, N=3, filter_already_liked_items=False),
        lambda: model.similar_items(many, N=3),
    ):
        with pytest.raises(InputError, match=r"answers of 1000000 × 3: expected to need at most 0\.0 GiB .* got 0\.0"):
            ask()


def test_files_of_other_packages_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", user_factors=np.ones((2, 2)), item_factors=np.ones((3, 2)))
    with pytest.raises(DataError, match="expected a model saved by recsys, got a file with item_factors, user_factors"):
        Recommender.load(tmp_path / "other.npz")
