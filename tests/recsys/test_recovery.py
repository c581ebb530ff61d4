"""Objectives under simulated noise, hidden likes and false clicks, on low-rank data with known truth."""

import numpy as np
import pytest

from recsys import MatrixFactorization, evaluate
from recsys.objectives import NBPOEM, DeCA, ReweightedCE, TruncatedCE
from recsys.simulation import corrupt, low_rank
from recsys.splits import ratio

SEEDS = (0, 1, 2, 3)
RATES = (0.1, 0.2, 0.3)


def ndcg(objective, train, held, seed):
    settings = {"learning_rate": 0.02, "regularization": 0.02, "iterations": 25, "num_negatives": 4}
    model = MatrixFactorization(
        16, objective, random_state=seed, num_threads=1, batch_size=512, optimizer="adam", **settings
    )
    model.fit(train, show_progress=False)
    return evaluate(model, train, held, metrics=("ndcg@20",), num_threads=1).means["ndcg@20"]


@pytest.fixture(scope="module")
def worlds():
    return [low_rank(300, 160, rank=6, density=0.12, seed=seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def kept(worlds):
    """For an objective, NDCG@20 of clean test likes: trained with a rate of clicks by mistake, as a share of clicks."""
    found = {}

    def measured(objective, rate):
        if (key := (repr(objective), rate)) not in found:
            values = []
            for seed, world in enumerate(worlds):
                parts = ratio(world.interactions, validation=0.0, test=0.2, seed=seed)
                noisy = corrupt(parts.train, false_positive=rate, exclude=parts.test, seed=seed)
                values.append(ndcg(objective, noisy.interactions, parts.test, seed))
            found[key] = np.mean(values)
        return found[key]

    return measured


def test_the_em_form_with_the_true_rate_finds_more_hidden_likes(worlds):
    found = {"bpo": [], "nbpo-em": []}
    for seed, world in zip(SEEDS, worlds, strict=True):
        noisy = corrupt(world.interactions, false_negative=0.5, seed=seed)
        for name, objective in (("bpo", "bpo"), ("nbpo-em", NBPOEM(0.5))):
            found[name].append(ndcg(objective, noisy.interactions, noisy.hidden, seed))
    assert np.mean(found["nbpo-em"]) > 1.05 * np.mean(found["bpo"])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["t-ce", "r-ce", "deca"])
def test_denoising_objectives_lose_less_to_clicks_by_mistake(name, rate, kept):
    """DeCA with its published constants loses nothing at all, from a far lower start: its figure is no advice."""
    made = {"t-ce": TruncatedCE(rate / (1 + rate), ramp=300), "r-ce": ReweightedCE(1.0), "deca": DeCA()}[name]
    plain = kept("bpo", rate) / kept("bpo", 0.0)
    # Mistakes cost plain cross-entropy something.
    assert plain < 0.94
    assert kept(made, rate) / kept(made, 0.0) > plain + 0.01


@pytest.mark.parametrize("rate", RATES)
def test_learned_flips_of_nbpo_do_not_help_against_clicks_by_mistake(kept, rate):
    """NBPO models hidden likes alone: it loses less, but from a lower start, and ends no higher than the plain loss."""
    assert kept("nbpo", 0.0) < kept("bpo", 0.0)
    assert kept("nbpo", rate) < 1.05 * kept("bpo", rate)


def test_truncation_drops_more_mistakes_than_chance(worlds):
    world = worlds[0]
    noisy = corrupt(world.interactions, false_positive=0.3, seed=0)
    model = MatrixFactorization(16, "bpo", random_state=0, num_threads=1, optimizer="adam", iterations=10)
    model.fit(noisy.interactions, show_progress=False)
    matrix = noisy.interactions.matrix
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    scores = model.scores(np.arange(matrix.shape[0]))[users, matrix.indices]
    dropped = TruncatedCE(0.2, ramp=1).dropped(scores, np.ones(len(scores), bool), 5, 1)
    assert dropped.sum() == len(scores) - int(0.8 * len(scores))
    assert noisy.false_positive[dropped].mean() > 1.3 * noisy.false_positive.mean()
