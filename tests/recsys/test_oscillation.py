"""Changes of ranks, and clicks on nearby items in place of others."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator

import recsys
from recsys import InputError, Interactions, ItemKNN
from recsys.base import Recommender

BLOCKS = np.kron(np.eye(3), np.ones((20, 8)))
DENSE = np.random.default_rng(0).random(BLOCKS.shape) < 0.7 * BLOCKS
CLICKS = Interactions.from_csr(sp.csr_array(DENSE.astype(float)))


class Ranked(Recommender, BaseEstimator):
    """A model with given scores."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def _fit(self, user_items, show_progress, callback):
        pass

    def scores(self, userids):
        return self.values[userids].astype(np.float32)


def fixed(scores):
    matrix = np.asarray(scores, dtype=np.float32)
    return Ranked(matrix).fit(sp.csr_array(np.ones(matrix.shape, np.float32)), show_progress=False)


def test_changes_of_ranks_are_in_octaves():
    clicks = sp.csr_array(np.array([[1.0, 0, 0, 1], [0, 1, 0, 0]]))
    models = [
        fixed([[4, 3, 2, 1], [1, 2, 3, 4]]),
        fixed([[1, 2, 3, 4], [1, 2, 3, 4]]),
        fixed([[4, 3, 2, 1], [4, 4, 1, 1]]),
    ]
    # Item 0 of user 0 goes from rank 1 to 4 and back; that of user 1 from 3 to 3, then to a tie at 1.5.
    expected = [2.0, 2.0, np.log2(3 / 1.5) / 2]
    np.testing.assert_allclose(recsys.rank_changes(models, clicks), expected)


def test_partners_are_the_best_of_the_nearest_that_are_free():
    noisy = DENSE.copy()
    noisy[0, 20] = True
    clicks = Interactions.from_csr(sp.csr_array(noisy.astype(float)))
    model = ItemKNN(50).fit(clicks, show_progress=False)
    wrong = (clicks.rows == 0) & (clicks.matrix.indices == 20)
    cleaned = recsys.replace_partners(model, clicks, ~wrong, num_neighbours=6)
    near = [i for i in model.similar_items(20, 7)[0].tolist() if i >= 0 and not noisy[0, i]]
    scores = model.scores(np.array([0]))[0]
    best = max(near, key=lambda i: scores[i])
    expected = noisy.copy()
    expected[0, 20], expected[0, best] = False, True
    np.testing.assert_array_equal(cleaned.matrix.toarray() > 0, expected)


def test_nothing_changes_where_all_are_credible_and_a_click_without_partner_goes():
    model = ItemKNN(50).fit(CLICKS, show_progress=False)
    same = recsys.replace_partners(model, CLICKS, np.ones(len(CLICKS)))
    np.testing.assert_array_equal(same.matrix.toarray(), DENSE)
    full = sp.csr_array(np.ones((3, 4), np.float32))
    everything = ItemKNN(3).fit(full, show_progress=False)
    assert len(recsys.replace_partners(everything, full, np.arange(12) != 5)) == 11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recsys.rank_changes([ItemKNN()], CLICKS), "models: expected at least two fitted models"),
        (lambda: recsys.rank_changes([ItemKNN(), ItemKNN()], CLICKS), "model: expected a fitted model"),
        (lambda: recsys.rank_changes([fixed([[1.0]])] * 2, CLICKS), "interactions: expected clicks of 1 users and 1"),
        (lambda: recsys.replace_partners(3, CLICKS, [1.0]), "model: expected a fitted model"),
        (lambda: recsys.replace_partners(fixed(DENSE), CLICKS, [1.0]), "credibility: expected .* numbers in"),
        (lambda: recsys.replace_partners(fixed(DENSE), CLICKS, 2 * np.ones(len(CLICKS))), "credibility: expected"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
