"""LSA and ADELE by their definitions."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, context, step

from graphnoise.checks import InputError
from graphnoise.robust import methods
from graphnoise.robust.detection import high_losses, onset, overlaps
from graphnoise.robust.methods.onset import corrected

LABELLED = torch.arange(60)
WRONG = torch.arange(60) % 5 == 0
GIVEN = torch.where(WRONG, (DATA.y + 1) % 3, DATA.y)


def sure(scale=4.0):
    """Logits that say the true classes, so that wrong labels have high losses."""
    noise = torch.rand(60, 1, generator=torch.Generator().manual_seed(3))
    return scale * (1 + 0.2 * noise) * F.one_hot(DATA.y, 3)


def at(epoch, logits=None, epochs=20):
    return context(
        labelled=LABELLED, given=GIVEN, logits=sure() if logits is None else logits, epoch=epoch, epochs=epochs
    )


def lsa(epochs=20, **settings):
    method = methods.create_method("lsa", warm_up=0.2, **settings)
    method.setup(at(0, epochs=epochs))
    return method


def test_lsa_alternates_and_keeps_weights_of_clean_nodes():
    method = lsa()
    for epoch in range(8):
        method.start_epoch(at(epoch))
    assert method.detectors[:8].tolist() == [-1, -1, -1, -1, 0, 1, 0, 1]
    assert method.clean.tolist() == (~WRONG).tolist()
    now = step(at(7))
    weights, targets = method.weights(now), method.targets(now)
    assert torch.equal(weights[~WRONG], torch.ones(48))
    assert torch.equal(targets[~WRONG], F.one_hot(GIVEN[~WRONG], 3).float())
    p = sure().softmax(1)
    sharpened = p.square() / p.square().sum(1, keepdim=True)
    torch.testing.assert_close(targets[WRONG], sharpened[WRONG])
    losses = F.cross_entropy(sure(), sharpened, reduction="none")[WRONG].double().numpy()
    np.testing.assert_allclose(weights[WRONG], 1 - high_losses(losses), atol=1e-6)


@pytest.mark.parametrize("logits", [torch.zeros(60, 3), sure(0.0)])
def test_lsa_takes_the_loss_where_it_is_sure_of_no_label(logits):
    method = lsa()
    method.start_epoch(at(4, logits))
    assert method.detectors[4] == 1
    # All losses are the same, so that none is high.
    assert bool(method.clean.all())


def test_lsa_reads_no_trained_embedding_in_its_linear_rule():
    first, second = lsa(), lsa()
    other = at(4)
    other.networks = [lambda view, generator=None: at(4).networks[0](view)._replace(embedding=torch.zeros(60, 5))]
    first.start_epoch(at(4))
    second.start_epoch(other)
    assert first.detectors[4] == second.detectors[4] == 0
    assert torch.equal(first.clean, second.clean)


def test_a_label_changes_only_between_open_classes():
    p = torch.tensor([[0.0, 0.99, 0.01], [0.0, 0.01, 0.99], [0.1, 0.79, 0.11], [0.005, 0.99, 0.005]])
    given, opened = torch.tensor([0, 0, 0, 2]), torch.tensor([True, True, False])
    # The destination is not open in the second row, the source in the fourth; the third is not sure enough.
    assert corrected(p, given, opened, 0.8).tolist() == [1, 0, 0, 2]


def test_adele_opens_each_class_at_its_own_onset():
    epochs = 64
    method = methods.create_method("adele", threshold=0.5)
    method.setup(at(0, epochs=epochs))
    # Nodes of class 0 are learned fast, of class 1 slowly, of class 2 never.
    order = torch.rand(60, generator=torch.Generator().manual_seed(0))
    curves = []
    for epoch in range(epochs):
        rate = torch.tensor([1.0, 5.0, 1e9])[GIVEN]
        learned = order < 0.9 * (1 - torch.exp(-torch.tensor(epoch / 2.0) / rate))
        predicted = torch.where(learned, GIVEN, 2)
        method.start_epoch(at(epoch, 6.0 * F.one_hot(predicted, 3), epochs))
        if epoch % 2 == 0:
            curves.append(overlaps(predicted.numpy(), GIVEN.numpy(), 3))
    np.testing.assert_allclose(method.curves, curves)
    opened = method.opened.tolist()
    for c in (0, 1):
        seen = np.array(curves)[:, c]
        assert onset(seen[: opened[c] + 1]) <= opened[c]
        assert all(onset(seen[: k + 1]) > k for k in range(opened[c]))
    # One global onset would open both at once.
    assert 0 <= opened[0] < opened[1]
    # Predictions turn back, and so do the labels.
    method.start_epoch(at(62, 6.0 * F.one_hot(GIVEN, 3), epochs))
    assert torch.equal(method.targets(step(at(62))), GIVEN)


def test_adele_corrects_a_label_that_predictions_contradict():
    method = methods.create_method("adele")
    method.setup(at(0))
    method.opened.fill_(0)
    method.start_epoch(at(1, 3 * sure()))
    assert torch.equal(method.labels, DATA.y)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("lsa", {"threshold": 2}, "threshold: expected a rate"),
        ("lsa", {"arcs": -1}, "arcs: expected a rate"),
        ("adele", {"views": 0}, "views: expected an integer"),
        ("adele", {"threshold": "a"}, "threshold: expected a rate"),
    ],
)
def test_bad_settings_are_named(name, setting, message):
    with pytest.raises(InputError, match=message):
        methods.create_method(name, **setting)
