"""Metrics by hand and against other libraries; masks; ties; invalid input."""

import multiprocessing
import os
import threading
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score
from threadpoolctl import threadpool_info, threadpool_limits

from graphnoise.resources import one_blas_thread
from recsys import InputError
from recsys.evaluation import evaluate, evaluate_checked
from recsys.metrics import CATALOGUE, PER_USER, parse
from recsys.models.baselines import Popularity


class Table:
    """A model that is a table of scores."""

    def __init__(self, table):
        self.table = np.asarray(table, np.float32)

    def scores(self, userids):
        return self.table[userids]


def matrix(*rows, items=6):
    dense = np.zeros((len(rows), items))
    for row, cells in enumerate(rows):
        dense[row, list(cells)] = 1
    return sp.csr_array(dense)


TRAIN, TEST = matrix([0], [], [4], [1]), matrix([1, 3], [5], [0, 1, 2, 3], [])
MODEL = Table(np.tile(np.arange(6, 0, -1), (4, 1)))
# Three users with held-out items: hits 1 0 1, 0 0 0, 1 1 1 of 2, 1, 4.
BY_HAND = {
    "precision@3": [2 / 3, 0, 1],
    "capped_precision@3": [1, 0, 1],
    "recall@3": [1, 0, 3 / 4],
    "f1@3": [4 / 5, 0, 6 / 7],
    "ndcg@3": [1.5 / (1 + 1 / np.log2(3)), 0, 1],
    "map@3": [5 / 6, 0, 1],
    "mrr@3": [1, 0, 1],
    "hit@3": [1, 0, 1],
}


def test_three_users_by_hand():
    result = evaluate(MODEL, TRAIN, TEST, [*BY_HAND, "coverage@3", "gini@3"], num_threads=1)
    assert {name.split("@")[0] for name in BY_HAND} == set(PER_USER)
    for name, expected in BY_HAND.items():
        np.testing.assert_allclose(result.values[name], expected, rtol=1e-12, err_msg=name)
        assert result[name] == pytest.approx(np.mean(expected))
    # Items 1 2 3, 0 1 2, 0 1 2.
    assert result["coverage@3"] == pytest.approx(4 / 6)
    assert result["gini@3"] == pytest.approx(25 / 54)
    assert (result.users.tolist(), result.skipped, result.mask) == ([0, 1, 2], 1, "train")
    assert str(result).endswith("(3 users, masked: train)")


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_measures_agree_with_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    truth, table = rng.random((5, 12)) < 0.4, rng.permutation(60).reshape(5, 12)
    truth[:, 0] |= ~truth.any(1)
    nothing = sp.csr_array((5, 12))
    result = evaluate(Table(table), nothing, sp.csr_array(truth.astype(float)), [f"ndcg@{k}", "map@12"], num_threads=1)
    assert result[f"ndcg@{k}"] == pytest.approx(ndcg_score(truth, table, k=k))
    average = [average_precision_score(truth[u], table[u]) for u in range(5)]
    np.testing.assert_allclose(result.values["map@12"], average)


