"""CAPro by its definitions."""

import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, VIEW, context, draw, step

from graphnoise.checks import InputError
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.robust import methods
from graphnoise.robust.methods.prototypes import choose_anchors, cleaned, collective

LABELLED = torch.arange(60)


def at(epoch, given=DATA.y, **more):
    return context(labelled=LABELLED, given=given, epoch=epoch, epochs=100, **more)


def test_anchors_are_those_nearest_to_the_mean_without_the_further_halves():
    x = smoothed(row_normalised(VIEW.x), VIEW.graph, 2)
    anchors = choose_anchors(x, DATA.y, 3)
    for c in range(3):
        members = (DATA.y == c).nonzero().view(-1)
        kept = members
        for _ in range(2):
            mean = x[kept].mean(0)
            kept = kept[F.cosine_similarity(x[kept], mean, dim=-1).argsort(descending=True)[: (len(kept) + 1) // 2]]
        near = F.cosine_similarity(x[members], x[kept].mean(0), dim=-1).argsort(descending=True)[: len(members) // 3]
        assert set(members[near].tolist()) == set((anchors & (DATA.y == c)).nonzero().view(-1).tolist())
    # A class has at least one anchor, and a class without a node has none.
    assert choose_anchors(x[:2], torch.tensor([0, 2]), 3).all()


def test_labels_of_other_nodes_leave_prototypes_before_cleaning():
    def prototypes(change):
        method = methods.create_method("capro")
        state = at(0)
        method.setup(state)
        anchors = method.anchors.clone()
        if change:
            method.labels.copy_(torch.where(anchors, DATA.y, (DATA.y + 1) % 3))
            state.given = method.labels.clone()
        for state.epoch in range(10):
            method.start_epoch(state)
        return method, anchors

    (first, anchors), (second, _) = prototypes(False), prototypes(True)
    assert torch.equal(first.prototypes, second.prototypes)
    z = F.normalize(at(0).networks[0](VIEW).embedding)
    expected = torch.stack([z[anchors & (DATA.y == c)].mean(0) for c in range(3)])
    # The embeddings do not change here, and so the running mean is the mean.
    torch.testing.assert_close(first.prototypes, expected)


def test_a_prototype_is_a_running_mean():
    method = methods.create_method("capro", momentum=0.9)
    method.setup(at(0))
    for epoch, seed in ((5, 1), (6, 2)):
        method.start_epoch(at(epoch, embedding=draw(60, 5, seed=seed)))
    means = [F.normalize(draw(60, 5, seed=seed))[method.anchors & (DATA.y == 1)].mean(0) for seed in (1, 2)]
    torch.testing.assert_close(method.prototypes[1], 0.9 * means[0] + 0.1 * means[1])


def test_labels_are_kept_replaced_or_left_out():
    q = torch.tensor([[0.5, 0.3, 0.2], [0.62, 0.2, 0.18], [0.4, 0.25, 0.35], [0.62, 0.03, 0.35]])
    labels, usable = cleaned(q, torch.tensor([2, 2, 2, 2]), 0.6)
    assert usable.tolist() == [False, True, True, True]
    # The last one is above 1 / C for the given label as well; the rule that keeps it then is wrong.
    assert labels.tolist() == [2, 0, 2, 0]


def test_collective_bootstrapping():
    z, v = F.normalize(draw(7, 4)).requires_grad_(), torch.tensor([0.2, 0.5, 0.3])
    torch.testing.assert_close(collective(z, z, v.repeat(7, 1)), v.repeat(7, 1))
    q = draw(7, 3, seed=1).softmax(1).requires_grad_()
    s = (z @ z.T).clamp(0, 1) + 1e-7
    mean = collective(z, z, q)
    torch.testing.assert_close(mean, (s / s.sum(1, keepdim=True)) @ q)
    assert not mean.requires_grad
    bank = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [-0.6, -0.8]])
    # Cosines of at most 0 count the same: not clamped, they would not.
    torch.testing.assert_close(collective(torch.tensor([[1.0, 0.0]]), bank, q[:3]), q[:3].mean(0, keepdim=True))


@pytest.mark.parametrize("bank", ["labelled", "neighbours"])
def test_targets_mix_cleaned_labels_with_the_bank(bank):
    method, state = methods.create_method("capro", beta=0.3, bank=bank), at(10)
    method.setup(state)
    method.start_epoch(state)
    output = state.networks[0](VIEW)
    z = F.normalize(output.embedding)
    q = 0.5 * output.logits.softmax(1) + 0.5 * (z @ F.normalize(method.prototypes).T / 0.1).softmax(1)
    labels, usable = cleaned(q, DATA.y, 0.6)
    s = (z @ z.T).clamp(0, 1) + 1e-7
    if bank == "neighbours":
        adjacency = torch.eye(60).index_put((VIEW.edge_index[1], VIEW.edge_index[0]), torch.tensor(1.0))
        s = s * adjacency
    expected = 0.7 * F.one_hot(labels, 3) + 0.3 * (s / s.sum(1, keepdim=True)) @ q
    torch.testing.assert_close(method.targets(step(state)), expected)
    kept = method.select(step(state))
    assert bool((kept >= usable).all())
    assert len(labels[kept].unique()) == 3


def test_bad_settings_are_named():
    for setting, message in (
        ({"start": 0.2}, r"start: expected a number in \[0, 0.1\]"),
        ({"bank": "all"}, "bank: expected one of labelled, neighbours"),
        ({"temperature": 0}, "temperature: expected"),
    ):
        with pytest.raises(InputError, match=message):
            methods.create_method("capro", **setting)
