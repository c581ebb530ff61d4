"""NBPO on its authors' own data, in their setting. Needs the user's copy of the data."""

import numpy as np
import pytest

from recsys import MatrixFactorization, evaluate


@pytest.fixture
def amazon(feedback):
    return feedback("amazon-nbpo")


def test_the_released_setting_gives_the_released_result(amazon):
    """Three negatives, validation: the authors' maximum over epochs of NDCG@20 is .0775; flip rates all become 1/2."""
    model = MatrixFactorization.from_preset("nbpo", num_negatives=3, num_threads=1)
    seen = []

    def look(epoch, *rest):
        # The maximum is flat.
        if epoch >= 110 and epoch % 10 == 0:
            found = evaluate(model, amazon.train, amazon.validation, ["ndcg@20"], num_threads=1)
            seen.append(found["ndcg@20"])

    model.fit(amazon.train, False, look)
    assert max(seen) == pytest.approx(0.0775, abs=0.0015)
    flips = 1 / (1 + np.exp(-model.logits("flip", np.arange(model.num_users))))
    assert flips.mean() == pytest.approx(0.5, abs=1e-3)


def test_a_constant_rate_of_one_half_is_the_released_nbpo(amazon):
    """What is learned is a constant: without P and Q the scores are nearly the same, from the same draws."""
    learned, constant = (
        MatrixFactorization.from_preset("nbpo", num_negatives=3, num_threads=1, iterations=40, **changes).fit(
            amazon.train, False
        )
        for changes in ({}, {"objective": {"name": "nbpo", "flip_rate": 0.5}})
    )
    scores = [model.scores(np.arange(model.num_users)).ravel() for model in (learned, constant)]
    assert np.corrcoef(*scores)[0, 1] > 0.95
