"""What objectives do about planted noise, hidden likes and clicks by mistake, on low-rank worlds with a known truth."""

import numpy as np
import pytest

from recsys import MatrixFactorization, evaluate
from recsys.objectives import NBPOEM, DeCA, ReweightedCE, TruncatedCE
from recsys.planted import corrupt, low_rank
from recsys.splits import ratio

SEEDS = (0, 1)


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
    """For an objective, NDCG@20 of clean test likes: trained on clean clicks, and with 30 % more clicks by mistake."""

    def measured(objective):
        found = []
        for seed, world in zip(SEEDS, worlds, strict=True):
            parts = ratio(world.interactions, validation=0.0, test=0.2, seed=seed)
            noisy = corrupt(parts.train, false_positive=0.3, exclude=parts.test, seed=seed).interactions
            found.append([ndcg(objective, train, parts.test, seed) for train in (parts.train, noisy)])
        return np.mean(found, axis=0)

    return measured


@pytest.fixture(scope="module")
def plain(kept):
    clean, noisy = kept("bpo")
    assert noisy < 0.92 * clean  # mistakes cost plain cross-entropy something
    return clean, noisy


def test_the_em_form_with_the_true_rate_finds_more_hidden_likes(worlds):
    found = {"bpo": [], "nbpo-em": []}
    for seed, world in zip(SEEDS, worlds, strict=True):
        noisy = corrupt(world.interactions, false_negative=0.5, seed=seed)
        for name, objective in (("bpo", "bpo"), ("nbpo-em", NBPOEM(0.5))):
            found[name].append(ndcg(objective, noisy.interactions, noisy.hidden, seed))
    assert np.mean(found["nbpo-em"]) > 1.05 * np.mean(found["bpo"])


@pytest.mark.parametrize(
    "objective",
    [TruncatedCE(0.3 / 1.3, ramp=300), ReweightedCE(1.0), DeCA()],
    ids=lambda objective: objective.name,
)
def test_denoising_objectives_lose_less_to_clicks_by_mistake(objective, kept, plain):
    """DeCA with its published constants hardly loses anything, from a far lower start: its figure is no advice."""
    clean, noisy = kept(objective)
    assert noisy / clean > plain[1] / plain[0] + 0.01


def test_learned_flips_of_nbpo_do_not_help_against_clicks_by_mistake(kept, plain):
    """NBPO models hidden likes alone: it loses less, but from a lower start, and ends no higher than the plain loss."""
    clean, noisy = kept("nbpo")
    assert clean < plain[0]
    assert noisy < 1.05 * plain[1]


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
