"""Methods made of credibilities: labels dropped, weighted, softened."""

import pytest
import torch
from training_steps import context_of, step_of

from graphnoise import InputError, datasets, noise
from graphnoise.audit import detect
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods import Drop, Reweight, Soften

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=(10, 30, 60), seed=0)
NOISY = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(DATA)
GIVEN = torch.tensor([0, 0, 0, 1, 1])
G = torch.tensor([0.9, 0.5, 0.1, 0.2, 0.3])
LOGITS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))


def step_for(method):
    context = context_of(GIVEN)
    method.setup(context)
    return step_of(context, LOGITS)


def test_labels_are_dropped_below_the_threshold_and_no_class_is_lost():
    method = Drop(G, threshold=0.5)
    assert method.select(step_for(method)).tolist() == [True, True, False, False, True]


def test_labels_are_weighted():
    method = Reweight([0.9, 0.5, 0.1, 0.2, 0.0])
    torch.testing.assert_close(method.weights(step_for(method)), torch.tensor([0.9, 0.5, 0.1, 0.2, 0.001]))


def test_labels_are_softened():
    others = torch.tensor([[0.3, 0.7]]).repeat(5, 1)
    for to, other in (("uniform", torch.full((5, 2), 0.5)), ("prediction", LOGITS.softmax(1)), (others, others)):
        method = Soften(G, to=to)
        step = step_for(method)
        expected = G.unsqueeze(1) * step.one_hot + (1 - G.unsqueeze(1)) * other
        torch.testing.assert_close(method.targets(step), expected)


@pytest.mark.parametrize("kind", [Drop, Reweight, Soften])
def test_a_credibility_of_one_is_plain_training(kind):
    settings = {"epochs": 20, "hidden": 16, "seed": 1}
    plain = RobustGNN("ce", **settings).fit(NOISY).predict_proba(NOISY)
    count = int(NOISY.train_mask.sum())
    softened = RobustGNN(kind(torch.ones(count)), **settings).fit(NOISY).predict_proba(NOISY)
    torch.testing.assert_close(softened, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [Drop, Reweight, Soften])
def test_detectors_plug_in_and_see_training_labels_only(kind):
    seen = []

    def credibility(graph, y, x):
        seen.append((graph.num_nodes, y.clone(), x.shape))
        return detect.neighbour_agreement(graph, y)

    fitted = RobustGNN(kind(credibility), epochs=5).fit(NOISY)
    (size, y, shape), expected = seen[0], torch.where(NOISY.train_mask, NOISY.y, -1)
    assert (size, shape) == (120, (120, 8))
    assert torch.equal(y, expected)
    found = torch.as_tensor(detect.neighbour_agreement(NOISY, expected)).float()
    assert torch.equal(fitted.method_.credibilities, found)


def test_the_posterior_helps():
    given = RobustGNN("ce", epochs=100, val_labels="none", hidden=16).fit(NOISY).score(NOISY)
    assert RobustGNN(Drop(detect.posterior), epochs=100, val_labels="none", hidden=16).fit(NOISY).score(NOISY) >= given


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Drop([0.5, 1.5]), r"credibility: expected numbers in \[0, 1\], got from 0.5 to 1.5"),
        (lambda: Drop("abc"), "credibility: expected"),
        (lambda: Drop(G, threshold=2), "threshold: expected a rate"),
        (lambda: Soften(G, to="mean"), "to: expected one of prediction, uniform"),
        (lambda: step_for(Drop(G[:3])), "credibility: expected 5 numbers, one per labelled node, got 3"),
        (lambda: step_for(Drop(lambda graph, y, x: [float("nan")] * 5)), "credibility: expected finite numbers"),
        (lambda: step_for(Soften(G, to=torch.full((5, 4), 0.25))), r"to: expected probabilities of shape \(5, 2\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")
@pytest.mark.parametrize(
    "name", ["posterior", "graph_gp", "neighbour_agreement", "label_propagation", "neighbour_credibility"]
)
def test_detectors_are_taken_as_they_are(name):
    fitted = RobustGNN(Drop(getattr(detect, name)), epochs=2).fit(NOISY)
    assert 0 < int(fitted.method_.kept.sum()) < len(fitted.method_.kept)
