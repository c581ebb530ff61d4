"""Methods that weigh and soften labels by the network's own confidence."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, VIEW, context, draw, step

from graphnoise.checks import InputError
from graphnoise.robust import methods
from graphnoise.robust.detection import divergences, high_losses
from graphnoise.robust.methods.confidence import moved
from graphnoise.robust.training import GCN, Network

LABELLED = torch.arange(60)
GIVEN = torch.where(torch.arange(60) % 5 == 0, (DATA.y + 1) % 3, DATA.y)
SURE = 3.0 * F.one_hot(DATA.y, 3) + draw(60, 3, scale=0.1)


def at(epoch, logits=SURE, given=GIVEN):
    return context(labelled=LABELLED, given=given, logits=logits, epoch=epoch, epochs=100)


def test_smoothing_adapts_to_the_loss():
    method = methods.create_method("adaptive-smoothing")
    method.setup(at(0))
    # Ten warm-up epochs of 200, 5 of 100.
    for epoch in (0, 4):
        method.start_epoch(at(epoch))
        assert torch.equal(method.targets(step(at(epoch))), F.one_hot(GIVEN, 3).float())
    method.start_epoch(at(5))
    g = high_losses(F.cross_entropy(SURE, GIVEN, reduction="none").double().numpy())
    expected = (1 - 0.9 * g[:, None]) * np.eye(3)[GIVEN] + 0.9 * g[:, None] / 3
    np.testing.assert_allclose(method.targets(step(at(5))), expected, atol=1e-6)
    full = methods.create_method("adaptive-smoothing", strength=1.0)
    full.setup(at(0))
    full.eps[:2] = torch.tensor([0.0, 1.0])
    targets = full.targets(step(at(5)))
    assert torch.equal(targets[0], F.one_hot(GIVEN, 3)[0].float())
    assert torch.equal(targets[1], torch.full((3,), 1 / 3))


def test_blended_weights():
    method = methods.create_method("blend", warm_up=0.1)
    method.setup(at(0))
    outside = method.outside.clone()
    method.start_epoch(at(9))
    assert torch.equal(method.weights(step(at(9))), outside.clamp(min=1e-3))
    assert bool(method.select(step(at(9))).all())
    method.start_epoch(at(10))
    p = SURE.softmax(1).gather(1, GIVEN.unsqueeze(1)).squeeze(1)
    own = p / torch.stack([p[c == GIVEN].max() for c in range(3)])[GIVEN]
    torch.testing.assert_close(method.weights(step(at(10))), ((outside + own) / 2).clamp(min=1e-3))
    # Both sources sure: a weight of 1, not of 2.
    method.outside.fill_(1.0)
    method.start_epoch(at(10))
    assert float(method.weights(step(at(10))).max()) == 1.0
    kept = method.select(step(at(10)))
    assert 40 <= int(kept.sum()) <= 45
    alone = torch.where(LABELLED == 0, 2, torch.where(GIVEN == 2, 0, GIVEN))
    method.setup(at(0, given=alone))
    method.outside.fill_(0.0)
    method.start_epoch(at(10, given=alone))
    assert bool(method.select(step(at(10, given=alone)))[0])


def test_weights_fall_where_predictions_oscillate():
    method = methods.create_method("oscillation", warm_up=0.1, window=2)
    method.setup(at(0))
    restless = torch.arange(60) % 6 == 0
    rows = []
    for epoch in range(13):
        turned = SURE.roll(epoch % 2, 1)
        logits = torch.where(restless.unsqueeze(1), turned, SURE + 1e-3 * draw(60, 3, seed=epoch))
        rows.append(logits.double().softmax(1).numpy())
        method.start_epoch(at(epoch, logits))
        if epoch == 0:
            # Nothing to compare with yet.
            assert not method.changes.any()
    # The bank is read before it is overwritten.
    changes = [divergences(rows[k], rows[k - 1]) for k in (12, 11)]
    np.testing.assert_allclose(method.changes.mean(0), np.mean(changes, 0), rtol=1e-6)
    weights = method.weights(step(at(12)))
    assert (weights[restless] < 0.05).all()
    assert (weights[~restless] > 0.95).all()


def teacher_and_state(epoch, **settings):
    state = context(labelled=torch.arange(0, 60, 6), given=DATA.y[::6], epoch=0, epochs=100)
    network = Network(GCN(4, 8, 3, generator=torch.Generator().manual_seed(0)), 3)
    state.networks = [network]
    method = methods.create_method("confidence-weights", **settings)
    method.setup(state)
    state.epoch = epoch
    return method, state, network


def test_the_threshold_rises_with_confidence_as_the_published_one_does_not():
    published = [np.clip(0.6 / (1 + np.exp(-0.5 * (mean - 0.5))), 0.3, 0.8) for mean in (0.0, 1.0)]
    np.testing.assert_allclose(published, [0.3, 0.3373], atol=5e-5)
    own = torch.tensor(0.5)
    for _ in range(40):
        own = moved(own, torch.tensor(0.9))
    assert 0.88 < float(own) <= 0.9
    assert float(moved(torch.tensor(0.95), torch.tensor(1.0))) == pytest.approx(0.95)
    assert float(moved(torch.tensor(0.5), torch.tensor(0.0))) == 0.5


def test_pseudo_labels_are_averaged_over_valid_nodes():
    method, state, _ = teacher_and_state(15, ramp=1)
    method.start_epoch(state)
    logits = 5.0 * F.one_hot(DATA.y, 3) + draw(60, 3)
    p = logits.softmax(1)
    method.pseudo.fill_(-1)
    valid = torch.arange(60) % 4 == 1
    method.pseudo[valid] = DATA.y[valid]
    method.confidence.copy_(p.max(1).values)
    method.border.copy_(torch.arange(60) % 8 == 1)
    state.networks = [lambda view, generator=None: None]
    for epoch, decay in ((15, 1.0), (17, 0.81)):
        state.epoch = epoch
        given_step = step(state, outputs=[type("Output", (), {"logits": logits})()])
        losses = F.cross_entropy(logits, DATA.y, reduction="none")
        expected = (p.max(1).values * losses * decay)[valid].mean() + 0.5 * losses[torch.arange(60) % 8 == 1].mean()
        torch.testing.assert_close(method.terms(given_step), expected)
    method.pseudo.fill_(-1)
    assert method.terms(given_step) == 0.0


def test_the_teacher_is_a_running_mean_and_is_not_trained():
    method, state, network = teacher_and_state(0, momentum=0.75)
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1.0)
    method.start_epoch(state)
    for name, value in method.teacher.state_dict().items():
        torch.testing.assert_close(value, before[name] + 0.25)
    assert not any(p.requires_grad for p in method.teacher.parameters())
    state.epoch = 15
    method.start_epoch(state)
    labels = method.teacher(VIEW).logits.argmax(1)
    marked = method.pseudo >= 0
    assert torch.equal(method.pseudo[marked], labels[marked])
    assert not bool(marked[state.labelled].any())
    source, target = VIEW.edge_index
    expected = torch.zeros(60, dtype=torch.bool)
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        expected[b] |= labels[a] != labels[b]
    assert torch.equal(method.border, expected)


def test_bad_settings_are_named():
    for name, setting in (
        ("adaptive-smoothing", {"strength": 2}),
        ("blend", {"dropped": -1}),
        ("oscillation", {"window": 0}),
        ("confidence-weights", {"momentum": 2}),
        ("confidence-weights", {"every": 0}),
    ):
        with pytest.raises(InputError, match=f"{next(iter(setting))}: expected"):
            methods.create_method(name, **setting)
