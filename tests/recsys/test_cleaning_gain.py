"""Cleaning that is tried first: done where held-out clicks are ranked better, and nothing otherwise."""

import numpy as np
import pytest

from recsys import EASE, InputError, Interactions, ItemKNN, clean, clean_if_better, credibility, evaluate, simulation
from recsys.splits import ratio

WORLD = simulation.low_rank(300, 120, rank=4, density=0.12, seed=3).interactions
NOISY = simulation.corrupt(WORLD, false_positive=0.8, seed=3)


def oracle(clicks, mistakes=NOISY.added.matrix):
    """Credibility that knows the truth."""
    found = credibility(ItemKNN(), clicks, top=0, num_threads=1)
    wrong = np.asarray(mistakes[clicks.rows, clicks.matrix.indices]).ravel() > 0
    object.__setattr__(found, "positive", np.where(wrong, 0.1, 0.9).astype(np.float32))
    return found


def test_mistakes_that_are_found_are_removed():
    done = clean_if_better(NOISY.interactions, EASE(20.0), scorer=oracle, threshold=0.5)
    assert done.gain.low > 0
    assert (done.removed.matrix != NOISY.added.matrix).nnz == 0
    assert len(done.interactions) == len(NOISY.interactions) - len(done.removed)
    assert str(done).startswith(f"{len(done.removed)} of {len(NOISY.interactions)} clicks are removed: without 44")
    # The gain is that of the held-out clicks, by hand.
    split = ratio(NOISY.interactions, 0.0, 0.2, 0)
    cleaned = clean(split.train, oracle(split.train), threshold=0.5).interactions
    values = [evaluate(EASE(20.0).fit(clicks), split)["ndcg@20"] for clicks in (cleaned, split.train)]
    assert done.gain.difference == pytest.approx(values[0] - values[1])
    assert done.tried == pytest.approx(1 - len(cleaned) / len(split.train))


def test_nothing_is_removed_where_that_does_not_help():
    def likes_first(clicks):
        return oracle(clicks, WORLD.matrix)

    done = clean_if_better(NOISY.interactions, EASE(20.0), scorer=likes_first, share=0.3)
    assert done.gain.difference < 0
    assert done.interactions is NOISY.interactions
    assert (len(done.removed), done.credibility) == (0, None)
    assert str(done).startswith("Nothing is removed: without 30.0% of the clicks, held-out ndcg@20 -0.")
    assert str(done).endswith("; the interval is not above 0.")
    # No click is below the limit.
    none = clean_if_better(NOISY.interactions, ItemKNN(), threshold=0.0)
    assert (none.gain, len(none.removed)) == (None, 0)
    assert str(none).startswith("Nothing is removed: in the trial no click was below the limit")


def test_the_scorer_sees_no_held_out_click():
    seen = []

    def watched(clicks):
        seen.append(clicks)
        return oracle(clicks)

    clean_if_better(NOISY.interactions, ItemKNN(), scorer=watched, threshold=0.5, held_out=0.3, seed=5)
    assert (seen[0].matrix != ratio(NOISY.interactions, 0.0, 0.3, 5).train.matrix).nnz == 0
    assert len(seen) == 1 or seen[1] is NOISY.interactions


def test_a_seed_gives_the_same():
    one, two = (clean_if_better(NOISY.interactions, ItemKNN(), share=0.1, seed=4, num_threads=k) for k in (1, 2))
    assert one.gain == two.gain
    assert (one.interactions.matrix != two.interactions.matrix).nnz == 0


def _never():
    raise AssertionError("arguments are checked before any model is made")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: clean_if_better(WORLD, ItemKNN()), "threshold: expected a threshold or a share, got None"),
        (lambda: clean_if_better(WORLD, 3, share=0.1), "model: expected a Recommender, or a function"),
        (lambda: clean_if_better(WORLD, ItemKNN(), share=0.1, scorer=5), "scorer: expected a function of interactions"),
        (
            lambda: clean_if_better(WORLD, ItemKNN(), share=0.1, scorer=len),
            "credibility: expected what recsys.credibility returned, got int",
        ),
        (lambda: clean_if_better(WORLD, ItemKNN(), share=0.1, held_out=1.0), r"held_out: expected a number in"),
        (
            lambda: clean_if_better(WORLD, _never, share=0.1, metric="gini@5"),
            "metric: expected one of capped_",
        ),
        (lambda: clean_if_better(WORLD, _never, share=0.1, metric="ndcg"), "metrics: expected names such as"),
        (lambda: clean_if_better(WORLD, _never, share=0.1, level=1), "level: expected a number in"),
        (lambda: clean_if_better(WORLD, _never, share=-0.1), "share: expected a rate in"),
        (lambda: clean_if_better(WORLD, _never, threshold=2), "threshold: expected a rate in"),
        (
            lambda: clean_if_better(Interactions.from_triples(range(9), range(9)), ItemKNN(), share=0.1),
            "held_out: expected a share that holds out some click, got 0.2",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()
