"""Data that the tests of torch models share, and checks of the conventions that all of them keep."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys import Recommender
from recsys.evaluation import evaluate


def clicks(users=90, items=70, rank=4, seed=0, each=12):
    """Each user takes `each` of the items that suit best, with some chance."""
    rng = np.random.default_rng(seed)
    liking = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) + 0.7 * rng.gumbel(size=(users, items))
    best = np.argsort(-liking, axis=1)[:, :each]
    X = np.zeros((users, items), np.float32)
    np.put_along_axis(X, best, 1, axis=1)
    held = rng.random(X.shape) < 0.25
    return sp.csr_array(X * ~held), sp.csr_array(X * held)


TRAIN, HELD = clicks()


def ndcg(model, held=HELD):
    return evaluate(model, TRAIN, held, ["ndcg@10"], num_threads=1)["ndcg@10"]


def same(a, b):
    pairs = [(getattr(a, name), getattr(b, name)) for name in a._arrays]
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def ctrl_c_keeps_the_last_whole_epoch(make, monkeypatch):
    from recsys.models import torch_steps

    whole, stopped = make(iterations=2).fit(TRAIN, False), make(iterations=9)
    update, steps = torch_steps.Training._update, []

    def broken(self, users, items):
        steps.append(1)
        if stopped.epochs == 2:
            update(self, users, items)  # what an interrupted epoch has changed does not count
            raise KeyboardInterrupt
        return update(self, users, items)

    monkeypatch.setattr(torch_steps.Training, "_update", broken)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(TRAIN, False)
    assert stopped.epochs == 2
    assert same(whole, stopped)
    assert stopped.recommend(0, TRAIN[[0]], N=5)[0].shape == (5,)


def validation_chooses_the_epoch(make):
    seen = []
    learned = make(iterations=80, patience=4, metric="ndcg@10")
    learned.fit(TRAIN, False, lambda epoch, *_: seen.append(learned.user_factors.copy()), validation=HELD)
    assert learned.epochs == len(learned.history) == learned.best_epoch + 5 < 80
    assert learned.history[learned.best_epoch] == max(learned.history)
    np.testing.assert_array_equal(learned.user_factors, seen[learned.best_epoch])
    assert ndcg(learned) == max(learned.history)


def a_file_brings_the_model_back(model, path):
    model.save(path / "m")
    for kind in (type(model), Recommender):
        again = kind.load(path / "m")
        assert same(model, again)
        assert again._parameters() == model._parameters()
        np.testing.assert_array_equal(again.scores(np.arange(9)), model.scores(np.arange(9)))
    return again
