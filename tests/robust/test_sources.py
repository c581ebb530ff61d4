"""Confidence of labels by several sources."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, VIEW, context, context_of, step

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.robust.methods.adapters import Reweight
from graphnoise.robust.methods.sources import NAT, propagated_from_others, source_confidence


def test_source_confidence_is_the_posterior_of_independent_annotators():
    rng = np.random.default_rng(0)
    votes, given = rng.integers(0, 4, (3, 50)), rng.integers(0, 4, 50)
    accuracies = [0.8, 0.3, 0.1]
    posterior = np.zeros((50, 4))
    for i, c in itertools.product(range(50), range(4)):
        chance = [a if vote[i] == c else (1 - a) / 3 for a, vote in zip(accuracies, votes, strict=True)]
        posterior[i, c] = np.prod(chance)
    posterior /= posterior.sum(1, keepdims=True)
    found = source_confidence([np.eye(4)[vote] for vote in votes], given, accuracies=accuracies)
    np.testing.assert_allclose(found, posterior[np.arange(50), given])


def test_source_confidence():
    vote, other = np.eye(5)[[0, 1]], np.eye(5)[[2, 2]]
    # Without the factor C - 1, it would be 0.5.
    assert source_confidence([vote], [0, 1], accuracies=[0.8]).tolist() == pytest.approx([0.8, 0.8])
    more = source_confidence([vote, other], [0, 1], accuracies=[0.8, 0.2])
    assert more.tolist() == pytest.approx([0.8, 0.8])
    below = source_confidence([vote, vote], [0, 1], accuracies=[0.8, 0.1])
    assert (below < 0.8).all()
    # The mean of the sources, which is not meant, does not depend on their accuracies.
    agreeing = source_confidence([vote, vote], [0, 1], accuracies=[0.8, 0.8])
    assert (agreeing > 0.95).all()
    assert source_confidence([vote], [1, 1], trusted=[0]).tolist()[0] == 1.0


def test_accuracies_are_estimated_on_trusted_rows_or_by_agreement():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 2000)
    votes = [np.where(rng.random(2000) < a, truth, (truth + rng.integers(1, 3, 2000)) % 3) for a in (0.9, 0.8, 0.6)]
    sources = [np.eye(3)[vote] for vote in votes]
    exact = source_confidence(sources, votes[2], accuracies=[0.9, 0.8, 0.6])
    trusted = np.arange(2000) < 1000
    given = np.where(trusted, truth, votes[2])
    found = source_confidence(sources, given, trusted=trusted)
    assert (found[:1000] == 1).all()
    assert (found[1000:] - exact[1000:]).abs().max() < 0.1
    agreed = source_confidence(sources, votes[2])
    right = torch.from_numpy(votes[2] == truth)
    assert agreed[right].mean() > agreed[~right].mean() + 0.4


def test_propagation_never_reads_a_node_s_own_label():
    given = DATA.y.clone()
    state = context_of(given, view=VIEW)
    first = propagated_from_others(state, given.numpy(), 5)
    for node in (0, 25, 59):
        changed = given.clone()
        changed[node] = (given[node] + 1) % 3
        # The folds, by the labels before, are the same.
        second = propagated_from_others(context_of(changed, view=VIEW), given.numpy(), 5)
        torch.testing.assert_close(first[node], second[node])
        assert not torch.equal(first, second)


def test_nat_weighs_wrong_labels_less():
    labelled = torch.arange(60)
    given = noise.symmetric(3, 0.3).corrupt(DATA.y, seed=0).y
    state = context(labelled=labelled, given=given)
    method = NAT()
    method.setup(state)
    weights, wrong = method.weights(step(state)), given != DATA.y
    assert weights[wrong].mean() < weights[~wrong].mean() / 2
    trusted = NAT(trusted=labelled < 30)
    trusted.setup(state)
    assert torch.equal(trusted.weights(step(state))[:30], torch.ones(30))


def test_confidences_of_pairs_are_weights_of_any_method():
    # Dwell time and item similarity of clicks (class 1).
    dwell, similar = (np.stack([1 - p, p], 1) for p in (np.array([0.9, 0.1]), np.array([0.8, 0.3])))
    confidence = source_confidence([dwell, similar], [1, 1], accuracies=[0.9, 0.7])
    assert confidence[0] > 0.8 > 0.3 > confidence[1]
    assert len(Reweight(confidence).credibility) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: source_confidence([], [0]), "sources: expected at least one source"),
        (lambda: source_confidence([np.eye(2), np.eye(3)], [0, 1]), "sources: expected at least one source, all of"),
        (lambda: source_confidence([np.eye(2)], [0, 2]), "given: expected 2 labels from 0 to 1"),
        (lambda: source_confidence([np.eye(2)], [0.0, 1.0]), "given: expected 2 labels"),
        (lambda: source_confidence([np.ones((2, 1))], [0, 0]), "sources: expected at least two classes"),
        (lambda: source_confidence([2 * np.eye(2)], [0, 1]), r"sources\[0\]: expected rows that sum to 1"),
        (lambda: source_confidence([np.eye(2)], [0, 1], accuracies=[0.5, 0.5]), "accuracies: expected 1 numbers"),
        (lambda: source_confidence([np.eye(2)], [0, 1], accuracies=[2]), r"accuracies\[0\]: expected a rate"),
        (lambda: NAT(folds=1), "folds: expected an integer of at least 2"),
        (lambda: NAT(sources=[np.eye(3)]).setup(context_of([0, 1])), r"sources\[0\]: expected probabilities of shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_one_class_has_the_given_labels_as_only_source():
    state = context_of([0, 0, 0], num_classes=2)
    method = NAT()
    method.setup(state)
    assert torch.equal(method.confidence, source_confidence([F.one_hot(torch.zeros(3).long(), 2)], [0, 0, 0]).float())
