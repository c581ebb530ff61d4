"""Explicit dislikes: negative values and low ratings are known negatives, never positives and never recommended."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recsys import (
    InputError,
    Interactions,
    ItemKNN,
    LightGCN,
    MatrixFactorization,
    Popularity,
    Recommender,
    evaluate,
    simulation,
    splits,
)
from recsys.datasets import read_table
from recsys.objectives import DislikeBPR, DoublyRobust
from recsys.samplers import Uniform

RNG = np.random.default_rng(0)
SIGNED = RNG.choice([0, 0, 1, 2, -1], (20, 12))
CLICKS = Interactions.from_csr(sp.csr_array(SIGNED))


@given(st.integers(0, 2**32), st.sampled_from(["csr", "coo", "csc", "lil"]))
def test_negative_values_are_dislikes_in_every_form(seed, kind):
    dense = np.random.default_rng(seed).integers(-2, 4, (6, 5))
    users, items = dense.nonzero()
    triples = Interactions.from_triples(users, items, dense[users, items], num_users=6, num_items=5)
    for clicks in (Interactions.from_csr(sp.csr_array(dense).asformat(kind)), triples):
        np.testing.assert_array_equal(clicks.matrix.toarray(), dense > 0)
        dislikes = np.zeros((6, 5)) if clicks.dislikes is None else clicks.dislikes.toarray()
        np.testing.assert_array_equal(dislikes, dense < 0)
        np.testing.assert_array_equal(clicks.weighted().toarray(), np.maximum(dense, 0))


def test_low_ratings_become_dislikes_beside_those_that_are_known(tmp_path):
    stars = Interactions.from_triples([0] * 5, [0, 1, 2, 3, 4], ratings=[5, 4, 3, 1, -1], times=[1, 2, 3, 4, 5])
    assert repr(stars) == "Interactions(1 users × 5 items, 4 interactions, with ratings, times and dislikes)"
    likes = stars.at_least(4, dislikes_below=3)
    assert likes.matrix.toarray().tolist() == [[1, 1, 0, 0, 0]]
    assert likes.dislikes.toarray().tolist() == [[0, 0, 0, 1, 1]]
    assert (likes.ratings.tolist(), likes.times.tolist()) == ([5, 4], [1, 2])
    assert stars.at_least(4).dislikes.toarray().tolist() == [[0, 0, 0, 0, 1]]
    assert stars.at_least(1, dislikes_below=0).dislikes.nnz == 1
    with pytest.raises(InputError, match=r"dislikes_below: expected a number .*4"):
        stars.at_least(4, dislikes_below=4.5)
    (tmp_path / "votes.csv").write_text("u,i,vote\nann,7,1\nann,8,-1\n")
    assert len(read_table(tmp_path / "votes.csv", "u", "i", "vote")) == 1


def test_dislikes_that_do_not_fit():
    both = sp.csr_array([[1, 0], [1, 1]])
    with pytest.raises(
        InputError, match="dislikes: expected no pair of likes, got 1 of them, the first user 1, item 0"
    ):
        Interactions(both, dislikes=sp.csr_array([[0, 1], [1, 0]]))
    with pytest.raises(InputError, match="dislikes: expected 2 users, got 1"):
        Interactions(both, dislikes=sp.csr_array([[0, 1]]))
    with pytest.raises(InputError, match=r"users, items: .* once .*got 1 repeated"):
        Interactions.from_triples([0, 0], [1, 1], ratings=[1, -1])
    last = Interactions.from_triples([0, 0], [1, 1], ratings=[1, -1], duplicates="last")
    assert (len(last), last.dislikes.nnz) == (0, 1)
    with pytest.raises(InputError, match=r"got -1 for user 0, .*; dislikes: Interactions\.from_csr\(matrix\)"):
        Popularity().fit(sp.csr_array([[1, -1]]))
    # Stored zeros are none.
    assert Interactions(both, dislikes=sp.csr_array((2, 2))).dislikes is None


def test_parts_and_cores_keep_them():
    dense = CLICKS.dislikes.toarray()
    for part in splits.ratio(CLICKS, 0.2, 0.2):
        np.testing.assert_array_equal(part.dislikes.toarray(), dense)
    core = CLICKS.core(4)
    np.testing.assert_array_equal(core.dislikes.toarray(), dense[core.users][:, core.items])
    noisy = simulation.corrupt(CLICKS, 0.9, seed=3).interactions
    assert not noisy.matrix.multiply(CLICKS.dislikes).nnz
    np.testing.assert_array_equal(noisy.dislikes.toarray(), dense)
    with pytest.raises(InputError, match="dislikes"):
        Interactions(noisy.matrix, dislikes=noisy.matrix)


def test_no_model_recommends_them_and_its_file_knows_them(tmp_path):
    model = ItemKNN().fit(CLICKS)
    model.save(tmp_path / "m")
    again = Recommender.load(tmp_path / "m")
    for fitted in (model, again):
        ids, _ = fitted.recommend(np.arange(20), N=12)
        for user in range(20):
            assert set(ids[user]) - {-1} == set(np.flatnonzero(SIGNED[user] == 0))
    # Those that are given later, of new users too.
    row = Interactions.from_csr(sp.csr_array([[1, -1, 0, *[0] * 9]]))
    ids, _ = model.recommend(99, row, N=12, recalculate_user=True)
    assert 1 not in ids
    model.partial_fit_users([20], row)
    assert 1 not in model.recommend(20, N=12)[0]
    factors = MatrixFactorization(2, iterations=1, num_threads=1).fit(CLICKS.matrix, False)
    new = factors.partial_fit(row)
    assert 1 not in factors.recommend(new, row.matrix, N=12)[0]
    assert factors.dislikes.toarray().tolist() == [*np.zeros((20, 12)).tolist(), [0, 1, *[0] * 10]]


def test_evaluation_excludes_them():
    model = Popularity().fit(train := Interactions.from_csr(sp.csr_array([[1, -1, 0, 0], [0, 1, 1, 0]])))
    test = sp.csr_array([[0, 0, 1, 0], [0, 0, 0, 0]])
    assert evaluate(model, train, test, ["mrr@4"])["mrr@4"] == 1
    assert evaluate(model, train.matrix, test, ["mrr@4"])["mrr@4"] == 0.5
    assert evaluate(model, train, test, ["mrr@4"], mask="none")["mrr@4"] == 1 / 3
    with pytest.raises(InputError, match="test: expected no pair of dislikes of train, got 1"):
        evaluate(model, train, sp.csr_array([[0, 1, 0, 0], [0, 0, 0, 0]]))


def test_a_share_of_the_negatives_is_disliked():
    sampler = Uniform(dislike_share=0.6).fit(CLICKS)
    disliked = np.diff(CLICKS.dislikes.indptr) > 0
    users = np.repeat(np.flatnonzero(disliked), 2000)
    drawn = sampler.sample(users, 3, 1)
    np.testing.assert_array_equal(drawn, sampler.sample(users, 3, 1))
    dense = SIGNED < 0
    share = dense[users[:, None], drawn].reshape(-1, 6000).mean(1)
    uniform = (dense.sum(1) / (SIGNED <= 0).sum(1))[disliked]
    # Four standard errors of 6,000 draws.
    assert np.abs(share - (0.6 + 0.4 * uniform)).max() < 4 * 0.5 / np.sqrt(6000)
    assert not (SIGNED > 0)[users[:, None], drawn].any()
    # Each dislike of a user is as likely.
    counts = np.bincount(drawn[users == users[0]].ravel(), minlength=12)[dense[users[0]]]
    assert counts.max() - counts.min() < 6 * np.sqrt(counts.max())
    with pytest.raises(
        InputError, match="user_items: expected Interactions with dislikes, as dislike_share is above 0"
    ):
        Uniform(dislike_share=0.5).fit(CLICKS.matrix)
    with pytest.raises(InputError, match="sampler: expected dislike_share=0 in the mode 'deterministic'"):
        MatrixFactorization(2, sampler={"name": "uniform", "dislike_share": 0.5}, mode="deterministic")


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        (MatrixFactorization, DislikeBPR(20.0)),
        (MatrixFactorization, DoublyRobust()),
        (LightGCN, DoublyRobust()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_objectives_learn_from_them(kind, objective):
    """Two groups with items of their own; of the other's items, half of the first group are known to dislike two."""
    rng = np.random.default_rng(1)
    dense = np.kron(np.eye(2), (rng.random((30, 8)) < 0.6).astype(float))
    dense[:30, 8:10] = np.where(rng.random((30, 2)) < 0.5, -1.0, 0.0)
    clicks = Interactions.from_csr(sp.csr_array(dense))
    how = {"iterations": 60, "random_state": 1, "learning_rate": 0.05, "num_negatives": 2}
    unknown = dense[:30, 8:] == 0
    disliked = np.broadcast_to(np.arange(8) < 2, (30, 8))[unknown]
    # What is not known: the other half's dislikes against the other items of the other group.
    auc = [
        roc_auc_score(disliked, -model.fit(clicks, False).scores(np.arange(30))[:, 8:][unknown])
        for model in (kind(4, objective=one, **how) for one in ("bpr", objective))
    ]
    assert auc[0] < 0.5
    assert auc[1] > 0.75
    with pytest.raises(InputError, match=f"expected Interactions with dislikes, .* '{objective.name}' needs"):
        kind(4, objective=objective, iterations=1).fit(clicks.matrix, False)


@pytest.mark.parametrize(
    "kind",
    [
        lambda sampler: MatrixFactorization(4, sampler=sampler, mode="minibatch", iterations=60, random_state=1),
        lambda sampler: LightGCN(4, sampler=sampler, iterations=60, learning_rate=0.05),
    ],
    ids=["MatrixFactorization", "LightGCN"],
)
def test_models_learn_from_them(kind):
    """Two groups of users who like all of four items but for two that each of them dislikes."""
    dense = np.kron(np.eye(2), np.ones((10, 8)))
    dense[:, [7, 15]] *= -1
    clicks = Interactions.from_csr(sp.csr_array(dense))
    plain, with_dislikes = (
        kind({"name": "uniform", "dislike_share": share}).fit(clicks, False).scores(np.arange(20))
        for share in (0.0, 0.7)
    )
    low = [(scores[dense < 0].mean() - scores[dense == 0].mean()) / scores.std() for scores in (plain, with_dislikes)]
    assert low[1] < low[0]