def test_implicit_agrees_where_its_measures_mean_the_same():
    pytest.importorskip("implicit")
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
    from implicit.evaluation import ranking_metrics_at_k

    class Theirs(MatrixFactorizationBase):
        fit = save = None

    rng = np.random.default_rng(5)
    model = Theirs(num_threads=1)
    model.user_factors, model.item_factors = (rng.normal(size=(n, 4)).astype(np.float32) for n in (200, 70))
    cells = rng.random((200, 70))
    train, test = (sp.csr_matrix(part.astype(float)) for part in (cells < 0.1, (cells > 0.1) & (cells < 0.2)))
    for k in (1, 5, 20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            theirs = ranking_metrics_at_k(model, train, test, K=k, show_progress=False, num_threads=1)
        names = [f"{name}@{k}" for name in ("ndcg", "map", "capped_precision", "precision")]
        ours = evaluate(model, train, test, names)
        assert ours[f"ndcg@{k}"] == pytest.approx(theirs["ndcg"], rel=1e-6)
        assert ours[f"map@{k}"] == pytest.approx(theirs["map"], rel=1e-6)
        weights = np.minimum(np.diff(test.indptr)[ours.users], k)
        capped = np.average(ours.values[f"capped_precision@{k}"], weights=weights)
        assert capped == pytest.approx(theirs["precision"], rel=1e-6)
        assert k == 1 or ours[f"precision@{k}"] < theirs["precision"]


def test_masks():
    train, validation, test = matrix([0]), matrix([1]), matrix([3])
    model = Table([[6, 5, 4, 3, 2, 1]])
    ranks = {}
    for mask in ("none", "train", "train+validation"):
        result = evaluate(model, train, test, ["mrr@6"], validation=validation, mask=mask)
        ranks[mask] = result["mrr@6"]
        assert result.mask == mask
    assert ranks == {
        "none": pytest.approx(1 / 4),
        "train": pytest.approx(1 / 3),
        "train+validation": pytest.approx(1 / 2),
    }
    assert evaluate(model, train, train, ["mrr@6"], mask="none")["mrr@6"] == 1


def test_ties_go_to_the_lower_item_and_short_lists_do_not_crash():
    flat = Table(np.zeros((1, 6)))
    assert evaluate(flat, matrix([0]), matrix([2]), ["mrr@6"])["mrr@6"] == 1 / 2
    full = evaluate(flat, matrix([0, 1, 2, 3, 4]), matrix([5]), ["precision@3", "coverage@3"])
    assert full.means == {"precision@3": pytest.approx(1 / 3), "coverage@3": pytest.approx(1 / 6)}


def test_ranks_above_the_number_of_items_are_empty():
    """Six items: ranks 7 to 20 count in a precision and have no gain."""
    found = evaluate(MODEL, TRAIN, TEST, ["precision@20", "recall@20", "ndcg@20", "coverage@20", "ndcg@6"])
    assert found["precision@20"] == pytest.approx((2 + 1 + 4) / 20 / 3)
    assert (found["recall@20"], found["coverage@20"], found["ndcg@20"]) == (1, 1, found["ndcg@6"])
    assert found.shown[20].tolist() == [2, 3, 3, 3, 2, 3]


def test_an_item_that_is_absent_is_no_hit_of_the_user_before():
    """The last item of user 0 is held out, and user 1 has no more items: -1 of row 1 is 5 of row 0."""
    train, test = matrix([], [0, 1, 2, 3, 4]), matrix([5], [5])
    found = evaluate(Table(np.zeros((2, 6))), train, test, ["precision@3", "mrr@3"])
    assert found.values["precision@3"].tolist() == [0, 1 / 3]
    assert found.values["mrr@3"].tolist() == [0, 1]


def test_threads_and_batches_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    dense = rng.random((50, 30))
    train, test = (sp.csr_array(part.astype(float)) for part in (dense < 0.2, dense > 0.9))
    model = Table(rng.normal(size=(50, 30)))
    whole = evaluate(model, train, test, ["ndcg@10", "gini@10"], num_threads=1)
    monkeypatch.setattr("recsys.evaluation.BATCH", 64)
    for threads in (1, 3):
        again = evaluate(model, train, test, ["ndcg@10", "gini@10"], num_threads=threads)
        assert again.means == whole.means
        np.testing.assert_array_equal(again.values["ndcg@10"], whole.values["ndcg@10"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": []}, r"metrics: expected at least one name"),
        ({"metrics": ["ndcg"]}, r"metrics: expected names such as \"ndcg@20\", got 'ndcg'"),
        ({"metrics": ["ndgc@3"]}, r"metrics: expected one of .*, got 'ndgc' \(did you mean 'ndcg'\?\)"),
        ({"metrics": ["ndcg@0"]}, r"metrics: expected k of at least 1, got ndcg@0"),
        ({"mask": "test"}, r"mask: expected one of none, train, train\+validation, got 'test'"),
        ({"mask": "train+validation"}, r"validation: expected interactions, which the mask .* needs, got None"),
        (
            {"test": matrix([0], [], [], [])},
            r"test: expected no pair of train, got 1 of them, the first user 0, item 0",
        ),
        ({"validation": matrix([0], [], [], [])}, r"validation: expected no pair of train, got 1 of them"),
        (
            {"validation": matrix([1], [], [], []), "mask": "train+validation"},
            r"test: expected no pair of train\+validation, got 1 of them, the first user 0, item 1",
        ),
        ({"test": matrix([], [], [], [])}, r"test: expected at least one interaction, got none"),
        ({"test": matrix([1])}, r"test: expected 4 users, got 1"),
        ({"test": matrix([1], [], [], [], items=5)}, r"test: expected 6 items, got 5"),
        ({"model": Table(np.full((4, 6), np.nan))}, r"model: expected scores that are numbers, got NaN for 3 users"),
        ({"model": Table(np.zeros((4, 5)))}, r"model: expected scores of shape \(3, 6\), got \(3, 5\)"),
        ({"model": Popularity}, "model: expected a fitted model, got the class Popularity"),
        ({"model": object()}, r"model: expected something fitted with scores\(userids\)"),
        ({"executor": 3}, "executor: expected an executor of concurrent.futures, or None, got int"),
        ({"num_threads": -1}, r"num_threads: expected an integer from 0 to 1024, got -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        evaluate(**{"model": MODEL, "train": TRAIN, "test": TEST, "metrics": ["ndcg@3"]} | change)


def test_unfitted_models_are_refused():
    with pytest.raises(InputError, match=r"Popularity: expected a fitted model"):
        evaluate(Popularity(), TRAIN, TEST, ["ndcg@3"])
    with pytest.raises(InputError, match=r"model: expected one fitted to 4 users × 6 items, got 1 × 6"):
        evaluate(Popularity().fit(matrix([1])), TRAIN, TEST, ["ndcg@3"])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts):
    shown = np.array(counts)
    brute = np.abs(shown[:, None] - shown[None]).mean() / (2 * shown.mean())
    assert CATALOGUE["gini"](shown) == pytest.approx(brute)


def test_one_metric_may_be_a_text():
    assert parse("ndcg@20") == parse(["ndcg@20"]) == {"ndcg@20": ("ndcg", 20)}
    with pytest.raises(InputError, match="metrics: expected "):
        parse([20])


def test_gini_of_items_that_are_never_shown_is_zero():
    assert CATALOGUE["gini"](np.zeros(3, int)) == 0


def test_more_ranks_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 2**30)
    wide = sp.csr_array(([1.0], ([0], [0])), shape=(1, 10**12))
    with pytest.raises(InputError, match=r"999999999 ranks of 1 users: expected to need at most 0\.9 .* got 22\.4 GiB"):
        evaluate(Table([[0.0]]), sp.csr_array(wide.shape), wide, ["ndcg@999999999"])


def test_metrics_must_be_names():
    with pytest.raises(InputError, match=r"metrics: expected names such as .* got 5"):
        evaluate(Table([[0.0]]), matrix([]), matrix([1]), 5)


class Hashed:
    """Scores that depend on user and item alone."""

    def scores(self, userids):
        return (np.sin(userids[:, None] * 12.9898 + np.arange(90) * 78.233) * 43758.5453 % 1).astype(np.float32)


class Lost(Hashed):
    def scores(self, userids):
        os._exit(1)


def parts(users, items=90):
    rng = np.random.default_rng(0)
    drawn = rng.random((users, items))
    return sp.csr_array((drawn < 0.1).astype(float)), sp.csr_array((drawn > 0.95).astype(float))


def test_no_bit_depends_on_the_executor(monkeypatch):
    monkeypatch.setattr("recsys.evaluation.BATCH", 900)
    monkeypatch.setattr("recsys.evaluation.BLOCK", 30)
    monkeypatch.setattr("recsys.evaluation.WAITING", 2)
    metrics = ["ndcg@10", "recall@5", "gini@10", "coverage@3"]
    whole = evaluate(Hashed(), *parts(200), metrics, num_threads=1)
    processes = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    for executor in (ThreadPoolExecutor(1), ThreadPoolExecutor(3), processes):
        again = evaluate(Hashed(), *parts(200), metrics, executor=executor)
        assert again.means == whole.means
        assert all(np.array_equal(again.values[name], whole.values[name]) for name in whole.values)
        assert np.array_equal(again.shown[10], whole.shown[10])
    refused = "executor: expected one whose workers evaluate the model, got "

    class Local(Hashed):
        pass

    locked = Hashed()
    locked.lock = threading.Lock()
    for model, got in ((locked, "TypeError: cannot pickle"), (Local(), "AttributeError"), (Lost(), "Broken")):
        with pytest.raises(InputError, match=refused + got):
            evaluate(model, *parts(20), executor=processes)
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    with pytest.raises(InputError, match=refused + "RuntimeError: cannot schedule"):
        evaluate(locked, *parts(20), executor=ended)


def test_threads_leave_the_threads_of_blas_as_they_were():
    def limits():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    first, second = one_blas_thread(), one_blas_thread()
    with threadpool_limits(2, "blas"):
        # Blocks of two threads, of which the first ends first.
        for block in (first, second):
            block.__enter__()
        first.__exit__(None, None, None)
        assert limits() == {1}
        second.__exit__(None, None, None)
        assert limits() == {2}


def test_memory_does_not_grow_with_users_times_items(monkeypatch):
    monkeypatch.setattr("recsys.evaluation.BATCH", 9_000)
    peaks = []
    for users in (1_000, 4_000):
        train, test = parts(users)
        tracemalloc.start()
        evaluate_checked(Hashed(), train, test, parse(["ndcg@50", "gini@50"]), num_threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Ranks alone would add 200 bytes for each user.
    assert peaks[1] - peaks[0] < 3_000 * 100
